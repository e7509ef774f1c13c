//! The sessions of an engine: those in use as they are, those at rest packed.

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::time::Duration;

use crate::protocol::session::Session;
use crate::protocol::session::compact::Packed;
use crate::protocol::status::Phase;
use crate::protocol::transaction::TransactionCodec;
use crate::types::{SessionId, SignerKey};

/// One session.
pub(super) enum Slot {
    Ready(Box<Session>),
    Packed(Box<Packed>),
}

/// A session to look at.
pub(super) enum View<'a> {
    Ready(&'a Session),
    Unpacked(Box<Session>),
}

impl Deref for View<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        match self {
            Self::Ready(session) => session,
            Self::Unpacked(session) => session,
        }
    }
}

impl Slot {
    pub fn closed(&self) -> bool {
        match self {
            Self::Ready(session) => session.closed(),
            Self::Packed(packed) => packed.summary.is_closed(),
        }
    }

    /// Whether this node ended it, and a certificate may still come, or still be needed.
    pub fn kept(&self) -> bool {
        match self {
            Self::Ready(session) => session.is_kept(),
            Self::Packed(packed) => packed.summary.kept,
        }
    }

    /// Whether it holds the finished signatures.
    pub fn certified(&self) -> bool {
        match self {
            Self::Ready(session) => session.certificate().is_some(),
            Self::Packed(packed) => packed.summary.certified,
        }
    }

    pub fn own_index(&self) -> usize {
        match self {
            Self::Ready(session) => session.own_index(),
            Self::Packed(packed) => packed.own_index(),
        }
    }

    pub fn own_turn_open(&self) -> bool {
        match self {
            Self::Ready(session) => session.own_turn_open(),
            Self::Packed(packed) => packed.summary.own_turn_open,
        }
    }

    pub fn phase(&self) -> Phase {
        match self {
            Self::Ready(session) => session.phase(),
            Self::Packed(packed) => packed.summary.phase,
        }
    }

    pub fn index_of(&self, signer: &SignerKey) -> Option<usize> {
        match self {
            Self::Ready(session) => session.proposal().index_of(signer),
            Self::Packed(packed) => packed.index_of(signer),
        }
    }

    /// How many envelopes it holds, and their bytes.
    pub fn envelopes(&self) -> (usize, usize) {
        match self {
            Self::Ready(session) => session.envelopes(),
            Self::Packed(packed) => packed.envelopes(),
        }
    }

    pub fn packed(&self) -> Option<&Packed> {
        match self {
            Self::Ready(_) => None,
            Self::Packed(packed) => Some(packed),
        }
    }
}

/// All of them. Those that were used a moment ago are kept ready, for they are likely to be used again soon.
#[derive(Default)]
pub(super) struct SessionTable {
    slots: HashMap<SessionId, Slot>,
    /// Those at rest that are not packed yet, and since when they are not used as far as is known here.
    resting: VecDeque<(SessionId, Duration)>,
}

impl std::fmt::Debug for SessionTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.slots.keys()).finish()
    }
}

impl SessionTable {
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn contains(&self, id: &SessionId) -> bool {
        self.slots.contains_key(id)
    }

    pub fn ids(&self) -> impl Iterator<Item = &SessionId> {
        self.slots.keys()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&SessionId, &Slot)> {
        self.slots.iter()
    }

    /// A session as it is held.
    pub fn get(&self, id: &SessionId) -> Option<&Slot> {
        self.slots.get(id)
    }

    /// The same, to look at more closely.
    pub fn get_mut(&mut self, id: &SessionId) -> Option<&mut Slot> {
        self.slots.get_mut(id)
    }

    /// A session that needs no unpacking, if this is one.
    pub fn ready(&self, id: &SessionId) -> Option<&Session> {
        match self.slots.get(id)? {
            Slot::Ready(session) => Some(session),
            Slot::Packed(_) => None,
        }
    }

    /// A session to look at. What looking changes in it (the time that passed) is lost.
    pub fn view(&self, id: &SessionId, codec: &dyn TransactionCodec) -> Option<View<'_>> {
        Some(match self.slots.get(id)? {
            Slot::Ready(session) => View::Ready(session),
            Slot::Packed(packed) => View::Unpacked(Box::new(Session::unpack(packed, *id, codec))),
        })
    }

    /// A session to work with, unpacked if need be. [`SessionTable::rest`] is to be called afterwards.
    pub fn unpacked(&mut self, id: &SessionId, codec: &dyn TransactionCodec) -> Option<&mut Session> {
        let slot = self.slots.get_mut(id)?;
        if let Slot::Packed(packed) = slot {
            *slot = Slot::Ready(Box::new(Session::unpack(packed, *id, codec)));
        }
        match slot {
            Slot::Ready(session) => Some(session),
            Slot::Packed(_) => None,
        }
    }

    pub fn insert(&mut self, session: Session) {
        self.slots.insert(session.id(), Slot::Ready(Box::new(session)));
    }

    pub fn remove(&mut self, id: &SessionId) {
        self.slots.remove(id);
    }

    /// Packs what is at rest and was not used for this long. This one has just been used.
    pub fn rest(&mut self, id: &SessionId, pack_after: Duration, now: Duration) {
        if let Some(Slot::Ready(session)) = self.slots.get_mut(id)
            && session.at_rest()
        {
            if session.rested_at.is_none() {
                self.resting.push_back((*id, now));
            }
            session.rested_at = Some(now);
        }
        while let Some((id, _)) =
            self.resting.front().copied().filter(|(_, since)| *since + pack_after <= now)
        {
            self.resting.pop_front();
            let Some(Slot::Ready(session)) = self.slots.get_mut(&id) else { continue };
            match session.rested_at.filter(|_| session.at_rest()) {
                Some(at) if at + pack_after <= now => self.pack(id, now),
                // It was used meanwhile.
                Some(at) => self.resting.push_back((id, at)),
                None => session.rested_at = None,
            }
        }
    }

    fn pack(&mut self, id: SessionId, now: Duration) {
        if let Some(Slot::Ready(session)) = self.slots.remove(&id) {
            self.slots.insert(id, Slot::Packed(Box::new(session.pack(now))));
        }
    }
}
