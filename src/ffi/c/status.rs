//! Statuses.

use std::ffi::{CStr, c_char};

use super::enums::{Enumeration, nul_terminated};

/// What a fallible function returns: a musig_status_code. Zero is success; numbers never change their meaning, and
/// later versions may return new ones.
pub type musig_status = i32;

/// The values of musig_status. 1 to 99: the call; 100 to 199: the network; 200 to 299: the protocol; 300 to 399: the
/// store; 400 to 499: the chain; 900 and above: libmusig itself.
/// cbindgen:rename-all=prefix:MUSIG_STATUS_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

enumeration!(musig_status_code {
    OK,
    NULL_ARGUMENT,
    INVALID_ARGUMENT,
    INVALID_KEY,
    BUFFER_TOO_SMALL,
    NO_SUCH_FIELD,
    INDEX_OUT_OF_RANGE,
    STRUCT_SIZE,
    CONFIG,
    WOULD_DEADLOCK,
    FORKED,
    NODE_STOPPED,
    SUSPENDED,
    CONSUMER_EXISTS,
    NO_EVENT,
    UNKNOWN_EVENT,
    NOT_READY,
    CONFIG_USED,
    NETWORK,
    PROPOSAL,
    WIRE,
    UNKNOWN_SESSION,
    SESSION_EXISTS,
    WRONG_STATE,
    LIMIT,
    ELECTION,
    ELECTION_MISMATCH,
    SIGNER,
    SIGNER_LOCKED,
    WRONG_SECRET,
    NOT_LOCAL,
    NONCE_GONE,
    STORE,
    STORE_IN_USE,
    STORE_SCHEMA,
    STORE_CORRUPT,
    STORE_SUSPENDED,
    CHAIN,
    INTERNAL
});

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
    use musig_status_code::*;
    let Some(code) = musig_status_code::of_number(status) else { return c"unknown status".as_ptr() };
    let text = match code {
        OK => c"ok",
        NULL_ARGUMENT => c"an argument is NULL",
        INVALID_ARGUMENT => c"invalid argument",
        INVALID_KEY => c"not a public key",
        BUFFER_TOO_SMALL => c"buffer too small",
        NO_SUCH_FIELD => c"no such field",
        INDEX_OUT_OF_RANGE => c"index out of range",
        STRUCT_SIZE => c"struct_size is not set",
        CONFIG => c"the configuration cannot work",
        WOULD_DEADLOCK => c"would wait for its own thread",
        FORKED => c"the process was forked",
        NODE_STOPPED => c"the node is stopped",
        SUSPENDED => c"the node is suspended",
        CONSUMER_EXISTS => c"events have a consumer already",
        NO_EVENT => c"no event",
        UNKNOWN_EVENT => c"unknown event",
        NOT_READY => c"not ready yet",
        CONFIG_USED => c"the configuration is used up",
        NETWORK => c"the network failed",
        PROPOSAL => c"the proposal is refused",
        WIRE => c"the bytes are refused",
        UNKNOWN_SESSION => c"unknown session",
        SESSION_EXISTS => c"the session exists already",
        WRONG_STATE => c"wrong state of the session",
        LIMIT => c"a limit is reached",
        ELECTION => c"the election has no answer",
        ELECTION_MISMATCH => c"not the election of these signers",
        SIGNER => c"the signer failed",
        SIGNER_LOCKED => c"the signer is locked",
        WRONG_SECRET => c"wrong secret",
        NOT_LOCAL => c"the signer is not local",
        NONCE_GONE => c"the nonces are gone",
        STORE => c"the store failed",
        STORE_IN_USE => c"the store is in use",
        STORE_SCHEMA => c"the store is of another version",
        STORE_CORRUPT => c"the store is damaged",
        STORE_SUSPENDED => c"the store is suspended",
        CHAIN => c"the chain cannot be reached",
        INTERNAL => c"internal error",
    };
    text.as_ptr()
}
