//! The enumerations of C, each with the one list of its values.

use std::ffi::CStr;

use crate::net::DhtMode;
use crate::protocol::election::ElectionMethod;
use crate::protocol::proposal::{KeyOrder, SighashType};
use crate::protocol::status::Phase;

/// An enumeration of C.
pub(super) trait Enumeration: Copy + 'static {
    /// All values.
    const ALL: &'static [Self];
    /// Its number in C.
    fn number(self) -> i32;
    /// Its name in C, without the prefix of its enumeration.
    fn name(self) -> &'static CStr;

    /// The value of a number.
    fn of_number(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.number() == number)
    }
}

pub(super) const fn nul_terminated(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a NUL was put behind it"),
    }
}

/// Lists the values of an enumeration; one that is left out does not compile. With `is`, each value is paired with that
/// of the type it stands for, in both directions.
macro_rules! enumeration {
    ($enumeration:ident { $($value:ident),* $(,)? }) => {
        impl Enumeration for $enumeration {
            const ALL: &'static [Self] = &[$(Self::$value),*];

            fn number(self) -> i32 {
                self as i32
            }

            fn name(self) -> &'static CStr {
                match self {
                    $(Self::$value => const { nul_terminated(concat!(stringify!($value), "\0")) },)*
                }
            }
        }
    };
    ($enumeration:ident is $other:ty { $($value:ident: $twin:path),* $(,)? }) => {
        enumeration!($enumeration { $($value),* });

        impl From<$enumeration> for $other {
            fn from(value: $enumeration) -> Self {
                match value {
                    $($enumeration::$value => $twin,)*
                }
            }
        }

        impl From<$other> for $enumeration {
            fn from(value: $other) -> Self {
                match value {
                    $($twin => Self::$value,)*
                }
            }
        }
    };
}

/// Numbers of a configuration.
/// cbindgen:rename-all=prefix:MUSIG_OPTION_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_option {
    /// Confirmations after which a watch ends, at least 1. Default 6.
    FINAL_DEPTH = 1,
    /// Milliseconds of silence after which a signer counts as down, which opens turns sooner; 0 for never, the default.
    DEAD_AFTER = 2,
    /// 1 to tell the others that this node broadcast, which is the default, or 0.
    CLAIMS = 3,
    /// 1 to tell the others that this node cannot reach the chain, which is the default, or 0.
    NACKS = 4,
    /// Milliseconds without progress after which a session is reported as stalled. Default 10000.
    STALL_AFTER = 5,
    /// Sessions that may be open at once. Default 4096.
    MAX_SESSIONS = 6,
    /// 1 to share one worker thread among the nodes, for phones; 0 for two, the default.
    SMALL_RUNTIME = 7,
    /// A musig_dht_mode. Default MUSIG_DHT_CLIENT.
    DHT = 8,
    /// 1 to announce the node on the local network, where everybody can read it, and to look for signers there; 0, the
    /// default, not to.
    MDNS = 9,
    /// 1 for settings of the network that suit phones: it does not listen unless an address is added, and wakes the
    /// radio less often; 0, the default, not to.
    MOBILE = 10,
}

enumeration!(musig_option {
    FINAL_DEPTH,
    DEAD_AFTER,
    CLAIMS,
    NACKS,
    STALL_AFTER,
    MAX_SESSIONS,
    SMALL_RUNTIME,
    DHT,
    MDNS,
    MOBILE
});

/// What a node does in the distributed hash table, in which signers find each other by their keys.
/// cbindgen:rename-all=prefix:MUSIG_DHT_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_dht_mode {
    /// Nothing.
    OFF = 0,
    /// Asks for others, and publishes where it is. The default.
    CLIENT = 1,
    /// Also keeps for others where they are: for nodes that run all the time and can be reached.
    SERVER = 2,
}

enumeration!(musig_dht_mode is DhtMode { OFF: DhtMode::Off, CLIENT: DhtMode::Client, SERVER: DhtMode::Server });

/// What happened, with the fields that each kind has beside its session. Durable ones come again after a restart until
/// they are acknowledged. Later versions may add kinds: acknowledge those that you do not know.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_event_kind {
    /// Durable. Somebody proposed a session: answer with musig_session_join or musig_session_decline. SIGNER is the
    /// proposer; EXPIRES_AT; musig_event_terms.
    SESSION_PROPOSED = 1,
    /// This node's own proposal is stored and on its way.
    SESSION_CREATED = 2,
    /// A signer accepted: SIGNER, JOINED of SIGNERS.
    SESSION_JOINED = 3,
    /// All signers accepted.
    SESSION_READY = 4,
    /// All nonces of ATTEMPT are here.
    NONCES_COMPLETE = 5,
    /// Durable. The signatures are finished: SIGNATURES, RANK, PRIORITY_LIST; TXID and TRANSACTION if it is of one.
    SESSION_COMPLETE = 6,
    /// Durable. It is this node's turn to broadcast: SIGNER (its own), TURN, SIGNATURES; NEXT_TURN_AT unless it is the
    /// last turn; TXID and TRANSACTION if it is of one. With a broadcaster the node submits by itself.
    SHOULD_BROADCAST = 7,
    /// A turn opened, for the signers before did not broadcast in time: TURN, FAILED, NEXT.
    COORDINATOR_FAILED = 8,
    /// Durable. Every signer had its turn; this node goes on submitting: TURNS, SUBMISSIONS, CLAIMS; REASON if the
    /// transaction was refused; TXID and TRANSACTION if it is of one.
    FAILOVER_EXHAUSTED = 9,
    /// Durable without an observer. SIGNER claims to have broadcast TXID: look, and notify.
    BROADCAST_CLAIMED = 10,
    /// The observer sees TXID.
    BROADCAST_SEEN = 11,
    /// Durable. The transaction is in a block, at HEIGHT with CONFIRMATIONS, or without these two the application said
    /// so: TXID if it is known.
    BROADCAST_CONFIRMED = 12,
    /// Durable. Another transaction that spends the same is in a block: TXID is that one.
    BROADCAST_CONFLICT = 13,
    /// Durable. TXID was seen and is gone: a new watch begins.
    BROADCAST_LOST = 14,
    /// Durable. The network's node refuses the transaction: REASON.
    BROADCAST_REJECTED = 15,
    /// Nothing happened for SINCE milliseconds: MISSING.
    SESSION_STALLED = 16,
    /// Durable. Signers provably broke a rule: CULPRITS, MAY_STILL_COMPLETE, musig_event_proof.
    SESSION_FAILED = 17,
    /// Durable. SIGNER declined or aborted: DECLINED, REASON, MAY_STILL_COMPLETE.
    SESSION_ABORTED = 18,
    /// Durable. The proposal expired: MAY_STILL_COMPLETE.
    SESSION_EXPIRED = 19,
    /// The session was closed here.
    SESSION_CLOSED = 20,
    /// Durable. There is an envelope of this node's key that this node did not make: an old backup, or a second
    /// instance.
    KEY_IN_USE_ELSEWHERE = 21,
    /// The signer could not do what a session needs; it is asked again: REASON.
    SIGNER_FAILED = 22,
    /// A peer connected: PEER; SIGNER_KEY once it proved it.
    PEER_CONNECTED = 23,
    /// A peer is gone: PEER; SIGNER_KEY if it had proved it.
    PEER_DISCONNECTED = 24,
    /// SIGNER of this session is gone.
    PARTICIPANT_DISCONNECTED = 25,
    /// The store does not take commits: nothing is signed or sent until it does. It is tried again: REASON.
    STORE_FAILED = 26,
    /// A part of the network does not work; the node goes on without it: REASON.
    NETWORK_DEGRADED = 27,
}

enumeration!(musig_event_kind {
    SESSION_PROPOSED,
    SESSION_CREATED,
    SESSION_JOINED,
    SESSION_READY,
    NONCES_COMPLETE,
    SESSION_COMPLETE,
    SHOULD_BROADCAST,
    COORDINATOR_FAILED,
    FAILOVER_EXHAUSTED,
    BROADCAST_CLAIMED,
    BROADCAST_SEEN,
    BROADCAST_CONFIRMED,
    BROADCAST_CONFLICT,
    BROADCAST_LOST,
    BROADCAST_REJECTED,
    SESSION_STALLED,
    SESSION_FAILED,
    SESSION_ABORTED,
    SESSION_EXPIRED,
    SESSION_CLOSED,
    KEY_IN_USE_ELSEWHERE,
    SIGNER_FAILED,
    PEER_CONNECTED,
    PEER_DISCONNECTED,
    PARTICIPANT_DISCONNECTED,
    STORE_FAILED,
    NETWORK_DEGRADED
});

/// Numbers of an event.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_NUMBER_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_event_number_field {
    /// A signer index.
    SIGNER = 1,
    /// How many signers accepted so far.
    JOINED = 2,
    /// How many signers there are.
    SIGNERS = 3,
    /// An attempt, from 0 on.
    ATTEMPT = 4,
    /// This node's position in the priority list.
    RANK = 5,
    /// A turn, from 0 on.
    TURN = 6,
    /// How many turns there were.
    TURNS = 7,
    /// When the next turn opens, in milliseconds since 1970-01-01 00:00 UTC.
    NEXT_TURN_AT = 8,
    /// When the proposal expires, in milliseconds since 1970-01-01 00:00 UTC.
    EXPIRES_AT = 9,
    /// How often this node submitted.
    SUBMISSIONS = 10,
    /// The height of a block.
    HEIGHT = 11,
    /// Confirmations; the block itself counts as one.
    CONFIRMATIONS = 12,
    /// Milliseconds.
    SINCE = 13,
    /// 1 if the signer refused before it took part.
    DECLINED = 14,
    /// 1 if this node's partial signature is out, so that others may finish.
    MAY_STILL_COMPLETE = 15,
}

enumeration!(musig_event_number_field {
    SIGNER,
    JOINED,
    SIGNERS,
    ATTEMPT,
    RANK,
    TURN,
    TURNS,
    NEXT_TURN_AT,
    EXPIRES_AT,
    SUBMISSIONS,
    HEIGHT,
    CONFIRMATIONS,
    SINCE,
    DECLINED,
    MAY_STILL_COMPLETE
});

/// Lists of signer indices of an event.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_LIST_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_event_list_field {
    /// All signers, the elected coordinator first.
    PRIORITY_LIST = 1,
    /// The signers of earlier turns that were not reported yet.
    FAILED = 2,
    /// The signers of this turn.
    NEXT = 3,
    /// The signers that everybody waits for.
    MISSING = 4,
    /// Signers that provably broke a rule.
    CULPRITS = 5,
    /// Signers that claimed to have broadcast.
    CLAIMS = 6,
}

enumeration!(musig_event_list_field { PRIORITY_LIST, FAILED, NEXT, MISSING, CULPRITS, CLAIMS });

/// Bytes and texts of an event.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_BYTES_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_event_bytes_field {
    /// A transaction's id: 32 bytes in the order in which they are hashed; they are shown reversed.
    TXID = 1,
    /// The finished transaction in consensus encoding.
    TRANSACTION = 2,
    /// BIP-340 signatures, 64 bytes for each message.
    SIGNATURES = 3,
    /// Somebody's words, a text.
    REASON = 4,
    /// A libp2p peer id, a text.
    PEER = 5,
    /// A compressed public key, 33 bytes.
    SIGNER_KEY = 6,
}

enumeration!(musig_event_bytes_field { TXID, TRANSACTION, SIGNATURES, REASON, PEER, SIGNER_KEY });

/// What a broadcaster's callback returns.
/// cbindgen:rename-all=prefix:MUSIG_SUBMIT_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_submit {
    /// The network's node took the transaction, or knew it (or the same with another witness) already.
    ACCEPTED = 0,
    /// It refuses the transaction itself: fee, policy, inputs. Nobody is excused by that.
    REJECTED = 1,
    /// It cannot be reached: the next signers take over. So does every other number.
    UNREACHABLE = 2,
}

enumeration!(musig_submit { ACCEPTED, REJECTED, UNREACHABLE });

/// What the chain says about a transaction.
/// cbindgen:rename-all=prefix:MUSIG_CHAIN_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_chain_state {
    /// Neither it nor a conflicting spend is known.
    UNKNOWN = 0,
    /// It is in the mempool.
    SEEN = 1,
    /// It is in a block: set height and confirmations.
    CONFIRMED = 2,
    /// Another transaction that spends the same is in a block: set conflict_txid and confirmations.
    CONFLICT = 3,
}

enumeration!(musig_chain_state { UNKNOWN, SEEN, CONFIRMED, CONFLICT });

/// How important a line of the log is.
/// cbindgen:rename-all=prefix:MUSIG_LOG_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_log_level {
    /// Something does not work.
    ERROR = 1,
    /// Something may not work.
    WARN = 2,
    /// What happens.
    INFO = 3,
    /// How it happens.
    DEBUG = 4,
    /// Everything.
    TRACE = 5,
}

enumeration!(musig_log_level is tracing::Level { ERROR: tracing::Level::ERROR, WARN: tracing::Level::WARN, INFO: tracing::Level::INFO, DEBUG: tracing::Level::DEBUG, TRACE: tracing::Level::TRACE });

/// The order of key aggregation. Signer indices are positions in the proposal in both.
/// cbindgen:rename-all=prefix:MUSIG_KEY_ORDER_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_key_order {
    /// Sorted, as BIP-390's musig() descriptor asks for. The default.
    SORTED = 0,
    /// As the proposal lists them.
    AS_GIVEN = 1,
}

enumeration!(musig_key_order is KeyOrder { SORTED: KeyOrder::Sorted, AS_GIVEN: KeyOrder::AsGiven });

/// BIP-341 hash types that leave the transaction fixed.
/// cbindgen:rename-all=prefix:MUSIG_SIGHASH_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_sighash {
    /// SIGHASH_DEFAULT. The default.
    DEFAULT = 0,
    /// SIGHASH_ALL.
    ALL = 1,
}

enumeration!(musig_sighash is SighashType { DEFAULT: SighashType::Default, ALL: SighashType::All });

/// How signers are grouped into turns.
/// cbindgen:rename-all=prefix:MUSIG_TIERS_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_tiers {
    /// One signer in each turn. The default.
    SINGLE = 0,
    /// A fixed number of signers in each turn.
    FIXED = 1,
    /// 1, 2, 4, 8, … signers.
    DOUBLING = 2,
}

enumeration!(musig_tiers { SINGLE, FIXED, DOUBLING });

/// How the coordinator is elected.
/// cbindgen:rename-all=prefix:MUSIG_ELECTION_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_election_method {
    /// Signers by their compressed keys, ascending. The default.
    LEXICOGRAPHIC = 0,
    /// Index order, wrapping, from a start that the hash of all keys gives.
    HASH_BASED = 1,
    /// 0, 1, …, n-1.
    FIRST_SIGNER = 2,
    /// n-1, …, 1, 0.
    LAST_SIGNER = 3,
    /// By the hash of session id and key: rotates with every session.
    SESSION_SALTED = 4,
}

enumeration!(musig_election_method is ElectionMethod { LEXICOGRAPHIC: ElectionMethod::Lexicographic, HASH_BASED: ElectionMethod::HashBased, FIRST_SIGNER: ElectionMethod::FirstSigner, LAST_SIGNER: ElectionMethod::LastSigner, SESSION_SALTED: ElectionMethod::SessionSalted });

/// Bytes of a session's terms.
/// cbindgen:rename-all=prefix:MUSIG_TERMS_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_terms_field {
    /// The encoded terms, whose hash is the session id.
    ENCODED = 1,
    /// The compressed public keys of the signers, 33 bytes each.
    SIGNERS = 2,
    /// What is signed, 32 bytes for each message.
    DIGESTS = 3,
    /// The proposer's own words.
    METADATA = 4,
    /// The unsigned transaction.
    TRANSACTION = 5,
}

enumeration!(musig_terms_field { ENCODED, SIGNERS, DIGESTS, METADATA, TRANSACTION });

/// How far a session is.
/// cbindgen:rename-all=prefix:MUSIG_PHASE_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_phase {
    /// Proposed by another signer; waits for join or decline.
    PROPOSED = 1,
    /// Joined; waits for the others' consent or nonces.
    JOINED = 2,
    /// All nonces of the attempt are here; waits for partial signatures.
    SIGNING = 3,
    /// The signatures are finished, and the transaction's way to the chain is watched.
    WATCHING = 4,
    /// The watch ended.
    FINAL = 5,
    /// A signer provably broke a rule.
    FAILED = 6,
    /// A signer aborted.
    ABORTED = 7,
    /// A signer declined.
    DECLINED = 8,
    /// The proposal expired.
    EXPIRED = 9,
    /// Closed by the application.
    CLOSED = 10,
}

enumeration!(musig_phase is Phase { PROPOSED: Phase::Proposed, JOINED: Phase::Joined, SIGNING: Phase::Signing, WATCHING: Phase::Watching, FINAL: Phase::Final, FAILED: Phase::Failed, ABORTED: Phase::Aborted, DECLINED: Phase::Declined, EXPIRED: Phase::Expired, CLOSED: Phase::Closed });

/// What is known of a session's transaction.
/// cbindgen:rename-all=prefix:MUSIG_EVIDENCE_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_evidence {
    /// Nothing, or only what others claim.
    NONE = 0,
    /// The own submission was accepted.
    SUBMITTED = 1,
    /// The observer sees it.
    SEEN = 2,
    /// It is in a block.
    CONFIRMED = 3,
    /// A conflicting spend is in a block.
    CONFLICT = 4,
    /// The application, which is the observer, said that it is broadcast.
    NOTIFIED = 5,
}

enumeration!(musig_evidence { NONE, SUBMITTED, SEEN, CONFIRMED, CONFLICT, NOTIFIED });
