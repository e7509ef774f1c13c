//! Durable events, made from the session's state: so they come again after a restart with nothing else stored.

use super::{Ending, Session};
use crate::protocol::Time;
use crate::protocol::envelope::Content;
use crate::protocol::envelope_set::Fact;
use crate::protocol::event::{Depth, DurableKind, Event};
use crate::protocol::failover::{Evidence, Watch};
use crate::protocol::limits;
use crate::types::Txid;

impl Session {
    /// The event of a kind. `None` if the state does not call for it any more.
    pub(super) fn durable_event(&mut self, kind: DurableKind, now: Time) -> Option<Event> {
        let may_still_complete = self.partial_sent;
        let transaction = self.finished.clone();
        Some(match kind {
            DurableKind::Proposed => Event::SessionProposed {
                proposal: self.proposal.clone(),
                proposer: self.proposal.proposer,
                expires_at: self.proposal.expires_at,
            },
            DurableKind::Complete => Event::SessionComplete {
                signatures: self.certificate.as_ref()?.signatures.clone(),
                transaction,
                priority_list: self.election.priority_list.clone(),
                rank: self.election.priority_list.iter().position(|signer| *signer == self.own)?,
            },
            DurableKind::ShouldBroadcast => {
                let signatures = self.certificate.as_ref()?.signatures.clone();
                let signer = self.own;
                let watch = self.watch.as_mut()?;
                let turn = watch.turns().of_signer(signer).unwrap_or(watch.turn());
                let next_turn_at = watch.until_next_turn(now).map(|wait| now.wall.saturating_add(wait));
                Event::ShouldBroadcast { signer, turn, next_turn_at, signatures, transaction }
            }
            DurableKind::Exhausted => {
                let watch = self.watch.as_ref()?;
                Event::FailoverExhausted {
                    turns: watch.turns().count(),
                    submissions: watch.submissions(),
                    rejection: watch.rejection().map(str::to_owned),
                    claims: self.set.by_all(Fact::Claim).map(|envelope| envelope.body().signer).collect(),
                    transaction,
                }
            }
            DurableKind::Claimed => {
                let own = self.own;
                let mut claims = self.set.by_all(Fact::Claim);
                let claim = claims.find(|envelope| envelope.body().signer != own)?;
                let Content::Claim { txid } = claim.content() else { return None };
                Event::BroadcastClaimed { txid: *txid, by: claim.body().signer }
            }
            DurableKind::Confirmed => Event::BroadcastConfirmed {
                txid: self.txid().or(self.claimed_txid),
                depth: match self.watch.as_ref()?.evidence() {
                    Evidence::Confirmed { height, confirmations } => Some(Depth { height, confirmations }),
                    _ => None,
                },
            },
            DurableKind::Conflict => match self.watch.as_ref()?.evidence() {
                Evidence::Conflict { txid, .. } => Event::BroadcastConflict { txid },
                _ => return None,
            },
            DurableKind::Lost => Event::BroadcastLost { txid: self.txid().unwrap_or(Txid([0; 32])) },
            DurableKind::Rejected => {
                let reason = self.watch.as_ref().and_then(Watch::rejection)?.to_owned();
                Event::BroadcastRejected { reason }
            }
            DurableKind::Failed => {
                let mut proofs = self.proofs();
                // One proof of each culprit says enough, and a proof carries the whole proposal.
                let mut accused = std::collections::HashSet::new();
                proofs.retain(|proof| accused.insert(proof.accused()));
                let mut culprits: Vec<usize> = proofs.iter().map(|proof| proof.accused()).collect();
                culprits.sort_unstable();
                culprits.dedup();
                let mut encoded: Vec<Vec<u8>> = Vec::new();
                for proof in &proofs {
                    let bytes = proof.encode(&self.proposal);
                    let size: usize = encoded.iter().map(Vec::len).sum();
                    if !encoded.is_empty() && size + bytes.len() > limits::PROOFS {
                        break;
                    }
                    encoded.push(bytes);
                }
                let proofs = encoded;
                Event::SessionFailed { culprits, proofs, may_still_complete }
            }
            DurableKind::Aborted => {
                let declined = self.ending == Some(Ending::Declined);
                let envelope = self.set.first(if declined { Fact::Decline } else { Fact::Abort })?;
                let by = envelope.body().signer;
                let (Content::Decline { reason } | Content::Abort { reason }) = envelope.content() else {
                    return None;
                };
                Event::SessionAborted { by, reason: reason.clone(), declined, may_still_complete }
            }
            DurableKind::Expired => Event::SessionExpired { may_still_complete },
            DurableKind::KeyInUse => Event::KeyInUseElsewhere,
        })
    }
}
