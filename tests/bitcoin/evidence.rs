//! What `BitcoinCore` sees of transactions and coins, with and without an index; what it says to submissions.

use libmusig::chain::sources::{BroadcastAnswer, CoinStatus, RejectionKind, Source, Sources};
use libmusig::chain::{ChainObserver, ChainStatus};
use libmusig::types::{OutPoint, Txid};
use serde_json::json;

use crate::coins::{anybody_pays, anybody_script, coin_of, fund, query, signed, txid};
use crate::regtest::{Regtest, is_btcd, number};

const NEITHER: &[&str] = &[];
const INDEX: &[&str] = &["-txindex=1"];

fn confirmed(height: u32, confirmations: u32) -> ChainStatus {
    ChainStatus::Confirmed { height, confirmations }
}

/// A transaction from nowhere to a depth, back by reorganisations of 1 and 7 blocks, and into another block.
fn life_of_a_transaction(test: &str, options: &[&str]) {
    let Some(node) = Regtest::start(test, options) else { return };
    let coins = fund(&node, &anybody_script(), 2);
    let payment = anybody_pays(&coins[..1], &[coins[0].value - 2_000, 1_000]);
    let (id, asked) = (txid(&payment), query(&payment));
    let source = node.source();
    // One that asks for the first time, and so remembers nothing.
    let fresh = || node.source().status(&asked).expect("an answer");
    let see = |expected: ChainStatus| {
        assert_eq!(source.status(&asked), Ok(expected));
        assert_eq!(fresh(), expected);
    };

    see(ChainStatus::Unknown);
    assert_eq!(source.broadcast(&signed(&payment)), BroadcastAnswer::Accepted);
    assert!(node.in_mempool(&id));
    see(ChainStatus::Seen);
    assert!(source.broadcast(&signed(&payment)).is_success());

    node.mine(1);
    let height = node.height();
    assert_eq!(node.height_of(&id), Some(height));
    see(confirmed(height, 1));
    assert_eq!(source.broadcast(&signed(&payment)), BroadcastAnswer::AlreadyKnown);
    node.mine(2);
    see(confirmed(height, 3));

    // Its block goes: it waits in the mempool again, and comes into a block of another height.
    node.invalidate_from(height);
    assert!(node.in_mempool(&id));
    see(ChainStatus::Seen);
    node.mine_only(&[]);
    assert_eq!(node.height(), height, "a block without it");
    see(ChainStatus::Seen);
    node.mine(1);
    see(confirmed(height + 1, 1));
    node.mine(6);
    see(confirmed(height + 1, 7));
    node.invalidate_from(height + 1);
    see(ChainStatus::Seen);
    node.mine(1);
    see(confirmed(height + 1, 1));

    // All its outputs are spent, in the chain: nothing of it is among the unspent ones.
    let outputs = [coin_of(&payment, 0), coin_of(&payment, 1)];
    let second = anybody_pays(&outputs, &[outputs[0].value - 2_000]);
    node.send(&signed(&second).bytes);
    see(confirmed(height + 1, 1));
    node.mine(3);
    see(confirmed(height + 1, 4));
    assert_eq!(source.broadcast(&signed(&payment)), BroadcastAnswer::AlreadyKnown);
    assert_eq!(node.source().broadcast(&signed(&payment)), BroadcastAnswer::AlreadyKnown);
}

#[test]
fn regtest_life_of_a_transaction_without_an_index() {
    life_of_a_transaction("regtest_life_of_a_transaction_without_an_index", NEITHER);
}

#[test]
fn regtest_life_of_a_transaction_with_an_index() {
    life_of_a_transaction("regtest_life_of_a_transaction_with_an_index", INDEX);
}

/// Somebody else spends one of two coins: in the mempool that is nothing yet, in a block it is a conflict.
fn conflicting_spend(test: &str, options: &[&str]) {
    let Some(node) = Regtest::start(test, options) else { return };
    let coins = fund(&node, &anybody_script(), 2);
    let own = anybody_pays(&coins, &[coins[0].value + coins[1].value - 2_000]);
    let other = anybody_pays(&coins[1..], &[coins[1].value - 50_000]);
    let source = node.source();
    node.send(&signed(&other).bytes);
    assert_eq!(source.status(&query(&own)), Ok(ChainStatus::Unknown));
    match source.broadcast(&signed(&own)) {
        BroadcastAnswer::Rejected { kind: RejectionKind::Conflict, words, ambiguous: false } => {
            assert!(is_btcd() || words.contains("insufficient fee"), "{words}");
        }
        answer => panic!("{answer:?}"),
    }
    // Of what the mempool spends, btcd says nothing.
    if !is_btcd() {
        assert_eq!(source.coin(&coins[1].at), Ok(Some(CoinStatus::Spent)));
    }

    node.mine(1);
    let height = node.height();
    let conflict = |confirmations| Ok(ChainStatus::Conflict { txid: txid(&other), confirmations });
    assert_eq!(source.status(&query(&own)), conflict(1));
    node.mine(2);
    assert_eq!(source.status(&query(&own)), conflict(3));
    assert_eq!(node.source().status(&query(&own)), conflict(3));
    match source.broadcast(&signed(&own)) {
        BroadcastAnswer::Rejected { kind: RejectionKind::MissingInputs, words, ambiguous: false } => {
            assert!(words.contains(&txid(&other).to_string()), "it names the spender: {words}");
        }
        answer => panic!("{answer:?}"),
    }
    // The conflict is reorganised away, and the own transaction is mined in its place.
    node.invalidate_from(height);
    assert_eq!(source.status(&query(&own)), Ok(ChainStatus::Unknown));
    node.mine_only(&[&signed(&own).bytes]);
    assert_eq!(node.height_of(&txid(&own)), Some(height));
    assert_eq!(source.status(&query(&own)), Ok(confirmed(height, 1)));
    assert_eq!(
        source.status(&query(&other)),
        Ok(ChainStatus::Conflict { txid: txid(&own), confirmations: 1 })
    );
}

#[test]
fn regtest_conflicting_spend_without_an_index() {
    conflicting_spend("regtest_conflicting_spend_without_an_index", NEITHER);
}

#[test]
fn regtest_conflicting_spend_with_an_index() {
    conflicting_spend("regtest_conflicting_spend_with_an_index", INDEX);
}

#[test]
fn regtest_coins_and_the_tip() {
    for options in [NEITHER, INDEX] {
        let Some(node) = Regtest::start("regtest_coins_and_the_tip", options) else { return };
        let coins = fund(&node, &anybody_script(), 1);
        let source = node.source();
        let height = node.height();
        let info = node.call("getblockchaininfo", json!([]));
        let tip = source.tip().expect("an answer").expect("it can tell");
        assert_eq!((tip.height, tip.median_time), (height, number(&info["mediantime"])));
        let estimate = node.call("estimatesmartfee", json!([144, "economical"]));
        assert!(estimate["feerate"].is_null() && estimate["errors"].is_array(), "{estimate}");
        assert_eq!(source.congested(), Ok(None), "too few transactions for an estimate");

        assert_eq!(
            source.coin(&coins[0].at),
            Ok(Some(CoinStatus::Unspent { confirmations: 101, median_time: None }))
        );
        let payment = anybody_pays(&coins, &[coins[0].value - 1_000]);
        let created = coin_of(&payment, 0).at;
        assert_eq!(source.coin(&created), Ok(Some(CoinStatus::Unknown)));
        node.send(&signed(&payment).bytes);
        assert_eq!(source.coin(&coins[0].at), Ok(Some(CoinStatus::Spent)));
        assert_eq!(source.coin(&created), Ok(Some(CoinStatus::InMempool)));
        assert_eq!(source.coin(&OutPoint { vout: 1, ..created }), Ok(Some(CoinStatus::Unknown)));
        node.mine(1);
        assert_eq!(
            source.coin(&created),
            Ok(Some(CoinStatus::Unspent { confirmations: 1, median_time: None }))
        );
        // What was spent in a block and what never was look alike without an index.
        let spent = if options.is_empty() { CoinStatus::Unknown } else { CoinStatus::Spent };
        assert_eq!(source.coin(&coins[0].at), Ok(Some(spent)));
        assert_eq!(source.coin(&OutPoint { txid: Txid([7; 32]), vout: 0 }), Ok(Some(CoinStatus::Unknown)));
    }
}

#[test]
fn regtest_every_kind_of_answer_to_a_submission() {
    let Some(node) = Regtest::start("regtest_every_kind_of_answer_to_a_submission", NEITHER) else { return };
    let coins = fund(&node, &anybody_script(), 6);
    let source = node.source();
    let value = coins[0].value;
    let kind = |transaction: &bitcoin::Transaction| match source.broadcast(&signed(transaction)) {
        BroadcastAnswer::Rejected { kind, words, ambiguous } => {
            assert!(!words.is_empty() && !ambiguous, "{words}");
            kind
        }
        answer => panic!("{answer:?}"),
    };
    assert_eq!(kind(&anybody_pays(&coins[..1], &[value])), RejectionKind::FeeTooLow);
    assert_eq!(kind(&anybody_pays(&coins[..1], &[value + 1])), RejectionKind::Invalid);
    assert_eq!(kind(&anybody_pays(&coins[..1], &[value - 1_000, 1])), RejectionKind::Policy);
    let mut nowhere = coins[0].clone();
    nowhere.at.txid = Txid([9; 32]);
    assert_eq!(kind(&anybody_pays(&[nowhere], &[value - 1_000])), RejectionKind::MissingInputs);
    let mut unsigned = anybody_pays(&coins[..1], &[value - 1_000]);
    unsigned.input[0].witness.clear();
    assert_eq!(kind(&unsigned), RejectionKind::Invalid);

    let mut locked = anybody_pays(&coins[..1], &[value - 1_000]);
    locked.lock_time = bitcoin::absolute::LockTime::from_height(node.height() + 1).expect("a height");
    match source.broadcast(&signed(&locked)) {
        BroadcastAnswer::NotYetFinal { words } => assert_eq!(words, "non-final"),
        answer => panic!("{answer:?}"),
    }
    node.mine(1);
    assert_eq!(source.broadcast(&signed(&locked)), BroadcastAnswer::Accepted);
    // More than a tenth of a bitcoin for a thousand bytes: agreed upon, so submitted.
    let dear = anybody_pays(&coins[1..2], &[value / 2]);
    assert_eq!(source.broadcast(&signed(&dear)), BroadcastAnswer::Accepted);
    // Another witness is the same transaction.
    let mut other_witness = dear.clone();
    let elements: Vec<Vec<u8>> = vec![vec![2, 2], dear.input[0].witness[1].to_vec()];
    other_witness.input[0].witness = bitcoin::Witness::from_slice(&elements);
    assert!(source.broadcast(&signed(&other_witness)).is_success());
    assert!(node.in_mempool(&txid(&dear)));
    // An id that is not the transaction's.
    let mut lying = signed(&anybody_pays(&coins[2..3], &[value - 1_000]));
    lying.txid = Txid([3; 32]);
    assert!(matches!(source.broadcast(&lying), BroadcastAnswer::Unreachable { .. }));
}

#[test]
fn regtest_two_nodes_that_disagree() {
    let test = "regtest_two_nodes_that_disagree";
    let (Some(one), Some(other)) = (Regtest::start(test, NEITHER), Regtest::start(test, NEITHER)) else {
        return;
    };
    let coins = fund(&one, &anybody_script(), 1);
    other.follow(&one);
    let sources = Sources::new().trusted(one.source()).trusted(other.source());
    let own = anybody_pays(&coins, &[coins[0].value - 1_000]);
    let rival = anybody_pays(&coins, &[coins[0].value - 2_000]);
    let see = || sources.status(&query(&own)).expect("an answer");

    // Submitted to one: seen. To every one: each has it.
    one.send(&signed(&own).bytes);
    assert_eq!(see(), ChainStatus::Seen);
    assert!(sources.broadcast(&signed(&own)).is_success());
    crate::regtest::eventually("the other has it", || other.in_mempool(&txid(&own)).then_some(()));
    // Mined in the chain of one alone: no more than seen, however deep it is.
    one.mine(6);
    assert_eq!(see(), ChainStatus::Seen);
    other.follow(&one);
    let height = one.height() - 5;
    assert_eq!(see(), confirmed(height, 6));
    // The less deep one counts.
    one.mine(2);
    assert_eq!(see(), confirmed(height, 6));
    // One has a conflict in its chain where the other has the transaction: neither counts.
    other.invalidate_from(height);
    other.mine_only(&[&signed(&rival).bytes]);
    assert_eq!(see(), ChainStatus::Unknown);
    assert_eq!(
        other.source().status(&query(&own)),
        Ok(ChainStatus::Conflict { txid: txid(&rival), confirmations: 1 })
    );
    // One that does not answer is not waited for.
    drop(other);
    assert_eq!(see(), confirmed(height, 8));
}
