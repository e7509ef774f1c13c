/* Handlers: many events, calls back into the library, the last reference freed inside, stop from inside, data destroyed
 * exactly once and last. */
#include "prelude.h"

#include <pthread.h>
#include <unistd.h>

struct state {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    long events, running, destroyed, after, complete;
    long in_stop, wanted, slow;
    int free_inside;
    musig_node *given_up;
};

/* The node may be asked to stop meanwhile. */
#define RUNS(call)                                                                           \
    do {                                                                                     \
        musig_status runs_ = (call);                                                         \
        REQUIRE(runs_ == MUSIG_STATUS_OK || runs_ == MUSIG_STATUS_NODE_STOPPED);             \
    } while (0)

static void init(struct state *state) {
    memset(state, 0, sizeof *state);
    pthread_mutex_init(&state->lock, NULL);
    pthread_cond_init(&state->changed, NULL);
}

static void destroy(void *user_data) {
    struct state *state = user_data;
    pthread_mutex_lock(&state->lock);
    state->destroyed++;
    REQUIRE(state->running == 0);
    pthread_cond_broadcast(&state->changed);
    pthread_mutex_unlock(&state->lock);
}

/* Waits until a counter has a value. */
static void wait_for(struct state *state, long *counter, long value) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 90;
    pthread_mutex_lock(&state->lock);
    while (*counter < value) REQUIRE(pthread_cond_timedwait(&state->changed, &state->lock, &end) == 0);
    pthread_mutex_unlock(&state->lock);
}

static int32_t handler(void *user_data, musig_node *node, musig_event *event) {
    struct state *state = user_data;
    musig_error *error = NULL;
    musig_bytes *bytes = NULL;
    uint8_t id[32], key[33];
    musig_node *last = NULL;
    pthread_mutex_lock(&state->lock);
    REQUIRE(state->destroyed == 0);
    REQUIRE(state->running == 0); /* one at a time */
    state->running++;
    if (state->free_inside) {
        last = state->given_up;
        state->given_up = NULL;
    }
    pthread_mutex_unlock(&state->lock);

    IS(MUSIG_STATUS_WOULD_DEADLOCK, musig_node_stop(node, &error));
    REQUIRE(musig_error_status(error) == MUSIG_STATUS_WOULD_DEADLOCK);
    musig_error_free(error);
    OK(musig_node_signer_key(node, key, NULL));
    if (state->events % 16 == 0 && !state->free_inside) {
        int32_t descriptor;
        musig_event *other;
        musig_metrics metrics;
        metrics.struct_size = sizeof metrics;
        RUNS(musig_node_sessions(node, &bytes, NULL));
        musig_bytes_free(bytes);
        bytes = NULL;
        OK(musig_node_peer_id(node, &bytes, NULL));
        musig_bytes_free(bytes);
        RUNS(musig_node_metrics(node, &metrics, NULL));
        IS(MUSIG_STATUS_CONSUMER_EXISTS, musig_node_event_descriptor(node, &descriptor, NULL));
        IS(MUSIG_STATUS_CONSUMER_EXISTS, musig_node_next_event(node, &other, 0, NULL));
        if (musig_event_session_id(event, id, NULL) == MUSIG_STATUS_OK) {
            musig_session *session;
            musig_session_status status;
            status.struct_size = sizeof status;
            OK(musig_node_session(node, &session, id, NULL));
            RUNS(musig_session_get_status(session, &status, NULL));
            musig_session_free(session);
        }
    }
    if (state->slow) sleep((unsigned)state->slow);
    musig_event_free(musig_event_ref(event));
    musig_node_free(last);

    pthread_mutex_lock(&state->lock);
    state->running--;
    state->events++;
    if (musig_event_kind_of(event) == MUSIG_EVENT_SESSION_COMPLETE) state->complete++;
    pthread_cond_broadcast(&state->changed);
    pthread_mutex_unlock(&state->lock);
    /* Keeps everything, so that redelivery brings it again. */
    return 1;
}

static musig_node *start_with(struct state *state, const musig_signer *signer) {
    musig_config *config = config_of(signer);
    musig_node *node;
    OK(musig_config_set_event_handler(config, handler, state, destroy, NULL));
    OK(musig_node_start(&node, config, NULL));
    musig_config_free(config);
    return node;
}

static void many_events(const musig_signer *signer, long count) {
    struct state state;
    musig_node *node;
    init(&state);
    node = start_with(&state, signer);
    for (int i = 0; i < 200; i++) musig_session_free(propose_alone(node, (uint8_t)i));
    wait_for(&state, &state.complete, 200);
    while (state.events < count) {
        long before = state.events;
        OK(musig_node_redeliver(node, NULL));
        wait_for(&state, &state.events, before + 200);
    }
    OK(musig_node_stop(node, NULL));
    REQUIRE(state.destroyed == 1 && state.running == 0);
    musig_node_free(node);
    REQUIRE(state.destroyed == 1);
    printf("%ld events\n", state.events);
}

/* The last reference is given up inside the handler: a thread of the library ends the node. */
static void freed_inside(const musig_signer *signer) {
    struct state state;
    musig_node *node;
    musig_session *session;
    init(&state);
    node = start_with(&state, signer);
    pthread_mutex_lock(&state.lock);
    state.free_inside = 1;
    state.given_up = node;
    pthread_mutex_unlock(&state.lock);
    /* The node may end at any moment from here on: the session's handle stays good. */
    musig_node_ref(node);
    session = propose_alone(node, 1);
    wait_for(&state, &state.events, 1);
    musig_node_free(node);
    wait_for(&state, &state.destroyed, 1);
    {
        int32_t flag;
        IS(MUSIG_STATUS_NODE_STOPPED, musig_session_is_coordinator(session, &flag, NULL));
    }
    musig_session_free(session);
    REQUIRE(state.destroyed == 1);
}

/* Given up by another thread while handlers run. */
static void *free_it(void *node) {
    musig_node_free(node);
    return NULL;
}

static void freed_elsewhere(const musig_signer *signer) {
    for (int round = 0; round < 20; round++) {
        struct state *state = malloc(sizeof *state);
        pthread_t thread;
        musig_node *node;
        REQUIRE(state);
        init(state);
        node = start_with(state, signer);
        for (int i = 0; i < 5; i++) musig_session_free(propose_alone(node, (uint8_t)i));
        REQUIRE(pthread_create(&thread, NULL, free_it, node) == 0);
        pthread_join(thread, NULL);
        wait_for(state, &state->destroyed, 1);
        REQUIRE(state->running == 0);
        free(state);
    }
}

/* A handler that blocks delays no signing. */
static void blocked(const musig_signer *signer) {
    struct state state;
    musig_node *node;
    struct timespec begin, end;
    init(&state);
    state.slow = 5;
    node = start_with(&state, signer);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < 20; i++) {
        musig_session *session = propose_alone(node, (uint8_t)i);
        musig_bytes *signatures;
        while (musig_session_final_signatures(session, &signatures, NULL) != MUSIG_STATUS_OK) usleep(1000);
        musig_bytes_free(signatures);
        musig_session_free(session);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    REQUIRE(end.tv_sec - begin.tv_sec < 4);
    OK(musig_node_stop(node, NULL));
    REQUIRE(state.destroyed == 1);
    musig_node_free(node);
}

int main(int argc, char **argv) {
    musig_signer *signer = signer_of(0);
    many_events(signer, argc > 1 ? atol(argv[1]) : 100000);
    freed_inside(signer);
    freed_elsewhere(signer);
    blocked(signer);
    musig_signer_free(signer);
    return 0;
}
