//! What each operation answers when it cannot be done, and what it does when it is done twice, late or early.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libmusig::error::{Error, ProposalError, SignerError, StoreError, WireError};
use libmusig::event::{BroadcastBy, Event};
use libmusig::node::{Node, Reply, Session, SessionRequest};
use libmusig::protocol::consent::AcceptedProposers;
use libmusig::protocol::proposal::FailoverPolicy;
use libmusig::protocol::status::Phase;
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::store::redb::RedbStore;
use libmusig::store::{Change, Durability, Entry, Store};
use libmusig::types::{SessionId, Txid};

use test_support::nodes::*;

fn offline(index: usize) -> Node {
    builder(secret(index)).offline().start().expect("starts")
}

fn raw(n: usize) -> SessionRequest {
    SessionRequest::messages(keys(n), vec![message(1)])
}

/// The first proposal, and the session of it.
fn proposed(node: &Node) -> Session {
    let id = wait_for(node, "a proposal", |event| {
        matches!(event.event, Event::SessionProposed { .. }).then_some(event.session).flatten()
    });
    node.session(id)
}

#[track_caller]
fn state_of<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result {
        Err(Error::WrongState { state, .. }) => state,
        other => panic!("{other:?} instead of a wrong state"),
    }
}

#[test]
fn allow_list_is_set_in_the_builder_and_while_running() {
    let all = [0, 1].map(|index| builder(secret(index)).start().expect("starts"));
    let friend = AcceptedProposers::only([all[0].signer_key()]);
    let third = builder(secret(2)).accepted_proposers(friend).start().expect("starts");
    third.add_peer(&address(&all[0])).wait().expect("an address");
    third.add_peer(&address(&all[1])).wait().expect("an address");
    let with_third = |index: usize, number| {
        let signers = vec![all[index].signer_key(), third.signer_key()];
        let request = SessionRequest::messages(signers, vec![message(number)]);
        all[index].create_session(request).wait().expect("is created").id()
    };
    let (of_stranger, of_friend) = (with_third(1, 1), with_third(0, 2));
    assert_eq!(proposed(&third).id(), of_friend, "the first");
    let refused = |node: &Node| node.metrics().wait().expect("runs").refused.proposals;
    wait_until("the other is refused", || refused(&third) > 0);
    assert_eq!(third.metrics().wait().expect("runs").sessions, 1);
    third.set_accepted_proposers(AcceptedProposers::All).wait().expect("runs");
    assert_eq!(proposed(&third).id(), of_stranger);
}

/// Carries envelopes from one to all others, for as many rounds as a session needs.
fn carry(nodes: &[Node], id: SessionId) {
    for _ in 0..3 {
        for from in nodes {
            let Ok(bytes) = from.session(id).export().wait() else { continue };
            for to in nodes {
                to.import(bytes.clone()).wait().expect("is a good export");
            }
        }
    }
}

#[test]
fn unknown_session_is_an_error_of_every_operation() {
    let node = offline(0);
    let id = SessionId([7; 32]);
    let session = node.session(id);
    let unknown = Error::UnknownSession(id);
    assert_eq!(session.join().wait(), Err(unknown.clone()));
    assert_eq!(session.decline("no").wait(), Err(unknown.clone()));
    assert_eq!(session.abort("no").wait(), Err(unknown.clone()));
    assert_eq!(session.close_session().wait(), Err(unknown.clone()));
    assert_eq!(session.abandon_session().wait(), Err(unknown.clone()));
    assert_eq!(session.status().wait(), Err(unknown.clone()));
    assert_eq!(session.proposal().wait(), Err(unknown.clone()));
    assert_eq!(session.final_signatures().wait(), Err(unknown.clone()));
    assert_eq!(session.final_transaction().wait(), Err(unknown.clone()));
    assert_eq!(session.election().wait(), Err(unknown.clone()));
    assert_eq!(session.priority_list().wait(), Err(unknown.clone()));
    assert_eq!(session.is_coordinator().wait(), Err(unknown.clone()));
    assert_eq!(session.is_current_coordinator().wait(), Err(unknown.clone()));
    assert_eq!(session.coordinator_peer_id().wait(), Err(unknown.clone()));
    assert_eq!(session.notify_broadcast_complete(None).wait(), Err(unknown.clone()));
    assert_eq!(session.report_broadcast_failed("no").wait(), Err(unknown.clone()));
    assert_eq!(session.broadcast_now().wait(), Err(unknown.clone()));
    assert_eq!(session.export().wait(), Err(unknown));
    assert!(!node.event_handled(99));
    node.stop().expect("stops");
}

#[test]
fn proposals_that_cannot_be_are_refused() {
    let node = offline(0);
    let create = |request: SessionRequest| node.create_session(request).wait().map(|session| session.id());
    let month = Duration::from_secs(30 * 24 * 3600);
    assert!(matches!(
        create(raw(2).expires_in(month + Duration::from_secs(60))),
        Err(Error::Proposal(ProposalError::Expiry { .. }))
    ));
    assert!(matches!(
        create(raw(2).expires_in(Duration::ZERO)),
        Err(Error::Proposal(ProposalError::Expiry { .. }))
    ));
    assert_eq!(
        create(SessionRequest::messages(vec![key(1), key(2)], vec![message(1)])),
        Err(Error::Proposal(ProposalError::NotASigner))
    );
    assert!(matches!(
        create(SessionRequest::messages(vec![key(0), key(1), key(1)], vec![message(1)])),
        Err(Error::Proposal(ProposalError::DuplicateKey { first: 1, second: 2 }))
    ));
    assert!(matches!(
        create(SessionRequest::messages(keys(2), [] as [[u8; 32]; 0])),
        Err(Error::Proposal(ProposalError::Limit { what: "messages", .. }))
    ));
    let hasty = FailoverPolicy { broadcast_timeout: Duration::from_millis(999), ..FailoverPolicy::default() };
    assert!(matches!(
        create(raw(2).failover(hasty)),
        Err(Error::Proposal(ProposalError::BroadcastTimeout { .. }))
    ));
    assert!(matches!(
        create(raw(2).metadata(vec![0; 4097])),
        Err(Error::Proposal(ProposalError::Limit { what: "bytes of metadata", .. }))
    ));
    assert!(node.sessions().wait().expect("runs").is_empty());
    assert_eq!(node.try_next_event(), Ok(None));
    node.stop().expect("stops");
}

#[test]
fn sessions_beyond_the_limit_are_refused_until_one_is_closed() {
    let node = builder(secret(0)).offline().max_sessions(1).start().expect("starts");
    let first = node.create_session(raw(2)).wait().expect("is created");
    assert!(matches!(node.create_session(raw(2)).wait(), Err(Error::Limit { limit: 1, .. })));
    first.close_session().wait().expect("closes");
    node.create_session(raw(2)).wait().expect("there is room");
    node.stop().expect("stops");
}

#[test]
fn consent_is_given_once_and_not_taken_back_by_a_refusal() {
    let nodes = [offline(0), offline(1), offline(2)];
    let id = nodes[0].create_session(raw(3)).wait().expect("is created").id();
    let bytes = nodes[0].session(id).export().wait().expect("is known");
    let imported = nodes[1].import(bytes.clone()).wait().expect("imports");
    assert_eq!(imported.iter().map(Session::id).collect::<Vec<_>>(), [id]);
    let session = proposed(&nodes[1]);
    assert_eq!(session.status().wait().expect("known").phase, Phase::Proposed);
    session.join().wait().expect("joins");
    session.join().wait().expect("a second time is the same");
    assert_eq!(state_of(session.decline("no").wait()), "joined");
    assert_eq!(session.status().wait().expect("known").accepted, [0, 1]);
    // The same again changes nothing, and tells nothing twice.
    while nodes[1].try_next_event().expect("runs").is_some() {}
    nodes[1].import(bytes.clone()).wait().expect("imports");
    assert_eq!(nodes[1].try_next_event(), Ok(None));

    // A refusal ends it for everybody.
    nodes[2].import(bytes).wait().expect("imports");
    let refused = proposed(&nodes[2]);
    let long = "x".repeat(257);
    assert!(matches!(refused.decline(long).wait(), Err(Error::Wire(WireError::TooLong { .. }))));
    refused.decline("not this one").wait().expect("declines");
    refused.decline("not this one").wait().expect("a second time is the same");
    assert_eq!(state_of(refused.join().wait()), "declined");
    carry(&nodes, id);
    for node in &nodes {
        let (by, reason, declined) = wait_for(node, "the refusal", |event| match &event.event {
            Event::SessionAborted { by, reason, declined, .. } => Some((*by, reason.clone(), *declined)),
            _ => None,
        });
        assert_eq!((by, reason.as_str(), declined), (2, "not this one", true));
        assert_eq!(node.session(id).status().wait().expect("known").phase, Phase::Declined);
        node.stop().expect("stops");
    }
}

#[test]
fn an_abort_ends_the_session_for_all_that_have_no_certificate() {
    let nodes = [offline(0), offline(1)];
    let session = nodes[0].create_session(raw(2)).wait().expect("is created");
    session.abort("changed my mind").wait().expect("aborts");
    assert_eq!(state_of(session.join().wait()), "aborted");
    carry(&nodes, session.id());
    wait_for(&nodes[1], "the abort", |event| match &event.event {
        Event::SessionAborted { by: 0, declined: false, may_still_complete: false, .. } => Some(()),
        _ => None,
    });
    assert_eq!(state_of(nodes[1].session(session.id()).join().wait()), "aborted");
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

/// Export and import alone: no network at all.
#[test]
fn a_session_without_any_network() {
    let nodes: Vec<Node> = (0..4).map(offline).collect();
    let session = nodes[2].create_session(raw(4)).wait().expect("is created");
    let id = session.id();
    assert!(matches!(nodes[0].add_peer("/ip4/127.0.0.1/tcp/1").wait(), Err(Error::Network(_))));
    assert!(nodes[0].listen_addresses().wait().expect("runs").is_empty());
    carry(&nodes, id);
    for node in nodes.iter().filter(|node| node.signer_key() != key(2)) {
        proposed(node).join().wait().expect("joins");
    }
    carry(&nodes, id);
    let mut all = Vec::new();
    for node in &nodes {
        wait_complete(node, id);
        all.push(node.session(id).final_signatures().wait().expect("known").expect("complete"));
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));

    // A complete session, in whole or without its certificate, changes nothing any more.
    let bytes = session.export().wait().expect("is known");
    assert_eq!(nodes[0].import(bytes.clone()).wait().expect("imports").len(), 1);
    // What is damaged, or none of this, is refused as a whole.
    assert!(matches!(nodes[0].import(vec![0xff; 40]).wait(), Err(Error::Wire(_))));
    assert!(matches!(nodes[0].import(bytes[..bytes.len() - 1].to_vec()).wait(), Err(Error::Wire(_))));
    let stranger = offline(9);
    assert!(matches!(stranger.import(bytes).wait(), Err(Error::Wire(_))));
    assert!(stranger.sessions().wait().expect("runs").is_empty());
    stranger.stop().expect("stops");
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

/// A store whose commits wait.
struct Stalling {
    inner: MemoryStore,
    stalls: Arc<(Mutex<bool>, Condvar)>,
}

impl Store for Stalling {
    fn load(&mut self) -> Result<Vec<Entry>, StoreError> {
        self.inner.load()
    }

    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError> {
        let stalls = self.stalls.0.lock().expect("nobody panics with it");
        drop(self.stalls.1.wait_while(stalls, |stalls| *stalls).expect("nobody panics with it"));
        self.inner.commit(changes, durability)
    }

    fn suspend(&mut self) -> Result<(), StoreError> {
        self.inner.suspend()
    }

    fn resume(&mut self) -> Result<(), StoreError> {
        self.inner.resume()
    }
}

/// What an export hands out can be seen by others, so it waits for the disk as a frame does.
#[test]
fn nothing_is_exported_before_it_is_on_the_disk() {
    let stalls = Arc::new((Mutex::new(false), Condvar::new()));
    let store = Stalling { inner: MemoryStore::new(), stalls: stalls.clone() };
    let nodes = [offline(0), builder(secret(1)).store(store).offline().start().expect("starts")];
    let id = nodes[0].create_session(raw(2)).wait().expect("is created").id();
    let bytes = nodes[0].session(id).export().wait().expect("is known");
    nodes[1].import(bytes).wait().expect("imports");
    let session = proposed(&nodes[1]);
    *stalls.0.lock().expect("nobody panics with it") = true;
    let joined = session.join();
    // Before it is made, an export holds no consent, and need not wait. It answers such questions meanwhile.
    wait_until("the consent is made", || session.status().wait().expect("known").accepted.contains(&1));
    let mut export = session.export();
    session.status().wait().expect("known");
    assert!(
        matches!(poll_once(&mut export), Poll::Pending),
        "consent left the node before it was on the disk"
    );
    *stalls.0.lock().expect("nobody panics with it") = false;
    stalls.1.notify_all();
    joined.wait().expect("joins");
    nodes[0].import(export.wait().expect("is known")).wait().expect("imports");
    carry(&nodes, id);
    nodes.iter().for_each(|node| wait_complete(node, id));
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

fn poll_once<T>(reply: &mut Reply<T>) -> Poll<Result<T, Error>> {
    Pin::new(reply).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn what_is_said_about_the_broadcast_early_late_and_twice() {
    let node = offline(0);
    let waiting = node.create_session(raw(2)).wait().expect("is created");
    assert_eq!(state_of(waiting.notify_broadcast_complete(None).wait()), "not complete");
    assert_eq!(state_of(waiting.report_broadcast_failed("no").wait()), "not complete");
    assert_eq!(state_of(waiting.broadcast_now().wait()), "not complete");
    assert_eq!(waiting.final_signatures().wait(), Ok(None));
    assert!(!waiting.is_current_coordinator().wait().expect("known"));

    let session = node.create_session(raw(1)).wait().expect("is created");
    wait_complete(&node, session.id());
    assert_eq!(state_of(session.abort("too late").wait()), "complete");
    assert_eq!(state_of(session.decline("too late").wait()), "joined");
    assert!(session.is_current_coordinator().wait().expect("known"));
    let long = "x".repeat(257);
    assert!(matches!(
        session.report_broadcast_failed(long).wait(),
        Err(Error::Wire(WireError::TooLong { .. }))
    ));
    session.report_broadcast_failed("no connection").wait().expect("sends a NACK");
    session.report_broadcast_failed("no connection").wait().expect("a second time is the same");
    session.broadcast_now().wait().expect("asks again");
    let txid = Txid([3; 32]);
    session.notify_broadcast_complete(Some(txid)).wait().expect("ends the watch");
    session.notify_broadcast_complete(None).wait().expect("twice");
    session.notify_broadcast_complete(Some(txid)).wait().expect("late");
    session.broadcast_now().wait().expect("nothing is left to do");
    let mut confirmed = Vec::new();
    while let Some(event) = node.try_next_event().expect("runs") {
        if let Event::BroadcastConfirmed { txid, depth, by, .. } = event.event {
            confirmed.push((txid, depth, by));
        }
    }
    assert_eq!(confirmed, [(Some(txid), None, BroadcastBy::Own)], "it is told once");
    let status = session.status().wait().expect("known");
    assert_eq!(status.phase, Phase::Final);
    node.stop().expect("stops");
}

#[test]
fn the_application_may_notify_inside_the_handler() {
    let slot: Arc<OnceLock<Node>> = Arc::default();
    let (own, (sender, results)) = (slot.clone(), channel());
    let node = builder(secret(0))
        .offline()
        .event_handler(move |event| {
            let Some(id) = event.session else { return Ok(()) };
            match &event.event {
                Event::ShouldBroadcast { .. } => {
                    let session = own.wait().session(id);
                    drop(sender.send(session.notify_broadcast_complete(None).wait().map(|()| "notified")));
                }
                Event::BroadcastConfirmed { .. } => drop(sender.send(Ok("confirmed"))),
                _ => {}
            }
            Ok(())
        })
        .start()
        .expect("starts");
    let _ = slot.set(node.clone());
    let session = node.create_session(raw(1)).wait().expect("is created");
    assert_eq!(results.recv_timeout(PATIENCE), Ok(Ok("notified")));
    assert_eq!(results.recv_timeout(PATIENCE), Ok(Ok("confirmed")));
    assert_eq!(session.status().wait().expect("known").phase, Phase::Final);
    node.stop().expect("stops");
    assert!(results.try_recv().is_err());
}

#[test]
fn a_closed_session_can_be_opened_again_and_never_begun_anew() {
    let nodes = [offline(0), offline(1)];
    let session = nodes[0].create_session(raw(2)).wait().expect("is created");
    session.close_session().wait().expect("closes");
    session.close_session().wait().expect("a second time is the same");
    wait_for(&nodes[0], "its end", |event| matches!(event.event, Event::SessionClosed).then_some(()));
    assert_eq!(session.status().wait().expect("a tombstone").phase, Phase::Closed);
    assert_eq!(state_of(session.notify_broadcast_complete(None).wait()), "closed");
    session.join().wait().expect("opens it again");
    carry(&nodes, session.id());
    proposed(&nodes[1]).join().wait().expect("joins");
    carry(&nodes, session.id());
    wait_complete(&nodes[0], session.id());

    session.abandon_session().wait().expect("closes");
    carry(&nodes, session.id());
    assert_eq!(session.status().wait().expect("a tombstone").phase, Phase::Closed);
    session.join().wait().expect("opens it again");
    assert_eq!(session.status().wait().expect("known").phase, Phase::Watching);
    assert!(session.final_signatures().wait().expect("known").is_some());
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

#[test]
fn close_while_watching_is_refused_and_abandoning_takes_no_turn() {
    let nodes = [offline(0), offline(1)];
    let session = nodes[0].create_session(raw(2)).wait().expect("is created");
    carry(&nodes, session.id());
    let other = proposed(&nodes[1]);
    other.join().wait().expect("joins");
    carry(&nodes, session.id());
    for session in [&session, &other] {
        let id = session.id();
        assert_eq!(session.close_session().wait(), Err(Error::NotSettled { session: id, complete: true }));
        assert_eq!(session.status().wait().expect("known").phase, Phase::Watching);
    }
    session.abandon_session().wait().expect("is given up");
    session.close_session().wait().expect("it is closed");
    assert_eq!(session.status().wait().expect("a tombstone").phase, Phase::Closed);
    assert!(!session.is_current_coordinator().wait().expect("known"));
    session.broadcast_now().wait().expect("another word");
    assert_eq!(session.status().wait().expect("known").phase, Phase::Watching);
    // Without an observer the application is the one who says that it is broadcast.
    other.notify_broadcast_complete(None).wait().expect("is complete");
    other.close_session().wait().expect("it is settled");
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

#[test]
fn a_late_certificate_of_an_abandoned_session_is_told_once() {
    let nodes = [offline(0), offline(1)];
    let session = nodes[0].create_session(raw(2)).wait().expect("is created");
    let export = session.export().wait().expect("is known");
    nodes[1].import(export).wait().expect("is a good export");
    let other = proposed(&nodes[1]);
    other.join().wait().expect("joins");
    let theirs = other.export().wait().expect("is known");
    nodes[0].import(theirs).wait().expect("is a good export");
    // Both made their nonces; the first has those of the second, and its partial signature is out.
    wait_until("it signed", || session.status().wait().expect("known").partial_sent);
    let mine = session.export().wait().expect("is known");
    assert_eq!(
        session.close_session().wait(),
        Err(Error::NotSettled { session: session.id(), complete: false })
    );
    session.abandon_session().wait().expect("is given up");
    nodes[1].import(mine).wait().expect("is a good export");
    wait_complete(&nodes[1], session.id());
    let certificate = other.export().wait().expect("is known");
    nodes[0].import(certificate).wait().expect("is a good export");
    let aborted_here = wait_for(&nodes[0], "the signatures", |event| match event.event {
        Event::SessionComplete { aborted_here, .. } => Some(aborted_here),
        _ => None,
    });
    assert!(aborted_here);
    assert_eq!(session.status().wait().expect("known").phase, Phase::Closed);
    assert!(session.final_signatures().wait().expect("known").is_some());
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

#[test]
fn events_have_one_consumer() {
    let node = offline(0);
    let pending = node.next_event();
    assert_eq!(node.next_event().wait(), Err(Error::ConsumerExists));
    assert_eq!(node.try_next_event(), Err(Error::ConsumerExists));
    drop(pending);
    // What nobody waits for any more is lost for nobody.
    let pending = node.next_event();
    drop(pending);
    node.create_session(raw(1)).wait().expect("is created");
    let first = node.next_event().wait().expect("runs");
    assert_eq!(first.event, Event::SessionCreated);
    node.return_event(first.clone());
    assert_eq!(node.next_event().wait(), Ok(first));
    node.stop().expect("stops");

    let with_handler = builder(secret(0)).offline().event_handler(|_| Ok(())).start().expect("starts");
    assert_eq!(with_handler.next_event().wait(), Err(Error::ConsumerExists));
    assert_eq!(with_handler.try_next_event(), Err(Error::ConsumerExists));
    with_handler.stop().expect("stops");
}

#[test]
fn stop_inside_a_handler_is_refused_and_the_requesting_form_works() {
    let slot: Arc<OnceLock<Node>> = Arc::default();
    let (own, (sender, results)) = (slot.clone(), channel());
    let node = builder(secret(0))
        .offline()
        .event_handler(move |_| {
            let node = own.wait();
            drop(sender.send(node.stop()));
            node.request_stop();
            Ok(())
        })
        .start()
        .expect("starts");
    let _ = slot.set(node.clone());
    let _ = node.create_session(raw(1)).wait();
    assert_eq!(results.recv_timeout(PATIENCE), Ok(Err(Error::WouldDeadlock)));
    wait_until("it stopped", || node.metrics().wait().is_err());
    node.stop().expect("is stopped");
    drop(slot);
}

#[test]
fn after_a_stop_everything_says_so() {
    let node = offline(0);
    let session = node.create_session(raw(2)).wait().expect("is created");
    let pending = builder(secret(1)).offline().start().expect("starts");
    let waiting = pending.next_event();
    pending.stop().expect("stops");
    assert_eq!(waiting.wait(), Err(Error::NodeStopped));
    node.stop().expect("stops");
    node.stop().expect("a second time is the same");
    assert_eq!(session.join().wait(), Err(Error::NodeStopped));
    assert_eq!(session.status().wait(), Err(Error::NodeStopped));
    assert_eq!(session.export().wait(), Err(Error::NodeStopped));
    assert!(matches!(node.create_session(raw(2)).wait(), Err(Error::NodeStopped)));
    assert!(matches!(node.import(Vec::new()).wait(), Err(Error::NodeStopped)));
    assert_eq!(node.sessions().wait(), Err(Error::NodeStopped));
    assert_eq!(node.suspend().wait(), Err(Error::NodeStopped));
    assert_eq!(node.resume().wait(), Err(Error::NodeStopped));
    assert_eq!(node.redeliver().wait(), Err(Error::NodeStopped));
    assert_eq!(node.announce().wait(), Err(Error::NodeStopped));
    assert_eq!(node.next_event().wait(), Err(Error::NodeStopped));
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let config = |node: Result<Node, Error>| match node {
        Err(Error::Config(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let signer = || LocalSigner::new(secret(0)).expect("a key");
    assert!(config(node_builder().store(MemoryStore::new()).without_observer().start()).contains("signer"));
    assert!(config(node_builder().signer(signer()).without_observer().start()).contains("store"));
    let unobserved = node_builder().signer(signer()).store(MemoryStore::new());
    assert!(config(unobserved.start()).contains("observer"));
    let chain = Arc::new(crate::world::Direct(Arc::default()));
    assert!(config(builder(secret(0)).observer(chain).start()).contains("not both"));
    assert!(config(builder(secret(0)).listen("127.0.0.1:4001").start()).contains("multiaddress"));
    assert!(config(builder(secret(0)).peer("example.org").start()).contains("multiaddress"));
    let node = offline(0);
    assert!(matches!(node.add_peer("example.org").wait(), Err(Error::Config(_))));
    node.stop().expect("stops");
}

#[test]
fn one_node_at_a_time_has_the_file_and_a_suspended_one_lets_go_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("node.redb");
    let on_file =
        || node_builder().signer(LocalSigner::new(secret(0)).expect("a key")).offline().without_observer();
    let node = on_file().store_path(&path).start().expect("starts");
    let in_use = Error::Store(StoreError::InUse { path: path.display().to_string() });
    assert_eq!(on_file().store_path(&path).start().map(drop), Err(in_use));
    let id = node.create_session(raw(2)).wait().expect("is created").id();

    for _ in 0..3 {
        // What is asked for just before is done, or refused; never half.
        let last = node.create_session(raw(2));
        node.suspend().wait().expect("suspends");
        last.wait().expect("was asked for before");
        assert_eq!(node.session(id).join().wait(), Err(Error::Suspended));
        assert!(matches!(node.create_session(raw(2)).wait(), Err(Error::Suspended)));
        assert!(matches!(node.import(Vec::new()).wait(), Err(Error::Suspended)));
        {
            let mut store = RedbStore::open(&path).expect("the lock is released");
            assert!(!store.load().expect("loads").is_empty());
        }
        node.resume().wait().expect("resumes");
        assert!(matches!(RedbStore::open(&path).map(drop), Err(StoreError::InUse { .. })));
        node.session(id).join().wait().expect("works again");
    }
    while let Some(event) = node.try_next_event().expect("runs") {
        assert!(!matches!(event.event, Event::StoreFailed { .. }), "{event:?}");
    }
    node.suspend().wait().expect("suspends");
    node.stop().expect("a suspended node stops");
    let again = on_file().store_path(&path).start().expect("starts again");
    assert_eq!(again.sessions().wait().expect("runs").len(), 4);
    again.stop().expect("stops");
}

#[test]
fn a_locked_signer_is_an_error_and_the_session_goes_on_when_it_is_unlocked() {
    let signer = Arc::new(LocalSigner::new(secret(1)).expect("a key"));
    signer.lock();
    let locked = || Error::Signer(SignerError::Locked);
    let nodes = [
        offline(0),
        builder(secret(1)).shared_signer(signer.clone()).offline().start().expect("starts"),
        offline(2),
    ];
    // A request fails without a trace.
    assert_eq!(nodes[1].create_session(raw(3)).wait().map(|session| session.id()), Err(locked()));
    assert!(nodes[1].sessions().wait().expect("runs").is_empty());
    let id = nodes[0].create_session(raw(3)).wait().expect("is created").id();
    carry(&nodes, id);
    let session = proposed(&nodes[1]);
    assert_eq!(session.join().wait(), Err(locked()));
    assert_eq!(session.decline("no").wait(), Err(locked()));
    assert_eq!(session.status().wait().expect("known").phase, Phase::Proposed);
    signer.unlock(secret(1)).expect("the right secret");
    session.join().wait().expect("joins");

    // A round that needs the key says so, and is begun again by itself.
    signer.lock();
    proposed(&nodes[2]).join().wait().expect("joins");
    carry(&nodes, id);
    let refusal = wait_for(&nodes[1], "the signer's refusal", |event| match &event.event {
        Event::SignerFailed { error } => Some(error.clone()),
        _ => None,
    });
    assert_eq!(refusal, SignerError::Locked);
    assert_eq!(session.status().wait().expect("known").missing, [1]);
    signer.unlock(secret(1)).expect("the right secret");
    wait_until("it made its nonces", || {
        let missing = session.status().wait().expect("known").missing;
        missing != [1]
    });
    carry(&nodes, id);
    nodes.iter().for_each(|node| wait_complete(node, id));
    // It watches, relays and hands out without a key.
    signer.lock();
    session.broadcast_now().wait().expect("needs no key");
    assert!(session.final_signatures().wait().expect("known").is_some());
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

#[test]
fn a_node_with_a_locked_signer_is_found_once_it_announces_itself() {
    let signer = Arc::new(LocalSigner::new(secret(1)).expect("a key"));
    signer.lock();
    let nodes = [
        builder(secret(0)).start().expect("starts"),
        builder(secret(1)).shared_signer(signer.clone()).start().expect("starts"),
    ];
    nodes[1].add_peer(&address(&nodes[0])).wait().expect("an address");
    wait_for(&nodes[1], "the signer's refusal", |event| {
        matches!(event.event, Event::SignerFailed { error: SignerError::Locked }).then_some(())
    });
    let id = nodes[0].create_session(raw(2)).wait().expect("is created").id();
    signer.unlock(secret(1)).expect("the right secret");
    nodes[1].announce().wait().expect("runs");
    join_next(&nodes[1]);
    nodes.iter().for_each(|node| wait_complete(node, id));
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

#[test]
fn an_event_that_nobody_took_is_the_next_one() {
    let node = builder(secret(0)).offline().start().expect("starts");
    let waiting = node.next_event();
    node.create_session(SessionRequest::messages(keys(1), vec![message(1)])).wait().expect("is created");
    // The event is on its way to whoever waits, who gives up.
    drop(waiting);
    let first = node.next_event().wait().expect("the node runs");
    assert_eq!(first.event, Event::SessionCreated);
}

#[test]
fn max_connections_are_set_in_the_builder() {
    let crowded = builder(secret(0)).max_connections(1).max_connections_per_ip(1).start().expect("starts");
    let address = address(&crowded);
    // Neither is a signer of a session of it, and one comes too soon after the other.
    let others: Vec<Node> =
        (1..3).map(|index| builder(secret(index)).peer(&address).start().expect("starts")).collect();
    wait_until("one of them is turned away", || {
        let events =
            others.iter().flat_map(|node| std::iter::from_fn(|| node.try_next_event().ok().flatten()));
        events.into_iter().any(|event| matches!(event.event, Event::PeerUnreachable { .. }))
    });
    others.into_iter().chain([crowded]).for_each(|node| node.stop().expect("stops"));
}

#[test]
fn network_changed_replaces_the_connections_at_once() {
    let nodes: Vec<Node> = (0..2).map(|index| builder(secret(index)).start().expect("starts")).collect();
    connect(&nodes);
    let network = |node: &Node| node.metrics().wait().expect("runs").network;
    let before = network(&nodes[0]);
    nodes[0].network_changed().wait().expect("runs");
    wait_until("the old connection is closed", || {
        network(&nodes[0]).connections_closed > before.connections_closed
    });
    wait_until("they are connected again", || {
        nodes.iter().all(|node| node.connected_signers().wait().expect("runs").len() == 1)
    });
    assert!(network(&nodes[0]).connections_opened > before.connections_opened);
    nodes[0].suspend().wait().expect("commits");
    assert_eq!(nodes[0].network_changed().wait(), Err(Error::Suspended));
    nodes[0].resume().wait().expect("opens");
    nodes[0].network_changed().wait().expect("runs");
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}
