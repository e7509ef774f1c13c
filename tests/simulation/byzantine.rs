//! Signers that do what no honest one does. They run the same engine; what they say is changed on its way.

use libmusig::protocol::envelope::{Body, Content, Envelope, envelope_id};
use libmusig::signer::Signer;

use crate::scenario::Scenario;
use crate::simulated::cluster::{Cluster, Random, key};
use crate::simulated::double::DoubleSigner;

/// Lets the byzantine signers of a scenario loose.
pub fn install(scenario: &Scenario, cluster: &mut Cluster) {
    let behaviours: Vec<_> = scenario.parts.iter().map(|part| part.byzantine.clone()).collect();
    if behaviours.iter().all(Option::is_none) {
        return;
    }
    let hides: Vec<bool> =
        behaviours.iter().map(|each| each.as_ref().is_some_and(|each| each.hides_certificates)).collect();
    cluster.on_frame = Some(Box::new(move |from, _, frame| !hides[from] || frame.certificates.is_empty()));
    let mut random = Random::new(scenario.seed ^ 0xb12a);
    let mut earlier: Vec<Envelope> = Vec::new();
    cluster.on_envelope = Some(Box::new(move |from, to, envelope| {
        let same = vec![envelope.clone()];
        let Some(byzantine) = &behaviours[from] else { return same };
        if byzantine.repeats && earlier.len() < 8 && random.chance(100) {
            earlier.push(envelope.clone());
        }
        if envelope.body().signer != from || !byzantine.targets[to] {
            return if byzantine.repeats { [&same[..], &earlier[..]].concat() } else { same };
        }
        let content = match envelope.content().clone() {
            Content::Nonces { .. } if byzantine.withholds_nonces => return Vec::new(),
            Content::Partial { .. } if byzantine.withholds_partials => return Vec::new(),
            Content::Nonces { attempt, mut nonces } if byzantine.other_nonces => {
                nonces[7] ^= 1 + (to % 200) as u8;
                Content::Nonces { attempt, nonces }
            }
            Content::Nonces { attempt, nonces } if byzantine.unusable_nonces => {
                Content::Nonces { attempt, nonces: vec![9; nonces.len()] }
            }
            Content::Nonces { attempt, .. } if byzantine.breaks_rules => {
                Content::Nonces { attempt, nonces: vec![2; 5] }
            }
            Content::Partial { attempt, transcript, mut partials } if byzantine.bad_partial => {
                partials[3] ^= 1;
                Content::Partial { attempt, transcript, partials }
            }
            Content::Partial { attempt, partials, .. } if byzantine.lies_about_transcript => {
                Content::Partial { attempt, transcript: random.bytes(), partials }
            }
            _ => return same,
        };
        vec![sign(from, Body { content, ..envelope.body().clone() })]
    }));
}

/// Signs with the key of a node.
pub fn sign(node: usize, body: Body) -> Envelope {
    let digest = envelope_id(&body.encode()).0;
    let signature = DoubleSigner::new(key(node), 0).sign(&digest).expect("a double signs");
    Envelope::new(body, signature)
}
