//! A scheme that counts what it is asked to verify: what somebody can make a node compute, without a clock.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use libmusig::error::ProposalError;
use libmusig::protocol::crypto::{NONCE, Round, Scheme, SessionKeys};
use libmusig::protocol::proposal::Proposal;
use libmusig::types::{Signature, SignerKey};

/// Partial signatures: the aggregate nonce of the first message, the signer, and what it signed.
type Partials = ([u8; NONCE], SignerKey, Vec<u8>);

/// How often a scheme was asked.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// To verify an envelope.
    pub envelopes: u64,
    /// To aggregate the keys of a proposal.
    pub aggregations: u64,
    /// To parse and aggregate the nonces of an attempt.
    pub rounds: u64,
    /// To add up an attempt's partial signatures.
    pub sums: u64,
    /// To verify a certificate.
    pub certificates: u64,
    partials: HashMap<Partials, u64>,
}

impl Work {
    /// How often partial signatures were verified that are not of this signer: a node checks its own before it sends
    /// them.
    pub fn partials_of_others(&self, own: &SignerKey) -> u64 {
        self.of_others(own).sum()
    }

    /// How often the same ones were verified, at most.
    pub fn same_partials_of_others(&self, own: &SignerKey) -> u64 {
        self.of_others(own).max().unwrap_or(0)
    }

    fn of_others(&self, own: &SignerKey) -> impl Iterator<Item = u64> {
        self.partials.iter().filter(move |((_, signer, _), _)| signer != own).map(|(_, count)| *count)
    }
}

/// A count that others read while it goes on.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<Mutex<Work>>);

impl Counter {
    /// What was asked so far.
    pub fn work(&self) -> Work {
        self.lock().clone()
    }

    /// Forgets all of it.
    pub fn reset(&self) {
        *self.lock() = Work::default();
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.0.lock().expect("nobody panics while it counts")
    }
}

/// Another scheme, counted.
#[derive(Debug)]
pub struct Counted(pub Arc<dyn Scheme>, pub Counter);

impl Scheme for Counted {
    fn verify(&self, key: &SignerKey, digest: &[u8; 32], signature: &Signature) -> bool {
        self.1.lock().envelopes += 1;
        self.0.verify(key, digest, signature)
    }

    fn aggregate_keys(&self, proposal: &Proposal) -> Result<Arc<dyn SessionKeys>, ProposalError> {
        self.1.lock().aggregations += 1;
        let keys = self.0.aggregate_keys(proposal)?;
        let signers = proposal.signers.clone().into();
        Ok(Arc::new(CountedKeys { keys, signers, counter: self.1.clone() }))
    }
}

#[derive(Debug)]
struct CountedKeys {
    keys: Arc<dyn SessionKeys>,
    signers: Arc<[SignerKey]>,
    counter: Counter,
}

impl SessionKeys for CountedKeys {
    fn output_key(&self, index: usize) -> [u8; 32] {
        self.keys.output_key(index)
    }

    fn begin_round(&self, nonces: &[&[u8]]) -> Result<Arc<dyn Round>, usize> {
        self.counter.lock().rounds += 1;
        let round = self.keys.begin_round(nonces)?;
        let (signers, counter) = (self.signers.clone(), self.counter.clone());
        Ok(Arc::new(CountedRound { round, signers, counter }))
    }

    fn verify_signatures(&self, signatures: &[Signature]) -> bool {
        self.counter.lock().certificates += 1;
        self.keys.verify_signatures(signatures)
    }

    fn as_any(&self) -> &dyn Any {
        self.keys.as_any()
    }
}

#[derive(Debug)]
struct CountedRound {
    round: Arc<dyn Round>,
    signers: Arc<[SignerKey]>,
    counter: Counter,
}

impl Round for CountedRound {
    fn aggregate_nonce(&self, index: usize) -> [u8; NONCE] {
        self.round.aggregate_nonce(index)
    }

    fn verify_partials(&self, signer: usize, partials: &[u8]) -> bool {
        let key = (self.round.aggregate_nonce(0), self.signers[signer], partials.to_vec());
        *self.counter.lock().partials.entry(key).or_default() += 1;
        self.round.verify_partials(signer, partials)
    }

    fn aggregate(&self, partials: &[&[u8]]) -> Option<Vec<Signature>> {
        self.counter.lock().sums += 1;
        self.round.aggregate(partials)
    }

    fn as_any(&self) -> &dyn Any {
        self.round.as_any()
    }
}
