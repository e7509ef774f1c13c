//! Signers of libmusig spend coins of a real chain: signed over libp2p, submitted by the elected one, mined, observed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitcoin::NetworkKind;
use bitcoin::bip32::{Xpriv, Xpub};
use bitcoin::secp256k1::Secp256k1;
use libmusig::JoinOptions;
use libmusig::chain::descriptor::Descriptor;
use libmusig::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome,
};
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::crypto::key_set::KeyOrigin;
use libmusig::protocol::election::{ElectionMethod, elect};
use libmusig::signer::LocalSigner;
use libmusig::types::SessionId;

use crate::child::Process;
use crate::coins::fund;
use crate::regtest::{Regtest, eventually};
use crate::signers::{Counted, complete, confirmed, script_of, seen, sign, signer, signer_builder, spend};
use test_support::nodes::*;
use test_support::psbt::{MusigCoin, psbt};

/// n signers spend this many coins in one transaction.
fn spend_and_mine(node: &Regtest, n: usize, inputs: u32) {
    let coins = fund(node, &script_of(&keys(n)), inputs);
    let counts: Vec<Arc<AtomicUsize>> = (0..n).map(|_| Arc::default()).collect();
    let nodes: Vec<Node> = counts
        .iter()
        .enumerate()
        .map(|(index, count)| signer(index, Counted { source: node.source(), submissions: count.clone() }))
        .collect();
    connect(&nodes);
    let (request, txid) = spend(n, &coins, 5_000);
    let session = sign(&nodes, request);
    let raw = complete(&nodes[0], &session);
    assert_eq!(raw.txid, txid);
    eventually("it is in the mempool", || node.in_mempool(&txid).then_some(()));
    for signer in &nodes {
        seen(signer, &signer.session(session.id()));
    }
    let elected = elect(&keys(n), ElectionMethod::Lexicographic, &SessionId([0; 32])).expect("signers");
    let submitted: Vec<usize> = counts.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    let expected: Vec<usize> = (0..n).map(|index| usize::from(index == elected.coordinator)).collect();
    assert_eq!(submitted, expected, "the elected one submits, once");

    node.mine(1);
    let height = node.height();
    assert_eq!(node.height_of(&txid), Some(height));
    for signer in &nodes {
        assert_eq!(confirmed(signer, &signer.session(session.id())), (height, 1));
    }
    for signer in nodes {
        signer.stop().expect("stops");
    }
}

#[test]
fn regtest_signers_spend_coins_that_are_mined_and_observed() {
    let test = "regtest_signers_spend_coins_that_are_mined_and_observed";
    let Some(node) = Regtest::start(test, &[]) else { return };
    for (n, inputs) in [1, 2, 5].into_iter().flat_map(|n| [(n, 1), (n, 12)]) {
        spend_and_mine(&node, n, inputs);
    }
}

#[test]
fn regtest_killed_coordinator_is_replaced_by_the_next_signer() {
    let test = "regtest_killed_coordinator_is_replaced_by_the_next_signer";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let n = 3;
    let coins = fund(&node, &script_of(&keys(n)), 1);
    let list =
        elect(&keys(n), ElectionMethod::Lexicographic, &SessionId([0; 32])).expect("signers").priority_list;
    let mut coordinator = Process::start(list[0], &node);
    let counts: Vec<Arc<AtomicUsize>> = (0..n).map(|_| Arc::default()).collect();
    // In the order of their turns.
    let nodes: Vec<Node> = list[1..]
        .iter()
        .map(|index| signer(*index, Counted { source: node.source(), submissions: counts[*index].clone() }))
        .collect();
    let address = coordinator.wait_for("listening");
    nodes[1].add_peer(&self::address(&nodes[0])).wait().expect("an address");
    for signer in &nodes {
        signer.add_peer(&address).wait().expect("an address");
    }
    let (request, txid) = spend(n, &coins, 5_000);
    let session = sign(&nodes, request);
    for signer in &nodes {
        assert_eq!(complete(signer, &signer.session(session.id())).txid, txid);
    }
    coordinator.wait_for("about to submit");
    assert!(!node.in_mempool(&txid));
    coordinator.kill();
    eventually("it is in the mempool", || node.in_mempool(&txid).then_some(()));
    for signer in &nodes {
        seen(signer, &signer.session(session.id()));
    }
    assert_eq!(counts[list[1]].load(Ordering::SeqCst), 1, "the next one submits");
    assert_eq!(counts[list[2]].load(Ordering::SeqCst), 0, "the last one does not");
    node.mine(1);
    for signer in &nodes {
        assert_eq!(confirmed(signer, &signer.session(session.id())), (node.height(), 1));
    }
}

/// Says that it submitted, and that everybody can see it.
struct Lying;

impl Broadcaster for Lying {
    fn submit(&self, _: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        Ok(SubmitOutcome::Accepted)
    }
}

impl ChainObserver for Lying {
    fn status(&self, _: &ChainQuery) -> Result<ChainStatus, ChainError> {
        Ok(ChainStatus::Confirmed { height: 1, confirmations: 100 })
    }
}

#[test]
fn regtest_lying_coordinator_is_not_believed_and_the_next_signer_submits() {
    let test = "regtest_lying_coordinator_is_not_believed_and_the_next_signer_submits";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(3)), 1);
    let elected = elect(&keys(3), ElectionMethod::Lexicographic, &SessionId([0; 32])).expect("signers");
    let start = |index| match index == elected.coordinator {
        true => signer(index, Lying),
        false => signer(index, node.source()),
    };
    let nodes: Vec<Node> = (0..3).map(start).collect();
    connect(&nodes);
    let (request, txid) = spend(3, &coins, 5_000);
    let session = sign(&nodes, request);
    let liar = &nodes[elected.coordinator];
    confirmed(liar, &liar.session(session.id()));
    eventually("it is in the mempool", || node.in_mempool(&txid).then_some(()));
    node.mine(1);
    for other in nodes.iter().filter(|other| other.signer_key() != liar.signer_key()) {
        assert_eq!(confirmed(other, &other.session(session.id())), (node.height(), 1));
    }
    assert_eq!(node.height_of(&txid), Some(node.height()));
}

/// One transaction that spends what is derived after the aggregation and what is derived before it.
#[test]
fn regtest_both_kinds_of_derivation_are_signed_in_one_session_and_mined() {
    let test = "regtest_both_kinds_of_derivation_are_signed_in_one_session_and_mined";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let secp = Secp256k1::new();
    let accounts =
        [7, 8].map(|seed| Xpriv::new_master(NetworkKind::Test, &[seed; 32]).expect("a master key"));
    let [one, other] = accounts.map(|account| Xpub::from_priv(&secp, &account));
    let descriptors =
        [format!("tr(musig({one},{other})/<0;1>/*)"), format!("tr(musig({one}/<0;1>/*,{other}/<0;1>/*))")]
            .map(|text| text.parse::<Descriptor>().expect("a descriptor"));
    let mut coins = Vec::new();
    for descriptor in &descriptors {
        let keys = descriptor.keys(0, 3).expect("exists");
        let coin = fund(&node, &descriptor.output_script(0, 3).expect("exists"), 1).remove(0);
        let (key_set, derivation) = (keys.key_set, keys.derivation);
        coins.push(MusigCoin { at: coin.at, value: coin.value, key_set, derivation });
    }
    let change = descriptors[0].output_script(1, 0).expect("exists");
    let total: u64 = coins.iter().map(|coin| coin.value).sum();
    let psbt = psbt(&coins, &[(total - 5_000, change)]);
    let key_sets = descriptors.iter().flat_map(|descriptor| descriptor.key_sets(&psbt).expect("finds them"));
    let request = SessionRequest::from_psbt(keys(2), &psbt, &key_sets.collect::<Vec<_>>()).expect("its own");
    let nodes: Vec<Node> = (0..2)
        .map(|index| {
            let own = LocalSigner::new(secret(index)).expect("a secret key");
            let fingerprint = accounts[index].fingerprint(&secp).to_bytes();
            let origin = KeyOrigin { fingerprint, path: Vec::new() };
            own.add_xprv(&accounts[index].to_string(), origin).expect("an account");
            signer_builder(index, Arc::new(node.source())).identity(own).start().expect("starts")
        })
        .collect();
    connect(&nodes);
    let session = sign(&nodes, request);
    let txid = complete(&nodes[0], &session).txid;
    eventually("it is in the mempool", || node.in_mempool(&txid).then_some(()));
    node.mine(1);
    for signer in &nodes {
        assert_eq!(confirmed(signer, &signer.session(session.id())), (node.height(), 1));
    }
}

#[test]
fn regtest_evicted_transaction_is_submitted_again() {
    let test = "regtest_evicted_transaction_is_submitted_again";
    let Some(mut node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(1)), 1);
    let (request, txid) = spend(1, &coins, 5_000);
    let signers =
        [crate::signers::signer_builder(0, Arc::new(node.source())).final_depth(20).start().expect("starts")];
    let session = sign(&signers, request);
    complete(&signers[0], &session);
    seen(&signers[0], &session);
    assert!(node.in_mempool(&txid));
    let lost = |signer: &Node| {
        wait_for(signer, "the loss", |event| {
            matches!(event.event, libmusig::event::Event::BroadcastLost { .. }).then_some(())
        });
    };

    // The node ends, and its mempool with it. While it is down nothing is lost: nobody says so.
    node.stop();
    node.run(&["-persistmempool=0"]);
    assert!(!node.in_mempool(&txid));
    lost(&signers[0]);
    eventually("it is in the mempool again", || node.in_mempool(&txid).then_some(()));
    seen(&signers[0], &session);

    // Seven blocks deep, then all of them reorganised away, and the mempool gone.
    node.mine(7);
    let height = node.height() - 6;
    assert_eq!(node.height_of(&txid), Some(height));
    let (at, _) = confirmed(&signers[0], &session);
    assert_eq!(at, height);
    node.invalidate_from(height);
    assert!(node.in_mempool(&txid));
    node.stop();
    node.run(&["-persistmempool=0"]);
    assert!(!node.in_mempool(&txid) && node.height() == height - 1);
    lost(&signers[0]);
    eventually("it is in the mempool again", || node.in_mempool(&txid).then_some(()));
    node.mine(1);
    eventually("it is confirmed again", || {
        let status = signers[0].session(session.id()).status().wait().expect("runs");
        let evidence = status.failover.expect("is watched").evidence;
        let expected = libmusig::protocol::failover::Evidence::Confirmed { height, confirmations: 1 };
        (evidence == expected).then_some(())
    });
    assert_eq!(node.height_of(&txid), Some(height));
}

#[test]
fn regtest_conflicting_session_that_is_mined_is_reported() {
    let test = "regtest_conflicting_session_that_is_mined_is_reported";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(1)), 1);
    // The first one is signed by a signer that reaches no backend.
    let nowhere = libmusig::chain::sources::BitcoinCore::new(
        "http://127.0.0.1:9",
        libmusig::chain::sources::CoreAuth::None,
    );
    let cut_off = signer(0, nowhere.expect("an address"));
    let (request, other) = spend(1, &coins, 50_000);
    let unseen = JoinOptions { allow_missing_coins: true, ..JoinOptions::default() };
    let session = cut_off.create_session(request.consent(unseen)).wait().expect("is created");
    let conflicting = complete(&cut_off, &session);
    assert_eq!(conflicting.txid, other);
    cut_off.stop().expect("stops");

    let (request, own) = spend(1, &coins, 5_000);
    let signers = [signer(0, node.source())];
    let session = sign(&signers, request);
    seen(&signers[0], &session);
    assert!(node.in_mempool(&own));
    node.send(&conflicting.bytes);
    assert!(!node.in_mempool(&own), "it pays more");
    node.mine(1);
    assert_eq!(node.height_of(&other), Some(node.height()));
    let found = wait_for(&signers[0], "the conflict", |event| match event.event {
        libmusig::event::Event::BroadcastConflict { txid } => Some(txid),
        _ => None,
    });
    assert_eq!(found, other);
}
