//! What an engine looks up often, kept beside its sessions so that nothing is searched for among all of them.

use std::collections::hash_map;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::num::NonZeroU64;
use std::time::Duration;

use crate::mutation::{self, Mutation};
use crate::protocol::limits;
use crate::protocol::proposal::{KeySet, Proposal};
use crate::protocol::session::Session;
use crate::types::{SessionId, SignerKey, tagged_hash};

/// One for each session, so it is kept small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    deadline: Option<Deadline>,
    /// Bytes of what is held of it.
    bytes: u32,
    open: bool,
    /// Another signer's proposal that this node has not joined.
    unanswered: bool,
    /// One that is over.
    answered: bool,
    /// A session that this node ended, and that is kept.
    kept: bool,
    joined: bool,
    /// Its key sets sign for coins.
    wallet: bool,
    wants_peers: bool,
    /// Its signers are asked for signs of life.
    asks: bool,
}

impl Entry {
    /// The bytes that count towards a tally.
    fn counted(&self, counts: bool) -> Option<u32> {
        counts.then_some(self.bytes)
    }
}

/// A point of the monotonic clock in half the bytes of a `Duration`: nanoseconds, and one, for centuries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline(NonZeroU64);

impl Deadline {
    fn new(at: Duration) -> Self {
        let nanoseconds = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        Self(NonZeroU64::new(nanoseconds).expect("one was added"))
    }

    fn at(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }
}

/// Sessions of one proposer, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub count: usize,
    pub bytes: usize,
}

/// Sessions of some kind, by proposer.
#[derive(Debug, Default)]
struct Tallies(HashMap<SignerKey, Tally>);

impl Tallies {
    fn replace(&mut self, proposer: SignerKey, before: Option<u32>, after: Option<u32>) {
        if before == after {
            return;
        }
        let tally = self.0.entry(proposer).or_default();
        tally.count = tally.count + usize::from(after.is_some()) - usize::from(before.is_some());
        tally.bytes = tally.bytes + after.unwrap_or(0) as usize - before.unwrap_or(0) as usize;
        if tally.count == 0 {
            self.0.remove(&proposer);
        }
    }

    fn of(&self, proposer: &SignerKey) -> Tally {
        self.0.get(proposer).copied().unwrap_or_default()
    }

    fn all(&self) -> Tally {
        let add =
            |sum: Tally, one: &Tally| Tally { count: sum.count + one.count, bytes: sum.bytes + one.bytes };
        self.0.values().fold(Tally::default(), add)
    }
}

/// The key sets that sign for coins, each with the sessions in which it does.
#[derive(Debug, Default)]
struct Wallets(HashMap<[u8; 32], BTreeSet<SessionId>>);

impl Wallets {
    /// The same for key sets that are alike: with the same aggregate key.
    fn name(key_set: &KeySet) -> [u8; 32] {
        let keys = key_set.aggregated();
        let parts: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes().as_slice()).collect();
        tagged_hash("musig/key-set", &parts)
    }

    fn replace(&mut self, proposal: &Proposal, signs: bool) {
        for key_set in &proposal.key_sets {
            let entry = self.0.entry(Self::name(key_set));
            if signs {
                entry.or_default().insert(proposal.id());
            } else if let hash_map::Entry::Occupied(mut sessions) = entry {
                sessions.get_mut().remove(&proposal.id());
                if sessions.get().is_empty() {
                    sessions.remove();
                }
            }
        }
    }

    fn of(&self, key_set: &KeySet) -> Option<SessionId> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&Self::name(key_set))?.first().copied()
    }
}

/// Deadlines, and counts of sessions by state. Derived from the sessions alone.
#[derive(Debug, Default)]
pub(super) struct SessionIndex {
    entries: HashMap<SessionId, Entry>,
    deadlines: BTreeSet<(Deadline, SessionId)>,
    open: usize,
    /// Proposals of others that wait for an answer.
    unanswered: Tallies,
    /// Those of them that are over, the oldest first, and their bytes.
    answered: VecDeque<SessionId>,
    answered_bytes: usize,
    /// Sessions that this node ended, and that are kept.
    kept: Tallies,
    /// In how many sessions that this node joined each signer is.
    partners: HashMap<SignerKey, u32>,
    /// The key sets of the transactions that this node joined.
    wallets: Wallets,
    /// The key sets that the application calls its own wallet's.
    own_key_sets: HashSet<[u8; 32]>,
    /// How many sessions want each signer connected.
    wanted: HashMap<SignerKey, u32>,
    wanted_changed: bool,
    /// How many sessions want each signer asked for signs of life.
    asked: HashMap<SignerKey, u32>,
    asked_changed: bool,
}

impl SessionIndex {
    /// Takes note of how a session is now.
    pub fn note(&mut self, session: &Session, deadline: Option<Duration>, asks: bool) {
        let (kept, joined) = (session.is_kept(), session.joined());
        let (unanswered, answered) = (session.is_unanswered(), session.is_answered());
        let entry = Entry {
            deadline: deadline.map(Deadline::new),
            bytes: if unanswered || answered || kept { session.bytes() as u32 } else { 0 },
            open: !session.closed() && !kept,
            unanswered: unanswered || answered && mutation::on(Mutation::AnsweredKeepRoom),
            answered,
            kept,
            joined,
            wallet: joined && (!session.closed() || kept) && session.proposal().transaction.is_some(),
            wants_peers: session.wants_peers(),
            asks,
        };
        self.replace(session.proposal(), Some(entry));
    }

    /// The session of this proposal is gone.
    pub fn forget(&mut self, proposal: &Proposal) {
        self.replace(proposal, None);
    }

    fn replace(&mut self, proposal: &Proposal, after: Option<Entry>) {
        let id = proposal.id();
        let before = match after {
            Some(entry) => self.entries.insert(id, entry),
            None => self.entries.remove(&id),
        };
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        if before.deadline != after.deadline {
            if let Some(at) = before.deadline {
                self.deadlines.remove(&(at, id));
            }
            if let Some(at) = after.deadline {
                self.deadlines.insert((at, id));
            }
        }
        self.open = self.open + usize::from(after.open) - usize::from(before.open);
        let proposer = proposal.signers[proposal.proposer];
        self.unanswered.replace(proposer, before.counted(before.unanswered), after.counted(after.unanswered));
        self.kept.replace(proposer, before.counted(before.kept), after.counted(after.kept));
        let bytes = |entry: &Entry| entry.counted(entry.answered).unwrap_or(0) as usize;
        self.answered_bytes = self.answered_bytes + bytes(&after) - bytes(&before);
        match (before.answered, after.answered) {
            (false, true) => self.answered.push_back(id),
            (true, false) => self.answered.retain(|other| *other != id),
            _ => {}
        }
        if before.joined != after.joined {
            for signer in &proposal.signers {
                count(&mut self.partners, *signer, after.joined);
            }
        }
        if before.wallet != after.wallet {
            self.wallets.replace(proposal, after.wallet);
        }
        if before.wants_peers != after.wants_peers {
            for signer in &proposal.signers {
                self.wanted_changed |= count(&mut self.wanted, *signer, after.wants_peers);
            }
        }
        if before.asks != after.asks {
            for signer in &proposal.signers {
                self.asked_changed |= count(&mut self.asked, *signer, after.asks);
            }
        }
    }

    /// The session whose deadline is next.
    pub fn next(&self) -> Option<(Duration, SessionId)> {
        self.deadlines.first().map(|(at, id)| (at.at(), *id))
    }

    /// Moves a deadline that lies at or before `now` to `later`, so that no session starves others.
    pub fn not_before(&mut self, id: &SessionId, now: Duration, later: Duration) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(at) = entry.deadline.filter(|deadline| deadline.at() <= now) {
            let later = Deadline::new(later);
            self.deadlines.remove(&(at, *id));
            self.deadlines.insert((later, *id));
            entry.deadline = Some(later);
        }
    }

    /// Sessions that are neither closed nor kept.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Proposals of all others that wait for an answer.
    pub fn all_unanswered(&self) -> Tally {
        self.unanswered.all()
    }

    /// Proposals of a signer that wait for an answer.
    pub fn unanswered(&self, proposer: &SignerKey) -> Tally {
        self.unanswered.of(proposer)
    }

    /// The oldest of those that are over and were never joined, if there are too many of them.
    pub fn too_old(&self) -> Option<SessionId> {
        let full = self.answered.len() > limits::ANSWERED || self.answered_bytes > limits::ANSWERED_BYTES;
        self.answered.front().copied().filter(|_| full)
    }

    /// Sessions that this node ended, and that are kept.
    pub fn all_kept(&self) -> Tally {
        self.kept.all()
    }

    /// Those among them that this signer proposed.
    pub fn kept(&self, proposer: &SignerKey) -> Tally {
        self.kept.of(proposer)
    }

    /// Whether this node holds a session, closed or not, that it joined with this signer.
    pub fn partner(&self, signer: &SignerKey) -> bool {
        self.partners.contains_key(signer)
    }

    /// A transaction session, open or kept, that this node signs for with a key set of the same aggregate key.
    pub fn wallet(&self, key_set: &KeySet) -> Option<SessionId> {
        self.wallets.of(key_set)
    }

    /// Sets the key sets that the application calls its own wallet's.
    pub fn set_own_key_sets<'a>(&mut self, key_sets: impl IntoIterator<Item = &'a KeySet>) {
        self.own_key_sets = key_sets.into_iter().map(Wallets::name).collect();
    }

    /// Whether a key set is one of them, or one with the same aggregate key.
    pub fn is_own(&self, key_set: &KeySet) -> bool {
        !self.own_key_sets.is_empty() && self.own_key_sets.contains(&Wallets::name(key_set))
    }

    /// Whether something is left to say to this signer, or of it.
    pub fn wants(&self, signer: &SignerKey) -> bool {
        self.wanted.contains_key(signer)
    }

    /// How many signers that are.
    pub fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// All signers of sessions in which something is left to say, if they changed since the last call.
    pub fn wanted_if_changed(&mut self) -> Option<HashSet<SignerKey>> {
        std::mem::take(&mut self.wanted_changed).then(|| self.wanted.keys().copied().collect())
    }

    /// All signers that are asked for signs of life, if they changed since the last call.
    pub fn asked_if_changed(&mut self) -> Option<HashSet<SignerKey>> {
        std::mem::take(&mut self.asked_changed).then(|| self.asked.keys().copied().collect())
    }
}

/// Counts one more or one less. Answers whether the key came or went.
fn count(counts: &mut HashMap<SignerKey, u32>, key: SignerKey, more: bool) -> bool {
    let count = counts.entry(key).or_insert(0);
    *count = if more { *count + 1 } else { count.saturating_sub(1) };
    match (*count, more) {
        (0, _) => {
            counts.remove(&key);
            true
        }
        (now, true) => now == 1,
        (_, false) => false,
    }
}
