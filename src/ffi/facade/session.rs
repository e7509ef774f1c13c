//! A session's handle.

use std::sync::Arc;

use super::election::Election;
use super::error::MusigError;
use super::live::Live;
use super::proposal::Proposal;
use super::status::SessionStatus;
use super::values::{SignerIndex, indices, signature_bytes};
use crate::node;
use crate::types::{SessionId, SignedTransaction, Txid};

/// A session of a node. It keeps the node's memory, not the node running. Operations go on when their caller is
/// cancelled.
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

    /// Consents to the proposal: this node will sign. Opens a closed session again. Answers once it is on the disk.
    pub async fn join(&self) -> Result<(), MusigError> {
        Ok(self.session.join().await?)
    }

    /// Refuses the proposal, which ends the session for everybody. At most 256 bytes of reason.
    pub async fn decline(&self, reason: String) -> Result<(), MusigError> {
        Ok(self.session.decline(reason).await?)
    }

    /// Stops taking part. If this node's partial signature is out, others may still finish. At most 256 bytes of
    /// reason.
    pub async fn abort(&self, reason: String) -> Result<(), MusigError> {
        Ok(self.session.abort(reason).await?)
    }

    /// Forgets the session, but for a tombstone until its expiry.
    pub async fn close_session(&self) -> Result<(), MusigError> {
        Ok(self.session.close_session().await?)
    }

    /// How it stands.
    pub async fn status(&self) -> Result<SessionStatus, MusigError> {
        Ok(self.session.status().await?.into())
    }

    /// Its terms.
    pub async fn proposal(&self) -> Result<Proposal, MusigError> {
        Ok((&self.session.proposal().await?).into())
    }

    /// The finished signatures (64 bytes), one for each message; none until they exist.
    pub async fn final_signatures(&self) -> Result<Option<Vec<Vec<u8>>>, MusigError> {
        Ok(self.session.final_signatures().await?.map(signature_bytes))
    }

    /// The finished transaction; none until it exists, and in sessions over messages.
    pub async fn final_transaction(&self) -> Result<Option<SignedTransaction>, MusigError> {
        Ok(self.session.final_transaction().await?)
    }

    /// The election: coordinator, priority list, proof.
    pub async fn election(&self) -> Result<Election, MusigError> {
        Ok(self.session.election().await?.into())
    }

    /// All signer indices, in the order in which they take their turn.
    pub async fn priority_list(&self) -> Result<Vec<SignerIndex>, MusigError> {
        Ok(indices(self.session.priority_list().await?))
    }

    /// Whether this node's signer was elected: the first of the list.
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

    /// Says that the transaction was broadcast, or seen. Without an observer that ends this node's watch. The
    /// transaction's id is needed only in sessions over messages, to tell the others.
    #[uniffi::method(default(txid = None))]
    pub async fn notify_broadcast_complete(&self, txid: Option<Txid>) -> Result<(), MusigError> {
        Ok(self.session.notify_broadcast_complete(txid).await?)
    }

    /// Says that this node cannot reach the network: the next signers take over at once. At most 256 bytes of reason.
    pub async fn report_broadcast_failed(&self, reason: String) -> Result<(), MusigError> {
        Ok(self.session.report_broadcast_failed(reason).await?)
    }

    /// Broadcasts now, whoever's turn it is.
    pub async fn broadcast_now(&self) -> Result<(), MusigError> {
        Ok(self.session.broadcast_now().await?)
    }

    /// Everything the session holds, as bytes for `import_sessions`: push, QR code, mailbox or file instead of the
    /// network. Nothing in it is secret but the terms.
    pub async fn export_session(&self) -> Result<Vec<u8>, MusigError> {
        Ok(self.session.export().await?)
    }
}
