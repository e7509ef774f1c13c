/* For libbitcoinconsensus of the tests on Windows: its libsecp256k1 has no ElligatorSwift, which nothing that is used
 * calls. Other linkers leave out what calls it; GNU ld for Windows wants the function. */
#include <secp256k1.h>
extern "C" inline int secp256k1_ellswift_decode(const secp256k1_context *, secp256k1_pubkey *, const unsigned char *) {
    return 0;
}
