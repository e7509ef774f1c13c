//! What a node is started with.

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::boundary::{choice, flag};
use super::callback::{UserData, musig_destroy};
use super::chain::{ForeignBroadcaster, ForeignObserver, musig_broadcaster, musig_chain_observer};
use super::delivery::musig_event_handler;
use super::enums::{Enumeration, musig_log_level, musig_option};
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::{add_reference, release};
use super::log::musig_log_sink;
use super::settings::{Settings, Store};
use super::signer::musig_signer;
use super::status::{musig_status, musig_status_code};
use crate::net::{self, Multiaddr};

/// What a node is started with. It can be filled by any thread, and is used up by the node that starts with it.
pub struct musig_config(Mutex<Option<Settings>>);

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

fn server(address: &str) -> Outcome<String> {
    let checked = multiaddress(address)?;
    if !address.parse::<Multiaddr>().is_ok_and(|address| net::has_peer(&address)) {
        let hint = "add its peer id at the end, like /p2p/12D3KooW...";
        return Err(Failure::invalid(format!("{address} does not say who is there; {hint}")));
    }
    Ok(checked)
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

/// Adds a server of the distributed hash table, in which signers find each other by their keys.
///
/// It is connected to from the start, and again whenever it is not connected. It need not be a signer.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is no multiaddress, or has no peer id at its end;
///          MUSIG_STATUS_CONFIG_USED.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
///          address: a multiaddress such as "/dns4/relay.example/tcp/4001/p2p/12D3KooW...".
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_add_bootstrap_address(
    config: *const musig_config,
    address: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, address) = (get!(config), server(text!(address))?);
        config.change(|settings| settings.bootstrap_peers.push(address))
    })
}

/// Adds a relay through which others reach this node.
///
/// A place is reserved at each relay, and renewed. For nodes that others cannot dial.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is no multiaddress, or has no peer id at its end;
///          MUSIG_STATUS_CONFIG_USED.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
///          address: a multiaddress such as "/dns4/relay.example/tcp/4001/p2p/12D3KooW...".
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_add_relay_address(
    config: *const musig_config,
    address: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, address) = (get!(config), server(text!(address))?);
        config.change(|settings| settings.relays.push(address))
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
        if musig_log_level::of_number(table.level).is_none() {
            return Err(Failure::invalid("sink has a level that is no musig_log_level"));
        }
        config.change(|settings| settings.log.replace((table, Arc::new(UserData::new(user_data, destroy)))))
    })
}

/// Sets a number.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if there is no such option, or the value cannot be;
///          MUSIG_STATUS_CONFIG_USED.
/// Out:     error: why it failed; may be NULL.
/// In:      config: the configuration.
///          option: a musig_option, which says what it is for.
///          value: the number.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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
            DEAD_AFTER => {
                let silence = within(0)?;
                let silence = (silence > 0).then(|| Duration::from_millis(silence));
                config.change(|settings| settings.dead_after = silence)
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
        }
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
    unsafe { add_reference(config) }
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
