//! The page: what was simulated, and the tables.

use std::fmt::Write;
use std::time::Duration;

use super::Row;
use super::failover::{Fault, SUBMISSION, TIERS, TIMEOUT};
use super::uptime::{LIMITS, Share, Uptime};

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

fn percent(share: f64) -> String {
    // So many digits that it is not rounded to certainty.
    let text = format!("{:.1} %", share * 100.0);
    if share < 1.0 && text.starts_with("100") { "> 99.9 %".into() } else { text }
}

fn counted(share: &Share) -> String {
    let (low, high) = share.interval();
    let (least, most) = share.expected;
    let expected = if (most - least).abs() < 1e-9 {
        percent(most)
    } else {
        format!("{} to {}", percent(least), percent(most))
    };
    let mark = if share.as_expected() { "" } else { " **not as expected**" };
    format!("{} ({} to {}), expected {expected}{mark}", percent(share.value()), percent(low), percent(high))
}

/// The whole page.
pub fn text(rows: &[Row], uptime: &Uptime) -> String {
    let mut page = String::from(
        "# What failover costs, simulated\n\n\
         Written by `make sim-report`; do not edit. Every figure but those of the last section was measured in the simulator, which runs the real protocol \
         code with simulated time, network, disks and chain; all of it is decided by seeds, so the same code writes the same \
         page.\n\n\
         ![From completion to submission, by faulty coordinators](simulation-report.svg)\n\n",
    );
    failover(&mut page, rows);
    likelihood(&mut page, uptime);
    page
}

fn failover(page: &mut String, rows: &[Row]) {
    let _ = write!(
        page,
        "## From completion to submission\n\n\
         The first f signers of the priority list are faulty, the worst place for them; all others are honest, alive and \
         connected, and have an observer. The broadcast timeout is the default, {} s. A frame takes 20 to 50 ms, a synced \
         write 2 ms, a submission {} ms.\n\n\
         Measured is the time from the moment at which the first honest signer holds the signatures to the first submission \
         that reaches the network, and how many submissions follow that one before the transaction is final. Up to n = 20 \
         each line is the worst of several runs (20 at n = 5, 2 at n = 20; 1 at n = 100, where not every f was run but those \
         around the ends of tiers).\n\n\
         - *silent*: connected, never submits, never says why. *lying*: says that it submitted, and claims so to all others. \
         *NACKing*: cannot reach the network and says so. *partitioned*: loses every connection and its way to the network \
         once all hold the signatures, so that the next turn opens early, a second later.\n\
         - *V1* is the bound of the design: turns before the first one with an honest signer × timeout + one delivery + the \
         way of the submission. The run fails, and nothing is written, if any measurement is above it, or (NACKs and partitions \
         aside) below turns × timeout, or a partition costs less than a second or more than that, a question and two deliveries.\n\n",
        TIMEOUT.as_secs(),
        SUBMISSION.as_millis(),
    );
    let mut heading = (0, "");
    for line in rows.chunks(Fault::ALL.len()) {
        let Some(first) = line.first() else { continue };
        let name = TIERS.iter().find(|(tiers, _)| *tiers == first.case.tiers).map_or("", |(_, name)| name);
        if heading != (first.case.signers, name) {
            heading = (first.case.signers, name);
            let _ = write!(
                page,
                "\n### n = {}, {name}\n\n| f | turns | V1, s | {} |\n|---|---|---|{}\n",
                first.case.signers,
                Fault::ALL.map(|fault| format!("{}, s | duplicates", fault.name())).join(" | "),
                "---|---|".repeat(Fault::ALL.len()),
            );
        }
        let cells: Vec<String> = line
            .iter()
            .map(|row| format!("{} | {}", seconds(row.worst.waited), row.worst.duplicates))
            .collect();
        let (faulty, turns) = (first.case.faulty, first.case.turns());
        let _ = writeln!(
            page,
            "| {faulty} | {turns} | {} | {} |",
            seconds(first.case.bound()),
            cells.join(" | ")
        );
    }
}

fn likelihood(page: &mut String, uptime: &Uptime) {
    let _ = write!(
        page,
        "\n## Signers that are there 90 % of the time\n\n\
         Each cell: measured (Wilson's interval of 95 %), expected.\n\n\
         ### Signing\n\n\
         Each signer, by itself, is away and there in turn, as a phone that is suspended: it keeps its memory and its disk, \
         but has no connection. Both times are exponentially distributed; it is there nine times as long as it is away, \
         and at the beginning as likely as ever after. The proposer is there when it proposes. Applications consent as \
         soon as they are asked. *Success* is that somebody holds the finished signatures within the limit, given in mean \
         absences (an expiry of one day and phones that are away for two hours at a time: 12).\n\n\
         All n signers must have been there, for consent, for their nonces and for their partial signatures, but not at the \
         same time: who was there passes on what the others said. The expectation is an interval. Above: everybody has been \
         there once, `(1 - 0.1 e^-t)^(n-1)`. Below: three such waits one after the other, each as if nothing were known of \
         where the signers were before.\n\n\
         | n | sessions | {} |\n|---|---|{}\n",
        LIMITS.map(|limit| if limit == 0 { "at once".into() } else { format!("within {limit}") }).join(" | "),
        "---|".repeat(LIMITS.len()),
    );
    for (signers, shares) in &uptime.signing {
        let sessions = shares.first().map_or(0, |share| share.of);
        let cells: Vec<String> = shares.iter().map(counted).collect();
        let _ = writeln!(page, "| {signers} | {sessions} | {} |", cells.join(" | "));
    }
    let _ = write!(
        page,
        "\n### Broadcasting\n\n\
         Twenty signers hold the signatures; at that moment each is suspended with a probability of 10 %, by itself, and \
         does not come back. *Success* is a submission that reaches the network. It needs one holder that is there, whoever \
         it is, so with time it fails only if all n are away: `0.1^n`. By the end of turn k it is `1 - 0.1^a`, where a is the \
         number of signers in the turns up to k, and all turns are regular: early turns are switched off here, and only make it \
         sooner. Applications and Bitcoin nodes do their part.\n\n\
         | tiers | watches | first turn | second turn | third turn |\n|---|---|---|---|---|\n",
    );
    for (name, shares) in &uptime.broadcast {
        let watches = shares.first().map_or(0, |share| share.of);
        let cells: Vec<String> = shares.iter().map(counted).collect();
        let _ = writeln!(page, "| {name} | {watches} | {} |", cells.join(" | "));
    }
    let _ = write!(
        page,
        "\n## Exactly one submission\n\n\
         Five honest, connected signers, tiers of one. Delays of up to a second, submissions and observations of up to \
         5 s, observers that lag up to a fifth of the timeout, by seed. V2 promises more than 99 %.\n\n\
         | sessions | submitted exactly once |\n|---|---|\n| {} | {} |\n",
        uptime.once.of,
        counted(&uptime.once),
    );
}
