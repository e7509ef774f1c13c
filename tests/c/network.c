/* Two signers find each other by their keys: they know a third node, which keeps the hash table, and no address of each
 * other. One is set up as on a phone, and listens nowhere. */
#define _POSIX_C_SOURCE 200809L
#include "prelude.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static musig_config *connected(int index) {
    musig_signer *signer = signer_of(index);
    musig_config *config;
    OK(musig_config_new(&config, NULL));
    OK(musig_config_set_signer(config, signer, NULL));
    OK(musig_config_set_store_memory(config, NULL));
    OK(musig_config_set_without_observer(config, NULL));
    musig_signer_free(signer);
    return config;
}

static musig_node *start(musig_config *config) {
    musig_node *node;
    OK(musig_node_start(&node, config, NULL));
    musig_config_free(config);
    return node;
}

/* Where a node listens, once it does. The caller frees it. */
static char *address_of(const musig_node *node) {
    for (;;) {
        musig_bytes *addresses;
        OK(musig_node_listen_addresses(node, &addresses, NULL));
        if (musig_bytes_length(addresses)) {
            char *address = malloc(musig_bytes_length(addresses) + 1);
            REQUIRE(address);
            strcpy(address, (const char *)musig_bytes_data(addresses));
            address[strcspn(address, "\n")] = 0;
            musig_bytes_free(addresses);
            return address;
        }
        musig_bytes_free(addresses);
    }
}

/* A peer and a signer that cannot be reached: by address and by key, why, and when they are tried again. */
static void unreachable(void) {
    musig_config *config = connected(3);
    musig_signer *other = signer_of(4);
    musig_signer_status state;
    musig_node *node;
    musig_proposal *proposal;
    musig_session *session;
    musig_event *event;
    const uint32_t *missing;
    const uint8_t *text;
    uint8_t keys[66], digest[32] = {8};
    uint64_t at = 0;
    size_t length;

    OK(musig_config_add_peer_address(config, "/ip4/127.0.0.1/tcp/1", NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_STALL_AFTER, 100, NULL));
    node = start(config);
    event = wait_event(node, MUSIG_EVENT_PEER_UNREACHABLE);
    OK(musig_event_bytes(event, &text, &length, MUSIG_EVENT_BYTES_ADDRESS, NULL));
    REQUIRE(strcmp((const char *)text, "/ip4/127.0.0.1/tcp/1") == 0);
    IS(MUSIG_STATUS_NO_SUCH_FIELD, musig_event_bytes(event, &text, &length, MUSIG_EVENT_BYTES_SIGNER_KEY, NULL));
    OK(musig_event_bytes(event, &text, &length, MUSIG_EVENT_BYTES_REASON, NULL));
    REQUIRE(strstr((const char *)text, "refused"));
    OK(musig_event_number(event, &at, MUSIG_EVENT_NUMBER_NEXT_TRY_AT, NULL));
    REQUIRE(at > 0);
    musig_event_free(event);

    OK(musig_node_signer_key(node, keys, NULL));
    OK(musig_signer_public_key(other, keys + 33, NULL));
    OK(musig_proposal_new_messages(&proposal, keys, 2, digest, 1, NULL));
    OK(musig_node_create_session(node, &session, proposal, NULL));
    event = wait_event(node, MUSIG_EVENT_SESSION_STALLED);
    OK(musig_event_list(event, &missing, &length, MUSIG_EVENT_LIST_MISSING, NULL));
    REQUIRE(length == 1 && missing[0] == 1);
    memset(&state, 0, sizeof state);
    state.struct_size = sizeof state;
    OK(musig_event_signer_status(event, &state, 0, NULL));
    REQUIRE(state.signer == 1 && !state.connected && !state.consented && state.last_seen == 0);
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_event_signer_status(event, &state, 1, NULL));
    musig_event_free(event);
    OK(musig_session_signer_status(session, &state, 0, NULL));
    REQUIRE(state.signer == 0 && state.connected == 1 && state.consented == 1 && state.last_seen > 0);
    OK(musig_session_signer_status(session, &state, 1, NULL));
    REQUIRE(state.signer == 1 && !state.connected && !state.consented);
    IS(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_session_signer_status(session, &state, 2, NULL));

    musig_session_free(session);
    musig_proposal_free(proposal);
    musig_signer_free(other);
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
}

/* With a proxy onion services are dialled, by the proxy alone; without one they are refused. */
static void through_proxy(void) {
    static const char onion[] = "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234";
    musig_config *config = connected(3);
    musig_node *node = NULL;
    musig_event *event;
    const uint8_t *text;
    size_t length;

    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_config_set_proxy(config, "http://127.0.0.1:8080", NULL));
    OK(musig_config_add_peer_address(config, onion, NULL));
    IS(MUSIG_STATUS_CONFIG, musig_node_start(&node, config, NULL));
    OK(musig_config_set_proxy(config, "socks5h://127.0.0.1:1", NULL));
    OK(musig_config_add_external_address(config, onion, NULL));
    node = start(config);
    event = wait_event(node, MUSIG_EVENT_PEER_UNREACHABLE);
    OK(musig_event_bytes(event, &text, &length, MUSIG_EVENT_BYTES_ADDRESS, NULL));
    REQUIRE(strcmp((const char *)text, onion) == 0);
    OK(musig_event_bytes(event, &text, &length, MUSIG_EVENT_BYTES_REASON, NULL));
    REQUIRE(strstr((const char *)text, "the proxy 127.0.0.1:1"));
    musig_event_free(event);
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
}

/* Bob gives Alice's place to a key that she does not hold: her node refuses, and says to her who proposed it and why. */
static void refused_proposal(const musig_node *alice, const musig_node *bob) {
    musig_signer *lost = signer_of(20);
    musig_proposal *proposal;
    musig_key_set *key_set;
    musig_session *session;
    musig_event *event;
    const uint8_t *text;
    uint8_t keys[66], participants[66], digest[32] = {9};
    size_t length;
    uint32_t index;

    OK(musig_node_signer_key(alice, keys, NULL));
    OK(musig_node_signer_key(bob, keys + 33, NULL));
    memcpy(participants, keys, sizeof participants);
    OK(musig_signer_public_key(lost, participants, NULL));
    OK(musig_key_set_new(&key_set, participants, 2, MUSIG_KEY_ORDER_SORTED, NULL));
    OK(musig_proposal_new_messages(&proposal, keys, 2, NULL, 0, NULL));
    OK(musig_proposal_add_key_set(proposal, &index, key_set, NULL));
    OK(musig_proposal_add_message(proposal, digest, index, NULL, NULL));
    OK(musig_node_create_session(bob, &session, proposal, NULL));
    event = wait_event(alice, MUSIG_EVENT_PROPOSAL_REFUSED);
    OK(musig_event_bytes(event, &text, &length, MUSIG_EVENT_BYTES_SIGNER_KEY, NULL));
    REQUIRE(length == 33 && memcmp(text, keys + 33, 33) == 0);
    OK(musig_event_bytes(event, &text, &length, MUSIG_EVENT_BYTES_REASON, NULL));
    REQUIRE(strstr((const char *)text, "does not hold the participant key"));
    musig_event_free(event);
    musig_session_free(session);
    musig_proposal_free(proposal);
    musig_key_set_free(key_set);
    musig_signer_free(lost);
}

/* Whoever knows nothing but an address learns whose node is there, if that is told to show it. */
static void first_contact(void) {
    musig_config *config = connected(5);
    musig_signer *there = signer_of(5);
    musig_node *open, *other;
    musig_event *event;
    const uint8_t *signer;
    uint8_t key[33];
    size_t length;
    char *address;

    OK(musig_config_add_listen_address(config, "/ip4/127.0.0.1/tcp/0", NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_HIDES, 0, NULL));
    open = start(config);
    address = address_of(open);
    config = connected(6);
    OK(musig_config_add_peer_address(config, address, NULL));
    other = start(config);
    event = wait_event(other, MUSIG_EVENT_PEER_CONNECTED);
    OK(musig_event_bytes(event, &signer, &length, MUSIG_EVENT_BYTES_SIGNER_KEY, NULL));
    OK(musig_signer_public_key(there, key, NULL));
    REQUIRE(length == 33 && memcmp(signer, key, 33) == 0);
    musig_event_free(event);
    musig_signer_free(there);
    free(address);
    OK(musig_node_stop(other, NULL));
    OK(musig_node_stop(open, NULL));
    musig_node_free(other);
    musig_node_free(open);
}

/* A line that takes a tenth of a second for everything that is sent, either way. */
struct line {
    int listener, port;
};

struct pump {
    int from, into;
};

static void *pumps(void *arg) {
    struct pump *pump = arg;
    const struct timespec delay = {0, 100 * 1000 * 1000};
    char buffer[4096];
    ssize_t count;
    while ((count = read(pump->from, buffer, sizeof buffer)) > 0) {
        nanosleep(&delay, NULL);
        for (ssize_t done = 0, more; done < count; done += more) {
            more = send(pump->into, buffer + done, (size_t)(count - done), MSG_NOSIGNAL);
            if (more <= 0) goto end;
        }
    }
end:
    shutdown(pump->into, SHUT_RDWR);
    free(pump);
    return NULL;
}

static void pump(int from, int into) {
    struct pump *ends = malloc(sizeof *ends);
    pthread_t thread;
    REQUIRE(ends);
    ends->from = from;
    ends->into = into;
    REQUIRE(pthread_create(&thread, NULL, pumps, ends) == 0);
    REQUIRE(pthread_detach(thread) == 0);
}

static void *line_runs(void *arg) {
    struct line *line = arg;
    int near;
    while ((near = accept(line->listener, NULL, NULL)) >= 0) {
        struct sockaddr_in to;
        int far = socket(AF_INET, SOCK_STREAM, 0);
        memset(&to, 0, sizeof to);
        to.sin_family = AF_INET;
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        to.sin_port = htons((uint16_t)line->port);
        REQUIRE(far >= 0 && connect(far, (struct sockaddr *)&to, sizeof to) == 0);
        pump(near, far);
        pump(far, near);
    }
    return NULL;
}

/* A clock that differs is told. Nobody's clock can be set here, but what takes long on its way looks like one that is late. */
static void clock_skew(void) {
    musig_config *config = connected(3);
    struct line line;
    struct sockaddr_in at;
    socklen_t length = sizeof at;
    pthread_t thread;
    musig_node *node, *other;
    musig_event *event;
    char *address, through[64];
    const uint8_t *signer;
    uint8_t keys[66];
    uint64_t number = 0;
    size_t size;

    OK(musig_config_add_listen_address(config, "/ip4/127.0.0.1/tcp/0", NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_HIDES, 0, NULL));
    other = start(config);
    address = address_of(other);
    line.port = atoi(strstr(address, "/tcp/") + 5);
    line.listener = socket(AF_INET, SOCK_STREAM, 0);
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(line.listener >= 0 && bind(line.listener, (struct sockaddr *)&at, sizeof at) == 0);
    REQUIRE(listen(line.listener, 8) == 0 && getsockname(line.listener, (struct sockaddr *)&at, &length) == 0);
    REQUIRE(pthread_create(&thread, NULL, line_runs, &line) == 0);
    sprintf(through, "/ip4/127.0.0.1/tcp/%d", ntohs(at.sin_port));

    config = connected(4);
    OK(musig_config_add_peer_address(config, through, NULL));
    IS(MUSIG_STATUS_INVALID_ARGUMENT, musig_config_set_number(config, MUSIG_OPTION_CLOCK_SKEW, 0, NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_CLOCK_SKEW, 50, NULL));
    node = start(config);
    OK(musig_node_signer_key(node, keys, NULL));
    OK(musig_node_signer_key(other, keys + 33, NULL));
    for (uint8_t i = 0; i < 3; i++) {
        musig_proposal *proposal;
        musig_session *session;
        uint8_t digest[32] = {9};
        digest[1] = i;
        OK(musig_proposal_new_messages(&proposal, keys, 2, digest, 1, NULL));
        OK(musig_node_create_session(node, &session, proposal, NULL));
        musig_session_free(session);
        musig_proposal_free(proposal);
    }
    event = wait_event(node, MUSIG_EVENT_CLOCK_SKEW);
    OK(musig_event_bytes(event, &signer, &size, MUSIG_EVENT_BYTES_SIGNER_KEY, NULL));
    REQUIRE(size == 33 && memcmp(signer, keys + 33, 33) == 0);
    OK(musig_event_number(event, &number, MUSIG_EVENT_NUMBER_OFFSET, NULL));
    REQUIRE((int64_t)number <= -100 && (int64_t)number > -60000);
    /* Of two clocks nobody can say which one is wrong. */
    OK(musig_event_number(event, &number, MUSIG_EVENT_NUMBER_OWN_SUSPECT, NULL));
    REQUIRE(number == 0);
    musig_event_free(event);

    OK(musig_node_stop(node, NULL));
    OK(musig_node_stop(other, NULL));
    musig_node_free(node);
    musig_node_free(other);
    free(address);
    shutdown(line.listener, SHUT_RDWR);
    REQUIRE(pthread_join(thread, NULL) == 0);
    close(line.listener);
}

int main(void) {
    musig_config *config = connected(2);
    musig_node *server, *alice, *bob;
    musig_proposal *proposal;
    musig_session *proposed, *joined;
    musig_event *event;
    uint8_t keys[66], digest[32] = {7}, id[32];
    char *address;

    OK(musig_config_add_listen_address(config, "/ip4/127.0.0.1/tcp/0", NULL));
    OK(musig_config_set_number(config, MUSIG_OPTION_DHT, MUSIG_DHT_SERVER, NULL));
    server = start(config);
    address = address_of(server);

    config = connected(0);
    OK(musig_config_add_listen_address(config, "/ip4/127.0.0.1/tcp/0", NULL));
    OK(musig_config_add_bootstrap_address(config, address, NULL));
    alice = start(config);

    config = connected(1);
    OK(musig_config_set_number(config, MUSIG_OPTION_MOBILE, 1, NULL));
    OK(musig_config_add_bootstrap_address(config, address, NULL));
    bob = start(config);

    OK(musig_node_signer_key(alice, keys, NULL));
    OK(musig_node_signer_key(bob, keys + 33, NULL));
    OK(musig_proposal_new_messages(&proposal, keys, 2, digest, 1, NULL));
    OK(musig_node_create_session(bob, &proposed, proposal, NULL));
    event = wait_event(alice, MUSIG_EVENT_SESSION_PROPOSED);
    OK(musig_event_session_id(event, id, NULL));
    musig_event_free(event);
    OK(musig_node_session(alice, &joined, id, NULL));
    OK(musig_session_join(joined, NULL));
    musig_event_free(wait_event(alice, MUSIG_EVENT_SESSION_COMPLETE));
    event = wait_event(bob, MUSIG_EVENT_SESSION_COMPLETE);
    uint64_t aborted_here = 1;
    OK(musig_event_number(event, &aborted_here, MUSIG_EVENT_NUMBER_ABORTED_HERE, NULL));
    REQUIRE(aborted_here == 0);
    musig_event_free(event);
    refused_proposal(alice, bob);

    musig_session_free(proposed);
    musig_session_free(joined);
    musig_proposal_free(proposal);
    OK(musig_node_stop(bob, NULL));
    OK(musig_node_stop(alice, NULL));
    OK(musig_node_stop(server, NULL));
    musig_node_free(bob);
    musig_node_free(alice);
    musig_node_free(server);
    free(address);
    unreachable();
    through_proxy();
    first_contact();
    clock_skew();
    printf("found by their keys\n");
    return 0;
}
