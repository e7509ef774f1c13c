//! Transactions: BIP-341 key-path signature hashes, checks, and completion. Pure functions.
//!
//! The crate `bitcoin` brings a second, older libsecp256k1 along. Nothing here needs a key of it: scripts are
//! compared and made as bytes.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{Amount, ScriptBuf, Transaction, TxOut, Witness};

use crate::error::ProposalError;
use crate::protocol::proposal::{Message, Proposal, SighashType, SpentOutput};
use crate::protocol::scheme::SessionKeys;
pub use crate::protocol::transaction::{TransactionCodec, TransactionInfo};
use crate::types::{OutPoint, Signature, SignedTransaction, Txid};

/// Reads and completes transactions with the crate `bitcoin`.
#[derive(Clone, Copy, Debug, Default)]
pub struct BitcoinTransactions;

/// What a transaction does, for a person to consent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionSummary {
    /// Its id.
    pub txid: Txid,
    /// What it spends: outpoints with their values and scripts.
    pub inputs: Vec<(OutPoint, SpentOutput)>,
    /// What it pays.
    pub outputs: Vec<SpentOutput>,
    /// The fee in satoshis.
    pub fee: u64,
}

fn refuse(reason: impl Into<String>) -> ProposalError {
    ProposalError::Transaction(reason.into())
}

/// A transaction with its spent outputs, checked for sense.
struct Parsed {
    transaction: Transaction,
    spent: Vec<TxOut>,
    fee: u64,
}

impl Parsed {
    fn new(unsigned: &[u8], spent: &[SpentOutput]) -> Result<Self, ProposalError> {
        let transaction: Transaction = deserialize(unsigned).map_err(|error| {
            refuse(format!("it is no consensus encoding ({error}); pass the raw transaction"))
        })?;
        let inputs = transaction.input.len();
        if inputs == 0 || transaction.output.is_empty() {
            return Err(refuse("it needs at least one input and one output"));
        }
        if spent.len() != inputs {
            return Err(refuse(format!(
                "{inputs} inputs need as many spent outputs, {} are given",
                spent.len()
            )));
        }
        let mut outpoints: Vec<_> = transaction.input.iter().map(|input| input.previous_output).collect();
        outpoints.sort();
        outpoints.dedup();
        if outpoints.len() != inputs || outpoints.iter().any(|outpoint| outpoint.is_null()) {
            return Err(refuse("it spends an output twice, or none"));
        }
        let paid = sum(transaction.output.iter().map(|output| output.value.to_sat()));
        let owned = sum(spent.iter().map(|output| output.value));
        let fee = match (owned, paid) {
            (Some(owned), Some(paid)) if owned >= paid => owned - paid,
            (Some(_), Some(_)) => return Err(refuse("it pays more than it spends")),
            _ => return Err(refuse("its values are more than all bitcoins")),
        };
        let spent = spent
            .iter()
            .map(|output| TxOut {
                value: Amount::from_sat(output.value),
                script_pubkey: ScriptBuf::from_bytes(output.script.clone()),
            })
            .collect();
        Ok(Self { transaction, spent, fee })
    }

    fn txid(&self) -> Txid {
        Txid(self.transaction.compute_txid().to_byte_array())
    }

    fn digest(&self, input: usize, sighash_type: SighashType) -> Result<[u8; 32], ProposalError> {
        let chosen = match sighash_type {
            SighashType::Default => TapSighashType::Default,
            SighashType::All => TapSighashType::All,
        };
        SighashCache::new(&self.transaction)
            .taproot_key_spend_signature_hash(input, &Prevouts::All(&self.spent), chosen)
            .map(|hash| hash.to_byte_array())
            .map_err(|error| refuse(format!("input {input} has no signature hash ({error})")))
    }

    /// The x-only key that an input pays to, if it is a Taproot output.
    fn output_key(&self, input: usize) -> Option<[u8; 32]> {
        let script = &self.spent[input].script_pubkey;
        script.is_p2tr().then(|| script.as_bytes()[2..].try_into().ok())?
    }

    fn is_empty(&self, input: usize) -> bool {
        let input = &self.transaction.input[input];
        input.script_sig.is_empty() && input.witness.is_empty()
    }

    /// Whether the signatures of the session leave this input of others as it is, and its txid too.
    fn is_final_segwit(&self, input: usize) -> bool {
        let (own, spent) = (&self.transaction.input[input], &self.spent[input].script_pubkey);
        own.script_sig.is_empty() && !own.witness.is_empty() && spent.is_witness_program()
    }
}

/// The sum of values in satoshis. `None`: it, or one of them, is more than all bitcoins.
fn sum(mut values: impl Iterator<Item = u64>) -> Option<u64> {
    let most = Amount::MAX_MONEY.to_sat();
    values.try_fold(0u64, |sum, value| sum.checked_add(value).filter(|sum| *sum <= most))
}

/// The messages for all inputs that pay to one of these x-only keys, in the order of the inputs. Each key comes with
/// the index of the tweak that makes it ([`Message::tweak`]).
///
/// Errors: the transaction makes no sense, or no input pays to any of the keys.
pub fn messages(
    unsigned: &[u8],
    spent: &[SpentOutput],
    output_keys: &[([u8; 32], Option<usize>)],
    sighash_type: SighashType,
) -> Result<Vec<Message>, ProposalError> {
    let parsed = Parsed::new(unsigned, spent)?;
    let mut messages = Vec::new();
    for input in 0..parsed.transaction.input.len() {
        let Some(own) = parsed.output_key(input) else { continue };
        let Some((_, tweak)) = output_keys.iter().find(|(key, _)| *key == own) else { continue };
        let digest = parsed.digest(input, sighash_type)?;
        messages.push(Message { digest, tweak: *tweak, input: input as u32, sighash_type });
    }
    if messages.is_empty() {
        return Err(refuse("none of its inputs pays to the signers' key; check key order and tweaks"));
    }
    Ok(messages)
}

/// What every node does with a proposal of a transaction: computes the signature hashes itself and refuses others,
/// and, with failover, refuses a transaction that the signatures alone do not complete.
pub fn check(
    proposal: &Proposal,
    output_key: &dyn Fn(usize) -> [u8; 32],
) -> Result<TransactionInfo, ProposalError> {
    let terms = proposal.transaction.as_ref().ok_or_else(|| refuse("the proposal has none"))?;
    let parsed = Parsed::new(&terms.unsigned, &terms.spent)?;
    let inputs = parsed.transaction.input.len();
    let mut own = vec![false; inputs];
    for (index, message) in proposal.messages.iter().enumerate() {
        let input = message.input as usize;
        if input >= inputs {
            return Err(ProposalError::Index { what: "input", index: message.input.into() });
        }
        own[input] = true;
        if parsed.output_key(input) != Some(output_key(index)) {
            return Err(refuse(format!("input {input} does not pay to the key that is to sign it")));
        }
        if !parsed.is_empty(input) {
            return Err(refuse(format!(
                "input {input} is to be signed and has a signature already; remove it"
            )));
        }
        if parsed.digest(input, message.sighash_type)? != message.digest {
            return Err(refuse(format!("the message for input {input} is not its signature hash")));
        }
    }
    let unfinished = (0..inputs).find(|input| !own[*input] && !parsed.is_final_segwit(*input));
    if let Some(input) = unfinished.filter(|_| proposal.failover.enabled) {
        return Err(ProposalError::FailoverNeedsFixedTransaction(format!(
            "input {input} belongs to others and is not a final segwit input"
        )));
    }
    let spends = parsed.transaction.input.iter().map(|input| OutPoint {
        txid: Txid(input.previous_output.txid.to_byte_array()),
        vout: input.previous_output.vout,
    });
    Ok(TransactionInfo { txid: parsed.txid(), spends: spends.collect() })
}

/// Puts verified signatures in: 64 bytes for `SIGHASH_DEFAULT`, one more for `SIGHASH_ALL` (BIP-341).
pub fn finalize(proposal: &Proposal, signatures: &[Signature]) -> Result<SignedTransaction, ProposalError> {
    let terms = proposal.transaction.as_ref().ok_or_else(|| refuse("the proposal has none"))?;
    let mut parsed = Parsed::new(&terms.unsigned, &terms.spent)?;
    if signatures.len() != proposal.messages.len() {
        return Err(refuse("one signature for each message is needed"));
    }
    for (message, signature) in proposal.messages.iter().zip(signatures) {
        let mut bytes = signature.0.to_vec();
        if message.sighash_type == SighashType::All {
            bytes.push(TapSighashType::All as u8);
        }
        let input = parsed.transaction.input.get_mut(message.input as usize);
        let input = input.ok_or(ProposalError::Index { what: "input", index: message.input.into() })?;
        input.witness = Witness::from_slice(&[bytes]);
    }
    Ok(SignedTransaction { txid: parsed.txid(), bytes: serialize(&parsed.transaction) })
}

/// What a proposal's transaction does, to be shown before anybody consents. `None`: it is over raw messages.
pub fn describe(proposal: &Proposal) -> Result<Option<TransactionSummary>, ProposalError> {
    let Some(terms) = proposal.transaction.as_ref() else { return Ok(None) };
    let parsed = Parsed::new(&terms.unsigned, &terms.spent)?;
    let outpoint = |input: &bitcoin::TxIn| OutPoint {
        txid: Txid(input.previous_output.txid.to_byte_array()),
        vout: input.previous_output.vout,
    };
    let inputs = parsed.transaction.input.iter().map(outpoint).zip(terms.spent.iter().cloned()).collect();
    let outputs = parsed
        .transaction
        .output
        .iter()
        .map(|output| SpentOutput { value: output.value.to_sat(), script: output.script_pubkey.to_bytes() })
        .collect();
    Ok(Some(TransactionSummary { txid: parsed.txid(), inputs, outputs, fee: parsed.fee }))
}

impl TransactionCodec for BitcoinTransactions {
    fn check(&self, proposal: &Proposal, keys: &dyn SessionKeys) -> Result<TransactionInfo, ProposalError> {
        check(proposal, &|index| keys.output_key(index))
    }

    fn finalize(
        &self,
        proposal: &Proposal,
        signatures: &[Signature],
    ) -> Result<SignedTransaction, ProposalError> {
        finalize(proposal, signatures)
    }
}
