//! HTTP requests with limits on everything.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error, Proxy};

use super::options::{Deadline, Failure, SourceError, SourceOptions, proxy_of_node};

/// Bytes of an answer's status line and headers.
const HEAD: usize = 16 << 10;

/// A client of one HTTP server. Follows no redirects, keeps connections, and takes no compressed bodies.
#[derive(Debug)]
pub(super) struct HttpClient {
    agent: RwLock<Agent>,
    tls: TlsConfig,
    /// Whether it goes through the proxy of a node.
    follows: bool,
    /// Without a slash at its end.
    base: String,
}

/// An answer's status and body.
pub(super) struct HttpAnswer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl HttpClient {
    pub(super) fn new(address: &str, of: &'static str, options: &SourceOptions) -> Result<Self, SourceError> {
        let wrong = |reason: &str| {
            let address = without_password(address);
            Err(SourceError::Address { address, of, reason: reason.into() })
        };
        let Some(rest) = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://")) else {
            return wrong("it does not start with http:// or https://");
        };
        let host = rest.split('/').next().unwrap_or("");
        if host.contains('@') {
            return wrong("give user and password apart from it");
        }
        if host.is_empty() || host.starts_with(':') || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong("write http://host:port");
        }
        if rest.contains(['?', '#']) {
            return wrong("leave out what follows ? or #");
        }
        let parsed: Option<ureq::http::Uri> = address.parse().ok();
        let port = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map(|(_, port)| port);
        if parsed.is_none() || port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..))) {
            return wrong("write http://host:port, with a port from 1 to 65535");
        }
        let roots = if options.authorities.is_empty() {
            RootCerts::WebPki
        } else {
            let owned = options.authorities.iter().map(|der| Certificate::from_der(der).to_owned());
            RootCerts::Specific(Arc::new(owned.collect()))
        };
        let provider = super::tls::provider();
        let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
        let proxy = proxy(options)?;
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => name,
            _ => host,
        };
        let follows = options.follows(proxy.is_some(), name);
        let agent = RwLock::new(agent(&tls, proxy));
        Ok(Self { agent, tls, follows, base: address.trim_end_matches('/').to_owned() })
    }

    /// Goes through a proxy from now on, unless it was told another way.
    pub(super) fn follow(&self, proxy: &str) {
        if self.follows {
            let agent = agent(&self.tls, Some(proxy_of_node(proxy)));
            *self.agent.write().unwrap_or_else(PoisonError::into_inner) = agent;
        }
    }

    fn agent(&self) -> Agent {
        self.agent.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The address, for people. It has no password in it.
    pub(super) fn address(&self) -> &str {
        &self.base
    }

    pub(super) fn get(
        &self,
        path: &str,
        most_bytes: u64,
        deadline: &Deadline,
    ) -> Result<HttpAnswer, Failure> {
        let request = self.agent().get(format!("{}{path}", self.base));
        let request = request.config().timeout_global(Some(deadline.left()?)).build();
        self.read(request.call(), most_bytes, deadline)
    }

    /// `authorization` is the header's value.
    pub(super) fn post(
        &self,
        path: &str,
        content_type: &str,
        authorization: Option<&str>,
        body: &str,
        most_bytes: u64,
        deadline: &Deadline,
    ) -> Result<HttpAnswer, Failure> {
        let mut request = self.agent().post(format!("{}{path}", self.base)).content_type(content_type);
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        let request = request.config().timeout_global(Some(deadline.left()?)).build();
        self.read(request.send(body), most_bytes, deadline)
    }

    fn read(
        &self,
        response: Result<ureq::http::Response<ureq::Body>, Error>,
        most_bytes: u64,
        deadline: &Deadline,
    ) -> Result<HttpAnswer, Failure> {
        let mut response = response.map_err(|error| self.failure(error, most_bytes, deadline))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(most_bytes).read_to_vec();
        let body = body.map_err(|error| self.failure(error, most_bytes, deadline))?;
        Ok(HttpAnswer { status, body })
    }

    fn failure(&self, error: Error, most_bytes: u64, deadline: &Deadline) -> Failure {
        let unreachable = |words: String| Failure::Unreachable(words);
        match error {
            Error::Timeout(_) => deadline.missed(),
            Error::HostNotFound => unreachable(
                "its name has no address; check it, and for .onion names set a proxy socks5h://…".into(),
            ),
            Error::BodyExceedsLimit(_) => unreachable(format!(
                "its answer is longer than {most_bytes} bytes; check that the address is that of the right server"
            )),
            Error::LargeResponseHeader(..) => unreachable(format!(
                "the headers of its answer are longer than {HEAD} bytes; check that the address is that of the right \
                 server"
            )),
            Error::Tls(words) => certificate(words),
            Error::Rustls(error) => certificate(&error.to_string()),
            Error::Io(error) => of_io(&error, deadline),
            Error::ConnectProxyFailed(words) => {
                unreachable(format!("the proxy does not connect to it: {}", super::outcome::shown(&words)))
            }
            other => unreachable(format!(
                "{}; check that it is an HTTP server at this address",
                super::outcome::shown(&other.to_string())
            )),
        }
    }
}

fn agent(tls: &TlsConfig, proxy: Option<Proxy>) -> Agent {
    Agent::config_builder()
        .proxy(proxy)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(HEAD)
        .max_idle_connections(2)
        .max_idle_connections_per_host(2)
        .user_agent(concat!("libmusig/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.clone())
        .build()
        .into()
}

fn certificate(words: &str) -> Failure {
    Failure::Misconfigured(format!(
        "its TLS cannot be used: {words}; if the certificate is issued by an authority of your own, set that"
    ))
}

pub(super) fn of_io(error: &io::Error, deadline: &Deadline) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Unreachable(
            "nothing listens at this address (connection refused); start the server, or correct host and port".into(),
        ),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => deadline.missed(),
        io::ErrorKind::UnexpectedEof => {
            Failure::Unreachable("the connection was closed in the middle of the answer".into())
        }
        _ if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            certificate(&error.to_string())
        }
        _ => Failure::Unreachable(super::outcome::shown(&error.to_string())),
    }
}

fn proxy(options: &SourceOptions) -> Result<Option<Proxy>, SourceError> {
    let Some(address) = &options.proxy else {
        return Ok(if options.proxy_from_environment { Proxy::try_from_env() } else { None });
    };
    let known = ["socks5h://", "socks5://", "socks4a://", "socks4://", "http://", "https://"];
    let refused = |reason: &str| SourceError::Proxy { reason: reason.into() };
    if !known.iter().any(|scheme| address.starts_with(scheme)) {
        return Err(refused("write socks5h://host:port, or http://host:port"));
    }
    match Proxy::new(address) {
        Ok(proxy) if !proxy.host().is_empty() => Ok(Some(proxy)),
        _ => Err(refused("write socks5h://host:port, or http://host:port")),
    }
}

/// An address as it may be shown.
pub(super) fn without_password(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let end = rest.find('/').unwrap_or(rest.len());
    let shown = match rest[..end].rfind('@') {
        Some(at) => format!("…{}", &rest[at..]),
        None => rest.to_owned(),
    };
    let shown = super::outcome::shown(&shown);
    if scheme.is_empty() { shown } else { format!("{}://{shown}", super::outcome::shown(scheme)) }
}

/// Base64 with padding (RFC 4648, section 4), for the header `Authorization`.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let used = digit <= chunk.len();
            let index = (group >> (18 - 6 * digit)) & 63;
            text.push(if used { DIGITS[index as usize] as char } else { '=' });
        }
    }
    text
}
