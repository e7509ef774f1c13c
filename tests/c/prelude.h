/* One good object of each kind, of a node alone in the world: no socket, no file. */
#ifndef PRELUDE_H
#define PRELUDE_H

#include "musig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)                                                                   \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);          \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

#define OK(call)                                                                             \
    do {                                                                                     \
        musig_status status_ = (call);                                                       \
        if (status_ != MUSIG_STATUS_OK) {                                                    \
            fprintf(stderr, "%s:%d: %s gives %d: %s\n", __FILE__, __LINE__, #call,           \
                    (int)status_, musig_status_string(status_));                             \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

#define IS(wanted, call)                                                                     \
    do {                                                                                     \
        musig_status status_ = (call);                                                       \
        if (status_ != (wanted)) {                                                           \
            fprintf(stderr, "%s:%d: %s gives %d: %s\n", __FILE__, __LINE__, #call,           \
                    (int)status_, musig_status_string(status_));                             \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

/* A secret key that is no secret. */
static void secret_of(uint8_t secret[32], int index) {
    memset(secret, 0x11, 32);
    secret[31] = (uint8_t)(index + 1);
}

static musig_signer *signer_of(int index) {
    uint8_t secret[32];
    musig_signer *signer;
    secret_of(secret, index);
    OK(musig_signer_new(&signer, secret, NULL));
    return signer;
}

/* A configuration that lacks nothing but a way for events. */
static musig_config *config_of(const musig_signer *signer) {
    musig_config *config;
    OK(musig_config_new(&config, NULL));
    OK(musig_config_set_signer(config, signer, NULL));
    OK(musig_config_set_store_memory(config, NULL));
    OK(musig_config_set_offline(config, NULL));
    OK(musig_config_set_without_observer(config, NULL));
    return config;
}

static musig_node *start_alone(const musig_signer *signer) {
    musig_config *config = config_of(signer);
    musig_node *node;
    OK(musig_node_start(&node, config, NULL));
    musig_config_free(config);
    return node;
}

/* Proposes one message to the signer alone. */
static musig_session *propose_alone(const musig_node *node, uint8_t message) {
    uint8_t key[33], digest[32];
    musig_proposal *proposal;
    musig_session *session;
    OK(musig_node_signer_key(node, key, NULL));
    memset(digest, message, sizeof digest);
    OK(musig_proposal_new_messages(&proposal, key, 1, digest, 1, NULL));
    /* The same keys may sign a transaction, too. */
    OK(musig_proposal_set_consent(proposal, MUSIG_JOIN_SIGN_BLIND, NULL));
    OK(musig_node_create_session(node, &session, proposal, NULL));
    musig_proposal_free(proposal);
    return session;
}

/* An unsigned transaction that spends one output of the Taproot key of these participant keys, with this sequence and lock
 * time. */
static musig_proposal *transaction_spending(const uint8_t *signers, const uint8_t *keys, size_t count, uint8_t spends,
                                            uint32_t sequence, uint32_t lock_time) {
    musig_derivation derivation = {sizeof derivation, MUSIG_TAPROOT_KEY_PATH, 0, {0}, {0}};
    musig_key_set *key_set;
    uint8_t output[33], script[34] = {0x51, 0x20}, transaction[94] = {0};
    musig_spent_output spent = {10000, script, sizeof script};
    musig_proposal *proposal;
    OK(musig_key_set_new(&key_set, keys, count, MUSIG_KEY_ORDER_SORTED, NULL));
    OK(musig_key_set_final_key(key_set, output, &derivation, NULL));
    memcpy(script + 2, output + 1, 32);
    transaction[0] = 2;                     /* version */
    transaction[4] = 1;                     /* inputs */
    memset(transaction + 5, spends, 32);    /* the spent transaction */
    memcpy(transaction + 42, &sequence, 4); /* on a little-endian machine */
    memcpy(transaction + 90, &lock_time, 4);
    transaction[46] = 1;                    /* outputs */
    transaction[47] = 0x28, transaction[48] = 0x23; /* 9000 */
    transaction[55] = 34;
    memcpy(transaction + 56, script, 34);
    OK(musig_proposal_new_transaction(&proposal, signers, count, transaction, sizeof transaction, &spent, 1, NULL));
    if (memcmp(signers, keys, 33 * count) != 0) {
        uint32_t index;
        OK(musig_proposal_add_key_set(proposal, &index, key_set, NULL));
    }
    musig_key_set_free(key_set);
    return proposal;
}

static inline musig_proposal *transaction_with(const uint8_t *signers, const uint8_t *keys, size_t count,
                                               uint8_t spends) {
    return transaction_spending(signers, keys, count, spends, 0xffffffffu, 0);
}

/* The same for the signers' identity keys. */
static inline musig_proposal *transaction_locked(const uint8_t *keys, size_t count, uint8_t spends, uint32_t sequence,
                                                 uint32_t lock_time) {
    return transaction_spending(keys, keys, count, spends, sequence, lock_time);
}

static inline musig_proposal *transaction_for(const uint8_t *keys, size_t count, uint8_t spends) {
    return transaction_with(keys, keys, count, spends);
}

/* Takes events until one is of this kind. The caller frees it. */
static musig_event *wait_event(const musig_node *node, int32_t kind) {
    for (;;) {
        musig_event *event;
        OK(musig_node_next_event(node, &event, 120000, NULL));
        if (musig_event_kind_of(event) == kind) return event;
        musig_event_free(event);
    }
}

#endif
