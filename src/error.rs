//! Typed errors. Each message says what to do next.

use std::time::Duration;

use crate::types::{SessionId, SignerKey, UnixMillis};

/// Bytes that are not a compressed point of secp256k1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a compressed secp256k1 public key ({length} bytes given): pass the 33 bytes that start with 02 or 03"
)]
pub struct InvalidKey {
    /// How many bytes were given.
    pub length: usize,
}

/// The reason why terms are refused as a proposal. Nothing was created or stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// The bytes are no canonical encoding, of a version this library does not know, or hold an unknown field.
    #[error("the proposal is not in canonical form ({0}): was it made by a newer version of libmusig?")]
    Encoding(&'static str),
    /// Too many or too few of something.
    #[error("the proposal has {actual} {what}; the limits are {least} to {most}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many there are.
        actual: u64,
        /// The smallest number allowed.
        least: u64,
        /// The largest number allowed.
        most: u64,
    },
    /// A signer key is no point of the curve.
    #[error("signer {index} is not a valid public key: {source}")]
    Key {
        /// Which signer.
        index: usize,
        /// What is wrong with its key.
        source: InvalidKey,
    },
    /// Two signers are equal, or equal but for the parity byte.
    #[error(
        "signers {first} and {second} have the same key (or differ in parity only); give each signer its own"
    )]
    DuplicateKey {
        /// The earlier one.
        first: usize,
        /// The later one.
        second: usize,
    },
    /// A tweak, a message, a proposer, … points to something that does not exist.
    #[error("{what} {index} does not exist")]
    Index {
        /// What was pointed to.
        what: &'static str,
        /// With which index.
        index: u64,
    },
    /// A tweak is no scalar, or leads to the point at infinity.
    #[error("tweak {index} cannot be applied: it must be a 32-byte number below the curve's order")]
    Tweak {
        /// Which tweak.
        index: usize,
    },
    /// The key that would sign, or the aggregate key, is a signer's own: a signature under it would be that signer's
    /// word, presence or coin.
    #[error(
        "the key that would sign is signer {signer}'s own: a signature would speak for that signer alone; refuse whoever \
         proposes this, and derive the key otherwise"
    )]
    AimedKey {
        /// Whose key it is.
        signer: usize,
    },
    /// The timeout lies outside of what every node accepts.
    #[error("a broadcast timeout of {actual:?} is not allowed; choose 1 s to 24 h")]
    BroadcastTimeout {
        /// What the proposal says.
        actual: Duration,
    },
    /// Expired, or more than 30 days ahead, by this node's clock.
    #[error(
        "the proposal expires at {expires_at:?}, and it is {now:?} now: it must expire in the future, within 30 days"
    )]
    Expiry {
        /// The proposal's expiry.
        expires_at: UnixMillis,
        /// This node's clock.
        now: UnixMillis,
    },
    /// A number stands for no known method, key order or hash type.
    #[error("{what} {value} is unknown: was the proposal made by a newer version of libmusig?")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// The number.
        value: u64,
    },
    /// The transaction part does not fit.
    #[error("the transaction is refused: {0}")]
    Transaction(String),
    /// Failover needs one fixed transaction that the certificate alone completes.
    #[error(
        "failover needs a transaction that the signatures alone complete: {0}; complete it first or disable failover"
    )]
    FailoverNeedsFixedTransaction(String),
    /// This node's own key is not among the signers.
    #[error("the signers do not include this node's own key")]
    NotASigner,
}

/// The reason why an election query is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElectionError {
    /// There are no signers.
    #[error("there are no signers to elect from; give at least one")]
    NoSigners,
    /// The index names no signer.
    #[error("there is no signer {index} among {signers}")]
    IndexOutOfRange {
        /// The index given.
        index: usize,
        /// How many signers there are.
        signers: usize,
    },
}

/// The reason why received bytes were dropped. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Longer than its limit.
    #[error("{what} has {actual} bytes; the limit is {most}")]
    TooLong {
        /// What.
        what: &'static str,
        /// Its length.
        actual: usize,
        /// The limit.
        most: usize,
    },
    /// More entries than its limit.
    #[error("{what} has {actual} entries; the limit is {most}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many there are.
        actual: usize,
        /// The limit.
        most: usize,
    },
    /// Not the canonical encoding of its type.
    #[error("{0} is not in canonical form")]
    Malformed(&'static str),
    /// The signature does not fit.
    #[error("the signature of {0} does not verify")]
    Signature(&'static str),
    /// It names a signer that the session does not have.
    #[error("there is no signer {index} in this session")]
    NoSuchSigner {
        /// The index.
        index: u32,
    },
    /// It belongs to a session that this node does not know.
    #[error("session {0} is unknown here")]
    UnknownSession(SessionId),
}

/// The reason why a signer did not answer with a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// The key is locked.
    #[error("the signer is locked; unlock it with the secret key to go on")]
    Locked,
    /// The given secret is not the key of this signer.
    #[error("the secret does not belong to {expected}; unlock the signer with the secret it was made with")]
    WrongSecret {
        /// The key of this signer.
        expected: SignerKey,
    },
    /// 32 bytes that are no secret key.
    #[error("not a secret key: pass 32 random bytes from a cryptographic source")]
    InvalidSecret,
    /// The nonces of this attempt are gone, as after a restart, or were used.
    #[error("the secret nonces of this attempt are gone; the session goes on with a new attempt")]
    NonceGone,
    /// The request does not fit this signer.
    #[error("the request does not fit this signer: {0}")]
    Mismatch(&'static str),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes; nothing was signed")]
    NoRandomness,
    /// Its partial signature does not verify: a fault of the hardware or of a foreign signer.
    #[error(
        "the signer's own partial signature does not verify; it was not sent. Check the device before signing again"
    )]
    InvalidPartial,
    /// What a foreign signer said.
    #[error("the signer failed: {0}")]
    Other(String),
}

/// The reason why a node could not read or write its store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another node of this one, has it open.
    #[error("the store {path} is in use; one process at a time may open it. Stop the other node first")]
    InUse {
        /// The file.
        path: String,
    },
    /// The file is of another version.
    #[error(
        "the store {path} has schema {found}, this library reads {expected}; open it with the version that wrote it"
    )]
    Schema {
        /// The file.
        path: String,
        /// The schema in the file.
        found: u64,
        /// The schema this library reads.
        expected: u64,
    },
    /// The file is no store, or damaged.
    #[error(
        "the store {path} is damaged or not a libmusig store ({reason}); restore it from a backup or choose another path"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// What was found.
        reason: String,
    },
    /// Reading, writing or syncing failed.
    #[error(
        "the store {path} could not be read or written ({reason}); nothing was signed or sent. Free space or fix permissions"
    )]
    Io {
        /// The file.
        path: String,
        /// The operating system's words.
        reason: String,
    },
    /// The store was suspended.
    #[error("the store is suspended; call resume first")]
    Suspended,
}

/// The reason why an operation was not carried out. Nothing changed, unless the variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The proposal is invalid.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// The bytes are malformed, exceed a limit, or fail verification.
    #[error(transparent)]
    Wire(#[from] WireError),
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
    #[error("session {0} is unknown here; wait for its SessionProposed event, or import it")]
    UnknownSession(SessionId),
    /// A session with this id already exists. It continues unchanged.
    #[error("session {0} exists already and goes on unchanged")]
    SessionExists(SessionId),
    /// The session's phase does not allow the operation.
    #[error("session {session} is {state}: {hint}")]
    WrongState {
        /// The session.
        session: SessionId,
        /// What it is.
        state: &'static str,
        /// What can be done.
        hint: &'static str,
    },
    /// A limit is exceeded.
    #[error("the limit of {limit} {what} is reached; {hint}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What can be done.
        hint: &'static str,
    },
    /// The configuration is incomplete or contradicts itself.
    #[error("the configuration cannot work: {0}")]
    Config(String),
    /// The network layer failed, or the node is offline.
    #[error("the network could not start: {0}")]
    Network(String),
    /// The node is stopped.
    #[error("the node is stopped; start a new one on the same store to go on")]
    NodeStopped,
    /// The node is suspended.
    #[error("the node is suspended; call resume first")]
    Suspended,
    /// The node's events already have a consumer: a handler, or a pending next_event.
    #[error("events have a consumer already (a handler or a pending next_event); use one at a time")]
    ConsumerExists,
    /// A blocking call inside one of the node's own callbacks would wait for itself. To stop the node there, call
    /// request_stop.
    #[error(
        "stop() was called from one of this node's own callbacks and would deadlock; call request_stop() there"
    )]
    WouldDeadlock,
    /// The process is a fork; a node works only in the process that started it.
    #[error("the process was forked; start a node of its own in the child")]
    Forked,
    /// An internal error of libmusig.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}
