//! Many seeds, on all cores: each is a run of its own, and what comes out does not depend on which thread ran it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::checks::{Checker, RULES, Violation, without_a_message};
use crate::run::{EXPIRY, Run};
use crate::scenario::Scenario;
use test_support::cluster::Trace;

/// Of how many seeds one is also run without a message (S9): it takes several runs.
pub const METAMORPHIC: u64 = 8;

/// What came out of one seed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub seed: u64,
    pub violations: Vec<Violation>,
    pub sessions: u64,
    pub checks: BTreeMap<&'static str, u64>,
    pub calm: (u64, u64),
    /// Equal for equal runs.
    pub digest: u64,
}

/// Runs a scenario and checks everything; S9 if the seed is a multiple of `metamorphic`.
pub fn simulate(scenario: Scenario, metamorphic: u64) -> Outcome {
    let seed = scenario.seed;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut checker = Checker::default();
        if seed.is_multiple_of(metamorphic) && !scenario.real {
            without_a_message(&scenario, &mut checker);
        }
        // Real nonces are random: what they make differs in each run.
        let exact = !scenario.real;
        let mut run = Run::new(scenario);
        run.cluster.trace = exact.then(Trace::default);
        run.carry_out();
        run.settle();
        checker.after_settling(&mut run);
        checker.after_return(&mut run);
        checker.after_a_day(&mut run);
        let now = run.cluster.now();
        run.cluster.chain.mine_blocks(10, now);
        run.cluster.run_for(Duration::from_secs(120));
        run.sample();
        checker.after_blocks(&mut run);
        let rest = (EXPIRY + Duration::from_secs(5)).saturating_sub(run.cluster.now());
        run.cluster.leap(rest);
        checker.after_expiry(&mut run);
        Outcome {
            seed,
            sessions: run.sessions.len() as u64,
            checks: checker.checks,
            calm: checker.calm,
            violations: checker.violations,
            digest: digest(&run),
        }
    }));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = text.unwrap_or_default();
        Outcome { seed, violations: vec![Violation { rule: "panic", what }], ..Outcome::default() }
    })
}

/// FNV-1a of what every node told and when, of all submissions and of the number of frames; and of every byte that
/// left an engine, where the same seed gives the same ones.
fn digest(run: &Run) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |number: u64| hash = (hash ^ number).wrapping_mul(0x0100_0000_01b3);
    add(run.cluster.frames);
    if let Some(trace) = &run.cluster.trace {
        add(trace.digest());
    }
    for submission in &run.cluster.chain.submissions {
        add(submission.at.as_micros() as u64);
        add(submission.node as u64);
    }
    for node in &run.cluster.nodes {
        for (at, event) in node.events.iter() {
            add(at.as_micros() as u64);
            add(event.durable.map_or(0, |kind| kind as u64));
        }
    }
    hash
}

/// What came out of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Total {
    pub seeds: u64,
    pub sessions: u64,
    pub checks: BTreeMap<&'static str, u64>,
    pub calm: (u64, u64),
    pub digest: u64,
    /// The seeds with violations, and the first one of each.
    pub broken: Vec<(u64, Violation)>,
}

impl Total {
    /// Adds the next seed's outcome, in order.
    pub fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.sessions += outcome.sessions;
        for (rule, count) in outcome.checks {
            *self.checks.entry(rule).or_default() += count;
        }
        self.calm = (self.calm.0 + outcome.calm.0, self.calm.1 + outcome.calm.1);
        self.digest = self.digest.rotate_left(1) ^ outcome.digest;
        if let Some(violation) = outcome.violations.into_iter().next() {
            self.broken.push((outcome.seed, violation));
        }
    }

    /// V2 speaks of many runs: all but one in a hundred have exactly one submission.
    pub fn often_enough(&self) -> bool {
        let (calm, once) = self.calm;
        calm < 100 || once * 100 >= calm * 99
    }

    /// How often each promise was checked, those of the design first.
    pub fn counts(&self) -> String {
        let others = self.checks.keys().filter(|rule| !RULES.contains(rule)).copied();
        let count =
            |rule: &'static str| format!("{rule} {}", self.checks.get(rule).copied().unwrap_or_default());
        RULES.into_iter().chain(others).map(count).collect::<Vec<_>>().join(", ")
    }
}

/// Runs `seeds` seeds from `first` on. `each` is called with all outcomes in the order of the seeds; when it answers
/// `false`, or the time is up, no more seeds are begun.
pub fn run(
    first: u64,
    seeds: u64,
    threads: usize,
    limit: Duration,
    metamorphic: u64,
    scenario: impl Fn(u64) -> Scenario + Sync,
    mut each: impl FnMut(Outcome) -> bool,
) {
    let start = Instant::now();
    let next = AtomicU64::new(first);
    let end = first.saturating_add(seeds);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(threads * 64);
        for _ in 0..threads {
            let sender = sender.clone();
            let (next, scenario) = (&next, &scenario);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || start.elapsed() > limit {
                        break;
                    }
                    if sender.send(simulate(scenario(seed), metamorphic)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut wanted = first;
        for outcome in receiver {
            waiting.insert(outcome.seed, outcome);
            while let Some(outcome) = waiting.remove(&wanted) {
                wanted += 1;
                if !each(outcome) {
                    next.store(end, Ordering::Relaxed);
                    return;
                }
            }
        }
    });
}
