//! When something was well, and when it was not.

use std::time::Duration;

/// The times at which something changed between well and not. It begins well.
#[derive(Clone, Debug, Default)]
pub struct Track(Vec<(Duration, bool)>);

impl Track {
    pub fn set(&mut self, at: Duration, well: bool) {
        if self.0.last().is_none_or(|(_, before)| *before) != well {
            self.0.push((at, well));
        }
    }

    /// Whether it was well all the time.
    pub fn holds(&self, from: Duration, to: Duration) -> bool {
        let before = self.0.partition_point(|(at, _)| *at <= from);
        let first = before.checked_sub(1).is_none_or(|index| self.0[index].1);
        first && self.0[before..].iter().all(|(at, well)| *well || *at > to)
    }

    /// The spans of time in which it is well, up to `end`.
    pub fn spans(&self, end: Duration) -> Vec<(Duration, Duration)> {
        let mut spans = Vec::new();
        let mut since = Some(Duration::ZERO);
        for (at, well) in &self.0 {
            match (since, well) {
                (Some(from), false) => {
                    spans.push((from, *at));
                    since = None;
                }
                (None, true) => since = Some(*at),
                _ => {}
            }
        }
        spans.extend(since.map(|from| (from, end)));
        spans
    }
}

/// Where both are well.
pub fn both(one: &[(Duration, Duration)], other: &[(Duration, Duration)]) -> Vec<(Duration, Duration)> {
    let meet = |a: &(Duration, Duration), b: &(Duration, Duration)| (a.0.max(b.0), a.1.min(b.1));
    let all = one.iter().flat_map(|a| other.iter().map(move |b| meet(a, b)));
    all.filter(|(from, to)| from < to).collect()
}
