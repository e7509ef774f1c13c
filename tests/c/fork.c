/* A child of fork() gets a status from everything that needs a thread of its parent's, harms nothing of its parent's,
   and has a node of its own that works. */
#include "prelude.h"

#include <sys/wait.h>
#include <unistd.h>

static int destroyed;

static void destroy(void *user_data) {
    (void)user_data;
    destroyed++;
}

static void line(void *user_data, int32_t level, const char *target, const char *message) {
    (void)user_data, (void)level, (void)target, (void)message;
}

int main(void) {
    musig_signer *signer = signer_of(0);
    musig_config *config = config_of(signer);
    musig_log_sink sink = {sizeof sink, MUSIG_LOG_INFO, line};
    musig_node *node;
    musig_session *session;
    pid_t child;
    int status;
    OK(musig_config_set_log_sink(config, &sink, NULL, destroy, NULL));
    OK(musig_node_start(&node, config, NULL));
    musig_config_free(config);
    session = propose_alone(node, 1);
    musig_event_free(wait_event(node, MUSIG_EVENT_SESSION_COMPLETE));
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        musig_event *event;
        musig_bytes *bytes;
        musig_node *other;
        musig_signer *own;
        musig_metrics metrics;
        musig_election *election;
        uint8_t key[33], id[32] = {0};
        metrics.struct_size = sizeof metrics;
        IS(MUSIG_STATUS_FORKED, musig_node_metrics(node, &metrics, NULL));
        IS(MUSIG_STATUS_FORKED, musig_node_next_event(node, &event, -1, NULL));
        IS(MUSIG_STATUS_FORKED, musig_node_signer_key(node, key, NULL));
        IS(MUSIG_STATUS_FORKED, musig_node_stop(node, NULL));
        IS(MUSIG_STATUS_FORKED, musig_node_request_stop(node, NULL));
        IS(MUSIG_STATUS_FORKED, musig_session_join(session, NULL));
        IS(MUSIG_STATUS_FORKED, musig_session_final_signatures(session, &bytes, NULL));
        musig_session_free(session);
        musig_node_free(node);
        /* A node of its own works. */
        alarm(60);
        own = signer_of(1);
        other = start_alone(own);
        session = propose_alone(other, 3);
        musig_event_free(wait_event(other, MUSIG_EVENT_SESSION_COMPLETE));
        musig_session_free(session);
        OK(musig_node_stop(other, NULL));
        musig_node_free(other);
        /* One that is freed while it runs is ended by a thread of the child. */
        other = start_alone(own);
        musig_node_free(other);
        musig_signer_free(own);
        /* What needs no thread works. */
        OK(musig_signer_public_key(signer, key, NULL));
        OK(musig_election_new(&election, key, 1, 0, id, NULL));
        musig_election_free(election);
        musig_signer_free(signer);
        REQUIRE(destroyed == 0);
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    musig_session_free(session);
    session = propose_alone(node, 2);
    musig_event_free(wait_event(node, MUSIG_EVENT_SESSION_COMPLETE));
    musig_session_free(session);
    OK(musig_node_stop(node, NULL));
    REQUIRE(destroyed == 1);
    musig_node_free(node);
    musig_signer_free(signer);
    return 0;
}
