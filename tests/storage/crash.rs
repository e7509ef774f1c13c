//! Other processes, killed processes, damaged files, full disks.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use libmusig::error::StoreError;
use libmusig::store::redb::RedbStore;
use libmusig::store::{Durability, Entry, Store};

use crate::put;

const ROLE: &str = "LIBMUSIG_TEST_ROLE";
const PATH: &str = "LIBMUSIG_TEST_PATH";

/// Not a test: what this program does when a test starts it as a child.
#[test]
fn child() {
    let (Ok(role), Some(path)) = (std::env::var(ROLE), std::env::var_os(PATH)) else { return };
    let path = PathBuf::from(path);
    match role.as_str() {
        "open" => match RedbStore::open(&path) {
            Ok(_) => say("opened"),
            Err(error) => say(format!("{error:?}")),
        },
        "hold" => {
            let _store = RedbStore::open(&path).expect("opens");
            say("holding");
            std::io::stdin().read_line(&mut String::new()).expect("the parent closes it");
        }
        "commit" => commit_until_killed(&path),
        #[cfg(target_os = "linux")]
        "full" => full_disk(&path),
        other => panic!("no role {other}"),
    }
}

/// Says a line to the parent, among the lines of the test harness.
fn say(line: impl std::fmt::Display) {
    println!("\n@{line}");
    std::io::stdout().flush().expect("the parent reads it");
}

fn spawn(role: &str, path: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(std::env::current_exe().expect("has a path"))
        .args(["crash::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(PATH, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let lines = lines(child.stdout.take().expect("is piped"));
    (child, lines)
}

/// What the child says, until it ends.
fn lines(stdout: ChildStdout) -> impl Iterator<Item = String> {
    BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix('@').map(str::to_owned))
}

fn record(number: u64) -> (Vec<u8>, Vec<u8>) {
    (number.to_be_bytes().to_vec(), number.to_le_bytes().repeat(40))
}

/// Commits records with even numbers synced, with odd ones eventually, and says each synced one when it is.
fn commit_until_killed(path: &Path) {
    let mut store = RedbStore::open(path).expect("opens");
    let first = store.load().expect("loads").len() as u64;
    say("started");
    for number in first.. {
        let (key, value) = record(number);
        let durability = if number % 2 == 0 { Durability::Synced } else { Durability::Eventual };
        store.commit(&[put(key, value)], durability).expect("commits");
        if number % 2 == 0 {
            say(number);
        }
    }
}

#[test]
fn second_process_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let ask = || {
        let (mut child, mut lines) = spawn("open", &path);
        let answer = lines.next().expect("the child answers");
        child.wait().expect("ends");
        answer
    };
    let in_use = StoreError::InUse { path: path.display().to_string() };

    let mut store = RedbStore::open(&path).expect("opens");
    assert_eq!(ask(), format!("{in_use:?}"));
    store.suspend().expect("suspends");
    assert_eq!(ask(), "opened");
    store.resume().expect("resumes");
    assert_eq!(ask(), format!("{in_use:?}"));
    drop(store);

    let (mut child, mut lines) = spawn("hold", &path);
    assert_eq!(lines.next().as_deref(), Some("holding"));
    assert_eq!(RedbStore::open(&path).map(drop), Err(in_use));
    child.kill().expect("kills");
    child.wait().expect("ends");
    RedbStore::open(&path).expect("a killed process holds no lock");
}

#[test]
fn synced_commits_survive_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let mut promised = 0;
    for round in 0..12 {
        let (mut child, mut lines) = spawn("commit", &path);
        assert_eq!(lines.next().as_deref(), Some("started"));
        // Another moment in each round.
        let heard = lines.by_ref().take(1 + 3 * round).last();
        child.kill().expect("kills");
        let last = lines.last().or(heard).expect("it committed");
        child.wait().expect("ends");
        promised = last.parse::<u64>().expect("a number").max(promised);

        let entries = RedbStore::open(&path).expect("opens").load().expect("loads");
        let expected: Vec<Entry> = (0..entries.len() as u64).map(record).collect();
        assert!(entries == expected, "round {round}: a record is missing before a later one, or altered");
        assert!(
            entries.len() as u64 > promised,
            "round {round}: {promised} was synced, {} are there",
            entries.len()
        );
    }
    assert!(promised > 100);
}

/// Damages the file in many ways. It must open with all entries, or those of an earlier commit, or be
/// refused.
#[test]
fn damaged_file_never_panics_or_lies() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let mut store = RedbStore::open(&path).expect("opens");
    let all: Vec<Entry> = (0..120).map(record).collect();
    for chunk in all.chunks(10) {
        let changes: Vec<_> = chunk.iter().map(|(key, value)| put(key, value)).collect();
        store.commit(&changes, Durability::Synced).expect("commits");
    }
    // As a crash leaves it: to be recovered. And as it is closed.
    let crashed = fs::read(&path).expect("reads");
    drop(store);
    let closed = fs::read(&path).expect("reads");
    for intact in [crashed, closed] {
        damage_and_check(&path, &intact, &all);
    }
}

fn damage_and_check(path: &Path, intact: &[u8], all: &[Entry]) {
    let (mut opened, mut earlier, mut refused) = (0, 0, 0);
    let mut check = |what: String, bytes: &[u8]| {
        fs::write(path, bytes).expect("writes");
        match RedbStore::open(path).and_then(|mut store| store.load()) {
            Ok(entries) => {
                assert!(all.starts_with(&entries), "{what}: entries that never were");
                assert!(entries.len() % 10 == 0, "{what}: half a commit");
                earlier += usize::from(entries.len() < all.len());
                opened += 1;
            }
            Err(StoreError::Corrupt { .. } | StoreError::Schema { .. }) => refused += 1,
            Err(error) => panic!("{what}: {error:?}"),
        }
    };
    check("intact".into(), intact);
    for length in (1..intact.len()).step_by(4093).chain([1, 9, 64, 319, 320, 4096, 8192, intact.len() - 1]) {
        check(format!("cut to {length}"), &intact[..length]);
    }
    check("longer".into(), &[intact, &[0; 4096]].concat());
    for offset in (0..320).step_by(5).chain((320..intact.len()).step_by(1021)) {
        for damage in [0x00, 0x01, 0xff] {
            let mut bytes = intact.to_vec();
            bytes[offset] ^= if damage == 0 { bytes[offset] } else { damage };
            check(format!("byte {offset} damaged with {damage:02x}"), &bytes);
        }
    }
    for page in 0..intact.len() / 4096 {
        for fill in [0x00, 0xff] {
            let mut bytes = intact.to_vec();
            bytes[page * 4096..][..4096].fill(fill);
            check(format!("page {page} filled with {fill:02x}"), &bytes);
        }
    }
    println!("{opened} opened, {earlier} of them with an earlier commit, {refused} refused");
    assert!(opened > 0 && refused > 50);
}

/// The process's files may not grow: commits fail with `Io`, and go on when there is space again, with
/// nothing lost.
#[test]
#[cfg(target_os = "linux")]
fn full_disk_is_an_error_and_heals() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let (mut child, lines) = spawn("full", &path);
    assert_eq!(lines.collect::<Vec<_>>(), ["full", "full again", "healed"]);
    assert!(child.wait().expect("ends").success());
    let entries = RedbStore::open(&path).expect("opens").load().expect("loads");
    assert_eq!(entries.last(), Some(&crate::entry([0xff; 8], "after")));
    let expected: Vec<Entry> = (0..entries.len() as u64 - 1).map(record).collect();
    assert!(entries[..entries.len() - 1] == expected);
    assert!(expected.len() > 100);
}

#[cfg(target_os = "linux")]
fn full_disk(path: &Path) {
    let mut store = RedbStore::open(path).expect("opens");
    limit_file_size(Some(1 << 20));
    let mut committed = 0;
    let error = loop {
        let (key, value) = record(committed);
        let durability = if committed % 10 == 0 { Durability::Synced } else { Durability::Eventual };
        match store.commit(&[put(key, value)], durability) {
            Ok(()) => committed += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    say("full");
    // As long as there is no space, it says so, whatever is tried; and what is there can be read.
    let big = put([0xee; 8], vec![1; 2 << 20]);
    for _ in 0..3 {
        assert!(matches!(
            store.commit(std::slice::from_ref(&big), Durability::Synced),
            Err(StoreError::Io { .. })
        ));
    }
    say("full again");
    limit_file_size(None);
    store.commit(&[put([0xff; 8], "after")], Durability::Synced).expect("there is space again");
    assert_eq!(store.load().expect("loads").len() as u64, committed + 1, "an eventual commit got lost");
    say("healed");
}

#[cfg(target_os = "linux")]
fn limit_file_size(bytes: Option<u64>) {
    let limit =
        libc::rlimit { rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY), rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid rlimit, which setrlimit only reads; SIG_IGN is a valid disposition.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}
