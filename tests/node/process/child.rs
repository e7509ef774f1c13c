//! What a signer's process does.

use std::io::{BufRead, Write};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, LazyLock, Mutex, OnceLock};
use std::time::Duration;

use libmusig::chain::sources::Esplora;
use libmusig::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome,
};
use libmusig::error::{Error, StoreError};
use libmusig::event::{Event, KeepEvent, NodeEvent};
use libmusig::node::{DhtMode, NetworkConfig, Node, SessionRequest};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::proposal::{FailoverPolicy, SpentOutput};
use libmusig::protocol::status::Phase;
use libmusig::signer::LocalSigner;
use libmusig::store::redb::RedbStore;
use libmusig::store::schema::Key;
use libmusig::store::{Change, Durability, Entry, Store};
use libmusig::types::{SignerKey, from_hex, to_hex};
use serde_json::{Value, json};

use test_support::nodes::{keys, node_builder, wait_until};

/// Set in a child: its settings.
pub const SETTINGS: &str = "LIBMUSIG_TEST_SIGNER";

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

type Question = Box<dyn FnOnce(&Esplora) + Send>;

/// The chain, asked by a thread that stays where this process began: in the network of the test.
#[derive(Clone)]
struct Outside(Sender<Question>);

impl Outside {
    fn new(esplora: Esplora) -> Self {
        let (sender, questions) = channel::<Question>();
        std::thread::spawn(move || questions.into_iter().for_each(|question| question(&esplora)));
        Self(sender)
    }

    fn ask<R: Send + 'static>(&self, question: impl FnOnce(&Esplora) -> R + Send + 'static) -> R {
        let (sender, answer) = channel();
        let question: Question = Box::new(move |esplora| drop(sender.send(question(esplora))));
        self.0.send(question).expect("the thread lives");
        answer.recv().expect("the thread answers")
    }
}

impl ChainObserver for Outside {
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError> {
        let query = query.clone();
        self.ask(move |esplora| esplora.status(&query))
    }
}

/// Lets submissions through only while it is open.
struct Gate {
    inner: Outside,
    open: Mutex<bool>,
    changed: Condvar,
}

impl Broadcaster for Gate {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        say(&json!({ "event": "about to submit" }));
        let open = self.open.lock().expect("nobody panics with it");
        drop(self.changed.wait_while(open, |open| !*open).expect("nobody panics with it"));
        let transaction = transaction.clone();
        let outcome = self.inner.ask(move |esplora| esplora.submit(&transaction));
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

/// Kills this process at its n-th durable event: when it is told, or when it has dealt with it.
struct Handler {
    node: Arc<OnceLock<Node>>,
    consents: bool,
    durable: Mutex<u64>,
    before: Option<u64>,
    after: Option<u64>,
}

impl Handler {
    fn handle(&self, event: &NodeEvent) -> Result<(), KeepEvent> {
        let mut durable = self.durable.lock().expect("nobody panics with it");
        if event.durable && self.before == Some(*durable) {
            die();
        }
        let handled = handle(self.node.wait(), event, self.consents);
        if event.durable && self.after == Some(*durable) {
            die();
        }
        *durable += u64::from(event.durable);
        handled
    }
}

fn serve(settings: &Value) {
    let lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let text = |name: &str| settings[name].as_str().expect("is set").to_owned();
    let signer = LocalSigner::new(from_hex(&text("secret")).expect("digits")).expect("a key");
    let chain = Outside::new(Esplora::new(&text("chain")).expect("an address"));
    let open = settings["open"].as_bool().unwrap_or(true);
    let gate = Arc::new(Gate { inner: chain.clone(), open: Mutex::new(open), changed: Condvar::new() });
    #[cfg(target_os = "linux")]
    let (mut place, disk) = (
        settings["network"].is_object().then(|| super::network::Place::enter(&settings["network"])),
        super::disk::Disk::new(&settings["disk"], text("store").as_ref()),
    );
    let inner = match RedbStore::open(text("store")) {
        Ok(store) => store,
        Err(error) => return say(&json!({ "event": "refused", "reason": error.to_string() })),
    };
    let store = Fatal {
        inner,
        commits: 0,
        before: settings["die_before"].as_u64(),
        after: settings["die_after"].as_u64(),
    };
    let slot: Arc<OnceLock<Node>> = Arc::default();
    let handler = Handler {
        node: slot.clone(),
        consents: settings["consents"].as_bool().unwrap_or(true),
        durable: Mutex::new(0),
        before: settings["die_before_event"].as_u64(),
        after: settings["die_after_event"].as_u64(),
    };
    let node = node_builder()
        .signer(signer)
        .store(store)
        .network(network(settings))
        .broadcaster(gate.clone())
        .observer(Arc::new(chain))
        .final_depth(3)
        .stall_after(Duration::from_secs(if settings["alert"] == true { 2 } else { 10 }))
        .event_handler(move |event| handler.handle(event))
        .start();
    let node = match node {
        Ok(node) => node,
        Err(error) => return say(&json!({ "event": "refused", "reason": error.to_string() })),
    };
    let _ = slot.set(node.clone());
    say(&json!({ "event": "listening", "address": address(&node, settings) }));

    for line in lines {
        let order: Value = serde_json::from_str(&line).expect("orders are JSON");
        match order["order"].as_str().expect("orders have a name") {
            "peer" => node.add_peer(order["address"].as_str().expect("is set")).wait().expect("an address"),
            "connected" => {
                let wanted = order["signers"].as_u64().expect("is set") as usize;
                // For as long as the test waits for it.
                while node.connected_signers().wait().expect("runs").len() < wanted {
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                say(&json!({ "event": "connected" }));
            }
            "propose" => propose(&node, &order),
            "join" => {
                for status in node.sessions().wait().expect("runs") {
                    let session = node.session(status.session);
                    // It may be asked while the disk takes nothing: the answer comes when it does.
                    std::thread::spawn(move || {
                        let result = session.join().wait();
                        say(
                            &json!({ "event": "joined", "error": result.err().map(|error| error.to_string()) }),
                        );
                    });
                }
            }
            "open" => {
                *gate.open.lock().expect("nobody panics with it") = true;
                gate.changed.notify_all();
            }
            #[cfg(target_os = "linux")]
            "move" => {
                let place = place.as_mut().expect("is in a network of its own");
                place.move_to(order["address"].as_str().expect("is set"));
            }
            #[cfg(target_os = "linux")]
            "fill" => disk.fill(),
            #[cfg(target_os = "linux")]
            "free" => disk.free(),
            "count" => {
                let metrics = node.metrics().wait().expect("runs");
                say(&json!({
                    "event": "count", "sessions": metrics.sessions,
                    "connections": metrics.network.connections_opened, "violations": metrics.network.violations,
                    "refused": metrics.refused.proposals,
                }));
            }
            "export" => export(&node),
            // What is final is no business of this node any more.
            "close" => {
                for status in node.sessions().wait().expect("runs") {
                    if status.phase == Phase::Final {
                        let _ = node.session(status.session).close_session().wait();
                    }
                }
            }
            other => panic!("no order {other}"),
        }
    }
    node.stop().expect("stops");
}

fn network(settings: &Value) -> NetworkConfig {
    let listen = settings["listen"].as_str().unwrap_or("/ip4/127.0.0.1/tcp/0");
    let mut config =
        NetworkConfig { listen: vec![listen.parse().expect("an address")], ..NetworkConfig::default() };
    if let Some(most) = settings["max_connections"].as_u64() {
        config.max_connections = most as u32;
    }
    if let Some(most) = settings["max_received_bytes"].as_u64() {
        config.max_received_bytes = most as usize;
    }
    if let Some(frames) = settings["strangers_frames_per_second"].as_u64() {
        config.strangers_frames_per_second = frames as u32;
    }
    if settings["dht"] == "server" {
        config.dht = DhtMode::Server;
    }
    if settings["alert"] != true {
        return config;
    }
    NetworkConfig {
        ping_interval: Duration::from_millis(500),
        dead_after: Duration::from_secs(3),
        redial_max: Duration::from_secs(1),
        ..config
    }
}

/// Where it listens; in a network of its own: there.
fn address(node: &Node, settings: &Value) -> String {
    let place = settings["network"]["address"].as_str().unwrap_or("127.0.0.1");
    let wanted = format!("/ip4/{place}/");
    let mut found = None;
    wait_until("it listens", || {
        let addresses = node.listen_addresses().wait().expect("runs");
        found = addresses.into_iter().find(|address| address.starts_with(&wanted));
        found.is_some()
    });
    found.expect("was waited for")
}

fn export(node: &Node) {
    for status in node.sessions().wait().expect("runs") {
        let exported = node.session(status.session).export().wait();
        // A node that cannot commit hands nothing out.
        let bytes = match exported {
            Ok(bytes) => bytes,
            Err(Error::Store(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        say(&json!({
            "event": "export", "session": status.session.to_string(), "bytes": to_hex(&bytes),
            "phase": format!("{:?}", status.phase), "attempt": status.attempt,
        }));
    }
    say(&json!({ "event": "exported" }));
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
    let turn = Duration::from_secs(order["turn"].as_u64().expect("is set"));
    let policy = FailoverPolicy { broadcast_timeout: turn, ..FailoverPolicy::default() };
    let request = SessionRequest::transaction(signers, bytes(text("transaction")), vec![spent])
        .election_method(method.expect("a method"))
        .failover(policy);
    let session = node.create_session(request).wait().expect("is created");
    say(&json!({ "event": "proposed", "session": session.id().to_string() }));
}

pub fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("digits")).collect()
}

/// The signers of the tests.
static KNOWN: LazyLock<Vec<SignerKey>> = LazyLock::new(|| keys(16));

/// Says everything, and consents to every proposal unless it is told to wait.
fn handle(node: &Node, event: &NodeEvent, consents: bool) -> Result<(), KeepEvent> {
    let name = format!("{:?}", event.event);
    let name = name.split([' ', '(']).next().unwrap_or_default();
    let Some(id) = event.session else {
        let mut line = json!({ "event": name });
        if let Event::PeerConnected { signer, .. } | Event::PeerDisconnected { signer, .. } = &event.event {
            line["signer"] = json!(signer.map(|key| key.to_string()));
        }
        say(&line);
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
        Event::CoordinatorFailed { failed, next, turn, .. } => {
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
        let session = node.session(id);
        // Not to everything: to what only the signers of the tests sign.
        let terms = session.proposal().wait().map_err(|_| KeepEvent)?;
        if terms.signers.iter().all(|signer| KNOWN.contains(signer)) {
            session.join().wait().map_err(|_| KeepEvent)?;
        }
    }
    Ok(())
}
