//! The terms of a session: their limits, and the only bytes that stand for them.

use std::time::Duration;

use libmusig::error::ProposalError;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::limits;
use libmusig::protocol::proposal::{
    KeyOrder, Message, Proposal, SighashType, SpentOutput, Terms, Tiers, TransactionTerms, Tweak,
};
use libmusig::protocol::wire::{self, pb};
use libmusig::types::{SessionId, SignerKey, UnixMillis, tagged_hash};

use test_support::party::{chain, key_of, terms};

fn small(n: u8) -> Terms {
    terms((1..=n).map(key_of).collect())
}

/// Points for more signers than bytes have values.
fn many(n: u16) -> Vec<SignerKey> {
    let key = |index: u16| {
        let mut secret = [0; 32];
        secret[30..].copy_from_slice(&(index + 1).to_be_bytes());
        let secret = secp256k1::SecretKey::from_secret_bytes(secret).expect("in range");
        SignerKey::from(secp256k1::PublicKey::from_secret_key(&secret))
    };
    (0..n).map(key).collect()
}

fn transaction(terms: &mut Terms) {
    let spent =
        vec![SpentOutput { value: 1000, script: vec![0x51] }, SpentOutput { value: 7, script: vec![] }];
    terms.transaction = Some(TransactionTerms { unsigned: vec![1, 2, 3], spent });
}

/// Valid terms that use every field.
fn rich() -> Terms {
    let mut terms = small(3);
    terms.proposer = 2;
    terms.key_order = KeyOrder::AsGiven;
    terms.tweaks = chain([([1; 32], false), ([2; 32], true)]);
    transaction(&mut terms);
    terms.messages = vec![
        Message { digest: [1; 32], tweak: Some(1), input: 0, sighash_type: SighashType::All },
        Message { digest: [2; 32], tweak: None, input: 1, sighash_type: SighashType::Default },
    ];
    terms.election_method = ElectionMethod::SessionSalted;
    terms.failover.enabled = false;
    terms.failover.broadcast_timeout = Duration::from_millis(1001);
    terms.failover.tiers = Tiers::Doubling;
    terms.metadata = b"fee bump".to_vec();
    terms.replaces = Some(SessionId([6; 32]));
    terms
}

#[test]
fn what_is_encoded_is_decoded() {
    for terms in [small(1), small(5), rich()] {
        let proposal = Proposal::new(terms.clone()).expect("valid terms");
        assert_eq!(*proposal.terms(), terms);
        let decoded = Proposal::decode(proposal.as_bytes()).expect("its own bytes");
        assert_eq!(decoded, proposal);
        assert_eq!(decoded.id(), SessionId(tagged_hash("musig/session", &[proposal.as_bytes()])));
    }
}

#[test]
fn tiers_of_one_are_single() {
    let mut terms = small(2);
    terms.failover.tiers = Tiers::Fixed(1);
    let proposal = Proposal::new(terms).expect("valid terms");
    assert_eq!(proposal.failover.tiers, Tiers::Single);
    assert_eq!(Proposal::decode(proposal.as_bytes()), Ok(proposal));
}

#[test]
fn each_field_enters_the_session_id() {
    let changes: Vec<fn(&mut Terms)> = vec![
        |terms| terms.entropy[31] ^= 1,
        |terms| terms.proposer = 1,
        |terms| terms.signers.swap(0, 1),
        |terms| terms.key_order = KeyOrder::Sorted,
        |terms| terms.tweaks[0].scalar[0] ^= 1,
        |terms| terms.tweaks[1].x_only = false,
        |terms| terms.tweaks[1].follows = None,
        |terms| terms.messages[0].digest[0] ^= 1,
        |terms| terms.messages[0].tweak = Some(0),
        |terms| terms.messages[1].input = 2,
        |terms| terms.messages[1].sighash_type = SighashType::All,
        |terms| terms.transaction.as_mut().expect("it has one").unsigned.push(0),
        |terms| terms.transaction.as_mut().expect("it has one").spent[0].value += 1,
        |terms| terms.transaction.as_mut().expect("it has one").spent[1].script.push(1),
        |terms| terms.election_method = ElectionMethod::LastSigner,
        |terms| terms.failover.enabled = true,
        |terms| terms.failover.broadcast_timeout += Duration::from_millis(1),
        |terms| terms.failover.tiers = Tiers::Fixed(2),
        |terms| terms.expires_at.0 += 1,
        |terms| terms.metadata.push(0),
        |terms| terms.replaces = None,
    ];
    let mut ids = vec![Proposal::new(rich()).expect("valid terms").id()];
    for change in changes {
        let mut terms = rich();
        change(&mut terms);
        ids.push(Proposal::new(terms).expect("valid terms").id());
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn invalid_terms_are_refused() {
    type Case = (&'static str, fn(&mut Terms), fn(&ProposalError) -> bool);
    fn limit(error: &ProposalError, expected: &str) -> bool {
        matches!(error, ProposalError::Limit { what, .. } if *what == expected)
    }
    fn index(error: &ProposalError, expected: &str, at: u64) -> bool {
        matches!(error, ProposalError::Index { what, index } if *what == expected && *index == at)
    }
    let cases: &[Case] = &[
        ("no signers", |terms| terms.signers.clear(), |error| limit(error, "signers")),
        ("129 signers", |terms| terms.signers = many(129), |error| limit(error, "signers")),
        ("no messages", |terms| terms.messages.clear(), |error| limit(error, "messages")),
        (
            "257 messages",
            |terms| terms.messages = vec![Message::raw([1; 32], None); 257],
            |error| limit(error, "messages"),
        ),
        (
            "128 signers with 65 messages",
            |terms| {
                terms.signers = many(128);
                terms.messages = vec![Message::raw([1; 32], None); 65];
            },
            |error| limit(error, "signers × messages"),
        ),
        (
            "metadata too long",
            |terms| terms.metadata = vec![0; limits::METADATA + 1],
            |error| limit(error, "bytes of metadata"),
        ),
        (
            "1025 tweaks",
            |terms| terms.tweaks = vec![Tweak { follows: None, x_only: true, scalar: [1; 32] }; 1025],
            |error| limit(error, "tweaks"),
        ),
        (
            "17 tweaks in a row",
            |terms| terms.tweaks = chain([([1; 32], true); 17]),
            |error| limit(error, "tweaks in a row"),
        ),
        (
            "too many bytes",
            |terms| {
                transaction(terms);
                terms.transaction.as_mut().expect("just made").unsigned = vec![0; limits::PROPOSAL];
            },
            |error| limit(error, "bytes"),
        ),
        (
            "tier of 0",
            |terms| terms.failover.tiers = Tiers::Fixed(0),
            |error| limit(error, "signers in a tier"),
        ),
        (
            "tier of 129",
            |terms| terms.failover.tiers = Tiers::Fixed(129),
            |error| limit(error, "signers in a tier"),
        ),
        ("unknown proposer", |terms| terms.proposer = 3, |error| index(error, "proposer", 3)),
        (
            "a tweak that follows itself",
            |terms| terms.tweaks = vec![Tweak { follows: Some(0), x_only: true, scalar: [1; 32] }],
            |error| index(error, "tweak", 0),
        ),
        (
            "a tweak that follows a missing one",
            |terms| terms.tweaks = vec![Tweak { follows: Some(7), x_only: true, scalar: [1; 32] }],
            |error| index(error, "tweak", 7),
        ),
        (
            "a message with a missing tweak",
            |terms| terms.messages[0].tweak = Some(0),
            |error| index(error, "tweak", 0),
        ),
        (
            "an input without a transaction",
            |terms| terms.messages[0].input = 4,
            |error| index(error, "input", 4),
        ),
        (
            "a hash type without a transaction",
            |terms| terms.messages[0].sighash_type = SighashType::All,
            |error| index(error, "input", 0),
        ),
        (
            "inputs out of order",
            |terms| {
                transaction(terms);
                let message = |input| Message { input, ..Message::raw([1; 32], None) };
                terms.messages = vec![message(1), message(0)];
            },
            |error| matches!(error, ProposalError::Encoding(_)),
        ),
        (
            "two messages for an input",
            |terms| {
                transaction(terms);
                terms.messages = vec![Message::raw([1; 32], None); 2];
            },
            |error| matches!(error, ProposalError::Encoding(_)),
        ),
        (
            "a key twice",
            |terms| terms.signers[2] = terms.signers[0],
            |error| *error == ProposalError::DuplicateKey { first: 0, second: 2 },
        ),
        (
            "a key with both parities",
            |terms| {
                let mut other = *terms.signers[1].as_bytes();
                other[0] ^= 1;
                terms.signers[2] = SignerKey::from_bytes(&other).expect("a point");
            },
            |error| *error == ProposalError::DuplicateKey { first: 1, second: 2 },
        ),
        (
            "a timeout below a second",
            |terms| terms.failover.broadcast_timeout = Duration::from_millis(999),
            |error| matches!(error, ProposalError::BroadcastTimeout { .. }),
        ),
        (
            "a timeout over a day",
            |terms| terms.failover.broadcast_timeout = Duration::from_millis(86_400_001),
            |error| matches!(error, ProposalError::BroadcastTimeout { .. }),
        ),
        (
            "a timeout with a part of a millisecond",
            |terms| terms.failover.broadcast_timeout = Duration::from_micros(1_000_001),
            |error| matches!(error, ProposalError::BroadcastTimeout { .. }),
        ),
    ];
    for (name, change, expected) in cases {
        let mut terms = small(3);
        change(&mut terms);
        let error = Proposal::new(terms).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
        assert!(error.to_string().len() > 20, "{name}: {error}");
    }
}

#[test]
fn terms_at_the_limits_are_accepted() {
    let mut terms = terms(many(128));
    terms.messages = vec![Message::raw([1; 32], Some(15)); 64];
    terms.metadata = vec![0; limits::METADATA];
    terms.tweaks = chain([([1; 32], true); 16]);
    terms.failover.broadcast_timeout = Duration::from_secs(24 * 3600);
    terms.failover.tiers = Tiers::Fixed(128);
    let proposal = Proposal::new(terms).expect("at the limits");
    assert_eq!(Proposal::decode(proposal.as_bytes()), Ok(proposal));
    let mut terms = small(1);
    terms.messages = vec![Message::raw([1; 32], None); 256];
    terms.failover.broadcast_timeout = Duration::from_secs(1);
    Proposal::new(terms).expect("at the limits");
}

#[test]
fn invalid_bytes_are_refused() {
    type Case = (&'static str, fn(&mut pb::Proposal), fn(&ProposalError) -> bool);
    fn unknown(error: &ProposalError, expected: &str) -> bool {
        matches!(error, ProposalError::Unknown { what, .. } if *what == expected)
    }
    fn encoding(error: &ProposalError) -> bool {
        matches!(error, ProposalError::Encoding(_))
    }
    let cases: &[Case] = &[
        ("version 0", |message| message.version = 0, |error| unknown(error, "version")),
        ("version 2", |message| message.version = 2, |error| unknown(error, "version")),
        ("key order", |message| message.key_order = 2, |error| unknown(error, "key order")),
        ("election method", |message| message.election_method = 5, |error| unknown(error, "election method")),
        ("hash type", |message| message.messages[0].sighash_type = 2, |error| unknown(error, "hash type")),
        (
            "tier width",
            |message| message.failover.as_mut().expect("it has one").tiers = 1 << 16,
            |error| unknown(error, "tier width"),
        ),
        ("no failover policy", |message| message.failover = None, encoding),
        ("short entropy", |message| message.entropy.truncate(31), encoding),
        ("long entropy", |message| message.entropy.push(0), encoding),
        ("short digest", |message| message.messages[0].digest.truncate(31), encoding),
        ("short replaced id", |message| message.replaces = vec![1; 31], encoding),
        (
            "short tweak",
            |message| message.tweaks[1].scalar.truncate(31),
            |error| *error == ProposalError::Tweak { index: 1 },
        ),
        (
            "short key",
            |message| message.signers[1].truncate(32),
            |error| matches!(error, ProposalError::Key { index: 1, source } if source.length == 32),
        ),
        (
            "no point",
            |message| message.signers[2] = vec![5; 33],
            |error| matches!(error, ProposalError::Key { index: 2, .. }),
        ),
        (
            "signers without end",
            |message| message.signers = vec![Vec::new(); 100_000],
            |error| matches!(error, ProposalError::Limit { what: "signers", .. }),
        ),
        (
            "a proposer far away",
            |message| message.proposer = u32::MAX,
            |error| matches!(error, ProposalError::Index { what: "proposer", .. }),
        ),
        (
            "a timeout without end",
            |message| message.failover.as_mut().expect("it has one").broadcast_timeout = u64::MAX,
            |error| matches!(error, ProposalError::BroadcastTimeout { .. }),
        ),
    ];
    let good = Proposal::new(rich()).expect("valid terms");
    for (name, change, expected) in cases {
        let mut message: pb::Proposal = wire::decode(good.as_bytes(), "").expect("canonical");
        change(&mut message);
        let error = Proposal::decode(&wire::encode(&message)).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
    }
}

#[test]
fn only_the_canonical_bytes_are_taken() {
    let good = Proposal::new(rich()).expect("valid terms").as_bytes().to_vec();
    let refused = |name: &str, bytes: &[u8]| {
        let error = Proposal::decode(bytes).expect_err(name);
        assert!(matches!(error, ProposalError::Encoding(_)), "{name}: {error:?}");
    };
    refused("an unknown field", &[&good[..], &[0x78, 0x01]].concat());
    refused("a trailing byte", &[&good[..], &[0]].concat());
    refused("an explicit default", &[&good[..], &[0x50, 0x00]].concat());
    refused("a field twice", &[&good[..2], &good[..]].concat());
    refused("a number longer than needed", &[&[0x08, 0x81, 0x00], &good[2..]].concat());
    // Cut between its last fields, which may be absent (34, 10 and 4 bytes), it is another proposal.
    let taken: Vec<_> = (0..good.len()).filter(|length| Proposal::decode(&good[..*length]).is_ok()).collect();
    assert_eq!(taken, [good.len() - 48, good.len() - 44, good.len() - 34]);
    let large = vec![0; limits::PROPOSAL + 1];
    assert!(matches!(Proposal::decode(&large), Err(ProposalError::Limit { what: "bytes", .. })));
}

#[test]
fn no_changed_byte_keeps_the_session() {
    let good = Proposal::new(rich()).expect("valid terms");
    for position in 0..good.as_bytes().len() {
        let mut bytes = good.as_bytes().to_vec();
        bytes[position] ^= 1;
        if let Ok(other) = Proposal::decode(&bytes) {
            assert_ne!(other.id(), good.id());
            assert_eq!(other.as_bytes(), bytes);
            assert_eq!(Proposal::new(other.terms().clone()).expect("it was valid"), other, "byte {position}");
        }
    }
}

#[test]
fn expiry_is_ahead_but_not_far() {
    let proposal = Proposal::new(small(1)).expect("valid terms");
    let expires = proposal.expires_at;
    let month = 30 * 24 * 3600 * 1000;
    let check = |now: u64| proposal.check_expiry(UnixMillis(now));
    assert!(check(expires.0 - 1).is_ok());
    assert_eq!(
        check(expires.0),
        Err(ProposalError::Expiry { expires_at: expires, now: UnixMillis(expires.0) })
    );
    let mut terms = small(1);
    terms.expires_at = UnixMillis(month + 5);
    let far = Proposal::new(terms).expect("valid terms");
    assert!(far.check_expiry(UnixMillis(5)).is_ok());
    assert!(far.check_expiry(UnixMillis(4)).is_err());
}

#[test]
fn the_tweaks_of_a_message_in_order() {
    let mut terms = small(1);
    terms.tweaks = chain([([1; 32], false), ([2; 32], false), ([3; 32], true)]);
    terms.tweaks.push(Tweak { follows: Some(0), x_only: true, scalar: [4; 32] });
    terms.messages =
        vec![Message::raw([1; 32], Some(2)), Message::raw([1; 32], Some(3)), Message::raw([1; 32], None)];
    let path = |index| -> Vec<u8> { terms.tweak_path(index).iter().map(|tweak| tweak.scalar[0]).collect() };
    assert_eq!([path(0), path(1), path(2), path(3)], [vec![1, 2, 3], vec![1, 4], vec![], vec![]]);
}
