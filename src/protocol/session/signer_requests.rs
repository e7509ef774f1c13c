//! What the signer was asked, and who waits for its answers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::envelope::{Envelope, NackKind};
use crate::protocol::{RequestId, Ticket};

/// How long a refusal of the signer is waited out.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a ticket was given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    Proposal,
    Accept,
    Nonces(u32),
    Partial(u32),
    Restart(u32),
    Decline,
    Abort,
    Claim,
    Nack(NackKind),
}

/// Requests to the signer that are not answered, and requests of the application that wait for them.
///
/// Of this process only: after a restart all of it is asked for again.
#[derive(Debug, Default)]
pub struct SignerRequests {
    tickets: BTreeMap<Ticket, Purpose>,
    waiting: BTreeMap<Purpose, Vec<RequestId>>,
    retry_at: Option<Duration>,
    /// The own proposal, until the own consent is signed too: both are stored at once or neither.
    proposal: Option<Envelope>,
}

impl SignerRequests {
    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
            && self.waiting.is_empty()
            && self.retry_at.is_none()
            && self.proposal.is_none()
    }

    /// Whether the signer is asked for this now.
    pub fn in_flight(&self, purpose: Purpose) -> bool {
        self.tickets.values().any(|given| *given == purpose)
    }

    /// Whether this node's consent is being signed.
    pub fn consenting(&self) -> bool {
        self.in_flight(Purpose::Proposal) || self.in_flight(Purpose::Accept)
    }

    pub fn ask(&mut self, ticket: Ticket, purpose: Purpose) {
        self.tickets.insert(ticket, purpose);
    }

    /// What an answer is about. `None`: nothing was asked with this ticket.
    pub fn answered(&mut self, ticket: Ticket) -> Option<Purpose> {
        self.tickets.remove(&ticket)
    }

    /// A request of the application waits until this is signed.
    pub fn wait_for(&mut self, purpose: Purpose, request: RequestId) {
        self.waiting.entry(purpose).or_default().push(request);
    }

    /// Whether a request of the application waits for anything.
    pub fn any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The requests that waited for this, which wait no more.
    pub fn take_waiting(&mut self, purpose: Purpose) -> Vec<RequestId> {
        self.waiting.remove(&purpose).unwrap_or_default()
    }

    /// The signer refused: nothing is asked of it for the rounds until a moment has passed.
    pub fn refused(&mut self, now: Duration) {
        self.retry_at = Some(now + RETRY_AFTER);
    }

    /// When the signer may be asked again, if it refused.
    pub fn retry_at(&self) -> Option<Duration> {
        self.retry_at
    }

    /// Ends the wait after a refusal if it is over.
    pub fn pass_time(&mut self, now: Duration) {
        self.retry_at = self.retry_at.filter(|at| now < *at);
    }

    pub fn keep_proposal(&mut self, proposal: Envelope) {
        self.proposal = Some(proposal);
    }

    pub fn take_proposal(&mut self) -> Option<Envelope> {
        self.proposal.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_answered_once() {
        let mut requests = SignerRequests::default();
        requests.ask(7, Purpose::Accept);
        assert!(requests.consenting() && !requests.in_flight(Purpose::Abort));
        assert_eq!(requests.answered(8), None);
        assert_eq!(requests.answered(7), Some(Purpose::Accept));
        assert_eq!(requests.answered(7), None);
        assert!(requests.is_empty());
    }

    #[test]
    fn all_requests_for_one_purpose_are_answered_together() {
        let mut requests = SignerRequests::default();
        requests.wait_for(Purpose::Abort, 1);
        requests.wait_for(Purpose::Abort, 2);
        requests.wait_for(Purpose::Nack(NackKind::Rejected), 3);
        assert_eq!(requests.take_waiting(Purpose::Abort), [1, 2]);
        assert!(requests.take_waiting(Purpose::Abort).is_empty() && requests.any_waiting());
    }

    #[test]
    fn a_refusal_is_waited_out() {
        let mut requests = SignerRequests::default();
        let now = Duration::from_secs(5);
        requests.refused(now);
        requests.pass_time(now + RETRY_AFTER - Duration::from_nanos(1));
        assert_eq!(requests.retry_at(), Some(now + RETRY_AFTER));
        requests.pass_time(now + RETRY_AFTER);
        assert_eq!(requests.retry_at(), None);
    }
}
