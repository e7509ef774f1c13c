//! An outsider that sends as much as it can, of what has to be read and checked before it is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use libmusig::net::{
    NetEvent, Network, NetworkConfig, PresenceRecord, generate_identity, peer_id, presence_digest,
    seal_presence,
};
use libmusig::node::Node;
use libmusig::protocol::envelope::{Body, Content, Envelope};
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::{LocalSigner, Signer};
use libmusig::types::{SessionId, Signature};

use test_support::nodes::address;

/// Floods a node while it is switched on, from a thread of its own.
pub struct Flood {
    on: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// `session`: one that the node has, and that the outsider has no business with.
    pub fn of(node: &Node, session: SessionId) -> Self {
        let (on, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (key, address) = (node.signer_key(), address(node).parse().expect("an address"));
        let (is_on, ends) = (on.clone(), end.clone());
        let (connected, ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = runtime.expect("a runtime");
            let (signer, identity) = (LocalSigner::generate().expect("random bytes"), generate_identity());
            let record = PresenceRecord {
                signer: signer.public_key(),
                peer: peer_id(&identity).expect("an identity"),
                addresses: Vec::new(),
                sequence: 1,
            };
            let record = record.encode();
            let presence =
                seal_presence(record.clone(), &signer.sign(&presence_digest(&record)).expect("signs"));
            let config =
                NetworkConfig { listen: Vec::new(), peers: vec![address], ..NetworkConfig::default() };
            let (network, mut events) =
                Network::start(runtime.handle(), config, &identity, Some(presence)).expect("starts");
            while !matches!(events.blocking_recv().expect("it runs"), NetEvent::SignerConnected { .. }) {}
            runtime.spawn(async move { while events.recv().await.is_some() {} });
            let body = Body { session, signer: 1, content: Content::Abort { reason: "stop".into() } };
            let envelope = Envelope::new(body, Signature([1; 64])).as_bytes().to_vec();
            let frame = pb::Frame { envelopes: vec![envelope; 8], ..pb::Frame::default() };
            let frame: Arc<[u8]> = wire::encode(&frame).into();
            connected.send(()).expect("is waited for");
            while !ends.load(Ordering::Relaxed) {
                if !is_on.load(Ordering::Relaxed) || !network.send(&key, frame.clone()) {
                    std::thread::park_timeout(Duration::from_millis(1));
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
