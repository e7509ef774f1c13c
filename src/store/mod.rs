//! Where a node keeps its sessions: keys and values of bytes, committed in batches.

use crate::error::StoreError;

pub mod memory;
pub mod redb;
pub mod schema;
pub mod thread;

pub use crate::protocol::Durability;

/// One change of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets the value of a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key, if it is there.
    Delete(Vec<u8>),
    /// Removes all keys that begin so.
    DeletePrefix(Vec<u8>),
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A store. One thread calls it.
pub trait Store: Send {
    /// Everything in it, in the order of the keys.
    fn load(&mut self) -> Result<Vec<Entry>, StoreError>;

    /// Makes all changes, in order, or none.
    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError>;

    /// Closes the file and releases its lock, until [`Store::resume`]. What was committed is synced before.
    fn suspend(&mut self) -> Result<(), StoreError>;

    /// Opens the file again.
    fn resume(&mut self) -> Result<(), StoreError>;
}
