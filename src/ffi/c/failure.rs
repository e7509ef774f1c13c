//! Why a call fails, in C's words.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::musig_status_code;
use crate::error::{Error, ProposalError, SignerError, StoreError};

/// Why a call fails: its status, and words for people.
#[derive(Debug)]
pub(super) struct Failure {
    pub status: musig_status_code,
    pub message: String,
}

impl Failure {
    pub(super) fn new(status: musig_status_code, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(musig_status_code::INVALID_ARGUMENT, message)
    }
}

pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// Runs the body of a function that cannot fail; a panic in it gives `otherwise`.
pub(super) fn guarded<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        otherwise
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        use musig_status_code::*;
        let status = match &error {
            Error::Proposal(ProposalError::Key { .. }) => INVALID_KEY,
            Error::Proposal(_) => PROPOSAL,
            Error::Wire(_) => WIRE,
            Error::Signer(SignerError::Locked) => SIGNER_LOCKED,
            Error::Signer(SignerError::WrongSecret { .. } | SignerError::InvalidSecret) => WRONG_SECRET,
            Error::Signer(_) => SIGNER,
            Error::Store(StoreError::InUse { .. }) => STORE_IN_USE,
            Error::Store(StoreError::Schema { .. }) => STORE_SCHEMA,
            Error::Store(StoreError::Corrupt { .. }) => STORE_CORRUPT,
            Error::Store(StoreError::Suspended) => STORE_SUSPENDED,
            Error::Store(_) => STORE,
            Error::Election(_) => ELECTION,
            Error::UnknownSession(_) => UNKNOWN_SESSION,
            Error::SessionExists(_) => SESSION_EXISTS,
            Error::WrongState { .. } => WRONG_STATE,
            Error::Limit { .. } => LIMIT,
            Error::Config(_) => CONFIG,
            Error::Network(_) => NETWORK,
            Error::NodeStopped => NODE_STOPPED,
            Error::Suspended => SUSPENDED,
            Error::ConsumerExists => CONSUMER_EXISTS,
            Error::WouldDeadlock => WOULD_DEADLOCK,
            Error::Forked => FORKED,
            Error::Internal(_) => INTERNAL,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ProposalError> for Failure {
    fn from(error: ProposalError) -> Self {
        Error::from(error).into()
    }
}

impl From<SignerError> for Failure {
    fn from(error: SignerError) -> Self {
        Error::from(error).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Error::from(error).into()
    }
}
