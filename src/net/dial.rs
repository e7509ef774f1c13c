//! Whom to dial, and when: configured addresses and sought signers, with back-off.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId};

use super::address::peer_of;
use super::backoff::backoff;
use super::config::NetworkConfig;
use super::presence::PresenceRecord;
use crate::types::SignerKey;

/// Configured addresses and sought peers together.
const TARGETS: usize = 4096;
/// A connection that lasted this long was a good one: its end is no failure.
const GOOD: Duration = Duration::from_secs(2);

/// What is dialled.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Name {
    Address(Multiaddr),
    Peer(PeerId),
}

#[derive(Debug)]
struct Target {
    addresses: Vec<Multiaddr>,
    /// Who is there: given, or learnt by the first connection.
    peer: Option<PeerId>,
    /// Whose node it is, if it is dialled because its signer is sought.
    signer: Option<SignerKey>,
    failures: u32,
    due: Instant,
    dialling: Option<ConnectionId>,
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
    pub(super) fn add(&mut self, address: Multiaddr) -> bool {
        let peer = peer_of(&address);
        self.insert(Name::Address(address.clone()), vec![address], peer, None)
    }

    /// Dials exactly the nodes of these records, beside the configured addresses.
    pub(super) fn seek<'a>(&mut self, records: impl Iterator<Item = &'a PresenceRecord>) {
        let records: Vec<_> = records.collect();
        self.targets.retain(|name, _| match name {
            Name::Address(_) => true,
            Name::Peer(peer) => records.iter().any(|record| record.peer == *peer),
        });
        for record in records {
            let name = Name::Peer(record.peer);
            self.insert(name, record.addresses.clone(), Some(record.peer), Some(record.signer));
        }
    }

    fn insert(
        &mut self,
        name: Name,
        addresses: Vec<Multiaddr>,
        peer: Option<PeerId>,
        signer: Option<SignerKey>,
    ) -> bool {
        let now = Instant::now();
        if let Some(target) = self.targets.get_mut(&name) {
            if target.addresses != addresses {
                (target.addresses, target.failures, target.due) = (addresses, 0, now);
            }
            return true;
        }
        if self.targets.len() >= TARGETS {
            return false;
        }
        let target = Target { addresses, peer, signer, failures: 0, due: now, dialling: None };
        self.targets.insert(name, target);
        true
    }

    /// What to dial now. Targets that are connected by now are looked at again later.
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
            let options = match (target.peer, &target.addresses[..]) {
                (_, []) => {
                    target.due = now + self.max;
                    continue;
                }
                (Some(peer), addresses) => DialOpts::peer_id(peer)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
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

    /// The next moment at which something may be to dial.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.targets.values().filter(|target| target.dialling.is_none()).map(|target| target.due).min()
    }

    /// A connection exists. True if it was dialled from here.
    pub(super) fn established(&mut self, connection: ConnectionId, peer: PeerId) -> bool {
        let mut ours = false;
        for target in self.targets.values_mut() {
            if target.dialling == Some(connection) {
                target.dialling = None;
                target.peer = Some(peer);
                target.due = Instant::now() + self.max;
                ours = true;
            }
        }
        ours
    }

    /// Whether a peer is at a configured address, or a sought signer's.
    pub(super) fn aims_at(&self, peer: &PeerId) -> bool {
        self.targets.values().any(|target| target.peer == Some(*peer))
    }

    /// The last connection with a peer ended, after so long: dials it at once if that was a good one.
    pub(super) fn disconnected(&mut self, peer: &PeerId, lasted: Duration) {
        let (min, max) = (self.min, self.max);
        for target in self.targets.values_mut().filter(|target| target.peer == Some(*peer)) {
            if lasted >= GOOD {
                target.failures = 0;
                target.due = Instant::now();
            } else {
                target.fail(min, max);
            }
        }
    }

    /// The last peer of a signer is gone: any other node of it is dialled now.
    pub(super) fn lost(&mut self, signer: &SignerKey) {
        for target in self.targets.values_mut() {
            if target.signer == Some(*signer) && target.failures == 0 {
                target.due = Instant::now();
            }
        }
    }

    /// A dial failed. `Some` if the target is given up: it is this node itself.
    pub(super) fn failed(&mut self, connection: ConnectionId, error: &DialError) -> Option<Vec<Multiaddr>> {
        let (name, target) =
            self.targets.iter_mut().find(|(_, target)| target.dialling == Some(connection))?;
        target.dialling = None;
        let (min, max) = (self.min, self.max);
        match error {
            // Somebody else dials it, or it connected meanwhile.
            DialError::DialPeerConditionFalse(_) => target.due = Instant::now() + min,
            DialError::LocalPeerId { .. } => {
                let name = name.clone();
                return self.targets.remove(&name).map(|target| target.addresses);
            }
            // Another node is there now: a learnt identity is forgotten, a given one stays.
            DialError::WrongPeerId { .. } => {
                if let Name::Address(address) = name
                    && peer_of(address).is_none()
                {
                    target.peer = None;
                }
                target.fail(min, max);
            }
            _ => target.fail(min, max),
        }
        None
    }

    /// Forgets all failures: everything that is not connected is dialled now.
    pub(super) fn hurry(&mut self) {
        for target in self.targets.values_mut() {
            (target.failures, target.due) = (0, Instant::now());
        }
    }
}

impl Target {
    fn fail(&mut self, min: Duration, max: Duration) {
        self.due = Instant::now() + backoff(min, max, self.failures);
        self.failures = self.failures.saturating_add(1);
    }
}
