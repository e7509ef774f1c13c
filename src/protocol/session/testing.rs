//! A session of three signers with doubles for cryptography, for the unit tests of its parts.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::agreement::Agreement;
use crate::protocol::crypto::{NONCE, PARTIAL, Round, SessionKeys};
use crate::protocol::election::ElectionMethod;
use crate::protocol::envelope::{Body, Content, Envelope};
use crate::protocol::envelope_set::EnvelopeSet;
use crate::protocol::proposal::{Broadcast, FailoverPolicy, KeySet, Message, Proposal, Terms};
use crate::types::{Signature, SignerKey, UnixMillis};

/// Points on the curve: the generator, its double, and its triple.
const POINTS: [&str; 3] = [
    "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
    "02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
];
/// The first byte of nonces that are no points here.
pub const NO_POINT: u8 = 0xff;

/// Keys and rounds in which signer i's partial signature is valid if its first byte is i.
#[derive(Debug)]
struct Double;

impl SessionKeys for Double {
    fn output_key(&self, _: usize) -> [u8; 32] {
        [0; 32]
    }

    fn begin_round(&self, nonces: &[&[u8]]) -> Result<Arc<dyn Round>, usize> {
        match nonces.iter().position(|nonce| nonce.first() == Some(&NO_POINT)) {
            Some(signer) => Err(signer),
            None => Ok(Arc::new(Double)),
        }
    }

    fn verify_signatures(&self, _: &[Signature]) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Round for Double {
    fn aggregate_nonce(&self, _: usize) -> [u8; NONCE] {
        [0; NONCE]
    }

    fn verify_partials(&self, signer: usize, partials: &[u8]) -> bool {
        partials.first().is_some_and(|first| usize::from(*first) == signer)
    }

    fn aggregate(&self, partials: &[&[u8]]) -> Option<Vec<Signature>> {
        let valid =
            partials.iter().enumerate().all(|(signer, partial)| self.verify_partials(signer, partial));
        valid.then(|| vec![Signature([7; 64])])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What signer `own` knows of a session of three signers and one message.
pub fn agreement(own: usize) -> Agreement {
    let byte = |text: &str, at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex");
    let key = |text: &&str| SignerKey::from_bytes(&std::array::from_fn::<u8, 33, _>(|at| byte(text, at)));
    let signers: Vec<SignerKey> = POINTS.iter().map(|text| key(text).expect("a point")).collect();
    let terms = Terms {
        entropy: [1; 32],
        proposer: 0,
        key_sets: vec![KeySet::new(&signers)],
        signers,
        messages: vec![Message::raw([2; 32])],
        transaction: None,
        election_method: ElectionMethod::FirstSigner,
        broadcast: Broadcast::Failover(FailoverPolicy {
            broadcast_timeout: Duration::from_secs(60),
            ..FailoverPolicy::default()
        }),
        expires_at: UnixMillis(1_000_000),
        metadata: Vec::new(),
        replaces: None,
    };
    let proposal = Proposal::new(terms).expect("valid terms");
    Agreement::checked(proposal, own, Some(Arc::new(Double)), None).expect("there are signers")
}

/// Adds what a signer says. Nobody looks at its signature here.
pub fn say(set: &mut EnvelopeSet, agreement: &Agreement, signer: usize, content: Content) {
    let body = Body { session: agreement.id(), signer, content };
    let envelope = Envelope::new(body, Signature([9; 64]));
    assert!(set.wants(&envelope, &agreement.proposal), "{envelope:?}");
    set.insert(envelope, &agreement.proposal);
}

/// A signer's nonces of attempt 0.
pub fn nonces(first: u8) -> Content {
    Content::Nonces { attempt: 0, nonces: [&[first][..], &[0; NONCE - 1]].concat() }
}

/// A signer's partial signature of attempt 0.
pub fn partial(first: u8, transcript: [u8; 32]) -> Content {
    Content::Partial { attempt: 0, transcript, partials: [&[first][..], &[0; PARTIAL - 1]].concat() }
}
