//! Two ideas that were looked at and not built: tiers whose delays are drawn, and waits that are scaled by a signer's record.
//! Unlike the rest of the report these are small models, not runs of the protocol's code: it has no such delays, and would need
//! another proposal for them. Each conclusion in the text is checked against the figures before anything is written.

use std::fmt::Write;

use test_support::cluster::Random;

/// The broadcast timeout, in seconds.
const TIMEOUT: f64 = 300.0;
/// From a submission until the others see it: anything between these, in seconds.
const SEEN: (f64, f64) = (1.0, 5.0);
/// The pace that follows from that: `max(10 s, 3 · q99 + 2 s)`.
const PACE: f64 = 3.0 * (SEEN.0 + 0.99 * (SEEN.1 - SEEN.0)) + 2.0;
/// Sessions for each figure.
const SESSIONS: u64 = 4000;
/// Where the section begins in the page.
pub const TITLE: &str = "## Two ideas that were not built";

/// From 0 to 1.
fn unit(random: &mut Random) -> f64 {
    random.below(1 << 30) as f64 / (1_u64 << 30) as f64
}

fn between(random: &mut Random, (low, high): (f64, f64)) -> f64 {
    low + (high - low) * unit(random)
}

// ---- Delays that are drawn ----

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Single,
    Doubling,
    /// The elected coordinator at once, all others evenly in the rest of one timeout after this share of it.
    Spread(f64),
}

/// Mean time to the first submission, in seconds, and mean submissions after it that nobody needed.
#[derive(Clone, Copy, Debug)]
struct Cost {
    time: f64,
    duplicates: f64,
}

fn delay(order: Order, place: usize, timeout: f64, random: &mut Random) -> f64 {
    match order {
        Order::Single => place as f64 * timeout,
        // 1, 2, 4, … signers.
        Order::Doubling => f64::from((place + 1).ilog2()) * timeout,
        Order::Spread(_) if place == 0 => 0.0,
        Order::Spread(share) => (share + (1.0 - share) * unit(random)) * timeout,
    }
}

/// `dead` of the signers, by lot, do nothing, and nothing shows that they do not.
fn spread(order: Order, signers: usize, dead: usize, timeout: f64) -> Cost {
    let mut random = Random::new(0x5b1e_ad00 + signers as u64 * 1000 + dead as u64);
    let (mut time, mut duplicates) = (0.0, 0);
    for _ in 0..SESSIONS {
        let mut places: Vec<usize> = (0..signers).collect();
        for index in 0..dead {
            let other = index + random.below((signers - index) as u64) as usize;
            places.swap(index, other);
        }
        let alive = places[dead..].iter();
        let mut delays: Vec<f64> = alive.map(|place| delay(order, *place, timeout, &mut random)).collect();
        delays.sort_by(f64::total_cmp);
        let seen = delays[0] + between(&mut random, SEEN);
        time += delays[0];
        duplicates += delays[1..].iter().filter(|delay| **delay < seen).count();
    }
    Cost { time: time / SESSIONS as f64, duplicates: duplicates as f64 / SESSIONS as f64 }
}

fn numbers(signers: usize) -> Vec<usize> {
    let mut numbers = vec![0, 1, signers / 4, signers / 2, signers - 1];
    numbers.dedup();
    numbers
}

/// The table, and what it must show for the text to be true.
fn spread_section(page: &mut String) -> Result<(), String> {
    let _ = write!(
        page,
        "### Drawn delays (`Spread`)\n\n\
         Instead of turns each signer but the elected coordinator could have a delay of its own within one timeout, drawn from \
         session id and key so that everybody can check it: however many are dead, about one timeout passes. *Evenly*: from 0 to \
         the timeout. *After a tenth*: from a tenth of the timeout on.\n\n\
         Of n signers f are dead, by lot, and are connected and hold the signatures all the same, so that neither *gone* nor \
         *hold* passes them over. A submission is seen by the others {} to {} s later, and whoever sees it stays quiet. Each cell: \
         mean seconds to the first submission, mean duplicates; {SESSIONS} sessions. Once with the whole timeout of {} s, and \
         once with the pace that such a network leads to, {PACE:.0} s, in place of it.\n\n\
         | n | f | timeout, s | Single | Doubling | Spread, evenly | Spread, after a tenth |\n|---|---|---|---|---|---|---|\n",
        SEEN.0, SEEN.1, TIMEOUT,
    );
    for timeout in [TIMEOUT, PACE] {
        for signers in [5, 20, 100] {
            for dead in numbers(signers) {
                let orders = [Order::Single, Order::Doubling, Order::Spread(0.0), Order::Spread(0.1)];
                let costs = orders.map(|order| spread(order, signers, dead, timeout));
                let cells = costs.map(|cost| format!("{:.1}, {:.2}", cost.time, cost.duplicates));
                let _ = writeln!(page, "| {signers} | {dead} | {timeout:.0} | {} |", cells.join(" | "));
                let [_, doubling, even, later] = costs;
                let claim = |holds: bool, what: &str| {
                    let case = format!("n = {signers}, f = {dead}, {timeout:.0} s: {costs:?}");
                    holds.then_some(()).ok_or(format!("{what} is not so at {case}"))
                };
                if dead == 0 {
                    claim(even.duplicates > 0.01, "an even Spread breaks V2")?;
                    claim(later.duplicates < 0.01 || timeout == PACE, "one after a tenth does not")?;
                } else if timeout == TIMEOUT {
                    claim(later.time < doubling.time, "Spread is faster than Doubling")?;
                } else {
                    claim(dead > signers / 2 || doubling.time < 11.0, "the pace makes Doubling short")?;
                    claim(doubling.time < 90.0, "it makes it short with one alive")?;
                    claim(later.duplicates >= doubling.duplicates, "Spread has more duplicates")?;
                }
            }
        }
    }
    let _ = write!(
        page,
        "\nAn even `Spread` breaks V2 (one submission in more than 99 % of the sessions in which nobody is dead). One after a tenth \
         keeps it, and where the whole timeout has to be waited for, because the pace is switched off or not known yet, it is \
         clearly faster than `Doubling`, by minutes where most signers are dead and nothing shows it. The pace, which is on by default \
         and known after 20 sessions, gains most of that with the tiers that are there, without a term that all have to understand: \
         with it `Doubling` takes less than 11 s where up to half of the signers are dead, and less than 90 s of one hundred where one is \
         alive, and `Spread` costs more duplicates. So it is not on the wire. Whoever cannot use the pace chooses a shorter timeout.\n\n",
    );
    Ok(())
}

// ---- Waits by record ----

/// How long the next signer waits for a coordinator that is connected and holds the signatures.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wait {
    /// So long, whoever it is.
    Same(f64),
    /// So long, times what the node's own record says of its reliability.
    Record(f64),
    /// The same with the true share of the sessions in which it submits, which nobody knows.
    Truth(f64),
}

/// Of five signers the first submits in half of its sessions, the others in 99 of 100.
const RELIABLE: [f64; 5] = [0.5, 0.99, 0.99, 0.99, 0.99];
const DAYS: u64 = 400;
const YEARS: u64 = 50;
/// What a day leaves of a verdict: half of it in 30 days.
const EACH_DAY: f64 = 0.977_159_968_434_245_9;

/// Mean seconds to the first submission in sessions in which it was not the elected coordinator's; duplicates in a thousand
/// sessions; and what the records say in the end of the first signer.
#[derive(Clone, Copy, Debug)]
struct Recorded {
    time: f64,
    duplicates: f64,
    believed: f64,
}

fn recorded(wait: Wait) -> Recorded {
    let mut random = Random::new(0x4ec0_4d00);
    let (mut time, mut failed, mut duplicates, mut sessions, mut believed) = (0.0, 0_u32, 0_u32, 0_u32, 0.0);
    for _ in 0..YEARS {
        // Successes and failures, as the record of one node has them.
        let mut records = [(0.0, 0.0); RELIABLE.len()];
        let reliability = |(good, bad): (f64, f64)| (4.0 + good) / (5.0 + good + bad);
        for _ in 0..DAYS {
            let mut order: Vec<usize> = (0..RELIABLE.len()).collect();
            (1..order.len())
                .rev()
                .for_each(|index| order.swap(index, random.below(index as u64 + 1) as usize));
            for (good, bad) in &mut records {
                (*good, *bad) = (*good * EACH_DAY, *bad * EACH_DAY);
            }
            // One in fifty has a slow backend.
            let slow = order
                .clone()
                .iter()
                .map(|_| random.chance(20).then(|| unit(&mut random) * 60.0))
                .collect::<Vec<_>>();
            let (mut opens, mut first) = (0.0, None::<(usize, f64)>);
            let mut opened = Vec::new();
            let seen_after = between(&mut random, SEEN);
            for (turn, signer) in order.iter().enumerate() {
                if first.is_some_and(|(_, at)| at + seen_after <= opens) {
                    break;
                }
                opened.push(opens);
                if unit(&mut random) < RELIABLE[*signer] {
                    let at = opens + slow[turn].unwrap_or(0.1);
                    if let Some((_, before)) = first {
                        duplicates += 1;
                        first = (at < before).then_some((turn, at)).or(first);
                    } else {
                        first = Some((turn, at));
                    }
                }
                opens += match wait {
                    Wait::Same(longest) => longest,
                    Wait::Record(longest) => longest * reliability(records[*signer]),
                    Wait::Truth(longest) => longest * RELIABLE[*signer],
                };
            }
            sessions += 1;
            let Some((_, submitted)) = first else { continue };
            let seen = submitted + seen_after;
            if first.is_some_and(|(turn, _)| turn > 0) {
                (time, failed) = (time + submitted, failed + 1);
            }
            // The verdicts of src/protocol/failover/judgement.rs: against the timeout, never against an earlier opening.
            let over = order.iter().take_while({
                let mut end = 0.0;
                move |_| {
                    end += TIMEOUT;
                    seen >= end
                }
            });
            let over = over.count();
            order[..over].iter().for_each(|signer| records[*signer].1 += 1.0);
            let last = opened.len() - 1;
            if last >= over {
                records[order[last]].0 += 1.0;
            }
        }
        believed += reliability(records[0]);
    }
    Recorded {
        time: time / f64::from(failed.max(1)),
        duplicates: f64::from(duplicates) / f64::from(sessions) * 1000.0,
        believed: believed / YEARS as f64,
    }
}

fn record_section(page: &mut String) -> Result<(), String> {
    let rows = [
        ("the timeout", Wait::Same(TIMEOUT)),
        ("the timeout × record", Wait::Record(TIMEOUT)),
        ("the pace", Wait::Same(PACE)),
        ("the pace × record", Wait::Record(PACE)),
        ("the pace × 0.8, whoever it is", Wait::Same(PACE * 0.8)),
        ("the pace × the truth, which nobody knows", Wait::Truth(PACE)),
    ];
    let _ = write!(
        page,
        "### Waits by record\n\n\
         A node remembers how often another signer's turn sufficed, and how often a whole timeout passed and somebody else's \
         submission came after it (`Node::reputation`: Beta(4, 1) before the first verdict, half-life 30 days). It could wait less \
         for a signer with a bad record: its pace × its reliability. Five signers, a session a day for {DAYS} days, {YEARS} times, \
         the order drawn anew each time. One signer does nothing in half of its sessions, the others in one of a hundred; all are \
         connected and hold the signatures, for who is gone costs a second with any record. In one of fifty submissions the \
         backend takes up to 60 s.\n\n\
         | the next signer waits for | mean time to the first submission where it was not the elected coordinator's, s | duplicates \
         in 1,000 sessions | reliability of the bad signer, as recorded (in truth 0.50) |\n|---|---|---|---|\n",
    );
    let costs = rows.map(|(name, wait)| {
        let cost = recorded(wait);
        let _ =
            writeln!(page, "| {name} | {:.1} | {:.1} | {:.2} |", cost.time, cost.duplicates, cost.believed);
        cost
    });
    let [timeout, scaled, pace, paced, flat, truth] = costs;
    let claim = |holds: bool, what: &str| holds.then_some(()).ok_or(format!("{what} is not so: {costs:?}"));
    claim(timeout.believed < 0.65, "a record knows the bad signer if nobody is passed over early")?;
    claim(
        scaled.believed > 0.85 && paced.believed > 0.85,
        "a record that shortens waits learns nothing bad",
    )?;
    claim(pace.time < scaled.time / 10.0, "the pace alone beats the record alone")?;
    claim(paced.time < pace.time && paced.time > flat.time, "a factor for all gains more than the record")?;
    claim(pace.time - truth.time < 10.0, "even the truth gains seconds")?;
    let _ = write!(
        page,
        "\nA record knows the bad signer as long as everybody is waited for by the whole timeout. As soon as waits are shorter, by \
         the record itself or by the pace, it learns nothing bad of anybody any more: a signer is passed over before its timeout is \
         over, which is no failure. What is left of the scaling is less than a flat factor for everybody gives, and such a factor is \
         another pace. The pace alone gains {:.0} times as much time as the record alone. Even the truth would gain {:.0} s more, in those \
         sessions only. So the record is kept and can be read, and no wait depends on it.\n",
        (timeout.time - pace.time) / (timeout.time - scaled.time),
        pace.time - truth.time,
    );
    Ok(())
}

// ---- The section ----

/// The section of the page. `Err`: the text says what the figures do not.
pub fn text() -> Result<String, String> {
    let mut page = format!(
        "{TITLE}\n\n\
         These figures are of two small models in `tests/simulation/report/models.rs`, and not of the protocol's code, which has \
         neither. What is said of them is checked against them before this page is written, and by each run of the simulator's \
         tests.\n\n",
    );
    spread_section(&mut page)?;
    record_section(&mut page)?;
    Ok(page)
}

/// The page with this section in place of the one it has, at its end.
pub fn replaced(page: &str, section: &str) -> String {
    let before = page.split(TITLE).next().unwrap_or_default();
    format!("{}\n\n{section}", before.trim_end())
}
