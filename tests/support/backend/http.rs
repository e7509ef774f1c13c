//! An HTTP server over a [`Chain`], in the style of Esplora: <https://github.com/Blockstream/esplora/blob/master/API.md>.
//!
//! `POST /tx`, `GET /tx/{txid}`, `…/status`, `…/outspend/{vout}`, `…/hex`, `GET /blocks/tip/height`, and, for tests,
//! `GET /submissions`. One request per connection.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bitcoin::hex::FromHex;
use libmusig::types::{OutPoint, Txid, to_hex};

use super::chain::{Chain, Place, RejectReason};

/// Bytes of the first line and the headers.
const HEAD: usize = 16 << 10;
/// Bytes of a submitted transaction: the largest block, in hexadecimal digits.
const BODY: usize = 8 << 20;
/// Connections at a time; others are closed.
const CONNECTIONS: usize = 64;
/// How long a peer may take for its whole request.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    miner: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Serves a chain on a free port of 127.0.0.1. With `block_interval`, blocks come at that interval from the first
    /// transaction in the mempool on; without, the chain's owner mines.
    pub fn start(chain: Arc<Chain>, block_interval: Option<Duration>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let miner = block_interval.map(|interval| {
            let (sender, stop) = mpsc::channel();
            let chain = chain.clone();
            threads.push(thread::spawn(move || {
                let mut begun = false;
                while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    begun |= chain.mempool_size() > 0;
                    if begun {
                        chain.mine();
                    }
                }
            }));
            sender
        });
        let stop = stopping.clone();
        threads.push(thread::spawn(move || accept(&listener, &chain, &stop)));
        Ok(Self { address, stopping, miner, threads })
    }

    /// Where it is, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.miner = None;
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, chain: &Arc<Chain>, stopping: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (chain, open) = (chain.clone(), open.clone());
        thread::spawn(move || {
            let _ = serve(stream, &chain);
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn serve(mut stream: TcpStream, chain: &Chain) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let answer = match read_message(&mut stream, Kind::Request, BODY, deadline) {
        Ok(Message { first_line, body }) => {
            let mut words = first_line.split(' ');
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            route(chain, method, path, &body)
        }
        Err(Malformed::Connection(error)) => return Err(error),
        Err(Malformed::TooLarge) => Answer::text(413, "too large"),
        Err(Malformed::NotHttp(reason)) => Answer::text(400, reason),
    };
    let phrase = match answer.status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        _ => "Bad Request",
    };
    let head = format!(
        "HTTP/1.1 {} {phrase}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.content_type,
        answer.body.len()
    );
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&[head.as_bytes(), answer.body.as_bytes()].concat())
}

struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain", body: body.into() }
    }

    fn json(body: String) -> Self {
        Self { status: 200, content_type: "application/json", body }
    }
}

fn route(chain: &Chain, method: &str, path: &str, body: &[u8]) -> Answer {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method, segments.as_slice()) {
        ("POST", ["tx"]) => submit(chain, body),
        ("GET", ["tx", txid, rest @ ..]) => match txid.parse() {
            Ok(txid) => about_transaction(chain, txid, rest),
            Err(_) => Answer::text(400, "Invalid hex string"),
        },
        ("GET", ["blocks", "tip", "height"]) => Answer::text(200, chain.tip().to_string()),
        ("GET", ["submissions"]) => submissions(chain),
        ("GET" | "POST", _) => Answer::text(404, "endpoint does not exist"),
        _ => Answer::text(405, "only GET and POST are known"),
    }
}

fn about_transaction(chain: &Chain, txid: Txid, rest: &[&str]) -> Answer {
    let unknown = || Answer::text(404, "Transaction not found");
    match rest {
        [] => match (chain.status(&txid), chain.raw(&txid)) {
            (Some(place), Some(raw)) => Answer::json(transaction_json(&txid, place, &raw)),
            _ => unknown(),
        },
        ["status"] => chain.status(&txid).map_or_else(unknown, |place| Answer::json(status_json(place))),
        ["hex"] => chain.raw(&txid).map_or_else(unknown, |raw| Answer::text(200, to_hex(&raw))),
        ["outspend", vout] => {
            let Ok(vout) = vout.parse() else { return Answer::text(400, "Invalid output number") };
            Answer::json(match chain.spend(&OutPoint { txid, vout }) {
                None => r#"{"spent":false}"#.into(),
                Some(spend) => format!(
                    r#"{{"spent":true,"txid":"{}","vin":{},"status":{}}}"#,
                    spend.txid,
                    spend.input,
                    status_json(spend.place)
                ),
            })
        }
        _ => Answer::text(404, "endpoint does not exist"),
    }
}

/// Of Esplora's answer what tells whether a coin exists: the outputs and the block.
fn transaction_json(txid: &Txid, place: Place, raw: &[u8]) -> String {
    let transaction: bitcoin::Transaction =
        bitcoin::consensus::deserialize(raw).expect("it was serialised by the chain");
    let output = |output: &bitcoin::TxOut| {
        let (script, value) = (to_hex(output.script_pubkey.as_bytes()), output.value.to_sat());
        format!(r#"{{"scriptpubkey":"{script}","value":{value}}}"#)
    };
    let outputs: Vec<String> = transaction.output.iter().map(output).collect();
    format!(r#"{{"txid":"{txid}","vout":[{}],"status":{}}}"#, outputs.join(","), status_json(place))
}

fn status_json(place: Place) -> String {
    match place {
        None => r#"{"confirmed":false}"#.into(),
        Some(height) => format!(r#"{{"confirmed":true,"block_height":{height}}}"#),
    }
}

fn submit(chain: &Chain, body: &[u8]) -> Answer {
    let digits = std::str::from_utf8(body).unwrap_or("not hexadecimal").trim();
    // What is no hexadecimal text is no transaction either.
    let raw = Vec::from_hex(digits).unwrap_or_default();
    match chain.submit(&raw) {
        Ok(txid) => Answer::text(200, txid.to_string()),
        Err(reason) => Answer::text(400, refusal(&reason)),
    }
}

fn refusal(reason: &RejectReason) -> String {
    format!(r#"sendrawtransaction RPC error: {{"code":{},"message":"{reason}"}}"#, reason.code())
}

fn submissions(chain: &Chain) -> Answer {
    let (transactions, undecodable) = chain.all_submissions();
    let entries: Vec<String> = transactions
        .iter()
        .map(|(txid, count)| {
            format!(r#""{txid}":{{"attempts":{},"accepted":{}}}"#, count.attempts, count.accepted)
        })
        .collect();
    Answer::json(format!(r#"{{"undecodable":{undecodable},"transactions":{{{}}}}}"#, entries.join(",")))
}

/// Which of the two an HTTP message is: without a length a request has no body, a response one up to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From a client.
    Request,
    /// From a server.
    Response,
}

/// An HTTP/1 message.
#[derive(Debug)]
pub struct Message {
    /// The request line or status line.
    pub first_line: String,
    /// What follows the headers.
    pub body: Vec<u8>,
}

/// Why there is no message.
#[derive(Debug)]
pub enum Malformed {
    /// The connection broke, or the time is over.
    Connection(io::Error),
    /// Head or body is longer than its limit.
    TooLarge,
    /// It breaks the rules of HTTP, or uses what is not supported here.
    NotHttp(&'static str),
}

/// Reads one message, until `deadline` at most.
pub fn read_message(
    stream: &mut TcpStream,
    kind: Kind,
    body_limit: usize,
    deadline: Instant,
) -> Result<Message, Malformed> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > HEAD {
            return Err(Malformed::TooLarge);
        }
        if !read_some(stream, &mut bytes, deadline)? {
            return Err(Malformed::NotHttp("the connection ended within the headers"));
        }
    };
    let mut body = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).map_err(|_| Malformed::NotHttp("the headers are not text"))?;
    let mut lines = head.split("\r\n");
    let first_line = lines.next().unwrap_or("").to_owned();
    let mut length: Option<usize> = None;
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Malformed::NotHttp("transfer encodings are not supported"));
        }
        if name.eq_ignore_ascii_case("content-length") {
            let value = value.trim();
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            if !digits || length.is_some() {
                return Err(Malformed::NotHttp("the content length is not one number"));
            }
            length = Some(value.parse().map_err(|_| Malformed::TooLarge)?);
        }
    }
    let wanted = match kind {
        Kind::Request => Some(length.unwrap_or(0)),
        Kind::Response => length,
    };
    loop {
        if body.len() > body_limit || wanted > Some(body_limit) {
            return Err(Malformed::TooLarge);
        }
        if wanted.is_some_and(|wanted| body.len() >= wanted) {
            body.truncate(wanted.unwrap_or(0));
            return Ok(Message { first_line, body });
        }
        if !read_some(stream, &mut body, deadline)? {
            return match wanted {
                None => Ok(Message { first_line, body }),
                Some(_) => Err(Malformed::NotHttp("the connection ended within the body")),
            };
        }
    }
}

/// Appends what has arrived. `false`: the other side has closed.
fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>, deadline: Instant) -> Result<bool, Malformed> {
    let mut buffer = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Malformed::Connection(io::ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(left)).map_err(Malformed::Connection)?;
        match stream.read(&mut buffer) {
            Ok(count) => {
                into.extend_from_slice(&buffer[..count]);
                return Ok(count > 0);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Malformed::Connection(error)),
        }
    }
}
