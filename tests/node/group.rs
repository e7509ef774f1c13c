//! A wallet of several people, from their cards to a transaction that all of them signed.

use std::str::FromStr;

use bitcoin::NetworkKind;
use bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use bitcoin::secp256k1::Secp256k1;
use libmusig::chain::group::{Group, SignerCard};
use libmusig::chain::psbt::PsbtError;
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::crypto::key_set::{Derivation, KeyOrigin, KeySet};
use libmusig::signer::LocalSigner;
use libmusig::types::{OutPoint, Txid};

use test_support::nodes::*;
use test_support::psbt::{MusigCoin, psbt};

/// A signer with an account of its own, and its card, as text.
fn member(index: usize) -> (LocalSigner, String) {
    let curve = Secp256k1::new();
    let master = Xpriv::new_master(NetworkKind::Test, &[index as u8 + 1; 32]).expect("a seed");
    let path = [86, 1, 0].map(|number| number + (1 << 31));
    let children: Vec<ChildNumber> = path.iter().map(|number| (*number).into()).collect();
    let account = master.derive_priv(&curve, &children).expect("exists");
    let origin = KeyOrigin { fingerprint: master.fingerprint(&curve).to_bytes(), path: path.to_vec() };
    let signer = LocalSigner::new(secret(index)).expect("a secret key");
    signer.add_xprv(&account.to_string(), origin.clone()).expect("an account");
    let xpub = Xpub::from_priv(&curve, &account).to_string();
    let name = format!("signer {index}");
    let card = SignerCard::new(&signer, &xpub, origin, Some(&name), &["/ip4/192.0.2.1/tcp/4001"]);
    (signer, card.expect("a good card").to_string())
}

#[test]
fn group_of_cards_signs_a_psbt_that_spends_what_was_paid_to_its_addresses() {
    let (signers, cards): (Vec<LocalSigner>, Vec<String>) = (0..3).map(member).unzip();
    // Each reads the texts of all, in whatever order they came.
    let groups: Vec<Group> = (0..3)
        .map(|turn| {
            let read = cards.iter().cycle().skip(turn).take(3).map(|text| SignerCard::from_str(text));
            Group::new(read.map(|card| card.expect("a good card"))).expect("three signers")
        })
        .collect();
    assert!(groups.windows(2).all(|two| two[0].check_phrase() == two[1].check_phrase()));
    let group = Group::from_json(&groups[0].to_json()).expect("the same group");

    let coin = |change: bool, index: u32, byte: u8| {
        let keys = group.keys(change, index).expect("exists");
        let at = OutPoint { txid: Txid([byte; 32]), vout: 0 };
        MusigCoin { at, value: 60_000, key_set: keys.key_set, derivation: keys.derivation }
    };
    let coins = [coin(false, 0, 1), coin(true, 5, 2)];
    let change = coin(true, 6, 3).script();
    let spent = psbt(&coins, &[(50_000, vec![0x51]), (69_000, change)]);

    let nodes: Vec<Node> = signers
        .into_iter()
        .enumerate()
        .map(|(index, signer)| builder(secret(index)).identity(signer).start().expect("starts"))
        .collect();
    connect(&nodes);
    let request = SessionRequest::for_group(&group, &spent).expect("its own coins");
    let session = nodes[0].create_session(request.sign_only()).wait().expect("is created");
    join_next(&nodes[1]);
    join_next(&nodes[2]);
    for node in &nodes {
        wait_complete(node, session.id());
        let signatures =
            node.session(session.id()).final_signatures().wait().expect("known").expect("complete");
        let mut signed = spent.clone();
        signed.add_signatures(&signatures).expect("they verify");
        signed.finalize().expect("both inputs");
    }

    // Coins of other keys are not its own.
    let foreign = KeySet::new(&keys(3));
    let other = MusigCoin {
        at: OutPoint { txid: Txid([4; 32]), vout: 1 },
        value: 60_000,
        key_set: foreign,
        derivation: Derivation::key_path([0, 0]),
    };
    let mixed = psbt(&[coin(false, 1, 5), other], &[(50_000, vec![0x51])]);
    let refused = SessionRequest::for_group(&Group::new(group.cards()[..2].to_vec()).expect("two"), &mixed);
    assert!(matches!(refused.err(), Some(PsbtError::ForeignParticipant { input: 0, .. })));
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}
