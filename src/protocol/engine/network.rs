//! What comes from the network: connections, frames, imports.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Engine;
use super::answered::Answer;
use super::key_checks::{Received, Waiting};
use super::session_table::Slot;
use super::verification::{checking, reading};
use crate::error::{Error, ProposalError, WireError};
use crate::mutation::{self, Mutation};
use crate::protocol::envelope::{Content, Envelope};
use crate::protocol::event::{Event, SessionEvent};
use crate::protocol::proposal::Proposal;
use crate::protocol::session::{Session, frames};
use crate::protocol::signer::KeyCheck;
use crate::protocol::wire::{self, Certificate, pb};
use crate::protocol::{Output, Waits, limits};
use crate::types::{SessionId, SignerKey, Time, UnixMillis};

/// How often a peer is told that a session it speaks of is unknown here.
const ASK_UNKNOWN_EVERY: Duration = Duration::from_secs(1);
/// How many such sessions of one peer are remembered.
const UNKNOWN_SESSIONS_PER_PEER: usize = 64;
/// How many such sessions are remembered.
const UNKNOWN_SESSIONS: usize = 1024;
/// How many signers more than twice those wanted may be remembered as heard, before the others are forgotten.
const HEARD_SPARE: usize = 64;

impl Engine {
    /// A signer is connected: compare all that both take part in.
    pub fn connected(&mut self, signer: SignerKey, now: Time) {
        self.note_heard(signer, now);
        self.host.connected.insert(signer);
        self.host.silent.remove(&signer);
        self.note_change(signer, now);
        let speaks = |session: &Slot| !session.closed() || session.kept() && session.certified();
        for id in self.shared_with(&signer, speaks) {
            self.with_session(&id, now, |session, context| {
                session.compare_with(&signer, context);
                session.advance(context);
            });
        }
    }

    /// A signer is gone.
    pub fn disconnected(&mut self, signer: &SignerKey, now: Time) {
        self.host.connected.remove(signer);
        // Since it was silent it has been as good as gone.
        if !self.host.silent.remove(signer) {
            self.note_change(*signer, now);
        }
        // Those that are packed have nothing to tell of it, but a turn may open sooner.
        let concerned = |session: &Slot| session.packed().is_none_or(|packed| packed.summary.turn_ahead);
        for id in self.shared_with(signer, concerned) {
            self.with_session(&id, now, |session, _| session.peer_disconnected(signer));
        }
    }

    /// A sign of life from a connected signer.
    pub fn heard(&mut self, signer: SignerKey, now: Time) {
        self.note_heard(signer, now);
        self.note_answer(signer, now);
    }

    /// A connected signer was asked for signs of life, and nothing came of it for so long. Until something does, its turns
    /// are those of a signer whose connection was lost then. Nothing else follows.
    pub fn silent(&mut self, signer: SignerKey, silence: Duration, now: Time) {
        let known = self.host.connected.contains(&signer) && self.index.wants(&signer);
        if known && self.host.silent.insert(signer) {
            let lost = now.monotonic.saturating_sub(silence);
            self.host.changed.insert(signer, lost);
            self.look_at_turns(&signer, now);
        }
    }

    /// Whoever was silent answers.
    fn note_answer(&mut self, signer: SignerKey, now: Time) {
        if self.host.silent.remove(&signer) {
            self.note_change(signer, now);
            self.look_at_turns(&signer, now);
        }
    }

    /// Turns may open sooner, or later, than it seemed.
    fn look_at_turns(&mut self, signer: &SignerKey, now: Time) {
        let ahead = |session: &Slot| match session {
            Slot::Ready(session) => session.asks(),
            Slot::Packed(packed) => packed.summary.turn_ahead,
        };
        for id in self.shared_with(signer, ahead) {
            self.with_session(&id, now, |_, _| ());
        }
    }

    /// Only of signers with whom something is left to do: else every key that ever connected would stay in memory.
    pub(super) fn note_heard(&mut self, signer: SignerKey, now: Time) {
        if !self.index.wants(&signer) {
            return;
        }
        if self.host.heard.len() >= HEARD_SPARE + 2 * self.index.wanted() {
            self.host.heard.retain(|signer, _| self.index.wants(signer));
            self.host.changed.retain(|signer, _| self.index.wants(signer));
            self.host.silent.retain(|signer| self.index.wants(signer));
        }
        self.host.heard.insert(signer, now.monotonic);
    }

    /// A signer is connected from now on, or is not any more.
    fn note_change(&mut self, signer: SignerKey, now: Time) {
        if self.index.wants(&signer) {
            self.host.changed.insert(signer, now.monotonic);
        }
    }

    fn shared_with(&self, signer: &SignerKey, which: impl Fn(&Slot) -> bool) -> Vec<SessionId> {
        let chosen = self.sessions.iter().filter(|(_, session)| which(session));
        let shared = chosen.filter(|(_, session)| session.index_of(signer).is_some());
        let mut ids: Vec<_> = shared.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// A frame from a connected signer. Bad parts are counted and dropped; good ones are kept. It ends at the first part
    /// that no honest node sends; then its error is a violation.
    pub fn frame(&mut self, from: SignerKey, bytes: &[u8], now: Time) -> Result<(), WireError> {
        self.heard(from, now);
        let frame: pb::Frame = match wire::decode_within(bytes, "the frame", limits::FRAME) {
            Ok(frame) => frame,
            Err(error) => {
                self.refused.malformed += 1;
                return Err(error);
            }
        };
        let (mut first_error, mut ended) = (Ok(()), None);
        self.content(&frame, Some(from), now, &mut |error| {
            first_error = first_error.and(Err(error));
            ended = ended.or(error.is_violation().then_some(error));
        });
        if let Some(error) = ended {
            return Err(error);
        }
        self.note_clock(from, &frame, now);
        let mut compared = HashSet::new();
        for have in &frame.have {
            // A comparison may be answered with a whole session, so a frame asks for one of each at most.
            if !compared.insert(have.session.as_slice()) {
                self.refused.malformed += 1;
                continue;
            }
            let Some(id) = SessionId::from_slice(&have.session) else {
                self.refused.malformed += 1;
                continue;
            };
            match self.sessions.get(&id).map(|session| session.index_of(&from)) {
                None if self.is_answered_of(&id, &from) => {
                    if let Err(error) = self.tell_answer(have, id, from, now) {
                        self.count(error);
                    }
                }
                None if !have.answer => self.ask_for(id, from, now),
                None => {}
                // As if it were unknown here: whether it is there is nobody else's business.
                Some(None) => {
                    self.refused.strangers += 1;
                    if !have.answer {
                        self.ask_for(id, from, now);
                    }
                }
                Some(Some(index)) => {
                    let result = match self.sessions.get(&id).and_then(Slot::packed) {
                        Some(packed) if packed.refuses_comparison(index, now) => {
                            Some(frames::check_comparison(have))
                        }
                        _ => self
                            .with_session(&id, now, |session, context| session.compare(have, index, context)),
                    };
                    if let Some(Err(error)) = result {
                        self.count(error);
                    }
                }
            }
        }
        first_error
    }

    /// Takes the time that a signer says. Nothing follows of it but what the application is told.
    fn note_clock(&mut self, from: SignerKey, frame: &pb::Frame, now: Time) {
        let Some(said) = frame.have.iter().map(|have| have.time).find(|time| *time != 0) else { return };
        // Strangers have clocks too, and these are nobody's business.
        if !self.index.partner(&from) {
            return;
        }
        let all = mutation::on(Mutation::SkewOfNothing);
        let tolerated = if all { Duration::ZERO } else { self.host.settings.clock_skew };
        let wanted = |signer: &SignerKey| self.host.connected.contains(signer) && self.index.partner(signer);
        let Some(shown) = self.clocks.note(from, said, tolerated, now, wanted) else { return };
        self.host.counters.clock(&from, shown.offset);
        if let Some(own_suspect) = shown.own_suspect {
            let event = Event::ClockSkew { signer: from, offset: shown.offset, own_suspect };
            let event = SessionEvent { session: None, event, durable: None };
            self.host.outputs.push_back(Output::Event { event });
        }
    }

    /// Takes what [`Engine::export`] made, from whatever way it came. Answers the sessions in it.
    pub fn import(&mut self, bytes: &[u8], now: Time) -> Result<Vec<SessionId>, Error> {
        let frame: pb::Frame = wire::decode_within(bytes, "the export", limits::EXPORT)?;
        let mut first_error = None;
        let ids = self.content(&frame, None, now, &mut |error| first_error = first_error.or(Some(error)));
        match first_error {
            Some(error) if ids.is_empty() => Err(error.into()),
            _ => Ok(ids),
        }
    }

    /// Takes the envelopes and certificates of a frame. Each session advances once, after all of its envelopes.
    fn content(
        &mut self,
        frame: &pb::Frame,
        from: Option<SignerKey>,
        now: Time,
        refuse: &mut dyn FnMut(WireError),
    ) -> Vec<SessionId> {
        let mut groups: Vec<(SessionId, Vec<Envelope>)> = Vec::new();
        let mut positions: HashMap<SessionId, usize> = HashMap::new();
        for bytes in &frame.envelopes {
            match Envelope::decode(bytes) {
                Ok(envelope) => {
                    let id = envelope.body().session;
                    // Nearly always a frame speaks of one session.
                    let position = match groups.last() {
                        Some((last, _)) if *last == id => groups.len() - 1,
                        _ => *positions.entry(id).or_insert_with(|| {
                            groups.push((id, Vec::new()));
                            groups.len() - 1
                        }),
                    };
                    groups[position].1.push(envelope);
                }
                Err(error) => refuse(self.count(error)),
            }
        }
        // Who is honest passes on what it verified, so nothing else of this frame is worth verifying.
        let ends = |error: &WireError| from.is_some() && error.is_violation();
        let (mut known, mut proposals) = (Vec::new(), 0);
        for (id, group) in groups {
            // Each session has frames of its own. Others of its proposals come again by comparison.
            let proposes = |envelope: &Envelope| matches!(envelope.content(), Content::Proposal(_));
            if from.is_some() && !self.sessions.contains(&id) && group.iter().any(proposes) {
                proposals += 1;
                if proposals > 1 {
                    self.refused.proposals += 1;
                    refuse(WireError::TooMany { what: "proposals of a frame", actual: proposals, most: 1 });
                    continue;
                }
            }
            let lacking = frame.lacking.iter().find(|lacking| lacking.session == id.0);
            let lacking = lacking.map_or(&[][..], |lacking| &lacking.signers);
            match self.envelopes(id, group, lacking, from, now) {
                Ok(()) => known.push(id),
                Err(error) => {
                    refuse(self.count(error));
                    if ends(&error) {
                        return known;
                    }
                }
            }
        }
        for certificate in &frame.certificates {
            match Certificate::from_wire(certificate)
                .and_then(|certificate| self.certified(certificate, from, now))
            {
                Ok(id) if !known.contains(&id) => known.push(id),
                Ok(_) => {}
                Err(error) => {
                    refuse(self.count(error));
                    if ends(&error) {
                        return known;
                    }
                }
            }
        }
        known
    }

    pub(super) fn envelopes(
        &mut self,
        id: SessionId,
        group: Vec<Envelope>,
        lacking: &[u8],
        from: Option<SignerKey>,
        now: Time,
    ) -> Result<(), WireError> {
        let new = !self.sessions.contains(&id);
        if new {
            if self.key_checks.waits_for(&id) {
                // It comes again by comparison.
                return Ok(());
            }
            let proposals = || {
                group.iter().filter_map(|envelope| match envelope.content() {
                    Content::Proposal(bytes) => Some((envelope, bytes)),
                    _ => None,
                })
            };
            // Its proposer may have signed another one into this session: a proof, that comes with the rest.
            let fits = |(_, bytes): &(&Envelope, &Vec<u8>)| Proposal::id_of(bytes) == id;
            let proposed = proposals().find(fits).or_else(|| proposals().next());
            match (proposed, from) {
                (Some((envelope, bytes)), _) => {
                    let (session, check) = self.proposed(id, envelope, bytes, from, now)?;
                    if let Some(check) = check {
                        let beside = Received { envelopes: group, lacking: lacking.to_vec(), from };
                        let waiting = Waiting::Received { session: Box::new(session), beside };
                        self.ask_about_keys(id, check, waiting);
                        return Ok(());
                    }
                    self.announce(session, from, now);
                }
                (None, Some(from)) if self.is_answered_of(&id, &from) => return Ok(()),
                (None, Some(from)) => {
                    // It came before the proposal, by a shorter way: ask for everything.
                    self.ask_for(id, from, now);
                    return Ok(());
                }
                (None, None) => return Err(WireError::UnknownSession(id)),
            }
        }
        if let Some(from) = from
            && self.is_of_others(&id, &from)
        {
            // As if it were unknown here: then only a proposal leads to no question.
            let proposes = group.iter().any(|envelope| matches!(envelope.content(), Content::Proposal(_)));
            if !proposes && !mutation::on(Mutation::OthersUnanswered) {
                self.ask_for(id, from, now);
            }
            return Err(WireError::UnknownSession(id));
        }
        if let (Some(packed), Some(_)) = (self.sessions.get(&id).and_then(Slot::packed), from)
            && packed.summary.is_closed()
        {
            // It takes nothing.
            return Ok(());
        }
        let foreign = self.sessions.ready(&id).filter(|session| session.is_foreign());
        let foreign = foreign
            .map(|session| (self.proposer(session.proposer_key()), session.bytes(), session.is_unanswered()));
        if let Some((proposer, _, unanswered)) = foreign {
            let allowed = new || from.is_none() || self.admission.allows_bytes(proposer, now.monotonic);
            if !allowed || unanswered && !self.has_bytes_for(&proposer.key, 0) {
                // It comes again by comparison, once the application has answered.
                self.refused.proposals += 1;
                return Ok(());
            }
        }
        let result = self.with_session(&id, now, |session, context| {
            let index = match from {
                Some(from) => Some(session.proposal().index_of(&from).ok_or(WireError::UnknownSession(id))?),
                None => None,
            };
            let (mut first_error, mut passed_on) = (Ok(()), Vec::new());
            for envelope in group {
                let from = index.unwrap_or(envelope.body().signer);
                let copy = if lacking.is_empty() { None } else { Some(envelope.clone()) };
                match session.receive(envelope, from, context) {
                    Ok(new) => passed_on.extend(copy.filter(|_| new)),
                    // Who is honest passes on what it verified. Checking on would let one frame cost seconds.
                    Err(error) => {
                        first_error = Err(error);
                        break;
                    }
                }
            }
            session.pass_on(&passed_on, lacking, context);
            if index.is_none() {
                session.imported();
            }
            session.advance(context);
            first_error
        });
        if let Some((proposer, before, _)) = foreign
            && from.is_some()
            && let Some(after) = self.sessions.ready(&id).map(Session::bytes)
            && after != before
        {
            self.admission.took_bytes(proposer, after.saturating_sub(before), now.monotonic);
        }
        result.unwrap_or(Ok(()))
    }

    /// A proposal whose keys the foreign signer knows. What came meanwhile was not taken, so that others are compared with.
    pub(super) fn received(&mut self, session: Session, beside: Received, now: Time) {
        let (id, bytes) = (session.id(), session.proposal().as_bytes().len());
        let proposer = session.proposer_key();
        if !self.has_room_for(&proposer, bytes) {
            self.refused.proposals += 1;
            return;
        }
        if let Err(error) = self.check_time_and_room(session.proposal(), now) {
            self.refused.proposals += 1;
            self.report_refused(session.proposal(), error, now);
            return;
        }
        let Received { envelopes, lacking, from } = beside;
        self.announce(session, from, now);
        if let Err(error) = self.envelopes(id, envelopes, &lacking, from, now) {
            self.count(error);
        }
        for signer in self.host.connected.clone() {
            self.with_session(&id, now, |session, context| session.compare_with(&signer, context));
        }
    }

    fn announce(&mut self, session: Session, from: Option<SignerKey>, now: Time) {
        let id = session.id();
        if from.is_some() {
            let proposer = self.proposer(session.proposer_key());
            self.admission.took(proposer, session.proposal().as_bytes().len(), now.monotonic);
        }
        self.insert(session);
        self.with_session(&id, now, |session, _| session.announce());
    }

    /// A proposal of a session that is not known yet. Answers also what the foreign signer is to be asked of its keys.
    fn proposed(
        &mut self,
        id: SessionId,
        envelope: &Envelope,
        bytes: &[u8],
        from: Option<SignerKey>,
        now: Time,
    ) -> Result<(Session, Option<KeyCheck>), WireError> {
        let sender = from.map(|from| (from, self.is_partner(&from)));
        // What costs nothing comes first. What is not for this node, or not now, is no fault of whoever sends it.
        let refused = WireError::Malformed("the proposal");
        let mut refuse = |refused: WireError| {
            self.refused.proposals += 1;
            refused
        };
        if Proposal::id_of(bytes) != id {
            return Err(refuse(refused));
        }
        if self.verification.was_refused(&id) && !mutation::on(Mutation::RefusedComeAgain) {
            return Err(refuse(WireError::InvalidProposal));
        }
        if self.answered.contains(&id) && !mutation::on(Mutation::AnsweredComeAgain) {
            return Err(refuse(refused));
        }
        if let Some((from, partner)) = sender
            && !self.verification.allows(&from, partner, now.monotonic)
            && !mutation::on(Mutation::CheckedWithoutBudget)
        {
            return Err(refuse(refused));
        }
        let mut cost = reading(bytes.len());
        let checked = self.checked(id, envelope, bytes, from, &mut cost, now);
        if let Some((from, partner)) = sender {
            self.verification.spend(from, partner, cost, now.monotonic);
        }
        checked.inspect_err(|error| {
            if let WireError::InvalidProposal = error {
                self.verification.refuse(id);
            }
            if !matches!(error, WireError::Signature(_)) {
                self.refused.proposals += 1;
            }
        })
    }

    /// Checks a proposal, and adds what that costs.
    fn checked(
        &mut self,
        id: SessionId,
        envelope: &Envelope,
        bytes: &[u8],
        from: Option<SignerKey>,
        cost: &mut Duration,
        now: Time,
    ) -> Result<(Session, Option<KeyCheck>), WireError> {
        let refused = WireError::Malformed("the proposal");
        let known = |key: &SignerKey| *key == self.own || self.host.connected.contains(key);
        let reads = self.host.codec.reads();
        let invalid = |error: ProposalError| {
            if is_invalid(&error, reads) { WireError::InvalidProposal } else { refused }
        };
        let partner = |key: &SignerKey| self.is_partner(key);
        let proposal = Proposal::decode_knowing(bytes, &known, &partner).map_err(invalid)?;
        let stranger = from.is_some_and(|from| proposal.index_of(&from).is_none());
        if proposal.id() != id || stranger || envelope.body().signer != proposal.proposer {
            return Err(refused);
        }
        let proposer = proposal.signers[proposal.proposer];
        let takes = self.admission.accepts(&proposer)
            && self.admission.allows(self.proposer(proposer), now.monotonic);
        if from.is_some() && !takes {
            return Err(refused);
        }
        if !self.has_room_for(&proposer, bytes.len()) {
            return Err(refused);
        }
        // What was refused and reported is not verified again.
        let time_and_room = self.check_time_and_room(&proposal, now);
        if time_and_room.is_err() && self.was_reported(&id) {
            return Err(refused);
        }
        envelope.verify(self.host.scheme.as_ref(), &proposal)?;
        // Why it is refused is nobody else's business, nor which keys are held here.
        let check = match time_and_room.and_then(|()| self.check_keys(&proposal)) {
            Ok(check) => check,
            Err(error) => {
                if from.is_some() {
                    self.report_refused(&proposal, error, now);
                }
                return Err(refused);
            }
        };
        *cost += checking(&proposal);
        let room = |bytes| self.key_checks.has_room_for(&proposer, bytes, self.share_of(&proposer));
        if check.is_some() && !room(bytes.len()) {
            return Err(refused);
        }
        let session = self.new_session(proposal, now).map_err(|error| match error {
            Error::Proposal(error) => invalid(error),
            _ => refused,
        })?;
        Ok((session, check))
    }

    /// Whether a proposal of others has not expired, and there is room for another session.
    fn check_time_and_room(&self, proposal: &Proposal, now: Time) -> Result<(), Error> {
        self.check_expiry(proposal, limits::CLOCK_ERROR, now)?;
        self.check_room()
    }

    fn was_reported(&self, id: &SessionId) -> bool {
        self.reported.contains(id) && !mutation::on(Mutation::ReportedAgain)
    }

    /// Tells the application, once, that a proposal is refused which its proposer signed. Those that were purged are none
    /// of its business any more. A refused proposal takes its share of the rate at which proposals are taken.
    pub(super) fn report_refused(&mut self, proposal: &Proposal, error: Error, now: Time) {
        let (id, proposer) = (proposal.id(), proposal.signers[proposal.proposer]);
        if self.was_purged(proposal) || self.was_reported(&id) {
            return;
        }
        self.reported.insert(id);
        self.admission.took(self.proposer(proposer), 0, now.monotonic);
        let event = Event::ProposalRefused { proposer, error };
        let event = SessionEvent { session: Some(id), event, durable: None };
        self.host.outputs.push_back(Output::Event { event });
    }

    /// Whether another proposal of this signer may wait for an answer. Strangers, of whom there can be any number,
    /// share one half of the room; the other is for those with whom this node signed before, or that the application named.
    fn has_room_for(&self, proposer: &SignerKey, bytes: usize) -> bool {
        let most = limits::UNANSWERED_PROPOSALS.min(self.host.settings.max_sessions);
        self.index.unanswered(proposer).count < self.host.settings.max_proposals_per_signer
            && self.index.all_unanswered().count < most.div_ceil(self.share_of(proposer))
            && self.has_bytes_for(proposer, bytes)
    }

    /// Whether the sessions that this node has not joined may take this much more, of this proposer.
    fn has_bytes_for(&self, proposer: &SignerKey, more: usize) -> bool {
        self.index.unanswered(proposer).bytes + more <= limits::UNANSWERED_BYTES / 4
            && self.index.all_unanswered().bytes + more <= limits::UNANSWERED_BYTES / self.share_of(proposer)
    }

    /// By what the room is divided for this proposer.
    fn share_of(&self, proposer: &SignerKey) -> usize {
        if self.is_partner(proposer) { 1 } else { 2 }
    }

    fn certified(
        &mut self,
        certificate: Certificate,
        from: Option<SignerKey>,
        now: Time,
    ) -> Result<SessionId, WireError> {
        let id = certificate.session;
        let of_others = from.is_some_and(|from| self.is_of_others(&id, &from));
        if let Some(packed) = self.sessions.get(&id).and_then(Slot::packed)
            && packed.needs_no_certificate()
            && !of_others
        {
            return Ok(id);
        }
        if !self.sessions.contains(&id) || of_others {
            if let Some(from) = from.filter(|from| of_others || !self.is_answered_of(&id, from)) {
                self.ask_for(id, from, now);
            }
            return Err(WireError::UnknownSession(id));
        }
        let result = self.with_session(&id, now, |session, context| {
            let index = match from {
                Some(from) => Some(session.proposal().index_of(&from).ok_or(WireError::UnknownSession(id))?),
                None => None,
            };
            session.receive_certificate(certificate, index, context)
        });
        result.unwrap_or(Ok(())).map(|()| id)
    }

    /// Whether this is a session that the signer has no part in.
    fn is_of_others(&self, id: &SessionId, signer: &SignerKey) -> bool {
        self.sessions.get(id).is_some_and(|session| session.index_of(signer).is_none())
    }

    /// Whether this is a proposal that was answered, and the signer has a part in it.
    fn is_answered_of(&self, id: &SessionId, signer: &SignerKey) -> bool {
        self.answered.get(id).is_some_and(|answer| answer.is_of(signer))
    }

    /// A signer asks about a proposal that was answered and forgotten: tell it what ended it.
    fn tell_answer(
        &mut self,
        have: &pb::Have,
        id: SessionId,
        to: SignerKey,
        now: Time,
    ) -> Result<(), WireError> {
        frames::check_comparison(have)?;
        let Some(word) = self.answered.get(&id).and_then(Answer::word).map(<[u8]>::to_vec) else {
            return Ok(());
        };
        let known = Envelope::decode(&word)?.id();
        let lacks = have.envelopes.chunks_exact(32).all(|id| id != known.0);
        if !have.answer && lacks && self.speaks_of(id, to, now) {
            for frame in frames::envelopes(id, vec![word], &[]) {
                self.host.outputs.push_back(Output::Send { session: id, to, frame, waits: Waits::Never });
            }
        }
        Ok(())
    }

    /// Tells a peer that nothing is here of a session it speaks of, so that it sends all.
    fn ask_for(&mut self, id: SessionId, from: SignerKey, now: Time) {
        if self.speaks_of(id, from, now) {
            let frame = frames::comparison(id, std::iter::empty(), false, true, UnixMillis(0));
            self.host.outputs.push_back(Output::Send { session: id, to: from, frame, waits: Waits::Never });
        }
    }

    /// Whether a peer is answered now that speaks of a session that is not here.
    fn speaks_of(&mut self, id: SessionId, from: SignerKey, now: Time) -> bool {
        let asked = self.unknown.get(&(id, from));
        if asked.is_some_and(|at| now.monotonic < *at + ASK_UNKNOWN_EVERY) {
            return false;
        }
        // Each peer has its own share, so that one that names sessions at random hides no others' questions.
        let of_peer = self.unknown.keys().filter(|(_, peer)| *peer == from).count();
        if of_peer >= UNKNOWN_SESSIONS_PER_PEER || self.unknown.len() >= UNKNOWN_SESSIONS {
            self.unknown.retain(|_, at| now.monotonic < *at + ASK_UNKNOWN_EVERY);
            return false;
        }
        self.unknown.insert((id, from), now.monotonic);
        true
    }

    fn count(&mut self, error: WireError) -> WireError {
        match error {
            WireError::Signature(_) => self.refused.signatures += 1,
            WireError::UnknownSession(_) | WireError::NoSuchSigner { .. } => self.refused.strangers += 1,
            _ => self.refused.malformed += 1,
        }
        error
    }
}

/// Whether a proposal is refused for what it says, by every node whose build `reads` transactions, and for ever.
fn is_invalid(error: &ProposalError, reads: bool) -> bool {
    match error {
        // It depends on who proposes.
        ProposalError::Limit { what: "signers × key sets", .. } => false,
        ProposalError::Encoding(_)
        | ProposalError::Limit { .. }
        | ProposalError::Key { .. }
        | ProposalError::ParticipantKey { .. }
        | ProposalError::DuplicateKey { .. }
        | ProposalError::SameKeySet { .. }
        | ProposalError::UnusedKeySet { .. }
        | ProposalError::HardenedChild { .. }
        | ProposalError::Derivation
        | ProposalError::Index { .. }
        | ProposalError::AimedKey { .. }
        | ProposalError::BroadcastTimeout { .. } => true,
        ProposalError::Transaction(_) | ProposalError::FailoverNeedsFixedTransaction(_) => reads,
        // A newer version's, another node's, or one for another time.
        _ => false,
    }
}
