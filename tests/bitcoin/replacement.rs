//! Fee bumps on a real node: a session that replaces an older one, and what a reorganisation makes of both.

use libmusig::event::Event;
use libmusig::node::{Node, Session};
use libmusig::protocol::failover::Evidence;
use libmusig::types::Txid;

use crate::coins::fund;
use crate::regtest::{Regtest, eventually};
use crate::signers::{complete, confirmed, script_of, seen, sign, signer, spend};
use test_support::nodes::*;

fn evidence(session: &Session) -> Evidence {
    session.status().wait().expect("known").failover.expect("is watched").evidence
}

#[test]
fn regtest_fee_that_is_too_low_is_bumped_by_a_session_that_replaces_it() {
    let test = "regtest_fee_that_is_too_low_is_bumped_by_a_session_that_replaces_it";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let n = 2;
    let coins = fund(&node, &script_of(&keys(n)), 1);
    let nodes: Vec<Node> = (0..n).map(|index| signer(index, node.source())).collect();
    connect(&nodes);
    // Less than one satoshi for each virtual byte.
    let (request, low) = spend(n, &coins, 50);
    let older = sign(&nodes, request);
    for signer in &nodes {
        let session = signer.session(older.id());
        let reason = wait_for(signer, "the rejection", |event| match &event.event {
            Event::BroadcastRejected { reason } if event.session == Some(session.id()) => {
                Some(reason.clone())
            }
            _ => None,
        });
        assert!(reason.contains("min relay fee not met"), "{reason}");
        assert_eq!(complete_transaction(&session), low);
    }
    for signer in &nodes {
        wait_for(signer, "the alarm", |event| {
            matches!(event.event, Event::NobodyCanBroadcast { .. }).then_some(())
        });
    }
    assert!(!node.in_mempool(&low));

    let (request, high) = spend(n, &coins, 5_000);
    let bump = sign(&nodes, request.replaces(older.id()));
    assert_eq!(complete(&nodes[0], &bump).txid, high);
    for signer in &nodes {
        seen(signer, &signer.session(bump.id()));
    }
    assert!(node.in_mempool(&high));
    node.mine(1);
    let height = node.height();
    for signer in &nodes {
        assert_eq!(confirmed(signer, &signer.session(bump.id())), (height, 1));
    }
    assert_eq!((node.height_of(&high), node.height_of(&low)), (Some(height), None));
    for signer in &nodes {
        // The older one's own observer says what spent its coins.
        let session = signer.session(older.id());
        eventually("the older session sees what replaced it", || {
            matches!(evidence(&session), Evidence::Conflict { txid, .. } if txid == high).then_some(())
        });
    }
}

fn complete_transaction(session: &Session) -> Txid {
    session.final_transaction().wait().expect("known").expect("complete").txid
}

#[test]
fn regtest_bump_that_is_reorganised_away_is_submitted_again_or_gives_way_to_what_it_replaced() {
    let test = "regtest_bump_that_is_reorganised_away_is_submitted_again_or_gives_way_to_what_it_replaced";
    let Some(mut node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(1)), 1);
    let signers = [crate::signers::signer_builder(0, std::sync::Arc::new(node.source()))
        .final_depth(20)
        .start()
        .expect("starts")];
    let (request, low) = spend(1, &coins, 500);
    let older = sign(&signers, request);
    let first = complete(&signers[0], &older);
    seen(&signers[0], &older);
    let (request, high) = spend(1, &coins, 5_000);
    let bump = sign(&signers, request.replaces(older.id()));
    seen(&signers[0], &bump);
    assert!(node.in_mempool(&high) && !node.in_mempool(&low), "it replaced the older one");
    node.mine(1);
    let height = node.height();
    assert_eq!(confirmed(&signers[0], &bump), (height, 1));

    // Its block is taken back, and the mempool is empty: it is submitted again.
    node.invalidate_from(height);
    node.stop();
    node.run(&["-persistmempool=0"]);
    assert!(!node.in_mempool(&high) && !node.in_mempool(&low) && node.height() == height - 1);
    wait_for(&signers[0], "the loss", |event| {
        let lost = matches!(event.event, Event::BroadcastLost { txid } if txid == high);
        lost.then_some(())
    });
    eventually("it is in the mempool again", || node.in_mempool(&high).then_some(()));
    node.mine(1);
    eventually("it is confirmed again", || {
        (evidence(&bump) == Evidence::Confirmed { height, confirmations: 1 }).then_some(())
    });
    assert_eq!((node.height_of(&high), node.height_of(&low)), (Some(height), None));

    // Taken back once more, and now another miner takes the older one: both sessions see it.
    node.invalidate_from(height);
    node.mine_only(&[&first.bytes]);
    assert_eq!((node.height_of(&high), node.height_of(&low)), (None, Some(height)));
    eventually("the older one is confirmed", || {
        (evidence(&older) == Evidence::Confirmed { height, confirmations: 1 }).then_some(())
    });
    eventually("the bump sees what spent its coins", || {
        (evidence(&bump) == Evidence::Conflict { txid: low, confirmations: 1 }).then_some(())
    });
}
