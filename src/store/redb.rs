//! [`RedbStore`], a store in one file by the crate `redb`.
//!
//! # Durability
//!
//! [`Durability::Synced`] is redb's `Immediate`: one `fsync`, by redb's one-phase commit. The two-phase
//! commit costs a second one and guards against somebody who chooses the written data *and* the order in
//! which pages reach the disk *and* the moment of the crash; peers choose at most the first.
//!
//! [`Durability::Eventual`] is none of redb's commits: the changes wait in this process's memory until the next synced
//! commit makes both durable, in one atomic step. So a crash, of the process too and not only of the machine, loses all
//! commits since the last synced one, never one in the middle. redb's own `None` would promise no more, and costs as
//! much time as a synced commit but for the `fsync`, and pages that cannot be used again before it.
//! [`StoreThread`](super::thread::StoreThread) syncs soon after an eventual commit. A store that is dropped or
//! suspended syncs.
//!
//! # Size
//!
//! A file that is longer than 1 MiB and of which less than a quarter is in use is made smaller when it is opened. redb
//! uses freed pages again, and never gives them back while it runs.
//!
//! # Damage
//!
//! Each opening verifies every page's checksum and rebuilds the allocator's state
//! (`set_check_integrity_on_open`): an altered file must not be trusted about which attempts were used, and
//! the node reads all of it at a start anyway. Hence redb's quick repair, which skips just that and makes
//! each commit slower, is off. redb may panic on a damaged file: a panic is caught and is
//! [`StoreError::Corrupt`]. One thing cannot be told apart: after a crash, a last commit that was damaged
//! later looks like one that was never finished, and the one before it is taken.
//!
//! # Failures
//!
//! Nothing of a failed commit is promised to be there, or not to be there, after the next opening; changes
//! are idempotent, so commit them again. When space ran out, the next call opens the file again and first
//! repeats the eventual commits that were not synced. Any other failure stays until [`Store::suspend`] and
//! [`Store::resume`]: after a failed `fsync` the system may have dropped the pages, and a retry would only
//! seem to succeed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::redb::backends::FileBackend;
use ::redb::{Database, Error, ReadableDatabase, ReadableTable, TableDefinition, TableError, TableHandle};

use super::{Change, Durability, Entry, Store, schema};
use crate::error::StoreError;

const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const SCHEMA: &str = "schema";

/// Bytes of redb's cache. Its default is 1 GiB.
const CACHE: usize = 1 << 20;
/// redb's page: what its file header occupies, and a divisor of every file's length.
const PAGE: usize = 4096;
/// Bytes of redb's magic number, which it writes last when it makes a file.
const MAGIC: usize = 9;
/// A longer file is made smaller when it is opened, if less than a quarter of it is in use.
const LARGE: u64 = 1 << 20;
/// A file that was not finished is not longer (redb starts with 72 KiB, and with 1 MiB before 4.6).
const UNFINISHED: u64 = 2 << 20;

/// Store in one file. One process at a time can open it, and in it one `RedbStore`.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    state: State,
    /// Eventual commits since the last synced one, which redb does not know yet. Bounded by what is committed between two
    /// synced commits.
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum State {
    Open(Database),
    /// Space ran out: the next call opens it again.
    Full(StoreError),
    Failed(StoreError),
    Suspended,
}

/// What went wrong, and whether opening the file again may help.
struct Failure {
    error: StoreError,
    space: bool,
}

impl RedbStore {
    /// Opens the store, or creates one that only its owner can read (mode 0600). The directory must exist.
    ///
    /// A file that a crash left incomplete is created again.
    ///
    /// Errors: `InUse`, `Schema`, `Corrupt` (also for a file of something else), `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_path_buf();
        let database = open_database(&path, true).map_err(|failure| failure.error)?;
        Ok(Self { path, state: State::Open(database), unsynced: Vec::new() })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file again if space had run out, and repeats what was not synced.
    fn reopen(&mut self) -> Result<(), StoreError> {
        if let State::Full(_) = self.state {
            match open_and_repeat(&self.path, &self.unsynced) {
                Ok(database) => {
                    self.unsynced.clear();
                    self.state = State::Open(database);
                }
                Err(failure) => self.state = failure.into_state(),
            }
        }
        self.database().map(|_| ())
    }

    fn database(&self) -> Result<&Database, StoreError> {
        match &self.state {
            State::Open(database) => Ok(database),
            State::Full(error) | State::Failed(error) => Err(error.clone()),
            State::Suspended => Err(StoreError::Suspended),
        }
    }

    /// Closes the database after a failure.
    fn fail(&mut self, failure: Failure) -> StoreError {
        let error = failure.error.clone();
        if let State::Open(database) = std::mem::replace(&mut self.state, failure.into_state()) {
            let _ = close(&self.path, database);
        }
        error
    }

    /// Makes the eventual commits durable, and these changes with them.
    fn sync(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.reopen()?;
        write(&self.path, self.database()?, &self.unsynced, changes).map_err(|failure| self.fail(failure))?;
        self.unsynced.clear();
        Ok(())
    }

    /// Syncs what is not synced, closes the file and releases its lock, whatever fails.
    fn close(&mut self, next: State) -> Result<(), Failure> {
        match std::mem::replace(&mut self.state, next) {
            State::Open(database) => {
                let written = write(&self.path, &database, &self.unsynced, &[]);
                written.and(close(&self.path, database))
            }
            State::Full(error) | State::Failed(error) if !self.unsynced.is_empty() => {
                Err(Failure { error, space: false })
            }
            _ => Ok(()),
        }
    }
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Vec<Entry>, StoreError> {
        self.sync(&[])?;
        let database = self.database()?;
        let entries = guarded(&self.path, || {
            let table = database.begin_read()?.open_table(ENTRIES)?;
            let mut entries = Vec::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                entries.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(entries)
        });
        entries.map_err(|failure| self.fail(failure))
    }

    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError> {
        match durability {
            Durability::Synced => self.sync(changes),
            Durability::Eventual => {
                self.reopen()?;
                self.unsynced.extend_from_slice(changes);
                Ok(())
            }
        }
    }

    /// The lock is released even if this fails; then what was not synced is written by [`Store::resume`].
    fn suspend(&mut self) -> Result<(), StoreError> {
        self.close(State::Suspended).map_err(|failure| failure.error)?;
        self.unsynced.clear();
        Ok(())
    }

    /// Opens the same file, and never makes a new one. After an error the store stays suspended.
    fn resume(&mut self) -> Result<(), StoreError> {
        if !matches!(self.state, State::Suspended) {
            return Ok(());
        }
        let database = open_and_repeat(&self.path, &self.unsynced).map_err(|failure| failure.error)?;
        self.unsynced.clear();
        self.state = State::Open(database);
        Ok(())
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        let _ = self.close(State::Suspended);
    }
}

/// Opens the file that was open before, and makes its lost changes durable.
fn open_and_repeat(path: &Path, unsynced: &[Change]) -> Result<Database, Failure> {
    let database = open_database(path, false)?;
    match write(path, &database, unsynced, &[]) {
        Ok(()) => Ok(database),
        Err(failure) => {
            let _ = close(path, database);
            Err(failure)
        }
    }
}

fn close(path: &Path, database: Database) -> Result<(), Failure> {
    guarded(path, || Ok(database.close()?))
}

/// Makes all changes in one transaction, if there are any, and syncs.
fn write(path: &Path, database: &Database, first: &[Change], then: &[Change]) -> Result<(), Failure> {
    if first.is_empty() && then.is_empty() {
        return Ok(());
    }
    guarded(path, || {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(::redb::Durability::Immediate)?;
        let mut table = transaction.open_table(ENTRIES)?;
        for change in first.iter().chain(then) {
            match change {
                Change::Put(key, value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                Change::Delete(key) => drop(table.remove(key.as_slice())?),
                Change::DeletePrefix(prefix) => {
                    let end = after_prefix(prefix);
                    let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                    table.retain_in::<&[u8], _>((Bound::Included(prefix.as_slice()), end), |_, _| false)?;
                }
            }
        }
        drop(table);
        Ok(transaction.commit()?)
    })
}

/// The first key after all that begin with `prefix`.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

fn open_database(path: &Path, create: bool) -> Result<Database, Failure> {
    let mut database = open_file(path, create)?;
    match guarded(path, || shrink(path, &mut database)) {
        Ok(()) => Ok(database),
        // It is of no use only if it cannot be opened as it is.
        Err(failure) => {
            tracing::warn!(target: "libmusig::store", error = %failure.error, "the store's file could not be made smaller");
            drop(database);
            open_file(path, false)
        }
    }
}

fn shrink(path: &Path, database: &mut Database) -> Result<(), Error> {
    let length = std::fs::metadata(path)?.len();
    if length <= LARGE {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    let used = transaction.stats()?.allocated_pages() * PAGE as u64;
    transaction.abort()?;
    if used < length / 4 {
        database.compact()?;
    }
    Ok(())
}

fn open_file(path: &Path, create: bool) -> Result<Database, Failure> {
    let outside = |source: io::Error| Failure::new(path, source.into());
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(outside)?;
    let metadata = file.metadata().map_err(outside)?;
    if !metadata.is_file() {
        return Err(outside(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    if create && is_unfinished(&mut file, metadata.len()).map_err(outside)? {
        empty(path).map_err(|error| Failure { error, space: false })?;
    }
    if !create && metadata.len() == 0 {
        return Err(Failure::corrupt(path, "the file was emptied"));
    }
    // redb finds no file locks in Rust's standard library there; its own calls do not reach this one.
    #[cfg(target_os = "android")]
    if !crate::platform::try_lock_file(&file).map_err(outside)? {
        return Err(Failure { error: StoreError::InUse { path: path.display().to_string() }, space: false });
    }
    let builder = || {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        Ok(builder.create_with_backend(FileBackend::new(file)?)?)
    };
    let database = guarded(path, builder)?;
    match check_schema(path, &database, create) {
        Ok(()) => Ok(database),
        Err(failure) => {
            let _ = close(path, database);
            Err(failure)
        }
    }
}

/// Checks what is in the file; if it is new, makes the tables.
fn check_schema(path: &Path, database: &Database, create: bool) -> Result<(), Failure> {
    match guarded(path, || read_schema(database))? {
        Schema::None if create => {
            guarded(path, || {
                let transaction = database.begin_write()?;
                transaction.open_table(ENTRIES)?;
                transaction.open_table(META)?.insert(SCHEMA, schema::VERSION)?;
                Ok(transaction.commit()?)
            })?;
            sync_directory(path);
            Ok(())
        }
        Schema::Version(schema::VERSION) => Ok(()),
        Schema::Version(found) => {
            let path = path.display().to_string();
            let error = StoreError::Schema { path, found, expected: schema::VERSION };
            Err(Failure { error, space: false })
        }
        Schema::None | Schema::Foreign => Err(Failure::corrupt(path, "a database of something else")),
    }
}

enum Schema {
    /// A database without tables: new.
    None,
    Version(u64),
    Foreign,
}

fn read_schema(database: &Database) -> Result<Schema, Error> {
    let transaction = database.begin_read()?;
    let tables: Vec<String> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    if tables.is_empty() && transaction.list_multimap_tables()?.next().is_none() {
        return Ok(Schema::None);
    }
    let version = match transaction.open_table(META) {
        Ok(meta) => meta.get(SCHEMA)?.map(|version| version.value()),
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => None,
    };
    match version {
        Some(schema::VERSION) if transaction.open_table(ENTRIES).is_err() => Ok(Schema::Foreign),
        Some(version) => Ok(Schema::Version(version)),
        None => Ok(Schema::Foreign),
    }
}

/// Whether the process that made the file stopped before it wrote anything but zeros and redb's header
/// without its magic number.
fn is_unfinished(file: &mut File, length: u64) -> io::Result<bool> {
    if length == 0 || length > UNFINISHED || !length.is_multiple_of(PAGE as u64) {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(UNFINISHED).read_to_end(&mut bytes)?;
    let zero = |bytes: Option<&[u8]>| bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
    Ok(zero(bytes.get(..MAGIC)) && zero(bytes.get(PAGE..)))
}

/// Empties an unfinished file, unless another process is making it just now.
fn empty(path: &Path) -> Result<(), StoreError> {
    let outside = |source: io::Error| Failure::new(path, source.into()).error;
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(outside)?;
    if !crate::platform::try_lock_file(&file).map_err(outside)? {
        return Err(StoreError::InUse { path: path.display().to_string() });
    }
    let length = file.metadata().map_err(outside)?.len();
    if is_unfinished(&mut file, length).map_err(outside)? {
        file.set_len(0).map_err(outside)?;
    }
    Ok(())
}

/// Makes the new file's name durable. Some file systems cannot, and then need not.
fn sync_directory(path: &Path) {
    if cfg!(unix) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let _ = File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all());
    }
}

/// Runs redb, whose panic means that the file is damaged.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| Failure::new(path, error)),
        Err(_) => Err(Failure::corrupt(path, "redb found an impossible state")),
    }
}

impl Failure {
    fn corrupt(path: &Path, reason: impl ToString) -> Self {
        let (path, reason) = (path.display().to_string(), reason.to_string());
        Self { error: StoreError::Corrupt { path, reason }, space: false }
    }

    fn new(path: &Path, error: Error) -> Self {
        use io::ErrorKind::{FileTooLarge, InvalidData, QuotaExceeded, StorageFull, UnexpectedEof};
        let text = path.display().to_string();
        match error {
            Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => {
                Self { error: StoreError::InUse { path: text }, space: false }
            }
            Error::Io(source) => match source.kind() {
                InvalidData | UnexpectedEof => Self::corrupt(path, source),
                kind => Self {
                    error: StoreError::Io { path: text, reason: source.to_string() },
                    space: matches!(kind, StorageFull | QuotaExceeded | FileTooLarge),
                },
            },
            Error::PreviousIo | Error::DatabaseClosed | Error::ValueTooLarge(_) => {
                Self { error: StoreError::Io { path: text, reason: error.to_string() }, space: false }
            }
            other => Self::corrupt(path, other),
        }
    }

    fn into_state(self) -> State {
        if self.space { State::Full(self.error) } else { State::Failed(self.error) }
    }
}
