//! Settings of the network layer, and their defaults.

use std::time::Duration;

use libp2p::Multiaddr;

/// How the network layer listens, dials and limits. Everything has a default.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Addresses to listen on. Default: TCP on a free port of every IPv4 and IPv6 interface.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which others reach this node although it does not listen on them (port forwarding).
    pub external: Vec<Multiaddr>,
    /// Addresses that are dialled from the start, and again for as long as they are not connected.
    pub peers: Vec<Multiaddr>,
    /// Connections that others may open to this node. Its own dials are not counted.
    pub max_connections: u32,
    /// Connections with one peer. Two are normal for a moment, when both dial at once.
    pub max_connections_per_peer: u32,
    /// Bytes that wait to be sent to one peer; what comes on top is dropped.
    pub max_pending_bytes_per_peer: usize,
    /// Bytes of received frames above 64 KiB that are being read or wait for the application, of all peers together.
    /// At least one frame of the largest size always fits.
    pub max_received_bytes: usize,
    /// Resident bytes of this whole process above which no connection is accepted or dialled; `None`: no limit.
    pub max_memory: Option<usize>,
    /// Frames that one peer's stream is read at per second; a faster one is slowed down. Four seconds' worth may
    /// come at once.
    pub frames_per_second: u32,
    /// Within which every started 256 KiB of a frame must arrive. While other peers' frames wait for room
    /// ([`NetworkConfig::max_received_bytes`]), a frame above 64 KiB has a sixteenth of that.
    pub frame_timeout: Duration,
    /// Within which a connected peer must have presented its signer.
    pub presence_timeout: Duration,
    /// For connecting and the handshakes.
    pub dial_timeout: Duration,
    /// First pause between two dials of one peer; it doubles with each failure.
    pub redial_min: Duration,
    /// Longest pause between two dials of one peer.
    pub redial_max: Duration,
    /// How often each connection is pinged.
    pub ping_interval: Duration,
    /// A connection on which nothing moved for this long is closed (and dialled again).
    pub dead_after: Duration,
    /// Violations of the protocol after which a peer is banned.
    pub ban_after: u32,
    /// How long a ban holds, and how long a violation is remembered.
    pub ban_duration: Duration,
    /// Signers whose presence is remembered. Sought and connected ones are never forgotten.
    pub max_presences: usize,
    /// Events that wait for the application before peers have to wait.
    pub event_capacity: usize,
}

impl NetworkConfig {
    /// Durations that can be added to any moment: a hundred years mean "never" as well as the longest ones do.
    pub(super) fn within_limits(mut self) -> Self {
        const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        for duration in [
            &mut self.frame_timeout,
            &mut self.presence_timeout,
            &mut self.dial_timeout,
            &mut self.redial_min,
            &mut self.redial_max,
            &mut self.ping_interval,
            &mut self.dead_after,
            &mut self.ban_duration,
        ] {
            *duration = (*duration).min(LONGEST);
        }
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
            max_connections: 256,
            max_connections_per_peer: 4,
            max_pending_bytes_per_peer: 16 << 20,
            max_received_bytes: 32 << 20,
            max_memory: None,
            frames_per_second: 10_000,
            frame_timeout: Duration::from_secs(30),
            presence_timeout: Duration::from_secs(30),
            dial_timeout: Duration::from_secs(10),
            redial_min: Duration::from_millis(100),
            redial_max: Duration::from_secs(10),
            ping_interval: Duration::from_secs(5),
            dead_after: Duration::from_secs(15),
            ban_after: 3,
            ban_duration: Duration::from_secs(60),
            max_presences: 1024,
            event_capacity: 256,
        }
    }
}
