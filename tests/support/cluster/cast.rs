//! Who takes part: keys, nodes, applications, and what a script may decide.

use super::*;

/// The calendar's time when a simulation begins.
pub const EPOCH: UnixMillis = UnixMillis(1_700_000_000_000);

/// xorshift64*.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.next().to_be_bytes()));
        bytes
    }

    pub fn duration(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(most.as_micros() as u64 + 1))
    }
}

/// The secret of node `index`.
pub fn secret(index: usize) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[28..].copy_from_slice(&(index as u32 + 1).to_be_bytes());
    secret
}

/// The key of node `index`.
pub fn key(index: usize) -> SignerKey {
    static KEYS: OnceLock<Vec<SignerKey>> = OnceLock::new();
    let make = |index| {
        if cfg!(miri) {
            let bytes = [&[2], &secret(index)[..]].concat();
            return SignerKey::from_bytes(&bytes).expect("Miri takes any");
        }
        let pair = secp256k1::Keypair::from_secret_bytes(secret(index)).expect("a small number");
        SignerKey::from(pair.public_key())
    };
    KEYS.get_or_init(|| (0..128).map(make).collect())[index]
}

/// How a broadcaster behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broadcaster {
    /// Submits.
    Works,
    /// No answer of the network: the host reports a failure.
    Unreachable,
    /// Never comes back.
    Hangs,
    /// Says that it did, and did not.
    Lies,
    /// The network refuses the transaction.
    Rejects(String),
}

/// What an application does when it is asked to broadcast. Does not matter if the node has a broadcaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing.
    Ignores,
    /// Submits to the chain, and says so.
    Submits,
    /// Submits to the chain, and does not say so.
    SubmitsQuietly,
    /// Says so without having done it.
    OnlySays,
    /// Says that it cannot.
    CannotReach,
}

/// What an application does about a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    Joins,
    JoinsAfter(Duration),
    Declines,
    Waits,
}

/// An application.
#[derive(Clone, Debug)]
pub struct Application {
    pub consent: Consent,
    pub duty: Duty,
    /// Whether it looks at the chain when somebody claims to have broadcast, and notifies if it is there.
    pub checks_claims: bool,
    pub acknowledges: bool,
    /// How long it takes to react.
    pub delay: Duration,
}

/// What becomes of an output, as a hook says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out.
    Happens,
    /// It is not carried out.
    Lost,
    /// The node dies before it.
    CrashBefore,
    /// The node dies before it, and this many commits that were not synced survive.
    CrashBeforeKeeping(usize),
    /// The node dies after it.
    CrashAfter,
    /// It is carried out; soon after, when what was sent has arrived, the node loses all connections and its way to
    /// the chain, and goes on.
    CutOffAfter,
}

/// What is wrong with a disk. Nothing is written until that is over; then everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// It says at once that it cannot write.
    Full,
    /// It says nothing.
    Hangs,
}

/// What of a session is on its way to the disk: the last commit to be synced, the last barrier, and who waits.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub synced: u64,
    pub barrier: u64,
    pub outputs: VecDeque<Held>,
}

/// An output that waits for a commit, perhaps not for ever.
#[derive(Debug)]
pub(super) struct Held {
    pub commit: u64,
    pub until: Option<Duration>,
    pub output: Output,
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Options {
    pub signers: usize,
    pub seed: u64,
    /// BIP-327 by libsecp256k1, or the double.
    pub real: bool,
    pub settings: Settings,
    /// How long a synced commit takes.
    pub sync: Duration,
    /// How long a frame travels, at least.
    pub delay: Duration,
    /// And how much longer at most. Frames on one connection keep their order.
    pub jitter: Duration,
    /// How long a broadcaster or observer takes.
    pub chain: Duration,
    /// How long a signer takes.
    pub sign: Duration,
    /// Whether all envelopes on the wire are kept for an auditor.
    pub audit: bool,
    /// Whether the schemes count their work, which takes some memory for each session.
    pub counts_work: bool,
}

impl Options {
    pub fn new(signers: usize) -> Self {
        let settings = Settings { observer: true, broadcaster: true, ..Settings::default() };
        Self {
            signers,
            seed: 1,
            real: false,
            settings,
            sync: Duration::from_millis(2),
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            chain: Duration::from_millis(20),
            sign: Duration::ZERO,
            audit: false,
            counts_work: true,
        }
    }
}

/// One node.
pub struct Node {
    pub key: SignerKey,
    pub(super) secret: [u8; 32],
    pub signer: Arc<dyn AllKeys>,
    pub engine: Option<Engine>,
    pub disk: Disk,
    pub settings: Settings,
    pub application: Application,
    pub broadcaster: Broadcaster,
    /// How much later than others its observer sees things. `None`: it cannot be asked.
    pub observer_lag: Option<Duration>,
    /// Its observer never comes back.
    pub observer_hangs: bool,
    /// How much longer its observer takes to answer.
    pub observer_takes: Duration,
    /// Its observer cannot be asked about coins.
    pub coins_unknown: bool,
    /// How often its observer was asked.
    pub observations: u64,
    /// Every other answer of its observer is that it sees nothing.
    pub observer_flaps: bool,
    /// The calendar's error in milliseconds.
    pub skew: i64,
    /// By how much the calendar runs too fast, per mille of the simulated time.
    pub drift: i64,
    pub asleep: bool,
    pub cut_off: bool,
    /// Since when its cable is pulled: nothing arrives, and no connection ends for it at first.
    pub pulled: Option<Duration>,
    /// Whom its host asks for signs of life.
    pub asked: HashSet<SignerKey>,
    /// What it told its application, and when, in simulated time.
    pub events: EventLog,
    pub done: Vec<(RequestId, Result<(), Error>)>,
    /// Since when it runs and has connections, or not.
    pub up: Vec<(Duration, bool)>,
    pub(super) boot: Duration,
    pub(super) base: Duration,
    pub(super) life: u64,
    /// What of each session is not on the disk, and what waits for that.
    pub(super) held: HashMap<SessionId, Pending>,
    /// What is wrong with its disk, and since when.
    pub(super) disk_fault: Option<(DiskFault, Duration)>,
    /// Whether it takes its disk for failed.
    pub(super) disk_failed: bool,
    /// What was under way when it fell asleep.
    pub(super) frozen: Vec<What>,
    pub(super) tick_at: Option<Duration>,
    /// What it had to verify since it started.
    pub work: Counter,
    /// What it did since it started, if it is watched.
    pub ledger: Ledger,
}

/// Events in their order, and where those of each session are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventLog {
    all: Vec<(Duration, Arc<SessionEvent>)>,
    of_session: HashMap<SessionId, Vec<usize>>,
}

impl EventLog {
    pub fn push(&mut self, at: Duration, event: Arc<SessionEvent>) {
        if let Some(session) = event.session {
            self.of_session.entry(session).or_default().push(self.all.len());
        }
        self.all.push((at, event));
    }

    pub fn clear(&mut self) {
        self.all.clear();
        self.of_session.clear();
    }

    pub fn of<'a>(&'a self, session: &SessionId) -> impl Iterator<Item = (Duration, &'a Event)> + use<'a> {
        let places = self.of_session.get(session).map_or(&[][..], Vec::as_slice);
        places.iter().map(|place| (self.all[*place].0, &self.all[*place].1.event))
    }
}

impl std::ops::Deref for EventLog {
    type Target = [(Duration, Arc<SessionEvent>)];

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Node {
    pub fn alive(&self) -> bool {
        self.engine.is_some()
    }

    pub fn awake(&self) -> bool {
        self.alive() && !self.asleep
    }
}
