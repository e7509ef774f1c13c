//! The configuration of a node.

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::boundary::{MOST_PROPOSERS, choice, flag, signer_keys, total};
use super::callback::{UserData, musig_destroy};
use super::chain::{ForeignBroadcaster, ForeignObserver, musig_broadcaster, musig_chain_observer};
use super::delivery::musig_event_handler;
use super::enums::{Enumeration, musig_log_level, musig_option};
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::{add_reference, release};
use super::log::musig_log_sink;
use super::settings::{Settings, Store};
use super::signer::{Kind, musig_signer};
use super::status::{musig_status, musig_status_code};
use crate::net::{Purpose, parse_through};
use crate::protocol::consent::AcceptedProposers;
use crate::types::proxy::ProxyAddress;

/// The configuration of a node. Any thread may fill it; starting a node consumes it.
pub struct musig_config(Mutex<Option<Settings>>);

impl musig_config {
    fn lock(&self) -> MutexGuard<'_, Option<Settings>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a setting. What it replaces is dropped after the lock, for that may enter foreign code.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Settings) -> T) -> Outcome {
        let replaced = match self.lock().as_mut() {
            Some(settings) => change(settings),
            None => return Err(used()),
        };
        drop(replaced);
        Ok(())
    }

    /// Starts something with the settings, which are used up if that succeeds.
    pub(super) fn use_up<T>(&self, start: impl FnOnce(&Settings) -> Outcome<T>) -> Outcome<T> {
        // Taken out meanwhile, so that they start one node; and not under the lock, for callbacks may use it.
        let settings = self.lock().take().ok_or_else(used)?;
        let started = start(&settings);
        if started.is_err() {
            *self.lock() = Some(settings);
        }
        started
    }
}

fn used() -> Failure {
    Failure::new(
        musig_status_code::CONFIG_USED,
        "a node was started with this configuration; create another one with musig_config_new",
    )
}

fn multiaddress(text: &str, purpose: Purpose) -> Outcome<String> {
    // Whether a proxy dials it is known at the start.
    parse_through(text, purpose, true).map(|address| address.to_string()).map_err(Failure::invalid)
}

/// Creates an empty configuration.
///
/// A node needs a signer, a store, and an observer or musig_config_set_without_observer.
///
/// Returns: MUSIG_STATUS_OK.
/// Out:     out: the configuration; release it with musig_config_free.
#[must_use]
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

/// Sets the signer of a node, which holds its identity key.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks, which is set by
///          musig_config_set_foreign_signer beside another one.
/// In:      config: the configuration.
///          signer: the signer; the configuration takes a reference of its own.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_signer(
    config: *const musig_config,
    signer: *const musig_signer,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, signer) = (get!(config), get!(signer));
        let Kind::Local(signer) = signer.0.clone() else {
            return Err(Failure::new(
                musig_status_code::NOT_LOCAL,
                "this signer consists of callbacks and has no identity key; set it by musig_config_set_foreign_signer, \
                 beside one of musig_signer_new",
            ));
        };
        config.change(|settings| settings.signer.replace(signer))
    })
}

/// Sets the foreign signer of a node, which holds participant keys.
///
/// The node asks the signer of musig_config_set_signer first, and this one for all other keys. With it the identity key
/// signs no session.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED; MUSIG_STATUS_INVALID_ARGUMENT for a signer that does not consist of
///          callbacks.
/// In:      config: the configuration.
///          signer: a signer of musig_signer_from_callbacks; the configuration takes a reference of its own.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_foreign_signer(
    config: *const musig_config,
    signer: *const musig_signer,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, signer) = (get!(config), get!(signer));
        let Kind::Foreign(signer) = signer.0.clone() else {
            return Err(Failure::invalid(
                "this signer does not consist of callbacks; set it by musig_config_set_signer",
            ));
        };
        config.change(|settings| settings.foreign_signer.replace(signer))
    })
}

/// Sets the file that stores a node's sessions.
///
/// Only one node at a time can open it. It is created if it does not exist.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
///          path: the path of the file, in UTF-8.
#[must_use]
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

/// Keeps sessions in memory only, for tests.
///
/// After a restart without its store a node can sign, but not resume its sessions.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_store_memory(
    config: *const musig_config,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { get!(config).change(|settings| settings.store = Some(Store::Memory)) })
}

/// Adds an address to listen on.
///
/// The first one replaces the default, an ephemeral port on all interfaces.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is not a multiaddress; MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
///          address: a multiaddress such as "/ip4/0.0.0.0/tcp/4001".
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_add_listen_address(
    config: *const musig_config,
    address: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, address) = (get!(config), multiaddress(text!(address), Purpose::Listen)?);
        config.change(|settings| settings.listen.push(address))
    })
}

/// Adds the address of a peer to dial, and to redial whenever it is disconnected.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is not a multiaddress; MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
///          address: a multiaddress such as "/ip4/192.0.2.1/tcp/4001".
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_add_peer_address(
    config: *const musig_config,
    address: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, address) = (get!(config), multiaddress(text!(address), Purpose::Dial)?);
        config.change(|settings| settings.peers.push(address))
    })
}

/// Adds a bootstrap peer: a server of the distributed hash table in which signers find each other by their keys.
///
/// The node dials it at the start, and redials it whenever it is disconnected. It need not be a signer.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is not a multiaddress that ends with a peer id;
///          MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
///          address: a multiaddress such as "/dns4/relay.example/tcp/4001/p2p/12D3KooW...".
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_add_bootstrap_address(
    config: *const musig_config,
    address: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, address) = (get!(config), multiaddress(text!(address), Purpose::DialServer)?);
        config.change(|settings| settings.bootstrap_peers.push(address))
    })
}

/// Adds a circuit relay through which other signers reach this node.
///
/// The node keeps a reservation at each relay. For nodes that cannot be dialed directly.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is not a multiaddress that ends with a peer id;
///          MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
///          address: a multiaddress such as "/dns4/relay.example/tcp/4001/p2p/12D3KooW...".
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_add_relay_address(
    config: *const musig_config,
    address: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, address) = (get!(config), multiaddress(text!(address), Purpose::DialServer)?);
        config.change(|settings| settings.relays.push(address))
    })
}

/// Adds an address under which others reach this node although it does not listen on it.
///
/// It is of a forwarded port, or of an onion service ("/onion3/...").
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is not a multiaddress; MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
///          address: a multiaddress such as "/ip4/192.0.2.1/tcp/4001".
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_add_external_address(
    config: *const musig_config,
    address: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, address) = (get!(config), multiaddress(text!(address), Purpose::Dial)?);
        config.change(|settings| settings.external.push(address))
    })
}

/// Sends every connection that a node opens through a SOCKS 5 proxy, such as Tor's.
///
/// The proxy resolves names, of onion services too. Nothing is dialled, looked up, listened for or announced beside it:
/// others reach the node through relays, or through an onion service, if musig_config_add_external_address has its
/// address and musig_config_add_listen_address the loopback address where it leads.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is no such address; MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
///          proxy: the proxy, such as "socks5h://127.0.0.1:9050" or "socks5h://user:password@127.0.0.1:9050".
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_proxy(
    config: *const musig_config,
    proxy: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, proxy) = (get!(config), text!(proxy));
        ProxyAddress::parse(proxy).map_err(Failure::invalid)?;
        let proxy = proxy.to_owned();
        config.change(|settings| settings.proxy.replace(proxy))
    })
}

/// Disables the network: sessions are exchanged by musig_session_export and musig_node_import only.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_offline(
    config: *const musig_config,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { get!(config).change(|settings| settings.offline = true) })
}

/// Sets the broadcaster, which submits transactions when this node's turn opens.
///
/// Without one the application broadcasts on MUSIG_EVENT_SHOULD_BROADCAST.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is NULL; MUSIG_STATUS_CONFIG_USED. The
///          library takes ownership of user_data only with MUSIG_STATUS_OK.
/// In:      config: the configuration.
///          broadcaster: the table, which is copied.
///          user_data: passed to each callback; may be NULL.
///          destroy: called with user_data after the last callback; may be NULL.
#[must_use]
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
            return Err(Failure::invalid("broadcaster->submit is NULL"));
        }
        config.change(|settings| {
            let data = Arc::new(UserData::new(user_data, destroy));
            let object = Arc::new(ForeignBroadcaster { table, data: data.clone() });
            settings.broadcaster.replace((object, Some(data)))
        })
    })
}

/// Sets the chain observer, which decides when a watch pauses and ends.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is NULL; MUSIG_STATUS_CONFIG_USED. The
///          library takes ownership of user_data only with MUSIG_STATUS_OK.
/// In:      config: the configuration.
///          observer: the table, which is copied.
///          user_data: passed to each callback; may be NULL.
///          destroy: called with user_data after the last callback; may be NULL.
#[must_use]
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
            return Err(Failure::invalid("observer->status is NULL"));
        }
        config.change(|settings| {
            let data = Arc::new(UserData::new(user_data, destroy));
            let object = Arc::new(ForeignObserver { table, data: data.clone() });
            settings.observer.replace((object, Some(data)))
        })
    })
}

/// Declares the application the observer: it watches the chain and calls musig_session_notify_broadcast_complete.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_without_observer(
    config: *const musig_config,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { get!(config).change(|settings| settings.without_observer = true) })
}

/// Sets the event handler.
///
/// Without one, the application takes events with musig_node_next_event.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED. The library takes ownership of
///          user_data only with MUSIG_STATUS_OK.
/// In:      config: the configuration.
///          handler: the callback.
///          user_data: passed to each callback; may be NULL.
///          destroy: called with user_data after the last callback; may be NULL.
#[must_use]
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

/// Sets the log sink of a node.
///
/// Without one nothing is logged. The library never writes to stdout or stderr.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the callback is NULL or the level invalid;
///          MUSIG_STATUS_CONFIG_USED. The library takes ownership of
///          user_data only with MUSIG_STATUS_OK.
/// In:      config: the configuration.
///          sink: the table, which is copied.
///          user_data: passed to each callback; may be NULL.
///          destroy: called with user_data after the last callback; may be NULL.
#[must_use]
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
            return Err(Failure::invalid("sink->log is NULL"));
        }
        if musig_log_level::of_number(table.level).is_none() {
            return Err(Failure::invalid(format!(
                "sink->level is {}, which is not a musig_log_level",
                table.level
            )));
        }
        config.change(|settings| settings.log.replace((table, Arc::new(UserData::new(user_data, destroy)))))
    })
}

/// Sets a numeric option.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the option is unknown or the value out of range;
///          MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
///          option: a musig_option.
///          value: the value, in the unit that the option states.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_number(
    config: *const musig_config,
    option: i32,
    value: u64,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        use musig_option::*;
        let config = get!(config);
        let option = choice(option, "option")?;
        let most = u64::from(u32::MAX);
        let within = |least: u64| {
            if (least..=most).contains(&value) {
                return Ok(value);
            }
            Err(Failure::invalid(format!("value is {value}; {least} to {most} are allowed")))
        };
        let switch = || flag(i32::try_from(value).unwrap_or(-1), "value");
        match option {
            FINAL_DEPTH => {
                let depth = within(1)? as u32;
                config.change(|settings| settings.final_depth = Some(depth))
            }
            EARLY_GONE => {
                let open = switch()?;
                config.change(|settings| settings.early_turns.gone = open)
            }
            EARLY_HOLD => {
                let open = switch()?;
                config.change(|settings| settings.early_turns.hold = open)
            }
            EARLY_PACE => {
                let open = switch()?;
                config.change(|settings| settings.early_turns.pace = open)
            }
            CLAIMS => {
                let send = switch()?;
                config.change(|settings| settings.claims = Some(send))
            }
            NACKS => {
                let send = switch()?;
                config.change(|settings| settings.nacks = Some(send))
            }
            STALL_AFTER => {
                let silence = Duration::from_millis(within(1)?);
                config.change(|settings| settings.stall_after = Some(silence))
            }
            CLOCK_SKEW => {
                let tolerated = Duration::from_millis(within(1)?);
                config.change(|settings| settings.clock_skew = Some(tolerated))
            }
            MAX_SESSIONS => {
                let sessions = within(1)? as usize;
                config.change(|settings| settings.max_sessions = Some(sessions))
            }
            SMALL_RUNTIME => {
                let small = switch()?;
                config.change(|settings| settings.small_runtime = small)
            }
            DHT => {
                let mode = choice(i32::try_from(value).unwrap_or(-1), "value")?;
                config.change(|settings| settings.dht = Some(mode))
            }
            MDNS => {
                let on = switch()?;
                config.change(|settings| settings.mdns = on)
            }
            MOBILE => {
                let mobile = switch()?;
                config.change(|settings| settings.mobile = mobile)
            }
            HIDES => {
                let on = switch()?;
                config.change(|settings| settings.hides = Some(on))
            }
            MAX_CONNECTIONS => {
                let connections = within(1)? as u32;
                config.change(|settings| settings.max_connections = Some(connections))
            }
            MAX_CONNECTIONS_PER_IP => {
                let connections = within(1)? as u32;
                config.change(|settings| settings.max_connections_per_ip = Some(connections))
            }
        }
    })
}

/// Sets the signers whose proposals a node takes.
///
/// By default it takes everybody's. With this the proposals of all others are refused unseen.
/// musig_node_set_accepted_proposers changes it while the node runs.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
///          proposers: their compressed public keys, 33 bytes each; may be NULL if there are none.
///          proposers_count: number of proposers; 0 for nobody's proposals.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_accepted_proposers(
    config: *const musig_config,
    proposers: *const u8,
    proposers_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let config = get!(config);
        let bytes = total(proposers_count, 33, MOST_PROPOSERS, "proposers_count")?;
        let accepted = AcceptedProposers::only(signer_keys(array!(optional proposers, bytes))?);
        config.change(|settings| settings.accepted_proposers = accepted)
    })
}

/// Adds a reference to a configuration.
///
/// Returns: the same pointer.
/// In:      config: the configuration; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_ref(config: *mut musig_config) -> *mut musig_config {
    // SAFETY: the header asks for a configuration with a reference, or NULL.
    unsafe { add_reference(config) }
}

/// Releases a reference to a configuration; the last one frees it, and destroys the user_data of callbacks that no
/// node took over.
///
/// In:      config: the configuration; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_free(config: *mut musig_config) {
    // SAFETY: the header asks for a configuration with a reference, or NULL.
    unsafe { release(config) }
}
