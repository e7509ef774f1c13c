//! What a stranger's bytes cost: messages with lists without end are refused before memory is taken for them.

use std::sync::Arc;
use std::time::Duration;

use libmusig::error::{Error, ProposalError, WireError};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::Proof;
use libmusig::protocol::presence::Presence;
use libmusig::protocol::proposal::Proposal;
use libmusig::protocol::transaction::NoTransactions;
use libmusig::protocol::wire::{self, pb};
use libmusig::protocol::{Settings, Time, limits};

use libmusig::types::SessionId;

use test_support::cluster::{Cluster, Consent, EPOCH, Options, key};
use test_support::counting::{Counting, cost, held};

#[global_allocator]
static COUNTING: Counting = Counting;

/// A message that ends with a list of this many empty entries.
fn with_list(message: Vec<u8>, field: u8, entries: usize) -> Vec<u8> {
    [message, [field << 3 | 2, 0].repeat(entries)].concat()
}

/// The same as the content of a field of another message.
fn within(field: u8, content: Vec<u8>) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    [bytes, content].concat()
}

fn engine() -> Engine {
    Engine::new(key(0), Settings::default(), Arc::new(Musig2), Arc::new(NoTransactions))
}

const NOW: Time = Time { wall: EPOCH, monotonic: Duration::from_secs(1) };
/// Less than anything of the size that is decoded here, and more than any error costs.
const LITTLE: isize = 1 << 10;

fn too_many<T>(result: Result<T, WireError>, most: usize) -> bool {
    matches!(result, Err(WireError::TooMany { actual, most: limit, .. }) if limit == most && actual > most)
}

#[test]
fn a_frame_of_empty_entries_costs_nothing() {
    for field in 1..=3 {
        // The whole frame would be 100 MB of the third kind.
        let entries = if field == 3 { limits::FRAME / 2 } else { limits::FRAME_ENTRIES * 16 };
        let frame = with_list(Vec::new(), field, entries);
        let mut engine = engine();
        let (bytes, result) = cost(|| engine.frame(key(1), &frame, NOW));
        assert!(too_many(result, limits::FRAME_ENTRIES) && bytes < LITTLE, "field {field}: {bytes} bytes");
        assert_eq!(engine.refused().malformed, 1);

        let export = with_list(Vec::new(), field, limits::FRAME_ENTRIES * 16);
        let (bytes, result) = cost(|| engine.import(&export, NOW));
        let refused = matches!(result, Err(Error::Wire(WireError::TooMany { .. })));
        assert!(refused && bytes < LITTLE, "field {field}: {bytes} bytes");
    }
    // The limit is for all kinds together, and what is within it costs little.
    let mixed = (1..=3).fold(Vec::new(), |bytes, field| with_list(bytes, field, limits::FRAME_ENTRIES / 2));
    let (bytes, result) = cost(|| wire::decode::<pb::Frame>(&mixed, "a frame"));
    assert!(too_many(result, limits::FRAME_ENTRIES) && bytes < LITTLE, "{bytes} bytes");
    let most = with_list(Vec::new(), 3, limits::FRAME_ENTRIES);
    let (bytes, result) = cost(|| wire::decode::<pb::Frame>(&most, "a frame"));
    assert!(result.is_ok() && bytes < 1 << 20, "{bytes} bytes");
}

#[test]
fn other_lists_without_end_cost_nothing() {
    let lists = [(4, limits::SIGNERS), (5, limits::KEY_SETS), (6, limits::MESSAGES)];
    let mut proposals: Vec<_> =
        lists.into_iter().map(|(field, most)| (with_list(Vec::new(), field, most * 100), most)).collect();
    let spent = within(7, with_list(Vec::new(), 2, limits::INPUTS * 10));
    proposals.push((spent, limits::INPUTS));
    for (proposal, limit) in proposals {
        let (bytes, result) = cost(|| Proposal::decode(&proposal));
        let Err(ProposalError::Limit { what, most, .. }) = result else { panic!("{result:?}") };
        assert!(most == limit as u64 && bytes < LITTLE, "{what}: {bytes} bytes");
    }

    let entries = limits::PRESENCE / 2 - 8;
    let presence = within(1, with_list(Vec::new(), 3, entries));
    let (bytes, result) = cost(|| Presence::decode(&Musig2, &presence));
    // The record itself is copied once.
    assert!(too_many(result, limits::ADDRESSES) && bytes < 2 * limits::PRESENCE as isize, "{bytes} bytes");

    let proof = within(2, with_list(Vec::new(), 2, limits::SIGNERS * 100));
    let (bytes, result) = cost(|| Proof::verify(&Musig2, &proof));
    assert!(too_many(result, limits::SIGNERS) && bytes < LITTLE, "{bytes} bytes");
}

#[test]
fn what_comes_twice_but_is_no_list_is_refused() {
    let frame = wire::encode(&pb::Frame {
        have: vec![pb::Have { session: vec![1; 32], ..pb::Have::default() }],
        ..pb::Frame::default()
    });
    assert!(wire::decode::<pb::Frame>(&frame, "a frame").is_ok());
    let body = within(1, vec![1; 32]);
    assert!(wire::decode::<pb::Body>(&body, "a body").is_ok());
    let twice = body.repeat(2);
    assert_eq!(wire::decode::<pb::Body>(&twice, "a body"), Err(WireError::Malformed("a body")));
    for cut in 1..body.len() {
        let cut = &body[..cut];
        assert_eq!(wire::decode::<pb::Body>(cut, "a body"), Err(WireError::Malformed("a body")));
    }
}

const SIGNERS: usize = 5;
/// As many as fill the tables worst: these have just grown.
const SESSIONS: usize = 115;
/// What a closed session may keep, beyond the bytes of its proposal.
const CLOSED: usize = 1536;
/// The same, closed before its signatures were finished.
const CLOSED_UNSIGNED: usize = 1792;
/// What a session in watch may keep, the same way: 1,600 of it are what the signers said and signed.
const IN_WATCH: usize = 2576;

/// All that rest are packed at once.
fn options() -> Options {
    let mut options = Options { counts_work: false, ..Options::new(SIGNERS) };
    options.settings.pack_after = Duration::ZERO;
    options
}

/// Bytes that node 0 keeps for each of these sessions beyond their proposals' own, tables and all.
fn kept(mut cluster: Cluster, sessions: &[SessionId]) -> usize {
    let proposal = |id| cluster.engine(0).proposal(id).expect("it is known").as_bytes().len();
    let proposals: usize = sessions.iter().map(proposal).sum();
    cluster.nodes[0].events.clear();
    let before = held();
    cluster.nodes[0].engine = None;
    ((before - held()) as usize - proposals) / sessions.len()
}

/// Sessions whose signatures are finished and whose transaction is submitted, but in no block.
fn in_watch(cluster: &mut Cluster) -> Vec<SessionId> {
    cluster.run_for(Duration::from_secs(1));
    let begin = |number| {
        let session = cluster.create(number % SIGNERS, |_| {});
        cluster.run_for(Duration::from_millis(200));
        assert!(cluster.all_hold(&session));
        session
    };
    (0..SESSIONS).map(begin).collect()
}

fn close(cluster: &mut Cluster, sessions: &[SessionId]) {
    for session in sessions {
        cluster.ask(0, |engine, request, now| engine.abandon(session, request, now)).expect("closes");
    }
    cluster.run_for(Duration::from_secs(1));
}

#[test]
fn a_session_in_watch_takes_little() {
    let mut cluster = Cluster::new(options());
    let sessions = in_watch(&mut cluster);
    let bytes = kept(cluster, &sessions);
    println!("a session in watch: {bytes} bytes");
    assert!(bytes <= IN_WATCH, "{bytes} bytes");
}

#[test]
fn a_closed_session_takes_little() {
    let mut cluster = Cluster::new(options());
    let sessions = in_watch(&mut cluster);
    close(&mut cluster, &sessions);
    let bytes = kept(cluster, &sessions);
    println!("a closed session: {bytes} bytes");
    assert!(bytes <= CLOSED, "{bytes} bytes");
}

/// It keeps its aggregate keys, so that nobody makes this node aggregate them again.
#[test]
fn a_session_closed_without_signatures_takes_little() {
    let mut cluster = Cluster::new(Options { real: true, ..options() });
    cluster.nodes[1].application.consent = Consent::Waits;
    cluster.run_for(Duration::from_secs(1));
    let sessions: Vec<_> = (0..SESSIONS).map(|_| cluster.create(0, |_| {})).collect();
    cluster.run_for(Duration::from_secs(1));
    close(&mut cluster, &sessions);
    let bytes = kept(cluster, &sessions);
    println!("a session closed without signatures: {bytes} bytes");
    assert!(bytes <= CLOSED_UNSIGNED, "{bytes} bytes");
}
