//! What the session's record on the disk holds.

use super::keeping::Keeping;
use crate::mutation::{self, Mutation};
use crate::protocol::event::DurableKind;
use crate::protocol::packing::{bits, flags};
use crate::protocol::wire::{self, pb};

const VERSION: u32 = 1;

/// How a session ended at this node without a certificate, the strongest reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Failed = 1,
    Aborted,
    Declined,
    Expired,
}

impl Ending {
    fn from_number(number: u32) -> Option<Self> {
        let all = [Self::Failed, Self::Aborted, Self::Declined, Self::Expired];
        all.into_iter().find(|ending| *ending as u32 == number)
    }
}

/// What a node must know of a session after a restart, beside its envelopes and its certificate.
///
/// Invariants: `attempts_used` never decreases, `partial_sent`, `foreign_envelope` and `consented` never become false
/// again, and a kind of durable event is pending once at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The highest attempt that nonces were made for, plus one.
    pub attempts_used: u32,
    /// A partial signature of this node is out, or may be: others may finish the session without it. It is not synced before
    /// it leaves, so after a restart an attempt that was used counts as one, unless it was noted that none left.
    pub partial_sent: bool,
    /// No partial signature left of any attempt that was used, and none will: all their nonces were wiped.
    pub nonces_unused: bool,
    pub closed: bool,
    /// This node's own application wants no more of it: with a certificate it takes no turn.
    pub given_up: bool,
    pub ending: Option<Ending>,
    /// An envelope of this node's key that it did not make was seen.
    pub foreign_envelope: bool,
    /// This node's application consented. A signed consent from elsewhere is none.
    pub consented: bool,
    pending: Vec<DurableKind>,
}

/// A [`Stored`] in memory, as few bytes as may be.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackedStored {
    #[prost(uint32, tag = "1")]
    attempts_used: u32,
    /// Bits: partial sent, closed, foreign envelope, consented, given up, nonces unused.
    #[prost(uint32, tag = "2")]
    flags: u32,
    #[prost(uint32, tag = "3")]
    ending: u32,
    #[prost(bytes = "vec", tag = "4")]
    pending: Vec<u8>,
}

impl Stored {
    /// Nonces of this attempt were made, here or elsewhere with the same key.
    pub fn use_attempt(&mut self, attempt: u32) {
        self.attempts_used = self.attempts_used.max(attempt + 1);
        self.nonces_unused = false;
    }

    /// All nonces that were made are wiped, and nothing is signed before others are made.
    pub fn stop_signing(&mut self) {
        self.nonces_unused = !self.partial_sent;
    }

    /// Whether this node signs no more.
    pub fn over(&self) -> bool {
        self.ending.is_some() || self.closed
    }

    /// The durable events that were not acknowledged, in order.
    pub fn pending(&self) -> &[DurableKind] {
        &self.pending
    }

    /// Adds a durable event. `false`: one of its kind is pending already.
    pub fn add_pending(&mut self, kind: DurableKind) -> bool {
        let new = !self.pending.contains(&kind);
        if new {
            self.pending.push(kind);
        }
        new
    }

    /// Removes durable events. Answers whether any was pending.
    pub fn remove_pending(&mut self, kinds: &[DurableKind]) -> bool {
        let before = self.pending.len();
        self.pending.retain(|kind| !kinds.contains(kind));
        self.pending.len() != before
    }

    /// Removes all durable events.
    pub fn clear_pending(&mut self) {
        self.pending.clear();
    }

    /// The record to write.
    pub fn store(&self, watch: Option<pb::WatchRecord>, keeping: &Keeping) -> Vec<u8> {
        wire::encode(&pb::SessionRecord {
            version: VERSION,
            attempts_used: self.attempts_used,
            partial_sent: self.partial_sent,
            closed: self.closed,
            ending: self.ending.map_or(0, |ending| ending as u32),
            watch,
            pending_events: self.pending.iter().map(|kind| *kind as u32).collect(),
            foreign_envelope: self.foreign_envelope,
            consented: self.consented,
            given_up: self.given_up,
            nonces_unused: self.nonces_unused,
            settled: keeping.settled(),
            overdue: keeping.overdue(),
        })
    }

    /// What a record holds.
    pub fn restore(record: &pb::SessionRecord) -> Self {
        Self {
            attempts_used: record.attempts_used,
            partial_sent: record.partial_sent || record.attempts_used > 0 && !record.nonces_unused,
            nonces_unused: record.nonces_unused,
            closed: record.closed,
            given_up: record.given_up,
            ending: Ending::from_number(record.ending).filter(|_| !mutation::on(Mutation::EndingForgotten)),
            foreign_envelope: record.foreign_envelope,
            consented: record.consented,
            pending: record
                .pending_events
                .iter()
                .filter_map(|kind| DurableKind::from_number(*kind))
                .collect(),
        }
    }

    pub fn pack(&self) -> PackedStored {
        PackedStored {
            attempts_used: self.attempts_used,
            flags: bits([
                self.partial_sent,
                self.closed,
                self.foreign_envelope,
                self.consented,
                self.given_up,
                self.nonces_unused,
            ]),
            ending: self.ending.map_or(0, |ending| ending as u32),
            pending: self.pending.iter().map(|kind| *kind as u8).collect(),
        }
    }

    pub fn unpack(packed: &PackedStored) -> Self {
        let [partial_sent, closed, foreign_envelope, consented, given_up, nonces_unused] =
            flags(packed.flags);
        let kinds = packed.pending.iter().filter_map(|kind| DurableKind::from_number((*kind).into()));
        Self {
            attempts_used: packed.attempts_used,
            partial_sent,
            nonces_unused,
            closed,
            given_up,
            ending: Ending::from_number(packed.ending),
            foreign_envelope,
            consented,
            pending: kinds.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::SessionId;

    fn full() -> Stored {
        let mut stored = Stored { partial_sent: true, consented: true, ..Stored::default() };
        stored.use_attempt(2);
        stored.ending = Some(Ending::Aborted);
        assert!(stored.add_pending(DurableKind::Aborted) && stored.add_pending(DurableKind::KeyInUse));
        stored
    }

    #[test]
    fn a_record_and_a_packed_form_give_the_same_again() {
        let keeping = Keeping::new(SessionId([1; 32]), Duration::ZERO);
        for stored in [
            Stored::default(),
            full(),
            Stored { closed: true, foreign_envelope: true, given_up: true, ..full() },
        ] {
            let record: pb::SessionRecord =
                wire::decode(&stored.store(None, &keeping), "the record").expect("canonical");
            assert_eq!(Stored::restore(&record), stored);
            assert_eq!(Stored::unpack(&stored.pack()), stored);
        }
    }

    #[test]
    fn an_attempt_that_was_used_counts_as_a_partial_signature_after_a_restart() {
        let restarted = |stored: &Stored| {
            let keeping = Keeping::new(SessionId([1; 32]), Duration::ZERO);
            let record = wire::decode(&stored.store(None, &keeping), "the record").expect("canonical");
            Stored::restore(&record)
        };
        let mut stored = Stored::default();
        assert!(!restarted(&stored).partial_sent);
        stored.use_attempt(0);
        assert!(!stored.partial_sent && restarted(&stored).partial_sent);
        stored.stop_signing();
        assert!(!restarted(&stored).partial_sent, "none left before it stopped");
        stored.use_attempt(1);
        stored.partial_sent = true;
        stored.stop_signing();
        assert!(restarted(&stored).partial_sent);
    }

    #[test]
    fn an_earlier_attempt_and_a_second_event_of_a_kind_change_nothing() {
        let mut stored = full();
        stored.use_attempt(0);
        assert_eq!(stored.attempts_used, 3);
        assert!(!stored.add_pending(DurableKind::Aborted));
        assert_eq!(stored, full());
        assert!(stored.remove_pending(&[DurableKind::Aborted, DurableKind::Lost]));
        assert!(!stored.remove_pending(&[DurableKind::Aborted]));
        assert_eq!(stored.pending(), [DurableKind::KeyInUse]);
    }
}
