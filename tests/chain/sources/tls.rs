//! TLS: a server whose certificate an authority of one's own issued.
//!
//! `tls/authority.pem` issued `tls/server.pem`, for `localhost` and 127.0.0.1, until 2126. The authority's key is gone;
//! the server's is in `tls/server.key` and protects nothing.

use std::io::{BufReader, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use libmusig::chain::sources::{
    BitcoinCore, BroadcastAnswer, CoreAuth, Electrum, Esplora, Source, SourceOptions,
};
use libmusig::chain::{ChainObserver, SignedTransaction};
use libmusig::types::Txid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::scripted::{Scripted, http, serve_lines};

const AUTHORITY: &[u8] = include_bytes!("tls/authority.pem");

fn config() -> Arc<ServerConfig> {
    let certificate =
        CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![certificate], key).expect("they fit"))
}

/// An HTTP server that says the same to everything, over TLS.
fn https(answer: Vec<u8>) -> Scripted {
    let config = config();
    Scripted::start(move |stream| {
        let session = ServerConnection::new(config.clone()).expect("a session");
        let mut stream = StreamOwned::new(session, stream);
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
            head.push(byte[0]);
        }
        let _ = stream.write_all(&answer);
        stream.conn.send_close_notify();
        let _ = stream.flush();
        let _ = stream.read(&mut byte);
    })
}

fn ssl() -> Scripted {
    let config = config();
    Scripted::start(move |stream| {
        let session = ServerConnection::new(config.clone()).expect("a session");
        let mut stream = StreamOwned::new(session, stream);
        // One request at a time: reader and writer are the same.
        loop {
            let mut line = Vec::new();
            let mut byte = [0];
            while !line.ends_with(b"\n") {
                match stream.read(&mut byte) {
                    Ok(1..) => line.push(byte[0]),
                    _ => return,
                }
            }
            let answer = |method: &str, _: &Value| match method {
                "server.version" => Ok(json!(["it", "1.4"])),
                _ => Ok(json!("0101010101010101010101010101010101010101010101010101010101010101")),
            };
            serve_lines(&mut BufReader::new(&line[..]), &mut stream, &answer);
        }
    })
}

fn transaction() -> SignedTransaction {
    SignedTransaction { txid: Txid([1; 32]), bytes: vec![0] }
}

#[test]
fn own_authority_is_trusted_and_no_other() {
    let id = "0101010101010101010101010101010101010101010101010101010101010101";
    let (web, lines) = (https(http(200, id)), ssl());
    let own = SourceOptions::new().certificate_authority(AUTHORITY).expect("a certificate");
    let mozilla = SourceOptions::new().time_limit(Duration::from_secs(20));
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{}", web.port);
        let esplora = |options: &SourceOptions| Esplora::with_options(&url, options).expect("an address");
        assert_eq!(esplora(&own).broadcast(&transaction()), BroadcastAnswer::Accepted);
        let address = format!("ssl://{host}:{}", lines.port);
        let electrum =
            |options: &SourceOptions| Electrum::with_options(&address, options).expect("an address");
        assert_eq!(electrum(&own).broadcast(&transaction()), BroadcastAnswer::Accepted);

        let core = BitcoinCore::with_options(&url, CoreAuth::None, &mozilla).expect("an address");
        for answer in [
            esplora(&mozilla).broadcast(&transaction()),
            electrum(&mozilla).broadcast(&transaction()),
            core.broadcast(&transaction()),
        ] {
            match answer {
                BroadcastAnswer::Misconfigured { words } => assert!(words.contains("authority"), "{words}"),
                answer => panic!("{answer:?}"),
            }
        }
    }
}

#[test]
fn tls_to_a_server_without_it_is_an_error() {
    let plain = Scripted::http(|_, _| http(200, "7"));
    let options = SourceOptions::new().time_limit(Duration::from_secs(5));
    let esplora =
        Esplora::with_options(&format!("https://127.0.0.1:{}", plain.port), &options).expect("an address");
    assert!(!esplora.broadcast(&transaction()).is_success());
    esplora.tip().expect_err("no TLS");
    let electrum =
        Electrum::with_options(&format!("ssl://127.0.0.1:{}", plain.port), &options).expect("an address");
    assert!(!electrum.broadcast(&transaction()).is_success());
    electrum.tip().expect_err("no TLS");
}
