//! A node whose connections all go through a SOCKS 5 proxy. It runs in a network namespace of its own, in which only the
//! proxy can be reached; whatever else it sends is seen on the cable, and whatever sockets it has in /proc.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libmusig::net::{Multiaddr, NetCommand, NetEvent, Network, NetworkConfig, generate_identity};
use libmusig::types::SignerKey;
use test_support::figures::figure;
use test_support::namespace::inside;
use test_support::nodes::skip;
use test_support::relay::Server;
use test_support::socks::Socks;

use crate::support::{DEADLINE, Node, Signer, config};

/// Set in the process of the node behind the proxy: which test it is.
const INSIDE: &str = "LIBMUSIG_TEST_BEHIND_PROXY";

const ONION: &str = "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:4003";

/// Runs a test of this file again, in namespaces with a cable to another one; true there.
fn outside(name: &str) -> bool {
    let cable =
        "ip link add v0 type veth peer name v1 && ip addr add 10.9.0.1/24 dev v0 && ip link set v0 up";
    inside(&format!("proxy::{name}"), cable)
}

/// The packets that come over the cable from the other namespace, but for those to the proxy.
#[derive(Clone, Default)]
struct Cable(Arc<Mutex<BTreeSet<String>>>);

impl Cable {
    fn watch() -> Self {
        let protocol = i32::from(0x0003_u16.to_be());
        // SAFETY: the call has no pointers, and what it returns is nobody else's.
        let socket = unsafe {
            let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, protocol);
            assert!(socket >= 0, "{}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(socket)
        };
        let this = Self::default();
        let seen = this.clone();
        std::thread::spawn(move || {
            let mut frame = [0_u8; 2048];
            loop {
                // SAFETY: the buffer has this length.
                let length =
                    unsafe { libc::recv(socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
                let Ok(length) = usize::try_from(length) else { continue };
                if let Some(text) = beside(&frame[..length]) {
                    seen.0.lock().unwrap().insert(text);
                }
            }
        });
        this
    }

    fn seen(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().cloned().collect()
    }
}

/// What a packet of the other namespace is, if it is not for the proxy.
fn beside(frame: &[u8]) -> Option<String> {
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let packet = &frame[14..];
            let (from, to) = (packet.get(12..16)?, packet.get(16..20)?);
            let ports = usize::from(packet[0] & 15) * 4;
            let port = u16::from_be_bytes([*packet.get(ports + 2)?, *packet.get(ports + 3)?]);
            let proxied = packet[9] == 6 && to == [10, 9, 0, 1] && port == 1080;
            (from == [10, 9, 0, 2] && !proxied).then(|| format!("protocol {} to {to:?}:{port}", packet[9]))
        }
        // The kernel's own: neighbours, and who listens to which group.
        [0x86, 0xdd] if matches!(frame.get(20)?, 0 | 58) => None,
        [0x86, 0xdd] => Some("IPv6".into()),
        _ => None,
    }
}

/// The node in the other namespace.
struct Behind {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Behind {
    fn start(mode: &str) -> Self {
        let this = std::env::current_exe().expect("runs");
        let script = format!(
            "echo ready; read go; ip link set lo up && ip addr add 10.9.0.2/24 dev v1 && ip link set v1 up && \
             ip route add default via 10.9.0.1 && exec '{}' proxy::behind --exact --nocapture",
            this.display()
        );
        let mut process = Command::new("unshare")
            .args(["--net", "sh", "-c", &script])
            .env(INSIDE, mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let lines = BufReader::new(process.stdout.take().expect("is piped")).lines();
        let mut this = Self { process, lines };
        this.line("ready");
        let to = this.process.id().to_string();
        let moved = Command::new("ip").args(["link", "set", "v1", "netns", &to]).status();
        assert!(moved.expect("ip runs").success());
        this.tell("go");
        this
    }

    /// The rest of the next line that begins so.
    fn line(&mut self, begin: &str) -> String {
        loop {
            let line = self.lines.next().expect("it goes on").expect("is text");
            // The test harness says things of its own, and on the same line.
            if let Some(at) = line.find(begin) {
                return line[at + begin.len()..].trim().to_owned();
            }
            println!("behind: {line}");
        }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.process.stdin.as_mut().expect("is piped"), "{line}").expect("it lives");
    }

    fn ended(mut self) {
        assert!(self.process.wait().expect("ends").success());
    }
}

/// The signers of the peer behind, of the two peers that it dials, and of the one that comes through its relay.
fn signers() -> [Signer; 4] {
    // Every process counts from the beginning.
    std::array::from_fn(|_| Signer::new())
}

/// Which sockets there are in this namespace that do not lead to the proxy.
fn sockets_beside() -> BTreeSet<String> {
    let mut beside = BTreeSet::new();
    for kind in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let table = std::fs::read_to_string(format!("/proc/self/net/{kind}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // 10.9.0.1:1080.
            if kind != "tcp" || fields[2] != "0100090A:0438" {
                beside.insert(format!("{kind} {} {}", fields[1], fields[2]));
            }
        }
    }
    beside
}

/// The process of the node behind the proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind() {
    let Ok(mode) = std::env::var(INSIDE) else { return };
    let watching = Arc::new(AtomicBool::new(true));
    let watcher = std::thread::spawn({
        let watching = watching.clone();
        move || {
            let mut beside = BTreeSet::new();
            while watching.load(Ordering::Relaxed) {
                beside.append(&mut sockets_beside());
                std::thread::sleep(Duration::from_millis(1));
            }
            beside
        }
    });
    let [own, first, second, third] = signers();
    let address = |text: &str| text.parse::<Multiaddr>().unwrap();
    let runtime = tokio::runtime::Handle::current();
    let fast = NetworkConfig { redial_max: Duration::from_millis(200), ..NetworkConfig::default() };
    if mode == "direct" {
        // The control: this is what is seen of a node without a proxy.
        let peers = vec![address("/ip4/203.0.113.1/tcp/4002"), address("/dns4/peer.test/tcp/4002")];
        let settings = NetworkConfig { peers, listen: vec![], ..fast };
        let (_net, _events) = Network::start(&runtime, settings, &generate_identity(), None).unwrap();
        println!("started");
        wait_for_line().await;
        return;
    }
    let settings = NetworkConfig {
        peers: vec![address("/dns4/peer.test/tcp/4002"), address(ONION)],
        relays: vec![address(&std::env::var("LIBMUSIG_TEST_PROXY_RELAY").unwrap())],
        redial_max: Duration::from_millis(200),
        // Who comes by the relay knows nothing but the address.
        hides: false,
        ..NetworkConfig::proxy("socks5h://me:secret@10.9.0.1:1080")
    };
    let identity = generate_identity();
    let (net, mut events) = Network::start(&runtime, settings, &identity, None).unwrap();
    let peer = net.local_peer_id();
    let mut missing: BTreeSet<SignerKey> = [first, second, third].iter().map(Signer::key).collect();
    let mut sequence = 1;
    while !missing.is_empty() {
        match tokio::time::timeout(DEADLINE, events.recv()).await.expect("in time").expect("it runs") {
            NetEvent::Listening(addresses) => {
                let announced: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let presence = own.presence(peer, addresses, sequence);
                sequence += 1;
                assert!(net.command(NetCommand::SetPresence(presence)).await);
                if !announced.is_empty() {
                    println!("announced {}", announced.join(" "));
                    println!("peer {peer}");
                }
            }
            NetEvent::SignerConnected { key, .. } => drop(missing.remove(&key)),
            NetEvent::Degraded(text) => println!("degraded: {text}"),
            NetEvent::Unreachable { cause, .. } => println!("unreachable: {cause}"),
            _ => {}
        }
    }
    println!("connected");
    wait_for_line().await;
    watching.store(false, Ordering::Relaxed);
    let beside = watcher.join().unwrap();
    println!("sockets {beside:?}");
}

async fn wait_for_line() {
    let read = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    read.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_proxy_goes_everything_and_nothing_beside() {
    if !outside("through_proxy_goes_everything_and_nothing_beside") {
        return;
    }
    let cable = Cable::watch();
    let proxy = Socks::start("10.9.0.1:1080", ("me", "secret"));
    let relay =
        Server::with(&["--listen", "/ip4/127.0.0.1/tcp/4001", "--external", "/dns4/relay.test/tcp/4001"]);
    let relay_peer = relay.address.rsplit('/').next().expect("a peer id").to_owned();
    // SAFETY: no other thread of this process reads its environment now.
    unsafe {
        std::env::set_var("LIBMUSIG_TEST_PROXY_RELAY", format!("/dns4/relay.test/tcp/4001/p2p/{relay_peer}"));
    }
    let [own, first, second, third] = signers();
    let at = |port: u16| NetworkConfig {
        listen: vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()],
        ..config()
    };
    let mut nodes = Vec::new();
    for (port, signer) in [(4002, first), (4003, second), (4004, third)] {
        nodes.push(Node::with(at(port), signer, generate_identity(), 1).await);
    }
    let mut behind = Behind::start("proxied");
    let announced = behind.line("announced");
    for address in announced.split(' ') {
        assert!(address.starts_with("/dns4/relay.test/tcp/4001/p2p/"), "{announced}");
    }
    // Others come by the relay.
    let peer = behind.line("peer");
    let through = format!("{}/p2p-circuit/p2p/{peer}", relay.address);
    nodes[2].net.command(NetCommand::AddPeer(through.parse().expect("an address"))).await;
    for node in &mut nodes {
        node.connected_to(own.key()).await;
    }
    behind.line("connected");
    behind.tell("end");
    assert_eq!(behind.line("sockets"), "{}");
    behind.ended();
    assert_eq!(cable.seen(), [""; 0]);
    let asked: BTreeSet<String> = proxy.asked().into_iter().collect();
    let expected = [
        "peer.test:4002",
        "relay.test:4001",
        "vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd.onion:4003",
    ];
    assert_eq!(asked.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    figure(
        "network/proxy::through_proxy_goes_everything_and_nothing_beside",
        "whoever watches the cable of a node with a proxy, which meets three others and a relay",
        "packets beside those to the proxy; sockets beside those to it",
        "0; 0",
    );
}

/// The cable shows what goes beside a proxy: what the test above asserts is not empty by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_proxy_without_one_is_seen_on_the_cable() {
    if !outside("through_proxy_without_one_is_seen_on_the_cable") {
        return;
    }
    let cable = Cable::watch();
    let mut behind = Behind::start("direct");
    behind.line("started");
    let dialled = "protocol 6 to [203, 0, 113, 1]:4002";
    crate::support::eventually("the dial is seen", || cable.seen().iter().any(|seen| seen == dialled)).await;
    behind.tell("end");
    behind.ended();
}

/// The proxy program of somebody else, which is fetched once.
fn microsocks(test: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/network/microsocks.sh");
    let output = Command::new(script).output().expect("can be run");
    if !output.status.success() {
        skip(test, String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_proxy_of_another_make() {
    let Some(program) = microsocks("proxy::through_proxy_of_another_make") else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(program);
    command.args(["-i", "127.0.0.1", "-p", &port.to_string(), "-u", "me", "-P", "secret"]);
    let mut program = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    let mut b = Node::new(config()).await;
    let named = b.address.to_string().replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    let runtime = tokio::runtime::Handle::current();
    let connect = async |login: &str| {
        let settings = NetworkConfig {
            peers: vec![named.parse().unwrap()],
            redial_max: Duration::from_millis(200),
            ..NetworkConfig::proxy(&format!("socks5h://{login}@127.0.0.1:{port}"))
        };
        let (net, mut events) = Network::start(&runtime, settings, &generate_identity(), None).unwrap();
        let signer = Signer::new();
        let presence = signer.presence(net.local_peer_id(), vec![], 1);
        assert!(net.command(NetCommand::SetPresence(presence)).await);
        let outcome = async {
            loop {
                match events.recv().await.expect("it runs") {
                    NetEvent::SignerConnected { .. } => return Ok(signer.key()),
                    // It may not serve yet.
                    NetEvent::Unreachable { cause, .. } if !cause.contains("refused") => return Err(cause),
                    _ => {}
                }
            }
        };
        (tokio::time::timeout(DEADLINE, outcome).await.expect("in time"), net)
    };
    let (outcome, _net) = connect("me:secret").await;
    b.connected_to(outcome.expect("it connects")).await;
    let (outcome, _net) = connect("me:wrong").await;
    assert!(outcome.expect_err("the login is wrong").contains("the proxy 127.0.0.1"));
    program.kill().unwrap();
    program.wait().unwrap();
}
