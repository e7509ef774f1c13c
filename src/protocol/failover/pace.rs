//! The pace: how long a coordinator is waited for, by what this node itself saw of earlier transactions.
//!
//! A sample is a time of this node's own: from its submission until its observer saw the transaction, or from the
//! certificate until then where the first turn sufficed. Where no observer can be asked it is the time until the application
//! said that the transaction is broadcast, while others had their turn. Nothing that a peer says is a sample. A coordinator
//! that is slow on purpose makes the pace longer, up to the timeout that all agreed on, and one that is fast makes it
//! shorter, down to [`limits::PACE_AT_LEAST`]: that costs a question to the observer, or a second submission at worst.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::WireError;
use crate::mutation::{self, Mutation};
use crate::protocol::limits;
use crate::protocol::wire::{self, pb};

/// The times of one kind, in milliseconds: the latest [`limits::PACE_SAMPLES`] of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Samples {
    times: VecDeque<u32>,
    /// The 99th percentile, once there are enough.
    q99: Option<Duration>,
}

impl Samples {
    fn add(&mut self, milliseconds: u32) {
        if self.times.len() >= limits::PACE_SAMPLES {
            self.times.pop_front();
        }
        self.times.push_back(milliseconds);
        self.q99 = (self.times.len() >= limits::PACE_FROM).then(|| {
            let mut sorted: Vec<u32> = self.times.iter().copied().collect();
            sorted.sort_unstable();
            // The smallest that at least 99 of 100 do not exceed.
            let rank = (sorted.len() * 99).div_ceil(100);
            Duration::from_millis(sorted[rank - 1].into())
        });
    }
}

/// The samples of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    seen: Samples,
    notified: Samples,
    /// The observer says that the chain is congested. Not stored.
    congested: bool,
}

/// Who says that the transaction reached the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenBy {
    /// The observer.
    Observer,
    /// The application, where no observer can be asked.
    Application,
}

impl Pace {
    /// Adds a sample. Beyond the number that is kept the oldest is dropped.
    pub fn note(&mut self, by: SeenBy, time: Duration) {
        let milliseconds = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        match by {
            SeenBy::Observer => self.seen.add(milliseconds),
            SeenBy::Application => self.notified.add(milliseconds),
        }
    }

    /// The observer says that the chain is congested, so that transactions take longer than they did; or is no more.
    pub fn set_congested(&mut self, congested: bool) {
        self.congested = congested;
    }

    /// Whether it said so last.
    pub fn congested(&self) -> bool {
        self.congested
    }

    /// How long a coordinator is waited for from the start of its turn on: min(T, max(10 s, 3 · q99 + 2 s)), and T until there
    /// are enough samples. While the chain is congested all but T is [`limits::CONGESTED`] times as long.
    pub fn wait(&self, by: SeenBy, timeout: Duration) -> Duration {
        let samples = match by {
            SeenBy::Observer => &self.seen,
            SeenBy::Application => &self.notified,
        };
        let stretch = if self.congested { limits::CONGESTED } else { 1 };
        let pace = |q99: Duration| (q99 * 3 + Duration::from_secs(2)).max(limits::PACE_AT_LEAST) * stretch;
        let pace = samples.q99.map(pace);
        match pace {
            Some(pace) if mutation::on(Mutation::PaceBeyondTimeout) => pace,
            Some(pace) => pace.min(timeout),
            None => timeout,
        }
    }

    /// The record to store.
    pub fn encode(&self) -> Vec<u8> {
        let times = |samples: &Samples| samples.times.iter().copied().collect();
        wire::encode(&pb::PaceRecord { seen: times(&self.seen), notified: times(&self.notified) })
    }

    /// What a record holds.
    pub fn decode(record: &[u8]) -> Result<Self, WireError> {
        let record: pb::PaceRecord = wire::decode(record, "the stored pace")?;
        let mut pace = Self::default();
        record.seen.into_iter().for_each(|time| pace.seen.add(time));
        record.notified.into_iter().for_each(|time| pace.notified.add(time));
        Ok(pace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUT: Duration = Duration::from_secs(300);

    fn pace(times: &[Duration]) -> Pace {
        let mut pace = Pace::default();
        times.iter().for_each(|time| pace.note(SeenBy::Observer, *time));
        pace
    }

    #[test]
    fn the_pace_is_the_timeout_until_there_are_twenty_samples() {
        let wait = |count: usize| pace(&vec![SECOND; count]).wait(SeenBy::Observer, TIMEOUT);
        assert_eq!((wait(0), wait(19)), (TIMEOUT, TIMEOUT));
        assert_eq!(wait(20), 10 * SECOND);
    }

    #[test]
    fn the_pace_follows_the_slowest_within_its_bounds() {
        let slow = |slowest: Duration| {
            let times = [vec![SECOND; 30], vec![slowest]].concat();
            pace(&times).wait(SeenBy::Observer, TIMEOUT)
        };
        assert_eq!(slow(2 * SECOND), 10 * SECOND, "never less");
        assert_eq!(slow(20 * SECOND), 62 * SECOND, "three times the slowest and 2 s");
        assert_eq!(slow(Duration::MAX), TIMEOUT, "never more");
        assert_eq!(pace(&[SECOND; 20]).wait(SeenBy::Observer, 4 * SECOND), 4 * SECOND);
    }

    #[test]
    fn one_of_a_hundred_is_left_out_and_old_ones_are_forgotten() {
        let full = limits::PACE_SAMPLES;
        let mut pace = pace(&vec![SECOND; full]);
        pace.note(SeenBy::Observer, 100 * SECOND);
        assert_eq!(pace.wait(SeenBy::Observer, TIMEOUT), 10 * SECOND);
        pace.note(SeenBy::Observer, 90 * SECOND);
        assert_eq!(pace.wait(SeenBy::Observer, TIMEOUT), 272 * SECOND);
        (0..full).for_each(|_| pace.note(SeenBy::Observer, SECOND));
        assert_eq!(pace.wait(SeenBy::Observer, TIMEOUT), 10 * SECOND);
        assert_eq!(pace.seen.times.len(), full);
    }

    #[test]
    fn what_the_application_says_counts_only_where_no_observer_is_asked() {
        let mut pace = pace(&[SECOND; 20]);
        assert_eq!(pace.wait(SeenBy::Application, TIMEOUT), TIMEOUT);
        (0..20).for_each(|_| pace.note(SeenBy::Application, 30 * SECOND));
        assert_eq!(pace.wait(SeenBy::Application, TIMEOUT), 92 * SECOND);
        assert_eq!(pace.wait(SeenBy::Observer, TIMEOUT), 10 * SECOND);
    }

    #[test]
    fn a_congested_chain_stretches_the_pace_up_to_the_timeout_and_back() {
        let mut pace = pace(&[8 * SECOND; 20]);
        pace.set_congested(true);
        let wait = |pace: &Pace, timeout| pace.wait(SeenBy::Observer, timeout);
        assert_eq!(wait(&pace, TIMEOUT), 4 * 26 * SECOND);
        assert_eq!(wait(&pace, 60 * SECOND), 60 * SECOND);
        assert_eq!(Pace::decode(&pace.encode()).map(|pace| wait(&pace, TIMEOUT)), Ok(26 * SECOND));
        pace.set_congested(false);
        assert_eq!(wait(&pace, TIMEOUT), 26 * SECOND);
    }

    #[test]
    fn a_stored_pace_is_the_same_again_and_anything_else_is_refused() {
        let mut pace = pace(&[SECOND, 2 * SECOND, Duration::from_millis(7)]);
        pace.note(SeenBy::Application, 5 * SECOND);
        assert_eq!(Pace::decode(&pace.encode()), Ok(pace));
        assert_eq!(Pace::decode(&[]), Ok(Pace::default()));
        assert!(Pace::decode(&[7; 30]).is_err());
    }
}
