//! From the certificate on: the signatures, the transaction, and the watch, if the session does more than sign.

use std::collections::BTreeMap;
use std::time::Duration;

use super::agreement::Agreement;
use super::context::Context;
use super::sync::AntiEntropy;
use crate::mutation::{self, Mutation};
use crate::protocol::envelope::NackKind;
use crate::protocol::envelope_set::EnvelopeSet;
use crate::protocol::failover::{FailureCause, PackedWatch, SeenBy, Surroundings, Wait, Watch};
use crate::protocol::limits;
use crate::protocol::packing::nanoseconds;
use crate::protocol::transaction::TransactionCodec;
use crate::protocol::wire::{Certificate, pb};
use crate::types::{ChainTip, CoinStatus, Locks, OutPoint, Signature, SignedTransaction, Time, Txid};

/// What a holder has and does. All of it begins with the certificate.
#[derive(Debug)]
pub struct Broadcast {
    certificate: Certificate,
    /// The finished transaction, if the proposal is of one.
    transaction: Option<SignedTransaction>,
    /// `None`: the session only signs.
    watch: Option<Watch>,
    /// What the transaction waits for, if it has a lock.
    locks: Option<Box<Locks>>,
    /// Since when this node holds the certificate, in this process. Nobody is silent before.
    holder_since: Duration,
    /// The transaction that the application named.
    named_txid: Option<Txid>,
}

/// A [`Broadcast`] in memory, as few bytes as may be.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackedBroadcast {
    #[prost(bytes = "vec", tag = "1")]
    signatures: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    watch: Option<PackedWatch>,
    #[prost(uint64, tag = "3")]
    holder_since: u64,
    #[prost(bytes = "vec", optional, tag = "4")]
    named_txid: Option<Vec<u8>>,
}

impl Broadcast {
    /// Begins with a verified certificate: its watch, if the session has one, starts now.
    pub fn new(
        certificate: Certificate,
        agreement: &Agreement,
        codec: &dyn TransactionCodec,
        now: Time,
    ) -> Self {
        let locked = agreement.transaction.is_some() && !codec.locks(&agreement.proposal).is_none();
        let watch = agreement.turns().map(|turns| Watch::new(turns, agreement.own, now));
        let watch = watch.map(|watch| if locked { watch.with_lock() } else { watch });
        Self::with(certificate, watch, now.monotonic, None, agreement, codec)
    }

    /// Goes on after a restart.
    pub fn restore(
        certificate: Certificate,
        record: Option<&pb::WatchRecord>,
        agreement: &Agreement,
        codec: &dyn TransactionCodec,
        now: Time,
    ) -> Self {
        let watch = agreement.turns().map(|turns| match record {
            Some(record) => Watch::restore(turns, agreement.own, record, now),
            None => Watch::new(turns, agreement.own, now),
        });
        Self::with(certificate, watch, now.monotonic, None, agreement, codec)
    }

    fn with(
        certificate: Certificate,
        watch: Option<Watch>,
        holder_since: Duration,
        named_txid: Option<Txid>,
        agreement: &Agreement,
        codec: &dyn TransactionCodec,
    ) -> Self {
        let finished = || codec.finalize(&agreement.proposal, &certificate.signatures).ok();
        let transaction = agreement.transaction.as_ref().and_then(|_| finished());
        let locks = watch.as_ref().and(transaction.as_ref()).map(|_| codec.locks(&agreement.proposal));
        let locks = locks.filter(|locks| !locks.is_none()).map(Box::new);
        Self { certificate, transaction, watch, locks, holder_since, named_txid }
    }

    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub fn transaction(&self) -> Option<&SignedTransaction> {
        self.transaction.as_ref()
    }

    /// `None`: the session only signs.
    pub fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// For what only lets the watch's clock go on, or tells it what does not depend on its surroundings.
    pub fn watch_mut(&mut self) -> Option<&mut Watch> {
        self.watch.as_mut()
    }

    /// Watches from the beginning.
    pub fn start_over(&mut self, agreement: &Agreement, now: Time) {
        self.watch = agreement.turns().map(|turns| Watch::new(turns, agreement.own, now));
    }

    /// What the watch's record on the disk is to hold.
    pub fn store(&mut self, now: Time) -> Option<pb::WatchRecord> {
        self.watch.as_mut().map(|watch| watch.record(now))
    }

    /// The application named the transaction that it broadcast.
    pub fn name_txid(&mut self, txid: Option<Txid>) {
        self.named_txid = txid.or(self.named_txid);
    }

    /// The session's transaction, or the one that the application named.
    pub fn txid(&self, agreement: &Agreement) -> Option<Txid> {
        agreement.txid().or(self.named_txid)
    }

    /// Whether a peer's claim is for the observer to check, and not for the application.
    pub fn observes(&self, context: &Context<'_>) -> bool {
        context.settings.observer && self.transaction.is_some()
    }

    // ---- The watch, in its surroundings ----

    /// What the observer is asked about besides the last block.
    pub fn locked_coins(&self) -> Vec<OutPoint> {
        self.locks.iter().flat_map(|locks| locks.coins.iter().map(|(coin, _)| *coin)).collect()
    }

    /// Whether the lock is met, by what the observer answered.
    pub fn locks_met(&self, tip: &ChainTip, coins: &[Option<CoinStatus>]) -> bool {
        self.locks.as_ref().is_none_or(|locks| locks.met(tip, coins))
    }

    /// When the watch is to be polled next.
    pub fn next_timeout(
        &mut self,
        agreement: &Agreement,
        set: &EnvelopeSet,
        sync: &AntiEntropy,
        context: &Context<'_>,
    ) -> Option<Duration> {
        let now = context.now;
        let timeout =
            self.act(agreement, set, sync, context, |watch, around| watch.next_timeout(now, around))?;
        let ahead = self.watch.as_ref().is_some_and(Watch::turn_ahead);
        let gone = (0..agreement.signers())
            .filter(|_| ahead)
            .filter_map(|signer| gone_at(self.holder_since, signer, agreement, context))
            .filter(|at| *at > now.monotonic)
            .min();
        Some(gone.map_or(timeout, |at| at.min(timeout)))
    }

    /// Lets the watch act in its surroundings. Without a watch nothing follows from anything.
    pub fn act<R: Default>(
        &mut self,
        agreement: &Agreement,
        set: &EnvelopeSet,
        sync: &AntiEntropy,
        context: &Context<'_>,
        act: impl FnOnce(&mut Watch, &Surroundings<'_>) -> R,
    ) -> R {
        let (settings, known) = (context.settings, self.transaction.is_some());
        let nacks: BTreeMap<usize, NackKind> = set.nacks().into_iter().collect();
        let first = nacks.first_key_value().map(|(_, kind)| *kind);
        let for_others = first.filter(|_| mutation::on(Mutation::NackCountsForOthers));
        let nack = |signer: usize| for_others.or(nacks.get(&signer).copied());
        let key = |signer: usize| &agreement.proposal.signers[signer];
        let gone = |signer: usize| {
            let at = gone_at(self.holder_since, signer, agreement, context);
            at.is_some_and(|at| context.now.monotonic >= at)
        };
        let lacks = |signer: usize| {
            let connected = signer != agreement.own && context.connected.contains(key(signer));
            settings.early_turns.hold && connected && !sync.is_known_holder(signer)
        };
        // Who was connected a moment ago, or did not run, has not heard yet what the others hold.
        let heard_for = |signer: usize| {
            let since = context.changed.get(key(signer)).copied().unwrap_or_default().max(self.holder_since);
            context.now.monotonic.saturating_sub(since)
        };
        let none = |cause| Some(Wait { most: Duration::ZERO, heard_for: Duration::MAX, cause });
        let wait = |signer: usize| match nack(signer) {
            _ if set.accuses(signer) => none(FailureCause::Guilty),
            Some(NackKind::Unreachable) => none(FailureCause::Nack),
            Some(NackKind::Rejected) => none(FailureCause::Rejected),
            None if gone(signer) => none(FailureCause::Gone),
            None if lacks(signer) => Some(Wait {
                most: if mutation::on(Mutation::HoldWithoutGrace) {
                    Duration::ZERO
                } else {
                    limits::HOLD_AFTER
                },
                heard_for: heard_for(signer),
                cause: FailureCause::NotHolding,
            }),
            None => None,
        };
        let observer = settings.observer && known;
        let timeout = self.watch.as_ref().map(|watch| watch.turns().timeout()).unwrap_or_default();
        let seen_by = if observer { SeenBy::Observer } else { SeenBy::Application };
        let surroundings = Surroundings {
            observer,
            pace: if settings.early_turns.pace { context.pace.wait(seen_by, timeout) } else { timeout },
            broadcaster: settings.broadcaster && known,
            final_depth: settings.final_depth.max(1),
            wait: &wait,
            nacked: &|signer: usize| nack(signer).is_some(),
            alone: !agreement.others().any(|signer| context.reaches(key(signer))),
        };
        self.watch.as_mut().map(|watch| act(watch, &surroundings)).unwrap_or_default()
    }

    // ---- At rest ----

    pub fn pack(self) -> PackedBroadcast {
        PackedBroadcast {
            signatures: self.certificate.signatures.into_iter().flat_map(|signature| signature.0).collect(),
            watch: self.watch.as_ref().map(Watch::pack),
            holder_since: nanoseconds(self.holder_since),
            named_txid: self.named_txid.map(|txid| txid.0.to_vec()),
        }
    }

    pub fn unpack(packed: PackedBroadcast, agreement: &Agreement, codec: &dyn TransactionCodec) -> Self {
        let unpack = |turns| Watch::unpack(turns, agreement.own, packed.watch.unwrap_or_default());
        let watch = agreement.turns().map(unpack);
        let certificate = unpack_certificate(&packed.signatures, agreement.id());
        let named_txid = packed.named_txid.and_then(|txid| txid.try_into().ok()).map(Txid);
        Self::with(
            certificate,
            watch,
            Duration::from_nanos(packed.holder_since),
            named_txid,
            agreement,
            codec,
        )
    }
}

impl PackedBroadcast {
    pub fn certificate(&self, session: crate::types::SessionId) -> Certificate {
        unpack_certificate(&self.signatures, session)
    }
}

fn unpack_certificate(signatures: &[u8], session: crate::types::SessionId) -> Certificate {
    Certificate { session, signatures: signatures.chunks(64).filter_map(Signature::from_slice).collect() }
}

/// When a signer counts as gone if nothing more is heard of it. `None`: it is connected and answers, or was not connected
/// since shortly before this node had the signatures: who was never connected may be reached by others.
fn gone_at(
    holder_since: Duration,
    signer: usize,
    agreement: &Agreement,
    context: &Context<'_>,
) -> Option<Duration> {
    let key = &agreement.proposal.signers[signer];
    let changed = context.changed.get(key).copied();
    let mut lost = changed.filter(|_| !context.reaches(key));
    if mutation::on(Mutation::StarIsGone) && signer != agreement.own && !context.connected.contains(key) {
        lost = lost.or(Some(holder_since));
    }
    let lost = lost.filter(|_| context.settings.early_turns.gone)?;
    let grace = if mutation::on(Mutation::GoneWithoutGrace) { Duration::ZERO } else { limits::GONE_AFTER };
    let recent = lost.saturating_add(limits::GONE_BEFORE) >= holder_since;
    let heard = context.heard.get(key).copied().unwrap_or_default();
    recent.then(|| heard.max(lost).max(holder_since).saturating_add(grace))
}

#[cfg(test)]
mod tests {
    use super::super::testing::agreement;
    use super::*;
    use crate::protocol::transaction::NoTransactions;
    use crate::types::UnixMillis;

    #[test]
    fn a_restored_and_an_unpacked_broadcast_hold_the_same_certificate_and_turns() {
        let agreement = agreement(1);
        let certificate = Certificate { session: agreement.id(), signatures: vec![Signature([7; 64]); 2] };
        let now = Time { wall: UnixMillis(5000), monotonic: Duration::from_secs(3) };
        let mut broadcast = Broadcast::new(certificate.clone(), &agreement, &NoTransactions, now);
        broadcast.name_txid(Some(Txid([4; 32])));
        broadcast.name_txid(None);
        let record = broadcast.store(now);
        let mut restored =
            Broadcast::restore(certificate.clone(), record.as_ref(), &agreement, &NoTransactions, now);
        assert_eq!(restored.store(now), record);
        assert_eq!(restored.certificate(), &certificate);
        assert_eq!(restored.txid(&agreement), None, "what the application said is said again");
        let packed = broadcast.pack();
        assert_eq!(packed.certificate(agreement.id()), certificate);
        let mut unpacked = Broadcast::unpack(packed.clone(), &agreement, &NoTransactions);
        assert_eq!(unpacked.store(now), record);
        assert_eq!(unpacked.certificate(), &certificate);
        assert_eq!(unpacked.txid(&agreement), Some(Txid([4; 32])));
        assert_eq!(unpacked.pack(), packed);
    }
}
