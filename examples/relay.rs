//! A server for signers that cannot reach each other by themselves: relay, server of the distributed hash table of
//! presences, bootstrap peer, and the one that tells a node under which address it is seen. It holds no signer's key and
//! takes part in no session.
//!
//! `cargo run --release --example relay -- --help` lists the options, `docs/operations.md` says how to run it.

#[path = "relay/options.rs"]
mod options;
#[path = "relay/rates.rs"]
pub mod rates;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt;
use libmusig::net::{DHT_PROTOCOL, Multiaddr, Offered, PresenceStore, Resolving, dht};
use libp2p::core::Transport;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{connection_limits, identify, kad, noise, ping, relay, tcp, yamux};

use options::Options;
use rates::Rates;

/// How long a connection stays on which nothing is asked. Its clients come back by themselves.
const IDLE: Duration = Duration::from_secs(3600);
/// Time limit for connecting and the handshakes together.
const CONNECTING: Duration = Duration::from_secs(10);
/// Connections with one node: it may be dialled back, and have one that it has not noticed to be dead.
const PER_PEER: u32 = 4;
/// Connections through this relay that one node may have open at once: one with each signer of a session.
const CIRCUITS_PER_PEER: usize = 128;
/// Addresses that are taken from what a server of the hash table says of itself.
const ADDRESSES: usize = 8;

#[derive(NetworkBehaviour)]
struct Server {
    rates: Rates,
    limits: connection_limits::Behaviour,
    relay: relay::Behaviour,
    dht: kad::Behaviour<PresenceStore>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

impl Server {
    fn new(key: &Keypair, options: &Options) -> Self {
        let own = key.public().to_peer_id();
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(128))
            .with_max_established_incoming(Some(options.max_connections))
            .with_max_established_per_peer(Some(PER_PEER));
        let relay = relay::Config {
            max_reservations: options.max_reservations,
            max_circuits: options.max_circuits,
            max_circuits_per_peer: CIRCUITS_PER_PEER,
            max_circuit_duration: options.circuit_duration,
            max_circuit_bytes: options.circuit_bytes,
            // With libp2p's rates, by peer id and by IP address: of reservations, and of connections through the relay.
            ..relay::Config::default()
        };
        let identify = identify::Config::new("musig/1".into(), key.public())
            .with_agent_version(concat!("libmusig-relay/", env!("CARGO_PKG_VERSION")).into());
        Self {
            rates: Rates::new(options.max_connections_per_ip),
            limits: connection_limits::Behaviour::new(limits),
            relay: relay::Behaviour::new(own, relay),
            dht: dht(own, kad::Mode::Server, options.max_records),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(30))),
        }
    }
}

fn main() -> ExitCode {
    run(std::env::args().skip(1))
}

/// Serves until it is ended. The tests call this in a process of their own.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

async fn serve(options: &Options) -> Result<(), Failure> {
    let key = options.identity()?;
    let mut swarm = libp2p::SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|key| {
            let tcp = Resolving::new(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)));
            let upgrade = tcp.upgrade(Version::V1Lazy).authenticate(noise::Config::new(key)?);
            Ok(upgrade.multiplex(yamux::Config::default()).timeout(CONNECTING).boxed())
        })?
        .with_behaviour(|key| Server::new(key, options))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    for address in &options.external {
        swarm.add_external_address(address.clone());
        say("external", address, &swarm);
    }
    for address in &options.listen {
        swarm.listen_on(address.clone())?;
    }
    for address in &options.bootstrap {
        if let Err(error) = swarm.dial(address.clone()) {
            eprintln!("{address} is not dialled: {error}");
        }
    }

    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => {
                // Clients are told to be reached here, unless it was said where.
                if options.external.is_empty() {
                    swarm.add_external_address(address.clone());
                }
                say("listening", &address, &swarm);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => swarm.remove_external_address(&address),
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                return Err(format!("no longer listening on {addresses:?}: {error}").into());
            }
            SwarmEvent::Behaviour(ServerEvent::Identify(identify::Event::Received {
                peer_id, info, ..
            })) if info.protocols.contains(&DHT_PROTOCOL) => {
                for address in info.listen_addrs.into_iter().take(ADDRESSES) {
                    swarm.behaviour_mut().dht.add_address(&peer_id, address);
                }
            }
            SwarmEvent::Behaviour(ServerEvent::Ping(ping::Event { connection, result: Err(_), .. })) => {
                swarm.close_connection(connection);
            }
            SwarmEvent::Behaviour(ServerEvent::Dht(kad::Event::InboundRequest {
                request: kad::InboundRequest::PutRecord { source, record: Some(record), .. },
            })) => {
                // The store takes valid presences only. Who offers a forged one has to connect again.
                if swarm.behaviour_mut().dht.store_mut().offer(source, record) == Offered::Forged {
                    let _ = swarm.disconnect_peer_id(source);
                }
            }
            _ => {}
        }
    }
}

/// Says where this server is, as its clients are to write it.
fn say(what: &str, address: &Multiaddr, swarm: &Swarm<Server>) {
    let address = address.clone().with(Protocol::P2p(*swarm.local_peer_id()));
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{what} {address}").and_then(|()| out.flush());
}
