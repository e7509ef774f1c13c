//! Peers: who is connected, for which signer each speaks, and on which of its connections a peer is written to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use tokio::sync::watch;

use super::address::{LOCAL, reach, relay_of};
use super::config::{DhtMode, NetworkConfig};
use super::contact::{Contact, Seek, Sought, seek};
use super::liveness::{Activity, Questions};
use super::outbox::Outbox;
use super::rate::Paces;
use super::routes::Routes;
use crate::mutation::{self, Mutation};
use crate::types::SignerKey;

/// Two connections this close together were dialled by both sides at once.
const SIMULTANEOUS: Duration = Duration::from_secs(1);
/// Streams that one peer may have open on a connection at once, and open during its life.
const INBOUND: (usize, usize) = (4, 64);
/// Messages of identify on a connection, in both directions, in a time. Each side asks once and then every five minutes.
const IDENTIFIED: (u32, Duration) = (8, Duration::from_secs(60));
/// How long a connection that neither side writes on stays.
const UNUSED: Duration = Duration::from_secs(1);
/// How long a peer of another version stays, so that it hears of this one.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often short deadlines are checked.
const TICK: Duration = Duration::from_millis(250);

/// What changed, in this order, for the driver to act on and to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerAction {
    /// Report the first connection with a peer.
    PeerConnected(PeerId),
    /// The last connection with a peer ended, after so long; so many frames for it were dropped.
    Redial { peer: PeerId, lasted: Duration, dropped: usize },
    /// Report that no peer of a signer is connected any more.
    SignerDisconnected(SignerKey),
    /// Report that the last connection with a peer ended.
    PeerDisconnected(PeerId),
    /// Open a stream to write on, on a connection.
    OpenStream(PeerId, ConnectionId),
}

/// What to do with a new outbound stream.
pub(super) enum Outbound {
    /// Drop it: the connection is gone.
    Gone,
    /// Close it: another connection is written to.
    Unused,
    /// Write to it.
    Write {
        /// The writer's number, and the session frames before it.
        number: u64,
        start: u64,
        outbox: Arc<Outbox>,
        activity: Arc<Activity>,
    },
}

/// What to do with a new inbound stream.
pub(super) enum Inbound {
    /// Drop it: the connection is gone.
    Gone,
    /// Punish the peer: it has too many.
    TooMany,
    /// Read from it.
    Read {
        delivered: Arc<watch::Sender<u64>>,
        outbox: Arc<Outbox>,
        activity: Arc<Activity>,
        paces: Arc<Paces>,
    },
}

/// What a message of identify means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identified {
    /// Nothing: the connection is gone.
    Gone,
    /// A violation: they come too fast.
    TooMany,
    /// It is one of those that may come; `server`: from a server that this node dialled, at an address of this reach.
    Taken {
        /// See there.
        server: Option<u8>,
    },
}

/// What the presence of a peer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// Nothing: the peer is gone.
    Gone,
    /// A violation: the peer spoke for another signer before.
    AnotherSigner,
    /// No change.
    Again,
    /// The peer now speaks for its signer; `first`: no other peer does.
    Joined { first: bool },
}

/// The connections to close, and when to check again.
#[derive(Debug)]
pub(super) struct Expired {
    pub(super) close: Vec<ConnectionId>,
    pub(super) next: Option<Instant>,
}

/// See the module.
pub(super) struct Peers {
    own: PeerId,
    /// Bootstrap peers and relays: they need not speak for a signer.
    servers: HashSet<PeerId>,
    serves_dht: bool,
    max_pending_bytes: usize,
    /// Frames a second of a known peer, and of others.
    frames_per_second: (u32, u32),
    /// Whose frames are read faster.
    known: HashSet<PeerId>,
    presence_timeout: Duration,
    dead_after: Duration,
    tick: Duration,
    peers: HashMap<PeerId, Peer>,
    signers: HashMap<SignerKey, Vec<PeerId>>,
    /// Signers that are asked for signs of life.
    asked: HashSet<SignerKey>,
    ask_interval: Duration,
    routes: Arc<Routes>,
    /// Writers that were numbered.
    writers: u64,
}

/// A connected peer.
struct Peer {
    since: Instant,
    signer: Option<SignerKey>,
    /// This node's presence is shown to it.
    shown: bool,
    /// Whom it looks for.
    seeks: Sought,
    /// When it is left, for it speaks another version.
    leaves: Option<Instant>,
    outbox: Arc<Outbox>,
    questions: Questions,
    delivered: Arc<watch::Sender<u64>>,
    connections: HashMap<ConnectionId, Connection>,
    /// The connection on which frames are sent.
    chosen: Option<ConnectionId>,
}

/// A connection with a peer.
struct Connection {
    /// By this node.
    dialled: bool,
    activity: Arc<Activity>,
    /// How fast is read what comes on it.
    paces: Arc<Paces>,
    /// Streams the other side has open, and ever had.
    inbound: (usize, usize),
    /// Since when neither side writes on it.
    unused: Option<Instant>,
    /// The relay that it leads through.
    relay: Option<PeerId>,
    /// How widely the address of the other side can be reached, if this node dialled it.
    reach: u8,
    /// The other side is on this machine.
    local: bool,
    /// Messages of identify since a moment.
    identified: (u32, Instant),
    /// Opened for a lookup or an attempt, not because the peer is wanted.
    transient: bool,
}

impl Peers {
    pub(super) fn new(
        config: &NetworkConfig,
        own: PeerId,
        servers: HashSet<PeerId>,
        routes: Arc<Routes>,
    ) -> Self {
        Self {
            own,
            servers,
            serves_dht: config.dht == DhtMode::Server,
            max_pending_bytes: config.max_pending_bytes_per_peer,
            frames_per_second: (config.frames_per_second, config.strangers_frames_per_second),
            known: HashSet::new(),
            presence_timeout: config.presence_timeout,
            dead_after: config.dead_after,
            tick: config.ping_interval.max(TICK),
            peers: HashMap::new(),
            signers: HashMap::new(),
            asked: HashSet::new(),
            ask_interval: config.ask_interval,
            routes,
            writers: 0,
        }
    }

    /// Bootstrap peers and relays.
    pub(super) fn servers(&self) -> impl Iterator<Item = PeerId> {
        self.servers.iter().copied()
    }

    /// Whether a peer is connected.
    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// Whether a peer that speaks for a signer is connected.
    pub(super) fn has_signer(&self, signer: &SignerKey) -> bool {
        self.signers.contains_key(signer)
    }

    /// Whether a peer is connected from this machine itself.
    pub(super) fn is_local(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.connections.values().any(|there| there.local))
    }

    /// The connected peers.
    pub(super) fn connected(&self) -> Vec<PeerId> {
        self.peers.keys().copied().collect()
    }

    /// Configured peers, servers and those of signers that are sought.
    pub(super) fn set_known(&mut self, known: &HashSet<PeerId>) {
        for (id, peer) in &self.peers {
            let known = known.contains(id);
            peer.connections.values().for_each(|there| there.paces.set_known(known));
        }
        self.known.clone_from(known);
    }

    /// The connected peers of a signer.
    pub(super) fn of_signer(&self, signer: &SignerKey) -> Vec<PeerId> {
        self.signers.get(signer).cloned().unwrap_or_default()
    }

    /// Whether this node dialled a peer.
    pub(super) fn is_dialled(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.connections.values().any(|there| there.dialled))
    }

    /// Whether a peer is a bootstrap peer or a relay.
    pub(super) fn is_server(&self, id: &PeerId) -> bool {
        self.servers.contains(id)
    }

    /// The signer that a connected peer speaks for.
    pub(super) fn signer_of(&self, id: &PeerId) -> Option<SignerKey> {
        self.peers.get(id)?.signer
    }

    /// A peer says whom it looks for; `own` is the signer of this node.
    pub(super) fn contacted(&mut self, id: &PeerId, seeks: Vec<Seek>, own: Option<&SignerKey>) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.seeks.add(seeks, own.map(|key| seek(id, &self.own, key)));
        }
    }

    /// Whether a peer said that it looks for the signer of this node.
    pub(super) fn looks_for(&mut self, id: &PeerId, own: &SignerKey) -> bool {
        self.peers.get_mut(id).is_some_and(|peer| peer.seeks.has(&seek(id, &self.own, own)))
    }

    /// Leaves a peer of another version in a moment: it is to hear of the own one before.
    pub(super) fn leave(&mut self, id: &PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.leaves.get_or_insert_with(|| Instant::now() + FAREWELL);
        }
    }

    /// Peers to which the presence of this node is not shown.
    pub(super) fn hidden_from(&self) -> Vec<PeerId> {
        self.peers.iter().filter(|(_, peer)| !peer.shown).map(|(id, _)| *id).collect()
    }

    /// Whether the presence of this node is shown to a peer.
    pub(super) fn is_shown(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.shown)
    }

    /// Shows the presence of this node to a peer from now on.
    pub(super) fn show(&mut self, id: &PeerId, presence: Option<&Arc<[u8]>>) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.shown = true;
        // Else it comes with the stream.
        if let Some(presence) = presence.filter(|_| peer.chosen.is_some()) {
            peer.outbox.present(presence.clone());
        }
    }

    /// Says to each peer that this node dialled, and that has not shown itself, whom this node looks for.
    pub(super) fn contact(&self, contacts: impl Fn(&PeerId) -> Vec<Contact>) {
        for (id, peer) in &self.peers {
            let dialled = peer.connections.values().any(|there| there.dialled);
            if dialled && peer.signer.is_none() && peer.chosen.is_some() {
                peer.outbox.contact(contacts(id).iter().map(|contact| contact.encode().into()).collect());
            }
        }
    }

    /// Sends a presence of this node to all to whom it is shown.
    pub(super) fn present(&self, presence: &Arc<[u8]>) {
        for peer in self.peers.values().filter(|peer| peer.shown) {
            peer.outbox.present(presence.clone());
        }
    }

    /// Ends the writers after what waits. Returns what to watch until it is written.
    pub(super) fn close(&mut self) -> Vec<Arc<Outbox>> {
        self.routes.clear();
        let outboxes: Vec<_> = self.peers.values().map(|peer| peer.outbox.clone()).collect();
        outboxes.iter().for_each(|outbox| outbox.close());
        outboxes
    }

    /// A connection was established; `wanted` says whether the dialler asked for it.
    pub(super) fn established(
        &mut self,
        id: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        wanted: bool,
    ) -> Option<PeerAction> {
        let first = !self.peers.contains_key(&id);
        let most = self.max_pending_bytes;
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(most));
        let there = Connection::new(endpoint, wanted, self.frames_per_second);
        there.paces.set_known(self.known.contains(&id));
        peer.connections.insert(connection, there);
        first.then_some(PeerAction::PeerConnected(id))
    }

    /// A connection ended.
    pub(super) fn closed(&mut self, id: PeerId, connection: ConnectionId) -> Vec<PeerAction> {
        let Some(peer) = self.peers.get_mut(&id) else { return Vec::new() };
        peer.connections.remove(&connection);
        if !peer.connections.is_empty() {
            if peer.chosen != Some(connection) {
                return Vec::new();
            }
            // The stream on the other one was given back when this one was chosen.
            peer.chosen = None;
            self.writers += 1;
            peer.outbox.take_over(self.writers);
            let newest = peer.connections.iter().max_by_key(|(_, there)| there.activity.begin());
            return newest.map(|(newest, _)| PeerAction::OpenStream(id, *newest)).into_iter().collect();
        }

        let Some(peer) = self.peers.remove(&id) else { return Vec::new() };
        let dropped = peer.outbox.discard();
        let mut actions = vec![PeerAction::Redial { peer: id, lasted: peer.since.elapsed(), dropped }];
        if let Some(key) = peer.signer {
            self.routes.remove(&key, &peer.outbox);
            let rest = self.signers.get_mut(&key).map_or(0, |peers| {
                peers.retain(|other| *other != id);
                peers.len()
            });
            if rest == 0 {
                self.signers.remove(&key);
                actions.push(PeerAction::SignerDisconnected(key));
            }
        }
        actions.push(PeerAction::PeerDisconnected(id));
        actions
    }

    /// A connection has a stream to write to.
    pub(super) fn outbound(&mut self, id: PeerId, connection: ConnectionId) -> Outbound {
        let Some(peer) = self.peers.get_mut(&id) else { return Outbound::Gone };
        let Some(there) = peer.connections.get(&connection) else { return Outbound::Gone };
        if !peer.prefers(there, self.own < id) {
            peer.note_unused(connection);
            return Outbound::Unused;
        }
        self.writers += 1;
        let (number, start) = (self.writers, peer.outbox.take_over(self.writers));
        let (outbox, activity) = (peer.outbox.clone(), there.activity.clone());
        if let Some(before) = peer.chosen.replace(connection) {
            peer.note_unused(before);
        }
        Outbound::Write { number, start, outbox, activity }
    }

    /// The other side of a connection opened a stream.
    pub(super) fn inbound(&mut self, id: PeerId, connection: ConnectionId) -> Inbound {
        let Some(peer) = self.peers.get_mut(&id) else { return Inbound::Gone };
        let Some(there) = peer.connections.get_mut(&connection) else { return Inbound::Gone };
        let (open, ever) = &mut there.inbound;
        (*open, *ever) = (*open + 1, *ever + 1);
        if *open > INBOUND.0 || *ever > INBOUND.1 {
            return Inbound::TooMany;
        }
        there.unused = None;
        let (activity, paces) = (there.activity.clone(), there.paces.clone());
        Inbound::Read { delivered: peer.delivered.clone(), outbox: peer.outbox.clone(), activity, paces }
    }

    /// A stream of the other side ended.
    pub(super) fn reader_ended(&mut self, id: PeerId, connection: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(there) = peer.connections.get_mut(&connection) {
            there.inbound.0 = there.inbound.0.saturating_sub(1);
        }
        peer.note_unused(connection);
    }

    /// A message of identify came or went on a connection.
    pub(super) fn identified(&mut self, id: &PeerId, connection: ConnectionId, now: Instant) -> Identified {
        let there = self.peers.get_mut(id).and_then(|peer| peer.connections.get_mut(&connection));
        let Some(there) = there else { return Identified::Gone };
        let (count, since) = &mut there.identified;
        if now.saturating_duration_since(*since) >= IDENTIFIED.1 {
            (*count, *since) = (0, now);
        }
        *count += 1;
        if *count > IDENTIFIED.0 && !mutation::on(Mutation::IdentifyUncounted) {
            return Identified::TooMany;
        }
        let chosen = there.dialled && there.relay.is_none() && self.servers.contains(id);
        Identified::Taken { server: chosen.then_some(there.reach) }
    }

    /// A peer broke the protocol, on one of its connections if it is known which. False if that one, or each, is being
    /// closed for a violation already.
    pub(super) fn condemn(&self, id: &PeerId, on: Option<ConnectionId>) -> bool {
        let Some(peer) = self.peers.get(id) else { return false };
        let condemn = |there: &Connection| there.activity.condemn();
        let first = match on {
            Some(on) => peer.connections.get(&on).is_some_and(condemn),
            None => peer.connections.values().fold(false, |first, there| condemn(there) | first),
        };
        if first {
            peer.connections.values().for_each(|there| _ = condemn(there));
        }
        first
    }

    /// Whether a peer is written to on this connection.
    pub(super) fn writes_on(&self, id: &PeerId, connection: ConnectionId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.chosen == Some(connection))
    }

    /// A peer proved that it speaks for a signer.
    pub(super) fn presented(&mut self, id: PeerId, key: SignerKey) -> Presented {
        let Some(peer) = self.peers.get_mut(&id) else { return Presented::Gone };
        match peer.signer {
            Some(before) if before != key => Presented::AnotherSigner,
            Some(_) => Presented::Again,
            None => {
                peer.signer = Some(key);
                self.routes.add(key, peer.outbox.clone());
                let peers = self.signers.entry(key).or_default();
                peers.push(id);
                Presented::Joined { first: peers.len() == 1 }
            }
        }
    }

    /// A peer answered a ping. The signer it speaks for, if that is to be reported.
    pub(super) fn heard(&self, id: &PeerId, connection: ConnectionId) -> Option<SignerKey> {
        let peer = self.peers.get(id)?;
        let reports = peer.connections.get(&connection).is_some_and(|there| there.activity.heard());
        peer.signer.filter(|_| reports)
    }

    /// Sets the signers that are asked for signs of life.
    pub(super) fn set_asked(&mut self, asked: HashSet<SignerKey>) {
        let ends = |peer: &&mut Peer| peer.signer.is_none_or(|key| !asked.contains(&key));
        self.peers.values_mut().filter(ends).for_each(|peer| peer.questions = Questions::default());
        self.asked = asked;
    }

    /// Asks those from whom nothing came for a while, each peer once for all that its signer is asked for. Returns the
    /// signers that fell silent, all of their peers, for how long, and when to ask again.
    pub(super) fn ask(&mut self, now: Instant) -> (Vec<(SignerKey, Duration)>, Option<Instant>) {
        let (mut silent, mut next) = (Vec::new(), None::<Instant>);
        for key in &self.asked {
            let Some(ids) = self.signers.get(key) else { continue };
            let (mut fell, mut all, mut silence) = (false, true, Duration::MAX);
            for id in ids {
                let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.chosen.is_some()) else {
                    all = false;
                    continue;
                };
                let idle =
                    peer.connections.values().map(|there| there.activity.idle()).min().unwrap_or_default();
                let Peer { questions, outbox, .. } = peer;
                fell |= questions.poll(now, idle, self.ask_interval, || outbox.ask());
                all &= questions.is_silent();
                silence = silence.min(idle);
                next = next.into_iter().chain(questions.due()).min();
            }
            if fell && all {
                silent.push((*key, silence));
            }
        }
        (silent, next)
    }

    /// A direct connection replaces one through a relay: it is there to stay.
    #[cfg(feature = "nat")]
    pub(super) fn keep(&mut self, id: &PeerId, connection: ConnectionId) {
        let peer = self.peers.get_mut(id);
        if let Some(there) = peer.and_then(|peer| peer.connections.get_mut(&connection)) {
            there.transient = false;
        }
    }

    /// Whether a connection is of use, for a while at least, with a peer that does not speak the protocol of signers.
    pub(super) fn may_be_silent(&self, id: &PeerId, connection: ConnectionId) -> bool {
        let there = self.peers.get(id).and_then(|peer| peer.connections.get(&connection));
        // Servers of the hash table are asked by others of them.
        self.servers.contains(id) || self.serves_dht || there.is_some_and(|there| there.transient)
    }

    /// The connections whose time is over: those of no signer, unused, transient or dead ones. `wanted` says whether a
    /// peer, or the signer it speaks for, is to stay connected.
    pub(super) fn expired(
        &self,
        now: Instant,
        wanted: impl Fn(&PeerId, Option<&SignerKey>) -> bool,
    ) -> Expired {
        let connections = self.peers.values().flat_map(|peer| peer.connections.values());
        let relays: HashSet<_> = connections.filter_map(|there| there.relay).collect();
        let mut close = Vec::new();
        let mut tick = self.tick;
        for (id, peer) in &self.peers {
            let serves = self.servers.contains(id) || relays.contains(id);
            let anonymous = peer.signer.is_none() && !serves;
            // Whom this node dials again and again may show itself later.
            let late = anonymous
                && now.saturating_duration_since(peer.since) > self.presence_timeout
                && !(wanted(id, None) && peer.connections.values().any(|there| there.dialled));
            for (connection, there) in &peer.connections {
                let since = |moment: Instant| now.saturating_duration_since(moment);
                let unused = there.unused.is_some_and(|moment| since(moment) > UNUSED);
                let over = there.transient
                    && since(there.activity.begin()) > self.presence_timeout
                    && !serves
                    && !wanted(id, peer.signer.as_ref());
                let leaves = peer.leaves.is_some_and(|at| now >= at);
                if leaves || late || unused || over || there.activity.idle() > self.dead_after {
                    close.push(*connection);
                }
                if anonymous || there.unused.is_some() || peer.leaves.is_some() {
                    tick = TICK;
                }
            }
        }
        Expired { close, next: (!self.peers.is_empty()).then_some(now + tick) }
    }
}

impl Peer {
    fn new(most_waiting: usize) -> Self {
        Self {
            since: Instant::now(),
            signer: None,
            shown: false,
            seeks: Sought::default(),
            leaves: None,
            outbox: Arc::new(Outbox::new(most_waiting)),
            questions: Questions::default(),
            delivered: Arc::new(watch::Sender::new(0)),
            connections: HashMap::new(),
            chosen: None,
        }
    }

    /// Whether to write on this connection rather than on the chosen one. `low` says whether this node's identity is
    /// the smaller one.
    ///
    /// A direct one rather than one through a relay. Else the newest is the one that is alive for certain. But when
    /// both sides dialled at once they must agree: on the connection that the smaller identity dialled.
    fn prefers(&self, connection: &Connection, low: bool) -> bool {
        let Some(chosen) = self.chosen.and_then(|chosen| self.connections.get(&chosen)) else { return true };
        if chosen.relay.is_some() != connection.relay.is_some() {
            return connection.relay.is_none();
        }
        let (old, new) = (chosen.activity.begin(), connection.activity.begin());
        if chosen.dialled != connection.dialled && new.max(old) - new.min(old) < SIMULTANEOUS {
            connection.dialled == low
        } else {
            new >= old
        }
    }

    /// Marks a connection that neither side writes on any more.
    fn note_unused(&mut self, connection: ConnectionId) {
        let elsewhere = self.chosen.is_some_and(|chosen| chosen != connection);
        if let Some(there) = self.connections.get_mut(&connection)
            && elsewhere
            && matches!(there.inbound, (0, 1..))
        {
            there.unused.get_or_insert_with(Instant::now);
        }
    }
}

impl Connection {
    fn new(endpoint: &ConnectedPoint, wanted: bool, frames_per_second: (u32, u32)) -> Self {
        let dialled = endpoint.is_dialer();
        let address = match endpoint {
            ConnectedPoint::Dialer { address, .. } => address,
            ConnectedPoint::Listener { local_addr, .. } => local_addr,
        };
        let remote = endpoint.get_remote_address();
        Self {
            dialled,
            local: reach(remote) == LOCAL && relay_of(address).is_none(),
            activity: Arc::new(Activity::new()),
            paces: Arc::new(Paces::new(frames_per_second)),
            inbound: (0, 0),
            unused: None,
            relay: relay_of(address),
            reach: reach(address),
            identified: (0, Instant::now()),
            transient: dialled && !wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;
    use libp2p::multiaddr::Protocol;

    use super::*;
    use crate::net::testing::signer;

    const HOUR: Duration = Duration::from_secs(3600);

    fn peers_of(own: PeerId, servers: &[PeerId]) -> (Peers, Arc<Routes>) {
        let routes = Arc::new(Routes::default());
        // What nobody hears from is another test's.
        let config = NetworkConfig { dead_after: 2 * HOUR, ..NetworkConfig::default() };
        (Peers::new(&config, own, servers.iter().copied().collect(), routes.clone()), routes)
    }

    fn peers() -> (Peers, Arc<Routes>) {
        peers_of(PeerId::random(), &[])
    }

    fn connection(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    fn dialled() -> ConnectedPoint {
        dialled_at("/ip4/192.0.2.1/tcp/1".parse().unwrap())
    }

    fn dialled_at(address: libp2p::Multiaddr) -> ConnectedPoint {
        ConnectedPoint::Dialer { address, role_override: Endpoint::Dialer, port_use: PortUse::New }
    }

    fn accepted() -> ConnectedPoint {
        let address: libp2p::Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        ConnectedPoint::Listener { local_addr: address.clone(), send_back_addr: address }
    }

    fn relayed() -> ConnectedPoint {
        let relay: libp2p::Multiaddr = "/ip4/192.0.2.9/tcp/1".parse().unwrap();
        dialled_at(relay.with(Protocol::P2p(PeerId::random())).with(Protocol::P2pCircuit))
    }

    fn expired(peers: &Peers, after: Duration) -> Vec<ConnectionId> {
        peers.expired(Instant::now() + after, |_, _| false).close
    }

    #[test]
    fn a_signer_is_connected_from_its_first_presence_to_the_end_of_its_last_peer() {
        let (mut peers, routes) = peers();
        let (a, b, key) = (PeerId::random(), PeerId::random(), signer(1));
        let frame: Arc<[u8]> = vec![1].into();
        assert_eq!(
            peers.established(a, connection(1), &accepted(), false),
            Some(PeerAction::PeerConnected(a))
        );
        assert_eq!(peers.established(a, connection(2), &accepted(), false), None);
        peers.established(b, connection(3), &dialled(), true);
        assert!(!peers.has_signer(&key));
        assert_eq!(routes.send(&key, &frame), (0, 0));

        assert_eq!(peers.presented(a, key), Presented::Joined { first: true });
        assert_eq!(peers.presented(a, key), Presented::Again);
        assert_eq!(peers.presented(b, key), Presented::Joined { first: false });
        assert_eq!(peers.presented(b, signer(2)), Presented::AnotherSigner);
        assert_eq!(peers.presented(PeerId::random(), key), Presented::Gone);
        assert_eq!(peers.of_signer(&key), [a, b]);
        assert_eq!(routes.send(&key, &frame), (2, 0));

        assert_eq!(peers.closed(a, connection(1)), []);
        let actions = peers.closed(a, connection(2));
        assert!(
            matches!(actions[0], PeerAction::Redial { peer, dropped: 1, .. } if peer == a),
            "{actions:?}"
        );
        assert_eq!(actions[1..], [PeerAction::PeerDisconnected(a)]);
        assert!(peers.has_signer(&key));
        let actions = peers.closed(b, connection(3));
        assert_eq!(actions[1..], [PeerAction::SignerDisconnected(key), PeerAction::PeerDisconnected(b)]);
        assert!(!peers.has_signer(&key) && peers.connected().is_empty());
        assert_eq!(routes.send(&key, &frame), (0, 0));
        assert_eq!(peers.closed(b, connection(3)), []);
    }

    #[test]
    fn a_peer_is_written_to_on_one_connection_and_its_order_is_numbered() {
        let (mut peers, _) = peers();
        let peer = PeerId::random();
        peers.established(peer, connection(1), &dialled(), true);
        let Outbound::Write { number: first, start: 0, outbox, .. } = peers.outbound(peer, connection(1))
        else {
            panic!("the only connection is written to");
        };
        outbox.push(vec![1].into());
        outbox.next(first, true);
        peers.established(peer, connection(2), &dialled(), true);
        let Outbound::Write { number, start: 1, .. } = peers.outbound(peer, connection(2)) else {
            panic!("the newest connection is written to, after one frame");
        };
        assert!(
            number > first && peers.writes_on(&peer, connection(2)) && !peers.writes_on(&peer, connection(1))
        );

        // The chosen one ends: the other one is asked for a stream.
        let actions = peers.closed(peer, connection(2));
        assert_eq!(actions, [PeerAction::OpenStream(peer, connection(1))]);
        assert!(matches!(peers.outbound(peer, connection(1)), Outbound::Write { start: 1, .. }));
        assert!(matches!(peers.outbound(peer, connection(2)), Outbound::Gone));
    }

    #[test]
    fn both_sides_that_dialled_at_once_choose_the_connection_of_the_smaller_identity() {
        let (one, two) = (PeerId::random(), PeerId::random());
        let (low, high) = (one.min(two), one.max(two));
        for (own, other, keeps_dialled) in [(low, high, true), (high, low, false)] {
            let (mut peers, _) = peers_of(own, &[]);
            peers.established(other, connection(1), &dialled(), true);
            peers.established(other, connection(2), &accepted(), false);
            assert!(matches!(peers.outbound(other, connection(1)), Outbound::Write { .. }));
            assert_eq!(matches!(peers.outbound(other, connection(2)), Outbound::Unused), keeps_dialled);
            assert_eq!(peers.writes_on(&other, connection(1)), keeps_dialled);
        }
    }

    #[test]
    fn a_direct_connection_is_preferred_to_a_newer_relayed_one() {
        let (mut peers, _) = peers();
        let peer = PeerId::random();
        peers.established(peer, connection(1), &dialled(), true);
        peers.established(peer, connection(2), &relayed(), true);
        assert!(matches!(peers.outbound(peer, connection(2)), Outbound::Write { .. }));
        assert!(matches!(peers.outbound(peer, connection(1)), Outbound::Write { .. }));
        assert!(matches!(peers.outbound(peer, connection(2)), Outbound::Unused));
    }

    #[test]
    fn inbound_streams_are_limited_at_once_and_in_all() {
        let (mut peers, _) = peers();
        let peer = PeerId::random();
        peers.established(peer, connection(1), &accepted(), false);
        for _ in 0..INBOUND.0 {
            assert!(matches!(peers.inbound(peer, connection(1)), Inbound::Read { .. }));
        }
        assert!(matches!(peers.inbound(peer, connection(1)), Inbound::TooMany));
        peers.established(peer, connection(2), &accepted(), false);
        for _ in 0..INBOUND.1 {
            assert!(matches!(peers.inbound(peer, connection(2)), Inbound::Read { .. }));
            peers.reader_ended(peer, connection(2));
        }
        assert!(matches!(peers.inbound(peer, connection(2)), Inbound::TooMany));
        assert!(matches!(peers.inbound(PeerId::random(), connection(1)), Inbound::Gone));
    }

    #[test]
    fn first_contact_of_another_version_is_left_after_a_moment() {
        let (mut peers, _) = peers();
        let peer = PeerId::random();
        peers.established(peer, connection(1), &dialled(), true);
        peers.presented(peer, signer(1));
        peers.leave(&peer);
        assert!(expired(&peers, Duration::ZERO).is_empty());
        assert_eq!(expired(&peers, FAREWELL), [connection(1)]);
    }

    #[test]
    fn one_violation_is_counted_for_the_connections_that_are_closed_for_it() {
        let (mut peers, _) = peers();
        let peer = PeerId::random();
        peers.established(peer, connection(1), &accepted(), false);
        peers.established(peer, connection(2), &accepted(), false);
        assert!(peers.condemn(&peer, Some(connection(1))));
        assert!(!peers.condemn(&peer, Some(connection(1))) && !peers.condemn(&peer, Some(connection(2))));
        assert!(!peers.condemn(&peer, None) && !peers.condemn(&PeerId::random(), None));
        // The next connection has its own.
        peers.established(peer, connection(3), &accepted(), false);
        assert!(!peers.condemn(&peer, Some(connection(2))));
        assert!(peers.condemn(&peer, Some(connection(3))));
        peers.established(peer, connection(4), &accepted(), false);
        assert!(peers.condemn(&peer, None) && !peers.condemn(&peer, None));
    }

    #[test]
    fn a_peer_without_a_signer_stays_for_the_presence_timeout_and_a_server_for_ever() {
        let server = PeerId::random();
        let (mut peers, _) = peers_of(PeerId::random(), &[server]);
        let (silent, known) = (PeerId::random(), PeerId::random());
        peers.established(silent, connection(1), &accepted(), false);
        peers.established(known, connection(2), &accepted(), false);
        peers.established(server, connection(3), &dialled(), true);
        peers.presented(known, signer(1));
        assert!(expired(&peers, Duration::ZERO).is_empty());
        assert_eq!(expired(&peers, HOUR), [connection(1)]);
        assert!(peers.may_be_silent(&server, connection(3)) && !peers.may_be_silent(&silent, connection(1)));
    }

    #[test]
    fn a_transient_connection_goes_unless_its_peer_is_wanted_or_it_is_kept() {
        let (mut peers, _) = peers();
        let peer = PeerId::random();
        peers.established(peer, connection(1), &dialled(), false);
        peers.presented(peer, signer(1));
        assert!(peers.may_be_silent(&peer, connection(1)));
        assert_eq!(expired(&peers, HOUR), [connection(1)]);
        let later = Instant::now() + HOUR;
        assert!(peers.expired(later, |_, key| key == Some(&signer(1))).close.is_empty());
        #[cfg(feature = "nat")]
        {
            peers.keep(&peer, connection(1));
            assert!(expired(&peers, HOUR).is_empty());
        }
    }

    #[test]
    fn a_connection_that_neither_side_writes_on_is_closed() {
        let (mut peers, _) = peers();
        let peer = PeerId::random();
        peers.established(peer, connection(1), &dialled(), true);
        peers.presented(peer, signer(1));
        peers.outbound(peer, connection(1));
        peers.inbound(peer, connection(1));
        peers.established(peer, connection(2), &dialled(), true);
        peers.outbound(peer, connection(2));
        // The other side still writes on the first one.
        assert!(expired(&peers, HOUR).is_empty());
        peers.reader_ended(peer, connection(1));
        assert!(expired(&peers, Duration::ZERO).is_empty());
        assert_eq!(expired(&peers, HOUR), [connection(1)]);
    }
}
