//! What a node's connections say of a session's signers.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::agreement::Agreement;
use super::sync::AntiEntropy;
use crate::protocol::envelope_set::{EnvelopeSet, Fact};
use crate::protocol::failover::Outlook;
use crate::protocol::status::{CoordinatorStatus, SignerStatus};
use crate::types::{SignerKey, Time, UnixMillis};

/// The connections of a node.
#[derive(Clone, Copy)]
pub struct Contacts<'a> {
    pub now: Time,
    pub connected: &'a HashSet<SignerKey>,
    /// When each signer was last heard from, by the monotonic clock.
    pub heard: &'a HashMap<SignerKey, Duration>,
}

impl Contacts<'_> {
    /// The state of a signer.
    pub fn of(&self, signer: usize, agreement: &Agreement, set: &EnvelopeSet) -> SignerStatus {
        let (key, own) = (&agreement.proposal.signers[signer], signer == agreement.own);
        let heard = self.heard.get(key).copied().or(own.then_some(self.now.monotonic));
        let wall = |at: Duration| {
            let ago = self.now.monotonic.saturating_sub(at).as_millis();
            UnixMillis(self.now.wall.0.saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX)))
        };
        SignerStatus {
            signer,
            connected: own || self.connected.contains(key),
            last_seen: heard.map(wall),
            consented: set.fact(Fact::Accept, signer).is_some(),
        }
    }

    /// The state of a signer that has a turn.
    pub fn coordinator(
        &self,
        outlook: Outlook,
        agreement: &Agreement,
        sync: &AntiEntropy,
    ) -> CoordinatorStatus {
        let Outlook { signer, turn, wait, cause, opens_in } = outlook;
        let own = signer == agreement.own;
        CoordinatorStatus {
            signer,
            turn,
            connected: own || self.connected.contains(&agreement.proposal.signers[signer]),
            holds: own || sync.is_known_holder(signer),
            wait,
            cause,
            opens_at: opens_in.map(|after| self.now.wall.saturating_add(after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agreement, say};
    use super::*;
    use crate::protocol::envelope::Content;

    #[test]
    fn a_signer_is_connected_was_seen_and_consented_each_for_itself() {
        let (agreement, mut set) = (agreement(0), EnvelopeSet::default());
        let keys = &agreement.proposal.signers;
        let second = Duration::from_secs(1);
        let now = Time { wall: UnixMillis(1_000_000), monotonic: second * 9 };
        let (connected, heard) = (HashSet::from([keys[1]]), HashMap::from([(keys[1], second * 4)]));
        let contacts = Contacts { now, connected: &connected, heard: &heard };
        say(&mut set, &agreement, 2, Content::Accept);
        let of = |signer| {
            let status = contacts.of(signer, &agreement, &set);
            assert_eq!(status.signer, signer);
            (status.connected, status.last_seen.map(|at| at.0), status.consented)
        };
        assert_eq!(of(0), (true, Some(1_000_000), false), "this node itself");
        assert_eq!(of(1), (true, Some(995_000), false));
        assert_eq!(of(2), (false, None, true), "its consent came from elsewhere");
    }
}
