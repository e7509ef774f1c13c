//! Signers: holders of secret keys.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::error::{MusigError, SignerProblem};
use super::keys::{KeyOrigin, Participant};
use super::live::{InUse, Live};
use super::proposal::Proposal;
use super::values::{SignerIndex, number};
use crate::error::SignerError;
use crate::protocol::crypto::{NONCE, PARTIAL, key_set as core_keys};
use crate::signer::{self as core, Signer as _};
use crate::types::{SessionId, SignerKey};

/// Foreign signer: holder of participant keys in another process, or in a device that speaks MuSig2. The identity key is
/// not among them: it lives at the node. Called on a thread of its own, one call at a time; it may block. `SignerFailed`
/// says why it did not sign.
#[uniffi::export(rust, foreign)]
pub trait Signer: Send + Sync {
    /// Whether it signs with this participant key. The origin is what the proposal says of it, a hint: derive along it
    /// below a key that was configured, at most a few unhardened steps, and compare. It answers from what it was told when
    /// it was made: a device need not be there.
    fn holds(&self, key: SignerKey, origin: Option<KeyOrigin>) -> Result<bool, MusigError>;

    /// Makes secret nonces, keeps them for (session, attempt), and returns the public ones: 66 bytes for each message of
    /// the request. Once for each attempt.
    fn make_nonces(&self, request: Arc<NonceRequest>) -> Result<Vec<Vec<u8>>, MusigError>;

    /// Consumes the nonces of (session, attempt), and returns partial signatures: 32 bytes for each message of the
    /// request.
    fn make_partials(&self, request: Arc<PartialRequest>) -> Result<Vec<Vec<u8>>, MusigError>;

    /// Wipes the session's unused nonces of attempts up to and including this one.
    fn forget(&self, session: SessionId, attempt: u32) -> Result<(), MusigError>;
}

/// Request for public nonces: one for each message whose participant key the signer holds.
#[derive(uniffi::Object)]
pub struct NonceRequest {
    request: core::NonceRequest,
    _live: Live,
}

#[uniffi::export]
impl NonceRequest {
    /// The terms of the session.
    pub fn proposal(&self) -> Proposal {
        (&self.request.proposal).into()
    }

    /// The attempt, from 0 on. A signer makes nonces for an attempt of a session once.
    pub fn attempt(&self) -> u32 {
        self.request.attempt
    }

    /// The signer's own index.
    pub fn signer(&self) -> SignerIndex {
        self.request.signer.into()
    }

    /// The messages to sign, by their positions in the proposal, ascending. The other lists have an element for each.
    pub fn messages(&self) -> Vec<u32> {
        self.request.messages.iter().map(|message| number(*message)).collect()
    }

    /// The participant keys by which this signer signs the messages, with their origins.
    pub fn participants(&self) -> Vec<Participant> {
        let each = self.request.messages.iter().filter_map(|message| self.request.participant(*message));
        each.cloned().map(Participant::from).collect()
    }

    /// The participant keys by which this signer signs the messages.
    pub fn participant_keys(&self) -> Vec<SignerKey> {
        self.request.messages.iter().filter_map(|message| self.request.participant_key(*message)).collect()
    }

    /// The indices of the key sets that the participant keys are of.
    pub fn key_sets(&self) -> Vec<u32> {
        let messages = self.request.messages.iter();
        let each = messages.filter_map(|message| self.request.proposal.messages.get(*message));
        each.map(|message| number(message.key_set)).collect()
    }

    /// The x-only keys (32 bytes) that the messages are signed with.
    pub fn output_keys(&self) -> Vec<Vec<u8>> {
        let messages = self.request.messages.iter();
        messages.map(|message| self.request.keys.output_key(*message).to_vec()).collect()
    }
}

/// Request for partial signatures: one for each message whose participant key the signer holds.
#[derive(uniffi::Object)]
pub struct PartialRequest {
    request: core::PartialRequest,
    _live: Live,
}

#[uniffi::export]
impl PartialRequest {
    /// The terms of the session.
    pub fn proposal(&self) -> Proposal {
        (&self.request.proposal).into()
    }

    /// The attempt, from 0 on. Its nonces are consumed, whatever the outcome.
    pub fn attempt(&self) -> u32 {
        self.request.attempt
    }

    /// The signer's own index.
    pub fn signer(&self) -> SignerIndex {
        self.request.signer.into()
    }

    /// The messages to sign, by their positions in the proposal, ascending. The other lists have an element for each.
    pub fn messages(&self) -> Vec<u32> {
        self.request.messages.iter().map(|message| number(*message)).collect()
    }

    /// The participant keys by which this signer signs the messages, with their origins.
    pub fn participants(&self) -> Vec<Participant> {
        let each = self.request.messages.iter().filter_map(|message| self.request.participant(*message));
        each.cloned().map(Participant::from).collect()
    }

    /// The participant keys by which this signer signs the messages.
    pub fn participant_keys(&self) -> Vec<SignerKey> {
        self.request.messages.iter().filter_map(|message| self.request.participant_key(*message)).collect()
    }

    /// The indices of the key sets that the participant keys are of.
    pub fn key_sets(&self) -> Vec<u32> {
        let messages = self.request.messages.iter();
        let each = messages.filter_map(|message| self.request.proposal.messages.get(*message));
        each.map(|message| number(message.key_set)).collect()
    }

    /// The x-only keys (32 bytes) that the messages are signed with.
    pub fn output_keys(&self) -> Vec<Vec<u8>> {
        let messages = self.request.messages.iter();
        messages.map(|message| self.request.keys.output_key(*message).to_vec()).collect()
    }

    /// The aggregate nonces (BIP-327 `aggnonce`, 66 bytes) of the messages.
    pub fn aggregate_nonces(&self) -> Vec<Vec<u8>> {
        let messages = self.request.messages.iter();
        messages.map(|message| self.request.round.aggregate_nonce(*message).to_vec()).collect()
    }
}

/// Signer with its secret key and nonces in this process's memory, which is neither swapped nor part of a core dump
/// where the system allows that.
#[derive(uniffi::Object)]
pub struct LocalSigner {
    pub(super) signer: Arc<core::LocalSigner>,
    _live: Live,
}

impl LocalSigner {
    fn wrap(signer: core::LocalSigner) -> Arc<Self> {
        Arc::new(Self { signer: Arc::new(signer), _live: Live::new("LocalSigner") })
    }
}

fn secret_bytes(secret: Vec<u8>) -> Result<Zeroizing<[u8; 32]>, MusigError> {
    let secret = Zeroizing::new(secret);
    match secret.as_slice().try_into() {
        Ok(bytes) => Ok(Zeroizing::new(bytes)),
        Err(_) => Err(SignerError::InvalidSecret.into()),
    }
}

#[uniffi::export]
impl LocalSigner {
    /// Makes a signer of a secret key of 32 bytes. Wipe your own copy afterwards.
    #[uniffi::constructor]
    pub fn new(secret: Vec<u8>) -> Result<Arc<Self>, MusigError> {
        Ok(Self::wrap(core::LocalSigner::new(*secret_bytes(secret)?)?))
    }

    /// Makes a signer with a new key that cannot be read back: for tests and one-off sessions.
    #[uniffi::constructor]
    pub fn generate() -> Result<Arc<Self>, MusigError> {
        Ok(Self::wrap(core::LocalSigner::generate()?))
    }

    /// The identity key.
    pub fn public_key(&self) -> SignerKey {
        self.signer.public_key()
    }

    /// Adds the secret key of a participant key (32 bytes), also while a node runs with this signer. From the first one on
    /// sessions are signed with participant keys alone, not with the identity key. After `lock` each is to be added again.
    pub fn add_key(&self, secret: Vec<u8>) -> Result<SignerKey, MusigError> {
        Ok(self.signer.add_key(*secret_bytes(secret)?)?)
    }

    /// Adds an extended private key (BIP-32, `xprv…` or `tprv…`) with its origin (BIP-380), usually that of an account,
    /// below the last hardened step; also while a node runs with this signer. Then a participant key is this signer's too
    /// if its own origin in the proposal leads there: fingerprint and path of this one, then at most 8 unhardened steps.
    /// The key at the end of these is derived and compared. From then on sessions are signed with participant keys alone;
    /// after `lock` it is to be added again. The identity key must be no unhardened relative of it: this is refused for the
    /// extended key itself, its children 0 to 19, and the children 0 to 19 of its children 0 and 1.
    pub fn add_xprv(&self, xprv: String, origin: KeyOrigin) -> Result<(), MusigError> {
        let xprv = Zeroizing::new(xprv);
        Ok(self.signer.add_xprv(&xprv, origin.try_into()?)?)
    }

    /// Whether this signer signs sessions with a key, locked or not. The key's origin is needed for one that is below an
    /// extended private key.
    #[uniffi::method(default(origin = None))]
    pub fn holds(&self, key: SignerKey, origin: Option<KeyOrigin>) -> Result<bool, MusigError> {
        let origin = origin.map(core_keys::KeyOrigin::try_from).transpose()?;
        Ok(self.signer.holds(&key, origin.as_ref()))
    }

    /// Wipes the keys and all secret nonces. The node still watches, relays and broadcasts.
    pub fn lock(&self) {
        self.signer.lock();
    }

    /// Unlocks the signer with the secret of its identity key.
    pub fn unlock(&self, secret: Vec<u8>) -> Result<(), MusigError> {
        Ok(self.signer.unlock(*secret_bytes(secret)?)?)
    }

    /// Whether the signer is locked: its key is wiped.
    pub fn is_locked(&self) -> bool {
        self.signer.is_locked()
    }

    /// `Signer.make_nonces`, for a signer that wraps this one: public nonces.
    pub fn make_nonces(&self, request: Arc<NonceRequest>) -> Result<Vec<Vec<u8>>, MusigError> {
        let nonces = self.signer.make_nonces(&request.request)?;
        Ok(nonces.into_iter().map(|nonce| nonce.to_vec()).collect())
    }

    /// `Signer.make_partials`, for a signer that wraps this one: partial signatures.
    pub fn make_partials(&self, request: Arc<PartialRequest>) -> Result<Vec<Vec<u8>>, MusigError> {
        let partials = self.signer.make_partials(&request.request)?;
        Ok(partials.into_iter().map(|partial| partial.to_vec()).collect())
    }

    /// `Signer.forget`, for a signer that wraps this one: wipes unused nonces.
    pub fn forget(&self, session: SessionId, attempt: u32) -> Result<(), MusigError> {
        self.signer.forget(&session, attempt);
        Ok(())
    }
}

pub(super) struct ForeignSigner {
    object: Arc<dyn Signer>,
    _in_use: InUse,
    _live: Live,
}

impl ForeignSigner {
    pub(super) fn new(object: Arc<dyn Signer>, in_use: InUse) -> Self {
        Self { object, _in_use: in_use, _live: Live::new("Signer") }
    }
}

/// Error of a foreign signer, as the core's own kind where the kind decides what happens next.
fn refused(error: MusigError) -> SignerError {
    match error {
        MusigError::SignerFailed { problem: SignerProblem::Locked, .. } => SignerError::Locked,
        MusigError::SignerFailed { problem: SignerProblem::NonceGone, .. } => SignerError::NonceGone,
        MusigError::SignerFailed { problem: SignerProblem::NoRandomness, .. } => SignerError::NoRandomness,
        other => SignerError::Other(other.to_string()),
    }
}

fn arrays<const N: usize>(parts: Vec<Vec<u8>>, wrong: &'static str) -> Result<Vec<[u8; N]>, SignerError> {
    parts.into_iter().map(|part| part.try_into().map_err(|_| SignerError::Mismatch(wrong))).collect()
}

impl core::Signer for ForeignSigner {
    fn holds(&self, key: &SignerKey, origin: Option<&core_keys::KeyOrigin>) -> Result<bool, SignerError> {
        self.object.holds(*key, origin.cloned().map(KeyOrigin::from)).map_err(refused)
    }

    fn make_nonces(&self, request: &core::NonceRequest) -> Result<Vec<[u8; NONCE]>, SignerError> {
        let request = NonceRequest { request: request.clone(), _live: Live::new("NonceRequest") };
        arrays(self.object.make_nonces(Arc::new(request)).map_err(refused)?, "a nonce has 66 bytes")
    }

    fn make_partials(&self, request: &core::PartialRequest) -> Result<Vec<[u8; PARTIAL]>, SignerError> {
        let request = PartialRequest { request: request.clone(), _live: Live::new("PartialRequest") };
        let partials = self.object.make_partials(Arc::new(request)).map_err(refused)?;
        arrays(partials, "a partial signature has 32 bytes")
    }

    fn forget(&self, session: &SessionId, attempt: u32) {
        if let Err(error) = self.object.forget(*session, attempt) {
            tracing::warn!(%error, "the signer did not forget its nonces");
        }
    }
}
