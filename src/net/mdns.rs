//! Multicast DNS: peers on the local network.
//!
//! It has a thread and a runtime of its own: libp2p's tasks for it end with their runtime only, and keep whatever
//! anybody on the network claims, so they are restarted when that is too much.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures::future::poll_fn;
use libp2p::core::transport::ListenerId;
use libp2p::mdns::{self, Event};
use libp2p::swarm::behaviour::{ExpiredListenAddr, NewListenAddr};
use libp2p::swarm::{FromSwarm, NetworkBehaviour, ToSwarm};
use libp2p::{Multiaddr, PeerId};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

/// How often the network is queried.
const QUERY_INTERVAL: Duration = Duration::from_secs(60);
/// The time to live of an announcement.
const TIME_TO_LIVE: Duration = Duration::from_secs(5 * 60);
/// How long to wait when it cannot start, or when too much was claimed.
const RETRY: Duration = Duration::from_secs(60);
/// Addresses that are claimed at once before it counts as too much.
const CLAIMS: usize = 1024;
/// Peers that were seen and wait for the node; more are dropped, and seen again.
const BACKLOG: usize = 256;
const PORT: u16 = 5353;

/// A peer that is said to be there, or why none can be seen.
type Found = Result<(PeerId, Multiaddr), String>;

enum Order {
    /// Announce these addresses, and no others.
    Listening(Vec<Multiaddr>),
    /// Query the network. Once somebody answered, libp2p does so every [`QUERY_INTERVAL`] only.
    Ask,
}

/// The thread; dropping this ends it.
pub(super) struct Finder {
    orders: mpsc::UnboundedSender<Order>,
    found: mpsc::Receiver<Found>,
}

impl Finder {
    pub(super) fn start(own: PeerId) -> Self {
        let (sender, orders) = mpsc::unbounded_channel();
        let (sink, found) = mpsc::channel(BACKLOG);
        let failed = sink.clone();
        let search = Search { own, orders, sink, listening: HashSet::new(), reported: false };
        if let Err(error) = thread::Builder::new().name("musig-mdns".into()).spawn(move || search.run()) {
            let _ = failed.try_send(cannot(&error));
        }
        Self { orders: sender, found }
    }

    /// Announces these addresses, and no others.
    pub(super) fn announce(&self, addresses: Vec<Multiaddr>) {
        let _ = self.orders.send(Order::Listening(addresses));
    }

    /// Queries the network.
    pub(super) fn ask(&self) {
        let _ = self.orders.send(Order::Ask);
    }

    pub(super) async fn next(&mut self) -> Found {
        match self.found.recv().await {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }
}

fn cannot(error: &io::Error) -> Found {
    Err(format!("signers on the local network are not found: mDNS does not start ({error})"))
}

enum Ended {
    /// The node ended.
    Node,
    /// To be restarted, which queries the network at once.
    Restart,
    Failed(io::Error),
    Flooded,
}

struct Search {
    own: PeerId,
    orders: mpsc::UnboundedReceiver<Order>,
    sink: mpsc::Sender<Found>,
    listening: HashSet<Multiaddr>,
    reported: bool,
}

impl Search {
    fn run(mut self) {
        loop {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = self.sink.try_send(cannot(&error));
                    return;
                }
            };
            let text = match runtime.block_on(self.search()) {
                Ended::Node => return,
                Ended::Restart => continue,
                Ended::Failed(error) => cannot(&error),
                Ended::Flooded => Err(
                    "somebody floods the local network with mDNS: signers on it are not found for a minute"
                        .into(),
                ),
            };
            if !std::mem::replace(&mut self.reported, true) {
                let _ = self.sink.try_send(text);
            }
            let ended = runtime.block_on(async {
                let until = tokio::time::Instant::now() + RETRY;
                while let Ok(order) = tokio::time::timeout_at(until, self.orders.recv()).await {
                    match order {
                        Some(Order::Listening(addresses)) => self.listening = addresses.into_iter().collect(),
                        Some(Order::Ask) => {}
                        None => return true,
                    }
                }
                false
            });
            if ended {
                return;
            }
        }
    }

    async fn search(&mut self) -> Ended {
        // libp2p only logs a socket that it cannot have, so one like its own is tried before.
        let config = mdns::Config { ttl: TIME_TO_LIVE, query_interval: QUERY_INTERVAL, enable_ipv6: false };
        let started = probe().and_then(|()| mdns::tokio::Behaviour::new(config, self.own));
        let mut behaviour = match started {
            Ok(behaviour) => behaviour,
            Err(error) => return Ended::Failed(error),
        };
        // All addresses count as one listener's.
        let listener_id = ListenerId::next();
        for addr in &self.listening {
            behaviour.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr }));
        }
        self.reported = false;
        loop {
            tokio::select! {
                order = self.orders.recv() => {
                    let addresses = match order {
                        Some(Order::Listening(addresses)) => addresses,
                        Some(Order::Ask) => return Ended::Restart,
                        None => return Ended::Node,
                    };
                    let addresses: HashSet<_> = addresses.into_iter().collect();
                    for addr in self.listening.difference(&addresses) {
                        let gone = ExpiredListenAddr { listener_id, addr };
                        behaviour.on_swarm_event(FromSwarm::ExpiredListenAddr(gone));
                    }
                    for addr in addresses.difference(&self.listening) {
                        behaviour.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr }));
                    }
                    self.listening = addresses;
                }
                found = poll_fn(|context| loop {
                    match behaviour.poll(context) {
                        Poll::Ready(ToSwarm::GenerateEvent(Event::Discovered(found))) => return Poll::Ready(found),
                        Poll::Ready(_) => {}
                        Poll::Pending => return Poll::Pending,
                    }
                }) => {
                    if behaviour.discovered_nodes().len() > CLAIMS {
                        return Ended::Flooded;
                    }
                    for (peer, address) in found {
                        let _ = self.sink.try_send(Ok((peer, address)));
                    }
                }
            }
        }
    }
}

/// Whether the port of mDNS can be had, shared with others that share it.
fn probe() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())
}
