//! One signer's part of the cryptography of a session, and what it costs elsewhere: key aggregation, own nonces, others'
//! nonces, own partial signatures and their check, aggregation, verification. By the CPU time of the thread.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::proposal::{Broadcast, KeySet, Message, Proposal, Terms};
use libmusig::signer::{LocalSigner, NonceRequest, PartialRequest, Signer};
use libmusig::types::{Signature, UnixMillis};
use musig2::secp::{MaybeScalar, Point, Scalar};
use musig2::{AggNonce, KeyAggContext, LiftedSignature, PubNonce, SecNonce};
use secp256k1::musig::{
    AggregatedNonce, KeyAggCache, PartialSignature, PublicNonce, Session, SessionSecretRand, new_nonce_pair,
};
use test_support::nodes::{keys, secret};

use crate::harness::{Size, Table, Target, digest, median, micros, thread_cpu};

pub fn run(table: &mut Table) {
    let scure = scure(table.size);
    for (n, messages) in [(2, 1), (5, 1), (20, 1), (100, 1), (5, 100)] {
        let rounds = table.size.pick(1, 2000, 10_000) / (n * messages);
        let (mut ours, mut again, mut bare, mut theirs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let digests: Vec<[u8; 32]> = (0..messages as u64).map(digest).collect();
        for round in 0..rounds.max(1) as u32 {
            let signers = new_signers(n, round);
            ours.push(micros(our_session(&signers, &digests, 0)));
            again.push(micros(our_session(&signers, &digests, 1)));
            bare.push(micros(bare_session(n, &digests)));
            theirs.push(micros(session_of_the_crate(n, &digests)));
        }
        let (ours, bare, theirs) = (median(&mut ours), median(&mut bare), median(&mut theirs));
        let id = if messages == 1 { format!("musig2_n{n}") } else { format!("musig2_n{n}_x{messages}") };
        let inputs = if messages == 1 { String::new() } else { format!(", {messages} inputs") };
        let what = format!("one signer's MuSig2, n = {n}{inputs}; the bare calls");
        let most = if messages == 1 { 1.05 } else { 0.8 };
        table.against(&format!("{id}_ratio"), &what, (ours, bare), "µs", Target::RatioAtMost(most));
        let what = format!("the same, of keys that signed before, n = {n}{inputs}");
        table.against(&format!("{id}_again"), &what, (median(&mut again), bare), "µs", Target::None);
        let what = format!("the same as the first; the crate `musig2`, n = {n}{inputs}");
        table.against(&format!("{id}_crate"), &what, (ours, theirs), "µs", Target::RatioAtMost(1.0));
        if messages == 1 && n <= 20 {
            let id = format!("{id}_scure");
            match &scure {
                Ok(of) => {
                    let theirs = of.iter().find(|(signers, _)| *signers == n).expect("was asked for").1;
                    let what = format!("the same as the first; @scure/btc-signer, n = {n}");
                    table.against(&id, &what, (ours, theirs), "µs", Target::RatioAtMost(1.0));
                }
                Err(why) => table.missing(&id, why),
            }
        }
    }
}

/// What the bare calls of a session cost one signer, in µs of CPU time.
pub fn bare_micros(n: usize, messages: usize, rounds: usize) -> f64 {
    let digests: Vec<[u8; 32]> = (0..messages as u64).map(digest).collect();
    let mut samples: Vec<f64> = (0..rounds).map(|_| micros(bare_session(n, &digests))).collect();
    median(&mut samples)
}

/// Takes the CPU time of what it is given, and of nothing else.
#[derive(Default)]
struct Watch(Duration);

impl Watch {
    fn run<R>(&mut self, act: impl FnOnce() -> R) -> R {
        let start = thread_cpu();
        let result = act();
        self.0 += thread_cpu() - start;
        result
    }
}

/// Signers with keys that nobody saw before: libmusig remembers the last aggregates.
fn new_signers(n: usize, round: u32) -> Vec<LocalSigner> {
    let secret = |index| {
        let mut secret = secret(index);
        secret[..4].copy_from_slice(&round.to_be_bytes());
        secret
    };
    (0..n).map(|index| LocalSigner::new(secret(index)).expect("valid")).collect()
}

fn our_session(signers: &[LocalSigner], digests: &[[u8; 32]], round: u8) -> Duration {
    let n = signers.len();
    let keys: Vec<_> = signers.iter().map(LocalSigner::public_key).collect();
    let proposal = Proposal::new(Terms {
        entropy: [round; 32],
        proposer: 0,
        key_sets: vec![KeySet::new(&keys)],
        signers: keys,
        messages: digests.iter().copied().map(Message::raw).collect(),
        transaction: None,
        election_method: ElectionMethod::default(),
        broadcast: Broadcast::default(),
        expires_at: UnixMillis(u64::MAX),
        metadata: Vec::new(),
        replaces: None,
    });
    let proposal = proposal.expect("valid terms");
    let mut watch = Watch::default();
    let keys = watch.run(|| Musig2.aggregate_keys(&proposal).expect("valid keys"));
    let shared = Musig2.aggregate_keys(&proposal).expect("valid keys");
    let nonce_request =
        |signer: usize, keys: &_| NonceRequest::new(proposal.clone(), 0, signer, Arc::clone(keys));
    let others: Vec<Vec<u8>> = (1..n)
        .map(|i| signers[i].make_nonces(&nonce_request(i, &shared)).expect("makes nonces").concat())
        .collect();

    let request = nonce_request(0, &keys);
    let begun = watch.run(|| {
        let own = signers[0].make_nonces(&request).expect("makes nonces").concat();
        let all: Vec<&[u8]> = std::iter::once(&own).chain(&others).map(Vec::as_slice).collect();
        keys.begin_round(&all).expect("valid nonces")
    });
    let partial_request = |signer: usize, keys: &_| {
        PartialRequest::new(proposal.clone(), 0, signer, Arc::clone(keys), Arc::clone(&begun))
    };
    let others: Vec<Vec<u8>> = (1..n)
        .map(|i| signers[i].make_partials(&partial_request(i, &shared)).expect("signs").concat())
        .collect();
    let request = partial_request(0, &keys);
    watch.run(|| {
        let own = signers[0].make_partials(&request).expect("signs").concat();
        assert!(begun.verify_partials(0, &own));
        let all: Vec<&[u8]> = std::iter::once(&own).chain(&others).map(Vec::as_slice).collect();
        black_box::<Option<Vec<Signature>>>(begun.aggregate(&all)).expect("adds up");
    });
    watch.0
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// The same with nothing around it, for one message after the other.
fn bare_session(n: usize, digests: &[[u8; 32]]) -> Duration {
    let pairs: Vec<secp256k1::Keypair> = (0..n)
        .map(|i| secp256k1::SecretKey::from_secret_bytes(secret(i)).expect("valid"))
        .map(|secret| secp256k1::Keypair::from_secret_key(&secret))
        .collect();
    let mut points: Vec<secp256k1::PublicKey> = pairs.iter().map(secp256k1::Keypair::public_key).collect();
    points.sort_by_key(secp256k1::PublicKey::serialize);
    let bytes: Vec<[u8; 33]> = points.iter().map(secp256k1::PublicKey::serialize).collect();
    let mut watch = Watch::default();
    for message in digests {
        let refs: Vec<&secp256k1::PublicKey> = points.iter().collect();
        let shared = KeyAggCache::new(&refs);
        let nonce = |pair: &secp256k1::Keypair, cache: &KeyAggCache| {
            let random = SessionSecretRand::assume_uniformly_random(random());
            let secret = secp256k1::SecretKey::from_keypair(pair);
            new_nonce_pair(random, Some(cache), Some(secret), pair.public_key(), Some(message), Some([1; 32]))
        };
        let others: Vec<_> = pairs[1..].iter().map(|pair| nonce(pair, &shared)).collect();
        let public: Vec<[u8; 66]> = others.iter().map(|(_, public)| public.serialize()).collect();
        let (cache, secret_nonce, nonces, session) = watch.run(|| {
            // Keys come as bytes here too.
            let parse =
                |key: &[u8; 33]| secp256k1::PublicKey::from_byte_array_compressed(*key).expect("a point");
            let parsed: Vec<secp256k1::PublicKey> = bytes.iter().map(parse).collect();
            let refs: Vec<&secp256k1::PublicKey> = parsed.iter().collect();
            let cache = KeyAggCache::new(&refs);
            let (secret_nonce, own) = nonce(&pairs[0], &cache);
            let mut nonces = vec![PublicNonce::from_byte_array(&own.serialize()).expect("a nonce")];
            nonces.extend(public.iter().map(|bytes| PublicNonce::from_byte_array(bytes).expect("a nonce")));
            let refs: Vec<&PublicNonce> = nonces.iter().collect();
            let session = Session::new(&cache, AggregatedNonce::new(&refs), message);
            (cache, secret_nonce, nonces, session)
        });
        let rest: Vec<[u8; 32]> = pairs[1..]
            .iter()
            .zip(others)
            .map(|(pair, (secret, _))| session.partial_sign(secret, pair, &shared).serialize())
            .collect();
        watch.run(|| {
            let own = session.partial_sign(secret_nonce, &pairs[0], &cache);
            assert!(session.partial_verify(&cache, &own, &nonces[0], pairs[0].public_key()));
            let parse = |partial| PartialSignature::from_byte_array(partial).expect("a scalar");
            let rest: Vec<PartialSignature> = rest.iter().map(parse).collect();
            let all: Vec<&PartialSignature> = std::iter::once(&own).chain(&rest).collect();
            session.partial_sig_agg(&all).verify(&cache.agg_pk(), message).expect("verifies");
        });
    }
    watch.0
}

/// The same by the crate `musig2`, on the same curve arithmetic.
fn session_of_the_crate(n: usize, digests: &[[u8; 32]]) -> Duration {
    let secrets: Vec<Scalar> = (0..n).map(|i| Scalar::from_slice(&secret(i)).expect("in range")).collect();
    let mut bytes: Vec<[u8; 33]> = keys(n).iter().map(|key| *key.as_bytes()).collect();
    bytes.sort_unstable();
    let context = || {
        let points = bytes.iter().map(|key| Point::from_slice(key).expect("a point"));
        KeyAggContext::new(points).expect("not infinity")
    };
    let shared = context();
    let mut watch = Watch::default();
    for message in digests {
        let nonce = |signer: usize, context: &KeyAggContext| {
            let key: Point = context.aggregated_pubkey();
            SecNonce::generate(random(), secrets[signer], key, message, b"")
        };
        let others: Vec<SecNonce> = (1..n).map(|signer| nonce(signer, &shared)).collect();
        let public: Vec<[u8; 66]> = others.iter().map(|nonce| nonce.public_nonce().serialize()).collect();
        let (context, own_nonce, own_public, sum) = watch.run(|| {
            let context = context();
            let own = nonce(0, &context);
            let own_public = own.public_nonce();
            let parsed = public.iter().map(|bytes| PubNonce::from_bytes(bytes).expect("a nonce"));
            let nonces: Vec<PubNonce> = std::iter::once(own_public.clone()).chain(parsed).collect();
            (context, own, own_public, AggNonce::sum(&nonces))
        });
        let sign = |context: &KeyAggContext, signer: usize, nonce: SecNonce| -> MaybeScalar {
            musig2::sign_partial(context, secrets[signer], nonce, &sum, message).expect("signs")
        };
        let rest: Vec<[u8; 32]> = others
            .into_iter()
            .zip(1..)
            .map(|(nonce, signer)| sign(&shared, signer, nonce).serialize())
            .collect();
        watch.run(|| {
            let own = sign(&context, 0, own_nonce);
            let key = secrets[0].base_point_mul();
            musig2::verify_partial(&context, own, &sum, key, &own_public, message).expect("verifies");
            let parsed = rest.iter().map(|bytes| MaybeScalar::from_slice(bytes).expect("a scalar"));
            let all: Vec<MaybeScalar> = std::iter::once(own).chain(parsed).collect();
            // It verifies what it added up.
            let signature: LiftedSignature =
                musig2::aggregate_partial_signatures(&context, &sum, all, message).expect("adds up");
            black_box(signature);
        });
    }
    watch.0
}

/// µs of one signer for each number of signers, as `benches/peers/scure.mjs` measures them.
fn scure(size: Size) -> Result<Vec<(usize, f64)>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fetched = Command::new(root.join("tests/bitcoin/fetch-signers.sh"))
        .output()
        .map_err(|error| format!("tests/bitcoin/fetch-signers.sh does not run: {error}"))?;
    let last = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().lines().last().unwrap_or("").to_owned();
    if !fetched.status.success() {
        return Err(last(&fetched.stderr));
    }
    let output = Command::new("node")
        .arg(root.join("benches/peers/scure.mjs"))
        .args([last(&fetched.stdout), size.pick(1, 10, 40).to_string()])
        .output()
        .map_err(|error| format!("node does not run: {error}"))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |line: &str| {
        let (n, micros) = line.split_once(' ')?;
        Some((n.parse().ok()?, micros.parse().ok()?))
    };
    Ok(text.lines().map(|text| line(text).expect("two numbers")).collect())
}
