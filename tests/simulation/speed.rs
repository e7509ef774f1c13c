//! How many sessions a core carries out in a second if nothing goes wrong: `SPEED=1 SIGNERS=5 SESSIONS=2000`.

use std::time::Duration;

use crate::number;
use test_support::cluster::{Broadcaster, Cluster, EPOCH, Options};
use test_support::memory::in_use;

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
    let bytes = bytes_of_a_watch(signers as usize);
    println!(
        "{{\"signers\":{signers},\"sessions\":{sessions},\"sessions_per_second_of_a_core\":{speed:.0},\
         \"bytes_of_a_session_in_watch\":{bytes}}}"
    );
}

/// Bytes that a node asked for and holds for each of its sessions in watch, tables and all.
fn bytes_of_a_watch(signers: usize) -> usize {
    const SESSIONS: usize = 100;
    let mut cluster = Cluster::new(Options::new(signers));
    cluster.nodes.iter_mut().for_each(|node| node.broadcaster = Broadcaster::Hangs);
    cluster.run_for(Duration::from_secs(1));
    let sessions: Vec<_> = (0..SESSIONS).map(|_| cluster.create(0, |_| {})).collect();
    cluster.run_for(Duration::from_secs(1));
    assert!(sessions.iter().all(|session| cluster.all_hold(session)), "all are in watch");
    cluster.nodes.iter_mut().for_each(|node| node.events.clear());
    let before = in_use();
    cluster.nodes[signers - 1].engine = None;
    (before - in_use()) as usize / SESSIONS
}
