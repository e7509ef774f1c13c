//! `BitcoinCore` against scripted nodes: what a real one of one version does not show.

use std::sync::{Arc, Mutex};

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash, CompactTarget, Transaction, TxMerkleNode, block};
use libmusig::chain::sources::{BitcoinCore, BroadcastAnswer, CoreAuth, Source, Sources};
use libmusig::chain::{
    Broadcaster, ChainObserver, ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome,
};
use libmusig::types::{OutPoint, Txid, to_hex};
use serde_json::{Value, json};

use super::scripted::{Scripted, http};
use crate::payment::{anybody_pays, txid};

fn error(code: i64, message: &str) -> Value {
    json!({ "code": code, "message": message })
}

fn core(server: &Scripted) -> BitcoinCore {
    BitcoinCore::new(&server.url(), CoreAuth::None).expect("an address")
}

/// A chain of blocks without proof of work, which forgets all outputs.
struct Blocks {
    /// From the genesis on.
    blocks: Vec<Block>,
    pruned_below: usize,
    /// Which blocks were read, by height.
    read: Vec<usize>,
    /// Names spenders of outputs in blocks, as Core 31 with an index does.
    names_spenders: bool,
    /// Has only headers of blocks in the main chain, as btcd.
    only_main: bool,
}

impl Blocks {
    fn new(height: usize) -> Self {
        let (blocks, read) = (Vec::new(), Vec::new());
        let mut chain = Self { blocks, pruned_below: 0, read, names_spenders: false, only_main: false };
        (0..=height).for_each(|_| chain.push(Vec::new(), 0));
        chain
    }

    fn push(&mut self, txdata: Vec<Transaction>, nonce: u32) {
        let previous = self.blocks.last().map_or(BlockHash::all_zeros(), Block::block_hash);
        let header = block::Header {
            version: block::Version::TWO,
            prev_blockhash: previous,
            merkle_root: TxMerkleNode::all_zeros(),
            time: u32::try_from(self.blocks.len()).expect("few"),
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce,
        };
        self.blocks.push(Block { header, txdata });
    }

    fn height_of(&self, hash: &str) -> Option<usize> {
        self.blocks.iter().position(|block| block.block_hash().to_string() == hash)
    }

    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        let text = || params[0].as_str().expect("text");
        match method {
            // btcd's words for a question that it does not know.
            "getmempoolentry" => Err(error(-1, "Command unimplemented")),
            "getrawtransaction" => Err(error(-5, "No such thing")),
            "gettxout" => Ok(Value::Null),
            "gettxspendingprevout" => {
                let asked = params[0].as_array().expect("outputs");
                let spender = |output: &Value| {
                    let mut answer = output.clone();
                    for block in self.blocks.iter().filter(|_| self.names_spenders) {
                        for transaction in &block.txdata {
                            let spends = |input: &bitcoin::TxIn| {
                                output["txid"] == input.previous_output.txid.to_string()
                                    && output["vout"] == input.previous_output.vout
                            };
                            if transaction.input.iter().any(spends) {
                                answer["spendingtxid"] = json!(txid(transaction).to_string());
                                answer["blockhash"] = json!(block.block_hash().to_string());
                            }
                        }
                    }
                    answer
                };
                Ok(asked.iter().map(spender).collect())
            }
            "getbestblockhash" => Ok(json!(self.blocks.last().expect("a genesis").block_hash().to_string())),
            "getblock" => {
                let height = self.height_of(text()).ok_or_else(|| error(-5, "Block not found"))?;
                if height < self.pruned_below {
                    return Err(error(-1, "Block not available (pruned data)"));
                }
                self.read.push(height);
                Ok(json!(to_hex(&serialize(&self.blocks[height]))))
            }
            "getblockheader" => {
                let gone = || match self.only_main {
                    true => error(-32_603, &format!("block {} is not in the main chain", text())),
                    false => error(-5, "Block not found"),
                };
                let height = self.height_of(text()).ok_or_else(gone)?;
                Ok(json!({ "height": height, "confirmations": self.blocks.len() - height }))
            }
            _ => Err(error(-32_601, "Method not found")),
        }
    }
}

fn serve(chain: &Arc<Mutex<Blocks>>) -> Scripted {
    let chain = chain.clone();
    Scripted::rpc(move |method, params| chain.lock().expect("no panic").answer(method, params))
}

fn own() -> (Transaction, ChainQuery) {
    let coins = [2, 3].map(|byte| OutPoint { txid: Txid([byte; 32]), vout: 1 });
    let transaction = anybody_pays(&coins, 4_000);
    let query = ChainQuery { txid: txid(&transaction), spends: coins.to_vec() };
    (transaction, query)
}

#[test]
fn core_reads_each_block_once_to_find_a_spender() {
    let chain = Arc::new(Mutex::new(Blocks::new(30)));
    let server = serve(&chain);
    let (transaction, query) = own();
    let node = core(&server);
    let read = || std::mem::take(&mut chain.lock().expect("no panic").read);
    assert_eq!(node.status(&query), Ok(ChainStatus::Unknown));
    assert_eq!(read(), (0..=30).rev().collect::<Vec<_>>());
    assert_eq!(node.status(&query), Ok(ChainStatus::Unknown));
    assert_eq!(read(), [] as [usize; 0]);
    chain.lock().expect("no panic").push(Vec::new(), 0);
    chain.lock().expect("no panic").push(Vec::new(), 0);
    assert_eq!(node.status(&query), Ok(ChainStatus::Unknown));
    assert_eq!(read(), [32, 31], "only the new ones");
    // Three blocks are replaced by others; one of these has it.
    {
        let mut chain = chain.lock().expect("no panic");
        chain.blocks.truncate(30);
        chain.push(Vec::new(), 1);
        chain.push(vec![transaction.clone()], 1);
        chain.push(Vec::new(), 1);
    }
    assert_eq!(node.status(&query), Ok(ChainStatus::Confirmed { height: 31, confirmations: 2 }));
    assert_eq!(read(), [32, 31]);
    // Where it is, is remembered, until the block is gone.
    assert_eq!(node.status(&query), Ok(ChainStatus::Confirmed { height: 31, confirmations: 2 }));
    assert_eq!(read(), [] as [usize; 0]);
    chain.lock().expect("no panic").blocks.truncate(31);
    assert_eq!(node.status(&query), Ok(ChainStatus::Unknown));
    read();
    let rival = anybody_pays(&query.spends[1..], 3_000);
    chain.lock().expect("no panic").push(vec![rival.clone()], 2);
    let conflict = ChainStatus::Conflict { txid: txid(&rival), confirmations: 1 };
    assert_eq!(node.status(&query), Ok(conflict));
}

#[test]
fn core_that_has_no_header_of_a_reorganised_block_has_lost_it() {
    let chain = Arc::new(Mutex::new(Blocks::new(3)));
    let server = serve(&chain);
    let (transaction, query) = own();
    chain.lock().expect("no panic").push(vec![transaction], 0);
    chain.lock().expect("no panic").only_main = true;
    let node = core(&server);
    assert_eq!(node.status(&query), Ok(ChainStatus::Confirmed { height: 4, confirmations: 1 }));
    chain.lock().expect("no panic").blocks.truncate(4);
    assert_eq!(node.status(&query), Ok(ChainStatus::Unknown));
}

#[test]
fn core_that_pruned_its_blocks_is_asked_no_further() {
    let chain = Arc::new(Mutex::new(Blocks::new(30)));
    let server = serve(&chain);
    let (transaction, query) = own();
    {
        let mut chain = chain.lock().expect("no panic");
        chain.blocks.truncate(10);
        chain.push(vec![transaction.clone()], 1);
        (0..20).for_each(|_| chain.push(Vec::new(), 1));
        chain.pruned_below = 25;
    }
    let node = core(&server);
    for _ in 0..3 {
        assert_eq!(node.status(&query), Ok(ChainStatus::Unknown));
    }
    assert_eq!(chain.lock().expect("no panic").read, (25..=30).rev().collect::<Vec<_>>());
}

#[test]
fn core_with_an_index_of_spenders_is_asked_for_no_block() {
    let chain = Arc::new(Mutex::new(Blocks::new(30)));
    let server = serve(&chain);
    let (transaction, query) = own();
    {
        let mut chain = chain.lock().expect("no panic");
        chain.names_spenders = true;
        chain.push(vec![transaction.clone()], 1);
    }
    assert_eq!(core(&server).status(&query), Ok(ChainStatus::Confirmed { height: 31, confirmations: 1 }));
    let rival = anybody_pays(&query.spends[..1], 3_000);
    {
        let mut chain = chain.lock().expect("no panic");
        chain.blocks.truncate(31);
        chain.push(vec![rival.clone()], 2);
    }
    let conflict = ChainStatus::Conflict { txid: txid(&rival), confirmations: 1 };
    assert_eq!(core(&server).status(&query), Ok(conflict));
    assert_eq!(chain.lock().expect("no panic").read, [] as [usize; 0]);
}

#[test]
fn core_that_takes_no_batches_is_asked_one_by_one() {
    let chain = Arc::new(Mutex::new(Blocks::new(3)));
    let answers = chain.clone();
    let server = Scripted::http(move |_, body| {
        let request: Value = serde_json::from_str(body).expect("JSON");
        if request.is_array() {
            return http(
                200,
                r#"{"result":null,"error":{"code":-32600,"message":"Invalid request"},"id":null}"#,
            );
        }
        let method = request["method"].as_str().expect("a method");
        let mut response = json!({ "id": request["id"], "result": null, "error": null });
        match answers.lock().expect("no panic").answer(method, &request["params"]) {
            Ok(result) => response["result"] = result,
            Err(error) => response["error"] = error,
        }
        http(500, &response.to_string())
    });
    let (transaction, query) = own();
    chain.lock().expect("no panic").push(vec![transaction], 1);
    assert_eq!(core(&server).status(&query), Ok(ChainStatus::Confirmed { height: 4, confirmations: 1 }));
}

#[test]
fn core_that_knows_no_fee_limit_is_asked_without_one() {
    let server = Scripted::rpc(|_, params| match params.as_array().map(Vec::len) {
        Some(1) => {
            let raw: Vec<u8> =
                bitcoin::hex::FromHex::from_hex(params[0].as_str().expect("hex")).expect("hex");
            let transaction: Transaction = deserialize(&raw).expect("a transaction");
            Ok(json!(txid(&transaction).to_string()))
        }
        _ => Err(error(-3, "Expected type bool, got number")),
    });
    let (transaction, _) = own();
    let signed = SignedTransaction { txid: txid(&transaction), bytes: serialize(&transaction) };
    assert_eq!(core(&server).broadcast(&signed), BroadcastAnswer::Accepted);
}

#[test]
fn core_response_to_another_request_is_no_answer() {
    let server = Scripted::http(|_, body| {
        let request: Value = serde_json::from_str(body).expect("JSON");
        let id = request["id"].as_u64().unwrap_or(0) + 1;
        http(200, &json!({ "id": id, "result": { "blocks": 7, "mediantime": 7 }, "error": null }).to_string())
    });
    let reason = core(&server).tip().expect_err("an answer to something else").reason;
    assert!(reason.contains("another request"), "{reason}");
}

#[test]
fn sources_without_a_trusted_one_do_not_look() {
    let (_, query) = own();
    let server = Scripted::rpc(|_, _| Err(error(-26, "the moon")));
    let sources = Sources::new().submit_to(core(&server));
    let reason = sources.status(&query).expect_err("nobody looks").reason;
    assert!(reason.contains("add one as trusted"), "{reason}");
    assert_eq!(server.connections(), 0);
    let nobody = Sources::new().broadcast(&SignedTransaction { txid: Txid([1; 32]), bytes: vec![0] });
    assert!(matches!(nobody, BroadcastAnswer::Misconfigured { .. }), "{nobody:?}");
}

#[test]
fn sources_answer_with_the_best_and_name_the_others() {
    let transaction = SignedTransaction { txid: Txid([1; 32]), bytes: vec![0] };
    let refusing = |words: &'static str| Scripted::rpc(move |_, _| Err(error(-26, words)));
    let (moon, dust, starting) =
        (refusing("the moon"), refusing("dust"), Scripted::rpc(|_, _| Err(error(-28, "x"))));
    let taking = Scripted::rpc(|_, _| Ok(json!(Txid([1; 32]).to_string())));
    let sources = Sources::new().submit_to(core(&moon)).submit_to(core(&starting)).submit_to(core(&dust));
    match sources.broadcast(&transaction) {
        BroadcastAnswer::Rejected { words, .. } => {
            assert!(
                words.contains("the moon") && words.contains("dust") && words.contains(&moon.url()),
                "{words}"
            );
        }
        answer => panic!("{answer:?}"),
    }
    let sources = sources.submit_to(core(&taking));
    assert_eq!(sources.broadcast(&transaction), BroadcastAnswer::Accepted);
    let later = refusing("non-final");
    let sources = Sources::new().submit_to(core(&moon)).trusted(core(&later));
    assert!(matches!(sources.broadcast(&transaction), BroadcastAnswer::NotYetFinal { .. }));
    assert_eq!(sources.submit(&transaction), Ok(SubmitOutcome::NotYetFinal));
}

/// A node that estimates so many bitcoins for 1,000 virtual bytes, or says that.
fn estimating(answer: Result<Value, Value>) -> Scripted {
    Scripted::rpc(move |method, params| {
        assert_eq!((method, params), ("estimatesmartfee", &json!([144, "economical"])));
        answer.clone()
    })
}

#[test]
fn core_is_congested_if_a_patient_transaction_pays_more_than_two_satoshis() {
    for (answer, congested) in [
        (Ok(json!({ "feerate": 0.00002001, "blocks": 144 })), Some(true)),
        (Ok(json!({ "feerate": 0.00002, "blocks": 144 })), Some(false)),
        (Ok(json!({ "feerate": 0.000001, "blocks": 144 })), Some(false)),
        (Ok(json!({ "errors": ["Insufficient data or no feerate found"], "blocks": 0 })), None),
        (Ok(json!({ "feerate": -1, "blocks": 144 })), None),
        (Err(error(-32601, "Method not found")), None),
    ] {
        let server = estimating(answer.clone());
        assert_eq!(core(&server).congested(), Ok(congested), "{answer:?}");
    }
    let starting = estimating(Err(error(-28, "Loading block index")));
    assert!(core(&starting).congested().expect_err("it is starting").reason.contains("Loading"));
}

#[test]
fn sources_are_congested_if_any_trusted_one_says_so() {
    let high = || core(&estimating(Ok(json!({ "feerate": 0.0003 }))));
    let low = || core(&estimating(Ok(json!({ "feerate": 0.00001 }))));
    let (unknown, down) = (core(&estimating(Ok(json!({})))), core(&estimating(Err(error(-28, "x")))));
    assert_eq!(Sources::new().trusted(low()).trusted(high()).congested(), Ok(Some(true)));
    assert_eq!(Sources::new().trusted(low()).submit_to(high()).congested(), Ok(Some(false)));
    let mixed = Sources::new().trusted(unknown).trusted(down);
    assert_eq!(mixed.congested(), Ok(None));
    assert_eq!(mixed.trusted(low()).congested(), Ok(Some(false)));
    assert!(Sources::new().submit_to(high()).congested().is_err(), "nobody is trusted");
}
