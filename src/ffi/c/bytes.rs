//! Byte strings that the library returns.

use super::boundary::total;
use super::error::musig_error;
use super::handle::{add_reference, release};
use super::status::musig_status;

/// What a callback may give the library.
const MOST: usize = 8 << 20;

/// An immutable byte string, or text, that the library returns, or that a callback gives it.
pub struct musig_bytes {
    /// With a NUL behind them.
    bytes: Vec<u8>,
}

impl musig_bytes {
    pub(super) fn new(mut bytes: Vec<u8>) -> Self {
        bytes.push(0);
        Self { bytes }
    }

    #[cfg(feature = "bitcoin")]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - 1]
    }

    pub(super) fn text(text: &str) -> Self {
        Self::new(text.replace('\0', " ").into_bytes())
    }
}

/// Creates a byte string, for a callback that gives one to the library.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for too many bytes.
/// Out:     out: the byte string; release it with musig_bytes_free.
/// In:      data: the bytes, which are copied; may be NULL if there are none.
///          length: number of bytes, at most 8 MiB.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_bytes_new(
    out: *mut *mut musig_bytes,
    data: *const u8,
    length: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let length = total(length, 1, MOST, "length")?;
        out.give(musig_bytes::new(array!(optional data, length).to_vec()));
        Ok(())
    })
}

/// Gets a pointer to the bytes.
///
/// A NUL follows that is not counted, so text can be used as a C string.
///
/// Returns: a pointer that is valid as long as the byte string; NULL for NULL.
/// In:      bytes: the byte string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_bytes_data(bytes: *const musig_bytes) -> *const u8 {
    // SAFETY: the header asks for bytes or NULL.
    let bytes = unsafe { bytes.as_ref() };
    bytes.map_or(std::ptr::null(), |bytes| bytes.bytes.as_ptr())
}

/// Gets the length of the bytes.
///
/// Returns: the length in bytes, without the trailing NUL; 0 for NULL.
/// In:      bytes: the byte string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_bytes_length(bytes: *const musig_bytes) -> usize {
    // SAFETY: the header asks for bytes or NULL.
    let bytes = unsafe { bytes.as_ref() };
    bytes.map_or(0, |bytes| bytes.bytes.len() - 1)
}

/// Adds a reference to bytes.
///
/// Returns: the same pointer.
/// In:      bytes: the byte string; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_bytes_ref(bytes: *mut musig_bytes) -> *mut musig_bytes {
    // SAFETY: the header asks for bytes with a reference, or NULL.
    unsafe { add_reference(bytes) }
}

/// Releases a reference to bytes; the last one frees them.
///
/// In:      bytes: the byte string; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_bytes_free(bytes: *mut musig_bytes) {
    // SAFETY: the header asks for bytes with a reference, or NULL.
    unsafe { release(bytes) }
}
