//! A digest of all that the engines of a cluster do, for runs that are to be equal to the last byte.

use std::time::Duration;

use libmusig::protocol::event::SessionEvent;
use libmusig::protocol::{Durability, Output, SessionChange};

/// A hash of each output of each engine, in order: its kind, when and by which node it was made, every byte of its
/// frame or records, the full text of its event. And of what the disks synced.
///
/// Names of types show in the text of events alone.
pub struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// The digest of what was added so far.
    pub fn digest(&self) -> u64 {
        self.0
    }

    /// Words and not bytes, for this is done with every frame that is sent.
    pub fn number(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let words = bytes.chunks_exact(8);
        words.remainder().iter().for_each(|byte| self.number(u64::from(*byte)));
        words.for_each(|word| self.number(u64::from_le_bytes(word.try_into().expect("eight bytes"))));
    }

    /// A commit that is on the disk from now on.
    pub fn sync(&mut self, node: usize, commit: u64) {
        self.number(100);
        self.number(node as u64);
        self.number(commit);
    }

    /// An output, in the order in which its engine made it.
    pub fn output(&mut self, node: usize, at: Duration, output: &Output) {
        self.number(node as u64);
        self.number(at.as_micros() as u64);
        output.session().iter().for_each(|session| self.bytes(&session.0));
        match output {
            Output::Persist { changes, durability, .. } => {
                self.number(1);
                self.number(u64::from(*durability == Durability::Synced));
                changes.iter().for_each(|change| self.record(change));
            }
            Output::Send { to, frame, .. } => {
                self.number(2);
                self.bytes(to.as_bytes());
                self.bytes(frame);
            }
            Output::Sign { .. } => self.number(3),
            Output::Forget { attempt, .. } => {
                self.number(4);
                self.number(u64::from(*attempt));
            }
            Output::CheckKeys { .. } => self.number(11),
            Output::Submit { transaction, .. } => {
                self.number(5);
                self.bytes(&transaction.bytes);
            }
            Output::Observe { query, .. } => {
                self.number(6);
                self.bytes(&query.txid.0);
            }
            Output::Coins { coins, .. } => {
                self.number(9);
                coins.iter().for_each(|coin| self.bytes(&coin.txid.0));
            }
            Output::Tip { coins, .. } => {
                self.number(10);
                coins.iter().for_each(|coin| self.bytes(&coin.txid.0));
            }
            Output::Event { event } => {
                self.number(7);
                self.event(event);
            }
            Output::Done { request, result, .. } => {
                self.number(8);
                self.number(*request);
                self.number(u64::from(result.is_ok()));
            }
        }
    }

    fn event(&mut self, event: &SessionEvent) {
        self.number(event.durable.map_or(0, |kind| kind as u64));
        self.bytes(format!("{:?}", event.event).as_bytes());
    }

    fn record(&mut self, record: &SessionChange) {
        match record {
            SessionChange::Proposal(bytes) => self.tagged(1, bytes),
            SessionChange::State(bytes) => self.tagged(2, bytes),
            SessionChange::Certificate(bytes) => self.tagged(3, bytes),
            SessionChange::Envelope(id, bytes) => {
                self.tagged(4, &id.0);
                self.bytes(bytes);
            }
            SessionChange::DropEnvelope(id) => self.tagged(5, &id.0),
            SessionChange::DropSession => self.number(6),
            SessionChange::Ended(at) => self.tagged(7, &at.0.to_le_bytes()),
            SessionChange::Answered(record) => self.tagged(8, record),
            SessionChange::Pace(record) => self.tagged(9, record),
        }
    }

    fn tagged(&mut self, tag: u64, bytes: &[u8]) {
        self.number(tag);
        self.bytes(bytes);
    }
}
