//! The dialler: configured addresses and sought signers that are to be dialled, and when, with back-off; and what is
//! reported of those that cannot be reached.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId};

use super::address::peer_of;
use super::backoff::backoff;
use super::cause::{of_dial, one_line};
use super::config::NetworkConfig;
use super::presence::PresenceRecord;
use crate::mutation::{self, Mutation};
use crate::types::SignerKey;

/// Configured addresses and sought peers together.
const TARGETS: usize = 4096;
/// A connection that lasted this long was a good one: its end is no failure.
const GOOD: Duration = Duration::from_secs(2);

/// Causes that are reported of one target until it was reached.
const CAUSES: usize = 4;

/// A target that cannot be reached, to be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreachable {
    /// The configured address, if it is one.
    pub(super) address: Option<Multiaddr>,
    /// The sought signer, if it is one.
    pub(super) signer: Option<SignerKey>,
    pub(super) cause: String,
    /// `None`: when an address is learnt.
    pub(super) next_try: Option<Instant>,
}

/// What a failed dial leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The target is this node itself, and is given up.
    Itself(Vec<Multiaddr>),
    /// Report it.
    Unreachable(Unreachable),
}

/// The identity of a target.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Name {
    Address(Multiaddr),
    Peer(PeerId),
}

#[derive(Debug)]
struct Target {
    addresses: Vec<Multiaddr>,
    /// The peer at the addresses: given, or learnt by the first connection.
    peer: Option<PeerId>,
    /// The signer, if it is dialled because that is sought.
    signer: Option<SignerKey>,
    failures: u32,
    due: Instant,
    dialling: Option<ConnectionId>,
    /// A dial of older addresses may still hang: this one does not wait for it.
    overtakes: bool,
    /// Hashes of the causes that were reported since it was reached last.
    reported: Vec<u64>,
    /// Why its connection is of no use, or ended: of use if it ended soon.
    refusal: Option<String>,
    end: Option<String>,
}

/// All targets.
#[derive(Debug)]
pub(super) struct Dialler {
    targets: HashMap<Name, Target>,
    min: Duration,
    max: Duration,
}

impl Dialler {
    pub(super) fn new(config: &NetworkConfig) -> Self {
        let min = config.redial_min.max(Duration::from_millis(1));
        Self { targets: HashMap::new(), min, max: config.redial_max.max(min) }
    }

    /// Dials an address from now on; `false` if there are too many.
    pub(super) fn add(&mut self, address: Multiaddr, now: Instant) -> bool {
        let peer = peer_of(&address);
        self.insert(Name::Address(address.clone()), vec![address], peer, None, now)
    }

    /// Dials exactly the nodes of these records, beside the configured addresses.
    pub(super) fn seek<'a>(&mut self, records: impl Iterator<Item = &'a PresenceRecord>, now: Instant) {
        let records: Vec<_> = records.collect();
        self.targets.retain(|name, _| match name {
            Name::Address(_) => true,
            Name::Peer(peer) => records.iter().any(|record| record.peer == *peer),
        });
        for record in records {
            let name = Name::Peer(record.peer);
            self.insert(name, record.addresses.clone(), Some(record.peer), Some(record.signer), now);
        }
    }

    fn insert(
        &mut self,
        name: Name,
        addresses: Vec<Multiaddr>,
        peer: Option<PeerId>,
        signer: Option<SignerKey>,
        now: Instant,
    ) -> bool {
        if let Some(target) = self.targets.get_mut(&name) {
            if target.addresses != addresses {
                (target.addresses, target.failures, target.due) = (addresses, 0, now);
                target.overtakes = target.dialling.take().is_some();
            }
            return true;
        }
        if self.targets.len() >= TARGETS {
            return false;
        }
        let target = Target {
            addresses,
            peer,
            signer,
            failures: 0,
            due: now,
            dialling: None,
            overtakes: false,
            reported: Vec::new(),
            refusal: None,
            end: None,
        };
        self.targets.insert(name, target);
        true
    }

    /// The dials that are due. Targets that are connected by now are checked again later.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        connected: impl Fn(&PeerId) -> bool,
        signer_connected: impl Fn(&SignerKey) -> bool,
    ) -> Vec<DialOpts> {
        let mut dials = Vec::new();
        for target in self.targets.values_mut() {
            if target.dialling.is_some() || target.due > now {
                continue;
            }
            if target.peer.is_some_and(|peer| connected(&peer))
                || target.signer.is_some_and(|key| signer_connected(&key))
            {
                target.due = now + self.max;
                continue;
            }
            // Never from the listening port: two nodes that dial each other at once would meet in one TCP connection
            // that both of them opened, and a restarted one would meet the remains of its last connection.
            let condition = match std::mem::take(&mut target.overtakes) {
                true => PeerCondition::Disconnected,
                false => PeerCondition::DisconnectedAndNotDialing,
            };
            let options = match (target.peer, &target.addresses[..]) {
                (_, []) => {
                    target.due = now + self.max;
                    continue;
                }
                (Some(peer), addresses) => DialOpts::peer_id(peer)
                    .condition(condition)
                    .addresses(addresses.to_vec())
                    .allocate_new_port()
                    .build(),
                (None, [address, ..]) => {
                    DialOpts::unknown_peer_id().address(address.clone()).allocate_new_port().build()
                }
            };
            target.dialling = Some(options.connection_id());
            dials.push(options);
        }
        dials
    }

    /// When the next dial is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.targets.values().filter(|target| target.dialling.is_none()).map(|target| target.due).min()
    }

    /// A connection exists. True if it was dialled from here.
    pub(super) fn established(&mut self, connection: ConnectionId, peer: PeerId, now: Instant) -> bool {
        let mut ours = false;
        for target in self.targets.values_mut() {
            if target.dialling == Some(connection) {
                target.dialling = None;
                target.peer = Some(peer);
                target.due = now + self.max;
                (target.refusal, target.end) = (None, None);
                ours = true;
            }
        }
        ours
    }

    /// The peers at configured addresses, and the sought signers'.
    pub(super) fn aims(&self) -> impl Iterator<Item = PeerId> {
        self.targets.values().filter_map(|target| target.peer)
    }

    /// Whether a peer is at a configured address, or a sought signer's.
    pub(super) fn aims_at(&self, peer: &PeerId) -> bool {
        self.targets.values().any(|target| target.peer == Some(*peer))
    }

    /// A connection with a peer is of no use, and is about to be closed.
    pub(super) fn refused(&mut self, peer: &PeerId, cause: &str) {
        for target in self.targets.values_mut().filter(|target| target.peer == Some(*peer)) {
            target.refusal = Some(cause.to_owned());
        }
    }

    /// A connection with a peer ended, and not by this node.
    pub(super) fn ended(&mut self, peer: &PeerId, cause: &str) {
        for target in self.targets.values_mut().filter(|target| target.peer == Some(*peer)) {
            target.end = Some(format!("the connection ended at once: {cause}"));
        }
    }

    /// The last connection with a peer ended, after so long: dials it at once if that was a good one. Returns what to
    /// report.
    pub(super) fn disconnected(&mut self, peer: &PeerId, lasted: Duration, now: Instant) -> Vec<Unreachable> {
        let (min, max) = (self.min, self.max);
        let mut reports = Vec::new();
        for (name, target) in self.targets.iter_mut().filter(|(_, target)| target.peer == Some(*peer)) {
            let (refusal, end) = (target.refusal.take(), target.end.take());
            if lasted >= GOOD && refusal.is_none() {
                target.failures = 0;
                target.due = now;
                target.reported.clear();
            } else {
                target.fail(min, max, now);
                reports.extend(refusal.or(end).and_then(|cause| target.report(name, &cause)));
            }
        }
        reports
    }

    /// The last peer of a signer is gone: any other node of it is dialled now.
    pub(super) fn lost(&mut self, signer: &SignerKey, now: Instant) {
        for target in self.targets.values_mut() {
            if target.signer == Some(*signer) && target.failures == 0 {
                target.due = now;
            }
        }
    }

    /// A dial failed.
    pub(super) fn failed(
        &mut self,
        connection: ConnectionId,
        error: &DialError,
        now: Instant,
    ) -> Option<Failed> {
        let (name, target) =
            self.targets.iter_mut().find(|(_, target)| target.dialling == Some(connection))?;
        target.dialling = None;
        let (min, max) = (self.min, self.max);
        match error {
            // Somebody else dials it, or it connected meanwhile.
            DialError::DialPeerConditionFalse(_) => {
                target.due = now + min;
                return None;
            }
            DialError::LocalPeerId { .. } => {
                let name = name.clone();
                return self.targets.remove(&name).map(|target| Failed::Itself(target.addresses));
            }
            // Another node is there now: a learnt identity is forgotten, a given one stays.
            DialError::WrongPeerId { .. } => {
                if let Name::Address(address) = name
                    && peer_of(address).is_none()
                {
                    target.peer = None;
                }
                target.fail(min, max, now);
            }
            _ => target.fail(min, max, now),
        }
        target.report(name, &of_dial(error)).map(Failed::Unreachable)
    }

    /// Forgets all back-off: everything that is not connected is dialled now.
    pub(super) fn reset_backoff(&mut self, now: Instant) {
        for target in self.targets.values_mut() {
            (target.failures, target.due) = (0, now);
        }
    }
}

impl Target {
    fn fail(&mut self, min: Duration, max: Duration, now: Instant) {
        self.due = now + backoff(min, max, self.failures);
        self.failures = self.failures.saturating_add(1);
    }

    /// What to report of a failure, unless that was reported before, or enough was.
    fn report(&mut self, name: &Name, cause: &str) -> Option<Unreachable> {
        let mut hasher = DefaultHasher::new();
        cause.hash(&mut hasher);
        let hash = hasher.finish();
        let again = self.reported.len() >= CAUSES || self.reported.contains(&hash);
        if again && !mutation::on(Mutation::CausesRepeated) {
            return None;
        }
        self.reported.push(hash);
        let address = match name {
            Name::Address(address) => Some(address.clone()),
            Name::Peer(_) => None,
        };
        Some(Unreachable { address, signer: self.signer, cause: one_line(cause), next_try: Some(self.due) })
    }
}

#[cfg(test)]
mod tests {
    use libp2p::multiaddr::Protocol;

    use super::*;
    use crate::net::testing::{presence_of, signer};

    fn dialler() -> Dialler {
        Dialler::new(&NetworkConfig::default())
    }

    fn address(peer: Option<PeerId>) -> Multiaddr {
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        match peer {
            Some(peer) => address.with(Protocol::P2p(peer)),
            None => address,
        }
    }

    fn due(dialler: &mut Dialler, now: Instant) -> Vec<DialOpts> {
        dialler.take_due(now, |_| false, |_| false)
    }

    fn record(number: u8, peer: PeerId, addresses: Vec<Multiaddr>) -> PresenceRecord {
        PresenceRecord::decode(&presence_of(number, peer, addresses, 1)).unwrap()
    }

    #[test]
    fn an_address_that_fails_is_dialled_again_with_growing_pauses() {
        let (mut dialler, now) = (dialler(), Instant::now());
        assert!(dialler.add(address(None), now));
        let mut at = now;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let dials = due(&mut dialler, at);
            assert_eq!(dials.len(), 1);
            assert!(due(&mut dialler, at).is_empty() && dialler.next_due().is_none());
            let report = dialler.failed(dials[0].connection_id(), &DialError::Aborted, at);
            assert_eq!(report.is_some(), pauses.is_empty(), "once");
            let next = dialler.next_due().unwrap();
            pauses.push(next - at);
            at = next;
        }
        let config = NetworkConfig::default();
        assert!(pauses[0] <= config.redial_min && pauses[11] >= config.redial_max / 2);
        assert!(pauses.iter().all(|pause| *pause <= config.redial_max));
        dialler.reset_backoff(at);
        assert_eq!(due(&mut dialler, at).len(), 1);
    }

    #[test]
    fn a_connected_target_is_not_dialled_and_dialled_at_once_when_a_good_connection_ends() {
        let (mut dialler, now, peer) = (dialler(), Instant::now(), PeerId::random());
        dialler.add(address(None), now);
        let dials = due(&mut dialler, now);
        assert!(!dialler.aims_at(&peer));
        assert!(dialler.established(dials[0].connection_id(), peer, now));
        assert!(!dialler.established(ConnectionId::new_unchecked(usize::MAX), peer, now));
        assert!(dialler.aims_at(&peer));
        let later = now + NetworkConfig::default().redial_max;
        assert!(dialler.take_due(later, |connected| *connected == peer, |_| false).is_empty());
        dialler.disconnected(&peer, GOOD, later);
        assert_eq!(due(&mut dialler, later).len(), 1);
    }

    #[test]
    fn a_short_connection_counts_as_a_failure() {
        let (mut dialler, now, peer) = (dialler(), Instant::now(), PeerId::random());
        dialler.add(address(Some(peer)), now);
        let dials = due(&mut dialler, now);
        assert_eq!(dials[0].get_peer_id(), Some(peer));
        dialler.established(dials[0].connection_id(), peer, now);
        dialler.disconnected(&peer, Duration::ZERO, now);
        assert!(due(&mut dialler, now).is_empty());
    }

    /// Dials, fails, and returns what is reported.
    fn fail(dialler: &mut Dialler, error: &DialError, now: Instant) -> Option<Unreachable> {
        dialler.reset_backoff(now);
        let dials = due(dialler, now);
        assert_eq!(dials.len(), 1);
        match dialler.failed(dials[0].connection_id(), error, now) {
            Some(Failed::Unreachable(report)) => Some(report),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn unreachable_peer_is_reported_once_for_each_cause_and_anew_after_it_was_reached() {
        let (mut dialler, now, peer) = (dialler(), Instant::now(), PeerId::random());
        dialler.add(address(None), now);
        let report = fail(&mut dialler, &DialError::Aborted, now).expect("the first failure");
        assert_eq!((report.address, report.signer), (Some(address(None)), None));
        assert_eq!(report.cause, "the dial was aborted");
        assert_eq!(report.next_try, dialler.next_due());
        assert_eq!(fail(&mut dialler, &DialError::Aborted, now), None);
        assert!(fail(&mut dialler, &DialError::NoAddresses, now).is_some(), "another cause");
        assert_eq!(fail(&mut dialler, &DialError::Aborted, now), None, "known too");
        // However many causes somebody makes up, they end.
        let other = |number: u8| DialError::WrongPeerId {
            obtained: PeerId::random(),
            address: format!("/ip4/192.0.2.{number}/tcp/1").parse().unwrap(),
        };
        let reports = (0..100).filter_map(|number| fail(&mut dialler, &other(number), now)).count();
        assert_eq!(reports, CAUSES - 2);

        dialler.reset_backoff(now);
        let dials = due(&mut dialler, now);
        dialler.established(dials[0].connection_id(), peer, now);
        assert_eq!(dialler.disconnected(&peer, GOOD, now), []);
        assert!(fail(&mut dialler, &DialError::Aborted, now).is_some());
    }

    #[test]
    fn unreachable_peer_is_one_that_connects_and_is_of_no_use_too() {
        let (mut dialler, now, peer) = (dialler(), Instant::now(), PeerId::random());
        dialler.seek([record(1, peer, vec![address(None)])].iter(), now);
        let mut connect = |lasted, refused: bool, ended: bool| {
            dialler.reset_backoff(now);
            let dials = due(&mut dialler, now);
            dialler.established(dials[0].connection_id(), peer, now);
            if refused {
                dialler.refused(&peer, "another version");
            }
            if ended {
                dialler.ended(&peer, "reset");
            }
            let reports = dialler.disconnected(&peer, lasted, now);
            assert!(
                reports.iter().all(|report| report.signer == Some(signer(1)) && report.address.is_none())
            );
            reports.into_iter().map(|report| report.cause).collect::<Vec<_>>()
        };
        assert_eq!(connect(Duration::ZERO, false, false), [""; 0], "this node closed it");
        assert_eq!(connect(GOOD, true, true), ["another version"]);
        assert_eq!(connect(Duration::ZERO, true, false), [""; 0], "once");
        assert_eq!(connect(Duration::ZERO, false, true), ["the connection ended at once: reset"]);
        assert_eq!(connect(GOOD, false, true), [""; 0]);
    }

    #[test]
    fn the_nodes_of_sought_signers_are_dialled_and_no_others() {
        let (mut dialler, now) = (dialler(), Instant::now());
        let (one, two) = (PeerId::random(), PeerId::random());
        let records = [record(1, one, vec![address(None)]), record(2, two, vec![])];
        dialler.seek(records.iter(), now);
        let dials = due(&mut dialler, now);
        assert_eq!(dials.len(), 1, "one has no address");
        assert_eq!(dials[0].get_peer_id(), Some(one));
        dialler.established(dials[0].connection_id(), one, now);
        dialler.lost(&signer(1), now);
        assert_eq!(due(&mut dialler, now).len(), 1);
        dialler.seek([].iter(), now);
        assert!(!dialler.aims_at(&one) && dialler.next_due().is_none());
    }

    #[test]
    fn a_dial_that_hangs_delays_no_address_that_is_learnt_meanwhile() {
        let (mut dialler, now, peer) = (dialler(), Instant::now(), PeerId::random());
        dialler.seek([record(1, peer, vec![address(None)])].iter(), now);
        let hangs = due(&mut dialler, now);
        assert_eq!(hangs.len(), 1);
        dialler.seek([record(1, peer, vec![address(None)])].iter(), now);
        assert!(due(&mut dialler, now).is_empty(), "nothing new");
        let other: Multiaddr = "/ip4/192.0.2.2/tcp/1".parse().unwrap();
        dialler.seek([record(1, peer, vec![other])].iter(), now);
        let dials = due(&mut dialler, now);
        assert_eq!(dials.len(), 1);
        // What becomes of the first one is nobody's any more.
        assert_eq!(dialler.failed(hangs[0].connection_id(), &DialError::Aborted, now), None);
        assert!(due(&mut dialler, now).is_empty());
        assert!(dialler.established(dials[0].connection_id(), peer, now));
    }

    #[test]
    fn a_signer_that_is_connected_elsewhere_is_not_dialled() {
        let (mut dialler, now) = (dialler(), Instant::now());
        let records = [record(1, PeerId::random(), vec![address(None)])];
        dialler.seek(records.iter(), now);
        assert!(dialler.take_due(now, |_| false, |key| *key == signer(1)).is_empty());
    }

    #[test]
    fn this_node_itself_is_given_up() {
        let (mut dialler, now) = (dialler(), Instant::now());
        dialler.add(address(None), now);
        let dials = due(&mut dialler, now);
        let error = DialError::LocalPeerId { address: address(None) };
        let failed = dialler.failed(dials[0].connection_id(), &error, now);
        assert_eq!(failed, Some(Failed::Itself(vec![address(None)])));
        assert_eq!(dialler.next_due(), None);
    }

    #[test]
    fn the_number_of_targets_is_limited() {
        let (mut dialler, now) = (dialler(), Instant::now());
        let target =
            |number: usize| -> Multiaddr { format!("/ip4/192.0.2.1/tcp/{}", number + 1).parse().unwrap() };
        assert!((0..TARGETS).all(|number| dialler.add(target(number), now)));
        assert!(!dialler.add(target(TARGETS), now));
        assert!(dialler.add(target(0), now));
    }
}
