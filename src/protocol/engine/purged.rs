//! Ids of purged sessions. If the wall clock is set back, such a session would look new, and this node could
//! equivocate; so it is refused.

use std::collections::BTreeSet;

use crate::protocol::limits;
use crate::types::{SessionId, UnixMillis};

/// Those that expire last, with all that expire before them once there are [`limits::ENDED`].
#[derive(Debug, Default)]
pub(super) struct Purged(BTreeSet<(UnixMillis, SessionId)>);

impl Purged {
    /// Notes one. Answers the one that need not be noted any more, for it expires before all others.
    pub fn note(&mut self, expires_at: UnixMillis, id: SessionId) -> Option<SessionId> {
        self.0.insert((expires_at, id));
        if self.0.len() <= limits::ENDED {
            return None;
        }
        self.0.pop_first().map(|(_, first)| first)
    }

    /// Whether a session may be one of them.
    pub fn may_contain(&self, expires_at: UnixMillis, id: SessionId) -> bool {
        let full = self.0.len() >= limits::ENDED;
        let before_all = self.0.first().is_some_and(|first| (expires_at, id) < *first);
        self.0.contains(&(expires_at, id)) || full && before_all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_expire_last_are_known_exactly_and_the_others_by_their_expiry() {
        let one = |number: usize| (UnixMillis(number as u64), SessionId([number as u8; 32]));
        let mut purged = Purged::default();
        for number in (10..10 + limits::ENDED).rev() {
            let (at, id) = one(number);
            assert!(!purged.may_contain(at, id));
            assert_eq!(purged.note(at, id), None);
            assert_eq!(purged.note(at, id), None, "twice is once");
            assert!(purged.may_contain(at, id));
        }
        let other = SessionId([0xee; 32]);
        assert!(!purged.may_contain(one(11).0, other));
        assert!(purged.may_contain(one(9).0, other), "it may have been one that is not noted any more");
        let (at, id) = one(10 + limits::ENDED);
        assert_eq!(purged.note(at, id), Some(one(10).1));
        assert!(purged.may_contain(one(10).0, one(10).1));
        assert_eq!(purged.note(one(9).0, one(9).1), Some(one(9).1), "itself");
        assert!(purged.may_contain(one(9).0, one(9).1));
        assert!(!purged.may_contain(one(11).0, other));
    }
}
