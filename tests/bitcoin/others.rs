//! Other people's signers, @scure/btc-signer and btclib-wallet, sign with libmusig's own by PSBT: each is a process of
//! its own, and the device of a node.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use libmusig::chain::psbt::{DeviceError, Psbt, PsbtDevice, PsbtRequest, PsbtSigner};
use libmusig::event::Event;
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::crypto::key_set::{Derivation, KeySet};
use libmusig::protocol::election::{ElectionMethod, elect};
use libmusig::protocol::proposal::{FailoverPolicy, SpentOutput};
use libmusig::signer::LocalSigner;
use libmusig::types::{SessionId, SignerKey, Txid, to_hex};

use crate::child::Process;
use crate::coins::{Coin, fund, txid, unsigned};
use crate::regtest::{Regtest, eventually};
use crate::signers::{Counted, TURN, complete, confirmed, seen, signer, signer_builder};
use test_support::nodes::*;

/// Where the programs are; `None` after a line that says why there are none.
fn programs(test: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bitcoin/fetch-signers.sh");
    let output = Command::new(script).output().expect("the script starts");
    if !output.status.success() {
        skip(test, String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().into())
}

/// A signer of somebody else, with its key; killed when it is dropped.
struct Other {
    child: Mutex<(Child, ChildStdin, BufReader<ChildStdout>)>,
    secret: [u8; 32],
    asked: [AtomicUsize; 2],
    withholds: AtomicBool,
    wrong: AtomicBool,
}

impl Drop for Other {
    fn drop(&mut self) {
        if let Ok((child, ..)) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Other {
    fn start(program: &Path, arguments: &[&Path], index: usize) -> Arc<Self> {
        let secret = secret(index);
        let mut child = Command::new(program)
            .args(arguments)
            .arg(to_hex(&secret))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let (input, output) = (child.stdin.take().expect("is piped"), child.stdout.take().expect("is piped"));
        Arc::new(Self {
            child: Mutex::new((child, input, BufReader::new(output))),
            secret,
            asked: Default::default(),
            withholds: AtomicBool::new(false),
            wrong: AtomicBool::new(false),
        })
    }

    fn scure(folder: &Path, index: usize) -> Arc<Self> {
        Self::start(Path::new("node"), &[&folder.join("scure_signer.mjs")], index)
    }

    fn btclib(folder: &Path, index: usize) -> Arc<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bitcoin/others/btclib_signer.py");
        Self::start(&folder.join("python/bin/python"), &[&script], index)
    }

    fn key(&self) -> SignerKey {
        LocalSigner::new(self.secret).expect("a secret key").public_key()
    }

    fn asked(&self) -> [usize; 2] {
        self.asked.each_ref().map(|count| count.load(Ordering::SeqCst))
    }

    fn ask(&self, command: &str, psbt: &Psbt) -> Result<Psbt, DeviceError> {
        let mut child = self.child.lock().expect("no panic");
        let (_, input, output) = &mut *child;
        let mut answer = String::new();
        let asked = writeln!(input, "{command} {psbt}").and_then(|()| output.read_line(&mut answer));
        asked.map_err(|error| DeviceError::Failed(error.to_string()))?;
        answer.trim().parse().map_err(|error| DeviceError::Failed(format!("{error}")))
    }
}

impl PsbtDevice for Other {
    fn add_nonces(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError> {
        self.asked[0].fetch_add(1, Ordering::SeqCst);
        self.ask("nonces", &request.psbt)
    }

    fn add_partials(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError> {
        self.asked[1].fetch_add(1, Ordering::SeqCst);
        while self.withholds.load(Ordering::SeqCst) {
            if request.is_cancelled() {
                return Err(DeviceError::Cancelled);
            }
            std::thread::park_timeout(std::time::Duration::from_millis(2));
        }
        let command = if self.wrong.swap(false, Ordering::SeqCst) { "wrong" } else { "partials" };
        self.ask(command, &request.psbt)
    }
}

/// The aggregate is derived (BIP-328), as wallets do it.
fn derivations() -> [Derivation; 2] {
    [Derivation::key_path([0, 5]), Derivation::key_path([1, 2])]
}

/// Funds an address of these keys with each derivation.
fn coins(node: &Regtest, key_set: &KeySet) -> Vec<Coin> {
    let script = |derivation: &Derivation| {
        let key = key_set.final_key(derivation).expect("keys have an aggregate");
        [&[0x51, 0x20], key.x_only().as_slice()].concat()
    };
    derivations().iter().flat_map(|derivation| fund(node, &script(derivation), 1)).collect()
}

fn request(signers: usize, key_set: &KeySet, coins: &[Coin]) -> (SessionRequest, Txid) {
    let value: u64 = coins.iter().map(|coin| coin.value).sum();
    let transaction = unsigned(coins, &[(value - 10_000, coins[0].script.clone())]);
    let spent = coins.iter().map(|coin| SpentOutput { value: coin.value, script: coin.script.clone() });
    let bytes = bitcoin::consensus::serialize(&transaction);
    let policy = FailoverPolicy { broadcast_timeout: TURN, ..FailoverPolicy::default() };
    let mut request = SessionRequest::transaction(keys(signers), bytes, spent.collect())
        .key_set(key_set.clone())
        .failover(policy);
    for derivation in derivations() {
        request = request.derive(1, derivation);
    }
    (request, txid(&transaction))
}

fn with_device(index: usize, node: &Regtest, device: &Arc<Other>, version: u32) -> (Node, Arc<PsbtSigner>) {
    let signer = Arc::new(PsbtSigner::new([device.key()], device.clone()).psbt_version(version));
    let node = signer_builder(index, Arc::new(node.source())).psbt_signer(signer.clone()).start();
    (node.expect("starts"), signer)
}

#[test]
fn regtest_psbt_signers_of_others_sign_and_a_killed_coordinator_is_replaced() {
    let test = "regtest_psbt_signers_of_others_sign_and_a_killed_coordinator_is_replaced";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let Some(folder) = programs(test) else { return };
    let n = 4;
    let list =
        elect(&keys(n), ElectionMethod::Lexicographic, &SessionId([0; 32])).expect("signers").priority_list;
    let (scure, btclib) = (Other::scure(&folder, 30), Other::btclib(&folder, 31));
    // The coordinator and the last in the list sign with their identity keys.
    let mut participants = keys(n);
    (participants[list[1]], participants[list[2]]) = (scure.key(), btclib.key());
    let key_set = KeySet::new(&participants);
    let coins = coins(&node, &key_set);

    let mut coordinator = Process::start(list[0], &node);
    let count = Arc::new(AtomicUsize::new(0));
    let nodes = [
        with_device(list[1], &node, &scure, 0).0,
        with_device(list[2], &node, &btclib, 2).0,
        signer(list[3], Counted { source: node.source(), submissions: count.clone() }),
    ];
    let address = coordinator.wait_for("listening");
    for (index, one) in nodes.iter().enumerate() {
        one.add_peer(&address).wait().expect("an address");
        for other in &nodes[..index] {
            one.add_peer(&self::address(other)).wait().expect("an address");
        }
    }
    let (request, txid) = request(n, &key_set, &coins);
    let session = nodes[0].create_session(request).wait().expect("is created");
    for one in &nodes[1..] {
        assert_eq!(join_next(one).id(), session.id());
    }
    for one in &nodes {
        assert_eq!(complete(one, &one.session(session.id())).txid, txid);
    }
    // Each was handed one PSBT without nonces, and one with all.
    assert_eq!((scure.asked(), btclib.asked()), ([1, 1], [1, 1]));
    coordinator.wait_for("about to submit");
    assert!(!node.in_mempool(&txid));
    coordinator.kill();
    eventually("it is in the mempool", || node.in_mempool(&txid).then_some(()));
    for one in &nodes {
        seen(one, &one.session(session.id()));
    }
    assert_eq!(count.load(Ordering::SeqCst), 0, "the next one submits, not the last");
    node.mine(1);
    assert_eq!(node.height_of(&txid), Some(node.height()));
    for one in &nodes {
        assert_eq!(confirmed(one, &one.session(session.id())), (node.height(), 1));
    }
}

#[test]
fn regtest_psbt_signer_that_withholds_or_answers_a_wrong_partial_signature_spends_nothing() {
    let test = "regtest_psbt_signer_that_withholds_or_answers_a_wrong_partial_signature_spends_nothing";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let Some(folder) = programs(test) else { return };
    let (scure, btclib) = (Other::scure(&folder, 30), Other::btclib(&folder, 31));
    let key_set = KeySet::new(&[scure.key(), btclib.key(), key(2)]);
    let coins = coins(&node, &key_set);
    let (first, _) = with_device(0, &node, &scure, 2);
    let (second, at_btclib) = with_device(1, &node, &btclib, 0);
    let nodes = [first, second, signer(2, node.source())];
    connect(&nodes);
    scure.withholds.store(true, Ordering::SeqCst);
    btclib.wrong.store(true, Ordering::SeqCst);
    let (request, txid) = request(3, &key_set, &coins);
    let session = nodes[2].create_session(request).wait().expect("is created");
    join_next(&nodes[0]);
    join_next(&nodes[1]);
    // The wrong one is noticed where it was made, and nobody hears of it.
    let words = wait_for(&nodes[1], "a failure", |event| match &event.event {
        Event::SignerFailed { error } => Some(error.to_string()),
        _ => None,
    });
    assert!(words.contains("does not verify"), "{words}");
    wait_until("who withholds is asked", || scure.asked() == [1, 1]);
    // Both are missing; neither is guilty.
    wait_until("both are missing", || {
        nodes[2].session(session.id()).status().wait().expect("known").missing == [0, 1]
    });
    // The application of the second one asks its wallet for other nonces: a new attempt, in which the first one's wallet
    // has given nothing of its own.
    wait_until("it waits for the word", || at_btclib.ask_again(&session.id()));
    scure.withholds.store(false, Ordering::SeqCst);
    for one in &nodes {
        assert_eq!(complete(one, &one.session(session.id())).txid, txid);
    }
    assert_eq!(btclib.asked(), [2, 2]);
    assert_eq!(scure.asked(), [2, 2], "what it signed in the first attempt is used up");
    eventually("it is in the mempool", || node.in_mempool(&txid).then_some(()));
    node.mine(1);
    assert_eq!(node.height_of(&txid), Some(node.height()));
    for one in &nodes {
        assert_eq!(confirmed(one, &one.session(session.id())), (node.height(), 1));
    }
}
