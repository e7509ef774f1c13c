//! Presence records: where a signer's node is to be found, signed by the signer's key; and the address book of them.

use std::collections::HashMap;

use libp2p::{Multiaddr, PeerId};

use crate::error::WireError;
use crate::protocol::crypto::musig2::Musig2;
use crate::protocol::presence::Presence;
use crate::types::SignerKey;

/// The record of where a signer's node is to be found. `musig.proto` has its form on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceRecord {
    /// The signer.
    pub signer: SignerKey,
    /// The libp2p identity of its node.
    pub peer: PeerId,
    /// The addresses of that node; at most [`limits::ADDRESSES`](crate::protocol::limits::ADDRESSES).
    pub addresses: Vec<Multiaddr>,
    /// A later record of the same signer and peer replaces an earlier one.
    pub sequence: u64,
}

impl PresenceRecord {
    /// The canonical bytes, which the signer signs by their [`digest`](crate::protocol::presence::digest).
    pub fn encode(&self) -> Vec<u8> {
        self.to_presence().encode()
    }

    fn to_presence(&self) -> Presence {
        Presence {
            signer: self.signer,
            peer: self.peer.to_bytes(),
            addresses: self.addresses.iter().map(Multiaddr::to_vec).collect(),
            sequence: self.sequence,
        }
    }

    /// Reads a signed presence. What it returns is authentic: canonical, within the limits, signed by its signer.
    /// Whether the peer is the one that sent it, the caller compares.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Self::from_presence(Presence::decode(&Musig2, bytes)?)
    }

    /// Reads a presence without verifying its signature: what it returns is a claim.
    #[cfg(feature = "discovery")]
    pub(super) fn decode_unverified(bytes: &[u8]) -> Result<Self, WireError> {
        Self::from_presence(Presence::decode_unverified(bytes)?)
    }

    fn from_presence(presence: Presence) -> Result<Self, WireError> {
        let malformed = WireError::Malformed("the presence record");
        let address = |bytes: &Vec<u8>| Multiaddr::try_from(bytes.clone()).map_err(|_| malformed);
        let this = Self {
            signer: presence.signer,
            peer: PeerId::from_bytes(&presence.peer).map_err(|_| malformed)?,
            addresses: presence.addresses.iter().map(address).collect::<Result<_, _>>()?,
            sequence: presence.sequence,
        };
        if this.to_presence() == presence { Ok(this) } else { Err(malformed) }
    }
}

/// Peers that are kept of one signer: it may run two nodes, or have changed its identity.
const PEERS_PER_SIGNER: usize = 2;

/// The newest presence of each known signer and peer.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    records: HashMap<SignerKey, Vec<PresenceRecord>>,
}

impl AddressBook {
    /// Takes an authentic record, unless it is not newer than what is there.
    pub(super) fn learn(&mut self, record: PresenceRecord) -> bool {
        let known = self.records.entry(record.signer).or_default();
        match known.iter_mut().find(|other| other.peer == record.peer) {
            Some(other) if other.sequence >= record.sequence => return false,
            Some(other) => *other = record,
            None => known.push(record),
        }
        known.sort_by_key(|record| std::cmp::Reverse(record.sequence));
        known.truncate(PEERS_PER_SIGNER);
        true
    }

    /// Takes what a peer says of itself, whatever others said before: its clock may have been ahead then. True if it is
    /// something else than what is there.
    pub(super) fn learn_first_hand(&mut self, record: PresenceRecord) -> bool {
        let known = self.records.entry(record.signer).or_default();
        if known.contains(&record) {
            return false;
        }
        known.retain(|other| other.peer != record.peer);
        self.learn(record)
    }

    /// The records of a signer, the newest first.
    pub(super) fn of(&self, signer: &SignerKey) -> &[PresenceRecord] {
        self.records.get(signer).map_or(&[], Vec::as_slice)
    }

    /// The signer that a peer spoke for in its last presence.
    pub(super) fn signer_of(&self, peer: &PeerId) -> Option<SignerKey> {
        let mut records = self.records.values().flatten();
        records.find(|record| record.peer == *peer).map(|record| record.signer)
    }

    /// Evicts signers that nobody needs until at most `most` are left, or only needed ones. Returns them.
    pub(super) fn evict(&mut self, most: usize, needed: impl Fn(&SignerKey) -> bool) -> Vec<SignerKey> {
        let surplus = self.records.len().saturating_sub(most);
        if surplus == 0 {
            return Vec::new();
        }
        let evicted: Vec<_> = self.records.keys().filter(|key| !needed(key)).take(surplus).copied().collect();
        for key in &evicted {
            self.records.remove(key);
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::{presence_of, signer};

    fn record(number: u8, peer: PeerId, sequence: u64) -> PresenceRecord {
        PresenceRecord::decode(&presence_of(number, peer, vec![], sequence)).unwrap()
    }

    #[test]
    fn a_record_replaces_an_older_one_of_its_peer_and_the_newest_come_first() {
        let mut book = AddressBook::default();
        let peers: Vec<_> = (0..3).map(|_| PeerId::random()).collect();
        assert!(book.learn(record(1, peers[0], 5)));
        assert!(!book.learn(record(1, peers[0], 5)) && !book.learn(record(1, peers[0], 4)));
        assert!(book.learn(record(1, peers[1], 6)));
        assert!(book.learn(record(1, peers[0], 7)));
        let sequences =
            |book: &AddressBook| book.of(&signer(1)).iter().map(|known| known.sequence).collect::<Vec<_>>();
        assert_eq!(sequences(&book), [7, 6]);
        assert!(book.learn(record(1, peers[2], 8)));
        assert_eq!(sequences(&book), [8, 7]);
        assert_eq!(book.signer_of(&peers[0]), Some(signer(1)));
        assert_eq!(book.signer_of(&peers[1]), None);
    }

    #[test]
    fn what_a_peer_says_of_itself_counts_over_a_newer_record() {
        let mut book = AddressBook::default();
        let peer = PeerId::random();
        assert!(book.learn(record(1, peer, 100)));
        assert!(book.learn_first_hand(record(1, peer, 5)) && !book.learn_first_hand(record(1, peer, 5)));
        assert_eq!(book.of(&signer(1)).iter().map(|known| known.sequence).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn signers_that_nobody_needs_are_evicted_and_needed_ones_never() {
        let mut book = AddressBook::default();
        for number in 1..=4 {
            book.learn(record(number, PeerId::random(), 1));
        }
        assert!(book.evict(4, |_| false).is_empty());
        let evicted = book.evict(1, |key| *key == signer(1) || *key == signer(2));
        assert_eq!(evicted.len(), 2);
        assert!(!evicted.contains(&signer(1)) && !evicted.contains(&signer(2)));
        assert!(book.of(&evicted[0]).is_empty() && !book.of(&signer(1)).is_empty());
    }
}
