//! A thread that does what may block, for those that must not: freeing the last reference of a running node.

use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use super::boundary::{Outcome, is_forked, simple};
use crate::error::Error;

type Job = Box<dyn FnOnce() + Send>;

static JOBS: OnceLock<Sender<Job>> = OnceLock::new();

/// Starts the thread, if it does not run. Errors: the system gives no thread.
pub(super) fn start() -> Outcome {
    if JOBS.get().is_some() {
        return Ok(());
    }
    let (jobs, queue) = channel::<Job>();
    let thread = std::thread::Builder::new().name("musig-reaper".into()).spawn(move || {
        while let Ok(job) = queue.recv() {
            simple((), job);
        }
    });
    thread.map_err(|error| Error::Config(format!("no thread could be started: {error}")))?;
    // Another caller may have been faster: then the queue above closes, and its thread ends.
    let _ = JOBS.set(jobs);
    Ok(())
}

/// Runs a job on the thread. In a child of fork() nothing is run.
pub(super) fn run(job: impl FnOnce() + Send + 'static) {
    let job: Job = Box::new(job);
    if is_forked() {
        std::mem::forget(job);
    } else if let Some(jobs) = JOBS.get() {
        let _ = jobs.send(job);
    } else {
        // No node was ever started, so nothing in it waits.
        job();
    }
}
