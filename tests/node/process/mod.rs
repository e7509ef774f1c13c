//! Signers as processes of their own: this test binary, started again as one of its "tests".
//!
//! A child takes orders as lines of JSON on its standard input and says what happens on its standard output.

mod child;
#[cfg(target_os = "linux")]
pub mod disk;
#[cfg(target_os = "linux")]
pub mod network;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::Envelope;
use libmusig::protocol::wire::{self, pb};
use libmusig::types::{SignerKey, to_hex};
use serde_json::{Value, json};

use self::child::{SETTINGS, bytes};
use crate::world::Spend;
use test_support::backend::chain::Chain;
use test_support::backend::http::Server;
use test_support::nodes::{key, keys, secret, wait_until};

/// How long a turn lasts, if nothing else is said: long enough for a busy machine to submit in.
pub const TURN: Duration = Duration::from_secs(2);
/// How long anything may take beyond the turns.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a session holds.
pub struct Export {
    pub envelopes: Vec<Envelope>,
    pub attempt: u64,
}

struct Process {
    child: Child,
    input: ChildStdin,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one signer said.
#[derive(Clone, Debug)]
pub struct Said {
    pub by: usize,
    pub line: Value,
    /// When it was heard.
    pub at: Instant,
}

impl Said {
    pub fn is(&self, event: &str) -> bool {
        self.line["event"] == event
    }
}

/// n signers in processes of their own, and a chain.
pub struct Cluster {
    pub n: usize,
    /// How long a turn of the sessions lasts that are proposed from now on.
    pub turn: Duration,
    pub chain: Arc<Chain>,
    pub log: Vec<Said>,
    /// Their own network; without one they are on loopback.
    #[cfg(target_os = "linux")]
    pub network: Option<network::Network>,
    server: Server,
    directory: tempfile::TempDir,
    processes: Vec<Option<Process>>,
    addresses: Vec<Option<String>>,
    lines: Receiver<Said>,
    sender: Sender<Said>,
}

impl Cluster {
    /// Starts the signers, each with settings of its own on top of the usual ones, and connects all with all.
    pub fn start(n: usize, settings: impl Fn(usize) -> Value) -> Self {
        let mut cluster = Self::new(n);
        cluster.begin(settings);
        cluster.connect(|_| n - 1);
        cluster
    }

    /// Like [`Cluster::start`], in a network of their own. `neighbours`: with how many each can connect.
    #[cfg(target_os = "linux")]
    pub fn start_in(
        network: network::Network,
        n: usize,
        settings: impl Fn(usize) -> Value,
        neighbours: impl Fn(usize) -> usize,
    ) -> Self {
        let mut cluster = Self::new(n);
        cluster.network = Some(network);
        cluster.begin(settings);
        cluster.connect(neighbours);
        cluster
    }

    fn new(n: usize) -> Self {
        let chain = Arc::new(Chain::new());
        let server = Server::start(chain.clone(), Some(Duration::from_millis(200))).expect("serves");
        let (sender, lines) = channel();
        let directory = tempfile::tempdir().expect("a directory");
        Self {
            n,
            turn: TURN,
            chain,
            log: Vec::new(),
            #[cfg(target_os = "linux")]
            network: None,
            server,
            directory,
            processes: (0..n).map(|_| None).collect(),
            addresses: vec![None; n],
            lines,
            sender,
        }
    }

    fn begin(&mut self, settings: impl Fn(usize) -> Value) {
        for index in 0..self.n {
            self.spawn(index, &settings(index));
        }
        for index in 0..self.n {
            self.await_address(index, 0);
            self.introduce(index);
        }
    }

    fn connect(&mut self, neighbours: impl Fn(usize) -> usize) {
        for index in 0..self.n {
            // Whoever is dialled shows itself to whom it is told of.
            let later: Vec<String> = self.addresses[index + 1..].iter().flatten().cloned().collect();
            for address in later {
                self.order(index, &json!({ "order": "peer", "address": address }));
            }
            self.order(index, &json!({ "order": "connected", "signers": neighbours(index) }));
        }
        self.wait_all("connected", 0..self.n);
    }

    /// Where a signer's store is.
    pub fn store(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("{index}.redb"))
    }

    /// Starts a signer's process, on the store it had before.
    fn spawn(&mut self, index: usize, settings: &Value) {
        let (secret, store) = (to_hex(&secret(index)), self.store(index));
        let mut all = json!({ "secret": secret, "store": store, "chain": self.server.url() });
        #[cfg(target_os = "linux")]
        if let Some(network) = &self.network {
            all["network"] = network.place(index);
            all["listen"] = json!("/ip4/0.0.0.0/tcp/4001");
        }
        for (name, value) in settings.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        let mut child = Command::new(std::env::current_exe().expect("has a path"))
            .args(["process::child::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(SETTINGS, all.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let output = child.stdout.take().expect("is piped");
        let input = child.stdin.take().expect("is piped");
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for line in lines.filter_map(|line| serde_json::from_str(line.strip_prefix('@')?).ok()) {
                if sender.send(Said { by: index, line, at: Instant::now() }).is_err() {
                    return;
                }
            }
            let _ = sender.send(Said { by: index, line: json!({ "event": "ended" }), at: Instant::now() });
        });
        self.processes[index] = Some(Process { child, input });
    }

    /// Waits until a signer that was just started listens.
    fn await_address(&mut self, index: usize, from: usize) {
        let listens = |said: &&Said| said.by == index && said.is("listening");
        self.wait("it listens", |log| log[from..].iter().any(|said| listens(&said)));
        let said = self.log[from..].iter().find(listens);
        self.addresses[index] = said.and_then(|said| said.line["address"].as_str()).map(str::to_owned);
    }

    /// Tells a signer where those before it listen; for a restarted one: where all do.
    fn introduce(&mut self, index: usize) {
        let addresses: Vec<String> = self.addresses[..index].iter().flatten().cloned().collect();
        for address in addresses {
            self.order(index, &json!({ "order": "peer", "address": address }));
        }
    }

    /// Starts a dead signer again, and introduces it to those that run.
    pub fn restart(&mut self, index: usize, settings: &Value) {
        let from = self.log.len();
        self.spawn(index, settings);
        self.await_address(index, from);
        for other in (0..self.n).filter(|other| *other != index) {
            if self.processes[other].is_some() {
                let address = self.addresses[other].clone();
                self.order(index, &json!({ "order": "peer", "address": address }));
            }
        }
    }

    /// Starts a dead signer again, on a store that it cannot use. Answers what it says of that.
    pub fn refused(&mut self, index: usize, settings: &Value) -> String {
        let from = self.log.len();
        self.spawn(index, settings);
        self.wait("it ends", |log| log[from..].iter().any(|said| said.by == index && said.is("ended")));
        wait_until("it is gone", || self.bury(index));
        let refusal = self.log[from..].iter().find(|said| said.by == index && said.is("refused"));
        refusal.expect("it says why").line["reason"].as_str().expect("is text").to_owned()
    }

    pub fn order(&mut self, index: usize, order: &Value) {
        let process = self.processes[index].as_mut().expect("it runs");
        // One that dies just now does not read it.
        let _ = writeln!(process.input, "{order}");
    }

    /// SIGKILL. What it said before is in the log afterwards.
    pub fn kill(&mut self, index: usize) {
        let from = self.log.len();
        drop(self.processes[index].take());
        self.addresses[index] = None;
        self.wait("its output ends", |log| {
            log[from..].iter().any(|said| said.by == index && said.is("ended"))
        });
    }

    /// Takes note of a process that ended by itself, if it did.
    pub fn bury(&mut self, index: usize) -> bool {
        let ended = self.processes[index]
            .as_mut()
            .is_some_and(|process| process.child.try_wait().expect("is a child").is_some());
        if ended {
            self.processes[index] = None;
            self.addresses[index] = None;
        }
        ended
    }

    /// What the only session of a signer holds, the attempt it is in, and its phase.
    pub fn export(&mut self, index: usize) -> Option<Export> {
        let from = self.log.len();
        self.order(index, &json!({ "order": "export" }));
        self.wait("it exports", |log| {
            let mut own = log.iter().rev().filter(|said| said.by == index);
            own.next().is_some_and(|said| said.is("ended"))
                || log[from..].iter().any(|said| said.by == index && said.is("exported"))
        });
        let mut exports = self.log[from..].iter().filter(|said| said.by == index && said.is("export"));
        let line = &exports.next()?.line;
        assert!(exports.next().is_none(), "more than one session");
        let export = bytes(line["bytes"].as_str().expect("is set"));
        let frame: pb::Frame = wire::decode(&export, "the export").expect("is canonical");
        Some(Export {
            envelopes: frame
                .envelopes
                .iter()
                .map(|bytes| Envelope::decode(bytes).expect("decodes"))
                .collect(),
            attempt: line["attempt"].as_u64().expect("is set"),
        })
    }

    /// What a signer counts now.
    #[track_caller]
    pub fn count(&mut self, index: usize) -> Value {
        let from = self.log.len();
        self.order(index, &json!({ "order": "count" }));
        let counts = |said: &&Said| said.by == index && said.is("count");
        self.wait("it counts", |log| log[from..].iter().any(|said| counts(&said)));
        self.log[from..].iter().find(counts).expect("was waited for").line.clone()
    }

    /// Where a signer listens.
    pub fn address(&self, index: usize) -> &str {
        self.addresses[index].as_deref().expect("it runs")
    }

    /// The id of a signer's process.
    pub fn process(&self, index: usize) -> u32 {
        self.processes[index].as_ref().expect("it runs").child.id()
    }

    /// SIGSTOP.
    pub fn stop(&self, index: usize) {
        self.signal(index, libc::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self, index: usize) {
        self.signal(index, libc::SIGCONT);
    }

    fn signal(&self, index: usize, signal: i32) {
        let process = self.processes[index].as_ref().expect("it runs");
        // SAFETY: a signal to a child of this process that was not waited for yet, so its id is its own.
        unsafe { libc::kill(process.child.id() as i32, signal) };
    }

    /// Takes what the signers say until the condition holds of all that was said.
    #[track_caller]
    pub fn wait(&mut self, what: &str, mut condition: impl FnMut(&[Said]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(&self.log) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(said) => self.log.push(said),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let said: Vec<String> =
                        self.log.iter().map(|said| format!("{} {}", said.by, said.line["event"])).collect();
                    panic!("waited too long until {what}; they said {}", said.join(", "))
                }
            }
        }
    }

    /// Like [`Cluster::export`]; one that killed itself only now is started again.
    #[track_caller]
    pub fn export_of_the_living(&mut self, index: usize) -> Export {
        let export = self.export(index).or_else(|| {
            wait_until("it ends", || self.bury(index));
            self.restart(index, &json!({}));
            self.export(index)
        });
        export.expect("it has a session")
    }

    /// Takes what comes next, or nothing if nothing comes for a while.
    pub fn take_a_line(&mut self) {
        self.log.extend(self.lines.recv_timeout(Duration::from_millis(20)));
    }

    /// Waits until a signer's session holds what is wanted.
    #[track_caller]
    pub fn wait_until_exported(&mut self, index: usize, wanted: impl Fn(&Export) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !self.export(index).is_some_and(|export| wanted(&export)) {
            assert!(Instant::now() < deadline, "{index} waited too long for envelopes");
        }
    }

    /// Waits until these signers lost a connection.
    #[track_caller]
    pub fn wait_disconnected(&mut self, signers: impl IntoIterator<Item = usize>) {
        self.wait_all("PeerDisconnected", signers);
    }

    /// Waits until each of these signers said something.
    #[track_caller]
    pub fn wait_all(&mut self, event: &str, signers: impl IntoIterator<Item = usize>) {
        let wanted: BTreeSet<usize> = signers.into_iter().collect();
        self.wait(&format!("{wanted:?} say {event}"), |log| {
            let said: BTreeSet<usize> =
                log.iter().filter(|said| said.is(event)).map(|said| said.by).collect();
            wanted.is_subset(&said)
        });
    }

    /// Lets a signer propose a spend of the signers' key.
    pub fn propose(&mut self, proposer: usize, method: ElectionMethod) {
        let signers = keys(self.n);
        let spend = Spend::new(&self.chain, &signers);
        self.order(
            proposer,
            &json!({
                "order": "propose",
                "signers": signers.iter().map(SignerKey::to_string).collect::<Vec<_>>(),
                "transaction": to_hex(&spend.unsigned),
                "value": spend.spent.value,
                "script": to_hex(&spend.spent.script),
                "method": method.number(),
                "turn": self.turn.as_secs(),
            }),
        );
    }

    /// Everything of a kind that one signer said.
    pub fn said(&self, by: usize, event: &str) -> Vec<&Value> {
        self.log.iter().filter(|said| said.by == by && said.is(event)).map(|said| &said.line).collect()
    }
}

/// The signers' keys as a proposal lists them are `keys(n)`: this is the order in which `lexicographic` asks them.
pub fn lexicographic(n: usize) -> Vec<usize> {
    let mut list: Vec<usize> = (0..n).collect();
    list.sort_by_key(|index| *key(*index).as_bytes());
    list
}
