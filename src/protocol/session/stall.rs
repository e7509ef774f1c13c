//! How long nothing new came.

use std::time::Duration;

use crate::protocol::packing::nanoseconds;

/// The time of the last progress, and whether its absence was reported. One report for each standstill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    progress_at: Duration,
    reported: bool,
}

/// A [`Stall`] in memory, as few bytes as may be.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackedStall {
    #[prost(uint64, tag = "1")]
    progress_at: u64,
    #[prost(bool, tag = "2")]
    reported: bool,
}

impl Stall {
    pub fn new(now: Duration) -> Self {
        Self { progress_at: now, reported: false }
    }

    /// When a report is due; `None` if it was made.
    pub fn due_at(&self, stall_after: Duration) -> Option<Duration> {
        (!self.reported).then(|| self.progress_at.saturating_add(stall_after))
    }

    /// Reports a standstill if one is due: how long it lasts.
    pub fn report(&mut self, now: Duration, stall_after: Duration) -> Option<Duration> {
        self.due_at(stall_after).filter(|at| now >= *at)?;
        self.reported = true;
        Some(now - self.progress_at)
    }

    pub fn pack(&self) -> PackedStall {
        PackedStall { progress_at: nanoseconds(self.progress_at), reported: self.reported }
    }

    pub fn unpack(packed: &PackedStall) -> Self {
        Self { progress_at: Duration::from_nanos(packed.progress_at), reported: packed.reported }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standstill_is_reported_once_until_there_is_progress() {
        let second = Duration::from_secs(1);
        let mut stall = Stall::new(second);
        assert_eq!(stall.report(second * 10, second * 10), None);
        assert_eq!(stall.report(second * 11, second * 10), Some(second * 10));
        assert_eq!(stall.report(second * 12, second * 10), None);
        assert_eq!(stall.due_at(second), None);
        assert_eq!(Stall::unpack(&stall.pack()), stall);
        stall = Stall::new(second * 12);
        assert_eq!(stall.due_at(second), Some(second * 13));
    }
}
