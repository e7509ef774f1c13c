//! What the operating system gives: a clock that counts sleep, locked memory, fork detection.

mod locked;

pub use locked::Locked;
