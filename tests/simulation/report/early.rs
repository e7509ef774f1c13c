//! What each reason for an early turn is worth, and what it costs in duplicates.

use std::fmt::Write;
use std::time::Duration;

use libmusig::EarlyTurns;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::{Content, Envelope};
use libmusig::protocol::failover::{Pace, SeenBy};
use libmusig::protocol::limits::PACE_FROM;
use libmusig::protocol::proposal::{Broadcast, FailoverPolicy, Tiers};

use test_support::cluster::{Broadcaster, Cluster, Options};

use super::failover::{SUBMISSION, TIMEOUT};

const TITLE: &str = "## Early turns, each by itself";
const SIGNERS: usize = 5;
/// How long the transactions took that every node knows from before.
const TOOK: Duration = Duration::from_secs(2);
/// After what time a slow coordinator submits.
const SLOW: Duration = Duration::from_secs(7);

/// Which reasons are switched on, with their names.
const SWITCHES: [(EarlyTurns, &str); 5] = [
    (EarlyTurns::OFF, "off"),
    (EarlyTurns { gone: true, ..EarlyTurns::OFF }, "gone"),
    (EarlyTurns { hold: true, ..EarlyTurns::OFF }, "hold"),
    (EarlyTurns { pace: true, ..EarlyTurns::OFF }, "pace"),
    (EarlyTurns { gone: true, hold: true, pace: true }, "all"),
];

/// What the first coordinators do once all hold the signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Silent,
    Lying,
    Slow,
    Nacking,
    Rejected,
    Killed,
    CutOff,
    NotHolding,
}

impl Fault {
    const ALL: [Self; 8] = [
        Self::Silent,
        Self::Lying,
        Self::Slow,
        Self::Nacking,
        Self::Rejected,
        Self::Killed,
        Self::CutOff,
        Self::NotHolding,
    ];

    fn name(self) -> &'static str {
        ["silent", "lying", "slow", "NACKing", "rejected", "killed", "cut off", "not holding"][self as usize]
    }

    fn broadcaster(self) -> Broadcaster {
        match self {
            Self::Lying => Broadcaster::Lies,
            Self::Nacking => Broadcaster::Unreachable,
            Self::Rejected => Broadcaster::Rejects("policy".into()),
            _ => Broadcaster::Hangs,
        }
    }
}

/// From the moment at which the first honest signer held the signatures to the first submission, and how many came after it.
fn measure(early: EarlyTurns, fault: Fault, faulty: usize) -> (Duration, usize) {
    let mut options = Options { chain: SUBMISSION, ..Options::new(SIGNERS) };
    options.settings.early_turns = early;
    let mut cluster = Cluster::idle(options);
    let mut pace = Pace::default();
    (0..PACE_FROM).for_each(|_| pace.note(SeenBy::Observer, TOOK));
    for node in 0..SIGNERS {
        cluster.nodes[node].disk.set_pace(pace.encode());
        cluster.start(node);
    }
    cluster.run_for(Duration::from_secs(1));
    // The first of the list are the first of the proposal.
    for node in 0..faulty {
        cluster.nodes[node].broadcaster = fault.broadcaster();
    }
    if fault == Fault::NotHolding {
        cluster.on_frame = Some(Box::new(move |_, to, frame| {
            let partial = |bytes: &Vec<u8>| {
                let envelope = Envelope::decode(bytes).ok();
                envelope.is_some_and(|envelope| matches!(envelope.content(), Content::Partial { .. }))
            };
            to >= faulty || frame.certificates.is_empty() && !frame.envelopes.iter().any(partial)
        }));
    }
    let session = cluster.create(SIGNERS - 1, |terms| {
        terms.election_method = ElectionMethod::FirstSigner;
        terms.broadcast =
            Broadcast::Failover(FailoverPolicy { broadcast_timeout: TIMEOUT, tiers: Tiers::Single });
    });
    let held = cluster.run_until(Duration::from_secs(10), |cluster| {
        (faulty..SIGNERS).all(|node| cluster.became_holder(node, &session).is_some())
    });
    assert!(held, "{fault:?}: the others hold the signatures");
    let first = (faulty..SIGNERS).filter_map(|node| cluster.became_holder(node, &session)).min();
    let first = first.expect("they hold them");
    for node in 0..faulty {
        match fault {
            Fault::Killed => cluster.crash(node),
            Fault::CutOff => cluster.pull(node, true),
            _ => {}
        }
    }
    if fault == Fault::Slow && faulty > 0 {
        let txid = cluster.engine(SIGNERS - 1).final_transaction(&session).expect("a holder").txid;
        cluster.after(SLOW, move |cluster| {
            let now = cluster.now();
            cluster.chain.submit(0, txid, now);
        });
    }
    let submitted =
        cluster.run_until(TIMEOUT * SIGNERS as u32, |cluster| !cluster.chain.submissions.is_empty());
    assert!(submitted, "{fault:?}: somebody submits");
    cluster.run_for(TIMEOUT * 2);
    let submissions = &cluster.chain.submissions;
    (submissions[0].at - first, submissions.len() - 1)
}

/// What is wrong with a measurement, if anything is: a bound of V1, V2 or V11.
fn check(
    early: EarlyTurns,
    fault: Fault,
    faulty: usize,
    waited: Duration,
    duplicates: usize,
) -> Option<String> {
    let turns = faulty as u32;
    let second = Duration::from_secs(1);
    // A question, a submission, a few deliveries.
    let way = second / 2;
    let each = match fault {
        Fault::Killed if early.gone => second,
        Fault::CutOff if early.gone => 4 * second,
        Fault::NotHolding if early.hold => 5 * second,
        Fault::Nacking | Fault::Rejected => second / 2,
        _ if early.pace => 10 * second,
        _ => TIMEOUT,
    };
    let most = match fault {
        Fault::Slow if faulty > 0 => SLOW + way,
        _ => each * turns + way,
    };
    (waited > most || duplicates > 0).then(|| {
        format!("{} with {faulty} {}: {waited:?} and {duplicates} duplicates", name(early), fault.name())
    })
}

fn name(early: EarlyTurns) -> &'static str {
    SWITCHES.iter().find(|(switch, _)| *switch == early).map_or("", |(_, name)| name)
}

/// The section.
pub fn text() -> Result<String, String> {
    let mut page = format!(
        "{TITLE}\n\n\
         Written by `REPORT=early` too. Five signers in a mesh, tiers of one, {} s; each node knows {PACE_FROM} transactions that were seen after \
         {} s. The first f of the list fail once the others hold the signatures. *slow*: the first one submits after {} s. *NACKing*: it reaches no \
         backend. *rejected*: its backend takes the transaction from nobody. *killed*: its connections end. *cut off*: they stay, and nothing comes on \
         them. *not holding*: connected, without the signatures. Columns: no reason for an early turn, one of them, all of them. \
         Seconds from the signatures to the first submission. The run fails if one has a second submission, or costs more than a turn for \
         each of the f (half a second with NACKs; with *gone* 1 s or, cut off, 4 s; with *hold* 5 s; with *pace* 10 s).\n\n\
         | fault | f | {} |\n|---|---|{}\n",
        TIMEOUT.as_secs(),
        TOOK.as_secs(),
        SLOW.as_secs(),
        SWITCHES.map(|(_, name)| name).join(" | "),
        "---|".repeat(SWITCHES.len()),
    );
    for fault in Fault::ALL {
        for faulty in 1..SIGNERS {
            if fault == Fault::Slow && faulty > 1 {
                continue;
            }
            let mut cells = Vec::new();
            for (early, _) in SWITCHES {
                let (waited, duplicates) = measure(early, fault, faulty);
                if let Some(wrong) = check(early, fault, faulty, waited, duplicates) {
                    return Err(wrong);
                }
                cells.push(format!("{:.2}", waited.as_secs_f64()));
            }
            let _ = writeln!(page, "| {} | {faulty} | {} |", fault.name(), cells.join(" | "));
        }
    }
    Ok(page)
}

/// The page with this section in place of the one that it has. `next`: the title of the section after it.
pub fn replaced(page: &str, section: &str, next: &str) -> String {
    let (before, after) = page.split_once(next).unwrap_or((page, ""));
    let before = before.split(TITLE).next().unwrap_or_default();
    let after = if after.is_empty() { String::new() } else { format!("\n{next}{after}") };
    format!("{}\n\n{section}{after}", before.trim_end())
}
