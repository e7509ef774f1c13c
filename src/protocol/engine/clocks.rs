//! Clocks of other signers, as far as they say the time: by how much each differs from this node's. No decision uses it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::types::{SignerKey, Time};

/// How many differences of a signer are kept: the median of them counts, so that a frame that was late does not.
const KEPT: usize = 9;
/// How many there must be.
const LEAST: usize = 3;
/// What comes within this time counts once, by what was least late: frames that waited for a disk or a line come together.
const TOGETHER: Duration = Duration::from_secs(1);
/// Signers of whom they are kept.
const SIGNERS: usize = 256;
/// How long nothing more is told of a signer.
const TOLD_EVERY: Duration = Duration::from_secs(3600);
/// The last millisecond of the year 9999. What claims to be later is no time.
const LATEST: u64 = 253_402_300_799_999;

/// What is known of a signer's clock.
#[derive(Debug, Default)]
struct Clock {
    /// By how many milliseconds it was ahead, at the last occasions.
    offsets: VecDeque<i64>,
    /// When the last of them came, or began to come.
    last_at: Duration,
    told_at: Option<Duration>,
}

impl Clock {
    fn push(&mut self, offset: i64, now: Duration) {
        match self.offsets.back_mut() {
            Some(last) if now < self.last_at.saturating_add(TOGETHER) => *last = offset.max(*last),
            _ => {
                self.offsets.push_back(offset);
                self.last_at = now;
                if self.offsets.len() > KEPT {
                    self.offsets.pop_front();
                }
            }
        }
    }

    fn median(&self) -> Option<i64> {
        let mut offsets: Vec<i64> = self.offsets.iter().copied().collect();
        offsets.sort_unstable();
        offsets.get(offsets.len() / 2).copied().filter(|_| offsets.len() >= LEAST)
    }
}

/// What one more difference shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// By how many milliseconds the signer's clock is ahead.
    pub offset: i64,
    /// To be told: it is too much. Whether most clocks differ in this direction, so that this node's own is the suspect.
    pub own_suspect: Option<bool>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Clocks(BTreeMap<SignerKey, Clock>);

impl Clocks {
    /// Takes the time that a signer says, in Unix milliseconds; 0 is none. `wanted` says of whom more may come.
    pub fn note(
        &mut self,
        signer: SignerKey,
        said: u64,
        tolerated: Duration,
        now: Time,
        wanted: impl Fn(&SignerKey) -> bool,
    ) -> Option<Shown> {
        if !(1..=LATEST).contains(&said) {
            return None;
        }
        if self.0.len() >= SIGNERS && !self.0.contains_key(&signer) {
            self.0.retain(|signer, _| wanted(signer));
            if self.0.len() >= SIGNERS {
                return None;
            }
        }
        let clock = self.0.entry(signer).or_default();
        let offset = i128::from(said) - i128::from(now.wall.0);
        clock.push(offset.clamp(i64::MIN.into(), i64::MAX.into()) as i64, now.monotonic);
        let offset = clock.median()?;
        let tolerated = u64::try_from(tolerated.as_millis()).unwrap_or(u64::MAX);
        let recently = clock.told_at.is_some_and(|at| now.monotonic < at.saturating_add(TOLD_EVERY));
        if offset.unsigned_abs() <= tolerated || recently {
            return Some(Shown { offset, own_suspect: None });
        }
        clock.told_at = Some(now.monotonic);
        let known: Vec<i64> = self.0.values().filter_map(Clock::median).collect();
        let alike = known
            .iter()
            .filter(|other| other.unsigned_abs() > tolerated && other.signum() == offset.signum());
        // Of two clocks nobody can say which one is wrong.
        let own_suspect = known.len() > 1 && 2 * alike.count() > known.len();
        Some(Shown { offset, own_suspect: Some(own_suspect) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UnixMillis;
    use crate::types::testing::key;

    const MINUTE: Duration = Duration::from_secs(60);
    const NOW: u64 = 1_800_000_000_000;

    fn at(seconds: u64) -> Time {
        Time { wall: UnixMillis(NOW + seconds * 1000), monotonic: Duration::from_secs(seconds) }
    }

    thread_local! {
        static SECONDS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// A second later than the last time.
    fn next() -> Time {
        at(SECONDS.replace(SECONDS.get() + 1))
    }

    /// Takes what a signer says, once in each of so many seconds.
    fn say(clocks: &mut Clocks, signer: u32, ahead: i64, times: usize) -> Option<Shown> {
        let mut note = |now: Time| {
            clocks.note(key(signer), now.wall.0.saturating_add_signed(ahead), MINUTE, now, |_| true)
        };
        (0..times).map(|_| note(next())).last().flatten()
    }

    #[test]
    fn clock_skew_is_told_beyond_the_tolerance_in_either_direction_and_once() {
        for sign in [1, -1] {
            let mut clocks = Clocks::default();
            let shown = |offset, own_suspect| Some(Shown { offset, own_suspect });
            assert_eq!(say(&mut clocks, 1, sign * 60_000, 9), shown(sign * 60_000, None));
            assert_eq!(say(&mut clocks, 2, sign * 60_001, 2), None, "one or two may be late");
            assert_eq!(say(&mut clocks, 2, sign * 60_001, 1), shown(sign * 60_001, Some(false)));
            assert_eq!(say(&mut clocks, 2, sign * 60_001, 100), shown(sign * 60_001, None));
            let later = clocks.note(
                key(2),
                NOW.saturating_add_signed(sign * 60_001),
                MINUTE,
                Time { monotonic: TOLD_EVERY * 2, ..at(0) },
                |_| true,
            );
            assert_eq!(later, shown(sign * 60_001, Some(false)), "an hour later it is told again");
        }
    }

    #[test]
    fn clock_skew_of_most_signers_in_one_direction_is_this_nodes_own() {
        let told = |others: &[i64]| {
            let mut clocks = Clocks::default();
            for (signer, ahead) in others.iter().enumerate() {
                say(&mut clocks, signer as u32 + 10, *ahead, 3);
            }
            say(&mut clocks, 1, 3_600_000, 3).and_then(|shown| shown.own_suspect)
        };
        assert_eq!(told(&[]), Some(false), "one of two is wrong");
        assert_eq!(told(&[3_600_000]), Some(true));
        assert_eq!(told(&[0]), Some(false));
        assert_eq!(told(&[3_600_000, 0]), Some(true));
        assert_eq!(told(&[-3_600_000, -3_600_000]), Some(false), "they do not agree with each other");
        assert_eq!(told(&[0, 0, 3_600_000]), Some(false), "half of them are not most");
    }

    #[test]
    fn clock_skew_needs_more_than_a_few_late_frames() {
        let mut clocks = Clocks::default();
        for round in 0..100 {
            let ahead = if round % 9 < 4 { -600_000 } else { 0 };
            let shown = say(&mut clocks, 1, ahead, 1);
            assert!(round < 8 || shown == Some(Shown { offset: 0, own_suspect: None }), "{round}: {shown:?}");
        }
    }

    #[test]
    fn clock_skew_is_not_made_of_frames_that_come_late_together() {
        let mut clocks = Clocks::default();
        for late in (0..600).rev().map(|seconds| seconds * 1000) {
            assert_eq!(clocks.note(key(1), NOW - late, MINUTE, at(0), |_| true), None);
        }
        assert_eq!(clocks.0[&key(1)].offsets, [0], "the last was not late");
    }

    #[test]
    fn clock_skew_is_not_made_of_what_is_no_time() {
        let mut clocks = Clocks::default();
        for said in [0, u64::MAX, LATEST + 1] {
            assert_eq!(clocks.note(key(1), said, MINUTE, at(0), |_| true), None);
        }
        assert!(clocks.0.is_empty());
        for (said, wall) in [(LATEST, 0), (1, u64::MAX)] {
            let now = || Time { wall: UnixMillis(wall), ..next() };
            let shown = (0..3).map(|_| clocks.note(key(1), said, Duration::MAX, now(), |_| true)).last();
            assert!(shown.flatten().is_some_and(|shown| shown.own_suspect.is_none()));
            clocks.0.clear();
        }
    }

    #[test]
    fn clock_skew_takes_memory_of_a_bounded_number_of_signers() {
        let mut clocks = Clocks::default();
        let note = |clocks: &mut Clocks, signer, wanted: bool| {
            for _ in 0..20 {
                clocks.note(key(signer), NOW, MINUTE, next(), |_| wanted);
            }
        };
        (0..300).for_each(|signer| note(&mut clocks, signer, true));
        assert_eq!(clocks.0.len(), SIGNERS);
        assert!(clocks.0.values().all(|clock| clock.offsets.len() == KEPT));
        note(&mut clocks, 301, false);
        assert_eq!(clocks.0.len(), 1, "those that matter no more make room");
    }
}
