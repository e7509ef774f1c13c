//! [`PsbtSigner`]: participant keys in a device or another wallet that reads and writes PSBTs (BIP-373).
//!
//! The node makes the PSBT from the session's terms. The first one goes out without any nonces, once, to all signers in
//! parallel; the second with the public nonces of all. One public nonce is in at most one second round, of any session,
//! after any restart: that the second PSBT leaves is on the disk first.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Musig2Nonce, Musig2Partial, Musig2Spend, Psbt};
use crate::error::SignerError;
use crate::mutation::{self, Mutation};
use crate::protocol::crypto::musig2::Musig2Round;
use crate::protocol::crypto::{NONCE, PARTIAL, bip32};
use crate::protocol::proposal::{KeyOrigin, Proposal};
use crate::protocol::signer::{NonceRequest, PartialRequest, Signer};
use crate::types::{SessionId, SignerKey, UnixMillis, tagged_hash};

/// PSBTs that wait for answers at a time.
const WAITING: usize = 64;
/// How long a device is waited for before that is reported a second time; then after twice as long, and so on.
const REPORT_AFTER: Duration = Duration::from_secs(10);
/// How long nobody has to wait for an answer before a device may give up.
const ABANDONED_AFTER: Duration = Duration::from_secs(10);
/// Versions of extended public keys (BIP-32): of the main network, and of those for tests.
const VERSIONS: [[u8; 4]; 2] = [[0x04, 0x88, 0xb2, 0x1e], [0x04, 0x35, 0x87, 0xcf]];

/// Failure of a [`PsbtDevice`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// It could not be reached, and nothing was handed over: it is asked again.
    #[error("the device cannot be reached: {0}")]
    Unreachable(String),
    /// It has the PSBT, or may have it, and will not answer. It is not asked again before
    /// [`PsbtSigner::ask_again`].
    #[error("the device failed: {0}")]
    Failed(String),
    /// Nobody waits for the answer any more: see [`PsbtRequest::is_cancelled`].
    #[error("nobody waits for the device's answer any more")]
    Cancelled,
}

/// A device, or another wallet, that adds what it can to a PSBT.
///
/// Calls may block until the session expires, and those for different sessions are made at the same time, each on a
/// thread of its own. A node that stops waits for them: see [`PsbtRequest::is_cancelled`]. Of an answer only the fields that
/// were asked for are read.
pub trait PsbtDevice: Send + Sync {
    /// Adds the public nonces of its keys to a PSBT that has none, keeps the secret ones, and gives the PSBT back.
    fn add_nonces(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError>;

    /// Adds the partial signatures of its keys to a PSBT with the public nonces of all, and gives it back.
    fn add_partials(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError>;

    /// Whether a request that was handed over can be waited for again after a restart, without being handed over a
    /// second time, as in a folder of files: then it is called again, with [`PsbtRequest::again`] set. By default it
    /// cannot.
    fn keeps_requests(&self) -> bool {
        false
    }
}

/// What a device is asked.
#[derive(Clone)]
pub struct PsbtRequest {
    /// The session.
    pub session: SessionId,
    /// Number of this PSBT in the session, from 1. Odd ones ask for nonces, even ones for partial signatures.
    pub number: u32,
    /// What is to be handed over.
    pub psbt: Psbt,
    /// The participant keys whose nonces or partial signatures are wanted.
    pub keys: Vec<SignerKey>,
    /// When the session expires: later answers are of no use.
    pub expires_at: UnixMillis,
    /// Whether it was handed over before, and is only to be waited for.
    pub again: bool,
    shared: Weak<Shared>,
}

impl fmt::Debug for PsbtRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, number, keys, again, .. } = self;
        f.debug_struct("PsbtRequest")
            .field("session", session)
            .field("number", number)
            .field("keys", keys)
            .field("again", again)
            .finish_non_exhaustive()
    }
}

impl PsbtRequest {
    /// Whether nobody waits for the answer any more: the session ended or expired, or the node stopped. A device that
    /// waits looks at it now and then, and answers [`DeviceError::Cancelled`].
    pub fn is_cancelled(&self) -> bool {
        let Some(shared) = self.shared.upgrade() else { return true };
        let state = shared.lock();
        let abandoned = |entry: &Entry| entry.waiters == 0 && entry.idle_since.elapsed() > ABANDONED_AFTER;
        state.stopped || self.expires_at <= now() || state.entries.get(&self.session).is_none_or(abandoned)
    }
}

/// The node, as a PSBT signer needs it.
pub(crate) trait PsbtHost: Send + Sync {
    /// Puts a session's record on the disk, and the nonces that are known from now on. Returns once it is synced.
    fn commit(&self, session: SessionId, record: Vec<u8>, nonces: Vec<NonceId>) -> Result<(), String>;

    /// Removes a session's record.
    fn remove(&self, session: SessionId);

    /// Reports that a device is waited for.
    fn waiting(&self, session: SessionId, round: u32, since: Duration);
}

/// The first half of a public nonce's hash.
pub(crate) type NonceId = [u8; 16];

fn nonce_id(nonce: &[u8]) -> NonceId {
    *tagged_hash("musig/psbt-nonce", &[nonce]).first_chunk().expect("32 bytes")
}

/// What is stored of a session, for as long as it may sign.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(uint64, tag = "1")]
    expires_at: u64,
    /// How many PSBTs without nonces were handed over.
    #[prost(uint32, tag = "2")]
    asked: u32,
    /// The messages whose keys are the device's.
    #[prost(uint32, repeated, tag = "3")]
    messages: Vec<u32>,
    /// The public nonces of the last of them, once they came.
    #[prost(bytes = "vec", tag = "4")]
    nonces: Vec<u8>,
    /// The hash of all nonces of the second round that they are in.
    #[prost(bytes = "vec", tag = "5")]
    second: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    partials: Vec<u8>,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A PSBT without nonces was handed over.
    Asked,
    /// Its nonces are here, and in no second round.
    Nonces,
    /// They are in a second round.
    Second,
    /// The partial signatures of that are here.
    Signed,
}

impl Record {
    fn step(&self) -> Step {
        match (self.nonces.is_empty(), self.second.is_empty(), self.partials.is_empty()) {
            (true, ..) => Step::Asked,
            (_, true, _) => Step::Nonces,
            (.., true) => Step::Second,
            _ => Step::Signed,
        }
    }
}

struct Failure {
    error: SignerError,
    /// Nothing was handed over.
    harmless: bool,
    /// The node knows.
    told: bool,
}

/// A PSBT that is with the device.
struct Running {
    since: Instant,
    round: u32,
    /// After how long this is reported next.
    report_at: Duration,
}

/// A session's record, and what this process knows besides.
///
/// Invariant: the record was on the disk, if there is one, before what it speaks of left.
struct Entry {
    record: Record,
    running: Option<Running>,
    failure: Option<Failure>,
    /// The application said that the device may be asked for other nonces.
    allowed: bool,
    /// The calls of attempts up to this one are not waited for.
    forgotten: Option<u32>,
    waiters: usize,
    idle_since: Instant,
}

impl Entry {
    fn new(record: Record) -> Self {
        Self {
            record,
            running: None,
            failure: None,
            allowed: false,
            forgotten: None,
            waiters: 0,
            idle_since: Instant::now(),
        }
    }

    fn fail(&mut self, error: SignerError) {
        self.failure = Some(Failure { error, harmless: false, told: false });
    }
}

#[derive(Default)]
struct State {
    host: Option<Arc<dyn PsbtHost>>,
    stopped: bool,
    entries: HashMap<SessionId, Entry>,
    /// All nonces that ever came.
    seen: HashSet<NonceId>,
    /// Threads for calls of the device that have not ended, and those of them that are in a call.
    threads: usize,
    calling: HashSet<ThreadId>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Extended public key of which the device has the private one.
struct Account {
    origin: KeyOrigin,
    key: SignerKey,
    chain_code: [u8; 32],
}

/// Signer whose participant keys are in a device, or another wallet, that signs PSBTs by BIP-373.
///
/// Give it to [`NodeBuilder::psbt_signer`](crate::node::NodeBuilder::psbt_signer): then its time limit is the session's
/// expiry, [`Event::SignerWaiting`](crate::protocol::event::Event::SignerWaiting) reports what is waited for, and what
/// it must not forget is in the node's store.
///
/// Nonces that no second round was made with are announced again in the session's next attempt: the device is not asked
/// twice. If a second PSBT was handed over and no partial signatures came back, or a device failed, the session waits for
/// [`ask_again`](Self::ask_again).
pub struct PsbtSigner {
    keys: HashSet<SignerKey>,
    accounts: Vec<Account>,
    version: u32,
    device: Arc<dyn PsbtDevice>,
    shared: Arc<Shared>,
}

impl fmt::Debug for PsbtSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, version, .. } = self;
        f.debug_struct("PsbtSigner").field("keys", keys).field("version", version).finish_non_exhaustive()
    }
}

/// A PSBT, and what the device is to add to it.
struct Prepared {
    psbt: Psbt,
    messages: Vec<u32>,
    /// One for each message, with the device's participant key.
    wanted: Vec<(Musig2Spend, SignerKey)>,
}

impl PsbtSigner {
    /// A signer for these participant keys, which are in the device.
    pub fn new(keys: impl IntoIterator<Item = SignerKey>, device: Arc<dyn PsbtDevice>) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            accounts: Vec::new(),
            version: 0,
            device,
            shared: Arc::default(),
        }
    }

    /// Adds all keys below an extended public key, found by their origins: at most 8 unhardened steps below it.
    ///
    /// Errors: the text is no extended public key, or not the one of this origin.
    pub fn with_xpub(mut self, xpub: &str, origin: KeyOrigin) -> Result<Self, SignerError> {
        self.add_xpub(xpub, origin)?;
        Ok(self)
    }

    #[cfg_attr(not(feature = "capi"), allow(dead_code))]
    pub(crate) fn add_key(&mut self, key: SignerKey) {
        self.keys.insert(key);
    }

    pub(crate) fn add_xpub(&mut self, xpub: &str, origin: KeyOrigin) -> Result<(), SignerError> {
        let bytes = bip32::decode_base58check(xpub)
            .filter(|bytes| VERSIONS.iter().any(|version| bytes.starts_with(version)));
        let bytes = bytes.ok_or_else(|| {
            SignerError::Other("an extended public key begins with xpub or tpub; copy all of it".into())
        })?;
        let number = bytes[9..].first_chunk().map(|number| u32::from_be_bytes(*number));
        if usize::from(bytes[4]) != origin.path.len()
            || number != Some(origin.path.last().copied().unwrap_or(0))
        {
            return Err(SignerError::Other(
                "the extended public key is at another place than its origin says; copy both from the wallet"
                    .into(),
            ));
        }
        let key = SignerKey::from_bytes(&bytes[45..])
            .map_err(|_| SignerError::Other("the extended public key has no point of the curve".into()))?;
        let chain_code = *bytes[13..].first_chunk().expect("78 bytes");
        self.accounts.push(Account { origin, key, chain_code });
        Ok(())
    }

    /// Sets the version of the PSBTs that it makes: 0 (the default), or 2 for devices that read no other.
    pub fn psbt_version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Allows asking the device for other nonces in a session that waits for this word: after a failure, an answer that
    /// was refused, or a second PSBT without an answer. See to it first that the device holds nothing of the session.
    /// `false` if the session does not wait for it.
    pub fn ask_again(&self, session: &SessionId) -> bool {
        let mut state = self.shared.lock();
        let Some(entry) = state.entries.get_mut(session) else { return false };
        let waits = entry.running.is_none() && matches!(entry.record.step(), Step::Asked | Step::Second);
        entry.allowed |= waits;
        self.shared.changed.notify_all();
        waits
    }

    /// Starts to keep its records at a node: takes those that the node's store has.
    ///
    /// Errors: it is at another node.
    #[cfg_attr(not(feature = "node"), allow(dead_code))]
    pub(crate) fn attach(
        &self,
        host: Arc<dyn PsbtHost>,
        records: Vec<(SessionId, Vec<u8>)>,
        seen: Vec<NonceId>,
    ) -> Result<(), &'static str> {
        let mut state = self.shared.lock();
        if state.host.is_some() && !state.stopped {
            return Err("the PSBT signer is in use at another node of this process; make one for each node");
        }
        state.seen.extend(seen);
        for (session, bytes) in records {
            match <Record as prost::Message>::decode(&bytes[..]) {
                Ok(record) if UnixMillis(record.expires_at) <= now() => host.remove(session),
                Ok(record) => {
                    state.entries.entry(session).or_insert_with(|| Entry::new(record));
                }
                // It may have asked the device, so it is not asked again without the application's word.
                Err(_) => {
                    tracing::warn!(%session, "the record of a PSBT signer cannot be decoded");
                    state.entries.entry(session).or_insert_with(|| Entry::new(Record::default()));
                }
            }
        }
        (state.host, state.stopped) = (Some(host), false);
        Ok(())
    }

    /// Ends all waiting.
    #[cfg_attr(not(feature = "node"), allow(dead_code))]
    pub(crate) fn detach(&self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }

    /// Whether this thread is in a call of the device.
    #[cfg_attr(not(feature = "node"), allow(dead_code))]
    pub(crate) fn is_current_thread(&self) -> bool {
        self.shared.lock().calling.contains(&std::thread::current().id())
    }

    /// Waits until no call of the device runs. None begins after [`detach`](Self::detach).
    #[cfg_attr(not(feature = "node"), allow(dead_code))]
    pub(crate) fn join(&self) {
        let mut state = self.shared.lock();
        while state.threads > 0 {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Why it cannot sign a proposal, whatever its keys are.
    #[cfg_attr(not(feature = "node"), allow(dead_code))]
    pub(crate) fn refuses(&self, proposal: &Proposal) -> Option<SignerError> {
        let refused = SignerError::Mismatch(
            "its keys are in a device, which signs transactions (PSBT) and no raw messages; propose the transaction",
        );
        proposal.transaction.is_none().then_some(refused)
    }

    fn prepare(
        &self,
        proposal: &Proposal,
        signer: usize,
        messages: &[usize],
    ) -> Result<Prepared, SignerError> {
        let words = |error: super::PsbtError| SignerError::Other(error.to_string());
        let psbt = Psbt::from_proposal(proposal, self.version).map_err(words)?;
        let spends = psbt.spends_of(proposal).map_err(words)?;
        let wanted = messages.iter().map(|message| {
            Some((spends.get(*message)?.clone(), proposal.participant_key(*message, signer)?))
        });
        let wanted = wanted
            .collect::<Option<Vec<_>>>()
            .ok_or(SignerError::Mismatch("the proposal has no such message"))?;
        let messages = messages.iter().map(|message| *message as u32).collect();
        Ok(Prepared { psbt, messages, wanted })
    }

    /// Hands a PSBT over on a thread of its own. The record was committed before.
    fn hand_over(&self, state: &mut State, session: SessionId, prepared: &Prepared, again: bool) {
        let Some(entry) = state.entries.get_mut(&session) else { return };
        let second = entry.record.step() == Step::Second;
        entry.failure = None;
        let round = 1 + u32::from(second);
        entry.running = Some(Running { since: Instant::now(), round, report_at: Duration::ZERO });
        let request = PsbtRequest {
            session,
            number: 2 * entry.record.asked - 1 + u32::from(second),
            psbt: prepared.psbt.clone(),
            keys: prepared.wanted.iter().map(|(_, key)| *key).collect::<HashSet<_>>().into_iter().collect(),
            expires_at: UnixMillis(entry.record.expires_at),
            again,
            shared: Arc::downgrade(&self.shared),
        };
        let (device, shared, wanted) = (self.device.clone(), self.shared.clone(), prepared.wanted.clone());
        let work = move || {
            shared.lock().calling.insert(std::thread::current().id());
            let answer = catch_unwind(AssertUnwindSafe(|| match second {
                false => device.add_nonces(&request),
                true => device.add_partials(&request),
            }));
            let answer = answer.unwrap_or_else(|_| Err(DeviceError::Failed("it panicked".into())));
            let read = match second {
                false => read_nonces,
                true => read_partials,
            };
            shared.answered(session, answer.map(|answer| read(&request.psbt, &answer, &wanted)));
            drop(device);
            let mut state = shared.lock();
            state.threads -= 1;
            state.calling.remove(&std::thread::current().id());
            drop(state);
            shared.changed.notify_all();
        };
        state.threads += 1;
        if let Err(error) = std::thread::Builder::new().name("musig-psbt".into()).spawn(work) {
            state.threads -= 1;
            let error = DeviceError::Unreachable(format!("the system started no thread ({error})"));
            drop(state.answered(session, Err(error)));
        }
    }

    /// Asks the device for nonces, for the first time or for others.
    fn ask(&self, state: &mut State, proposal: &Proposal, prepared: &Prepared) -> Result<(), SignerError> {
        state.check_room()?;
        state.drop_expired();
        let session = proposal.id();
        let before = state.entries.get(&session);
        let asked = before.map_or(0, |entry| entry.record.asked);
        let forgotten = before.and_then(|entry| entry.forgotten);
        let record = Record {
            expires_at: proposal.expires_at.0,
            asked: asked + 1,
            messages: prepared.messages.clone(),
            ..Record::default()
        };
        state.commit(session, &record)?;
        state.entries.insert(session, Entry { forgotten, ..Entry::new(record) });
        self.hand_over(state, session, prepared, false);
        Ok(())
    }

    /// Waits until something changed, and reports that a device is waited for.
    fn wait<'a>(&self, mut state: MutexGuard<'a, State>, session: &SessionId) -> MutexGuard<'a, State> {
        let mut timeout = Duration::from_secs(3600);
        let host = state.host.clone();
        if let Some(entry) = state.entries.get_mut(session) {
            entry.waiters += 1;
            if let Some(running) = &mut entry.running {
                let elapsed = running.since.elapsed();
                if elapsed >= running.report_at {
                    running.report_at = REPORT_AFTER.max(2 * elapsed);
                    if let Some(host) = host {
                        host.waiting(*session, running.round, elapsed);
                    }
                }
                timeout = running.report_at.saturating_sub(elapsed);
            }
        }
        let waited = self.shared.changed.wait_timeout(state, timeout);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if let Some(entry) = state.entries.get_mut(session) {
            entry.waiters = entry.waiters.saturating_sub(1);
            entry.idle_since = Instant::now();
        }
        state
    }
}

impl Signer for PsbtSigner {
    fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> Result<bool, SignerError> {
        let below = |origin: &KeyOrigin| self.accounts.iter().any(|account| account.holds(key, origin));
        Ok(self.keys.contains(key) || origin.is_some_and(below))
    }

    fn make_nonces(&self, request: &NonceRequest) -> Result<Vec<[u8; NONCE]>, SignerError> {
        let NonceRequest { proposal, attempt, signer, messages, .. } = request;
        let prepared = self.prepare(proposal, *signer, messages)?;
        let session = proposal.id();
        let mut state = self.shared.lock();
        loop {
            state.check_wanted(&session, *attempt)?;
            let Some(entry) = state.entries.get_mut(&session) else {
                self.ask(&mut state, proposal, &prepared)?;
                continue;
            };
            if entry.running.is_some() {
                state = self.wait(state, &session);
                continue;
            }
            let step = entry.record.step();
            if step == Step::Nonces {
                if entry.record.messages != prepared.messages {
                    return Err(SignerError::Other(
                        "the device made nonces for other messages of this session; restart with the keys it had then"
                            .into(),
                    ));
                }
                return Ok(entry.record.nonces.as_chunks().0.to_vec());
            }
            if step == Step::Signed || entry.allowed {
                // What the device held of it is used up, or the application answers for that.
                self.ask(&mut state, proposal, &prepared)?;
                continue;
            }
            match &mut entry.failure {
                None if step == Step::Asked && self.device.keeps_requests() => {
                    state.check_room()?;
                    self.hand_over(&mut state, session, &prepared, true);
                }
                None => entry.fail(no_answer(step)),
                Some(failure) if !failure.told => {
                    failure.told = true;
                    return Err(failure.error.clone());
                }
                Some(failure) if failure.harmless => {
                    state.check_room()?;
                    self.hand_over(&mut state, session, &prepared, false);
                }
                Some(_) => state = self.wait(state, &session),
            }
        }
    }

    fn make_partials(&self, request: &PartialRequest) -> Result<Vec<[u8; PARTIAL]>, SignerError> {
        let PartialRequest { proposal, attempt, signer, messages, round, .. } = request;
        let round = round.as_any().downcast_ref::<Musig2Round>();
        let round = round.ok_or(SignerError::Mismatch("the round is not one of MuSig2"))?;
        let mut prepared = self.prepare(proposal, *signer, messages)?;
        let mut all = Vec::new();
        for (spend, _) in &prepared.wanted {
            let message = proposal.messages.iter().position(|message| message.input as usize == spend.input);
            let message = message.ok_or(SignerError::Mismatch("the proposal has no such message"))?;
            for other in 0..proposal.signers.len() {
                let nonce = round.nonces(other)[message].serialize();
                let participant = proposal.participant_key(message, other);
                let participant =
                    participant.ok_or(SignerError::Mismatch("a key set lacks a signer's key"))?;
                let nonce = Musig2Nonce { slot: spend.slot(participant), nonce };
                prepared
                    .psbt
                    .add_nonce(spend.input, &nonce)
                    .map_err(|error| SignerError::Other(error.to_string()))?;
                all.push(nonce.nonce);
            }
        }
        let own: Vec<u8> =
            messages.iter().flat_map(|message| round.nonces(*signer)[*message].serialize()).collect();
        let session = proposal.id();
        let parts = [session.as_bytes().as_slice()].into_iter().chain(all.iter().map(|nonce| &nonce[..]));
        let second = tagged_hash("musig/psbt-round", &parts.collect::<Vec<_>>());
        let mut state = self.shared.lock();
        loop {
            state.check_wanted(&session, *attempt)?;
            let entry = state.entries.get_mut(&session).ok_or(SignerError::NonceGone)?;
            if entry.running.is_some() {
                state = self.wait(state, &session);
                continue;
            }
            let record = &entry.record;
            if record.nonces != own || record.messages != prepared.messages {
                return Err(SignerError::NonceGone);
            }
            let step = record.step();
            // These nonces were in a second round, and it was another one.
            let other = step != Step::Nonces && record.second != second;
            if other && !mutation::on(Mutation::SecondRoundAgain) {
                return Err(SignerError::NonceGone);
            }
            match (step, &mut entry.failure) {
                (Step::Asked, _) => return Err(SignerError::NonceGone),
                (Step::Signed, _) => return Ok(record.partials.as_chunks().0.to_vec()),
                (_, Some(failure)) if !failure.told => {
                    failure.told = true;
                    return Err(failure.error.clone());
                }
                (Step::Nonces, _) => {
                    let record = Record { second: second.to_vec(), ..record.clone() };
                    state.check_room()?;
                    state.commit(session, &record)?;
                    if let Some(entry) = state.entries.get_mut(&session) {
                        entry.record = record;
                    }
                    self.hand_over(&mut state, session, &prepared, false);
                }
                (Step::Second, None) if self.device.keeps_requests() => {
                    state.check_room()?;
                    self.hand_over(&mut state, session, &prepared, true);
                }
                (Step::Second, None) => entry.fail(no_answer(step)),
                (Step::Second, Some(_)) if entry.allowed => return Err(SignerError::NonceGone),
                (Step::Second, Some(_)) => state = self.wait(state, &session),
            }
        }
    }

    /// Ends the waiting for answers. What the device was asked stays known.
    fn forget(&self, session: &SessionId, attempt: u32) {
        if let Some(entry) = self.shared.lock().entries.get_mut(session) {
            entry.forgotten = entry.forgotten.max(Some(attempt));
        }
        self.shared.changed.notify_all();
    }
}

fn no_answer(step: Step) -> SignerError {
    let what = match step {
        Step::Asked => "public nonces",
        _ => "partial signatures",
    };
    SignerError::Other(format!(
        "the PSBT for its {what} was handed over before, and no answer came; see to it that the device holds nothing of \
         it, then call ask_again for this session"
    ))
}

impl Shared {
    /// A panic under the lock leaves nothing half done: records change as a whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, session: SessionId, answer: Result<Result<Vec<u8>, String>, DeviceError>) {
        let mut state = self.lock();
        if let Some(record) = state.answered(session, answer)
            && let Err(error) = state.commit(session, &record)
        {
            // Whatever is made with it is stored before it leaves.
            tracing::warn!(%session, %error, "an answer of a device is not on the disk yet");
        }
        self.changed.notify_all();
    }
}

impl State {
    /// Errors: the node stopped, or the session wants no answer of this attempt any more.
    fn check_wanted(&self, session: &SessionId, attempt: u32) -> Result<(), SignerError> {
        let forgotten = self.entries.get(session).and_then(|entry| entry.forgotten);
        match self.stopped || forgotten.is_some_and(|forgotten| attempt <= forgotten) {
            true => Err(SignerError::Other("nobody waits for its answer any more".into())),
            false => Ok(()),
        }
    }

    fn check_room(&self) -> Result<(), SignerError> {
        match self.entries.values().filter(|entry| entry.running.is_some()).count() < WAITING {
            true => Ok(()),
            false => Err(SignerError::Other(format!(
                "{WAITING} PSBTs wait for the device; answer them, or abort their sessions"
            ))),
        }
    }

    /// Removes what no session needs any more. Its nonces stay known.
    fn drop_expired(&mut self) {
        let (now, host) = (now(), self.host.clone());
        self.entries.retain(|session, entry| {
            let kept = entry.running.is_some() || UnixMillis(entry.record.expires_at) > now;
            if let (false, Some(host)) = (kept, &host) {
                host.remove(*session);
            }
            kept
        });
    }

    /// Errors: it is not on the disk, so nothing may leave.
    fn commit(&self, session: SessionId, record: &Record) -> Result<(), SignerError> {
        let Some(host) = &self.host else { return Ok(()) };
        let nonces = record.nonces.chunks_exact(NONCE).map(nonce_id).collect();
        host.commit(session, prost::Message::encode_to_vec(record), nonces).map_err(|error| {
            SignerError::Other(format!("nothing was handed to the device, for the store failed: {error}"))
        })
    }

    /// Takes an answer, and gives the record to store. The first answer counts.
    fn answered(
        &mut self,
        session: SessionId,
        answer: Result<Result<Vec<u8>, String>, DeviceError>,
    ) -> Option<Record> {
        let entry = self.entries.get_mut(&session)?;
        entry.running = None;
        entry.idle_since = Instant::now();
        let other = |words: String| SignerError::Other(words);
        match answer {
            Err(DeviceError::Cancelled) => None,
            Err(error @ DeviceError::Unreachable(_)) => {
                let error = other(error.to_string());
                entry.failure = Some(Failure { error, harmless: true, told: false });
                // It did not leave.
                entry.record.second.clear();
                Some(entry.record.clone())
            }
            Err(error @ DeviceError::Failed(_)) => {
                entry.fail(other(format!("{error}; when it can sign, call ask_again for this session")));
                None
            }
            Ok(Err(words)) => {
                let advice =
                    "see to it that the device holds nothing of it, then call ask_again for this session";
                entry.fail(other(format!("its answer is refused: {words}; {advice}")));
                None
            }
            Ok(Ok(bytes)) if entry.record.step() == Step::Asked => {
                let ids: Vec<NonceId> = bytes.chunks_exact(NONCE).map(nonce_id).collect();
                let mut seen = ids.iter().collect::<HashSet<_>>();
                let again = seen.len() < ids.len() || seen.drain().any(|id| self.seen.contains(id));
                if again && !mutation::on(Mutation::OldNoncesTaken) {
                    entry.fail(other(
                        "its answer has a public nonce that was used before, and is refused: is it the answer to an \
                         earlier PSBT? Call ask_again for this session to have it asked for another"
                            .into(),
                    ));
                    return None;
                }
                self.seen.extend(ids);
                entry.record.nonces = bytes;
                Some(entry.record.clone())
            }
            Ok(Ok(bytes)) => {
                entry.record.partials = bytes;
                Some(entry.record.clone())
            }
        }
    }
}

impl Account {
    /// Whether a key is below this one, at the place that its origin names: it is derived and compared.
    fn holds(&self, key: &SignerKey, origin: &KeyOrigin) -> bool {
        let Some(steps) = origin.steps_below(&self.origin) else { return false };
        let step = |(key, chain_code), number: &u32| {
            bip32::child(&key, &chain_code, *number).map(|(_, key, chain_code)| (key, chain_code))
        };
        let derived = steps.iter().try_fold((self.key, self.chain_code), step);
        derived.is_some_and(|(derived, _)| derived == *key)
    }
}

/// The public nonces that were asked for. Nothing else of the answer is looked at.
fn read_nonces(asked: &Psbt, answer: &Psbt, wanted: &[(Musig2Spend, SignerKey)]) -> Result<Vec<u8>, String> {
    check_transaction(asked, answer)?;
    let mut nonces = Vec::with_capacity(wanted.len() * NONCE);
    for (spend, key) in wanted {
        let slot = spend.slot(*key);
        let found = answer.nonces(spend.input).into_iter().find(|nonce| nonce.slot == slot);
        let input = spend.input;
        let found = found.ok_or_else(|| format!("it has no public nonce of {key} for input {input}"))?;
        nonces.extend_from_slice(&found.nonce);
    }
    Ok(nonces)
}

/// The partial signatures that were asked for, verified. Nothing else of the answer is looked at.
fn read_partials(
    asked: &Psbt,
    answer: &Psbt,
    wanted: &[(Musig2Spend, SignerKey)],
) -> Result<Vec<u8>, String> {
    check_transaction(asked, answer)?;
    let mut checked = asked.clone();
    let mut partials = Vec::with_capacity(wanted.len() * PARTIAL);
    for (spend, key) in wanted {
        let slot = spend.slot(*key);
        let found = answer.partials(spend.input).into_iter().find(|partial| partial.slot == slot);
        let input = spend.input;
        let found = found.ok_or_else(|| format!("it has no partial signature of {key} for input {input}"))?;
        let words = |error: super::PsbtError| error.to_string();
        checked.add_partial(input, &Musig2Partial { slot, partial: found.partial }).map_err(words)?;
        checked.verify_partials(spend).map_err(words)?;
        partials.extend_from_slice(&found.partial);
    }
    Ok(partials)
}

fn check_transaction(asked: &Psbt, answer: &Psbt) -> Result<(), String> {
    match asked.unsigned_transaction() == answer.unsigned_transaction() {
        true => Ok(()),
        false => Err("it is of another transaction".into()),
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
