//! Other people's signers, @scure/btc-signer and btclib-wallet, sign with libmusig's own by PSBT: each is a process of
//! its own, and the device of a node.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use libmusig::chain::psbt::{DeviceError, Psbt, PsbtDevice, PsbtFolder, PsbtRequest, PsbtSigner};
use libmusig::event::Event;
use libmusig::node::{Node, Session, SessionRequest};
use libmusig::protocol::crypto::key_set::{Derivation, KeySet};
use libmusig::protocol::election::{ElectionMethod, elect};
use libmusig::protocol::proposal::{FailoverPolicy, SpentOutput};
use libmusig::signer::LocalSigner;
use libmusig::store::redb::RedbStore;
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
    /// The PSBTs that it was handed as a device.
    handed: Mutex<Vec<Psbt>>,
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
            handed: Mutex::default(),
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

    /// How many PSBTs it was handed; none of them twice.
    fn handed_once(&self) -> usize {
        let handed = self.handed.lock().expect("no panic");
        for (index, psbt) in handed.iter().enumerate() {
            assert!(!handed[..index].contains(psbt), "PSBT {index} went out before");
        }
        handed.len()
    }

    fn hand_over(&self, round: usize, request: &PsbtRequest) {
        self.asked[round].fetch_add(1, Ordering::SeqCst);
        self.handed.lock().expect("no panic").push(request.psbt.clone());
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
        self.hand_over(0, request);
        self.ask("nonces", &request.psbt)
    }

    fn add_partials(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError> {
        self.hand_over(1, request);
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
    with_psbts(index, node, PsbtSigner::new([device.key()], device.clone()).psbt_version(version))
}

fn with_psbts(index: usize, node: &Regtest, signer: PsbtSigner) -> (Node, Arc<PsbtSigner>) {
    let signer = Arc::new(signer);
    let node = signer_builder(index, Arc::new(node.source())).psbt_signer(signer.clone()).start();
    (node.expect("starts"), signer)
}

fn failure(node: &Node) -> String {
    wait_for(node, "a failure", |event| match &event.event {
        Event::SignerFailed { error } => Some(error.to_string()),
        _ => None,
    })
}

/// Waits until all have the transaction, mines it, and waits until all know.
fn is_mined(node: &Regtest, nodes: &[Node], session: &Session, txid: Txid) {
    for one in nodes {
        assert_eq!(complete(one, &one.session(session.id())).txid, txid);
    }
    eventually("it is in the mempool", || node.in_mempool(&txid).then_some(()));
    node.mine(1);
    assert_eq!(node.height_of(&txid), Some(node.height()));
    for one in nodes {
        assert_eq!(confirmed(one, &one.session(session.id())), (node.height(), 1));
    }
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
    let words = failure(&nodes[1]);
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
    is_mined(&node, &nodes, &session, txid);
    assert_eq!(btclib.asked(), [2, 2]);
    assert_eq!(scure.asked(), [2, 2], "what it signed in the first attempt is used up");
}

#[test]
fn regtest_one_second_round_of_others_signers_though_a_co_signer_restarts_three_times() {
    let test = "regtest_one_second_round_of_others_signers_though_a_co_signer_restarts_three_times";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let Some(folder) = programs(test) else { return };
    let (scure, btclib) = (Other::scure(&folder, 30), Other::btclib(&folder, 31));
    let key_set = KeySet::new(&[scure.key(), btclib.key(), key(2), key(3)]);
    let coins = coins(&node, &key_set);
    let store = tempfile::tempdir().expect("a folder");
    // Its secret nonces are in memory alone.
    let restarting = || {
        let store = RedbStore::open(store.path().join("store")).expect("opens");
        signer_builder(2, Arc::new(node.source())).store(store).start().expect("starts")
    };
    let mut nodes = [
        with_device(0, &node, &scure, 2).0,
        with_device(1, &node, &btclib, 0).0,
        restarting(),
        signer(3, node.source()),
    ];
    connect(&nodes);
    let (request, txid) = request(4, &key_set, &coins);
    let session = nodes[0].create_session(request).wait().expect("is created");
    join_next(&nodes[1]);
    join_next(&nodes[2]);
    let waits_for_the_last = |nodes: &[Node], attempt: u32| {
        wait_until(&format!("all but the last gave nonces in attempt {attempt}"), || {
            let status = nodes[3].session(session.id()).status().wait();
            status.is_ok_and(|status| status.attempt == attempt && status.missing == [3])
        });
    };
    waits_for_the_last(&nodes, 0);
    for attempt in 1..=3 {
        nodes[2].stop().expect("stops");
        nodes[2] = restarting();
        connect(&nodes);
        waits_for_the_last(&nodes, attempt);
    }
    assert_eq!((scure.asked(), btclib.asked()), ([1, 0], [1, 0]), "their nonces are announced again");
    join_next(&nodes[3]);
    is_mined(&node, &nodes, &session, txid);
    assert_eq!((scure.asked(), btclib.asked()), ([1, 1], [1, 1]));
    assert_eq!((scure.handed_once(), btclib.handed_once()), (2, 2));
}

#[test]
fn regtest_psbt_signer_reads_no_answer_of_an_aborted_session_that_lies_in_its_folder() {
    let test = "regtest_psbt_signer_reads_no_answer_of_an_aborted_session_that_lies_in_its_folder";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let Some(programs) = programs(test) else { return };
    let (scure, btclib) = (Other::scure(&programs, 30), Other::btclib(&programs, 31));
    let key_set = KeySet::new(&[scure.key(), btclib.key(), key(2)]);
    let coins = coins(&node, &key_set);
    let folder = tempfile::tempdir().expect("a folder");
    let device = Arc::new(PsbtFolder::new(folder.path()).expect("is there"));
    let (first, by_folder) = with_psbts(0, &node, PsbtSigner::new([scure.key()], device).psbt_version(2));
    let (second, _) = with_device(1, &node, &btclib, 0);
    let nodes = [first, second, signer(2, node.source())];
    connect(&nodes);

    let propose = || {
        let (request, txid) = request(3, &key_set, &coins);
        let session = nodes[2].create_session(request).wait().expect("is created");
        join_next(&nodes[0]);
        join_next(&nodes[1]);
        (session, txid)
    };
    let file = |session: &Session, name: String| folder.path().join(format!("{}.{name}.psbt", session.id()));
    let asked = |session: &Session, number: u32| {
        let path = file(session, number.to_string());
        wait_until(&format!("{} is there", path.display()), || path.exists());
        Psbt::from_bytes(&std::fs::read(path).expect("is read")).expect("written at once")
    };
    let answered = |session: &Session, number: u32, psbt: &Psbt| {
        // Whoever reads it early finds no PSBT yet.
        std::fs::write(file(session, format!("{number}.answer")), psbt.to_bytes()).expect("is written");
    };
    let sign = |session: &Session, number: u32| {
        let command = if number % 2 == 1 { "nonces" } else { "partials" };
        let answer = scure.ask(command, &asked(session, number)).expect("it signs");
        answered(session, number, &answer);
        answer
    };

    // The second answer comes when nobody waits for it any more.
    let (aborted, txid) = propose();
    let nonces = sign(&aborted, 1);
    asked(&aborted, 2);
    aborted.abort("another time").wait().expect("is open");
    for one in &nodes {
        wait_for(one, "the end", |event| {
            (event.session == Some(aborted.id()) && matches!(event.event, Event::SessionAborted { .. }))
                .then_some(())
        });
    }
    let partials = sign(&aborted, 2);

    // The same transaction again: the first PSBT is the same, and what was answered to it lies there.
    let (session, same) = propose();
    assert_eq!((same, asked(&session, 1)), (txid, asked(&aborted, 1)));
    wait_until("the folder's nonces are missing alone", || {
        nodes[2].session(session.id()).status().wait().expect("known").missing == [0]
    });
    // Somebody hands in the old answers as if they were new ones.
    answered(&session, 1, &nonces);
    let words = failure(&nodes[0]);
    assert!(words.contains("used before"), "{words}");
    wait_until("it waits for the word", || by_folder.ask_again(&session.id()));
    sign(&session, 3);
    asked(&session, 4);
    answered(&session, 4, &partials);
    let words = failure(&nodes[0]);
    assert!(words.contains("does not verify"), "{words}");
    assert!(!node.in_mempool(&txid));
    wait_until("it waits for the word", || by_folder.ask_again(&session.id()));
    sign(&session, 5);
    sign(&session, 6);
    is_mined(&node, &nodes, &session, txid);
}
