//! What a session borrows from its host for one call.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::contacts::Contacts;
use crate::mutation::{self, Mutation};
use crate::protocol::counters::Counters;
use crate::protocol::crypto::Scheme;
use crate::protocol::failover::Pace;
use crate::protocol::reputation::Reputations;
use crate::protocol::transaction::TransactionCodec;
use crate::protocol::{Output, Settings, Ticket};
use crate::types::{SignerKey, Time};

/// The host's services, and the time.
pub struct Context<'a> {
    pub now: Time,
    pub settings: &'a Settings,
    pub scheme: &'a dyn Scheme,
    pub codec: &'a dyn TransactionCodec,
    /// When each signer was last heard from, by the monotonic clock.
    pub heard: &'a HashMap<SignerKey, Duration>,
    /// Since when each signer is connected, or is not after it was, by the monotonic clock.
    pub changed: &'a HashMap<SignerKey, Duration>,
    pub connected: &'a HashSet<SignerKey>,
    /// Connected signers that do not answer.
    pub silent: &'a HashSet<SignerKey>,
    pub tickets: &'a mut Ticket,
    pub counters: &'a mut Counters,
    pub reputations: &'a mut Reputations,
    pub pace: &'a mut Pace,
    pub outputs: &'a mut VecDeque<Output>,
    /// Signers of whom something new came through others.
    pub relayed: &'a mut Vec<SignerKey>,
}

impl Context<'_> {
    /// Whether a signer is connected, and answers as far as it is asked.
    pub fn reaches(&self, signer: &SignerKey) -> bool {
        let silent = self.silent.contains(signer) && !mutation::on(Mutation::SilenceIsIgnored);
        self.connected.contains(signer) && !silent
    }

    /// The node's connections.
    pub fn contacts(&self) -> Contacts<'_> {
        Contacts { now: self.now, connected: self.connected, heard: self.heard }
    }
}
