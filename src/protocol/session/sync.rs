//! Anti-entropy: when to compare with whom what both hold, and who answered.

use std::collections::HashSet;
use std::time::Duration;

use crate::protocol::limits;
use crate::protocol::packing::{indices, nanoseconds};
use crate::types::SignerKey;

/// How long a restarted node waits for its peers' answers before it makes nonces again.
const RECOVERY: Duration = Duration::from_secs(2);
/// How often an incomplete session compares with others.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often at the most rarely, once it ended here although others may still finish it.
const INTERVAL_ENDED: Duration = Duration::from_secs(3600);
/// With how many signers it compares each time.
const PEERS: usize = 3;

/// How many comparisons each signer asked for lately: each may cost a whole session.
#[derive(Clone, Debug, Default)]
pub struct Quotas(Vec<Window>);

#[derive(Clone, Debug)]
struct Window {
    from: usize,
    since: Duration,
    count: u32,
}

impl Window {
    fn old(&self, now: Duration) -> bool {
        now >= self.since + limits::COMPARISONS_WITHIN
    }
}

impl Quotas {
    /// Counts one. `false`: too many.
    fn admit(&mut self, from: usize, now: Duration) -> bool {
        let full = self.full(from, now);
        match self.0.iter_mut().find(|window| window.from == from) {
            Some(window) if window.old(now) => *window = Window { from, since: now, count: 1 },
            Some(window) => window.count += 1,
            None => self.0.push(Window { from, since: now, count: 1 }),
        }
        !full
    }

    /// Whether no more is admitted now.
    pub fn full(&self, from: usize, now: Duration) -> bool {
        let of = self.0.iter().find(|window| window.from == from && !window.old(now));
        of.is_some_and(|window| window.count >= limits::COMPARISONS)
    }

    /// Drops what limits nothing any more.
    fn drop_old(&mut self, now: Duration) {
        self.0.retain(|window| !window.old(now));
        self.0.shrink_to_fit();
    }
}

/// The comparisons of one session.
///
/// Invariants: each signer is admitted [`limits::COMPARISONS`] times within [`limits::COMPARISONS_WITHIN`]; the
/// interval never shrinks; who holds the certificate is never doubted again.
#[derive(Clone, Debug)]
pub struct AntiEntropy {
    quotas: Quotas,
    due_at: Duration,
    interval: Duration,
    next: usize,
    /// Since when what others hold of this node's own envelopes matters: after a restart, or a foreign envelope.
    recovering_since: Option<Duration>,
    /// Signers that answered.
    answered: HashSet<usize>,
    /// What a signer holds was brought here by hand: as good as an answer of somebody.
    imported: bool,
    /// Signers known to hold the certificate.
    holders: HashSet<usize>,
    /// Signers to whom it is on its way.
    sent: HashSet<usize>,
}

/// An [`AntiEntropy`] in memory, as few bytes as may be. Its quotas are kept beside it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackedAntiEntropy {
    #[prost(uint64, tag = "1")]
    due_at: u64,
    #[prost(uint64, tag = "2")]
    interval: u64,
    #[prost(uint32, tag = "3")]
    next: u32,
    #[prost(uint64, optional, tag = "4")]
    recovering_since: Option<u64>,
    #[prost(bytes = "vec", tag = "5")]
    answered: Vec<u8>,
    #[prost(bool, tag = "6")]
    imported: bool,
    #[prost(bytes = "vec", tag = "7")]
    holders: Vec<u8>,
}

impl AntiEntropy {
    pub fn new(own: usize, now: Duration) -> Self {
        Self {
            quotas: Quotas::default(),
            due_at: now + INTERVAL,
            interval: INTERVAL,
            next: own + 1,
            recovering_since: None,
            answered: HashSet::new(),
            imported: false,
            holders: HashSet::new(),
            sent: HashSet::new(),
        }
    }

    /// Counts a comparison that a signer asks for. `false`: it is too many.
    pub fn admit(&mut self, from: usize, now: Duration) -> bool {
        self.quotas.admit(from, now)
    }

    // ---- When, and with whom ----

    /// When the next comparison is due.
    pub fn due_at(&self) -> Duration {
        self.due_at
    }

    /// The next comparison is due now.
    pub fn hurry(&mut self, now: Duration) {
        self.due_at = now;
    }

    /// Takes up a comparison if one is due. With `ended` the next ones are ever rarer.
    pub fn begin(&mut self, now: Duration, ended: bool) -> bool {
        if now < self.due_at {
            return false;
        }
        if ended {
            self.interval = (self.interval * 2).min(INTERVAL_ENDED);
        }
        self.due_at = now + self.interval;
        true
    }

    /// The next few of the connected signers, in turn.
    pub fn next_peers(&mut self, mut connected: Vec<(usize, SignerKey)>) -> Vec<SignerKey> {
        let next = self.next;
        connected.sort_by_key(|(signer, _)| (*signer < next, *signer));
        connected.truncate(PEERS);
        if let Some((last, _)) = connected.last() {
            self.next = last + 1;
        }
        connected.into_iter().map(|(_, key)| key).collect()
    }

    // ---- Recovery ----

    /// What others hold of this node's own envelopes matters from now on, before it makes nonces.
    pub fn recover(&mut self, now: Duration) {
        self.recovering_since = Some(now);
    }

    /// Whether it ever mattered in this process.
    pub fn recovers(&self) -> bool {
        self.recovering_since.is_some()
    }

    /// A signer answered a comparison.
    pub fn answered(&mut self, signer: usize) {
        self.answered.insert(signer);
    }

    /// What a signer holds was brought by hand.
    pub fn imported(&mut self) {
        self.imported = true;
    }

    /// Whether this node is to wait for its peers' answers: they may hold envelopes of its own key that it lost.
    pub fn waits(&self, mut others: impl Iterator<Item = usize>, now: Duration) -> bool {
        let Some(since) = self.recovering_since else { return false };
        let waited = now >= since + RECOVERY;
        let done = others.all(|signer| self.answered.contains(&signer));
        !(done || waited && (self.imported || !self.answered.is_empty()))
    }

    /// When the wait may end although not all of `signers` answered.
    pub fn wait_ends(&self, signers: usize) -> Option<Duration> {
        let all_answered = self.answered.len() + 1 >= signers;
        self.recovering_since.filter(|_| !all_answered).map(|since| since + RECOVERY)
    }

    // ---- Holders of the certificate ----

    pub fn note_holder(&mut self, signer: usize) {
        self.holders.insert(signer);
    }

    /// The certificate is on its way to a signer.
    pub fn note_sent(&mut self, signer: usize) {
        self.sent.insert(signer);
    }

    /// Whether a signer holds the certificate, or it is on its way there.
    pub fn is_holder(&self, signer: usize) -> bool {
        self.is_known_holder(signer) || self.sent.contains(&signer)
    }

    /// Whether a signer said that it holds the certificate, or sent it.
    pub fn is_known_holder(&self, signer: usize) -> bool {
        self.holders.contains(&signer)
    }

    // ---- At rest ----

    /// `holders_matter`: who else holds the certificate matters until it is here, and where nothing else is left to do.
    pub fn pack(mut self, holders_matter: bool, now: Duration) -> (PackedAntiEntropy, Quotas) {
        self.quotas.drop_old(now);
        let packed = PackedAntiEntropy {
            due_at: nanoseconds(self.due_at),
            interval: nanoseconds(self.interval),
            next: self.next as u32,
            recovering_since: self.recovering_since.map(nanoseconds),
            answered: indices(self.answered),
            imported: self.imported,
            holders: if holders_matter { indices(self.holders) } else { Vec::new() },
        };
        (packed, self.quotas)
    }

    pub fn unpack(packed: &PackedAntiEntropy, quotas: Quotas) -> Self {
        let set = |bytes: &[u8]| bytes.iter().map(|signer| usize::from(*signer)).collect();
        Self {
            quotas,
            due_at: Duration::from_nanos(packed.due_at),
            interval: Duration::from_nanos(packed.interval),
            next: packed.next as usize,
            recovering_since: packed.recovering_since.map(Duration::from_nanos),
            answered: set(&packed.answered),
            imported: packed.imported,
            holders: set(&packed.holders),
            sent: HashSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_signer_is_admitted_up_to_its_quota_and_again_in_the_next_window() {
        let mut sync = AntiEntropy::new(0, SECOND);
        for _ in 0..limits::COMPARISONS {
            assert!(sync.admit(1, SECOND));
        }
        assert!(!sync.admit(1, SECOND), "one too many");
        assert!(sync.admit(2, SECOND), "each has its own");
        assert!(sync.admit(1, SECOND + limits::COMPARISONS_WITHIN));
    }

    #[test]
    fn comparisons_go_on_at_their_interval_and_ever_rarer_after_an_ending() {
        let mut sync = AntiEntropy::new(0, SECOND);
        assert!(!sync.begin(SECOND, false));
        let mut now = sync.due_at();
        assert!(sync.begin(now, false));
        assert_eq!(sync.due_at(), now + INTERVAL);
        for _ in 0..20 {
            now = sync.due_at();
            assert!(sync.begin(now, true));
        }
        assert_eq!(sync.due_at(), now + INTERVAL_ENDED);
    }

    #[test]
    fn recovery_ends_with_all_answers_or_after_a_while_with_one() {
        let mut sync = AntiEntropy::new(0, SECOND);
        let others = || [1, 2].into_iter();
        assert!(!sync.waits(others(), SECOND), "nothing to recover");
        sync.recover(SECOND);
        assert!(sync.waits(others(), SECOND + RECOVERY), "nobody answered");
        sync.answered(1);
        assert!(sync.waits(others(), SECOND));
        assert!(!sync.waits(others(), SECOND + RECOVERY));
        assert_eq!(sync.wait_ends(3), Some(SECOND + RECOVERY));
        sync.answered(2);
        assert!(!sync.waits(others(), SECOND));
        assert_eq!(sync.wait_ends(3), None);
    }

    #[test]
    fn a_packed_form_gives_the_same_again() {
        let mut sync = AntiEntropy::new(3, SECOND);
        sync.recover(SECOND * 2);
        sync.answered(1);
        sync.note_holder(2);
        sync.imported();
        sync.admit(1, SECOND);
        let (packed, quotas) = sync.clone().pack(true, SECOND);
        assert_eq!(format!("{:?}", AntiEntropy::unpack(&packed, quotas)), format!("{sync:?}"));
        let (packed, quotas) = sync.pack(false, SECOND + limits::COMPARISONS_WITHIN);
        assert!(quotas.0.is_empty() && !AntiEntropy::unpack(&packed, quotas).is_holder(2));
    }
}
