//! The user_data of callbacks, and its destruction.

use std::ffi::c_void;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use super::reaper;
use crate::platform::ForkGuard;

/// Frees the user_data of callbacks. Called exactly once, after the last callback: inside the first musig_node_stop,
/// inside the _free of the last reference, or on a thread of the library. May be NULL.
pub type musig_destroy = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// The user_data of one foreign object. Its last owner, or [`UserData::finish`], destroys it.
pub(super) struct UserData {
    pointer: *mut c_void,
    /// What a child of fork() has of it is the parent's to destroy.
    process: ForkGuard,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Used(musig_destroy),
    /// By this thread, now.
    Ending(ThreadId),
    Destroyed,
}

// SAFETY: the header says that callbacks are entered on threads of the library, one at a time.
unsafe impl Send for UserData {}
// SAFETY: as above; the pointer itself is never read here.
unsafe impl Sync for UserData {}

impl UserData {
    /// From now on the data is the library's.
    pub(super) fn new(pointer: *mut c_void, destroy: musig_destroy) -> Self {
        let state = Mutex::new(State::Used(destroy));
        Self { pointer, process: ForkGuard::new(), state, changed: Condvar::new() }
    }

    pub(super) fn pointer(&self) -> *mut c_void {
        self.pointer
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Destroys it, once, and returns when that is done, whoever does it. No callback may run or come.
    pub(super) fn finish(&self) {
        let own = std::thread::current().id();
        let destroy = {
            let mut state = self.state();
            loop {
                match *state {
                    State::Used(destroy) => {
                        *state = State::Ending(own);
                        break destroy;
                    }
                    // destroy itself stops the node: this would wait for itself.
                    State::Ending(thread) if thread == own => return,
                    State::Ending(_) => {
                        state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    }
                    State::Destroyed => return,
                }
            }
        };
        if let Some(destroy) = destroy {
            // SAFETY: the header asks for a function that takes this pointer, and this is the only call.
            unsafe { destroy(self.pointer) }
        }
        *self.state() = State::Destroyed;
        self.changed.notify_all();
    }
}

struct Last(*mut c_void);

// SAFETY: as for UserData.
unsafe impl Send for Last {}

impl Drop for UserData {
    fn drop(&mut self) {
        if self.process.check().is_err() {
            return;
        }
        // Foreign code is never entered on a worker of the runtime.
        if tokio::runtime::Handle::try_current().is_err() {
            self.finish();
        } else if let State::Used(Some(destroy)) = std::mem::replace(&mut *self.state(), State::Destroyed) {
            let last = Last(self.pointer);
            reaper::run(move || {
                let last = last;
                // SAFETY: the header asks for a function that takes this pointer, and this is the only call.
                unsafe { destroy(last.0) }
            });
        }
    }
}
