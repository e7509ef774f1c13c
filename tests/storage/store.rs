//! What both stores promise, and what the file is.

use std::fs;
use std::path::Path;
use std::time::Instant;

use libmusig::error::StoreError;
use libmusig::store::memory::MemoryStore;
use libmusig::store::redb::RedbStore;
use libmusig::store::schema::{self, Key, SessionPart, session_prefix};
use libmusig::store::{Change, Durability, Entry, Store};
use libmusig::types::{EnvelopeId, SessionId, SignerKey};
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::{entry, put};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");

fn signer() -> SignerKey {
    "02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9".parse().expect("a point")
}

/// Runs a test with each store.
fn with_each(test: impl Fn(&mut dyn Store)) {
    let directory = tempfile::tempdir().expect("a directory");
    test(&mut MemoryStore::new());
    test(&mut RedbStore::open(directory.path().join("store")).expect("opens"));
}

#[test]
fn changes_are_made_in_order() {
    with_each(|store| {
        let first = [put("a", "1"), put("b", "2"), put("a", "3"), Change::Delete(b"b".to_vec())];
        store.commit(&first, Durability::Eventual).expect("commits");
        store
            .commit(&[put("c", ""), Change::Delete(b"missing".to_vec())], Durability::Synced)
            .expect("commits");
        assert_eq!(store.load().expect("loads"), [entry("a", "3"), entry("c", "")]);
        store
            .commit(&[put("ab", "x"), Change::DeletePrefix(b"a".to_vec()), put("a", "4")], Durability::Synced)
            .expect("commits");
        assert_eq!(store.load().expect("loads"), [entry("a", "4"), entry("c", "")]);
    });
}

#[test]
fn prefixes_end_where_they_should() {
    with_each(|store| {
        let keys: [&[u8]; 7] =
            [b"\x00", b"s\xfe\xff", b"s\xff", b"s\xff\x00", b"s\xff\xff", b"t", b"\xff\xff\x01"];
        let changes: Vec<Change> = keys.iter().map(|key| put(key, "")).collect();
        store.commit(&changes, Durability::Synced).expect("commits");
        store.commit(&[Change::DeletePrefix(b"s\xff".to_vec())], Durability::Synced).expect("commits");
        let left: Vec<Entry> = [keys[0], keys[1], keys[5], keys[6]].map(|key| entry(key, "")).to_vec();
        assert_eq!(store.load().expect("loads"), left);
        store.commit(&[Change::DeletePrefix(b"\xff\xff".to_vec())], Durability::Synced).expect("commits");
        assert_eq!(store.load().expect("loads"), left[..3]);
        store.commit(&[Change::DeletePrefix(Vec::new())], Durability::Synced).expect("commits");
        assert_eq!(store.load().expect("loads"), []);
    });
}

#[test]
fn suspended_store_refuses_and_resumes_with_everything() {
    with_each(|store| {
        store.commit(&[put("synced", "1")], Durability::Synced).expect("commits");
        store.commit(&[put("eventual", "2")], Durability::Eventual).expect("commits");
        store.suspend().expect("suspends");
        store.suspend().expect("twice is once");
        assert_eq!(store.load(), Err(StoreError::Suspended));
        assert_eq!(store.commit(&[put("lost", "3")], Durability::Synced), Err(StoreError::Suspended));
        store.resume().expect("resumes");
        store.resume().expect("twice is once");
        assert_eq!(store.load().expect("loads"), [entry("eventual", "2"), entry("synced", "1")]);
    });
}

#[test]
fn memory_store_is_shared_and_crashes_like_a_file() {
    let store = MemoryStore::new();
    let mut node = store.clone();
    node.commit(&[put("a", "1")], Durability::Synced).expect("commits");
    for key in ["b", "c", "d"] {
        node.commit(&[put(key, "2")], Durability::Eventual).expect("commits");
    }
    assert_eq!(store.clone().load().expect("loads").len(), 4);
    assert_eq!(store.crash(1), 3);
    assert_eq!(store.clone().load().expect("loads"), [entry("a", "1"), entry("b", "2")]);
    assert_eq!(store.crash(0), 0, "what survived a crash is on the disk");
    assert_eq!(store.clone().load().expect("loads").len(), 2);
}

#[test]
fn second_opener_of_the_process_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let mut first = RedbStore::open(&path).expect("opens");
    let in_use = StoreError::InUse { path: path.display().to_string() };
    assert_eq!(RedbStore::open(&path).map(drop), Err(in_use.clone()));
    first.commit(&[put("a", "1")], Durability::Eventual).expect("the first one goes on");
    first.suspend().expect("suspends");
    let mut second = RedbStore::open(&path).expect("the lock is released");
    assert_eq!(second.load().expect("loads"), [entry("a", "1")]);
    assert_eq!(first.resume(), Err(in_use));
    assert_eq!(first.load(), Err(StoreError::Suspended));
    drop(second);
    first.resume().expect("the lock is free again");
    assert_eq!(first.load().expect("loads"), [entry("a", "1")]);
}

#[test]
fn resumption_makes_no_new_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let mut store = RedbStore::open(&path).expect("opens");
    store.suspend().expect("suspends");
    fs::write(&path, []).expect("empties");
    assert!(matches!(store.resume(), Err(StoreError::Corrupt { .. })));
    fs::remove_file(&path).expect("removes");
    assert!(matches!(store.resume(), Err(StoreError::Io { .. })));
    assert!(!path.exists());
}

#[test]
fn dropped_store_keeps_eventual_commits() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    RedbStore::open(&path).expect("opens").commit(&[put("a", "1")], Durability::Eventual).expect("commits");
    assert_eq!(RedbStore::open(&path).expect("opens").load().expect("loads"), [entry("a", "1")]);
}

#[test]
#[cfg(unix)]
fn file_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    drop(RedbStore::open(&path).expect("opens"));
    assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
}

fn change_with_redb(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::create(path).expect("a redb file");
    let transaction = database.begin_write().expect("begins");
    change(&transaction);
    transaction.commit().expect("commits");
}

#[test]
fn another_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    drop(RedbStore::open(&path).expect("opens"));
    change_with_redb(&path, |transaction| {
        transaction.open_table(META).expect("opens").insert("schema", schema::VERSION + 1).expect("inserts");
    });
    let error = StoreError::Schema {
        path: path.display().to_string(),
        found: schema::VERSION + 1,
        expected: schema::VERSION,
    };
    assert_eq!(RedbStore::open(&path).map(drop), Err(error));
    let database = Database::open(&path).expect("still a database");
    let meta = database.begin_read().expect("begins").open_table(META).expect("opens");
    assert_eq!(meta.get("schema").expect("reads").expect("is there").value(), schema::VERSION + 1);
}

#[test]
fn databases_of_something_else_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    type Foreign<'a> = (&'a str, &'a dyn Fn(&redb::WriteTransaction));
    let foreign: [Foreign; 4] = [
        ("other table", &|t| drop(t.open_table(TableDefinition::<u64, u64>::new("coins")))),
        ("entries alone", &|t| drop(t.open_table(ENTRIES))),
        ("schema alone", &|t| drop(t.open_table(META).expect("opens").insert("schema", schema::VERSION))),
        ("meta of other types", &|t| drop(t.open_table(TableDefinition::<u64, u64>::new("meta")))),
    ];
    for (name, change) in foreign {
        let path = directory.path().join(name);
        change_with_redb(&path, change);
        let before = fs::read(&path).expect("reads").len();
        assert!(matches!(RedbStore::open(&path), Err(StoreError::Corrupt { .. })), "{name}");
        assert_eq!(fs::read(&path).expect("reads").len(), before, "{name} was changed");
    }
}

#[test]
fn garbage_is_corrupt_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let mut late = vec![0; 73_728];
    late[50_000] = 1;
    for garbage in [b"x".to_vec(), vec![0; 10], vec![0xff; 100_000], late, b"SQLite format 3\0".repeat(512)] {
        fs::write(&path, &garbage).expect("writes");
        assert!(matches!(RedbStore::open(&path), Err(StoreError::Corrupt { .. })), "{} bytes", garbage.len());
        assert_eq!(fs::read(&path).expect("reads"), garbage);
    }
}

#[test]
fn unfinished_file_is_made_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    drop(Database::create(&path).expect("makes one"));
    let without_tables = fs::read(&path).expect("reads");
    let mut without_magic = vec![0; without_tables.len()];
    without_magic[9..320].copy_from_slice(&without_tables[9..320]);
    for unfinished in [Vec::new(), vec![0; without_tables.len()], without_magic, without_tables] {
        fs::write(&path, &unfinished).expect("writes");
        let mut store = RedbStore::open(&path).expect("is made anew");
        store.commit(&[put("a", "1")], Durability::Synced).expect("commits");
        drop(store);
        assert_eq!(RedbStore::open(&path).expect("opens").load().expect("loads"), [entry("a", "1")]);
    }
}

#[test]
fn paths_that_cannot_be_written_are_io_errors() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "x").expect("writes");
    let paths = [file.join("store"), directory.path().join("missing/store"), directory.path().to_path_buf()];
    for path in paths {
        match RedbStore::open(&path) {
            Err(StoreError::Io { path: named, .. }) => assert_eq!(named, path.display().to_string()),
            other => panic!("{}: {other:?}", path.display()),
        }
    }
    // Read-only for root too.
    #[cfg(target_os = "linux")]
    for path in ["/proc/version", "/proc/store", "/dev/full", "/sys/kernel/store"] {
        assert!(matches!(RedbStore::open(path), Err(StoreError::Io { .. })), "{path}");
    }
}

#[test]
fn keys_are_read_back_and_nothing_else_is() {
    let (id, envelope) = (SessionId([0xff; 32]), EnvelopeId([b'p'; 32]));
    let keys = [
        Key::Identity,
        Key::Owner,
        Key::Presence(signer()),
        Key::Session { id, part: SessionPart::Proposal },
        Key::Session { id, part: SessionPart::Record },
        Key::Session { id, part: SessionPart::Certificate },
        Key::Ended(id),
        Key::Envelope { session: id, id: envelope },
    ];
    for (index, key) in keys.iter().enumerate() {
        let bytes = key.encode();
        assert_eq!(Key::decode(&bytes), Some(*key));
        assert_eq!(key.session().is_some(), index >= 3);
        assert_eq!(bytes.starts_with(&session_prefix(&id)), index >= 3);
        assert!(keys.iter().filter(|other| other.encode() == bytes).count() == 1);
        for length in 0..bytes.len() {
            assert_eq!(Key::decode(&bytes[..length]), None, "{key:?} cut to {length}");
        }
        assert_eq!(Key::decode(&[&bytes[..], b"x"].concat()), None, "{key:?} and more");
    }
    assert_eq!(Key::decode(&[b"presence/".as_slice(), &[2; 32], &[0xff]].concat()), None);
    assert_eq!(Key::decode(&[&session_prefix(&id)[..], b"y"].concat()), None);
}

/// What a session costs on the disk; prints the times, which depend on the machine.
#[test]
fn file_stays_small() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let mut store = RedbStore::open(&path).expect("opens");
    let length = || fs::metadata(&path).expect("exists").len();
    let mut sizes = vec![length()];
    let (mut synced, mut eventual) = (Vec::new(), Vec::new());
    for session in 0..100u8 {
        let id = SessionId([session; 32]);
        for commit in 0..10u8 {
            let key = Key::Envelope { session: id, id: EnvelopeId([commit; 32]) }.encode();
            let durability = if commit % 4 == 0 { Durability::Synced } else { Durability::Eventual };
            let start = Instant::now();
            store.commit(&[put(key, [commit; 300])], durability).expect("commits");
            if durability == Durability::Synced { &mut synced } else { &mut eventual }.push(start.elapsed());
        }
        sizes.push(length());
    }
    let start = Instant::now();
    store.suspend().expect("suspends");
    let suspended = start.elapsed();
    let closed = length();
    let start = Instant::now();
    store.resume().expect("resumes");
    let resumed = start.elapsed();
    synced.sort();
    eventual.sort();
    println!(
        "sizes {sizes:?}, closed {closed}; synced median {:?}, worst {:?}; eventual {:?}; suspend {suspended:?}, resume {resumed:?}",
        synced[synced.len() / 2],
        synced[synced.len() - 1],
        eventual[eventual.len() / 2],
    );
    assert!(sizes[0] <= 128 << 10, "an empty store has {} bytes", sizes[0]);
    assert!(sizes[100] <= 2 << 20, "100 sessions of 3 kB each need {} bytes", sizes[100]);
    assert_eq!(store.load().expect("loads").len(), 1000);
}

#[test]
fn file_of_which_little_is_in_use_is_made_smaller_when_it_is_opened() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let length = || fs::metadata(&path).expect("is there").len();
    let mut store = RedbStore::open(&path).expect("opens");
    let keys: Vec<String> = (0..4000).map(|number| format!("{number:04}")).collect();
    let all: Vec<Change> = keys.iter().map(|key| put(key, "v".repeat(1000))).collect();
    store.commit(&all, Durability::Synced).expect("commits");
    drop(store);
    let large = length();
    assert_eq!(RedbStore::open(&path).expect("opens").load().expect("loads").len(), 4000);
    assert_eq!(length(), large, "it is in use");

    let mut store = RedbStore::open(&path).expect("opens");
    let most: Vec<Change> = keys[..3990].iter().map(|key| Change::Delete(key.as_bytes().to_vec())).collect();
    store.commit(&most, Durability::Synced).expect("commits");
    drop(store);
    assert!(length() > 3 << 20, "redb makes it smaller itself now: {}", length());
    let mut store = RedbStore::open(&path).expect("opens");
    let left: Vec<Entry> = keys[3990..].iter().map(|key| entry(key, "v".repeat(1000))).collect();
    assert_eq!(store.load().expect("loads"), left);
    store.commit(&[put("more", "")], Durability::Synced).expect("commits");
    drop(store);
    assert!(length() <= 1 << 20, "{}", length());
    assert_eq!(RedbStore::open(&path).expect("opens").load().expect("loads").len(), 11);
}
