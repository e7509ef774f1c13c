/* The C node of the test of all languages: docs/interop.md says what it reads and writes. */
#include <musig.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(musig_status status, musig_error *error) {
    if (status == MUSIG_STATUS_OK) return;
    fprintf(stderr, "%s: %s\n", musig_status_string(status), musig_error_message(error));
    exit(1);
}

static void print_hex(const uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) printf("%02x", bytes[i]);
}

static void read_hex(uint8_t *bytes, size_t length, const char *text) {
    for (size_t i = 0; i < length; i++) {
        unsigned byte;
        if (!text || sscanf(text + 2 * i, "%2x", &byte) != 1) {
            fprintf(stderr, "%u hexadecimal digits are needed\n", (unsigned)(2 * length));
            exit(1);
        }
        bytes[i] = (uint8_t)byte;
    }
}

static int32_t handle(void *user_data, musig_node *node, musig_event *event) {
    musig_error *error;
    musig_session *session;
    uint8_t id[32];
    uint64_t turn;
    const uint8_t *bytes;
    size_t length;
    (void)user_data;
    if (musig_event_session_id(event, id, NULL) != MUSIG_STATUS_OK) return 0;
    check(musig_node_session(node, &session, id, &error), error);
    switch (musig_event_kind_of(event)) {
    case MUSIG_EVENT_SESSION_PROPOSED:
        check(musig_session_join(session, &error), error);
        break;
    case MUSIG_EVENT_SESSION_COMPLETE:
        check(musig_event_bytes(event, &bytes, &length, MUSIG_EVENT_BYTES_SIGNATURES, &error), error);
        printf("complete ");
        print_hex(id, 32);
        printf(" ");
        print_hex(bytes, 64);
        printf("\n");
        break;
    case MUSIG_EVENT_SHOULD_BROADCAST:
        check(musig_event_number(event, &turn, MUSIG_EVENT_NUMBER_TURN, &error), error);
        printf("should-broadcast ");
        print_hex(id, 32);
        printf(" %u\n", (unsigned)turn);
        break;
    case MUSIG_EVENT_BROADCAST_CLAIMED:
        check(musig_session_notify_broadcast_complete(session, NULL, &error), error);
        break;
    case MUSIG_EVENT_BROADCAST_CONFIRMED:
        printf("confirmed ");
        print_hex(id, 32);
        printf("\n");
        break;
    default:
        break;
    }
    fflush(stdout);
    musig_session_free(session);
    return 0;
}

static void propose(const musig_node *node) {
    static uint8_t signers[MUSIG_MAX_SIGNERS * 33];
    uint8_t digest[32];
    size_t count = 0;
    musig_error *error;
    musig_proposal *proposal;
    musig_session *session;
    char *word = strtok(NULL, " \n");
    uint64_t timeout = word ? strtoull(word, NULL, 10) : 0;
    read_hex(digest, 32, strtok(NULL, " \n"));
    while ((word = strtok(NULL, " \n")) && count < MUSIG_MAX_SIGNERS) read_hex(signers + 33 * count++, 33, word);
    check(musig_proposal_new_messages(&proposal, signers, count, digest, 1, &error), error);
    check(musig_proposal_set_election_method(proposal, MUSIG_ELECTION_FIRST_SIGNER, &error), error);
    check(musig_proposal_set_failover(proposal, timeout, MUSIG_TIERS_SINGLE, 0, &error), error);
    check(musig_node_create_session(node, &session, proposal, &error), error);
    musig_session_free(session);
    musig_proposal_free(proposal);
}

static void broadcast(const musig_node *node) {
    uint8_t id[32], txid[32];
    musig_error *error;
    musig_session *session;
    memset(txid, 7, sizeof txid);
    read_hex(id, 32, strtok(NULL, " \n"));
    check(musig_node_session(node, &session, id, &error), error);
    check(musig_session_notify_broadcast_complete(session, txid, &error), error);
    musig_session_free(session);
}

static void print_address(const musig_node *node) {
    for (;;) {
        musig_error *error;
        musig_bytes *text;
        check(musig_node_listen_addresses(node, &text, &error), error);
        if (musig_bytes_length(text) > 0) {
            const char *first = (const char *)musig_bytes_data(text);
            printf("listening %.*s\n", (int)strcspn(first, "\n"), first);
            fflush(stdout);
            musig_bytes_free(text);
            return;
        }
        musig_bytes_free(text);
    }
}

int main(int argc, char **argv) {
    static char line[1 << 16];
    uint8_t secret[32];
    musig_error *error;
    musig_config *config;
    musig_signer *signer;
    musig_node *node;
    if (argc != 2 || !fgets(line, sizeof line, stdin) || strncmp(line, "secret ", 7) != 0) return 2;
    read_hex(secret, 32, line + 7);
    check(musig_signer_new(&signer, secret, &error), error);
    check(musig_config_new(&config, &error), error);
    check(musig_config_set_signer(config, signer, &error), error);
    check(musig_config_set_store_path(config, argv[1], &error), error);
    check(musig_config_add_listen_address(config, "/ip4/127.0.0.1/tcp/0", &error), error);
    check(musig_config_set_without_observer(config, &error), error);
    check(musig_config_set_event_handler(config, handle, NULL, NULL, &error), error);
    check(musig_node_start(&node, config, &error), error);
    musig_config_free(config);
    musig_signer_free(signer);
    print_address(node);
    while (fgets(line, sizeof line, stdin)) {
        const char *word = strtok(line, " \n");
        if (word && strcmp(word, "peer") == 0) check(musig_node_add_peer(node, strtok(NULL, " \n"), &error), error);
        else if (word && strcmp(word, "propose") == 0) propose(node);
        else if (word && strcmp(word, "broadcast") == 0) broadcast(node);
        else break;
    }
    check(musig_node_stop(node, &error), error);
    musig_node_free(node);
    return 0;
}
