//! How the coordinators of a watch did, as far as its own observer shows it.

use std::time::Duration;

use super::turns::Turns;

/// When the transaction was known not to be there. From that and from when it is there follows who failed and whose turn
/// sufficed. Nobody's word enters, and no wait but the broadcast timeout: who is passed over early did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// The last time, by the watch's stopwatch. `None`: nothing is concluded any more.
    absent: Option<Duration>,
}

/// Signer indices, by how they did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The whole timeout of their turn passed, and the transaction came after that.
    pub failed: Vec<usize>,
    /// It came in their turn.
    pub sufficed: Vec<usize>,
}

impl Judgement {
    /// At the beginning nobody had it.
    pub fn new() -> Self {
        Self { absent: Some(Duration::ZERO) }
    }

    /// Concludes nothing any more: the coordinators had a reason to wait, or it is not the first watch.
    pub fn end(&mut self) {
        self.absent = None;
    }

    /// The turns begin only now.
    pub fn restart(&mut self) {
        self.absent = self.absent.map(|_| Duration::ZERO);
    }

    /// The observer says that it is not there.
    pub fn absent(&mut self, elapsed: Duration) {
        self.absent = self.absent.map(|before| before.max(elapsed));
    }

    /// It is there for the first time, after so many turns opened, the last of them at that time. `others`: nothing is known
    /// of a submission of this node.
    pub fn seen(&mut self, turns: &Turns, opened: usize, turn_opened: Duration, others: bool) -> Verdict {
        let Some(absent) = self.absent.take() else { return Verdict::default() };
        // The last look before a turn is so much before it.
        let absent = absent + turns.look_ahead();
        let over = (0..turns.count()).take_while(|turn| absent >= turns.start(*turn + 1)).count();
        let last = opened.checked_sub(1).filter(|turn| others && *turn >= over && absent >= turn_opened);
        Verdict {
            failed: (0..over).flat_map(|turn| turns.signers(turn)).copied().collect(),
            sufficed: last.map(|turn| turns.signers(turn).to_vec()).unwrap_or_default(),
        }
    }

    /// Its number.
    pub fn pack(self) -> Option<Duration> {
        self.absent
    }

    /// The same again.
    pub fn unpack(absent: Option<Duration>) -> Self {
        Self { absent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::proposal::{Broadcast, FailoverPolicy};

    const TIMEOUT: Duration = Duration::from_secs(100);
    const SECOND: Duration = Duration::from_secs(1);

    fn verdict(
        absent: Duration,
        opened: usize,
        turn_opened: Duration,
        others: bool,
    ) -> (Vec<usize>, Vec<usize>) {
        let policy = FailoverPolicy { broadcast_timeout: TIMEOUT, ..FailoverPolicy::default() };
        let turns = Turns::new(&[2, 0, 1], &Broadcast::Failover(policy)).expect("there are turns");
        let mut judgement = Judgement::new();
        judgement.absent(absent);
        let verdict = judgement.seen(&turns, opened, turn_opened, others);
        assert_eq!(judgement.seen(&turns, opened, turn_opened, others), Verdict::default(), "once");
        (verdict.failed, verdict.sufficed)
    }

    #[test]
    fn reputation_has_a_verdict_on_a_whole_timeout_and_on_a_turn_that_sufficed() {
        let zero = Duration::ZERO;
        assert_eq!(verdict(zero, 1, zero, true), (vec![], vec![2]));
        assert_eq!(verdict(zero, 1, zero, false), (vec![], vec![]), "it was this node");
        assert_eq!(verdict(TIMEOUT - 2 * SECOND, 2, TIMEOUT, true), (vec![2], vec![0]));
        assert_eq!(verdict(TIMEOUT + SECOND, 2, TIMEOUT, false), (vec![2], vec![]));
        assert_eq!(verdict(4 * TIMEOUT, 3, 2 * TIMEOUT, true), (vec![2, 0, 1], vec![]));
    }

    #[test]
    fn reputation_has_no_verdict_on_who_was_passed_over_early_or_while_nobody_looked() {
        // The second turn opened after a second: the first signer had its time not yet, and it may be its transaction.
        assert_eq!(verdict(Duration::ZERO, 2, 5 * SECOND, true), (vec![], vec![]));
        assert_eq!(verdict(5 * SECOND, 2, 5 * SECOND, true), (vec![], vec![0]));
        // This node slept: the turns opened when it woke.
        assert_eq!(verdict(9 * SECOND, 3, 2 * TIMEOUT, true), (vec![], vec![]));
    }
}
