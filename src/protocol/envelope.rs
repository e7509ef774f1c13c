//! Envelopes: everything that a signer says, signed by its key. Proofs: what it should not have said.

use std::sync::Arc;

use prost::Message;

use crate::error::WireError;
use crate::protocol::crypto::Scheme;
use crate::protocol::limits;
use crate::protocol::proposal::Proposal;
use crate::protocol::wire::{self, pb};
use crate::types::{EnvelopeId, SessionId, Signature, Txid, envelope_hash, tagged_hash};

/// What an envelope says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The proposal; from its proposer only.
    Proposal(Vec<u8>),
    /// Durable consent to the proposal.
    Accept,
    /// Public nonces for an attempt, 66 bytes for each message. *Exclusive*: one for each signer and attempt.
    Nonces {
        /// The attempt.
        attempt: u32,
        /// The nonces.
        nonces: Vec<u8>,
    },
    /// Partial signatures for an attempt, 32 bytes for each message. *Exclusive*.
    Partial {
        /// The attempt.
        attempt: u32,
        /// The hash of all `Nonces` envelopes they answer to.
        transcript: [u8; 32],
        /// The partial signatures.
        partials: Vec<u8>,
    },
    /// "My nonces are lost": begins another attempt.
    Restart {
        /// Which of this signer's restarts: 1 to 3.
        ordinal: u32,
    },
    /// Refusal before signing.
    Decline {
        /// For people.
        reason: String,
    },
    /// "I stop."
    Abort {
        /// For people.
        reason: String,
    },
    /// "The transaction was broadcast": proves nothing, makes others look.
    Claim {
        /// The transaction.
        txid: Txid,
    },
    /// "I cannot broadcast": excuses its own signer only.
    Nack {
        /// Why.
        kind: NackKind,
        /// For people.
        reason: String,
    },
}

impl Content {
    fn to_wire(&self) -> pb::body::Content {
        use pb::body::Content as Wire;
        match self.clone() {
            Self::Proposal(bytes) => Wire::Proposal(bytes),
            Self::Accept => Wire::Accept(pb::Accept {}),
            Self::Nonces { attempt, nonces } => Wire::Nonces(pb::Nonces { attempt, nonces }),
            Self::Partial { attempt, transcript, partials } => {
                Wire::Partial(pb::Partial { attempt, transcript: transcript.to_vec(), partials })
            }
            Self::Restart { ordinal } => Wire::Restart(pb::Restart { ordinal }),
            Self::Decline { reason } => Wire::Decline(pb::Decline { reason }),
            Self::Abort { reason } => Wire::Abort(pb::Abort { reason }),
            Self::Claim { txid } => Wire::Claim(pb::Claim { txid: txid.0.to_vec() }),
            Self::Nack { kind, reason } => Wire::Nack(pb::Nack { reason, kind: kind as u32 }),
        }
    }

    /// `None` if a hash in it has not 32 bytes, or a kind is unknown.
    fn from_wire(content: pb::body::Content) -> Option<Self> {
        use pb::body::Content as Wire;
        Some(match content {
            Wire::Proposal(bytes) => Self::Proposal(bytes),
            Wire::Accept(_) => Self::Accept,
            Wire::Nonces(pb::Nonces { attempt, nonces }) => Self::Nonces { attempt, nonces },
            Wire::Partial(pb::Partial { attempt, transcript, partials }) => {
                Self::Partial { attempt, transcript: transcript.try_into().ok()?, partials }
            }
            Wire::Restart(pb::Restart { ordinal }) => Self::Restart { ordinal },
            Wire::Decline(pb::Decline { reason }) => Self::Decline { reason },
            Wire::Abort(pb::Abort { reason }) => Self::Abort { reason },
            Wire::Claim(pb::Claim { txid }) => Self::Claim { txid: Txid(txid.try_into().ok()?) },
            Wire::Nack(pb::Nack { reason, kind }) => {
                Self::Nack { kind: NackKind::from_number(kind)?, reason }
            }
        })
    }
}

/// Kind of a NACK: why a signer cannot broadcast the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NackKind {
    /// It cannot reach a Bitcoin backend.
    Unreachable = 0,
    /// Its Bitcoin backend rejects the transaction. Another one may take it.
    Rejected = 1,
}

impl NackKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Unreachable, Self::Rejected];

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// A place that holds at most one envelope of an honest signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The nonces of an attempt.
    Nonces(u32),
    /// The partial signatures of an attempt.
    Partial(u32),
}

/// What is signed: session, signer, content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The session.
    pub session: SessionId,
    /// The signer's index.
    pub signer: usize,
    /// What it says.
    pub content: Content,
}

impl Body {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(&pb::Body {
            session: self.session.0.to_vec(),
            signer: self.signer as u32,
            content: Some(self.content.to_wire()),
        })
    }

    /// Reads canonical bytes. Whether the content fits its session is not checked by this.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        const WHAT: &str = "the envelope's body";
        let malformed = WireError::Malformed(WHAT);
        let message: pb::Body = wire::decode(bytes, WHAT)?;
        let content = message.content.and_then(Content::from_wire).ok_or(malformed)?;
        let session = SessionId::from_slice(&message.session).ok_or(malformed)?;
        Ok(Self { session, signer: message.signer as usize, content })
    }
}

/// The identity of a body, which is also what its signer signs.
pub fn envelope_id(body: &[u8]) -> EnvelopeId {
    EnvelopeId(envelope_hash(body))
}

/// A body with its signature, and the bytes that both came from. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope(Arc<Sealed>);

#[derive(Debug, PartialEq, Eq)]
struct Sealed {
    id: EnvelopeId,
    body: Body,
    bytes: Vec<u8>,
    signature: Signature,
}

impl Envelope {
    /// Puts body and signature together.
    pub fn new(body: Body, signature: Signature) -> Self {
        let encoded = body.encode();
        let id = envelope_id(&encoded);
        Self::seal(body, encoded, id, signature)
    }

    /// Signs a body: `sign` is given the digest, which is the envelope's id. The body is encoded once.
    pub fn sign<E>(body: Body, sign: impl FnOnce(&[u8; 32]) -> Result<Signature, E>) -> Result<Self, E> {
        let encoded = body.encode();
        let id = envelope_id(&encoded);
        let signature = sign(&id.0)?;
        Ok(Self::seal(body, encoded, id, signature))
    }

    fn seal(body: Body, encoded: Vec<u8>, id: EnvelopeId, signature: Signature) -> Self {
        let bytes = wire::encode(&pb::Envelope { body: encoded, signature: signature.0.to_vec() });
        Self(Arc::new(Sealed { id, body, bytes, signature }))
    }

    /// Reads an envelope. Its signature is checked by [`Envelope::verify`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        const WHAT: &str = "the envelope";
        let message: pb::Envelope = wire::decode_within(bytes, WHAT, limits::FRAME)?;
        let body = Body::decode(&message.body)?;
        if !matches!(body.content, Content::Proposal(_)) && bytes.len() > limits::ENVELOPE {
            return Err(WireError::TooLong { what: WHAT, actual: bytes.len(), most: limits::ENVELOPE });
        }
        let signature = Signature::from_slice(&message.signature).ok_or(WireError::Malformed(WHAT))?;
        let id = envelope_id(&message.body);
        Ok(Self(Arc::new(Sealed { id, body, bytes: bytes.to_vec(), signature })))
    }

    /// Appends it without what its session gives anyway: the session id, the proposal, and the hash of the nonces
    /// (`transcript`) if it answers to these.
    pub(super) fn pack(&self, proposal: &Proposal, transcript: Option<[u8; 32]>, to: &mut Vec<u8>) {
        use pb::body::Content as Wire;
        let mut content = self.content().to_wire();
        let given = match &mut content {
            Wire::Proposal(bytes) if bytes == proposal.as_bytes() => Some(bytes),
            Wire::Partial(partial) if transcript.is_some_and(|hash| partial.transcript == hash) => {
                Some(&mut partial.transcript)
            }
            _ => None,
        };
        to.push(u8::from(given.is_some()));
        given.into_iter().for_each(Vec::clear);
        let body =
            pb::Body { session: Vec::new(), signer: self.body().signer as u32, content: Some(content) };
        to.extend(body.encode_length_delimited_to_vec());
        to.extend(self.0.signature.0);
    }

    /// Takes the next one that [`Envelope::pack`] appended. `transcript`: of an attempt, the same as then.
    pub(super) fn unpack(
        from: &mut &[u8],
        proposal: &Proposal,
        transcript: impl FnOnce(u32) -> Option<[u8; 32]>,
    ) -> Option<Self> {
        use pb::body::Content as Wire;
        let (given, rest) = from.split_first()?;
        *from = rest;
        let body = pb::Body::decode_length_delimited(&mut *from).ok()?;
        let mut content = body.content?;
        match &mut content {
            Wire::Proposal(bytes) if *given == 1 => bytes.extend(proposal.as_bytes()),
            Wire::Partial(partial) if *given == 1 => partial.transcript.extend(transcript(partial.attempt)?),
            _ => {}
        }
        let (signature, rest) = from.split_first_chunk()?;
        *from = rest;
        let content = Content::from_wire(content)?;
        let body = Body { session: proposal.id(), signer: body.signer as usize, content };
        Some(Self::new(body, Signature(*signature)))
    }

    /// The identity: the hash of the signed bytes, without the signature.
    pub fn id(&self) -> EnvelopeId {
        self.0.id
    }

    /// What is signed.
    pub fn body(&self) -> &Body {
        &self.0.body
    }

    /// What it says.
    pub fn content(&self) -> &Content {
        &self.0.body.content
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Its exclusive place, if its kind has one.
    pub fn place(&self) -> Option<Place> {
        match self.0.body.content {
            Content::Nonces { attempt, .. } => Some(Place::Nonces(attempt)),
            Content::Partial { attempt, .. } => Some(Place::Partial(attempt)),
            _ => None,
        }
    }

    /// Checks that it belongs to this session, and that the signer it names signed it.
    pub fn verify(&self, scheme: &dyn Scheme, proposal: &Proposal) -> Result<(), WireError> {
        if self.0.body.session != proposal.id() {
            return Err(WireError::UnknownSession(self.0.body.session));
        }
        let index = self.0.body.signer;
        let key = proposal.signers.get(index).ok_or(WireError::NoSuchSigner { index: index as u32 })?;
        if !scheme.verify(key, &self.0.id.0, &self.0.signature) {
            return Err(WireError::Signature("the envelope"));
        }
        Ok(())
    }

    /// Whether the content breaks a rule that any signer can check for itself. An authentic envelope for which
    /// this is `false` is a proof against its signer.
    pub fn content_allowed(&self, proposal: &Proposal) -> bool {
        let messages = proposal.messages.len();
        let last_attempt = limits::RESTARTS * proposal.signers.len() as u32;
        match &self.0.body.content {
            Content::Proposal(bytes) => {
                self.0.body.signer == proposal.proposer && bytes == proposal.as_bytes()
            }
            Content::Accept | Content::Claim { .. } => true,
            Content::Nonces { attempt, nonces } => {
                *attempt <= last_attempt && nonces.len() == messages * super::crypto::NONCE
            }
            Content::Partial { attempt, partials, .. } => {
                *attempt <= last_attempt && partials.len() == messages * super::crypto::PARTIAL
            }
            Content::Restart { ordinal } => (1..=limits::RESTARTS).contains(ordinal),
            Content::Decline { reason } | Content::Abort { reason } | Content::Nack { reason, .. } => {
                reason.len() <= limits::REASON
            }
        }
    }
}

/// The hash of all `Nonces` envelopes of an attempt, by signer index.
pub fn transcript_hash(nonces: &[EnvelopeId]) -> [u8; 32] {
    let parts: Vec<&[u8]> = nonces.iter().map(|id| id.0.as_slice()).collect();
    tagged_hash("musig/transcript", &parts)
}

/// What makes a signer guilty. Anybody can check it from its bytes alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Two different envelopes for one exclusive place.
    Equivocation(Box<Envelope>, Box<Envelope>),
    /// Partial signatures that do not verify against the nonces they name.
    BadPartial {
        /// All `Nonces` envelopes of the attempt, by signer index.
        nonces: Vec<Envelope>,
        /// The `Partial` envelope.
        partial: Box<Envelope>,
    },
    /// An authentic envelope whose content breaks a rule.
    BadContent(Box<Envelope>),
}

/// Whom a verified proof convicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// The session.
    pub session: SessionId,
    /// The signer's index.
    pub signer: usize,
}

impl Proof {
    /// The proof as bytes, together with the proposal that it is checked against.
    pub fn encode(&self, proposal: &Proposal) -> Vec<u8> {
        use pb::proof::Kind;
        let terms = proposal.as_bytes().to_vec();
        let kind = match self {
            Self::Equivocation(first, second) => Kind::Equivocation(pb::Equivocation {
                proposal: terms,
                first: first.0.bytes.clone(),
                second: second.0.bytes.clone(),
            }),
            Self::BadPartial { nonces, partial } => Kind::BadPartial(pb::BadPartial {
                proposal: terms,
                nonces: nonces.iter().map(|envelope| envelope.0.bytes.clone()).collect(),
                partial: partial.0.bytes.clone(),
            }),
            Self::BadContent(envelope) => {
                Kind::BadContent(pb::BadContent { proposal: terms, envelope: envelope.0.bytes.clone() })
            }
        };
        wire::encode(&pb::Proof { kind: Some(kind) })
    }

    /// The signer that it accuses.
    pub fn accused(&self) -> usize {
        match self {
            Self::Equivocation(first, _) => first.0.body.signer,
            Self::BadPartial { partial, .. } => partial.0.body.signer,
            Self::BadContent(envelope) => envelope.0.body.signer,
        }
    }

    /// Checks a proof from its bytes alone, and says whom it convicts.
    ///
    /// Errors: the bytes are no proof, or do not convict anybody.
    pub fn verify(scheme: &dyn Scheme, bytes: &[u8]) -> Result<Culprit, WireError> {
        use pb::proof::Kind;
        const WHAT: &str = "the proof";
        let invalid = WireError::Malformed(WHAT);
        let message: pb::Proof = wire::decode_within(bytes, WHAT, limits::EXPORT + limits::PROPOSAL)?;
        let read = |terms: &[u8]| Proposal::decode(terms).map_err(|_| invalid);
        let authentic = |proposal: &Proposal, bytes: &[u8]| {
            let envelope = Envelope::decode(bytes)?;
            envelope.verify(scheme, proposal).map(|()| envelope)
        };
        let (proposal, signer, convicts) = match message.kind.ok_or(invalid)? {
            Kind::Equivocation(pb::Equivocation { proposal, first, second }) => {
                let proposal = read(&proposal)?;
                let (first, second) = (authentic(&proposal, &first)?, authentic(&proposal, &second)?);
                let same_place = first.place().is_some() && first.place() == second.place();
                let same_signer = first.0.body.signer == second.0.body.signer;
                let signer = first.0.body.signer;
                (proposal, signer, same_place && same_signer && first.0.id != second.0.id)
            }
            Kind::BadContent(pb::BadContent { proposal, envelope }) => {
                let proposal = read(&proposal)?;
                let envelope = authentic(&proposal, &envelope)?;
                let allowed = envelope.content_allowed(&proposal);
                let unusable = !allowed || nonces_are_no_points(scheme, &proposal, &envelope);
                (proposal, envelope.0.body.signer, unusable)
            }
            Kind::BadPartial(pb::BadPartial { proposal, nonces, partial }) => {
                let proposal = read(&proposal)?;
                let nonces =
                    nonces.iter().map(|bytes| authentic(&proposal, bytes)).collect::<Result<Vec<_>, _>>()?;
                let partial = authentic(&proposal, &partial)?;
                let signer = partial.0.body.signer;
                let fails = partial_fails(scheme, &proposal, &nonces, &partial);
                (proposal, signer, fails)
            }
        };
        if convicts { Ok(Culprit { session: proposal.id(), signer }) } else { Err(invalid) }
    }
}

/// Whether the envelope carries nonces of the right length that are no pairs of points.
fn nonces_are_no_points(scheme: &dyn Scheme, proposal: &Proposal, envelope: &Envelope) -> bool {
    let Content::Nonces { nonces, .. } = &envelope.0.body.content else { return false };
    let all = vec![nonces.as_slice(); proposal.signers.len()];
    scheme.aggregate_keys(proposal).is_ok_and(|keys| keys.begin_round(&all).is_err())
}

fn partial_fails(scheme: &dyn Scheme, proposal: &Proposal, nonces: &[Envelope], partial: &Envelope) -> bool {
    let Content::Partial { attempt, transcript, partials } = &partial.0.body.content else { return false };
    let in_order = nonces.iter().enumerate().all(|(index, envelope)| {
        envelope.0.body.signer == index && envelope.place() == Some(Place::Nonces(*attempt))
    });
    let ids: Vec<_> = nonces.iter().map(Envelope::id).collect();
    if nonces.len() != proposal.signers.len() || !in_order || transcript_hash(&ids) != *transcript {
        return false;
    }
    let public: Vec<&[u8]> = nonces
        .iter()
        .filter_map(|envelope| match &envelope.0.body.content {
            Content::Nonces { nonces, .. } => Some(nonces.as_slice()),
            _ => None,
        })
        .collect();
    let Ok(keys) = scheme.aggregate_keys(proposal) else { return false };
    keys.begin_round(&public).is_ok_and(|round| !round.verify_partials(partial.0.body.signer, partials))
}
