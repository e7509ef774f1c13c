//! Participant keys in a foreign signer, as in a device, beside an identity key at the node.

use std::sync::{Arc, Mutex};

use libmusig::error::{Error, ProposalError, SignerError};
use libmusig::event::Event;
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::crypto::{NONCE, PARTIAL, Scheme};
use libmusig::protocol::envelope::{Content, Envelope};
use libmusig::protocol::proposal::{Derivation, KeyOrigin, KeySet, Message};
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::{LocalSigner, NonceRequest, PartialRequest, Signer};
use libmusig::store::memory::MemoryStore;
use libmusig::types::{SessionId, SignerKey};

use test_support::nodes::*;

/// The first vector of BIP-32: an account, and a child of it.
const XPRV: &str = "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4cV1rGL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7";
const CHILD: &str = "03501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c";

fn origin(path: &[u32]) -> KeyOrigin {
    KeyOrigin { fingerprint: [0x34, 0x42, 0x19, 0x3e], path: path.to_vec() }
}

fn child() -> SignerKey {
    let bytes: Vec<u8> =
        (0..33).map(|at| u8::from_str_radix(&CHILD[2 * at..][..2], 16).expect("hexadecimal")).collect();
    SignerKey::from_bytes(&bytes).expect("a point")
}

/// A child of the aggregate key that is no output key, so that messages are not signed blind.
fn plain() -> Derivation {
    Derivation { path: vec![3], ..Derivation::default() }
}

/// What a device was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Holds(SignerKey, bool),
    /// The messages, with the key set and the participant key of each.
    Nonces(Vec<(usize, usize, SignerKey)>),
    Partials(Vec<(usize, usize, SignerKey)>),
    Forget,
}

/// A device with an account. The arithmetic is a local signer's.
struct Device {
    inner: LocalSigner,
    asked: Mutex<Vec<Asked>>,
    /// What it does with the next question of each kind.
    fails: Mutex<Vec<&'static str>>,
}

impl Device {
    fn new(signer: usize) -> Arc<Self> {
        let inner = LocalSigner::new(secret(signer)).expect("a secret key");
        inner.add_xprv(XPRV, origin(&[1 << 31])).expect("an account");
        Arc::new(Self { inner, asked: Mutex::default(), fails: Mutex::default() })
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("nobody panics with it").clone()
    }

    fn note(&self, asked: Asked) {
        self.asked.lock().expect("nobody panics with it").push(asked);
    }

    fn fails(&self, what: &'static str) -> bool {
        let mut fails = self.fails.lock().expect("nobody panics with it");
        let found = fails.iter().position(|fault| *fault == what);
        found.map(|position| fails.remove(position)).is_some()
    }

    fn fail(&self, what: &'static str) {
        self.fails.lock().expect("nobody panics with it").push(what);
    }
}

impl Signer for Device {
    fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> Result<bool, SignerError> {
        if self.fails("holds") {
            return Err(SignerError::Other("plug it in".into()));
        }
        let holds = self.inner.holds(key, origin);
        self.note(Asked::Holds(*key, holds));
        Ok(holds)
    }

    fn make_nonces(&self, request: &NonceRequest) -> Result<Vec<[u8; NONCE]>, SignerError> {
        let about = |message: &usize| {
            let key = request.participant_key(*message).expect("of this session");
            (*message, request.proposal.messages[*message].key_set, key)
        };
        self.note(Asked::Nonces(request.messages.iter().map(about).collect()));
        let mut nonces = self.inner.make_nonces(request)?;
        if self.fails("nonces") {
            nonces[0] = [0xee; NONCE];
        }
        Ok(nonces)
    }

    fn make_partials(&self, request: &PartialRequest) -> Result<Vec<[u8; PARTIAL]>, SignerError> {
        let about = |message: &usize| {
            let key = request.participant_key(*message).expect("of this session");
            (*message, request.proposal.messages[*message].key_set, key)
        };
        self.note(Asked::Partials(request.messages.iter().map(about).collect()));
        let mut partials = self.inner.make_partials(request)?;
        if self.fails("partials") {
            partials[0][31] ^= 1;
        }
        if self.fails("too few") {
            partials.pop();
        }
        Ok(partials)
    }

    fn forget(&self, session: &SessionId, attempt: u32) {
        self.note(Asked::Forget);
        self.inner.forget(session, attempt);
    }
}

/// The first node has a device, and a participant key of its own; the second signs with its identity key.
fn pair(device: &Arc<Device>) -> [Node; 2] {
    let local = LocalSigner::new(secret(0)).expect("a secret key");
    local.add_key(secret(20)).expect("a participant key");
    let nodes = [
        builder(secret(0)).identity(local).foreign_signer(device.clone()).start().expect("starts"),
        builder(secret(1)).start().expect("starts"),
    ];
    connect(&nodes);
    nodes
}

/// Of the device.
fn derived() -> KeySet {
    let mut key_set = KeySet::new(&[child(), key(1)]);
    key_set.participants[0].origin = Some(origin(&[1 << 31, 1]));
    key_set
}

/// Messages of the node's own key, and of the device's.
fn mixed(derived: KeySet) -> SessionRequest {
    let message = |byte: u8, key_set: usize| Message::with([byte; 32], key_set, plain());
    SessionRequest::messages(keys(2), [message(1, 2), message(2, 1), message(3, 2), message(4, 2)])
        .key_set(KeySet::new(&[key(20), key(1)]))
        .key_set(derived)
}

fn stop(nodes: &[Node]) {
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

#[test]
fn key_sets_of_a_foreign_signer_and_of_the_node_sign_together() {
    // Whoever proposes.
    for proposer in 0..2 {
        let device = Device::new(0);
        let nodes = pair(&device);
        let session = nodes[proposer].create_session(mixed(derived())).wait().expect("is created");
        join_next(&nodes[1 - proposer]);
        let finals = [derived(), KeySet::new(&[key(20), key(1)]), derived(), derived()]
            .map(|key_set| key_set.final_key(&plain()).expect("good keys"));
        for node in &nodes {
            wait_complete(node, session.id());
            let signatures = node.session(session.id()).final_signatures().wait().expect("known");
            for (index, signature) in signatures.expect("complete").iter().enumerate() {
                assert!(Musig2.verify(&finals[index], &[index as u8 + 1; 32], signature));
            }
        }
        let asked = device.asked();
        // Of the keys that the node does not hold; the identity key is not among them.
        let about: Vec<_> = asked.iter().filter(|asked| matches!(asked, Asked::Holds(..))).collect();
        assert!(about.contains(&&Asked::Holds(child(), true)), "{about:?}");
        assert!(about.contains(&&Asked::Holds(key(1), false)), "{about:?}");
        assert!(
            !about
                .iter()
                .any(|about| matches!(about, Asked::Holds(of, _) if *of == key(20) || *of == key(0)))
        );
        // The device's messages alone, each with its participant key and the key set in the terms.
        let proposal = nodes[0].session(session.id()).proposal().wait().expect("known");
        let set = proposal.messages[0].key_set;
        let own = vec![(0, set, child()), (2, set, child()), (3, set, child())];
        assert_eq!(asked.iter().filter(|asked| **asked == Asked::Nonces(own.clone())).count(), 1);
        assert_eq!(asked.iter().filter(|asked| **asked == Asked::Partials(own.clone())).count(), 1);
        stop(&nodes);
    }
}

#[test]
fn key_sets_that_neither_signer_holds_are_not_answered() {
    let device = Device::new(0);
    let nodes = pair(&device);
    let without = |origin: Option<KeyOrigin>| {
        let mut key_set = derived();
        key_set.participants[0].origin = origin;
        key_set
    };
    // The device's own key, if the proposal does not say where it is; and one that is another's.
    for key_set in [without(None), without(Some(origin(&[1 << 31, 2]))), KeySet::new(&[key(40), key(1)])] {
        let missing = key_set.participants[0].key;
        let refused = nodes[0].create_session(mixed(key_set.clone())).wait().err();
        assert_eq!(refused, Some(Error::Proposal(ProposalError::KeyNotHeld { key: missing })));
        let before = device.asked().len();
        nodes[1].create_session(mixed(key_set)).wait().expect("it is not known there");
        wait_until("the device is asked", || device.asked().len() > before);
    }
    // The device's key in another signer's place.
    let mut stolen = derived();
    stolen.participants.swap(0, 1);
    stolen.participants[0].key = key(20);
    stolen.participants[0].origin = None;
    let own = Message::with([1; 32], 1, Derivation::default());
    let refused = nodes[0].create_session(SessionRequest::messages(keys(2), [own]).key_set(stolen)).wait();
    let duplicate = Error::Proposal(ProposalError::DuplicateKey { first: 0, second: 1 });
    assert_eq!(refused.err(), Some(duplicate));
    // With a foreign signer the identity key signs no session.
    let refused = nodes[0].create_session(SessionRequest::messages(keys(2), [message(1)])).wait().err();
    assert_eq!(refused, Some(Error::Proposal(ProposalError::KeyNotHeld { key: key(0) })));
    // The first proposal that the application hears of is the first one that it can sign.
    let good = nodes[1].create_session(mixed(derived())).wait().expect("is created");
    assert_eq!(join_next(&nodes[0]).id(), good.id());
    wait_complete(&nodes[1], good.id());
    stop(&nodes);
}

#[test]
fn key_sets_of_a_foreign_signer_that_fails_are_signed_in_the_end() {
    for (fault, words) in [
        ("holds", "plug it in"),
        ("nonces", "two points"),
        ("partials", "does not verify"),
        ("too few", "one partial signature for each"),
    ] {
        let device = Device::new(0);
        let nodes = pair(&device);
        device.fail(fault);
        let session = nodes[1].create_session(mixed(derived())).wait().expect("is created");
        let join = |session| nodes[0].session(session).join().wait().expect("it is open");
        if fault != "holds" {
            assert_eq!(join_next(&nodes[0]).id(), session.id());
        }
        let said = wait_for(&nodes[0], "a failure", |event| match &event.event {
            Event::SignerFailed { error } => Some(error.to_string()),
            _ => None,
        });
        assert!(said.contains(words), "{fault}: {said}");
        if fault == "holds" {
            // It comes again, for nobody said no.
            wait_for(&nodes[0], "the proposal", |event| match &event.event {
                Event::SessionProposed { .. } => Some(()),
                _ => None,
            });
            join(session.id());
        }
        for node in &nodes {
            wait_complete(node, session.id());
        }
        stop(&nodes);
    }
}

#[test]
fn key_sets_of_a_foreign_signer_need_an_identity_at_the_node() {
    let unfinished = || node_builder().store(MemoryStore::new()).offline().without_observer();
    let Err(Error::Config(why)) = unfinished().foreign_signer(Device::new(0)).start() else {
        panic!("a node needs an identity key")
    };
    assert!(why.contains("identity()"), "{why}");
    // Its own failure is told to who proposes.
    let device = Device::new(0);
    let node = builder(secret(0)).foreign_signer(device.clone()).start().expect("starts");
    device.fail("holds");
    let refused = node.create_session(mixed(derived())).wait().err();
    assert_eq!(refused, Some(Error::Signer(SignerError::Other("plug it in".into()))));
    node.stop().expect("stops");
}

#[test]
fn key_sets_of_a_node_and_a_foreign_signer_survive_a_lock_and_a_key_that_is_added() {
    let device = Device::new(0);
    let local = Arc::new(LocalSigner::new(secret(0)).expect("a secret key"));
    local.add_key(secret(20)).expect("a participant key");
    let nodes = [
        builder(secret(0)).identity(local.clone()).foreign_signer(device.clone()).start().expect("starts"),
        builder(secret(1)).start().expect("starts"),
    ];
    connect(&nodes);
    let session = nodes[0].create_session(mixed(derived())).wait().expect("is created");
    // Both made nonces with the consent, the device first: those of the node exist once the envelope with all of them does.
    wait_until("the nonces are signed", || {
        let export = nodes[0].session(session.id()).export().wait().expect("is known");
        let frame: pb::Frame = wire::decode(&export, "the export").expect("is canonical");
        let mut envelopes =
            frame.envelopes.iter().map(|bytes| Envelope::decode(bytes).expect("is authentic"));
        envelopes.any(|envelope| matches!(envelope.content(), Content::Nonces { .. }))
    });
    local.lock();
    join_next(&nodes[1]);
    // The device is not asked for partial signatures that would be of no use.
    wait_for(&nodes[0], "a failure", |event| match &event.event {
        Event::SignerFailed { error: SignerError::Locked } => Some(()),
        _ => None,
    });
    let asked_for_partials = || device.asked().iter().any(|asked| matches!(asked, Asked::Partials(_)));
    assert!(!asked_for_partials());
    local.unlock(secret(0)).expect("its own secret");
    local.add_key(secret(20)).expect("a participant key");
    // From now on the account is at the node too.
    local.add_xprv(XPRV, origin(&[1 << 31])).expect("an account");
    for node in &nodes {
        wait_complete(node, session.id());
    }
    // The nonces that were wiped cost an attempt, and the next one needs no device.
    assert!(!asked_for_partials());
    assert_eq!(nodes[0].session(session.id()).status().wait().expect("known").attempt, 1);
    stop(&nodes);
}
