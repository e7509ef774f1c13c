/* Events in a program's own loop: two nodes, one epoll set, one thread. Linux; poll and kqueue work alike.
 *
 * cc epoll.c $(pkg-config --cflags --libs musig) -o epoll
 */
#include <musig.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

static void check(musig_status status, musig_error *error) {
    if (status == MUSIG_STATUS_OK) return;
    fprintf(stderr, "%s: %s\n", musig_status_string(status), musig_error_message(error));
    musig_error_free(error);
    exit(1);
}

static musig_node *start(uint8_t *key) {
    musig_error *error;
    musig_config *config;
    musig_signer *signer;
    musig_node *node;
    check(musig_signer_generate(&signer, &error), error);
    check(musig_signer_public_key(signer, key, &error), error);
    check(musig_config_new(&config, &error), error);
    check(musig_config_set_signer(config, signer, &error), error);
    check(musig_config_set_store_memory(config, &error), error);
    check(musig_config_add_listen_address(config, "/ip4/127.0.0.1/tcp/0", &error), error);
    check(musig_config_set_without_observer(config, &error), error);
    check(musig_node_start(&node, config, &error), error);
    musig_config_free(config);
    musig_signer_free(signer);
    return node;
}

/* Once the first node listens, the second one connects to it. Returns whether that is done. */
static int connect_them(musig_node *const *nodes) {
    musig_error *error;
    musig_bytes *text;
    char address[256];
    size_t length;
    check(musig_node_listen_addresses(nodes[0], &text, &error), error);
    length = strcspn((const char *)musig_bytes_data(text), "\n");
    if (length == 0 || length >= sizeof address) {
        musig_bytes_free(text);
        return 0;
    }
    memcpy(address, musig_bytes_data(text), length);
    address[length] = 0;
    musig_bytes_free(text);
    check(musig_node_add_peer(nodes[1], address, &error), error);
    return 1;
}

/* Takes every event that waits, so that the descriptor is not readable any more. Returns how many were complete. */
static int drain(const musig_node *node) {
    int complete = 0;
    for (;;) {
        musig_error *error;
        musig_event *event;
        uint8_t id[32];
        musig_status status = musig_node_next_event(node, &event, 0, &error);
        if (status == MUSIG_STATUS_NO_EVENT) {
            musig_error_free(error);
            return complete;
        }
        check(status, error);
        if (musig_event_kind_of(event) == MUSIG_EVENT_SESSION_PROPOSED) {
            musig_session *session;
            check(musig_event_session_id(event, id, &error), error);
            check(musig_node_session(node, &session, id, &error), error);
            check(musig_session_join(session, &error), error);
            musig_session_free(session);
        }
        complete += musig_event_kind_of(event) == MUSIG_EVENT_SESSION_COMPLETE;
        if (musig_event_is_durable(event)) check(musig_node_event_handled(node, musig_event_id(event), &error), error);
        musig_event_free(event);
    }
}

int main(void) {
    uint8_t keys[66], message[32];
    musig_error *error;
    musig_node *nodes[2];
    musig_proposal *proposal;
    musig_session *session;
    int set = epoll_create1(EPOLL_CLOEXEC), complete = 0, connected = 0;
    if (set < 0) return 1;
    for (int i = 0; i < 2; i++) {
        int32_t descriptor;
        struct epoll_event interest;
        nodes[i] = start(keys + 33 * i);
        check(musig_node_event_descriptor(nodes[i], &descriptor, &error), error);
        memset(&interest, 0, sizeof interest);
        interest.events = EPOLLIN;
        interest.data.u32 = (uint32_t)i;
        if (epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &interest) != 0) return 1;
    }
    memset(message, 0x42, sizeof message);
    check(musig_proposal_new_messages(&proposal, keys, 2, message, 1, &error), error);
    check(musig_proposal_set_sign_only(proposal, &error), error);
    check(musig_node_create_session(nodes[0], &session, proposal, &error), error);
    musig_proposal_free(proposal);
    musig_session_free(session);
    while (complete < 2) {
        struct epoll_event ready[2];
        int count = epoll_wait(set, ready, 2, connected ? 60000 : 10);
        if (!connected) connected = connect_them(nodes);
        else if (count == 0) {
            fprintf(stderr, "nothing happened for a minute\n");
            return 1;
        }
        for (int i = 0; i < count; i++) complete += drain(nodes[ready[i].data.u32]);
    }
    printf("complete at both\n");
    for (int i = 0; i < 2; i++) {
        check(musig_node_stop(nodes[i], &error), error);
        musig_node_free(nodes[i]);
    }
    return 0;
}
