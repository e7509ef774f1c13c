//! Summaries of proposals: all that a signer has to know before it consents, as values and as text.
//!
//! The values of the spent outputs are the proposer's claim; every signature commits to all of them (BIP-341), so it is
//! void if one is wrong.

use std::collections::HashSet;
use std::fmt::{self, Write};
use std::time::Duration;

use bitcoin::absolute::LockTime;
use bitcoin::relative;
use bitcoin::{Address, Network, ScriptBuf, Sequence, Witness};

use super::transaction::Funded;
use super::wallet::Scripts;
use super::witness;
use crate::error::ProposalError;
use crate::mutation::{self, Mutation};
use crate::protocol::crypto::key_set::{Derivation, KeyOrder, KeySet, KeyTree, Taproot};
use crate::protocol::election::ElectionMethod;
use crate::protocol::proposal::{Broadcast, FailoverPolicy, Message, Proposal, SighashType, Tiers};
use crate::types::{ChainTip, OutPoint, SessionId, SignerKey, Txid, UnixMillis, to_hex};

/// Lines of other signers' text that a summary's text shows, and the characters of one.
const LINES: usize = 20;
const LINE: usize = 100;
/// Time between two blocks, on average.
const BLOCK: Duration = Duration::from_secs(600);

/// What a summary is to say of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryOptions {
    /// Network of the addresses.
    pub network: Network,
    /// Scripts of this node's own wallet. Keys that only the proposal names prove nothing, so nothing else is own.
    pub own_scripts: Vec<Vec<u8>>,
    /// Fee, in percent of what the outputs pay, above which it is absurd.
    pub most_fee_percent: u64,
    /// Fee rate, in satoshis per virtual byte, above which it is absurd.
    pub most_fee_rate: u64,
    /// Last block of the chain, if known: it tells how far away a lock time is.
    pub tip: Option<ChainTip>,
}

impl Default for SummaryOptions {
    /// Bitcoin's main network, no own scripts, a quarter of the outputs, 1,000 satoshis per virtual byte.
    fn default() -> Self {
        Self {
            network: Network::Bitcoin,
            own_scripts: Vec::new(),
            most_fee_percent: 25,
            most_fee_rate: 1000,
            tip: None,
        }
    }
}

/// Summary of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The session.
    pub session: SessionId,
    /// The proposer's signer index.
    pub proposer: usize,
    /// The signers.
    pub signers: Vec<SignerKey>,
    /// The key sets, of which each message names one.
    pub key_sets: Vec<KeySet>,
    /// Expiry of the proposal.
    pub expires_at: UnixMillis,
    /// What is signed, one for each message.
    pub messages: Vec<MessageSummary>,
    /// The transaction that the signatures complete; `None` for raw messages.
    pub transaction: Option<TransactionSummary>,
    /// The election method.
    pub election_method: ElectionMethod,
    /// Who is to broadcast.
    pub broadcast: Broadcast,
    /// The session whose transaction this one replaces.
    pub replaces: Option<SessionId>,
    /// What to look at twice.
    pub warnings: Vec<Warning>,
    /// The proposer's own words.
    pub metadata: Vec<u8>,
}

/// Message of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSummary {
    /// The 32 bytes to sign.
    pub digest: [u8; 32],
    /// Index of the key set that signs.
    pub key_set: usize,
    /// What makes the final key of its aggregate key.
    pub derivation: Derivation,
    /// X-only key that the signature verifies under.
    pub final_key: [u8; 32],
    /// Signed input; `None` for a raw message, which is signed blind.
    pub input: Option<u32>,
    /// Hash type.
    pub sighash_type: SighashType,
}

/// Transaction of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub lock: Lock,
    /// Whether it may be replaced in the mempool (BIP-125).
    pub replaceable: bool,
    /// Its inputs.
    pub inputs: Vec<InputSummary>,
    /// Its outputs.
    pub outputs: Vec<OutputSummary>,
}

/// Lock of a transaction, or of one input: what must be reached before it can be in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nothing.
    None,
    /// The height of the block before (BIP-65).
    Height(u32),
    /// The median time of the blocks before, in seconds since 1970 (BIP-113).
    Time(u32),
    /// Blocks since the spent output's (BIP-68).
    Blocks(u16),
    /// Time since the spent output's block (BIP-68).
    Elapsed(Duration),
}

/// Who completes an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub lock: Lock,
}

/// Output of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
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

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HighFee { fee, paid } => {
                write!(f, "the fee of {fee} sat is a large part of the {paid} sat that the outputs pay")
            }
            Self::HighFeeRate { fee_rate } => {
                write!(f, "the fee rate of {} sat/vB is absurd", Thousandths(*fee_rate))
            }
            Self::Dust { output } => {
                write!(f, "output {output} is dust: nodes will not relay the transaction")
            }
            Self::LockBeyondExpiry => {
                f.write_str("the transaction cannot be final before the proposal expires")
            }
            Self::UnverifiedInput { input } => {
                write!(
                    f,
                    "the witness of input {input} is not verified: if it is invalid, your signature completes nothing"
                )
            }
            Self::HiddenScripts { message } => {
                write!(f, "message {message}: its output can also be spent by scripts that are not shown")
            }
            Self::Blind { message } => {
                write!(f, "message {message} is signed blind: it may spend any coin of its key")
            }
            Self::CoinInOtherSession { input, session } => {
                write!(f, "the coin of input {input} is spent in the open session {session} too")
            }
            Self::PaidByOtherSession { output, session } => {
                write!(f, "output {output} is paid in session {session} too, which may still complete")
            }
            Self::UnknownArrangement { output } => write!(
                f,
                "output {output} pays the same signers, by an arrangement unknown to this wallet: it is not back to yourself"
            ),
            Self::LowerFeeRate { fee_rate, replaced, session } => {
                let (fee_rate, replaced) = (Thousandths(*fee_rate), Thousandths(*replaced));
                write!(
                    f,
                    "the fee rate of {fee_rate} sat/vB is not above the {replaced} sat/vB of session {session}: nodes will \
                     not replace its transaction"
                )
            }
        }
    }
}

/// Summary of a proposal, from its bytes alone.
///
/// Errors: its keys cannot be aggregated; [`ProposalError::Transaction`].
pub fn summarize(proposal: &Proposal, options: &SummaryOptions) -> Result<Summary, ProposalError> {
    summarize_beside(proposal, options, &[], &[])
}

/// The same, with the scripts of the node's own wallet, and with warnings of what other sessions do: their proposals, each
/// with whether this node still takes part in it.
pub(crate) fn summarize_beside(
    proposal: &Proposal,
    options: &SummaryOptions,
    wallet: &[Scripts],
    others: &[(Proposal, bool)],
) -> Result<Summary, ProposalError> {
    let keys = final_keys(proposal)?;
    let raw = proposal.transaction.is_none();
    let mut warnings = Vec::new();
    let mut messages = Vec::with_capacity(proposal.messages.len());
    for (index, (message, final_key)) in proposal.messages.iter().zip(keys).enumerate() {
        let number = as_u32(index);
        messages.push(MessageSummary {
            digest: message.digest,
            key_set: message.key_set,
            derivation: message.derivation.clone(),
            final_key,
            input: (!raw).then_some(message.input),
            sighash_type: message.sighash_type,
        });
        if raw {
            warnings.push(Warning::Blind { message: number });
        } else if matches!(message.derivation.taproot, Taproot::MerkleRoot(_)) {
            warnings.push(Warning::HiddenScripts { message: number });
        }
    }
    let transaction = match raw {
        true => None,
        false => {
            let funded = Funded::of(proposal)?;
            let summary = transaction_summary(proposal, &funded, options, wallet);
            transaction_warnings(proposal, &summary, options, &mut warnings);
            let unknown = |output: &OutputSummary| {
                let key = output.script.strip_prefix(&[0x51, 0x20]);
                !output.own && messages.iter().any(|message| key == Some(&message.final_key[..]))
            };
            // Without a wallet nothing is known, and everything unknown.
            let known = !options.own_scripts.is_empty() || wallet.iter().any(|scripts| !scripts.is_empty());
            let outputs = summary.outputs.iter().zip(0..).filter(|_| known);
            for (_, output) in outputs.filter(|(output, _)| unknown(output)) {
                warnings.push(Warning::UnknownArrangement { output });
            }
            compare(proposal, &summary, others, options, &mut warnings);
            Some(summary)
        }
    };
    Ok(Summary {
        session: proposal.id(),
        proposer: proposal.proposer,
        signers: proposal.signers.clone(),
        key_sets: proposal.key_sets.clone(),
        expires_at: proposal.expires_at,
        messages,
        transaction,
        election_method: proposal.election_method,
        broadcast: proposal.broadcast,
        replaces: proposal.replaces,
        warnings: if mutation::on(Mutation::WarningsUnsaid) { Vec::new() } else { warnings },
        metadata: proposal.metadata.clone(),
    })
}

/// The x-only keys that a proposal's signatures verify under, one for each message.
fn final_keys(proposal: &Proposal) -> Result<Vec<[u8; 32]>, ProposalError> {
    let mut trees = proposal.key_sets.iter().map(KeyTree::new).collect::<Result<Vec<_>, _>>()?;
    let key = |message: &Message| {
        let index = message.key_set;
        let tree =
            trees.get_mut(index).ok_or(ProposalError::Index { what: "key set", index: index as u64 })?;
        Ok(tree.derive(&message.derivation)?.x_only())
    };
    proposal.messages.iter().map(key).collect()
}

fn transaction_summary(
    proposal: &Proposal,
    funded: &Funded,
    options: &SummaryOptions,
    wallet: &[Scripts],
) -> TransactionSummary {
    let Funded { transaction, spent, fee } = funded;
    let address = |script: &ScriptBuf| {
        Address::from_script(script, options.network).ok().map(|address| address.to_string())
    };
    let own: HashSet<&[u8]> = options.own_scripts.iter().map(Vec::as_slice).collect();
    let own = |script: &ScriptBuf| {
        let script = script.as_bytes();
        own.contains(script) || wallet.iter().any(|scripts| scripts.contains(script))
    };
    // As long as the finished one: a signature has 64 bytes, and one more with a hash type.
    let mut finished = transaction.clone();
    for message in &proposal.messages {
        if let Some(input) = finished.input.get_mut(message.input as usize) {
            let length = 64 + usize::from(message.sighash_type == SighashType::All);
            input.witness = Witness::from_slice(&[vec![0; length]]);
        }
    }
    let weight = finished.weight().to_wu();
    let versioned = transaction.version.0 >= 2;
    let inputs = transaction.input.iter().zip(spent).zip(0u32..).map(|((input, output), position)| {
        let signed = proposal.messages.iter().any(|message| message.input == position);
        let kind = if signed {
            InputKind::Session
        } else if input.witness.is_empty() && input.script_sig.is_empty() {
            InputKind::Unsigned
        } else if proposal.broadcast.is_failover() && witness::is_verifiable(output, &input.witness) {
            InputKind::Verified
        } else {
            InputKind::Unverified
        };
        InputSummary {
            coin: super::transaction::outpoint(input),
            value: output.value.to_sat(),
            script: output.script_pubkey.to_bytes(),
            address: address(&output.script_pubkey),
            own: own(&output.script_pubkey),
            kind,
            sequence: input.sequence.0,
            lock: if versioned { relative_lock(input.sequence) } else { Lock::None },
        }
    });
    let outputs = transaction.output.iter().map(|output| OutputSummary {
        value: output.value.to_sat(),
        script: output.script_pubkey.to_bytes(),
        address: address(&output.script_pubkey),
        own: own(&output.script_pubkey),
    });
    // A lock time counts only if an input says so.
    let locked = transaction.input.iter().any(|input| input.sequence != Sequence::MAX);
    TransactionSummary {
        txid: super::transaction::txid(transaction),
        version: transaction.version.0,
        weight,
        fee: fee.to_sat(),
        fee_rate: rate(fee.to_sat(), weight),
        lock_time: transaction.lock_time.to_consensus_u32(),
        lock: match transaction.lock_time {
            LockTime::ZERO => Lock::None,
            _ if !locked => Lock::None,
            LockTime::Blocks(height) => Lock::Height(height.to_consensus_u32()),
            LockTime::Seconds(time) => Lock::Time(time.to_consensus_u32()),
        },
        replaceable: transaction.input.iter().any(|input| input.sequence.is_rbf()),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
    }
}

/// Satoshis for 1,000 virtual bytes, each of which has a weight of four.
fn rate(fee: u64, weight: u64) -> u64 {
    let rate = u128::from(fee) * 4000 / u128::from(weight.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn relative_lock(sequence: Sequence) -> Lock {
    match sequence.to_relative_lock_time() {
        None | Some(relative::LockTime::ZERO) => Lock::None,
        Some(relative::LockTime::Blocks(blocks)) => Lock::Blocks(blocks.value()),
        Some(relative::LockTime::Time(time)) if time.value() == 0 => Lock::None,
        Some(relative::LockTime::Time(time)) => {
            Lock::Elapsed(Duration::from_secs(u64::from(time.value()) * 512))
        }
    }
}

fn transaction_warnings(
    proposal: &Proposal,
    transaction: &TransactionSummary,
    options: &SummaryOptions,
    warnings: &mut Vec<Warning>,
) {
    let fee = transaction.fee;
    let paid: u64 = transaction.outputs.iter().map(|output| output.value).sum();
    if u128::from(fee) * 100 > u128::from(paid) * u128::from(options.most_fee_percent) {
        warnings.push(Warning::HighFee { fee, paid });
    }
    if transaction.fee_rate > options.most_fee_rate.saturating_mul(1000) {
        warnings.push(Warning::HighFeeRate { fee_rate: transaction.fee_rate });
    }
    for (output, index) in transaction.outputs.iter().zip(0..) {
        let script = ScriptBuf::from_bytes(output.script.clone());
        if output.value < script.minimal_non_dust().to_sat() {
            warnings.push(Warning::Dust { output: index });
        }
    }
    if locked_beyond(proposal.expires_at, transaction.lock, options.tip) {
        warnings.push(Warning::LockBeyondExpiry);
    }
    for (input, index) in transaction.inputs.iter().zip(0..) {
        if input.kind == InputKind::Unverified {
            warnings.push(Warning::UnverifiedInput { input: index });
        }
    }
}

/// Whether a lock ends after the expiry: a height by the tip and ten minutes a block.
fn locked_beyond(expires_at: UnixMillis, lock: Lock, tip: Option<ChainTip>) -> bool {
    let expiry = expires_at.0 / 1000;
    match (lock, tip) {
        (Lock::Time(time), _) => u64::from(time) > expiry,
        (Lock::Height(height), Some(tip)) => {
            let blocks = u64::from(height.saturating_sub(tip.height));
            u64::from(tip.median_time) + blocks * BLOCK.as_secs() > expiry
        }
        _ => false,
    }
}

/// Warns of coins and payments that another session has too.
fn compare(
    proposal: &Proposal,
    transaction: &TransactionSummary,
    others: &[(Proposal, bool)],
    options: &SummaryOptions,
    warnings: &mut Vec<Warning>,
) {
    for (other, open) in others.iter().filter(|(other, _)| other.id() != proposal.id()) {
        let session = other.id();
        let Ok(funded) = Funded::of(other) else { continue };
        let spends: HashSet<_> = funded.transaction.input.iter().map(super::transaction::outpoint).collect();
        let shared = || transaction.inputs.iter().zip(0..).filter(|(input, _)| spends.contains(&input.coin));
        if proposal.replaces == Some(session) && shared().next().is_some() {
            let replaced = transaction_summary(other, &funded, options, &[]).fee_rate;
            if transaction.fee_rate <= replaced {
                warnings.push(Warning::LowerFeeRate { fee_rate: transaction.fee_rate, replaced, session });
            }
        }
        if *open {
            warnings.extend(shared().map(|(_, index)| Warning::CoinInOtherSession { input: index, session }));
        }
        // Of two that spend the same coin only one can be, so nothing is paid twice.
        if shared().next().is_some() {
            continue;
        }
        for (output, index) in transaction.outputs.iter().zip(0..).filter(|(output, _)| !output.own) {
            let same = |paid: &bitcoin::TxOut| {
                paid.value.to_sat() == output.value && *paid.script_pubkey.as_bytes() == *output.script
            };
            if funded.transaction.output.iter().any(same) {
                warnings.push(Warning::PaidByOtherSession { output: index, session });
            }
        }
    }
}

fn as_u32(index: usize) -> u32 {
    u32::try_from(index).expect("lists of a proposal are short")
}

/// A number of thousandths, as a decimal fraction.
struct Thousandths(u64);

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// The same, but satoshis as bitcoins.
struct Bitcoins(u64);

impl fmt::Display for Bitcoins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08} BTC", self.0 / 100_000_000, self.0 % 100_000_000)
    }
}

/// Seconds since 1970, as a date and a time of the day (UTC).
struct Utc(u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Days from the first of March of year 0, whose cycle of leap years has 146,097 days.
        let (days, seconds) = (self.0 / 86_400 + 719_468, self.0 % 86_400);
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let of_year = day - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("at once"),
            Self::Height(height) => write!(f, "in a block above height {height}"),
            Self::Time(time) => write!(f, "in a block after {}", Utc((*time).into())),
            Self::Blocks(blocks) => write!(f, "{blocks} blocks after the spent output"),
            Self::Elapsed(time) => write!(f, "{} s after the spent output", time.as_secs()),
        }
    }
}

/// The key that a message is signed with, and what makes it.
struct KeyOf<'a>(&'a MessageSummary);

impl fmt::Display for KeyOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MessageSummary { key_set, derivation, final_key, .. } = self.0;
        write!(f, "the key {} (key set {key_set}", to_hex(final_key))?;
        let path: Vec<_> = derivation.path.iter().map(u32::to_string).collect();
        if !path.is_empty() {
            write!(f, ", path {}", path.join("/"))?;
        }
        f.write_str(match derivation.taproot {
            Taproot::None => ")",
            Taproot::KeyPath => ", BIP-341 without scripts)",
            Taproot::MerkleRoot(_) => ", BIP-341 with scripts that are not shown)",
        })
    }
}

impl Summary {
    /// The summary as lines of text. What others wrote is escaped, cut, on lines of its own that begin with `>`, and
    /// last.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a text takes all");
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "session {}", self.session)?;
        let proposer = self.signers.get(self.proposer).map(ToString::to_string).unwrap_or_default();
        writeln!(out, "proposed by signer {} of {} ({proposer})", self.proposer, self.signers.len())?;
        writeln!(out, "expires {}", Utc(self.expires_at.0 / 1000))?;
        if let Some(replaced) = &self.replaces {
            writeln!(out, "replaces the transaction of session {replaced}")?;
        }
        for (index, key_set) in self.key_sets.iter().enumerate() {
            let keys = key_set.keys();
            let order = if key_set.order == KeyOrder::Sorted { "sorted" } else { "as listed" };
            if keys == self.signers {
                writeln!(out, "key set {index}: the signers' keys, {order}")?;
                continue;
            }
            writeln!(out, "key set {index}, {order}:")?;
            for (signer, key) in keys.iter().enumerate() {
                writeln!(out, "  {key} of signer {signer}")?;
            }
        }
        match &self.transaction {
            Some(transaction) => self.write_transaction(transaction, out)?,
            None => {
                for (index, message) in self.messages.iter().enumerate() {
                    let digest = to_hex(&message.digest);
                    writeln!(out, "message {index}: the 32 bytes {digest}, whatever they mean")?;
                    writeln!(out, "  signed with {}", KeyOf(message))?;
                }
            }
        }
        match self.broadcast {
            Broadcast::Failover(FailoverPolicy { broadcast_timeout, tiers }) => {
                let width = match tiers {
                    Tiers::Single => "one signer".to_owned(),
                    Tiers::Fixed(width) => format!("{width} signers"),
                    Tiers::Doubling => "1, 2, 4, 8, … signers".to_owned(),
                };
                writeln!(out, "broadcast by {width} at a time, the next after {broadcast_timeout:?}")?;
            }
            Broadcast::CoordinatorOnly => {
                writeln!(out, "broadcast by the coordinator alone: nobody takes over")?;
            }
            Broadcast::SignOnly => writeln!(out, "signed only: nobody is asked to broadcast anything")?,
        }
        writeln!(out, "order of the signers: {:?}", self.election_method)?;
        for warning in &self.warnings {
            writeln!(out, "WARNING: {warning}")?;
        }
        if !self.metadata.is_empty() {
            writeln!(
                out,
                "the proposer writes ({} bytes, nothing of which is checked):",
                self.metadata.len()
            )?;
            for line in foreign_lines(&self.metadata) {
                writeln!(out, "> {line}")?;
            }
        }
        Ok(())
    }

    fn write_transaction(&self, transaction: &TransactionSummary, out: &mut String) -> fmt::Result {
        writeln!(out, "transaction {}", transaction.txid)?;
        for (index, input) in transaction.inputs.iter().enumerate() {
            let whose = if input.own { ", your own" } else { "" };
            writeln!(out, "  input {index}: {}{whose}", Bitcoins(input.value))?;
            writeln!(out, "    coin {}:{}", input.coin.txid, input.coin.vout)?;
            writeln!(out, "    from {}", place(input.address.as_deref(), &input.script))?;
            let message =
                self.messages.iter().find(|message| message.input.map(|at| at as usize) == Some(index));
            match (input.kind, message) {
                (InputKind::Session, Some(message)) => {
                    let hash_type = message.sighash_type;
                    writeln!(out, "    signed by this session with {}", KeyOf(message))?;
                    writeln!(out, "    sighash {hash_type:?}")?;
                }
                (InputKind::Verified, _) => writeln!(out, "    signed by its owner, verified")?,
                (InputKind::Unverified, _) => writeln!(out, "    signed by its owner, NOT VERIFIED")?,
                (InputKind::Unsigned | InputKind::Session, _) => writeln!(out, "    not signed yet")?,
            }
            writeln!(out, "    sequence {:#010x}, can be final {}", input.sequence, input.lock)?;
        }
        for (index, output) in transaction.outputs.iter().enumerate() {
            let whose = if output.own { ", back to yourself" } else { "" };
            writeln!(out, "  output {index}: {}{whose}", Bitcoins(output.value))?;
            writeln!(out, "    to {}", place(output.address.as_deref(), &output.script))?;
        }
        let (fee, rate) = (transaction.fee, Thousandths(transaction.fee_rate));
        writeln!(out, "  fee {} ({fee} sat, {rate} sat/vB)", Bitcoins(fee))?;
        writeln!(out, "  weight {}, version {}", transaction.weight, transaction.version)?;
        writeln!(out, "  lock time {}, can be final {}", transaction.lock_time, transaction.lock)?;
        let replaceable = if transaction.replaceable { "can" } else { "cannot" };
        writeln!(out, "  it {replaceable} be replaced in the mempool (BIP-125)")
    }
}

/// An address, or a script of which only the beginning is shown.
fn place(address: Option<&str>, script: &[u8]) -> String {
    match address {
        Some(address) => address.to_owned(),
        None if script.len() <= 80 => format!("the script {}", to_hex(script)),
        None => format!("a script of {} bytes that begins with {}", script.len(), to_hex(&script[..80])),
    }
}

/// Text of somebody else as lines that show what is in it and can do nothing else: letters and digits of all languages, and
/// what ASCII has to print. Everything else (control characters, ANSI sequences, marks that change the direction or join
/// invisibly, bytes that are no text) becomes an escape. Cut after some length.
fn foreign_lines(bytes: &[u8]) -> Vec<String> {
    let (mut lines, mut line, mut width, mut shown) = (Vec::new(), String::new(), 0, 0);
    'all: for chunk in bytes.utf8_chunks() {
        let valid = chunk
            .valid()
            .chars()
            .map(|character| (escaped(character), character.len_utf8(), character == '\n'));
        let invalid = chunk.invalid().iter().map(|byte| (format!("\\x{byte:02x}"), 1, false));
        for (text, length, ends) in valid.chain(invalid) {
            if lines.len() == LINES {
                break 'all;
            }
            width += text.chars().count();
            line += &text;
            shown += length;
            if ends || width >= LINE {
                lines.push(std::mem::take(&mut line));
                width = 0;
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    if shown < bytes.len() {
        lines.push(format!("… cut after {shown} of {} bytes", bytes.len()));
    }
    lines
}

fn escaped(character: char) -> String {
    // Letters that nobody sees.
    let invisible = matches!(character, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    match character {
        _ if mutation::on(Mutation::TextUnescaped) => character.to_string(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        ' ' => " ".to_owned(),
        _ if character.is_ascii_graphic() || character.is_alphanumeric() && !invisible => {
            character.to_string()
        }
        _ => character.escape_unicode().to_string(),
    }
}
