//! Peers that break the protocol lose their connection, and nobody else notices.

use std::time::Duration;

use futures::AsyncWriteExt;
use libmusig::net::{NetEvent, NetworkConfig};
use libmusig::protocol::limits;

use crate::support::{DEADLINE, Node, Outsider, Signer, config, eventually, pair, raw_frame, write};

/// Sends bytes and expects to be thrown out for them, while an honest connection goes on.
async fn is_refused(bytes: impl FnOnce(&Outsider) -> Vec<u8>) {
    let (mut a, mut honest) = pair(config(), config()).await;
    let mut outsider = Outsider::new();
    let mut stream = outsider.open(&mut a).await;
    let bytes = bytes(&outsider);
    // The node may close before all of it is written.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.flush().await;
    outsider.is_closed().await;
    assert_eq!(a.net.counters().violations, 1);
    let peer = outsider.peer;
    a.until(|event| match event {
        NetEvent::Frame { .. } => panic!("a frame got through"),
        NetEvent::PeerDisconnected { peer: other } => (other == peer).then_some(()),
        _ => None,
    })
    .await;
    assert!(a.send(honest.key(), b"on") && honest.send(a.key(), b"on"));
    assert_eq!((a.frame().await.1, honest.frame().await.1), (b"on".to_vec(), b"on".to_vec()));
}

fn presence(outsider: &Outsider) -> Vec<u8> {
    raw_frame(0, &Signer::new().presence(outsider.peer, vec![], 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_above_the_limit_is_a_violation() {
    // Above the limit before a presence, though below the one after it.
    is_refused(|_| raw_frame(0, &vec![0; limits::PRESENCE + 1])).await;
    // The claim alone is refused; its bytes need not come.
    is_refused(|outsider| [presence(outsider), vec![0xff, 0xff, 0xff, 0xff, 1]].concat()).await;
    let above = (limits::FRAME as u32 + 1).to_be_bytes().to_vec();
    is_refused(|outsider| [presence(outsider), above, vec![1]].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_frame_are_a_violation() {
    is_refused(|_| b"GET / HTTP/1.1\r\n\r\n".to_vec()).await;
    is_refused(|outsider| [presence(outsider), raw_frame(5, b"unknown kind")].concat()).await;
    is_refused(|_| raw_frame(1, b"before the presence")).await;
    for sign_of_life in [3, 4] {
        is_refused(|_| raw_frame(sign_of_life, b"")).await;
        is_refused(|outsider| [presence(outsider), raw_frame(sign_of_life, b"is not empty")].concat()).await;
    }
    is_refused(|_| raw_frame(2, &[0, 0, 0, 1, 5])).await;
    is_refused(|_| [raw_frame(0, b""), raw_frame(1, b"after an empty presence")].concat()).await;
    is_refused(|_| [raw_frame(0, b""), raw_frame(0, b"")].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_presence_of_another_peer_or_signer_is_a_violation() {
    is_refused(|outsider| {
        let mut bytes = presence(outsider);
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    })
    .await;
    // A signed presence of somebody else, replayed.
    is_refused(|_| presence(&Outsider::new())).await;
    // Not canonical: an unknown field at the end.
    is_refused(|outsider| {
        let mut bytes = Signer::new().presence(outsider.peer, vec![], 1);
        bytes.extend_from_slice(&[0x78, 1]);
        raw_frame(0, &bytes)
    })
    .await;
    is_refused(|outsider| {
        let many = vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap(); limits::ADDRESSES + 1];
        raw_frame(0, &Signer::new().presence(outsider.peer, many, 1))
    })
    .await;
    // One peer speaks for one signer.
    is_refused(|outsider| [presence(outsider), presence(outsider)].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_frame_is_dropped() {
    let mut a = Node::new(config()).await;
    let mut outsider = Outsider::new();
    let signer = Signer::new();
    let mut stream = outsider.open(&mut a).await;
    let mut bytes = raw_frame(0, &signer.presence(outsider.peer, vec![], 1));
    bytes.extend(raw_frame(1, b"whole"));
    bytes.extend_from_slice(&raw_frame(1, b"truncated")[..8]);
    write(&mut stream, &bytes).await;
    assert_eq!(a.frame().await, (signer.key(), b"whole".to_vec()));
    stream.close().await.unwrap();

    // A new stream goes on as if nothing had been.
    let mut stream = outsider.open_another(&a).await.unwrap();
    let mut bytes = raw_frame(0, &signer.presence(outsider.peer, vec![], 1));
    bytes.extend(raw_frame(1, b"next"));
    write(&mut stream, &bytes).await;
    assert_eq!(a.frame().await, (signer.key(), b"next".to_vec()));
    assert_eq!(a.net.counters().violations, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_in_single_bytes_is_read_and_one_that_stops_is_not_waited_for() {
    let mut a = Node::new(NetworkConfig { frame_timeout: Duration::from_secs(1), ..config() }).await;
    let mut outsider = Outsider::new();
    let signer = Signer::new();
    let mut stream = outsider.open(&mut a).await;
    for byte in raw_frame(0, &signer.presence(outsider.peer, vec![], 1)) {
        write(&mut stream, &[byte]).await;
    }
    for byte in raw_frame(1, b"slow") {
        write(&mut stream, &[byte]).await;
    }
    assert_eq!(a.frame().await, (signer.key(), b"slow".to_vec()));
    // Between frames a stream may be silent for longer than the time of a frame.
    tokio::time::timeout(Duration::from_millis(1500), a.disconnected_from(signer.key())).await.unwrap_err();

    // A large claim costs no memory, and then time runs out.
    write(&mut stream, &[0, 0x03, 0xff, 0xff, 1, 0]).await;
    outsider.is_closed().await;
    assert_eq!(a.net.counters().violations, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_a_presence_is_disconnected() {
    let mut a = Node::new(NetworkConfig { presence_timeout: Duration::from_millis(300), ..config() }).await;
    let mut outsider = Outsider::new();
    let mut stream = outsider.open(&mut a).await;
    write(&mut stream, &raw_frame(0, b"")).await;
    outsider.is_closed().await;
    assert_eq!(a.net.counters().violations, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_opens_too_many_streams_is_disconnected() {
    let mut a = Node::new(config()).await;
    let mut outsider = Outsider::new();
    let mut streams = vec![outsider.open(&mut a).await];
    while let Some(stream) = outsider.open_another(&a).await {
        streams.push(stream);
        assert!(streams.len() < 10);
        if a.net.counters().violations > 0 {
            break;
        }
    }
    outsider.is_closed().await;
    assert_eq!(a.net.counters().violations, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_offenders_are_banned_for_a_while() {
    let ban_duration = Duration::from_secs(3);
    let mut a = Node::new(NetworkConfig { ban_after: 2, ban_duration, ..config() }).await;
    let mut outsider = Outsider::new();
    for _ in 0..2 {
        let mut stream = outsider.open(&mut a).await;
        write(&mut stream, &raw_frame(9, b"")).await;
        outsider.is_closed().await;
    }
    let counters = a.net.counters();
    assert_eq!((counters.violations, counters.bans), (2, 1));

    // A refused connection ends right after its handshake, without a stream.
    outsider.dial(&a);
    let peer = outsider.peer;
    outsider.is_turned_away().await;
    assert_eq!(a.net.counters().connections_opened, 2);

    // Others are not concerned, and the ban ends.
    let other = Node::new(config()).await;
    other.dial(&a).await;
    a.connected_to(other.key()).await;
    let back = tokio::time::timeout(DEADLINE, async {
        loop {
            outsider.dial(&a);
            let connected = a.until(|event| {
                matches!(event, NetEvent::PeerConnected { peer: who } if who == peer).then_some(())
            });
            if tokio::time::timeout(Duration::from_millis(300), connected).await.is_ok() {
                break;
            }
        }
    });
    back.await.expect("the ban ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inbound_connections_are_limited() {
    // One half is for others.
    let mut a = Node::new(NetworkConfig { max_connections: 6, ..config() }).await;
    let mut outsiders: Vec<_> = (0..5).map(|_| Outsider::new()).collect();
    let mut streams = Vec::new();
    for outsider in &mut outsiders[..3] {
        streams.push(outsider.open(&mut a).await);
    }
    for outsider in &mut outsiders[3..] {
        outsider.dial(&a);
        outsider.is_turned_away().await;
    }
    // This node's own dials are not counted.
    let other = Node::new(config()).await;
    a.dial(&other).await;
    a.connected_to(other.key()).await;
    eventually("four connections", || a.open_connections() == 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bytes_on_the_wire_are_as_documented() {
    let mut a = Node::new(config()).await;
    let mut outsider = Outsider::new();
    let signer = Signer::new();
    let mut stream = outsider.open(&mut a).await;
    write(&mut stream, &raw_frame(0, &signer.presence(outsider.peer, vec![], 1))).await;
    a.connected_to(signer.key()).await;
    assert!(a.send(signer.key(), b"frame"));

    let presence = a.signer.presence(a.peer(), vec![a.address.clone()], 1);
    let contact = raw_frame(2, &1u32.to_be_bytes());
    let frame = [vec![0, 0, 0, 5, 1], b"frame".to_vec()].concat();
    let expected = [vec![0; 8], contact, raw_frame(0, &presence), frame].concat();
    assert_eq!(outsider.read(expected.len()).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_waits_for_the_frames_of_earlier_streams_for_a_limited_time() {
    let mut a = Node::new(config()).await;
    let mut outsider = Outsider::new();
    let signer = Signer::new();
    let presence = raw_frame(0, &signer.presence(outsider.peer, vec![], 1));
    let mut old = outsider.open(&mut a).await;
    let mut new = outsider.open_raw(&a, &2u64.to_be_bytes()).await;
    write(&mut new, &[presence.clone(), raw_frame(1, b"third")].concat()).await;
    a.connected_to(signer.key()).await;
    write(&mut old, &[presence.clone(), raw_frame(1, b"first"), raw_frame(1, b"second")].concat()).await;
    for expected in ["first", "second", "third"] {
        assert_eq!(a.frame().await.1, expected.as_bytes());
    }

    old.close().await.unwrap();
    new.close().await.unwrap();
    let mut lonely = outsider.open_raw(&a, &9u64.to_be_bytes()).await;
    write(&mut lonely, &[presence, raw_frame(1, b"lonely")].concat()).await;
    assert_eq!(a.frame().await.1, b"lonely");
}
