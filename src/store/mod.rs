//! Stores of a node's sessions: keys and values of bytes, committed in batches.

use crate::error::StoreError;

pub mod memory;
pub mod redb;
pub mod schema;
pub mod thread;

pub use crate::protocol::Durability;

/// Change of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets the value of a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key, if it is there.
    Delete(Vec<u8>),
    /// Removes all keys with this prefix.
    DeletePrefix(Vec<u8>),
}

/// Key and value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Store of keys and values. Called by one thread.
pub trait Store: Send {
    /// All entries, in the order of the keys.
    fn load(&mut self) -> Result<Vec<Entry>, StoreError>;

    /// Makes all changes, in order, or none (atomically). With [`Durability::Synced`] they, and all commits before, are
    /// on the disk when this returns.
    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError>;

    /// Syncs all commits, closes the file and releases its lock, until [`Store::resume`].
    fn suspend(&mut self) -> Result<(), StoreError>;

    /// Opens the file again.
    fn resume(&mut self) -> Result<(), StoreError>;
}
