/* Two static libraries in Rust in one program, both with libsecp256k1. */
#include "prelude.h"

int32_t second_is_key(const uint8_t *key);

int main(void) {
    uint8_t key[33], none[33] = {2};
    musig_signer *signer = signer_of(0);
    musig_node *node = start_alone(signer);
    OK(musig_node_signer_key(node, key, NULL));
    REQUIRE(second_is_key(key) == 1);
    REQUIRE(second_is_key(none) == 0);
    musig_session_free(propose_alone(node, 1));
    musig_event_free(wait_event(node, MUSIG_EVENT_SESSION_COMPLETE));
    OK(musig_node_stop(node, NULL));
    musig_node_free(node);
    musig_signer_free(signer);
    return 0;
}
