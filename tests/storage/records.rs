//! The records of a session, byte for byte. One scripted session for each phase, with keys, times and doubles of the
//! signers that never change: what a node writes is the committed text, and a node that reads it stands where the other
//! one stood.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::Content;
use libmusig::protocol::event::DurableKind;
use libmusig::protocol::proposal::{Broadcast, Terms};
use libmusig::protocol::status::{Phase, SessionStatus};
use libmusig::protocol::{Output, SessionChange, Settings, Time, limits};
use libmusig::store::memory::MemoryStore;
use libmusig::store::schema::{self, Contents};
use libmusig::store::{Change, Entry, Store};
use libmusig::types::{OutPoint, SessionId, Txid, UnixMillis, to_hex};

use test_support::cluster::{Broadcaster, Cluster, Consent, Duty, EPOCH, Fate, Options, key};
use test_support::double::{Double, DoubleCodec, transaction};
use test_support::records;

/// What all calendars say when a script begins: in the year 2100, so that a node of today takes none of the sessions
/// for an expired one.
const START: UnixMillis = UnixMillis(4_102_444_800_000);

const SIGNERS: usize = 3;

/// A scripted session, up to the moment at which a node's store is looked at.
pub(crate) struct Scene {
    /// Its phase, and what is special about it.
    pub(crate) name: &'static str,
    /// The node whose store is looked at. Node 0 proposes.
    pub(crate) node: usize,
    pub(crate) phase: Option<Phase>,
    /// The durable events that were not acknowledged.
    waiting: &'static [DurableKind],
    play: fn(&mut Cluster, usize) -> SessionId,
}

pub(crate) const SCENES: [Scene; 19] = [
    Scene {
        name: "proposed",
        node: 1,
        phase: Some(Phase::Proposed),
        waiting: &[DurableKind::Proposed],
        play: proposed,
    },
    Scene { name: "joined", node: 0, phase: Some(Phase::Joined), waiting: &[], play: joined },
    Scene { name: "nonces", node: 0, phase: Some(Phase::Joined), waiting: &[], play: nonces },
    Scene { name: "partial", node: 1, phase: Some(Phase::Signing), waiting: &[], play: partial },
    Scene {
        name: "second attempt",
        node: 2,
        phase: Some(Phase::Signing),
        waiting: &[],
        play: second_attempt,
    },
    Scene {
        name: "watching",
        node: 0,
        phase: Some(Phase::Watching),
        waiting: &[DurableKind::Complete, DurableKind::ShouldBroadcast],
        play: watching,
    },
    Scene {
        name: "watching, raw message",
        node: 0,
        phase: Some(Phase::Watching),
        waiting: &[DurableKind::Complete, DurableKind::ShouldBroadcast],
        play: watching_raw,
    },
    Scene {
        name: "watching, exhausted",
        node: 1,
        phase: Some(Phase::Watching),
        waiting: &[
            DurableKind::Complete,
            DurableKind::ShouldBroadcast,
            DurableKind::Exhausted,
            DurableKind::Rejected,
            DurableKind::NobodyCanBroadcast,
        ],
        play: exhausted,
    },
    Scene {
        name: "watching, lost once",
        node: 2,
        phase: Some(Phase::Watching),
        waiting: &[DurableKind::Complete, DurableKind::ShouldBroadcast, DurableKind::Lost],
        play: lost,
    },
    Scene {
        name: "final",
        node: 0,
        phase: Some(Phase::Final),
        waiting: &[DurableKind::Confirmed],
        play: finished,
    },
    Scene {
        name: "signed alone",
        node: 0,
        phase: Some(Phase::Final),
        waiting: &[DurableKind::Complete],
        play: signed_alone,
    },
    Scene {
        name: "failed",
        node: 0,
        phase: Some(Phase::Failed),
        waiting: &[DurableKind::Failed],
        play: failed,
    },
    Scene {
        name: "aborted",
        node: 1,
        phase: Some(Phase::Aborted),
        waiting: &[DurableKind::Aborted],
        play: aborted,
    },
    Scene {
        name: "declined",
        node: 0,
        phase: Some(Phase::Declined),
        waiting: &[DurableKind::Aborted],
        play: declined,
    },
    Scene {
        name: "expired",
        node: 1,
        phase: Some(Phase::Expired),
        waiting: &[DurableKind::Expired],
        play: expired,
    },
    Scene {
        name: "key in use elsewhere",
        node: 0,
        phase: Some(Phase::Joined),
        waiting: &[DurableKind::KeyInUse],
        play: in_use,
    },
    Scene { name: "closed", node: 1, phase: Some(Phase::Closed), waiting: &[], play: closed },
    Scene { name: "purged", node: 1, phase: None, waiting: &[], play: purged },
    Scene { name: "answered", node: 1, phase: None, waiting: &[], play: answered },
];

/// A session over a raw message: one that a node with real transactions can read too.
fn create(cluster: &mut Cluster) -> SessionId {
    create_for(cluster, Duration::from_secs(24 * 3600))
}

fn create_for(cluster: &mut Cluster, expires_in: Duration) -> SessionId {
    let terms = cluster.raw_terms();
    let expires_at = START.saturating_add(expires_in);
    cluster.create_with(0, Terms { expires_at, metadata: b"records".to_vec(), ..terms })
}

fn proposed(cluster: &mut Cluster, node: usize) -> SessionId {
    cluster.nodes[node].application.consent = Consent::Waits;
    cluster.nodes[node].application.acknowledges = false;
    let session = create(cluster);
    cluster.run_for(Duration::from_millis(200));
    session
}

fn joined(cluster: &mut Cluster, node: usize) -> SessionId {
    for other in (0..SIGNERS).filter(|other| *other != node) {
        cluster.nodes[other].application.consent = Consent::Waits;
    }
    let session = create(cluster);
    cluster.run_for(Duration::from_millis(200));
    session
}

/// Keeps back what the last signer says of one kind.
fn withhold(cluster: &mut Cluster, kind: fn(&Content) -> bool) {
    cluster.on_envelope = Some(Box::new(move |from, _, envelope| {
        let withheld = from == SIGNERS - 1 && kind(envelope.content());
        if withheld { Vec::new() } else { vec![envelope.clone()] }
    }));
}

fn nonces(cluster: &mut Cluster, _: usize) -> SessionId {
    withhold(cluster, |content| matches!(content, Content::Nonces { .. }));
    let session = create(cluster);
    cluster.run_for(Duration::from_millis(200));
    session
}

fn partial(cluster: &mut Cluster, _: usize) -> SessionId {
    withhold(cluster, |content| matches!(content, Content::Partial { .. }));
    cluster.on_frame = Some(Box::new(|_, _, frame| frame.certificates.is_empty()));
    let session = create(cluster);
    cluster.run_for(Duration::from_millis(200));
    session
}

/// A signer loses its nonces, and the others begin again with it.
fn second_attempt(cluster: &mut Cluster, node: usize) -> SessionId {
    // No partial signature arrives anywhere.
    cluster.on_envelope = Some(Box::new(|_, _, envelope| {
        let withheld = matches!(envelope.content(), Content::Partial { .. });
        if withheld { Vec::new() } else { vec![envelope.clone()] }
    }));
    let crashed = Rc::new(RefCell::new(false));
    let before = cluster.on_output.take();
    let mut before = before.expect("the recorder");
    cluster.on_output = Some(Box::new(move |at, output| {
        let says_partial = matches!(output, Output::Persist { changes, .. } if at == node
            && changes.iter().any(|record| matches!(record, SessionChange::Envelope(_, bytes)
                if kind(bytes) == "partial")));
        if says_partial && !crashed.replace(true) {
            return Fate::CrashBefore;
        }
        before(at, output)
    }));
    let session = create(cluster);
    cluster.run_for(Duration::from_secs(2));
    cluster.start(node);
    cluster.run_for(Duration::from_secs(5));
    session
}

fn kind(envelope: &[u8]) -> &'static str {
    let envelope = libmusig::protocol::envelope::Envelope::decode(envelope).expect("an envelope");
    test_support::cluster::kind_of(envelope.content())
}

/// A finished session over a transaction.
fn complete(cluster: &mut Cluster) -> SessionId {
    let terms = cluster.terms();
    let expires_at = START.saturating_add(Duration::from_secs(24 * 3600));
    let session = cluster.create_with(0, Terms { expires_at, ..terms });
    cluster.complete(&session);
    session
}

fn watching_raw(cluster: &mut Cluster, node: usize) -> SessionId {
    for node in &mut cluster.nodes {
        node.application.duty = Duty::Ignores;
    }
    cluster.nodes[node].application.acknowledges = false;
    let session = create(cluster);
    cluster.complete(&session);
    cluster.run_for(Duration::from_secs(3));
    session
}

/// Nobody is asked to broadcast, and all have the signatures.
fn signed_alone(cluster: &mut Cluster, node: usize) -> SessionId {
    cluster.nodes[node].application.acknowledges = false;
    let terms = cluster.raw_terms();
    let expires_at = START.saturating_add(Duration::from_secs(24 * 3600));
    let session = cluster.create_with(0, Terms { expires_at, broadcast: Broadcast::SignOnly, ..terms });
    cluster.complete(&session);
    cluster.run_for(Duration::from_secs(3));
    session
}

fn watching(cluster: &mut Cluster, node: usize) -> SessionId {
    cluster.nodes[node].application.acknowledges = false;
    let session = complete(cluster);
    cluster.run_for(Duration::from_secs(3));
    session
}

/// Nobody's backend can be reached.
fn exhausted(cluster: &mut Cluster, node: usize) -> SessionId {
    for node in &mut cluster.nodes {
        node.broadcaster = Broadcaster::Unreachable;
    }
    cluster.nodes[node].broadcaster = Broadcaster::Rejects("fee too low".into());
    cluster.nodes[node].application.acknowledges = false;
    let session = complete(cluster);
    cluster.run_for(Duration::from_secs(60));
    session
}

/// The transaction is seen, and then it is gone.
fn lost(cluster: &mut Cluster, node: usize) -> SessionId {
    cluster.nodes[node].application.acknowledges = false;
    let session = complete(cluster);
    cluster.run_for(Duration::from_secs(10));
    for node in &mut cluster.nodes {
        node.broadcaster = Broadcaster::Unreachable;
    }
    let txid = cluster.chain.txid_of(&session).expect("it has a transaction");
    cluster.chain.evict(&txid);
    let found = |cluster: &Cluster| cluster.count(node, &session, "BroadcastLost") > 0;
    assert!(cluster.run_until(Duration::from_secs(3600), found), "its loss is noticed");
    cluster.run_for(Duration::from_secs(1));
    session
}

fn finished(cluster: &mut Cluster, node: usize) -> SessionId {
    let session = complete(cluster);
    cluster.run_for(Duration::from_secs(3));
    let now = cluster.now();
    cluster.chain.mine_blocks(6, now);
    cluster.nodes[node].application.acknowledges = false;
    let confirmed = |cluster: &Cluster| cluster.count(node, &session, "BroadcastConfirmed") > 0;
    assert!(cluster.run_until(Duration::from_secs(3600), confirmed), "it is confirmed");
    cluster.run_for(Duration::from_secs(1));
    session
}

/// A signer gives two different nonces for one attempt.
fn failed(cluster: &mut Cluster, node: usize) -> SessionId {
    cluster.nodes[node].application.acknowledges = false;
    let session = nonces(cluster, node);
    let guilty = SIGNERS - 1;
    let forged = [2u8, 3].map(|first| {
        let mut nonce = vec![first; 66];
        nonce[33] = first;
        cluster.forge(guilty, session, guilty, Content::Nonces { attempt: 0, nonces: nonce })
    });
    cluster.inject(guilty, node, &forged);
    cluster.run_for(Duration::from_millis(200));
    session
}

fn aborted(cluster: &mut Cluster, node: usize) -> SessionId {
    cluster.nodes[node].application.acknowledges = false;
    let session = nonces(cluster, node);
    cluster
        .ask(0, |engine, request, now| engine.abort(&session, "changed my mind".into(), request, now))
        .expect("open");
    cluster.run_for(Duration::from_millis(200));
    session
}

fn declined(cluster: &mut Cluster, node: usize) -> SessionId {
    cluster.nodes[node].application.acknowledges = false;
    cluster.nodes[SIGNERS - 1].application.consent = Consent::Declines;
    let session = create(cluster);
    cluster.run_for(Duration::from_millis(200));
    session
}

fn expired(cluster: &mut Cluster, node: usize) -> SessionId {
    cluster.nodes[node].application.acknowledges = false;
    withhold(cluster, |content| matches!(content, Content::Nonces { .. }));
    let session = create_for(cluster, Duration::from_secs(10));
    cluster.run_for(Duration::from_secs(11));
    session
}

/// Another instance with this node's key spoke.
fn in_use(cluster: &mut Cluster, node: usize) -> SessionId {
    cluster.nodes[node].application.acknowledges = false;
    let session = partial(cluster, node);
    let restart = cluster.forge(node, session, node, Content::Restart { ordinal: 1 });
    cluster.inject(SIGNERS - 1, node, &[restart]);
    cluster.run_for(Duration::from_millis(200));
    session
}

fn closed(cluster: &mut Cluster, node: usize) -> SessionId {
    let session = create(cluster);
    cluster.complete(&session);
    cluster.run_for(Duration::from_secs(3));
    // What the chain has not settled is kept.
    let now = cluster.now();
    cluster.chain.mine_blocks(6, now);
    cluster.run_for(Duration::from_secs(60));
    cluster.ask(node, |engine, request, now| engine.close(&session, request, now)).expect("known");
    cluster.run_for(Duration::from_millis(200));
    session
}

fn purged(cluster: &mut Cluster, node: usize) -> SessionId {
    let session = closed(cluster, node);
    cluster.run_for(Duration::from_secs(25 * 3600));
    session
}

/// A declined proposal that is too large to be kept whole.
fn answered(cluster: &mut Cluster, node: usize) -> SessionId {
    cluster.nodes[node].application.consent = Consent::Declines;
    let spent = OutPoint { txid: Txid([5; 32]), vout: 0 };
    let (transaction, messages) = transaction(&[spent], &vec![1; limits::ANSWERED_BYTES]);
    let terms = cluster.raw_terms();
    let expires_at = START.saturating_add(Duration::from_secs(24 * 3600));
    let terms = Terms { expires_at, transaction: Some(transaction), messages, ..terms };
    let session = cluster.create_with(0, terms);
    cluster.run_for(Duration::from_millis(500));
    session
}

/// A played scene: what its node wrote, the session, and how it stands.
pub(crate) struct Played {
    entries: Vec<Entry>,
    session: SessionId,
    status: Option<SessionStatus>,
    pub(crate) export: Option<Vec<u8>>,
    /// Every record of every node.
    records: Vec<SessionChange>,
}

pub(crate) fn play(scene: &Scene) -> Played {
    let settings = Settings { observer: true, broadcaster: true, ..Settings::default() };
    let mut cluster = Cluster::idle(Options { settings, ..Options::new(SIGNERS) });
    for node in &mut cluster.nodes {
        node.skew = (START.0 - EPOCH.0) as i64;
    }
    let stores: Vec<MemoryStore> = (0..SIGNERS).map(|_| MemoryStore::new()).collect();
    let recorded = stores.clone();
    let all = Rc::new(RefCell::new(Vec::new()));
    let written = all.clone();
    cluster.on_output = Some(Box::new(move |node, output| {
        if let Output::Persist { session, changes: records, durability, .. } = output {
            written.borrow_mut().extend(records.iter().cloned());
            let mut store = recorded[node].clone();
            let changes: Vec<Change> =
                records.iter().map(|record| schema::change(*session, record.clone())).collect();
            store.commit(&changes, *durability).expect("memory takes it");
        }
        Fate::Happens
    }));
    (0..SIGNERS).for_each(|node| cluster.start(node));
    cluster.run_for(Duration::from_millis(20));
    let session = (scene.play)(&mut cluster, scene.node);
    let now = cluster.time(scene.node);
    let engine = cluster.nodes[scene.node].engine.as_mut().expect("it runs");
    let status = engine.status(&session, now);
    assert_eq!(status.as_ref().map(|status| status.phase), scene.phase, "{}", scene.name);
    let export = engine.export(&session);
    let entries = stores[scene.node].clone().load().expect("memory");
    let records = all.take();
    Played { entries, session, status, export, records }
}

/// An engine of this signer that began after the stored sessions.
pub(crate) fn engine_over(node: usize, entries: Vec<Entry>) -> (Engine, Time, Contents) {
    let settings = Settings { observer: true, broadcaster: true, ..Settings::default() };
    let mut engine = Engine::new(key(node), settings, Arc::new(Double), Arc::new(DoubleCodec));
    let now = Time { wall: START, monotonic: Duration::from_secs(1) };
    let contents = Contents::read(entries);
    contents.ended.iter().for_each(|(id, at)| engine.load_ended(*id, *at));
    for (id, record) in &contents.answered {
        assert_eq!(engine.load_answered(*id, record), Ok(()));
    }
    for (id, stored) in &contents.sessions {
        assert_eq!(engine.load(stored, now), Ok(*id));
    }
    (engine, now, contents)
}

#[test]
fn every_phase_is_stored_as_it_was() {
    let mut text = String::new();
    let mut kinds = HashSet::new();
    for scene in &SCENES {
        writeln!(text, "[{}]", scene.name).expect("a string");
        let played = play(scene);
        kinds.extend(played.records.iter().map(std::mem::discriminant));
        for (key, value) in played.entries {
            writeln!(text, "{} = {}", to_hex(&key), to_hex(&value)).expect("a string");
        }
        text.push('\n');
    }
    assert_eq!(kinds.len(), 9, "the scenes have a record of each kind");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/records.txt");
    if std::env::var_os("MUSIG_BLESS").is_some() {
        fs::write(&path, &text).expect("can be written");
    }
    let committed = fs::read_to_string(&path).expect("is there");
    let (expected, found) = (records::parse(&committed), records::parse(&text));
    for scene in &SCENES {
        assert_eq!(
            found.get(scene.name),
            expected.get(scene.name),
            "the bytes of \"{}\" changed",
            scene.name
        );
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn every_phase_is_read_back() {
    let mut scenes = records::parse(records::COMMITTED);
    for scene in &SCENES {
        let name = scene.name;
        let Played { session, status: before, .. } = play(scene);
        let entries = scenes.remove(name).unwrap_or_default();
        let (mut engine, now, Contents { sessions, ended, answered, .. }) = engine_over(scene.node, entries);
        assert!(sessions.keys().all(|id| *id == session), "{name}");
        let after = engine.status(&session, now);
        assert_eq!(after.is_some(), before.is_some(), "{name}");
        let mut events = Vec::new();
        while let Some(output) = engine.poll_output() {
            if let Output::Event { event } = output {
                events.extend(event.durable);
            }
        }
        events.sort_unstable();
        events.dedup();
        assert_eq!(events, scene.waiting, "{name}");
        let (Some(before), Some(after)) = (before, after) else {
            let kept = (sessions.len(), ended.len() + answered.len());
            assert_eq!(kept, (0, 1), "{name}: only that it ended is known");
            continue;
        };
        let signing = |status: &SessionStatus| {
            (status.phase, status.accepted.clone(), status.attempt, status.expires_at)
        };
        assert_eq!(signing(&after), signing(&before), "{name}");
        // After a restart an attempt that was used counts as a partial signature that was sent.
        assert!(after.partial_sent >= before.partial_sent, "{name}");
        let watch = |status: &SessionStatus| {
            status
                .failover
                .as_ref()
                .map(|watch| (watch.coordinator, watch.evidence, watch.submissions, watch.watch))
        };
        assert_eq!(watch(&after), watch(&before), "{name}");
    }
    assert!(scenes.is_empty(), "the file has scenes that nobody plays: {:?}", scenes.keys());
}
