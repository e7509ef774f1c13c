//! Elections without a node.

use super::error::MusigError;
use super::values::{SignerIndex, indices, invalid};
use crate::protocol::election as core;
pub use crate::protocol::election::ElectionMethod;
use crate::types::{SessionId, SignerKey};

/// Method of electing the coordinator.
#[uniffi::remote(Enum)]
pub enum ElectionMethod {
    /// Signers by their compressed keys, ascending.
    Lexicographic,
    /// Index order from a hash of all keys on, wrapping.
    HashBased,
    /// 0, 1, …, n-1.
    FirstSigner,
    /// n-1, …, 1, 0.
    LastSigner,
    /// Rotates with every session: ascending hash of session id and key.
    SessionSalted,
}

/// Result of an election.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Election {
    /// The election method.
    pub method: ElectionMethod,
    /// The signer index of the elected coordinator: the first of the list.
    pub coordinator: SignerIndex,
    /// All signer indices, in the order in which they take their turn.
    pub priority_list: Vec<SignerIndex>,
    /// Hexadecimal SHA-256 of the sorted hexadecimal keys: equal at signers with equal sets.
    pub proof: String,
}

impl From<core::Election> for Election {
    fn from(election: core::Election) -> Self {
        Self {
            method: election.method,
            coordinator: election.coordinator.into(),
            priority_list: indices(election.priority_list),
            proof: election.proof,
        }
    }
}

impl From<Election> for core::Election {
    fn from(election: Election) -> Self {
        Self {
            method: election.method,
            coordinator: election.coordinator.to_usize(),
            priority_list: election.priority_list.into_iter().map(SignerIndex::to_usize).collect(),
            proof: election.proof,
        }
    }
}

/// Only one method depends on the session.
fn session_for(method: ElectionMethod, session: Option<SessionId>) -> Result<SessionId, MusigError> {
    match (session, method) {
        (Some(session), _) => Ok(session),
        (None, ElectionMethod::SessionSalted) => {
            Err(invalid("session", "the session-salted election needs the session's id"))
        }
        (None, _) => Ok(SessionId([0; 32])),
    }
}

/// Elects a coordinator among signers, whose positions are the signer indices. The session's id is needed for the
/// session-salted method only.
#[uniffi::export(default(session = None))]
pub fn elect(
    signers: Vec<SignerKey>,
    method: ElectionMethod,
    session: Option<SessionId>,
) -> Result<Election, MusigError> {
    Ok(core::elect(&signers, method, &session_for(method, session)?)?.into())
}

/// The signer that follows another one in the priority list. After the last one: the first again for the lexicographic
/// and the hash-based method, none for the others. None if there is one signer.
#[uniffi::export]
pub fn backup_after(election: Election, index: SignerIndex) -> Result<Option<SignerIndex>, MusigError> {
    let backup = core::Election::from(election).backup_after(index.to_usize())?;
    Ok(backup.map(SignerIndex::from))
}

/// Verifies method, coordinator, priority list and proof of an election of these signers.
#[uniffi::export(default(session = None))]
pub fn verify_election(
    election: Election,
    signers: Vec<SignerKey>,
    session: Option<SessionId>,
) -> Result<bool, MusigError> {
    let session = session_for(election.method, session)?;
    Ok(core::Election::from(election).verify(&signers, &session))
}
