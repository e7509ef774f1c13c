//! Somebody with a network identity and a signer key of its own, who is no signer of the session and knows everything
//! about it: nothing that it sends changes anything, everything is counted, and the session goes on.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libmusig::event::Event;
use libmusig::net::{
    Multiaddr, NetCommand, NetEvent, Network, NetworkConfig, PresenceRecord, generate_identity, peer_id,
};
use libmusig::node::{Node, Refused, SessionRequest};
use libmusig::protocol::envelope::{Body, Content, Envelope, NackKind, envelope_id};
use libmusig::protocol::limits;
use libmusig::protocol::proposal::{Proposal, Terms, TransactionTerms};
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::{Identity, LocalSigner};
use libmusig::store::memory::MemoryStore;
use libmusig::store::schema::{self, Contents};
use libmusig::store::{Durability, Store};
use libmusig::types::{SessionId, Signature, SignerKey, Txid};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::Receiver;

use test_support::figures::figure;
use test_support::nodes::*;
use test_support::party::with_signers;

const N: usize = 3;

/// The network layer of an attacker, who speaks the protocol's outer forms correctly.
struct Outsider {
    runtime: Runtime,
    network: Network,
    events: Receiver<NetEvent>,
    signer: LocalSigner,
}

impl Outsider {
    fn connect_to(target: &Node) -> Self {
        Self::connect_from(target, Vec::new())
    }

    /// Claims to be reached at these addresses.
    fn connect_from(target: &Node, addresses: Vec<Multiaddr>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let signer = LocalSigner::generate().expect("random bytes");
        let identity = generate_identity();
        let presence = presence(&signer, peer_id(&identity).expect("an identity"), addresses, 1);
        let config = NetworkConfig { listen: Vec::new(), ..NetworkConfig::default() };
        let (network, events) =
            Network::start(runtime.handle(), config, &identity, Some(presence)).expect("starts");
        // Whoever proposes a session knows the key, and a node shows itself to nobody else.
        network.try_command(NetCommand::Seek(vec![target.signer_key()]));
        network.try_command(NetCommand::AddPeer(address(target).parse().expect("an address")));
        let mut outsider = Self { runtime, network, events, signer };
        let connected = outsider.until(|event| match event {
            NetEvent::SignerConnected { key, .. } => Some(*key),
            _ => None,
        });
        assert_eq!(connected, target.signer_key());
        outsider
    }

    fn until<T>(&mut self, mut wanted: impl FnMut(&NetEvent) -> Option<T>) -> T {
        let events = &mut self.events;
        self.runtime.block_on(async {
            let search = async {
                loop {
                    let event = events.recv().await.expect("the network runs");
                    if let Some(found) = wanted(&event) {
                        return found;
                    }
                }
            };
            tokio::time::timeout(PATIENCE, search).await.expect("waited too long for the network")
        })
    }

    fn send(&self, to: &Node, frame: Vec<u8>) {
        let key = to.signer_key();
        wait_until("there is room", || self.network.send(&key, frame.clone().into()));
    }

    fn sign(&self, body: Body) -> Envelope {
        let signature = self.signer.sign(&envelope_id(&body.encode()).0).expect("signs");
        Envelope::new(body, signature)
    }

    /// Proposes a session of the outsider's own with these signers.
    fn proposal(&self, signers: Vec<SignerKey>, number: u8, like: &Terms) -> (Proposal, Vec<u8>) {
        let signers: Vec<SignerKey> = [self.signer.public_key()].into_iter().chain(signers).collect();
        let mut terms = Terms { entropy: [number; 32], proposer: 0, replaces: None, ..like.clone() };
        with_signers(&mut terms, signers);
        let proposal = Proposal::new(terms).expect("is good");
        let content = Content::Proposal(proposal.as_bytes().to_vec());
        let envelope = self.sign(Body { session: proposal.id(), signer: 0, content });
        (proposal, frame(vec![envelope.as_bytes().to_vec()]))
    }
}

fn frame(envelopes: Vec<Vec<u8>>) -> Vec<u8> {
    wire::encode(&pb::Frame { envelopes, ..pb::Frame::default() })
}

/// One of every kind.
fn every_kind(proposal: &Proposal) -> Vec<Content> {
    let messages = proposal.messages.len();
    let words = || "an outsider".to_owned();
    vec![
        Content::Proposal(proposal.as_bytes().to_vec()),
        Content::Accept,
        Content::Nonces { attempt: 0, nonces: vec![2; 66 * messages] },
        Content::Partial { attempt: 0, transcript: [1; 32], partials: vec![1; 32 * messages] },
        Content::Restart { ordinal: 1 },
        Content::Decline { reason: words() },
        Content::Abort { reason: words() },
        Content::Claim { txid: Txid([9; 32]) },
        Content::Nack { kind: NackKind::Unreachable, reason: words() },
    ]
}

fn refused(node: &Node) -> Refused {
    node.metrics().wait().expect("runs").refused
}

/// Waits until a node refused as much as it was sent of a kind.
fn wait_refused(node: &Node, before: Refused, kind: fn(&Refused) -> u64, count: u64) {
    wait_until("all is refused", || kind(&refused(node)) - kind(&before) >= count);
    assert_eq!(kind(&refused(node)) - kind(&before), count);
}

/// Three connected signers, and a session that waits for the third one's consent.
fn begin() -> (Vec<Node>, SessionId) {
    let nodes: Vec<Node> = (0..N).map(|index| builder(secret(index)).start().expect("starts")).collect();
    connect(&nodes);
    let request = SessionRequest::messages(keys(N), vec![message(1)]);
    let id = nodes[0].create_session(request).wait().expect("is created").id();
    join_next(&nodes[1]);
    wait_until("it has two consents", || {
        nodes[0].session(id).status().wait().expect("known").accepted.len() == 2
    });
    (nodes, id)
}

/// The session goes on, and finishes.
fn finish(nodes: Vec<Node>, id: SessionId) {
    join_next(&nodes[2]);
    nodes.iter().for_each(|node| wait_complete(node, id));
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

#[test]
fn random_bytes_are_counted_and_change_nothing() {
    let (nodes, id) = begin();
    let outsider = Outsider::connect_to(&nodes[0]);
    let (before, status) = (refused(&nodes[0]), lasting_status(&nodes[0].session(id)));
    let mut bytes = vec![0; 4096];
    for length in 1..=500 {
        getrandom::fill(&mut bytes[..length]).expect("random bytes");
        // No frame begins with this byte.
        bytes[0] = 0xff;
        outsider.send(&nodes[0], bytes[..length].to_vec());
    }
    wait_refused(&nodes[0], before, |refused| refused.malformed, 500);
    // Good frames, cut short anywhere.
    let export = nodes[0].session(id).export().wait().expect("known");
    for length in (1..export.len()).step_by(7) {
        outsider.send(&nodes[0], export[..length].to_vec());
    }
    let cut = (1..export.len()).step_by(7).count() as u64;
    let bad = |refused: Refused| refused.malformed + refused.strangers;
    wait_until("all is refused", || bad(refused(&nodes[0])) - bad(before) >= 500 + cut);
    assert_eq!(lasting_status(&nodes[0].session(id)), status);
    finish(nodes, id);
}

/// Envelopes of every kind: signed by the outsider in each signer's name, in its own, and real ones of the session.
#[test]
fn every_kind_of_envelope_from_outside_changes_nothing() {
    let (nodes, id) = begin();
    let mut outsider = Outsider::connect_to(&nodes[0]);
    let (before, status) = (refused(&nodes[0]), lasting_status(&nodes[0].session(id)));
    let proposal = nodes[0].session(id).proposal().wait().expect("known");
    let export = nodes[0].session(id).export().wait().expect("known");
    let mut sent = 0;
    for signer in 0..=N {
        for content in every_kind(&proposal) {
            let envelope = outsider.sign(Body { session: id, signer, content });
            outsider.send(&nodes[0], frame(vec![envelope.as_bytes().to_vec()]));
            sent += 1;
        }
    }
    // Authentic ones, from somebody who has no business with them.
    outsider.send(&nodes[0], export.clone());
    // A certificate out of nothing.
    let forged = pb::Certificate { session: id.0.to_vec(), signatures: vec![7; 64] };
    outsider.send(&nodes[0], wire::encode(&pb::Frame { certificates: vec![forged], ..pb::Frame::default() }));
    // Questions about the session.
    for answer in [false, true] {
        let session = id.0.to_vec();
        let have = vec![pb::Have { session, certificate: true, answer, ..pb::Have::default() }];
        outsider.send(&nodes[0], wire::encode(&pb::Frame { have, ..pb::Frame::default() }));
    }
    wait_refused(&nodes[0], before, |refused| refused.strangers, sent + 4);
    assert_eq!(lasting_status(&nodes[0].session(id)), status);

    // It was told nothing: as if the session did not exist, which is asked about last.
    let unknown = vec![pb::Have { session: vec![5; 32], ..pb::Have::default() }];
    outsider.send(&nodes[0], wire::encode(&pb::Frame { have: unknown, ..pb::Frame::default() }));
    loop {
        let told = outsider.until(|event| match event {
            NetEvent::Frame { frame, .. } => Some(frame.to_vec()),
            _ => None,
        });
        let told: pb::Frame = wire::decode(&told, "the frame").expect("is canonical");
        assert!(told.envelopes.is_empty() && told.certificates.is_empty());
        assert!(told.have.iter().all(|have| have.envelopes.is_empty() && !have.certificate));
        if told.have.iter().any(|have| have.session == [5; 32]) {
            break;
        }
    }
    finish(nodes, id);
}

/// By import nobody is known as the sender, so everything is judged by its signatures.
#[test]
fn forged_imports_change_nothing() {
    let (nodes, id) = begin();
    let outsider = Outsider::connect_to(&nodes[0]);
    let status = lasting_status(&nodes[0].session(id));
    let before = refused(&nodes[0]);
    let proposal = nodes[0].session(id).proposal().wait().expect("known");
    let mut sent = 0;
    for content in every_kind(&proposal) {
        // The consent and the proposal of the first are there already.
        let signer = if matches!(content, Content::Proposal(_)) { 1 } else { 2 };
        let envelope = outsider.sign(Body { session: id, signer, content });
        let _ = nodes[0].import(frame(vec![envelope.as_bytes().to_vec()])).wait();
        sent += 1;
    }
    let nobody = outsider.sign(Body { session: id, signer: N, content: Content::Accept });
    assert!(nodes[0].import(frame(vec![nobody.as_bytes().to_vec()])).wait().is_err());
    let forged = pb::Certificate { session: id.0.to_vec(), signatures: vec![7; 64] };
    let bytes = wire::encode(&pb::Frame { certificates: vec![forged], ..pb::Frame::default() });
    assert!(nodes[0].import(bytes).wait().is_err());
    let after = refused(&nodes[0]);
    assert_eq!(after.signatures - before.signatures, sent + 1);
    assert_eq!(after.strangers - before.strangers, 1);
    assert_eq!(lasting_status(&nodes[0].session(id)), status);
    finish(nodes, id);
}

#[test]
fn a_flood_of_proposals_is_limited() {
    let (nodes, id) = begin();
    let outsider = Outsider::connect_to(&nodes[0]);
    let before = refused(&nodes[0]);
    let like = nodes[0].session(id).proposal().wait().expect("known").terms().clone();
    let target = nodes[0].signer_key();
    let most = limits::PROPOSALS_PER_SIGNER;
    // Good ones, that the application may see: only so many.
    for number in 0..100 {
        outsider.send(&nodes[0], outsider.proposal(vec![target], number, &like).1);
    }
    wait_refused(&nodes[0], before, |refused| refused.proposals, 100 - most as u64);
    assert_eq!(nodes[0].sessions().wait().expect("runs").len(), most + 1);
    // Bad ones: without the node's key; forged in the name of a signer; expired; for another session's id.
    let before = refused(&nodes[0]);
    let (_, others) = outsider.proposal(vec![nodes[1].signer_key()], 200, &like);
    outsider.send(&nodes[0], others);
    let terms = Terms { entropy: [201; 32], proposer: 1, ..like.clone() };
    let foreign = Proposal::new(terms).expect("is good");
    let content = Content::Proposal(foreign.as_bytes().to_vec());
    let envelope = outsider.sign(Body { session: foreign.id(), signer: 1, content });
    outsider.send(&nodes[0], frame(vec![envelope.as_bytes().to_vec()]));
    let old = Terms { expires_at: libmusig::types::UnixMillis(1), ..like };
    outsider.send(&nodes[0], outsider.proposal(vec![target], 202, &old).1);
    let (good, _) = outsider.proposal(vec![target], 203, &old);
    let content = Content::Proposal(good.as_bytes().to_vec());
    let envelope = outsider.sign(Body { session: SessionId([1; 32]), signer: 0, content });
    outsider.send(&nodes[0], frame(vec![envelope.as_bytes().to_vec()]));
    let all =
        |refused: Refused| refused.proposals + refused.malformed + refused.strangers + refused.signatures;
    wait_until("all is refused", || all(refused(&nodes[0])) - all(before) >= 4);
    assert_eq!(nodes[0].sessions().wait().expect("runs").len(), most + 1);
    // The application sees at most so many, and honest proposers have their own room.
    let request = SessionRequest::messages(keys(N), vec![message(2)]);
    let later = nodes[1].create_session(request).wait().expect("is created");
    wait_for(&nodes[0], "an honest proposal", |event| {
        let proposed = matches!(event.event, Event::SessionProposed { .. });
        (proposed && event.session == Some(later.id())).then_some(())
    });
    finish(nodes, id);
}

/// An outsider that floods while a session runs does not keep it from finishing.
#[test]
fn a_flood_of_frames_does_not_stop_a_session() {
    let (nodes, id) = begin();
    let outsider = Outsider::connect_to(&nodes[0]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let before = refused(&nodes[0]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let body = Body { session: id, signer: 1, content: Content::Abort { reason: "stop".into() } };
            let envelope = Envelope::new(body, Signature([1; 64]));
            let frame: std::sync::Arc<[u8]> = frame(vec![envelope.as_bytes().to_vec(); 8]).into();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                if !outsider.network.send(&nodes[0].signer_key(), frame.clone()) {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
        });
        wait_until("the flood has begun", || refused(&nodes[0]).strangers > before.strangers + 100);
        join_next(&nodes[2]);
        nodes.iter().for_each(|node| wait_complete(node, id));
        for number in 3..10 {
            let request = SessionRequest::messages(keys(N), vec![message(number)]);
            let session = nodes[0].create_session(request).wait().expect("is created");
            nodes[1..].iter().for_each(|node| assert_eq!(join_next(node).id(), session.id()));
            nodes.iter().for_each(|node| wait_complete(node, session.id()));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

/// Who sends what only dear checks refuse loses the connection for it, and is banned in the end.
#[test]
fn late_failing_proposal_is_a_violation() {
    let (nodes, id) = begin();
    let mut outsider = Outsider::connect_to(&nodes[0]);
    let mut like = nodes[0].session(id).proposal().wait().expect("known").terms().clone();
    // No transaction at all, which shows once the keys are aggregated.
    like.transaction = Some(TransactionTerms { unsigned: vec![7; 100], spent: Vec::new() });
    let before = nodes[0].metrics().wait().expect("runs").network;
    let banned = || nodes[0].metrics().wait().expect("runs").network.bans - before.bans;
    for number in 0..3 {
        outsider.send(&nodes[0], outsider.proposal(vec![nodes[0].signer_key()], number, &like).1);
        outsider.until(|event| matches!(event, NetEvent::SignerDisconnected { .. }).then_some(()));
        if number < 2 {
            outsider.until(|event| matches!(event, NetEvent::SignerConnected { .. }).then_some(()));
        }
    }
    wait_until("it is banned", || banned() == 1);
    assert_eq!(nodes[0].metrics().wait().expect("runs").network.violations - before.violations, 3);
    finish(nodes, id);
}

/// What a stranger proposes makes the node dial nobody before the application consents.
#[test]
fn before_consent_nobody_is_dialled() {
    let (nodes, id) = begin();
    let trap = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = trap.local_addr().expect("bound").port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address");
    let outsider = Outsider::connect_from(&nodes[0], vec![address]);
    let like = nodes[0].session(id).proposal().wait().expect("known").terms().clone();
    let (proposal, frame) = outsider.proposal(vec![nodes[0].signer_key()], 1, &like);
    outsider.send(&nodes[0], frame);
    let key = outsider.signer.public_key();
    wait_until("it is proposed", || nodes[0].session(proposal.id()).status().wait().is_ok());
    drop(outsider);
    let gone = || !nodes[0].connected_signers().wait().expect("runs").contains(&key);
    wait_until("the stranger is gone", gone);
    let dials = || nodes[0].metrics().wait().expect("runs").network.dials;
    let before = dials();
    trap.set_nonblocking(true).expect("a socket");
    // A session is proposed, signed and finished meanwhile.
    finish_one(&nodes, 9);
    // A peer that left is dialled again after a tenth of a second, if it is looked for.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert!(trap.accept().is_err(), "the node dialled what a stranger named");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    figure(
        "node/outsider::before_consent_nobody_is_dialled",
        "a proposal of a stranger, who named an address and left",
        "dials before the application consents",
        dials() - before,
    );
    // Control: with consent it does.
    nodes[0].session(proposal.id()).join().wait().expect("is open");
    wait_until("it is dialled", || trap.accept().is_ok());
    nodes[2].session(id).join().wait().expect("is open");
    nodes.iter().for_each(|node| wait_complete(node, id));
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

/// Finishes another session of all.
fn finish_one(nodes: &[Node], number: u8) {
    let request = SessionRequest::messages(keys(N), vec![message(number)]);
    let session = nodes[1].create_session(request).wait().expect("is created").id();
    for node in [&nodes[0], &nodes[2]] {
        loop {
            let next = wait_for(node, "a proposal", |event| match event.event {
                Event::SessionProposed { .. } => event.session,
                _ => None,
            });
            if next == session {
                break;
            }
        }
        node.session(session).join().wait().expect("is open");
    }
    nodes.iter().for_each(|node| wait_complete(node, session));
}

#[test]
fn presence_sequence_is_kept_across_a_restart() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_millis() as u64;
    // The clock was half a minute ahead before; and, the control, a day, so that nobody took it.
    for (ahead, above) in [(30_000, true), (86_400_000, false)] {
        let mut store = MemoryStore::new();
        let last = now() + ahead;
        store.commit(&[schema::put_sequence(last)], Durability::Synced).expect("memory takes it");
        let node = builder(secret(0)).store(store.clone()).start().expect("starts");
        let mut outsider = Outsider::connect_to(&node);
        let bytes = outsider.until(|event| match event {
            NetEvent::PresenceLearned { bytes, .. } => Some(bytes.clone()),
            _ => None,
        });
        let presence = PresenceRecord::decode(&bytes).expect("is authentic");
        assert_eq!(presence.sequence > last, above, "{ahead}");
        node.stop().expect("stops");
        let stored = Contents::read(store.load().expect("memory")).sequence;
        assert!(stored >= presence.sequence, "{ahead}: what was signed last is in the store");
    }
}
