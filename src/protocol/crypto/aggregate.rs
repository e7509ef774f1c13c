//! One aggregate key, its derivations, and one message: BIP-327, BIP-328 and BIP-341 by libsecp256k1.

use std::sync::Arc;

use secp256k1::musig::{AggregatedNonce, KeyAggCache, PartialSignature, PublicNonce, Session};
use secp256k1::{PublicKey, Scalar, schnorr};

use crate::error::ProposalError;
use crate::mutation::{self, Mutation};
use crate::protocol::crypto::bip328::{BIP328_CHAIN_CODE, check_path, child};
use crate::protocol::crypto::recent::Recent;
use crate::protocol::limits;
use crate::types::{Signature, SignerKey, tagged_hash};

/// Bytes of a public nonce (BIP-327 `pubnonce`) and of an aggregate one.
pub const NONCE: usize = 66;
/// Bytes of a partial signature (BIP-327 `psig`).
pub const PARTIAL: usize = 32;

/// Order of key aggregation. It changes the aggregate key and nothing else: signer indices are always positions in the
/// proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum KeyOrder {
    /// BIP-327 `KeySort`, as BIP-390's `musig()` descriptor asks for.
    #[default]
    Sorted,
    /// As the key set lists them.
    AsGiven,
}

/// BIP-327 `KeySort`: by compressed form, ascending.
pub fn sort_keys(keys: &[SignerKey]) -> Vec<SignerKey> {
    let mut keys = keys.to_vec();
    keys.sort();
    keys
}

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

/// An aggregate key (BIP-327 `KeyAgg`), or what was derived from it. Keys may be repeated here, as in the key sets of
/// others; [`KeySet`](super::key_set::KeySet) refuses what no session signs with.
#[derive(Clone, Debug)]
pub struct AggregateKey {
    /// In the order given, also if they were sorted to be aggregated.
    keys: Arc<[PublicKey]>,
    cache: KeyAggCache,
    chain_code: [u8; 32],
}

/// The aggregates that were made lately: a wallet signs with the same ones again and again. Each weighs as many as it has keys.
static AGGREGATES: Recent<(KeyOrder, Vec<SignerKey>), AggregateKey> = Recent::new(1024);

impl AggregateKey {
    /// Aggregates keys in the order given.
    ///
    /// Errors: [`ProposalError::Limit`] for no keys, or more than a session has signers.
    pub fn new(keys: &[SignerKey]) -> Result<Self, ProposalError> {
        Self::of(keys, KeyOrder::AsGiven)
    }

    /// Aggregates sorted keys (BIP-327 `KeySort`, BIP-390). Indices are still positions in `keys`.
    ///
    /// Errors: those of [`new`](Self::new).
    pub fn sorted(keys: &[SignerKey]) -> Result<Self, ProposalError> {
        Self::of(keys, KeyOrder::Sorted)
    }

    /// Aggregates keys in this order.
    pub(crate) fn of(keys: &[SignerKey], order: KeyOrder) -> Result<Self, ProposalError> {
        limits::check_signers(keys.len())?;
        let aggregate = || {
            let points: Arc<[PublicKey]> = keys.iter().map(SignerKey::to_public_key).collect();
            let mut in_order: Vec<_> = keys.iter().zip(&*points).collect();
            if order == KeyOrder::Sorted {
                in_order.sort_by_key(|(key, _)| *key);
            }
            let cache = KeyAggCache::new(&in_order.iter().map(|(_, point)| *point).collect::<Vec<_>>());
            Self { keys: points, cache, chain_code: BIP328_CHAIN_CODE }
        };
        Ok(AGGREGATES.get_or_make((order, keys.to_vec()), keys.len(), aggregate))
    }

    /// The key with its parity, as it is after all derivations.
    pub fn key(&self) -> SignerKey {
        self.cache.agg_pk_full().into()
    }

    /// Its x coordinate.
    pub(crate) fn x_only(&self) -> [u8; 32] {
        self.cache.agg_pk().to_byte_array()
    }

    /// What signs with it: nothing is derived any more.
    pub(crate) fn into_final(self) -> FinalKey {
        FinalKey { keys: self.keys, cache: self.cache }
    }

    /// The child along unhardened steps of the synthetic extended key (BIP-328).
    ///
    /// Errors: [`ProposalError::HardenedChild`], [`ProposalError::Limit`] for too many steps.
    pub fn derive(&self, path: &[u32]) -> Result<Self, ProposalError> {
        check_path(path)?;
        path.iter().try_fold(self.clone(), |key, number| key.child(*number))
    }

    /// One step.
    pub(crate) fn child(&self, number: u32) -> Result<Self, ProposalError> {
        let (scalar, chain_code) = child(&self.key(), &self.chain_code, number)?;
        let mut derived = self.clone();
        derived.tweak(scalar, false)?;
        derived.chain_code = chain_code;
        Ok(derived)
    }

    /// The Taproot output key whose internal key this is (BIP-341), with the merkle root of its scripts, if any.
    ///
    /// Errors: [`ProposalError::Derivation`], which happens with no known key.
    pub fn taproot(&self, merkle_root: Option<[u8; 32]>) -> Result<Self, ProposalError> {
        let mut tweaked = self.clone();
        tweaked.tweak(tap_tweak(&self.x_only(), merkle_root), true)?;
        Ok(tweaked)
    }

    /// BIP-327 `ApplyTweak`. Private: a scalar that somebody chose could make any key of this one.
    fn tweak(&mut self, scalar: [u8; 32], x_only: bool) -> Result<(), ProposalError> {
        let scalar = Scalar::from_be_bytes(scalar).map_err(|_| ProposalError::Derivation)?;
        let tweaked = match x_only {
            true => self.cache.pubkey_xonly_tweak_add(&scalar),
            false => self.cache.pubkey_ec_tweak_add(&scalar),
        };
        tweaked.map(drop).map_err(|_| ProposalError::Derivation)
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

/// An aggregate key, after all derivations, as a session keeps it.
#[derive(Clone, Debug)]
pub(crate) struct FinalKey {
    keys: Arc<[PublicKey]>,
    cache: KeyAggCache,
}

impl FinalKey {
    /// Its x coordinate.
    pub(crate) fn x_only(&self) -> [u8; 32] {
        self.cache.agg_pk().to_byte_array()
    }

    /// For libsecp256k1.
    pub(crate) fn cache(&self) -> &KeyAggCache {
        &self.cache
    }

    /// The participant key at a position, which must be there.
    pub(crate) fn participant(&self, index: usize) -> PublicKey {
        self.keys[index]
    }
}

/// BIP-341's tweak: a hash of the internal key.
fn tap_tweak(internal: &[u8; 32], merkle_root: Option<[u8; 32]>) -> [u8; 32] {
    match &merkle_root {
        Some(root) if mutation::on(Mutation::RootIsScalar) => *root,
        Some(root) => tagged_hash("TapTweak", &[internal, root]),
        None => tagged_hash("TapTweak", &[internal]),
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

/// The cases of BIP-327 and BIP-341 whose tweaks are scalars, which nothing but this file can apply.
#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::{Path, PathBuf};

    use secp256k1::musig::{self, SessionSecretRand};
    use secp256k1::{Keypair, SecretKey};
    use serde_json::Value;

    use super::*;

    fn vectors(test: &str, file: &str) -> Option<Value> {
        let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
        let folder = std::env::var_os("MUSIG_VECTORS").map_or(default, PathBuf::from);
        if !folder.is_dir() {
            let required = std::env::var("MUSIG_REQUIRE_ALL").is_ok_and(|value| value == "1");
            assert!(!required, "{test} needs the vectors folder; set MUSIG_VECTORS to it");
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: vectors folder missing");
            return None;
        }
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        Some(serde_json::from_str(&text).expect("JSON"))
    }

    fn hex(value: &Value) -> Vec<u8> {
        let text = value.as_str().expect("hexadecimal");
        let pairs = text.as_bytes().chunks_exact(2);
        pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex")).collect()
    }

    fn array<const N: usize>(value: &Value) -> [u8; N] {
        hex(value).try_into().expect("of that length")
    }

    fn list(value: &Value) -> &[Value] {
        value.as_array().expect("a list")
    }

    fn pick<const N: usize>(all: &Value, indices: &Value) -> Vec<[u8; N]> {
        list(indices).iter().map(|index| array(&all[index.as_u64().expect("an index") as usize])).collect()
    }

    /// The aggregate of a case, after its tweaks.
    fn tweaked(file: &Value, case: &Value) -> Result<AggregateKey, ProposalError> {
        let keys = pick::<33>(&file["pubkeys"], &case["key_indices"]);
        let keys: Vec<_> = keys.iter().map(|key| SignerKey::from_bytes(key).expect("a point")).collect();
        let mut aggregate = AggregateKey::new(&keys)?;
        let tweaks = pick(&file["tweaks"], &case["tweak_indices"]);
        for (scalar, x_only) in tweaks.into_iter().zip(list(&case["is_xonly"])) {
            aggregate.tweak(scalar, x_only.as_bool().expect("a flag"))?;
        }
        Ok(aggregate)
    }

    #[test]
    fn bip327_tweak() {
        let Some(file) = vectors("bip327_tweak", "bip327/tweak_vectors.json") else { return };
        let digest: [u8; 32] = array(&file["msg"]);
        let pair = Keypair::from_secret_bytes(array(&file["sk"])).expect("a secret key");
        let cases = list(&file["valid_test_cases"]);
        assert_eq!(cases.len(), 5);
        for case in cases {
            let aggregate = tweaked(&file, case).expect("valid");
            let nonces = pick::<NONCE>(&file["pnonces"], &case["nonce_indices"]);
            let round = aggregate.begin_round(&digest, &nonces).expect("valid nonces");
            let random = SessionSecretRand::assume_uniformly_random([1; 32]);
            let (made, _) = musig::new_nonce_pair(random, None, None, pair.public_key(), None, None);
            let mut secret = made.dangerous_into_bytes();
            secret[4..68].copy_from_slice(&hex(&file["secnonce"])[..64]);
            let secret = musig::SecretNonce::dangerous_from_bytes(secret);
            let partial = round.session.partial_sign(secret, &pair, &aggregate.cache).serialize();
            assert_eq!(partial, array(&case["expected"]), "{}", case["comment"]);
            let signer = case["signer_index"].as_u64().expect("an index") as usize;
            for other in 0..nonces.len() {
                assert_eq!(round.verify_partial(other, &partial), other == signer, "{}", case["comment"]);
            }
        }
        let refused: Vec<_> =
            list(&file["error_test_cases"]).iter().map(|case| tweaked(&file, case)).collect();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].as_ref().err(), Some(&ProposalError::Derivation));
    }

    #[test]
    fn bip327_key_agg_with_tweaks() {
        let Some(file) = vectors("bip327_key_agg", "bip327/key_agg_vectors.json") else { return };
        let with_tweaks =
            list(&file["error_test_cases"]).iter().filter(|case| !list(&case["tweak_indices"]).is_empty());
        let refused: Vec<_> = with_tweaks.map(|case| tweaked(&file, case).err()).collect();
        assert_eq!(refused, [Some(ProposalError::Derivation), Some(ProposalError::Derivation)]);
    }

    #[test]
    fn bip327_sig_agg_with_tweaks() {
        let Some(file) = vectors("bip327_sig_agg", "bip327/sig_agg_vectors.json") else { return };
        let digest: [u8; 32] = array(&file["msg"]);
        let mut run = 0;
        for case in list(&file["valid_test_cases"]) {
            run += usize::from(!list(&case["tweak_indices"]).is_empty());
            let aggregate = tweaked(&file, case).expect("valid");
            let nonces = pick::<NONCE>(&file["pnonces"], &case["nonce_indices"]);
            let round = aggregate.begin_round(&digest, &nonces).expect("valid nonces");
            let signature = round.aggregate(&pick(&file["psigs"], &case["psig_indices"]));
            let signature = signature.expect("valid partials");
            assert_eq!(signature, Signature(array(&case["expected"])));
            assert!(verify_signature(aggregate.key().x_only(), &digest, &signature));
        }
        assert_eq!(run, 2);
    }

    #[test]
    fn bip341_output_keys() {
        let Some(file) = vectors("bip341_output_keys", "bip341.json") else { return };
        let root = |value: &Value| (!value.is_null()).then(|| array(value));
        let cases = list(&file["scriptPubKey"]);
        assert_eq!(cases.len(), 7);
        for case in cases {
            let between = &case["intermediary"];
            let scalar = tap_tweak(&array(&case["given"]["internalPubkey"]), root(&between["merkleRoot"]));
            assert_eq!(scalar, array(&between["tweak"]));
        }
        let inputs = list(&file["keyPathSpending"][0]["inputSpending"]);
        assert_eq!(inputs.len(), 7);
        for input in inputs {
            let (given, between) = (&input["given"], &input["intermediary"]);
            let secret = SecretKey::from_secret_bytes(array(&given["internalPrivkey"])).expect("in range");
            let aggregate = with_secret(secret);
            assert_eq!(aggregate.x_only(), array(&between["internalPubkey"]));
            let output = aggregate.taproot(root(&given["merkleRoot"])).expect("in range");
            let expected = Keypair::from_secret_bytes(array(&between["tweakedPrivkey"])).expect("in range");
            assert_eq!(output.x_only(), expected.x_only_public_key().0.to_byte_array());
        }
    }

    /// An aggregate key with this secret, by a scalar that makes it of another one: nobody but a test can do that.
    fn with_secret(secret: SecretKey) -> AggregateKey {
        let own = Keypair::from_secret_bytes([1; 32]).expect("in range");
        let key = SignerKey::from(own.public_key());
        let mut aggregate = AggregateKey::new(&[key]).expect("one key");
        let list = tagged_hash("KeyAgg list", &[key.as_bytes()]);
        let coefficient = tagged_hash("KeyAgg coefficient", &[&list, key.as_bytes()]);
        let of_aggregate = SecretKey::from_keypair(&own)
            .mul_tweak(&Scalar::from_be_bytes(coefficient).expect("in range"))
            .expect("not zero");
        let difference = secret.add_tweak(&Scalar::from(of_aggregate.negate())).expect("not zero");
        aggregate.tweak(difference.to_secret_bytes(), false).expect("not infinity");
        aggregate
    }
}
