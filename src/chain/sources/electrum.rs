//! Electrum servers, by lines of JSON over TCP or TLS: <https://electrumx.readthedocs.io/en/latest/protocol.html>.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bitcoin::Transaction;
use bitcoin::hashes::{Hash, sha256};
use serde_json::{Value, json};

use super::lines::{Lines, Route};
use super::options::{Deadline, Failure, SourceError, SourceOptions};
use super::outcome::BroadcastAnswer;
use super::source::{
    Backend, PATIENT, bytes_of_hex, confirmations, decode, fee_rate, number, outpoint, submit, txid,
    unspent_coin,
};
use crate::chain::{ChainQuery, ChainStatus, ChainTip, CoinStatus, SignedTransaction};
use crate::types::{OutPoint, Txid, to_hex};

/// The protocol version that is spoken.
const VERSION: &str = "1.4";
/// Lines that answer nothing, and are passed over while an answer is waited for.
const NOTIFICATIONS: usize = 1000;
/// Coins of which something is remembered, to ask less.
const REMEMBERED: usize = 1024;
/// Transactions of an output's script that are read to find out who spent it: the latest ones.
const CANDIDATES: usize = 200;
/// Blocks whose times make the median time (BIP-113).
const MEDIAN_SPAN: u32 = 11;
/// Bytes of a block's header, and where in it the time is.
const HEADER: usize = 80;
const TIME: std::ops::Range<usize> = 68..72;

/// An Electrum server.
///
/// It learns which coins are looked for; over a proxy (`socks5h://`) at least not from where.
#[derive(Debug)]
pub struct Electrum {
    route: Route,
    time_limit: Duration,
    connection: Mutex<Connection>,
    coins: Mutex<HashMap<OutPoint, Coin>>,
}

#[derive(Debug, Default)]
struct Connection {
    lines: Option<Lines>,
    requests: u64,
}

/// What is remembered of a coin: nothing that can change.
#[derive(Clone, Debug)]
struct Coin {
    /// By which the server finds its script.
    script_hash: String,
    /// Transactions in blocks that have its script and do not spend it.
    bystanders: HashSet<Txid>,
}

/// A transaction that has a script, and its block's height, if it is in one.
struct Entry {
    txid: Txid,
    height: Option<u32>,
}

impl Electrum {
    /// The server at `ssl://host:port` or `tcp://host:port`; does not connect yet.
    ///
    /// Errors: [`SourceError::Address`].
    pub fn new(address: &str) -> Result<Self, SourceError> {
        Self::with_options(address, &SourceOptions::default())
    }

    /// The same, with limits, a proxy (SOCKS 5 alone) or a certificate authority.
    ///
    /// Errors: [`SourceError`].
    pub fn with_options(address: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        Ok(Self {
            route: Route::new(address, "an Electrum server", options)?,
            time_limit: options.time_limit,
            connection: Mutex::default(),
            coins: Mutex::default(),
        })
    }

    /// A response, result or error, as it came.
    fn exchange(&self, method: &str, params: &Value, deadline: &Deadline) -> Result<Value, Failure> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = connection.lines.is_some();
        match connection.exchange(&self.route, method, params, deadline) {
            // A kept connection may have been closed meanwhile. Every question may be asked twice.
            Err(Failure::Unreachable(_)) if kept && deadline.left().is_ok() => {
                connection.exchange(&self.route, method, params, deadline)
            }
            answer => answer,
        }
    }

    fn call(&self, method: &str, params: Value, deadline: &Deadline) -> Result<Value, Failure> {
        let mut response = self.exchange(method, &params, deadline)?;
        let error = &response["error"];
        if !error.is_null() {
            let message = error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned);
            return Err(Failure::Rpc { code: error["code"].as_i64().unwrap_or(0), message });
        }
        match response.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(Failure::nonsense(method, "it has neither a result nor an error")),
        }
    }

    /// A transaction; `None`: the server does not know it.
    fn transaction(&self, id: &Txid, deadline: &Deadline) -> Result<Option<Transaction>, Failure> {
        let question = "blockchain.transaction.get";
        let raw = match self.call(question, json!([id.to_string()]), deadline) {
            Ok(raw) => raw,
            Err(Failure::Rpc { message, .. }) if is_unknown(&message) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let transaction = raw.as_str().and_then(bytes_of_hex).and_then(|bytes| decode(&bytes));
        let transaction = transaction.filter(|transaction| txid(transaction) == *id);
        transaction
            .map(Some)
            .ok_or_else(|| Failure::nonsense(question, "it is not the transaction asked for"))
    }

    /// What is remembered of a coin, found out if need be; `None`: the server does not know it.
    fn coin_of(&self, at: &OutPoint, deadline: &Deadline) -> Result<Option<Coin>, Failure> {
        let known = self.coins.lock().unwrap_or_else(PoisonError::into_inner).get(at).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(transaction) = self.transaction(&at.txid, deadline)? else { return Ok(None) };
        let Some(output) = transaction.output.get(at.vout as usize) else { return Ok(None) };
        let mut hash = sha256::Hash::hash(output.script_pubkey.as_bytes()).to_byte_array();
        hash.reverse();
        let coin = Coin { script_hash: to_hex(&hash), bystanders: HashSet::from([at.txid]) };
        let mut coins = self.coins.lock().unwrap_or_else(PoisonError::into_inner);
        if coins.len() >= REMEMBERED {
            coins.clear();
        }
        coins.insert(*at, coin.clone());
        Ok(Some(coin))
    }

    fn history(&self, coin: &Coin, deadline: &Deadline) -> Result<Vec<Entry>, Failure> {
        let question = "blockchain.scripthash.get_history";
        let history = self.call(question, json!([coin.script_hash]), deadline)?;
        let history = history.as_array().ok_or_else(|| Failure::nonsense(question, "it is no list"))?;
        let entry = |entry: &Value| {
            let txid = entry["tx_hash"].as_str()?.parse().ok()?;
            // In the mempool it is 0, or -1 above unconfirmed transactions.
            let height = entry["height"].as_i64()?;
            Some(Entry { txid, height: u32::try_from(height).ok().filter(|height| *height > 0) })
        };
        history
            .iter()
            .map(|line| entry(line).ok_or_else(|| Failure::nonsense(question, "an entry is odd")))
            .collect()
    }

    /// The confirmed transaction that spends a coin, with its block's height.
    fn confirmed_spender(
        &self,
        at: &OutPoint,
        coin: &Coin,
        history: &[Entry],
        deadline: &Deadline,
    ) -> Result<Option<(Txid, u32)>, Failure> {
        let confirmed = history.iter().rev().filter_map(|entry| Some((entry.txid, entry.height?)));
        let candidates = confirmed.filter(|(txid, _)| !coin.bystanders.contains(txid)).take(CANDIDATES);
        let mut bystanders = Vec::new();
        let mut found = None;
        for (candidate, height) in candidates {
            let Some(transaction) = self.transaction(&candidate, deadline)? else { continue };
            if transaction.input.iter().any(|input| outpoint(&input.previous_output) == *at) {
                found = Some((candidate, height));
                break;
            }
            bystanders.push(candidate);
        }
        let mut coins = self.coins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = coins.get_mut(at).filter(|kept| kept.bystanders.len() < 4 * CANDIDATES) {
            kept.bystanders.extend(bystanders);
        }
        Ok(found)
    }

    /// The height of the last block.
    fn height(&self, deadline: &Deadline) -> Result<u32, Failure> {
        let question = "blockchain.headers.subscribe";
        let tip = self.call(question, json!([]), deadline)?;
        number(&tip["height"]).ok_or_else(|| Failure::nonsense(question, "it has no height"))
    }

    fn depth(&self, height: u32, deadline: &Deadline) -> Result<u32, Failure> {
        confirmations(self.height(deadline)?, height, "blockchain.headers.subscribe")
    }
}

impl Connection {
    fn exchange(
        &mut self,
        route: &Route,
        method: &str,
        params: &Value,
        deadline: &Deadline,
    ) -> Result<Value, Failure> {
        // Taken out: after a failure nobody knows what comes next on it.
        let mut lines = match self.lines.take() {
            Some(lines) => lines,
            None => {
                let mut lines = route.connect(*deadline)?;
                let client = concat!("libmusig ", env!("CARGO_PKG_VERSION"));
                let response = self.ask(&mut lines, "server.version", &json!([client, VERSION]), deadline)?;
                if !response["error"].is_null() {
                    return Err(Failure::Misconfigured(format!(
                        "it does not speak version {VERSION} of Electrum's protocol: {}",
                        super::outcome::shown(&response["error"].to_string())
                    )));
                }
                lines
            }
        };
        let response = self.ask(&mut lines, method, params, deadline)?;
        self.lines = Some(lines);
        Ok(response)
    }

    fn ask(
        &mut self,
        lines: &mut Lines,
        method: &str,
        params: &Value,
        deadline: &Deadline,
    ) -> Result<Value, Failure> {
        self.requests += 1;
        let id = self.requests;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        lines.send(&request.to_string(), *deadline)?;
        for _ in 0..NOTIFICATIONS {
            let line = lines.receive(*deadline)?;
            let response: Value =
                serde_json::from_slice(&line).map_err(|_| Failure::nonsense(method, "it is not JSON"))?;
            if response["id"].as_u64() == Some(id) {
                return Ok(response);
            }
            // A notification, or an error before it read the request's id.
            if response["id"].is_null() && !response["error"].is_null() {
                return Ok(response);
            }
        }
        Err(Failure::nonsense(method, "other lines came without end"))
    }
}

impl Backend for Electrum {
    fn named(&self) -> String {
        format!("Electrum server {}", self.route.address())
    }

    fn time_limit(&self) -> Duration {
        self.time_limit
    }

    fn follow(&self, proxy: &str) {
        if self.route.follow(proxy) {
            self.connection.lock().unwrap_or_else(PoisonError::into_inner).lines = None;
        }
    }

    fn send(&self, transaction: &SignedTransaction, deadline: &Deadline) -> BroadcastAnswer {
        let ask = || {
            let params = json!([to_hex(&transaction.bytes)]);
            let response = self.exchange("blockchain.transaction.broadcast", &params, deadline)?;
            Ok((None, response.to_string()))
        };
        submit(&self.named(), transaction, ask, |query| self.look(query, deadline))
    }

    /// Whoever spends a coin has its script in its history. So that is asked for, of the coins that the transaction
    /// spends: it is there itself, or who spent them instead.
    fn look(&self, query: &ChainQuery, deadline: &Deadline) -> Result<ChainStatus, Failure> {
        for spend in &query.spends {
            let Some(coin) = self.coin_of(spend, deadline)? else { continue };
            let history = self.history(&coin, deadline)?;
            if let Some(own) = history.iter().find(|entry| entry.txid == query.txid) {
                let Some(height) = own.height else { return Ok(ChainStatus::Seen) };
                let confirmations = self.depth(height, deadline)?;
                return Ok(ChainStatus::Confirmed { height, confirmations });
            }
            if let Some((txid, height)) = self.confirmed_spender(spend, &coin, &history, deadline)? {
                let confirmations = self.depth(height, deadline)?;
                return Ok(ChainStatus::Conflict { txid, confirmations });
            }
        }
        Ok(ChainStatus::Unknown)
    }

    fn ask_coin(&self, at: &OutPoint, deadline: &Deadline) -> Result<CoinStatus, Failure> {
        let Some(coin) = self.coin_of(at, deadline)? else { return Ok(CoinStatus::Unknown) };
        let question = "blockchain.scripthash.listunspent";
        let unspent = self.call(question, json!([coin.script_hash]), deadline)?;
        let unspent = unspent.as_array().ok_or_else(|| Failure::nonsense(question, "it is no list"))?;
        let id = at.txid.to_string();
        let own = |output: &&Value| output["tx_hash"] == id && number(&output["tx_pos"]) == Some(at.vout);
        let Some(output) = unspent.iter().find(own) else { return Ok(CoinStatus::Spent) };
        match number(&output["height"]) {
            Some(0) => Ok(CoinStatus::InMempool),
            Some(height) => Ok(unspent_coin(self.depth(height, deadline)?)),
            None => Err(Failure::nonsense(question, "an output has no height")),
        }
    }

    fn ask_tip(&self, deadline: &Deadline) -> Result<ChainTip, Failure> {
        let question = "blockchain.block.headers";
        let height = self.height(deadline)?;
        let first = height.saturating_sub(MEDIAN_SPAN - 1);
        let headers = self.call(question, json!([first, height - first + 1]), deadline)?;
        let headers = headers["hex"].as_str().and_then(bytes_of_hex).unwrap_or_default();
        if headers.len() != HEADER * (height - first + 1) as usize {
            return Err(Failure::nonsense(question, "it does not have the headers asked for"));
        }
        let time = |header: &[u8]| u32::from_le_bytes(header[TIME].try_into().expect("four bytes"));
        let mut times: Vec<_> = headers.chunks_exact(HEADER).map(time).collect();
        times.sort_unstable();
        Ok(ChainTip { height, median_time: times[times.len() / 2] })
    }

    fn ask_fee_rate(&self, deadline: &Deadline) -> Result<Option<f64>, Failure> {
        // -1: there is none.
        Ok(fee_rate(&self.call("blockchain.estimatefee", json!([PATIENT]), deadline)?))
    }
}

/// Whether a server's words say that it does not know a transaction: ElectrumX and Fulcrum pass on Bitcoin Core's.
fn is_unknown(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["no such mempool", "no such transaction", "missing transaction", "not found", "unknown transaction"]
        .iter()
        .any(|phrase| message.contains(phrase))
}
