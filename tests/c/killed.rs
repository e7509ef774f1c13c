//! Signers in C and C++, each its own process, that are killed with SIGKILL and started again on their stores.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use libmusig::protocol::election::{ElectionMethod, priority_list};
use libmusig::types::{OutPoint, SessionId, to_hex};

use crate::header::root;
use crate::programs::{compile, start};
use test_support::backend::payer::Payer;
use test_support::nodes::{keys, secret};

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A node, as `examples/c/failover.c` or `examples/cpp/failover.cpp` runs it.
struct Signer {
    program: PathBuf,
    arguments: Vec<String>,
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Signer {
    fn start(program: &Path, arguments: Vec<String>) -> Self {
        let (child, lines) = spawn(program, &arguments);
        Self { program: program.to_owned(), arguments, child, lines, said: Vec::new() }
    }

    /// Waits until it says a line that begins like this, and answers the rest of the line.
    #[track_caller]
    fn wait(&mut self, beginning: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) else {
                panic!("no line {beginning:?} of {:?}; it said {:#?}", self.arguments, self.said);
            };
            self.said.push(line.clone());
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        let status = self.child.wait().expect("is a child of ours");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{:#?}", self.said);
    }

    /// On the same store, with these peers.
    fn start_again(&mut self, peers: &[String]) {
        let at = self.arguments.iter().position(|argument| argument == "--peer");
        self.arguments.truncate(at.unwrap_or(self.arguments.len()));
        self.arguments.extend(peers.iter().flat_map(|peer| ["--peer".into(), peer.clone()]));
        (self.child, self.lines) = spawn(&self.program, &self.arguments);
        self.said.push("-- started again".into());
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, arguments: &[String]) -> (Child, Receiver<String>) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = start(program, &arguments);
    let output = BufReader::new(child.stdout.take().expect("is piped"));
    let (sender, lines) = channel();
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    (child, lines)
}

/// Of five signers one dies while they sign, then the coordinator and the first backup when it is their turn. The next one
/// broadcasts, and all that died come back and learn of it.
#[test]
fn killed_signers_lose_nothing_and_the_next_one_broadcasts() {
    let programs =
        [compile(&root().join("examples/c/failover.c")), compile(&root().join("examples/cpp/failover.cpp"))];
    let folder = tempfile::tempdir().expect("a folder");
    let all: Vec<String> = keys(5).iter().map(ToString::to_string).collect();
    let order =
        priority_list(&keys(5), ElectionMethod::Lexicographic, &SessionId([0; 32])).expect("has signers");
    let payer = Payer::start().expect("listens");
    let (url, coin) = (payer.url(), payer.coin(&keys(5)));
    let arguments = |rank: usize, more: &[&str], peers: &[String]| -> Vec<String> {
        let store = folder.path().join(rank.to_string()).to_string_lossy().into_owned();
        let key = to_hex(&secret(order[rank]));
        let mut own: Vec<String> =
            ["--key", &key, "--store", &store, "--signers", &all.join(","), "--timeout", "1000", "--stay"]
                .map(Into::into)
                .into();
        own.extend(more.iter().map(|&text| text.to_owned()));
        own.extend(peers.iter().flat_map(|peer| ["--peer".into(), peer.clone()]));
        own
    };
    // By rank. The proposer is the one that will broadcast, and starts last.
    let mut addresses: Vec<String> = Vec::new();
    let mut begin = |rank: usize, more: &[&str]| {
        let mut signer = Signer::start(&programs[rank % 2], arguments(rank, more, &addresses));
        addresses.push(signer.wait("listening "));
        signer
    };
    // The first two have no source.
    let mut coordinator = begin(0, &[]);
    let mut backup = begin(1, &[]);
    let mut fourth = begin(3, &["--source", &url]);
    let mut fifth = begin(4, &["--source", &url]);
    let mut third = begin(2, &["--source", &url, "--propose", &coin]);

    fifth.wait("joined ");
    fifth.kill();
    // It does not propose, so that it may be started with the same arguments.
    let others: Vec<String> = [0, 1, 2, 4].map(|index| addresses[index].clone()).into();
    fifth.start_again(&others);

    let signatures: Vec<String> = [&mut coordinator, &mut backup, &mut third, &mut fourth, &mut fifth]
        .map(|one| one.wait("complete "))
        .into();
    assert_eq!(signatures[0].len(), 128);
    assert!(signatures.iter().all(|signature| *signature == signatures[0]), "{signatures:?}");

    coordinator.wait("should-broadcast turn 0 (silent)");
    coordinator.kill();
    backup.wait("should-broadcast turn 1 (silent)");
    backup.kill();
    for one in [&mut third, &mut fourth, &mut fifth] {
        one.wait("confirmed");
    }
    let (txid, place) = coin.split_once(':').expect("an outpoint");
    let spent = OutPoint { txid: txid.parse().expect("an id"), vout: place.parse().expect("a number") };
    assert!(payer.chain.spend(&spent).is_some_and(|spend| spend.place.is_some()), "it is in a block");
    // They have the signatures from their stores, and learn from the others that the transaction is out.
    let alive: Vec<String> = [2, 4].map(|index| addresses[index].clone()).into();
    for one in [&mut coordinator, &mut backup] {
        one.start_again(&alive);
        one.wait("confirmed");
    }
}
