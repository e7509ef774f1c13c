//! Presence records: where a signer's node is to be found, signed by the signer's key. The network layer reads peer id
//! and addresses; here they are bytes.

use crate::error::WireError;
use crate::protocol::crypto::Scheme;
use crate::protocol::limits;
use crate::protocol::wire::{self, pb};
use crate::types::{Signature, SignerKey, tagged_hash};

const WHAT: &str = "the presence record";

/// Where a signer's node is to be found. `musig.proto` has its form on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The signer.
    pub signer: SignerKey,
    /// The libp2p peer id of its node.
    pub peer: Vec<u8>,
    /// Multiaddresses at which that node listens; at most [`limits::ADDRESSES`].
    pub addresses: Vec<Vec<u8>>,
    /// A later record of the same signer and peer replaces an earlier one.
    pub sequence: u64,
}

impl Presence {
    /// The canonical bytes, which the signer signs by their [`digest`].
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(&pb::PresenceRecord {
            signer: self.signer.as_bytes().to_vec(),
            peer: self.peer.clone(),
            addresses: self.addresses.clone(),
            sequence: self.sequence,
        })
    }

    /// Reads a signed presence. What it returns is authentic: canonical, within the limits, signed by its signer.
    /// Whether the peer is the one that sent it, the caller compares.
    pub fn decode(scheme: &dyn Scheme, bytes: &[u8]) -> Result<Self, WireError> {
        let (this, sealed) = Self::read(bytes)?;
        let signature = Signature::from_slice(&sealed.signature).ok_or(WireError::Malformed(WHAT))?;
        if !scheme.verify(&this.signer, &digest(&sealed.record), &signature) {
            return Err(WireError::Signature(WHAT));
        }
        Ok(this)
    }

    /// Reads a presence without looking at its signature: what it returns is nobody's word yet.
    pub fn decode_unverified(bytes: &[u8]) -> Result<Self, WireError> {
        Ok(Self::read(bytes)?.0)
    }

    fn read(bytes: &[u8]) -> Result<(Self, pb::Presence), WireError> {
        let sealed: pb::Presence = wire::decode_within(bytes, WHAT, limits::PRESENCE)?;
        let record: pb::PresenceRecord = wire::decode(&sealed.record, WHAT)?;
        let signer = SignerKey::from_bytes(&record.signer).map_err(|_| WireError::Malformed(WHAT))?;
        let pb::PresenceRecord { peer, addresses, sequence, .. } = record;
        Ok((Self { signer, peer, addresses, sequence }, sealed))
    }
}

/// What the signer signs (BIP-340): the tagged hash `musig/presence` of the encoded record.
pub fn digest(record: &[u8]) -> [u8; 32] {
    tagged_hash("musig/presence", &[record])
}

/// Puts an encoded record and its signature together: the bytes that a node sends.
pub fn seal(record: Vec<u8>, signature: &Signature) -> Vec<u8> {
    wire::encode(&pb::Presence { record, signature: signature.0.to_vec() })
}
