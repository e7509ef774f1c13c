//! Counts of live objects, in builds for tests; and the wait for foreign objects when a node stops.

use std::sync::mpsc::{Receiver, Sender, channel};

/// Guard held by whatever may still call a foreign object.
#[derive(Clone)]
pub(super) struct InUse {
    _sender: Sender<()>,
}

/// Waits until no [`InUse`] exists any more.
pub(super) struct Unused(Receiver<()>);

impl Unused {
    pub(super) fn new() -> (InUse, Self) {
        let (sender, receiver) = channel();
        (InUse { _sender: sender }, Self(receiver))
    }

    pub(super) fn wait(self) {
        // Nothing is ever sent: this ends with the last sender.
        let _ = self.0.recv();
    }
}

/// Lives as long as the object that it is a field of.
#[derive(Debug)]
pub(super) struct Live {
    #[cfg(feature = "test-hooks")]
    kind: &'static str,
}

#[cfg(not(feature = "test-hooks"))]
impl Live {
    pub(super) fn new(_: &'static str) -> Self {
        Self {}
    }
}

#[cfg(feature = "test-hooks")]
mod counting {
    use std::collections::HashMap;
    use std::sync::{Mutex, PoisonError};

    use super::Live;

    static COUNTS: Mutex<Option<HashMap<&'static str, u64>>> = Mutex::new(None);

    fn count<R>(change: impl FnOnce(&mut HashMap<&'static str, u64>) -> R) -> R {
        change(COUNTS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
    }

    impl Live {
        pub(in super::super) fn new(kind: &'static str) -> Self {
            count(|counts| *counts.entry(kind).or_default() += 1);
            Self { kind }
        }
    }

    impl Drop for Live {
        fn drop(&mut self) {
            count(|counts| *counts.entry(self.kind).or_default() -= 1);
        }
    }

    /// Counts of live objects by type name. Types that were never instantiated are missing.
    #[uniffi::export]
    pub fn live_objects() -> HashMap<String, u64> {
        count(|counts| counts.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect())
    }
}

#[cfg(feature = "test-hooks")]
pub use counting::live_objects;
