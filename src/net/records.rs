//! The records of the distributed hash table that a server stores: authentic presences, the newest of each signer, and
//! a limited number.

use std::borrow::Cow;
use std::collections::HashMap;
use std::iter::Empty;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{KBucketKey, ProviderRecord, Record, RecordKey};

use super::presence::PresenceRecord;
use super::rate::Allowance;
use crate::mutation::{self, Mutation};
use crate::protocol::limits;
use crate::types::{SignerKey, tagged_hash};

/// Signatures of records that are verified per second, and at once: of all peers, and of one of them.
const VERIFIED: (u32, u32) = (200, 1000);
/// See [`VERIFIED`].
const VERIFIED_OF_PEER: (u32, u32) = (20, 200);
/// Peers whose records are counted.
const PEERS: usize = 1024;
/// How far a presence's sequence number, which is a time, may be ahead of the clock.
const AHEAD: u64 = 60_000;

/// Whether a presence's sequence number is that of another time: one from the future would be the newest until then.
pub(super) fn is_ahead(sequence: u64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    sequence > now.saturating_add(AHEAD) && !mutation::on(Mutation::FutureBelieved)
}

/// What a store did with a record that a peer wants to have kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is kept.
    Kept,
    /// It is not one to keep, or too many come.
    Refused,
    /// Its signature is not its signer's: an honest peer does not offer it.
    Forged,
}

/// Why a record is not kept.
enum Wrong {
    Refused(Error),
    Forged,
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// The key of a signer's presence in the distributed hash table: the tagged hash `musig/presence-key` of its key.
pub fn presence_key(signer: &SignerKey) -> [u8; 32] {
    tagged_hash("musig/presence-key", &[signer.as_bytes()])
}

/// The record store of a server. It takes valid presences only.
#[derive(Debug)]
pub struct PresenceStore {
    own: KBucketKey<PeerId>,
    most: usize,
    records: HashMap<RecordKey, (u64, Record)>,
    verified: Allowance,
    verified_of: HashMap<PeerId, Allowance>,
}

impl PresenceStore {
    /// An empty store of the node `own`, for at most so many records (and at least one, the node's own).
    pub fn new(own: PeerId, most: usize) -> Self {
        let verified = Allowance::new(VERIFIED.0, VERIFIED.1);
        Self {
            own: own.into(),
            most: most.max(1),
            records: HashMap::new(),
            verified,
            verified_of: HashMap::new(),
        }
    }

    /// Keeps what a peer offers, as [`RecordStore::put`] does, within that peer's share of the work.
    pub fn offer(&mut self, peer: PeerId, record: Record) -> Offered {
        match self.take(record, Some(peer)) {
            Ok(()) => Offered::Kept,
            Err(Wrong::Forged) => Offered::Forged,
            Err(Wrong::Refused(_)) => Offered::Refused,
        }
    }

    fn may_verify(&mut self, peer: Option<PeerId>) -> bool {
        let now = Instant::now();
        if let Some(peer) = peer.filter(|_| !mutation::on(Mutation::RecordsWithoutShare)) {
            if self.verified_of.len() >= PEERS {
                self.verified_of.retain(|_, allowance| !allowance.is_whole(now));
            }
            // Those that find no place have the share of all.
            if self.verified_of.len() < PEERS || self.verified_of.contains_key(&peer) {
                let new = || Allowance::new(VERIFIED_OF_PEER.0, VERIFIED_OF_PEER.1);
                if !self.verified_of.entry(peer).or_insert_with(new).take(now) {
                    return false;
                }
            }
        }
        self.verified.take(now)
    }

    fn take(&mut self, record: Record, peer: Option<PeerId>) -> std::result::Result<(), Wrong> {
        // The interface knows no better reason for what is wrong.
        let wrong = Error::ValueTooLarge;
        if record.value.len() > limits::PRESENCE {
            return Err(wrong.into());
        }
        if let Some((_, known)) = self.records.get_mut(&record.key)
            && known.value == record.value
        {
            // Published again: it stays longer. The publisher is a claim, and the first one is kept.
            if known.expires.is_some() {
                known.expires = known.expires.max(record.expires);
            }
            return Ok(());
        }
        // Cheap checks come first.
        let claimed = PresenceRecord::decode_unverified(&record.value).map_err(|_| wrong.clone())?;
        if presence_key(&claimed.signer)[..] != *record.key.as_ref() {
            return Err(wrong.into());
        }
        let known = self.records.get(&record.key);
        if known.is_some_and(|(sequence, _)| claimed.sequence <= *sequence) || is_ahead(claimed.sequence) {
            return Err(wrong.into());
        }
        if !self.may_verify(peer) {
            return Err(Error::MaxRecords.into());
        }
        PresenceRecord::decode(&record.value).map_err(|_| Wrong::Forged)?;
        if !self.records.contains_key(&record.key) {
            self.make_room(&record)?;
        }
        self.records.insert(record.key.clone(), (claimed.sequence, record));
        Ok(())
    }

    /// Makes room for a record: evicts expired ones, then the farthest from this node, if that is farther than the new
    /// one, or the new one is this node's own.
    fn make_room(&mut self, record: &Record) -> Result<()> {
        if self.records.len() < self.most {
            return Ok(());
        }
        let now = Instant::now();
        self.records.retain(|_, (_, record)| !record.is_expired(now));
        if self.records.len() < self.most {
            return Ok(());
        }
        let distance = |key: &RecordKey| KBucketKey::new(key.clone()).distance(&self.own);
        let own = *self.own.preimage();
        let others = self.records.iter().filter(|(_, (_, record))| record.publisher != Some(own));
        match others.map(|(key, _)| (distance(key), key.clone())).max_by_key(|(distance, _)| *distance) {
            Some((farthest, there)) if record.publisher == Some(own) || farthest > distance(&record.key) => {
                self.records.remove(&there);
                Ok(())
            }
            _ => Err(Error::MaxRecords),
        }
    }
}

impl RecordStore for PresenceStore {
    type RecordsIter<'a> = std::vec::IntoIter<Cow<'a, Record>>;
    type ProvidedIter<'a> = Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.records.get(key).map(|(_, record)| Cow::Borrowed(record))
    }

    /// Fails, and changes nothing, unless the record is a presence under its signer's key, signed by it, newer than the
    /// one that is here, and not from the future.
    fn put(&mut self, record: Record) -> Result<()> {
        self.take(record, None).map_err(|wrong| match wrong {
            Wrong::Refused(error) => error,
            Wrong::Forged => Error::ValueTooLarge,
        })
    }

    fn remove(&mut self, key: &RecordKey) {
        self.records.remove(key);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        let records: Vec<_> = self.records.values().map(|(_, record)| Cow::Borrowed(record)).collect();
        records.into_iter()
    }

    /// There are no providers here.
    fn add_provider(&mut self, _: ProviderRecord) -> Result<()> {
        Err(Error::MaxProvidedKeys)
    }

    fn providers(&self, _: &RecordKey) -> Vec<ProviderRecord> {
        Vec::new()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, _: &RecordKey, _: &PeerId) {}
}
