//! A session at rest, closed or in watch, as few bytes as may be. Nothing is lost but what its bytes give again.
//!
//! No signature is verified and no key aggregated when it is unpacked: its bytes never left this process.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use super::compare::Comparisons;
use super::{Ending, Session};
use crate::protocol::Time;
use crate::protocol::crypto::SessionKeys;
use crate::protocol::envelope_set::EnvelopeSet;
use crate::protocol::event::DurableKind;
use crate::protocol::failover::Watch;
use crate::protocol::failover::packed::{PackedWatch, bits, flags, nanoseconds};
use crate::protocol::proposal::Proposal;
use crate::protocol::transaction::{TransactionCodec, TransactionInfo};
use crate::protocol::wire::Certificate;
use crate::types::{SessionId, Signature, SignerKey, Txid, UnixMillis};

/// See the module.
pub struct Packed {
    /// The encoded proposal, and after it the encoded [`State`].
    bytes: Box<[u8]>,
    proposal: u32,
    envelopes: u32,
    envelope_bytes: u32,
    own: u8,
    pub closed: bool,
    joined: bool,
    certified: bool,
    pub own_turn_open: bool,
    /// Nothing is left to do or to tell: see [`Session::spent`].
    done: bool,
    /// Whether the application was told of everything.
    pub told: bool,
    expires_at: UnixMillis,
    /// As long as there is no certificate: to verify one.
    keys: Option<Arc<dyn SessionKeys>>,
    transaction: Option<Box<TransactionInfo>>,
    comparisons: Comparisons,
}

/// What is left of a session beside its proposal.
#[derive(Clone, PartialEq, prost::Message)]
struct State {
    #[prost(uint32, tag = "1")]
    attempts_used: u32,
    /// Bits: partial sent, closed, foreign envelope, consented, imported, stalled, ready reported.
    #[prost(uint32, tag = "2")]
    flags: u32,
    #[prost(uint32, tag = "3")]
    ending: u32,
    #[prost(bytes = "vec", tag = "4")]
    pending: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    watch: Option<PackedWatch>,
    /// Those of the certificate.
    #[prost(bytes = "vec", tag = "6")]
    signatures: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    set: Vec<u8>,
    #[prost(uint64, optional, tag = "8")]
    loaded_at: Option<u64>,
    #[prost(bytes = "vec", tag = "9")]
    compared: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    holders: Vec<u8>,
    #[prost(uint32, optional, tag = "11")]
    mismatch_told: Option<u32>,
    #[prost(uint32, optional, tag = "12")]
    nonces_held: Option<u32>,
    #[prost(uint64, tag = "13")]
    compare_at: u64,
    #[prost(uint64, tag = "14")]
    compare_every: u64,
    #[prost(uint32, tag = "15")]
    compare_next: u32,
    #[prost(uint64, tag = "16")]
    progress_at: u64,
    #[prost(uint32, optional, tag = "17")]
    nonces_reported: Option<u32>,
    #[prost(uint32, optional, tag = "18")]
    bad_nonces: Option<u32>,
    #[prost(uint64, tag = "19")]
    holder_at: u64,
    #[prost(bytes = "vec", optional, tag = "20")]
    claimed_txid: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "21")]
    failed_at: Option<u32>,
}

impl Session {
    /// Whether it has come to rest: nothing is under way, and nothing is to be written or handed out.
    pub fn at_rest(&self) -> bool {
        let settled = self.closed || self.certificate.is_some();
        let asks_nobody = self.tickets.is_empty() && self.requests.is_empty() && self.signer_retry.is_none();
        let written = self.effects.is_empty() && self.records.is_empty() && !self.state_changed && !self.sync;
        settled && asks_nobody && written && self.own_proposal.is_none() && !self.set.is_empty()
    }

    /// Packs a session that is [at rest](Session::at_rest).
    pub fn pack(self, now: Duration) -> Packed {
        let envelopes = self.held();
        let (joined, own_turn_open) = (self.joined(), self.own_turn_open());
        let done = self.nothing_left();
        let mut set = Vec::new();
        self.set.pack(&self.proposal, &mut set);
        let failed_at = self.set.failed_at();
        // Every field is named, so that none that is added later is forgotten.
        let Self {
            proposal,
            keys,
            election: _,
            transaction,
            own,
            set: _,
            certificate,
            finished: _,
            watch,
            attempts_used,
            partial_sent,
            closed,
            ending,
            pending,
            foreign_envelope,
            consented,
            own_proposal: _,
            loaded_at,
            compared,
            imported,
            mismatch_told,
            nonces_held,
            tickets: _,
            signer_retry: _,
            requests: _,
            holders,
            mut comparisons,
            // What was looked at is looked at again.
            proofs_checked: _,
            looked_at: _,
            tried: _,
            round: _,
            compare_at,
            compare_every,
            compare_next,
            progress_at,
            stalled,
            ready_reported,
            nonces_reported,
            bad_nonces,
            holder_at,
            claimed_txid,
            effects: _,
            records: _,
            state_changed: _,
            sync: _,
            rested_at: _,
        } = self;
        let certified = certificate.is_some();
        let indices = |signers: std::collections::HashSet<usize>| {
            let mut signers: Vec<u8> = signers.into_iter().map(|signer| signer as u8).collect();
            signers.sort_unstable();
            signers
        };
        let told = pending.is_empty();
        let state = State {
            attempts_used,
            flags: bits([
                partial_sent,
                closed,
                foreign_envelope,
                consented,
                imported,
                stalled,
                ready_reported,
            ]),
            ending: ending.map_or(0, |ending| ending as u32),
            pending: pending.into_iter().map(|kind| kind as u8).collect(),
            watch: watch.map(|watch| watch.pack()),
            signatures: certificate.into_iter().flat_map(|it| it.signatures).flat_map(|it| it.0).collect(),
            set,
            loaded_at: loaded_at.map(nanoseconds),
            compared: indices(compared),
            // Who holds the certificate matters until it is here.
            holders: if certified { Vec::new() } else { indices(holders) },
            mismatch_told,
            nonces_held,
            compare_at: nanoseconds(compare_at),
            compare_every: nanoseconds(compare_every),
            compare_next: compare_next as u32,
            progress_at: nanoseconds(progress_at),
            nonces_reported,
            bad_nonces,
            holder_at: nanoseconds(holder_at),
            claimed_txid: claimed_txid.map(|txid| txid.0.to_vec()),
            failed_at,
        };
        let encoded = proposal.as_bytes();
        let mut bytes = Vec::with_capacity(encoded.len() + state.encoded_len());
        bytes.extend(encoded);
        state.encode(&mut bytes).expect("a vector grows");
        comparisons.forget_old(now);
        Packed {
            proposal: encoded.len() as u32,
            bytes: bytes.into(),
            envelopes: envelopes.0 as u32,
            envelope_bytes: envelopes.1 as u32,
            own: own as u8,
            closed,
            joined,
            certified,
            own_turn_open,
            done,
            told,
            expires_at: proposal.expires_at,
            keys: keys.filter(|_| !certified),
            transaction,
            comparisons,
        }
    }
}

impl Packed {
    /// How many envelopes it holds, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.envelopes as usize, self.envelope_bytes as usize)
    }

    pub fn own_index(&self) -> usize {
        self.own.into()
    }

    /// See [`Session::spent`].
    pub fn spent(&self, now: UnixMillis) -> bool {
        self.done && now >= self.expires_at
    }

    pub fn proposal(&self, id: SessionId) -> Proposal {
        let bytes = &self.bytes[..self.proposal as usize];
        Proposal::unpack(bytes, id).expect("it was checked before it was packed")
    }

    /// The index of a signer, found without reading the rest.
    pub fn index_of(&self, key: &SignerKey) -> Option<usize> {
        Proposal::packed_index_of(&self.bytes[..self.proposal as usize], key)
    }

    /// Whether a comparison with this signer is not answered now: no need to unpack it for that.
    pub fn compares_no_more(&self, with: usize, now: Time) -> bool {
        self.closed || self.comparisons.full(with, now.monotonic)
    }

    /// Whether a certificate changes nothing: it is here, or this node never consented.
    pub fn needs_no_certificate(&self) -> bool {
        self.certified || !self.joined
    }

    fn state(&self) -> State {
        State::decode(&self.bytes[self.proposal as usize..]).expect("it was packed here")
    }

    /// The signatures, if they are finished.
    pub fn certificate(&self, session: SessionId) -> Option<Certificate> {
        let signatures: Vec<Signature> =
            self.state().signatures.chunks(64).filter_map(Signature::from_slice).collect();
        Some(Certificate { session, signatures }).filter(|_| self.certified)
    }

    /// The same session again.
    pub fn unpack(&self, id: SessionId, codec: &dyn TransactionCodec) -> Session {
        let state = self.state();
        let proposal = self.proposal(id);
        let set = EnvelopeSet::unpack(&state.set, &proposal).expect("it was packed here");
        let own = self.own_index();
        let transaction = self.transaction.clone();
        let mut session = Session::begin(proposal, own, self.keys.clone(), transaction, Duration::ZERO)
            .expect("it was elected before");
        let [partial_sent, closed, foreign_envelope, consented, imported, stalled, ready_reported] =
            flags(state.flags);
        let indices = |bytes: Vec<u8>| bytes.into_iter().map(usize::from).collect();
        session.set = set;
        state.failed_at.into_iter().for_each(|attempt| session.set.keep_attempt(attempt));
        session.attempts_used = state.attempts_used;
        session.partial_sent = partial_sent;
        session.closed = closed;
        session.ending = Ending::from_number(state.ending);
        session.pending =
            state.pending.iter().filter_map(|kind| DurableKind::from_number((*kind).into())).collect();
        session.foreign_envelope = foreign_envelope;
        session.consented = consented;
        session.loaded_at = state.loaded_at.map(Duration::from_nanos);
        session.compared = indices(state.compared);
        session.imported = imported;
        session.mismatch_told = state.mismatch_told;
        session.nonces_held = state.nonces_held;
        session.holders = indices(state.holders);
        session.comparisons = self.comparisons.clone();
        session.compare_at = Duration::from_nanos(state.compare_at);
        session.compare_every = Duration::from_nanos(state.compare_every);
        session.compare_next = state.compare_next as usize;
        session.progress_at = Duration::from_nanos(state.progress_at);
        session.stalled = stalled;
        session.ready_reported = ready_reported;
        session.nonces_reported = state.nonces_reported;
        session.bad_nonces = state.bad_nonces;
        session.holder_at = Duration::from_nanos(state.holder_at);
        session.claimed_txid = state.claimed_txid.and_then(|txid| txid.try_into().ok()).map(Txid);
        session.records.clear();
        session.state_changed = false;
        let (turns, own) = (session.turns(), session.own);
        session.watch = state.watch.map(|watch| Watch::unpack(turns, own, watch));
        if let Some(certificate) = self.certificate(id) {
            session.install_certificate(certificate, codec);
        }
        session
    }
}
