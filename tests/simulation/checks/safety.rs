//! S1 to S4, S6, S7, S10: what is signed, believed and proved.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::{Content, Envelope, Place, Proof};
use libmusig::protocol::event::Event;
use libmusig::protocol::status::Phase;
use libmusig::protocol::wire::{self, pb};
use libmusig::protocol::{Settings, Time};

use super::Checker;
use super::memory::ENVELOPES_OF_SIGNER;
use crate::run::{Begun, Run};
use crate::scenario::Worthless;
use test_support::cluster::EPOCH;
use test_support::double::{Double, DoubleCodec};

impl Checker {
    pub(super) fn signing(&mut self, run: &Run) {
        let cluster = &run.cluster;
        let reused = cluster.nonces.lock().expect("no panic").reused.clone();
        self.check("S1", reused.is_empty(), || format!("nonces of {reused:?} served two challenges"));
        self.check("S2", true, String::new);
        for (key, session) in &cluster.equivocated {
            let node = cluster.nodes.iter().position(|node| node.key == *key).expect("a node");
            self.check("S2", !run.sound(node), || {
                format!("node {node} said two things at one place in {session}")
            });
        }
        let unasked = cluster.unasked.iter().filter(|(node, _)| run.honest(*node));
        let unstopped = cluster.unstopped.iter().filter(|(node, _)| run.sound(*node));
        let wrong: Vec<_> = unasked.chain(unstopped).collect();
        self.check("S7", wrong.is_empty(), || format!("signed unasked: {wrong:?}"));
        for (session, kind) in &run.worthless {
            let fooled = cluster.agreed.iter().filter(|(_, agreed)| agreed == session).map(|(node, _)| *node);
            // Who has no observer cannot look for the coin.
            let looks = |node: &usize| {
                *kind != Worthless::UnbroadcastParent
                    || run.scenario.parts.get(*node).is_none_or(|it| it.observer)
            };
            let fooled: Vec<_> = fooled.filter(|node| run.honest(*node)).filter(looks).collect();
            self.check("S7", fooled.is_empty(), || format!("{fooled:?} consented to {kind:?}"));
        }
    }

    pub(super) fn beliefs(&mut self, run: &Run, begun: &Begun) {
        let signers = run.scenario.signers();
        let cluster = &run.cluster;
        let mut lists = Vec::new();
        let mut proposal = None;
        for node in 0..cluster.nodes.len() {
            let Some(engine) = &cluster.nodes[node].engine else { continue };
            let Some(election) = engine.election(&begun.id) else { continue };
            lists.push(election.priority_list.clone());
            proposal = proposal.or_else(|| engine.proposal(&begun.id));
            if run.honest(node) {
                for (_, event) in cluster.events(node, &begun.id) {
                    self.event(run, begun, node, event);
                }
            }
        }
        let permutation = lists.first().is_none_or(|list| {
            let mut sorted = list.clone();
            sorted.sort_unstable();
            sorted == (0..signers).collect::<Vec<_>>()
        });
        let same = lists.windows(2).all(|pair| pair[0] == pair[1]);
        self.check("S6", permutation && same, || format!("priority lists: {lists:?}"));
        let Some(proposal) = proposal else { return };
        if run.scenario.real {
            let findings = cluster.audit(&proposal);
            self.check("S1", findings.reused.is_empty(), || {
                format!("by what was sent, nonces of {:?} served two challenges", findings.reused)
            });
        }
        // All that was ever told, and what is held and stored now.
        let keys = run.scheme().aggregate_keys(&proposal).expect("they were aggregated before");
        let mut verified = BTreeSet::new();
        for node in 0..cluster.nodes.len() {
            let told = cluster.events(node, &begun.id).filter_map(|(_, event)| match event {
                Event::SessionComplete { signatures, .. } => Some(signatures.clone()),
                _ => None,
            });
            let engine = cluster.nodes[node].engine.as_ref();
            let held = engine.and_then(|engine| engine.certificate(&begun.id)).map(|c| c.signatures);
            // Reading a disk takes long: one node's.
            let read = node == run.scenario.seed as usize % signers && run.sessions.len() < 8;
            let stored = if read { cluster.nodes[node].disk.sessions() } else { Vec::new() }.into_iter();
            let stored = stored.filter(|stored| stored.proposal == proposal.as_bytes());
            let stored = stored.filter_map(|stored| stored.certificate).map(|bytes| {
                let message = wire::decode(&bytes, "a stored certificate").expect("it is canonical");
                wire::Certificate::from_wire(&message).expect("it has the form").signatures
            });
            for signatures in told.chain(held).chain(stored) {
                if verified.insert(signatures.iter().map(|signature| signature.0).collect::<Vec<_>>()) {
                    self.check("S3", keys.verify_signatures(&signatures), || {
                        format!("node {node} has a false certificate of {}", begun.id)
                    });
                }
            }
        }
    }

    fn event(&mut self, run: &Run, begun: &Begun, node: usize, event: &Event) {
        match event {
            Event::SessionFailed { culprits, proofs, .. } => {
                for culprit in culprits {
                    self.check("S4", !run.sound(*culprit), || {
                        format!("node {node} convicts honest {culprit}")
                    });
                }
                self.check("S4", !proofs.is_empty(), || format!("node {node}: no proof"));
                for proof in proofs {
                    let verdict = Proof::verify(run.scheme(), proof);
                    let fits = verdict.is_ok_and(|culprit| {
                        culprit.session == begun.id && culprits.contains(&culprit.signer)
                    });
                    self.check("S4", fits, || format!("node {node}: a proof that proves nothing"));
                }
            }
            Event::KeyInUseElsewhere => {
                self.check("S4", run.impaired.contains(&node), || {
                    format!("node {node} takes its own words for another's")
                });
            }
            _ => {}
        }
    }

    /// S14: partial signatures are verified once, whatever else is said.
    pub(super) fn work(&mut self, run: &Run) {
        for (node, state) in run.cluster.nodes.iter().enumerate() {
            let most = state.work.work().same_partials_of_others(&state.key);
            self.check("S14", most <= 1, || format!("node {node} verified the same partials {most} times"));
        }
    }

    /// S10: what a node believes does not depend on the order in which it heard.
    pub(super) fn any_order(&mut self, run: &mut Run, begun: &Begun) {
        let n = run.scenario.signers() as u64;
        let node = run.cluster.random.below(n) as usize;
        let reader = run.cluster.random.below(n) as usize;
        let Some(exported) = run.cluster.nodes[node].engine.as_ref().and_then(|e| e.export(&begun.id)) else {
            return;
        };
        let frame: pb::Frame = wire::decode(&exported, "an export").expect("a frame");
        let mut envelopes: Vec<Envelope> =
            frame.envelopes.iter().map(|bytes| Envelope::decode(bytes).expect("it was stored")).collect();
        for signer in 0..run.scenario.signers() {
            let of_signer = envelopes.iter().filter(|envelope| envelope.body().signer == signer).count();
            self.check("S8", of_signer <= ENVELOPES_OF_SIGNER, || {
                format!("node {node} keeps {of_signer} envelopes of signer {signer}")
            });
        }
        // What proves something of an attempt that is long past convinces those who saw it then.
        let attempt =
            envelopes.iter().filter(|e| matches!(e.content(), Content::Restart { .. })).count() as u32;
        let old = |envelope: &Envelope| match envelope.place() {
            Some(Place::Nonces(of) | Place::Partial(of)) => of + 1 < attempt,
            None => false,
        };
        envelopes.retain(|envelope| !old(envelope));
        let mut places = BTreeSet::new();
        let two = envelopes.iter().any(|envelope| {
            envelope.place().is_some_and(|place| !places.insert((place, envelope.body().signer)))
        });
        let beliefs: Vec<_> = (0..2)
            .map(|_| {
                let mut envelopes: Vec<Vec<u8>> =
                    envelopes.iter().map(|envelope| envelope.as_bytes().to_vec()).collect();
                for last in (1..envelopes.len()).rev() {
                    envelopes.swap(last, run.cluster.random.below(last as u64 + 1) as usize);
                }
                let key = run.cluster.nodes[reader].key;
                let scheme: Arc<dyn Scheme> =
                    if run.scenario.real { Arc::new(Musig2) } else { Arc::new(Double) };
                let mut engine = Engine::new(key, Settings::default(), scheme, Arc::new(DoubleCodec));
                let now = Time { wall: EPOCH, monotonic: Duration::ZERO };
                // More than once: an envelope may come before the one that it needs.
                for _ in 0..3 {
                    for envelope in &envelopes {
                        let part = pb::Frame { envelopes: vec![envelope.clone()], ..pb::Frame::default() };
                        let _ = engine.import(&wire::encode(&part), now);
                    }
                }
                let mut status = engine.status(&begun.id, now);
                // The watch began with the last that was missing, at the same time.
                if let Some(failover) = status.as_mut().and_then(|status| status.failover.as_mut()) {
                    failover.until_next_turn = None;
                }
                // Once its own application ended it, it counts no turns: how many had opened is no belief.
                if let Some(status) = &mut status
                    && matches!(status.phase, Phase::Aborted | Phase::Declined)
                    && let Some(failover) = &mut status.failover
                {
                    (failover.turn, failover.current) = (0, Vec::new());
                }
                status
            })
            .collect();
        // If somebody said two things, the signatures may or may not be complete before the second comes. Then they are
        // stronger than the proof, and reach everybody as a certificate.
        let complete = |at: usize| {
            let finished = |phase| matches!(phase, Phase::Watching | Phase::Final);
            // Whose own application ended it holds them all the same.
            beliefs[at].as_ref().is_some_and(|status| finished(status.phase) || status.failover.is_some())
        };
        if two && complete(0) != complete(1) {
            return;
        }
        self.check("S10", beliefs[0] == beliefs[1], || format!("{beliefs:?}"));
    }
}
