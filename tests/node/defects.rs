//! The defects of this library's predecessor, each as a test that names it. Where a whole file is about one, the test
//! here is the short form: `failover_processes`, `recovery`, `load`, `outsider`.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libmusig::event::Event;
use libmusig::node::{Node, Session, SessionRequest};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::{Body, Content, Envelope, NackKind, Proof, envelope_id};
use libmusig::protocol::proposal::FailoverPolicy;
use libmusig::protocol::status::Phase;
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::{Identity, LocalSigner};
use libmusig::store::memory::MemoryStore;
use libmusig::types::SessionId;

use crate::world::{Direct, Spend};
use test_support::backend::chain::Chain;
use test_support::nodes::*;

fn offline(n: usize) -> Vec<Node> {
    (0..n).map(|index| builder(secret(index)).offline().start().expect("starts")).collect()
}

fn raw(n: usize) -> SessionRequest {
    SessionRequest::messages(keys(n), vec![message(1)])
}

fn pass(from: &Node, to: &Node, id: SessionId) {
    let bytes = from.session(id).export().wait().expect("is known");
    to.import(bytes).wait().expect("imports");
}

/// Brings a session to its end by export and import: all consent.
fn complete(nodes: &[Node], session: &Session) {
    let id = session.id();
    for node in nodes {
        pass(&nodes[0], node, id);
        node.session(id).join().wait().expect("joins");
    }
    wait_until("all are holders", || {
        for from in nodes {
            nodes.iter().for_each(|to| pass(from, to, id));
        }
        let done = |node: &Node| node.session(id).final_signatures().wait().expect("known").is_some();
        nodes.iter().all(done)
    });
}

fn events(node: &Node) -> Vec<Event> {
    std::iter::from_fn(|| node.try_next_event().expect("runs")).map(|event| event.event).collect()
}

fn stop(nodes: &[Node]) {
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

/// What four signers are told, by index, when nobody broadcasts; `FirstSigner`, so by rank too.
static UNTIL_THE_ALARM: LazyLock<Vec<Vec<Event>>> = LazyLock::new(|| {
    let nodes = offline(4);
    let policy = FailoverPolicy { broadcast_timeout: Duration::from_secs(1), ..FailoverPolicy::default() };
    let request = raw(4).failover(policy).election_method(ElectionMethod::FirstSigner);
    let session = nodes[0].create_session(request).wait().expect("is created");
    complete(&nodes, &session);
    let told = nodes
        .iter()
        .map(|node| {
            let mut told = Vec::new();
            wait_until("it is alarmed", || {
                told.extend(events(node));
                told.iter().any(|event| matches!(event, Event::FailoverExhausted { .. }))
            });
            // Nothing more comes after the alarm: no turn is left to open, and the own request waits unanswered.
            let status = node.session(session.id()).status().wait().expect("known");
            let failover = status.failover.expect("is watched");
            assert_eq!((failover.turn, failover.until_next_turn), (3, None));
            told
        })
        .collect();
    stop(&nodes);
    told
});

#[test]
fn only_two_signers_ever_take_a_turn() {
    for (index, told) in UNTIL_THE_ALARM.iter().enumerate() {
        // It is asked again as long as it does not broadcast.
        let mut own: Vec<usize> = told
            .iter()
            .filter_map(|event| match event {
                Event::ShouldBroadcast { turn, signer, .. } => Some(*turn).filter(|_| *signer == index),
                _ => None,
            })
            .collect();
        own.dedup();
        assert_eq!(own, [index]);
    }
}

#[test]
fn index_zero_is_ignored() {
    let first = &UNTIL_THE_ALARM[0];
    assert!(first.iter().any(|event| matches!(event, Event::ShouldBroadcast { signer: 0, turn: 0, .. })));
    let failed_zero =
        |event: &Event| matches!(event, Event::CoordinatorFailed { failed, .. } if failed.contains(&0));
    for told in UNTIL_THE_ALARM.iter() {
        assert_eq!(told.iter().filter(|event| failed_zero(event)).count(), 1);
    }
}

#[test]
fn exhaustion_is_never_reported() {
    for told in UNTIL_THE_ALARM.iter() {
        let alarms = told.iter().filter(|event| matches!(event, Event::FailoverExhausted { turns: 4, .. }));
        assert_eq!(alarms.count(), 1);
    }
}

#[test]
fn coordinators_fail_in_cycles_for_ever() {
    for told in UNTIL_THE_ALARM.iter() {
        let failed: Vec<usize> = told
            .iter()
            .filter_map(|event| match event {
                Event::CoordinatorFailed { failed, .. } => Some(failed.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(failed, [0, 1, 2]);
    }
}

#[test]
fn backups_broadcast_after_a_confirmed_broadcast() {
    let chain = Arc::new(Chain::new());
    let nodes: Vec<Node> = (0..3)
        .map(|index| {
            let direct = Arc::new(Direct(chain.clone()));
            node_builder()
                .signer(LocalSigner::new(secret(index)).expect("a key"))
                .store(MemoryStore::new())
                .offline()
                .broadcaster(direct.clone())
                .observer(direct)
                .final_depth(1)
                .start()
                .expect("starts")
        })
        .collect();
    let policy = FailoverPolicy { broadcast_timeout: Duration::from_secs(2), ..FailoverPolicy::default() };
    let request = Spend::new(&chain, &keys(3)).request(keys(3)).failover(policy);
    let session = nodes[0]
        .create_session(request.election_method(ElectionMethod::FirstSigner))
        .wait()
        .expect("is created");
    complete(&nodes, &session);
    wait_until("it is submitted", || chain.mempool_size() == 1);
    chain.mine();
    for (index, node) in nodes.iter().enumerate() {
        wait_until("its watch ends", || {
            node.session(session.id()).status().wait().expect("known").phase == Phase::Final
        });
        let asked = events(node).iter().any(|event| matches!(event, Event::ShouldBroadcast { .. }));
        assert_eq!(asked, index == 0);
    }
    let submissions = chain.all_submissions().0;
    assert_eq!(submissions.values().map(|count| count.attempts).collect::<Vec<_>>(), [1]);
    stop(&nodes);
}

#[test]
fn a_restart_loses_everything() {
    let store = MemoryStore::new();
    let start = || builder(secret(0)).store(store.clone()).offline().start().expect("starts");
    let node = start();
    let waiting = node.create_session(raw(2)).wait().expect("is created").id();
    let complete = node.create_session(raw(1)).wait().expect("is created");
    wait_complete(&node, complete.id());
    let before = node.sessions().wait().expect("runs");
    let signatures = complete.final_signatures().wait();
    node.stop().expect("stops");
    let node = start();
    let after = node.sessions().wait().expect("runs");
    let short = |all: &[libmusig::protocol::status::SessionStatus]| {
        all.iter().map(|status| (status.session, status.phase, status.accepted.clone())).collect::<Vec<_>>()
    };
    assert_eq!(short(&before), short(&after));
    assert_eq!(node.session(complete.id()).final_signatures().wait(), signatures);
    assert_eq!(node.session(waiting).status().wait().expect("known").phase, Phase::Joined);
    node.stop().expect("stops");
}

#[test]
fn the_election_depends_on_the_order_of_the_signers() {
    let node = &offline(1)[0];
    let mut coordinators = Vec::new();
    for turned in 0..4 {
        let mut signers = keys(4);
        signers.rotate_left(turned);
        let request = SessionRequest::messages(signers.clone(), vec![message(1)]);
        let session = node.create_session(request).wait().expect("is created");
        coordinators.push(signers[session.election().wait().expect("known").coordinator]);
    }
    assert!(coordinators.windows(2).all(|pair| pair[0] == pair[1]));
    node.stop().expect("stops");
}

#[test]
fn the_election_can_be_ground() {
    // With a salt nobody's key decides: the same signers elect another one in other sessions.
    let node = &offline(1)[0];
    let mut elected = [0; 4];
    for _ in 0..64 {
        let request = raw(4).election_method(ElectionMethod::SessionSalted);
        let session = node.create_session(request).wait().expect("is created");
        elected[session.election().wait().expect("known").coordinator] += 1;
    }
    assert!(elected.iter().all(|count| *count > 0), "{elected:?}");
    node.stop().expect("stops");
}

#[test]
fn early_messages_are_lost_and_the_session_hangs() {
    let nodes = offline(3);
    let session = nodes[0].create_session(raw(3)).wait().expect("is created");
    let id = session.id();
    pass(&nodes[0], &nodes[1], id);
    nodes[1].session(id).join().wait().expect("joins");
    pass(&nodes[1], &nodes[0], id);
    // The third hears of it last, all at once, and in the reverse order.
    let bytes = nodes[0].session(id).export().wait().expect("is known");
    let mut export: pb::Frame = wire::decode(&bytes, "the export").expect("is canonical");
    export.envelopes.reverse();
    nodes[2].import(wire::encode(&export)).wait().expect("imports");
    nodes[2].session(id).join().wait().expect("joins");
    // From here on each is told once what is new.
    for (from, to) in [(2, 0), (2, 1), (0, 1), (1, 0), (0, 2), (1, 2), (2, 0), (2, 1), (0, 1), (1, 0)] {
        pass(&nodes[from], &nodes[to], id);
    }
    nodes.iter().for_each(|node| wait_complete(node, id));
    stop(&nodes);
}

#[test]
fn a_connection_is_dead_after_sixteen_sessions() {
    let nodes: Vec<Node> = (0..2).map(|i| builder(secret(i)).start().expect("starts")).collect();
    connect(&nodes);
    let opened = || nodes[0].metrics().wait().expect("runs").network.connections_opened;
    let before = opened();
    for _ in 0..20 {
        let session = nodes[0].create_session(raw(2)).wait().expect("is created");
        assert_eq!(join_next(&nodes[1]).id(), session.id());
        nodes.iter().for_each(|node| wait_complete(node, session.id()));
    }
    // Two that dial at once have two for a moment; none was opened for the sake of the sessions.
    assert!(opened() <= before + 1);
    stop(&nodes);
}

#[test]
fn none_of_eight_concurrent_sessions_finishes() {
    let nodes: Vec<Node> = (0..2).map(|i| builder(secret(i)).start().expect("starts")).collect();
    connect(&nodes);
    let sessions: Vec<Session> =
        (0..8).map(|_| nodes[0].create_session(raw(2)).wait().expect("is created")).collect();
    for _ in &sessions {
        join_next(&nodes[1]);
    }
    for session in &sessions {
        for node in &nodes {
            wait_until("it finishes", || {
                node.session(session.id()).final_signatures().wait().expect("known").is_some()
            });
        }
    }
    stop(&nodes);
}

#[test]
fn outsiders_abort_join_inject_and_forge_completions() {
    let nodes = offline(2);
    let session = nodes[0].create_session(raw(2)).wait().expect("is created");
    let id = session.id();
    let outsider = LocalSigner::new(secret(9)).expect("a key");
    let status = lasting_status(&session);
    let contents = [
        Content::Abort { reason: "stop".into() },
        Content::Decline { reason: "no".into() },
        Content::Accept,
        Content::Nonces { attempt: 0, nonces: vec![2; 66] },
        Content::Partial { attempt: 0, transcript: [1; 32], partials: vec![1; 32] },
        Content::Restart { ordinal: 1 },
        Content::Claim { txid: libmusig::types::Txid([9; 32]) },
        Content::Nack { kind: NackKind::Unreachable, reason: "no way".into() },
    ];
    for content in contents {
        // In the name of the other signer, and of somebody who is none.
        for signer in [1, 2] {
            let body = Body { session: id, signer, content: content.clone() };
            let signature = outsider.sign(&envelope_id(&body.encode()).0).expect("signs");
            let envelopes = vec![Envelope::new(body, signature).as_bytes().to_vec()];
            let frame = wire::encode(&pb::Frame { envelopes, ..pb::Frame::default() });
            assert!(nodes[0].import(frame).wait().is_err(), "{content:?} in the name of {signer}");
        }
    }
    let forged = pb::Certificate { session: id.0.to_vec(), signatures: vec![7; 64] };
    let frame = wire::encode(&pb::Frame { certificates: vec![forged], ..pb::Frame::default() });
    assert!(nodes[0].import(frame).wait().is_err());
    assert_eq!(lasting_status(&session), status);
    assert_eq!(session.final_signatures().wait(), Ok(None));
    complete(&nodes, &session);
    stop(&nodes);
}

#[test]
fn a_nonce_is_used_twice() {
    let store = MemoryStore::new();
    let start = || builder(secret(1)).store(store.clone()).offline().start().expect("starts");
    let (first, second) = (builder(secret(0)).offline().start().expect("starts"), start());
    let session = first.create_session(raw(2)).wait().expect("is created");
    let id = session.id();
    pass(&first, &second, id);
    second.session(id).join().wait().expect("joins");
    // Its nonces are made, and perhaps out. It loses them by the restart, and makes others.
    let before = second.session(id).export().wait().expect("is known");
    second.stop().expect("stops");
    let nodes = [first, start()];
    nodes[0].import(before.clone()).wait().expect("imports");
    complete(&nodes, &session);
    let exports = nodes.iter().map(|node| node.session(id).export().wait().expect("is known"));
    let envelopes: Vec<Envelope> = exports
        .chain([before])
        .map(|bytes| wire::decode::<pb::Frame>(&bytes, "the export").expect("is canonical"))
        .flat_map(|frame| frame.envelopes)
        .map(|bytes| Envelope::decode(&bytes).expect("decodes"))
        .collect();
    let own = |envelope: &&Envelope| {
        envelope.body().signer == 1 && matches!(envelope.content(), Content::Nonces { .. })
    };
    let own: std::collections::BTreeSet<_> = envelopes.iter().filter(own).map(Envelope::id).collect();
    assert_eq!(own.len(), 2, "those before the restart and those after it");
    let findings = crate::auditor::audit(envelopes);
    assert!(findings.partials >= 2, "{findings:?}");
    stop(&nodes);
}

#[test]
fn equivocation_blames_honest_signers() {
    let nodes = offline(3);
    let session = nodes[0].create_session(raw(3)).wait().expect("is created");
    let id = session.id();
    for node in &nodes[1..2] {
        pass(&nodes[0], node, id);
        node.session(id).join().wait().expect("joins");
    }
    // The third says one thing to the first and another to the second.
    let liar = LocalSigner::new(secret(2)).expect("a key");
    let say = |content: Content| {
        let body = Body { session: id, signer: 2, content };
        let signature = liar.sign(&envelope_id(&body.encode()).0).expect("signs");
        Envelope::new(body, signature).as_bytes().to_vec()
    };
    for (node, byte) in nodes.iter().zip([2, 3]) {
        let nonces = say(Content::Nonces { attempt: 0, nonces: vec![byte; 66] });
        let envelopes = vec![say(Content::Accept), nonces];
        let frame = wire::encode(&pb::Frame { envelopes, ..pb::Frame::default() });
        node.import(frame).wait().expect("imports");
    }
    pass(&nodes[0], &nodes[1], id);
    pass(&nodes[1], &nodes[0], id);
    for node in &nodes[..2] {
        let (culprits, proofs) = wait_for(node, "the failure", |event| match &event.event {
            Event::SessionFailed { culprits, proofs, .. } => Some((culprits.clone(), proofs.clone())),
            _ => None,
        });
        assert_eq!(culprits, [2]);
        for proof in proofs {
            let culprit = Proof::verify(&Musig2, &proof).expect("verifies from its bytes alone");
            assert_eq!((culprit.session, culprit.signer), (id, 2));
        }
    }
    stop(&nodes);
}

#[test]
fn completion_and_should_broadcast_come_twice() {
    let nodes = offline(3);
    let session = nodes[0].create_session(raw(3)).wait().expect("is created");
    complete(&nodes, &session);
    for node in &nodes {
        for _ in 0..3 {
            nodes.iter().for_each(|from| pass(from, node, session.id()));
        }
    }
    let mut asked = 0;
    for node in &nodes {
        let told = events(node);
        let complete = told.iter().filter(|event| matches!(event, Event::SessionComplete { .. }));
        assert_eq!(complete.count(), 1);
        asked += told.iter().filter(|event| matches!(event, Event::ShouldBroadcast { .. })).count();
    }
    assert_eq!(asked, 1);
    stop(&nodes);
}

#[test]
fn creating_a_session_again_destroys_the_running_one() {
    let nodes = offline(2);
    let session = nodes[0].create_session(raw(2)).wait().expect("is created");
    let first = session.export().wait().expect("is known");
    pass(&nodes[0], &nodes[1], session.id());
    nodes[1].session(session.id()).join().wait().expect("joins");
    pass(&nodes[1], &nodes[0], session.id());
    let status = lasting_status(&session);
    // The same request is another session; the same proposal again is no news.
    let again = nodes[0].create_session(raw(2)).wait().expect("is created");
    assert_ne!(again.id(), session.id());
    nodes[0].import(first).wait().expect("imports");
    assert_eq!(lasting_status(&session), status);
    complete(&nodes, &session);
    complete(&nodes, &again);
    stop(&nodes);
}

#[test]
fn one_signer_never_finishes() {
    let node = &offline(1)[0];
    let session = node.create_session(raw(1)).wait().expect("is created");
    wait_complete(node, session.id());
    node.stop().expect("stops");
}

#[test]
fn join_always_throws() {
    let nodes = offline(2);
    let session = nodes[0].create_session(raw(2)).wait().expect("is created");
    pass(&nodes[0], &nodes[1], session.id());
    for node in &nodes {
        node.session(session.id()).join().wait().expect("does not throw");
        node.session(session.id()).join().wait().expect("nor when it is said again");
    }
    stop(&nodes);
}

#[test]
fn stop_leaves_timers_running() {
    let chain = Arc::new(Direct(Arc::default()));
    let gone = Arc::downgrade(&chain);
    let handler = Arc::new(());
    let handled = Arc::downgrade(&handler);
    let node = node_builder()
        .signer(LocalSigner::new(secret(0)).expect("a key"))
        .store(MemoryStore::new())
        .broadcaster(chain.clone())
        .observer(chain)
        .listen("/ip4/127.0.0.1/tcp/0")
        .event_handler(move |_| {
            let _ = &handler;
            Ok(())
        })
        .start()
        .expect("starts");
    let policy = FailoverPolicy { broadcast_timeout: Duration::from_secs(1), ..FailoverPolicy::default() };
    let session = node.create_session(raw(1).failover(policy)).wait().expect("is created");
    wait_until("it is watched", || session.final_signatures().wait().expect("known").is_some());
    node.stop().expect("stops");
    drop((node, session));
    // Whatever could still call them would hold them.
    wait_until("the way to the chain is let go", || gone.strong_count() == 0);
    wait_until("the handler is let go", || handled.strong_count() == 0);
}
