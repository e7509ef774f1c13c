//! The process that the library's threads belong to.

use std::sync::OnceLock;

use super::failure::Outcome;
use crate::error::Error;
use crate::platform::ForkGuard;

static PROCESS: OnceLock<ForkGuard> = OnceLock::new();

/// Refuses in a child of the process that first started a node: the library's threads are not there.
pub(super) fn check_process() -> Outcome {
    match PROCESS.get_or_init(ForkGuard::new).check() {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::Forked.into()),
    }
}

/// Whether this is a child of the process that first started a node.
pub(super) fn is_forked() -> bool {
    PROCESS.get().is_some_and(|process| process.check().is_err())
}
