//! The targets of `tests/fuzz`, by name.

#[cfg(feature = "bitcoin")]
mod chain;
mod decoders;
mod machine;
pub mod seeds;

/// What is done with an input. Panics if it breaks a promise.
type Target = fn(&[u8]);

/// Each name is that of a folder in `corpus` and of a program in `targets`.
pub const TARGETS: &[(&str, Target)] = &[
    #[cfg(feature = "bitcoin")]
    ("descriptor", chain::descriptor),
    ("envelope", decoders::envelope),
    ("frame", decoders::frame),
    ("import", decoders::import),
    ("machine", machine::machine),
    ("presence", decoders::presence),
    ("proof", decoders::proof),
    ("proposal", decoders::proposal),
    #[cfg(feature = "bitcoin")]
    ("psbt", chain::psbt),
];

/// Runs a target on an input. Panics if the input breaks a promise.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, function) = TARGETS.iter().find(|(name, _)| *name == target).expect("the target exists");
    function(bytes);
}
