//! [`Checked`], which verifies a foreign signer's answers.

use super::{NonceRequest, PartialRequest, Signer};
use crate::error::SignerError;
use crate::protocol::crypto::musig2::Musig2;
use crate::protocol::crypto::{NONCE, PARTIAL, Scheme};
use crate::protocol::proposal::KeyOrigin;
use crate::types::{SessionId, Signature, SignerKey};

/// Foreign signer whose answers are verified before use: a signature that does not verify would take the place of a
/// valid one at every peer, and nonces that are not points would be a proof against its own key. (Partial signatures are
/// verified for every signer, by [`SignTask::run`](super::SignTask::run).)
pub(crate) struct Checked<'a>(pub &'a dyn Signer);

impl Signer for Checked<'_> {
    fn public_key(&self) -> SignerKey {
        self.0.public_key()
    }

    fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> bool {
        self.0.holds(key, origin)
    }

    fn sign(&self, digest: &[u8; 32]) -> Result<Signature, SignerError> {
        let signature = self.0.sign(digest)?;
        if Musig2.verify(&self.public_key(), digest, &signature) {
            return Ok(signature);
        }
        Err(SignerError::Other("its signature does not verify; it was not sent. Check the device".into()))
    }

    fn make_nonces(&self, request: &NonceRequest) -> Result<Vec<[u8; NONCE]>, SignerError> {
        let nonces = self.0.make_nonces(request)?;
        let own = nonces.concat();
        // As if they were everybody's: it is looked at whether they are points.
        let all = vec![own.as_slice(); request.proposal.signers.len()];
        if request.keys.begin_round(&all).is_ok() {
            return Ok(nonces);
        }
        // The attempt is used up; the next one gets other nonces.
        Err(SignerError::Mismatch(
            "its public nonces are not two points for each message; they were not sent",
        ))
    }

    fn make_partials(&self, request: &PartialRequest) -> Result<Vec<[u8; PARTIAL]>, SignerError> {
        self.0.make_partials(request)
    }

    fn forget(&self, session: &SessionId, attempt: u32) {
        self.0.forget(session, attempt);
    }
}
