//! A client of Esplora's HTTP interface that submits transactions and watches for them.
//!
//! Plain HTTP, for a server of one's own: <https://github.com/Blockstream/esplora/blob/master/API.md>. Whatever it
//! cannot make sense of is a [`ChainError`]: the node then waits for nobody.

use std::io::Write;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use libmusig::chain::{Broadcaster, ChainError, ChainObserver};
use libmusig::chain::{ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome};
use libmusig::types::{OutPoint, Txid, to_hex};
use serde_json::Value;

use super::http::{self, Kind, Malformed};

/// Bytes of an answer.
const BODY: usize = 64 << 10;
/// Characters of the server's words that are passed on.
const WORDS: usize = 256;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What Bitcoin Core says of a transaction that it has already, in any version. The last one differs in its witness
/// only, so whoever submitted it has spent the same outputs in the same way.
const ALREADY_KNOWN: [&str; 6] = [
    "already in block chain",
    "already in utxo set",
    "already in mempool",
    "txn-already-in-mempool",
    "txn-already-known",
    "txn-same-nonwitness-data-in-mempool",
];
/// Codes of Bitcoin Core's `sendrawtransaction` that are about the transaction: cannot be decoded, inputs, rejected,
/// already there. Others, as "loading block index", are about the server.
const ABOUT_TRANSACTION: [i64; 4] = [-22, -25, -26, -27];

/// A server of Esplora's interface.
#[derive(Clone, Debug)]
pub struct Esplora {
    /// Host and port.
    host: String,
    /// What comes before `/tx`.
    prefix: String,
    patience: Duration,
}

impl Esplora {
    /// The server at `http://host[:port][/prefix]`. Does not connect yet.
    pub fn new(base_url: &str) -> Result<Self, ChainError> {
        let rest = base_url.strip_prefix("http://").ok_or_else(|| {
            failed(format!(
                "{base_url:?} does not start with http://; give the address of a plain HTTP server"
            ))
        })?;
        let (host, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let text = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !text(rest) {
            return Err(failed(format!("{base_url:?} has no host; write http://host:port")));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let host = if has_port { host.to_owned() } else { format!("{host}:80") };
        Ok(Self { host, prefix: prefix.trim_end_matches('/').to_owned(), patience: PATIENCE })
    }

    /// Sets how long one request may take; ten seconds if not set. An observation takes several.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Result<(u16, String), ChainError> {
        let deadline = Instant::now() + self.patience;
        let mut stream = self.connect(deadline)?;
        // HTTP/1.0, so that nobody answers in chunks.
        let head = format!(
            "{method} {}{path} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.prefix,
            self.host,
            body.len()
        );
        let broken = |error: std::io::Error| failed(format!("{}: {error}", self.host));
        stream.set_write_timeout(Some(remaining(deadline)?)).map_err(broken)?;
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).map_err(broken)?;
        let message = match http::read_message(&mut stream, Kind::Response, BODY, deadline) {
            Ok(message) => message,
            Err(Malformed::Connection(error)) => return Err(broken(error)),
            Err(Malformed::TooLarge) => return Err(nonsense(path, "it is too long")),
            Err(Malformed::NotHttp(reason)) => return Err(nonsense(path, reason)),
        };
        let mut words = message.first_line.split(' ');
        let version = words.next().unwrap_or("");
        let status =
            words.next().filter(|_| version.starts_with("HTTP/1.")).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| nonsense(path, "it has no HTTP status"))?;
        let body = String::from_utf8(message.body).map_err(|_| nonsense(path, "it is not text"))?;
        Ok((status, body))
    }

    fn connect(&self, deadline: Instant) -> Result<TcpStream, ChainError> {
        let unreachable = |error| failed(format!("{}: {error}", self.host));
        let mut last = failed(format!("{} has no address", self.host));
        for address in self.host.to_socket_addrs().map_err(unreachable)? {
            match TcpStream::connect_timeout(&address, remaining(deadline)?) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = unreachable(error),
            }
        }
        Err(last)
    }

    /// The answer to a GET, or `None` if the server does not know what was asked about.
    fn get(&self, path: &str) -> Result<Option<String>, ChainError> {
        match self.request("GET", path, "")? {
            (200, body) => Ok(Some(body)),
            (404, _) => Ok(None),
            (status, body) => Err(failed(format!("{path} was answered with {status}: {}", words(&body)))),
        }
    }

    fn get_json(&self, path: &str) -> Result<Option<Value>, ChainError> {
        let Some(body) = self.get(path)? else { return Ok(None) };
        serde_json::from_str(&body).map(Some).map_err(|_| nonsense(path, "it is not JSON"))
    }

    /// How deep a block of this height is.
    fn confirmations(&self, height: u32) -> Result<u32, ChainError> {
        let path = "/blocks/tip/height";
        let body = self.get(path)?.ok_or_else(|| nonsense(path, "it is not there"))?;
        let tip: u32 = body.trim().parse().map_err(|_| nonsense(path, "it is no height"))?;
        let above = tip.checked_sub(height).ok_or_else(|| nonsense(path, "the block is above the tip"))?;
        above.checked_add(1).ok_or_else(|| nonsense(path, "it is no height"))
    }

    fn spend(&self, outpoint: &OutPoint) -> Result<Option<(Txid, Option<u32>)>, ChainError> {
        let path = format!("/tx/{}/outspend/{}", outpoint.txid, outpoint.vout);
        let Some(answer) = self.get_json(&path)? else { return Ok(None) };
        match answer["spent"].as_bool() {
            Some(true) => {}
            Some(false) => return Ok(None),
            None => return Err(nonsense(&path, "it does not say whether the output is spent")),
        }
        let txid = answer["txid"].as_str().and_then(|txid| txid.parse().ok());
        let txid = txid.ok_or_else(|| nonsense(&path, "it does not say by what the output is spent"))?;
        Ok(Some((txid, height(&answer["status"], &path)?)))
    }
}

impl Broadcaster for Esplora {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        let path = "/tx";
        match self.request("POST", path, &to_hex(&transaction.bytes))? {
            (200, body) if body.trim().parse() == Ok(transaction.txid) => Ok(SubmitOutcome::Accepted),
            (200, body) => Err(nonsense(path, &format!("not the transaction's id: {}", words(&body)))),
            (400, body) => {
                if ALREADY_KNOWN.iter().any(|phrase| body.contains(phrase)) {
                    return Ok(SubmitOutcome::Accepted);
                }
                match rpc_code(&body) {
                    Some(code) if !ABOUT_TRANSACTION.contains(&code) => Err(failed(words(&body))),
                    _ => Ok(SubmitOutcome::Rejected(words(&body))),
                }
            }
            (status, body) => Err(failed(format!("{path} was answered with {status}: {}", words(&body)))),
        }
    }
}

impl ChainObserver for Esplora {
    /// Some servers answer "not confirmed" for a transaction that they have never heard of. So only one that
    /// spends an output is taken as seen.
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError> {
        let path = format!("/tx/{}/status", query.txid);
        let confirmed_at = match self.get_json(&path)? {
            Some(answer) => height(&answer, &path)?,
            None => None,
        };
        if let Some(height) = confirmed_at {
            return Ok(ChainStatus::Confirmed { height, confirmations: self.confirmations(height)? });
        }
        for outpoint in &query.spends {
            match self.spend(outpoint)? {
                Some((txid, None)) if txid == query.txid => return Ok(ChainStatus::Seen),
                Some((txid, Some(height))) => {
                    let confirmations = self.confirmations(height)?;
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
}

/// The height of a status object's block, `None` if it is in no block.
fn height(status: &Value, path: &str) -> Result<Option<u32>, ChainError> {
    match status["confirmed"].as_bool() {
        Some(false) => Ok(None),
        Some(true) => {
            let height = status["block_height"].as_u64().and_then(|height| u32::try_from(height).ok());
            height.map(Some).ok_or_else(|| nonsense(path, "a confirmed transaction has no block height"))
        }
        None => Err(nonsense(path, "it does not say whether the transaction is confirmed")),
    }
}

/// The code in `sendrawtransaction RPC error: {"code":-25,"message":"…"}`.
fn rpc_code(body: &str) -> Option<i64> {
    let object: Value = serde_json::from_str(&body[body.find('{')?..]).ok()?;
    object["code"].as_i64()
}

/// The server's words, cut and without control characters.
fn words(body: &str) -> String {
    body.trim().chars().take(WORDS).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

fn remaining(deadline: Instant) -> Result<Duration, ChainError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(failed("no answer in time")) } else { Ok(left) }
}

fn nonsense(path: &str, reason: &str) -> ChainError {
    failed(format!("the answer to {path} makes no sense: {reason}"))
}

fn failed(reason: impl Into<String>) -> ChainError {
    ChainError { reason: reason.into() }
}
