//! Handle of a session.

use super::{Node, Reply};
#[cfg(feature = "bitcoin")]
use crate::chain::summary::{Summary, SummaryOptions, summarize_beside};
use crate::error::Error;
use crate::protocol::consent::JoinOptions;
use crate::protocol::election::Election;
use crate::protocol::proposal::Proposal;
use crate::protocol::status::SessionStatus;
use crate::types::{SessionId, Signature, SignedTransaction, Txid};

/// Handle of a session. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Session {
    node: Node,
    id: SessionId,
}

impl Session {
    pub(super) fn new(node: Node, id: SessionId) -> Self {
        Self { node, id }
    }

    /// See [`Node::check_process`].
    #[cfg(feature = "capi")]
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        self.node.check_process()
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Consents to the proposal: this node will sign. Opens a closed session again. Answers once it is synced.
    ///
    /// With failover the signatures alone must complete the transaction, so the observer, if it can tell, is asked for
    /// every coin that it spends.
    ///
    /// Errors: [`Error::Consent`] for an input of somebody else that this node cannot verify, and for a coin that is
    /// spent or unknown; then [`Session::join_with`] can still consent.
    pub fn join(&self) -> Reply<()> {
        self.join_with(JoinOptions::default())
    }

    /// Consents to the proposal as [`Session::join`] does, with the application's word on what the node cannot find out
    /// itself.
    pub fn join_with(&self, options: JoinOptions) -> Reply<()> {
        let id = self.id;
        self.node.consent(move |engine, request, now| engine.join_with(&id, options, request, now))
    }

    /// Declines the proposal, which ends the session for all signers. `reason` has at most 256 bytes.
    ///
    /// Errors: [`StoreError::Unstored`](crate::error::StoreError::Unstored) if the disk is full or slow: it took effect.
    pub fn decline(&self, reason: impl Into<String>) -> Reply<()> {
        let (id, reason) = (self.id, reason.into());
        self.node.act(move |engine, request, now| engine.decline(&id, reason, request, now))
    }

    /// Aborts the session. If this node's partial signature was sent, the others may still complete it. `reason` has at
    /// most 256 bytes.
    ///
    /// Errors: [`StoreError::Unstored`](crate::error::StoreError::Unstored) if the disk is full or slow: it took effect.
    pub fn abort(&self, reason: impl Into<String>) -> Reply<()> {
        let (id, reason) = (self.id, reason.into());
        self.node.act(move |engine, request, now| engine.abort(&id, reason, request, now))
    }

    /// Closes the session and deletes it, except for a tombstone until its expiry.
    ///
    /// Errors: [`Error::NotSettled`] while this node watches over the broadcast, or others may complete the session with its
    /// partial signature: closing would give that up, which [`Session::abandon_session`] does.
    pub fn close_session(&self) -> Reply<()> {
        let id = self.id;
        self.node.request(move |engine, request, now| engine.close(&id, request, now))
    }

    /// Gives the session's transaction up for this node, and closes the session.
    ///
    /// The others are not told, and may complete and broadcast it. Finished signatures that come later are kept, passed on
    /// and told once, by [`SessionComplete`](crate::event::Event::SessionComplete) with `aborted_here`. This node takes no turn
    /// until [`Session::broadcast_now`]; [`Session::join`] opens the session again.
    pub fn abandon_session(&self) -> Reply<()> {
        let id = self.id;
        self.node.request(move |engine, request, now| engine.abandon(&id, request, now))
    }

    /// Status of the session.
    pub fn status(&self) -> Reply<SessionStatus> {
        let id = self.id;
        self.node.question(move |engine, now| engine.status(&id, now).ok_or(Error::UnknownSession(id)))
    }

    /// Terms of the session.
    pub fn proposal(&self) -> Reply<Proposal> {
        let id = self.id;
        self.node.question(move |engine, _| engine.proposal(&id).ok_or(Error::UnknownSession(id)))
    }

    /// Summary of what the session signs, to be shown before [`Session::join`], with warnings of what this node's other
    /// sessions spend and pay too. What pays to a descriptor of [`Node::add_descriptor`](super::Node::add_descriptor) is own.
    #[cfg(feature = "bitcoin")]
    pub fn summary(&self, options: SummaryOptions) -> Reply<Summary> {
        let id = self.id;
        self.node.ask_beside_wallet(move |actor, reply| {
            let Some(proposal) = actor.engine.proposal(&id) else {
                return drop(reply.send(Err(Error::UnknownSession(id))));
            };
            let (others, wallet) = (actor.engine.pending_transactions(&id), actor.wallet.scripts());
            // Thousands of transactions take long to read, and turns do not wait for that.
            drop(tokio::task::spawn_blocking(move || {
                let summary = summarize_beside(&proposal, &options, &wallet, &others);
                drop(reply.send(summary.map_err(Error::Proposal)));
            }));
        })
    }

    /// Signatures, one for each message; `None` until they are complete.
    pub fn final_signatures(&self) -> Reply<Option<Vec<Signature>>> {
        let id = self.id;
        self.node.question(move |engine, _| {
            engine.own_index(&id).ok_or(Error::UnknownSession(id))?;
            Ok(engine.certificate(&id).map(|certificate| certificate.signatures))
        })
    }

    /// Signed transaction; `None` until the signatures are complete, and in sessions over raw messages.
    pub fn final_transaction(&self) -> Reply<Option<SignedTransaction>> {
        let id = self.id;
        self.node.question(move |engine, _| {
            engine.own_index(&id).ok_or(Error::UnknownSession(id))?;
            Ok(engine.final_transaction(&id))
        })
    }

    /// Result of the election: coordinator, priority list, proof.
    pub fn election(&self) -> Reply<Election> {
        let id = self.id;
        self.node.question(move |engine, _| engine.election(&id).ok_or(Error::UnknownSession(id)))
    }

    /// All signer indices in the order of their turns.
    pub fn priority_list(&self) -> Reply<Vec<usize>> {
        let id = self.id;
        self.node.question(move |engine, _| {
            engine.election(&id).map(|election| election.priority_list).ok_or(Error::UnknownSession(id))
        })
    }

    /// Whether this node's signer is the elected coordinator, the first of the priority list.
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

    /// libp2p peer id of the elected coordinator; `None` if it is not connected.
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

    /// Reports that the transaction was broadcast, or seen. Without an observer this ends the node's watch. `txid` is
    /// needed in sessions over raw messages only, for the claim to the other signers.
    ///
    /// Errors: [`StoreError::Unstored`](crate::error::StoreError::Unstored) if the disk is full or slow: it took effect.
    pub fn notify_broadcast_complete(&self, txid: Option<Txid>) -> Reply<()> {
        let id = self.id;
        self.node.act(move |engine, request, now| engine.notify_broadcast(&id, txid, request, now))
    }

    /// Reports that this node cannot broadcast: the next turn opens at once. `reason` has at most 256
    /// bytes.
    pub fn report_broadcast_failed(&self, reason: impl Into<String>) -> Reply<()> {
        let (id, reason) = (self.id, reason.into());
        self.node.act(move |engine, request, now| engine.report_broadcast_failed(&id, reason, request, now))
    }

    /// Submits now, in whichever turn, and whatever the disk does.
    pub fn broadcast_now(&self) -> Reply<()> {
        let id = self.id;
        self.node.act(move |engine, request, now| engine.broadcast_now(&id, request, now))
    }

    /// Everything that the session stores, as bytes for [`Node::import`]: for exchange by file, mailbox, push message or
    /// QR code instead of the network. Only the terms in it are confidential. Answers once what this node says in it is
    /// synced.
    pub fn export(&self) -> Reply<Vec<u8>> {
        let id = self.id;
        self.node.request(move |engine, request, now| engine.request_export(&id, request, now))
    }
}
