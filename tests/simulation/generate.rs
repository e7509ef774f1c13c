//! From a seed to its scenario.

use std::time::Duration;

use libmusig::EarlyTurns;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::limits;
use libmusig::protocol::proposal::{Derivation, FailoverPolicy, Taproot, Tiers};

use crate::aims::Aim;
use crate::run::EXPIRY;
use crate::scenario::{Attack, Byzantine, Fault, Mode, Part, Plan, Scenario, Worthless};
use test_support::cluster::{Broadcaster, Consent, DiskFault, Duty, Random};

const DAY: i64 = 86_400_000;
/// So much longer an observer takes that is slow to answer: longer than anybody asks before an early submission.
const SLOW_OBSERVER: Duration = Duration::from_secs(12);

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let mut n = [1, 2, 3, 3, 4, 5, 5, 5, 5, 5, 7, 10][random.below(12) as usize];
        // Few runs are large, for each takes as long as hundreds of others, but some are as large as they may be.
        match random.below(40_000) {
            0 => n = 128,
            1..=30 => n = 40,
            _ => {}
        }
        // In some runs everything takes minutes to hours.
        let scale = if n <= 7 && random.chance(15) { [60, 240][random.below(2) as usize] } else { 1 };
        let crowd = n <= 5 && random.below(2000) == 0;
        let calm = crowd || random.chance(200);
        let observers = random.chance(700);
        let broadcasters = random.chance(700);
        let mut parts: Vec<Part> = (0..n).map(|_| part(&mut random, observers, broadcasters, calm)).collect();
        let milliseconds = |random: &mut Random, most: u64| Duration::from_millis(random.below(most + 1));
        let byzantine = if calm || !random.chance(350) { 0 } else { random.below(n as u64) as usize };
        for _ in 0..byzantine {
            let node = random.below(n as u64) as usize;
            parts[node].byzantine = Some(misbehaviour(&mut random, n));
        }
        if parts.iter().all(|part| part.byzantine.is_some()) {
            parts[0].byzantine = None;
        }
        let unruly = !calm && random.chance(250);
        let mut scenario = Self {
            seed,
            delay: Duration::from_millis(1 + random.below(60)),
            jitter: milliseconds(&mut random, 40),
            sync: milliseconds(&mut random, 10),
            sign: if random.chance(300) { milliseconds(&mut random, 20) } else { Duration::ZERO },
            chain: Duration::from_millis(5 + random.below(300)),
            final_depth: 1 + random.below(6) as u32,
            duplicates: if unruly { random.below(300) } else { 0 },
            reorders: unruly && random.chance(600),
            parts,
            twin: (!calm && n > 1 && random.chance(25)).then(|| random.below(n as u64) as usize),
            faults: Vec::new(),
            heals_at: Duration::from_secs(20 + random.below(60)) * scale,
            calm,
            real: false,
        };
        let sessions = if crowd { 1000 + random.below(1000) } else { 1 + random.below(3) };
        for session in 0..sessions {
            let plan = plan(&mut random, n, session > 0 && !crowd, calm, scale);
            let at = Duration::from_millis(100) + random.duration(scenario.heals_at / 4);
            scenario.faults.push((at, Fault::Create(plan)));
        }
        if !calm {
            scenario.trouble(&mut random, n);
            scenario.disks(n);
            scenario.attacks(&mut random, n);
            scenario.worthless();
            scenario.late(n);
            scenario.lock();
            scenario.star(n);
            scenario.cables(n);
        }
        scenario.pace(n);
        scenario.silence(n);
        scenario.vary_keys();
        scenario.aim(n);
        scenario.expire();
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// Nodes that know how long transactions take, turns that last longer than their pace, and observers that are slow to
    /// answer. Drawn apart.
    fn pace(&mut self, n: usize) {
        let mut random = Random::new(self.seed ^ 0x9ace);
        if !random.chance(300) {
            return;
        }
        for part in &mut self.parts {
            part.early_turns.pace = self.calm || random.chance(800);
            part.pace = match random.below(10) {
                0 => None,
                1 | 2 => Some(random.duration(Duration::from_secs(60))),
                _ => Some(random.duration(Duration::from_secs(3))),
            };
        }
        if n <= 5 && self.faults.len() < 100 && random.chance(500) {
            let timeout = Duration::from_secs(15 + random.below(45));
            for (_, fault) in &mut self.faults {
                if let Fault::Create(plan) = fault
                    && plan.mode == Mode::Failover
                {
                    plan.timeout = plan.timeout.max(timeout);
                }
            }
        }
        if !self.calm && random.chance(500) {
            for node in (0..n).filter(|_| random.chance(500)) {
                self.faults.push((Duration::ZERO, Fault::Takes(node, SLOW_OBSERVER)));
                self.faults.push((self.heals_at * 3 / 4, Fault::Takes(node, Duration::ZERO)));
            }
        }
    }

    /// In some runs all signers but one are connected with that one alone, as behind address translation.
    fn star(&mut self, n: usize) {
        let mut random = Random::new(self.seed ^ 0x57a2);
        if !random.chance(80) {
            return;
        }
        let hub = random.below(n as u64) as usize;
        for one in (0..n).filter(|one| *one != hub) {
            for other in (one + 1..n).filter(|other| *other != hub) {
                self.faults.push((Duration::ZERO, Fault::Cut(one, other, true)));
            }
        }
    }

    /// Cables that are pulled soon after a proposal, with turns that are long enough for it to matter. Drawn apart.
    fn cables(&mut self, n: usize) {
        let mut random = Random::new(self.seed ^ 0xcab1);
        if n < 2 || !random.chance(100) {
            return;
        }
        let mut pulled = Vec::new();
        for (at, fault) in &mut self.faults {
            if let Fault::Create(plan) = fault {
                plan.timeout += Duration::from_secs(15);
                let node = random.below(n as u64) as usize;
                let at = (*at + random.duration(Duration::from_secs(3))).min(self.heals_at);
                let later = (at + random.duration(Duration::from_secs(40))).min(self.heals_at);
                pulled.extend([(at, Fault::Pull(node, true)), (later, Fault::Pull(node, false))]);
            }
        }
        // Not of crowds.
        pulled.truncate(6);
        self.faults.extend(pulled);
    }

    /// In few runs the coordinator has the signatures, does not submit them, and then its cable is pulled, and nothing else
    /// goes wrong: nothing but missing signs of life tells the others. Drawn apart.
    fn silence(&mut self, n: usize) {
        let mut random = Random::new(self.seed ^ 0x0051_1e7c);
        if self.calm || !(2..=7).contains(&n) || !random.chance(40) {
            return;
        }
        let created = self.faults.iter().find(|(_, fault)| matches!(fault, Fault::Create(_))).cloned();
        let Some((created, Fault::Create(mut plan))) = created else { return };
        plan.method =
            if random.chance(500) { ElectionMethod::FirstSigner } else { ElectionMethod::LastSigner };
        let coordinator = if plan.method == ElectionMethod::FirstSigner { 0 } else { n - 1 };
        (plan.mode, plan.tiers) = (Mode::Failover, Tiers::Single);
        (plan.expires, plan.lock) = (EXPIRY, 0);
        plan.timeout = Duration::from_secs(25 + random.below(60));
        for part in &mut self.parts {
            (part.byzantine, part.pace, part.drift) = (None, None, 0);
            (part.consent, part.early_turns) = (Consent::Joins, EarlyTurns::default());
        }
        self.parts[coordinator].broadcaster = false;
        self.parts[coordinator].duty = Duty::Ignores;
        self.twin = None;
        let pulled = created + Duration::from_secs(2) + random.duration(Duration::from_secs(8));
        let back = pulled + Duration::from_secs(13) + random.duration(Duration::from_secs(20));
        self.heals_at = self.heals_at.max(back);
        self.faults = vec![
            (created, Fault::Create(plan)),
            (pulled, Fault::Pull(coordinator, true)),
            (back, Fault::Pull(coordinator, false)),
        ];
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
            let kind = random.below(20);
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
                    let loss = if random.chance(400) { 1000 } else { 100 + random.below(900) };
                    add(at, Fault::Lose(node, other, loss));
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
                    let days = if random.chance(500) { random.below(11) as i64 - 5 } else { 0 };
                    add(at, Fault::Skew(node, days * DAY + random.below(20_000) as i64 - 10_000));
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
                11 if random.chance(700) => {
                    let lag = random.chance(700).then(|| random.duration(Duration::from_secs(20)));
                    add(at / 4, Fault::Lag(node, lag));
                    add(later, Fault::Lag(node, Some(Duration::ZERO)));
                }
                11 => {
                    add(at, Fault::Flap(node, true));
                    add(later, Fault::Flap(node, false));
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
                    let fault = match random.below(13) {
                        0 => Fault::Abort(node),
                        1 | 2 => Fault::Close(node),
                        3 => Fault::Abandon(node),
                        stops @ (4 | 5) => {
                            add(at, if stops == 4 { Fault::Abandon(node) } else { Fault::Close(node) });
                            add(later, Fault::Join(node));
                            continue;
                        }
                        6..10 => Fault::Notify(node, random.chance(100)),
                        _ => Fault::BroadcastNow(node),
                    };
                    add(at, fault);
                }
                18 | 19 if n > 1 && random.chance(500) => {
                    let sides = (0..n).map(|_| random.below(2 + u64::from(n > 4)) as usize).collect();
                    add(at / 3, Fault::Partition(sides));
                    add(later, Fault::Partition(Vec::new()));
                }
                _ => {}
            }
        }
    }

    /// Disks that are full, or hang. Drawn apart, so that the rest of a seed stays what it was without them.
    fn disks(&mut self, n: usize) {
        let mut random = Random::new(self.seed ^ 0xd15c);
        if !random.chance(250) {
            return;
        }
        for _ in 0..1 + random.below(3) {
            let node = random.below(n as u64) as usize;
            let fault = if random.chance(500) { DiskFault::Full } else { DiskFault::Hangs };
            let at = random.duration(self.heals_at / 2);
            let later = (at + random.duration(self.heals_at)).min(self.heals_at);
            self.faults.push((at, Fault::Disk(node, Some(fault))));
            self.faults.push((later, Fault::Disk(node, None)));
        }
    }

    /// One finishes alone. Before the others hear of it they abort, abandon, try to close, or let the session
    /// expire.
    fn late(&mut self, n: usize) {
        // Drawn apart, so that the other seeds' scenarios stay what they are.
        let mut random = Random::new(self.seed ^ 0x1a7e);
        if !(2..=10).contains(&n) || !random.chance(60) {
            return;
        }
        let (node, last) = (random.below(n as u64) as usize, self.heals_at);
        let back = last / 2 + random.duration(last / 2);
        let expires = random.chance(400).then(|| last / 4 + random.duration(back / 2));
        for (_, fault) in &mut self.faults {
            if let (Fault::Create(plan), Some(expires)) = (fault, expires) {
                plan.expires = expires + Duration::from_secs(1);
            }
        }
        self.faults.push((Duration::ZERO, Fault::HoldBack(node, true)));
        self.faults.push((back, Fault::HoldBack(node, false)));
        for other in (0..n).filter(|other| *other != node) {
            if random.chance(300) {
                let at = last / 4 + random.duration(back - last / 4);
                let stops = match random.below(10) {
                    0..6 => Fault::Abort(other),
                    6 | 7 => Fault::Abandon(other),
                    _ => Fault::Close(other),
                };
                self.faults.push((at, stops));
            }
        }
    }

    /// Transactions that wait for a few blocks. Nobody fails before these are there. Drawn apart.
    fn lock(&mut self) {
        let mut random = Random::new(self.seed ^ 0x10c4);
        let replaces = |fault: &Fault| matches!(fault, Fault::Create(plan) if plan.replaces);
        if !random.chance(100) || self.faults.iter().any(|(_, fault)| replaces(fault)) {
            return;
        }
        let blocks = 1 + random.below(3) as u32;
        for (_, fault) in &mut self.faults {
            if let Fault::Create(plan) = fault {
                plan.lock = if plan.raw { 0 } else { blocks };
            }
        }
        // What is missing comes when all is well again.
        for _ in 0..random.below(u64::from(blocks) + 1) {
            let at = self.heals_at / 4 + random.duration(self.heals_at * 3 / 4);
            self.faults.push((at, Fault::Mine));
        }
    }

    fn attacks(&mut self, random: &mut Random, n: usize) {
        let byzantine: Vec<usize> = (0..n).filter(|node| self.parts[*node].byzantine.is_some()).collect();
        for node in byzantine {
            for _ in 0..random.below(4) {
                let at = random.duration(self.heals_at / 2);
                let attack = self.attack(random, n);
                self.faults.push((at, Fault::Attack(node, attack)));
            }
        }
    }

    /// Proposals whose signatures complete nothing. Drawn apart, so that nothing else of the run depends on it.
    fn worthless(&mut self) {
        let mut random = Random::new(self.seed ^ 0x3077);
        let byzantine = self.parts.iter().enumerate().filter(|(_, part)| part.byzantine.is_some());
        let proposers: Vec<usize> = byzantine.map(|(node, _)| node).collect();
        for proposer in proposers {
            if random.chance(300) {
                let kinds = [
                    Worthless::ForeignWitness,
                    Worthless::UnverifiableWitness,
                    Worthless::UnbroadcastParent,
                    Worthless::BlindMessage,
                ];
                let attack = Attack::Worthless(kinds[random.below(4) as usize]);
                let at = Duration::from_millis(100) + random.duration(self.heals_at / 2);
                self.faults.push((at, Fault::Attack(proposer, attack)));
            }
        }
    }

    /// Key sets and derivations of all sessions. By numbers of its own: the rest of a seed is what it was without.
    fn vary_keys(&mut self) {
        let mut random = Random::new(self.seed ^ 0x6b65_7973);
        for (_, fault) in &mut self.faults {
            let Fault::Create(plan) = fault else { continue };
            plan.two_key_sets = random.chance(400);
            let derivations = random.below(4);
            plan.derivations = (0..derivations).map(|_| derivation(&mut random)).collect();
        }
    }

    /// Proposals whose keys are chosen against an honest signer, likewise.
    fn aim(&mut self, n: usize) {
        let mut random = Random::new(self.seed ^ 0x0061_696d);
        let is_byzantine = |node: &usize| self.parts[*node].byzantine.is_some();
        let (byzantine, honest): (Vec<usize>, Vec<usize>) = (0..n).partition(is_byzantine);
        for node in byzantine {
            for _ in 0..random.below(3) {
                let at = random.duration(self.heals_at / 2);
                let victim = honest[random.below(honest.len() as u64) as usize];
                let attack = Attack::Keys(Aim::any(&mut random), victim);
                self.faults.push((at, Fault::Attack(node, attack)));
            }
        }
    }

    /// Proposals that expired, or expire at the edge of what is taken or far beyond it, likewise.
    fn expire(&mut self) {
        let mut random = Random::new(self.seed ^ 0x6578_7069);
        let is_byzantine = |node: &usize| self.parts[*node].byzantine.is_some();
        for node in (0..self.parts.len()).filter(is_byzantine) {
            for _ in 0..random.below(3) {
                let at = Duration::from_millis(100) + random.duration(self.heals_at / 2);
                let month = limits::EXPIRY.as_millis() as i64;
                let near = random.below(240_000) as i64 - 120_000;
                let attack = Attack::Expiry([near, month + near, 12 * month][random.below(3) as usize]);
                self.faults.push((at, Fault::Attack(node, attack)));
            }
        }
    }

    fn attack(&self, random: &mut Random, n: usize) -> Attack {
        let some = |random: &mut Random| (0..n).map(|_| random.chance(500)).collect();
        match random.below(14) {
            0..3 => Attack::Certificate,
            3 => Attack::Restarts(1 + random.below(4) as u32),
            4 => Attack::AbortTo(some(random)),
            5 => Attack::DeclineTo(some(random)),
            6 | 7 => Attack::Impersonate(random.below(n as u64) as usize),
            8 => Attack::Replay,
            9 => Attack::Flood,
            10 => Attack::EquivocateAlways,
            11 if n <= 5 => {
                Attack::Proposals(if random.chance(100) { 80 } else { 1 + random.below(6) as usize })
            }
            _ => Attack::Garbage,
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
        early_turns: if calm || random.chance(700) {
            EarlyTurns::default()
        } else {
            EarlyTurns { gone: random.chance(500), hold: random.chance(500), pace: true }
        },
        pace: None,
        consent: if calm { Consent::Joins } else { consent(random) },
        duty: if calm { Duty::Submits } else { duty(random) },
        reaction: Duration::from_millis(if calm { 0 } else { random.below(200) }),
        skew: random.below(4000) as i64 - 2000,
        drift: if !calm && random.chance(50) { random.below(41) as i64 - 20 } else { 0 },
        byzantine: None,
    }
}

fn derivation(random: &mut Random) -> Derivation {
    let number = |random: &mut Random| random.below(1 << 31) as u32;
    let path = (0..random.below(4)).map(|_| if random.chance(500) { 0 } else { number(random) }).collect();
    let taproot = match random.below(3) {
        0 => Taproot::None,
        1 => Taproot::KeyPath,
        _ => Taproot::MerkleRoot(random.bytes()),
    };
    Derivation { path, taproot }
}

fn consent(random: &mut Random) -> Consent {
    match random.below(100) {
        0 => Consent::Declines,
        1 => Consent::Waits,
        2..8 => Consent::JoinsAfter(random.duration(Duration::from_secs(20))),
        _ => Consent::Joins,
    }
}

fn duty(random: &mut Random) -> Duty {
    match random.below(13) {
        0..6 => Duty::Submits,
        6 | 7 => Duty::SubmitsQuietly,
        8 | 9 => Duty::Ignores,
        10 => Duty::OnlySays,
        _ => Duty::CannotReach,
    }
}

fn plan(random: &mut Random, n: usize, second: bool, calm: bool, scale: u32) -> Plan {
    let timeout = Duration::from_millis(if calm { 4000 } else { 1000 } + random.below(9000)) * scale;
    // Terms that censor: turns that last for hours, no time to sign.
    let endless = !calm && n <= 5 && random.chance(5);
    let hasty = !calm && random.chance(20);
    let mode = match random.below(1000) {
        0..40 if !calm => Mode::CoordinatorOnly,
        40..100 if !calm => Mode::SignOnly,
        _ => Mode::Failover,
    };
    let timeout = match mode {
        Mode::Failover if endless => Duration::from_secs(3600 + random.below(7200)),
        Mode::Failover => timeout,
        Mode::CoordinatorOnly | Mode::SignOnly => FailoverPolicy::default().broadcast_timeout,
    };
    Plan {
        proposer: random.below(n as u64) as usize,
        method: ElectionMethod::ALL[random.below(5) as usize],
        tiers: if calm {
            Tiers::Single
        } else {
            [Tiers::Single, Tiers::Fixed(2 + random.below(3) as u16), Tiers::Doubling]
                [random.below(3) as usize]
        },
        mode,
        timeout,
        raw: !calm && random.chance(150),
        messages: 1 + random.below(3) as usize,
        two_key_sets: false,
        derivations: Vec::new(),
        expires: if hasty { Duration::from_secs(1 + random.below(40)) } else { EXPIRY },
        replaces: second && !calm && random.chance(200),
        lock: 0,
    }
}

fn misbehaviour(random: &mut Random, n: usize) -> Byzantine {
    let all = random.chance(300);
    let mut byzantine = Byzantine {
        targets: (0..n).map(|_| all || random.chance(500)).collect(),
        repeats: random.chance(200),
        hides_certificates: random.chance(300),
        hides_all: random.chance(150),
        ..Byzantine::default()
    };
    match random.below(11) {
        0 => byzantine.withholds.push("nonces"),
        1 | 2 => {
            byzantine.withholds.push("partial");
            byzantine.hides_certificates |= all;
        }
        3 => byzantine.withholds.push(["proposal", "accept", "restart", "claim"][random.below(4) as usize]),
        4 => byzantine.other_nonces = true,
        5 => byzantine.unusable_nonces = true,
        6 => byzantine.bad_partial = true,
        7 => byzantine.lies_about_transcript = true,
        8 => byzantine.breaks_rules = true,
        9 => byzantine.two_partials = true,
        _ => byzantine.copies_nonces = true,
    }
    byzantine
}
