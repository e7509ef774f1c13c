//! Signers that do what no honest one does. They run the same engine; what they say is changed on its way, and more is
//! said in their names.

use std::sync::Arc;

use libmusig::protocol::crypto::{NONCE, PARTIAL};
use libmusig::protocol::envelope::{Body, Content, Envelope, NackKind, envelope_id};
use libmusig::protocol::limits;
use libmusig::protocol::proposal::{Derivation, Proposal};
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::LocalSigner;
use libmusig::types::{OutPoint, SessionId, Signature, Txid, UnixMillis};

use crate::aims;
use crate::run::Run;
use crate::scenario::{Attack, Byzantine, Scenario, Worthless};
use test_support::cluster::{Cluster, EPOCH, Random, key, kind_of, secret};
use test_support::double::{AllKeys, DoubleSigner, Foreign, transaction_with};

/// The key of a signer, for forgeries.
pub fn signer(index: usize, real: bool) -> Arc<dyn AllKeys> {
    if real {
        Arc::new(LocalSigner::new(secret(index)).expect("a small number"))
    } else {
        Arc::new(DoubleSigner::new(key(index), 0))
    }
}

pub fn sign(signer: &dyn AllKeys, body: Body) -> Envelope {
    let signature = signer.sign(&envelope_id(&body.encode()).0).expect("it is not locked");
    Envelope::new(body, signature)
}

/// Lets the byzantine signers of a scenario loose.
pub fn install(scenario: &Scenario, cluster: &mut Cluster) {
    let mut behaviours: Vec<_> = scenario.parts.iter().map(|part| part.byzantine.clone()).collect();
    if behaviours.iter().all(Option::is_none) {
        return;
    }
    behaviours.resize(cluster.nodes.len(), None);
    let does = behaviours.clone();
    cluster.on_frame = Some(Box::new(move |from, _, frame| {
        let Some(byzantine) = &does[from] else { return true };
        (!byzantine.hides_certificates || frame.certificates.is_empty())
            && (!byzantine.hides_all || frame.have.is_empty())
    }));
    let signers: Vec<_> = (0..scenario.signers()).map(|index| signer(index, scenario.real)).collect();
    let mut random = Random::new(scenario.seed ^ 0xb12a);
    let mut earlier: Vec<Envelope> = Vec::new();
    let mut copied: Option<Vec<u8>> = None;
    cluster.on_envelope = Some(Box::new(move |from, to, envelope| {
        let same = vec![envelope.clone()];
        let Some(byzantine) = &behaviours[from] else { return same };
        // What some signer withholds is not told by another.
        let by = behaviours.get(envelope.body().signer).and_then(Option::as_ref);
        let withheld = by.is_some_and(|by| by.withholds.contains(&kind_of(envelope.content())));
        if byzantine.repeats && !withheld && earlier.len() < 8 && random.chance(100) {
            earlier.push(envelope.clone());
        }
        let own = envelope.body().signer == from;
        if let (Content::Nonces { nonces, .. }, false) = (envelope.content(), own) {
            copied = Some(nonces.clone());
        }
        let target = byzantine.targets.get(to).copied().unwrap_or(true);
        if !own || !target {
            return if byzantine.repeats { [&same[..], &earlier[..]].concat() } else { same };
        }
        if byzantine.withholds.contains(&kind_of(envelope.content())) {
            return Vec::new();
        }
        let mut beside = Vec::new();
        let content = match envelope.content().clone() {
            Content::Nonces { attempt, mut nonces } if byzantine.other_nonces && nonces.len() > 7 => {
                nonces[7] ^= 1 + (to % 200) as u8;
                Content::Nonces { attempt, nonces }
            }
            Content::Nonces { attempt, nonces } if byzantine.unusable_nonces => {
                Content::Nonces { attempt, nonces: vec![9; nonces.len()] }
            }
            Content::Nonces { attempt, nonces } if byzantine.copies_nonces => {
                let length = nonces.len();
                let copy = copied.clone().filter(|copied| copied.len() == length).unwrap_or(nonces);
                Content::Nonces { attempt, nonces: copy }
            }
            Content::Nonces { attempt, .. } if byzantine.breaks_rules => {
                Content::Nonces { attempt, nonces: vec![2; 5] }
            }
            Content::Partial { attempt, transcript, mut partials }
                if byzantine.bad_partial && partials.len() > 3 =>
            {
                partials[3] ^= 1;
                Content::Partial { attempt, transcript, partials }
            }
            Content::Partial { attempt, transcript, mut partials }
                if byzantine.two_partials && partials.len() > 5 =>
            {
                partials[5] ^= 1 + (to % 200) as u8;
                beside.push(envelope.clone());
                Content::Partial { attempt, transcript, partials }
            }
            Content::Partial { attempt, partials, .. } if byzantine.lies_about_transcript => {
                Content::Partial { attempt, transcript: random.bytes(), partials }
            }
            _ => return same,
        };
        let changed = sign(signers[from].as_ref(), Body { content, ..envelope.body().clone() });
        beside.push(changed);
        beside
    }));
}

/// A claim or NACK that no honest application made, signed with the node's own key.
pub fn say_to_all(run: &mut Run, node: usize, content: Content) {
    let Some(begun) = run.sessions.last() else { return };
    let session = begun.id;
    send(run, node, &|_| true, session, &[content]);
}

/// Signs and sends to all others that `to` names.
fn send(run: &mut Run, node: usize, to: &dyn Fn(usize) -> bool, session: SessionId, contents: &[Content]) {
    let signer = signer(node, run.scenario.real);
    let body = |content: &Content| Body { session, signer: node, content: content.clone() };
    let envelopes: Vec<_> = contents.iter().map(|content| sign(signer.as_ref(), body(content))).collect();
    for other in (0..run.cluster.nodes.len()).filter(|other| *other != node && to(*other)) {
        run.cluster.inject(node, other, &envelopes);
    }
}

fn send_frame(run: &mut Run, node: usize, frame: &[u8]) {
    let frame: Arc<[u8]> = frame.into();
    for other in (0..run.cluster.nodes.len()).filter(|other| *other != node) {
        run.cluster.deliver(node, other, frame.clone());
    }
}

/// Something that no honest signer does, once.
pub fn attack(run: &mut Run, node: usize, attack: &Attack) {
    let Some(begun) = run.sessions.last().cloned() else { return };
    let (session, messages) = (begun.id, if begun.plan.raw { 1 } else { begun.plan.messages });
    let n = run.scenario.signers();
    let all = |_: usize| true;
    let mut random = Random::new(run.scenario.seed ^ run.cluster.now().as_micros() as u64);
    match attack {
        Attack::Certificate => {
            for begun in run.sessions.clone() {
                let signatures = (0..messages * 2).flat_map(|_| random.bytes()).collect();
                let certificates = vec![pb::Certificate { session: begun.id.0.to_vec(), signatures }];
                send_frame(run, node, &wire::encode(&pb::Frame { certificates, ..pb::Frame::default() }));
            }
        }
        Attack::Restarts(times) => {
            run.attacked = true;
            let restarts: Vec<_> = (1..=*times).map(|ordinal| Content::Restart { ordinal }).collect();
            send(run, node, &all, session, &restarts);
        }
        Attack::AbortTo(targets) => {
            run.attacked = true;
            let to = |other: usize| targets.get(other).copied().unwrap_or(false);
            send(run, node, &to, session, &[Content::Abort { reason: "for you".into() }]);
        }
        Attack::DeclineTo(targets) => {
            run.attacked = true;
            let to = |other: usize| targets.get(other).copied().unwrap_or(false);
            send(run, node, &to, session, &[Content::Decline { reason: "for you".into() }]);
        }
        Attack::Impersonate(victim) if *victim == node => {}
        Attack::Impersonate(victim) => {
            let own = signer(node, run.scenario.real);
            let contents = [
                Content::Abort { reason: "not me".into() },
                Content::Nonces { attempt: 0, nonces: vec![2; messages * NONCE] },
                Content::Restart { ordinal: 1 },
                Content::Nonces { attempt: 0, nonces: vec![1; 3] },
            ];
            for content in contents {
                let envelope = sign(own.as_ref(), Body { session, signer: *victim, content });
                for other in (0..n).filter(|other| *other != node) {
                    run.cluster.inject(node, other, std::slice::from_ref(&envelope));
                }
            }
        }
        Attack::Replay => {
            let withholds = |byzantine: &Byzantine| !byzantine.withholds.is_empty();
            if run.scenario.parts[node].byzantine.as_ref().is_some_and(withholds) {
                return;
            }

            let exports = run.sessions.iter().filter_map(|begun| {
                run.cluster.nodes[node].engine.as_ref().and_then(|engine| engine.export(&begun.id))
            });
            let exports: Vec<Vec<u8>> = exports.collect();
            for export in &exports {
                let frame: pb::Frame = wire::decode(export, "an export").expect("a frame");
                send_frame(run, node, export);
                // The same words under the last session's id, and the same signature.
                for bytes in frame.envelopes {
                    let mut message: pb::Envelope = wire::decode(&bytes, "an envelope").expect("one");
                    let mut body: pb::Body = wire::decode(&message.body, "a body").expect("a body");
                    body.session = session.0.to_vec();
                    message.body = wire::encode(&body);
                    let envelopes = vec![wire::encode(&message)];
                    send_frame(run, node, &wire::encode(&pb::Frame { envelopes, ..pb::Frame::default() }));
                }
            }
        }
        Attack::Flood => {
            run.attacked = true;
            let mut contents = Vec::new();
            for round in 0..5u8 {
                let kind = NackKind::ALL[usize::from(round) % NackKind::ALL.len()];
                let reason = || format!("flood {round}");
                contents.push(Content::Claim { txid: Txid([round; 32]) });
                contents.push(Content::Nack { kind, reason: reason() });
                contents.push(Content::Restart { ordinal: round.into() });
                contents.push(Content::Nonces { attempt: 0, nonces: vec![round; 7] });
                if random.chance(300) {
                    contents.push(Content::Decline { reason: reason() });
                    contents.push(Content::Abort { reason: "x".repeat(limits::REASON + usize::from(round)) });
                }
                for attempt in 0..6 {
                    let nonces = vec![2 + round % 2; messages * NONCE];
                    contents.push(Content::Nonces { attempt, nonces: [&[2][..], &nonces[1..]].concat() });
                    let partials = vec![round; messages * PARTIAL];
                    contents.push(Content::Partial { attempt, transcript: [round; 32], partials });
                }
            }
            send(run, node, &all, session, &contents);
            let have = |session: [u8; 32]| pb::Have { session: session.to_vec(), ..pb::Have::default() };
            for _ in 0..20 {
                let strange = (0..100).map(|_| have(random.bytes())).collect();
                send_frame(run, node, &wire::encode(&pb::Frame { have: strange, ..pb::Frame::default() }));
                let asked = vec![have(session.0)];
                send_frame(run, node, &wire::encode(&pb::Frame { have: asked, ..pb::Frame::default() }));
            }
        }
        Attack::EquivocateAlways => {
            run.attacked = true;
            let colluders: Vec<usize> = (0..n).filter(|node| !run.honest(*node)).collect();
            for attempt in 0..limits::RESTARTS * colluders.len() as u32 {
                let nonces = |last: u8| {
                    let mut nonces = vec![2; messages * NONCE];
                    nonces[40] = last;
                    Content::Nonces { attempt, nonces }
                };
                let partial = |last: u8| {
                    let partials = vec![last; messages * PARTIAL];
                    Content::Partial { attempt, transcript: [9; 32], partials }
                };
                let mut said: Vec<(usize, Content)> = Vec::new();
                for colluder in &colluders {
                    said.extend([1, 2, 3].map(|last| (*colluder, nonces(last))));
                    said.extend([1, 2, 3].map(|last| (*colluder, partial(last))));
                }
                let restarts = colluders[(attempt / limits::RESTARTS) as usize];
                said.push((restarts, Content::Restart { ordinal: attempt % limits::RESTARTS + 1 }));
                let envelopes: Vec<_> = said
                    .into_iter()
                    .map(|(colluder, content)| {
                        let signer = signer(colluder, run.scenario.real);
                        sign(signer.as_ref(), Body { session, signer: colluder, content })
                    })
                    .collect();
                for other in (0..n).filter(|other| *other != node) {
                    run.cluster.inject(node, other, &envelopes);
                }
            }
        }
        Attack::Proposals(number) => {
            for _ in 0..*number {
                let mut terms = run.cluster.raw_terms();
                terms.proposer = node;
                terms.expires_at =
                    EPOCH.saturating_add(run.cluster.now() + std::time::Duration::from_secs(30));
                let proposal = Proposal::new(terms).expect("valid terms");
                let content = Content::Proposal(proposal.as_bytes().to_vec());
                send(run, node, &all, proposal.id(), &[content]);
            }
        }
        Attack::Worthless(kind) => {
            let mut terms = run.cluster.raw_terms();
            terms.proposer = node;
            terms.expires_at = EPOCH.saturating_add(run.cluster.now() + std::time::Duration::from_secs(30));
            let [own, other] = [1, 2].map(|vout| OutPoint { txid: Txid(random.bytes()), vout });
            let foreign = match kind {
                Worthless::ForeignWitness => Foreign::Invalid,
                Worthless::UnverifiableWitness => Foreign::Unverifiable,
                Worthless::UnbroadcastParent | Worthless::BlindMessage => Foreign::Valid,
            };
            if *kind == Worthless::UnbroadcastParent {
                run.cluster.chain.withheld.insert(other);
            }
            let (transaction, messages) = transaction_with(&[own], &[(other, foreign)], &terms.entropy);
            if *kind == Worthless::BlindMessage {
                terms.messages[0].derivation = Derivation::key_path([0, 7]);
            } else {
                (terms.transaction, terms.messages) = (Some(transaction), messages);
            }
            let proposal = Proposal::new(terms).expect("valid terms");
            run.worthless.push((proposal.id(), *kind));
            let content = Content::Proposal(proposal.as_bytes().to_vec());
            send(run, node, &all, proposal.id(), &[content]);
        }
        Attack::Expiry(after) => {
            let mut terms = run.cluster.raw_terms();
            terms.proposer = node;
            let now = EPOCH.0 + run.cluster.now().as_millis() as u64;
            terms.expires_at = UnixMillis(now.saturating_add_signed(*after));
            let proposal = Proposal::new(terms).expect("valid terms");
            run.expiring.push((proposal.id(), proposal.expires_at));
            let content = Content::Proposal(proposal.as_bytes().to_vec());
            for _ in 0..3 {
                send(run, node, &all, proposal.id(), std::slice::from_ref(&content));
            }
        }
        Attack::Keys(aim, victim) => aims::attack(run, node, *victim, *aim),
        Attack::Garbage => {
            let certificate =
                pb::Certificate { session: session.0.to_vec(), signatures: Signature([3; 64]).0.to_vec() };
            let frame = pb::Frame { certificates: vec![certificate], ..pb::Frame::default() };
            let good = wire::encode(&frame);
            for _ in 0..8 {
                let mut bad = good.clone();
                let position = random.below(bad.len() as u64) as usize;
                bad[position] ^= 1 << random.below(8);
                bad.truncate(1 + random.below(bad.len() as u64) as usize);
                send_frame(run, node, &bad);
            }
        }
    }
}
