//! What an application says to propose a session.

use std::time::Duration;

use super::election::ElectionMethod;
use super::error::MusigError;
use super::values::{FailoverPolicy, KeyOrder, SighashType, SpentOutput, Tweak, array};
use crate::node;
use crate::protocol::proposal as core;
use crate::types::{SessionId, SignerKey};

/// A message to sign.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Message {
    /// 32 bytes.
    pub digest: Vec<u8>,
    /// The last tweak of the key it is signed with: an index into the request's tweaks. None: the aggregate key.
    #[uniffi(default = None)]
    pub tweak: Option<u32>,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum SessionContent {
    /// Messages, with the aggregate key or tweaked ones. The node hands out signatures and turns; the application
    /// builds and broadcasts.
    Messages {
        /// 1 to 256.
        messages: Vec<Message>,
    },
    /// All inputs of a transaction that the signers' key owns, by the Taproot key path (BIP-341). Without tweaks the
    /// key is the aggregate key with the BIP-341 tweak and no scripts.
    Transaction {
        /// Consensus encoding, in which inputs of others carry their final witnesses.
        unsigned: Vec<u8>,
        /// The spent outputs, one for each input.
        spent: Vec<SpentOutput>,
        /// The hash type of the signatures.
        sighash_type: SighashType,
    },
}

/// The terms of a session to be. What is not given has the library's default.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SessionRequest {
    /// The signers, this node's own key among them: 1 to 128. A position here is a signer index.
    pub signers: Vec<SignerKey>,
    /// What is signed.
    pub content: SessionContent,
    /// The order of key aggregation. Sorted by default.
    #[uniffi(default = None)]
    pub key_order: Option<KeyOrder>,
    /// The tweaks that messages, or the keys of inputs, may have.
    #[uniffi(default = None)]
    pub tweaks: Option<Vec<Tweak>>,
    /// How the coordinator is elected. By the lowest key by default.
    #[uniffi(default = None)]
    pub election_method: Option<ElectionMethod>,
    /// When others take over from the coordinator. After 5 minutes each, one at a time, by default.
    #[uniffi(default = None)]
    pub failover: Option<FailoverPolicy>,
    /// When the session ends if it has no other end: 24 hours by default, at most 30 days.
    #[uniffi(default = None)]
    pub expires_in: Option<Duration>,
    /// Words to the other signers, at most 4 KiB.
    #[uniffi(default = None)]
    pub metadata: Option<Vec<u8>>,
    /// An older session whose transaction this one replaces: a fee bump.
    #[uniffi(default = None)]
    pub replaces: Option<SessionId>,
}

impl TryFrom<Message> for core::Message {
    type Error = MusigError;
    fn try_from(part: Message) -> Result<Self, MusigError> {
        Ok(Self::raw(array("the digest of a message", part.digest)?, part.tweak.map(|index| index as usize)))
    }
}

impl TryFrom<SessionRequest> for node::SessionRequest {
    type Error = MusigError;
    fn try_from(request: SessionRequest) -> Result<Self, MusigError> {
        let mut made = match request.content {
            SessionContent::Messages { messages } => {
                let messages = messages.into_iter().map(core::Message::try_from).collect::<Result<_, _>>()?;
                Self::messages(request.signers, messages)
            }
            SessionContent::Transaction { unsigned, spent, sighash_type } => {
                Self::transaction(request.signers, unsigned, spent).sighash_type(sighash_type)
            }
        };
        if let Some(order) = request.key_order {
            made = made.key_order(order);
        }
        if let Some(tweaks) = request.tweaks {
            made = made.tweaks(tweaks.into_iter().map(core::Tweak::try_from).collect::<Result<_, _>>()?);
        }
        if let Some(method) = request.election_method {
            made = made.election_method(method);
        }
        if let Some(policy) = request.failover {
            made = made.failover(policy.into());
        }
        if let Some(time) = request.expires_in {
            made = made.expires_in(time);
        }
        if let Some(metadata) = request.metadata {
            made = made.metadata(metadata);
        }
        if let Some(session) = request.replaces {
            made = made.replaces(session);
        }
        Ok(made)
    }
}
