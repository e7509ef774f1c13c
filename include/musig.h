/* libmusig: MuSig2 signing sessions in which no coordinator can censor or lose the transaction.
 *
 * A session in short:
 *
 * 1. Each signer makes a musig_signer of its key, fills a musig_config, and starts a musig_node with it.
 * 2. One of them makes a musig_proposal, of messages or of a transaction, and hands it to musig_node_create_session.
 * 3. The others get MUSIG_EVENT_SESSION_PROPOSED, look at its musig_event_terms, and call musig_session_join. Joining is
 *    consent: nothing is signed without it.
 * 4. The nodes sign. Each gets MUSIG_EVENT_SESSION_COMPLETE with the signatures.
 * 5. The elected coordinator broadcasts: by its musig_broadcaster, or its application does on MUSIG_EVENT_SHOULD_BROADCAST.
 *    If that is not seen in time, the next signer gets its turn too, and so on.
 * 6. A node watches until its musig_chain_observer sees the transaction deep enough in the chain, or its application says
 *    so by musig_session_notify_broadcast_complete.
 *
 * Objects are opaque and reference-counted. What a function writes to an out-parameter of handle type has one
 * reference, which the caller gives up by the type's _free function, whenever it wants, inside callbacks too. Whoever calls
 * a function with an object keeps a reference to it until the call returns.
 *
 * Fallible functions return a musig_status, which is MUSIG_STATUS_OK (0) on success. Their last parameter takes a
 * musig_error with words for people: it is always written, and NULL on success; pass NULL not to have it. All other
 * out-parameters are written on success only. No pointer parameter may be NULL unless its description says so: then the
 * call returns MUSIG_STATUS_NULL_ARGUMENT and does nothing.
 *
 * "Returns" names the statuses that tell something about the call. Beside them every fallible function may return
 * MUSIG_STATUS_NULL_ARGUMENT, MUSIG_STATUS_INVALID_ARGUMENT for what cannot be (an address that is not aligned for its
 * type, a text that is not UTF-8), and MUSIG_STATUS_INTERNAL. "Statuses of the node" are MUSIG_STATUS_NODE_STOPPED,
 * MUSIG_STATUS_SUSPENDED, MUSIG_STATUS_FORKED, MUSIG_STATUS_INTERNAL, and those of the store while it takes no commits.
 *
 * Every function may be called from every thread at any time, unless its "Threads" says otherwise. "Blocks" says what it
 * may wait for: never for the network, and never for a callback unless it says so. After fork() the functions of nodes and
 * sessions return MUSIG_STATUS_FORKED in the child, and _free does nothing there.
 *
 * Public keys are compressed (33 bytes), signatures are BIP-340's (64 bytes), ids of transactions stand in the order in
 * which they are hashed (they are shown reversed), times are milliseconds, and texts are NUL-terminated UTF-8.
 *
 * docs/c-api.md tells the rest: callbacks, user_data, events, versions, platforms.
 */


#ifndef MUSIG_H
#define MUSIG_H

/* Generated from src/ffi/c by the test `ffi`; do not edit. */

#include <stddef.h>
#include <stdint.h>

/**
 * First number of the version of this header: changes break programs.
 */
#define MUSIG_VERSION_MAJOR 0

/**
 * Second number of the version of this header. While the first is 0, it may break programs too.
 */
#define MUSIG_VERSION_MINOR 1

/**
 * Third number of the version of this header.
 */
#define MUSIG_VERSION_PATCH 0

/**
 * The version of this header as one number: major * 1000000 + minor * 1000 + patch.
 */
#define MUSIG_VERSION_NUMBER 1000

/**
 * The binary interface that this header describes: see musig_abi_version.
 */
#define MUSIG_ABI_VERSION 1

/**
 * Most signers of a session.
 */
#define MUSIG_MAX_SIGNERS 128

/**
 * Most messages of a session.
 */
#define MUSIG_MAX_MESSAGES 256

/**
 * Stands for no tweak, where the index of a tweak is asked for.
 */
#define MUSIG_NO_TWEAK 4294967295

/**
 * The values of musig_status. 1 to 99: the call; 100 to 199: the network; 200 to 299: the protocol; 300 to 399: the
 * store; 400 to 499: the chain; 900 and above: libmusig itself.
 */
enum musig_status_code
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Done.
   */
  MUSIG_STATUS_OK = 0,
  /**
   * A pointer is NULL that must not be.
   */
  MUSIG_STATUS_NULL_ARGUMENT = 1,
  /**
   * A number, length or text cannot be what it is.
   */
  MUSIG_STATUS_INVALID_ARGUMENT = 2,
  /**
   * Bytes that are no compressed public key.
   */
  MUSIG_STATUS_INVALID_KEY = 3,
  /**
   * A buffer has less room than is needed. Nothing was written.
   */
  MUSIG_STATUS_BUFFER_TOO_SMALL = 4,
  /**
   * This event, or these terms, have no such field.
   */
  MUSIG_STATUS_NO_SUCH_FIELD = 5,
  /**
   * An index is not below the number of elements.
   */
  MUSIG_STATUS_INDEX_OUT_OF_RANGE = 6,
  /**
   * The struct_size of a structure is not set, or is of no version of this library.
   */
  MUSIG_STATUS_STRUCT_SIZE = 7,
  /**
   * Something is missing in the configuration, or contradicts itself.
   */
  MUSIG_STATUS_CONFIG = 8,
  /**
   * The call would wait for its own thread.
   */
  MUSIG_STATUS_WOULD_DEADLOCK = 9,
  /**
   * The process was forked; nodes work in the process that started the first one.
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
   * Events have a consumer already.
   */
  MUSIG_STATUS_CONSUMER_EXISTS = 13,
  /**
   * No event came in time.
   */
  MUSIG_STATUS_NO_EVENT = 14,
  /**
   * There is no event of this number, or it was acknowledged before.
   */
  MUSIG_STATUS_UNKNOWN_EVENT = 15,
  /**
   * It does not exist yet: the signatures are not finished, or the peer is not connected.
   */
  MUSIG_STATUS_NOT_READY = 16,
  /**
   * The configuration has been used up by a node.
   */
  MUSIG_STATUS_CONFIG_USED = 17,
  /**
   * The network part failed.
   */
  MUSIG_STATUS_NETWORK = 100,
  /**
   * The proposal is refused.
   */
  MUSIG_STATUS_PROPOSAL = 200,
  /**
   * The bytes are refused.
   */
  MUSIG_STATUS_WIRE = 201,
  /**
   * There is no such session.
   */
  MUSIG_STATUS_UNKNOWN_SESSION = 202,
  /**
   * The session exists already.
   */
  MUSIG_STATUS_SESSION_EXISTS = 203,
  /**
   * The session is not in a state in which this can be done.
   */
  MUSIG_STATUS_WRONG_STATE = 204,
  /**
   * A limit is reached.
   */
  MUSIG_STATUS_LIMIT = 205,
  /**
   * The election question has no answer.
   */
  MUSIG_STATUS_ELECTION = 206,
  /**
   * This is not the election of these signers.
   */
  MUSIG_STATUS_ELECTION_MISMATCH = 207,
  /**
   * The signer did not sign.
   */
  MUSIG_STATUS_SIGNER = 208,
  /**
   * The signer is locked.
   */
  MUSIG_STATUS_SIGNER_LOCKED = 209,
  /**
   * The secret is no secret key, or not the one of this signer.
   */
  MUSIG_STATUS_WRONG_SECRET = 210,
  /**
   * This signer is elsewhere, so its key cannot be locked or unlocked here.
   */
  MUSIG_STATUS_NOT_LOCAL = 211,
  /**
   * A foreign signer's nonces of this attempt are gone. The session goes on with a new attempt.
   */
  MUSIG_STATUS_NONCE_GONE = 212,
  /**
   * The store failed.
   */
  MUSIG_STATUS_STORE = 300,
  /**
   * Another node has the store open.
   */
  MUSIG_STATUS_STORE_IN_USE = 301,
  /**
   * The store is of another version.
   */
  MUSIG_STATUS_STORE_SCHEMA = 302,
  /**
   * The store is damaged, or is none.
   */
  MUSIG_STATUS_STORE_CORRUPT = 303,
  /**
   * The store is suspended.
   */
  MUSIG_STATUS_STORE_SUSPENDED = 304,
  /**
   * The chain failed. No function returns it; callbacks may, to say that they could not reach their node.
   */
  MUSIG_STATUS_CHAIN = 400,
  /**
   * A fault of libmusig. If it is a node's, the node has failed: stop it and start a new one.
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
 * Numbers of a configuration.
 */
enum musig_option
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Confirmations after which a watch ends, at least 1. Default 6.
   */
  MUSIG_OPTION_FINAL_DEPTH = 1,
  /**
   * Milliseconds of silence after which a signer counts as down, which opens turns sooner; 0 for never, the default.
   */
  MUSIG_OPTION_DEAD_AFTER = 2,
  /**
   * 1 to tell the others that this node broadcast, which is the default, or 0.
   */
  MUSIG_OPTION_CLAIMS = 3,
  /**
   * 1 to tell the others that this node cannot reach the chain, which is the default, or 0.
   */
  MUSIG_OPTION_NACKS = 4,
  /**
   * Milliseconds without progress after which a session is reported as stalled. Default 10000.
   */
  MUSIG_OPTION_STALL_AFTER = 5,
  /**
   * Sessions that may be open at once. Default 4096.
   */
  MUSIG_OPTION_MAX_SESSIONS = 6,
  /**
   * 1 to share one worker thread among the nodes, for phones; 0 for two, the default.
   */
  MUSIG_OPTION_SMALL_RUNTIME = 7,
  /**
   * A musig_dht_mode. Default MUSIG_DHT_CLIENT.
   */
  MUSIG_OPTION_DHT = 8,
  /**
   * 1 to announce the node on the local network, where everybody can read it, and to look for signers there; 0, the
   * default, not to.
   */
  MUSIG_OPTION_MDNS = 9,
  /**
   * 1 for settings of the network that suit phones: it does not listen unless an address is added, and wakes the
   * radio less often; 0, the default, not to.
   */
  MUSIG_OPTION_MOBILE = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_option musig_option;
#else
typedef int32_t musig_option;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a node does in the distributed hash table, in which signers find each other by their keys.
 */
enum musig_dht_mode
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Nothing.
   */
  MUSIG_DHT_OFF = 0,
  /**
   * Asks for others, and publishes where it is. The default.
   */
  MUSIG_DHT_CLIENT = 1,
  /**
   * Also keeps for others where they are: for nodes that run all the time and can be reached.
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
 * What happened, with the fields that each kind has beside its session. Durable ones come again after a restart until
 * they are acknowledged. Later versions may add kinds: acknowledge those that you do not know.
 */
enum musig_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Durable. Somebody proposed a session: answer with musig_session_join or musig_session_decline. SIGNER is the
   * proposer; EXPIRES_AT; musig_event_terms.
   */
  MUSIG_EVENT_SESSION_PROPOSED = 1,
  /**
   * This node's own proposal is stored and on its way.
   */
  MUSIG_EVENT_SESSION_CREATED = 2,
  /**
   * A signer accepted: SIGNER, JOINED of SIGNERS.
   */
  MUSIG_EVENT_SESSION_JOINED = 3,
  /**
   * All signers accepted.
   */
  MUSIG_EVENT_SESSION_READY = 4,
  /**
   * All nonces of ATTEMPT are here.
   */
  MUSIG_EVENT_NONCES_COMPLETE = 5,
  /**
   * Durable. The signatures are finished: SIGNATURES, RANK, PRIORITY_LIST; TXID and TRANSACTION if it is of one.
   */
  MUSIG_EVENT_SESSION_COMPLETE = 6,
  /**
   * Durable. It is this node's turn to broadcast: SIGNER (its own), TURN, SIGNATURES; NEXT_TURN_AT unless it is the
   * last turn; TXID and TRANSACTION if it is of one. With a broadcaster the node submits by itself.
   */
  MUSIG_EVENT_SHOULD_BROADCAST = 7,
  /**
   * A turn opened, for the signers before did not broadcast in time: TURN, FAILED, NEXT.
   */
  MUSIG_EVENT_COORDINATOR_FAILED = 8,
  /**
   * Durable. Every signer had its turn; this node goes on submitting: TURNS, SUBMISSIONS, CLAIMS; REASON if the
   * transaction was refused; TXID and TRANSACTION if it is of one.
   */
  MUSIG_EVENT_FAILOVER_EXHAUSTED = 9,
  /**
   * Durable without an observer. SIGNER claims to have broadcast TXID: look, and notify.
   */
  MUSIG_EVENT_BROADCAST_CLAIMED = 10,
  /**
   * The observer sees TXID.
   */
  MUSIG_EVENT_BROADCAST_SEEN = 11,
  /**
   * Durable. The transaction is in a block, at HEIGHT with CONFIRMATIONS, or without these two the application said
   * so: TXID if it is known.
   */
  MUSIG_EVENT_BROADCAST_CONFIRMED = 12,
  /**
   * Durable. Another transaction that spends the same is in a block: TXID is that one.
   */
  MUSIG_EVENT_BROADCAST_CONFLICT = 13,
  /**
   * Durable. TXID was seen and is gone: a new watch begins.
   */
  MUSIG_EVENT_BROADCAST_LOST = 14,
  /**
   * Durable. The network's node refuses the transaction: REASON.
   */
  MUSIG_EVENT_BROADCAST_REJECTED = 15,
  /**
   * Nothing happened for SINCE milliseconds: MISSING.
   */
  MUSIG_EVENT_SESSION_STALLED = 16,
  /**
   * Durable. Signers provably broke a rule: CULPRITS, MAY_STILL_COMPLETE, musig_event_proof.
   */
  MUSIG_EVENT_SESSION_FAILED = 17,
  /**
   * Durable. SIGNER declined or aborted: DECLINED, REASON, MAY_STILL_COMPLETE.
   */
  MUSIG_EVENT_SESSION_ABORTED = 18,
  /**
   * Durable. The proposal expired: MAY_STILL_COMPLETE.
   */
  MUSIG_EVENT_SESSION_EXPIRED = 19,
  /**
   * The session was closed here.
   */
  MUSIG_EVENT_SESSION_CLOSED = 20,
  /**
   * Durable. There is an envelope of this node's key that this node did not make: an old backup, or a second
   * instance.
   */
  MUSIG_EVENT_KEY_IN_USE_ELSEWHERE = 21,
  /**
   * The signer could not do what a session needs; it is asked again: REASON.
   */
  MUSIG_EVENT_SIGNER_FAILED = 22,
  /**
   * A peer connected: PEER; SIGNER_KEY once it proved it.
   */
  MUSIG_EVENT_PEER_CONNECTED = 23,
  /**
   * A peer is gone: PEER; SIGNER_KEY if it had proved it.
   */
  MUSIG_EVENT_PEER_DISCONNECTED = 24,
  /**
   * SIGNER of this session is gone.
   */
  MUSIG_EVENT_PARTICIPANT_DISCONNECTED = 25,
  /**
   * The store does not take commits: nothing is signed or sent until it does. It is tried again: REASON.
   */
  MUSIG_EVENT_STORE_FAILED = 26,
  /**
   * A part of the network does not work; the node goes on without it: REASON.
   */
  MUSIG_EVENT_NETWORK_DEGRADED = 27,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_event_kind musig_event_kind;
#else
typedef int32_t musig_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Numbers of an event.
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
   * How many signers accepted so far.
   */
  MUSIG_EVENT_NUMBER_JOINED = 2,
  /**
   * How many signers there are.
   */
  MUSIG_EVENT_NUMBER_SIGNERS = 3,
  /**
   * An attempt, from 0 on.
   */
  MUSIG_EVENT_NUMBER_ATTEMPT = 4,
  /**
   * This node's position in the priority list.
   */
  MUSIG_EVENT_NUMBER_RANK = 5,
  /**
   * A turn, from 0 on.
   */
  MUSIG_EVENT_NUMBER_TURN = 6,
  /**
   * How many turns there were.
   */
  MUSIG_EVENT_NUMBER_TURNS = 7,
  /**
   * When the next turn opens, in milliseconds since 1970-01-01 00:00 UTC.
   */
  MUSIG_EVENT_NUMBER_NEXT_TURN_AT = 8,
  /**
   * When the proposal expires, in milliseconds since 1970-01-01 00:00 UTC.
   */
  MUSIG_EVENT_NUMBER_EXPIRES_AT = 9,
  /**
   * How often this node submitted.
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
   * Milliseconds.
   */
  MUSIG_EVENT_NUMBER_SINCE = 13,
  /**
   * 1 if the signer refused before it took part.
   */
  MUSIG_EVENT_NUMBER_DECLINED = 14,
  /**
   * 1 if this node's partial signature is out, so that others may finish.
   */
  MUSIG_EVENT_NUMBER_MAY_STILL_COMPLETE = 15,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_event_number_field musig_event_number_field;
#else
typedef int32_t musig_event_number_field;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Lists of signer indices of an event.
 */
enum musig_event_list_field
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * All signers, the elected coordinator first.
   */
  MUSIG_EVENT_LIST_PRIORITY_LIST = 1,
  /**
   * The signers of earlier turns that were not reported yet.
   */
  MUSIG_EVENT_LIST_FAILED = 2,
  /**
   * The signers of this turn.
   */
  MUSIG_EVENT_LIST_NEXT = 3,
  /**
   * The signers that everybody waits for.
   */
  MUSIG_EVENT_LIST_MISSING = 4,
  /**
   * Signers that provably broke a rule.
   */
  MUSIG_EVENT_LIST_CULPRITS = 5,
  /**
   * Signers that claimed to have broadcast.
   */
  MUSIG_EVENT_LIST_CLAIMS = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_event_list_field musig_event_list_field;
#else
typedef int32_t musig_event_list_field;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Bytes and texts of an event.
 */
enum musig_event_bytes_field
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * A transaction's id: 32 bytes in the order in which they are hashed; they are shown reversed.
   */
  MUSIG_EVENT_BYTES_TXID = 1,
  /**
   * The finished transaction in consensus encoding.
   */
  MUSIG_EVENT_BYTES_TRANSACTION = 2,
  /**
   * BIP-340 signatures, 64 bytes for each message.
   */
  MUSIG_EVENT_BYTES_SIGNATURES = 3,
  /**
   * Somebody's words, a text.
   */
  MUSIG_EVENT_BYTES_REASON = 4,
  /**
   * A libp2p peer id, a text.
   */
  MUSIG_EVENT_BYTES_PEER = 5,
  /**
   * A compressed public key, 33 bytes.
   */
  MUSIG_EVENT_BYTES_SIGNER_KEY = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_event_bytes_field musig_event_bytes_field;
#else
typedef int32_t musig_event_bytes_field;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a broadcaster's callback returns.
 */
enum musig_submit
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The network's node took the transaction, or knew it (or the same with another witness) already.
   */
  MUSIG_SUBMIT_ACCEPTED = 0,
  /**
   * It refuses the transaction itself: fee, policy, inputs. Nobody is excused by that.
   */
  MUSIG_SUBMIT_REJECTED = 1,
  /**
   * It cannot be reached: the next signers take over. So does every other number.
   */
  MUSIG_SUBMIT_UNREACHABLE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum musig_submit musig_submit;
#else
typedef int32_t musig_submit;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What the chain says about a transaction.
 */
enum musig_chain_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Neither it nor a conflicting spend is known.
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
   * Another transaction that spends the same is in a block: set conflict_txid and confirmations.
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
 * How important a line of the log is.
 */
enum musig_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Something does not work.
   */
  MUSIG_LOG_ERROR = 1,
  /**
   * Something may not work.
   */
  MUSIG_LOG_WARN = 2,
  /**
   * What happens.
   */
  MUSIG_LOG_INFO = 3,
  /**
   * How it happens.
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
   * As the proposal lists them.
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
 * How signers are grouped into turns.
 */
enum musig_tiers
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * One signer in each turn. The default.
   */
  MUSIG_TIERS_SINGLE = 0,
  /**
   * A fixed number of signers in each turn.
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
 * How the coordinator is elected.
 */
enum musig_election_method
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Signers by their compressed keys, ascending. The default.
   */
  MUSIG_ELECTION_LEXICOGRAPHIC = 0,
  /**
   * Index order, wrapping, from a start that the hash of all keys gives.
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
   * By the hash of session id and key: rotates with every session.
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
 * Bytes of a session's terms.
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
   * What is signed, 32 bytes for each message.
   */
  MUSIG_TERMS_DIGESTS = 3,
  /**
   * The proposer's own words.
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
 * How far a session is.
 */
enum musig_phase
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Proposed by another signer; waits for join or decline.
   */
  MUSIG_PHASE_PROPOSED = 1,
  /**
   * Joined; waits for the others' consent or nonces.
   */
  MUSIG_PHASE_JOINED = 2,
  /**
   * All nonces of the attempt are here; waits for partial signatures.
   */
  MUSIG_PHASE_SIGNING = 3,
  /**
   * The signatures are finished, and the transaction's way to the chain is watched.
   */
  MUSIG_PHASE_WATCHING = 4,
  /**
   * The watch ended.
   */
  MUSIG_PHASE_FINAL = 5,
  /**
   * A signer provably broke a rule.
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
 * What is known of a session's transaction.
 */
enum musig_evidence
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Nothing, or only what others claim.
   */
  MUSIG_EVIDENCE_NONE = 0,
  /**
   * The own submission was accepted.
   */
  MUSIG_EVIDENCE_SUBMITTED = 1,
  /**
   * The observer sees it.
   */
  MUSIG_EVIDENCE_SEEN = 2,
  /**
   * It is in a block.
   */
  MUSIG_EVIDENCE_CONFIRMED = 3,
  /**
   * A conflicting spend is in a block.
   */
  MUSIG_EVIDENCE_CONFLICT = 4,
  /**
   * The application, which is the observer, said that it is broadcast.
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
 * Bytes, or a text, that the library hands out. They never change.
 */
typedef struct musig_bytes musig_bytes;

/**
 * What a node is started with. It can be filled by any thread, and is used up by the node that starts with it.
 */
typedef struct musig_config musig_config;

/**
 * The result of an election: which signer broadcasts, and who follows.
 */
typedef struct musig_election musig_election;

/**
 * What went wrong in one call: a status, and words that tell what to do next.
 *
 * A fallible function writes one to its last parameter, if that is not NULL: always, and NULL on success. It is the
 * caller's to free.
 */
typedef struct musig_error musig_error;

/**
 * Something that happened. It never changes.
 */
typedef struct musig_event musig_event;

/**
 * A running node: one signer's sessions, its peers, its store and its way to the chain.
 */
typedef struct musig_node musig_node;

/**
 * The terms of a session to be. What is not set has a default.
 */
typedef struct musig_proposal musig_proposal;

/**
 * A session of a node. It keeps memory alive, not the node running.
 */
typedef struct musig_session musig_session;

/**
 * Holds one secret key, and signs with it.
 */
typedef struct musig_signer musig_signer;

/**
 * The terms of a session: what its application is asked to consent to. They never change.
 */
typedef struct musig_terms musig_terms;

/**
 * What a fallible function returns: a musig_status_code. Zero is success; numbers never change their meaning, and
 * later versions may return new ones.
 */
typedef int32_t musig_status;

/**
 * What a signer of callbacks is asked to sign. Everything lives for the length of the call.
 */
typedef struct musig_signing_request {
  /**
   * The size of this structure in the library that calls.
   */
  uint32_t struct_size;
  /**
   * The attempt, from 0 on. Nonces are made once for each attempt of a session.
   */
  uint32_t attempt;
  /**
   * The signer index of the key.
   */
  uint32_t signer;
  /**
   * How many messages there are.
   */
  uint32_t messages_length;
  /**
   * The session, 32 bytes.
   */
  const uint8_t *session_id;
  /**
   * The encoded proposal: see musig_terms_decode.
   */
  const uint8_t *proposal;
  /**
   * Bytes of the encoded proposal.
   */
  size_t proposal_length;
  /**
   * What is signed: 32 bytes for each message.
   */
  const uint8_t *digests;
  /**
   * The x-only keys that the signatures will verify under: 32 bytes for each message.
   */
  const uint8_t *output_keys;
  /**
   * BIP-327 aggregate nonces: 66 bytes for each message. NULL when nonces are asked for.
   */
  const uint8_t *aggregate_nonces;
} musig_signing_request;

/**
 * A signer in another process or a device. Callbacks are entered one at a time on a thread of the library; they may
 * block for up to a minute. They return MUSIG_STATUS_OK, MUSIG_STATUS_SIGNER_LOCKED, MUSIG_STATUS_NONCE_GONE, or
 * any other number for a failure. No exception may leave them.
 */
typedef struct musig_signer_callbacks {
  /**
   * sizeof(musig_signer_callbacks).
   */
  uint32_t struct_size;
  /**
   * Writes the 64 bytes of a BIP-340 signature over a digest of 32 bytes.
   */
  musig_status (*sign)(void *user_data,
                       const uint8_t *digest,
                       uint8_t *signature);
  /**
   * Makes secret nonces, keeps them for (session, attempt), and writes the public ones: 66 bytes for each message.
   * Never twice for one attempt: then it returns MUSIG_STATUS_NONCE_GONE, and the session goes on with a new attempt.
   */
  musig_status (*make_nonces)(void *user_data,
                              const struct musig_signing_request *request,
                              uint8_t *nonces);
  /**
   * Uses the nonces of (session, attempt) up, and writes partial signatures: 32 bytes for each message. Without these
   * nonces, as after a restart, it returns MUSIG_STATUS_NONCE_GONE.
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
 * inside the function that gives the last reference up, or on a thread of the library. May be NULL.
 */
typedef void (*musig_destroy)(void *user_data);

/**
 * Submits transactions. The callback is entered on a thread of the library, one call at a time. It may block; after
 * 30 s its answer counts as MUSIG_SUBMIT_UNREACHABLE. No exception may leave it.
 */
typedef struct musig_broadcaster {
  /**
   * sizeof(musig_broadcaster).
   */
  uint32_t struct_size;
  /**
   * Submits a transaction in consensus encoding, and returns a musig_submit. It may be called again with the same
   * one. txid has 32 bytes in the order in which they are hashed. Words of a refusal go to reason, as a text of at
   * most reason_capacity bytes with its NUL.
   */
  int32_t (*submit)(void *user_data,
                    const uint8_t *txid,
                    const uint8_t *transaction,
                    size_t transaction_length,
                    char *reason,
                    size_t reason_capacity);
} musig_broadcaster;

/**
 * An output of a transaction.
 */
typedef struct musig_outpoint {
  /**
   * The transaction that made it, in the order in which it is hashed.
   */
  uint8_t txid[32];
  /**
   * Its position there.
   */
  uint32_t vout;
} musig_outpoint;

/**
 * What an observer is asked about. Everything lives for the length of the call.
 */
typedef struct musig_chain_query {
  /**
   * The size of this structure in the library that calls.
   */
  uint32_t struct_size;
  /**
   * How many outputs the transaction spends.
   */
  uint32_t spends_length;
  /**
   * The transaction, 32 bytes in the order in which they are hashed.
   */
  const uint8_t *txid;
  /**
   * What it spends: a conflicting transaction spends one of these.
   */
  const struct musig_outpoint *spends;
} musig_chain_query;

/**
 * An observer's answer. All zeros when the callback gets it.
 */
typedef struct musig_chain_answer {
  /**
   * The size of this structure in the library that calls.
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
   * The block itself counts as one.
   */
  uint32_t confirmations;
  /**
   * The conflicting transaction, in the order in which it is hashed.
   */
  uint8_t conflict_txid[32];
} musig_chain_answer;

/**
 * Looks at the chain. The callback is entered on a thread of the library, one call at a time. It may block; after
 * 30 s its answer is discarded. No exception may leave it.
 */
typedef struct musig_chain_observer {
  /**
   * sizeof(musig_chain_observer).
   */
  uint32_t struct_size;
  /**
   * Fills the answer, and returns 0; or returns any other number if the chain cannot be looked at now.
   */
  int32_t (*status)(void *user_data,
                    const struct musig_chain_query *query,
                    struct musig_chain_answer *answer);
} musig_chain_observer;

/**
 * Gets each event of a node, one at a time, in order, on a thread of the library. The node and the event live for the
 * length of the call; take references to keep them. Returning 0 acknowledges the event; any other number keeps a
 * durable one, which comes again after a restart or musig_node_redeliver. Should be idempotent. It may block, which
 * delays no signing, and may call every function, but musig_node_stop of this node returns
 * MUSIG_STATUS_WOULD_DEADLOCK. No exception may leave it.
 */
typedef int32_t (*musig_event_handler)(void *user_data,
                                       struct musig_node *node,
                                       struct musig_event *event);

/**
 * Takes the log of one node. The callback is entered on a thread of the library, one line at a time; lines that come
 * too fast are dropped. No exception may leave it.
 */
typedef struct musig_log_sink {
  /**
   * sizeof(musig_log_sink).
   */
  uint32_t struct_size;
  /**
   * Least important musig_log_level that is wanted.
   */
  int32_t level;
  /**
   * Takes a line: its musig_log_level, the part of the library it comes from, and its words. Both texts are UTF-8
   * and live for the length of the call. They hold no secrets.
   */
  void (*log)(void *user_data,
              int32_t level,
              const char *target,
              const char *message);
} musig_log_sink;

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
   * Bytes of its script.
   */
  size_t script_length;
} musig_spent_output;

/**
 * The numbers of a session's terms.
 */
typedef struct musig_terms_info {
  /**
   * sizeof(musig_terms_info); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * The signer index of whoever proposes.
   */
  uint32_t proposer;
  /**
   * How many signers there are.
   */
  uint32_t signers;
  /**
   * How many messages there are.
   */
  uint32_t messages;
  /**
   * How many outputs the transaction spends; 0 for a proposal of messages.
   */
  uint32_t spent;
  /**
   * A musig_key_order.
   */
  int32_t key_order;
  /**
   * A musig_election_method.
   */
  int32_t election_method;
  /**
   * 0 if only the elected coordinator is asked to broadcast.
   */
  int32_t failover_enabled;
  /**
   * A musig_tiers.
   */
  int32_t tiers;
  /**
   * Signers in each turn with MUSIG_TIERS_FIXED, else 0.
   */
  uint32_t tier_width;
  /**
   * How many milliseconds a turn lasts before the next one opens.
   */
  uint64_t broadcast_timeout;
  /**
   * When the proposal expires, in milliseconds since 1970-01-01 00:00 UTC.
   */
  uint64_t expires_at;
  /**
   * 1 if it replaces an older session.
   */
  int32_t has_replaces;
  /**
   * The older session that it replaces, or zeros.
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
   * What is signed; for a transaction its BIP-341 signature hash.
   */
  uint8_t digest[32];
  /**
   * For a transaction: the input that the signature is for. Else 0.
   */
  uint32_t input;
  /**
   * For a transaction: a musig_sighash. Else MUSIG_SIGHASH_DEFAULT.
   */
  int32_t sighash;
} musig_message;

/**
 * A tweak of a session's terms.
 */
typedef struct musig_tweak {
  /**
   * A number below the order of secp256k1, big-endian.
   */
  uint8_t scalar[32];
  /**
   * BIP-327's is_xonly_t.
   */
  int32_t x_only;
} musig_tweak;

/**
 * A session, as its node sees it now. Lists of signers have one byte, 1 or 0, for each signer index.
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
   * How many signers there are.
   */
  uint32_t signers;
  /**
   * The current attempt, from 0 on.
   */
  uint32_t attempt;
  /**
   * 1 if this node's partial signature went out.
   */
  int32_t partial_sent;
  /**
   * When the proposal expires, in milliseconds since 1970-01-01 00:00 UTC.
   */
  uint64_t expires_at;
  /**
   * 1 once the signatures are finished: the members below are set then, else 0.
   */
  int32_t has_failover;
  /**
   * The elected coordinator.
   */
  uint32_t coordinator;
  /**
   * The last turn that opened, from 0 on.
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
   * With MUSIG_EVIDENCE_CONFIRMED or MUSIG_EVIDENCE_CONFLICT: the block itself counts as one.
   */
  uint32_t confirmations;
  /**
   * How often this node submitted.
   */
  uint32_t submissions;
  /**
   * Watches that came before, each lost.
   */
  uint32_t watch;
  /**
   * The signers that accepted.
   */
  uint8_t accepted[128];
  /**
   * The signers that everybody waits for.
   */
  uint8_t missing[128];
  /**
   * The signers of the last turn that opened.
   */
  uint8_t current[128];
} musig_session_status;

/**
 * Numbers about a node. Counters begin with its start.
 */
typedef struct musig_metrics {
  /**
   * sizeof(musig_metrics); the caller sets it.
   */
  uint32_t struct_size;
  /**
   * 1 if the node ended by a fault of libmusig.
   */
  int32_t failed;
  /**
   * Sessions that the node holds, closed ones too.
   */
  uint64_t sessions;
  /**
   * Frames handed to the network.
   */
  uint64_t frames_sent;
  /**
   * Input that was refused.
   */
  uint64_t refused;
  /**
   * Commits of the store.
   */
  uint64_t commits;
  /**
   * Those that were synced.
   */
  uint64_t syncs;
  /**
   * Calls of the store that failed.
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
   * Events that wait for the application.
   */
  uint64_t events_waiting;
  /**
   * Notices that were dropped, for the application did not take them in time.
   */
  uint64_t notices_dropped;
} musig_metrics;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Tells the version of the library that is loaded.
 *
 * Compare with MUSIG_VERSION_NUMBER, which is the version that the program was compiled with.
 *
 * Returns: major * 1000000 + minor * 1000 + patch.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
uint32_t musig_version(void);

/**
 * Tells the binary interface of the library that is loaded.
 *
 * It grows by one when programs have to be compiled again. A program works with a library of its own
 * MUSIG_ABI_VERSION only.
 *
 * Returns: the number of the binary interface.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
uint32_t musig_abi_version(void);

/**
 * Tells the version of the library that is loaded, as a text.
 *
 * Returns: a static, NUL-terminated text such as "0.1.0".
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
const char *musig_version_string(void);

/**
 * Gives a status a short English name.
 *
 * The text is static. What went wrong in one call is said by its musig_error.
 *
 * Returns: a NUL-terminated text; "unknown status" for a number that this version does not have.
 * In:      status: any number.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
const char *musig_status_string(musig_status status);

/**
 * Tells the status of an error.
 *
 * Returns: what the failed call returned; MUSIG_STATUS_NULL_ARGUMENT for NULL.
 * In:      error: the error.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_error_status(const struct musig_error *error);

/**
 * Tells what went wrong, for people.
 *
 * The words may change with any version. They name values such as keys, paths and session ids, and no secrets.
 *
 * Returns: a NUL-terminated text in UTF-8 that lives as long as the error; "" for NULL.
 * In:      error: the error.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
const char *musig_error_message(const struct musig_error *error);

/**
 * Takes one more reference to an error.
 *
 * Returns: the same pointer.
 * In:      error: the error; NULL stays NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
struct musig_error *musig_error_ref(struct musig_error *error);

/**
 * Gives up one reference to an error; the last one frees it.
 *
 * In:      error: the error; nothing is done for NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
void musig_error_free(struct musig_error *error);

/**
 * Points to the bytes.
 *
 * A NUL follows them that is not counted, so that a text can be used as it is.
 *
 * Returns: a pointer that lives as long as the object; NULL for NULL.
 * In:      bytes: the object.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
const uint8_t *musig_bytes_data(const struct musig_bytes *bytes);

/**
 * Counts the bytes.
 *
 * Returns: how many there are, without the NUL behind them; 0 for NULL.
 * In:      bytes: the object.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
size_t musig_bytes_length(const struct musig_bytes *bytes);

/**
 * Takes one more reference to bytes.
 *
 * Returns: the same pointer.
 * In:      bytes: the object; NULL stays NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
struct musig_bytes *musig_bytes_ref(struct musig_bytes *bytes);

/**
 * Gives up one reference to bytes; the last one frees them.
 *
 * In:      bytes: the object; nothing is done for NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
void musig_bytes_free(struct musig_bytes *bytes);

/**
 * Makes a signer of a secret key, in this process's memory.
 *
 * The key lies in a page that is not swapped and not part of a core dump, where the system allows that. Wipe your own
 * copy afterwards.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WRONG_SECRET for zero or a number not below the order of secp256k1.
 * Out:     out: the signer; give it up with musig_signer_free.
 *          error: why it failed; may be NULL.
 * In:      secret: the 32 bytes of the secret key.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_signer_new(struct musig_signer **out,
                              const uint8_t *secret,
                              struct musig_error **error);

/**
 * Makes a signer of a new random key, which cannot be read back.
 *
 * For tests, and for sessions that nobody has to repeat.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_SIGNER if the system gives no random bytes.
 * Out:     out: the signer; give it up with musig_signer_free.
 *          error: why it failed; may be NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_signer_generate(struct musig_signer **out,
                                   struct musig_error **error);

/**
 * Makes a signer of callbacks, for a key in another process or a device that speaks MuSig2 (BIP-327).
 *
 * What it answers is verified before it is stored or sent: signatures, public nonces, partial signatures.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT if a callback is missing. Only
 *          with MUSIG_STATUS_OK does user_data pass over.
 * Out:     out: the signer; give it up with musig_signer_free.
 *          error: why it failed; may be NULL.
 * In:      public_key: the 33 bytes of the compressed public key.
 *          callbacks: the table, which is copied.
 *          user_data: handed to each callback; may be NULL.
 *          destroy: called with user_data once no node and no reference uses the signer any more; may be NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_signer_from_callbacks(struct musig_signer **out,
                                         const uint8_t *public_key,
                                         const struct musig_signer_callbacks *callbacks,
                                         void *user_data,
                                         musig_destroy destroy,
                                         struct musig_error **error);

/**
 * Tells the public key of a signer.
 *
 * Returns: MUSIG_STATUS_OK.
 * Out:     out: gets the 33 bytes of the compressed public key.
 *          error: why it failed; may be NULL.
 * In:      signer: the signer.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_signer_public_key(const struct musig_signer *signer,
                                     uint8_t *out,
                                     struct musig_error **error);

/**
 * Wipes the key of a signer, and all its secret nonces.
 *
 * A node with a locked signer watches, relays and broadcasts. Attempts whose nonces were not used yet are begun anew.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks.
 * Out:     error: why it failed; may be NULL.
 * In:      signer: the signer.
 * Threads: any, inside callbacks too.
 * Blocks:  until a signature that is being made is finished.
 */
musig_status musig_signer_lock(const struct musig_signer *signer,
                               struct musig_error **error);

/**
 * Gives a locked signer its secret key again.
 *
 * Call musig_node_announce afterwards.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WRONG_SECRET if it is the key of another signer: nothing changes then;
 *          MUSIG_STATUS_NOT_LOCAL for a signer of callbacks.
 * Out:     error: why it failed; may be NULL.
 * In:      signer: the signer.
 *          secret: the 32 bytes of the secret key.
 * Threads: any, inside callbacks too.
 * Blocks:  until a signature that is being made is finished.
 */
musig_status musig_signer_unlock(const struct musig_signer *signer,
                                 const uint8_t *secret,
                                 struct musig_error **error);

/**
 * Tells whether a signer is locked.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks.
 * Out:     out: 1 if it is locked, else 0.
 *          error: why it failed; may be NULL.
 * In:      signer: the signer.
 * Threads: any, inside callbacks too.
 * Blocks:  until a signature that is being made is finished.
 */
musig_status musig_signer_is_locked(const struct musig_signer *signer,
                                    int32_t *out,
                                    struct musig_error **error);

/**
 * Takes one more reference to a signer.
 *
 * Returns: the same pointer.
 * In:      signer: the signer; NULL stays NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
struct musig_signer *musig_signer_ref(struct musig_signer *signer);

/**
 * Gives up one reference to a signer; the last one, nodes included, wipes it.
 *
 * In:      signer: the signer; nothing is done for NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
void musig_signer_free(struct musig_signer *signer);

/**
 * Makes an empty configuration.
 *
 * A node needs a signer, a store, and an observer or musig_config_set_without_observer.
 *
 * Returns: MUSIG_STATUS_OK.
 * Out:     out: the configuration; give it up with musig_config_free.
 *          error: why it failed; may be NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_new(struct musig_config **out,
                              struct musig_error **error);

/**
 * Sets the signer of a node.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 *          signer: the signer; the configuration takes a reference of its own.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_set_signer(const struct musig_config *config,
                                     const struct musig_signer *signer,
                                     struct musig_error **error);

/**
 * Sets the file in which a node keeps its sessions.
 *
 * One node at a time may have it open. It is made if it does not exist.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 *          path: the path of the file, in UTF-8.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_set_store_path(const struct musig_config *config,
                                         const char *path,
                                         struct musig_error **error);

/**
 * Keeps sessions in memory only.
 *
 * A node that restarts without its store can sign, but not take up its sessions. For tests.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_set_store_memory(const struct musig_config *config,
                                           struct musig_error **error);

/**
 * Adds an address to listen on.
 *
 * The first one replaces the default, a free port on every interface.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is no multiaddress; MUSIG_STATUS_CONFIG_USED.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 *          address: a multiaddress such as "/ip4/0.0.0.0/tcp/4001".
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_add_listen_address(const struct musig_config *config,
                                             const char *address,
                                             struct musig_error **error);

/**
 * Adds the address of a peer to connect to, and to connect to again whenever it is not connected.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is no multiaddress; MUSIG_STATUS_CONFIG_USED.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 *          address: a multiaddress such as "/ip4/192.0.2.1/tcp/4001".
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_add_peer_address(const struct musig_config *config,
                                           const char *address,
                                           struct musig_error **error);

/**
 * Adds a server of the distributed hash table, in which signers find each other by their keys.
 *
 * It is connected to from the start, and again whenever it is not connected. It need not be a signer.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is no multiaddress, or has no peer id at its end;
 *          MUSIG_STATUS_CONFIG_USED.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 *          address: a multiaddress such as "/dns4/relay.example/tcp/4001/p2p/12D3KooW...".
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_add_bootstrap_address(const struct musig_config *config,
                                                const char *address,
                                                struct musig_error **error);

/**
 * Adds a relay through which others reach this node.
 *
 * A place is reserved at each relay, and renewed. For nodes that others cannot dial.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is no multiaddress, or has no peer id at its end;
 *          MUSIG_STATUS_CONFIG_USED.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 *          address: a multiaddress such as "/dns4/relay.example/tcp/4001/p2p/12D3KooW...".
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_add_relay_address(const struct musig_config *config,
                                            const char *address,
                                            struct musig_error **error);

/**
 * Starts without a network: sessions go by musig_session_export and musig_node_import alone.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_set_offline(const struct musig_config *config,
                                      struct musig_error **error);

/**
 * Sets what submits transactions when this node's turn comes.
 *
 * Without one the application acts on MUSIG_EVENT_SHOULD_BROADCAST.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is missing; MUSIG_STATUS_CONFIG_USED. Only
 *          with MUSIG_STATUS_OK does user_data pass over.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 *          broadcaster: the table, which is copied.
 *          user_data: handed to each callback; may be NULL.
 *          destroy: called with user_data after the last callback; may be NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_set_broadcaster(const struct musig_config *config,
                                          const struct musig_broadcaster *broadcaster,
                                          void *user_data,
                                          musig_destroy destroy,
                                          struct musig_error **error);

/**
 * Sets what looks at the chain, and so decides when a watch pauses and ends.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is missing; MUSIG_STATUS_CONFIG_USED. Only
 *          with MUSIG_STATUS_OK does user_data pass over.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 *          observer: the table, which is copied.
 *          user_data: handed to each callback; may be NULL.
 *          destroy: called with user_data after the last callback; may be NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_set_observer(const struct musig_config *config,
                                       const struct musig_chain_observer *observer,
                                       void *user_data,
                                       musig_destroy destroy,
                                       struct musig_error **error);

/**
 * Makes the application the observer: it looks at the chain, and calls musig_session_notify_broadcast_complete.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_set_without_observer(const struct musig_config *config,
                                               struct musig_error **error);

/**
 * Sets the handler of events.
 *
 * Without one, events are taken by musig_node_next_event.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED. Only with MUSIG_STATUS_OK does user_data pass over.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 *          handler: the callback.
 *          user_data: handed to each callback; may be NULL.
 *          destroy: called with user_data after the last callback; may be NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_set_event_handler(const struct musig_config *config,
                                            musig_event_handler handler,
                                            void *user_data,
                                            musig_destroy destroy,
                                            struct musig_error **error);

/**
 * Sets where the log of a node goes.
 *
 * Without one there is none. The library never writes to a stream of the process.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is missing or the level is none;
 *          MUSIG_STATUS_CONFIG_USED. Only with MUSIG_STATUS_OK does user_data pass over.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 *          sink: the table, which is copied.
 *          user_data: handed to each callback; may be NULL.
 *          destroy: called with user_data after the last callback; may be NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_set_log_sink(const struct musig_config *config,
                                       const struct musig_log_sink *sink,
                                       void *user_data,
                                       musig_destroy destroy,
                                       struct musig_error **error);

/**
 * Sets a number.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if there is no such option, or the value cannot be;
 *          MUSIG_STATUS_CONFIG_USED.
 * Out:     error: why it failed; may be NULL.
 * In:      config: the configuration.
 *          option: a musig_option, which says what it is for.
 *          value: the number.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_config_set_number(const struct musig_config *config,
                                     int32_t option,
                                     uint64_t value,
                                     struct musig_error **error);

/**
 * Takes one more reference to a configuration.
 *
 * Returns: the same pointer.
 * In:      config: the configuration; NULL stays NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
struct musig_config *musig_config_ref(struct musig_config *config);

/**
 * Gives up one reference to a configuration; the last one frees it, and destroys the user_data of callbacks that no
 * node took over.
 *
 * In:      config: the configuration; nothing is done for NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
void musig_config_free(struct musig_config *config);

/**
 * Elects a coordinator among signers.
 *
 * Needs no node. The same input gives the same election everywhere.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_ELECTION if there
 *          are no signers.
 * Out:     out: the election; give it up with musig_election_free.
 *          error: why it failed; may be NULL.
 * In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
 *          signers_length: how many signers there are, 1 to MUSIG_MAX_SIGNERS.
 *          method: a musig_election_method.
 *          id: the 32 bytes of the session id, which only MUSIG_ELECTION_SESSION_SALTED looks at.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_election_new(struct musig_election **out,
                                const uint8_t *signers,
                                size_t signers_length,
                                int32_t method,
                                const uint8_t *id,
                                struct musig_error **error);

/**
 * Tells how an election was made.
 *
 * Returns: a musig_election_method; -1 for NULL.
 * In:      election: the election.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
int32_t musig_election_method_of(const struct musig_election *election);

/**
 * Tells the signer index of the elected coordinator: the first of the priority list.
 *
 * Returns: the index; UINT32_MAX for NULL.
 * In:      election: the election.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
uint32_t musig_election_coordinator(const struct musig_election *election);

/**
 * Counts the signers of an election.
 *
 * Returns: how many there are; 0 for NULL.
 * In:      election: the election.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
size_t musig_election_signers(const struct musig_election *election);

/**
 * Tells all signer indices in the order in which they take their turn.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_BUFFER_TOO_SMALL.
 * Out:     out: gets as many indices as there are signers.
 *          error: why it failed; may be NULL.
 * In:      election: the election.
 *          out_length: how many indices there is room for; MUSIG_MAX_SIGNERS always suffices.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_election_priority_list(const struct musig_election *election,
                                          uint32_t *out,
                                          size_t out_length,
                                          struct musig_error **error);

/**
 * Tells the signer that follows another one in the priority list.
 *
 * After the last one it is the first again for the lexicographic and the hash-based method, and nobody for the others.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY if nobody follows; MUSIG_STATUS_ELECTION if there is no signer of
 *          this index.
 * Out:     out: a signer index.
 *          error: why it failed; may be NULL.
 * In:      election: the election.
 *          index: a signer index.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_election_backup_after(const struct musig_election *election,
                                         uint32_t *out,
                                         uint32_t index,
                                         struct musig_error **error);

/**
 * Tells the election proof: what signers compare to know that they have the same set of keys.
 *
 * Returns: 64 lower-case hexadecimal digits and a NUL, which live as long as the election; "" for NULL.
 * In:      election: the election.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
const char *musig_election_proof(const struct musig_election *election);

/**
 * Checks what somebody says that an election is: method, coordinator, list and proof.
 *
 * Needs no node.
 *
 * Returns: MUSIG_STATUS_OK if it is the election of these signers; MUSIG_STATUS_ELECTION_MISMATCH if not;
 *          MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT.
 * Out:     error: why it failed; may be NULL.
 * In:      signers: the compressed public keys, 33 bytes each.
 *          signers_length: how many signers there are, 1 to MUSIG_MAX_SIGNERS.
 *          method: a musig_election_method.
 *          id: the 32 bytes of the session id.
 *          coordinator: the signer index that is said to be elected.
 *          priority_list: the signer indices that are said to be the list.
 *          priority_list_length: how many there are.
 *          proof: the election proof, a text.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_election_verify(const uint8_t *signers,
                                   size_t signers_length,
                                   int32_t method,
                                   const uint8_t *id,
                                   uint32_t coordinator,
                                   const uint32_t *priority_list,
                                   size_t priority_list_length,
                                   const char *proof,
                                   struct musig_error **error);

/**
 * Takes one more reference to an election.
 *
 * Returns: the same pointer.
 * In:      election: the election; NULL stays NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
struct musig_election *musig_election_ref(struct musig_election *election);

/**
 * Gives up one reference to an election; the last one frees it.
 *
 * In:      election: the election; nothing is done for NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
void musig_election_free(struct musig_election *election);

/**
 * Aggregates public keys by BIP-327, without tweaks.
 *
 * Needs no node.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_PROPOSAL if there
 *          are no signers.
 * Out:     out: gets the 33 bytes of the aggregate key (GetPlainPubkey); its last 32 are the x-only key.
 *          error: why it failed; may be NULL.
 * In:      signers: the compressed public keys, 33 bytes each.
 *          signers_length: how many signers there are, 1 to MUSIG_MAX_SIGNERS.
 *          order: a musig_key_order.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_aggregate_key(uint8_t *out,
                                 const uint8_t *signers,
                                 size_t signers_length,
                                 int32_t order,
                                 struct musig_error **error);

/**
 * Computes the BIP-341 tweak of an internal key, for musig_proposal_add_tweak with x_only.
 *
 * Needs no node.
 *
 * Returns: MUSIG_STATUS_OK.
 * Out:     out: gets the 32 bytes of the tweak.
 *          error: why it failed; may be NULL.
 * In:      internal_key: the 32 bytes of the x-only internal key.
 *          merkle_root: the 32 bytes of the root of the scripts; may be NULL for none.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_taproot_tweak(uint8_t *out,
                                 const uint8_t *internal_key,
                                 const uint8_t *merkle_root,
                                 struct musig_error **error);

/**
 * Applies a tweak to a public key (BIP-327 ApplyTweak).
 *
 * Needs no node. With the tweak of musig_taproot_tweak and x_only the result's last 32 bytes are the Taproot output key:
 * the script 51 20 and these bytes pays to it.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_PROPOSAL if the
 *          scalar is no number below the order of secp256k1, or leads to infinity.
 * Out:     out: gets the 33 bytes of the tweaked key.
 *          error: why it failed; may be NULL.
 * In:      key: the 33 bytes of the compressed public key.
 *          x_only: 1 for BIP-341, 0 for BIP-32 (BIP-328): BIP-327's is_xonly_t.
 *          scalar: 32 bytes of a number below the order of secp256k1, big-endian.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_tweak_key(uint8_t *out,
                             const uint8_t *key,
                             int32_t x_only,
                             const uint8_t *scalar,
                             struct musig_error **error);

/**
 * Begins a proposal to sign 32-byte messages with the signers' aggregate key, or with tweaked ones.
 *
 * The nodes hand out signatures and turns; the applications build and broadcast.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT for too many signers or messages.
 * Out:     out: the proposal; give it up with musig_proposal_free.
 *          error: why it failed; may be NULL.
 * In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
 *          signers_length: how many signers there are, 1 to MUSIG_MAX_SIGNERS.
 *          messages: what is to be signed, 32 bytes each.
 *          messages_length: how many messages there are, 1 to MUSIG_MAX_MESSAGES.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_proposal_new_messages(struct musig_proposal **out,
                                         const uint8_t *signers,
                                         size_t signers_length,
                                         const uint8_t *messages,
                                         size_t messages_length,
                                         struct musig_error **error);

/**
 * Begins a proposal to sign all inputs of a transaction that the signers' key owns, by the Taproot key path (BIP-341).
 *
 * Every node computes the signature hashes itself. Without musig_proposal_add_tweak the key is the aggregate key with
 * the BIP-341 tweak and no scripts.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT for too many or too long things.
 *          What the transaction itself is refused for is said by musig_node_create_session.
 * Out:     out: the proposal; give it up with musig_proposal_free.
 *          error: why it failed; may be NULL.
 * In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
 *          signers_length: how many signers there are, 1 to MUSIG_MAX_SIGNERS.
 *          transaction: its consensus encoding, in which inputs of others carry their final witnesses.
 *          transaction_length: bytes of the transaction.
 *          spent: the outputs that it spends, one for each input.
 *          spent_length: how many spent outputs there are.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_proposal_new_transaction(struct musig_proposal **out,
                                            const uint8_t *signers,
                                            size_t signers_length,
                                            const uint8_t *transaction,
                                            size_t transaction_length,
                                            const struct musig_spent_output *spent,
                                            size_t spent_length,
                                            struct musig_error **error);

/**
 * Sets the order of key aggregation.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if there is no such order.
 * Out:     error: why it failed; may be NULL.
 * In:      proposal: the proposal.
 *          order: a musig_key_order.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_proposal_set_key_order(const struct musig_proposal *proposal,
                                          int32_t order,
                                          struct musig_error **error);

/**
 * Sets the hash type of a transaction's signatures.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if there is no such type; MUSIG_STATUS_NO_SUCH_FIELD for a
 *          proposal of messages.
 * Out:     error: why it failed; may be NULL.
 * In:      proposal: the proposal.
 *          sighash: a musig_sighash.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_proposal_set_sighash(const struct musig_proposal *proposal,
                                        int32_t sighash,
                                        struct musig_error **error);

/**
 * Sets how the coordinator is elected.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if there is no such method.
 * Out:     error: why it failed; may be NULL.
 * In:      proposal: the proposal.
 *          method: a musig_election_method.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_proposal_set_election_method(const struct musig_proposal *proposal,
                                                int32_t method,
                                                struct musig_error **error);

/**
 * Sets when the next signers are to broadcast.
 *
 * By default they are, one after the other, after five minutes each.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if a value cannot be.
 * Out:     error: why it failed; may be NULL.
 * In:      proposal: the proposal.
 *          enabled: 1, or 0 to ask only the elected coordinator to broadcast.
 *          broadcast_timeout: how many milliseconds a turn lasts before the next one opens: 1000 to 86400000.
 *          tiers: a musig_tiers.
 *          width: signers in each turn with MUSIG_TIERS_FIXED, 1 to MUSIG_MAX_SIGNERS; else 0.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_proposal_set_failover(const struct musig_proposal *proposal,
                                         int32_t enabled,
                                         uint64_t broadcast_timeout,
                                         int32_t tiers,
                                         uint32_t width,
                                         struct musig_error **error);

/**
 * Sets after how long the session ends if it has no other end.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for zero, or for more than 30 days.
 * Out:     error: why it failed; may be NULL.
 * In:      proposal: the proposal.
 *          time: milliseconds. Default: 24 hours.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_proposal_set_expires_in(const struct musig_proposal *proposal,
                                           uint64_t time,
                                           struct musig_error **error);

/**
 * Sets the application's own words to the other signers.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for more than 4096 bytes.
 * Out:     error: why it failed; may be NULL.
 * In:      proposal: the proposal.
 *          metadata: any bytes.
 *          metadata_length: how many there are, at most 4096.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_proposal_set_metadata(const struct musig_proposal *proposal,
                                         const uint8_t *metadata,
                                         size_t metadata_length,
                                         struct musig_error **error);

/**
 * Names an older session whose transaction this one replaces: a fee bump.
 *
 * Returns: MUSIG_STATUS_OK.
 * Out:     error: why it failed; may be NULL.
 * In:      proposal: the proposal.
 *          id: the 32 bytes of the older session's id.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_proposal_set_replaces(const struct musig_proposal *proposal,
                                         const uint8_t *id,
                                         struct musig_error **error);

/**
 * Adds a tweak that keys may have (BIP-327 ApplyTweak).
 *
 * In a proposal of a transaction the keys with tweaks are compared with what its inputs pay to; in one of messages,
 * musig_proposal_set_message_tweak says which message has which.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if follows names no earlier tweak, or there are too many.
 * Out:     out: the index of the tweak.
 *          error: why it failed; may be NULL.
 * In:      proposal: the proposal.
 *          follows: the index of the tweak that this one is applied after, or MUSIG_NO_TWEAK.
 *          x_only: 1 for BIP-341, 0 for BIP-32 (BIP-328): BIP-327's is_xonly_t.
 *          scalar: 32 bytes of a number below the order of secp256k1, big-endian.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_proposal_add_tweak(const struct musig_proposal *proposal,
                                      uint32_t *out,
                                      uint32_t follows,
                                      int32_t x_only,
                                      const uint8_t *scalar,
                                      struct musig_error **error);

/**
 * Sets the last tweak of the key that a message is signed with.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if there is no such message; MUSIG_STATUS_INVALID_ARGUMENT
 *          if there is no such tweak; MUSIG_STATUS_NO_SUCH_FIELD for a proposal of a transaction.
 * Out:     error: why it failed; may be NULL.
 * In:      proposal: the proposal.
 *          message: the index of the message.
 *          tweak: the index of the tweak, or MUSIG_NO_TWEAK for the aggregate key itself.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_proposal_set_message_tweak(const struct musig_proposal *proposal,
                                              uint32_t message,
                                              uint32_t tweak,
                                              struct musig_error **error);

/**
 * Takes one more reference to a proposal.
 *
 * Returns: the same pointer.
 * In:      proposal: the proposal; NULL stays NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
struct musig_proposal *musig_proposal_ref(struct musig_proposal *proposal);

/**
 * Gives up one reference to a proposal; the last one frees it.
 *
 * Sessions are not touched by that.
 *
 * In:      proposal: the proposal; nothing is done for NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
void musig_proposal_free(struct musig_proposal *proposal);

/**
 * Decodes and checks encoded terms.
 *
 * Needs no node.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_PROPOSAL or MUSIG_STATUS_INVALID_KEY if they are refused.
 * Out:     out: the terms; give them up with musig_terms_free.
 *          error: why it failed; may be NULL.
 * In:      data: the encoded terms.
 *          data_length: how many bytes there are, at most 4 MiB.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_terms_decode(struct musig_terms **out,
                                const uint8_t *data,
                                size_t data_length,
                                struct musig_error **error);

/**
 * Tells the numbers of a session's terms.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE.
 * Out:     out: gets the numbers. Set its struct_size before.
 *          error: why it failed; may be NULL.
 * In:      terms: the terms.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_terms_get_info(const struct musig_terms *terms,
                                  struct musig_terms_info *out,
                                  struct musig_error **error);

/**
 * Points to bytes of a session's terms.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if there is no such field; MUSIG_STATUS_NO_SUCH_FIELD for the
 *          transaction of a proposal of messages.
 * Out:     out: a pointer that lives as long as the terms.
 *          out_length: how many bytes there are.
 *          error: why it failed; may be NULL.
 * In:      terms: the terms.
 *          field: a musig_terms_field.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_terms_bytes(const struct musig_terms *terms,
                               const uint8_t **out,
                               size_t *out_length,
                               int32_t field,
                               struct musig_error **error);

/**
 * Tells an output that the transaction of a session's terms spends.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
 * Out:     out: the output; its script lives as long as the terms.
 *          error: why it failed; may be NULL.
 * In:      terms: the terms.
 *          index: the input that spends it.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_terms_spent_output(const struct musig_terms *terms,
                                      struct musig_spent_output *out,
                                      uint32_t index,
                                      struct musig_error **error);

/**
 * Tells a message of a session's terms.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
 * Out:     out: the message.
 *          error: why it failed; may be NULL.
 * In:      terms: the terms.
 *          index: the index of the message.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_terms_message(const struct musig_terms *terms,
                                 struct musig_message *out,
                                 uint32_t index,
                                 struct musig_error **error);

/**
 * Tells the tweaks of the key that a message is signed with, in the order in which they are applied.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_BUFFER_TOO_SMALL.
 * Out:     out: gets the tweaks.
 *          count: how many there are; 0 for the aggregate key itself.
 *          error: why it failed; may be NULL.
 * In:      terms: the terms.
 *          out_length: how many tweaks there is room for; 16 always suffice.
 *          index: the index of the message.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_terms_message_tweaks(const struct musig_terms *terms,
                                        struct musig_tweak *out,
                                        size_t out_length,
                                        size_t *count,
                                        uint32_t index,
                                        struct musig_error **error);

/**
 * Takes one more reference to terms.
 *
 * Returns: the same pointer.
 * In:      terms: the terms; NULL stays NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
struct musig_terms *musig_terms_ref(struct musig_terms *terms);

/**
 * Gives up one reference to terms; the last one frees them.
 *
 * In:      terms: the terms; nothing is done for NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
void musig_terms_free(struct musig_terms *terms);

/**
 * Tells the id of a session.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
 * Out:     out: gets the 32 bytes of the session id.
 *          error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_session_id(const struct musig_session *session,
                              uint8_t *out,
                              struct musig_error **error);

/**
 * Consents to the proposal: this node will sign.
 *
 * Opens a closed session again.
 *
 * Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_WRONG_STATE if it has ended;
 *          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  for one commit.
 */
musig_status musig_session_join(const struct musig_session *session,
                                struct musig_error **error);

/**
 * Refuses the proposal, which ends the session for everybody.
 *
 * Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_WRONG_STATE after a join; MUSIG_STATUS_LIMIT for too
 *          long a reason; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     error: why it failed; may be NULL.
 * In:      session: the session.
 *          reason: words to the other signers, a text of at most 256 bytes.
 * Threads: any, inside callbacks too.
 * Blocks:  for one commit.
 */
musig_status musig_session_decline(const struct musig_session *session,
                                   const char *reason,
                                   struct musig_error **error);

/**
 * Stops taking part.
 *
 * If this node's partial signature is out, others may still finish.
 *
 * Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_WRONG_STATE if it has ended; MUSIG_STATUS_LIMIT for
 *          too long a reason; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     error: why it failed; may be NULL.
 * In:      session: the session.
 *          reason: words to the other signers, a text of at most 256 bytes.
 * Threads: any, inside callbacks too.
 * Blocks:  for one commit.
 */
musig_status musig_session_abort(const struct musig_session *session,
                                 const char *reason,
                                 struct musig_error **error);

/**
 * Forgets the session, but for a tombstone until its expiry.
 *
 * The handle stays valid, and is still to be given up.
 *
 * Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  for one commit.
 */
musig_status musig_session_close(const struct musig_session *session,
                                 struct musig_error **error);

/**
 * Gives the terms of a session.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     out: the terms; give them up with musig_terms_free.
 *          error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_session_terms(const struct musig_session *session,
                                 struct musig_terms **out,
                                 struct musig_error **error);

/**
 * Gives the finished signatures.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY until they exist; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     out: 64 bytes for each message; give them up with musig_bytes_free.
 *          error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_session_final_signatures(const struct musig_session *session,
                                            struct musig_bytes **out,
                                            struct musig_error **error);

/**
 * Gives the finished transaction of a session over one.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY until it exists, and always in a session over messages;
 *          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     out: its consensus encoding; give it up with musig_bytes_free.
 *          txid: gets its id: 32 bytes in the order in which they are hashed.
 *          error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_session_final_transaction(const struct musig_session *session,
                                             struct musig_bytes **out,
                                             uint8_t *txid,
                                             struct musig_error **error);

/**
 * Gives the election of a session: coordinator, priority list, proof.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     out: the election; give it up with musig_election_free.
 *          error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_session_election(const struct musig_session *session,
                                    struct musig_election **out,
                                    struct musig_error **error);

/**
 * Tells all signer indices in the order in which they take their turn.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_BUFFER_TOO_SMALL; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     out: gets the indices.
 *          count: how many there are.
 *          error: why it failed; may be NULL.
 * In:      session: the session.
 *          out_length: how many indices there is room for; MUSIG_MAX_SIGNERS always suffices.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_session_priority_list(const struct musig_session *session,
                                         uint32_t *out,
                                         size_t out_length,
                                         size_t *count,
                                         struct musig_error **error);

/**
 * Tells whether this node's signer was elected: the first of the priority list.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     out: 1 or 0.
 *          error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_session_is_coordinator(const struct musig_session *session,
                                          int32_t *out,
                                          struct musig_error **error);

/**
 * Tells whether this node's own turn is open.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     out: 1 or 0.
 *          error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_session_is_current_coordinator(const struct musig_session *session,
                                                  int32_t *out,
                                                  struct musig_error **error);

/**
 * Tells the libp2p peer id of the elected coordinator.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY if it is not connected; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     out: a text; give it up with musig_bytes_free.
 *          error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_session_coordinator_peer_id(const struct musig_session *session,
                                               struct musig_bytes **out,
                                               struct musig_error **error);

/**
 * Says that the transaction was broadcast, or seen.
 *
 * Without an observer that ends this node's watch.
 *
 * Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_WRONG_STATE before the signatures are finished;
 *          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     error: why it failed; may be NULL.
 * In:      session: the session.
 *          txid: 32 bytes in the order in which they are hashed, needed only in sessions over messages, to tell the
 *          others; may be NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  for one commit.
 */
musig_status musig_session_notify_broadcast_complete(const struct musig_session *session,
                                                     const uint8_t *txid,
                                                     struct musig_error **error);

/**
 * Says that this node cannot reach the chain: the next signers take over at once.
 *
 * Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_WRONG_STATE before the signatures are finished;
 *          MUSIG_STATUS_LIMIT for too long a reason; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     error: why it failed; may be NULL.
 * In:      session: the session.
 *          reason: words to the other signers, a text of at most 256 bytes.
 * Threads: any, inside callbacks too.
 * Blocks:  for one commit.
 */
musig_status musig_session_report_broadcast_failed(const struct musig_session *session,
                                                   const char *reason,
                                                   struct musig_error **error);

/**
 * Broadcasts now, whoever's turn it is.
 *
 * Returns: MUSIG_STATUS_OK once that is begun; MUSIG_STATUS_WRONG_STATE before the signatures are finished;
 *          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  for one commit.
 */
musig_status musig_session_broadcast_now(const struct musig_session *session,
                                         struct musig_error **error);

/**
 * Gives everything that a session holds, for musig_node_import: push, QR code, mailbox or file instead of the network.
 *
 * Nothing in it is secret but the terms.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     out: the bytes; give them up with musig_bytes_free.
 *          error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  for one commit.
 */
musig_status musig_session_export(const struct musig_session *session,
                                  struct musig_bytes **out,
                                  struct musig_error **error);

/**
 * Takes one more reference to a session.
 *
 * Returns: the same pointer.
 * In:      session: the session; NULL stays NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
struct musig_session *musig_session_ref(struct musig_session *session);

/**
 * Gives up one reference to a session; the last one frees the handle.
 *
 * The session itself goes on.
 *
 * In:      session: the session; nothing is done for NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
void musig_session_free(struct musig_session *session);

/**
 * Tells how a session stands.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
 * Out:     out: gets the status. Set its struct_size before.
 *          error: why it failed; may be NULL.
 * In:      session: the session.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_session_get_status(const struct musig_session *session,
                                      struct musig_session_status *out,
                                      struct musig_error **error);

/**
 * Names a phase of a session, for logs.
 *
 * Returns: a static, NUL-terminated text: the enumerator without its prefix, such as "SIGNING"; "UNKNOWN" for a number
 *          that this version does not have.
 * In:      phase: any number.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
const char *musig_phase_string(int32_t phase);

/**
 * Tells the number that names an event for musig_node_event_handled.
 *
 * The same event has another one after a restart.
 *
 * Returns: the number; 0 for NULL.
 * In:      event: the event.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
uint64_t musig_event_id(const struct musig_event *event);

/**
 * Tells what happened.
 *
 * Returns: a musig_event_kind; 0 for NULL.
 * In:      event: the event.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
int32_t musig_event_kind_of(const struct musig_event *event);

/**
 * Names a kind of event, for logs.
 *
 * Returns: a static, NUL-terminated text: the enumerator without its prefix, such as "SESSION_PROPOSED"; "UNKNOWN" for a
 *          number that this version does not have.
 * In:      kind: any number.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
const char *musig_event_kind_string(int32_t kind);

/**
 * Tells whether an event comes again after a restart until it is acknowledged.
 *
 * Returns: 1 or 0; 0 for NULL.
 * In:      event: the event.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
int32_t musig_event_is_durable(const struct musig_event *event);

/**
 * Tells the session of an event.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD for an event of the network or the store.
 * Out:     out: gets the 32 bytes of the session id.
 *          error: why it failed; may be NULL.
 * In:      event: the event.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_event_session_id(const struct musig_event *event,
                                    uint8_t *out,
                                    struct musig_error **error);

/**
 * Tells a number of an event.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event has none such; MUSIG_STATUS_INVALID_ARGUMENT if no
 *          event has.
 * Out:     out: the number.
 *          error: why it failed; may be NULL.
 * In:      event: the event.
 *          field: a musig_event_number_field.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_event_number(const struct musig_event *event,
                                uint64_t *out,
                                int32_t field,
                                struct musig_error **error);

/**
 * Points to a list of signer indices of an event.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event has none such; MUSIG_STATUS_INVALID_ARGUMENT if no
 *          event has.
 * Out:     out: a pointer that lives as long as the event.
 *          out_length: how many indices there are.
 *          error: why it failed; may be NULL.
 * In:      event: the event.
 *          field: a musig_event_list_field.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_event_list(const struct musig_event *event,
                              const uint32_t **out,
                              size_t *out_length,
                              int32_t field,
                              struct musig_error **error);

/**
 * Points to bytes, or a text, of an event.
 *
 * A NUL follows them that is not counted, so that a text can be used as it is.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event has none such; MUSIG_STATUS_INVALID_ARGUMENT if no
 *          event has.
 * Out:     out: a pointer that lives as long as the event.
 *          out_length: how many bytes there are.
 *          error: why it failed; may be NULL.
 * In:      event: the event.
 *          field: a musig_event_bytes_field.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_event_bytes(const struct musig_event *event,
                               const uint8_t **out,
                               size_t *out_length,
                               int32_t field,
                               struct musig_error **error);

/**
 * Points to the proof against a culprit of MUSIG_EVENT_SESSION_FAILED.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if there is none such.
 * Out:     out: a pointer that lives as long as the event.
 *          out_length: how many bytes there are.
 *          error: why it failed; may be NULL.
 * In:      event: the event.
 *          index: the position of the culprit in the list of culprits.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_event_proof(const struct musig_event *event,
                               const uint8_t **out,
                               size_t *out_length,
                               uint32_t index,
                               struct musig_error **error);

/**
 * Gives the terms that MUSIG_EVENT_SESSION_PROPOSED asks to consent to.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD for other events.
 * Out:     out: the terms; give them up with musig_terms_free.
 *          error: why it failed; may be NULL.
 * In:      event: the event.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_event_terms(const struct musig_event *event,
                               struct musig_terms **out,
                               struct musig_error **error);

/**
 * Takes one more reference to an event.
 *
 * Returns: the same pointer.
 * In:      event: the event; NULL stays NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
struct musig_event *musig_event_ref(struct musig_event *event);

/**
 * Gives up one reference to an event; the last one frees it.
 *
 * That does not acknowledge it.
 *
 * In:      event: the event; nothing is done for NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
void musig_event_free(struct musig_event *event);

/**
 * Starts a node: opens its store, takes up its sessions, and connects.
 *
 * Durable events that were not acknowledged come again. A handler may be called before this function returns.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG if something is missing or contradicts itself;
 *          MUSIG_STATUS_CONFIG_USED; MUSIG_STATUS_STORE_IN_USE and other statuses of the store;
 *          MUSIG_STATUS_NETWORK; MUSIG_STATUS_FORKED. If it fails, the configuration can be corrected and used again.
 * Out:     out: the node; give it up with musig_node_free.
 *          error: why it failed; may be NULL.
 * In:      config: what to start with. It is used up.
 * Threads: any, inside callbacks too.
 * Blocks:  until the store is read, and for one commit.
 */
musig_status musig_node_start(struct musig_node **out,
                              const struct musig_config *config,
                              struct musig_error **error);

/**
 * Stops a node, and ends its callbacks.
 *
 * After it returned no callback of the node runs or will run, the user_data of its callbacks is destroyed, and the
 * store is closed. Sessions and the node itself then answer MUSIG_STATUS_NODE_STOPPED. Stopping twice is allowed.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WOULD_DEADLOCK inside a callback of this node, where nothing happens: call
 *          musig_node_request_stop there; statuses of the store if the last commit failed: the node is stopped then.
 * Out:     error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any but those of its callbacks.
 * Blocks:  until running callbacks have returned and the store is closed.
 */
musig_status musig_node_stop(const struct musig_node *node,
                             struct musig_error **error);

/**
 * Asks a node to stop, and does not wait for that.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
 * Out:     error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_node_request_stop(const struct musig_node *node,
                                     struct musig_error **error);

/**
 * Proposes a session to its signers, and consents to it.
 *
 * What becomes of it comes as events.
 *
 * Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_PROPOSAL; MUSIG_STATUS_LIMIT; statuses of the node
 *          and the store.
 * Out:     out: the session; give it up with musig_session_free.
 *          error: why it failed; may be NULL.
 * In:      node: the node. Its key must be among the signers.
 *          proposal: the terms. They can be used again, for another session.
 * Threads: any, inside callbacks too.
 * Blocks:  for one commit.
 */
musig_status musig_node_create_session(const struct musig_node *node,
                                       struct musig_session **out,
                                       const struct musig_proposal *proposal,
                                       struct musig_error **error);

/**
 * Makes a handle for a session of a node, whether or not it exists.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
 * Out:     out: the session; give it up with musig_session_free.
 *          error: why it failed; may be NULL.
 * In:      node: the node.
 *          id: the 32 bytes of the session id.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_node_session(const struct musig_node *node,
                                struct musig_session **out,
                                const uint8_t *id,
                                struct musig_error **error);

/**
 * Lists the sessions of a node, closed ones too.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * Out:     out: session ids, 32 bytes each; give them up with musig_bytes_free.
 *          error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_node_sessions(const struct musig_node *node,
                                 struct musig_bytes **out,
                                 struct musig_error **error);

/**
 * Takes in what musig_session_export made, from whatever way it came.
 *
 * It passes the same checks and limits as what comes by the network.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE or MUSIG_STATUS_PROPOSAL if the bytes are refused; statuses of the node.
 * Out:     out: the ids of the sessions in it, 32 bytes each; give them up with musig_bytes_free.
 *          error: why it failed; may be NULL.
 * In:      node: the node.
 *          data: the bytes.
 *          data_length: how many there are, at most 16 MiB.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has checked them.
 */
musig_status musig_node_import(const struct musig_node *node,
                               struct musig_bytes **out,
                               const uint8_t *data,
                               size_t data_length,
                               struct musig_error **error);

/**
 * Connects to an address, and again whenever it is not connected.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG if it is no multiaddress; MUSIG_STATUS_NETWORK if the node is offline;
 *          statuses of the node.
 * Out:     error: why it failed; may be NULL.
 * In:      node: the node.
 *          address: a multiaddress such as "/ip4/192.0.2.1/tcp/4001".
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has taken it, not until it is connected.
 */
musig_status musig_node_add_peer(const struct musig_node *node,
                                 const char *address,
                                 struct musig_error **error);

/**
 * Lists the addresses under which others may reach a node.
 *
 * Each is what they pass to musig_config_add_peer_address. There are none until the node listens.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * Out:     out: a text with one address in each line; give it up with musig_bytes_free.
 *          error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_node_listen_addresses(const struct musig_node *node,
                                         struct musig_bytes **out,
                                         struct musig_error **error);

/**
 * Lists the signers that are connected now.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * Out:     out: their compressed public keys, 33 bytes each; give them up with musig_bytes_free.
 *          error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_node_connected_signers(const struct musig_node *node,
                                          struct musig_bytes **out,
                                          struct musig_error **error);

/**
 * Tells the public key of a node's signer.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
 * Out:     out: gets the 33 bytes of the compressed public key.
 *          error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_node_signer_key(const struct musig_node *node,
                                   uint8_t *out,
                                   struct musig_error **error);

/**
 * Tells the libp2p peer id of a node.
 *
 * It is no secret, and has nothing to do with the signer's key.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
 * Out:     out: a text; give it up with musig_bytes_free.
 *          error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_node_peer_id(const struct musig_node *node,
                                struct musig_bytes **out,
                                struct musig_error **error);

/**
 * Tells the other signers anew where a node is, after its signer was unlocked.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * Out:     error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has taken it.
 */
musig_status musig_node_announce(const struct musig_node *node,
                                 struct musig_error **error);

/**
 * Commits, closes the store and releases its lock, before the system suspends the application.
 *
 * Until musig_node_resume nothing happens, and operations answer MUSIG_STATUS_SUSPENDED.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node and the store.
 * Out:     error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  for one commit.
 */
musig_status musig_node_suspend(const struct musig_node *node,
                                struct musig_error **error);

/**
 * Opens the store of a suspended node again, connects, and looks at the chain before anything is submitted.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node and the store.
 * Out:     error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  until the store is open.
 */
musig_status musig_node_resume(const struct musig_node *node,
                               struct musig_error **error);

/**
 * Takes one more reference to a node.
 *
 * Returns: the same pointer.
 * In:      node: the node; NULL stays NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
struct musig_node *musig_node_ref(struct musig_node *node);

/**
 * Gives up one reference to a node; the last one asks it to stop.
 *
 * A thread of the library finishes that: callbacks may still run for a while. Call musig_node_stop before to wait.
 *
 * In:      node: the node; nothing is done for NULL.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
void musig_node_free(struct musig_node *node);

/**
 * Takes the next event.
 *
 * Each event is handed out once in a process. Acknowledge a durable one with musig_node_event_handled.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_EVENT if none came in time; MUSIG_STATUS_CONSUMER_EXISTS if there is a
 *          handler, or another thread waits here; MUSIG_STATUS_NODE_STOPPED; MUSIG_STATUS_FORKED.
 * Out:     out: the event; give it up with musig_event_free.
 *          error: why it failed; may be NULL.
 * In:      node: the node.
 *          timeout: how many milliseconds to wait; 0 to take only what is there, -1 to wait until the node stops.
 * Threads: any, one at a time.
 * Blocks:  until an event is there, for at most the timeout.
 */
musig_status musig_node_next_event(const struct musig_node *node,
                                   struct musig_event **out,
                                   int64_t timeout,
                                   struct musig_error **error);

/**
 * Acknowledges a durable event, so that it does not come again.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_EVENT if it is no durable event of this process, or was acknowledged
 *          before; MUSIG_STATUS_FORKED.
 * Out:     error: why it failed; may be NULL.
 * In:      node: the node.
 *          id: the number of the event, from musig_event_id.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_node_event_handled(const struct musig_node *node,
                                      uint64_t id,
                                      struct musig_error **error);

/**
 * Tells the event descriptor of a node, for poll, epoll or kqueue.
 *
 * It is readable while an event waits for musig_node_next_event, and once the node has stopped; level-triggered. It is
 * the node's: never read, write or close it. It is closed with the last reference to the node and its sessions.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONSUMER_EXISTS if there is a handler; MUSIG_STATUS_CONFIG if the process has
 *          no descriptor left, or on systems without descriptors; MUSIG_STATUS_FORKED.
 * Out:     out: the descriptor.
 *          error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  never.
 */
musig_status musig_node_event_descriptor(const struct musig_node *node,
                                         int32_t *out,
                                         struct musig_error **error);

/**
 * Hands out all durable events again that were not acknowledged, under new numbers.
 *
 * Returns: MUSIG_STATUS_OK; statuses of the node.
 * Out:     error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_node_redeliver(const struct musig_node *node,
                                  struct musig_error **error);

/**
 * Tells numbers about a node.
 *
 * Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; statuses of the node.
 * Out:     out: gets the numbers. Set its struct_size before.
 *          error: why it failed; may be NULL.
 * In:      node: the node.
 * Threads: any, inside callbacks too.
 * Blocks:  until the node has answered, which does no input or output.
 */
musig_status musig_node_metrics(const struct musig_node *node,
                                struct musig_metrics *out,
                                struct musig_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MUSIG_H */
