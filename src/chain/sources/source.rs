//! What every backend offers, and what is the same for all of them.

use std::time::Duration;

use bitcoin::Transaction;
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;

use super::options::{Deadline, Failure};
use super::outcome::{BackendAnswer, BroadcastAnswer, RejectionKind, classify_broadcast_answer, shown};
use crate::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, ChainTip, CoinStatus, SignedTransaction,
    SubmitOutcome,
};
use crate::types::{OutPoint, Txid};

/// A fee rate is asked for with which a transaction is in a block within so many blocks: a day.
pub(super) const PATIENT: u16 = 144;
/// Above this estimate, in satoshis for each virtual byte, the chain is congested: twice what was long the least that nodes
/// pass on.
const CONGESTED: f64 = 2.0;

/// A backend: it submits, and it looks at the chain.
///
/// The chain counts as [congested](ChainObserver::congested) while the backend's own estimate is that a transaction which is
/// to be in a block within a day (144 blocks) has to pay more than 2 satoshis for each virtual byte: more waits than a day
/// has room for. Bitcoin Core (`estimatesmartfee`), Esplora (`/fee-estimates`) and Electrum (`blockchain.estimatefee`) are
/// asked for the same estimate. A backend without one (btcd, regtest) cannot tell.
///
/// Every call blocks for at most the time limit of the backend's [`SourceOptions`](super::SourceOptions). Its
/// [`coin`](ChainObserver::coin) and [`tip`](ChainObserver::tip) always answer.
pub trait Source: Broadcaster + ChainObserver {
    /// Submits, and says more about the answer than [`Broadcaster::submit`]. An ambiguous rejection was looked into
    /// already: if the transaction is in the chain or in the mempool, this is [`BroadcastAnswer::AlreadyKnown`]; if
    /// another one spends its coins, the words name it.
    fn broadcast(&self, transaction: &SignedTransaction) -> BroadcastAnswer;

    /// The kind of backend and its address, for people, without a password.
    fn name(&self) -> String;
}

/// What one kind of backend does by its own protocol. All of it becomes a [`Source`] here.
pub(super) trait Backend: Send + Sync {
    /// What the source is called.
    fn named(&self) -> String;

    /// How long one call may take.
    fn time_limit(&self) -> Duration;

    fn send(&self, transaction: &SignedTransaction, deadline: &Deadline) -> BroadcastAnswer;

    fn look(&self, query: &ChainQuery, deadline: &Deadline) -> Result<ChainStatus, Failure>;

    fn ask_coin(&self, outpoint: &OutPoint, deadline: &Deadline) -> Result<CoinStatus, Failure>;

    fn ask_tip(&self, deadline: &Deadline) -> Result<ChainTip, Failure>;

    /// The estimated fee rate for [`PATIENT`] blocks, in satoshis for each virtual byte; `None`: there is no estimate.
    fn ask_fee_rate(&self, deadline: &Deadline) -> Result<Option<f64>, Failure>;

    /// Goes through a node's proxy from now on, unless it was told another way.
    fn follow(&self, proxy: &str);
}

/// One question within the backend's time limit, with the answer for a [`ChainObserver`].
fn within<B: Backend, R>(
    backend: &B,
    question: impl FnOnce(&Deadline) -> Result<R, Failure>,
) -> Result<R, ChainError> {
    question(&Deadline::after(backend.time_limit()))
        .map_err(|failure| ChainError { reason: failure.told_by(&backend.named()) })
}

impl<B: Backend> Source for B {
    fn broadcast(&self, transaction: &SignedTransaction) -> BroadcastAnswer {
        self.send(transaction, &Deadline::after(self.time_limit()))
    }

    fn name(&self) -> String {
        self.named()
    }
}

impl<B: Backend> Broadcaster for B {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        outcome(self.broadcast(transaction))
    }

    fn follow_proxy(&self, proxy: &str) {
        self.follow(proxy);
    }
}

impl<B: Backend> ChainObserver for B {
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError> {
        within(self, |deadline| self.look(query, deadline))
    }

    fn coin(&self, outpoint: &OutPoint) -> Result<Option<CoinStatus>, ChainError> {
        within(self, |deadline| self.ask_coin(outpoint, deadline).map(Some))
    }

    fn tip(&self) -> Result<Option<ChainTip>, ChainError> {
        within(self, |deadline| self.ask_tip(deadline).map(Some))
    }

    fn congested(&self) -> Result<Option<bool>, ChainError> {
        let congested = |rate: Option<f64>| rate.map(|rate| rate > CONGESTED);
        within(self, |deadline| match self.ask_fee_rate(deadline) {
            // It does not know the question, or this user may not ask it.
            Err(Failure::Rpc { .. }) => Ok(None),
            rate => rate.map(congested),
        })
    }

    fn follow_proxy(&self, proxy: &str) {
        self.follow(proxy);
    }
}

/// An output that nothing spends. From when relative locks by time count would take more questions, for every coin.
pub(super) fn unspent_coin(confirmations: u32) -> CoinStatus {
    CoinStatus::Unspent { confirmations, median_time: None }
}

/// The answer for a [`Broadcaster`], which has fewer words.
pub(super) fn outcome(answer: BroadcastAnswer) -> Result<SubmitOutcome, ChainError> {
    match answer {
        BroadcastAnswer::Accepted | BroadcastAnswer::AlreadyKnown => Ok(SubmitOutcome::Accepted),
        BroadcastAnswer::Rejected { words, .. } => Ok(SubmitOutcome::Rejected(words)),
        BroadcastAnswer::NotYetFinal { .. } => Ok(SubmitOutcome::NotYetFinal),
        BroadcastAnswer::Unreachable { words } | BroadcastAnswer::Misconfigured { words } => {
            Err(ChainError { reason: words })
        }
    }
}

/// The answer of a backend named `name` to a submission, which `ask` makes; after an ambiguous rejection, `look` looks
/// for the transaction.
pub(super) fn submit(
    name: &str,
    transaction: &SignedTransaction,
    ask: impl FnOnce() -> Result<(Option<u16>, String), Failure>,
    look: impl FnOnce(&ChainQuery) -> Result<ChainStatus, Failure>,
) -> BroadcastAnswer {
    let answer = match ask() {
        Ok((http_status, words)) => classify_broadcast_answer(&BackendAnswer {
            http_status,
            code: None,
            words: &words,
            txid: Some(transaction.txid),
        }),
        Err(failure) => return unanswered(name, &failure),
    };
    match answer {
        BroadcastAnswer::Rejected { kind, words, ambiguous: true } => {
            let query = decode(&transaction.bytes).map(|decoded| ChainQuery {
                txid: transaction.txid,
                spends: decoded.input.iter().map(|input| outpoint(&input.previous_output)).collect(),
            });
            let found = query.map(|query| look(&query));
            judged(name, kind, words, found)
        }
        BroadcastAnswer::Unreachable { words } => {
            BroadcastAnswer::Unreachable { words: format!("{name}: {words}") }
        }
        BroadcastAnswer::Misconfigured { words } => {
            BroadcastAnswer::Misconfigured { words: format!("{name}: {words}") }
        }
        answer => answer,
    }
}

/// What an ambiguous rejection means once the chain was looked at.
fn judged(
    name: &str,
    kind: RejectionKind,
    words: String,
    found: Option<Result<ChainStatus, Failure>>,
) -> BroadcastAnswer {
    match found {
        Some(Ok(ChainStatus::Seen | ChainStatus::Confirmed { .. })) => BroadcastAnswer::AlreadyKnown,
        Some(Ok(ChainStatus::Conflict { txid, confirmations })) => BroadcastAnswer::Rejected {
            kind: RejectionKind::MissingInputs,
            words: format!(
                "{words} (transaction {txid}, {confirmations} deep in the chain, spends a coin of it)"
            ),
            ambiguous: false,
        },
        Some(Ok(ChainStatus::Unknown)) | None => BroadcastAnswer::Rejected { kind, words, ambiguous: false },
        Some(Err(failure)) => BroadcastAnswer::Unreachable {
            words: format!(
                "it refused the transaction ({words}), and whether it is in the chain could not be found out: {}",
                failure.told_by(name)
            ),
        },
    }
}

fn unanswered(name: &str, failure: &Failure) -> BroadcastAnswer {
    let words = failure.told_by(name);
    match failure {
        Failure::Unreachable(_) => BroadcastAnswer::Unreachable { words },
        Failure::Misconfigured(_) => BroadcastAnswer::Misconfigured { words },
        Failure::Rpc { code, message } => {
            let answer = BackendAnswer { code: Some(*code), words: message, ..Default::default() };
            classify_broadcast_answer(&answer)
        }
    }
}

/// Reads a transaction that is nothing but that.
pub(super) fn decode(bytes: &[u8]) -> Option<Transaction> {
    encode::deserialize(bytes).ok()
}

/// Reads hexadecimal digits.
pub(super) fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

pub(super) fn outpoint(outpoint: &bitcoin::OutPoint) -> OutPoint {
    OutPoint { txid: Txid(outpoint.txid.to_byte_array()), vout: outpoint.vout }
}

pub(super) fn txid(transaction: &Transaction) -> Txid {
    Txid(transaction.compute_txid().to_byte_array())
}

/// How deep a block at `height` is below a tip.
pub(super) fn confirmations(tip: u32, height: u32, question: &str) -> Result<u32, Failure> {
    let above = tip.checked_sub(height).and_then(|above| above.checked_add(1));
    above.ok_or_else(|| Failure::nonsense(question, "a block is above the tip"))
}

/// An estimate in bitcoins for 1,000 virtual bytes, in satoshis for each. One that is none is below 0, or is not there.
pub(super) fn fee_rate(bitcoins: &serde_json::Value) -> Option<f64> {
    bitcoins.as_f64().filter(|rate| *rate >= 0.0).map(|rate| rate * 1e5)
}

/// A whole number up to 2^32 - 1.
pub(super) fn number(value: &serde_json::Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

/// What a server says for people.
pub(super) fn said(status: u16, body: &[u8]) -> String {
    format!("HTTP status {status}: {}", shown(&String::from_utf8_lossy(body)))
}
