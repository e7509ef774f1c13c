//! What a test asks of a cluster.

use super::*;

impl Cluster {
    /// Who submitted.
    pub fn submitters(&self) -> Vec<usize> {
        self.chain.submissions.iter().map(|submission| submission.node).collect()
    }

    pub fn status(&mut self, node: usize, session: &SessionId) -> SessionStatus {
        let now = self.time(node);
        let engine = self.nodes[node].engine.as_mut().expect("the node runs");
        engine.status(session, now).expect("it knows the session")
    }

    /// What an auditor makes of everything that was on the wire about a session.
    pub fn audit(&self, proposal: &Proposal) -> Findings {
        let scheme: &dyn Scheme = if self.options.real { &Musig2 } else { &Double };
        audit(scheme, proposal, self.audited.values())
    }

    /// The engine of a node that runs.
    pub fn engine(&self, node: usize) -> &Engine {
        self.nodes[node].engine.as_ref().expect("the node runs")
    }

    pub fn holds(&self, node: usize, session: &SessionId) -> bool {
        self.nodes[node].engine.as_ref().is_some_and(|engine| engine.certificate(session).is_some())
    }

    /// Whether all nodes that are alive hold the certificate.
    pub fn all_hold(&self, session: &SessionId) -> bool {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].alive()).all(|node| self.holds(node, session))
    }

    /// The events of a session at a node, with their times.
    pub fn events<'a>(
        &'a self,
        node: usize,
        session: &'a SessionId,
    ) -> impl Iterator<Item = (Duration, &'a Event)> {
        self.nodes[node].events.of(session)
    }

    /// The names of the events of a session at a node.
    pub fn names(&self, node: usize, session: &SessionId) -> Vec<String> {
        self.events(node, session).map(|(_, event)| name_of(event)).collect()
    }

    pub fn count(&self, node: usize, session: &SessionId, name: &str) -> usize {
        self.names(node, session).iter().filter(|each| *each == name).count()
    }

    /// When the first partial signatures of a node left it.
    pub fn partial_left(&self, node: usize, session: &SessionId) -> Option<Duration> {
        self.partials.get(&(self.nodes[node].key, *session)).copied()
    }

    /// When a node became a holder.
    pub fn became_holder(&self, node: usize, session: &SessionId) -> Option<Duration> {
        self.events(node, session)
            .find(|(_, event)| matches!(event, Event::SessionComplete { .. }))
            .map(|(at, _)| at)
    }
}

/// The name of an event.
pub fn name_of(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

/// The name of a kind of envelope.
pub fn kind_of(content: &Content) -> &'static str {
    match content {
        Content::Proposal(_) => "proposal",
        Content::Accept => "accept",
        Content::Nonces { .. } => "nonces",
        Content::Partial { .. } => "partial",
        Content::Restart { .. } => "restart",
        Content::Decline { .. } => "decline",
        Content::Abort { .. } => "abort",
        Content::Claim { .. } => "claim",
        Content::Nack { .. } => "nack",
    }
}
