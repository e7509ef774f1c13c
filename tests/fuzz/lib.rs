//! The fuzz targets, for cargo-fuzz. `tests/protocol/fuzzed.rs` runs the same functions over the committed corpora.

pub use test_support::fuzz::run;

/// For Miri, which cannot call libsecp256k1: `make miri`.
#[cfg(test)]
mod tests {
    /// Every seed once. The doubles stand for cryptography.
    #[test]
    fn seeds() {
        for (target, name, bytes) in test_support::fuzz::seeds::seeds() {
            println!("{target} {name}");
            crate::run(target, &bytes);
        }
    }
}
