//! What C's callbacks need besides their function: the user's data, and its end.

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use super::boundary::is_forked;
use super::reaper;

/// Frees the user_data of callbacks. Called exactly once, after the last callback: inside the first musig_node_stop,
/// inside the function that gives the last reference up, or on a thread of the library. May be NULL.
pub type musig_destroy = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// The user's data of one foreign object. Its last owner, or [`UserData::finish`], destroys it.
pub(super) struct UserData {
    pointer: *mut c_void,
    destroy: Mutex<musig_destroy>,
}

// SAFETY: the header says that callbacks are entered on threads of the library, one at a time.
unsafe impl Send for UserData {}
// SAFETY: as above; the pointer itself is never read here.
unsafe impl Sync for UserData {}

impl UserData {
    /// From now on the data is the library's.
    pub(super) fn new(pointer: *mut c_void, destroy: musig_destroy) -> Self {
        Self { pointer, destroy: Mutex::new(destroy) }
    }

    pub(super) fn pointer(&self) -> *mut c_void {
        self.pointer
    }

    fn take(&self) -> musig_destroy {
        self.destroy.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Destroys it, once. No callback may run or come.
    pub(super) fn finish(&self) {
        if let Some(destroy) = self.take() {
            // SAFETY: the header asks for a function that takes this pointer, and this is the only call.
            unsafe { destroy(self.pointer) }
        }
    }
}

struct Last(*mut c_void);

// SAFETY: as for UserData.
unsafe impl Send for Last {}

impl Drop for UserData {
    fn drop(&mut self) {
        // A child of fork() does not own what its parent destroys.
        if is_forked() {
            return;
        }
        // Foreign code is never entered on a worker of the runtime.
        if tokio::runtime::Handle::try_current().is_err() {
            self.finish();
        } else if let Some(destroy) = self.take() {
            let last = Last(self.pointer);
            reaper::run(move || {
                let last = last;
                // SAFETY: the header asks for a function that takes this pointer, and this is the only call.
                unsafe { destroy(last.0) }
            });
        }
    }
}
