//! What is on its way to the disk, and what waits for it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::actor::{Command, Commands};
use super::gate::Gate;
use crate::error::{Error, StoreError};
use crate::protocol::event::{Event, SessionEvent};
use crate::protocol::{Durability, Output, SessionChange, Waits, limits};
use crate::store::thread::StoreThread;
use crate::store::{Change, schema};
use crate::types::SessionId;

/// Pause before a failed commit is retried.
const RETRY: Duration = Duration::from_secs(1);
/// How long the oldest commit may be under way before what comes meanwhile is collected for one commit after it.
const SLOW: Duration = Duration::from_secs(1);
/// Frames that wait for a barrier. Comparison sends again what is more than that.
const FRAMES: usize = 1024;
/// Bytes of changes that wait. With more of them nothing is read from the network.
const BYTES: usize = 64 << 20;
/// Changes among which repeated ones are looked for.
const MANY: usize = 1024;

/// A batch of changes on its way to the disk.
struct Batch {
    /// The numbers of the batches that it is made of: after a failure several become one.
    first: u64,
    last: u64,
    /// Shared with the store's thread, and kept until they are committed.
    changes: Arc<[Change]>,
    bytes: usize,
    durability: Durability,
    /// When it was handed to the store's thread, if that has not answered.
    since: Option<Instant>,
}

/// What of a session is not on the disk: the last batch to be synced, and the last with a barrier.
#[derive(Clone, Copy, Default)]
struct Pending {
    synced: Option<u64>,
    barrier: Option<u64>,
}

/// An output that waits for a batch, perhaps not for ever.
struct Deferred {
    batch: u64,
    until: Option<Instant>,
    output: Output,
}

/// What became of the disk, and what is to be done now.
#[derive(Default)]
pub(super) struct News {
    /// Outputs that wait no more, in order.
    pub ready: Vec<Output>,
    /// A commit was made, and nothing failed before it that has not been repeated; or one failed.
    pub commit: Option<Result<(), StoreError>>,
    /// The store worked until now.
    pub is_first_failure: bool,
}

/// Changes on their way to the disk, and the outputs that wait for them.
///
/// Invariants: batches reach the store in order, and after a failure again from the first that failed on; nothing that
/// waits for a barrier leaves before it is synced. Memory is bounded: of what waits while the disk does not answer, each
/// key is kept once, and frames are limited in number.
pub(super) struct Disk {
    store: Arc<StoreThread>,
    commands: Commands,
    gate: Arc<Gate>,
    /// Changes that are in no batch yet.
    changes: Vec<Change>,
    bytes: usize,
    /// How many of them there were when repeated ones were looked for.
    coalesced: usize,
    durability: Durability,
    /// Number of the batch that they become. Batches count from 1.
    next: u64,
    /// Batches that are not on the disk.
    batches: VecDeque<Batch>,
    sessions: HashMap<SessionId, Pending>,
    deferred: VecDeque<Deferred>,
    error: Option<StoreError>,
    retry_at: Option<Instant>,
}

impl Disk {
    pub(super) fn new(store: Arc<StoreThread>, commands: Commands, gate: Arc<Gate>) -> Self {
        Self {
            store,
            commands,
            gate,
            changes: Vec::new(),
            bytes: 0,
            coalesced: 0,
            durability: Durability::Eventual,
            next: 1,
            batches: VecDeque::new(),
            sessions: HashMap::new(),
            deferred: VecDeque::new(),
            error: None,
            retry_at: None,
        }
    }

    /// Why it takes no commits, if it does not.
    pub(super) fn error(&self) -> Option<&StoreError> {
        self.error.as_ref()
    }

    /// Whether too much waits for it to take more from others.
    pub(super) fn is_overfull(&self) -> bool {
        self.bytes + self.batches.iter().map(|batch| batch.bytes).sum::<usize>() > BYTES
    }

    // ---- To be stored ----

    pub(super) fn put(&mut self, change: Change) {
        self.bytes += size(&change);
        self.changes.push(change);
    }

    pub(super) fn persist(
        &mut self,
        session: SessionId,
        records: Vec<SessionChange>,
        durability: Durability,
        barrier: bool,
    ) {
        records.into_iter().for_each(|record| self.put(schema::change(session, record)));
        self.durability = self.durability.max(durability);
        if durability == Durability::Synced {
            let pending = self.sessions.entry(session).or_default();
            pending.synced = Some(self.next);
            if barrier {
                pending.barrier = Some(self.next);
            }
        }
    }

    /// Hands what is collected to the store, as one batch, unless the store is slow or has failed.
    pub(super) fn hand_over(&mut self, now: Instant) {
        let oldest = self.oldest();
        let waits = match (&self.error, oldest) {
            // What failed is repeated when all that was handed over is answered.
            (Some(_), oldest) => oldest.is_some() || self.retry_at.is_some_and(|at| at > now),
            (None, Some(since)) => since + SLOW <= now,
            (None, None) => false,
        };
        if waits {
            if self.changes.len() >= 2 * self.coalesced + MANY {
                self.coalesce();
            }
            return;
        }
        self.hand_over_now(now);
    }

    /// Hands what is collected to the store, however that is: it is about to be closed.
    pub(super) fn hand_over_now(&mut self, now: Instant) {
        if self.error.is_some() && self.oldest().is_none() {
            self.retry(now);
        } else if !self.changes.is_empty() {
            self.next += 1;
            self.commit(self.next - 1, now);
        }
    }

    /// Everything that is not on the disk, in order, as one batch. Changes are idempotent.
    fn retry(&mut self, now: Instant) {
        self.retry_at = None;
        let first = self.batches.front().map_or(self.next, |batch| batch.first);
        self.next += u64::from(!self.changes.is_empty());
        let mut all = Vec::new();
        for batch in self.batches.drain(..) {
            all.extend_from_slice(&batch.changes);
            self.durability = self.durability.max(batch.durability);
        }
        all.append(&mut self.changes);
        self.changes = all;
        self.coalesce();
        self.commit(first, now);
    }

    /// Hands the collected changes to the store, as the batch from `first` to the last number given.
    fn commit(&mut self, first: u64, now: Instant) {
        let last = self.next - 1;
        let changes: Arc<[Change]> = std::mem::take(&mut self.changes).into();
        let durability = std::mem::replace(&mut self.durability, Durability::Eventual);
        let bytes = std::mem::take(&mut self.bytes);
        self.coalesced = 0;
        self.batches.push_back(Batch {
            first,
            last,
            changes: changes.clone(),
            bytes,
            durability,
            since: Some(now),
        });
        let (gate, commands) = (self.gate.clone(), self.commands.clone());
        let done = move |result: Result<(), StoreError>| {
            if result.is_ok() {
                gate.committed(first, last);
            }
            drop(commands.send(Command::Committed { batch: last, result }));
        };
        self.store.commit(changes, durability, Box::new(done));
    }

    /// Leaves out what later changes undo.
    fn coalesce(&mut self) {
        self.changes = coalesced(std::mem::take(&mut self.changes));
        self.coalesced = self.changes.len();
        self.bytes = self.changes.iter().map(size).sum();
    }

    /// Since when the oldest commit is under way.
    fn oldest(&self) -> Option<Instant> {
        self.batches.iter().find_map(|batch| batch.since)
    }

    // ---- What waits ----

    /// The output, if it is to be carried out now. It may say then that it is not stored.
    pub(super) fn pass(&mut self, output: Output, now: Instant) -> Option<Output> {
        let pending = output.session().and_then(|session| self.sessions.get(&session));
        let Some(Pending { synced, barrier }) = pending.copied() else { return Some(output) };
        match output.waits() {
            Waits::Never => Some(output),
            Waits::Barrier => {
                let Some(batch) = barrier else { return Some(output) };
                let is_frame = matches!(output, Output::Send { .. });
                if !is_frame || self.deferred.len() < FRAMES {
                    self.deferred.push_back(Deferred { batch, until: None, output });
                }
                None
            }
            Waits::Briefly => {
                let Some(batch) = synced else { return Some(output) };
                if let Some(error) = &self.error {
                    return Some(unstored(output, error));
                }
                self.defer(batch, Some(now + limits::UNSTORED_AFTER), output);
                None
            }
            Waits::Stored => {
                let Some(batch) = synced else { return Some(output) };
                self.defer(batch, None, output);
                None
            }
        }
    }

    fn defer(&mut self, batch: u64, until: Option<Instant>, output: Output) {
        match output {
            Output::Event { event } => self.gate.after(batch, until, event),
            output => self.deferred.push_back(Deferred { batch, until, output }),
        }
    }

    /// Reports something of the node's own about a session, behind the events of that session that wait.
    pub(super) fn report(&mut self, session: SessionId, event: Event, now: Instant) {
        let pending = self.sessions.get(&session).and_then(|pending| pending.synced);
        // Batches count from 1: nothing waits for the one before.
        let batch = pending.filter(|_| self.error.is_none()).unwrap_or(0);
        let event = SessionEvent { session: Some(session), event, durable: None };
        self.gate.after(batch, Some(now + limits::UNSTORED_AFTER), event);
    }

    /// When [`Disk::pass_time`] and [`Disk::hand_over`] are to be called next, but for the store's answers.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let oldest = self.oldest();
        let hangs = oldest.filter(|_| self.error.is_none()).map(|since| since + limits::COMMIT);
        let deferred = self.deferred.iter().find_map(|deferred| deferred.until);
        [self.retry_at.filter(|_| oldest.is_none()), hangs, deferred, self.gate.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// A commit that takes too long counts as failed, and nothing that need not waits longer than it may.
    pub(super) fn pass_time(&mut self, now: Instant) -> News {
        let oldest = self.oldest();
        if self.error.is_none() && oldest.is_some_and(|since| since + limits::COMMIT <= now) {
            return self.fail(StoreError::hangs(limits::COMMIT));
        }
        self.gate.release(Some(now));
        let waited = |deferred: &Deferred| deferred.until.is_some_and(|until| until <= now);
        let slow = StoreError::hangs(limits::UNSTORED_AFTER);
        News { ready: self.take_unstored(waited, &slow), ..News::default() }
    }

    /// The store answered.
    pub(super) fn committed(&mut self, batch: u64, result: Result<(), StoreError>, now: Instant) -> News {
        if let Some(answered) = self.batches.iter_mut().find(|one| one.last == batch) {
            answered.since = None;
        }
        if let Err(error) = result {
            // Nothing that waits for a barrier happens, and nobody is told that it did or that it never will: the commit
            // is repeated. New requests for which the disk is needed are refused until then.
            self.retry_at = Some(now + RETRY);
            return self.fail(error);
        }
        if self.error.is_some() && self.batches.front().is_some_and(|first| first.last < batch) {
            // An earlier one failed, so this one counts only when that one is repeated before it.
            return News::default();
        }
        (self.error, self.retry_at) = (None, None);
        self.batches.retain(|one| one.last > batch);
        let open = |until: &mut Option<u64>| {
            *until = until.filter(|until| *until > batch);
            until.is_some()
        };
        self.sessions.retain(|_, pending| open(&mut pending.synced) | open(&mut pending.barrier));
        let ready = self.take(|deferred| deferred.batch <= batch);
        let ready = ready.into_iter().map(|deferred| deferred.output).collect();
        News { ready, commit: Some(Ok(())), is_first_failure: false }
    }

    fn fail(&mut self, error: StoreError) -> News {
        tracing::warn!(target: "libmusig::store", %error, "a commit failed and is retried");
        let is_first_failure = self.error.is_none();
        self.error = Some(error.clone());
        self.gate.release(None);
        let ready = self.take_unstored(|deferred| deferred.until.is_some(), &error);
        News { ready, commit: Some(Err(error)), is_first_failure }
    }

    fn take(&mut self, which: impl Fn(&Deferred) -> bool) -> VecDeque<Deferred> {
        let (taken, left) = std::mem::take(&mut self.deferred).into_iter().partition(which);
        self.deferred = left;
        taken
    }

    fn take_unstored(&mut self, which: impl Fn(&Deferred) -> bool, error: &StoreError) -> Vec<Output> {
        if !self.deferred.iter().any(&which) {
            return Vec::new();
        }
        self.take(which).into_iter().map(|deferred| unstored(deferred.output, error)).collect()
    }
}

/// The output, as it is to be carried out without a commit.
fn unstored(output: Output, error: &StoreError) -> Output {
    match output {
        Output::Event { mut event } => {
            event.event.set_unstored();
            Output::Event { event }
        }
        Output::Done { session, request, result: Ok(()), waits } => Output::Done {
            session,
            request,
            result: Err(Error::Store(StoreError::Unstored { reason: error.to_string() })),
            waits,
        },
        output => output,
    }
}

fn size(change: &Change) -> usize {
    match change {
        Change::Put(key, value) => key.len() + value.len(),
        Change::Delete(key) | Change::DeletePrefix(key) => key.len(),
    }
}

/// The changes without those that a later one undoes.
fn coalesced(changes: Vec<Change>) -> Vec<Change> {
    let (mut keys, mut prefixes) = (HashSet::new(), HashSet::new());
    let mut lengths: Vec<usize> = Vec::new();
    let mut kept: Vec<Change> = Vec::new();
    for change in changes.into_iter().rev() {
        let (Change::Put(key, _) | Change::Delete(key) | Change::DeletePrefix(key)) = &change;
        if lengths.iter().any(|length| key.get(..*length).is_some_and(|start| prefixes.contains(start))) {
            continue;
        }
        let key = key.clone();
        if let Change::DeletePrefix(_) = &change {
            if !lengths.contains(&key.len()) {
                lengths.push(key.len());
            }
            prefixes.insert(key);
            kept.push(change);
        } else if keys.insert(key) {
            kept.push(change);
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: u8) -> Change {
        Change::Put(key.into(), vec![value])
    }

    /// A store that answers nothing until it is told to.
    struct Hanging(std::sync::mpsc::Receiver<()>);

    impl crate::store::Store for Hanging {
        fn load(&mut self) -> Result<Vec<crate::store::Entry>, StoreError> {
            Ok(Vec::new())
        }

        fn commit(&mut self, _: &[Change], _: Durability) -> Result<(), StoreError> {
            let _ = self.0.recv();
            Ok(())
        }

        fn suspend(&mut self) -> Result<(), StoreError> {
            Ok(())
        }

        fn resume(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    fn answer(waits: Waits) -> Output {
        Output::Done { session: SessionId([1; 32]), request: 1, result: Ok(()), waits }
    }

    #[test]
    fn hanging_disk_counts_as_failed_after_a_while_and_works_when_it_answers() {
        let (go, wait) = std::sync::mpsc::channel();
        let (commands, mut inbox) = tokio::sync::mpsc::unbounded_channel();
        let store = StoreThread::spawn(Box::new(Hanging(wait)), Duration::from_secs(60)).expect("a thread");
        let gate = Arc::new(Gate::new(crate::event::delivery::Delivery::new(None, Arc::new(|_, _| {}))));
        let mut disk = Disk::new(Arc::new(store), commands, gate);
        let start = Instant::now();
        disk.persist(SessionId([1; 32]), vec![SessionChange::State(vec![1])], Durability::Synced, true);
        disk.hand_over(start);
        assert!(disk.pass(answer(Waits::Never), start).is_some());
        assert!(disk.pass(answer(Waits::Briefly), start).is_none());
        assert!(disk.pass(answer(Waits::Barrier), start).is_none());

        let second = start + limits::UNSTORED_AFTER;
        assert_eq!(disk.next_timeout(), Some(second));
        let ready = disk.pass_time(second).ready;
        let unstored = |output: &Output| {
            matches!(output, Output::Done { result: Err(Error::Store(StoreError::Unstored { .. })), .. })
        };
        assert!(ready.len() == 1 && unstored(&ready[0]), "{ready:?}");
        assert!(disk.error().is_none());
        // Nothing is handed over meanwhile, however much comes, and what comes is kept once.
        for number in 0..10 * MANY {
            let records = vec![SessionChange::State(number.to_be_bytes().to_vec())];
            disk.persist(SessionId([1; 32]), records, Durability::Eventual, false);
            disk.hand_over(second);
        }
        assert!(disk.changes.len() <= 2 * MANY + 2 && disk.batches.len() == 1, "{}", disk.changes.len());
        assert_eq!(disk.next_timeout(), Some(start + limits::COMMIT), "until then there is nothing to do");

        let news = disk.pass_time(start + limits::COMMIT);
        assert_eq!(news.commit, Some(Err(StoreError::Hangs { seconds: 30 })));
        assert!(news.is_first_failure && disk.error().is_some());
        assert_eq!(disk.next_timeout(), None, "it waits for the answer");
        assert!(disk.pass(answer(Waits::Briefly), second).is_some_and(|output| unstored(&output)));

        go.send(()).expect("it waits");
        let Some(Command::Committed { batch, result }) = inbox.blocking_recv() else { panic!("it answers") };
        let news = disk.committed(batch, result, start + limits::COMMIT);
        assert!(matches!(news.ready[..], [Output::Done { result: Ok(()), waits: Waits::Barrier, .. }]));
        assert_eq!((news.commit, disk.error()), (Some(Ok(())), None));
        drop(go);
        disk.hand_over(start + limits::COMMIT);
        assert_eq!(disk.batches.len(), 1, "what came meanwhile");
    }

    #[test]
    fn coalesced_changes_do_what_all_of_them_did() {
        let delete = |key: &str| Change::Delete(key.into());
        let drop = |prefix: &str| Change::DeletePrefix(prefix.into());
        let changes = vec![
            put("a1", 1),
            put("b1", 1),
            put("a2", 1),
            drop("a"),
            put("a2", 2),
            put("b1", 2),
            delete("b2"),
            put("b2", 3),
            drop("b2"),
            put("c", 1),
            delete("c"),
        ];
        let left = coalesced(changes);
        assert_eq!(left, [drop("a"), put("a2", 2), put("b1", 2), drop("b2"), delete("c")]);
        assert_eq!(coalesced(left.clone()), left);
    }
}
