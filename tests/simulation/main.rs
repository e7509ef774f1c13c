//! The simulator: random faults by seed, and the promises of the design checked after each run.
//!
//! `SEEDS=1000 SEED=1 cargo test --profile simulation --no-default-features --test simulation`

mod byzantine;
mod checks;
mod run;
mod scenario;
#[path = "../support/mod.rs"]
mod simulated;
mod speed;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use checks::{Checker, Violation};
use run::{EXPIRY, Run};
use scenario::Scenario;
use simulated::memory::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// What came out of one seed.
#[derive(Default)]
struct Outcome {
    violations: Vec<Violation>,
    sessions: u64,
    checks: u64,
    calm: (u64, u64),
}

fn simulate(scenario: Scenario) -> Outcome {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut run = Run::new(scenario);
        let mut checker = Checker::default();
        run.carry_out();
        run.settle();
        checker.after_settling(&mut run);
        let now = run.cluster.now();
        run.cluster.chain.mine_blocks(10, now);
        run.cluster.run_for(Duration::from_secs(120));
        checker.after_blocks(&mut run);
        let rest = (EXPIRY + Duration::from_secs(5)).saturating_sub(run.cluster.now());
        run.cluster.leap(rest);
        checker.after_expiry(&mut run);
        Outcome {
            sessions: run.sessions.len() as u64,
            checks: checker.checks,
            calm: checker.calm,
            violations: checker.violations,
        }
    }));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = text.unwrap_or_default();
        Outcome { violations: vec![Violation { rule: "panic", what }], ..Outcome::default() }
    })
}

/// Leaves out what is not needed for the violation.
fn minimise(scenario: &Scenario, rule: &str) -> Scenario {
    let breaks = |candidate: &Scenario| {
        simulate(candidate.clone()).violations.iter().any(|violation| violation.rule == rule)
    };
    let mut smallest = scenario.clone();
    let mut position = 0;
    while position < smallest.faults.len() {
        let mut candidate = smallest.clone();
        candidate.faults.remove(position);
        if breaks(&candidate) {
            smallest = candidate;
        } else {
            position += 1;
        }
    }
    for node in 0..smallest.parts.len() {
        let mut candidate = smallest.clone();
        if candidate.parts[node].byzantine.take().is_some() && breaks(&candidate) {
            smallest = candidate;
        }
    }
    smallest
}

fn report(scenario: &Scenario, violation: &Violation) {
    println!("seed {} breaks {}: {}", scenario.seed, violation.rule, violation.what);
    println!("replay: make sim SEEDS=1 SEED={}", scenario.seed);
    let smallest = minimise(scenario, violation.rule);
    println!("what it takes, of {} events:", scenario.faults.len());
    for (at, fault) in &smallest.faults {
        println!("  {at:>12.3?}  {fault:?}");
    }
    for (node, part) in smallest.parts.iter().enumerate() {
        println!("  node {node}: {part:?}");
    }
    println!(
        "  delay {:?} jitter {:?} sync {:?} sign {:?} chain {:?} heals at {:?}",
        smallest.delay, smallest.jitter, smallest.sync, smallest.sign, smallest.chain, smallest.heals_at
    );
    let mut run = Run::new(smallest);
    let played = catch_unwind(AssertUnwindSafe(|| {
        run.carry_out();
        run.settle();
    }));
    let mut trace: Vec<(Duration, usize, String)> = Vec::new();
    for (node, state) in run.cluster.nodes.iter().enumerate() {
        for (at, event) in &state.events {
            let mut text = format!("{:?}", event.event);
            text = text.chars().take(100).collect();
            trace.push((*at, node, text));
        }
    }
    trace.sort();
    // What is said again and again is shown three times.
    let mut times: BTreeMap<(usize, String), u32> = BTreeMap::new();
    trace.retain(|(_, node, text)| {
        let name = text.split([' ', '{']).next().unwrap_or_default().to_owned();
        let said = times.entry((*node, name)).or_default();
        *said += 1;
        *said <= 3
    });
    for (at, node, text) in trace.iter().take(200) {
        println!("  {at:>12.3?}  node {node}: {text}");
    }
    if played.is_err() {
        println!("  and then it panics");
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> ExitCode {
    if std::env::var_os("SPEED").is_some() {
        speed::measure();
        return ExitCode::SUCCESS;
    }
    let (first, seeds) = (number("SEED", 1), number("SEEDS", 300));
    let limit = Duration::from_secs(number("SECONDS", u64::MAX / 2));
    let quiet = std::panic::take_hook();
    if seeds > 1 {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let start = Instant::now();
    let mut total = Outcome::default();
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    let (mut done, mut broken, mut told) = (0, 0, Instant::now());
    let mut by_rule: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in first..first + seeds {
        if start.elapsed() > limit {
            break;
        }
        let scenario = Scenario::new(seed);
        for (_, fault) in &scenario.faults {
            *faults.entry(fault.kind()).or_default() += 1;
        }
        let outcome = simulate(scenario.clone());
        done += 1;
        total.sessions += outcome.sessions;
        total.checks += outcome.checks;
        total.calm = (total.calm.0 + outcome.calm.0, total.calm.1 + outcome.calm.1);
        if let Some(violation) = outcome.violations.first() {
            *by_rule.entry(violation.rule).or_default() += 1;
            broken += 1;
            if broken <= number("REPORTS", 3) {
                report(&scenario, violation);
            }
        }
        if std::io::stdout().is_terminal() && told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            println!("{done} of {seeds} seeds, {} sessions, {broken} violations", total.sessions);
        }
    }
    std::panic::set_hook(quiet);
    let (calm, once) = total.calm;
    if once * 100 < calm * 99 {
        *by_rule.entry("V2").or_default() += 1;
        broken += 1;
        println!("V2: only {once} of {calm} calm sessions had exactly one submission");
    }
    let count: u64 = faults.values().sum();
    let listed: Vec<String> = faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("faults: {}", listed.join(", "));
    println!("checks: {}; calm sessions: {calm}, submitted exactly once: {once}", total.checks);
    if broken > 0 {
        println!("violations by rule: {by_rule:?}");
    }
    let speed = total.sessions as f64 / start.elapsed().as_secs_f64();
    println!(
        "{{\"seeds\":{done},\"sessions\":{},\"faults\":{count},\"violations\":{broken},\"sessions_per_second\":{speed:.0}}}",
        total.sessions
    );
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
