//! An outsider attacks a node in a process of its own, whose memory is measured: its sessions finish meanwhile, nothing
//! of the attack is taken for anything, and its memory stays within the bound that docs/security.md states.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{AsyncWriteExt, StreamExt};
use libmusig::net::{Multiaddr, PeerId, PresenceRecord, presence_digest, seal_presence};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::{Body, Content, Envelope, envelope_id};
use libmusig::protocol::limits;
use libmusig::protocol::proposal::{Broadcast, KeySet, Message, Proposal, Terms};
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::{Identity, LocalSigner};
use libmusig::types::{SignerKey, UnixMillis};
use libp2p::Stream;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::{Cluster, lexicographic};
use test_support::figures::figure;
use test_support::nodes::key;
use test_support::outsider::{IDENTIFY, IDENTIFY_PUSH, PROTOCOL, identify_message, raw_frame, swarm};

const N: usize = 3;
/// Settings of the node that is attacked.
const CONNECTIONS: usize = 64;
const RECEIVED: usize = 8 << 20;

/// What docs/security.md states: bytes of memory that all who connect can make a node use.
const BOUND: usize = CONNECTIONS * PER_CONNECTION + RECEIVED + PER_BYTE * limits::UNANSWERED_BYTES / 2;
/// What a byte of a stranger's session costs: as it came, as it was read, and in the event that tells it.
const PER_BYTE: usize = 4;
/// Four streams, each with yamux's window of 256 KiB and 64 KiB that are being read.
const PER_CONNECTION: usize = 4 * (320 << 10);

/// Bytes of a line of /proc/PID/status.
fn memory(process: u32, line: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|text| text.strip_prefix(line)).expect("it says so");
    1024 * line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse::<usize>().expect("a number")
}

struct Target {
    address: Multiaddr,
    peer: PeerId,
}

impl Target {
    fn of(cluster: &Cluster) -> Self {
        Self::at(cluster.address(0))
    }

    fn at(address: &str) -> Self {
        let address: Multiaddr = address.parse().expect("an address");
        let Some(Protocol::P2p(peer)) = address.iter().last() else { panic!("{address}") };
        Self { address, peer }
    }

    fn port(&self) -> u16 {
        let port = self.address.iter().find_map(|part| match part {
            Protocol::Tcp(port) => Some(port),
            _ => None,
        });
        port.expect("is TCP")
    }
}

/// One connection of one identity.
struct Attacker {
    peer: PeerId,
    control: test_support::libp2p_stream::Control,
    signer: LocalSigner,
}

impl Attacker {
    /// `None`: the node does not let it in.
    async fn connect(target: &Target) -> Option<Self> {
        let (peer, mut swarm) = swarm();
        let mut control = swarm.behaviour().new_control();
        // The node's streams are taken, and nothing on them is read.
        let mut inbound = control.accept(PROTOCOL).expect("once");
        let mut asked = control.accept(IDENTIFY).expect("once");
        tokio::spawn(async move {
            while let Some((_, mut stream)) = asked.next().await {
                let _ = stream.write_all(&identify_message(peer, &observed(0))).await;
                let _ = stream.close().await;
            }
        });
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Some(stream) = inbound.next().await {
                held.push(stream);
            }
        });
        swarm.dial(target.address.clone()).expect("an address");
        let connected = async {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => return true,
                    SwarmEvent::OutgoingConnectionError { .. } => return false,
                    _ => {}
                }
            }
        };
        if !timeout(Duration::from_secs(10), connected).await.unwrap_or(false) {
            return None;
        }
        tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        Some(Self { peer, control, signer: LocalSigner::generate().expect("random bytes") })
    }

    fn presence(&self) -> Vec<u8> {
        let record = PresenceRecord {
            signer: self.signer.public_key(),
            peer: self.peer,
            addresses: Vec::new(),
            sequence: 1,
        };
        let record = record.encode();
        let signature = self.signer.sign(&presence_digest(&record)).expect("signs");
        raw_frame(0, &seal_presence(record, &signature))
    }

    async fn stream(&mut self, target: &Target) -> Option<Stream> {
        let opened = self.control.open_stream(target.peer, PROTOCOL);
        let mut stream = timeout(Duration::from_secs(10), opened).await.ok()?.ok()?;
        stream.write_all(&[0; 8]).await.ok()?;
        Some(stream)
    }

    /// Writes until all is written, the node closes, or takes no more.
    async fn press(stream: &mut Stream, bytes: &[u8]) -> bool {
        let written = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        matches!(timeout(Duration::from_secs(2), written).await, Ok(Ok(())))
    }

    /// A proposal of this attacker's own, with so many messages.
    fn proposal(&self, number: u64, victim: SignerKey, messages: usize) -> Vec<u8> {
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&number.to_be_bytes());
        let long = "x".repeat(limits::METADATA);
        let terms = Terms {
            entropy,
            proposer: 0,
            key_sets: vec![KeySet::new(&[self.signer.public_key(), victim])],
            signers: vec![self.signer.public_key(), victim],
            messages: (0..messages).map(|_| Message::raw([7; 32])).collect(),
            transaction: None,
            election_method: ElectionMethod::default(),
            broadcast: Broadcast::CoordinatorOnly,
            expires_at: UnixMillis(libmusig::platform::now().wall.0 + 3_600_000),
            metadata: long.into_bytes(),
            replaces: None,
        };
        let proposal = Proposal::new(terms).expect("is good");
        let content = Content::Proposal(proposal.as_bytes().to_vec());
        let body = Body { session: proposal.id(), signer: 0, content };
        let signature = self.signer.sign(&envelope_id(&body.encode()).0).expect("signs");
        let envelopes = vec![Envelope::new(body, signature).as_bytes().to_vec()];
        raw_frame(1, &wire::encode(&pb::Frame { envelopes, ..pb::Frame::default() }))
    }
}

/// Twice as many as may connect, of whom each that gets in opens all the streams it may and sends as much on each as
/// is taken, of frames that never end. They stay.
async fn crowd(target: &Target) -> Vec<(Attacker, Vec<Stream>)> {
    let one = |_| async {
        let mut attacker = Attacker::connect(target).await?;
        let begin = [&((limits::FRAME - 1) as u32).to_be_bytes()[..], &[1]].concat();
        let bytes = [attacker.presence(), begin, vec![0; 1 << 20]].concat();
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.extend(attacker.stream(target).await);
        }
        join_all(streams.iter_mut().map(|stream| Attacker::press(stream, &bytes))).await;
        Some((attacker, streams))
    };
    join_all((0..2 * CONNECTIONS).map(one)).await.into_iter().flatten().collect()
}

/// Thousands of connections that say nothing, or anything.
async fn noise(target: &Target) {
    for round in 0..40u8 {
        let mut held = Vec::new();
        for number in 0..50u8 {
            let Ok(Ok(mut stream)) =
                timeout(Duration::from_secs(1), TcpStream::connect(("127.0.0.1", target.port()))).await
            else {
                continue;
            };
            if number % 2 == 0 {
                let _ = stream.write_all(&[round ^ number; 4096]).await;
            }
            held.push(stream);
        }
    }
}

/// Frames too long, cut short, of no kind, of random bytes: each with another identity, for they get banned.
async fn garbage(target: &Target) {
    for number in 0..30u8 {
        let Some(mut attacker) = Attacker::connect(target).await else { continue };
        let Some(mut stream) = attacker.stream(target).await else { continue };
        let presence = attacker.presence();
        let random: Vec<u8> =
            (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8 ^ number).collect();
        let bytes = match number % 5 {
            0 => [presence, ((limits::FRAME + 1) as u32).to_be_bytes().to_vec(), vec![1]].concat(),
            1 => [presence, raw_frame(1, &random)[..9000].to_vec()].concat(),
            2 => [presence, raw_frame(7, &random)].concat(),
            3 => random,
            _ => [presence, raw_frame(1, &random).repeat(50)].concat(),
        };
        Attacker::press(&mut stream, &bytes).await;
        if number % 5 == 1 {
            let _ = stream.close().await;
        }
    }
}

/// Proposals by strangers, authentic and different, far more than there is room for.
async fn proposals(target: &Target) {
    let mut number = 0;
    for _ in 0..12 {
        let Some(mut attacker) = Attacker::connect(target).await else { continue };
        let Some(mut stream) = attacker.stream(target).await else { continue };
        if !Attacker::press(&mut stream, &attacker.presence()).await {
            continue;
        }
        for _ in 0..100 {
            number += 1;
            if !Attacker::press(&mut stream, &attacker.proposal(number, key(0), 256)).await {
                break;
            }
        }
    }
}

/// A long address that is another one for each number.
fn observed(number: u32) -> Multiaddr {
    format!("/dns4/{}{number}.example/tcp/1", "x".repeat(3900)).parse().expect("an address")
}

/// Identify messages unasked, each with another address under which the node is seen.
async fn pushes(target: &Target) {
    for _ in 0..10 {
        let Some(mut attacker) = Attacker::connect(target).await else { continue };
        for number in 0..400 {
            let opened =
                timeout(Duration::from_secs(10), attacker.control.open_stream(target.peer, IDENTIFY_PUSH));
            let Ok(Ok(mut stream)) = opened.await else { break };
            let message = identify_message(attacker.peer, &observed(number));
            if !Attacker::press(&mut stream, &message).await || stream.close().await.is_err() {
                break;
            }
        }
    }
}

/// Finishes one more session of the honest ones.
fn honest_session(cluster: &mut Cluster, finished: usize) {
    let n = cluster.n;
    cluster.propose(1 + finished % (n - 1), ElectionMethod::Lexicographic);
    cluster.wait("one more session is final", |log| {
        (0..n).all(|signer| {
            log.iter().filter(|said| said.by == signer && said.is("BroadcastConfirmed")).count() > finished
        })
    });
}

#[test]
fn an_attacked_node_stays_within_its_memory_and_its_sessions_finish() {
    let settings = json!({ "max_connections": CONNECTIONS, "max_received_bytes": RECEIVED });
    let mut cluster = Cluster::start(N, |signer| if signer == 0 { settings.clone() } else { json!({}) });
    honest_session(&mut cluster, 0);
    let (target, process) = (Target::of(&cluster), cluster.process(0));
    let before = memory(process, "VmRSS");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (over, mut finished) = (AtomicBool::new(false), 1);
    std::thread::scope(|scope| {
        let (over, target, runtime) = (&over, &target, &runtime);
        let attack = scope.spawn(move || {
            runtime.block_on(async {
                noise(target).await;
                garbage(target).await;
                pushes(target).await;
                proposals(target).await;
                let inside = crowd(target).await.len();
                assert!(inside >= CONNECTIONS / 4, "only {inside} attackers got in");
            });
            over.store(true, Ordering::SeqCst);
        });
        while !over.load(Ordering::SeqCst) {
            honest_session(&mut cluster, finished);
            finished += 1;
        }
        attack.join().expect("no panic");
    });
    honest_session(&mut cluster, finished);
    finished += 1;
    let peak = memory(process, "VmHWM");
    let count = cluster.count(0);
    println!("{finished} sessions; {} MiB before, {} MiB at most; {count}", before >> 20, peak >> 20);
    figure(
        "node/attack::an_attacked_node_stays_within_its_memory_and_its_sessions_finish",
        "all attackers of the memory at once, against a node with 64 places and 8 MiB",
        "resident memory before, and at most",
        format_args!("{} MiB, {} MiB", before >> 20, peak >> 20),
    );
    let foreign = count["sessions"].as_u64().expect("a number") as usize - finished;
    assert!(foreign <= limits::UNANSWERED_PROPOSALS / 2, "{foreign} of the attackers' proposals wait");
    assert!(count["refused"].as_u64() > Some(100), "{count}: the flood was no flood");
    assert!(count["violations"].as_u64() > Some(10), "{count}: the garbage was none");
    assert!(peak < before + BOUND, "{before} bytes before, {peak} at most, {BOUND} more are the bound");
}

/// Seconds of processor time that a process has used.
fn cpu(process: u32) -> f64 {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // Behind the name, which may hold anything: the state, and 10 fields before the times.
    let fields: Vec<&str> = line.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    // SAFETY: it only reads a number of the system.
    ticks as f64 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
}

/// A stranger who is let in, and may propose.
async fn proposer(target: &Target) -> (Attacker, Stream) {
    loop {
        let Some(mut attacker) = Attacker::connect(target).await else { continue };
        let Some(mut stream) = attacker.stream(target).await else { continue };
        if Attacker::press(&mut stream, &attacker.presence()).await {
            return (attacker, stream);
        }
    }
}

/// How much of a processor strangers take who propose as fast as they can. It is for the table of docs/security.md.
#[test]
#[ignore = "measures, and asserts nothing: make security-report"]
fn processor_time_that_4_and_64_strangers_take() {
    const MEASURED: Duration = Duration::from_secs(5);
    let cluster = Cluster::start(1, |_| json!({}));
    let (target, process) = (Target::of(&cluster), cluster.process(0));
    let numbers = AtomicU64::new(0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    for strangers in [4, 64] {
        let (before, begin, sent) = runtime.block_on(async {
            let crowd = join_all((0..strangers).map(|_| proposer(&target))).await;
            let (before, begin) = (cpu(process), Instant::now());
            let sent = numbers.load(Ordering::Relaxed);
            let propose = crowd.into_iter().map(async |(mut attacker, mut stream)| {
                loop {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    if !Attacker::press(&mut stream, &attacker.proposal(number, key(0), 16)).await {
                        // One that is banned is another one next.
                        (attacker, stream) = proposer(&target).await;
                    }
                }
            });
            let _ = timeout(MEASURED, join_all(propose)).await;
            (before, begin, sent)
        });
        let seconds = begin.elapsed().as_secs_f64();
        let share = 100.0 * (cpu(process) - before) / seconds;
        let sent = (numbers.load(Ordering::Relaxed) - sent) as f64 / seconds;
        figure(
            "node/attack::processor_time_that_4_and_64_strangers_take",
            &format!("{strangers} strangers who propose as fast as they can"),
            "proposals a second; share of one processor that the node uses",
            format_args!("{sent:.0}; {share:.0} %"),
        );
    }
}

/// Set in a process of attackers: which attack, and the addresses of the nodes.
const ATTACK: &str = "LIBMUSIG_TEST_ATTACK";
/// Seconds of the long run, if they are to be others.
const SECONDS: &str = "LIBMUSIG_TEST_SECONDS";
const ATTACKS: [&str; 5] = ["noise", "garbage", "pushes", "proposals", "crowd"];

/// A process of attackers: again and again, until it is killed.
#[test]
fn attackers() {
    let Ok(orders) = std::env::var(ATTACK) else { return };
    let mut words = orders.split(' ');
    let attack = words.next().expect("an attack");
    let targets: Vec<Target> = words.map(Target::at).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        loop {
            for target in &targets {
                match attack {
                    "noise" => noise(target).await,
                    "garbage" => garbage(target).await,
                    "pushes" => pushes(target).await,
                    "proposals" => proposals(target).await,
                    "crowd" => drop(crowd(target).await),
                    other => panic!("no attack {other}"),
                }
            }
        }
    });
}

/// A child that ends with this process.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All attackers at once, each in a process of its own at the lowest priority, against five nodes of which the elected one never
/// broadcasts: every session fails over, and none is lost.
#[test]
#[ignore = "ten minutes, or LIBMUSIG_TEST_SECONDS: make test-full"]
fn all_attackers_at_once_against_five_nodes_that_fail_over() {
    const NODES: usize = 5;
    let seconds = std::env::var(SECONDS).map_or(600, |text| text.parse().expect("a number"));
    let silent = lexicographic(NODES)[0];
    let mut cluster = Cluster::start(
        NODES,
        |signer| json!({ "max_connections": CONNECTIONS, "max_received_bytes": RECEIVED, "open": signer != silent }),
    );
    let processes: Vec<u32> = (0..NODES).map(|node| cluster.process(node)).collect();
    let used = || processes.iter().map(|process| cpu(*process)).sum::<f64>();
    let mut finished = 0;
    let mut run = |cluster: &mut Cluster, time: Duration| {
        let (begin, before, first) = (Instant::now(), used(), finished);
        while begin.elapsed() < time || finished - first < 3 {
            honest_session(cluster, finished);
            finished += 1;
        }
        ((used() - before) / (finished - first) as f64, finished - first)
    };
    run(&mut cluster, Duration::ZERO);
    let (alone, without) = run(&mut cluster, Duration::from_secs(seconds / 4));
    let before: Vec<usize> = processes.iter().map(|process| memory(*process, "VmRSS")).collect();
    let addresses: Vec<&str> = (0..NODES).map(|node| cluster.address(node)).collect();
    let attackers: Vec<Killed> = ATTACKS
        .iter()
        .map(|attack| {
            let mut command = Command::new("nice");
            command.args(["-n", "19"]).arg(std::env::current_exe().expect("has a path"));
            command.args(["attack::attackers", "--exact", "--nocapture"]);
            command.env(ATTACK, format!("{attack} {}", addresses.join(" ")));
            Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nice runs"))
        })
        .collect();
    let (attacked, with) = run(&mut cluster, Duration::from_secs(seconds));
    for mut attacker in attackers {
        assert!(attacker.0.try_wait().expect("is a child").is_none(), "an attacker ended by itself");
    }
    let failed_over = cluster.log.iter().filter(|said| said.is("CoordinatorFailed")).count();
    assert!(failed_over >= finished, "{failed_over} of {finished}: the elected one broadcast");
    let most =
        processes.iter().zip(&before).map(|(process, before)| memory(*process, "VmHWM") - before).max();
    let most = most.expect("five nodes");
    figure(
        "node/attack::all_attackers_at_once_against_five_nodes_that_fail_over",
        &format!("all of them from five other processes, {seconds} s, against five nodes that fail over"),
        "sessions without and with them, none lost; processor time of each, of all nodes; most memory beyond that before",
        format_args!("{without}, {with}; {alone:.2} s, {attacked:.2} s; {} MiB", most >> 20),
    );
    // Its share of the processors is what is left: how much was done in it is said, and that it was something.
    let counts: Vec<_> = (0..NODES).map(|node| cluster.count(node)).collect();
    let of = |what: &str| counts.iter().map(|count| count[what].as_u64().expect("a number")).sum::<u64>();
    println!(
        "{} connections, {} violations, {} proposals refused",
        of("connections"),
        of("violations"),
        of("refused")
    );
    assert!(of("connections") > 4 * (NODES * NODES) as u64, "the attack was none");
    assert!(most < BOUND, "{most} bytes, {BOUND} are the bound");
}
