/* Handlers: many events, calls back into every function, the last reference freed inside, elsewhere while handlers run,
 * stop from inside, data destroyed exactly once and last, and a handler that blocks. */
#include "every.h"

#include <pthread.h>
#include <unistd.h>

struct state {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    long events, running, destroyed, complete;
    int calls_back, free_inside, stop_inside, blocks, released;
    musig_node *given_up;
};

static void init(struct state *state) {
    memset(state, 0, sizeof *state);
    pthread_mutex_init(&state->lock, NULL);
    pthread_cond_init(&state->changed, NULL);
}

static void storm_destroy(void *user_data) {
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
    end.tv_sec += 200;
    pthread_mutex_lock(&state->lock);
    while (*counter < value) REQUIRE(pthread_cond_timedwait(&state->changed, &state->lock, &end) == 0);
    pthread_mutex_unlock(&state->lock);
}

#define SELDOM 10000

/* The node's own functions, of which each event tries some. */
static void call_back(long turn, musig_node *node, musig_event *event) {
    uint8_t id[32], key[33];
    musig_session *session = NULL;
    musig_session_status status;
    musig_metrics metrics;
    musig_election *election;
    musig_terms *terms;
    musig_bytes *bytes;
    musig_event *other;
    uint32_t list[MUSIG_MAX_SIGNERS];
    size_t count;
    int32_t flag;
    if (musig_event_session_id(event, id, NULL) != MUSIG_STATUS_OK) return;
    OK(musig_node_session(node, &session, id, NULL));
    switch (turn % 16) {
    case 0:
        OK(musig_node_sessions(node, &bytes, NULL));
        musig_bytes_free(bytes);
        OK(musig_node_peer_id(node, &bytes, NULL));
        musig_bytes_free(bytes);
        break;
    case 1:
        metrics.struct_size = sizeof metrics;
        OK(musig_node_metrics(node, &metrics, NULL));
        OK(musig_node_signer_key(node, key, NULL));
        break;
    case 2:
        IS(MUSIG_STATUS_CONSUMER_EXISTS, musig_node_event_descriptor(node, &flag, NULL));
        IS(MUSIG_STATUS_CONSUMER_EXISTS, musig_node_next_event(node, &other, 0, NULL));
        break;
    case 3:
        status.struct_size = sizeof status;
        OK(musig_session_get_status(session, &status, NULL));
        REQUIRE(status.signers_count == 1);
        break;
    case 4:
        OK(musig_node_listen_addresses(node, &bytes, NULL));
        musig_bytes_free(bytes);
        OK(musig_node_connected_signers(node, &bytes, NULL));
        musig_bytes_free(bytes);
        IS(MUSIG_STATUS_NETWORK, musig_node_add_peer(node, "/ip4/127.0.0.1/tcp/1", NULL));
        break;
    case 5:
        OK(musig_session_election(session, &election, NULL));
        musig_election_free(election);
        OK(musig_session_priority_list(session, list, MUSIG_MAX_SIGNERS, &count, NULL));
        break;
    case 6:
        OK(musig_session_is_coordinator(session, &flag, NULL));
        OK(musig_session_is_current_coordinator(session, &flag, NULL));
        OK(musig_session_coordinator_peer_id(session, &bytes, NULL));
        musig_bytes_free(bytes);
        break;
    case 7:
        OK(musig_session_terms(session, &terms, NULL));
        musig_terms_free(terms);
        OK(musig_session_id(session, id, NULL));
        break;
    case 8:
        if (musig_session_final_signatures(session, &bytes, NULL) == MUSIG_STATUS_OK) musig_bytes_free(bytes);
        IS(MUSIG_STATUS_NOT_READY, musig_session_final_transaction(session, &bytes, id, NULL));
        break;
    case 9:
        IS(MUSIG_STATUS_WRONG_STATE, musig_session_decline(session, "no", NULL));
        OK(musig_node_announce(node, NULL));
        break;
    case 10:
        IS(MUSIG_STATUS_UNKNOWN_EVENT, musig_node_event_handled(node, UINT64_MAX, NULL));
        break;
    case 11:
        OK(musig_session_export(session, &bytes, NULL));
        {
            musig_bytes *ids;
            OK(musig_node_import(node, &ids, musig_bytes_data(bytes), musig_bytes_length(bytes), NULL));
            musig_bytes_free(ids);
        }
        musig_bytes_free(bytes);
        break;
    case 12:
        musig_session_free(musig_session_ref(session));
        musig_node_free(musig_node_ref(node));
        musig_event_free(musig_event_ref(event));
        break;
    default:
        break;
    }
    /* What leaves something behind: seldom, and not before the main thread has proposed everything. */
    switch (turn < SELDOM ? 0 : turn % SELDOM) {
    case 100:
        IS(MUSIG_STATUS_OK, musig_session_report_broadcast_failed(session, "no network", NULL));
        OK(musig_session_broadcast_now(session, NULL));
        break;
    case 200:
        OK(musig_node_suspend(node, NULL));
        IS(MUSIG_STATUS_SUSPENDED, musig_session_export(session, &bytes, NULL));
        OK(musig_node_resume(node, NULL));
        break;
    case 300:
        OK(musig_node_redeliver(node, NULL));
        break;
    case 400:
        musig_session_free(session);
        session = propose_alone(node, 0xaa);
        OK(musig_session_notify_broadcast_complete(session, NULL, NULL));
        OK(musig_session_close(session, NULL));
        OK(musig_session_abandon(session, NULL));
        OK(musig_session_join(session, NULL));
        break;
    case 500:
        musig_session_free(session);
        session = propose_alone(node, 0xbb);
        /* It may be finished already. */
        {
            musig_status done = musig_session_abort(session, "enough", NULL);
            REQUIRE(done == MUSIG_STATUS_OK || done == MUSIG_STATUS_WRONG_STATE);
        }
        break;
    case 600:
        /* Everything else, and all of the above, on other nodes. */
        every_function();
        break;
    default:
        break;
    }
    musig_session_free(session);
}

static int32_t storm_handler(void *user_data, musig_node *node, musig_event *event) {
    struct state *state = user_data;
    musig_error *error = NULL;
    musig_node *last = NULL;
    long turn;
    int calls_back;
    pthread_mutex_lock(&state->lock);
    REQUIRE(state->destroyed == 0);
    REQUIRE(state->running == 0); /* one at a time */
    state->running++;
    turn = state->events;
    calls_back = state->calls_back;
    if (state->free_inside) {
        last = state->given_up;
        state->given_up = NULL;
    }
    pthread_cond_broadcast(&state->changed);
    while (state->blocks && !state->released) pthread_cond_wait(&state->changed, &state->lock);
    pthread_mutex_unlock(&state->lock);

    IS(MUSIG_STATUS_WOULD_DEADLOCK, musig_node_stop(node, &error));
    REQUIRE(musig_error_status(error) == MUSIG_STATUS_WOULD_DEADLOCK);
    musig_error_free(error);
    if (calls_back) call_back(turn, node, event);
    if (state->stop_inside) OK(musig_node_request_stop(node, NULL));
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
    OK(musig_config_set_event_handler(config, storm_handler, state, storm_destroy, NULL));
    OK(musig_node_start(&node, config, NULL));
    musig_config_free(config);
    return node;
}

static long events_of(struct state *state) {
    long events;
    pthread_mutex_lock(&state->lock);
    events = state->events;
    pthread_mutex_unlock(&state->lock);
    return events;
}

static void many_events(const musig_signer *signer, long count) {
    struct state state;
    musig_node *node;
    init(&state);
    state.calls_back = 1;
    node = start_with(&state, signer);
    for (int i = 0; i < 200; i++) musig_session_free(propose_alone(node, (uint8_t)i));
    wait_for(&state, &state.complete, 200);
    for (long before; (before = events_of(&state)) < count;) {
        musig_status status = musig_node_redeliver(node, NULL);
        REQUIRE(status == MUSIG_STATUS_OK || status == MUSIG_STATUS_SUSPENDED);
        if (status == MUSIG_STATUS_OK) wait_for(&state, &state.events, before + 200);
    }
    /* From here on the node's functions may say that it is stopped. */
    pthread_mutex_lock(&state.lock);
    state.calls_back = 0;
    while (state.running) pthread_cond_wait(&state.changed, &state.lock);
    pthread_mutex_unlock(&state.lock);
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

/* Asked to stop inside the handler: it ends, whoever waits for that. */
static void stopped_inside(const musig_signer *signer) {
    struct state state;
    musig_node *node;
    musig_session *session;
    musig_status status;
    init(&state);
    state.stop_inside = 1;
    node = start_with(&state, signer);
    session = propose_alone(node, 1);
    wait_for(&state, &state.events, 1);
    do {
        int32_t flag;
        status = musig_session_is_coordinator(session, &flag, NULL);
    } while (status == MUSIG_STATUS_OK);
    REQUIRE(status == MUSIG_STATUS_NODE_STOPPED);
    OK(musig_node_stop(node, NULL));
    REQUIRE(state.destroyed == 1 && state.running == 0);
    musig_session_free(session);
    musig_node_free(node);
    REQUIRE(state.destroyed == 1);
}

static void *stop_it(void *node) {
    OK(musig_node_stop(node, NULL));
    return NULL;
}

/* A handler that blocks for five seconds delays no signing; several threads that stop the node wait for it. */
static void blocked(const musig_signer *signer) {
    struct state state;
    musig_node *node;
    pthread_t threads[3];
    init(&state);
    state.blocks = 1;
    node = start_with(&state, signer);
    for (int i = 0; i < 20; i++) {
        musig_session *session = propose_alone(node, (uint8_t)i);
        musig_bytes *signatures;
        while (musig_session_final_signatures(session, &signatures, NULL) != MUSIG_STATUS_OK) usleep(1000);
        musig_bytes_free(signatures);
        musig_session_free(session);
    }
    /* All of them are signed, and the handler has not returned from its first event. */
    wait_for(&state, &state.running, 1);
    REQUIRE(state.events == 0);
    for (int i = 0; i < 3; i++) REQUIRE(pthread_create(&threads[i], NULL, stop_it, node) == 0);
    sleep(5);
    pthread_mutex_lock(&state.lock);
    REQUIRE(state.running == 1 && state.events == 0 && state.destroyed == 0);
    state.released = 1;
    pthread_cond_broadcast(&state.changed);
    pthread_mutex_unlock(&state.lock);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    REQUIRE(state.destroyed == 1 && state.running == 0);
    musig_node_free(node);
}

int main(int argc, char **argv) {
    musig_signer *signer = signer_of(0);
    many_events(signer, argc > 1 ? atol(argv[1]) : 100000);
    freed_inside(signer);
    freed_elsewhere(signer);
    stopped_inside(signer);
    blocked(signer);
    musig_signer_free(signer);
    return 0;
}
