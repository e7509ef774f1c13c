//! The backlog: events that wait for room in the application's channel, and readers that wait until they are there.

use std::collections::VecDeque;

use libp2p::Multiaddr;
use tokio::sync::oneshot;

use super::message::NetEvent;

/// Events that wait before the swarm itself is left waiting.
const MOST: usize = 1024;

/// See the module. A reader is never the first item: what it waits for comes before it.
#[derive(Default)]
pub(super) struct Backlog(VecDeque<Item>);

enum Item {
    Event(NetEvent),
    Resume(oneshot::Sender<()>),
}

impl Backlog {
    /// Adds an event.
    pub(super) fn push(&mut self, event: NetEvent) {
        self.0.push_back(Item::Event(event));
    }

    /// Adds the addresses of this node, in place of those that were added last and still wait.
    pub(super) fn push_listening(&mut self, addresses: Vec<Multiaddr>) {
        if let Some(Item::Event(NetEvent::Listening(_))) = self.0.back() {
            self.0.pop_back();
        }
        self.push(NetEvent::Listening(addresses));
    }

    /// Lets a reader continue once all events before it have been handed out.
    pub(super) fn resume(&mut self, reader: oneshot::Sender<()>) {
        match self.0.is_empty() {
            true => drop(reader.send(())),
            false => self.0.push_back(Item::Resume(reader)),
        }
    }

    /// Hands out the oldest event by `send`, then lets the readers behind it continue.
    pub(super) fn hand_out(&mut self, send: impl FnOnce(NetEvent)) {
        if let Some(Item::Event(event)) = self.0.pop_front() {
            send(event);
        }
        while let Some(Item::Resume(_)) = self.0.front() {
            if let Some(Item::Resume(reader)) = self.0.pop_front() {
                let _ = reader.send(());
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.len() < MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> NetEvent {
        NetEvent::Degraded(text.into())
    }

    fn next(backlog: &mut Backlog) -> Option<NetEvent> {
        let mut handed_out = None;
        backlog.hand_out(|event| handed_out = Some(event));
        handed_out
    }

    #[test]
    fn a_reader_continues_after_the_events_before_it_and_not_earlier() {
        let mut backlog = Backlog::default();
        let (at_once, mut first) = oneshot::channel();
        backlog.resume(at_once);
        assert!(first.try_recv().is_ok());

        let (waits, mut second) = oneshot::channel();
        backlog.push(event("one"));
        backlog.push(event("two"));
        backlog.resume(waits);
        backlog.push(event("three"));
        assert!(matches!(next(&mut backlog), Some(NetEvent::Degraded(text)) if text == "one"));
        assert!(second.try_recv().is_err());
        backlog.hand_out(|event| {
            assert!(matches!(event, NetEvent::Degraded(text) if text == "two"));
            assert!(second.try_recv().is_err());
        });
        assert!(second.try_recv().is_ok());
        assert!(next(&mut backlog).is_some());
        assert!(backlog.is_empty() && next(&mut backlog).is_none());
    }

    #[test]
    fn newer_addresses_replace_older_ones_that_still_wait() {
        let mut backlog = Backlog::default();
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        backlog.push_listening(vec![]);
        backlog.push_listening(vec![address.clone()]);
        backlog.push(event("between"));
        backlog.push_listening(vec![]);
        assert!(matches!(next(&mut backlog), Some(NetEvent::Listening(list)) if list == [address]));
        assert!(matches!(next(&mut backlog), Some(NetEvent::Degraded(_))));
        assert!(matches!(next(&mut backlog), Some(NetEvent::Listening(list)) if list.is_empty()));
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_full_backlog_has_no_room() {
        let mut backlog = Backlog::default();
        for _ in 0..MOST {
            assert!(backlog.has_room());
            backlog.push(event("more"));
        }
        assert!(!backlog.has_room());
    }
}
