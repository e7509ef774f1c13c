//! The runtimes that nodes share. Never the application's.

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::Error;

/// How many threads the nodes of this process share for their own work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum RuntimeProfile {
    /// Two worker threads.
    #[default]
    Default,
    /// One worker thread: for phones and small devices.
    Small,
}

/// The runtime of a profile, made at its first use. It lives as long as the process.
pub(crate) fn handle(profile: RuntimeProfile) -> Result<Handle, Error> {
    static DEFAULT: OnceCell<Runtime> = OnceCell::new();
    static SMALL: OnceCell<Runtime> = OnceCell::new();
    let (cell, threads) = match profile {
        RuntimeProfile::Default => (&DEFAULT, 2),
        RuntimeProfile::Small => (&SMALL, 1),
    };
    let runtime = cell.get_or_try_init(|| {
        Builder::new_multi_thread().worker_threads(threads).thread_name("musig").enable_all().build()
    });
    match runtime {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(error) => Err(Error::Config(format!("no runtime could be started: {error}"))),
    }
}
