//! What this node saw itself of how other signers broadcast when it was their turn.
//!
//! Nothing that another node says enters: a verdict follows from what the own observer answered and when
//! ([`Watch`](crate::protocol::failover::Watch)). It is kept for an operator to read: no turn, wait or election depends on
//! it. Its arithmetic is on integers, so that it is the same on every machine.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::WireError;
use crate::protocol::limits;
use crate::types::{SignerKey, UnixMillis};

/// After what time a verdict counts half.
const HALF_LIFE_HOURS: u32 = 30 * 24;
const HOUR: u64 = 3_600_000;
/// What one verdict counts when it is new.
const ONE: u64 = 1 << 20;
/// `2^(-1 / HALF_LIFE_HOURS) * 2^32`.
const EACH_HOUR: u64 = 4_290_834_502;
/// What is assumed of a signer of whom nothing is known: Beta(4, 1).
const PRIOR: (f64, f64) = (4.0, 1.0);

/// Record of a signer as a coordinator, as this node saw it itself. Each verdict counts half after 30 days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reputation {
    /// Sessions in which its turn sufficed: the transaction was seen before the next turn opened.
    pub successes: f64,
    /// Sessions in which the whole broadcast timeout of its turn passed without the transaction, which was broadcast by
    /// somebody else after that.
    pub failures: f64,
    /// Expected share of successes, from 0 to 1: `(4 + successes) / (5 + successes + failures)`, so 0.8 for a signer of whom
    /// nothing is known.
    pub reliability: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    successes: u64,
    failures: u64,
    /// When both counted so much.
    at: UnixMillis,
}

impl Record {
    /// The same at another time. A clock that went back makes nothing older.
    fn at(self, now: UnixMillis) -> Self {
        let hours = now.0.saturating_sub(self.at.0) / HOUR;
        Self {
            successes: decayed(self.successes, hours),
            failures: decayed(self.failures, hours),
            // What is left of an hour counts the next time.
            at: UnixMillis(now.0.min(self.at.0 + hours * HOUR)),
        }
    }

    fn encode(self) -> Vec<u8> {
        [self.successes, self.failures, self.at.0].into_iter().flat_map(u64::to_be_bytes).collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let [successes, failures, at] = *numbers else { return None };
        let number = u64::from_be_bytes;
        Some(Self { successes: number(successes), failures: number(failures), at: UnixMillis(number(at)) })
    }
}

/// What counted so much, after so many hours.
fn decayed(count: u64, hours: u64) -> u64 {
    let scaled = |value: u64, factor: u64| ((u128::from(value) * u128::from(factor)) >> 32) as u64;
    let (halves, mut hours) = (hours / u64::from(HALF_LIFE_HOURS), hours % u64::from(HALF_LIFE_HOURS));
    let (mut factor, mut power) = (1 << 32, EACH_HOUR);
    while hours > 0 {
        if hours & 1 == 1 {
            factor = scaled(factor, power);
        }
        power = scaled(power, power);
        hours >>= 1;
    }
    let halved = u32::try_from(halves).ok().and_then(|halves| count.checked_shr(halves)).unwrap_or(0);
    scaled(halved, factor)
}

/// The records of all signers that a node judged, at most [`limits::REPUTATIONS`] of them.
#[derive(Clone, Debug, Default)]
pub struct Reputations {
    records: BTreeMap<SignerKey, Record>,
    /// Those whose stored record differs.
    changed: BTreeSet<SignerKey>,
}

impl Reputations {
    /// Record of a signer. One of whom nothing is known has the record of nobody.
    pub fn of(&self, signer: &SignerKey, now: UnixMillis) -> Reputation {
        let record = self.records.get(signer).copied().unwrap_or_default().at(now);
        let count = |fixed: u64| fixed as f64 / ONE as f64;
        let (successes, failures) = (count(record.successes), count(record.failures));
        let (good, bad) = (PRIOR.0 + successes, PRIOR.1 + failures);
        Reputation { successes, failures, reliability: good / (good + bad) }
    }

    /// Signers of whom something is known.
    pub fn signers(&self) -> impl Iterator<Item = &SignerKey> {
        self.records.keys()
    }

    /// A verdict on a signer: its turn sufficed, or it failed.
    pub fn judge(&mut self, signer: &SignerKey, sufficed: bool, now: UnixMillis) {
        let known = self.records.get(signer).map(|record| record.at(now));
        let mut record = known.unwrap_or(Record { at: now, ..Record::default() });
        let count = if sufficed { &mut record.successes } else { &mut record.failures };
        *count = count.saturating_add(ONE);
        self.put(*signer, record);
        self.changed.insert(*signer);
    }

    fn put(&mut self, signer: SignerKey, record: Record) {
        self.records.insert(signer, record);
        if self.records.len() > limits::REPUTATIONS {
            // The one of whom there was no news for longest, by whatever clock.
            let others = self.records.iter().filter(|(other, _)| **other != signer);
            let oldest = others.min_by_key(|(_, record)| record.at).map(|(other, _)| *other);
            self.records.remove(&oldest.unwrap_or(signer));
            self.changed.insert(oldest.unwrap_or(signer));
        }
    }

    /// Forgets what is known of a signer. Answers whether anything was.
    pub fn forget(&mut self, signer: &SignerKey) -> bool {
        let known = self.records.remove(signer).is_some();
        if known {
            self.changed.insert(*signer);
        }
        known
    }

    /// Reads a stored record. Of a signer whose record cannot be read nothing is known.
    pub fn load(&mut self, signer: SignerKey, bytes: &[u8]) -> Result<(), WireError> {
        let Some(record) = Record::decode(bytes) else {
            self.changed.insert(signer);
            return Err(WireError::Malformed("the record of a signer"));
        };
        self.put(signer, record);
        Ok(())
    }

    /// The records that are to be stored, and those to be removed, since the last call.
    pub fn take_changed(&mut self) -> Vec<(SignerKey, Option<Vec<u8>>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed.map(|signer| (signer, self.records.get(&signer).map(|record| record.encode()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::testing::key;

    const DAY: u64 = 24 * HOUR;
    const NOW: UnixMillis = UnixMillis(20_000 * DAY);

    fn later(days: u64) -> UnixMillis {
        UnixMillis(NOW.0 + days * DAY)
    }

    #[test]
    fn reputation_of_an_unknown_signer_is_the_prior_and_verdicts_move_it() {
        let mut known = Reputations::default();
        assert_eq!(known.of(&key(1), NOW), Reputation { successes: 0.0, failures: 0.0, reliability: 0.8 });
        known.judge(&key(1), true, NOW);
        assert_eq!(known.of(&key(1), NOW).reliability, 5.0 / 6.0);
        (0..4).for_each(|_| known.judge(&key(2), false, NOW));
        assert_eq!(known.of(&key(2), NOW).reliability, 4.0 / 9.0);
        assert_eq!(known.of(&key(3), NOW).reliability, 0.8);
    }

    #[test]
    fn reputation_halves_in_thirty_days_however_often_it_is_looked_at() {
        let mut known = Reputations::default();
        (0..8).for_each(|_| known.judge(&key(1), true, NOW));
        for (days, left) in [(0, 8.0), (15, 8.0 / 2_f64.sqrt()), (30, 4.0), (90, 1.0), (30 * 30, 0.0)] {
            let counted = known.of(&key(1), later(days)).successes;
            assert!((counted - left).abs() < 1e-4, "{counted} after {days} days");
        }
        // A verdict every 20 minutes forgets as much as one at the end.
        let mut often = known.clone();
        for minutes in (0..30 * 24 * 60).step_by(20) {
            often.judge(&key(1), false, UnixMillis(NOW.0 + minutes * 60_000));
        }
        let counted = often.of(&key(1), later(30)).successes;
        assert!((counted - 4.0).abs() < 0.01, "{counted}");
        assert_eq!(known.of(&key(1), UnixMillis(u64::MAX)).successes, 0.0);
    }

    #[test]
    fn reputation_survives_clocks_that_step() {
        let mut known = Reputations::default();
        known.judge(&key(1), true, later(1000));
        assert_eq!(known.of(&key(1), NOW).successes, 1.0, "nothing gets older by a clock that went back");
        known.judge(&key(1), true, NOW);
        assert_eq!(known.of(&key(1), NOW).successes, 2.0);
        assert!((known.of(&key(1), later(30)).successes - 1.0).abs() < 1e-4, "and it gets older again");
        known.judge(&key(1), true, UnixMillis(u64::MAX));
        assert_eq!(known.of(&key(1), UnixMillis(0)).successes, 1.0);
    }

    #[test]
    fn reputation_is_kept_of_256_signers_and_forgotten_on_demand() {
        let mut known = Reputations::default();
        for number in 0..300 {
            known.judge(&key(number + 1), true, later(u64::from(number)));
        }
        assert_eq!(known.signers().count(), limits::REPUTATIONS);
        assert_eq!(known.of(&key(44), later(300)).successes, 0.0, "the oldest are gone");
        assert!(known.of(&key(45), later(300)).successes > 0.0);
        known.take_changed();
        assert!(known.forget(&key(45)) && !known.forget(&key(45)));
        assert_eq!(known.take_changed(), [(key(45), None)]);
        assert_eq!(known.of(&key(45), later(300)).reliability, 0.8);
    }

    #[test]
    fn reputation_is_read_as_it_was_written_and_afresh_if_it_cannot_be() {
        let mut known = Reputations::default();
        known.judge(&key(1), true, NOW);
        known.judge(&key(1), false, NOW);
        known.judge(&key(2), false, NOW);
        let mut read = Reputations::default();
        for (signer, record) in known.take_changed() {
            read.load(signer, &record.expect("is known")).expect("can be read");
        }
        assert!(read.take_changed().is_empty() && known.take_changed().is_empty());
        for signer in [key(1), key(2)] {
            assert_eq!(read.of(&signer, later(3)), known.of(&signer, later(3)));
        }
        for bytes in [&[][..], &[0; 23], &[0; 25]] {
            assert!(read.load(key(3), bytes).is_err());
        }
        assert_eq!(read.take_changed(), [(key(3), None)], "it is not read again");
        // Whatever 24 bytes say is harmless.
        read.load(key(4), &[0xff; 24]).expect("has the right length");
        read.judge(&key(4), true, NOW);
        assert!(read.of(&key(4), NOW).reliability <= 1.0);
    }
}
