//! What can be expected of signers that are there nine tenths of the time.

use std::time::Duration;

use libmusig::EarlyTurns;
use libmusig::protocol::proposal::{Broadcast, FailoverPolicy, Tiers};

use super::all;
use super::failover::{SUBMISSION, TIERS, TIMEOUT};
use test_support::cluster::{Cluster, Options, Random};

/// The mean time for which a signer is away; it is there nine times as long. Only the ratio to the time limits matters.
const ABSENCE: Duration = Duration::from_secs(60);
/// Of a thousand moments, those at which a signer is away.
const AWAY: u64 = 100;
/// By when a session is to be complete, in mean absences.
pub const LIMITS: [u32; 5] = [0, 1, 3, 6, 12];
/// Signers, and how many sessions they try.
const SIGNING: [(usize, u64); 3] = [(5, 500), (20, 100), (100, 10)];
const WATCHES: u64 = 1000;
const WATCHERS: usize = 20;
const CALM: u64 = 1000;

/// A share that was counted, and what it is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub hits: u64,
    pub of: u64,
    /// Between these it is expected.
    pub expected: (f64, f64),
}

impl Share {
    pub fn value(&self) -> f64 {
        self.hits as f64 / self.of as f64
    }

    /// Wilson's interval of 95 %.
    pub fn interval(&self) -> (f64, f64) {
        let (n, z) = (self.of as f64, 1.96);
        let centre = (self.value() + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let spread = self.value() * (1.0 - self.value()) / n + z * z / (4.0 * n * n);
        let half = z * spread.sqrt() / (1.0 + z * z / n);
        ((centre - half).max(0.0), (centre + half).min(1.0))
    }

    /// Whether the interval and the expectation have something in common.
    pub fn as_expected(&self) -> bool {
        let (low, high) = self.interval();
        low <= self.expected.1 && high >= self.expected.0
    }
}

/// All of it.
pub struct Uptime {
    /// Signers; by each of the limits, how many sessions were complete.
    pub signing: Vec<(usize, Vec<Share>)>,
    /// The tiers' name; after so many turns, how many were submitted.
    pub broadcast: Vec<(&'static str, Vec<Share>)>,
    /// Submitted exactly once, of calm sessions (V2).
    pub once: Share,
}

pub fn measure(threads: usize) -> Uptime {
    let signing = SIGNING.map(|(signers, sessions)| {
        let seeds: Vec<u64> = (1..=sessions).collect();
        let times = all(&seeds, threads, |seed| time_to_sign(signers, *seed));
        let share = |limit: u32| {
            // A second for what the messages take.
            let by = ABSENCE * limit + Duration::from_secs(1);
            let hits = times.iter().filter(|time| time.is_some_and(|time| time <= by)).count() as u64;
            Share { hits, of: sessions, expected: expected_signing(signers, limit) }
        };
        (signers, LIMITS.map(share).to_vec())
    });
    let broadcast = TIERS.map(|(tiers, name)| {
        let seeds: Vec<u64> = (1..=WATCHES).collect();
        let turns = all(&seeds, threads, |seed| turns_to_submit(tiers, *seed));
        let share = |most: u32| {
            let hits = turns.iter().filter(|turn| turn.is_some_and(|turn| turn <= most)).count() as u64;
            let asked = (0..=most).map(|turn| match tiers {
                Tiers::Single => 1,
                Tiers::Fixed(width) => i32::from(width),
                Tiers::Doubling => 1 << turn,
            });
            let expected = 1.0 - (AWAY as f64 / 1000.0).powi(asked.sum());
            Share { hits, of: WATCHES, expected: (expected, expected) }
        };
        (name, (0..3).map(share).collect())
    });
    let seeds: Vec<u64> = (1..=CALM).collect();
    let once = all(&seeds, threads, |seed| calm_submissions(*seed));
    let hits = once.iter().filter(|submissions| **submissions == 1).count() as u64;
    let once = Share { hits, of: CALM, expected: (0.99, 1.0) };
    Uptime { signing: signing.into(), broadcast: broadcast.into(), once }
}

/// An exponentially distributed time.
fn exponential(random: &mut Random, mean: Duration) -> Duration {
    let uniform = (random.below(1 << 32) + 1) as f64 / (1_u64 << 32) as f64;
    mean.mul_f64(-uniform.ln())
}

/// How long it takes until somebody holds the signatures, if signers are suspended and come back; `None`: longer than the
/// last limit.
fn time_to_sign(signers: usize, seed: u64) -> Option<Duration> {
    let mut cluster = Cluster::new(Options { seed, ..Options::new(signers) });
    let mut random = Random::new(seed ^ 0x0a11);
    cluster.run_for(Duration::from_secs(1));
    let (start, end) =
        (cluster.now(), cluster.now() + ABSENCE * LIMITS[LIMITS.len() - 1] + Duration::from_secs(2));
    // When each comes or goes next. The proposer is there when it proposes.
    let mut changes = Vec::new();
    for node in 0..signers {
        let away = node > 0 && random.chance(AWAY);
        if away {
            cluster.sleep(node);
        }
        let mean = if away { ABSENCE } else { ABSENCE * 9 };
        changes.push(start + exponential(&mut random, mean));
    }
    cluster.run_for(Duration::from_millis(50));
    let session = cluster.create(0, |_| {});
    loop {
        let next = *changes.iter().min().expect("there are signers");
        let node = changes.iter().position(|at| *at == next).expect("it is one of them");
        let left = next.min(end).saturating_sub(cluster.now());
        let complete =
            cluster.run_until(left, |cluster| (0..signers).any(|node| cluster.holds(node, &session)));
        if complete {
            return Some(cluster.now() - start);
        }
        if next >= end {
            return None;
        }
        let (mean, asleep) =
            (if cluster.nodes[node].asleep { ABSENCE * 9 } else { ABSENCE }, cluster.nodes[node].asleep);
        if asleep {
            cluster.wake(node)
        } else {
            cluster.sleep(node)
        }
        changes[node] = next + exponential(&mut random, mean);
    }
}

/// Between what and what the probability is that all others have been there by `limit`: once for each of the three steps
/// (consent, nonces, partial signatures), each as if nothing were known of where they were before; or once altogether.
fn expected_signing(signers: usize, limit: u32) -> (f64, f64) {
    const STEPS: usize = 400;
    let others = signers as i32 - 1;
    let once = |time: f64| (1.0 - AWAY as f64 / 1000.0 * (-time).exp()).powi(others);
    let step = f64::from(limit) / STEPS as f64;
    // The distribution of one step's time, rounded up, so that the sum of three is not too early.
    let mut masses = vec![once(0.0)];
    masses.extend((1..=STEPS).map(|at| once(at as f64 * step) - once((at - 1) as f64 * step)));
    let convolve = |left: &[f64]| -> Vec<f64> {
        (0..=STEPS).map(|sum| (0..=sum).map(|first| left[first] * masses[sum - first]).sum()).collect()
    };
    let three = convolve(&convolve(&masses));
    (three.iter().sum(), once(f64::from(limit)))
}

/// In which turn the transaction is submitted, if each signer is away with this probability from the moment on at which
/// the signatures are complete; `None`: in none.
fn turns_to_submit(tiers: Tiers, seed: u64) -> Option<u32> {
    let mut options = Options { seed, chain: SUBMISSION, ..Options::new(WATCHERS) };
    // The regular turns are what is counted.
    options.settings.early_turns = EarlyTurns::OFF;
    let mut cluster = Cluster::new(options);
    let mut random = Random::new(seed ^ 0xb407);
    cluster.run_for(Duration::from_secs(1));
    let session = cluster.create(0, |terms| {
        terms.broadcast = Broadcast::Failover(FailoverPolicy { broadcast_timeout: TIMEOUT, tiers });
    });
    cluster.complete(&session);
    assert!(cluster.chain.submissions.is_empty(), "all hold the signatures before the first submission");
    let completed = cluster.now();
    for node in 0..WATCHERS {
        if random.chance(AWAY) {
            cluster.sleep(node);
        }
    }
    let limit = TIMEOUT * WATCHERS as u32;
    let submitted = cluster.run_until(limit, |cluster| !cluster.chain.submissions.is_empty());
    let waited = cluster.now() - completed;
    submitted.then(|| (waited.as_secs_f64() / TIMEOUT.as_secs_f64()) as u32)
}

/// How often five honest, connected signers submit, each with an observer that lags up to a fifth of the timeout.
fn calm_submissions(seed: u64) -> usize {
    let mut random = Random::new(seed ^ 0xca17);
    let mut milliseconds = |most: u64| Duration::from_millis(1 + random.below(most));
    let options = Options {
        seed,
        delay: milliseconds(500),
        jitter: milliseconds(500),
        chain: milliseconds(5000),
        ..Options::new(5)
    };
    let mut cluster = Cluster::new(options);
    for node in &mut cluster.nodes {
        node.observer_lag = Some(milliseconds(TIMEOUT.as_millis() as u64 / 5));
    }
    cluster.run_for(Duration::from_secs(2));
    let session = cluster.create(0, |terms| terms.broadcast = Broadcast::default());
    cluster.complete(&session);
    cluster.run_for(TIMEOUT * 7);
    cluster.chain.submissions.len()
}
