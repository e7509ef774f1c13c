//! S5, S8 and S13, sampled while a run goes on: why watches wait and end, and how much is kept.

use libmusig::protocol::failover::Evidence;
use libmusig::protocol::limits;
use libmusig::protocol::status::Phase;
use libmusig::types::ChainStatus;

use crate::run::Run;

/// Envelopes of one signer that a session keeps, whatever comes: proposal, accept and three restarts, two of each of
/// four kinds, one that breaks a rule, two at each of eight places (four attempts around the current one), and two at
/// each of four more (two attempts of which there is a proof) or two that prove something of an older attempt.
pub const ENVELOPES_OF_SIGNER: usize = 5 + 2 * limits::REPEATS * 2 + 1 + 16 + 8 + 2;
/// Bytes of an envelope beside its nonces, partial signatures, reason or proposal.
const ENVELOPE_REST: usize = 160;
/// Sessions that an engine asks about, of which it knows nothing else.
const UNKNOWN: usize = 1024;

impl Run {
    /// Looks at what all nodes keep and believe now.
    pub fn sample(&mut self) {
        self.samples += 1;
        for node in 0..self.cluster.nodes.len() {
            self.memory(node);
            if self.honest(node) {
                self.evidence(node);
            }
        }
    }

    fn memory(&mut self, node: usize) {
        let Some(engine) = &self.cluster.nodes[node].engine else { return };
        let held = engine.usage();
        let n = self.scenario.signers();
        let messages = self.sessions.iter().map(|begun| begun.plan.messages).max().unwrap_or(1);
        let most = held.sessions * n * ENVELOPES_OF_SIGNER;
        let small = ENVELOPES_OF_SIGNER * (ENVELOPE_REST + limits::REASON + 66 * messages);
        let bytes = held.sessions * (n * (small + limits::ENVELOPE) + 4096 + 64 * n);
        let heard = 65 + 2 * n;
        let within = held.envelopes <= most && held.bytes <= bytes;
        if !(within && held.heard <= heard && held.unknown <= UNKNOWN.min(64 * n)) {
            self.broken.push(("S8", format!("node {node} keeps {held:?}, of at most {most} envelopes")));
        }
    }

    fn evidence(&mut self, node: usize) {
        let time = self.cluster.time(node);
        for begun in self.sessions.clone() {
            let Some(engine) = self.cluster.nodes[node].engine.as_mut() else { return };
            let Some(status) = engine.status(&begun.id, time) else { continue };
            let Some(failover) = &status.failover else { continue };
            let answers = self.cluster.answers.get(&(node, begun.id)).map_or(&[][..], Vec::as_slice);
            let said = |wanted: &dyn Fn(ChainStatus) -> bool| {
                answers.iter().any(|(_, answer)| answer.is_some_and(wanted))
            };
            let observer = self.scenario.parts[node].observer && !begun.plan.raw;
            let by_application = failover.evidence == Evidence::Notified && !observer;
            let seen = match failover.evidence {
                Evidence::Seen => said(&|status| status == ChainStatus::Seen),
                Evidence::Confirmed { .. } => said(&|status| matches!(status, ChainStatus::Confirmed { .. })),
                Evidence::Conflict { .. } => said(&|status| matches!(status, ChainStatus::Conflict { .. })),
                Evidence::Notified => by_application,
                _ => true,
            };
            if !seen {
                self.broken.push(("S5", format!("node {node} waits for what it never saw: {status:?}")));
            }
            let depth = self.scenario.final_depth;
            let deep = said(&|status| match status {
                ChainStatus::Confirmed { confirmations, .. }
                | ChainStatus::Conflict { confirmations, .. } => confirmations >= depth,
                _ => false,
            });
            if status.phase == Phase::Final && !deep && !by_application {
                for rule in ["S5", "S13"] {
                    let what = format!("node {node} watches no more: {status:?}, {depth} deep");
                    self.broken.push((rule, what));
                }
            }
        }
    }
}
