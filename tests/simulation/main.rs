//! The simulator: random faults by seed, and the promises of the design checked during and after each run.
//!
//! `make sim SEEDS=1000 SEED=1`, `make sim-mutations`. See docs/simulation.md.

mod aims;
mod byzantine;
mod campaign;
mod checks;
mod generate;
#[cfg(feature = "mutations")]
mod mutations;
mod report;
mod run;
mod scenario;
mod speed;
mod timeline;
mod trace;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use campaign::Total;
use scenario::Scenario;
use test_support::memory::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    number("THREADS", cores as u64).max(1) as usize
}

#[cfg(feature = "mutations")]
fn mutations() -> bool {
    let only = std::env::var("MUTATION").ok().filter(|name| !name.is_empty());
    mutations::check(number("SEED", 1), threads(), only.as_deref())
}

#[cfg(not(feature = "mutations"))]
fn mutations() -> bool {
    println!("the mutations are compiled in with `--features mutations` only");
    false
}

fn simulate() -> bool {
    let (first, seeds) = (number("SEED", 1), number("SEEDS", 300));
    let real = number("REAL", 0) != 0;
    let limit = Duration::from_secs(number("SECONDS_LIMIT", u64::MAX / 2));
    let scenario = |seed| Scenario { real, ..Scenario::new(seed) };
    let start = Instant::now();
    let mut total = Total::default();
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    let mut told = Instant::now();
    let tell_every = Duration::from_secs(if std::io::stdout().is_terminal() { 1 } else { 60 });
    campaign::run(first, seeds, threads(), limit, campaign::METAMORPHIC, scenario, |outcome| {
        scenario(outcome.seed).count_faults(&mut faults);
        let broken = outcome.violations.first().map(|violation| (violation.rule, outcome.seed));
        total.add(outcome);
        if let Some((rule, seed)) = broken {
            println!("{rule} broken by seed {seed}");
        }
        if told.elapsed() > tell_every {
            told = Instant::now();
            let broken = total.broken.len();
            println!("{} of {seeds} seeds, {} sessions, {broken} violations", total.seeds, total.sessions);
        }
        true
    });
    let speed = total.sessions as f64 / start.elapsed().as_secs_f64();
    for (seed, violation) in total.broken.iter().take(number("REPORTS", 3) as usize) {
        trace::report(&scenario(*seed), violation);
    }
    let mut by_rule: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    total.broken.iter().for_each(|(seed, violation)| by_rule.entry(violation.rule).or_default().push(*seed));
    let (calm, once) = total.calm;
    let mut violations = total.broken.len();
    if !total.often_enough() {
        violations += 1;
        println!("V2: only {once} of {calm} calm sessions had exactly one submission");
    }
    let count: u64 = faults.values().sum();
    let listed: Vec<String> = faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("faults: {}", listed.join(", "));
    println!("checks: {}", total.counts());
    println!("calm sessions: {calm}, submitted exactly once: {once}; digest {:016x}", total.digest);
    for (rule, seeds) in by_rule {
        println!("{rule} broken by seeds {:?}", &seeds[..seeds.len().min(20)]);
    }
    println!(
        "{{\"seeds\":{},\"sessions\":{},\"faults\":{count},\"violations\":{violations},\"sessions_per_second\":{speed:.0}}}",
        total.seeds, total.sessions
    );
    violations == 0
}

fn main() -> ExitCode {
    let mode = |name: &str| std::env::var_os(name).is_some();
    if let Some(report) = std::env::var_os("REPORT") {
        let good = match report.to_str() {
            Some("check") => report::check(threads()),
            Some("models") => report::make_models(),
            Some("early") => report::make_early(threads()),
            _ => report::make(threads()),
        };
        return if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if mode("SPEED") {
        speed::measure();
        return ExitCode::SUCCESS;
    }
    let quiet = std::panic::take_hook();
    if number("SEEDS", 300) > 1 {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let good = if mode("MUTATIONS") { mutations() } else { simulate() };
    std::panic::set_hook(quiet);
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
