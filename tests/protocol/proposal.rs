//! The terms of a session: their limits, and the only bytes that stand for them.

use std::time::Duration;

use libmusig::error::ProposalError;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::limits;
use libmusig::protocol::proposal::{
    Broadcast, Derivation, FailoverPolicy, KeyOrder, KeyOrigin, KeySet, Message, Proposal, SighashType,
    SpentOutput, Taproot, Terms, Tiers, TransactionTerms,
};
use libmusig::protocol::wire::{self, pb};
use libmusig::types::{SessionId, SignerKey, UnixMillis, tagged_hash};

use test_support::party::{key_of, policy, terms, with_signers};

fn small(n: u8) -> Terms {
    terms((1..=n).map(key_of).collect())
}

/// Points for more signers than bytes have values.
fn many(n: u16) -> Vec<SignerKey> {
    many_from(0, n)
}

fn many_from(first: u16, n: u16) -> Vec<SignerKey> {
    let key = |index: u16| {
        let mut secret = [0; 32];
        secret[30..].copy_from_slice(&(index + 1).to_be_bytes());
        let secret = secp256k1::SecretKey::from_secret_bytes(secret).expect("in range");
        SignerKey::from(secp256k1::PublicKey::from_secret_key(&secret))
    };
    (first..first + n).map(key).collect()
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
    let mut wallet = KeySet::ordered(&[key_of(1), key_of(12), key_of(13)], KeyOrder::AsGiven);
    wallet.participants[1].origin = Some(KeyOrigin { fingerprint: [1, 2, 3, 4], path: vec![1 << 31, 7] });
    terms.key_sets = vec![KeySet::new(&terms.signers), wallet];
    transaction(&mut terms);
    let with_scripts = Derivation { path: vec![0, 7], taproot: Taproot::MerkleRoot([5; 32]) };
    terms.messages = vec![
        Message { sighash_type: SighashType::All, ..Message::with([1; 32], 1, with_scripts) },
        Message { input: 1, ..Message::with([2; 32], 0, Derivation::key_path([])) },
    ];
    terms.election_method = ElectionMethod::SessionSalted;
    policy(&mut terms).broadcast_timeout = Duration::from_millis(1001);
    policy(&mut terms).tiers = Tiers::Doubling;
    terms.metadata = b"fee bump".to_vec();
    terms.replaces = Some(SessionId([6; 32]));
    terms
}

#[test]
fn what_is_encoded_is_decoded() {
    let signs_alone = Terms { broadcast: Broadcast::SignOnly, ..small(3) };
    let coordinator_only = Terms { broadcast: Broadcast::CoordinatorOnly, ..rich() };
    for terms in [small(1), small(5), rich(), signs_alone, coordinator_only] {
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
    policy(&mut terms).tiers = Tiers::Fixed(1);
    let proposal = Proposal::new(terms).expect("valid terms");
    let single = FailoverPolicy { tiers: Tiers::Single, ..FailoverPolicy::default() };
    assert_eq!(proposal.broadcast, Broadcast::Failover(single));
    assert_eq!(Proposal::decode(proposal.as_bytes()), Ok(proposal));
}

#[test]
fn each_field_enters_the_session_id() {
    let changes: Vec<fn(&mut Terms)> = vec![
        |terms| terms.entropy[31] ^= 1,
        |terms| terms.proposer = 1,
        |terms| terms.signers[1] = key_of(15),
        |terms| terms.key_sets[0].order = KeyOrder::AsGiven,
        |terms| terms.key_sets[1].order = KeyOrder::Sorted,
        |terms| terms.key_sets[1].participants[2].key = key_of(14),
        |terms| terms.key_sets[1].participants[1].origin = None,
        |terms| terms.key_sets[1].participants[1].origin.as_mut().expect("it has one").fingerprint[0] ^= 1,
        |terms| terms.key_sets[1].participants[1].origin.as_mut().expect("it has one").path[0] ^= 1,
        |terms| terms.key_sets[1].participants[1].origin.as_mut().expect("it has one").path.clear(),
        |terms| terms.messages[0].digest[0] ^= 1,
        |terms| {
            terms.messages[0].key_set = 0;
            terms.messages[1].key_set = 1;
        },
        |terms| terms.messages[0].derivation.path[1] = 8,
        |terms| terms.messages[0].derivation.taproot = Taproot::MerkleRoot([6; 32]),
        |terms| terms.messages[0].derivation.taproot = Taproot::KeyPath,
        |terms| terms.messages[1].derivation.taproot = Taproot::None,
        |terms| terms.messages[1].input = 2,
        |terms| terms.messages[1].sighash_type = SighashType::All,
        |terms| terms.transaction.as_mut().expect("it has one").unsigned.push(0),
        |terms| terms.transaction.as_mut().expect("it has one").spent[0].value += 1,
        |terms| terms.transaction.as_mut().expect("it has one").spent[1].script.push(1),
        |terms| terms.election_method = ElectionMethod::LastSigner,
        |terms| terms.broadcast = Broadcast::CoordinatorOnly,
        |terms| terms.broadcast = Broadcast::SignOnly,
        |terms| policy(terms).broadcast_timeout += Duration::from_millis(1),
        |terms| policy(terms).tiers = Tiers::Fixed(2),
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
        ("129 signers", |terms| with_signers(terms, many(129)), |error| limit(error, "signers")),
        ("no messages", |terms| terms.messages.clear(), |error| limit(error, "messages")),
        (
            "257 messages",
            |terms| terms.messages = vec![Message::raw([1; 32]); 257],
            |error| limit(error, "messages"),
        ),
        (
            "128 signers with 65 messages",
            |terms| {
                with_signers(terms, many(128));
                terms.messages = vec![Message::raw([1; 32]); 65];
            },
            |error| limit(error, "signers × messages"),
        ),
        (
            "metadata too long",
            |terms| terms.metadata = vec![0; limits::METADATA + 1],
            |error| limit(error, "bytes of metadata"),
        ),
        ("no key sets", |terms| terms.key_sets.clear(), |error| limit(error, "key sets")),
        (
            "257 key sets",
            |terms| terms.key_sets = vec![terms.key_sets[0].clone(); 257],
            |error| limit(error, "key sets"),
        ),
        (
            "128 signers with 65 key sets",
            |terms| {
                with_signers(terms, many(128));
                terms.key_sets = vec![terms.key_sets[0].clone(); 65];
            },
            |error| limit(error, "signers × key sets"),
        ),
        (
            "a key set without the last signer",
            |terms| drop(terms.key_sets[0].participants.pop()),
            |error| limit(error, "keys of a key set"),
        ),
        (
            "17 child numbers of an origin",
            |terms| {
                let origin = KeyOrigin { fingerprint: [0; 4], path: vec![0; 17] };
                terms.key_sets[0].participants[0].origin = Some(origin);
            },
            |error| limit(error, "child numbers of an origin"),
        ),
        (
            "9 child numbers of a derivation",
            |terms| terms.messages[0].derivation.path = vec![0; 9],
            |error| limit(error, "child numbers of a derivation"),
        ),
        (
            "a hardened child",
            |terms| terms.messages[0].derivation.path = vec![0, 1 << 31],
            |error| *error == ProposalError::HardenedChild { number: 1 << 31 },
        ),
        (
            "key sets that are alike",
            |terms| {
                // In the order of their keys, these are sorted.
                let mut keys = terms.key_sets[0].keys();
                keys.sort();
                with_signers(terms, keys.clone());
                terms.key_sets.push(KeySet::ordered(&keys, KeyOrder::AsGiven));
                terms.messages.push(Message::with([1; 32], 1, Derivation::default()));
            },
            |error| *error == ProposalError::SameKeySet { first: 0, second: 1 },
        ),
        (
            "a key set that signs nothing",
            |terms| terms.key_sets.push(KeySet::new(&[11, 12, 13].map(key_of))),
            |error| *error == ProposalError::UnusedKeySet { index: 1 },
        ),
        (
            "a participant key that is another signer's identity key",
            |terms| terms.key_sets[0] = KeySet::new(&[1, 3, 13].map(key_of)),
            |error| *error == ProposalError::DuplicateKey { first: 1, second: 2 },
        ),
        (
            "a participant key that is another signer's in another key set",
            |terms| {
                terms.key_sets.push(KeySet::new(&[11, 12, 13].map(key_of)));
                terms.key_sets.push(KeySet::new(&[14, 11, 16].map(key_of)));
                terms.messages.push(Message::with([1; 32], 1, Derivation::default()));
                terms.messages.push(Message::with([1; 32], 2, Derivation::default()));
            },
            |error| *error == ProposalError::DuplicateKey { first: 0, second: 1 },
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
            |terms| policy(terms).tiers = Tiers::Fixed(0),
            |error| limit(error, "signers in a tier"),
        ),
        (
            "tier of 129",
            |terms| policy(terms).tiers = Tiers::Fixed(129),
            |error| limit(error, "signers in a tier"),
        ),
        ("unknown proposer", |terms| terms.proposer = 3, |error| index(error, "proposer", 3)),
        (
            "a message with a missing key set",
            |terms| terms.messages[0].key_set = 1,
            |error| index(error, "key set", 1),
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
                let message = |input| Message { input, ..Message::raw([1; 32]) };
                terms.messages = vec![message(1), message(0)];
            },
            |error| matches!(error, ProposalError::Encoding(_)),
        ),
        (
            "two messages for an input",
            |terms| {
                transaction(terms);
                terms.messages = vec![Message::raw([1; 32]); 2];
            },
            |error| matches!(error, ProposalError::Encoding(_)),
        ),
        (
            "a key twice",
            |terms| with_signers(terms, [1, 2, 1].map(key_of).to_vec()),
            |error| *error == ProposalError::DuplicateKey { first: 0, second: 2 },
        ),
        (
            "a key with both parities",
            |terms| {
                let mut other = *terms.signers[1].as_bytes();
                other[0] ^= 1;
                let other = SignerKey::from_bytes(&other).expect("a point");
                with_signers(terms, vec![key_of(1), key_of(2), other]);
            },
            |error| *error == ProposalError::DuplicateKey { first: 1, second: 2 },
        ),
        (
            "a timeout below a second",
            |terms| policy(terms).broadcast_timeout = Duration::from_millis(999),
            |error| matches!(error, ProposalError::BroadcastTimeout { .. }),
        ),
        (
            "a timeout over a day",
            |terms| policy(terms).broadcast_timeout = Duration::from_millis(86_400_001),
            |error| matches!(error, ProposalError::BroadcastTimeout { .. }),
        ),
        (
            "a timeout with a part of a millisecond",
            |terms| policy(terms).broadcast_timeout = Duration::from_micros(1_000_001),
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
    let deepest = Derivation { path: vec![0x7fff_ffff; 8], taproot: Taproot::MerkleRoot([0xff; 32]) };
    terms.messages = (0..64).map(|index| Message::with([1; 32], index, deepest.clone())).collect();
    terms.metadata = vec![0; limits::METADATA];
    let keys = many_from(1000, 128 * 63);
    terms.key_sets.extend(keys.chunks(128).map(KeySet::new));
    let origin = KeyOrigin { fingerprint: [0xff; 4], path: vec![u32::MAX; 16] };
    terms.key_sets[63].participants.iter_mut().for_each(|one| one.origin = Some(origin.clone()));
    policy(&mut terms).broadcast_timeout = Duration::from_secs(24 * 3600);
    policy(&mut terms).tiers = Tiers::Fixed(128);
    let proposal = Proposal::new(terms).expect("at the limits");
    assert_eq!(Proposal::decode(proposal.as_bytes()), Ok(proposal));
    let mut terms = small(1);
    terms.messages = vec![Message::raw([1; 32]); 256];
    policy(&mut terms).broadcast_timeout = Duration::from_secs(1);
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
        ("key order", |message| message.key_sets[0].order = 2, |error| unknown(error, "key order")),
        (
            "kind of Taproot output",
            |message| message.messages[0].taproot = 3,
            |error| unknown(error, "kind of Taproot output"),
        ),
        ("election method", |message| message.election_method = 5, |error| unknown(error, "election method")),
        ("hash type", |message| message.messages[0].sighash_type = 2, |error| unknown(error, "hash type")),
        (
            "tier width",
            |message| message.failover.as_mut().expect("it has one").tiers = 1 << 16,
            |error| unknown(error, "tier width"),
        ),
        ("no failover policy", |message| message.failover = None, encoding),
        ("a failover policy without failover", |message| message.broadcast = 1, encoding),
        ("a failover policy of a session that only signs", |message| message.broadcast = 2, encoding),
        (
            "broadcast mode",
            |message| (message.broadcast, message.failover) = (3, None),
            |error| unknown(error, "broadcast mode"),
        ),
        ("short entropy", |message| message.entropy.truncate(31), encoding),
        ("long entropy", |message| message.entropy.push(0), encoding),
        ("short digest", |message| message.messages[0].digest.truncate(31), encoding),
        ("short replaced id", |message| message.replaces = vec![1; 31], encoding),
        ("short merkle root", |message| message.messages[0].merkle_root.truncate(31), encoding),
        ("no merkle root", |message| message.messages[0].merkle_root.clear(), encoding),
        ("unused merkle root", |message| message.messages[0].taproot = 1, encoding),
        ("part of a child number", |message| message.messages[0].path.push(0), encoding),
        (
            "a path without end",
            |message| message.messages[0].path = vec![0; 1 << 20],
            |error| matches!(error, ProposalError::Limit { what: "child numbers of a derivation", .. }),
        ),
        ("short fingerprint", |message| message.key_sets[1].participants[1].origin.truncate(3), encoding),
        ("part of an origin", |message| message.key_sets[1].participants[1].origin.push(0), encoding),
        (
            "the default key set",
            |message| {
                message.key_sets.pop();
                message.messages.remove(0);
            },
            encoding,
        ),
        (
            "identity keys as a key set",
            |message| {
                let participant = |key: &Vec<u8>| pb::Participant { key: key.clone(), origin: Vec::new() };
                message.key_sets[0].participants = message.signers.iter().map(participant).collect();
            },
            encoding,
        ),
        (
            "a participant that is no point",
            |message| message.key_sets[1].participants[2].key = vec![5; 33],
            |error| matches!(error, ProposalError::ParticipantKey { key_set: 1, signer: 2, .. }),
        ),
        (
            "key sets without end",
            |message| message.key_sets = vec![pb::KeySet::default(); 100_000],
            |error| matches!(error, ProposalError::Limit { what: "key sets", .. }),
        ),
        (
            "participants without end",
            |message| message.key_sets[1].participants = vec![pb::Participant::default(); 100_000],
            |error| matches!(error, ProposalError::Limit { what: "keys of a key set", .. }),
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
    refused("an explicit default", &[&good[..], &[0x68, 0x00]].concat());
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
    let check = |now: u64| proposal.check_expiry(UnixMillis(now), Duration::ZERO);
    assert!(check(expires.0 - 1).is_ok());
    assert_eq!(
        check(expires.0),
        Err(ProposalError::Expiry { expires_at: expires, now: UnixMillis(expires.0) })
    );
    let mut terms = small(1);
    terms.expires_at = UnixMillis(month + 5);
    let far = Proposal::new(terms).expect("valid terms");
    assert!(far.check_expiry(UnixMillis(5), Duration::ZERO).is_ok());
    assert!(far.check_expiry(UnixMillis(4), Duration::ZERO).is_err());
    // The others' clocks may be behind.
    assert!(far.check_expiry(UnixMillis(4), Duration::from_millis(1)).is_ok());
    assert!(check(expires.0).is_err());
}

#[test]
fn key_sets_of_the_identity_keys_take_no_bytes() {
    let terms = small(2);
    let default = Proposal::new(terms.clone()).expect("valid terms");
    let message: pb::Proposal = wire::decode(default.as_bytes(), "").expect("canonical");
    assert!(message.key_sets.is_empty());
    let mut as_given = terms.clone();
    as_given.key_sets[0].order = KeyOrder::AsGiven;
    let as_given = Proposal::new(as_given).expect("valid terms");
    assert_eq!(as_given.as_bytes().len(), default.as_bytes().len() + 4);
    let mut with_origin = terms;
    let origin = KeyOrigin { fingerprint: [0; 4], path: Vec::new() };
    with_origin.key_sets[0].participants[0].origin = Some(origin);
    let proposal = Proposal::new(with_origin.clone()).expect("valid terms");
    assert_eq!(*Proposal::decode(proposal.as_bytes()).expect("its own bytes").terms(), with_origin);
}
