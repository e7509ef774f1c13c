//! A coordinator that is connected, holds the signatures and does nothing, among nodes that know how long transactions take.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libmusig::chain::{Broadcaster, ChainError, SignedTransaction, SubmitOutcome};
use libmusig::event::{Event, FailureCause};
use libmusig::node::Node;
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

#[test]
fn a_pace_that_cannot_be_read_is_no_reason_not_to_start() {
    for record in [vec![0xff; 8], vec![]] {
        let node = builder(secret(0)).store(store(record)).offline().start().expect("it measures again");
        node.stop().expect("stops");
    }
}
