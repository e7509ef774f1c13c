//! S11: under which keys a session's signatures verify.

use std::collections::BTreeSet;

use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::event::Event;
use libmusig::protocol::proposal::Proposal;
use libmusig::types::{SessionId, Signature, SignerKey};

use super::Checker;
use crate::aims::coin;
use crate::run::Run;
use test_support::cluster::key;

impl Checker {
    /// S11: nothing that a session signs is anybody's own word or coin, or is under another key than was shown, and no
    /// application is shown a proposal with a key where it may not stand.
    pub(super) fn keys(&mut self, run: &Run) {
        let nodes = || (0..run.cluster.nodes.len()).filter(|node| run.honest(*node));
        for aimed in run.aims.iter().filter(|aimed| aimed.aim.is_refused()) {
            let shown = nodes().find(|node| shown(run, *node, &aimed.id).is_some());
            self.check("S11", shown.is_none(), || {
                format!("node {shown:?} takes part where {:?} is aimed at {}", aimed.aim, aimed.victim)
            });
        }
        // The double's keys are hashes: nothing verifies under another one.
        if !run.scenario.real {
            return;
        }
        let identities: Vec<SignerKey> = (0..run.scenario.signers()).map(key).collect();
        let coins: Vec<SignerKey> = identities.iter().map(coin).collect();
        let sessions = run.sessions.iter().map(|begun| begun.id).chain(run.aims.iter().map(|aimed| aimed.id));
        for session in sessions {
            let mut verified: BTreeSet<Vec<[u8; 64]>> = BTreeSet::new();
            for node in nodes() {
                let Some(proposal) = shown(run, node, &session) else { continue };
                let told = run.cluster.events(node, &session).filter_map(|(_, event)| match event {
                    Event::SessionComplete { signatures, .. } => Some(signatures),
                    _ => None,
                });
                for signatures in told {
                    if verified.insert(signatures.iter().map(|signature| signature.0).collect()) {
                        self.signatures(&proposal, signatures, &identities, &coins);
                    }
                }
            }
        }
    }

    fn signatures(
        &mut self,
        proposal: &Proposal,
        signatures: &[Signature],
        identities: &[SignerKey],
        coins: &[SignerKey],
    ) {
        let session = proposal.id();
        let participants = proposal.key_sets.iter().flat_map(|key_set| key_set.keys());
        let owned: BTreeSet<SignerKey> = participants
            .chain(proposal.signers.iter().copied())
            .chain(identities.iter().copied())
            .chain(coins.iter().copied())
            .collect();
        for (message, signature) in proposal.messages.iter().zip(signatures) {
            let verifies = |key: &SignerKey| Musig2.verify(key, &message.digest, signature);
            let own = owned.iter().find(|key| verifies(key));
            self.check("S11", own.is_none(), || format!("{session} signs with {own:?}, somebody's own"));
            let final_key = proposal.key_sets[message.key_set].final_key(&message.derivation);
            self.check("S11", final_key.as_ref().is_ok_and(verifies), || {
                format!("{session} does not sign with what was shown, {final_key:?}")
            });
        }
    }
}

/// What a node's application consented to, or was asked to.
fn shown(run: &Run, node: usize, session: &SessionId) -> Option<Proposal> {
    let told = run.cluster.events(node, session).find_map(|(_, event)| match event {
        Event::SessionProposed { proposal, .. } => Some(proposal.clone()),
        _ => None,
    });
    told.or_else(|| run.cluster.nodes[node].engine.as_ref()?.proposal(session))
}
