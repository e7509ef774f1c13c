//! Lines of text over TCP or TLS, perhaps through a SOCKS proxy, with a deadline for every byte.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::thread;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use ureq::{Proxy, ProxyProtocol};

use super::http::of_io;
use super::options::{Deadline, Failure, SourceError, SourceOptions, proxy_of_node};

/// Bytes of a line.
const LINE: usize = (8 << 20) + (64 << 10);

/// How a server is reached.
#[derive(Debug)]
pub(super) struct Route {
    host: String,
    port: u16,
    tls: Option<Tls>,
    proxy: RwLock<Option<Proxy>>,
    /// Whether it goes through the proxy of a node.
    follows: bool,
}

#[derive(Clone, Debug)]
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Route {
    /// `address` is `tcp://host:port` or `ssl://host:port`.
    pub(super) fn new(address: &str, of: &'static str, options: &SourceOptions) -> Result<Self, SourceError> {
        let wrong = |reason: &str| SourceError::Address {
            address: super::http::without_password(address),
            of,
            reason: reason.into(),
        };
        let (tls, rest) = match (address.strip_prefix("tcp://"), address.strip_prefix("ssl://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(wrong("it does not start with tcp:// or ssl://")),
        };
        let form = "write ssl://host:port, with a port from 1 to 65535";
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(|| wrong(form))?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong(form))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        let is_ip = host.parse::<IpAddr>().is_ok();
        if host.is_empty() || host.len() > 255 || !host.bytes().all(bare) || (host.contains(':') && !is_ip) {
            return Err(wrong(form));
        }
        let tls = match tls {
            false => None,
            true => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong(form))?;
                Some(Tls { config: tls_config(options)?, name })
            }
        };
        let proxy = proxy(options)?;
        let follows = options.follows(proxy.is_some(), host);
        Ok(Self { host: host.to_owned(), port, tls, proxy: RwLock::new(proxy), follows })
    }

    /// Goes through a proxy from now on; `false` if it was told another way.
    pub(super) fn follow(&self, proxy: &str) -> bool {
        if self.follows {
            *self.proxy.write().unwrap_or_else(PoisonError::into_inner) = Some(proxy_of_node(proxy));
        }
        self.follows
    }

    /// The address, for people.
    pub(super) fn address(&self) -> String {
        let scheme = if self.tls.is_some() { "ssl" } else { "tcp" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}", self.port)
    }

    pub(super) fn connect(&self, deadline: Deadline) -> Result<Lines, Failure> {
        let proxy = self.proxy.read().unwrap_or_else(PoisonError::into_inner).clone();
        let socket = match &proxy {
            None => connect_to_any(&resolve(&self.host, self.port, &deadline)?, &deadline)?,
            Some(proxy) => {
                let addresses = resolve(proxy.host(), proxy.port(), &deadline)?;
                let mut socket = Timed { socket: connect_to_any(&addresses, &deadline)?, deadline };
                let target = match proxy.protocol() {
                    ProxyProtocol::Socks5 => Target::Ip(resolve(&self.host, self.port, &deadline)?[0].ip()),
                    _ => self.host.parse().map_or(Target::Name(&self.host), Target::Ip),
                };
                socks5(&mut socket, proxy, target, self.port)?;
                socket.socket
            }
        };
        let _ = socket.set_nodelay(true);
        let socket = Timed { socket, deadline };
        let stream = match &self.tls {
            None => Stream::Plain(socket),
            Some(Tls { config, name }) => {
                let session = ClientConnection::new(config.clone(), name.clone())
                    .map_err(|error| Failure::Misconfigured(error.to_string()))?;
                Stream::Tls(Box::new(StreamOwned::new(session, socket)))
            }
        };
        Ok(Lines { stream, received: Vec::new(), searched: 0 })
    }
}

/// A connection that carries lines.
#[derive(Debug)]
pub(super) struct Lines {
    stream: Stream,
    received: Vec<u8>,
    /// So many bytes hold no end of a line.
    searched: usize,
}

#[derive(Debug)]
enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

/// A socket on which nothing lasts longer than until the deadline.
#[derive(Debug)]
struct Timed {
    socket: TcpStream,
    deadline: Deadline,
}

impl Lines {
    /// Sends a line and its end.
    pub(super) fn send(&mut self, line: &str, deadline: Deadline) -> Result<(), Failure> {
        self.set_deadline(deadline);
        let bytes = [line.as_bytes(), b"\n"].concat();
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(&bytes),
            Stream::Tls(stream) => stream.write_all(&bytes).and_then(|()| stream.flush()),
        };
        sent.map_err(|error| of_io(&error, &deadline))
    }

    /// Waits for a line.
    pub(super) fn receive(&mut self, deadline: Deadline) -> Result<Vec<u8>, Failure> {
        self.set_deadline(deadline);
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(end) = self.received[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.received.split_off(self.searched + end + 1);
                self.searched = 0;
                return Ok(std::mem::replace(&mut self.received, rest));
            }
            self.searched = self.received.len();
            if self.received.len() > LINE {
                return Err(Failure::Unreachable(format!(
                    "its answer is longer than {LINE} bytes; check that the address is that of the right server"
                )));
            }
            let read = match &mut self.stream {
                Stream::Plain(stream) => stream.read(&mut chunk),
                Stream::Tls(stream) => stream.read(&mut chunk),
            };
            match read {
                Ok(0) => return Err(Failure::Unreachable("the server closed the connection".into())),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(of_io(&error, &deadline)),
            }
        }
    }

    fn set_deadline(&mut self, deadline: Deadline) {
        match &mut self.stream {
            Stream::Plain(stream) => stream.deadline = deadline,
            Stream::Tls(stream) => stream.sock.deadline = deadline,
        }
    }
}

impl Timed {
    fn left(&self) -> io::Result<std::time::Duration> {
        self.deadline.left().map_err(|_| io::ErrorKind::TimedOut.into())
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

fn tls_config(options: &SourceOptions) -> Result<Arc<ClientConfig>, SourceError> {
    let refused = |error: rustls::Error| SourceError::Certificate { reason: error.to_string() };
    let mut roots = RootCertStore::empty();
    if options.authorities.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for authority in &options.authorities {
        roots.add(authority.clone()).map_err(refused)?;
    }
    let builder = ClientConfig::builder_with_provider(super::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn proxy(options: &SourceOptions) -> Result<Option<Proxy>, SourceError> {
    let refused = || SourceError::Proxy { reason: "write socks5h://host:port (SOCKS 5)".into() };
    let proxy = match &options.proxy {
        Some(address) => Proxy::new(address).map_err(|_| refused())?,
        None => match options.proxy_from_environment.then(Proxy::try_from_env).flatten() {
            Some(proxy) => proxy,
            None => return Ok(None),
        },
    };
    match proxy.protocol() {
        ProxyProtocol::Socks5 | ProxyProtocol::Socks5h if !proxy.host().is_empty() => Ok(Some(proxy)),
        _ => Err(refused()),
    }
}

/// At least one address. The operating system's resolver cannot be told how long it may take, so it has a thread.
fn resolve(host: &str, port: u16, deadline: &Deadline) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (sender, receiver) = mpsc::channel();
    let asked = host.to_owned();
    let ask = move || {
        let found = (asked.as_str(), port).to_socket_addrs().map(|found| found.take(8).collect::<Vec<_>>());
        let _ = sender.send(found);
    };
    let spawned = thread::Builder::new().name("musig-resolve".into()).spawn(ask);
    spawned.map_err(|error| Failure::Unreachable(format!("the system gives no thread: {error}")))?;
    match receiver.recv_timeout(deadline.left()?) {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Failure::Unreachable(format!(
            "the name {host} has no address; check it, and for .onion names set a proxy socks5h://…"
        ))),
        Err(_) => Err(deadline.missed()),
    }
}

fn connect_to_any(addresses: &[SocketAddr], deadline: &Deadline) -> Result<TcpStream, Failure> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(address, deadline.left()?) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(of_io(&error, deadline)),
        }
    }
    Err(last.unwrap_or_else(|| deadline.missed()))
}

enum Target<'a> {
    Ip(IpAddr),
    Name(&'a str),
}

/// Asks a SOCKS 5 proxy (RFC 1928, RFC 1929) for a connection.
fn socks5(stream: &mut Timed, proxy: &Proxy, target: Target<'_>, port: u16) -> Result<(), Failure> {
    let deadline = stream.deadline;
    let broken = |error: io::Error| match of_io(&error, &deadline) {
        Failure::Unreachable(words) => Failure::Unreachable(format!("the proxy: {words}")),
        other => other,
    };
    let strange = || Failure::Unreachable("the proxy does not speak SOCKS 5; check its address".into());
    let login = proxy.username().zip(proxy.password());
    let greeting: &[u8] = if login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
    stream.write_all(greeting).map_err(broken)?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).map_err(broken)?;
    match (chosen, login) {
        ([5, 0], _) => {}
        ([5, 2], Some((user, password))) => {
            let lengths = u8::try_from(user.len()).ok().zip(u8::try_from(password.len()).ok());
            let Some((user_length, password_length)) = lengths else {
                return Err(Failure::Misconfigured("user or password of the proxy is too long".into()));
            };
            let message =
                [&[1, user_length], user.as_bytes(), &[password_length], password.as_bytes()].concat();
            stream.write_all(&message).map_err(broken)?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).map_err(broken)?;
            if answer[1] != 0 {
                return Err(Failure::Misconfigured("the proxy refuses user or password".into()));
            }
        }
        ([5, _], _) => return Err(Failure::Misconfigured("the proxy wants another way to log in".into())),
        _ => return Err(strange()),
    }
    let address = match target {
        Target::Ip(IpAddr::V4(ip)) => [&[1], ip.octets().as_slice()].concat(),
        Target::Ip(IpAddr::V6(ip)) => [&[4], ip.octets().as_slice()].concat(),
        Target::Name(name) => {
            let length = u8::try_from(name.len()).expect("names of at most 255 bytes are taken");
            [&[3, length], name.as_bytes()].concat()
        }
    };
    stream.write_all(&[&[5, 1, 0], address.as_slice(), &port.to_be_bytes()].concat()).map_err(broken)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).map_err(broken)?;
    if head[0] != 5 {
        return Err(strange());
    }
    if head[1] != 0 {
        let why = match head[1] {
            2 => "its rules forbid it",
            3 => "the network cannot be reached",
            4 => "the host cannot be reached",
            5 => "nothing listens there",
            6 => "it took too long",
            _ => "a failure of its own",
        };
        return Err(Failure::Unreachable(format!("the proxy does not connect to it: {why} ({})", head[1])));
    }
    let length = match head[3] {
        1 => 4,
        4 => 16,
        3 => {
            let mut length = [0];
            stream.read_exact(&mut length).map_err(broken)?;
            usize::from(length[0])
        }
        _ => return Err(strange()),
    };
    let mut bound = vec![0; length + 2];
    stream.read_exact(&mut bound).map_err(broken)
}
