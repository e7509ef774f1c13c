//! The fuzz targets, for cargo-fuzz. `tests/protocol/fuzzed.rs` runs the same functions over the committed corpora.

mod decoders;
mod machine;
#[path = "../support/mod.rs"]
mod simulated;
mod targets;

pub use targets::run;

/// For Miri, which cannot call libsecp256k1: `make miri`.
#[cfg(test)]
mod seeds;

#[cfg(test)]
mod tests {
    /// Every seed once. The doubles stand for cryptography.
    #[test]
    fn seeds() {
        for (target, name, bytes) in crate::seeds::seeds() {
            println!("{target} {name}");
            crate::run(target, &bytes);
        }
    }
}
