//! The sequence number of the own presence: peers take the highest as the latest.

use std::time::Duration;

use crate::mutation::{self, Mutation};
use crate::types::UnixMillis;

/// Nobody takes a number that is further ahead of its clock.
const AHEAD: Duration = Duration::from_secs(60);

/// The last number, and what came back.
///
/// A number is the time, or more than the last one, so that a clock that is set back makes no presence look older. But not
/// more than those that lie ahead of the time and of what came back: nobody took these, and nobody would take the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sequence {
    last: u64,
    /// The highest that a server keeps, which took it.
    returned: u64,
}

impl Sequence {
    /// After a restart.
    pub fn restore(last: u64) -> Self {
        Self { last: if mutation::on(Mutation::SequenceForgotten) { 0 } else { last }, returned: 0 }
    }

    /// The number of the next presence.
    pub fn next(&mut self, now: UnixMillis) -> u64 {
        let ahead = self.last > now.saturating_add(AHEAD).0.max(self.returned.saturating_add(1000));
        let after_last = if ahead { 0 } else { self.last.saturating_add(1) };
        self.last = now.0.max(after_last).max(self.returned.saturating_add(1));
        self.last
    }

    /// A valid presence of the own key came back that was not the last one. Answers whether a newer one is to be signed.
    pub fn returned(&mut self, sequence: u64) -> bool {
        let newer = sequence >= self.last;
        if newer {
            self.returned = self.returned.max(sequence);
        }
        newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000_000);
    const DAY: u64 = 86_400_000;

    #[test]
    fn presence_sequence_is_the_time_and_grows_although_the_clock_is_set_back() {
        let mut sequence = Sequence::restore(0);
        assert_eq!([sequence.next(NOW), sequence.next(NOW)], [NOW.0, NOW.0 + 1]);
        assert_eq!(sequence.next(UnixMillis(NOW.0 - 30_000)), NOW.0 + 2);
        assert_eq!(Sequence::restore(NOW.0 + 30_000).next(NOW), NOW.0 + 30_001);
    }

    #[test]
    fn presence_sequence_of_a_clock_that_was_ahead_is_given_up_for_nobody_took_it() {
        assert_eq!(Sequence::restore(NOW.0 + DAY).next(NOW), NOW.0);
    }

    #[test]
    fn presence_sequence_goes_above_what_comes_back() {
        let mut sequence = Sequence::restore(NOW.0);
        sequence.next(NOW);
        assert!(!sequence.returned(NOW.0 - 5));
        assert!(sequence.returned(NOW.0 + DAY));
        assert_eq!([sequence.next(NOW), sequence.next(NOW)], [NOW.0 + DAY + 1, NOW.0 + DAY + 2]);
    }
}
