//! An outsider that sends as much as it can, of what has to be read and checked before it is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use libmusig::net::{Multiaddr, NetCommand, NetEvent, Network, NetworkConfig, generate_identity, peer_id};
use libmusig::node::Node;
use libmusig::protocol::crypto::key_set::KeySet;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::{Body, Content, Envelope, envelope_id};
use libmusig::protocol::proposal::{Broadcast, Message, Proposal, Terms, TransactionTerms};
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::{Identity, LocalSigner};
use libmusig::types::{SessionId, Signature, SignerKey, UnixMillis};

use test_support::nodes::{address, key, presence};

/// Floods a node while it is switched on, from a thread of its own.
pub struct Flood {
    on: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// `session`: one that the node has, and that the outsider has no business with.
    pub fn of(node: &Node, session: SessionId) -> Self {
        Self::start(node, move |_| {
            let body = Body { session, signer: 1, content: Content::Abort { reason: "stop".into() } };
            let envelope = Envelope::new(body, Signature([1; 64])).as_bytes().to_vec();
            vec![frame(vec![envelope; 8])]
        })
    }

    /// Proposals of 128 signers which fail at the end of their check, each another one: many in a frame.
    pub fn of_proposals(node: &Node) -> Self {
        let victim = node.signer_key();
        Self::start(node, move |signer| {
            let mut proposals = (0..400).map(|number: u32| late_failing(signer, victim, number));
            (0..50).map(|_| frame(proposals.by_ref().take(8).collect())).collect()
        })
    }

    fn start(node: &Node, frames: impl FnOnce(&LocalSigner) -> Vec<Arc<[u8]>> + Send + 'static) -> Self {
        let (on, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (key, address): (_, Multiaddr) = (node.signer_key(), address(node).parse().expect("an address"));
        let (is_on, ends) = (on.clone(), end.clone());
        let (connected, ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = runtime.expect("a runtime");
            let signer = LocalSigner::generate().expect("random bytes");
            let frames = frames(&signer);
            let mut frames = frames.iter().cycle();
            while !ends.load(Ordering::Relaxed) {
                // Thrown out, it comes back as another peer.
                let (network, gone) = connect(&runtime, &signer, &address, key);
                let _ = connected.send(());
                while !ends.load(Ordering::Relaxed) && !gone.load(Ordering::Relaxed) {
                    let sends = is_on.load(Ordering::Relaxed);
                    if !sends || !network.send(&key, frames.next().expect("a frame").clone()) {
                        std::thread::park_timeout(Duration::from_millis(1));
                    }
                }
            }
        });
        ready.recv().expect("it connects");
        Self { on, end, thread: Some(thread) }
    }

    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A new peer of this signer that is connected; the flag says when it is not any more.
fn connect(
    runtime: &tokio::runtime::Runtime,
    signer: &LocalSigner,
    address: &Multiaddr,
    victim: SignerKey,
) -> (Network, Arc<AtomicBool>) {
    let identity = generate_identity();
    let presence = presence(signer, peer_id(&identity).expect("an identity"), Vec::new(), 1);
    let config =
        NetworkConfig { listen: Vec::new(), peers: vec![address.clone()], ..NetworkConfig::default() };
    let (network, mut events) =
        Network::start(runtime.handle(), config, &identity, Some(presence)).expect("starts");
    network.try_command(NetCommand::Seek(vec![victim]));
    while !matches!(events.blocking_recv().expect("it runs"), NetEvent::SignerConnected { .. }) {}
    let gone = Arc::new(AtomicBool::new(false));
    let is_gone = gone.clone();
    runtime.spawn(async move {
        while let Some(event) = events.recv().await {
            if let NetEvent::SignerDisconnected { .. } = event {
                is_gone.store(true, Ordering::Relaxed);
            }
        }
    });
    (network, gone)
}

fn frame(envelopes: Vec<Vec<u8>>) -> Arc<[u8]> {
    wire::encode(&pb::Frame { envelopes, ..pb::Frame::default() }).into()
}

/// A signed proposal whose transaction is none, which shows once its keys are aggregated.
fn late_failing(signer: &LocalSigner, victim: SignerKey, number: u32) -> Vec<u8> {
    let mut entropy = [9; 32];
    entropy[..4].copy_from_slice(&number.to_be_bytes());
    let signers = [signer.public_key(), victim].into_iter().chain((20..146).map(key));
    let signers: Vec<SignerKey> = signers.collect();
    let terms = Terms {
        entropy,
        proposer: 0,
        key_sets: vec![KeySet::new(&signers)],
        signers,
        messages: vec![Message::raw([7; 32])],
        transaction: Some(TransactionTerms { unsigned: vec![7; 100], spent: Vec::new() }),
        election_method: ElectionMethod::default(),
        broadcast: Broadcast::default(),
        expires_at: UnixMillis(libmusig::platform::now().wall.0 + 3_600_000),
        metadata: Vec::new(),
        replaces: None,
    };
    let proposal = Proposal::new(terms).expect("cheap checks find nothing");
    let content = Content::Proposal(proposal.as_bytes().to_vec());
    let body = Body { session: proposal.id(), signer: 0, content };
    let signature = signer.sign(&envelope_id(&body.encode()).0).expect("signs");
    Envelope::new(body, signature).as_bytes().to_vec()
}
