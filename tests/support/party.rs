//! Sessions whose signers are all here, and what tests of keys and messages need.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::crypto::{NONCE, Round, Scheme, SessionKeys};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::{Body, Content, Envelope, envelope_id};
use libmusig::protocol::proposal::{Broadcast, FailoverPolicy, KeySet, Message, Proposal, Terms};
use libmusig::signer::{Identity, LocalSigner, NonceRequest, PartialRequest, Signer};
use libmusig::types::{SignerKey, UnixMillis};

/// xorshift64*: choices of a test, the same in each run.
pub struct Choices(u64);

impl Choices {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 32) % end as u64) as usize
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.next().to_be_bytes()));
        bytes
    }

    /// Below the order of the curve, and not zero.
    pub fn scalar(&mut self) -> [u8; 32] {
        let mut bytes = self.bytes();
        bytes[0] &= 0x7f;
        bytes[31] |= 1;
        bytes
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The vectors folder, or `None` after a line that says what was skipped.
pub fn vectors_folder(test: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("MUSIG_VECTORS").map_or(default, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("MUSIG_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "{test} needs the vectors folder; set MUSIG_VECTORS to it (not found: {folder:?})");
    // Written directly, for the harness swallows what passing tests print.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: vectors folder missing");
    None
}

pub fn terms(signers: Vec<SignerKey>) -> Terms {
    Terms {
        entropy: [7; 32],
        proposer: 0,
        key_sets: vec![KeySet::new(&signers)],
        signers,
        messages: vec![Message::raw([9; 32])],
        transaction: None,
        election_method: ElectionMethod::Lexicographic,
        broadcast: Broadcast::default(),
        expires_at: UnixMillis(1_000_000),
        metadata: Vec::new(),
        replaces: None,
    }
}

/// The failover policy of terms that have one.
pub fn policy(terms: &mut Terms) -> &mut FailoverPolicy {
    match &mut terms.broadcast {
        Broadcast::Failover(policy) => policy,
        other => panic!("{other:?} has no policy"),
    }
}

/// Terms with other signers, who sign with their identity keys.
pub fn with_signers(terms: &mut Terms, signers: Vec<SignerKey>) {
    terms.key_sets = vec![KeySet::new(&signers)];
    terms.signers = signers;
}

/// The key of a small secret.
pub fn key_of(secret: u8) -> SignerKey {
    local(secret).public_key()
}

pub fn local(secret: u8) -> LocalSigner {
    let mut bytes = [0; 32];
    bytes[31] = secret;
    LocalSigner::new(bytes).expect("a small number is a secret key")
}

pub fn seal(signer: &LocalSigner, body: Body) -> Envelope {
    let signature = signer.sign(&envelope_id(&body.encode()).0).expect("not locked");
    Envelope::new(body, signature)
}

/// A session whose signers are all here.
pub struct Party {
    pub proposal: Proposal,
    pub keys: Arc<dyn SessionKeys>,
    pub signers: Vec<LocalSigner>,
}

impl Party {
    /// `n` signers; `change` may alter the terms before they become a proposal.
    pub fn new(n: u8, change: impl FnOnce(&mut Terms)) -> Self {
        let signers: Vec<_> = (1..=n).map(local).collect();
        let mut terms = terms(signers.iter().map(|signer| signer.public_key()).collect());
        change(&mut terms);
        let proposal = Proposal::new(terms).expect("valid terms");
        let keys = Musig2.aggregate_keys(&proposal).expect("valid key sets");
        Self { proposal, keys, signers }
    }

    pub fn nonce_request(&self, signer: usize, attempt: u32) -> NonceRequest {
        NonceRequest::new(self.proposal.clone(), attempt, signer, Arc::clone(&self.keys))
    }

    pub fn partial_request(&self, signer: usize, attempt: u32, round: &Arc<dyn Round>) -> PartialRequest {
        let (keys, round) = (Arc::clone(&self.keys), Arc::clone(round));
        PartialRequest::new(self.proposal.clone(), attempt, signer, keys, round)
    }

    /// The nonces of all signers, each signer's in one piece.
    pub fn nonces(&self, attempt: u32) -> Vec<Vec<u8>> {
        let each = self.signers.iter().enumerate();
        each.map(|(index, signer)| {
            let nonces: Vec<[u8; NONCE]> =
                signer.make_nonces(&self.nonce_request(index, attempt)).expect("the first time");
            nonces.concat()
        })
        .collect()
    }

    pub fn round(&self, nonces: &[Vec<u8>]) -> Arc<dyn Round> {
        self.keys.begin_round(&slices(nonces)).expect("valid nonces")
    }

    pub fn partials(&self, attempt: u32, round: &Arc<dyn Round>) -> Vec<Vec<u8>> {
        let each = self.signers.iter().enumerate();
        each.map(|(index, signer)| {
            signer
                .make_partials(&self.partial_request(index, attempt, round))
                .expect("it has nonces")
                .concat()
        })
        .collect()
    }

    pub fn envelope(&self, signer: usize, content: Content) -> Envelope {
        seal(&self.signers[signer], Body { session: self.proposal.id(), signer, content })
    }
}

pub fn slices(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}
