//! Which proposals of others are taken: whose, and how many in time. Each is told to the application and written to the
//! disk before anybody decides about it.

use std::time::Duration;

use super::debt::{Debt, Debts};
use crate::mutation::{self, Mutation};
use crate::protocol::consent::AcceptedProposers;
use crate::protocol::limits;
use crate::types::SignerKey;

/// By what the debts of a proposer that is no stranger are divided.
const PARTNER: u32 = 10;
/// What a write costs beyond its bytes, in bytes.
const WRITE: usize = 1 << 10;

/// Who proposes, and how much of it may be there at once before time has to pay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proposer {
    pub key: SignerKey,
    /// It shares a joined session with this node, or the application named it.
    pub partner: bool,
    /// Proposals that may wait for an answer.
    pub proposals: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Admission {
    pub accepted: AcceptedProposers,
    proposals: Debts,
    bytes: Debts,
    strangers_proposals: Debt,
    strangers_bytes: Debt,
}

impl Admission {
    /// Whether the application takes proposals of this signer.
    pub fn accepts(&self, proposer: &SignerKey) -> bool {
        self.accepted.accepts(proposer) || mutation::on(Mutation::EverybodyAccepted)
    }

    /// Whether the application named this signer as one whose proposals it takes.
    pub fn names(&self, signer: &SignerKey) -> bool {
        self.accepted.names(signer) && !mutation::on(Mutation::NamedAreStrangers)
    }

    /// Whether another proposal of this signer may be taken now. One that may not comes again by comparison.
    pub fn allows(&self, proposer: Proposer, now: Duration) -> bool {
        if mutation::on(Mutation::ProposalsWithoutRate) {
            return true;
        }
        let most = limits::PROPOSAL_EVERY * proposer.proposals.max(limits::PROPOSALS_PER_SIGNER) as u32;
        let all = limits::STRANGERS_PROPOSAL_EVERY * (limits::UNANSWERED_PROPOSALS / 2) as u32;
        self.proposals.owed(&proposer.key, now, 1) < most
            && (proposer.partner || self.strangers_proposals.owed(now, 1) < all)
            && self.allows_bytes(proposer, now)
    }

    /// Whether more may be taken of what others say of its proposals.
    pub fn allows_bytes(&self, proposer: Proposer, now: Duration) -> bool {
        let most = time(limits::UNANSWERED_BYTES / 4, limits::PROPOSAL_BYTES);
        let all = time(limits::UNANSWERED_BYTES / 2, limits::STRANGERS_PROPOSAL_BYTES);
        self.bytes.owed(&proposer.key, now, 1) < most
            && (proposer.partner || self.strangers_bytes.owed(now, 1) < all)
    }

    /// A proposal was taken.
    pub fn took(&mut self, proposer: Proposer, bytes: usize, now: Duration) {
        if !proposer.partner {
            self.strangers_proposals.add(limits::STRANGERS_PROPOSAL_EVERY, now, 1);
        }
        self.proposals.add(proposer.key, cost(proposer, limits::PROPOSAL_EVERY), now, 1);
        self.took_bytes(proposer, bytes, now);
    }

    /// Something that others say of a proposal was taken.
    pub fn took_bytes(&mut self, proposer: Proposer, bytes: usize, now: Duration) {
        let bytes = bytes + WRITE;
        if !proposer.partner {
            self.strangers_bytes.add(time(bytes, limits::STRANGERS_PROPOSAL_BYTES), now, 1);
        }
        self.bytes.add(proposer.key, cost(proposer, time(bytes, limits::PROPOSAL_BYTES)), now, 1);
    }

    /// The application joined one of so many bytes, so it was wanted.
    pub fn joined(&mut self, proposer: Proposer, bytes: usize) {
        if !proposer.partner {
            self.strangers_proposals.forgive(limits::STRANGERS_PROPOSAL_EVERY);
            self.strangers_bytes.forgive(time(bytes, limits::STRANGERS_PROPOSAL_BYTES));
        }
        self.proposals.forgive(&proposer.key, cost(proposer, limits::PROPOSAL_EVERY));
        self.bytes.forgive(&proposer.key, cost(proposer, time(bytes, limits::PROPOSAL_BYTES)));
    }
}

fn cost(proposer: Proposer, cost: Duration) -> Duration {
    if proposer.partner { cost / PARTNER } else { cost }
}

/// How long so many bytes take at so many a second.
fn time(bytes: usize, each_second: usize) -> Duration {
    Duration::from_millis(bytes as u64 * 1000 / each_second as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposer(number: u8, partner: bool) -> Proposer {
        let secret = secp256k1::SecretKey::from_secret_bytes([number; 32]).expect("a scalar");
        let key = secp256k1::Keypair::from_secret_key(&secret).public_key().into();
        Proposer { key, partner, proposals: 5 }
    }

    /// How many proposals of so many bytes are taken now.
    fn taken(admission: &mut Admission, proposer: Proposer, bytes: usize, now: Duration) -> usize {
        let mut taken = 0;
        while admission.allows(proposer, now) {
            admission.took(proposer, bytes, now);
            taken += 1;
        }
        taken
    }

    #[test]
    fn proposals_have_a_rate_for_each_proposer_and_for_all_strangers() {
        let (mut admission, now) = (Admission::default(), Duration::from_secs(100));
        let each = limits::PROPOSALS_PER_SIGNER;
        let all = limits::UNANSWERED_PROPOSALS / 2;
        for number in 1..=(all / each) as u8 {
            assert_eq!(taken(&mut admission, proposer(number, false), 0, now), each);
        }
        let (next, partner) = (proposer(100, false), proposer(101, true));
        assert_eq!(taken(&mut admission, next, 0, now), 0, "all strangers together had theirs");
        assert_eq!(taken(&mut admission, partner, 0, now), 10 * each);
        // Time pays: one each second for all, and one in ten for each.
        let later = now + limits::PROPOSAL_EVERY * 3;
        assert_eq!(taken(&mut admission, proposer(1, false), 0, later), 3);
        assert_eq!(taken(&mut admission, next, 0, later), 30 - 3);
        assert_eq!(taken(&mut admission, partner, 0, later), 30);
    }

    #[test]
    fn bytes_have_a_rate_and_what_was_joined_counts_no_more() {
        let (mut admission, now) = (Admission::default(), Duration::from_secs(100));
        let (one, large) = (proposer(1, false), 2 << 20);
        assert_eq!(taken(&mut admission, one, large, now), 4);
        assert!(!admission.allows_bytes(one, now));
        admission.joined(one, large);
        assert_eq!(taken(&mut admission, one, large, now), 1);
        let hour = now + Duration::from_secs(3600);
        let paid = 3600 * limits::PROPOSAL_BYTES / large;
        assert_eq!(taken(&mut admission, one, large, hour), paid + 1, "the last one may go over");
    }
}
