//! A transaction whose signatures complete nothing until its proposer wants it: a worthless witness of somebody else's
//! input, or a coin of a transaction that nobody broadcast. A raw message that may be the signature hash of a
//! transaction. Nobody consents to it unasked.

use std::time::Duration;

use libmusig::error::{ConsentError, Error};
use libmusig::protocol::consent::JoinOptions;
use libmusig::protocol::envelope::Content;
use libmusig::protocol::event::DurableKind;
use libmusig::protocol::proposal::{
    Broadcast, Derivation, KeyOrder, KeySet, Message, Proposal, Taproot, Terms,
};
use libmusig::types::{OutPoint, SessionId, Txid};

use test_support::cluster::{Cluster, Consent, Options};
use test_support::double::{Foreign, transaction, transaction_with};

const SECOND: Duration = Duration::from_secs(1);
const VERIFIED_ONLY: JoinOptions =
    JoinOptions { allow_unverified_inputs: false, allow_missing_coins: true, sign_blind: false };
const EXISTING_ONLY: JoinOptions =
    JoinOptions { allow_unverified_inputs: true, allow_missing_coins: false, sign_blind: false };
const BLIND: JoinOptions =
    JoinOptions { allow_unverified_inputs: false, allow_missing_coins: false, sign_blind: true };

fn coin(byte: u8) -> OutPoint {
    OutPoint { txid: Txid([byte; 32]), vout: 0 }
}

/// A proposal of node 0 whose transaction has an input of the session, and one of somebody else.
fn mixed(cluster: &mut Cluster, foreign: Foreign, failover: bool) -> Proposal {
    let mut terms = cluster.terms();
    let (transaction, messages) = transaction_with(&[coin(1)], &[(coin(2), foreign)], &terms.entropy);
    (terms.transaction, terms.messages) = (Some(transaction), messages);
    if !failover {
        terms.broadcast = Broadcast::CoordinatorOnly;
    }
    Proposal::new(terms).expect("valid terms")
}

/// Node 0 is byzantine: its proposal is on the wire, whatever its own node would say.
fn propose(cluster: &mut Cluster, proposal: &Proposal) -> SessionId {
    let id = proposal.id();
    let contents = [Content::Proposal(proposal.as_bytes().to_vec()), Content::Accept];
    let envelopes = contents.map(|content| cluster.forge(0, id, 0, content));
    cluster.inject(0, 1, &envelopes);
    cluster.run_for(SECOND);
    id
}

fn waiting(signers: usize) -> Cluster {
    let mut cluster = Cluster::new(Options::new(signers));
    for node in &mut cluster.nodes {
        (node.application.consent, node.application.acknowledges) = (Consent::Waits, false);
    }
    cluster.watched = true;
    cluster.run_for(SECOND);
    cluster
}

/// Joins at node 1, and answers with the outcome.
fn join(cluster: &mut Cluster, id: SessionId, options: JoinOptions) -> Result<(), Error> {
    cluster.consent(1, id);
    cluster.ask(1, |engine, request, now| engine.join_with(&id, options, request, now))?;
    cluster.run_for(SECOND);
    cluster.nodes[1].done.last().expect("it was answered").1.clone()
}

#[test]
fn foreign_witness_that_is_invalid_reaches_no_application() {
    let mut cluster = waiting(2);
    let proposal = mixed(&mut cluster, Foreign::Invalid, true);
    let id = propose(&mut cluster, &proposal);
    assert_eq!(cluster.names(1, &id), [""; 0], "nobody is asked");
    assert!(matches!(join(&mut cluster, id, JoinOptions::default()), Err(Error::UnknownSession(_))));
    // Where nobody else takes the broadcast over, nothing is promised.
    let proposal = mixed(&mut cluster, Foreign::Invalid, false);
    let id = propose(&mut cluster, &proposal);
    assert_eq!(join(&mut cluster, id, JoinOptions::default()), Ok(()));
}

#[test]
fn foreign_witness_of_unknown_kind_needs_the_word_of_each_application() {
    let mut cluster = waiting(2);
    let refused = Err(Error::Consent(ConsentError::UnverifiedInput { input: 1 }));
    let proposal = mixed(&mut cluster, Foreign::Unverifiable, true);
    let created =
        cluster.ask(0, |engine, request, now| engine.create(proposal.clone(), request, now).map(drop));
    assert_eq!(created, refused, "the proposer's too");
    let id = propose(&mut cluster, &proposal);
    assert_eq!(cluster.names(1, &id), ["SessionProposed", "SessionJoined"]);
    assert_eq!(join(&mut cluster, id, JoinOptions::default()), refused);
    assert_eq!(join(&mut cluster, id, VERIFIED_ONLY), refused);
    assert!(!cluster.agreed.contains(&(1, id)), "nothing was signed");
    assert_eq!(join(&mut cluster, id, EXISTING_ONLY), Ok(()));
    assert!(cluster.agreed.contains(&(1, id)));
}

#[test]
fn foreign_witness_that_is_valid_is_signed_along() {
    let mut cluster = Cluster::new(Options::new(3));
    cluster.run_for(SECOND);
    let id = cluster.create(0, |terms| {
        let (transaction, messages) = transaction_with(&[coin(1)], &[(coin(2), Foreign::Valid)], b"");
        (terms.transaction, terms.messages) = (Some(transaction), messages);
    });
    cluster.complete(&id);
}

#[test]
fn unbroadcast_parent_is_refused_by_who_can_look_for_it() {
    for withheld in [coin(1), coin(2)] {
        let mut cluster = waiting(2);
        cluster.chain.withheld.insert(withheld);
        let proposal = mixed(&mut cluster, Foreign::Valid, true);
        let id = propose(&mut cluster, &proposal);
        let input = u32::from(withheld == coin(2));
        let missing = Err(Error::Consent(ConsentError::MissingCoin { input, coin: withheld, spent: false }));
        assert_eq!(join(&mut cluster, id, JoinOptions::default()), missing);
        assert_eq!(join(&mut cluster, id, EXISTING_ONLY), missing);
        assert!(!cluster.agreed.contains(&(1, id)), "nothing was signed");
        // The same once it is there.
        cluster.chain.withheld.clear();
        assert_eq!(join(&mut cluster, id, JoinOptions::default()), Ok(()));
    }
}

#[test]
fn unbroadcast_parent_is_refused_to_the_own_proposal_too() {
    let mut cluster = waiting(2);
    cluster.chain.withheld.insert(coin(1));
    let proposal = mixed(&mut cluster, Foreign::Valid, true);
    let mut id = SessionId([0; 32]);
    let create = |cluster: &mut Cluster, options| {
        let own = proposal.clone();
        cluster.ask(0, |engine, request, now| engine.create_with(own, options, request, now).map(drop))
    };
    assert_eq!(create(&mut cluster, JoinOptions::default()), Ok(()), "the chain is asked");
    cluster.run_for(SECOND);
    assert!(matches!(
        cluster.nodes[0].done.last(),
        Some((_, Err(Error::Consent(ConsentError::MissingCoin { input: 0, spent: false, .. }))))
    ));
    assert_eq!(cluster.engine(0).ids(), [id; 0], "nothing is left of it");
    id = proposal.id();
    cluster.consent(0, id);
    assert_eq!(create(&mut cluster, VERIFIED_ONLY), Ok(()), "the application knows better");
    assert_eq!(cluster.engine(0).ids(), [id]);
}

#[test]
fn unbroadcast_parent_is_not_looked_for_by_an_observer_that_fails() {
    let mut cluster = waiting(2);
    cluster.nodes[1].coins_unknown = true;
    let proposal = mixed(&mut cluster, Foreign::Valid, true);
    let id = propose(&mut cluster, &proposal);
    let unknown = Error::Consent(ConsentError::CoinsNotKnown { reason: "cannot be reached".into() });
    assert_eq!(join(&mut cluster, id, JoinOptions::default()), Err(unknown));
    // That the proposal was handled is not stored while its consent waits.
    cluster.ask(1, |engine, request, now| engine.join(&id, request, now)).expect("the chain is asked");
    cluster.drive(1, |engine, now| engine.acknowledge(&id, DurableKind::Proposed, now));
    cluster.run_for(SECOND);
    cluster.crash(1);
    cluster.start(1);
    cluster.run_for(SECOND);
    assert_eq!(cluster.count(1, &id, "SessionProposed"), 2);
    assert_eq!(join(&mut cluster, id, VERIFIED_ONLY), Ok(()));
}

#[test]
fn own_abort_stands_against_a_consent_that_waits_for_the_chain() {
    for how in ["decline", "abort", "abandon", "close"] {
        let mut cluster = waiting(2);
        let proposal = mixed(&mut cluster, Foreign::Valid, true);
        let id = propose(&mut cluster, &proposal);
        cluster.ask(1, |engine, request, now| engine.join(&id, request, now)).expect("the chain is asked");
        let stopped = cluster.ask(1, |engine, request, now| match how {
            "decline" => engine.decline(&id, "no".into(), request, now),
            "abort" => engine.abort(&id, "enough".into(), request, now),
            "abandon" => engine.abandon(&id, request, now),
            _ => engine.close(&id, request, now),
        });
        assert_eq!(stopped, Ok(()), "{how}");
        cluster.run_for(SECOND);
        assert!(!cluster.agreed.contains(&(1, id)), "{how}: nothing was signed");
        let refused = |(_, result): &&(_, Result<(), Error>)| matches!(result, Err(Error::WrongState { .. }));
        assert_eq!(cluster.nodes[1].done.iter().filter(refused).count(), 1, "{how}: it is said to who asked");
    }
}

#[test]
fn spent_coin_is_refused_unless_the_session_replaces_what_spends_it() {
    let mut cluster = Cluster::new(Options::new(2));
    cluster.run_for(SECOND);
    let old = cluster.create(0, |_| ());
    cluster.complete(&old);
    cluster.run_for(SECOND);
    let coins = cluster.chain.spent_by(&cluster.chain.txid_of(&old).expect("it has one"));
    let mut again = |replaces| {
        let id = cluster.create(0, |terms| {
            let (transaction, messages) = transaction(&coins, b"more fee");
            (terms.transaction, terms.messages, terms.replaces) = (Some(transaction), messages, replaces);
        });
        cluster.run_for(SECOND);
        (id, cluster.nodes[0].done.last().expect("an answer").1.clone())
    };
    let (_, refused) = again(None);
    let spent = ConsentError::MissingCoin { input: 0, coin: coins[0], spent: true };
    assert_eq!(refused, Err(Error::Consent(spent)));
    let (id, taken) = again(Some(old));
    assert_eq!(taken, Ok(()));
    cluster.complete(&id);
}

/// A proposal of node 0 to sign a raw message with this key set, and with what a derivation makes of it.
fn raw(cluster: &mut Cluster, key_set: KeySet, derivation: Derivation) -> Proposal {
    let mut terms = cluster.raw_terms();
    let digest = terms.messages[0].digest;
    terms.messages = vec![Message::with(digest, 0, derivation)];
    terms.key_sets = vec![key_set];
    Proposal::new(terms).expect("valid terms")
}

fn blind(session: Option<SessionId>) -> Result<(), Error> {
    Err(Error::Consent(ConsentError::BlindMessage { message: 0, session }))
}

#[test]
fn raw_message_over_a_wallet_key_that_is_an_output_key_needs_the_word_of_each_application() {
    let mut cluster = waiting(2);
    let keys = [cluster.nodes[0].key, cluster.nodes[1].key];
    for taproot in [Taproot::KeyPath, Taproot::MerkleRoot([7; 32])] {
        for path in [Vec::new(), vec![0, 7]] {
            let proposal = raw(&mut cluster, KeySet::new(&keys), Derivation { path, taproot });
            let created = cluster
                .ask(0, |engine, request, now| engine.create(proposal.clone(), request, now).map(drop));
            assert_eq!(created, blind(None), "the proposer's too");
            assert!(!cluster.engine(0).ids().contains(&proposal.id()), "nothing is left of it");
            let id = propose(&mut cluster, &proposal);
            assert_eq!(join(&mut cluster, id, JoinOptions::default()), blind(None));
            assert_eq!(join(&mut cluster, id, VERIFIED_ONLY), blind(None));
            assert!(!cluster.agreed.contains(&(1, id)), "nothing was signed");
            assert_eq!(join(&mut cluster, id, BLIND), Ok(()));
            assert!(cluster.agreed.contains(&(1, id)));
        }
    }
    // What is no output key, of keys that own nothing here.
    let proposal =
        raw(&mut cluster, KeySet::new(&keys), Derivation { path: vec![0, 7], taproot: Taproot::None });
    let id = propose(&mut cluster, &proposal);
    assert_eq!(join(&mut cluster, id, JoinOptions::default()), Ok(()));
}

#[test]
fn raw_message_over_a_wallet_key_of_a_transaction_session_is_refused_as_long_as_that_may_complete() {
    let mut cluster = waiting(2);
    let keys = [cluster.nodes[0].key, cluster.nodes[1].key];
    let attempt = |cluster: &mut Cluster, key_set: KeySet| {
        let child = Derivation { path: vec![3], taproot: Taproot::None };
        let proposal = raw(cluster, key_set, child);
        let id = propose(cluster, &proposal);
        join(cluster, id, JoinOptions::default())
    };
    // A transaction that is only proposed proves nothing of a wallet: whoever proposes could shut others out.
    let wallet = cluster.create(0, |_| ());
    cluster.run_for(SECOND);
    assert_eq!(attempt(&mut cluster, KeySet::new(&keys)), Ok(()));
    // Node 0 finishes alone.
    cluster.held_back.insert(0);
    assert_eq!(join(&mut cluster, wallet, JoinOptions::default()), Ok(()));
    assert!(cluster.partial_left(1, &wallet).is_some());
    assert_eq!(attempt(&mut cluster, KeySet::new(&keys)), blind(Some(wallet)));
    let sorted = KeySet::new(&keys).aggregate_key();
    // The same keys in another order are another key, unless they are sorted already.
    let as_given = KeySet::ordered(&keys, KeyOrder::AsGiven);
    let is_alike = as_given.aggregate_key() == sorted;
    assert_eq!(attempt(&mut cluster, as_given).is_err(), is_alike);
    // The own proposal is a consent too.
    let own = Proposal::new(Terms { proposer: 1, ..cluster.raw_terms() }).expect("valid terms");
    let created = cluster.ask(1, |engine, request, now| engine.create(own, request, now).map(drop));
    assert_eq!(created, blind(Some(wallet)));
    // It ended here, and is kept: others may complete it. That is not forgotten by a restart.
    cluster.ask(1, |engine, request, now| engine.abort(&wallet, "no".into(), request, now)).expect("aborts");
    cluster.ask(1, |engine, request, now| engine.abandon(&wallet, request, now)).expect("closes");
    cluster.run_for(SECOND);
    assert_eq!(attempt(&mut cluster, KeySet::new(&keys)), blind(Some(wallet)));
    cluster.crash(1);
    cluster.start(1);
    cluster.run_for(SECOND);
    assert_eq!(attempt(&mut cluster, KeySet::new(&keys)), blind(Some(wallet)));
}

#[test]
fn raw_message_over_a_wallet_key_is_signed_once_the_transaction_cannot_come_about() {
    let mut cluster = waiting(2);
    // No nonces leave it, so nobody can complete it.
    cluster.cut_off(0, true);
    let wallet = cluster.create(0, |_| ());
    cluster.run_for(SECOND);
    let attempt = |cluster: &mut Cluster| {
        let own = Proposal::new(cluster.raw_terms()).expect("valid terms");
        cluster.ask(0, |engine, request, now| engine.create(own, request, now).map(drop))
    };
    assert_eq!(attempt(&mut cluster), blind(Some(wallet)));
    cluster.ask(0, |engine, request, now| engine.abort(&wallet, "no".into(), request, now)).expect("aborts");
    cluster.ask(0, |engine, request, now| engine.close(&wallet, request, now)).expect("closes");
    cluster.run_for(SECOND);
    assert_eq!(attempt(&mut cluster), Ok(()));
}
