//! A disk that loses what was not synced.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use libmusig::protocol::{SessionChange, StoredSession};
use libmusig::types::{EnvelopeId, SessionId, UnixMillis};

/// When a commit is on the disk although nobody asked for that.
const WRITTEN_BACK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
struct Stored {
    proposal: Vec<u8>,
    state: Vec<u8>,
    certificate: Option<Vec<u8>>,
    envelopes: BTreeMap<EnvelopeId, Vec<u8>>,
}

/// What is on a disk at some moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    sessions: BTreeMap<SessionId, Stored>,
    ended: BTreeMap<SessionId, UnixMillis>,
    answered: BTreeMap<SessionId, Vec<u8>>,
    pace: Option<Vec<u8>>,
}

impl Snapshot {
    fn apply(&mut self, session: SessionId, changes: Vec<SessionChange>) {
        let stored = self.sessions.entry(session).or_default();
        let (mut dropped, mut ended, mut answered) = (false, None, None);
        for change in changes {
            match change {
                SessionChange::Proposal(bytes) => stored.proposal = bytes,
                SessionChange::State(bytes) => stored.state = bytes,
                SessionChange::Certificate(bytes) => stored.certificate = Some(bytes),
                SessionChange::Envelope(id, bytes) => {
                    stored.envelopes.insert(id, bytes);
                }
                SessionChange::DropEnvelope(id) => {
                    stored.envelopes.remove(&id);
                }
                SessionChange::DropSession => dropped = true,
                SessionChange::Ended(at) => ended = Some(at),
                SessionChange::Answered(record) => answered = Some(record),
                SessionChange::Pace(record) => self.pace = Some(record),
            }
        }
        if dropped {
            self.sessions.remove(&session);
            self.ended.remove(&session);
            self.answered.remove(&session);
        }
        self.ended.extend(ended.map(|at| (session, at)));
        self.answered.extend(answered.map(|record| (session, record)));
    }
}

/// A disk with its cache.
#[derive(Debug, Default)]
pub struct Disk {
    synced: Snapshot,
    waiting: VecDeque<(Duration, SessionId, Vec<SessionChange>)>,
    commits: u64,
    /// How often it was synced.
    pub syncs: u64,
}

impl Disk {
    /// Answers the number of the commit.
    pub fn write(&mut self, session: SessionId, changes: Vec<SessionChange>, now: Duration) -> u64 {
        self.waiting.push_back((now, session, changes));
        self.commits += 1;
        self.commits
    }

    /// Up to which commit everything is safe.
    pub fn synced(&self) -> u64 {
        self.commits - self.waiting.len() as u64
    }

    /// Everything up to a commit is safe now.
    pub fn sync(&mut self, commit: u64) {
        self.syncs += 1;
        let later = (self.commits - commit) as usize;
        while self.waiting.len() > later {
            self.apply_first();
        }
    }

    fn apply_first(&mut self) {
        if let Some((_, session, changes)) = self.waiting.pop_front() {
            self.synced.apply(session, changes);
        }
    }

    /// Loses the cache but for its first commits, and for what is old.
    pub fn crash(&mut self, keep: usize, now: Duration) {
        while self.waiting.front().is_some_and(|(at, ..)| *at + WRITTEN_BACK <= now) {
            self.apply_first();
        }
        for _ in 0..keep {
            self.apply_first();
        }
        self.waiting.clear();
    }

    /// How many commits a crash would lose.
    pub fn at_risk(&self) -> usize {
        self.waiting.len()
    }

    pub fn snapshot(&self) -> Snapshot {
        self.synced.clone()
    }

    /// An older backup comes back.
    pub fn restore(&mut self, snapshot: Snapshot) {
        self.waiting.clear();
        self.synced = snapshot;
    }

    /// What a node reads when it starts.
    pub fn sessions(&self) -> Vec<StoredSession> {
        let read = |stored: &Stored| StoredSession {
            proposal: stored.proposal.clone(),
            state: stored.state.clone(),
            certificate: stored.certificate.clone(),
            envelopes: stored.envelopes.values().cloned().collect(),
        };
        self.synced.sessions.values().map(read).collect()
    }

    /// The sessions that ended.
    pub fn ended(&self) -> Vec<(SessionId, UnixMillis)> {
        self.synced.ended.iter().map(|(session, at)| (*session, *at)).collect()
    }

    /// How long earlier transactions took.
    pub fn pace(&self) -> Option<Vec<u8>> {
        self.synced.pace.clone()
    }

    /// Lets it hold that they took so long.
    pub fn set_pace(&mut self, record: Vec<u8>) {
        self.synced.pace = Some(record);
    }

    /// What is kept of the proposals that were answered.
    pub fn answered(&self) -> Vec<(SessionId, Vec<u8>)> {
        self.synced.answered.iter().map(|(session, record)| (*session, record.clone())).collect()
    }
}
