//! What each reason for an early turn is worth, and what it costs in duplicates: by fault, tiers, and who is connected with
//! whom.

use std::fmt::Write;
use std::fs::{read_to_string, write};
use std::time::Duration;

use libmusig::EarlyTurns;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::{Content, Envelope};
use libmusig::protocol::failover::{Pace, SeenBy};
use libmusig::protocol::limits::PACE_FROM;
use libmusig::protocol::proposal::{Broadcast, FailoverPolicy, Tiers};

use test_support::cluster::{Broadcaster, Cluster, Options};

use super::failover::{Measured, SUBMISSION, TIERS, TIMEOUT};
use super::{all, early_chart};

const TITLE: &str = "## Early turns, each by itself";
pub const SIGNERS: usize = 5;
/// How long the transactions took that every node knows from before.
const TOOK: Duration = Duration::from_secs(2);
/// After what time a slow coordinator submits.
const SLOW: Duration = Duration::from_secs(7);

/// Which reasons are switched on, with their names.
pub const SWITCHES: [(EarlyTurns, &str); 5] = [
    (EarlyTurns::OFF, "off"),
    (EarlyTurns { gone: true, ..EarlyTurns::OFF }, "gone"),
    (EarlyTurns { hold: true, ..EarlyTurns::OFF }, "hold"),
    (EarlyTurns { pace: true, ..EarlyTurns::OFF }, "pace"),
    (EarlyTurns { gone: true, hold: true, pace: true }, "all"),
];

/// Who is connected with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Everybody with everybody.
    Mesh,
    /// Everybody with the last of the list alone, as behind address translation.
    Star,
    /// Each with the next of the list alone.
    Line,
}

impl Shape {
    pub const ALL: [Self; 3] = [Self::Mesh, Self::Star, Self::Line];

    pub fn name(self) -> &'static str {
        ["mesh", "star", "line"][self as usize]
    }

    fn connects(self, one: usize, other: usize) -> bool {
        match self {
            Self::Mesh => true,
            Self::Star => one.max(other) == SIGNERS - 1,
            Self::Line => one.abs_diff(other) == 1,
        }
    }
}

/// What the first coordinators do once all hold the signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
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
    pub const ALL: [Self; 8] = [
        Self::Silent,
        Self::Lying,
        Self::Slow,
        Self::Nacking,
        Self::Rejected,
        Self::Killed,
        Self::CutOff,
        Self::NotHolding,
    ];

    pub fn name(self) -> &'static str {
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

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub shape: Shape,
    pub tiers: Tiers,
    pub fault: Fault,
    /// The first so many of the list are faulty.
    pub faulty: usize,
    pub early: EarlyTurns,
}

/// A case and what came out of it.
pub type Row = (Case, Measured);

impl Case {
    fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for shape in Shape::ALL {
            for (tiers, _) in TIERS {
                for fault in Fault::ALL {
                    for faulty in 0..SIGNERS {
                        let case = |(early, _)| Self { shape, tiers, fault, faulty, early };
                        cases.extend(SWITCHES.map(case));
                    }
                }
            }
        }
        cases
    }

    /// Where the turns end in the list. By arithmetic, not by the code that is tested.
    fn ends(&self) -> Vec<usize> {
        let ends: &[usize] = match self.tiers {
            Tiers::Single => &[1, 2, 3, 4, 5],
            Tiers::Fixed(_) => &[3, 5],
            Tiers::Doubling => &[1, 3, 5],
        };
        ends.to_vec()
    }

    /// What is wrong with a measurement, if anything is: a bound of V1, V2 or V11.
    fn check(&self, measured: &Measured) -> Option<String> {
        let Self { shape, fault, faulty, early, .. } = *self;
        let ends = self.ends();
        let turn = ends.iter().position(|end| *end > faulty).expect("somebody is honest");
        let (turns, second) = (turn as u32, Duration::from_secs(1));
        // A question, a submission, a few deliveries.
        let way = second / 2;
        let mesh = shape == Shape::Mesh;
        let each = match fault {
            Fault::Nacking | Fault::Rejected => second / 2,
            Fault::Killed if early.gone && mesh => second,
            Fault::CutOff if early.gone && mesh => 4 * second,
            Fault::NotHolding if early.hold && mesh => 5 * second,
            _ if early.pace => 10 * second,
            _ => TIMEOUT,
        };
        let most = if fault == Fault::Slow && turns > 0 { SLOW + way } else { each * turns + way };
        let told = matches!(fault, Fault::Nacking | Fault::Rejected | Fault::Slow);
        let least = if early == EarlyTurns::OFF && !told { TIMEOUT * turns } else { Duration::ZERO };
        // Whoever is slow submits all the same.
        let submit = if fault == Fault::Slow { ends[0] } else { ends[turn] - faulty };
        let Measured { waited, duplicates } = *measured;
        (waited < least || waited > most || duplicates >= submit)
            .then(|| format!("{self:?}: {waited:?}, not {least:?} to {most:?}, and {duplicates} duplicates"))
    }

    fn run(&self) -> Measured {
        let Self { shape, tiers, fault, faulty, early } = *self;
        let mut options = Options { chain: SUBMISSION, ..Options::new(SIGNERS) };
        options.settings.early_turns = early;
        let mut cluster = Cluster::idle(options);
        let mut pace = Pace::default();
        (0..PACE_FROM).for_each(|_| pace.note(SeenBy::Observer, TOOK));
        for node in 0..SIGNERS {
            for other in (0..node).filter(|other| !shape.connects(*other, node)) {
                cluster.cut(other, node, true);
            }
            cluster.nodes[node].disk.set_pace(pace.encode());
            cluster.start(node);
        }
        cluster.run_for(Duration::from_secs(1));
        // The first of the list are the first of the proposal.
        for node in 0..faulty {
            cluster.nodes[node].broadcaster = fault.broadcaster();
        }
        if fault == Fault::NotHolding {
            // They pass on what the others need of them, and get of the others what is no signature.
            cluster.on_frame =
                Some(Box::new(move |_, to, frame| to >= faulty || frame.certificates.is_empty()));
            cluster.on_envelope = Some(Box::new(move |_, to, envelope: &Envelope| {
                let partial = matches!(envelope.content(), Content::Partial { .. });
                let withheld = to < faulty && partial && envelope.body().signer >= faulty;
                if withheld { Vec::new() } else { vec![envelope.clone()] }
            }));
        }
        let session = cluster.create(SIGNERS - 1, |terms| {
            terms.election_method = ElectionMethod::FirstSigner;
            terms.broadcast = Broadcast::Failover(FailoverPolicy { broadcast_timeout: TIMEOUT, tiers });
        });
        let held = cluster.run_until(Duration::from_secs(10), |cluster| {
            (faulty..SIGNERS).all(|node| cluster.became_holder(node, &session).is_some())
        });
        assert!(held, "{self:?}: the others hold the signatures");
        let first = (faulty..SIGNERS).filter_map(|node| cluster.became_holder(node, &session)).min();
        let first = first.expect("they hold them");
        for node in 0..faulty {
            match fault {
                Fault::Killed => cluster.crash(node),
                Fault::CutOff => cluster.pull(node, true),
                _ => {}
            }
        }
        let txid = cluster.engine(SIGNERS - 1).final_transaction(&session).expect("a holder").txid;
        // Those whose turn it is at once.
        for node in (0..faulty.min(self.ends()[0])).filter(|_| fault == Fault::Slow) {
            cluster.after(SLOW, move |cluster| {
                let now = cluster.now();
                cluster.chain.submit(node, txid, now);
            });
        }
        let submitted =
            cluster.run_until(TIMEOUT * SIGNERS as u32, |cluster| !cluster.chain.submissions.is_empty());
        assert!(submitted, "{self:?}: somebody submits");
        cluster.run_for(TIMEOUT * 2);
        let submissions = &cluster.chain.submissions;
        Measured { waited: submissions[0].at - first, duplicates: submissions.len() - 1 }
    }
}

/// The section, its chart, and all figures.
pub struct Report {
    section: String,
    chart: String,
    table: String,
}

const CHART: &str = "docs/simulation-early-turns.svg";
const TABLE: &str = "docs/simulation-early-turns.csv";

impl Report {
    /// Measures all of it, on so many threads. The error says what costs too much, or comes too early.
    pub fn measure(threads: usize) -> Result<Self, String> {
        let cases = Case::all();
        let measured = all(&cases, threads, Case::run);
        let rows: Vec<Row> = cases.into_iter().zip(measured).collect();
        if let Some(wrong) = rows.iter().find_map(|(case, measured)| case.check(measured)) {
            return Err(wrong);
        }
        Ok(Self { section: section(&rows), chart: early_chart::draw(&rows), table: table(&rows) })
    }

    /// The page with this section in place of the one that it has. `next`: the title of the section after it.
    pub fn replaced(&self, page: &str, next: &str) -> String {
        let (before, after) = page.split_once(next).unwrap_or((page, ""));
        let before = before.split(TITLE).next().unwrap_or_default();
        let after = if after.is_empty() { String::new() } else { format!("\n{next}{after}") };
        format!("{}\n\n{}{after}", before.trim_end(), self.section)
    }

    /// Whether the committed chart and figures are these.
    pub fn is_committed(&self) -> bool {
        let is = |path: &str, text: &String| read_to_string(path).is_ok_and(|committed| committed == *text);
        is(CHART, &self.chart) && is(TABLE, &self.table)
    }

    pub fn write(&self) -> std::io::Result<()> {
        write(CHART, &self.chart)?;
        write(TABLE, &self.table)
    }
}

fn name_of(tiers: Tiers) -> &'static str {
    TIERS.iter().find(|(other, _)| *other == tiers).map_or("", |(_, name)| name)
}

fn seconds(measured: &Measured) -> String {
    format!("{:.2}", measured.waited.as_secs_f64())
}

/// All that was measured, for other programs.
fn table(rows: &[Row]) -> String {
    let mut text = String::from("connected,tiers,fault,f");
    for (_, name) in SWITCHES {
        let _ = write!(text, ",{name} s,{name} duplicates");
    }
    text.push('\n');
    for line in rows.chunks(SWITCHES.len()) {
        let case = line[0].0;
        let (shape, tiers, fault) = (case.shape.name(), name_of(case.tiers), case.fault.name());
        let _ = write!(text, "{shape},{tiers},{fault},{}", case.faulty);
        for (_, measured) in line {
            let _ = write!(text, ",{},{}", seconds(measured), measured.duplicates);
        }
        text.push('\n');
    }
    text
}

fn section(rows: &[Row]) -> String {
    let file = |path: &'static str| path.trim_start_matches("docs/");
    let mut page = format!(
        "{TITLE}\n\n\
         Written by `REPORT=early` too. Five signers, {} s; each node knows {PACE_FROM} transactions that were seen after {} s. The \
         first f of the list fail once the others hold the signatures. *silent*, *lying*: as above. *slow*: those whose turn it is submit \
         after {} s. *NACKing*: it reaches no backend. *rejected*: its backend takes the transaction from nobody. *killed*: its connections \
         end. *cut off*: they stay, and nothing comes on them. *not holding*: connected, without the signatures. *off*: no reason for an \
         early turn; then one of them; then all. *mesh*: everybody is connected with everybody. *star*: all with the last of the list \
         alone. *line*: each with the next of the list alone. All figures, with f from 0 to {} and all tiers: [{}]({}).\n\n\
         ![From completion to submission, by fault, switch, tiers and connections]({})\n\n\
         What one sees:\n\n\
         - With all reasons on no fault costs more than 10 s for each turn that fails, and 0.2 s, whoever is connected with whom: the \
         pace is each node's own and needs no connection with the coordinator. Without any it is 300 s for each.\n\
         - *gone* and *hold* are what a node sees of signers that it is connected with. In a mesh coordinators that died cost 1 s, and those \
         whose cable was pulled 4 s, however many they are; each one without the signatures costs 5 s. In a star only the centre sees \
         that, and its turn is the last here: it passes over those that failed, and waits for the honest ones before it as for \
         anybody. In a line only the neighbour does, so the last of those that failed is passed over, and no other.\n\
         - A NACK is passed on: 0.2 s for each, also through others, and without any reason for an early turn.\n\
         - Who is slow, and submits within the pace, is waited for: one submission.\n\
         - Early turns add no duplicates: there are never more than the honest signers of the turn less one, as without them; in a star \
         they may be fewer, for the centre opens its turn alone.\n\n\
         The run fails if one of them costs more than its bound (a turn for each tier of faulty signers; half a second with a NACK; with \
         *pace* 10 s; in a mesh with *gone* 1 s or, cut off, 4 s, with *hold* 5 s), comes before the regular turn with no reason for it, or has more \
         duplicates than these.\n",
        TIMEOUT.as_secs(),
        TOOK.as_secs(),
        SLOW.as_secs(),
        SIGNERS - 1,
        file(TABLE),
        file(TABLE),
        file(CHART),
    );
    for shape in Shape::ALL {
        let _ = write!(
            page,
            "\n### {}, tiers of one\n\nSeconds from the signatures to the only submission.\n\n| fault | f | {} |\n|---|---|{}\n",
            ["Mesh", "Star", "Line"][shape as usize],
            SWITCHES.map(|(_, name)| name).join(" | "),
            "---|".repeat(SWITCHES.len()),
        );
        let of_fault = |fault: Fault| -> Vec<String> {
            let few = |faulty: usize| [1, 2, 4].contains(&faulty) && (fault != Fault::Slow || faulty == 1);
            let here = rows.chunks(SWITCHES.len()).filter(|line| {
                let case = line[0].0;
                case.shape == shape && case.tiers == Tiers::Single && case.fault == fault && few(case.faulty)
            });
            here.map(|line| {
                let cells: Vec<String> = line.iter().map(|(_, measured)| seconds(measured)).collect();
                format!("{} | {} |", line[0].0.faulty, cells.join(" | "))
            })
            .collect()
        };
        // Faults that cost the same are named together.
        for alike in Fault::ALL.chunk_by(|one, other| of_fault(*one) == of_fault(*other)) {
            let names: Vec<&str> = alike.iter().map(|fault| fault.name()).collect();
            for line in of_fault(alike[0]) {
                let _ = writeln!(page, "| {} | {line}", names.join(", "));
            }
        }
    }
    tiers(&mut page, rows);
    page
}

/// What wider tiers gain and cost.
fn tiers(page: &mut String, rows: &[Row]) {
    let names = Shape::ALL.map(Shape::name);
    let _ = write!(
        page,
        "\n### Tiers, with all reasons on\n\n\
         The longest wait of all faults but *slow*, and the most duplicates.\n\n| tiers | f | {} |\n|---|---|{}\n",
        names.map(|name| format!("{name}, s | duplicates")).join(" | "),
        "---|---|".repeat(names.len()),
    );
    for (tiers, name) in TIERS {
        for faulty in 0..SIGNERS {
            let cells = Shape::ALL.map(|shape| {
                let every = SWITCHES[SWITCHES.len() - 1].0;
                let here = rows.iter().filter(|(case, _)| {
                    let alike = case.shape == shape && case.tiers == tiers && case.faulty == faulty;
                    alike && case.early == every && case.fault != Fault::Slow
                });
                let none = Measured { waited: Duration::ZERO, duplicates: 0 };
                let worst = here.fold(none, |worst, (_, one)| Measured {
                    waited: worst.waited.max(one.waited),
                    duplicates: worst.duplicates.max(one.duplicates),
                });
                format!("{} | {}", seconds(&worst), worst.duplicates)
            });
            let _ = writeln!(page, "| {name} | {faulty} | {} |", cells.join(" | "));
        }
    }
}
