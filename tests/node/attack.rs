//! An outsider attacks a node in a process of its own, whose memory is measured: its sessions finish meanwhile, nothing
//! of the attack is taken for anything, and its memory stays within the bound that docs/security.md states.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{AsyncWriteExt, StreamExt};
use libmusig::net::{Multiaddr, PeerId};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::{Body, Content, Envelope, envelope_id};
use libmusig::protocol::limits;
use libmusig::protocol::proposal::{Broadcast, KeySet, Message, Proposal, Terms};
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::{Identity, LocalSigner};
use libmusig::types::{SignerKey, UnixMillis};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Stream, StreamProtocol};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::{Cluster, lexicographic};
use test_support::figures::{figure, memory_of};
use test_support::nodes::{key, presence};
use test_support::outsider::{IDENTIFY, IDENTIFY_PUSH, PROTOCOL, identify_message, raw_frame, swarm};

const N: usize = 3;
/// Settings of the node that is attacked.
pub const CONNECTIONS: usize = 64;
pub const RECEIVED: usize = 8 << 20;

/// What docs/security.md states: bytes of memory that all who connect can make a node use.
pub const BOUND: usize = CONNECTIONS * PER_CONNECTION + RECEIVED + PER_BYTE * limits::UNANSWERED_BYTES / 2;
/// What a byte of a stranger's session costs: as it came, as it was read, and in the event that tells it.
const PER_BYTE: usize = 4;
/// Four streams, each with yamux's window of 256 KiB and 64 KiB that are being read.
const PER_CONNECTION: usize = 4 * (320 << 10);

/// Bytes of a line of /proc/PID/status.
pub fn memory(process: u32, line: &str) -> usize {
    memory_of(process, line).expect("it runs, and says so")
}

pub struct Target {
    address: Multiaddr,
    peer: PeerId,
}

impl Target {
    fn of(cluster: &Cluster) -> Self {
        Self::at(cluster.address(0))
    }

    pub fn at(address: &str) -> Self {
        let address: Multiaddr = address.parse().expect("an address");
        let Some(Protocol::P2p(peer)) = address.iter().last() else { panic!("{address}") };
        Self { address, peer }
    }

    fn socket(&self) -> SocketAddr {
        let parts: Vec<_> = self.address.iter().take(2).collect();
        let [Protocol::Ip4(ip), Protocol::Tcp(port)] = parts[..] else { panic!("{}", self.address) };
        (ip, port).into()
    }
}

/// One connection of one identity.
pub struct Attacker {
    peer: PeerId,
    control: test_support::libp2p_stream::Control,
    signer: LocalSigner,
}

impl Attacker {
    /// `None`: the node does not let it in.
    pub async fn connect(target: &Target) -> Option<Self> {
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

    pub fn presence(&self) -> Vec<u8> {
        self.presence_of(1)
    }

    /// The frame of the presence with this number.
    pub fn presence_of(&self, sequence: u64) -> Vec<u8> {
        raw_frame(0, &presence(&self.signer, self.peer, Vec::new(), sequence))
    }

    pub async fn stream(&mut self, target: &Target) -> Option<Stream> {
        let mut stream = self.stream_of(target, PROTOCOL).await?;
        stream.write_all(&[0; 8]).await.ok()?;
        Some(stream)
    }

    /// A stream of any protocol.
    pub async fn stream_of(&mut self, target: &Target, protocol: StreamProtocol) -> Option<Stream> {
        let opened = self.control.open_stream(target.peer, protocol);
        timeout(Duration::from_secs(10), opened).await.ok()?.ok()
    }

    /// Writes until all is written, the node closes, or takes no more.
    pub async fn press(stream: &mut Stream, bytes: &[u8]) -> bool {
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
pub async fn crowd(target: &Target) -> Vec<(Attacker, Vec<Stream>)> {
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
pub async fn noise(target: &Target) {
    for round in 0..40u8 {
        let mut held = Vec::new();
        for number in 0..50u8 {
            let Ok(Ok(mut stream)) =
                timeout(Duration::from_secs(1), TcpStream::connect(target.socket())).await
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
pub async fn garbage(target: &Target) {
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
pub async fn proposals(target: &Target) {
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
pub async fn pushes(target: &Target) {
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
    // It is read as fast as they send: else it takes them minutes to fill what they may fill.
    let settings = json!({
        "max_connections": CONNECTIONS, "max_received_bytes": RECEIVED, "strangers_frames_per_second": 1_000_000,
    });
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
pub fn cpu(process: u32) -> f64 {
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

/// Strangers who propose to a signer as fast as they can, for as long as this is polled. Each proposal is counted.
async fn propose(crowd: Vec<(Attacker, Stream)>, target: &Target, victim: SignerKey, numbers: &AtomicU64) {
    let propose = crowd.into_iter().map(async |(mut attacker, mut stream)| {
        loop {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            if !Attacker::press(&mut stream, &attacker.proposal(number, victim, 16)).await {
                // One that is banned is another one next.
                (attacker, stream) = proposer(target).await;
            }
        }
    });
    join_all(propose).await;
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
            let _ = timeout(MEASURED, propose(crowd, &target, key(0), &numbers)).await;
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

/// How late the backup is with its turn while strangers propose to it as fast as they can.
#[test]
fn turns_are_in_time_while_4_and_64_strangers_propose() {
    const SESSIONS: usize = 3;
    let list = lexicographic(N);
    let (silent, backup) = (list[0], list[1]);
    let mut cluster = Cluster::start(N, |signer| json!({ "open": signer != silent }));
    let target = Target::at(cluster.address(backup));
    let numbers = AtomicU64::new(0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (mut late, mut finished) = (Vec::new(), 0);
    for strangers in [0, 4, 64] {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (target, numbers, runtime, over) = (&target, &numbers, &runtime, &over);
            scope.spawn(move || {
                runtime.block_on(async {
                    let crowd = join_all((0..strangers).map(|_| proposer(target))).await;
                    let end = async {
                        while !over.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    };
                    tokio::select! {
                        () = propose(crowd, target, key(backup), numbers), if strangers > 0 => {}
                        () = end => {}
                    }
                });
            });
            for _ in 0..SESSIONS {
                honest_session(&mut cluster, finished);
                finished += 1;
            }
            over.store(true, Ordering::Relaxed);
        });
        // Of the last sessions: from the first certificate to the submission, beyond the turn of who was elected.
        let complete = |id: &Value| {
            let of =
                cluster.log.iter().filter(|said| said.is("SessionComplete") && said.line["session"] == *id);
            of.map(|said| said.at).min().expect("it is complete")
        };
        let turns = cluster.log.iter().filter(|said| said.by == backup && said.is("CoordinatorFailed"));
        let turns: Vec<Duration> = turns
            .rev()
            .take(SESSIONS)
            .map(|said| said.at.saturating_duration_since(complete(&said.line["session"]) + cluster.turn))
            .collect();
        let most = turns.into_iter().max().expect("sessions");
        assert!(most < cluster.turn, "{most:?} late with {strangers} strangers");
        late.push(most.as_millis());
    }
    figure(
        "node/attack::turns_are_in_time_while_4_and_64_strangers_propose",
        "strangers who propose to the backup as fast as they can, while the elected one fails",
        "the backup is late with its turn, at most, with none of them, 4, 64",
        format_args!("{} ms, {} ms, {} ms", late[0], late[1], late[2]),
    );
}
