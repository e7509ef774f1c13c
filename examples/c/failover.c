/* The main job: several signers spend their coin, the elected one does not broadcast, and the next one takes over.
 *
 *   failover URL                        three nodes in this process. URL is an Esplora server on regtest:
 *                                       cargo run --example chain -- ./failover   gives that of a small chain
 *   failover --key HEX --store FILE --listen ADDRESS --signers HEX,HEX,... [--peer ADDRESS]... [--source URL]
 *            [--propose TXID:VOUT] [--timeout MILLISECONDS] [--stay]
 *                                       one node; --propose (the coin that is spent) at exactly one of them. One without
 *                                       --source does not broadcast when it should. One that is to --stay runs until it is
 *                                       killed, as a wallet would, and tells those that come back what happened.
 *
 * cc failover.c $(pkg-config --cflags --libs musig) -o failover
 */
#include <musig.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 16
/* Satoshis of the coin, and of what its spending costs. */
#define VALUE 100000
#define FEE 1000

struct app {
    musig_node *node;
    int silent;
    int stay;
    int done;
};

static void check(musig_status status, musig_error *error) {
    if (status == MUSIG_STATUS_OK) return;
    fprintf(stderr, "%s: %s\n", musig_status_string(status), musig_error_message(error));
    musig_error_free(error);
    exit(1);
}

static void print_hex(const char *name, const uint8_t *bytes, size_t length) {
    printf("%s ", name);
    for (size_t i = 0; i < length; i++) printf("%02x", bytes[i]);
    printf("\n");
    fflush(stdout);
}

static int digit(char c) {
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static void read_hex(uint8_t *bytes, size_t length, const char *text) {
    for (size_t i = 0; i < length; i++) {
        int high = digit(text[2 * i]), low = high < 0 ? -1 : digit(text[2 * i + 1]);
        if (low < 0) {
            fprintf(stderr, "%s: %u lower-case hexadecimal digits are needed\n", text, (unsigned)(2 * length));
            exit(2);
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
}

static musig_node *start(musig_signer *signer, const char *store, const char *listen, char **peers, int peer_count,
                         const char *url) {
    musig_error *error;
    musig_config *config;
    musig_node *node;
    check(musig_config_new(&config, &error), error);
    check(musig_config_set_signer(config, signer, &error), error);
    if (store) check(musig_config_set_store_path(config, store, &error), error);
    else check(musig_config_set_store_memory(config, &error), error);
    check(musig_config_add_listen_address(config, listen, &error), error);
    for (int i = 0; i < peer_count; i++) check(musig_config_add_peer_address(config, peers[i], &error), error);
    if (url) {
        /* Broadcasts, and looks at the chain. For your own Bitcoin node: musig_source_new_core. */
        musig_source *source;
        check(musig_source_new_esplora(&source, url, NULL, &error), error);
        check(musig_config_set_source(config, source, &error), error);
        musig_source_free(source);
    } else {
        check(musig_config_set_without_observer(config, &error), error);
    }
    check(musig_node_start(&node, config, &error), error);
    musig_config_free(config);
    return node;
}

/* Waits until the node listens. */
static char *address(const musig_node *node) {
    for (;;) {
        musig_error *error;
        musig_bytes *text;
        musig_event *event = NULL;
        check(musig_node_listen_addresses(node, &text, &error), error);
        if (musig_bytes_length(text) > 0) {
            char *copy = malloc(musig_bytes_length(text) + 1);
            if (!copy) exit(1);
            strcpy(copy, (const char *)musig_bytes_data(text));
            copy[strcspn(copy, "\n")] = 0;
            musig_bytes_free(text);
            return copy;
        }
        musig_bytes_free(text);
        /* Nothing is proposed yet: what comes are notices about the network. */
        if (musig_node_next_event(node, &event, 10, NULL) == MUSIG_STATUS_OK) musig_event_free(event);
    }
}

/* The signers' key as an output script, and as an address. */
static char *place(uint8_t script[34], const uint8_t *signers, size_t count) {
    musig_error *error;
    musig_key_set *key_set;
    musig_bytes *text;
    musig_derivation derivation = {sizeof derivation, MUSIG_TAPROOT_KEY_PATH, 0, {0}, {0}};
    uint8_t key[33];
    char *address;
    check(musig_key_set_new(&key_set, signers, count, MUSIG_KEY_ORDER_SORTED, &error), error);
    check(musig_key_set_final_key(key_set, key, &derivation, &error), error);
    check(musig_key_set_address(key_set, &text, &derivation, MUSIG_NETWORK_REGTEST, &error), error);
    script[0] = 0x51;
    script[1] = 32;
    memcpy(script + 2, key + 1, 32);
    address = malloc(musig_bytes_length(text) + 1);
    if (!address) exit(1);
    strcpy(address, (const char *)musig_bytes_data(text));
    musig_bytes_free(text);
    musig_key_set_free(key_set);
    return address;
}

static void little_endian(uint8_t *bytes, size_t length, uint64_t number) {
    for (size_t i = 0; i < length; i++) bytes[i] = (uint8_t)(number >> 8 * i);
}

/* Proposes to spend a coin of the signers, TXID:VOUT, back to them. */
static void propose(const musig_node *node, const uint8_t *signers, size_t count, const char *coin, uint64_t timeout) {
    musig_error *error;
    musig_proposal *proposal;
    musig_session *session;
    musig_spent_output spent;
    uint8_t id[32], txid[32], script[34], transaction[94] = {2, 0, 0, 0, 1};
    free(place(script, signers, count));
    /* One input: the transaction, whose id is written backwards, the output, no script, the sequence. */
    read_hex(txid, 32, coin);
    if (coin[64] != ':') {
        fprintf(stderr, "%s: TXID:VOUT is needed\n", coin);
        exit(2);
    }
    for (int i = 0; i < 32; i++) transaction[5 + i] = txid[31 - i];
    little_endian(transaction + 37, 4, strtoul(coin + 65, NULL, 10));
    little_endian(transaction + 42, 4, 0xfffffffd);
    /* One output: its value, its script. Then the lock time, 0. */
    transaction[46] = 1;
    little_endian(transaction + 47, 8, VALUE - FEE);
    transaction[55] = sizeof script;
    memcpy(transaction + 56, script, sizeof script);
    spent.value = VALUE;
    spent.script = script;
    spent.script_length = sizeof script;
    check(musig_proposal_new_transaction(&proposal, signers, count, transaction, sizeof transaction, &spent, 1, &error),
          error);
    check(musig_proposal_set_failover(proposal, timeout, MUSIG_TIERS_SINGLE, 0, &error), error);
    check(musig_node_create_session(node, &session, proposal, &error), error);
    check(musig_session_id(session, id, &error), error);
    print_hex("proposed", id, 32);
    musig_session_free(session);
    musig_proposal_free(proposal);
}

static void act(struct app *app, const musig_event *event) {
    musig_error *error;
    musig_session *session = NULL;
    uint8_t id[32];
    uint64_t number = 0;
    const uint8_t *bytes;
    size_t length;
    if (musig_event_session_id(event, id, NULL) == MUSIG_STATUS_OK)
        check(musig_node_session(app->node, &session, id, &error), error);
    switch (musig_event_kind_of(event)) {
    case MUSIG_EVENT_SESSION_PROPOSED:
        /* A real program shows musig_event_terms to its user first. */
        check(musig_session_join(session, &error), error);
        print_hex("joined", id, 32);
        break;
    case MUSIG_EVENT_SESSION_COMPLETE:
        check(musig_event_bytes(event, &bytes, &length, MUSIG_EVENT_BYTES_SIGNATURES, &error), error);
        print_hex("complete", bytes, length);
        break;
    case MUSIG_EVENT_SHOULD_BROADCAST:
        /* A node with a source broadcasts itself. This one lets the others down. */
        check(musig_event_number(event, &number, MUSIG_EVENT_NUMBER_TURN, &error), error);
        printf("should-broadcast turn %u (silent)\n", (unsigned)number);
        fflush(stdout);
        break;
    case MUSIG_EVENT_COORDINATOR_FAILED: {
        const uint32_t *list;
        check(musig_event_list(event, &list, &length, MUSIG_EVENT_LIST_FAILED, &error), error);
        printf("coordinator-failed signer %u\n", length ? (unsigned)list[0] : 0);
        fflush(stdout);
        break;
    }
    case MUSIG_EVENT_BROADCAST_CLAIMED:
        /* A node with a source looks itself. This one believes the others; a real program asks its Bitcoin node first. */
        if (!app->silent) break;
        check(musig_event_bytes(event, &bytes, &length, MUSIG_EVENT_BYTES_TXID, &error), error);
        check(musig_session_notify_broadcast_complete(session, bytes, &error), error);
        break;
    case MUSIG_EVENT_BROADCAST_CONFIRMED:
        printf("confirmed\n");
        fflush(stdout);
        app->done = 1;
        break;
    case MUSIG_EVENT_SESSION_FAILED:
    case MUSIG_EVENT_SESSION_ABORTED:
    case MUSIG_EVENT_SESSION_EXPIRED:
        fprintf(stderr, "the session ended without signatures\n");
        exit(1);
    default:
        break;
    }
    if (musig_event_is_durable(event)) check(musig_node_event_handled(app->node, musig_event_id(event), &error), error);
    musig_session_free(session);
}

/* Takes events until every node knows that the transaction is broadcast. */
static void run(struct app *apps, int count) {
    for (int open = count; open > 0;) {
        open = 0;
        for (int i = 0; i < count; i++) {
            musig_error *error;
            musig_event *event;
            musig_status status = musig_node_next_event(apps[i].node, &event, count > 1 ? 10 : 1000, &error);
            if (status == MUSIG_STATUS_OK) {
                act(&apps[i], event);
                musig_event_free(event);
            } else if (status == MUSIG_STATUS_NO_EVENT) {
                musig_error_free(error);
            } else {
                check(status, error);
            }
            open += apps[i].stay || !apps[i].done;
        }
    }
}

static int several(const char *url) {
    struct app apps[3] = {{0}};
    uint8_t signers[3 * 33], script[34], id[32] = {0};
    musig_error *error;
    musig_signer *own[3];
    musig_election *election;
    char *first = NULL, *ours, coin[128];
    for (int i = 0; i < 3; i++) {
        check(musig_signer_generate(&own[i], &error), error);
        check(musig_signer_public_key(own[i], signers + 33 * i, &error), error);
    }
    /* The election needs no node: everybody computes the same one. The winner has no source here, and keeps silent. */
    check(musig_election_new(&election, signers, 3, MUSIG_ELECTION_LEXICOGRAPHIC, id, &error), error);
    apps[musig_election_coordinator(election)].silent = 1;
    printf("signer %u is elected, and will keep silent\n", (unsigned)musig_election_coordinator(election));
    musig_election_free(election);
    for (int i = 0; i < 3; i++) {
        const char *source = apps[i].silent ? NULL : url;
        apps[i].node = start(own[i], NULL, "/ip4/127.0.0.1/tcp/0", &first, first != NULL, source);
        musig_signer_free(own[i]);
        if (!first) first = address(apps[i].node);
        else {
            char *own = address(apps[i].node);
            for (int j = 1; j < i; j++) check(musig_node_add_peer(apps[j].node, own, &error), error);
            free(own);
        }
    }
    free(first);
    ours = place(script, signers, 3);
    printf("pay %d %s\n", VALUE, ours);
    fflush(stdout);
    free(ours);
    if (!fgets(coin, sizeof coin, stdin)) return 1;
    propose(apps[0].node, signers, 3, coin, 1000);
    run(apps, 3);
    for (int i = 0; i < 3; i++) {
        check(musig_node_stop(apps[i].node, &error), error);
        musig_node_free(apps[i].node);
    }
    return 0;
}

int main(int argc, char **argv) {
    uint8_t secret[32], signers[MOST * 33];
    size_t count = 0;
    const char *store = NULL, *listen = "/ip4/127.0.0.1/tcp/0", *proposed = NULL, *url = NULL;
    char *peers[MOST], *own;
    int peer_count = 0, has_key = 0;
    uint64_t timeout = 2000;
    struct app app = {0};
    musig_error *error;
    musig_signer *signer;
    if (argc == 2 && argv[1][0] != '-') return several(argv[1]);
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        char *value;
        if (!strcmp(name, "--stay")) {
            app.stay = 1;
            continue;
        }
        if (++i == argc) {
            fprintf(stderr, "%s needs a value\n", name);
            return 2;
        }
        value = argv[i];
        if (!strcmp(name, "--key")) {
            read_hex(secret, 32, value);
            has_key = 1;
        } else if (!strcmp(name, "--store")) store = value;
        else if (!strcmp(name, "--listen")) listen = value;
        else if (!strcmp(name, "--source")) url = value;
        else if (!strcmp(name, "--peer") && peer_count < MOST) peers[peer_count++] = value;
        else if (!strcmp(name, "--timeout")) timeout = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--propose")) proposed = value;
        else if (!strcmp(name, "--signers")) {
            for (char *key = strtok(value, ","); key && count < MOST; key = strtok(NULL, ","))
                read_hex(signers + 33 * count++, 33, key);
        } else {
            fprintf(stderr, "%s is unknown\n", name);
            return 2;
        }
    }
    if (!has_key || !count) {
        fprintf(stderr, "the address of an Esplora server, or --key and --signers, are needed\n");
        return 2;
    }
    check(musig_signer_new(&signer, secret, &error), error);
    memset(secret, 0, sizeof secret);
    app.silent = !url;
    app.node = start(signer, store, listen, peers, peer_count, url);
    own = address(app.node);
    printf("listening %s\n", own);
    fflush(stdout);
    free(own);
    if (proposed) propose(app.node, signers, count, proposed, timeout);
    run(&app, 1);
    /* What is on its way to the others, such as the claim, is sent before the node stops. */
    {
        musig_event *event;
        if (musig_node_next_event(app.node, &event, 500, NULL) == MUSIG_STATUS_OK) musig_event_free(event);
    }
    check(musig_node_stop(app.node, &error), error);
    musig_node_free(app.node);
    musig_signer_free(signer);
    return 0;
}
