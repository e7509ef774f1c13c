//! Statuses.

use std::ffi::c_char;

use super::boundary::Failure;
use crate::error::{Error, ProposalError, SignerError, StoreError};

/// What a fallible function returns: a musig_status_code. Zero is success; numbers never change their meaning, and
/// later versions may return new ones.
pub type musig_status = i32;

/// The values of musig_status. 1 to 99: the call; 100 to 199: the network; 200 to 299: the protocol; 300 to 399: the
/// store; 400 to 499: the chain; 900 and above: libmusig itself.
/// cbindgen:rename-all=prefix:MUSIG_STATUS_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::upper_case_acronyms)]
pub enum musig_status_code {
    /// Done.
    OK = 0,
    /// A pointer is NULL that must not be.
    NULL_ARGUMENT = 1,
    /// A number, length or text cannot be what it is.
    INVALID_ARGUMENT = 2,
    /// Bytes that are no compressed public key.
    INVALID_KEY = 3,
    /// A buffer has less room than is needed. Nothing was written.
    BUFFER_TOO_SMALL = 4,
    /// This event, or these terms, have no such field.
    NO_SUCH_FIELD = 5,
    /// An index is not below the number of elements.
    INDEX_OUT_OF_RANGE = 6,
    /// The struct_size of a structure is not set, or is of no version of this library.
    STRUCT_SIZE = 7,
    /// Something is missing in the configuration, or contradicts itself.
    CONFIG = 8,
    /// The call would wait for its own thread.
    WOULD_DEADLOCK = 9,
    /// The process was forked; nodes work in the process that started the first one.
    FORKED = 10,
    /// The node is stopped.
    NODE_STOPPED = 11,
    /// The node is suspended.
    SUSPENDED = 12,
    /// Events have a consumer already.
    CONSUMER_EXISTS = 13,
    /// No event came in time.
    NO_EVENT = 14,
    /// There is no event of this number, or it was acknowledged before.
    UNKNOWN_EVENT = 15,
    /// It does not exist yet: the signatures are not finished, or the peer is not connected.
    NOT_READY = 16,
    /// The configuration has been used up by a node.
    CONFIG_USED = 17,
    /// The network part failed.
    NETWORK = 100,
    /// The proposal is refused.
    PROPOSAL = 200,
    /// The bytes are refused.
    WIRE = 201,
    /// There is no such session.
    UNKNOWN_SESSION = 202,
    /// The session exists already.
    SESSION_EXISTS = 203,
    /// The session is not in a state in which this can be done.
    WRONG_STATE = 204,
    /// A limit is reached.
    LIMIT = 205,
    /// The election question has no answer.
    ELECTION = 206,
    /// This is not the election of these signers.
    ELECTION_MISMATCH = 207,
    /// The signer did not sign.
    SIGNER = 208,
    /// The signer is locked.
    SIGNER_LOCKED = 209,
    /// The secret is no secret key, or not the one of this signer.
    WRONG_SECRET = 210,
    /// This signer is elsewhere, so its key cannot be locked or unlocked here.
    NOT_LOCAL = 211,
    /// A foreign signer's nonces of this attempt are gone. The session goes on with a new attempt.
    NONCE_GONE = 212,
    /// The store failed.
    STORE = 300,
    /// Another node has the store open.
    STORE_IN_USE = 301,
    /// The store is of another version.
    STORE_SCHEMA = 302,
    /// The store is damaged, or is none.
    STORE_CORRUPT = 303,
    /// The store is suspended.
    STORE_SUSPENDED = 304,
    /// The chain failed. No function returns it; callbacks may, to say that they could not reach their node.
    CHAIN = 400,
    /// A fault of libmusig. If it is a node's, the node has failed: stop it and start a new one.
    INTERNAL = 900,
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

/// Gives a status a short English name.
///
/// The text is static. What went wrong in one call is said by its musig_error.
///
/// Returns: a NUL-terminated text; "unknown status" for a number that this version does not have.
/// In:      status: any number.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub extern "C" fn musig_status_string(status: musig_status) -> *const c_char {
    let text = match status {
        0 => c"ok",
        1 => c"an argument is NULL",
        2 => c"invalid argument",
        3 => c"not a public key",
        4 => c"buffer too small",
        5 => c"no such field",
        6 => c"index out of range",
        7 => c"struct_size is not set",
        8 => c"the configuration cannot work",
        9 => c"would wait for its own thread",
        10 => c"the process was forked",
        11 => c"the node is stopped",
        12 => c"the node is suspended",
        13 => c"events have a consumer already",
        14 => c"no event",
        15 => c"unknown event",
        16 => c"not ready yet",
        17 => c"the configuration is used up",
        100 => c"the network failed",
        200 => c"the proposal is refused",
        201 => c"the bytes are refused",
        202 => c"unknown session",
        203 => c"the session exists already",
        204 => c"wrong state of the session",
        205 => c"a limit is reached",
        206 => c"the election has no answer",
        207 => c"not the election of these signers",
        208 => c"the signer failed",
        209 => c"the signer is locked",
        210 => c"wrong secret",
        211 => c"the signer is not local",
        212 => c"the nonces are gone",
        300 => c"the store failed",
        301 => c"the store is in use",
        302 => c"the store is of another version",
        303 => c"the store is damaged",
        304 => c"the store is suspended",
        400 => c"the chain cannot be reached",
        900 => c"internal error",
        _ => c"unknown status",
    };
    text.as_ptr()
}
