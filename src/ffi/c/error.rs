//! Errors of single calls.

use std::ffi::{CString, c_char};

use super::failure::Failure;
use super::handle::{add_reference, release};
use super::status::{musig_status, musig_status_code};

/// The error of one call: its status, and a message that says what to do next.
///
/// A fallible function writes one to its last parameter if that is not NULL, and NULL on success. The caller frees it.
pub struct musig_error {
    status: musig_status_code,
    message: CString,
    retryable: bool,
}

impl musig_error {
    pub(super) fn new(failure: Failure) -> Self {
        let message = failure.message.replace('\0', " ");
        let message = CString::new(message).unwrap_or_default();
        Self { status: failure.status, message, retryable: failure.retryable }
    }
}

/// Gets the status of an error.
///
/// Returns: the status that the call returned; MUSIG_STATUS_NULL_ARGUMENT for NULL.
/// In:      error: the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_error_status(error: *const musig_error) -> musig_status {
    // SAFETY: the header asks for an error or NULL.
    let error = unsafe { error.as_ref() };
    error.map_or(musig_status_code::NULL_ARGUMENT, |error| error.status) as musig_status
}

/// Gets the message of an error, for logs and users.
///
/// The wording may change with any version. It contains values such as keys, paths and session ids, never secrets.
///
/// Returns: a NUL-terminated text in UTF-8 that is valid as long as the error; "" for NULL.
/// In:      error: the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_error_message(error: *const musig_error) -> *const c_char {
    // SAFETY: the header asks for an error or NULL.
    let error = unsafe { error.as_ref() };
    error.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Tells whether the same call may succeed later, though nothing in it changes.
///
/// What failed is outside of the call (the network, the disk, the Bitcoin backend, a device), or ends (a limit that other
/// sessions free, a suspension, a locked signer).
///
/// Returns: 1 if it may; 0 if the call has to change, and for NULL.
/// In:      error: the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_error_is_retryable(error: *const musig_error) -> i32 {
    // SAFETY: the header asks for an error or NULL.
    let error = unsafe { error.as_ref() };
    error.is_some_and(|error| error.retryable).into()
}

/// Adds a reference to an error.
///
/// Returns: the same pointer.
/// In:      error: the error; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_error_ref(error: *mut musig_error) -> *mut musig_error {
    // SAFETY: the header asks for an error with a reference, or NULL.
    unsafe { add_reference(error) }
}

/// Releases a reference to an error; the last one frees it.
///
/// In:      error: the error; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_error_free(error: *mut musig_error) {
    // SAFETY: the header asks for an error with a reference, or NULL.
    unsafe { release(error) }
}
