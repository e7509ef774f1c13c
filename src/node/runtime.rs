//! Tokio runtimes that nodes share, never the application's.

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::Error;
use crate::platform::PerProcess;

/// Number of worker threads that the nodes of this process share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum RuntimeProfile {
    /// Two worker threads.
    #[default]
    Default,
    /// One worker thread: for phones and small devices.
    Small,
}

/// Runtime of a profile, created at its first use in this process: a child of `fork()` has none of its parent's threads.
/// It lives as long as the process.
pub(crate) fn handle(profile: RuntimeProfile) -> Result<Handle, Error> {
    static DEFAULT: PerProcess<OnceCell<Runtime>> = PerProcess::new();
    static SMALL: PerProcess<OnceCell<Runtime>> = PerProcess::new();
    let (cell, threads) = match profile {
        RuntimeProfile::Default => (&DEFAULT, 2),
        RuntimeProfile::Small => (&SMALL, 1),
    };
    let runtime = cell.get().get_or_try_init(|| {
        Builder::new_multi_thread().worker_threads(threads).thread_name("musig").enable_all().build()
    });
    match runtime {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(error) => Err(Error::Config(format!(
            "the system started no threads ({error}); free resources and try again"
        ))),
    }
}
