//! Durable events, made from the session's state: so they come again after a restart with nothing else stored.

use std::time::Duration;

use super::agreement::Agreement;
use super::broadcast::Broadcast;
use super::rounds::Rounds;
use super::stored::{Ending, Stored};
use crate::mutation::{self, Mutation};
use crate::protocol::envelope::Content;
use crate::protocol::envelope_set::{EnvelopeSet, Fact};
use crate::protocol::event::{BroadcastBy, Depth, DurableKind, Event, Nack};
use crate::protocol::failover::{Evidence, Submissions, Watch};
use crate::protocol::limits;
use crate::types::{Time, Txid};

/// The event of a kind. `None` if the state does not call for it any more.
pub fn durable_event(
    kind: DurableKind,
    (agreement, set): (&Agreement, &EnvelopeSet),
    rounds: &mut Rounds,
    stored: &Stored,
    broadcast: Option<&Broadcast>,
    until_next_turn: Option<Duration>,
    now: Time,
) -> Option<Event> {
    let may_still_complete = stored.partial_sent;
    let transaction = broadcast.as_ref().and_then(|broadcast| broadcast.transaction().cloned());
    Some(match kind {
        DurableKind::Proposed => Event::SessionProposed {
            proposal: agreement.proposal.clone(),
            proposer: agreement.proposal.proposer,
            expires_at: agreement.proposal.expires_at,
        },
        DurableKind::Complete => Event::SessionComplete {
            signatures: broadcast.as_ref()?.certificate().signatures.clone(),
            transaction,
            priority_list: agreement.election.priority_list.clone(),
            rank: agreement.election.priority_list.iter().position(|signer| *signer == agreement.own)?,
            // As far as the session knows. Its host does not let the event wait for ever, and knows better then.
            stored: true,
            aborted_here: stored.given_up,
        },
        DurableKind::ShouldBroadcast => {
            let signatures = broadcast.as_ref()?.certificate().signatures.clone();
            let signer = agreement.own;
            let watch = broadcast?.watch()?;
            let turn = watch.turns().of_signer(signer).unwrap_or(watch.turn());
            let next_turn_at = until_next_turn.map(|wait| now.wall.saturating_add(wait));
            Event::ShouldBroadcast { signer, turn, next_turn_at, signatures, transaction, stored: true }
        }
        DurableKind::Exhausted => {
            let watch = broadcast?.watch()?;
            let Submissions { made, accepted, rejected, unreachable } = watch.submissions();
            Event::FailoverExhausted {
                turns: watch.turns().count(),
                submissions: made,
                accepted,
                rejected,
                unreachable,
                rejection: watch.rejection().map(str::to_owned),
                nacks: nacks(set),
                claims: claims(set),
                transaction: transaction.filter(|_| !mutation::on(Mutation::AlarmWithoutTransaction)),
            }
        }
        DurableKind::NobodyCanBroadcast => {
            let watch = broadcast?.watch()?;
            let Submissions { made, accepted, rejected, unreachable } = watch.submissions();
            Event::NobodyCanBroadcast {
                turns: watch.turns().count(),
                submissions: made,
                accepted,
                rejected,
                unreachable,
                rejection: watch.rejection().map(str::to_owned),
                nacks: nacks(set),
                claims: claims(set),
                transaction,
            }
        }
        DurableKind::Claimed => {
            let own = agreement.own;
            let mut claims = set.by_all(Fact::Claim);
            let claim = claims.find(|envelope| envelope.body().signer != own)?;
            let Content::Claim { txid } = claim.content() else { return None };
            Event::BroadcastClaimed { txid: *txid, by: claim.body().signer }
        }
        DurableKind::Confirmed => {
            let watch = broadcast?.watch()?;
            Event::BroadcastConfirmed {
                txid: broadcast?.txid(agreement),
                depth: match watch.evidence() {
                    Evidence::Confirmed { height, confirmations } => Some(Depth { height, confirmations }),
                    _ => None,
                },
                coordinators: watch.coordinators().to_vec(),
                by: broadcast_by(agreement, set, watch),
            }
        }
        DurableKind::Conflict => match broadcast?.watch()?.evidence() {
            Evidence::Conflict { txid, .. } => Event::BroadcastConflict { txid },
            _ => return None,
        },
        DurableKind::Lost => Event::BroadcastLost { txid: agreement.txid().unwrap_or(Txid([0; 32])) },
        DurableKind::Rejected => {
            let reason = broadcast?.watch()?.rejection()?.to_owned();
            Event::BroadcastRejected { reason }
        }
        DurableKind::Failed => {
            let proofs = rounds.proofs(agreement, set);
            let mut culprits: Vec<usize> = proofs.iter().map(|proof| proof.accused()).collect();
            culprits.sort_unstable();
            culprits.dedup();
            let mut encoded: Vec<Vec<u8>> = Vec::new();
            for proof in &proofs {
                let bytes = proof.encode(&agreement.proposal);
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
            let declined = stored.ending == Some(Ending::Declined);
            let envelope = set.first(if declined { Fact::Decline } else { Fact::Abort })?;
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

fn nacks(set: &EnvelopeSet) -> Vec<Nack> {
    set.nacks().into_iter().map(|(signer, kind)| Nack { signer, kind }).collect()
}

fn claims(set: &EnvelopeSet) -> Vec<usize> {
    set.by_all(Fact::Claim).map(|envelope| envelope.body().signer).collect()
}

/// Who broadcast the transaction, as far as is known here.
pub fn broadcast_by(agreement: &Agreement, set: &EnvelopeSet, watch: &Watch) -> BroadcastBy {
    if watch.submissions().accepted > 0 {
        return BroadcastBy::Own;
    }
    let claims = claims(set);
    let list = &agreement.election.priority_list;
    match list.iter().find(|signer| **signer != agreement.own && claims.contains(signer)) {
        Some(signer) => BroadcastBy::Claimed { signer: *signer },
        // Its application said so.
        None if claims.contains(&agreement.own) || watch.evidence() == Evidence::Notified => BroadcastBy::Own,
        None => BroadcastBy::Unknown,
    }
}
