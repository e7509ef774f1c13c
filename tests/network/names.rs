//! Names are resolved by the operating system at each dial. The name servers are the test's: it runs in namespaces of its
//! own, with a resolv.conf that it changes while the node runs.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libmusig::net::{Multiaddr, NetCommand, NetworkConfig};
use test_support::figures::figure;
use test_support::namespace::inside;

use crate::support::{Node, config, eventually};

/// Runs a test of this file again, in namespaces with a resolv.conf of their own; true there.
fn alone(name: &str) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("resolv.conf");
    std::fs::write(&file, "").expect("is written");
    inside(&format!("names::{name}"), &format!("mount --bind '{}' /etc/resolv.conf", file.display()))
}

/// Makes this the name server from now on, as a system does that changed its network.
fn use_server(server: &str) {
    std::fs::write("/etc/resolv.conf", format!("nameserver {server}\noptions timeout:1 attempts:1\n"))
        .expect("is written");
}

/// A name server that answers until this is dropped.
struct Server(Arc<AtomicBool>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One that knows every name as 127.0.0.1.
fn serve(address: &str) -> Server {
    let socket = UdpSocket::bind((address, 53)).expect("nobody else is here");
    let over = Arc::new(AtomicBool::new(false));
    let is_over = over.clone();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let name =
                query[12..length].iter().position(|byte| *byte == 0).map_or(length, |end| 12 + end + 1);
            let Some(question) = query.get(12..name + 4).filter(|_| name + 4 <= length) else { continue };
            let is_ipv4 = question[question.len() - 4..][..2] == [0, 1];
            let mut answer = query[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
            answer.extend(question);
            if is_ipv4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
            }
            if !is_over.load(Ordering::SeqCst) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    Server(over)
}

fn named(name: &str, node: &Node) -> Multiaddr {
    let port = node.address.to_string().rsplit('/').next().expect("a port").to_owned();
    format!("/dns4/{name}/tcp/{port}").parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resolver_follows_the_systems_name_servers() {
    if !alone("resolver_follows_the_systems_name_servers") {
        return;
    }
    let settings = || NetworkConfig { dial_timeout: Duration::from_millis(250), ..config() };
    let (mut a, b, c) = (Node::new(settings()).await, Node::new(config()).await, Node::new(config()).await);
    // No name server at all.
    let mut first = Node::new(settings()).await;
    assert!(first.net.command(NetCommand::AddPeer(named("first.test", &b))).await);
    eventually("a dial by name fails", || first.net.counters().dial_failures >= 1).await;

    // One that hears and does not answer.
    let _dead = UdpSocket::bind("127.0.0.9:53").expect("nobody else is here");
    use_server("127.0.0.9");
    for number in 0..20 {
        let address = named(&format!("node{number}.test"), &b);
        assert!(a.net.command(NetCommand::AddPeer(address)).await);
    }
    eventually("dials by name end in their time", || a.net.counters().dial_failures >= 40).await;
    // Who has an address is dialled all the same.
    a.dial(&c).await;
    a.connected_to(c.key()).await;
    assert!(!a.net.send(&b.key(), b"nobody".as_slice().into()));

    // The network changes, and a server with it, that answers.
    let server = serve("127.0.0.1");
    use_server("127.0.0.1");
    let begin = Instant::now();
    a.connected_to(b.key()).await;
    figure(
        "network/names::resolver_follows_the_systems_name_servers",
        "a name server that hangs, with 20 names to dial; then another one that answers",
        "connected by name after the change within, with redials at most 500 ms apart",
        format_args!("{} ms", begin.elapsed().as_millis()),
    );
    first.connected_to(b.key()).await;

    // And again, while it runs.
    let mut d = Node::new(settings()).await;
    drop(server);
    let server = serve("127.0.0.2");
    use_server("127.0.0.2");
    assert!(d.net.command(NetCommand::AddPeer(named("other.test", &b))).await);
    d.connected_to(b.key()).await;

    // And when the node is told of it, as by `network_changed` and after a suspension.
    drop(server);
    let _server = serve("127.0.0.3");
    use_server("127.0.0.3");
    assert!(d.net.command(NetCommand::Reconnect).await);
    d.disconnected_from(b.key()).await;
    d.connected_to(b.key()).await;
}
