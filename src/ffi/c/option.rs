//! Settings of a configuration that are numbers.

use std::time::Duration;

use super::boundary::{Failure, choice, flag};
use super::config::musig_config;
use super::error::musig_error;
use super::network::musig_dht_mode;
use super::status::musig_status;
use crate::node::{NodeBuilder, RuntimeProfile};

/// Numbers of a configuration.
/// cbindgen:rename-all=prefix:MUSIG_OPTION_
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum musig_option {
    /// Confirmations after which a watch ends, at least 1. Default 6.
    FINAL_DEPTH = 1,
    /// Milliseconds of silence after which a signer counts as down, which opens turns sooner; 0 for never, the default.
    DEAD_AFTER = 2,
    /// 1 to tell the others that this node broadcast, which is the default, or 0.
    CLAIMS = 3,
    /// 1 to tell the others that this node cannot reach the chain, which is the default, or 0.
    NACKS = 4,
    /// Milliseconds without progress after which a session is reported as stalled. Default 10000.
    STALL_AFTER = 5,
    /// Sessions that may be open at once. Default 4096.
    MAX_SESSIONS = 6,
    /// 1 to share one worker thread among the nodes, for phones; 0 for two, the default.
    SMALL_RUNTIME = 7,
    /// A musig_dht_mode. Default MUSIG_DHT_CLIENT.
    DHT = 8,
    /// 1 to announce the node on the local network, where everybody can read it, and to look for signers there; 0, the
    /// default, not to.
    MDNS = 9,
    /// 1 for settings of the network that suit phones: it does not listen unless an address is added, and wakes the
    /// radio less often; 0, the default, not to.
    MOBILE = 10,
}

/// The part of a configuration.
#[derive(Clone, Default)]
pub(super) struct Numbers {
    final_depth: Option<u32>,
    dead_after: Option<Duration>,
    claims: Option<bool>,
    nacks: Option<bool>,
    stall_after: Option<Duration>,
    max_sessions: Option<usize>,
    small: bool,
}

impl Numbers {
    pub(super) fn profile(&self) -> RuntimeProfile {
        if self.small { RuntimeProfile::Small } else { RuntimeProfile::Default }
    }

    pub(super) fn apply(&self, mut builder: NodeBuilder) -> NodeBuilder {
        builder = match self.final_depth {
            Some(depth) => builder.final_depth(depth),
            None => builder,
        };
        builder = match self.dead_after {
            Some(silence) => builder.dead_after(silence),
            None => builder,
        };
        builder = match self.claims {
            Some(send) => builder.claims(send),
            None => builder,
        };
        builder = match self.nacks {
            Some(send) => builder.nacks(send),
            None => builder,
        };
        builder = match self.stall_after {
            Some(silence) => builder.stall_after(silence),
            None => builder,
        };
        builder = match self.max_sessions {
            Some(sessions) => builder.max_sessions(sessions),
            None => builder,
        };
        builder.runtime(self.profile())
    }
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
        let all = [
            FINAL_DEPTH,
            DEAD_AFTER,
            CLAIMS,
            NACKS,
            STALL_AFTER,
            MAX_SESSIONS,
            SMALL_RUNTIME,
            DHT,
            MDNS,
            MOBILE,
        ];
        let option = choice(option, &all.map(|option| (option as i32, option)), "option")?;
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
                config.change_numbers(|numbers| numbers.final_depth = Some(depth))
            }
            DEAD_AFTER => {
                let silence = within(0)?;
                let silence = (silence > 0).then(|| Duration::from_millis(silence));
                config.change_numbers(|numbers| numbers.dead_after = silence)
            }
            CLAIMS => {
                let send = switch()?;
                config.change_numbers(|numbers| numbers.claims = Some(send))
            }
            NACKS => {
                let send = switch()?;
                config.change_numbers(|numbers| numbers.nacks = Some(send))
            }
            STALL_AFTER => {
                let silence = Duration::from_millis(within(1)?);
                config.change_numbers(|numbers| numbers.stall_after = Some(silence))
            }
            MAX_SESSIONS => {
                let sessions = within(1)? as usize;
                config.change_numbers(|numbers| numbers.max_sessions = Some(sessions))
            }
            SMALL_RUNTIME => {
                let small = switch()?;
                config.change_numbers(|numbers| numbers.small = small)
            }
            DHT => {
                let modes = musig_dht_mode::ALL.map(|mode| (mode as i32, mode));
                let mode = choice(i32::try_from(value).unwrap_or(-1), &modes, "value")?;
                config.change_network(|network| network.dht = Some(mode))
            }
            MDNS => {
                let on = switch()?;
                config.change_network(|network| network.mdns = on)
            }
            MOBILE => {
                let mobile = switch()?;
                config.change_network(|network| network.mobile = mobile)
            }
        }
    })
}
