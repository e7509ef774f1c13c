//! Sessions over libp2p in one process.

use libmusig::node::{Node, SessionRequest};

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
