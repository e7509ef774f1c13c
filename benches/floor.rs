//! What no protocol over these streams can beat: processes that move bytes by libmusig's network layer, and do nothing
//! else. One sends a frame to all others; each of these, when it has it, sends one to all others: two one-way trips.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use libmusig::net::{Multiaddr, NetCommand, NetEvent, Network, NetworkConfig, generate_identity, peer_id};
use libmusig::signer::LocalSigner;
use libmusig::types::SignerKey;
use test_support::nodes::{key, presence, secret};
use tokio::sync::mpsc;

use crate::harness::clock;
use crate::signers::{Signers, arguments, say};

/// The first argument of such a process.
pub const FLAG: &str = "--floor";

impl Signers {
    /// How long the two trips take with frames of so many bytes.
    pub fn trips(&mut self, number: usize, bytes: usize) -> Duration {
        self.processes[0].order(&format!("go {number} {bytes}"));
        let at = |word: &str| Duration::from_nanos(word.parse().expect("a number"));
        let went = at(&self.processes[0].answer("went")[0]);
        let ends = self.processes.iter_mut().map(|process| at(&process.answer("done")[0]));
        ends.max().expect("there are some") - went
    }
}

/// Serves, until its orders end.
pub fn run(rest: impl Iterator<Item = String>) {
    let (index, n, _) = arguments(rest);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let start = clock();
    let (mut node, mut events) = start_node(&runtime, index, n);
    let (orders, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| orders.send(line).ok());
    });
    runtime.block_on(async {
        loop {
            tokio::select! {
                event = events.recv() => node.event(event.expect("it runs"), start),
                line = lines.recv() => match line {
                    Some(line) => node.order(&line).await,
                    None => break,
                },
            }
        }
    });
}

struct Floor {
    network: Network,
    others: Vec<SignerKey>,
    connected: HashSet<SignerKey>,
    /// How many are to be connected, once that was asked for.
    wanted: Option<usize>,
    told: bool,
    /// Frames that came, by number.
    came: HashMap<u64, usize>,
    proposer: SignerKey,
}

fn start_node(
    runtime: &tokio::runtime::Runtime,
    index: usize,
    n: usize,
) -> (Floor, mpsc::Receiver<NetEvent>) {
    let identity = generate_identity();
    let signer = LocalSigner::new(secret(index)).expect("valid");
    let peer = peer_id(&identity).expect("an identity");
    let listen = "/ip4/127.0.0.1/tcp/0".parse().expect("an address");
    let config = NetworkConfig { listen: vec![listen], hides: false, ..NetworkConfig::default() };
    let presence = presence(&signer, peer, Vec::new(), 1);
    let (network, events) =
        Network::start(runtime.handle(), config, &identity, Some(presence)).expect("starts");
    let others: Vec<SignerKey> = (0..n).filter(|other| *other != index).map(key).collect();
    network.try_command(NetCommand::Seek(others.clone()));
    let floor = Floor {
        network,
        others,
        connected: HashSet::new(),
        wanted: None,
        told: false,
        came: HashMap::new(),
        proposer: key(0),
    };
    (floor, events)
}

impl Floor {
    fn event(&mut self, event: NetEvent, start: Duration) {
        match event {
            NetEvent::Listening(addresses) if !self.told => {
                if let Some(address) = addresses.first() {
                    self.told = true;
                    say(&format!("listening {address} {}", (clock() - start).as_nanos()));
                }
            }
            NetEvent::SignerConnected { key, .. } => {
                self.connected.insert(key);
                self.tell_connected();
            }
            NetEvent::Frame { from, frame } => {
                let number = u64::from_be_bytes(frame[..8].try_into().expect("a number"));
                let first = from == self.proposer;
                if first {
                    self.send(number, frame.len());
                }
                let came = self.came.entry(number).or_default();
                *came += 1;
                // One comes from each of the others.
                if *came == self.others.len() {
                    self.came.remove(&number);
                    say(&format!("done {}", clock().as_nanos()));
                }
            }
            _ => {}
        }
    }

    fn send(&self, number: u64, bytes: usize) {
        let mut frame = vec![7; bytes.max(8)];
        frame[..8].copy_from_slice(&number.to_be_bytes());
        let frame: Arc<[u8]> = frame.into();
        for other in &self.others {
            assert!(self.network.send(other, frame.clone()), "it is connected");
        }
    }

    fn tell_connected(&mut self) {
        if self.wanted.is_some_and(|wanted| self.connected.len() >= wanted) {
            self.wanted = None;
            say("connected");
        }
    }

    async fn order(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["peer", address] => {
                let address: Multiaddr = address.parse().expect("an address");
                self.network.command(NetCommand::AddPeer(address)).await;
            }
            ["connected", wanted] => {
                self.wanted = Some(wanted.parse().expect("a number"));
                self.tell_connected();
            }
            ["go", number, bytes] => {
                say(&format!("went {}", clock().as_nanos()));
                self.send(number.parse().expect("a number"), bytes.parse().expect("a number"));
            }
            _ => panic!("{line}"),
        }
    }
}
