//! Who is to broadcast when.

use std::time::Duration;

use crate::mutation::{self, Mutation};
use crate::protocol::proposal::{Broadcast, FailoverPolicy, Tiers};

/// Why a node waits for a coordinator no longer, in the order of how long it waited. Only the first one is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FailureCause {
    /// An envelope of it breaks the protocol, which proves its guilt.
    Guilty,
    /// It said that it cannot reach a Bitcoin backend.
    Nack,
    /// It said that its Bitcoin backend rejects the transaction.
    Rejected,
    /// Its last connection was lost, and nothing of it came through others since.
    Gone,
    /// It is connected and did not say that it holds the signatures, without which it cannot broadcast.
    NotHolding,
    /// The transaction was not seen for longer than this node's own experience lets it expect.
    Pace,
    /// Its time is over: `broadcast_timeout` passed since its turn opened.
    Timeout,
}

/// Which signers broadcast in which turn. Derived from the proposal, so equal at all signers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    pub(super) order: Vec<usize>,
    /// Where each tier ends in the order.
    pub(super) ends: Vec<usize>,
    pub(super) timeout: Duration,
}

impl Turns {
    /// The turns of a mode: the priority list in tiers, or one turn, of the coordinator alone. `None`: there is no turn.
    pub fn new(priority_list: &[usize], mode: &Broadcast) -> Option<Self> {
        let default = FailoverPolicy::default();
        match mode {
            Broadcast::Failover(policy) => Some(Self::tiers(priority_list, *policy)),
            Broadcast::CoordinatorOnly => Some(Self::tiers(&priority_list[..1], default)),
            Broadcast::SignOnly if mutation::on(Mutation::SignOnlyTakesTurn) => {
                Some(Self::tiers(priority_list, default))
            }
            Broadcast::SignOnly => None,
        }
    }

    fn tiers(order: &[usize], policy: FailoverPolicy) -> Self {
        let mut ends: Vec<usize> = Vec::new();
        while let before = ends.last().copied().unwrap_or(0)
            && before < order.len()
        {
            let width = match policy.tiers {
                Tiers::Single => 1,
                Tiers::Fixed(width) => usize::from(width).max(1),
                Tiers::Doubling => 1 << ends.len().min(16),
            };
            ends.push((before + width).min(order.len()));
        }
        Self { order: order.to_vec(), ends, timeout: policy.broadcast_timeout }
    }

    /// How many turns there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The signer indices of a turn.
    pub fn signers(&self, turn: usize) -> &[usize] {
        self.ends.get(turn).map_or(&[], |end| &self.order[self.before(turn)..*end])
    }

    /// How many signers have their turn before this one.
    pub(super) fn before(&self, turn: usize) -> usize {
        turn.checked_sub(1).and_then(|earlier| self.ends.get(earlier)).copied().unwrap_or(0)
    }

    /// The turn of a signer. `None`: it has none, for another one is the coordinator and the only one.
    pub fn of_signer(&self, signer: usize) -> Option<usize> {
        let rank = self.order.iter().position(|other| *other == signer)?;
        self.ends.iter().position(|end| rank < *end)
    }

    /// When a turn opens at the latest, after `t0`. For the number of turns: when all are over.
    pub fn start(&self, turn: usize) -> Duration {
        if mutation::on(Mutation::LongerTurns) {
            return self.timeout.saturating_mul((1 << turn.min(16)) - 1);
        }
        self.timeout.saturating_mul(turn as u32)
    }

    /// How long each lasts before the next one opens.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long before a turn the chain is looked at, so that nobody submits what is there already.
    pub(super) fn look_ahead(&self) -> Duration {
        (self.timeout / 10).min(Duration::from_secs(2))
    }

    /// How long after a turn opened the next one does at the latest.
    pub(super) fn longest(&self) -> Duration {
        if mutation::on(Mutation::LongerTurns) { Duration::MAX } else { self.timeout }
    }
}
