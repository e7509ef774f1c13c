//! How late turns open: at their regular start, under attack, and after a NACK; and sessions under attack.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use libmusig::event::{Event, NodeEvent};
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::proposal::{FailoverPolicy, Message};
use libmusig::types::{SessionId, SignerKey};
use test_support::nodes::{builder, connect, secret};

use crate::flood::Flood;
use crate::harness::{Table, Target, digest, median, millis};

pub fn run(table: &mut Table) {
    lateness(table);
    flooded(table);
    nacks(table);
}

/// A node that joins everything.
fn joining(index: usize, handle: impl Fn(&Node, &NodeEvent) + Send + Sync + 'static) -> Node {
    let slot: Arc<OnceLock<Node>> = Arc::default();
    let own = slot.clone();
    let node = builder(secret(index))
        .event_handler(move |event| {
            if let (Event::SessionProposed { .. }, Some(id)) = (&event.event, event.session) {
                drop(own.wait().session(id).join());
            }
            handle(own.wait(), event);
            Ok(())
        })
        .start()
        .expect("starts");
    slot.get_or_init(|| node.clone());
    node
}

fn request(signers: &[SignerKey], number: u32, timeout: Duration) -> SessionRequest {
    let policy = FailoverPolicy { broadcast_timeout: timeout, ..FailoverPolicy::default() };
    SessionRequest::messages(signers.to_vec(), vec![Message::raw(digest(number.into()))])
        .election_method(ElectionMethod::FirstSigner)
        .failover(policy)
}

/// How late a turn opens at a node while outsiders attack it, and while they do not, by turns. The turn is the second
/// one, for the first coordinator has no broadcaster.
fn lateness(table: &mut Table) {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let (sender, opened) = channel();
    let turning = |index| {
        let sender: Sender<u64> = sender.clone();
        joining(index, move |_, event| {
            if let Event::ShouldBroadcast { turn: 1, next_turn_at: Some(next), .. } = event.event {
                let now = libmusig::platform::now().wall.0 + TIMEOUT.as_millis() as u64;
                let _ = sender.send(now.saturating_sub(next.0));
            }
        })
    };
    let nodes: Vec<Node> = (200..203).map(turning).collect();
    connect(&nodes);
    let signers: Vec<SignerKey> = nodes.iter().map(Node::signer_key).collect();
    let attacks = [Flood::of_proposals(&nodes[1]), Flood::of(&nodes[1], SessionId([1; 32]))];
    let (mut quiet, mut attacked) = (Vec::new(), Vec::new());
    let (rounds, sessions) = table.size.pick((2, 1), (4, 20), (12, 20));
    let mut number = 0;
    for round in 0..rounds {
        let on = round % 2 == 1;
        attacks.iter().for_each(|attack| attack.switch(on));
        for _ in 0..sessions {
            number += 1;
            drop(nodes[0].create_session(request(&signers, number, TIMEOUT)).wait().expect("is created"));
            std::thread::sleep(Duration::from_millis(30));
        }
        for _ in 0..sessions {
            let late = opened.recv_timeout(Duration::from_secs(30)).expect("it opens");
            if on { &mut attacked } else { &mut quiet }.push(late as f64);
        }
    }
    let refused = nodes[1].metrics().wait().expect("runs").refused.proposals;
    assert!(refused >= sessions as u64, "the attack does not come: {refused}");
    drop(attacks);
    nodes.iter().for_each(|node| node.stop().expect("stops"));
    let worst = |samples: &[f64]| samples.iter().copied().fold(0.0, f64::max);
    let (worst, calm) = (worst(&attacked), worst(&quiet));
    let what = "a turn's start to ShouldBroadcast in the handler, median";
    table.row("deadline_ms", what, median(&mut quiet), "ms", Target::AtMost(5.0));
    table.row("deadline_worst_ms", "the same, the worst", calm, "ms", Target::None);
    let what = "the same while two outsiders flood the node, the worst";
    table.row("turn_lateness_ms", what, worst, "ms", Target::AtMost(50.0));
}

/// The time of one session, while an outsider floods the node that proposes it and while it does not, by turns.
fn flooded(table: &mut Table) {
    let (sender, done) = channel();
    let signing = |index| {
        let sender = sender.clone();
        joining(index, move |_, event| {
            if let (Event::SessionComplete { .. }, Some(id)) = (&event.event, event.session) {
                let _ = sender.send(id);
            }
        })
    };
    let nodes: Vec<Node> = (205..210).map(signing).collect();
    connect(&nodes);
    let signers: Vec<SignerKey> = nodes.iter().map(Node::signer_key).collect();
    let mut number = 0;
    let mut session = || {
        number += 1;
        let start = Instant::now();
        let request = request(&signers, number, Duration::from_secs(300));
        let session = nodes[0].create_session(request).wait().expect("is created").id();
        for _ in &nodes {
            assert_eq!(done.recv_timeout(Duration::from_secs(30)), Ok(session), "one after the other");
        }
        (millis(start.elapsed()), session)
    };
    let refused = || nodes[0].metrics().wait().expect("runs").refused.strangers;
    let flood = Flood::of(&nodes[0], session().1);
    let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
    let (rounds, samples) = table.size.pick((2, 3), (6, 8), (20, 12));
    for round in 0..rounds {
        let on = round % 2 == 1;
        flood.switch(on);
        let before = refused();
        let deadline = Instant::now() + Duration::from_secs(30);
        while on && refused() < before + 100 {
            assert!(Instant::now() < deadline, "the flood does not come");
            std::thread::park_timeout(Duration::from_millis(2));
        }
        for sample in 0..samples {
            let elapsed = session().0;
            // What is left of the round before is over by then.
            if sample >= 2 {
                if on { &mut flooded } else { &mut quiet }.push(elapsed);
            }
        }
    }
    drop(flood);
    nodes.iter().for_each(|node| node.stop().expect("stops"));
    let what = "5 of 5 in one process, while an outsider floods the proposer; while it does not";
    let both = (median(&mut flooded), median(&mut quiet));
    table.against("flooded_ratio", what, both, "ms", Target::RatioAtMost(2.0));
}

/// From the application's word at the first coordinator that it cannot broadcast until the second one is asked.
fn nacks(table: &mut Table) {
    let (reported, begun) = channel();
    let (asked, ended) = channel();
    let first = joining(203, move |node, event| {
        if let (Event::ShouldBroadcast { turn: 0, .. }, Some(id)) = (&event.event, event.session) {
            let _ = reported.send((id, Instant::now()));
            drop(node.session(id).report_broadcast_failed("it is a measurement"));
        }
    });
    let second = joining(204, move |_, event| {
        if let (Event::ShouldBroadcast { turn: 1, .. }, Some(id)) = (&event.event, event.session) {
            let _ = asked.send((id, Instant::now()));
        }
    });
    let nodes = [first, second];
    connect(&nodes);
    let signers: Vec<SignerKey> = nodes.iter().map(Node::signer_key).collect();
    let mut samples = Vec::new();
    for number in 0..table.size.pick(1, 100, 500) {
        let request = request(&signers, number, Duration::from_secs(300));
        drop(nodes[0].create_session(request).wait().expect("is created"));
        let (id, start) = begun.recv_timeout(Duration::from_secs(30)).expect("its turn opens");
        let (of, end) = ended.recv_timeout(Duration::from_secs(30)).expect("the next one opens");
        assert_eq!(id, of, "one session after the other");
        // Who became a holder a moment later hears of it a moment later.
        samples.push(millis(end.saturating_duration_since(start)));
    }
    nodes.iter().for_each(|node| node.stop().expect("stops"));
    let what = "report_broadcast_failed at a coordinator to ShouldBroadcast at the next, loopback, median";
    table.row("nack_ms", what, median(&mut samples), "ms", Target::AtMost(2.0));
}
