//! Names: a transport that resolves them by the operating system at each dial.
//!
//! libp2p's own reads the name servers once, so that after a change of the network no name is ever resolved again; and
//! Android has no file to read them from.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, Either, FutureExt};
use futures::stream::FuturesUnordered;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, Transport};
use tokio::sync::Semaphore;

use super::cause::of_transport;
use crate::mutation::{self, Mutation};

/// Look-ups that run at once. The system's cannot be cancelled: each has a thread until it ends.
const LOOKUPS: usize = 8;
/// Addresses of one name that are dialled.
const ADDRESSES: usize = 8;
/// How long each address of a name has before the next one is dialled too.
const STAGGER: Duration = Duration::from_millis(250);

/// Why a name led to no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error + 'static> {
    /// The address has no name.
    #[error(transparent)]
    Transport(E),
    /// The system does not know the name, or did not ask.
    #[error("the name {0} cannot be resolved")]
    LookUp(String, #[source] io::Error),
    /// The name has no address of this kind.
    #[error("the name {0} has no {1} address")]
    NoAddress(String, &'static str),
    /// No address of the name could be dialled.
    #[error("{0}")]
    Dials(String),
}

/// The addresses of a name that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Any,
    V4,
    V6,
}

impl Family {
    fn has(self, ip: &IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Any => "IP",
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// The name that an address begins with.
fn name_of(address: &Multiaddr) -> Option<(String, Family)> {
    match address.iter().next()? {
        Protocol::Dns(name) => Some((name.into_owned(), Family::Any)),
        Protocol::Dns4(name) => Some((name.into_owned(), Family::V4)),
        Protocol::Dns6(name) => Some((name.into_owned(), Family::V6)),
        _ => None,
    }
}

/// A transport that has the operating system resolve `/dns`, `/dns4` and `/dns6` at each dial, for programs with a
/// libp2p swarm of their own too; see `examples/relay.rs`.
pub struct Resolving<T> {
    inner: Arc<Mutex<T>>,
    lookups: Arc<Semaphore>,
}

impl<T> Resolving<T> {
    /// Resolves names for this transport.
    pub fn new(inner: T) -> Self {
        Self { inner: Arc::new(Mutex::new(inner)), lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

/// Asks the system for the addresses of a name, each once. The look-up keeps its place among the others until it has
/// ended, whether or not it is still waited for.
async fn look_up(lookups: Arc<Semaphore>, name: String) -> io::Result<Vec<IpAddr>> {
    if mutation::on(Mutation::NamesUnresolved) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let place = lookups.acquire_owned().await.map_err(io::Error::other)?;
    let lookup = tokio::spawn(async move {
        let found = tokio::net::lookup_host((name, 0)).await.map(|found| found.map(|at| at.ip()).collect());
        drop(place);
        found
    });
    let found: Vec<IpAddr> = lookup.await.map_err(io::Error::other)??;
    let mut addresses = Vec::new();
    for ip in found {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    Ok(addresses)
}

/// Dials the addresses of a name, the next one when the one before failed or takes long. The first connection wins.
async fn dial_any<T>(
    inner: Arc<Mutex<T>>,
    addresses: Vec<Multiaddr>,
    options: DialOpts,
) -> Result<T::Output, Error<T::Error>>
where
    T: Transport,
    T::Dial: Send,
    T::Error: 'static,
{
    let mut waiting = addresses.into_iter();
    let mut dials = FuturesUnordered::new();
    let mut failures: Vec<String> = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            let dial = inner.lock().unwrap_or_else(PoisonError::into_inner).dial(address.clone(), options);
            match dial {
                Ok(dial) => dials.push(dial.map(move |outcome| (address, outcome))),
                Err(error) => {
                    failures.push(format!("{address}: {}", of_transport(&error)));
                    continue;
                }
            }
        }
        tokio::select! {
            ended = dials.next() => match ended {
                Some((_, Ok(connection))) => return Ok(connection),
                Some((address, Err(error))) => {
                    failures.push(format!("{address}: {}", of_transport(&TransportError::Other(error))));
                }
                None if waiting.len() == 0 => return Err(Error::Dials(failures.join("; "))),
                None => {}
            },
            () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

impl<T> Transport for Resolving<T>
where
    T: Transport + Send + Unpin + 'static,
    T::Dial: Send,
    T::Error: Send,
{
    type Output = T::Output;
    type Error = Error<T::Error>;
    type ListenerUpgrade = futures::future::MapErr<T::ListenerUpgrade, fn(T::Error) -> Self::Error>;
    type Dial = Either<
        futures::future::MapErr<T::Dial, fn(T::Error) -> Self::Error>,
        BoxFuture<'static, Result<T::Output, Self::Error>>,
    >;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.listen_on(id, address).map_err(|error| error.map(Error::Transport))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        use futures::TryFutureExt;
        let Some((name, family)) = name_of(&address) else {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let dial = inner.dial(address, options).map_err(|error| error.map(Error::Transport))?;
            return Ok(Either::Left(dial.map_err(Error::Transport as fn(T::Error) -> Self::Error)));
        };
        let (inner, lookups) = (self.inner.clone(), self.lookups.clone());
        let dial = async move {
            let found = look_up(lookups, name.clone()).await;
            let found = found.map_err(|error| Error::LookUp(name.clone(), error))?;
            let addresses: Vec<Multiaddr> = found
                .into_iter()
                .filter(|ip| family.has(ip))
                .take(ADDRESSES)
                .filter_map(|ip| address.replace(0, |_| Some(ip.into())))
                .collect();
            if addresses.is_empty() {
                return Err(Error::NoAddress(name, family.word()));
            }
            dial_any(inner, addresses, options).await
        };
        Ok(Either::Right(dial.boxed()))
    }

    fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        use futures::TryFutureExt;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *inner).poll(context).map(|event| {
            event
                .map_upgrade(|upgrade| upgrade.map_err(Error::Transport as fn(T::Error) -> Self::Error))
                .map_err(Error::Transport)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::Ready;

    use futures::future::{pending, ready};
    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;

    use super::*;

    /// A transport on which port 1 connects, port 2 hangs, and others fail. It notes what is dialled.
    #[derive(Default)]
    struct Fake(Arc<Mutex<Vec<Multiaddr>>>);

    impl Transport for Fake {
        type Output = Multiaddr;
        type Error = io::Error;
        type ListenerUpgrade = Ready<Result<Multiaddr, io::Error>>;
        type Dial = BoxFuture<'static, Result<Multiaddr, io::Error>>;

        fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
            Err(TransportError::MultiaddrNotSupported(address))
        }

        fn remove_listener(&mut self, _: ListenerId) -> bool {
            false
        }

        fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
            self.0.lock().unwrap().push(address.clone());
            match address.iter().last() {
                Some(Protocol::Tcp(1)) => Ok(ready(Ok(address)).boxed()),
                Some(Protocol::Tcp(2)) => Ok(pending().boxed()),
                Some(Protocol::Tcp(_)) => Ok(ready(Err(io::ErrorKind::ConnectionRefused.into())).boxed()),
                _ => Err(TransportError::MultiaddrNotSupported(address)),
            }
        }

        fn poll(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
            Poll::Pending
        }
    }

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    const OPTIONS: DialOpts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };

    async fn any(ports: &[u16]) -> (Result<Multiaddr, String>, usize) {
        let fake = Fake::default();
        let dialled = fake.0.clone();
        let addresses = ports.iter().map(|port| address(&format!("/ip4/127.0.0.1/tcp/{port}"))).collect();
        let outcome = dial_any(Arc::new(Mutex::new(fake)), addresses, OPTIONS).await;
        let dials = dialled.lock().unwrap().len();
        (outcome.map_err(|error| error.to_string()), dials)
    }

    #[tokio::test]
    async fn resolver_dials_the_addresses_of_a_name_until_one_connects() {
        assert_eq!(any(&[1, 3]).await, (Ok(address("/ip4/127.0.0.1/tcp/1")), 1));
        assert_eq!(any(&[3, 4, 1, 5]).await, (Ok(address("/ip4/127.0.0.1/tcp/1")), 3));
        // One that hangs delays the next one for a moment only.
        assert_eq!(any(&[2, 2, 1]).await, (Ok(address("/ip4/127.0.0.1/tcp/1")), 3));
        let (outcome, dials) = any(&[3, 4]).await;
        let error = outcome.expect_err("both refuse");
        assert!(error.contains("tcp/3: connection refused") && error.contains("tcp/4"), "{error}");
        assert_eq!(dials, 2);
    }

    #[tokio::test]
    async fn resolver_asks_the_system_for_names_and_leaves_other_addresses_alone() {
        let fake = Fake::default();
        let dialled = fake.0.clone();
        let mut transport = Resolving::new(fake);
        for (text, expected) in [
            ("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/1"),
            ("/dns4/localhost/tcp/1", "/ip4/127.0.0.1/tcp/1"),
        ] {
            let connection = transport.dial(address(text), OPTIONS).expect("is dialled").await;
            assert_eq!(connection.expect("connects"), address(expected));
        }
        assert_eq!(dialled.lock().unwrap().len(), 2);
        let unknown =
            transport.dial(address("/dns/no-such-name.invalid/tcp/1"), OPTIONS).expect("is tried").await;
        let error = super::super::cause::causes(&unknown.expect_err("there is no such name"));
        assert!(error.starts_with("the name no-such-name.invalid cannot be resolved: "), "{error}");
        assert!(matches!(
            transport.dial(address("/dnsaddr/example.org"), OPTIONS),
            Err(TransportError::MultiaddrNotSupported(_))
        ));
    }

    #[tokio::test]
    async fn resolver_runs_a_limited_number_of_lookups_at_once() {
        let lookups = Arc::new(Semaphore::new(1));
        let held = lookups.clone().acquire_owned().await.unwrap();
        let lookup = tokio::spawn(look_up(lookups.clone(), "127.0.0.1".into()));
        tokio::task::yield_now().await;
        assert!(!lookup.is_finished(), "it waits for its place");
        drop(held);
        assert_eq!(lookup.await.unwrap().unwrap(), [IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(lookups.available_permits(), 1);
    }
}
