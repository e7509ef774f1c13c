//! Requests for new sessions.

use std::time::Duration;

use super::election::ElectionMethod;
use super::error::MusigError;
use super::keys::{Derivation, KeySet};
use super::values::{Broadcast, KeyOrder, SighashType, SpentOutput, array};
use crate::chain::psbt::Psbt;
use crate::node;
pub use crate::protocol::consent::JoinOptions;
use crate::protocol::crypto::key_set as keys;
use crate::protocol::proposal as core;
use crate::types::{SessionId, SignerKey};

/// Message to sign.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Message {
    /// The 32 bytes to sign.
    pub digest: Vec<u8>,
    /// The index of the key set that signs: 0 for the identity keys, i + 1 for the request's key set i.
    #[uniffi(default = 0)]
    pub key_set: u32,
    /// What makes the final key of the key set's aggregate key. None: that key itself.
    #[uniffi(default = None)]
    pub derivation: Option<Derivation>,
}

/// Output key whose coins the inputs of a transaction may spend.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct KeyDerivation {
    /// What makes it of the key set's aggregate key.
    pub derivation: Derivation,
    /// The index of the key set: 0 for the identity keys, i + 1 for the request's key set i.
    #[uniffi(default = 0)]
    pub key_set: u32,
}

/// Content of a session: what is signed.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum SessionContent {
    /// Messages, signed with the aggregate of the identity keys, or as they name it. The node yields signatures and, unless the session only
    /// signs, turns; the application builds and broadcasts the transaction.
    Messages {
        /// 1 to 256 messages.
        messages: Vec<Message>,
    },
    /// Transaction, of which all inputs that the signers' key owns are signed by the Taproot key path (BIP-341).
    /// Without derivations these are the outputs without scripts whose internal key is the aggregate of a key set.
    Transaction {
        /// The consensus encoding, in which inputs of others carry their final witnesses.
        unsigned: Vec<u8>,
        /// The spent outputs, one for each input.
        spent: Vec<SpentOutput>,
        /// The hash type of the signatures.
        sighash_type: SighashType,
    },
    /// Transaction of a PSBT (version 0 or 2, with the fields of BIP-373), of which every input is signed that is not
    /// final and has MuSig2 participants. Key sets, derivations and hash types are the PSBT's; the request's key sets
    /// say whose the participant keys are, if they are not the identity keys. The proposal has none of the PSBT's bytes.
    Psbt {
        /// The bytes of the PSBT.
        psbt: Vec<u8>,
    },
}

/// Request for a new session. Terms that are not given have the library's defaults.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SessionRequest {
    /// The signers' keys, this node's own among them: 1 to 128. A position here is a signer index.
    pub signers: Vec<SignerKey>,
    /// The content to sign.
    pub content: SessionContent,
    /// The order in which the identity keys are aggregated. Sorted by default.
    #[uniffi(default = None)]
    pub key_order: Option<KeyOrder>,
    /// Key sets besides the identity keys, which are key set 0. The proposal has those that sign a message. Of a PSBT's
    /// session they say whose each participant key is.
    #[uniffi(default = None)]
    pub key_sets: Option<Vec<KeySet>>,
    /// For a transaction: the output keys whose coins its inputs may spend, in any number. By default the key of an output
    /// without scripts of each key set.
    #[uniffi(default = None)]
    pub derivations: Option<Vec<KeyDerivation>>,
    /// The election method. Lexicographic by default.
    #[uniffi(default = None)]
    pub election_method: Option<ElectionMethod>,
    /// Who is to broadcast. By default failover with turns of 5 minutes, one signer each.
    #[uniffi(default = None)]
    pub broadcast: Option<Broadcast>,
    /// Time until the proposal expires: 24 hours by default, at most 30 days.
    #[uniffi(default = None)]
    pub expires_in: Option<Duration>,
    /// Message to the other signers, at most 4 KiB.
    #[uniffi(default = None)]
    pub metadata: Option<Vec<u8>>,
    /// An older session whose transaction this one replaces: a fee bump.
    #[uniffi(default = None)]
    pub replaces: Option<SessionId>,
    /// What this node's own consent covers, which is part of the proposal. Nothing beyond it by default.
    #[uniffi(default = None)]
    pub consent: Option<JoinOptions>,
}

/// Word of the application when it joins, or creates, one session. Without it the node consents to a transaction with
/// failover only if the signatures alone complete it, as far as the node can find out, and to raw messages only with keys
/// that own no coins.
#[uniffi::remote(Record)]
pub struct JoinOptions {
    /// Whether inputs that the session does not sign may have witnesses that this node cannot verify: all but P2WPKH and
    /// the key path of P2TR. If such a witness is invalid, the signatures complete nothing, and whoever can replace it
    /// decides when.
    #[uniffi(default = false)]
    pub allow_unverified_inputs: bool,
    /// Whether inputs may spend coins that the chain observer calls spent or unknown, or could not be asked about. Of a
    /// coin that is not there, whoever holds back its transaction decides when.
    #[uniffi(default = false)]
    pub allow_missing_coins: bool,
    /// Whether raw messages may be signed with keys that own coins, as far as this node can tell: with an output key (any
    /// BIP-341 derivation), with a key set of a registered descriptor, or with one that a transaction session of this node
    /// signs with too. Such a message may be the signature hash of a transaction that spends all that the signers have.
    #[uniffi(default = false)]
    pub sign_blind: bool,
}

impl TryFrom<Message> for core::Message {
    type Error = MusigError;
    fn try_from(part: Message) -> Result<Self, MusigError> {
        let derivation = part.derivation.map(TryInto::try_into).transpose()?.unwrap_or_default();
        Ok(Self::with(array("the digest of a message", part.digest)?, part.key_set as usize, derivation))
    }
}

impl TryFrom<SessionRequest> for node::SessionRequest {
    type Error = MusigError;
    fn try_from(request: SessionRequest) -> Result<Self, MusigError> {
        let key_sets = request.key_sets.unwrap_or_default();
        let mut key_sets =
            key_sets.into_iter().map(keys::KeySet::try_from).collect::<Result<Vec<_>, MusigError>>()?;
        let mut made = match request.content {
            SessionContent::Messages { messages } => {
                let messages =
                    messages.into_iter().map(core::Message::try_from).collect::<Result<Vec<_>, _>>()?;
                Self::messages(request.signers, messages)
            }
            SessionContent::Transaction { unsigned, spent, sighash_type } => {
                Self::transaction(request.signers, unsigned, spent).sighash_type(sighash_type)
            }
            SessionContent::Psbt { psbt } => {
                let known = std::mem::take(&mut key_sets);
                Self::from_psbt(request.signers, &Psbt::from_bytes(&psbt)?, &known)?
            }
        };
        if let Some(order) = request.key_order {
            made = made.key_order(order);
        }
        for key_set in key_sets {
            made = made.key_set(key_set);
        }
        for one in request.derivations.unwrap_or_default() {
            made = made.derive(one.key_set as usize, one.derivation.try_into()?);
        }
        if let Some(method) = request.election_method {
            made = made.election_method(method);
        }
        made = match request.broadcast {
            Some(Broadcast::Failover { policy }) => made.failover(policy),
            Some(Broadcast::CoordinatorOnly) => made.coordinator_only(),
            Some(Broadcast::SignOnly) => made.sign_only(),
            None => made,
        };
        if let Some(time) = request.expires_in {
            made = made.expires_in(time);
        }
        if let Some(metadata) = request.metadata {
            made = made.metadata(metadata);
        }
        if let Some(session) = request.replaces {
            made = made.replaces(session);
        }
        if let Some(options) = request.consent {
            made = made.consent(options);
        }
        Ok(made)
    }
}
