//! Gives the shared library that cargo links its SONAME, and hides what would be visible of libsecp256k1. What is
//! installed is linked by `bindings/c/link.sh`: the version script that rustc passes for a cdylib cannot be joined by one
//! with a named version.

use std::path::PathBuf;
use std::{env, fs};

/// The version of libsecp256k1 inside, as its names begin.
const SECP256K1: &str = "rustsecp256k1_v0_14";
/// That of the crate `bitcoin`. The linker refuses a script that names what is not there.
const SECP256K1_OF_BITCOIN: &str = "rustsecp256k1_v0_10_0";
/// What each defines in Rust for its C code. rustc takes that for a part of this library's interface.
const VISIBLE: [&str; 4] =
    ["context_create", "context_destroy", "default_error_callback_fn", "default_illegal_callback_fn"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let system = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let linux = system == "linux";
    if linux || system == "android" {
        let mut script = String::from("{ local:\n");
        let bitcoin = env::var_os("CARGO_FEATURE_BITCOIN").map(|_| SECP256K1_OF_BITCOIN);
        for version in [SECP256K1].into_iter().chain(bitcoin) {
            for name in VISIBLE {
                script += &format!("    {version}_{name};\n");
            }
        }
        let path = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("hidden.map");
        fs::write(&path, script + "};\n").expect("the output folder can be written to");
        println!("cargo:rustc-cdylib-link-arg=-Wl,--version-script={}", path.display());
    }
    if (linux || system == "android") && env::var_os("CARGO_FEATURE_UNIFFI").is_some() {
        // Android has systems with pages of 16 KiB.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,max-page-size=16384");
    }
    if linux && env::var_os("CARGO_FEATURE_UNIFFI").is_some() {
        // `bindings/generate.sh` gives the library this name.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmusig_uniffi.so");
    } else if linux && env::var_os("CARGO_FEATURE_CAPI").is_some() {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmusig.so.0.1");
    }
}
