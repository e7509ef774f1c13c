//! [`MemoryStore`], for tests, the simulator, and nodes without persistence.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Change, Durability, Entry, Store};
use crate::error::StoreError;

#[derive(Debug, Default)]
struct Contents {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Contents as of the last synced commit.
    synced: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Commits since then.
    unsynced: Vec<Vec<Change>>,
}

/// Store in memory. Clones share their contents, so that a "restarted" node finds what its predecessor wrote;
/// [`MemoryStore::crash`] discards what a crash may lose.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    contents: Arc<Mutex<Contents>>,
    suspended: bool,
}

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Simulates a crash: of the commits since the last synced one, only the first `keep` stay. Returns their number
    /// before.
    pub fn crash(&self, keep: usize) -> usize {
        let mut contents = self.contents();
        let lost = std::mem::take(&mut contents.unsynced);
        let Contents { entries, synced, .. } = &mut *contents;
        lost.iter().take(keep).for_each(|changes| apply(synced, changes));
        *entries = synced.clone();
        lost.len()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.suspended { Err(StoreError::Suspended) } else { Ok(()) }
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Vec<Entry>, StoreError> {
        self.check_open()?;
        Ok(self.contents().entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError> {
        self.check_open()?;
        let mut contents = self.contents();
        apply(&mut contents.entries, changes);
        if !changes.is_empty() {
            contents.unsynced.push(changes.to_vec());
        }
        if durability == Durability::Synced {
            contents.sync();
        }
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), StoreError> {
        self.contents().sync();
        self.suspended = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), StoreError> {
        self.suspended = false;
        Ok(())
    }
}

impl Contents {
    fn sync(&mut self) {
        for changes in std::mem::take(&mut self.unsynced) {
            apply(&mut self.synced, &changes);
        }
    }
}

fn apply(entries: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put(key, value) => {
                entries.insert(key.clone(), value.clone());
            }
            Change::Delete(key) => {
                entries.remove(key);
            }
            Change::DeletePrefix(prefix) => {
                let doomed: Vec<_> = entries
                    .range(prefix.clone()..)
                    .map(|(key, _)| key)
                    .take_while(|key| key.starts_with(prefix))
                    .cloned()
                    .collect();
                doomed.iter().for_each(|key| drop(entries.remove(key)));
            }
        }
    }
}
