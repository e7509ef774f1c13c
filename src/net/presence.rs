//! Presence records: where a signer's node is to be found, signed by the signer's key; and the address book of them.

use std::collections::{HashMap, HashSet};

use libp2p::{Multiaddr, PeerId};

use crate::error::WireError;
use crate::mutation::{self, Mutation};
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
///
/// Invariant: partners and local peers have records here.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    records: HashMap<SignerKey, Vec<PresenceRecord>>,
    /// Signers that were sought, each with its place in the order in which they were last.
    partners: HashMap<SignerKey, u64>,
    sought: u64,
    /// Peers that said over loopback where they are.
    local: HashSet<PeerId>,
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
        for dropped in known.drain(known.len().min(PEERS_PER_SIGNER)..) {
            self.local.remove(&dropped.peer);
        }
        true
    }

    /// Takes what a peer says of itself, whatever others said before: its clock may have been ahead then. True if it is
    /// something else than what is there.
    pub(super) fn learn_first_hand(&mut self, record: PresenceRecord) -> bool {
        let known = self.records.entry(record.signer).or_default();
        if known.contains(&record) {
            return false;
        }
        known.retain(|other| other.peer != record.peer || mutation::on(Mutation::HearsayCounts));
        self.learn(record)
    }

    /// Notes that a signer is sought: strangers push its records out no more. True if it was none before, and is known.
    pub(super) fn note_partner(&mut self, signer: &SignerKey) -> bool {
        self.sought += 1;
        self.records.contains_key(signer) && self.partners.insert(*signer, self.sought).is_none()
    }

    /// Notes whether a peer said over loopback where it is.
    pub(super) fn note_local(&mut self, peer: PeerId, local: bool) {
        match local {
            true => drop(self.local.insert(peer)),
            false => drop(self.local.remove(&peer)),
        }
    }

    /// Whether a peer said so over loopback.
    pub(super) fn is_local(&self, peer: &PeerId) -> bool {
        self.local.contains(peer)
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

    /// Whether this node looked for a signer, now or earlier.
    pub(super) fn is_partner(&self, signer: &SignerKey) -> bool {
        self.partners.contains_key(signer)
    }

    /// Evicts signers that nobody needs until at most `most` partners and `most` others are left, or only needed ones.
    /// Of the partners those that were sought longest ago. Returns them.
    pub(super) fn evict(&mut self, most: usize, needed: impl Fn(&SignerKey) -> bool) -> Vec<SignerKey> {
        let others = self.records.len() - self.partners.len();
        let (many_others, many_partners) =
            (others.saturating_sub(most), self.partners.len().saturating_sub(most));
        let mut evicted = Vec::new();
        if many_others > 0 {
            let others = self.records.keys().filter(|key| !self.partners.contains_key(key) && !needed(key));
            evicted.extend(others.take(many_others).copied());
        }
        if many_partners > 0 {
            let mut partners: Vec<_> = self.partners.iter().filter(|(key, _)| !needed(key)).collect();
            partners.sort_unstable_by_key(|(_, sought)| **sought);
            evicted.extend(partners.into_iter().take(many_partners).map(|(key, _)| *key));
        }
        for key in &evicted {
            self.partners.remove(key);
            for record in self.records.remove(key).into_iter().flatten() {
                self.local.remove(&record.peer);
            }
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

    #[test]
    fn partners_presences_are_pushed_out_by_later_partners_only() {
        let mut book = AddressBook::default();
        for number in 1..=3 {
            assert!(!book.note_partner(&signer(number)), "nothing is known of it");
            book.learn(record(number, PeerId::random(), 1));
            assert!(book.note_partner(&signer(number)) && !book.note_partner(&signer(number)));
        }
        for number in 4..=20 {
            book.learn(record(number, PeerId::random(), 1));
            assert!(book.evict(3, |_| false).iter().all(|key| (1..=3).all(|one| *key != signer(one))));
        }
        assert_eq!(book.records.len(), 6);
        // The first one is sought again; then the second is the oldest.
        book.note_partner(&signer(1));
        book.learn(record(21, PeerId::random(), 1));
        assert!(book.note_partner(&signer(21)));
        assert_eq!(book.evict(3, |_| false), [signer(2)]);
    }

    #[test]
    fn a_peer_is_local_as_long_as_it_is_known() {
        let mut book = AddressBook::default();
        let peer = PeerId::random();
        book.learn(record(1, peer, 1));
        book.note_local(peer, true);
        assert!(book.is_local(&peer));
        assert_eq!(book.evict(0, |_| false), [signer(1)]);
        assert!(!book.is_local(&peer));
    }
}
