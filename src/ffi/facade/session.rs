//! Handles of sessions.

use std::sync::Arc;

use super::election::Election;
use super::error::MusigError;
use super::live::Live;
use super::proposal::Proposal;
use super::request::JoinOptions;
use super::status::SessionStatus;
use super::summary::{Summary, SummaryOptions};
use super::values::{SignerIndex, indices, signature_bytes};
use crate::node;
use crate::types::{SessionId, SignedTransaction, Txid};

/// Handle of a session. It keeps the node's memory alive, not the node running. Calls that change state go on when
/// their caller is cancelled.
#[derive(Debug, uniffi::Object)]
pub struct Session {
    session: node::Session,
    _live: Live,
}

impl Session {
    pub(super) fn wrap(session: node::Session) -> Arc<Self> {
        Arc::new(Self { session, _live: Live::new("Session") })
    }
}

#[uniffi::export]
impl Session {
    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.session.id()
    }

    /// Consents to the proposal: this node will sign. Reopens a closed session. Returns once that is on the disk. The
    /// options are the application's word on what the node cannot find out itself.
    #[uniffi::method(default(options = None))]
    pub async fn join(&self, options: Option<JoinOptions>) -> Result<(), MusigError> {
        Ok(self.session.join_with(options.unwrap_or_default()).await?)
    }

    /// Declines the proposal, which ends the session for all signers. The reason has at most 256 bytes.
    ///
    /// Errors: `Unstored` of the store if the disk is full or slow: it took effect.
    pub async fn decline(&self, reason: String) -> Result<(), MusigError> {
        Ok(self.session.decline(reason).await?)
    }

    /// Aborts the session: this node stops taking part. If its partial signature was sent, others may still finish. The
    /// reason has at most 256 bytes.
    ///
    /// Errors: `Unstored` of the store if the disk is full or slow: it took effect.
    pub async fn abort(&self, reason: String) -> Result<(), MusigError> {
        Ok(self.session.abort(reason).await?)
    }

    /// Closes the session: this node forgets it, but for a tombstone until its expiry.
    ///
    /// Errors: `NotSettled` while this node watches over the broadcast, or others may complete the session with its partial
    /// signature: closing would give that up, which `abandon_session` does.
    pub async fn close_session(&self) -> Result<(), MusigError> {
        Ok(self.session.close_session().await?)
    }

    /// Gives the session's transaction up for this node, and closes the session.
    ///
    /// The others are not told, and may complete and broadcast it. Finished signatures that come later are kept, passed on
    /// and told once, by `SessionComplete` with `aborted_here`. This node takes no turn until `broadcast_now`; `join` opens
    /// the session again.
    pub async fn abandon_session(&self) -> Result<(), MusigError> {
        Ok(self.session.abandon_session().await?)
    }

    /// The session's status.
    pub async fn status(&self) -> Result<SessionStatus, MusigError> {
        Ok(self.session.status().await?.into())
    }

    /// Summary of what the session signs, to be shown before it is joined, with warnings of what this node's other
    /// sessions spend and pay too.
    pub async fn summary(&self, options: SummaryOptions) -> Result<Summary, MusigError> {
        Ok(self.session.summary(options.into()).await?.into())
    }

    /// The session's terms.
    pub async fn proposal(&self) -> Result<Proposal, MusigError> {
        Ok((&self.session.proposal().await?).into())
    }

    /// The final signatures (64 bytes), one for each message; none until they exist.
    pub async fn final_signatures(&self) -> Result<Option<Vec<Vec<u8>>>, MusigError> {
        Ok(self.session.final_signatures().await?.map(signature_bytes))
    }

    /// The final transaction; none until it exists, and in sessions over messages.
    pub async fn final_transaction(&self) -> Result<Option<SignedTransaction>, MusigError> {
        Ok(self.session.final_transaction().await?)
    }

    /// The session's election: coordinator, priority list, proof.
    pub async fn election(&self) -> Result<Election, MusigError> {
        Ok(self.session.election().await?.into())
    }

    /// All signer indices, in the order in which they take their turn.
    pub async fn priority_list(&self) -> Result<Vec<SignerIndex>, MusigError> {
        Ok(indices(self.session.priority_list().await?))
    }

    /// Whether this node's signer is the elected coordinator: the first of the priority list.
    pub async fn is_coordinator(&self) -> Result<bool, MusigError> {
        Ok(self.session.is_coordinator().await?)
    }

    /// Whether this node's own turn is open.
    pub async fn is_current_coordinator(&self) -> Result<bool, MusigError> {
        Ok(self.session.is_current_coordinator().await?)
    }

    /// The libp2p peer id of the elected coordinator, if it is connected.
    pub async fn coordinator_peer_id(&self) -> Result<Option<String>, MusigError> {
        Ok(self.session.coordinator_peer_id().await?)
    }

    /// Reports that the transaction was broadcast, or seen. Without an observer that ends this node's watch. The
    /// transaction's id is needed only in sessions over messages, for the claim to the other signers.
    #[uniffi::method(default(txid = None))]
    ///
    /// Errors: `Unstored` of the store if the disk is full or slow: it took effect.
    pub async fn notify_broadcast_complete(&self, txid: Option<Txid>) -> Result<(), MusigError> {
        Ok(self.session.notify_broadcast_complete(txid).await?)
    }

    /// Reports that this node cannot broadcast (NACK): the next signers take over at once. The reason has at most 256
    /// bytes.
    ///
    /// Errors: `Unstored` of the store if the disk is full or slow: it took effect.
    pub async fn report_broadcast_failed(&self, reason: String) -> Result<(), MusigError> {
        Ok(self.session.report_broadcast_failed(reason).await?)
    }

    /// Submits the transaction now, regardless of whose turn it is.
    pub async fn broadcast_now(&self) -> Result<(), MusigError> {
        Ok(self.session.broadcast_now().await?)
    }

    /// Exports the session's envelopes as bytes for `import_sessions`: for push, QR code, mailbox or file instead of
    /// the network. They hold no secret but the terms.
    pub async fn export_session(&self) -> Result<Vec<u8>, MusigError> {
        Ok(self.session.export().await?)
    }
}
