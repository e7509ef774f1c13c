/* libmusig: MuSig2 signing sessions in which no coordinator can censor or lose the transaction.
 *
 * A session in short:
 *
 * 1. Each signer creates a musig_signer from its key, fills a musig_config, and starts a musig_node with it.
 * 2. One of them creates a musig_proposal, of messages or of a transaction, and passes it to musig_node_create_session.
 * 3. The others get MUSIG_EVENT_SESSION_PROPOSED, look at its musig_event_terms, and call musig_session_join. Joining is
 *    consent: nothing is signed without it.
 * 4. The nodes sign. Each gets MUSIG_EVENT_SESSION_COMPLETE with the signatures.
 * 5. The elected coordinator broadcasts: by its musig_broadcaster, or its application does on MUSIG_EVENT_SHOULD_BROADCAST.
 *    If the transaction is not seen in time, the turn of the next signer opens, and so on.
 * 6. A node watches until its musig_chain_observer sees the transaction deep enough in the chain, or its application says
 *    so by musig_session_notify_broadcast_complete.
 *
 * Objects are opaque and reference-counted. What a function writes to an out-parameter of handle type has one
 * reference, which the caller releases with the type's _free function, inside callbacks too. A caller keeps its reference to
 * each object that it passes until the call returns.
 *
 * Fallible functions return a musig_status, which is MUSIG_STATUS_OK (0) on success. Out-parameters are written on success
 * only. A NULL pointer returns MUSIG_STATUS_NULL_ARGUMENT and does nothing, unless the parameter's description allows it. MUSIG_MUST_USE makes compilers warn where an ignored status loses something.
 *
 * Each description names the parameters in the order of the prototype, under "In:" what is read and under "Out:" what is
 * written. Unless it says otherwise, these hold for every function:
 *
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 * error:   why the call failed; always written, NULL on success; may be NULL.
 *
 * No function waits for the network, nor for a callback unless it says so.
 *
 * "Returns:" names the statuses that are specific to a function. Every fallible function may also return
 * MUSIG_STATUS_NULL_ARGUMENT, MUSIG_STATUS_INVALID_ARGUMENT (a misaligned pointer, text that is not UTF-8, a number out of
 * range) and MUSIG_STATUS_INTERNAL. "Statuses of the node" are MUSIG_STATUS_NODE_STOPPED, MUSIG_STATUS_SUSPENDED,
 * MUSIG_STATUS_FORKED, MUSIG_STATUS_INTERNAL, and those of the store while it cannot commit. After fork() the functions of
 * the parent's nodes and sessions return MUSIG_STATUS_FORKED in the child, and _free does nothing to them; a node that the
 * child starts itself works.
 *
 * A name that ends with _length is a length in bytes; one that ends with _count is a number of elements.
 *
 * Public keys are compressed (33 bytes), signatures are BIP-340's (64 bytes), transaction ids are in internal byte
 * order (displayed reversed), times are in milliseconds, and text is NUL-terminated UTF-8.
 *
 * docs/c-api.md has the rest: callbacks, user_data, the fields of each event, versions, platforms.
 */


#ifndef MUSIG_H
#define MUSIG_H

/* Generated from src/ffi/c by the test `ffi`; do not edit. */

#include <stddef.h>
#include <stdint.h>

/** Warns when the result of a function is ignored, where the compiler can. */
#if defined(__GNUC__) || defined(__clang__)
#define MUSIG_MUST_USE __attribute__((warn_unused_result))
#else
#define MUSIG_MUST_USE
#endif

/**
 * Major version of this header: changes break programs.
 */
#define MUSIG_VERSION_MAJOR 0

/**
 * Minor version of this header. While the major version is 0, it may break programs too.
 */
#define MUSIG_VERSION_MINOR 1

/**
 * Patch version of this header.
 */
#define MUSIG_VERSION_PATCH 0

/**
 * The version of this header as one number: major * 1000000 + minor * 1000 + patch.
 */
#define MUSIG_VERSION_NUMBER 1000

/**
 * The version of the binary interface of this header: see musig_abi_version.
 */
#define MUSIG_ABI_VERSION 1

/**
 * Maximum number of signers of a session.
 */
#define MUSIG_MAX_SIGNERS 128

/**
 * Maximum number of messages of a session.
 */
#define MUSIG_MAX_MESSAGES 256

/**
 * Maximum number of child numbers of a derivation.
 */
#define MUSIG_MAX_CHILD_NUMBERS 8

/**
 * The values of musig_status. 1 to 99: the caller; 100 to 199: the network; 200 to 299: the protocol; 300 to 399: the
 * store; 400 to 499: the Bitcoin backend; 900 and above: internal.
 */
enum musig_status_code
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Success.
   */
  MUSIG_STATUS_OK = 0,
  /**
   * A required pointer is NULL.
   */
  MUSIG_STATUS_NULL_ARGUMENT = 1,
  /**
   * An argument is out of range, malformed, or not valid UTF-8.
   */
  MUSIG_STATUS_INVALID_ARGUMENT = 2,
  /**
   * The bytes are not a valid compressed public key.
   */
  MUSIG_STATUS_INVALID_KEY = 3,
  /**
   * The caller's buffer is too small. Nothing was written.
   */
  MUSIG_STATUS_BUFFER_TOO_SMALL = 4,
  /**
   * The event, the terms or the proposal does not have this field.
   */
  MUSIG_STATUS_NO_SUCH_FIELD = 5,
  /**
   * An index is not less than the number of elements.
   */
  MUSIG_STATUS_INDEX_OUT_OF_RANGE = 6,
  /**
   * The struct_size member of a structure is unset, or smaller than this version of the library requires.
   */
  MUSIG_STATUS_STRUCT_SIZE = 7,
  /**
   * The configuration is incomplete or contradicts itself.
   */
  MUSIG_STATUS_CONFIG = 8,
  /**
   * A blocking call inside one of the node's own callbacks would wait for itself. To stop the node there, call
   * musig_node_request_stop.
   */
  MUSIG_STATUS_WOULD_DEADLOCK = 9,
  /**
   * The process is a fork; a node works only in the process that started it.
   */
  MUSIG_STATUS_FORKED = 10,
  /**
   * The node is stopped.
   */
  MUSIG_STATUS_NODE_STOPPED = 11,
  /**
   * The node is suspended.
   */
  MUSIG_STATUS_SUSPENDED = 12,
  /**
   * The node's events already have a consumer: a handler, or a thread in musig_node_next_event.
   */
  MUSIG_STATUS_CONSUMER_EXISTS = 13,
  /**
   * No event arrived before the timeout.
   */
  MUSIG_STATUS_NO_EVENT = 14,
  /**
   * No durable event with this id is waiting for acknowledgement.
   */
  MUSIG_STATUS_UNKNOWN_EVENT = 15,
  /**
   * The result is not available: the signatures are incomplete, the peer is not connected, or no signer follows.
   */
  MUSIG_STATUS_NOT_READY = 16,
  /**
   * The configuration was already used to start a node.
   */
  MUSIG_STATUS_CONFIG_USED = 17,
  /**
   * The network layer failed, or the node is offline.
   */
  MUSIG_STATUS_NETWORK = 100,
  /**
   * The proposal is invalid.
   */
  MUSIG_STATUS_PROPOSAL = 200,
  /**
   * The bytes are malformed, exceed a limit, or fail verification.
   */
  MUSIG_STATUS_WIRE = 201,
  /**
   * The session is unknown to this node.
   */
  MUSIG_STATUS_UNKNOWN_SESSION = 202,
  /**
   * A session with this id already exists.
   */
  MUSIG_STATUS_SESSION_EXISTS = 203,
  /**
   * The session's phase does not allow the operation.
   */
  MUSIG_STATUS_WRONG_STATE = 204,
  /**
   * A limit is exceeded.
   */
  MUSIG_STATUS_LIMIT = 205,
  /**
   * Invalid election query: no signers, or index out of range.
   */
  MUSIG_STATUS_ELECTION = 206,
  /**
   * The election does not match these signers.
   */
  MUSIG_STATUS_ELECTION_MISMATCH = 207,
  /**
   * The signer failed to sign.
   */
  MUSIG_STATUS_SIGNER = 208,
  /**
   * The signer is locked.
   */
  MUSIG_STATUS_SIGNER_LOCKED = 209,
  /**
   * The bytes are not a valid secret key, or not the key of this signer.
   */
  MUSIG_STATUS_WRONG_SECRET = 210,
  /**
   * The signer consists of callbacks; its key cannot be locked or unlocked by this library.
   */
  MUSIG_STATUS_NOT_LOCAL = 211,
  /**
   * The signer has lost the secret nonces of this attempt; the session continues with a new attempt.
   */
  MUSIG_STATUS_NONCE_GONE = 212,
  /**
   * An input that the session does not sign has a witness that cannot be verified here.
   */
  MUSIG_STATUS_UNVERIFIED_INPUT = 213,
  /**
   * A coin that the transaction spends is spent already, or is not known to the Bitcoin backend.
   */
  MUSIG_STATUS_MISSING_COIN = 214,
  /**
   * The chain observer could not say whether the transaction's coins exist.
   */
  MUSIG_STATUS_COINS_NOT_KNOWN = 215,
  /**
   * A raw message would be signed with keys that own coins, so it may be the signature hash of a transaction that
   * spends them.
   */
  MUSIG_STATUS_BLIND_MESSAGE = 216,
  /**
   * The session cannot be closed while its transaction, or its signatures, may still come about.
   */
  MUSIG_STATUS_NOT_SETTLED = 217,
  /**
   * The store could not be read or written.
   */
  MUSIG_STATUS_STORE = 300,
  /**
   * The store is open in another node.
   */
  MUSIG_STATUS_STORE_IN_USE = 301,
  /**
   * The store was written with another schema version.
   */
  MUSIG_STATUS_STORE_SCHEMA = 302,
  /**
   * The file is damaged, or not a libmusig store.
   */
  MUSIG_STATUS_STORE_CORRUPT = 303,
  /**
   * The store is suspended.
   */
  MUSIG_STATUS_STORE_SUSPENDED = 304,
  /**
   * A commit has not ended for long: the disk hangs.
   */
  MUSIG_STATUS_STORE_HANGS = 305,
  /**
   * The operation took effect and others are told, but it is not on the disk yet: a crash may undo it.
   */
  MUSIG_STATUS_STORE_UNSTORED = 306,
  /**
   * The store belongs to another signer.
   */
  MUSIG_STATUS_STORE_OTHER_KEY = 307,
  /**
   * The Bitcoin backend cannot be reached. Returned by callbacks only, never by a function of the library.
   */
  MUSIG_STATUS_CHAIN = 400,
  /**
   * An internal error of libmusig. If a node's function returns it, the node has failed: stop it and start a new
   * one.
   */
  MUSIG_STATUS_INTERNAL = 900,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_status_code musig_status_code;
#else
typedef int32_t musig_status_code;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Numeric options of a configuration.
 */
enum musig_option
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Confirmations at which a watch ends, at least 1. Default: 6.
   */
  MUSIG_OPTION_FINAL_DEPTH = 1,
  /**
   * 1 to open the next turn early if a coordinator is gone: its last connection was lost for a second, and nothing of it came
   * through others; or 0. Default: 1.
   */
  MUSIG_OPTION_EARLY_GONE = 2,
  /**
   * 1 to report this node's broadcasts to the other signers, or 0. Default: 1.
   */
  MUSIG_OPTION_CLAIMS = 3,
  /**
   * 1 to report to the other signers that this node cannot broadcast, or 0. Default: 1.
   */
  MUSIG_OPTION_NACKS = 4,
  /**
   * Milliseconds without progress after which a session counts as stalled. Default: 10000.
   */
  MUSIG_OPTION_STALL_AFTER = 5,
  /**
   * Maximum number of open sessions. Default: 4096.
   */
  MUSIG_OPTION_MAX_SESSIONS = 6,
  /**
   * 1 for one worker thread shared by all nodes, for phones; 0 for two. Default: 0.
   */
  MUSIG_OPTION_SMALL_RUNTIME = 7,
  /**
   * A musig_dht_mode. Default: MUSIG_DHT_CLIENT.
   */
  MUSIG_OPTION_DHT = 8,
  /**
   * 1 to announce the node and discover signers on the local network by mDNS, in the clear, or 0. Default: 0.
   */
  MUSIG_OPTION_MDNS = 9,
  /**
   * 1 for network settings that suit phones (no listening unless an address is added, fewer radio wake-ups), or 0.
   * Default: 0.
   */
  MUSIG_OPTION_MOBILE = 10,
  /**
   * 1 to show whose node this is, once it is dialled, only to who looks for its key, to configured peers and servers, and to
   * signers of its sessions; 0 to show it to whoever connects. Default: 1.
   */
  MUSIG_OPTION_HIDES = 11,
  /**
   * Maximum number of connections that others open to the node, at least 1. One half of them is for configured peers,
   * servers and the signers of open sessions. Default: 256, and 32 with MUSIG_OPTION_MOBILE.
   */
  MUSIG_OPTION_MAX_CONNECTIONS = 12,
  /**
   * Maximum number of connections that others open from one IP address (of IPv6: one /64) or through one relay, at least
   * 1. It binds none of those for whom one half is kept, and none of this machine. Default: 32.
   */
  MUSIG_OPTION_MAX_CONNECTIONS_PER_IP = 13,
  /**
   * 1 to open the next turn early if a coordinator is connected and has not said within 5 seconds that it holds the
   * signatures; or 0. Default: 1.
   */
  MUSIG_OPTION_EARLY_HOLD = 14,
  /**
   * 1 to open the next turn early if the transaction was not seen within the node's pace: at least 10 seconds, and 3 times
   * as long and 2 seconds as 99 of 100 of its earlier transactions took, once it knows of 20; or 0. Default: 1.
   */
  MUSIG_OPTION_EARLY_PACE = 15,
  /**
   * Milliseconds of difference between a signer's clock and this node's beyond which MUSIG_EVENT_CLOCK_SKEW is reported.
   * Default: 60000.
   */
  MUSIG_OPTION_CLOCK_SKEW = 16,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_option musig_option;
#else
typedef int32_t musig_option;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The role of a node in the distributed hash table in which signers find each other by their keys.
 */
enum musig_dht_mode
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * None.
   */
  MUSIG_DHT_OFF = 0,
  /**
   * Looks up signers and publishes its own addresses. The default.
   */
  MUSIG_DHT_CLIENT = 1,
  /**
   * Also stores records of other signers: for nodes that are always on and reachable.
   */
  MUSIG_DHT_SERVER = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_dht_mode musig_dht_mode;
#else
typedef int32_t musig_dht_mode;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The kind of an event, with its fields. A durable event is redelivered after a restart until it is acknowledged.
 * Later versions may add kinds: acknowledge those that you do not know. docs/c-api.md has a table of kinds and fields.
 */
enum musig_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Durable. Another signer proposed a session: answer with musig_session_join or musig_session_decline. SIGNER is
   * the proposer; EXPIRES_AT; musig_event_terms.
   */
  MUSIG_EVENT_SESSION_PROPOSED = 1,
  /**
   * This node's own proposal is signed. It is sent once it is stored.
   */
  MUSIG_EVENT_SESSION_CREATED = 2,
  /**
   * A signer joined: SIGNER, JOINED of SIGNERS.
   */
  MUSIG_EVENT_SESSION_JOINED = 3,
  /**
   * All signers joined.
   */
  MUSIG_EVENT_SESSION_READY = 4,
  /**
   * All nonces of an attempt arrived: ATTEMPT.
   */
  MUSIG_EVENT_NONCES_COMPLETE = 5,
  /**
   * Durable. The signatures are complete: SIGNATURES, RANK, PRIORITY_LIST, STORED, ABORTED_HERE; TXID and TRANSACTION if a
   * transaction was signed.
   */
  MUSIG_EVENT_SESSION_COMPLETE = 6,
  /**
   * Durable. It is this node's turn to broadcast: SIGNER (its own), TURN, SIGNATURES, STORED; NEXT_TURN_AT unless it is
   * the last turn; TXID and TRANSACTION if a transaction was signed. With a broadcaster the node submits by itself.
   */
  MUSIG_EVENT_SHOULD_BROADCAST = 7,
  /**
   * A turn opened because the coordinators before it did not broadcast in time: TURN, FAILED, CAUSES, NEXT.
   */
  MUSIG_EVENT_COORDINATOR_FAILED = 8,
  /**
   * Durable. All turns have passed; this node keeps submitting: TURNS; SUBMISSIONS, of which ACCEPTED, REJECTED and
   * UNREACHABLE; NACKS_UNREACHABLE, NACKS_REJECTED, CLAIMS; REASON if the transaction was rejected; TXID and TRANSACTION if
   * a transaction was signed.
   */
  MUSIG_EVENT_FAILOVER_EXHAUSTED = 9,
  /**
   * Durable if there is no observer. A signer claims to have broadcast the transaction: SIGNER, TXID. Without an
   * observer verify that, then call musig_session_notify_broadcast_complete.
   */
  MUSIG_EVENT_BROADCAST_CLAIMED = 10,
  /**
   * The observer sees the transaction: TXID; COORDINATORS, whose turn it was; BY, who broadcast it, with SIGNER if another
   * signer claims that.
   */
  MUSIG_EVENT_BROADCAST_SEEN = 11,
  /**
   * Durable. The transaction is in a block, or the application reported it: HEIGHT and CONFIRMATIONS, both absent in
   * the latter case; TXID if it is known; COORDINATORS, whose turn it was; BY, who broadcast it, with SIGNER if another signer
   * claims that.
   */
  MUSIG_EVENT_BROADCAST_CONFIRMED = 12,
  /**
   * Durable. A conflicting transaction is in a block: TXID is its id.
   */
  MUSIG_EVENT_BROADCAST_CONFLICT = 13,
  /**
   * Durable. The transaction was seen and has disappeared (evicted or reorganised): TXID. A new watch starts.
   */
  MUSIG_EVENT_BROADCAST_LOST = 14,
  /**
   * Durable. The Bitcoin backend rejects the transaction: REASON.
   */
  MUSIG_EVENT_BROADCAST_REJECTED = 15,
  /**
   * The session made no progress for a while: SINCE, in milliseconds; MISSING lists the signers being waited for, and
   * musig_event_signer_status has the state of each.
   */
  MUSIG_EVENT_SESSION_STALLED = 16,
  /**
   * Durable. A signer provably violated the protocol: CULPRITS, MAY_STILL_COMPLETE, musig_event_proof.
   */
  MUSIG_EVENT_SESSION_FAILED = 17,
  /**
   * Durable. A signer declined or aborted: SIGNER, DECLINED, REASON, MAY_STILL_COMPLETE.
   */
  MUSIG_EVENT_SESSION_ABORTED = 18,
  /**
   * Durable. The proposal expired: MAY_STILL_COMPLETE.
   */
  MUSIG_EVENT_SESSION_EXPIRED = 19,
  /**
   * This node closed the session.
   */
  MUSIG_EVENT_SESSION_CLOSED = 20,
  /**
   * Durable. Another instance signs with this node's key: a restored backup, or a second node.
   */
  MUSIG_EVENT_KEY_IN_USE_ELSEWHERE = 21,
  /**
   * The signer failed and will be retried: REASON.
   */
  MUSIG_EVENT_SIGNER_FAILED = 22,
  /**
   * A peer connected: PEER; SIGNER_KEY if it has proved one.
   */
  MUSIG_EVENT_PEER_CONNECTED = 23,
  /**
   * A peer disconnected: PEER; SIGNER_KEY if it had proved one.
   */
  MUSIG_EVENT_PEER_DISCONNECTED = 24,
  /**
   * A signer of this session disconnected: SIGNER.
   */
  MUSIG_EVENT_PARTICIPANT_DISCONNECTED = 25,
  /**
   * The store cannot commit; nothing is signed until it can: REASON. The node retries.
   * With a session: its records cannot be read, and it is set aside.
   */
  MUSIG_EVENT_STORE_FAILED = 26,
  /**
   * Part of the network layer failed; the node continues without it: REASON.
   */
  MUSIG_EVENT_NETWORK_DEGRADED = 27,
  /**
   * A configured peer, or a signer of an open session, cannot be reached; the node keeps trying. Reported once for each,
   * and again when the cause changes: ADDRESS or SIGNER_KEY; REASON; NEXT_TRY_AT unless the node waits until it learns an
   * address.
   */
  MUSIG_EVENT_PEER_UNREACHABLE = 28,
  /**
   * Durable. All signers that are to broadcast said that they cannot; this node keeps submitting, and the turns go on. It has
   * the fields of MUSIG_EVENT_FAILOVER_EXHAUSTED.
   */
  MUSIG_EVENT_NOBODY_CAN_BROADCAST = 29,
  /**
   * This node refuses a proposal that its proposer signed: it has expired or expires too late by this node's clock, the
   * signer does not hold a key that it names, or there is no room for another session: SIGNER_KEY of the proposer, REASON.
   * Nothing is kept of it, and it may be taken later. Reported once for each.
   */
  MUSIG_EVENT_PROPOSAL_REFUSED = 30,
  /**
   * A device, or another wallet, is asked to sign, and was not heard of yet. Reported at once, and again while it is
   * waited for: ROUND; SINCE, in milliseconds.
   */
  MUSIG_EVENT_SIGNER_WAITING = 31,
  /**
   * A submission of this node's own was answered: OUTCOME, a musig_submit; REASON if the backend rejected it or there is no
   * answer. With a broadcaster only.
   */
  MUSIG_EVENT_SUBMITTED = 32,
  /**
   * The broadcaster failed, or answered too late: REASON, FAILURES. The others are told that this node cannot broadcast. The
   * node retries. The same words are reported once a minute, others once a second, at most.
   */
  MUSIG_EVENT_BROADCASTER_FAILED = 33,
  /**
   * The chain observer failed, or answered too late: REASON, FAILURES. The node takes that for no answer, and asks again.
   * The same words are reported once a minute, others once a second, at most.
   */
  MUSIG_EVENT_OBSERVER_FAILED = 34,
  /**
   * A signer's clock and this node's differ by more than is tolerated: SIGNER_KEY, OFFSET, OWN_SUSPECT. Nothing depends on it
   * but how the times are to be read that the two tell; the longer it lasts the sooner proposals seem expired. Reported once an
   * hour for each signer.
   */
  MUSIG_EVENT_CLOCK_SKEW = 35,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_event_kind musig_event_kind;
#else
typedef int32_t musig_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Numeric fields of an event.
 */
enum musig_event_number_field
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * A signer index.
   */
  MUSIG_EVENT_NUMBER_SIGNER = 1,
  /**
   * Number of signers that have joined.
   */
  MUSIG_EVENT_NUMBER_JOINED = 2,
  /**
   * Number of signers.
   */
  MUSIG_EVENT_NUMBER_SIGNERS = 3,
  /**
   * The attempt, counted from 0.
   */
  MUSIG_EVENT_NUMBER_ATTEMPT = 4,
  /**
   * This node's position in the priority list.
   */
  MUSIG_EVENT_NUMBER_RANK = 5,
  /**
   * The turn, counted from 0.
   */
  MUSIG_EVENT_NUMBER_TURN = 6,
  /**
   * Number of turns.
   */
  MUSIG_EVENT_NUMBER_TURNS = 7,
  /**
   * Start of the next turn, in milliseconds since 1970-01-01 00:00 UTC.
   */
  MUSIG_EVENT_NUMBER_NEXT_TURN_AT = 8,
  /**
   * Expiry of the proposal, in milliseconds since 1970-01-01 00:00 UTC.
   */
  MUSIG_EVENT_NUMBER_EXPIRES_AT = 9,
  /**
   * Number of submissions by this node.
   */
  MUSIG_EVENT_NUMBER_SUBMISSIONS = 10,
  /**
   * The height of a block.
   */
  MUSIG_EVENT_NUMBER_HEIGHT = 11,
  /**
   * Confirmations; the block itself counts as one.
   */
  MUSIG_EVENT_NUMBER_CONFIRMATIONS = 12,
  /**
   * Time without progress, or since a device was asked, in milliseconds.
   */
  MUSIG_EVENT_NUMBER_SINCE = 13,
  /**
   * 1 if the signer declined before joining, 0 if it aborted after.
   */
  MUSIG_EVENT_NUMBER_DECLINED = 14,
  /**
   * 1 if this node's partial signature was sent, or may have been before a restart, so the other signers may still
   * complete the session.
   */
  MUSIG_EVENT_NUMBER_MAY_STILL_COMPLETE = 15,
  /**
   * 1 if the signatures are on the disk; 0 if the disk is full or slow, and a crash may lose them here.
   */
  MUSIG_EVENT_NUMBER_STORED = 16,
  /**
   * 1 if this node's own application aborted or abandoned the session before: then the node passes the signatures on, and
   * takes no turn until musig_session_broadcast_now.
   */
  MUSIG_EVENT_NUMBER_ABORTED_HERE = 17,
  /**
   * When the node tries again, in milliseconds since 1970-01-01 00:00 UTC.
   */
  MUSIG_EVENT_NUMBER_NEXT_TRY_AT = 18,
  /**
   * Number of submissions by this node that its Bitcoin backend accepted, or had already.
   */
  MUSIG_EVENT_NUMBER_ACCEPTED = 19,
  /**
   * Number of submissions by this node that its Bitcoin backend rejected.
   */
  MUSIG_EVENT_NUMBER_REJECTED = 20,
  /**
   * Number of submissions by this node that did not reach its Bitcoin backend.
   */
  MUSIG_EVENT_NUMBER_UNREACHABLE = 21,
  /**
   * What a device is asked for: 1 for public nonces, 2 for partial signatures.
   */
  MUSIG_EVENT_NUMBER_ROUND = 22,
  /**
   * The answer to a submission, a musig_submit.
   */
  MUSIG_EVENT_NUMBER_OUTCOME = 23,
  /**
   * Number of failures since this was last reported, at least 1.
   */
  MUSIG_EVENT_NUMBER_FAILURES = 24,
  /**
   * Who broadcast the transaction, a musig_broadcast_by.
   */
  MUSIG_EVENT_NUMBER_BY = 25,
  /**
   * Milliseconds by which a signer's clock is ahead of this node's: convert it to int64_t, for it is negative if that clock is
   * behind. The median of the last nine that it said.
   */
  MUSIG_EVENT_NUMBER_OFFSET = 26,
  /**
   * 1 if this node's own clock is the suspect: those of most other signers differ from it in the same direction.
   */
  MUSIG_EVENT_NUMBER_OWN_SUSPECT = 27,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_event_number_field musig_event_number_field;
#else
typedef int32_t musig_event_number_field;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Fields of an event that are lists of signer indices.
 */
enum musig_event_list_field
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * All signers in order of their turns, the elected coordinator first.
   */
  MUSIG_EVENT_LIST_PRIORITY_LIST = 1,
  /**
   * Coordinators of earlier turns that were not reported before.
   */
  MUSIG_EVENT_LIST_FAILED = 2,
  /**
   * Coordinators of this turn.
   */
  MUSIG_EVENT_LIST_NEXT = 3,
  /**
   * Signers that the session waits for.
   */
  MUSIG_EVENT_LIST_MISSING = 4,
  /**
   * Signers that provably violated the protocol.
   */
  MUSIG_EVENT_LIST_CULPRITS = 5,
  /**
   * Signers that claimed to have broadcast.
   */
  MUSIG_EVENT_LIST_CLAIMS = 6,
  /**
   * Signers that said that they cannot reach a Bitcoin backend.
   */
  MUSIG_EVENT_LIST_NACKS_UNREACHABLE = 7,
  /**
   * Signers that said that their Bitcoin backend rejects the transaction.
   */
  MUSIG_EVENT_LIST_NACKS_REJECTED = 8,
  /**
   * Why each of FAILED is waited for no longer: a musig_failure_cause each. The only list that is not of signer indices.
   */
  MUSIG_EVENT_LIST_CAUSES = 9,
  /**
   * Coordinators of the last turn that opened at this node.
   */
  MUSIG_EVENT_LIST_COORDINATORS = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_event_list_field musig_event_list_field;
#else
typedef int32_t musig_event_list_field;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Fields of an event that are bytes or text.
 */
enum musig_event_bytes_field
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * A transaction id: 32 bytes in internal byte order (displayed reversed).
   */
  MUSIG_EVENT_BYTES_TXID = 1,
  /**
   * The signed transaction in consensus encoding.
   */
  MUSIG_EVENT_BYTES_TRANSACTION = 2,
  /**
   * BIP-340 signatures, 64 bytes per message.
   */
  MUSIG_EVENT_BYTES_SIGNATURES = 3,
  /**
   * The reason, as text.
   */
  MUSIG_EVENT_BYTES_REASON = 4,
  /**
   * A libp2p peer id, as text.
   */
  MUSIG_EVENT_BYTES_PEER = 5,
  /**
   * A compressed public key, 33 bytes.
   */
  MUSIG_EVENT_BYTES_SIGNER_KEY = 6,
  /**
   * A multiaddress, as text.
   */
  MUSIG_EVENT_BYTES_ADDRESS = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_event_bytes_field musig_event_bytes_field;
#else
typedef int32_t musig_event_bytes_field;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The result of musig_broadcaster.submit.
 */
enum musig_submit
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The Bitcoin backend accepted the transaction, or already had it (or the same one with another witness).
   */
  MUSIG_SUBMIT_ACCEPTED = 0,
  /**
   * The Bitcoin backend rejects the transaction itself: fee, policy, inputs. The next turn opens, for another backend
   * may take it.
   */
  MUSIG_SUBMIT_REJECTED = 1,
  /**
   * The Bitcoin backend cannot be reached: the next turn opens. Any other value means the same.
   */
  MUSIG_SUBMIT_UNREACHABLE = 2,
  /**
   * The transaction is not final yet: a lock time, a relative lock or a coinbase's maturity is not reached. It is
   * submitted again, nobody takes over, and nobody is late.
   */
  MUSIG_SUBMIT_NOT_YET_FINAL = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_submit musig_submit;
#else
typedef int32_t musig_submit;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Presets of the timeout of musig_proposal_set_failover, in milliseconds.
 */
enum musig_failover_preset
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * 30 seconds: tests, and signers in one local network.
   */
  MUSIG_FAILOVER_LOCAL_TEST = 30000,
  /**
   * 2 minutes: low values, where a duplicate submission is cheaper than a wait.
   */
  MUSIG_FAILOVER_LOW_VALUE = 120000,
  /**
   * 5 minutes, the default.
   */
  MUSIG_FAILOVER_STANDARD = 300000,
  /**
   * 10 minutes: high values, whose signers are asked by hand or behind slow backends.
   */
  MUSIG_FAILOVER_HIGH_VALUE = 600000,
  /**
   * 15 minutes: signers across borders, by satellite or over Tor.
   */
  MUSIG_FAILOVER_SATELLITE = 900000,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_failover_preset musig_failover_preset;
#else
typedef int32_t musig_failover_preset;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a coordinator is waited for no longer: MUSIG_EVENT_LIST_CAUSES of MUSIG_EVENT_COORDINATOR_FAILED. Only the last one is
 * proved.
 */
enum musig_failure_cause
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Its time is over.
   */
  MUSIG_CAUSE_TIMEOUT = 1,
  /**
   * It said that it cannot reach a Bitcoin backend.
   */
  MUSIG_CAUSE_NACK = 2,
  /**
   * It said that its Bitcoin backend rejects the transaction.
   */
  MUSIG_CAUSE_REJECTED = 3,
  /**
   * Its last connection was lost, and nothing of it came through others since.
   */
  MUSIG_CAUSE_GONE = 4,
  /**
   * It is connected and did not say that it holds the signatures.
   */
  MUSIG_CAUSE_NOT_HOLDING = 5,
  /**
   * The transaction was not seen for longer than this node's own experience lets it expect.
   */
  MUSIG_CAUSE_PACE = 6,
  /**
   * An envelope of it breaks the protocol, which proves its guilt.
   */
  MUSIG_CAUSE_GUILTY = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_failure_cause musig_failure_cause;
#else
typedef int32_t musig_failure_cause;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Who broadcast a transaction, as far as a node knows: MUSIG_EVENT_NUMBER_BY of MUSIG_EVENT_BROADCAST_SEEN and
 * MUSIG_EVENT_BROADCAST_CONFIRMED. Words of others prove nothing.
 */
enum musig_broadcast_by
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Nobody says so.
   */
  MUSIG_BROADCAST_BY_UNKNOWN = 0,
  /**
   * This node: its submission was accepted, or the Bitcoin backend had the transaction already; or its application reported
   * the broadcast, and no other signer claims it.
   */
  MUSIG_BROADCAST_BY_OWN = 1,
  /**
   * Another signer, by its own word; if there are several the one whose turn came first.
   */
  MUSIG_BROADCAST_BY_CLAIMED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_broadcast_by musig_broadcast_by;
#else
typedef int32_t musig_broadcast_by;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The state of a transaction on the chain.
 */
enum musig_chain_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Neither it nor a conflicting transaction is known.
   */
  MUSIG_CHAIN_UNKNOWN = 0,
  /**
   * It is in the mempool.
   */
  MUSIG_CHAIN_SEEN = 1,
  /**
   * It is in a block: set height and confirmations.
   */
  MUSIG_CHAIN_CONFIRMED = 2,
  /**
   * A conflicting transaction is in a block: set conflict_txid and confirmations.
   */
  MUSIG_CHAIN_CONFLICT = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_chain_state musig_chain_state;
#else
typedef int32_t musig_chain_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The level of a log line.
 */
enum musig_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * A failure.
   */
  MUSIG_LOG_ERROR = 1,
  /**
   * A possible failure.
   */
  MUSIG_LOG_WARN = 2,
  /**
   * Protocol events.
   */
  MUSIG_LOG_INFO = 3,
  /**
   * Details.
   */
  MUSIG_LOG_DEBUG = 4,
  /**
   * Everything.
   */
  MUSIG_LOG_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_log_level musig_log_level;
#else
typedef int32_t musig_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The order of key aggregation. Signer indices are positions in the proposal in both.
 */
enum musig_key_order
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Sorted, as BIP-390's musig() descriptor asks for. The default.
   */
  MUSIG_KEY_ORDER_SORTED = 0,
  /**
   * As the key set lists them.
   */
  MUSIG_KEY_ORDER_AS_GIVEN = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_key_order musig_key_order;
#else
typedef int32_t musig_key_order;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * BIP-341, applied to a key.
 */
enum musig_taproot
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Nothing: the key is itself the key of an output, or signs something else.
   */
  MUSIG_TAPROOT_NONE = 0,
  /**
   * The key is the internal key of an output without scripts.
   */
  MUSIG_TAPROOT_KEY_PATH = 1,
  /**
   * The key is the internal key of an output with scripts, of which the merkle root is given.
   */
  MUSIG_TAPROOT_MERKLE_ROOT = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_taproot musig_taproot;
#else
typedef int32_t musig_taproot;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The network that an address is of.
 */
enum musig_network
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The main network.
   */
  MUSIG_NETWORK_MAINNET = 0,
  /**
   * The test network.
   */
  MUSIG_NETWORK_TESTNET = 1,
  /**
   * Signet.
   */
  MUSIG_NETWORK_SIGNET = 2,
  /**
   * A network for regression tests.
   */
  MUSIG_NETWORK_REGTEST = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_network musig_network;
#else
typedef int32_t musig_network;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * BIP-341 hash types that leave the transaction fixed.
 */
enum musig_sighash
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * SIGHASH_DEFAULT. The default.
   */
  MUSIG_SIGHASH_DEFAULT = 0,
  /**
   * SIGHASH_ALL.
   */
  MUSIG_SIGHASH_ALL = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_sighash musig_sighash;
#else
typedef int32_t musig_sighash;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The mode of the broadcast: who is to broadcast once the signatures are complete.
 */
enum musig_broadcast
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The elected coordinator; if it does not, the next ones take over. The default.
   */
  MUSIG_BROADCAST_FAILOVER = 0,
  /**
   * The elected coordinator alone.
   */
  MUSIG_BROADCAST_COORDINATOR_ONLY = 1,
  /**
   * Nobody: the session only signs.
   */
  MUSIG_BROADCAST_SIGN_ONLY = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_broadcast musig_broadcast;
#else
typedef int32_t musig_broadcast;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The grouping of signers into turns.
 */
enum musig_tiers
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * One signer per turn. The default.
   */
  MUSIG_TIERS_SINGLE = 0,
  /**
   * A fixed number of signers per turn.
   */
  MUSIG_TIERS_FIXED = 1,
  /**
   * 1, 2, 4, 8, … signers.
   */
  MUSIG_TIERS_DOUBLING = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_tiers musig_tiers;
#else
typedef int32_t musig_tiers;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The election method.
 */
enum musig_election_method
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Ascending compressed public keys. The default.
   */
  MUSIG_ELECTION_LEXICOGRAPHIC = 0,
  /**
   * Index order, wrapping, starting at a hash of all keys modulo the number of signers.
   */
  MUSIG_ELECTION_HASH_BASED = 1,
  /**
   * 0, 1, …, n-1.
   */
  MUSIG_ELECTION_FIRST_SIGNER = 2,
  /**
   * n-1, …, 1, 0.
   */
  MUSIG_ELECTION_LAST_SIGNER = 3,
  /**
   * Ascending hash of session id and key: rotates with every session.
   */
  MUSIG_ELECTION_SESSION_SALTED = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_election_method musig_election_method;
#else
typedef int32_t musig_election_method;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Fields of a session's terms that are bytes.
 */
enum musig_terms_field
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The encoded terms, whose hash is the session id.
   */
  MUSIG_TERMS_ENCODED = 1,
  /**
   * The compressed public keys of the signers, 33 bytes each.
   */
  MUSIG_TERMS_SIGNERS = 2,
  /**
   * The digests that are signed, 32 bytes per message.
   */
  MUSIG_TERMS_DIGESTS = 3,
  /**
   * The proposer's metadata.
   */
  MUSIG_TERMS_METADATA = 4,
  /**
   * The unsigned transaction.
   */
  MUSIG_TERMS_TRANSACTION = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_terms_field musig_terms_field;
#else
typedef int32_t musig_terms_field;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The phase of a session.
 */
enum musig_phase
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Proposed by another signer; waiting for musig_session_join or musig_session_decline.
   */
  MUSIG_PHASE_PROPOSED = 1,
  /**
   * Joined; waiting for the other signers to join, or for their nonces.
   */
  MUSIG_PHASE_JOINED = 2,
  /**
   * All nonces of the attempt arrived; waiting for partial signatures.
   */
  MUSIG_PHASE_SIGNING = 3,
  /**
   * The signatures are complete; the broadcast is being watched.
   */
  MUSIG_PHASE_WATCHING = 4,
  /**
   * Nothing is left to watch: the watch ended, or the session only signs and the signatures are complete.
   */
  MUSIG_PHASE_FINAL = 5,
  /**
   * A signer provably violated the protocol.
   */
  MUSIG_PHASE_FAILED = 6,
  /**
   * A signer aborted.
   */
  MUSIG_PHASE_ABORTED = 7,
  /**
   * A signer declined.
   */
  MUSIG_PHASE_DECLINED = 8,
  /**
   * The proposal expired.
   */
  MUSIG_PHASE_EXPIRED = 9,
  /**
   * Closed by the application.
   */
  MUSIG_PHASE_CLOSED = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_phase musig_phase;
#else
typedef int32_t musig_phase;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The evidence that a session's transaction was broadcast.
 */
enum musig_evidence
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * None, or only claims of other signers.
   */
  MUSIG_EVIDENCE_NONE = 0,
  /**
   * This node's submission was accepted.
   */
  MUSIG_EVIDENCE_SUBMITTED = 1,
  /**
   * The observer sees the transaction.
   */
  MUSIG_EVIDENCE_SEEN = 2,
  /**
   * The transaction is in a block.
   */
  MUSIG_EVIDENCE_CONFIRMED = 3,
  /**
   * A conflicting transaction is in a block.
   */
  MUSIG_EVIDENCE_CONFLICT = 4,
  /**
   * The application, as the observer, reported it.
   */
  MUSIG_EVIDENCE_NOTIFIED = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_evidence musig_evidence;
#else
typedef int32_t musig_evidence;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The state of an output on the chain.
 */
enum musig_coin_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The output is not known. Without an index of transactions a backend cannot tell one that was spent in a block
   * from one that never was.
   */
  MUSIG_COIN_UNKNOWN = 0,
  /**
   * The output is in a block and spent by nothing, not even in the mempool: set confirmations.
   */
  MUSIG_COIN_UNSPENT = 1,
  /**
   * The output's transaction is in the mempool, and nothing there spends it.
   */
  MUSIG_COIN_IN_MEMPOOL = 2,
  /**
   * A transaction in a block or in the mempool spends the output.
   */
  MUSIG_COIN_SPENT = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_coin_state musig_coin_state;
#else
typedef int32_t musig_coin_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The word of the application when it joins, or creates, one session: values to be combined. Without it the node
 * consents to a transaction with failover only if the signatures alone complete it, as far as the node can find out, and
 * to raw messages only with keys that own no coins.
 */
enum musig_join
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Inputs that the session does not sign may have witnesses that this node cannot verify: all but P2WPKH and the key
   * path of P2TR. If such a witness is invalid, the signatures complete nothing, and whoever can replace it decides
   * when.
   */
  MUSIG_JOIN_ALLOW_UNVERIFIED_INPUTS = 1,
  /**
   * Inputs may spend coins that the chain observer calls spent or unknown, or could not be asked about. Of a coin that
   * is not there, whoever holds back its transaction decides when.
   */
  MUSIG_JOIN_ALLOW_MISSING_COINS = 2,
  /**
   * Raw messages may be signed with keys that own coins, as far as this node can tell: with an output key (any BIP-341
   * derivation), or with a key set that a transaction session of this node signs with too. Such a message may be the
   * signature hash of a transaction that spends all that the signers have.
   */
  MUSIG_JOIN_SIGN_BLIND = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_join musig_join;
#else
typedef int32_t musig_join;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The kind of a metric.
 */
enum musig_metric_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Its value never decreases while the node runs.
   */
  MUSIG_METRIC_COUNTER = 1,
  /**
   * Its value is what it is now.
   */
  MUSIG_METRIC_GAUGE = 2,
  /**
   * Its value is durations in seconds, counted by buckets.
   */
  MUSIG_METRIC_HISTOGRAM = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_metric_kind musig_metric_kind;
#else
typedef int32_t musig_metric_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The form of the text with all metrics.
 */
enum musig_metrics_format
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Prometheus' text; content type "text/plain; version=0.0.4; charset=utf-8".
   */
  MUSIG_METRICS_FORMAT_PROMETHEUS = 1,
  /**
   * OpenMetrics' text; content type "application/openmetrics-text; version=1.0.0; charset=utf-8".
   */
  MUSIG_METRICS_FORMAT_OPENMETRICS = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_metrics_format musig_metrics_format;
#else
typedef int32_t musig_metrics_format;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The lock of a transaction, or of one input: what must be reached before it can be in a block.
 */
enum musig_lock
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Nothing.
   */
  MUSIG_LOCK_NONE = 0,
  /**
   * The height of the block before (BIP-65).
   */
  MUSIG_LOCK_HEIGHT = 1,
  /**
   * The median time of the blocks before, in seconds since 1970 (BIP-113).
   */
  MUSIG_LOCK_TIME = 2,
  /**
   * Blocks since the spent output's (BIP-68).
   */
  MUSIG_LOCK_BLOCKS = 3,
  /**
   * Seconds since the spent output's block (BIP-68).
   */
  MUSIG_LOCK_ELAPSED = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_lock musig_lock;
#else
typedef int32_t musig_lock;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Who completes an input of a transaction.
 */
enum musig_input_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * This session signs it.
   */
  MUSIG_INPUT_SESSION = 0,
  /**
   * Somebody else's, with a witness that was verified.
   */
  MUSIG_INPUT_VERIFIED = 1,
  /**
   * Somebody else's, with a witness that nobody here can verify.
   */
  MUSIG_INPUT_UNVERIFIED = 2,
  /**
   * Somebody else's, not signed yet.
   */
  MUSIG_INPUT_UNSIGNED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_input_kind musig_input_kind;
#else
typedef int32_t musig_input_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The kind of a warning about a proposal. Later versions may add kinds: show the text of the summary.
 */
enum musig_warning_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The fee is a large part of what the outputs pay.
   */
  MUSIG_WARNING_HIGH_FEE = 1,
  /**
   * The fee rate is far above what any block asked for.
   */
  MUSIG_WARNING_HIGH_FEE_RATE = 2,
  /**
   * An output is worth less than it costs to spend, so nodes do not relay the transaction.
   */
  MUSIG_WARNING_DUST = 3,
  /**
   * The transaction cannot be final before the proposal expires.
   */
  MUSIG_WARNING_LOCK_BEYOND_EXPIRY = 4,
  /**
   * An input that the session does not sign has a witness that cannot be verified here.
   */
  MUSIG_WARNING_UNVERIFIED_INPUT = 5,
  /**
   * The signed output can also be spent by scripts that are not shown.
   */
  MUSIG_WARNING_HIDDEN_SCRIPTS = 6,
  /**
   * A raw message is signed blind: it may be the signature hash of any transaction of these keys.
   */
  MUSIG_WARNING_BLIND = 7,
  /**
   * Another open session of this node spends the same coin.
   */
  MUSIG_WARNING_COIN_IN_OTHER_SESSION = 8,
  /**
   * Another session of this node, which may still complete, pays the same output: perhaps for a second time.
   */
  MUSIG_WARNING_PAID_BY_OTHER_SESSION = 9,
  /**
   * The fee rate is not above that of the transaction that this one replaces, so nodes keep the other one.
   */
  MUSIG_WARNING_LOWER_FEE_RATE = 10,
  /**
   * An output pays a key that the proposal makes of its signers' keys, and is none of the own wallet: the same signers, by an
   * arrangement that is unknown to it.
   */
  MUSIG_WARNING_UNKNOWN_ARRANGEMENT = 11,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_warning_kind musig_warning_kind;
#else
typedef int32_t musig_warning_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * An immutable byte string, or text, that the library returns, or that a callback gives it.
 */
typedef struct musig_bytes musig_bytes;

/**
 * The configuration of a node. Any thread may fill it; starting a node consumes it.
 */
typedef struct musig_config musig_config;

/**
 * A descriptor of a MuSig2 wallet: tr(musig(...)) or rawtr(musig(...)) (BIP-390). Immutable.
 */
typedef struct musig_descriptor musig_descriptor;

/**
 * The result of an election: the coordinator, and the order of those that follow.
 */
typedef struct musig_election musig_election;

/**
 * The error of one call: its status, and a message that says what to do next.
 *
 * A fallible function writes one to its last parameter if that is not NULL, and NULL on success. The caller frees it.
 */
typedef struct musig_error musig_error;

/**
 * An event: something that happened at a node. Immutable.
 */
typedef struct musig_event musig_event;

/**
 * A wallet of several signers, made of their cards: a descriptor tr(musig(...)) of their extended keys (BIP-390), with a
 * branch of addresses that others pay to and one that takes change. Immutable. The same cards make the same group in any
 * order: signer indices are by identity key.
 */
typedef struct musig_group musig_group;

/**
 * A key set: the participant keys that are aggregated to sign, one for each signer, and their order.
 */
typedef struct musig_key_set musig_key_set;

/**
 * Samples of all metrics of a node, taken at one moment. Immutable.
 */
typedef struct musig_metric_samples musig_metric_samples;

/**
 * A running node: one signer's sessions, peers, store and Bitcoin backend.
 */
typedef struct musig_node musig_node;

/**
 * A proposal: the terms of a session to be created. Terms that are not set have defaults.
 */
typedef struct musig_proposal musig_proposal;

/**
 * A signer whose participant keys are in a device, or another wallet, that signs PSBTs by BIP-373; for one node.
 */
typedef struct musig_psbt_signer musig_psbt_signer;

/**
 * A handle for a session of a node. It does not keep the node running.
 */
typedef struct musig_session musig_session;

/**
 * A signer: its secret keys, in memory; or participant keys behind callbacks.
 */
typedef struct musig_signer musig_signer;

/**
 * The card of a signer, which it gives to the others so that they make a wallet together: its identity key and extended
 * public key, with its origin, perhaps a name and addresses; signed by the identity key. Immutable. It is no secret, but
 * shows all addresses of the wallet to whoever has the cards of all.
 */
typedef struct musig_signer_card musig_signer_card;

/**
 * A ready-made way to a Bitcoin backend: it submits transactions, and it observes the chain.
 */
typedef struct musig_source musig_source;

/**
 * A summary of a session: what is signed, with warnings, as values and as text. Immutable.
 */
typedef struct musig_summary musig_summary;

/**
 * The terms of a session, to which the application consents. Immutable.
 */
typedef struct musig_terms musig_terms;

/**
 * The result of a fallible function: a musig_status_code. Zero is success; numbers never change their meaning, and
 * later versions may return new ones.
 */
typedef int32_t musig_status;

/**
 * A request to a signer of callbacks. All pointers are valid during the call.
 */
typedef struct musig_signing_request {
  /**
   * sizeof this structure in the calling library.
   */
  uint32_t struct_size;
  /**
   * The attempt, counted from 0. Nonces are made once per attempt of a session.
   */
  uint32_t attempt;
  /**
   * The signer index.
   */
  uint32_t signer;
  /**
   * Number of messages to sign: those whose participant keys this signer holds.
   */
  uint32_t messages_count;
  /**
   * The session id, 32 bytes.
   */
  const uint8_t *session_id;
  /**
   * The encoded proposal: see musig_terms_decode.
   */
  const uint8_t *proposal;
  /**
   * Length of the encoded proposal in bytes.
   */
  size_t proposal_length;
  /**
   * The digests to sign, 32 bytes per message.
   */
  const uint8_t *digests;
  /**
   * The participant keys by which this signer signs, 33 bytes per message.
   */
  const uint8_t *participant_keys;
  /**
   * The x-only keys under which the signatures verify, 32 bytes per message.
   */
  const uint8_t *output_keys;
  /**
   * BIP-327 aggregate nonces, 66 bytes per message; NULL in make_nonces.
   */
  const uint8_t *aggregate_nonces;
  /**
   * The positions of the messages in the proposal, one per message, ascending: see musig_terms_message.
   */
  const uint32_t *messages;
  /**
   * The indices of the key sets that the participant keys are of, one per message: musig_terms_key_set has their
   * origins.
   */
  const uint32_t *key_sets;
} musig_signing_request;

/**
 * The callbacks of a foreign signer, which holds participant keys in another process or a device. The identity key is not
 * among them. They run one at a time on a thread of the library; they may block for up to a minute. They return
 * MUSIG_STATUS_OK, MUSIG_STATUS_SIGNER_LOCKED, MUSIG_STATUS_NONCE_GONE, or any other value for a failure. No exception may
 * leave them.
 */
typedef struct musig_signer_callbacks {
  /**
   * sizeof(musig_signer_callbacks).
   */
  uint32_t struct_size;
  /**
   * Writes 1 if it signs with this participant key (33 bytes), else 0. fingerprint (4 bytes) and path are what the
   * proposal says of its origin, a hint: derive along it below a key that was configured, at most a few unhardened
   * steps, and compare. Both are NULL for a key without an origin, path also for no steps. It answers from what it was
   * told when it was made: a device need not be there.
   */
  musig_status (*holds)(void *user_data,
                        int32_t *holds,
                        const uint8_t *key,
                        const uint8_t *fingerprint,
                        const uint32_t *path,
                        size_t path_count);
  /**
   * Makes secret nonces, keeps them for (session, attempt), and writes the public ones: 66 bytes per message. Never
   * twice for one attempt: it then returns MUSIG_STATUS_NONCE_GONE, and the session continues with a new attempt.
   */
  musig_status (*make_nonces)(void *user_data,
                              const struct musig_signing_request *request,
                              uint8_t *nonces);
  /**
   * Consumes the nonces of (session, attempt) and writes partial signatures: 32 bytes per message. If the nonces are
   * lost, as after a restart, it returns MUSIG_STATUS_NONCE_GONE.
   */
  musig_status (*make_partials)(void *user_data,
                                const struct musig_signing_request *request,
                                uint8_t *partials);
  /**
   * Wipes the nonces of a session for attempts up to and including this one. May be NULL.
   */
  void (*forget)(void *user_data,
                 const uint8_t *session_id,
                 uint32_t attempt);
} musig_signer_callbacks;

/**
 * Frees the user_data of callbacks. Called exactly once, after the last callback: inside the first musig_node_stop,
 * inside the _free of the last reference, or on a thread of the library. May be NULL.
 */
typedef void (*musig_destroy)(void *user_data);

/**
 * The callbacks of a broadcaster, which submits transactions. They run on a thread of the library, one call at a
 * time. They may block; after 30 s the result counts as MUSIG_SUBMIT_UNREACHABLE. No exception may leave them.
 */
typedef struct musig_broadcaster {
  /**
   * sizeof(musig_broadcaster).
   */
  uint32_t struct_size;
  /**
   * Submits a transaction in consensus encoding and returns a musig_submit. The same transaction may be submitted
   * again. txid has 32 bytes in internal byte order. The reason of a rejection is written to reason, as text of at
   * most reason_capacity bytes including its NUL.
   */
  int32_t (*submit)(void *user_data,
                    const uint8_t *txid,
                    const uint8_t *transaction,
                    size_t transaction_length,
                    char *reason,
                    size_t reason_capacity);
} musig_broadcaster;

/**
 * A reference to an output of a transaction.
 */
typedef struct musig_outpoint {
  /**
   * The transaction id, in internal byte order.
   */
  uint8_t txid[32];
  /**
   * The index of the output.
   */
  uint32_t vout;
} musig_outpoint;

/**
 * A query to a chain observer. All pointers are valid during the call.
 */
typedef struct musig_chain_query {
  /**
   * sizeof this structure in the calling library.
   */
  uint32_t struct_size;
  /**
   * Number of outputs that the transaction spends.
   */
  uint32_t spends_count;
  /**
   * The transaction id, 32 bytes in internal byte order.
   */
  const uint8_t *txid;
  /**
   * The outputs that it spends. A conflicting transaction spends one of them.
   */
  const struct musig_outpoint *spends;
} musig_chain_query;

/**
 * The answer of a chain observer, zeroed before the call.
 */
typedef struct musig_chain_answer {
  /**
   * sizeof this structure in the calling library.
   */
  uint32_t struct_size;
  /**
   * A musig_chain_state.
   */
  int32_t state;
  /**
   * The height of the block.
   */
  uint32_t height;
  /**
   * Confirmations; 1 for the latest block.
   */
  uint32_t confirmations;
  /**
   * The id of the conflicting transaction, in internal byte order.
   */
  uint8_t conflict_txid[32];
} musig_chain_answer;

/**
 * What a chain observer says of an output, zeroed before the call.
 */
typedef struct musig_coin_answer {
  /**
   * sizeof this structure in the calling library.
   */
  uint32_t struct_size;
  /**
   * A musig_coin_state.
   */
  int32_t state;
  /**
   * Confirmations of an unspent output; 1 for the latest block.
   */
  uint32_t confirmations;
  /**
   * Median time of the eleven blocks before the output's, in seconds since 1970, from which relative locks by time
   * count (BIP-68); 0: it is not known, so such a lock delays nothing.
   */
  uint32_t median_time;
} musig_coin_answer;

/**
 * The last block of the chain, zeroed before the call.
 */
typedef struct musig_chain_tip {
  /**
   * sizeof this structure in the calling library.
   */
  uint32_t struct_size;
  /**
   * The height of the block.
   */
  uint32_t height;
  /**
   * Median time of the last eleven blocks, in seconds since 1970 (BIP-113); 0: the observer cannot tell.
   */
  uint32_t median_time;
} musig_chain_tip;

/**
 * The callbacks of a chain observer. They run on a thread of the library, one call at a time. They may block; after
 * 30 s the answer is discarded. No exception may leave them.
 */
typedef struct musig_chain_observer {
  /**
   * sizeof(musig_chain_observer).
   */
  uint32_t struct_size;
  /**
   * Fills answer and returns 0, or returns another value if the Bitcoin backend cannot be reached.
   */
  int32_t (*status)(void *user_data,
                    const struct musig_chain_query *query,
                    struct musig_chain_answer *answer);
  /**
   * Fills answer for an output, before this node consents to a transaction that spends it, and returns 0, or returns
   * another value if the Bitcoin backend cannot be reached. NULL: the observer cannot tell.
   */
  int32_t (*coin)(void *user_data,
                  const struct musig_outpoint *outpoint,
                  struct musig_coin_answer *answer);
  /**
   * Fills tip with the last block, if a transaction has a lock, and returns 0, or returns another value if the Bitcoin
   * backend cannot be reached. NULL: the observer cannot tell.
   */
  int32_t (*tip)(void *user_data,
                 struct musig_chain_tip *tip);
  /**
   * Sets congested, which is 0, to 1 if the chain is congested, so that transactions take longer than they did, and
   * returns 0, or returns another value if the Bitcoin backend cannot be reached. A coordinator is then given a longer
   * pace, though never more than the broadcast timeout. Called with a look at a transaction, once a minute at most.
   * NULL: the observer cannot tell.
   */
  int32_t (*congested)(void *user_data,
                       int32_t *congested);
} musig_chain_observer;

/**
 * Handles the events of a node, one at a time, in order, on a thread of the library. The node and the event are valid
 * during the call; add references to keep them. Returning 0 acknowledges the event; any other value keeps a durable
 * event, which is redelivered after a restart or musig_node_redeliver. Handlers should be idempotent. A handler may
 * block, which delays no signing, and may call every function, except that musig_node_stop of this node returns
 * MUSIG_STATUS_WOULD_DEADLOCK. No exception may leave it.
 */
typedef int32_t (*musig_event_handler)(void *user_data,
                                       struct musig_node *node,
                                       struct musig_event *event);

/**
 * The log sink of one node. The callback runs on a thread of the library, one line at a time; lines are dropped if it
 * is too slow. No exception may leave it.
 */
typedef struct musig_log_sink {
  /**
   * sizeof(musig_log_sink).
   */
  uint32_t struct_size;
  /**
   * The most verbose musig_log_level that is logged.
   */
  int32_t level;
  /**
   * Logs a line: its musig_log_level, its module, and its message. Both strings are UTF-8 and valid during the call.
   * They contain no secrets.
   */
  void (*log)(void *user_data,
              int32_t level,
              const char *target,
              const char *message);
} musig_log_sink;

/**
 * Settings for the connection to a Bitcoin backend. Zeros, but for struct_size, are the defaults.
 */
typedef struct musig_source_options {
  /**
   * sizeof(musig_source_options).
   */
  uint32_t struct_size;
  /**
   * 1: a proxy is taken from the environment where none is set; else 0.
   */
  int32_t proxy_from_environment;
  /**
   * Milliseconds that a submission, or a look at the chain, may take; 0 for 20 s.
   */
  uint64_t time_limit;
  /**
   * A proxy, such as socks5h://127.0.0.1:9050 (Tor); NULL for none.
   */
  const char *proxy;
  /**
   * Certificate authorities, in PEM form, that alone are trusted; NULL for Mozilla's.
   */
  const char *certificate_authority;
} musig_source_options;

/**
 * A derivation: what makes the final key, which signs, of a key set's aggregate key. Zeros, but for struct_size, are that
 * key itself.
 */
typedef struct musig_derivation {
  /**
   * sizeof(musig_derivation).
   */
  uint32_t struct_size;
  /**
   * A musig_taproot: BIP-341, after the path.
   */
  int32_t taproot;
  /**
   * Number of child numbers in path.
   */
  uint32_t path_count;
  /**
   * Unhardened child numbers (BIP-328).
   */
  uint32_t path[MUSIG_MAX_CHILD_NUMBERS];
  /**
   * The merkle root of the scripts with MUSIG_TAPROOT_MERKLE_ROOT, else zeros.
   */
  uint8_t merkle_root[32];
} musig_derivation;

/**
 * An output that a transaction spends.
 */
typedef struct musig_spent_output {
  /**
   * Its value in satoshis.
   */
  uint64_t value;
  /**
   * Its script (scriptPubKey).
   */
  const uint8_t *script;
  /**
   * Length of its script in bytes.
   */
  size_t script_length;
} musig_spent_output;

/**
 * What a device is asked. All pointers are valid during the call.
 */
typedef struct musig_psbt_request {
  /**
   * sizeof this structure in the calling library.
   */
  uint32_t struct_size;
  /**
   * Number of this PSBT in the session, from 1. Odd ones ask for nonces, even ones for partial signatures.
   */
  uint32_t number;
  /**
   * 1: it was handed over before, and is only to be waited for; else 0.
   */
  int32_t again;
  /**
   * Number of participant keys.
   */
  uint32_t keys_count;
  /**
   * The session id, 32 bytes.
   */
  const uint8_t *session_id;
  /**
   * The PSBT that is to be handed over.
   */
  const uint8_t *psbt;
  /**
   * Length of the PSBT in bytes.
   */
  size_t psbt_length;
  /**
   * The participant keys whose nonces or partial signatures are wanted, 33 bytes each.
   */
  const uint8_t *keys;
  /**
   * When the session expires, in milliseconds since 1970: later answers are of no use.
   */
  uint64_t expires_at;
  /**
   * Tells whether nobody waits for the answer any more (1, else 0): the session ended or expired, or the node stopped. A
   * device that waits calls it now and then, with this request.
   */
  int32_t (*is_cancelled)(const struct musig_psbt_request *request);
  /**
   * The library's own.
   */
  const void *owner;
} musig_psbt_request;

/**
 * The callbacks of a device, or another wallet, that adds what it can to a PSBT. They may block until the session expires;
 * those for different sessions run at the same time, each on a thread of the library. A node that stops waits for them. They
 * return MUSIG_STATUS_OK and the PSBT with what was asked for; MUSIG_STATUS_NOT_READY if the device could not be reached and
 * nothing was handed over: it is asked again each second; or any other value for a failure: it is not asked again before
 * musig_psbt_signer_ask_again. No exception may leave them.
 */
typedef struct musig_psbt_device {
  /**
   * sizeof(musig_psbt_device).
   */
  uint32_t struct_size;
  /**
   * 1: a request that was handed over can be waited for again after a restart, with again set; else 0.
   */
  int32_t keeps_requests;
  /**
   * Adds the public nonces of its keys to a PSBT that has none, and keeps the secret ones. The library takes the answer's
   * reference: see musig_bytes_new.
   */
  musig_status (*add_nonces)(void *user_data,
                             const struct musig_psbt_request *request,
                             struct musig_bytes **answer);
  /**
   * Adds the partial signatures of its keys to a PSBT with the public nonces of all. The library takes the answer's
   * reference.
   */
  musig_status (*add_partials)(void *user_data,
                               const struct musig_psbt_request *request,
                               struct musig_bytes **answer);
} musig_psbt_device;

/**
 * The numeric terms of a session.
 */
typedef struct musig_terms_info {
  /**
   * sizeof(musig_terms_info); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * The signer index of the proposer.
   */
  uint32_t proposer;
  /**
   * Number of signers.
   */
  uint32_t signers_count;
  /**
   * Number of messages.
   */
  uint32_t messages_count;
  /**
   * Number of outputs that the transaction spends; 0 for a proposal of messages.
   */
  uint32_t spent_count;
  /**
   * Number of key sets, at least 1.
   */
  uint32_t key_sets_count;
  /**
   * A musig_election_method.
   */
  int32_t election_method;
  /**
   * A musig_broadcast.
   */
  int32_t broadcast;
  /**
   * A musig_tiers; MUSIG_TIERS_SINGLE without failover.
   */
  int32_t tiers;
  /**
   * Signers per turn with MUSIG_TIERS_FIXED, else 0.
   */
  uint32_t tier_width;
  /**
   * Milliseconds after which the next turn opens; 0 without failover.
   */
  uint64_t broadcast_timeout;
  /**
   * Expiry of the proposal, in milliseconds since 1970-01-01 00:00 UTC.
   */
  uint64_t expires_at;
  /**
   * 1 if the session replaces an older one, else 0.
   */
  int32_t has_replaces;
  /**
   * The id of the older session, or zeros.
   */
  uint8_t replaces[32];
  /**
   * The session id.
   */
  uint8_t session_id[32];
} musig_terms_info;

/**
 * A message of a session's terms.
 */
typedef struct musig_message {
  /**
   * sizeof(musig_message); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * The digest that is signed; for a transaction the BIP-341 signature hash.
   */
  uint8_t digest[32];
  /**
   * The index of the signed input of a transaction, else 0.
   */
  uint32_t input;
  /**
   * A musig_sighash; MUSIG_SIGHASH_DEFAULT without a transaction.
   */
  int32_t sighash;
  /**
   * The index of the key set that signs: see musig_terms_key_set.
   */
  uint32_t key_set;
  /**
   * What makes the final key of the key set's aggregate key: see musig_key_set_final_key.
   */
  struct musig_derivation derivation;
} musig_message;

/**
 * The numbers of a summary.
 */
typedef struct musig_summary_info {
  /**
   * sizeof(musig_summary_info); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * Number of messages.
   */
  uint32_t messages_count;
  /**
   * Number of inputs of the transaction; 0 for messages.
   */
  uint32_t inputs_count;
  /**
   * Number of outputs of the transaction; 0 for messages.
   */
  uint32_t outputs_count;
  /**
   * Number of warnings.
   */
  uint32_t warnings_count;
  /**
   * 1 if a transaction is signed, 0 for messages; then the rest is zero.
   */
  int32_t has_transaction;
  /**
   * Version of the transaction.
   */
  int32_t version;
  /**
   * 1 if the transaction may be replaced in the mempool (BIP-125), else 0.
   */
  int32_t replaceable;
  /**
   * Lock time as it is in the transaction.
   */
  uint32_t lock_time;
  /**
   * A musig_lock: what the lock time means.
   */
  int32_t lock;
  /**
   * The height, or the time in seconds since 1970; 0 without a lock.
   */
  uint32_t lock_value;
  /**
   * Weight with all signatures (BIP-141).
   */
  uint64_t weight;
  /**
   * Fee in satoshis.
   */
  uint64_t fee;
  /**
   * Fee rate in satoshis for 1000 virtual bytes.
   */
  uint64_t fee_rate;
  /**
   * The transaction id, in internal byte order.
   */
  uint8_t txid[32];
} musig_summary_info;

/**
 * A message of a summary.
 */
typedef struct musig_message_summary {
  /**
   * sizeof(musig_message_summary); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * 1 if it is the signature hash of an input, 0 for a raw message, which is signed blind.
   */
  int32_t has_input;
  /**
   * The index of the input.
   */
  uint32_t input;
  /**
   * A musig_sighash.
   */
  int32_t sighash;
  /**
   * The index of the key set that signs.
   */
  uint32_t key_set;
  /**
   * The digest that is signed.
   */
  uint8_t digest[32];
  /**
   * The x-only key that the signature verifies under.
   */
  uint8_t final_key[32];
  /**
   * What makes it of the key set's aggregate key: with a merkle root, scripts that are not shown can spend the output.
   */
  struct musig_derivation derivation;
} musig_message_summary;

/**
 * An input of a summary.
 */
typedef struct musig_input_summary {
  /**
   * sizeof(musig_input_summary); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * A musig_input_kind: who completes it.
   */
  int32_t kind;
  /**
   * The spent output.
   */
  struct musig_outpoint coin;
  /**
   * 1 if the spent output's script is among the own scripts, else 0.
   */
  int32_t own;
  /**
   * The value of the spent output in satoshis.
   */
  uint64_t value;
  /**
   * The spent output's script, valid as long as the summary.
   */
  const uint8_t *script;
  /**
   * Length of the script in bytes.
   */
  size_t script_length;
  /**
   * The spent output's address, valid as long as the summary; NULL if its script has none.
   */
  const char *address;
  /**
   * Sequence number.
   */
  uint32_t sequence;
  /**
   * A musig_lock: the relative lock.
   */
  int32_t lock;
  /**
   * The blocks, or the seconds; 0 without a lock.
   */
  uint32_t lock_value;
} musig_input_summary;

/**
 * An output of a summary.
 */
typedef struct musig_output_summary {
  /**
   * sizeof(musig_output_summary); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * 1 if the script is among the own scripts, else 0.
   */
  int32_t own;
  /**
   * Value in satoshis.
   */
  uint64_t value;
  /**
   * The script, valid as long as the summary.
   */
  const uint8_t *script;
  /**
   * Length of the script in bytes.
   */
  size_t script_length;
  /**
   * The address, valid as long as the summary; NULL if the script has none.
   */
  const char *address;
} musig_output_summary;

/**
 * A warning of a summary.
 */
typedef struct musig_warning {
  /**
   * sizeof(musig_warning); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * A musig_warning_kind.
   */
  int32_t kind;
  /**
   * The index of the input, the output or the message that it is about, else 0.
   */
  uint32_t index;
  /**
   * The other session, or zeros.
   */
  uint8_t session[32];
} musig_warning;

/**
 * A script of the application's wallet.
 */
typedef struct musig_script {
  /**
   * The script.
   */
  const uint8_t *script;
  /**
   * Length of the script in bytes.
   */
  size_t script_length;
} musig_script;

/**
 * What a summary is to say.
 */
typedef struct musig_summary_options {
  /**
   * sizeof(musig_summary_options).
   */
  uint32_t struct_size;
  /**
   * A musig_network, which addresses are of.
   */
  int32_t network;
  /**
   * The scripts of this node's own wallet; may be NULL. Nothing else is own: keys that only the proposal names prove
   * nothing.
   */
  const struct musig_script *own_scripts;
  /**
   * Number of own scripts.
   */
  size_t own_scripts_count;
  /**
   * Fee, in percent of what the outputs pay, above which it is absurd; 0 for 25.
   */
  uint64_t most_fee_percent;
  /**
   * Fee rate, in satoshis per virtual byte, above which it is absurd; 0 for 1000.
   */
  uint64_t most_fee_rate;
} musig_summary_options;

/**
 * The status of a session at its node. Lists of signers have one byte, 1 or 0, for each signer index.
 */
typedef struct musig_session_status {
  /**
   * sizeof(musig_session_status); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * A musig_phase.
   */
  int32_t phase;
  /**
   * This node's own signer index.
   */
  uint32_t own_index;
  /**
   * Number of signers.
   */
  uint32_t signers_count;
  /**
   * The current attempt, counted from 0.
   */
  uint32_t attempt;
  /**
   * 1 if this node's partial signature was sent, or may have been before a restart.
   */
  int32_t partial_sent;
  /**
   * Expiry of the proposal, in milliseconds since 1970-01-01 00:00 UTC.
   */
  uint64_t expires_at;
  /**
   * 1 once the signatures are complete, unless the session only signs; the members up to `watch`, and `current`, are set
   * only then.
   */
  int32_t has_failover;
  /**
   * The elected coordinator.
   */
  uint32_t coordinator;
  /**
   * The last turn that opened, counted from 0.
   */
  uint32_t turn;
  /**
   * A musig_evidence.
   */
  int32_t evidence;
  /**
   * Milliseconds until the next turn opens; UINT64_MAX if this is the last one.
   */
  uint64_t until_next_turn;
  /**
   * With MUSIG_EVIDENCE_CONFIRMED: the height of the block.
   */
  uint32_t height;
  /**
   * With MUSIG_EVIDENCE_CONFIRMED or MUSIG_EVIDENCE_CONFLICT: confirmations, 1 for the latest block.
   */
  uint32_t confirmations;
  /**
   * Number of submissions by this node.
   */
  uint32_t submissions;
  /**
   * Number of earlier watches, each ended by a lost transaction.
   */
  uint32_t watch;
  /**
   * The signers that joined.
   */
  uint8_t accepted[128];
  /**
   * Signers that the session waits for.
   */
  uint8_t missing[128];
  /**
   * The coordinators of the last turn that opened.
   */
  uint8_t current[128];
} musig_session_status;

/**
 * The state of a signer of a session, as far as this node knows.
 */
typedef struct musig_signer_status {
  /**
   * sizeof(musig_signer_status); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * The signer's index.
   */
  uint32_t signer;
  /**
   * 1 if it is connected, or 0. This node itself always is.
   */
  int32_t connected;
  /**
   * 1 if it joined the session, or 0.
   */
  int32_t consented;
  /**
   * When this node last heard of it, directly or through other signers, in milliseconds since 1970-01-01 00:00 UTC;
   * 0 if it did not since it started, or had no session with it then.
   */
  uint64_t last_seen;
} musig_signer_status;

/**
 * A signer as the coordinator of its turn, as its node sees it now.
 */
typedef struct musig_coordinator_status {
  /**
   * sizeof(musig_coordinator_status); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * The signer's index.
   */
  uint32_t signer;
  /**
   * Its turn, counted from 0.
   */
  uint32_t turn;
  /**
   * 1 if it is connected, or 0. This node itself always is.
   */
  int32_t connected;
  /**
   * 1 if it is known to hold the signatures, without which it cannot broadcast, or 0. Once no turn is ahead that may be
   * forgotten.
   */
  int32_t holds;
  /**
   * A musig_failure_cause: why it is not waited for any longer.
   */
  int32_t cause;
  /**
   * Milliseconds that it is waited for, from the start of its turn on: the broadcast timeout, or less.
   */
  uint64_t wait;
  /**
   * When its turn opens if nothing more is heard until then, in milliseconds since 1970-01-01 00:00 UTC; 0 if it is open, or
   * the watch waits.
   */
  uint64_t opens_at;
} musig_coordinator_status;

/**
 * Metrics of a node. Counters start at zero with the node.
 */
typedef struct musig_metrics {
  /**
   * sizeof(musig_metrics); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * 1 if the node failed with an internal error.
   */
  int32_t failed;
  /**
   * Sessions, including closed ones.
   */
  uint64_t sessions;
  /**
   * Frames sent.
   */
  uint64_t frames_sent;
  /**
   * Messages and calls that were refused.
   */
  uint64_t refused;
  /**
   * Store commits.
   */
  uint64_t commits;
  /**
   * Store commits that were synced.
   */
  uint64_t syncs;
  /**
   * Store operations that failed.
   */
  uint64_t store_failures;
  /**
   * Bytes received from peers.
   */
  uint64_t bytes_in;
  /**
   * Bytes sent to peers.
   */
  uint64_t bytes_out;
  /**
   * Events waiting for the application.
   */
  uint64_t events_waiting;
  /**
   * Notices dropped because the application did not take them in time.
   */
  uint64_t notices_dropped;
} musig_metrics;

/**
 * A bucket of a metric's histogram.
 */
typedef struct musig_metric_bucket {
  /**
   * The longest duration that is in it, in seconds; infinite for the last one.
   */
  double upper_bound;
  /**
   * Number of durations up to it, those of the buckets before included.
   */
  uint64_t count;
} musig_metric_bucket;

/**
 * A sample of a metric. Pointers are valid as long as the samples it came from.
 */
typedef struct musig_metric_sample {
  /**
   * sizeof(musig_metric_sample); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * A musig_metric_kind.
   */
  int32_t kind;
  /**
   * The metric's name, such as "musig_sessions_completed_total".
   */
  const char *name;
  /**
   * The name of the label that tells series of one metric apart; NULL if there is one series.
   */
  const char *label;
  /**
   * The value of that label; NULL without one.
   */
  const char *label_value;
  /**
   * The value; with MUSIG_METRIC_HISTOGRAM the number of durations.
   */
  uint64_t value;
  /**
   * With MUSIG_METRIC_HISTOGRAM: the sum of the durations in seconds, else 0.
   */
  double sum;
  /**
   * With MUSIG_METRIC_HISTOGRAM: the buckets, by their bounds; else NULL.
   */
  const struct musig_metric_bucket *buckets;
  /**
   * Number of buckets.
   */
  uint32_t buckets_count;
} musig_metric_sample;

/**
 * Record of a signer as a coordinator, as a node saw it itself. Each verdict counts half after 30 days.
 */
typedef struct musig_reputation {
  /**
   * sizeof(musig_reputation); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * Sessions in which its turn sufficed: the transaction was seen before the next turn opened.
   */
  double successes;
  /**
   * Sessions in which the whole broadcast timeout of its turn passed without the transaction, which was broadcast by
   * somebody else after that.
   */
  double failures;
  /**
   * Expected share of successes, from 0 to 1: (4 + successes) / (5 + successes + failures), so 0.8 for a signer of whom
   * nothing is known.
   */
  double reliability;
} musig_reputation;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Gets the version of the loaded library.
 *
 * Compare it with MUSIG_VERSION_NUMBER, the version that the program was compiled with.
 *
 * Returns: major * 1000000 + minor * 1000 + patch.
 */
uint32_t musig_version(void);

/**
 * Gets the version of the loaded library's binary interface.
 *
 * It increases when programs have to be compiled again. A program works only with a library of the MUSIG_ABI_VERSION
 * that it was compiled with.
 *
 * Returns: the version of the binary interface.
 */
uint32_t musig_abi_version(void);

/**
 * Gets the version of the loaded library, as text.
 *
 * Returns: static, NUL-terminated text such as "0.1.0".
 */
const char *musig_version_string(void);

/**
 * Names a status in a few English words.
 *
 * The musig_error of a call describes what went wrong in it.
 *
 * Returns: a static, NUL-terminated text; "unknown status" for a number that this version does not define.
 * In:      status: any number.
 */
const char *musig_status_string(musig_status status);

/**
 * Gets the status of an error.
 *
 * Returns: the status that the call returned; MUSIG_STATUS_NULL_ARGUMENT for NULL.
 * In:      error: the error.
 */
musig_status musig_error_status(const struct musig_error *error);

/**
 * Gets the message of an error, for logs and users.
 *
 * The wording may change with any version. It contains values such as keys, paths and session ids, never secrets.
 *
 * Returns: a NUL-terminated text in UTF-8 that is valid as long as the error; "" for NULL.
 * In:      error: the error.
 */
const char *musig_error_message(const struct musig_error *error);

/**
 * Tells whether the same call may succeed later, though nothing in it changes.
 *
 * What failed is outside of the call (the network, the disk, the Bitcoin backend, a device), or ends (a limit that other
 * sessions free, a suspension, a locked signer).
 *
 * Returns: 1 if it may; 0 if the call has to change, and for NULL.
 * In:      error: the error.
 */
int32_t musig_error_is_retryable(const struct musig_error *error);

/**
 * Adds a reference to an error.
 *
 * Returns: the same pointer.
 * In:      error: the error; NULL stays NULL.
 */
struct musig_error *musig_error_ref(struct musig_error *error);

/**
 * Releases a reference to an error; the last one frees it.
 *
 * In:      error: the error; NULL is ignored.
 */
void musig_error_free(struct musig_error *error);

/**
 * Creates a byte string, for a callback that gives one to the library.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for too many bytes.
 * Out:     out: the byte string; release it with musig_bytes_free.
 * In:      data: the bytes, which are copied; may be NULL if there are none.
 *          length: number of bytes, at most 8 MiB.
 */
MUSIG_MUST_USE
musig_status musig_bytes_new(struct musig_bytes **out,
                             const uint8_t *data,
                             size_t length,
                             struct musig_error **error);

/**
 * Gets a pointer to the bytes.
 *
 * A NUL follows that is not counted, so text can be used as a C string.
 *
 * Returns: a pointer that is valid as long as the byte string; NULL for NULL.
 * In:      bytes: the byte string.
 */
const uint8_t *musig_bytes_data(const struct musig_bytes *bytes);

/**
 * Gets the length of the bytes.
 *
 * Returns: the length in bytes, without the trailing NUL; 0 for NULL.
 * In:      bytes: the byte string.
 */
size_t musig_bytes_length(const struct musig_bytes *bytes);

/**
 * Adds a reference to bytes.
 *
 * Returns: the same pointer.
 * In:      bytes: the byte string; NULL stays NULL.
 */
struct musig_bytes *musig_bytes_ref(struct musig_bytes *bytes);

/**
 * Releases a reference to bytes; the last one frees them.
 *
 * In:      bytes: the byte string; NULL is ignored.
 */
void musig_bytes_free(struct musig_bytes *bytes);

/**
 * Creates a signer from a secret key, kept in this process's memory.
 *
 * The key is kept in a page that is not swapped and excluded from core dumps, where the system allows that. Wipe your
 * own copy afterwards.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WRONG_SECRET if it is zero or not less than the order of secp256k1.
 * Out:     out: the signer; release it with musig_signer_free.
 * In:      secret: the 32 bytes of the secret key.
 */
MUSIG_MUST_USE
musig_status musig_signer_new(struct musig_signer **out,
                              const uint8_t *secret,
                              struct musig_error **error);

/**
 * Creates a signer with a new random key, which cannot be read back.
 *
 * For tests, and for ephemeral signers.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_SIGNER if the system has no random bytes.
 * Out:     out: the signer; release it with musig_signer_free.
 */
MUSIG_MUST_USE
musig_status musig_signer_generate(struct musig_signer **out,
                                   struct musig_error **error);

/**
 * Creates a foreign signer from callbacks, for participant keys in another process or a device that supports MuSig2
 * (BIP-327).
 *
 * It is set by musig_config_set_foreign_signer, beside a signer that holds the identity key. Its public nonces and partial
 * signatures are verified before they are stored or sent.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if holds, make_nonces or make_partials is NULL. The library
 *          takes ownership of user_data only with MUSIG_STATUS_OK.
 * Out:     out: the signer; release it with musig_signer_free.
 * In:      callbacks: the table, which is copied.
 *          user_data: passed to each callback; may be NULL.
 *          destroy: called with user_data once no node and no reference uses the signer any more; may be NULL.
 */
MUSIG_MUST_USE
musig_status musig_signer_from_callbacks(struct musig_signer **out,
                                         const struct musig_signer_callbacks *callbacks,
                                         void *user_data,
                                         musig_destroy destroy,
                                         struct musig_error **error);

/**
 * Adds the secret key of a participant key to a signer, also while a node runs with it.
 *
 * From the first one on sessions are signed with participant keys alone, not with the identity key. After
 * musig_signer_lock each is to be added again.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WRONG_SECRET if it is zero or not less than the order of secp256k1;
 *          MUSIG_STATUS_SIGNER for the identity key, and for too many; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks.
 * In:      signer: the signer.
 * Out:     out: the 33 bytes of the compressed public key.
 * In:      secret: the 32 bytes of the secret key.
 * Blocks:  until a signature in progress is complete.
 */
MUSIG_MUST_USE
musig_status musig_signer_add_key(const struct musig_signer *signer,
                                  uint8_t *out,
                                  const uint8_t *secret,
                                  struct musig_error **error);

/**
 * Adds an extended private key (BIP-32) to a signer, with its origin (BIP-380), also while a node runs with it.
 *
 * Usually it is that of an account, below the last hardened step. Then a participant key is this signer's too if its own
 * origin in the proposal leads there: fingerprint and path of this one, then at most 8 unhardened steps. The key at the
 * end of these is derived and compared; keys without an origin are not looked for. From then on sessions are signed with
 * participant keys alone, and after musig_signer_lock it is to be added again. The identity key must be no unhardened
 * relative of it: this is refused for the extended key itself, its children 0 to 19, and the children 0 to 19 of its
 * children 0 and 1; others cannot be seen.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WRONG_SECRET for what is no such key or cannot have this origin;
 *          MUSIG_STATUS_SIGNER for a relative of the identity key, and for too many; MUSIG_STATUS_NOT_LOCAL for a signer
 *          of callbacks; MUSIG_STATUS_INVALID_ARGUMENT.
 * In:      signer: the signer.
 *          xprv: the key in base58, such as `xprv…` or `tprv…`. Wipe your own copy afterwards.
 *          fingerprint: the 4 bytes of the master key's fingerprint.
 *          path: the child numbers from the master key to this one, from 2147483648 on hardened; may be NULL for none.
 *          path_count: number of child numbers, at most 16.
 * Blocks:  until a signature in progress is complete.
 */
MUSIG_MUST_USE
musig_status musig_signer_add_xprv(const struct musig_signer *signer,
                                   const char *xprv,
                                   const uint8_t *fingerprint,
                                   const uint32_t *path,
                                   size_t path_count,
                                   struct musig_error **error);

/**
 * Checks whether a signer signs sessions with a participant key, locked or not.
 *
 * A key below an extended private key is known by its origin.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_NOT_LOCAL for a signer
 *          of callbacks.
 * In:      signer: the signer.
 * Out:     out: 1 if it does, else 0.
 * In:      key: the 33 bytes of the compressed public key.
 *          fingerprint: the 4 bytes of the fingerprint in its origin; may be NULL for a key without an origin.
 *          path: the child numbers of its origin; may be NULL for none.
 *          path_count: number of child numbers, at most 16.
 * Blocks:  until a signature in progress is complete.
 */
MUSIG_MUST_USE
musig_status musig_signer_holds(const struct musig_signer *signer,
                                int32_t *out,
                                const uint8_t *key,
                                const uint8_t *fingerprint,
                                const uint32_t *path,
                                size_t path_count,
                                struct musig_error **error);

/**
 * Gets the identity key of a signer.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks, which has none.
 * In:      signer: the signer.
 * Out:     out: the 33 bytes of the compressed public key.
 */
MUSIG_MUST_USE
musig_status musig_signer_public_key(const struct musig_signer *signer,
                                     uint8_t *out,
                                     struct musig_error **error);

/**
 * Locks a signer: wipes its keys and all its secret nonces.
 *
 * A node with a locked signer watches, relays and broadcasts. Attempts with unused nonces are restarted.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks.
 * In:      signer: the signer.
 * Blocks:  until a signature in progress is complete.
 */
MUSIG_MUST_USE
musig_status musig_signer_lock(const struct musig_signer *signer,
                               struct musig_error **error);

/**
 * Unlocks a signer with the secret of its identity key.
 *
 * Call musig_node_announce afterwards.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WRONG_SECRET if it is not the key of this signer, which stays locked;
 *          MUSIG_STATUS_NOT_LOCAL for a signer of callbacks.
 * In:      signer: the signer.
 *          secret: the 32 bytes of the secret key.
 * Blocks:  until a signature in progress is complete.
 */
MUSIG_MUST_USE
musig_status musig_signer_unlock(const struct musig_signer *signer,
                                 const uint8_t *secret,
                                 struct musig_error **error);

/**
 * Checks whether a signer is locked.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks.
 * In:      signer: the signer.
 * Out:     out: 1 if it is locked, else 0.
 * Blocks:  until a signature in progress is complete.
 */
MUSIG_MUST_USE
musig_status musig_signer_is_locked(const struct musig_signer *signer,
                                    int32_t *out,
                                    struct musig_error **error);

/**
 * Adds a reference to a signer.
 *
 * Returns: the same pointer.
 * In:      signer: the signer; NULL stays NULL.
 */
struct musig_signer *musig_signer_ref(struct musig_signer *signer);

/**
 * Releases a reference to a signer; the last one, those of nodes included, wipes its key.
 *
 * In:      signer: the signer; NULL is ignored.
 */
void musig_signer_free(struct musig_signer *signer);

/**
 * Creates an empty configuration.
 *
 * A node needs a signer, a store, and an observer or musig_config_set_without_observer.
 *
 * Returns: MUSIG_STATUS_OK.
 * Out:     out: the configuration; release it with musig_config_free.
 */
MUSIG_MUST_USE
musig_status musig_config_new(struct musig_config **out,
                              struct musig_error **error);

/**
 * Sets the signer of a node, which holds its identity key.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks, which is set by
 *          musig_config_set_foreign_signer beside another one.
 * In:      config: the configuration.
 *          signer: the signer; the configuration takes a reference of its own.
 */
MUSIG_MUST_USE
musig_status musig_config_set_signer(const struct musig_config *config,
                                     const struct musig_signer *signer,
                                     struct musig_error **error);

/**
 * Sets the foreign signer of a node, which holds participant keys.
 *
 * The node asks the signer of musig_config_set_signer first, and this one for all other keys. With it the identity key
 * signs no session.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED; MUSIG_STATUS_INVALID_ARGUMENT for a signer that does not consist of
 *          callbacks.
 * In:      config: the configuration.
 *          signer: a signer of musig_signer_from_callbacks; the configuration takes a reference of its own.
 */
MUSIG_MUST_USE
musig_status musig_config_set_foreign_signer(const struct musig_config *config,
                                             const struct musig_signer *signer,
                                             struct musig_error **error);

/**
 * Sets the file that stores a node's sessions.
 *
 * Only one node at a time can open it. It is created if it does not exist.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 *          path: the path of the file, in UTF-8.
 */
MUSIG_MUST_USE
musig_status musig_config_set_store_path(const struct musig_config *config,
                                         const char *path,
                                         struct musig_error **error);

/**
 * Keeps sessions in memory only, for tests.
 *
 * After a restart without its store a node can sign, but not resume its sessions.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 */
MUSIG_MUST_USE
musig_status musig_config_set_store_memory(const struct musig_config *config,
                                           struct musig_error **error);

/**
 * Adds an address to listen on.
 *
 * The first one replaces the default, an ephemeral port on all interfaces.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is not a multiaddress; MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 *          address: a multiaddress such as "/ip4/0.0.0.0/tcp/4001".
 */
MUSIG_MUST_USE
musig_status musig_config_add_listen_address(const struct musig_config *config,
                                             const char *address,
                                             struct musig_error **error);

/**
 * Adds the address of a peer to dial, and to redial whenever it is disconnected.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is not a multiaddress; MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 *          address: a multiaddress such as "/ip4/192.0.2.1/tcp/4001".
 */
MUSIG_MUST_USE
musig_status musig_config_add_peer_address(const struct musig_config *config,
                                           const char *address,
                                           struct musig_error **error);

/**
 * Adds a bootstrap peer: a server of the distributed hash table in which signers find each other by their keys.
 *
 * The node dials it at the start, and redials it whenever it is disconnected. It need not be a signer.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is not a multiaddress that ends with a peer id;
 *          MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 *          address: a multiaddress such as "/dns4/relay.example/tcp/4001/p2p/12D3KooW...".
 */
MUSIG_MUST_USE
musig_status musig_config_add_bootstrap_address(const struct musig_config *config,
                                                const char *address,
                                                struct musig_error **error);

/**
 * Adds a circuit relay through which other signers reach this node.
 *
 * The node keeps a reservation at each relay. For nodes that cannot be dialed directly.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is not a multiaddress that ends with a peer id;
 *          MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 *          address: a multiaddress such as "/dns4/relay.example/tcp/4001/p2p/12D3KooW...".
 */
MUSIG_MUST_USE
musig_status musig_config_add_relay_address(const struct musig_config *config,
                                            const char *address,
                                            struct musig_error **error);

/**
 * Adds an address under which others reach this node although it does not listen on it.
 *
 * It is of a forwarded port, or of an onion service ("/onion3/...").
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is not a multiaddress; MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 *          address: a multiaddress such as "/ip4/192.0.2.1/tcp/4001".
 */
MUSIG_MUST_USE
musig_status musig_config_add_external_address(const struct musig_config *config,
                                               const char *address,
                                               struct musig_error **error);

/**
 * Sends every connection that a node opens through a SOCKS 5 proxy, such as Tor's.
 *
 * The proxy resolves names, of onion services too. Nothing is dialled, looked up, listened for or announced beside it:
 * others reach the node through relays, or through an onion service, if musig_config_add_external_address has its
 * address and musig_config_add_listen_address the loopback address where it leads.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is no such address; MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 *          proxy: the proxy, such as "socks5h://127.0.0.1:9050" or "socks5h://user:password@127.0.0.1:9050".
 */
MUSIG_MUST_USE
musig_status musig_config_set_proxy(const struct musig_config *config,
                                    const char *proxy,
                                    struct musig_error **error);

/**
 * Disables the network: sessions are exchanged by musig_session_export and musig_node_import only.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 */
MUSIG_MUST_USE
musig_status musig_config_set_offline(const struct musig_config *config,
                                      struct musig_error **error);

/**
 * Sets the broadcaster, which submits transactions when this node's turn opens.
 *
 * Without one the application broadcasts on MUSIG_EVENT_SHOULD_BROADCAST.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is NULL; MUSIG_STATUS_CONFIG_USED. The
 *          library takes ownership of user_data only with MUSIG_STATUS_OK.
 * In:      config: the configuration.
 *          broadcaster: the table, which is copied.
 *          user_data: passed to each callback; may be NULL.
 *          destroy: called with user_data after the last callback; may be NULL.
 */
MUSIG_MUST_USE
musig_status musig_config_set_broadcaster(const struct musig_config *config,
                                          const struct musig_broadcaster *broadcaster,
                                          void *user_data,
                                          musig_destroy destroy,
                                          struct musig_error **error);

/**
 * Sets the chain observer, which decides when a watch pauses and ends.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is NULL; MUSIG_STATUS_CONFIG_USED. The
 *          library takes ownership of user_data only with MUSIG_STATUS_OK.
 * In:      config: the configuration.
 *          observer: the table, which is copied.
 *          user_data: passed to each callback; may be NULL.
 *          destroy: called with user_data after the last callback; may be NULL.
 */
MUSIG_MUST_USE
musig_status musig_config_set_observer(const struct musig_config *config,
                                       const struct musig_chain_observer *observer,
                                       void *user_data,
                                       musig_destroy destroy,
                                       struct musig_error **error);

/**
 * Declares the application the observer: it watches the chain and calls musig_session_notify_broadcast_complete.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 */
MUSIG_MUST_USE
musig_status musig_config_set_without_observer(const struct musig_config *config,
                                               struct musig_error **error);

/**
 * Sets the event handler.
 *
 * Without one, the application takes events with musig_node_next_event.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED. The library takes ownership of
 *          user_data only with MUSIG_STATUS_OK.
 * In:      config: the configuration.
 *          handler: the callback.
 *          user_data: passed to each callback; may be NULL.
 *          destroy: called with user_data after the last callback; may be NULL.
 */
MUSIG_MUST_USE
musig_status musig_config_set_event_handler(const struct musig_config *config,
                                            musig_event_handler handler,
                                            void *user_data,
                                            musig_destroy destroy,
                                            struct musig_error **error);

/**
 * Sets the log sink of a node.
 *
 * Without one nothing is logged. The library never writes to stdout or stderr.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is NULL or the level invalid;
 *          MUSIG_STATUS_CONFIG_USED. The library takes ownership of
 *          user_data only with MUSIG_STATUS_OK.
 * In:      config: the configuration.
 *          sink: the table, which is copied.
 *          user_data: passed to each callback; may be NULL.
 *          destroy: called with user_data after the last callback; may be NULL.
 */
MUSIG_MUST_USE
musig_status musig_config_set_log_sink(const struct musig_config *config,
                                       const struct musig_log_sink *sink,
                                       void *user_data,
                                       musig_destroy destroy,
                                       struct musig_error **error);

/**
 * Sets a numeric option.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the option is unknown or the value out of range;
 *          MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 *          option: a musig_option.
 *          value: the value, in the unit that the option states.
 */
MUSIG_MUST_USE
musig_status musig_config_set_number(const struct musig_config *config,
                                     int32_t option,
                                     uint64_t value,
                                     struct musig_error **error);

/**
 * Sets the signers whose proposals a node takes.
 *
 * By default it takes everybody's. With this the proposals of all others are refused unseen.
 * musig_node_set_accepted_proposers changes it while the node runs.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 *          proposers: their compressed public keys, 33 bytes each; may be NULL if there are none.
 *          proposers_count: number of proposers; 0 for nobody's proposals.
 */
MUSIG_MUST_USE
musig_status musig_config_set_accepted_proposers(const struct musig_config *config,
                                                 const uint8_t *proposers,
                                                 size_t proposers_count,
                                                 struct musig_error **error);

/**
 * Adds a reference to a configuration.
 *
 * Returns: the same pointer.
 * In:      config: the configuration; NULL stays NULL.
 */
struct musig_config *musig_config_ref(struct musig_config *config);

/**
 * Releases a reference to a configuration; the last one frees it, and destroys the user_data of callbacks that no
 * node took over.
 *
 * In:      config: the configuration; NULL is ignored.
 */
void musig_config_free(struct musig_config *config);

/**
 * Creates a source that asks a Bitcoin node by JSON-RPC (Bitcoin Core, Knots, btcd and relatives).
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG for an address, proxy or certificate that cannot be used;
 *          MUSIG_STATUS_INVALID_ARGUMENT for a cookie file and a user.
 * Out:     out: the source; release it with musig_source_free.
 * In:      address: the address, such as http://127.0.0.1:8332.
 *          cookie_file: the file .cookie in the node's data directory; may be NULL for none.
 *          user: the user of the RPC interface; may be NULL for none.
 *          password: the user's password; may be NULL for none.
 *          options: settings; may be NULL for the defaults.
 */
MUSIG_MUST_USE
musig_status musig_source_new_core(struct musig_source **out,
                                   const char *address,
                                   const char *cookie_file,
                                   const char *user,
                                   const char *password,
                                   const struct musig_source_options *options,
                                   struct musig_error **error);

/**
 * Creates a source that asks a server with Esplora's HTTP interface.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG for an address, proxy or certificate that cannot be used.
 * Out:     out: the source; release it with musig_source_free.
 * In:      address: the address, such as `https://host.example/api`.
 *          options: settings; may be NULL for the defaults.
 */
MUSIG_MUST_USE
musig_status musig_source_new_esplora(struct musig_source **out,
                                      const char *address,
                                      const struct musig_source_options *options,
                                      struct musig_error **error);

/**
 * Creates a source that asks an Electrum server.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG for an address, proxy or certificate that cannot be used.
 * Out:     out: the source; release it with musig_source_free.
 * In:      address: the address: ssl://host.example:50002 or tcp://127.0.0.1:50001.
 *          options: settings; may be NULL for the defaults.
 */
MUSIG_MUST_USE
musig_status musig_source_new_electrum(struct musig_source **out,
                                       const char *address,
                                       const struct musig_source_options *options,
                                       struct musig_error **error);

/**
 * Creates a source of several, as one.
 *
 * A transaction is submitted to all of them at once, and the first that takes it answers for all. Only those that are
 * trusted are asked for the state of the chain. Where they disagree, the weaker answer counts.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for more than 64 sources of a kind.
 * Out:     out: the source, which keeps a reference of each; release it with musig_source_free.
 * In:      trusted: the sources whose view of the chain counts, such as one's own node; may be NULL for none.
 *          trusted_count: number of trusted sources.
 *          submit_to: the sources that transactions are only submitted to; may be NULL for none.
 *          submit_to_count: number of the other sources.
 */
MUSIG_MUST_USE
musig_status musig_source_new_combined(struct musig_source **out,
                                       const struct musig_source *const *trusted,
                                       size_t trusted_count,
                                       const struct musig_source *const *submit_to,
                                       size_t submit_to_count,
                                       struct musig_error **error);

/**
 * Gets the kind of backend of a source and its address, for people, without a password.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      source: the source.
 * Out:     out: the text; release it with musig_bytes_free.
 */
MUSIG_MUST_USE
musig_status musig_source_name(const struct musig_source *source,
                               struct musig_bytes **out,
                               struct musig_error **error);

/**
 * Sets the broadcaster and the chain observer to a source.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 *          source: the source, of which the configuration keeps a reference.
 */
MUSIG_MUST_USE
musig_status musig_config_set_source(const struct musig_config *config,
                                     const struct musig_source *source,
                                     struct musig_error **error);

/**
 * Adds a reference to a source.
 *
 * Returns: the same pointer.
 * In:      source: the source; NULL stays NULL.
 */
struct musig_source *musig_source_ref(struct musig_source *source);

/**
 * Releases a reference to a source; the last one frees it.
 *
 * In:      source: the source; NULL is ignored.
 */
void musig_source_free(struct musig_source *source);

/**
 * Elects a coordinator among signers.
 *
 * Needs no node, and is deterministic.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_ELECTION if
 *          there are no signers.
 * Out:     out: the election; release it with musig_election_free.
 * In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
 *          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
 *          method: a musig_election_method.
 *          id: the 32 bytes of the session id, used by MUSIG_ELECTION_SESSION_SALTED only.
 */
MUSIG_MUST_USE
musig_status musig_election_new(struct musig_election **out,
                                const uint8_t *signers,
                                size_t signers_count,
                                int32_t method,
                                const uint8_t *id,
                                struct musig_error **error);

/**
 * Gets the method of an election.
 *
 * Returns: a musig_election_method; -1 for NULL.
 * In:      election: the election.
 */
int32_t musig_election_method_of(const struct musig_election *election);

/**
 * Gets the signer index of the elected coordinator, the first of the priority list.
 *
 * Returns: the index; UINT32_MAX for NULL.
 * In:      election: the election.
 */
uint32_t musig_election_coordinator(const struct musig_election *election);

/**
 * Gets the number of signers of an election.
 *
 * Returns: the number of signers; 0 for NULL.
 * In:      election: the election.
 */
size_t musig_election_signers(const struct musig_election *election);

/**
 * Gets the priority list: all signer indices in the order of their turns.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_BUFFER_TOO_SMALL.
 * In:      election: the election.
 * Out:     out: the indices, as many as there are signers.
 * In:      out_capacity: room in out, in indices; MUSIG_MAX_SIGNERS always suffices.
 */
MUSIG_MUST_USE
musig_status musig_election_priority_list(const struct musig_election *election,
                                          uint32_t *out,
                                          size_t out_capacity,
                                          struct musig_error **error);

/**
 * Gets the signer that follows another one in the priority list.
 *
 * The lexicographic and the hash-based method wrap after the last one; with the others no signer follows it.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY if no signer follows; MUSIG_STATUS_ELECTION if the index is out of
 *          range.
 * In:      election: the election.
 * Out:     out: a signer index.
 * In:      index: a signer index.
 */
MUSIG_MUST_USE
musig_status musig_election_backup_after(const struct musig_election *election,
                                         uint32_t *out,
                                         uint32_t index,
                                         struct musig_error **error);

/**
 * Gets the election proof, a hash of the set of keys that signers compare.
 *
 * Returns: 64 lower-case hexadecimal digits and a NUL, which are valid as long as the election; "" for NULL.
 * In:      election: the election.
 */
const char *musig_election_proof(const struct musig_election *election);

/**
 * Verifies a claimed election: method, coordinator, priority list and proof.
 *
 * Needs no node.
 *
 * Returns: MUSIG_STATUS_OK if it is the election of these signers; MUSIG_STATUS_ELECTION_MISMATCH if
 *          not;
 *          MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT.
 * In:      signers: the compressed public keys, 33 bytes each.
 *          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
 *          method: a musig_election_method.
 *          id: the 32 bytes of the session id.
 *          coordinator: the claimed coordinator, a signer index.
 *          priority_list: the claimed priority list, signer indices.
 *          priority_list_count: number of indices in priority_list.
 *          proof: the claimed election proof, as text.
 */
MUSIG_MUST_USE
musig_status musig_election_verify(const uint8_t *signers,
                                   size_t signers_count,
                                   int32_t method,
                                   const uint8_t *id,
                                   uint32_t coordinator,
                                   const uint32_t *priority_list,
                                   size_t priority_list_count,
                                   const char *proof,
                                   struct musig_error **error);

/**
 * Adds a reference to an election.
 *
 * Returns: the same pointer.
 * In:      election: the election; NULL stays NULL.
 */
struct musig_election *musig_election_ref(struct musig_election *election);

/**
 * Releases a reference to an election; the last one frees it.
 *
 * In:      election: the election; NULL is ignored.
 */
void musig_election_free(struct musig_election *election);

/**
 * Aggregates public keys by BIP-327.
 *
 * Needs no node. It fails for keys that no session signs with. musig_key_set_final_key derives from them.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_PROPOSAL if there
 *          are no signers, or if two keys are equal or differ in their parity only.
 * Out:     out: the 33 bytes of the aggregate key (GetPlainPubkey); its last 32 are the x-only key.
 * In:      signers: the compressed public keys, 33 bytes each.
 *          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
 *          order: a musig_key_order.
 */
MUSIG_MUST_USE
musig_status musig_aggregate_key(uint8_t *out,
                                 const uint8_t *signers,
                                 size_t signers_count,
                                 int32_t order,
                                 struct musig_error **error);

/**
 * Creates a key set.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_PROPOSAL for keys that
 *          no session signs with: none, or two that are equal or differ in their parity only.
 * Out:     out: the key set; release it with musig_key_set_free.
 * In:      keys: the compressed participant keys, 33 bytes each, by signer index.
 *          keys_count: number of keys, 1 to MUSIG_MAX_SIGNERS.
 *          order: a musig_key_order.
 */
MUSIG_MUST_USE
musig_status musig_key_set_new(struct musig_key_set **out,
                               const uint8_t *keys,
                               size_t keys_count,
                               int32_t order,
                               struct musig_error **error);

/**
 * Sets the origin of a key (BIP-380), from which its signer derives it again.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the key does not exist; MUSIG_STATUS_INVALID_ARGUMENT.
 * In:      key_set: the key set. Proposals that have it already are not affected.
 *          signer: the signer index of the key.
 *          fingerprint: the 4 bytes of the master key's fingerprint.
 *          path: the child numbers from the master key to this one, from 2147483648 on hardened; may be NULL for none.
 *          path_count: number of child numbers, at most 16.
 */
MUSIG_MUST_USE
musig_status musig_key_set_set_origin(const struct musig_key_set *key_set,
                                      uint32_t signer,
                                      const uint8_t *fingerprint,
                                      const uint32_t *path,
                                      size_t path_count,
                                      struct musig_error **error);

/**
 * Gets the keys of a key set.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      key_set: the key set.
 * Out:     out: the compressed participant keys, 33 bytes each, by signer index; release it with musig_bytes_free.
 */
MUSIG_MUST_USE
musig_status musig_key_set_keys(const struct musig_key_set *key_set,
                                struct musig_bytes **out,
                                struct musig_error **error);

/**
 * Gets the order in which a key set is aggregated.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      key_set: the key set.
 * Out:     out: a musig_key_order.
 */
MUSIG_MUST_USE
musig_status musig_key_set_order(const struct musig_key_set *key_set,
                                 int32_t *out,
                                 struct musig_error **error);

/**
 * Gets the origin of a key of a key set.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the key does not exist; MUSIG_STATUS_NO_SUCH_FIELD if it
 *          has no origin; MUSIG_STATUS_BUFFER_TOO_SMALL.
 * In:      key_set: the key set.
 * Out:     fingerprint: the 4 bytes of the master key's fingerprint.
 *          out: the child numbers.
 * In:      out_capacity: room in out, in child numbers; 16 always suffice.
 * Out:     out_count: number of child numbers written.
 * In:      signer: the signer index of the key.
 */
MUSIG_MUST_USE
musig_status musig_key_set_origin(const struct musig_key_set *key_set,
                                  uint8_t *fingerprint,
                                  uint32_t *out,
                                  size_t out_capacity,
                                  size_t *out_count,
                                  uint32_t signer,
                                  struct musig_error **error);

/**
 * Computes the final key of a derivation: with BIP-341 the key of an output.
 *
 * Needs no node. It fails for whatever no session signs with.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_PROPOSAL.
 * In:      key_set: the key set.
 * Out:     out: the 33 bytes of the final key; its last 32 are the x-only key.
 * In:      derivation: the derivation; may be NULL for the aggregate key itself (GetPlainPubkey).
 */
MUSIG_MUST_USE
musig_status musig_key_set_final_key(const struct musig_key_set *key_set,
                                     uint8_t *out,
                                     const struct musig_derivation *derivation,
                                     struct musig_error **error);

/**
 * Computes the address of the output whose key is the final key of a derivation.
 *
 * Needs no node. It fails for whatever no session signs with.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_PROPOSAL.
 * In:      key_set: the key set.
 * Out:     out: the address, as text; release it with musig_bytes_free.
 * In:      derivation: the derivation; MUSIG_TAPROOT_KEY_PATH for an output without scripts.
 *          network: a musig_network.
 */
MUSIG_MUST_USE
musig_status musig_key_set_address(const struct musig_key_set *key_set,
                                   struct musig_bytes **out,
                                   const struct musig_derivation *derivation,
                                   int32_t network,
                                   struct musig_error **error);

/**
 * Adds a reference to a key set.
 *
 * Returns: the same pointer.
 * In:      key_set: the key set; NULL stays NULL.
 */
struct musig_key_set *musig_key_set_ref(struct musig_key_set *key_set);

/**
 * Releases a reference to a key set; the last one frees it.
 *
 * In:      key_set: the key set; NULL is ignored.
 */
void musig_key_set_free(struct musig_key_set *key_set);

/**
 * Creates a descriptor from its text.
 *
 * Private keys in it are made public at once; none is kept.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for text that is no descriptor, or one that is not supported, by name.
 * Out:     out: the descriptor; release it with musig_descriptor_free.
 * In:      text: the text, with or without checksum.
 */
MUSIG_MUST_USE
musig_status musig_descriptor_new(struct musig_descriptor **out,
                                  const char *text,
                                  struct musig_error **error);

/**
 * Gets the text of a descriptor, with its checksum and with public keys alone.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      descriptor: the descriptor.
 * Out:     out: the text; release it with musig_bytes_free.
 */
MUSIG_MUST_USE
musig_status musig_descriptor_text(const struct musig_descriptor *descriptor,
                                   struct musig_bytes **out,
                                   struct musig_error **error);

/**
 * Gets the number of branches of a descriptor: the length of its <...;...>, else 1.
 *
 * By custom branch 0 receives and branch 1 takes change.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      descriptor: the descriptor.
 * Out:     out: the number.
 */
MUSIG_MUST_USE
musig_status musig_descriptor_branches(const struct musig_descriptor *descriptor,
                                       uint32_t *out,
                                       struct musig_error **error);

/**
 * Computes an address of a descriptor.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a branch or an index that is not there, and for keys of another network;
 *          MUSIG_STATUS_PROPOSAL for keys that no session signs with.
 * In:      descriptor: the descriptor.
 * Out:     out: the address, as text; release it with musig_bytes_free.
 * In:      network: a musig_network.
 *          branch: the branch, from 0 on.
 *          index: the index; 0 for a descriptor without a wildcard.
 */
MUSIG_MUST_USE
musig_status musig_descriptor_address(const struct musig_descriptor *descriptor,
                                      struct musig_bytes **out,
                                      int32_t network,
                                      uint32_t branch,
                                      uint32_t index,
                                      struct musig_error **error);

/**
 * Gets the key set and the derivation that sign for an output of a descriptor.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_WIRE for a branch or an index that is not there;
 *          MUSIG_STATUS_PROPOSAL for keys that no session signs with.
 * In:      descriptor: the descriptor.
 * Out:     out: the key set, in the order of the descriptor; release it with musig_key_set_free.
 *          derivation: the derivation; struct_size is set before.
 * In:      branch: the branch, from 0 on.
 *          index: the index; 0 for a descriptor without a wildcard.
 */
MUSIG_MUST_USE
musig_status musig_descriptor_keys(const struct musig_descriptor *descriptor,
                                   struct musig_key_set **out,
                                   struct musig_derivation *derivation,
                                   uint32_t branch,
                                   uint32_t index,
                                   struct musig_error **error);

/**
 * Adds a reference to a descriptor.
 *
 * Returns: the same pointer.
 * In:      descriptor: the descriptor; NULL stays NULL.
 */
struct musig_descriptor *musig_descriptor_ref(struct musig_descriptor *descriptor);

/**
 * Releases a reference to a descriptor; the last one frees it.
 *
 * In:      descriptor: the descriptor; NULL is ignored.
 */
void musig_descriptor_free(struct musig_descriptor *descriptor);

/**
 * Creates a proposal to sign 32-byte messages with the aggregate of the signers' identity keys.
 *
 * musig_proposal_add_message adds messages that other keys sign. The session yields signatures and turns; the applications build and broadcast the transaction.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT if there are too many signers or
 *          messages.
 * Out:     out: the proposal; release it with musig_proposal_free.
 * In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
 *          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
 *          messages: the messages to sign, 32 bytes each; may be NULL if there are none yet.
 *          messages_count: number of messages (not bytes), at most MUSIG_MAX_MESSAGES.
 */
MUSIG_MUST_USE
musig_status musig_proposal_new_messages(struct musig_proposal **out,
                                         const uint8_t *signers,
                                         size_t signers_count,
                                         const uint8_t *messages,
                                         size_t messages_count,
                                         struct musig_error **error);

/**
 * Creates a proposal to sign all inputs of a transaction that pay to the signers' key, by the Taproot key path
 * (BIP-341).
 *
 * Every node computes the signature hashes itself. Without musig_proposal_add_derivation these are the inputs that spend
 * outputs without scripts whose internal key is the aggregate of the identity keys, or of a key set that is added.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT if a limit is exceeded. The
 *          transaction itself is checked by musig_node_create_session.
 * Out:     out: the proposal; release it with musig_proposal_free.
 * In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
 *          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
 *          transaction: the transaction in consensus encoding; inputs of others carry their final witnesses.
 *          transaction_length: length of the transaction in bytes.
 *          spent: the outputs that it spends, one per input.
 *          spent_count: number of spent outputs.
 */
MUSIG_MUST_USE
musig_status musig_proposal_new_transaction(struct musig_proposal **out,
                                            const uint8_t *signers,
                                            size_t signers_count,
                                            const uint8_t *transaction,
                                            size_t transaction_length,
                                            const struct musig_spent_output *spent,
                                            size_t spent_count,
                                            struct musig_error **error);

/**
 * Sets the order in which the identity keys are aggregated.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the order is unknown.
 * In:      proposal: the proposal.
 *          order: a musig_key_order.
 */
MUSIG_MUST_USE
musig_status musig_proposal_set_key_order(const struct musig_proposal *proposal,
                                          int32_t order,
                                          struct musig_error **error);

/**
 * Sets the signature hash type of a transaction.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the type is unknown; MUSIG_STATUS_NO_SUCH_FIELD for a
 *          proposal of messages.
 * In:      proposal: the proposal.
 *          sighash: a musig_sighash.
 */
MUSIG_MUST_USE
musig_status musig_proposal_set_sighash(const struct musig_proposal *proposal,
                                        int32_t sighash,
                                        struct musig_error **error);

/**
 * Sets the election method.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the method is unknown.
 * In:      proposal: the proposal.
 *          method: a musig_election_method.
 */
MUSIG_MUST_USE
musig_status musig_proposal_set_election_method(const struct musig_proposal *proposal,
                                                int32_t method,
                                                struct musig_error **error);

/**
 * Sets that the elected coordinator broadcasts, and when the next ones take over.
 *
 * This is the default: each turn has one coordinator and lasts five minutes.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if a value is out of range.
 * In:      proposal: the proposal.
 *          broadcast_timeout: milliseconds after which the next turn opens, 1000 to 86400000, or a musig_failover_preset.
 *          tiers: a musig_tiers.
 *          width: signers per turn with MUSIG_TIERS_FIXED, 1 to MUSIG_MAX_SIGNERS; else 0.
 */
MUSIG_MUST_USE
musig_status musig_proposal_set_failover(const struct musig_proposal *proposal,
                                         uint64_t broadcast_timeout,
                                         int32_t tiers,
                                         uint32_t width,
                                         struct musig_error **error);

/**
 * Sets that the elected coordinator alone is to broadcast: nobody takes over.
 *
 * After five minutes each node raises the alarm, MUSIG_EVENT_FAILOVER_EXHAUSTED; each may still broadcast with
 * musig_session_broadcast_now.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      proposal: the proposal.
 */
MUSIG_MUST_USE
musig_status musig_proposal_set_coordinator_only(const struct musig_proposal *proposal,
                                                 struct musig_error **error);

/**
 * Sets that the session only signs: nobody is asked to broadcast.
 *
 * MUSIG_EVENT_SESSION_COMPLETE is the end. There is no turn and no alarm.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      proposal: the proposal.
 */
MUSIG_MUST_USE
musig_status musig_proposal_set_sign_only(const struct musig_proposal *proposal,
                                          struct musig_error **error);

/**
 * Sets the time to live of the session, after which it expires.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is zero, or more than 30 days.
 * In:      proposal: the proposal.
 *          time: the time to live in milliseconds. Default: 24 hours.
 */
MUSIG_MUST_USE
musig_status musig_proposal_set_expires_in(const struct musig_proposal *proposal,
                                           uint64_t time,
                                           struct musig_error **error);

/**
 * Sets the metadata: bytes of the application for the other signers.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is longer than 4096 bytes.
 * In:      proposal: the proposal.
 *          metadata: the bytes.
 *          metadata_length: length of metadata in bytes, at most 4096.
 */
MUSIG_MUST_USE
musig_status musig_proposal_set_metadata(const struct musig_proposal *proposal,
                                         const uint8_t *metadata,
                                         size_t metadata_length,
                                         struct musig_error **error);

/**
 * Sets the older session whose transaction this one replaces, for a fee bump.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      proposal: the proposal.
 *          id: the 32 bytes of the older session's id.
 */
MUSIG_MUST_USE
musig_status musig_proposal_set_replaces(const struct musig_proposal *proposal,
                                         const uint8_t *id,
                                         struct musig_error **error);

/**
 * Sets what this node's own consent covers, which is part of the proposal.
 *
 * It is no term of the session: every other signer's application gives its own consent.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for other flags.
 * In:      proposal: the proposal.
 *          flags: values of musig_join, combined; 0 for none.
 */
MUSIG_MUST_USE
musig_status musig_proposal_set_consent(const struct musig_proposal *proposal,
                                        uint32_t flags,
                                        struct musig_error **error);

/**
 * Adds a key set.
 *
 * Key set 0 is the signers' identity keys. The session's terms have the key sets that sign a message, and no others.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      proposal: the proposal.
 * Out:     out: the index of the key set in this proposal: 1 for the first one added, then 2, ...
 * In:      key_set: the key set, which is copied. It needs one key for each signer.
 */
MUSIG_MUST_USE
musig_status musig_proposal_add_key_set(const struct musig_proposal *proposal,
                                        uint32_t *out,
                                        const struct musig_key_set *key_set,
                                        struct musig_error **error);

/**
 * Adds a message to sign, with the key set and the derivation that make its final key.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the key set does not exist; MUSIG_STATUS_INVALID_ARGUMENT
 *          if there are too many messages; MUSIG_STATUS_PROPOSAL for a hardened child number; MUSIG_STATUS_NO_SUCH_FIELD
 *          for a proposal of a transaction.
 * In:      proposal: the proposal.
 *          digest: the 32 bytes to sign.
 *          key_set: the index of the key set; 0 is the identity keys.
 *          derivation: the derivation; may be NULL for the aggregate key itself.
 */
MUSIG_MUST_USE
musig_status musig_proposal_add_message(const struct musig_proposal *proposal,
                                        const uint8_t *digest,
                                        uint32_t key_set,
                                        const struct musig_derivation *derivation,
                                        struct musig_error **error);

/**
 * Adds an output key to those whose coins the inputs of a transaction may spend.
 *
 * There may be any number: those that no input needs are left out.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the key set does not exist; MUSIG_STATUS_PROPOSAL for a
 *          hardened child number; MUSIG_STATUS_NO_SUCH_FIELD for a proposal of messages.
 * In:      proposal: the proposal.
 *          key_set: the index of the key set; 0 is the identity keys.
 *          derivation: the derivation; MUSIG_TAPROOT_KEY_PATH for an output without scripts.
 */
MUSIG_MUST_USE
musig_status musig_proposal_add_derivation(const struct musig_proposal *proposal,
                                           uint32_t key_set,
                                           const struct musig_derivation *derivation,
                                           struct musig_error **error);

/**
 * Adds a reference to a proposal.
 *
 * Returns: the same pointer.
 * In:      proposal: the proposal; NULL stays NULL.
 */
struct musig_proposal *musig_proposal_ref(struct musig_proposal *proposal);

/**
 * Releases a reference to a proposal; the last one frees it.
 *
 * Sessions created from it are not affected.
 *
 * In:      proposal: the proposal; NULL is ignored.
 */
void musig_proposal_free(struct musig_proposal *proposal);

/**
 * Creates a proposal to sign a PSBT: every input that is not final and has MuSig2 participants (BIP-373), by the Taproot key
 * path.
 *
 * Key sets, derivations and hash types are the PSBT's, of each input its own. The session's terms have none of its bytes.
 * The descriptor and the key sets say whose the participant keys are, if they are not the identity keys; both have the keys
 * in the order of the signers. The signatures go back with musig_psbt_add_signatures.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT if a limit is exceeded;
 *          MUSIG_STATUS_WIRE for a malformed PSBT, and one that these signers cannot sign, by name; MUSIG_STATUS_PROPOSAL for
 *          key sets that do not fit the signers.
 * Out:     out: the proposal; release it with musig_proposal_free.
 * In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
 *          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
 *          psbt: the bytes of the PSBT, version 0 or 2.
 *          psbt_length: length of the PSBT in bytes.
 *          descriptor: the descriptor of the signers' wallet; may be NULL.
 *          key_sets: key sets, one key for each signer; may be NULL if there are none.
 *          key_sets_count: number of key sets, at most 8192.
 */
MUSIG_MUST_USE
musig_status musig_proposal_new_psbt(struct musig_proposal **out,
                                     const uint8_t *signers,
                                     size_t signers_count,
                                     const uint8_t *psbt,
                                     size_t psbt_length,
                                     const struct musig_descriptor *descriptor,
                                     const struct musig_key_set *const *key_sets,
                                     size_t key_sets_count,
                                     struct musig_error **error);

/**
 * Puts the signatures of a session over a PSBT into it, each verified.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a malformed PSBT, and for signatures that do not verify.
 * Out:     out: the bytes of the PSBT with the signatures; release it with musig_bytes_free.
 * In:      psbt: the bytes of the PSBT that was proposed.
 *          psbt_length: length of the PSBT in bytes.
 *          signatures: the session's signatures in their order, 64 bytes each; may be NULL if there are none.
 *          signatures_count: number of signatures.
 */
MUSIG_MUST_USE
musig_status musig_psbt_add_signatures(struct musig_bytes **out,
                                       const uint8_t *psbt,
                                       size_t psbt_length,
                                       const uint8_t *signatures,
                                       size_t signatures_count,
                                       struct musig_error **error);

/**
 * Adds what a descriptor knows of its own inputs and outputs to a PSBT, so that it can be signed: the participants
 * (BIP-373), the internal key, and the derivations.
 *
 * They are found by their scripts. The PSBT says what its inputs spend, and may be of a wallet without MuSig2.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a malformed PSBT, for more than 100,000 keys to derive, for a descriptor
 *          that no session signs with, and where something else is there already.
 * Out:     out: the bytes of the PSBT with what was added; release it with musig_bytes_free.
 * In:      psbt: the bytes of the PSBT.
 *          psbt_length: length of the PSBT in bytes.
 *          descriptor: the descriptor of the signers' wallet.
 *          indices: the first indices of each branch that are looked at, such as 1000.
 */
MUSIG_MUST_USE
musig_status musig_psbt_update(struct musig_bytes **out,
                               const uint8_t *psbt,
                               size_t psbt_length,
                               const struct musig_descriptor *descriptor,
                               uint32_t indices,
                               struct musig_error **error);

/**
 * Combines two PSBTs of one transaction: the first one with the fields of the other, which may have another version.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a malformed PSBT, for different transactions, and where both have a field
 *          with different values.
 * Out:     out: the bytes of the combined PSBT; release it with musig_bytes_free.
 * In:      psbt: the bytes of a PSBT.
 *          psbt_length: length of the PSBT in bytes.
 *          other: the bytes of another one.
 *          other_length: length of the other one in bytes.
 */
MUSIG_MUST_USE
musig_status musig_psbt_combine(struct musig_bytes **out,
                                const uint8_t *psbt,
                                size_t psbt_length,
                                const uint8_t *other,
                                size_t other_length,
                                struct musig_error **error);

/**
 * Makes every input of a PSBT final that MuSig2 signs: of its signature, or of all participants' partial signatures.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a malformed PSBT, and for a signature that is missing or does not verify.
 * Out:     out: the bytes of the final PSBT; release it with musig_bytes_free.
 * In:      psbt: the bytes of the PSBT.
 *          psbt_length: length of the PSBT in bytes.
 */
MUSIG_MUST_USE
musig_status musig_psbt_finalize(struct musig_bytes **out,
                                 const uint8_t *psbt,
                                 size_t psbt_length,
                                 struct musig_error **error);

/**
 * Gets the signed transaction of a PSBT whose inputs are all final.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a malformed PSBT, and for an input that is not final.
 * Out:     out: the transaction in consensus encoding; release it with musig_bytes_free.
 * In:      psbt: the bytes of the PSBT.
 *          psbt_length: length of the PSBT in bytes.
 */
MUSIG_MUST_USE
musig_status musig_psbt_extract(struct musig_bytes **out,
                                const uint8_t *psbt,
                                size_t psbt_length,
                                struct musig_error **error);

/**
 * Makes and signs a card.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for content that is refused, in words, such as an identity key that is the
 *          extended key or an unhardened child of it; MUSIG_STATUS_SIGNER_LOCKED; MUSIG_STATUS_NOT_LOCAL for a signer of
 *          callbacks; MUSIG_STATUS_INVALID_ARGUMENT.
 * Out:     out: the card; release it with musig_signer_card_free.
 * In:      signer: the signer with the identity key.
 *          xpub: the extended public key in base58, such as `xpub…` or `tpub…`, that its participant keys are below.
 *          fingerprint: the 4 bytes of the master key's fingerprint.
 *          path: the child numbers from the master key to this one, from 2147483648 on hardened; may be NULL for none.
 *          path_count: number of child numbers, at most 16.
 *          name: what the signer is called, for people, 1 to 64 bytes; may be NULL for none.
 *          addresses: the multiaddresses where its node is reached; may be NULL for none.
 *          addresses_count: number of addresses, at most 4.
 * Blocks:  until a signature in progress is complete.
 */
MUSIG_MUST_USE
musig_status musig_signer_card_new(struct musig_signer_card **out,
                                   const struct musig_signer *signer,
                                   const char *xpub,
                                   const uint8_t *fingerprint,
                                   const uint32_t *path,
                                   size_t path_count,
                                   const char *name,
                                   const char *const *addresses,
                                   size_t addresses_count,
                                   struct musig_error **error);

/**
 * Reads the text of a card, in either case.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for whatever was changed, and for content that is refused, in words.
 * Out:     out: the card; release it with musig_signer_card_free.
 * In:      text: the text, `musig1…`.
 */
MUSIG_MUST_USE
musig_status musig_signer_card_parse(struct musig_signer_card **out,
                                     const char *text,
                                     struct musig_error **error);

/**
 * Gets the text of a card: `musig1…`, at most 1023 characters.
 *
 * In upper case it is shorter in a QR code.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      card: the card.
 * Out:     out: the text; release it with musig_bytes_free.
 */
MUSIG_MUST_USE
musig_status musig_signer_card_text(const struct musig_signer_card *card,
                                    struct musig_bytes **out,
                                    struct musig_error **error);

/**
 * Gets the identity key of a card, by which the signer is found and elected.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      card: the card.
 * Out:     out: the 33 bytes of the compressed public key.
 */
MUSIG_MUST_USE
musig_status musig_signer_card_identity(const struct musig_signer_card *card,
                                        uint8_t *out,
                                        struct musig_error **error);

/**
 * Gets the extended public key of a card.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      card: the card.
 * Out:     out: the key in base58, as text; release it with musig_bytes_free.
 */
MUSIG_MUST_USE
musig_status musig_signer_card_xpub(const struct musig_signer_card *card,
                                    struct musig_bytes **out,
                                    struct musig_error **error);

/**
 * Gets the origin of a card's extended public key.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_BUFFER_TOO_SMALL.
 * In:      card: the card.
 * Out:     fingerprint: the 4 bytes of the master key's fingerprint.
 *          out: the child numbers.
 * In:      out_capacity: room in out, in child numbers; 16 always suffice.
 * Out:     out_count: number of child numbers written.
 */
MUSIG_MUST_USE
musig_status musig_signer_card_origin(const struct musig_signer_card *card,
                                      uint8_t *fingerprint,
                                      uint32_t *out,
                                      size_t out_capacity,
                                      size_t *out_count,
                                      struct musig_error **error);

/**
 * Gets what the owner of a card calls itself.
 *
 * Nobody checked that; escape it before it is shown.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if the card has no name.
 * In:      card: the card.
 * Out:     out: the name, as text; release it with musig_bytes_free.
 */
MUSIG_MUST_USE
musig_status musig_signer_card_name(const struct musig_signer_card *card,
                                    struct musig_bytes **out,
                                    struct musig_error **error);

/**
 * Gets an address of a card, where its owner's node is reached, as the owner says.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the card has no such address.
 * In:      card: the card.
 * Out:     out: the multiaddress, as text; release it with musig_bytes_free.
 * In:      index: which one, from 0 on.
 */
MUSIG_MUST_USE
musig_status musig_signer_card_address(const struct musig_signer_card *card,
                                       struct musig_bytes **out,
                                       uint32_t index,
                                       struct musig_error **error);

/**
 * Adds a reference to a card.
 *
 * Returns: the same pointer.
 * In:      card: the card; NULL stays NULL.
 */
struct musig_signer_card *musig_signer_card_ref(struct musig_signer_card *card);

/**
 * Releases a reference to a card; the last one frees it.
 *
 * In:      card: the card; NULL is ignored.
 */
void musig_signer_card_free(struct musig_signer_card *card);

/**
 * Creates a group of the cards of all its signers, in any order.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for two cards with a key in common, and for keys of different networks;
 *          MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_PROPOSAL for keys that no session signs with.
 * Out:     out: the group; release it with musig_group_free.
 * In:      cards: the cards.
 *          cards_count: number of cards, 1 to MUSIG_MAX_SIGNERS.
 */
MUSIG_MUST_USE
musig_status musig_group_new(struct musig_group **out,
                             const struct musig_signer_card *const *cards,
                             size_t cards_count,
                             struct musig_error **error);

/**
 * Reads what musig_group_to_json wrote.
 *
 * Everything is made of the cards again.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for text that is no group, a card that is refused, and a descriptor or a
 *          check phrase that is not the one of the cards.
 * Out:     out: the group; release it with musig_group_free.
 * In:      text: the text.
 */
MUSIG_MUST_USE
musig_status musig_group_from_json(struct musig_group **out,
                                   const char *text,
                                   struct musig_error **error);

/**
 * Writes a group as JSON: its cards, and for people the descriptor and the check phrase.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      group: the group.
 * Out:     out: the text; release it with musig_bytes_free.
 */
MUSIG_MUST_USE
musig_status musig_group_to_json(const struct musig_group *group,
                                 struct musig_bytes **out,
                                 struct musig_error **error);

/**
 * Gets the identity keys of a group: the signers of its sessions.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      group: the group.
 * Out:     out: the compressed public keys, 33 bytes each, by signer index; release it with musig_bytes_free.
 */
MUSIG_MUST_USE
musig_status musig_group_signers(const struct musig_group *group,
                                 struct musig_bytes **out,
                                 struct musig_error **error);

/**
 * Gets the card of a signer of a group.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the signer does not exist.
 * In:      group: the group.
 * Out:     out: the card; release it with musig_signer_card_free.
 * In:      signer: the signer index.
 */
MUSIG_MUST_USE
musig_status musig_group_card(const struct musig_group *group,
                              struct musig_signer_card **out,
                              uint32_t signer,
                              struct musig_error **error);

/**
 * Gets the check phrase of a group: eight words that all signers compare aloud before anything is paid to it.
 *
 * They stand for 128 bits of a hash of all identity keys and the descriptor, and tell whether somebody changed cards on
 * their way.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      group: the group.
 * Out:     out: the words, as text; release it with musig_bytes_free.
 */
MUSIG_MUST_USE
musig_status musig_group_check_phrase(const struct musig_group *group,
                                      struct musig_bytes **out,
                                      struct musig_error **error);

/**
 * Gets the descriptor of a group, for other wallets.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      group: the group.
 * Out:     out: the descriptor; release it with musig_descriptor_free.
 */
MUSIG_MUST_USE
musig_status musig_group_descriptor(const struct musig_group *group,
                                    struct musig_descriptor **out,
                                    struct musig_error **error);

/**
 * Gets the key set and the derivation that sign for an output of a group.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_WIRE for an index of 2^31
 *          and above.
 * In:      group: the group.
 * Out:     out: the key set, with the keys by signer index; release it with musig_key_set_free.
 *          derivation: the derivation; struct_size is set before.
 * In:      change: 1 for the addresses that take change, 0 for those that others pay to.
 *          index: the index.
 */
MUSIG_MUST_USE
musig_status musig_group_keys(const struct musig_group *group,
                              struct musig_key_set **out,
                              struct musig_derivation *derivation,
                              int32_t change,
                              uint32_t index,
                              struct musig_error **error);

/**
 * Computes an address of a group.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_WIRE for an index of 2^31 and above, and for a
 *          network that the keys do not belong to.
 * In:      group: the group.
 * Out:     out: the address, as text; release it with musig_bytes_free.
 * In:      network: a musig_network.
 *          change: 1 for the addresses that take change, 0 for those that others pay to.
 *          index: the index.
 */
MUSIG_MUST_USE
musig_status musig_group_address(const struct musig_group *group,
                                 struct musig_bytes **out,
                                 int32_t network,
                                 int32_t change,
                                 uint32_t index,
                                 struct musig_error **error);

/**
 * Adds a reference to a group.
 *
 * Returns: the same pointer.
 * In:      group: the group; NULL stays NULL.
 */
struct musig_group *musig_group_ref(struct musig_group *group);

/**
 * Releases a reference to a group; the last one frees it.
 *
 * In:      group: the group; NULL is ignored.
 */
void musig_group_free(struct musig_group *group);

/**
 * Creates a proposal to sign a group's inputs of a PSBT.
 *
 * See musig_proposal_new_psbt; signers and key sets are the group's.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if a limit is exceeded; MUSIG_STATUS_WIRE for a malformed PSBT,
 *          and one that these signers cannot sign, by name.
 * Out:     out: the proposal; release it with musig_proposal_free.
 * In:      group: the group.
 *          psbt: the bytes of the PSBT, version 0 or 2.
 *          psbt_length: length of the PSBT in bytes.
 */
MUSIG_MUST_USE
musig_status musig_proposal_new_group(struct musig_proposal **out,
                                      const struct musig_group *group,
                                      const uint8_t *psbt,
                                      size_t psbt_length,
                                      struct musig_error **error);

/**
 * Creates a signer whose keys are in a device of callbacks.
 *
 * Add its keys before a configuration gets it. Its time limit is the session's expiry; MUSIG_EVENT_SIGNER_WAITING says what is
 * waited for. One public nonce is in at most one second round, after any restart. Raw messages are refused.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if a callback is NULL. The library takes ownership of user_data
 *          only with MUSIG_STATUS_OK.
 * Out:     out: the signer; release it with musig_psbt_signer_free.
 * In:      device: the table, which is copied.
 *          psbt_version: the version of the PSBTs that the device reads: 0 or 2.
 *          user_data: passed to each callback; may be NULL.
 *          destroy: called with user_data once no node and no reference uses the signer any more; may be NULL.
 */
MUSIG_MUST_USE
musig_status musig_psbt_signer_new(struct musig_psbt_signer **out,
                                   const struct musig_psbt_device *device,
                                   uint32_t psbt_version,
                                   void *user_data,
                                   musig_destroy destroy,
                                   struct musig_error **error);

/**
 * Creates a signer whose keys are in a device that is reached by a folder of files.
 *
 * A request is the file SESSION.NUMBER.psbt, the answer is expected in SESSION.NUMBER.answer.psbt, as bytes or base64. The
 * files stay: remove those of sessions that ended.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for another version; MUSIG_STATUS_CONFIG for a folder that cannot be
 *          created.
 * Out:     out: the signer; release it with musig_psbt_signer_free.
 * In:      folder: the path of the folder, which is created if it does not exist.
 *          psbt_version: the version of the PSBTs that the device reads: 0 or 2.
 */
MUSIG_MUST_USE
musig_status musig_psbt_signer_new_folder(struct musig_psbt_signer **out,
                                          const char *folder,
                                          uint32_t psbt_version,
                                          struct musig_error **error);

/**
 * Adds a participant key that is in the device.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_CONFIG_USED once a configuration has the signer.
 * In:      signer: the signer.
 *          key: the 33 bytes of the compressed public key.
 */
MUSIG_MUST_USE
musig_status musig_psbt_signer_add_key(const struct musig_psbt_signer *signer,
                                       const uint8_t *key,
                                       struct musig_error **error);

/**
 * Adds all keys below an extended public key whose private one is in the device.
 *
 * They are found by their origins, at most 8 unhardened steps below it.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_SIGNER for what is no such key, or not the one of this origin;
 *          MUSIG_STATUS_CONFIG_USED once a configuration has the signer; MUSIG_STATUS_INVALID_ARGUMENT.
 * In:      signer: the signer.
 *          xpub: the key in base58, such as `xpub…` or `tpub…`.
 *          fingerprint: the 4 bytes of the master key's fingerprint.
 *          path: the child numbers from the master key to this one, from 2147483648 on hardened; may be NULL for none.
 *          path_count: number of child numbers, at most 16.
 */
MUSIG_MUST_USE
musig_status musig_psbt_signer_add_xpub(const struct musig_psbt_signer *signer,
                                        const char *xpub,
                                        const uint8_t *fingerprint,
                                        const uint32_t *path,
                                        size_t path_count,
                                        struct musig_error **error);

/**
 * Allows asking the device for other nonces in a session that waits for this word.
 *
 * A session waits for it after a failure, an answer that was refused, or a second PSBT without an answer. See to it first that
 * the device holds nothing of the session.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      signer: the signer.
 * Out:     out: 1, or 0 if the session does not wait for it.
 * In:      session_id: the 32 bytes of the session id.
 */
MUSIG_MUST_USE
musig_status musig_psbt_signer_ask_again(const struct musig_psbt_signer *signer,
                                         int32_t *out,
                                         const uint8_t *session_id,
                                         struct musig_error **error);

/**
 * Sets the signer of a node whose participant keys are in a device, beside the one of musig_config_set_signer.
 *
 * It takes the place of one of musig_config_set_foreign_signer. With it the identity key signs no session.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
 * In:      config: the configuration.
 *          signer: the signer; the configuration takes a reference of its own.
 */
MUSIG_MUST_USE
musig_status musig_config_set_psbt_signer(const struct musig_config *config,
                                          const struct musig_psbt_signer *signer,
                                          struct musig_error **error);

/**
 * Adds a reference to a PSBT signer.
 *
 * Returns: the same pointer.
 * In:      signer: the signer; NULL stays NULL.
 */
struct musig_psbt_signer *musig_psbt_signer_ref(struct musig_psbt_signer *signer);

/**
 * Releases a reference to a PSBT signer; the last one, those of nodes included, frees it.
 *
 * In:      signer: the signer; NULL is ignored.
 */
void musig_psbt_signer_free(struct musig_psbt_signer *signer);

/**
 * Decodes and validates encoded terms.
 *
 * Needs no node.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_PROPOSAL or MUSIG_STATUS_INVALID_KEY if they are invalid.
 * Out:     out: the terms; release them with musig_terms_free.
 * In:      data: the encoded terms.
 *          data_length: length of data in bytes, at most 4 MiB.
 */
MUSIG_MUST_USE
musig_status musig_terms_decode(struct musig_terms **out,
                                const uint8_t *data,
                                size_t data_length,
                                struct musig_error **error);

/**
 * Gets the numeric terms of a session.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE.
 * In:      terms: the terms.
 * Out:     out: the values. Set its struct_size before the call.
 */
MUSIG_MUST_USE
musig_status musig_terms_get_info(const struct musig_terms *terms,
                                  struct musig_terms_info *out,
                                  struct musig_error **error);

/**
 * Gets a pointer to a bytes field of a session's terms.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the field is unknown; MUSIG_STATUS_NO_SUCH_FIELD for the
 *          transaction of a proposal of messages.
 * In:      terms: the terms.
 * Out:     out: a pointer that is valid as long as the terms.
 *          out_length: its length in bytes.
 * In:      field: a musig_terms_field.
 */
MUSIG_MUST_USE
musig_status musig_terms_bytes(const struct musig_terms *terms,
                               const uint8_t **out,
                               size_t *out_length,
                               int32_t field,
                               struct musig_error **error);

/**
 * Gets an output that the transaction of a session's terms spends.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
 * In:      terms: the terms.
 * Out:     out: the output; its script is valid as long as the terms.
 * In:      index: the index of the input that spends it.
 */
MUSIG_MUST_USE
musig_status musig_terms_spent_output(const struct musig_terms *terms,
                                      struct musig_spent_output *out,
                                      uint32_t index,
                                      struct musig_error **error);

/**
 * Gets a message of a session's terms.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_STRUCT_SIZE.
 * In:      terms: the terms.
 * Out:     out: the message. Set its struct_size before the call.
 * In:      index: the index of the message.
 */
MUSIG_MUST_USE
musig_status musig_terms_message(const struct musig_terms *terms,
                                 struct musig_message *out,
                                 uint32_t index,
                                 struct musig_error **error);

/**
 * Gets a key set of a session's terms.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
 * In:      terms: the terms.
 * Out:     out: the key set; release it with musig_key_set_free.
 * In:      index: the index of the key set.
 */
MUSIG_MUST_USE
musig_status musig_terms_key_set(const struct musig_terms *terms,
                                 struct musig_key_set **out,
                                 uint32_t index,
                                 struct musig_error **error);

/**
 * Adds a reference to terms.
 *
 * Returns: the same pointer.
 * In:      terms: the terms; NULL stays NULL.
 */
struct musig_terms *musig_terms_ref(struct musig_terms *terms);

/**
 * Releases a reference to terms; the last one frees them.
 *
 * In:      terms: the terms; NULL is ignored.
 */
void musig_terms_free(struct musig_terms *terms);

/**
 * Gets a summary as lines of text.
 *
 * What others wrote is escaped, cut, on lines of its own that begin with ">", and last.
 *
 * Returns: MUSIG_STATUS_OK.
 * In:      summary: the summary.
 * Out:     out: a NUL-terminated text that is valid as long as the summary.
 *          out_length: its length in bytes, without the NUL.
 */
MUSIG_MUST_USE
musig_status musig_summary_text(const struct musig_summary *summary,
                                const char **out,
                                size_t *out_length,
                                struct musig_error **error);

/**
 * Gets the numbers of a summary.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE.
 * In:      summary: the summary.
 * Out:     out: the numbers. Set its struct_size before the call.
 */
MUSIG_MUST_USE
musig_status musig_summary_get_info(const struct musig_summary *summary,
                                    struct musig_summary_info *out,
                                    struct musig_error **error);

/**
 * Gets a message of a summary.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_STRUCT_SIZE.
 * In:      summary: the summary.
 * Out:     out: the message. Set its struct_size before the call.
 * In:      index: the index of the message.
 */
MUSIG_MUST_USE
musig_status musig_summary_message(const struct musig_summary *summary,
                                   struct musig_message_summary *out,
                                   uint32_t index,
                                   struct musig_error **error);

/**
 * Gets an input of a summary's transaction.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_NO_SUCH_FIELD in a session over messages;
 *          MUSIG_STATUS_STRUCT_SIZE.
 * In:      summary: the summary.
 * Out:     out: the input. Set its struct_size before the call.
 * In:      index: the index of the input.
 */
MUSIG_MUST_USE
musig_status musig_summary_input(const struct musig_summary *summary,
                                 struct musig_input_summary *out,
                                 uint32_t index,
                                 struct musig_error **error);

/**
 * Gets an output of a summary's transaction.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_NO_SUCH_FIELD in a session over messages;
 *          MUSIG_STATUS_STRUCT_SIZE.
 * In:      summary: the summary.
 * Out:     out: the output. Set its struct_size before the call.
 * In:      index: the index of the output.
 */
MUSIG_MUST_USE
musig_status musig_summary_output(const struct musig_summary *summary,
                                  struct musig_output_summary *out,
                                  uint32_t index,
                                  struct musig_error **error);

/**
 * Gets a warning of a summary.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_STRUCT_SIZE.
 * In:      summary: the summary.
 * Out:     out: the warning. Set its struct_size before the call.
 * In:      index: the index of the warning.
 */
MUSIG_MUST_USE
musig_status musig_summary_warning(const struct musig_summary *summary,
                                   struct musig_warning *out,
                                   uint32_t index,
                                   struct musig_error **error);

/**
 * Adds a reference to a summary.
 *
 * Returns: the same pointer.
 * In:      summary: the summary; NULL stays NULL.
 */
struct musig_summary *musig_summary_ref(struct musig_summary *summary);

/**
 * Releases a reference to a summary; the last one frees it.
 *
 * In:      summary: the summary; NULL is ignored.
 */
void musig_summary_free(struct musig_summary *summary);

/**
 * Gets the id of a session.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
 * In:      session: the session.
 * Out:     out: the 32 bytes of the session id.
 */
MUSIG_MUST_USE
musig_status musig_session_id(const struct musig_session *session,
                              uint8_t *out,
                              struct musig_error **error);

/**
 * Joins a session: consents to its terms, so that this node signs.
 *
 * Reopens a closed session.
 *
 * Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_WRONG_STATE if the session has ended;
 *          MUSIG_STATUS_UNVERIFIED_INPUT, MUSIG_STATUS_MISSING_COIN, MUSIG_STATUS_COINS_NOT_KNOWN and
 *          MUSIG_STATUS_BLIND_MESSAGE, after which musig_session_join_with can still consent;
 *          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Blocks:  for one commit, and for the coin callback of the chain observer, at most 30 s.
 */
MUSIG_MUST_USE
musig_status musig_session_join(const struct musig_session *session,
                                struct musig_error **error);

/**
 * Joins a session as musig_session_join does, with the application's word on what the node cannot find out itself.
 *
 * Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_INVALID_ARGUMENT for other flags; statuses of
 *          musig_session_join.
 * In:      session: the session.
 *          flags: values of musig_join, combined; 0 for none.
 * Blocks:  as musig_session_join does.
 */
MUSIG_MUST_USE
musig_status musig_session_join_with(const struct musig_session *session,
                                     uint32_t flags,
                                     struct musig_error **error);

/**
 * Declines a session, which ends it for all signers.
 *
 * Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_WRONG_STATE after a join; MUSIG_STATUS_LIMIT if
 *          the reason is too long; MUSIG_STATUS_UNKNOWN_SESSION; MUSIG_STATUS_STORE_UNSTORED if it took
 *          effect and the disk is full or slow; statuses of the node.
 * In:      session: the session.
 *          reason: the reason for the other signers, text of at most 256 bytes.
 * Blocks:  for one commit, a second at most.
 */
MUSIG_MUST_USE
musig_status musig_session_decline(const struct musig_session *session,
                                   const char *reason,
                                   struct musig_error **error);

/**
 * Aborts a session.
 *
 * If this node's partial signature was already sent, the other signers may still complete the session.
 *
 * Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_WRONG_STATE if the session has ended;
 *          MUSIG_STATUS_LIMIT if the reason is too long; MUSIG_STATUS_UNKNOWN_SESSION; MUSIG_STATUS_STORE_UNSTORED if it took
 *          effect and the disk is full or slow; statuses of the node.
 * In:      session: the session.
 *          reason: the reason for the other signers, text of at most 256 bytes.
 * Blocks:  for one commit, a second at most.
 */
MUSIG_MUST_USE
musig_status musig_session_abort(const struct musig_session *session,
                                 const char *reason,
                                 struct musig_error **error);

/**
 * Closes a session: deletes its data, except for a tombstone until its expiry.
 *
 * The handle stays valid, and must still be released.
 *
 * Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_NOT_SETTLED while this node watches over the
 *          broadcast, or others may complete the session with its partial signature: closing would give that up, which
 *          musig_session_abandon does; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Blocks:  for one commit.
 */
musig_status musig_session_close(const struct musig_session *session,
                                 struct musig_error **error);

/**
 * Gives a session's transaction up for this node, and closes the session.
 *
 * The others are not told, and may complete and broadcast it. Finished signatures that come later are kept, passed on
 * and told once, by MUSIG_EVENT_SESSION_COMPLETE with MUSIG_EVENT_NUMBER_ABORTED_HERE. This node takes no turn until
 * musig_session_broadcast_now; musig_session_join reopens the session. The handle stays valid, and must still be
 * released.
 *
 * Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Blocks:  for one commit.
 */
MUSIG_MUST_USE
musig_status musig_session_abandon(const struct musig_session *session,
                                   struct musig_error **error);

/**
 * Makes a summary of what a session signs, to be shown before it is joined.
 *
 * It warns of what other sessions of this node spend and pay too.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; MUSIG_STATUS_STRUCT_SIZE; statuses of the node.
 * In:      session: the session.
 * Out:     out: the summary; release it with musig_summary_free.
 * In:      options: what it is to say.
 * Blocks:  until it is made: milliseconds, or longer beside thousands of sessions.
 */
MUSIG_MUST_USE
musig_status musig_session_summary(const struct musig_session *session,
                                   struct musig_summary **out,
                                   const struct musig_summary_options *options,
                                   struct musig_error **error);

/**
 * Gets the terms of a session.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Out:     out: the terms; release them with musig_terms_free.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_session_terms(const struct musig_session *session,
                                 struct musig_terms **out,
                                 struct musig_error **error);

/**
 * Gets the final signatures.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY until they are complete; MUSIG_STATUS_UNKNOWN_SESSION; statuses of
 *          the node.
 * In:      session: the session.
 * Out:     out: the signatures, 64 bytes per message; release them with musig_bytes_free.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_session_final_signatures(const struct musig_session *session,
                                            struct musig_bytes **out,
                                            struct musig_error **error);

/**
 * Gets the signed transaction of a session over a transaction.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY until it is complete, and always in a session over messages;
 *          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Out:     out: the transaction in consensus encoding; release it with musig_bytes_free.
 *          txid: the 32 bytes of its id, in internal byte order.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_session_final_transaction(const struct musig_session *session,
                                             struct musig_bytes **out,
                                             uint8_t *txid,
                                             struct musig_error **error);

/**
 * Gets the election of a session: coordinator, priority list, proof.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Out:     out: the election; release it with musig_election_free.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_session_election(const struct musig_session *session,
                                    struct musig_election **out,
                                    struct musig_error **error);

/**
 * Gets the priority list: all signer indices in the order of their turns.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_BUFFER_TOO_SMALL; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Out:     out: the signer indices.
 * In:      out_capacity: room in out, in indices; MUSIG_MAX_SIGNERS always suffices.
 * Out:     out_count: number of indices written.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_session_priority_list(const struct musig_session *session,
                                         uint32_t *out,
                                         size_t out_capacity,
                                         size_t *out_count,
                                         struct musig_error **error);

/**
 * Checks whether this node's signer is the elected coordinator, the first of the priority list.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Out:     out: 1 or 0.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_session_is_coordinator(const struct musig_session *session,
                                          int32_t *out,
                                          struct musig_error **error);

/**
 * Checks whether this node's own turn is open.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Out:     out: 1 or 0.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_session_is_current_coordinator(const struct musig_session *session,
                                                  int32_t *out,
                                                  struct musig_error **error);

/**
 * Gets the libp2p peer id of the elected coordinator.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY if it is not connected; MUSIG_STATUS_UNKNOWN_SESSION; statuses of
 *          the node.
 * In:      session: the session.
 * Out:     out: the peer id, as text; release it with musig_bytes_free.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_session_coordinator_peer_id(const struct musig_session *session,
                                               struct musig_bytes **out,
                                               struct musig_error **error);

/**
 * Reports that the transaction was broadcast, or seen.
 *
 * Without an observer this ends the node's watch.
 *
 * Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_WRONG_STATE before the signatures are complete;
 *          MUSIG_STATUS_UNKNOWN_SESSION; MUSIG_STATUS_STORE_UNSTORED if it took
 *          effect and the disk is full or slow; statuses of the node.
 * In:      session: the session.
 *          txid: the 32 bytes of the transaction id in internal byte order, needed only in sessions over messages;
 *          may be NULL.
 * Blocks:  for one commit, a second at most.
 */
MUSIG_MUST_USE
musig_status musig_session_notify_broadcast_complete(const struct musig_session *session,
                                                     const uint8_t *txid,
                                                     struct musig_error **error);

/**
 * Reports that this node cannot broadcast, so that the next turn opens at once.
 *
 * Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_WRONG_STATE before the signatures are complete;
 *          MUSIG_STATUS_LIMIT if the reason is too long; MUSIG_STATUS_UNKNOWN_SESSION; MUSIG_STATUS_STORE_UNSTORED if it took
 *          effect and the disk is full or slow; statuses of the node.
 * In:      session: the session.
 *          reason: the reason for the other signers, text of at most 256 bytes.
 * Blocks:  for one commit, a second at most.
 */
MUSIG_MUST_USE
musig_status musig_session_report_broadcast_failed(const struct musig_session *session,
                                                   const char *reason,
                                                   struct musig_error **error);

/**
 * Broadcasts now, regardless of turns.
 *
 * Returns: MUSIG_STATUS_OK once it has started; MUSIG_STATUS_WRONG_STATE before the signatures are complete;
 *          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Blocks:  for one commit.
 */
MUSIG_MUST_USE
musig_status musig_session_broadcast_now(const struct musig_session *session,
                                         struct musig_error **error);

/**
 * Exports the messages of a session, for musig_node_import: push, QR code, mailbox or file instead of the network.
 *
 * The export contains the terms, and no secrets beyond them.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Out:     out: the bytes; release them with musig_bytes_free.
 * Blocks:  for one commit.
 */
MUSIG_MUST_USE
musig_status musig_session_export(const struct musig_session *session,
                                  struct musig_bytes **out,
                                  struct musig_error **error);

/**
 * Adds a reference to a session.
 *
 * Returns: the same pointer.
 * In:      session: the session; NULL stays NULL.
 */
struct musig_session *musig_session_ref(struct musig_session *session);

/**
 * Releases a reference to a session; the last one frees the handle.
 *
 * The session itself continues.
 *
 * In:      session: the session; NULL is ignored.
 */
void musig_session_free(struct musig_session *session);

/**
 * Gets the status of a session.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Out:     out: the status. Set its struct_size before the call.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_session_get_status(const struct musig_session *session,
                                      struct musig_session_status *out,
                                      struct musig_error **error);

/**
 * Gets the state of a signer of a session.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_UNKNOWN_SESSION;
 *          statuses of the node.
 * In:      session: the session.
 * Out:     out: the state. Set its struct_size before the call.
 * In:      signer: a signer index.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_session_signer_status(const struct musig_session *session,
                                         struct musig_signer_status *out,
                                         uint32_t signer,
                                         struct musig_error **error);

/**
 * Gets how long a session waits for a signer that is to broadcast, why, and when its turn opens.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the signer has no turn, or the
 *          signatures are not complete; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * In:      session: the session.
 * Out:     out: the state. Set its struct_size before the call.
 * In:      signer: a signer index.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_session_coordinator_status(const struct musig_session *session,
                                              struct musig_coordinator_status *out,
                                              uint32_t signer,
                                              struct musig_error **error);

/**
 * Names a phase of a session, for logs.
 *
 * Returns: a static, NUL-terminated text: the enumerator without its prefix, such as "SIGNING"; "UNKNOWN" for a number
 *          that this version does not define.
 * In:      phase: any number.
 */
const char *musig_phase_string(int32_t phase);

/**
 * Gets the id of an event, for musig_node_event_handled.
 *
 * A redelivered event has a new id.
 *
 * Returns: the id; 0 for NULL.
 * In:      event: the event.
 */
uint64_t musig_event_id(const struct musig_event *event);

/**
 * Gets the kind of an event.
 *
 * Returns: a musig_event_kind; 0 for NULL.
 * In:      event: the event.
 */
int32_t musig_event_kind_of(const struct musig_event *event);

/**
 * Names a kind of event, for logs.
 *
 * Returns: a static, NUL-terminated text: the enumerator without its prefix, such as "SESSION_PROPOSED"; "UNKNOWN"
 *          for a number that this version does not define.
 * In:      kind: any number.
 */
const char *musig_event_kind_string(int32_t kind);

/**
 * Checks whether an event is durable: redelivered after a restart until it is acknowledged.
 *
 * Returns: 1 or 0; 0 for NULL.
 * In:      event: the event.
 */
int32_t musig_event_is_durable(const struct musig_event *event);

/**
 * Gets the session id of an event.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD for an event of the network or the store.
 * In:      event: the event.
 * Out:     out: the 32 bytes of the session id.
 */
MUSIG_MUST_USE
musig_status musig_event_session_id(const struct musig_event *event,
                                    uint8_t *out,
                                    struct musig_error **error);

/**
 * Gets a numeric field of an event.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event does not have the field;
 *          MUSIG_STATUS_INVALID_ARGUMENT if the field is unknown.
 * In:      event: the event.
 * Out:     out: the value.
 * In:      field: a musig_event_number_field.
 */
MUSIG_MUST_USE
musig_status musig_event_number(const struct musig_event *event,
                                uint64_t *out,
                                int32_t field,
                                struct musig_error **error);

/**
 * Gets a pointer to a list field of an event.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event does not have the field;
 *          MUSIG_STATUS_INVALID_ARGUMENT if the field is unknown.
 * In:      event: the event.
 * Out:     out: a pointer that is valid as long as the event.
 *          out_count: number of indices.
 * In:      field: a musig_event_list_field.
 */
MUSIG_MUST_USE
musig_status musig_event_list(const struct musig_event *event,
                              const uint32_t **out,
                              size_t *out_count,
                              int32_t field,
                              struct musig_error **error);

/**
 * Gets a pointer to a bytes or text field of an event.
 *
 * A NUL follows that is not counted, so text can be used as a C string.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event does not have the field;
 *          MUSIG_STATUS_INVALID_ARGUMENT if the field is unknown.
 * In:      event: the event.
 * Out:     out: a pointer that is valid as long as the event.
 *          out_length: its length in bytes.
 * In:      field: a musig_event_bytes_field.
 */
MUSIG_MUST_USE
musig_status musig_event_bytes(const struct musig_event *event,
                               const uint8_t **out,
                               size_t *out_length,
                               int32_t field,
                               struct musig_error **error);

/**
 * Gets a pointer to the proof against a culprit of MUSIG_EVENT_SESSION_FAILED.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
 * In:      event: the event.
 * Out:     out: a pointer that is valid as long as the event.
 *          out_length: its length in bytes.
 * In:      index: the position of the culprit in the list of culprits.
 */
MUSIG_MUST_USE
musig_status musig_event_proof(const struct musig_event *event,
                               const uint8_t **out,
                               size_t *out_length,
                               uint32_t index,
                               struct musig_error **error);

/**
 * Gets the state of a signer that MUSIG_EVENT_SESSION_STALLED waits for.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
 * In:      event: the event.
 * Out:     out: the state. Set its struct_size before the call.
 * In:      index: the position of the signer in the list MISSING.
 */
MUSIG_MUST_USE
musig_status musig_event_signer_status(const struct musig_event *event,
                                       struct musig_signer_status *out,
                                       uint32_t index,
                                       struct musig_error **error);

/**
 * Gets the terms of MUSIG_EVENT_SESSION_PROPOSED, to consent to or decline.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD for other events.
 * In:      event: the event.
 * Out:     out: the terms; release them with musig_terms_free.
 */
MUSIG_MUST_USE
musig_status musig_event_terms(const struct musig_event *event,
                               struct musig_terms **out,
                               struct musig_error **error);

/**
 * Adds a reference to an event.
 *
 * Returns: the same pointer.
 * In:      event: the event; NULL stays NULL.
 */
struct musig_event *musig_event_ref(struct musig_event *event);

/**
 * Releases a reference to an event; the last one frees it.
 *
 * This does not acknowledge the event.
 *
 * In:      event: the event; NULL is ignored.
 */
void musig_event_free(struct musig_event *event);

/**
 * Starts a node: opens its store, resumes its sessions, and connects.
 *
 * Unacknowledged durable events are redelivered. The handler may be called before this function returns.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG if the configuration is incomplete or contradicts itself;
 *          MUSIG_STATUS_CONFIG_USED; MUSIG_STATUS_STORE_IN_USE and other statuses of the store;
 *          MUSIG_STATUS_NETWORK; MUSIG_STATUS_FORKED. On failure the configuration can be corrected and used again.
 * Out:     out: the node; release it with musig_node_free.
 * In:      config: the configuration, which is consumed on success.
 * Blocks:  until the store is loaded, and for one commit.
 */
MUSIG_MUST_USE
musig_status musig_node_start(struct musig_node **out,
                              const struct musig_config *config,
                              struct musig_error **error);

/**
 * Stops a node and its callbacks.
 *
 * Afterwards no callback of the node runs or will run, the user_data of its callbacks is destroyed, and the store is
 * closed. Functions of the node and its sessions then return MUSIG_STATUS_NODE_STOPPED. Stopping twice is allowed.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WOULD_DEADLOCK inside a callback of this node, with no effect: call
 *          musig_node_request_stop there; statuses of the store if the last commit failed, with the node stopped.
 * In:      node: the node.
 * Threads: any, except inside callbacks of this node.
 * Blocks:  until running callbacks have returned and the store is closed; for a disk that hangs 30 s.
 */
MUSIG_MUST_USE
musig_status musig_node_stop(const struct musig_node *node,
                             struct musig_error **error);

/**
 * Requests that a node stop, without waiting.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
 * In:      node: the node.
 */
musig_status musig_node_request_stop(const struct musig_node *node,
                                     struct musig_error **error);

/**
 * Creates a session: proposes it to its signers and consents to it.
 *
 * Its progress is reported by events.
 *
 * Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_PROPOSAL; MUSIG_STATUS_LIMIT; statuses of the
 *          node and the store.
 * In:      node: the node. Its key must be among the signers.
 * Out:     out: the session; release it with musig_session_free.
 * In:      proposal: the proposal. It can be used again, for another session.
 * Blocks:  for one commit.
 */
MUSIG_MUST_USE
musig_status musig_node_create_session(const struct musig_node *node,
                                       struct musig_session **out,
                                       const struct musig_proposal *proposal,
                                       struct musig_error **error);

/**
 * Creates a handle for a session id, whether or not the session exists.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
 * In:      node: the node.
 * Out:     out: the session; release it with musig_session_free.
 * In:      id: the 32 bytes of the session id.
 */
MUSIG_MUST_USE
musig_status musig_node_session(const struct musig_node *node,
                                struct musig_session **out,
                                const uint8_t *id,
                                struct musig_error **error);

/**
 * Lists the sessions of a node, including closed ones.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * In:      node: the node.
 * Out:     out: session ids, 32 bytes each; release them with musig_bytes_free.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_node_sessions(const struct musig_node *node,
                                 struct musig_bytes **out,
                                 struct musig_error **error);

/**
 * Imports the output of musig_session_export.
 *
 * It passes the same checks and limits as messages from the network.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE or MUSIG_STATUS_PROPOSAL if the bytes are invalid; statuses of the node.
 * In:      node: the node.
 * Out:     out: the ids of the sessions in it, 32 bytes each; release them with musig_bytes_free.
 * In:      data: the bytes.
 *          data_length: length of data in bytes, at most 16 MiB.
 * Blocks:  until the node has verified them.
 */
MUSIG_MUST_USE
musig_status musig_node_import(const struct musig_node *node,
                               struct musig_bytes **out,
                               const uint8_t *data,
                               size_t data_length,
                               struct musig_error **error);

/**
 * Dials an address, and redials it whenever it is disconnected.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG if it is not a multiaddress; MUSIG_STATUS_NETWORK if the node is
 *          offline; statuses of the node.
 * In:      node: the node.
 *          address: a multiaddress such as "/ip4/192.0.2.1/tcp/4001".
 * Blocks:  until the node has accepted the request, not until it is connected.
 */
MUSIG_MUST_USE
musig_status musig_node_add_peer(const struct musig_node *node,
                                 const char *address,
                                 struct musig_error **error);

/**
 * Lists the addresses at which a node can be dialed.
 *
 * Each can be passed to musig_config_add_peer_address. The list is empty until the node listens.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * In:      node: the node.
 * Out:     out: text with one address per line; release it with musig_bytes_free.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_node_listen_addresses(const struct musig_node *node,
                                         struct musig_bytes **out,
                                         struct musig_error **error);

/**
 * Lists the connected signers.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * In:      node: the node.
 * Out:     out: their compressed public keys, 33 bytes each; release them with musig_bytes_free.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_node_connected_signers(const struct musig_node *node,
                                          struct musig_bytes **out,
                                          struct musig_error **error);

/**
 * Gets the public key of a node's signer.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
 * In:      node: the node.
 * Out:     out: the 33 bytes of the compressed public key.
 */
MUSIG_MUST_USE
musig_status musig_node_signer_key(const struct musig_node *node,
                                   uint8_t *out,
                                   struct musig_error **error);

/**
 * Gets the libp2p peer id of a node.
 *
 * It is public, and independent of the signer's key.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
 * In:      node: the node.
 * Out:     out: the peer id, as text; release it with musig_bytes_free.
 */
MUSIG_MUST_USE
musig_status musig_node_peer_id(const struct musig_node *node,
                                struct musig_bytes **out,
                                struct musig_error **error);

/**
 * Publishes a node's addresses again, after its signer was unlocked.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * In:      node: the node.
 * Blocks:  until the node has accepted the request.
 */
musig_status musig_node_announce(const struct musig_node *node,
                                 struct musig_error **error);

/**
 * Replaces all connections of a node and dials again at once, after the device changed its network.
 *
 * Nothing waits for back-off, and peers learn the node's new address. A phone that does not listen sees no change by
 * itself. musig_node_resume does it too.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * In:      node: the node.
 * Blocks:  until the node has accepted the request.
 */
musig_status musig_node_network_changed(const struct musig_node *node,
                                        struct musig_error **error);

/**
 * Sets the signers whose proposals a node takes from now on.
 *
 * The proposals of all others are refused unseen; sessions that are here stay as they are. It is not stored. A suspended
 * node takes it too.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; statuses of the node.
 * In:      node: the node.
 *          proposers: their compressed public keys, 33 bytes each; may be NULL if there are none.
 *          proposers_count: number of proposers; 0 for nobody's proposals.
 * Blocks:  until the node has accepted the request.
 */
MUSIG_MUST_USE
musig_status musig_node_set_accepted_proposers(const struct musig_node *node,
                                               const uint8_t *proposers,
                                               size_t proposers_count,
                                               struct musig_error **error);

/**
 * Lets a node take everybody's proposals again, as it does by default.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * In:      node: the node.
 * Blocks:  until the node has accepted the request.
 */
MUSIG_MUST_USE
musig_status musig_node_accept_all_proposers(const struct musig_node *node,
                                             struct musig_error **error);

/**
 * Suspends a node: commits, closes the store and releases its lock, before the system suspends the application.
 *
 * Until musig_node_resume the node does nothing, and its operations return MUSIG_STATUS_SUSPENDED.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node and the store.
 * In:      node: the node.
 * Blocks:  for one commit.
 */
MUSIG_MUST_USE
musig_status musig_node_suspend(const struct musig_node *node,
                                struct musig_error **error);

/**
 * Resumes a suspended node: reopens its store, reconnects, and queries the observer before it submits anything.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node and the store.
 * In:      node: the node.
 * Blocks:  until the store is open.
 */
MUSIG_MUST_USE
musig_status musig_node_resume(const struct musig_node *node,
                               struct musig_error **error);

/**
 * Adds a reference to a node.
 *
 * Returns: the same pointer.
 * In:      node: the node; NULL stays NULL.
 */
struct musig_node *musig_node_ref(struct musig_node *node);

/**
 * Releases a reference to a node; the last one requests that it stop.
 *
 * A thread of the library completes that; callbacks may run until then. Call musig_node_stop first to wait.
 *
 * In:      node: the node; NULL is ignored.
 */
void musig_node_free(struct musig_node *node);

/**
 * Adds a descriptor to the own wallet of a node's application, which is stored.
 *
 * Summaries call own what pays to its outputs within the gap limit, and raw messages over its key sets are refused without
 * MUSIG_JOIN_SIGN_BLIND. The same descriptor with other numbers takes its place.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_LIMIT for more than 64 descriptors, and for too many outputs; statuses of the node.
 * In:      node: the node.
 *          descriptor: the descriptor.
 *          next_index: the first index that was not used yet, in any branch. Add the descriptor again when it moves.
 *          gap_limit: how many indices from there on the wallet looks at: 20 by custom.
 * Blocks:  until its outputs are derived, and stored.
 */
MUSIG_MUST_USE
musig_status musig_node_add_descriptor(const struct musig_node *node,
                                       const struct musig_descriptor *descriptor,
                                       uint32_t next_index,
                                       uint32_t gap_limit,
                                       struct musig_error **error);

/**
 * Removes a descriptor from the own wallet.
 *
 * Returns: MUSIG_STATUS_OK, also if it is not there; statuses of the node.
 * In:      node: the node.
 *          descriptor: the descriptor.
 * Blocks:  until that is stored.
 */
MUSIG_MUST_USE
musig_status musig_node_remove_descriptor(const struct musig_node *node,
                                          const struct musig_descriptor *descriptor,
                                          struct musig_error **error);

/**
 * Gets a descriptor of the own wallet.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if it does not exist; statuses of the node.
 * In:      node: the node.
 * Out:     out: the descriptor; release it with musig_descriptor_free.
 *          next_index: the first index that was not used yet.
 *          gap_limit: how many indices from there on the wallet looks at.
 * In:      index: which one, from 0 on, in no order.
 * Blocks:  until the node has accepted the request.
 */
MUSIG_MUST_USE
musig_status musig_node_descriptor(const struct musig_node *node,
                                   struct musig_descriptor **out,
                                   uint32_t *next_index,
                                   uint32_t *gap_limit,
                                   uint32_t index,
                                   struct musig_error **error);

/**
 * Takes the next event.
 *
 * Each event is returned once per process. Acknowledge a durable one with musig_node_event_handled.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_EVENT on timeout; MUSIG_STATUS_CONSUMER_EXISTS if there is a handler, or
 *          another thread waits; MUSIG_STATUS_NODE_STOPPED; MUSIG_STATUS_FORKED.
 * In:      node: the node.
 * Out:     out: the event; release it with musig_event_free.
 * In:      timeout: milliseconds to wait; 0 not to wait, -1 to wait until the node stops.
 * Threads: any, one at a time.
 * Blocks:  until an event arrives, at most for the timeout.
 */
MUSIG_MUST_USE
musig_status musig_node_next_event(const struct musig_node *node,
                                   struct musig_event **out,
                                   int64_t timeout,
                                   struct musig_error **error);

/**
 * Acknowledges a durable event, so that it is not redelivered.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_EVENT if no durable event with this id is unacknowledged;
 *          MUSIG_STATUS_FORKED.
 * In:      node: the node.
 *          id: the id of the event, from musig_event_id.
 */
musig_status musig_node_event_handled(const struct musig_node *node,
                                      uint64_t id,
                                      struct musig_error **error);

/**
 * Gets the event descriptor of a node, for poll, epoll or kqueue.
 *
 * It is readable while an event waits for musig_node_next_event, and once the node has stopped; level-triggered. The
 * node owns it: never read, write or close it. It is closed with the last reference to the node and its sessions.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONSUMER_EXISTS if there is a handler; MUSIG_STATUS_CONFIG if the process has
 *          no descriptor left, or the system has none; MUSIG_STATUS_FORKED.
 * In:      node: the node.
 * Out:     out: the descriptor.
 */
MUSIG_MUST_USE
musig_status musig_node_event_descriptor(const struct musig_node *node,
                                         int32_t *out,
                                         struct musig_error **error);

/**
 * Gets the event handle of a node, for WaitForMultipleObjects: what musig_node_event_descriptor is elsewhere, on Windows.
 *
 * It is set while an event waits for musig_node_next_event, and once the node has stopped. The node owns it: never set,
 * reset or close it. It is closed with the last reference to the node and its sessions.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONSUMER_EXISTS if there is a handler; MUSIG_STATUS_CONFIG if the process has
 *          no handle left, or the system is not Windows; MUSIG_STATUS_FORKED.
 * In:      node: the node.
 * Out:     out: the handle, a HANDLE.
 */
MUSIG_MUST_USE
musig_status musig_node_event_handle(const struct musig_node *node,
                                     void **out,
                                     struct musig_error **error);

/**
 * Redelivers all unacknowledged durable events, with new ids.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * In:      node: the node.
 * Blocks:  until the node has answered, without I/O.
 */
musig_status musig_node_redeliver(const struct musig_node *node,
                                  struct musig_error **error);

/**
 * Gets the metrics of a node.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; statuses of the node.
 * In:      node: the node.
 * Out:     out: the values. Set its struct_size before the call.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_node_metrics(const struct musig_node *node,
                                struct musig_metrics *out,
                                struct musig_error **error);

/**
 * Takes samples of all metrics of a node, for any monitoring system.
 *
 * Every series exists from the start, at zero.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * In:      node: the node.
 * Out:     out: the samples; release them with musig_metric_samples_free.
 * Blocks:  until the node has answered.
 */
MUSIG_MUST_USE
musig_status musig_node_metric_samples(const struct musig_node *node,
                                       struct musig_metric_samples **out,
                                       struct musig_error **error);

/**
 * Writes all metrics of a node as text, for Prometheus and what reads its formats.
 *
 * The library opens no socket for it: serve the text, or write it into a file.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if format is not one of its values; statuses of the node.
 * In:      node: the node.
 * Out:     out: the text; release it with musig_bytes_free.
 * In:      format: a musig_metrics_format.
 * Blocks:  until the node has answered.
 */
MUSIG_MUST_USE
musig_status musig_node_metrics_text(const struct musig_node *node,
                                     struct musig_bytes **out,
                                     int32_t format,
                                     struct musig_error **error);

/**
 * Counts samples.
 *
 * Returns: the number of samples; 0 for NULL.
 * In:      samples: the samples.
 */
uint32_t musig_metric_samples_count(const struct musig_metric_samples *samples);

/**
 * Gets a sample.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INDEX_OUT_OF_RANGE if there is no such sample.
 * In:      samples: the samples.
 * Out:     out: the sample. Set its struct_size before the call.
 * In:      index: the sample's position, from 0. Samples of one metric follow one another.
 */
MUSIG_MUST_USE
musig_status musig_metric_samples_get(const struct musig_metric_samples *samples,
                                      struct musig_metric_sample *out,
                                      uint32_t index,
                                      struct musig_error **error);

/**
 * Adds a reference to samples.
 *
 * Returns: the same pointer.
 * In:      samples: the samples; NULL stays NULL.
 */
struct musig_metric_samples *musig_metric_samples_ref(struct musig_metric_samples *samples);

/**
 * Releases a reference to samples; the last one frees them.
 *
 * In:      samples: the samples; NULL is ignored.
 */
void musig_metric_samples_free(struct musig_metric_samples *samples);

/**
 * Gets the record of a signer as a coordinator: what a node's own observer showed of it, and nothing that others say.
 *
 * It is for a person to read: no turn and no election depends on it. Who was passed over early did not fail. At most 256
 * signers are remembered.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INVALID_KEY; statuses of the node.
 * In:      node: the node.
 * Out:     out: the record. Set its struct_size before the call.
 * In:      signer: the 33 bytes of the signer's compressed public key.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_node_reputation(const struct musig_node *node,
                                   struct musig_reputation *out,
                                   const uint8_t *signer,
                                   struct musig_error **error);

/**
 * Forgets the record of a signer as a coordinator.
 *
 * Nothing happens if there is none. It leaves the disk with the next commit.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; statuses of the node.
 * In:      node: the node.
 *          signer: the 33 bytes of the signer's compressed public key.
 * Blocks:  until the node has answered, without I/O.
 */
MUSIG_MUST_USE
musig_status musig_node_forget_signer(const struct musig_node *node,
                                      const uint8_t *signer,
                                      struct musig_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MUSIG_H */
