//! What a node is started with.

use std::ffi::{c_char, c_void};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::boundary::{Failure, Outcome, add_reference, into_handle, release, simple};
use super::callback::{UserData, musig_destroy};
use super::chain::{ForeignBroadcaster, ForeignObserver, musig_broadcaster, musig_chain_observer};
use super::error::musig_error;
use super::event::musig_event;
use super::log::{LINES, Sink, musig_log_sink};
use super::network::Network;
use super::node::musig_node;
use super::option::Numbers;
use super::signer::{Kind, musig_signer};
use super::status::{musig_status, musig_status_code};
use crate::error::Error;
use crate::event::KeepEvent;
use crate::event::lane::Lane;
use crate::net::Multiaddr;
use crate::node::{Node, NodeBuilder, runtime};
use crate::store::memory::MemoryStore;

/// What a node is started with. It can be filled by any thread, and is used up by the node that starts with it.
pub struct musig_config(Mutex<Option<Settings>>);

/// Gets each event of a node, one at a time, in order, on a thread of the library. The node and the event live for the
/// length of the call; take references to keep them. Returning 0 acknowledges the event; any other number keeps a
/// durable one, which comes again after a restart or musig_node_redeliver. Should be idempotent. It may block, which
/// delays no signing, and may call every function, but musig_node_stop of this node returns
/// MUSIG_STATUS_WOULD_DEADLOCK. No exception may leave it.
pub type musig_event_handler = Option<
    unsafe extern "C" fn(user_data: *mut c_void, node: *mut musig_node, event: *mut musig_event) -> i32,
>;

#[derive(Clone)]
enum Store {
    Path(String),
    Memory,
}

/// Plain data, so that a start that fails leaves the configuration as it was.
#[derive(Clone, Default)]
struct Settings {
    signer: Option<Kind>,
    store: Option<Store>,
    listen: Vec<String>,
    peers: Vec<String>,
    network: Network,
    offline: bool,
    without_observer: bool,
    broadcaster: Option<Arc<ForeignBroadcaster>>,
    observer: Option<Arc<ForeignObserver>>,
    handler: Option<(musig_event_handler, Arc<UserData>)>,
    log: Option<(musig_log_sink, Arc<UserData>)>,
    numbers: Numbers,
}

impl musig_config {
    fn lock(&self) -> MutexGuard<'_, Option<Settings>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a setting. What it replaces is dropped after the lock, for that may enter foreign code.
    fn change<T>(&self, change: impl FnOnce(&mut Settings) -> T) -> Outcome {
        let replaced = match self.lock().as_mut() {
            Some(settings) => change(settings),
            None => return Err(used()),
        };
        drop(replaced);
        Ok(())
    }

    pub(super) fn change_numbers(&self, change: impl FnOnce(&mut Numbers)) -> Outcome {
        self.change(|settings| change(&mut settings.numbers))
    }

    pub(super) fn change_network(&self, change: impl FnOnce(&mut Network)) -> Outcome {
        self.change(|settings| change(&mut settings.network))
    }
}

fn used() -> Failure {
    Failure::new(musig_status_code::CONFIG_USED, "a node was started with this configuration; make a new one")
}

pub(super) fn multiaddress(address: &str) -> Outcome<String> {
    match address.parse::<Multiaddr>() {
        Ok(_) => Ok(address.to_owned()),
        Err(error) => Err(Failure::invalid(format!(
            "{address} is no multiaddress ({error}); write it like /ip4/192.0.2.1/tcp/4001"
        ))),
    }
}

/// What the node of C keeps beside the node, to end it.
pub(super) struct Started {
    pub node: Node,
    pub foreign: Vec<Arc<UserData>>,
    pub log: Option<Arc<Lane>>,
}

/// Where a node's log goes, and the thread that it goes by.
type Log = (tracing::Dispatch, Arc<Lane>);

/// A node to be, what is destroyed after it, and its log.
type Prepared = (NodeBuilder, Vec<Arc<UserData>>, Option<Log>);

/// Where a handler finds the node that it belongs to.
pub(super) type Slot = Arc<OnceLock<Weak<musig_node>>>;

impl Settings {
    fn builder(&self, slot: &Slot) -> Outcome<Prepared> {
        let mut builder = Node::builder();
        let mut foreign = Vec::new();
        builder = match &self.signer {
            Some(Kind::Local(signer)) => builder.shared_signer(signer.clone()),
            Some(Kind::Foreign(signer)) => builder.foreign_signer(signer.clone()),
            None => builder,
        };
        builder = match &self.store {
            Some(Store::Path(path)) => builder.store_path(path),
            Some(Store::Memory) => builder.store(MemoryStore::new()),
            None => builder,
        };
        builder = self.network.begin(builder);
        for address in &self.listen {
            builder = builder.listen(address);
        }
        for address in &self.peers {
            builder = builder.peer(address);
        }
        builder = self.network.apply(builder);
        if self.offline {
            builder = builder.offline();
        }
        if self.without_observer {
            builder = builder.without_observer();
        }
        if let Some(object) = &self.broadcaster {
            foreign.push(object.data.clone());
            builder = builder.broadcaster(object.clone());
        }
        if let Some(object) = &self.observer {
            foreign.push(object.data.clone());
            builder = builder.observer(object.clone());
        }
        if let Some((Some(handler), data)) = &self.handler {
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
        builder = self.numbers.apply(builder);
        let profile = self.numbers.profile();
        let mut log = None;
        if let Some((table, data)) = &self.log {
            let lane = Lane::spawn("log", LINES, runtime::handle(profile)?)
                .map_err(|error| Error::Config(format!("no thread could be started: {error}")))?;
            let lane = Arc::new(lane);
            foreign.push(data.clone());
            let sink =
                Sink { table: *table, data: data.clone(), lane: lane.clone(), spans: AtomicU64::new(1) };
            let dispatch = tracing::Dispatch::new(sink);
            builder = builder.tracing(dispatch.clone());
            log = Some((dispatch, lane));
        }
        Ok((builder, foreign, log))
    }
}

/// Starts a node. The configuration is used up if that succeeds.
pub(super) fn start(config: &musig_config, slot: &Slot) -> Outcome<Started> {
    // Taken out meanwhile, so that a configuration starts one node; and not under its lock, for callbacks may use it.
    let settings = config.lock().take().ok_or_else(used)?;
    let started = start_with(&settings, slot);
    if started.is_err() {
        *config.lock() = Some(settings);
    }
    started
}

fn start_with(settings: &Settings, slot: &Slot) -> Outcome<Started> {
    let (builder, foreign, log) = settings.builder(slot)?;
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

/// Makes an empty configuration.
///
/// A node needs a signer, a store, and an observer or musig_config_set_without_observer.
///
/// Returns: MUSIG_STATUS_OK.
/// Out:     out: the configuration; give it up with musig_config_free.
///          error: why it failed; may be NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_new(
    out: *mut *mut musig_config,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        out!(out).give(musig_config(Mutex::new(Some(Settings::default()))));
        Ok(())
    })
}

/// Sets the signer of a node.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
///          signer: the signer; the configuration takes a reference of its own.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_signer(
    config: *const musig_config,
    signer: *const musig_signer,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, signer) = (get!(config), get!(signer));
        let kind = signer.0.clone();
        config.change(|settings| settings.signer.replace(kind))
    })
}

/// Sets the file in which a node keeps its sessions.
///
/// One node at a time may have it open. It is made if it does not exist.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
///          path: the path of the file, in UTF-8.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_store_path(
    config: *const musig_config,
    path: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, path) = (get!(config), text!(path).to_owned());
        config.change(|settings| settings.store = Some(Store::Path(path)))
    })
}

/// Keeps sessions in memory only.
///
/// A node that restarts without its store can sign, but not take up its sessions. For tests.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_store_memory(
    config: *const musig_config,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { get!(config).change(|settings| settings.store = Some(Store::Memory)) })
}

/// Adds an address to listen on.
///
/// The first one replaces the default, a free port on every interface.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is no multiaddress; MUSIG_STATUS_CONFIG_USED.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
///          address: a multiaddress such as "/ip4/0.0.0.0/tcp/4001".
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_add_listen_address(
    config: *const musig_config,
    address: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, address) = (get!(config), multiaddress(text!(address))?);
        config.change(|settings| settings.listen.push(address))
    })
}

/// Adds the address of a peer to connect to, and to connect to again whenever it is not connected.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is no multiaddress; MUSIG_STATUS_CONFIG_USED.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
///          address: a multiaddress such as "/ip4/192.0.2.1/tcp/4001".
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_add_peer_address(
    config: *const musig_config,
    address: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, address) = (get!(config), multiaddress(text!(address))?);
        config.change(|settings| settings.peers.push(address))
    })
}

/// Starts without a network: sessions go by musig_session_export and musig_node_import alone.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_offline(
    config: *const musig_config,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { get!(config).change(|settings| settings.offline = true) })
}

/// Sets what submits transactions when this node's turn comes.
///
/// Without one the application acts on MUSIG_EVENT_SHOULD_BROADCAST.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is missing; MUSIG_STATUS_CONFIG_USED. Only
///          with MUSIG_STATUS_OK does user_data pass over.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
///          broadcaster: the table, which is copied.
///          user_data: handed to each callback; may be NULL.
///          destroy: called with user_data after the last callback; may be NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_broadcaster(
    config: *const musig_config,
    broadcaster: *const musig_broadcaster,
    user_data: *mut c_void,
    destroy: musig_destroy,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, table) = (get!(config), sized!(broadcaster));
        if table.submit.is_none() {
            return Err(Failure::invalid("broadcaster lacks submit"));
        }
        config.change(|settings| {
            let data = Arc::new(UserData::new(user_data, destroy));
            settings.broadcaster.replace(Arc::new(ForeignBroadcaster { table, data }))
        })
    })
}

/// Sets what looks at the chain, and so decides when a watch pauses and ends.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is missing; MUSIG_STATUS_CONFIG_USED. Only
///          with MUSIG_STATUS_OK does user_data pass over.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
///          observer: the table, which is copied.
///          user_data: handed to each callback; may be NULL.
///          destroy: called with user_data after the last callback; may be NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_observer(
    config: *const musig_config,
    observer: *const musig_chain_observer,
    user_data: *mut c_void,
    destroy: musig_destroy,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, table) = (get!(config), sized!(observer));
        if table.status.is_none() {
            return Err(Failure::invalid("observer lacks status"));
        }
        config.change(|settings| {
            let data = Arc::new(UserData::new(user_data, destroy));
            settings.observer.replace(Arc::new(ForeignObserver { table, data }))
        })
    })
}

/// Makes the application the observer: it looks at the chain, and calls musig_session_notify_broadcast_complete.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_without_observer(
    config: *const musig_config,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { get!(config).change(|settings| settings.without_observer = true) })
}

/// Sets the handler of events.
///
/// Without one, events are taken by musig_node_next_event.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED. Only with MUSIG_STATUS_OK does user_data pass over.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
///          handler: the callback.
///          user_data: handed to each callback; may be NULL.
///          destroy: called with user_data after the last callback; may be NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_event_handler(
    config: *const musig_config,
    handler: musig_event_handler,
    user_data: *mut c_void,
    destroy: musig_destroy,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let config = get!(config);
        if handler.is_none() {
            return Err(Failure::new(musig_status_code::NULL_ARGUMENT, "handler is NULL"));
        }
        config.change(|settings| {
            settings.handler.replace((handler, Arc::new(UserData::new(user_data, destroy))))
        })
    })
}

/// Sets where the log of a node goes.
///
/// Without one there is none. The library never writes to a stream of the process.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is missing or the level is none;
///          MUSIG_STATUS_CONFIG_USED. Only with MUSIG_STATUS_OK does user_data pass over.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
///          sink: the table, which is copied.
///          user_data: handed to each callback; may be NULL.
///          destroy: called with user_data after the last callback; may be NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_log_sink(
    config: *const musig_config,
    sink: *const musig_log_sink,
    user_data: *mut c_void,
    destroy: musig_destroy,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, table) = (get!(config), sized!(sink));
        if table.log.is_none() {
            return Err(Failure::invalid("sink lacks log"));
        }
        if !(1..=5).contains(&table.level) {
            return Err(Failure::invalid("sink has a level that is no musig_log_level"));
        }
        config.change(|settings| settings.log.replace((table, Arc::new(UserData::new(user_data, destroy)))))
    })
}

/// Takes one more reference to a configuration.
///
/// Returns: the same pointer.
/// In:      config: the configuration; NULL stays NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_ref(config: *mut musig_config) -> *mut musig_config {
    // SAFETY: the header asks for a configuration with a reference, or NULL.
    simple(config, || unsafe { add_reference(config) })
}

/// Gives up one reference to a configuration; the last one frees it, and destroys the user_data of callbacks that no
/// node took over.
///
/// In:      config: the configuration; nothing is done for NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_free(config: *mut musig_config) {
    // SAFETY: the header asks for a configuration with a reference, or NULL.
    unsafe { release(config) }
}
