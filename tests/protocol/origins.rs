//! Participant keys below an extended private key, which their signer finds by their origins. The keys are derived by the
//! crate `bitcoin`.

use std::sync::Arc;

use bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use bitcoin::secp256k1::Secp256k1;
use libmusig::error::{Error, ProposalError, SignerError};
use libmusig::protocol::consent::JoinOptions;
use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::crypto::key_set::{Derivation, KeyOrder, KeyOrigin, KeySet, Participant};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::engine::Engine;
use libmusig::protocol::proposal::{Message, Proposal};
use libmusig::protocol::transaction::NoTransactions;
use libmusig::protocol::{Settings, Time};
use libmusig::signer::{LocalSigner, Signer};
use libmusig::types::{SignerKey, UnixMillis};

use test_support::party::{Party, key_of, local, slices};

const HARDENED: u32 = 1 << 31;
/// A BIP-48 account for Taproot.
const ACCOUNT: [u32; 4] = [HARDENED + 48, HARDENED + 1, HARDENED, HARDENED + 2];

/// A wallet's master key.
fn master(seed: u8) -> Xpriv {
    Xpriv::new_master(bitcoin::Network::Regtest, &[seed; 32]).expect("a seed")
}

fn derive(from: &Xpriv, path: &[u32]) -> Xpriv {
    let path: Vec<_> = path.iter().map(|number| ChildNumber::from(*number)).collect();
    from.derive_priv(&Secp256k1::new(), &path).expect("it exists")
}

fn public(key: &Xpriv) -> SignerKey {
    let key = Xpub::from_priv(&Secp256k1::new(), key).public_key.serialize();
    SignerKey::from_bytes(&key).expect("a point")
}

fn secret(key: &Xpriv) -> [u8; 32] {
    key.private_key.secret_bytes()
}

fn origin(seed: u8, path: &[u32]) -> KeyOrigin {
    let fingerprint = master(seed).fingerprint(&Secp256k1::new()).to_bytes();
    KeyOrigin { fingerprint, path: path.to_vec() }
}

fn below(steps: &[u32]) -> Vec<u32> {
    [&ACCOUNT[..], steps].concat()
}

/// The key of a wallet below its account, with its origin.
fn participant(seed: u8, steps: &[u32]) -> Participant {
    let path = below(steps);
    Participant { key: public(&derive(&master(seed), &path)), origin: Some(origin(seed, &path)) }
}

fn add_account(signer: &LocalSigner, seed: u8) {
    let account = derive(&master(seed), &ACCOUNT).to_string();
    signer.add_xprv(&account, origin(seed, &ACCOUNT)).expect("an account");
}

/// Three signers, each with a wallet, and a key set for each of two inputs.
fn wallets() -> Party {
    let party = Party::new(3, |terms| {
        let set = |steps: &[u32]| KeySet {
            participants: [51, 52, 53].map(|seed| participant(seed, steps)).to_vec(),
            order: KeyOrder::Sorted,
        };
        terms.key_sets = vec![set(&[0, 7]), set(&[1, 0x7fff_ffff])];
        terms.messages = vec![
            Message::with([1; 32], 0, Derivation::key_path([])),
            Message::with([2; 32], 1, Derivation::key_path([])),
            Message::with([3; 32], 1, Derivation::key_path([3])),
        ];
    });
    for (signer, seed) in party.signers.iter().zip(51..) {
        add_account(signer, seed);
    }
    party
}

#[test]
fn key_sets_of_keys_below_an_xprv_sign() {
    let party = wallets();
    let round = party.round(&party.nonces(0));
    let partials = party.partials(0, &round);
    for (signer, partials) in partials.iter().enumerate() {
        assert!(round.verify_partials(signer, partials));
    }
    let signatures = round.aggregate(&slices(&partials)).expect("all honest");
    for (message, signature) in party.proposal.messages.iter().zip(&signatures) {
        let key = party.proposal.key_sets[message.key_set].final_key(&message.derivation).expect("valid");
        assert!(Musig2.verify(&key, &message.digest, signature));
    }
    assert!(!party.signers[0].holds(&key_of(1), None), "the identity key signs no session any more");
}

/// The first vector of BIP-32.
#[test]
fn key_sets_below_the_xprv_of_bip32() {
    let xprv = "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4c\
                V1rGL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7";
    let mut key = [0; 33];
    let hex = "03501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c";
    key.iter_mut().enumerate().for_each(|(at, byte)| {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal");
    });
    let key = SignerKey::from_bytes(&key).expect("a point");
    let fingerprint = [0x34, 0x42, 0x19, 0x3e];
    let signer = local(1);
    signer.add_xprv(xprv, KeyOrigin { fingerprint, path: vec![HARDENED] }).expect("it is one");
    let origin = KeyOrigin { fingerprint, path: vec![HARDENED, 1] };
    assert!(signer.holds(&key, Some(&origin)) && !signer.holds(&key, None));
}

#[test]
fn key_sets_origins_are_compared_and_never_followed_blindly() {
    let signer = local(1);
    add_account(&signer, 51);
    let held = |key: &SignerKey, origin: Option<&KeyOrigin>| signer.holds(key, origin);
    for steps in [&[][..], &[0], &[0, 7], &[1, 0x7fff_ffff], &[1, 2, 3, 4, 5, 6, 7, 8]] {
        let Participant { key, origin } = participant(51, steps);
        assert!(held(&key, origin.as_ref()), "{steps:?}");
    }
    let Participant { key, origin: Some(good) } = participant(51, &[0, 7]) else { unreachable!() };
    let at = |path: &[u32]| KeyOrigin { path: path.to_vec(), ..good.clone() };
    let negated = [&[key.as_bytes()[0] ^ 1], &key.as_bytes()[1..]].concat();
    let refused: Vec<(&str, SignerKey, Option<KeyOrigin>)> = vec![
        ("no origin", key, None),
        ("another wallet's", key, Some(KeyOrigin { fingerprint: [1; 4], ..good.clone() })),
        ("the next one", key, Some(at(&below(&[0, 8])))),
        ("the one before", key, Some(at(&below(&[0, 6])))),
        ("another branch", key, Some(at(&below(&[1, 7])))),
        ("another account", key, Some(at(&[&ACCOUNT[..3], &[HARDENED + 3, 0, 7]].concat()))),
        ("the account without its first step", key, Some(at(&[&ACCOUNT[1..], &[0, 7]].concat()))),
        ("no path", key, Some(at(&[]))),
        ("above the account", public(&derive(&master(51), &ACCOUNT[..3])), Some(at(&ACCOUNT[..3]))),
        ("the negated key", SignerKey::from_bytes(&negated).expect("a point"), Some(good.clone())),
        ("another's key", participant(52, &[0, 7]).key, Some(good)),
    ];
    for (name, key, origin) in &refused {
        assert!(!held(key, origin.as_ref()), "{name}");
    }
    // Not even its own key, if the way there is too long or hardened.
    for steps in [&[1, 2, 3, 4, 5, 6, 7, 8, 9][..], &[HARDENED], &[0, HARDENED + 7]] {
        let Participant { key, origin } = participant(51, steps);
        assert!(!held(&key, origin.as_ref()), "{steps:?}");
    }
    // And it signs with none of them.
    for (name, key, origin) in refused {
        let party = Party::new(2, |terms| {
            let mut key_set = KeySet::new(&[key, key_of(9)]);
            key_set.participants[0].origin = origin;
            terms.key_sets = vec![key_set];
        });
        let made = signer.make_nonces(&party.nonce_request(0, 0));
        assert!(matches!(made, Err(SignerError::Mismatch(_))), "{name}: {made:?}");
    }
}

#[test]
fn key_sets_below_an_xprv_and_the_identity_key_are_no_relatives() {
    let account = derive(&master(51), &ACCOUNT);
    let add = |identity: &Xpriv| {
        let signer = LocalSigner::new(secret(identity)).expect("in range");
        let added = signer.add_xprv(&account.to_string(), origin(51, &ACCOUNT));
        (signer, added)
    };
    for steps in [&[][..], &[0], &[19], &[0, 0], &[0, 19], &[1, 0], &[1, 19]] {
        let (signer, added) = add(&derive(&account, steps));
        assert!(matches!(added, Err(SignerError::Mismatch(_))), "{steps:?}");
        assert!(signer.holds(&signer.public_key(), None), "nothing changed: {steps:?}");
    }
    // What is further away is seen when a key is asked for that is it, or below it.
    for steps in [&[20][..], &[0, 20], &[2, 0]] {
        let (signer, added) = add(&derive(&account, steps));
        assert_eq!(added, Ok(()), "{steps:?}");
        for steps in [steps, &[steps, &[3]].concat()] {
            let Participant { key, origin } = participant(51, steps);
            assert!(!signer.holds(&key, origin.as_ref()), "{steps:?}");
        }
        let Participant { key, origin } = participant(51, &[0, 0]);
        assert!(signer.holds(&key, origin.as_ref()));
    }
    // A hardened child tells nothing.
    let (_, added) = add(&derive(&account, &[HARDENED]));
    assert_eq!(added, Ok(()));
}

#[test]
fn key_sets_need_an_xprv_that_its_origin_fits() {
    let signer = local(1);
    let account = derive(&master(51), &ACCOUNT);
    let xpub = Xpub::from_priv(&Secp256k1::new(), &account).to_string();
    let (text, good) = (account.to_string(), origin(51, &ACCOUNT));
    let mut misspelt = text.clone();
    misspelt.replace_range(60..61, if &text[60..61] == "2" { "3" } else { "2" });
    let first = derive(&master(51), &[HARDENED + 48]).to_string();
    let long = [HARDENED; 17];
    for (name, text, origin) in [
        ("no text", "", good.clone()),
        ("misspelt", &misspelt, good.clone()),
        ("cut", &text[..110], good.clone()),
        ("an xpub", &xpub, good.clone()),
        ("an origin that is too short", &text, origin(51, &ACCOUNT[..3])),
        ("an origin that is too long", &text, origin(51, &long)),
        ("another child", &text, origin(51, &[&ACCOUNT[..3], &[HARDENED + 3]].concat())),
        ("another master key", &first, origin(52, &[HARDENED + 48])),
    ] {
        let added = signer.add_xprv(text, origin);
        assert!(matches!(added, Err(SignerError::InvalidXprv(_))), "{name}: {added:?}");
    }
    assert!(signer.holds(&key_of(1), None), "nothing changed");
    for path in [&[][..], &[HARDENED + 48], &ACCOUNT, &[0, 1]] {
        let account = derive(&master(51), path).to_string();
        assert_eq!(signer.add_xprv(&account, origin(51, path)), Ok(()), "{path:?}");
        assert_eq!(signer.add_xprv(&account, origin(51, path)), Ok(()), "again: {path:?}");
    }
    let add = |number: u32| {
        let account = derive(&master(51), &[HARDENED + number]).to_string();
        signer.add_xprv(&account, origin(51, &[HARDENED + number]))
    };
    (100..160).for_each(|number| assert_eq!(add(number), Ok(())));
    assert_eq!(add(159), Ok(()), "again");
    let refused = add(160);
    assert!(matches!(refused, Err(SignerError::Other(_))), "{refused:?}");
}

#[test]
fn key_sets_below_an_xprv_survive_a_lock_but_its_secret_does_not() {
    let party = wallets();
    let round = party.round(&party.nonces(0));
    let signer = &party.signers[0];
    signer.lock();
    let Participant { key, origin } = participant(51, &[0, 7]);
    assert!(signer.holds(&key, origin.as_ref()));
    assert_eq!(signer.make_partials(&party.partial_request(0, 0, &round)), Err(SignerError::Locked));
    let mut own = [0; 32];
    own[31] = 1;
    signer.unlock(own).expect("its own secret");
    assert_eq!(signer.make_nonces(&party.nonce_request(0, 1)), Err(SignerError::Locked));
    add_account(signer, 51);
    assert!(signer.make_nonces(&party.nonce_request(0, 1)).is_ok());
}

#[test]
fn key_sets_with_another_ones_key_below_an_own_xprv_are_refused() {
    let party = wallets();
    let held = Arc::new(local(1));
    add_account(&held, 51);
    let create = |proposal: &Proposal| {
        let engine = Engine::new(key_of(1), Settings::default(), Arc::new(Musig2), Arc::new(NoTransactions));
        let now = Time { wall: UnixMillis(0), monotonic: std::time::Duration::ZERO };
        let options = JoinOptions { sign_blind: true, ..JoinOptions::default() };
        engine.with_held_keys(held.clone()).create_with(proposal.clone(), options, 1, now)
    };
    let changed = |change: &dyn Fn(&mut [KeySet])| {
        let mut terms = party.proposal.terms().clone();
        change(&mut terms.key_sets);
        create(&Proposal::new(terms).expect("valid terms"))
    };
    assert!(create(&party.proposal).is_ok());
    let other = participant(51, &[0, 8]);
    assert_eq!(
        changed(&|sets| sets[1].participants[2] = other.clone()),
        Err(Error::Proposal(ProposalError::DuplicateKey { first: 0, second: 2 }))
    );
    let stranger = participant(52, &[0, 9]);
    assert_eq!(
        changed(&|sets| sets[1].participants[0].key = stranger.key),
        Err(Error::Proposal(ProposalError::KeyNotHeld { key: stranger.key }))
    );
    assert_eq!(
        changed(&|sets| sets[1].participants[0].origin = None),
        Err(Error::Proposal(ProposalError::KeyNotHeld { key: participant(51, &[1, 0x7fff_ffff]).key }))
    );
}
