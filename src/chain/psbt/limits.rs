//! What a PSBT may take.

use super::PsbtError;
use crate::mutation::{self, Mutation};
use crate::protocol::limits;

/// Bytes of a PSBT: those of a proposal, and room for the transactions that its inputs spend.
pub const BYTES: usize = 16 << 20;
/// Fields of all maps together.
pub const FIELDS: usize = 1 << 18;
/// Bytes of the fields that this library does not know, proprietary ones too.
pub const UNKNOWN: usize = 1 << 20;
/// Inputs.
pub const INPUTS: usize = limits::INPUTS;
/// Outputs: more than fit into a block.
pub const OUTPUTS: usize = 120_000;
/// Keys of one aggregate key.
pub const PARTICIPANTS: usize = limits::SIGNERS;
/// Aggregate keys of one input or output.
pub const AGGREGATES: usize = 64;
/// Child numbers from a master key to a key (BIP-32).
pub const PATH: usize = 255;
/// Points of the curve that are looked at while a PSBT is read: each costs some microseconds.
pub const POINTS: usize = 1 << 17;
/// Signatures that a PSBT asks for, and child keys that are derived to find them.
pub const SPENDS: usize = 1024;

pub(super) fn check(what: &'static str, actual: u64, most: u64) -> Result<(), PsbtError> {
    if actual > most && !mutation::on(Mutation::PsbtWithoutLimits) {
        Err(PsbtError::TooLarge { what, actual, most })
    } else {
        Ok(())
    }
}
