//! What a node says of peers and signers that it cannot reach.

use std::time::Duration;

use libmusig::event::Event;
use libmusig::node::{NetworkConfig, SessionRequest};
use libmusig::protocol::status::SignerStatus;
use test_support::nodes::*;

/// Whether it is connected, was seen, consented.
fn known(status: &SignerStatus) -> (bool, bool, bool) {
    (status.connected, status.last_seen.is_some(), status.consented)
}

#[test]
fn unreachable_peer_and_signer_are_events_and_a_stalled_session_says_what_is_known_of_whom() {
    let network = NetworkConfig { dial_timeout: Duration::from_millis(200), ..NetworkConfig::default() };
    let a = builder(secret(0))
        .network(network)
        .peer("/ip4/127.0.0.1/tcp/1")
        .stall_after(Duration::from_millis(300))
        .start()
        .expect("starts");
    let (address, cause, next_try_at) = wait_for(&a, "the address", |event| match &event.event {
        Event::PeerUnreachable { address: Some(address), signer: None, cause, next_try_at } => {
            Some((address.clone(), cause.clone(), *next_try_at))
        }
        _ => None,
    });
    assert_eq!(address, "/ip4/127.0.0.1/tcp/1");
    assert!(cause.contains("refused") && next_try_at.is_some(), "{cause}");

    let nodes = [a, builder(secret(1)).start().expect("starts")];
    connect(&nodes);
    let [a, b] = &nodes;
    let request = SessionRequest::messages(keys(3), vec![message(1)]);
    let session = a.create_session(request).wait().expect("is created");
    join_next(b);
    wait_until("it has two consents", || session.status().wait().expect("known").accepted.len() == 2);
    let status = session.status().wait().expect("known");
    let states: Vec<_> = status.signers.iter().map(known).collect();
    assert_eq!(states, [(true, true, true), (true, true, true), (false, false, false)]);
    assert!(status.signers.iter().enumerate().all(|(index, state)| state.signer == index));

    // The third one is nowhere: that is said twice, by its key and in its session.
    let (mut unreachable, mut stalled) = (None, None);
    wait_for(a, "both", |event| {
        match &event.event {
            Event::PeerUnreachable { address: None, signer: Some(signer), cause, next_try_at: None } => {
                unreachable = Some((*signer, cause.clone()));
            }
            Event::SessionStalled { missing, signers, .. } if *missing == [2] => {
                assert_eq!(event.session, Some(session.id()));
                stalled = Some(signers.clone());
            }
            _ => {}
        }
        (unreachable.is_some() && stalled.is_some()).then_some(())
    });
    let (signer, cause) = unreachable.expect("was waited for");
    assert_eq!(signer, key(2));
    assert!(cause.contains("no address of it is known"), "{cause}");
    let stalled = stalled.expect("was waited for");
    assert_eq!(stalled.iter().map(|state| state.signer).collect::<Vec<_>>(), [2]);
    assert_eq!(known(&stalled[0]), (false, false, false));

    // Who was there and left is told from who never came.
    b.stop().expect("stops");
    let left = || known(&session.status().wait().expect("known").signers[1]);
    wait_until("it is gone", || left() == (false, true, true));
    a.stop().expect("stops");
}
