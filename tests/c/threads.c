/* Each kind of handle from several threads at once, and references that come and go. */
#include "prelude.h"

#include <pthread.h>

enum { THREADS = 4, ROUNDS = 300 };

static musig_signer *signer;
static musig_config *config;
static musig_node *node;
static musig_session *session;
static musig_event *event;
static musig_bytes *bytes;
static musig_error *error;
static musig_proposal *proposal;
static musig_terms *terms;
static musig_election *election;

static void *work(void *argument) {
    long number = (long)argument;
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t buffer[64];
        uint32_t list[MUSIG_MAX_SIGNERS];
        uint8_t digest[32] = {0};
        uint64_t value;
        size_t length;
        const uint8_t *data;
        int32_t flag;
        musig_bytes *own;
        musig_metrics metrics;
        musig_session_status status;
        musig_terms_info info;
        musig_event *none;
        musig_status result;
        metrics.struct_size = sizeof metrics;
        status.struct_size = sizeof status;
        info.struct_size = sizeof info;
        digest[31] = (uint8_t)(1 + round);
        OK(musig_signer_public_key(signer, buffer, NULL));
        OK(musig_signer_is_locked(signer, &flag, NULL));
        OK(musig_config_add_peer_address(config, "/ip4/127.0.0.1/tcp/1", NULL));
        OK(musig_config_set_number(config, MUSIG_OPTION_FINAL_DEPTH, (uint64_t)(1 + number), NULL));
        OK(musig_node_metrics(node, &metrics, NULL));
        OK(musig_node_sessions(node, &own, NULL));
        musig_bytes_free(own);
        OK(musig_session_get_status(session, &status, NULL));
        OK(musig_session_is_coordinator(session, &flag, NULL));
        OK(musig_session_final_signatures(session, &own, NULL));
        musig_bytes_free(own);
        OK(musig_event_session_id(event, buffer, NULL));
        OK(musig_event_number(event, &value, MUSIG_EVENT_NUMBER_RANK, NULL));
        REQUIRE(musig_bytes_length(bytes) == 64);
        REQUIRE(musig_error_status(error) == MUSIG_STATUS_WRONG_SECRET);
        result = musig_proposal_add_message(proposal, digest, 0, NULL, NULL);
        REQUIRE(result == MUSIG_STATUS_OK || result == MUSIG_STATUS_INVALID_ARGUMENT);
        OK(musig_terms_get_info(terms, &info, NULL));
        OK(musig_terms_bytes(terms, &data, &length, MUSIG_TERMS_ENCODED, NULL));
        OK(musig_election_priority_list(election, list, MUSIG_MAX_SIGNERS, NULL));
        result = musig_node_next_event(node, &none, 1, NULL);
        if (result == MUSIG_STATUS_OK) musig_event_free(none);
        else REQUIRE(result == MUSIG_STATUS_NO_EVENT || result == MUSIG_STATUS_CONSUMER_EXISTS);
        musig_signer_free(musig_signer_ref(signer));
        musig_config_free(musig_config_ref(config));
        musig_node_free(musig_node_ref(node));
        musig_session_free(musig_session_ref(session));
        musig_event_free(musig_event_ref(event));
        musig_bytes_free(musig_bytes_ref(bytes));
        musig_error_free(musig_error_ref(error));
        musig_proposal_free(musig_proposal_ref(proposal));
        musig_terms_free(musig_terms_ref(terms));
        musig_election_free(musig_election_ref(election));
        if (round % 50 == 0) musig_session_free(propose_alone(node, (uint8_t)round));
    }
    return NULL;
}

static void *stop(void *argument) {
    (void)argument;
    OK(musig_node_stop(node, NULL));
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    uint8_t zero[32] = {0}, key[33];
    musig_signer *nobody = NULL;
    signer = signer_of(0);
    node = start_alone(signer);
    session = propose_alone(node, 1);
    event = wait_event(node, MUSIG_EVENT_SESSION_COMPLETE);
    OK(musig_config_new(&config, NULL));
    OK(musig_session_final_signatures(session, &bytes, NULL));
    OK(musig_session_terms(session, &terms, NULL));
    OK(musig_session_election(session, &election, NULL));
    OK(musig_node_signer_key(node, key, NULL));
    OK(musig_proposal_new_messages(&proposal, key, 1, zero, 1, NULL));
    IS(MUSIG_STATUS_WRONG_SECRET, musig_signer_new(&nobody, zero, &error));
    for (long i = 0; i < THREADS; i++) REQUIRE(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    /* Stopped by all at once. */
    for (int i = 0; i < THREADS; i++) REQUIRE(pthread_create(&threads[i], NULL, stop, NULL) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    musig_election_free(election);
    musig_terms_free(terms);
    musig_proposal_free(proposal);
    musig_error_free(error);
    musig_bytes_free(bytes);
    musig_event_free(event);
    musig_session_free(session);
    musig_node_free(node);
    musig_config_free(config);
    musig_signer_free(signer);
    return 0;
}
