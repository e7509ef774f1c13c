//! Proposals that wait for what the foreign signer says of their participant keys.

use std::collections::HashMap;

use crate::protocol::RequestId;
use crate::protocol::consent::JoinOptions;
use crate::protocol::envelope::Envelope;
use crate::protocol::limits;
use crate::protocol::proposal::Proposal;
use crate::protocol::session::Session;
use crate::types::{SessionId, SignerKey};

/// A proposal that waits. Nothing of it is stored, told or answered.
#[derive(Debug)]
pub(super) enum Waiting {
    /// This node's own.
    Own { proposal: Proposal, options: JoinOptions, request: RequestId },
    /// One that came, with what came beside it.
    Received { session: Box<Session>, beside: Received },
}

/// A part of a frame.
#[derive(Debug)]
pub(super) struct Received {
    pub envelopes: Vec<Envelope>,
    pub lacking: Vec<u8>,
    pub from: Option<SignerKey>,
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct KeyChecks(HashMap<SessionId, Waiting>);

impl KeyChecks {
    pub fn waits_for(&self, session: &SessionId) -> bool {
        self.0.contains_key(session)
    }

    /// How many of this node's own wait.
    pub fn own(&self) -> usize {
        self.0.values().filter(|waiting| matches!(waiting, Waiting::Own { .. })).count()
    }

    /// Whether one more that came may wait, of this size and proposer. One that may not comes again by comparison.
    /// `share` is by what the room is divided for its proposer.
    pub fn has_room_for(&self, proposer: &SignerKey, bytes: usize, share: usize) -> bool {
        let received = self.0.values().filter_map(|waiting| match waiting {
            Waiting::Own { .. } => None,
            Waiting::Received { session, .. } => Some(session.proposal()),
        });
        let (mut all, mut of_proposer, mut size) = (0, 0, bytes);
        for proposal in received {
            all += 1;
            of_proposer += usize::from(proposal.signers[proposal.proposer] == *proposer);
            size += proposal.as_bytes().len();
        }
        all < limits::KEY_CHECKS / share
            && of_proposer < limits::KEY_CHECKS / 8
            && size <= limits::KEY_CHECKS_BYTES / share
    }

    pub fn wait(&mut self, session: SessionId, waiting: Waiting) {
        self.0.insert(session, waiting);
    }

    pub fn take(&mut self, session: &SessionId) -> Option<Waiting> {
        self.0.remove(session)
    }
}
