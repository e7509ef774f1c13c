//! `Electrum` against a scripted server that has a small chain and speaks as ElectrumX does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::Transaction;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::FromHex;
use libmusig::chain::sources::{
    BroadcastAnswer, ChainTip, CoinStatus, Electrum, RejectionKind, Source, SourceOptions,
};
use libmusig::chain::{ChainObserver, ChainQuery, ChainStatus, SignedTransaction};
use libmusig::types::{OutPoint, Txid, to_hex};
use serde_json::{Value, json};

use super::scripted::Scripted;
use crate::payment::{anybody_pays, anybody_script, txid, unsigned};

/// Transactions, each in a block of a height, or in the mempool.
#[derive(Default)]
struct World {
    transactions: Vec<(Transaction, Option<u32>)>,
    tip: u32,
    /// What it says of every submission.
    says: Option<String>,
    /// Questions, as they came.
    asked: Vec<String>,
}

fn script_hash(script: &[u8]) -> String {
    let mut hash = sha256::Hash::hash(script).to_byte_array();
    hash.reverse();
    to_hex(&hash)
}

fn error(message: &str) -> Value {
    json!({ "code": 1, "message": message })
}

impl World {
    fn find(&self, id: &str) -> Option<&(Transaction, Option<u32>)> {
        self.transactions.iter().find(|(transaction, _)| txid(transaction).to_string() == id)
    }

    /// The outputs with a script, and their transactions' places.
    fn outputs(&self, hash: &str) -> Vec<(OutPoint, u64, Option<u32>)> {
        let mut found = Vec::new();
        for (transaction, place) in &self.transactions {
            for (vout, output) in (0..).zip(&transaction.output) {
                if script_hash(output.script_pubkey.as_bytes()) == hash {
                    let at = OutPoint { txid: txid(transaction), vout };
                    found.push((at, output.value.to_sat(), *place));
                }
            }
        }
        found
    }

    fn spends(transaction: &Transaction, coin: &OutPoint) -> bool {
        transaction.input.iter().any(|input| {
            input.previous_output.txid.to_byte_array() == coin.txid.0
                && input.previous_output.vout == coin.vout
        })
    }

    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        self.asked.push(method.into());
        let text = || params[0].as_str().expect("text").to_owned();
        let height = |place: &Option<u32>| place.map_or(0, |height| height);
        match method {
            "server.version" => Ok(json!(["ElectrumX 1.18.0", "1.4"])),
            "blockchain.transaction.broadcast" => {
                let raw: Vec<u8> = FromHex::from_hex(&text()).expect("hex");
                if let Some(words) = &self.says {
                    let whole =
                        format!("the transaction was rejected by network rules.\n\n{words}\n[{}]", text());
                    return Err(error(&whole));
                }
                let transaction: Transaction = deserialize(&raw).expect("a transaction");
                let id = txid(&transaction).to_string();
                self.transactions.push((transaction, None));
                Ok(json!(id))
            }
            "blockchain.transaction.get" => match self.find(&text()) {
                Some((transaction, _)) => Ok(json!(to_hex(&serialize(transaction)))),
                None => Err(
                    json!({ "code": 2, "message": "daemon error: DaemonError({'code': -5, 'message': 'No such \
                    mempool or blockchain transaction. Use gettransaction for wallet transactions.'})" }),
                ),
            },
            "blockchain.scripthash.get_history" => {
                let outputs = self.outputs(&text());
                let touches = |transaction: &Transaction| {
                    outputs
                        .iter()
                        .any(|(at, ..)| at.txid == txid(transaction) || Self::spends(transaction, at))
                };
                let entry = |(transaction, place): &(Transaction, Option<u32>)| {
                    let id = txid(transaction).to_string();
                    touches(transaction).then(|| json!({ "tx_hash": id, "height": height(place) }))
                };
                Ok(self.transactions.iter().filter_map(entry).collect())
            }
            "blockchain.scripthash.listunspent" => {
                let unspent = |(at, ..): &&(OutPoint, u64, Option<u32>)| {
                    !self.transactions.iter().any(|(transaction, _)| Self::spends(transaction, at))
                };
                let entry = |(at, value, place): &(OutPoint, u64, Option<u32>)| json!({ "tx_hash": at.txid.to_string(), "tx_pos": at.vout, "value": value, "height": height(place) });
                Ok(self.outputs(&text()).iter().filter(unspent).map(entry).collect())
            }
            "blockchain.headers.subscribe" => Ok(json!({ "hex": "00".repeat(80), "height": self.tip })),
            "blockchain.block.headers" => {
                let (first, count) =
                    (params[0].as_u64().expect("a height"), params[1].as_u64().expect("a count"));
                // The time of a block: 10,000 and 1,000 times its height, but every second one is 5,000 behind.
                let header = |height: u64| {
                    let behind = if height.is_multiple_of(2) { 5_000 } else { 0 };
                    let time = u32::try_from(10_000 + height * 1_000 - behind).expect("small");
                    let mut header = [0; 80];
                    header[68..72].copy_from_slice(&time.to_le_bytes());
                    to_hex(&header)
                };
                let hex: String = (first..first + count).map(header).collect();
                Ok(json!({ "hex": hex, "count": count, "max": 2016 }))
            }
            _ => Err(json!({ "code": -32601, "message": format!("unknown method {method:?}") })),
        }
    }
}

fn served() -> (Arc<Mutex<World>>, Scripted, Electrum) {
    let world = Arc::new(Mutex::new(World { tip: 150, ..World::default() }));
    let answers = world.clone();
    let server =
        Scripted::lines(move |method, params| answers.lock().expect("no panic").answer(method, params));
    let electrum = Electrum::new(&server.tcp()).expect("an address");
    (world, server, electrum)
}

/// A transaction with coins that anybody can spend, in a block.
fn funding(world: &Arc<Mutex<World>>, salt: u8, coins: usize) -> Vec<OutPoint> {
    let nowhere = OutPoint { txid: Txid([salt; 32]), vout: 0 };
    let transaction = unsigned(&[nowhere], &vec![(5_000, anybody_script()); coins]);
    let id = txid(&transaction);
    world.lock().expect("no panic").transactions.push((transaction, Some(100)));
    (0..coins).map(|vout| OutPoint { txid: id, vout: u32::try_from(vout).expect("few") }).collect()
}

fn signed(transaction: &Transaction) -> SignedTransaction {
    SignedTransaction { txid: txid(transaction), bytes: serialize(transaction) }
}

fn query(transaction: &Transaction, spends: &[OutPoint]) -> ChainQuery {
    ChainQuery { txid: txid(transaction), spends: spends.to_vec() }
}

#[test]
fn electrum_transaction_is_submitted_seen_and_confirmed() {
    let (world, server, electrum) = served();
    let coins = funding(&world, 9, 2);
    let payment = anybody_pays(&coins, 9_000);
    let asked = query(&payment, &coins);
    let place = |place| world.lock().expect("no panic").transactions.last_mut().expect("is there").1 = place;
    assert_eq!(electrum.status(&asked), Ok(ChainStatus::Unknown));
    assert_eq!(electrum.broadcast(&signed(&payment)), BroadcastAnswer::Accepted);
    assert_eq!(electrum.status(&asked), Ok(ChainStatus::Seen));
    place(Some(148));
    assert_eq!(electrum.status(&asked), Ok(ChainStatus::Confirmed { height: 148, confirmations: 3 }));
    place(None);
    assert_eq!(electrum.status(&asked), Ok(ChainStatus::Seen));
    world.lock().expect("no panic").transactions.pop();
    assert_eq!(electrum.status(&asked), Ok(ChainStatus::Unknown));
    assert_eq!(server.connections(), 1, "a connection is kept");
    // What cannot change is not asked again.
    let asked = &world.lock().expect("no panic").asked;
    assert_eq!(asked.iter().filter(|method| *method == "blockchain.transaction.get").count(), 2);
}

#[test]
fn electrum_conflict_is_told_from_transactions_with_the_same_script() {
    let (world, _server, electrum) = served();
    let coins = funding(&world, 9, 2);
    // Many others pay to that script and spend from it.
    for salt in 10..20 {
        let others = funding(&world, salt, 1);
        world.lock().expect("no panic").transactions.push((anybody_pays(&others, 4_000), Some(120)));
    }
    let own = anybody_pays(&coins, 9_000);
    let rival = anybody_pays(&coins[1..], 4_500);
    assert_eq!(electrum.status(&query(&own, &coins)), Ok(ChainStatus::Unknown));
    world.lock().expect("no panic").transactions.push((rival.clone(), None));
    assert_eq!(electrum.status(&query(&own, &coins)), Ok(ChainStatus::Unknown), "not in a block yet");
    world.lock().expect("no panic").transactions.last_mut().expect("is there").1 = Some(149);
    let conflict = ChainStatus::Conflict { txid: txid(&rival), confirmations: 2 };
    assert_eq!(electrum.status(&query(&own, &coins)), Ok(conflict));
    world.lock().expect("no panic").says = Some("bad-txns-inputs-missingorspent".into());
    match electrum.broadcast(&signed(&own)) {
        BroadcastAnswer::Rejected { kind: RejectionKind::MissingInputs, words, ambiguous: false } => {
            assert!(words.contains(&txid(&rival).to_string()), "{words}");
        }
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn electrum_refusals_are_looked_into_and_shown_without_the_transaction() {
    let (world, _server, electrum) = served();
    let coins = funding(&world, 9, 1);
    let payment = anybody_pays(&coins, 4_000);
    let says = |words: &str| world.lock().expect("no panic").says = Some(words.into());
    says("min relay fee not met, 0 < 111");
    assert_eq!(
        electrum.broadcast(&signed(&payment)),
        BroadcastAnswer::Rejected {
            kind: RejectionKind::FeeTooLow,
            words: "min relay fee not met, 0 < 111".into(),
            ambiguous: false
        }
    );
    says("Transaction outputs already in utxo set");
    assert_eq!(electrum.broadcast(&signed(&payment)), BroadcastAnswer::AlreadyKnown);
    // Mined, and its output spent: the node says the same as of inputs that never were.
    says("bad-txns-inputs-missingorspent");
    world.lock().expect("no panic").transactions.push((payment.clone(), Some(140)));
    assert_eq!(electrum.broadcast(&signed(&payment)), BroadcastAnswer::AlreadyKnown);
    world.lock().expect("no panic").transactions.pop();
    assert!(matches!(
        electrum.broadcast(&signed(&payment)),
        BroadcastAnswer::Rejected { kind: RejectionKind::MissingInputs, ambiguous: false, .. }
    ));
}

#[test]
fn electrum_coins_and_the_tip() {
    let (world, _server, electrum) = served();
    let coins = funding(&world, 9, 2);
    assert_eq!(
        electrum.coin(&coins[0]),
        Ok(Some(CoinStatus::Unspent { confirmations: 51, median_time: None }))
    );
    assert_eq!(electrum.coin(&OutPoint { vout: 2, ..coins[0] }), Ok(Some(CoinStatus::Unknown)));
    assert_eq!(electrum.coin(&OutPoint { txid: Txid([3; 32]), vout: 0 }), Ok(Some(CoinStatus::Unknown)));
    let payment = anybody_pays(&coins[..1], 4_000);
    world.lock().expect("no panic").transactions.push((payment.clone(), None));
    assert_eq!(electrum.coin(&coins[0]), Ok(Some(CoinStatus::Spent)));
    assert_eq!(electrum.coin(&OutPoint { txid: txid(&payment), vout: 0 }), Ok(Some(CoinStatus::InMempool)));
    // Blocks 140 to 150: times 145, 151, 147, 153, 149, 155, 151, 157, 153, 159, 155 thousand.
    assert_eq!(electrum.tip(), Ok(Some(ChainTip { height: 150, median_time: 153_000 })));
    world.lock().expect("no panic").tip = 6;
    assert!(electrum.tip().is_ok_and(|tip| tip.expect("it can tell").height == 6));
}

#[test]
fn electrum_is_congested_if_a_patient_transaction_pays_more_than_two_satoshis() {
    for (answer, congested) in [
        (Ok(json!(0.000021)), Some(true)),
        (Ok(json!(0.00002)), Some(false)),
        (Ok(json!(-1)), None),
        (Err(error("unknown method")), None),
    ] {
        let said = answer.clone();
        let server = Scripted::lines(move |method, params| match method {
            "server.version" => Ok(json!(["it", "1.4"])),
            _ => {
                assert_eq!((method, params), ("blockchain.estimatefee", &json!([144])));
                said.clone()
            }
        });
        let electrum = Electrum::new(&server.tcp()).expect("an address");
        assert_eq!(electrum.congested(), Ok(congested), "{answer:?}");
    }
}

#[test]
fn electrum_connection_that_was_closed_is_made_again() {
    use std::io::{BufRead, BufReader, Write};
    // One answer on each connection, beside that to the greeting.
    let server = Scripted::start(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
        for result in [json!(["it", "1.4"]), json!({ "height": 7 })] {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let request: Value = serde_json::from_str(&line).expect("JSON");
            let _ = stream
                .write_all(format!("{}\n", json!({ "id": request["id"], "result": result })).as_bytes());
        }
    });
    let electrum =
        Electrum::with_options(&server.tcp(), &SourceOptions::new().time_limit(Duration::from_secs(20)));
    let electrum = electrum.expect("an address");
    for connections in 1..4 {
        // The second question of a tip comes on a connection of its own, and its answer is none.
        let error = electrum.tip().expect_err("no headers").reason;
        assert!(error.contains("headers"), "{error}");
        assert!(server.connections() >= connections);
    }
}

#[test]
fn electrum_server_of_another_transaction_is_not_believed() {
    let other = unsigned(&[OutPoint { txid: Txid([8; 32]), vout: 0 }], &[(1, anybody_script())]);
    let server = Scripted::lines(move |method, _| match method {
        "server.version" => Ok(json!(["it", "1.4"])),
        "blockchain.transaction.get" => Ok(json!(to_hex(&serialize(&other)))),
        _ => Ok(json!([])),
    });
    let electrum = Electrum::new(&server.tcp()).expect("an address");
    let coin = OutPoint { txid: Txid([2; 32]), vout: 0 };
    let error = electrum.status(&ChainQuery { txid: Txid([1; 32]), spends: vec![coin] }).expect_err("a lie");
    assert!(error.reason.contains("not the transaction asked for"), "{error}");
    electrum.coin(&coin).expect_err("a lie");
}
