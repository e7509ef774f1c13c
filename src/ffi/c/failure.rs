//! Failures: the status and the message of a failed call.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::musig_status_code;
use super::words::for_c;
use crate::error::{ConsentError, Error, ProposalError, SignerError, StoreError};

/// A failed call: its status, its message, and whether the same call may succeed later.
#[derive(Debug)]
pub(super) struct Failure {
    pub status: musig_status_code,
    pub message: String,
    pub retryable: bool,
}

impl Failure {
    pub(super) fn new(status: musig_status_code, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retryable: false }
    }

    /// There are fewer of them than that.
    pub(super) fn no_such(what: &str, index: u32, count: usize) -> Self {
        let message = format!("there is no {what} {index} among {count}");
        Self::new(musig_status_code::INDEX_OUT_OF_RANGE, message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(musig_status_code::INVALID_ARGUMENT, message)
    }
}

pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// Runs the body of a function that cannot fail; a panic in it gives `otherwise`.
pub(super) fn guarded<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        otherwise
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        use musig_status_code::*;
        let status = match &error {
            Error::Proposal(ProposalError::Key { .. } | ProposalError::ParticipantKey { .. }) => INVALID_KEY,
            Error::Proposal(_) => PROPOSAL,
            Error::Wire(_) => WIRE,
            Error::Consent(ConsentError::UnverifiedInput { .. }) => UNVERIFIED_INPUT,
            Error::Consent(ConsentError::MissingCoin { .. }) => MISSING_COIN,
            Error::Consent(ConsentError::CoinsNotKnown { .. }) => COINS_NOT_KNOWN,
            Error::Consent(ConsentError::BlindMessage { .. }) => BLIND_MESSAGE,
            Error::Signer(SignerError::Locked) => SIGNER_LOCKED,
            Error::Signer(
                SignerError::WrongSecret { .. } | SignerError::InvalidSecret | SignerError::InvalidXprv(_),
            ) => WRONG_SECRET,
            Error::Signer(_) => SIGNER,
            Error::Store(StoreError::InUse { .. }) => STORE_IN_USE,
            Error::Store(StoreError::Schema { .. }) => STORE_SCHEMA,
            Error::Store(StoreError::Corrupt { .. }) => STORE_CORRUPT,
            Error::Store(StoreError::OtherKey { .. }) => STORE_OTHER_KEY,
            Error::Store(StoreError::Suspended) => STORE_SUSPENDED,
            Error::Store(StoreError::Hangs { .. }) => STORE_HANGS,
            Error::Store(StoreError::Unstored { .. }) => STORE_UNSTORED,
            Error::Store(_) => STORE,
            Error::Election(_) => ELECTION,
            Error::UnknownSession(_) => UNKNOWN_SESSION,
            Error::SessionExists(_) => SESSION_EXISTS,
            Error::WrongState { .. } => WRONG_STATE,
            Error::NotSettled { .. } => NOT_SETTLED,
            Error::Limit { .. } => LIMIT,
            Error::Config(_) => CONFIG,
            Error::Network(_) => NETWORK,
            Error::NodeStopped => NODE_STOPPED,
            Error::Suspended => SUSPENDED,
            Error::ConsumerExists => CONSUMER_EXISTS,
            Error::WouldDeadlock => WOULD_DEADLOCK,
            Error::Forked => FORKED,
            Error::Internal(_) => INTERNAL,
        };
        Self { retryable: error.is_retryable(), ..Self::new(status, message(&error)) }
    }
}

/// The message of an error, which names functions of C only.
fn message(error: &Error) -> String {
    match error {
        Error::UnknownSession(session) => format!(
            "session {session} is unknown to this node; wait for MUSIG_EVENT_SESSION_PROPOSED, or call musig_node_import"
        ),
        Error::ConsumerExists => {
            "events already have a consumer (a handler, or a pending musig_node_next_event); use \
                                  one at a time"
                .into()
        }
        Error::WouldDeadlock => {
            "musig_node_stop was called from one of this node's own callbacks and would deadlock; \
                                 call musig_node_request_stop there"
                .into()
        }
        Error::Signer(SignerError::Locked) => {
            "the signer is locked; call musig_signer_unlock with its secret key".into()
        }
        Error::Consent(error) => [
            ("allow_unverified_inputs", "MUSIG_JOIN_ALLOW_UNVERIFIED_INPUTS"),
            ("allow_missing_coins", "MUSIG_JOIN_ALLOW_MISSING_COINS"),
            ("sign_blind", "MUSIG_JOIN_SIGN_BLIND"),
        ]
        .iter()
        .fold(error.to_string(), |text, (option, flag)| text.replace(option, flag)),
        // Text of the system, of a peer or of a foreign signer is not changed.
        Error::Store(StoreError::Suspended) => for_c(&error.to_string()),
        Error::Signer(SignerError::Other(_)) | Error::Store(_) | Error::Network(_) | Error::Internal(_) => {
            error.to_string()
        }
        _ => for_c(&error.to_string()),
    }
}

impl From<ProposalError> for Failure {
    fn from(error: ProposalError) -> Self {
        Error::from(error).into()
    }
}

impl From<SignerError> for Failure {
    fn from(error: SignerError) -> Self {
        Error::from(error).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::codes;
    use super::*;
    use crate::types::SessionId;

    /// Every error, and those that carry a hint with one.
    fn all() -> Vec<Error> {
        let session = SessionId([7; 32]);
        let mut all: Vec<Error> = codes::all().into_iter().map(|(_, error)| error).collect();
        all.extend([
            Error::WrongState { session, state: "closed", hint: "wait for SessionComplete" },
            Error::Limit { what: "sessions", limit: 1, hint: "close_session() frees one" },
            Error::Config("a node needs a store: call store_path()".into()),
        ]);
        all
    }

    /// Whether a text names a call or an event as Rust does.
    fn names_rust(text: &str) -> bool {
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.match_indices("()").any(|(position, _)| text[..position].ends_with(is_name))
            || text.contains("call resume")
            || words.any(|word| {
                let of_c = word.to_lowercase().starts_with("musig_");
                word.contains('_') && !of_c || word.starts_with("Session") && word.len() > 7
            })
    }

    #[test]
    fn no_message_names_a_call_of_rust() {
        // The check can fail: the texts of Rust do.
        assert!(all().iter().filter(|error| names_rust(&error.to_string())).count() > 2);
        for error in all() {
            let message = Failure::from(error).message;
            assert!(!names_rust(&message), "{message}");
        }
    }
}
