//! V1 to V6 and V8: the way from the certificate to the chain.

use std::time::Duration;

use libmusig::protocol::event::Event;
use libmusig::protocol::failover::{ASK_FIRST, Evidence, REPLACEMENT_PAUSE};
use libmusig::protocol::limits::UNSTORED_AFTER;
use libmusig::protocol::status::Phase;
use libmusig::types::ChainStatus;

use super::late::ended;
use super::{Checker, answers, does, left_alone, looks, pauses, turns_of};
use crate::run::{Begun, Run};
use crate::scenario::Mode;
use crate::timeline::both;

/// What a node is to do by when, and why then.
struct Due {
    by: Duration,
    from: Duration,
    turn: usize,
    returned: bool,
}

/// The time that a node needs from its turn's start to the chain.
pub(super) fn slack(run: &Run, node: usize) -> Duration {
    let scenario = &run.scenario;
    let part = &scenario.parts[node];
    scenario.chain * 3
        + part.reaction * 2
        + scenario.sync * 3
        + untold(run, node)
        + Duration::from_millis(300)
}

/// How long what a node tells its application may wait for its disk, if that fails at times.
fn untold(run: &Run, node: usize) -> Duration {
    if run.always_stores(node) { Duration::ZERO } else { UNSTORED_AFTER }
}

/// When a node that holds the certificate has submitted, or seen the transaction, at the latest. `None`: it has no turn,
/// or never had the time.
fn due(run: &Run, begun: &Begun, node: usize) -> Option<Due> {
    let turn = turns_of(run, begun)?.of_signer(node)?;
    let holder = run.cluster.became_holder(node, &begun.id)?;
    let wait = begun.plan.timeout * turn as u32;
    let now = run.cluster.now();
    for (since, until) in both(&run.up(node), &run.broadcasts[node].spans(now)) {
        // A clock that was wrong tells nothing of the time in which the node did not run.
        let odd = run.odd_clocks.contains(&node);
        let start = if odd { holder.max(since) + wait } else { holder + wait };
        let from = start.max(since);
        let returned = run.returns.contains(&(node, since));
        let trouble = since > Duration::ZERO && !returned;
        // Who had ended the session before the signatures came asks first too, however slow its observer is; and so does
        // whoever takes a step of its clock for sleep.
        let mut events = run.cluster.events(node, &begun.id);
        let late = events.any(|(at, event)| {
            let ended = matches!(
                event,
                Event::SessionFailed { .. } | Event::SessionAborted { .. } | Event::SessionExpired { .. }
            );
            ended && at <= holder
        });
        let extra = if since > Duration::ZERO || late || odd { ASK_FIRST } else { Duration::ZERO };
        // Nobody tells it that its way to the chain is open again: it tries after each timeout.
        let again = if trouble || !run.broadcasts[node].holds(Duration::ZERO, from) {
            begun.plan.timeout
        } else {
            Duration::ZERO
        };
        let by = from + extra + again + slack(run, node);
        if by < until {
            return Some(Due { by, from, turn, returned: returned && since >= start });
        }
    }
    None
}

pub(super) fn served(run: &Run, begun: &Begun, node: usize, from: Duration, by: Duration) -> bool {
    let submissions = &run.cluster.chain.submissions;
    let within = |at: Duration| from <= at && at <= by;
    submissions.iter().any(|one| one.node == node && one.txid == begun.txid && within(one.at))
        || answers(run, begun, node).iter().any(|(at, answer)| within(*at) && pauses(*answer))
}

impl Checker {
    /// S12: only those broadcast whom the session's mode asks to, and nobody is alarmed about a session that only signs.
    pub(super) fn modes(&mut self, run: &Run, begun: &Begun) {
        let turns = turns_of(run, begun);
        let signs = begun.plan.mode == Mode::SignOnly;
        for node in (0..run.scenario.signers()).filter(|node| run.honest(*node)) {
            let has_turn = turns.as_ref().is_some_and(|turns| turns.of_signer(node).is_some());
            // Its application may broadcast whenever it likes, if the session is for that at all.
            if has_turn || !signs && run.meddled.contains(&(begun.id, node)) {
                continue;
            }
            let asked = run.cluster.events(node, &begun.id).find(|(_, event)| match event {
                Event::ShouldBroadcast { .. } => true,
                Event::CoordinatorFailed { .. }
                | Event::FailoverExhausted { .. }
                | Event::NobodyCanBroadcast { .. }
                | Event::BroadcastClaimed { .. }
                | Event::BroadcastSeen { .. }
                | Event::BroadcastRejected { .. } => signs,
                _ => false,
            });
            self.check("S12", asked.is_none(), || {
                format!("node {node} has no turn in {}, and {asked:?}", begun.id)
            });
            let mut submissions = run.cluster.chain.submissions.iter();
            let submitted = submissions.find(|one| one.node == node && one.txid == begun.txid);
            self.check("S12", submitted.is_none(), || {
                format!(
                    "node {node} has no turn in {}, and submits at {:?}",
                    begun.id,
                    submitted.map(|it| it.at)
                )
            });
        }
    }

    /// V1, V3, V4, V6, S12: who holds the signatures submits in its turn, whatever its disk does.
    pub(super) fn turns(&mut self, run: &Run, begun: &Begun) {
        let Some(turns) = turns_of(run, begun) else { return };
        // Its turns begin when its lock is met, as each node is told.
        if begun.plan.lock > 0 {
            return;
        }
        let n = run.scenario.signers();
        let able: Vec<usize> =
            (0..n).filter(|node| does(run, begun, *node) && left_alone(run, begun, *node)).collect();
        let able: Vec<usize> = able.into_iter().filter(|node| !run.may_have_forgotten(*node)).collect();
        let mut first_due: Option<Duration> = None;
        for node in able {
            self.returned(run, begun, node);
            let Some(due) = due(run, begun, node) else { continue };
            first_due = Some(first_due.map_or(due.by, |first| first.min(due.by)));
            let lied =
                run.liars.iter().any(|(session, liar)| *session == begun.id && earlier(&turns, *liar, &due));
            let lies = |signer: usize| {
                let part = &run.scenario.parts[signer];
                part.byzantine.is_some()
                    || part.duty == test_support::cluster::Duty::OnlySays
                    || !run.broadcasts[signer].holds(Duration::ZERO, due.by)
            };
            let parted = !run.whole.holds(due.from, due.by);
            let heard = run
                .cluster
                .events(node, &begun.id)
                .any(|(at, event)| at <= due.by && matches!(event, Event::BroadcastClaimed { .. }));
            let lied = heard || lied || (0..n).any(|signer| earlier(&turns, signer, &due) && lies(signer));
            let rule = match () {
                () if !run.disks[node].holds(due.from, due.by) => "S12",
                () if due.returned => "V3",
                () if lied => "V4",
                () if parted => "V6",
                () => "V1",
            };
            self.check(rule, served(run, begun, node, Duration::ZERO, due.by), || {
                format!("node {node} had turn {} of {} and did nothing by {:?}", due.turn, begun.id, due.by)
            });
        }
        if let Some(by) = first_due {
            let mut submissions = run.cluster.chain.submissions.iter();
            let first = submissions.find(|one| one.txid == begun.txid).map(|one| one.at);
            self.check("V1", first.is_some_and(|at| at <= by), || {
                format!("{} submitted at {first:?}, not by {by:?}", begun.id)
            });
        }
    }

    /// V3: after each return, not only the first.
    fn returned(&mut self, run: &Run, begun: &Begun, node: usize) {
        let Some(turn) = turns_of(run, begun).and_then(|turns| turns.of_signer(node)) else { return };
        let Some(holder) = run.cluster.became_holder(node, &begun.id) else { return };
        let spans = both(&run.up(node), &run.broadcasts[node].spans(run.cluster.now()));
        for (_, at) in run.returns.iter().filter(|(who, at)| *who == node && *at > holder) {
            let seen = answers(run, begun, node).iter().any(|(when, answer)| when <= at && pauses(*answer));
            let base = if run.odd_clocks.contains(&node) { *at } else { holder };
            let start = base + begun.plan.timeout * turn as u32;
            let by = start.max(*at) + ASK_FIRST + slack(run, node);
            if seen || !spans.iter().any(|(from, to)| from <= at && by < *to) {
                continue;
            }
            // Its turn may have been opened early, and its clock may have been ahead: it submits sooner, never later.
            let from = if start > *at { Duration::ZERO } else { *at };
            self.check("V3", served(run, begun, node, from, by), || {
                format!("node {node} returned at {at:?} and did nothing about {} by {by:?}", begun.id)
            });
        }
    }

    /// V2, V5, V6, V8: what observers see, and what follows.
    pub(super) fn watches(&mut self, run: &mut Run, begun: &Begun) {
        let n = run.scenario.signers();
        for node in (0..n).filter(|node| run.sound(*node)) {
            self.alarms(run, begun, node);
            self.locked(run, begun, node);
            if looks(run, begun, node) && left_alone(run, begun, node) {
                self.lost(run, begun, node);
                self.loops(run, begun, node);
            }
        }
        self.still_there(run, begun);
        if run.scenario.calm {
            let times = run.cluster.chain.submissions.iter().filter(|one| one.txid == begun.txid).count();
            self.calm.0 += 1;
            self.calm.1 += u64::from(times == 1);
            *self.checks.entry("V2").or_default() += 1;
        }
    }

    /// V5: what was seen and is gone for longer than a timeout begins a new watch, and no more often.
    fn lost(&mut self, run: &Run, begun: &Begun, node: usize) {
        let timeout = begun.plan.timeout;
        let up = run.up(node);
        let together = |from: Duration, to: Duration| up.iter().any(|(a, b)| *a <= from && to < *b);
        let events = run.cluster.events(node, &begun.id);
        let losses: Vec<Duration> = events
            .filter(|(_, event)| matches!(event, Event::BroadcastLost { .. }))
            .map(|(at, _)| at)
            .collect();
        let woken = |from: Duration, to: Duration| {
            run.returns.iter().any(|(who, at)| *who == node && from <= *at && *at <= to)
        };
        for loss in &losses {
            let ever = answers(run, begun, node).iter().any(|(at, answer)| at <= loss && pauses(*answer));
            self.check("S5", ever, || {
                format!("node {node} lost at {loss:?} what it never saw, and had waited for it")
            });
        }
        let mut seen = None;
        let mut gone: Option<Duration> = None;
        // Who ended the session and has no certificate looks too, and has nothing to watch.
        let Some(holder) = run.cluster.became_holder(node, &begun.id) else { return };
        for (at, answer) in answers(run, begun, node).iter().filter(|(at, _)| holder <= *at) {
            match answer {
                None => {}
                Some(ChainStatus::Unknown) => {
                    gone = gone.or(Some(*at).filter(|_| seen.is_some()));
                    let Some(since) = gone else { continue };
                    let by = since
                        + timeout
                        + run.scenario.sync * 3
                        + untold(run, node)
                        + Duration::from_millis(50);
                    if *at < by || !together(seen.unwrap_or_default(), *at) || woken(since, *at) {
                        continue;
                    }
                    let begun_anew = losses.iter().any(|loss| since <= *loss && *loss <= *at);
                    self.check("V5", begun_anew, || {
                        format!("node {node} saw {} go at {since:?} and still waits at {at:?}", begun.id)
                    });
                    (seen, gone) = (None, None);
                }
                Some(_) => (seen, gone) = (Some(*at), None),
            }
        }
        // A calendar that is set ahead counts as time that passed.
        let odd = run.odd_clocks.contains(&node);
        for pair in losses.windows(2).filter(|pair| !odd && !woken(pair[0], pair[1])) {
            let told = run.scenario.sync * 3 + untold(run, node) + Duration::from_millis(10);
            let apart = pair[1] - pair[0] + told >= timeout;
            self.check("V5", apart, || format!("node {node} began new watches at {pair:?} ({timeout:?})"));
        }
    }

    /// V6: whose observer sees the transaction does not submit it again.
    fn loops(&mut self, run: &Run, begun: &Begun, node: usize) {
        if !run.scenario.parts[node].broadcaster {
            return;
        }
        // What it was answered before it held the signatures is no evidence.
        let Some(holder) = run.cluster.became_holder(node, &begun.id) else { return };
        let answers = answers(run, begun, node);
        let answers = &answers[answers.partition_point(|(at, _)| *at < holder)..];
        let up = run.up(node);
        let mine =
            run.cluster.chain.submissions.iter().filter(|one| one.node == node && one.txid == begun.txid);
        for submission in mine {
            let decided = submission
                .at
                .saturating_sub(run.scenario.chain + run.scenario.sync * 3 + Duration::from_millis(2));
            let before = answers.partition_point(|(at, _)| *at <= decided);
            let last = answers[..before].iter().rfind(|(_, answer)| answer.is_some());
            let Some((seen, answer)) = last else { continue };
            // What it saw is not synced: a crash may lose it.
            let gone = answers[before..]
                .iter()
                .any(|(at, answer)| *answer == Some(ChainStatus::Unknown) && *at <= submission.at);
            if !gone && up.iter().any(|(from, to)| from <= seen && submission.at <= *to) {
                self.check("V6", !pauses(*answer), || {
                    format!("node {node} submits {} at {:?}, and saw it at {seen:?}", begun.id, submission.at)
                });
            }
        }
    }

    /// V8: as long as a transaction cannot be in a block nobody is late, and nobody is accused.
    fn locked(&mut self, run: &Run, begun: &Begun, node: usize) {
        let met = match begun.plan.lock {
            0 => return,
            blocks => run.cluster.chain.reached(blocks).unwrap_or(Duration::MAX),
        };
        // Who is told that it was accepted, or that it is bad, takes it for final.
        let told = !run.told.contains(&node) && !run.conflict && run.honest(node);
        let accused = run.cluster.events(node, &begun.id).find(|(at, event)| {
            let accuses = matches!(
                event,
                Event::CoordinatorFailed { .. }
                    | Event::FailoverExhausted { .. }
                    | Event::NobodyCanBroadcast { .. }
            );
            accuses && *at < met
        });
        self.check("V8", accused.is_none() || !told, || {
            format!("node {node} accuses in {}, whose lock is met at {met:?}: {accused:?}", begun.id)
        });
    }

    /// V8: in each watch one alarm at most, after its last turn, and not before the node itself was asked.
    fn alarms(&mut self, run: &Run, begun: &Begun, node: usize) {
        let away = |from: Duration, to: Duration| {
            run.returns.iter().any(|(who, at)| *who == node && from <= *at && *at <= to)
        };
        let Some(turns) = turns_of(run, begun) else { return };
        let (mut alarm, mut asked, mut since) = (None, false, None);
        for (at, event) in run.cluster.events(node, &begun.id) {
            match event {
                Event::SessionComplete { .. } => since = since.or(Some(at)),
                Event::BroadcastLost { .. } => (alarm, asked, since) = (None, false, Some(at)),
                // Who takes it up again after it was abandoned is told anew.
                Event::SessionClosed => alarm = None,
                Event::ShouldBroadcast { .. } => asked = true,
                Event::FailoverExhausted { .. } => {
                    // What was not acknowledged before a crash comes again after it.
                    let again = alarm.filter(|before| !away(*before, at));
                    self.check("V8", again.is_none(), || {
                        format!("node {node}: alarms at {again:?} and {at:?}")
                    });
                    let own_turn = turns.of_signer(node).is_some();
                    self.check("V8", asked || !own_turn || away(Duration::ZERO, at), || {
                        format!("node {node}: alarm before its own turn")
                    });
                    let since = since.unwrap_or_default();
                    // After a crash the certificate may be told of late.
                    let steady = !run.odd_clocks.contains(&node) && !away(Duration::ZERO, at);
                    let over =
                        since + turns.start(turns.count()).min(begun.plan.timeout * turns.count() as u32);
                    let told = run.scenario.sync * 3 + untold(run, node) + Duration::from_millis(5);
                    let late = at + told >= over;
                    self.check("V8", late || !steady, || {
                        format!("node {node}: alarm at {at:?}, not {over:?}")
                    });
                    alarm = Some(at);
                }
                Event::NobodyCanBroadcast { nacks, .. } => {
                    let said = |signer: &usize| nacks.iter().any(|nack| nack.signer == *signer);
                    let all = (0..turns.count()).flat_map(|turn| turns.signers(turn)).all(said);
                    self.check("V8", all, || {
                        format!("node {node}: of those that are to broadcast only {nacks:?} cannot")
                    });
                }
                _ => {}
            }
        }
    }

    /// V5: as long as somebody looks it is there, or comes there again.
    fn still_there(&mut self, run: &mut Run, begun: &Begun) {
        if begun.plan.raw || begun.plan.mode != Mode::Failover {
            return;
        }
        let mut watchers = (0..run.scenario.signers()).filter(|node| {
            does(run, begun, *node) && looks(run, begun, *node) && left_alone(run, begun, *node)
        });
        let watcher = watchers.find(|node| {
            let watch = run.cluster.nodes[*node].engine.as_ref().and_then(|e| e.certificate(&begun.id));
            watch.is_some()
        });
        let Some(node) = watcher else { return };
        if run.cluster.status(node, &begun.id).phase == Phase::Watching {
            let known = run.cluster.chain.knows(&begun.txid);
            self.check("V5", known, || format!("{} is not there any more, and node {node} looks", begun.id));
        }
    }

    /// S12: a replacement that is seen and in no block makes the older transaction's holders wait for a day, and no longer.
    pub fn after_a_day(&mut self, run: &mut Run) {
        let mut waiting = Vec::new();
        for new in run.sessions.clone() {
            let Some(old) = run.sessions.iter().find(|old| new.replaces == Some(old.id)).cloned() else {
                continue;
            };
            for node in 0..run.scenario.signers() {
                let able = does(run, &old, node) && run.scenario.parts[node].broadcaster;
                let has_turn = turns_of(run, &old).is_some_and(|turns| turns.of_signer(node).is_some());
                let holds = run.cluster.holds(node, &old.id) && run.cluster.holds(node, &new.id);
                if !(able && has_turn && holds && looks(run, &new, node)) {
                    continue;
                }
                let time = run.cluster.time(node);
                let mut watch = |begun: &Begun| {
                    let status = run.cluster.nodes[node].engine.as_mut()?.status(&begun.id, time)?;
                    Some((status.phase, status.failover?.evidence))
                };
                let seen = Some((Phase::Watching, Evidence::Seen));
                let open = |watch: Option<(Phase, Evidence)>| {
                    watch.is_some_and(|(phase, evidence)| phase == Phase::Watching && !evidence.pauses())
                };
                if watch(&new) == seen && open(watch(&old)) {
                    waiting.push((node, old.clone()));
                }
            }
        }
        if waiting.is_empty() {
            return;
        }
        let since = run.cluster.now();
        run.cluster.leap(REPLACEMENT_PAUSE);
        let slowest = (0..run.scenario.signers()).map(|node| slack(run, node)).max().unwrap_or_default();
        run.cluster.run_for(ASK_FIRST + slowest);
        for (node, old) in waiting {
            let mut submissions = run.cluster.chain.submissions.iter();
            let again = submissions.any(|one| one.node == node && one.txid == old.txid && one.at > since);
            self.check("S12", again, || {
                format!("node {node} waits for what replaces {} for more than a day", old.id)
            });
        }
    }

    /// S5, from the other side: after the transactions are deep in the chain every watch with an observer ends.
    pub fn after_blocks(&mut self, run: &mut Run) {
        for begun in run.sessions.clone() {
            let deep = run.cluster.chain.knows(&begun.txid) || run.cluster.chain.conflicted(&begun.txid);
            for node in 0..run.scenario.signers() {
                let holds = run.honest(node) && run.cluster.holds(node, &begun.id);
                if holds && looks(run, &begun, node) && deep {
                    let phase = run.cluster.status(node, &begun.id).phase;
                    // Who aborted looks once an hour.
                    let over = phase == Phase::Final || ended(phase);
                    self.check("V5", over, || format!("node {node} still watches {}: {phase:?}", begun.id));
                }
            }
        }
    }
}

/// Whether a signer's turn comes before.
fn earlier(turns: &libmusig::protocol::failover::Turns, signer: usize, due: &Due) -> bool {
    turns.of_signer(signer).is_some_and(|turn| turn < due.turn)
}
