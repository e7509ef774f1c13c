//! What an engine lends to each of its sessions.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::counters::Counters;
use crate::protocol::crypto::Scheme;
use crate::protocol::failover::Pace;
use crate::protocol::reputation::Reputations;
use crate::protocol::session::context::Context;
use crate::protocol::transaction::TransactionCodec;
use crate::protocol::{Output, Settings, Ticket};
use crate::types::{SignerKey, Time};

/// The settings and services of a node, its connections, and its outputs.
#[derive(Debug)]
pub struct Host {
    pub settings: Settings,
    pub scheme: Arc<dyn Scheme>,
    pub codec: Arc<dyn TransactionCodec>,
    pub connected: HashSet<SignerKey>,
    /// When each signer was last heard from, by the monotonic clock.
    pub heard: HashMap<SignerKey, Duration>,
    /// Since when each signer is connected, or is not after it was, by the monotonic clock.
    pub changed: HashMap<SignerKey, Duration>,
    /// Connected signers that do not answer.
    pub silent: HashSet<SignerKey>,
    pub outputs: VecDeque<Output>,
    pub counters: Counters,
    /// How other signers broadcast, as this node saw it.
    pub reputations: Reputations,
    pub pace: Pace,
    tickets: Ticket,
    relayed: Vec<SignerKey>,
}

impl Host {
    pub fn new(settings: Settings, scheme: Arc<dyn Scheme>, codec: Arc<dyn TransactionCodec>) -> Self {
        Self {
            settings,
            scheme,
            codec,
            connected: HashSet::new(),
            heard: HashMap::new(),
            changed: HashMap::new(),
            silent: HashSet::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            reputations: Reputations::default(),
            pace: Pace::default(),
            tickets: 0,
            relayed: Vec::new(),
        }
    }

    /// Lends all of it to a session, for one call.
    pub fn lend(&mut self, now: Time) -> Context<'_> {
        Context {
            now,
            settings: &self.settings,
            scheme: self.scheme.as_ref(),
            codec: self.codec.as_ref(),
            heard: &self.heard,
            changed: &self.changed,
            connected: &self.connected,
            silent: &self.silent,
            tickets: &mut self.tickets,
            counters: &mut self.counters,
            reputations: &mut self.reputations,
            pace: &mut self.pace,
            outputs: &mut self.outputs,
            relayed: &mut self.relayed,
        }
    }

    /// The signers of whom something new came through others since the last call.
    pub fn take_relayed(&mut self) -> Vec<SignerKey> {
        std::mem::take(&mut self.relayed)
    }
}
