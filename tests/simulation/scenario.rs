//! What happens in a run, decided by its seed before it begins: so a part of it can be left out, and the rest is the
//! same.

use std::time::Duration;

use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::proposal::Tiers;

use crate::simulated::cluster::{Broadcaster, Duty, Random};

/// What a byzantine signer does.
#[derive(Clone, Debug, Default)]
pub struct Byzantine {
    /// Signers to whom it does it; others get what is right.
    pub targets: Vec<bool>,
    pub withholds_nonces: bool,
    pub withholds_partials: bool,
    pub hides_certificates: bool,
    pub other_nonces: bool,
    pub unusable_nonces: bool,
    pub bad_partial: bool,
    pub lies_about_transcript: bool,
    pub breaks_rules: bool,
    /// Says everything twice, and old things again.
    pub repeats: bool,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Part {
    pub observer: bool,
    pub broadcaster: bool,
    pub claims: bool,
    pub nacks: bool,
    pub dead_after: Option<Duration>,
    pub duty: Duty,
    pub reaction: Duration,
    pub skew: i64,
    pub byzantine: Option<Byzantine>,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Plan {
    pub proposer: usize,
    pub method: ElectionMethod,
    pub tiers: Tiers,
    pub enabled: bool,
    pub timeout: Duration,
    pub raw: bool,
    pub messages: usize,
    /// Replaces the session before it.
    pub replaces: bool,
}

/// Something goes wrong, or right again.
#[derive(Clone, Debug)]
pub enum Fault {
    Create(Plan),
    Cut(usize, usize, bool),
    Lose(usize, usize, u64),
    Slow(usize, usize, Duration),
    CutOff(usize, bool),
    Crash {
        node: usize,
        keep: usize,
    },
    /// It dies when it has done this many more things.
    CrashIn {
        node: usize,
        outputs: u64,
        keep: usize,
    },
    Start(usize),
    Sleep(usize),
    Wake(usize),
    Skew(usize, i64),
    Broadcaster(usize, Broadcaster),
    Lag(usize, Option<Duration>),
    Mine,
    Evict,
    Reorganise(usize),
    Conflict,
    Snapshot(usize),
    Rollback(usize),
    Claim(usize),
    Nack(usize),
    Abort(usize),
    Close(usize),
    Notify(usize),
    BroadcastNow(usize),
}

impl Fault {
    /// For the summary.
    pub fn kind(&self) -> String {
        let text = format!("{self:?}");
        text.split([' ', '(', '{']).next().unwrap_or_default().to_lowercase()
    }
}

/// Everything that a seed decides.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub delay: Duration,
    pub jitter: Duration,
    pub sync: Duration,
    pub sign: Duration,
    pub chain: Duration,
    pub final_depth: u32,
    pub parts: Vec<Part>,
    pub faults: Vec<(Duration, Fault)>,
    /// From then on nothing goes wrong but what byzantine signers do.
    pub heals_at: Duration,
    /// All nodes are alike, connected and honest: what V2 speaks of.
    pub calm: bool,
}

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let n = [1, 2, 3, 3, 4, 5, 5, 5, 5, 5, 7, 10][random.below(12) as usize];
        let n = if random.chance(5) { 40 } else { n };
        let calm = random.chance(200);
        let observers = random.chance(700);
        let broadcasters = random.chance(700);
        let byzantine = if calm || !random.chance(350) { 0 } else { random.below(n as u64) as usize };
        let mut parts: Vec<Part> = (0..n).map(|_| part(&mut random, observers, broadcasters, calm)).collect();
        for _ in 0..byzantine {
            let node = random.below(n as u64) as usize;
            parts[node].byzantine = Some(misbehaviour(&mut random, n));
        }
        let milliseconds = |random: &mut Random, most: u64| Duration::from_millis(random.below(most + 1));
        let mut scenario = Self {
            seed,
            delay: Duration::from_millis(1 + random.below(60)),
            jitter: milliseconds(&mut random, 40),
            sync: milliseconds(&mut random, 10),
            sign: if random.chance(300) { milliseconds(&mut random, 20) } else { Duration::ZERO },
            chain: Duration::from_millis(5 + random.below(300)),
            final_depth: 1 + random.below(6) as u32,
            parts,
            faults: Vec::new(),
            heals_at: Duration::from_secs(20 + random.below(60)),
            calm,
        };
        for session in 0..1 + random.below(3) {
            let plan = plan(&mut random, n, session > 0, calm);
            let at = Duration::from_millis(100) + random.duration(scenario.heals_at / 4);
            scenario.faults.push((at, Fault::Create(plan)));
        }
        if !calm {
            scenario.trouble(&mut random, n);
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    fn trouble(&mut self, random: &mut Random, n: usize) {
        let most = self.heals_at;
        // Most runs have a few kinds of trouble, so that each can do its work.
        let kinds = random.next();
        let allowed = |kind: u64| kinds >> kind & 1 == 1;
        for _ in 0..random.below(16) {
            let at = random.duration(most);
            let later = at + random.duration(most);
            let (node, other) = (random.below(n as u64) as usize, random.below(n as u64) as usize);
            let kind = random.below(18);
            if !allowed(kind) {
                continue;
            }
            let mut add = |at: Duration, fault: Fault| self.faults.push((at.min(most), fault));
            match kind {
                0 if node != other => {
                    add(at, Fault::Cut(node, other, true));
                    add(later, Fault::Cut(node, other, false));
                }
                1 if node != other => {
                    add(at, Fault::Lose(node, other, 100 + random.below(901)));
                    add(later, Fault::Lose(node, other, 0));
                }
                2 if node != other => {
                    add(at, Fault::Slow(node, other, random.duration(Duration::from_secs(3))));
                    add(later, Fault::Slow(node, other, Duration::ZERO));
                }
                3 => {
                    add(at, Fault::CutOff(node, true));
                    add(later, Fault::CutOff(node, false));
                }
                4 | 5 => {
                    let keep = random.below(4) as usize;
                    add(at, Fault::Crash { node, keep });
                    add(later, Fault::Start(node));
                }
                6 | 7 => {
                    let (outputs, keep) = (random.below(60), random.below(4) as usize);
                    add(at / 8, Fault::CrashIn { node, outputs, keep });
                    add(later, Fault::Start(node));
                }
                8 => {
                    add(at, Fault::Sleep(node));
                    add(later, Fault::Wake(node));
                }
                9 => {
                    let days = random.below(11) as i64 - 5;
                    add(at, Fault::Skew(node, days * 3_600_000 + random.below(10_000) as i64));
                    add(later, Fault::Skew(node, 0));
                }
                10 => {
                    let ways = [
                        Broadcaster::Unreachable,
                        Broadcaster::Lies,
                        Broadcaster::Rejects("policy".into()),
                        Broadcaster::Unreachable,
                    ];
                    add(at / 4, Fault::Broadcaster(node, ways[random.below(4) as usize].clone()));
                    add(later, Fault::Broadcaster(node, Broadcaster::Works));
                }
                11 => {
                    let lag = random.chance(700).then(|| random.duration(Duration::from_secs(20)));
                    add(at / 4, Fault::Lag(node, lag));
                    add(later, Fault::Lag(node, Some(Duration::ZERO)));
                }
                12 => {
                    add(at, Fault::Mine);
                    if random.chance(300) {
                        add(later, Fault::Reorganise(1 + random.below(3) as usize));
                    }
                }
                13 => add(at, Fault::Evict),
                14 if random.chance(300) => {
                    add(at, Fault::Conflict);
                    add(later, Fault::Mine);
                }
                15 if random.chance(300) => {
                    add(at / 4, Fault::Snapshot(node));
                    add(at, Fault::Rollback(node));
                }
                16 => add(at, if random.chance(500) { Fault::Claim(node) } else { Fault::Nack(node) }),
                17 => {
                    let fault = match random.below(8) {
                        0 => Fault::Abort(node),
                        1 => Fault::Close(node),
                        2..5 => Fault::Notify(node),
                        _ => Fault::BroadcastNow(node),
                    };
                    add(at, fault);
                }
                _ => {}
            }
        }
    }
}

fn part(random: &mut Random, observer: bool, broadcaster: bool, calm: bool) -> Part {
    let odd = !calm && random.chance(100);
    Part {
        observer: observer != odd || calm,
        broadcaster: broadcaster != odd,
        claims: random.chance(800),
        nacks: random.chance(800),
        dead_after: (!calm && random.chance(100)).then(|| Duration::from_secs(1 + random.below(20))),
        duty: if calm { Duty::Submits } else { duty(random) },
        reaction: Duration::from_millis(if calm { 0 } else { random.below(200) }),
        skew: random.below(4000) as i64 - 2000,
        byzantine: None,
    }
}

fn duty(random: &mut Random) -> Duty {
    [Duty::Submits, Duty::Submits, Duty::Submits, Duty::SubmitsQuietly, Duty::Ignores, Duty::CannotReach]
        [random.below(6) as usize]
}

fn plan(random: &mut Random, n: usize, second: bool, calm: bool) -> Plan {
    Plan {
        proposer: random.below(n as u64) as usize,
        method: ElectionMethod::ALL[random.below(5) as usize],
        tiers: if calm {
            Tiers::Single
        } else {
            [Tiers::Single, Tiers::Fixed(2 + random.below(3) as u16), Tiers::Doubling]
                [random.below(3) as usize]
        },
        enabled: calm || random.chance(950),
        timeout: Duration::from_millis(if calm { 4000 } else { 1000 } + random.below(9000)),
        raw: !calm && random.chance(150),
        messages: 1 + random.below(3) as usize,
        replaces: second && !calm && random.chance(200),
    }
}

fn misbehaviour(random: &mut Random, n: usize) -> Byzantine {
    let mut byzantine = Byzantine {
        targets: (0..n).map(|_| random.chance(500)).collect(),
        repeats: random.chance(200),
        hides_certificates: random.chance(300),
        ..Byzantine::default()
    };
    match random.below(8) {
        0 => byzantine.withholds_nonces = true,
        1 => byzantine.withholds_partials = true,
        2 => byzantine.other_nonces = true,
        3 => byzantine.unusable_nonces = true,
        4 => byzantine.bad_partial = true,
        5 => byzantine.lies_about_transcript = true,
        6 => byzantine.breaks_rules = true,
        _ => {}
    }
    byzantine
}
