//! Proposals: the terms of a session, their limits, and the session id.

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{ProposalError, WireError};
use crate::protocol::election::ElectionMethod;
use crate::protocol::limits;
use crate::protocol::wire::bounds;
use crate::protocol::wire::{self, pb};
use crate::types::{SessionId, SignerKey, UnixMillis, tagged_hash};

/// Order of key aggregation. It changes the aggregate key and nothing else: signer indices are always positions in the
/// proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum KeyOrder {
    /// BIP-327 `KeySort`, as BIP-390's `musig()` descriptor asks for.
    #[default]
    Sorted,
    /// As the proposal lists them.
    AsGiven,
}

/// Tweak of a key (BIP-327 `ApplyTweak`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tweak {
    /// Index of the tweak that this one is applied after, below its own; `None` for the aggregate key.
    pub follows: Option<usize>,
    /// BIP-327's `is_xonly_t`: `true` for BIP-341, `false` for BIP-32 (BIP-328).
    pub x_only: bool,
    /// Scalar below the curve's order, big-endian.
    pub scalar: [u8; 32],
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The 32 bytes to sign; for a transaction a BIP-341 signature hash.
    pub digest: [u8; 32],
    /// Index of the last tweak of the signing key; `None` for the aggregate key.
    pub tweak: Option<usize>,
    /// Index of the signed input in a transaction proposal, else 0.
    pub input: u32,
    /// Hash type in a transaction proposal, else the default.
    pub sighash_type: SighashType,
}

impl Message {
    /// Creates a raw message, signed with the aggregate key or with the key after `tweak`.
    pub fn raw(digest: [u8; 32], tweak: Option<usize>) -> Self {
        Self { digest, tweak, input: 0, sighash_type: SighashType::Default }
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
    /// Whether other signers take over. If `false`, only the elected coordinator is asked to broadcast.
    pub enabled: bool,
    /// Time from the start of a turn to the start of the next, 1 s to 24 h.
    pub broadcast_timeout: Duration,
    /// Grouping of signers into turns.
    pub tiers: Tiers,
}

impl Default for FailoverPolicy {
    fn default() -> Self {
        Self { enabled: true, broadcast_timeout: Duration::from_secs(300), tiers: Tiers::Single }
    }
}

/// Terms of a session, on which all signers agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// 32 random bytes, so that no two sessions have the same id.
    pub entropy: [u8; 32],
    /// The proposer's signer index.
    pub proposer: usize,
    /// The signers; a position here is a *signer index*. 1 to 128, no two with the same x coordinate.
    pub signers: Vec<SignerKey>,
    /// The order of key aggregation.
    pub key_order: KeyOrder,
    /// Tweaks, a shared prefix stored once.
    pub tweaks: Vec<Tweak>,
    /// The messages to sign, 1 to 256.
    pub messages: Vec<Message>,
    /// The transaction that the signatures complete; `None` for raw messages.
    pub transaction: Option<TransactionTerms>,
    /// The election method.
    pub election_method: ElectionMethod,
    /// The failover policy.
    pub failover: FailoverPolicy,
    /// Expiry of the proposal, at most 30 days ahead.
    pub expires_at: UnixMillis,
    /// Application data for the other signers, at most 4 KiB.
    pub metadata: Vec<u8>,
    /// The session whose transaction this one replaces (a fee bump).
    pub replaces: Option<SessionId>,
}

impl Terms {
    /// The tweaks of message `index`, in the order in which they are applied.
    pub fn tweak_path(&self, index: usize) -> Vec<Tweak> {
        let mut path = Vec::new();
        let mut next = self.messages.get(index).and_then(|message| message.tweak);
        while let Some(tweak) = next.and_then(|position| self.tweaks.get(position)) {
            path.push(*tweak);
            next = tweak.follows;
        }
        path.reverse();
        path
    }

    /// Signer index of a key; `None` for a key that is not a signer's.
    pub fn index_of(&self, key: &SignerKey) -> Option<usize> {
        self.signers.iter().position(|signer| signer == key)
    }

    fn check(&self) -> Result<(), ProposalError> {
        let within = |what, actual: usize, least: usize, most: usize| {
            if (least..=most).contains(&actual) {
                return Ok(());
            }
            Err(ProposalError::Limit { what, actual: actual as u64, least: least as u64, most: most as u64 })
        };
        within("signers", self.signers.len(), 1, limits::SIGNERS)?;
        within("messages", self.messages.len(), 1, limits::MESSAGES)?;
        within(
            "signers × messages",
            self.signers.len() * self.messages.len(),
            1,
            limits::SIGNERS_TIMES_MESSAGES,
        )?;
        within("bytes of metadata", self.metadata.len(), 0, limits::METADATA)?;
        within("tweaks", self.tweaks.len(), 0, limits::TWEAKS)?;
        if self.proposer >= self.signers.len() {
            return Err(ProposalError::Index { what: "proposer", index: self.proposer as u64 });
        }
        let spent = self.transaction.as_ref().map_or(0, |transaction| transaction.spent.len());
        within("spent outputs", spent, 0, limits::INPUTS)?;
        let mut seen = HashSet::with_capacity(self.signers.len());
        for (second, key) in self.signers.iter().enumerate() {
            if !seen.insert(key.x_only()) {
                let same = |other: &SignerKey| other.x_only() == key.x_only();
                let first = self.signers.iter().position(same).unwrap_or(second);
                return Err(ProposalError::DuplicateKey { first, second });
            }
        }
        let mut depths = Vec::with_capacity(self.tweaks.len());
        for (index, tweak) in self.tweaks.iter().enumerate() {
            let depth = match tweak.follows {
                None => 1,
                Some(earlier) if earlier < index => depths[earlier] + 1,
                Some(later) => return Err(ProposalError::Index { what: "tweak", index: later as u64 }),
            };
            within("tweaks in a row", depth, 1, limits::TWEAK_DEPTH)?;
            depths.push(depth);
        }
        for message in &self.messages {
            if let Some(tweak) = message.tweak.filter(|tweak| *tweak >= self.tweaks.len()) {
                return Err(ProposalError::Index { what: "tweak", index: tweak as u64 });
            }
            let raw = message.input == 0 && message.sighash_type == SighashType::Default;
            if self.transaction.is_none() && !raw {
                return Err(ProposalError::Index { what: "input", index: message.input.into() });
            }
        }
        if self.transaction.is_some() && !self.messages.is_sorted_by(|a, b| a.input < b.input) {
            return Err(ProposalError::Encoding("messages are not in the order of their inputs"));
        }
        let timeout = self.failover.broadcast_timeout;
        if !limits::BROADCAST_TIMEOUT.contains(&timeout) || !timeout.subsec_nanos().is_multiple_of(1_000_000)
        {
            return Err(ProposalError::BroadcastTimeout { actual: timeout });
        }
        if let Tiers::Fixed(width) = self.failover.tiers {
            within("signers in a tier", width.into(), 1, limits::SIGNERS)?;
        }
        Ok(())
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
        if terms.failover.tiers == Tiers::Fixed(1) {
            terms.failover.tiers = Tiers::Single;
        }
        terms.check()?;
        let bytes = wire::encode(&to_wire(&terms));
        Self::within_size(bytes.len())?;
        Ok(Self::with_bytes(terms, bytes))
    }

    /// Decodes and validates received bytes, which must be the canonical encoding of their content.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProposalError> {
        Self::decode_knowing(bytes, &|_| false)
    }

    /// The same, without the work of checking keys that are `known` to be points.
    pub(crate) fn decode_knowing(
        bytes: &[u8],
        known: &dyn Fn(&SignerKey) -> bool,
    ) -> Result<Self, ProposalError> {
        Self::within_size(bytes.len())?;
        let message: pb::Proposal = wire::decode(bytes, "the proposal").map_err(|error| match error {
            WireError::TooMany { what, actual, most } => {
                let least = u64::from(matches!(what, "signers" | "messages"));
                ProposalError::Limit { what, actual: actual as u64, least, most: most as u64 }
            }
            _ => ProposalError::Encoding("its bytes are not canonical"),
        })?;
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

    /// Checks that the proposal expires in the future, within 30 days.
    pub fn check_expiry(&self, now: UnixMillis) -> Result<(), ProposalError> {
        let expires_at = self.expires_at;
        if expires_at > now && expires_at <= now.saturating_add(limits::EXPIRY) {
            return Ok(());
        }
        Err(ProposalError::Expiry { expires_at, now })
    }
}

/// An optional index on the wire: 0 is none, i + 1 is i.
fn to_link(index: Option<usize>) -> u32 {
    index.map_or(0, |index| index as u32 + 1)
}

fn from_link(link: u32) -> Option<usize> {
    link.checked_sub(1).map(|index| index as usize)
}

fn to_wire(terms: &Terms) -> pb::Proposal {
    pb::Proposal {
        version: limits::VERSION,
        entropy: terms.entropy.to_vec(),
        proposer: terms.proposer as u32,
        signers: terms.signers.iter().map(|key| key.as_bytes().to_vec()).collect(),
        key_order: match terms.key_order {
            KeyOrder::Sorted => 0,
            KeyOrder::AsGiven => 1,
        },
        tweaks: terms.tweaks.iter().map(tweak_to_wire).collect(),
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
        failover: Some(pb::Failover {
            enabled: terms.failover.enabled,
            broadcast_timeout: terms.failover.broadcast_timeout.as_millis() as u64,
            tiers: match terms.failover.tiers {
                Tiers::Doubling => 0,
                Tiers::Single => 1,
                Tiers::Fixed(width) => width.into(),
            },
        }),
        expires_at: terms.expires_at.0,
        metadata: terms.metadata.clone(),
        replaces: terms.replaces.map_or_else(Vec::new, |id| id.0.to_vec()),
    }
}

fn tweak_to_wire(tweak: &Tweak) -> pb::Tweak {
    pb::Tweak { follows: to_link(tweak.follows), x_only: tweak.x_only, scalar: tweak.scalar.to_vec() }
}

fn message_to_wire(message: &Message) -> pb::Message {
    pb::Message {
        digest: message.digest.to_vec(),
        tweak: to_link(message.tweak),
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
    let failover = message.failover.ok_or(ProposalError::Encoding("it has no failover policy"))?;
    let mut signers = Vec::with_capacity(message.signers.len());
    for (index, bytes) in message.signers.iter().enumerate() {
        let key = SignerKey::from_bytes_knowing(bytes, known);
        signers.push(key.map_err(|source| ProposalError::Key { index, source })?);
    }
    let mut tweaks = Vec::with_capacity(message.tweaks.len());
    for (index, tweak) in message.tweaks.iter().enumerate() {
        let scalar = tweak.scalar.as_slice().try_into().map_err(|_| ProposalError::Tweak { index })?;
        tweaks.push(Tweak { follows: from_link(tweak.follows), x_only: tweak.x_only, scalar });
    }
    let messages = message.messages.iter().map(message_from_wire).collect::<Result<_, _>>()?;
    let unknown = |what, value: u32| ProposalError::Unknown { what, value: value.into() };
    Ok(Terms {
        entropy: bytes32(&message.entropy, "its entropy is not 32 bytes")?,
        proposer: message.proposer as usize,
        signers,
        key_order: match message.key_order {
            0 => KeyOrder::Sorted,
            1 => KeyOrder::AsGiven,
            other => return Err(unknown("key order", other)),
        },
        tweaks,
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
        failover: FailoverPolicy {
            enabled: failover.enabled,
            broadcast_timeout: Duration::from_millis(failover.broadcast_timeout),
            tiers: match failover.tiers {
                0 => Tiers::Doubling,
                1 => Tiers::Single,
                width => Tiers::Fixed(width.try_into().map_err(|_| unknown("tier width", width))?),
            },
        },
        expires_at: UnixMillis(message.expires_at),
        metadata: message.metadata,
        replaces: match message.replaces.as_slice() {
            [] => None,
            bytes => Some(SessionId(bytes32(bytes, "what it replaces is no session id")?)),
        },
    })
}

fn message_from_wire(message: &pb::Message) -> Result<Message, ProposalError> {
    Ok(Message {
        digest: bytes32(&message.digest, "a message is not 32 bytes")?,
        tweak: from_link(message.tweak),
        input: message.input,
        sighash_type: match message.sighash_type {
            0 => SighashType::Default,
            1 => SighashType::All,
            other => return Err(ProposalError::Unknown { what: "hash type", value: other.into() }),
        },
    })
}

fn bytes32(bytes: &[u8], error: &'static str) -> Result<[u8; 32], ProposalError> {
    bytes.try_into().map_err(|_| ProposalError::Encoding(error))
}
