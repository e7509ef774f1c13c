//! A start never fails for what the surroundings lack. It says so, and the rest works.

use libmusig::net::{Multiaddr, NetCommand, NetEvent, Network, NetworkConfig, generate_identity};

use crate::discovery::{full_address, knowing, serving};
use crate::support::{DEADLINE, Node, config, pair};

/// The first things that a node with these settings says do not work.
pub async fn degradations(settings: NetworkConfig, count: usize) -> Vec<String> {
    let runtime = tokio::runtime::Handle::current();
    let (_net, mut events) = Network::start(&runtime, settings, &generate_identity(), None).unwrap();
    let mut reports = Vec::new();
    while reports.len() < count {
        let event = tokio::time::timeout(DEADLINE, events.recv()).await.expect("in time");
        if let NetEvent::Degraded(text) = event.expect("it runs") {
            reports.push(text);
        }
    }
    reports
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_bootstrap_peers_hinder_nothing_else() {
    // A port on which nobody listens, and an address that leads nowhere.
    let nobody: Multiaddr =
        "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".parse().unwrap();
    let server = Node::new(serving()).await;
    let mut settings = knowing(&nobody);
    settings.bootstrap_peers.push(full_address(&server));
    let (mut a, b) = (Node::new(knowing(&nobody)).await, Node::new(settings).await);
    a.dial(&b).await;
    a.connected_to(b.key()).await;
    crate::discovery::published(&b, 1).await;
    assert!(a.net.counters().dial_failures > 0);
    assert_eq!(a.net.counters().publications, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_without_a_peer_id_are_reported_and_left_out() {
    let without_id: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let settings = NetworkConfig {
        bootstrap_peers: vec![without_id.clone()],
        relays: if cfg!(feature = "nat") { vec![without_id] } else { vec![] },
        ..config()
    };
    let reports = degradations(settings, if cfg!(feature = "nat") { 2 } else { 1 }).await;
    assert!(reports.iter().all(|text| text.contains("/p2p/")), "{reports:?}");
    assert!(reports.iter().any(|text| text.contains("bootstrap peer")), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_listens_nowhere_reaches_others() {
    let silent = NetworkConfig { listen: Vec::new(), ..config() };
    let runtime = tokio::runtime::Handle::current();
    let identity = generate_identity();
    let (net, mut events) = Network::start(&runtime, silent, &identity, None).unwrap();
    let first = tokio::time::timeout(DEADLINE, events.recv()).await.unwrap().unwrap();
    assert!(matches!(&first, NetEvent::Listening(addresses) if addresses.is_empty()), "{first:?}");
    let (mut b, _c) = pair(config(), config()).await;
    let signer = crate::support::Signer::new();
    net.command(NetCommand::SetPresence(signer.presence(net.local_peer_id(), vec![], 1))).await;
    net.command(NetCommand::AddPeer(b.address.clone())).await;
    b.connected_to(signer.key()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_listen_reports_it_and_announces_no_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let settings = NetworkConfig { listen: vec![address.parse().unwrap()], ..config() };
    let runtime = tokio::runtime::Handle::current();
    let identity = generate_identity();
    let (_net, mut events) = Network::start(&runtime, settings, &identity, None).unwrap();
    let (mut degraded, mut announced) = (false, false);
    while !(degraded && announced) {
        match tokio::time::timeout(DEADLINE, events.recv()).await.unwrap().unwrap() {
            NetEvent::Degraded(text) => degraded |= text.contains(&address),
            NetEvent::Listening(addresses) => announced |= addresses.is_empty(),
            _ => {}
        }
    }
}

#[test]
fn the_settings_for_phones_do_not_listen_and_ping_less() {
    let mobile = NetworkConfig::mobile();
    assert!(mobile.listen.is_empty() && !mobile.mdns);
    assert_eq!(mobile.dht, libmusig::net::DhtMode::Client);
    assert!(mobile.dead_after > mobile.ping_interval * 2);
}
