//! The outbox of a peer: what waits to be sent to it, and which of its streams is written to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Memory that a waiting frame costs beside its bytes.
const OVERHEAD: usize = 64;

/// See the module.
pub(super) struct Outbox {
    state: Mutex<Waiting>,
    changed: Notify,
    most: usize,
}

#[derive(Default)]
struct Waiting {
    contacts: VecDeque<Arc<[u8]>>,
    presence: Option<Arc<[u8]>>,
    frames: VecDeque<Arc<[u8]>>,
    bytes: usize,
    /// Frames that a writer has taken.
    taken: u64,
    /// The number of the writer that may write.
    writer: u64,
    /// Writers that have not ended.
    writing: usize,
    /// A sign of life is to be asked for.
    question: bool,
    /// One is to be given. However many were asked for: they are all alike.
    answer: bool,
    closed: bool,
}

/// What a writer does next.
pub(super) enum Next {
    /// Writes whom this node looks for.
    Contact(Arc<[u8]>),
    /// Writes a presence.
    Presence(Arc<[u8]>),
    /// Asks for a sign of life.
    Question,
    /// Gives one.
    Answer,
    /// Writes a session frame.
    Frame(Arc<[u8]>),
    /// Waits for [`Outbox::changed`].
    Wait,
    /// Ends.
    End,
}

impl Outbox {
    pub(super) fn new(most: usize) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), most }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a session frame; `false`, and nothing changed, if there is no room or the peer is gone.
    pub(super) fn push(&self, frame: Arc<[u8]>) -> bool {
        let mut waiting = self.lock();
        let bytes = waiting.bytes + frame.len() + OVERHEAD;
        if waiting.closed || bytes > self.most {
            return false;
        }
        waiting.bytes = bytes;
        waiting.frames.push_back(frame);
        drop(waiting);
        self.changed.notify_one();
        true
    }

    /// Says next whom this node looks for, in place of what still waits.
    pub(super) fn contact(&self, contacts: VecDeque<Arc<[u8]>>) {
        self.lock().contacts = contacts;
        self.changed.notify_one();
    }

    /// Sends this presence next, in place of one that still waits.
    pub(super) fn present(&self, presence: Arc<[u8]>) {
        self.lock().presence = Some(presence);
        self.changed.notify_one();
    }

    /// Asks next for a sign of life. False if the question before still waits for a writer.
    pub(super) fn ask(&self) -> bool {
        let waits = std::mem::replace(&mut self.lock().question, true);
        self.changed.notify_one();
        !waits
    }

    /// Gives a sign of life next.
    pub(super) fn answer(&self) {
        self.lock().answer = true;
        self.changed.notify_one();
    }

    /// Ends the present writer. The one with this number goes on, after as many frames as are returned.
    pub(super) fn take_over(&self, writer: u64) -> u64 {
        let mut waiting = self.lock();
        waiting.writer = writer;
        let taken = waiting.taken;
        drop(waiting);
        self.wake();
        taken
    }

    /// No frame is taken any more; the writer ends after those that wait.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    /// Like [`Outbox::close`], and drops those that wait.
    pub(super) fn discard(&self) -> usize {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.presence = None;
        waiting.bytes = 0;
        let dropped = std::mem::take(&mut waiting.frames).len();
        drop(waiting);
        self.wake();
        dropped
    }

    /// True while a writer has not ended.
    pub(super) fn is_writing(&self) -> bool {
        self.lock().writing > 0
    }

    fn wake(&self) {
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Counts a writer that begins.
    pub(super) fn writer_began(&self) {
        self.lock().writing += 1;
    }

    /// Counts a writer that has ended.
    pub(super) fn writer_ended(&self) {
        self.lock().writing -= 1;
    }

    /// Resolves when there may be more for a writer to do. To be called before [`Outbox::next`].
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// What a writer does next; session frames and signs of life come only once it has `presented` this node's signer.
    pub(super) fn next(&self, writer: u64, presented: bool) -> Next {
        let mut waiting = self.lock();
        if waiting.writer != writer {
            return Next::End;
        }
        if let Some(contact) = waiting.contacts.pop_front() {
            return Next::Contact(contact);
        }
        if let Some(presence) = waiting.presence.take() {
            return Next::Presence(presence);
        }
        if presented && std::mem::take(&mut waiting.answer) {
            return Next::Answer;
        }
        if presented && std::mem::take(&mut waiting.question) {
            return Next::Question;
        }
        if presented && let Some(frame) = waiting.frames.pop_front() {
            waiting.bytes -= frame.len() + OVERHEAD;
            waiting.taken += 1;
            return Next::Frame(frame);
        }
        if waiting.closed { Next::End } else { Next::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8) -> Arc<[u8]> {
        vec![byte; 10].into()
    }

    #[test]
    fn frames_wait_for_the_presence_and_keep_their_order() {
        let outbox = Outbox::new(1000);
        let writer = 1;
        assert_eq!(outbox.take_over(writer), 0);
        assert!(outbox.push(frame(1)) && outbox.push(frame(2)));
        assert!(matches!(outbox.next(writer, false), Next::Wait));
        outbox.present(frame(0));
        assert!(matches!(outbox.next(writer, false), Next::Presence(bytes) if bytes[0] == 0));
        assert!(matches!(outbox.next(writer, true), Next::Frame(bytes) if bytes[0] == 1));
        assert!(matches!(outbox.next(writer, true), Next::Frame(bytes) if bytes[0] == 2));
        assert!(matches!(outbox.next(writer, true), Next::Wait));
    }

    #[test]
    fn signs_of_life_overtake_frames_and_do_not_pile_up() {
        let outbox = Outbox::new(1000);
        outbox.take_over(1);
        assert!(outbox.push(frame(1)));
        assert!(outbox.ask() && !outbox.ask(), "the first one still waits");
        (0..1000).for_each(|_| outbox.answer());
        assert!(matches!(outbox.next(1, false), Next::Wait));
        assert!(matches!(outbox.next(1, true), Next::Answer));
        assert!(matches!(outbox.next(1, true), Next::Question));
        assert!(matches!(outbox.next(1, true), Next::Frame(_)));
        assert!(matches!(outbox.next(1, true), Next::Wait));
        assert!(outbox.ask(), "the first one was taken");
    }

    #[test]
    fn another_writer_ends_the_present_one_and_learns_how_many_frames_went_before() {
        let outbox = Outbox::new(1000);
        outbox.take_over(1);
        assert!(outbox.push(frame(1)) && outbox.push(frame(2)));
        assert!(matches!(outbox.next(1, true), Next::Frame(_)));
        assert_eq!(outbox.take_over(2), 1);
        assert!(matches!(outbox.next(1, true), Next::End));
        assert!(matches!(outbox.next(2, true), Next::Frame(bytes) if bytes[0] == 2));
    }

    #[test]
    fn a_full_or_closed_outbox_takes_nothing() {
        let outbox = Outbox::new(2 * (10 + OVERHEAD));
        outbox.take_over(1);
        assert!(outbox.push(frame(1)) && outbox.push(frame(2)));
        assert!(!outbox.push(frame(3)));
        assert!(matches!(outbox.next(1, true), Next::Frame(_)));
        assert!(outbox.push(frame(3)));
        outbox.close();
        assert!(!outbox.push(frame(4)));
        assert!(matches!(outbox.next(1, true), Next::Frame(_)));
        assert_eq!(outbox.discard(), 1);
        assert!(matches!(outbox.next(1, true), Next::End));
    }
}
