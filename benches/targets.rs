//! The figures that the project promises, measured and printed beside their targets. What is compared with
//! something else is compared within one run.

#[cfg(feature = "capi")]
mod boundary;
mod flood;

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use libmusig::event::Event;
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::election::{ElectionMethod, priority_list};
use libmusig::protocol::proposal::{Broadcast, FailoverPolicy, KeySet, Message, Proposal, Terms};
use libmusig::signer::{LocalSigner, NonceRequest, PartialRequest, Signer};
use libmusig::store::redb::RedbStore;
use libmusig::types::{SessionId, Signature, SignerKey, UnixMillis};
use secp256k1::musig::{
    AggregatedNonce, KeyAggCache, PartialSignature, PublicNonce, Session, SessionSecretRand, new_nonce_pair,
};
use test_support::nodes::{builder, connect, keys, secret};

fn main() {
    println!("{:<58} {:>12} {:>12}", "", "measured", "target");
    election();
    cryptography();
    #[cfg(feature = "capi")]
    boundary::run();
    if std::env::var_os("BOUNDARY").is_none() {
        lateness();
        sessions();
    }
}

fn report(what: &str, measured: String, target: &str, good: bool) {
    println!("{what:<58} {measured:>12} {target:>12}{}", if good { "" } else { "   MISSED" });
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

fn time(mut act: impl FnMut()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

fn election() {
    for (n, target) in [(10, 5.0), (100, 100.0)] {
        let keys: Vec<SignerKey> = (0..n).map(numbered).collect();
        for method in ElectionMethod::ALL {
            let session = SessionId([7; 32]);
            let samples =
                (0..500).map(|_| time(|| drop(black_box(priority_list(&keys, method, &session))))).collect();
            let micros = median(samples).as_secs_f64() * 1e6;
            let what = format!("priority list of {n}, {method:?}");
            report(&what, format!("{micros:.1} µs"), &format!("{target} µs"), micros <= target);
        }
    }
}

fn numbered(number: usize) -> SignerKey {
    let mut secret = [0x22; 32];
    secret[30..].copy_from_slice(&(number as u16 + 1).to_be_bytes());
    LocalSigner::new(secret).expect("a valid secret").public_key()
}

/// One signer's work for one session of 5, ours against the bare calls of libsecp256k1, alternating in one run.
fn cryptography() {
    const N: usize = 5;
    let signers: Vec<LocalSigner> = (0..N).map(|i| LocalSigner::new(secret(i)).expect("valid")).collect();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..400u32 {
        ours.push(our_session(&signers, round));
        bare.push(bare_session());
    }
    let (ours, bare) = (median(ours).as_secs_f64(), median(bare).as_secs_f64());
    let what = format!("one signer's cryptography, n = 5 ({:.0} µs) / bare calls", ours * 1e6);
    report(&what, format!("{:.2}", ours / bare), "1.10", ours / bare <= 1.10);
}

fn proposal(round: u32) -> Proposal {
    let mut entropy = [0; 32];
    entropy[..4].copy_from_slice(&round.to_be_bytes());
    Proposal::new(Terms {
        entropy,
        proposer: 0,
        key_sets: vec![KeySet::new(&keys(5))],
        signers: keys(5),
        messages: vec![Message::raw([9; 32])],
        transaction: None,
        election_method: ElectionMethod::default(),
        broadcast: Broadcast::default(),
        expires_at: UnixMillis(u64::MAX),
        metadata: Vec::new(),
        replaces: None,
    })
    .expect("valid terms")
}

/// Key aggregation, own nonce, four other nonces, own partial signature and its check, aggregation, verification.
fn our_session(signers: &[LocalSigner], round: u32) -> Duration {
    let proposal = proposal(round);
    let shared = Musig2.aggregate_keys(&proposal).expect("valid keys");
    let request = |signer| NonceRequest::new(proposal.clone(), 0, signer, shared.clone());
    let others: Vec<_> =
        (1..5).map(|i| signers[i].make_nonces(&request(i)).expect("makes nonces").concat()).collect();

    let start = Instant::now();
    let keys = Musig2.aggregate_keys(&proposal).expect("valid keys");
    let mut elapsed = start.elapsed();
    let own_request = NonceRequest::new(proposal.clone(), 0, 0, keys.clone());
    let (mut own, mut begun) = (Vec::new(), None);
    elapsed += time(|| {
        own = signers[0].make_nonces(&own_request).expect("makes nonces").concat();
        let mut all = vec![own.as_slice()];
        all.extend(others.iter().map(Vec::as_slice));
        begun = Some(keys.begin_round(&all).expect("valid nonces"));
    });
    let begun = begun.expect("was just made");
    let partial =
        |signer: usize| PartialRequest::new(proposal.clone(), 0, signer, shared.clone(), begun.clone());
    let other_partials: Vec<_> =
        (1..5).map(|i| signers[i].make_partials(&partial(i)).expect("signs").concat()).collect();
    let own_partial = PartialRequest { keys: keys.clone(), ..partial(0) };
    elapsed += time(|| {
        let own = signers[0].make_partials(&own_partial).expect("signs").concat();
        assert!(begun.verify_partials(0, &own));
        let mut all = vec![own.as_slice()];
        all.extend(other_partials.iter().map(Vec::as_slice));
        black_box::<Option<Vec<Signature>>>(begun.aggregate(&all)).expect("adds up");
    });
    elapsed
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// The same with nothing around it.
fn bare_session() -> Duration {
    let pairs: Vec<secp256k1::Keypair> = (0..5)
        .map(|i| {
            secp256k1::Keypair::from_secret_key(
                &secp256k1::SecretKey::from_secret_bytes(secret(i)).expect("valid"),
            )
        })
        .collect();
    let mut points: Vec<secp256k1::PublicKey> = pairs.iter().map(secp256k1::Keypair::public_key).collect();
    points.sort_by_key(secp256k1::PublicKey::serialize);
    let message = [9; 32];
    let refs: Vec<&secp256k1::PublicKey> = points.iter().collect();
    let shared = KeyAggCache::new(&refs);
    let nonce = |pair: &secp256k1::Keypair, cache: &KeyAggCache| {
        let random = SessionSecretRand::assume_uniformly_random(random());
        let secret = secp256k1::SecretKey::from_keypair(pair);
        new_nonce_pair(random, Some(cache), Some(secret), pair.public_key(), Some(&message), Some([1; 32]))
    };
    let others: Vec<_> = pairs[1..].iter().map(|pair| nonce(pair, &shared)).collect();
    let bytes: Vec<[u8; 66]> = others.iter().map(|(_, public)| public.serialize()).collect();

    let start = Instant::now();
    // Keys come as bytes here too.
    let parsed: Vec<secp256k1::PublicKey> = points
        .iter()
        .map(|point| secp256k1::PublicKey::from_byte_array_compressed(point.serialize()).expect("a point"))
        .collect();
    let refs: Vec<&secp256k1::PublicKey> = parsed.iter().collect();
    let cache = KeyAggCache::new(&refs);
    let (secret_nonce, own) = nonce(&pairs[0], &cache);
    let own = PublicNonce::from_byte_array(&own.serialize()).expect("a nonce");
    let mut nonces = vec![own];
    nonces.extend(bytes.iter().map(|bytes| PublicNonce::from_byte_array(bytes).expect("a nonce")));
    let refs: Vec<&PublicNonce> = nonces.iter().collect();
    let session = Session::new(&cache, AggregatedNonce::new(&refs), &message);
    let mut elapsed = start.elapsed();
    let rest: Vec<PartialSignature> = pairs[1..]
        .iter()
        .zip(others)
        .map(|(pair, (secret, _))| session.partial_sign(secret, pair, &shared))
        .collect();
    let start = Instant::now();
    let own_partial = session.partial_sign(secret_nonce, &pairs[0], &cache);
    assert!(session.partial_verify(&cache, &own_partial, &nonces[0], pairs[0].public_key()));
    let rest: Vec<PartialSignature> = rest
        .iter()
        .map(|partial| PartialSignature::from_byte_array(&partial.serialize()).expect("a scalar"))
        .collect();
    let mut all = vec![&own_partial];
    all.extend(&rest);
    session.partial_sig_agg(&all).verify(&cache.agg_pk(), &message).expect("verifies");
    elapsed += start.elapsed();
    elapsed
}

type Done = (usize, SessionId);

fn running_nodes(done: &Sender<Done>, directory: &std::path::Path) -> Vec<Node> {
    let nodes: Vec<Node> = (0..5)
        .map(|index| {
            let slot: Arc<OnceLock<Node>> = Arc::default();
            let (own, done) = (slot.clone(), done.clone());
            let store = RedbStore::open(directory.join(format!("{index}.redb"))).expect("a new file");
            let node = builder(secret(index))
                .store(store)
                .event_handler(move |event| {
                    match (&event.event, event.session) {
                        (Event::SessionProposed { .. }, Some(id)) => {
                            // Not waited for: the next event may come meanwhile.
                            drop(own.wait().session(id).join());
                        }
                        (Event::SessionComplete { .. }, Some(id)) => drop(done.send((index, id))),
                        _ => {}
                    }
                    Ok(())
                })
                .start()
                .expect("starts");
            let _ = slot.set(node.clone());
            node
        })
        .collect();
    connect(&nodes);
    nodes
}

fn request(number: u32) -> SessionRequest {
    let mut digest = [3; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    SessionRequest::messages(keys(5), vec![Message::raw(digest)])
}

/// Waits until all five nodes hold the session's signatures.
fn finished(done: &Receiver<Done>, session: SessionId) {
    let mut nodes = HashSet::new();
    while nodes.len() < 5 {
        let (node, id) = done.recv_timeout(Duration::from_secs(30)).expect("it finishes");
        if id == session {
            nodes.insert(node);
        }
    }
}

/// Five nodes in this process over loopback libp2p, with real files: one session after the other, then 64 at once.
fn sessions() {
    let directory = tempfile::tempdir().expect("a directory");
    let (sender, done) = channel();
    let nodes = running_nodes(&sender, directory.path());
    let mut samples = Vec::new();
    for number in 0..100 {
        let start = Instant::now();
        let session = nodes[0].create_session(request(number)).wait().expect("is created").id();
        finished(&done, session);
        samples.push(start.elapsed());
    }
    let millis = median(samples).as_secs_f64() * 1e3;
    report("5 of 5 over loopback libp2p, median", format!("{millis:.1} ms"), "10 ms", millis <= 10.0);

    const SESSIONS: u32 = 1000;
    const IN_FLIGHT: u32 = 64;
    let before = nodes[0].metrics().wait().expect("runs").store;
    let start = Instant::now();
    let (mut begun, mut complete) = (0, 0);
    let mut counts = std::collections::HashMap::new();
    while complete < SESSIONS {
        while begun < SESSIONS && begun - complete < IN_FLIGHT {
            drop(nodes[(begun % 5) as usize].create_session(request(1_000_000 + begun)));
            begun += 1;
        }
        let (_, id) = done.recv_timeout(Duration::from_secs(60)).expect("none is lost");
        let count = counts.entry(id).or_insert(0);
        *count += 1;
        complete += u32::from(*count == 5);
    }
    let rate = f64::from(SESSIONS) / start.elapsed().as_secs_f64();
    report("sessions per second, 64 in flight, none lost", format!("{rate:.0}"), "200", rate >= 200.0);
    let after = nodes[0].metrics().wait().expect("runs").store;
    let syncs = (after.syncs - before.syncs) as f64 / f64::from(SESSIONS);
    report("syncs of one node per session", format!("{syncs:.2}"), "4", syncs <= 4.0);
    flooded(&nodes, &done);
    for node in nodes {
        node.stop().expect("stops");
    }
}

/// The time of one session, while an outsider floods the node that proposes it and while it does not, by turns.
fn flooded(nodes: &[Node], done: &Receiver<Done>) {
    let mut number = 2_000_000;
    let mut session = || {
        number += 1;
        let start = Instant::now();
        let session = nodes[0].create_session(request(number)).wait().expect("is created").id();
        finished(done, session);
        (start.elapsed(), session)
    };
    let refused = || nodes[0].metrics().wait().expect("runs").refused.strangers;
    let flood = flood::Flood::of(&nodes[0], session().1);
    let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
    for round in 0..20 {
        let on = round % 2 == 1;
        flood.switch(on);
        let before = refused();
        let deadline = Instant::now() + Duration::from_secs(10);
        while on && refused() < before + 100 {
            assert!(Instant::now() < deadline, "the flood does not come");
        }
        for sample in 0..12 {
            let elapsed = session().0;
            // What is left of the round before is over by then.
            if sample >= 2 {
                if on { &mut flooded } else { &mut quiet }.push(elapsed);
            }
        }
    }
    drop(flood);
    let (quiet, flooded) = (median(quiet).as_secs_f64(), median(flooded).as_secs_f64());
    let what = format!("speed under a flood ({:.1} ms) / without ({:.1} ms)", flooded * 1e3, quiet * 1e3);
    report(&what, format!("{:.2}", quiet / flooded), "0.50", quiet / flooded >= 0.5);
}

/// How late a turn opens at a node while outsiders attack it, and while they do not, by turns: the worst of each. The
/// turn is the second one, for the first coordinator has no broadcaster.
fn lateness() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let (sender, opened) = channel();
    let nodes: Vec<Node> = (0..3).map(|index| turning(200 + index, sender.clone())).collect();
    connect(&nodes);
    let signers: Vec<SignerKey> = nodes.iter().map(Node::signer_key).collect();
    let attacks = [flood::Flood::of_proposals(&nodes[1]), flood::Flood::of(&nodes[1], SessionId([1; 32]))];
    let (mut quiet, mut attacked) = (Vec::new(), Vec::new());
    let mut number = 3_000_000u32;
    for round in 0..6 {
        let on = round % 2 == 1;
        attacks.iter().for_each(|attack| attack.switch(on));
        for _ in 0..20 {
            number += 1;
            let mut digest = [4; 32];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            let policy = FailoverPolicy { broadcast_timeout: TIMEOUT, ..FailoverPolicy::default() };
            let request = SessionRequest::messages(signers.clone(), vec![Message::raw(digest)])
                .election_method(ElectionMethod::FirstSigner)
                .failover(policy);
            drop(nodes[0].create_session(request).wait().expect("is created"));
            std::thread::sleep(Duration::from_millis(30));
        }
        for _ in 0..20 {
            let (now, next): (u64, u64) = opened.recv_timeout(Duration::from_secs(30)).expect("it opens");
            let late = (now + TIMEOUT.as_millis() as u64).saturating_sub(next);
            if on { &mut attacked } else { &mut quiet }.push(late);
        }
    }
    let refused = nodes[1].metrics().wait().expect("runs").refused.proposals;
    assert!(refused > 50, "the attack does not come: {refused}");
    drop(attacks);
    for node in nodes {
        node.stop().expect("stops");
    }
    let worst = |samples: &[u64]| samples.iter().copied().max().unwrap_or_default();
    let what = format!("lateness of a turn under attack, without it ({} ms)", worst(&quiet));
    report(&what, format!("{} ms", worst(&attacked)), "50 ms", worst(&attacked) <= 50);
}

/// A node that joins everything, and tells when its turn as the second signer opened, and when the next one will.
fn turning(index: usize, opened: Sender<(u64, u64)>) -> Node {
    let slot: Arc<OnceLock<Node>> = Arc::default();
    let own = slot.clone();
    let node = builder(secret(index))
        .event_handler(move |event| {
            match (&event.event, event.session) {
                (Event::SessionProposed { .. }, Some(id)) => drop(own.wait().session(id).join()),
                (Event::ShouldBroadcast { turn: 1, next_turn_at: Some(at), .. }, _) => {
                    let _ = opened.send((libmusig::platform::now().wall.0, at.0));
                }
                _ => {}
            }
            Ok(())
        })
        .start()
        .expect("starts");
    let _ = slot.set(node.clone());
    node
}
