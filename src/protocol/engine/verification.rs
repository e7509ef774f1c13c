//! What checking the proposals of others may cost: a budget of time for each signer that sends them, and for all strangers
//! together; and which were refused, so that none is checked twice.
//!
//! The time is what the work takes on an ordinary machine, by the numbers of its parts: nothing here has a clock.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::debt::{Debt, Debts};
use crate::protocol::crypto::key_set::{Derivation, Taproot};
use crate::protocol::limits;
use crate::protocol::proposal::Proposal;
use crate::types::{SessionId, SignerKey};

/// Reading a key and aggregating it.
const KEY: Duration = Duration::from_micros(40);
/// Deriving one key of another.
const DERIVATION: Duration = Duration::from_micros(40);
/// Reading a message.
const MESSAGE: Duration = Duration::from_micros(1);
/// Computing its signature hash, where it is one.
const SIGNATURE_HASH: Duration = Duration::from_micros(10);
/// Verifying the proposer's signature, and all that comes once.
const ONCE: Duration = Duration::from_micros(100);
/// Reading and hashing a KiB.
const KIB: Duration = Duration::from_micros(20);

/// Which signers this is about: for one whose debt is kept in `share` of the time, up to `most`.
#[derive(Clone, Copy, Debug)]
struct Rate {
    share: u32,
    most: Duration,
}

/// Of one signer that shares a joined session with this node.
const PARTNER: Rate = Rate { share: 5, most: limits::PARTNERS_WORK };
/// Of one that does not.
const STRANGER: Rate = Rate { share: 40, most: limits::STRANGERS_WORK.checked_div(2).expect("not by zero") };
/// Of all those together.
const STRANGERS: Rate = Rate { share: 20, most: limits::STRANGERS_WORK };

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Verification {
    of_signer: Debts,
    of_strangers: Debt,
    refused: LatestIds<{ limits::REFUSED }>,
}

/// The latest ids that were inserted.
#[derive(Debug, Default)]
pub(super) struct LatestIds<const MOST: usize> {
    ids: HashSet<SessionId>,
    /// The same, the oldest first.
    order: VecDeque<SessionId>,
}

impl<const MOST: usize> LatestIds<MOST> {
    pub fn contains(&self, id: &SessionId) -> bool {
        self.ids.contains(id)
    }

    /// Whether it was not there.
    pub fn insert(&mut self, id: SessionId) -> bool {
        let new = self.ids.insert(id);
        if new {
            self.order.push_back(id);
        }
        if self.order.len() > MOST
            && let Some(first) = self.order.pop_front()
        {
            self.ids.remove(&first);
        }
        new
    }
}

impl Verification {
    /// Whether this signer may have another proposal checked now. One that may not comes again by comparison.
    pub fn allows(&self, signer: &SignerKey, partner: bool, now: Duration) -> bool {
        let rate = if partner { PARTNER } else { STRANGER };
        let within = self.of_signer.owed(signer, now, rate.share) < rate.most;
        within && (partner || self.of_strangers.owed(now, STRANGERS.share) < STRANGERS.most)
    }

    /// A proposal of this signer was checked, for so much.
    pub fn spend(&mut self, signer: SignerKey, partner: bool, cost: Duration, now: Duration) {
        if !partner {
            self.of_strangers.add(cost, now, STRANGERS.share);
        }
        // Those that find no place have the share of all strangers.
        let rate = if partner { PARTNER } else { STRANGER };
        self.of_signer.add(signer, cost, now, rate.share);
    }

    /// Whether this proposal was refused before.
    pub fn was_refused(&self, id: &SessionId) -> bool {
        self.refused.contains(id)
    }

    /// A proposal was refused for what it says, which will not change.
    pub fn refuse(&mut self, id: SessionId) {
        self.refused.insert(id);
    }
}

/// What reading so many bytes costs.
pub(super) fn reading(bytes: usize) -> Duration {
    ONCE + KIB * (bytes / 1024) as u32
}

/// What checking the terms of a proposal costs beyond that.
pub(super) fn checking(proposal: &Proposal) -> Duration {
    let message = if proposal.transaction.is_some() { MESSAGE + SIGNATURE_HASH } else { MESSAGE };
    let keys: usize = proposal.key_sets.iter().map(|key_set| key_set.participants.len()).sum();
    let steps =
        |derivation: &Derivation| derivation.path.len() + usize::from(derivation.taproot != Taproot::None);
    let derivations: usize = proposal.messages.iter().map(|message| steps(&message.derivation)).sum();
    // A signer may derive each key that has an origin, to compare it.
    let origins = proposal.key_sets.iter().flat_map(|key_set| &key_set.participants);
    let unhardened = |number: &&u32| **number < 1 << 31;
    let followed: usize = origins
        .filter_map(|participant| participant.origin.as_ref())
        .map(|origin| origin.path.iter().rev().take_while(unhardened).count().min(limits::ACCOUNT_STEPS))
        .sum();
    let derivations = derivations + followed;
    KEY * keys as u32 + DERIVATION * derivations as u32 + message * proposal.messages.len() as u32
}

#[cfg(test)]
mod tests {
    use super::super::debt;
    use super::*;
    use crate::types::testing::key;

    /// How much a signer may have checked until it is refused.
    fn spent(work: &mut Verification, signer: SignerKey, partner: bool, now: Duration) -> Duration {
        let (cost, mut spent) = (Duration::from_millis(1), Duration::ZERO);
        while work.allows(&signer, partner, now) {
            work.spend(signer, partner, cost, now);
            spent += cost;
        }
        spent
    }

    #[test]
    fn each_stranger_has_half_of_what_all_have_and_a_partner_has_its_own() {
        let (mut work, now) = (Verification::default(), Duration::from_secs(100));
        assert_eq!(spent(&mut work, key(1), false, now), limits::STRANGERS_WORK / 2);
        assert_eq!(spent(&mut work, key(1), false, now), Duration::ZERO);
        assert_eq!(spent(&mut work, key(2), false, now), limits::STRANGERS_WORK / 2);
        assert_eq!(spent(&mut work, key(3), false, now), Duration::ZERO, "nothing is left for strangers");
        assert_eq!(spent(&mut work, key(4), true, now), limits::PARTNERS_WORK);
        // Time pays: a twentieth of it for all of them.
        let later = now + Duration::from_secs(1);
        let all: Duration = (1..10).map(|number| spent(&mut work, key(number), false, later)).sum();
        assert_eq!(all, Duration::from_millis(50));
    }

    #[test]
    fn what_is_remembered_is_limited() {
        let (mut work, now) = (Verification::default(), Duration::from_secs(100));
        let id = |number: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            SessionId(id)
        };
        for number in 0..3000 {
            work.spend(key(number), false, Duration::from_millis(1), now);
            work.refuse(id(number));
            work.refuse(id(number));
        }
        assert_eq!((work.of_signer.len(), work.refused.order.len()), (debt::SIGNERS, limits::REFUSED));
        assert_eq!(work.refused.ids.len(), limits::REFUSED);
        assert!(work.was_refused(&id(2999)) && !work.was_refused(&id(0)));
        // Who paid is forgotten.
        let later = now + Duration::from_secs(3600);
        assert!(work.allows(&key(5000), false, later));
        work.spend(key(5000), false, Duration::from_millis(1), later);
        assert_eq!(work.of_signer.len(), 1);
    }
}
