//! Random sessions in which half of the signers are this library's and half the independent crate `musig2`'s.

use std::sync::Arc;

use libmusig::protocol::crypto::key_set::{Derivation, KeyOrder, KeySet, Taproot};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::crypto::{PARTIAL, Scheme, SessionKeys};
use libmusig::protocol::proposal::{Message, Proposal};
use libmusig::signer::{LocalSigner, NonceRequest, PartialRequest, Signer};
use musig2::secp::{MaybeScalar, Point, Scalar};
use musig2::{AggNonce, KeyAggContext, PubNonce, SecNonce};
use sha2::{Digest, Sha256, Sha512};

use test_support::party::{Choices, slices, terms};

const SESSIONS: u64 = 500;

/// One signer, of either library.
enum Party {
    Ours(Box<LocalSigner>),
    Theirs,
}

fn derivation(choices: &mut Choices) -> Derivation {
    let path = (0..choices.below(4)).map(|_| choices.below(3) as u32).collect();
    let taproot = match choices.below(3) {
        0 => Taproot::None,
        1 => Taproot::KeyPath,
        _ => Taproot::MerkleRoot(choices.bytes()),
    };
    Derivation { path, taproot }
}

/// HMAC-SHA512 (RFC 2104), with a key that is shorter than a block.
fn hmac(key: &[u8], data: &[u8]) -> [u8; 64] {
    let pad = |byte: u8| {
        let mut block = [byte; 128];
        block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        block
    };
    let inner = Sha512::digest([&pad(0x36)[..], data].concat());
    Sha512::digest([&pad(0x5c)[..], &inner[..]].concat()).into()
}

/// The other library's idea of each message's key.
fn contexts(proposal: &Proposal) -> Vec<KeyAggContext> {
    let of_message = |message: &Message| {
        let key_set = &proposal.key_sets[message.key_set];
        let mut keys = key_set.keys();
        if key_set.order == KeyOrder::Sorted {
            keys.sort();
        }
        let points = keys.iter().map(|key| Point::from_slice(key.as_bytes()).expect("valid"));
        let mut context = KeyAggContext::new(points).expect("not infinity");
        let mut chain_code = Sha256::digest(b"MuSig2MuSig2MuSig2").to_vec();
        for number in &message.derivation.path {
            let parent: Point = context.aggregated_pubkey();
            let halves = hmac(&chain_code, &[&parent.serialize()[..], &number.to_be_bytes()].concat());
            let scalar = MaybeScalar::from_slice(&halves[..32]).expect("in range");
            context = context.with_tweak(scalar, false).expect("not infinity");
            chain_code = halves[32..].to_vec();
        }
        match message.derivation.taproot {
            Taproot::None => context,
            Taproot::KeyPath => context.with_unspendable_taproot_tweak().expect("not infinity"),
            Taproot::MerkleRoot(root) => context.with_taproot_tweak(&root).expect("not infinity"),
        }
    };
    proposal.messages.iter().map(of_message).collect()
}

/// The key sets of a session, and the secrets of all their keys: by key set, then by signer.
type Wallets = (Vec<KeySet>, Vec<Vec<[u8; 32]>>);

/// The identity keys, or others in up to three key sets.
fn wallets(choices: &mut Choices, identities: &[[u8; 32]]) -> Wallets {
    let public = |secret: &[u8; 32]| LocalSigner::new(*secret).expect("in range").public_key();
    let count = choices.below(4);
    let secrets: Vec<Vec<[u8; 32]>> = match count {
        0 => vec![identities.to_vec()],
        _ => (0..count).map(|_| identities.iter().map(|_| choices.scalar()).collect()).collect(),
    };
    let key_set = |secrets: &Vec<[u8; 32]>| {
        let keys: Vec<_> = secrets.iter().map(public).collect();
        KeySet::ordered(&keys, if choices.coin() { KeyOrder::Sorted } else { KeyOrder::AsGiven })
    };
    (secrets.iter().map(key_set).collect(), secrets)
}

#[test]
fn half_of_the_signers_are_another_implementation() {
    let (mut corrupted, mut derived, mut several, mut sizes, mut foreign_rounds) = (0, 0, 0, [0; 13], 0);
    for seed in 0..SESSIONS {
        let mut choices = Choices::new(seed + 1);
        let n = 1 + choices.below(12);
        sizes[n] += 1;
        let mut ours: Vec<bool> = (0..n).map(|index| (index + seed as usize).is_multiple_of(2)).collect();
        choices.shuffle(&mut ours);
        let secrets: Vec<[u8; 32]> = (0..n).map(|_| choices.scalar()).collect();
        let parties: Vec<Party> = secrets
            .iter()
            .zip(&ours)
            .map(|(secret, ours)| match ours {
                true => Party::Ours(Box::new(LocalSigner::new(*secret).expect("in range"))),
                false => Party::Theirs,
            })
            .collect();
        let public = |secret: &[u8; 32]| LocalSigner::new(*secret).expect("in range").public_key();
        let mut terms = terms(secrets.iter().map(public).collect());
        terms.entropy = choices.bytes();
        let (key_sets, keys) = wallets(&mut choices, &secrets);
        if keys[0] != secrets {
            several += usize::from(keys.len() > 1);
            for (signer, party) in parties.iter().enumerate() {
                let Party::Ours(local) = party else { continue };
                for keys in &keys {
                    local.add_key(keys[signer]).expect("in range");
                }
            }
        }
        terms.messages = (0..key_sets.len() + choices.below(4))
            .map(|index| {
                // Each key set signs something.
                let key_set = if index < key_sets.len() { index } else { choices.below(key_sets.len()) };
                Message::with(choices.bytes(), key_set, derivation(&mut choices))
            })
            .collect();
        terms.key_sets = key_sets;
        derived +=
            usize::from(terms.messages.iter().any(|message| message.derivation != Derivation::default()));
        let proposal = Proposal::new(terms).expect("valid terms");
        foreign_rounds += usize::from(!ours.contains(&true));

        let contexts = contexts(&proposal);
        let aggregated = Musig2.aggregate_keys(&proposal).expect("valid keys");
        for (index, context) in contexts.iter().enumerate() {
            let point: Point = context.aggregated_pubkey();
            assert_eq!(aggregated.output_key(index), point.serialize_xonly(), "seed {seed}");
        }
        let secret_keys: Vec<Vec<Scalar>> = keys
            .iter()
            .map(|keys| keys.iter().map(|key| Scalar::from_slice(key).expect("in range")).collect())
            .collect();
        session(
            seed,
            &mut choices,
            &proposal,
            &aggregated,
            &contexts,
            (&parties, &secret_keys),
            &mut corrupted,
        );
    }
    assert!(corrupted > 120 && derived > 400, "{corrupted} corrupted, {derived} derived");
    assert!(several > 200, "{several} with several key sets");
    assert!(sizes[1..].iter().all(|count| *count > 20), "{sizes:?}");
    assert!(foreign_rounds < 60, "{foreign_rounds} sessions without a signer of ours");
}

fn session(
    seed: u64,
    choices: &mut Choices,
    proposal: &Proposal,
    keys: &Arc<dyn SessionKeys>,
    contexts: &[KeyAggContext],
    (parties, secret_keys): (&[Party], &[Vec<Scalar>]),
    corrupted: &mut usize,
) {
    let messages = &proposal.messages;
    let attempt = 0;
    let mut secret_nonces: Vec<Vec<SecNonce>> = Vec::new();
    let mut nonces: Vec<Vec<u8>> = Vec::new();
    for (signer, party) in parties.iter().enumerate() {
        match party {
            Party::Ours(local) => {
                let proposal = proposal.clone();
                let request = NonceRequest::new(proposal, attempt, signer, Arc::clone(keys));
                nonces.push(local.make_nonces(&request).expect("the first time").concat());
                secret_nonces.push(Vec::new());
            }
            Party::Theirs => {
                let made: Vec<_> = messages
                    .iter()
                    .zip(contexts)
                    .map(|(message, context)| {
                        let key: Point = context.aggregated_pubkey();
                        let secret = secret_keys[message.key_set][signer];
                        SecNonce::generate(choices.bytes(), secret, key, message.digest, b"")
                    })
                    .collect();
                nonces.push(made.iter().flat_map(|nonce| nonce.public_nonce().serialize()).collect());
                secret_nonces.push(made);
            }
        }
    }
    let round = keys.begin_round(&slices(&nonces)).expect("valid nonces");
    let parsed: Vec<Vec<PubNonce>> = nonces
        .iter()
        .map(|bytes| {
            bytes.chunks_exact(66).map(|nonce| PubNonce::from_bytes(nonce).expect("valid")).collect()
        })
        .collect();
    let aggregates: Vec<AggNonce> =
        (0..messages.len()).map(|message| AggNonce::sum(parsed.iter().map(|of| &of[message]))).collect();
    for (message, aggregate) in aggregates.iter().enumerate() {
        assert_eq!(round.aggregate_nonce(message), aggregate.serialize(), "seed {seed}");
    }

    let mut partials: Vec<Vec<u8>> = Vec::new();
    for (signer, (party, secret_nonces)) in parties.iter().zip(secret_nonces).enumerate() {
        partials.push(match party {
            Party::Ours(local) => {
                let (keys, round) = (Arc::clone(keys), Arc::clone(&round));
                let request = PartialRequest::new(proposal.clone(), attempt, signer, keys, round);
                local.make_partials(&request).expect("it has nonces").concat()
            }
            Party::Theirs => secret_nonces
                .into_iter()
                .enumerate()
                .flat_map(|(message, nonce)| {
                    let digest = messages[message].digest;
                    let secret = secret_keys[messages[message].key_set][signer];
                    let (context, aggregate) = (&contexts[message], &aggregates[message]);
                    let partial: MaybeScalar =
                        musig2::sign_partial(context, secret, nonce, aggregate, digest).expect("valid");
                    partial.serialize()
                })
                .collect(),
        });
    }
    for (signer, bytes) in partials.iter().enumerate() {
        assert!(round.verify_partials(signer, bytes), "seed {seed}: signer {signer}");
        if matches!(parties[signer], Party::Ours(_)) {
            for (message, partial) in bytes.chunks_exact(PARTIAL).enumerate() {
                let partial = MaybeScalar::from_slice(partial).expect("in range");
                let key = proposal.participant_key(message, signer).expect("both exist");
                let key = Point::from_slice(key.as_bytes()).expect("valid");
                let (context, aggregate) = (&contexts[message], &aggregates[message]);
                let nonce = &parsed[signer][message];
                musig2::verify_partial(context, partial, aggregate, key, nonce, messages[message].digest)
                    .unwrap_or_else(|error| panic!("seed {seed}: signer {signer}: {error}"));
            }
        }
    }

    if choices.below(3) == 0 {
        *corrupted += 1;
        let culprit = choices.below(parties.len());
        let mut wrong = partials.clone();
        let position = choices.below(wrong[culprit].len());
        wrong[culprit][position] ^= 1 << choices.below(8);
        assert_eq!(round.aggregate(&slices(&wrong)), None, "seed {seed}");
        let blamed: Vec<usize> =
            (0..parties.len()).filter(|signer| !round.verify_partials(*signer, &wrong[*signer])).collect();
        assert_eq!(blamed, [culprit], "seed {seed}");
    }

    let signatures = round.aggregate(&slices(&partials)).expect("all partials verify");
    assert_eq!(signatures.len(), messages.len());
    assert!(keys.verify_signatures(&signatures), "seed {seed}");
    for (message, signature) in signatures.iter().enumerate() {
        let key: Point = contexts[message].aggregated_pubkey();
        musig2::verify_single(key, signature.0, messages[message].digest)
            .unwrap_or_else(|error| panic!("seed {seed}: message {message}: {error}"));
    }
    let mut wrong = signatures.clone();
    wrong[choices.below(messages.len())].0[choices.below(64)] ^= 1;
    assert!(!keys.verify_signatures(&wrong), "seed {seed}");
    assert!(!keys.verify_signatures(&signatures[1..]), "seed {seed}");
}
