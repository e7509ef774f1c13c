//! Discovery: which sought signers are to be looked up in the distributed hash table or on the local network, and when
//! the own presence is published.
//!
//! Whatever is found is a claim until its signature was verified. A neighbour's signer is not known before it is
//! connected, so neighbours are dialled, but only while a sought signer is missing, and left again if they are others.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use super::backoff::backoff;
use super::config::NetworkConfig;
use super::dial::Unreachable;
use super::peers::Peers;
use super::presence::{AddressBook, PresenceRecord};
use super::reachable::may_dial;
use crate::types::SignerKey;

/// Lookups that run at once.
const LOOKUPS: usize = 4;
/// Addresses of one neighbour that are kept.
const ADDRESSES: usize = 8;
/// How long a publication that failed waits, the first time and at most.
const PUBLISH_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Neighbours that are remembered.
const NEIGHBOURS: usize = 256;
/// How long a neighbour that was dialled is left alone.
const NEIGHBOUR_RETRY: Duration = Duration::from_secs(600);

/// What the driver does for [`Discovery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DiscoveryAction {
    /// Publish this presence of the signer in the hash table, then call [`Discovery::published`].
    Publish(SignerKey, Vec<u8>),
    /// Look up a signer in the hash table, then call [`Discovery::lookup_ended`].
    LookUp(SignerKey),
    /// Ask who is on the local network.
    AskNeighbours,
    /// Dial a peer on the local network.
    Dial(PeerId, Vec<Multiaddr>),
    /// Report a signer of whom no address is known.
    Report(Unreachable),
}

/// What [`Discovery`] asks of the rest of the node.
pub(super) struct Surroundings<'a> {
    pub(super) sought: &'a HashSet<SignerKey>,
    pub(super) peers: &'a Peers,
    pub(super) book: &'a AddressBook,
    /// A server of the hash table is known.
    pub(super) dht: bool,
    /// The local network can be asked.
    pub(super) mdns: bool,
    /// Nobody beyond this machine reaches this node.
    pub(super) here: bool,
    /// A proxy opens every connection.
    pub(super) proxied: bool,
}

impl Surroundings<'_> {
    /// Whether a signer is sought and not connected.
    fn is_missing(&self, signer: &SignerKey) -> bool {
        self.sought.contains(signer) && !self.peers.has_signer(signer)
    }
}

/// A sought signer that is not connected.
#[derive(Debug)]
struct Lookup {
    due: Instant,
    before: u32,
    running: bool,
    /// When it is reported if no address is known by then; `None` once it was.
    report: Option<Instant>,
}

/// A peer on the local network.
#[derive(Debug)]
struct Neighbour {
    addresses: Vec<Multiaddr>,
    seen: Instant,
    due: Instant,
}

/// The own presence, and when it is published.
#[derive(Debug)]
struct Own {
    signer: SignerKey,
    presence: Vec<u8>,
    due: Instant,
    failures: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Discovery {
    lookup: (Duration, Duration),
    /// How long a signer whose address is unknown is not reported.
    patience: Duration,
    publish_interval: Duration,
    redial_max: Duration,
    lookups: HashMap<SignerKey, Lookup>,
    own: Option<Own>,
    publishing: bool,
    neighbours: HashMap<PeerId, Neighbour>,
    /// When the local network is asked again, and how often it was.
    ask: (Instant, u32),
    /// Something changed: [`Discovery::poll`] is due, whatever `next` says.
    changed: bool,
    next: Option<Instant>,
}

impl Discovery {
    pub(super) fn new(config: &NetworkConfig, now: Instant) -> Self {
        Self {
            lookup: (config.lookup_min, config.lookup_max),
            patience: config.dial_timeout,
            publish_interval: config.publish_interval,
            redial_max: config.redial_max,
            lookups: HashMap::new(),
            own: None,
            publishing: false,
            neighbours: HashMap::new(),
            ask: (now, 0),
            changed: true,
            next: None,
        }
    }

    /// Signers are connected or gone, or more is known of them.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    /// Other signers are sought.
    pub(super) fn sought(&mut self, now: Instant) {
        self.ask = (now, 0);
        self.changed = true;
    }

    /// Publishes a presence of this node from now on. Bytes that are none are ignored.
    pub(super) fn set_presence(&mut self, presence: &[u8], now: Instant) {
        let Ok(record) = PresenceRecord::decode(presence) else { return };
        // Nobody is found by a presence without an address.
        self.own = (!record.addresses.is_empty()).then(|| Own {
            signer: record.signer,
            presence: presence.to_vec(),
            due: now,
            failures: 0,
        });
        self.changed = true;
    }

    /// Forgets all back-off: looks for everybody, and publishes, at once.
    pub(super) fn reset_backoff(&mut self, now: Instant) {
        for lookup in self.lookups.values_mut() {
            (lookup.due, lookup.before) = (now, 0);
        }
        for neighbour in self.neighbours.values_mut() {
            neighbour.due = now;
        }
        if let Some(own) = &mut self.own {
            (own.due, own.failures) = (now, 0);
        }
        self.sought(now);
    }

    /// A peer was seen on the local network.
    pub(super) fn neighbour(&mut self, peer: PeerId, address: Multiaddr, now: Instant) {
        if self.neighbours.len() >= NEIGHBOURS && !self.neighbours.contains_key(&peer) {
            let oldest = self.neighbours.iter().min_by_key(|(_, neighbour)| neighbour.seen);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.neighbours.remove(&oldest);
            }
        }
        let new = || Neighbour { addresses: Vec::new(), seen: now, due: now };
        let neighbour = self.neighbours.entry(peer).or_insert_with(new);
        neighbour.seen = now;
        if neighbour.addresses.contains(&address) {
            return;
        }
        if neighbour.addresses.len() >= ADDRESSES {
            neighbour.addresses.remove(0);
        }
        neighbour.addresses.push(address);
        neighbour.due = now;
        self.changed = true;
    }

    /// A lookup of a signer ended.
    pub(super) fn lookup_ended(&mut self, signer: &SignerKey, now: Instant) {
        let (min, max) = self.lookup;
        if let Some(lookup) = self.lookups.get_mut(signer) {
            lookup.running = false;
            lookup.due = now + backoff(min, max, lookup.before);
            lookup.before = lookup.before.saturating_add(1);
        }
        self.changed = true;
    }

    /// A publication ended; `stored`: somebody keeps the presence.
    pub(super) fn published(&mut self, stored: bool, now: Instant) {
        self.publishing = false;
        self.changed = true;
        let Some(own) = &mut self.own else { return };
        if stored {
            (own.due, own.failures) = (now + self.publish_interval, 0);
        } else {
            own.due = now + backoff(PUBLISH_RETRY.0, PUBLISH_RETRY.1, own.failures);
            own.failures = own.failures.saturating_add(1);
        }
    }

    /// A publication could not be started.
    pub(super) fn publish_refused(&mut self, now: Instant) {
        self.publishing = false;
        self.changed = true;
        if let Some(own) = &mut self.own {
            own.due = now + PUBLISH_RETRY.1;
        }
    }

    /// Whether [`Discovery::poll`] has anything to do.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.changed || self.next.is_some_and(|next| next <= now)
    }

    /// When [`Discovery::poll`] is due again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.next
    }

    /// Starts the lookups, publications and dials that are due.
    pub(super) fn poll(&mut self, now: Instant, around: &Surroundings<'_>) -> Vec<DiscoveryAction> {
        self.changed = false;
        let mut actions = Vec::new();
        let next = [
            self.publish(now, around, &mut actions),
            self.look_up(now, around, &mut actions),
            self.report_unknown(now, around, &mut actions),
            self.dial_neighbours(now, around, &mut actions),
        ];
        self.next = next.into_iter().flatten().min();
        actions
    }

    fn publish(
        &mut self,
        now: Instant,
        around: &Surroundings<'_>,
        actions: &mut Vec<DiscoveryAction>,
    ) -> Option<Instant> {
        let own = self.own.as_ref()?;
        // With nobody to ask, the first server that comes is waited for: the table's change is an event.
        if self.publishing || !around.dht {
            return None;
        }
        if own.due > now {
            return Some(own.due);
        }
        actions.push(DiscoveryAction::Publish(own.signer, own.presence.clone()));
        self.publishing = true;
        None
    }

    fn look_up(
        &mut self,
        now: Instant,
        around: &Surroundings<'_>,
        actions: &mut Vec<DiscoveryAction>,
    ) -> Option<Instant> {
        self.lookups.retain(|key, _| around.is_missing(key));
        for key in around.sought.iter().filter(|key| around.is_missing(key)) {
            // Where it was last is tried first.
            let known = !around.book.of(key).is_empty();
            let wait = if known { self.lookup.0 } else { Duration::ZERO };
            let report = Some(now + self.patience);
            let new = || Lookup { due: now + wait, before: 0, running: false, report };
            self.lookups.entry(*key).or_insert_with(new);
        }
        // Somebody must be there to be asked.
        if !around.dht {
            return None;
        }
        let running = self.lookups.values().filter(|lookup| lookup.running).count();
        let mut waiting: Vec<_> = self.lookups.iter_mut().filter(|(_, lookup)| !lookup.running).collect();
        waiting.sort_unstable_by_key(|(_, lookup)| lookup.due);
        // When one of those that run has ended, that is an event.
        for (key, lookup) in waiting.into_iter().take(LOOKUPS.saturating_sub(running)) {
            if lookup.due > now {
                return Some(lookup.due);
            }
            actions.push(DiscoveryAction::LookUp(*key));
            lookup.running = true;
        }
        None
    }

    /// Reports missing signers of whom no address is known for a while. Those of whom one is known are dialled.
    fn report_unknown(
        &mut self,
        now: Instant,
        around: &Surroundings<'_>,
        actions: &mut Vec<DiscoveryAction>,
    ) -> Option<Instant> {
        let mut next = None;
        for (key, lookup) in &mut self.lookups {
            let Some(at) = lookup.report else { continue };
            if at > now {
                next = Some(next.map_or(at, |next: Instant| next.min(at)));
                continue;
            }
            lookup.report = None;
            let records = around.book.of(key);
            let may_be_dialled = |record: &PresenceRecord| {
                let here = around.here || around.book.is_local(&record.peer);
                record.addresses.iter().any(|address| may_dial(address, here, around.proxied))
            };
            if records.iter().any(may_be_dialled) {
                continue;
            }
            let known = records.iter().any(|record| !record.addresses.is_empty());
            let cause = match (around.dht, around.mdns) {
                _ if known => "its addresses are of networks that this node is not in",
                (true, _) => "no address of it is known, and the distributed hash table has none",
                (false, true) => "no address of it is known, and it is not on the local network",
                (false, false) => "no address of it is known, and there is no server to ask",
            };
            let next_try = around.dht.then(|| lookup.due.max(now));
            let (address, signer, cause) = (None, Some(*key), cause.to_owned());
            actions.push(DiscoveryAction::Report(Unreachable { address, signer, cause, next_try }));
        }
        next
    }

    /// Dials neighbours that may speak for a sought signer.
    fn dial_neighbours(
        &mut self,
        now: Instant,
        around: &Surroundings<'_>,
        actions: &mut Vec<DiscoveryAction>,
    ) -> Option<Instant> {
        if !around.mdns || !around.sought.iter().any(|key| around.is_missing(key)) {
            return None;
        }
        if self.ask.0 <= now {
            actions.push(DiscoveryAction::AskNeighbours);
            let wait = backoff(self.lookup.0, self.lookup.1, self.ask.1);
            self.ask = (now + wait, self.ask.1.saturating_add(1));
        }
        let mut next = self.ask.0;
        for (peer, neighbour) in &mut self.neighbours {
            let signer = around.book.signer_of(peer);
            if around.peers.is_connected(peer) || signer.is_some_and(|key| !around.is_missing(&key)) {
                continue;
            }
            if neighbour.due <= now {
                let wait = if signer.is_some() { self.redial_max } else { NEIGHBOUR_RETRY };
                neighbour.due = now + wait;
                actions.push(DiscoveryAction::Dial(*peer, neighbour.addresses.clone()));
            }
            next = next.min(neighbour.due);
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use libp2p::core::ConnectedPoint;
    use libp2p::swarm::ConnectionId;

    use super::*;
    use crate::net::routes::Routes;
    use crate::net::testing::{presence_of, signer};

    const SECOND: Duration = Duration::from_secs(1);

    fn presence(number: u8, peer: PeerId, address: &str) -> Vec<u8> {
        presence_of(number, peer, vec![address.parse().unwrap()], 1)
    }

    /// A node's discovery, and what it asks of the rest.
    struct Fixture {
        discovery: Discovery,
        sought: HashSet<SignerKey>,
        peers: Peers,
        book: AddressBook,
        dht: bool,
        mdns: bool,
        now: Instant,
    }

    impl Fixture {
        fn new(dht: bool, mdns: bool) -> Self {
            let (config, now) = (NetworkConfig::default(), Instant::now());
            let routes = Arc::new(Routes::default());
            Self {
                discovery: Discovery::new(&config, now),
                sought: HashSet::new(),
                peers: Peers::new(&config, PeerId::random(), HashSet::new(), routes),
                book: AddressBook::default(),
                dht,
                mdns,
                now,
            }
        }

        fn seek(&mut self, signers: impl IntoIterator<Item = SignerKey>) {
            self.sought = signers.into_iter().collect();
            self.discovery.sought(self.now);
        }

        fn connect(&mut self, signer: SignerKey) {
            let (peer, address) = (PeerId::random(), Multiaddr::empty());
            let endpoint = ConnectedPoint::Listener { local_addr: address.clone(), send_back_addr: address };
            self.peers.established(peer, ConnectionId::new_unchecked(1), &endpoint, false);
            self.peers.presented(peer, signer);
            self.discovery.changed();
        }

        fn poll(&mut self) -> Vec<DiscoveryAction> {
            let Self { sought, peers, book, dht, mdns, .. } = self;
            let around =
                Surroundings { sought, peers, book, dht: *dht, mdns: *mdns, here: false, proxied: false };
            self.discovery.poll(self.now, &around)
        }

        /// Lets time pass until there is something to do.
        fn wait(&mut self) -> Duration {
            let next = self.discovery.next_due().expect("something is to come");
            let waited = next.saturating_duration_since(self.now);
            self.now = next;
            assert!(self.discovery.is_due(next));
            waited
        }
    }

    #[test]
    fn a_missing_signer_is_looked_up_again_and_again_with_longer_pauses() {
        let mut node = Fixture::new(true, false);
        let key = signer(1);
        node.seek([key]);
        assert_eq!(node.poll(), [DiscoveryAction::LookUp(key)]);
        // One lookup at a time.
        assert_eq!(node.poll(), []);
        node.discovery.lookup_ended(&key, node.now);
        assert_eq!(node.poll(), []);
        let first = node.wait();
        assert!(first >= SECOND / 2 && first <= SECOND, "{first:?}");
        assert_eq!(node.poll(), [DiscoveryAction::LookUp(key)]);
        node.discovery.lookup_ended(&key, node.now);
        node.poll();
        let second = node.wait();
        assert!(second >= SECOND && second <= 2 * SECOND, "{second:?}");

        // Connected: no more.
        node.connect(key);
        assert_eq!(node.poll(), []);
        assert_eq!(node.discovery.next_due(), None);
    }

    #[test]
    fn only_some_lookups_run_at_once() {
        let mut node = Fixture::new(true, false);
        node.seek((1..=LOOKUPS as u8 + 3).map(signer));
        let begun = node.poll();
        assert_eq!(begun.len(), LOOKUPS);
        let DiscoveryAction::LookUp(key) = begun[0] else { panic!("{begun:?}") };
        assert_eq!(node.poll(), []);
        node.discovery.lookup_ended(&key, node.now);
        let next = node.poll();
        assert!(matches!(next[..], [DiscoveryAction::LookUp(next)] if next != key), "{next:?}");
    }

    #[test]
    fn nobody_is_looked_up_without_a_server_and_everybody_once_there_is_one() {
        let mut node = Fixture::new(false, false);
        node.seek([signer(1)]);
        node.discovery.set_presence(&presence(2, PeerId::random(), "/ip4/192.0.2.1/tcp/1"), node.now);
        assert_eq!(node.poll(), []);
        assert_eq!(node.discovery.next_due(), Some(node.now + NetworkConfig::default().dial_timeout));
        node.dht = true;
        node.discovery.changed();
        assert!(node.discovery.is_due(node.now));
        assert!(matches!(node.poll()[..], [DiscoveryAction::Publish(..), DiscoveryAction::LookUp(_)]));
    }

    #[test]
    fn unreachable_peer_is_a_signer_without_an_address_once_for_each_absence() {
        let mut node = Fixture::new(false, false);
        node.seek([signer(1)]);
        assert_eq!(node.poll(), []);
        assert_eq!(node.wait(), NetworkConfig::default().dial_timeout);
        let reported = |actions: Vec<DiscoveryAction>| match &actions[..] {
            [DiscoveryAction::Report(Unreachable { address: None, signer: Some(key), next_try, .. })] => {
                Some((*key, *next_try))
            }
            [] => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(reported(node.poll()), Some((signer(1), None)));
        assert_eq!(reported(node.poll()), None);
        assert_eq!(node.discovery.next_due(), None);
        // Sought anew, and with an address by then: it is dialled.
        node.seek([]);
        assert_eq!(node.poll(), []);
        node.seek([signer(1)]);
        assert_eq!(node.poll(), []);
        let record = presence(1, PeerId::random(), "/ip4/192.0.2.1/tcp/1");
        node.book.learn(PresenceRecord::decode(&record).unwrap());
        node.wait();
        assert_eq!(reported(node.poll()), None);
    }

    #[test]
    fn the_presence_is_published_again_after_the_interval_and_sooner_after_a_failure() {
        let mut node = Fixture::new(true, false);
        let own = presence(1, PeerId::random(), "/ip4/192.0.2.1/tcp/1");
        node.discovery.set_presence(&own, node.now);
        let publish = [DiscoveryAction::Publish(signer(1), own)];
        assert_eq!(node.poll(), publish);
        assert_eq!(node.poll(), []);
        node.discovery.published(false, node.now);
        assert_eq!(node.poll(), []);
        assert!(node.wait() <= PUBLISH_RETRY.0);
        assert_eq!(node.poll(), publish);
        node.discovery.published(true, node.now);
        assert_eq!(node.poll(), []);
        assert_eq!(node.wait(), NetworkConfig::default().publish_interval);
        assert_eq!(node.poll(), publish);
        node.discovery.publish_refused(node.now);
        assert_eq!(node.poll(), []);
        assert_eq!(node.wait(), PUBLISH_RETRY.1);
        node.discovery.reset_backoff(node.now);
        assert_eq!(node.poll(), publish);
    }

    #[test]
    fn a_presence_without_an_address_or_signature_is_not_published() {
        let mut node = Fixture::new(true, false);
        node.discovery.set_presence(&presence(1, PeerId::random(), "/ip4/192.0.2.1/tcp/1")[1..], node.now);
        assert_eq!(node.poll(), []);
        node.discovery.set_presence(&presence_of(1, PeerId::random(), vec![], 1), node.now);
        assert_eq!(node.poll(), []);
    }

    #[test]
    fn neighbours_are_dialled_only_while_a_sought_signer_is_missing() {
        let mut node = Fixture::new(false, true);
        let (peer, address): (_, Multiaddr) = (PeerId::random(), "/ip4/10.0.0.1/tcp/1".parse().unwrap());
        node.discovery.neighbour(peer, address.clone(), node.now);
        assert_eq!(node.poll(), []);
        node.seek([signer(1)]);
        let dial = DiscoveryAction::Dial(peer, vec![address.clone()]);
        assert_eq!(node.poll(), [DiscoveryAction::AskNeighbours, dial.clone()]);
        // It is left alone for long, unless it has another address.
        node.wait();
        assert_eq!(node.poll(), [DiscoveryAction::AskNeighbours]);
        node.discovery.neighbour(peer, address.clone(), node.now);
        assert_eq!(node.poll(), []);
        let other: Multiaddr = "/ip4/10.0.0.2/tcp/1".parse().unwrap();
        node.discovery.neighbour(peer, other.clone(), node.now);
        assert_eq!(node.poll(), [DiscoveryAction::Dial(peer, vec![address, other])]);
        node.connect(signer(1));
        node.discovery.reset_backoff(node.now);
        assert_eq!(node.poll(), []);
    }

    #[test]
    fn a_neighbour_that_is_known_as_another_signers_is_not_dialled() {
        let mut node = Fixture::new(false, true);
        let (peer, address): (_, Multiaddr) = (PeerId::random(), "/ip4/10.0.0.1/tcp/1".parse().unwrap());
        let known = PresenceRecord::decode(&presence(2, peer, "/ip4/10.0.0.1/tcp/1")).unwrap();
        node.book.learn(known);
        node.discovery.neighbour(peer, address, node.now);
        node.seek([signer(1)]);
        assert_eq!(node.poll(), [DiscoveryAction::AskNeighbours]);
        node.seek([signer(1), signer(2)]);
        assert_eq!(node.poll().len(), 2);
    }

    #[test]
    fn neighbours_and_their_addresses_are_limited() {
        let mut node = Fixture::new(false, true);
        let address = |number: usize| -> Multiaddr { format!("/ip4/10.0.0.1/tcp/{number}").parse().unwrap() };
        let peer = PeerId::random();
        for number in 0..2 * ADDRESSES {
            node.discovery.neighbour(peer, address(number), node.now);
        }
        let kept = &node.discovery.neighbours[&peer].addresses;
        assert_eq!((kept.len(), kept.last()), (ADDRESSES, Some(&address(2 * ADDRESSES - 1))));
        for number in 0..NEIGHBOURS {
            node.now += SECOND;
            node.discovery.neighbour(PeerId::random(), address(number), node.now);
        }
        assert_eq!(node.discovery.neighbours.len(), NEIGHBOURS);
        assert!(!node.discovery.neighbours.contains_key(&peer));
    }
}
