//! A Bitcoin node on regtest, and requests to it that share nothing with the library.
//!
//! It is Bitcoin Knots; where `MUSIG_BTCD` is the path of btcd, it is that. What btcd cannot do is listed in [`NOT_BTCD`].

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::script::Builder;
use bitcoin::{Amount, Block, CompactTarget, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use libmusig::chain::sources::{BitcoinCore, CoreAuth, SourceOptions};
use libmusig::types::{Txid, to_hex};
use serde_json::{Value, json};

use test_support::nodes::{skip, wait_until};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);
/// Depth from which a coinbase can be spent.
pub const MATURITY: u32 = 100;

/// Login at btcd, which writes no cookie file.
const BTCD_LOGIN: [&str; 2] = ["me", "s3cret"];

const RESTART: &str = "btcd removes its regtest chain when it starts";

/// Tests that need what btcd does not have, and what that is.
const NOT_BTCD: &[(&str, &str)] = &[
    ("regtest_node_that_is_starting_says_so", "btcd answers nothing before it is ready"),
    ("regtest_credentials_and_what_is_said_of_them", "btcd has neither cookie files nor rpcauth"),
    ("regtest_coins_and_the_tip", "btcd does not say what the mempool spends"),
    ("regtest_every_kind_of_answer_to_a_submission", "btcd takes by RPC what pays no fee"),
    ("regtest_fee_that_is_too_low_is_told_in_the_nodes_words", "btcd takes by RPC what pays no fee"),
    (
        "regtest_fee_that_is_too_low_is_bumped_by_a_session_that_replaces_it",
        "btcd takes by RPC what pays no fee",
    ),
    ("regtest_backend_that_is_down_first_and_comes_back_later", RESTART),
    ("regtest_evicted_transaction_is_submitted_again", RESTART),
    ("regtest_bump_that_is_reorganised_away_is_submitted_again_or_gives_way_to_what_it_replaced", RESTART),
    ("regtest_lock_time_by_the_clock_is_waited_for_by_all", "btcd has no setmocktime"),
    ("regtest_electrumx_submits_and_observes", "ElectrumX is set up for Bitcoin Core here"),
    ("regtest_signers_spend_a_coin_through_electrumx", "ElectrumX is set up for Bitcoin Core here"),
    ("regtest_demo", "the demo is of Bitcoin Knots"),
];

/// btcd's program, if it takes the place of Knots.
fn btcd() -> Option<&'static Path> {
    static BTCD: OnceLock<Option<PathBuf>> = OnceLock::new();
    BTCD.get_or_init(|| std::env::var_os("MUSIG_BTCD").map(PathBuf::from)).as_deref()
}

/// Whether the node is btcd.
pub fn is_btcd() -> bool {
    btcd().is_some()
}

/// Where the node's program is; `None` after a line that says why there is none.
fn program(test: &str) -> Option<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(btcd) = btcd() {
        let lacking = NOT_BTCD.iter().find(|(name, _)| *name == test);
        return match lacking {
            Some((_, why)) => {
                skip(test, why);
                None
            }
            None => Some(btcd),
        };
    }
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
        let mut command = if is_btcd() { self.btcd(options) } else { self.core(options) };
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        self.child = Some(child);
    }

    fn core(&self, options: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command
            .arg("-regtest")
            .arg(format!("-datadir={}", self.directory.path().display()))
            .arg(format!("-rpcport={}", self.port))
            .args(["-server", "-listen=0", "-dnsseed=0", "-fixedseeds=0", "-connect=0", "-disablewallet"])
            .args(["-printtoconsole=0", "-rpcthreads=8", "-rpcworkqueue=256", "-dbcache=16", "-par=1"])
            .args(options);
        command
    }

    fn btcd(&self, options: &[&str]) -> Command {
        let [user, password] = BTCD_LOGIN;
        std::fs::create_dir_all(self.directory.path().join("regtest")).expect("a directory");
        std::fs::write(self.cookie(), format!("{user}:{password}")).expect("is written");
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let mut command = Command::new(self.program);
        command
            .args(["--regtest", "--notls", "--nolisten", "--nobanning"])
            .args([format!("--rpcuser={user}"), format!("--rpcpass={password}")])
            .arg(format!("--rpclisten=127.0.0.1:{}", self.port))
            .args([format!("--datadir={}", at("data")), format!("--logdir={}", at("log"))])
            .arg(format!("--configfile={}", at("none")));
        for option in options {
            match *option {
                "-txindex=1" => drop(command.arg("--txindex")),
                other => panic!("{other} is not known for btcd"),
            }
        }
        command
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
        let file = if is_btcd() { "log/regtest/btcd.log" } else { "regtest/debug.log" };
        let text = std::fs::read_to_string(self.directory.path().join(file)).unwrap_or_default();
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
        if is_btcd() {
            return (0..blocks).for_each(|_| self.mine_block(script, self.mempool()));
        }
        self.call("generatetodescriptor", json!([blocks, format!("raw({})", to_hex(script))]));
    }

    /// Mines blocks whose coinbases nobody spends, with what waits in the mempool.
    pub fn mine(&self, blocks: u32) {
        self.mine_to(blocks, &unspendable());
    }

    /// Mines a block with these transactions alone.
    pub fn mine_only(&self, transactions: &[&[u8]]) {
        if is_btcd() {
            let decode = |raw: &&[u8]| bitcoin::consensus::deserialize(raw).expect("a transaction");
            return self.mine_block(&unspendable(), transactions.iter().map(decode).collect());
        }
        let raw: Vec<_> = transactions.iter().map(|raw| to_hex(raw)).collect();
        self.call("generateblock", json!([format!("raw({})", to_hex(&unspendable())), raw]));
    }

    /// What waits in the mempool, parents first.
    fn mempool(&self) -> Vec<Transaction> {
        let ids = self.call("getrawmempool", json!([]));
        let ids = ids.as_array().cloned().unwrap_or_default();
        let mut waiting: Vec<Transaction> = ids
            .iter()
            .map(|id| {
                let raw = bytes(&text(&self.call("getrawtransaction", json!([id, 0]))));
                bitcoin::consensus::deserialize(&raw).expect("a transaction")
            })
            .collect();
        let mut ordered: Vec<Transaction> = Vec::new();
        while !waiting.is_empty() {
            let unmet: Vec<_> = waiting.iter().map(Transaction::compute_txid).collect();
            let (ready, rest) = waiting.into_iter().partition(|transaction: &Transaction| {
                !transaction.input.iter().any(|input| unmet.contains(&input.previous_output.txid))
            });
            ordered.extend::<Vec<_>>(ready);
            waiting = rest;
        }
        ordered
    }

    /// A block of our own making, whose coinbase pays to a script and takes no fees.
    fn mine_block(&self, script: &[u8], transactions: Vec<Transaction>) {
        let info = self.call("getblockchaininfo", json!([]));
        let height = number(&info["blocks"]) + 1;
        let previous = text(&info["bestblockhash"]);
        let median = number(&info["mediantime"]);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as u32;
        let coinbase = Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: vec![TxIn {
                previous_output: bitcoin::OutPoint::null(),
                script_sig: Builder::new()
                    .push_int(height.into())
                    .push_slice(EXTRA.fetch_add(1, Ordering::Relaxed).to_be_bytes())
                    .into_script(),
                sequence: Sequence::MAX,
                witness: Witness::from_slice(&[[0; 32]]),
            }],
            output: vec![TxOut {
                value: Amount::from_sat(5_000_000_000 >> (height / 150)),
                script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
            }],
        };
        let mut block = Block {
            header: Header {
                version: bitcoin::block::Version::from_consensus(0x2000_0000),
                prev_blockhash: previous.parse().expect("an id"),
                merkle_root: bitcoin::TxMerkleNode::all_zeros(),
                time: now.max(median + 1),
                bits: CompactTarget::from_consensus(0x207f_ffff),
                nonce: 0,
            },
            txdata: [vec![coinbase], transactions].concat(),
        };
        let root = block.witness_root().expect("has transactions");
        let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
        let mut script = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
        script.extend(commitment.to_byte_array());
        let output = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(script) };
        block.txdata[0].output.push(output);
        block.header.merkle_root = block.compute_merkle_root().expect("has transactions");
        while !block.header.target().is_met_by(block.header.block_hash()) {
            block.header.nonce += 1;
        }
        let raw = to_hex(&bitcoin::consensus::serialize(&block));
        let answer = self.call("submitblock", json!([raw]));
        assert!(answer.is_null(), "{answer}");
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

/// In the coinbases of blocks of our own, so that no two of them are the same.
static EXTRA: AtomicU32 = AtomicU32::new(1);

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
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
