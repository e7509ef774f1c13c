//! Random sessions in which half of the signers are this library's and half the independent crate `musig2`'s.

use std::sync::Arc;

use libmusig::protocol::crypto::key_set::{TweakForest, aggregate_key, sort_keys};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::crypto::{PARTIAL, Scheme, SessionKeys};
use libmusig::protocol::proposal::{KeyOrder, Message, Proposal, Tweak};
use libmusig::signer::{LocalSigner, NonceRequest, PartialRequest, Signer};
use libmusig::types::SignerKey;
use musig2::secp::{MaybeScalar, Point, Scalar};
use musig2::{AggNonce, KeyAggContext, PubNonce, SecNonce};

use test_support::party::{Choices, slices, terms};

const SESSIONS: u64 = 500;

/// One signer, of either library.
enum Party {
    Ours(LocalSigner),
    Theirs(Scalar),
}

fn tweaks(choices: &mut Choices, aggregate: SignerKey) -> Vec<Tweak> {
    let mut forest = TweakForest::new(aggregate);
    let mut nodes = vec![None];
    for _ in 0..choices.below(6) {
        let after = nodes[choices.below(nodes.len())];
        let node = match choices.below(3) {
            0 => forest.taproot(after, choices.coin().then(|| choices.bytes())),
            1 => {
                let scalar = choices.scalar();
                forest.push(Tweak { follows: after, x_only: choices.coin(), scalar })
            }
            _ => {
                let path: Vec<u32> = (0..1 + choices.below(3)).map(|_| choices.below(3) as u32).collect();
                forest.derive(&path).map(|node| node.expect("the path is not empty"))
            }
        };
        nodes.push(Some(node.expect("a number below the order")));
    }
    forest.into_tweaks()
}

/// The other library's idea of each message's key.
fn contexts(proposal: &Proposal) -> Vec<KeyAggContext> {
    let keys = match proposal.key_order {
        KeyOrder::Sorted => sort_keys(&proposal.signers),
        KeyOrder::AsGiven => proposal.signers.clone(),
    };
    let points = keys.iter().map(|key| Point::from_slice(key.as_bytes()).expect("valid"));
    let root = KeyAggContext::new(points).expect("not infinity");
    let of_message = |index| {
        let path = proposal.tweak_path(index).into_iter();
        let path =
            path.map(|tweak| (MaybeScalar::from_slice(&tweak.scalar).expect("in range"), tweak.x_only));
        root.clone().with_tweaks(path).expect("not infinity")
    };
    (0..proposal.messages.len()).map(of_message).collect()
}

#[test]
fn half_of_the_signers_are_another_implementation() {
    let (mut corrupted, mut tweaked, mut sizes, mut foreign_rounds) = (0, 0, [0; 13], 0);
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
                true => Party::Ours(LocalSigner::new(*secret).expect("in range")),
                false => Party::Theirs(Scalar::from_slice(secret).expect("in range")),
            })
            .collect();
        let public = |party: &Party| match party {
            Party::Ours(signer) => signer.public_key(),
            Party::Theirs(secret) => {
                SignerKey::from_bytes(&secret.base_point_mul().serialize()).expect("valid")
            }
        };
        let mut terms = terms(parties.iter().map(public).collect());
        terms.key_order = if choices.coin() { KeyOrder::Sorted } else { KeyOrder::AsGiven };
        terms.entropy = choices.bytes();
        let aggregate = aggregate_key(&terms.signers, terms.key_order).expect("not too many");
        terms.tweaks = tweaks(&mut choices, aggregate);
        terms.messages = (0..1 + choices.below(4))
            .map(|_| {
                let tweak = choices.below(terms.tweaks.len() + 1).checked_sub(1);
                Message::raw(choices.bytes(), tweak)
            })
            .collect();
        tweaked += usize::from(terms.messages.iter().any(|message| message.tweak.is_some()));
        let proposal = Proposal::new(terms).expect("valid terms");
        foreign_rounds += usize::from(!ours.contains(&true));

        let contexts = contexts(&proposal);
        let keys = Musig2.aggregate_keys(&proposal).expect("valid tweaks");
        for (index, context) in contexts.iter().enumerate() {
            let point: Point = context.aggregated_pubkey();
            assert_eq!(keys.output_key(index), point.serialize_xonly(), "seed {seed}");
        }
        session(seed, &mut choices, &proposal, &keys, &contexts, &parties, &mut corrupted);
    }
    assert!(corrupted > 120 && tweaked > 250, "{corrupted} corrupted, {tweaked} tweaked");
    assert!(sizes[1..].iter().all(|count| *count > 20), "{sizes:?}");
    assert!(foreign_rounds < 60, "{foreign_rounds} sessions without a signer of ours");
}

fn session(
    seed: u64,
    choices: &mut Choices,
    proposal: &Proposal,
    keys: &Arc<dyn SessionKeys>,
    contexts: &[KeyAggContext],
    parties: &[Party],
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
                let request = NonceRequest { proposal, attempt, signer, keys: Arc::clone(keys) };
                nonces.push(local.make_nonces(&request).expect("the first time").concat());
                secret_nonces.push(Vec::new());
            }
            Party::Theirs(secret) => {
                let made: Vec<_> = messages
                    .iter()
                    .zip(contexts)
                    .map(|(message, context)| {
                        let key: Point = context.aggregated_pubkey();
                        SecNonce::generate(choices.bytes(), *secret, key, message.digest, b"")
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
                let request = PartialRequest { proposal: proposal.clone(), attempt, signer, keys, round };
                local.make_partials(&request).expect("it has nonces").concat()
            }
            Party::Theirs(secret) => secret_nonces
                .into_iter()
                .enumerate()
                .flat_map(|(message, nonce)| {
                    let digest = messages[message].digest;
                    let (context, aggregate) = (&contexts[message], &aggregates[message]);
                    let partial: MaybeScalar =
                        musig2::sign_partial(context, *secret, nonce, aggregate, digest).expect("valid");
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
                let key = Point::from_slice(proposal.signers[signer].as_bytes()).expect("valid");
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
