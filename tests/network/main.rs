//! The network layer, over real TCP on loopback.

#[cfg(feature = "discovery")]
mod degraded;
#[cfg(feature = "discovery")]
mod discovery;
mod exchange;
mod first_contact;
mod hostile;
mod identify;
mod limits;
#[cfg(feature = "discovery")]
mod mdns;
#[cfg(target_os = "linux")]
mod names;
mod places;
#[cfg(feature = "discovery")]
mod poison;
mod ports;
#[cfg(all(target_os = "linux", feature = "discovery", feature = "nat"))]
mod proxy;
mod reconnect;
#[cfg(all(feature = "discovery", feature = "nat"))]
mod relay;
mod signs_of_life;
mod support;
mod unreachable;

/// The process of a relay; see `test_support::relay`.
#[cfg(all(feature = "discovery", feature = "nat"))]
mod server {
    #[test]
    fn child() {
        test_support::relay::child();
    }
}
