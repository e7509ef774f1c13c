//! Names are resolved by the operating system at each dial. The name servers are the test's: it runs in namespaces of its
//! own, with a resolv.conf that it changes while the node runs.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use libmusig::net::{Multiaddr, NetCommand, NetworkConfig};
use test_support::nodes::skip;

use crate::support::{Node, config, eventually};

/// Set in a child that is in the namespaces: the file that is its /etc/resolv.conf.
const INSIDE: &str = "LIBMUSIG_TEST_RESOLV_CONF";

/// Runs a test of this file again, in new namespaces; there it gets the path of the resolv.conf.
fn inside(name: &str) -> Option<String> {
    if let Ok(file) = std::env::var(INSIDE) {
        return Some(file);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("resolv.conf");
    std::fs::write(&file, "").expect("is written");
    let make = format!("ip link set lo up && mount --bind '{}' /etc/resolv.conf", file.display());
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--map-root-user", "sh", "-c", script]).env(INSIDE, &file).output()
    };
    let problem = match unshare(&make) {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare does not run: {error}")),
    };
    if let Some(problem) = problem {
        skip(&format!("names::{name}"), &format!("no namespaces can be made here ({problem})"));
        return None;
    }
    let this = std::env::current_exe().expect("runs");
    let script = format!("{make} && exec '{}' names::{name} --exact --nocapture", this.display());
    let output = unshare(&script).expect("ran before");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
    None
}

/// Makes this the name server from now on, as a system does that changed its network.
fn use_server(file: &str, server: &str) {
    std::fs::write(file, format!("nameserver {server}\noptions timeout:1 attempts:1\n")).expect("is written");
}

/// A name server that knows every name as 127.0.0.1.
fn serve(address: &str) {
    let socket = UdpSocket::bind((address, 53)).expect("nobody else is here");
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
            let _ = socket.send_to(&answer, from);
        }
    });
}

fn named(name: &str, node: &Node) -> Multiaddr {
    let port = node.address.to_string().rsplit('/').next().expect("a port").to_owned();
    format!("/dns4/{name}/tcp/{port}").parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resolver_follows_the_systems_name_servers() {
    let Some(file) = inside("resolver_follows_the_systems_name_servers") else { return };
    // A name server that hears and does not answer.
    let _dead = UdpSocket::bind("127.0.0.9:53").expect("nobody else is here");
    use_server(&file, "127.0.0.9");
    let settings = || NetworkConfig { dial_timeout: Duration::from_millis(250), ..config() };
    let (mut a, b, c) = (Node::new(settings()).await, Node::new(config()).await, Node::new(config()).await);
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
    serve("127.0.0.1");
    use_server(&file, "127.0.0.1");
    a.connected_to(b.key()).await;

    // And again, while it runs.
    let mut d = Node::new(settings()).await;
    serve("127.0.0.2");
    use_server(&file, "127.0.0.2");
    assert!(d.net.command(NetCommand::AddPeer(named("other.test", &b))).await);
    d.connected_to(b.key()).await;
}
