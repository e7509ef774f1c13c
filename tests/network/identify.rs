//! What peers say of this node and of themselves by libp2p's identify protocol: messages without end, false addresses.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{AsyncWriteExt, StreamExt};
use libmusig::net::{Multiaddr, NetEvent, NetworkConfig, PeerId};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use tokio::sync::mpsc;

use crate::support::{DEADLINE, Node, config, pair};
use test_support::figures::figure;
use test_support::outsider::{self, IDENTIFY, IDENTIFY_PUSH, PROTOCOL, identify_message};

/// A peer that claims to see others under whatever address it likes.
struct Liar {
    peer: PeerId,
    /// Where it listens.
    address: Multiaddr,
    control: test_support::libp2p_stream::Control,
    claims: Arc<Mutex<Multiaddr>>,
    dial: mpsc::UnboundedSender<Multiaddr>,
    connected: mpsc::UnboundedReceiver<PeerId>,
    /// It answered what it was asked.
    answered: mpsc::UnboundedReceiver<()>,
    closed: mpsc::UnboundedReceiver<()>,
}

impl Liar {
    async fn new(claim: &str) -> Self {
        let (peer, mut swarm) = outsider::swarm();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        let mut control = swarm.behaviour().new_control();
        // Who does not speak the protocol of signers loses the connection. Nothing is read.
        let mut streams = control.accept(PROTOCOL).unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Some(stream) = streams.next().await {
                held.push(stream);
            }
        });
        let claims = Arc::new(Mutex::new(claim.parse::<Multiaddr>().unwrap()));
        let mut asked = control.clone().accept(IDENTIFY).unwrap();
        let claimed = claims.clone();
        let (answers, answered) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some((_, mut stream)) = asked.next().await {
                let message = identify_message(peer, &claimed.lock().unwrap().clone());
                let _ = stream.write_all(&message).await;
                let _ = stream.close().await;
                let _ = answers.send(());
            }
        });
        let (connections, connected) = mpsc::unbounded_channel();
        let (closings, closed) = mpsc::unbounded_channel();
        let (dial, mut dials) = mpsc::unbounded_channel::<Multiaddr>();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    address = dials.recv() => match address {
                        Some(address) => swarm.dial(address).unwrap(),
                        None => return,
                    },
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::ConnectionEstablished { peer_id, .. } => drop(connections.send(peer_id)),
                        SwarmEvent::ConnectionClosed { .. } => drop(closings.send(())),
                        _ => {}
                    }
                }
            }
        });
        Self { peer, address, control, claims, dial, connected, answered, closed }
    }

    /// As a bootstrap peer is configured.
    fn full_address(&self) -> Multiaddr {
        self.address.clone().with(Protocol::P2p(self.peer))
    }

    /// Waits until it is connected with a node, and was asked who it is: before that, nobody reads what it pushes.
    async fn is_connected(&mut self) -> PeerId {
        let both = async { (self.connected.recv().await, self.answered.recv().await) };
        let (peer, _) = tokio::time::timeout(DEADLINE, both).await.expect("in time");
        peer.expect("it runs")
    }

    /// Tells a connected node unasked that it is seen under this address; false if it is gone.
    async fn push(&mut self, node: PeerId, claim: &Multiaddr) -> bool {
        let Ok(mut stream) = self.control.open_stream(node, IDENTIFY_PUSH).await else { return false };
        let sent = stream.write_all(&identify_message(self.peer, claim)).await;
        sent.is_ok() && stream.close().await.is_ok()
    }
}

fn claim(number: u16) -> Multiaddr {
    format!("/ip4/198.51.100.{}/tcp/{}", number % 250 + 1, number + 1).parse().unwrap()
}

/// Takes the addresses that a node announces, for as long as it takes until they fit, or for a moment to show that they
/// never do.
async fn announces(node: &mut Node, fits: impl Fn(&[Multiaddr]) -> bool, patience: Duration) -> bool {
    let search = async {
        loop {
            if let NetEvent::Listening(addresses) = node.next().await
                && fits(&addresses)
            {
                return;
            }
        }
    };
    tokio::time::timeout(patience, search).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identify_push_without_end_is_a_violation() {
    let (a, mut honest) = pair(config(), config()).await;
    let mut liar = Liar::new("/ip4/198.51.100.1/tcp/1").await;
    liar.dial.send(a.address.clone()).unwrap();
    let node = liar.is_connected().await;
    let begin = Instant::now();
    let mut pushed = 0;
    while liar.closed.try_recv().is_err() {
        assert!(begin.elapsed() < DEADLINE && pushed < 2000, "{pushed} pushes were taken");
        if liar.push(node, &claim(pushed)).await {
            pushed += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(a.net.counters().violations, 1, "after {pushed} pushes");
    figure(
        "network/identify::identify_push_without_end_is_a_violation",
        "identify messages without end",
        "pushes that were sent before the connection was closed",
        pushed,
    );
    // Nobody else notices.
    assert!(a.send(honest.key(), b"on"));
    assert_eq!(honest.frame().await.1, b"on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identify_push_now_and_then_is_none() {
    let (mut a, honest) = pair(config(), config()).await;
    let mut liar = Liar::new("/ip4/198.51.100.1/tcp/1").await;
    liar.dial.send(a.address.clone()).unwrap();
    let node = liar.is_connected().await;
    for number in 0..4 {
        assert!(liar.push(node, &claim(number)).await);
    }
    // What it pushed has been read by then.
    for number in 0..20u32 {
        assert!(honest.send(a.key(), &number.to_be_bytes()));
        assert_eq!(a.frame().await.1, number.to_be_bytes());
    }
    assert_eq!(a.net.counters().violations, 0);
    assert!(liar.closed.try_recv().is_err());
}

/// A node with these servers.
async fn with_servers(servers: &[&Liar]) -> Node {
    let bootstrap_peers = servers.iter().map(|server| server.full_address()).collect();
    Node::new(NetworkConfig { bootstrap_peers, ..config() }).await
}

fn has_ip(addresses: &[Multiaddr], ip: &str) -> bool {
    addresses.iter().any(|address| address.iter().next() == Some(Protocol::Ip4(ip.parse().unwrap())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn false_addresses_take_no_place_of_the_own_ones() {
    // The only server of a node is believed, and lies: its last word counts, behind all that the node knows itself.
    let mut server = Liar::new("/ip4/198.51.100.77/tcp/9").await;
    let mut node = with_servers(&[&server]).await;
    let own = node.address.clone();
    let peer = server.is_connected().await;
    assert!(announces(&mut node, |addresses| has_ip(addresses, "198.51.100.77"), DEADLINE).await);
    for number in 0..4 {
        assert!(server.push(peer, &claim(number)).await);
    }
    let mut most = 0;
    let search = async {
        loop {
            if let NetEvent::Listening(addresses) = node.next().await {
                assert_eq!(addresses[0], own, "{addresses:?}");
                most = most.max(addresses.len());
                if has_ip(&addresses, "198.51.100.4") {
                    break;
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, search).await.expect("its last word is announced");
    assert_eq!(most, 2, "the own address and the one that is claimed");
    figure(
        "network/identify::false_addresses_take_no_place_of_the_own_ones",
        "false addresses, one after the other, from the only server that a node has",
        "own addresses that are announced, in front; false ones at once",
        "1; 1",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn false_addresses_of_one_server_of_two_are_not_announced() {
    let (mut one, mut other) =
        (Liar::new("/ip4/198.51.100.1/tcp/9").await, Liar::new("/ip4/198.51.100.2/tcp/9").await);
    // Somebody who only connects claims the same as one of them.
    let mut stranger = Liar::new("/ip4/198.51.100.1/tcp/9").await;
    let mut node = with_servers(&[&one, &other]).await;
    let peer = one.is_connected().await;
    other.is_connected().await;
    stranger.dial.send(node.address.clone()).unwrap();
    stranger.is_connected().await;
    for _ in 0..2 {
        assert!(stranger.push(peer, &"/ip4/198.51.100.1/tcp/9".parse().unwrap()).await);
    }
    // Control: what both of them say.
    *other.claims.lock().unwrap() = "/ip4/198.51.100.3/tcp/9".parse().unwrap();
    for server in [&mut one, &mut other] {
        assert!(server.push(peer, &"/ip4/198.51.100.3/tcp/9".parse().unwrap()).await);
    }
    let agreed = announces(
        &mut node,
        |addresses| {
            assert!(!has_ip(addresses, "198.51.100.1") && !has_ip(addresses, "198.51.100.2"));
            has_ip(addresses, "198.51.100.3")
        },
        DEADLINE,
    );
    assert!(agreed.await, "what two servers say is announced");
    figure(
        "network/identify::false_addresses_of_one_server_of_two_are_not_announced",
        "false addresses from one of two servers, and from whoever connects",
        "of them announced",
        0,
    );
}
