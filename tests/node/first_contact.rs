//! Whom a node shows itself to, as an application sees it.

use libmusig::event::Event;
use libmusig::node::{Node, SessionRequest};
use libmusig::types::SignerKey;
use test_support::nodes::*;

/// Waits until a signer is connected, as an event.
fn meets(node: &Node, signer: SignerKey) {
    wait_for(node, "the other signer", |event| {
        matches!(event.event, Event::PeerConnected { signer: Some(other), .. } if other == signer)
            .then_some(())
    });
}

#[test]
fn first_contact_by_an_address_alone_leads_to_the_signer_with_the_first_session() {
    let folder = tempfile::tempdir().expect("a directory");
    let a = builder(secret(0)).start().expect("starts");
    let start = || {
        let builder = builder(secret(1)).store_path(folder.path().join("store"));
        builder.peer(&address(&a)).start().expect("starts")
    };
    let b = start();
    meets(&a, keys(2)[1]);
    assert_eq!(b.connected_signers().wait().expect("runs"), [], "an address alone led to the signer");
    let request = SessionRequest::messages(keys(2), vec![message(1)]).sign_only();
    let session = b.create_session(request).wait().expect("is created");
    meets(&b, keys(2)[0]);
    let id = session.id();
    join_next(&a);
    for node in [&a, &b] {
        wait_complete(node, id);
        node.session(id).close_session().wait().expect("is over");
    }
    // From now on each knows the other one.
    b.stop().expect("stops");
    let b = start();
    meets(&b, keys(2)[0]);
}

#[test]
fn first_contact_shows_the_signer_to_everybody_if_it_is_told_to() {
    let a = builder(secret(0)).hides(false).start().expect("starts");
    let b = builder(secret(1)).peer(&address(&a)).start().expect("starts");
    meets(&b, keys(2)[0]);
}
