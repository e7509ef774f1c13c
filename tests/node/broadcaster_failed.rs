//! What the application's broadcaster and observer said, threw or left unanswered is told, with its words, at a bounded rate.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use libmusig::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome,
};
use libmusig::event::{Event, Submission};
use libmusig::node::{Node, Session};
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;

use crate::world::{Direct, Spend};
use test_support::backend::chain::Chain;
use test_support::nodes::*;

type Way = Box<dyn Fn(usize) -> Result<(), ChainError> + Send + Sync>;

/// The chain behind code that fails: `way` decides each call, by its number.
struct Fails {
    inner: Direct,
    way: Way,
    calls: AtomicUsize,
}

impl Fails {
    fn call(&self) -> Result<(), ChainError> {
        (self.way)(self.calls.fetch_add(1, Ordering::SeqCst))
    }
}

impl Broadcaster for Fails {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        self.call()?;
        self.inner.submit(transaction)
    }
}

impl ChainObserver for Fails {
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError> {
        self.call()?;
        self.inner.status(query)
    }
}

fn fails(
    chain: &Arc<Chain>,
    way: impl Fn(usize) -> Result<(), ChainError> + Send + Sync + 'static,
) -> Arc<Fails> {
    Arc::new(Fails { inner: Direct(chain.clone()), way: Box::new(way), calls: AtomicUsize::new(0) })
}

fn says(reason: &str) -> Result<(), ChainError> {
    Err(ChainError { reason: reason.into() })
}

/// A node that signs alone, and its session.
fn alone(chain: &Arc<Chain>, broadcaster: Arc<Fails>, observer: Arc<Fails>) -> (Node, Session) {
    let node = node_builder()
        .signer(LocalSigner::new(secret(0)).expect("a key"))
        .store(MemoryStore::new())
        .offline()
        .broadcaster(broadcaster)
        .observer(observer)
        .start()
        .expect("starts");
    let session =
        node.create_session(Spend::new(chain, &keys(1)).request(keys(1))).wait().expect("is created");
    (node, session)
}

fn broadcaster_failed(node: &Node, session: &Session) -> (String, u64) {
    wait_for(node, "BroadcasterFailed", |event| match &event.event {
        Event::BroadcasterFailed { reason, failures } => {
            assert_eq!((event.session, event.durable), (Some(session.id()), false));
            Some((reason.clone(), *failures))
        }
        _ => None,
    })
}

fn submitted(node: &Node, session: &Session) -> (Submission, Option<String>) {
    wait_for(node, "Submitted", |event| match &event.event {
        Event::Submitted { outcome, words } => {
            assert_eq!((event.session, event.durable), (Some(session.id()), false));
            Some((*outcome, words.clone()))
        }
        _ => None,
    })
}

#[test]
fn broadcaster_failed_has_its_words_and_each_submission_is_reported() {
    let chain = Arc::new(Chain::new());
    let wrong = fails(&chain, |call| match call {
        0 => says("object has no attribute 'sendtransaction'"),
        1 => panic!("by the test"),
        _ => Ok(()),
    });
    let (node, session) = alone(&chain, wrong, fails(&chain, |_| Ok(())));
    assert_eq!(
        submitted(&node, &session),
        (Submission::Unreachable, Some("object has no attribute 'sendtransaction'".into()))
    );
    assert_eq!(
        submitted(&node, &session),
        (Submission::Unreachable, Some("the broadcaster panicked".into()))
    );
    assert_eq!(submitted(&node, &session), (Submission::Accepted, None));
    node.stop().expect("stops");
}

#[test]
fn broadcaster_failed_is_bounded_and_cut() {
    let chain = Arc::new(Chain::new());
    let long = "ü".repeat(4000);
    let words = long.clone();
    let (node, session) = alone(
        &chain,
        fails(&chain, move |call| if call < 3 { says(&words) } else { Ok(()) }),
        fails(&chain, |_| Ok(())),
    );
    // The same words three times within a minute: told once, and each submission with its answer.
    let mut told = Vec::new();
    let mut answers = Vec::new();
    wait_for(&node, "the last submission", |event| match &event.event {
        Event::BroadcasterFailed { reason, failures } => {
            told.push((reason.clone(), *failures));
            None
        }
        Event::Submitted { outcome, words } => {
            answers.push((*outcome, words.clone()));
            (*outcome == Submission::Accepted).then_some(())
        }
        _ => None,
    });
    assert_eq!(told, [(long[..1024].to_owned(), 1)]);
    assert_eq!(answers.len(), 4);
    assert_eq!(answers[0], (Submission::Unreachable, Some(long[..1024].to_owned())));
    assert_eq!(session.status().wait().expect("known").failover.expect("a watch").submissions, 4);
    node.stop().expect("stops");
}

#[test]
fn observer_failed_has_its_words() {
    let chain = Arc::new(Chain::new());
    let works = Arc::new(AtomicBool::new(false));
    let (seen, words) = (works.clone(), "KeyError: 'height'");
    let observer = fails(&chain, move |_| if seen.load(Ordering::SeqCst) { Ok(()) } else { says(words) });
    let node = node_builder()
        .signer(LocalSigner::new(secret(0)).expect("a key"))
        .store(MemoryStore::new())
        .offline()
        .broadcaster(fails(&chain, |_| Ok(())))
        .observer(observer)
        .start()
        .expect("starts");
    let session =
        node.create_session(Spend::new(&chain, &keys(1)).request(keys(1))).wait().expect("is created");
    let reason = wait_for(&node, "ObserverFailed", |event| match &event.event {
        Event::ObserverFailed { reason, failures: 1 } => {
            assert_eq!((event.session, event.durable), (Some(session.id()), false));
            Some(reason.clone())
        }
        _ => None,
    });
    assert_eq!(reason, words);
    works.store(true, Ordering::SeqCst);
    wait_for(&node, "BroadcastSeen", |event| {
        matches!(event.event, Event::BroadcastSeen { .. }).then_some(())
    });
    node.stop().expect("stops");
}

/// Both hang: each is told to have been too late, once its time limit (half a minute) has passed.
#[test]
fn broadcaster_failed_says_that_it_was_too_late() {
    let chain = Arc::new(Chain::new());
    let door = Arc::new(Mutex::new(()));
    let hangs = || {
        let door = door.clone();
        fails(&chain, move |_| {
            drop(door.lock());
            Ok(())
        })
    };
    let closed = door.lock().expect("nobody panics with it");
    let node = node_builder()
        .signer(LocalSigner::new(secret(0)).expect("a key"))
        .store(MemoryStore::new())
        .offline()
        .broadcaster(hangs())
        .observer(fails(&chain, |_| Ok(())))
        .start()
        .expect("starts");
    let session =
        node.create_session(Spend::new(&chain, &keys(1)).request(keys(1))).wait().expect("is created");
    wait_for(&node, "its turn", |event| matches!(event.event, Event::ShouldBroadcast { .. }).then_some(()));
    let mut late = None;
    for _ in 0..3 {
        // Longer than the patience of one wait, as the time limit is as long.
        while let Some(event) = node.next_event().wait_for(PATIENCE) {
            if let Event::BroadcasterFailed { reason, .. } = event.expect("runs").event {
                late = Some(reason);
                break;
            }
        }
        if late.is_some() {
            break;
        }
    }
    assert_eq!(late.as_deref(), Some("the broadcaster did not answer within 30 s"));
    drop(closed);
    // The late ones are told as such, until it answers in time.
    while submitted(&node, &session).0 != Submission::Accepted {}
    node.stop().expect("stops");
}

#[test]
fn a_rejection_is_a_submission_with_words_and_no_failure() {
    let chain = Arc::new(Chain::new());
    struct Refuses;
    impl Broadcaster for Refuses {
        fn submit(&self, _: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
            Ok(SubmitOutcome::Rejected("min relay fee not met".into()))
        }
    }
    let node = node_builder()
        .signer(LocalSigner::new(secret(0)).expect("a key"))
        .store(MemoryStore::new())
        .offline()
        .broadcaster(Arc::new(Refuses))
        .observer(fails(&chain, |_| Ok(())))
        .start()
        .expect("starts");
    let session =
        node.create_session(Spend::new(&chain, &keys(1)).request(keys(1))).wait().expect("is created");
    let answer = wait_for(&node, "Submitted", |event| match &event.event {
        Event::BroadcasterFailed { .. } => panic!("it answered"),
        Event::Submitted { outcome, words } => Some((*outcome, words.clone())),
        _ => None,
    });
    assert_eq!(answer, (Submission::Rejected, Some("min relay fee not met".into())));
    drop(session);
    node.stop().expect("stops");
}

#[test]
fn broadcaster_failed_names_the_first_failure_at_once() {
    let chain = Arc::new(Chain::new());
    let (node, session) = alone(&chain, fails(&chain, |_| says("no network")), fails(&chain, |_| Ok(())));
    assert_eq!(broadcaster_failed(&node, &session), ("no network".into(), 1));
    node.stop().expect("stops");
}
