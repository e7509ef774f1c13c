//! The start of a node: from settings to a running one.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};

use super::callback::UserData;
use super::config::musig_config;
use super::error::musig_error;
use super::event::musig_event;
use super::failure::Outcome;
use super::handle::{into_handle, release};
use super::log::{LINES, Sink};
use super::node::{Started, musig_node};
use super::reaper;
use super::settings::{Settings, Store};
use super::status::musig_status;
use crate::error::Error;
use crate::event::KeepEvent;
use crate::event::lane::Lane;
use crate::net::NetworkConfig;
use crate::node::{Node, NodeBuilder, RuntimeProfile, runtime};
use crate::store::memory::MemoryStore;

/// Where a handler finds the node that it belongs to.
type Slot = Arc<OnceLock<Weak<musig_node>>>;

/// Where a node's log goes, and the thread that it goes by.
type Log = (tracing::Dispatch, Arc<Lane>);

/// Sets what has a value, and leaves the default otherwise.
fn set<T>(builder: NodeBuilder, value: Option<T>, with: fn(NodeBuilder, T) -> NodeBuilder) -> NodeBuilder {
    match value {
        Some(value) => with(builder, value),
        None => builder,
    }
}

/// The settings of the network. Those for phones replace all others, so they come first.
fn with_network(settings: &Settings, mut builder: NodeBuilder) -> NodeBuilder {
    if settings.mobile {
        builder = builder.network(NetworkConfig::mobile());
    }
    for address in &settings.listen {
        builder = builder.listen(address);
    }
    for address in &settings.peers {
        builder = builder.peer(address);
    }
    for address in &settings.bootstrap_peers {
        builder = builder.bootstrap_peer(address);
    }
    for address in &settings.relays {
        builder = builder.relay(address);
    }
    for address in &settings.external {
        builder = builder.external(address);
    }
    if let Some(proxy) = &settings.proxy {
        builder = builder.proxy(proxy);
    }
    builder = set(builder, settings.dht, |builder, mode| builder.dht(mode.into()));
    if settings.mdns {
        builder = builder.mdns(true);
    }
    builder = set(builder, settings.hides, |builder, on| builder.hides(on));
    builder = set(builder, settings.max_connections, NodeBuilder::max_connections);
    builder = set(builder, settings.max_connections_per_ip, NodeBuilder::max_connections_per_ip);
    if settings.offline { builder.offline() } else { builder }
}

/// Sets the application's callbacks. Answers what is destroyed after the node.
fn with_callbacks(
    settings: &Settings,
    mut builder: NodeBuilder,
    slot: &Slot,
) -> (NodeBuilder, Vec<Arc<UserData>>) {
    let mut foreign = Vec::new();
    if let Some((object, data)) = &settings.broadcaster {
        foreign.extend(data.clone());
        builder = builder.broadcaster(object.clone());
    }
    if let Some((object, data)) = &settings.observer {
        foreign.extend(data.clone());
        builder = builder.observer(object.clone());
    }
    if let Some((Some(handler), data)) = &settings.handler {
        foreign.push(data.clone());
        let (handler, data, slot) = (*handler, data.clone(), slot.clone());
        builder = builder.event_handler(move |event| {
            // Set as soon as the node has started. When its last reference is gone, the node is about to stop.
            let Some(node) = slot.wait().upgrade() else { return Err(KeepEvent) };
            let event = into_handle(musig_event::new(event.clone()));
            // SAFETY: the handler is of this type, and node and event live for the call.
            let result = unsafe { handler(data.pointer(), Arc::as_ptr(&node).cast_mut(), event) };
            // SAFETY: the reference that was made above.
            unsafe { release(event) };
            if result == 0 { Ok(()) } else { Err(KeepEvent) }
        });
    }
    (builder, foreign)
}

fn start_log(settings: &Settings, profile: RuntimeProfile) -> Outcome<Option<Log>> {
    let Some((table, data)) = &settings.log else { return Ok(None) };
    let lane = Lane::spawn("log", LINES, runtime::handle(profile)?)
        .map_err(|error| Error::Config(format!("no thread could be started: {error}")))?;
    let lane = Arc::new(lane);
    let sink = Sink { table: *table, data: data.clone(), lane: lane.clone(), spans: AtomicU64::new(1) };
    Ok(Some((tracing::Dispatch::new(sink), lane)))
}

fn start_with(settings: &Settings, slot: &Slot) -> Outcome<Started> {
    let mut builder = Node::builder();
    builder = set(builder, settings.signer.clone(), NodeBuilder::shared_signer);
    builder = set(builder, settings.foreign_signer.clone(), |builder, signer| builder.foreign_signer(signer));
    #[cfg(feature = "bitcoin")]
    {
        builder = set(builder, settings.psbt_signer.clone(), NodeBuilder::psbt_signer);
    }
    builder = match &settings.store {
        Some(Store::Path(path)) => builder.store_path(path),
        Some(Store::Memory) => builder.store(MemoryStore::new()),
        None => builder,
    };
    if settings.without_observer {
        builder = builder.without_observer();
    }
    builder = with_network(settings, builder);
    builder = set(builder, settings.final_depth, NodeBuilder::final_depth);
    builder = builder.early_turns(settings.early_turns);
    builder = set(builder, settings.claims, NodeBuilder::claims);
    builder = set(builder, settings.nacks, NodeBuilder::nacks);
    builder = set(builder, settings.stall_after, NodeBuilder::stall_after);
    builder = set(builder, settings.clock_skew, NodeBuilder::clock_skew);
    builder = builder.accepted_proposers(settings.accepted_proposers.clone());
    builder = set(builder, settings.max_sessions, NodeBuilder::max_sessions);
    let profile = if settings.small_runtime { RuntimeProfile::Small } else { RuntimeProfile::Default };
    let (mut builder, mut foreign) = with_callbacks(settings, builder.runtime(profile), slot);
    let log = start_log(settings, profile)?;
    if let Some((dispatch, _)) = &log {
        builder = builder.tracing(dispatch.clone());
    }
    foreign.extend(settings.log.iter().map(|(_, data)| data.clone()));
    match builder.start() {
        Ok(node) => {
            let log = log.map(|(dispatch, lane)| {
                tracing::dispatcher::with_default(&dispatch, || {
                    tracing::info!(signer = %node.signer_key(), peer = node.peer_id(), "the node started");
                });
                lane
            });
            Ok(Started { node, foreign, log })
        }
        Err(error) => {
            // The sink may be used again, by another node.
            if let Some((_, lane)) = log {
                let _ = lane.stop_and_join();
            }
            Err(error.into())
        }
    }
}

/// Starts a node: opens its store, resumes its sessions, and connects.
///
/// Unacknowledged durable events are redelivered. The handler may be called before this function returns.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG if the configuration is incomplete or contradicts itself;
///          MUSIG_STATUS_CONFIG_USED; MUSIG_STATUS_STORE_IN_USE and other statuses of the store;
///          MUSIG_STATUS_NETWORK; MUSIG_STATUS_FORKED. On failure the configuration can be corrected and used again.
/// Out:     out: the node; release it with musig_node_free.
/// In:      config: the configuration, which is consumed on success.
/// Blocks:  until the store is loaded, and for one commit.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_start(
    out: *mut *mut musig_node,
    config: *const musig_config,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, config) = (out!(out), get!(config));
        reaper::start()?;
        let slot = Slot::default();
        let started = config.use_up(|settings| start_with(settings, &slot))?;
        let node = Arc::new(musig_node::new(started));
        let _ = slot.set(Arc::downgrade(&node));
        out.set(Arc::into_raw(node).cast_mut());
        Ok(())
    })
}
