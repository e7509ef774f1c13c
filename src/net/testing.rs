//! Signers and their presences, for unit tests.

use libp2p::{Multiaddr, PeerId};

use super::presence::PresenceRecord;
use crate::protocol::presence::{digest, seal};
use crate::types::{Signature, SignerKey};

fn keys(number: u8) -> secp256k1::Keypair {
    let secret = secp256k1::SecretKey::from_secret_bytes([number; 32]).expect("not zero");
    secp256k1::Keypair::from_secret_key(&secret)
}

/// A signer for each number from 1 on.
pub(super) fn signer(number: u8) -> SignerKey {
    keys(number).public_key().into()
}

/// A signed presence of a signer.
pub(super) fn presence_of(number: u8, peer: PeerId, addresses: Vec<Multiaddr>, sequence: u64) -> Vec<u8> {
    let record = PresenceRecord { signer: signer(number), peer, addresses, sequence }.encode();
    let signature = secp256k1::schnorr::sign_no_aux_rand(&digest(&record), &keys(number));
    seal(record, &Signature(signature.to_byte_array()))
}
