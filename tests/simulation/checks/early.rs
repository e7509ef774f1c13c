//! V11: why turns open before their regular start.

use std::time::Duration;

use libmusig::protocol::event::{Event, FailureCause};
use libmusig::protocol::limits::{GONE_AFTER, GONE_BEFORE, HOLD_AFTER, UNSTORED_AFTER};
use libmusig::types::SignerKey;
use test_support::cluster::key;

use super::Checker;
use crate::run::{Begun, Run};

impl Checker {
    /// V11: who is said to be gone was connected not long before the signatures were complete, and lost its last
    /// connection at least a second before; who is said not to hold them had five seconds to say so.
    pub(super) fn early_turns(&mut self, run: &Run, begun: &Begun) {
        for node in (0..run.scenario.signers()).filter(|node| run.honest(*node)) {
            let Some(holder) = run.cluster.became_holder(node, &begun.id) else { continue };
            for (at, event) in run.cluster.events(node, &begun.id) {
                let Event::CoordinatorFailed { failed, causes, .. } = event else { continue };
                self.check("V11", failed.len() == causes.len(), || format!("node {node}: {event:?}"));
                for (signer, cause) in failed.iter().zip(causes) {
                    // What the application is told at a time happened up to a second before.
                    let told = match cause {
                        FailureCause::Gone => lost(run, node, &key(*signer), holder, at),
                        FailureCause::NotHolding => {
                            let late = at + UNSTORED_AFTER >= holder + HOLD_AFTER.min(begun.plan.timeout);
                            // A clock that was set tells nothing of the time that passed.
                            late || run.odd_clocks.contains(&node)
                        }
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

/// Whether a node had lost its last connection with a key by then, and for long enough.
fn lost(run: &Run, node: usize, key: &SignerKey, holder: Duration, by: Duration) -> bool {
    let contacts = || run.cluster.contacts.iter().filter(|(_, of, with, _)| *of == node && with == key);
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
