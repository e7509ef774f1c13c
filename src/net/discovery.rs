//! Finding sought signers by their keys: in the distributed hash table (Kademlia), and on the local network (mDNS).
//!
//! Whatever is found is a claim until its signature was verified. A neighbour's signer is not known before it is
//! connected, so neighbours are dialled, but only while a sought signer is missing, and left again if they are others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::kad::{self, GetRecordOk, InboundRequest, PutRecordError, QueryId, QueryResult, Quorum};
use libp2p::swarm::StreamProtocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, identify};

use super::backoff::backoff;
use super::config::{DhtMode, NetworkConfig};
use super::counters::count;
use super::driver::Driver;
use super::mdns::{Finder, Found};
use super::message::NetEvent;
use super::presence::PresenceRecord;
use super::records::{PresenceStore, presence_key};
use crate::types::SignerKey;

/// The name of the distributed hash table. IPFS's has another one.
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/musig/kad/1");

/// After which a presence that is not published again is forgotten.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How often servers give what they keep to those that are nearer by now.
const REPLICATION: Duration = Duration::from_secs(3600);
/// For one lookup or publication.
const QUERY: Duration = Duration::from_secs(20);
/// Lookups that run at once.
const LOOKUPS: usize = 4;
/// Addresses of one server that are taken from what it says of itself, and kept altogether.
const ADDRESSES: usize = 8;
/// How long a publication that failed waits, the first time and at most.
const PUBLISH_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Neighbours that are remembered.
const NEIGHBOURS: usize = 256;
/// How long a neighbour that was dialled is left alone.
const NEIGHBOUR_AGAIN: Duration = Duration::from_secs(600);

/// A node's part in the distributed hash table of presences, for programs with a libp2p swarm of their own; see
/// `examples/relay.rs`.
///
/// What others want to have kept comes as [`kad::InboundRequest::PutRecord`]. Put it into
/// [`store_mut`](kad::Behaviour::store_mut), which takes valid presences only.
pub fn dht(own: PeerId, mode: kad::Mode, max_records: usize) -> kad::Behaviour<PresenceStore> {
    behaviour(own, mode, max_records, REPLICATION)
}

fn behaviour(own: PeerId, mode: kad::Mode, most: usize, refresh: Duration) -> kad::Behaviour<PresenceStore> {
    let mut config = kad::Config::new(PROTOCOL);
    config
        .set_query_timeout(QUERY)
        .set_record_ttl(Some(KEPT))
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        // The own presence is published from here, and only servers have anything else.
        .set_publication_interval(None)
        .set_replication_interval((mode == kad::Mode::Server).then_some(REPLICATION))
        .set_provider_publication_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_periodic_bootstrap_interval(Some(refresh));
    let mut behaviour = kad::Behaviour::with_config(own, PresenceStore::new(own, most), config);
    behaviour.set_mode(Some(mode));
    behaviour
}

/// The behaviour of a node of this library.
pub(super) fn of_node(own: PeerId, config: &NetworkConfig) -> Option<kad::Behaviour<PresenceStore>> {
    let refresh = config.publish_interval.max(Duration::from_secs(1));
    match config.dht {
        DhtMode::Off => None,
        DhtMode::Client => Some(behaviour(own, kad::Mode::Client, 1, refresh)),
        DhtMode::Server => Some(behaviour(own, kad::Mode::Server, config.max_dht_records, refresh)),
    }
}

/// A sought signer that is not connected.
#[derive(Debug)]
struct Lookup {
    due: Instant,
    before: u32,
    running: bool,
}

/// A query of this node.
#[derive(Debug)]
enum Query {
    Lookup(SignerKey),
    Publish,
}

/// A peer on the local network.
#[derive(Debug)]
struct Neighbour {
    addresses: Vec<Multiaddr>,
    seen: Instant,
    due: Instant,
}

/// The own presence, and whether it is published.
#[derive(Debug)]
struct Own {
    record: kad::Record,
    due: Instant,
    failures: u32,
}

/// What is under way.
pub(super) struct Discovery {
    lookups: HashMap<SignerKey, Lookup>,
    queries: HashMap<QueryId, Query>,
    own: Option<Own>,
    publishing: bool,
    finder: Option<Finder>,
    neighbours: HashMap<PeerId, Neighbour>,
    /// When the local network is asked again, and how often it was.
    ask: (Instant, u32),
    /// Something changed, so that all is looked at.
    changed: bool,
    next: Option<Instant>,
}

impl Discovery {
    pub(super) fn new(config: &NetworkConfig, own: PeerId) -> Self {
        Self {
            lookups: HashMap::new(),
            queries: HashMap::new(),
            own: None,
            publishing: false,
            finder: config.mdns.then(|| Finder::start(own)),
            neighbours: HashMap::new(),
            ask: (Instant::now(), 0),
            changed: true,
            next: None,
        }
    }

    /// Signers are connected or gone, or more is known of them.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    /// Other signers are sought.
    pub(super) fn sought(&mut self) {
        self.ask = (Instant::now(), 0);
        self.changed = true;
    }

    /// Publishes this from now on, as soon as may be.
    pub(super) fn present(&mut self, presence: &[u8]) {
        let Ok(record) = PresenceRecord::decode(presence) else { return };
        // Nobody is found by a presence without an address.
        self.own = (!record.addresses.is_empty()).then(|| {
            let record = kad::Record::new(presence_key(&record.signer).to_vec(), presence.to_vec());
            Own { record, due: Instant::now(), failures: 0 }
        });
        self.changed = true;
    }

    /// Looks for everybody, and publishes, at once: for a device that slept or changed its network.
    pub(super) fn hurry(&mut self) {
        let now = Instant::now();
        for lookup in self.lookups.values_mut() {
            (lookup.due, lookup.before) = (now, 0);
        }
        for neighbour in self.neighbours.values_mut() {
            neighbour.due = now;
        }
        if let Some(own) = &mut self.own {
            (own.due, own.failures) = (now, 0);
        }
        self.sought();
    }

    /// Where this node listens: to be told on the local network.
    pub(super) fn listening(&mut self, addresses: Vec<Multiaddr>) {
        if let Some(finder) = &self.finder {
            finder.announce(addresses);
        }
    }

    /// The next thing that is seen on the local network; never, if nobody looks.
    pub(super) async fn next_found(&mut self) -> Found {
        match &mut self.finder {
            Some(finder) => finder.next().await,
            None => std::future::pending().await,
        }
    }

    fn neighbour(&mut self, peer: PeerId, address: Multiaddr) {
        let now = Instant::now();
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
}

impl Driver {
    /// Begins the lookups and publications that are due, and says when to come again.
    pub(super) fn discover(&mut self, now: Instant) -> Option<Instant> {
        let Discovery { changed, next, .. } = self.discovery;
        if !changed && next.is_none_or(|next| next > now) {
            return next;
        }
        self.discovery.changed = false;
        self.discovery.next =
            [self.publish(now), self.look_up(now), self.call_on_neighbours(now)].into_iter().flatten().min();
        self.discovery.next
    }

    fn publish(&mut self, now: Instant) -> Option<Instant> {
        let kad = self.swarm.behaviour_mut().kad.as_mut()?;
        let own = self.discovery.own.as_mut()?;
        // Without anybody to ask, the first one that comes is waited for: the table's change is an event.
        if self.discovery.publishing || kad.kbuckets().next().is_none() {
            return None;
        }
        if own.due > now {
            return Some(own.due);
        }
        // All that are near it are to keep it; some suffice.
        match kad.put_record(own.record.clone(), Quorum::All) {
            Ok(query) => {
                self.discovery.queries.insert(query, Query::Publish);
                self.discovery.publishing = true;
                None
            }
            Err(error) => {
                tracing::warn!(%error, "the own presence cannot be published");
                own.due = now + PUBLISH_AGAIN.1;
                Some(own.due)
            }
        }
    }

    fn look_up(&mut self, now: Instant) -> Option<Instant> {
        let kad = self.swarm.behaviour_mut().kad.as_mut()?;
        let (sought, signers) = (&self.sought, &self.signers);
        let discovery = &mut self.discovery;
        discovery.lookups.retain(|key, _| sought.contains(key) && !signers.contains_key(key));
        for key in sought.iter().filter(|key| !signers.contains_key(key)) {
            // Where it was last is tried first.
            let known = !self.book.of(key).is_empty();
            let wait = if known { self.shared.config.lookup_min } else { Duration::ZERO };
            let new = || Lookup { due: now + wait, before: 0, running: false };
            discovery.lookups.entry(*key).or_insert_with(new);
        }
        // Somebody must be there to be asked.
        kad.kbuckets().next()?;
        let running = discovery.lookups.values().filter(|lookup| lookup.running).count();
        let mut waiting: Vec<_> =
            discovery.lookups.iter_mut().filter(|(_, lookup)| !lookup.running).collect();
        waiting.sort_unstable_by_key(|(_, lookup)| lookup.due);
        // When one of those that run has ended, that is an event.
        for (key, lookup) in waiting.into_iter().take(LOOKUPS.saturating_sub(running)) {
            if lookup.due > now {
                return Some(lookup.due);
            }
            let query = kad.get_record(presence_key(key).to_vec().into());
            discovery.queries.insert(query, Query::Lookup(*key));
            count(&self.shared.counters.lookups, 1);
            lookup.running = true;
        }
        None
    }

    /// Dials neighbours that may speak for a sought signer.
    fn call_on_neighbours(&mut self, now: Instant) -> Option<Instant> {
        let missing = |key: &SignerKey| self.sought.contains(key) && !self.signers.contains_key(key);
        if !self.sought.iter().any(missing) {
            return None;
        }
        let discovery = &mut self.discovery;
        let finder = discovery.finder.as_ref()?;
        let config = &self.shared.config;
        if discovery.ask.0 <= now {
            finder.ask();
            let wait = backoff(config.lookup_min, config.lookup_max, discovery.ask.1);
            discovery.ask = (now + wait, discovery.ask.1.saturating_add(1));
        }
        let (mut next, mut dials) = (discovery.ask.0, Vec::new());
        for (peer, neighbour) in &mut discovery.neighbours {
            let signer = self.book.signer_of(peer);
            if self.peers.contains_key(peer) || signer.is_some_and(|key| !missing(&key)) {
                continue;
            }
            if neighbour.due <= now {
                neighbour.due = now
                    + match signer {
                        Some(_) => config.redial_max,
                        None => NEIGHBOUR_AGAIN,
                    };
                let options = DialOpts::peer_id(*peer)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .addresses(neighbour.addresses.clone())
                    .allocate_new_port();
                dials.push(options.build());
            }
            next = next.min(neighbour.due);
        }
        for options in dials {
            count(&self.shared.counters.dials, 1);
            let connection = options.connection_id();
            if let Err(error) = self.swarm.dial(options) {
                self.dial_failed(connection, &error);
            }
        }
        Some(next)
    }

    pub(super) fn found(&mut self, found: Found) {
        match found {
            Found::Peer(peer, address) => self.discovery.neighbour(peer, address),
            Found::Degraded(text) => self.tell(NetEvent::Degraded(text)),
        }
    }

    /// A server of the hash table told where it listens.
    pub(super) fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else { return };
        if !info.protocols.contains(&PROTOCOL) {
            return;
        }
        for address in info.listen_addrs.iter().take(ADDRESSES) {
            let known = kad.kbucket(peer).and_then(|bucket| {
                let mut entries = bucket.iter();
                entries.find(|entry| *entry.node.key.preimage() == peer).map(|entry| entry.node.value.len())
            });
            if known.is_none_or(|known| known < ADDRESSES) {
                kad.add_address(&peer, address.clone());
            }
        }
    }

    pub(super) fn kad_event(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest {
                request: InboundRequest::PutRecord { record: Some(record), .. },
            } => {
                use kad::store::RecordStore;
                let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else { return };
                if kad.store_mut().put(record).is_err() {
                    count(&self.shared.counters.records_refused, 1);
                }
            }
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.progress(id, result, step.last)
            }
            kad::Event::RoutingUpdated { .. } => self.discovery.changed = true,
            _ => {}
        }
    }

    fn progress(&mut self, id: QueryId, result: QueryResult, last: bool) {
        match (self.discovery.queries.get(&id), &result) {
            (Some(Query::Lookup(key)), QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found)))) => {
                let key = *key;
                self.looked_up(key, &found.record.value);
            }
            (Some(Query::Publish), QueryResult::PutRecord(result)) => {
                let stored = match result {
                    Ok(_) => true,
                    Err(
                        PutRecordError::QuorumFailed { success, .. }
                        | PutRecordError::Timeout { success, .. },
                    ) => !success.is_empty(),
                };
                self.published(stored);
            }
            _ => {}
        }
        if !last {
            return;
        }
        if let Some(Query::Lookup(key)) = self.discovery.queries.remove(&id)
            && let Some(lookup) = self.discovery.lookups.get_mut(&key)
        {
            let config = &self.shared.config;
            lookup.running = false;
            lookup.due = Instant::now() + backoff(config.lookup_min, config.lookup_max, lookup.before);
            lookup.before = lookup.before.saturating_add(1);
        }
        self.discovery.changed = true;
    }

    /// Takes what somebody keeps under a signer's key, if it is the signer's own word.
    fn looked_up(&mut self, key: SignerKey, bytes: &[u8]) {
        match PresenceRecord::decode(bytes) {
            Ok(record) if record.signer == key => {
                count(&self.shared.counters.lookups_answered, 1);
                if record.peer != *self.swarm.local_peer_id() && self.learn(record) {
                    self.tell(NetEvent::PresenceLearned { key, bytes: bytes.to_vec() });
                }
            }
            _ => count(&self.shared.counters.records_refused, 1),
        }
    }

    fn published(&mut self, stored: bool) {
        self.discovery.publishing = false;
        let Some(own) = &mut self.discovery.own else { return };
        let now = Instant::now();
        if stored {
            count(&self.shared.counters.publications, 1);
            (own.due, own.failures) = (now + self.shared.config.publish_interval, 0);
        } else {
            own.due = now + backoff(PUBLISH_AGAIN.0, PUBLISH_AGAIN.1, own.failures);
            own.failures = own.failures.saturating_add(1);
        }
    }
}
