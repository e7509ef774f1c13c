//! BIP-327 rounds 1 and 2 by libsecp256k1. With `nonce` the only caller of `secp256k1::musig`.
