//! Errors with their data. `reason` is a message for people and says what to do next.

use std::time::{Duration, SystemTime};

use uniffi::UnexpectedUniFFICallbackError;

use super::values::{SignerIndex, moment, number};
use crate::error::{ConsentError, ElectionError, Error, ProposalError, SignerError, StoreError, WireError};
use crate::types::{OutPoint, SessionId, SignerKey};

/// Error of an operation, which changed no state.
#[derive(Clone, Debug, thiserror::Error, uniffi::Error)]
pub enum MusigError {
    /// An argument is out of range or malformed.
    #[error("{what}: {reason}")]
    InvalidArgument {
        /// The argument's name.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The proposal is invalid.
    #[error("{reason}")]
    ProposalRefused {
        /// The problem, with its data.
        problem: ProposalProblem,
        /// Message for people.
        reason: String,
    },
    /// The bytes are malformed, exceed a limit, or fail verification.
    #[error("{reason}")]
    InputRefused {
        /// Message for people.
        reason: String,
    },
    /// Consent was refused because of what the signatures would be worth.
    #[error("{reason}")]
    ConsentRefused {
        /// The problem, with its data.
        problem: ConsentProblem,
        /// Message for people.
        reason: String,
    },
    /// The signer failed to sign. A foreign signer raises this, too.
    #[error("{reason}")]
    SignerFailed {
        /// The problem, with its data.
        problem: SignerProblem,
        /// Message for people.
        reason: String,
    },
    /// The store could not be read or written.
    #[error("{reason}")]
    StoreFailed {
        /// The problem, with its data.
        problem: StoreProblem,
        /// Message for people.
        reason: String,
    },
    /// There are no signers to elect from.
    #[error("{reason}")]
    NoSigners {
        /// Message for people.
        reason: String,
    },
    /// The index names no signer.
    #[error("{reason}")]
    IndexOutOfRange {
        /// The index given.
        index: SignerIndex,
        /// How many signers there are.
        signers: u32,
        /// Message for people.
        reason: String,
    },
    /// The session is unknown to this node.
    #[error("{reason}")]
    UnknownSession {
        /// Its id.
        session: SessionId,
        /// Message for people.
        reason: String,
    },
    /// A session with this id already exists. It continues unchanged.
    #[error("{reason}")]
    SessionExists {
        /// Its id.
        session: SessionId,
        /// Message for people.
        reason: String,
    },
    /// The session's phase does not allow the operation.
    #[error("{reason}")]
    WrongState {
        /// Its id.
        session: SessionId,
        /// The session's state.
        state: String,
        /// Message for people.
        reason: String,
    },
    /// The session cannot be closed while its transaction, or its signatures, may still come about.
    #[error("{reason}")]
    NotSettled {
        /// Its id.
        session: SessionId,
        /// Whether this node holds the finished signatures, and watches over their broadcast.
        complete: bool,
        /// Message for people.
        reason: String,
    },
    /// A limit is exceeded.
    #[error("{reason}")]
    LimitReached {
        /// What is limited.
        what: String,
        /// The limit.
        limit: u64,
        /// Message for people.
        reason: String,
    },
    /// The configuration is incomplete or contradicts itself.
    #[error("{reason}")]
    InvalidConfig {
        /// Message for people.
        reason: String,
    },
    /// The network layer failed, or the node is offline.
    #[error("{reason}")]
    NetworkFailed {
        /// Message for people.
        reason: String,
    },
    /// The node is stopped.
    #[error("{reason}")]
    NodeStopped {
        /// Message for people.
        reason: String,
    },
    /// The node is suspended.
    #[error("{reason}")]
    Suspended {
        /// Message for people.
        reason: String,
    },
    /// The node's events already have a consumer: a handler, or a pending next_event.
    #[error("{reason}")]
    ConsumerExists {
        /// Message for people.
        reason: String,
    },
    /// A blocking call inside one of the node's own callbacks would wait for itself. To stop the node there, call
    /// request_stop.
    #[error("{reason}")]
    WouldDeadlock {
        /// Message for people.
        reason: String,
    },
    /// The process is a fork; a node works only in the process that started it.
    #[error("{reason}")]
    Forked {
        /// Message for people.
        reason: String,
    },
    /// An internal error of libmusig.
    #[error("{reason}")]
    Internal {
        /// Message for people.
        reason: String,
    },
    /// The Bitcoin backend (node or API) cannot be reached. A Broadcaster or a ChainObserver raises this; the other
    /// signers take over.
    #[error("{reason}")]
    ChainUnreachable {
        /// Message for people.
        reason: String,
    },
    /// A foreign object raised an error of another type.
    #[error("{reason}")]
    CallbackFailed {
        /// That error as text.
        reason: String,
    },
}

/// Tells whether the same call may succeed later, though nothing in it changes: what failed is outside of it (the network,
/// the disk, the Bitcoin backend, a device), or ends (a limit that other sessions free, a suspension, a locked signer).
///
/// Throws if an id in the error is malformed, which none is that the library made.
#[uniffi::export]
pub fn error_is_retryable(error: MusigError) -> Result<bool, MusigError> {
    Ok(match error {
        MusigError::NetworkFailed { .. }
        | MusigError::ChainUnreachable { .. }
        | MusigError::Suspended { .. }
        | MusigError::LimitReached { .. }
        | MusigError::NotSettled { .. } => true,
        MusigError::ConsentRefused { problem, .. } => {
            matches!(
                problem,
                ConsentProblem::CoinsNotKnown | ConsentProblem::MissingCoin { spent: false, .. }
            )
        }
        MusigError::SignerFailed { problem, .. } => {
            use SignerProblem::*;
            matches!(problem, Locked | NonceGone | NoRandomness | Other)
        }
        MusigError::StoreFailed { problem, .. } => {
            use StoreProblem::*;
            matches!(problem, InUse { .. } | Io { .. } | Hangs { .. } | Suspended)
        }
        _ => false,
    })
}

impl From<UnexpectedUniFFICallbackError> for MusigError {
    fn from(error: UnexpectedUniFFICallbackError) -> Self {
        Self::CallbackFailed { reason: error.reason }
    }
}

/// Fault of an invalid proposal.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ProposalProblem {
    /// The bytes are not canonically encoded, have an unknown version, or have an unknown field.
    Encoding,
    /// A count is out of range.
    Limit {
        /// What is counted.
        what: String,
        /// The count.
        actual: u64,
        /// The smallest count allowed.
        least: u64,
        /// The largest count allowed.
        most: u64,
    },
    /// A signer key is not a point on the curve.
    Key {
        /// The signer's index.
        signer: SignerIndex,
    },
    /// Two signer keys are equal, or differ in their parity only.
    DuplicateKey {
        /// The earlier signer.
        first: SignerIndex,
        /// The later signer.
        second: SignerIndex,
    },
    /// A reference to a key set, a message, an input or a signer that does not exist.
    Index {
        /// What is referred to.
        what: String,
        /// Its index.
        index: u64,
    },
    /// A participant key is not a point on the curve.
    ParticipantKey {
        /// The index of the key set.
        key_set: u32,
        /// The signer whose key it is to be.
        signer: SignerIndex,
    },
    /// Two key sets have the same aggregate key.
    SameKeySet {
        /// The index of the earlier one.
        first: u32,
        /// The index of the later one.
        second: u32,
    },
    /// No message is signed with a key set.
    UnusedKeySet {
        /// Its index.
        index: u32,
    },
    /// A child number of a derivation is hardened.
    HardenedChild {
        /// The number.
        number: u32,
    },
    /// A derivation leads to no key, as one in 2^127 does.
    Derivation,
    /// The proposal gives this node a participant key that its signer does not hold.
    KeyNotHeld {
        /// The key.
        key: SignerKey,
    },
    /// The signing key, or the aggregate key, is a signer's own.
    AimedKey {
        /// The signer whose key it is.
        signer: SignerIndex,
    },
    /// The broadcast timeout is out of range.
    BroadcastTimeout {
        /// The proposal's timeout.
        actual: Duration,
    },
    /// The proposal has expired, or expires in more than 30 days, by this node's clock.
    Expiry {
        /// The proposal's expiry.
        expires_at: SystemTime,
        /// The time by this node's clock.
        now: SystemTime,
    },
    /// An unknown election method, key order, hash type or tier policy.
    Unknown {
        /// What the number stands for.
        what: String,
        /// The number.
        value: u64,
    },
    /// The transaction, its spent outputs, or its messages are invalid.
    Transaction,
    /// Failover needs a transaction that the signatures alone complete.
    FailoverNeedsFixedTransaction,
    /// This node's own key is not among the signers.
    NotASigner,
    /// Any other problem.
    Other,
}

/// Reason for which consent was refused.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ConsentProblem {
    /// An input that the session does not sign has a witness that cannot be verified here.
    UnverifiedInput {
        /// The input's index.
        input: u32,
    },
    /// A coin that the transaction spends is spent already, or is not known to the Bitcoin backend.
    MissingCoin {
        /// The input's index.
        input: u32,
        /// The coin.
        coin: OutPoint,
        /// Whether it is spent, and not unknown.
        spent: bool,
    },
    /// The chain observer could not say whether the transaction's coins exist.
    CoinsNotKnown,
    /// A raw message would be signed with keys that own coins, so it may be the signature hash of a transaction that
    /// spends them.
    BlindMessage {
        /// The message's index.
        message: u32,
        /// A transaction session of this node with the same keys. None: the key is an output key.
        session: Option<SessionId>,
    },
    /// Any other problem.
    Other,
}

/// Fault of a signer that failed.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum SignerProblem {
    /// The signer is locked.
    Locked,
    /// The secret belongs to another key.
    WrongSecret {
        /// The key of this signer.
        expected: SignerKey,
    },
    /// The bytes are not a secret key: zero, or not below the curve's order.
    InvalidSecret,
    /// The text is not an extended private key with this origin.
    InvalidXprv,
    /// The secret nonces of the attempt were used, or lost in a restart. The session needs a new attempt.
    NonceGone,
    /// The request does not fit this signer.
    Mismatch,
    /// The operating system has no random bytes.
    NoRandomness,
    /// The partial signature does not verify: a fault of the hardware or of a foreign signer.
    InvalidPartial,
    /// Any other problem.
    Other,
}

/// Fault of a store that failed.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum StoreProblem {
    /// The store is open in another process, or in another node of this one.
    InUse {
        /// The file.
        path: String,
    },
    /// The file has another schema version.
    Schema {
        /// The file.
        path: String,
        /// The file's schema version.
        found: u64,
        /// The schema version that this library reads.
        expected: u64,
    },
    /// The file is damaged, or not a store.
    Corrupt {
        /// The file.
        path: String,
    },
    /// The store belongs to another signer.
    OtherKey {
        /// The file.
        path: String,
        /// The key of the signer whose node made the store.
        owner: SignerKey,
        /// This node's signer key.
        signer: SignerKey,
    },
    /// Reading, writing or syncing failed.
    Io {
        /// The file.
        path: String,
    },
    /// A commit has not ended for this long: the disk hangs.
    Hangs {
        /// How long it has waited.
        seconds: u64,
    },
    /// The operation took effect and others are told, but it is not on the disk yet: a crash may undo it.
    Unstored,
    /// The store is suspended.
    Suspended,
    /// Any other problem.
    Other,
}

impl From<ProposalError> for ProposalProblem {
    fn from(error: ProposalError) -> Self {
        match error {
            ProposalError::Encoding(_) => Self::Encoding,
            ProposalError::Limit { what, actual, least, most } => {
                Self::Limit { what: what.into(), actual, least, most }
            }
            ProposalError::Key { index: signer, .. } => Self::Key { signer: signer.into() },
            ProposalError::DuplicateKey { first, second } => {
                Self::DuplicateKey { first: first.into(), second: second.into() }
            }
            ProposalError::Index { what, index } => Self::Index { what: what.into(), index },
            ProposalError::ParticipantKey { key_set, signer, .. } => {
                Self::ParticipantKey { key_set: number(key_set), signer: signer.into() }
            }
            ProposalError::SameKeySet { first, second } => {
                Self::SameKeySet { first: number(first), second: number(second) }
            }
            ProposalError::UnusedKeySet { index } => Self::UnusedKeySet { index: number(index) },
            ProposalError::HardenedChild { number } => Self::HardenedChild { number },
            ProposalError::Derivation => Self::Derivation,
            ProposalError::KeyNotHeld { key } => Self::KeyNotHeld { key },
            ProposalError::AimedKey { signer } => Self::AimedKey { signer: signer.into() },
            ProposalError::BroadcastTimeout { actual } => Self::BroadcastTimeout { actual },
            ProposalError::Expiry { expires_at, now } => {
                Self::Expiry { expires_at: moment(expires_at), now: moment(now) }
            }
            ProposalError::Unknown { what, value } => Self::Unknown { what: what.into(), value },
            ProposalError::Transaction(_) => Self::Transaction,
            ProposalError::FailoverNeedsFixedTransaction(_) => Self::FailoverNeedsFixedTransaction,
            ProposalError::NotASigner => Self::NotASigner,
        }
    }
}

impl From<ConsentError> for ConsentProblem {
    fn from(error: ConsentError) -> Self {
        match error {
            ConsentError::UnverifiedInput { input } => Self::UnverifiedInput { input },
            ConsentError::MissingCoin { input, coin, spent } => Self::MissingCoin { input, coin, spent },
            ConsentError::CoinsNotKnown { .. } => Self::CoinsNotKnown,
            ConsentError::BlindMessage { message, session } => Self::BlindMessage { message, session },
        }
    }
}

impl From<SignerError> for SignerProblem {
    fn from(error: SignerError) -> Self {
        match error {
            SignerError::Locked => Self::Locked,
            SignerError::WrongSecret { expected } => Self::WrongSecret { expected },
            SignerError::InvalidSecret => Self::InvalidSecret,
            SignerError::InvalidXprv(_) => Self::InvalidXprv,
            SignerError::NonceGone => Self::NonceGone,
            SignerError::Mismatch(_) => Self::Mismatch,
            SignerError::NoRandomness => Self::NoRandomness,
            SignerError::InvalidPartial => Self::InvalidPartial,
            SignerError::Other(_) => Self::Other,
        }
    }
}

impl From<StoreError> for StoreProblem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse { path } => Self::InUse { path },
            StoreError::Schema { path, found, expected } => Self::Schema { path, found, expected },
            StoreError::Corrupt { path, .. } => Self::Corrupt { path },
            StoreError::OtherKey { path, owner, signer } => Self::OtherKey { path, owner, signer },
            StoreError::Io { path, .. } => Self::Io { path },
            StoreError::Hangs { seconds } => Self::Hangs { seconds },
            StoreError::Unstored { .. } => Self::Unstored,
            StoreError::Suspended => Self::Suspended,
        }
    }
}

impl From<ProposalError> for MusigError {
    fn from(error: ProposalError) -> Self {
        Self::ProposalRefused { reason: error.to_string(), problem: error.into() }
    }
}

impl From<SignerError> for MusigError {
    fn from(error: SignerError) -> Self {
        Self::SignerFailed { reason: error.to_string(), problem: error.into() }
    }
}

impl From<WireError> for MusigError {
    fn from(error: WireError) -> Self {
        Self::InputRefused { reason: error.to_string() }
    }
}

impl From<ElectionError> for MusigError {
    fn from(error: ElectionError) -> Self {
        let reason = error.to_string();
        match error {
            ElectionError::NoSigners => Self::NoSigners { reason },
            ElectionError::IndexOutOfRange { index: given, signers } => {
                Self::IndexOutOfRange { index: given.into(), signers: number(signers), reason }
            }
        }
    }
}

impl From<Error> for MusigError {
    fn from(error: Error) -> Self {
        let reason = error.to_string();
        match error {
            Error::Proposal(error) => error.into(),
            Error::Wire(error) => error.into(),
            Error::Consent(error) => Self::ConsentRefused { problem: error.into(), reason },
            Error::Signer(error) => error.into(),
            Error::Store(error) => Self::StoreFailed { problem: error.into(), reason },
            Error::Election(error) => error.into(),
            Error::UnknownSession(session) => Self::UnknownSession { session, reason },
            Error::SessionExists(session) => Self::SessionExists { session, reason },
            Error::WrongState { session, state, .. } => {
                Self::WrongState { session, state: state.into(), reason }
            }
            Error::NotSettled { session, complete } => Self::NotSettled { session, complete, reason },
            Error::Limit { what, limit, .. } => {
                Self::LimitReached { what: what.into(), limit: limit as u64, reason }
            }
            Error::Config(_) => Self::InvalidConfig { reason },
            Error::Network(_) => Self::NetworkFailed { reason },
            Error::NodeStopped => Self::NodeStopped { reason },
            Error::Suspended => Self::Suspended { reason },
            Error::ConsumerExists => Self::ConsumerExists { reason },
            Error::WouldDeadlock => Self::WouldDeadlock { reason },
            Error::Forked => Self::Forked { reason },
            Error::Internal(_) => Self::Internal { reason },
        }
    }
}
