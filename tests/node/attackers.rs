//! All attackers at once, each kind in a process of its own at the lowest priority, and at an address of its own, against five
//! nodes that sign and fail over all the time.

use std::collections::HashSet;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::AsyncReadExt;
use futures::future::{join, join_all};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::{Body, Content, Envelope};
use libmusig::protocol::wire::{self, pb};
use libmusig::types::{SessionId, Signature};
use libp2p::StreamProtocol;
use serde_json::json;
use tokio::time::timeout;

use crate::attack::{
    Attacker, BOUND, CONNECTIONS, RECEIVED, Target, cpu, crowd, garbage, memory, noise, proposals, pushes,
};
use crate::process::{Cluster, lexicographic};
use test_support::figures::figure;
use test_support::namespace::inside;
use test_support::outsider::{field, length, raw_frame};

const NODES: usize = 5;
/// Sessions that the five have open at once: a node that has nothing to do of its own would be compared with nothing.
const AT_ONCE: usize = 48;
/// By how much the attackers may multiply what the nodes need for a session.
const MOST: f64 = 2.0;

/// Set in a process of attackers: which attack, and the addresses of the nodes.
const ATTACK: &str = "LIBMUSIG_TEST_ATTACK";
/// Seconds of the run, if they are to be others.
const SECONDS: &str = "LIBMUSIG_TEST_SECONDS";
/// Which attackers, if not all.
const CHOSEN: &str = "LIBMUSIG_TEST_ATTACKERS";

const ATTACKERS: [&str; 10] = [
    "noise",
    "garbage",
    "pushes",
    "proposals",
    "crowd",
    "idle",
    "presences",
    "envelopes",
    "records",
    "pings",
];

/// How long connections that are let in are used before they are left for others.
const USED: Duration = Duration::from_secs(5);

/// As many as are let in, who say whose they are, and nothing else.
async fn idle(target: &Target) {
    let mut inside = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        let Some(mut attacker) = Attacker::connect(target).await else { break };
        let Some(mut stream) = attacker.stream(target).await else { continue };
        Attacker::press(&mut stream, &attacker.presence()).await;
        inside.push((attacker, stream));
    }
    let _ = timeout(USED, std::future::pending::<()>()).await;
}

/// Eight who send something as fast as it is taken, on four streams each.
async fn flood(target: &Target, bytes: impl Fn(&Attacker, u64) -> Vec<u8>) {
    let one = async |_: usize| {
        let Some(mut attacker) = Attacker::connect(target).await else { return };
        let mut streams = Vec::new();
        for _ in 0..4 {
            let Some(mut stream) = attacker.stream(target).await else { return };
            Attacker::press(&mut stream, &attacker.presence()).await;
            streams.push(stream);
        }
        let attacker = &attacker;
        let send = streams.iter_mut().map(async |stream| {
            let mut number = 1;
            while Attacker::press(stream, &bytes(attacker, number)).await {
                number += 1;
            }
        });
        join_all(send).await;
    };
    let _ = timeout(USED, join_all((0..8).map(one))).await;
}

/// Presences, each newer than the last, and first contacts that name a hundred keys.
async fn presences(target: &Target) {
    flood(target, |attacker, number| {
        let seeks = [&1_u32.to_be_bytes()[..], &[number as u8; 3200]].concat();
        [attacker.presence_of(number), raw_frame(2, &seeks)].concat()
    })
    .await;
}

/// Envelopes with wrong signatures, certificates and comparisons, of sessions that nobody has.
async fn envelopes(target: &Target) {
    flood(target, |_, number| {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let (session, content) = (SessionId(id), Content::Abort { reason: "stop".into() });
        let envelope = Envelope::new(Body { session, signer: 1, content }, Signature([1; 64]));
        let frame = pb::Frame {
            envelopes: vec![envelope.as_bytes().to_vec(); 8],
            have: vec![pb::Have { session: id.to_vec(), ..pb::Have::default() }],
            ..pb::Frame::default()
        };
        raw_frame(1, &wire::encode(&frame))
    })
    .await;
}

/// Requests that are written as fast as they are taken; what is answered is read.
async fn ask(target: &Target, protocol: &'static str, request: impl Fn(u64) -> Vec<u8>) {
    let one = async |_: usize| {
        let Some(mut attacker) = Attacker::connect(target).await else { return };
        let opened = attacker.stream_of(target, StreamProtocol::new(protocol)).await;
        let Some((mut answers, mut requests)) = opened.map(AsyncReadExt::split) else { return };
        let read = async {
            let mut bytes = [0; 4096];
            while answers.read(&mut bytes).await.is_ok_and(|length| length > 0) {}
        };
        let write = async {
            let mut number = 1;
            while futures::AsyncWriteExt::write_all(&mut requests, &request(number)).await.is_ok() {
                number += 1;
            }
        };
        join(read, write).await;
    };
    let _ = timeout(USED, join_all((0..8).map(one))).await;
}

/// Forged records for the hash table, and questions who is near.
async fn records(target: &Target) {
    ask(target, "/musig/kad/1", |number| {
        let mut key = [5; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let record = [field(1, &key), field(2, &[9; 300])].concat();
        // The types of messages: PUT_VALUE is 0, and not written; FIND_NODE is 4.
        let put = [field(2, &key), field(3, &record)].concat();
        let find = [&[1 << 3, 4][..], &field(2, &key)].concat();
        [length(put.len()), put, length(find.len()), find].concat()
    })
    .await;
}

async fn pings(target: &Target) {
    ask(target, "/ipfs/ping/1.0.0", |number| vec![number as u8; 32]).await;
}

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
                    "idle" => idle(target).await,
                    "presences" => presences(target).await,
                    "envelopes" => envelopes(target).await,
                    "records" => records(target).await,
                    "pings" => pings(target).await,
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

/// Where an attacker is: whoever connects to an address of the own machine comes from there too. No limit by address binds
/// loopback's, so these are others.
fn address(attacker: usize) -> String {
    format!("10.79.{attacker}.1")
}

/// Finishes so many sessions at once. In each the one that was elected fails, and another one broadcasts.
fn sessions(cluster: &mut Cluster, count: usize) {
    cluster.log.clear();
    for number in 0..count {
        cluster.propose(1 + number % (NODES - 1), ElectionMethod::Lexicographic);
    }
    let (mut seen, mut done) = (0, HashSet::new());
    cluster.wait("all sessions are final", |log| {
        let new = log[seen..].iter().filter(|said| said.is("BroadcastConfirmed"));
        done.extend(new.map(|said| (said.by, said.line["session"].to_string())));
        seen = log.len();
        done.len() == NODES * count
    });
    let failed = cluster.log.iter().filter(|said| said.is("CoordinatorFailed"));
    let failed: HashSet<String> = failed.map(|said| said.line["session"].to_string()).collect();
    assert_eq!(failed.len(), count, "in the others the elected one broadcast");
    (0..NODES).for_each(|node| cluster.order(node, &json!({ "order": "close" })));
}

#[test]
#[ignore = "ten minutes, or LIBMUSIG_TEST_SECONDS, in an optimized build: make test-full"]
fn all_attackers_at_once_against_five_nodes_that_fail_over() {
    let test = "attackers::all_attackers_at_once_against_five_nodes_that_fail_over";
    let addresses = (0..ATTACKERS.len()).map(|number| format!("ip addr add {}/24 dev lo", address(number)));
    if !inside(test, &addresses.collect::<Vec<_>>().join(" && ")) {
        return;
    }
    let seconds = std::env::var(SECONDS).map_or(600, |text| text.parse().expect("a number"));
    let silent = lexicographic(NODES)[0];
    let mut cluster = Cluster::start(NODES, |signer| {
        json!({
            "listen": "/ip4/0.0.0.0/tcp/0", "max_connections": CONNECTIONS, "max_received_bytes": RECEIVED,
            "dht": "server", "open": signer != silent,
        })
    });
    let processes: Vec<u32> = (0..NODES).map(|node| cluster.process(node)).collect();
    let used = || processes.iter().map(|process| cpu(*process)).sum::<f64>();
    // Processor time of a session, sessions, and processors in use.
    let run = |cluster: &mut Cluster, time: Duration| {
        let (begin, before, mut finished) = (Instant::now(), used(), 0);
        while begin.elapsed() < time || finished == 0 {
            sessions(cluster, AT_ONCE);
            finished += AT_ONCE;
        }
        let used = used() - before;
        (used / finished as f64, finished, used / begin.elapsed().as_secs_f64())
    };
    run(&mut cluster, Duration::ZERO);
    let (alone, without, share_alone) = run(&mut cluster, Duration::from_secs(seconds / 4));
    let before: Vec<usize> = processes.iter().map(|process| memory(*process, "VmRSS")).collect();
    let chosen = std::env::var(CHOSEN).unwrap_or_else(|_| ATTACKERS.join(" "));
    let attackers: Vec<Killed> = chosen
        .split(' ')
        .enumerate()
        .map(|(number, attack)| {
            let of_node = |node| cluster.address(node).replace("127.0.0.1", &address(number));
            let addresses: Vec<String> = (0..NODES).map(of_node).collect();
            let mut command = Command::new("nice");
            command.args(["-n", "19"]).arg(std::env::current_exe().expect("has a path"));
            command.args(["attackers::attackers", "--exact", "--nocapture"]);
            command.env(ATTACK, format!("{attack} {}", addresses.join(" ")));
            Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nice runs"))
        })
        .collect();
    let (attacked, with, share) = run(&mut cluster, Duration::from_secs(seconds));
    let effort: f64 = attackers.iter().map(|attacker| cpu(attacker.0.id())).sum();
    for (mut attacker, attack) in attackers.into_iter().zip(chosen.split(' ')) {
        assert!(attacker.0.try_wait().expect("is a child").is_none(), "{attack} ended by itself");
    }
    let most = processes
        .iter()
        .zip(&before)
        .map(|(process, before)| memory(*process, "VmHWM").saturating_sub(*before))
        .max()
        .expect("five nodes");
    // Their share of the processors is what is left: how much was done in it is said, and that it was something.
    let counts: Vec<_> = (0..NODES).map(|node| cluster.count(node)).collect();
    let of = |what: &str| counts.iter().map(|count| count[what].as_u64().expect("a number")).sum::<u64>();
    let (connections, violations, refused) = (of("connections"), of("violations"), of("refused"));
    let test = format!("node/{test}");
    let attack = format!("all attackers at once, {seconds} s, against five nodes that fail over");
    figure(
        &test,
        &attack,
        "sessions before and under attack, none lost; processor time of each in all nodes; processors that these use",
        format_args!(
            "{without}, {with}; {:.0} ms, {:.0} ms; {share_alone:.2}, {share:.2}",
            1e3 * alone,
            1e3 * attacked
        ),
    );
    figure(
        &test,
        &attack,
        "most memory beyond that before; processors that the attackers use; connections; violations; proposals refused",
        format_args!(
            "{} MiB; {:.2}; {connections}; {violations}; {refused}",
            most >> 20,
            effort / seconds as f64
        ),
    );
    assert!(connections > 4 * (NODES * NODES) as u64, "the attack was none");
    assert!(most < BOUND, "{most} bytes, {BOUND} are the bound");
    // Without optimization a handshake costs many times what it does in a library that is shipped.
    if !cfg!(debug_assertions) {
        assert!(
            attacked <= MOST * alone,
            "{attacked} s of processor time for each session, {alone} without them"
        );
    }
}
