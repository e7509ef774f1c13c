//! Signers are found in the distributed hash table by their keys alone. Its server is a node that is one, or (in
//! `relay.rs`) the relay as a process.

use std::time::Duration;

use libmusig::net::{DhtMode, Multiaddr, NetCommand, NetEvent, NetworkConfig};
use libp2p::multiaddr::Protocol;

use crate::support::{Node, config, eventually};

/// Where a node is entered as a bootstrap peer.
pub fn full_address(node: &Node) -> Multiaddr {
    node.address.clone().with(Protocol::P2p(node.peer()))
}

/// The settings of a node that knows this bootstrap peer.
pub fn knowing(bootstrap: &Multiaddr) -> NetworkConfig {
    NetworkConfig {
        bootstrap_peers: vec![bootstrap.clone()],
        lookup_min: Duration::from_millis(50),
        lookup_max: Duration::from_millis(500),
        ..config()
    }
}

pub fn serving() -> NetworkConfig {
    NetworkConfig { dht: DhtMode::Server, ..config() }
}

pub async fn published(node: &Node, times: u64) {
    eventually("it is published", || node.net.counters().publications >= times).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signers_that_know_one_bootstrap_address_find_each_other() {
    let server = Node::new(serving()).await;
    let bootstrap = full_address(&server);
    let mut a = Node::new(knowing(&bootstrap)).await;
    let mut b = Node::new(knowing(&bootstrap)).await;
    published(&b, 1).await;

    // Nobody is called upon who is not sought.
    assert_eq!((a.net.counters().lookups, b.net.counters().lookups), (0, 0));
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    let mut learnt = false;
    a.until(|event| match event {
        NetEvent::PresenceLearned { key, .. } => {
            learnt |= key == b.key();
            None
        }
        NetEvent::SignerConnected { key, .. } => (key == b.key()).then_some(()),
        _ => None,
    })
    .await;
    assert!(learnt, "what the hash table knows is reported, to be stored");
    b.connected_to(a.key()).await;
    assert!(a.send(b.key(), b"found"));
    assert_eq!(b.frame().await.1, b"found");
    assert!(a.net.counters().lookups_answered >= 1);

    // Once it is connected it is not looked up any more.
    let lookups = a.net.counters().lookups;
    let other = Node::new(knowing(&bootstrap)).await;
    other.net.command(NetCommand::Seek(vec![crate::support::Signer::new().key()])).await;
    eventually("another looks up in vain, meanwhile", || other.net.counters().lookups >= 5).await;
    assert_eq!(a.net.counters().lookups, lookups);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_that_is_published_later_is_found_then() {
    let server = Node::new(serving()).await;
    let bootstrap = full_address(&server);
    let mut a = Node::new(knowing(&bootstrap)).await;
    let signer = crate::support::Signer::new();
    a.net.command(NetCommand::Seek(vec![signer.key()])).await;
    eventually("it is not found", || a.net.counters().lookups >= 3).await;
    let b = Node::with(knowing(&bootstrap), signer, libmusig::net::generate_identity(), 1).await;
    a.connected_to(b.key()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_that_moved_is_found_again() {
    let server = Node::new(serving()).await;
    let bootstrap = full_address(&server);
    let mut a = Node::new(knowing(&bootstrap)).await;
    let b = Node::new(knowing(&bootstrap)).await;
    let key = b.key();
    published(&b, 1).await;
    a.net.command(NetCommand::Seek(vec![key])).await;
    a.connected_to(key).await;

    // It does not seek the other, and knows no address of it.
    let (signer, identity, before) = b.stop().await;
    a.disconnected_from(key).await;
    // Nobody listens there, and the kernel gives the port to nobody.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.set_reuseaddr(true).unwrap();
    let port = before.to_string().rsplit('/').next().unwrap().parse().unwrap();
    taken.bind(std::net::SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    let b = Node::with(knowing(&bootstrap), signer, identity, 2).await;
    assert_ne!(b.address, before);
    a.connected_to(key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hash_table_spans_its_servers() {
    // Each server knows the one before; the signers know the first and the last.
    let first = Node::new(serving()).await;
    let next = |before: &Node| NetworkConfig { dht: DhtMode::Server, ..knowing(&full_address(before)) };
    let second = Node::new(next(&first)).await;
    let third = Node::new(next(&second)).await;
    let mut a = Node::new(knowing(&full_address(&first))).await;
    let b = Node::new(knowing(&full_address(&third))).await;
    published(&b, 1).await;
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    a.connected_to(b.key()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_found_with_the_hash_table_off_and_nothing_published() {
    let server = Node::new(serving()).await;
    let bootstrap = full_address(&server);
    let off = || NetworkConfig { dht: DhtMode::Off, ..knowing(&bootstrap) };
    let (mut a, b) = (Node::new(off()).await, Node::new(off()).await);
    let reports = crate::degraded::degradations(off(), 1).await;
    assert!(reports[0].contains("bootstrap"), "{reports:?}");
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    tokio::time::timeout(Duration::from_millis(500), a.connected_to(b.key()))
        .await
        .expect_err("nobody says where it is");
    let (a, b) = (a.net.counters(), b.net.counters());
    assert_eq!((a.lookups, a.dials, b.publications, b.dials), (0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_opened_for_a_lookup_is_closed_again() {
    // The second server is a signer that nobody seeks, and becomes known by the first one alone.
    let first = Node::new(serving()).await;
    let second = Node::new(NetworkConfig { dht: DhtMode::Server, ..knowing(&full_address(&first)) }).await;
    let short = NetworkConfig {
        presence_timeout: Duration::from_millis(300),
        ping_interval: Duration::from_millis(250),
        lookup_max: Duration::from_secs(30),
        ..knowing(&full_address(&first))
    };
    let mut a = Node::new(short).await;
    a.connected_to(second.key()).await;
    a.disconnected_from(second.key()).await;
    eventually("the bootstrap peer is left", || a.open_connections() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presences_that_nobody_needs_are_evicted_and_reported() {
    let mut a = Node::new(NetworkConfig { max_presences: 3, ..config() }).await;
    let sought = Node::new(config()).await;
    a.net.command(NetCommand::Seek(vec![sought.key()])).await;
    let mut presences = vec![sought.signer.presence(sought.peer(), vec![sought.address.clone()], 1)];
    let strangers: Vec<_> = (0..5).map(|_| crate::support::Signer::new()).collect();
    presences
        .extend(strangers.iter().map(|signer| signer.presence(libmusig::net::PeerId::random(), vec![], 1)));
    a.net.command(NetCommand::LearnPresences(presences)).await;
    let mut forgotten = Vec::new();
    while forgotten.len() < 2 {
        forgotten.extend(
            a.until(|event| match event {
                NetEvent::PresencesForgotten { keys } => Some(keys),
                _ => None,
            })
            .await,
        );
    }
    assert_eq!(forgotten.len(), 2, "three strangers, and who is sought");
    assert!(!forgotten.contains(&sought.key()), "it is sought");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partners_presences_are_not_pushed_out_by_those_of_strangers() {
    let mut a = Node::new(NetworkConfig { max_presences: 3, ..config() }).await;
    let partner = Node::new(config()).await;
    let key = partner.key();
    a.net.command(NetCommand::Seek(vec![key])).await;
    a.dial(&partner).await;
    let mut known = (false, false);
    a.until(|event| {
        known.0 |= matches!(event, NetEvent::SignerConnected { key: other, .. } if other == key);
        known.1 |= matches!(event, NetEvent::PartnerKnown { key: other } if other == key);
        (known == (true, true)).then_some(())
    })
    .await;
    // Nothing is left to do with it, and it is gone.
    a.net.command(NetCommand::Seek(Vec::new())).await;
    partner.stop().await;
    a.disconnected_from(key).await;
    let strangers: Vec<_> = (0..40).map(|_| crate::support::Signer::new()).collect();
    let presence =
        |signer: &crate::support::Signer| signer.presence(libmusig::net::PeerId::random(), vec![], 1);
    a.net.command(NetCommand::LearnPresences(strangers.iter().map(presence).collect())).await;
    let mut forgotten = Vec::new();
    while forgotten.len() < 37 {
        forgotten.extend(
            a.until(|event| match event {
                NetEvent::PresencesForgotten { keys } => Some(keys),
                _ => None,
            })
            .await,
        );
    }
    assert!(!forgotten.contains(&key), "the presence of a partner is pushed out");
}

/// A place that somebody names, and that is not his.
async fn trap() -> (tokio::net::TcpListener, Multiaddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port());
    (listener, address.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_addresses_of_this_machine_are_not_dialled_for_others() {
    let runtime = tokio::runtime::Handle::current();
    let quiet = NetworkConfig { listen: Vec::new(), ..config() };
    let identity = libmusig::net::generate_identity();
    let (net, _events) = libmusig::net::Network::start(&runtime, quiet, &identity, None).unwrap();
    let ((named, address), (configured, of_configured)) = (trap().await, trap().await);
    let signer = crate::support::Signer::new();
    let presence = signer.presence(libmusig::net::PeerId::random(), vec![address], 1);
    net.command(NetCommand::LearnPresences(vec![presence])).await;
    net.command(NetCommand::Seek(vec![signer.key()])).await;
    // Configured ones are, and later than it would be.
    net.command(NetCommand::AddPeer(of_configured)).await;
    tokio::time::timeout(crate::support::DEADLINE, configured.accept()).await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_millis(200), named.accept())
        .await
        .expect_err("a port of this machine was dialled that somebody named");
}
