//! Answers that are waited for by `await` or by blocking, with any runtime or none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::Error;

/// The answer to an operation. `.await` it in any async runtime, or block on [`Reply::wait`].
///
/// The operation goes on if this is dropped.
#[must_use = "await it, or block on wait(); the operation goes on either way"]
#[derive(Debug)]
pub struct Reply<T>(State<T>);

#[derive(Debug)]
enum State<T> {
    Pending(oneshot::Receiver<Result<T, Error>>),
    Ready(Option<Result<T, Error>>),
}

impl<T> Unpin for Reply<T> {}

impl<T> Reply<T> {
    pub(crate) fn pending(receiver: oneshot::Receiver<Result<T, Error>>) -> Self {
        Self(State::Pending(receiver))
    }

    pub(crate) fn ready(result: Result<T, Error>) -> Self {
        Self(State::Ready(Some(result)))
    }

    /// Refuses the answer from now on; brings the one that came before.
    #[cfg(feature = "uniffi")]
    pub(crate) fn cancel(&mut self) -> Option<Result<T, Error>> {
        match &mut self.0 {
            State::Pending(receiver) => {
                receiver.close();
                receiver.try_recv().ok()
            }
            State::Ready(result) => result.take(),
        }
    }

    /// Blocks this thread until the answer is there. Works inside callbacks of the node too.
    pub fn wait(self) -> Result<T, Error> {
        block_on(self, None).unwrap_or(Err(Error::NodeStopped))
    }

    /// Blocks for at most `limit`. `None` if there was no answer by then; the operation goes on.
    pub fn wait_for(self, limit: Duration) -> Option<Result<T, Error>> {
        block_on(self, Some(Instant::now() + limit))
    }
}

impl<T> Future for Reply<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Pending(receiver) => {
                Pin::new(receiver).poll(context).map(|answer| answer.unwrap_or(Err(Error::NodeStopped)))
            }
            State::Ready(result) => Poll::Ready(result.take().unwrap_or(Err(Error::NodeStopped))),
        }
    }
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
