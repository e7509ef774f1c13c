//! [`LocalSigner`], whose key is in this process's memory.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secp256k1::musig::AggregatedNonce;
use secp256k1::{Keypair, schnorr};
use zeroize::{Zeroizing, zeroize_stack};

use super::account::Account;
use super::key_pair::load;
use super::{Identity, NonceRequest, PartialRequest, Signer};
use crate::error::SignerError;
use crate::platform::{ForkGuard, Locked, Place, Vault};
use crate::protocol::crypto::musig2::{Musig2Keys, Musig2Round, sessions};
use crate::protocol::crypto::nonce::{Purpose, SCRUBBED_STACK, SECRET, SecretMemory, SecretNonce};
use crate::protocol::crypto::session_keys::AggregatedKeys;
use crate::protocol::crypto::{NONCE, PARTIAL, SessionKeys};
use crate::protocol::limits;
use crate::protocol::proposal::{KeyOrigin, Participant, Proposal};
use crate::protocol::signer::HeldKeys;
use crate::types::{SessionId, Signature, SignerKey};

/// Maximum number of sessions whose attempts are remembered, so that none starts twice. The oldest is evicted first,
/// and its nonces are wiped.
const REMEMBERED: usize = 2 * limits::SESSIONS;

const NO_MESSAGE: SignerError = SignerError::Mismatch("the proposal has no such message");

/// Signer with its secret keys and secret nonces in memory.
///
/// Its identity key signs what others are to believe of it, and by default the sessions too. Once it holds participant
/// keys ([`add_key`](Self::add_key), [`add_xprv`](Self::add_xprv)) the identity key signs no session any more: one key,
/// one purpose.
///
/// Each key is in a page that is not swapped and not part of a core dump where the system allows that; so are the
/// nonces, many in a page, which a child of `fork()` finds zeroed on Linux. Keys and nonces are wiped by
/// [`lock`](Self::lock) and when the signer is dropped, each nonce when it was used. Copies that libsecp256k1 makes on the
/// stack are overwritten as far as can be told (best effort).
pub struct LocalSigner {
    public_key: SignerKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    key: Option<Locked<Keypair>>,
    /// By public key. Those that are wiped are still known as this signer's.
    participant_keys: HashMap<SignerKey, Option<Locked<Keypair>>>,
    /// Extended private keys, below which participant keys are.
    accounts: Vec<Account>,
    /// The memory of the secret nonces.
    nonces: Arc<Vault<SECRET>>,
    sessions: HashMap<SessionId, Attempts>,
    /// The keys of `sessions`, the oldest first.
    order: VecDeque<SessionId>,
}

impl SecretMemory for Place<SECRET> {
    fn secret(&self) -> &[u8; SECRET] {
        self
    }
}

/// The secret nonces of an attempt, each with the message that it is for.
type Nonces = Vec<(usize, SecretNonce)>;

/// What is left of the attempts of one session.
#[derive(Default)]
struct Attempts {
    /// The highest that nonces were made for.
    highest: u32,
    /// Unused nonces of at most the last two attempts.
    unused: Vec<(u32, Nonces)>,
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSigner").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

impl LocalSigner {
    /// Creates a signer from a 32-byte secret key. Wipe your own copy afterwards.
    ///
    /// Errors: [`SignerError::InvalidSecret`] for zero or a number not below the curve's order.
    pub fn new(secret: [u8; 32]) -> Result<Self, SignerError> {
        let secret = Zeroizing::new(secret);
        let key = load(&secret)?;
        let state = State { key: Some(key.0), ..State::default() };
        Ok(Self { public_key: key.1, state: Mutex::new(state) })
    }

    /// Creates a signer with a new key from random bytes of the operating system. The key cannot be exported: for tests
    /// and for single sessions.
    ///
    /// Errors: [`SignerError::NoRandomness`].
    pub fn generate() -> Result<Self, SignerError> {
        let mut secret = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(&mut *secret).map_err(|_| SignerError::NoRandomness)?;
            match Self::new(*secret) {
                // Happens once in 2¹²⁷ times.
                Err(SignerError::InvalidSecret) => continue,
                done => return done,
            }
        }
    }

    /// The identity key.
    pub fn public_key(&self) -> SignerKey {
        self.public_key
    }

    /// Adds the secret key of a participant key, 32 bytes, also while a node runs with this signer. From the first one on
    /// sessions are signed with participant keys alone, not with the identity key. After [`lock`](Self::lock) each is to
    /// be added again. Answers the public key.
    ///
    /// Errors: [`SignerError::InvalidSecret`]; [`SignerError::Mismatch`] for the secret of the identity key.
    pub fn add_key(&self, secret: [u8; 32]) -> Result<SignerKey, SignerError> {
        let secret = Zeroizing::new(secret);
        let (key, public_key) = load(&secret)?;
        if public_key.x_only() == self.public_key.x_only() {
            return Err(SignerError::Mismatch(
                "the identity key is no participant key as well; derive another one",
            ));
        }
        let keys = &mut self.state().participant_keys;
        if keys.len() >= limits::HELD_KEYS && !keys.contains_key(&public_key) {
            return Err(SignerError::Other(format!("it holds {} keys already", limits::HELD_KEYS)));
        }
        keys.insert(public_key, Some(key));
        Ok(public_key)
    }

    /// Adds an extended private key (BIP-32, `xprv…` or `tprv…`) with its origin (BIP-380): usually that of an account,
    /// below the last hardened step. Also while a node runs with this signer. Then a participant key is this signer's too
    /// if its own origin in the proposal leads there: fingerprint and path of this one, then at most 8 unhardened steps.
    /// The key at the end of these is derived and compared; keys without an origin are not looked for. As with
    /// [`add_key`](Self::add_key), sessions are signed with participant keys alone from then on, and after
    /// [`lock`](Self::lock) it is to be added again.
    ///
    /// Who has a key's extended public key and the secret of one unhardened child has the secrets of all. So the identity
    /// key, which signs for as long as the node runs, must not be among them. This is refused where it can be seen: the
    /// extended key itself, its children 0 to 19, and the children 0 to 19 of its children 0 and 1 are compared with the
    /// identity key here, and every key on the way to a participant key when that is asked for. Relatives elsewhere, and
    /// keys above the one given, cannot be seen.
    ///
    /// Errors: [`SignerError::InvalidXprv`], also if the origin cannot be this key's; [`SignerError::Mismatch`] for a
    /// relative of the identity key.
    pub fn add_xprv(&self, xprv: &str, origin: KeyOrigin) -> Result<(), SignerError> {
        let account = Account::new(xprv, origin, &self.public_key)?;
        let accounts = &mut self.state().accounts;
        if let Some(known) = accounts.iter_mut().find(|known| known.is(&account)) {
            *known = account;
            return Ok(());
        }
        if accounts.len() >= limits::ACCOUNTS {
            return Err(SignerError::Other(format!("it holds {} extended keys already", limits::ACCOUNTS)));
        }
        accounts.push(account);
        Ok(())
    }

    /// Whether this signer signs sessions with a key, locked or not. The key's origin is needed for one that is below an
    /// extended private key.
    pub fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> bool {
        self.state().holds(&self.public_key, key, origin)
    }

    /// Wipes the keys and all secret nonces. Attempts with unused nonces have to be restarted.
    pub fn lock(&self) {
        let mut state = self.state();
        state.key = None;
        state.participant_keys.values_mut().for_each(|key| *key = None);
        state.accounts.iter_mut().for_each(Account::lock);
        state.sessions.values_mut().for_each(|attempts| attempts.unused.clear());
    }

    /// Unlocks the signer with the secret of its identity key.
    ///
    /// Errors: [`SignerError::WrongSecret`] for the secret of another key; nothing changes then.
    pub fn unlock(&self, secret: [u8; 32]) -> Result<(), SignerError> {
        let secret = Zeroizing::new(secret);
        let (key, public_key) = load(&secret)?;
        if public_key != self.public_key {
            return Err(SignerError::WrongSecret { expected: self.public_key });
        }
        self.state().key = Some(key);
        Ok(())
    }

    /// Whether the signer is locked: [`lock`](Self::lock) wiped its keys.
    pub fn is_locked(&self) -> bool {
        self.state().key.is_none()
    }

    /// The messages of an attempt for which it holds unused nonces, ascending; `None` without any.
    #[cfg_attr(not(feature = "node"), allow(dead_code))]
    pub(super) fn nonces_for(&self, session: &SessionId, attempt: u32) -> Option<Vec<usize>> {
        let state = self.state();
        let unused = &state.sessions.get(session)?.unused;
        let (_, nonces) = unused.iter().find(|(unused, _)| *unused == attempt)?;
        Some(nonces.iter().map(|(message, _)| *message).collect())
    }

    /// A panic under the lock leaves nothing half done: nonces are taken out before they are used.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, proposal: &Proposal, signer: usize) -> Result<(), SignerError> {
        if proposal.signers.get(signer) != Some(&self.public_key) {
            return Err(SignerError::Mismatch("this key is not the one of that signer"));
        }
        Ok(())
    }
}

impl HeldKeys for LocalSigner {
    fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> bool {
        Self::holds(self, key, origin)
    }
}

impl Identity for LocalSigner {
    fn public_key(&self) -> SignerKey {
        self.public_key
    }

    fn sign(&self, digest: &[u8; 32]) -> Result<Signature, SignerError> {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *random).map_err(|_| SignerError::NoRandomness)?;
        let state = self.state();
        let key = state.key.as_ref().ok_or(SignerError::Locked)?;
        let signature = sign_here(key, digest, &random);
        zeroize_stack::<SCRUBBED_STACK>();
        Ok(signature)
    }
}

impl Signer for LocalSigner {
    fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> Result<bool, SignerError> {
        Ok(Self::holds(self, key, origin))
    }

    fn make_nonces(&self, request: &NonceRequest) -> Result<Vec<[u8; NONCE]>, SignerError> {
        let NonceRequest { proposal, attempt, signer, messages, keys } = request;
        self.check(proposal, *signer)?;
        let keys = aggregated_keys(proposal, keys.as_ref())?;
        let session = proposal.id();
        let mut state = self.state();
        if state.sessions.get(&session).is_some_and(|attempts| *attempt <= attempts.highest) {
            return Err(SignerError::Mismatch(
                "nonces of this attempt, or of a later one, were made already",
            ));
        }
        let process = ForkGuard::new().token();
        let mut pairs = SigningKeys::new(&state, &self.public_key);
        let nonces = messages
            .iter()
            .map(|message| {
                let message = *message;
                let (digest, final_key) = keys.signed().nth(message).ok_or(NO_MESSAGE)?;
                let key = pairs.get(request.participant(message))?;
                let purpose = Purpose { session, attempt: *attempt, message, process };
                let vault = &state.nonces;
                let keep =
                    |secret: &[u8; SECRET]| Some(Box::new(vault.keep(secret)?) as Box<dyn SecretMemory>);
                let nonce = SecretNonce::generate(key, final_key.cache(), digest, purpose, keep)?;
                Ok((message, nonce))
            })
            .collect::<Result<Nonces, SignerError>>()?;
        let public = nonces.iter().map(|(_, nonce)| nonce.public().serialize()).collect();
        state.keep(session, *attempt, nonces);
        Ok(public)
    }

    fn make_partials(&self, request: &PartialRequest) -> Result<Vec<[u8; PARTIAL]>, SignerError> {
        let PartialRequest { proposal, attempt, signer, messages, keys, round } = request;
        let session = proposal.id();
        let mut state = self.state();
        if state.key.is_none() {
            return Err(SignerError::Locked);
        }
        let process = ForkGuard::new().token();
        let nonces = state.take(&session, *attempt).ok_or(SignerError::NonceGone)?;
        self.check(proposal, *signer)?;
        if !nonces.iter().map(|(message, _)| message).eq(messages) {
            return Err(SignerError::Mismatch("the nonces were made for other messages"));
        }
        let (rebuilt_keys, rebuilt_sessions);
        let (keys, sessions) = match round.as_any().downcast_ref::<Musig2Round>() {
            Some(round) if round.keys().session() != session => {
                return Err(SignerError::Mismatch("the round belongs to another session"));
            }
            Some(round) => {
                // The round is over other nonces of this key, made elsewhere: the ones held here fit no round.
                let own = round.nonces(*signer);
                if !nonces.iter().all(|(message, nonce)| own.get(*message) == Some(nonce.public())) {
                    return Err(SignerError::NonceGone);
                }
                (round.keys().as_ref(), round.sessions())
            }
            None => {
                rebuilt_keys = aggregated_keys(proposal, keys.as_ref())?;
                let aggregates = (0..proposal.messages.len())
                    .map(|message| AggregatedNonce::from_byte_array(&round.aggregate_nonce(message)))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|_| SignerError::Mismatch("an aggregate nonce is no pair of points"))?;
                rebuilt_sessions = sessions(&rebuilt_keys, &aggregates);
                (rebuilt_keys.as_ref(), rebuilt_sessions.as_slice())
            }
        };
        if keys.refuse_aimed(proposal).is_err() {
            return Err(SignerError::Mismatch("the key that would sign is a signer's own"));
        }
        let mut pairs = SigningKeys::new(&state, &self.public_key);
        nonces
            .into_iter()
            .map(|(message, nonce)| {
                let final_key = keys.final_keys().get(message).ok_or(NO_MESSAGE)?;
                let values = sessions.get(message).ok_or(NO_MESSAGE)?;
                let key = pairs.get(request.participant(message))?;
                let purpose = Purpose { session, attempt: *attempt, message, process };
                nonce.sign(key, purpose, final_key.cache(), values).map(|partial| partial.serialize())
            })
            .collect()
    }

    fn forget(&self, session: &SessionId, attempt: u32) {
        if let Some(attempts) = self.state().sessions.get_mut(session) {
            attempts.unused.retain(|(unused, _)| *unused > attempt);
        }
    }
}

impl State {
    fn holds(&self, identity: &SignerKey, key: &SignerKey, origin: Option<&KeyOrigin>) -> bool {
        if self.signs_with_identity() {
            return key == identity;
        }
        let below = |origin| self.accounts.iter().any(|account| account.holds(key, origin, identity));
        self.participant_keys.contains_key(key) || origin.is_some_and(below)
    }

    /// Whether the identity key is the only participant key.
    fn signs_with_identity(&self) -> bool {
        self.participant_keys.is_empty() && self.accounts.is_empty()
    }

    fn keep(&mut self, session: SessionId, attempt: u32, nonces: Nonces) {
        if !self.sessions.contains_key(&session) {
            if self.order.len() >= REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.sessions.remove(&oldest);
            }
            self.order.push_back(session);
        }
        let attempts = self.sessions.entry(session).or_default();
        attempts.highest = attempt;
        attempts.unused.retain(|(unused, _)| *unused >= attempt.saturating_sub(1));
        attempts.unused.push((attempt, nonces));
    }

    fn take(&mut self, session: &SessionId, attempt: u32) -> Option<Nonces> {
        let unused = &mut self.sessions.get_mut(session)?.unused;
        let position = unused.iter().position(|(unused, _)| *unused == attempt)?;
        Some(unused.swap_remove(position).1)
    }
}

/// The key pairs that sign the messages of a request. One that is derived is derived once, and wiped afterwards.
struct SigningKeys<'a> {
    state: &'a State,
    identity: &'a SignerKey,
    derived: HashMap<SignerKey, Locked<Keypair>>,
}

impl<'a> SigningKeys<'a> {
    fn new(state: &'a State, identity: &'a SignerKey) -> Self {
        Self { state, identity, derived: HashMap::new() }
    }

    /// The key pair of a participant key, if it is this signer's.
    fn get(&mut self, participant: Option<&Participant>) -> Result<&Keypair, SignerError> {
        let refused = SignerError::Mismatch("this signer does not hold the participant key of a message");
        let Some(Participant { key, origin }) = participant else { return Err(refused) };
        let held = match self.state.participant_keys.get(key) {
            None if self.state.signs_with_identity() && key == self.identity => Some(&self.state.key),
            held => held,
        };
        if let Some(held) = held {
            return held.as_deref().ok_or(SignerError::Locked);
        }
        if !self.derived.contains_key(key) {
            let origin = origin.as_ref().ok_or(refused.clone())?;
            let mut below = self.state.accounts.iter();
            let derived = below.find_map(|account| account.derive(key, origin, self.identity));
            self.derived.insert(*key, derived.ok_or(refused.clone())??);
        }
        self.derived.get(key).map(|pair| &**pair).ok_or(refused)
    }
}

/// Not inlined, so that its stack can be scrubbed.
#[inline(never)]
fn sign_here(key: &Keypair, digest: &[u8; 32], random: &[u8; 32]) -> Signature {
    Signature(schnorr::sign_with_aux_rand(digest, key, random).to_byte_array())
}

/// The node's own aggregation if it is of this proposal, else a new one.
fn aggregated_keys(proposal: &Proposal, keys: &dyn SessionKeys) -> Result<Arc<AggregatedKeys>, SignerError> {
    match keys.as_any().downcast_ref::<Musig2Keys>() {
        Some(Musig2Keys(keys)) if keys.session() == proposal.id() => Ok(Arc::clone(keys)),
        Some(_) => Err(SignerError::Mismatch("the aggregate keys belong to another session")),
        None => AggregatedKeys::new(proposal)
            .map(Arc::new)
            .map_err(|_| SignerError::Mismatch("its key sets have no keys that may sign")),
    }
}
