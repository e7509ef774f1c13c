//! Transactions that are early, or late, for their own chain: lock times; one that others mined and spent meanwhile; chains
//! that disagree.

use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::{deserialize, serialize};
use libmusig::JoinOptions;
use libmusig::chain::sources::{BitcoinCore, CoreAuth, Esplora, Sources};
use libmusig::event::{Event, NodeEvent};
use libmusig::node::{Node, Session, SessionRequest};
use libmusig::protocol::failover::Evidence;
use libmusig::protocol::proposal::{FailoverPolicy, SpentOutput};
use libmusig::store::memory::MemoryStore;
use libmusig::types::Txid;
use serde_json::json;

use crate::coins::{Coin, anybody_pays, anybody_script, coin_of, fund, signed, txid, unsigned};
use crate::regtest::{Regtest, eventually, number};
use crate::signers::{TURN, complete, confirmed, script_of, seen, sign, signer, signer_builder};
use test_support::nodes::*;

/// A session in which the signers pay what they have to a script, not before this lock time.
fn pay(n: usize, coins: &[Coin], to: Vec<u8>, lock_time: LockTime) -> (SessionRequest, Txid) {
    let value: u64 = coins.iter().map(|coin| coin.value).sum();
    let mut transaction = unsigned(coins, &[(value - 5_000, to)]);
    transaction.lock_time = lock_time;
    let spent = coins.iter().map(|coin| SpentOutput { value: coin.value, script: coin.script.clone() });
    let policy = FailoverPolicy { broadcast_timeout: TURN, ..FailoverPolicy::default() };
    let request = SessionRequest::transaction(keys(n), serialize(&transaction), spent.collect());
    (request.failover(policy), txid(&transaction))
}

fn evidence(session: &Session) -> Evidence {
    session.status().wait().expect("known").failover.expect("is watched").evidence
}

/// Whether an event says that somebody is late, or that the transaction is refused.
fn complains(event: &NodeEvent) -> bool {
    matches!(
        event.event,
        Event::BroadcastRejected { .. }
            | Event::CoordinatorFailed { .. }
            | Event::FailoverExhausted { .. }
            | Event::NobodyCanBroadcast { .. }
            | Event::BroadcastConflict { .. }
    )
}

/// Takes events until the session's transaction is seen; nothing complains before that.
fn seen_without_complaint(node: &Node, session: &Session) {
    wait_for(node, "the transaction to be seen", |event| {
        assert!(!complains(event), "{event:?}");
        (event.session == Some(session.id()) && matches!(event.event, Event::BroadcastSeen { .. }))
            .then_some(())
    });
}

#[test]
fn regtest_lock_time_by_height_is_waited_for_by_all() {
    let test = "regtest_lock_time_by_height_is_waited_for_by_all";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(2)), 1);
    let nodes: Vec<Node> = (0..2).map(|index| signer(index, node.source())).collect();
    connect(&nodes);
    // It can be in the block after the next but one: a node takes it once the tip has this height.
    let lock = node.height() + 2;
    let height = LockTime::from_height(lock).expect("a height");
    let (request, id) = pay(2, &coins, script_of(&keys(2)), height);
    let session = sign(&nodes, request);
    for signer in &nodes {
        complete(signer, &signer.session(session.id()));
    }
    // One block, and turns long enough for a node that would not wait to complain.
    node.mine(1);
    std::thread::park_timeout(2 * TURN);
    assert!(!node.in_mempool(&id));
    node.mine(1);
    assert_eq!(node.height(), lock);
    for signer in &nodes {
        seen_without_complaint(signer, &signer.session(session.id()));
    }
    assert!(node.in_mempool(&id));
    node.mine(1);
    assert_eq!(node.height_of(&id), Some(lock + 1));
    for signer in &nodes {
        assert_eq!(confirmed(signer, &signer.session(session.id())), (lock + 1, 1));
    }
}

#[test]
fn regtest_lock_time_by_the_clock_is_waited_for_by_all() {
    let test = "regtest_lock_time_by_the_clock_is_waited_for_by_all";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(2)), 1);
    let nodes: Vec<Node> = (0..2).map(|index| signer(index, node.source())).collect();
    connect(&nodes);
    let median = || number(&node.call("getblockchaininfo", json!([]))["mediantime"]);
    // By the median time of eleven blocks, which the tip's own time runs ahead of.
    let lock = number(&node.call("getblockheader", json!([node.tip()]))["time"]) + 600;
    let time = LockTime::from_time(lock).expect("a time");
    let (request, id) = pay(2, &coins, script_of(&keys(2)), time);
    let session = sign(&nodes, request);
    for signer in &nodes {
        complete(signer, &signer.session(session.id()));
    }
    node.call("setmocktime", json!([lock + 60]));
    node.mine(5);
    assert!(median() <= lock);
    std::thread::park_timeout(2 * TURN);
    assert!(!node.in_mempool(&id));
    node.mine(6);
    assert!(median() > lock);
    for signer in &nodes {
        seen_without_complaint(signer, &signer.session(session.id()));
    }
    node.mine(1);
    assert_eq!(node.height_of(&id), Some(node.height()));
    for signer in &nodes {
        assert_eq!(confirmed(signer, &signer.session(session.id())), (node.height(), 1));
    }
}

#[test]
fn regtest_transaction_that_was_mined_and_spent_meanwhile_is_no_rejection() {
    let test = "regtest_transaction_that_was_mined_and_spent_meanwhile_is_no_rejection";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(1)), 1);
    let store = MemoryStore::new();
    // It signs while it reaches no backend.
    let nowhere = BitcoinCore::new("http://127.0.0.1:9", CoreAuth::None).expect("an address");
    let cut_off = signer_builder(0, Arc::new(nowhere)).store(store.clone()).start().expect("starts");
    let (request, id) = pay(1, &coins, anybody_script(), LockTime::ZERO);
    let unseen = JoinOptions { allow_missing_coins: true, ..JoinOptions::default() };
    let session = cut_off.create_session(request.consent(unseen)).wait().expect("is created");
    let transaction = complete(&cut_off, &session);
    cut_off.stop().expect("stops");

    // Somebody else brings it into the chain, and its output is spent there: Core answers -25 from now on.
    node.send(&transaction.bytes);
    node.mine(1);
    let height = node.height();
    assert_eq!(node.height_of(&id), Some(height));
    let own: bitcoin::Transaction = deserialize(&transaction.bytes).expect("a transaction");
    let output = coin_of(&own, 0);
    let child = anybody_pays(std::slice::from_ref(&output), &[output.value - 2_000]);
    node.send(&signed(&child).bytes);
    node.mine(1);
    let answer = node.try_call("sendrawtransaction", &json!([libmusig::types::to_hex(&transaction.bytes)]));
    assert_eq!(answer.expect("an answer").expect_err("it is refused")["code"], -25);

    let back = signer_builder(0, Arc::new(node.source())).store(store).start().expect("starts");
    let depth = wait_for(&back, "the confirmation", |event| {
        // That nobody could broadcast it is what it said while it was cut off.
        let refused =
            matches!(event.event, Event::BroadcastRejected { .. } | Event::BroadcastConflict { .. });
        assert!(!refused, "{event:?}");
        match &event.event {
            Event::BroadcastConfirmed { depth, .. } => Some(*depth),
            _ => None,
        }
    });
    let depth = depth.expect("its observer saw it");
    assert_eq!((depth.height, depth.confirmations), (height, 2));
    // Deep enough, the watch ends.
    node.mine(4);
    wait_until("the watch has ended", || {
        let status = back.session(session.id()).status().wait().expect("known");
        status.phase == libmusig::protocol::status::Phase::Final
    });
}

#[test]
fn regtest_signers_whose_nodes_disagree_trust_what_all_of_them_see() {
    let test = "regtest_signers_whose_nodes_disagree_trust_what_all_of_them_see";
    let (Some(one), Some(other)) = (Regtest::start(test, &[]), Regtest::start(test, &[])) else { return };
    let coins = fund(&one, &script_of(&keys(1)), 1);
    other.follow(&one);
    // A hostile server that nobody trusts is submitted to, and believed nothing.
    let liar = Esplora::new("http://127.0.0.1:9").expect("an address");
    let sources = Sources::new().trusted(one.source()).trusted(other.source()).submit_to(liar);
    let nodes = [signer(0, sources)];
    let (request, id) = pay(1, &coins, script_of(&keys(1)), LockTime::ZERO);
    let session = sign(&nodes, request);
    complete(&nodes[0], &session);
    seen(&nodes[0], &session);
    eventually("both have it", || (one.in_mempool(&id) && other.in_mempool(&id)).then_some(()));
    // Deep in the chain of one alone: no more than seen.
    one.mine(7);
    let height = one.height() - 6;
    assert_eq!(one.height_of(&id), Some(height));
    std::thread::park_timeout(TURN);
    assert_eq!(evidence(&session), Evidence::Seen);
    other.follow(&one);
    assert_eq!(confirmed(&nodes[0], &session), (height, 7));
    assert_eq!(other.height_of(&id), Some(height));
}
