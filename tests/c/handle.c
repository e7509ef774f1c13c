/* The event handle of Windows: set while an event waits, and once the node has stopped. Run under wine. */
#include "prelude.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

/* Takes what waits. Returns whether the session was complete. */
static int drain(const musig_node *node) {
    musig_event *event;
    int complete = 0;
    while (musig_node_next_event(node, &event, 0, NULL) == MUSIG_STATUS_OK) {
        complete |= musig_event_kind_of(event) == MUSIG_EVENT_SESSION_COMPLETE;
        if (musig_event_is_durable(event)) OK(musig_node_event_handled(node, musig_event_id(event), NULL));
        musig_event_free(event);
    }
    return complete;
}

int main(void) {
    musig_signer *signers[2] = {signer_of(0), signer_of(1)};
    musig_node *nodes[2];
    musig_session *session;
    HANDLE handles[2], again;
    int complete = 0;
    for (int i = 0; i < 2; i++) {
        nodes[i] = start_alone(signers[i]);
        OK(musig_node_event_handle(nodes[i], &handles[i], NULL));
        OK(musig_node_event_handle(nodes[i], &again, NULL));
        REQUIRE(handles[i] == again);
        drain(nodes[i]);
    }
    REQUIRE(WaitForMultipleObjects(2, handles, FALSE, 0) == WAIT_TIMEOUT);
    session = propose_alone(nodes[1], 0x42);
    while (!complete) {
        REQUIRE(WaitForMultipleObjects(2, handles, FALSE, 60000) == WAIT_OBJECT_0 + 1);
        REQUIRE(WaitForSingleObject(handles[1], 0) == WAIT_OBJECT_0); /* waiting takes nothing away */
        complete = drain(nodes[1]);
        REQUIRE(WaitForSingleObject(handles[0], 0) == WAIT_TIMEOUT);
    }
    musig_session_free(session);
    for (int i = 0; i < 2; i++) {
        OK(musig_node_stop(nodes[i], NULL));
        REQUIRE(WaitForSingleObject(handles[i], 0) == WAIT_OBJECT_0);
        musig_node_free(nodes[i]);
        musig_signer_free(signers[i]);
    }
    return 0;
}
