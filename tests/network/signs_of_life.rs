//! Empty frames, by which a signer is asked for a sign of life and gives it.

use std::time::{Duration, Instant};

use libmusig::net::{NetCommand, NetEvent, NetworkConfig};
use libmusig::types::SignerKey;

use crate::reconnect::{freezable_pair_with, freeze};
use crate::support::{DEADLINE, Node, Outsider, Signer, config, pair, raw_frame, write};

const INTERVAL: Duration = Duration::from_millis(200);
const QUESTION: u8 = 3;
const ANSWER: u8 = 4;

/// Nothing but signs of life moves.
fn quiet() -> NetworkConfig {
    NetworkConfig {
        ask_interval: INTERVAL,
        ping_interval: Duration::from_secs(600),
        dead_after: Duration::from_secs(600),
        ..config()
    }
}

async fn ask(node: &Node, signers: &[SignerKey]) {
    assert!(node.net.command(NetCommand::Ask(signers.to_vec())).await);
}

/// The first of these events, and what of it matters here.
async fn silent(node: &mut Node, key: SignerKey) -> Duration {
    node.until(|event| match event {
        NetEvent::SignerSilent { key: other, silence } => (other == key).then_some(silence),
        NetEvent::SignerDisconnected { .. } => panic!("the connection is left as it is"),
        _ => None,
    })
    .await
}

/// How often a node heard of a signer within this time, in which the signer is not silent.
async fn heard_within(node: &mut Node, time: Duration) -> usize {
    let (until, mut heard) = (tokio::time::Instant::now() + time, 0);
    while let Ok(event) = tokio::time::timeout_at(until, node.events.recv()).await {
        match event.expect("the network runs") {
            NetEvent::Heard { .. } => heard += 1,
            NetEvent::SignerSilent { silence, .. } => panic!("silent for {silence:?}"),
            _ => {}
        }
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_that_is_asked_answers_and_one_that_is_not_is_left_in_peace() {
    let (mut a, mut b) = pair(quiet(), quiet()).await;
    assert!(heard_within(&mut a, 10 * INTERVAL).await <= 1, "what came with the connection");
    ask(&a, &[b.key()]).await;
    // It is reported once a second.
    let heard = heard_within(&mut a, 20 * INTERVAL).await;
    assert!((3..=5).contains(&heard), "{heard}");
    assert!(heard_within(&mut b, 10 * INTERVAL).await > 0, "a question is a sign of life too");
    ask(&a, &[]).await;
    heard_within(&mut a, 2 * INTERVAL).await;
    assert_eq!(heard_within(&mut a, 10 * INTERVAL).await, 0, "asked no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_on_which_nothing_moves_makes_silent_and_is_kept() {
    let (mut a, b, switch) = freezable_pair_with(quiet()).await;
    ask(&a, &[b.key()]).await;
    assert!(heard_within(&mut a, 10 * INTERVAL).await > 0);
    let begin = Instant::now();
    freeze(&switch);
    let silence = silent(&mut a, b.key()).await;
    assert!(silence >= 3 * INTERVAL, "{silence:?}");
    assert!(begin.elapsed() >= 3 * INTERVAL && begin.elapsed() < DEADLINE / 3, "{:?}", begin.elapsed());
    // Once is enough.
    heard_within(&mut a, 10 * INTERVAL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_by_itself_spares_the_question() {
    // Both ask: each question is the other one's answer, and so half of them is spared.
    let (mut a, mut b) = pair(quiet(), quiet()).await;
    ask(&a, &[b.key()]).await;
    ask(&b, &[a.key()]).await;
    let (a_heard, b_heard) =
        tokio::join!(heard_within(&mut a, 15 * INTERVAL), heard_within(&mut b, 15 * INTERVAL));
    assert!(a_heard > 0 && b_heard > 0, "{a_heard} {b_heard}");
}

/// What a node writes after its presence, as kinds of empty frames, within a time.
async fn kinds(outsider: &mut Outsider, time: Duration) -> Vec<u8> {
    let (until, mut kinds) = (tokio::time::Instant::now() + time, Vec::new());
    while let Ok(frame) = tokio::time::timeout_at(until, outsider.read(5)).await {
        assert_eq!(frame[..4], [0; 4], "nothing but empty frames");
        kinds.push(frame[4]);
    }
    kinds
}

/// An outsider that presented a signer, and took what the node says at the beginning.
async fn presented(node: &mut Node) -> (Outsider, libp2p::Stream, SignerKey) {
    let (mut outsider, signer) = (Outsider::new(), Signer::new());
    let mut stream = outsider.open(node).await;
    write(&mut stream, &raw_frame(0, &signer.presence(outsider.peer, vec![], 1))).await;
    node.connected_to(signer.key()).await;
    let mut left = outsider.read(8).await.len();
    while left > 0 {
        let header = outsider.read(5).await;
        let length = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
        outsider.read(length).await;
        // The presence comes last.
        left = usize::from(header[4] != 0);
    }
    (outsider, stream, signer.key())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_node_asks_nobody_and_one_that_asks_does_so_once_for_all() {
    let mut node = Node::new(quiet()).await;
    let (mut outsider, mut stream, key) = presented(&mut node).await;
    let idle = kinds(&mut outsider, 5 * INTERVAL).await;
    assert!(idle.is_empty(), "{idle:?}");
    ask(&node, &[key, key]).await;
    let asked = kinds(&mut outsider, 5 * INTERVAL).await;
    assert!(asked.iter().all(|kind| *kind == QUESTION) && (2..=6).contains(&asked.len()), "{asked:?}");
    silent(&mut node, key).await;
    // It goes on asking, so that one answer is enough, and is not answered itself.
    write(&mut stream, &raw_frame(ANSWER, b"")).await;
    node.until(|event| matches!(event, NetEvent::Heard { key: other } if other == key).then_some(())).await;
    silent(&mut node, key).await;
    let asked = kinds(&mut outsider, 2 * INTERVAL).await;
    assert!(asked.iter().all(|kind| *kind == QUESTION), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_questions_costs_a_bounded_number_of_answers() {
    let mut node = Node::new(quiet()).await;
    let (mut outsider, mut stream, _) = presented(&mut node).await;
    let flood = raw_frame(QUESTION, b"").repeat(10_000);
    let begin = Instant::now();
    write(&mut stream, &flood).await;
    let answers = kinds(&mut outsider, Duration::from_secs(1)).await;
    assert!(answers.iter().all(|kind| *kind == ANSWER), "{answers:?}");
    // So many at once, and so many a second.
    let most = 128 + 32 * (begin.elapsed().as_secs() as usize + 1);
    assert!((1..=most).contains(&answers.len()), "{} of at most {most}", answers.len());
    assert!(node.net.counters().throttled > 0);
    assert_eq!(node.net.counters().frames_in, 0, "the application has nothing to do with it");
    let heard = heard_within(&mut node, INTERVAL).await;
    assert!(heard <= 3, "{heard}");
}
