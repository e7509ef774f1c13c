//! The own wallet: what pays to its descriptors is its own, within the gap limit, and nothing signs raw messages with its
//! keys unasked.

use std::time::Instant;

use bitcoin::NetworkKind;
use bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use bitcoin::secp256k1::Secp256k1;
use libmusig::JoinOptions;
use libmusig::chain::descriptor::Descriptor;
use libmusig::chain::summary::{Summary, SummaryOptions, Warning};
use libmusig::chain::wallet::{DESCRIPTORS, OwnDescriptor};
use libmusig::error::{ConsentError, Error};
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::crypto::key_set::{KeyOrigin, KeySet};
use libmusig::protocol::proposal::Message;
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::types::{OutPoint, Txid};
use test_support::nodes::*;
use test_support::psbt::{MusigCoin, psbt};

/// A signer with an account, which is the wallet of one.
fn signer() -> (LocalSigner, String) {
    let curve = Secp256k1::new();
    let account = Xpriv::new_master(NetworkKind::Test, &[7; 32]).expect("a seed");
    let path: Vec<ChildNumber> = [86, 1, 0].map(|number: u32| (number + (1 << 31)).into()).to_vec();
    let origin = KeyOrigin {
        fingerprint: account.fingerprint(&curve).to_bytes(),
        path: path.iter().map(|number| (*number).into()).collect(),
    };
    let account = account.derive_priv(&curve, &path).expect("exists");
    let xpub = Xpub::from_priv(&curve, &account);
    let signer = LocalSigner::new(secret(0)).expect("a secret key");
    let fingerprint = libmusig::types::to_hex(&origin.fingerprint);
    signer.add_xprv(&account.to_string(), origin).expect("an account");
    (signer, format!("[{fingerprint}/86h/1h/0h]{xpub}"))
}

/// Derived after the aggregation, and before it.
fn descriptors(key: &str) -> [Descriptor; 2] {
    [format!("tr(musig({key})/<0;1>/*)"), format!("tr(musig({key}/<0;1>/*))")]
        .map(|text| text.parse().expect("a descriptor"))
}

/// A session that spends a coin of the descriptor, and pays to these of its change outputs and to the coin's own key; its
/// summary.
fn summary(node: &Node, descriptor: &Descriptor, change: &[u32], coin: u8) -> Summary {
    let keys = descriptor.keys(0, 0).expect("exists");
    let at = OutPoint { txid: Txid([coin; 32]), vout: 0 };
    let coin = MusigCoin { at, value: 60_000, key_set: keys.key_set.clone(), derivation: keys.derivation };
    let back = coin.script();
    let outputs = change.iter().map(|index| (1_000, descriptor.output_script(1, *index).expect("exists")));
    let outputs: Vec<_> = outputs.chain([(50_000, back)]).collect();
    let request = SessionRequest::from_psbt(keys_of(), &psbt(&[coin], &outputs), &[keys.key_set]);
    let session = node.create_session(request.expect("its own coin")).wait().expect("is created");
    session.summary(SummaryOptions::default()).wait().expect("is known")
}

fn keys_of() -> Vec<libmusig::types::SignerKey> {
    keys(1)
}

fn own(summary: &Summary) -> Vec<bool> {
    let transaction = summary.transaction.as_ref().expect("a transaction");
    transaction.outputs.iter().map(|output| output.own).collect()
}

fn unknown(summary: &Summary) -> Vec<u32> {
    let output = |warning: &Warning| match warning {
        Warning::UnknownArrangement { output } => Some(*output),
        _ => None,
    };
    summary.warnings.iter().filter_map(output).collect()
}

fn start(store: &MemoryStore) -> Node {
    builder(secret(0)).identity(signer().0).store(store.clone()).start().expect("starts")
}

#[test]
fn descriptor_of_the_own_wallet_tells_change_within_its_gap_limit() {
    let (_, key) = signer();
    for (round, descriptor) in (0..).zip(descriptors(&key)) {
        let store = MemoryStore::new();
        let node = start(&store);
        let mut coin = round * 100;
        let mut look = |node: &Node| {
            coin += 1;
            summary(node, &descriptor, &[0, 19, 20, 24, 25], coin)
        };
        // What the proposal says of itself proves nothing.
        let before = look(&node);
        assert_eq!((own(&before), unknown(&before)), (vec![false; 6], vec![]));
        node.add_descriptor(descriptor.clone()).wait().expect("is stored");
        let added = look(&node);
        assert_eq!(own(&added), [true, true, false, false, false, true]);
        assert!(added.transaction.as_ref().expect("a transaction").inputs[0].own);
        let later = OwnDescriptor { descriptor: descriptor.clone(), next_index: 5, gap_limit: 20 };
        node.add_descriptor(later.clone()).wait().expect("is stored");
        assert_eq!(own(&look(&node)), [true, true, true, true, false, true]);
        assert_eq!(node.descriptors().wait().expect("runs"), std::slice::from_ref(&later));
        node.stop().expect("stops");
        // It is stored.
        let node = start(&store);
        assert_eq!(node.descriptors().wait().expect("runs"), [later]);
        assert_eq!(own(&look(&node)), [true, true, true, true, false, true]);
        // Another wallet's: the same signers pay themselves, in a way that it does not know.
        let other = "tr(musig(0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798))";
        node.remove_descriptor(&descriptor).wait().expect("is stored");
        node.add_descriptor(other.parse::<Descriptor>().expect("a descriptor")).wait().expect("is stored");
        let removed = look(&node);
        assert_eq!((own(&removed), unknown(&removed)), (vec![false; 6], vec![5]));
        node.stop().expect("stops");
        assert_eq!(start(&store).descriptors().wait().expect("runs").len(), 1);
    }
}

#[test]
fn descriptor_of_the_own_wallet_keeps_its_keys_from_raw_messages() {
    let (_, key) = signer();
    for descriptor in descriptors(&key) {
        let node = start(&MemoryStore::new());
        let made = descriptor.keys(1, 7).expect("exists");
        let raw = |key_set: &KeySet, number: u8| {
            // Not an output key: the aggregate itself signs, or a child of it.
            let request =
                SessionRequest::messages(keys(1), [Message::with([number; 32], 1, Default::default())]);
            request.key_set(key_set.clone()).sign_only()
        };
        node.create_session(raw(&made.key_set, 1)).wait().expect("nobody said whose the key is");
        node.add_descriptor(descriptor.clone()).wait().expect("is stored");
        let refused = node.create_session(raw(&made.key_set, 2)).wait().err();
        let blind = ConsentError::BlindMessage { message: 0, session: None };
        assert_eq!(refused, Some(Error::Consent(blind)));
        let word = JoinOptions { sign_blind: true, ..JoinOptions::default() };
        node.create_session(raw(&made.key_set, 3).consent(word)).wait().expect("the application said so");
        node.remove_descriptor(&descriptor).wait().expect("is stored");
        node.create_session(raw(&made.key_set, 4)).wait().expect("it is nobody's again");
        node.stop().expect("stops");
    }
}

/// A large wallet does not hold up the start, and nothing is signed before it is known again.
#[test]
fn descriptor_of_the_own_wallet_is_derived_beside_the_start_and_before_a_consent() {
    let (_, key) = signer();
    let [_, descriptor] = descriptors(&key);
    let store = MemoryStore::new();
    let node = start(&store);
    let far = OwnDescriptor { descriptor: descriptor.clone(), next_index: 4_000, gap_limit: 0 };
    node.add_descriptor(far).wait().expect("is stored");
    node.stop().expect("stops");

    let last = descriptor.keys(1, 3_999).expect("exists").key_set;
    let begun = Instant::now();
    let node = start(&store);
    node.sessions().wait().expect("runs");
    let started = begun.elapsed();
    let raw = SessionRequest::messages(keys(1), [Message::with([1; 32], 1, Default::default())]);
    let refused = node.create_session(raw.key_set(last).sign_only()).wait().err();
    let derived = begun.elapsed();
    let blind = ConsentError::BlindMessage { message: 0, session: None };
    assert_eq!(refused, Some(Error::Consent(blind)));
    assert!(started * 2 < derived, "{started:?}, {derived:?}");
    node.stop().expect("stops");
}

#[test]
fn descriptors_of_the_own_wallet_are_limited() {
    let (_, key) = signer();
    let [descriptor, _] = descriptors(&key);
    let node = start(&MemoryStore::new());
    let far = |next_index, gap_limit| OwnDescriptor { descriptor: descriptor.clone(), next_index, gap_limit };
    for far in [far(50_001, 0), far(u32::MAX, u32::MAX)] {
        assert!(matches!(node.add_descriptor(far).wait(), Err(Error::Limit { .. })));
    }
    for index in 0..DESCRIPTORS {
        let one: Descriptor = format!("tr(musig({key}/{index}))").parse().expect("a descriptor");
        node.add_descriptor(one).wait().expect("one of 64");
    }
    assert!(matches!(
        node.add_descriptor(descriptor.clone()).wait(),
        Err(Error::Limit { limit: DESCRIPTORS, .. })
    ));
    assert_eq!(node.descriptors().wait().expect("runs").len(), DESCRIPTORS);
    node.suspend().wait().expect("is suspended");
    assert_eq!(node.remove_descriptor(&descriptor).wait(), Err(Error::Suspended));
    node.stop().expect("stops");
}
