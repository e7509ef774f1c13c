//! Nodes for tests, and an outsider that speaks libp2p but not by the rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libmusig::net::{
    Multiaddr, NetCommand, NetEvent, Network, NetworkConfig, PeerId, PresenceRecord, generate_identity,
    presence_digest, seal_presence,
};
use libmusig::types::{Signature, SignerKey};
#[cfg(feature = "discovery")]
use libp2p::StreamProtocol;
use libp2p::swarm::SwarmEvent;
use tokio::sync::mpsc;

pub use test_support::outsider::raw_frame;
use test_support::outsider::{self, PROTOCOL};

/// No condition takes longer than this.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub fn config() -> NetworkConfig {
    NetworkConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        frames_per_second: 1_000_000,
        strangers_frames_per_second: 1_000_000,
        redial_max: Duration::from_millis(500),
        // Most tests are of connections, and of nodes that know nothing but an address; tests/network/first_contact.rs has
        // the default.
        hides: false,
        ..NetworkConfig::default()
    }
}

/// Asks until the answer is yes.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A signer's key pair.
#[derive(Clone)]
pub struct Signer(secp256k1::Keypair);

static SIGNERS: AtomicU64 = AtomicU64::new(1);

impl Signer {
    pub fn new() -> Self {
        let mut secret = [1; 32];
        secret[..8].copy_from_slice(&SIGNERS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Self(secp256k1::Keypair::from_secret_key(&secp256k1::SecretKey::from_secret_bytes(secret).unwrap()))
    }

    pub fn key(&self) -> SignerKey {
        self.0.public_key().into()
    }

    pub fn presence(&self, peer: PeerId, addresses: Vec<Multiaddr>, sequence: u64) -> Vec<u8> {
        let record = PresenceRecord { signer: self.key(), peer, addresses, sequence }.encode();
        let signature = secp256k1::schnorr::sign_no_aux_rand(&presence_digest(&record), &self.0);
        seal_presence(record, &Signature(signature.to_byte_array()))
    }
}

pub struct Node {
    pub net: Network,
    pub events: mpsc::Receiver<NetEvent>,
    pub signer: Signer,
    pub identity: Vec<u8>,
    pub address: Multiaddr,
}

impl Node {
    pub async fn new(config: NetworkConfig) -> Self {
        Self::with(config, Signer::new(), generate_identity(), 1).await
    }

    /// Starts a node, waits until it listens, and sets its presence.
    pub async fn with(config: NetworkConfig, signer: Signer, identity: Vec<u8>, sequence: u64) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let (net, mut events) = Network::start(&runtime, config, &identity, None).unwrap();
        let address = loop {
            let event = tokio::time::timeout(DEADLINE, events.recv()).await.unwrap().unwrap();
            if let NetEvent::Listening(addresses) = event
                && let Some(address) = addresses.first()
            {
                break address.clone();
            }
        };
        let presence = signer.presence(net.local_peer_id(), vec![address.clone()], sequence);
        assert!(net.command(NetCommand::SetPresence(presence)).await);
        Self { net, events, signer, identity, address }
    }

    pub fn key(&self) -> SignerKey {
        self.signer.key()
    }

    pub fn peer(&self) -> PeerId {
        self.net.local_peer_id()
    }

    pub async fn dial(&self, other: &Node) {
        assert!(self.net.command(NetCommand::AddPeer(other.address.clone())).await);
    }

    pub async fn next(&mut self) -> NetEvent {
        let event = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        event.expect("an event within the deadline").expect("the network runs")
    }

    /// Takes events until one fits; the others are lost.
    pub async fn until<T>(&mut self, mut fits: impl FnMut(NetEvent) -> Option<T>) -> T {
        // Not each event has its time, but all: some come for ever.
        let search = async {
            loop {
                if let Some(found) = fits(self.next().await) {
                    return found;
                }
            }
        };
        tokio::time::timeout(DEADLINE, search).await.expect("the event within the deadline")
    }

    pub async fn connected_to(&mut self, key: SignerKey) {
        self.until(|event| {
            matches!(event, NetEvent::SignerConnected { key: other, .. } if other == key).then_some(())
        })
        .await;
    }

    pub async fn disconnected_from(&mut self, key: SignerKey) {
        self.until(|event| {
            matches!(event, NetEvent::SignerDisconnected { key: other } if other == key).then_some(())
        })
        .await;
    }

    pub async fn frame(&mut self) -> (SignerKey, Vec<u8>) {
        self.until(|event| match event {
            NetEvent::Frame { from, frame } => Some((from, frame.into_vec())),
            _ => None,
        })
        .await
    }

    pub fn send(&self, to: SignerKey, bytes: &[u8]) -> bool {
        self.net.send(&to, bytes.into())
    }

    /// Ends the node and waits until it has ended.
    pub async fn stop(mut self) -> (Signer, Vec<u8>, Multiaddr) {
        self.net.command(NetCommand::Shutdown).await;
        let end = async { while self.events.recv().await.is_some() {} };
        tokio::time::timeout(DEADLINE, end).await.expect("the network ends");
        (self.signer, self.identity, self.address)
    }

    pub fn open_connections(&self) -> u64 {
        let counters = self.net.counters();
        counters.connections_opened - counters.connections_closed
    }
}

/// Two connected nodes.
pub async fn pair(first: NetworkConfig, second: NetworkConfig) -> (Node, Node) {
    let (mut a, mut b) = (Node::new(first).await, Node::new(second).await);
    a.dial(&b).await;
    let (a_key, b_key) = (a.key(), b.key());
    tokio::join!(a.connected_to(b_key), b.connected_to(a_key));
    (a, b)
}

/// A raw peer. It accepts the node's streams, and reads or ignores them.
pub struct Outsider {
    pub peer: PeerId,
    control: test_support::libp2p_stream::Control,
    closed: mpsc::UnboundedReceiver<()>,
    failed: mpsc::UnboundedReceiver<()>,
    dial: mpsc::UnboundedSender<Multiaddr>,
    /// What came on the node's streams.
    received: mpsc::UnboundedReceiver<u8>,
}

impl Outsider {
    pub fn new() -> Self {
        let (peer, mut swarm) = outsider::swarm();
        let mut control = swarm.behaviour().new_control();
        let mut inbound = control.accept(PROTOCOL).unwrap();
        let (bytes, received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some((_, mut stream)) = inbound.next().await {
                let bytes = bytes.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        for byte in &buffer[..count] {
                            let _ = bytes.send(*byte);
                        }
                    }
                });
            }
        });
        let (closings, closed) = mpsc::unbounded_channel();
        let (failures, failed) = mpsc::unbounded_channel();
        let (dial, mut dials) = mpsc::unbounded_channel::<Multiaddr>();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    address = dials.recv() => match address {
                        Some(address) => swarm.dial(address).unwrap(),
                        None => return,
                    },
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::ConnectionClosed { .. } => drop(closings.send(())),
                        SwarmEvent::OutgoingConnectionError { .. } => drop(failures.send(())),
                        _ => {}
                    }
                }
            }
        });
        Self { peer, control, closed, failed, dial, received }
    }

    /// Connects to a node, opens a stream, and says that nothing came before it.
    pub async fn open(&mut self, node: &mut Node) -> libp2p::Stream {
        self.dial.send(node.address.clone()).unwrap();
        let peer = self.peer;
        node.until(|event| {
            matches!(event, NetEvent::PeerConnected { peer: other } if other == peer).then_some(())
        })
        .await;
        self.open_another(node).await.unwrap()
    }

    /// Opens another stream.
    pub async fn open_another(&mut self, node: &Node) -> Option<libp2p::Stream> {
        let mut stream = self.control.open_stream(node.peer(), PROTOCOL).await.ok()?;
        stream.write_all(&[0; 8]).await.ok()?;
        Some(stream)
    }

    /// Opens a stream of any protocol.
    #[cfg(feature = "discovery")]
    pub async fn open_protocol(&mut self, node: &Node, protocol: StreamProtocol) -> libp2p::Stream {
        self.control.open_stream(node.peer(), protocol).await.unwrap()
    }

    /// Opens another stream that begins with these bytes.
    pub async fn open_raw(&mut self, node: &Node, begin: &[u8]) -> libp2p::Stream {
        let mut stream = self.control.open_stream(node.peer(), PROTOCOL).await.unwrap();
        stream.write_all(begin).await.unwrap();
        stream
    }

    /// The next bytes of the node's stream.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let byte = tokio::time::timeout(DEADLINE, self.received.recv()).await;
            bytes.push(byte.expect("bytes within the deadline").expect("the stream lives"));
        }
        bytes
    }

    /// Only dials.
    pub fn dial(&self, node: &Node) {
        self.dial.send(node.address.clone()).unwrap();
    }

    /// Waits until the node has closed the connection.
    pub async fn is_closed(&mut self) {
        tokio::time::timeout(DEADLINE, self.closed.recv()).await.expect("the connection is closed");
    }

    /// Waits until a dial failed, or its connection was closed.
    pub async fn is_turned_away(&mut self) {
        let either = async {
            tokio::select! {
                _ = self.closed.recv() => {}
                _ = self.failed.recv() => {}
            }
        };
        tokio::time::timeout(DEADLINE, either).await.expect("the node turns it away");
    }
}

pub async fn write(stream: &mut libp2p::Stream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
}

pub fn shared(bytes: &[u8]) -> Arc<[u8]> {
    bytes.into()
}
