//! One aggregate key and one message, without a session: what PSBTs and descriptors ask of BIP-327.

use secp256k1::musig::{AggregatedNonce, KeyAggCache, PartialSignature, PublicNonce, Session};
use secp256k1::{PublicKey, Scalar, schnorr};

use crate::error::ProposalError;
use crate::protocol::crypto::key_set::{BIP328_CHAIN_CODE, child};
use crate::protocol::crypto::{NONCE, PARTIAL};
use crate::protocol::limits;
use crate::types::{Signature, SignerKey, tagged_hash};

/// Whether these bytes are a public nonce (BIP-327): two compressed points.
pub fn is_public_nonce(bytes: &[u8; NONCE]) -> bool {
    PublicNonce::from_byte_array(bytes).is_ok()
}

/// Whether these bytes are a partial signature (BIP-327): a number below the order of the curve.
pub fn is_partial_signature(bytes: &[u8; PARTIAL]) -> bool {
    PartialSignature::from_byte_array(bytes).is_ok()
}

/// Whether a BIP-340 signature of `digest` verifies under an x-only key.
pub fn verify_signature(key: &[u8; 32], digest: &[u8; 32], signature: &Signature) -> bool {
    let signature = schnorr::Signature::from_byte_array(signature.0);
    secp256k1::XOnlyPublicKey::from_byte_array(*key)
        .is_ok_and(|key| schnorr::verify(&signature, digest, &key).is_ok())
}

/// A key set's aggregate key (BIP-327 `KeyAgg`), with what was derived from it.
#[derive(Clone, Debug)]
pub struct AggregateKey {
    keys: Vec<PublicKey>,
    cache: KeyAggCache,
}

impl AggregateKey {
    /// Aggregates keys in the order given. BIP-390 sorts them first ([`sort_keys`](super::key_set::sort_keys)).
    ///
    /// Errors: [`ProposalError::Limit`] for no keys, or more than a session has signers.
    pub fn new(keys: &[SignerKey]) -> Result<Self, ProposalError> {
        let (actual, most) = (keys.len() as u64, limits::SIGNERS as u64);
        if !(1..=most).contains(&actual) {
            return Err(ProposalError::Limit { what: "participant keys", actual, least: 1, most });
        }
        let keys: Vec<PublicKey> = keys.iter().map(SignerKey::to_public_key).collect();
        let cache = KeyAggCache::new(&keys.iter().collect::<Vec<_>>());
        Ok(Self { keys, cache })
    }

    /// The key with its parity, as it is after all derivations.
    pub fn key(&self) -> SignerKey {
        self.cache.agg_pk_full().into()
    }

    /// The child along unhardened steps of the synthetic extended key (BIP-328). For a key that was not derived yet.
    ///
    /// Errors: [`ProposalError::Index`] for a hardened step, [`ProposalError::Limit`] for too many steps.
    pub fn derive(&self, path: &[u32]) -> Result<Self, ProposalError> {
        let (actual, most) = (path.len() as u64, limits::TWEAK_DEPTH as u64 - 1);
        if actual > most {
            return Err(ProposalError::Limit { what: "steps of a derivation", actual, least: 0, most });
        }
        let mut derived = self.clone();
        let mut chain_code = BIP328_CHAIN_CODE;
        for (index, number) in path.iter().enumerate() {
            let (scalar, next) = child(&derived.key(), &chain_code, *number)?;
            derived.tweak(index, scalar, false)?;
            chain_code = next;
        }
        Ok(derived)
    }

    /// The Taproot output key whose internal key this is (BIP-341), with the merkle root of its scripts, if any.
    ///
    /// Errors: [`ProposalError::Tweak`], which happens with no known key.
    pub fn taproot(&self, merkle_root: Option<[u8; 32]>) -> Result<Self, ProposalError> {
        let mut tweaked = self.clone();
        let internal = *self.key().x_only();
        let scalar = match &merkle_root {
            Some(root) => tagged_hash("TapTweak", &[&internal, root]),
            None => tagged_hash("TapTweak", &[&internal]),
        };
        tweaked.tweak(0, scalar, true)?;
        Ok(tweaked)
    }

    fn tweak(&mut self, index: usize, scalar: [u8; 32], x_only: bool) -> Result<(), ProposalError> {
        let invalid = ProposalError::Tweak { index };
        let scalar = Scalar::from_be_bytes(scalar).map_err(|_| invalid.clone())?;
        let tweaked = match x_only {
            true => self.cache.pubkey_xonly_tweak_add(&scalar),
            false => self.cache.pubkey_ec_tweak_add(&scalar),
        };
        tweaked.map(drop).map_err(|_| invalid)
    }

    /// Begins the second round over one message: `nonces[i]` is the public nonce of key `i`.
    ///
    /// Errors: the first key without a nonce, or whose nonce is no pair of points.
    pub fn begin_round(&self, digest: &[u8; 32], nonces: &[[u8; NONCE]]) -> Result<AggregateRound, usize> {
        if nonces.len() != self.keys.len() {
            return Err(nonces.len().min(self.keys.len()));
        }
        let mut parsed = Vec::with_capacity(nonces.len());
        for (index, nonce) in nonces.iter().enumerate() {
            parsed.push(PublicNonce::from_byte_array(nonce).map_err(|_| index)?);
        }
        let aggregate = AggregatedNonce::new(&parsed.iter().collect::<Vec<_>>());
        let session = Session::new(&self.cache, aggregate, digest);
        Ok(AggregateRound { key: self.clone(), digest: *digest, nonces: parsed, session })
    }
}

/// The second round over one message.
#[derive(Clone, Debug)]
pub struct AggregateRound {
    key: AggregateKey,
    digest: [u8; 32],
    nonces: Vec<PublicNonce>,
    session: Session,
}

impl AggregateRound {
    /// BIP-327 `PartialSigVerify` for key `index`. `false` also if there is no such key, or no such number.
    pub fn verify_partial(&self, index: usize, partial: &[u8; PARTIAL]) -> bool {
        let Ok(partial) = PartialSignature::from_byte_array(partial) else { return false };
        let (Some(key), Some(nonce)) = (self.key.keys.get(index), self.nonces.get(index)) else {
            return false;
        };
        self.session.partial_verify(&self.key.cache, &partial, nonce, *key)
    }

    /// BIP-327 `PartialSigAgg` of one partial signature for each key, verified. `None` if they do not come out: then
    /// at least one of them does not verify.
    pub fn aggregate(&self, partials: &[[u8; PARTIAL]]) -> Option<Signature> {
        if partials.len() != self.key.keys.len() {
            return None;
        }
        let parsed: Result<Vec<_>, _> = partials.iter().map(PartialSignature::from_byte_array).collect();
        let parsed = parsed.ok()?;
        let signature = self.session.partial_sig_agg(&parsed.iter().collect::<Vec<_>>()).assume_valid();
        schnorr::verify(&signature, &self.digest, &self.key.cache.agg_pk()).ok()?;
        Some(Signature(signature.to_byte_array()))
    }
}
