//! Servers with Esplora's HTTP interface: <https://github.com/Blockstream/esplora/blob/master/API.md>.

use std::time::Duration;

use serde_json::Value;

use super::http::HttpClient;
use super::options::{Deadline, Failure, SourceError, SourceOptions};
use super::outcome::BroadcastAnswer;
use super::source::{Backend, PATIENT, confirmations, number, said, submit, unspent_coin};
use crate::chain::{ChainQuery, ChainStatus, ChainTip, CoinStatus, SignedTransaction};
use crate::types::{OutPoint, Txid, to_hex};

/// Bytes of an answer; the largest is a transaction in full.
const ANSWER: u64 = 8 << 20;

/// A server of Esplora's interface.
///
/// It learns which transactions are looked for; over a proxy (`socks5h://`) at least not from where.
#[derive(Debug)]
pub struct Esplora {
    client: HttpClient,
    time_limit: Duration,
}

impl Esplora {
    /// The server at `https://host[:port][/prefix]`, such as `https://host/api`; does not connect yet.
    ///
    /// Errors: [`SourceError::Address`].
    pub fn new(address: &str) -> Result<Self, SourceError> {
        Self::with_options(address, &SourceOptions::default())
    }

    /// The same, with limits, a proxy or a certificate authority.
    ///
    /// Errors: [`SourceError`].
    pub fn with_options(address: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        let client = HttpClient::new(address, "an Esplora server", options)?;
        Ok(Self { client, time_limit: options.time_limit })
    }

    /// The answer to a GET, or `None` if the server does not know what was asked about.
    fn get(&self, path: &str, deadline: &Deadline) -> Result<Option<String>, Failure> {
        let answer = self.client.get(path, ANSWER, deadline)?;
        match answer.status {
            200 => {
                let body = String::from_utf8(answer.body);
                body.map(Some).map_err(|_| Failure::nonsense(path, "it is not text"))
            }
            404 => Ok(None),
            300..=399 => Err(Failure::Misconfigured(format!(
                "it answered with a redirect (HTTP status {}), which is not followed; give the final address",
                answer.status
            ))),
            401 | 403 => Err(Failure::Misconfigured(format!(
                "{}; the server does not let this client in",
                said(answer.status, &answer.body)
            ))),
            status => Err(Failure::Unreachable(said(status, &answer.body))),
        }
    }

    fn get_json(&self, path: &str, deadline: &Deadline) -> Result<Option<Value>, Failure> {
        let Some(body) = self.get(path, deadline)? else { return Ok(None) };
        serde_json::from_str(&body).map(Some).map_err(|_| Failure::nonsense(path, "it is not JSON"))
    }

    fn depth(&self, height: u32, deadline: &Deadline) -> Result<u32, Failure> {
        let path = "/blocks/tip/height";
        let body = self.get(path, deadline)?.ok_or_else(|| Failure::nonsense(path, "it is not there"))?;
        let tip = body.trim().parse().map_err(|_| Failure::nonsense(path, "it is no height"))?;
        confirmations(tip, height, path)
    }

    /// Who spends an output, and in a block of which height.
    fn spender(&self, coin: &OutPoint, deadline: &Deadline) -> Result<Option<(Txid, Option<u32>)>, Failure> {
        let path = format!("/tx/{}/outspend/{}", coin.txid, coin.vout);
        let Some(answer) = self.get_json(&path, deadline)? else { return Ok(None) };
        match answer["spent"].as_bool() {
            Some(true) => {}
            Some(false) => return Ok(None),
            None => return Err(Failure::nonsense(&path, "it does not say whether the output is spent")),
        }
        let txid = answer["txid"].as_str().and_then(|txid| txid.parse().ok());
        let txid =
            txid.ok_or_else(|| Failure::nonsense(&path, "it does not say by what the output is spent"))?;
        Ok(Some((txid, height(&answer["status"], &path)?)))
    }
}

impl Backend for Esplora {
    fn named(&self) -> String {
        format!("Esplora server {}", self.client.address())
    }

    fn time_limit(&self) -> Duration {
        self.time_limit
    }

    fn follow(&self, proxy: &str) {
        self.client.follow(proxy);
    }

    fn send(&self, transaction: &SignedTransaction, deadline: &Deadline) -> BroadcastAnswer {
        let ask = || {
            let hex = to_hex(&transaction.bytes);
            let answer = self.client.post("/tx", "text/plain", None, &hex, ANSWER, deadline)?;
            Ok((Some(answer.status), String::from_utf8_lossy(&answer.body).into_owned()))
        };
        submit(&self.named(), transaction, ask, |query| self.look(query, deadline))
    }

    /// A transaction that no server knows has the status "not confirmed". So only one that spends an output is seen.
    fn look(&self, query: &ChainQuery, deadline: &Deadline) -> Result<ChainStatus, Failure> {
        let path = format!("/tx/{}/status", query.txid);
        let confirmed_at = match self.get_json(&path, deadline)? {
            Some(answer) => height(&answer, &path)?,
            None => None,
        };
        if let Some(height) = confirmed_at {
            let confirmations = self.depth(height, deadline)?;
            return Ok(ChainStatus::Confirmed { height, confirmations });
        }
        for coin in &query.spends {
            match self.spender(coin, deadline)? {
                Some((txid, None)) if txid == query.txid => return Ok(ChainStatus::Seen),
                Some((txid, Some(height))) => {
                    let confirmations = self.depth(height, deadline)?;
                    return Ok(if txid == query.txid {
                        ChainStatus::Confirmed { height, confirmations }
                    } else {
                        ChainStatus::Conflict { txid, confirmations }
                    });
                }
                Some((_, None)) | None => {}
            }
        }
        Ok(ChainStatus::Unknown)
    }

    fn ask_coin(&self, coin: &OutPoint, deadline: &Deadline) -> Result<CoinStatus, Failure> {
        let path = format!("/tx/{}", coin.txid);
        let Some(transaction) = self.get_json(&path, deadline)? else { return Ok(CoinStatus::Unknown) };
        let outputs = transaction["vout"].as_array().map(Vec::len);
        let outputs = outputs.ok_or_else(|| Failure::nonsense(&path, "it has no outputs"))?;
        if coin.vout as usize >= outputs {
            return Ok(CoinStatus::Unknown);
        }
        if self.spender(coin, deadline)?.is_some() {
            return Ok(CoinStatus::Spent);
        }
        match height(&transaction["status"], &path)? {
            None => Ok(CoinStatus::InMempool),
            Some(height) => Ok(unspent_coin(self.depth(height, deadline)?)),
        }
    }

    fn ask_tip(&self, deadline: &Deadline) -> Result<ChainTip, Failure> {
        let path = "/blocks/tip/hash";
        let hash = self.get(path, deadline)?.ok_or_else(|| Failure::nonsense(path, "it is not there"))?;
        // Only what is a hash is put into the next path.
        let hash: Txid = hash.trim().parse().map_err(|_| Failure::nonsense(path, "it is no hash"))?;
        let path = format!("/block/{hash}");
        let block = self.get_json(&path, deadline)?;
        let block = block.ok_or_else(|| Failure::nonsense(&path, "it is not there"))?;
        match (number(&block["height"]), number(&block["mediantime"])) {
            (Some(height), Some(median_time)) => Ok(ChainTip { height, median_time }),
            _ => Err(Failure::nonsense(&path, "it has no height or median time")),
        }
    }

    fn ask_fee_rate(&self, deadline: &Deadline) -> Result<Option<f64>, Failure> {
        // In satoshis for each virtual byte, by numbers of blocks.
        let estimates = self.get_json("/fee-estimates", deadline)?;
        Ok(estimates.and_then(|estimates| estimates[PATIENT.to_string()].as_f64()))
    }
}

/// The height of a status object's block, `None` if it is in no block.
fn height(status: &Value, path: &str) -> Result<Option<u32>, Failure> {
    match status["confirmed"].as_bool() {
        Some(false) => Ok(None),
        Some(true) => {
            let height = number(&status["block_height"]);
            height
                .map(Some)
                .ok_or_else(|| Failure::nonsense(path, "a confirmed transaction has no block height"))
        }
        None => Err(Failure::nonsense(path, "it does not say whether the transaction is confirmed")),
    }
}
