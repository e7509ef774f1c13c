/* Signer, broadcaster, observer and log sink as tables of callbacks, through whole sessions: answering well, wrongly, not
 * at all, and too late.
 *
 *   foreign           all but what needs a time limit to pass
 *   foreign hang      callbacks that hang beyond their time limit: a minute
 */
#include "device.h"

#include <unistd.h>

/* A chain as the callbacks of one node see it, and what they were asked. */
struct chain {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* What the broadcaster answers, and for how many calls; then it accepts. */
    int32_t answer;
    int answers;
    /* What the observer does: the result, the state, and for how many calls; then it says what is true. */
    int32_t result, state;
    int looks;
    /* What it says of coins: the result and the state, and how often it was asked. */
    int32_t coin_result, coin_state;
    int coins;
    /* When its coins came, what it says of the last block, and how often it was asked. */
    uint32_t coin_time, median_time;
    int32_t tip_result;
    int tips;
    /* What it says of congestion, and how often it was asked. */
    int32_t congested, congestion_result;
    int congestions;
    int hang_submit, hang_look, hang_log, released;
    /* What is true. */
    int submitted;
    uint32_t confirmations;
    int conflict;
    /* What happened. */
    int submissions, queries, lines, destroyed, inside_submit, inside_look, inside_log;
    uint8_t txid[32];
};

static void chain_init(struct chain *chain) {
    memset(chain, 0, sizeof *chain);
    chain->coin_state = MUSIG_COIN_UNSPENT;
    pthread_mutex_init(&chain->lock, NULL);
    pthread_cond_init(&chain->changed, NULL);
}

static void hang(struct chain *chain, int *inside) {
    *inside = 1;
    pthread_cond_broadcast(&chain->changed);
    while (!chain->released) pthread_cond_wait(&chain->changed, &chain->lock);
    *inside = 0;
}

static int32_t submit(void *user_data, const uint8_t *txid, const uint8_t *transaction, size_t transaction_length,
                      char *reason, size_t reason_capacity) {
    struct chain *chain = user_data;
    int32_t answer = MUSIG_SUBMIT_ACCEPTED;
    uint8_t first, last;
    pthread_mutex_lock(&chain->lock);
    chain->submissions++;
    memcpy(chain->txid, txid, 32);
    REQUIRE(transaction_length > 94 && reason_capacity >= 64);
    if (chain->hang_submit) hang(chain, &chain->inside_submit);
    /* Still there, however late. */
    first = transaction[0], last = transaction[transaction_length - 1];
    REQUIRE(first == 2 && last == 0);
    if (chain->answers > 0) {
        chain->answers--;
        answer = chain->answer;
        /* To the last byte, without a NUL, and no UTF-8. */
        memset(reason, 'x', reason_capacity);
        reason[0] = (char)0xff;
    } else {
        chain->submitted = 1;
    }
    pthread_cond_broadcast(&chain->changed);
    pthread_mutex_unlock(&chain->lock);
    return answer;
}

static int32_t look(void *user_data, const musig_chain_query *query, musig_chain_answer *answer) {
    struct chain *chain = user_data;
    int32_t result = 0;
    pthread_mutex_lock(&chain->lock);
    chain->queries++;
    REQUIRE(query->struct_size == sizeof *query && answer->struct_size == sizeof *answer);
    REQUIRE(query->spends_count == 1 && query->spends[0].vout == 0 && query->txid);
    REQUIRE(answer->state == MUSIG_CHAIN_UNKNOWN && answer->confirmations == 0);
    if (chain->hang_look) hang(chain, &chain->inside_look);
    if (chain->looks > 0) {
        chain->looks--;
        answer->state = chain->state;
        result = chain->result;
    } else if (chain->conflict) {
        answer->state = MUSIG_CHAIN_CONFLICT;
        answer->confirmations = 1;
        memset(answer->conflict_txid, 0xcc, 32);
    } else if (chain->confirmations) {
        answer->state = MUSIG_CHAIN_CONFIRMED;
        answer->height = 100;
        answer->confirmations = chain->confirmations;
    } else if (chain->submitted) {
        answer->state = MUSIG_CHAIN_SEEN;
    }
    pthread_cond_broadcast(&chain->changed);
    pthread_mutex_unlock(&chain->lock);
    return result;
}

static int32_t look_for_coin(void *user_data, const musig_outpoint *outpoint, musig_coin_answer *answer) {
    struct chain *chain = user_data;
    int32_t result;
    pthread_mutex_lock(&chain->lock);
    chain->coins++;
    REQUIRE(answer->struct_size == sizeof *answer && answer->state == MUSIG_COIN_UNKNOWN && answer->confirmations == 0);
    REQUIRE(outpoint->vout == 0 && outpoint->txid[0] == outpoint->txid[31]);
    answer->state = chain->coin_state;
    REQUIRE(answer->median_time == 0);
    answer->confirmations = 7;
    answer->median_time = chain->coin_time;
    result = chain->coin_result;
    pthread_mutex_unlock(&chain->lock);
    return result;
}

static int32_t look_for_tip(void *user_data, musig_chain_tip *tip) {
    struct chain *chain = user_data;
    int32_t result;
    pthread_mutex_lock(&chain->lock);
    chain->tips++;
    REQUIRE(tip->struct_size == sizeof *tip && tip->height == 0 && tip->median_time == 0);
    tip->height = 100;
    tip->median_time = chain->median_time;
    result = chain->tip_result;
    pthread_cond_broadcast(&chain->changed);
    pthread_mutex_unlock(&chain->lock);
    return result;
}

static int32_t look_for_congestion(void *user_data, int32_t *congested) {
    struct chain *chain = user_data;
    int32_t result;
    pthread_mutex_lock(&chain->lock);
    chain->congestions++;
    REQUIRE(*congested == 0);
    *congested = chain->congested;
    result = chain->congestion_result;
    pthread_cond_broadcast(&chain->changed);
    pthread_mutex_unlock(&chain->lock);
    return result;
}

static void line(void *user_data, int32_t level, const char *target, const char *message) {
    struct chain *chain = user_data;
    pthread_mutex_lock(&chain->lock);
    REQUIRE(level >= MUSIG_LOG_ERROR && level <= MUSIG_LOG_TRACE && target[0] && message);
    chain->lines++;
    if (chain->hang_log) hang(chain, &chain->inside_log);
    pthread_mutex_unlock(&chain->lock);
}

static void chain_destroyed(void *user_data) {
    struct chain *chain = user_data;
    pthread_mutex_lock(&chain->lock);
    chain->destroyed++;
    pthread_cond_broadcast(&chain->changed);
    pthread_mutex_unlock(&chain->lock);
}

static void until(struct chain *chain, const int *value, int least) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 200;
    pthread_mutex_lock(&chain->lock);
    while (*value < least) REQUIRE(pthread_cond_timedwait(&chain->changed, &chain->lock, &end) == 0);
    pthread_mutex_unlock(&chain->lock);
}

static void release(struct chain *chain) {
    pthread_mutex_lock(&chain->lock);
    chain->released = 1;
    chain->hang_submit = chain->hang_look = chain->hang_log = 0;
    pthread_cond_broadcast(&chain->changed);
    pthread_mutex_unlock(&chain->lock);
}

/* A node without a network, with a device and a chain of callbacks if there are any. */
static musig_node *node_with(const musig_signer *signer, struct device *device, struct chain *chain) {
    musig_broadcaster broadcaster = {sizeof broadcaster, submit};
    musig_chain_observer observer = {sizeof observer, look, look_for_coin, look_for_tip, look_for_congestion};
    musig_log_sink sink = {sizeof sink, MUSIG_LOG_TRACE, line};
    musig_config *config;
    musig_node *node;
    OK(musig_config_new(&config, NULL));
    OK(musig_config_set_signer(config, signer, NULL));
    if (device) {
        musig_signer *foreign = device_signer(device);
        IS(MUSIG_STATUS_NOT_LOCAL, musig_config_set_signer(config, foreign, NULL));
        IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_config_set_foreign_signer(config, signer, NULL));
        OK(musig_config_set_foreign_signer(config, foreign, NULL));
        musig_signer_free(foreign);
    }
    OK(musig_config_set_store_memory(config, NULL));
    OK(musig_config_set_offline(config, NULL));
    if (chain) {
        OK(musig_config_set_broadcaster(config, &broadcaster, chain, chain_destroyed, NULL));
        OK(musig_config_set_observer(config, &observer, chain, chain_destroyed, NULL));
        OK(musig_config_set_log_sink(config, &sink, chain, chain_destroyed, NULL));
    } else {
        OK(musig_config_set_without_observer(config, NULL));
    }
    OK(musig_node_start(&node, config, NULL));
    musig_config_free(config);
    return node;
}

static musig_node *node_of(const musig_signer *signer, struct chain *chain) { return node_with(signer, NULL, chain); }

static void end(musig_node *node, musig_session *session, struct chain *chain) {
    musig_session_free(session);
    OK(musig_node_stop(node, NULL));
    if (chain) REQUIRE(chain->destroyed == 3);
    musig_node_free(node);
    if (chain) REQUIRE(chain->destroyed == 3);
}

/* A session over a transaction of these participant keys. The first signer is the coordinator. */
static musig_session *spend_with(const musig_node *node, const uint8_t *signers, const uint8_t *keys, size_t count,
                                 uint8_t spends, uint64_t timeout) {
    musig_proposal *proposal = transaction_with(signers, keys, count, spends);
    musig_session *session;
    OK(musig_proposal_set_election_method(proposal, MUSIG_ELECTION_FIRST_SIGNER, NULL));
    OK(musig_proposal_set_failover(proposal, timeout, MUSIG_TIERS_SINGLE, 0, NULL));
    OK(musig_node_create_session(node, &session, proposal, NULL));
    musig_proposal_free(proposal);
    return session;
}

static musig_session *spend(const musig_node *node, const uint8_t *keys, size_t count, uint8_t spends, uint64_t timeout) {
    return spend_with(node, keys, keys, count, spends, timeout);
}

/* A session of one signer over a message, which this participant key signs. Its origin is that of BIP-32's first vector. */
static musig_status propose_with(const musig_node *node, const uint8_t *key, musig_session **session) {
    const uint8_t fingerprint[4] = {0x34, 0x42, 0x19, 0x3e};
    const uint32_t path[2] = {0x80000000, 1};
    uint8_t signer[33], digest[32] = {7};
    musig_proposal *proposal;
    musig_key_set *key_set;
    musig_status status;
    uint32_t index;
    OK(musig_node_signer_key(node, signer, NULL));
    OK(musig_key_set_new(&key_set, key, 1, MUSIG_KEY_ORDER_SORTED, NULL));
    OK(musig_key_set_set_origin(key_set, 0, fingerprint, path, 2, NULL));
    OK(musig_proposal_new_messages(&proposal, signer, 1, NULL, 0, NULL));
    OK(musig_proposal_add_key_set(proposal, &index, key_set, NULL));
    OK(musig_proposal_add_message(proposal, digest, index, NULL, NULL));
    musig_key_set_free(key_set);
    status = musig_node_create_session(node, session, proposal, NULL);
    musig_proposal_free(proposal);
    return status;
}

/* Carries everything from one node to the other, as by mail. */
static void carry(const musig_session *from, const musig_node *to) {
    musig_bytes *bytes, *ids;
    OK(musig_session_export(from, &bytes, NULL));
    OK(musig_node_import(to, &ids, musig_bytes_data(bytes), musig_bytes_length(bytes), NULL));
    musig_bytes_free(ids);
    musig_bytes_free(bytes);
}

/* Carries to and fro until a node has an event of this kind. The caller frees it. */
static musig_event *carry_until(const musig_node *const *nodes, musig_session *const *sessions, int waiting, int32_t kind) {
    for (int round = 0; round < 20000; round++) {
        musig_event *event;
        carry(sessions[0], nodes[1]);
        carry(sessions[1], nodes[0]);
        while (musig_node_next_event(nodes[waiting], &event, 5, NULL) == MUSIG_STATUS_OK) {
            if (musig_event_kind_of(event) == kind) return event;
            musig_event_free(event);
        }
    }
    REQUIRE(!"the event comes");
    return NULL;
}

/* Two nodes, of which the first has a device and a chain of callbacks: from the proposal to the sixth confirmation. */
static void whole_session(void) {
    struct device device;
    struct chain chain;
    musig_signer *signers[2];
    musig_node *nodes[2];
    musig_session *sessions[2];
    musig_bytes *first, *second;
    musig_session_status status;
    uint8_t keys[66], participants[66], id[32];
    device_init(&device, 0);
    chain_init(&chain);
    for (int i = 0; i < 2; i++) {
        signers[i] = signer_of(i);
        OK(musig_signer_public_key(signers[i], keys + 33 * i, NULL));
    }
    /* The other one signs with its identity key. */
    memcpy(participants, device.key, 33);
    memcpy(participants + 33, keys + 33, 33);
    nodes[0] = node_with(signers[0], &device, &chain);
    nodes[1] = node_of(signers[1], NULL);
    for (int i = 0; i < 2; i++) musig_signer_free(signers[i]);
    sessions[0] = spend_with(nodes[0], keys, participants, 2, 1, 1000);
    OK(musig_session_id(sessions[0], id, NULL));
    OK(musig_node_session(nodes[1], &sessions[1], id, NULL));
    carry(sessions[0], nodes[1]);
    musig_event_free(wait_event(nodes[1], MUSIG_EVENT_SESSION_PROPOSED));
    OK(musig_session_join(sessions[1], NULL));
    musig_event_free(carry_until((const musig_node *const *)nodes, sessions, 1, MUSIG_EVENT_SESSION_COMPLETE));
    OK(musig_session_final_signatures(sessions[0], &first, NULL));
    OK(musig_session_final_signatures(sessions[1], &second, NULL));
    REQUIRE(memcmp(musig_bytes_data(first), musig_bytes_data(second), 64) == 0);
    musig_bytes_free(first);
    musig_bytes_free(second);
    musig_event_free(wait_event(nodes[0], MUSIG_EVENT_BROADCAST_SEEN));
    {
        uint8_t txid[32];
        OK(musig_session_final_transaction(sessions[0], &first, txid, NULL));
        REQUIRE(memcmp(txid, chain.txid, 32) == 0);
        musig_bytes_free(first);
    }
    pthread_mutex_lock(&chain.lock);
    chain.confirmations = 6;
    pthread_mutex_unlock(&chain.lock);
    {
        musig_event *event = wait_event(nodes[0], MUSIG_EVENT_BROADCAST_CONFIRMED);
        uint64_t height;
        OK(musig_event_number(event, &height, MUSIG_EVENT_NUMBER_HEIGHT, NULL));
        REQUIRE(height == 100);
        {
            const uint32_t *coordinators;
            uint64_t by;
            size_t count;
            OK(musig_event_list(event, &coordinators, &count, MUSIG_EVENT_LIST_COORDINATORS, NULL));
            OK(musig_event_number(event, &by, MUSIG_EVENT_NUMBER_BY, NULL));
            REQUIRE(count == 1 && by == MUSIG_BROADCAST_BY_OWN);
            IS(MUSIG_STATUS_NO_SUCH_FIELD, musig_event_number(event, &by, MUSIG_EVENT_NUMBER_SIGNER, NULL));
        }
        musig_event_free(event);
    }
    do {
        status.struct_size = sizeof status;
        OK(musig_session_get_status(sessions[0], &status, NULL));
    } while (status.phase != MUSIG_PHASE_FINAL);
    REQUIRE(status.evidence == MUSIG_EVIDENCE_CONFIRMED && status.confirmations == 6);
    pthread_mutex_lock(&chain.lock);
    /* The other signer's key is not its own, nor is that one's negation. */
    REQUIRE(chain.submissions >= 1 && chain.lines > 0 && device.asked >= 5 && device.strange == 2);
    pthread_mutex_unlock(&chain.lock);
    end(nodes[1], sessions[1], NULL);
    end(nodes[0], sessions[0], &chain);
    device_free(&device);
}

/* A device that does wrong once: the node says so, asks again, and the session finishes, in the attempt that is told. */
static void signer_answers(enum fault fault, const char *words, uint32_t attempt) {
    struct device device;
    musig_signer *signer;
    musig_node *node;
    musig_session *session;
    musig_session_status status;
    musig_event *event;
    int failed = 0;
    device_init(&device, 0);
    signer = signer_of(0);
    device.fault = fault;
    node = node_with(signer, &device, NULL);
    musig_signer_free(signer);
    OK(propose_with(node, device.key, &session));
    if (fault == FAULT_NONCES_HANG || fault == FAULT_PARTIALS_HANG) {
        musig_signer *other = signer_of(1);
        musig_node *beside = start_alone(other);
        pthread_mutex_lock(&device.lock);
        while (!device.hangs) pthread_cond_wait(&device.changed, &device.lock);
        pthread_mutex_unlock(&device.lock);
        /* The node answers meanwhile, and others do their work. */
        status.struct_size = sizeof status;
        OK(musig_session_get_status(session, &status, NULL));
        musig_session_free(propose_alone(beside, 1));
        musig_event_free(wait_event(beside, MUSIG_EVENT_SESSION_COMPLETE));
        end(beside, NULL, NULL);
        musig_signer_free(other);
    }
    for (;;) {
        OK(musig_node_next_event(node, &event, 90000, NULL));
        if (musig_event_kind_of(event) == MUSIG_EVENT_SESSION_COMPLETE) break;
        if (musig_event_kind_of(event) == MUSIG_EVENT_SIGNER_FAILED) {
            const uint8_t *reason;
            size_t length;
            OK(musig_event_bytes(event, &reason, &length, MUSIG_EVENT_BYTES_REASON, NULL));
            if (failed++ == 0 && !strstr((const char *)reason, words)) {
                fprintf(stderr, "fault %d: %s\n", (int)fault, (const char *)reason);
                exit(1);
            }
            /* What it says now comes too late. */
            pthread_mutex_lock(&device.lock);
            device.released = 1;
            pthread_cond_broadcast(&device.changed);
            pthread_mutex_unlock(&device.lock);
        }
        musig_event_free(event);
    }
    musig_event_free(event);
    REQUIRE(failed >= 1 && device.fault == FAULT_NONE);
    status.struct_size = sizeof status;
    OK(musig_session_get_status(session, &status, NULL));
    if (status.attempt != attempt) {
        fprintf(stderr, "fault %d: finished in attempt %u\n", (int)fault, (unsigned)status.attempt);
        exit(1);
    }
    end(node, session, NULL);
    device_free(&device);
}

/* A device is asked for keys first: without its word there is no session. */
static void no_proposal(void) {
    const enum fault faults[2] = {FAULT_HOLDS_FAILS, FAULT_HOLDS_NUMBER};
    struct device device;
    musig_signer *signer = signer_of(0);
    musig_node *node;
    musig_session *session = NULL;
    musig_bytes *none;
    uint8_t key[33];
    device_init(&device, 0);
    node = node_with(signer, &device, NULL);
    for (int i = 0; i < 2; i++) {
        pthread_mutex_lock(&device.lock);
        device.fault = faults[i];
        pthread_mutex_unlock(&device.lock);
        IS(MUSIG_STATUS_SIGNER, propose_with(node, device.key, &session));
    }
    /* A key that it does not hold; and the identity key, which it is not asked for. */
    REQUIRE(device.strange == 0);
    memcpy(key, device.key, 33);
    key[0] ^= 1;
    IS(MUSIG_STATUS_PROPOSAL, propose_with(node, key, &session));
    REQUIRE(device.strange == 1);
    OK(musig_signer_public_key(signer, key, NULL));
    IS(MUSIG_STATUS_PROPOSAL, propose_with(node, key, &session));
    REQUIRE(device.strange == 1 && !session);
    musig_signer_free(signer);
    OK(musig_node_sessions(node, &none, NULL));
    REQUIRE(musig_bytes_length(none) == 0);
    musig_bytes_free(none);
    OK(propose_with(node, device.key, &session));
    musig_event_free(wait_event(node, MUSIG_EVENT_SESSION_COMPLETE));
    end(node, session, NULL);
    device_free(&device);
}

/* A broadcaster that does not accept at first, and an observer that cannot look at first: both are asked again. */
static void chain_answers(int32_t answer, int32_t result, int32_t state) {
    struct chain chain;
    musig_signer *signer = signer_of(0);
    musig_node *node;
    musig_session *session;
    musig_session_status status;
    uint8_t key[33];
    chain_init(&chain);
    chain.answer = answer;
    chain.answers = 1;
    chain.result = result;
    chain.state = state;
    chain.looks = 2;
    OK(musig_signer_public_key(signer, key, NULL));
    node = node_of(signer, &chain);
    musig_signer_free(signer);
    session = spend(node, key, 1, 2, 1000);
    if (answer == MUSIG_SUBMIT_REJECTED) {
        musig_event *event = wait_event(node, MUSIG_EVENT_BROADCAST_REJECTED);
        const uint8_t *reason;
        size_t length;
        OK(musig_event_bytes(event, &reason, &length, MUSIG_EVENT_BYTES_REASON, NULL));
        /* The byte that is no UTF-8 was replaced. */
        REQUIRE(length > 64 && length < 600 && reason[length] == 0 && memcmp(reason, "\xef\xbf\xbdx", 4) == 0);
        musig_event_free(event);
    }
    /* The only signer sent a NACK. */
    {
        musig_event *event = wait_event(node, MUSIG_EVENT_NOBODY_CAN_BROADCAST);
        const uint32_t *nacks;
        const int rejected = answer == MUSIG_SUBMIT_REJECTED;
        uint64_t number;
        size_t count;
        OK(musig_event_number(event, &number, MUSIG_EVENT_NUMBER_TURNS, NULL));
        REQUIRE(number == 1);
        OK(musig_event_number(event, &number, MUSIG_EVENT_NUMBER_ACCEPTED, NULL));
        REQUIRE(number == 0);
        OK(musig_event_number(event, &number, MUSIG_EVENT_NUMBER_REJECTED, NULL));
        REQUIRE(number == (rejected ? 1 : 0));
        OK(musig_event_number(event, &number, MUSIG_EVENT_NUMBER_UNREACHABLE, NULL));
        REQUIRE(number == (rejected ? 0 : 1));
        OK(musig_event_list(event, &nacks, &count, MUSIG_EVENT_LIST_NACKS_REJECTED, NULL));
        REQUIRE(count == (rejected ? 1 : 0) && (!rejected || nacks[0] == 0));
        OK(musig_event_list(event, &nacks, &count, MUSIG_EVENT_LIST_NACKS_UNREACHABLE, NULL));
        REQUIRE(count == (rejected ? 0 : 1) && (rejected || nacks[0] == 0));
        musig_event_free(event);
    }
    musig_event_free(wait_event(node, MUSIG_EVENT_BROADCAST_SEEN));
    REQUIRE(chain.submissions >= 2 && chain.queries >= 3);
    pthread_mutex_lock(&chain.lock);
    chain.conflict = 1;
    pthread_mutex_unlock(&chain.lock);
    {
        musig_event *event = wait_event(node, MUSIG_EVENT_BROADCAST_CONFLICT);
        const uint8_t *txid;
        size_t length;
        OK(musig_event_bytes(event, &txid, &length, MUSIG_EVENT_BYTES_TXID, NULL));
        REQUIRE(length == 32 && txid[0] == 0xcc && txid[31] == 0xcc);
        musig_event_free(event);
    }
    status.struct_size = sizeof status;
    OK(musig_session_get_status(session, &status, NULL));
    REQUIRE(status.evidence == MUSIG_EVIDENCE_CONFLICT);
    end(node, session, &chain);
}

/* The text and the number of failures of an event of a broadcaster or observer that failed. */
static void failed(musig_node *node, int32_t kind, const char *words) {
    musig_event *event = wait_event(node, kind);
    const uint8_t *reason;
    uint64_t failures;
    size_t length;
    OK(musig_event_bytes(event, &reason, &length, MUSIG_EVENT_BYTES_REASON, NULL));
    REQUIRE(strstr((const char *)reason, words));
    OK(musig_event_number(event, &failures, MUSIG_EVENT_NUMBER_FAILURES, NULL));
    REQUIRE(failures == 1 && !musig_event_is_durable(event));
    musig_event_free(event);
}

/* What a callback returned, in an event; and each submission with its answer. */
static void broadcaster_failed(void) {
    for (int round = 0; round < 2; round++) {
        struct chain chain;
        musig_signer *signer = signer_of(0);
        musig_node *node;
        musig_session *session;
        uint8_t key[33];
        chain_init(&chain);
        if (round == 0) {
            chain.answer = 77;
            chain.answers = 1;
        } else {
            chain.result = 5;
            chain.looks = 1000;
        }
        OK(musig_signer_public_key(signer, key, NULL));
        node = node_of(signer, &chain);
        musig_signer_free(signer);
        session = spend(node, key, 1, 2, MUSIG_FAILOVER_SATELLITE);
        if (round == 0) {
            const uint64_t outcomes[2] = {MUSIG_SUBMIT_UNREACHABLE, MUSIG_SUBMIT_ACCEPTED};
            failed(node, MUSIG_EVENT_BROADCASTER_FAILED, "xxx");
            for (int i = 0; i < 2; i++) {
                musig_event *event = wait_event(node, MUSIG_EVENT_SUBMITTED);
                const uint8_t *reason;
                uint64_t outcome;
                size_t length;
                OK(musig_event_number(event, &outcome, MUSIG_EVENT_NUMBER_OUTCOME, NULL));
                REQUIRE(outcome == outcomes[i]);
                IS(i ? MUSIG_STATUS_NO_SUCH_FIELD : MUSIG_STATUS_OK,
                   musig_event_bytes(event, &reason, &length, MUSIG_EVENT_BYTES_REASON, NULL));
                musig_event_free(event);
            }
        } else {
            failed(node, MUSIG_EVENT_OBSERVER_FAILED, "the callback returned 5");
        }
        end(node, session, &chain);
    }
    REQUIRE(MUSIG_FAILOVER_LOCAL_TEST == 30000 && MUSIG_FAILOVER_LOW_VALUE == 120000 && MUSIG_FAILOVER_STANDARD == 300000);
    REQUIRE(MUSIG_FAILOVER_HIGH_VALUE == 600000 && MUSIG_FAILOVER_SATELLITE == 900000);
}

/* A coin that the observer does not see is refused, unless the application knows better. */
static void unbroadcast_parent(void) {
    struct chain chain;
    musig_signer *signer = signer_of(0);
    musig_node *node;
    musig_session *session;
    musig_proposal *proposal;
    musig_error *error;
    uint8_t key[33], id[32];
    chain_init(&chain);
    OK(musig_signer_public_key(signer, key, NULL));
    node = node_of(signer, &chain);
    musig_signer_free(signer);
    proposal = transaction_for(key, 1, 0x31);
    chain.coin_state = MUSIG_COIN_UNKNOWN;
    IS(MUSIG_STATUS_MISSING_COIN, musig_node_create_session(node, &session, proposal, &error));
    REQUIRE(strstr(musig_error_message(error), "unknown to the Bitcoin backend"));
    REQUIRE(strstr(musig_error_message(error), "MUSIG_JOIN_ALLOW_MISSING_COINS"));
    musig_error_free(error);
    chain.coin_state = MUSIG_COIN_SPENT;
    IS(MUSIG_STATUS_MISSING_COIN, musig_node_create_session(node, &session, proposal, NULL));
    chain.coin_state = 99;
    IS(MUSIG_STATUS_COINS_NOT_KNOWN, musig_node_create_session(node, &session, proposal, NULL));
    chain.coin_state = MUSIG_COIN_UNSPENT;
    chain.coin_result = MUSIG_STATUS_CHAIN;
    IS(MUSIG_STATUS_COINS_NOT_KNOWN, musig_node_create_session(node, &session, proposal, &error));
    REQUIRE(strstr(musig_error_message(error), "the callback returned 400"));
    musig_error_free(error);
    REQUIRE(chain.coins == 4);
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_proposal_set_consent(proposal, 64, NULL));
    OK(musig_proposal_set_consent(proposal, MUSIG_JOIN_ALLOW_MISSING_COINS, NULL));
    OK(musig_node_create_session(node, &session, proposal, NULL));
    REQUIRE(chain.coins == 4);
    musig_proposal_free(proposal);
    /* What was consented to before is not asked again. */
    OK(musig_session_id(session, id, NULL));
    OK(musig_session_join_with(session, 0, NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_session_join_with(session, 0x80000000u, NULL));
    REQUIRE(chain.coins == 4);
    end(node, session, &chain);
}

/* A transaction that waits for 1,024 s after its coin's block is submitted when the observer says that they are over; one of
 * which the observer cannot tell is submitted again and again, and nobody is late. */
static void lock_time(int told) {
    struct chain chain;
    musig_signer *signer = signer_of(0);
    musig_node *node;
    musig_session *session;
    musig_proposal *proposal;
    musig_bytes *text;
    uint8_t key[33];
    chain_init(&chain);
    chain.coin_time = 5000;
    chain.median_time = told ? 6023 : 0;
    if (!told) chain.answer = MUSIG_SUBMIT_NOT_YET_FINAL, chain.answers = 4;
    /* An answer that comes with a failure is none. */
    chain.congested = 1;
    chain.congestion_result = told ? 0 : MUSIG_STATUS_CHAIN;
    OK(musig_signer_public_key(signer, key, NULL));
    node = node_of(signer, &chain);
    musig_signer_free(signer);
    proposal = transaction_locked(key, 1, 0x33, 1u << 22 | 2, 0);
    OK(musig_proposal_set_failover(proposal, 3000, MUSIG_TIERS_SINGLE, 0, NULL));
    OK(musig_node_create_session(node, &session, proposal, NULL));
    musig_proposal_free(proposal);
    if (told) {
        until(&chain, &chain.tips, 8);
        pthread_mutex_lock(&chain.lock);
        REQUIRE(chain.submissions == 0 && chain.congestions == 1);
        chain.median_time = 6024;
        pthread_mutex_unlock(&chain.lock);
    }
    for (;;) {
        musig_event *event;
        int32_t kind;
        OK(musig_node_next_event(node, &event, 120000, NULL));
        kind = musig_event_kind_of(event);
        musig_event_free(event);
        REQUIRE(kind != MUSIG_EVENT_BROADCAST_REJECTED && kind != MUSIG_EVENT_FAILOVER_EXHAUSTED);
        if (kind == MUSIG_EVENT_BROADCAST_SEEN) break;
    }
    REQUIRE(chain.submissions == (told ? 1 : 5) && chain.congestions == 1);
    OK(musig_node_metrics_text(node, &text, MUSIG_METRICS_FORMAT_PROMETHEUS, NULL));
    REQUIRE(strstr((const char *)musig_bytes_data(text), told ? "\nmusig_chain_congested 1\n" : "\nmusig_chain_congested 0\n"));
    musig_bytes_free(text);
    end(node, session, &chain);
}

/* A message that may be a signature hash is refused, unless the application knows what it is. */
static void raw_message_over_a_wallet_key(void) {
    musig_signer *signer = signer_of(0);
    musig_node *node = start_alone(signer);
    musig_derivation derivation = {sizeof derivation, MUSIG_TAPROOT_KEY_PATH, 1, {7}, {0}};
    musig_proposal *raw, *derived, *transaction;
    musig_session *session;
    musig_error *error;
    uint8_t key[33], digest[32] = {1};
    OK(musig_signer_public_key(signer, key, NULL));
    musig_signer_free(signer);
    OK(musig_proposal_new_messages(&raw, key, 1, digest, 1, NULL));
    OK(musig_proposal_new_messages(&derived, key, 1, digest, 1, NULL));
    OK(musig_proposal_add_message(derived, digest, 0, &derivation, NULL));
    IS(MUSIG_STATUS_BLIND_MESSAGE, musig_node_create_session(node, &session, derived, &error));
    REQUIRE(strstr(musig_error_message(error), "message 1 would be signed blind with a Taproot output key"));
    REQUIRE(strstr(musig_error_message(error), "MUSIG_JOIN_SIGN_BLIND"));
    musig_error_free(error);
    OK(musig_proposal_set_consent(derived, MUSIG_JOIN_SIGN_BLIND, NULL));
    OK(musig_node_create_session(node, &session, derived, NULL));
    OK(musig_session_join_with(session, MUSIG_JOIN_SIGN_BLIND, NULL));
    musig_session_free(session);
    OK(musig_node_create_session(node, &session, raw, NULL));
    musig_session_free(session);
    transaction = transaction_for(key, 1, 0x32);
    OK(musig_node_create_session(node, &session, transaction, NULL));
    musig_session_free(session);
    IS(MUSIG_STATUS_BLIND_MESSAGE, musig_node_create_session(node, &session, raw, &error));
    REQUIRE(strstr(musig_error_message(error), "the keys of the transaction session"));
    musig_error_free(error);
    OK(musig_proposal_set_consent(raw, MUSIG_JOIN_SIGN_BLIND, NULL));
    OK(musig_node_create_session(node, &session, raw, NULL));
    musig_session_free(session);
    musig_proposal_free(raw);
    musig_proposal_free(derived);
    musig_proposal_free(transaction);
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
}

/* The coordinator's broadcaster cannot reach the network, or hangs: the next signer's turn opens, a day too early. */
static void hands_over(int hangs) {
    struct chain chain;
    musig_signer *signers[2] = {signer_of(0), signer_of(1)};
    musig_node *nodes[2];
    musig_session *sessions[2];
    uint8_t keys[66], id[32];
    chain_init(&chain);
    chain.answer = MUSIG_SUBMIT_UNREACHABLE;
    chain.answers = hangs ? 0 : 1000000;
    chain.hang_submit = hangs;
    for (int i = 0; i < 2; i++) OK(musig_signer_public_key(signers[i], keys + 33 * i, NULL));
    nodes[0] = node_of(signers[0], &chain);
    nodes[1] = node_of(signers[1], NULL);
    for (int i = 0; i < 2; i++) musig_signer_free(signers[i]);
    sessions[0] = spend(nodes[0], keys, 2, 3, 86400000);
    OK(musig_session_id(sessions[0], id, NULL));
    OK(musig_node_session(nodes[1], &sessions[1], id, NULL));
    carry(sessions[0], nodes[1]);
    musig_event_free(wait_event(nodes[1], MUSIG_EVENT_SESSION_PROPOSED));
    OK(musig_session_join(sessions[1], NULL));
    musig_event_free(carry_until((const musig_node *const *)nodes, sessions, 1, MUSIG_EVENT_SHOULD_BROADCAST));
    release(&chain);
    end(nodes[1], sessions[1], NULL);
    end(nodes[0], sessions[0], &chain);
}

/* Objects never wait for each other: with the observer and the log sink hanging, the node signs and submits. */
static void one_at_a_time(void) {
    struct chain chain;
    musig_signer *signer = signer_of(0);
    musig_node *node, *other;
    musig_session *session;
    uint8_t key[33];
    chain_init(&chain);
    chain.hang_look = chain.hang_log = 1;
    OK(musig_signer_public_key(signer, key, NULL));
    node = node_of(signer, &chain);
    session = spend(node, key, 1, 4, 1000);
    until(&chain, &chain.inside_look, 1);
    until(&chain, &chain.inside_log, 1);
    until(&chain, &chain.submissions, 1);
    musig_session_free(propose_alone(node, 9));
    musig_event_free(wait_event(node, MUSIG_EVENT_SESSION_COMPLETE));
    musig_event_free(wait_event(node, MUSIG_EVENT_SESSION_COMPLETE));
    REQUIRE(chain.inside_look == 1 && chain.inside_log == 1);
    /* Nor do nodes: one that is freed ends although another one, freed before, waits for its callback. */
    musig_session_free(session);
    musig_node_free(node);
    {
        struct chain second;
        chain_init(&second);
        other = node_of(signer, &second);
        musig_node_free(other);
        until(&second, &second.destroyed, 3);
        REQUIRE(chain.destroyed == 0);
    }
    release(&chain);
    until(&chain, &chain.destroyed, 3);
    musig_signer_free(signer);
}

static void *hang_nonces(void *none) {
    signer_answers(FAULT_NONCES_HANG, "in time", 1);
    return none;
}

static void *hang_partials(void *none) {
    signer_answers(FAULT_PARTIALS_HANG, "in time", 1);
    return none;
}

static void *hang_submit(void *none) {
    hands_over(1);
    return none;
}

/* The same device, which is handed PSBTs. What it signs it reads in the session's terms. */
struct psbt_signing {
    struct device device;
    musig_terms *terms;
    uint8_t slot[66], public_nonce[66];
    secp_nonce secret;
};

/* Answers the PSBT with a field of its first input, about the device's key and the output key. */
static void answer_with(struct psbt_signing *signing, const musig_psbt_request *request, uint8_t kind, const uint8_t *value,
                        uint8_t length, musig_bytes **answer) {
    uint8_t psbt[4096];
    size_t at = 5;
    /* After the global map. Everything in it is shorter than 253 bytes. */
    while (request->psbt[at] != 0) {
        at += 1u + request->psbt[at];
        at += 1u + request->psbt[at];
    }
    at++;
    REQUIRE(request->psbt_length + 70u + length <= sizeof psbt);
    memcpy(psbt, request->psbt, at);
    psbt[at] = 67, psbt[at + 1] = kind;
    memcpy(psbt + at + 2, signing->slot, 66);
    psbt[at + 68] = length;
    memcpy(psbt + at + 69, value, length);
    memcpy(psbt + at + 69 + length, request->psbt + at, request->psbt_length - at);
    OK(musig_bytes_new(answer, psbt, request->psbt_length + 69u + length, NULL));
}

/* Waits until the test has said what is signed. */
static void signing_enter(struct psbt_signing *signing) {
    pthread_mutex_lock(&signing->device.lock);
    while (!signing->terms) pthread_cond_wait(&signing->device.changed, &signing->device.lock);
}

static musig_status psbt_nonces(void *user_data, const musig_psbt_request *request, musig_bytes **answer) {
    struct psbt_signing *signing = user_data;
    uint8_t random[32];
    secp_nonce nonce;
    FILE *source = fopen("/dev/urandom", "rb");
    signing_enter(signing);
    REQUIRE(request->number == 1 && source && fread(random, 32, 1, source) == 1);
    fclose(source);
    REQUIRE(SECP(musig_nonce_gen)(signing->device.context, &signing->secret, &nonce, random, NULL, &signing->device.point,
                                  NULL, NULL, NULL));
    REQUIRE(SECP(musig_pubnonce_serialize)(signing->device.context, signing->public_nonce, &nonce));
    answer_with(signing, request, 0x1b, signing->public_nonce, 66, answer);
    pthread_mutex_unlock(&signing->device.lock);
    return MUSIG_STATUS_OK;
}

/* It signs alone, so that its own nonce is the aggregate one. */
static musig_status psbt_partials(void *user_data, const musig_psbt_request *request, musig_bytes **answer) {
    struct psbt_signing *signing = user_data;
    struct device *device = &signing->device;
    musig_message message;
    secp_cache cache;
    secp_nonce aggregate;
    secp_session session;
    secp_partial partial;
    uint8_t bytes[32];
    signing_enter(signing);
    message.struct_size = sizeof message;
    OK(musig_terms_message(signing->terms, &message, 0, NULL));
    cache = device_cache(device, signing->terms, 0);
    REQUIRE(request->number == 2);
    REQUIRE(SECP(musig_aggnonce_parse)(device->context, &aggregate, signing->public_nonce));
    REQUIRE(SECP(musig_nonce_process)(device->context, &session, &aggregate, message.digest, &cache));
    REQUIRE(SECP(musig_partial_sign)(device->context, &partial, &signing->secret, &device->pair, &cache, &session));
    REQUIRE(SECP(musig_partial_sig_serialize)(device->context, bytes, &partial));
    answer_with(signing, request, 0x1c, bytes, 32, answer);
    pthread_mutex_unlock(&device->lock);
    return MUSIG_STATUS_OK;
}

static void psbt_whole_session(void) {
    struct psbt_signing signing;
    musig_psbt_device table = {sizeof table, 0, psbt_nonces, psbt_partials};
    musig_derivation derivation = {sizeof derivation, MUSIG_TAPROOT_KEY_PATH, 0, {0}, {0}};
    musig_signer *identity = signer_of(0);
    musig_psbt_signer *signer;
    musig_key_set *key_set;
    musig_config *config;
    musig_node *node;
    musig_session *session;
    musig_terms *terms;
    musig_event *event;
    const uint8_t *bytes;
    size_t length;
    uint8_t own[33];
    memset(&signing, 0, sizeof signing);
    device_init(&signing.device, 0);
    OK(musig_signer_public_key(identity, own, NULL));
    OK(musig_key_set_new(&key_set, signing.device.key, 1, MUSIG_KEY_ORDER_SORTED, NULL));
    memcpy(signing.slot, signing.device.key, 33);
    OK(musig_key_set_final_key(key_set, signing.slot + 33, &derivation, NULL));
    musig_key_set_free(key_set);
    OK(musig_psbt_signer_new(&signer, &table, 0, &signing, device_destroyed, NULL));
    OK(musig_psbt_signer_add_key(signer, signing.device.key, NULL));
    config = config_of(identity);
    OK(musig_config_set_psbt_signer(config, signer, NULL));
    musig_psbt_signer_free(signer);
    OK(musig_node_start(&node, config, NULL));
    musig_config_free(config);
    {
        musig_proposal *proposal = transaction_with(own, signing.device.key, 1, 7);
        OK(musig_proposal_set_sign_only(proposal, NULL));
        OK(musig_node_create_session(node, &session, proposal, NULL));
        musig_proposal_free(proposal);
    }
    OK(musig_session_terms(session, &terms, NULL));
    pthread_mutex_lock(&signing.device.lock);
    signing.terms = terms;
    pthread_cond_broadcast(&signing.device.changed);
    pthread_mutex_unlock(&signing.device.lock);
    event = wait_event(node, MUSIG_EVENT_SESSION_COMPLETE);
    OK(musig_event_bytes(event, &bytes, &length, MUSIG_EVENT_BYTES_SIGNATURES, NULL));
    REQUIRE(length == 64);
    musig_event_free(event);
    musig_session_free(session);
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
    musig_signer_free(identity);
    device_free(&signing.device);
    musig_terms_free(terms);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "hang")) {
        void *(*work[3])(void *) = {hang_nonces, hang_partials, hang_submit};
        pthread_t threads[3];
        for (int i = 0; i < 3; i++) REQUIRE(pthread_create(&threads[i], NULL, work[i], NULL) == 0);
        for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
        return 0;
    }
    whole_session();
    psbt_whole_session();
    no_proposal();
    signer_answers(FAULT_NONCES_FAIL, "-7", 0);
    signer_answers(FAULT_NONCES_LOCKED, "locked", 0);
    signer_answers(FAULT_NONCES_NO_POINTS, "points", 1);
    signer_answers(FAULT_PARTIALS_FAIL, "9999", 0);
    signer_answers(FAULT_PARTIALS_WRONG, "does not verify", 1);
    signer_answers(FAULT_PARTIALS_GONE, "lost", 1);
    chain_answers(MUSIG_SUBMIT_REJECTED, MUSIG_STATUS_CHAIN, 0);
    chain_answers(MUSIG_SUBMIT_UNREACHABLE, 0, 99);
    chain_answers(77, 0, -1);
    broadcaster_failed();
    unbroadcast_parent();
    raw_message_over_a_wallet_key();
    lock_time(1);
    lock_time(0);
    hands_over(0);
    one_at_a_time();
    return 0;
}
