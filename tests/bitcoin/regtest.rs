//! A Bitcoin node on regtest, and requests to it that share nothing with the library.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libmusig::chain::sources::{BitcoinCore, CoreAuth, SourceOptions};
use libmusig::types::{Txid, to_hex};
use serde_json::{Value, json};

use test_support::nodes::{skip, wait_until};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);
/// Depth from which a coinbase can be spent.
pub const MATURITY: u32 = 100;

/// Where the node's program is; `None` after a line that says why there is none.
fn program(test: &str) -> Option<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("MUSIG_BITCOIND") {
            return Ok(path.into());
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bitcoin/fetch.sh");
        let output = Command::new(script).output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().into()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    });
    match found {
        Ok(path) => Some(path),
        Err(why) => {
            skip(test, why);
            None
        }
    }
}

/// A running node; killed when it is dropped.
pub struct Regtest {
    program: &'static Path,
    directory: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Regtest {
    /// A node that is ready; `None` after a line that says why there is none.
    pub fn start(test: &str, options: &[&str]) -> Option<Self> {
        let mut node = Self::prepare(test)?;
        node.run(options);
        Some(node)
    }

    /// A node that does not run yet, and where it will be.
    pub fn prepare(test: &str) -> Option<Self> {
        let program = program(test)?;
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("is bound").port();
        Some(Self { program, directory, port, child: None })
    }

    /// Starts it without waiting until it is ready.
    pub fn launch(&mut self, options: &[&str]) {
        assert!(self.child.is_none(), "it runs");
        let child = Command::new(self.program)
            .arg("-regtest")
            .arg(format!("-datadir={}", self.directory.path().display()))
            .arg(format!("-rpcport={}", self.port))
            .args(["-server", "-listen=0", "-dnsseed=0", "-fixedseeds=0", "-connect=0", "-disablewallet"])
            .args(["-printtoconsole=0", "-rpcthreads=8", "-rpcworkqueue=256", "-dbcache=16", "-par=1"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        self.child = Some(child);
    }

    /// Starts it and waits until it is ready.
    pub fn run(&mut self, options: &[&str]) {
        self.launch(options);
        wait_until("the node is ready", || {
            let exited = self.child.as_mut().expect("was started").try_wait().expect("is a child");
            assert!(exited.is_none(), "the node ended: {exited:?}; {}", self.log());
            self.try_call("getblockcount", &json!([])).is_ok_and(|answer| answer.is_ok())
        });
    }

    /// The end of what it wrote to its log.
    fn log(&self) -> String {
        let text =
            std::fs::read_to_string(self.directory.path().join("regtest/debug.log")).unwrap_or_default();
        text.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }

    /// Ends it as it likes to be ended: its mempool and chain are on the disk.
    pub fn stop(&mut self) {
        self.call("stop", json!([]));
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("is a child");
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn cookie(&self) -> PathBuf {
        self.directory.path().join("regtest/.cookie")
    }

    /// A source that asks this node.
    pub fn source(&self) -> BitcoinCore {
        self.source_with(&SourceOptions::new())
    }

    pub fn source_with(&self, options: &SourceOptions) -> BitcoinCore {
        BitcoinCore::with_options(&self.address(), CoreAuth::CookieFile(self.cookie()), options)
            .expect("an address")
    }

    /// One request. `Err`: no answer; `Ok(Err)`: the node's error.
    pub fn try_call(&self, method: &str, params: &Value) -> std::io::Result<Result<Value, Value>> {
        let cookie = std::fs::read_to_string(self.cookie())?;
        exchange(self.port, cookie.trim(), method, params)
    }

    #[track_caller]
    pub fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.try_call(method, &params).unwrap_or_else(|error| panic!("{method}: {error}"));
        answer.unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    pub fn height(&self) -> u32 {
        number(&self.call("getblockcount", json!([])))
    }

    pub fn tip(&self) -> String {
        text(&self.call("getbestblockhash", json!([])))
    }

    /// Mines blocks whose coinbases pay to a script.
    pub fn mine_to(&self, blocks: u32, script: &[u8]) {
        self.call("generatetodescriptor", json!([blocks, format!("raw({})", to_hex(script))]));
    }

    /// Mines blocks whose coinbases nobody spends, with what waits in the mempool.
    pub fn mine(&self, blocks: u32) {
        self.mine_to(blocks, &unspendable());
    }

    /// Mines a block with these transactions alone.
    pub fn mine_only(&self, transactions: &[&[u8]]) {
        let raw: Vec<_> = transactions.iter().map(|raw| to_hex(raw)).collect();
        self.call("generateblock", json!([format!("raw({})", to_hex(&unspendable())), raw]));
    }

    /// Submits by hand.
    #[track_caller]
    pub fn send(&self, raw: &[u8]) -> Txid {
        text(&self.call("sendrawtransaction", json!([to_hex(raw), 0]))).parse().expect("an id")
    }

    pub fn in_mempool(&self, txid: &Txid) -> bool {
        let mempool = self.call("getrawmempool", json!([]));
        mempool.as_array().expect("a list").iter().any(|entry| *entry == json!(txid.to_string()))
    }

    /// The height of the block that has a transaction; blocks are read one by one, from the tip down.
    pub fn height_of(&self, txid: &Txid) -> Option<u32> {
        let id = json!(txid.to_string());
        (0..=self.height()).rev().find(|height| {
            let hash = self.call("getblockhash", json!([height]));
            let block = self.call("getblock", json!([hash, 1]));
            block["tx"].as_array().expect("transactions").contains(&id)
        })
    }

    /// Takes back the blocks from this height on.
    pub fn invalidate_from(&self, height: u32) {
        let hash = self.call("getblockhash", json!([height]));
        self.call("invalidateblock", json!([hash]));
        assert_eq!(self.height(), height - 1);
    }

    /// Gives this node all blocks of another one that it lacks.
    pub fn follow(&self, other: &Regtest) {
        for height in 1..=other.height() {
            let hash = other.call("getblockhash", json!([height]));
            let block = other.call("getblock", json!([hash, 0]));
            let _ = self.try_call("submitblock", &json!([block])).expect("an answer");
        }
        assert_eq!(self.tip(), other.tip());
    }
}

impl Drop for Regtest {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One request to a node on loopback. `Err`: no answer; `Ok(Err)`: the node's error.
pub fn exchange(
    port: u16,
    login: &str,
    method: &str,
    params: &Value,
) -> std::io::Result<Result<Value, Value>> {
    let body = json!({ "jsonrpc": "1.0", "id": "test", "method": method, "params": params }).to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Basic {}\r\nContent-Length: {}\r\n\r\n",
        base64(login.as_bytes()),
        body.len()
    );
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(REQUEST))?;
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    let response: Value = serde_json::from_str(body).map_err(|_| ErrorKind::InvalidData)?;
    Ok(match &response["error"] {
        Value::Null => Ok(response["result"].clone()),
        error => Err(error.clone()),
    })
}

/// Another one each time, so that no block is one that was taken back.
fn unspendable() -> Vec<u8> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    [&[0x6a, 4][..], &NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes()].concat()
}

pub fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).expect("a number")
}

pub fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for index in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * index) & 63) as usize] as char;
            out.push(if index <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

/// Asks until the answer is as wanted, at most for [`REQUEST`].
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + REQUEST;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited too long until {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
