//! Coins on regtest: what a node pays to a script, and transactions that spend that.

use bitcoin::consensus::serialize;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Amount, Transaction, Witness};
use libmusig::chain::{ChainQuery, SignedTransaction};
use libmusig::types::{OutPoint, Txid};
use serde_json::json;

use crate::regtest::{MATURITY, Regtest, text};

/// An output that exists.
#[derive(Clone, Debug)]
pub struct Coin {
    pub at: OutPoint,
    pub value: u64,
    pub script: Vec<u8>,
}

/// `OP_DROP OP_1`, to be spent in P2WSH by anybody.
const ANYBODY: [u8; 2] = [0x75, 0x51];

pub fn anybody_script() -> Vec<u8> {
    [&[0x00, 0x20], sha256::Hash::hash(&ANYBODY).as_byte_array().as_slice()].concat()
}

/// Mines coins to a script, and blocks on top until they can be spent.
pub fn fund(node: &Regtest, script: &[u8], coins: u32) -> Vec<Coin> {
    let first = node.height() + 1;
    node.mine_to(coins, script);
    node.mine(MATURITY);
    (first..first + coins)
        .map(|height| {
            let hash = node.call("getblockhash", json!([height]));
            let block = node.call("getblock", json!([hash, 2]));
            // btcd has the whole ones under another name.
            let coinbase = if block["rawtx"].is_array() { &block["rawtx"][0] } else { &block["tx"][0] };
            let value = coinbase["vout"][0]["value"].as_f64().expect("an amount");
            Coin {
                at: OutPoint { txid: text(&coinbase["txid"]).parse().expect("an id"), vout: 0 },
                value: Amount::from_btc(value).expect("an amount").to_sat(),
                script: script.to_vec(),
            }
        })
        .collect()
}

/// A transaction without witnesses.
pub fn unsigned(coins: &[Coin], outputs: &[(u64, Vec<u8>)]) -> Transaction {
    let spends: Vec<OutPoint> = coins.iter().map(|coin| coin.at).collect();
    test_support::psbt::unsigned(&spends, outputs)
}

/// Spends what anybody can spend, into outputs that anybody can spend.
pub fn anybody_pays(coins: &[Coin], values: &[u64]) -> Transaction {
    let outputs: Vec<_> = values.iter().map(|value| (*value, anybody_script())).collect();
    let mut transaction = unsigned(coins, &outputs);
    for input in &mut transaction.input {
        input.witness = Witness::from_slice(&[&[1][..], &ANYBODY]);
    }
    transaction
}

/// An output of a transaction.
pub fn coin_of(transaction: &Transaction, vout: u32) -> Coin {
    let output = &transaction.output[vout as usize];
    Coin {
        at: OutPoint { txid: txid(transaction), vout },
        value: output.value.to_sat(),
        script: output.script_pubkey.to_bytes(),
    }
}

pub fn txid(transaction: &Transaction) -> Txid {
    Txid(transaction.compute_txid().to_byte_array())
}

pub fn signed(transaction: &Transaction) -> SignedTransaction {
    SignedTransaction { txid: txid(transaction), bytes: serialize(transaction) }
}

pub fn query(transaction: &Transaction) -> ChainQuery {
    let spends = transaction.input.iter().map(|input| OutPoint {
        txid: Txid(input.previous_output.txid.to_byte_array()),
        vout: input.previous_output.vout,
    });
    ChainQuery { txid: txid(transaction), spends: spends.collect() }
}
