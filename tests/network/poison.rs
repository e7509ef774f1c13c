//! What others put into the distributed hash table, or answer when they are asked: forged, misplaced, out of date,
//! oversized or too many records change nothing.

use std::time::{Duration, Instant};

use futures::{AsyncReadExt, StreamExt};
use libmusig::net::{
    DHT_PROTOCOL, Multiaddr, NetCommand, NetEvent, Offered, PeerId, PresenceRecord, PresenceStore,
    presence_key,
};
use libmusig::types::SignerKey;
use libp2p::kad::store::{MemoryStore, RecordStore};
use libp2p::kad::{self, Mode, Quorum, Record};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{identify, noise, tcp, yamux};
use test_support::figures::figure;
use test_support::outsider::{field, length};

use crate::discovery::{full_address, knowing, published, serving};
use crate::support::{DEADLINE, Node, Outsider, Signer, eventually, write};

type Hostile = libp2p::Swarm<Speaker>;

#[derive(NetworkBehaviour)]
struct Speaker {
    kad: kad::Behaviour<MemoryStore>,
    /// By this others know that it speaks the hash table's protocol.
    identify: identify::Behaviour,
}

/// Speaks the hash table's protocol, and believes everything.
fn hostile(mode: Mode) -> Hostile {
    hostile_keeping(mode, kad::StoreInserts::Unfiltered)
}

/// The same; what others give it, it keeps so.
fn hostile_keeping(mode: Mode, inserts: kad::StoreInserts) -> Hostile {
    let mut swarm = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| {
            let own = key.public().to_peer_id();
            let mut config = kad::Config::new(DHT_PROTOCOL);
            config.set_max_packet_size(1 << 20);
            config.set_record_filtering(inserts);
            let mut kad = kad::Behaviour::with_config(own, MemoryStore::new(own), config);
            kad.set_mode(Some(mode));
            let identify = identify::Config::new("musig/1".into(), key.public());
            Speaker { kad, identify: identify::Behaviour::new(identify) }
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    swarm
}

/// Its next event that fits.
async fn next<T>(swarm: &mut Hostile, mut fits: impl FnMut(SwarmEvent<SpeakerEvent>) -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = fits(swarm.select_next_some().await) {
                return found;
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("an event within the deadline")
}

async fn address(swarm: &mut Hostile) -> Multiaddr {
    let address = next(swarm, |event| match event {
        SwarmEvent::NewListenAddr { address, .. } => Some(address),
        _ => None,
    })
    .await;
    address.with(Protocol::P2p(*swarm.local_peer_id()))
}

/// Gives a node a record to keep, and waits until it has answered.
async fn give(swarm: &mut Hostile, to: PeerId, key: [u8; 32], value: Vec<u8>) {
    let record = Record::new(key.to_vec(), value);
    let query = swarm.behaviour_mut().kad.put_record_to(record, [to].into_iter(), Quorum::One);
    next(swarm, |event| match event {
        SwarmEvent::Behaviour(SpeakerEvent::Kad(kad::Event::OutboundQueryProgressed { id, .. }))
            if id == query =>
        {
            Some(())
        }
        _ => None,
    })
    .await;
}

/// What a node keeps under a key.
async fn ask(swarm: &mut Hostile, key: [u8; 32]) -> Vec<Vec<u8>> {
    let query = swarm.behaviour_mut().kad.get_record(key.to_vec().into());
    let mut found = Vec::new();
    next(swarm, |event| match event {
        SwarmEvent::Behaviour(SpeakerEvent::Kad(kad::Event::OutboundQueryProgressed {
            id,
            result,
            step,
            ..
        })) if id == query => {
            if let kad::QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(record))) = result {
                found.push(record.record.value);
            }
            step.last.then_some(())
        }
        _ => None,
    })
    .await;
    found
}

/// A record that claims to be of `signer`, signed by another.
fn forged(signer: SignerKey, by: &Signer, peer: PeerId, addresses: Vec<Multiaddr>, sequence: u64) -> Vec<u8> {
    let real = by.presence(peer, addresses.clone(), sequence);
    let wrong = PresenceRecord { signer, peer, addresses, sequence }.encode();
    let right = PresenceRecord::decode(&real).unwrap().encode();
    // Both have the same length: only the 33 bytes of the key differ.
    let at = real.windows(right.len()).position(|part| part == right).unwrap();
    let mut bytes = real;
    bytes[at..at + wrong.len()].copy_from_slice(&wrong);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_keeps_only_the_newest_valid_presence_of_a_signer() {
    let server = Node::new(serving()).await;
    let (victim, attacker, peer) = (Signer::new(), Signer::new(), PeerId::random());
    let key = presence_key(&victim.key());
    let mut swarm = hostile(Mode::Client);
    swarm.dial(full_address(&server)).unwrap();
    next(&mut swarm, |event| match event {
        SwarmEvent::Behaviour(SpeakerEvent::Kad(kad::Event::RoutingUpdated { .. })) => Some(()),
        _ => None,
    })
    .await;

    // Whoever publishes it: a presence is the signer's word.
    let valid = victim.presence(peer, vec![], 5);
    give(&mut swarm, server.peer(), key, valid.clone()).await;
    assert_eq!(ask(&mut swarm, key).await, std::slice::from_ref(&valid));
    assert_eq!(server.net.counters().records_refused, 0);

    let at = "/ip4/127.0.0.1/tcp/1".parse::<Multiaddr>().unwrap();
    let long = vec!["/dns4/x".parse::<Multiaddr>().unwrap(); 17];
    let mut flipped = victim.presence(peer, vec![at.clone()], 6);
    *flipped.last_mut().unwrap() ^= 1;
    let mut trailing = victim.presence(peer, vec![at.clone()], 6);
    trailing.push(0);
    let wrong = [
        ("forged", forged(victim.key(), &attacker, peer, vec![at.clone()], 6)),
        ("another signer's", attacker.presence(peer, vec![at.clone()], 6)),
        ("older", victim.presence(peer, vec![at.clone()], 4)),
        ("of the same age", victim.presence(peer, vec![at.clone()], 5)),
        ("flipped", flipped),
        ("not canonical", trailing),
        ("too many addresses", victim.presence(peer, long, 6)),
        ("empty", Vec::new()),
        ("garbage", vec![0xff; 300]),
        ("oversized", vec![7; 10_000]),
    ];
    for (number, (what, bytes)) in wrong.into_iter().enumerate() {
        give(&mut swarm, server.peer(), key, bytes).await;
        assert_eq!(ask(&mut swarm, key).await, std::slice::from_ref(&valid), "{what}");
        assert_eq!(server.net.counters().records_refused, number as u64 + 1, "{what}");
    }

    // A newer one replaces it, and the old one does not come back.
    let newer = victim.presence(peer, vec![at], 6);
    give(&mut swarm, server.peer(), key, newer.clone()).await;
    give(&mut swarm, server.peer(), key, valid).await;
    assert_eq!(ask(&mut swarm, key).await, [newer]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_answers_of_a_server_are_refused() {
    let (mut liar, b) = (hostile(Mode::Server), Node::new(crate::support::config()).await);
    let lies = address(&mut liar).await;
    // Somebody else's node, where the attacker waits for whoever is led there.
    let trap = Node::new(crate::support::config()).await;
    let key = presence_key(&b.key());
    let forged = forged(b.key(), &Signer::new(), trap.peer(), vec![trap.address.clone()], u64::MAX);
    liar.behaviour_mut().kad.store_mut().put(Record::new(key.to_vec(), forged)).unwrap();
    tokio::spawn(async move {
        loop {
            liar.select_next_some().await;
        }
    });

    let mut a = Node::new(knowing(&lies)).await;
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    eventually("it was lied to", || a.net.counters().records_refused >= 3).await;
    assert_eq!(a.net.counters().lookups_answered, 0);
    assert_eq!(trap.net.counters().connections_opened, 0);
    while let Ok(event) = a.events.try_recv() {
        assert!(!matches!(event, NetEvent::PresenceLearned { .. }), "{event:?}");
    }

    // The lie, of the highest sequence, is not in the way of the truth.
    let presence = b.signer.presence(b.peer(), vec![b.address.clone()], 1);
    a.net.command(NetCommand::LearnPresences(vec![presence])).await;
    a.connected_to(b.key()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_presence_does_not_replace_a_newer_one() {
    // Authentic, but the signer has moved since, and an attacker answers with what it kept.
    let (mut liar, server) = (hostile(Mode::Server), Node::new(serving()).await);
    let lies = address(&mut liar).await;
    let mut b = Node::new(knowing(&full_address(&server))).await;
    published(&b, 1).await;
    let old = b.signer.presence(b.peer(), vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()], 0);
    liar.behaviour_mut().kad.store_mut().put(Record::new(presence_key(&b.key()).to_vec(), old)).unwrap();
    tokio::spawn(async move {
        loop {
            liar.select_next_some().await;
        }
    });
    let mut settings = knowing(&lies);
    settings.bootstrap_peers.push(full_address(&server));
    let mut a = Node::new(settings).await;
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    a.connected_to(b.key()).await;
    b.connected_to(a.key()).await;
}

#[test]
fn a_full_store_keeps_the_nearest_records() {
    let own = PeerId::random();
    let distance =
        |key: &kad::RecordKey| kad::KBucketKey::new(key.clone()).distance(&kad::KBucketKey::from(own));
    let mut store = PresenceStore::new(own, 8);
    let mut keys = Vec::new();
    for _ in 0..50 {
        let signer = Signer::new();
        let record = Record::new(presence_key(&signer.key()).to_vec(), signer.presence(own, vec![], 1));
        keys.push(record.key.clone());
        let _ = store.put(record);
        assert!(store.records().count() <= 8);
    }
    keys.sort_by_key(distance);
    let mut kept: Vec<_> = store.records().map(|record| record.key.clone()).collect();
    kept.sort_by_key(distance);
    assert_eq!(kept, keys[..8]);

    // What is out of date makes room for anything.
    let mut store = PresenceStore::new(own, 1);
    let (first, second) = (Signer::new(), Signer::new());
    let record =
        |signer: &Signer| Record::new(presence_key(&signer.key()).to_vec(), signer.presence(own, vec![], 1));
    store.put(Record { expires: Some(Instant::now()), ..record(&first) }).unwrap();
    store.put(record(&second)).unwrap();
    assert_eq!(store.records().count(), 1);
    assert!(store.get(&record(&second).key).is_some());
}

#[test]
fn the_record_of_this_node_itself_is_never_evicted() {
    let own = PeerId::random();
    let signer = Signer::new();
    let mut store = PresenceStore::new(own, 1);
    let others = || {
        let signer = Signer::new();
        Record::new(presence_key(&signer.key()).to_vec(), signer.presence(own, vec![], 1))
    };
    // Full of what is nearer than most.
    for _ in 0..20 {
        let _ = store.put(others());
    }
    let mut record = Record::new(presence_key(&signer.key()).to_vec(), signer.presence(own, vec![], 1));
    record.publisher = Some(own);
    store.put(record.clone()).unwrap();
    for _ in 0..20 {
        store.put(others()).unwrap_err();
    }
    assert_eq!(store.get(&record.key).unwrap().value, record.value);
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_records_of_one_peer_use_up_nothing_of_the_others() {
    let mut store = PresenceStore::new(PeerId::random(), 4096);
    let (attacker, honest) = (PeerId::random(), PeerId::random());
    let liar = Signer::new();
    let mut verified = 0;
    for _ in 0..1500 {
        let victim = Signer::new();
        let bytes = forged(victim.key(), &liar, attacker, vec![], 1);
        let record = Record::new(presence_key(&victim.key()).to_vec(), bytes);
        verified += u32::from(store.offer(attacker, record) == Offered::Forged);
    }
    assert!((200..300).contains(&verified), "{verified} were verified");
    for _ in 0..100 {
        let signer = Signer::new();
        let record = Record::new(presence_key(&signer.key()).to_vec(), signer.presence(honest, vec![], 1));
        assert_eq!(store.offer(honest, record), Offered::Kept);
    }
    figure(
        "network/poison::forged_records_of_one_peer_use_up_nothing_of_the_others",
        "1500 forged records of one peer at once, offered to a server of the hash table",
        "signatures that are verified; kept of 100 honest ones that come then",
        format_args!("{verified}; 100"),
    );

    // A server takes three.
    let server = Node::new(serving()).await;
    let mut swarm = hostile(Mode::Client);
    swarm.dial(full_address(&server)).unwrap();
    next(&mut swarm, |event| match event {
        SwarmEvent::Behaviour(SpeakerEvent::Kad(kad::Event::RoutingUpdated { .. })) => Some(()),
        _ => None,
    })
    .await;
    for _ in 0..3 {
        let victim = Signer::new();
        let bytes = forged(victim.key(), &liar, attacker, vec![], 1);
        give(&mut swarm, server.peer(), presence_key(&victim.key()), bytes).await;
    }
    eventually("it is banned", || server.net.counters().bans == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_without_end_are_answered_at_a_rate() {
    let mut server = Node::new(serving()).await;
    let mut outsider = Outsider::new();
    let _stream = outsider.open(&mut server).await;
    let mut stream = outsider.open_protocol(&server, DHT_PROTOCOL).await;
    // FIND_NODE is 4.
    let question = [&[1 << 3, 4][..], &field(2, &[7; 32])].concat();
    let question = [length(question.len()), question].concat();
    let mut time_of = async |questions: usize| {
        let begin = Instant::now();
        write(&mut stream, &question.repeat(questions)).await;
        for _ in 0..questions {
            let mut length = [0];
            stream.read_exact(&mut length).await.unwrap();
            assert!(length[0] < 128, "a short answer");
            stream.read_exact(&mut vec![0; usize::from(length[0])]).await.unwrap();
        }
        begin.elapsed()
    };
    // 80 at once, and then 20 a second.
    let took = tokio::time::timeout(DEADLINE, time_of(160)).await.expect("all are answered");
    assert!(took > Duration::from_secs(3), "{took:?}");
    assert_eq!(server.net.counters().violations, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_records_apart_a_publication_counts_if_it_can_be_read_back() {
    // Says that it keeps what it is given, and keeps nothing.
    let mut forgetful = hostile_keeping(Mode::Server, kad::StoreInserts::FilterBoth);
    let at = address(&mut forgetful).await;
    tokio::spawn(async move {
        loop {
            forgetful.select_next_some().await;
        }
    });
    let alone = Node::new(knowing(&at)).await;
    let server = Node::new(serving()).await;
    let mut settings = knowing(&at);
    settings.bootstrap_peers.push(full_address(&server));
    let control = Node::new(settings).await;
    published(&control, 1).await;
    assert_eq!(alone.net.counters().publications, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_sequence_from_the_future_is_refused() {
    let mut store = PresenceStore::new(PeerId::random(), 8);
    let (signer, peer) = (Signer::new(), PeerId::random());
    let mut offer = |sequence| {
        let record =
            Record::new(presence_key(&signer.key()).to_vec(), signer.presence(peer, vec![], sequence));
        store.offer(peer, record)
    };
    assert_eq!(offer(now() + 24 * 3_600_000), Offered::Refused);
    assert_eq!(offer(now() + 10_000), Offered::Kept);

    // Nor is it believed from a server that keeps it.
    let (mut liar, b) = (hostile(Mode::Server), Node::new(crate::support::config()).await);
    let lies = address(&mut liar).await;
    let trap = Node::new(crate::support::config()).await;
    let old = b.signer.presence(b.peer(), vec![trap.address.clone()], now() + 24 * 3_600_000);
    liar.behaviour_mut().kad.store_mut().put(Record::new(presence_key(&b.key()).to_vec(), old)).unwrap();
    tokio::spawn(async move {
        loop {
            liar.select_next_some().await;
        }
    });
    let a = Node::new(knowing(&lies)).await;
    a.net.command(NetCommand::Seek(vec![b.key()])).await;
    eventually("it is refused", || a.net.counters().records_refused >= 1).await;
    assert_eq!((a.net.counters().lookups_answered, trap.net.counters().connections_opened), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_sequence_that_comes_back_is_reported() {
    let (mut keeper, signer, identity) =
        (hostile(Mode::Server), Signer::new(), libmusig::net::generate_identity());
    let at = address(&mut keeper).await;
    let peer = libmusig::net::peer_id(&identity).unwrap();
    let before = signer.presence(peer, vec![], 77);
    let key = presence_key(&signer.key());
    // It keeps what it has.
    keeper.behaviour_mut().kad.store_mut().put(Record::new(key.to_vec(), before.clone())).unwrap();
    tokio::spawn(async move {
        loop {
            keeper.select_next_some().await;
            let there = keeper.behaviour_mut().kad.store_mut();
            there.put(Record::new(key.to_vec(), before.clone())).unwrap();
        }
    });
    let mut node = Node::with(knowing(&at), signer, identity, 5).await;
    let sequence = node
        .until(|event| match event {
            NetEvent::PresenceReturned { sequence } => Some(sequence),
            _ => None,
        })
        .await;
    assert_eq!(sequence, 77);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_sequence_counts_for_nothing_against_the_peer_itself() {
    let mut a = Node::new(crate::support::config()).await;
    let b = Node::new(crate::support::config()).await;
    let stale = b.signer.presence(b.peer(), vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()], now());
    assert!(a.net.command(NetCommand::LearnPresences(vec![stale])).await);
    b.dial(&a).await;
    let own = b.signer.presence(b.peer(), vec![b.address.clone()], 1);
    let told = a
        .until(|event| match event {
            NetEvent::PresenceLearned { key, bytes } => (key == b.key()).then_some(bytes),
            _ => None,
        })
        .await;
    assert_eq!(told, own);
}
