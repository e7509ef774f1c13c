//! Signers as processes of their own: this test binary, started again as one of its "tests".
//!
//! A child takes orders as lines of JSON on its standard input and says what happens on its standard output.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use libmusig::chain::{Broadcaster, ChainError, SignedTransaction, SubmitOutcome};
use libmusig::error::StoreError;
use libmusig::event::{Event, KeepEvent, NodeEvent};
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::Envelope;
use libmusig::protocol::proposal::{FailoverPolicy, SpentOutput};
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::LocalSigner;
use libmusig::store::redb::RedbStore;
use libmusig::store::schema::Key;
use libmusig::store::{Change, Durability, Entry, Store};
use libmusig::types::{SignerKey, from_hex, to_hex};
use serde_json::{Value, json};

use crate::chain_support::chain::Chain;
use crate::chain_support::esplora::Esplora;
use crate::chain_support::http::Server;
use crate::support::{key, keys, secret, wait_until};
use crate::world::Spend;

/// Set in a child: its settings.
const SETTINGS: &str = "LIBMUSIG_TEST_SIGNER";
/// How long a turn lasts.
pub const TURN: Duration = Duration::from_millis(1000);
/// How long anything may take beyond the turns.
pub const PATIENCE: Duration = Duration::from_secs(60);

// ---- The child ----

/// Not a test: what this program does when a test starts it as a signer.
#[test]
fn child() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    serve(&serde_json::from_str(&settings).expect("settings are JSON"));
    // The harness has nothing to add.
    std::process::exit(0);
}

fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "\n@{value}").and_then(|()| out.flush());
}

/// Lets submissions through only while it is open.
struct Gate {
    inner: Esplora,
    open: Mutex<bool>,
    changed: Condvar,
}

impl Broadcaster for Gate {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        say(&json!({ "event": "about to submit" }));
        let open = self.open.lock().expect("nobody panics with it");
        drop(self.changed.wait_while(open, |open| !*open).expect("nobody panics with it"));
        let outcome = self.inner.submit(transaction);
        say(&json!({ "event": "submitted", "accepted": outcome == Ok(SubmitOutcome::Accepted) }));
        outcome
    }
}

/// Kills this process just before or just after its n-th commit of something of a session.
struct Fatal {
    inner: RedbStore,
    commits: u64,
    before: Option<u64>,
    after: Option<u64>,
}

fn die() -> ! {
    // SAFETY: ends this process at once, as the kernel does to one that runs out of memory.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    std::process::abort()
}

impl Store for Fatal {
    fn load(&mut self) -> Result<Vec<Entry>, StoreError> {
        self.inner.load()
    }

    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError> {
        let of_session = |change: &Change| match change {
            Change::Put(key, _) | Change::Delete(key) => {
                Key::decode(key).and_then(|key| key.session()).is_some()
            }
            Change::DeletePrefix(_) => true,
        };
        if !changes.iter().any(of_session) {
            return self.inner.commit(changes, durability);
        }
        let number = self.commits;
        self.commits += 1;
        if self.before == Some(number) {
            die();
        }
        self.inner.commit(changes, durability)?;
        if self.after == Some(number) {
            die();
        }
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), StoreError> {
        self.inner.suspend()
    }

    fn resume(&mut self) -> Result<(), StoreError> {
        self.inner.resume()
    }
}

fn serve(settings: &Value) {
    let lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let text = |name: &str| settings[name].as_str().expect("is set").to_owned();
    let signer = LocalSigner::new(from_hex(&text("secret")).expect("digits")).expect("a key");
    let esplora = Esplora::new(&text("chain")).expect("an address");
    let open = settings["open"].as_bool().unwrap_or(true);
    let gate = Arc::new(Gate { inner: esplora.clone(), open: Mutex::new(open), changed: Condvar::new() });
    let store = Fatal {
        inner: RedbStore::open(text("store")).expect("opens"),
        commits: 0,
        before: settings["die_before"].as_u64(),
        after: settings["die_after"].as_u64(),
    };
    let consents = settings["consents"].as_bool().unwrap_or(true);
    let slot: Arc<OnceLock<Node>> = Arc::default();
    let own = slot.clone();
    let node = Node::builder()
        .signer(signer)
        .store(store)
        .listen("/ip4/127.0.0.1/tcp/0")
        .broadcaster(gate.clone())
        .observer(Arc::new(esplora))
        .final_depth(3)
        .event_handler(move |event| handle(own.wait(), event, consents))
        .start()
        .expect("starts");
    let _ = slot.set(node.clone());
    let address = crate::support::address(&node);
    say(&json!({ "event": "listening", "address": address }));

    for line in lines {
        let order: Value = serde_json::from_str(&line).expect("orders are JSON");
        match order["order"].as_str().expect("orders have a name") {
            "peer" => node.add_peer(order["address"].as_str().expect("is set")).wait().expect("an address"),
            "connected" => {
                let wanted = order["signers"].as_u64().expect("is set") as usize;
                crate::support::wait_until("all are connected", || {
                    node.connected_signers().wait().expect("runs").len() >= wanted
                });
                say(&json!({ "event": "connected" }));
            }
            "propose" => propose(&node, &order),
            "join" => {
                for status in node.sessions().wait().expect("runs") {
                    node.session(status.session).join().wait().expect("joins");
                }
            }
            "open" => {
                *gate.open.lock().expect("nobody panics with it") = true;
                gate.changed.notify_all();
            }
            "export" => {
                for status in node.sessions().wait().expect("runs") {
                    let bytes = node.session(status.session).export().wait().expect("is known");
                    say(&json!({
                        "event": "export", "session": status.session.to_string(), "bytes": to_hex(&bytes),
                        "phase": format!("{:?}", status.phase), "attempt": status.attempt,
                    }));
                }
                say(&json!({ "event": "exported" }));
            }
            other => panic!("no order {other}"),
        }
    }
    node.stop().expect("stops");
}

fn propose(node: &Node, order: &Value) {
    let text = |name: &str| order[name].as_str().expect("is set");
    let signers: Vec<SignerKey> = order["signers"]
        .as_array()
        .expect("is set")
        .iter()
        .map(|key| key.as_str().expect("is text").parse().expect("a key"))
        .collect();
    let spent =
        SpentOutput { value: order["value"].as_u64().expect("is set"), script: bytes(text("script")) };
    let method = ElectionMethod::from_number(order["method"].as_u64().expect("is set") as u32);
    let policy = FailoverPolicy { broadcast_timeout: TURN, ..FailoverPolicy::default() };
    let request = SessionRequest::transaction(signers, bytes(text("transaction")), vec![spent])
        .election_method(method.expect("a method"))
        .failover(policy);
    let session = node.create_session(request).wait().expect("is created");
    say(&json!({ "event": "proposed", "session": session.id().to_string() }));
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("digits")).collect()
}

/// Says everything, and consents to every proposal unless it is told to wait.
fn handle(node: &Node, event: &NodeEvent, consents: bool) -> Result<(), KeepEvent> {
    let name = format!("{:?}", event.event);
    let name = name.split([' ', '(']).next().unwrap_or_default();
    let Some(id) = event.session else {
        say(&json!({ "event": name }));
        return Ok(());
    };
    let mut line =
        json!({ "event": name, "id": event.id, "session": id.to_string(), "durable": event.durable });
    match &event.event {
        Event::SessionComplete { priority_list, transaction, .. } => {
            line["list"] = json!(priority_list);
            line["txid"] = json!(transaction.as_ref().map(|transaction| transaction.txid.to_string()));
        }
        Event::ShouldBroadcast { turn, signer, .. } => {
            line["turn"] = json!(turn);
            line["signer"] = json!(signer);
        }
        Event::CoordinatorFailed { failed, next, turn } => {
            line["failed"] = json!(failed);
            line["next"] = json!(next);
            line["turn"] = json!(turn);
        }
        Event::BroadcastClaimed { by, .. } => line["by"] = json!(by),
        Event::SignerFailed { error } => line["reason"] = json!(error.to_string()),
        Event::SessionFailed { culprits, .. } => line["culprits"] = json!(culprits),
        _ => {}
    }
    say(&line);
    if consents && matches!(event.event, Event::SessionProposed { .. }) {
        node.session(id).join().wait().map_err(|_| KeepEvent)?;
    }
    Ok(())
}

// ---- The parent ----

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
}

impl Said {
    pub fn is(&self, event: &str) -> bool {
        self.line["event"] == event
    }
}

/// n signers in processes of their own, and a chain.
pub struct Cluster {
    pub n: usize,
    pub chain: Arc<Chain>,
    pub log: Vec<Said>,
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
        let chain = Arc::new(Chain::new());
        let server = Server::start(chain.clone(), Some(Duration::from_millis(200))).expect("serves");
        let (sender, lines) = channel();
        let directory = tempfile::tempdir().expect("a directory");
        let mut cluster = Self {
            n,
            chain,
            log: Vec::new(),
            server,
            directory,
            processes: (0..n).map(|_| None).collect(),
            addresses: vec![None; n],
            lines,
            sender,
        };
        for index in 0..n {
            cluster.spawn(index, &settings(index));
        }
        for index in 0..n {
            cluster.await_address(index, 0);
            cluster.introduce(index);
        }
        for index in 0..n {
            cluster.order(index, &json!({ "order": "connected", "signers": n - 1 }));
        }
        cluster.wait_all("connected", 0..n);
        cluster
    }

    /// Starts a signer's process, on the store it had before.
    fn spawn(&mut self, index: usize, settings: &Value) {
        let store: PathBuf = self.directory.path().join(format!("{index}.redb"));
        let mut all = json!({ "secret": to_hex(&secret(index)), "store": store, "chain": self.server.url() });
        for (name, value) in settings.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        let mut child = Command::new(std::env::current_exe().expect("has a path"))
            .args(["process::child", "--exact", "--nocapture", "--test-threads=1"])
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
                if sender.send(Said { by: index, line }).is_err() {
                    return;
                }
            }
            let _ = sender.send(Said { by: index, line: json!({ "event": "ended" }) });
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
