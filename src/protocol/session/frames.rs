//! Frames of a session: their encoding alone.

use std::sync::Arc;

use crate::error::WireError;
use crate::protocol::envelope_set::EnvelopeSet;
use crate::protocol::limits;
use crate::protocol::wire::{self, Certificate, pb};
use crate::types::{EnvelopeId, SessionId, UnixMillis};

/// Checks that a comparison is well formed.
pub fn check_comparison(have: &pb::Have) -> Result<(), WireError> {
    let ids = have.envelopes.chunks_exact(32);
    if !ids.remainder().is_empty() || ids.len() > limits::FRAME_ENTRIES {
        return Err(WireError::Malformed("the comparison"));
    }
    Ok(())
}

/// A comparison: what is here of a session. An `answer` is not answered. `time`: what it is here; 0 says nothing of that.
pub fn comparison<'a>(
    session: SessionId,
    envelopes: impl Iterator<Item = &'a EnvelopeId>,
    certificate: bool,
    answer: bool,
    time: UnixMillis,
) -> Arc<[u8]> {
    let envelopes = envelopes.flat_map(|id| id.0).collect();
    let have = vec![pb::Have { session: session.0.to_vec(), envelopes, certificate, answer, time: time.0 }];
    wire::encode(&pb::Frame { have, ..pb::Frame::default() }).into()
}

pub fn certificate(certificate: &Certificate) -> Arc<[u8]> {
    let certificates = vec![certificate.to_wire()];
    wire::encode(&pb::Frame { certificates, ..pb::Frame::default() }).into()
}

/// Everything that a session holds, as one frame: the form in which it is exported.
pub fn export(set: &EnvelopeSet, certificate: Option<&Certificate>) -> Vec<u8> {
    let envelopes = set.in_order().into_iter().map(|envelope| envelope.as_bytes().to_vec()).collect();
    let certificates = certificate.into_iter().map(Certificate::to_wire).collect();
    wire::encode(&pb::Frame { envelopes, certificates, ..pb::Frame::default() })
}

/// Envelopes in as few frames as their limit allows. `lacking`: signers that the sender cannot reach.
pub fn envelopes(session: SessionId, envelopes: Vec<Vec<u8>>, lacking: &[usize]) -> Vec<Arc<[u8]>> {
    let signers: Vec<u8> = lacking.iter().map(|signer| *signer as u8).collect();
    let lacking = match signers.is_empty() {
        true => Vec::new(),
        false => vec![pb::Lacking { session: session.0.to_vec(), signers }],
    };
    let frame = |envelopes| -> Arc<[u8]> {
        wire::encode(&pb::Frame { envelopes, lacking: lacking.clone(), ..pb::Frame::default() }).into()
    };
    let mut frames = Vec::new();
    let (mut group, mut size) = (Vec::new(), 0);
    for envelope in envelopes {
        let more = envelope.len() + 16;
        // What is lacking is an entry too.
        let full = size + more > limits::FRAME || group.len() + lacking.len() == limits::FRAME_ENTRIES;
        if full && !group.is_empty() {
            frames.push(frame(std::mem::take(&mut group)));
            size = 0;
        }
        size += more;
        group.push(envelope);
    }
    if !group.is_empty() {
        frames.push(frame(group));
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId([1; 32]);

    #[test]
    fn envelopes_share_frames_up_to_the_limits() {
        let small = envelopes(SESSION, vec![vec![1; 10]; limits::FRAME_ENTRIES + 1], &[2]);
        assert_eq!(small.len(), 2);
        for frame in &small {
            let frame: pb::Frame = wire::decode(frame, "the frame").expect("canonical");
            assert_eq!(frame.lacking[0].signers, [2]);
        }
        let large = envelopes(SESSION, vec![vec![1; limits::FRAME / 2]; 3], &[]);
        assert_eq!(large.len(), 3, "each needs some bytes around it");
        assert!(large.iter().all(|frame| frame.len() <= limits::FRAME));
        assert!(envelopes(SESSION, Vec::new(), &[2]).is_empty());
    }

    #[test]
    fn a_comparison_of_half_an_id_or_of_too_many_is_refused() {
        let have = |bytes| pb::Have { envelopes: vec![0; bytes], ..pb::Have::default() };
        assert_eq!(check_comparison(&have(64)), Ok(()));
        assert!(check_comparison(&have(48)).is_err());
        assert!(check_comparison(&have(32 * (limits::FRAME_ENTRIES + 1))).is_err());
    }
}
