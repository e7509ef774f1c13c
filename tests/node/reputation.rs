//! What a node remembers of how other signers broadcast: through its store, and until it is told to forget.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libmusig::chain::{Broadcaster, ChainError, SignedTransaction, SubmitOutcome};
use libmusig::error::StoreError;
use libmusig::event::Event;
use libmusig::node::{MetricValue, Node};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::proposal::FailoverPolicy;
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::store::schema::{Key, SessionPart};
use libmusig::store::{Change, Durability, Entry, Store};

use crate::world::{Direct, Spend};
use test_support::backend::chain::Chain;
use test_support::nodes::*;

/// Says that it submitted, and did not.
struct Liar;

impl Broadcaster for Liar {
    fn submit(&self, _: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        Ok(SubmitOutcome::Accepted)
    }
}

/// Memory that notes what each commit is of.
#[derive(Clone, Default)]
struct Noted {
    memory: MemoryStore,
    commits: Arc<Mutex<Vec<Vec<Key>>>>,
}

impl Store for Noted {
    fn load(&mut self) -> Result<Vec<Entry>, StoreError> {
        self.memory.load()
    }

    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError> {
        let key = |change: &Change| match change {
            Change::Put(key, _) | Change::Delete(key) | Change::DeletePrefix(key) => Key::decode(key),
        };
        self.commits.lock().expect("nobody panics with it").push(changes.iter().filter_map(key).collect());
        self.memory.commit(changes, durability)
    }

    fn suspend(&mut self) -> Result<(), StoreError> {
        self.memory.suspend()
    }

    fn resume(&mut self) -> Result<(), StoreError> {
        self.memory.resume()
    }
}

fn start(
    index: usize,
    chain: &Arc<Chain>,
    broadcaster: Arc<dyn Broadcaster>,
    store: impl Store + 'static,
) -> Node {
    node_builder()
        .signer(LocalSigner::new(secret(index)).expect("a key"))
        .store(store)
        .listen("/ip4/127.0.0.1/tcp/0")
        .broadcaster(broadcaster)
        .observer(Arc::new(Direct(chain.clone())))
        .start()
        .expect("starts")
}

/// Successes and failures of a signer, to the nearest whole number.
fn verdicts(node: &Node, signer: usize) -> (u32, u32) {
    let reputation = node.reputation(&key(signer)).wait().expect("runs");
    (reputation.successes.round() as u32, reputation.failures.round() as u32)
}

/// What the metric says of a signer.
fn failures(node: &Node, signer: usize) -> u64 {
    let name = key(signer).to_string()[..8].to_owned();
    let samples = node.metric_samples().wait().expect("runs");
    let mut failures = samples.iter().filter(|sample| sample.name == "musig_coordinator_failures_total");
    let of = failures.find(|sample| sample.labels.iter().any(|(_, value)| *value == name));
    let Some(MetricValue::Counter(number)) = of.map(|sample| &sample.value) else { panic!("{of:?}") };
    *number
}

#[test]
fn reputation_is_written_with_the_session_survives_a_restart_and_is_forgotten_on_demand() {
    let chain = Arc::new(Chain::new());
    let store = Noted::default();
    let direct = || Arc::new(Direct(chain.clone()));
    let nodes = [
        start(0, &chain, Arc::new(Liar), MemoryStore::new()),
        start(1, &chain, direct(), MemoryStore::new()),
        start(2, &chain, direct(), store.clone()),
    ];
    connect(&nodes);
    let request = Spend::new(&chain, &keys(3)).request(keys(3));
    let policy = FailoverPolicy { broadcast_timeout: Duration::from_secs(2), ..FailoverPolicy::default() };
    let request = request.election_method(ElectionMethod::FirstSigner).failover(policy);
    nodes[0].create_session(request).wait().expect("is created");
    nodes[1..].iter().for_each(|node| drop(join_next(node)));
    assert_eq!(nodes[2].reputation(&key(0)).wait().expect("runs").reliability, 0.8);
    for node in &nodes {
        wait_for(node, "seen", |event| matches!(event.event, Event::BroadcastSeen { .. }).then_some(()));
    }
    assert_eq!((verdicts(&nodes[2], 0), verdicts(&nodes[2], 1)), ((0, 1), (1, 0)));
    assert_eq!(verdicts(&nodes[1], 0), (0, 1));
    assert_eq!((failures(&nodes[2], 0), failures(&nodes[2], 1)), (1, 0));
    for node in nodes {
        node.stop().expect("stops");
    }
    let commits = std::mem::take(&mut *store.commits.lock().expect("nobody panics with it"));
    let of_signers = |keys: &&Vec<Key>| keys.iter().any(|key| matches!(key, Key::Reputation(_)));
    let state = |key: &Key| matches!(key, Key::Session { part: SessionPart::Record, .. });
    assert!(commits.iter().any(|keys| of_signers(&keys)));
    assert!(commits.iter().filter(of_signers).all(|keys| keys.iter().any(state)), "{commits:?}");

    let node = start(2, &chain, direct(), store.clone());
    assert_eq!((verdicts(&node, 0), verdicts(&node, 1)), ((0, 1), (1, 0)));
    node.forget_signer(&key(0)).wait().expect("runs");
    assert_eq!((verdicts(&node, 0), verdicts(&node, 1)), ((0, 0), (1, 0)));
    node.stop().expect("stops");
    let unreadable = Change::Put(Key::Reputation(key(1)).encode(), vec![1; 23]);
    store.memory.clone().commit(&[unreadable], Durability::Synced).expect("memory takes it");
    let node = start(2, &chain, direct(), store.clone());
    assert_eq!((verdicts(&node, 0), verdicts(&node, 1)), ((0, 0), (0, 0)));
    node.stop().expect("stops");
    let kept = |(key, _): &Entry| matches!(Key::decode(key), Some(Key::Reputation(_)));
    assert!(!store.memory.clone().load().expect("memory").iter().any(kept));
}
