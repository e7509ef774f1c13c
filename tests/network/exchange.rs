//! Frames and presences reach everybody, in order.

use std::collections::HashMap;

use libmusig::net::{NetCommand, NetError, NetEvent, Network, NetworkConfig, generate_identity};
use libmusig::protocol::limits;

use crate::support::{Node, Signer, config, eventually, pair, shared};

/// A frame that holds its number, of varying length.
fn numbered(number: u32) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(4 + (number as usize * 37) % 700, number as u8);
    if number % 500 == 499 {
        bytes.resize(50_000, 7);
    }
    bytes
}

async fn expect_numbers(node: &mut Node, count: u32) {
    for number in 0..count {
        let (_, frame) = node.frame().await;
        assert_eq!(frame, numbered(number), "frame {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_exchange_ten_thousand_frames_in_order() {
    let (mut a, mut b) = pair(config(), config()).await;
    let (a_key, b_key) = (a.key(), b.key());
    for number in 0..10_000 {
        assert!(a.send(b_key, &numbered(number)));
        assert!(b.send(a_key, &numbered(number)));
    }
    tokio::join!(expect_numbers(&mut a, 10_000), expect_numbers(&mut b, 10_000));

    let largest = vec![9; limits::FRAME];
    assert!(a.send(b_key, &largest));
    assert!(a.send(b_key, b"after"));
    assert_eq!(b.frame().await.1, largest);
    assert_eq!(b.frame().await, (a_key, b"after".to_vec()));
    assert!(!a.send(b_key, &vec![9; limits::FRAME + 1]));
    assert!(!a.send(Signer::new().key(), b"nobody"));
    assert_eq!(a.net.counters().frames_out, 10_002);
    assert_eq!(b.net.counters().frames_in, 10_002);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_exchange_ten_thousand_frames_in_order() {
    const EACH: u32 = 500;
    let mut nodes = Vec::new();
    for _ in 0..5 {
        let node = Node::new(config()).await;
        for other in &nodes {
            node.dial(other).await;
        }
        nodes.push(node);
    }
    let keys: Vec<_> = nodes.iter().map(Node::key).collect();
    let tasks: Vec<_> = nodes
        .into_iter()
        .map(|mut node| {
            let keys = keys.clone();
            tokio::spawn(async move {
                let own = node.key();
                let mut next: HashMap<_, u32> = HashMap::new();
                let mut received = 0;
                while received < EACH * 4 {
                    match node.next().await {
                        NetEvent::SignerConnected { key, .. } => {
                            for number in 0..EACH {
                                assert!(node.send(key, &numbered(number)));
                            }
                        }
                        NetEvent::Frame { from, frame } => {
                            let number = next.entry(from).or_default();
                            assert_eq!(frame[..], numbered(*number)[..]);
                            *number += 1;
                            received += 1;
                        }
                        NetEvent::SignerDisconnected { key } => panic!("lost {key}"),
                        _ => {}
                    }
                }
                assert_eq!(next.len(), 4);
                assert!(keys.iter().all(|key| *key == own || next[key] == EACH));
                node
            })
        })
        .collect();
    // All nodes live until the last one has everything.
    for node in futures::future::join_all(tasks).await {
        assert_eq!(node.unwrap().net.counters().dropped, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presences_are_learnt_and_replaced_by_what_their_node_says_later() {
    let (mut a, mut b) = (Node::new(config()).await, Node::new(config()).await);
    a.dial(&b).await;
    let learnt = |event| match event {
        NetEvent::PresenceLearned { key, bytes } => Some((key, bytes)),
        _ => None,
    };
    let first = b.signer.presence(b.peer(), vec![b.address.clone()], 1);
    assert_eq!(a.until(learnt).await, (b.key(), first));
    b.connected_to(a.key()).await;

    let second = b.signer.presence(b.peer(), vec![], 2);
    b.net.command(NetCommand::SetPresence(second.clone())).await;
    assert_eq!(a.until(learnt).await, (b.key(), second));
    // Its clock was ahead before: what it says itself counts.
    let lower = b.signer.presence(b.peer(), vec![], 0);
    b.net.command(NetCommand::SetPresence(lower.clone())).await;
    assert_eq!(a.until(learnt).await, (b.key(), lower));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_wait_for_the_presence_and_all_follow_it() {
    let runtime = tokio::runtime::Handle::current();
    let mut a = Node::new(config()).await;
    let (silent, mut events) = Network::start(
        &runtime,
        NetworkConfig { peers: vec![a.address.clone()], ..config() },
        &generate_identity(),
        None,
    )
    .unwrap();
    loop {
        if let NetEvent::SignerConnected { key, .. } = events.recv().await.unwrap() {
            assert_eq!(key, a.key());
            break;
        }
    }
    assert!(silent.send(&a.key(), shared(b"held back")));
    assert_eq!(a.net.counters().frames_in, 0);
    let signer = Signer::new();
    let presence = signer.presence(silent.local_peer_id(), vec![], 1);
    silent.command(NetCommand::SetPresence(presence)).await;
    assert_eq!(a.frame().await, (signer.key(), b"held back".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_nodes_of_one_signer_get_every_frame() {
    let signer = Signer::new();
    let mut a = Node::new(config()).await;
    let mut first = Node::with(config(), signer.clone(), generate_identity(), 1).await;
    let mut second = Node::with(config(), signer.clone(), generate_identity(), 1).await;
    a.dial(&first).await;
    a.dial(&second).await;
    first.connected_to(a.key()).await;
    second.connected_to(a.key()).await;
    let mut connected = 0;
    let mut learnt = 0;
    while learnt < 2 {
        match a.next().await {
            NetEvent::SignerConnected { key, .. } if key == signer.key() => connected += 1,
            NetEvent::PresenceLearned { .. } => learnt += 1,
            _ => {}
        }
    }
    assert_eq!(connected, 1);
    assert!(a.send(signer.key(), b"both"));
    assert_eq!(first.frame().await.1, b"both");
    assert_eq!(second.frame().await.1, b"both");

    let peer = first.peer();
    first.stop().await;
    a.until(|event| match event {
        NetEvent::SignerDisconnected { .. } => panic!("one is still there"),
        NetEvent::PeerDisconnected { peer: other } if other == peer => Some(()),
        _ => None,
    })
    .await;
    assert!(a.send(signer.key(), b"one"));
    assert_eq!(second.frame().await.1, b"one");
    second.stop().await;
    a.disconnected_from(signer.key()).await;
    assert!(!a.send(signer.key(), b"none"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_dials_end_in_one_connection_without_loss_or_order_broken() {
    for round in 0..50 {
        let (mut a, mut b) = (Node::new(config()).await, Node::new(config()).await);
        tokio::join!(a.dial(&b), b.dial(&a));
        let (a_key, b_key) = (a.key(), b.key());
        tokio::join!(a.connected_to(b_key), b.connected_to(a_key));
        for number in 0..200 {
            assert!(a.send(b_key, &numbered(number)), "round {round}");
            assert!(b.send(a_key, &numbered(number)), "round {round}");
            if number % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        tokio::join!(expect_numbers(&mut a, 200), expect_numbers(&mut b, 200));
        if round % 25 == 0 {
            eventually("one connection is left", || a.open_connections() == 1 && b.open_connections() == 1)
                .await;
        }
        assert!(a.send(b_key, b"last") && b.send(a_key, b"last"));
        assert_eq!((a.frame().await.1, b.frame().await.1), (b"last".to_vec(), b"last".to_vec()));
        assert_eq!((a.net.counters().violations, b.net.counters().violations), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_sent_before_a_shutdown_arrive() {
    let (a, mut b) = pair(config(), config()).await;
    for number in 0..1000 {
        assert!(a.send(b.key(), &numbered(number)));
    }
    a.net.command(NetCommand::Shutdown).await;
    // The end of the connection may be reported before the last frames.
    let (mut number, mut ended) = (0, false);
    while number < 1000 || !ended {
        match b.next().await {
            NetEvent::Frame { frame, .. } => {
                assert_eq!(frame[..], numbered(number)[..]);
                number += 1;
            }
            NetEvent::SignerDisconnected { key } => ended = key == a.key(),
            _ => {}
        }
    }
    assert!(!a.net.command(NetCommand::Seek(vec![])).await || !a.send(b.key(), b"too late"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_identity_is_an_error_and_a_bad_listen_address_is_not() {
    let runtime = tokio::runtime::Handle::current();
    let error = Network::start(&runtime, config(), b"not an identity", None).err();
    assert!(matches!(error, Some(NetError::Identity(_))), "{error:?}");

    let mut listen = config().listen;
    listen.push("/ip4/203.0.113.1/tcp/1".parse().unwrap());
    listen.push("/memory/7".parse().unwrap());
    let (_net, mut events) =
        Network::start(&runtime, NetworkConfig { listen, ..config() }, &generate_identity(), None).unwrap();
    let (mut degraded, mut listening) = (0, false);
    while degraded < 2 || !listening {
        match events.recv().await.unwrap() {
            NetEvent::Degraded(text) => {
                assert!(text.contains("listen"), "{text}");
                degraded += 1;
            }
            NetEvent::Listening(addresses) => listening = !addresses.is_empty(),
            _ => {}
        }
    }
}
