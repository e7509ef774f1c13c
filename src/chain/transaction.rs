//! Transactions of sessions: BIP-341 signature hashes, the checks that every node makes, completion.
//!
//! Only the key path of Taproot (BIP-341) is signed. Everything here is a function of its arguments.

use std::collections::{HashMap, HashSet};

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, relative};

use super::witness;
use crate::error::ProposalError;
use crate::protocol::crypto::SessionKeys;
use crate::protocol::limits;
use crate::protocol::proposal::{Derivation, Message, Proposal, SighashType, SpentOutput, TransactionTerms};
pub use crate::protocol::transaction::{TransactionCodec, TransactionInfo};
use crate::types::{Locks, OutPoint, RelativeLock, Signature, SignedTransaction, Txid};

/// Bytes of a transaction without its witnesses; each counts four times towards a block's weight of 4 000 000.
const BASE_SIZE: usize = 1_000_000;

/// The [`TransactionCodec`] that understands Bitcoin transactions.
#[derive(Clone, Copy, Debug, Default)]
pub struct BitcoinTransactions;

impl TransactionCodec for BitcoinTransactions {
    fn check(&self, proposal: &Proposal, keys: &dyn SessionKeys) -> Result<TransactionInfo, ProposalError> {
        check(proposal, &|index| keys.output_key(index))
    }

    fn unverified(&self, proposal: &Proposal) -> Vec<u32> {
        Funded::of(proposal).map(|funded| funded.unverified(proposal)).unwrap_or_default()
    }

    fn locks(&self, proposal: &Proposal) -> Locks {
        Funded::of(proposal).map(|funded| funded.locks()).unwrap_or_default()
    }

    fn finalize(
        &self,
        proposal: &Proposal,
        signatures: &[Signature],
    ) -> Result<SignedTransaction, ProposalError> {
        finalize(proposal, signatures)
    }
}

/// A key that may sign inputs of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// The x-only final key: the output key of the outputs that it spends.
    pub output_key: [u8; 32],
    /// The index of its key set in the proposal.
    pub key_set: usize,
    /// Its derivation.
    pub derivation: Derivation,
}

/// The messages of a session over `unsigned`: the key-path signature hash (BIP-341) of each input that spends an
/// output of one of the signers' keys, in the order of the inputs.
///
/// `spent` are the spent outputs, one for each input. `keys` may be more than are needed; of two equal keys the first is
/// taken.
///
/// Errors: [`ProposalError::Transaction`] if the transaction is malformed or impossible, if an input of the signers
/// is signed already, or if it has none.
pub fn messages(
    unsigned: &[u8],
    spent: &[SpentOutput],
    keys: &[SigningKey],
    sighash_type: SighashType,
) -> Result<Vec<Message>, ProposalError> {
    let funded = Funded::decode(unsigned, spent)?;
    let mut hashes = funded.hashes();
    // Of equal keys the first one stays.
    let known: HashMap<&[u8; 32], &SigningKey> =
        keys.iter().rev().map(|key| (&key.output_key, key)).collect();
    let mut messages = Vec::new();
    for (position, output) in funded.spent.iter().enumerate() {
        let Some(key) = output_key(output).and_then(|key| known.get(&key)) else { continue };
        funded.require_unsigned(position)?;
        let digest = hashes.of(position, sighash_type);
        let input =
            u32::try_from(position).expect("a transaction of limited size has fewer than 2^32 inputs");
        let (key_set, derivation) = (key.key_set, key.derivation.clone());
        messages.push(Message { digest, key_set, derivation, input, sighash_type });
    }
    if messages.is_empty() {
        return Err(refused(
            "no input spends an output of the signers' keys; check key sets and derivations, and the spent outputs",
        ));
    }
    Ok(messages)
}

/// Check of a proposal's transaction, which every node makes before it asks for consent.
///
/// `output_key` gives the x-only final key that a message is signed with. Succeeds only if the
/// transaction is well-formed and possible (Bitcoin Core's `CheckTransaction`, and no more spent than there is), if
/// each message is the signature hash of its input under the key that the input's output pays to, and, with failover
/// enabled, if the signatures alone complete the transaction and nothing else can change its id. So there every other
/// input spends a native segwit output, and has a witness: one that is valid by consensus and by relay policy, if it is
/// of a kind that is verified here (P2WPKH, and the key path of P2TR). Others are
/// [unverified](TransactionCodec::unverified).
///
/// That messages name each input once, ascending, is a rule of [`Proposal`] itself. Without failover other inputs may
/// be anything; if one of them is not segwit and not final, the id will change.
///
/// Errors: [`ProposalError::Transaction`], [`ProposalError::Index`] for an input that does not exist,
/// [`ProposalError::FailoverNeedsFixedTransaction`].
pub fn check(
    proposal: &Proposal,
    output_key: &dyn Fn(usize) -> [u8; 32],
) -> Result<TransactionInfo, ProposalError> {
    let funded = Funded::of(proposal)?;
    let mut hashes = funded.hashes();
    let mut signed = HashSet::with_capacity(proposal.messages.len());
    for (index, message) in proposal.messages.iter().enumerate() {
        let position = message.input as usize;
        let output = funded
            .spent
            .get(position)
            .ok_or(ProposalError::Index { what: "input", index: position as u64 })?;
        if !pays_to(output, &output_key(index)) {
            return Err(refused(format!(
                "input {position} does not spend an output of the key of message {index}; check its derivation and its \
                 spent output"
            )));
        }
        funded.require_unsigned(position)?;
        if hashes.of(position, message.sighash_type) != message.digest {
            return Err(refused(format!(
                "message {index} is not the signature hash of input {position}; make the messages of this very \
                 transaction and its spent outputs"
            )));
        }
        signed.insert(position);
    }
    if proposal.broadcast.is_failover() {
        let others: Vec<_> = (0..funded.spent.len()).filter(|position| !signed.contains(position)).collect();
        if others.len() > limits::OTHER_INPUTS {
            let (actual, most) = (others.len() as u64, limits::OTHER_INPUTS as u64);
            return Err(ProposalError::Limit {
                what: "inputs of others, with failover,",
                actual,
                least: 0,
                most,
            });
        }
        others.iter().try_for_each(|position| funded.require_final(*position))?;
        others.iter().try_for_each(|position| funded.require_valid(*position, &mut hashes))?;
    }
    let spends = funded.transaction.input.iter().map(outpoint).collect();
    Ok(TransactionInfo { txid: txid(&funded.transaction), spends })
}

/// Completion of a proposal's transaction with verified signatures, one for each message (64 bytes for
/// `SIGHASH_DEFAULT`, 65 for `SIGHASH_ALL`).
///
/// Errors: [`ProposalError::Limit`] for another number of signatures. [`ProposalError::Transaction`] if other inputs
/// are not complete (only without failover): then insert the signatures yourself.
pub fn finalize(proposal: &Proposal, signatures: &[Signature]) -> Result<SignedTransaction, ProposalError> {
    let mut transaction = Funded::of(proposal)?.transaction;
    if signatures.len() != proposal.messages.len() {
        let (actual, wanted) = (signatures.len() as u64, proposal.messages.len() as u64);
        return Err(ProposalError::Limit { what: "signatures", actual, least: wanted, most: wanted });
    }
    for (message, signature) in proposal.messages.iter().zip(signatures) {
        let index = message.input.into();
        let input = transaction
            .input
            .get_mut(message.input as usize)
            .ok_or(ProposalError::Index { what: "input", index })?;
        let mut element = signature.0.to_vec();
        if message.sighash_type == SighashType::All {
            element.push(TapSighashType::All as u8);
        }
        input.witness = Witness::from_slice(&[element]);
    }
    let empty = |input: &TxIn| input.witness.is_empty() && input.script_sig.is_empty();
    if let Some(position) = transaction.input.iter().position(empty) {
        return Err(refused(format!(
            "input {position} has no signature yet; complete it, and put the session's signatures in with it"
        )));
    }
    Ok(SignedTransaction { txid: txid(&transaction), bytes: encode::serialize(&transaction) })
}

/// A possible transaction with the outputs that it spends, one for each input.
pub(super) struct Funded {
    pub transaction: Transaction,
    pub spent: Vec<TxOut>,
    pub fee: Amount,
}

impl Funded {
    pub fn of(proposal: &Proposal) -> Result<Self, ProposalError> {
        let TransactionTerms { unsigned, spent } = proposal
            .transaction
            .as_ref()
            .ok_or_else(|| refused("the proposal has none; make the proposal of an unsigned transaction"))?;
        Self::decode(unsigned, spent)
    }

    fn decode(unsigned: &[u8], spent: &[SpentOutput]) -> Result<Self, ProposalError> {
        let transaction: Transaction = encode::deserialize(unsigned).map_err(|error| {
            refused(format!("{error}; pass one transaction in consensus encoding, with nothing after it"))
        })?;
        let inputs = &transaction.input;
        if inputs.is_empty() || transaction.output.is_empty() {
            return Err(refused("it has no inputs or no outputs; give it at least one of each"));
        }
        if transaction.base_size() > BASE_SIZE {
            return Err(refused("it is larger than a block; split it"));
        }
        if inputs.len() != spent.len() {
            return Err(refused(format!(
                "it has {} inputs, and {} spent outputs are given; give one for each input",
                inputs.len(),
                spent.len()
            )));
        }
        let mut seen = HashSet::with_capacity(inputs.len());
        for (position, input) in inputs.iter().enumerate() {
            if input.previous_output.is_null() {
                return Err(refused(format!(
                    "input {position} spends nothing, as a coinbase does; remove it"
                )));
            }
            if !seen.insert(input.previous_output) {
                return Err(refused(format!(
                    "input {position} spends the same output as an earlier one; remove it"
                )));
            }
        }
        let available = sum(spent.iter().map(|output| output.value)).ok_or_else(|| {
            refused("it spends more than 21 million BTC; check the values of the spent outputs")
        })?;
        let paid = sum(transaction.output.iter().map(|output| output.value.to_sat()))
            .ok_or_else(|| refused("it pays more than 21 million BTC; check the values of its outputs"))?;
        let fee = available.checked_sub(paid).ok_or_else(|| {
            refused(format!("it pays {paid} and spends {available} only; lower its outputs or add inputs"))
        })?;
        let spent = spent
            .iter()
            .map(|output| TxOut {
                value: Amount::from_sat(output.value),
                script_pubkey: ScriptBuf::from_bytes(output.script.clone()),
            })
            .collect();
        Ok(Self { transaction, spent, fee })
    }

    fn hashes(&self) -> SignatureHashes<'_> {
        SignatureHashes { cache: SighashCache::new(&self.transaction), spent: &self.spent }
    }

    /// An input that the session signs.
    fn require_unsigned(&self, position: usize) -> Result<(), ProposalError> {
        let input = &self.transaction.input[position];
        if input.witness.is_empty() && input.script_sig.is_empty() {
            return Ok(());
        }
        Err(refused(format!(
            "input {position}, which the session signs, is signed already; remove its witness"
        )))
    }

    /// An input that the session does not sign: complete, and unable to change the transaction's id.
    fn require_final(&self, position: usize) -> Result<(), ProposalError> {
        let (input, output) = (&self.transaction.input[position], &self.spent[position]);
        let reason = if !input.script_sig.is_empty() {
            "has a script signature, which anybody can alter and the id with it"
        } else if !output.script_pubkey.is_witness_program() {
            "does not spend a native segwit output"
        } else if input.witness.is_empty() {
            "is not signed"
        } else {
            return Ok(());
        };
        Err(not_fixed(position, reason))
    }

    /// A final input's witness, if it is of a kind that is verified.
    fn require_valid(&self, position: usize, hashes: &mut SignatureHashes<'_>) -> Result<(), ProposalError> {
        let witness = &self.transaction.input[position].witness;
        if !witness::is_verifiable(&self.spent[position], witness) {
            return Ok(());
        }
        witness::verify(&mut hashes.cache, position, &self.spent, witness)
            .map_err(|reason| not_fixed(position, reason))
    }

    fn locks(&self) -> Locks {
        let Transaction { version, lock_time, input: inputs, .. } = &self.transaction;
        // A lock time counts only if an input says so, and relative ones only from version 2 on.
        let lock_time =
            Some(*lock_time).filter(|_| inputs.iter().any(|input| input.sequence != Sequence::MAX));
        let relative = |input: &TxIn| match input.sequence.to_relative_lock_time() {
            Some(relative::LockTime::Blocks(blocks)) if blocks.value() > 0 => {
                Some((outpoint(input), RelativeLock::Blocks(blocks.value())))
            }
            Some(relative::LockTime::Time(time)) if time.value() > 0 => {
                Some((outpoint(input), RelativeLock::Time(time.value())))
            }
            _ => None,
        };
        let relative = |input: &TxIn| relative(input).filter(|_| version.0 >= 2);
        Locks {
            height: match lock_time {
                Some(LockTime::Blocks(height)) => {
                    Some(height.to_consensus_u32()).filter(|height| *height > 0)
                }
                _ => None,
            },
            time: match lock_time {
                Some(LockTime::Seconds(time)) => Some(time.to_consensus_u32()),
                _ => None,
            },
            coins: inputs.iter().filter_map(relative).collect(),
        }
    }

    /// The inputs that the session does not sign and whose witnesses are of no kind that is verified.
    fn unverified(&self, proposal: &Proposal) -> Vec<u32> {
        let signed: HashSet<_> = proposal.messages.iter().map(|message| message.input).collect();
        let all = (0..).zip(self.transaction.input.iter().zip(&self.spent));
        all.filter(|(position, _)| !signed.contains(position))
            .filter(|(_, (input, output))| !witness::is_verifiable(output, &input.witness))
            .map(|(position, _)| position)
            .collect()
    }
}

/// Signature hashes of one transaction; what they share is computed once.
struct SignatureHashes<'a> {
    cache: SighashCache<&'a Transaction>,
    spent: &'a [TxOut],
}

impl SignatureHashes<'_> {
    /// The key-path signature hash of an input that is there.
    fn of(&mut self, position: usize, sighash_type: SighashType) -> [u8; 32] {
        let sighash_type = match sighash_type {
            SighashType::Default => TapSighashType::Default,
            SighashType::All => TapSighashType::All,
        };
        self.cache
            .taproot_key_spend_signature_hash(position, &Prevouts::All(self.spent), sighash_type)
            .expect("the input is there, and each has its spent output")
            .to_byte_array()
    }
}

fn not_fixed(position: usize, reason: &str) -> ProposalError {
    ProposalError::FailoverNeedsFixedTransaction(format!("input {position} {reason}"))
}

fn refused(reason: impl Into<String>) -> ProposalError {
    ProposalError::Transaction(reason.into())
}

/// Whether an output is BIP-341's `OP_1 <32 bytes>` with this very key. Compared as bytes, so that the crate
/// `bitcoin`'s own secp256k1 is not needed.
fn pays_to(output: &TxOut, key: &[u8; 32]) -> bool {
    output_key(output) == Some(*key)
}

/// The output key of a Taproot output.
fn output_key(output: &TxOut) -> Option<[u8; 32]> {
    output.script_pubkey.as_bytes().strip_prefix(&[0x51, 0x20])?.try_into().ok()
}

/// `None` if a value or the sum of them is more than there can ever be.
fn sum(values: impl Iterator<Item = u64>) -> Option<Amount> {
    let mut total = Amount::ZERO;
    for value in values {
        total = total.checked_add(Amount::from_sat(value)).filter(|total| *total <= Amount::MAX_MONEY)?;
    }
    Some(total)
}

pub(super) fn txid(transaction: &Transaction) -> Txid {
    Txid(transaction.compute_txid().to_byte_array())
}

pub(super) fn outpoint(input: &TxIn) -> OutPoint {
    let bitcoin::OutPoint { txid, vout } = input.previous_output;
    OutPoint { txid: Txid(txid.to_byte_array()), vout }
}
