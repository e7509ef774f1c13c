//! Rounds 1 and 2 of BIP-327: nonce aggregation, verification of partial signatures, aggregation, blame.

use std::any::Any;
use std::sync::Arc;

use secp256k1::musig::{AggregatedNonce, PartialSignature, PublicNonce, Session};
use secp256k1::{XOnlyPublicKey, schnorr};

use crate::error::ProposalError;
use crate::protocol::crypto::aggregate::FinalKey;
use crate::protocol::crypto::recent::Recent;
use crate::protocol::crypto::session_keys::AggregatedKeys;
use crate::protocol::crypto::{NONCE, PARTIAL, Round, Scheme, SessionKeys};
use crate::protocol::proposal::Proposal;
use crate::types::{Signature, SignerKey};

/// BIP-327 and BIP-340 by libsecp256k1.
#[derive(Debug, Default, Clone, Copy)]
pub struct Musig2;

impl Scheme for Musig2 {
    fn verify(&self, key: &SignerKey, digest: &[u8; 32], signature: &Signature) -> bool {
        let signature = schnorr::Signature::from_byte_array(signature.0);
        schnorr::verify(&signature, digest, &point(key)).is_ok()
    }

    fn aggregate_keys(&self, proposal: &Proposal) -> Result<Arc<dyn SessionKeys>, ProposalError> {
        Ok(Arc::new(Musig2Keys(Arc::new(AggregatedKeys::new(proposal)?))))
    }
}

/// The keys that signed lately, decompressed, which takes an eighth of a verification.
static POINTS: Recent<SignerKey, XOnlyPublicKey> = Recent::new(1024);

fn point(key: &SignerKey) -> XOnlyPublicKey {
    POINTS.get_or_make(*key, 1, || key.to_public_key().x_only_public_key().0)
}

/// What [`Musig2`] knows of a session's keys.
#[derive(Debug)]
pub(crate) struct Musig2Keys(pub(crate) Arc<AggregatedKeys>);

impl SessionKeys for Musig2Keys {
    fn output_key(&self, index: usize) -> [u8; 32] {
        self.0.final_keys()[index].x_only()
    }

    fn begin_round(&self, nonces: &[&[u8]]) -> Result<Arc<dyn Round>, usize> {
        let keys = Arc::clone(&self.0);
        let (signers, messages) = (keys.signers(), keys.messages());
        if nonces.len() != signers {
            return Err(nonces.len().min(signers));
        }
        let mut parsed = Vec::with_capacity(signers * messages);
        for (signer, bytes) in nonces.iter().enumerate() {
            let (chunks, rest) = bytes.as_chunks::<NONCE>();
            if chunks.len() != messages || !rest.is_empty() {
                return Err(signer);
            }
            for chunk in chunks {
                parsed.push(PublicNonce::from_byte_array(chunk).map_err(|_| signer)?);
            }
        }
        let aggregates: Vec<AggregatedNonce> = (0..messages)
            .map(|message| {
                let of_message: Vec<_> = parsed.iter().skip(message).step_by(messages).collect();
                AggregatedNonce::new(&of_message)
            })
            .collect();
        let sessions = sessions(&keys, &aggregates);
        Ok(Arc::new(Musig2Round { keys, nonces: parsed, aggregates, sessions }))
    }

    fn verify_signatures(&self, signatures: &[Signature]) -> bool {
        signatures.len() == self.0.messages()
            && signatures.iter().zip(self.0.signed()).all(|(signature, (digest, key))| {
                let signature = schnorr::Signature::from_byte_array(signature.0);
                verify_final(key, digest, &signature)
            })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// BIP-327 `GetSessionValues` for each message.
pub(crate) fn sessions(keys: &AggregatedKeys, aggregates: &[AggregatedNonce]) -> Vec<Session> {
    let with_nonce = keys.signed().zip(aggregates);
    with_nonce.map(|((digest, key), nonce)| Session::new(key.cache(), *nonce, digest)).collect()
}

fn verify_final(key: &FinalKey, digest: &[u8; 32], signature: &schnorr::Signature) -> bool {
    schnorr::verify(signature, digest, &key.cache().agg_pk()).is_ok()
}

/// One attempt: every nonce parsed once.
#[derive(Debug)]
pub(crate) struct Musig2Round {
    keys: Arc<AggregatedKeys>,
    /// All messages of signer 0, then all of signer 1, …
    nonces: Vec<PublicNonce>,
    aggregates: Vec<AggregatedNonce>,
    sessions: Vec<Session>,
}

impl Musig2Round {
    /// The keys that it was begun with.
    pub(crate) fn keys(&self) -> &Arc<AggregatedKeys> {
        &self.keys
    }

    /// BIP-327's session values of each message.
    pub(crate) fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// The public nonces of a signer, by message. It must exist.
    pub(crate) fn nonces(&self, signer: usize) -> &[PublicNonce] {
        let messages = self.keys.messages();
        &self.nonces[signer * messages..][..messages]
    }

    fn parse_partials(&self, bytes: &[u8]) -> Option<Vec<PartialSignature>> {
        let (chunks, rest) = bytes.as_chunks::<PARTIAL>();
        if chunks.len() != self.sessions.len() || !rest.is_empty() {
            return None;
        }
        chunks.iter().map(|chunk| PartialSignature::from_byte_array(chunk).ok()).collect()
    }
}

impl Round for Musig2Round {
    fn aggregate_nonce(&self, index: usize) -> [u8; NONCE] {
        self.aggregates[index].serialize()
    }

    fn verify_partials(&self, signer: usize, partials: &[u8]) -> bool {
        if signer >= self.keys.signers() {
            return false;
        }
        let Some(partials) = self.parse_partials(partials) else { return false };
        let sessions = self.sessions.iter().zip(self.keys.final_keys());
        sessions.zip(partials.iter().zip(self.nonces(signer))).all(|((session, key), (partial, nonce))| {
            session.partial_verify(key.cache(), partial, nonce, key.participant(signer))
        })
    }

    fn aggregate(&self, partials: &[&[u8]]) -> Option<Vec<Signature>> {
        let messages = self.sessions.len();
        if partials.len() != self.keys.signers() {
            return None;
        }
        let mut parsed = Vec::with_capacity(partials.len() * messages);
        for bytes in partials {
            parsed.extend(self.parse_partials(bytes)?);
        }
        let mut signatures = Vec::with_capacity(messages);
        for (message, (session, (digest, key))) in self.sessions.iter().zip(self.keys.signed()).enumerate() {
            let of_message: Vec<_> = parsed.iter().skip(message).step_by(messages).collect();
            let signature = session.partial_sig_agg(&of_message).assume_valid();
            if !verify_final(key, digest, &signature) {
                return None;
            }
            signatures.push(Signature(signature.to_byte_array()));
        }
        Some(signatures)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
