//! Bitcoin Core, Knots, btcd and their relatives, by JSON-RPC.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash, TxIn};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::http::{HttpAnswer, HttpClient, base64};
use super::options::{Deadline, Failure, SourceError, SourceOptions};
use super::outcome::BroadcastAnswer;
use super::source::{
    Backend, PATIENT, bytes_of_hex, decode, fee_rate, number, outpoint, said, submit, txid, unspent_coin,
};
use crate::chain::{ChainQuery, ChainStatus, ChainTip, CoinStatus, SignedTransaction};
use crate::types::{OutPoint, Txid, to_hex};

/// Bytes of an ordinary answer.
const ANSWER: u64 = 4 << 20;
/// Bytes of an answer with a block: the largest one in hexadecimal digits, and a little.
const BLOCK_ANSWER: u64 = (8 << 20) + (64 << 10);
/// Bytes of an answer with a transaction in full, as digits and taken apart.
const TRANSACTION_ANSWER: u64 = 32 << 20;
/// Bytes of a cookie file.
const COOKIE: usize = 4 << 10;
/// Questions in one request.
const BATCH: usize = 64;
/// Outputs of a transaction that are asked for when it is not known how many it has.
const OUTPUTS: u32 = 16;
/// Transactions of which something is remembered, to ask less.
const REMEMBERED: usize = 1024;
/// Blocks that are read to find out who spent a coin, from the tip down; a week.
const SEARCHED_BLOCKS: u32 = 1008;
/// How long one look reads blocks; the next one goes on.
const SEARCH_TIME: Duration = Duration::from_secs(3);

/// How this library proves to a node's RPC interface who it is.
#[derive(Clone)]
pub enum CoreAuth {
    /// The file `.cookie` in the node's data directory. Read when it is needed, and again when the node refuses what was
    /// in it: each start of the node writes another one.
    CookieFile(PathBuf),
    /// The user and password of `rpcauth` or `rpcuser` and `rpcpassword`.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// No credentials.
    None,
}

impl fmt::Debug for CoreAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CookieFile(path) => f.debug_tuple("CookieFile").field(path).finish(),
            Self::Password { user, .. } => {
                f.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
            Self::None => f.write_str("None"),
        }
    }
}

/// A Bitcoin Core node (or Knots, or btcd), by its RPC interface. No wallet is used.
///
/// `http://` shows the password to whoever can read the network: use it to this machine or through a tunnel.
///
/// # What it sees
///
/// With `-txindex` everything. Without it: the mempool; transactions with an unspent output among the first sixteen, or
/// among all if it was submitted through this object; and by reading blocks from the tip down, at most 1,008 of them and
/// a few seconds a look, who spent a coin that is gone. With `-txospenderindex` (Core 31) the node names the spender.
#[derive(Debug)]
pub struct BitcoinCore {
    client: HttpClient,
    auth: CoreAuth,
    time_limit: Duration,
    /// The value of the header `Authorization`.
    credentials: Mutex<Option<Zeroizing<String>>>,
    requests: AtomicU64,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    transactions: HashMap<Txid, Remembered>,
    /// Counts up; the smallest is forgotten first.
    clock: u64,
}

/// What is remembered of a transaction. All of it only saves questions: whatever it says is asked again.
#[derive(Clone, Debug, Default)]
struct Remembered {
    used: u64,
    outputs: Option<u32>,
    /// The block with the transaction, or with one that spends a coin of it.
    found: Option<Found>,
    search: Search,
}

#[derive(Clone, Debug)]
struct Found {
    block: String,
    spender: Txid,
}

/// Which blocks were read in vain.
#[derive(Clone, Debug, Default)]
struct Search {
    /// The newest one.
    newest: Option<String>,
    /// The next one to read, below those; `None`: no more.
    next: Option<String>,
    /// How many.
    read: u32,
}

/// A block's place in the chain.
struct Header {
    height: u32,
    /// `None`: it is not in the best chain.
    confirmations: Option<u32>,
}

impl BitcoinCore {
    /// The node at `http://host:port`; does not connect yet.
    ///
    /// Errors: [`SourceError::Address`].
    pub fn new(address: &str, auth: CoreAuth) -> Result<Self, SourceError> {
        Self::with_options(address, auth, &SourceOptions::default())
    }

    /// The same, with limits, a proxy or a certificate authority.
    ///
    /// Errors: [`SourceError`].
    pub fn with_options(address: &str, auth: CoreAuth, options: &SourceOptions) -> Result<Self, SourceError> {
        let client = HttpClient::new(address, "a node's RPC interface", options)?;
        Ok(Self {
            client,
            auth,
            time_limit: options.time_limit,
            credentials: Mutex::default(),
            requests: AtomicU64::new(1),
            memory: Mutex::default(),
        })
    }

    /// What the header `Authorization` says. `afresh`: what was said before is wrong.
    fn authorization(&self, afresh: bool) -> Result<Option<Zeroizing<String>>, Failure> {
        let mut kept = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if afresh || kept.is_none() {
            let secret = match &self.auth {
                CoreAuth::None => return Ok(None),
                CoreAuth::Password { user, password } => Zeroizing::new(format!("{user}:{password}")),
                CoreAuth::CookieFile(path) => read_cookie(path)?,
            };
            *kept = Some(Zeroizing::new(format!("Basic {}", base64(secret.as_bytes()))));
        }
        Ok(kept.clone())
    }

    fn post(&self, body: &str, most_bytes: u64, deadline: &Deadline) -> Result<HttpAnswer, Failure> {
        let send = |afresh| {
            let authorization = self.authorization(afresh)?;
            let authorization = authorization.as_ref().map(|value| value.as_str());
            self.client.post("/", "application/json", authorization, body, most_bytes, deadline)
        };
        let mut answer = send(false)?;
        if answer.status == 401 && matches!(self.auth, CoreAuth::CookieFile(_)) {
            answer = send(true)?;
        }
        match answer.status {
            401 => Err(Failure::Misconfigured(match &self.auth {
                CoreAuth::CookieFile(path) => format!(
                    "the node refuses the cookie in {} (HTTP status 401); is it the cookie file of this very node?",
                    path.display()
                ),
                CoreAuth::Password { .. } => "the node refuses user or password (HTTP status 401); compare them with \
                                              rpcauth or rpcuser and rpcpassword in its configuration"
                    .into(),
                CoreAuth::None => {
                    "the node wants a password (HTTP status 401); give its cookie file, or user and password".into()
                }
            })),
            403 => Err(Failure::Misconfigured(
                "the node does not let this machine in (HTTP status 403); see rpcallowip in its configuration".into(),
            )),
            300..=399 => Err(Failure::Misconfigured(format!(
                "it answered with a redirect (HTTP status {}), which is not followed; give the final address",
                answer.status
            ))),
            _ => Ok(answer),
        }
    }

    fn request(&self, method: &str, params: Value) -> (u64, Value) {
        let id = self.requests.fetch_add(1, Ordering::Relaxed);
        (id, json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
    }

    fn call_up_to(
        &self,
        method: &str,
        params: Value,
        most_bytes: u64,
        deadline: &Deadline,
    ) -> Result<Value, Failure> {
        let (id, request) = self.request(method, params);
        let answer = self.post(&request.to_string(), most_bytes, deadline)?;
        let Ok(response) = serde_json::from_slice::<Value>(&answer.body) else {
            return Err(not_json(&answer));
        };
        result_of(response, id, method)
    }

    fn call(&self, method: &str, params: Value, deadline: &Deadline) -> Result<Value, Failure> {
        self.call_up_to(method, params, ANSWER, deadline)
    }

    /// The same question about several things, in one request if the node takes that.
    fn call_each(
        &self,
        method: &str,
        params: Vec<Value>,
        deadline: &Deadline,
    ) -> Result<Vec<Value>, Failure> {
        let mut results = Vec::with_capacity(params.len());
        for chunk in params.chunks(BATCH) {
            match chunk {
                [single] => results.push(self.call(method, single.clone(), deadline)?),
                _ => results.extend(self.call_batch(method, chunk, deadline)?),
            }
        }
        Ok(results)
    }

    fn call_batch(&self, method: &str, params: &[Value], deadline: &Deadline) -> Result<Vec<Value>, Failure> {
        let requests: Vec<_> = params.iter().map(|params| self.request(method, params.clone())).collect();
        let body = Value::Array(requests.iter().map(|(_, request)| request.clone()).collect());
        let answer = self.post(&body.to_string(), ANSWER, deadline)?;
        let mut by_id = HashMap::with_capacity(requests.len());
        match serde_json::from_slice::<Value>(&answer.body) {
            Ok(Value::Array(responses)) => {
                for response in responses {
                    if let Some(id) = response["id"].as_u64() {
                        by_id.insert(id, response);
                    }
                }
            }
            // It takes no batches.
            Ok(Value::Object(_)) => {
                return params.iter().map(|params| self.call(method, params.clone(), deadline)).collect();
            }
            _ => return Err(not_json(&answer)),
        }
        let result = |(id, _): &(u64, Value)| {
            let response =
                by_id.remove(id).ok_or_else(|| Failure::nonsense(method, "a response is missing"))?;
            result_of(response, *id, method)
        };
        requests.iter().map(result).collect()
    }

    fn header(&self, block: &str, deadline: &Deadline) -> Result<Header, Failure> {
        let question = "getblockheader";
        let header = self.call(question, json!([block, true]), deadline)?;
        let height =
            number(&header["height"]).ok_or_else(|| Failure::nonsense(question, "it has no height"))?;
        let confirmations = match header["confirmations"].as_i64() {
            Some(depth @ 1..) => u32::try_from(depth).ok(),
            Some(_) => None,
            None => return Err(Failure::nonsense(question, "it has no depth")),
        };
        Ok(Header { height, confirmations })
    }

    /// Changes what is remembered of a transaction.
    fn remember<R>(&self, txid: &Txid, change: impl FnOnce(&mut Remembered) -> R) -> R {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.clock += 1;
        let clock = memory.clock;
        if memory.transactions.len() >= REMEMBERED && !memory.transactions.contains_key(txid) {
            let oldest =
                memory.transactions.iter().min_by_key(|(_, entry)| entry.used).map(|(txid, _)| *txid);
            if let Some(oldest) = oldest {
                memory.transactions.remove(&oldest);
            }
        }
        let entry = memory.transactions.entry(*txid).or_default();
        entry.used = clock;
        change(entry)
    }

    /// The state of a transaction that was found in a block; `None`: the block is in the best chain no more.
    fn at(
        &self,
        query: &ChainQuery,
        found: &Found,
        deadline: &Deadline,
    ) -> Result<Option<ChainStatus>, Failure> {
        let header = match self.header(&found.block, deadline) {
            Ok(header) => header,
            // A node that was set up anew knows fewer blocks.
            Err(Failure::Rpc { code: -5, .. }) => return Ok(None),
            // btcd does not give the header of a block that was reorganised away.
            Err(Failure::Rpc { message, .. }) if message.contains("is not in the main chain") => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        Ok(header.confirmations.map(|confirmations| match found.spender == query.txid {
            true => ChainStatus::Confirmed { height: header.height, confirmations },
            false => ChainStatus::Conflict { txid: found.spender, confirmations },
        }))
    }

    /// Asks for the transaction by its id: in the mempool always, in a block with an index of transactions.
    fn look_up(&self, query: &ChainQuery, deadline: &Deadline) -> Result<Option<ChainStatus>, Failure> {
        let id = query.txid.to_string();
        match self.call("getmempoolentry", json!([id]), deadline) {
            Ok(_) => return Ok(Some(ChainStatus::Seen)),
            // It is not there, or the node (btcd) does not know the question.
            Err(Failure::Rpc { .. }) => {}
            Err(failure) => return Err(failure),
        }
        let transaction =
            match self.call_up_to("getrawtransaction", json!([id, 1]), TRANSACTION_ANSWER, deadline) {
                Ok(transaction) => transaction,
                // Unknown, or no index.
                Err(Failure::Rpc { code: -5, .. }) => return Ok(None),
                Err(failure) => return Err(failure),
            };
        let Some(block) = transaction["blockhash"].as_str() else { return Ok(Some(ChainStatus::Seen)) };
        let found = Found { block: block.to_owned(), spender: query.txid };
        let status = self.at(query, &found, deadline)?;
        if status.is_some() {
            self.remember(&query.txid, |entry| entry.found = Some(found));
        }
        Ok(status)
    }

    /// Asks for the outputs of the transaction, which are in the set of unspent ones while one of them is unspent.
    fn look_for_outputs(
        &self,
        query: &ChainQuery,
        deadline: &Deadline,
    ) -> Result<Option<ChainStatus>, Failure> {
        let question = "gettxout";
        let outputs = self.remember(&query.txid, |entry| entry.outputs).unwrap_or(OUTPUTS);
        let id = query.txid.to_string();
        let each = (0..outputs).map(|vout| json!([id, vout, false])).collect();
        let outputs = self.call_each(question, each, deadline)?;
        let Some(output) = outputs.into_iter().find(|output| !output.is_null()) else { return Ok(None) };
        let depth = number(&output["confirmations"]).filter(|depth| *depth > 0);
        let depth = depth.ok_or_else(|| Failure::nonsense(question, "an output has no depth"))?;
        let best = output["bestblock"].as_str();
        let best = best.ok_or_else(|| Failure::nonsense(question, "it names no block"))?;
        let tip = self.header(best, deadline)?.height;
        let height = tip.checked_sub(depth - 1);
        let height =
            height.ok_or_else(|| Failure::nonsense(question, "an output is deeper than the chain"))?;
        let block = self.call("getblockhash", json!([height]), deadline)?;
        if let Some(block) = block.as_str() {
            let found = Found { block: block.to_owned(), spender: query.txid };
            self.remember(&query.txid, |entry| entry.found = Some(found));
        }
        Ok(Some(ChainStatus::Confirmed { height, confirmations: depth }))
    }

    /// Those outputs that are spent in a block, or never were.
    fn gone(&self, spends: &[OutPoint], deadline: &Deadline) -> Result<Vec<OutPoint>, Failure> {
        let each = spends.iter().map(|spend| json!([spend.txid.to_string(), spend.vout, false])).collect();
        let outputs = self.call_each("gettxout", each, deadline)?;
        Ok(spends
            .iter()
            .zip(outputs)
            .filter(|(_, output)| output.is_null())
            .map(|(spend, _)| *spend)
            .collect())
    }

    /// Asks the index of spenders, where the node has one.
    fn ask_for_spender(&self, gone: &[OutPoint], deadline: &Deadline) -> Result<Option<Found>, Failure> {
        let question = "gettxspendingprevout";
        let outputs: Vec<_> =
            gone.iter().map(|spend| json!({ "txid": spend.txid.to_string(), "vout": spend.vout })).collect();
        let spenders = match self.call(question, json!([outputs]), deadline) {
            Ok(spenders) => spenders,
            // An older node.
            Err(Failure::Rpc { .. }) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        for spender in spenders.as_array().map_or(&[][..], Vec::as_slice) {
            let txid = spender["spendingtxid"].as_str().and_then(|txid| txid.parse().ok());
            if let (Some(spender), Some(block)) = (txid, spender["blockhash"].as_str()) {
                return Ok(Some(Found { block: block.to_owned(), spender }));
            }
        }
        Ok(None)
    }

    /// Reads blocks from the tip down until one spends one of these outputs. What was read is not read again: first come
    /// the blocks above it, then those below it.
    fn search(
        &self,
        query: &ChainQuery,
        gone: &[OutPoint],
        deadline: &Deadline,
    ) -> Result<Option<Found>, Failure> {
        let started = Instant::now();
        let question = "getbestblockhash";
        let tip = self.call(question, json!([]), deadline)?;
        let tip = tip.as_str().ok_or_else(|| Failure::nonsense(question, "it is no hash"))?.to_owned();
        let before = self.remember(&query.txid, |entry| entry.search.clone());
        // If this ends before it meets what was read before, that is forgotten: it lies too deep, or in another branch.
        let mut search = Search { newest: None, next: Some(tip), read: 0 };
        while let Some(hash) = search.next.clone() {
            if before.newest.as_ref() == Some(&hash) {
                search.newest.get_or_insert(hash);
                search.next = before.next.clone();
                search.read = search.read.saturating_add(before.read);
                continue;
            }
            if search.read >= SEARCHED_BLOCKS || started.elapsed() >= SEARCH_TIME {
                break;
            }
            let Some(block) = self.block(&hash, deadline)? else {
                search.next = None;
                break;
            };
            if let Some(spender) = spender_in(&block, gone) {
                return Ok(Some(Found { block: hash, spender }));
            }
            search.newest.get_or_insert(hash);
            search.read += 1;
            let previous = block.header.prev_blockhash;
            search.next = (previous != BlockHash::all_zeros()).then(|| previous.to_string());
        }
        self.remember(&query.txid, |entry| entry.search = search);
        Ok(None)
    }

    /// A block's transactions; `None`: the node has pruned it.
    fn block(&self, hash: &str, deadline: &Deadline) -> Result<Option<Block>, Failure> {
        let question = "getblock";
        let answer = match self.call_up_to(question, json!([hash, 0]), BLOCK_ANSWER, deadline) {
            Ok(answer) => answer,
            Err(Failure::Rpc { code: -1, .. }) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let block = answer.as_str().and_then(bytes_of_hex);
        let block = block.and_then(|bytes| encode::deserialize::<Block>(&bytes).ok());
        block.map(Some).ok_or_else(|| Failure::nonsense(question, "it is no block"))
    }
}

impl Backend for BitcoinCore {
    fn named(&self) -> String {
        format!("Bitcoin node {}", self.client.address())
    }

    fn time_limit(&self) -> Duration {
        self.time_limit
    }

    fn follow(&self, proxy: &str) {
        self.client.follow(proxy);
    }

    fn send(&self, transaction: &SignedTransaction, deadline: &Deadline) -> BroadcastAnswer {
        if let Some(decoded) = decode(&transaction.bytes) {
            let outputs = u32::try_from(decoded.output.len()).ok();
            self.remember(&transaction.txid, |entry| entry.outputs = outputs);
        }
        let hex = to_hex(&transaction.bytes);
        let ask = |params: Value| {
            let (_, request) = self.request("sendrawtransaction", params);
            let answer = self.post(&request.to_string(), ANSWER, deadline)?;
            Ok((Some(answer.status), String::from_utf8_lossy(&answer.body).into_owned()))
        };
        let submit_with = |params: Value| {
            submit(&self.named(), transaction, || ask(params), |query| self.look(query, deadline))
        };
        // The fee was agreed upon: no cap of the node's (0), where it knows that parameter.
        match submit_with(json!([hex, 0])) {
            BroadcastAnswer::Misconfigured { words } if words.contains("type") => {
                match submit_with(json!([hex])) {
                    BroadcastAnswer::Misconfigured { .. } => BroadcastAnswer::Misconfigured { words },
                    answer => answer,
                }
            }
            answer => answer,
        }
    }

    fn look(&self, query: &ChainQuery, deadline: &Deadline) -> Result<ChainStatus, Failure> {
        if let Some(found) = self.remember(&query.txid, |entry| entry.found.clone()) {
            match self.at(query, &found, deadline)? {
                Some(status) => return Ok(status),
                None => self.remember(&query.txid, |entry| entry.found = None),
            }
        }
        if let Some(status) = self.look_up(query, deadline)? {
            return Ok(status);
        }
        if let Some(status) = self.look_for_outputs(query, deadline)? {
            return Ok(status);
        }
        let gone = self.gone(&query.spends, deadline)?;
        if gone.is_empty() {
            return Ok(ChainStatus::Unknown);
        }
        let found = match self.ask_for_spender(&gone, deadline)? {
            Some(found) => Some(found),
            None => self.search(query, &gone, deadline)?,
        };
        let Some(found) = found else { return Ok(ChainStatus::Unknown) };
        let status = self.at(query, &found, deadline)?;
        if status.is_some() {
            self.remember(&query.txid, |entry| entry.found = Some(found));
        }
        Ok(status.unwrap_or(ChainStatus::Unknown))
    }

    fn ask_coin(&self, coin: &OutPoint, deadline: &Deadline) -> Result<CoinStatus, Failure> {
        let question = "gettxout";
        let id = coin.txid.to_string();
        let each = vec![json!([id, coin.vout, true]), json!([id, coin.vout, false])];
        let outputs = self.call_each(question, each, deadline)?;
        let depth = |output: &Value| {
            number(&output["confirmations"])
                .ok_or_else(|| Failure::nonsense(question, "an output has no depth"))
        };
        match outputs.as_slice() {
            [with_mempool, _] if !with_mempool.is_null() => Ok(match depth(with_mempool)? {
                0 => CoinStatus::InMempool,
                confirmations => unspent_coin(confirmations),
            }),
            [_, in_chain] if !in_chain.is_null() => Ok(CoinStatus::Spent),
            // Spent, where the transaction is known (by an index, or because it is in the mempool itself).
            _ => match self.call_up_to("getrawtransaction", json!([id, 0]), TRANSACTION_ANSWER, deadline) {
                Ok(raw) => {
                    let transaction = raw.as_str().and_then(bytes_of_hex).and_then(|bytes| decode(&bytes));
                    let transaction = transaction
                        .ok_or_else(|| Failure::nonsense("getrawtransaction", "it is no transaction"))?;
                    let exists = (coin.vout as usize) < transaction.output.len();
                    Ok(if exists { CoinStatus::Spent } else { CoinStatus::Unknown })
                }
                Err(Failure::Rpc { code: -5, .. }) => {
                    let known = self.ask_for_spender(&[*coin], deadline)?;
                    Ok(if known.is_some() { CoinStatus::Spent } else { CoinStatus::Unknown })
                }
                Err(failure) => Err(failure),
            },
        }
    }

    fn ask_tip(&self, deadline: &Deadline) -> Result<ChainTip, Failure> {
        let question = "getblockchaininfo";
        let info = self.call(question, json!([]), deadline)?;
        match (number(&info["blocks"]), number(&info["mediantime"])) {
            (Some(height), Some(median_time)) => Ok(ChainTip { height, median_time }),
            _ => Err(Failure::nonsense(question, "it has no height or median time")),
        }
    }

    fn ask_fee_rate(&self, deadline: &Deadline) -> Result<Option<f64>, Failure> {
        let estimate = self.call("estimatesmartfee", json!([PATIENT, "economical"]), deadline)?;
        Ok(fee_rate(&estimate["feerate"]))
    }
}

/// The transaction of a block that spends one of these outputs.
fn spender_in(block: &Block, gone: &[OutPoint]) -> Option<Txid> {
    let spends = |input: &TxIn| gone.contains(&outpoint(&input.previous_output));
    block.txdata.iter().find(|transaction| transaction.input.iter().any(spends)).map(txid)
}

fn result_of(mut response: Value, id: u64, method: &str) -> Result<Value, Failure> {
    let error = &response["error"];
    if !error.is_null() {
        let message = error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned);
        let code = error["code"].as_i64().unwrap_or(0);
        return Err(match code {
            -28 => Failure::Misconfigured(format!(
                "the node is starting ({}); wait until it is ready",
                super::outcome::shown(&message)
            )),
            _ => Failure::Rpc { code, message },
        });
    }
    if response["id"].as_u64() != Some(id) {
        return Err(Failure::nonsense(method, "it is the response to another request"));
    }
    match response.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => Err(Failure::nonsense(method, "it has neither a result nor an error")),
    }
}

fn not_json(answer: &HttpAnswer) -> Failure {
    let words = said(answer.status, &answer.body);
    match answer.status {
        404 | 405 => Failure::Misconfigured(format!("{words}; check that this is a node's RPC address")),
        _ => Failure::Unreachable(format!("{words}; check that this is a node's RPC address")),
    }
}

/// The cookie file's one line.
fn read_cookie(path: &Path) -> Result<Zeroizing<String>, Failure> {
    use std::io::Read;
    let wrong = |reason: &dyn fmt::Display| {
        Failure::Misconfigured(format!(
            "the cookie file {} cannot be used: {reason}; it is there while the node runs, in its data directory",
            path.display()
        ))
    };
    let file = std::fs::File::open(path).map_err(|error| wrong(&error))?;
    let mut text = Zeroizing::new(String::new());
    file.take(COOKIE as u64 + 1).read_to_string(&mut text).map_err(|error| wrong(&error))?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.len() > COOKIE || !line.contains(':') || line.contains(['\r', '\n']) {
        return Err(wrong(&"it is not one line user:password"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}
