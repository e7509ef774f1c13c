//! Comparing with others what both hold, and sending what is missing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{COMPARE_WITH, Context, Session};
use crate::error::WireError;
use crate::protocol::Output;
use crate::protocol::envelope::{Content, Envelope, Proof};
use crate::protocol::failover::Watch;
use crate::protocol::limits;
use crate::protocol::mutation::{self, Mutation};
use crate::protocol::wire::{self, pb};
use crate::types::{EnvelopeId, SignerKey};

/// A frame around envelopes.
fn frame_of(envelopes: Vec<Vec<u8>>, lacking: Vec<pb::Lacking>) -> Arc<[u8]> {
    wire::encode(&pb::Frame { envelopes, lacking, ..pb::Frame::default() }).into()
}

/// Whether a comparison is well formed.
pub fn check(have: &pb::Have) -> Result<(), WireError> {
    let ids = have.envelopes.chunks_exact(32);
    if !ids.remainder().is_empty() || ids.len() > limits::FRAME_ENTRIES {
        return Err(WireError::Malformed("the comparison"));
    }
    Ok(())
}

/// How many comparisons each signer asked for lately: each may cost a whole session.
#[derive(Clone, Debug, Default)]
pub struct Comparisons(Vec<Window>);

#[derive(Clone, Debug)]
struct Window {
    from: usize,
    since: Duration,
    count: u32,
}

impl Window {
    fn old(&self, now: Duration) -> bool {
        now >= self.since + limits::COMPARISONS_WITHIN
    }
}

impl Comparisons {
    /// Counts one. `false`: too many.
    fn admit(&mut self, from: usize, now: Duration) -> bool {
        let full = self.full(from, now);
        match self.0.iter_mut().find(|window| window.from == from) {
            Some(window) if window.old(now) => *window = Window { from, since: now, count: 1 },
            Some(window) => window.count += 1,
            None => self.0.push(Window { from, since: now, count: 1 }),
        }
        !full
    }

    /// Whether no more is admitted now.
    pub fn full(&self, from: usize, now: Duration) -> bool {
        let of = self.0.iter().find(|window| window.from == from && !window.old(now));
        of.is_some_and(|window| window.count >= limits::COMPARISONS)
    }

    /// Forgets what limits nothing any more.
    pub fn forget_old(&mut self, now: Duration) {
        self.0.retain(|window| !window.old(now));
        self.0.shrink_to_fit();
    }
}

impl Session {
    fn connected_others(&self, context: &Context<'_>) -> Vec<(usize, SignerKey)> {
        let signers = &self.proposal.signers;
        self.others()
            .map(|signer| (signer, signers[signer]))
            .filter(|(_, key)| context.connected.contains(key))
            .collect()
    }

    fn send(&mut self, to: SignerKey, frame: Arc<[u8]>) {
        self.effects.push(Output::Send { session: self.id(), to, frame });
    }

    /// Sends own envelopes to everybody who is connected, and says who is not: those are given them by who can. Who
    /// cannot be reached at all gets them by comparison.
    pub(super) fn send_envelopes(&mut self, envelopes: &[Envelope], context: &Context<'_>) {
        let connected = self.connected_others(context);
        let unconnected = |signer: &usize| !connected.iter().any(|(other, _)| other == signer);
        let lacking: Vec<usize> = self.others().filter(unconnected).collect();
        self.send_to(envelopes, &lacking, &connected);
    }

    fn send_to(&mut self, envelopes: &[Envelope], lacking: &[usize], to: &[(usize, SignerKey)]) {
        let envelopes = envelopes.iter().map(|envelope| envelope.as_bytes().to_vec()).collect();
        let signers = lacking.iter().map(|signer| *signer as u8).collect();
        let lacking = pb::Lacking { session: self.id().0.to_vec(), signers };
        let lacking = if lacking.signers.is_empty() { Vec::new() } else { vec![lacking] };
        for frame in frames(envelopes, &lacking) {
            for (_, key) in to {
                self.send(*key, frame.clone());
            }
        }
    }

    /// Passes on what is new here to the signers that its sender cannot reach. Each envelope is new once, so it goes to
    /// each of them once at most, whatever anybody says.
    pub fn pass_on(&mut self, envelopes: &[Envelope], lacking: &[u8], context: &Context<'_>) {
        let lacks = |signer: usize| lacking.iter().any(|lacking| usize::from(*lacking) == signer);
        let (to, rest): (Vec<_>, Vec<_>) = self
            .others()
            .filter(|signer| lacks(*signer))
            .map(|signer| (signer, self.proposal.signers[signer]))
            .partition(|(_, key)| context.connected.contains(key));
        let rest: Vec<usize> = rest.into_iter().map(|(signer, _)| signer).collect();
        if !envelopes.is_empty() && !self.closed {
            self.send_to(envelopes, &rest, &to);
        }
    }

    /// Sends the certificate to everybody who is connected and not known to hold it.
    pub(super) fn send_certificate(&mut self, context: &Context<'_>) {
        let Some(frame) = self.certificate_frame() else { return };
        for (signer, key) in self.connected_others(context) {
            if !self.holders.contains(&signer) {
                self.send(key, frame.clone());
            }
        }
    }

    fn certificate_frame(&self) -> Option<Arc<[u8]>> {
        let certificates = vec![self.certificate.as_ref()?.to_wire()];
        Some(wire::encode(&pb::Frame { certificates, ..pb::Frame::default() }).into())
    }

    /// Sends the envelopes that make a proof, so that everybody sees it at once.
    pub(super) fn send_proofs(&mut self, context: &Context<'_>) {
        let mut accused = HashSet::new();
        for proof in self.proofs() {
            if !accused.insert(proof.accused()) {
                continue;
            }
            let mut envelopes = Vec::new();
            match proof {
                Proof::Equivocation(first, second) => envelopes.extend([*first, *second]),
                Proof::BadContent(envelope) => {
                    // That nonces are no points shows when all of the attempt are there.
                    let place = envelope.place().filter(|_| envelope.content_allowed(&self.proposal));
                    let all = place.and_then(|place| self.set.all_at(place, self.signers()));
                    match all {
                        Some(all) => envelopes.extend(all.into_iter().cloned()),
                        None => envelopes.push(*envelope),
                    }
                }
                Proof::BadPartial { nonces, partial } => {
                    envelopes.extend(nonces);
                    // A partial signature is verified when all are there and do not add up.
                    let all = partial.place().and_then(|place| self.set.all_at(place, self.signers()));
                    envelopes.extend(all.into_iter().flatten().cloned());
                }
            }
            self.send_envelopes(&envelopes, context);
        }
    }

    /// Starts a comparison with a signer that is connected.
    pub fn compare_with(&mut self, signer: &SignerKey, context: &Context<'_>) {
        if mutation::on(Mutation::ReconnectBeginsAgain) && self.watch.is_some() {
            self.watch = Some(Watch::new(self.turns(), self.own, context.now));
        }
        if !self.closed
            && !self.set.is_empty()
            && self.proposal.index_of(signer).is_some_and(|index| index != self.own)
        {
            self.send_have(*signer, false);
        }
    }

    pub(super) fn compare_all(&mut self, context: &Context<'_>) {
        for (_, key) in self.connected_others(context) {
            self.send_have(key, false);
        }
    }

    /// Starts a comparison with the next few signers in turn.
    pub(super) fn compare_some(&mut self, context: &Context<'_>) {
        let mut others = self.connected_others(context);
        let next = self.compare_next;
        others.sort_by_key(|(signer, _)| (*signer < next, *signer));
        for (signer, key) in others.into_iter().take(COMPARE_WITH) {
            self.compare_next = signer + 1;
            self.send_have(key, false);
        }
    }

    fn send_have(&mut self, to: SignerKey, answer: bool) {
        let envelopes = self.envelope_ids().iter().flat_map(|id| id.0).collect();
        let certificate = self.certificate.is_some();
        let have = vec![pb::Have { session: self.id().0.to_vec(), envelopes, certificate, answer }];
        let frame = wire::encode(&pb::Frame { have, ..pb::Frame::default() });
        self.send(to, frame.into());
    }

    /// A signer says what it holds: send what it lacks, and answer with what is here.
    pub fn compare(
        &mut self,
        have: &pb::Have,
        from: usize,
        context: &mut Context<'_>,
    ) -> Result<(), WireError> {
        check(have)?;
        if !self.comparisons.admit(from, context.now.monotonic) {
            return Ok(());
        }
        let theirs: HashSet<EnvelopeId> =
            have.envelopes.chunks_exact(32).filter_map(EnvelopeId::from_slice).collect();
        let key = self.proposal.signers[from];
        if have.certificate {
            self.holders.insert(from);
        }
        if self.closed {
            return Ok(());
        }
        // Who has the certificate needs no more than what is said about the broadcast.
        let finished = self.certificate.is_some() || have.certificate;
        let useful = |envelope: &&Envelope| {
            let about_broadcast = matches!(envelope.content(), Content::Claim { .. } | Content::Nack { .. });
            // Without the proposal nobody can check a certificate, and who lost what it said itself must know that
            // it said it before it says it again.
            let proposal = matches!(envelope.content(), Content::Proposal(_));
            !finished || about_broadcast || proposal || envelope.body().signer == from
        };
        let missing: Vec<Vec<u8>> = self
            .set
            .in_order()
            .into_iter()
            .filter(|envelope| !theirs.contains(&envelope.id()))
            .filter(useful)
            .map(|envelope| envelope.as_bytes().to_vec())
            .collect();
        for frame in frames(missing, &[]) {
            self.send(key, frame);
        }
        if let Some(frame) = self.certificate_frame().filter(|_| !have.certificate) {
            self.holders.insert(from);
            self.send(key, frame);
        }
        if have.answer {
            self.compared.insert(from);
        } else {
            self.send_have(key, true);
        }
        self.advance(context);
        Ok(())
    }

    /// Everything that the session holds, as one frame: the form in which it is exported.
    pub fn export(&self) -> Vec<u8> {
        let envelopes =
            self.set.in_order().into_iter().map(|envelope| envelope.as_bytes().to_vec()).collect();
        let certificates = self.certificate.iter().map(wire::Certificate::to_wire).collect();
        wire::encode(&pb::Frame { envelopes, certificates, ..pb::Frame::default() })
    }
}

/// Puts envelopes into as few frames as their limit allows.
fn frames(envelopes: Vec<Vec<u8>>, lacking: &[pb::Lacking]) -> Vec<Arc<[u8]>> {
    let mut frames = Vec::new();
    let (mut group, mut size) = (Vec::new(), 0);
    for envelope in envelopes {
        let more = envelope.len() + 16;
        let full = size + more > limits::FRAME || group.len() == limits::FRAME_ENTRIES;
        if full && !group.is_empty() {
            frames.push(frame_of(std::mem::take(&mut group), lacking.to_vec()));
            size = 0;
        }
        size += more;
        group.push(envelope);
    }
    if !group.is_empty() {
        frames.push(frame_of(group, lacking.to_vec()));
    }
    frames
}
