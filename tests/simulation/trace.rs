//! A violation, as somebody can read and replay it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::campaign::{METAMORPHIC, simulate};
use crate::checks::Violation;
use crate::run::Run;
use crate::scenario::Scenario;

/// Leaves out what is not needed for the violation.
fn minimise(scenario: &Scenario, rule: &str) -> Scenario {
    let breaks = |candidate: &Scenario| {
        simulate(candidate.clone(), METAMORPHIC).violations.iter().any(|violation| violation.rule == rule)
    };
    let mut smallest = scenario.clone();
    let attempt = |smallest: &mut Scenario, change: &dyn Fn(&mut Scenario)| {
        let mut candidate = smallest.clone();
        change(&mut candidate);
        let smaller = breaks(&candidate);
        if smaller {
            *smallest = candidate;
        }
        smaller
    };
    // Halves, quarters, … then one by one.
    let mut width = smallest.faults.len().max(1);
    while width > 0 {
        let mut position = 0;
        while position < smallest.faults.len() {
            let end = (position + width).min(smallest.faults.len());
            if !attempt(&mut smallest, &|candidate| drop(candidate.faults.drain(position..end))) {
                position += width;
            }
        }
        width /= 2;
    }
    for node in 0..smallest.parts.len() {
        if smallest.parts[node].byzantine.is_some() {
            attempt(&mut smallest, &|candidate| candidate.parts[node].byzantine = None);
        }
    }
    attempt(&mut smallest, &|candidate| candidate.twin = None);
    attempt(&mut smallest, &|candidate| (candidate.duplicates, candidate.reorders) = (0, false));
    attempt(&mut smallest, &|candidate| {
        (candidate.jitter, candidate.sign) = (Duration::ZERO, Duration::ZERO)
    });
    smallest
}

/// Prints what happened, how to see it again, and the least that it takes.
pub fn report(scenario: &Scenario, violation: &Violation) {
    println!("seed {} breaks {}: {}", scenario.seed, violation.rule, violation.what);
    let real = if scenario.real { " REAL=1" } else { "" };
    println!("replay: make sim SEEDS=1 SEED={}{real}", scenario.seed);
    let smallest = minimise(scenario, violation.rule);
    println!("what it takes, of {} events:", scenario.faults.len());
    for (at, fault) in &smallest.faults {
        println!("  {at:>12.3?}  {fault:?}");
    }
    for (node, part) in smallest.parts.iter().enumerate() {
        println!("  node {node}: {part:?}");
    }
    println!(
        "  delay {:?} jitter {:?} sync {:?} sign {:?} chain {:?} heals at {:?} duplicates {} reorders {} twin {:?}",
        smallest.delay,
        smallest.jitter,
        smallest.sync,
        smallest.sign,
        smallest.chain,
        smallest.heals_at,
        smallest.duplicates,
        smallest.reorders,
        smallest.twin
    );
    let left = simulate(smallest.clone(), METAMORPHIC)
        .violations
        .into_iter()
        .find(|left| left.rule == violation.rule);
    if let Some(left) = left {
        println!("  breaks {}: {}", left.rule, left.what);
    }
    let mut run = Run::new(smallest);
    let played = catch_unwind(AssertUnwindSafe(|| {
        run.carry_out();
        run.settle();
    }));
    let mut trace: Vec<(Duration, usize, String)> = Vec::new();
    for (node, state) in run.cluster.nodes.iter().enumerate() {
        for (at, event) in state.events.iter() {
            let text = format!("{:?}", event.event);
            trace.push((*at, node, text.chars().take(100).collect()));
        }
    }
    for submission in &run.cluster.chain.submissions {
        trace.push((submission.at, submission.node, format!("SUBMITS {}", submission.txid)));
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
