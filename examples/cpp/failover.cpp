// The main job: several signers spend their coin, the elected one does not broadcast, and the next one takes over.
//
//   failover URL                        three nodes in this process. URL is an Esplora server on regtest:
//                                       cargo run --example chain -- ./failover   gives that of a small chain
//   failover --key HEX --store FILE --listen ADDRESS --signers HEX,HEX,... [--peer ADDRESS]... [--source URL]
//            [--propose TXID:VOUT] [--timeout MILLISECONDS] [--stay]
//                                       one node; --propose (the coin that is spent) at exactly one of them. One without
//                                       --source does not broadcast when it should. One that is to --stay runs until it is
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
            // A node with a source broadcasts itself. This one lets the others down.
            say("should-broadcast turn " + std::to_string(*event.number(MUSIG_EVENT_NUMBER_TURN)) + " (silent)");
            break;
        case MUSIG_EVENT_COORDINATOR_FAILED:
            say("coordinator-failed signer " + std::to_string(event.list(MUSIG_EVENT_LIST_FAILED)->at(0)));
            break;
        case MUSIG_EVENT_BROADCAST_CLAIMED: {
            // A node with a source looks itself. This one believes the others; a real program asks its Bitcoin node first.
            if (!silent) break;
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

musig::Config config(const musig::Signer &signer, const std::string &url) {
    musig::Config config;
    config.signer(signer);
    // Broadcasts, and looks at the chain. For your own Bitcoin node: musig::Source::core.
    if (!url.empty()) config.source(musig::Source::esplora(url));
    else config.without_observer();
    return config;
}

// Satoshis of the coin, and of what its spending costs.
constexpr std::uint64_t VALUE = 100000, FEE = 1000;

void append(std::vector<std::uint8_t> &bytes, int length, std::uint64_t number) {
    for (int i = 0; i < length; i++) bytes.push_back(static_cast<std::uint8_t>(number >> 8 * i));
}

/// A proposal to spend a coin of the signers, TXID:VOUT, back to them.
musig::Proposal spend(const std::vector<musig::PublicKey> &keys, const std::string &coin) {
    auto key = musig::KeySet(keys).final_key(musig::key_path());
    std::vector<std::uint8_t> script = {0x51, 32}, transaction;
    script.insert(script.end(), key.begin() + 1, key.end());
    auto txid = from_hex<32>(coin.substr(0, 64));
    append(transaction, 4, 2); // Version. One input: the transaction, whose id is written backwards,
    append(transaction, 1, 1);
    transaction.insert(transaction.end(), txid.rbegin(), txid.rend());
    append(transaction, 4, std::stoul(coin.substr(65))); // the output, no script, the sequence.
    append(transaction, 1, 0);
    append(transaction, 4, 0xfffffffd);
    append(transaction, 1, 1); // One output: its value, its script. Then the lock time.
    append(transaction, 8, VALUE - FEE);
    append(transaction, 1, script.size());
    transaction.insert(transaction.end(), script.begin(), script.end());
    append(transaction, 4, 0);
    musig_spent_output spent = {VALUE, script.data(), script.size()};
    return musig::Proposal::transaction(keys, musig::Bytes(transaction.data(), transaction.size()), {spent});
}

int several(const std::string &url) {
    Done done;
    std::vector<musig::Signer> signers;
    std::vector<musig::PublicKey> keys;
    for (int i = 0; i < 3; i++) {
        signers.push_back(musig::Signer::generate());
        keys.push_back(signers.back().public_key());
    }
    // The election needs no node: everybody computes the same one. The winner has no source here, and keeps silent.
    auto elected = musig::Election(keys, MUSIG_ELECTION_LEXICOGRAPHIC, {}).coordinator();
    say("signer " + std::to_string(elected) + " is elected, and will keep silent");
    std::vector<musig::Node> nodes;
    for (std::uint32_t i = 0; i < 3; i++) {
        auto own = config(signers[i], i == elected ? "" : url);
        own.store_memory().listen("/ip4/127.0.0.1/tcp/0").event_handler(handler(done, i == elected));
        for (const auto &node : nodes) own.peer(address(node));
        nodes.emplace_back(own);
    }
    say("pay " + std::to_string(VALUE) + " " + musig::KeySet(keys).address(musig::key_path(), MUSIG_NETWORK_REGTEST));
    std::string coin;
    std::getline(std::cin, coin);
    auto session = nodes[0].create_session(spend(keys, coin).failover(1s));
    say("proposed " + hex(session.id()));
    bool good = done.wait(3);
    for (const auto &node : nodes) node.stop();
    return good ? 0 : 1;
}

int one(int argc, char **argv) {
    Done done;
    std::optional<musig::Signer> signer;
    std::vector<musig::PublicKey> keys;
    std::string proposed, url;
    std::vector<std::string> peers;
    std::string store, listen = "/ip4/127.0.0.1/tcp/0";
    std::chrono::milliseconds timeout = 2s;
    bool stay = false;
    for (int i = 1; i < argc; i++) {
        std::string name = argv[i];
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
        else if (name == "--propose") proposed = value;
        else if (name == "--source") url = value;
        else if (name == "--signers") {
            for (std::size_t at = 0; at < value.size(); at += 67) keys.push_back(from_hex<33>(value.substr(at, 66)));
        } else throw std::invalid_argument(name + " is unknown");
    }
    if (!signer || keys.empty()) throw std::invalid_argument("the address of an Esplora server, or --key and --signers, are needed");
    auto own = config(*signer, url);
    own.listen(listen).event_handler(handler(done, url.empty()));
    if (store.empty()) own.store_memory();
    else own.store_path(store);
    for (const auto &peer : peers) own.peer(peer);
    musig::Node node(own);
    say("listening " + address(node));
    if (!proposed.empty()) {
        auto session = node.create_session(spend(keys, proposed).failover(timeout));
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
        return argc == 2 && argv[1][0] != '-' ? several(argv[1]) : one(argc, argv);
    } catch (const musig::Error &error) {
        std::cerr << musig_status_string(error.status()) << ": " << error.what() << "\n";
    } catch (const std::exception &error) {
        std::cerr << error.what() << "\n";
    }
    return 2;
}
