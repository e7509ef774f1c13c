//! What proposals of strangers leave behind, and how fast they may come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libmusig::error::{Error, ProposalError};
#[cfg(feature = "mutations")]
use libmusig::mutation::{self, Mutation};
use libmusig::protocol::consent::AcceptedProposers;
use libmusig::protocol::envelope::Content;
use libmusig::protocol::event::Event;
use libmusig::protocol::proposal::Message;
use libmusig::protocol::status::Phase;
use libmusig::protocol::{Output, limits};
use libmusig::types::SessionId;

use test_support::cluster::{Cluster, Consent, Fate, Options};
use test_support::figures::figure;
use test_support::party::with_signers;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn cluster(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(Options::new(nodes));
    cluster.run_for(Duration::from_millis(20));
    cluster
}

/// `proposer` proposes something to `to` that expires after so long.
fn propose(cluster: &mut Cluster, proposer: usize, to: usize, expiry: Duration) -> SessionId {
    let expires_at = cluster.time(to).wall.saturating_add(expiry);
    let mut terms = cluster.raw_terms();
    let signers = vec![terms.signers[proposer], terms.signers[to]];
    with_signers(&mut terms, signers);
    terms.expires_at = expires_at;
    cluster.create_with(proposer, terms)
}

fn proposed(cluster: &Cluster, node: usize, session: &SessionId) -> usize {
    cluster.count(node, session, "SessionProposed")
}

#[test]
fn declined_proposals_leave_room_for_the_next_one() {
    let mut cluster = cluster(2);
    cluster.nodes[1].application.consent = Consent::Declines;
    for _ in 0..limits::PROPOSALS_PER_SIGNER {
        propose(&mut cluster, 0, 1, DAY * 29);
        cluster.run_for(Duration::from_millis(20));
    }
    let next = propose(&mut cluster, 0, 1, DAY * 29);
    let told = cluster.run_until(Duration::from_secs(60), |cluster| proposed(cluster, 1, &next) == 1);
    assert!(told, "after {} that were declined", limits::PROPOSALS_PER_SIGNER);
}

#[test]
fn declined_proposals_and_closed_ones_take_little_memory() {
    let mut cluster = cluster(2);
    cluster.nodes[1].application.consent = Consent::Waits;
    for _ in 0..60 {
        let mut terms = cluster.raw_terms();
        terms.messages = (0..limits::MESSAGES).map(|_| Message::raw([7; 32])).collect();
        terms.metadata = vec![b'x'; limits::METADATA];
        let session = cluster.create_with(0, terms);
        cluster.run_for(Duration::from_millis(50));
        let result = cluster.ask(1, |engine, request, now| engine.close(&session, request, now));
        assert_eq!(result, Ok(()));
        cluster.run_for(Duration::from_millis(50));
    }
    let engine = cluster.engine(1);
    let bytes: usize = engine.ids().iter().map(|id| engine.export(id).expect("it is known").len()).sum();
    figure(
        "protocol/strangers::declined_proposals_and_closed_ones_take_little_memory",
        "60 large proposals that the application closes",
        "bytes that are kept of them",
        bytes,
    );
    assert!(bytes <= 512 << 10, "{bytes} bytes of closed proposals are kept");
}

/// Has `node` decline as many proposals as are kept whole, so that the earlier ones are not.
fn push_out(cluster: &mut Cluster, proposer: usize, node: usize) {
    cluster.nodes[node].application.consent = Consent::Declines;
    for _ in 0..limits::ANSWERED {
        propose(cluster, proposer, node, DAY * 20);
        cluster.run_for(Duration::from_millis(20));
    }
}

#[test]
fn declined_proposals_do_not_come_again_and_who_was_away_hears_what_ended_them() {
    let mut cluster = cluster(4);
    cluster.nodes[1].application.consent = Consent::Declines;
    // It is declined while 2 is away, and 0 as soon as it has told 1.
    let mut terms = cluster.raw_terms();
    let signers = terms.signers[..3].to_vec();
    with_signers(&mut terms, signers);
    terms.expires_at = cluster.time(0).wall.saturating_add(DAY * 29);
    cluster.cut_off(2, true);
    let session = cluster.create_with(0, terms);
    cluster.run_for(Duration::from_millis(100));
    let exported = cluster.engine(0).export(&session).expect("it is known");
    assert_eq!(cluster.status(1, &session).phase, Phase::Declined, "the latest are kept whole");
    push_out(&mut cluster, 3, 1);
    assert!(!cluster.engine(1).ids().contains(&session) && cluster.engine(1).usage().answered == 1);
    for restart in [false, true] {
        if restart {
            cluster.run_for(Duration::from_secs(2));
            cluster.crash(1);
            cluster.start(1);
        }
        assert_eq!(proposed(&cluster, 1, &session), 1);
        let result = cluster.ask(1, |engine, request, now| engine.join(&session, request, now));
        assert!(matches!(result, Err(Error::WrongState { .. })), "restart={restart}: {result:?}");
        let result = cluster.ask(1, |engine, request, now| engine.close(&session, request, now));
        assert_eq!(result, Ok(()), "restart={restart}");
        // Neither by its proposer nor by hand.
        cluster.drive(1, |engine, now| engine.import(&exported, now).ok());
        cluster.deliver(0, 1, exported.clone().into());
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(proposed(&cluster, 1, &session), 1, "restart={restart}");
    }
    // 2 heard nothing of the decline, and reaches only 1.
    cluster.crash(0);
    cluster.cut_off(2, false);
    cluster.drive(2, |engine, now| engine.import(&exported, now).ok());
    let ended = |cluster: &Cluster| cluster.count(2, &session, "SessionAborted") == 1;
    assert!(cluster.run_until(Duration::from_secs(20), ended));
}

#[test]
fn declined_proposals_of_strangers_leave_room_for_those_of_others() {
    let mut cluster = cluster(3);
    let partner = propose(&mut cluster, 2, 1, DAY);
    cluster.run_for(Duration::from_secs(1));
    assert!(cluster.holds(1, &partner));
    cluster.nodes[1].application.consent = Consent::Declines;
    for _ in 0..4 * limits::PROPOSALS_PER_SIGNER {
        propose(&mut cluster, 0, 1, DAY * 29);
        cluster.run_for(Duration::from_millis(20));
    }
    let usage = cluster.engine(1).usage();
    assert!(usage.answered <= limits::PROPOSALS_PER_SIGNER, "{usage:?}: they have a rate");
    // One that expires before all of them, of somebody else: it is no matter of its expiry.
    let another = propose(&mut cluster, 2, 1, DAY);
    cluster.run_for(Duration::from_millis(100));
    assert_eq!(proposed(&cluster, 1, &another), 1);
    // And one of the stranger itself, a little later.
    let next = propose(&mut cluster, 0, 1, DAY);
    assert!(cluster.run_until(DAY / 12, |cluster| proposed(cluster, 1, &next) == 1));
}

#[test]
fn what_was_joined_does_not_count_for_the_rate_of_proposals() {
    let mut cluster = cluster(2);
    let sessions: Vec<_> = (0..3 * limits::PROPOSALS_PER_SIGNER)
        .map(|_| {
            let session = propose(&mut cluster, 0, 1, DAY);
            cluster.run_for(Duration::from_millis(50));
            session
        })
        .collect();
    assert!(sessions.iter().all(|session| proposed(&cluster, 1, session) == 1));
}

#[test]
fn allow_list_shuts_out_all_others_and_gives_room_to_those_on_it() {
    let mut cluster = cluster(3);
    cluster.nodes[0].application.consent = Consent::Waits;
    let friend = AcceptedProposers::only([cluster.nodes[1].key]);
    // What is here stays.
    let before = propose(&mut cluster, 2, 0, DAY);
    cluster.run_for(Duration::from_millis(50));
    cluster.drive(0, |engine, _| engine.set_accepted_proposers(friend));
    let (events, refused) = (cluster.nodes[0].events.iter().count(), cluster.engine(0).refused().proposals);
    let shut_out = propose(&mut cluster, 2, 0, DAY);
    cluster.run_for(Duration::from_secs(10));
    assert_eq!(cluster.nodes[0].events.iter().count(), events, "nothing is told");
    assert_eq!(cluster.engine(0).ids(), [before]);
    assert!(cluster.engine(0).refused().proposals > refused);
    let welcome = propose(&mut cluster, 1, 0, DAY);
    cluster.run_for(Duration::from_millis(50));
    assert_eq!(proposed(&cluster, 0, &welcome), 1);
    // By hand from anybody: the application itself brings it.
    let exported = cluster.engine(2).export(&shut_out).expect("it is known");
    cluster.drive(0, |engine, now| engine.import(&exported, now).ok());
    assert_eq!(proposed(&cluster, 0, &shut_out), 1);
    // Opened again, all are taken.
    let waiting = propose(&mut cluster, 2, 0, DAY);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(proposed(&cluster, 0, &waiting), 0);
    cluster.drive(0, |engine, _| engine.set_accepted_proposers(AcceptedProposers::All));
    assert!(cluster.run_until(Duration::from_secs(20), |cluster| proposed(cluster, 0, &waiting) == 1));
    cluster.drive(0, |engine, _| engine.set_accepted_proposers(AcceptedProposers::only([])));
    let nobody = propose(&mut cluster, 1, 0, DAY);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(proposed(&cluster, 0, &nobody), 0);
}

#[test]
fn allow_list_leaves_room_to_those_on_it_when_strangers_have_taken_theirs() {
    let strangers = limits::UNANSWERED_PROPOSALS / 2 / limits::PROPOSALS_PER_SIGNER;
    for named in [false, true] {
        let mut cluster = cluster(2 + strangers);
        cluster.nodes[0].application.consent = Consent::Waits;
        for stranger in 2..2 + strangers {
            for _ in 0..limits::PROPOSALS_PER_SIGNER {
                propose(&mut cluster, stranger, 0, DAY);
            }
        }
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(cluster.engine(0).ids().len(), limits::UNANSWERED_PROPOSALS / 2, "of strangers");
        if named {
            let friend = AcceptedProposers::only([cluster.nodes[1].key]);
            cluster.drive(0, |engine, _| engine.set_accepted_proposers(friend));
        }
        let session = propose(&mut cluster, 1, 0, DAY);
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(proposed(&cluster, 0, &session), usize::from(named), "named={named}");
    }
}

#[test]
fn same_answer_to_others_about_a_declined_proposal_as_about_an_unknown_one() {
    let mut cluster = cluster(4);
    cluster.nodes[1].application.consent = Consent::Declines;
    let declined = propose(&mut cluster, 0, 1, DAY * 29);
    cluster.run_for(Duration::from_millis(50));
    push_out(&mut cluster, 3, 1);
    let unknown = SessionId([9; 32]);
    let mut answers = Vec::new();
    for session in [declined, unknown] {
        let told = Arc::new(AtomicUsize::new(0));
        let heard = told.clone();
        cluster.on_frame = Some(Box::new(move |from, to, frame| {
            let asked = |have: &libmusig::protocol::wire::pb::Have| have.session == session.0 && have.answer;
            if (from, to) == (1, 2) && frame.have.iter().any(asked) && frame.envelopes.is_empty() {
                heard.fetch_add(1, Ordering::Relaxed);
            }
            true
        }));
        let accept = cluster.forge(2, session, 1, Content::Accept);
        cluster.inject(2, 1, &[accept]);
        cluster.run_for(Duration::from_secs(2));
        answers.push(told.load(Ordering::Relaxed));
    }
    assert_eq!(answers, [1, 1]);
}

#[test]
fn declined_proposals_and_expired_ones_are_limited_in_time() {
    const ATTACKERS: usize = 16;
    let mut cluster = cluster(1 + ATTACKERS);
    cluster.nodes[0].application.consent = Consent::Waits;
    let (events, writes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (told, written) = (events.clone(), writes.clone());
    cluster.on_output = Some(Box::new(move |node, output| {
        match output {
            Output::Event { event } if node == 0 && event.durable.is_some() => {
                told.fetch_add(1, Ordering::Relaxed);
            }
            Output::Persist { .. } if node == 0 => {
                written.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        Fate::Happens
    }));
    for _ in 0..30 {
        for attacker in 1..=ATTACKERS {
            for _ in 0..30 {
                propose(&mut cluster, attacker, 0, Duration::from_millis(900));
            }
        }
        cluster.run_for(Duration::from_secs(1));
    }
    cluster.run_for(Duration::from_secs(5));
    let (events, writes) = (events.load(Ordering::Relaxed), writes.load(Ordering::Relaxed));
    assert!(events <= 2 * (512 + 40) && writes <= 6 * (512 + 40), "{events} durable events, {writes} writes");
}

/// What node 1 was told of a session that `proposer` proposed: why it refuses it.
fn refusals(cluster: &Cluster, proposer: usize, session: &SessionId) -> Vec<Error> {
    let proposer = cluster.nodes[proposer].key;
    let refused = cluster.events(1, session).filter_map(|(_, event)| match event {
        Event::ProposalRefused { proposer: by, error } if *by == proposer => Some(error.clone()),
        _ => None,
    });
    refused.collect()
}

#[test]
fn refused_proposal_of_another_clock_is_reported_once_and_taken_when_the_clock_is_right() {
    const HOUR: Duration = Duration::from_secs(3600);
    for (skew, taken) in [(0, true), (-61_000, false), (-59_000, true), (30 * 24 * 3600 * 1000, false)] {
        let mut cluster = cluster(2);
        cluster.nodes[1].application.consent = Consent::Waits;
        cluster.nodes[1].skew = skew;
        let mut terms = cluster.raw_terms();
        terms.expires_at = cluster.time(0).wall.saturating_add(limits::EXPIRY);
        let session = cluster.create_with(0, terms);
        cluster.run_for(Duration::from_millis(900));
        assert_eq!(proposed(&cluster, 1, &session), usize::from(taken), "skew {skew}");
        if skew > 0 {
            // It is compared with again and again.
            cluster.run_for(HOUR);
        }
        let told = refusals(&cluster, 0, &session);
        if taken {
            assert_eq!(told, []);
            continue;
        }
        assert!(matches!(told[..], [Error::Proposal(ProposalError::Expiry { .. })]), "skew {skew}: {told:?}");
        cluster.nodes[1].skew = 0;
        cluster.run_for(HOUR);
        assert_eq!((proposed(&cluster, 1, &session), refusals(&cluster, 0, &session).len()), (1, 1));
    }
}

#[test]
fn refused_proposal_says_what_is_full_and_strangers_have_no_more_of_them_than_proposals() {
    let mut options = Options::new(3);
    options.settings.max_sessions = 1;
    let mut cluster = Cluster::new(options);
    cluster.nodes[2].settings.max_sessions = 1000;
    cluster.crash(2);
    cluster.start(2);
    cluster.run_for(Duration::from_millis(20));
    let first = propose(&mut cluster, 0, 1, DAY);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!((proposed(&cluster, 1, &first), refusals(&cluster, 0, &first)), (1, vec![]));
    let others: Vec<SessionId> = (0..100).map(|_| propose(&mut cluster, 2, 1, DAY)).collect();
    cluster.run_for(Duration::from_secs(1));
    let told: Vec<Error> = others.iter().flat_map(|id| refusals(&cluster, 2, id)).collect();
    assert!(matches!(told[0], Error::Limit { what: "open sessions", limit: 1, .. }), "{:?}", told[0]);
    assert_eq!(told.len(), limits::PROPOSALS_PER_SIGNER, "reports in a second");
}

/// The tests above are worth something: each break of what they promise makes one of them fail.
#[cfg(feature = "mutations")]
#[test]
fn mutations_are_found() {
    let tests: [(Mutation, fn()); 5] = [
        (Mutation::AnsweredKeepRoom, declined_proposals_leave_room_for_the_next_one),
        (
            Mutation::AnsweredComeAgain,
            declined_proposals_do_not_come_again_and_who_was_away_hears_what_ended_them,
        ),
        (Mutation::ProposalsWithoutRate, declined_proposals_and_expired_ones_are_limited_in_time),
        (Mutation::EverybodyAccepted, allow_list_shuts_out_all_others_and_gives_room_to_those_on_it),
        (Mutation::NamedAreStrangers, allow_list_leaves_room_to_those_on_it_when_strangers_have_taken_theirs),
    ];
    for (mutation, test) in tests {
        mutation::set(Some(mutation));
        let found = std::panic::catch_unwind(test).is_err();
        mutation::set(None);
        assert!(found, "{mutation:?} is not found");
        test();
    }
}
