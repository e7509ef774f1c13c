/* Every function once, with good arguments. A test compares the names in here with the header. */
#ifndef EVERY_H
#define EVERY_H

#include "group.h"
#include "prelude.h"
#include "psbt.h"

#include <pthread.h>
#include <unistd.h>
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <direct.h>
#include <io.h>
#include <windows.h>
static char *mkdtemp(char *name) {
    return _mktemp(name) != NULL && _mkdir(name) == 0 ? name : NULL;
}
#endif

#define SERVER "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"

static int destroyed;

static void destroy(void *user_data) {
    (void)user_data;
    destroyed++;
}

static int32_t handler(void *user_data, musig_node *node, musig_event *event) {
    (void)user_data, (void)node, (void)event;
    return 0;
}

static int32_t submit(void *user_data, const uint8_t *txid, const uint8_t *transaction, size_t transaction_length,
                      char *reason, size_t reason_capacity) {
    (void)user_data, (void)txid, (void)transaction, (void)transaction_length;
    REQUIRE(reason_capacity > 4);
    memcpy(reason, "low", 4);
    return MUSIG_SUBMIT_REJECTED;
}

static int32_t look(void *user_data, const musig_chain_query *query, musig_chain_answer *answer) {
    (void)user_data, (void)query;
    answer->state = MUSIG_CHAIN_SEEN;
    return 0;
}

static void log_line(void *user_data, int32_t level, const char *target, const char *message) {
    (void)user_data, (void)level, (void)target, (void)message;
}

static musig_status holds(void *user_data, int32_t *out, const uint8_t *key, const uint8_t *fingerprint,
                          const uint32_t *path, size_t path_count) {
    (void)user_data, (void)out, (void)key, (void)fingerprint, (void)path, (void)path_count;
    return MUSIG_STATUS_SIGNER_LOCKED;
}

static musig_status round_of(void *user_data, const musig_signing_request *request, uint8_t *out) {
    (void)user_data, (void)request, (void)out;
    return MUSIG_STATUS_SIGNER_LOCKED;
}

static void versions(void) {
    REQUIRE(musig_version() == MUSIG_VERSION_NUMBER);
    REQUIRE(musig_abi_version() == MUSIG_ABI_VERSION);
    REQUIRE(strcmp(musig_version_string(), "0.1.0") == 0);
    REQUIRE(strcmp(musig_status_string(MUSIG_STATUS_OK), "ok") == 0);
    REQUIRE(strcmp(musig_status_string(12345), "unknown status") == 0);
    REQUIRE(strcmp(musig_event_kind_string(MUSIG_EVENT_SESSION_PROPOSED), "SESSION_PROPOSED") == 0);
    REQUIRE(strcmp(musig_event_kind_string(MUSIG_EVENT_NETWORK_DEGRADED), "NETWORK_DEGRADED") == 0);
    REQUIRE(strcmp(musig_event_kind_string(MUSIG_EVENT_PEER_UNREACHABLE), "PEER_UNREACHABLE") == 0);
    REQUIRE(strcmp(musig_event_kind_string(MUSIG_EVENT_SIGNER_WAITING), "SIGNER_WAITING") == 0);
    REQUIRE(strcmp(musig_event_kind_string(0), "UNKNOWN") == 0);
    REQUIRE(strcmp(musig_phase_string(MUSIG_PHASE_WATCHING), "WATCHING") == 0);
    REQUIRE(strcmp(musig_phase_string(-1), "UNKNOWN") == 0);
}

static void errors(void) {
    musig_error *error = NULL;
    musig_signer *signer = NULL;
    uint8_t zero[32] = {0};
    IS(MUSIG_STATUS_WRONG_SECRET, musig_signer_new(&signer, zero, &error));
    REQUIRE(error && !signer);
    REQUIRE(musig_error_status(error) == MUSIG_STATUS_WRONG_SECRET);
    REQUIRE(strlen(musig_error_message(error)) > 10);
    REQUIRE(musig_error_is_retryable(error) == 0 && musig_error_is_retryable(NULL) == 0);
    REQUIRE(musig_error_ref(error) == error);
    musig_error_free(error);
    musig_error_free(error);
    /* On success it is NULL, whatever it was. */
    OK(musig_signer_generate(&signer, &error));
    REQUIRE(!error);
    musig_signer_free(signer);
}

/* The first vector of BIP-32. */
static void below_an_xprv(const musig_signer *signer) {
    const char *xprv = "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4c"
                       "V1rGL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7";
    const uint8_t fingerprint[4] = {0x34, 0x42, 0x19, 0x3e};
    const uint32_t path[2] = {0x80000000, 1};
    const uint8_t key[33] = {0x03, 0x50, 0x1e, 0x45, 0x4b, 0xf0, 0x07, 0x51, 0xf2, 0x4b, 0x1b, 0x48,
                             0x9a, 0xa9, 0x25, 0x21, 0x5d, 0x66, 0xaf, 0x22, 0x34, 0xe3, 0x89, 0x1c,
                             0x3b, 0x21, 0xa5, 0x2b, 0xed, 0xb3, 0xcd, 0x71, 0x1c};
    int32_t holds = 7;
    IS(MUSIG_STATUS_WRONG_SECRET, musig_signer_add_xprv(signer, "xprv", fingerprint, path, 1, NULL));
    IS(MUSIG_STATUS_WRONG_SECRET, musig_signer_add_xprv(signer, xprv, fingerprint, path, 2, NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_signer_add_xprv(signer, xprv, fingerprint, path, 17, NULL));
    OK(musig_signer_add_xprv(signer, xprv, fingerprint, path, 1, NULL));
    OK(musig_signer_holds(signer, &holds, key, fingerprint, path, 2, NULL));
    REQUIRE(holds == 1);
    OK(musig_signer_holds(signer, &holds, key, NULL, NULL, 0, NULL));
    REQUIRE(holds == 0);
}

static void signers(void) {
    musig_signer *signer = signer_of(0), *foreign;
    musig_signer_callbacks table = {sizeof table, holds, round_of, round_of, NULL};
    uint8_t key[33], secret[32], other[32], added[33];
    int32_t locked = 7;
    secret_of(secret, 0);
    secret_of(other, 1);
    OK(musig_signer_public_key(signer, key, NULL));
    REQUIRE(key[0] == 2 || key[0] == 3);
    OK(musig_signer_lock(signer, NULL));
    OK(musig_signer_is_locked(signer, &locked, NULL));
    REQUIRE(locked == 1);
    IS(MUSIG_STATUS_WRONG_SECRET, musig_signer_unlock(signer, other, NULL));
    OK(musig_signer_unlock(signer, secret, NULL));
    OK(musig_signer_is_locked(signer, &locked, NULL));
    REQUIRE(locked == 0);
    OK(musig_signer_holds(signer, &locked, key, NULL, NULL, 0, NULL));
    REQUIRE(locked == 1);
    OK(musig_signer_add_key(signer, added, other, NULL));
    OK(musig_signer_holds(signer, &locked, added, NULL, NULL, 0, NULL));
    REQUIRE(locked == 1);
    /* One key, one purpose. */
    OK(musig_signer_holds(signer, &locked, key, NULL, NULL, 0, NULL));
    REQUIRE(locked == 0);
    IS(MUSIG_STATUS_SIGNER, musig_signer_add_key(signer, added, secret, NULL));
    below_an_xprv(signer);
    REQUIRE(musig_signer_ref(signer) == signer);
    musig_signer_free(signer);
    destroyed = 0;
    OK(musig_signer_from_callbacks(&foreign, &table, NULL, destroy, NULL));
    IS(MUSIG_STATUS_NOT_LOCAL, musig_signer_lock(foreign, NULL));
    IS(MUSIG_STATUS_NOT_LOCAL, musig_signer_add_key(foreign, added, other, NULL));
    IS(MUSIG_STATUS_NOT_LOCAL, musig_signer_holds(foreign, &locked, key, NULL, NULL, 0, NULL));
    IS(MUSIG_STATUS_NOT_LOCAL, musig_signer_public_key(foreign, key, NULL));
    musig_signer_free(foreign);
    REQUIRE(destroyed == 1);
    /* user_data stays the caller's if the call fails. */
    table.holds = NULL;
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_signer_from_callbacks(&foreign, &table, NULL, destroy, NULL));
    REQUIRE(destroyed == 1);
    musig_signer_free(signer);
}

/* The start fails, and the error names the function of C that helps. */
static void start_needs(const musig_config *config, const char *function) {
    musig_node *node = NULL;
    musig_error *error = NULL;
    IS(MUSIG_STATUS_CONFIG, musig_node_start(&node, config, &error));
    REQUIRE(!node && strstr(musig_error_message(error), function));
    REQUIRE(!strstr(musig_error_message(error), "()"));
    musig_error_free(error);
}

static void configs(void) {
    musig_signer *signer = signer_of(0);
    musig_config *config;
    musig_broadcaster broadcaster = {sizeof broadcaster, submit};
    musig_chain_observer observer = {sizeof observer, look, NULL, NULL, NULL};
    musig_log_sink sink = {sizeof sink, MUSIG_LOG_TRACE, log_line};
    musig_signer_callbacks table = {sizeof table, holds, round_of, round_of, NULL};
    musig_signer *foreign;
    musig_node *node = NULL;
    destroyed = 0;
    OK(musig_config_new(&config, NULL));
    start_needs(config, "musig_config_set_signer");
    OK(musig_signer_from_callbacks(&foreign, &table, NULL, NULL, NULL));
    OK(musig_config_set_foreign_signer(config, foreign, NULL));
    musig_signer_free(foreign);
    start_needs(config, "musig_config_set_signer");
    OK(musig_config_set_signer(config, signer, NULL));
    start_needs(config, "musig_config_set_without_observer");
    OK(musig_config_set_store_path(config, "/nonexistent/musig/store", NULL));
    OK(musig_config_set_store_memory(config, NULL));
    OK(musig_config_add_listen_address(config, "/ip4/127.0.0.1/tcp/0", NULL));
    OK(musig_config_add_peer_address(config, "/ip4/127.0.0.1/tcp/1", NULL));
    OK(musig_config_add_bootstrap_address(config, SERVER, NULL));
    OK(musig_config_add_relay_address(config, SERVER, NULL));
    OK(musig_config_add_external_address(config, "/dns4/node.example/tcp/4001", NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_config_add_external_address(config, "nowhere", NULL));
    OK(musig_config_set_proxy(config, "socks5h://user:password@127.0.0.1:9050", NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_config_set_proxy(config, "socks5h://127.0.0.1", NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_config_add_bootstrap_address(config, "/ip4/127.0.0.1/tcp/1", NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_config_add_relay_address(config, "nowhere", NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_DHT, MUSIG_DHT_SERVER, NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_config_set_number(config, MUSIG_OPTION_DHT, 3, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_MDNS, 0, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_MOBILE, 1, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_HIDES, 0, NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_config_set_number(config, MUSIG_OPTION_HIDES, 2, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_MAX_CONNECTIONS, 8, NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_config_set_number(config, MUSIG_OPTION_MAX_CONNECTIONS, 0, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_MAX_CONNECTIONS_PER_IP, 4, NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_config_set_number(config, MUSIG_OPTION_MAX_CONNECTIONS_PER_IP, 0, NULL));
    OK(musig_config_set_offline(config, NULL));
    OK(musig_config_set_accepted_proposers(config, NULL, 0, NULL));
    IS(MUSIG_STATUS_NULL_ARGUMENT, musig_config_set_accepted_proposers(config, NULL, 1, NULL));
    OK(musig_config_set_broadcaster(config, &broadcaster, NULL, destroy, NULL));
    OK(musig_config_set_observer(config, &observer, NULL, destroy, NULL));
    OK(musig_config_set_event_handler(config, handler, NULL, destroy, NULL));
    /* The first handler is replaced, and its data destroyed. */
    OK(musig_config_set_event_handler(config, handler, NULL, destroy, NULL));
    REQUIRE(destroyed == 1);
    OK(musig_config_set_log_sink(config, &sink, NULL, destroy, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_FINAL_DEPTH, 3, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_EARLY_GONE, 0, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_EARLY_HOLD, 0, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_EARLY_PACE, 0, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_CLAIMS, 1, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_NACKS, 1, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_STALL_AFTER, 5000, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_MAX_SESSIONS, 10, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_SMALL_RUNTIME, 0, NULL));
    REQUIRE(musig_config_ref(config) == config);
    musig_config_free(config);
    OK(musig_node_start(&node, config, NULL));
    IS(MUSIG_STATUS_CONFIG_USED, musig_config_set_offline(config, NULL));
    musig_config_free(config);
    REQUIRE(destroyed == 1);
    OK(musig_node_stop(node, NULL));
    REQUIRE(destroyed == 5);
    OK(musig_node_stop(node, NULL));
    REQUIRE(destroyed == 5);
    musig_node_free(node);
    /* Both an observer and none. */
    OK(musig_config_new(&config, NULL));
    OK(musig_config_set_without_observer(config, NULL));
    musig_config_free(config);
    musig_signer_free(signer);
}

/* Three keys, and their aggregate. */
static void key_sets(const uint8_t *keys, const uint8_t *aggregate) {
    musig_derivation derivation = {sizeof derivation, MUSIG_TAPROOT_KEY_PATH, 2, {0, 7}, {0}};
    uint8_t output[33], fingerprint[4] = {1, 2, 3, 4}, twice[2 * 33], seen[4];
    uint32_t path[2] = {0x80000056, 1}, numbers[16];
    int32_t order;
    size_t count;
    musig_key_set *key_set, *none = NULL;
    musig_bytes *bytes;
    OK(musig_key_set_new(&key_set, keys, 3, MUSIG_KEY_ORDER_SORTED, NULL));
    OK(musig_key_set_final_key(key_set, output, NULL, NULL));
    REQUIRE(memcmp(output, aggregate, 33) == 0);
    OK(musig_key_set_final_key(key_set, output, &derivation, NULL));
    REQUIRE(memcmp(output, aggregate, 33) != 0);
    OK(musig_key_set_address(key_set, &bytes, &derivation, MUSIG_NETWORK_REGTEST, NULL));
    REQUIRE(strncmp((const char *)musig_bytes_data(bytes), "bcrt1p", 6) == 0);
    musig_bytes_free(bytes);
    OK(musig_key_set_order(key_set, &order, NULL));
    REQUIRE(order == MUSIG_KEY_ORDER_SORTED);
    OK(musig_key_set_keys(key_set, &bytes, NULL));
    REQUIRE(musig_bytes_length(bytes) == 99 && memcmp(musig_bytes_data(bytes), keys, 99) == 0);
    musig_bytes_free(bytes);
    IS(MUSIG_STATUS_NO_SUCH_FIELD, musig_key_set_origin(key_set, seen, numbers, 16, &count, 1, NULL));
    OK(musig_key_set_set_origin(key_set, 1, fingerprint, path, 2, NULL));
    OK(musig_key_set_origin(key_set, seen, numbers, 16, &count, 1, NULL));
    REQUIRE(count == 2 && memcmp(seen, fingerprint, 4) == 0 && memcmp(numbers, path, sizeof path) == 0);
    /* What no session signs with has no key. */
    derivation.path[1] = 0x80000000;
    IS(MUSIG_STATUS_PROPOSAL, musig_key_set_final_key(key_set, output, &derivation, NULL));
    derivation.path_count = 9;
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_key_set_final_key(key_set, output, &derivation, NULL));
    memcpy(twice, keys, 33);
    memcpy(twice + 33, keys, 33);
    twice[33] ^= 1;
    IS(MUSIG_STATUS_PROPOSAL, musig_key_set_new(&none, twice, 2, MUSIG_KEY_ORDER_SORTED, NULL));
    REQUIRE(musig_key_set_ref(key_set) == key_set);
    musig_key_set_free(key_set);
    musig_key_set_free(key_set);
}

static void elections(void) {
    uint8_t keys[3 * 33], id[32] = {1}, aggregate[33], output[33];
    uint32_t list[MUSIG_MAX_SIGNERS], backup = 99;
    musig_election *election;
    for (int i = 0; i < 3; i++) {
        musig_signer *signer = signer_of(i);
        OK(musig_signer_public_key(signer, keys + 33 * i, NULL));
        musig_signer_free(signer);
    }
    for (int32_t method = MUSIG_ELECTION_LEXICOGRAPHIC; method <= MUSIG_ELECTION_SESSION_SALTED; method++) {
        OK(musig_election_new(&election, keys, 3, method, id, NULL));
        REQUIRE(musig_election_method_of(election) == method);
        REQUIRE(musig_election_signers(election) == 3);
        OK(musig_election_priority_list(election, list, MUSIG_MAX_SIGNERS, NULL));
        REQUIRE(list[0] == musig_election_coordinator(election));
        REQUIRE(list[0] + list[1] + list[2] == 3);
        REQUIRE(strlen(musig_election_proof(election)) == 64);
        OK(musig_election_verify(keys, 3, method, id, list[0], list, 3, musig_election_proof(election), NULL));
        IS(MUSIG_STATUS_ELECTION_MISMATCH,
           musig_election_verify(keys, 3, method, id, list[1], list, 3, musig_election_proof(election), NULL));
        OK(musig_election_backup_after(election, &backup, list[0], NULL));
        REQUIRE(backup == list[1]);
        IS(MUSIG_STATUS_ELECTION, musig_election_backup_after(election, &backup, 3, NULL));
        REQUIRE(musig_election_ref(election) == election);
        musig_election_free(election);
        musig_election_free(election);
    }
    OK(musig_aggregate_key(aggregate, keys, 3, MUSIG_KEY_ORDER_SORTED, NULL));
    key_sets(keys, aggregate);
    memcpy(keys + 33, keys, 33);
    IS(MUSIG_STATUS_PROPOSAL, musig_aggregate_key(output, keys, 3, MUSIG_KEY_ORDER_SORTED, NULL));
}

static musig_proposal *transaction_of(const musig_node *node) {
    uint8_t key[33];
    musig_proposal *proposal;
    OK(musig_node_signer_key(node, key, NULL));
    proposal = transaction_for(key, 1, 0x77);
    OK(musig_proposal_set_sighash(proposal, MUSIG_SIGHASH_DEFAULT, NULL));
    OK(musig_proposal_set_consent(proposal, MUSIG_JOIN_ALLOW_UNVERIFIED_INPUTS, NULL));
    /* More addresses than any proposal has: only the one that pays is proposed with. */
    for (uint32_t i = 0; i < 600; i++) {
        musig_derivation derivation = {sizeof derivation, MUSIG_TAPROOT_KEY_PATH, 2, {0, i}, {0}};
        OK(musig_proposal_add_derivation(proposal, 0, &derivation, NULL));
    }
    {
        musig_derivation derivation = {sizeof derivation, MUSIG_TAPROOT_KEY_PATH, 0, {0}, {0}};
        OK(musig_proposal_add_derivation(proposal, 0, &derivation, NULL));
        IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_proposal_add_derivation(proposal, 1, &derivation, NULL));
        IS(MUSIG_STATUS_NO_SUCH_FIELD, musig_proposal_add_message(proposal, key, 0, &derivation, NULL));
    }
    return proposal;
}

static void proposals(const musig_node *node) {
    uint8_t key[33], digests[64], id[32] = {9}, seen[32], final_key[33];
    musig_proposal *proposal;
    musig_session *session;
    musig_terms *terms, *decoded;
    musig_terms_info info = {0};
    musig_message message = {0};
    musig_derivation derivation = {sizeof derivation, MUSIG_TAPROOT_KEY_PATH, 2, {0, 5}, {0}};
    musig_key_set *key_set;
    uint32_t index = 99;
    const uint8_t *bytes;
    size_t length;
    memset(digests, 3, sizeof digests);
    OK(musig_node_signer_key(node, key, NULL));
    OK(musig_proposal_new_messages(&proposal, key, 1, digests, 1, NULL));
    OK(musig_proposal_set_key_order(proposal, MUSIG_KEY_ORDER_AS_GIVEN, NULL));
    OK(musig_proposal_set_election_method(proposal, MUSIG_ELECTION_LAST_SIGNER, NULL));
    OK(musig_proposal_set_sign_only(proposal, NULL));
    OK(musig_proposal_set_coordinator_only(proposal, NULL));
    OK(musig_proposal_set_failover(proposal, 60000, MUSIG_TIERS_FIXED, 2, NULL));
    OK(musig_proposal_set_expires_in(proposal, 3600000, NULL));
    OK(musig_proposal_set_metadata(proposal, (const uint8_t *)"rent", 4, NULL));
    OK(musig_proposal_set_replaces(proposal, id, NULL));
    OK(musig_proposal_set_consent(proposal, MUSIG_JOIN_SIGN_BLIND, NULL));
    /* The same keys as an own key set: it is one key set of the terms. */
    OK(musig_key_set_new(&key_set, key, 1, MUSIG_KEY_ORDER_SORTED, NULL));
    OK(musig_proposal_add_key_set(proposal, &index, key_set, NULL));
    REQUIRE(index == 1);
    musig_key_set_free(key_set);
    OK(musig_proposal_add_message(proposal, digests, index, &derivation, NULL));
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_proposal_add_message(proposal, digests, 2, &derivation, NULL));
    IS(MUSIG_STATUS_NO_SUCH_FIELD, musig_proposal_add_derivation(proposal, 0, &derivation, NULL));
    IS(MUSIG_STATUS_NO_SUCH_FIELD, musig_proposal_set_sighash(proposal, MUSIG_SIGHASH_ALL, NULL));
    REQUIRE(musig_proposal_ref(proposal) == proposal);
    musig_proposal_free(proposal);
    OK(musig_node_create_session(node, &session, proposal, NULL));
    OK(musig_session_terms(session, &terms, NULL));
    info.struct_size = sizeof info;
    OK(musig_terms_get_info(terms, &info, NULL));
    REQUIRE(info.messages_count == 2 && info.signers_count == 1 && info.tier_width == 2 && info.has_replaces == 1);
    REQUIRE(info.key_sets_count == 1 && info.election_method == MUSIG_ELECTION_LAST_SIGNER);
    OK(musig_session_id(session, seen, NULL));
    REQUIRE(memcmp(seen, info.session_id, 32) == 0);
    IS(MUSIG_STATUS_STRUCT_SIZE, musig_terms_message(terms, &message, 1, NULL));
    message.struct_size = sizeof message;
    OK(musig_terms_message(terms, &message, 1, NULL));
    REQUIRE(memcmp(message.digest, digests, 32) == 0);
    REQUIRE(message.key_set == 0 && memcmp(&message.derivation, &derivation, sizeof derivation) == 0);
    OK(musig_terms_key_set(terms, &key_set, message.key_set, NULL));
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_terms_key_set(terms, &key_set, 1, NULL));
    OK(musig_key_set_final_key(key_set, final_key, &message.derivation, NULL));
    REQUIRE(final_key[0] == 2 || final_key[0] == 3);
    musig_key_set_free(key_set);
    OK(musig_terms_bytes(terms, &bytes, &length, MUSIG_TERMS_METADATA, NULL));
    REQUIRE(length == 4 && memcmp(bytes, "rent", 4) == 0);
    IS(MUSIG_STATUS_NO_SUCH_FIELD, musig_terms_bytes(terms, &bytes, &length, MUSIG_TERMS_TRANSACTION, NULL));
    OK(musig_terms_bytes(terms, &bytes, &length, MUSIG_TERMS_ENCODED, NULL));
    OK(musig_terms_decode(&decoded, bytes, length, NULL));
    musig_terms_free(decoded);
    REQUIRE(musig_terms_ref(terms) == terms);
    musig_terms_free(terms);
    musig_terms_free(terms);
    musig_event_free(wait_event(node, MUSIG_EVENT_SESSION_COMPLETE));
    musig_session_free(session);
    musig_proposal_free(proposal);
}

static void transactions(const musig_node *node) {
    musig_proposal *proposal = transaction_of(node);
    musig_session *session;
    musig_terms *terms;
    musig_spent_output spent;
    musig_bytes *transaction;
    uint8_t txid[32];
    OK(musig_node_create_session(node, &session, proposal, NULL));
    musig_event_free(wait_event(node, MUSIG_EVENT_SESSION_COMPLETE));
    OK(musig_session_terms(session, &terms, NULL));
    OK(musig_terms_spent_output(terms, &spent, 0, NULL));
    REQUIRE(spent.value == 10000 && spent.script_length == 34);
    musig_terms_free(terms);
    OK(musig_session_final_transaction(session, &transaction, txid, NULL));
    REQUIRE(musig_bytes_length(transaction) > 94);
    musig_bytes_free(transaction);
    OK(musig_session_broadcast_now(session, NULL));
    OK(musig_session_report_broadcast_failed(session, "no network", NULL));
    musig_session_free(session);
    musig_proposal_free(proposal);
}

/* What closing would give up is said, and another function gives it up. */
static void close_while_watching(const musig_session *session) {
    musig_error *error;
    IS(MUSIG_STATUS_NOT_SETTLED, musig_session_close(session, &error));
    REQUIRE(strstr(musig_error_message(error), "musig_session_abandon"));
    musig_error_free(error);
    OK(musig_session_abandon(session, NULL));
    OK(musig_session_close(session, NULL));
    OK(musig_session_broadcast_now(session, NULL));
}

static void sessions(const musig_node *node) {
    musig_session *session = propose_alone(node, 7), *same;
    musig_session_status status;
    musig_signer_status state = {0};
    musig_coordinator_status coordinator = {0};
    musig_event *event = wait_event(node, MUSIG_EVENT_SESSION_COMPLETE), *turn;
    musig_bytes *bytes;
    musig_election *election;
    musig_terms *terms = NULL;
    uint8_t id[32], in_event[32];
    uint32_t list[MUSIG_MAX_SIGNERS];
    const uint32_t *indices;
    const uint8_t *data;
    uint64_t number = 99;
    size_t count;
    int32_t flag;
    OK(musig_session_id(session, id, NULL));
    OK(musig_event_session_id(event, in_event, NULL));
    REQUIRE(memcmp(id, in_event, 32) == 0);
    REQUIRE(musig_event_kind_of(event) == MUSIG_EVENT_SESSION_COMPLETE);
    REQUIRE(musig_event_is_durable(event) == 1);
    REQUIRE(musig_event_id(event) > 0);
    OK(musig_event_number(event, &number, MUSIG_EVENT_NUMBER_RANK, NULL));
    REQUIRE(number == 0);
    IS(MUSIG_STATUS_NO_SUCH_FIELD, musig_event_number(event, &number, MUSIG_EVENT_NUMBER_TURN, NULL));
    OK(musig_event_number(event, &number, MUSIG_EVENT_NUMBER_STORED, NULL));
    REQUIRE(number == 1);
    OK(musig_event_list(event, &indices, &count, MUSIG_EVENT_LIST_PRIORITY_LIST, NULL));
    REQUIRE(count == 1 && indices[0] == 0);
    OK(musig_event_bytes(event, &data, &count, MUSIG_EVENT_BYTES_SIGNATURES, NULL));
    REQUIRE(count == 64);
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_event_proof(event, &data, &count, 0, NULL));
    state.struct_size = sizeof state;
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_event_signer_status(event, &state, 0, NULL));
    IS(MUSIG_STATUS_NO_SUCH_FIELD, musig_event_terms(event, &terms, NULL));
    OK(musig_node_event_handled(node, musig_event_id(event), NULL));
    IS(MUSIG_STATUS_UNKNOWN_EVENT, musig_node_event_handled(node, musig_event_id(event), NULL));
    REQUIRE(musig_event_ref(event) == event);
    musig_event_free(event);
    musig_event_free(event);
    turn = wait_event(node, MUSIG_EVENT_SHOULD_BROADCAST);
    musig_event_free(turn);
    OK(musig_node_redeliver(node, NULL));
    turn = wait_event(node, MUSIG_EVENT_SHOULD_BROADCAST);
    musig_event_free(turn);
    OK(musig_node_session(node, &same, id, NULL));
    musig_session_free(same);
    memset(&status, 0, sizeof status);
    status.struct_size = sizeof status;
    OK(musig_session_get_status(session, &status, NULL));
    REQUIRE(status.phase == MUSIG_PHASE_WATCHING && status.signers_count == 1 && status.accepted[0] == 1);
    REQUIRE(status.has_failover == 1 && status.current[0] == 1 && status.until_next_turn == UINT64_MAX);
    state.struct_size = sizeof state;
    OK(musig_session_signer_status(session, &state, 0, NULL));
    REQUIRE(state.connected == 1 && state.consented == 1 && state.last_seen > 0);
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_session_signer_status(session, &state, 1, NULL));
    IS(MUSIG_STATUS_STRUCT_SIZE, musig_session_coordinator_status(session, &coordinator, 0, NULL));
    coordinator.struct_size = sizeof coordinator;
    OK(musig_session_coordinator_status(session, &coordinator, 0, NULL));
    REQUIRE(coordinator.signer == 0 && coordinator.turn == 0 && coordinator.connected == 1 && coordinator.holds == 1);
    REQUIRE(coordinator.cause == MUSIG_CAUSE_TIMEOUT && coordinator.wait > 0 && coordinator.opens_at == 0);
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_session_coordinator_status(session, &coordinator, 1, NULL));
    OK(musig_session_final_signatures(session, &bytes, NULL));
    REQUIRE(musig_bytes_length(bytes) == 64 && musig_bytes_data(bytes));
    REQUIRE(musig_bytes_ref(bytes) == bytes);
    musig_bytes_free(bytes);
    musig_bytes_free(bytes);
    OK(musig_session_election(session, &election, NULL));
    musig_election_free(election);
    OK(musig_session_priority_list(session, list, MUSIG_MAX_SIGNERS, &count, NULL));
    REQUIRE(count == 1 && list[0] == 0);
    OK(musig_session_is_coordinator(session, &flag, NULL));
    REQUIRE(flag == 1);
    OK(musig_session_is_current_coordinator(session, &flag, NULL));
    REQUIRE(flag == 1);
    OK(musig_session_coordinator_peer_id(session, &bytes, NULL));
    musig_bytes_free(bytes);
    close_while_watching(session);
    OK(musig_session_notify_broadcast_complete(session, id, NULL));
    musig_event_free(wait_event(node, MUSIG_EVENT_BROADCAST_CONFIRMED));
    OK(musig_session_export(session, &bytes, NULL));
    REQUIRE(musig_bytes_length(bytes) > 100);
    {
        musig_bytes *ids;
        OK(musig_node_import(node, &ids, musig_bytes_data(bytes), musig_bytes_length(bytes), NULL));
        REQUIRE(musig_bytes_length(ids) == 32 && memcmp(musig_bytes_data(ids), id, 32) == 0);
        musig_bytes_free(ids);
    }
    musig_bytes_free(bytes);
    OK(musig_session_close(session, NULL));
    REQUIRE(musig_session_ref(session) == session);
    musig_session_free(session);
    musig_session_free(session);
}

/* What is shown before a session is joined. */
static void summaries(const musig_signer *signer) {
    static const char hostile[] = "\x1b[2Jrent";
    uint8_t key[33], digest[32] = {9};
    musig_node *node = start_alone(signer);
    musig_proposal *proposal;
    musig_session *session;
    musig_summary *summary;
    musig_summary_info info;
    musig_message_summary message;
    musig_input_summary input;
    musig_output_summary output;
    musig_warning warning;
    musig_script own = {NULL, 34};
    musig_summary_options options = {sizeof options, MUSIG_NETWORK_REGTEST, &own, 1, 0, 0};
    const char *text;
    size_t length;
    info.struct_size = sizeof info;
    message.struct_size = sizeof message;
    input.struct_size = sizeof input;
    output.struct_size = sizeof output;
    warning.struct_size = sizeof warning;
    OK(musig_signer_public_key(signer, key, NULL));
    proposal = transaction_for(key, 1, 0x55);
    OK(musig_proposal_set_metadata(proposal, (const uint8_t *)hostile, sizeof hostile - 1, NULL));
    OK(musig_node_create_session(node, &session, proposal, NULL));
    musig_proposal_free(proposal);
    options.own_scripts_count = 0;
    OK(musig_session_summary(session, &summary, &options, NULL));
    OK(musig_summary_output(summary, &output, 0, NULL));
    REQUIRE(output.own == 0 && output.value == 9000 && output.script_length == 34);
    own.script = output.script;
    options.own_scripts_count = 1;
    {
        musig_summary *same;
        OK(musig_session_summary(session, &same, &options, NULL));
        musig_summary_free(summary);
        summary = same;
    }
    OK(musig_summary_text(summary, &text, &length, NULL));
    REQUIRE(strlen(text) == length && strstr(text, "back to yourself") && strstr(text, "\n> \\u{1b}[2Jrent\n"));
    OK(musig_summary_get_info(summary, &info, NULL));
    REQUIRE(info.has_transaction == 1 && info.fee == 1000 && info.version == 2 && info.replaceable == 0);
    REQUIRE(info.messages_count == 1 && info.inputs_count == 1 && info.outputs_count == 1 && info.warnings_count == 0);
    REQUIRE(info.lock == MUSIG_LOCK_NONE && info.lock_time == 0 && info.weight > 300 && info.fee_rate > 8000);
    OK(musig_summary_message(summary, &message, 0, NULL));
    REQUIRE(message.derivation.struct_size == sizeof message.derivation && message.derivation.path_count == 0);
    REQUIRE(message.derivation.taproot == MUSIG_TAPROOT_KEY_PATH);
    REQUIRE(message.has_input == 1 && message.input == 0 && message.sighash == MUSIG_SIGHASH_DEFAULT);
    OK(musig_summary_input(summary, &input, 0, NULL));
    REQUIRE(input.kind == MUSIG_INPUT_SESSION && input.own == 1 && input.value == 10000 && input.coin.vout == 0);
    REQUIRE(memcmp(input.script + 2, message.final_key, 32) == 0 && strncmp(input.address, "bcrt1p", 6) == 0);
    OK(musig_summary_output(summary, &output, 0, NULL));
    REQUIRE(output.own == 1 && strcmp(output.address, input.address) == 0);
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_summary_warning(summary, &warning, 0, NULL));
    REQUIRE(musig_summary_ref(summary) == summary);
    musig_summary_free(summary);
    musig_summary_free(summary);
    options.own_scripts_count = 0;
    options.network = 9;
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_session_summary(session, &summary, &options, NULL));
    options.network = MUSIG_NETWORK_MAINNET;
    musig_session_free(session);
    OK(musig_proposal_new_messages(&proposal, key, 1, digest, 1, NULL));
    OK(musig_proposal_set_consent(proposal, MUSIG_JOIN_SIGN_BLIND, NULL));
    OK(musig_node_create_session(node, &session, proposal, NULL));
    musig_proposal_free(proposal);
    OK(musig_session_summary(session, &summary, &options, NULL));
    OK(musig_summary_warning(summary, &warning, 0, NULL));
    REQUIRE(warning.kind == MUSIG_WARNING_BLIND && warning.index == 0);
    IS(MUSIG_STATUS_NO_SUCH_FIELD, musig_summary_input(summary, &input, 0, NULL));
    musig_summary_free(summary);
    musig_session_free(session);
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
}

/* Two nodes that speak by export and import alone. */
static void consent(void) {
    musig_signer *signers[2] = {signer_of(0), signer_of(1)};
    musig_node *nodes[2] = {start_alone(signers[0]), start_alone(signers[1])};
    uint8_t keys[66], digest[32] = {5};
    for (int i = 0; i < 2; i++) OK(musig_signer_public_key(signers[i], keys + 33 * i, NULL));
    for (int i = 0; i < 3; i++) {
        musig_proposal *proposal;
        musig_session *session, *other;
        musig_bytes *bytes, *ids;
        musig_event *event;
        musig_terms *terms;
        digest[1] = (uint8_t)i;
        OK(musig_proposal_new_messages(&proposal, keys, 2, digest, 1, NULL));
        OK(musig_node_create_session(nodes[0], &session, proposal, NULL));
        OK(musig_session_export(session, &bytes, NULL));
        OK(musig_node_import(nodes[1], &ids, musig_bytes_data(bytes), musig_bytes_length(bytes), NULL));
        event = wait_event(nodes[1], MUSIG_EVENT_SESSION_PROPOSED);
        OK(musig_event_terms(event, &terms, NULL));
        musig_terms_free(terms);
        musig_event_free(event);
        OK(musig_node_session(nodes[1], &other, musig_bytes_data(ids), NULL));
        if (i == 0) OK(musig_session_join(other, NULL));
        else if (i == 1) OK(musig_session_decline(other, "too much", NULL));
        else {
            OK(musig_session_join_with(other, MUSIG_JOIN_ALLOW_UNVERIFIED_INPUTS, NULL));
            OK(musig_session_abort(other, "changed my mind", NULL));
        }
        musig_bytes_free(bytes);
        musig_bytes_free(ids);
        musig_session_free(session);
        musig_session_free(other);
        musig_proposal_free(proposal);
    }
    for (int i = 0; i < 2; i++) {
        OK(musig_node_stop(nodes[i], NULL));
        musig_node_free(nodes[i]);
        musig_signer_free(signers[i]);
    }
}

static void samples(const musig_node *node) {
    musig_metric_samples *samples;
    musig_metric_sample sample = {0};
    musig_bytes *text;
    uint32_t completed = 0;
    OK(musig_node_metric_samples(node, &samples, NULL));
    REQUIRE(musig_metric_samples_ref(samples) == samples);
    musig_metric_samples_free(samples);
    REQUIRE(musig_metric_samples_count(samples) > 50);
    IS(MUSIG_STATUS_STRUCT_SIZE, musig_metric_samples_get(samples, &sample, 0, NULL));
    sample.struct_size = sizeof sample;
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE,
       musig_metric_samples_get(samples, &sample, musig_metric_samples_count(samples), NULL));
    for (uint32_t i = 0; i < musig_metric_samples_count(samples); i++) {
        OK(musig_metric_samples_get(samples, &sample, i, NULL));
        if (strcmp(sample.name, "musig_sessions_completed_total") == 0) {
            REQUIRE(sample.kind == MUSIG_METRIC_COUNTER && sample.value == 3 && !sample.label);
            completed++;
        }
    }
    REQUIRE(completed == 1);
    musig_metric_samples_free(samples);
    OK(musig_node_metrics_text(node, &text, MUSIG_METRICS_FORMAT_PROMETHEUS, NULL));
    REQUIRE(strstr((const char *)musig_bytes_data(text), "\nmusig_sessions_completed_total 3\n"));
    musig_bytes_free(text);
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_node_metrics_text(node, &text, 0, NULL));
}

static void nodes(const musig_signer *signer) {
    musig_node *node = start_alone(signer);
    musig_metrics metrics;
    musig_reputation reputation;
    musig_bytes *bytes;
    uint8_t key[33];
    int32_t descriptor = -1;
    void *handle = NULL;
    musig_event *event = NULL;
    OK(musig_node_signer_key(node, key, NULL));
    OK(musig_node_peer_id(node, &bytes, NULL));
    REQUIRE(musig_bytes_length(bytes) > 20);
    musig_bytes_free(bytes);
#ifdef _WIN32
    OK(musig_node_event_handle(node, &handle, NULL));
    REQUIRE(WaitForSingleObject(handle, 0) == WAIT_TIMEOUT);
    IS(MUSIG_STATUS_CONFIG, musig_node_event_descriptor(node, &descriptor, NULL));
#else
    OK(musig_node_event_descriptor(node, &descriptor, NULL));
    REQUIRE(descriptor >= 0);
    IS(MUSIG_STATUS_CONFIG, musig_node_event_handle(node, &handle, NULL));
#endif
    IS(MUSIG_STATUS_NO_EVENT, musig_node_next_event(node, &event, 0, NULL));
    proposals(node);
    transactions(node);
    sessions(node);
    OK(musig_node_sessions(node, &bytes, NULL));
    REQUIRE(musig_bytes_length(bytes) == 3 * 32);
    musig_bytes_free(bytes);
    OK(musig_node_listen_addresses(node, &bytes, NULL));
    musig_bytes_free(bytes);
    OK(musig_node_connected_signers(node, &bytes, NULL));
    REQUIRE(musig_bytes_length(bytes) == 0);
    musig_bytes_free(bytes);
    IS(MUSIG_STATUS_CONFIG, musig_node_add_peer(node, "/ip4/127.0.0.1/tcp/0", NULL));
    IS(MUSIG_STATUS_NETWORK, musig_node_add_peer(node, "/ip4/127.0.0.1/tcp/1", NULL));
    OK(musig_node_announce(node, NULL));
    OK(musig_node_network_changed(node, NULL));
    OK(musig_node_set_accepted_proposers(node, key, 1, NULL));
    OK(musig_node_set_accepted_proposers(node, NULL, 0, NULL));
    IS(MUSIG_STATUS_NULL_ARGUMENT, musig_node_set_accepted_proposers(node, NULL, 1, NULL));
    OK(musig_node_accept_all_proposers(node, NULL));
    memset(&reputation, 0, sizeof reputation);
    IS(MUSIG_STATUS_STRUCT_SIZE, musig_node_reputation(node, &reputation, key, NULL));
    reputation.struct_size = sizeof reputation;
    OK(musig_node_reputation(node, &reputation, key, NULL));
    REQUIRE(reputation.successes == 0.0 && reputation.failures == 0.0 && reputation.reliability == 0.8);
    OK(musig_node_forget_signer(node, key, NULL));
    key[0] = 9;
    IS(MUSIG_STATUS_INVALID_KEY, musig_node_set_accepted_proposers(node, key, 1, NULL));
    IS(MUSIG_STATUS_INVALID_KEY, musig_node_reputation(node, &reputation, key, NULL));
    IS(MUSIG_STATUS_INVALID_KEY, musig_node_forget_signer(node, key, NULL));
    OK(musig_node_suspend(node, NULL));
    IS(MUSIG_STATUS_SUSPENDED, musig_node_network_changed(node, NULL));
    OK(musig_node_resume(node, NULL));
    memset(&metrics, 0, sizeof metrics);
    metrics.struct_size = sizeof metrics;
    OK(musig_node_metrics(node, &metrics, NULL));
    REQUIRE(metrics.sessions == 3 && metrics.commits > 0 && metrics.failed == 0);
    samples(node);
    REQUIRE(musig_node_ref(node) == node);
    musig_node_free(node);
    OK(musig_node_request_stop(node, NULL));
    OK(musig_node_stop(node, NULL));
    IS(MUSIG_STATUS_NODE_STOPPED, musig_node_metrics(node, &metrics, NULL));
    musig_node_free(node);
}

/* The bytes, which are freed, as an array of the caller's. */
static size_t taken(musig_bytes *bytes, uint8_t *out, size_t capacity) {
    size_t length = musig_bytes_length(bytes);
    REQUIRE(length <= capacity);
    memcpy(out, musig_bytes_data(bytes), length);
    musig_bytes_free(bytes);
    return length;
}

/* A PSBT is proposed, signed, and gets its signatures. */
static void psbts(const musig_signer *signer) {
    musig_node *node = start_alone(signer);
    uint8_t key[33], other[33], signatures[128], signed_psbt[4096], final[4096];
    size_t length;
    musig_proposal *proposal = NULL;
    musig_session *session;
    musig_bytes *bytes;
    musig_key_set *key_set;
    musig_signer *second = signer_of(1);
    const musig_key_set *key_sets[1];
    OK(musig_node_signer_key(node, key, NULL));
    OK(musig_signer_public_key(second, other, NULL));
    musig_signer_free(second);
    IS(MUSIG_STATUS_WIRE,
       musig_proposal_new_psbt(&proposal, other, 1, PSBT, sizeof PSBT, NULL, NULL, 0, NULL));
    IS(MUSIG_STATUS_WIRE,
       musig_proposal_new_psbt(&proposal, key, 1, PSBT, sizeof PSBT - 1, NULL, NULL, 0, NULL));
    REQUIRE(!proposal);
    /* Somebody else, by a key set that says that the keys are theirs. */
    OK(musig_key_set_new(&key_set, key, 1, MUSIG_KEY_ORDER_SORTED, NULL));
    key_sets[0] = key_set;
    OK(musig_proposal_new_psbt(&proposal, other, 1, PSBT, sizeof PSBT, NULL, key_sets, 1, NULL));
    musig_proposal_free(proposal);
    musig_key_set_free(key_set);
    OK(musig_proposal_new_psbt(&proposal, key, 1, PSBT, sizeof PSBT, NULL, NULL, 0, NULL));
    OK(musig_node_create_session(node, &session, proposal, NULL));
    musig_proposal_free(proposal);
    musig_event_free(wait_event(node, MUSIG_EVENT_SESSION_COMPLETE));
    OK(musig_session_final_signatures(session, &bytes, NULL));
    REQUIRE(taken(bytes, signatures, sizeof signatures) == sizeof signatures);
    OK(musig_psbt_add_signatures(&bytes, PSBT, sizeof PSBT, signatures, 2, NULL));
    length = taken(bytes, signed_psbt, sizeof signed_psbt);
    OK(musig_psbt_combine(&bytes, PSBT, sizeof PSBT, signed_psbt, length, NULL));
    REQUIRE(musig_bytes_length(bytes) == length && memcmp(musig_bytes_data(bytes), signed_psbt, length) == 0);
    musig_bytes_free(bytes);
    IS(MUSIG_STATUS_WIRE, musig_psbt_finalize(&bytes, PSBT, sizeof PSBT, NULL));
    OK(musig_psbt_finalize(&bytes, signed_psbt, length, NULL));
    length = taken(bytes, final, sizeof final);
    OK(musig_psbt_extract(&bytes, final, length, NULL));
    REQUIRE(musig_bytes_length(bytes) > 100 && musig_bytes_data(bytes)[0] == 2);
    musig_bytes_free(bytes);
    IS(MUSIG_STATUS_WIRE, musig_psbt_extract(&bytes, PSBT, sizeof PSBT, NULL));
    signatures[0] ^= 1;
    IS(MUSIG_STATUS_WIRE, musig_psbt_add_signatures(&bytes, PSBT, sizeof PSBT, signatures, 2, NULL));
    musig_session_free(session);
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
}

/* Bitcoin Core's, with its address of index 3. */
static void descriptors(void) {
    const char *text = DESCRIPTOR;
    const char *address = "bcrt1pqff9x3s6cvytdmedk6jc5jna6hzfp7gn23ru4eejhd87mt0522wsun8k40";
    musig_derivation derivation = {sizeof derivation, 0, 0, {0}, {0}};
    musig_descriptor *descriptor = NULL;
    musig_key_set *key_set;
    musig_bytes *bytes;
    uint32_t branches = 0;
    IS(MUSIG_STATUS_WIRE, musig_descriptor_new(&descriptor, "wsh(pk(xpub))", NULL));
    OK(musig_descriptor_new(&descriptor, text, NULL));
    OK(musig_descriptor_branches(descriptor, &branches, NULL));
    REQUIRE(branches == 1);
    OK(musig_descriptor_text(descriptor, &bytes, NULL));
    REQUIRE(strncmp((const char *)musig_bytes_data(bytes), text, strlen(text)) == 0);
    REQUIRE(musig_bytes_length(bytes) == strlen(text) + 9);
    musig_bytes_free(bytes);
    OK(musig_descriptor_address(descriptor, &bytes, MUSIG_NETWORK_REGTEST, 0, 3, NULL));
    REQUIRE(strcmp((const char *)musig_bytes_data(bytes), address) == 0);
    musig_bytes_free(bytes);
    IS(MUSIG_STATUS_WIRE, musig_descriptor_address(descriptor, &bytes, MUSIG_NETWORK_MAINNET, 0, 3, NULL));
    IS(MUSIG_STATUS_WIRE, musig_descriptor_address(descriptor, &bytes, MUSIG_NETWORK_REGTEST, 1, 3, NULL));
    OK(musig_descriptor_keys(descriptor, &key_set, &derivation, 0, 3, NULL));
    REQUIRE(derivation.path_count == 2 && derivation.path[1] == 3);
    OK(musig_key_set_address(key_set, &bytes, &derivation, MUSIG_NETWORK_REGTEST, NULL));
    REQUIRE(strcmp((const char *)musig_bytes_data(bytes), address) == 0);
    musig_bytes_free(bytes);
    musig_key_set_free(key_set);
    REQUIRE(musig_descriptor_ref(descriptor) == descriptor);
    musig_descriptor_free(descriptor);
    musig_descriptor_free(descriptor);
}

/* The text of a result, which is freed, is this one. */
static void is_text(musig_bytes *bytes, const char *text) {
    REQUIRE(strcmp((const char *)musig_bytes_data(bytes), text) == 0);
    musig_bytes_free(bytes);
}

static musig_signer_card *card_of(const musig_signer *signer, int index, const char *name) {
    const char *addresses[1] = {"/ip4/192.0.2.1/tcp/4001"};
    musig_signer_card *card;
    OK(musig_signer_card_new(&card, signer, ACCOUNT_XPUB[index], ACCOUNT_FINGERPRINT[index], ACCOUNT_PATH, 3, name,
                             addresses, 1, NULL));
    return card;
}

/* What a card says, after it went from one signer to another as text. */
static void group_cards(const musig_signer *signer) {
    musig_signer_card *card = card_of(signer, 0, "Alice"), *read = NULL, *unnamed;
    uint8_t key[33], own[33], fingerprint[4];
    uint32_t path[16];
    size_t count = 0;
    char text[1024];
    musig_bytes *bytes;
    OK(musig_signer_card_text(card, &bytes, NULL));
    REQUIRE(musig_bytes_length(bytes) < sizeof text);
    strcpy(text, (const char *)musig_bytes_data(bytes));
    musig_bytes_free(bytes);
    REQUIRE(strncmp(text, "musig1", 6) == 0);
    OK(musig_signer_card_parse(&read, text, NULL));
    musig_signer_card_free(card);
    OK(musig_signer_card_identity(read, key, NULL));
    OK(musig_signer_public_key(signer, own, NULL));
    REQUIRE(memcmp(key, own, sizeof key) == 0);
    OK(musig_signer_card_xpub(read, &bytes, NULL));
    is_text(bytes, ACCOUNT_XPUB[0]);
    OK(musig_signer_card_name(read, &bytes, NULL));
    is_text(bytes, "Alice");
    OK(musig_signer_card_address(read, &bytes, 0, NULL));
    is_text(bytes, "/ip4/192.0.2.1/tcp/4001");
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_signer_card_address(read, &bytes, 1, NULL));
    OK(musig_signer_card_origin(read, fingerprint, path, 16, &count, NULL));
    REQUIRE(memcmp(fingerprint, ACCOUNT_FINGERPRINT[0], 4) == 0);
    REQUIRE(count == 3 && memcmp(path, ACCOUNT_PATH, sizeof ACCOUNT_PATH) == 0);
    IS(MUSIG_STATUS_BUFFER_TOO_SMALL, musig_signer_card_origin(read, fingerprint, path, 2, &count, NULL));
    REQUIRE(musig_signer_card_ref(read) == read);
    musig_signer_card_free(read);
    musig_signer_card_free(read);
    unnamed = card_of(signer, 0, NULL);
    IS(MUSIG_STATUS_NO_SUCH_FIELD, musig_signer_card_name(unnamed, &bytes, NULL));
    musig_signer_card_free(unnamed);
    /* Changed on its way; another place than the key is at. */
    text[100] = text[100] == 'q' ? 'p' : 'q';
    IS(MUSIG_STATUS_WIRE, musig_signer_card_parse(&read, text, NULL));
    IS(MUSIG_STATUS_WIRE, musig_signer_card_new(&read, signer, ACCOUNT_XPUB[0], ACCOUNT_FINGERPRINT[0], ACCOUNT_PATH, 2,
                                                NULL, NULL, 0, NULL));
}

/* A group of two is the same in any order of their cards; one of one signer signs its PSBT. */
static void groups(const musig_signer *signer) {
    musig_signer *second = signer_of(1);
    musig_signer_card *cards[2], *own;
    const musig_signer_card *given[2];
    musig_group *group = NULL, *turned;
    musig_descriptor *descriptor;
    musig_key_set *key_set;
    musig_derivation derivation = {sizeof derivation, 0, 0, {0}, {0}};
    musig_proposal *proposal = NULL;
    musig_session *session;
    musig_bytes *bytes, *json;
    musig_node *node;
    uint8_t key[33], signatures[128];
    group_cards(signer);
    cards[0] = card_of(signer, 0, NULL);
    cards[1] = card_of(second, 1, NULL);
    given[0] = cards[0];
    given[1] = cards[0];
    IS(MUSIG_STATUS_WIRE, musig_group_new(&group, given, 2, NULL));
    given[1] = cards[1];
    OK(musig_group_new(&group, given, 2, NULL));
    given[0] = cards[1];
    given[1] = cards[0];
    OK(musig_group_new(&turned, given, 2, NULL));
    OK(musig_group_to_json(group, &json, NULL));
    OK(musig_group_to_json(turned, &bytes, NULL));
    is_text(bytes, (const char *)musig_bytes_data(json));
    musig_group_free(turned);
    OK(musig_group_from_json(&turned, (const char *)musig_bytes_data(json), NULL));
    musig_bytes_free(json);
    IS(MUSIG_STATUS_WIRE, musig_group_from_json(&turned, "{}", NULL));
    OK(musig_group_check_phrase(turned, &bytes, NULL));
    is_text(bytes, GROUP_PHRASE);
    musig_group_free(turned);
    OK(musig_group_address(group, &bytes, MUSIG_NETWORK_REGTEST, 0, 0, NULL));
    is_text(bytes, GROUP_ADDRESS);
    OK(musig_group_address(group, &bytes, MUSIG_NETWORK_REGTEST, 1, 5, NULL));
    is_text(bytes, GROUP_CHANGE_ADDRESS);
    IS(MUSIG_STATUS_WIRE, musig_group_address(group, &bytes, MUSIG_NETWORK_MAINNET, 0, 0, NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_group_address(group, &bytes, MUSIG_NETWORK_REGTEST, 2, 0, NULL));
    OK(musig_group_descriptor(group, &descriptor, NULL));
    OK(musig_descriptor_address(descriptor, &bytes, MUSIG_NETWORK_REGTEST, 1, 5, NULL));
    is_text(bytes, GROUP_CHANGE_ADDRESS);
    musig_descriptor_free(descriptor);
    OK(musig_group_keys(group, &key_set, &derivation, 1, 5, NULL));
    OK(musig_key_set_address(key_set, &bytes, &derivation, MUSIG_NETWORK_REGTEST, NULL));
    is_text(bytes, GROUP_CHANGE_ADDRESS);
    musig_key_set_free(key_set);
    OK(musig_group_signers(group, &bytes, NULL));
    REQUIRE(musig_bytes_length(bytes) == 66);
    OK(musig_group_card(group, &own, 1, NULL));
    OK(musig_signer_card_identity(own, key, NULL));
    REQUIRE(memcmp(key, musig_bytes_data(bytes) + 33, 33) == 0);
    musig_bytes_free(bytes);
    musig_signer_card_free(own);
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_group_card(group, &own, 2, NULL));
    IS(MUSIG_STATUS_WIRE, musig_proposal_new_group(&proposal, group, GROUP_PSBT, sizeof GROUP_PSBT, NULL));
    REQUIRE(musig_group_ref(group) == group);
    musig_group_free(group);
    musig_group_free(group);
    /* The wallet of one. */
    given[0] = cards[0];
    OK(musig_group_new(&group, given, 1, NULL));
    OK(musig_proposal_new_group(&proposal, group, GROUP_PSBT, sizeof GROUP_PSBT, NULL));
    {
        /* What its descriptor knows of the change. */
        musig_descriptor *descriptor;
        musig_bytes *again;
        OK(musig_group_descriptor(group, &descriptor, NULL));
        OK(musig_psbt_update(&bytes, GROUP_PSBT, sizeof GROUP_PSBT, descriptor, 1000, NULL));
        REQUIRE(musig_bytes_length(bytes) > sizeof GROUP_PSBT);
        OK(musig_psbt_update(&again, musig_bytes_data(bytes), musig_bytes_length(bytes), descriptor, 6, NULL));
        REQUIRE(musig_bytes_length(bytes) == musig_bytes_length(again));
        musig_bytes_free(again);
        musig_bytes_free(bytes);
        IS(MUSIG_STATUS_WIRE, musig_psbt_update(&bytes, GROUP_PSBT, sizeof GROUP_PSBT, descriptor, 50001, NULL));
        musig_descriptor_free(descriptor);
    }
    OK(musig_signer_add_xprv(signer, ACCOUNT_XPRV, ACCOUNT_FINGERPRINT[0], ACCOUNT_PATH, 3, NULL));
    node = start_alone(signer);
    OK(musig_node_create_session(node, &session, proposal, NULL));
    musig_event_free(wait_event(node, MUSIG_EVENT_SESSION_COMPLETE));
    OK(musig_session_final_signatures(session, &bytes, NULL));
    REQUIRE(taken(bytes, signatures, sizeof signatures) == sizeof signatures);
    OK(musig_psbt_add_signatures(&bytes, GROUP_PSBT, sizeof GROUP_PSBT, signatures, 2, NULL));
    musig_bytes_free(bytes);
    musig_session_free(session);
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
    musig_proposal_free(proposal);
    musig_group_free(group);
    musig_signer_card_free(cards[0]);
    musig_signer_card_free(cards[1]);
    musig_signer_free(second);
}

/* The own wallet: its descriptors, and that raw messages with its keys need a word. */
static void wallets(const musig_signer *signer) {
    musig_node *node = start_alone(signer);
    musig_descriptor *descriptor, *got = NULL;
    musig_bytes *first, *second;
    musig_key_set *key_set;
    musig_derivation derivation = {sizeof derivation, 0, 0, {0}, {0}}, none = derivation;
    musig_proposal *proposal;
    musig_session *session = NULL;
    char text[512];
    uint8_t own[33], digest[32] = {9};
    uint32_t next_index = 0, gap_limit = 0, index;
    snprintf(text, sizeof text, "tr(musig([%02x%02x%02x%02x/86h/1h/0h]%s)/<0;1>/*)", ACCOUNT_FINGERPRINT[0][0],
             ACCOUNT_FINGERPRINT[0][1], ACCOUNT_FINGERPRINT[0][2], ACCOUNT_FINGERPRINT[0][3], ACCOUNT_XPUB[0]);
    OK(musig_descriptor_new(&descriptor, text, NULL));
    OK(musig_signer_add_xprv(signer, ACCOUNT_XPRV, ACCOUNT_FINGERPRINT[0], ACCOUNT_PATH, 3, NULL));
    OK(musig_node_signer_key(node, own, NULL));
    IS(MUSIG_STATUS_LIMIT, musig_node_add_descriptor(node, descriptor, 4000000000u, 20, NULL));
    OK(musig_node_add_descriptor(node, descriptor, 0, 20, NULL));
    OK(musig_node_add_descriptor(node, descriptor, 5, 30, NULL));
    OK(musig_node_descriptor(node, &got, &next_index, &gap_limit, 0, NULL));
    REQUIRE(next_index == 5 && gap_limit == 30);
    OK(musig_descriptor_text(got, &first, NULL));
    OK(musig_descriptor_text(descriptor, &second, NULL));
    is_text(first, (const char *)musig_bytes_data(second));
    musig_bytes_free(second);
    musig_descriptor_free(got);
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_node_descriptor(node, &got, &next_index, &gap_limit, 1, NULL));
    OK(musig_descriptor_keys(descriptor, &key_set, &derivation, 1, 3, NULL));
    OK(musig_proposal_new_messages(&proposal, own, 1, digest, 0, NULL));
    OK(musig_proposal_add_key_set(proposal, &index, key_set, NULL));
    OK(musig_proposal_add_message(proposal, digest, index, &none, NULL));
    OK(musig_proposal_set_sign_only(proposal, NULL));
    IS(MUSIG_STATUS_BLIND_MESSAGE, musig_node_create_session(node, &session, proposal, NULL));
    OK(musig_node_remove_descriptor(node, descriptor, NULL));
    OK(musig_node_create_session(node, &session, proposal, NULL));
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_node_descriptor(node, &got, &next_index, &gap_limit, 0, NULL));
    musig_session_free(session);
    musig_proposal_free(proposal);
    musig_key_set_free(key_set);
    musig_descriptor_free(descriptor);
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
}

/* A device that reads PSBTs, and signs none. */
typedef struct {
    pthread_mutex_t lock;
    const uint8_t *key;
    uint8_t output[33];
    uint32_t calls, numbers[4];
    int has_nonces[4], cancelled, destroyed;
} psbt_device;

/* Where the map of the first input begins: after the global map. Everything in it is shorter than 253 bytes. */
static size_t first_input(const uint8_t *psbt) {
    size_t at = 5;
    while (psbt[at] != 0) {
        at += 1u + psbt[at];
        at += 1u + psbt[at];
    }
    return at + 1;
}

static int note_psbt(psbt_device *device, const musig_psbt_request *request) {
    uint8_t field[67] = {0x1b};
    size_t at;
    int call;
    memcpy(field + 1, device->key, 33);
    memcpy(field + 34, device->output, 33);
    pthread_mutex_lock(&device->lock);
    call = (int)device->calls++;
    REQUIRE(call < 4);
    REQUIRE(request->keys_count == 1 && memcmp(request->keys, device->key, 33) == 0);
    REQUIRE(request->expires_at > 1600000000000u && !request->again && !request->is_cancelled(request));
    device->numbers[call] = request->number;
    for (at = 0; at + sizeof field <= request->psbt_length; at++)
        if (memcmp(request->psbt + at, field, sizeof field) == 0) device->has_nonces[call] = 1;
    pthread_mutex_unlock(&device->lock);
    return call;
}

static musig_status device_nonces(void *data, const musig_psbt_request *request, musig_bytes **answer) {
    psbt_device *device = data;
    uint8_t psbt[4096];
    size_t at = first_input(request->psbt);
    switch (note_psbt(device, request)) {
    case 0:
        return MUSIG_STATUS_NOT_READY;
    case 1:
        /* A public nonce of two points that anybody knows. */
        memcpy(psbt, request->psbt, at);
        psbt[at] = 67, psbt[at + 1] = 0x1b;
        memcpy(psbt + at + 2, device->key, 33);
        memcpy(psbt + at + 35, device->output, 33);
        psbt[at + 68] = 66;
        memcpy(psbt + at + 69, device->key, 33);
        memcpy(psbt + at + 102, device->key, 33);
        memcpy(psbt + at + 135, request->psbt + at, request->psbt_length - at);
        OK(musig_bytes_new(answer, psbt, request->psbt_length + 135, NULL));
        return MUSIG_STATUS_OK;
    default:
        while (!request->is_cancelled(request)) usleep(2000);
        device->cancelled = 1;
        return MUSIG_STATUS_SIGNER;
    }
}

static musig_status device_partials(void *data, const musig_psbt_request *request, musig_bytes **answer) {
    (void)note_psbt(data, request), (void)answer;
    return MUSIG_STATUS_SIGNER;
}

static void device_destroyed(void *data) {
    psbt_device *device = data;
    pthread_mutex_lock(&device->lock);
    device->destroyed++;
    pthread_mutex_unlock(&device->lock);
}

static int device_is_destroyed(psbt_device *device) {
    int destroyed;
    pthread_mutex_lock(&device->lock);
    destroyed = device->destroyed;
    pthread_mutex_unlock(&device->lock);
    return destroyed;
}


/* The next failure of a signer says this. */
static void wait_failure(const musig_node *node, const char *words) {
    for (;;) {
        musig_event *event = wait_event(node, MUSIG_EVENT_SIGNER_FAILED);
        const uint8_t *reason;
        size_t length;
        int found;
        OK(musig_event_bytes(event, &reason, &length, MUSIG_EVENT_BYTES_REASON, NULL));
        found = strstr((const char *)reason, words) != NULL;
        musig_event_free(event);
        if (found) return;
    }
}

/* What a device is handed and when; the node waits for its last call. */
static void psbt_signers(const musig_signer *identity) {
    psbt_device device = {PTHREAD_MUTEX_INITIALIZER, NULL, {0}, 0, {0}, {0}, 0, 0};
    musig_psbt_device table = {sizeof table, 0, device_nonces, device_partials};
    musig_signer *other = signer_of(20);
    uint8_t key[33], own[33], id[32];
    musig_derivation derivation = {sizeof derivation, MUSIG_TAPROOT_KEY_PATH, 0, {0}, {0}};
    musig_psbt_signer *signer = NULL;
    musig_key_set *key_set;
    musig_config *config;
    musig_node *node;
    musig_proposal *proposal;
    musig_session *session;
    char folder[] = "/tmp/musig-psbt-XXXXXX";
    int32_t asked = -1;
    int i;
    OK(musig_signer_public_key(other, key, NULL));
    OK(musig_signer_public_key(identity, own, NULL));
    musig_signer_free(other);
    device.key = key;
    OK(musig_key_set_new(&key_set, key, 1, MUSIG_KEY_ORDER_SORTED, NULL));
    OK(musig_key_set_final_key(key_set, device.output, &derivation, NULL));
    musig_key_set_free(key_set);
    REQUIRE(mkdtemp(folder));
    OK(musig_psbt_signer_new_folder(&signer, folder, 2, NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_psbt_signer_new_folder(&signer, folder, 1, NULL));
    IS(MUSIG_STATUS_CONFIG, musig_psbt_signer_new_folder(&signer, "/proc/nowhere", 0, NULL));
    OK(musig_psbt_signer_add_xpub(signer, ACCOUNT_XPUB[0], ACCOUNT_FINGERPRINT[0], ACCOUNT_PATH, 3, NULL));
    IS(MUSIG_STATUS_SIGNER,
       musig_psbt_signer_add_xpub(signer, ACCOUNT_XPUB[0], ACCOUNT_FINGERPRINT[0], ACCOUNT_PATH, 2, NULL));
    musig_psbt_signer_free(signer);
    REQUIRE(rmdir(folder) == 0);
    OK(musig_psbt_signer_new(&signer, &table, 0, &device, device_destroyed, NULL));
    OK(musig_psbt_signer_add_key(signer, key, NULL));
    config = config_of(identity);
    OK(musig_config_set_psbt_signer(config, signer, NULL));
    IS(MUSIG_STATUS_CONFIG_USED, musig_psbt_signer_add_key(signer, key, NULL));
    OK(musig_node_start(&node, config, NULL));
    musig_config_free(config);
    proposal = transaction_with(own, key, 1, 7);
    OK(musig_proposal_set_sign_only(proposal, NULL));
    OK(musig_node_create_session(node, &session, proposal, NULL));
    musig_proposal_free(proposal);
    /* Of no session that it knows. */
    OK(musig_psbt_signer_ask_again(signer, &asked, device.output, NULL));
    REQUIRE(asked == 0);
    OK(musig_session_id(session, id, NULL));
    wait_failure(node, "NOT_READY");
    musig_event_free(wait_event(node, MUSIG_EVENT_SIGNER_WAITING));
    wait_failure(node, "the callback returned");
    OK(musig_psbt_signer_ask_again(signer, &asked, id, NULL));
    REQUIRE(asked == 1);
    for (i = 0; i < 4;) {
        pthread_mutex_lock(&device.lock);
        i = (int)device.calls;
        pthread_mutex_unlock(&device.lock);
        usleep(2000);
    }
    OK(musig_node_stop(node, NULL));
    REQUIRE(device.cancelled);
    REQUIRE(device.numbers[0] == 1 && device.numbers[1] == 1 && device.numbers[2] == 2 && device.numbers[3] == 3);
    REQUIRE(!device.has_nonces[0] && !device.has_nonces[1] && device.has_nonces[2] && !device.has_nonces[3]);
    musig_session_free(session);
    musig_node_free(node);
    REQUIRE(!device_is_destroyed(&device));
    REQUIRE(musig_psbt_signer_ref(signer) == signer);
    musig_psbt_signer_free(signer);
    musig_psbt_signer_free(signer);
    /* A thread of the library may be the last to use it. */
    while (!device_is_destroyed(&device)) usleep(2000);
    REQUIRE(device_is_destroyed(&device) == 1);
}

/* Ready-made backends; nothing is asked before a node needs it. */
static void sources(const musig_signer *signer) {
    musig_source_options options = {sizeof options, 0, 5000, "socks5h://127.0.0.1:9", NULL};
    musig_source *source = NULL;
    const musig_source *members[2] = {NULL, NULL};
    musig_config *config;
    musig_node *node;
    musig_bytes *bytes;
    OK(musig_source_new_core(&source, "http://127.0.0.1:9", "/nowhere/.cookie", NULL, NULL, NULL, NULL));
    musig_source_free(source);
    IS(MUSIG_STATUS_INVALID_ARGUMENT,
       musig_source_new_core(&source, "http://127.0.0.1:9", "/nowhere/.cookie", "user", NULL, NULL, NULL));
    IS(MUSIG_STATUS_CONFIG, musig_source_new_esplora(&source, "ftp://127.0.0.1", NULL, NULL));
    OK(musig_source_new_esplora(&source, "http://127.0.0.1:9/api", &options, NULL));
    musig_source_free(source);
    options.certificate_authority = "none";
    IS(MUSIG_STATUS_CONFIG, musig_source_new_esplora(&source, "https://127.0.0.1:9", &options, NULL));
    OK(musig_source_new_electrum(&source, "tcp://127.0.0.1:9", NULL, NULL));
    musig_source_free(source);
    OK(musig_source_new_core(&source, "http://127.0.0.1:9", NULL, "user", "secret", NULL, NULL));
    OK(musig_source_name(source, &bytes, NULL));
    REQUIRE(strstr((const char *)musig_bytes_data(bytes), "127.0.0.1:9"));
    REQUIRE(!strstr((const char *)musig_bytes_data(bytes), "secret"));
    musig_bytes_free(bytes);
    /* Several as one, which keeps each of them. */
    IS(MUSIG_STATUS_NULL_ARGUMENT, musig_source_new_combined(&source, members, 2, NULL, 0, NULL));
    IS(MUSIG_STATUS_NULL_ARGUMENT, musig_source_new_combined(&source, NULL, 1, NULL, 0, NULL));
    {
        musig_source *own = source, *other;
        OK(musig_source_new_electrum(&other, "tcp://127.0.0.1:8", NULL, NULL));
        members[0] = own;
        members[1] = other;
        OK(musig_source_new_combined(&source, members, 1, members + 1, 1, NULL));
        musig_source_free(own);
        musig_source_free(other);
    }
    OK(musig_source_name(source, &bytes, NULL));
    REQUIRE(strstr((const char *)musig_bytes_data(bytes), "127.0.0.1:9"));
    REQUIRE(strstr((const char *)musig_bytes_data(bytes), "127.0.0.1:8"));
    musig_bytes_free(bytes);
    OK(musig_config_new(&config, NULL));
    OK(musig_config_set_signer(config, signer, NULL));
    OK(musig_config_set_store_memory(config, NULL));
    OK(musig_config_set_offline(config, NULL));
    OK(musig_config_set_source(config, source, NULL));
    REQUIRE(musig_source_ref(source) == source);
    musig_source_free(source);
    musig_source_free(source);
    OK(musig_node_start(&node, config, NULL));
    musig_config_free(config);
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
}

static void every_function(void) {
    musig_signer *signer = signer_of(0);
    versions();
    errors();
    signers();
    configs();
    elections();
    nodes(signer);
    consent();
    {
        musig_signer *own = signer_of(0);
        summaries(own);
        psbts(own);
        sources(own);
        psbt_signers(own);
        wallets(own);
        groups(own);
        musig_signer_free(own);
    }
    descriptors();
    musig_signer_free(signer);
}

#endif
