//! The target of arbitrary input sequences: bytes become what happens to a cluster, one action after the other. The
//! last signer may be byzantine: it signs whatever the bytes say. The others run the engine, and must stay honest.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use libmusig::EarlyTurns;
use libmusig::protocol::crypto::{NONCE, PARTIAL, Scheme};
use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::{Content, Envelope, NackKind, Proof};
use libmusig::protocol::event::Event;
use libmusig::protocol::proposal::{Broadcast, Tiers};

use crate::party::policy;
use libmusig::protocol::status::Phase;
use libmusig::protocol::wire::{self, Certificate, pb};
use libmusig::protocol::{Output, RequestId, Time, limits};
use libmusig::types::{ChainStatus, SessionId, Signature, SubmitOutcome, Txid};

use crate::cluster::{Broadcaster, Cluster, Consent, Duty, EPOCH, Fate, Options};
use crate::disk::Snapshot;
use crate::double::Double;

/// More actions than this are not looked at: each input is to take milliseconds.
const ACTIONS: usize = 48;
/// Outputs and sent bytes of one step of the cluster: far above what honest runs need, far below a flood.
const OUTPUTS: usize = 400;
const SENT: usize = 256 << 10;
/// Outputs after which a machine asks itself for ever, whatever happens between two steps.
const ENDLESS: usize = 1_000_000;
const EXPIRY: Duration = Duration::from_secs(24 * 3600);

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// The next byte; 0 once there is none.
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.next()) % end
    }

    fn coin(&mut self) -> bool {
        self.next() % 2 == 1
    }

    /// At most as many bytes as the next one says.
    fn some(&mut self) -> &'a [u8] {
        let length = usize::from(self.next()).min(self.0.len());
        let (some, rest) = self.0.split_at(length);
        self.0 = rest;
        some
    }

    fn duration(&mut self) -> Duration {
        const MILLIS: [u64; 8] = [1, 3, 7, 20, 150, 1_000, 4_000, 11_000];
        Duration::from_millis(MILLIS[self.below(MILLIS.len())])
    }
}

/// What honest nodes said on the wire, and what came out of one step.
#[derive(Default)]
struct Seen {
    envelopes: Vec<Envelope>,
    outputs: usize,
    sent: usize,
}

struct Script<'a> {
    input: Bytes<'a>,
    cluster: Cluster,
    sessions: Vec<SessionId>,
    byzantine: Option<usize>,
    /// Nodes of which a promise about synced writes does not hold: an older disk, a second instance.
    excused: BTreeSet<usize>,
    /// Nodes whose clock was ahead: they may have forgotten what expired, and a restart forgets that they did.
    ahead: BTreeSet<usize>,
    seen: Rc<RefCell<Seen>>,
    snapshots: Vec<(usize, Snapshot)>,
    exports: Vec<(usize, RequestId, Vec<u8>)>,
}

pub fn machine(bytes: &[u8]) {
    let mut script = Script::new(Bytes(bytes));
    for _ in 0..ACTIONS {
        if script.input.0.is_empty() {
            break;
        }
        script.act();
    }
    script.check();
    script.heal();
    script.run(Duration::from_secs(30));
    script.check();
    script.cluster.leap(EXPIRY + Duration::from_secs(60));
    script.check();
    script.check_ends();
}

impl<'a> Script<'a> {
    fn new(mut input: Bytes<'a>) -> Self {
        let (signers, flags) = (1 + input.below(4), input.next());
        let mut options = Options::new(signers);
        let flag = |bit: u8| flags & 1 << bit != 0;
        options.settings.observer = !flag(0);
        options.settings.broadcaster = !flag(1);
        options.settings.final_depth = if flag(2) { 1 } else { 6 };
        options.settings.early_turns = if flag(3) { EarlyTurns::OFF } else { EarlyTurns::default() };
        options.sync = Duration::from_millis(if flag(4) { 9 } else { 0 });
        options.sign = Duration::from_millis(if flag(5) { 4 } else { 0 });
        let mut keys: Vec<usize> = (0..signers).collect();
        let byzantine = (flag(6) && signers > 1).then_some(signers - 1);
        let mut excused = BTreeSet::new();
        if flag(7) {
            keys.push(0);
            excused.extend([0, signers]);
        }
        let mut cluster = Cluster::with_keys(options, &keys);
        cluster.watched = true;
        let seen: Rc<RefCell<Seen>> = Rc::default();
        let said = seen.clone();
        cluster.on_envelope = Some(Box::new(move |_, _, envelope| {
            let envelopes = &mut said.borrow_mut().envelopes;
            if envelopes.len() < 256 && !envelopes.contains(envelope) {
                envelopes.push(envelope.clone());
            }
            vec![envelope.clone()]
        }));
        let put_out = seen.clone();
        cluster.on_output = Some(Box::new(move |_, output| {
            let mut seen = put_out.borrow_mut();
            seen.outputs += 1;
            assert!(seen.outputs <= ENDLESS, "a step that does not end");
            if let Output::Send { frame, .. } = output {
                assert!(frame.len() <= limits::FRAME, "nobody takes a frame above the limit");
                seen.sent += frame.len();
            }
            Fate::Happens
        }));
        let (sessions, snapshots, exports) = (Vec::new(), Vec::new(), Vec::new());
        let ahead = BTreeSet::new();
        Self { input, cluster, sessions, byzantine, excused, ahead, seen, snapshots, exports }
    }

    fn node(&mut self) -> usize {
        let nodes = self.cluster.nodes.len();
        self.input.below(nodes)
    }

    fn session(&mut self) -> SessionId {
        match self.sessions.len() {
            0 => SessionId([9; 32]),
            count => self.sessions[self.input.below(count)],
        }
    }

    fn run(&mut self, duration: Duration) {
        let until = self.cluster.now() + duration;
        loop {
            (self.seen.borrow_mut().outputs, self.seen.borrow_mut().sent) = (0, 0);
            let more = self.cluster.step(until);
            let seen = self.seen.borrow();
            assert!(seen.outputs <= OUTPUTS, "{} outputs at once", seen.outputs);
            assert!(seen.sent <= SENT, "{} bytes at once", seen.sent);
            if !more {
                return;
            }
        }
    }

    fn ask(&mut self, node: usize, act: impl FnOnce(&mut Engine, RequestId, Time)) {
        let request = self.cluster.request();
        self.cluster.drive(node, |engine, now| act(engine, request, now));
    }

    fn act(&mut self) {
        match self.input.below(32) {
            0..=5 => {
                let duration = self.input.duration();
                self.run(duration);
            }
            6 | 7 => self.create(),
            8 => self.crash(),
            9 => {
                let node = self.node();
                if !self.cluster.nodes[node].alive() {
                    self.cluster.start(node);
                }
            }
            10 => self.snapshot(),
            11 => {
                let node = self.node();
                if self.cluster.nodes[node].asleep {
                    self.cluster.wake(node);
                } else if self.cluster.nodes[node].alive() {
                    self.cluster.sleep(node);
                }
            }
            12 => {
                let (one, other, cut) = (self.node(), self.node(), self.input.coin());
                if one != other {
                    self.cluster.cut(one, other, cut);
                }
            }
            13 => {
                let (from, to) = (self.node(), self.node());
                let (lost, by) = (u64::from(self.input.next()) * 4, self.input.duration());
                self.cluster.lose(from, to, lost);
                self.cluster.slow(from, to, by);
            }
            14 | 15 => self.request(),
            16 => self.application(),
            17 => self.chain(),
            18 => self.answer(),
            19 => {
                let node = self.node();
                let hours = i64::from(self.input.next() as i8);
                self.cluster.nodes[node].skew = hours * 3_600_000;
                if hours > 0 {
                    self.ahead.insert(node);
                }
            }
            20 => self.export(),
            21 => self.import(),
            22 | 23 => self.repeat(),
            24 => self.compare(),
            25 => self.certificate(),
            26 => {
                let (from, to, frame) = (self.node(), self.node(), self.input.some().to_vec());
                self.cluster.deliver(from, to, frame.into());
            }
            27..=30 => self.forge(),
            _ => {
                let hours = self.input.below(13) as u64;
                self.cluster.leap(Duration::from_secs(hours * 3600));
            }
        }
    }

    fn create(&mut self) {
        let node = self.node();
        let kind = self.input.next();
        if !self.cluster.nodes[node].alive() || self.sessions.len() >= 4 {
            return;
        }
        let mut terms = if kind & 1 == 0 { self.cluster.terms() } else { self.cluster.raw_terms() };
        let tiers = [Tiers::Single, Tiers::Doubling, Tiers::Fixed(2)][usize::from(kind >> 2) % 3];
        match kind & 0x42 {
            0 => policy(&mut terms).tiers = tiers,
            2 => terms.broadcast = Broadcast::CoordinatorOnly,
            _ => terms.broadcast = Broadcast::SignOnly,
        }
        terms.replaces = self.sessions.last().copied().filter(|_| kind & 32 != 0);
        terms.expires_at = EPOCH.saturating_add(self.cluster.now() + EXPIRY);
        // A clock that is wrong by days may refuse its own proposal.
        terms.proposer = terms.index_of(&self.cluster.nodes[node].key).expect("a signer");
        let wall = self.cluster.time(node).wall;
        let proposal = libmusig::protocol::proposal::Proposal::new(terms.clone()).expect("valid terms");
        if proposal.check_expiry(wall, std::time::Duration::ZERO).is_ok() {
            self.sessions.push(self.cluster.create_with(node, terms));
        }
    }

    fn crash(&mut self) {
        let (node, keep, starts) = (self.node(), self.input.below(4), self.input.coin());
        if self.cluster.nodes[node].alive() {
            self.cluster.crash_keeping(node, keep);
            if self.ahead.contains(&node) {
                self.excused.insert(node);
            }
            if starts {
                self.cluster.start(node);
            }
        }
    }

    /// Keeps what is on a disk, or puts it back.
    fn snapshot(&mut self) {
        let (node, back) = (self.node(), self.input.coin());
        if !back {
            let snapshot = self.cluster.nodes[node].disk.snapshot();
            self.snapshots.push((node, snapshot));
        } else if let Some((node, snapshot)) = self.snapshots.pop() {
            self.excused.insert(node);
            if self.cluster.nodes[node].alive() {
                self.cluster.crash(node);
            }
            self.cluster.nodes[node].disk.restore(snapshot);
            self.cluster.start(node);
        }
    }

    fn request(&mut self) {
        let (node, session, what) = (self.node(), self.session(), self.input.below(11));
        let reason = String::from_utf8_lossy(self.input.some()).into_owned();
        if what == 0 {
            self.cluster.consented.insert((node, session));
        }
        self.ask(node, |engine, request, now| {
            let _ = match what {
                0 => engine.join(&session, request, now),
                1 => engine.decline(&session, reason, request, now),
                2 => engine.abort(&session, reason, request, now),
                3 => engine.close(&session, request, now),
                4 => engine.notify_broadcast(&session, None, request, now),
                5 => engine.notify_broadcast(&session, Some(Txid([3; 32])), request, now),
                6 => engine.report_broadcast_failed(&session, reason, request, now),
                7 => engine.broadcast_now(&session, request, now),
                8 => {
                    engine.redeliver(now);
                    Ok(())
                }
                9 => engine.abandon(&session, request, now),
                _ => {
                    engine.woke(now);
                    Ok(())
                }
            };
        });
    }

    fn application(&mut self) {
        let node = self.node();
        let (one, two) = (self.input.next(), self.input.next());
        let application = &mut self.cluster.nodes[node].application;
        application.consent = [Consent::Joins, Consent::Waits, Consent::Declines][usize::from(one) % 3];
        application.acknowledges = one & 4 == 0;
        application.checks_claims = one & 8 == 0;
        application.delay = Duration::from_millis(if one & 16 == 0 { 0 } else { 700 });
        application.duty =
            [Duty::Submits, Duty::Ignores, Duty::SubmitsQuietly, Duty::OnlySays, Duty::CannotReach]
                [usize::from(one >> 5) % 5];
        let node = &mut self.cluster.nodes[node];
        node.broadcaster = match two % 5 {
            0 => Broadcaster::Works,
            1 => Broadcaster::Unreachable,
            2 => Broadcaster::Hangs,
            3 => Broadcaster::Lies,
            _ => Broadcaster::Rejects("no".into()),
        };
        node.observer_lag = (two & 32 == 0).then(|| Duration::from_secs(if two & 64 == 0 { 0 } else { 3 }));
        node.observer_hangs = two & 128 != 0;
    }

    fn chain(&mut self) {
        let (what, session, now) = (self.input.below(5), self.session(), self.cluster.now());
        let txid = self.cluster.chain.txid_of(&session);
        match (what, txid) {
            (0, _) => self.cluster.chain.mine(now),
            (1, _) => self.cluster.chain.mine_blocks(6, now),
            (2, Some(txid)) => self.cluster.chain.evict(&txid),
            (3, _) => self.cluster.chain.reorganise(2),
            (4, Some(txid)) => {
                let spends = self.cluster.chain.spent_by(&txid);
                self.cluster.chain.foreign(Txid([0xcc; 32]), spends, now);
            }
            _ => {}
        }
    }

    /// Answers that nobody asked for.
    fn answer(&mut self) {
        let (node, session, what) = (self.node(), self.session(), self.input.below(9));
        let confirmations = 1 + u32::from(self.input.next());
        self.ask(node, |engine, request, now| match what {
            0 => engine.observed(&session, None, now),
            1 => engine.observed(&session, Some(ChainStatus::Unknown), now),
            2 => engine.observed(&session, Some(ChainStatus::Seen), now),
            3 => {
                engine.observed(&session, Some(ChainStatus::Confirmed { height: 1, confirmations }), now);
            }
            4 => {
                let status = ChainStatus::Conflict { txid: Txid([5; 32]), confirmations };
                engine.observed(&session, Some(status), now);
            }
            5 => engine.submitted(&session, Ok(SubmitOutcome::Accepted), now),
            6 => engine.submitted(&session, Ok(SubmitOutcome::Rejected("no".into())), now),
            7 => engine.submitted(&session, Err("no network".into()), now),
            _ => {
                let error = libmusig::error::SignerError::Locked;
                engine.signed(&session, request % 16, Err(error), now);
            }
        });
    }

    fn export(&mut self) {
        let (node, session) = (self.node(), self.session());
        let request = self.cluster.request();
        let export = self.cluster.drive(node, |engine, now| engine.request_export(&session, request, now));
        if let Some(Ok(bytes)) = export {
            self.exports.push((node, request, bytes));
        }
    }

    /// Brings an export to a node, whole or damaged. It is handed out only once all of it is on the disk.
    fn import(&mut self) {
        let (node, which, damage) = (self.node(), self.input.next(), self.input.next());
        let cluster = &self.cluster;
        let out = |(node, request, _): &&(usize, RequestId, Vec<u8>)| {
            cluster.nodes[*node].done.iter().any(|(done, result)| done == request && result.is_ok())
        };
        let ready: Vec<&Vec<u8>> = self.exports.iter().filter(out).map(|(.., bytes)| bytes).collect();
        let Some(bytes) = ready.get(usize::from(which) % ready.len().max(1)) else { return };
        let mut bytes = bytes.to_vec();
        // A session of which nothing is on the disk yet has an empty one.
        let position = usize::from(damage) * 7 % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(position).filter(|_| damage > 0) {
            *byte ^= self.input.next();
        }
        self.cluster.drive(node, |engine, now| engine.import(&bytes, now).ok());
    }

    /// An envelope that was on the wire comes again, from anybody, whole or damaged.
    fn repeat(&mut self) {
        let (from, to, which, damage) = (self.node(), self.node(), self.input.next(), self.input.next());
        let seen = self.seen.borrow();
        let Some(envelope) = seen.envelopes.get(usize::from(which) % seen.envelopes.len().max(1)) else {
            return;
        };
        let mut bytes = envelope.as_bytes().to_vec();
        let (session, signers) = (envelope.body().session.0.to_vec(), vec![which, 0, 1, 2, 3, 1]);
        let lacking = vec![pb::Lacking { session, signers }];
        drop(seen);
        if damage > 0 {
            let position = usize::from(damage) * 3 % bytes.len();
            bytes[position] ^= self.input.next();
        }
        let envelopes = vec![bytes.clone(), bytes];
        let frame = pb::Frame { envelopes, lacking, ..pb::Frame::default() };
        self.cluster.deliver(from, to, wire::encode(&frame).into());
    }

    fn compare(&mut self) {
        let (from, to, session, kind) = (self.node(), self.node(), self.session(), self.input.next());
        let envelopes = match kind & 3 {
            0 => Vec::new(),
            1 => self.input.some().to_vec(),
            _ => self.seen.borrow().envelopes.iter().take(usize::from(kind)).flat_map(|e| e.id().0).collect(),
        };
        let have = pb::Have {
            session: session.0.to_vec(),
            envelopes,
            certificate: kind & 64 != 0,
            answer: kind & 128 != 0,
            // Of all times, and none.
            time: u64::from_be_bytes([kind; 8]) >> (kind & 63),
        };
        let unknown = pb::Have { session: vec![kind; 32], ..pb::Have::default() };
        let have = vec![have.clone(), have, unknown];
        self.cluster.deliver(from, to, wire::encode(&pb::Frame { have, ..pb::Frame::default() }).into());
    }

    /// A certificate, real or not.
    fn certificate(&mut self) {
        let (from, to, session, damage) = (self.node(), self.node(), self.session(), self.input.next());
        let real = self.cluster.nodes.iter().find_map(|node| node.engine.as_ref()?.certificate(&session));
        let made = Certificate { session, signatures: vec![Signature([damage; 64])] };
        let mut certificate = real.unwrap_or(made);
        if damage > 0 {
            let (first, position) = (&mut certificate.signatures[0], usize::from(damage) % 64);
            first.0[position] ^= damage;
        }
        let certificates = vec![certificate.to_wire()];
        let frame = wire::encode(&pb::Frame { certificates, ..pb::Frame::default() });
        self.cluster.deliver(from, to, frame.into());
    }

    /// The byzantine signer says what it likes.
    fn forge(&mut self) {
        let (session, to, kind) = (self.session(), self.node(), self.input.below(10));
        let (attempt, length) = (self.input.below(6) as u32, self.input.next());
        let filler = self.input.next();
        let Some(node) = self.byzantine else { return };
        let proposal = self.cluster.nodes.iter().find_map(|node| node.engine.as_ref()?.proposal(&session));
        let Some(proposal) = proposal else { return };
        let messages = proposal.messages.len();
        let reason = "r".repeat(usize::from(length) * 2);
        // Long enough most of the time: then only what is in it is wrong.
        let long = |each: usize| if length < 224 { each * messages } else { usize::from(length) };
        let transcript = |seen: &Seen| {
            seen.envelopes.iter().rev().find_map(|envelope| match envelope.content() {
                Content::Partial { transcript, .. } if envelope.body().session == session => {
                    Some(*transcript)
                }
                _ => None,
            })
        };
        let content = match kind {
            0 => Content::Proposal(proposal.as_bytes().to_vec()),
            1 => Content::Accept,
            2 | 3 => {
                let mut nonces = vec![filler; long(NONCE)];
                if kind == 3 {
                    nonces.iter_mut().step_by(NONCE / 2).for_each(|byte| *byte = 2);
                }
                Content::Nonces { attempt, nonces }
            }
            4 | 5 => {
                let seen = self.seen.borrow();
                let transcript = transcript(&seen).filter(|_| kind == 5).unwrap_or([filler; 32]);
                Content::Partial { attempt, transcript, partials: vec![filler; long(PARTIAL)] }
            }
            6 => Content::Restart { ordinal: attempt },
            7 => Content::Decline { reason },
            8 if filler < 128 => Content::Abort { reason },
            8 => {
                let kind = NackKind::ALL[reason.len() % NackKind::ALL.len()];
                Content::Nack { kind, reason }
            }
            _ => Content::Claim { txid: Txid([filler; 32]) },
        };
        let Some(index) = proposal.index_of(&self.cluster.nodes[node].key) else { return };
        let envelope = self.cluster.forge(node, session, index, content);
        self.cluster.inject(node, to, &[envelope]);
    }

    /// All faults end. The byzantine signer stays what it is.
    fn heal(&mut self) {
        let nodes = self.cluster.nodes.len();
        for node in 0..nodes {
            self.cluster.nodes[node].skew = 0;
            for other in 0..nodes {
                self.cluster.lose(node, other, 0);
                self.cluster.slow(node, other, Duration::ZERO);
                if other > node {
                    self.cluster.cut(node, other, false);
                }
            }
        }
        for node in 0..nodes {
            if !self.cluster.nodes[node].alive() {
                self.cluster.start(node);
            }
            if self.cluster.nodes[node].asleep {
                self.cluster.wake(node);
            }
        }
    }

    /// Whether everything that is promised of a node holds of it.
    fn honest(&self, node: usize) -> bool {
        self.byzantine != Some(node) && !self.excused.contains(&node)
    }

    fn check(&mut self) {
        let cluster = &self.cluster;
        let log = cluster.nonces.lock().expect("no panic");
        assert!(log.reused.is_empty(), "S1: nonces of {:?} served two challenges", log.reused);
        drop(log);
        assert!(cluster.unasked.is_empty(), "S7: signed unasked: {:?}", cluster.unasked);
        for (key, session) in &cluster.equivocated {
            let node = cluster.nodes.iter().position(|node| node.key == *key).expect("a node");
            assert!(!self.honest(node), "S2: node {node} said two things at one place in {session}");
        }
        for node in (0..cluster.nodes.len()).filter(|node| self.byzantine != Some(*node)) {
            for session in &self.sessions {
                self.check_session(node, session);
            }
        }
    }

    fn check_session(&self, node: usize, session: &SessionId) {
        let cluster = &self.cluster;
        if let Some(engine) = &cluster.nodes[node].engine
            && let Some(certificate) = engine.certificate(session)
        {
            let proposal = engine.proposal(session).expect("it is known");
            let keys = Double.aggregate_keys(&proposal).expect("a double takes all keys");
            assert!(keys.verify_signatures(&certificate.signatures), "S3: a false certificate");
        }
        for (_, event) in cluster.events(node, session) {
            match event {
                Event::SessionFailed { culprits, proofs, .. } => {
                    assert!(!proofs.is_empty() && !culprits.is_empty(), "S4: no proof");
                    for culprit in culprits {
                        assert!(!self.honest(*culprit), "S4: node {node} convicts honest {culprit}");
                    }
                    for proof in proofs {
                        let verdict = Proof::verify(&Double, proof).expect("S4: the proof holds by itself");
                        assert!(culprits.contains(&verdict.signer) && verdict.session == *session);
                    }
                }
                Event::KeyInUseElsewhere => {
                    assert!(!self.honest(node), "S4: node {node} takes its own words for another's");
                }
                Event::SessionStalled { missing, .. } => assert!(!missing.is_empty(), "V9"),
                _ => {}
            }
        }
    }

    /// V10: every session ends.
    fn check_ends(&mut self) {
        for node in 0..self.cluster.nodes.len() {
            let now = self.cluster.time(node);
            let Some(engine) = self.cluster.nodes[node].engine.as_mut() else { continue };
            for session in &self.sessions {
                let Some(status) = engine.status(session, now) else { continue };
                let open = matches!(status.phase, Phase::Proposed | Phase::Joined | Phase::Signing);
                assert!(!open, "V10: node {node}: {status:?}");
            }
        }
    }
}
