//! Everything that decides anything, without I/O: input and time go in, outputs come out.

use std::time::Duration;

use crate::types::UnixMillis;

pub mod election;
pub mod envelope;
pub mod limits;
pub mod nonce;
pub mod proposal;
pub mod roster;
pub mod scheme;
pub mod signing;
pub mod wire;

/// A moment, by two clocks of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Time {
    /// The calendar's time. May be wrong, may jump.
    pub wall: UnixMillis,
    /// Time since some moment of this process. Never goes back, and counts sleep where the system can.
    pub monotonic: Duration,
}
