/* Sessions that only sign, and those in which the coordinator alone is to broadcast. */
#include "prelude.h"

#include <unistd.h>

/* Takes to a node what a session holds. */
static void carry(const musig_session *from, const musig_node *to) {
    musig_bytes *bytes, *ids;
    OK(musig_session_export(from, &bytes, NULL));
    OK(musig_node_import(to, &ids, musig_bytes_data(bytes), musig_bytes_length(bytes), NULL));
    musig_bytes_free(ids);
    musig_bytes_free(bytes);
}

static musig_terms_info info_of(const musig_session *session) {
    musig_terms_info info = {0};
    musig_terms *terms;
    info.struct_size = sizeof info;
    OK(musig_session_terms(session, &terms, NULL));
    OK(musig_terms_get_info(terms, &info, NULL));
    musig_terms_free(terms);
    return info;
}

static musig_session_status status_of(const musig_session *session) {
    musig_session_status status;
    memset(&status, 0, sizeof status);
    status.struct_size = sizeof status;
    OK(musig_session_get_status(session, &status, NULL));
    return status;
}

/* Two signers sign a transaction; nobody is asked to broadcast it. */
static void signing_alone(musig_node *nodes[2], const uint8_t *keys) {
    musig_proposal *proposal = transaction_for(keys, 2, 1);
    musig_session *sessions[2];
    uint8_t id[32];
    OK(musig_proposal_set_sign_only(proposal, NULL));
    OK(musig_node_create_session(nodes[0], &sessions[0], proposal, NULL));
    musig_proposal_free(proposal);
    OK(musig_session_id(sessions[0], id, NULL));
    OK(musig_node_session(nodes[1], &sessions[1], id, NULL));
    carry(sessions[0], nodes[1]);
    musig_event_free(wait_event(nodes[1], MUSIG_EVENT_SESSION_PROPOSED));
    OK(musig_session_join(sessions[1], NULL));
    for (int round = 0; status_of(sessions[0]).phase != MUSIG_PHASE_FINAL; round++) {
        REQUIRE(round < 3000);
        carry(sessions[1], nodes[0]);
        carry(sessions[0], nodes[1]);
        usleep(5000);
    }
    carry(sessions[0], nodes[1]);
    for (int i = 0; i < 2; i++) {
        musig_event *event = wait_event(nodes[i], MUSIG_EVENT_SESSION_COMPLETE);
        musig_terms_info info = info_of(sessions[i]);
        musig_event_free(event);
        REQUIRE(info.broadcast == MUSIG_BROADCAST_SIGN_ONLY && info.broadcast_timeout == 0 && info.tier_width == 0);
        REQUIRE(status_of(sessions[i]).phase == MUSIG_PHASE_FINAL && !status_of(sessions[i]).has_failover);
        IS(MUSIG_STATUS_WRONG_STATE, musig_session_broadcast_now(sessions[i], NULL));
        IS(MUSIG_STATUS_WRONG_STATE, musig_session_notify_broadcast_complete(sessions[i], NULL, NULL));
        /* It was the last event, but for what says that the other one is here. */
        while (musig_node_next_event(nodes[i], &event, 100, NULL) == MUSIG_STATUS_OK) {
            REQUIRE(musig_event_kind_of(event) != MUSIG_EVENT_SHOULD_BROADCAST);
            musig_event_free(event);
        }
    }
    for (int i = 0; i < 2; i++) musig_session_free(sessions[i]);
}

/* The coordinator is asked, and nobody else. */
static void coordinator_only(musig_node *nodes[2], const uint8_t *keys) {
    musig_proposal *proposal = transaction_for(keys, 1, 2);
    musig_session *session;
    musig_session_status status;
    OK(musig_proposal_set_coordinator_only(proposal, NULL));
    OK(musig_node_create_session(nodes[0], &session, proposal, NULL));
    musig_proposal_free(proposal);
    musig_event_free(wait_event(nodes[0], MUSIG_EVENT_SHOULD_BROADCAST));
    REQUIRE(info_of(session).broadcast == MUSIG_BROADCAST_COORDINATOR_ONLY);
    status = status_of(session);
    REQUIRE(status.phase == MUSIG_PHASE_WATCHING && status.has_failover && status.until_next_turn == UINT64_MAX);
    OK(musig_session_broadcast_now(session, NULL));
    musig_session_free(session);
}

int main(void) {
    musig_node *nodes[2];
    uint8_t keys[66];
    for (int i = 0; i < 2; i++) {
        musig_signer *signer = signer_of(i);
        nodes[i] = start_alone(signer);
        musig_signer_free(signer);
        OK(musig_node_signer_key(nodes[i], keys + 33 * i, NULL));
    }
    signing_alone(nodes, keys);
    coordinator_only(nodes, keys);
    for (int i = 0; i < 2; i++) {
        OK(musig_node_stop(nodes[i], NULL));
        musig_node_free(nodes[i]);
    }
    return 0;
}
