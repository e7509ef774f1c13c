//! What is kept of other signers' proposals that this node refused, closed or saw end, and never joined.
//!
//! It gave no signature in them, so one that is forgotten harms nobody: the application is asked again. So there is a
//! fixed number, and strangers push out strangers' only.

use std::collections::{HashMap, VecDeque};

use crate::error::WireError;
use crate::protocol::limits;
use crate::protocol::proposal::Proposal;
use crate::protocol::wire::{self, pb};
use crate::types::{SessionId, SignerKey, UnixMillis};

/// Bytes of a signer's key by which it is recognised.
const SIGNER: usize = 8;

/// What is kept of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    expires_at: UnixMillis,
    /// [`SIGNER`] bytes of each signer.
    signers: Box<[u8]>,
    /// The envelope that ended it: a decline, or an abort.
    word: Box<[u8]>,
    /// Its proposer was no stranger.
    partner: bool,
}

impl Answer {
    pub fn new(proposal: &Proposal, word: Option<&[u8]>, partner: bool) -> Self {
        let signers: Vec<u8> = proposal.signers.iter().flat_map(|signer| *mark(signer)).collect();
        let word = word.unwrap_or_default().into();
        Self { expires_at: proposal.expires_at, signers: signers.into(), word, partner }
    }

    pub fn encode(&self) -> Vec<u8> {
        wire::encode(&pb::AnsweredRecord {
            expires_at: self.expires_at.0,
            signers: self.signers.to_vec(),
            word: self.word.to_vec(),
            partner: self.partner,
        })
    }

    pub fn decode(record: &[u8]) -> Result<Self, WireError> {
        let record: pb::AnsweredRecord = wire::decode(record, "the stored answer")?;
        Ok(Self {
            expires_at: UnixMillis(record.expires_at),
            signers: record.signers.into(),
            word: record.word.into(),
            partner: record.partner,
        })
    }

    /// Whether it is a session of this signer. Nobody else learns anything of it.
    pub fn is_of(&self, signer: &SignerKey) -> bool {
        self.signers.chunks_exact(SIGNER).any(|one| one == mark(signer))
    }

    /// The envelope that ended it, if there is one to tell.
    pub fn word(&self) -> Option<&[u8]> {
        Some(&*self.word).filter(|word| !word.is_empty())
    }
}

fn mark(signer: &SignerKey) -> &[u8; SIGNER] {
    signer.x_only().first_chunk().expect("it is longer")
}

/// The latest [`limits::ANSWERED_IDS`], strangers' and others' apart.
#[derive(Debug, Default)]
pub(super) struct Answered {
    answers: HashMap<SessionId, Answer>,
    /// The oldest first.
    strangers: VecDeque<SessionId>,
    partners: VecDeque<SessionId>,
}

impl Answered {
    pub fn get(&self, id: &SessionId) -> Option<&Answer> {
        self.answers.get(id)
    }

    pub fn contains(&self, id: &SessionId) -> bool {
        self.answers.contains_key(id)
    }

    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Keeps one. Answers those that are kept no longer: all that expired, if there is no room, or else the oldest.
    pub fn keep(&mut self, id: SessionId, answer: Answer, now: UnixMillis) -> VecDeque<SessionId> {
        let order = if answer.partner { &mut self.partners } else { &mut self.strangers };
        if self.answers.insert(id, answer).is_none() {
            order.push_back(id);
        }
        if order.len() <= limits::ANSWERED_IDS / 2 {
            return VecDeque::new();
        }
        let expired = |id: &SessionId| self.answers.get(id).is_none_or(|answer| answer.expires_at <= now);
        let (mut forgotten, kept): (VecDeque<SessionId>, VecDeque<SessionId>) =
            order.drain(..).partition(expired);
        *order = kept;
        if forgotten.is_empty() {
            forgotten.extend(order.pop_front());
        }
        for id in &forgotten {
            self.answers.remove(id);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn id(number: usize) -> SessionId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        SessionId(id)
    }

    fn answer(expires_at: u64, partner: bool) -> Answer {
        let expires_at = UnixMillis(expires_at);
        Answer { expires_at, signers: Box::default(), word: Box::default(), partner }
    }

    #[test]
    fn declined_proposals_of_strangers_push_out_no_others_and_no_earlier_expiry_is_refused() {
        let mut answered = Answered::default();
        let half = limits::ANSWERED_IDS / 2;
        for number in 0..half {
            assert!(answered.keep(id(number), answer(NOW.0 + 5, true), NOW).is_empty());
        }
        for number in 0..half {
            assert!(answered.keep(id(half + number), answer(u64::MAX, false), NOW).is_empty());
        }
        for number in 0..3 * half {
            let forgotten = answered.keep(id(2 * half + number), answer(u64::MAX, false), NOW);
            assert_eq!(forgotten, [id(half + number)], "the oldest of them");
        }
        assert_eq!(answered.len(), 2 * half);
        assert!((0..half).all(|number| answered.contains(&id(number))), "those of partners");
        assert!(!answered.contains(&id(9 * half)), "it is a set, not a threshold");
    }

    #[test]
    fn what_expired_makes_room_first() {
        let mut answered = Answered::default();
        let half = limits::ANSWERED_IDS / 2;
        for number in 0..half {
            let expires_at = if number % 2 == 0 { NOW.0 + 5 } else { NOW.0 };
            answered.keep(id(number), answer(expires_at, false), UnixMillis(0));
        }
        let forgotten = answered.keep(id(half), answer(NOW.0 + 5, false), NOW);
        assert_eq!(forgotten.len(), half / 2);
        assert!(answered.contains(&id(0)) && !answered.contains(&id(1)) && answered.contains(&id(half)));
    }

    #[test]
    fn a_record_gives_the_same_again() {
        let answer = Answer { signers: [7; 16].into(), word: [8; 9].into(), ..answer(77, true) };
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        assert!(Answer::decode(&[1]).is_err());
    }
}
