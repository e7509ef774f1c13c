//! `make sim-report`: how failover behaves, measured, against the formula of V1; and what can be expected of signers that
//! are not always there. Writes docs/simulation-report.md, its charts, and the figures of early turns. Each run is decided
//! by its seed, so it writes the same again.

mod chart;
mod early;
mod early_chart;
mod failover;
mod models;
mod page;
mod uptime;

use std::fs::{read_to_string, write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use failover::{Case, Fault, Measured, TIERS};

const PAGE: &str = "docs/simulation-report.md";

/// One line of the table: the worst wait and the most duplicates of several runs.
pub struct Row {
    pub case: Case,
    pub worst: Measured,
}

/// For how many faulty coordinators a number of signers is measured, and how often.
fn plan(signers: usize) -> (Vec<usize>, u64) {
    match signers {
        0..=5 => ((0..signers).collect(), 20),
        6..=20 => ((0..signers).collect(), 2),
        // Where a tier ends, and far from it.
        _ => (vec![0, 1, 3, 7, 15, 31, 50, 63, 99], 1),
    }
}

/// Runs all of these on so many threads. The order of the results is that of the jobs.
pub fn all<J: Sync, R: Send>(jobs: &[J], threads: usize, run: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (next, run, send) = (&next, &run, send.clone());
            scope.spawn(move || {
                while let Some((number, job)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(number).map(|job| (number, job))
                } {
                    let _ = send.send((number, run(job)));
                }
            });
        }
    });
    drop(send);
    let mut results: Vec<(usize, R)> = receive.into_iter().collect();
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

fn measure(
    signers: &[usize],
    plan: impl Fn(usize) -> (Vec<usize>, u64),
    threads: usize,
) -> Result<Vec<Row>, String> {
    let mut cases = Vec::new();
    for signers in signers.iter().copied() {
        let (counts, runs) = plan(signers);
        for (tiers, _) in TIERS {
            for faulty in &counts {
                for fault in Fault::ALL {
                    cases.extend((1..=runs).map(|seed| Case {
                        signers,
                        tiers,
                        fault,
                        faulty: *faulty,
                        seed,
                    }));
                }
            }
        }
    }
    let measured = all(&cases, threads, Case::run);
    let mut rows: Vec<Row> = Vec::new();
    for (case, measured) in cases.into_iter().zip(measured) {
        case.check(&measured)?;
        if case.seed > 1
            && let Some(row) = rows.last_mut()
        {
            row.worst.waited = row.worst.waited.max(measured.waited);
            row.worst.duplicates = row.worst.duplicates.max(measured.duplicates);
        } else {
            rows.push(Row { case, worst: measured });
        }
    }
    Ok(rows)
}

/// A small selection, for the tests. Answers whether V1's formula held.
pub fn check(threads: usize) -> bool {
    let few = |signers: usize| {
        let counts = if signers == 5 { (0..5).collect() } else { vec![0, 2, 3, 7, 19] };
        (counts, 1)
    };
    match measure(&[5, 20], few, threads) {
        Ok(rows) => {
            println!("report: the formula of V1 held in {} cases", rows.len());
            let notices = notices();
            if !notices {
                println!("report: turns that last too long are not noticed");
            }
            notices && committed_models() && committed_early(threads)
        }
        Err(broken) => {
            println!("report: V1 does not hold: {broken}");
            false
        }
    }
}

/// Whether this check finds it if turns last longer than they should.
#[cfg(feature = "mutations")]
fn notices() -> bool {
    use libmusig::mutation::{Mutation, set};

    let case = Case { signers: 5, tiers: TIERS[0].0, fault: Fault::Silent, faulty: 2, seed: 1 };
    set(Some(Mutation::LongerTurns));
    let broken = case.check(&case.run()).is_err();
    set(None);
    broken
}

/// Nothing can be broken on demand in this build.
#[cfg(not(feature = "mutations"))]
fn notices() -> bool {
    true
}

/// Whether the models give what the committed page says.
fn committed_models() -> bool {
    let page = read_to_string(PAGE).unwrap_or_default();
    let good = models::text().is_ok_and(|section| models::replaced(&page, &section) == page);
    if !good {
        println!("report: {PAGE} does not say what the models give; run REPORT=models");
    }
    good
}

/// Whether early turns give what the committed page, chart and figures say.
fn committed_early(threads: usize) -> bool {
    let page = read_to_string(PAGE).unwrap_or_default();
    match early::Report::measure(threads) {
        Ok(report) if report.replaced(&page, models::TITLE) == page && report.is_committed() => true,
        Ok(_) => {
            println!("report: {PAGE} does not say what early turns give; run REPORT=early");
            false
        }
        Err(wrong) => {
            println!("report: an early turn costs too much: {wrong}");
            false
        }
    }
}

/// Measures early turns, and writes their section, chart and figures alone.
pub fn make_early(threads: usize) -> bool {
    let report =
        early::Report::measure(threads).map_err(|wrong| println!("an early turn costs too much: {wrong}"));
    let page = read_to_string(PAGE).map_err(|error| println!("the report cannot be read: {error}"));
    let (Ok(report), Ok(page)) = (report, page) else { return false };
    report.write().and_then(|()| write(PAGE, report.replaced(&page, models::TITLE))).is_ok()
}

/// Runs the models, and writes their section alone.
pub fn make_models() -> bool {
    let section = models::text().map_err(|wrong| println!("the text of the models is wrong: {wrong}"));
    let page = read_to_string(PAGE).map_err(|error| println!("the report cannot be read: {error}"));
    let (Ok(section), Ok(page)) = (section, page) else { return false };
    write(PAGE, models::replaced(&page, &section)).is_ok()
}

/// Measures everything and writes the two files. Answers whether V1's formula held.
pub fn make(threads: usize) -> bool {
    let rows = match measure(&[5, 20, 100], plan, threads) {
        Ok(rows) => rows,
        Err(broken) => {
            println!("V1 does not hold, nothing is written: {broken}");
            return false;
        }
    };
    println!("{} cases of failover measured", rows.len());
    let models = match models::text() {
        Ok(models) => models,
        Err(wrong) => {
            println!("the text of the models is wrong, nothing is written: {wrong}");
            return false;
        }
    };
    let early = match early::Report::measure(threads) {
        Ok(early) => early,
        Err(wrong) => {
            println!("an early turn costs too much, nothing is written: {wrong}");
            return false;
        }
    };
    let uptime = uptime::measure(threads);
    let text = early.replaced(&page::text(&rows, &uptime), models::TITLE);
    let written = write("docs/simulation-report.svg", chart::draw(&rows))
        .and_then(|()| early.write())
        .and_then(|()| write(PAGE, models::replaced(&text, &models)));
    match written {
        Ok(()) => println!("docs/simulation-report.md and docs/simulation-report.svg are written"),
        Err(error) => println!("the report cannot be written: {error}"),
    }
    true
}
