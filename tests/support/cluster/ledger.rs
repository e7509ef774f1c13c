//! What a node's counters are to say: noted from its outputs, from the disk it started with, and from the answers of its
//! broadcaster. Nothing in here asks the engine.

use std::collections::{BTreeMap, HashMap, HashSet};

use libmusig::protocol::election::priority_list;
use libmusig::protocol::envelope::{Content, Envelope};
use libmusig::protocol::event::{DurableKind, Event};
use libmusig::protocol::failover::Turns;
use libmusig::protocol::proposal::Proposal;
use libmusig::protocol::wire::{self, pb};
use libmusig::protocol::{Output, SessionChange, StoredSession};
use libmusig::types::{EnvelopeId, SessionId, SignerKey, SubmitOutcome};

/// The numbers of one life of a node.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    numbers: BTreeMap<String, u64>,
    /// Durable events that were pending on the disk: as they come at the start, they come again.
    again: HashSet<(SessionId, DurableKind)>,
    sessions: HashMap<SessionId, Noted>,
}

#[derive(Clone, Debug)]
struct Noted {
    proposal: Proposal,
    joined: bool,
    claims: HashMap<EnvelopeId, usize>,
    /// Whether its watch had ended when the node started.
    ended: bool,
    state: Vec<u8>,
}

impl Noted {
    fn new(proposal: &[u8]) -> Self {
        let proposal = Proposal::decode(proposal).expect("the node made or checked it");
        Self { proposal, joined: false, claims: HashMap::new(), ended: false, state: Vec::new() }
    }

    /// Takes an envelope. Answers whose first claim it is, and whether it is a restart.
    fn take(&mut self, own: &SignerKey, bytes: &[u8]) -> (Option<usize>, bool) {
        let envelope = Envelope::decode(bytes).expect("the node wrote it");
        let signer = envelope.body().signer;
        match envelope.content() {
            Content::Accept => self.joined |= self.proposal.index_of(own) == Some(signer),
            Content::Restart { .. } => return (None, true),
            Content::Claim { .. } => {
                let first = !self.claims.values().any(|other| *other == signer);
                self.claims.insert(envelope.id(), signer);
                return (Some(signer).filter(|_| first && self.joined), false);
            }
            _ => {}
        }
        (None, false)
    }
}

fn record(state: &[u8]) -> pb::SessionRecord {
    wire::decode(state, "the record").expect("the node wrote it")
}

fn watch_ended(state: &[u8]) -> bool {
    record(state).watch.is_some_and(|watch| watch.ended)
}

/// How the counters name a signer.
pub fn signer_name(key: &SignerKey) -> String {
    key.to_string()[..8].to_owned()
}

impl Ledger {
    /// That of a node that starts with this on its disk.
    pub fn begin(own: &SignerKey, stored: &[StoredSession]) -> Self {
        let mut ledger = Self::default();
        for session in stored {
            let mut noted = Noted::new(&session.proposal);
            let id = noted.proposal.id();
            // Consent first: claims count from then on.
            for bytes in session.envelopes.iter().chain(&session.envelopes) {
                noted.take(own, bytes);
            }
            noted.ended = watch_ended(&session.state);
            noted.state = session.state.clone();
            let pending = record(&session.state).pending_events;
            ledger
                .again
                .extend(pending.into_iter().filter_map(DurableKind::from_number).map(|kind| (id, kind)));
            ledger.sessions.insert(id, noted);
        }
        ledger
    }

    /// The node has handed out what waited on its disk: what comes from now on is new.
    pub fn started(&mut self) {
        self.again.clear();
    }

    fn add(&mut self, name: impl Into<String>, by: u64) {
        *self.numbers.entry(name.into()).or_default() += by;
    }

    /// Its broadcaster answered.
    pub fn answer(&mut self, answer: &Result<SubmitOutcome, String>) {
        self.add(
            match answer {
                Ok(SubmitOutcome::Accepted) => "accepted",
                Ok(SubmitOutcome::Rejected(_)) => "rejected",
                Ok(SubmitOutcome::NotYetFinal) => "not final",
                Err(_) => "unreachable",
            },
            1,
        );
    }

    /// The engine put this out.
    pub fn note(&mut self, own: &SignerKey, output: &Output) {
        match output {
            Output::Persist { session, changes, .. } => {
                for change in changes {
                    self.change(own, session, change);
                }
            }
            Output::Event { event } => {
                let Some(session) = event.session else { return };
                let again = event.durable.is_some_and(|kind| self.again.remove(&(session, kind)));
                if !again {
                    self.event(own, &session, &event.event);
                }
            }
            _ => {}
        }
    }

    fn change(&mut self, own: &SignerKey, session: &SessionId, change: &SessionChange) {
        if let SessionChange::Proposal(bytes) = change {
            self.sessions.insert(*session, Noted::new(bytes));
        }
        let Some(noted) = self.sessions.get_mut(session) else { return };
        match change {
            SessionChange::State(bytes) => noted.state.clone_from(bytes),
            SessionChange::Envelope(_, bytes) => {
                let (claim, restart) = noted.take(own, bytes);
                let claim = claim.map(|signer| signer_name(&noted.proposal.signers[signer]));
                self.add("restarts", restart.into());
                if let Some(name) = claim {
                    self.add(format!("broadcasts of {name}"), 1);
                }
            }
            SessionChange::DropEnvelope(id) => drop(noted.claims.remove(id)),
            _ => {}
        }
    }

    fn event(&mut self, own: &SignerKey, session: &SessionId, event: &Event) {
        let name = match event {
            Event::SessionCreated => "proposed",
            Event::SessionProposed { .. } => "received",
            Event::SessionComplete { .. } => "completed",
            Event::SessionStalled { .. } => "stalls",
            Event::FailoverExhausted { .. } => "exhaustions",
            Event::SessionFailed { .. } => "failed",
            Event::SessionAborted { declined: true, .. } => "declined",
            Event::SessionAborted { .. } => "aborted",
            Event::SessionExpired { .. } => "expired",
            Event::SessionClosed => "closed",
            Event::CoordinatorFailed { failed, turn, .. } => return self.turns(own, session, failed, *turn),
            _ => return,
        };
        self.add(name, 1);
    }

    fn turns(&mut self, own: &SignerKey, session: &SessionId, failed: &[usize], last: usize) {
        let proposal = self.sessions[session].proposal.clone();
        let list = priority_list(&proposal.signers, proposal.election_method, session).expect("signers");
        let turns = Turns::new(&list, &proposal.broadcast).expect("it has turns");
        let first = turns.of_signer(failed[0]).expect("it had a turn");
        self.add("turns", (last - first) as u64);
        self.add("failovers", u64::from(first == 0));
        let own = proposal.index_of(own).expect("a signer");
        self.add(
            "own turns",
            u64::from(turns.of_signer(own).is_some_and(|turn| turn > first && turn <= last)),
        );
    }

    /// The numbers that the node's counters are to say. Those that are missing are zero.
    pub fn numbers(&self) -> BTreeMap<String, u64> {
        let mut numbers = self.numbers.clone();
        let ended = self.sessions.values().filter(|noted| !noted.ended && !noted.state.is_empty());
        let ended = ended.filter(|noted| watch_ended(&noted.state)).count();
        numbers.insert("final".into(), ended as u64);
        numbers
    }
}
