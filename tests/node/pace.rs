//! A coordinator that is connected, holds the signatures and does nothing, among nodes that know how long transactions take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libmusig::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome,
};
use libmusig::event::{Event, FailureCause};
use libmusig::node::{MetricValue, Node};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::failover::{Pace, SeenBy};
use libmusig::protocol::limits::{PACE_AT_LEAST, PACE_FROM};
use libmusig::protocol::{Durability, SessionChange};
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::store::{Store, schema};
use libmusig::types::SessionId;

use crate::world::{Direct, Spend};
use test_support::backend::chain::Chain;
use test_support::nodes::*;

/// Submits after some time, and notes whose it was.
struct Slow {
    inner: Direct,
    node: usize,
    after: Duration,
    submitted: Arc<Mutex<Vec<usize>>>,
}

impl Broadcaster for Slow {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        std::thread::sleep(self.after);
        self.submitted.lock().expect("nobody panics").push(self.node);
        self.inner.submit(transaction)
    }
}

/// A store of a node that saw many transactions, each after a second.
fn experienced() -> MemoryStore {
    let mut pace = Pace::default();
    (0..PACE_FROM).for_each(|_| pace.note(SeenBy::Observer, Duration::from_secs(1)));
    store(pace.encode())
}

/// A store with this record of a pace.
fn store(record: Vec<u8>) -> MemoryStore {
    let store = MemoryStore::new();
    let change = schema::change(SessionId([0; 32]), SessionChange::Pace(record));
    store.clone().commit(&[change], Durability::Synced).expect("memory takes it");
    store
}

/// Three nodes, the first of which submits after so long, or never. Who submitted, and when the second one was told that the
/// first one failed, if it was, after the signatures were complete.
fn run(coordinator: Option<Duration>) -> (Vec<usize>, Option<(Duration, Vec<FailureCause>)>) {
    let (chain, submitted) = (Arc::new(Chain::new()), Arc::<Mutex<Vec<usize>>>::default());
    let start = |node: usize| -> Node {
        let built = node_builder()
            .signer(LocalSigner::new(secret(node)).expect("a key"))
            .store(experienced())
            .listen("/ip4/127.0.0.1/tcp/0")
            .observer(Arc::new(Direct(chain.clone())));
        let after = if node == 0 { coordinator } else { Some(Duration::ZERO) };
        let built = match after {
            Some(after) => built.broadcaster(Arc::new(Slow {
                inner: Direct(chain.clone()),
                node,
                after,
                submitted: submitted.clone(),
            })),
            None => built,
        };
        built.start().expect("starts")
    };
    let nodes: Vec<Node> = (0..3).map(start).collect();
    connect(&nodes);
    let request = Spend::new(&chain, &keys(3)).request(keys(3)).election_method(ElectionMethod::FirstSigner);
    let session = nodes[0].create_session(request).wait().expect("is created").id();
    nodes[1..].iter().for_each(|node| drop(join_next(node)));
    nodes.iter().for_each(|node| wait_complete(node, session));
    let complete = Instant::now();
    let failed = wait_for(&nodes[1], "the transaction", |event| match &event.event {
        Event::CoordinatorFailed { failed, causes, .. } => {
            assert_eq!(failed, &[0]);
            Some(Some((complete.elapsed(), causes.clone())))
        }
        Event::BroadcastSeen { .. } => Some(None),
        _ => None,
    });
    if failed.is_some() {
        wait_for(&nodes[1], "the transaction", |event| {
            matches!(event.event, Event::BroadcastSeen { .. }).then_some(())
        });
    }
    nodes.iter().for_each(|node| node.stop().expect("stops"));
    (submitted.lock().expect("nobody panics").clone(), failed)
}

#[test]
fn at_the_pace_the_next_signer_takes_over_from_one_that_is_there_and_silent() {
    let (submitted, failed) = run(None);
    let (after, causes) = failed.expect("the first one is passed over");
    assert_eq!(causes, [FailureCause::Pace]);
    // The regular turn is five minutes away.
    let pace = PACE_AT_LEAST - Duration::from_secs(1)..PACE_AT_LEAST + Duration::from_secs(5);
    assert!(pace.contains(&after), "after {after:?}");
    assert_eq!(submitted, [1]);
}

#[test]
fn within_the_pace_a_slow_coordinator_submits_alone() {
    let (submitted, failed) = run(Some(Duration::from_secs(5)));
    assert_eq!(failed, None);
    assert_eq!(submitted, [0]);
}

/// Sees nothing, and says of the chain what it is told to say.
struct Observer {
    says: Mutex<Result<Option<bool>, ChainError>>,
    asked: Mutex<Vec<Instant>>,
    looks: AtomicUsize,
}

impl ChainObserver for Observer {
    fn status(&self, _: &ChainQuery) -> Result<ChainStatus, ChainError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Ok(ChainStatus::Unknown)
    }

    fn congested(&self) -> Result<Option<bool>, ChainError> {
        self.asked.lock().expect("nobody panics").push(Instant::now());
        self.says.lock().expect("nobody panics").clone()
    }
}

#[test]
fn on_a_congested_chain_a_coordinator_has_more_time_as_long_as_the_observer_says_so() {
    let broken = ChainError { reason: "no route".into() };
    let says = [Ok(Some(true)), Ok(Some(false)), Ok(None), Err(broken.clone())];
    let observers = says.map(|says| {
        let (says, asked) = (Mutex::new(says), Mutex::default());
        Arc::new(Observer { says, asked, looks: AtomicUsize::new(0) })
    });
    let nodes: Vec<Node> = (0..4)
        .map(|node| {
            let built = node_builder()
                .signer(LocalSigner::new(secret(node)).expect("a key"))
                .store(experienced())
                .listen("/ip4/127.0.0.1/tcp/0")
                .observer(observers[node].clone());
            built.start().expect("starts")
        })
        .collect();
    connect(&nodes);
    let request = Spend::new(&Chain::new(), &keys(4)).request(keys(4));
    let session = nodes[0].create_session(request).wait().expect("is created").id();
    nodes[1..].iter().for_each(|node| drop(join_next(node)));
    nodes.iter().for_each(|node| wait_complete(node, session));
    let wait = |node: usize| -> Duration {
        let status = nodes[node].session(session).status().wait().expect("is known");
        status.failover.expect("a watch").signers[0].wait
    };
    let congested = |node: usize| {
        let samples = nodes[node].metric_samples().wait().expect("runs");
        let sample = samples.into_iter().find(|sample| sample.name == "musig_chain_congested");
        sample.expect("is there").value
    };
    wait_until("it is told", || wait(0) == 4 * PACE_AT_LEAST);
    assert_eq!(congested(0), MetricValue::Gauge(1));
    for (node, observer) in observers.iter().enumerate().skip(1) {
        wait_until("it was asked", || observer.looks.load(Ordering::SeqCst) > 3);
        assert_eq!((wait(node), congested(node)), (PACE_AT_LEAST, MetricValue::Gauge(0)));
    }
    wait_for(&nodes[3], "what the observer said", |event| match &event.event {
        Event::ObserverFailed { reason, .. } => {
            assert_eq!(*reason, broken.reason);
            Some(())
        }
        _ => None,
    });
    // From then on once a minute, however often it looks.
    *observers[0].says.lock().expect("nobody panics") = Ok(None);
    assert_eq!(wait(0), 4 * PACE_AT_LEAST);
    let begun = Instant::now();
    while wait(0) != PACE_AT_LEAST {
        assert!(begun.elapsed() < Duration::from_secs(100), "it is not asked again");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(congested(0), MetricValue::Gauge(0));
    nodes.iter().for_each(|node| node.stop().expect("stops"));
    for observer in observers {
        let asked = observer.asked.lock().expect("nobody panics").clone();
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] > Duration::from_secs(59)), "{asked:?}");
        assert!(observer.looks.load(Ordering::SeqCst) > 2 * asked.len());
    }
}

#[test]
fn a_pace_that_cannot_be_read_is_no_reason_not_to_start() {
    for record in [vec![0xff; 8], vec![]] {
        let node = builder(secret(0)).store(store(record)).offline().start().expect("it measures again");
        node.stop().expect("stops");
    }
}
