//! Ports that are taken: one port is one node, and the report names the cause.

use std::time::Instant;

use libmusig::net::{Multiaddr, NetCommand, NetEvent, Network, NetworkConfig, PeerId, generate_identity};

use test_support::figures::figure;

use crate::support::{DEADLINE, Node, config};

/// A node that listens on one address, and what it reports first: its address, or why it has none.
async fn listening(
    address: &Multiaddr,
) -> (Network, tokio::sync::mpsc::Receiver<NetEvent>, Result<(), String>) {
    let runtime = tokio::runtime::Handle::current();
    let settings = NetworkConfig { listen: vec![address.clone()], ..config() };
    let (net, mut events) = Network::start(&runtime, settings, &generate_identity(), None).unwrap();
    let outcome = outcome(&mut events).await;
    (net, events, outcome)
}

/// The next report of an address, or of a failure.
async fn outcome(events: &mut tokio::sync::mpsc::Receiver<NetEvent>) -> Result<(), String> {
    loop {
        match tokio::time::timeout(DEADLINE, events.recv()).await.expect("in time").expect("it runs") {
            NetEvent::Listening(addresses) if !addresses.is_empty() => return Ok(()),
            NetEvent::Degraded(text) => return Err(text),
            _ => {}
        }
    }
}

/// The failure must name address and cause, for people.
fn is_named(failure: &str, address: &Multiaddr) {
    assert!(failure.contains(&address.to_string()), "{failure}");
    assert!(failure.contains("in use"), "{failure}");
    assert!(
        !failure.contains("()") && !failure.contains("::") && !failure.contains(['{', '\n']),
        "{failure}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_taken_by_another_node_is_reported_and_all_connections_are_the_first_ones() {
    let first = Node::new(config()).await;
    let begin = Instant::now();
    let (second, mut events, outcome_of_second) = listening(&first.address).await;
    let took = begin.elapsed();
    is_named(&outcome_of_second.expect_err("the port is the first node's"), &first.address);

    // Whoever dials that port finds the first node, every time.
    for _ in 0..8 {
        let mut dialler = Node::new(config()).await;
        dialler.dial(&first).await;
        let found: PeerId = dialler
            .until(|event| match event {
                NetEvent::PeerConnected { peer } => Some(peer),
                _ => None,
            })
            .await;
        assert_eq!(found, first.peer());
    }

    figure(
        "network/ports::port_taken_by_another_node_is_reported_and_all_connections_are_the_first_ones",
        "another node on this node's port",
        "reported within; of 8 connections to the wrong node",
        format_args!("{} ms; 0", took.as_millis()),
    );

    // The port is the second node's once the first one has ended.
    first.stop().await;
    second.command(NetCommand::Reconnect).await;
    assert_eq!(outcome(&mut events).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_taken_by_another_program_is_reported_with_the_cause() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let (_net, _events, outcome) = listening(&address).await;
    is_named(&outcome.expect_err("the port is taken"), &address);

    // Another address of this machine with the same port is free.
    let free: Multiaddr = format!("/ip4/127.0.0.2/tcp/{port}").parse().unwrap();
    let (_net, _events, outcome) = listening(&free).await;
    assert_eq!(outcome, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_is_not_taken_by_the_other_addresses_of_the_node_itself() {
    let port = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let listen = ["/ip4/0.0.0.0", "/ip4/127.0.0.1", "/ip6/::"];
    let listen: Vec<Multiaddr> =
        listen.iter().map(|ip| format!("{ip}/tcp/{port}").parse().unwrap()).collect();
    let runtime = tokio::runtime::Handle::current();
    let settings = NetworkConfig { listen, ..config() };
    let (_net, mut events) = Network::start(&runtime, settings, &generate_identity(), None).unwrap();
    let (v4, v6): (Multiaddr, Multiaddr) = (
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap(),
        format!("/ip6/::1/tcp/{port}").parse().unwrap(),
    );
    loop {
        match tokio::time::timeout(DEADLINE, events.recv()).await.expect("in time").expect("it runs") {
            NetEvent::Degraded(text) => panic!("{text}"),
            NetEvent::Listening(addresses) if addresses.contains(&v4) && addresses.contains(&v6) => break,
            _ => {}
        }
    }
}
