//! Election of the coordinator and of its successors: the same result at every signer, without a message.

use sha2::{Digest, Sha256};

use crate::error::ElectionError;
use crate::mutation::{self, Mutation};
use crate::types::{SessionId, SignerKey, tagged_hash, to_hex};

/// Election method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ElectionMethod {
    /// Ascending compressed public keys. The default.
    #[default]
    Lexicographic,
    /// Index order from `h mod n` on, wrapping. `h` is the first 4 bytes, big-endian, of the SHA-256 of the
    /// lower-case hexadecimal keys in proposal order. A proposer can choose keys or order to win it.
    HashBased,
    /// 0, 1, …, n-1.
    FirstSigner,
    /// n-1, …, 1, 0.
    LastSigner,
    /// Ascending tagged hash `musig/rotation` of session id and key: rotates with every session.
    SessionSalted,
}

impl ElectionMethod {
    /// All methods.
    pub const ALL: [Self; 5] =
        [Self::Lexicographic, Self::HashBased, Self::FirstSigner, Self::LastSigner, Self::SessionSalted];

    /// Number of the method on the wire.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Method of a number; `None` for an unknown one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

/// Result of an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// The election method.
    pub method: ElectionMethod,
    /// The signer index of the elected coordinator: the first of the list.
    pub coordinator: usize,
    /// All signer indices in the order of their turns.
    pub priority_list: Vec<usize>,
    /// Lower-case hexadecimal SHA-256 of the sorted lower-case hexadecimal keys: equal at signers with equal sets.
    pub proof: String,
}

/// Elects a coordinator among `signers`, whose positions are the signer indices.
pub fn elect(
    signers: &[SignerKey],
    method: ElectionMethod,
    session: &SessionId,
) -> Result<Election, ElectionError> {
    let priority_list = priority_list(signers, method, session)?;
    Ok(Election { method, coordinator: priority_list[0], priority_list, proof: proof(signers) })
}

/// Priority list of an election, without the proof.
pub fn priority_list(
    signers: &[SignerKey],
    method: ElectionMethod,
    session: &SessionId,
) -> Result<Vec<usize>, ElectionError> {
    let n = signers.len();
    if n == 0 {
        return Err(ElectionError::NoSigners);
    }
    let mut list: Vec<usize> = (0..n).collect();
    match method {
        ElectionMethod::Lexicographic => list.sort_by_key(|index| signers[*index]),
        ElectionMethod::HashBased => list.rotate_left(hash_based_start(signers)),
        ElectionMethod::FirstSigner => {}
        ElectionMethod::LastSigner => list.reverse(),
        ElectionMethod::SessionSalted => {
            list.sort_by_cached_key(|index| {
                tagged_hash("musig/rotation", &[&session.0, signers[*index].as_bytes()])
            });
        }
    }
    if mutation::on(Mutation::NoSignerZero) && n > 1 {
        list.retain(|signer| *signer != 0);
    }
    Ok(list)
}

fn hash_based_start(signers: &[SignerKey]) -> usize {
    let mut hasher = Sha256::new();
    for key in signers {
        hasher.update(to_hex(key.as_bytes()));
    }
    let hash = hasher.finalize();
    let first = u32::from_be_bytes(*hash.first_chunk().expect("a hash has 32 bytes"));
    (u64::from(first) % signers.len() as u64) as usize
}

fn proof(signers: &[SignerKey]) -> String {
    let mut keys: Vec<_> = signers.iter().collect();
    keys.sort();
    let mut hasher = Sha256::new();
    for key in keys {
        hasher.update(to_hex(key.as_bytes()));
    }
    to_hex(&hasher.finalize())
}

impl Election {
    /// The signer that follows `index` in the list. After the last one: the first again for the lexicographic and
    /// the hash-based method, nobody for the others. Nobody if there is one signer.
    pub fn backup_after(&self, index: usize) -> Result<Option<usize>, ElectionError> {
        let signers = self.priority_list.len();
        let position = self.priority_list.iter().position(|signer| *signer == index);
        let position = position.ok_or(ElectionError::IndexOutOfRange { index, signers })?;
        if signers == 1 {
            return Ok(None);
        }
        let wraps = matches!(self.method, ElectionMethod::Lexicographic | ElectionMethod::HashBased);
        Ok(match self.priority_list.get(position + 1) {
            Some(next) => Some(*next),
            None => wraps.then(|| self.priority_list[0]),
        })
    }

    /// Whether this is the result for these signers: coordinator, list and proof fit the method.
    pub fn verify(&self, signers: &[SignerKey], session: &SessionId) -> bool {
        elect(signers, self.method, session).is_ok_and(|expected| expected == *self)
    }
}
