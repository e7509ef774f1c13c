//! [`Lane`]: the thread that calls a foreign object.
//!
//! Each foreign object (the event handler, a Broadcaster, a ChainObserver, a Signer, a log sink) has a lane:
//! a bounded queue and one long-lived thread. Calls on one object are made one at a time, in the order in
//! which they were asked for; objects never wait for each other; and the core never waits at all: it is told
//! the outcome.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// Outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneOutcome<R> {
    /// The foreign code returned this.
    Done(R),
    /// The time limit, which counts from the asking, passed. If the call had not begun, it never will; if it
    /// had, its answer will be discarded.
    TimedOut,
    /// The foreign code panicked.
    Panicked,
    /// Too many calls wait: this one was never made.
    Full,
    /// The lane was stopped: this call was never made.
    Stopped,
}

/// A lane was joined from its own thread, which would deadlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a lane was joined from its own thread and would deadlock; request the stop there, and wait elsewhere"
)]
pub struct WouldDeadlock;

/// A queue and a thread for one foreign object. Dropping it is [`Lane::stop`].
pub struct Lane {
    shared: Arc<Shared>,
    capacity: usize,
    timer: Handle,
    thread: ThreadId,
    join: Mutex<Option<JoinHandle<()>>>,
}

impl Lane {
    /// Starts the thread. At most `capacity` calls wait, beside the one that runs. Time limits are kept by
    /// `timer`'s runtime, which must have its time driver enabled; once it is shut down, a call that has
    /// begun ends only when the foreign code returns.
    ///
    /// Errors: the system gives no thread.
    pub fn spawn(name: &str, capacity: usize, timer: Handle) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = shared.clone();
        let thread = std::thread::Builder::new().name(format!("musig-{name}")).spawn(move || worker.run())?;
        Ok(Self { shared, capacity, timer, thread: thread.thread().id(), join: Mutex::new(Some(thread)) })
    }

    /// Queues a call. Returns at once.
    ///
    /// `on_result` is called exactly once, never inside the foreign code: on the lane's thread after the
    /// foreign code returned, on a runtime worker when the time limit passed, on the caller's thread when the
    /// lane is full or stopped, on the stopping thread when it is stopped meanwhile. So it must be short and
    /// must not block, lock or call into this lane: a channel's send.
    ///
    /// `work` is dropped on the lane's thread if it was run, else on any of those; hold the foreign object
    /// elsewhere too where its destructor must not run there.
    pub fn call<R: Send + 'static>(
        &self,
        time_limit: Option<Duration>,
        work: impl FnOnce() -> R + Send + 'static,
        on_result: impl FnOnce(LaneOutcome<R>) + Send + 'static,
    ) {
        let answer = Arc::new(Answer::<R>(Mutex::new(Some(Box::new(on_result)))));
        let timer = time_limit.map(|limit| {
            // The timer does not keep the answer: a call that has ended leaves nothing behind.
            let answer = Arc::downgrade(&answer);
            let task = self.timer.spawn(async move {
                tokio::time::sleep(limit).await;
                if let Some(answer) = answer.upgrade() {
                    answer.give(LaneOutcome::TimedOut);
                }
            });
            task.abort_handle()
        });
        let call = Box::new(Call { work, answer: answer.clone(), timer });
        if let Err((refused, call)) = self.shared.push(call, self.capacity) {
            answer.give(match refused {
                Refused::Full => LaneOutcome::Full,
                Refused::Stopped => LaneOutcome::Stopped,
            });
            discard(call);
        }
    }

    /// How many calls wait, beside the one that runs.
    pub fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Whether this is the lane's thread: the caller is inside the foreign code.
    pub fn is_current_thread(&self) -> bool {
        std::thread::current().id() == self.thread
    }

    /// No call begins any more; those that wait are answered [`LaneOutcome::Stopped`], here; the one that
    /// runs finishes. Does not wait, and may be called anywhere.
    pub fn stop(&self) {
        let waiting = {
            let mut state = self.shared.lock();
            state.stopping = true;
            self.shared.changed.notify_all();
            std::mem::take(&mut state.queue)
        };
        waiting.into_iter().for_each(discard);
    }

    /// [`Lane::stop`], and waits until the running call has returned and was answered: from then on no
    /// foreign code runs.
    ///
    /// Errors: this is the lane's own thread; then nothing is stopped.
    pub fn stop_and_join(&self) -> Result<(), WouldDeadlock> {
        if self.is_current_thread() {
            return Err(WouldDeadlock);
        }
        self.stop();
        // Held while waiting, so that a second caller waits too.
        let mut join = self.join.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = join.take() {
            let _ = thread.join();
        }
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Box<dyn Job>>,
    stopping: bool,
}

enum Refused {
    Full,
    Stopped,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, call: Box<dyn Job>, capacity: usize) -> Result<(), (Refused, Box<dyn Job>)> {
        let mut expired = VecDeque::new();
        let mut state = self.lock();
        if state.stopping {
            return Err((Refused::Stopped, call));
        }
        if state.queue.len() >= capacity {
            // Behind a call that hangs, those that timed out must not take the room of others.
            (state.queue, expired) =
                std::mem::take(&mut state.queue).into_iter().partition(|job| job.is_wanted());
        }
        let result = if state.queue.len() < capacity {
            state.queue.push_back(call);
            Ok(())
        } else {
            Err((Refused::Full, call))
        };
        drop(state);
        // The lane's thread is the only one that waits; woken under the lock, it would have to wait for that too.
        self.changed.notify_one();
        expired.into_iter().for_each(discard);
        result
    }

    fn run(&self) {
        loop {
            let job = {
                let mut state = self.lock();
                loop {
                    if state.stopping {
                        return;
                    }
                    match state.queue.pop_front() {
                        Some(job) => break job,
                        None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                    }
                }
            };
            job.run();
        }
    }
}

trait Job: Send {
    fn is_wanted(&self) -> bool;
    fn run(self: Box<Self>);
}

struct Call<R, W> {
    work: W,
    answer: Arc<Answer<R>>,
    timer: Option<AbortHandle>,
}

impl<R: Send, W: FnOnce() -> R + Send> Job for Call<R, W> {
    fn is_wanted(&self) -> bool {
        self.answer.is_wanted()
    }

    fn run(self: Box<Self>) {
        if !self.is_wanted() {
            return discard(self);
        }
        let Self { work, answer, timer } = *self;
        let outcome = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => LaneOutcome::Done(result),
            Err(panic) => {
                // Its destructor is foreign, and may panic as well.
                std::mem::forget(panic);
                LaneOutcome::Panicked
            }
        };
        answer.give(outcome);
        if let Some(timer) = timer {
            timer.abort();
        }
    }
}

type OnResult<R> = Box<dyn FnOnce(LaneOutcome<R>) + Send>;

/// The right to answer a call, taken by the first who does. If nobody did, the end of it is the answer.
struct Answer<R>(Mutex<Option<OnResult<R>>>);

impl<R> Answer<R> {
    fn is_wanted(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn give(&self, outcome: LaneOutcome<R>) {
        let on_result = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A late result is dropped here, by foreign code perhaps.
        let _ = catch_unwind(AssertUnwindSafe(|| match on_result {
            Some(on_result) => on_result(outcome),
            None => drop(outcome),
        }));
    }
}

impl<R> Drop for Answer<R> {
    fn drop(&mut self) {
        self.give(LaneOutcome::Stopped);
    }
}

/// Drops a call that is not made, and with it perhaps foreign objects.
fn discard<J: Job + ?Sized>(job: Box<J>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(job)));
}
