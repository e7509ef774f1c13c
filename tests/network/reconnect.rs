//! Connections that end come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libmusig::net::{NetCommand, NetEvent, NetworkConfig, generate_identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{DEADLINE, Node, config, eventually, pair};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_restarted_on_its_port_is_found_again() {
    let (mut a, b) = pair(config(), config()).await;
    let key = b.key();
    let (signer, identity, address) = b.stop().await;
    a.disconnected_from(key).await;
    let mut b = Node::with(NetworkConfig { listen: vec![address], ..config() }, signer, identity, 2).await;
    let begin = Instant::now();
    a.connected_to(key).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "redialled after {:?}", begin.elapsed());
    b.connected_to(a.key()).await;
    assert!(a.send(key, b"again") && b.send(a.key(), b"again"));
    assert_eq!((a.frame().await.1, b.frame().await.1), (b"again".to_vec(), b"again".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_restarted_with_another_identity_on_its_port_is_found_again() {
    let (mut a, b) = pair(config(), config()).await;
    let key = b.key();
    let (signer, _, address) = b.stop().await;
    a.disconnected_from(key).await;
    let mut b =
        Node::with(NetworkConfig { listen: vec![address], ..config() }, signer, generate_identity(), 2).await;
    a.connected_to(key).await;
    b.connected_to(a.key()).await;
    assert!(a.send(key, b"again"));
    assert_eq!(b.frame().await.1, b"again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_restarted_on_another_port_finds_the_other() {
    let (mut a, b) = pair(config(), config()).await;
    let key = b.key();
    let (signer, identity, _) = b.stop().await;
    a.disconnected_from(key).await;
    let mut b =
        Node::with(NetworkConfig { peers: vec![a.address.clone()], ..config() }, signer, identity, 2).await;
    a.connected_to(key).await;
    b.connected_to(a.key()).await;
    assert!(a.send(key, b"again"));
    assert_eq!(b.frame().await.1, b"again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sought_signers_are_dialled_where_their_presence_says() {
    let (mut a, mut b) = (Node::new(config()).await, Node::new(config()).await);
    let presence = b.signer.presence(b.peer(), vec![b.address.clone()], 1);
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    a.net.command(NetCommand::LearnPresences(vec![presence])).await;
    a.connected_to(b.key()).await;
    b.connected_to(a.key()).await;

    // It moves, tells so, and is found there after the connection ended.
    let key = b.key();
    let (signer, identity, _) = b.stop().await;
    a.disconnected_from(key).await;
    let b = Node::with(config(), signer, identity, 2).await;
    let moved = b.signer.presence(b.peer(), vec![b.address.clone()], 3);
    a.net.command(NetCommand::LearnPresences(vec![moved])).await;
    a.connected_to(key).await;

    a.net.command(NetCommand::Seek(vec![])).await;
    a.net.command(NetCommand::Disconnect(key)).await;
    a.disconnected_from(key).await;
    let dials = a.net.counters().dials;
    tokio::time::timeout(Duration::from_millis(300), a.connected_to(key))
        .await
        .expect_err("not sought any more");
    assert_eq!(a.net.counters().dials, dials);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnect_makes_new_connections() {
    let (mut a, mut b) = pair(config(), config()).await;
    a.net.command(NetCommand::Reconnect).await;
    a.disconnected_from(b.key()).await;
    a.connected_to(b.key()).await;
    b.disconnected_from(a.key()).await;
    b.connected_to(a.key()).await;
    assert!(a.send(b.key(), b"new"));
    assert_eq!(b.frame().await.1, b"new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_of_the_node_itself_is_given_up() {
    // Another address of the same listener, so that it is not recognised before the handshake.
    let listen = vec!["/ip4/0.0.0.0/tcp/0".parse().unwrap()];
    let mut a = Node::new(NetworkConfig { listen, ..config() }).await;
    let port = a.address.iter().last().unwrap();
    let own = format!("/ip4/127.0.0.2{}", libmusig::net::Multiaddr::empty().with(port));
    a.net.command(NetCommand::AddPeer(own.parse().unwrap())).await;
    let text = a
        .until(|event| match event {
            NetEvent::Degraded(text) => Some(text),
            _ => None,
        })
        .await;
    assert!(text.contains("itself"), "{text}");
}

/// Passes bytes on between clients and a server, until it is frozen: then on those connections nothing moves.
async fn freezable(
    server: std::net::SocketAddr,
) -> (std::net::SocketAddr, Arc<std::sync::Mutex<Arc<AtomicBool>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let switch = Arc::new(std::sync::Mutex::new(Arc::new(AtomicBool::new(false))));
    let current = switch.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let frozen = current.lock().unwrap().clone();
            let Ok(server) = TcpStream::connect(server).await else { continue };
            let (client_in, client_out) = client.into_split();
            let (server_in, server_out) = server.into_split();
            for (mut from, mut to) in [(client_in, server_out), (server_in, client_out)] {
                let frozen = frozen.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 4096];
                    while let Ok(count @ 1..) = from.read(&mut buffer).await {
                        if frozen.load(Ordering::SeqCst) {
                            std::future::pending::<()>().await;
                        }
                        if to.write_all(&buffer[..count]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    (address, switch)
}

/// Two nodes that notice soon when nothing moves.
async fn freezable_pair() -> (Node, Node, Arc<std::sync::Mutex<Arc<AtomicBool>>>) {
    let alert = NetworkConfig {
        ping_interval: Duration::from_millis(250),
        dead_after: Duration::from_secs(2),
        ..config()
    };
    freezable_pair_with(alert).await
}

/// Two nodes, the first connected with the second through what can be frozen.
pub async fn freezable_pair_with(
    config: NetworkConfig,
) -> (Node, Node, Arc<std::sync::Mutex<Arc<AtomicBool>>>) {
    let (mut a, mut b) = (Node::new(config.clone()).await, Node::new(config).await);
    let port = b.address.to_string().rsplit('/').next().unwrap().parse().unwrap();
    let (address, switch) = freezable(std::net::SocketAddr::from(([127, 0, 0, 1], port))).await;
    let through = format!("/ip4/127.0.0.1/tcp/{}", address.port()).parse().unwrap();
    a.net.command(NetCommand::AddPeer(through)).await;
    a.connected_to(b.key()).await;
    b.connected_to(a.key()).await;
    (a, b, switch)
}

/// Freezes the connections that there are; later ones are alive.
pub fn freeze(switch: &std::sync::Mutex<Arc<AtomicBool>>) {
    let old = std::mem::replace(&mut *switch.lock().unwrap(), Arc::new(AtomicBool::new(false)));
    old.store(true, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_replaced() {
    let (mut a, mut b, switch) = freezable_pair().await;

    // Pings keep it alive for longer than `dead_after`, and are reported once a second.
    let begin = Instant::now();
    let mut heard = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        match tokio::time::timeout(DEADLINE, a.events.recv()).await.unwrap().unwrap() {
            NetEvent::Heard { .. } => heard += 1,
            NetEvent::SignerDisconnected { .. } => panic!("it was alive"),
            _ => {}
        }
    }
    assert!((2..=5).contains(&heard), "{heard}");

    freeze(&switch);
    a.disconnected_from(b.key()).await;
    a.connected_to(b.key()).await;
    assert!(a.send(b.key(), b"alive"));
    assert_eq!(b.frame().await.1, b"alive");
    eventually("the dead one is gone", || a.open_connections() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_connection_is_closed_although_this_node_writes_to_it() {
    let (mut a, mut b, switch) = freezable_pair().await;
    freeze(&switch);
    // As an unfinished session does: a few bytes now and then, for which there is always room in some buffer.
    let key = b.key();
    let lost = async {
        loop {
            let disconnected = a.disconnected_from(key);
            if tokio::time::timeout(Duration::from_millis(200), disconnected).await.is_ok() {
                return;
            }
            a.send(key, b"are you there?");
        }
    };
    tokio::time::timeout(DEADLINE, lost).await.expect("it is noticed");
    a.connected_to(key).await;
    assert!(a.send(key, b"alive"));
    while b.frame().await.1 != b"alive" {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_hangs_delays_no_learnt_address() {
    // Accepts, and says nothing: the dial ends after ten seconds.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().unwrap().port()).parse().unwrap();
    let (mut a, b) = (Node::new(config()).await, Node::new(config()).await);
    let presence = |addresses, sequence| b.signer.presence(b.peer(), addresses, sequence);
    a.net.command(NetCommand::LearnPresences(vec![presence(vec![nowhere], 1)])).await;
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    let (_hangs, _) = tokio::time::timeout(DEADLINE, silent.accept()).await.unwrap().unwrap();
    let begin = Instant::now();
    a.net.command(NetCommand::LearnPresences(vec![presence(vec![b.address.clone()], 2)])).await;
    a.connected_to(b.key()).await;
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_moved_calls_whom_it_was_connected_with() {
    let (mut a, mut b) = pair(config(), config()).await;
    // `b` did not dial, and seeks nobody: without a call it would never come back.
    let c = Node::new(config()).await;
    c.dial(&b).await;
    b.connected_to(c.key()).await;
    let before = b.net.counters().dials;
    b.net.command(NetCommand::Reconnect).await;
    b.connected_to(a.key()).await;
    a.connected_to(b.key()).await;
    eventually("it called both", || b.net.counters().dials >= before + 2).await;
}
