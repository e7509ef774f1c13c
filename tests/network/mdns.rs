//! Signers on one local network. It is one that the test makes: a namespace whose only interface has an address that others
//! could have too, for mDNS leaves loopback addresses alone.

use std::process::Command;
use std::time::Duration;

use libmusig::net::{NetCommand, NetEvent, NetworkConfig};
use test_support::nodes::skip;

use crate::support::{Node, config};

/// Set in a child that is in the namespace.
const INSIDE: &str = "LIBMUSIG_TEST_MDNS";
const ADDRESS: &str = "10.77.0.1";

/// Runs a test of this file again, in a new namespace; `false` in there.
fn runs_inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let make = format!(
        "ip link set lo up multicast on && ip addr add {ADDRESS}/24 dev lo && ip route add 224.0.0.0/4 dev lo"
    );
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "--map-root-user", "sh", "-c", script]).env(INSIDE, "yes").output()
    };
    let problem = match unshare(&make) {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare does not run: {error}")),
    };
    if let Some(problem) = problem {
        skip(&format!("mdns::{name}"), &format!("no network of its own can be made here ({problem})"));
        return true;
    }
    let this = std::env::current_exe().expect("runs");
    let script = format!("{make} && exec '{}' mdns::{name} --exact --nocapture", this.display());
    let output = unshare(&script).expect("ran before");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
    true
}

fn local() -> NetworkConfig {
    NetworkConfig {
        listen: vec![format!("/ip4/{ADDRESS}/tcp/0").parse().unwrap()],
        mdns: true,
        presence_timeout: Duration::from_secs(1),
        ping_interval: Duration::from_millis(250),
        ..config()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sought_signer_on_the_local_network_is_found() {
    if runs_inside("a_sought_signer_on_the_local_network_is_found") {
        return;
    }
    let (mut a, b, c) = (Node::new(local()).await, Node::new(local()).await, Node::new(local()).await);
    // One that does not take part is not found, and finds nobody.
    let off = Node::new(NetworkConfig { mdns: false, ..local() }).await;
    a.net.command(NetCommand::Seek(vec![b.key(), off.key()])).await;
    a.connected_to(b.key()).await;
    // Who the neighbours speak for is known by asking, and the one that is not sought is left again.
    a.until(|event| matches!(event, NetEvent::PeerDisconnected { peer } if peer == c.peer()).then_some(()))
        .await;
    assert_eq!(c.net.counters().dials, 0);
    assert_eq!(b.net.counters().dials, 0);
    assert_eq!(off.net.counters().connections_opened, 0);
    crate::support::eventually("the sought one stays", || a.open_connections() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_mdns_port_is_reported_and_the_rest_works() {
    if runs_inside("a_taken_mdns_port_is_reported_and_the_rest_works") {
        return;
    }
    let _kept = std::net::UdpSocket::bind("0.0.0.0:5353").expect("nobody else is here");
    let reports = crate::degraded::degradations(local(), 1).await;
    assert!(reports[0].contains("mDNS"), "{reports:?}");
    let (mut a, b) = (Node::new(local()).await, Node::new(NetworkConfig { mdns: false, ..local() }).await);
    a.dial(&b).await;
    a.connected_to(b.key()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_node_does_not_answer_mdns_queries() {
    if runs_inside("a_stopped_node_does_not_answer_mdns_queries") {
        return;
    }
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has it").flatten();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim() == "musig-mdns").count()
    };
    let a = Node::new(local()).await;
    crate::support::eventually("its thread runs", || threads() == 1).await;
    a.stop().await;
    crate::support::eventually("its thread has ended", || threads() == 0).await;
    // Its socket too: the port can be had again by one that does not share it.
    std::net::UdpSocket::bind("0.0.0.0:5353").expect("the port is free");
}
