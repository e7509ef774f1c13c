//! How many sessions a core carries out in a second if nothing goes wrong: `SPEED=1 SIGNERS=5 SESSIONS=2000`.

use std::time::{Duration, Instant};

use libmusig::protocol::event::Event;
use libmusig::protocol::{Output, Time, limits};
use test_support::cluster::{Broadcaster, Cluster, EPOCH, Options};
use test_support::memory::in_use;
use test_support::party::policy;

use crate::number;

/// How long after its proposal a session expires, and is forgotten.
const EXPIRY: Duration = Duration::from_secs(60);

/// The time for which this thread had a core. The machine may be shared, so the clock on the wall says little.
fn core_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("Linux counts the time of each thread"))
}

/// Carries out one session after the other, each until its transaction is final, and prints the speed.
pub fn measure() {
    let (signers, sessions) = (number("SIGNERS", 5), number("SESSIONS", 5000));
    let start = core_time();
    let mut cluster = Cluster::new(Options::new(signers as usize));
    cluster.run_for(Duration::from_secs(1));
    for number in 0..sessions {
        let expires_at = EPOCH.saturating_add(cluster.now() + EXPIRY);
        cluster.create((number % signers) as usize, |terms| terms.expires_at = expires_at);
        cluster.run_for(Duration::from_millis(200));
        let now = cluster.now();
        cluster.chain.mine_blocks(6, now);
        cluster.nodes.iter_mut().for_each(|node| node.events.clear());
    }
    cluster.run_for(EXPIRY + Duration::from_secs(1));
    for node in &cluster.nodes {
        let left = node.engine.as_ref().map_or(0, |engine| engine.ids().len());
        assert_eq!(left, 0, "each session came to its end");
    }
    assert_eq!(cluster.chain.submissions.len() as u64, sessions, "each was submitted once");
    drop(cluster);
    let speed = sessions as f64 / (core_time() - start).as_secs_f64();
    let watches = number("WATCHES", 100);
    let (bytes, turn) = watch(signers as usize, watches);
    println!(
        "{{\"signers\":{signers},\"sessions\":{sessions},\"sessions_per_second_of_a_core\":{speed:.0},\"watches\":{watches},\
         \"bytes_of_a_session_in_watch\":{bytes},\"microseconds_of_a_turn\":{turn:.2}}}"
    );
}

/// Bytes that a node asked for and holds for each of its sessions in watch, tables and all, most of them packed; and the
/// median of the microseconds that it takes to open a turn in one of them.
fn watch(signers: usize, watches: u64) -> (usize, f64) {
    const AT_ONCE: u64 = 100;
    const TURN: Duration = Duration::from_secs(3600);
    let mut options = Options { counts_work: false, ..Options::new(signers) };
    options.settings.max_sessions = watches as usize + 1;
    let mut cluster = Cluster::new(options);
    cluster.nodes.iter_mut().for_each(|node| node.broadcaster = Broadcaster::Hangs);
    cluster.run_for(Duration::from_secs(1));
    let begin = |cluster: &mut Cluster, some: std::ops::Range<u64>| {
        let create = |number| {
            let proposer = (number % signers as u64) as usize;
            cluster.create(proposer, |terms| policy(terms).broadcast_timeout = TURN)
        };
        let sessions: Vec<_> = some.map(create).collect();
        cluster.run_for(limits::PACK_AFTER);
        assert!(sessions.iter().all(|session| cluster.all_hold(session)), "all are in watch");
        cluster.nodes.iter_mut().for_each(|node| node.events.clear());
    };
    for first in (0..watches).step_by(AT_ONCE as usize) {
        begin(&mut cluster, first..watches.min(first + AT_ONCE));
    }
    cluster.run_for(10 * limits::PACK_AFTER);
    // What happens in one session packs those that rest.
    begin(&mut cluster, watches..watches + 1);

    let (start, last) = (cluster.time(signers - 1), signers - 1);
    let before = in_use();
    let mut engine = cluster.nodes[last].engine.take().expect("it runs");
    let (end, mut turns, mut total) = (start.monotonic + TURN, Vec::new(), 0);
    while let Some(at) = engine.next_timeout().filter(|at| *at <= end) {
        let (at, begun) = (at.max(start.monotonic), Instant::now());
        engine.tick(Time { wall: start.wall.saturating_add(at - start.monotonic), monotonic: at });
        let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll_output()).collect();
        let took = begun.elapsed().as_secs_f64() * 1e6;
        let opens = |output: &&Output| {
            let Output::Event { event } = output else { return false };
            matches!(event.event, Event::CoordinatorFailed { .. } | Event::ShouldBroadcast { .. })
        };
        let opened = outputs.iter().filter(opens).count();
        total += opened as u64;
        if opened > 0 {
            turns.push(took / opened as f64);
        }
    }
    drop(engine);
    assert!(total >= watches / 2, "{total} turns opened");
    turns.sort_unstable_by(f64::total_cmp);
    ((before - in_use()) as usize / watches as usize, turns[turns.len() / 2])
}
