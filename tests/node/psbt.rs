//! Sessions proposed from a PSBT: Bitcoin Core's own, with the keys of its wallets in two nodes; and one with another
//! arrangement of keys for each input.

use std::str::FromStr;

use libmusig::chain::descriptor::Descriptor;
use libmusig::chain::psbt::Psbt;
use libmusig::event::Event;
use libmusig::node::{Node, Session, SessionRequest};
use libmusig::protocol::consent::JoinOptions;
use libmusig::protocol::crypto::key_set::{Derivation, KeyOrder, KeyOrigin, KeySet, Taproot};
use libmusig::protocol::proposal::{Proposal, SighashType};
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::types::{OutPoint, Signature, Txid};
use serde_json::Value;

use test_support::nodes::*;
use test_support::party::vectors_folder;
use test_support::psbt::{MusigCoin, psbt};

fn start(signer: LocalSigner) -> Node {
    let node = node_builder().signer(signer).store(MemoryStore::new()).listen("/ip4/127.0.0.1/tcp/0");
    node.without_observer().start().expect("starts")
}

/// A session of these nodes; its terms as the second one was shown them, and the signatures.
fn sign(nodes: &[Node], request: SessionRequest) -> (Session, Proposal, Vec<Signature>) {
    let session = nodes[0].create_session(request).wait().expect("is created");
    let proposal = wait_for(&nodes[1], "the proposal", |event| match &event.event {
        Event::SessionProposed { proposal, .. } if event.session == Some(session.id()) => {
            Some(proposal.clone())
        }
        _ => None,
    });
    for node in &nodes[1..] {
        node.session(session.id()).join_with(JoinOptions::default()).wait().expect("it is open");
    }
    wait_complete(&nodes[0], session.id());
    let signatures = session.final_signatures().wait().expect("known").expect("complete");
    (session, proposal, signatures)
}

/// The PSBT with the signatures, then final; and its transaction is the session's.
fn finished(psbt: &Psbt, session: &Session, signatures: &[Signature]) -> Txid {
    let mut psbt = psbt.clone();
    psbt.add_signatures(signatures).expect("they verify");
    let filled = psbt.clone();
    psbt.add_signatures(signatures).expect("the same again changes nothing");
    assert_eq!(psbt, filled);
    psbt.finalize().expect("all are signed");
    let transaction = psbt.extract().expect("complete");
    assert_eq!(session.final_transaction().wait().expect("known"), Some(transaction.clone()));
    transaction.txid
}

#[test]
fn psbt_v0_and_psbt_v2_core_sessions_are_signed_by_two_nodes_with_the_keys_of_cores_wallets() {
    let Some(folder) = vectors_folder("psbt_sessions") else { return };
    let text = std::fs::read_to_string(folder.join("bitcoin/bip373-core.json")).expect("the file is there");
    let core: Value = serde_json::from_str(&text).expect("JSON");
    let mut signed = [0; 2];
    for case in core["cases"].as_array().expect("a list") {
        let name = case["case"].as_str().expect("text");
        let private: Vec<&str> = case["private_descriptors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|descriptor| descriptor.as_str().expect("text"))
            .collect();
        if private.len() != 2 || name.contains("script") || name.contains("one after the other") {
            continue;
        }
        let nodes: Vec<Node> = private
            .iter()
            .enumerate()
            .map(|(index, descriptor)| {
                let signer = LocalSigner::new(secret(index)).expect("a secret key");
                let xprv = &descriptor[descriptor.find("tprv").expect("a private key")..];
                let xprv = xprv.split(['/', ',', ')']).next().expect("the key itself");
                signer.add_xprv(xprv, origin_of(descriptor)).expect("a private key");
                start(signer)
            })
            .collect();
        connect(&nodes);
        let descriptor = Descriptor::from_str(case["descriptor"].as_str().expect("text")).expect(name);
        let psbt = Psbt::from_base64(case["steps"][0]["psbt"].as_str().expect("text")).expect(name);
        let key_sets = descriptor.key_sets(&psbt).expect(name);
        let request = SessionRequest::from_psbt(keys(2), &psbt, &key_sets).expect(name);
        let (session, proposal, signatures) = sign(&nodes, request);
        assert!(!proposal.as_bytes().windows(5).any(|bytes| bytes == b"psbt\xff"), "{name}");
        assert_eq!(finished(&psbt, &session, &signatures).to_string(), case["txid"], "{name}");
        signed[usize::from(psbt.version() == 2)] += 1;
        for node in nodes {
            node.stop().expect("stops");
        }
    }
    assert!(signed.iter().all(|count| *count >= 4), "{signed:?}");
}

/// The origin of a descriptor's private key: its own fingerprint, as the text has none.
fn origin_of(private: &str) -> KeyOrigin {
    let participant = private[..private.find("tprv").expect("a private key")].matches(',').count();
    let keys = Descriptor::from_str(private).expect("a descriptor").keys(0, 0).expect("has an index 0");
    let origin = keys.key_set.participants[participant].origin.clone().expect("an extended key has one");
    KeyOrigin { path: Vec::new(), ..origin }
}

#[test]
fn psbt_v0_with_another_key_set_and_derivation_for_each_input_is_one_session() {
    let signers: Vec<LocalSigner> =
        (0..2).map(|index| LocalSigner::new(secret(index)).expect("a secret key")).collect();
    let own = |index: u8| -> Vec<_> {
        let add = |(signer, local): (usize, &LocalSigner)| {
            local.add_key([0x40 + 2 * index + signer as u8; 32]).expect("a secret key")
        };
        signers.iter().enumerate().map(add).collect()
    };
    let (wallet, derived, given) = (own(0), own(1), own(2));
    let coin = |number: u8, key_set: &KeySet, derivation: Derivation| MusigCoin {
        at: OutPoint { txid: Txid([number; 32]), vout: 0 },
        value: 10_000 * u64::from(number),
        key_set: key_set.clone(),
        derivation,
    };
    let wallet = KeySet::new(&wallet);
    let derived = KeySet::new(&derived);
    let given = KeySet::ordered(&given, KeyOrder::AsGiven);
    let coins = [
        coin(1, &wallet, Derivation::key_path([0, 9])),
        coin(2, &derived, Derivation::key_path([])),
        coin(3, &given, Derivation { path: Vec::new(), taproot: Taproot::None }),
        coin(4, &wallet, Derivation { path: vec![1, 2], taproot: Taproot::None }),
    ];
    let made = psbt(&coins, &[(90_000, vec![0x51])]);
    let nodes: Vec<Node> = signers.into_iter().map(start).collect();
    connect(&nodes);
    let key_sets = [given.clone(), derived.clone(), wallet.clone()];
    let request = SessionRequest::from_psbt(keys(2), &made, &key_sets).expect("they own all four");
    let (session, proposal, signatures) = sign(&nodes, request);
    // Each key set once, in the order of the signers; the messages name what the PSBT says.
    assert_eq!(proposal.key_sets, [wallet, derived, given]);
    let named: Vec<_> =
        proposal.messages.iter().map(|one| (one.input, one.key_set, &one.derivation)).collect();
    let expected: Vec<_> = [0, 1, 2, 0]
        .into_iter()
        .zip(&coins)
        .zip(0..)
        .map(|((set, coin), input)| (input, set, &coin.derivation))
        .collect();
    assert_eq!(named, expected);
    assert!(proposal.messages.iter().all(|one| one.sighash_type == SighashType::Default));
    finished(&made, &session, &signatures);
    for node in nodes {
        node.stop().expect("stops");
    }
}
