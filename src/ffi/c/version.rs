//! Versions.

use std::ffi::c_char;

/// First number of the version of this header: changes break programs.
pub const MUSIG_VERSION_MAJOR: u32 = 0;
/// Second number of the version of this header. While the first is 0, it may break programs too.
pub const MUSIG_VERSION_MINOR: u32 = 1;
/// Third number of the version of this header.
pub const MUSIG_VERSION_PATCH: u32 = 0;
/// The version of this header as one number: major * 1000000 + minor * 1000 + patch.
pub const MUSIG_VERSION_NUMBER: u32 = 1_000;
/// The binary interface that this header describes: see musig_abi_version.
pub const MUSIG_ABI_VERSION: u32 = 1;

/// Most signers of a session.
pub const MUSIG_MAX_SIGNERS: u32 = 128;
/// Most messages of a session.
pub const MUSIG_MAX_MESSAGES: u32 = 256;
/// Stands for no tweak, where the index of a tweak is asked for.
pub const MUSIG_NO_TWEAK: u32 = 0xffff_ffff;

/// Tells the version of the library that is loaded.
///
/// Compare with MUSIG_VERSION_NUMBER, which is the version that the program was compiled with.
///
/// Returns: major * 1000000 + minor * 1000 + patch.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub extern "C" fn musig_version() -> u32 {
    MUSIG_VERSION_NUMBER
}

/// Tells the binary interface of the library that is loaded.
///
/// It grows by one when programs have to be compiled again. A program works with a library of its own
/// MUSIG_ABI_VERSION only.
///
/// Returns: the number of the binary interface.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub extern "C" fn musig_abi_version() -> u32 {
    MUSIG_ABI_VERSION
}

/// Tells the version of the library that is loaded, as a text.
///
/// Returns: a static, NUL-terminated text such as "0.1.0".
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub extern "C" fn musig_version_string() -> *const c_char {
    const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    TEXT.as_ptr().cast()
}
