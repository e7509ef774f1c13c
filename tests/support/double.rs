//! Fast doubles for cryptography and transactions: hashes in place of curve arithmetic. Whoever knows these functions
//! can forge, so nothing in a simulation may but through a [`DoubleSigner`]; everything else is as with the real
//! scheme: partial signatures answer to one set of nonces and fail one by one, nonces may be unusable.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use libmusig::error::{ProposalError, SignerError};
use libmusig::protocol::crypto::{NONCE, PARTIAL, Round, Scheme, SessionKeys};
use libmusig::protocol::proposal::{
    Derivation, KeyOrder, KeyOrigin, Message, Proposal, SpentOutput, TransactionTerms,
};
use libmusig::protocol::transaction::{TransactionCodec, TransactionInfo};
use libmusig::signer::{Identity, NonceRequest, PartialRequest, Signer};
use libmusig::types::{Locks, OutPoint, SessionId, Signature, SignedTransaction, SignerKey, Txid};

/// Quick, and good enough where nobody looks for collisions: four lanes, each with its own odd factor.
fn hash(tag: u8, parts: &[&[u8]]) -> [u8; 32] {
    const FACTORS: [u64; 4] =
        [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 0xd6e8_feb8_6659_fd93];
    let mut lanes = FACTORS.map(|factor| factor ^ u64::from(tag));
    let mut add = |word: u64| {
        for (lane, factor) in lanes.iter_mut().zip(FACTORS) {
            *lane = (*lane ^ word).wrapping_mul(factor).rotate_left(29);
        }
    };
    for part in parts {
        let (words, rest) = part.as_chunks::<8>();
        words.iter().for_each(|word| add(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        add(u64::from_le_bytes(last));
        add(part.len() as u64);
    }
    let mut bytes = [0; 32];
    for (chunk, lane) in bytes.chunks_exact_mut(8).zip(lanes) {
        // The last steps of splitmix64.
        let mixed = (lane ^ lane >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        chunk.copy_from_slice(&(mixed ^ mixed >> 31).to_le_bytes());
    }
    bytes
}

fn twice(half: [u8; 32]) -> Signature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&half);
    bytes[32..].copy_from_slice(&half);
    Signature(bytes)
}

/// The double of `Musig2`.
#[derive(Debug)]
pub struct Double;

impl Scheme for Double {
    fn verify(&self, key: &SignerKey, digest: &[u8; 32], signature: &Signature) -> bool {
        *signature == twice(hash(1, &[key.x_only(), digest]))
    }

    fn aggregate_keys(&self, proposal: &Proposal) -> Result<Arc<dyn SessionKeys>, ProposalError> {
        let key = |message: &Message| {
            let key_set = &proposal.key_sets[message.key_set];
            let mut keys = key_set.keys();
            if key_set.order == KeyOrder::Sorted {
                keys.sort_unstable();
            }
            let mut parts: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes().as_slice()).collect();
            // Most sessions of a simulation derive nothing, and are to be quick.
            let derivation = match message.derivation == Derivation::default() {
                true => String::new(),
                false => format!("{:?}", message.derivation),
            };
            parts.push(derivation.as_bytes());
            hash(2, &parts)
        };
        let participants = (0..proposal.messages.len()).flat_map(|message| {
            let keys = &proposal.key_sets[proposal.messages[message].key_set].participants;
            keys.iter().map(|participant| participant.key)
        });
        Ok(Arc::new(Keys(Arc::new(Inner {
            session: proposal.id(),
            keys: proposal.messages.iter().map(key).collect(),
            signers: proposal.signers.len(),
            participants: participants.collect(),
            digests: proposal.messages.iter().map(|message| message.digest).collect(),
        }))))
    }
}

#[derive(Debug)]
struct Inner {
    session: SessionId,
    /// By message.
    keys: Vec<[u8; 32]>,
    signers: usize,
    /// All of the first message, then all of the next.
    participants: Vec<SignerKey>,
    digests: Vec<[u8; 32]>,
}

#[derive(Debug)]
struct Keys(Arc<Inner>);

impl SessionKeys for Keys {
    fn output_key(&self, index: usize) -> [u8; 32] {
        self.0.keys[index]
    }

    fn begin_round(&self, nonces: &[&[u8]]) -> Result<Arc<dyn Round>, usize> {
        let messages = self.0.digests.len();
        if nonces.len() != self.0.signers {
            return Err(nonces.len().min(self.0.signers));
        }
        for (signer, nonces) in nonces.iter().enumerate() {
            let usable = |nonce: &[u8]| matches!(nonce[0], 2 | 3) && matches!(nonce[33], 2 | 3);
            if nonces.len() != messages * NONCE || !nonces.chunks_exact(NONCE).all(usable) {
                return Err(signer);
            }
        }
        let aggregate = |message: usize| {
            let each: Vec<_> = nonces.iter().map(|nonces| &nonces[message * NONCE..][..NONCE]).collect();
            hash(3, &each)
        };
        Ok(Arc::new(Attempt {
            keys: Arc::clone(&self.0),
            aggregates: (0..messages).map(aggregate).collect(),
            nonces: nonces.iter().map(|nonces| nonces.to_vec()).collect(),
        }))
    }

    fn verify_signatures(&self, signatures: &[Signature]) -> bool {
        signatures.len() == self.0.digests.len()
            && signatures.iter().zip(&self.0.digests).zip(&self.0.keys).all(|((signature, digest), key)| {
                let (nonce, proof) = signature.0.split_at(32);
                hash(5, &[key, digest, nonce]) == *proof
            })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Debug)]
struct Attempt {
    keys: Arc<Inner>,
    aggregates: Vec<[u8; 32]>,
    nonces: Vec<Vec<u8>>,
}

impl Attempt {
    fn partial(&self, signer: usize, message: usize) -> [u8; 32] {
        let nonce = &self.nonces[signer][message * NONCE..][..NONCE];
        let key = self.keys.participants[message * self.keys.signers + signer].as_bytes();
        hash(4, &[key, nonce, &self.aggregates[message], &self.keys.digests[message]])
    }
}

impl Round for Attempt {
    fn aggregate_nonce(&self, index: usize) -> [u8; NONCE] {
        let mut nonce = [2; NONCE];
        nonce[1..33].copy_from_slice(&self.aggregates[index]);
        nonce
    }

    fn verify_partials(&self, signer: usize, partials: &[u8]) -> bool {
        partials.len() == self.aggregates.len() * PARTIAL
            && partials
                .chunks_exact(PARTIAL)
                .enumerate()
                .all(|(message, partial)| partial == self.partial(signer, message))
    }

    fn aggregate(&self, partials: &[&[u8]]) -> Option<Vec<Signature>> {
        let valid = |(signer, partials): (usize, &&[u8])| self.verify_partials(signer, partials);
        if partials.len() != self.nonces.len() || !partials.iter().enumerate().all(valid) {
            return None;
        }
        let signature = |((aggregate, digest), key): ((&[u8; 32], &[u8; 32]), &[u8; 32])| {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(aggregate);
            bytes[32..].copy_from_slice(&hash(5, &[key, digest, aggregate]));
            Signature(bytes)
        };
        Some(self.aggregates.iter().zip(&self.keys.digests).zip(&self.keys.keys).map(signature).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// All keys of a signer.
pub trait AllKeys: Identity + Signer {}

impl<T: Identity + Signer> AllKeys for T {}

/// What every nonce of a simulation answered to, and who used one twice.
#[derive(Debug, Default)]
pub struct NonceLog {
    answered: HashMap<([u8; 32], usize), [u8; 32]>,
    /// Signers that answered two challenges with one nonce.
    pub reused: Vec<SignerKey>,
}

/// The double of a `LocalSigner`, with the same rules: nonces are made once for an attempt and used once.
pub struct DoubleSigner {
    key: SignerKey,
    state: Mutex<State>,
    log: Arc<Mutex<NonceLog>>,
}

/// The highest attempt, and the nonces of those that may still be used.
type Attempts = (u32, Vec<(u32, Vec<u8>)>);

struct State {
    random: u64,
    /// How often it made nonces.
    made: u64,
    sessions: HashMap<SessionId, Attempts>,
}

impl DoubleSigner {
    /// `random` has to differ between processes, as the operating system's random bytes do.
    pub fn new(key: SignerKey, random: u64) -> Self {
        Self::with_log(key, random, Arc::default())
    }

    /// Notes which nonces it uses.
    pub fn with_log(key: SignerKey, random: u64, log: Arc<Mutex<NonceLog>>) -> Self {
        Self { key, state: Mutex::new(State { random, made: 0, sessions: HashMap::new() }), log }
    }
}

/// A break that the simulator has to find: each process begins with the same random bytes.
fn randomness_repeats() -> bool {
    #[cfg(feature = "mutations")]
    return libmusig::mutation::on(libmusig::mutation::Mutation::RandomnessRepeats);
    #[cfg(not(feature = "mutations"))]
    false
}

impl Identity for DoubleSigner {
    fn public_key(&self) -> SignerKey {
        self.key
    }

    fn sign(&self, digest: &[u8; 32]) -> Result<Signature, SignerError> {
        Ok(twice(hash(1, &[self.key.x_only(), digest])))
    }
}

impl Signer for DoubleSigner {
    fn holds(&self, key: &SignerKey, _: Option<&KeyOrigin>) -> Result<bool, SignerError> {
        Ok(*key == self.key)
    }

    fn make_nonces(&self, request: &NonceRequest) -> Result<Vec<[u8; NONCE]>, SignerError> {
        let mut state = self.state.lock().expect("no call panics");
        let random = if randomness_repeats() { state.made } else { state.random.wrapping_add(state.made) };
        state.made += 1;
        let (highest, unused) = state.sessions.entry(request.proposal.id()).or_insert((0, Vec::new()));
        if request.attempt < *highest {
            return Err(SignerError::Mismatch(
                "nonces of this attempt, or of a later one, were made already",
            ));
        }
        *highest = request.attempt + 1;
        let nonce = |message: usize| {
            let mut nonce = [2; NONCE];
            let half = hash(6, &[self.key.as_bytes(), &random.to_be_bytes(), &message.to_be_bytes()]);
            nonce[1..33].copy_from_slice(&half);
            nonce[34..].copy_from_slice(&half);
            nonce
        };
        let nonces: Vec<_> = (0..request.proposal.messages.len()).map(nonce).collect();
        unused.retain(|(attempt, _)| *attempt + 1 >= request.attempt);
        unused.push((request.attempt, nonces.concat()));
        Ok(nonces)
    }

    fn make_partials(&self, request: &PartialRequest) -> Result<Vec<[u8; PARTIAL]>, SignerError> {
        let mut state = self.state.lock().expect("no call panics");
        let (_, unused) = state.sessions.get_mut(&request.proposal.id()).ok_or(SignerError::NonceGone)?;
        let position = unused.iter().position(|(attempt, _)| *attempt == request.attempt);
        let (_, nonces) = unused.swap_remove(position.ok_or(SignerError::NonceGone)?);
        let round: &Attempt = request.round.as_any().downcast_ref().expect("a double's round");
        if round.keys.session != request.proposal.id() {
            return Err(SignerError::Mismatch("the round belongs to another session"));
        }
        if round.nonces[request.signer] != nonces {
            return Err(SignerError::NonceGone);
        }
        let mut log = self.log.lock().expect("no call panics");
        for (message, (nonce, aggregate)) in nonces.chunks_exact(NONCE).zip(&round.aggregates).enumerate() {
            let challenge = hash(9, &[aggregate, &round.keys.digests[message], &round.keys.keys[message]]);
            let used =
                log.answered.entry((hash(10, &[nonce, self.key.as_bytes()]), message)).or_insert(challenge);
            if *used != challenge {
                log.reused.push(self.key);
            }
        }
        Ok((0..round.aggregates.len()).map(|message| round.partial(request.signer, message)).collect())
    }

    fn forget(&self, session: &SessionId, attempt: u32) {
        let mut state = self.state.lock().expect("no call panics");
        if let Some((_, unused)) = state.sessions.get_mut(session) {
            unused.retain(|(unused, _)| *unused > attempt);
        }
    }
}

/// Transactions of a simulation: 36 bytes for each output that is spent, 32 for the witness of each foreign input that
/// can be verified, then anything.
#[derive(Debug)]
pub struct DoubleCodec;

/// The scripts of outputs that the session signs for, of those whose witness is verified, and of others.
const SIGNED: u8 = 1;
const VERIFIED: u8 = 2;
const OTHER: u8 = 3;

/// An input of a simulated transaction that its session does not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// With the witness that it should have.
    Valid,
    /// With the witness `[00]`.
    Invalid,
    /// Of a kind that nobody can verify.
    Unverifiable,
}

/// Terms of a transaction that spends these outputs, and the messages to sign, one for each.
pub fn transaction(spends: &[OutPoint], rest: &[u8]) -> (TransactionTerms, Vec<Message>) {
    transaction_with(spends, &[], rest)
}

/// The same with inputs of somebody else, which come last.
pub fn transaction_with(
    spends: &[OutPoint],
    foreign: &[(OutPoint, Foreign)],
    rest: &[u8],
) -> (TransactionTerms, Vec<Message>) {
    let mut unsigned = Vec::new();
    let all = || spends.iter().chain(foreign.iter().map(|(spent, _)| spent));
    for spent in all() {
        unsigned.extend(spent.txid.0);
        unsigned.extend(spent.vout.to_be_bytes());
    }
    let outpoints = unsigned.clone();
    for (index, (_, kind)) in foreign.iter().enumerate() {
        match kind {
            Foreign::Valid => unsigned.extend(witness(&outpoints, spends.len() + index)),
            Foreign::Invalid => unsigned.extend([0; 32]),
            Foreign::Unverifiable => {}
        }
    }
    unsigned.extend(rest);
    let message = |input: u32| Message { input, ..Message::raw(hash(7, &[&unsigned, &input.to_be_bytes()])) };
    let messages = (0..spends.len() as u32).map(message).collect();
    let script = |kind: &Foreign| if *kind == Foreign::Unverifiable { OTHER } else { VERIFIED };
    let scripts = spends.iter().map(|_| SIGNED).chain(foreign.iter().map(|(_, kind)| script(kind)));
    let spent = scripts.map(|script| SpentOutput { value: 1, script: vec![script] }).collect();
    (TransactionTerms { unsigned, spent }, messages)
}

fn witness(outpoints: &[u8], input: usize) -> [u8; 32] {
    hash(11, &[outpoints, &input.to_be_bytes()])
}

fn inputs_of(terms: &TransactionTerms, script: u8) -> impl Iterator<Item = usize> {
    let is_of = move |(_, spent): &(usize, &SpentOutput)| spent.script == [script];
    terms.spent.iter().enumerate().filter(is_of).map(|(input, _)| input)
}

/// Whether the witnesses of the foreign inputs that can be verified are what they should be.
pub fn witnesses_are_valid(terms: &TransactionTerms) -> bool {
    let (outpoints, witnesses) = terms.unsigned.split_at(terms.spent.len() * 36);
    let verified: Vec<usize> = inputs_of(terms, VERIFIED).collect();
    let mut given = witnesses.chunks_exact(32);
    verified.iter().all(|input| given.next() == Some(witness(outpoints, *input).as_slice()))
}

/// A break that the simulator has to find: witnesses are believed as they come.
fn witnesses_are_believed() -> bool {
    #[cfg(feature = "mutations")]
    return libmusig::mutation::on(libmusig::mutation::Mutation::ForeignWitnessBelieved);
    #[cfg(not(feature = "mutations"))]
    false
}

impl TransactionCodec for DoubleCodec {
    fn check(&self, proposal: &Proposal, _: &dyn SessionKeys) -> Result<TransactionInfo, ProposalError> {
        let refused = |what: &str| ProposalError::Transaction(what.into());
        let terms = proposal.transaction.as_ref().ok_or_else(|| refused("there is none"))?;
        let inputs = terms.spent.len();
        let signed = inputs_of(terms, SIGNED).count();
        if terms.unsigned.len() < inputs * 36 || proposal.messages.len() != signed {
            return Err(refused("it has too few bytes or messages"));
        }
        for (input, message) in proposal.messages.iter().enumerate() {
            let digest = hash(7, &[&terms.unsigned, &(input as u32).to_be_bytes()]);
            if message.digest != digest || message.input as usize != input {
                return Err(refused("a message is not its signature hash"));
            }
        }
        if proposal.broadcast.is_failover() && !witnesses_are_valid(terms) && !witnesses_are_believed() {
            return Err(ProposalError::FailoverNeedsFixedTransaction("a witness is invalid".into()));
        }
        let spends = terms.unsigned.chunks_exact(36).take(inputs).map(|bytes| OutPoint {
            txid: Txid(*bytes.first_chunk().expect("36 bytes")),
            vout: u32::from_be_bytes(*bytes.last_chunk().expect("36 bytes")),
        });
        Ok(TransactionInfo { txid: Txid(hash(8, &[&terms.unsigned])), spends: spends.collect() })
    }

    fn unverified(&self, proposal: &Proposal) -> Vec<u32> {
        let terms = proposal.transaction.iter();
        terms.flat_map(|terms| inputs_of(terms, OTHER)).map(|input| input as u32).collect()
    }

    /// Its first spent output's value, but for 1, is the height that it waits for.
    fn locks(&self, proposal: &Proposal) -> Locks {
        let value = proposal.transaction.as_ref().and_then(|terms| Some(terms.spent.first()?.value));
        let height =
            value.and_then(|value| u32::try_from(value.saturating_sub(1)).ok()).filter(|height| *height > 0);
        Locks { height, ..Locks::default() }
    }

    fn finalize(
        &self,
        proposal: &Proposal,
        signatures: &[Signature],
    ) -> Result<SignedTransaction, ProposalError> {
        let terms = proposal.transaction.as_ref().ok_or(ProposalError::Encoding("it has no transaction"))?;
        let mut bytes = terms.unsigned.clone();
        signatures.iter().for_each(|signature| bytes.extend(signature.0));
        Ok(SignedTransaction { txid: Txid(hash(8, &[&terms.unsigned])), bytes })
    }
}
