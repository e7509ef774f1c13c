//! Summaries of proposals: what somebody is shown before it consents.

use std::time::{Duration, SystemTime};

use super::election::ElectionMethod;
use super::keys::{Derivation, Network};
use super::values::{Broadcast, SighashType, SignerIndex, moment, number};
use crate::chain::summary as core;
use crate::types::{OutPoint, SessionId, SignerKey, Txid};

/// What a summary is to say of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SummaryOptions {
    /// Network of the addresses.
    pub network: Network,
    /// Scripts of this node's own wallet. Keys that only the proposal names prove nothing, so nothing else is own.
    #[uniffi(default = [])]
    pub own_scripts: Vec<Vec<u8>>,
    /// Fee, in percent of what the outputs pay, above which it is absurd.
    #[uniffi(default = 25)]
    pub most_fee_percent: u64,
    /// Fee rate, in satoshis per virtual byte, above which it is absurd.
    #[uniffi(default = 1000)]
    pub most_fee_rate: u64,
}

/// Summary of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Summary {
    /// The session.
    pub session: SessionId,
    /// The proposer.
    pub proposer: SignerIndex,
    /// The signers.
    pub signers: Vec<SignerKey>,
    /// Expiry of the proposal.
    pub expires_at: SystemTime,
    /// What is signed, one for each message.
    pub messages: Vec<MessageSummary>,
    /// The transaction that the signatures complete; none for raw messages.
    pub transaction: Option<TransactionSummary>,
    /// The election method.
    pub election_method: ElectionMethod,
    /// Who is to broadcast.
    pub broadcast: Broadcast,
    /// The session whose transaction this one replaces.
    pub replaces: Option<SessionId>,
    /// What to look at twice.
    pub warnings: Vec<SummaryWarning>,
    /// The proposer's own words, as they came.
    pub metadata: Vec<u8>,
    /// All of it as lines of text. What others wrote is escaped, cut, on lines of its own that begin with `>`, and last.
    pub text: String,
}

/// Message of a session.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct MessageSummary {
    /// The 32 bytes to sign.
    pub digest: Vec<u8>,
    /// Index of the key set that signs.
    pub key_set: u32,
    /// What makes the final key of its aggregate key.
    pub derivation: Derivation,
    /// X-only key that the signature verifies under.
    pub final_key: Vec<u8>,
    /// Signed input; none for a raw message, which is signed blind.
    pub input: Option<u32>,
    /// Hash type.
    pub sighash_type: SighashType,
}

/// Transaction of a session.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct TransactionSummary {
    /// Its id.
    pub txid: Txid,
    /// Its version.
    pub version: i32,
    /// Its weight with all signatures (BIP-141).
    pub weight: u64,
    /// Fee in satoshis.
    pub fee: u64,
    /// Fee rate in satoshis for 1,000 virtual bytes.
    pub fee_rate: u64,
    /// Lock time as it is in the transaction.
    pub lock_time: u32,
    /// What the lock time means.
    pub lock: TransactionLock,
    /// Whether it may be replaced in the mempool (BIP-125).
    pub replaceable: bool,
    /// Its inputs.
    pub inputs: Vec<InputSummary>,
    /// Its outputs.
    pub outputs: Vec<OutputSummary>,
}

/// Lock of a transaction, or of one input: what must be reached before it can be in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum TransactionLock {
    /// Nothing.
    AtOnce,
    /// The height of the block before (BIP-65).
    Height {
        /// The height.
        height: u32,
    },
    /// The median time of the blocks before (BIP-113).
    Time {
        /// The time.
        time: SystemTime,
    },
    /// Blocks since the spent output's (BIP-68).
    Blocks {
        /// Their number.
        blocks: u16,
    },
    /// Time since the spent output's block (BIP-68).
    Elapsed {
        /// How long.
        time: Duration,
    },
}

/// Who completes an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum InputKind {
    /// This session signs it.
    Session,
    /// Somebody else's, with a witness that was verified.
    Verified,
    /// Somebody else's, with a witness that nobody here can verify.
    Unverified,
    /// Somebody else's, not signed yet.
    Unsigned,
}

/// Input of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct InputSummary {
    /// The spent output.
    pub coin: OutPoint,
    /// Its value in satoshis.
    pub value: u64,
    /// Its script.
    pub script: Vec<u8>,
    /// Its address, if its script has one.
    pub address: Option<String>,
    /// Whether it is among the own scripts.
    pub own: bool,
    /// Who completes the input.
    pub kind: InputKind,
    /// Sequence number.
    pub sequence: u32,
    /// The relative lock in it.
    pub lock: TransactionLock,
}

/// Output of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct OutputSummary {
    /// Value in satoshis.
    pub value: u64,
    /// Script.
    pub script: Vec<u8>,
    /// Address, if the script has one.
    pub address: Option<String>,
    /// Whether it is among the own scripts: change, or a payment to oneself.
    pub own: bool,
}

/// Warning about a proposal.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum SummaryWarning {
    /// The fee is a large part of what the outputs pay.
    HighFee {
        /// The fee in satoshis.
        fee: u64,
        /// What all outputs pay, in satoshis.
        paid: u64,
    },
    /// The fee rate is far above what any block asked for.
    HighFeeRate {
        /// Satoshis for 1,000 virtual bytes.
        fee_rate: u64,
    },
    /// An output is worth less than it costs to spend, so nodes do not relay the transaction.
    Dust {
        /// The output's index.
        output: u32,
    },
    /// The transaction cannot be final before the proposal expires.
    LockBeyondExpiry,
    /// An input that the session does not sign has a witness that cannot be verified here.
    UnverifiedInput {
        /// The input's index.
        input: u32,
    },
    /// The signed output can also be spent by scripts that are not shown.
    HiddenScripts {
        /// The message's index.
        message: u32,
    },
    /// A raw message is signed blind: it may be the signature hash of any transaction of these keys.
    Blind {
        /// The message's index.
        message: u32,
    },
    /// Another open session of this node spends the same coin.
    CoinInOtherSession {
        /// The input's index.
        input: u32,
        /// The other session.
        session: SessionId,
    },
    /// Another session of this node, which may still complete, pays the same output: perhaps for a second time.
    PaidByOtherSession {
        /// The output's index.
        output: u32,
        /// The other session.
        session: SessionId,
    },
    /// An output pays a key that the proposal makes of its signers' keys, and is none of the own wallet: the same signers, by an
    /// arrangement that is unknown to it.
    UnknownArrangement {
        /// The output's index.
        output: u32,
    },
    /// The fee rate is not above that of the transaction that this one replaces, so nodes keep the other one.
    LowerFeeRate {
        /// Satoshis for 1,000 virtual bytes.
        fee_rate: u64,
        /// Those of the transaction that it replaces.
        replaced: u64,
        /// The session of that transaction.
        session: SessionId,
    },
}

impl From<SummaryOptions> for core::SummaryOptions {
    fn from(options: SummaryOptions) -> Self {
        let SummaryOptions { network, own_scripts, most_fee_percent, most_fee_rate } = options;
        Self { network: network.into(), own_scripts, most_fee_percent, most_fee_rate, ..Self::default() }
    }
}

impl From<core::Summary> for Summary {
    fn from(summary: core::Summary) -> Self {
        let text = summary.to_text();
        Self {
            session: summary.session,
            proposer: summary.proposer.into(),
            signers: summary.signers,
            expires_at: moment(summary.expires_at),
            messages: summary.messages.into_iter().map(Into::into).collect(),
            transaction: summary.transaction.map(Into::into),
            election_method: summary.election_method,
            broadcast: summary.broadcast.into(),
            replaces: summary.replaces,
            warnings: summary.warnings.into_iter().map(Into::into).collect(),
            metadata: summary.metadata,
            text,
        }
    }
}

impl From<core::MessageSummary> for MessageSummary {
    fn from(message: core::MessageSummary) -> Self {
        Self {
            digest: message.digest.to_vec(),
            key_set: number(message.key_set),
            derivation: message.derivation.into(),
            final_key: message.final_key.to_vec(),
            input: message.input,
            sighash_type: message.sighash_type,
        }
    }
}

impl From<core::TransactionSummary> for TransactionSummary {
    fn from(transaction: core::TransactionSummary) -> Self {
        Self {
            txid: transaction.txid,
            version: transaction.version,
            weight: transaction.weight,
            fee: transaction.fee,
            fee_rate: transaction.fee_rate,
            lock_time: transaction.lock_time,
            lock: transaction.lock.into(),
            replaceable: transaction.replaceable,
            inputs: transaction.inputs.into_iter().map(Into::into).collect(),
            outputs: transaction.outputs.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<core::Lock> for TransactionLock {
    fn from(lock: core::Lock) -> Self {
        match lock {
            core::Lock::None => Self::AtOnce,
            core::Lock::Height(height) => Self::Height { height },
            core::Lock::Time(time) => {
                Self::Time { time: SystemTime::UNIX_EPOCH + Duration::from_secs(time.into()) }
            }
            core::Lock::Blocks(blocks) => Self::Blocks { blocks },
            core::Lock::Elapsed(time) => Self::Elapsed { time },
        }
    }
}

impl From<core::InputKind> for InputKind {
    fn from(kind: core::InputKind) -> Self {
        match kind {
            core::InputKind::Session => Self::Session,
            core::InputKind::Verified => Self::Verified,
            core::InputKind::Unverified => Self::Unverified,
            core::InputKind::Unsigned => Self::Unsigned,
        }
    }
}

impl From<core::InputSummary> for InputSummary {
    fn from(input: core::InputSummary) -> Self {
        let core::InputSummary { coin, value, script, address, own, kind, sequence, lock } = input;
        Self { coin, value, script, address, own, kind: kind.into(), sequence, lock: lock.into() }
    }
}

impl From<core::OutputSummary> for OutputSummary {
    fn from(output: core::OutputSummary) -> Self {
        let core::OutputSummary { value, script, address, own } = output;
        Self { value, script, address, own }
    }
}

impl From<core::Warning> for SummaryWarning {
    fn from(warning: core::Warning) -> Self {
        match warning {
            core::Warning::HighFee { fee, paid } => Self::HighFee { fee, paid },
            core::Warning::HighFeeRate { fee_rate } => Self::HighFeeRate { fee_rate },
            core::Warning::Dust { output } => Self::Dust { output },
            core::Warning::LockBeyondExpiry => Self::LockBeyondExpiry,
            core::Warning::UnverifiedInput { input } => Self::UnverifiedInput { input },
            core::Warning::HiddenScripts { message } => Self::HiddenScripts { message },
            core::Warning::Blind { message } => Self::Blind { message },
            core::Warning::CoinInOtherSession { input, session } => {
                Self::CoinInOtherSession { input, session }
            }
            core::Warning::PaidByOtherSession { output, session } => {
                Self::PaidByOtherSession { output, session }
            }
            core::Warning::UnknownArrangement { output } => Self::UnknownArrangement { output },
            core::Warning::LowerFeeRate { fee_rate, replaced, session } => {
                Self::LowerFeeRate { fee_rate, replaced, session }
            }
        }
    }
}
