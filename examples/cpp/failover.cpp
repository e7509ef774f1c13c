// The main job: several signers sign a message, the elected one does not broadcast, and the next one takes over.
//
//   failover                            three nodes in this process
//   failover --key HEX --store FILE --listen ADDRESS --signers HEX,HEX,... [--peer ADDRESS]...
//            [--propose HEX] [--timeout MILLISECONDS] [--silent] [--stay]
//                                       one node; --propose (a 32-byte message) at exactly one of them. A --silent one
//                                       does not broadcast when it should. One that is to --stay runs until it is
//                                       killed, as a wallet would, and tells those that come back what happened.
//
// c++ -std=c++17 failover.cpp $(pkg-config --cflags --libs musig) -o failover
#include <musig.hpp>

#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <thread>

using namespace std::chrono_literals;

namespace {

template <class T>
std::string hex(const T &bytes) {
    static const char *digits = "0123456789abcdef";
    std::string text;
    for (std::uint8_t byte : bytes) text += {digits[byte >> 4], digits[byte & 15]};
    return text;
}

template <std::size_t N>
std::array<std::uint8_t, N> from_hex(const std::string &text) {
    std::array<std::uint8_t, N> bytes;
    if (text.size() != 2 * N) throw std::invalid_argument(text + " has the wrong length");
    for (std::size_t i = 0; i < N; i++)
        bytes[i] = static_cast<std::uint8_t>(std::stoul(text.substr(2 * i, 2), nullptr, 16));
    return bytes;
}

/// Counts nodes that know that the transaction is broadcast.
struct Done {
    std::mutex mutex;
    std::condition_variable changed;
    int confirmed = 0, failed = 0;
    void add(int &counter) {
        std::lock_guard<std::mutex> guard(mutex);
        counter++;
        changed.notify_all();
    }
    bool wait(int nodes) {
        std::unique_lock<std::mutex> guard(mutex);
        changed.wait_for(guard, 120s, [&] { return failed > 0 || confirmed >= nodes; });
        return confirmed >= nodes && failed == 0;
    }
};

void say(const std::string &line) {
    static std::mutex mutex;
    std::lock_guard<std::mutex> guard(mutex);
    std::cout << line << std::endl;
}

musig::EventHandler handler(Done &done, bool silent) {
    return [&done, silent](musig::Node &node, const musig::Event &event) {
        auto id = event.session();
        if (!id) return;
        auto session = node.session(*id);
        switch (event.kind()) {
        case MUSIG_EVENT_SESSION_PROPOSED:
            // A real program shows event.terms() to its user first.
            session.join();
            say("joined " + hex(*id));
            break;
        case MUSIG_EVENT_SESSION_COMPLETE:
            say("complete " + hex(*event.bytes(MUSIG_EVENT_BYTES_SIGNATURES)));
            break;
        case MUSIG_EVENT_SHOULD_BROADCAST:
            say("should-broadcast turn " + std::to_string(*event.number(MUSIG_EVENT_NUMBER_TURN)) +
                (silent ? " (silent)" : ""));
            if (silent) break;
            {
                // Here a real program broadcasts. The message stands for the transaction's id.
                musig::Hash txid;
                auto message = session.terms().message(0);
                std::copy(std::begin(message.digest), std::end(message.digest), txid.begin());
                session.notify_broadcast_complete(txid);
                say("broadcast");
            }
            break;
        case MUSIG_EVENT_COORDINATOR_FAILED:
            say("coordinator-failed signer " + std::to_string(event.list(MUSIG_EVENT_LIST_FAILED)->at(0)));
            break;
        case MUSIG_EVENT_BROADCAST_CLAIMED: {
            // A real program asks its Bitcoin node first.
            musig::Hash txid;
            auto bytes = *event.bytes(MUSIG_EVENT_BYTES_TXID);
            std::copy(bytes.begin(), bytes.end(), txid.begin());
            session.notify_broadcast_complete(txid);
            break;
        }
        case MUSIG_EVENT_BROADCAST_CONFIRMED:
            say("confirmed");
            done.add(done.confirmed);
            break;
        case MUSIG_EVENT_SESSION_FAILED:
        case MUSIG_EVENT_SESSION_ABORTED:
        case MUSIG_EVENT_SESSION_EXPIRED:
            done.add(done.failed);
            break;
        default:
            break;
        }
    };
}

std::string address(const musig::Node &node) {
    for (;;) {
        auto addresses = node.listen_addresses();
        if (!addresses.empty()) return addresses[0];
        std::this_thread::sleep_for(5ms);
    }
}

musig::Config config(const musig::Signer &signer) {
    musig::Config config;
    // This program looks at the chain itself: a real one would pass an observer.
    config.signer(signer).without_observer();
    return config;
}

int several() {
    Done done;
    std::vector<musig::Signer> signers;
    std::vector<musig::PublicKey> keys;
    for (int i = 0; i < 3; i++) {
        signers.push_back(musig::Signer::generate());
        keys.push_back(signers.back().public_key());
    }
    // The election needs no node: everybody computes the same one. The winner keeps silent here.
    auto elected = musig::Election(keys, MUSIG_ELECTION_LEXICOGRAPHIC, {}).coordinator();
    say("signer " + std::to_string(elected) + " is elected, and will keep silent");
    std::vector<musig::Node> nodes;
    for (std::uint32_t i = 0; i < 3; i++) {
        auto own = config(signers[i]);
        own.store_memory().listen("/ip4/127.0.0.1/tcp/0").event_handler(handler(done, i == elected));
        for (const auto &node : nodes) own.peer(address(node));
        nodes.emplace_back(own);
    }
    musig::Hash message;
    message.fill(0x42);
    auto session = nodes[0].create_session(musig::Proposal::messages(keys, {message}).failover(1s));
    say("proposed " + hex(session.id()));
    bool good = done.wait(3);
    for (const auto &node : nodes) node.stop();
    return good ? 0 : 1;
}

int one(int argc, char **argv) {
    Done done;
    std::optional<musig::Signer> signer;
    std::vector<musig::PublicKey> keys;
    std::optional<musig::Hash> proposed;
    std::vector<std::string> peers;
    std::string store, listen = "/ip4/127.0.0.1/tcp/0";
    std::chrono::milliseconds timeout = 2s;
    bool silent = false, stay = false;
    for (int i = 1; i < argc; i++) {
        std::string name = argv[i];
        if (name == "--silent") {
            silent = true;
            continue;
        }
        if (name == "--stay") {
            stay = true;
            continue;
        }
        if (++i == argc) throw std::invalid_argument(name + " needs a value");
        std::string value = argv[i];
        if (name == "--key") signer.emplace(from_hex<32>(value));
        else if (name == "--store") store = value;
        else if (name == "--listen") listen = value;
        else if (name == "--peer") peers.push_back(value);
        else if (name == "--timeout") timeout = std::chrono::milliseconds(std::stoul(value));
        else if (name == "--propose") proposed = from_hex<32>(value);
        else if (name == "--signers") {
            for (std::size_t at = 0; at < value.size(); at += 67) keys.push_back(from_hex<33>(value.substr(at, 66)));
        } else throw std::invalid_argument(name + " is unknown");
    }
    if (!signer || keys.empty()) throw std::invalid_argument("--key and --signers are needed");
    auto own = config(*signer);
    own.listen(listen).event_handler(handler(done, silent));
    if (store.empty()) own.store_memory();
    else own.store_path(store);
    for (const auto &peer : peers) own.peer(peer);
    musig::Node node(own);
    say("listening " + address(node));
    if (proposed) {
        auto session = node.create_session(musig::Proposal::messages(keys, {*proposed}).failover(timeout));
        say("proposed " + hex(session.id()));
    }
    bool good = done.wait(1);
    while (good && stay) std::this_thread::sleep_for(1h);
    // What is on its way to the others, such as the claim, is sent before the node stops.
    std::this_thread::sleep_for(500ms);
    node.stop();
    return good ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
    try {
        return argc == 1 ? several() : one(argc, argv);
    } catch (const musig::Error &error) {
        std::cerr << musig_status_string(error.status()) << ": " << error.what() << "\n";
    } catch (const std::exception &error) {
        std::cerr << error.what() << "\n";
    }
    return 2;
}
