/* Two signers find each other by their keys: they know a third node, which keeps the hash table, and no address of each
 * other. One is set up as on a phone, and listens nowhere. */
#include "prelude.h"

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
    printf("found by their keys\n");
    return 0;
}
