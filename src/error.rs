//! Typed errors. A message says what was wrong, with its value, and what to do.

use std::time::Duration;

use crate::types::{OutPoint, SessionId, SignerKey, UnixMillis};

/// Invalid signer key: bytes that are not a compressed point of secp256k1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a compressed secp256k1 public key ({length} bytes given): pass the 33 bytes that start with 02 or 03"
)]
pub struct InvalidKey {
    /// Number of bytes given.
    pub length: usize,
}

/// Invalid proposal. Nothing was created or stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// The bytes are not canonically encoded, have an unknown version, or have an unknown field.
    #[error(
        "the proposal is not canonically encoded ({0}); if a newer version of libmusig made it, use that one here"
    )]
    Encoding(&'static str),
    /// A count is out of range.
    #[error("the proposal has {actual} {what}; {least} to {most} are allowed")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// The count.
        actual: u64,
        /// The smallest count allowed.
        least: u64,
        /// The largest count allowed.
        most: u64,
    },
    /// A signer key is not a point on the curve.
    #[error("signer {index} is not a valid public key: {source}")]
    Key {
        /// The signer's index.
        index: usize,
        /// The fault of its key.
        source: InvalidKey,
    },
    /// Two signer keys are equal, or differ in their parity only.
    #[error(
        "signers {first} and {second} have the same key (or differ in parity only); give each signer its own"
    )]
    DuplicateKey {
        /// The index of the earlier one.
        first: usize,
        /// The index of the later one.
        second: usize,
    },
    /// A reference to a key set, a message, an input or a signer that does not exist.
    #[error("the proposal refers to {what} {index}, which does not exist; indices start at 0")]
    Index {
        /// What is referred to.
        what: &'static str,
        /// Its index.
        index: u64,
    },
    /// A participant key is not a point on the curve.
    #[error("key {signer} of key set {key_set} is not a valid public key: {source}")]
    ParticipantKey {
        /// The index of the key set.
        key_set: usize,
        /// The signer whose key it is to be.
        signer: usize,
        /// The fault of the key.
        source: InvalidKey,
    },
    /// Two key sets have the same aggregate key.
    #[error(
        "key sets {first} and {second} are alike; give each once, and name it in each message that it signs"
    )]
    SameKeySet {
        /// The index of the earlier one.
        first: usize,
        /// The index of the later one.
        second: usize,
    },
    /// No message is signed with a key set.
    #[error("no message is signed with key set {index}; leave it out")]
    UnusedKeySet {
        /// Its index.
        index: usize,
    },
    /// A child number of a derivation is hardened.
    #[error(
        "child number {number} is hardened, and an aggregate key has no hardened children; give numbers below 2147483648"
    )]
    HardenedChild {
        /// The number.
        number: u32,
    },
    /// A derivation leads to no key, as one in 2^127 does.
    #[error("the derivation leads to no key; take the next child number")]
    Derivation,
    /// The proposal gives this node a participant key that its signer does not hold.
    #[error(
        "this node's signer does not hold the participant key {key}; add the key to the signer, or decline the proposal"
    )]
    KeyNotHeld {
        /// The key.
        key: SignerKey,
    },
    /// The signing key, or the aggregate key, is a signer's own: a signature under it would be that signer's envelope,
    /// presence record or coin.
    #[error(
        "the signing key is the own key of signer {signer}, so a signature would speak for that signer alone; decline such a \
         proposal, and derive another key"
    )]
    AimedKey {
        /// The index of that signer.
        signer: usize,
    },
    /// The broadcast timeout is out of range.
    #[error("a broadcast timeout of {actual:?} is not allowed; choose 1 s to 24 h")]
    BroadcastTimeout {
        /// The proposal's timeout.
        actual: Duration,
    },
    /// The proposal has expired, or expires in more than 30 days, by this node's clock.
    #[error(
        "the proposal expires at {} and the time is {} (Unix milliseconds); choose an expiry within the next 30 days, and check the clock", .expires_at.0, .now.0
    )]
    Expiry {
        /// The proposal's expiry.
        expires_at: UnixMillis,
        /// The time by this node's clock.
        now: UnixMillis,
    },
    /// An unknown election method, key order, hash type or tier policy.
    #[error("{what} {value} is unknown; if a newer version of libmusig made the proposal, use that one here")]
    Unknown {
        /// What the number stands for.
        what: &'static str,
        /// The number.
        value: u64,
    },
    /// The transaction, its spent outputs, or its messages are invalid.
    #[error("the transaction is invalid: {0}")]
    Transaction(String),
    /// Failover needs a transaction that the signatures alone complete.
    #[error(
        "failover needs a transaction that the signatures alone complete: {0}; complete it first or disable failover"
    )]
    FailoverNeedsFixedTransaction(String),
    /// This node's own key is not among the signers.
    #[error("this node's own key is not among the signers; add it, or propose from the node of a signer")]
    NotASigner,
}

/// Consent that was refused because of what the signatures would be worth. Nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsentError {
    /// An input that the session does not sign has a witness that cannot be verified here.
    #[error(
        "the witness of input {input}, which this session does not sign, cannot be verified here; if it is invalid, the \
         finished signatures complete nothing: join with allow_unverified_inputs only if you trust whoever made it"
    )]
    UnverifiedInput {
        /// The input's index.
        input: u32,
    },
    /// A coin that the transaction spends is spent already, or is not known to the Bitcoin backend.
    #[error(
        "the coin {}:{} of input {input} is {}, so the transaction may never be valid; check the transaction, or join \
         with allow_missing_coins if you know better", .coin.txid, .coin.vout,
        if *.spent { "spent already" } else { "unknown to the Bitcoin backend" }
    )]
    MissingCoin {
        /// The input's index.
        input: u32,
        /// The coin.
        coin: OutPoint,
        /// Whether it is spent, and not unknown.
        spent: bool,
    },
    /// The chain observer could not say whether the transaction's coins exist.
    #[error(
        "whether the transaction's coins exist is not known: {reason}; try again, or join with allow_missing_coins"
    )]
    CoinsNotKnown {
        /// The observer's words.
        reason: String,
    },
    /// A raw message would be signed with keys that own coins, so it may be the signature hash of a transaction that
    /// spends them.
    #[error(
        "message {message} would be signed blind with {}, so it may spend coins of the signers; decline it, or join with \
         sign_blind if you know what it means",
        match .session {
            Some(session) => format!("the keys of the transaction session {session}"),
            None => "a Taproot output key".into(),
        }
    )]
    BlindMessage {
        /// The message's index.
        message: u32,
        /// A transaction session of this node with the same keys. `None`: the key is an output key.
        session: Option<SessionId>,
    },
}

/// Invalid election query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElectionError {
    /// There are no signers.
    #[error("there are no signers to elect from; give at least one")]
    NoSigners,
    /// The index is not below the number of signers.
    #[error("signer index {index} is out of range; there are {signers} signers, and indices start at 0")]
    IndexOutOfRange {
        /// The index given.
        index: usize,
        /// The number of signers.
        signers: usize,
    },
}

/// Invalid bytes from outside, which were dropped. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// More bytes than the limit.
    #[error("{what} has {actual} bytes; the limit is {most}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length in bytes.
        actual: usize,
        /// The limit.
        most: usize,
    },
    /// More entries than the limit.
    #[error("{what} has {actual} entries; the limit is {most}")]
    TooMany {
        /// What has too many.
        what: &'static str,
        /// The number of entries.
        actual: usize,
        /// The limit.
        most: usize,
    },
    /// Not a canonical encoding.
    #[error("{0} is not canonically encoded: it is damaged, or of a newer version of libmusig")]
    Malformed(&'static str),
    /// A proposal that no node signs for, whatever its settings.
    #[error("the proposal is invalid, and is for every node; its proposer must make another one")]
    InvalidProposal,
    /// A signature that does not verify.
    #[error("the signature of {0} does not verify; get it again from its signer")]
    Signature(&'static str),
    /// A signer index that the session does not have.
    #[error("signer index {index} is out of range for this session")]
    NoSuchSigner {
        /// The index.
        index: u32,
    },
    /// A session that is unknown to this node.
    #[error("session {0} is unknown to this node; import it first")]
    UnknownSession(SessionId),
}

impl WireError {
    /// Whether whoever sends what leads to this breaks the protocol: an honest node verifies what it passes on.
    pub(crate) fn is_violation(&self) -> bool {
        matches!(self, Self::InvalidProposal | Self::Signature(_))
    }
}

/// Failure of a signer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// The signer is locked.
    #[error("the signer is locked; call unlock() with its secret key")]
    Locked,
    /// The secret belongs to another key.
    #[error(
        "the secret does not belong to the key {expected}; give the secret that the signer was made with"
    )]
    WrongSecret {
        /// The key of this signer.
        expected: SignerKey,
    },
    /// The bytes are not a secret key: zero, or not below the curve's order.
    #[error("the 32 bytes are not a secret key; give random ones from a cryptographic source")]
    InvalidSecret,
    /// The text is not an extended private key with this origin.
    #[error("not an extended private key that can be used: {0}")]
    InvalidXprv(&'static str),
    /// The secret nonces of the attempt were used, or lost in a restart.
    #[error("the secret nonces of this attempt were used or lost; the session continues with a new attempt")]
    NonceGone,
    /// The request does not fit this signer.
    #[error("the request does not fit this signer: {0}")]
    Mismatch(&'static str),
    /// The operating system has no random bytes.
    #[error("the operating system has no random bytes; nothing was signed, try again")]
    NoRandomness,
    /// The partial signature does not verify: a fault of the hardware or of a foreign signer.
    #[error(
        "the signer's partial signature does not verify and was not sent; check the device before signing again"
    )]
    InvalidPartial,
    /// Another failure, in the words of the signer.
    #[error("the signer failed: {0}")]
    Other(String),
}

/// Failure of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is open in another process, or in another node of this one.
    #[error("the store {path} is in use; stop the other node first, or choose another path")]
    InUse {
        /// The file.
        path: String,
    },
    /// The file has another schema version.
    #[error(
        "the store {path} has schema {found} and this library reads {expected}; open it with the version that wrote it"
    )]
    Schema {
        /// The file.
        path: String,
        /// The schema in the file.
        found: u64,
        /// The schema this library reads.
        expected: u64,
    },
    /// The file is damaged, or not a store.
    #[error(
        "the store {path} is damaged or not a libmusig store ({reason}); restore it from a backup or choose another path"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// The fault found.
        reason: String,
    },
    /// The store belongs to another signer.
    #[error(
        "the store {path} belongs to the signer {owner} and this node's is {signer}; use its own store, or that signer's key"
    )]
    OtherKey {
        /// The file.
        path: String,
        /// The key of the signer whose node made the store.
        owner: SignerKey,
        /// This node's signer key.
        signer: SignerKey,
    },
    /// Reading, writing or syncing failed.
    #[error(
        "the store {path} could not be read or written ({reason}); nothing was signed without it. Free space or fix permissions"
    )]
    Io {
        /// The file.
        path: String,
        /// The operating system's message.
        reason: String,
    },
    /// A commit has not ended for this long: the disk hangs.
    #[error("the store has not committed for {seconds} s; the disk is slow or hangs. Check it")]
    Hangs {
        /// How long it has waited.
        seconds: u64,
    },
    /// The operation took effect and others are told, but it is not on the disk yet: a crash may undo it.
    #[error(
        "this took effect and others are told, but it is not on the disk yet, and a crash may undo it: {reason}"
    )]
    Unstored {
        /// Why it is not on the disk.
        reason: String,
    },
    /// The store is suspended.
    #[error("the store is suspended; call resume() first")]
    Suspended,
}

#[cfg(feature = "node")]
impl StoreError {
    /// The disk has answered nothing for this long.
    pub(crate) fn hangs(limit: Duration) -> Self {
        Self::Hangs { seconds: limit.as_secs() }
    }
}

/// Failure of an operation. Nothing changed, unless the variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The proposal is invalid.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// The bytes are malformed, exceed a limit, or fail verification.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Consent was refused because of what the signatures would be worth.
    #[error(transparent)]
    Consent(#[from] ConsentError),
    /// The signer failed to sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Invalid election query: no signers, or index out of range.
    #[error(transparent)]
    Election(#[from] ElectionError),
    /// The session is unknown to this node.
    #[error("session {0} is unknown to this node; wait for SessionProposed, or import it")]
    UnknownSession(SessionId),
    /// A session with this id already exists. It continues unchanged.
    #[error("session {0} already exists and continues unchanged; use its handle")]
    SessionExists(SessionId),
    /// The session's phase does not allow the operation.
    #[error("session {session} is {state}: {hint}")]
    WrongState {
        /// The session.
        session: SessionId,
        /// Its state.
        state: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The session cannot be closed while its transaction, or its signatures, may still come about.
    #[error(
        "session {session} is not settled: {}; call abandon_session() to give it up, or close it once it is settled",
        if *.complete {
            "this node watches over its broadcast"
        } else {
            "a partial signature of this node is out, with which others may complete it"
        }
    )]
    NotSettled {
        /// The session.
        session: SessionId,
        /// Whether this node holds the finished signatures, and watches over their broadcast.
        complete: bool,
    },
    /// A limit is exceeded.
    #[error("the limit of {limit} {what} is exceeded; {hint}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What to do.
        hint: &'static str,
    },
    /// The configuration is incomplete or contradicts itself.
    #[error("the configuration is incomplete or contradicts itself: {0}")]
    Config(String),
    /// The network layer failed, or the node is offline.
    #[error("the network layer failed: {0}")]
    Network(String),
    /// The node is stopped.
    #[error("the node is stopped; start a new one on the same store")]
    NodeStopped,
    /// The node is suspended.
    #[error("the node is suspended; call resume() first")]
    Suspended,
    /// The node's events already have a consumer: a handler, or a pending next_event.
    #[error(
        "the node's events already have a consumer (a handler, or a pending next_event()); use one at a time"
    )]
    ConsumerExists,
    /// A blocking call inside one of the node's own callbacks would wait for itself. To stop the node there, call
    /// request_stop.
    #[error(
        "stop() was called from one of this node's own callbacks and would deadlock; call request_stop() there"
    )]
    WouldDeadlock,
    /// The process is a fork; a node works only in the process that started it.
    #[error("the process is a fork; start a new node in it, on another store")]
    Forked,
    /// An internal error of libmusig.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl Error {
    /// Whether the same call may succeed later, though nothing in it changes: what failed is outside of it (the network, the
    /// disk, the Bitcoin backend, a device), or ends (a limit that other sessions free, a suspension, a locked signer).
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Network(_) | Self::Suspended | Self::Limit { .. } | Self::NotSettled { .. } => true,
            Self::Consent(error) => matches!(
                error,
                ConsentError::CoinsNotKnown { .. } | ConsentError::MissingCoin { spent: false, .. }
            ),
            Self::Signer(error) => matches!(
                error,
                SignerError::Locked
                    | SignerError::NonceGone
                    | SignerError::NoRandomness
                    | SignerError::Other(_)
            ),
            Self::Store(error) => matches!(
                error,
                StoreError::InUse { .. }
                    | StoreError::Io { .. }
                    | StoreError::Hangs { .. }
                    | StoreError::Suspended
            ),
            Self::Proposal(_)
            | Self::Wire(_)
            | Self::Election(_)
            | Self::UnknownSession(_)
            | Self::SessionExists(_)
            | Self::WrongState { .. }
            | Self::Config(_)
            | Self::NodeStopped
            | Self::ConsumerExists
            | Self::WouldDeadlock
            | Self::Forked
            | Self::Internal(_) => false,
        }
    }
}
