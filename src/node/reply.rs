//! [`Reply`]: an answer to `.await` or to block on, with any runtime or none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::Error;

/// Answer of an operation. `.await` it in any async runtime, or block on [`Reply::wait`].
///
/// The operation continues if this is dropped.
#[must_use = "await it, or block on wait(); the operation continues either way"]
pub struct Reply<T> {
    state: State<T>,
    /// Called with an answer that was not taken.
    give_back: Option<GiveBack<T>>,
}

type GiveBack<T> = Box<dyn FnOnce(T) + Send>;

impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}

enum State<T> {
    Pending(oneshot::Receiver<Result<T, Error>>, Option<Arc<Health>>),
    Ready(Option<Result<T, Error>>),
}

impl<T> Unpin for Reply<T> {}

impl<T> Reply<T> {
    /// Answer that is returned to the node if this is dropped before it is taken.
    pub(crate) fn returnable(
        receiver: oneshot::Receiver<Result<T, Error>>,
        give_back: impl FnOnce(T) + Send + 'static,
    ) -> Self {
        Self { state: State::Pending(receiver, None), give_back: Some(Box::new(give_back)) }
    }

    /// Answer of a node that may fail instead of answering.
    pub(crate) fn asked(receiver: oneshot::Receiver<Result<T, Error>>, health: Arc<Health>) -> Self {
        Self { state: State::Pending(receiver, Some(health)), give_back: None }
    }

    pub(crate) fn ready(result: Result<T, Error>) -> Self {
        Self { state: State::Ready(Some(result)), give_back: None }
    }

    /// Refuses a later answer; returns the one that has arrived.
    #[cfg(feature = "uniffi")]
    pub(crate) fn cancel(&mut self) -> Option<Result<T, Error>> {
        self.give_back = None;
        match &mut self.state {
            State::Pending(receiver, _) => {
                receiver.close();
                receiver.try_recv().ok()
            }
            State::Ready(result) => result.take(),
        }
    }

    /// Blocks this thread until the answer arrives. May be called in callbacks of the node.
    pub fn wait(self) -> Result<T, Error> {
        block_on(self, None).unwrap_or(Err(Error::NodeStopped))
    }

    /// Blocks for at most `limit`. `None` if no answer arrived in time; the operation continues.
    pub fn wait_for(self, limit: Duration) -> Option<Result<T, Error>> {
        block_on(self, Instant::now().checked_add(limit))
    }
}

impl<T> Future for Reply<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.state {
            State::Pending(receiver, node) => Pin::new(receiver).poll(context).map(|answer| {
                answer.unwrap_or_else(|_| match node {
                    Some(node) if node.failed() || node.in_call() => Err(failed()),
                    _ => Err(Error::NodeStopped),
                })
            }),
            State::Ready(result) => Poll::Ready(result.take().unwrap_or(Err(Error::NodeStopped))),
        };
        if answer.is_ready() {
            self.give_back = None;
        }
        answer
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let (Some(give_back), State::Pending(receiver, _)) = (self.give_back.take(), &mut self.state) {
            receiver.close();
            if let Ok(Ok(answer)) = receiver.try_recv() {
                give_back(answer);
            }
        }
    }
}

/// Health of a node: whether it ended by a panic.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failed: AtomicBool,
    in_call: AtomicBool,
}

impl Health {
    /// It ended by a panic.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Whether it runs an application's call. A call that panics leaves this set, and drops its answer before `failed`
    /// is set.
    fn in_call(&self) -> bool {
        self.in_call.load(Ordering::SeqCst)
    }

    pub(crate) fn call(&self, call: impl FnOnce()) {
        self.in_call.store(true, Ordering::SeqCst);
        call();
        self.in_call.store(false, Ordering::SeqCst);
    }
}

/// Guard that marks the node as failed when a panic drops the actor, before pending answers are dropped.
#[derive(Clone)]
pub(crate) struct FailureMark(pub(crate) Arc<Health>);

impl Drop for FailureMark {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}

/// Error of a node that ended by a panic.
pub(crate) fn failed() -> Error {
    Error::Internal("the node failed; stop it and start a new one on the same store".into())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future on this thread, until the deadline if there is one.
pub(crate) fn block_on<F: Future + Unpin>(mut future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut context) {
            return Some(output);
        }
        match deadline {
            None => thread::park(),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                thread::park_timeout(left);
            }
        }
    }
}
