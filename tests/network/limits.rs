//! Slow receivers: queues are bounded, and nobody's memory grows.

use libmusig::net::{NetCommand, NetworkConfig};
use std::time::{Duration, Instant};

use futures::AsyncWriteExt;
use libmusig::protocol::limits;
use libp2p::Stream;

use crate::support::{DEADLINE, Node, Outsider, Signer, config, eventually, pair, raw_frame, write};

const MEGABYTE: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_application_makes_its_peers_wait_and_their_queues_are_bounded() {
    let sender = NetworkConfig { max_pending_bytes_per_peer: 4 * MEGABYTE, ..config() };
    let receiver = NetworkConfig { event_capacity: 4, ..config() };
    let (a, mut b) = pair(sender, receiver).await;

    // Nobody takes the events of `b`: after what is under way, sending fails, and goes on failing.
    let mut taken = 0u32;
    let mut refused_since = None;
    let begin = Instant::now();
    while refused_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(500)) {
        assert!(begin.elapsed() < crate::support::DEADLINE, "no end of room");
        let mut frame = vec![0; 100_000];
        frame[..4].copy_from_slice(&taken.to_be_bytes());
        if a.send(b.key(), &frame) {
            taken += 1;
            refused_since = None;
            // 4 MB wait here, and less than as much is in sockets, windows and events.
            assert!(taken < 200, "{taken} frames of 100 kB were taken");
        } else {
            refused_since.get_or_insert_with(Instant::now);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(b.net.counters().frames_in <= 5 + 1, "{}", b.net.counters().frames_in);
    assert!(a.net.counters().dropped > 0);

    // What was taken arrives, in order and whole, once `b` goes on; and then there is room again.
    for number in 0..taken {
        let (_, frame) = b.frame().await;
        assert_eq!(frame[..4], number.to_be_bytes());
    }
    assert!(a.send(b.key(), b"room again"));
    assert_eq!(b.frame().await.1, b"room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_frames_share_a_budget() {
    // Room for one frame of the largest size at a time: the least there can be.
    let receiver = NetworkConfig { max_received_bytes: 0, ..config() };
    let (a, mut b) = pair(config(), receiver).await;
    for _ in 0..3 {
        assert!(a.send(b.key(), &vec![1; 3 * MEGABYTE]));
    }
    let first = b
        .until(|event| match event {
            libmusig::net::NetEvent::Frame { frame, .. } => Some(frame),
            _ => None,
        })
        .await;
    assert_eq!(first.len(), 3 * MEGABYTE);
    tokio::time::timeout(Duration::from_millis(300), b.frame())
        .await
        .expect_err("the first one is still held");
    drop(first);
    assert_eq!(b.frame().await.1.len(), 3 * MEGABYTE);
    assert_eq!(b.frame().await.1.len(), 3 * MEGABYTE);
}

/// An outsider that began a frame of the largest size, and does not go on.
async fn slow(node: &mut Node, bytes: usize) -> (Outsider, Stream) {
    let mut outsider = Outsider::new();
    let mut stream = outsider.open(node).await;
    let mut begun = raw_frame(0, &Signer::new().presence(outsider.peer, vec![], 1));
    begun.extend((limits::FRAME as u32).to_be_bytes());
    begun.push(1);
    begun.resize(begun.len() + bytes, 0);
    write(&mut stream, &begun).await;
    (outsider, stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_announced_length_of_a_large_frame_takes_nothing_of_the_budget() {
    let receiver = NetworkConfig { max_received_bytes: 0, ..config() };
    let (a, mut b) = pair(config(), receiver).await;
    let mut slow_ones = Vec::new();
    for _ in 0..3 {
        slow_ones.push(slow(&mut b, 10_000).await);
    }
    assert!(a.send(b.key(), &vec![1; 3 * MEGABYTE]));
    assert_eq!(b.frame().await.1.len(), 3 * MEGABYTE);
    assert_eq!(b.net.counters().violations, 0, "they have time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_large_frame_is_dropped_when_others_wait() {
    // Alone it would have 68 s.
    let receiver = NetworkConfig { max_received_bytes: 0, frame_timeout: Duration::from_secs(4), ..config() };
    let (a, mut b) = pair(config(), receiver).await;
    let (mut outsider, mut stream) = slow(&mut b, 200_000).await;
    // It goes on, but too slowly.
    let drip = tokio::spawn(async move {
        while stream.write_all(&[0; 100]).await.is_ok() && stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // The first may still have come before it took the room. None waits for longer than a deadline.
    while b.net.counters().violations == 0 {
        assert!(a.send(b.key(), &vec![1; 3 * MEGABYTE]));
        assert_eq!(b.frame().await.1.len(), 3 * MEGABYTE);
    }
    outsider.is_closed().await;
    drip.await.expect("it ends with its connection");
    assert_eq!(b.net.counters().violations, 1);
}

/// How long 600 frames take, all of which arrive, in order.
async fn time_of_600(a: &Node, b: &mut Node) -> Duration {
    for number in 0..600u32 {
        assert!(a.send(b.key(), &number.to_be_bytes()));
    }
    let begin = Instant::now();
    for number in 0..600u32 {
        assert_eq!(b.frame().await.1, number.to_be_bytes());
    }
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_read_more_slowly_than_a_signer_of_an_open_session() {
    let receiver = NetworkConfig { strangers_frames_per_second: 100, ..config() };
    let (a, mut b) = pair(config(), receiver).await;
    // 100 at once, the rest at 100 a second.
    let took = time_of_600(&a, &mut b).await;
    assert!(took > Duration::from_secs(4), "{took:?}");
    assert!(b.net.command(NetCommand::Seek(vec![a.key()])).await);
    // Once that has been heard.
    let begin = Instant::now();
    while time_of_600(&a, &mut b).await > Duration::from_secs(1) {
        assert!(begin.elapsed() < DEADLINE, "it is read as slowly as before");
    }
    assert_eq!(b.net.counters().violations, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_peer_is_slowed_down_and_loses_nothing() {
    let slow = NetworkConfig { frames_per_second: 100, ..config() };
    let (mut a, mut b) = (Node::new(config()).await, Node::new(slow).await);
    b.dial(&a).await;
    a.connected_to(b.key()).await;
    b.connected_to(a.key()).await;
    // 400 at once, the rest at 100 a second.
    let took = time_of_600(&a, &mut b).await;
    assert!(took > Duration::from_millis(1500), "{took:?}");
    eventually("it was counted", || b.net.counters().throttled > 100).await;
    assert_eq!(b.net.counters().violations, 0);
}
