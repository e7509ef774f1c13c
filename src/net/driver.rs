//! The driver: one task that owns the swarm, hands what happens to the parts that own a state, and does what they
//! answer.

use std::collections::HashSet;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{AsyncWriteExt, StreamExt};
use libp2p::core::ConnectedPoint;
use libp2p::identity::Keypair;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, Stream, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify, ping};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::instrument::WithSubscriber;

use super::address::{LOCAL, is_relayed, reach};
use super::backlog::Backlog;
use super::behaviour::{Behaviour, BehaviourEvent, FramesEvent, Offer};
use super::cause::{causes, is_out_of_descriptors, of_dial, of_transport};
use super::config::{DhtMode, Servers};
use super::contact::{Contact, VERSION};
use super::counters::count;
#[cfg(feature = "discovery")]
use super::dht::{self, DhtEvent, Queries};
use super::dial::{Dialler, Failed, Unreachable};
use super::discovery::{Discovery, DiscoveryAction, Surroundings};
use super::identity::NetError;
use super::listeners::Listeners;
use super::local_network::LocalNetwork;
use super::message::{NetCommand, NetEvent};
#[cfg(feature = "nat")]
use super::nat::{NatAction, NatEvent};
use super::observed::Observed;
use super::peers::{Identified, Inbound, Outbound, PeerAction, Peers, Presented};
use super::places::Origin;
use super::port;
use super::presence::{AddressBook, PresenceRecord};
use super::proxy::Proxy;
use super::reachable::may_dial;
#[cfg(feature = "discovery")]
use super::records::{Offered, is_ahead};
use super::routes::Routes;
use super::shared::Shared;
use super::stream::{Reader, Report, Writer};
use super::strikes::Strikes;
use super::transport::transport;
use crate::mutation::{self, Mutation};
use crate::types::SignerKey;

/// The longest time between two checks of what is due.
const IDLE: Duration = Duration::from_secs(3600);
/// How often missing file descriptors are reported.
const DESCRIPTORS: Duration = Duration::from_secs(60);
/// How long a shutdown sends what waits, and then closes.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// Builds the swarm and starts the driver.
#[allow(clippy::too_many_arguments)]
pub(super) fn start(
    runtime: &tokio::runtime::Handle,
    shared: Arc<Shared>,
    routes: Arc<Routes>,
    identity: &Keypair,
    proxy: Option<Proxy>,
    presence: Option<Vec<u8>>,
    events: mpsc::Sender<NetEvent>,
    commands: mpsc::Receiver<NetCommand>,
) -> Result<(), NetError> {
    let _runtime = runtime.enter();
    let config = &shared.config;
    let (transport, traversal) = transport(identity, proxy, config.dial_timeout)?;
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
    let servers = Servers::new(config);
    for address in config.peers.iter().chain(&servers.dialled) {
        dialler.add(address.clone(), now);
    }
    let mut discovery = Discovery::new(config, now);
    discovery.set_presence(presence.as_deref().unwrap_or_default(), now);
    let mut backlog = Backlog::default();
    for problem in servers.problems {
        backlog.push(NetEvent::Degraded(problem));
    }
    let mut driver = Driver {
        listeners: Listeners::new(config, &servers.reservations, own, now),
        observed: Observed::new(servers.peers.len()),
        peers: Peers::new(config, own, servers.peers, routes),
        local_network: LocalNetwork::new(config, own),
        strikes: Strikes::new(config.ban_after, config.ban_duration),
        strikes_from: Strikes::new(config.ban_after, config.ban_duration),
        swarm,
        events,
        reporter,
        backlog,
        sought: HashSet::new(),
        book: AddressBook::default(),
        dialler,
        discovery,
        descriptors_checked: None,
        #[cfg(feature = "discovery")]
        queries: Queries::default(),
        own: presence
            .as_deref()
            .and_then(|bytes| PresenceRecord::decode(bytes).ok())
            .map(|record| record.signer),
        presence: presence.map(Arc::from),
        tasks: JoinSet::new(),
        shared,
    };
    driver.keep_places();
    runtime.spawn(driver.run(commands, reports).with_current_subscriber());
    Ok(())
}

/// See the module.
struct Driver {
    shared: Arc<Shared>,
    swarm: Swarm<Behaviour>,
    events: mpsc::Sender<NetEvent>,
    reporter: mpsc::Sender<Report>,
    backlog: Backlog,
    listeners: Listeners,
    observed: Observed,
    dialler: Dialler,
    peers: Peers,
    strikes: Strikes<PeerId>,
    /// The same by address.
    strikes_from: Strikes<Origin>,
    discovery: Discovery,
    local_network: LocalNetwork,
    /// When missing file descriptors were reported last.
    descriptors_checked: Option<Instant>,
    #[cfg(feature = "discovery")]
    queries: Queries,
    book: AddressBook,
    /// Signers to stay connected with.
    sought: HashSet<SignerKey>,
    /// This node's own.
    presence: Option<Arc<[u8]>>,
    /// Its signer.
    own: Option<SignerKey>,
    /// Readers and writers of streams.
    tasks: JoinSet<()>,
}

impl Driver {
    async fn run(mut self, mut commands: mpsc::Receiver<NetCommand>, mut reports: mpsc::Receiver<Report>) {
        let events = self.events.clone();
        // Kept from turn to turn: it has its place among the readers that wait for room too.
        let mut place = std::pin::pin!(events.clone().reserve_owned());
        loop {
            let wake = self.run_due();
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
                found = self.local_network.next(), if room => match found {
                    Ok((peer, address)) => self.discovery.neighbour(peer, address, Instant::now()),
                    Err(text) => self.degraded(Some(text)),
                },
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        self.finish().await;
    }

    /// Sends what waits and closes the connections, as far as there is time.
    async fn finish(mut self) {
        let outboxes = self.peers.close();
        let until = tokio::time::Instant::now() + SHUTDOWN;
        while outboxes.iter().any(|outbox| outbox.is_writing()) {
            tokio::select! {
                _ = self.swarm.select_next_some() => {}
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                () = tokio::time::sleep_until(until) => break,
            }
        }
        self.disconnect(self.peers.connected());
        let until = tokio::time::Instant::now() + SHUTDOWN;
        while self.swarm.connected_peers().next().is_some() {
            tokio::select! {
                _ = self.swarm.select_next_some() => {}
                () = tokio::time::sleep_until(until) => break,
            }
        }
    }

    /// Does what is due, and returns when the next is.
    fn run_due(&mut self) -> Instant {
        let now = Instant::now();
        self.listen(now);
        if self.observed.expire(now) {
            self.announce();
        }
        self.dial_due(now);
        self.discover(now);
        let (sought, dialler) = (&self.sought, &self.dialler);
        let wanted = |peer: &PeerId, signer: Option<&SignerKey>| {
            signer.is_some_and(|key| sought.contains(key)) || dialler.aims_at(peer)
        };
        let expired = self.peers.expired(now, wanted);
        for connection in expired.close {
            self.swarm.close_connection(connection);
        }
        let (silent, ask_due) = self.peers.ask(now);
        for (key, silence) in silent {
            self.emit(NetEvent::SignerSilent { key, silence });
        }
        let due = [
            ask_due,
            self.listeners.next_due(),
            self.observed.next_due(),
            self.dialler.next_due(),
            self.discovery.next_due(),
            expired.next,
        ];
        due.into_iter().flatten().min().unwrap_or(now + IDLE)
    }

    fn emit(&mut self, event: NetEvent) {
        self.backlog.push(event);
    }

    fn degraded(&mut self, text: Option<String>) {
        if let Some(text) = text {
            self.emit(NetEvent::Degraded(text));
        }
    }

    fn command(&mut self, command: NetCommand) {
        let now = Instant::now();
        match command {
            NetCommand::SetPresence(bytes) => {
                self.discovery.set_presence(&bytes, now);
                self.own = PresenceRecord::decode(&bytes).ok().map(|record| record.signer);
                let presence: Arc<[u8]> = bytes.into();
                self.peers.present(&presence);
                self.presence = Some(presence);
                self.show_all();
            }
            NetCommand::LearnPresences(presences) => {
                for record in presences.iter().filter_map(|bytes| PresenceRecord::decode(bytes).ok()) {
                    self.learn(record);
                }
            }
            NetCommand::AddPeer(address) => {
                if !self.dialler.add(address.clone(), now) {
                    self.degraded(Some(format!("too many addresses to dial; {address} is left out")));
                }
                self.keep_places();
                self.show_all();
            }
            NetCommand::LearnPartners(presences) => {
                for record in presences.iter().filter_map(|bytes| PresenceRecord::decode(bytes).ok()) {
                    let key = record.signer;
                    self.book.learn(record);
                    self.book.note_partner(&key);
                }
            }
            NetCommand::Seek(keys) => {
                self.sought = keys.into_iter().collect();
                for key in self.sought.clone() {
                    self.note_partner(key);
                }
                self.discovery.sought(now);
                self.seek();
                self.peers.contact(|peer| self.contacts(peer));
                self.show_all();
            }
            NetCommand::Ask(keys) => self.peers.set_asked(keys.into_iter().collect()),
            NetCommand::Disconnect(key) => self.disconnect(self.peers.of_signer(&key)),
            NetCommand::Violation(key) => {
                for peer in self.peers.of_signer(&key) {
                    self.violation(peer, None, "a frame that no honest node sends");
                }
            }
            NetCommand::Reconnect => {
                let left = self.peers.connected();
                if !mutation::on(Mutation::ConnectionsStay) {
                    self.disconnect(left.clone());
                }
                self.retry_all();
                for id in self.listeners.renew(now) {
                    self.swarm.remove_listener(id);
                }
                self.call_once(&left);
            }
            NetCommand::Shutdown => {}
        }
    }

    fn disconnect(&mut self, peers: Vec<PeerId>) {
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Keeps places for the peers that this node has chosen, or seeks, and reads faster what they send.
    fn keep_places(&mut self) {
        let records = self.sought.iter().flat_map(|key| self.book.of(key));
        let connected = self.sought.iter().flat_map(|key| self.peers.of_signer(key));
        let mut known: HashSet<PeerId> = records.map(|record| record.peer).chain(connected).collect();
        known.extend(self.peers.servers().chain(self.dialler.aims()));
        self.peers.set_known(&known);
        self.swarm.behaviour_mut().places.set_known(known);
    }

    /// What failed in one network may work in another.
    fn retry_all(&mut self) {
        let now = Instant::now();
        self.dialler.reset_backoff(now);
        self.discovery.reset_backoff(now);
        // Other addresses may be dialled from there.
        self.seek();
    }

    /// Tells peers that nothing else leads to where this node is now: who is not sought does not come back by itself.
    fn call_once(&mut self, peers: &[PeerId]) {
        for peer in peers {
            if self.dialler.aims_at(peer) {
                continue;
            }
            let signer = self.book.signer_of(peer);
            let records = signer.map(|key| self.book.of(&key)).unwrap_or_default();
            let record = records.iter().find(|record| record.peer == *peer && !record.addresses.is_empty());
            let Some(addresses) = record.map(|record| self.dialable(record)) else { continue };
            let options = DialOpts::peer_id(*peer).condition(PeerCondition::Always).addresses(addresses);
            self.dial(options.allocate_new_port().build());
        }
    }

    fn seek(&mut self) {
        self.discovery.changed();
        self.keep_places();
        let own = *self.swarm.local_peer_id();
        let records = self.sought.iter().flat_map(|key| self.book.of(key));
        let records = records.filter(|record| record.peer != own);
        let records: Vec<PresenceRecord> = records
            .map(|record| PresenceRecord { addresses: self.dialable(record), ..record.clone() })
            .collect();
        self.dialler.seek(records.iter(), Instant::now());
    }

    /// The addresses of a record that this node dials.
    fn dialable(&self, record: &PresenceRecord) -> Vec<Multiaddr> {
        let here = self.book.is_local(&record.peer) || self.is_here();
        let proxied = self.is_proxied();
        record.addresses.iter().filter(|address| may_dial(address, here, proxied)).cloned().collect()
    }

    /// Whether a proxy opens every connection.
    fn is_proxied(&self) -> bool {
        self.shared.config.proxy.is_some()
    }

    /// Whether nobody beyond this machine reaches this node: then what others say of this machine is for it.
    fn is_here(&self) -> bool {
        let mut own = self.swarm.listeners().filter(|address| !is_relayed(address)).peekable();
        own.peek().is_some() && own.all(|address| reach(address) == LOCAL)
    }

    /// A signer that is sought keeps its room in the address book.
    fn note_partner(&mut self, key: SignerKey) {
        if self.book.note_partner(&key) {
            self.emit(NetEvent::PartnerKnown { key });
        }
    }

    /// Takes an authentic record. True if it is newer than what was known.
    fn learn(&mut self, record: PresenceRecord) -> bool {
        let key = record.signer;
        let newer = self.book.learn(record);
        self.learnt(key, newer)
    }

    /// Takes what a peer says of itself. True if it is something else than what was known.
    fn learn_first_hand(&mut self, record: PresenceRecord) -> bool {
        let key = record.signer;
        let changed = self.book.learn_first_hand(record);
        self.learnt(key, changed)
    }

    fn learnt(&mut self, key: SignerKey, newer: bool) -> bool {
        if newer {
            if self.sought.contains(&key) {
                self.note_partner(key);
            }
            let (sought, peers) = (&self.sought, &self.peers);
            let needed =
                |other: &SignerKey| *other == key || sought.contains(other) || peers.has_signer(other);
            let keys = self.book.evict(self.shared.config.max_presences, needed);
            if !keys.is_empty() {
                self.emit(NetEvent::PresencesForgotten { keys });
            }
            if self.sought.contains(&key) {
                self.seek();
            }
        }
        newer
    }

    fn swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                count(&self.shared.counters.connections_closed, 1);
                if let Some(cause) = cause {
                    self.dialler.ended(&peer_id, &causes(&cause));
                }
                let actions = self.peers.closed(peer_id, connection_id);
                self.act_on_peers(actions);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.dial_failed(connection_id, &error);
            }
            SwarmEvent::NewListenAddr { listener_id, .. } => {
                self.listeners.works(listener_id);
                self.retry_all();
                self.announce();
            }
            SwarmEvent::ExpiredListenAddr { .. } => {
                // The network changed.
                self.retry_all();
                self.announce();
            }
            SwarmEvent::ExternalAddrConfirmed { .. } | SwarmEvent::ExternalAddrExpired { .. } => {
                self.announce()
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let text = reason.err().map_or_else(|| "it was closed".to_string(), |error| causes(&error));
                let problem = self.listeners.closed(listener_id, &text, Instant::now());
                self.degraded(problem);
                self.announce();
            }
            SwarmEvent::ListenerError { error, .. } => {
                let cause = causes(&error);
                tracing::debug!(target: "libmusig::net", cause, "accepting a connection failed");
                self.check_descriptors(&cause);
            }
            _ => {}
        }
    }

    fn behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Frames(FramesEvent { peer, connection, offer }) => match offer {
                Offer::Outbound(stream) => self.outbound(peer, connection, stream),
                Offer::Inbound(stream) => self.inbound(peer, connection, stream),
                Offer::Failed(cause) => {
                    tracing::debug!(target: "libmusig::net", %peer, cause, "the peer does not speak the protocol");
                    if !self.peers.may_be_silent(&peer, connection) {
                        self.dialler.refused(&peer, &cause);
                        self.swarm.close_connection(connection);
                    }
                }
            },
            BehaviourEvent::Identify(event) => self.identify_event(event),
            BehaviourEvent::Ping(ping::Event { peer, connection, result: Ok(_) }) => {
                let heard = self.peers.heard(&peer, connection);
                if self.backlog.is_empty()
                    && let Some(key) = heard
                {
                    let _ = self.events.try_send(NetEvent::Heard { key });
                }
            }
            #[cfg(feature = "discovery")]
            BehaviourEvent::Kad(event) => {
                for event in self.queries.event(event) {
                    self.dht_event(event);
                }
            }
            #[cfg(feature = "nat")]
            BehaviourEvent::Nat(event) => self.nat_event(event),
            _ => {}
        }
    }

    /// Counts a message of identify, whichever it is: what libp2p does with each cannot be slowed down.
    fn identify_event(&mut self, event: identify::Event) {
        let (peer, connection, info) = match event {
            identify::Event::Received { peer_id, connection_id, info } => {
                (peer_id, connection_id, Some(info))
            }
            identify::Event::Sent { peer_id, connection_id }
            | identify::Event::Error { peer_id, connection_id, .. } => (peer_id, connection_id, None),
            identify::Event::Pushed { .. } => return,
        };
        let now = Instant::now();
        match (self.peers.identified(&peer, connection, now), info) {
            (Identified::Gone, _) | (Identified::Taken { .. }, None) => {}
            (Identified::TooMany, _) => {
                self.violation(peer, Some(connection), "too many identify messages");
            }
            (Identified::Taken { server }, Some(info)) => {
                if let Some(reach) = server {
                    self.observed.told(peer, reach, &info.observed_addr, now);
                    self.announce();
                }
                self.identified(peer, &info);
            }
        }
    }

    fn established(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        count(&self.shared.counters.connections_opened, 1);
        count(&self.shared.counters.dials_connected, usize::from(endpoint.is_dialer()));
        let wanted = self.dialler.established(connection, peer, Instant::now());
        if wanted {
            self.keep_places();
        }
        let action = self.peers.established(peer, connection, endpoint, wanted);
        self.act_on_peers(action);
        self.show_to(&peer);
    }

    fn act_on_peers(&mut self, actions: impl IntoIterator<Item = PeerAction>) {
        for action in actions {
            match action {
                PeerAction::PeerConnected(peer) => self.emit(NetEvent::PeerConnected { peer }),
                PeerAction::Redial { peer, lasted, dropped } => {
                    count(&self.shared.counters.dropped, dropped);
                    for report in self.dialler.disconnected(&peer, lasted, Instant::now()) {
                        self.unreachable(report);
                    }
                }
                PeerAction::SignerDisconnected(key) => {
                    self.emit(NetEvent::SignerDisconnected { key });
                    self.dialler.lost(&key, Instant::now());
                    self.discovery.changed();
                    // Another peer that hides may speak for it.
                    if self.sought.contains(&key) {
                        self.peers.contact(|peer| self.contacts(peer));
                    }
                }
                PeerAction::PeerDisconnected(peer) => self.emit(NetEvent::PeerDisconnected { peer }),
                PeerAction::OpenStream(peer, connection) => {
                    self.swarm.behaviour_mut().frames.open(peer, connection);
                }
            }
        }
    }

    fn outbound(&mut self, peer: PeerId, connection: ConnectionId, mut stream: Stream) {
        match self.peers.outbound(peer, connection) {
            Outbound::Gone => {}
            Outbound::Unused => {
                self.tasks.spawn(async move {
                    let _ = stream.close().await;
                });
            }
            Outbound::Write { number, start, outbox, activity } => {
                let dialled = self.peers.is_dialled(&peer);
                let silent = || Contact::all(self.swarm.local_peer_id(), &peer, std::iter::empty());
                let writer = Writer {
                    contacts: if dialled { self.contacts(&peer) } else { silent() },
                    start,
                    peer,
                    connection,
                    number,
                    presence: self.presence.clone().filter(|_| self.peers.is_shown(&peer)),
                    outbox,
                    activity,
                    shared: self.shared.clone(),
                    reports: self.reporter.clone(),
                };
                self.tasks.spawn(writer.run(stream));
            }
        }
    }

    fn inbound(&mut self, peer: PeerId, connection: ConnectionId, stream: Stream) {
        match self.peers.inbound(peer, connection) {
            Inbound::Gone => {}
            Inbound::TooMany => self.violation(peer, Some(connection), "too many streams"),
            Inbound::Read { delivered, outbox, activity, paces } => {
                let reader = Reader {
                    peer,
                    connection,
                    delivered,
                    outbox,
                    activity,
                    paces,
                    shared: self.shared.clone(),
                    events: self.events.clone(),
                    reports: self.reporter.clone(),
                };
                self.tasks.spawn(reader.run(stream));
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Presence { peer, record, bytes, resume } => self.presented(peer, record, bytes, resume),
            Report::Contact { peer, contact } => self.contacted(peer, contact),
            Report::Violation { peer, activity, what } => {
                if activity.condemn() {
                    self.peers.condemn(&peer, None);
                    self.punish(peer, what);
                }
            }
            Report::ReaderEnded { peer, connection } => self.peers.reader_ended(peer, connection),
            Report::WriterFailed { peer, connection } => {
                if self.peers.writes_on(&peer, connection) {
                    self.swarm.close_connection(connection);
                }
            }
        }
    }

    fn presented(
        &mut self,
        peer: PeerId,
        record: PresenceRecord,
        bytes: Vec<u8>,
        resume: oneshot::Sender<()>,
    ) {
        let key = record.signer;
        match self.peers.presented(peer, key) {
            Presented::Gone => return,
            Presented::AnotherSigner => {
                return self.violation(peer, None, "another signer than before");
            }
            Presented::Joined { first } => {
                if first {
                    self.emit(NetEvent::SignerConnected { key, peer });
                    self.discovery.changed();
                }
                if self.sought.contains(&key) {
                    self.keep_places();
                }
            }
            Presented::Again => {}
        }
        self.book.note_local(peer, self.peers.is_local(&peer));
        if self.learn_first_hand(record) {
            self.emit(NetEvent::PresenceLearned { key, bytes });
        }
        self.show_to(&peer);
        self.backlog.resume(resume);
    }

    /// Whom this node looks for at a peer: first of all who was there before, sought or not.
    fn contacts(&self, peer: &PeerId) -> Vec<Contact> {
        let there = self.book.signer_of(peer);
        let missing = |key: &&SignerKey| !self.peers.has_signer(key) && Some(**key) != there;
        let keys = there.into_iter().chain(self.sought.iter().filter(missing).copied());
        Contact::all(self.swarm.local_peer_id(), peer, keys)
    }

    /// A peer says whom it looks for.
    fn contacted(&mut self, peer: PeerId, contact: Contact) {
        if contact.version != VERSION {
            let cause =
                format!("the peer speaks version {} of the protocol, this node {VERSION}", contact.version);
            tracing::info!(target: "libmusig::net", %peer, cause, "update the older one of the two");
            self.dialler.refused(&peer, &cause);
            return self.peers.leave(&peer);
        }
        self.peers.contacted(&peer, contact.seeks, self.own.as_ref());
        self.show_to(&peer);
    }

    /// Shows this node to a peer, if that is somebody who may know of it.
    fn show_to(&mut self, peer: &PeerId) {
        if self.peers.is_shown(peer) {
            return;
        }
        let shows = self.peers.is_dialled(peer)
            || self.peers.is_server(peer)
            || self.dialler.aims_at(peer)
            || !self.shared.config.hides
            || mutation::on(Mutation::ShownToStrangers)
            || self
                .peers
                .signer_of(peer)
                .is_some_and(|key| self.sought.contains(&key) || self.book.is_partner(&key))
            || self.own.is_some_and(|key| self.peers.looks_for(peer, &key));
        if shows {
            self.peers.show(peer, self.presence.as_ref());
        }
    }

    fn show_all(&mut self) {
        for peer in self.peers.hidden_from() {
            self.show_to(&peer);
        }
    }

    /// Closes the connections of a peer that broke the protocol, and bans it if it did so before. What else comes on a
    /// connection before it is closed is no further violation.
    fn violation(&mut self, peer: PeerId, connection: Option<ConnectionId>, what: &'static str) {
        if self.peers.condemn(&peer, connection) {
            self.punish(peer, what);
        }
    }

    fn punish(&mut self, peer: PeerId, what: &'static str) {
        if !self.strike(peer, what) {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Counts a violation that others may have led a peer to. True if it is banned, and disconnected, for it.
    fn strike(&mut self, peer: PeerId, what: &'static str) -> bool {
        count(&self.shared.counters.violations, 1);
        tracing::debug!(target: "libmusig::net", %peer, what, "the peer broke the protocol");
        let now = Instant::now();
        let banned = self.strikes.strike(peer, now);
        // A new peer id costs nothing.
        for origin in self.swarm.behaviour().places.origins(&peer) {
            if self.strikes_from.strike(origin, now) {
                let until = now + self.shared.config.ban_duration;
                self.swarm.behaviour_mut().places.ban(origin, until, now);
            }
        }
        if banned {
            count(&self.shared.counters.bans, 1);
            self.swarm.behaviour_mut().frames.ban(peer, self.shared.config.ban_duration);
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        banned
    }

    fn listen(&mut self, now: Instant) {
        for (number, address) in self.listeners.take_due(now) {
            let free = match port::fixed(&address) {
                Some(fixed) if !self.listeners.has(&fixed) && !mutation::on(Mutation::PortsShared) => {
                    port::check(&fixed).map_err(|error| causes(&error))
                }
                _ => Ok(()),
            };
            let listens =
                free.and_then(|()| self.swarm.listen_on(address).map_err(|error| of_transport(&error)));
            match listens {
                Ok(id) => self.listeners.started(number, id),
                Err(cause) => {
                    let problem = self.listeners.failed(number, &cause, now);
                    self.degraded(problem);
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
        self.local_network.announce(own.clone());
        let observed = self.observed.addresses(&own, Instant::now());
        let gave = self.swarm.external_addresses();
        if let Some(addresses) = self.listeners.announce(own, gave, observed) {
            self.backlog.push_listening(addresses);
        }
    }

    fn dial_due(&mut self, now: Instant) {
        let peers = &self.peers;
        let due =
            self.dialler.take_due(now, |peer| peers.is_connected(peer), |signer| peers.has_signer(signer));
        for options in due {
            self.dial(options);
        }
    }

    fn dial(&mut self, options: DialOpts) {
        let connection = options.connection_id();
        count(&self.shared.counters.dials, 1);
        if let Err(error) = self.swarm.dial(options) {
            self.dial_failed(connection, &error);
        }
    }

    fn dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        count(&self.shared.counters.dial_failures, 1);
        let cause = of_dial(error);
        tracing::debug!(target: "libmusig::net", cause, "a dial failed");
        self.check_descriptors(&cause);
        match self.dialler.failed(connection, error, Instant::now()) {
            Some(Failed::Itself(addresses)) => {
                let text = format!("{addresses:?} is this node itself and is not dialled again");
                self.degraded(Some(text));
            }
            Some(Failed::Unreachable(report)) => self.unreachable(report),
            None => {}
        }
    }

    fn unreachable(&mut self, report: Unreachable) {
        let Unreachable { address, signer, cause, next_try } = report;
        let retry = next_try.map(|at| at.saturating_duration_since(Instant::now()));
        self.emit(NetEvent::Unreachable { address, signer, cause, retry });
    }

    /// Reports that there is no file descriptor left, if that is the cause of a failure, once in a while.
    fn check_descriptors(&mut self, cause: &str) {
        let now = Instant::now();
        if is_out_of_descriptors(cause) && self.descriptors_checked.is_none_or(|at| now >= at + DESCRIPTORS) {
            self.descriptors_checked = Some(now);
            let text = "the process has no file descriptor left, so connections fail; raise its limit (ulimit -n), \
                        or lower max_connections";
            self.degraded(Some(text.into()));
        }
    }

    /// Starts the lookups, publications and dials of neighbours that are due.
    fn discover(&mut self, now: Instant) {
        if !self.discovery.is_due(now) {
            return;
        }
        let (here, proxied) = (self.is_here(), self.is_proxied());
        let around = Surroundings {
            here,
            proxied,
            dht: knows_dht_server(&mut self.swarm),
            mdns: self.local_network.is_on(),
            sought: &self.sought,
            peers: &self.peers,
            book: &self.book,
        };
        for action in self.discovery.poll(now, &around) {
            match action {
                DiscoveryAction::Publish(signer, presence) => self.publish(&signer, presence),
                DiscoveryAction::LookUp(signer) => self.look_up(signer),
                DiscoveryAction::AskNeighbours => self.local_network.ask(),
                DiscoveryAction::Dial(peer, addresses) => self.dial_neighbour(peer, addresses),
                DiscoveryAction::Report(report) => self.unreachable(report),
            }
        }
    }

    fn dial_neighbour(&mut self, peer: PeerId, mut addresses: Vec<Multiaddr>) {
        let (here, proxied) = (self.is_here(), self.is_proxied());
        addresses.retain(|address| may_dial(address, here, proxied));
        if addresses.is_empty() {
            return;
        }
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .allocate_new_port();
        self.dial(options.build());
    }
}

#[cfg(feature = "nat")]
impl Driver {
    fn nat_event(&mut self, event: NatEvent) {
        match event.action() {
            Some(NatAction::Keep(peer, connection)) => {
                count(&self.shared.counters.holes_punched, 1);
                self.peers.keep(&peer, connection);
            }
            None => {}
        }
    }
}

/// Whether the hash table is on, and a server of it is known.
#[cfg(feature = "discovery")]
fn knows_dht_server(swarm: &mut Swarm<Behaviour>) -> bool {
    swarm.behaviour_mut().kad.as_mut().is_some_and(|kad| kad.kbuckets().next().is_some())
}

#[cfg(feature = "discovery")]
impl Driver {
    fn publish(&mut self, signer: &SignerKey, presence: Vec<u8>) {
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else { return };
        if let Err(error) = self.queries.publish(kad, signer, presence) {
            tracing::warn!(target: "libmusig::net", error = causes(&error), "the own presence cannot be published");
            self.discovery.publish_refused(Instant::now());
        }
    }

    fn look_up(&mut self, signer: SignerKey) {
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else { return };
        self.queries.look_up(kad, signer);
        count(&self.shared.counters.lookups, 1);
    }

    fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        let proxied = self.is_proxied();
        if let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() {
            let here = self.peers.is_local(&peer);
            dht::add_server(kad, peer, info, |address| may_dial(address, here, proxied));
        }
    }

    fn dht_event(&mut self, event: DhtEvent) {
        match event {
            DhtEvent::Found { signer, presence } => self.looked_up(signer, presence),
            DhtEvent::LookupEnded(signer) => self.discovery.lookup_ended(&signer, Instant::now()),
            DhtEvent::Published { stored } => {
                count(&self.shared.counters.publications, usize::from(stored));
                self.discovery.published(stored, Instant::now());
            }
            DhtEvent::Put { signer, presence } => {
                let kad = self.swarm.behaviour_mut().kad.as_mut();
                if !kad.is_some_and(|kad| self.queries.read_back(kad, &signer, presence)) {
                    self.discovery.published(false, Instant::now());
                }
            }
            DhtEvent::Newer { sequence } => self.emit(NetEvent::PresenceReturned { sequence }),
            DhtEvent::Keep(peer, record) => {
                let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else { return };
                match dht::keep(kad, peer, record) {
                    Offered::Kept => {}
                    Offered::Refused => count(&self.shared.counters.records_refused, 1),
                    Offered::Forged => {
                        count(&self.shared.counters.records_refused, 1);
                        self.strike(peer, "a forged record");
                    }
                }
            }
            DhtEvent::Changed => self.discovery.changed(),
        }
    }

    /// Takes what a server keeps under a signer's key, if it is a presence that the signer signed.
    fn looked_up(&mut self, key: SignerKey, bytes: Vec<u8>) {
        match PresenceRecord::decode(&bytes) {
            Ok(record) if record.signer == key && !is_ahead(record.sequence) => {
                count(&self.shared.counters.lookups_answered, 1);
                // Whom it asks is chosen by this node, and may be on this machine.
                if self.peers.servers().any(|server| self.peers.is_local(&server)) {
                    self.book.note_local(record.peer, true);
                }
                if record.peer != *self.swarm.local_peer_id() && self.learn(record) {
                    self.emit(NetEvent::PresenceLearned { key, bytes });
                }
            }
            _ => count(&self.shared.counters.records_refused, 1),
        }
    }
}

#[cfg(not(feature = "discovery"))]
fn knows_dht_server(_: &mut Swarm<Behaviour>) -> bool {
    false
}

/// There is no hash table in this build.
#[cfg(not(feature = "discovery"))]
impl Driver {
    fn publish(&mut self, _: &SignerKey, _: Vec<u8>) {}

    fn look_up(&mut self, _: SignerKey) {}

    fn identified(&mut self, _: PeerId, _: &identify::Info) {}
}
