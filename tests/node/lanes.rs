//! Foreign code that hangs: it delays nothing but what it was asked itself.

use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use libmusig::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome,
};
use libmusig::error::SignerError;
use libmusig::event::Event;
use libmusig::node::{Node, NodeBuilder, Session, SessionRequest};
use libmusig::protocol::crypto::{NONCE, PARTIAL};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::proposal::{Derivation, FailoverPolicy, KeyOrigin, KeySet, Message};
use libmusig::signer::{LocalSigner, NonceRequest, PartialRequest, Signer};
use libmusig::store::memory::MemoryStore;
use libmusig::types::{SessionId, SignerKey, Txid};

use crate::world::{Direct, Spend};
use test_support::backend::chain::Chain;
use test_support::nodes::*;

const N: usize = 3;
/// How long a turn lasts. What hangs, hangs for longer than all turns together.
const TURN: Duration = Duration::from_secs(1);

/// A door that foreign code waits at. It opens at the end of the test, whichever that is.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    changed: Condvar,
    waiting: Mutex<usize>,
}

impl Door {
    fn wait(&self) {
        *self.waiting.lock().expect("nobody panics with it") += 1;
        let open = self.open.lock().expect("nobody panics with it");
        drop(self.changed.wait_while(open, |open| !*open).expect("nobody panics with it"));
    }

    fn waiting(&self) -> usize {
        *self.waiting.lock().expect("nobody panics with it")
    }
}

/// Opens a door when it is dropped: also when the test fails.
struct Opens(Arc<Door>);

impl Drop for Opens {
    fn drop(&mut self) {
        *self.0.open.lock().expect("nobody panics with it") = true;
        self.0.changed.notify_all();
    }
}

/// The chain behind a door, and a list of who submitted what.
struct Slow {
    door: Option<Arc<Door>>,
    inner: Direct,
    index: usize,
    submitted: Arc<Mutex<Vec<(usize, Txid)>>>,
}

impl Broadcaster for Slow {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        if let Some(door) = &self.door {
            door.wait();
        }
        self.submitted.lock().expect("nobody panics with it").push((self.index, transaction.txid));
        self.inner.submit(transaction)
    }
}

impl ChainObserver for Slow {
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError> {
        if let Some(door) = &self.door {
            door.wait();
        }
        self.inner.status(query)
    }
}

struct World {
    chain: Arc<Chain>,
    submitted: Arc<Mutex<Vec<(usize, Txid)>>>,
}

impl World {
    fn new() -> Self {
        Self { chain: Arc::new(Chain::new()), submitted: Arc::default() }
    }

    fn way(&self, index: usize, door: Option<&Arc<Door>>) -> Arc<Slow> {
        Arc::new(Slow {
            door: door.cloned(),
            inner: Direct(self.chain.clone()),
            index,
            submitted: self.submitted.clone(),
        })
    }

    fn builder(&self, index: usize) -> NodeBuilder {
        node_builder()
            .signer(LocalSigner::new(secret(index)).expect("a key"))
            .store(MemoryStore::new())
            .listen("/ip4/127.0.0.1/tcp/0")
            .broadcaster(self.way(index, None))
            .observer(self.way(index, None))
    }

    /// Has a spend proposed by the last signer, and joined by all others of these.
    fn begin(&self, nodes: &[Node], joining: &[usize], method: ElectionMethod) -> Session {
        let policy = FailoverPolicy { broadcast_timeout: TURN, ..FailoverPolicy::default() };
        let request = Spend::new(&self.chain, &keys(N)).request(keys(N));
        let request = request.failover(policy).election_method(method);
        let session = nodes[N - 1].create_session(request).wait().expect("is created");
        for index in joining {
            let joined = join_next(&nodes[*index]);
            assert_eq!(joined.id(), session.id());
        }
        session
    }

    /// Who submitted the transaction of a session first, once somebody did.
    fn submitter(&self, session: &Session) -> usize {
        let mut found = None;
        wait_until("it is submitted", || {
            let transaction = session.final_transaction().wait().expect("known");
            let all = self.submitted.lock().expect("nobody panics with it");
            found =
                all.iter().find(|(_, txid)| transaction.as_ref().is_some_and(|t| t.txid == *txid)).copied();
            found.is_some()
        });
        found.expect("was waited for").0
    }
}

/// The turn in which a node is asked to broadcast a session.
#[track_caller]
fn own_turn(node: &Node, id: SessionId) -> usize {
    wait_for(node, "its turn", |event| match &event.event {
        Event::ShouldBroadcast { turn, .. } if event.session == Some(id) => Some(*turn),
        _ => None,
    })
}

#[test]
fn a_broadcaster_that_hangs_delays_no_other_session() {
    let (world, door) = (World::new(), Arc::new(Door::default()));
    let opens = Opens(door.clone());
    let nodes: Vec<Node> = (0..N)
        .map(|index| match index {
            0 => world.builder(0).broadcaster(world.way(0, Some(&door))),
            _ => world.builder(index),
        })
        .map(|builder| builder.start().expect("starts"))
        .collect();
    connect(&nodes);
    // Its first submission hangs from here on.
    let hanging = world.begin(&nodes, &[0, 1], ElectionMethod::FirstSigner);
    wait_until("it hangs", || door.waiting() == 1);

    // A session with another coordinator, and one with the same: it signs, is asked in its turn, and the next takes over.
    let other = world.begin(&nodes, &[0, 1], ElectionMethod::LastSigner);
    assert_eq!(world.submitter(&other), 2);
    let same = world.begin(&nodes, &[0, 1], ElectionMethod::FirstSigner);
    assert_eq!(own_turn(&nodes[0], same.id()), 0);
    assert_eq!(world.submitter(&hanging), 1);
    assert_eq!(world.submitter(&same), 1);
    assert_eq!(own_turn(&nodes[1], same.id()), 1);
    // Its observer is another object, so it sees what the others did.
    for session in [&hanging, &other, &same] {
        wait_until("it sees the transaction", || {
            let status = nodes[0].session(session.id()).status().wait().expect("known");
            status.failover.is_some_and(|failover| failover.evidence.pauses())
        });
    }
    assert_eq!(door.waiting(), 1, "calls on one object are made one at a time");
    drop(opens);
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

#[test]
fn a_handler_that_blocks_delays_no_turn() {
    let (world, door) = (World::new(), Arc::new(Door::default()));
    let opens = Opens(door.clone());
    let (sender, told) = channel();
    let at = door.clone();
    let last = N - 1;
    let mut nodes: Vec<Node> = (0..last).map(|index| world.builder(index).start().expect("starts")).collect();
    let with_handler = world.builder(last).event_handler(move |event| {
        if let (Some(session), Event::SessionComplete { .. } | Event::ShouldBroadcast { .. }) =
            (event.session, &event.event)
        {
            let complete = matches!(event.event, Event::SessionComplete { .. });
            if complete {
                at.wait();
            }
            let _ = sender.send((session, complete));
        }
        Ok(())
    });
    nodes.push(with_handler.start().expect("starts"));
    connect(&nodes);
    let mut sessions = Vec::new();
    for round in 0..3 {
        let session = world.begin(&nodes, &[0, 1], ElectionMethod::LastSigner);
        // It is submitted in the first turn, which is that of the node whose handler blocks.
        assert_eq!(world.submitter(&session), last, "round {round}");
        sessions.push(session);
    }
    wait_until("the handler blocks", || door.waiting() == 1);
    for node in &nodes[..last] {
        while let Some(event) = node.try_next_event().expect("runs") {
            assert!(!matches!(event.event, Event::CoordinatorFailed { .. }), "{event:?}");
        }
    }
    assert!(told.try_recv().is_err(), "one event at a time");
    drop(opens);
    // What waited comes now: for each session in its order.
    let mut heard: Vec<(SessionId, bool)> = Vec::new();
    while heard.len() < 6 {
        heard.push(told.recv_timeout(PATIENCE).expect("it is told"));
    }
    for session in &sessions {
        let own: Vec<bool> =
            heard.iter().filter(|(id, _)| *id == session.id()).map(|(_, complete)| *complete).collect();
        assert_eq!(own, [true, false]);
    }
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

#[test]
fn an_observer_that_hangs_delays_no_turn() {
    let (world, door) = (World::new(), Arc::new(Door::default()));
    let opens = Opens(door.clone());
    let nodes: Vec<Node> = (0..N)
        .map(|index| world.builder(index).observer(world.way(index, Some(&door))).start().expect("starts"))
        .collect();
    connect(&nodes);
    let session = world.begin(&nodes, &[0, 1], ElectionMethod::FirstSigner);
    assert_eq!(world.submitter(&session), 0);
    // Nobody sees it, so everybody submits in its turn: doubt only speeds things up.
    for (turn, node) in nodes.iter().enumerate() {
        assert_eq!(own_turn(node, session.id()), turn);
    }
    wait_until("all submit", || {
        let all = world.submitted.lock().expect("nobody panics with it");
        (0..N).all(|index| all.iter().any(|(by, _)| *by == index))
    });
    drop(opens);
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

/// Hangs when it is to make partial signatures, from when it is told to.
struct SlowSigner {
    inner: LocalSigner,
    door: Arc<Door>,
    hangs: Arc<Mutex<bool>>,
}

impl Signer for SlowSigner {
    fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> Result<bool, SignerError> {
        Ok(self.inner.holds(key, origin))
    }

    fn make_nonces(&self, request: &NonceRequest) -> Result<Vec<[u8; NONCE]>, SignerError> {
        self.inner.make_nonces(request)
    }

    fn make_partials(&self, request: &PartialRequest) -> Result<Vec<[u8; PARTIAL]>, SignerError> {
        if *self.hangs.lock().expect("nobody panics with it") {
            self.door.wait();
        }
        self.inner.make_partials(request)
    }

    fn forget(&self, session: &SessionId, attempt: u32) {
        self.inner.forget(session, attempt);
    }
}

#[test]
fn a_signer_that_hangs_delays_only_what_needs_it() {
    let door = Arc::new(Door::default());
    let opens = Opens(door.clone());
    let hangs = Arc::new(Mutex::new(false));
    let inner = LocalSigner::new(secret(0)).expect("a key");
    inner.add_key(secret(20)).expect("a participant key");
    let slow = SlowSigner { inner, door: door.clone(), hangs: hangs.clone() };
    let nodes = [
        builder(secret(0)).foreign_signer(Arc::new(slow)).start().expect("starts"),
        builder(secret(1)).start().expect("starts"),
    ];
    connect(&nodes);
    let create = || {
        let policy = FailoverPolicy { broadcast_timeout: 2 * TURN, ..FailoverPolicy::default() };
        let signed = Message::with([1; 32], 1, Derivation::default());
        let request = SessionRequest::messages(keys(2), vec![signed]);
        let request = request.key_set(KeySet::new(&[key(20), key(1)]));
        let request = request.failover(policy).election_method(ElectionMethod::LastSigner);
        let session = nodes[0].create_session(request).wait().expect("is created");
        join_next(&nodes[1]);
        session
    };
    let first = create();
    wait_complete(&nodes[0], first.id());
    *hangs.lock().expect("nobody panics with it") = true;
    let second = create();
    wait_until("the signer hangs", || door.waiting() == 1);
    // Its turn in the first session comes all the same.
    assert_eq!(own_turn(&nodes[0], first.id()), 1);
    assert_eq!(second.final_signatures().wait(), Ok(None));
    drop(opens);
    wait_complete(&nodes[0], second.id());
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}
