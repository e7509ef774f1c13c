//! Who cannot be reached is reported: the address or signer, the cause in one line, and when it is tried again.

use std::net::TcpListener;
use std::time::Duration;

use futures::StreamExt;
use libmusig::net::{Multiaddr, NetCommand, NetEvent, NetworkConfig, PeerId};
use libmusig::types::SignerKey;
use libp2p::swarm::SwarmEvent;

use crate::support::{Node, Signer, config, eventually};

/// What was reported of an address or a signer.
#[derive(Debug)]
struct Report {
    address: Option<Multiaddr>,
    signer: Option<SignerKey>,
    cause: String,
    retry: Option<Duration>,
}

async fn next_report(node: &mut Node) -> Report {
    let report = node
        .until(|event| match event {
            NetEvent::Unreachable { address, signer, cause, retry } => {
                Some(Report { address, signer, cause, retry })
            }
            _ => None,
        })
        .await;
    // For people: no type of Rust, one line.
    let cause = &report.cause;
    assert!(!cause.is_empty() && !cause.contains(['{', '\n', '"']) && !cause.contains("::<"), "{cause}");
    assert!(!cause.contains("Error") && !cause.contains("()"), "{cause}");
    report
}

fn at(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_peer_is_reported_once_and_again_when_the_cause_changes() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let settings = NetworkConfig {
        peers: vec![at(port)],
        redial_min: Duration::from_millis(5),
        redial_max: Duration::from_millis(10),
        ..config()
    };
    let mut node = Node::new(settings).await;
    let report = next_report(&mut node).await;
    assert_eq!((report.address, report.signer), (Some(at(port)), None));
    assert!(report.cause.to_lowercase().contains("connection refused"), "{}", report.cause);
    assert!(report.retry.expect("it is tried again") <= Duration::from_millis(10));

    // The same again is no news.
    let failures = node.net.counters().dial_failures;
    eventually("it is dialled again and again", || node.net.counters().dial_failures >= failures + 20).await;
    while let Ok(event) = node.events.try_recv() {
        assert!(!matches!(event, NetEvent::Unreachable { .. }), "{event:?}");
    }

    // Something listens there now that is no node.
    let other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || other.incoming().for_each(drop));
    let report = next_report(&mut node).await;
    assert_eq!(report.address, Some(at(port)));
    assert!(!report.cause.contains("refused"), "{}", report.cause);
}

/// A peer that speaks libp2p, but not this version of the protocol.
async fn other_version() -> (PeerId, Multiaddr) {
    let (peer, mut swarm) = test_support::outsider::swarm();
    swarm.listen_on(at(0)).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    (peer, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_peer_is_one_of_another_version_too() {
    let (peer, address) = other_version().await;
    let mut node = Node::new(NetworkConfig { peers: vec![address.clone()], ..config() }).await;
    let report = next_report(&mut node).await;
    assert_eq!(report.address, Some(address.clone()));
    assert!(report.cause.contains("does not speak /musig/1"), "{}", report.cause);

    // The same if it is a signer's, whose presence somebody passed on.
    let signer = Signer::new();
    let presence = signer.presence(peer, vec![address], 1);
    let mut node = Node::new(config()).await;
    node.net.command(NetCommand::LearnPresences(vec![presence])).await;
    node.net.command(NetCommand::Seek(vec![signer.key()])).await;
    let report = next_report(&mut node).await;
    assert_eq!((report.address, report.signer), (None, Some(signer.key())));
    assert!(report.cause.contains("does not speak /musig/1"), "{}", report.cause);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_peer_is_a_signer_of_whom_no_address_is_known() {
    let (unknown, dead) = (Signer::new(), Signer::new());
    let mut node = Node::new(NetworkConfig { dial_timeout: Duration::from_millis(100), ..config() }).await;
    let presence = dead.presence(PeerId::random(), vec![at(1)], 1);
    node.net.command(NetCommand::LearnPresences(vec![presence])).await;
    node.net.command(NetCommand::Seek(vec![unknown.key(), dead.key()])).await;
    let (mut first, mut second) = (next_report(&mut node).await, next_report(&mut node).await);
    if first.signer == Some(dead.key()) {
        std::mem::swap(&mut first, &mut second);
    }
    assert_eq!((first.signer, first.retry), (Some(unknown.key()), None));
    assert!(first.cause.contains("no address of it is known"), "{}", first.cause);
    assert_eq!(second.signer, Some(dead.key()));
    assert!(
        second.cause.contains("/ip4/127.0.0.1/tcp/1") && second.cause.contains("refused"),
        "{}",
        second.cause
    );
    assert!(second.retry.is_some());
}

/// Runs the test again as a process that may open few files.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_peer_and_no_file_descriptor_left() {
    const INSIDE: &str = "LIBMUSIG_TEST_FEW_FILES";
    if std::env::var_os(INSIDE).is_none() {
        let this = std::env::current_exe().expect("runs");
        let script = format!(
            "ulimit -n 64 && exec '{}' unreachable::unreachable_peer_and_no_file_descriptor_left --exact --nocapture",
            this.display()
        );
        let output = std::process::Command::new("sh").args(["-c", &script]).env(INSIDE, "1").output();
        let output = output.expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let peer = Node::new(config()).await;
    let mut node = Node::new(config()).await;
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    node.net.command(NetCommand::AddPeer(peer.address.clone())).await;
    let (mut degraded, mut unreachable) = (None, None);
    while degraded.is_none() || unreachable.is_none() {
        match node.next().await {
            NetEvent::Degraded(text) => degraded = Some(text),
            NetEvent::Unreachable { cause, .. } => unreachable = Some(cause),
            _ => {}
        }
    }
    let text = degraded.expect("was waited for");
    assert!(text.contains("no file descriptor left") && text.contains("ulimit"), "{text}");
    assert!(unreachable.expect("was waited for").contains("os error 24"));
    // With room again it connects by itself.
    files.clear();
    node.connected_to(peer.key()).await;
}
