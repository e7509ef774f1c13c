//! Every limit of the protocol, in one place. docs/protocol.md repeats them for other implementations.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::ProposalError;

/// The version of the proposal format.
pub const VERSION: u32 = 1;
/// Signers of a session.
pub const SIGNERS: usize = 128;
/// Messages of a session.
pub const MESSAGES: usize = 256;
/// Signers times messages of a session.
pub const SIGNERS_TIMES_MESSAGES: usize = 8192;
/// Bytes of metadata in a proposal.
pub const METADATA: usize = 4096;
/// Bytes of an encoded proposal.
pub const PROPOSAL: usize = 4 << 20;
/// Bytes of an encoded envelope that carries no proposal.
pub const ENVELOPE: usize = 256 << 10;
/// Bytes of a frame: a proposal's envelope and a little more.
pub const FRAME: usize = PROPOSAL + (64 << 10);
/// Bytes of a frame or export with everything a session holds.
pub const EXPORT: usize = 16 << 20;
/// Key sets of a proposal.
pub const KEY_SETS: usize = 256;
/// Signers times key sets of a session: so many participant keys are aggregated.
pub const SIGNERS_TIMES_KEY_SETS: usize = 8192;
/// The same for the proposals of strangers.
pub const STRANGERS_KEYS: usize = 1024;
/// Child numbers of a derivation (BIP-328).
pub const CHILD_NUMBERS: usize = 8;
/// Child numbers in the origin of a participant key.
pub const ORIGIN: usize = 16;
/// Participant keys that a signer in this process's memory holds.
pub const HELD_KEYS: usize = 1024;
/// Extended private keys that such a signer holds.
pub const ACCOUNTS: usize = 64;
/// Unhardened steps below an extended private key that such a signer derives.
pub const ACCOUNT_STEPS: usize = 8;
/// Spent outputs of a transaction: more than inputs fit into a block.
pub const INPUTS: usize = 25_000;
/// Inputs that the session does not sign, where failover is on: the witness of each is verified.
pub const OTHER_INPUTS: usize = 256;
/// Restarts of one signer in one session.
pub const RESTARTS: u32 = 3;
/// Bytes of a reason (decline, abort, NACK).
pub const REASON: usize = 256;
/// Bytes of what an object of the application said, in an event.
pub const WORDS: usize = 1024;
/// Envelopes kept of one signer and one repeatable kind (claims, NACKs, declines, aborts).
pub const REPEATS: usize = 2;
/// How far ahead a proposer may let its proposal expire.
pub const EXPIRY: Duration = Duration::from_secs(30 * 24 * 3600);
/// How much farther the others let it expire, for their clocks may be behind the proposer's.
pub const CLOCK_ERROR: Duration = Duration::from_secs(60);
/// What a broadcast timeout may be.
pub const BROADCAST_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// Bytes of a presence record with its signature, and of any frame before one was accepted.
pub const PRESENCE: usize = 4096;
/// Addresses in a presence record.
pub const ADDRESSES: usize = 16;
/// Entries of a frame or export, and ids in a comparison: more than any session has of all kinds.
pub const FRAME_ENTRIES: usize = 4096;
/// How long a session in watch or closed is not used before it is packed.
pub const PACK_AFTER: Duration = Duration::from_secs(1);
/// Comparisons that one signer may ask for of one session within [`COMPARISONS_WITHIN`]: each may cost a whole session.
pub const COMPARISONS: u32 = 8;
/// See [`COMPARISONS`].
pub const COMPARISONS_WITHIN: Duration = Duration::from_secs(2);
/// How long an event, or the answer to a word that cannot harm, waits for its commit.
pub const UNSTORED_AFTER: Duration = Duration::from_secs(1);
/// How long after its last connection was lost a signer counts as gone, if nothing of it comes through others.
pub const GONE_AFTER: Duration = Duration::from_secs(1);
/// A connection that was lost longer than this before the signatures were complete says nothing.
pub const GONE_BEFORE: Duration = Duration::from_secs(60);
/// How long a connected coordinator has to say that it holds the signatures, before the next turn opens.
pub const HOLD_AFTER: Duration = Duration::from_secs(5);
/// The pace is never shorter, unless the timeout is.
pub const PACE_AT_LEAST: Duration = Duration::from_secs(10);
/// From how many samples on there is a pace.
pub const PACE_FROM: usize = 20;
/// How many times as long it is while the observer says that the chain is congested.
pub const CONGESTED: u32 = 4;
/// Samples that are kept of each kind.
pub const PACE_SAMPLES: usize = 128;
/// How long a commit may take before the store counts as failed.
pub const COMMIT: Duration = Duration::from_secs(30);
/// Bytes of proofs in one event, beyond the first proof.
pub const PROOFS: usize = 1 << 20;
/// Proposals of others that this node has not joined, ended ones too. Half of it for signers that share no joined
/// session with this node.
pub const UNANSWERED_PROPOSALS: usize = 1024;
/// Bytes of all these sessions together: a proposal counts as such and in its envelope. Half of it for those strangers, a
/// quarter for one proposer. What holds more takes nothing more. Each byte costs a few of memory.
pub const UNANSWERED_BYTES: usize = 32 << 20;
/// Proposals of others that this node refused, closed or saw end, and that are kept whole; of the others it knows the ids.
pub const ANSWERED: usize = 64;
/// Bytes of these sessions together.
pub const ANSWERED_BYTES: usize = 1 << 20;
/// Ids of such proposals that are known, until their expiry, so that none comes again. Half of it for those of strangers.
pub const ANSWERED_IDS: usize = 4096;
/// After what time a proposer that shares no joined session with this node may make another proposal; at first
/// [`PROPOSALS_PER_SIGNER`]. One that does needs a tenth of it. What was joined does not count.
pub const PROPOSAL_EVERY: Duration = Duration::from_secs(10);
/// The same for all these strangers together; at first half of [`UNANSWERED_PROPOSALS`].
pub const STRANGERS_PROPOSAL_EVERY: Duration = Duration::from_secs(1);
/// Bytes a second of such proposals, and of what others say of them; at first a quarter of [`UNANSWERED_BYTES`].
pub const PROPOSAL_BYTES: usize = 2 << 10;
/// The same for all these strangers together; at first half of [`UNANSWERED_BYTES`].
pub const STRANGERS_PROPOSAL_BYTES: usize = 8 << 10;
/// How long after its expiry a session is kept that this node ended and others may still complete, by the calendar.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long this node has to run besides, from when the calendar first said so.
pub const FORGOTTEN_AFTER_RUNNING: Duration = Duration::from_secs(7 * 24 * 3600);
/// Such sessions. With so many nothing is joined or proposed; none is evicted. A quarter of it for those of one other
/// proposer.
pub const KEPT: usize = 4096;
/// Bytes of such sessions, shared in the same way.
pub const KEPT_BYTES: usize = 256 << 20;
/// Proposals of others that wait for what the foreign signer says of their keys. Half of it for strangers, an eighth for one
/// proposer.
pub const KEY_CHECKS: usize = 64;
/// Bytes of these.
pub const KEY_CHECKS_BYTES: usize = 16 << 20;
/// Signers of whom a node remembers how they broadcast.
pub const REPUTATIONS: usize = 256;
/// Sessions of a node that are not closed.
pub const SESSIONS: usize = 4096;
/// Sessions that ended and were forgotten, of which it is still known exactly which they were: those that expire last.
pub const ENDED: usize = 1024;
/// Proposals of one proposer that the application has not answered yet.
pub const PROPOSALS_PER_SIGNER: usize = 64;
/// Refused proposals that were reported to the application, and are remembered so that none is reported twice.
pub const REPORTED: usize = 256;
/// Proposals that were refused for what they say, and are remembered so that none is checked twice.
pub const REFUSED: usize = 1024;
/// Time that checking the proposals of strangers may take at once. A twentieth of all time is added, half of it for each.
pub const STRANGERS_WORK: Duration = Duration::from_millis(200);
/// The same for each signer that shares a joined session with this node. A fifth of all time is added.
pub const PARTNERS_WORK: Duration = Duration::from_secs(1);

/// Refuses a number of something that is out of range.
pub(crate) fn check(
    what: &'static str,
    actual: usize,
    least: usize,
    most: usize,
) -> Result<(), ProposalError> {
    if (least..=most).contains(&actual) {
        return Ok(());
    }
    Err(ProposalError::Limit { what, actual: actual as u64, least: least as u64, most: most as u64 })
}

/// Refuses no signers, and too many.
pub(crate) fn check_signers(actual: usize) -> Result<(), ProposalError> {
    check("signers", actual, 1, SIGNERS)
}
