//! Versions.

use std::ffi::c_char;

/// Major version of this header: changes break programs.
pub const MUSIG_VERSION_MAJOR: u32 = 0;
/// Minor version of this header. While the major version is 0, it may break programs too.
pub const MUSIG_VERSION_MINOR: u32 = 1;
/// Patch version of this header.
pub const MUSIG_VERSION_PATCH: u32 = 0;
/// The version of this header as one number: major * 1000000 + minor * 1000 + patch.
pub const MUSIG_VERSION_NUMBER: u32 = 1_000;
/// The version of the binary interface of this header: see musig_abi_version.
pub const MUSIG_ABI_VERSION: u32 = 1;

/// Maximum number of signers of a session.
pub const MUSIG_MAX_SIGNERS: u32 = 128;
/// Maximum number of messages of a session.
pub const MUSIG_MAX_MESSAGES: u32 = 256;
/// Maximum number of child numbers of a derivation.
pub const MUSIG_MAX_CHILD_NUMBERS: u32 = 8;

/// Gets the version of the loaded library.
///
/// Compare it with MUSIG_VERSION_NUMBER, the version that the program was compiled with.
///
/// Returns: major * 1000000 + minor * 1000 + patch.
#[unsafe(no_mangle)]
pub extern "C" fn musig_version() -> u32 {
    MUSIG_VERSION_NUMBER
}

/// Gets the version of the loaded library's binary interface.
///
/// It increases when programs have to be compiled again. A program works only with a library of the MUSIG_ABI_VERSION
/// that it was compiled with.
///
/// Returns: the version of the binary interface.
#[unsafe(no_mangle)]
pub extern "C" fn musig_abi_version() -> u32 {
    MUSIG_ABI_VERSION
}

/// Gets the version of the loaded library, as text.
///
/// Returns: static, NUL-terminated text such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn musig_version_string() -> *const c_char {
    const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    TEXT.as_ptr().cast()
}
