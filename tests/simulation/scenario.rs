//! What happens in a run, decided by its seed before it begins: so a part of it can be left out, and the rest is the
//! same.

use std::time::Duration;

use libmusig::EarlyTurns;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::proposal::{Broadcast, Derivation, FailoverPolicy, Tiers};

use crate::aims::Aim;
use test_support::cluster::{Broadcaster, Consent, DiskFault, Duty};

/// What a byzantine signer does all the time. What it does once is an [`Attack`].
#[derive(Clone, Debug, Default)]
pub struct Byzantine {
    /// Signers to whom it does it; others get what is right.
    pub targets: Vec<bool>,
    /// Kinds of envelopes that it never sends, by name.
    pub withholds: Vec<&'static str>,
    pub hides_certificates: bool,
    /// Never says what it holds.
    pub hides_all: bool,
    /// Different nonces to each.
    pub other_nonces: bool,
    /// A second partial signature beside the right one.
    pub two_partials: bool,
    pub unusable_nonces: bool,
    /// Sends the nonces of another signer as its own.
    pub copies_nonces: bool,
    pub bad_partial: bool,
    pub lies_about_transcript: bool,
    pub breaks_rules: bool,
    /// Says everything twice, and old things again, of other sessions and attempts too.
    pub repeats: bool,
}

/// What a byzantine signer does once, to all others or to some.
#[derive(Clone, Debug)]
pub enum Attack {
    /// Signatures that nobody made.
    Certificate,
    /// Begins attempts that nobody needs.
    Restarts(u32),
    /// Stops for some, and goes on with the others.
    AbortTo(Vec<bool>),
    DeclineTo(Vec<bool>),
    /// An envelope in another signer's name.
    Impersonate(usize),
    /// Everything of every session that was heard of, closed ones too, once more, also under another session's id.
    Replay,
    /// More of every kind than anybody keeps, and things of no session.
    Flood,
    /// Two different nonces in each of many attempts.
    EquivocateAlways,
    /// Proposals that nobody asked for.
    Proposals(usize),
    /// A proposal whose signatures would complete nothing.
    Worthless(Worthless),
    /// A proposal that expires so many milliseconds from now, sent again and again.
    Expiry(i64),
    /// A proposal to an honest signer whose keys are chosen against it.
    Keys(Aim, usize),
    /// No frame at all.
    Garbage,
}

/// Why a transaction's signatures complete nothing until its proposer wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worthless {
    /// The witness of an input of somebody else is `[00]`.
    ForeignWitness,
    /// The same, of a kind that nobody can verify.
    UnverifiableWitness,
    /// The transaction that makes one of its coins is kept back.
    UnbroadcastParent,
    /// It is no transaction that is shown, but a message over an output key, which may be a signature hash.
    BlindMessage,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Part {
    pub observer: bool,
    pub broadcaster: bool,
    pub claims: bool,
    pub nacks: bool,
    pub early_turns: EarlyTurns,
    /// What it knows from before: so long each of many transactions took until it was seen.
    pub pace: Option<Duration>,
    pub consent: Consent,
    pub duty: Duty,
    pub reaction: Duration,
    pub skew: i64,
    /// Per mille.
    pub drift: i64,
    pub byzantine: Option<Byzantine>,
}

/// Who is to broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Failover,
    CoordinatorOnly,
    SignOnly,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Plan {
    pub proposer: usize,
    pub method: ElectionMethod,
    pub tiers: Tiers,
    pub mode: Mode,
    /// Without failover it is the default, and `tiers` mean nothing.
    pub timeout: Duration,
    pub raw: bool,
    pub messages: usize,
    /// Whether messages take turns between a key set of sorted keys and one of the keys as given, where these differ.
    pub two_key_sets: bool,
    /// Those of the messages in turn.
    pub derivations: Vec<Derivation>,
    /// After the run's beginning.
    pub expires: Duration,
    /// Replaces the session before it.
    pub replaces: bool,
    /// Blocks that there have to be before its transaction can be in one.
    pub lock: u32,
}

impl Plan {
    pub fn broadcast(&self) -> Broadcast {
        match self.mode {
            Mode::Failover => {
                Broadcast::Failover(FailoverPolicy { broadcast_timeout: self.timeout, tiers: self.tiers })
            }
            Mode::CoordinatorOnly => Broadcast::CoordinatorOnly,
            Mode::SignOnly => Broadcast::SignOnly,
        }
    }

    /// After what time from the certificate on nothing is due any more, for a number of signers.
    pub fn lasts(&self, signers: usize) -> Duration {
        match self.mode {
            Mode::Failover => self.timeout * (signers as u32 + 3),
            Mode::CoordinatorOnly => self.timeout * 4,
            Mode::SignOnly => Duration::ZERO,
        }
    }
}

/// Something goes wrong, or right again.
#[derive(Clone, Debug)]
pub enum Fault {
    Create(Plan),
    Cut(usize, usize, bool),
    /// One direction loses this many of a thousand frames; all of them: a partition in one direction.
    Lose(usize, usize, u64),
    Slow(usize, usize, Duration),
    CutOff(usize, bool),
    /// Its cable is pulled, or plugged in: nothing arrives, and no connection is reset.
    Pull(usize, bool),
    /// Its partial signatures and certificates are lost: it finishes alone.
    HoldBack(usize, bool),
    /// The network, the Bitcoin network too, falls into parts: the side of each node. Empty: it is whole again.
    Partition(Vec<usize>),
    Crash {
        node: usize,
        keep: usize,
    },
    /// It dies when it has done this many more things.
    CrashIn {
        node: usize,
        outputs: u64,
        keep: usize,
    },
    Start(usize),
    Sleep(usize),
    Wake(usize),
    Skew(usize, i64),
    Broadcaster(usize, Broadcaster),
    Lag(usize, Option<Duration>),
    /// Its observer takes so much longer to answer.
    Takes(usize, Duration),
    Flap(usize, bool),
    Disk(usize, Option<DiskFault>),
    Mine,
    Evict,
    Reorganise(usize),
    Conflict,
    Snapshot(usize),
    Rollback(usize),
    Claim(usize),
    Nack(usize),
    Abort(usize),
    /// Refused if that would give something up.
    Close(usize),
    Abandon(usize),
    /// The application opens what it closed, or consents late.
    Join(usize),
    /// The application says that it is broadcast: because it is, or although it is not.
    Notify(usize, bool),
    BroadcastNow(usize),
    Attack(usize, Attack),
}

impl Fault {
    /// For the summary.
    pub fn kind(&self) -> String {
        let name = |text: String| text.split([' ', '(', '{']).next().unwrap_or_default().to_lowercase();
        match self {
            Self::Attack(_, attack) => format!("attack:{}", name(format!("{attack:?}"))),
            Self::Disk(_, fault) => {
                format!("disk:{}", fault.map_or("works".into(), |it| name(format!("{it:?}"))))
            }
            _ => name(format!("{self:?}")),
        }
    }
}

/// Everything that a seed decides.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub delay: Duration,
    pub jitter: Duration,
    pub sync: Duration,
    pub sign: Duration,
    pub chain: Duration,
    pub final_depth: u32,
    /// Per mille of frames that arrive twice.
    pub duplicates: u64,
    /// Frames overtake each other.
    pub reorders: bool,
    pub parts: Vec<Part>,
    /// A second instance with this signer's key; it is the last node.
    pub twin: Option<usize>,
    pub faults: Vec<(Duration, Fault)>,
    /// From then on nothing goes wrong but what byzantine signers do.
    pub heals_at: Duration,
    /// All nodes are alike, connected and honest: what V2 speaks of.
    pub calm: bool,
    /// By libsecp256k1.
    pub real: bool,
}

impl Scenario {
    /// How many signers.
    pub fn signers(&self) -> usize {
        self.parts.len()
    }

    /// How many faults there are, byzantine signers and twins included.
    pub fn count_faults(&self, by_kind: &mut std::collections::BTreeMap<String, u64>) {
        let mut add = |kind: &str| *by_kind.entry(kind.to_owned()).or_default() += 1;
        self.faults
            .iter()
            .filter(|(_, fault)| !matches!(fault, Fault::Create(_)))
            .for_each(|(_, f)| add(&f.kind()));
        for part in &self.parts {
            if part.drift != 0 {
                add("drift");
            }
            match part.consent {
                Consent::Joins => {}
                Consent::JoinsAfter(_) => add("joins:late"),
                Consent::Declines => add("declines"),
                Consent::Waits => add("never:answers"),
            }
            match part.duty {
                Duty::Submits => {}
                Duty::SubmitsQuietly => add("forgets:to:notify"),
                Duty::Ignores => add("ignores:its:turn"),
                Duty::OnlySays => add("notifies:wrongly"),
                Duty::CannotReach => add("cannot:reach"),
            }
            let Some(byzantine) = &part.byzantine else { continue };
            byzantine.withholds.iter().for_each(|kind| add(&format!("byzantine:withholds:{kind}")));
            for (does, what) in [
                (byzantine.hides_certificates, "hides:certificates"),
                (byzantine.hides_all, "hides:all"),
                (byzantine.other_nonces, "other:nonces"),
                (byzantine.two_partials, "two:partials"),
                (byzantine.unusable_nonces, "unusable:nonces"),
                (byzantine.copies_nonces, "copied:nonces"),
                (byzantine.bad_partial, "bad:partial"),
                (byzantine.lies_about_transcript, "lies:about:transcript"),
                (byzantine.breaks_rules, "breaks:rules"),
                (byzantine.repeats, "repeats"),
            ] {
                if does {
                    add(&format!("byzantine:{what}"));
                }
            }
        }
        if self.twin.is_some() {
            add("twin");
        }
        if self.duplicates > 0 {
            add("duplicates");
        }
        if self.reorders {
            add("reorders");
        }
    }
}
