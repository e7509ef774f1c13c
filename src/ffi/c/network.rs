//! How a node finds and reaches the others.

use std::ffi::c_char;

use super::boundary::{Failure, Outcome};
use super::config::{multiaddress, musig_config};
use super::error::musig_error;
use super::status::musig_status;
use crate::net::{self, DhtMode, Multiaddr, NetworkConfig};
use crate::node::NodeBuilder;

/// What a node does in the distributed hash table, in which signers find each other by their keys.
/// cbindgen:rename-all=prefix:MUSIG_DHT_
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum musig_dht_mode {
    /// Nothing.
    OFF = 0,
    /// Asks for others, and publishes where it is. The default.
    CLIENT = 1,
    /// Also keeps for others where they are: for nodes that run all the time and can be reached.
    SERVER = 2,
}

impl musig_dht_mode {
    pub(super) const ALL: [Self; 3] = [Self::OFF, Self::CLIENT, Self::SERVER];
}

/// The part of a configuration.
#[derive(Clone, Default)]
pub(super) struct Network {
    bootstrap_peers: Vec<String>,
    relays: Vec<String>,
    pub dht: Option<musig_dht_mode>,
    pub mdns: bool,
    pub mobile: bool,
}

impl Network {
    /// Comes before anything else that concerns the network.
    pub(super) fn begin(&self, builder: NodeBuilder) -> NodeBuilder {
        if self.mobile { builder.network(NetworkConfig::mobile()) } else { builder }
    }

    pub(super) fn apply(&self, mut builder: NodeBuilder) -> NodeBuilder {
        for address in &self.bootstrap_peers {
            builder = builder.bootstrap_peer(address);
        }
        for address in &self.relays {
            builder = builder.relay(address);
        }
        if let Some(mode) = self.dht {
            builder = builder.dht(match mode {
                musig_dht_mode::OFF => DhtMode::Off,
                musig_dht_mode::CLIENT => DhtMode::Client,
                musig_dht_mode::SERVER => DhtMode::Server,
            });
        }
        if self.mdns { builder.mdns(true) } else { builder }
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
        config.change_network(|network| network.bootstrap_peers.push(address))
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
        config.change_network(|network| network.relays.push(address))
    })
}
