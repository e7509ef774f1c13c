//! Strangers that take all places keep nobody out whom this node has business with.

use std::time::{Duration, Instant};

use libmusig::net::{NetCommand, NetworkConfig};
use libp2p::multiaddr::Protocol;
use test_support::figures::figure;
use tokio::net::TcpStream;

use crate::support::{DEADLINE, Node, Outsider, Signer, config, raw_frame, write};

fn port(node: &Node) -> u16 {
    let port = node.address.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    port.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sockets_keep_nobody_out() {
    let mut a = Node::new(config()).await;
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(("127.0.0.1", port(&a))).await.unwrap());
    }
    let b = Node::new(config()).await;
    let begin = Instant::now();
    b.dial(&a).await;
    a.connected_to(b.key()).await;
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    figure(
        "network/places::silent_sockets_keep_nobody_out",
        "80 silent sockets",
        "an honest node connects within",
        format_args!("{} ms", took.as_millis()),
    );
    // They are not kept: the node closes them.
    let closed = async {
        for mut socket in silent {
            let mut all = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut all).await;
        }
    };
    tokio::time::timeout(DEADLINE, closed).await.expect("silent sockets are closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_strangers_do_not_keep_two_signers_apart() {
    let mut a = Node::new(NetworkConfig { max_connections: 8, ..config() }).await;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let mut outsider = Outsider::new();
        let mut stream = outsider.open(&mut a).await;
        let presence = Signer::new().presence(outsider.peer, vec![], 1);
        write(&mut stream, &raw_frame(0, &presence)).await;
        strangers.push((outsider, stream));
    }
    // There is no place for more of them, for a moment.
    let mut late = Outsider::new();
    late.dial(&a);
    late.is_turned_away().await;
    assert_eq!(a.net.counters().connections_opened, 4, "it was let in, and left later");
    // Whom the node seeks comes in at once, from the same address.
    let b = Node::new(config()).await;
    let presence = b.signer.presence(b.peer(), vec![], 1);
    a.net.command(NetCommand::LearnPresences(vec![presence])).await;
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    let begin = Instant::now();
    b.dial(&a).await;
    a.connected_to(b.key()).await;
    figure(
        "network/places::idle_strangers_do_not_keep_two_signers_apart",
        "idle strangers on all of their places",
        "a signer that is sought connects within",
        format_args!("{} ms", begin.elapsed().as_millis()),
    );
    // Later the oldest stranger makes room for the next one.
    let begin = Instant::now();
    while a.net.counters().connections_opened < 6 {
        assert!(begin.elapsed() < DEADLINE, "nobody makes room");
        late.dial(&a);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    strangers[0].0.is_closed().await;
    assert!(a.send(b.key(), b"on"));
}

/// An address of the test's network that is not loopback's, which no limit or ban by address binds.
#[cfg(target_os = "linux")]
const ADDRESS: &str = "198.51.100.1";

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_address_cosigner_connects_while_its_address_is_banned_for_all_others() {
    let test = "places::same_address_cosigner_connects_while_its_address_is_banned_for_all_others";
    if !test_support::namespace::inside(test, &format!("ip addr add {ADDRESS}/24 dev lo")) {
        return;
    }
    let there =
        || NetworkConfig { listen: vec![format!("/ip4/{ADDRESS}/tcp/0").parse().unwrap()], ..config() };
    let mut a = Node::new(there()).await;
    // As many peers as one would be banned for break the protocol, each once.
    for _ in 0..config().ban_after {
        let mut outsider = Outsider::new();
        let mut stream = outsider.open(&mut a).await;
        write(&mut stream, &raw_frame(7, b"there is no such frame")).await;
        outsider.is_closed().await;
    }
    assert_eq!(a.net.counters().bans, 0, "none of them is banned itself");
    // The control: whom nobody seeks is not let in any more, whoever it is.
    let mut late = Outsider::new();
    late.dial(&a);
    late.is_turned_away().await;
    let mut b = Node::new(there()).await;
    // Without an address, so that it is b who dials.
    let presence = b.signer.presence(b.peer(), vec![], 1);
    a.net.command(NetCommand::LearnPresences(vec![presence])).await;
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    b.dial(&a).await;
    a.connected_to(b.key()).await;
    b.connected_to(a.key()).await;
    assert!(a.send(b.key(), b"from the banned address"));
    assert_eq!(b.frame().await, (a.key(), b"from the banned address".to_vec()));
    assert!(b.send(a.key(), b"and back"));
    assert_eq!(a.frame().await, (b.key(), b"and back".to_vec()));
}
