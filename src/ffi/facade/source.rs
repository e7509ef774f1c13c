//! Ready-made Bitcoin backends.

use std::sync::Arc;
use std::time::Duration;

use super::chain::{Broadcaster, ChainObserver};
use super::error::MusigError;
use crate::chain;
use crate::chain::sources::{self, BitcoinCore, Electrum, Esplora, Source, SourceError, Sources};
use crate::types::{
    ChainError, ChainQuery, ChainStatus, ChainTip, CoinStatus, OutPoint, SignedTransaction, SubmitOutcome,
};

/// Settings for the connection to a Bitcoin backend.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SourceOptions {
    /// Time that a submission, or a look at the chain, may take, however many requests it needs. 20 s by default.
    #[uniffi(default = None)]
    pub time_limit: Option<Duration>,
    /// Proxy: `socks5h://127.0.0.1:9050` is Tor. None by default, not even one that the environment names.
    #[uniffi(default = None)]
    pub proxy: Option<String>,
    /// Whether to take a proxy from the environment where none is set.
    #[uniffi(default = false)]
    pub proxy_from_environment: bool,
    /// Certificate authorities, in PEM form, whose certificates alone are trusted. Mozilla's by default.
    #[uniffi(default = None)]
    pub certificate_authority: Option<Vec<u8>>,
}

/// Login at a Bitcoin node.
#[derive(Clone, PartialEq, Eq, uniffi::Enum)]
pub enum CoreAuth {
    /// The file `.cookie` in the node's data directory. Each start of the node writes another one; it is read again then.
    CookieFile {
        /// The file.
        path: String,
    },
    /// The user and password of `rpcauth` or `rpcuser` and `rpcpassword`.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// No login: for a proxy in front of the node that has its own ways.
    WithoutLogin,
}

impl TryFrom<SourceOptions> for sources::SourceOptions {
    type Error = MusigError;
    fn try_from(options: SourceOptions) -> Result<Self, MusigError> {
        let mut made = Self::new();
        if let Some(limit) = options.time_limit {
            made = made.time_limit(limit);
        }
        if let Some(proxy) = options.proxy {
            made = made.proxy(proxy);
        }
        if options.proxy_from_environment {
            made = made.proxy_from_environment();
        }
        if let Some(pem) = options.certificate_authority {
            made = made.certificate_authority(&pem)?;
        }
        Ok(made)
    }
}

fn settings(options: Option<SourceOptions>) -> Result<sources::SourceOptions, MusigError> {
    options.map_or_else(|| Ok(sources::SourceOptions::new()), TryInto::try_into)
}

impl From<SourceError> for MusigError {
    fn from(error: SourceError) -> Self {
        Self::InvalidConfig { reason: error.to_string() }
    }
}

/// Ready-made way to a Bitcoin backend (node or API): it submits transactions, and it observes the chain.
#[derive(uniffi::Object)]
pub struct ChainSource {
    source: Arc<dyn Source>,
}

impl ChainSource {
    fn wrap(source: impl Source + 'static) -> Arc<Self> {
        Arc::new(Self { source: Arc::new(source) })
    }
}

#[uniffi::export]
impl ChainSource {
    /// A Bitcoin node (Bitcoin Core, Knots, btcd and relatives) by JSON-RPC, such as `http://127.0.0.1:8332`.
    #[uniffi::constructor(default(options = None))]
    pub fn bitcoin_core(
        address: String,
        auth: CoreAuth,
        options: Option<SourceOptions>,
    ) -> Result<Arc<Self>, MusigError> {
        let auth = match auth {
            CoreAuth::CookieFile { path } => sources::CoreAuth::CookieFile(path.into()),
            CoreAuth::Password { user, password } => sources::CoreAuth::Password { user, password },
            CoreAuth::WithoutLogin => sources::CoreAuth::None,
        };
        Ok(Self::wrap(BitcoinCore::with_options(&address, auth, &settings(options)?)?))
    }

    /// A server with Esplora's HTTP interface, such as `https://host.example/api`.
    #[uniffi::constructor(default(options = None))]
    pub fn esplora(address: String, options: Option<SourceOptions>) -> Result<Arc<Self>, MusigError> {
        Ok(Self::wrap(Esplora::with_options(&address, &settings(options)?)?))
    }

    /// An Electrum server: `ssl://host.example:50002` or `tcp://127.0.0.1:50001`.
    #[uniffi::constructor(default(options = None))]
    pub fn electrum(address: String, options: Option<SourceOptions>) -> Result<Arc<Self>, MusigError> {
        Ok(Self::wrap(Electrum::with_options(&address, &settings(options)?)?))
    }

    /// Several as one: transactions are submitted to all, and only those that are trusted are asked for the state of the
    /// chain.
    #[uniffi::constructor(default(submit_to = []))]
    pub fn combined(trusted: Vec<Arc<ChainSource>>, submit_to: Vec<Arc<ChainSource>>) -> Arc<Self> {
        let mut all = Sources::new();
        for one in trusted {
            all = all.add(one.source.clone(), true);
        }
        for one in submit_to {
            all = all.add(one.source.clone(), false);
        }
        Self::wrap(all)
    }

    /// The kind of backend and its address, for people, without a password.
    pub fn name(&self) -> String {
        self.source.name()
    }

    /// The broadcaster of a node.
    pub fn broadcaster(&self) -> Arc<dyn Broadcaster> {
        Arc::new(Ready(self.source.clone()))
    }

    /// The chain observer of a node.
    pub fn observer(&self) -> Arc<dyn ChainObserver> {
        Arc::new(Ready(self.source.clone()))
    }
}

/// A source as what the application could have implemented.
struct Ready(Arc<dyn Source>);

fn unreachable(error: ChainError) -> MusigError {
    MusigError::ChainUnreachable { reason: error.reason }
}

impl Broadcaster for Ready {
    fn submit(&self, transaction: SignedTransaction) -> Result<SubmitOutcome, MusigError> {
        chain::Broadcaster::submit(&*self.0, &transaction).map_err(unreachable)
    }
}

impl ChainObserver for Ready {
    fn status(&self, query: ChainQuery) -> Result<ChainStatus, MusigError> {
        chain::ChainObserver::status(&*self.0, &query).map_err(unreachable)
    }

    fn coin(&self, outpoint: OutPoint) -> Result<Option<CoinStatus>, MusigError> {
        chain::ChainObserver::coin(&*self.0, &outpoint).map_err(unreachable)
    }

    fn tip(&self) -> Result<Option<ChainTip>, MusigError> {
        chain::ChainObserver::tip(&*self.0).map_err(unreachable)
    }

    fn congested(&self) -> Result<Option<bool>, MusigError> {
        chain::ChainObserver::congested(&*self.0).map_err(unreachable)
    }
}
