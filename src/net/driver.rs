//! The driver: one task that owns the swarm, the peers and their streams.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{AsyncWriteExt, StreamExt};
use libp2p::core::ConnectedPoint;
use libp2p::identity::Keypair;
use libp2p::swarm::{ConnectionId, Stream, SwarmEvent};
use libp2p::{PeerId, Swarm, identify, ping};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::instrument::WithSubscriber;

use super::backlog::Backlog;
use super::behaviour::{Behaviour, BehaviourEvent, FramesEvent, Offer};
use super::config::{DhtMode, Surroundings};
use super::counters::count;
use super::dial::Dialler;
use super::discovery::Discovery;
use super::identity::NetError;
use super::listeners::Listeners;
use super::message::{NetCommand, NetEvent};
use super::peers::{Connection, Peer};
use super::presence::{Book, PresenceRecord};
use super::routes::Routes;
use super::shared::Shared;
use super::stream::{Reader, Report, Writer};
use super::transport::transport;
use crate::types::SignerKey;

/// Streams that one peer may have opened on a connection at once, and during its life.
const INBOUND: (usize, usize) = (4, 64);
/// How long a connection that neither side writes on stays.
const SURPLUS: Duration = Duration::from_secs(1);
/// How often short deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How long a shutdown sends what waits, and then closes.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Peers whose violations are remembered.
const STRIKES: usize = 1024;

/// Builds the swarm and starts the driver.
pub(super) fn start(
    runtime: &tokio::runtime::Handle,
    shared: Arc<Shared>,
    routes: Arc<Routes>,
    identity: &Keypair,
    presence: Option<Vec<u8>>,
    events: mpsc::Sender<NetEvent>,
    commands: mpsc::Receiver<NetCommand>,
) -> Result<(), NetError> {
    let _runtime = runtime.enter();
    let config = &shared.config;
    let (transport, traversal, degraded) = transport(identity, config.dial_timeout)?;
    let behaviour = Behaviour::new(config, identity.public(), traversal);
    let swarm_config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(Duration::from_secs(365 * 24 * 3600))
        .with_max_negotiating_inbound_streams(8)
        .with_dial_concurrency_factor(NonZeroU8::new(4).expect("not zero"));
    let mut swarm = Swarm::new(transport, behaviour, identity.public().to_peer_id(), swarm_config);

    for address in config.external.iter().filter(|_| config.dht == DhtMode::Server) {
        swarm.add_external_address(address.clone());
    }

    let (own, now) = (*swarm.local_peer_id(), Instant::now());
    let (reporter, reports) = mpsc::channel(256);
    let mut dialler = Dialler::new(config);
    let surroundings = Surroundings::new(config);
    for address in config.peers.iter().chain(&surroundings.dialled) {
        dialler.add(address.clone());
    }
    let mut discovery = Discovery::new(config, own);
    discovery.present(presence.as_deref().unwrap_or_default());
    let mut backlog = Backlog::default();
    for problem in degraded.into_iter().chain(surroundings.problems) {
        backlog.push(NetEvent::Degraded(problem));
    }
    let driver = Driver {
        listeners: Listeners::new(config, &surroundings.places, own, now),
        swarm,
        events,
        reporter,
        backlog,
        peers: HashMap::new(),
        signers: HashMap::new(),
        sought: HashSet::new(),
        book: Book::default(),
        dialler,
        discovery,
        servers: surroundings.servers,
        strikes: HashMap::new(),
        presence: presence.map(Arc::from),
        writers: 0,
        tasks: JoinSet::new(),
        shared,
        routes,
    };
    runtime.spawn(driver.run(commands, reports).with_current_subscriber());
    Ok(())
}

/// See the module.
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    routes: Arc<Routes>,
    pub(super) swarm: Swarm<Behaviour>,
    events: mpsc::Sender<NetEvent>,
    reporter: mpsc::Sender<Report>,
    backlog: Backlog,
    pub(super) peers: HashMap<PeerId, Peer>,
    pub(super) signers: HashMap<SignerKey, Vec<PeerId>>,
    pub(super) sought: HashSet<SignerKey>,
    pub(super) book: Book,
    dialler: Dialler,
    pub(super) discovery: Discovery,
    /// Bootstrap peers and relays: they need not speak for anybody.
    servers: HashSet<PeerId>,
    listeners: Listeners,
    strikes: HashMap<PeerId, (u32, Instant)>,
    presence: Option<Arc<[u8]>>,
    writers: u64,
    tasks: JoinSet<()>,
}

impl Driver {
    async fn run(mut self, mut commands: mpsc::Receiver<NetCommand>, mut reports: mpsc::Receiver<Report>) {
        let events = self.events.clone();
        // Kept from turn to turn: it has its place among the readers that wait for room too.
        let mut place = std::pin::pin!(events.clone().reserve_owned());
        loop {
            let wake = self.keep_house();
            // A slow application makes peers wait, and is never waited for where a command would have to wait too.
            let room = self.backlog.has_room();
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None | Some(NetCommand::Shutdown) => break,
                    Some(command) => self.command(command),
                },
                permit = &mut place, if !self.backlog.is_empty() => {
                    let Ok(permit) = permit else { break };
                    self.backlog.hand_out(|event| drop(permit.send(event)));
                    place.set(events.clone().reserve_owned());
                }
                Some(report) = reports.recv(), if room => self.report(report),
                event = self.swarm.select_next_some(), if room => self.swarm_event(event),
                found = self.discovery.next_found(), if room => self.found(found),
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        self.finish().await;
    }

    /// Sends what waits and closes the connections, as far as there is time.
    async fn finish(mut self) {
        for peer in self.peers.values() {
            peer.outbox.close();
        }
        self.routes.clear();
        let outboxes: Vec<_> = self.peers.values().map(|peer| peer.outbox.clone()).collect();
        let until = tokio::time::Instant::now() + LAST_WORDS;
        while outboxes.iter().any(|outbox| outbox.is_writing()) {
            tokio::select! {
                _ = self.swarm.select_next_some() => {}
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                () = tokio::time::sleep_until(until) => break,
            }
        }
        for peer in self.peers.keys() {
            let _ = self.swarm.disconnect_peer_id(*peer);
        }
        let until = tokio::time::Instant::now() + LAST_WORDS;
        while self.swarm.connected_peers().next().is_some() {
            tokio::select! {
                _ = self.swarm.select_next_some() => {}
                () = tokio::time::sleep_until(until) => break,
            }
        }
    }

    pub(super) fn tell(&mut self, event: NetEvent) {
        self.backlog.push(event);
    }

    fn degraded(&mut self, report: impl IntoIterator<Item = String>) {
        for text in report {
            self.tell(NetEvent::Degraded(text));
        }
    }

    fn command(&mut self, command: NetCommand) {
        match command {
            NetCommand::SetPresence(bytes) => {
                self.discovery.present(&bytes);
                let presence: Arc<[u8]> = bytes.into();
                for peer in self.peers.values() {
                    peer.outbox.present(presence.clone());
                }
                self.presence = Some(presence);
            }
            NetCommand::LearnPresences(presences) => {
                for record in presences.iter().filter_map(|bytes| PresenceRecord::decode(bytes).ok()) {
                    self.learn(record);
                }
            }
            NetCommand::AddPeer(address) => {
                if !self.dialler.add(address.clone()) {
                    self.tell(NetEvent::Degraded(format!(
                        "too many addresses to dial; {address} is left out"
                    )));
                }
            }
            NetCommand::Seek(keys) => {
                self.sought = keys.into_iter().collect();
                self.discovery.sought();
                self.seek();
            }
            NetCommand::Disconnect(key) => {
                for peer in self.signers.get(&key).cloned().unwrap_or_default() {
                    let _ = self.swarm.disconnect_peer_id(peer);
                }
            }
            NetCommand::Reconnect => {
                for peer in self.peers.keys().copied().collect::<Vec<_>>() {
                    let _ = self.swarm.disconnect_peer_id(peer);
                }
                self.dialler.hurry();
                self.discovery.hurry();
                for id in self.listeners.renew(Instant::now()) {
                    self.swarm.remove_listener(id);
                }
            }
            NetCommand::Shutdown => {}
        }
    }

    fn seek(&mut self) {
        self.discovery.changed();
        let own = *self.swarm.local_peer_id();
        let records = self.sought.iter().flat_map(|key| self.book.of(key));
        self.dialler.seek(records.filter(|record| record.peer != own));
    }

    /// True if the record is newer than what was known.
    pub(super) fn learn(&mut self, record: PresenceRecord) -> bool {
        let key = record.signer;
        let newer = self.book.learn(record);
        if newer {
            let (sought, signers) = (&self.sought, &self.signers);
            let most = self.shared.config.max_presences;
            let needed =
                |other: &SignerKey| *other == key || sought.contains(other) || signers.contains_key(other);
            let forgotten = self.book.trim(most, needed);
            if !forgotten.is_empty() {
                self.tell(NetEvent::PresencesForgotten { keys: forgotten });
            }
            if self.sought.contains(&key) {
                self.seek();
            }
        }
        newer
    }

    fn swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Frames(FramesEvent { peer, connection, offer })) => {
                match offer {
                    Offer::Outbound(stream) => self.outbound(peer, connection, stream),
                    Offer::Inbound(stream) => self.inbound(peer, connection, stream),
                    Offer::Failed => {
                        tracing::debug!(%peer, "the peer does not speak the protocol");
                        if !self.may_be_silent(&peer, connection) {
                            self.swarm.close_connection(connection);
                        }
                    }
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => self.identified(peer_id, &info),
            #[cfg(feature = "discovery")]
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => self.kad_event(event),
            #[cfg(feature = "nat")]
            SwarmEvent::Behaviour(BehaviourEvent::Nat(event)) => self.nat_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, connection, result: Ok(_) })) => {
                let Some(peer) = self.peers.get(&peer) else { return };
                let heard = peer.connections.get(&connection).is_some_and(|there| there.activity.heard());
                if heard
                    && self.backlog.is_empty()
                    && let Some(key) = peer.signer
                {
                    let _ = self.events.try_send(NetEvent::Heard { key });
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.disconnected(peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.dial_failed(connection_id, &error);
            }
            SwarmEvent::NewListenAddr { listener_id, .. } => {
                self.listeners.works(listener_id);
                self.announce();
            }
            SwarmEvent::ExpiredListenAddr { .. }
            | SwarmEvent::ExternalAddrConfirmed { .. }
            | SwarmEvent::ExternalAddrExpired { .. } => self.announce(),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let text =
                    reason.err().map_or_else(|| "it was closed".to_string(), |error| error.to_string());
                let report = self.listeners.closed(listener_id, &text, Instant::now());
                self.degraded(report);
                self.announce();
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::debug!(%error, "accepting a connection failed")
            }
            _ => {}
        }
    }

    fn connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        count(&self.shared.counters.connections_opened, 1);
        let ours = self.dialler.established(connection, peer);
        if !self.peers.contains_key(&peer) {
            self.tell(NetEvent::PeerConnected { peer });
            let most = self.shared.config.max_pending_bytes_per_peer;
            self.peers.insert(peer, Peer::new(most));
        }
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.connections.insert(connection, Connection::new(endpoint, ours));
        }
    }

    fn disconnected(&mut self, id: PeerId, connection: ConnectionId) {
        count(&self.shared.counters.connections_closed, 1);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.connections.remove(&connection);
        if !peer.connections.is_empty() {
            if peer.chosen == Some(connection) {
                // The stream on the other one was given back when this one was chosen.
                peer.chosen = None;
                self.writers += 1;
                peer.outbox.take_over(self.writers);
                let newest = peer.connections.iter().max_by_key(|(_, there)| there.activity.begin());
                if let Some((newest, _)) = newest {
                    self.swarm.behaviour_mut().frames.open(id, *newest);
                }
            }
            return;
        }

        let Some(peer) = self.peers.remove(&id) else { return };
        count(&self.shared.counters.dropped, peer.outbox.discard());
        self.dialler.disconnected(&id, peer.since.elapsed());
        if let Some(key) = peer.signer {
            let rest = self.signers.get_mut(&key).map_or(0, |peers| {
                peers.retain(|other| *other != id);
                peers.len()
            });
            self.routes.remove(&key, &peer.outbox);
            if rest == 0 {
                self.signers.remove(&key);
                self.tell(NetEvent::SignerDisconnected { key });
                self.dialler.lost(&key);
                self.discovery.changed();
            }
        }
        self.tell(NetEvent::PeerDisconnected { peer: id });
    }

    fn outbound(&mut self, id: PeerId, connection: ConnectionId, mut stream: Stream) {
        let own = *self.swarm.local_peer_id();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(there) = peer.connections.get(&connection) else { return };
        if !peer.prefers(there, own < id) {
            self.tasks.spawn(async move {
                let _ = stream.close().await;
            });
            return peer.note_surplus(connection);
        }

        self.writers += 1;
        let start = peer.outbox.take_over(self.writers);
        let writer = Writer {
            start,
            peer: id,
            connection,
            number: self.writers,
            presence: self.presence.clone(),
            outbox: peer.outbox.clone(),
            activity: there.activity.clone(),
            shared: self.shared.clone(),
            reports: self.reporter.clone(),
        };
        let before = peer.chosen.replace(connection);
        self.tasks.spawn(writer.run(stream));
        if let Some(before) = before {
            peer.note_surplus(before);
        }
    }

    fn inbound(&mut self, id: PeerId, connection: ConnectionId, stream: Stream) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(there) = peer.connections.get_mut(&connection) else { return };
        let (open, ever) = &mut there.inbound;
        (*open, *ever) = (*open + 1, *ever + 1);
        if *open > INBOUND.0 || *ever > INBOUND.1 {
            return self.violation(id, "too many streams");
        }
        there.surplus = None;
        let reader = Reader {
            peer: id,
            connection,
            delivered: peer.delivered.clone(),
            activity: there.activity.clone(),
            shared: self.shared.clone(),
            events: self.events.clone(),
            reports: self.reporter.clone(),
        };
        self.tasks.spawn(reader.run(stream));
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Presence { peer, record, bytes, go_on } => self.presence(peer, record, bytes, go_on),
            Report::Violation { peer, what } => self.violation(peer, what),
            Report::ReaderEnded { peer, connection } => {
                let Some(peer) = self.peers.get_mut(&peer) else { return };
                if let Some(there) = peer.connections.get_mut(&connection) {
                    there.inbound.0 = there.inbound.0.saturating_sub(1);
                }
                peer.note_surplus(connection);
            }
            Report::WriterFailed { peer, connection } => {
                if self.peers.get(&peer).is_some_and(|peer| peer.chosen == Some(connection)) {
                    self.swarm.close_connection(connection);
                }
            }
        }
    }

    fn presence(&mut self, id: PeerId, record: PresenceRecord, bytes: Vec<u8>, go_on: oneshot::Sender<()>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let key = record.signer;
        match peer.signer {
            Some(before) if before != key => return self.violation(id, "another signer than before"),
            Some(_) => {}
            None => {
                peer.signer = Some(key);
                self.routes.add(key, peer.outbox.clone());
                let peers = self.signers.entry(key).or_default();
                peers.push(id);
                if peers.len() == 1 {
                    self.tell(NetEvent::SignerConnected { key, peer: id });
                    self.discovery.changed();
                }
            }
        }
        if self.learn(record) {
            self.tell(NetEvent::PresenceLearned { key, bytes });
        }
        self.backlog.resume(go_on);
    }

    /// A connection with a peer.
    #[cfg(feature = "nat")]
    pub(super) fn connection(&mut self, peer: &PeerId, connection: ConnectionId) -> Option<&mut Connection> {
        self.peers.get_mut(peer)?.connections.get_mut(&connection)
    }

    /// Whether a connection is of use, for a while at least, with a peer that does not speak for a signer.
    fn may_be_silent(&self, peer: &PeerId, connection: ConnectionId) -> bool {
        let there = self.peers.get(peer).and_then(|peer| peer.connections.get(&connection));
        // Servers of the hash table are called upon by others of them.
        self.servers.contains(peer)
            || self.shared.config.dht == DhtMode::Server
            || there.is_some_and(|there| there.passing)
    }

    /// Closes the connections of a peer that broke the protocol, and bans it if it did so before.
    fn violation(&mut self, peer: PeerId, what: &'static str) {
        count(&self.shared.counters.violations, 1);
        tracing::debug!(%peer, what, "the peer broke the protocol");
        let (now, memory) = (Instant::now(), self.shared.config.ban_duration);
        if self.strikes.len() >= STRIKES {
            self.strikes.retain(|_, (_, last)| now.duration_since(*last) < memory);
        }
        if self.strikes.len() < STRIKES || self.strikes.contains_key(&peer) {
            let (strikes, last) = self.strikes.entry(peer).or_insert((0, now));
            *strikes = if now.duration_since(*last) < memory { *strikes + 1 } else { 1 };
            *last = now;
            if *strikes >= self.shared.config.ban_after.max(1) {
                self.strikes.remove(&peer);
                count(&self.shared.counters.bans, 1);
                self.swarm.behaviour_mut().frames.ban(peer, memory);
            }
        }
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    /// Does what is due, and says when to look again.
    fn keep_house(&mut self) -> Instant {
        let now = Instant::now();
        self.listen(now);
        self.dial(now);
        let search = self.discover(now);

        let config = &self.shared.config;
        let relays: HashSet<_> = self
            .peers
            .values()
            .flat_map(|peer| peer.connections.values())
            .filter_map(|there| there.relay)
            .collect();
        let mut close = Vec::new();
        let mut tick = config.ping_interval.max(TICK);
        for (id, peer) in &self.peers {
            let serves = self.servers.contains(id) || relays.contains(id);
            let anonymous = peer.signer.is_none() && !serves;
            let late = anonymous && now.saturating_duration_since(peer.since) > config.presence_timeout;
            let wanted = || {
                serves
                    || peer.signer.is_some_and(|key| self.sought.contains(&key))
                    || self.dialler.aims_at(id)
            };
            for (connection, there) in &peer.connections {
                let surplus =
                    there.surplus.is_some_and(|since| now.saturating_duration_since(since) > SURPLUS);
                let age = now.saturating_duration_since(there.activity.begin());
                let passed = there.passing && age > config.presence_timeout && !wanted();
                if late || surplus || passed || there.activity.idle() > config.dead_after {
                    close.push(*connection);
                }
                if anonymous || there.surplus.is_some() {
                    tick = TICK;
                }
            }
        }
        for connection in close {
            self.swarm.close_connection(connection);
        }

        let listen = self.listeners.next_due().into_iter();
        let soon = (!self.peers.is_empty()).then_some(now + tick);
        let next = listen.chain(self.dialler.next_due()).chain(soon).chain(search).min();
        next.unwrap_or(now + Duration::from_secs(3600))
    }

    fn listen(&mut self, now: Instant) {
        for (number, address) in self.listeners.take_due(now) {
            match self.swarm.listen_on(address) {
                Ok(id) => self.listeners.started(number, id),
                Err(error) => {
                    let report = self.listeners.failed(number, &error.to_string(), now);
                    self.degraded(report);
                }
            }
        }
        if self.listeners.announces_none() {
            self.announce();
        }
    }

    /// Reports the addresses of this node, if they changed.
    fn announce(&mut self) {
        let own: Vec<_> = self.swarm.listeners().cloned().collect();
        self.discovery.listening(own.clone());
        if let Some(addresses) = self.listeners.announce(self.swarm.external_addresses(), own) {
            self.backlog.push_listening(addresses);
        }
    }

    fn dial(&mut self, now: Instant) {
        let (peers, signers) = (&self.peers, &self.signers);
        let due = self.dialler.take_due(
            now,
            |peer| peers.contains_key(peer),
            |signer| signers.contains_key(signer),
        );
        for options in due {
            let connection = options.connection_id();
            count(&self.shared.counters.dials, 1);
            if let Err(error) = self.swarm.dial(options) {
                self.dial_failed(connection, &error);
            }
        }
    }

    pub(super) fn dial_failed(&mut self, connection: ConnectionId, error: &libp2p::swarm::DialError) {
        count(&self.shared.counters.dial_failures, 1);
        tracing::debug!(%error, "a dial failed");
        if let Some(addresses) = self.dialler.failed(connection, error) {
            self.tell(NetEvent::Degraded(format!(
                "{addresses:?} is this node itself and is not dialled again"
            )));
        }
    }
}
