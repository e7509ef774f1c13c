//! `Esplora`: what it makes of a chain's states, and of servers that err.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::Transaction;
use bitcoin::consensus::serialize;
use libmusig::chain::sources::{ChainTip, CoinStatus, Esplora, SourceOptions};
use libmusig::chain::{Broadcaster, ChainError, ChainObserver};
use libmusig::chain::{ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome};
use libmusig::protocol::proposal::SighashType;
use libmusig::types::{OutPoint, Txid};

use super::scripted::close;
use crate::payment::{Payment, anybody_pays, anybody_script, anybody_witness, sign, txid};
use test_support::backend::chain::{Chain, FIRST_HEIGHT};
use test_support::backend::http::{Kind, Server, read_message};

fn signed(transaction: &Transaction) -> SignedTransaction {
    SignedTransaction { txid: txid(transaction), bytes: serialize(transaction) }
}

fn query(transaction: &Transaction, spends: &[OutPoint]) -> ChainQuery {
    ChainQuery { txid: txid(transaction), spends: spends.to_vec() }
}

fn served() -> (Arc<Chain>, Server, Esplora) {
    let chain = Arc::new(Chain::new());
    let server = Server::start(chain.clone(), None).expect("starts");
    let esplora = Esplora::new(&server.url()).expect("an address");
    (chain, server, esplora)
}

#[test]
fn a_session_s_transaction_is_broadcast_and_watched() {
    let (chain, _server, esplora) = served();
    let payment = Payment::new(&chain, SighashType::Default);
    let party = payment.party(|_| ());
    let finished = libmusig::chain::transaction::finalize(&party.proposal, &sign(&party)).expect("complete");
    let info = libmusig::chain::transaction::check(&party.proposal, &|index| party.keys.output_key(index))
        .expect("a good proposal");
    let query = ChainQuery { txid: info.txid, spends: info.spends };

    assert_eq!(esplora.status(&query), Ok(ChainStatus::Unknown));
    assert_eq!(esplora.submit(&finished), Ok(SubmitOutcome::Accepted));
    assert_eq!(esplora.submit(&finished), Ok(SubmitOutcome::Accepted));
    assert_eq!(esplora.status(&query), Ok(ChainStatus::Seen));
    let height = chain.mine();
    assert_eq!(esplora.status(&query), Ok(ChainStatus::Confirmed { height, confirmations: 1 }));
    chain.mine();
    assert_eq!(esplora.status(&query), Ok(ChainStatus::Confirmed { height, confirmations: 2 }));
    assert_eq!(esplora.submit(&finished), Ok(SubmitOutcome::Accepted), "a block has it already");
    chain.reorg(2);
    assert_eq!(esplora.status(&query), Ok(ChainStatus::Seen));
    chain.evict(&info.txid);
    assert_eq!(esplora.status(&query), Ok(ChainStatus::Unknown));
}

#[test]
fn a_conflict_counts_only_in_a_block() {
    let (chain, _server, esplora) = served();
    let outputs = [chain.fund(&anybody_script(), 5_000), chain.fund(&anybody_script(), 5_000)];
    let (own, other) = (anybody_pays(&outputs, 9_000), anybody_pays(&outputs[1..], 4_000));
    assert_eq!(esplora.submit(&signed(&other)), Ok(SubmitOutcome::Accepted));
    match esplora.submit(&signed(&own)) {
        Ok(SubmitOutcome::Rejected(words)) => assert!(words.contains("txn-mempool-conflict"), "{words}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(esplora.status(&query(&own, &outputs)), Ok(ChainStatus::Unknown));
    chain.mine();
    chain.mine();
    let conflict = ChainStatus::Conflict { txid: txid(&other), confirmations: 2 };
    assert_eq!(esplora.status(&query(&own, &outputs)), Ok(conflict));
    let height = FIRST_HEIGHT + 1;
    let confirmed = ChainStatus::Confirmed { height, confirmations: 2 };
    assert_eq!(esplora.status(&query(&other, &outputs[1..])), Ok(confirmed));
}

#[test]
fn the_same_transaction_with_another_witness_is_accepted() {
    let (chain, _server, esplora) = served();
    let mut payment = anybody_pays(&[chain.fund(&anybody_script(), 5_000)], 4_000);
    assert_eq!(esplora.submit(&signed(&payment)), Ok(SubmitOutcome::Accepted));
    payment.input[0].witness = anybody_witness(&[2]);
    assert_eq!(esplora.submit(&signed(&payment)), Ok(SubmitOutcome::Accepted));
}

/// A server that gives each request's answer by its method and path, byte by byte as it is.
fn canned(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Esplora {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!("http://{}/api/", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let deadline = Instant::now() + Duration::from_secs(20);
            let Ok(request) = read_message(&mut stream, Kind::Request, 1 << 20, deadline) else { continue };
            let line =
                request.first_line.strip_suffix(" HTTP/1.1").expect("the version").replace("/api/", "/");
            let _ = stream.write_all(&answer(&line));
            close(stream);
        }
    });
    Esplora::new(&url).expect("an address")
}

fn http(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Words\r\nServer: it\r\n\r\n{body}").into_bytes()
}

/// A chain with 150 blocks, and these two answers.
fn status_of(status: &'static str, outspend: &'static str) -> Result<ChainStatus, ChainError> {
    let esplora = canned(move |line| match line {
        "GET /blocks/tip/height" => http(200, "150\n"),
        line if line.ends_with("/status") => http(200, status),
        line if line.ends_with("/outspend/3") => http(200, outspend),
        _ => http(404, ""),
    });
    let spends = vec![OutPoint { txid: Txid([2; 32]), vout: 3 }];
    esplora.status(&ChainQuery { txid: Txid([1; 32]), spends })
}

const SPENT_BY_IT: &str = concat!(
    r#"{"spent":true,"txid":"0101010101010101010101010101010101010101010101010101010101010101","#,
    r#""vin":0,"status":{"confirmed":false}}"#
);

#[test]
fn not_confirmed_alone_is_not_seen() {
    // What real servers answer for a transaction that they have never heard of.
    let unknown = r#"{"confirmed":false}"#;
    assert_eq!(status_of(unknown, r#"{"spent":false}"#), Ok(ChainStatus::Unknown));
    assert_eq!(status_of(unknown, SPENT_BY_IT), Ok(ChainStatus::Seen));
    let real = r#"{"confirmed":true,"block_height":141,"block_hash":"00","block_time":1}"#;
    let confirmed = ChainStatus::Confirmed { height: 141, confirmations: 10 };
    assert_eq!(status_of(real, "unasked"), Ok(confirmed));
    let late = concat!(
        r#"{"spent":true,"txid":"0101010101010101010101010101010101010101010101010101010101010101","#,
        r#""status":{"confirmed":true,"block_height":141}}"#
    );
    assert_eq!(status_of(unknown, late), Ok(confirmed), "a block came between the two answers");
}

#[test]
fn nonsense_is_an_error_and_never_a_status() {
    for status in [
        "",
        "null",
        "[]",
        "confirmed",
        r#"{"confirmed":"true"}"#,
        r#"{"confirmed":1}"#,
        r#"{"confirmed":true}"#,
        r#"{"confirmed":true,"block_height":null}"#,
        r#"{"confirmed":true,"block_height":"141"}"#,
        r#"{"confirmed":true,"block_height":-1}"#,
        r#"{"confirmed":true,"block_height":1.5}"#,
        r#"{"confirmed":true,"block_height":151}"#,
        r#"{"confirmed":true,"block_height":4294967296}"#,
        r#"{"confirmed":false"#,
    ] {
        let result = status_of(status, r#"{"spent":false}"#);
        assert!(result.is_err(), "{status:?} gave {result:?}");
    }
    for outspend in [
        "",
        "{}",
        r#"{"spent":null}"#,
        r#"{"spent":true}"#,
        r#"{"spent":true,"txid":"01","status":{"confirmed":true,"block_height":1}}"#,
        &SPENT_BY_IT.replace("01\",", "01\",\"was\":").replace("\"status\"", "\"is\""),
        &SPENT_BY_IT.replace("false", "true"),
    ] {
        let result = status_of(r#"{"confirmed":false}"#, outspend.to_owned().leak());
        assert!(result.is_err(), "{outspend:?} gave {result:?}");
    }
    for tip in ["", "-1", "1e3", "4294967296", "{}", "a hundred"] {
        let esplora = canned(move |line| match line {
            "GET /blocks/tip/height" => http(200, tip),
            _ => http(200, r#"{"confirmed":true,"block_height":1}"#),
        });
        let result = esplora.status(&ChainQuery { txid: Txid([1; 32]), spends: Vec::new() });
        assert!(result.is_err(), "{tip:?} gave {result:?}");
    }
}

#[test]
fn broken_http_is_an_error() {
    let many_headers = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(10_000)].concat();
    for answer in [
        b"".to_vec(),
        b"\r\n\r\n".to_vec(),
        b"HTTP/1.1\r\n\r\n1".to_vec(),
        b"HTTP/1.1 OK\r\n\r\n1".to_vec(),
        b"HTTP/1.1 99999 OK\r\n\r\n1".to_vec(),
        b"SSH-2.0 200 OK\r\n\r\n1".to_vec(),
        b"HTTP/1.1 200 OK\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: a\r\n\r\n1".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n1\r\n0\r\n\r\n".to_vec(),
        many_headers,
        http(204, ""),
        http(301, ""),
        http(429, "Too Many Requests"),
        http(502, "<html>Bad Gateway</html>"),
    ] {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        let esplora = canned(move |_| answer.clone());
        let payment = SignedTransaction { txid: Txid([1; 32]), bytes: vec![0] };
        assert!(esplora.submit(&payment).is_err(), "{shown:?} is no answer to a submission");
        let query = ChainQuery { txid: Txid([1; 32]), spends: Vec::new() };
        assert!(esplora.status(&query).is_err(), "{shown:?} is no status");
    }
}

fn submitted(status: u16, body: &'static str) -> Result<SubmitOutcome, ChainError> {
    let esplora = canned(move |line| if line == "POST /tx" { http(status, body) } else { http(404, "") });
    esplora.submit(&SignedTransaction { txid: Txid([1; 32]), bytes: vec![0] })
}

#[test]
fn refusals_are_told_from_failures() {
    const OWN: &str = "0101010101010101010101010101010101010101010101010101010101010101\n";
    const OTHER: &str = "0202020202020202020202020202020202020202020202020202020202020202";
    assert_eq!(submitted(200, OWN), Ok(SubmitOutcome::Accepted));
    assert!(submitted(200, OTHER).is_err());
    assert!(submitted(200, "").is_err());
    for known in [
        r#"sendrawtransaction RPC error: {"code":-27,"message":"Transaction already in block chain"}"#,
        r#"sendrawtransaction RPC error: {"code":-27,"message":"Transaction outputs already in utxo set"}"#,
        r#"sendrawtransaction RPC error: {"code":-26,"message":"txn-already-known"}"#,
        r#"sendrawtransaction RPC error: {"code":-26,"message":"txn-already-in-mempool"}"#,
        "Transaction already in mempool",
    ] {
        assert_eq!(submitted(400, known), Ok(SubmitOutcome::Accepted), "{known}");
    }
    for (refused, words) in [
        (
            r#"sendrawtransaction RPC error: {"code":-26,"message":"min relay fee not met, 0 < 110"}"#,
            "min relay fee not met, 0 < 110",
        ),
        (
            r#"sendrawtransaction RPC error: {"code":-25,"message":"bad-txns-inputs-missingorspent"}"#,
            "bad-txns-inputs-missingorspent",
        ),
        ("words without a code", "words without a code"),
        ("{ no JSON", "{ no JSON"),
    ] {
        assert_eq!(submitted(400, refused), Ok(SubmitOutcome::Rejected(words.into())));
    }
    for nonsense in ["7", "\u{fffd}", "null"] {
        assert_eq!(submitted(200, nonsense), Ok(SubmitOutcome::Rejected(nonsense.into())));
    }
    for failed in [
        r#"sendrawtransaction RPC error: {"code":-28,"message":"Loading block index..."}"#,
        r#"sendrawtransaction RPC error: {"code":-32603,"message":"internal"}"#,
    ] {
        assert!(submitted(400, failed).is_err(), "{failed} is not about the transaction");
    }
    assert!(submitted(404, "").is_err());
    let hostile = format!("\u{1b}[2J{}", "é".repeat(1_000)).leak();
    match submitted(400, hostile) {
        Ok(SubmitOutcome::Rejected(words)) => {
            assert_eq!(words.chars().count(), 256);
            assert!(words.starts_with(" [2J"), "no control characters reach a terminal");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn silence_and_absence_are_errors() {
    let query = ChainQuery { txid: Txid([1; 32]), spends: Vec::new() };
    let payment = SignedTransaction { txid: Txid([1; 32]), bytes: vec![0] };
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    let esplora = |limit| {
        let options = SourceOptions::new().time_limit(limit);
        Esplora::with_options(&url, &options).expect("an address")
    };
    let hurried = esplora(Duration::from_millis(50));
    let begun = Instant::now();
    assert!(hurried.status(&query).is_err());
    assert!(hurried.submit(&payment).is_err());
    assert!(begun.elapsed() >= Duration::from_millis(100), "it waited");
    drop(silent);
    assert!(esplora(Duration::from_secs(20)).submit(&payment).is_err());
}

#[test]
fn coins_and_the_tip() {
    const HASH: &str = "00000000000000000000000000000000000000000000000000000000000000aa";
    let esplora = canned(|line| match line {
        "GET /blocks/tip/hash" => http(200, HASH),
        "GET /blocks/tip/height" => http(200, "150"),
        line if line == format!("GET /block/{HASH}") => {
            http(200, r#"{"height":150,"mediantime":1700000000}"#)
        }
        line if line == format!("GET /tx/{}", Txid([1; 32])) => {
            http(200, r#"{"vout":[{},{}],"status":{"confirmed":true,"block_height":141}}"#)
        }
        line if line == format!("GET /tx/{}", Txid([2; 32])) => {
            http(200, r#"{"vout":[{}],"status":{"confirmed":false}}"#)
        }
        line if line.ends_with("/outspend/0") => http(200, r#"{"spent":false}"#),
        line if line.ends_with("/outspend/1") => http(200, SPENT_BY_IT),
        _ => http(404, "Transaction not found"),
    });
    let coin = |byte, vout| esplora.coin(&OutPoint { txid: Txid([byte; 32]), vout });
    assert_eq!(esplora.tip(), Ok(Some(ChainTip { height: 150, median_time: 1_700_000_000 })));
    assert_eq!(coin(1, 0), Ok(Some(CoinStatus::Unspent { confirmations: 10, median_time: None })));
    assert_eq!(coin(1, 1), Ok(Some(CoinStatus::Spent)));
    assert_eq!(coin(1, 2), Ok(Some(CoinStatus::Unknown)));
    assert_eq!(coin(2, 0), Ok(Some(CoinStatus::InMempool)));
    assert_eq!(coin(3, 0), Ok(Some(CoinStatus::Unknown)));
}

#[test]
fn congestion_is_what_a_patient_transaction_pays() {
    for (answer, congested) in [
        (http(200, r#"{"1":87.882,"144":2.5,"1008":1.0}"#), Ok(Some(true))),
        (http(200, r#"{"1":87.882,"144":2,"1008":1.0}"#), Ok(Some(false))),
        (http(200, "{}"), Ok(None)),
        (http(404, "not here"), Ok(None)),
        (http(200, "no JSON"), Err(())),
    ] {
        let esplora = canned(move |line| match line {
            "GET /fee-estimates" => answer.clone(),
            line => panic!("{line}"),
        });
        assert_eq!(esplora.congested().map_err(|_| ()), congested);
    }
}

#[test]
fn ambiguous_refusal_is_looked_into() {
    // Mined with all outputs spent: the server's node says the same as of inputs that never were.
    let nowhere = OutPoint { txid: Txid([2; 32]), vout: 3 };
    let own = anybody_pays(&[nowhere], 4_000);
    let id = txid(&own);
    let refusal = r#"sendrawtransaction RPC error: {"code":-25,"message":"bad-txns-inputs-missingorspent"}"#;
    let spender = |by: String, confirmed: bool| {
        canned(move |line| match line {
            "POST /tx" => http(400, refusal),
            "GET /blocks/tip/height" => http(200, "150"),
            line if line.ends_with("/status") => http(200, r#"{"confirmed":false}"#),
            line if line.ends_with("/outspend/3") => {
                let status = format!(r#"{{"confirmed":{confirmed},"block_height":141}}"#);
                http(200, &format!(r#"{{"spent":true,"txid":"{by}","status":{status}}}"#))
            }
            _ => http(404, ""),
        })
    };
    assert_eq!(spender(id.to_string(), true).submit(&signed(&own)), Ok(SubmitOutcome::Accepted));
    assert_eq!(spender(id.to_string(), false).submit(&signed(&own)), Ok(SubmitOutcome::Accepted));
    let other = Txid([7; 32]).to_string();
    match spender(other.clone(), true).submit(&signed(&own)) {
        Ok(SubmitOutcome::Rejected(words)) => assert!(words.contains(&other), "{words}"),
        answer => panic!("{answer:?}"),
    }
    // Whether it is there cannot be found out: that is no rejection.
    let broken = canned(move |line| match line {
        "POST /tx" => http(400, refusal),
        _ => http(502, "Bad Gateway"),
    });
    assert!(broken.submit(&signed(&own)).is_err());
}
