//! Participant keys in a device that reads and writes PSBTs: what it is handed, when, and what is read of its answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libmusig::chain::psbt::{
    DeviceError, Musig2Nonce, Musig2Partial, Musig2Spend, Psbt, PsbtDevice, PsbtFolder, PsbtRequest,
    PsbtSigner,
};
use libmusig::chain::transaction::{SigningKey, messages};
use libmusig::error::{Error, SignerError};
use libmusig::event::Event;
use libmusig::node::{Node, Session, SessionRequest};
use libmusig::protocol::crypto::key_set::{Derivation, KeySet};
use libmusig::protocol::proposal::{KeyOrigin, SighashType, TransactionTerms};
use libmusig::signer::{NonceRequest, PartialRequest, Signer};
use libmusig::store::redb::RedbStore;
use libmusig::types::{SessionId, SignerKey, UnixMillis};
use secp256k1::musig::{AggregatedNonce, KeyAggCache, PublicNonce, SecretNonce};
use secp256k1::{Keypair, PublicKey, Scalar};

use crate::world::Spend;
use test_support::backend::chain::Chain;
use test_support::nodes::*;
use test_support::party::Party;

/// A wallet that signs PSBTs by BIP-373 with libsecp256k1, and is as strict as Bitcoin Core: it panics when it is handed the
/// same PSBT without nonces twice while it holds the secret ones.
#[derive(Default)]
struct Wallet {
    secret: Option<Keypair>,
    nonces: Mutex<HashMap<[u8; 66], SecretNonce>>,
    /// What it was handed, by number.
    handed: Mutex<Vec<(SessionId, u32, Psbt)>>,
    faults: Mutex<Vec<&'static str>>,
    /// Whether it answers.
    silent: AtomicBool,
}

fn tap_tweak(cache: &mut KeyAggCache) {
    let tag = libmusig::types::tagged_hash("TapTweak", &[&cache.agg_pk().to_byte_array()]);
    cache.pubkey_xonly_tweak_add(&Scalar::from_be_bytes(tag).expect("below the order")).expect("a key");
}

fn cache(spend: &Musig2Spend) -> KeyAggCache {
    assert_eq!(spend.derivation, Derivation::key_path([]));
    let keys: Vec<PublicKey> = spend
        .key_set
        .keys()
        .iter()
        .map(|key| PublicKey::from_slice(key.as_bytes()).expect("a point"))
        .collect();
    let mut cache = KeyAggCache::new(&keys.iter().collect::<Vec<_>>());
    tap_tweak(&mut cache);
    cache
}

impl Wallet {
    fn new(index: usize) -> Arc<Self> {
        let secret = Keypair::from_secret_bytes(secret(index)).expect("a secret key");
        Arc::new(Self { secret: Some(secret), ..Self::default() })
    }

    fn pair(&self) -> &Keypair {
        self.secret.as_ref().expect("was made with it")
    }

    fn key(&self) -> SignerKey {
        SignerKey::from_bytes(&self.pair().public_key().serialize()).expect("a point")
    }

    fn fault(&self, what: &'static str) {
        self.faults.lock().expect("no panic").push(what);
    }

    fn has_fault(&self, what: &str) -> bool {
        let mut faults = self.faults.lock().expect("no panic");
        let found = faults.iter().position(|fault| *fault == what);
        found.map(|index| faults.remove(index)).is_some()
    }

    fn handed(&self) -> Vec<(SessionId, u32)> {
        self.handed.lock().expect("no panic").iter().map(|(session, number, _)| (*session, *number)).collect()
    }

    /// What an answer of this wallet is to this PSBT, whoever brought it.
    fn nonces(&self, psbt: &Psbt) -> Psbt {
        let mut answer = psbt.clone();
        for spend in psbt.musig2_spends().expect("complete") {
            assert!(psbt.nonces(spend.input).is_empty(), "round 1 has no nonces");
            let mut random = [0; 32];
            getrandom::fill(&mut random).expect("random bytes");
            let count = u64::from_le_bytes(*random.first_chunk().expect("32 bytes"));
            let (secret, public) = cache(&spend).nonce_gen(count, self.pair(), &spend.sighash, Some(random));
            self.nonces.lock().expect("no panic").insert(public.serialize(), secret);
            let nonce = Musig2Nonce { slot: spend.slot(self.key()), nonce: public.serialize() };
            answer.add_nonce(spend.input, &nonce).expect("there is none");
        }
        answer
    }

    fn partials(&self, psbt: &Psbt) -> Psbt {
        let mut answer = psbt.clone();
        for spend in psbt.musig2_spends().expect("complete") {
            let known = psbt.nonces(spend.input);
            let nonce = |key: SignerKey| {
                let slot = spend.slot(key);
                known.iter().find(|nonce| nonce.slot == slot).expect("round 2 has all nonces").nonce
            };
            let all: Vec<PublicNonce> = spend
                .key_set
                .keys()
                .into_iter()
                .map(|key| PublicNonce::from_byte_array(&nonce(key)).expect("points"))
                .collect();
            let secret = self.nonces.lock().expect("no panic").remove(&nonce(self.key())).expect("used once");
            let cache = cache(&spend);
            let aggregate = AggregatedNonce::new(&all.iter().collect::<Vec<_>>());
            let session = secp256k1::musig::Session::new(&cache, aggregate, &spend.sighash);
            let mut partial = session.partial_sign(secret, self.pair(), &cache).serialize();
            if self.has_fault("wrong partial") {
                partial[31] ^= 1;
            }
            answer
                .add_partial(spend.input, &Musig2Partial { slot: spend.slot(self.key()), partial })
                .expect("new");
        }
        answer
    }

    fn exchange(&self, request: &PsbtRequest) -> Result<(), DeviceError> {
        let again = request.again || self.handed().contains(&(request.session, request.number));
        assert!(!again, "no PSBT goes out twice");
        if self.has_fault("unreachable") {
            return Err(DeviceError::Unreachable("plug it in".into()));
        }
        let handed = (request.session, request.number, request.psbt.clone());
        self.handed.lock().expect("no panic").push(handed);
        while self.silent.load(Ordering::SeqCst) {
            if request.is_cancelled() {
                return Err(DeviceError::Cancelled);
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        if self.has_fault("fails") {
            return Err(DeviceError::Failed("out of order".into()));
        }
        Ok(())
    }
}

impl PsbtDevice for Wallet {
    fn add_nonces(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError> {
        assert_eq!(request.keys, [self.key()]);
        assert!(request.number % 2 == 1 && request.psbt.partials(0).is_empty());
        self.exchange(request)?;
        Ok(self.nonces(&request.psbt))
    }

    fn add_partials(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError> {
        assert!(request.number.is_multiple_of(2));
        self.exchange(request)?;
        Ok(self.partials(&request.psbt))
    }
}

fn stop(nodes: &[Node]) {
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

/// What devices and a node own together, and a transaction that spends it.
fn request(chain: &Chain, key_set: &KeySet, signers: usize) -> SessionRequest {
    let spend = Spend::new(chain, &key_set.keys());
    spend.request(keys(signers)).key_set(key_set.clone()).derive(1, Derivation::key_path([]))
}

fn failure(node: &Node) -> String {
    wait_for(node, "a failure", |event| match &event.event {
        Event::SignerFailed { error } => Some(error.to_string()),
        _ => None,
    })
}

#[test]
fn psbt_signer_is_asked_once_for_each_round_and_its_waiting_is_reported() {
    let chain = Chain::new();
    let wallets = [Wallet::new(20), Wallet::new(21)];
    let signer = |index: usize| {
        let version = 2 * index as u32;
        Arc::new(PsbtSigner::new([wallets[index].key()], wallets[index].clone()).psbt_version(version))
    };
    let nodes = [
        builder(secret(0)).psbt_signer(signer(0)).start().expect("starts"),
        builder(secret(1)).psbt_signer(signer(1)).start().expect("starts"),
        builder(secret(2)).start().expect("starts"),
    ];
    connect(&nodes);
    let key_set = KeySet::new(&[wallets[0].key(), wallets[1].key(), key(2)]);
    wallets[0].silent.store(true, Ordering::SeqCst);
    let session = nodes[0].create_session(request(&chain, &key_set, 3)).wait().expect("is created");
    let waits = |round: u32| {
        wait_for(&nodes[0], "the wait", |event| match event.event {
            Event::SignerWaiting { round: found, .. } if found == round => event.session,
            _ => None,
        })
    };
    assert_eq!(waits(1), session.id());
    // Nobody else waits for it: the node answers, and other keys are looked at.
    let raw = SessionRequest::messages(keys(3), [message(1)]).key_set(key_set.clone());
    let refused = nodes[0].create_session(raw).wait().err();
    assert!(matches!(refused, Some(Error::Proposal(_) | Error::Signer(_))), "{refused:?}");
    join_next(&nodes[1]);
    join_next(&nodes[2]);
    wallets[0].silent.store(false, Ordering::SeqCst);
    waits(2);
    for node in &nodes {
        wait_complete(node, session.id());
    }
    for (index, wallet) in wallets.iter().enumerate() {
        assert_eq!(wallet.handed(), [(session.id(), 1), (session.id(), 2)]);
        let handed = wallet.handed.lock().expect("no panic");
        assert!(handed.iter().all(|(.., psbt)| psbt.version() == 2 * index as u32));
        assert_eq!(handed[1].2.nonces(0).len(), 3);
    }
    stop(&nodes);
}

#[test]
fn psbt_signer_refuses_raw_messages_in_words() {
    let wallet = Wallet::new(20);
    let signer = Arc::new(PsbtSigner::new([wallet.key()], wallet.clone()));
    let node = builder(secret(0)).psbt_signer(signer.clone()).start().expect("starts");
    let key_set = KeySet::new(&[wallet.key(), key(1)]);
    let plain = Derivation { path: vec![3], ..Derivation::default() };
    let raw = libmusig::protocol::proposal::Message::with([1; 32], 1, plain);
    let refused = node.create_session(SessionRequest::messages(keys(2), [raw]).key_set(key_set)).wait().err();
    let Some(Error::Signer(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("no raw messages"), "{error}");
    assert!(wallet.handed().is_empty());
    // One signer is at one node.
    let second = builder(secret(0)).psbt_signer(signer).start();
    let Err(Error::Config(why)) = second else { panic!("it is in use") };
    assert!(why.contains("another node"), "{why}");
    node.stop().expect("stops");
}

#[test]
fn psbt_signer_that_cannot_be_reached_is_asked_again_and_one_that_fails_waits_for_the_application() {
    for (fault, words, other_nonces) in [
        ("unreachable", "plug it in", false),
        ("fails", "out of order", true),
        ("wrong partial", "does not verify", true),
    ] {
        let chain = Chain::new();
        let wallet = Wallet::new(20);
        let signer = Arc::new(PsbtSigner::new([wallet.key()], wallet.clone()));
        let nodes = [
            builder(secret(0)).psbt_signer(signer.clone()).start().expect("starts"),
            builder(secret(1)).start().expect("starts"),
        ];
        connect(&nodes);
        wallet.fault(fault);
        let key_set = KeySet::new(&[wallet.key(), key(1)]);
        let session = nodes[1].create_session(request(&chain, &key_set, 2)).wait().expect("is created");
        join_next(&nodes[0]);
        let said = failure(&nodes[0]);
        assert!(said.contains(words), "{fault}: {said}");
        assert_eq!(said.contains("ask_again"), other_nonces, "{fault}: {said}");
        if other_nonces {
            let before = wallet.handed();
            wait_until("it waits for the word", || signer.ask_again(&session.id()));
            wait_until("it is asked again", || wallet.handed().len() > before.len());
        }
        for node in &nodes {
            wait_complete(node, session.id());
        }
        let numbers: Vec<u32> = wallet.handed().iter().map(|(_, number)| *number).collect();
        let expected: &[u32] = match fault {
            "unreachable" => &[1, 2],
            "fails" => &[1, 3, 4],
            _ => &[1, 2, 3, 4],
        };
        assert_eq!(numbers, expected, "{fault}");
        stop(&nodes);
    }
}

/// A session over a transaction, of a device and two others in this process.
fn party(wallet: &Wallet) -> Party {
    let key_set =
        KeySet::new(&[wallet.key(), test_support::party::key_of(2), test_support::party::key_of(3)]);
    let spend = Spend::new(&Chain::new(), &key_set.keys());
    let owned = SigningKey {
        output_key: *key_set.final_key(&Derivation::key_path([])).expect("keys").x_only(),
        key_set: 0,
        derivation: Derivation::key_path([]),
    };
    let digests =
        messages(&spend.unsigned, std::slice::from_ref(&spend.spent), &[owned], SighashType::Default)
            .expect("owned");
    Party::new(3, |terms| {
        terms.key_sets = vec![key_set];
        terms.messages = digests;
        terms.transaction = Some(TransactionTerms { unsigned: spend.unsigned, spent: vec![spend.spent] });
        terms.expires_at = UnixMillis(u64::MAX / 2);
    })
}

fn of_others(party: &Party, attempt: u32, own: &[[u8; 66]]) -> Vec<Vec<u8>> {
    let _ = attempt;
    let mut nonces = vec![own.concat()];
    for index in 1..3 {
        let request = NonceRequest::new(party.proposal.clone(), attempt, index, party.keys.clone());
        nonces.push(party.signers[index].make_nonces(&request).expect("first of the attempt").concat());
    }
    nonces
}

fn round_of(party: &Party, attempt: u32, own: &[[u8; 66]]) -> PartialRequest {
    let nonces = of_others(party, attempt, own);
    let slices: Vec<&[u8]> = nonces.iter().map(Vec::as_slice).collect();
    let round = party.keys.begin_round(&slices).expect("points");
    PartialRequest::new(party.proposal.clone(), attempt, 0, party.keys.clone(), round)
}

#[test]
fn one_second_round_has_nonces_that_restarts_announce_again_without_the_device() {
    let wallet = Wallet::new(20);
    let signer = PsbtSigner::new([wallet.key()], wallet.clone());
    let party = party(&wallet);
    let session = party.proposal.id();
    let nonces = |attempt: u32| {
        let request = NonceRequest::new(party.proposal.clone(), attempt, 0, party.keys.clone());
        signer.make_nonces(&request)
    };
    let first = nonces(0).expect("the device is there");
    // A co-signer restarts three times: the device is asked for nothing.
    for attempt in 1..4 {
        signer.forget(&session, attempt - 1);
        assert_eq!(nonces(attempt).expect("made before"), first);
    }
    assert_eq!(wallet.handed(), [(session, 1)]);
    // Calls of attempts that are over are answered, not waited for.
    assert!(nonces(2).is_err());

    let second = round_of(&party, 3, &first);
    let partials = signer.make_partials(&second).expect("all nonces are there");
    assert!(second.round.verify_partials(0, &partials.concat()));
    assert_eq!(signer.make_partials(&second).expect("known"), partials, "the same answer to the same round");
    // Another round with the same nonces is none, also of another attempt.
    let other = round_of(&party, 4, &first);
    assert_eq!(signer.make_partials(&other), Err(SignerError::NonceGone));
    assert_eq!(wallet.handed(), [(session, 1), (session, 2)]);
    // They are used up, so the next attempt has others, of which the device is asked once.
    signer.forget(&session, 3);
    let fresh = nonces(4).expect("the device is there");
    assert_ne!(fresh, first);
    assert_eq!(wallet.handed(), [(session, 1), (session, 2), (session, 3)]);
    assert_eq!(signer.make_partials(&other), Err(SignerError::NonceGone));
}

#[test]
fn one_second_round_without_an_answer_is_not_followed_by_another_unless_the_application_says_so() {
    let wallet = Wallet::new(20);
    let signer = PsbtSigner::new([wallet.key()], wallet.clone());
    let party = party(&wallet);
    let session = party.proposal.id();
    let request = |attempt: u32| NonceRequest::new(party.proposal.clone(), attempt, 0, party.keys.clone());
    let first = signer.make_nonces(&request(0)).expect("the device is there");
    assert!(!signer.ask_again(&session), "nothing waits for it");
    wallet.fault("fails");
    let failed = signer.make_partials(&round_of(&party, 0, &first)).expect_err("the device fails");
    assert!(failed.to_string().contains("out of order"), "{failed}");
    signer.forget(&session, 0);
    std::thread::scope(|scope| {
        let next = scope.spawn(|| signer.make_nonces(&request(1)));
        wait_until("it is waited for", || signer.ask_again(&session));
        let nonces = next.join().expect("no panic").expect("the application said so");
        assert_ne!(nonces, first);
    });
    assert_eq!(wallet.handed(), [(session, 1), (session, 2), (session, 3)]);
}

#[test]
fn one_second_round_survives_a_restart_of_the_node() {
    let chain = Chain::new();
    let wallet = Wallet::new(20);
    let folder = tempfile::tempdir().expect("a folder");
    let start = || {
        let signer = Arc::new(PsbtSigner::new([wallet.key()], wallet.clone()));
        let store = RedbStore::open(folder.path().join("store")).expect("opens");
        let node = builder(secret(0)).store(store).psbt_signer(signer.clone()).start().expect("starts");
        (node, signer)
    };
    let (first, _) = start();
    let other = builder(secret(1)).start().expect("starts");
    let key_set = KeySet::new(&[wallet.key(), key(1)]);
    let nodes = [first, other];
    connect(&nodes);
    let session = nodes[0].create_session(request(&chain, &key_set, 2)).wait().expect("is created");
    // With the consent, as the other one is connected.
    wait_until("it made nonces", || !wallet.nonces.lock().expect("no panic").is_empty());
    let [first, other] = nodes;
    wait_until("its nonces are signed", || {
        let export = first.session(session.id()).export().wait().expect("known");
        export.len() > 3 * 64 + wallet.handed.lock().expect("no panic")[0].2.to_bytes().len()
    });
    first.stop().expect("stops");
    // Nothing of a second round left: the nonces are announced again, and the device is not asked.
    wallet.silent.store(true, Ordering::SeqCst);
    let (node, _) = start();
    let nodes = [node, other];
    connect(&nodes);
    join_next(&nodes[1]);
    wait_until("the second PSBT left", || wallet.handed() == [(session.id(), 1), (session.id(), 2)]);
    let [node, other] = nodes;
    node.stop().expect("stops");
    // It left, and no answer came: the device is asked for nothing without the application's word.
    wallet.silent.store(false, Ordering::SeqCst);
    let (node, signer) = start();
    let nodes = [node, other];
    connect(&nodes);
    let said = failure(&nodes[0]);
    assert!(said.contains("handed over before"), "{said}");
    assert_eq!(wallet.handed().len(), 2);
    wait_until("it waits for the word", || signer.ask_again(&session.id()));
    for node in &nodes {
        wait_complete(node, session.id());
    }
    let numbers: Vec<u32> = wallet.handed().iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    stop(&nodes);
}

/// Files of a folder, with its temporary ones.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

fn wait_file(path: &Path) -> Psbt {
    wait_until(&format!("{} is there", path.display()), || path.exists());
    Psbt::from_bytes(&std::fs::read(path).expect("is read")).expect("written at once")
}

#[test]
fn psbt_signer_folder_reads_no_answer_of_another_session_as_a_new_one() {
    let chain = Chain::new();
    let wallet = Wallet::new(20);
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = temporary.path().join("psbts");
    let device = Arc::new(PsbtFolder::new(&folder).expect("is made"));
    let signer = Arc::new(PsbtSigner::new([wallet.key()], device));
    let nodes = [
        builder(secret(0)).psbt_signer(signer.clone()).start().expect("starts"),
        builder(secret(1)).start().expect("starts"),
    ];
    connect(&nodes);
    let key_set = KeySet::new(&[wallet.key(), key(1)]);
    let spend = Spend::new(&chain, &key_set.keys());
    let propose = || -> Session {
        let request = spend.request(keys(2)).key_set(key_set.clone()).derive(1, Derivation::key_path([]));
        nodes[0].create_session(request).wait().expect("is created")
    };
    let file = |session: &Session, name: &str| folder.join(format!("{}.{name}", session.id()));
    let asked = |session: &Session, number: u32| wait_file(&file(session, &format!("{number}.psbt")));
    let answer = |session: &Session, number: u32, bytes: &[u8]| {
        std::fs::write(file(session, &format!("{number}.answer.psbt")), bytes).expect("is written");
    };

    // The first one is answered, and aborted.
    let first = propose();
    let stale = wallet.nonces(&asked(&first, 1));
    answer(&first, 1, &stale.to_bytes());
    join_next(&nodes[1]);
    asked(&first, 2);
    first.abort("another time").wait().expect("is open");

    // The same transaction again: its PSBT is the same but for the name, and the old answer has everything asked for.
    let session = propose();
    join_next(&nodes[1]);
    assert_eq!(asked(&session, 1), asked(&first, 1));
    answer(&session, 1, &stale.to_bytes());
    let said = failure_of(&nodes[0], &session);
    assert!(said.contains("used before"), "{said}");
    wait_until("it waits for the word", || signer.ask_again(&session.id()));
    // What is no PSBT yet is not read; text is one too.
    answer(&session, 3, b"psbt\xff");
    let good = wallet.nonces(&asked(&session, 3));
    answer(&session, 3, good.to_base64().as_bytes());
    let second = asked(&session, 4);
    answer(&session, 4, &wallet.partials(&second).to_bytes());
    for node in &nodes {
        wait_complete(node, session.id());
    }
    let left: Vec<_> =
        files(&folder).into_iter().filter(|path| path.extension() != Some("psbt".as_ref())).collect();
    assert!(left.is_empty(), "{left:?}");
    stop(&nodes);
}

fn failure_of(node: &Node, session: &Session) -> String {
    wait_for(node, "a failure", |event| match &event.event {
        Event::SignerFailed { error } if event.session == Some(session.id()) => Some(error.to_string()),
        _ => None,
    })
}

#[test]
fn psbt_signer_finds_keys_below_an_xpub_and_nowhere_else() {
    let xpub = "xpub68Gmy5EdvgibQVfPdqkBBCHxA5htiqg55crXYuXoQRKfDBFA1WEjWgP6LHhwBZeNK1VTsfTFUHCdrfp1bgwQ9xv5ski8PX9rL2dZXvgGDnw";
    let origin = |path: &[u32]| KeyOrigin { fingerprint: [0x34, 0x42, 0x19, 0x3e], path: path.to_vec() };
    let child: SignerKey =
        "03501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c".parse().expect("a key");
    let signer = || PsbtSigner::new([key(5)], Wallet::new(20));
    let signer_of = |origin| signer().with_xpub(xpub, origin);
    let good = signer_of(origin(&[1 << 31])).expect("its place");
    assert_eq!(good.holds(&key(5), None), Ok(true));
    assert_eq!(good.holds(&child, Some(&origin(&[1 << 31, 1]))), Ok(true));
    for (key, at) in [
        (child, None),
        (child, Some(origin(&[1 << 31, 2]))),
        (child, Some(origin(&[1 << 31, (1 << 31) + 1]))),
        (child, Some(origin(&[1]))),
        (key(6), Some(origin(&[1 << 31, 1]))),
    ] {
        assert_eq!(good.holds(&key, at.as_ref()), Ok(false), "{at:?}");
    }
    assert!(signer_of(origin(&[])).is_err() && signer_of(origin(&[7])).is_err());
    assert!(signer().with_xpub(&xpub[1..], origin(&[1 << 31])).is_err());
}

/// A device whose call goes on for as long as it is wanted, and a little longer.
#[derive(Default)]
struct Slow {
    node: Mutex<Option<Node>>,
    stop_inside: Mutex<Option<Result<(), Error>>>,
    ended: AtomicBool,
}

impl PsbtDevice for Slow {
    fn add_nonces(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError> {
        let node = self.node.lock().expect("no panic").clone().expect("it was started");
        *self.stop_inside.lock().expect("no panic") = Some(node.stop());
        while !request.is_cancelled() {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        // What a stop that does not wait would overtake.
        std::thread::park_timeout(Duration::from_millis(50));
        self.ended.store(true, Ordering::SeqCst);
        Err(DeviceError::Cancelled)
    }

    fn add_partials(&self, _: &PsbtRequest) -> Result<Psbt, DeviceError> {
        unreachable!("there are no nonces")
    }
}

#[test]
fn psbt_signer_of_a_node_that_stops_is_in_no_call_any_more() {
    let chain = Chain::new();
    let (wallet, device) = (Wallet::new(20), Arc::new(Slow::default()));
    let key_set = KeySet::new(&[wallet.key()]);
    let signer = Arc::new(PsbtSigner::new([wallet.key()], device.clone()));
    let node = builder(secret(0)).psbt_signer(signer).start().expect("starts");
    *device.node.lock().expect("no panic") = Some(node.clone());
    node.create_session(request(&chain, &key_set, 1)).wait().expect("is created");
    wait_until("a call", || device.stop_inside.lock().expect("no panic").is_some());
    let stopped_inside = device.stop_inside.lock().expect("no panic").take();
    assert_eq!(stopped_inside, Some(Err(Error::WouldDeadlock)));
    node.stop().expect("stops");
    assert!(device.ended.load(Ordering::SeqCst));
    drop(device.node.lock().expect("no panic").take());
}
