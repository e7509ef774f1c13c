//! Nodes whose disk fails: the errors say so, nothing is lost, and nothing is said that is not on the disk.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use libmusig::error::{Error, StoreError};
use libmusig::event::Event;
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::{Content, Envelope};
use libmusig::protocol::proposal::{FailoverPolicy, Proposal};
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::store::redb::RedbStore;
use libmusig::store::schema::{self, Key, SessionPart};
use libmusig::store::{Change, Durability, Entry, Store};
use redb::{Database, TableDefinition};
use serde_json::{Value, json};

use crate::auditor::audit;
use crate::process::{Cluster, lexicographic};
use crate::recovery::{N, finish, finish_from_elsewhere, holds};
use crate::world::{Direct, Spend};
use test_support::backend::chain::Chain;
use test_support::nodes::*;

/// What a failing disk refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refuses {
    Nothing,
    Syncs,
    Certificates,
    Everything,
    /// It says nothing at all.
    Answers,
}

/// A store on a disk that fails when it is told to.
#[derive(Clone)]
struct Failing {
    inner: MemoryStore,
    refuses: Arc<Mutex<Refuses>>,
    refused: Arc<AtomicUsize>,
}

impl Failing {
    fn new() -> Self {
        let (refuses, refused) = (Arc::new(Mutex::new(Refuses::Nothing)), Arc::default());
        Self { inner: MemoryStore::new(), refuses, refused }
    }

    fn refuse(&self, what: Refuses) {
        *self.refuses.lock().expect("nobody panics with it") = what;
        self.refused.store(0, Ordering::SeqCst);
    }

    /// Waits until it refused this and was asked again.
    #[track_caller]
    fn wait_refused(&self) {
        wait_until("the commit is tried again", || self.refused.load(Ordering::SeqCst) >= 2);
    }
}

impl Store for Failing {
    fn load(&mut self) -> Result<Vec<Entry>, StoreError> {
        self.inner.load()
    }

    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError> {
        let certificate = |change: &Change| {
            let Change::Put(key, _) = change else { return false };
            matches!(Key::decode(key), Some(Key::Session { part: SessionPart::Certificate, .. }))
        };
        let refused = match *self.refuses.lock().expect("nobody panics with it") {
            Refuses::Nothing => false,
            Refuses::Syncs => durability == Durability::Synced,
            Refuses::Certificates => changes.iter().any(certificate),
            Refuses::Everything => true,
            Refuses::Answers => false,
        };
        while *self.refuses.lock().expect("nobody panics with it") == Refuses::Answers {
            thread::park_timeout(Duration::from_millis(2));
        }
        if refused {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::Io { path: "the disk".into(), reason: "asked for".into() });
        }
        self.inner.commit(changes, durability)
    }

    fn suspend(&mut self) -> Result<(), StoreError> {
        self.inner.suspend()
    }

    fn resume(&mut self) -> Result<(), StoreError> {
        self.inner.resume()
    }
}

fn raw(n: usize) -> SessionRequest {
    SessionRequest::messages(keys(n), vec![message(1)])
}

fn exported(node: &Node) -> Vec<Envelope> {
    let sessions = node.sessions().wait().expect("runs");
    let export = |id| node.session(id).export().wait().expect("is known");
    let frames = sessions.iter().map(|status| export(status.session));
    let decode = |bytes: Vec<u8>| wire::decode::<pb::Frame>(&bytes, "the export").expect("is canonical");
    let envelopes = frames.map(decode).flat_map(|frame| frame.envelopes);
    envelopes.map(|bytes| Envelope::decode(&bytes).expect("decodes")).collect()
}

fn wait_store_failed(node: &Node) {
    wait_for(node, "the failure", |event| matches!(event.event, Event::StoreFailed { .. }).then_some(()));
}

#[test]
fn a_node_that_cannot_sync_says_and_signs_nothing() {
    for refuses in [Refuses::Syncs, Refuses::Everything] {
        let disk = Failing::new();
        let start = |index: usize| match index {
            1 => builder(secret(1)).store(disk.clone()).start(),
            _ => builder(secret(index)).start(),
        };
        let nodes: Vec<Node> = (0..3).map(|index| start(index).expect("starts")).collect();
        connect(&nodes);
        let session = nodes[0].create_session(raw(3)).wait().expect("is created");
        join_next(&nodes[2]);
        wait_for(&nodes[1], "the proposal", |event| {
            matches!(event.event, Event::SessionProposed { .. }).then_some(())
        });
        disk.refuse(refuses);
        let joining = nodes[1].session(session.id()).join();
        let joining = thread::spawn(move || joining.wait());
        wait_store_failed(&nodes[1]);
        disk.wait_refused();
        // Its consent and its nonces are made by now, and nobody has them, nor has the application an answer.
        assert!(!joining.is_finished());
        assert!(matches!(nodes[1].create_session(raw(2)).wait(), Err(Error::Store(StoreError::Io { .. }))));
        assert!(matches!(nodes[1].session(session.id()).export().wait(), Err(Error::Store(_))));
        for node in [&nodes[0], &nodes[2]] {
            assert!(exported(node).iter().all(|envelope| envelope.body().signer != 1), "{refuses:?}");
        }

        disk.refuse(Refuses::Nothing);
        joining.join().expect("no panic").expect("is on the disk");
        nodes.iter().for_each(|node| wait_complete(node, session.id()));
        let findings = audit(nodes.iter().flat_map(exported));
        assert_eq!((findings.nonces, findings.partials), (3, 3), "what was held back went out, once");
        nodes.iter().for_each(|node| node.stop().expect("stops"));
    }
}

#[test]
fn a_proposal_that_is_not_on_the_disk_reaches_nobody() {
    let disk = Failing::new();
    let nodes = [
        builder(secret(0)).store(disk.clone()).start().expect("starts"),
        builder(secret(1)).start().expect("starts"),
    ];
    connect(&nodes);
    disk.refuse(Refuses::Syncs);
    let creating = nodes[0].create_session(raw(2));
    wait_store_failed(&nodes[0]);
    disk.wait_refused();
    assert_eq!(nodes[1].sessions().wait().expect("runs"), []);
    disk.refuse(Refuses::Nothing);
    let session = creating.wait().expect("is on the disk");
    assert_eq!(join_next(&nodes[1]).id(), session.id());
    nodes.iter().for_each(|node| wait_complete(node, session.id()));
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

/// A node that has a way to the chain, and looks at it.
fn with_chain(index: usize, disk: &Failing, chain: &Arc<Chain>) -> Node {
    let direct = Arc::new(Direct(chain.clone()));
    node_builder()
        .signer(LocalSigner::new(secret(index)).expect("a key"))
        .store(disk.clone())
        .listen("/ip4/127.0.0.1/tcp/0")
        .broadcaster(direct.clone())
        .observer(direct)
        .start()
        .expect("starts")
}

/// Waits for an event of a kind that says whether it is stored, and acknowledges it.
#[track_caller]
fn wait_stored(node: &Node, complete: bool) -> bool {
    wait_for(node, "an event that says whether it is stored", |event| match &event.event {
        Event::SessionComplete { stored, .. } if complete => Some(*stored),
        Event::ShouldBroadcast { stored, .. } if !complete => Some(*stored),
        _ => None,
    })
}

/// Several ways to have no disk.
const NO_DISK: [Refuses; 3] = [Refuses::Certificates, Refuses::Everything, Refuses::Answers];

#[test]
fn full_disk_still_submits_a_certificate_that_it_cannot_store() {
    for refuses in NO_DISK {
        let (disk, chain) = (Failing::new(), Arc::new(Chain::new()));
        let coordinator = with_chain(0, &disk, &chain);
        let nodes = [coordinator, builder(secret(1)).start().expect("starts")];
        connect(&nodes);
        let request =
            Spend::new(&chain, &keys(2)).request(keys(2)).election_method(ElectionMethod::FirstSigner);
        let session = nodes[0].create_session(request).wait().expect("is created");
        let id = session.id();
        // Its own words are on the disk; then there is none.
        wait_until("its consent and nonces are stored", || {
            session.export().wait().is_ok_and(|_| exported(&nodes[0]).len() >= 3)
        });
        disk.refuse(refuses);
        join_next(&nodes[1]);
        assert!(!wait_stored(&nodes[0], true), "{refuses:?}: the signatures are not on the disk");
        wait_until("it is submitted all the same", || chain.mempool_size() == 1);
        wait_complete(&nodes[1], id);
        disk.refuse(Refuses::Nothing);
        wait_until("the store works again", || session.export().wait().is_ok());
        nodes[0].stop().expect("stops");

        // It was acknowledged, and all of it is on the disk by now: nothing comes again.
        let again = with_chain(0, &disk, &chain);
        let signatures = again.session(id).final_signatures().wait().expect("is known");
        assert!(signatures.is_some(), "{refuses:?}: what could not be stored then is stored");
        while let Some(event) = again.try_next_event().expect("runs") {
            assert!(!matches!(event.event, Event::SessionComplete { .. }), "{refuses:?}: it comes twice");
        }
        again.stop().expect("stops");
        nodes[1].stop().expect("stops");
    }
}

#[test]
fn full_disk_still_submits_in_its_turn_when_it_fills_up_after_the_certificate() {
    for refuses in [Refuses::Everything, Refuses::Answers] {
        let (disk, chain) = (Failing::new(), Arc::new(Chain::new()));
        let nodes = [
            builder(secret(0)).start().expect("starts"),
            with_chain(1, &disk, &chain),
            builder(secret(2)).start().expect("starts"),
        ];
        connect(&nodes);
        let request = Spend::new(&chain, &keys(3))
            .request(keys(3))
            .election_method(ElectionMethod::FirstSigner)
            .failover(FailoverPolicy {
                broadcast_timeout: Duration::from_secs(2),
                ..FailoverPolicy::default()
            });
        let session = nodes[0].create_session(request).wait().expect("is created");
        nodes[1..].iter().for_each(|node| drop(join_next(node)));
        // The first of the list does nothing about it.
        assert!(wait_stored(&nodes[1], true), "there was room for the signatures");
        disk.refuse(refuses);
        let stored = wait_stored(&nodes[1], false);
        assert!(!stored, "{refuses:?}: its turn opens, and the disk does not know of it");
        wait_until("it submits in its turn", || chain.mempool_size() == 1);
        // A word that can harm nobody takes effect although it is not on the disk, and its answer says so.
        let answer = nodes[1].session(session.id()).notify_broadcast_complete(None).wait();
        let unstored = matches!(answer, Err(Error::Store(StoreError::Unstored { .. })));
        assert!(unstored, "{refuses:?}: {answer:?}");
        nodes[1].session(session.id()).broadcast_now().wait().expect("needs no disk");
        disk.refuse(Refuses::Nothing);
        nodes.iter().for_each(|node| node.stop().expect("stops"));
    }
}

#[test]
fn hanging_disk_delays_no_ending_and_no_nack() {
    for refuses in [Refuses::Everything, Refuses::Answers] {
        let disk = Failing::new();
        let nodes = [
            builder(secret(0)).start().expect("starts"),
            builder(secret(1)).store(disk.clone()).start().expect("starts"),
            builder(secret(2)).start().expect("starts"),
        ];
        connect(&nodes);
        let aborted = nodes[0].create_session(raw(3)).wait().expect("is created");
        let own = join_next(&nodes[1]);
        let declined = nodes[0].create_session(raw(3)).wait().expect("is created");
        wait_for(&nodes[1], "the second proposal", |event| {
            (event.session == Some(declined.id())).then_some(())
        });
        disk.refuse(refuses);
        let answers =
            [own.abort("no room").wait(), nodes[1].session(declined.id()).decline("no room").wait()];
        for answer in answers {
            let unstored = matches!(answer, Err(Error::Store(StoreError::Unstored { .. })));
            assert!(unstored, "{refuses:?}: {answer:?}");
        }
        for session in [&aborted, &declined] {
            wait_for(&nodes[0], "the ending", |event| {
                let ended = matches!(event.event, Event::SessionAborted { by: 1, .. });
                (event.session == Some(session.id()) && ended).then_some(())
            });
        }
        disk.refuse(Refuses::Nothing);
        nodes.iter().for_each(|node| node.stop().expect("stops"));
    }
}

#[test]
fn hanging_disk_delays_a_stop_and_a_suspension_for_half_a_minute_at_most() {
    let hanging = || {
        let disk = Failing::new();
        let node = builder(secret(0)).store(disk.clone()).offline().start().expect("starts");
        disk.refuse(Refuses::Answers);
        drop(node.create_session(raw(2)));
        (node, disk)
    };
    let hangs = |answer: Result<(), Error>| {
        assert!(matches!(answer, Err(Error::Store(StoreError::Hangs { seconds: 30 }))), "{answer:?}");
    };
    let (suspended, stopped) = (hanging(), hanging());
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| hangs(suspended.0.suspend().wait()));
        scope.spawn(|| hangs(stopped.0.stop()));
    });
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    [&suspended, &stopped].into_iter().for_each(|(_, disk)| disk.refuse(Refuses::Nothing));
    suspended.0.resume().wait().expect("the disk answers");
    [suspended, stopped].iter().for_each(|(node, _)| node.stop().expect("the store is closed now"));
}

#[test]
fn what_ended_stays_ended_after_a_restart() {
    let disk = Failing::new();
    let node = builder(secret(0)).store(disk.clone()).offline().start().expect("starts");
    let request = raw(2).expires_in(Duration::from_secs(2));
    let id = node.create_session(request).wait().expect("is created").id();
    wait_for(&node, "the expiry", |event| matches!(event.event, Event::SessionExpired { .. }).then_some(()));
    wait_until("it is forgotten", || node.sessions().wait().expect("runs").is_empty());
    node.stop().expect("stops");
    let kept = disk.clone().load().expect("reads");
    let kept: Vec<Key> = kept.iter().filter_map(|(key, _)| Key::decode(key)).collect();
    let of_it: Vec<&Key> = kept.iter().filter(|key| key.session() == Some(id)).collect();
    assert_eq!(of_it, [&Key::Ended(id)]);

    // As after a clock that was ahead, and is right again.
    let proposer = builder(secret(0)).offline().start().expect("starts");
    let session = proposer.create_session(raw(2)).wait().expect("is created");
    let export = session.export().wait().expect("is known");
    let Some(Content::Proposal(proposal)) = exported(&proposer).first().map(|first| first.content().clone())
    else {
        panic!("an export begins with the proposal")
    };
    let expires_at = Proposal::decode(&proposal).expect("decodes").expires_at.0.to_be_bytes().to_vec();
    for ended in [true, false] {
        let mut disk = MemoryStore::new();
        if ended {
            let change = Change::Put(Key::Ended(session.id()).encode(), expires_at.clone());
            disk.commit(&[change], Durability::Synced).expect("writes");
        }
        let node = builder(secret(1)).store(disk).offline().start().expect("starts");
        let imported = node.import(export.clone()).wait();
        assert_eq!(imported.is_err(), ended, "{imported:?}");
        assert_eq!(node.sessions().wait().expect("runs").is_empty(), ended);
        node.stop().expect("stops");
    }
    proposer.stop().expect("stops");
}

#[test]
fn a_resumed_node_takes_requests_as_soon_as_it_says_so() {
    let disk = Failing::new();
    let node = builder(secret(0)).store(disk.clone()).offline().start().expect("starts");
    disk.refuse(Refuses::Everything);
    let creating = node.create_session(raw(2));
    wait_store_failed(&node);
    // Neither loses what waits, and both say that it still does.
    assert!(matches!(node.suspend().wait(), Err(Error::Store(StoreError::Io { .. }))));
    assert!(matches!(node.create_session(raw(2)).wait(), Err(Error::Suspended)));
    assert!(matches!(node.resume().wait(), Err(Error::Store(StoreError::Io { .. }))));
    assert!(node.suspend().wait().is_err());
    disk.refuse(Refuses::Nothing);
    node.resume().wait().expect("takes commits again");
    node.create_session(raw(2)).wait().expect("at once");
    creating.wait().expect("what waited is on the disk");
    assert_eq!(node.sessions().wait().expect("runs").len(), 2);
    node.stop().expect("stops");
}

#[test]
fn a_resumption_that_a_suspension_overtakes_resumes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("node.redb");
    let node = node_builder()
        .signer(LocalSigner::new(secret(0)).expect("a key"))
        .store_path(&path)
        .offline()
        .without_observer()
        .start()
        .expect("starts");
    for _ in 0..20 {
        let (first, resumed, last) = (node.suspend(), node.resume(), node.suspend());
        first.wait().expect("suspends");
        // Which of the two came first is theirs to say; what holds is what was asked for last.
        assert!(matches!(resumed.wait(), Ok(()) | Err(Error::Suspended)));
        last.wait().expect("suspends");
        let created = node.create_session(raw(2)).wait_for(PATIENCE);
        assert!(matches!(created, Some(Err(Error::Suspended))), "{created:?}");
        drop(RedbStore::open(&path).expect("the lock is released"));
        node.resume().wait().expect("resumes");
        node.create_session(raw(2)).wait().expect("works again");
    }
    while let Some(event) = node.try_next_event().expect("runs") {
        assert!(!matches!(event.event, Event::StoreFailed { .. }), "{event:?}");
    }
    node.stop().expect("stops");
}

#[test]
fn a_store_that_is_unusable_is_refused_with_a_clear_error_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("node.redb");
    let start = |path: &Path| {
        let signer = LocalSigner::new(secret(0)).expect("a key");
        node_builder().signer(signer).store_path(path).offline().without_observer().start()
    };
    let node = start(&path).expect("starts");
    let id = node.create_session(raw(2)).wait().expect("is created").id();
    node.stop().expect("stops");
    let good = fs::read(&path).expect("reads");

    let schema = |version: u64| {
        let database = Database::open(&path).expect("a redb file");
        let change = database.begin_write().expect("begins");
        let meta = TableDefinition::<&str, u64>::new("meta");
        change.open_table(meta).expect("opens").insert("schema", version).expect("inserts");
        change.commit().expect("commits");
    };
    schema(schema::VERSION + 1);
    let newer = fs::read(&path).expect("reads");
    let mut torn = good.clone();
    torn[good.len() / 4..].fill(0);
    let cases: [(&[u8], &str); 5] = [
        (&newer, "schema"),
        (&good[..good.len() / 2], "damaged"),
        (&good[..1000], "damaged"),
        (&torn, "damaged"),
        (b"this is a letter, not a store", "damaged"),
    ];
    for (number, (bytes, word)) in cases.into_iter().enumerate() {
        fs::write(&path, bytes).expect("writes");
        let error = start(&path).map(drop).expect_err("cannot be used");
        let text = error.to_string();
        assert!(matches!(error, Error::Store(_)), "{number}: {text}");
        assert!(text.contains(word) && text.contains(path.to_str().expect("is text")), "{number}: {text}");
        assert_eq!(fs::read(&path).expect("reads").len(), bytes.len(), "{number}: {text}");
    }
    fs::write(&path, &good).expect("writes");
    let node = start(&path).expect("starts");
    assert_eq!(node.sessions().wait().expect("runs")[0].session, id);
    node.stop().expect("stops");
}

#[test]
fn store_of_another_key_is_refused_and_names_both() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("node.redb");
    let start = |index: usize| {
        let signer = LocalSigner::new(secret(index)).expect("a key");
        node_builder().signer(signer).store_path(&path).offline().without_observer().start()
    };
    let refusal = StoreError::OtherKey { path: path.display().to_string(), owner: key(0), signer: key(1) };
    // As it is made, and with a session in it.
    let node = start(0).expect("starts");
    let peer = node.peer_id().to_owned();
    for with_session in [false, true] {
        let node = if with_session { start(0).expect("starts") } else { node.clone() };
        let sessions = usize::from(with_session);
        if with_session {
            node.create_session(raw(2)).wait().expect("is created");
        }
        node.stop().expect("stops");
        let error = start(1).map(drop).expect_err("another signer's");
        assert_eq!(error, Error::Store(refusal.clone()));
        let text = error.to_string();
        assert!(text.contains(&key(0).to_string()) && text.contains(&key(1).to_string()), "{text}");
        let owner = start(0).expect("its own");
        assert_eq!(owner.peer_id(), peer, "nothing in it changed");
        assert_eq!(owner.sessions().wait().expect("runs").len(), sessions);
        owner.stop().expect("stops");
    }

    // One from before stores had owners gets its owner when its own signer opens it.
    let mut old = MemoryStore::new();
    let node = builder(secret(0)).store(old.clone()).offline().start().expect("starts");
    node.create_session(raw(2)).wait().expect("is created");
    node.stop().expect("stops");
    old.commit(&[Change::Delete(Key::Owner.encode())], Durability::Synced).expect("deletes");
    let other = builder(secret(5)).store(old.clone()).offline().start().map(drop);
    assert!(matches!(other, Err(Error::Proposal(_))), "its sessions are another signer's: {other:?}");
    builder(secret(0)).store(old.clone()).offline().start().expect("its own").stop().expect("stops");
    let other = builder(secret(1)).store(old).offline().start().map(drop);
    assert_eq!(
        other,
        Err(Error::Store(StoreError::OtherKey { path: String::new(), owner: key(0), signer: key(1) }))
    );
}

// ---- Real disks, real processes ----

/// A signer's disk is full when it is to consent and to make its nonces; then there is room again.
#[cfg(target_os = "linux")]
fn full_disk(disk: Value) {
    let [victim, proposer, _] = lexicographic(N)[..] else { panic!("three signers") };
    let mut cluster = Cluster::start(N, |signer| match signer == victim {
        true => json!({ "disk": disk, "consents": false }),
        false => json!({ "alert": true }),
    });
    cluster.propose(proposer, ElectionMethod::Lexicographic);
    cluster.wait_all("SessionProposed", [victim]);
    cluster.order(victim, &json!({ "order": "fill" }));
    cluster.order(victim, &json!({ "order": "join" }));
    cluster.wait_all("StoreFailed", [victim]);
    cluster.wait_all("SessionStalled", [proposer]);
    let export = cluster.export(proposer).expect("is there");
    assert_eq!(holds(&export, victim), (false, false), "{disk}: it spoke without a disk");
    assert!(cluster.said(victim, "joined").is_empty(), "{disk}");
    cluster.order(victim, &json!({ "order": "free" }));
    cluster.wait_all("joined", [victim]);
    assert_eq!(cluster.said(victim, "joined")[0]["error"], Value::Null, "{disk}");
    assert_eq!(finish(&mut cluster, "after the disk was full"), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_may_not_grow() {
    full_disk(json!("limit"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_file_system() {
    match crate::process::disk::available() {
        Ok(()) => full_disk(json!("own")),
        Err(why) => skip("disk::a_full_file_system", &why),
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_read_only_file_system() {
    if let Err(why) = crate::process::disk::available() {
        return skip("disk::a_read_only_file_system", &why);
    }
    let [victim, late, proposer] = lexicographic(N)[..] else { panic!("three signers") };
    let mut cluster = Cluster::start(N, |signer| json!({ "consents": signer != late }));
    cluster.propose(proposer, ElectionMethod::Lexicographic);
    cluster.wait_until_exported(proposer, |export| holds(export, victim).1);
    cluster.wait_all("SessionProposed", [late]);
    cluster.kill(victim);
    let refusal = cluster.refused(victim, &json!({ "disk": "read-only" }));
    assert!(refusal.contains("Read-only") && refusal.contains("nothing was signed"), "{refusal}");
    cluster.restart(victim, &json!({}));
    cluster.order(late, &json!({ "order": "join" }));
    finish(&mut cluster, "after a read-only disk");
}

#[test]
fn a_store_that_another_process_has_open() {
    let mut cluster = Cluster::start(N, |_| json!({}));
    let path = cluster.store(0);
    let start = || {
        let signer = LocalSigner::new(secret(0)).expect("a key");
        node_builder().signer(signer).store_path(&path).offline().without_observer().start()
    };
    let in_use = Error::Store(StoreError::InUse { path: path.display().to_string() });
    assert_eq!(start().map(drop), Err(in_use));
    cluster.propose(1, ElectionMethod::Lexicographic);
    finish(&mut cluster, "while another one wanted the store");
    cluster.kill(0);
    let node = start().expect("a killed process holds no lock");
    assert_eq!(node.sessions().wait().expect("runs").len(), 1);
    node.stop().expect("stops");
}

#[test]
fn a_torn_store_is_refused_and_an_older_copy_of_it_goes_on() {
    let [victim, late, proposer] = lexicographic(N)[..] else { panic!("three signers") };
    let mut cluster = Cluster::start(N, |signer| json!({ "consents": signer != late }));
    // A copy from before the session, as a backup has it.
    cluster.kill(victim);
    let (path, copy) = (cluster.store(victim), cluster.store(victim).with_extension("copy"));
    fs::copy(&path, &copy).expect("copies");
    cluster.restart(victim, &json!({}));
    cluster.order(victim, &json!({ "order": "connected", "signers": N - 1 }));
    let again = cluster.log.len();
    cluster.wait("it is connected again", |log| {
        log[again..].iter().any(|said| said.by == victim && said.is("connected"))
    });
    cluster.propose(proposer, ElectionMethod::Lexicographic);
    cluster.wait_until_exported(proposer, |export| holds(export, victim) == (true, true));
    cluster.wait_all("SessionProposed", [late]);
    cluster.kill(victim);

    let whole = fs::read(&path).expect("reads");
    fs::write(&path, &whole[..whole.len() / 2]).expect("writes");
    let refusal = cluster.refused(victim, &json!({}));
    assert!(refusal.contains("damaged") && refusal.contains("backup"), "{refusal}");
    assert_eq!(fs::read(&path).expect("reads").len(), whole.len() / 2);

    // The copy knows nothing of the consent and the nonces that are out: it learns them from the others.
    fs::copy(&copy, &path).expect("copies");
    cluster.restart(victim, &json!({}));
    cluster.wait_all("KeyInUseElsewhere", [victim]);
    cluster.order(late, &json!({ "order": "join" }));
    assert_eq!(
        finish_from_elsewhere(&mut cluster, "an older copy"),
        1,
        "the nonces are lost: another attempt"
    );
    let export = cluster.export(proposer).expect("is there");
    let nonces = |envelope: &&Envelope| {
        envelope.body().signer == victim && matches!(envelope.content(), Content::Nonces { .. })
    };
    assert_eq!(export.envelopes.iter().filter(nonces).count(), 2);
}
