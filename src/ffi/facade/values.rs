//! Values of a few fields.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::MusigError;
pub use crate::node::FailoverPreset;
use crate::protocol::proposal as core;
pub use crate::protocol::proposal::{KeyOrder, SighashType, SpentOutput, Tiers};
pub use crate::types::SignedTransaction;
use crate::types::{SessionId, Signature, SignerKey, Txid, UnixMillis};

/// Error for an invalid argument.
pub(super) fn invalid(what: &str, reason: impl ToString) -> MusigError {
    MusigError::InvalidArgument { what: what.to_owned(), reason: reason.to_string() }
}

fn read<T: std::str::FromStr>(what: &str, text: &str) -> uniffi::Result<T>
where
    T::Err: ToString,
{
    Ok(text.parse().map_err(|error: T::Err| invalid(what, error))?)
}

uniffi::custom_type!(
    /// Id of a session: the tagged hash `musig/session` of its encoded proposal, as 64 hexadecimal digits.
    SessionId, String, {
    lower: |id| id.to_string(),
    try_lift: |text| read("session id", &text),
});
uniffi::custom_type!(
    /// Public key: the 33-byte compressed form of a point of secp256k1, as 66 hexadecimal digits.
    SignerKey, String, {
    lower: |key| key.to_string(),
    try_lift: |text| read("signer key", &text),
});
uniffi::custom_type!(
    /// Id of a transaction: 64 hexadecimal digits, in the byte order in which Bitcoin shows them.
    Txid, String, {
    lower: |txid| txid.to_string(),
    try_lift: |text| read("transaction id", &text),
});

/// Position of a signer in the proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignerIndex(u32);

uniffi::custom_type!(
    /// Position of a signer in the proposal, from 0 on. Elections, turns and events name signers by it. Ranks in a
    /// priority list, turns, attempts and numbers of messages are no signer indices.
    SignerIndex, u32, {
    lower: |index| index.0,
    try_lift: |number| Ok(SignerIndex(number)),
});

impl SignerIndex {
    pub(super) fn to_usize(self) -> usize {
        self.0 as usize
    }
}

impl From<usize> for SignerIndex {
    fn from(index: usize) -> Self {
        Self(number(index))
    }
}

/// A count, rank, turn or position. All are far below the limit of 32 bits (`protocol::limits`); what an application
/// makes up is not, and names nothing either way.
pub(super) fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

pub(super) fn indices(values: Vec<usize>) -> Vec<SignerIndex> {
    values.into_iter().map(SignerIndex::from).collect()
}

/// Time by this machine's clock, cut at the year 2248, which all languages can represent.
pub(super) fn moment(time: UnixMillis) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time.0.min(1 << 43))
}

pub(super) fn array<const N: usize>(what: &str, bytes: Vec<u8>) -> Result<[u8; N], MusigError> {
    let length = bytes.len();
    bytes.try_into().map_err(|_| invalid(what, format!("{N} bytes are needed; {length} were given")))
}

pub(super) fn signature_bytes(signatures: Vec<Signature>) -> Vec<Vec<u8>> {
    signatures.into_iter().map(|signature| signature.0.to_vec()).collect()
}

/// Order in which keys are aggregated. It changes the aggregate key and nothing else.
#[uniffi::remote(Enum)]
pub enum KeyOrder {
    /// BIP-327 `KeySort`, as BIP-390's `musig()` descriptor asks for.
    Sorted,
    /// The order in which they are given.
    AsGiven,
}

/// BIP-341 hash types that leave the transaction fixed.
#[uniffi::remote(Enum)]
pub enum SighashType {
    /// `SIGHASH_DEFAULT`: a signature of 64 bytes.
    Default,
    /// `SIGHASH_ALL`: a signature of 65 bytes in the witness.
    All,
}

/// Output that a transaction spends.
#[uniffi::remote(Record)]
pub struct SpentOutput {
    /// The value in satoshis.
    pub value: u64,
    /// The script (`scriptPubKey`).
    pub script: Vec<u8>,
}

/// Grouping of signers into tiers, which take their turn together.
#[uniffi::remote(Enum)]
pub enum Tiers {
    /// One signer each: the classical order.
    Single,
    /// The same number of signers in each.
    Fixed(
        /// The number of signers, at least 1.
        #[uniffi(name = "signers")]
        u16,
    ),
    /// 1, 2, 4, 8, … signers.
    Doubling,
}

/// Mode of the broadcast: who is to broadcast once the signatures are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Broadcast {
    /// The elected coordinator; if it does not, the next signers take over. The default.
    Failover {
        /// When they do.
        policy: FailoverPolicy,
    },
    /// The elected coordinator alone. After five minutes each node raises the alarm, and each may broadcast when its
    /// application says so.
    CoordinatorOnly,
    /// Nobody: the signatures are all that the session is for, and SessionComplete is the end.
    SignOnly,
}

impl From<core::Broadcast> for Broadcast {
    fn from(mode: core::Broadcast) -> Self {
        match mode {
            core::Broadcast::Failover(policy) => Self::Failover { policy: policy.into() },
            core::Broadcast::CoordinatorOnly => Self::CoordinatorOnly,
            core::Broadcast::SignOnly => Self::SignOnly,
        }
    }
}

/// Failover policy: when the next signers are to broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct FailoverPolicy {
    /// Time from one turn's opening to the next: 1 s to 24 h. 5 minutes if it is not given.
    #[uniffi(default = None)]
    pub broadcast_timeout: Option<Duration>,
    /// Grouping of signers into tiers. One signer each if it is not given.
    #[uniffi(default = None)]
    pub tiers: Option<Tiers>,
}

impl From<FailoverPolicy> for core::FailoverPolicy {
    fn from(policy: FailoverPolicy) -> Self {
        let default = Self::default();
        Self {
            broadcast_timeout: policy.broadcast_timeout.unwrap_or(default.broadcast_timeout),
            tiers: policy.tiers.unwrap_or(default.tiers),
        }
    }
}

impl From<core::FailoverPolicy> for FailoverPolicy {
    fn from(policy: core::FailoverPolicy) -> Self {
        Self { broadcast_timeout: Some(policy.broadcast_timeout), tiers: Some(policy.tiers) }
    }
}

/// Preset of the broadcast timeout. It is a value for the proposal, not a field of it: all signers see the timeout.
#[uniffi::remote(Enum)]
pub enum FailoverPreset {
    /// 30 seconds: tests, and signers in one local network.
    LocalTest,
    /// 2 minutes: low values, where a duplicate submission is cheaper than a wait.
    LowValue,
    /// 5 minutes, the default.
    Standard,
    /// 10 minutes: high values, whose signers are asked by hand or behind slow backends.
    HighValue,
    /// 15 minutes: signers across borders, by satellite or over Tor.
    Satellite,
}

/// The policy of a preset: one signer for each turn.
#[uniffi::export]
pub fn failover_policy(preset: FailoverPreset) -> FailoverPolicy {
    core::FailoverPolicy::from(preset).into()
}

/// Final transaction with its witnesses.
#[uniffi::remote(Record)]
pub struct SignedTransaction {
    /// The transaction's id.
    pub txid: Txid,
    /// The consensus encoding with witnesses.
    pub bytes: Vec<u8>,
}
