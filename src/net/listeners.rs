//! Listeners: on which addresses this node is to listen, when a failed one is tried again, and which addresses it
//! announces.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::address::{is_dialable, is_relayed, reach};
use super::backoff::backoff;
use super::config::NetworkConfig;
use super::port;
use crate::protocol::limits;

/// The longest pause before listening is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// An address to listen on.
struct Listener {
    address: Multiaddr,
    /// At a relay.
    relayed: bool,
    id: Option<ListenerId>,
    due: Instant,
    failures: u32,
}

/// See the module.
pub(super) struct Listeners {
    own: PeerId,
    external: Vec<Multiaddr>,
    redial: (Duration, Duration),
    /// Whether the addresses of the listeners are announced, and what servers observed.
    announces_own: bool,
    listeners: Vec<Listener>,
    /// The addresses that were announced last.
    announced: Option<Vec<Multiaddr>>,
}

impl Listeners {
    /// The configured addresses, and those of `reservations` at relays.
    pub(super) fn new(config: &NetworkConfig, reservations: &[Multiaddr], own: PeerId, now: Instant) -> Self {
        let listener = |address: &Multiaddr| Listener {
            relayed: is_relayed(address),
            address: address.clone(),
            id: None,
            due: now,
            failures: 0,
        };
        Self {
            own,
            external: config.external.clone(),
            redial: (config.redial_min, config.redial_max.min(RETRY)),
            announces_own: config.proxy.is_none(),
            listeners: config.listen.iter().chain(reservations).map(listener).collect(),
            announced: None,
        }
    }

    /// The addresses to listen on now, each with its number for [`Listeners::started`] or [`Listeners::failed`].
    pub(super) fn take_due(&self, now: Instant) -> Vec<(usize, Multiaddr)> {
        let due = |(_, listener): &(usize, &Listener)| listener.id.is_none() && listener.due <= now;
        let listeners = self.listeners.iter().enumerate().filter(due);
        listeners.map(|(number, listener)| (number, listener.address.clone())).collect()
    }

    /// When the next address is to be tried.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.listeners.iter().filter(|listener| listener.id.is_none()).map(|listener| listener.due).min()
    }

    /// Whether one of the listeners gets the connections to an address.
    pub(super) fn has(&self, address: &SocketAddr) -> bool {
        let listening = self.listeners.iter().filter(|listener| listener.id.is_some());
        listening
            .filter_map(|listener| port::fixed(&listener.address))
            .any(|own| port::overlap(&own, address))
    }

    /// Listening on an address began; whether it works is not known yet.
    pub(super) fn started(&mut self, number: usize, id: ListenerId) {
        self.listeners[number].id = Some(id);
    }

    /// A listener got an address.
    pub(super) fn works(&mut self, id: ListenerId) {
        for listener in self.listeners.iter_mut().filter(|listener| listener.id == Some(id)) {
            listener.failures = 0;
        }
    }

    /// Listening on an address failed. Returns what to report: the first failure of several.
    pub(super) fn failed(&mut self, number: usize, reason: &str, now: Instant) -> Option<String> {
        let (min, max) = self.redial;
        let listener = &mut self.listeners[number];
        (listener.id, listener.due) = (None, now + backoff(min, max, listener.failures));
        let first = listener.failures == 0;
        listener.failures = listener.failures.saturating_add(1);
        first.then(|| format!("cannot listen on {} ({reason}); trying again", listener.address))
    }

    /// A listener was closed. As [`Listeners::failed`].
    pub(super) fn closed(&mut self, id: ListenerId, reason: &str, now: Instant) -> Option<String> {
        let number = self.listeners.iter().position(|listener| listener.id == Some(id))?;
        self.failed(number, reason, now)
    }

    /// Tries everything that failed now, and makes new reservations at relays. Returns the listeners to remove.
    pub(super) fn renew(&mut self, now: Instant) -> Vec<ListenerId> {
        let mut removed = Vec::new();
        for listener in &mut self.listeners {
            listener.due = now;
            if listener.relayed {
                removed.extend(listener.id.take());
            }
        }
        removed
    }

    /// Whether to announce that there is no address: a node that listens nowhere has a presence too. One that will know
    /// an address in a moment waits for it.
    pub(super) fn announces_none(&self) -> bool {
        let soon = self.listeners.iter().any(|listener| !listener.relayed && listener.id.is_some());
        self.announced.is_none() && !soon
    }

    /// The addresses to announce, if they changed: the configured ones, `own` ones that the listeners have, the most
    /// public first, and then what others say, for which no own one is left out: those that relays `gave`, and those
    /// that servers `observed`.
    pub(super) fn announce<'a>(
        &mut self,
        mut own: Vec<Multiaddr>,
        gave: impl Iterator<Item = &'a Multiaddr>,
        observed: Vec<Multiaddr>,
    ) -> Option<Vec<Multiaddr>> {
        own.sort_by_cached_key(|address| (reach(address), address.to_vec()));
        let mut addresses = self.external.clone();
        addresses.extend(own.into_iter().filter(|address| self.announces_own || is_relayed(address)));
        addresses.extend(gave.cloned());
        addresses.extend(observed.into_iter().filter(|_| self.announces_own));
        let (mut seen, mut relayed) = (HashSet::new(), 0);
        addresses.retain_mut(|address| {
            if address.iter().last() == Some(Protocol::P2p(self.own)) {
                address.pop();
            }
            if !is_dialable(address) {
                return false;
            }
            // A relay itself says under which addresses it is reached, so these leave room for others.
            relayed += usize::from(is_relayed(address));
            (!is_relayed(address) || relayed <= limits::ADDRESSES / 2) && seen.insert(address.clone())
        });
        addresses.truncate(limits::ADDRESSES);
        if self.announced.as_ref() == Some(&addresses) {
            return None;
        }
        self.announced = Some(addresses.clone());
        Some(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn listeners(listen: &[&str], reservations: &[Multiaddr], now: Instant) -> Listeners {
        let listen = listen.iter().map(|text| address(text)).collect();
        let config = NetworkConfig { listen, ..NetworkConfig::default() };
        Listeners::new(&config, reservations, PeerId::random(), now)
    }

    fn reservation() -> Multiaddr {
        address("/ip4/192.0.2.1/tcp/1").with(Protocol::P2p(PeerId::random())).with(Protocol::P2pCircuit)
    }

    #[test]
    fn a_failure_is_reported_once_and_tried_again_later() {
        let now = Instant::now();
        let mut listeners = listeners(&["/ip4/127.0.0.1/tcp/1"], &[], now);
        assert_eq!(listeners.take_due(now), [(0, address("/ip4/127.0.0.1/tcp/1"))]);
        let report = listeners.failed(0, "taken", now).unwrap();
        assert_eq!(report, "cannot listen on /ip4/127.0.0.1/tcp/1 (taken); trying again");
        assert!(listeners.take_due(now).is_empty());
        // Soon: the node that had the port before may be about to end.
        assert!(listeners.next_due().unwrap() <= now + NetworkConfig::default().redial_min);
        let later = now + RETRY;
        assert_eq!(listeners.take_due(later).len(), 1);
        assert_eq!(listeners.failed(0, "taken", later), None);

        // It works, and fails again: that is news.
        let id = ListenerId::next();
        listeners.started(0, id);
        assert!(listeners.take_due(later + RETRY).is_empty() && listeners.next_due().is_none());
        listeners.works(id);
        assert!(listeners.closed(ListenerId::next(), "unknown", later).is_none());
        assert!(listeners.closed(id, "gone", later).unwrap().contains("gone"));
    }

    #[test]
    fn reservations_are_renewed_and_other_listeners_stay() {
        let now = Instant::now();
        let mut listeners = listeners(&["/ip4/127.0.0.1/tcp/1"], &[reservation()], now);
        let (own, relayed) = (ListenerId::next(), ListenerId::next());
        listeners.started(0, own);
        listeners.started(1, relayed);
        assert_eq!(listeners.renew(now), [relayed]);
        let due = listeners.take_due(now);
        assert_eq!(due.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn no_address_is_announced_only_if_none_will_come() {
        let now = Instant::now();
        let mut expects = listeners(&["/ip4/127.0.0.1/tcp/0"], &[], now);
        expects.started(0, ListenerId::next());
        assert!(!expects.announces_none());

        // A relay may take long.
        let mut waits = listeners(&[], &[reservation()], now);
        waits.started(0, ListenerId::next());
        assert!(waits.announces_none());
        assert_eq!(waits.announce(vec![], [].iter(), vec![]), Some(vec![]));
        assert!(!waits.announces_none());
    }

    #[test]
    fn addresses_are_announced_when_they_change_the_most_public_first() {
        let mut listeners = listeners(&[], &[], Instant::now());
        let (loopback, private, public) = (
            address("/ip4/127.0.0.1/tcp/1"),
            address("/ip4/10.0.0.1/tcp/1"),
            address("/ip4/192.0.2.7/tcp/1"),
        );
        let with_peer = public.clone().with(Protocol::P2p(listeners.own));
        let own = vec![loopback.clone(), private.clone(), with_peer];
        let announced = listeners.announce(own.clone(), [].iter(), vec![]).unwrap();
        assert_eq!(announced, [public.clone(), private, loopback]);
        assert_eq!(listeners.announce(own.clone(), [].iter(), vec![]), None);
        // Nobody can dial an address that is valid on one interface only.
        let link_local = address("/ip6/fe80::1/tcp/1");
        let more = [own.clone(), vec![link_local]].concat();
        assert_eq!(listeners.announce(more, [].iter(), vec![]), None);
        let observed = address("/ip4/192.0.2.8/tcp/1");
        let announced = listeners.announce(own, [public].iter(), vec![observed.clone()]).unwrap();
        assert_eq!(announced[3..], [observed]);
    }

    #[test]
    fn relayed_addresses_leave_room_for_others_and_all_are_limited() {
        let mut listeners = listeners(&[], &[], Instant::now());
        let relayed = (0..100).map(|_| reservation());
        let others = (0..100).map(|port| address(&format!("/ip4/10.0.0.1/tcp/{port}")));
        let announced = listeners.announce(relayed.chain(others).collect(), [].iter(), vec![]).unwrap();
        assert_eq!(announced.len(), limits::ADDRESSES);
        assert_eq!(announced.iter().filter(|address| is_relayed(address)).count(), limits::ADDRESSES / 2);
    }
}
