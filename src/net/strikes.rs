//! Strikes: violations of the protocol by each peer, or from each address, and when they come to a ban.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Peers whose violations are remembered.
const PEERS: usize = 1024;

/// See the module.
pub(super) struct Strikes<K> {
    ban_after: u32,
    memory: Duration,
    /// How many, and the last one.
    peers: HashMap<K, (u32, Instant)>,
}

impl<K: Eq + Hash> Strikes<K> {
    /// A ban comes after so many violations, each of which is remembered for a time.
    pub(super) fn new(ban_after: u32, memory: Duration) -> Self {
        Self { ban_after: ban_after.max(1), memory, peers: HashMap::new() }
    }

    /// Counts a violation. True if the peer is to be banned; it then begins anew.
    pub(super) fn strike(&mut self, peer: K, now: Instant) -> bool {
        let memory = self.memory;
        if self.peers.len() >= PEERS {
            self.peers.retain(|_, (_, last)| now.duration_since(*last) < memory);
        }
        if self.peers.len() >= PEERS && !self.peers.contains_key(&peer) {
            return false;
        }
        let (strikes, last) = self.peers.get(&peer).copied().unwrap_or((0, now));
        let strikes = if now.duration_since(last) < memory { strikes + 1 } else { 1 };
        let banned = strikes >= self.ban_after;
        match banned {
            true => drop(self.peers.remove(&peer)),
            false => drop(self.peers.insert(peer, (strikes, now))),
        }
        banned
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_last_of_several_violations_within_the_time_bans() {
        let mut strikes = Strikes::new(3, MINUTE);
        let (peer, other, now) = (PeerId::random(), PeerId::random(), Instant::now());
        assert!(!strikes.strike(peer, now));
        assert!(!strikes.strike(other, now));
        assert!(!strikes.strike(peer, now + MINUTE / 2));
        assert!(strikes.strike(peer, now + MINUTE));
        assert!(!strikes.strike(peer, now + MINUTE));
    }

    #[test]
    fn old_violations_are_forgotten() {
        let mut strikes = Strikes::new(2, MINUTE);
        let (peer, now) = (PeerId::random(), Instant::now());
        assert!(!strikes.strike(peer, now));
        assert!(!strikes.strike(peer, now + MINUTE));
        assert!(strikes.strike(peer, now + MINUTE + MINUTE / 2));
    }

    #[test]
    fn the_number_of_remembered_peers_is_limited() {
        let mut strikes = Strikes::new(1000, MINUTE);
        let now = Instant::now();
        for _ in 0..2 * PEERS {
            strikes.strike(PeerId::random(), now);
        }
        assert_eq!(strikes.peers.len(), PEERS);
        strikes.strike(PeerId::random(), now + MINUTE);
        assert_eq!(strikes.peers.len(), 1);
    }
}
