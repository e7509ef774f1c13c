//! The local signer: one nonce, one signature; and no request, however wrong, aborts the process.

use std::any::Any;
use std::sync::Arc;

use libmusig::error::SignerError;
use libmusig::protocol::crypto::key_set::{Derivation, Taproot};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::crypto::nonce::SecretNonce;
use libmusig::protocol::crypto::{NONCE, Round, Scheme, SessionKeys};
use libmusig::protocol::envelope::{Content, envelope_id};
use libmusig::protocol::proposal::{KeyOrigin, Message};
use libmusig::signer::{Identity, LocalSigner, PartialRequest, SignTask, Signer};
use libmusig::types::{SessionId, Signature, SignerKey};

use test_support::party::{Choices, Party, key_of, local, slices};

fn secret(number: u8) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[31] = number;
    secret
}

/// Keys and round of the real scheme, as a signer sees those of another one.
#[derive(Debug)]
struct Opaque<T: ?Sized>(Arc<T>);

impl SessionKeys for Opaque<dyn SessionKeys> {
    fn output_key(&self, index: usize) -> [u8; 32] {
        self.0.output_key(index)
    }
    fn begin_round(&self, nonces: &[&[u8]]) -> Result<Arc<dyn Round>, usize> {
        self.0.begin_round(nonces)
    }
    fn verify_signatures(&self, signatures: &[Signature]) -> bool {
        self.0.verify_signatures(signatures)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Round for Opaque<dyn Round> {
    fn aggregate_nonce(&self, index: usize) -> [u8; NONCE] {
        self.0.aggregate_nonce(index)
    }
    fn verify_partials(&self, signer: usize, partials: &[u8]) -> bool {
        self.0.verify_partials(signer, partials)
    }
    fn aggregate(&self, partials: &[&[u8]]) -> Option<Vec<Signature>> {
        self.0.aggregate(partials)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn a_secret_nonce_cannot_be_cloned() {
    // Two implementations apply to a type that is `Clone`, and then this does not compile.
    trait NotClone<Marker> {
        fn holds() {}
    }
    impl<T> NotClone<()> for T {}
    struct IsClone;
    impl<T: Clone> NotClone<IsClone> for T {}
    <SecretNonce as NotClone<_>>::holds();
}

#[test]
fn sessions_of_any_size_sign() {
    for n in [1, 2, 3, 7, 40] {
        let party = Party::new(n, |terms| {
            let child = Derivation { path: vec![7], taproot: Taproot::None };
            terms.messages = vec![
                Message::raw([1; 32]),
                Message::with([2; 32], 0, Derivation::key_path([7])),
                Message::with([2; 32], 0, child),
            ];
        });
        let round = party.round(&party.nonces(0));
        let partials = party.partials(0, &round);
        let signatures = round.aggregate(&slices(&partials)).expect("all honest");
        assert!(party.keys.verify_signatures(&signatures));
        for (index, signature) in signatures.iter().enumerate() {
            let key = [&[2], &party.keys.output_key(index)[..]].concat();
            let key = SignerKey::from_bytes(&key).expect("a point");
            assert!(Musig2.verify(&key, &party.proposal.messages[index].digest, signature));
        }
        assert_ne!(party.keys.output_key(0), party.keys.output_key(1));
    }
}

#[test]
fn a_signer_that_knows_no_scheme_gives_the_same_signature() {
    let mut party = Party::new(3, |terms| {
        let output = Derivation { path: Vec::new(), taproot: Taproot::MerkleRoot([3; 32]) };
        terms.messages = vec![Message::with([1; 32], 0, output), Message::raw([2; 32])];
    });
    party.keys = Arc::new(Opaque(Arc::clone(&party.keys)));
    let nonces = party.nonces(0);
    let round: Arc<dyn Round> = Arc::new(Opaque(party.round(&nonces)));
    let partials = party.partials(0, &round);
    assert!((0..3).all(|signer| round.verify_partials(signer, &partials[signer])));
    let signatures = round.aggregate(&slices(&partials)).expect("all honest");
    assert!(party.keys.verify_signatures(&signatures));
}

#[test]
fn nonces_sign_once() {
    let party = Party::new(2, |_| ());
    let round = party.round(&party.nonces(0));
    party.partials(0, &round);
    let again = party.signers[0].make_partials(&party.partial_request(0, 0, &round));
    assert_eq!(again, Err(SignerError::NonceGone));
}

#[test]
fn nonces_of_an_attempt_are_made_once() {
    let party = Party::new(2, |_| ());
    let make = |attempt| party.signers[0].make_nonces(&party.nonce_request(0, attempt));
    let first = make(0).expect("the first time");
    assert!(matches!(make(0), Err(SignerError::Mismatch(_))), "while it holds them");
    party.signers[0].forget(&party.proposal.id(), 0);
    assert!(matches!(make(0), Err(SignerError::Mismatch(_))), "after it forgot them");
    let second = make(1).expect("a new attempt");
    assert_ne!(first, second);
    assert!(matches!(make(0), Err(SignerError::Mismatch(_))), "an older attempt");
    assert!(make(u32::MAX).is_ok());
    assert!(matches!(make(u32::MAX), Err(SignerError::Mismatch(_))));
}

#[test]
fn nonces_of_an_attempt_are_made_once_even_after_use_and_lock() {
    let party = Party::new(1, |_| ());
    let round = party.round(&party.nonces(0));
    party.partials(0, &round);
    let make = || party.signers[0].make_nonces(&party.nonce_request(0, 0));
    assert!(matches!(make(), Err(SignerError::Mismatch(_))));
    party.signers[0].lock();
    party.signers[0].unlock(secret(1)).expect("its own secret");
    assert!(matches!(make(), Err(SignerError::Mismatch(_))));
}

#[test]
fn the_last_two_attempts_are_kept() {
    let party = Party::new(1, |_| ());
    let rounds: Vec<_> = (0..3).map(|attempt| party.round(&party.nonces(attempt))).collect();
    let sign = |attempt: u32| {
        party.signers[0].make_partials(&party.partial_request(0, attempt, &rounds[attempt as usize]))
    };
    assert_eq!(sign(0), Err(SignerError::NonceGone));
    assert!(sign(1).is_ok() && sign(2).is_ok());
}

#[test]
fn forgetting_spares_later_attempts_and_other_sessions() {
    let party = Party::new(1, |_| ());
    let rounds: Vec<_> = (0..2).map(|attempt| party.round(&party.nonces(attempt))).collect();
    party.signers[0].forget(&SessionId([0; 32]), 9);
    party.signers[0].forget(&party.proposal.id(), 0);
    let sign = |attempt: u32| {
        party.signers[0].make_partials(&party.partial_request(0, attempt, &rounds[attempt as usize]))
    };
    assert_eq!(sign(0), Err(SignerError::NonceGone));
    assert!(sign(1).is_ok());
}

#[test]
fn a_locked_signer_has_no_key_and_no_nonces() {
    let party = Party::new(2, |_| ());
    let round = party.round(&party.nonces(0));
    let signer = &party.signers[0];
    assert!(!signer.is_locked());
    signer.lock();
    assert!(signer.is_locked());
    assert_eq!(signer.public_key(), key_of(1));
    assert_eq!(signer.sign(&[1; 32]), Err(SignerError::Locked));
    assert_eq!(signer.make_nonces(&party.nonce_request(0, 1)), Err(SignerError::Locked));
    assert_eq!(signer.make_partials(&party.partial_request(0, 0, &round)), Err(SignerError::Locked));

    let refused = signer.unlock(secret(2));
    assert_eq!(refused, Err(SignerError::WrongSecret { expected: key_of(1) }));
    assert_eq!(signer.unlock([0; 32]), Err(SignerError::InvalidSecret));
    assert!(signer.is_locked());

    signer.unlock(secret(1)).expect("its own secret");
    assert!(!signer.is_locked());
    assert_eq!(signer.make_partials(&party.partial_request(0, 0, &round)), Err(SignerError::NonceGone));
    let signature = signer.sign(&[1; 32]).expect("unlocked");
    assert!(Musig2.verify(&key_of(1), &[1; 32], &signature));
    assert!(signer.make_nonces(&party.nonce_request(0, 1)).is_ok());
}

#[test]
fn a_wrong_secret_leaves_an_unlocked_signer_as_it_is() {
    let party = Party::new(1, |_| ());
    let round = party.round(&party.nonces(0));
    assert!(party.signers[0].unlock(secret(2)).is_err());
    party.signers[0].unlock(secret(1)).expect("its own secret");
    assert!(party.signers[0].make_partials(&party.partial_request(0, 0, &round)).is_ok());
}

#[test]
fn secrets_that_are_no_keys_are_refused() {
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    for bytes in [[0; 32], [0xff; 32], libmusig::types::from_hex(order).expect("hex")] {
        assert_eq!(LocalSigner::new(bytes).err(), Some(SignerError::InvalidSecret));
    }
}

#[test]
fn generated_signers_differ_and_show_no_secret() {
    let (one, other) = (LocalSigner::generate().expect("random"), LocalSigner::generate().expect("random"));
    assert_ne!(one.public_key(), other.public_key());
    let secret = Choices::new(8).scalar();
    let signer = LocalSigner::new(secret).expect("in range");
    assert_eq!(format!("{signer:?}"), format!("LocalSigner {{ public_key: {:?}, .. }}", signer.public_key()));
}

#[test]
fn envelope_signatures_are_randomized_and_verify() {
    let signer = local(1);
    let (one, other) = (signer.sign(&[1; 32]).expect("signed"), signer.sign(&[1; 32]).expect("signed"));
    assert_ne!(one, other);
    for signature in [one, other] {
        assert!(Musig2.verify(&key_of(1), &[1; 32], &signature));
        assert!(!Musig2.verify(&key_of(1), &[2; 32], &signature));
        assert!(!Musig2.verify(&key_of(2), &[1; 32], &signature));
    }
    assert!(!Musig2.verify(&key_of(1), &[1; 32], &Signature([0xff; 64])));
}

#[test]
fn requests_that_do_not_fit_are_refused_and_nothing_aborts() {
    fn mismatch<T>(result: Result<T, SignerError>) -> bool {
        matches!(result, Err(SignerError::Mismatch(_)))
    }
    let party = Party::new(3, |_| ());
    let other = Party::new(2, |terms| terms.entropy = [8; 32]);
    let signer = &party.signers[0];
    for index in [1, 2, 3, usize::MAX] {
        assert!(mismatch(signer.make_nonces(&party.nonce_request(index, 0))), "signer {index}");
    }
    let mut request = party.nonce_request(0, 0);
    request.keys = Arc::clone(&other.keys);
    assert!(mismatch(signer.make_nonces(&request)), "keys of another session");

    // Each of these uses an attempt up.
    let other_round = other.round(&other.nonces(0));
    type Case = (&'static str, fn(&mut PartialRequest, &Arc<dyn Round>));
    let cases: [Case; 4] = [
        ("another signer's index", |request, _| request.signer = 1),
        ("an index out of range", |request, _| request.signer = usize::MAX),
        ("another session's round", |request, round| request.round = Arc::clone(round)),
        ("another session's round, opaque, with opaque keys that do not fit", |request, round| {
            request.round = Arc::new(Opaque(Arc::clone(round)));
            request.signer = 2;
        }),
    ];
    for (attempt, (case, change)) in cases.into_iter().enumerate() {
        let attempt = attempt as u32;
        let round = party.round(&party.nonces(attempt));
        let mut request = party.partial_request(0, attempt, &round);
        change(&mut request, &other_round);
        assert!(mismatch(signer.make_partials(&request)), "{case}");
        let right = party.partial_request(0, attempt, &round);
        assert_eq!(signer.make_partials(&right), Err(SignerError::NonceGone), "{case}: they are used up");
    }

    // Another session's request finds no nonces, and uses none up.
    let round = party.round(&party.nonces(9));
    let mut request = party.partial_request(0, 9, &round);
    request.proposal = other.proposal.clone();
    assert_eq!(signer.make_partials(&request), Err(SignerError::NonceGone));
    assert!(signer.make_partials(&party.partial_request(0, 9, &round)).is_ok());
}

#[test]
fn a_round_over_other_nonces_of_this_key_is_not_signed() {
    let party = Party::new(2, |_| ());
    let mut nonces = party.nonces(0);
    // The same key in another process.
    nonces[0] = local(1).make_nonces(&party.nonce_request(0, 0)).expect("the first time").concat();
    let round = party.round(&nonces);
    let request = party.partial_request(0, 0, &round);
    assert_eq!(party.signers[0].make_partials(&request), Err(SignerError::NonceGone));
}

#[test]
fn rounds_blame_the_first_bad_nonces() {
    let party = Party::new(3, |terms| {
        terms.messages = vec![Message::raw([1; 32]), Message::raw([2; 32])];
    });
    let good = party.nonces(0);
    let begin = |nonces: &[Vec<u8>]| party.keys.begin_round(&slices(nonces)).map(drop);
    assert_eq!(begin(&good), Ok(()));
    assert_eq!(begin(&good[..2]), Err(2));
    assert_eq!(begin(&[]), Err(0));
    assert_eq!(begin(&[good.clone(), good.clone()].concat()), Err(3));
    for (signer, change) in [(0, 0), (1, 33), (2, 66), (1, 99)] {
        let mut bad = good.clone();
        bad[signer][change] = 4;
        assert_eq!(begin(&bad), Err(signer));
        bad[2].pop();
        assert_eq!(begin(&bad), Err(signer));
    }
    let mut short = good.clone();
    short[1].truncate(66);
    assert_eq!(begin(&short), Err(1));
}

#[test]
fn partials_of_the_wrong_form_do_not_verify() {
    let party = Party::new(2, |terms| {
        terms.messages = vec![Message::raw([1; 32]), Message::raw([2; 32])];
    });
    let round = party.round(&party.nonces(0));
    let good = party.partials(0, &round);
    assert!(round.verify_partials(0, &good[0]) && round.verify_partials(1, &good[1]));
    let swapped = [&good[0][32..], &good[0][..32]].concat();
    let wrong = [&[], &good[0][..32], &good[0][..63], &good[1], &swapped, &[0xff; 64], &[0; 64], &[0; 96]];
    for bytes in wrong {
        assert!(!round.verify_partials(0, bytes));
        assert_eq!(round.aggregate(&[bytes, &good[1]]), None);
    }
    for signer in [2, usize::MAX] {
        assert!(!round.verify_partials(signer, &good[0]));
    }
    assert_eq!(round.aggregate(&[]), None);
    assert_eq!(round.aggregate(&[&good[0]]), None);
    assert_eq!(round.aggregate(&[&good[0], &good[1], &good[1]]), None);
    assert!(round.aggregate(&slices(&good)).is_some());
}

#[test]
fn tasks_make_envelopes_and_hold_back_a_wrong_partial() {
    let party = Party::new(2, |_| ());
    let task = SignTask::Nonces(party.nonce_request(0, 0));
    let envelope = task.run(&party.signers[0], &party.signers[0]).expect("the first time");
    envelope.verify(&Musig2, &party.proposal).expect("authentic");
    let Content::Nonces { attempt: 0, nonces } = envelope.content() else { panic!("{envelope:?}") };
    let theirs = party.signers[1].make_nonces(&party.nonce_request(1, 0)).expect("the first time").concat();
    let round = party.round(&[nonces.clone(), theirs]);
    let task = SignTask::Partial { request: party.partial_request(0, 0, &round), transcript: [4; 32] };
    let partial = task.run(&party.signers[0], &party.signers[0]).expect("it has nonces");
    partial.verify(&Musig2, &party.proposal).expect("authentic");
    assert_eq!(envelope_id(&partial.body().encode()), partial.id());

    struct Faulty(LocalSigner);
    impl Signer for Faulty {
        fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> Result<bool, SignerError> {
            Ok(self.0.holds(key, origin))
        }
        fn make_nonces(
            &self,
            request: &libmusig::signer::NonceRequest,
        ) -> Result<Vec<[u8; NONCE]>, SignerError> {
            self.0.make_nonces(request)
        }
        fn make_partials(&self, request: &PartialRequest) -> Result<Vec<[u8; 32]>, SignerError> {
            let mut partials = self.0.make_partials(request)?;
            partials[0][31] ^= 1;
            Ok(partials)
        }
        fn forget(&self, session: &SessionId, attempt: u32) {
            self.0.forget(session, attempt);
        }
    }
    let faulty = Faulty(local(1));
    let nonces = [
        faulty.make_nonces(&party.nonce_request(0, 1)).expect("the first time").concat(),
        party.signers[1].make_nonces(&party.nonce_request(1, 1)).expect("the first time").concat(),
    ];
    let round = party.round(&nonces);
    let task = SignTask::Partial { request: party.partial_request(0, 1, &round), transcript: [4; 32] };
    assert_eq!(task.run(&party.signers[0], &faulty).err(), Some(SignerError::InvalidPartial));
}

/// Pages of this process that are left out of core dumps and that a child would find wiped, each with its flags.
#[cfg(target_os = "linux")]
fn nonce_pages() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux has it");
    let flags = maps.lines().filter_map(|line| line.strip_prefix("VmFlags:"));
    let has = |flags: &&str, flag: &str| flags.split_whitespace().any(|one| one == flag);
    flags.filter(|flags| has(flags, "dd") && has(flags, "wf")).map(str::to_owned).collect()
}

/// The secrets themselves cannot be seen from here; the pages can. Alone in a process, where no other test has any.
#[test]
#[cfg(target_os = "linux")]
fn nonce_pages_are_locked_undumped_wiped_on_fork_and_gone_after_use() {
    const ALONE: &str = "LIBMUSIG_TEST_NONCE_PAGES";
    if std::env::var_os(ALONE).is_none() {
        let name = "signer::nonce_pages_are_locked_undumped_wiped_on_fork_and_gone_after_use";
        let program = std::env::current_exe().expect("this test");
        let run = std::process::Command::new(program).args([name, "--exact"]).env(ALONE, "1").output();
        let run = run.expect("it starts again");
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}{run:?}");
        return;
    }
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux has it");
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max locked memory")).expect("a limit");
    let limit = limit.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(u64::MAX);
    let locked =
        |pages: &[String]| pages.iter().all(|flags| flags.split_whitespace().any(|flag| flag == "lo"));

    let party = Party::new(2, |_| ());
    assert!(nonce_pages().is_empty(), "keys are in others: a child may use them");
    let nonces = party.nonces(0);
    let pages = nonce_pages();
    assert!(!pages.is_empty() && (locked(&pages) || limit < 1 << 20), "{pages:?}");
    party.partials(0, &party.round(&nonces));
    assert_eq!(nonce_pages(), [""; 0], "after use");

    party.nonces(1);
    assert!(!nonce_pages().is_empty());
    party.signers.iter().for_each(|signer| signer.forget(&party.proposal.id(), 1));
    assert_eq!(nonce_pages(), [""; 0], "after they were forgotten");

    party.nonces(2);
    assert!(!nonce_pages().is_empty());
    party.signers.iter().for_each(|signer| signer.lock());
    assert_eq!(nonce_pages(), [""; 0], "after the lock");
}
