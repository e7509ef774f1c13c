//! Gives the shared library that cargo links its SONAME, and hides the names of the static libraries inside. What is
//! installed is linked by `bindings/c/link.sh`: with fat LTO `--exclude-libs` hides nothing, and the version script that
//! rustc passes for a cdylib cannot be joined by one with a named version.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let system = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let linux = system == "linux";
    if linux || system == "android" {
        // libsecp256k1's. GNU ld refuses a second version script beside rustc's; this both linkers know.
        println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
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
