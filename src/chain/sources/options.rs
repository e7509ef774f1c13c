//! How backends are reached: limits, proxy, certificates.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::{Proxy, ProxyProtocol};

use super::outcome::shown;
use crate::types::proxy::ProxyAddress;

/// The longest time that one submission or one look takes by default. A node gives its backend 30 s.
pub const TIME_LIMIT: Duration = Duration::from_secs(20);
/// Time limits are at most this long.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Why a source cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The address cannot be used.
    #[error("{address:?} is no address of {of}: {reason}")]
    Address {
        /// What was given, without a password.
        address: String,
        /// Of which kind of backend.
        of: &'static str,
        /// What is wrong, and what to write instead.
        reason: String,
    },
    /// The proxy cannot be used.
    #[error("the proxy cannot be used: {reason}")]
    Proxy {
        /// What is wrong, and what to write instead.
        reason: String,
    },
    /// The certificate of the own certificate authority cannot be read.
    #[error("the certificate authority cannot be read: {reason}; give its certificate in PEM form")]
    Certificate {
        /// What is wrong.
        reason: String,
    },
}

/// The proxy of a node, with the login as it is. One that cannot be read is one that nobody serves: nothing may go beside it.
pub(super) fn proxy_of_node(text: &str) -> Proxy {
    let read = || {
        let ProxyAddress { address, login } = ProxyAddress::parse(text).ok()?;
        let host = match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let proxy = Proxy::builder(ProxyProtocol::Socks5h).host(&host).port(address.port());
        let proxy = match &login {
            Some((user, password)) => proxy.username(user).password(password),
            None => proxy,
        };
        proxy.build().ok()
    };
    read().unwrap_or_else(|| Proxy::new("socks5h://0.0.0.0:1").expect("an address"))
}

/// Settings for the connection to a backend.
///
/// By default 20 s for each submission and each look, the proxy of the node that uses the backend if it has one (and none that
/// the environment names), and Mozilla's certificate authorities.
#[derive(Clone)]
pub struct SourceOptions {
    pub(super) time_limit: Duration,
    pub(super) proxy: Option<String>,
    pub(super) proxy_from_environment: bool,
    pub(super) direct: bool,
    /// DER. Empty: Mozilla's.
    pub(super) authorities: Vec<CertificateDer<'static>>,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            time_limit: TIME_LIMIT,
            proxy: None,
            proxy_from_environment: false,
            direct: false,
            authorities: Vec::new(),
        }
    }
}

impl fmt::Debug for SourceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceOptions")
            .field("time_limit", &self.time_limit)
            // It may hold a password.
            .field("proxy", &self.proxy.is_some())
            .field("proxy_from_environment", &self.proxy_from_environment)
            .field("direct", &self.direct)
            .field("authorities", &self.authorities.len())
            .finish()
    }
}

impl SourceOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long one submission, or one look at the chain, may take altogether, however many requests it needs;
    /// at least 1 ms, at most a day. Default 20 s; a node stops waiting after 30 s.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit.clamp(Duration::from_millis(1), LONGEST);
        self
    }

    /// Sets a proxy. `socks5h://127.0.0.1:9050` is Tor; its `h` makes the proxy resolve names. `socks5://` resolves
    /// them here, which tells the name server who is talked to. For HTTP also `http://` (CONNECT).
    ///
    /// The address is checked when a source is made.
    pub fn proxy(mut self, address: impl Into<String>) -> Self {
        self.proxy = Some(address.into());
        self
    }

    /// Connects without a proxy, also where the node that uses the backend has one. A backend on this machine (`localhost`, or
    /// a loopback address) is reached so in any case, unless it has a proxy of its own.
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// Whether the proxy of a node is followed to a backend at this host, of whose options none names another way.
    pub(super) fn follows(&self, own: bool, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let here = host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        !own && !self.direct && !here
    }

    /// Takes a proxy from the environment (`ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) where none is set.
    pub fn proxy_from_environment(mut self) -> Self {
        self.proxy_from_environment = true;
        self
    }

    /// Trusts the certificates that this authority (or these, one after another) issued, in PEM form, and no others.
    ///
    /// Errors: [`SourceError::Certificate`].
    pub fn certificate_authority(mut self, pem: &[u8]) -> Result<Self, SourceError> {
        let mut authorities = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate =
                certificate.map_err(|error| SourceError::Certificate { reason: error.to_string() })?;
            authorities.push(certificate);
        }
        if authorities.is_empty() {
            return Err(SourceError::Certificate { reason: "there is no certificate in it".into() });
        }
        let mut roots = rustls::RootCertStore::empty();
        for certificate in &authorities {
            roots
                .add(certificate.clone())
                .map_err(|error| SourceError::Certificate { reason: error.to_string() })?;
        }
        self.authorities.extend(authorities);
        Ok(self)
    }
}

/// The end of the time that one submission or one look has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    /// What is left of it.
    pub(super) fn left(&self) -> Result<Duration, Failure> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.missed()) } else { Ok(left) }
    }

    pub(super) fn missed(&self) -> Failure {
        Failure::Unreachable(format!(
            "no complete answer within {:?}; check that the server runs and can be reached, or set a longer time limit",
            self.limit
        ))
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No answer, or one that makes no sense.
    Unreachable(String),
    /// An answer that says that something is set up wrongly.
    Misconfigured(String),
    /// A JSON-RPC error.
    Rpc { code: i64, message: String },
}

impl Failure {
    pub(super) fn nonsense(question: &str, reason: &str) -> Self {
        Self::Unreachable(format!("the answer to {} makes no sense: {reason}", shown(question)))
    }

    /// For people, with the backend's name before it.
    pub(super) fn told_by(&self, name: &str) -> String {
        match self {
            Self::Unreachable(words) | Self::Misconfigured(words) => format!("{name}: {words}"),
            Self::Rpc { code, message } => format!("{name}: {} (code {code})", shown(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn through_proxy_of_a_node_goes_its_login_as_it_is() {
        let read = |text: &str| {
            let proxy = proxy_of_node(text);
            assert_eq!(proxy.protocol(), ProxyProtocol::Socks5h);
            let login = proxy.username().zip(proxy.password());
            let login = login.map(|(user, password)| format!("{user} {password}"));
            (format!("{}:{}", proxy.host(), proxy.port()), login)
        };
        assert_eq!(read("socks5h://127.0.0.1:9050"), ("127.0.0.1:9050".into(), None));
        assert_eq!(read(" socks5h://[::1]:9050/ "), ("[::1]:9050".into(), None));
        let login = Some("me s%41:é/@ 1".to_owned());
        assert_eq!(read("socks5h://me:s%41:é/@ 1@localhost:1"), ("127.0.0.1:1".into(), login));
        // Nobody is there.
        assert_eq!(read("nonsense").0, "0.0.0.0:1");
    }
}
