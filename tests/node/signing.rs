//! Sessions over libp2p in one process.

use std::sync::Arc;

use libmusig::JoinOptions;
use libmusig::error::{Error, ProposalError};
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::crypto::key_set::{Derivation, KeyOrder, KeySet};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::proposal::Message;
use libmusig::signer::LocalSigner;

use test_support::nodes::*;

#[test]
fn five_signers_finish_over_libp2p() {
    let nodes: Vec<Node> = (0..5).map(|i| builder(secret(i)).start().expect("starts")).collect();
    connect(&nodes);
    let request = SessionRequest::messages(keys(5), vec![message(7), message(8)]);
    let session = nodes[0].create_session(request).wait().expect("is created");
    for node in &nodes[1..] {
        join_next(node);
    }
    let mut signatures = Vec::new();
    for node in &nodes {
        wait_complete(node, session.id());
        let all = node.session(session.id()).final_signatures().wait().expect("known").expect("complete");
        assert_eq!(all.len(), 2);
        signatures.push(all);
    }
    assert!(signatures.windows(2).all(|pair| pair[0] == pair[1]));
    for node in &nodes {
        node.stop().expect("stops");
    }
}

#[test]
fn a_single_signer_finishes_alone() {
    let node = builder(secret(0)).start().expect("starts");
    let session =
        node.create_session(SessionRequest::messages(keys(1), vec![message(1)])).wait().expect("is created");
    wait_complete(&node, session.id());
    assert!(session.is_coordinator().wait().expect("known"));
    node.stop().expect("stops");
}

#[test]
fn signers_that_meet_only_through_one_of_them_finish() {
    let nodes: Vec<Node> = (0..3).map(|i| builder(secret(i)).start().expect("starts")).collect();
    let hub = address(&nodes[0]);
    for node in &nodes[1..] {
        node.add_peer(&hub).wait().expect("an address");
    }
    let session = nodes[0]
        .create_session(SessionRequest::messages(keys(3), vec![message(3)]))
        .wait()
        .expect("is created");
    std::thread::scope(|scope| {
        for node in &nodes[1..] {
            scope.spawn(|| {
                join_next(node);
                wait_complete(node, session.id());
            });
        }
        wait_complete(&nodes[0], session.id());
    });
}

/// A wallet's keys in two key sets, one derived after the aggregation, in one session with the identity keys' election.
#[test]
fn key_sets_of_a_wallet_sign_over_libp2p() {
    // The participant keys of signer i: secrets 20 + i and 40 + i.
    let signers: Vec<Arc<LocalSigner>> =
        (0..3).map(|i| Arc::new(LocalSigner::new(secret(i)).expect("a secret key"))).collect();
    let nodes: Vec<Node> = (0..3)
        .map(|i| builder(secret(i)).shared_signer(Arc::clone(&signers[i])).start().expect("starts"))
        .collect();
    connect(&nodes);
    let wallet = KeySet::new(&[20, 21, 22].map(key));
    let other = KeySet::ordered(&[40, 41, 42].map(key), KeyOrder::AsGiven);
    let derivation = Derivation::key_path([0, 7]);
    let blind = JoinOptions { sign_blind: true, ..JoinOptions::default() };
    let request = || {
        let messages =
            [Message::with([1; 32], 1, derivation.clone()), Message::with([2; 32], 2, Derivation::default())];
        let request =
            SessionRequest::messages(keys(3), messages).key_set(wallet.clone()).key_set(other.clone());
        request.consent(blind)
    };
    // A signer adds its keys while its node runs.
    let refused = nodes[0].create_session(request()).wait().err();
    assert_eq!(refused, Some(Error::Proposal(ProposalError::KeyNotHeld { key: key(20) })));
    for (i, signer) in signers.iter().enumerate() {
        assert_eq!(
            [20 + i, 40 + i].map(|number| signer.add_key(secret(number))),
            [Ok(key(20 + i)), Ok(key(40 + i))]
        );
    }
    let session = nodes[0].create_session(request()).wait().expect("is created");
    for node in &nodes[1..] {
        join_next_with(node, blind);
    }
    let finals = [wallet.final_key(&derivation), other.aggregate_key()].map(|key| key.expect("good keys"));
    for node in &nodes {
        wait_complete(node, session.id());
        let signatures = node.session(session.id()).final_signatures().wait().expect("known");
        for (index, signature) in signatures.expect("complete").iter().enumerate() {
            assert!(Musig2.verify(&finals[index], &[index as u8 + 1; 32], signature));
        }
    }
}
