//! V11: why turns open before their regular start.

use std::collections::BTreeSet;
use std::time::Duration;

use libmusig::protocol::event::{Event, FailureCause};
use libmusig::protocol::failover::ASK_FIRST;
use libmusig::protocol::limits::{GONE_AFTER, GONE_BEFORE, HOLD_AFTER, PACE_AT_LEAST, UNSTORED_AFTER};
use libmusig::types::SignerKey;
use test_support::cluster::key;

use super::broadcast::{served, slack};
use super::{Checker, does, left_alone, turns_of};
use crate::run::{Begun, Run};
use crate::timeline::both;

/// What is not stored is told after [`UNSTORED_AFTER`], and a moment.
const TOLD_AFTER: Duration = Duration::from_millis(UNSTORED_AFTER.as_millis() as u64 + 50);

impl Checker {
    /// V11: who is said to be gone was connected not long before the signatures were complete, and lost its last
    /// connection at least a second before; who is said not to hold them had five seconds to say so, and
    /// who is passed over at the pace had ten; nobody is said to be guilty who is honest.
    pub(super) fn early_turns(&mut self, run: &Run, begun: &Begun) {
        for node in (0..run.scenario.signers()).filter(|node| run.honest(*node)) {
            let Some(holder) = run.cluster.became_holder(node, &begun.id) else { continue };
            for (at, event) in run.cluster.events(node, &begun.id) {
                let Event::CoordinatorFailed { failed, causes, next, .. } = event else { continue };
                if next.contains(&node) {
                    self.asks_first(run, begun, node, holder, at);
                }
                self.check("V11", failed.len() == causes.len(), || format!("node {node}: {event:?}"));
                // A crash may have kept from it that it held them before, and a clock that was set tells nothing of the
                // time that passed.
                let unsure =
                    run.odd_clocks.contains(&node) || run.up(node).iter().any(|(_, until)| *until < holder);
                for (signer, cause) in failed.iter().zip(causes) {
                    // What the application is told at a time happened up to a second before.
                    let told = match cause {
                        FailureCause::Gone => lost(run, node, &key(*signer), holder, at),
                        FailureCause::NotHolding => {
                            unsure || at + TOLD_AFTER >= holder + HOLD_AFTER.min(begun.plan.timeout)
                        }
                        FailureCause::Pace => {
                            let early = run.scenario.parts[node].early_turns.pace;
                            let late = at + TOLD_AFTER >= holder + PACE_AT_LEAST.min(begun.plan.timeout);
                            early && (unsure || late)
                        }
                        FailureCause::Guilty => !run.sound(*signer),
                        _ => true,
                    };
                    self.check("V11", told, || {
                        format!("node {node} says at {at:?} that {signer} is {cause:?} in {}", begun.id)
                    });
                }
            }
        }
    }
}

impl Checker {
    /// V11: whose turn opened early asks its observer for five seconds at most, and not beyond the regular start.
    fn asks_first(&mut self, run: &Run, begun: &Begun, node: usize, holder: Duration, at: Duration) {
        let Some(turn) = turns_of(run, begun).and_then(|turns| turns.of_signer(node)) else { return };
        let regular = holder + begun.plan.timeout * turn as u32;
        let by = regular.min(at + ASK_FIRST) + slack(run, node);
        let able = does(run, begun, node) && left_alone(run, begun, node) && begun.plan.lock == 0;
        let runs = both(&run.up(node), &run.broadcasts[node].spans(run.cluster.now()));
        let runs = runs.iter().any(|(from, until)| *from <= at && by < *until);
        // What is at its regular start is for V1 and V3, and this node's clock began a little before it said so.
        if at + slack(run, node) >= regular || !able || !runs || run.odd_clocks.contains(&node) {
            return;
        }
        self.check("V11", served(run, begun, node, Duration::ZERO, by), || {
            format!("node {node} opened turn {turn} of {} at {at:?} and did nothing by {by:?}", begun.id)
        });
    }
}

/// Whether a node had lost its last connection with a key by then, and for long enough.
fn lost(run: &Run, node: usize, key: &SignerKey, holder: Duration, by: Duration) -> bool {
    // A connection on which nothing comes is as good as none.
    let mut silent = BTreeSet::new();
    let silences = run.cluster.silences.iter().filter(|(_, of, with, falls)| match falls {
        true => silent.insert((*of, *with)) || *falls,
        // What was under way when the cable was pulled ends no silence.
        false => silent.remove(&(*of, *with)),
    });
    let silences = silences.map(|(at, of, with, falls)| (*at, *of, *with, !falls));
    let all: Vec<_> = run.cluster.contacts.iter().copied().chain(silences).collect();
    let contacts = || all.iter().filter(|(_, of, with, _)| *of == node && with == key);
    // A new life knows nothing of the connections of the one before.
    let own = &run.cluster.nodes[node].key;
    let deaths =
        run.cluster.contacts.iter().filter(|(at, of, with, _)| *of == node && with == own && *at <= by);
    let born = deaths.map(|(at, ..)| *at).max().unwrap_or_default();
    contacts().filter(|(at, ..)| *at >= born).any(|(at, _, _, connected)| {
        let again = contacts()
            .any(|(later, _, _, connected)| *connected && *later > *at && *later < *at + GONE_AFTER);
        let recent = *at + GONE_BEFORE + UNSTORED_AFTER >= holder;
        !connected && recent && !again && *at + GONE_AFTER <= by
    })
}
