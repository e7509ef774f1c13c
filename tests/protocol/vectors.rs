//! The vectors of BIP-327, BIP-328 and BIP-341.

use std::any::Any;
use std::sync::Arc;

use libmusig::error::{ProposalError, SignerError};
use libmusig::protocol::crypto::aggregate::AggregateKey;
use libmusig::protocol::crypto::key_set::{
    BIP328_CHAIN_CODE, Derivation, KeySet, Taproot, aggregate_key, sort_keys, synthetic_xpub,
};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::crypto::{NONCE, Round, Scheme, SessionKeys};
use libmusig::protocol::proposal::{KeyOrder, Proposal};
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::{LocalSigner, NonceRequest, PartialRequest, Signer};
use libmusig::types::{Signature, SignerKey, to_hex};
use secp256k1::musig::{self, AggregatedNonce, KeyAggCache, PartialSignature, SessionSecretRand};
use secp256k1::{Keypair, PublicKey, SecretKey};
use serde_json::Value;
use sha2::{Digest, Sha256};

use test_support::party::{slices, vectors_folder};

/// What libsecp256k1 cannot take, so neither can this library: file, list, position, reason.
const NOT_APPLICABLE: &[(&str, &str, usize, &str)] = &[
    ("nonce_gen_vectors", "test_cases", 1, "message of 0 bytes"),
    ("nonce_gen_vectors", "test_cases", 2, "message of 38 bytes"),
    ("sign_verify_vectors", "valid_test_cases", 4, "message of 0 bytes"),
    ("sign_verify_vectors", "valid_test_cases", 5, "message of 38 bytes"),
    ("sign_verify_vectors", "sign_error_test_cases", 5, "a used nonce: signing consumes it"),
    ("det_sign_vectors", "valid_test_cases", 0, "no deterministic signing"),
    ("det_sign_vectors", "valid_test_cases", 1, "no deterministic signing"),
    ("det_sign_vectors", "valid_test_cases", 2, "no deterministic signing"),
    ("det_sign_vectors", "valid_test_cases", 3, "no deterministic signing"),
    ("det_sign_vectors", "error_test_cases", 0, "no deterministic signing"),
    ("det_sign_vectors", "error_test_cases", 1, "no deterministic signing"),
    ("det_sign_vectors", "error_test_cases", 2, "no deterministic signing"),
    ("det_sign_vectors", "error_test_cases", 3, "no deterministic signing"),
    ("det_sign_vectors", "error_test_cases", 4, "no deterministic signing"),
];

/// A file of vectors, and which of its cases were run.
struct File {
    name: &'static str,
    content: Value,
    run: Vec<(&'static str, usize)>,
}

impl File {
    fn open(test: &str, name: &'static str) -> Option<Self> {
        let path = vectors_folder(test)?.join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        Some(Self { name, content: serde_json::from_str(&text).expect("JSON"), run: Vec::new() })
    }

    /// The cases of a list that this library can take. There must be `count` in all.
    fn cases(&mut self, list: &'static str, count: usize) -> Vec<Value> {
        let all = self.content[list].as_array().unwrap_or_else(|| panic!("{} has {list}", self.name)).clone();
        assert_eq!(all.len(), count, "{} {list}", self.name);
        self.run.push((list, count));
        let name = self.name.rsplit('/').next();
        let skipped =
            |at: usize| NOT_APPLICABLE.iter().any(|na| Some(na.0) == name && na.1 == list && na.2 == at);
        all.into_iter().enumerate().filter(|(at, _)| !skipped(*at)).map(|(_, case)| case).collect()
    }

    /// No list of cases was overlooked.
    fn done(self) {
        let lists = self.content.as_object().expect("an object").keys();
        let lists: Vec<_> = lists.filter(|name| name.ends_with("test_cases")).collect();
        let mut run: Vec<_> = self.run.iter().map(|(list, _)| *list).collect();
        run.sort_unstable();
        assert_eq!(lists, run, "{}", self.name);
    }

    fn pick(&self, list: &str, indices: &Value) -> Vec<Vec<u8>> {
        let indices = indices.as_array().expect("a list of indices").iter();
        indices.map(|index| self.at(list, index)).collect()
    }

    fn at(&self, list: &str, index: &Value) -> Vec<u8> {
        hex(&self.content[list][index.as_u64().expect("an index") as usize])
    }

    /// Tweaks that are scalars: no session has them. `src/protocol/crypto/aggregate.rs` runs these cases.
    fn is_tweaked(case: &Value) -> bool {
        case["tweak_indices"].as_array().is_some_and(|tweaks| !tweaks.is_empty())
    }
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is hexadecimal"));
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex")).collect()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().expect("of that length")
}

fn signer_of(error: &Value) -> Option<usize> {
    error["error"]["signer"].as_u64().map(|signer| signer as usize)
}

/// A proposal in the order of the keys, out of bytes that may be wrong.
fn proposal(keys: &[Vec<u8>], digest: &[u8]) -> Result<Proposal, ProposalError> {
    let message = pb::Message { digest: digest.to_vec(), ..Default::default() };
    Proposal::decode(&wire::encode(&pb::Proposal {
        version: 1,
        entropy: vec![1; 32],
        signers: keys.to_vec(),
        key_sets: vec![pb::KeySet { order: 1, participants: Vec::new() }],
        messages: vec![message],
        failover: Some(pb::Failover { broadcast_timeout: 1000, tiers: 1 }),
        expires_at: 1,
        ..Default::default()
    }))
}

fn keys_of(proposal: &Proposal) -> Arc<dyn SessionKeys> {
    Musig2.aggregate_keys(proposal).expect("valid keys")
}

/// The same aggregation by libsecp256k1 itself, for signing with a given nonce.
fn cache(keys: &[Vec<u8>]) -> KeyAggCache {
    let keys: Vec<_> = keys.iter().map(|key| PublicKey::from_slice(key).expect("valid")).collect();
    KeyAggCache::new(&keys.iter().collect::<Vec<_>>())
}

/// A secret nonce with the two numbers of a vector (`secnonce` is k₁ ‖ k₂ ‖ public key).
fn secret_nonce(secnonce: &[u8], key: &Keypair) -> musig::SecretNonce {
    assert_eq!(secnonce[64..], key.public_key().serialize());
    let random = SessionSecretRand::assume_uniformly_random([1; 32]);
    let (made, _) = musig::new_nonce_pair(random, None, None, key.public_key(), None, None);
    let mut bytes = made.dangerous_into_bytes();
    bytes[4..68].copy_from_slice(&secnonce[..64]);
    musig::SecretNonce::dangerous_from_bytes(bytes)
}

fn keypair(value: &Value) -> Keypair {
    Keypair::from_secret_bytes(array(value)).expect("a secret key")
}

/// Signs as the vector says, and holds the partial against this library's verification.
fn sign_case(keys: &[Vec<u8>], digest: &[u8], case: &Value, sign: &SignInput) {
    let comment = &case["comment"];
    let expected: [u8; 32] = array(&case["expected"]);
    let signer = case["signer_index"].as_u64().expect("an index") as usize;
    let round = keys_of(&proposal(keys, digest).expect("valid"))
        .begin_round(&slices(&sign.nonces))
        .expect("valid nonces");
    assert_eq!(round.aggregate_nonce(0).to_vec(), sign.aggregate_nonce, "{comment}");
    let cache = cache(keys);
    let aggregate = AggregatedNonce::from_byte_array(&round.aggregate_nonce(0)).expect("just made");
    let session = musig::Session::new(&cache, aggregate, digest.try_into().expect("32 bytes"));
    let partial = session.partial_sign(secret_nonce(&sign.secret_nonce, &sign.key), &sign.key, &cache);
    assert_eq!(to_hex(&partial.serialize()), to_hex(&expected), "{comment}");
    for other in 0..keys.len() {
        assert_eq!(round.verify_partials(other, &expected), other == signer, "{comment}: signer {other}");
    }
}

struct SignInput {
    key: Keypair,
    secret_nonce: Vec<u8>,
    nonces: Vec<Vec<u8>>,
    aggregate_nonce: Vec<u8>,
}

#[test]
fn bip327_key_agg() {
    let Some(mut file) = File::open("bip327_key_agg", "bip327/key_agg_vectors") else { return };
    for case in file.cases("valid_test_cases", 4) {
        let bytes = file.pick("pubkeys", &case["key_indices"]);
        let expected: [u8; 32] = array(&case["expected"]);
        let keys: Vec<_> = bytes.iter().map(|key| SignerKey::from_bytes(key).expect("valid")).collect();
        let aggregate = AggregateKey::new(&keys).expect("not too many");
        assert_eq!(*aggregate.key().x_only(), expected);
        let made = aggregate_key(&keys, KeyOrder::AsGiven);
        match proposal(&bytes, &[0; 32]) {
            Ok(proposal) => {
                assert_eq!(keys_of(&proposal).output_key(0), expected);
                assert_eq!(*made.expect("a session signs").x_only(), expected);
            }
            // Sessions give each signer a key of its own, so no such key is made for one.
            Err(error) => {
                assert!(matches!(error, ProposalError::DuplicateKey { .. }), "{error}");
                assert_eq!(made, Err(error));
            }
        }
    }
    for case in file.cases("error_test_cases", 5) {
        if File::is_tweaked(&case) {
            continue;
        }
        let keys = file.pick("pubkeys", &case["key_indices"]);
        let refused = proposal(&keys, &[0; 32]).expect_err("an error case");
        let index = signer_of(&case).expect("it has a culprit");
        assert!(matches!(refused, ProposalError::Key { index: found, .. } if found == index));
    }
    file.done();
}

#[test]
fn bip327_key_sort() {
    let Some(file) = File::open("bip327_key_sort", "bip327/key_sort_vectors") else { return };
    let read = |list: &str| -> Vec<SignerKey> {
        let keys = file.content[list].as_array().expect("a list").iter();
        keys.map(|key| SignerKey::from_bytes(&hex(key)).expect("valid")).collect()
    };
    let (given, sorted) = (read("pubkeys"), read("sorted_pubkeys"));
    assert_eq!(sort_keys(&given), sorted);
    // A key comes twice.
    let [of_given, of_sorted] =
        [&given, &sorted].map(|keys| AggregateKey::new(keys).expect("not too many").key());
    assert_eq!(AggregateKey::sorted(&given).expect("not too many").key(), of_sorted);
    assert_ne!(of_given, of_sorted);
}

#[test]
fn bip327_nonce_agg() {
    let Some(mut file) = File::open("bip327_nonce_agg", "bip327/nonce_agg_vectors") else { return };
    let signers: Vec<_> = [1, 2].map(|n| test_support::party::key_of(n).as_bytes().to_vec()).into();
    let keys = keys_of(&proposal(&signers, &[0; 32]).expect("valid"));
    for case in file.cases("valid_test_cases", 2) {
        let nonces = file.pick("pnonces", &case["pnonce_indices"]);
        let round = keys.begin_round(&slices(&nonces)).expect("valid nonces");
        assert_eq!(round.aggregate_nonce(0).to_vec(), hex(&case["expected"]), "{}", case["comment"]);
    }
    for case in file.cases("error_test_cases", 3) {
        let nonces = file.pick("pnonces", &case["pnonce_indices"]);
        assert_eq!(keys.begin_round(&slices(&nonces)).err(), signer_of(&case), "{}", case["comment"]);
    }
    file.done();
}

#[test]
#[allow(unsafe_code)]
fn bip327_nonce_gen() {
    let Some(mut file) = File::open("bip327_nonce_gen", "bip327/nonce_gen_vectors") else { return };
    for case in file.cases("test_cases", 4) {
        let optional = |name: &str| (!case[name].is_null()).then(|| array::<32>(&case[name]));
        let key = PublicKey::from_slice(&hex(&case["pk"])).expect("valid");
        let mut cache = KeyAggCache::new(&[&key]);
        if let Some(x) = optional("aggpk") {
            assert!(x.iter().all(|byte| *byte == x[0]), "the same in any byte order");
            // SAFETY: no other way leads to a cache with a given key. After 4 bytes it begins with the x coordinate,
            // the only part that nonce generation reads.
            unsafe { cache.as_mut_ptr().cast::<u8>().add(4).copy_from(x.as_ptr(), 32) };
        }
        let (secret, public) = musig::new_nonce_pair(
            SessionSecretRand::assume_uniformly_random(array(&case["rand_"])),
            optional("aggpk").map(|_| &cache),
            optional("sk").map(|secret| SecretKey::from_secret_bytes(secret).expect("valid")),
            key,
            optional("msg").as_ref(),
            optional("extra_in"),
        );
        assert_eq!(public.serialize().to_vec(), hex(&case["expected_pubnonce"]));
        assert_eq!(secret.dangerous_into_bytes()[4..68], hex(&case["expected_secnonce"])[..64]);
    }
    file.done();
}

/// A round of another scheme: all that a signer can learn of it is the aggregate nonce.
#[derive(Debug)]
struct ForeignRound([u8; NONCE]);

impl Round for ForeignRound {
    fn aggregate_nonce(&self, _: usize) -> [u8; NONCE] {
        self.0
    }
    fn verify_partials(&self, _: usize, _: &[u8]) -> bool {
        true
    }
    fn aggregate(&self, _: &[&[u8]]) -> Option<Vec<Signature>> {
        None
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn bip327_sign_verify() {
    let Some(mut file) = File::open("bip327_sign_verify", "bip327/sign_verify_vectors") else { return };
    let key = keypair(&file.content["sk"]);
    for case in file.cases("valid_test_cases", 6) {
        let input = SignInput {
            key,
            secret_nonce: file.at("secnonces", &0.into()),
            nonces: file.pick("pnonces", &case["nonce_indices"]),
            aggregate_nonce: file.at("aggnonces", &case["aggnonce_index"]),
        };
        let keys = file.pick("pubkeys", &case["key_indices"]);
        sign_case(&keys, &file.at("msgs", &case["msg_index"]), &case, &input);
    }
    for case in file.cases("sign_error_test_cases", 6) {
        let comment = &case["comment"];
        let keys = file.pick("pubkeys", &case["key_indices"]);
        let proposal = proposal(&keys, &file.at("msgs", &case["msg_index"]));
        let contribution = case["error"]["contrib"].as_str();
        if contribution == Some("pubkey") {
            let index = signer_of(&case).expect("it has a culprit");
            assert!(matches!(proposal, Err(ProposalError::Key { index: found, .. }) if found == index));
            continue;
        }
        let proposal = proposal.expect("valid");
        let keys = keys_of(&proposal);
        let signer = LocalSigner::new(key.to_secret_bytes()).expect("valid");
        let attempt = 0;
        let Some(index) = proposal.index_of(&signer.public_key()) else {
            assert!(comment.as_str().is_some_and(|comment| comment.contains("not in the list")));
            for index in 0..proposal.signers.len() {
                let request = NonceRequest::new(proposal.clone(), attempt, index, keys.clone());
                assert!(matches!(signer.make_nonces(&request), Err(SignerError::Mismatch(_))));
            }
            continue;
        };
        assert_eq!(contribution, Some("aggnonce"), "{comment}");
        let request = NonceRequest::new(proposal.clone(), attempt, index, keys.clone());
        signer.make_nonces(&request).expect("the first time");
        let nonce = file.at("aggnonces", &case["aggnonce_index"]).try_into().expect("66 bytes");
        let round = Arc::new(ForeignRound(nonce));
        let request = PartialRequest::new(proposal, attempt, index, keys, round);
        assert!(matches!(signer.make_partials(&request), Err(SignerError::Mismatch(_))), "{comment}");
    }
    for case in file.cases("verify_fail_test_cases", 3) {
        let keys = file.pick("pubkeys", &case["key_indices"]);
        let proposal = proposal(&keys, &file.at("msgs", &case["msg_index"])).expect("valid");
        let nonces = file.pick("pnonces", &case["nonce_indices"]);
        let round = keys_of(&proposal).begin_round(&slices(&nonces)).expect("valid nonces");
        let signer = case["signer_index"].as_u64().expect("an index") as usize;
        assert!(!round.verify_partials(signer, &hex(&case["sig"])), "{}", case["comment"]);
    }
    for case in file.cases("verify_error_test_cases", 2) {
        let keys = file.pick("pubkeys", &case["key_indices"]);
        let proposal = proposal(&keys, &file.at("msgs", &case["msg_index"]));
        let culprit = signer_of(&case).expect("it has a culprit");
        if case["error"]["contrib"] == "pubkey" {
            assert!(matches!(proposal, Err(ProposalError::Key { index, .. }) if index == culprit));
            continue;
        }
        let nonces = file.pick("pnonces", &case["nonce_indices"]);
        let round = keys_of(&proposal.expect("valid")).begin_round(&slices(&nonces));
        assert_eq!(round.err(), Some(culprit), "{}", case["comment"]);
    }
    file.done();
}

#[test]
fn bip327_sig_agg() {
    let Some(mut file) = File::open("bip327_sig_agg", "bip327/sig_agg_vectors") else { return };
    let digest = hex(&file.content["msg"]);
    let begin = |file: &File, case: &Value| {
        let keys = file.pick("pubkeys", &case["key_indices"]);
        let keys = keys_of(&proposal(&keys, &digest).expect("valid"));
        let nonces = file.pick("pnonces", &case["nonce_indices"]);
        let round = keys.begin_round(&slices(&nonces)).expect("valid nonces");
        assert_eq!(round.aggregate_nonce(0).to_vec(), hex(&case["aggnonce"]));
        (keys, round)
    };
    for case in file.cases("valid_test_cases", 4) {
        if File::is_tweaked(&case) {
            continue;
        }
        let (keys, round) = begin(&file, &case);
        let partials = file.pick("psigs", &case["psig_indices"]);
        let signatures = round.aggregate(&slices(&partials)).expect("valid partials");
        assert_eq!(signatures, [Signature(array(&case["expected"]))]);
        assert!(keys.verify_signatures(&signatures));
        let swapped: Vec<_> = partials.iter().rev().cloned().collect();
        for signer in 0..2 {
            assert!(round.verify_partials(signer, &partials[signer]));
            assert!(!round.verify_partials(signer, &swapped[signer]));
        }
    }
    for case in file.cases("error_test_cases", 1) {
        let (_, round) = begin(&file, &case);
        let partials = file.pick("psigs", &case["psig_indices"]);
        assert_eq!(round.aggregate(&slices(&partials)), None);
        let culprit = signer_of(&case).expect("it has a culprit");
        assert!(!round.verify_partials(culprit, &partials[culprit]));
        let not_a_scalar = |bytes: &Vec<u8>| {
            PartialSignature::from_byte_array(bytes.as_slice().try_into().expect("32 bytes")).is_err()
        };
        assert_eq!(partials.iter().position(not_a_scalar), Some(culprit), "{}", case["comment"]);
    }
    file.done();
}

#[test]
fn what_is_not_applicable_is_what_the_table_says() {
    let Some(mut file) = File::open("bip327_det_sign", "bip327/det_sign_vectors") else { return };
    assert!(file.cases("valid_test_cases", 4).is_empty());
    assert!(file.cases("error_test_cases", 5).is_empty());
    file.done();
    assert_eq!(NOT_APPLICABLE.len(), 14);
    for (name, list, index, reason) in NOT_APPLICABLE {
        let folder = vectors_folder("not applicable").expect("it was there a moment ago");
        let text = std::fs::read_to_string(folder.join(format!("bip327/{name}.json"))).expect("a file");
        let content: Value = serde_json::from_str(&text).expect("JSON");
        let case = &content[list][index];
        assert!(case.is_object(), "{name} {list} {index}");
        if reason.starts_with("message of") {
            let direct = case["msg"].as_str().map(str::len);
            let length = direct
                .or(content["msgs"][case["msg_index"].as_u64().unwrap_or(0) as usize].as_str().map(str::len));
            assert_eq!(
                length.map(|digits| format!("message of {} bytes", digits / 2)).as_deref(),
                Some(*reason)
            );
        }
    }
}

#[test]
fn bip328_synthetic_extended_key() {
    let Some(file) = File::open("bip328", "bip328") else { return };
    assert_eq!(BIP328_CHAIN_CODE.as_slice(), Sha256::digest(b"MuSig2MuSig2MuSig2").as_slice());
    let cases = file.content.as_array().expect("a list");
    assert_eq!(cases.len(), 3);
    for case in cases {
        let keys = case["keys"].as_array().expect("a list").iter();
        let keys: Vec<_> = keys.map(|key| SignerKey::from_bytes(&hex(key)).expect("valid")).collect();
        let aggregate = KeySet::ordered(&keys, KeyOrder::AsGiven).aggregate_key().expect("not too many");
        assert_eq!(Value::from(aggregate.to_string()), case["aggregate_pubkey"]);
        assert_eq!(Value::from(synthetic_xpub(&aggregate)), case["xpub"]);
    }
}

/// The children 0, 0/1 and 0/1/2147483647 of BIP-328's first aggregate key, as an independent calculation gives them.
#[test]
fn bip328_derivation_known_answer() {
    let Some(file) = File::open("bip328", "bip328") else { return };
    let case = &file.content[0];
    let keys = case["keys"].as_array().expect("a list").iter();
    let keys: Vec<_> = keys.map(|key| SignerKey::from_bytes(&hex(key)).expect("valid")).collect();
    assert_eq!(
        case["aggregate_pubkey"],
        "0354240c76b8f2999143301a99c7f721ee57eee0bce401df3afeaa9ae218c70f23"
    );
    let key_set = KeySet::ordered(&keys, KeyOrder::AsGiven);
    let path = [0, 1, (1 << 31) - 1];
    let children = [1, 2, 3].map(|steps| {
        let derivation = Derivation { path: path[..steps].to_vec(), taproot: Taproot::None };
        key_set.final_key(&derivation).expect("unhardened").to_string()
    });
    assert_eq!(
        children,
        [
            "0331d8148928a3ae721e8437559bb27d52e04220a016c182e95a1d0a8bd60426b3",
            "032789ad09c05922f654eebe50677730eec1e930233abd55e4adefda34bab1f04a",
            "035fe2dbae1e3f23824a581506c90409184fb3fc88e13259254f0218f7bfdf8e37",
        ]
    );
}

/// The bitcoin crate derives the same children from the same extended key.
#[cfg(feature = "bitcoin")]
#[test]
fn bip328_derivation_is_bip32() {
    use bitcoin::bip32::{ChildNumber, Xpub};
    let context = bitcoin::secp256k1::Secp256k1::verification_only();
    let mut choices = test_support::party::Choices::new(328);
    for _ in 0..50 {
        let keys = [choices.scalar(), choices.scalar()].map(|secret| {
            let secret = SecretKey::from_secret_bytes(secret).expect("in range");
            SignerKey::from(PublicKey::from_secret_key(&secret))
        });
        let key_set = KeySet::new(&keys);
        let aggregate = key_set.aggregate_key().expect("two keys");
        let xpub: Xpub = synthetic_xpub(&aggregate).parse().expect("an extended key");
        let path: Vec<u32> = (0..choices.below(6)).map(|_| choices.next() as u32 >> 1).collect();
        let steps: Vec<_> =
            path.iter().map(|step| ChildNumber::from_normal_idx(*step).expect("unhardened")).collect();
        let derived = key_set.final_key(&Derivation { path, taproot: Taproot::None }).expect("unhardened");
        let expected = xpub.derive_pub(&context, &steps).expect("unhardened");
        assert_eq!(derived.as_bytes(), &expected.public_key.serialize());
    }
}
