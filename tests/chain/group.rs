//! Groups: cards of signers, what is read from them, and the wallet that they make.

use std::str::FromStr;

use bitcoin::bech32::{self, Bech32, Bech32m, Hrp};
use bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{Network, NetworkKind};
use libmusig::chain::descriptor::Descriptor;
use libmusig::chain::group::{CARD_LENGTH, Group, GroupError, SignerCard};
use libmusig::error::SignerError;
use libmusig::protocol::crypto::key_set::KeyOrigin;
use libmusig::signer::{Identity, LocalSigner};
use test_support::party::local;

const H: u32 = 1 << 31;

/// An account of a wallet, at m/48h/1h/0h/2h, and its origin.
fn account(seed: u8, kind: NetworkKind) -> (Xpub, KeyOrigin) {
    let curve = Secp256k1::new();
    let master = Xpriv::new_master(kind, &[seed; 32]).expect("a seed");
    let path = vec![48 + H, 1 + H, H, 2 + H];
    let children: Vec<ChildNumber> = path.iter().map(|number| (*number).into()).collect();
    let xpub = Xpub::from_priv(&curve, &master.derive_priv(&curve, &children).expect("exists"));
    (xpub, KeyOrigin { fingerprint: master.fingerprint(&curve).to_bytes(), path })
}

fn card_of(signer: u8, kind: NetworkKind, name: Option<&str>) -> SignerCard {
    let (xpub, origin) = account(signer, kind);
    let address = format!("/ip4/192.0.2.{signer}/tcp/4001");
    SignerCard::new(&local(signer), &xpub.to_string(), origin, name, &[&address]).expect("a good card")
}

fn card(signer: u8) -> SignerCard {
    card_of(signer, NetworkKind::Test, None)
}

fn reason(result: Result<SignerCard, GroupError>) -> &'static str {
    match result {
        Err(GroupError::Card { position: None, reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn group_card_is_read_as_it_was_written_from_text_and_from_a_qr_code() {
    let (xpub, origin) = account(7, NetworkKind::Test);
    let addresses = ["/dns4/alice.example/tcp/4001", "/ip6/2001:db8::7/tcp/4001"];
    let made = SignerCard::new(&local(7), &xpub.to_string(), origin.clone(), Some("Alice Ünal"), &addresses);
    let made = made.expect("a good card");
    let text = made.to_string();
    assert!(text.starts_with("musig1") && text.len() <= CARD_LENGTH, "{text}");
    // Upper case is what QR codes have a mode for.
    assert!(made.to_qr_text().bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
    for written in [text.clone(), made.to_qr_text(), format!("  {text}\n")] {
        let read: SignerCard = written.parse().expect("the same card");
        assert_eq!(read, made);
    }
    assert_eq!((*made.identity(), made.xpub()), (local(7).public_key(), xpub.to_string()));
    assert_eq!(
        (made.origin(), made.name(), made.addresses()),
        (&origin, Some("Alice Ünal"), &addresses.map(String::from)[..])
    );
    // It stays readable: a card is kept for years.
    let fixed = concat!(
        "musig1pgssy7d7vel0nh9m4326qc54e6rskpczn07dktww9rv4nu5ptvt0s9uczf8qgdv8euzqf75fhjqqqqqz4sm0mfu7fety54",
        "5qd086terud2fkdd3fx0rxcttjmfhc7477099qx9tpl5xcjqhkn6q8gwl8t0avs0krmhmxql8z6tu9y6asnyvjtc8wrgzyhfpkqv",
        "3pfvyqszqq3qvqszqq3qyqszqq3q5qszqqsvsh9a5hqdp0xyunyt3s9cezuvf0w33hqte5xqcrrnqhp0dd434hj7xkhr6tx83m0l",
        "zhj9ew4qpruca7c04hk8vkzfzfkgsl4gvzzhyv8zka0l3lzxp80x9zh4lp9s5lgwuvs8dry9krd4dsfvdp38",
    );
    let read: SignerCard = fixed.parse().expect("as it was written first");
    assert_eq!(
        (*read.identity(), read.xpub()),
        (local(1).public_key(), account(1, NetworkKind::Test).0.to_string())
    );
}

#[test]
fn group_card_that_was_changed_anywhere_is_refused() {
    let made = card(3);
    let text = made.to_string();
    for position in 0..text.len() {
        let replaced = if &text[position..=position] == "q" { "p" } else { "q" };
        let mut changed = text.clone();
        changed.replace_range(position..=position, replaced);
        assert!(SignerCard::from_str(&changed).is_err(), "{position}");
    }
    for cut in [0, 6, text.len() / 2, text.len() - 1] {
        assert!(SignerCard::from_str(&text[..cut]).is_err(), "{cut}");
    }
    // With a checksum of its own.
    let hrp = Hrp::parse("musig").expect("a prefix");
    let (_, bytes) = bech32::decode(&text).expect("bech32m");
    let encode = |bytes: &[u8]| bech32::encode::<Bech32m>(hrp, bytes).expect("short");
    assert_eq!(encode(&bytes), text);
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 1;
        assert!(SignerCard::from_str(&encode(&changed)).is_err(), "byte {position}");
    }
    // A field that is not known, signed by the identity key, would be a second text of the same card.
    let mut body = bytes[..bytes.len() - 64].to_vec();
    body.extend([0x3a, 0x01, 0x00]);
    let signature = local(3).sign(&libmusig::types::tagged_hash("musig/card", &[&body])).expect("not locked");
    let refused = reason(encode(&[&body[..], &signature.0].concat()).parse());
    assert!(refused.contains("one way"), "{refused}");
    // Other encodings, other prefixes, too much.
    assert!(SignerCard::from_str(&bech32::encode::<Bech32>(hrp, &bytes).expect("short")).is_err());
    let other = Hrp::parse("musik").expect("a prefix");
    assert!(SignerCard::from_str(&bech32::encode::<Bech32m>(other, &bytes).expect("short")).is_err());
    assert!(SignerCard::from_str(&text.replacen("musig1", "Musig1", 1)).is_err(), "mixed case");
    assert!(reason("q".repeat(CARD_LENGTH + 1).parse()).contains("1023"));
    assert!(SignerCard::from_str(&"q".repeat(1 << 22)).is_err());
}

#[test]
fn group_card_with_wrong_content_is_refused_in_words() {
    let (xpub, origin) = account(5, NetworkKind::Test);
    let make =
        |identity: &dyn Identity, xpub: &str, origin: KeyOrigin, name: Option<&str>, addresses: &[&str]| {
            reason(SignerCard::new(identity, xpub, origin, name, addresses))
        };
    let xpub = xpub.to_string();
    let good = local(5);
    let at = |path: &[u32]| KeyOrigin { fingerprint: origin.fingerprint, path: path.to_vec() };
    for (words, refused) in [
        ("cannot be read", make(&good, &xpub[1..], origin.clone(), None, &[])),
        ("another place", make(&good, &xpub, at(&[48 + H, 1 + H, H]), None, &[])),
        ("another place", make(&good, &xpub, at(&[48 + H, 1 + H, H, 3 + H]), None, &[])),
        ("more than 16", make(&good, &xpub, at(&[H; 17]), None, &[])),
        ("its name", make(&good, &xpub, origin.clone(), Some(""), &[])),
        ("its name", make(&good, &xpub, origin.clone(), Some("two\nlines"), &[])),
        ("its name", make(&good, &xpub, origin.clone(), Some(&"a".repeat(65)), &[])),
        ("its name", make(&good, &xpub, origin.clone(), Some(" a"), &[])),
        ("4 addresses", make(&good, &xpub, origin.clone(), None, &["/a"; 5])),
        ("multiaddress", make(&good, &xpub, origin.clone(), None, &["alice.example:4001"])),
        ("multiaddress", make(&good, &xpub, origin.clone(), None, &["/ip4/1.2.3.4 /tcp/1"])),
        ("multiaddress", make(&good, &xpub, origin.clone(), None, &[&format!("/{}", "a".repeat(128))])),
        ("too long", make(&good, &xpub, origin.clone(), None, &[&*format!("/{}", "a".repeat(127)); 4])),
    ] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    // A master key has itself as fingerprint.
    let curve = Secp256k1::new();
    let master = Xpriv::new_master(NetworkKind::Test, &[5; 32]).expect("a seed");
    let of_master = Xpub::from_priv(&curve, &master).to_string();
    let wrong = KeyOrigin { fingerprint: [1; 4], path: Vec::new() };
    assert!(make(&good, &of_master, wrong, None, &[]).contains("fingerprint"));
    // Identity keys that are relatives of the wallet's.
    let children: Vec<ChildNumber> = origin.path.iter().map(|number| (*number).into()).collect();
    let of_account = master.derive_priv(&curve, &children).expect("exists");
    for path in [vec![], vec![0], vec![19], vec![0, 0], vec![1, 19]] {
        let path: Vec<ChildNumber> = path.into_iter().map(|number: u32| number.into()).collect();
        let secret = of_account.derive_priv(&curve, &path).expect("exists").private_key.secret_bytes();
        let relative = LocalSigner::new(secret).expect("a key");
        assert!(make(&relative, &xpub, origin.clone(), None, &[]).contains("apart"), "{path:?}");
    }
    let locked = local(5);
    locked.lock();
    let refused = SignerCard::new(&locked, &xpub, origin.clone(), None, &[]);
    assert_eq!(refused, Err(GroupError::Signer(SignerError::Locked)));
}

#[test]
fn group_of_the_same_cards_is_the_same_in_any_order() {
    let cards: Vec<SignerCard> = (1..=3).map(card).collect();
    let group = Group::new(cards.clone()).expect("three signers");
    let turned = Group::new(cards.iter().rev().cloned()).expect("three signers");
    assert_eq!(group, turned);
    assert!(group.signers().is_sorted());
    // The descriptor says everything that other wallets need.
    let descriptor: Descriptor = group.descriptor().to_string().parse().expect("a descriptor");
    for (change, branch) in [(false, 0), (true, 1)] {
        for index in [0, 1, 77] {
            let address = group.address(Network::Regtest, change, index).expect("exists");
            assert_eq!(address, descriptor.address(Network::Regtest, branch, index).expect("exists"));
            let keys = group.keys(change, index).expect("exists");
            assert_eq!(keys.derivation.path, [branch as u32, index]);
            let owners: Vec<_> = group.cards().iter().map(SignerCard::participant_key).collect();
            assert_eq!(keys.key_set.keys(), owners, "by signer index");
            assert_eq!(keys.key_set, group.key_set());
        }
    }
    assert_ne!(group.address(Network::Regtest, false, 0), group.address(Network::Regtest, true, 0));
    assert!(group.address(Network::Bitcoin, false, 0).is_err());
    assert!(group.keys(false, H).is_err());
}

#[test]
fn group_check_phrase_tells_any_other_key_and_no_other_name() {
    let group = |cards: Vec<SignerCard>| Group::new(cards).expect("good cards").check_phrase();
    let phrase = group(vec![card(1), card(2), card(3)]);
    assert_eq!(phrase, "vivos faral ribat rafup mitij raban hugot dajad");
    let words: Vec<&str> = phrase.split(' ').collect();
    assert!(words.len() == 8 && words.iter().all(|word| word.len() == 5), "{phrase}");
    let named = card_of(2, NetworkKind::Test, Some("Bob"));
    assert_eq!(group(vec![card(1), named, card(3)]), phrase);
    assert_ne!(group(vec![card(1), card(2), card(4)]), phrase);
    assert_ne!(group(vec![card(1), card(2)]), phrase);
    // Another identity key with the same wallet, and the other way round.
    let (xpub, origin) = account(3, NetworkKind::Test);
    let other = SignerCard::new(&local(9), &xpub.to_string(), origin, None, &[]).expect("good");
    assert_ne!(group(vec![card(1), card(2), other]), phrase);
    let (xpub, origin) = account(9, NetworkKind::Test);
    let other = SignerCard::new(&local(3), &xpub.to_string(), origin, None, &[]).expect("good");
    assert_ne!(group(vec![card(1), card(2), other]), phrase);
}

#[test]
fn group_refuses_cards_that_do_not_go_together() {
    assert_eq!(Group::new([]), Err(GroupError::Size { cards: 0 }));
    assert_eq!(Group::new((0..129).map(|_| card(1))), Err(GroupError::Size { cards: 129 }));
    let twice = Group::new([card(1), card(2), card_of(1, NetworkKind::Test, Some("again"))]);
    assert_eq!(twice, Err(GroupError::SameSigner { first: 0, second: 2 }));
    let (xpub, origin) = account(1, NetworkKind::Test);
    let same_wallet = SignerCard::new(&local(8), &xpub.to_string(), origin, None, &[]).expect("good");
    let refused = Group::new([card(2), card(1), same_wallet]);
    assert_eq!(refused, Err(GroupError::SameSigner { first: 1, second: 2 }));
    let mixed = Group::new([card(1), card_of(2, NetworkKind::Main, None)]);
    assert_eq!(mixed, Err(GroupError::MixedNetworks { position: 1 }));
}

#[test]
fn group_is_read_from_json_as_it_was_written_and_no_changed_one_is() {
    let (alice, second, third) = (card_of(1, NetworkKind::Test, Some("Alice")), card(2), card(3));
    let group = Group::new([alice.clone(), second.clone()]).expect("two signers");
    let text = group.to_json();
    assert_eq!(Group::from_json(&text).expect("the same group"), group);
    let only_cards = format!(r#"{{"musig_group":1,"cards":["{}","{}"]}}"#, second, alice.to_qr_text());
    assert_eq!(Group::from_json(&only_cards).expect("enough").signers().len(), 2);

    let phrase = group.check_phrase();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Group::from_json(&text.replacen(from, to, 1)).expect_err("changed")
    };
    for error in [
        changed(&phrase, &phrase.to_uppercase()),
        changed("<0;1>", "<1;0>"),
        changed(&second.to_string(), &third.to_string()),
        changed("\"musig_group\": 1", "\"musig_group\": 2"),
        changed("\"cards\"", "\"maps\""),
        Group::from_json("").expect_err("empty"),
        Group::from_json(&"[".repeat(1 << 16)).expect_err("deep"),
        Group::from_json(&" ".repeat(1 << 22)).expect_err("long"),
        Group::from_json(r#"{"musig_group":1,"cards":[7]}"#).expect_err("no text"),
    ] {
        assert!(matches!(error, GroupError::Text { .. }), "{error:?}");
    }
    let bad = changed(&second.to_string(), "musig1qqqq");
    assert!(matches!(bad, GroupError::Card { position: Some(_), .. }), "{bad:?}");
    assert!(bad.to_string().starts_with("card "), "{bad}");
    let many = format!(r#"{{"musig_group":1,"cards":[{}]}}"#, vec!["7"; 129].join(","));
    assert_eq!(Group::from_json(&many), Err(GroupError::Size { cards: 129 }));
}
