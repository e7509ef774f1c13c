/* A fault of libmusig comes back as a status; the node has failed then, and can be stopped and freed. */
#include "prelude.h"

musig_status musig_test_panic(const musig_node *node, musig_error **error);

int main(void) {
    musig_signer *signer = signer_of(0);
    musig_node *node = start_alone(signer);
    musig_session *session = propose_alone(node, 1);
    musig_metrics metrics;
    musig_event *event;
    musig_status status;
    metrics.struct_size = sizeof metrics;
    IS(MUSIG_STATUS_INTERNAL, musig_test_panic(node, NULL));
    IS(MUSIG_STATUS_INTERNAL, musig_node_metrics(node, &metrics, NULL));
    IS(MUSIG_STATUS_INTERNAL, musig_session_join(session, NULL));
    do {
        status = musig_node_next_event(node, &event, 30000, NULL);
        if (status == MUSIG_STATUS_OK) musig_event_free(event);
    } while (status == MUSIG_STATUS_OK);
    REQUIRE(status == MUSIG_STATUS_NODE_STOPPED);
    OK(musig_node_stop(node, NULL));
    musig_session_free(session);
    musig_node_free(node);
    /* Others are not touched by it. */
    node = start_alone(signer);
    musig_session_free(propose_alone(node, 1));
    musig_event_free(wait_event(node, MUSIG_EVENT_SESSION_COMPLETE));
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
    musig_signer_free(signer);
    return 0;
}
