//! Signers that know each other's keys and one server, `examples/relay.rs` as a process: nobody is told an address.

use std::time::Duration;

use libmusig::event::Event;
use libmusig::node::{DhtMode, NetworkConfig, Node, SessionRequest};
use libmusig::store::Store;
use libmusig::store::redb::RedbStore;
use libmusig::store::schema::Key;

use test_support::nodes::*;
use test_support::relay::Server;

fn network(server: &Server) -> NetworkConfig {
    NetworkConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")],
        bootstrap_peers: vec![server.address.parse().expect("an address")],
        lookup_min: Duration::from_millis(50),
        lookup_max: Duration::from_millis(500),
        redial_max: Duration::from_millis(500),
        ..NetworkConfig::default()
    }
}

/// One proposes, all sign.
fn sign(nodes: &[Node]) {
    let request = SessionRequest::messages(keys(nodes.len()), vec![message(7)]);
    let session = nodes[0].create_session(request).wait().expect("is created");
    for node in &nodes[1..] {
        assert_eq!(join_next(node).id(), session.id());
    }
    for node in nodes {
        wait_complete(node, session.id());
    }
}

#[test]
fn signers_find_each_other_by_their_keys() {
    let server = Server::start();
    let start = |index| builder(secret(index)).network(network(&server)).start().expect("starts");
    sign(&(0..5).map(start).collect::<Vec<_>>());
}

#[test]
fn signers_that_cannot_be_dialled_sign_through_the_relay() {
    let server = Server::start();
    let behind = NetworkConfig { listen: Vec::new(), ..network(&server) };
    let start = |index| {
        let builder = builder(secret(index)).network(behind.clone()).relay(&server.address);
        builder.start().expect("starts")
    };
    let nodes: Vec<_> = (0..5).map(start).collect();
    sign(&nodes);
    for node in &nodes {
        let addresses = node.listen_addresses().wait().expect("runs");
        assert!(addresses.iter().all(|address| address.contains("/p2p-circuit")), "{addresses:?}");
        assert!(!addresses.is_empty());
        let metrics = node.metrics().wait().expect("runs").network;
        assert_eq!(metrics.holes_punched, 0);
    }
}

/// Keeps the kernel from giving the port of an address to anybody, unless another test has it by now: then no node here
/// gets it either. Nobody listens there.
fn occupy(address: &str) -> Option<tokio::net::TcpSocket> {
    let port = address.split('/').nth(4).expect("a TCP address").parse().expect("a port");
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("is an option");
    socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], port))).ok().map(|()| socket)
}

#[test]
fn signers_that_all_moved_find_each_other_again() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a directory");
    let start = |index: usize| {
        let store = folder.path().join(index.to_string());
        builder(secret(index)).store_path(store).network(network(&server)).start().expect("starts")
    };
    let nodes: Vec<_> = (0..3).map(start).collect();
    let request = SessionRequest::messages(keys(3), vec![message(7)]);
    let session = nodes[0].create_session(request).wait().expect("is created").id();
    for node in &nodes[1..] {
        wait_for(node, "the proposal", |event| {
            matches!(event.event, Event::SessionProposed { .. }).then_some(())
        });
    }
    let before: Vec<_> = nodes.iter().map(address).collect();
    // Each ends, and begins on another port: what they know of each other is out of date.
    for node in nodes {
        node.stop().expect("stops");
    }
    let _taken: Vec<_> = before.iter().map(|address| occupy(address)).collect();
    let nodes: Vec<_> = (0..3).map(start).collect();
    for (node, before) in nodes.iter().zip(&before) {
        assert_ne!(address(node), *before);
    }
    for node in &nodes[1..] {
        node.session(session).join().wait().expect("it is open");
    }
    for node in &nodes {
        wait_complete(node, session);
    }
}

#[test]
fn servers_are_named_with_their_peer_id() {
    let nameless = "/ip4/127.0.0.1/tcp/4001";
    for builder in [builder(secret(0)).bootstrap_peer(nameless), builder(secret(0)).relay(nameless)] {
        let error = builder.start().expect_err("who is there is not said").to_string();
        assert!(error.contains("/p2p/"), "{error}");
    }
    let wrong = builder(secret(0)).bootstrap_peer("nonsense").start().expect_err("is none").to_string();
    assert!(wrong.contains("multiaddress"), "{wrong}");
    builder(secret(0)).dht(DhtMode::Off).mdns(false).start().expect("starts");
}

#[test]
fn presences_on_the_disk_are_bounded() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("store");
    let start = |most| {
        let config = NetworkConfig {
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")],
            max_presences: most,
            ..NetworkConfig::default()
        };
        builder(secret(0)).store_path(&path).network(config).start().expect("starts")
    };
    let kept = || {
        let entries = RedbStore::open(&path).expect("opens").load().expect("is read");
        let presences = entries.iter().filter(|(key, _)| matches!(Key::decode(key), Some(Key::Presence(_))));
        presences.count()
    };
    let strangers = |node: &Node, indices: std::ops::Range<usize>| {
        for index in indices {
            let stranger = builder(secret(index)).start().expect("starts");
            stranger.add_peer(&address(node)).wait().expect("an address");
            wait_until("they are connected", || {
                node.connected_signers().wait().expect("runs").contains(&key(index))
            });
            stranger.stop().expect("stops");
            wait_until("it is gone", || node.connected_signers().wait().expect("runs").is_empty());
        }
    };
    let node = start(2);
    strangers(&node, 1..7);
    node.stop().expect("stops");
    assert_eq!(kept(), 2);

    // What another configuration, or an older version, left behind is forgotten at the start.
    let node = start(100);
    strangers(&node, 7..12);
    node.stop().expect("stops");
    assert_eq!(kept(), 7);
    wait_until("the rest is forgotten", || {
        let node = start(3);
        address(&node);
        node.stop().expect("stops");
        kept() == 3
    });
}
