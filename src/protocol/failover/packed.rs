//! A watch at rest, as few bytes as may be: exact to the nanosecond, unlike what is stored.

use std::time::Duration;

use super::{OwnTurn, Stopwatch, Turns, Watch};
use crate::protocol::Time;
use crate::protocol::wire::pb;
use crate::types::UnixMillis;

/// Everything of a watch but its turns, which its session gives.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackedWatch {
    /// What is stored of it.
    #[prost(message, optional, tag = "1")]
    record: Option<pb::WatchRecord>,
    /// The stopwatch.
    #[prost(uint64, tag = "2")]
    certain: u64,
    #[prost(uint64, tag = "3")]
    counted_from: u64,
    /// 0 waiting, 1 asking, 2 open.
    #[prost(uint32, tag = "4")]
    own_turn: u32,
    /// Until when it asks, or when it submits.
    #[prost(uint64, tag = "5")]
    turn_at: u64,
    #[prost(uint64, tag = "6")]
    ask_at: u64,
    #[prost(uint32, tag = "7")]
    failures: u32,
    #[prost(uint64, optional, tag = "8")]
    lost_since: Option<u64>,
    #[prost(uint64, tag = "9")]
    observe_at: u64,
    /// Bits: has a rejection, returned, replaced, observing, submitting.
    #[prost(uint32, tag = "10")]
    flags: u32,
}

impl Watch {
    /// Everything of it but its turns.
    pub(in crate::protocol) fn pack(&self) -> PackedWatch {
        let (own_turn, turn_at, ask_at, failures) = match self.own_turn {
            OwnTurn::Waiting => (0, Duration::ZERO, Duration::ZERO, 0),
            OwnTurn::Asking { until } => (1, until, Duration::ZERO, 0),
            OwnTurn::Open { submit_at, ask_at, failures } => (2, submit_at, ask_at, failures),
        };
        PackedWatch {
            record: Some(self.recorded()),
            certain: nanoseconds(self.stopwatch.certain),
            counted_from: nanoseconds(self.stopwatch.counted_from),
            own_turn,
            turn_at: nanoseconds(turn_at),
            ask_at: nanoseconds(ask_at),
            failures,
            lost_since: self.lost_since.map(nanoseconds),
            observe_at: nanoseconds(self.observe_at),
            flags: bits([
                self.rejection.is_some(),
                self.returned,
                self.replaced,
                self.observing,
                self.submitting,
            ]),
        }
    }

    /// The same watch again. `own`: this node's signer index.
    pub(in crate::protocol) fn unpack(turns: Turns, own: usize, packed: PackedWatch) -> Self {
        let record = packed.record.unwrap_or_default();
        let restored = Self::restore(turns, own, &record, Time::default());
        let [rejected, returned, replaced, observing, submitting] = flags(packed.flags);
        let turn_at = Duration::from_nanos(packed.turn_at);
        Self {
            stopwatch: Stopwatch {
                started: UnixMillis(record.started_wall),
                certain: Duration::from_nanos(packed.certain),
                counted_from: Duration::from_nanos(packed.counted_from),
            },
            own_turn: match packed.own_turn {
                0 => OwnTurn::Waiting,
                1 => OwnTurn::Asking { until: turn_at },
                _ => OwnTurn::Open {
                    submit_at: turn_at,
                    ask_at: Duration::from_nanos(packed.ask_at),
                    failures: packed.failures,
                },
            },
            rejection: rejected.then_some(record.rejection),
            returned,
            replaced,
            lost_since: packed.lost_since.map(Duration::from_nanos),
            observe_at: Duration::from_nanos(packed.observe_at),
            observing,
            submitting,
            ..restored
        }
    }
}

/// Of five centuries at most.
pub fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// Flags as the bits of a number, the first one lowest.
pub fn bits<const N: usize>(flags: [bool; N]) -> u32 {
    flags.iter().rev().fold(0, |bits, flag| bits << 1 | u32::from(*flag))
}

/// The flags that [`bits`] made a number of.
pub fn flags<const N: usize>(bits: u32) -> [bool; N] {
    std::array::from_fn(|flag| bits >> flag & 1 == 1)
}
