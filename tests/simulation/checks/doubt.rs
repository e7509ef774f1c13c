//! S9: the same seed with and without one message of a peer. Nobody submits later with it.

use std::time::Duration;

use libmusig::EarlyTurns;
use libmusig::protocol::envelope::{Content, Envelope};
use libmusig::protocol::event::Event;
use libmusig::protocol::wire::{self, pb};

use super::{Checker, answers, pauses};
use crate::run::Run;
use crate::scenario::{Fault, Mode, Scenario};
use test_support::cluster::{Consent, Duty, Random};

/// How many messages are left out, each in a run of its own.
const MESSAGES: usize = 2;

/// A scenario in which only messages and what befalls the nodes make a difference: one session that all want, the chain
/// as it should be, and claims and NACKs that nobody can check. Nobody opens a turn early for what it does not hear of
/// others: there a message takes back what silence would have opened.
fn tame(scenario: &Scenario, random: &mut Random) -> Scenario {
    let mut tame = scenario.clone();
    (tame.jitter, tame.duplicates, tame.reorders, tame.twin) = (Duration::ZERO, 0, false, None);
    for part in &mut tame.parts {
        part.byzantine = None;
        part.early_turns = EarlyTurns { pace: part.early_turns.pace, ..EarlyTurns::OFF };
        // How fast a clock that drifts is depends on when it is read.
        part.drift = 0;
        part.consent = Consent::Joins;
        // Where the first submit at once nobody else has to.
        if random.chance(500) {
            (part.broadcaster, part.duty) = (false, Duty::Ignores);
        }
    }
    let mut created = false;
    tame.faults.retain_mut(|(_, fault)| match fault {
        Fault::Create(plan) => {
            (plan.raw, plan.replaces, plan.mode, plan.expires) =
                (false, false, Mode::Failover, crate::run::EXPIRY);
            plan.lock = 0;
            !std::mem::replace(&mut created, true)
        }
        Fault::Crash { keep, .. } => {
            *keep = 0;
            true
        }
        Fault::Cut(..)
        | Fault::CutOff(..)
        | Fault::Slow(..)
        | Fault::Start(_)
        | Fault::Sleep(_)
        | Fault::Wake(_)
        | Fault::Skew(..)
        | Fault::Broadcaster(..)
        | Fault::BroadcastNow(_) => true,
        _ => false,
    });
    let n = tame.signers() as u64;
    for _ in 0..1 + random.below(2) {
        let at = Duration::from_millis(500) + random.duration(tame.heals_at / 2);
        let node = random.below(n) as usize;
        let fault = if random.chance(600) { Fault::Claim(node) } else { Fault::Nack(node) };
        tame.faults.push((at.min(tame.heals_at), fault));
    }
    tame.faults.sort_by_key(|(at, _)| *at);
    tame
}

/// Whether a frame says something about the broadcast, or compares, and nothing that helps to make a certificate.
fn about_the_broadcast(frame: &[u8]) -> Option<bool> {
    let frame: pb::Frame = wire::decode(frame, "a frame").ok()?;
    let about = |bytes: &Vec<u8>| {
        let envelope = Envelope::decode(bytes).ok();
        envelope.is_some_and(|one| matches!(one.content(), Content::Claim { .. } | Content::Nack { .. }))
    };
    (frame.certificates.is_empty() && frame.envelopes.iter().all(about))
        .then_some(!frame.envelopes.is_empty())
}

fn play(scenario: &Scenario, without: Option<u64>) -> Run {
    let mut run = Run::new(scenario.clone());
    run.cluster.dropped = without;
    run.cluster.log = without.is_none().then(Vec::new);
    run.carry_out();
    run.settle();
    run
}

/// When each node submitted first.
fn submitted(run: &Run) -> Vec<Option<Duration>> {
    let first =
        |node: usize| run.cluster.chain.submissions.iter().find(|one| one.node == node).map(|one| one.at);
    (0..run.scenario.signers()).map(first).collect()
}

/// S9.
pub fn without_a_message(scenario: &Scenario, checker: &mut Checker) {
    let mut random = Random::new(scenario.seed ^ 0xd0b7);
    let scenario = tame(scenario, &mut random);
    if scenario.signers() > 10 {
        return;
    }
    let with = play(&scenario, None);
    let Some(begun) = with.sessions.first().cloned() else { return };
    let complete = (0..scenario.signers()).filter_map(|node| with.cluster.became_holder(node, &begun.id));
    let Some(complete) = complete.min() else { return };
    let log = with.cluster.log.as_deref().unwrap_or_default();
    let later = log.iter().filter(|(_, at, _)| *at >= complete);
    let (mut claims, mut others) = (Vec::new(), Vec::new());
    for (number, _, frame) in later {
        match about_the_broadcast(frame) {
            Some(true) => claims.push(*number),
            Some(false) => others.push(*number),
            None => {}
        }
    }
    for _ in 0..MESSAGES {
        let from = if others.is_empty() || random.chance(800) { &mut claims } else { &mut others };
        if from.is_empty() {
            continue;
        }
        let message = from.swap_remove(random.below(from.len() as u64) as usize);
        let without = play(&scenario, Some(message));
        let times = submitted(&with).into_iter().zip(submitted(&without));
        for (node, (with_it, without_it)) in times.enumerate() {
            let Some(without_it) = without_it else { continue };
            // That a calendar was set is noticed when it is read next, which any message may bring about.
            if with.odd_clocks.contains(&node) {
                continue;
            }
            // What it is told may be stored before it acts, and the next tick is a millisecond away.
            let by = without_it + scenario.sync * 3 + Duration::from_millis(5);
            // A turn that opens early asks first: a look that was under way by chance answers sooner.
            let failed = |(at, event): (Duration, &Event)| {
                (matches!(event, Event::CoordinatorFailed { .. }) && at <= without_it).then_some(at)
            };
            let opened = without.cluster.events(node, &begun.id).filter_map(failed).last();
            let sooner = opened.is_some_and(|opened| {
                let soon = opened..opened + scenario.chain;
                answers(&without, &begun, node).iter().any(|(at, _)| soon.contains(at))
            });
            let by = if sooner { by + scenario.chain } else { by };
            // While its way to the chain is closed it tries in vain, once in each timeout from its turn on.
            let open = with.broadcasts[node].holds(Duration::ZERO, by);
            let by = if open { by } else { by + begun.plan.timeout };
            // What the own observer saw makes it wait, or the application, which is the observer where there is none.
            let told = |(at, event): (Duration, &Event)| {
                at <= by && matches!(event, Event::BroadcastConfirmed { depth: None, .. })
            };
            let seen = answers(&with, &begun, node).iter().any(|(at, answer)| *at <= by && pauses(*answer))
                || with.cluster.events(node, &begun.id).any(told);
            checker.check("S9", seen || with_it.is_some_and(|at| at <= by), || {
                format!(
                    "with frame {message} node {node} submits at {with_it:?}, without it at {without_it:?}"
                )
            });
        }
    }
}
