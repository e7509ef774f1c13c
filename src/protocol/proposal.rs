//! Proposals: the terms of a session, their limits, and the session id.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{ProposalError, WireError};
use crate::protocol::crypto::key_set::Owners;
pub use crate::protocol::crypto::key_set::{Derivation, KeyOrder, KeyOrigin, KeySet, Participant, Taproot};
use crate::protocol::election::ElectionMethod;
use crate::protocol::limits::{self, check as within};
use crate::protocol::wire::bounds;
use crate::protocol::wire::{self, pb};
use crate::types::{SessionId, SignerKey, UnixMillis, tagged_hash};

/// BIP-341 hash types that leave the transaction fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SighashType {
    /// `SIGHASH_DEFAULT`: a signature of 64 bytes.
    #[default]
    Default,
    /// `SIGHASH_ALL`: a signature of 65 bytes in the witness.
    All,
}

/// Message to sign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The 32 bytes to sign; for a transaction a BIP-341 signature hash.
    pub digest: [u8; 32],
    /// Index of the key set that signs.
    pub key_set: usize,
    /// Derivation of the final key from the key set's aggregate key.
    pub derivation: Derivation,
    /// Index of the signed input in a transaction proposal, else 0.
    pub input: u32,
    /// Hash type in a transaction proposal, else the default.
    pub sighash_type: SighashType,
}

impl Message {
    /// Creates a raw message, signed with the aggregate key of the first key set: the identity keys, unless other terms
    /// are chosen.
    pub fn raw(digest: [u8; 32]) -> Self {
        Self::with(digest, 0, Derivation::default())
    }

    /// Creates a raw message, signed with what a derivation makes of a key set's aggregate key.
    pub fn with(digest: [u8; 32], key_set: usize, derivation: Derivation) -> Self {
        Self { digest, key_set, derivation, input: 0, sighash_type: SighashType::Default }
    }
}

impl From<[u8; 32]> for Message {
    fn from(digest: [u8; 32]) -> Self {
        Self::raw(digest)
    }
}

/// Output that a transaction spends, as BIP-341 signature hashes commit to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpentOutput {
    /// Value in satoshis.
    pub value: u64,
    /// Script (`scriptPubKey`).
    pub script: Vec<u8>,
}

/// Transaction of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransactionTerms {
    /// Consensus encoding without the witnesses of the signed inputs; other inputs carry their final ones.
    pub unsigned: Vec<u8>,
    /// The spent outputs, one for each input.
    pub spent: Vec<SpentOutput>,
}

/// Grouping of signers into turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Tiers {
    /// One signer per turn. The default.
    #[default]
    Single,
    /// A fixed number of signers per turn, at least 1.
    Fixed(u16),
    /// 1, 2, 4, 8, … signers.
    Doubling,
}

/// Policy by which other signers take over the broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FailoverPolicy {
    /// Time from the start of a turn to the start of the next, 1 s to 24 h.
    pub broadcast_timeout: Duration,
    /// Grouping of signers into turns.
    pub tiers: Tiers,
}

impl Default for FailoverPolicy {
    fn default() -> Self {
        Self { broadcast_timeout: Duration::from_secs(300), tiers: Tiers::Single }
    }
}

/// Mode of the broadcast: who is to broadcast once the signatures are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broadcast {
    /// The elected coordinator; if it does not, the next signers take over. The default.
    Failover(FailoverPolicy),
    /// The elected coordinator alone. After five minutes, the default timeout of failover, each node raises the alarm
    /// ([`Event::FailoverExhausted`](crate::protocol::event::Event::FailoverExhausted)); each may broadcast when its
    /// application says so.
    CoordinatorOnly,
    /// Nobody: the signatures are all that the session is for. There is no turn, no watch and no alarm; each node passes the
    /// signatures on until all have them.
    SignOnly,
}

impl Broadcast {
    /// Whether other signers take over.
    pub fn is_failover(&self) -> bool {
        matches!(self, Self::Failover(_))
    }
}

impl Default for Broadcast {
    fn default() -> Self {
        Self::Failover(FailoverPolicy::default())
    }
}

/// Terms of a session, on which all signers agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// 32 random bytes, so that no two sessions have the same id.
    pub entropy: [u8; 32],
    /// The proposer's signer index.
    pub proposer: usize,
    /// The signers' identity keys, by which they are elected and believed; a position here is a *signer index*. 1 to 128,
    /// no two with the same x coordinate.
    pub signers: Vec<SignerKey>,
    /// The keys that are aggregated to sign, 1 to 256 key sets: by default one, of the identity keys. No two are alike,
    /// and some message names each. No key is one of two signers.
    pub key_sets: Vec<KeySet>,
    /// The messages to sign, 1 to 256.
    pub messages: Vec<Message>,
    /// The transaction that the signatures complete; `None` for raw messages.
    pub transaction: Option<TransactionTerms>,
    /// The election method.
    pub election_method: ElectionMethod,
    /// Who is to broadcast.
    pub broadcast: Broadcast,
    /// Expiry of the proposal, at most 30 days ahead.
    pub expires_at: UnixMillis,
    /// Application data for the other signers, at most 4 KiB.
    pub metadata: Vec<u8>,
    /// The session whose transaction this one replaces (a fee bump).
    pub replaces: Option<SessionId>,
}

impl Terms {
    /// The participant key by which a signer signs message `index`; `None` if there is no such message or signer.
    pub fn participant_key(&self, index: usize, signer: usize) -> Option<SignerKey> {
        self.participant(index, signer).map(|participant| participant.key)
    }

    /// The same with its origin.
    pub fn participant(&self, index: usize, signer: usize) -> Option<&Participant> {
        self.key_sets.get(self.messages.get(index)?.key_set)?.participants.get(signer)
    }

    /// Signer index of a key; `None` for a key that is not a signer's.
    pub fn index_of(&self, key: &SignerKey) -> Option<usize> {
        self.signers.iter().position(|signer| signer == key)
    }

    fn check(&self) -> Result<(), ProposalError> {
        let signers = self.signers.len();
        limits::check_signers(signers)?;
        within("messages", self.messages.len(), 1, limits::MESSAGES)?;
        within("signers × messages", signers * self.messages.len(), 1, limits::SIGNERS_TIMES_MESSAGES)?;
        within("bytes of metadata", self.metadata.len(), 0, limits::METADATA)?;
        within("key sets", self.key_sets.len(), 1, limits::KEY_SETS)?;
        within("signers × key sets", signers * self.key_sets.len(), 1, limits::SIGNERS_TIMES_KEY_SETS)?;
        if self.proposer >= self.signers.len() {
            return Err(ProposalError::Index { what: "proposer", index: self.proposer as u64 });
        }
        let spent = self.transaction.as_ref().map_or(0, |transaction| transaction.spent.len());
        within("spent outputs", spent, 0, limits::INPUTS)?;
        self.check_keys()?;
        for message in &self.messages {
            let raw = message.input == 0 && message.sighash_type == SighashType::Default;
            if self.transaction.is_none() && !raw {
                return Err(ProposalError::Index { what: "input", index: message.input.into() });
            }
        }
        if self.transaction.is_some() && !self.messages.is_sorted_by(|a, b| a.input < b.input) {
            return Err(ProposalError::Encoding("messages are not in the order of their inputs"));
        }
        let Broadcast::Failover(policy) = self.broadcast else { return Ok(()) };
        let timeout = policy.broadcast_timeout;
        if !limits::BROADCAST_TIMEOUT.contains(&timeout) || !timeout.subsec_nanos().is_multiple_of(1_000_000)
        {
            return Err(ProposalError::BroadcastTimeout { actual: timeout });
        }
        if let Tiers::Fixed(width) = policy.tiers {
            within("signers in a tier", width.into(), 1, limits::SIGNERS)?;
        }
        Ok(())
    }

    /// Checks key sets and derivations, by the functions that check what is made of them.
    fn check_keys(&self) -> Result<(), ProposalError> {
        let signers = self.signers.len();
        let mut known = HashMap::with_capacity(self.key_sets.len());
        for (second, key_set) in self.key_sets.iter().enumerate() {
            within("keys of a key set", key_set.participants.len(), signers, signers)?;
            for origin in key_set.participants.iter().filter_map(|participant| participant.origin.as_ref()) {
                within("child numbers of an origin", origin.path.len(), 0, limits::ORIGIN)?;
            }
            if self.key_sets.len() > 1
                && let Some(first) = known.insert(key_set.aggregated(), second)
            {
                return Err(ProposalError::SameKeySet { first, second });
            }
        }
        Owners::new(&self.signers, &self.key_sets)?;
        let mut used = vec![false; self.key_sets.len()];
        for message in &self.messages {
            let index = message.key_set;
            *used.get_mut(index).ok_or(ProposalError::Index { what: "key set", index: index as u64 })? = true;
            message.derivation.check()?;
        }
        match used.iter().position(|used| !used) {
            Some(index) => Err(ProposalError::UnusedKeySet { index }),
            None => Ok(()),
        }
    }
}

/// Valid terms with their encoding and the session id. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    terms: Terms,
    bytes: Vec<u8>,
    id: SessionId,
}

impl Deref for Proposal {
    type Target = Terms;
    fn deref(&self) -> &Terms {
        &self.0.terms
    }
}

impl Proposal {
    /// Validates terms and encodes them. [`Proposal::check_expiry`], which needs a clock, checks the expiry.
    pub fn new(mut terms: Terms) -> Result<Self, ProposalError> {
        if let Broadcast::Failover(policy) = &mut terms.broadcast
            && policy.tiers == Tiers::Fixed(1)
        {
            policy.tiers = Tiers::Single;
        }
        terms.check()?;
        let bytes = wire::encode(&to_wire(&terms));
        Self::within_size(bytes.len())?;
        Ok(Self::with_bytes(terms, bytes))
    }

    /// Decodes and validates received bytes, which must be the canonical encoding of their content.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProposalError> {
        Self::decode_knowing(bytes, &|_| false, &|_| true)
    }

    /// The same, without the work of checking keys that are `known` to be points, and with fewer keys of a proposer who
    /// is not `trusted`.
    pub(crate) fn decode_knowing(
        bytes: &[u8],
        known: &dyn Fn(&SignerKey) -> bool,
        trusted: &dyn Fn(&SignerKey) -> bool,
    ) -> Result<Self, ProposalError> {
        Self::within_size(bytes.len())?;
        let message: pb::Proposal = wire::decode(bytes, "the proposal").map_err(|error| match error {
            WireError::TooMany { what, actual, most } => {
                let least = u64::from(matches!(what, "signers" | "messages" | "key sets"));
                ProposalError::Limit { what, actual: actual as u64, least, most: most as u64 }
            }
            _ => ProposalError::Encoding("its bytes are not canonical"),
        })?;
        let proposer = message.signers.get(message.proposer as usize);
        let proposer = proposer.and_then(|bytes| SignerKey::from_bytes_knowing(bytes, &|_| true).ok());
        let most = match proposer.is_some_and(|proposer| trusted(&proposer)) {
            true => limits::SIGNERS_TIMES_KEY_SETS,
            false => limits::STRANGERS_KEYS,
        };
        within("signers × key sets", message.signers.len() * message.key_sets.len(), 0, most)?;
        let terms = from_wire(message, known)?;
        terms.check()?;
        Ok(Self::with_bytes(terms, bytes.to_vec()))
    }

    /// Reads the bytes of a proposal that was checked before, and has this id.
    pub(super) fn unpack(bytes: &[u8], id: SessionId) -> Option<Self> {
        let terms = from_wire(prost::Message::decode(bytes).ok()?, &|_| true).ok()?;
        Some(Self(Arc::new(Inner { terms, bytes: bytes.to_vec(), id })))
    }

    /// The index of a signer in such bytes, without the cost of reading the rest.
    pub(super) fn packed_index_of(mut bytes: &[u8], key: &SignerKey) -> Option<usize> {
        let fields = std::iter::from_fn(|| bounds::field(&mut bytes));
        let mut signers = fields.filter(|(number, _)| *number == 4);
        signers.position(|(_, signer)| signer == key.as_bytes())
    }

    fn within_size(length: usize) -> Result<(), ProposalError> {
        if length <= limits::PROPOSAL {
            return Ok(());
        }
        let (actual, most) = (length as u64, limits::PROPOSAL as u64);
        Err(ProposalError::Limit { what: "bytes", actual, least: 1, most })
    }

    fn with_bytes(terms: Terms, bytes: Vec<u8>) -> Self {
        let id = Self::id_of(&bytes);
        Self(Arc::new(Inner { terms, bytes, id }))
    }

    /// The session id of an encoded proposal.
    pub(crate) fn id_of(bytes: &[u8]) -> SessionId {
        SessionId(tagged_hash("musig/session", &[bytes]))
    }

    /// The session id.
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// The encoded proposal.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The terms.
    pub fn terms(&self) -> &Terms {
        &self.0.terms
    }

    /// Checks that the proposal expires in the future, within 30 days and what the clock may be wrong by: zero for its
    /// proposer, [`limits::CLOCK_ERROR`] for the others.
    pub fn check_expiry(&self, now: UnixMillis, clock_error: Duration) -> Result<(), ProposalError> {
        let expires_at = self.expires_at;
        if expires_at > now && expires_at <= now.saturating_add(limits::EXPIRY + clock_error) {
            return Ok(());
        }
        Err(ProposalError::Expiry { expires_at, now })
    }
}

fn to_wire(terms: &Terms) -> pb::Proposal {
    pb::Proposal {
        version: limits::VERSION,
        entropy: terms.entropy.to_vec(),
        proposer: terms.proposer as u32,
        signers: terms.signers.iter().map(|key| key.as_bytes().to_vec()).collect(),
        key_sets: key_sets_to_wire(terms),
        messages: terms.messages.iter().map(message_to_wire).collect(),
        transaction: terms.transaction.as_ref().map(|transaction| pb::Transaction {
            unsigned: transaction.unsigned.clone(),
            spent: transaction
                .spent
                .iter()
                .map(|output| pb::Output { value: output.value, script: output.script.clone() })
                .collect(),
        }),
        election_method: terms.election_method.number(),
        broadcast: match terms.broadcast {
            Broadcast::Failover(_) => 0,
            Broadcast::CoordinatorOnly => 1,
            Broadcast::SignOnly => 2,
        },
        failover: match terms.broadcast {
            Broadcast::Failover(policy) => Some(policy_to_wire(policy)),
            Broadcast::CoordinatorOnly | Broadcast::SignOnly => None,
        },
        expires_at: terms.expires_at.0,
        metadata: terms.metadata.clone(),
        replaces: terms.replaces.map_or_else(Vec::new, |id| id.0.to_vec()),
    }
}

fn policy_to_wire(policy: FailoverPolicy) -> pb::Failover {
    pb::Failover {
        broadcast_timeout: policy.broadcast_timeout.as_millis() as u64,
        tiers: match policy.tiers {
            Tiers::Doubling => 0,
            Tiers::Single => 1,
            Tiers::Fixed(width) => width.into(),
        },
    }
}

/// The default takes no bytes: one key set, of the identity keys, sorted.
fn key_sets_to_wire(terms: &Terms) -> Vec<pb::KeySet> {
    let key_sets: Vec<pb::KeySet> = terms
        .key_sets
        .iter()
        .map(|key_set| pb::KeySet {
            order: match key_set.order {
                KeyOrder::Sorted => 0,
                KeyOrder::AsGiven => 1,
            },
            participants: match is_identities(key_set, &terms.signers) {
                true => Vec::new(),
                false => key_set.participants.iter().map(participant_to_wire).collect(),
            },
        })
        .collect();
    if key_sets == [pb::KeySet::default()] { Vec::new() } else { key_sets }
}

fn is_identities(key_set: &KeySet, signers: &[SignerKey]) -> bool {
    let participants = key_set.participants.iter();
    key_set.participants.len() == signers.len()
        && participants.zip(signers).all(|(one, signer)| one.key == *signer && one.origin.is_none())
}

fn participant_to_wire(participant: &Participant) -> pb::Participant {
    let origin = participant
        .origin
        .as_ref()
        .map(|origin| [&origin.fingerprint[..], &path_to_wire(&origin.path)].concat());
    pb::Participant { key: participant.key.as_bytes().to_vec(), origin: origin.unwrap_or_default() }
}

fn path_to_wire(path: &[u32]) -> Vec<u8> {
    path.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn message_to_wire(message: &Message) -> pb::Message {
    let (taproot, merkle_root) = match message.derivation.taproot {
        Taproot::None => (0, Vec::new()),
        Taproot::KeyPath => (1, Vec::new()),
        Taproot::MerkleRoot(root) => (2, root.to_vec()),
    };
    pb::Message {
        digest: message.digest.to_vec(),
        key_set: message.key_set as u32,
        path: path_to_wire(&message.derivation.path),
        taproot,
        merkle_root,
        input: message.input,
        sighash_type: match message.sighash_type {
            SighashType::Default => 0,
            SighashType::All => 1,
        },
    }
}

fn from_wire(message: pb::Proposal, known: &dyn Fn(&SignerKey) -> bool) -> Result<Terms, ProposalError> {
    if message.version != limits::VERSION {
        return Err(ProposalError::Unknown { what: "version", value: message.version.into() });
    }
    let mut signers = Vec::with_capacity(message.signers.len());
    for (index, bytes) in message.signers.iter().enumerate() {
        let key = SignerKey::from_bytes_knowing(bytes, known);
        signers.push(key.map_err(|source| ProposalError::Key { index, source })?);
    }
    let key_sets = key_sets_from_wire(&message.key_sets, &signers, known)?;
    let messages = message.messages.iter().map(message_from_wire).collect::<Result<_, _>>()?;
    let unknown = |what, value: u32| ProposalError::Unknown { what, value: value.into() };
    let broadcast = match (message.broadcast, message.failover) {
        (0, Some(failover)) => Broadcast::Failover(FailoverPolicy {
            broadcast_timeout: Duration::from_millis(failover.broadcast_timeout),
            tiers: match failover.tiers {
                0 => Tiers::Doubling,
                1 => Tiers::Single,
                width => Tiers::Fixed(width.try_into().map_err(|_| unknown("tier width", width))?),
            },
        }),
        (0, None) => return Err(ProposalError::Encoding("it has no failover policy")),
        (1, None) => Broadcast::CoordinatorOnly,
        (2, None) => Broadcast::SignOnly,
        (1 | 2, Some(_)) => return Err(ProposalError::Encoding("it has a failover policy and no failover")),
        (mode, _) => return Err(unknown("broadcast mode", mode)),
    };
    Ok(Terms {
        entropy: bytes32(&message.entropy, "its entropy is not 32 bytes")?,
        proposer: message.proposer as usize,
        signers,
        key_sets,
        messages,
        transaction: message.transaction.map(|transaction| TransactionTerms {
            unsigned: transaction.unsigned,
            spent: transaction
                .spent
                .into_iter()
                .map(|output| SpentOutput { value: output.value, script: output.script })
                .collect(),
        }),
        election_method: ElectionMethod::from_number(message.election_method)
            .ok_or(unknown("election method", message.election_method))?,
        broadcast,
        expires_at: UnixMillis(message.expires_at),
        metadata: message.metadata,
        replaces: match message.replaces.as_slice() {
            [] => None,
            bytes => Some(SessionId(bytes32(bytes, "what it replaces is no session id")?)),
        },
    })
}

fn key_sets_from_wire(
    key_sets: &[pb::KeySet],
    signers: &[SignerKey],
    known: &dyn Fn(&SignerKey) -> bool,
) -> Result<Vec<KeySet>, ProposalError> {
    if key_sets.is_empty() {
        return Ok(vec![KeySet::new(signers)]);
    }
    if key_sets == [pb::KeySet::default()] {
        return Err(ProposalError::Encoding("its only key set is the default, which takes no bytes"));
    }
    let mut read = Vec::with_capacity(key_sets.len());
    for (index, key_set) in key_sets.iter().enumerate() {
        let order = match key_set.order {
            0 => KeyOrder::Sorted,
            1 => KeyOrder::AsGiven,
            other => return Err(ProposalError::Unknown { what: "key order", value: other.into() }),
        };
        if key_set.participants.is_empty() {
            read.push(KeySet::ordered(signers, order));
            continue;
        }
        let participant = |(signer, participant): (usize, &pb::Participant)| {
            let known = |key: &SignerKey| signers.get(signer) == Some(key) || known(key);
            let key = SignerKey::from_bytes_knowing(&participant.key, &known);
            let key =
                key.map_err(|source| ProposalError::ParticipantKey { key_set: index, signer, source })?;
            Ok(Participant { key, origin: origin_from_wire(&participant.origin)? })
        };
        let participants = key_set.participants.iter().enumerate().map(participant);
        let key_set = KeySet { participants: participants.collect::<Result<_, ProposalError>>()?, order };
        if is_identities(&key_set, signers) {
            return Err(ProposalError::Encoding("a key set lists the identity keys, which take no bytes"));
        }
        read.push(key_set);
    }
    Ok(read)
}

fn origin_from_wire(bytes: &[u8]) -> Result<Option<KeyOrigin>, ProposalError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (fingerprint, path) =
        bytes.split_first_chunk().ok_or(ProposalError::Encoding("an origin has no fingerprint"))?;
    let path = path_from_wire(path, "child numbers of an origin", limits::ORIGIN)?;
    Ok(Some(KeyOrigin { fingerprint: *fingerprint, path }))
}

fn path_from_wire(bytes: &[u8], what: &'static str, most: usize) -> Result<Vec<u32>, ProposalError> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    within(what, numbers.len(), 0, most)?;
    if !rest.is_empty() {
        return Err(ProposalError::Encoding("a path is not 4 bytes for each child number"));
    }
    Ok(numbers.iter().map(|number| u32::from_be_bytes(*number)).collect())
}

fn message_from_wire(message: &pb::Message) -> Result<Message, ProposalError> {
    let unknown = |what, value: u32| ProposalError::Unknown { what, value: value.into() };
    let taproot = match message.taproot {
        0 => Taproot::None,
        1 => Taproot::KeyPath,
        2 => Taproot::MerkleRoot(bytes32(&message.merkle_root, "a merkle root is not 32 bytes")?),
        other => return Err(unknown("kind of Taproot output", other)),
    };
    if !message.merkle_root.is_empty() && message.taproot != 2 {
        return Err(ProposalError::Encoding("a message has a merkle root that it does not use"));
    }
    let path = path_from_wire(&message.path, "child numbers of a derivation", limits::CHILD_NUMBERS)?;
    Ok(Message {
        digest: bytes32(&message.digest, "a message is not 32 bytes")?,
        key_set: message.key_set as usize,
        derivation: Derivation { path, taproot },
        input: message.input,
        sighash_type: match message.sighash_type {
            0 => SighashType::Default,
            1 => SighashType::All,
            other => return Err(unknown("hash type", other)),
        },
    })
}

fn bytes32(bytes: &[u8], error: &'static str) -> Result<[u8; 32], ProposalError> {
    bytes.try_into().map_err(|_| ProposalError::Encoding(error))
}
