//! A phone that goes to the background in each phase of a session: suspended and resumed, or suspended and ended by the
//! system. Its file is free meanwhile, and a push message that brings an export is what goes on with the session.
//! docs/mobile.md has the table. Nodes are offline: what passes between them passes when the test says so.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libmusig::chain::{Broadcaster, ChainError, SignedTransaction, SubmitOutcome};
use libmusig::error::Error;
use libmusig::event::Event;
use libmusig::node::Node;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::{Content, Envelope};
use libmusig::protocol::proposal::FailoverPolicy;
use libmusig::protocol::status::Phase;
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::LocalSigner;
use libmusig::store::redb::RedbStore;
use libmusig::types::SessionId;

use crate::world::{Direct, Spend};
use test_support::backend::chain::Chain;
use test_support::nodes::*;

const N: usize = 3;
const TURN: Duration = Duration::from_secs(1);

/// Submits, and notes whose it was.
struct Noted(Direct, usize, Arc<Mutex<Vec<usize>>>);

impl Broadcaster for Noted {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        self.2.lock().expect("nobody panics with it").push(self.1);
        self.0.submit(transaction)
    }
}

struct World {
    chain: Arc<Chain>,
    folder: tempfile::TempDir,
    phone: usize,
    /// The nodes with a Broadcaster.
    broadcasters: &'static [usize],
    submitted: Arc<Mutex<Vec<usize>>>,
    nodes: Vec<Node>,
    session: SessionId,
}

impl World {
    /// A session of three that is proposed by a computer, and not known to the phone.
    fn new(phone: usize, broadcasters: &'static [usize], turn: Duration) -> Self {
        let (chain, submitted) = (Arc::new(Chain::new()), Arc::default());
        let folder = tempfile::tempdir().expect("a directory");
        let session = SessionId([0; 32]);
        let mut world = Self { chain, folder, phone, broadcasters, submitted, nodes: Vec::new(), session };
        world.nodes = (0..N).map(|index| world.start(index)).collect();
        let policy = FailoverPolicy { broadcast_timeout: turn, ..FailoverPolicy::default() };
        let request = Spend::new(&world.chain, &keys(N)).request(keys(N)).failover(policy);
        let proposer = &world.nodes[(phone + 1) % N];
        let session = proposer.create_session(request.election_method(ElectionMethod::FirstSigner)).wait();
        world.session = session.expect("is created").id();
        world
    }

    fn path(&self, index: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("{index}.redb"))
    }

    fn start(&self, index: usize) -> Node {
        let built = node_builder()
            .signer(LocalSigner::new(secret(index)).expect("a key"))
            .store_path(self.path(index))
            .offline()
            .observer(Arc::new(Direct(self.chain.clone())));
        let built = if self.broadcasters.contains(&index) {
            built.broadcaster(Arc::new(Noted(Direct(self.chain.clone()), index, self.submitted.clone())))
        } else {
            built
        };
        built.start().expect("starts")
    }

    fn phone(&self) -> &Node {
        &self.nodes[self.phone]
    }

    fn computers(&self) -> [usize; 2] {
        [(self.phone + 1) % N, (self.phone + 2) % N]
    }

    fn phase(&self, index: usize) -> Phase {
        self.nodes[index].session(self.session).status().wait().expect("known").phase
    }

    fn is_complete(&self, index: usize) -> bool {
        matches!(self.phase(index), Phase::Watching | Phase::Final)
    }

    fn pass(&self, from: usize, to: usize) {
        let export = self.nodes[from].session(self.session).export().wait().expect("is known");
        self.nodes[to].import(export).wait().expect("is a good export");
    }

    /// Passes what the first ones have to each other, until the condition holds.
    fn pass_until(&self, among: &[usize], what: &str, condition: impl Fn() -> bool) {
        wait_until(what, || {
            for from in among {
                among.iter().filter(|to| *to != from).for_each(|to| self.pass(*from, *to));
            }
            condition()
        });
    }

    fn said(&self, index: usize, what: impl Fn(&Content) -> bool) -> bool {
        let export = self.nodes[index].session(self.session).export().wait().expect("is known");
        let frame: pb::Frame = wire::decode(&export, "an export").expect("is one");
        let envelopes = frame.envelopes.iter().map(|bytes| Envelope::decode(bytes).expect("an envelope"));
        envelopes.into_iter().any(|envelope| envelope.body().signer == index && what(envelope.content()))
    }

    fn said_nonces(&self, index: usize) -> bool {
        self.said(index, |content| matches!(content, Content::Nonces { .. }))
    }

    fn join(&self, index: usize) {
        self.nodes[index].session(self.session).join().wait().expect("joins");
    }

    /// Brings the session to where the phone is in this phase, by its own doing.
    fn reach(&self, stage: Stage) {
        let [proposer, other] = self.computers();
        self.pass(proposer, other);
        self.pass(proposer, self.phone);
        self.join(other);
        if stage >= Stage::Joined {
            self.join(self.phone);
        }
        if stage >= Stage::Nonces {
            self.pass(other, self.phone);
            wait_until("the phone has nonces", || self.said_nonces(self.phone));
        }
        if stage >= Stage::Signing {
            self.pass_until(&self.computers(), "the computers consent", || true);
            self.pass(self.phone, proposer);
            self.pass(self.phone, other);
            wait_until("they have nonces", || self.computers().iter().all(|index| self.said_nonces(*index)));
            self.computers().iter().for_each(|index| self.pass(*index, self.phone));
            wait_until("the phone signs", || {
                self.said(self.phone, |content| matches!(content, Content::Partial { .. }))
            });
        }
        if stage >= Stage::Watching {
            self.pass_until(&[0, 1, 2], "it is complete", || self.is_complete(self.phone));
        }
    }

    /// To the background: the file is free, and nothing can be asked for.
    fn to_the_background(&self) {
        self.phone().suspend().wait().expect("suspends");
        assert!(RedbStore::open(self.path(self.phone)).is_ok(), "the lock is released");
        assert_eq!(self.phone().session(self.session).join().wait(), Err(Error::Suspended));
        assert_eq!(self.phone().import(Vec::new()).wait().map(drop), Err(Error::Suspended));
    }

    fn foreground(&mut self, way: Way) {
        match way {
            Way::Resumed => self.phone().resume().wait().expect("resumes"),
            Way::Ended => {
                self.phone().stop().expect("a suspended node stops");
                self.nodes[self.phone] = self.start(self.phone);
            }
        }
    }

    fn submitted(&self) -> Vec<usize> {
        self.submitted.lock().expect("nobody panics with it").clone()
    }

    fn stop(&self) {
        self.nodes.iter().for_each(|node| node.stop().expect("stops"));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Stage {
    Proposed,
    Joined,
    Nonces,
    Signing,
    Watching,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Resumed,
    /// By the system, while it was suspended.
    Ended,
}

/// Goes to the background at this stage, and comes back; the session ends well. Answers the attempt that succeeded.
fn night(stage: Stage, way: Way) -> u32 {
    let mut world = World::new(0, &[0, 1, 2], Duration::from_secs(300));
    world.reach(stage);
    let phase = world.phase(0);
    world.to_the_background();
    // Nothing can be finished without it before it signed.
    if stage < Stage::Signing {
        world.pass_until(&[1, 2], "the others go on", || true);
        assert!(![1, 2].iter().any(|index| world.is_complete(*index)), "{stage:?}");
    }
    world.foreground(way);
    assert_eq!(world.phase(0), phase, "{stage:?}, {way:?}");
    if stage == Stage::Proposed {
        // The proposal waits to be shown, whether or not it was before.
        wait_for(world.phone(), "the proposal", |event| {
            matches!(event.event, Event::SessionProposed { .. }).then_some(())
        });
        world.join(0);
    }
    // What a push message brings is imported.
    world.pass_until(&[0, 1, 2], "it is complete", || (0..N).all(|index| world.is_complete(index)));
    let attempt = world.phone().session(world.session).status().wait().expect("known").attempt;
    wait_until("it is broadcast", || !world.submitted().is_empty());
    assert_eq!(world.submitted(), [0], "{stage:?}, {way:?}");
    world.stop();
    attempt
}

#[test]
fn suspend_when_a_session_is_proposed() {
    assert_eq!(night(Stage::Proposed, Way::Resumed), 0);
    assert_eq!(night(Stage::Proposed, Way::Ended), 0);
}

#[test]
fn suspend_when_the_phone_has_joined() {
    assert_eq!(night(Stage::Joined, Way::Resumed), 0);
    assert_eq!(night(Stage::Joined, Way::Ended), 0);
}

#[test]
fn suspend_when_the_phone_has_secret_nonces() {
    // They stay in memory, and nowhere else: if the system ends the application, a new attempt is needed.
    assert_eq!(night(Stage::Nonces, Way::Resumed), 0);
    assert_eq!(night(Stage::Nonces, Way::Ended), 1);
}

#[test]
fn suspend_when_the_phone_has_signed() {
    // What it said is on its disk.
    assert_eq!(night(Stage::Signing, Way::Resumed), 0);
    assert_eq!(night(Stage::Signing, Way::Ended), 0);
}

/// The others finish the signatures while the phone, the first coordinator, sleeps.
#[test]
fn suspend_when_the_signatures_are_finished_elsewhere() {
    for way in [Way::Resumed, Way::Ended] {
        let mut world = World::new(0, &[0, 1], TURN);
        world.reach(Stage::Signing);
        world.pass(0, 1);
        world.to_the_background();
        world.pass_until(&[1, 2], "the others finish it", || world.is_complete(1));
        wait_until("the backup broadcasts", || world.submitted() == [1]);
        world.foreground(way);
        world.pass(1, 0);
        let seen = |event: &Event| matches!(event, Event::BroadcastSeen { .. });
        wait_for(world.phone(), "the transaction", |event| seen(&event.event).then_some(()));
        // Its first turn begins when it has the signatures, so it submits as well: that it is there is answered.
        assert!(world.submitted().len() <= 2 && world.chain.mempool_size() == 1, "{way:?}");
        world.stop();
    }
}

/// The phone is the coordinator, its application broadcasts, and sleeps instead.
#[test]
fn suspend_when_the_own_turn_is_open() {
    for way in [Way::Resumed, Way::Ended] {
        let mut world = World::new(0, &[1], TURN);
        world.reach(Stage::Watching);
        world.pass(0, 1);
        world.to_the_background();
        wait_until("the backup broadcasts", || world.submitted() == [1]);
        world.foreground(way);
        let mut failed = Vec::new();
        wait_for(world.phone(), "the transaction", |event| match &event.event {
            Event::CoordinatorFailed { failed: signers, .. } => {
                failed.extend(signers.clone());
                None
            }
            Event::BroadcastSeen { .. } => Some(()),
            _ => None,
        });
        assert!(failed.is_empty() || failed == [0], "{way:?}: {failed:?}");
        assert_eq!(world.submitted(), [1], "{way:?}");
        world.stop();
    }
}

/// The phone is a backup, and sleeps while its turn opens; nobody broadcast.
#[test]
fn suspend_when_the_turn_of_another_runs_out() {
    for way in [Way::Resumed, Way::Ended] {
        let mut world = World::new(1, &[1], TURN);
        world.reach(Stage::Watching);
        world.to_the_background();
        let failed = |node: &Node| {
            wait_for(node, "the turn", |event| match &event.event {
                Event::CoordinatorFailed { failed, .. } => Some(failed.clone()),
                _ => None,
            })
        };
        // The other one's turn of 0 began later than the phone's.
        world.pass_until(&[0, 2], "the other one holds it", || world.is_complete(2));
        assert_eq!(failed(&world.nodes[2]), [0]);
        assert_eq!(world.submitted(), [0; 0]);
        world.foreground(way);
        assert_eq!(failed(world.phone()), [0], "{way:?}");
        wait_until("the phone broadcasts", || world.submitted() == [1]);
        world.stop();
    }
}

#[test]
fn suspend_when_the_session_has_ended() {
    for way in [Way::Resumed, Way::Ended] {
        let mut world = World::new(0, &[0], Duration::from_secs(300));
        world.reach(Stage::Watching);
        wait_until("it is broadcast", || world.submitted() == [0]);
        (0..6).for_each(|_| _ = world.chain.mine());
        wait_until("it is confirmed", || world.phase(0) == Phase::Final);
        while world.phone().try_next_event().expect("runs").is_some() {}
        world.to_the_background();
        world.foreground(way);
        assert_eq!((world.phase(0), world.submitted()), (Phase::Final, vec![0]), "{way:?}");
        world.stop();
    }
}
