//! Ready-made Bitcoin backends.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use super::boundary::{flag, total};
use super::bytes::musig_bytes;
use super::config::musig_config;
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::{add_reference, release};
use super::status::{musig_status, musig_status_code};
use crate::chain::sources::{
    BitcoinCore, CoreAuth, Electrum, Esplora, Source, SourceError, SourceOptions, Sources,
};

/// A ready-made way to a Bitcoin backend: it submits transactions, and it observes the chain.
pub struct musig_source(Arc<dyn Source>);

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::new(musig_status_code::CONFIG, error.to_string())
    }
}

/// Settings for the connection to a Bitcoin backend. Zeros, but for struct_size, are the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_source_options {
    /// sizeof(musig_source_options).
    pub struct_size: u32,
    /// 1: a proxy is taken from the environment where none is set; else 0.
    pub proxy_from_environment: i32,
    /// Milliseconds that a submission, or a look at the chain, may take; 0 for 20 s.
    pub time_limit: u64,
    /// A proxy, such as socks5h://127.0.0.1:9050 (Tor); NULL for none.
    pub proxy: *const c_char,
    /// Certificate authorities, in PEM form, that alone are trusted; NULL for Mozilla's.
    pub certificate_authority: *const c_char,
}

impl musig_source_options {
    fn read(&self) -> Outcome<SourceOptions> {
        let mut options = SourceOptions::new();
        if flag(self.proxy_from_environment, "proxy_from_environment")? {
            options = options.proxy_from_environment();
        }
        if self.time_limit > 0 {
            options = options.time_limit(Duration::from_millis(self.time_limit));
        }
        let (proxy, certificate_authority) = (self.proxy, self.certificate_authority);
        if !proxy.is_null() {
            options = options.proxy(text!(proxy));
        }
        if !certificate_authority.is_null() {
            options = options.certificate_authority(text!(certificate_authority).as_bytes())?;
        }
        Ok(options)
    }
}

/// Reads options, or none.
macro_rules! options {
    ($options:ident) => {
        match $options.is_null() {
            true => SourceOptions::new(),
            false => sized!($options).read()?,
        }
    };
}

/// Creates a source that asks a Bitcoin node by JSON-RPC (Bitcoin Core, Knots, btcd and relatives).
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG for an address, proxy or certificate that cannot be used;
///          MUSIG_STATUS_INVALID_ARGUMENT for a cookie file and a user.
/// Out:     out: the source; release it with musig_source_free.
/// In:      address: the address, such as http://127.0.0.1:8332.
///          cookie_file: the file .cookie in the node's data directory; may be NULL for none.
///          user: the user of the RPC interface; may be NULL for none.
///          password: the user's password; may be NULL for none.
///          options: settings; may be NULL for the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_source_new_core(
    out: *mut *mut musig_source,
    address: *const c_char,
    cookie_file: *const c_char,
    user: *const c_char,
    password: *const c_char,
    options: *const musig_source_options,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, address, options) = (out!(out), text!(address), options!(options));
        let auth = match (cookie_file.is_null(), user.is_null()) {
            (false, true) => CoreAuth::CookieFile(text!(cookie_file).into()),
            (true, false) => {
                let password = if password.is_null() { "" } else { text!(password) };
                CoreAuth::Password { user: text!(user).into(), password: password.into() }
            }
            (true, true) => CoreAuth::None,
            (false, false) => return Err(Failure::invalid("give a cookie_file or a user, not both")),
        };
        out.give(musig_source(Arc::new(BitcoinCore::with_options(address, auth, &options)?)));
        Ok(())
    })
}

/// Creates a source that asks a server with Esplora's HTTP interface.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG for an address, proxy or certificate that cannot be used.
/// Out:     out: the source; release it with musig_source_free.
/// In:      address: the address, such as `https://host.example/api`.
///          options: settings; may be NULL for the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_source_new_esplora(
    out: *mut *mut musig_source,
    address: *const c_char,
    options: *const musig_source_options,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, address, options) = (out!(out), text!(address), options!(options));
        out.give(musig_source(Arc::new(Esplora::with_options(address, &options)?)));
        Ok(())
    })
}

/// Creates a source that asks an Electrum server.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG for an address, proxy or certificate that cannot be used.
/// Out:     out: the source; release it with musig_source_free.
/// In:      address: the address: ssl://host.example:50002 or tcp://127.0.0.1:50001.
///          options: settings; may be NULL for the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_source_new_electrum(
    out: *mut *mut musig_source,
    address: *const c_char,
    options: *const musig_source_options,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, address, options) = (out!(out), text!(address), options!(options));
        out.give(musig_source(Arc::new(Electrum::with_options(address, &options)?)));
        Ok(())
    })
}

/// Sources of a kind in a combined one.
const MOST_SOURCES: usize = 64;

/// Creates a source of several, as one.
///
/// A transaction is submitted to all of them at once, and the first that takes it answers for all. Only those that are
/// trusted are asked for the state of the chain. Where they disagree, the weaker answer counts.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for more than 64 sources of a kind.
/// Out:     out: the source, which keeps a reference of each; release it with musig_source_free.
/// In:      trusted: the sources whose view of the chain counts, such as one's own node; may be NULL for none.
///          trusted_count: number of trusted sources.
///          submit_to: the sources that transactions are only submitted to; may be NULL for none.
///          submit_to_count: number of the other sources.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_source_new_combined(
    out: *mut *mut musig_source,
    trusted: *const *const musig_source,
    trusted_count: usize,
    submit_to: *const *const musig_source,
    submit_to_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let mut all = Sources::new();
        let trusted_count = total(trusted_count, 1, MOST_SOURCES, "trusted_count")?;
        let submit_to_count = total(submit_to_count, 1, MOST_SOURCES, "submit_to_count")?;
        for trusted in array!(optional trusted, trusted_count) {
            let trusted = *trusted;
            all = all.add(get!(trusted).0.clone(), true);
        }
        for submit_to in array!(optional submit_to, submit_to_count) {
            let submit_to = *submit_to;
            all = all.add(get!(submit_to).0.clone(), false);
        }
        out.give(musig_source(Arc::new(all)));
        Ok(())
    })
}

/// Gets the kind of backend of a source and its address, for people, without a password.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      source: the source.
/// Out:     out: the text; release it with musig_bytes_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_source_name(
    source: *const musig_source,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (source, out) = (get!(source), out!(out));
        out.give(musig_bytes::text(&source.0.name()));
        Ok(())
    })
}

/// Sets the broadcaster and the chain observer to a source.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
///          source: the source, of which the configuration keeps a reference.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_source(
    config: *const musig_config,
    source: *const musig_source,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, source) = (get!(config), get!(source));
        config.change(|settings| {
            let broadcaster = settings.broadcaster.replace((source.0.clone(), None));
            (broadcaster, settings.observer.replace((source.0.clone(), None)))
        })
    })
}

/// Adds a reference to a source.
///
/// Returns: the same pointer.
/// In:      source: the source; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_source_ref(source: *mut musig_source) -> *mut musig_source {
    // SAFETY: the header asks for a source with a reference, or NULL.
    unsafe { add_reference(source) }
}

/// Releases a reference to a source; the last one frees it.
///
/// In:      source: the source; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_source_free(source: *mut musig_source) {
    // SAFETY: the header asks for a source with a reference, or NULL.
    unsafe { release(source) }
}
