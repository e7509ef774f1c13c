//! Addresses as people paste them: trimmed, or refused when they are given, with the reason.

use libmusig::error::Error;
use libmusig::node::{NetworkConfig, Node};

use test_support::nodes::*;

/// Addresses that this build can never dial, and a word of the reason.
const NEVER: [(&str, &str); 9] = [
    ("", "empty"),
    (" \n", "empty"),
    ("/ip4/192.0.2.1/udp/4001/quic-v1", "quic-v1"),
    ("/dns4/node.example/tcp/443/wss", "wss"),
    ("/ip4/192.0.2.1/udp/4001/webrtc-direct", "webrtc-direct"),
    ("/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234", "onion3"),
    ("/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", "no host and port"),
    ("/ip4/192.0.2.1/tcp/0", "port 0"),
    ("/ip6/fe80::1/tcp/4001", "link-local"),
];

fn config_error<T>(outcome: Result<T, Error>, what: &str) -> String {
    match outcome {
        Err(Error::Config(text)) => text,
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: was taken"),
    }
}

#[test]
fn pasted_address_with_spaces_around_it_is_dialled() {
    let nodes = [0, 1, 2].map(|index| builder(secret(index)));
    let [first, second, third] = nodes;
    let first: Node = first.hides(false).start().expect("starts");
    let pasted = format!(" \t{}\r\n", address(&first));
    let second = second.peer(&pasted).start().expect("starts");
    let third = third.start().expect("starts");
    third.add_peer(&pasted).wait().expect("is taken");
    for node in [&second, &third] {
        wait_until("it is connected", || node.connected_signers().wait().expect("runs").contains(&key(0)));
    }
}

#[test]
fn pasted_address_that_can_never_be_dialled_is_a_config_error_that_says_why() {
    let node = builder(secret(0)).start().expect("starts");
    for (text, reason) in NEVER {
        let outcomes = [
            builder(secret(1)).peer(text).start().map(drop),
            builder(secret(1)).bootstrap_peer(text).start().map(drop),
            builder(secret(1)).relay(text).start().map(drop),
            node.add_peer(text).wait(),
        ];
        for outcome in outcomes {
            let error = config_error(outcome, text);
            assert!(error.contains(reason), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{text:?}: {error}");
        }
    }
    // One that is in the settings as a whole.
    let quic = "/ip4/192.0.2.1/udp/4001/quic-v1";
    let settings =
        NetworkConfig { peers: vec![quic.parse().expect("is well-formed")], ..NetworkConfig::default() };
    let error = config_error(builder(secret(1)).network(settings).start(), quic);
    assert!(error.contains("quic-v1") && error.contains("this build has TCP"), "{error}");
}

#[test]
fn pasted_address_that_can_never_be_listened_on_is_a_config_error_that_says_why() {
    for (text, reason) in [
        ("", "empty"),
        ("/ip4/0.0.0.0/udp/4001/quic-v1", "quic-v1"),
        ("/ip4/0.0.0.0/tcp/4001/ws", "ws"),
        ("/dns4/node.example/tcp/4001", "IP address"),
    ] {
        let error = config_error(builder(secret(0)).listen(text).start(), text);
        assert!(error.contains(reason), "{text:?}: {error}");
    }
    let node = node_builder().signer(libmusig::signer::LocalSigner::new(secret(0)).expect("a key"));
    let node = node.store(libmusig::store::memory::MemoryStore::new()).without_observer();
    let node = node.listen(" /ip4/127.0.0.1/tcp/0 \n").start().expect("a trimmed one is taken");
    assert!(address(&node).starts_with("/ip4/127.0.0.1/tcp/"));
}
