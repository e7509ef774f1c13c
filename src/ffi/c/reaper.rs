//! The reaper: a thread for work that may block, on behalf of callers that must not, such as freeing the last reference
//! to a running node. It starts with a process's first node, so that freeing never fails for lack of a thread.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::failure::{Outcome, guarded};
use crate::error::Error;
use crate::platform::PerProcess;

type Job = Box<dyn FnOnce() + Send>;

static JOBS: PerProcess<OnceLock<Sender<Job>>> = PerProcess::new();

/// Starts the thread, if it does not run. Errors: the system gives no thread.
pub(super) fn start() -> Outcome {
    let started = JOBS.get();
    if started.get().is_some() {
        return Ok(());
    }
    let (jobs, queue) = channel::<Job>();
    let thread = std::thread::Builder::new().name("musig-reaper".into()).spawn(move || {
        while let Ok(job) = queue.recv() {
            run_apart(job);
        }
    });
    thread.map_err(|error| Error::Config(format!("no thread could be started: {error}")))?;
    // Another caller may have been faster: then the queue above closes, and its thread ends.
    let _ = started.set(jobs);
    Ok(())
}

/// Runs a job on a thread of its own, so that a node whose callback hangs keeps no other from ending. Without a thread
/// it runs here.
fn run_apart(job: Job) {
    let job = Arc::new(Mutex::new(Some(job)));
    let shared = job.clone();
    let take = |job: &Mutex<Option<Job>>| job.lock().unwrap_or_else(PoisonError::into_inner).take();
    let work = move || guarded((), || take(&shared).map_or((), |job| job()));
    if std::thread::Builder::new().name("musig-end".into()).spawn(work).is_err()
        && let Some(job) = take(&job)
    {
        guarded((), job);
    }
}

/// Has a job run by the thread. The job is of this process: what is of a parent's must not be touched.
pub(super) fn run(job: impl FnOnce() + Send + 'static) {
    let job: Job = Box::new(job);
    match JOBS.get().get() {
        Some(jobs) => drop(jobs.send(job)),
        // No node was ever started in this process, so nothing in it waits.
        None => job(),
    }
}
