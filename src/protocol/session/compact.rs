//! A session at rest, closed or in watch, as few bytes as may be. Nothing is lost but what its bytes give again.
//!
//! No signature is verified and no key aggregated when it is unpacked: its bytes never left this process.

use std::sync::Arc;

use prost::Message;

use super::agreement::Agreement;
use super::broadcast::PackedBroadcast;
use super::keeping::PackedKeeping;
use super::rounds::PackedRounds;
use super::stall::PackedStall;
use super::stored::PackedStored;
use super::sync::{PackedAntiEntropy, Quotas};
use crate::protocol::crypto::SessionKeys;
use crate::protocol::envelope_set::EnvelopeSet;
use crate::protocol::proposal::Proposal;
use crate::protocol::status::Phase;
use crate::protocol::transaction::TransactionInfo;
use crate::protocol::wire::Certificate;
use crate::types::{SessionId, SignerKey, Time, UnixMillis};

/// A session at rest, and what is asked of it without unpacking it.
pub struct Packed {
    /// The encoded proposal, and after it the encoded [`Parts`].
    bytes: Box<[u8]>,
    proposal: u32,
    own: u8,
    pub summary: Summary,
    expires_at: UnixMillis,
    /// As long as there is no certificate: to verify one.
    keys: Option<Arc<dyn SessionKeys>>,
    transaction: Option<Box<TransactionInfo>>,
    quotas: Quotas,
}

/// What is asked of a session at rest most often.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub envelopes: u32,
    pub envelope_bytes: u32,
    pub joined: bool,
    pub certified: bool,
    pub own_turn_open: bool,
    /// A turn is ahead that may open early.
    pub turn_ahead: bool,
    pub phase: Phase,
    /// A certificate may still come, or still be needed, although it is over here.
    pub kept: bool,
    /// Nothing is left to do or to acknowledge: it may be purged once it expired.
    pub done: bool,
    /// Every durable event was acknowledged.
    pub acknowledged: bool,
}

impl Summary {
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }
}

/// The parts of a session.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Parts {
    #[prost(message, required, tag = "1")]
    pub stored: PackedStored,
    #[prost(message, required, tag = "2")]
    pub rounds: PackedRounds,
    #[prost(message, required, tag = "3")]
    pub sync: PackedAntiEntropy,
    #[prost(message, required, tag = "4")]
    pub stall: PackedStall,
    #[prost(message, optional, tag = "5")]
    pub broadcast: Option<PackedBroadcast>,
    #[prost(bytes = "vec", tag = "6")]
    set: Vec<u8>,
    #[prost(uint32, optional, tag = "7")]
    failed_at: Option<u32>,
    #[prost(message, required, tag = "8")]
    pub keeping: PackedKeeping,
}

impl Parts {
    /// The set is encoded here, the others encode themselves.
    pub fn new(
        set: &EnvelopeSet,
        proposal: &Proposal,
        (stored, rounds): (PackedStored, PackedRounds),
        (sync, stall, keeping): (PackedAntiEntropy, PackedStall, PackedKeeping),
        broadcast: Option<PackedBroadcast>,
    ) -> Self {
        let mut bytes = Vec::new();
        set.pack(proposal, &mut bytes);
        Self { stored, rounds, sync, stall, broadcast, set: bytes, failed_at: set.failed_at(), keeping }
    }

    pub fn envelope_set(&self, proposal: &Proposal) -> EnvelopeSet {
        let mut set = EnvelopeSet::unpack(&self.set, proposal).expect("it was packed here");
        self.failed_at.into_iter().for_each(|attempt| set.keep_attempt(attempt));
        set
    }
}

impl Packed {
    pub fn new(agreement: Agreement, parts: &Parts, quotas: Quotas, summary: Summary) -> Self {
        let Agreement { proposal, own, election: _, keys, transaction } = agreement;
        let encoded = proposal.as_bytes();
        let mut bytes = Vec::with_capacity(encoded.len() + parts.encoded_len());
        bytes.extend(encoded);
        parts.encode(&mut bytes).expect("a vector grows");
        Self {
            proposal: encoded.len() as u32,
            bytes: bytes.into(),
            own: own as u8,
            summary,
            expires_at: proposal.expires_at,
            keys: keys.filter(|_| !summary.certified),
            transaction,
            quotas,
        }
    }

    /// What it was packed of, but for the parts.
    pub fn agreement(&self, id: SessionId) -> Agreement {
        let (keys, transaction) = (self.keys.clone(), self.transaction.clone());
        Agreement::checked(self.proposal(id), self.own_index(), keys, transaction)
            .expect("it was elected before")
    }

    pub fn parts(&self) -> Parts {
        Parts::decode(&self.bytes[self.proposal as usize..]).expect("it was packed here")
    }

    pub fn quotas(&self) -> Quotas {
        self.quotas.clone()
    }

    /// How many envelopes it holds, and their bytes.
    pub fn envelopes(&self) -> (usize, usize) {
        (self.summary.envelopes as usize, self.summary.envelope_bytes as usize)
    }

    pub fn own_index(&self) -> usize {
        self.own.into()
    }

    /// True once nothing is left to do or to acknowledge and the session has expired.
    pub fn is_purgeable(&self, now: UnixMillis) -> bool {
        self.summary.done && now >= self.expires_at
    }

    pub fn proposal(&self, id: SessionId) -> Proposal {
        let bytes = &self.bytes[..self.proposal as usize];
        Proposal::unpack(bytes, id).expect("it was checked before it was packed")
    }

    /// The index of a signer, found without reading the rest.
    pub fn index_of(&self, key: &SignerKey) -> Option<usize> {
        Proposal::packed_index_of(&self.bytes[..self.proposal as usize], key)
    }

    /// Whether a comparison with this signer is not answered now: no need to unpack it for that.
    pub fn refuses_comparison(&self, with: usize, now: Time) -> bool {
        self.summary.is_closed() && !self.summary.kept || self.quotas.full(with, now.monotonic)
    }

    /// Whether a certificate changes nothing: it is here, or this node never consented.
    pub fn needs_no_certificate(&self) -> bool {
        self.summary.certified || !self.summary.joined
    }

    /// The signatures, if they are finished.
    pub fn certificate(&self, session: SessionId) -> Option<Certificate> {
        self.parts().broadcast.map(|broadcast| broadcast.certificate(session))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::keeping::Keeping;
    use super::super::rounds::Rounds;
    use super::super::stall::Stall;
    use super::super::stored::{Ending, Stored};
    use super::super::sync::AntiEntropy;
    use super::super::testing::{agreement, nonces, say};
    use super::*;
    use crate::protocol::envelope::Content;

    const NOW: Duration = Duration::from_secs(5);
    const SUMMARY: Summary = Summary {
        envelopes: 3,
        envelope_bytes: 300,
        joined: true,
        certified: false,
        own_turn_open: false,
        turn_ahead: false,
        phase: Phase::Closed,
        kept: false,
        done: true,
        acknowledged: true,
    };

    fn packed(summary: Summary) -> (Packed, EnvelopeSet, Stored) {
        let (agreement, mut set) = (agreement(1), EnvelopeSet::default());
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, Content::Accept));
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, nonces(signer as u8)));
        let mut stored = Stored::default();
        stored.use_attempt(0);
        stored.ending = Some(Ending::Expired);
        let (sync, quotas) = AntiEntropy::new(1, NOW).pack(false, NOW);
        let own = (stored.pack(), Rounds::default().pack(None));
        let keeping = Keeping::new(agreement.id(), NOW).pack();
        let parts = Parts::new(&set, &agreement.proposal, own, (sync, Stall::new(NOW).pack(), keeping), None);
        (Packed::new(agreement, &parts, quotas, summary), set, stored)
    }

    #[test]
    fn what_was_packed_is_what_is_unpacked() {
        let (packed, set, stored) = packed(SUMMARY);
        let before = agreement(1);
        let after = packed.agreement(before.id());
        assert_eq!(after.proposal.as_bytes(), before.proposal.as_bytes());
        assert_eq!((after.own, after.election.priority_list), (1, before.election.priority_list));
        let parts = packed.parts();
        assert_eq!(Stored::unpack(&parts.stored), stored);
        let unpacked = parts.envelope_set(&after.proposal);
        let ids = |set: &EnvelopeSet| set.ids().copied().collect::<std::collections::BTreeSet<_>>();
        assert_eq!((ids(&unpacked), unpacked.bytes()), (ids(&set), set.bytes()));
        assert_eq!(unpacked.transcript(0), set.transcript(0));
    }

    #[test]
    fn signers_are_found_without_unpacking() {
        let (packed, ..) = packed(SUMMARY);
        let signers = agreement(1).proposal.signers.clone();
        for (index, key) in signers.iter().enumerate() {
            assert_eq!(packed.index_of(key), Some(index));
        }
        let mut stranger = *signers[0].as_bytes();
        stranger[0] ^= 1;
        let stranger = SignerKey::from_bytes(&stranger).expect("the same point, negated");
        assert_eq!(packed.index_of(&stranger), None);
    }

    #[test]
    fn keys_are_kept_until_the_certificate_is_here() {
        let id = agreement(1).id();
        assert!(packed(SUMMARY).0.agreement(id).keys.is_some());
        let certified = Summary { certified: true, ..SUMMARY };
        assert!(packed(certified).0.agreement(id).keys.is_none());
    }

    #[test]
    fn it_is_purged_once_it_is_done_and_expired() {
        let expires_at = agreement(1).proposal.expires_at;
        let before = UnixMillis(expires_at.0 - 1);
        let (done, ..) = packed(SUMMARY);
        assert!(!done.is_purgeable(before) && done.is_purgeable(expires_at));
        let (open, ..) = packed(Summary { done: false, ..SUMMARY });
        assert!(!open.is_purgeable(expires_at));
    }

    #[test]
    fn a_closed_session_answers_a_comparison_only_if_it_is_kept() {
        let time = Time { wall: UnixMillis(0), monotonic: NOW };
        assert!(packed(SUMMARY).0.refuses_comparison(1, time));
        assert!(!packed(Summary { kept: true, ..SUMMARY }).0.refuses_comparison(1, time));
    }
}
