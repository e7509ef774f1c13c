//! Signers that are processes of their own: this program, started again. They take orders as lines on their standard
//! input and answer with lines on their standard output; times are those of [`clock`], which all processes share.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use libmusig::event::{Event, NodeEvent};
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::proposal::Message;
use libmusig::types::{SessionId, SignerKey};
use test_support::nodes::{address, builder, keys, secret};

use crate::delay::Proxy;
use crate::disk;
use crate::harness::{clock, cpu, digest, resident};

/// The first argument of a signer's process. Then follow its index, the number of signers, and its store's path.
pub const FLAG: &str = "--signer";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(300);

// ---- In the parent ----

/// What a process used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu_micros: f64,
    pub resident: f64,
    pub syncs: f64,
    pub sync_micros: f64,
    pub bytes: f64,
    pub pages: f64,
    pub commits: f64,
    pub sent: f64,
    pub frames: f64,
}

/// A process of this program that is ended with this.
pub struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    lines: Receiver<String>,
    pub address: String,
    /// From the call that starts the node until it listened.
    pub start: Duration,
}

impl Process {
    pub fn start(flag: &str, index: usize, n: usize, store: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("has a path"))
            .args([flag, &index.to_string(), &n.to_string()])
            .arg(store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let output = BufReader::new(child.stdout.take().expect("is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line).ok());
        });
        let orders = child.stdin.take();
        let mut process = Self { child, orders, lines, address: String::new(), start: Duration::ZERO };
        let said = process.answer("listening");
        process.address = said[0].clone();
        process.start = Duration::from_nanos(number(&said[1]));
        process
    }

    pub fn order(&mut self, text: &str) {
        writeln!(self.orders.as_mut().expect("is open"), "{text}").expect("it runs");
    }

    /// The words behind the next answer, which is to begin with this one.
    pub fn answer(&mut self, word: &str) -> Vec<String> {
        let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no answer: {word}"));
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some(word), "{line}");
        words.map(String::from).collect()
    }

    pub fn usage(&mut self) -> Usage {
        self.order("usage");
        let said: Vec<f64> = self.answer("usage").iter().map(|word| number(word)).collect();
        let [cpu_micros, resident, syncs, sync_micros, bytes, pages, commits, sent, frames] = said[..] else {
            panic!("{said:?}")
        };
        Usage { cpu_micros, resident, syncs, sync_micros, bytes, pages, commits, sent, frames }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its orders end, and so does it.
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

fn number<T: FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

/// Connected signers.
pub struct Signers {
    pub processes: Vec<Process>,
    _proxies: Vec<Proxy>,
    _directory: tempfile::TempDir,
}

impl Signers {
    /// `delay`: how much later than sent each byte arrives.
    pub fn start(flag: &str, n: usize, delay: Option<Duration>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut processes: Vec<Process> = (0..n)
            .map(|index| Process::start(flag, index, n, &directory.path().join(format!("{index}.redb"))))
            .collect();
        let (mut proxies, mut addresses) = (Vec::new(), Vec::new());
        for process in &processes {
            let Some(delay) = delay else {
                addresses.push(process.address.clone());
                continue;
            };
            let proxy = Proxy::start(&process.address, delay);
            addresses.push(proxy.address());
            proxies.push(proxy);
        }
        for (index, process) in processes.iter_mut().enumerate() {
            addresses[..index].iter().for_each(|address| process.order(&format!("peer {address}")));
        }
        for process in &mut processes {
            process.order(&format!("connected {}", n - 1));
        }
        for process in &mut processes {
            process.answer("connected");
        }
        Self { processes, _proxies: proxies, _directory: directory }
    }

    /// Has the first one propose a session; the times from there, and from the last consent, until all hold the signatures.
    pub fn session(&mut self, number_of_it: usize, messages: usize) -> [Duration; 2] {
        self.processes[0].order(&format!("create {number_of_it} {messages}"));
        let created = self.processes[0].answer("created");
        let at = |word: &String| Duration::from_nanos(number(word));
        let (mut consent, mut end) = (Duration::ZERO, Duration::ZERO);
        for process in &mut self.processes {
            let done = process.answer("done");
            assert_eq!(done[0], created[0], "one session after the other");
            consent = consent.max(at(&done[1]));
            end = end.max(at(&done[2]));
        }
        [end - at(&created[1]), end - consent]
    }

    /// Each proposes its part of the sessions, and together they keep so many in flight. The time that it takes until all
    /// hold the signatures of each.
    pub fn load(&mut self, first: usize, sessions: usize, in_flight: usize) -> Duration {
        let n = self.processes.len();
        let share = |of: usize, index: usize| of / n + usize::from(index < of % n);
        let mut begin = first;
        for (index, process) in self.processes.iter_mut().enumerate() {
            let count = share(sessions, index);
            process.order(&format!("load {begin} {count} {sessions}"));
            begin += count;
        }
        self.processes.iter_mut().for_each(|process| drop(process.answer("ready")));
        let start = clock();
        for (index, process) in self.processes.iter_mut().enumerate() {
            process.order(&format!("begin {}", share(in_flight, index).max(1)));
        }
        let ends = self
            .processes
            .iter_mut()
            .map(|process| Duration::from_nanos(number(&process.answer("loaded")[0])));
        ends.max().expect("there are some") - start
    }

    pub fn usage(&mut self) -> Vec<Usage> {
        self.processes.iter_mut().map(Process::usage).collect()
    }
}

/// The mean of what each used between two moments, by session.
pub fn used(before: &[Usage], after: &[Usage], sessions: usize) -> Usage {
    let mean = |of: fn(&Usage) -> f64| {
        let sum: f64 = before.iter().zip(after).map(|(before, after)| of(after) - of(before)).sum();
        sum / before.len() as f64 / sessions as f64
    };
    Usage {
        cpu_micros: mean(|usage| usage.cpu_micros),
        resident: mean(|usage| usage.resident),
        syncs: mean(|usage| usage.syncs),
        sync_micros: mean(|usage| usage.sync_micros),
        bytes: mean(|usage| usage.bytes),
        pages: mean(|usage| usage.pages),
        commits: mean(|usage| usage.commits),
        sent: mean(|usage| usage.sent),
        frames: mean(|usage| usage.frames),
    }
}

// ---- In the child ----

/// What the child's sessions came to.
#[derive(Default)]
struct Progress {
    /// When this signer consented to what others proposed.
    consented: HashMap<SessionId, Duration>,
    load: Option<Load>,
}

/// Many sessions, of which this node proposes some.
struct Load {
    /// Those that it proposed and that are in flight.
    own: HashSet<SessionId>,
    /// The numbers of those that it has yet to propose.
    left: std::ops::Range<usize>,
    /// Sessions of which it has yet to hold the signatures.
    awaited: usize,
}

/// One signer, in its process.
struct Signer {
    keys: Vec<SignerKey>,
    node: OnceLock<Node>,
    progress: Mutex<Progress>,
}

pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The parent may be gone; then nobody needs to know.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The child's arguments: its index, the number of signers, its store.
pub fn arguments(mut arguments: impl Iterator<Item = String>) -> (usize, usize, String) {
    let mut next = || arguments.next().expect("three arguments");
    (number(&next()), number(&next()), next())
}

/// Serves, until its orders end.
pub fn run(rest: impl Iterator<Item = String>) {
    let (index, n, store) = arguments(rest);
    let signer = Arc::new(Signer { keys: keys(n), node: OnceLock::new(), progress: Mutex::default() });
    let handler = signer.clone();
    let start = clock();
    let node = builder(secret(index))
        .store_path(store)
        .hides(false)
        // Those of a load all stay in watch.
        .max_sessions(1_000_000)
        .event_handler(move |event| {
            handler.handle(event);
            Ok(())
        })
        .start()
        .expect("starts");
    signer.node.get_or_init(|| node.clone());
    let address = address(&node);
    say(&format!("listening {address} {}", (clock() - start).as_nanos()));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        signer.obey(&node, &line);
    }
    node.stop().expect("stops");
}

impl Signer {
    fn obey(&self, node: &Node, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["peer", address] => node.add_peer(address).wait().expect("an address"),
            ["connected", wanted] => {
                let wanted: usize = number(wanted);
                while node.connected_signers().wait().expect("runs").len() < wanted {
                    std::thread::park_timeout(Duration::from_millis(2));
                }
                say("connected");
            }
            ["create", number_of_it, messages] => {
                let start = clock();
                let request = request(&self.keys, number(number_of_it), number(messages));
                let session = node.create_session(request).wait().expect("is created");
                say(&format!("created {} {}", session.id(), start.as_nanos()));
            }
            // Sessions whose other signers are not there.
            ["open", count] => {
                for number in 0..number(count) {
                    node.create_session(request(&self.keys, number, 1)).wait().expect("is created");
                }
                say("opened");
            }
            ["load", first, count, all] => {
                let first: usize = number(first);
                let left = first..first + number::<usize>(count);
                self.lock().load = Some(Load { own: HashSet::new(), left, awaited: number(all) });
                say("ready");
            }
            ["begin", in_flight] => (0..number(in_flight)).for_each(|_| self.propose(&mut self.lock())),
            ["usage"] => self.usage(node),
            _ => panic!("{line}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("nobody panics with it")
    }

    /// Proposes the next session of the load.
    fn propose(&self, progress: &mut Progress) {
        if let Some(number) = progress.load.as_mut().and_then(|load| load.left.next()) {
            drop(self.node.wait().create_session(request(&self.keys, number, 1)));
        }
    }

    fn handle(&self, event: &NodeEvent) {
        let Some(id) = event.session else { return };
        match &event.event {
            Event::SessionProposed { .. } => {
                // Not waited for: the next event may come meanwhile.
                drop(self.node.wait().session(id).join());
                let mut progress = self.lock();
                if progress.load.is_none() {
                    progress.consented.insert(id, clock());
                }
            }
            Event::SessionCreated => {
                self.lock().load.as_mut().map(|load| load.own.insert(id));
            }
            Event::SessionComplete { .. } => {
                let now = clock().as_nanos();
                let mut progress = self.lock();
                let consented = progress.consented.remove(&id).unwrap_or_default().as_nanos();
                let Some(load) = &mut progress.load else {
                    return say(&format!("done {id} {consented} {now}"));
                };
                load.awaited -= 1;
                if load.awaited == 0 {
                    progress.load = None;
                    return say(&format!("loaded {now}"));
                }
                if load.own.remove(&id) {
                    self.propose(&mut progress);
                }
            }
            _ => {}
        }
    }

    fn usage(&self, node: &Node) {
        let metrics = node.metrics().wait().expect("runs");
        let (written, network, commits) = (disk::written(), metrics.network, metrics.store.commits);
        let (cpu, sync) = (cpu().as_micros(), written.sync_nanos / 1000);
        let disk::Written { syncs, bytes, pages, .. } = written;
        let (resident, sent, frames) = (resident(), network.bytes_out, network.frames_out);
        say(&format!("usage {cpu} {resident} {syncs} {sync} {bytes} {pages} {commits} {sent} {frames}"));
    }
}

fn request(keys: &[SignerKey], number: usize, messages: usize) -> SessionRequest {
    let digests = (0..messages).map(|index| {
        let mut digest = digest(number as u64);
        digest[8..16].copy_from_slice(&(index as u64).to_be_bytes());
        digest
    });
    SessionRequest::messages(keys.to_vec(), digests.map(Message::raw).collect::<Vec<_>>())
}
