//! A session's handle.

use super::{Node, Reply};
use crate::error::Error;
use crate::protocol::election::Election;
use crate::protocol::proposal::Proposal;
use crate::protocol::status::SessionStatus;
use crate::types::{SessionId, Signature, SignedTransaction, Txid};

/// A session of a node. Cheap to clone. It keeps the node's memory, not the node running.
#[derive(Clone, Debug)]
pub struct Session {
    node: Node,
    id: SessionId,
}

impl Session {
    pub(super) fn new(node: Node, id: SessionId) -> Self {
        Self { node, id }
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Consents to the proposal: this node will sign. Opens a closed session again. Answers once it is on the disk.
    pub fn join(&self) -> Reply<()> {
        let id = self.id;
        self.node.request(move |engine, request, now| engine.join(&id, request, now))
    }

    /// Refuses the proposal, which ends the session for everybody. At most 256 bytes of reason.
    pub fn decline(&self, reason: impl Into<String>) -> Reply<()> {
        let (id, reason) = (self.id, reason.into());
        self.node.request(move |engine, request, now| engine.decline(&id, reason, request, now))
    }

    /// Stops taking part. If this node's partial signature is out, others may still finish.
    pub fn abort(&self, reason: impl Into<String>) -> Reply<()> {
        let (id, reason) = (self.id, reason.into());
        self.node.request(move |engine, request, now| engine.abort(&id, reason, request, now))
    }

    /// Forgets the session, but for a tombstone until its expiry.
    pub fn close_session(&self) -> Reply<()> {
        let id = self.id;
        self.node.request(move |engine, request, now| engine.close(&id, request, now))
    }

    /// How it stands.
    pub fn status(&self) -> Reply<SessionStatus> {
        let id = self.id;
        self.node.question(move |engine, now| engine.status(&id, now).ok_or(Error::UnknownSession(id)))
    }

    /// Its terms.
    pub fn proposal(&self) -> Reply<Proposal> {
        let id = self.id;
        self.node.question(move |engine, _| engine.proposal(&id).ok_or(Error::UnknownSession(id)))
    }

    /// The finished signatures, one for each message; `None` until they exist.
    pub fn final_signatures(&self) -> Reply<Option<Vec<Signature>>> {
        let id = self.id;
        self.node.question(move |engine, _| {
            engine.own_index(&id).ok_or(Error::UnknownSession(id))?;
            Ok(engine.certificate(&id).map(|certificate| certificate.signatures))
        })
    }

    /// The finished transaction; `None` until it exists, and in sessions over raw messages.
    pub fn final_transaction(&self) -> Reply<Option<SignedTransaction>> {
        let id = self.id;
        self.node.question(move |engine, _| {
            engine.own_index(&id).ok_or(Error::UnknownSession(id))?;
            Ok(engine.final_transaction(&id))
        })
    }

    /// The election: coordinator, priority list, proof.
    pub fn election(&self) -> Reply<Election> {
        let id = self.id;
        self.node.question(move |engine, _| engine.election(&id).ok_or(Error::UnknownSession(id)))
    }

    /// All signer indices, in the order in which they take their turn.
    pub fn priority_list(&self) -> Reply<Vec<usize>> {
        let id = self.id;
        self.node.question(move |engine, _| {
            engine.election(&id).map(|election| election.priority_list).ok_or(Error::UnknownSession(id))
        })
    }

    /// Whether this node's signer was elected: the first of the list.
    pub fn is_coordinator(&self) -> Reply<bool> {
        let id = self.id;
        self.node.question(move |engine, _| {
            let own = engine.own_index(&id).ok_or(Error::UnknownSession(id))?;
            Ok(engine.election(&id).is_some_and(|election| election.coordinator == own))
        })
    }

    /// Whether this node's own turn is open.
    pub fn is_current_coordinator(&self) -> Reply<bool> {
        let id = self.id;
        self.node.question(move |engine, _| engine.own_turn_open(&id).ok_or(Error::UnknownSession(id)))
    }

    /// The libp2p peer id of the elected coordinator, if it is connected.
    pub fn coordinator_peer_id(&self) -> Reply<Option<String>> {
        let (id, own_peer) = (self.id, self.node.peer_id().to_owned());
        self.node.ask(move |actor, reply| {
            let coordinator = actor.engine.election(&id).map(|election| election.coordinator);
            let proposal = actor.engine.proposal(&id);
            let answer = match (coordinator, proposal) {
                (Some(coordinator), Some(proposal)) => {
                    let key = proposal.signers[coordinator];
                    let own = key == *actor.engine.own_key();
                    Ok(if own { Some(own_peer) } else { actor.peer_of.get(&key).cloned() })
                }
                _ => Err(Error::UnknownSession(id)),
            };
            drop(reply.send(answer));
        })
    }

    /// Says that the transaction was broadcast, or seen. Without an observer that ends this node's watch. The
    /// transaction's id is needed only in sessions over raw messages, to tell the others.
    pub fn notify_broadcast_complete(&self, txid: Option<Txid>) -> Reply<()> {
        let id = self.id;
        self.node.request(move |engine, request, now| engine.notify_broadcast(&id, txid, request, now))
    }

    /// Reports that this node cannot broadcast: the next signers take over at once. At most 256 bytes of reason.
    pub fn report_broadcast_failed(&self, reason: impl Into<String>) -> Reply<()> {
        let (id, reason) = (self.id, reason.into());
        self.node
            .request(move |engine, request, now| engine.report_broadcast_failed(&id, reason, request, now))
    }

    /// Broadcasts now, whoever's turn it is.
    pub fn broadcast_now(&self) -> Reply<()> {
        let id = self.id;
        self.node.request(move |engine, request, now| engine.broadcast_now(&id, request, now))
    }

    /// Everything the session holds, as bytes for [`Node::import`]: push, QR code, mailbox or file instead of the
    /// network. Nothing in it is secret but the terms. Answers once all of it is on the disk.
    pub fn export(&self) -> Reply<Vec<u8>> {
        let id = self.id;
        self.node.request(move |engine, request, now| engine.request_export(&id, request, now))
    }
}
