//! Settings of the network layer, and their defaults.

use std::collections::HashSet;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::address::peer_of;

/// The part of this node in the distributed hash table in which signers' nodes find each other by their keys. It is
/// libmusig's own (`/musig/kad/1`); other networks of libp2p have no part in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DhtMode {
    /// None: the table is not queried, and this node does not publish its presence there.
    Off,
    /// Queries the table, and publishes its own presence. Right wherever others cannot always reach this node.
    #[default]
    Client,
    /// Stores the presences of others too, and answers queries. For nodes that run all the time and can be reached.
    Server,
}

/// Settings of the network layer. Each has a default.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Addresses to listen on. Default: TCP on a free port of every IPv4 and IPv6 interface.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which others reach this node although it does not listen on them (port forwarding).
    pub external: Vec<Multiaddr>,
    /// Addresses that are dialled from the start, and again for as long as they are not connected.
    pub peers: Vec<Multiaddr>,
    /// Bootstrap peers: servers of the distributed hash table, each with its peer id at the end (`/p2p/...`). They are
    /// dialled from the start, and again for as long as they are not connected. They need not be signers.
    pub bootstrap_peers: Vec<Multiaddr>,
    /// Relays through which others reach this node, each with its peer id at the end (`/p2p/...`). A reservation is
    /// made at each of them, and renewed. The addresses that come of it are announced like any other.
    pub relays: Vec<Multiaddr>,
    /// A SOCKS 5 proxy that opens every connection of this node, as `socks5h://127.0.0.1:9050` (Tor), perhaps with a login
    /// (`socks5h://user:password@…`). It resolves the names, of onion services (`/onion3`) too, and nothing is dialled,
    /// looked up, listened for or announced beside it: others reach this node through `relays`, or through an onion
    /// service, if `external` has its address and `listen` the loopback address where it leads. mDNS, hole punching and
    /// observed addresses are off, and dials have at least 30 s.
    pub proxy: Option<String>,
    /// The part of this node in the distributed hash table. Without a bootstrap peer it has none until a connected peer
    /// happens to be a server of the table.
    pub dht: DhtMode,
    /// Whether to announce this node's peer id and addresses on the local network (mDNS), and to look there for signers
    /// that are sought. Off by default: everybody on the network can read it, systems ask their users for permission,
    /// and it is of no use unless signers do meet in one network.
    pub mdns: bool,
    /// How long to wait before a sought signer that is not connected is looked up again; it doubles each time.
    pub lookup_min: Duration,
    /// The longest wait between two lookups of one signer.
    pub lookup_max: Duration,
    /// How often the own presence is published again, and the table of peers refreshed. It is published at once when
    /// it changes. Its time to live there is a day.
    pub publish_interval: Duration,
    /// Presences that a server of the distributed hash table stores for others.
    pub max_dht_records: usize,
    /// Connections that others may open to this node. Its own dials are not counted. One half of them is for configured
    /// peers, servers and the signers of open sessions.
    pub max_connections: u32,
    /// Connections that others may open from one IP address (of IPv6: one /64), or through one relay. It binds none of
    /// those for whom one half is kept, and none of this machine.
    pub max_connections_per_ip: u32,
    /// Connections with one peer. Two are normal for a moment, when both dial at once.
    pub max_connections_per_peer: u32,
    /// Bytes that wait to be sent to one peer; frames above that are dropped.
    pub max_pending_bytes_per_peer: usize,
    /// Bytes of received frames above 64 KiB that are being read or wait for the application, of all peers together.
    /// At least one frame of the largest size always fits.
    pub max_received_bytes: usize,
    /// Frames per second that are read from a connection with a configured peer, a server, or a signer of an open session; a
    /// faster one is slowed down. Bursts of four seconds' worth are allowed.
    pub frames_per_second: u32,
    /// The same for all others, at whom a KiB counts as another frame. Bursts of one second's worth are allowed.
    pub strangers_frames_per_second: u32,
    /// Time limit for each started 256 KiB of a frame to arrive. While other peers' frames wait for room
    /// ([`NetworkConfig::max_received_bytes`]), a frame above 64 KiB has a sixteenth of that.
    pub frame_timeout: Duration,
    /// Time limit for a connected peer to present its signer. A connection that was opened for a lookup only stays as
    /// long.
    pub presence_timeout: Duration,
    /// Time limit for connecting and the handshakes together.
    pub dial_timeout: Duration,
    /// Shortest pause between two dials of one peer; it doubles with each failure.
    pub redial_min: Duration,
    /// Longest pause between two dials of one peer.
    pub redial_max: Duration,
    /// Interval of the pings on each connection.
    pub ping_interval: Duration,
    /// Idle time after which a connection counts as dead: it is closed, and dialled again.
    pub dead_after: Duration,
    /// How often a signer is asked for a sign of life while a turn approaches in a session with it, if nothing else comes
    /// from it: at least 100 ms. After three questions in a row without any sign it counts as gone for
    /// [`EarlyTurns::gone`](crate::protocol::EarlyTurns::gone), and for nothing else. Default: 1 s; for phones 5 s.
    pub ask_interval: Duration,
    /// Violations of the protocol that lead to a ban of the peer.
    pub ban_after: u32,
    /// Duration of a ban, and of the memory of a violation.
    pub ban_duration: Duration,
    /// Signers whose presence is kept in memory. Sought and connected ones are never evicted.
    pub max_presences: usize,
    /// Whether this node, when it is dialled, shows whose it is only to peers that look for its key, to configured ones and
    /// servers, and to signers of its sessions, past ones too. Default: true. With false it shows its key and its addresses
    /// to whoever connects: so a peer that knows nothing but an address learns whose it is.
    pub hides: bool,
    /// Events that wait for the application before peers have to wait.
    pub event_capacity: usize,
}

impl NetworkConfig {
    /// The settings for phones: no listening (add an address to `listen` for peers in one network), client of the
    /// distributed hash table, no mDNS, fewer connections, and longer intervals, for each packet wakes the radio. Give
    /// it `bootstrap_peers`, and `relays` so that others reach it.
    pub fn mobile() -> Self {
        Self {
            listen: Vec::new(),
            dht: DhtMode::Client,
            mdns: false,
            lookup_min: Duration::from_secs(2),
            lookup_max: Duration::from_secs(5 * 60),
            publish_interval: Duration::from_secs(3 * 3600),
            max_connections: 32,
            max_pending_bytes_per_peer: 8 << 20,
            max_received_bytes: 16 << 20,
            redial_min: Duration::from_millis(500),
            redial_max: Duration::from_secs(60),
            ping_interval: Duration::from_secs(25),
            dead_after: Duration::from_secs(60),
            ask_interval: Duration::from_secs(5),
            ..Self::default()
        }
    }

    /// The settings for a node that reaches others through a proxy alone: see [`NetworkConfig::proxy`], the setting. Give it
    /// `relays`, so that others reach it.
    pub fn proxy(address: &str) -> Self {
        Self { listen: Vec::new(), proxy: Some(address.to_owned()), ..Self::default() }
    }

    /// Limits the durations to what can be added to any moment: a hundred years mean "never" as well as the longest do.
    pub(super) fn within_limits(mut self) -> Self {
        const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        // A few times a second is what the other side reads.
        const SHORTEST_ASK: Duration = Duration::from_millis(100);
        for duration in [
            &mut self.frame_timeout,
            &mut self.presence_timeout,
            &mut self.dial_timeout,
            &mut self.redial_min,
            &mut self.redial_max,
            &mut self.lookup_min,
            &mut self.lookup_max,
            &mut self.publish_interval,
            &mut self.ping_interval,
            &mut self.dead_after,
            &mut self.ask_interval,
            &mut self.ban_duration,
        ] {
            *duration = (*duration).min(LONGEST);
        }
        self.ask_interval = self.ask_interval.max(SHORTEST_ASK);
        self
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let any = |text: &str| text.parse().expect("a well-formed address");
        Self {
            listen: vec![any("/ip4/0.0.0.0/tcp/0"), any("/ip6/::/tcp/0")],
            external: Vec::new(),
            peers: Vec::new(),
            bootstrap_peers: Vec::new(),
            relays: Vec::new(),
            proxy: None,
            dht: DhtMode::default(),
            mdns: false,
            lookup_min: Duration::from_secs(1),
            lookup_max: Duration::from_secs(60),
            publish_interval: Duration::from_secs(1800),
            max_dht_records: 4096,
            max_connections: 256,
            max_connections_per_ip: 32,
            max_connections_per_peer: 4,
            max_pending_bytes_per_peer: 16 << 20,
            max_received_bytes: 32 << 20,
            frames_per_second: 10_000,
            strangers_frames_per_second: 100,
            frame_timeout: Duration::from_secs(30),
            presence_timeout: Duration::from_secs(30),
            dial_timeout: Duration::from_secs(10),
            redial_min: Duration::from_millis(100),
            redial_max: Duration::from_secs(10),
            ping_interval: Duration::from_secs(5),
            dead_after: Duration::from_secs(15),
            ask_interval: Duration::from_secs(1),
            ban_after: 3,
            ban_duration: Duration::from_secs(60),
            max_presences: 1024,
            hides: true,
            event_capacity: 256,
        }
    }
}

/// The configured bootstrap peers and relays, checked.
#[derive(Default)]
pub(super) struct Servers {
    /// Their peer ids.
    pub(super) peers: HashSet<PeerId>,
    /// The addresses to dial. A relay is dialled by the listener there.
    pub(super) dialled: Vec<Multiaddr>,
    /// The addresses to listen on at relays.
    pub(super) reservations: Vec<Multiaddr>,
    /// What cannot be used, and why.
    pub(super) problems: Vec<String>,
}

impl Servers {
    pub(super) fn new(config: &NetworkConfig) -> Self {
        let mut this = Self::default();
        let built = |wanted: bool, there: bool, what: &str, feature: &str| {
            (wanted && !there)
                .then(|| format!("{what} needs a library that was built with the feature `{feature}`"))
        };
        let (discovery, nat) = (cfg!(feature = "discovery"), cfg!(feature = "nat"));
        this.problems.extend(built(!config.relays.is_empty(), nat, "a relay", "nat"));
        this.problems.extend(built(config.mdns, discovery, "mDNS", "discovery"));
        let asks = !config.bootstrap_peers.is_empty() || config.dht == DhtMode::Server;
        this.problems.extend(built(asks, discovery, "the distributed hash table", "discovery"));
        if !config.bootstrap_peers.is_empty() && config.dht == DhtMode::Off {
            this.problems.push("bootstrap peers are of no use with the distributed hash table off".into());
        }

        for address in config.relays.iter().filter(|_| nat) {
            match peer_of(address) {
                Some(peer) => {
                    this.peers.insert(peer);
                    this.reservations.push(address.clone().with(Protocol::P2pCircuit));
                }
                None => this.problems.push(without_peer_id("relay", address)),
            }
        }
        for address in config.bootstrap_peers.iter().filter(|_| discovery && config.dht != DhtMode::Off) {
            match peer_of(address) {
                Some(peer) if this.peers.insert(peer) => this.dialled.push(address.clone()),
                Some(_) => {}
                None => this.problems.push(without_peer_id("bootstrap peer", address)),
            }
        }
        this
    }
}

/// The report of a server whose address has no peer id.
fn without_peer_id(what: &str, address: &Multiaddr) -> String {
    format!("the {what} {address} is left out: it has no peer id; append /p2p/<peer id>")
}
