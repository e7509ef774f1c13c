//! Exactly which events each node gets when all five live, with and without an observer; and when nobody broadcasts.

use std::sync::Arc;
use std::time::Duration;

use libmusig::chain::Broadcaster;
use libmusig::event::{Event, NodeEvent};
use libmusig::node::{Node, NodeBuilder};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::proposal::FailoverPolicy;
use libmusig::protocol::status::Phase;
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::types::{SessionId, SignedTransaction};

use crate::world::{Direct, Spend};
use test_support::backend::chain::Chain;
use test_support::nodes::*;

const N: usize = 5;
/// Not the coordinator, which is the one with the lowest key.
const PROPOSER: usize = 2;

fn with_chain(index: usize, chain: &Arc<Chain>) -> NodeBuilder {
    let direct = Arc::new(Direct(chain.clone()));
    node_builder()
        .signer(LocalSigner::new(secret(index)).expect("a key"))
        .store(MemoryStore::new())
        .listen("/ip4/127.0.0.1/tcp/0")
        .broadcaster(direct.clone())
        .observer(direct)
        .final_depth(1)
}

/// One node with the events of its sessions so far, in words.
struct Watched {
    node: Node,
    index: usize,
    joined: Vec<usize>,
    words: Vec<String>,
}

impl Watched {
    /// The next event of a session. It is not acknowledged.
    #[track_caller]
    fn next(&mut self) -> NodeEvent {
        loop {
            let event = self.node.next_event().wait_for(PATIENCE);
            let event = event.unwrap_or_else(|| panic!("{} waits after {:?}", self.index, self.words));
            let event = event.expect("the node runs");
            if event.session.is_none() {
                continue;
            }
            self.words.push(match &event.event {
                Event::SessionProposed { proposer, .. } => format!("proposed by {proposer}"),
                Event::SessionCreated => "created".into(),
                Event::SessionJoined { signer, joined, signers } => {
                    self.joined.push(*signer);
                    format!("joined {joined} of {signers}")
                }
                Event::SessionReady => "ready".into(),
                Event::NoncesComplete { attempt } => format!("nonces of attempt {attempt}"),
                Event::SessionComplete { rank, .. } => format!("complete, rank {rank}"),
                Event::ShouldBroadcast { turn, signer, .. } => {
                    assert_eq!(*signer, self.index);
                    format!("should broadcast, turn {turn}")
                }
                Event::CoordinatorFailed { failed, next, turn, .. } => {
                    format!("failed {failed:?}, next {next:?}, turn {turn}")
                }
                Event::FailoverExhausted { turns, submissions, claims, .. } => {
                    format!("exhausted after {turns}, submitted {submissions}, claimed by {claims:?}")
                }
                Event::BroadcastClaimed { by, .. } => format!("claimed by {by}"),
                Event::Submitted { outcome, words } => format!("submitted: {outcome:?} {words:?}"),
                Event::BroadcastSeen { .. } => "seen".into(),
                Event::BroadcastConfirmed { depth, .. } => match depth {
                    Some(depth) => format!("confirmed {} deep", depth.confirmations),
                    None => "confirmed by the application".into(),
                },
                other => format!("{other:?}"),
            });
            return event;
        }
    }

    #[track_caller]
    fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> NodeEvent {
        loop {
            let event = self.next();
            if wanted(&event.event) {
                return event;
            }
        }
    }

    fn acknowledge(&self, event: &NodeEvent) {
        assert!(self.node.event_handled(event.id));
    }

    /// What every node hears until it is a holder, in words.
    fn until_complete(&self, rank: usize) -> Vec<String> {
        let first = if self.index == PROPOSER { "created".into() } else { format!("proposed by {PROPOSER}") };
        let joined = (1..=N).map(|count| format!("joined {count} of {N}"));
        let rest = ["ready".into(), "nonces of attempt 0".into(), format!("complete, rank {rank}")];
        std::iter::once(first).chain(joined).chain(rest).collect()
    }

    /// That these were all events, and nothing is left to come.
    #[track_caller]
    fn finish(mut self, id: SessionId, rank: usize, rest: &[String]) {
        let status = self.node.session(id).status().wait().expect("known");
        assert_eq!(status.phase, Phase::Final, "{}", self.index);
        while let Some(event) = self.node.try_next_event().expect("runs") {
            assert_eq!(event.session, None, "{}: {event:?} after {:?}", self.index, self.words);
        }
        let expected = [self.until_complete(rank), rest.to_vec()].concat();
        assert_eq!(self.words, expected, "node {}", self.index);
        self.joined.sort_unstable();
        assert_eq!(self.joined, (0..N).collect::<Vec<_>>());
        self.node.stop().expect("stops");
    }
}

/// Starts five nodes, connects them, and has a spend proposed and joined by all. In the order of the priority list.
fn begin(
    chain: &Arc<Chain>,
    timeout: Duration,
    build: impl Fn(usize) -> NodeBuilder,
) -> (SessionId, Vec<Watched>) {
    let nodes: Vec<Node> = (0..N).map(|index| build(index).start().expect("starts")).collect();
    connect(&nodes);
    let policy = FailoverPolicy { broadcast_timeout: timeout, ..FailoverPolicy::default() };
    let request = Spend::new(chain, &keys(N)).request(keys(N)).failover(policy);
    let session = nodes[PROPOSER]
        .create_session(request.election_method(ElectionMethod::Lexicographic))
        .wait()
        .expect("is created");
    let list = session.priority_list().wait().expect("known");
    assert_ne!(list[0], PROPOSER);
    let mut watched: Vec<Watched> = list
        .iter()
        .map(|index| Watched {
            node: nodes[*index].clone(),
            index: *index,
            joined: Vec::new(),
            words: Vec::new(),
        })
        .collect();
    for one in watched.iter_mut().filter(|one| one.index != PROPOSER) {
        one.until(|event| matches!(event, Event::SessionProposed { .. }));
        one.node.session(session.id()).join().wait().expect("joins");
    }
    for one in &mut watched {
        let event = one.until(|event| matches!(event, Event::SessionComplete { .. }));
        one.acknowledge(&event);
    }
    (session.id(), watched)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn events_with_an_observer() {
    let chain = Arc::new(Chain::new());
    // The observers look by themselves after two seconds; the coordinator's claim comes long before.
    let (id, mut watched) = begin(&chain, Duration::from_secs(8), |index| with_chain(index, &chain));
    for one in &mut watched {
        one.until(|event| matches!(event, Event::BroadcastSeen { .. }));
    }
    chain.mine();
    for one in &mut watched {
        one.until(|event| matches!(event, Event::BroadcastConfirmed { .. }));
    }
    let coordinator = watched[0].index;
    for (rank, one) in watched.into_iter().enumerate() {
        let first = match rank {
            0 => words(&["should broadcast, turn 0", "submitted: Accepted None"]),
            _ => vec![format!("claimed by {coordinator}")],
        };
        let rest = [first, words(&["seen", "confirmed 1 deep"])].concat();
        one.finish(id, rank, &rest);
    }
    let submissions = chain.all_submissions().0;
    assert_eq!(submissions.values().map(|count| count.attempts).collect::<Vec<_>>(), [1]);
}

/// The application of the coordinator broadcasts and says so; the claim reaches the others; their applications look,
/// and say so too.
#[test]
fn events_without_an_observer() {
    let chain = Arc::new(Chain::new());
    let (id, mut watched) = begin(&chain, Duration::from_secs(8), |index| builder(secret(index)));
    let event = watched[0].until(|event| matches!(event, Event::ShouldBroadcast { .. }));
    let Event::ShouldBroadcast { transaction: Some(transaction), .. } = &event.event else {
        panic!("{event:?} has no transaction")
    };
    submit(&chain, transaction);
    let notify = |one: &Watched| one.node.session(id).notify_broadcast_complete(None).wait().expect("known");
    notify(&watched[0]);
    // All hear of the coordinator first: each of them claims as well.
    let claimed = |one: &mut Watched| one.until(|event| matches!(event, Event::BroadcastClaimed { .. }));
    let claims: Vec<_> = watched[1..].iter_mut().map(claimed).collect();
    for (one, claim) in watched[1..].iter_mut().zip(claims) {
        assert!(claim.durable);
        assert_eq!(chain.status(&transaction.txid), Some(None), "the application looks for itself");
        notify(one);
        one.acknowledge(&claim);
    }
    for one in &mut watched {
        let event = one.until(|event| matches!(event, Event::BroadcastConfirmed { .. }));
        one.acknowledge(&event);
    }
    // Its end was told, so it is nothing to be handled any more.
    assert!(watched[0].node.event_handled(event.id));
    let coordinator = watched[0].index;
    for (rank, one) in watched.into_iter().enumerate() {
        let first = match rank {
            0 => "should broadcast, turn 0".to_owned(),
            _ => format!("claimed by {coordinator}"),
        };
        one.finish(id, rank, &[first, "confirmed by the application".into()]);
    }
}

fn submit(chain: &Arc<Chain>, transaction: &SignedTransaction) {
    Direct(chain.clone()).submit(transaction).expect("is reached");
}

/// Nobody broadcasts: everybody hears of every turn, is asked in its own, and is alarmed once, at the end.
#[test]
fn events_when_nobody_broadcasts() {
    let chain = Arc::new(Chain::new());
    let (id, mut watched) = begin(&chain, Duration::from_millis(1500), |index| builder(secret(index)));
    let list: Vec<usize> = watched.iter().map(|one| one.index).collect();
    for one in &mut watched {
        one.until(|event| matches!(event, Event::FailoverExhausted { .. }));
        one.node.session(id).abandon_session().wait().expect("closes");
        one.until(|event| matches!(event, Event::SessionClosed));
    }
    for (rank, one) in watched.into_iter().enumerate() {
        let mut rest = Vec::new();
        for turn in 0..N {
            if turn > 0 {
                let (failed, next) = (list[turn - 1], list[turn]);
                rest.push(format!("failed [{failed}], next [{next}], turn {turn}"));
            }
            if turn == rank {
                rest.push(format!("should broadcast, turn {turn}"));
            }
        }
        rest.extend(words(&["exhausted after 5, submitted 0, claimed by []", "SessionClosed"]));
        // It is asked again after each turn, as long as it does not broadcast.
        let mut asked = false;
        let told: Vec<String> = one
            .words
            .iter()
            .filter(|&word| {
                let again = word.starts_with("should broadcast") && asked;
                asked |= word.starts_with("should broadcast");
                !again
            })
            .cloned()
            .collect();
        assert_eq!(told, [one.until_complete(rank), rest].concat(), "node {}", one.index);
        one.node.stop().expect("stops");
    }
}
