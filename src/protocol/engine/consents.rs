//! Consents of the application that wait for what the observer says of the transaction's coins.

use std::collections::HashMap;

use crate::protocol::RequestId;
use crate::protocol::proposal::Proposal;
use crate::types::{OutPoint, SessionId};

/// A consent that waits. Nothing of it is stored: until it is given, nothing was said.
#[derive(Debug)]
pub(super) struct Waiting {
    pub session: SessionId,
    /// The proposal, if it is this node's own and there is no session yet.
    pub own: Option<Proposal>,
    /// What the observer is asked about, each with its input's index.
    pub coins: Vec<(u32, OutPoint)>,
}

/// All that wait, by their requests.
#[derive(Debug, Default)]
pub(super) struct Consents(HashMap<RequestId, Waiting>);

impl Consents {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a consent to this session waits.
    pub fn waits_for(&self, session: &SessionId) -> bool {
        self.0.values().any(|waiting| waiting.session == *session)
    }

    /// Whether it is a session of this node's own proposal, which is not there yet.
    pub fn creates(&self, session: &SessionId) -> bool {
        self.0.values().any(|waiting| waiting.session == *session && waiting.own.is_some())
    }

    pub fn wait(&mut self, request: RequestId, waiting: Waiting) {
        self.0.insert(request, waiting);
    }

    /// Takes out all consents to this session that wait.
    pub fn withdraw(&mut self, session: &SessionId) -> Vec<RequestId> {
        let of = |(_, waiting): &(&RequestId, &Waiting)| waiting.session == *session;
        let mut requests: Vec<_> = self.0.iter().filter(of).map(|(request, _)| *request).collect();
        requests.sort_unstable();
        requests.iter().for_each(|request| drop(self.take(*request)));
        requests
    }

    pub fn take(&mut self, request: RequestId) -> Option<Waiting> {
        let waiting = self.0.remove(&request);
        // Nearly always none waits, so the room for many is not kept.
        if self.0.is_empty() {
            self.0 = HashMap::new();
        }
        waiting
    }
}
