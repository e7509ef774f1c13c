//! Another static library in Rust that contains libsecp256k1, as a program may have beside libmusig's.

/// Whether these 33 bytes are a point: by this library's own libsecp256k1. Panics inside, and catches that, so that
/// two copies of Rust's standard library unwind in one program.
///
/// # Safety
/// `key` points to 33 readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn second_is_key(key: *const u8) -> i32 {
    // SAFETY: the caller's promise.
    let bytes: [u8; 33] = unsafe { std::slice::from_raw_parts(key, 33) }.try_into().expect("33 bytes");
    let caught = std::panic::catch_unwind(|| {
        std::panic::resume_unwind(Box::new(1));
    });
    i32::from(caught.is_err() && secp256k1::PublicKey::from_byte_array_compressed(bytes).is_ok())
}
