//! Bytes that the library hands out.

use super::handle::{add_reference, release};

/// Bytes, or a text, that the library hands out. They never change.
pub struct musig_bytes {
    /// With a NUL behind them.
    bytes: Vec<u8>,
}

impl musig_bytes {
    pub(super) fn new(mut bytes: Vec<u8>) -> Self {
        bytes.push(0);
        Self { bytes }
    }

    pub(super) fn text(text: &str) -> Self {
        Self::new(text.replace('\0', " ").into_bytes())
    }
}

/// Points to the bytes.
///
/// A NUL follows them that is not counted, so that a text can be used as it is.
///
/// Returns: a pointer that lives as long as the object; NULL for NULL.
/// In:      bytes: the object.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_bytes_data(bytes: *const musig_bytes) -> *const u8 {
    // SAFETY: the header asks for bytes or NULL.
    let bytes = unsafe { bytes.as_ref() };
    bytes.map_or(std::ptr::null(), |bytes| bytes.bytes.as_ptr())
}

/// Counts the bytes.
///
/// Returns: how many there are, without the NUL behind them; 0 for NULL.
/// In:      bytes: the object.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_bytes_length(bytes: *const musig_bytes) -> usize {
    // SAFETY: the header asks for bytes or NULL.
    let bytes = unsafe { bytes.as_ref() };
    bytes.map_or(0, |bytes| bytes.bytes.len() - 1)
}

/// Takes one more reference to bytes.
///
/// Returns: the same pointer.
/// In:      bytes: the object; NULL stays NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_bytes_ref(bytes: *mut musig_bytes) -> *mut musig_bytes {
    // SAFETY: the header asks for bytes with a reference, or NULL.
    unsafe { add_reference(bytes) }
}

/// Gives up one reference to bytes; the last one frees them.
///
/// In:      bytes: the object; nothing is done for NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_bytes_free(bytes: *mut musig_bytes) {
    // SAFETY: the header asks for bytes with a reference, or NULL.
    unsafe { release(bytes) }
}
