//! Whom a node shows itself to, when somebody else has dialled it.

use std::time::Duration;

use libmusig::net::{NetCommand, NetEvent, NetworkConfig};
use test_support::figures::figure;

use crate::support::{Node, Outsider, Signer, config, raw_frame, write};

/// Settings of a node that shows itself only to who knows it.
fn hidden() -> NetworkConfig {
    NetworkConfig { hides: NetworkConfig::default().hides, ..config() }
}

/// A stranger that dialled a node.
async fn stranger(node: &mut Node) -> Node {
    let stranger = Node::new(config()).await;
    stranger.dial(node).await;
    node.connected_to(stranger.key()).await;
    stranger
}

/// The node does not show itself, for a while.
async fn hides(node: &Node, from: &mut Node) {
    tokio::time::timeout(Duration::from_millis(300), from.connected_to(node.key()))
        .await
        .expect_err("a stranger learns whose node it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_contact_shows_nothing_to_who_does_not_know_the_key() {
    let mut node = Node::new(hidden()).await;
    let mut stranger = stranger(&mut node).await;
    hides(&node, &mut stranger).await;
    stranger.net.command(NetCommand::Seek(vec![Signer::new().key()])).await;
    hides(&node, &mut stranger).await;
    // Whoever knows the key finds its node, on the same connection.
    stranger.net.command(NetCommand::Seek(vec![node.key()])).await;
    stranger.connected_to(node.key()).await;
    assert_eq!(stranger.net.counters().connections_opened, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_contact_with_a_signer_of_an_open_session_or_a_configured_peer_is_answered() {
    for configured in [false, true] {
        let mut node = Node::new(hidden()).await;
        let mut other = stranger(&mut node).await;
        let command = match configured {
            true => NetCommand::AddPeer(
                other.address.clone().with_p2p(other.peer()).expect("no peer id is in it"),
            ),
            false => NetCommand::Seek(vec![other.key()]),
        };
        node.net.command(command).await;
        other.connected_to(node.key()).await;
        assert!(node.send(other.key(), b"a frame") || configured);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_contact_with_a_signer_of_a_past_session_is_answered() {
    let mut node = Node::new(hidden()).await;
    let mut other = stranger(&mut node).await;
    node.net.command(NetCommand::Seek(vec![other.key()])).await;
    other.connected_to(node.key()).await;
    node.net.command(NetCommand::Seek(vec![])).await;
    // It comes back, and looks for nobody: each knows the other one's key.
    other.net.command(NetCommand::Reconnect).await;
    other.disconnected_from(node.key()).await;
    other.connected_to(node.key()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_contact_names_more_signers_than_one_message_holds() {
    let mut node = Node::new(hidden()).await;
    let mut other = stranger(&mut node).await;
    let many = (0..900).map(|_| Signer::new().key());
    other.net.command(NetCommand::Seek(many.chain([node.key()]).collect())).await;
    other.connected_to(node.key()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_contact_of_a_port_scan_is_a_version_and_nothing_else() {
    let mut node = Node::new(hidden()).await;
    let mut scan = Outsider::new();
    let mut stream = scan.open(&mut node).await;
    let presence = Signer::new().presence(scan.peer, vec![], 1);
    write(&mut stream, &raw_frame(0, &presence)).await;
    let mut said = vec![0; 8];
    said.extend(raw_frame(2, &1u32.to_be_bytes()));
    assert_eq!(scan.read(said.len()).await, said);
    tokio::time::timeout(Duration::from_millis(300), scan.read(1)).await.expect_err("nothing follows");
    figure(
        "network/first_contact::first_contact_of_a_port_scan_is_a_version_and_nothing_else",
        "a port scan that speaks the protocol, and presents a signer",
        "bytes that it gets, all of them the same for every node",
        said.len(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_contact_in_another_version_is_reported_and_ends() {
    let mut node = Node::new(hidden()).await;
    let mut newer = Outsider::new();
    let mut stream = newer.open(&mut node).await;
    let begin = |version: u32| raw_frame(2, &[&version.to_be_bytes()[..], b"whatever"].concat());
    write(&mut stream, &begin(7)).await;
    // It hears of the other version, too.
    let said = [vec![0; 8], raw_frame(2, &1u32.to_be_bytes())].concat();
    assert_eq!(newer.read(said.len()).await, said);
    newer.is_closed().await;
    assert_eq!(node.net.counters().violations, 0, "it is none");
    // One that is configured is reported to the application, too.
    let (mut a, b) = (Node::new(hidden()).await, newer);
    let address = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", b.peer);
    a.net.command(NetCommand::AddPeer(address.parse().unwrap())).await;
    let mut b = b;
    let mut stream = b.open(&mut a).await;
    write(&mut stream, &begin(7)).await;
    let cause = a
        .until(|event| match event {
            NetEvent::Unreachable { cause, .. } if cause.contains("version 7") => Some(cause),
            _ => None,
        })
        .await;
    assert!(cause.contains("this node 1"), "{cause}");
}
