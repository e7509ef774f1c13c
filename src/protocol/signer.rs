//! [`Signer`], the holder of a secret key, and its requests.

use std::fmt;
use std::sync::Arc;

use crate::error::SignerError;
use crate::protocol::crypto::{NONCE, PARTIAL, Round, SessionKeys};
use crate::protocol::envelope::{Body, Content, Envelope};
use crate::protocol::proposal::{KeyOrigin, Participant, Proposal};
use crate::types::{SessionId, Signature, SignerKey};

/// Request for public nonces, one for each message of a session.
#[derive(Clone, Debug)]
pub struct NonceRequest {
    /// The session.
    pub proposal: Proposal,
    /// The attempt. A signer makes nonces for an attempt of a session once.
    pub attempt: u32,
    /// The signer index of the key.
    pub signer: usize,
    /// The aggregate keys.
    pub keys: Arc<dyn SessionKeys>,
}

/// Request for partial signatures, one for each message of a session.
#[derive(Clone, Debug)]
pub struct PartialRequest {
    /// The session.
    pub proposal: Proposal,
    /// The attempt: its nonces are used up by this, whatever the outcome.
    pub attempt: u32,
    /// The signer index of the key.
    pub signer: usize,
    /// The aggregate keys.
    pub keys: Arc<dyn SessionKeys>,
    /// The aggregate nonces, and the verification of the result.
    pub round: Arc<dyn Round>,
}

impl NonceRequest {
    /// The participant key that signs message `index`: the signer's own in that message's key set.
    pub fn participant_key(&self, index: usize) -> Option<SignerKey> {
        self.proposal.participant_key(index, self.signer)
    }

    /// The same with its origin.
    pub fn participant(&self, index: usize) -> Option<&Participant> {
        self.proposal.participant(index, self.signer)
    }
}

impl PartialRequest {
    /// The participant key that signs message `index`: the signer's own in that message's key set.
    pub fn participant_key(&self, index: usize) -> Option<SignerKey> {
        self.proposal.participant_key(index, self.signer)
    }

    /// The same with its origin.
    pub fn participant(&self, index: usize) -> Option<&Participant> {
        self.proposal.participant(index, self.signer)
    }
}

/// The participant keys that a node's signer holds.
pub trait HeldKeys: fmt::Debug + Send + Sync {
    /// Whether it can sign with the secret key of this one, of which the proposal says where it comes from. Answers at
    /// once.
    fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> bool;
}

/// One key alone.
impl HeldKeys for SignerKey {
    fn holds(&self, key: &SignerKey, _: Option<&KeyOrigin>) -> bool {
        self == key
    }
}

/// Holder of a signer's secret keys, which answers with signatures. It may be in another process or in a device.
///
/// Calls may block: the node makes them on a thread of their own, one at a time.
pub trait Signer: Send + Sync {
    /// The identity key. Always the same.
    fn public_key(&self) -> SignerKey;

    /// Whether it signs with this participant key. By default with the identity key alone.
    fn holds(&self, key: &SignerKey, _origin: Option<&KeyOrigin>) -> bool {
        *key == self.public_key()
    }

    /// Signs a 32-byte digest (an envelope id, or a presence record's hash) by BIP-340.
    fn sign(&self, digest: &[u8; 32]) -> Result<Signature, SignerError>;

    /// Makes secret nonces, keeps them for (session, attempt), and answers with the public ones, 66 bytes each.
    fn make_nonces(&self, request: &NonceRequest) -> Result<Vec<[u8; NONCE]>, SignerError>;

    /// Consumes the nonces of (session, attempt), and answers with partial signatures, 32 bytes each.
    fn make_partials(&self, request: &PartialRequest) -> Result<Vec<[u8; PARTIAL]>, SignerError>;

    /// Wipes nonces of the session for attempts up to and including this one, if any are left.
    fn forget(&self, session: &SessionId, attempt: u32);
}

/// Task of the state machine for a signer, executed by [`SignTask::run`].
#[derive(Clone, Debug)]
pub enum SignTask {
    /// Sign this body as it is.
    Envelope(Body),
    /// Make nonces, and sign the body that carries them.
    Nonces(NonceRequest),
    /// Make partial signatures, and sign the body that carries them.
    Partial {
        /// What to sign.
        request: PartialRequest,
        /// The hash of all `Nonces` envelopes.
        transcript: [u8; 32],
    },
}

impl SignTask {
    /// Calls the signer, verifies its partial signatures as BIP-327 advises, and builds the envelope.
    pub fn run(self, signer: &dyn Signer) -> Result<Envelope, SignerError> {
        let body = match self {
            Self::Envelope(body) => body,
            Self::Nonces(request) => {
                let nonces = signer.make_nonces(&request)?;
                if nonces.len() != request.proposal.messages.len() {
                    return Err(SignerError::Mismatch("one nonce for each message is needed"));
                }
                let content = Content::Nonces { attempt: request.attempt, nonces: nonces.concat() };
                Body { session: request.proposal.id(), signer: request.signer, content }
            }
            Self::Partial { request, transcript } => {
                let partials = signer.make_partials(&request)?.concat();
                if !request.round.verify_partials(request.signer, &partials) {
                    return Err(SignerError::InvalidPartial);
                }
                let content = Content::Partial { attempt: request.attempt, transcript, partials };
                Body { session: request.proposal.id(), signer: request.signer, content }
            }
        };
        Envelope::sign(body, |digest| signer.sign(digest))
    }
}
