#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| libmusig_fuzz::run("descriptor", bytes));
