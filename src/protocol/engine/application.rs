//! What the application asks for, and what it may know.

use std::collections::HashSet;

use super::Engine;
use super::session_table::Slot;
use crate::error::{Error, ProposalError};
use crate::protocol::RequestId;
use crate::protocol::election::Election;
use crate::protocol::event::DurableKind;
use crate::protocol::proposal::Proposal;
use crate::protocol::session::Session;
use crate::protocol::status::SessionStatus;
use crate::protocol::wire::Certificate;
use crate::types::{SessionId, SignedTransaction, SignerKey, Time, Txid};

/// Each request is answered by one `Output::Done`, unless it fails at once.
impl Engine {
    /// Proposes a session. This node's consent is part of it.
    pub fn create(&mut self, proposal: Proposal, request: RequestId, now: Time) -> Result<SessionId, Error> {
        let id = proposal.id();
        if self.sessions.contains(&id) {
            return Err(Error::SessionExists(id));
        }
        if proposal.signers.get(proposal.proposer) != Some(&self.own) {
            return Err(ProposalError::NotASigner.into());
        }
        self.check_expiry(&proposal, now)?;
        self.check_room()?;
        let session = self.new_session(proposal, now)?;
        self.insert(session);
        self.with_session(&id, now, |session, context| session.propose(request, context));
        Ok(id)
    }

    /// Consents to a proposal, or opens a closed session again.
    pub fn join(&mut self, id: &SessionId, request: RequestId, now: Time) -> Result<(), Error> {
        self.known(id, now, |session, context| session.join(request, context))
    }

    /// Refuses a proposal. Ends the session for everybody, since it needs all signers.
    pub fn decline(
        &mut self,
        id: &SessionId,
        reason: String,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        self.known(id, now, |session, context| session.decline(reason, request, context))
    }

    /// Stops taking part. A partial signature that is out already is not taken back by that.
    pub fn abort(
        &mut self,
        id: &SessionId,
        reason: String,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        self.known(id, now, |session, context| session.abort(reason, request, context))
    }

    /// Forgets a session but for a tombstone, which stays until the expiry.
    pub fn close(&mut self, id: &SessionId, request: RequestId, now: Time) -> Result<(), Error> {
        self.known(id, now, |session, _| {
            session.close(request);
            Ok(())
        })
    }

    /// The application broadcast the transaction, or saw it.
    pub fn notify_broadcast(
        &mut self,
        id: &SessionId,
        txid: Option<Txid>,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        self.known(id, now, |session, context| session.notify(txid, request, context))
    }

    /// The application cannot reach the network: sends a NACK, so that the next signers take over.
    pub fn report_broadcast_failed(
        &mut self,
        id: &SessionId,
        reason: String,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        self.known(id, now, |session, context| session.report_failed(reason, request, context))
    }

    /// Broadcasts now, whoever's turn it is.
    pub fn broadcast_now(&mut self, id: &SessionId, request: RequestId, now: Time) -> Result<(), Error> {
        self.known(id, now, |session, context| session.broadcast_now(request, context))
    }

    /// The application handled a durable event.
    pub fn acknowledge(&mut self, id: &SessionId, kind: DurableKind, now: Time) {
        self.with_session(id, now, |session, _| session.acknowledge(kind));
    }

    /// Hands out all durable events again that were not acknowledged.
    pub fn redeliver(&mut self, now: Time) {
        for id in self.ids() {
            if self.sessions.get(&id).and_then(Slot::packed).is_none_or(|packed| !packed.summary.acknowledged)
            {
                self.with_session(&id, now, |session, _| session.redeliver());
            }
        }
    }

    /// The ids of all sessions, closed ones too.
    pub fn ids(&self) -> Vec<SessionId> {
        let mut ids: Vec<_> = self.sessions.ids().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// How a session stands.
    pub fn status(&mut self, id: &SessionId, now: Time) -> Option<SessionStatus> {
        match self.sessions.get_mut(id)? {
            Slot::Ready(session) => Some(session.status(now)),
            Slot::Packed(packed) => Some(Session::unpack(packed, *id, self.host.codec.as_ref()).status(now)),
        }
    }

    /// The proposal of a session.
    pub fn proposal(&self, id: &SessionId) -> Option<Proposal> {
        Some(match self.sessions.get(id)? {
            Slot::Ready(session) => session.proposal().clone(),
            Slot::Packed(packed) => packed.proposal(*id),
        })
    }

    /// The election of a session.
    pub fn election(&self, id: &SessionId) -> Option<Election> {
        self.view(id).map(|session| session.election().clone())
    }

    /// This node's signer index in a session.
    pub fn own_index(&self, id: &SessionId) -> Option<usize> {
        self.sessions.get(id).map(Slot::own_index)
    }

    /// Whether this node's own turn is open.
    pub fn own_turn_open(&self, id: &SessionId) -> Option<bool> {
        self.sessions.get(id).map(Slot::own_turn_open)
    }

    /// The finished signatures of a session.
    pub fn certificate(&self, id: &SessionId) -> Option<Certificate> {
        match self.sessions.get(id)? {
            Slot::Ready(session) => session.certificate().cloned(),
            Slot::Packed(packed) => packed.certificate(*id),
        }
    }

    /// The finished transaction of a session.
    pub fn final_transaction(&self, id: &SessionId) -> Option<SignedTransaction> {
        self.view(id)?.final_transaction().cloned()
    }

    /// Everything a session holds, as bytes: push, QR code or file instead of the network. What is not on the disk
    /// yet must not be handed out: see [`Engine::request_export`].
    pub fn export(&self, id: &SessionId) -> Option<Vec<u8>> {
        self.view(id).map(|session| session.export())
    }

    /// [`Engine::export`], to be handed out at the request's [`Output::Done`](crate::protocol::Output::Done): then all of
    /// it is on the disk.
    pub fn request_export(
        &mut self,
        id: &SessionId,
        request: RequestId,
        now: Time,
    ) -> Result<Vec<u8>, Error> {
        self.known(id, now, |session, _| {
            session.answer(request);
            Ok(session.export())
        })
    }

    /// All signers of sessions in which something is left to say, if they changed since the last call.
    pub fn wanted_signers_if_changed(&mut self) -> Option<HashSet<SignerKey>> {
        let mut wanted = self.index.wanted_if_changed()?;
        wanted.remove(&self.own);
        Some(wanted)
    }
}
