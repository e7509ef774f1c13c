//! The relay, as a process: signers that cannot be dialled, direct connections in its place, and its restart.

use std::time::{Duration, Instant};

use libmusig::net::{Multiaddr, NetCommand, NetEvent, NetworkConfig, generate_identity};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;

use crate::discovery::{knowing, published};
use crate::support::{Node, Signer};
use test_support::relay::Server;
use test_support::relay::program::rates::{Rates, Refused};

/// Settings of a node that only the relay leads to.
fn behind(relay: &Server) -> NetworkConfig {
    let address: Multiaddr = relay.address.parse().unwrap();
    NetworkConfig { listen: Vec::new(), relays: vec![address.clone()], ..knowing(&address) }
}

fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signers_behind_a_relay_find_and_reach_each_other() {
    let relay = Server::start();
    let (mut a, mut b) = (Node::new(behind(&relay)).await, Node::new(behind(&relay)).await);
    assert!(is_relayed(&a.address) && is_relayed(&b.address), "{} {}", a.address, b.address);
    published(&b, 1).await;
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    a.connected_to(b.key()).await;
    b.connected_to(a.key()).await;
    for number in 0..200u32 {
        assert!(a.send(b.key(), &number.to_be_bytes()));
        assert!(b.send(a.key(), &number.to_be_bytes()));
    }
    for number in 0..200u32 {
        assert_eq!(a.frame().await.1, number.to_be_bytes());
        assert_eq!(b.frame().await.1, number.to_be_bytes());
    }
    // A proposal of the largest size goes through as well.
    assert!(a.send(b.key(), &vec![7; 4 << 20]));
    assert_eq!(b.frame().await.1.len(), 4 << 20);
    assert_eq!((a.net.counters().holes_punched, b.net.counters().holes_punched), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_connection_takes_the_place_of_the_relayed_one() {
    let relay = Server::start();
    let here = || "/ip4/127.0.0.1/tcp/0".parse::<Multiaddr>().unwrap();
    let reachable = || NetworkConfig { listen: vec![here()], ..behind(&relay) };
    // Each waits for its place at the relay, and says nothing of the address at which it could be dialled.
    let runtime = tokio::runtime::Handle::current();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let (identity, signer) = (generate_identity(), Signer::new());
        let (net, mut events) =
            libmusig::net::Network::start(&runtime, reachable(), &identity, None).unwrap();
        let address = loop {
            let event = tokio::time::timeout(crate::support::DEADLINE, events.recv()).await.unwrap().unwrap();
            if let NetEvent::Listening(addresses) = event
                && let Some(relayed) = addresses.into_iter().find(is_relayed)
            {
                break relayed;
            }
        };
        let presence = signer.presence(net.local_peer_id(), vec![address.clone()], 1);
        net.command(NetCommand::SetPresence(presence)).await;
        nodes.push(Node { net, events, signer, identity, address });
    }
    let (mut b, mut a) = (nodes.pop().unwrap(), nodes.pop().unwrap());
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    a.connected_to(b.key()).await;
    b.connected_to(a.key()).await;
    let mut sent = 0u32;
    let mut pass = async |a: &Node, b: &mut Node| {
        assert!(a.send(b.key(), &sent.to_be_bytes()));
        assert_eq!(b.frame().await.1, sent.to_be_bytes());
        sent += 1;
    };
    // Nothing is lost meanwhile, and in the end one connection is left beside the one with the relay.
    let begin = std::time::Instant::now();
    while a.net.counters().holes_punched + b.net.counters().holes_punched == 0
        || a.open_connections() > 2
        || b.open_connections() > 2
    {
        assert!(begin.elapsed() < crate::support::DEADLINE, "no direct connection");
        pass(&a, &mut b).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(relay);
    // It does not need the relay any more.
    for _ in 0..20 {
        pass(&a, &mut b).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reservations_are_made_again_at_a_relay_that_was_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("identity").display().to_string();
    let relay = Server::with(&["--listen", "/ip4/127.0.0.1/tcp/0", "--identity", &identity]);
    let address: Multiaddr = relay.address.parse().unwrap();
    let mut a = Node::new(knowing(&address)).await;
    let mut b = Node::new(behind(&relay)).await;
    published(&b, 1).await;
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    a.connected_to(b.key()).await;

    let mut listen = address.clone();
    listen.pop();
    let again = relay.address.clone();
    drop(relay);
    a.disconnected_from(b.key()).await;
    b.until(|event| matches!(event, NetEvent::Listening(addresses) if addresses.is_empty()).then_some(()))
        .await;
    let relay = Server::with(&["--listen", &listen.to_string(), "--identity", &identity]);
    assert_eq!(relay.address, again, "it is the same one");
    b.until(|event| matches!(event, NetEvent::Listening(addresses) if !addresses.is_empty()).then_some(()))
        .await;
    a.connected_to(b.key()).await;
}

#[test]
fn one_address_connects_to_a_relay_at_a_rate_and_others_are_not_bound_by_it() {
    let (mut rates, now) = (Rates::new(100), Instant::now());
    let from = |ip: &str| format!("/ip{ip}/tcp/1").parse::<Multiaddr>().unwrap();
    let mut entered = 0..;
    let mut enter = |rates: &mut Rates, ip: &str, now| {
        let address = from(ip);
        rates.arrives(&address, now).inspect(|()| {
            rates.entered(ConnectionId::new_unchecked(entered.next().unwrap()), &address);
        })
    };
    for _ in 0..64 {
        assert_eq!(enter(&mut rates, "4/192.0.2.1", now), Ok(()));
    }
    assert_eq!(enter(&mut rates, "4/192.0.2.1", now), Err(Refused::TooFast));
    assert_eq!(enter(&mut rates, "6/::ffff:192.0.2.1", now), Err(Refused::TooFast), "the same");
    assert_eq!(enter(&mut rates, "4/192.0.2.2", now), Ok(()));
    // One more each second, up to so many.
    let later = now + Duration::from_secs(3600);
    for _ in 0..36 {
        assert_eq!(enter(&mut rates, "4/192.0.2.1", later), Ok(()));
    }
    assert_eq!(enter(&mut rates, "4/192.0.2.1", later), Err(Refused::TooMany));
    rates.left(ConnectionId::new_unchecked(0));
    assert_eq!(enter(&mut rates, "4/192.0.2.1", later), Ok(()));
    // All of a /64 are one; this machine has no limit, for what forwards to it does so for many.
    let of_one = (0..65).map(|host| enter(&mut rates, &format!("6/2001:db8:0:1::{host:x}"), now)).last();
    assert_eq!(of_one, Some(Err(Refused::TooFast)));
    assert!((0..1000).all(|_| enter(&mut rates, "4/127.0.0.1", now).is_ok()));
}
