//! The entry from C: NULL checks, lengths, panics, statuses.
//!
//! Pointers from C are read by the macros here and nowhere else. Their safety is the caller's contract in the header: a
//! pointer is NULL, or valid as documented there.

use std::ffi::{CStr, c_char};
use std::mem::size_of;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::enums::{Enumeration, musig_join};
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::into_handle;
use super::status::{musig_status, musig_status_code};
use crate::protocol::consent::JoinOptions;
use crate::types::{SessionId, SignerKey};

/// Runs the body of a fallible function: no panic leaves it, and the error is always written.
///
/// # Safety
/// `error` is NULL or may be written to.
pub(super) unsafe fn enter(error: *mut *mut musig_error, body: impl FnOnce() -> Outcome) -> musig_status {
    if !error.is_aligned() {
        return musig_status_code::INVALID_ARGUMENT as musig_status;
    }
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        // A payload may panic when it is dropped.
        std::mem::forget(payload);
        Err(Failure::new(musig_status_code::INTERNAL, "internal error: libmusig panicked; please report it"))
    });
    let (status, object) = match outcome {
        Ok(()) => (musig_status_code::OK, std::ptr::null_mut()),
        Err(failure) => {
            let status = failure.status;
            let object =
                if error.is_null() { std::ptr::null_mut() } else { into_handle(musig_error::new(failure)) };
            (status, object)
        }
    };
    if !error.is_null() {
        // SAFETY: not NULL and aligned, so it may be written to.
        unsafe { error.write(object) };
    }
    status as musig_status
}

/// Refuses NULL, and an address at which there can be no `T`.
fn check_pointer<T>(pointer: *const T, name: &str) -> Outcome {
    if pointer.is_null() {
        return Err(Failure::new(musig_status_code::NULL_ARGUMENT, format!("{name} is NULL")));
    }
    if !pointer.is_aligned() {
        return Err(Failure::invalid(format!("{name} is not aligned for its type")));
    }
    Ok(())
}

/// # Safety
/// `pointer` is NULL, or points to a `T` that lives, and is not written to, for `'a`.
pub(super) unsafe fn borrowed<'a, T>(pointer: *const T, name: &str) -> Outcome<&'a T> {
    check_pointer(pointer, name)?;
    // SAFETY: not NULL and aligned; the rest is the caller's promise.
    Ok(unsafe { &*pointer })
}

/// An out-parameter that is not NULL.
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    pub(super) fn set(&self, value: T) {
        // SAFETY: `out` promised that it may be written to for the whole call.
        unsafe { self.0.write(value) }
    }
}

impl<T: Send + Sync> Out<*mut T> {
    /// Hands an object over.
    pub(super) fn give(&self, object: T) {
        self.set(into_handle(object));
    }
}

/// # Safety
/// `pointer` is NULL, or may be written to until the result is dropped.
pub(super) unsafe fn out<T>(pointer: *mut T, name: &str) -> Outcome<Out<T>> {
    check_pointer(pointer, name)?;
    Ok(Out(pointer))
}

/// A buffer of the caller for `capacity` elements, which may be uninitialised.
pub(super) struct Buffer<T> {
    pointer: *mut T,
    capacity: usize,
    name: &'static str,
}

impl<T: Copy> Buffer<T> {
    /// Writes all values, or none if there is no room.
    pub(super) fn write(&self, values: &[T]) -> Outcome {
        if values.len() > self.capacity {
            return Err(Failure::new(
                musig_status_code::BUFFER_TOO_SMALL,
                format!("{} has room for {} elements; it needs {}", self.name, self.capacity, values.len()),
            ));
        }
        // SAFETY: `buffer` promised room for `capacity` elements, and `values` is an object of Rust, not C's.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.pointer, values.len()) };
        Ok(())
    }
}

/// # Safety
/// `pointer` is NULL, or `capacity` elements may be written there until the result is dropped.
pub(super) unsafe fn buffer<T>(pointer: *mut T, capacity: usize, name: &'static str) -> Outcome<Buffer<T>> {
    check_pointer(pointer, name)?;
    Ok(Buffer { pointer, capacity, name })
}

/// An array from C. NULL is allowed for no elements at all, when `optional`.
///
/// # Safety
/// `pointer` is NULL, or points to `length` elements that live, and are not written to, for `'a`.
pub(super) unsafe fn array<'a, T>(
    pointer: *const T,
    length: usize,
    optional: bool,
    name: &str,
) -> Outcome<&'a [T]> {
    if pointer.is_null() && optional && length == 0 {
        return Ok(&[]);
    }
    check_pointer(pointer, name)?;
    if length > (isize::MAX as usize) / size_of::<T>().max(1) {
        return Err(Failure::invalid(format!("the length of {name} exceeds the largest possible object")));
    }
    // SAFETY: not NULL, aligned, and the length fits an object; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// A NUL-terminated text in UTF-8.
///
/// # Safety
/// `pointer` is NULL, or points to a NUL-terminated string that lives, and is not written to, for `'a`.
pub(super) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Outcome<&'a str> {
    check_pointer(pointer, name)?;
    // SAFETY: not NULL, so NUL-terminated.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Failure::invalid(format!("{name} is not UTF-8")))
}

/// A structure of C that begins with its size, as a copy. A larger one, of a later version, must have nothing but
/// zeros in what this version does not know.
///
/// # Safety
/// `pointer` is NULL, or points to as many readable bytes as its first four say.
pub(super) unsafe fn sized<T: Copy>(pointer: *const T, name: &str) -> Outcome<T> {
    check_pointer(pointer, name)?;
    // SAFETY: every such structure begins with this number.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    check_size::<T>(size, name)?;
    let known = size_of::<T>();
    // SAFETY: the structure says that it has `size` bytes.
    let rest = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(known), size - known) };
    if rest.iter().any(|byte| *byte != 0) {
        let message = format!("{name} sets members that this version of libmusig does not define; zero them");
        return Err(Failure::invalid(message));
    }
    // SAFETY: it has at least the size of T, and T is plain data with nullable callbacks.
    Ok(unsafe { pointer.read() })
}

/// An out-parameter that begins with its size, which the caller has set.
///
/// # Safety
/// `pointer` is NULL, or as many bytes as its first four say may be written until the result is dropped.
pub(super) unsafe fn out_sized<T>(pointer: *mut T, name: &str) -> Outcome<Out<T>> {
    check_pointer(pointer, name)?;
    // SAFETY: every such structure begins with this number.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    check_size::<T>(size, name)?;
    Ok(Out(pointer))
}

fn check_size<T>(size: usize, name: &str) -> Outcome {
    if (size_of::<T>()..=4096).contains(&size) {
        return Ok(());
    }
    let known = size_of::<T>();
    Err(Failure::new(
        musig_status_code::STRUCT_SIZE,
        format!("{name}->struct_size is {size}; set it to sizeof *{name}, which is at least {known}"),
    ))
}

pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("was read with this length")
}

/// Proposers whose keys fit into an array.
pub(super) const MOST_PROPOSERS: usize = isize::MAX as usize / 33;

/// Signer keys, 33 bytes each.
pub(super) fn signer_keys(bytes: &[u8]) -> Outcome<Vec<SignerKey>> {
    let keys = bytes.chunks_exact(33).enumerate();
    keys.map(|(index, key)| {
        SignerKey::from_bytes(key)
            .map_err(|error| Failure::new(musig_status_code::INVALID_KEY, format!("signer {index}: {error}")))
    })
    .collect()
}

/// The length in bytes of `count` elements, refused above `most` elements before anything is read.
pub(super) fn total(count: usize, each: usize, most: usize, name: &str) -> Outcome<usize> {
    if count > most {
        return Err(Failure::invalid(format!("{name} is {count}; at most {most} are allowed")));
    }
    Ok(count * each)
}

pub(super) fn session_id(bytes: &[u8]) -> SessionId {
    SessionId(fixed(bytes))
}

/// 0 or 1.
pub(super) fn flag(number: i32, name: &str) -> Outcome<bool> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(none_of(number, name)),
    }
}

/// The options of a consent, from combined values of `musig_join`.
pub(super) fn join_options(flags: u32) -> Outcome<JoinOptions> {
    musig_join::options(flags)
        .ok_or_else(|| Failure::invalid(format!("flags is {flags}; combine values of musig_join")))
}

/// One of an enumeration's values, by its number.
pub(super) fn choice<T: Enumeration>(number: i32, name: &str) -> Outcome<T> {
    T::of_number(number).ok_or_else(|| none_of(number, name))
}

fn none_of(number: i32, name: &str) -> Failure {
    Failure::invalid(format!("{name} is {number}, which is not one of its values"))
}

/// Borrows a handle or another object from C.
macro_rules! get {
    ($pointer:ident) => {
        // SAFETY: the header asks for a valid pointer, or NULL, for the length of the call.
        unsafe { crate::ffi::c::boundary::borrowed($pointer, stringify!($pointer)) }?
    };
}

/// Checks an out-parameter.
macro_rules! out {
    ($pointer:ident) => {
        // SAFETY: the header asks for a pointer that may be written to, or NULL, for the length of the call.
        unsafe { crate::ffi::c::boundary::out($pointer, stringify!($pointer)) }?
    };
    (sized $pointer:ident) => {
        // SAFETY: the header asks for a structure that begins with its size, for the length of the call.
        unsafe { crate::ffi::c::boundary::out_sized($pointer, stringify!($pointer)) }?
    };
    ($pointer:ident, $capacity:expr) => {
        // SAFETY: the header asks for so many writable elements, or NULL, for the length of the call.
        unsafe { crate::ffi::c::boundary::buffer($pointer, $capacity, stringify!($pointer)) }?
    };
}

/// Borrows an array from C.
macro_rules! array {
    ($pointer:ident, $length:expr) => {
        // SAFETY: the header asks for an array of this length, or NULL, for the length of the call.
        unsafe { crate::ffi::c::boundary::array($pointer, $length, false, stringify!($pointer)) }?
    };
    (optional $pointer:ident, $length:expr) => {
        // SAFETY: the header asks for an array of this length, or NULL, for the length of the call.
        unsafe { crate::ffi::c::boundary::array($pointer, $length, true, stringify!($pointer)) }?
    };
}

/// Reads the origin of a key: a fingerprint, and perhaps child numbers.
macro_rules! origin {
    ($fingerprint:ident, $path:ident, $count:ident) => {{
        let fingerprint = crate::ffi::c::boundary::fixed(array!($fingerprint, 4));
        let most = crate::protocol::limits::ORIGIN;
        let count = crate::ffi::c::boundary::total($count, 1, most, stringify!($count))?;
        let path = array!(optional $path, count).to_vec();
        crate::protocol::crypto::key_set::KeyOrigin { fingerprint, path }
    }};
}

/// Borrows a text from C.
macro_rules! text {
    ($pointer:ident) => {
        // SAFETY: the header asks for a NUL-terminated string, or NULL, for the length of the call.
        unsafe { crate::ffi::c::boundary::text($pointer, stringify!($pointer)) }?
    };
}

/// Reads a structure that begins with its size.
macro_rules! sized {
    ($pointer:ident) => {
        // SAFETY: the header asks for a structure that begins with its size, or NULL, for the length of the call.
        unsafe { crate::ffi::c::boundary::sized($pointer, stringify!($pointer)) }?
    };
}

/// The body of a fallible function.
macro_rules! fallible {
    ($error:ident, $body:block) => {{
        let body = || -> crate::ffi::c::failure::Outcome { $body };
        // SAFETY: the header asks for an error that may be written to, or NULL.
        unsafe { crate::ffi::c::boundary::enter($error, body) }
    }};
}
