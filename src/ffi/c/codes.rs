//! The committed table of errors and the statuses that they have in C: `tests/vectors/errors.txt`.

use std::path::Path;
use std::time::Duration;
use std::{fmt::Write, fs};

use super::failure::Failure;
use crate::error::{
    ConsentError, ElectionError, Error, InvalidKey, ProposalError, SignerError, StoreError, WireError,
};
use crate::types::{OutPoint, SessionId, SignerKey, Txid, UnixMillis};

/// Lists values of an enum, each with its name; one that is left out does not compile.
macro_rules! each {
    ($type:ident: $($name:ident $(($($value:expr),*))? $({$($field:ident: $of:expr),*})?),* $(,)?) => {{
        fn complete(value: &$type) {
            match value {
                $($type::$name { .. } => {})*
            }
        }
        let all = vec![$((stringify!($name), $type::$name $(($($value),*))? $({$($field: $of),*})?)),*];
        all.iter().for_each(|(_, value)| complete(value));
        all
    }};
}

/// Every error, by its name.
pub(super) fn all() -> Vec<(String, Error)> {
    let session = SessionId([1; 32]);
    let key = "02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9";
    let key: SignerKey = key.parse().expect("a point");
    let coin = OutPoint { txid: Txid([2; 32]), vout: 0 };
    let (text, path) = (String::new, String::new);
    let mut all = Vec::new();
    let mut add = |group: &str, name: &str, error: Error| all.push((format!("{group}::{name}"), error));
    for (name, error) in each!(ProposalError:
        Encoding(""), Limit { what: "", actual: 0, least: 0, most: 0 },
        Key { index: 0, source: InvalidKey { length: 0 } }, DuplicateKey { first: 0, second: 1 },
        Index { what: "", index: 0 },
        ParticipantKey { key_set: 0, signer: 0, source: InvalidKey { length: 0 } }, SameKeySet { first: 0, second: 1 },
        UnusedKeySet { index: 0 }, HardenedChild { number: 0 }, Derivation, KeyNotHeld { key: key }, AimedKey { signer: 0 },
        BroadcastTimeout { actual: Duration::ZERO },
        Expiry { expires_at: UnixMillis(0), now: UnixMillis(0) }, Unknown { what: "", value: 0 },
        Transaction(text()), FailoverNeedsFixedTransaction(text()), NotASigner,
    ) {
        add("ProposalError", name, error.into());
    }
    for (name, error) in each!(WireError:
        TooLong { what: "", actual: 0, most: 0 }, TooMany { what: "", actual: 0, most: 0 }, Malformed(""),
        InvalidProposal, Signature(""), NoSuchSigner { index: 0 }, UnknownSession(session),
    ) {
        add("WireError", name, error.into());
    }
    for (name, error) in each!(ConsentError:
        UnverifiedInput { input: 0 }, MissingCoin { input: 0, coin: coin, spent: true },
        CoinsNotKnown { reason: text() }, BlindMessage { message: 0, session: None },
    ) {
        add("ConsentError", name, error.into());
    }
    for (name, error) in each!(SignerError:
        Locked, WrongSecret { expected: key }, InvalidSecret, InvalidXprv(""), NonceGone, Mismatch(""), NoRandomness,
        InvalidPartial, Other(text()),
    ) {
        add("SignerError", name, error.into());
    }
    for (name, error) in each!(StoreError:
        InUse { path: path() }, Schema { path: path(), found: 0, expected: 0 },
        Corrupt { path: path(), reason: text() }, Io { path: path(), reason: text() }, Hangs { seconds: 30 },
        OtherKey { path: path(), owner: key, signer: key },
        Unstored { reason: text() }, Suspended,
    ) {
        add("StoreError", name, error.into());
    }
    for (name, error) in each!(ElectionError: NoSigners, IndexOutOfRange { index: 0, signers: 0 }) {
        add("ElectionError", name, error.into());
    }
    for (name, error) in each!(Error:
        Proposal(ProposalError::NotASigner), Wire(WireError::Malformed("")), Consent(ConsentError::UnverifiedInput { input: 0 }),
        Signer(SignerError::Locked),
        Store(StoreError::Suspended), Election(ElectionError::NoSigners), UnknownSession(session),
        SessionExists(session), WrongState { session: session, state: "", hint: "" },
        NotSettled { session: session, complete: true },
        Limit { what: "", limit: 0, hint: "" }, Config(text()), Network(text()), NodeStopped, Suspended,
        ConsumerExists, WouldDeadlock, Forked, Internal(text()),
    ) {
        // What is inside of the others is listed above.
        let group = ["Proposal", "Wire", "Consent", "Signer", "Store", "Election"];
        if !group.contains(&name) {
            add("Error", name, error);
        }
    }
    all
}

#[test]
fn every_error_keeps_its_name_and_its_status() {
    let mut table = String::new();
    for (name, error) in all() {
        let status = Failure::from(error).status;
        writeln!(table, "{} {status:?} {name}", status as i32).expect("a string");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/errors.txt");
    if std::env::var_os("MUSIG_BLESS").is_some() {
        fs::write(&path, &table).expect("can be written");
    }
    let committed = fs::read_to_string(&path).expect("is there");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&table), lines(&committed), "a status of an error is for good");
}

/// Whether a call may be repeated is said alike in Rust, in C and by docs/errors.md.
#[test]
fn retryable_errors_are_the_same_in_c_and_in_the_document() {
    let mut retryable = Vec::new();
    for (name, error) in all() {
        let expected = error.is_retryable();
        let failure = Failure::from(error);
        assert_eq!(failure.retryable, expected, "{name} in C");
        if expected {
            retryable.push(format!("`{:?}`", failure.status));
        }
    }
    retryable.dedup();
    let document =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md")).expect("is there");
    let listed =
        document.lines().find_map(|line| line.strip_prefix("Retryable: ")).expect("a line lists them");
    assert_eq!(listed.trim_end_matches('.'), retryable.join(", "));
}
