//! Every checker is worth something: for each there is a deliberate break of the protocol that it finds.

use std::time::Duration;

use libmusig::mutation::{self, Mutation};

use crate::campaign::{METAMORPHIC, Outcome, Total, run};
use crate::scenario::Scenario;

/// Within how many seeds each is to be found.
const SEEDS: u64 = 1000;

/// What is broken, and whose it is to find.
const MUTATIONS: [(Mutation, &str); 51] = [
    (Mutation::RandomnessRepeats, "S1"),
    (Mutation::SameAttemptAgain, "S2"),
    (Mutation::CertificateUnverified, "S3"),
    (Mutation::MismatchIsGuilt, "S4"),
    (Mutation::ClaimIsEvidence, "S5"),
    (Mutation::FinalAtOnce, "S5"),
    (Mutation::NoSignerZero, "S6"),
    (Mutation::ConsentNotAsked, "S7"),
    (Mutation::AbortStopsNothing, "S7"),
    (Mutation::UnverifiedInputsJoined, "S7"),
    (Mutation::MissingCoinsJoined, "S7"),
    (Mutation::ForeignWitnessBelieved, "S7"),
    (Mutation::BlindUnasked, "S7"),
    (Mutation::PlacesWithoutLimit, "S8"),
    (Mutation::OldProofsKept, "S8"),
    (Mutation::ClaimMakesAsk, "S9"),
    (Mutation::FirstEndingStays, "S10"),
    (Mutation::AimedKeys, "S11"),
    (Mutation::RootIsScalar, "S11"),
    (Mutation::ReplacementPausesForEver, "S12"),
    (Mutation::SubmissionWaitsForDisk, "S12"),
    (Mutation::ExpiryForgets, "S12"),
    (Mutation::AbortTakesTurn, "S12"),
    (Mutation::AbandonTakesTurn, "S12"),
    (Mutation::CloseEndsWatch, "S12"),
    (Mutation::SignOnlyTakesTurn, "S12"),
    (Mutation::ReplacementEnds, "S13"),
    (Mutation::VerifiedAgain, "S14"),
    (Mutation::LongerTurns, "V1"),
    (Mutation::PaceBeyondTimeout, "V1"),
    (Mutation::LooksTooLate, "V2"),
    (Mutation::AskFirstTooLong, "V11"),
    (Mutation::ReturnMissesTurn, "V3"),
    (Mutation::ClaimStartsClock, "V4"),
    (Mutation::LossUnnoticed, "V5"),
    (Mutation::LostAtOnce, "V5"),
    (Mutation::ReconnectBeginsAgain, "V6"),
    (Mutation::ProofNotSent, "V7"),
    (Mutation::NackCountsForOthers, "V8"),
    (Mutation::LockIgnored, "V8"),
    (Mutation::AlarmTooEarly, "V8"),
    (Mutation::NobodyMissing, "V9"),
    (Mutation::NeverExpires, "V10"),
    (Mutation::ReportedAgain, "V10"),
    (Mutation::GoneWithoutGrace, "V11"),
    (Mutation::StarIsGone, "V11"),
    (Mutation::SilenceIsIgnored, "V11"),
    (Mutation::AsksForEver, "V11"),
    (Mutation::SkewOfNothing, "clocks"),
    (Mutation::CountsAgain, "counters"),
    (Mutation::ReputationFromClaims, "counters"),
];

/// Those that take the algebra of real keys (`REAL=1`), which the double has not.
const REAL: [Mutation; 2] = [Mutation::AimedKeys, Mutation::RootIsScalar];

/// Runs seeds until one breaks this promise, or any if none is named. The seed, and the promises that it breaks.
fn hunt(
    mutation: Option<Mutation>,
    rule: Option<&str>,
    real: bool,
    metamorphic: u64,
    first: u64,
    seeds: u64,
    threads: usize,
) -> Option<(u64, Vec<&'static str>)> {
    let mut total = Total::default();
    let mut found = None;
    let scenario = |seed| {
        // The switch is the thread's own, and each seed begins in the thread that runs it.
        mutation::set(mutation);
        Scenario { real, ..Scenario::new(seed) }
    };
    run(first, seeds, threads, Duration::MAX, metamorphic, scenario, |outcome: Outcome| {
        let seed = outcome.seed;
        let mut rules: Vec<&'static str> =
            outcome.violations.iter().map(|violation| violation.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        total.add(outcome);
        if rules.is_empty() && !total.often_enough() {
            rules.push("V2");
        }
        if rules.is_empty() || rule.is_some_and(|rule| !rules.contains(&rule)) {
            return true;
        }
        found = Some((seed, rules));
        false
    });
    found
}

/// Runs all of them, and prints a table. `true`: each was found by the checker that it is for, and without them the same
/// seeds break nothing.
pub fn check(first: u64, threads: usize, only: Option<&str>) -> bool {
    let mut good = true;
    // The last seed that it took, with the double and with real keys.
    let mut last: [Option<u64>; 2] = [None; 2];
    println!("| mutation | checker | seeds until it is found | promises that this seed breaks |");
    println!("|---|---|---|---|");
    for (mutation, rule) in MUTATIONS {
        let name = format!("{mutation:?}");
        if only.is_some_and(|only| only != name && only != rule) {
            continue;
        }
        // What takes several runs of each seed is left to the checker that needs it.
        let metamorphic = if rule == "S9" { 1 } else { u64::MAX };
        let real = REAL.contains(&mutation);
        match hunt(Some(mutation), Some(rule), real, metamorphic, first, SEEDS, threads) {
            Some((seed, rules)) => {
                let how = if real { ", with `REAL=1`" } else { "" };
                println!("| {name} | {rule} | {} | {}{how} |", seed - first + 1, rules.join(", "));
                last[usize::from(real)] = last[usize::from(real)].max(Some(seed));
            }
            None => {
                println!("| {name} | {rule} | NOT in {SEEDS} | |");
                good = false;
            }
        }
    }
    for (real, how) in [(false, ""), (true, " with REAL=1")] {
        let Some(last) = last[usize::from(real)] else { continue };
        match hunt(None, None, real, METAMORPHIC, first, last - first + 1, threads) {
            None => println!("without a mutation seeds {first} to {last} break nothing{how}"),
            Some((seed, rules)) => {
                println!("WITHOUT a mutation seed {seed} breaks {}{how}", rules.join(", "));
                good = false;
            }
        }
    }
    good
}
