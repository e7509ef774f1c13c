//! [`Signer`], the holder of participant keys, and its requests; [`Identity`], the holder of the identity key.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ProposalError, SignerError};
use crate::protocol::crypto::{NONCE, PARTIAL, Round, SessionKeys};
use crate::protocol::envelope::{Body, Content, Envelope};
use crate::protocol::proposal::{KeyOrigin, Participant, Proposal};
use crate::types::{SessionId, Signature, SignerKey};

/// Request for public nonces, one for each message that is to be signed.
#[derive(Clone, Debug)]
pub struct NonceRequest {
    /// The session.
    pub proposal: Proposal,
    /// The attempt. A signer makes nonces for an attempt of a session once.
    pub attempt: u32,
    /// The signer index.
    pub signer: usize,
    /// The messages to sign, by their positions in the proposal, ascending: those whose participant keys are this
    /// signer's. The answer has one nonce for each.
    pub messages: Vec<usize>,
    /// The aggregate keys.
    pub keys: Arc<dyn SessionKeys>,
}

/// Request for partial signatures, one for each message that is to be signed.
#[derive(Clone, Debug)]
pub struct PartialRequest {
    /// The session.
    pub proposal: Proposal,
    /// The attempt: its nonces are used up by this, whatever the outcome.
    pub attempt: u32,
    /// The signer index.
    pub signer: usize,
    /// The messages to sign, as they were when nonces were asked for.
    pub messages: Vec<usize>,
    /// The aggregate keys.
    pub keys: Arc<dyn SessionKeys>,
    /// The aggregate nonces, and the verification of the result.
    pub round: Arc<dyn Round>,
}

impl NonceRequest {
    /// A request for all messages of a session.
    pub fn new(proposal: Proposal, attempt: u32, signer: usize, keys: Arc<dyn SessionKeys>) -> Self {
        let messages = (0..proposal.messages.len()).collect();
        Self { proposal, attempt, signer, messages, keys }
    }

    /// The participant key that signs message `index` of the proposal, with its origin: the signer's own in that
    /// message's key set.
    pub fn participant(&self, index: usize) -> Option<&Participant> {
        self.proposal.participant(index, self.signer)
    }

    /// The same without the origin.
    pub fn participant_key(&self, index: usize) -> Option<SignerKey> {
        self.proposal.participant_key(index, self.signer)
    }
}

impl PartialRequest {
    /// A request for all messages of a session.
    pub fn new(
        proposal: Proposal,
        attempt: u32,
        signer: usize,
        keys: Arc<dyn SessionKeys>,
        round: Arc<dyn Round>,
    ) -> Self {
        let messages = (0..proposal.messages.len()).collect();
        Self { proposal, attempt, signer, messages, keys, round }
    }

    /// The participant key that signs message `index` of the proposal, with its origin: the signer's own in that
    /// message's key set.
    pub fn participant(&self, index: usize) -> Option<&Participant> {
        self.proposal.participant(index, self.signer)
    }

    /// The same without the origin.
    pub fn participant_key(&self, index: usize) -> Option<SignerKey> {
        self.proposal.participant_key(index, self.signer)
    }
}

/// The participant keys that are held at the node itself.
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

/// Check that the participant keys in a signer's own place are its own, and no others are.
#[derive(Clone, Debug)]
pub struct KeyCheck {
    /// The proposal.
    pub proposal: Proposal,
    /// The signer index.
    pub signer: usize,
}

impl KeyCheck {
    /// Asks for each key whether it is held: first those that are to be, so that who knows none of them can ask for no
    /// more.
    ///
    /// Errors: [`ProposalError::KeyNotHeld`], [`ProposalError::DuplicateKey`]; those of `holds`.
    pub fn run(
        &self,
        holds: impl Fn(&SignerKey, Option<&KeyOrigin>) -> Result<bool, SignerError>,
    ) -> Result<(), Error> {
        let own = self.signer;
        let own_place = self.proposal.key_sets.iter().filter_map(|key_set| key_set.participants.get(own));
        for Participant { key, origin } in own_place {
            if !holds(key, origin.as_ref())? {
                return Err(ProposalError::KeyNotHeld { key: *key }.into());
            }
        }
        for key_set in &self.proposal.key_sets {
            for (signer, Participant { key, origin }) in key_set.participants.iter().enumerate() {
                let origin = origin.as_ref();
                if signer != own && (holds(key, origin)? || holds(&key.negated(), origin)?) {
                    let (first, second) = (own.min(signer), own.max(signer));
                    return Err(ProposalError::DuplicateKey { first, second }.into());
                }
            }
        }
        Ok(())
    }
}

/// Holder of a signer's participant keys: a device, another process, or [`LocalSigner`](crate::signer::LocalSigner).
///
/// The identity key is not among them: it lives at the node. Calls may block: the node makes those of a foreign signer on
/// a thread of their own, one at a time.
pub trait Signer: Send + Sync {
    /// Whether it signs with this participant key. The origin is what the proposal says of it, a hint: derive along it
    /// below a key that was configured, at most a few unhardened steps, and compare. It answers from what it was told
    /// when it was made: a device need not be there. An error is not the same as no: it is reported, and the proposal may
    /// come again.
    fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> Result<bool, SignerError>;

    /// Makes secret nonces, keeps them for (session, attempt), and answers with the public ones, 66 bytes each.
    fn make_nonces(&self, request: &NonceRequest) -> Result<Vec<[u8; NONCE]>, SignerError>;

    /// Consumes the nonces of (session, attempt), and answers with partial signatures, 32 bytes each.
    fn make_partials(&self, request: &PartialRequest) -> Result<Vec<[u8; PARTIAL]>, SignerError>;

    /// Wipes nonces of the session for attempts up to and including this one, if any are left.
    fn forget(&self, session: &SessionId, attempt: u32);
}

/// Holder of a signer's identity key, which signs envelopes and presence records.
pub trait Identity: Send + Sync {
    /// The identity key. Always the same.
    fn public_key(&self) -> SignerKey;

    /// Signs a 32-byte digest (an envelope id, or a presence record's hash) by BIP-340.
    fn sign(&self, digest: &[u8; 32]) -> Result<Signature, SignerError>;
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
    /// Calls the signer, verifies its partial signatures as BIP-327 advises, and builds the envelope, which the identity
    /// key signs.
    pub fn run(self, identity: &dyn Identity, signer: &dyn Signer) -> Result<Envelope, SignerError> {
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
        Envelope::sign(body, |digest| identity.sign(digest))
    }
}
