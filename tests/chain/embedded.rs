//! The embedded chain refuses what Bitcoin Core refuses, and counts.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::{Amount, Sequence, Transaction};
use libmusig::types::{OutPoint, Txid};

use crate::payment::{anybody_pays, anybody_script, anybody_witness, txid};
use test_support::backend::chain::{Chain, FIRST_HEIGHT, RejectReason, Spend, Submissions};

fn funded(chain: &Chain, count: usize) -> Vec<OutPoint> {
    (0..count).map(|_| chain.fund(&anybody_script(), 10_000)).collect()
}

fn submit(chain: &Chain, transaction: &Transaction) -> Result<Txid, RejectReason> {
    chain.submit(&serialize(transaction))
}

fn first_output(transaction: &Transaction) -> OutPoint {
    OutPoint { txid: txid(transaction), vout: 0 }
}

#[test]
fn a_transaction_goes_from_mempool_to_block() {
    let chain = Chain::new();
    let outputs = funded(&chain, 2);
    assert_ne!(outputs[0], outputs[1]);
    let payment = anybody_pays(&outputs[..1], 9_000);
    let id = txid(&payment);
    assert_eq!((chain.status(&id), chain.spend(&outputs[0])), (None, None));

    assert_eq!(submit(&chain, &payment), Ok(id));
    assert_eq!(chain.status(&id), Some(None));
    assert_eq!(chain.spend(&outputs[0]), Some(Spend { txid: id, input: 0, place: None }));
    assert_eq!(chain.raw(&id), Some(serialize(&payment)));
    assert_eq!(chain.mempool_size(), 1);

    assert_eq!(chain.mine(), FIRST_HEIGHT + 1);
    assert_eq!(chain.mine(), FIRST_HEIGHT + 2);
    assert_eq!(chain.tip(), FIRST_HEIGHT + 2);
    assert_eq!(chain.status(&id), Some(Some(FIRST_HEIGHT + 1)));
    assert_eq!(chain.spend(&outputs[0]).and_then(|spend| spend.place), Some(FIRST_HEIGHT + 1));
    assert_eq!(chain.spend(&outputs[1]), None);
    assert_eq!(chain.mempool_size(), 0);
}

#[test]
fn submissions_are_counted_and_repetitions_are_known() {
    let chain = Chain::new();
    let payment = anybody_pays(&funded(&chain, 1), 9_000);
    let id = txid(&payment);
    assert_eq!(chain.submissions(&id), Submissions::default());
    assert_eq!(submit(&chain, &payment), Ok(id));
    assert_eq!(submit(&chain, &payment), Ok(id));
    let mut other_witness = payment.clone();
    other_witness.input[0].witness = anybody_witness(&[2]);
    assert_eq!(submit(&chain, &other_witness), Err(RejectReason::SameTransaction));
    assert_eq!(chain.submissions(&id), Submissions { attempts: 3, accepted: 1 });
    chain.mine();
    assert_eq!(submit(&chain, &payment), Err(RejectReason::AlreadyInChain));
    assert_eq!(chain.submissions(&id), Submissions { attempts: 4, accepted: 1 });

    assert_eq!(chain.submit(&[]), Err(RejectReason::Undecodable));
    assert_eq!(chain.submit(&[serialize(&payment), vec![0]].concat()), Err(RejectReason::Undecodable));
    let (all, undecodable) = chain.all_submissions();
    assert_eq!((all.len(), undecodable), (1, 2));
}

#[test]
fn an_output_is_spent_once() {
    let chain = Chain::new();
    let outputs = funded(&chain, 2);
    let first = anybody_pays(&outputs[..1], 9_000);
    let second = anybody_pays(&outputs, 9_000);
    submit(&chain, &first).expect("good");
    assert_eq!(submit(&chain, &second), Err(RejectReason::Conflict(txid(&first))));
    chain.mine();
    assert_eq!(submit(&chain, &second), Err(RejectReason::MissingOrSpent(outputs[0])));
    let nowhere = OutPoint { vout: 1, ..outputs[1] };
    assert_eq!(submit(&chain, &anybody_pays(&[nowhere], 1)), Err(RejectReason::MissingOrSpent(nowhere)));
    assert_eq!(chain.submissions(&txid(&second)), Submissions { attempts: 2, accepted: 0 });
    assert_eq!(chain.spend(&outputs[1]), None);
}

#[test]
fn rules_of_consensus_hold() {
    let chain = Chain::new();
    let outputs = funded(&chain, 2);
    let good = anybody_pays(&outputs, 20_000);
    let changed = |change: &dyn Fn(&mut Transaction)| {
        let mut transaction = good.clone();
        change(&mut transaction);
        submit(&chain, &transaction)
    };
    let script = |input| Err(RejectReason::Script { input });
    let rule = |rule| Err(RejectReason::Malformed(rule));
    assert_eq!(changed(&|tx| tx.input[1].witness.clear()), script(1));
    assert_eq!(changed(&|tx| tx.input[0].witness.push([1])), script(0));
    assert_eq!(changed(&|tx| tx.output[0].value = Amount::from_sat(20_001)), Err(RejectReason::BelowOutputs));
    assert_eq!(changed(&|tx| tx.output[0].value = Amount::MAX), rule("bad-txns-txouttotal-toolarge"));
    assert_eq!(changed(&|tx| tx.output.clear()), rule("bad-txns-vout-empty"));
    assert_eq!(changed(&|tx| tx.input.clear()), rule("bad-txns-vin-empty"));
    assert_eq!(changed(&|tx| tx.input[1] = tx.input[0].clone()), rule("bad-txns-inputs-duplicate"));
    let null = bitcoin::OutPoint::null();
    assert_eq!(changed(&|tx| tx.input[1].previous_output = null), rule("bad-txns-prevout-null"));
    let huge = bitcoin::ScriptBuf::from_bytes(vec![0x6a; 1_000_000]);
    assert_eq!(changed(&|tx| tx.output[0].script_pubkey = huge.clone()), rule("bad-txns-oversize"));
    assert_eq!(submit(&chain, &good), Ok(txid(&good)));
}

#[test]
fn a_lock_time_is_waited_for() {
    let chain = Chain::new();
    let mut payment = anybody_pays(&funded(&chain, 1), 9_000);
    payment.input[0].sequence = Sequence::ENABLE_LOCKTIME_NO_RBF;
    payment.lock_time = LockTime::from_height(FIRST_HEIGHT + 2).expect("a height");
    assert_eq!(submit(&chain, &payment), Err(RejectReason::NotFinal));
    chain.mine();
    assert_eq!(submit(&chain, &payment), Err(RejectReason::NotFinal));
    chain.mine();
    assert_eq!(submit(&chain, &payment), Ok(txid(&payment)));
}

#[test]
fn an_eviction_takes_descendants_along() {
    let chain = Chain::new();
    let outputs = funded(&chain, 2);
    let parent = anybody_pays(&outputs[..1], 9_000);
    let child = anybody_pays(&[first_output(&parent)], 8_000);
    let grandchild = anybody_pays(&[first_output(&child)], 7_000);
    let unrelated = anybody_pays(&outputs[1..], 9_000);
    for transaction in [&parent, &unrelated, &child, &grandchild] {
        submit(&chain, transaction).expect("good");
    }
    assert!(chain.evict(&txid(&parent)));
    assert!(!chain.evict(&txid(&parent)));
    for gone in [&parent, &child, &grandchild] {
        assert_eq!(chain.status(&txid(gone)), None);
    }
    assert_eq!(chain.status(&txid(&unrelated)), Some(None));
    assert_eq!(chain.spend(&outputs[0]), None);

    submit(&chain, &parent).expect("its output is unspent again");
    assert_eq!(chain.submissions(&txid(&parent)), Submissions { attempts: 2, accepted: 2 });
    chain.mine();
    assert!(!chain.evict(&txid(&parent)), "blocks are not evicted");
    submit(&chain, &child).expect("good");
    chain.reorg(1);
    assert!(chain.evict(&txid(&parent)));
    assert_eq!(chain.status(&txid(&child)), None, "a child that waited before its parent came back");
}

#[test]
fn a_reorganisation_brings_transactions_back() {
    let chain = Chain::new();
    let outputs = funded(&chain, 1);
    let parent = anybody_pays(&outputs, 9_000);
    let child = anybody_pays(&[first_output(&parent)], 8_000);
    let grandchild = anybody_pays(&[first_output(&child)], 7_000);
    for transaction in [&parent, &child] {
        submit(&chain, transaction).expect("good");
        chain.mine();
    }
    submit(&chain, &grandchild).expect("good");

    assert_eq!(chain.reorg(2), [txid(&parent), txid(&child)]);
    assert_eq!(chain.tip(), FIRST_HEIGHT);
    for waiting in [&parent, &child, &grandchild] {
        assert_eq!(chain.status(&txid(waiting)), Some(None));
    }
    assert_eq!(chain.mine(), FIRST_HEIGHT + 1);
    assert_eq!(chain.status(&txid(&grandchild)), Some(Some(FIRST_HEIGHT + 1)));

    // Another chain wins that has a conflicting spend.
    chain.reorg(usize::MAX);
    assert!(chain.evict(&txid(&parent)));
    let conflict = anybody_pays(&outputs, 1_000);
    submit(&chain, &conflict).expect("nothing else spends it now");
    chain.mine();
    assert_eq!(submit(&chain, &parent), Err(RejectReason::MissingOrSpent(outputs[0])));
}
