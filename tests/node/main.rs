//! The real node: runtime, libp2p on loopback, redb files, lanes.

mod addresses;
mod api;
#[cfg(target_os = "linux")]
mod attack;
#[cfg(target_os = "linux")]
mod attackers;
mod auditor;
mod background;
mod broadcaster_failed;
mod consent;
mod defects;
mod disk;
mod events;
mod failover_processes;
mod first_contact;
mod foreign_signer;
#[cfg(unix)]
mod fork;
mod group;
mod lanes;
#[cfg(target_os = "linux")]
mod links;
mod load;
mod lock_time;
mod log;
mod metrics;
mod migrating;
mod outsider;
mod pace;
mod process;
mod psbt;
mod psbt_signer;
mod recovery;
#[cfg(all(feature = "discovery", feature = "nat"))]
mod remote;
mod reputation;
mod signing;
mod stored;
mod unreachable;
mod wallet;
mod world;

/// The process of a relay; see `test_support::relay`.
#[cfg(all(feature = "discovery", feature = "nat"))]
mod server {
    #[test]
    fn child() {
        test_support::relay::child();
    }
}
