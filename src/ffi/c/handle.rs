//! Handles: objects that C holds, counted by their references.

use std::sync::Arc;

use super::failure::guarded;

/// Hands an object to C, with one reference. Any thread may use it and give it up.
pub(super) fn into_handle<T: Send + Sync>(object: T) -> *mut T {
    Arc::into_raw(Arc::new(object)).cast_mut()
}

/// One more reference. NULL stays NULL.
///
/// # Safety
/// `handle` is NULL, or came from [`into_handle`] and has a reference.
pub(super) unsafe fn add_reference<T>(handle: *mut T) -> *mut T {
    guarded(handle, || {
        if !handle.is_null() {
            // SAFETY: it came from Arc::into_raw, and its count is at least one.
            unsafe { Arc::increment_strong_count(handle.cast_const()) };
        }
        handle
    })
}

/// One reference less; the last one drops the object. Nothing for NULL.
///
/// # Safety
/// `handle` is NULL, or came from [`into_handle`] and has a reference, which the caller gives up.
pub(super) unsafe fn release<T>(handle: *mut T) {
    if !handle.is_null() {
        guarded((), || {
            // SAFETY: it came from Arc::into_raw, and the caller gives its reference up.
            unsafe { Arc::decrement_strong_count(handle.cast_const()) }
        });
    }
}
