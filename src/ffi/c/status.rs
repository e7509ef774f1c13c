//! Statuses.

use std::ffi::{CStr, c_char};

use super::enums::{Enumeration, nul_terminated};

/// The result of a fallible function: a musig_status_code. Zero is success; numbers never change their meaning, and
/// later versions may return new ones.
pub type musig_status = i32;

/// The values of musig_status. 1 to 99: the caller; 100 to 199: the network; 200 to 299: the protocol; 300 to 399: the
/// store; 400 to 499: the Bitcoin backend; 900 and above: internal.
/// cbindgen:rename-all=prefix:MUSIG_STATUS_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_status_code {
    /// Success.
    OK = 0,
    /// A required pointer is NULL.
    NULL_ARGUMENT = 1,
    /// An argument is out of range, malformed, or not valid UTF-8.
    INVALID_ARGUMENT = 2,
    /// The bytes are not a valid compressed public key.
    INVALID_KEY = 3,
    /// The caller's buffer is too small. Nothing was written.
    BUFFER_TOO_SMALL = 4,
    /// The event, the terms or the proposal does not have this field.
    NO_SUCH_FIELD = 5,
    /// An index is not less than the number of elements.
    INDEX_OUT_OF_RANGE = 6,
    /// The struct_size member of a structure is unset, or smaller than this version of the library requires.
    STRUCT_SIZE = 7,
    /// The configuration is incomplete or contradicts itself.
    CONFIG = 8,
    /// A blocking call inside one of the node's own callbacks would wait for itself. To stop the node there, call
    /// musig_node_request_stop.
    WOULD_DEADLOCK = 9,
    /// The process is a fork; a node works only in the process that started it.
    FORKED = 10,
    /// The node is stopped.
    NODE_STOPPED = 11,
    /// The node is suspended.
    SUSPENDED = 12,
    /// The node's events already have a consumer: a handler, or a thread in musig_node_next_event.
    CONSUMER_EXISTS = 13,
    /// No event arrived before the timeout.
    NO_EVENT = 14,
    /// No durable event with this id is waiting for acknowledgement.
    UNKNOWN_EVENT = 15,
    /// The result is not available: the signatures are incomplete, the peer is not connected, or no signer follows.
    NOT_READY = 16,
    /// The configuration was already used to start a node.
    CONFIG_USED = 17,
    /// The network layer failed, or the node is offline.
    NETWORK = 100,
    /// The proposal is invalid.
    PROPOSAL = 200,
    /// The bytes are malformed, exceed a limit, or fail verification.
    WIRE = 201,
    /// The session is unknown to this node.
    UNKNOWN_SESSION = 202,
    /// A session with this id already exists.
    SESSION_EXISTS = 203,
    /// The session's phase does not allow the operation.
    WRONG_STATE = 204,
    /// A limit is exceeded.
    LIMIT = 205,
    /// Invalid election query: no signers, or index out of range.
    ELECTION = 206,
    /// The election does not match these signers.
    ELECTION_MISMATCH = 207,
    /// The signer failed to sign.
    SIGNER = 208,
    /// The signer is locked.
    SIGNER_LOCKED = 209,
    /// The bytes are not a valid secret key, or not the key of this signer.
    WRONG_SECRET = 210,
    /// The signer consists of callbacks; its key cannot be locked or unlocked by this library.
    NOT_LOCAL = 211,
    /// The signer has lost the secret nonces of this attempt; the session continues with a new attempt.
    NONCE_GONE = 212,
    /// An input that the session does not sign has a witness that cannot be verified here.
    UNVERIFIED_INPUT = 213,
    /// A coin that the transaction spends is spent already, or is not known to the Bitcoin backend.
    MISSING_COIN = 214,
    /// The chain observer could not say whether the transaction's coins exist.
    COINS_NOT_KNOWN = 215,
    /// A raw message would be signed with keys that own coins, so it may be the signature hash of a transaction that
    /// spends them.
    BLIND_MESSAGE = 216,
    /// The session cannot be closed while its transaction, or its signatures, may still come about.
    NOT_SETTLED = 217,
    /// The store could not be read or written.
    STORE = 300,
    /// The store is open in another node.
    STORE_IN_USE = 301,
    /// The store was written with another schema version.
    STORE_SCHEMA = 302,
    /// The file is damaged, or not a libmusig store.
    STORE_CORRUPT = 303,
    /// The store is suspended.
    STORE_SUSPENDED = 304,
    /// A commit has not ended for long: the disk hangs.
    STORE_HANGS = 305,
    /// The operation took effect and others are told, but it is not on the disk yet: a crash may undo it.
    STORE_UNSTORED = 306,
    /// The store belongs to another signer.
    STORE_OTHER_KEY = 307,
    /// The Bitcoin backend cannot be reached. Returned by callbacks only, never by a function of the library.
    CHAIN = 400,
    /// An internal error of libmusig. If a node's function returns it, the node has failed: stop it and start a new
    /// one.
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
    UNVERIFIED_INPUT,
    MISSING_COIN,
    COINS_NOT_KNOWN,
    BLIND_MESSAGE,
    NOT_SETTLED,
    STORE,
    STORE_IN_USE,
    STORE_SCHEMA,
    STORE_CORRUPT,
    STORE_SUSPENDED,
    STORE_HANGS,
    STORE_UNSTORED,
    STORE_OTHER_KEY,
    CHAIN,
    INTERNAL
});

/// Names a status in a few English words.
///
/// The musig_error of a call describes what went wrong in it.
///
/// Returns: a static, NUL-terminated text; "unknown status" for a number that this version does not define.
/// In:      status: any number.
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
        STRUCT_SIZE => c"invalid struct_size",
        CONFIG => c"invalid configuration",
        WOULD_DEADLOCK => c"would deadlock",
        FORKED => c"the process was forked",
        NODE_STOPPED => c"the node is stopped",
        SUSPENDED => c"the node is suspended",
        CONSUMER_EXISTS => c"events already have a consumer",
        NO_EVENT => c"no event",
        UNKNOWN_EVENT => c"unknown event",
        NOT_READY => c"not available yet",
        CONFIG_USED => c"configuration already used",
        NETWORK => c"network failure",
        PROPOSAL => c"invalid proposal",
        WIRE => c"malformed or unverifiable bytes",
        UNKNOWN_SESSION => c"unknown session",
        SESSION_EXISTS => c"session already exists",
        WRONG_STATE => c"not allowed in this phase",
        NOT_SETTLED => c"session not settled",
        LIMIT => c"limit exceeded",
        ELECTION => c"invalid election query",
        ELECTION_MISMATCH => c"election mismatch",
        SIGNER => c"signer failure",
        SIGNER_LOCKED => c"the signer is locked",
        WRONG_SECRET => c"wrong secret",
        NOT_LOCAL => c"the signer is not local",
        NONCE_GONE => c"nonces lost",
        UNVERIFIED_INPUT => c"unverified input",
        MISSING_COIN => c"missing coin",
        COINS_NOT_KNOWN => c"coins not known",
        BLIND_MESSAGE => c"blind message",
        STORE => c"store failure",
        STORE_IN_USE => c"the store is in use",
        STORE_SCHEMA => c"store schema mismatch",
        STORE_CORRUPT => c"store corrupt",
        STORE_SUSPENDED => c"the store is suspended",
        STORE_HANGS => c"the store hangs",
        STORE_UNSTORED => c"not stored yet",
        STORE_OTHER_KEY => c"the store of another signer",
        CHAIN => c"Bitcoin backend unreachable",
        INTERNAL => c"internal error",
    };
    text.as_ptr()
}
