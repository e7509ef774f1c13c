//! The enumerations of C, each with the one list of its values.

use std::ffi::CStr;

use crate::event::{BroadcastBy, FailureCause, Submission};
use crate::net::DhtMode;
use crate::node::{FailoverPreset, MetricKind, MetricsFormat};
use crate::protocol::consent::JoinOptions;
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

/// Numeric options of a configuration.
/// cbindgen:rename-all=prefix:MUSIG_OPTION_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_option {
    /// Confirmations at which a watch ends, at least 1. Default: 6.
    FINAL_DEPTH = 1,
    /// 1 to open the next turn early if a coordinator is gone: its last connection was lost for a second, and nothing of it came
    /// through others; or 0. Default: 1.
    EARLY_GONE = 2,
    /// 1 to report this node's broadcasts to the other signers, or 0. Default: 1.
    CLAIMS = 3,
    /// 1 to report to the other signers that this node cannot broadcast, or 0. Default: 1.
    NACKS = 4,
    /// Milliseconds without progress after which a session counts as stalled. Default: 10000.
    STALL_AFTER = 5,
    /// Maximum number of open sessions. Default: 4096.
    MAX_SESSIONS = 6,
    /// 1 for one worker thread shared by all nodes, for phones; 0 for two. Default: 0.
    SMALL_RUNTIME = 7,
    /// A musig_dht_mode. Default: MUSIG_DHT_CLIENT.
    DHT = 8,
    /// 1 to announce the node and discover signers on the local network by mDNS, in the clear, or 0. Default: 0.
    MDNS = 9,
    /// 1 for network settings that suit phones (no listening unless an address is added, fewer radio wake-ups), or 0.
    /// Default: 0.
    MOBILE = 10,
    /// 1 to show whose node this is, once it is dialled, only to who looks for its key, to configured peers and servers, and to
    /// signers of its sessions; 0 to show it to whoever connects. Default: 1.
    HIDES = 11,
    /// Maximum number of connections that others open to the node, at least 1. One half of them is for configured peers,
    /// servers and the signers of open sessions. Default: 256, and 32 with MUSIG_OPTION_MOBILE.
    MAX_CONNECTIONS = 12,
    /// Maximum number of connections that others open from one IP address (of IPv6: one /64) or through one relay, at least
    /// 1. It binds none of those for whom one half is kept, and none of this machine. Default: 32.
    MAX_CONNECTIONS_PER_IP = 13,
    /// 1 to open the next turn early if a coordinator is connected and has not said within 5 seconds that it holds the
    /// signatures; or 0. Default: 1.
    EARLY_HOLD = 14,
    /// 1 to open the next turn early if the transaction was not seen within the node's pace: at least 10 seconds, and 3 times
    /// as long and 2 seconds as 99 of 100 of its earlier transactions took, once it knows of 20; or 0. Default: 1.
    EARLY_PACE = 15,
    /// Milliseconds of difference between a signer's clock and this node's beyond which MUSIG_EVENT_CLOCK_SKEW is reported.
    /// Default: 60000.
    CLOCK_SKEW = 16,
}

enumeration!(musig_option {
    FINAL_DEPTH,
    EARLY_GONE,
    CLAIMS,
    NACKS,
    STALL_AFTER,
    MAX_SESSIONS,
    SMALL_RUNTIME,
    DHT,
    MDNS,
    MOBILE,
    HIDES,
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_IP,
    EARLY_HOLD,
    EARLY_PACE,
    CLOCK_SKEW
});

/// The role of a node in the distributed hash table in which signers find each other by their keys.
/// cbindgen:rename-all=prefix:MUSIG_DHT_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_dht_mode {
    /// None.
    OFF = 0,
    /// Looks up signers and publishes its own addresses. The default.
    CLIENT = 1,
    /// Also stores records of other signers: for nodes that are always on and reachable.
    SERVER = 2,
}

enumeration!(musig_dht_mode is DhtMode {
    OFF: DhtMode::Off,
    CLIENT: DhtMode::Client,
    SERVER: DhtMode::Server,
});

/// The kind of an event, with its fields. A durable event is redelivered after a restart until it is acknowledged.
/// Later versions may add kinds: acknowledge those that you do not know. docs/c-api.md has a table of kinds and fields.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_event_kind {
    /// Durable. Another signer proposed a session: answer with musig_session_join or musig_session_decline. SIGNER is
    /// the proposer; EXPIRES_AT; musig_event_terms.
    SESSION_PROPOSED = 1,
    /// This node's own proposal is signed. It is sent once it is stored.
    SESSION_CREATED = 2,
    /// A signer joined: SIGNER, JOINED of SIGNERS.
    SESSION_JOINED = 3,
    /// All signers joined.
    SESSION_READY = 4,
    /// All nonces of an attempt arrived: ATTEMPT.
    NONCES_COMPLETE = 5,
    /// Durable. The signatures are complete: SIGNATURES, RANK, PRIORITY_LIST, STORED, ABORTED_HERE; TXID and TRANSACTION if a
    /// transaction was signed.
    SESSION_COMPLETE = 6,
    /// Durable. It is this node's turn to broadcast: SIGNER (its own), TURN, SIGNATURES, STORED; NEXT_TURN_AT unless it is
    /// the last turn; TXID and TRANSACTION if a transaction was signed. With a broadcaster the node submits by itself.
    SHOULD_BROADCAST = 7,
    /// A turn opened because the coordinators before it did not broadcast in time: TURN, FAILED, CAUSES, NEXT.
    COORDINATOR_FAILED = 8,
    /// Durable. All turns have passed; this node keeps submitting: TURNS; SUBMISSIONS, of which ACCEPTED, REJECTED and
    /// UNREACHABLE; NACKS_UNREACHABLE, NACKS_REJECTED, CLAIMS; REASON if the transaction was rejected; TXID and TRANSACTION if
    /// a transaction was signed.
    FAILOVER_EXHAUSTED = 9,
    /// Durable if there is no observer. A signer claims to have broadcast the transaction: SIGNER, TXID. Without an
    /// observer verify that, then call musig_session_notify_broadcast_complete.
    BROADCAST_CLAIMED = 10,
    /// The observer sees the transaction: TXID; COORDINATORS, whose turn it was; BY, who broadcast it, with SIGNER if another
    /// signer claims that.
    BROADCAST_SEEN = 11,
    /// Durable. The transaction is in a block, or the application reported it: HEIGHT and CONFIRMATIONS, both absent in
    /// the latter case; TXID if it is known; COORDINATORS, whose turn it was; BY, who broadcast it, with SIGNER if another signer
    /// claims that.
    BROADCAST_CONFIRMED = 12,
    /// Durable. A conflicting transaction is in a block: TXID is its id.
    BROADCAST_CONFLICT = 13,
    /// Durable. The transaction was seen and has disappeared (evicted or reorganised): TXID. A new watch starts.
    BROADCAST_LOST = 14,
    /// Durable. The Bitcoin backend rejects the transaction: REASON.
    BROADCAST_REJECTED = 15,
    /// The session made no progress for a while: SINCE, in milliseconds; MISSING lists the signers being waited for, and
    /// musig_event_signer_status has the state of each.
    SESSION_STALLED = 16,
    /// Durable. A signer provably violated the protocol: CULPRITS, MAY_STILL_COMPLETE, musig_event_proof.
    SESSION_FAILED = 17,
    /// Durable. A signer declined or aborted: SIGNER, DECLINED, REASON, MAY_STILL_COMPLETE.
    SESSION_ABORTED = 18,
    /// Durable. The proposal expired: MAY_STILL_COMPLETE.
    SESSION_EXPIRED = 19,
    /// This node closed the session.
    SESSION_CLOSED = 20,
    /// Durable. Another instance signs with this node's key: a restored backup, or a second node.
    KEY_IN_USE_ELSEWHERE = 21,
    /// The signer failed and will be retried: REASON.
    SIGNER_FAILED = 22,
    /// A peer connected: PEER; SIGNER_KEY if it has proved one.
    PEER_CONNECTED = 23,
    /// A peer disconnected: PEER; SIGNER_KEY if it had proved one.
    PEER_DISCONNECTED = 24,
    /// A signer of this session disconnected: SIGNER.
    PARTICIPANT_DISCONNECTED = 25,
    /// The store cannot commit; nothing is signed until it can: REASON. The node retries.
    /// With a session: its records cannot be read, and it is set aside.
    STORE_FAILED = 26,
    /// Part of the network layer failed; the node continues without it: REASON.
    NETWORK_DEGRADED = 27,
    /// A configured peer, or a signer of an open session, cannot be reached; the node keeps trying. Reported once for each,
    /// and again when the cause changes: ADDRESS or SIGNER_KEY; REASON; NEXT_TRY_AT unless the node waits until it learns an
    /// address.
    PEER_UNREACHABLE = 28,
    /// Durable. All signers that are to broadcast said that they cannot; this node keeps submitting, and the turns go on. It has
    /// the fields of MUSIG_EVENT_FAILOVER_EXHAUSTED.
    NOBODY_CAN_BROADCAST = 29,
    /// This node refuses a proposal that its proposer signed: it has expired or expires too late by this node's clock, the
    /// signer does not hold a key that it names, or there is no room for another session: SIGNER_KEY of the proposer, REASON.
    /// Nothing is kept of it, and it may be taken later. Reported once for each.
    PROPOSAL_REFUSED = 30,
    /// A device, or another wallet, is asked to sign, and was not heard of yet. Reported at once, and again while it is
    /// waited for: ROUND; SINCE, in milliseconds.
    SIGNER_WAITING = 31,
    /// A submission of this node's own was answered: OUTCOME, a musig_submit; REASON if the backend rejected it or there is no
    /// answer. With a broadcaster only.
    SUBMITTED = 32,
    /// The broadcaster failed, or answered too late: REASON, FAILURES. The others are told that this node cannot broadcast. The
    /// node retries. The same words are reported once a minute, others once a second, at most.
    BROADCASTER_FAILED = 33,
    /// The chain observer failed, or answered too late: REASON, FAILURES. The node takes that for no answer, and asks again.
    /// The same words are reported once a minute, others once a second, at most.
    OBSERVER_FAILED = 34,
    /// A signer's clock and this node's differ by more than is tolerated: SIGNER_KEY, OFFSET, OWN_SUSPECT. Nothing depends on it
    /// but how the times are to be read that the two tell; the longer it lasts the sooner proposals seem expired. Reported once an
    /// hour for each signer.
    CLOCK_SKEW = 35,
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
    NETWORK_DEGRADED,
    PEER_UNREACHABLE,
    NOBODY_CAN_BROADCAST,
    PROPOSAL_REFUSED,
    SIGNER_WAITING,
    SUBMITTED,
    BROADCASTER_FAILED,
    OBSERVER_FAILED,
    CLOCK_SKEW
});

/// Numeric fields of an event.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_NUMBER_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_event_number_field {
    /// A signer index.
    SIGNER = 1,
    /// Number of signers that have joined.
    JOINED = 2,
    /// Number of signers.
    SIGNERS = 3,
    /// The attempt, counted from 0.
    ATTEMPT = 4,
    /// This node's position in the priority list.
    RANK = 5,
    /// The turn, counted from 0.
    TURN = 6,
    /// Number of turns.
    TURNS = 7,
    /// Start of the next turn, in milliseconds since 1970-01-01 00:00 UTC.
    NEXT_TURN_AT = 8,
    /// Expiry of the proposal, in milliseconds since 1970-01-01 00:00 UTC.
    EXPIRES_AT = 9,
    /// Number of submissions by this node.
    SUBMISSIONS = 10,
    /// The height of a block.
    HEIGHT = 11,
    /// Confirmations; the block itself counts as one.
    CONFIRMATIONS = 12,
    /// Time without progress, or since a device was asked, in milliseconds.
    SINCE = 13,
    /// 1 if the signer declined before joining, 0 if it aborted after.
    DECLINED = 14,
    /// 1 if this node's partial signature was sent, or may have been before a restart, so the other signers may still
    /// complete the session.
    MAY_STILL_COMPLETE = 15,
    /// 1 if the signatures are on the disk; 0 if the disk is full or slow, and a crash may lose them here.
    STORED = 16,
    /// 1 if this node's own application aborted or abandoned the session before: then the node passes the signatures on, and
    /// takes no turn until musig_session_broadcast_now.
    ABORTED_HERE = 17,
    /// When the node tries again, in milliseconds since 1970-01-01 00:00 UTC.
    NEXT_TRY_AT = 18,
    /// Number of submissions by this node that its Bitcoin backend accepted, or had already.
    ACCEPTED = 19,
    /// Number of submissions by this node that its Bitcoin backend rejected.
    REJECTED = 20,
    /// Number of submissions by this node that did not reach its Bitcoin backend.
    UNREACHABLE = 21,
    /// What a device is asked for: 1 for public nonces, 2 for partial signatures.
    ROUND = 22,
    /// The answer to a submission, a musig_submit.
    OUTCOME = 23,
    /// Number of failures since this was last reported, at least 1.
    FAILURES = 24,
    /// Who broadcast the transaction, a musig_broadcast_by.
    BY = 25,
    /// Milliseconds by which a signer's clock is ahead of this node's: convert it to int64_t, for it is negative if that clock is
    /// behind. The median of the last nine that it said.
    OFFSET = 26,
    /// 1 if this node's own clock is the suspect: those of most other signers differ from it in the same direction.
    OWN_SUSPECT = 27,
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
    MAY_STILL_COMPLETE,
    STORED,
    ABORTED_HERE,
    NEXT_TRY_AT,
    ACCEPTED,
    REJECTED,
    UNREACHABLE,
    ROUND,
    OUTCOME,
    FAILURES,
    BY,
    OFFSET,
    OWN_SUSPECT
});

/// Fields of an event that are lists of signer indices.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_LIST_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_event_list_field {
    /// All signers in order of their turns, the elected coordinator first.
    PRIORITY_LIST = 1,
    /// Coordinators of earlier turns that were not reported before.
    FAILED = 2,
    /// Coordinators of this turn.
    NEXT = 3,
    /// Signers that the session waits for.
    MISSING = 4,
    /// Signers that provably violated the protocol.
    CULPRITS = 5,
    /// Signers that claimed to have broadcast.
    CLAIMS = 6,
    /// Signers that said that they cannot reach a Bitcoin backend.
    NACKS_UNREACHABLE = 7,
    /// Signers that said that their Bitcoin backend rejects the transaction.
    NACKS_REJECTED = 8,
    /// Why each of FAILED is waited for no longer: a musig_failure_cause each. The only list that is not of signer indices.
    CAUSES = 9,
    /// Coordinators of the last turn that opened at this node.
    COORDINATORS = 10,
}

enumeration!(musig_event_list_field {
    PRIORITY_LIST,
    FAILED,
    NEXT,
    MISSING,
    CULPRITS,
    CLAIMS,
    NACKS_UNREACHABLE,
    NACKS_REJECTED,
    CAUSES,
    COORDINATORS
});

/// Who broadcast a transaction, as far as a node knows: MUSIG_EVENT_NUMBER_BY of MUSIG_EVENT_BROADCAST_SEEN and
/// MUSIG_EVENT_BROADCAST_CONFIRMED. Words of others prove nothing.
/// cbindgen:rename-all=prefix:MUSIG_BROADCAST_BY_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_broadcast_by {
    /// Nobody says so.
    UNKNOWN = 0,
    /// This node: its submission was accepted, or the Bitcoin backend had the transaction already; or its application reported
    /// the broadcast, and no other signer claims it.
    OWN = 1,
    /// Another signer, by its own word; if there are several the one whose turn came first.
    CLAIMED = 2,
}

enumeration!(musig_broadcast_by { UNKNOWN, OWN, CLAIMED });

impl From<BroadcastBy> for musig_broadcast_by {
    fn from(by: BroadcastBy) -> Self {
        match by {
            BroadcastBy::Own => Self::OWN,
            BroadcastBy::Claimed { .. } => Self::CLAIMED,
            BroadcastBy::Unknown => Self::UNKNOWN,
        }
    }
}

/// Why a coordinator is waited for no longer: MUSIG_EVENT_LIST_CAUSES of MUSIG_EVENT_COORDINATOR_FAILED. Only the last one is
/// proved.
/// cbindgen:rename-all=prefix:MUSIG_CAUSE_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_failure_cause {
    /// Its time is over.
    TIMEOUT = 1,
    /// It said that it cannot reach a Bitcoin backend.
    NACK = 2,
    /// It said that its Bitcoin backend rejects the transaction.
    REJECTED = 3,
    /// Its last connection was lost, and nothing of it came through others since.
    GONE = 4,
    /// It is connected and did not say that it holds the signatures.
    NOT_HOLDING = 5,
    /// The transaction was not seen for longer than this node's own experience lets it expect.
    PACE = 6,
    /// An envelope of it breaks the protocol, which proves its guilt.
    GUILTY = 7,
}

enumeration!(musig_failure_cause { TIMEOUT, NACK, REJECTED, GONE, NOT_HOLDING, PACE, GUILTY });

impl From<FailureCause> for musig_failure_cause {
    fn from(cause: FailureCause) -> Self {
        match cause {
            FailureCause::Timeout => Self::TIMEOUT,
            FailureCause::Nack => Self::NACK,
            FailureCause::Rejected => Self::REJECTED,
            FailureCause::Gone => Self::GONE,
            FailureCause::NotHolding => Self::NOT_HOLDING,
            FailureCause::Pace => Self::PACE,
            FailureCause::Guilty => Self::GUILTY,
        }
    }
}

/// Fields of an event that are bytes or text.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_BYTES_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_event_bytes_field {
    /// A transaction id: 32 bytes in internal byte order (displayed reversed).
    TXID = 1,
    /// The signed transaction in consensus encoding.
    TRANSACTION = 2,
    /// BIP-340 signatures, 64 bytes per message.
    SIGNATURES = 3,
    /// The reason, as text.
    REASON = 4,
    /// A libp2p peer id, as text.
    PEER = 5,
    /// A compressed public key, 33 bytes.
    SIGNER_KEY = 6,
    /// A multiaddress, as text.
    ADDRESS = 7,
}

enumeration!(musig_event_bytes_field { TXID, TRANSACTION, SIGNATURES, REASON, PEER, SIGNER_KEY, ADDRESS });

/// The result of musig_broadcaster.submit.
/// cbindgen:rename-all=prefix:MUSIG_SUBMIT_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_submit {
    /// The Bitcoin backend accepted the transaction, or already had it (or the same one with another witness).
    ACCEPTED = 0,
    /// The Bitcoin backend rejects the transaction itself: fee, policy, inputs. The next turn opens, for another backend
    /// may take it.
    REJECTED = 1,
    /// The Bitcoin backend cannot be reached: the next turn opens. Any other value means the same.
    UNREACHABLE = 2,
    /// The transaction is not final yet: a lock time, a relative lock or a coinbase's maturity is not reached. It is
    /// submitted again, nobody takes over, and nobody is late.
    NOT_YET_FINAL = 3,
}

enumeration!(musig_submit { ACCEPTED, REJECTED, UNREACHABLE, NOT_YET_FINAL });

impl From<Submission> for musig_submit {
    fn from(outcome: Submission) -> Self {
        match outcome {
            Submission::Accepted => Self::ACCEPTED,
            Submission::Rejected => Self::REJECTED,
            Submission::Unreachable => Self::UNREACHABLE,
            Submission::NotYetFinal => Self::NOT_YET_FINAL,
        }
    }
}

/// Presets of the timeout of musig_proposal_set_failover, in milliseconds.
/// cbindgen:rename-all=prefix:MUSIG_FAILOVER_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_failover_preset {
    /// 30 seconds: tests, and signers in one local network.
    LOCAL_TEST = 30_000,
    /// 2 minutes: low values, where a duplicate submission is cheaper than a wait.
    LOW_VALUE = 120_000,
    /// 5 minutes, the default.
    STANDARD = 300_000,
    /// 10 minutes: high values, whose signers are asked by hand or behind slow backends.
    HIGH_VALUE = 600_000,
    /// 15 minutes: signers across borders, by satellite or over Tor.
    SATELLITE = 900_000,
}

enumeration!(musig_failover_preset is FailoverPreset {
    LOCAL_TEST: FailoverPreset::LocalTest,
    LOW_VALUE: FailoverPreset::LowValue,
    STANDARD: FailoverPreset::Standard,
    HIGH_VALUE: FailoverPreset::HighValue,
    SATELLITE: FailoverPreset::Satellite,
});

/// The state of a transaction on the chain.
/// cbindgen:rename-all=prefix:MUSIG_CHAIN_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_chain_state {
    /// Neither it nor a conflicting transaction is known.
    UNKNOWN = 0,
    /// It is in the mempool.
    SEEN = 1,
    /// It is in a block: set height and confirmations.
    CONFIRMED = 2,
    /// A conflicting transaction is in a block: set conflict_txid and confirmations.
    CONFLICT = 3,
}

enumeration!(musig_chain_state { UNKNOWN, SEEN, CONFIRMED, CONFLICT });

/// The state of an output on the chain.
/// cbindgen:rename-all=prefix:MUSIG_COIN_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_coin_state {
    /// The output is not known. Without an index of transactions a backend cannot tell one that was spent in a block
    /// from one that never was.
    UNKNOWN = 0,
    /// The output is in a block and spent by nothing, not even in the mempool: set confirmations.
    UNSPENT = 1,
    /// The output's transaction is in the mempool, and nothing there spends it.
    IN_MEMPOOL = 2,
    /// A transaction in a block or in the mempool spends the output.
    SPENT = 3,
}

enumeration!(musig_coin_state { UNKNOWN, UNSPENT, IN_MEMPOOL, SPENT });

/// The word of the application when it joins, or creates, one session: values to be combined. Without it the node
/// consents to a transaction with failover only if the signatures alone complete it, as far as the node can find out, and
/// to raw messages only with keys that own no coins.
/// cbindgen:rename-all=prefix:MUSIG_JOIN_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_join {
    /// Inputs that the session does not sign may have witnesses that this node cannot verify: all but P2WPKH and the key
    /// path of P2TR. If such a witness is invalid, the signatures complete nothing, and whoever can replace it decides
    /// when.
    ALLOW_UNVERIFIED_INPUTS = 1,
    /// Inputs may spend coins that the chain observer calls spent or unknown, or could not be asked about. Of a coin that
    /// is not there, whoever holds back its transaction decides when.
    ALLOW_MISSING_COINS = 2,
    /// Raw messages may be signed with keys that own coins, as far as this node can tell: with an output key (any BIP-341
    /// derivation), or with a key set that a transaction session of this node signs with too. Such a message may be the
    /// signature hash of a transaction that spends all that the signers have.
    SIGN_BLIND = 4,
}

enumeration!(musig_join { ALLOW_UNVERIFIED_INPUTS, ALLOW_MISSING_COINS, SIGN_BLIND });

impl musig_join {
    /// The options of combined values; `None` if one of them is unknown.
    pub(super) fn options(values: u32) -> Option<JoinOptions> {
        let known = Self::ALL.iter().fold(0, |all, value| all | *value as u32);
        let has = |value: Self| values & value as u32 != 0;
        (values & !known == 0).then(|| JoinOptions {
            allow_unverified_inputs: has(Self::ALLOW_UNVERIFIED_INPUTS),
            allow_missing_coins: has(Self::ALLOW_MISSING_COINS),
            sign_blind: has(Self::SIGN_BLIND),
        })
    }
}

/// The lock of a transaction, or of one input: what must be reached before it can be in a block.
/// cbindgen:rename-all=prefix:MUSIG_LOCK_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_lock {
    /// Nothing.
    NONE = 0,
    /// The height of the block before (BIP-65).
    HEIGHT = 1,
    /// The median time of the blocks before, in seconds since 1970 (BIP-113).
    TIME = 2,
    /// Blocks since the spent output's (BIP-68).
    BLOCKS = 3,
    /// Seconds since the spent output's block (BIP-68).
    ELAPSED = 4,
}

enumeration!(musig_lock { NONE, HEIGHT, TIME, BLOCKS, ELAPSED });

/// Who completes an input of a transaction.
/// cbindgen:rename-all=prefix:MUSIG_INPUT_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_input_kind {
    /// This session signs it.
    SESSION = 0,
    /// Somebody else's, with a witness that was verified.
    VERIFIED = 1,
    /// Somebody else's, with a witness that nobody here can verify.
    UNVERIFIED = 2,
    /// Somebody else's, not signed yet.
    UNSIGNED = 3,
}

enumeration!(musig_input_kind { SESSION, VERIFIED, UNVERIFIED, UNSIGNED });

/// The kind of a warning about a proposal. Later versions may add kinds: show the text of the summary.
/// cbindgen:rename-all=prefix:MUSIG_WARNING_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_warning_kind {
    /// The fee is a large part of what the outputs pay.
    HIGH_FEE = 1,
    /// The fee rate is far above what any block asked for.
    HIGH_FEE_RATE = 2,
    /// An output is worth less than it costs to spend, so nodes do not relay the transaction.
    DUST = 3,
    /// The transaction cannot be final before the proposal expires.
    LOCK_BEYOND_EXPIRY = 4,
    /// An input that the session does not sign has a witness that cannot be verified here.
    UNVERIFIED_INPUT = 5,
    /// The signed output can also be spent by scripts that are not shown.
    HIDDEN_SCRIPTS = 6,
    /// A raw message is signed blind: it may be the signature hash of any transaction of these keys.
    BLIND = 7,
    /// Another open session of this node spends the same coin.
    COIN_IN_OTHER_SESSION = 8,
    /// Another session of this node, which may still complete, pays the same output: perhaps for a second time.
    PAID_BY_OTHER_SESSION = 9,
    /// The fee rate is not above that of the transaction that this one replaces, so nodes keep the other one.
    LOWER_FEE_RATE = 10,
    /// An output pays a key that the proposal makes of its signers' keys, and is none of the own wallet: the same signers, by an
    /// arrangement that is unknown to it.
    UNKNOWN_ARRANGEMENT = 11,
}

enumeration!(musig_warning_kind {
    HIGH_FEE,
    HIGH_FEE_RATE,
    DUST,
    LOCK_BEYOND_EXPIRY,
    UNVERIFIED_INPUT,
    HIDDEN_SCRIPTS,
    BLIND,
    COIN_IN_OTHER_SESSION,
    PAID_BY_OTHER_SESSION,
    LOWER_FEE_RATE,
    UNKNOWN_ARRANGEMENT
});

/// The level of a log line.
/// cbindgen:rename-all=prefix:MUSIG_LOG_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_log_level {
    /// A failure.
    ERROR = 1,
    /// A possible failure.
    WARN = 2,
    /// Protocol events.
    INFO = 3,
    /// Details.
    DEBUG = 4,
    /// Everything.
    TRACE = 5,
}

enumeration!(musig_log_level is tracing::Level {
    ERROR: tracing::Level::ERROR,
    WARN: tracing::Level::WARN,
    INFO: tracing::Level::INFO,
    DEBUG: tracing::Level::DEBUG,
    TRACE: tracing::Level::TRACE,
});

/// The order of key aggregation. Signer indices are positions in the proposal in both.
/// cbindgen:rename-all=prefix:MUSIG_KEY_ORDER_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_key_order {
    /// Sorted, as BIP-390's musig() descriptor asks for. The default.
    SORTED = 0,
    /// As the key set lists them.
    AS_GIVEN = 1,
}

enumeration!(musig_key_order is KeyOrder { SORTED: KeyOrder::Sorted, AS_GIVEN: KeyOrder::AsGiven });

/// BIP-341, applied to a key.
/// cbindgen:rename-all=prefix:MUSIG_TAPROOT_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_taproot {
    /// Nothing: the key is itself the key of an output, or signs something else.
    NONE = 0,
    /// The key is the internal key of an output without scripts.
    KEY_PATH = 1,
    /// The key is the internal key of an output with scripts, of which the merkle root is given.
    MERKLE_ROOT = 2,
}

enumeration!(musig_taproot { NONE, KEY_PATH, MERKLE_ROOT });

/// The network that an address is of.
/// cbindgen:rename-all=prefix:MUSIG_NETWORK_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_network {
    /// The main network.
    MAINNET = 0,
    /// The test network.
    TESTNET = 1,
    /// Signet.
    SIGNET = 2,
    /// A network for regression tests.
    REGTEST = 3,
}

enumeration!(musig_network { MAINNET, TESTNET, SIGNET, REGTEST });

#[cfg(feature = "bitcoin")]
impl From<musig_network> for bitcoin::Network {
    fn from(network: musig_network) -> Self {
        match network {
            musig_network::MAINNET => Self::Bitcoin,
            musig_network::TESTNET => Self::Testnet,
            musig_network::SIGNET => Self::Signet,
            musig_network::REGTEST => Self::Regtest,
        }
    }
}

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

/// The mode of the broadcast: who is to broadcast once the signatures are complete.
/// cbindgen:rename-all=prefix:MUSIG_BROADCAST_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_broadcast {
    /// The elected coordinator; if it does not, the next ones take over. The default.
    FAILOVER = 0,
    /// The elected coordinator alone.
    COORDINATOR_ONLY = 1,
    /// Nobody: the session only signs.
    SIGN_ONLY = 2,
}

enumeration!(musig_broadcast { FAILOVER, COORDINATOR_ONLY, SIGN_ONLY });

/// The grouping of signers into turns.
/// cbindgen:rename-all=prefix:MUSIG_TIERS_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_tiers {
    /// One signer per turn. The default.
    SINGLE = 0,
    /// A fixed number of signers per turn.
    FIXED = 1,
    /// 1, 2, 4, 8, … signers.
    DOUBLING = 2,
}

enumeration!(musig_tiers { SINGLE, FIXED, DOUBLING });

/// The election method.
/// cbindgen:rename-all=prefix:MUSIG_ELECTION_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_election_method {
    /// Ascending compressed public keys. The default.
    LEXICOGRAPHIC = 0,
    /// Index order, wrapping, starting at a hash of all keys modulo the number of signers.
    HASH_BASED = 1,
    /// 0, 1, …, n-1.
    FIRST_SIGNER = 2,
    /// n-1, …, 1, 0.
    LAST_SIGNER = 3,
    /// Ascending hash of session id and key: rotates with every session.
    SESSION_SALTED = 4,
}

enumeration!(musig_election_method is ElectionMethod {
    LEXICOGRAPHIC: ElectionMethod::Lexicographic,
    HASH_BASED: ElectionMethod::HashBased,
    FIRST_SIGNER: ElectionMethod::FirstSigner,
    LAST_SIGNER: ElectionMethod::LastSigner,
    SESSION_SALTED: ElectionMethod::SessionSalted,
});

/// Fields of a session's terms that are bytes.
/// cbindgen:rename-all=prefix:MUSIG_TERMS_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_terms_field {
    /// The encoded terms, whose hash is the session id.
    ENCODED = 1,
    /// The compressed public keys of the signers, 33 bytes each.
    SIGNERS = 2,
    /// The digests that are signed, 32 bytes per message.
    DIGESTS = 3,
    /// The proposer's metadata.
    METADATA = 4,
    /// The unsigned transaction.
    TRANSACTION = 5,
}

enumeration!(musig_terms_field { ENCODED, SIGNERS, DIGESTS, METADATA, TRANSACTION });

/// The phase of a session.
/// cbindgen:rename-all=prefix:MUSIG_PHASE_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_phase {
    /// Proposed by another signer; waiting for musig_session_join or musig_session_decline.
    PROPOSED = 1,
    /// Joined; waiting for the other signers to join, or for their nonces.
    JOINED = 2,
    /// All nonces of the attempt arrived; waiting for partial signatures.
    SIGNING = 3,
    /// The signatures are complete; the broadcast is being watched.
    WATCHING = 4,
    /// Nothing is left to watch: the watch ended, or the session only signs and the signatures are complete.
    FINAL = 5,
    /// A signer provably violated the protocol.
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

enumeration!(musig_phase is Phase {
    PROPOSED: Phase::Proposed,
    JOINED: Phase::Joined,
    SIGNING: Phase::Signing,
    WATCHING: Phase::Watching,
    FINAL: Phase::Final,
    FAILED: Phase::Failed,
    ABORTED: Phase::Aborted,
    DECLINED: Phase::Declined,
    EXPIRED: Phase::Expired,
    CLOSED: Phase::Closed,
});

/// The evidence that a session's transaction was broadcast.
/// cbindgen:rename-all=prefix:MUSIG_EVIDENCE_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_evidence {
    /// None, or only claims of other signers.
    NONE = 0,
    /// This node's submission was accepted.
    SUBMITTED = 1,
    /// The observer sees the transaction.
    SEEN = 2,
    /// The transaction is in a block.
    CONFIRMED = 3,
    /// A conflicting transaction is in a block.
    CONFLICT = 4,
    /// The application, as the observer, reported it.
    NOTIFIED = 5,
}

enumeration!(musig_evidence { NONE, SUBMITTED, SEEN, CONFIRMED, CONFLICT, NOTIFIED });

/// The kind of a metric.
/// cbindgen:rename-all=prefix:MUSIG_METRIC_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_metric_kind {
    /// Its value never decreases while the node runs.
    COUNTER = 1,
    /// Its value is what it is now.
    GAUGE = 2,
    /// Its value is durations in seconds, counted by buckets.
    HISTOGRAM = 3,
}

enumeration!(musig_metric_kind is MetricKind {
    COUNTER: MetricKind::Counter,
    GAUGE: MetricKind::Gauge,
    HISTOGRAM: MetricKind::Histogram,
});

/// The form of the text with all metrics.
/// cbindgen:rename-all=prefix:MUSIG_METRICS_FORMAT_
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum musig_metrics_format {
    /// Prometheus' text; content type "text/plain; version=0.0.4; charset=utf-8".
    PROMETHEUS = 1,
    /// OpenMetrics' text; content type "application/openmetrics-text; version=1.0.0; charset=utf-8".
    OPENMETRICS = 2,
}

enumeration!(musig_metrics_format is MetricsFormat {
    PROMETHEUS: MetricsFormat::Prometheus,
    OPENMETRICS: MetricsFormat::OpenMetrics,
});
