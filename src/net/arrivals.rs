//! A transport that turns away who connects too fast, before anything else is done for the connection: each costs two
//! handshakes, whoever it turns out to be.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::{Multiaddr, Transport};

use super::places::Origin;
use super::rate::Allowance;

/// Connections that one address may open a second, and at once.
const OF_ORIGIN: (u32, u32) = (32, 64);
/// Addresses of which that is remembered.
const ORIGINS: usize = 4096;
/// Connections that are turned away before others have their turn.
const IN_A_ROW: usize = 64;

/// How fast each address opens connections.
#[derive(Default)]
struct Rates(HashMap<Origin, Allowance>);

impl Rates {
    /// Whether an address may open another one now. Those of this machine always may.
    fn allow(&mut self, origin: Origin, now: Instant) -> bool {
        if origin == Origin::Here {
            return true;
        }
        if self.0.len() >= ORIGINS && !self.0.contains_key(&origin) {
            self.0.retain(|_, allowance| !allowance.is_whole(now));
            // With so many addresses it is the number of handshakes at once that limits them.
            if self.0.len() >= ORIGINS {
                return true;
            }
        }
        let (each_second, at_once) = OF_ORIGIN;
        self.0.entry(origin).or_insert_with(|| Allowance::new(each_second, at_once)).take(now)
    }
}

/// See the module.
pub(super) struct Arrivals<T> {
    inner: T,
    rates: Rates,
}

impl<T> Arrivals<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, rates: Rates::default() }
    }
}

impl<T: Transport + Unpin> Transport for Arrivals<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        self.inner.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let this = &mut *self;
        for _ in 0..IN_A_ROW {
            let event = std::task::ready!(Pin::new(&mut this.inner).poll(context));
            if let TransportEvent::Incoming { local_addr, send_back_addr, .. } = &event
                && !this.rates.allow(Origin::new(local_addr, send_back_addr), Instant::now())
            {
                continue;
            }
            return Poll::Ready(event);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn origin(number: usize) -> Origin {
        let local = "/ip4/192.0.2.1/tcp/1".parse().expect("an address");
        let remote = format!("/ip4/198.51.{}.{}/tcp/1", number / 250, number % 250);
        Origin::new(&local, &remote.parse().expect("an address"))
    }

    #[test]
    fn connections_of_one_address_have_a_rate_and_those_of_others_their_own() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let (each_second, at_once) = OF_ORIGIN;
        let mut opened = |origin, now| (0..1000).filter(|_| rates.allow(origin, now)).count() as u32;
        assert_eq!(opened(origin(1), now), at_once);
        assert_eq!(opened(origin(2), now), at_once);
        assert_eq!(opened(Origin::Here, now), 1000);
        assert_eq!(opened(origin(1), now + Duration::from_secs(1)), each_second);
        for number in 0..2 * ORIGINS {
            rates.allow(origin(number), now);
        }
        assert_eq!(rates.0.len(), ORIGINS);
        rates.allow(origin(60_000), now + Duration::from_secs(60));
        assert_eq!(rates.0.len(), 1);
    }
}
