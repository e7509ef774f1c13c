//! `make bench`: what the project promises, measured in one run beside the limit or the peer it is compared with, as one
//! table. `QUICK=1` takes three minutes; `TOPICS=load,turns` measures these alone; `cargo test --bench table` runs
//! everything once, with the smallest input, and judges no figure.

#[cfg(feature = "capi")]
mod boundary;
mod builds;
mod delay;
mod disk;
mod election;
mod flood;
mod floor;
mod harness;
mod latency;
mod load;
mod memory;
mod musig2;
mod signers;
mod simulator;
mod turns;

use std::path::Path;

use harness::{Size, Table};

type Topic = (&'static str, fn(&mut Table));

const TOPICS: &[Topic] = &[
    ("election", election::run),
    ("musig2", musig2::run),
    ("latency", latency::run),
    ("load", load::run),
    ("turns", turns::run),
    #[cfg(feature = "capi")]
    ("boundary", boundary::run),
    ("memory", memory::run),
    ("simulator", simulator::run),
    ("builds", builds::run),
];

/// Rows that others rely on.
const NAMED: [&str; 11] = [
    "musig2_n5_ratio",
    "cpu_per_session_ratio",
    "sessions_limit_share",
    "five_processes_ms",
    "five_processes_ratio",
    "wan_ratio",
    "rss_idle_mib",
    "watch_bytes",
    "syncs_under_load",
    "turn_lateness_ms",
    "simulator_per_core",
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(signers::FLAG) => return signers::run(arguments),
        Some(floor::FLAG) => return floor::run(arguments),
        _ => {}
    }
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // `cargo bench` says so, and `cargo test` does not.
    let size = match std::env::args().any(|argument| argument == "--bench") {
        false => Size::Once,
        true if set("QUICK").is_some() => Size::Quick,
        true => Size::Full,
    };
    let chosen = set("TOPICS");
    let is_chosen =
        |name: &str| chosen.as_ref().is_none_or(|chosen| chosen.split(',').any(|one| one == name));
    let mut table = Table::new(size);
    for (name, measure) in TOPICS.iter().filter(|(name, _)| is_chosen(name)) {
        table.topic(name, measure);
    }
    if chosen.is_none() {
        NAMED.iter().for_each(|id| assert!(table.has(id), "there is no row {id}"));
    }
    if size == Size::Once {
        // For tests/suites/count.sh.
        println!("test result: ok. {} passed; 0 failed (rows of make bench)", table.len());
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.json");
    let text = serde_json::to_string_pretty(&table.json()).expect("is JSON");
    std::fs::write(&path, text + "\n").expect("can be written");
    println!("{} rows, {} missed their targets; written to target/bench.json", table.len(), table.missed());
}
