//! Canonical encoding: the only bytes of a message are those that encoding its content gives.
//!
//! Unknown fields, fields out of order and explicit defaults are refused, so equal content has equal bytes, and a
//! newer version cannot add terms that an older one would silently ignore.

use prost::Message;

use self::bounds::Bounded;
use crate::error::WireError;
use crate::protocol::limits;
use crate::types::{SessionId, Signature};

pub mod bounds;
/// The messages of `musig.proto`, as prost generates them.
#[allow(missing_docs, clippy::all)]
#[path = "musig.v1.rs"]
#[rustfmt::skip]
pub mod pb;

/// Encodes a message.
pub fn encode<M: Message>(message: &M) -> Vec<u8> {
    message.encode_to_vec()
}

/// Decodes a message, and refuses any but its canonical bytes. Lists that are too long cost nothing.
pub fn decode<M: Bounded>(bytes: &[u8], what: &'static str) -> Result<M, WireError> {
    bounds::check::<M>(bytes, what)?;
    let message = M::decode(bytes).map_err(|_| WireError::Malformed(what))?;
    if message.encode_to_vec() != bytes {
        return Err(WireError::Malformed(what));
    }
    Ok(message)
}

/// Decodes a message of at most `most` bytes.
pub fn decode_within<M: Bounded>(bytes: &[u8], what: &'static str, most: usize) -> Result<M, WireError> {
    if bytes.len() > most {
        return Err(WireError::TooLong { what, actual: bytes.len(), most });
    }
    decode(bytes, what)
}

/// The finished signatures of a session, one for each message. It verifies itself, so anybody may pass it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The session.
    pub session: SessionId,
    /// The signatures, in the order of the messages.
    pub signatures: Vec<Signature>,
}

impl Certificate {
    /// Its form in a frame.
    pub fn to_wire(&self) -> pb::Certificate {
        let signatures = self.signatures.iter().flat_map(|signature| signature.0).collect();
        pb::Certificate { session: self.session.0.to_vec(), signatures }
    }

    /// Takes the form in a frame. The signatures are not verified by this.
    pub fn from_wire(message: &pb::Certificate) -> Result<Self, WireError> {
        let malformed = WireError::Malformed("the certificate");
        let session = SessionId::from_slice(&message.session).ok_or(malformed)?;
        let chunks = message.signatures.chunks_exact(64);
        if !chunks.remainder().is_empty() || !(1..=limits::MESSAGES).contains(&chunks.len()) {
            return Err(malformed);
        }
        let signatures = chunks.filter_map(Signature::from_slice).collect();
        Ok(Self { session, signatures })
    }
}
