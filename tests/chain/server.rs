//! The server's answers, to good requests and to bad ones.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::consensus::serialize;
use libmusig::types::to_hex;

use crate::payment::{anybody_pays, anybody_script, txid};
use test_support::backend::chain::{Chain, FIRST_HEIGHT};
use test_support::backend::http::Server;

/// Sends bytes as they are; the answer's status and body.
fn exchange(server: &Server, request: &[u8]) -> (u16, String) {
    let mut stream =
        TcpStream::connect(server.url().strip_prefix("http://").expect("plain")).expect("connects");
    stream.write_all(request).expect("is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    (status, body.to_owned())
}

fn get(server: &Server, path: &str) -> (u16, String) {
    exchange(server, format!("GET {path} HTTP/1.1\r\nHost: it\r\n\r\n").as_bytes())
}

fn post(server: &Server, body: &str) -> (u16, String) {
    exchange(server, format!("POST /tx HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

fn ok(body: impl Into<String>) -> (u16, String) {
    (200, body.into())
}

#[test]
fn answers_are_those_of_esplora() {
    let chain = Arc::new(Chain::new());
    let server = Server::start(chain.clone(), None).expect("starts");
    let outputs = [chain.fund(&anybody_script(), 5_000), chain.fund(&anybody_script(), 5_000)];
    let payment = anybody_pays(&outputs[..1], 4_000);
    let (id, raw) = (txid(&payment), to_hex(&serialize(&payment)));
    let outspend = format!("/tx/{}/outspend/0", outputs[0].txid);

    assert_eq!(get(&server, &format!("/tx/{id}/status")), (404, "Transaction not found".into()));
    assert_eq!(get(&server, &outspend), ok(r#"{"spent":false}"#));
    assert_eq!(get(&server, "/blocks/tip/height"), ok(FIRST_HEIGHT.to_string()));

    assert_eq!(post(&server, &raw), ok(id.to_string()));
    assert_eq!(get(&server, &format!("/tx/{id}/status")), ok(r#"{"confirmed":false}"#));
    assert_eq!(get(&server, &format!("/tx/{id}/hex")), ok(raw.clone()));
    let spend = |status: &str| ok(format!(r#"{{"spent":true,"txid":"{id}","vin":0,"status":{status}}}"#));
    assert_eq!(get(&server, &outspend), spend(r#"{"confirmed":false}"#));

    let conflict = to_hex(&serialize(&anybody_pays(&outputs, 4_000)));
    let refusal = r#"sendrawtransaction RPC error: {"code":-26,"message":"txn-mempool-conflict"}"#;
    assert_eq!(post(&server, &conflict), (400, refusal.into()));

    chain.mine();
    assert_eq!(get(&server, &outspend), spend(r#"{"confirmed":true,"block_height":101}"#));
    assert_eq!(get(&server, "/blocks/tip/height"), ok("101"));
    let refusal =
        r#"sendrawtransaction RPC error: {"code":-27,"message":"Transaction outputs already in utxo set"}"#;
    assert_eq!(post(&server, &raw), (400, refusal.into()));
    for nothing in ["", "zz", "0", "00ff"] {
        let (status, body) = post(&server, nothing);
        assert!(status == 400 && body.contains(r#""code":-22"#), "{status} {body}");
    }

    let (status, body) = get(&server, "/submissions");
    assert_eq!(status, 200);
    let counts: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(counts["undecodable"], 4);
    assert_eq!(counts["transactions"][id.to_string()], serde_json::json!({"attempts": 2, "accepted": 1}));
    assert_eq!(counts["transactions"].as_object().map(|all| all.len()), Some(2));
}

#[test]
fn bad_requests_are_answered_and_survived() {
    let server = Server::start(Arc::new(Chain::new()), None).expect("starts");
    let id = "00".repeat(32);
    let long = format!("GET /{} HTTP/1.1", "a".repeat(32 << 10));
    for (request, expected) in [
        ("GET / HTTP/1.1", 404),
        ("GET /tx HTTP/1.1", 404),
        ("GET /tx/zz/status HTTP/1.1", 400),
        (&format!("GET /tx/{id} HTTP/1.1"), 404),
        (&format!("GET /tx/{id}/outspend/-1 HTTP/1.1"), 400),
        (&format!("GET /tx/{id}/outspend/4294967296 HTTP/1.1"), 400),
        ("DELETE /tx HTTP/1.1", 405),
        ("nonsense", 405),
        ("", 405),
        ("POST /tx HTTP/1.1\r\nContent-Length: 8388609", 413),
        ("POST /tx HTTP/1.1\r\nContent-Length: 99999999999999999999999", 413),
        ("POST /tx HTTP/1.1\r\nContent-Length: -1", 400),
        ("POST /tx HTTP/1.1\r\nContent-Length: +1", 400),
        ("POST /tx HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2", 400),
        ("POST /tx HTTP/1.1\r\nTransfer-Encoding: chunked", 400),
    ] {
        assert_eq!(exchange(&server, format!("{request}\r\n\r\n").as_bytes()).0, expected, "{request}");
    }
    // Ends without an answer that could be relied on: the connection may be reset while the rest is under way.
    let mut stream =
        TcpStream::connect(server.url().strip_prefix("http://").expect("plain")).expect("connects");
    let _ = stream.write_all(long.as_bytes());
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(exchange(&server, b"\xff\xff\r\n\r\n").0, 400);
    assert_eq!(get(&server, "/blocks/tip/height").0, 200);
}

#[test]
fn blocks_come_once_there_is_something_to_mine() {
    let chain = Arc::new(Chain::new());
    let server = Server::start(chain.clone(), Some(Duration::from_millis(5))).expect("starts");
    let payment = anybody_pays(&[chain.fund(&anybody_script(), 5_000)], 4_000);
    assert_eq!(chain.tip(), FIRST_HEIGHT);
    assert_eq!(post(&server, &to_hex(&serialize(&payment))).0, 200);
    let deadline = Instant::now() + Duration::from_secs(20);
    while chain.tip() < FIRST_HEIGHT + 3 {
        assert!(Instant::now() < deadline, "no blocks come");
        std::thread::yield_now();
    }
    assert_eq!(chain.status(&txid(&payment)), Some(Some(FIRST_HEIGHT + 1)));
    drop(server);
    let tip = chain.tip();
    assert_eq!(chain.tip(), tip, "nobody mines after the server");
}
