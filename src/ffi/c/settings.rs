//! The settings of a configuration: plain data. `start.rs` starts a node with them.

use std::sync::Arc;
use std::time::Duration;

use super::callback::UserData;
use super::delivery::musig_event_handler;
use super::enums::musig_dht_mode;
use super::log::musig_log_sink;
use super::signer::Foreign;
use crate::chain::{Broadcaster, ChainObserver};
use crate::protocol::EarlyTurns;
use crate::protocol::consent::AcceptedProposers;
use crate::signer::LocalSigner;

/// Where a node keeps its sessions.
#[derive(Clone)]
pub(super) enum Store {
    Path(String),
    Memory,
}

/// What an application gave, and its user data, if it is in C.
pub(super) type WithUserData<T> = (Arc<T>, Option<Arc<UserData>>);

/// The settings of a node to be. What is `None` has the default of [`NodeBuilder`](crate::node::NodeBuilder).
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub signer: Option<Arc<LocalSigner>>,
    pub foreign_signer: Option<Arc<Foreign>>,
    #[cfg(feature = "bitcoin")]
    pub psbt_signer: Option<Arc<crate::chain::psbt::PsbtSigner>>,
    pub store: Option<Store>,
    /// With the data of its callbacks, if it has callbacks.
    pub broadcaster: Option<WithUserData<dyn Broadcaster>>,
    pub observer: Option<WithUserData<dyn ChainObserver>>,
    pub without_observer: bool,
    pub handler: Option<(musig_event_handler, Arc<UserData>)>,
    pub log: Option<(musig_log_sink, Arc<UserData>)>,
    pub offline: bool,
    pub mobile: bool,
    pub listen: Vec<String>,
    pub peers: Vec<String>,
    pub bootstrap_peers: Vec<String>,
    pub relays: Vec<String>,
    pub external: Vec<String>,
    pub proxy: Option<String>,
    pub dht: Option<musig_dht_mode>,
    pub mdns: bool,
    pub hides: Option<bool>,
    pub max_connections: Option<u32>,
    pub max_connections_per_ip: Option<u32>,
    pub final_depth: Option<u32>,
    pub early_turns: EarlyTurns,
    pub claims: Option<bool>,
    pub nacks: Option<bool>,
    pub stall_after: Option<Duration>,
    pub clock_skew: Option<Duration>,
    pub max_sessions: Option<usize>,
    pub accepted_proposers: AcceptedProposers,
    pub small_runtime: bool,
}
