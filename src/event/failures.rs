//! [`Failures`]: how often a failing foreign object is reported.

use std::time::{Duration, Instant};

use crate::mutation::{self, Mutation};

/// Shortest time between two reports about one object.
const SHORTEST: Duration = Duration::from_secs(1);
/// Time after which the same words are reported again.
const AGAIN: Duration = Duration::from_secs(60);

/// Failures of one foreign object. An object that fails at each call is reported at a bounded rate, with their number.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Since the last report.
    count: u64,
    last: Option<(Instant, String)>,
    /// It answered since the last report.
    recovered: bool,
}

impl Failures {
    /// Counts a failure. Answers how many there were since the last report, this one included, if it is to be reported.
    pub(crate) fn failed(&mut self, words: &str, now: Instant) -> Option<u64> {
        self.count += 1;
        if let Some((at, said)) = &self.last
            && !mutation::on(Mutation::FailuresUnbounded)
        {
            let news = self.recovered || said != words;
            if now.saturating_duration_since(*at) < if news { SHORTEST } else { AGAIN } {
                return None;
            }
        }
        self.last = Some((now, words.to_owned()));
        self.recovered = false;
        Some(std::mem::take(&mut self.count))
    }

    /// Notes an answer: the next failure is news.
    pub(crate) fn answered(&mut self) {
        self.recovered = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_reported_once_a_minute_with_their_number() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let mut at = |seconds: u64, words: &str| failures.failed(words, start + Duration::from_secs(seconds));
        assert_eq!(at(0, "no network"), Some(1));
        assert_eq!((1..60).filter_map(|second| at(second, "no network")).count(), 0);
        assert_eq!(at(60, "no network"), Some(60));
        assert_eq!(at(61, "other words"), Some(1));
    }

    #[test]
    fn words_that_change_are_reported_once_a_second() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let reports: Vec<_> = (0..1000u64)
            .filter_map(|each| failures.failed(&each.to_string(), start + Duration::from_millis(each * 10)))
            .collect();
        assert_eq!(reports, [vec![1], vec![100; 9]].concat());
    }

    #[test]
    fn a_failure_after_an_answer_is_news() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        assert_eq!(failures.failed("no network", start), Some(1));
        failures.answered();
        assert_eq!(failures.failed("no network", start + Duration::from_millis(999)), None);
        assert_eq!(failures.failed("no network", start + SHORTEST), Some(2));
    }
}
