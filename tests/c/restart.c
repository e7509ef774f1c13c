/* Durable events come again after the process died, until they are acknowledged.
 *
 *   restart STORE die      signs, and dies without having acknowledged anything
 *   restart STORE handle   gets the same events again, and acknowledges them
 *   restart STORE quiet    gets none of them, and another signer does not get the store
 *   restart STORE busy     the store is open in this process already
 */
#include "prelude.h"

#include <signal.h>

static musig_node *start_on(const char *path, int index, musig_status wanted) {
    musig_signer *signer = signer_of(index);
    musig_config *config;
    musig_node *node = NULL;
    OK(musig_config_new(&config, NULL));
    OK(musig_config_set_signer(config, signer, NULL));
    OK(musig_config_set_store_path(config, path, NULL));
    OK(musig_config_set_offline(config, NULL));
    OK(musig_config_set_without_observer(config, NULL));
    IS(wanted, musig_node_start(&node, config, NULL));
    musig_config_free(config);
    musig_signer_free(signer);
    return node;
}

int main(int argc, char **argv) {
    musig_node *node;
    REQUIRE(argc == 3);
    node = start_on(argv[1], 0, MUSIG_STATUS_OK);
    if (!strcmp(argv[2], "die")) {
        musig_session_free(propose_alone(node, 1));
        musig_event_free(wait_event(node, MUSIG_EVENT_SHOULD_BROADCAST));
        printf("dies\n");
        fflush(stdout);
        raise(SIGKILL);
    } else if (!strcmp(argv[2], "handle")) {
        int complete = 0, turn = 0, confirmed = 0;
        while (!complete || !turn || !confirmed) {
            musig_event *event;
            OK(musig_node_next_event(node, &event, 30000, NULL));
            complete += musig_event_kind_of(event) == MUSIG_EVENT_SESSION_COMPLETE;
            confirmed += musig_event_kind_of(event) == MUSIG_EVENT_BROADCAST_CONFIRMED;
            /* Without this it would be asked to broadcast after each restart. */
            if (musig_event_kind_of(event) == MUSIG_EVENT_SHOULD_BROADCAST && !turn++) {
                musig_session *session;
                uint8_t id[32];
                OK(musig_event_session_id(event, id, NULL));
                OK(musig_node_session(node, &session, id, NULL));
                OK(musig_session_notify_broadcast_complete(session, id, NULL));
                musig_session_free(session);
            }
            if (musig_event_is_durable(event)) OK(musig_node_event_handled(node, musig_event_id(event), NULL));
            musig_event_free(event);
        }
        REQUIRE(complete == 1 && turn >= 1);
    } else if (!strcmp(argv[2], "quiet")) {
        musig_event *event;
        while (musig_node_next_event(node, &event, 300, NULL) == MUSIG_STATUS_OK) {
            if (musig_event_is_durable(event)) {
                fprintf(stderr, "event %d came again\n", (int)musig_event_kind_of(event));
                return 1;
            }
            musig_event_free(event);
        }
    } else {
        REQUIRE(!start_on(argv[1], 0, MUSIG_STATUS_STORE_IN_USE));
    }
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
    if (!strcmp(argv[2], "quiet")) REQUIRE(!start_on(argv[1], 1, MUSIG_STATUS_STORE_OTHER_KEY));
    return 0;
}
