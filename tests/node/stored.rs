//! A node over the records of a session in each phase takes it up where it was, and keeps what was there.

use std::sync::Arc;

use libmusig::chain::{ChainError, ChainObserver, ChainQuery, ChainStatus};
use libmusig::event::Event;
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::envelope::Envelope;
use libmusig::protocol::proposal::Proposal;
use libmusig::protocol::status::Phase;
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::store::schema::{Key, SessionPart};
use libmusig::store::{Change, Durability, Entry, Store};

use test_support::nodes::*;
use test_support::records::{COMMITTED, parse};

/// The node whose records they are, and how far the session is. As in tests/storage.
const PHASES: [(&str, usize, Option<Phase>); 11] = [
    ("proposed", 1, Some(Phase::Proposed)),
    ("joined", 0, Some(Phase::Joined)),
    ("nonces", 0, Some(Phase::Joined)),
    ("watching, raw message", 0, Some(Phase::Watching)),
    ("failed", 0, Some(Phase::Failed)),
    ("aborted", 1, Some(Phase::Aborted)),
    ("declined", 0, Some(Phase::Declined)),
    ("expired", 1, Some(Phase::Expired)),
    ("closed", 1, Some(Phase::Closed)),
    ("purged", 1, None),
    ("answered", 1, None),
];

/// An observer that cannot be asked.
struct Away;

impl ChainObserver for Away {
    fn status(&self, _: &ChainQuery) -> Result<ChainStatus, ChainError> {
        Err(ChainError { reason: "away".into() })
    }
}

fn store_of(entries: &[Entry]) -> MemoryStore {
    let changes: Vec<Change> =
        entries.iter().map(|(key, value)| Change::Put(key.clone(), value.clone())).collect();
    let store = MemoryStore::new();
    store.clone().commit(&changes, Durability::Synced).expect("memory takes it");
    store
}

fn start(signer: usize, store: &MemoryStore) -> Node {
    let mut secret = [0; 32];
    secret[31] = signer as u8 + 1;
    let signer = LocalSigner::new(secret).expect("a small number");
    let builder = node_builder().signer(signer).store(store.clone()).offline().observer(Arc::new(Away));
    builder.start().expect("starts")
}

/// Each value belongs to its key, whoever wrote it.
fn check(entries: &[Entry], phase: &str) {
    for (key, value) in entries {
        match Key::decode(key).expect("a key of the schema") {
            Key::Session { id, part: SessionPart::Proposal } => {
                assert_eq!(Proposal::decode(value).expect("a proposal").id(), id, "{phase}");
            }
            Key::Envelope { session, id } => {
                let envelope = Envelope::decode(value).expect("an envelope");
                assert_eq!((envelope.body().session, envelope.id()), (session, id), "{phase}");
            }
            Key::Ended(_) => assert_eq!(value.len(), 8, "{phase}"),
            Key::Session { .. }
            | Key::Identity
            | Key::Owner
            | Key::Sequence
            | Key::Pace
            | Key::Presence(_)
            | Key::Partner(_)
            | Key::Reputation(_)
            | Key::Answered(_)
            | Key::Psbt(_)
            | Key::Nonce(_)
            | Key::Descriptor(_) => {}
        }
    }
}

#[test]
fn a_node_takes_up_a_session_of_each_phase() {
    let mut phases = parse(COMMITTED);
    for (name, signer, phase) in PHASES {
        let before = phases.remove(name).expect("is there");
        check(&before, name);
        let store = store_of(&before);
        let node = start(signer, &store);
        let sessions = node.sessions().wait().expect("runs");
        assert_eq!(sessions.iter().map(|status| status.phase).next(), phase, "{name}");
        assert_eq!(sessions.len(), usize::from(phase.is_some()), "{name}");
        node.stop().expect("stops");

        let after = store.clone().load().expect("memory");
        check(&after, name);
        let kept = |key: &[u8]| {
            let state = matches!(Key::decode(key), Some(Key::Session { part: SessionPart::Record, .. }));
            !state && phase != Some(Phase::Failed)
        };
        for entry in before.iter().filter(|(key, _)| kept(key)) {
            assert!(after.contains(entry), "{name}: {:?} is gone", Key::decode(&entry.0));
        }

        // And again, from what that node left.
        let node = start(signer, &store);
        let sessions = node.sessions().wait().expect("runs");
        assert_eq!(sessions.iter().map(|status| status.phase).next(), phase, "{name}");
        node.stop().expect("stops");
    }
    // With partial signatures, or transactions, which are the simulator's.
    let others = ["final", "key in use elsewhere", "partial", "second attempt", "signed alone", "watching"];
    let others = [&others[..], &["watching, exhausted", "watching, lost once"]].concat();
    assert_eq!(phases.keys().collect::<Vec<_>>(), others);
}

/// The kinds of entries that a store has, in the order of their keys.
fn kinds(store: &MemoryStore) -> Vec<&'static str> {
    let kind = |(key, _): Entry| match Key::decode(&key).expect("a key of the schema") {
        Key::Identity => "identity",
        Key::Owner => "owner",
        Key::Presence(_) => "presence",
        Key::Session { part: SessionPart::Proposal, .. } => "proposal",
        Key::Session { part: SessionPart::Record, .. } => "record",
        Key::Session { part: SessionPart::Certificate, .. } => "certificate",
        Key::Envelope { .. } => "envelope",
        Key::Ended(_) => "ended",
        Key::Answered(_) => "answered",
        Key::Psbt(_) => "psbt",
        Key::Nonce(_) => "nonce",
        Key::Descriptor(_) => "descriptor",
        Key::Sequence => "sequence",
        Key::Pace => "pace",
        Key::Partner(_) => "partner",
        Key::Reputation(_) => "reputation",
    };
    store.clone().load().expect("memory").into_iter().map(kind).collect()
}

#[test]
fn a_node_writes_under_the_keys_that_it_reads() {
    let phases = parse(COMMITTED);
    let store = store_of(&phases["proposed"]);
    let node = start(1, &store);
    let session = node.sessions().wait().expect("runs")[0].session;
    let envelopes = |store: &MemoryStore| kinds(store).iter().filter(|kind| **kind == "envelope").count();
    let before = envelopes(&store);
    node.session(session).decline("no").wait().expect("is open");
    assert_eq!(envelopes(&store), before + 1);
    check(&store.clone().load().expect("memory"), "declined");
    node.session(session).close_session().wait().expect("is known");
    node.stop().expect("stops");
    check(&store.clone().load().expect("memory"), "closed");
    assert!(kinds(&store).contains(&"record") && kinds(&store).contains(&"proposal"));
    assert_eq!(node_phase(&store), [Phase::Closed]);
}

fn node_phase(store: &MemoryStore) -> Vec<Phase> {
    let node = start(1, store);
    let phases = node.sessions().wait().expect("runs").iter().map(|status| status.phase).collect();
    node.stop().expect("stops");
    phases
}

#[test]
fn an_unreadable_session_is_set_aside_and_the_others_go_on() {
    for part in [SessionPart::Proposal, SessionPart::Record] {
        let store = MemoryStore::new();
        let start = || builder(secret(0)).store(store.clone()).offline().start().expect("starts");
        let node = start();
        let create = |signers| node.create_session(SessionRequest::messages(keys(signers), vec![message(1)]));
        let whole = create(1).wait().expect("is created").id();
        let damaged = create(2).wait().expect("is created");
        wait_complete(&node, whole);
        let export = damaged.export().wait().expect("is known");
        node.stop().expect("stops");
        let damaged = damaged.id();
        let of_it = |(key, _): &Entry| Key::decode(key).and_then(|key| key.session()) == Some(damaged);
        let of_it = |store: &MemoryStore| -> Vec<Entry> {
            store.clone().load().expect("memory").into_iter().filter(|entry| of_it(entry)).collect()
        };
        let key = Key::Session { id: damaged, part }.encode();
        assert!(of_it(&store).iter().any(|(stored, _)| *stored == key), "{part:?} is stored");
        let damage = Change::Put(key, vec![0xff; 8]);
        store.clone().commit(&[damage], Durability::Synced).expect("memory takes it");
        let before = of_it(&store);

        let node = start();
        let error = wait_for(&node, "the report", |event| match &event.event {
            Event::StoreFailed { error } if event.session == Some(damaged) => Some(error.to_string()),
            _ => None,
        });
        assert!(error.contains(&damaged.to_string()) && error.contains("set aside"), "{error}");
        let sessions = node.sessions().wait().expect("runs");
        let phases: Vec<_> = sessions.iter().map(|status| (status.session, status.phase)).collect();
        assert_eq!(phases, [(whole, Phase::Watching)], "{part:?}");
        node.session(whole).broadcast_now().wait().expect("goes on");
        // Nor does it begin anew, for what was said in it is not known.
        node.import(export).wait().expect_err("it would begin anew");
        node.stop().expect("stops");
        assert_eq!(of_it(&store), before, "{part:?}: it is kept as it is");
    }
}
