//! Schema of a node's store: its records as keys and values.
//!
//! | key | value |
//! |---|---|
//! | `identity` | the node's libp2p key pair |
//! | `owner` | the signer key of the node that made the store (33); nodes with another key refuse it |
//! | `sequence` | the sequence number of the last own presence: 8 bytes, big endian |
//! | `pace` | how long the node's earlier transactions took to be seen |
//! | `partner/` ‖ signer key (33) | empty: the signer's presence is one of a partner |
//! | `presence/` ‖ signer key (33) | a presence record |
//! | `s` ‖ session id (32) ‖ `p` | the encoded proposal |
//! | `s` ‖ session id (32) ‖ `r` | the session's record: consent, attempts, events, evidence |
//! | `s` ‖ session id (32) ‖ `c` | the certificate |
//! | `s` ‖ session id (32) ‖ `e` ‖ envelope id (32) | an envelope |
//! | `s` ‖ session id (32) ‖ `x` | expiry of a purged session: milliseconds, 8 bytes, big endian |
//! | `s` ‖ session id (32) ‖ `a` | what is kept of another signer's proposal that was answered, and never joined |
//! | `reputation/` ‖ signer key (33) | how the signer broadcast: successes and failures, 20 binary places each, and the wall clock's milliseconds when they counted so much; three numbers of 8 bytes, big endian |
//! | `psbt/` ‖ session id (32) | what a PSBT signer must not forget of a session |
//! | `nonce/` ‖ half of a hash (16) | empty: this public nonce of a device is known |
//!
//! Everything of a session begins with [`session_prefix`], so that closing one is one
//! [`Change::DeletePrefix`].

use std::collections::{HashMap, HashSet};

use super::{Change, Entry};
use crate::protocol::{SessionChange, StoredSession};
use crate::types::{EnvelopeId, SessionId, SignerKey, UnixMillis};

/// Version of this schema and of the values' encodings. A store of another version is not read.
pub const VERSION: u64 = 1;

const IDENTITY: &[u8] = b"identity";
const OWNER: &[u8] = b"owner";
const PRESENCE: &[u8] = b"presence/";
const PARTNER: &[u8] = b"partner/";
const SEQUENCE: &[u8] = b"sequence";
const REPUTATION: &[u8] = b"reputation/";
const PACE: &[u8] = b"pace";
const PSBT: &[u8] = b"psbt/";
const NONCE: &[u8] = b"nonce/";
const DESCRIPTOR: &[u8] = b"descriptor/";
const SESSION: u8 = b's';
const ENVELOPE: u8 = b'e';

/// Record that a session has once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionPart {
    /// The encoded proposal.
    Proposal,
    /// This node's decisions and actions.
    Record,
    /// The complete signatures.
    Certificate,
}

impl SessionPart {
    fn byte(self) -> u8 {
        match self {
            Self::Proposal => b'p',
            Self::Record => b'r',
            Self::Certificate => b'c',
        }
    }
}

/// Key of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The node's libp2p key pair.
    Identity,
    /// The signer key of the node that made the store.
    Owner,
    /// The sequence number of the last own presence.
    Sequence,
    /// How long the node's earlier transactions took to be seen.
    Pace,
    /// The latest presence record of a signer.
    Presence(SignerKey),
    /// That a signer is a partner, with whom this node had a session.
    Partner(SignerKey),
    /// How a signer broadcast, as this node saw it.
    Reputation(SignerKey),
    /// A record that a session has once.
    Session {
        /// The session.
        id: SessionId,
        /// The record.
        part: SessionPart,
    },
    /// An envelope.
    Envelope {
        /// The session.
        session: SessionId,
        /// The envelope.
        id: EnvelopeId,
    },
    /// The expiry of a purged session.
    Ended(SessionId),
    /// What is kept of another signer's proposal that was answered, and never joined.
    Answered(SessionId),
    /// What a PSBT signer must not forget of a session. It outlives the session's other records.
    Psbt(SessionId),
    /// A public nonce of a device, by half of its hash.
    Nonce([u8; 16]),
    /// A descriptor of the application's own wallet, by its hash.
    Descriptor([u8; 32]),
}

impl Key {
    /// Encodes the key. Different keys have different bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Identity => IDENTITY.to_vec(),
            Self::Owner => OWNER.to_vec(),
            Self::Sequence => SEQUENCE.to_vec(),
            Self::Pace => PACE.to_vec(),
            Self::Partner(signer) => [PARTNER, signer.as_bytes()].concat(),
            Self::Presence(signer) => [PRESENCE, signer.as_bytes()].concat(),
            Self::Reputation(signer) => [REPUTATION, signer.as_bytes()].concat(),
            Self::Session { id, part } => [&session_prefix(id)[..], &[part.byte()]].concat(),
            Self::Envelope { session, id } => {
                [&session_prefix(session)[..], &[ENVELOPE], id.as_bytes()].concat()
            }
            Self::Ended(session) => [&session_prefix(session)[..], b"x"].concat(),
            Self::Answered(session) => [&session_prefix(session)[..], b"a"].concat(),
            Self::Psbt(session) => [PSBT, session.as_bytes()].concat(),
            Self::Nonce(half) => [NONCE, half].concat(),
            Self::Descriptor(id) => [DESCRIPTOR, id].concat(),
        }
    }

    /// Decodes the bytes of [`Key::encode`]; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes == IDENTITY {
            return Some(Self::Identity);
        }
        if bytes == OWNER {
            return Some(Self::Owner);
        }
        if bytes == SEQUENCE {
            return Some(Self::Sequence);
        }
        if bytes == PACE {
            return Some(Self::Pace);
        }
        if let Some(signer) = bytes.strip_prefix(PARTNER) {
            return SignerKey::from_bytes(signer).ok().map(Self::Partner);
        }
        if let Some(signer) = bytes.strip_prefix(PRESENCE) {
            return SignerKey::from_bytes(signer).ok().map(Self::Presence);
        }
        if let Some(signer) = bytes.strip_prefix(REPUTATION) {
            return SignerKey::from_bytes(signer).ok().map(Self::Reputation);
        }
        if let Some(session) = bytes.strip_prefix(PSBT) {
            return SessionId::from_slice(session).map(Self::Psbt);
        }
        if let Some(half) = bytes.strip_prefix(NONCE) {
            return half.try_into().ok().map(Self::Nonce);
        }
        if let Some(id) = bytes.strip_prefix(DESCRIPTOR) {
            return id.try_into().ok().map(Self::Descriptor);
        }
        let (id, rest) = bytes.strip_prefix(&[SESSION])?.split_at_checked(32)?;
        let id = SessionId::from_slice(id)?;
        let part = match rest {
            b"p" => SessionPart::Proposal,
            b"r" => SessionPart::Record,
            b"c" => SessionPart::Certificate,
            b"x" => return Some(Self::Ended(id)),
            b"a" => return Some(Self::Answered(id)),
            [ENVELOPE, envelope @ ..] => {
                return Some(Self::Envelope { session: id, id: EnvelopeId::from_slice(envelope)? });
            }
            _ => return None,
        };
        Some(Self::Session { id, part })
    }

    /// The session that the key belongs to, if it belongs to one.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session { id, .. }
            | Self::Envelope { session: id, .. }
            | Self::Ended(id)
            | Self::Answered(id)
            | Self::Psbt(id) => Some(*id),
            Self::Identity
            | Self::Owner
            | Self::Sequence
            | Self::Pace
            | Self::Presence(_)
            | Self::Partner(_)
            | Self::Reputation(_)
            | Self::Nonce(_)
            | Self::Descriptor(_) => None,
        }
    }
}

/// Prefix of all keys of a session, and of no other key.
pub fn session_prefix(session: &SessionId) -> [u8; 33] {
    let mut prefix = [SESSION; 33];
    prefix[1..].copy_from_slice(session.as_bytes());
    prefix
}

/// The change that stores the node's libp2p key pair.
pub fn put_identity(identity: Vec<u8>) -> Change {
    Change::Put(Key::Identity.encode(), identity)
}

/// The change that stores whose store it is.
pub fn put_owner(owner: SignerKey) -> Change {
    Change::Put(Key::Owner.encode(), owner.as_bytes().to_vec())
}

/// The change that stores a signer's presence record.
pub fn put_presence(signer: SignerKey, record: Vec<u8>) -> Change {
    Change::Put(Key::Presence(signer).encode(), record)
}

/// The change that stores the sequence number of the own presence.
pub fn put_sequence(sequence: u64) -> Change {
    Change::Put(Key::Sequence.encode(), sequence.to_be_bytes().to_vec())
}

/// The change that stores that a signer is a partner.
pub fn put_partner(signer: SignerKey) -> Change {
    Change::Put(Key::Partner(signer).encode(), Vec::new())
}

/// The change that removes that.
pub fn drop_partner(signer: SignerKey) -> Change {
    Change::Delete(Key::Partner(signer).encode())
}

/// The change that stores how a signer broadcast, or removes that.
pub fn change_reputation(signer: SignerKey, record: Option<Vec<u8>>) -> Change {
    let key = Key::Reputation(signer).encode();
    match record {
        Some(record) => Change::Put(key, record),
        None => Change::Delete(key),
    }
}

/// The change that stores what a PSBT signer must not forget of a session.
pub fn put_psbt(session: SessionId, record: Vec<u8>) -> Change {
    Change::Put(Key::Psbt(session).encode(), record)
}

/// The change that removes that.
pub fn drop_psbt(session: SessionId) -> Change {
    Change::Delete(Key::Psbt(session).encode())
}

/// The change that stores that a public nonce of a device is known.
pub fn put_nonce(half: [u8; 16]) -> Change {
    Change::Put(Key::Nonce(half).encode(), Vec::new())
}

/// The change that stores a descriptor of the own wallet.
pub fn put_descriptor(id: [u8; 32], record: Vec<u8>) -> Change {
    Change::Put(Key::Descriptor(id).encode(), record)
}

/// The change that removes it.
pub fn drop_descriptor(id: [u8; 32]) -> Change {
    Change::Delete(Key::Descriptor(id).encode())
}

/// The change that removes a signer's presence record.
pub fn drop_presence(signer: SignerKey) -> Change {
    Change::Delete(Key::Presence(signer).encode())
}

/// The store change for a change of a session.
pub fn change(session: SessionId, change: SessionChange) -> Change {
    let part = |part| Key::Session { id: session, part }.encode();
    let envelope = |id| Key::Envelope { session, id }.encode();
    match change {
        SessionChange::Proposal(bytes) => Change::Put(part(SessionPart::Proposal), bytes),
        SessionChange::State(bytes) => Change::Put(part(SessionPart::Record), bytes),
        SessionChange::Certificate(bytes) => Change::Put(part(SessionPart::Certificate), bytes),
        SessionChange::Envelope(id, bytes) => Change::Put(envelope(id), bytes),
        SessionChange::DropEnvelope(id) => Change::Delete(envelope(id)),
        SessionChange::DropSession => Change::DeletePrefix(session_prefix(&session).to_vec()),
        SessionChange::Ended(at) => Change::Put(Key::Ended(session).encode(), at.0.to_be_bytes().to_vec()),
        SessionChange::Pace(bytes) => Change::Put(Key::Pace.encode(), bytes),
        SessionChange::Answered(bytes) => Change::Put(Key::Answered(session).encode(), bytes),
    }
}

/// Contents of a store, as a node reads them when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The node's libp2p key pair.
    pub identity: Option<Vec<u8>>,
    /// The signer key of the node that made the store, as it is stored.
    pub owner: Option<Vec<u8>>,
    /// The sequence number of the last own presence; 0 if there was none.
    pub sequence: u64,
    /// For [`Engine::load_pace`](crate::protocol::engine::Engine::load_pace).
    pub pace: Option<Vec<u8>>,
    /// Presence records of other signers.
    pub presences: Vec<Vec<u8>>,
    /// Those of partners.
    pub partners: Vec<Vec<u8>>,
    /// For [`Engine::load`](crate::protocol::engine::Engine::load).
    pub sessions: HashMap<SessionId, StoredSession>,
    /// For [`Engine::load_ended`](crate::protocol::engine::Engine::load_ended).
    pub ended: Vec<(SessionId, UnixMillis)>,
    /// For [`Engine::load_answered`](crate::protocol::engine::Engine::load_answered).
    pub answered: Vec<(SessionId, Vec<u8>)>,
    /// For [`Engine::load_reputation`](crate::protocol::engine::Engine::load_reputation).
    pub reputations: Vec<(SignerKey, Vec<u8>)>,
    /// What a PSBT signer must not forget of sessions.
    pub psbts: Vec<(SessionId, Vec<u8>)>,
    /// The public nonces of devices, by half of their hashes.
    pub nonces: Vec<[u8; 16]>,
    /// The descriptors of the application's own wallet.
    pub descriptors: Vec<Vec<u8>>,
}

impl Contents {
    /// Decodes all entries of a store. Unknown ones are skipped, with a warning in the log.
    pub fn read(entries: Vec<Entry>) -> Self {
        let mut contents = Self::default();
        let (mut presences, mut partners) = (Vec::new(), HashSet::new());
        for (key, value) in entries {
            match Key::decode(&key) {
                Some(Key::Identity) => contents.identity = Some(value),
                Some(Key::Owner) => contents.owner = Some(value),
                Some(Key::Presence(signer)) => presences.push((signer, value)),
                Some(Key::Partner(signer)) => drop(partners.insert(signer)),
                Some(Key::Sequence) => match value.try_into() {
                    Ok(bytes) => contents.sequence = u64::from_be_bytes(bytes),
                    Err(_) => {
                        tracing::warn!(target: "libmusig::store", "the sequence number of the own presence is not 8 bytes")
                    }
                },
                Some(Key::Pace) => contents.pace = Some(value),
                Some(Key::Ended(id)) => match value.try_into() {
                    Ok(at) => contents.ended.push((id, UnixMillis(u64::from_be_bytes(at)))),
                    Err(_) => {
                        tracing::warn!(target: "libmusig::store", session = %id, "the expiry of a purged session is not 8 bytes")
                    }
                },
                Some(Key::Answered(id)) => contents.answered.push((id, value)),
                Some(Key::Reputation(signer)) => contents.reputations.push((signer, value)),
                Some(Key::Psbt(id)) => contents.psbts.push((id, value)),
                Some(Key::Nonce(half)) => contents.nonces.push(half),
                Some(Key::Descriptor(_)) => contents.descriptors.push(value),
                Some(Key::Session { id, part }) => {
                    let stored = contents.sessions.entry(id).or_default();
                    match part {
                        SessionPart::Proposal => stored.proposal = value,
                        SessionPart::Record => stored.state = value,
                        SessionPart::Certificate => stored.certificate = Some(value),
                    }
                }
                Some(Key::Envelope { session, .. }) => {
                    contents.sessions.entry(session).or_default().envelopes.push(value);
                }
                None => {
                    tracing::warn!(target: "libmusig::store", "the store has an entry of an unknown kind")
                }
            }
        }
        for (signer, presence) in presences {
            match partners.contains(&signer) {
                true => contents.partners.push(presence),
                false => contents.presences.push(presence),
            }
        }
        contents
    }
}
