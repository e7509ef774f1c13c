// The C++ header: references, exceptions, functions that throw.
#include "musig.hpp"

#include "../c/group.h"
#include "../c/psbt.h"

#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <iostream>
#include <thread>

#define REQUIRE(condition)                                                                   \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            std::cerr << __FILE__ << ":" << __LINE__ << ": not so: " #condition "\n";        \
            std::exit(1);                                                                    \
        }                                                                                    \
    } while (0)

using namespace std::chrono_literals;

namespace {

template <class E, class F>
void throws(F function, musig_status status) {
    try {
        function();
    } catch (const E &error) {
        REQUIRE(error.status() == status);
        REQUIRE(std::strlen(error.what()) > 5);
        return;
    }
    REQUIRE(!"it throws");
}

musig::Hash secret(std::uint8_t last) {
    musig::Hash secret;
    secret.fill(0x11);
    secret[31] = last;
    return secret;
}

musig::Config alone(const musig::Signer &signer) {
    musig::Config config;
    config.signer(signer).store_memory().offline();
    return config;
}

musig::Event wait(const musig::Node &node, musig_event_kind kind) {
    for (;;) {
        auto event = node.next_event(30s);
        REQUIRE(event);
        if (event->kind() == kind) return *event;
    }
}

void key_sets(const std::vector<musig::PublicKey> &keys) {
    musig::KeySet key_set(keys);
    REQUIRE(key_set.keys() == keys && key_set.order() == MUSIG_KEY_ORDER_SORTED);
    REQUIRE(key_set.final_key() == musig::aggregate_key(keys));
    auto derivation = musig::key_path({0, 7});
    REQUIRE(key_set.final_key(derivation) != key_set.final_key());
    REQUIRE(key_set.address(derivation, MUSIG_NETWORK_REGTEST).rfind("bcrt1p", 0) == 0);
    REQUIRE(!key_set.origin(1));
    key_set.origin(1, {{1, 2, 3, 4}, {0x80000056, 1}}).origin(0, {{5, 6, 7, 8}, {}});
    REQUIRE(key_set.origin(1)->path.size() == 2 && key_set.origin(1)->fingerprint[3] == 4);
    REQUIRE(key_set.origin(0)->path.empty());
    // What no session signs with has no key.
    throws<musig::ProtocolError>([&] { musig::KeySet({keys[0], keys[0]}); }, MUSIG_STATUS_PROPOSAL);
    throws<musig::ProtocolError>([&] { key_set.final_key(musig::key_path({0x80000000})); }, MUSIG_STATUS_PROPOSAL);
    throws<musig::CallError>([&] { key_set.final_key(musig::key_path(std::vector<std::uint32_t>(9))); },
                             MUSIG_STATUS_INVALID_ARGUMENT);
    auto proposal = musig::Proposal::messages(keys, {});
    REQUIRE(proposal.add_key_set(key_set) == 1);
    throws<musig::CallError>([&] { proposal.message(secret(1), 2, derivation); }, MUSIG_STATUS_INDEX_OUT_OF_RANGE);
    musig::Signer signer(secret(1));
    auto added = signer.add_key(secret(9));
    REQUIRE(signer.holds(added) && !signer.holds(signer.public_key()));
    // The first vector of BIP-32.
    signer.add_xprv("xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4c"
                    "V1rGL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7",
                    {{0x34, 0x42, 0x19, 0x3e}, {0x80000000}});
    musig::PublicKey below = {0x03, 0x50, 0x1e, 0x45, 0x4b, 0xf0, 0x07, 0x51, 0xf2, 0x4b, 0x1b, 0x48,
                              0x9a, 0xa9, 0x25, 0x21, 0x5d, 0x66, 0xaf, 0x22, 0x34, 0xe3, 0x89, 0x1c,
                              0x3b, 0x21, 0xa5, 0x2b, 0xed, 0xb3, 0xcd, 0x71, 0x1c};
    REQUIRE(signer.holds(below, musig::KeyOrigin{{0x34, 0x42, 0x19, 0x3e}, {0x80000000, 1}}) && !signer.holds(below));
    throws<musig::ProtocolError>([&] { signer.add_xprv("xprv", {{1, 2, 3, 4}, {}}); }, MUSIG_STATUS_WRONG_SECRET);
}

void values() {
    throws<musig::ProtocolError>([] { musig::Signer(musig::Hash{}); }, MUSIG_STATUS_WRONG_SECRET);
    throws<musig::CallError>([] { musig::Node(musig::Config()); }, MUSIG_STATUS_CONFIG);
    throws<musig::CallError>([] { musig::Config().listen("nowhere"); }, MUSIG_STATUS_INVALID_ARGUMENT);
    throws<musig::CallError>([] { musig::Config().bootstrap_peer("/ip4/127.0.0.1/tcp/1"); }, MUSIG_STATUS_INVALID_ARGUMENT);
    throws<musig::CallError>([] { musig::Config().relay("nowhere"); }, MUSIG_STATUS_INVALID_ARGUMENT);
    std::string server = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    musig::Config().bootstrap_peer(server).relay(server).dht(MUSIG_DHT_OFF).accepted_proposers({}).number(MUSIG_OPTION_MOBILE, 1).hides(false);
    musig::Signer signer(secret(1)), copy = signer, moved = std::move(copy);
    copy = moved;
    copy = std::move(moved);
    REQUIRE(copy.public_key() == signer.public_key());
    signer.lock();
    REQUIRE(copy.is_locked());
    signer.unlock(secret(1));
    REQUIRE(!copy.is_locked());
    musig::Election election({signer.public_key(), musig::Signer(secret(2)).public_key()}, MUSIG_ELECTION_FIRST_SIGNER, {});
    REQUIRE(election.coordinator() == 0);
    REQUIRE((election.priority_list() == std::vector<std::uint32_t>{0, 1}));
    REQUIRE(election.backup_after(0) == 1u);
    REQUIRE(!election.backup_after(1));
    REQUIRE(election.proof().size() == 64);
    std::vector<musig::PublicKey> keys{signer.public_key(), musig::Signer(secret(2)).public_key()};
    REQUIRE(musig::Election::verify(keys, MUSIG_ELECTION_FIRST_SIGNER, {}, 0, {0, 1}, election.proof()));
    REQUIRE(!musig::Election::verify(keys, MUSIG_ELECTION_FIRST_SIGNER, {}, 1, {0, 1}, election.proof()));
    REQUIRE(musig::version() == "0.1.0");
    REQUIRE(musig::aggregate_key({signer.public_key()}).size() == 33);
    key_sets(keys);
}

void signing_alone() {
    musig::Signer signer(secret(7));
    musig::Node node(alone(signer).without_observer());
    std::vector<musig::PublicKey> keys{signer.public_key()};
    auto session = node.create_session(musig::Proposal::messages(keys, {secret(3)}).sign_only());
    wait(node, MUSIG_EVENT_SESSION_COMPLETE);
    REQUIRE(session.status().phase == MUSIG_PHASE_FINAL && !session.status().has_failover);
    REQUIRE(session.terms().info().broadcast == MUSIG_BROADCAST_SIGN_ONLY);
    throws<musig::ProtocolError>([&] { session.broadcast_now(); }, MUSIG_STATUS_WRONG_STATE);
    auto other = node.create_session(musig::Proposal::messages(keys, {secret(3)}).coordinator_only());
    wait(node, MUSIG_EVENT_SHOULD_BROADCAST);
    REQUIRE(other.terms().info().broadcast == MUSIG_BROADCAST_COORDINATOR_ONLY);
    node.stop();
}

/// What closing would give up is said, and another call gives it up.
void close_while_watching(const musig::Session &session) {
    throws<musig::ProtocolError>([&] { session.close(); }, MUSIG_STATUS_NOT_SETTLED);
    session.abandon();
    session.close();
    REQUIRE(session.status().phase == MUSIG_PHASE_CLOSED);
    session.broadcast_now();
    REQUIRE(session.status().phase == MUSIG_PHASE_WATCHING);
    REQUIRE(session.coordinator_status(0).turn == 0 && session.coordinator_status(0).connected == 1);
    throws<musig::CallError>([&] { session.coordinator_status(9); }, MUSIG_STATUS_INDEX_OUT_OF_RANGE);
}

void sessions() {
    musig::Signer signer(secret(1));
    musig::Node node(alone(signer).without_observer());
    auto keys = std::vector<musig::PublicKey>{signer.public_key()};
    node.set_accepted_proposers(keys);
    node.set_accepted_proposers({});
    throws<musig::CallError>([&] { node.set_accepted_proposers({musig::PublicKey{}}); }, MUSIG_STATUS_INVALID_KEY);
    REQUIRE(node.reputation(signer.public_key()).reliability == 0.8);
    node.forget_signer(signer.public_key());
    throws<musig::CallError>([&] { node.forget_signer(musig::PublicKey{}); }, MUSIG_STATUS_INVALID_KEY);
    std::string words = "rent";
    auto proposal = musig::Proposal::messages(keys, {secret(3)})
                        .message(secret(4), 0, musig::key_path({7}))
                        .metadata({reinterpret_cast<const std::uint8_t *>(words.data()), words.size()})
                        .consent(MUSIG_JOIN_SIGN_BLIND)
                        .expires_in(1h);
    auto session = node.create_session(proposal);
    auto event = wait(node, MUSIG_EVENT_SESSION_COMPLETE);
    REQUIRE(event.is_durable() && event.session() == session.id());
    REQUIRE(event.bytes(MUSIG_EVENT_BYTES_SIGNATURES)->size() == 128);
    REQUIRE(!event.text(MUSIG_EVENT_BYTES_REASON));
    REQUIRE(!event.number(MUSIG_EVENT_NUMBER_TURN) && event.number(MUSIG_EVENT_NUMBER_STORED) == 1);
    REQUIRE(event.list(MUSIG_EVENT_LIST_PRIORITY_LIST)->size() == 1);
    node.event_handled(event);
    throws<musig::CallError>([&] { node.event_handled(event); }, MUSIG_STATUS_UNKNOWN_EVENT);
    throws<musig::CallError>([&] { event.terms(); }, MUSIG_STATUS_NO_SUCH_FIELD);
    REQUIRE(session.final_signatures()->size() == 2);
    REQUIRE(!session.final_transaction());
    REQUIRE(session.is_coordinator() && session.is_current_coordinator());
    REQUIRE(session.status().phase == MUSIG_PHASE_WATCHING);
    REQUIRE(session.terms().info().messages_count == 2);
    auto terms = session.terms();
    REQUIRE(terms.bytes(MUSIG_TERMS_METADATA).size() == 4);
    REQUIRE(musig::Terms::decode(terms.bytes(MUSIG_TERMS_ENCODED)).info().messages_count == 2);
    REQUIRE(terms.message(1).key_set == 0 && terms.message(1).derivation.path_count == 1);
    REQUIRE(terms.key_set(0).keys() == keys);
    REQUIRE(session.election().coordinator() == 0);
    REQUIRE(node.import_sessions(session.export_session()).at(0) == session.id());
    REQUIRE(node.sessions().size() == 1 && node.metrics().sessions == 1);
    int metrics_match = 0;
    for (const musig::MetricSample &sample : node.metric_samples()) {
        if (sample.name == "musig_sessions_completed_total") metrics_match += sample.value == 1 && sample.label.empty();
        if (sample.name == "musig_sessions" && sample.label_value == "watching") metrics_match += sample.value == 1;
        if (sample.name == "musig_store_commit_seconds") metrics_match += sample.buckets.back().count == sample.value;
    }
    REQUIRE(metrics_match == 3);
    REQUIRE(node.metrics_text().find("\nmusig_sessions_completed_total 1\n") != std::string::npos);
    close_while_watching(session);
    node.accept_all_proposers();
    session.notify_broadcast_complete(secret(9));
    wait(node, MUSIG_EVENT_BROADCAST_CONFIRMED);
    session.close();
    REQUIRE(!node.next_event(0ms) || true);
    node.stop();
    throws<musig::CallError>([&] { session.join(); }, MUSIG_STATUS_NODE_STOPPED);
}

/// A peer and a signer that cannot be reached.
void unreachable() {
    musig::Signer signer(secret(1)), other(secret(2));
    musig::Config config;
    config.signer(signer).store_memory().without_observer().listen("/ip4/127.0.0.1/tcp/0");
    config.peer("/ip4/127.0.0.1/tcp/1").number(MUSIG_OPTION_STALL_AFTER, 100);
    musig::Node node(config);
    auto event = wait(node, MUSIG_EVENT_PEER_UNREACHABLE);
    REQUIRE(event.text(MUSIG_EVENT_BYTES_ADDRESS) == "/ip4/127.0.0.1/tcp/1");
    REQUIRE(!event.bytes(MUSIG_EVENT_BYTES_SIGNER_KEY) && event.number(MUSIG_EVENT_NUMBER_NEXT_TRY_AT));
    REQUIRE(event.text(MUSIG_EVENT_BYTES_REASON)->find("refused") != std::string_view::npos);
    std::vector<musig::PublicKey> keys{signer.public_key(), other.public_key()};
    auto session = node.create_session(musig::Proposal::messages(keys, {secret(3)}));
    auto stalled = wait(node, MUSIG_EVENT_SESSION_STALLED);
    REQUIRE(stalled.list(MUSIG_EVENT_LIST_MISSING)->size() == 1);
    REQUIRE(stalled.signer_status(0).signer == 1 && !stalled.signer_status(0).connected);
    throws<musig::CallError>([&] { stalled.signer_status(1); }, MUSIG_STATUS_INDEX_OUT_OF_RANGE);
    REQUIRE(session.signer_status(0).consented && session.signer_status(0).last_seen > 0);
    REQUIRE(!session.signer_status(1).consented && session.signer_status(1).last_seen == 0);
    node.stop();
}

/// Onion services are dialled by a proxy, and refused without one.
void through_proxy() {
    std::string onion = "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234";
    musig::Signer signer(secret(1));
    musig::Config config;
    config.signer(signer).store_memory().without_observer().peer(onion);
    throws<musig::CallError>([&] { config.proxy("socks5h://tor.example:9050"); }, MUSIG_STATUS_INVALID_ARGUMENT);
    throws<musig::CallError>([&] { musig::Node node(config); }, MUSIG_STATUS_CONFIG);
    musig::Node node(config.proxy("socks5h://127.0.0.1:1").external(onion));
    auto event = wait(node, MUSIG_EVENT_PEER_UNREACHABLE);
    REQUIRE(event.text(MUSIG_EVENT_BYTES_ADDRESS) == onion);
    REQUIRE(event.text(MUSIG_EVENT_BYTES_REASON)->find("the proxy 127.0.0.1:1") != std::string_view::npos);
    node.stop();
}

/// Knows how many copies of it there are.
struct Counted {
    explicit Counted(std::atomic<int> &alive) : alive(&alive) { ++*this->alive; }
    Counted(const Counted &other) : alive(other.alive) { ++*alive; }
    Counted &operator=(const Counted &) = delete;
    ~Counted() { --*alive; }
    std::atomic<int> *alive;
};

void handlers() {
    std::atomic<int> alive{0}, thrown{0}, complete{0}, lines{0};
    std::atomic<bool> kept{false};
    {
        musig::Signer signer(secret(1));
        Counted counted(alive);
        auto config = alone(signer);
        config.without_observer()
            .log_sink(MUSIG_LOG_TRACE, [&, counted](musig_log_level, std::string_view, std::string_view) { lines++; })
            .event_handler([&, counted](musig::Node &node, const musig::Event &event) {
                throws<musig::CallError>([&] { node.stop(); }, MUSIG_STATUS_WOULD_DEADLOCK);
                if (event.kind() != MUSIG_EVENT_SESSION_COMPLETE) return;
                complete++;
                if (!kept) {
                    thrown++;
                    throw std::runtime_error("keeps the event");
                }
            });
        musig::Node node(config);
        node.create_session(musig::Proposal::messages({signer.public_key()}, {secret(3)}));
        while (complete < 1) std::this_thread::yield();
        kept = true;
        node.redeliver();
        while (complete < 2) std::this_thread::yield();
        REQUIRE(thrown == 1);
        node.stop();
        REQUIRE(alive == 1);
    }
    REQUIRE(alive == 0);
}

/// A proposal that spends one output of the signers, by a transaction of one input and one output.
musig::Proposal spend(const std::vector<musig::PublicKey> &keys, std::uint32_t sequence = 0xffffffff) {
    auto output = musig::KeySet(keys).final_key(musig::key_path({}));
    std::vector<std::uint8_t> script{0x51, 0x20}, transaction{2, 0, 0, 0, 1};
    script.insert(script.end(), output.begin() + 1, output.end());
    transaction.insert(transaction.end(), 32, 0x77);
    transaction.insert(transaction.end(), 5, 0);
    for (int i = 0; i < 4; i++) transaction.push_back(static_cast<std::uint8_t>(sequence >> 8 * i));
    transaction.insert(transaction.end(), {1, 0x28, 0x23, 0, 0, 0, 0, 0, 0, 34});
    transaction.insert(transaction.end(), script.begin(), script.end());
    transaction.insert(transaction.end(), 4, 0);
    musig_spent_output spent{10000, script.data(), script.size()};
    return musig::Proposal::transaction(keys, {transaction.data(), transaction.size()}, {spent});
}

/// An observer of functions: what it says of a coin is heard, and a throw is a backend that cannot be reached.
void unbroadcast_parent() {
    musig::Signer signer(secret(1));
    auto keys = std::vector<musig::PublicKey>{signer.public_key()};
    std::atomic<int> state{MUSIG_COIN_UNKNOWN}, asked{0};
    auto config = alone(signer);
    config.observer([](const musig_chain_query &, musig_chain_answer &) {},
                    [&](const musig_outpoint &outpoint, musig_coin_answer &answer) {
                        asked++;
                        if (state < 0) throw std::runtime_error("no route");
                        REQUIRE(outpoint.vout == 0);
                        answer.state = state;
                    });
    musig::Node node(config);
    auto proposal = spend(keys);
    throws<musig::ProtocolError>([&] { node.create_session(proposal); }, MUSIG_STATUS_MISSING_COIN);
    state = -1;
    throws<musig::ProtocolError>([&] { node.create_session(proposal); }, MUSIG_STATUS_COINS_NOT_KNOWN);
    REQUIRE(asked == 2);
    auto session = node.create_session(proposal.consent(MUSIG_JOIN_ALLOW_MISSING_COINS));
    session.join(MUSIG_JOIN_ALLOW_MISSING_COINS);
    REQUIRE(asked == 2);
    state = MUSIG_COIN_IN_MEMPOOL;
    auto again = node.create_session(spend(keys));
    REQUIRE(asked == 3);
    auto summary = again.summary(MUSIG_NETWORK_REGTEST);
    REQUIRE(summary.text().find("fee 0.00001000 BTC") != std::string::npos);
    REQUIRE(summary.info().fee == 1000 && summary.info().warnings_count == 1);
    REQUIRE(summary.message(0).derivation.taproot == MUSIG_TAPROOT_KEY_PATH);
    REQUIRE(summary.warning(0).kind == MUSIG_WARNING_COIN_IN_OTHER_SESSION);
    REQUIRE(std::memcmp(summary.warning(0).session, session.id().data(), 32) == 0);
    auto bump = node.create_session(spend(keys).replaces(session.id())).summary(MUSIG_NETWORK_REGTEST);
    bool lower = false;
    for (std::uint32_t i = 0; i < bump.info().warnings_count; i++)
        lower |= bump.warning(i).kind == MUSIG_WARNING_LOWER_FEE_RATE;
    REQUIRE(lower);
    auto input = summary.input(0);
    REQUIRE(input.own == 0 && input.kind == MUSIG_INPUT_SESSION);
    auto own = again.summary(MUSIG_NETWORK_REGTEST, {{input.script, input.script_length}});
    REQUIRE(own.input(0).own == 1 && own.output(0).own == 1 && own.message(0).has_input == 1);
}

/// A foreign signer of functions that throw: the call that needed it fails, with the status that was thrown.
void signers() {
    std::atomic<int> alive{0}, asked{0};
    std::atomic<musig_status> status{MUSIG_STATUS_OK};
    musig::Signer identity(secret(1));
    auto own = musig::Signer(secret(9)).public_key(), strange = musig::Signer(secret(8)).public_key();
    musig::KeyOrigin origin{{0x34, 0x42, 0x19, 0x3e}, {0x80000000, 1}};
    {
        Counted counted(alive);
        musig::SignerCallbacks callbacks;
        callbacks.holds = [&, counted](const musig::PublicKey &key, const std::optional<musig::KeyOrigin> &of) {
            asked++;
            if (!of || of->fingerprint != origin.fingerprint || of->path != origin.path) throw 8;
            if (status == MUSIG_STATUS_SIGNER_LOCKED) throw musig::ProtocolError(status, "locked");
            if (status == MUSIG_STATUS_SIGNER) throw 7;
            return key == own;
        };
        callbacks.make_nonces = callbacks.make_partials = [](const musig_signing_request &) {
            return std::vector<std::uint8_t>(1);
        };
        musig::ForeignSigner foreign(callbacks);
        throws<musig::CallError>([&] { musig::Node(musig::Config().foreign_signer(foreign).offline()); },
                                 MUSIG_STATUS_CONFIG);
        musig::Node node(alone(identity).foreign_signer(foreign).without_observer());
        auto propose = [&](const musig::PublicKey &key) {
            auto proposal = musig::Proposal::messages({identity.public_key()}, {});
            musig::KeySet key_set({key});
            key_set.origin(0, origin);
            musig_derivation none{};
            none.struct_size = sizeof none;
            proposal.message(secret(3), proposal.add_key_set(key_set), none);
            return node.create_session(proposal);
        };
        status = MUSIG_STATUS_SIGNER;
        throws<musig::ProtocolError>([&] { propose(own); }, MUSIG_STATUS_SIGNER);
        status = MUSIG_STATUS_SIGNER_LOCKED;
        throws<musig::ProtocolError>([&] { propose(own); }, MUSIG_STATUS_SIGNER_LOCKED);
        status = MUSIG_STATUS_OK;
        throws<musig::ProtocolError>([&] { propose(strange); }, MUSIG_STATUS_PROPOSAL);
        REQUIRE(asked == 3);
        propose(own);
        REQUIRE(asked == 4);
        node.stop();
    }
    while (alive != 0) std::this_thread::yield();
}

/// A message that may be a signature hash is refused, unless the application knows what it is.
void raw_message_over_a_wallet_key() {
    musig::Signer signer(secret(1));
    auto keys = std::vector<musig::PublicKey>{signer.public_key()};
    musig::Node node(alone(signer).without_observer());
    auto derived = musig::Proposal::messages(keys, {secret(3)}).message(secret(4), 0, musig::key_path({7}));
    throws<musig::ProtocolError>([&] { node.create_session(derived); }, MUSIG_STATUS_BLIND_MESSAGE);
    node.create_session(derived.consent(MUSIG_JOIN_SIGN_BLIND)).join(MUSIG_JOIN_SIGN_BLIND);
    auto raw = musig::Proposal::messages(keys, {secret(5)});
    node.create_session(raw);
    node.create_session(spend(keys));
    throws<musig::ProtocolError>([&] { node.create_session(raw); }, MUSIG_STATUS_BLIND_MESSAGE);
    node.create_session(raw.consent(MUSIG_JOIN_SIGN_BLIND));
    node.stop();
}

/// A lock time is waited for as long as an observer of functions says that it is not met.
void lock_time() {
    musig::Signer signer(secret(1));
    auto keys = std::vector<musig::PublicKey>{signer.public_key()};
    std::atomic<std::uint32_t> median_time{6023};
    std::atomic<int> asked{0}, submitted{0}, told{0}, congestions{0};
    auto config = alone(signer);
    config.observer(
        [&](const musig_chain_query &, musig_chain_answer &answer) {
            if (submitted > 0) answer.state = MUSIG_CHAIN_SEEN;
        },
        [](const musig_outpoint &, musig_coin_answer &answer) {
            answer.state = MUSIG_COIN_UNSPENT;
            answer.median_time = 5000;
        },
        [&](musig_chain_tip &tip) {
            if (asked++ == 3) throw std::runtime_error("no route");
            tip.height = 100;
            tip.median_time = median_time;
        },
        [&] {
            congestions++;
            return true;
        });
    config.broadcaster([&](musig::Bytes, musig::Bytes, std::string &) {
        if (told++ == 0) return MUSIG_SUBMIT_NOT_YET_FINAL;
        submitted++;
        return MUSIG_SUBMIT_ACCEPTED;
    });
    musig::Node node(config);
    // 1,024 s after the coin's block (BIP-68).
    node.create_session(spend(keys, 1u << 22 | 2).failover(1s));
    while (asked < 8) std::this_thread::yield();
    REQUIRE(submitted == 0 && told == 0);
    median_time = 6024;
    for (;;) {
        auto event = node.next_event(120s);
        REQUIRE(event && event->kind() != MUSIG_EVENT_BROADCAST_REJECTED);
        if (event->is_durable()) node.event_handled(*event);
        if (event->kind() == MUSIG_EVENT_BROADCAST_SEEN) break;
    }
    REQUIRE(submitted == 1 && told == 2 && congestions == 1);
    REQUIRE(node.metrics_text().find("\nmusig_chain_congested 1\n") != std::string::npos);
    node.stop();
}

void store_of_another_key() {
    char folder[] = "/tmp/musig-XXXXXX";
    REQUIRE(mkdtemp(folder));
    auto path = std::string(folder) + "/store";
    auto start = [&](std::uint8_t last) {
        musig::Config config;
        config.signer(musig::Signer(secret(last))).store_path(path).offline().without_observer();
        musig::Node(config).stop();
    };
    start(1);
    throws<musig::StoreError>([&] { start(2); }, MUSIG_STATUS_STORE_OTHER_KEY);
    start(1);
    std::remove(path.c_str());
    rmdir(folder);
}

} // namespace

// A PSBT of the signer of secret(1) alone.
void psbts() {
    musig::Signer signer(secret(1)), other(secret(2));
    musig::Node node(alone(signer).without_observer());
    musig::Bytes psbt(PSBT, sizeof PSBT);
    std::vector<musig::PublicKey> keys{signer.public_key()};
    throws<musig::ProtocolError>([&] { musig::Proposal::psbt({other.public_key()}, psbt); }, MUSIG_STATUS_WIRE);
    musig::Proposal::psbt({other.public_key()}, psbt, {musig::KeySet(keys)});
    auto session = node.create_session(musig::Proposal::psbt(keys, psbt));
    wait(node, MUSIG_EVENT_SESSION_COMPLETE);
    auto add = [&](const std::vector<musig::Signature> &signatures) { return musig::add_signatures(psbt, signatures); };
    auto filled = add(*session.final_signatures());
    musig::Bytes with_signatures(filled.data(), filled.size());
    REQUIRE(musig::combine_psbts(psbt, with_signatures) == filled);
    auto final = musig::finalize_psbt(with_signatures);
    REQUIRE(musig::extract_psbt(musig::Bytes(final.data(), final.size()))[0] == 2);
    throws<musig::ProtocolError>([&] { musig::extract_psbt(psbt); }, MUSIG_STATUS_WIRE);
    throws<musig::ProtocolError>([&] { add({}); }, MUSIG_STATUS_WIRE);
    node.stop();
}

void descriptors_and_sources() {
    musig::Descriptor descriptor(DESCRIPTOR);
    auto address = descriptor.address(MUSIG_NETWORK_REGTEST, 3);
    REQUIRE(address == "bcrt1pqff9x3s6cvytdmedk6jc5jna6hzfp7gn23ru4eejhd87mt0522wsun8k40");
    auto [key_set, derivation] = descriptor.keys(3);
    REQUIRE(key_set.address(derivation, MUSIG_NETWORK_REGTEST) == address);
    REQUIRE(descriptor.branches() == 1 && descriptor.text().find('#') != std::string::npos);
    throws<musig::ProtocolError>([&] { descriptor.address(MUSIG_NETWORK_MAINNET, 3); }, MUSIG_STATUS_WIRE);
    REQUIRE(musig::Source::esplora("http://127.0.0.1:9").name().find("127.0.0.1:9") != std::string::npos);
    REQUIRE(musig::Source::electrum("tcp://127.0.0.1:9").name().find("127.0.0.1:9") != std::string::npos);
    throws<musig::CallError>([&] { musig::Source::esplora("ftp://127.0.0.1"); }, MUSIG_STATUS_CONFIG);
    auto source = musig::Source::core("http://127.0.0.1:9", "/nowhere/.cookie");
    auto both = musig::Source::combined({source}, {musig::Source::esplora("http://127.0.0.1:8")}).name();
    REQUIRE(both.find("127.0.0.1:9") != std::string::npos && both.find("127.0.0.1:8") != std::string::npos);
    musig::Signer signer(secret(1));
    musig::Node node(alone(signer).source(musig::Source::core("http://127.0.0.1:9", "user", "secret")));
    node.add_descriptor(descriptor, 5);
    auto [kept, next_index, gap_limit] = node.descriptors().at(0);
    REQUIRE(kept.text() == descriptor.text() && next_index == 5 && gap_limit == 20);
    node.remove_descriptor(descriptor);
    REQUIRE(node.descriptors().empty());
    node.stop();
}

void groups() {
    auto origin = [](int index) {
        musig::KeyOrigin origin{{}, {ACCOUNT_PATH, ACCOUNT_PATH + 3}};
        std::memcpy(origin.fingerprint.data(), ACCOUNT_FINGERPRINT[index], 4);
        return origin;
    };
    musig::Signer alice(secret(1)), bob(secret(2));
    musig::SignerCard first(alice, ACCOUNT_XPUB[0], origin(0), "Alice", {"/ip4/192.0.2.1/tcp/4001"});
    musig::SignerCard second(bob, ACCOUNT_XPUB[1], origin(1));
    auto read = musig::SignerCard::parse(first.text());
    REQUIRE(read.identity() == alice.public_key() && read.xpub() == ACCOUNT_XPUB[0]);
    REQUIRE(read.name() == "Alice" && !second.name());
    REQUIRE(read.addresses().size() == 1 && second.addresses().empty());
    REQUIRE(read.origin().path == origin(0).path && read.origin().fingerprint == origin(0).fingerprint);
    throws<musig::ProtocolError>([&] { musig::SignerCard::parse(first.text() + "q"); }, MUSIG_STATUS_WIRE);
    throws<musig::ProtocolError>([&] { musig::Group({first, first}); }, MUSIG_STATUS_WIRE);
    musig::Group group({second, read});
    REQUIRE(musig::Group::from_json(group.to_json()).check_phrase() == GROUP_PHRASE);
    REQUIRE(group.address(MUSIG_NETWORK_REGTEST, 0) == GROUP_ADDRESS);
    REQUIRE(group.address(MUSIG_NETWORK_REGTEST, 5, true) == GROUP_CHANGE_ADDRESS);
    REQUIRE(group.descriptor().address(MUSIG_NETWORK_REGTEST, 5, 1) == GROUP_CHANGE_ADDRESS);
    auto [key_set, derivation] = group.keys(5, true);
    REQUIRE(key_set.address(derivation, MUSIG_NETWORK_REGTEST) == GROUP_CHANGE_ADDRESS);
    REQUIRE(group.signers().size() == 2 && group.card(1).identity() == group.signers()[1]);
    musig::Bytes psbt(GROUP_PSBT, sizeof GROUP_PSBT);
    throws<musig::ProtocolError>([&] { musig::Proposal::group(group, psbt); }, MUSIG_STATUS_WIRE);
    auto updated = musig::update_psbt(psbt, musig::Group({first}).descriptor());
    REQUIRE(updated.size() > psbt.size());
    REQUIRE(musig::update_psbt(musig::Bytes(updated.data(), updated.size()), musig::Group({first}).descriptor(), 6) == updated);
    alice.add_xprv(ACCOUNT_XPRV, origin(0));
    musig::Node node(alone(alice).without_observer());
    auto session = node.create_session(musig::Proposal::group(musig::Group({first}), psbt));
    wait(node, MUSIG_EVENT_SESSION_COMPLETE);
    musig::add_signatures(psbt, *session.final_signatures());
    node.stop();
}

void psbt_signers() {
    musig::Signer signer(secret(1));
    auto device = musig::Signer(secret(20)).public_key();
    std::atomic<int> calls{0};
    musig::PsbtSigner asked(musig::PsbtDevice{
        [&](const musig_psbt_request &request) -> std::vector<std::uint8_t> {
            REQUIRE(std::memcmp(request.keys, device.data(), device.size()) == 0);
            // A wallet that has no key of it gives it back as it is.
            if (calls++ > 0) return {request.psbt, request.psbt + request.psbt_length};
            throw musig::Error(MUSIG_STATUS_NOT_READY, "plug it in");
        },
        [](const musig_psbt_request &) -> std::vector<std::uint8_t> { abort(); }});
    asked.key(device);
    musig::Node node(alone(signer).without_observer().psbt_signer(asked));
    throws<musig::CallError>([&] { asked.key(device); }, MUSIG_STATUS_CONFIG_USED);
    musig::KeySet keys({device});
    auto output = keys.final_key(musig::key_path());
    std::vector<std::uint8_t> script{0x51, 0x20}, transaction(60);
    script.insert(script.end(), output.begin() + 1, output.end());
    transaction[0] = 2, transaction[4] = 1, transaction[5] = 1, transaction[46] = 1;
    auto proposal = musig::Proposal::transaction({signer.public_key()}, musig::Bytes(transaction.data(), transaction.size()),
                                                 {{60000, script.data(), script.size()}});
    proposal.add_key_set(keys);
    auto session = node.create_session(proposal.sign_only());
    while (true) {
        auto failed = wait(node, MUSIG_EVENT_SIGNER_FAILED);
        if (failed.text(MUSIG_EVENT_BYTES_REASON)->find("no public nonce") != std::string_view::npos) break;
    }
    REQUIRE(calls == 2 && asked.ask_again(session.id()));
    node.stop();
    throws<musig::CallError>([] { musig::PsbtSigner::folder("/proc/nowhere"); }, MUSIG_STATUS_CONFIG);
}

int main() {
    REQUIRE(musig::kind_name(MUSIG_EVENT_SESSION_COMPLETE) == "SESSION_COMPLETE");
    REQUIRE(musig::phase_name(MUSIG_PHASE_FINAL) == "FINAL");
    REQUIRE(musig::phase_name(0) == "UNKNOWN");
    values();
    psbts();
    descriptors_and_sources();
    groups();
    psbt_signers();
    signing_alone();
    sessions();
    unreachable();
    through_proxy();
    handlers();
    signers();
    unbroadcast_parent();
    raw_message_over_a_wallet_key();
    lock_time();
    store_of_another_key();
    return 0;
}
