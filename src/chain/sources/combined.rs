//! Several backends as one.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::outcome::{BroadcastAnswer, WORDS};
use super::source::{Source, outcome};
use crate::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, ChainTip, CoinStatus, SignedTransaction,
    SubmitOutcome,
};
use crate::types::OutPoint;

/// How long [`Sources`] wait for an answer, at most; a node gives them 30 s.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long the other trusted ones are waited for once one has answered.
const AFTER_FIRST: Duration = Duration::from_secs(5);
/// Calls that run at a time on one backend, of which most hang.
const CALLS: usize = 4;

/// Several backends as one [`Broadcaster`] and [`ChainObserver`].
///
/// A transaction is submitted to every one, to all at once; the first that takes it answers for all, and the others are
/// not waited for. At the chain only those look that were added as trusted: what they say makes a node wait and ends its
/// watch.
///
/// Where the trusted ones disagree, less counts: a watch ends only if all that answer see the transaction so deep, and
/// a transaction that only some see is no more than seen.
#[derive(Default)]
pub struct Sources {
    members: Vec<Member>,
}

struct Member {
    source: Arc<dyn Source>,
    trusted: bool,
    running: Arc<AtomicUsize>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |member: &Member| (member.source.name(), member.trusted);
        f.debug_list().entries(self.members.iter().map(name)).finish()
    }
}

impl Sources {
    /// No backends yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a backend that only submits.
    pub fn submit_to(self, source: impl Source + 'static) -> Self {
        self.add(Arc::new(source), false)
    }

    /// Adds a backend that submits, and whose view of the chain counts: one's own node.
    pub fn trusted(self, source: impl Source + 'static) -> Self {
        self.add(Arc::new(source), true)
    }

    /// The same for a source whose kind is not known here.
    pub(crate) fn add(mut self, source: Arc<dyn Source>, trusted: bool) -> Self {
        self.members.push(Member { source, trusted, running: Arc::default() });
        self
    }

    /// Asks backends, each on a thread of its own. The answers come in the order in which they are given; `None` is a
    /// backend that is not asked, since too many calls of it hang.
    fn ask<R: Send + 'static>(
        &self,
        trusted_only: bool,
        question: impl Fn(&dyn Source) -> R + Clone + Send + 'static,
    ) -> Answers<R> {
        let (sender, receiver) = mpsc::channel();
        let mut asked = 0;
        for member in self.members.iter().filter(|member| member.trusted || !trusted_only) {
            let busy = member.running.fetch_add(1, Ordering::SeqCst) >= CALLS;
            let running = Running(member.running.clone());
            asked += 1;
            let (source, question, sender) = (member.source.clone(), question.clone(), sender.clone());
            let name = source.name();
            if busy {
                let _ = sender.send((name, None));
                continue;
            }
            let call = {
                let (sender, name) = (sender.clone(), name.clone());
                move || {
                    let answer = question(source.as_ref());
                    drop(running);
                    let _ = sender.send((name, Some(answer)));
                }
            };
            if thread::Builder::new().name("musig-source".into()).spawn(call).is_err() {
                let _ = sender.send((name, None));
            }
        }
        Answers { receiver, left: asked, end: Instant::now() + PATIENCE }
    }

    fn untrusted(&self) -> Option<ChainError> {
        let none = !self.members.iter().any(|member| member.trusted);
        none.then(|| ChainError {
            reason: "no source is trusted to look at the chain; add one as trusted".into(),
        })
    }

    /// The answers of all trusted backends that answer, at least one.
    fn agreed<R: Send + 'static>(
        &self,
        question: impl Fn(&dyn Source) -> Result<R, ChainError> + Clone + Send + 'static,
    ) -> Result<Vec<R>, ChainError> {
        if let Some(error) = self.untrusted() {
            return Err(error);
        }
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        let mut coming = self.ask(true, question);
        while let Some((name, answer)) = coming.next() {
            match answer {
                Some(Ok(answer)) => {
                    answers.push(answer);
                    coming.end = coming.end.min(Instant::now() + AFTER_FIRST);
                }
                Some(Err(error)) => failures.push(error.reason),
                None => failures.push(format!("{name}: too many requests hang")),
            }
        }
        if answers.is_empty() {
            if failures.is_empty() {
                failures.push("no source answered in time".into());
            }
            return Err(ChainError { reason: joined(&failures) });
        }
        Ok(answers)
    }
}

/// Counts a call that runs.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers as they come, until all have come or time is up.
struct Answers<R> {
    receiver: mpsc::Receiver<(String, Option<R>)>,
    left: usize,
    end: Instant,
}

impl<R> Iterator for Answers<R> {
    type Item = (String, Option<R>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.receiver.recv_timeout(self.end.saturating_duration_since(Instant::now())).ok()
    }
}

impl Source for Sources {
    /// The best answer of all: a success; else, of those that speak of the transaction, "not yet final" before a
    /// rejection; else why no backend could be asked.
    fn broadcast(&self, transaction: &SignedTransaction) -> BroadcastAnswer {
        let transaction = transaction.clone();
        let mut answers = Vec::new();
        for (name, answer) in self.ask(false, move |source| source.broadcast(&transaction)) {
            match answer {
                Some(answer) if answer.is_success() => return answer,
                Some(answer) => answers.push((name, answer)),
                None => {
                    let words = format!("{name}: too many requests hang");
                    answers.push((name, BroadcastAnswer::Unreachable { words }));
                }
            }
        }
        let rank = |answer: &BroadcastAnswer| match answer {
            BroadcastAnswer::Accepted | BroadcastAnswer::AlreadyKnown => 0,
            BroadcastAnswer::NotYetFinal { .. } => 1,
            BroadcastAnswer::Rejected { .. } => 2,
            BroadcastAnswer::Misconfigured { .. } => 3,
            BroadcastAnswer::Unreachable { .. } => 4,
        };
        answers.sort_by_key(|(_, answer)| rank(answer));
        let all: Vec<_> = answers.iter().map(|(name, answer)| told(name, answer)).collect();
        match answers.into_iter().next().map(|(_, answer)| answer) {
            Some(BroadcastAnswer::Rejected { kind, ambiguous, .. }) => {
                BroadcastAnswer::Rejected { kind, words: joined(&all), ambiguous }
            }
            Some(BroadcastAnswer::NotYetFinal { .. }) => BroadcastAnswer::NotYetFinal { words: joined(&all) },
            Some(BroadcastAnswer::Misconfigured { .. }) => {
                BroadcastAnswer::Misconfigured { words: joined(&all) }
            }
            Some(_) => BroadcastAnswer::Unreachable { words: joined(&all) },
            None if self.members.is_empty() => {
                BroadcastAnswer::Misconfigured { words: "there are no sources to submit to; add one".into() }
            }
            None => BroadcastAnswer::Unreachable { words: "no source answered in time".into() },
        }
    }

    fn name(&self) -> String {
        let names: Vec<_> = self.members.iter().map(|member| member.source.name()).collect();
        names.join(", ")
    }
}

impl Broadcaster for Sources {
    fn follow_proxy(&self, proxy: &str) {
        for member in &self.members {
            Broadcaster::follow_proxy(member.source.as_ref(), proxy);
        }
    }

    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        outcome(self.broadcast(transaction))
    }
}

impl ChainObserver for Sources {
    fn follow_proxy(&self, proxy: &str) {
        Broadcaster::follow_proxy(self, proxy);
    }

    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError> {
        let query = query.clone();
        let answers = self.agreed(move |source| source.status(&query))?;
        Ok(agreement(&answers))
    }

    /// The worst of what the trusted backends say.
    fn coin(&self, outpoint: &OutPoint) -> Result<Option<CoinStatus>, ChainError> {
        let outpoint = *outpoint;
        let answers = self.agreed(move |source| source.coin(&outpoint))?;
        let rank = |status: &CoinStatus| match status {
            CoinStatus::Spent => (0, 0),
            CoinStatus::Unknown => (1, 0),
            CoinStatus::InMempool => (2, 0),
            CoinStatus::Unspent { confirmations, .. } => (3, *confirmations),
        };
        Ok(answers.into_iter().flatten().min_by_key(rank))
    }

    /// The highest of the trusted backends' tips, with its own median time.
    fn tip(&self) -> Result<Option<ChainTip>, ChainError> {
        let answers = self.agreed(|source| source.tip())?;
        Ok(answers.into_iter().flatten().max_by_key(|tip| (tip.height, tip.median_time)))
    }

    /// Whether any of the trusted backends says so.
    fn congested(&self) -> Result<Option<bool>, ChainError> {
        let answers = self.agreed(|source| source.congested())?;
        Ok(answers.into_iter().flatten().max())
    }
}

/// What all these views of the chain agree on.
fn agreement(views: &[ChainStatus]) -> ChainStatus {
    use ChainStatus::{Confirmed, Conflict, Seen, Unknown};
    let depth = |view: &&ChainStatus| match **view {
        Confirmed { confirmations, .. } | Conflict { confirmations, .. } => confirmations,
        Seen | Unknown => 0,
    };
    let same_block = |one: &ChainStatus, other: &ChainStatus| match (one, other) {
        (Confirmed { .. }, Confirmed { .. }) => true,
        (Conflict { txid: one, .. }, Conflict { txid: other, .. }) => one == other,
        _ => false,
    };
    let Some(least) = views.iter().min_by_key(depth) else { return Unknown };
    if views.iter().all(|view| same_block(view, least)) {
        *least
    } else if views.iter().any(|view| matches!(view, Conflict { .. }))
        || views.iter().all(|view| *view == Unknown)
    {
        Unknown
    } else {
        Seen
    }
}

/// An answer with its backend's name, unless its words begin with it.
fn told(name: &str, answer: &BroadcastAnswer) -> String {
    let words = answer.words();
    if words.starts_with(name) { words.to_owned() } else { format!("{name}: {words}") }
}

/// Words of several backends as one text of limited length.
fn joined(words: &[String]) -> String {
    let share = (2 * WORDS / words.len().max(1)).max(32);
    let cut: Vec<String> = words.iter().map(|words| words.chars().take(share).collect()).collect();
    cut.join("; ")
}
