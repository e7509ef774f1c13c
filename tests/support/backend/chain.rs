//! A small chain: a mempool, blocks and outputs to spend, with Bitcoin Core's own script verification.
//!
//! What it leaves out: proof of work, fees and other policy, replacement, coinbase maturity, relative lock times.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::absolute::{Height, LockTime, Time};
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, transaction};
use libmusig::types::{OutPoint, Txid};

/// The height that a chain starts with; funded outputs are in the block there.
pub const FIRST_HEIGHT: u32 = 100;

/// Why a transaction was not taken, with the code and words of Bitcoin Core's `sendrawtransaction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// No transaction.
    Undecodable,
    /// It breaks a rule that needs no knowledge of the chain.
    Malformed(&'static str),
    /// An input does not exist, or is spent by a block.
    MissingOrSpent(OutPoint),
    /// An input is spent by another transaction in the mempool.
    Conflict(Txid),
    /// It pays more than it spends.
    BelowOutputs,
    /// Its lock time is not reached.
    NotFinal,
    /// Script verification of an input failed.
    Script {
        /// Which input.
        input: usize,
    },
    /// It is in a block.
    AlreadyInChain,
    /// The same transaction with another witness is in the mempool.
    SameTransaction,
}

impl RejectReason {
    /// The code of Bitcoin Core's RPC error.
    pub fn code(&self) -> i32 {
        match self {
            Self::Undecodable => -22,
            Self::MissingOrSpent(_) => -25,
            Self::AlreadyInChain => -27,
            _ => -26,
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecodable => f.write_str("TX decode failed. Make sure the tx has at least one input."),
            Self::Malformed(rule) => f.write_str(rule),
            Self::MissingOrSpent(_) => f.write_str("bad-txns-inputs-missingorspent"),
            Self::Conflict(_) => f.write_str("txn-mempool-conflict"),
            Self::BelowOutputs => f.write_str("bad-txns-in-belowout"),
            Self::NotFinal => f.write_str("non-final"),
            Self::Script { input } => {
                write!(f, "mandatory-script-verify-flag-failed (script verification of input {input} failed)")
            }
            Self::AlreadyInChain => f.write_str("Transaction outputs already in utxo set"),
            Self::SameTransaction => f.write_str("txn-same-nonwitness-data-in-mempool"),
        }
    }
}

/// Where a known transaction is: in a block of this height, or (`None`) in the mempool.
pub type Place = Option<u32>;

/// Who spends an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// The spending transaction.
    pub txid: Txid,
    /// Its input.
    pub input: usize,
    /// Where it is.
    pub place: Place,
}

/// How often a transaction was submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Submissions {
    /// Altogether.
    pub attempts: u32,
    /// Those that brought it into the mempool. More than one only after an eviction.
    pub accepted: u32,
}

/// A chain that many threads can use.
#[derive(Debug, Default)]
pub struct Chain(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    transactions: HashMap<Txid, Known>,
    /// In the order in which they came, so parents come before children.
    mempool: Vec<Txid>,
    /// The block at `FIRST_HEIGHT + 1` and those above it.
    blocks: Vec<Vec<Txid>>,
    spent_by: HashMap<OutPoint, (Txid, usize)>,
    submissions: BTreeMap<Txid, Submissions>,
    undecodable: u32,
    funded: u32,
}

#[derive(Debug)]
struct Known {
    transaction: Transaction,
    place: Place,
}

impl Chain {
    /// A chain without outputs.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no thread panics while it holds the chain")
    }

    /// Makes an output that can be spent at once, by a pretended coinbase transaction in the first block.
    pub fn fund(&self, script: &[u8], value: u64) -> OutPoint {
        let mut state = self.state();
        state.funded += 1;
        let coinbase = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: bitcoin::OutPoint::null(),
                script_sig: ScriptBuf::from_bytes([&[4], state.funded.to_le_bytes().as_slice()].concat()),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut {
                value: Amount::from_sat(value),
                script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
            }],
        };
        let txid = txid_of(&coinbase);
        state.transactions.insert(txid, Known { transaction: coinbase, place: Some(FIRST_HEIGHT) });
        OutPoint { txid, vout: 0 }
    }

    /// Takes a transaction into the mempool, or says why not. One that is there already is accepted again.
    pub fn submit(&self, raw: &[u8]) -> Result<Txid, RejectReason> {
        let mut state = self.state();
        let Ok(transaction) = encode::deserialize::<Transaction>(raw) else {
            state.undecodable += 1;
            return Err(RejectReason::Undecodable);
        };
        let txid = txid_of(&transaction);
        state.submissions.entry(txid).or_default().attempts += 1;
        if let Some(known) = state.transactions.get(&txid) {
            return match known.place {
                Some(_) => Err(RejectReason::AlreadyInChain),
                None if known.transaction != transaction => Err(RejectReason::SameTransaction),
                None => Ok(txid),
            };
        }
        state.verify(&transaction, raw)?;
        state.submissions.entry(txid).or_default().accepted += 1;
        state.enter(txid, transaction);
        Ok(txid)
    }

    /// Puts the whole mempool into a block. Returns its height.
    pub fn mine(&self) -> u32 {
        let mut state = self.state();
        let height = state.tip() + 1;
        let block = std::mem::take(&mut state.mempool);
        for txid in &block {
            state.transactions.get_mut(txid).expect("the mempool lists known ones").place = Some(height);
        }
        state.blocks.push(block);
        height
    }

    /// The height of the last block.
    pub fn tip(&self) -> u32 {
        self.state().tip()
    }

    /// Where a transaction is; `None`: it is not known.
    pub fn status(&self, txid: &Txid) -> Option<Place> {
        self.state().transactions.get(txid).map(|known| known.place)
    }

    /// The bytes of a known transaction.
    pub fn raw(&self, txid: &Txid) -> Option<Vec<u8>> {
        self.state().transactions.get(txid).map(|known| encode::serialize(&known.transaction))
    }

    /// What spends an output, in the mempool or in a block.
    pub fn spend(&self, outpoint: &OutPoint) -> Option<Spend> {
        let state = self.state();
        let (txid, input) = *state.spent_by.get(outpoint)?;
        Some(Spend { txid, input, place: state.transactions[&txid].place })
    }

    /// How many transactions wait for a block.
    pub fn mempool_size(&self) -> usize {
        self.state().mempool.len()
    }

    /// Drops a transaction, and what spends its outputs, from the mempool. `false`: it is not there.
    pub fn evict(&self, txid: &Txid) -> bool {
        let mut state = self.state();
        if !state.mempool.contains(txid) {
            return false;
        }
        let mut evicted = HashSet::new();
        let State { mempool, transactions, spent_by, .. } = &mut *state;
        mempool.retain(|candidate| {
            let inputs = &transactions[candidate].transaction.input;
            let goes =
                candidate == txid || inputs.iter().any(|input| evicted.contains(&outpoint_of(input).txid));
            if goes {
                evicted.insert(*candidate);
                for input in inputs {
                    spent_by.remove(&outpoint_of(input));
                }
            }
            !goes
        });
        transactions.retain(|candidate, _| !evicted.contains(candidate));
        true
    }

    /// Takes back the last `depth` blocks, at most all; their transactions wait in the mempool again. The tip is lower
    /// until new blocks are mined.
    pub fn reorg(&self, depth: usize) -> Vec<Txid> {
        let mut state = self.state();
        let keep = state.blocks.len().saturating_sub(depth);
        let returned = state.blocks.split_off(keep).concat();
        for txid in &returned {
            state.transactions.get_mut(txid).expect("blocks list known ones").place = None;
        }
        let waiting = std::mem::take(&mut state.mempool);
        state.mempool = [returned.clone(), waiting].concat();
        returned
    }

    /// How often a transaction was submitted.
    pub fn submissions(&self, txid: &Txid) -> Submissions {
        self.state().submissions.get(txid).copied().unwrap_or_default()
    }

    /// How often each transaction was submitted, and how often something that is none.
    pub fn all_submissions(&self) -> (BTreeMap<Txid, Submissions>, u32) {
        let state = self.state();
        (state.submissions.clone(), state.undecodable)
    }
}

impl State {
    fn tip(&self) -> u32 {
        FIRST_HEIGHT + u32::try_from(self.blocks.len()).expect("nobody mines four billion blocks")
    }

    fn enter(&mut self, txid: Txid, transaction: Transaction) {
        for (position, input) in transaction.input.iter().enumerate() {
            self.spent_by.insert(outpoint_of(input), (txid, position));
        }
        self.mempool.push(txid);
        self.transactions.insert(txid, Known { transaction, place: None });
    }

    fn verify(&self, transaction: &Transaction, raw: &[u8]) -> Result<(), RejectReason> {
        check_alone(transaction)?;
        // The crate's comparison is with the last block, Bitcoin Core's with the next one: the same.
        let height = Height::from_consensus(self.tip()).map_err(|_| RejectReason::NotFinal)?;
        if !transaction.is_absolute_timelock_satisfied(height, now()) {
            return Err(RejectReason::NotFinal);
        }
        let mut spent = Vec::with_capacity(transaction.input.len());
        for input in &transaction.input {
            let outpoint = outpoint_of(input);
            let known = self.transactions.get(&outpoint.txid);
            let output = known.and_then(|known| known.transaction.output.get(outpoint.vout as usize));
            spent.push(output.ok_or(RejectReason::MissingOrSpent(outpoint))?);
            if let Some((spender, _)) = self.spent_by.get(&outpoint) {
                return Err(match self.transactions[spender].place {
                    Some(_) => RejectReason::MissingOrSpent(outpoint),
                    None => RejectReason::Conflict(*spender),
                });
            }
        }
        let available =
            sum(spent.iter().copied()).ok_or(RejectReason::Malformed("bad-txns-inputvalues-outofrange"))?;
        if sum(&transaction.output) > Some(available) {
            return Err(RejectReason::BelowOutputs);
        }
        verify_scripts(&spent, raw).map_err(|input| RejectReason::Script { input })
    }
}

/// Bitcoin Core's verification of all inputs, with every soft fork up to Taproot. Fails with the first bad input.
pub fn verify_scripts(spent: &[&TxOut], raw: &[u8]) -> Result<(), usize> {
    let utxos: Vec<_> = spent
        .iter()
        .map(|output| bitcoinconsensus::Utxo {
            script_pubkey: output.script_pubkey.as_bytes().as_ptr(),
            script_pubkey_len: output.script_pubkey.len() as u32,
            value: output.value.to_sat() as i64,
        })
        .collect();
    let flags = bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT | bitcoinconsensus::VERIFY_TAPROOT;
    for (input, output) in spent.iter().enumerate() {
        let (script, value) = (output.script_pubkey.as_bytes(), output.value.to_sat());
        bitcoinconsensus::verify_with_flags(script, value, raw, Some(&utxos), input, flags)
            .map_err(|_| input)?;
    }
    Ok(())
}

/// Bitcoin Core's `CheckTransaction`.
fn check_alone(transaction: &Transaction) -> Result<(), RejectReason> {
    let mut seen = HashSet::with_capacity(transaction.input.len());
    let rule = if transaction.input.is_empty() {
        "bad-txns-vin-empty"
    } else if transaction.output.is_empty() {
        "bad-txns-vout-empty"
    } else if transaction.base_size() > 1_000_000 {
        "bad-txns-oversize"
    } else if sum(&transaction.output).is_none() {
        "bad-txns-txouttotal-toolarge"
    } else if !transaction.input.iter().all(|input| seen.insert(input.previous_output)) {
        "bad-txns-inputs-duplicate"
    } else if transaction.input.iter().any(|input| input.previous_output.is_null()) {
        "bad-txns-prevout-null"
    } else {
        return Ok(());
    };
    Err(RejectReason::Malformed(rule))
}

fn sum<'a>(outputs: impl IntoIterator<Item = &'a TxOut>) -> Option<Amount> {
    outputs.into_iter().try_fold(Amount::ZERO, |total, output| {
        total.checked_add(output.value).filter(|total| *total <= Amount::MAX_MONEY)
    })
}

fn now() -> Time {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    u32::try_from(seconds).ok().and_then(|seconds| Time::from_consensus(seconds).ok()).unwrap_or(Time::MIN)
}

fn txid_of(transaction: &Transaction) -> Txid {
    Txid(transaction.compute_txid().to_byte_array())
}

fn outpoint_of(input: &TxIn) -> OutPoint {
    OutPoint { txid: Txid(input.previous_output.txid.to_byte_array()), vout: input.previous_output.vout }
}
