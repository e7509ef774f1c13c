//! [`NodeSigner`], all keys of a node: those in this process, and those that a foreign signer holds.

use std::fmt;
use std::sync::Arc;

use super::{HeldKeys, LocalSigner, NonceRequest, PartialRequest, SignTask, Signer};
use crate::error::SignerError;
use crate::protocol::crypto::aggregate::is_public_nonce;
use crate::protocol::crypto::{NONCE, PARTIAL};
use crate::protocol::proposal::{KeyOrigin, Participant};
use crate::types::{SessionId, SignerKey};

/// The identity key with the participant keys beside it, and a foreign signer for all others, if there is one.
///
/// With a foreign signer the identity key signs no session: one key, one purpose.
#[derive(Clone)]
pub(crate) struct NodeSigner {
    local: Arc<LocalSigner>,
    foreign: Option<Arc<dyn Signer>>,
}

impl fmt::Debug for NodeSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let foreign = self.foreign.is_some();
        f.debug_struct("NodeSigner").field("local", &self.local).field("foreign", &foreign).finish()
    }
}

impl NodeSigner {
    pub(crate) fn new(local: Arc<LocalSigner>, foreign: Option<Arc<dyn Signer>>) -> Self {
        Self { local, foreign }
    }

    /// The holder of the identity key.
    pub(crate) fn identity(&self) -> &LocalSigner {
        &self.local
    }

    /// The foreign signer, if there is one.
    pub(crate) fn foreign(&self) -> Option<&Arc<dyn Signer>> {
        self.foreign.as_ref()
    }

    /// Whether a task needs no foreign code.
    pub(crate) fn does_alone(&self, task: &SignTask) -> bool {
        self.foreign.is_none()
            || match task {
                SignTask::Envelope(_) => true,
                SignTask::Nonces(request) => self.divide_nonces(request).1.is_empty(),
                SignTask::Partial { request, .. } => self.divide_partials(request).1.is_empty(),
            }
    }

    fn holds_here(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> bool {
        let identity = key.x_only() == self.local.public_key().x_only();
        (self.foreign.is_none() || !identity) && self.local.holds(key, origin)
    }

    /// The messages that are signed here, and the others.
    fn divide_nonces(&self, request: &NonceRequest) -> (Vec<usize>, Vec<usize>) {
        request.messages.iter().partition(|message| match request.participant(**message) {
            Some(Participant { key, origin }) => self.holds_here(key, origin.as_ref()),
            None => true,
        })
    }

    /// Whoever made a nonce uses it, whatever keys were added meanwhile.
    fn divide_partials(&self, request: &PartialRequest) -> (Vec<usize>, Vec<usize>) {
        let made_here = self.local.nonces_for(&request.proposal.id(), request.attempt);
        request.messages.iter().partition(|message| match (&made_here, request.participant(**message)) {
            (Some(messages), _) => messages.contains(*message),
            (None, Some(Participant { key, origin })) => self.holds_here(key, origin.as_ref()),
            (None, None) => true,
        })
    }

    /// Before the foreign signer uses up a nonce for nothing: the identity key signs what carries it.
    fn check_unlocked(&self) -> Result<(), SignerError> {
        if self.local.is_locked() { Err(SignerError::Locked) } else { Ok(()) }
    }
}

/// Puts the answers for some messages, and those for the others, into the order of all.
fn merge<T: Copy>(messages: &[usize], here: (&[usize], Vec<T>), there: (&[usize], Vec<T>)) -> Vec<T> {
    let all: std::collections::HashMap<usize, T> =
        [here, there].into_iter().flat_map(|(messages, made)| messages.iter().copied().zip(made)).collect();
    messages.iter().filter_map(|message| all.get(message).copied()).collect()
}

/// What is held in this process. A foreign signer is asked elsewhere.
impl HeldKeys for NodeSigner {
    fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> bool {
        self.holds_here(key, origin)
    }
}

impl Signer for NodeSigner {
    fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> Result<bool, SignerError> {
        let identity = key.x_only() == self.local.public_key().x_only();
        match &self.foreign {
            Some(foreign) if !identity && !self.holds_here(key, origin) => foreign.holds(key, origin),
            _ => Ok(self.holds_here(key, origin)),
        }
    }

    fn make_nonces(&self, request: &NonceRequest) -> Result<Vec<[u8; NONCE]>, SignerError> {
        let Some(foreign) = &self.foreign else { return self.local.make_nonces(request) };
        let (here, there) = self.divide_nonces(request);
        if there.is_empty() {
            return self.local.make_nonces(request);
        }
        self.check_unlocked()?;
        let theirs = foreign.make_nonces(&NonceRequest { messages: there.clone(), ..request.clone() })?;
        // Nonces that are no points would be a proof against this signer. The attempt is used up; the next one gets others.
        if theirs.len() != there.len() || !theirs.iter().all(is_public_nonce) {
            return Err(SignerError::Mismatch(
                "its public nonces are not two points for each message; they were not sent",
            ));
        }
        let ours = match here.is_empty() {
            true => Vec::new(),
            false => self.local.make_nonces(&NonceRequest { messages: here.clone(), ..request.clone() })?,
        };
        Ok(merge(&request.messages, (&here, ours), (&there, theirs)))
    }

    fn make_partials(&self, request: &PartialRequest) -> Result<Vec<[u8; PARTIAL]>, SignerError> {
        let Some(foreign) = &self.foreign else { return self.local.make_partials(request) };
        let (here, there) = self.divide_partials(request);
        if there.is_empty() {
            return self.local.make_partials(request);
        }
        self.check_unlocked()?;
        if !here.is_empty() && self.local.nonces_for(&request.proposal.id(), request.attempt).is_none() {
            return Err(SignerError::NonceGone);
        }
        let theirs = foreign.make_partials(&PartialRequest { messages: there.clone(), ..request.clone() })?;
        if theirs.len() != there.len() {
            return Err(SignerError::Mismatch("one partial signature for each message is needed"));
        }
        let ours = match here.is_empty() {
            true => Vec::new(),
            false => {
                self.local.make_partials(&PartialRequest { messages: here.clone(), ..request.clone() })?
            }
        };
        Ok(merge(&request.messages, (&here, ours), (&there, theirs)))
    }

    fn forget(&self, session: &SessionId, attempt: u32) {
        self.local.forget(session, attempt);
        if let Some(foreign) = &self.foreign {
            foreign.forget(session, attempt);
        }
    }
}
