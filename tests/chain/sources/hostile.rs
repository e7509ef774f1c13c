//! Servers that lie about lengths, never end, drip, redirect or hang: an error in time, and no more bytes than allowed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libmusig::chain::sources::{
    BitcoinCore, BroadcastAnswer, CoreAuth, Electrum, Esplora, Source, SourceError, SourceOptions, Sources,
};
use libmusig::chain::{ChainObserver, ChainQuery, SignedTransaction};
use libmusig::node::Node;
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::types::{OutPoint, Txid};

use super::scripted::{Scripted, close, http};

/// The time limit of the sources here.
const LIMIT: Duration = Duration::from_millis(600);
/// What may come on top on a busy machine.
const SLACK: Duration = Duration::from_secs(8);

fn transaction() -> SignedTransaction {
    SignedTransaction { txid: Txid([1; 32]), bytes: vec![0] }
}

fn query() -> ChainQuery {
    let coin = OutPoint { txid: Txid([2; 32]), vout: 0 };
    ChainQuery { txid: Txid([1; 32]), spends: vec![coin] }
}

/// Both kinds of HTTP sources at this server.
fn http_sources(server: &Scripted, options: &SourceOptions) -> [Box<dyn Source>; 2] {
    let core = BitcoinCore::with_options(&server.url(), CoreAuth::None, options).expect("an address");
    let esplora = Esplora::with_options(&server.url(), options).expect("an address");
    [Box::new(core), Box::new(esplora)]
}

/// Every question gets an error, within the time limit. Answers the words.
fn all_fail(source: &dyn Source, what: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut timed = |question: &mut dyn FnMut() -> String| {
        let begun = Instant::now();
        words.push(question());
        assert!(begun.elapsed() < LIMIT + SLACK, "{what}: {:?} for {words:?}", begun.elapsed());
    };
    timed(&mut || match source.broadcast(&transaction()) {
        BroadcastAnswer::Unreachable { words } | BroadcastAnswer::Misconfigured { words } => words,
        answer => panic!("{what}: {answer:?}"),
    });
    timed(&mut || source.status(&query()).expect_err(what).reason);
    timed(&mut || source.coin(&query().spends[0]).expect_err(what).reason);
    timed(&mut || source.tip().expect_err(what).reason);
    for words in &words {
        assert!(words.starts_with(&source.name()), "{what}: {words} does not say who");
        assert!(words.len() > source.name().len() + 10 && words.chars().count() < 700, "{what}: {words}");
    }
    words
}

/// Reads a request's head, so that an answer is one.
fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        head.push(byte[0]);
    }
}

/// Sends the head, then this over and over until the peer has enough; counts the bytes.
fn endless(head: &'static [u8], more: Vec<u8>) -> (Scripted, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let server = Scripted::start(move |mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(head);
        while stream.write_all(&more).is_ok() {
            counted.fetch_add(more.len() as u64, Ordering::SeqCst);
        }
    });
    (server, sent)
}

#[test]
fn hostile_endless_body_is_cut() {
    let plain: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
    let lying: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n";
    let chunked: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [b"10000\r\n".as_slice(), &[b'a'; 0x10000], b"\r\n"].concat();
    for (head, more) in [(plain, vec![b' '; 1 << 16]), (lying, vec![b'7'; 1 << 16]), (chunked, chunk)] {
        let (server, sent) = endless(head, more);
        // Enough time, so that it is the size that ends it.
        let options = SourceOptions::new().time_limit(Duration::from_secs(60));
        for source in http_sources(&server, &options) {
            let before = sent.load(Ordering::SeqCst);
            let error = source.tip().expect_err("an endless body").reason;
            assert!(error.contains("longer than"), "{error}");
            let bytes = sent.load(Ordering::SeqCst) - before;
            assert!(bytes < 32 << 20, "{bytes} bytes were taken");
        }
    }
}

#[test]
fn hostile_endless_headers_are_cut() {
    let (server, sent) = endless(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n".repeat(1_000));
    let options = SourceOptions::new().time_limit(Duration::from_secs(60));
    for source in http_sources(&server, &options) {
        let error = source.tip().expect_err("endless headers").reason;
        assert!(error.contains("headers"), "{error}");
    }
    let (server, _) = endless(b"HTTP/1.1 200 OK\r\nX-Long: ", vec![b'a'; 1 << 16]);
    for source in http_sources(&server, &options) {
        source.tip().expect_err("an endless header");
    }
    assert!(sent.load(Ordering::SeqCst) < 32 << 20);
}

#[test]
fn hostile_short_body_is_not_taken_as_whole() {
    let txid = "0101010101010101010101010101010101010101010101010101010101010101";
    for body in [txid.to_owned(), format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{txid}","error":null}}"#)] {
        let server = Scripted::start(move |mut stream| {
            read_head(&mut stream);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len() + 1);
            let _ = stream.write_all(head.as_bytes());
            close(stream);
        });
        for source in http_sources(&server, &SourceOptions::new().time_limit(LIMIT)) {
            all_fail(source.as_ref(), "a short body");
        }
    }
}

#[test]
fn hostile_drip_of_bytes_ends_at_the_time_limit() {
    for head in [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
    ] {
        let server = Scripted::start(move |mut stream| {
            read_head(&mut stream);
            let _ = stream.write_all(head.as_bytes());
            let until = Instant::now() + Duration::from_secs(60);
            while Instant::now() < until && stream.write_all(b"7").is_ok() {
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        for source in http_sources(&server, &SourceOptions::new().time_limit(LIMIT)) {
            let words = all_fail(source.as_ref(), "a drip");
            assert!(words[0].contains("600ms"), "{words:?}");
        }
        let electrum = SourceOptions::new().time_limit(LIMIT);
        let electrum = Electrum::with_options(&server.tcp(), &electrum).expect("an address");
        all_fail(&electrum, "a drip of a line");
    }
}

#[test]
fn hostile_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let trap = Scripted::http(|_, _| http(200, "1"));
        let location = trap.url();
        let server = Scripted::http(move |_, _| {
            format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
                .into_bytes()
        });
        for source in http_sources(&server, &SourceOptions::new().time_limit(LIMIT)) {
            let words = all_fail(source.as_ref(), "a redirect");
            assert!(words.iter().all(|words| words.contains("final address")), "{words:?}");
        }
        assert_eq!(trap.connections(), 0);
    }
}

#[test]
fn hostile_closed_connection_is_an_error() {
    let at_once = Scripted::start(drop);
    let after_request = Scripted::start(|mut stream| {
        read_head(&mut stream);
        close(stream);
    });
    for server in [at_once, after_request] {
        for source in http_sources(&server, &SourceOptions::new().time_limit(LIMIT)) {
            all_fail(source.as_ref(), "a closed connection");
        }
        let electrum = SourceOptions::new().time_limit(LIMIT);
        let electrum = Electrum::with_options(&server.tcp(), &electrum).expect("an address");
        all_fail(&electrum, "a closed connection");
    }
}

#[test]
fn hostile_nonsense_is_an_error_and_never_a_status() {
    let deep = "[".repeat(200_000);
    for body in
        ["", "null", "[]", "{}", "7", "\"text\"", "<html>", "{\"id\":1}", &deep, "\u{feff}", "{\"result\":1}"]
    {
        let owned = body.to_owned();
        let server = Scripted::http(move |_, _| http(200, &owned));
        let options = SourceOptions::new().time_limit(LIMIT);
        let core = BitcoinCore::with_options(&server.url(), CoreAuth::None, &options).expect("an address");
        let shown = &body[..body.len().min(20)];
        assert!(!core.broadcast(&transaction()).is_success(), "{shown}");
        core.status(&query()).expect_err(shown);
        core.coin(&query().spends[0]).expect_err(shown);
        core.tip().expect_err(shown);
        let esplora = Esplora::with_options(&server.url(), &options).expect("an address");
        assert!(!esplora.broadcast(&transaction()).is_success(), "{shown}");
        esplora.status(&query()).expect_err(shown);
        esplora.coin(&query().spends[0]).expect_err(shown);
        esplora.tip().expect_err(shown);

        let owned = body.to_owned();
        let lines = Scripted::start(move |mut stream| {
            let mut request = [0; 4096];
            while stream.read(&mut request).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(format!("{owned}\n").as_bytes());
            }
        });
        let electrum = Electrum::with_options(&lines.tcp(), &options).expect("an address");
        assert!(!electrum.broadcast(&transaction()).is_success(), "{shown}");
        electrum.status(&query()).expect_err(shown);
        electrum.coin(&query().spends[0]).expect_err(shown);
        electrum.tip().expect_err(shown);
    }
}

#[test]
fn hostile_lines_without_end_are_cut() {
    let sent = Arc::new(AtomicU64::new(0));
    for more in [vec![b'a'; 1 << 16], b"{\"method\":\"more\"}\n".repeat(1_000)] {
        let counted = sent.clone();
        let server = Scripted::start(move |mut stream| {
            while stream.write_all(&more).is_ok() {
                counted.fetch_add(more.len() as u64, Ordering::SeqCst);
            }
        });
        let options = SourceOptions::new().time_limit(Duration::from_secs(60));
        let electrum = Electrum::with_options(&server.tcp(), &options).expect("an address");
        let before = sent.load(Ordering::SeqCst);
        electrum.tip().expect_err("no end");
        assert!(sent.load(Ordering::SeqCst) - before < 64 << 20);
    }
}

#[test]
fn hostile_proxy_that_never_answers_ends_at_the_time_limit() {
    let proxy = Scripted::start(|mut stream| {
        let mut bytes = [0; 64];
        while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
    for scheme in ["socks5h", "socks5"] {
        let options =
            SourceOptions::new().time_limit(LIMIT).proxy(format!("{scheme}://127.0.0.1:{}", proxy.port));
        // Nobody listens there; with a proxy that does not matter.
        let target = Scripted { port: 9, connections: Arc::default() };
        for source in http_sources(&target, &options) {
            all_fail(source.as_ref(), "a silent proxy");
        }
        let electrum = Electrum::with_options("tcp://127.0.0.1:9", &options).expect("an address");
        let words = all_fail(&electrum, "a silent proxy");
        assert!(words[0].contains("600ms"), "{words:?}");
    }
    assert!(proxy.connections() >= 6);
}

/// The kind of address and the address that a proxy was asked for.
type Asked = Arc<std::sync::Mutex<Vec<(u8, String)>>>;

/// A SOCKS 5 proxy that passes everything on to one server, and notes whom it was asked for.
fn socks5(target: u16) -> (Scripted, Asked) {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = asked.clone();
    let proxy = Scripted::start(move |mut stream| {
        let mut two = [0; 2];
        let _ = stream.read_exact(&mut two);
        let mut methods = vec![0; two[1].into()];
        let _ = stream.read_exact(&mut methods);
        let _ = stream.write_all(&[5, 0]);
        let mut head = [0; 4];
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let mut length = [4];
        if head[3] == 3 {
            let _ = stream.read_exact(&mut length);
        }
        let mut address = vec![0; length[0].into()];
        let _ = stream.read_exact(&mut address);
        let mut port = [0; 2];
        let _ = stream.read_exact(&mut port);
        noted.lock().expect("no panic").push((head[3], String::from_utf8_lossy(&address).into_owned()));
        let _ = stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        let mut inner = TcpStream::connect(("127.0.0.1", target)).expect("the server");
        let (mut back, mut there) =
            (stream.try_clone().expect("a handle"), inner.try_clone().expect("a handle"));
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut stream, &mut inner);
            let _ = inner.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut there, &mut back);
        let _ = back.shutdown(std::net::Shutdown::Write);
    });
    (proxy, asked)
}

#[test]
fn names_are_resolved_by_the_proxy() {
    let esplora_server = Scripted::http(|line, _| match line {
        "GET /tx/0101010101010101010101010101010101010101010101010101010101010101/status HTTP/1.1" => {
            http(200, r#"{"confirmed":true,"block_height":5}"#)
        }
        _ => http(200, "7"),
    });
    let (proxy, asked) = socks5(esplora_server.port);
    let options = SourceOptions::new().proxy(format!("socks5h://127.0.0.1:{}", proxy.port));
    let esplora = Esplora::with_options("http://not-a-name.onion", &options).expect("an address");
    assert_eq!(
        esplora.status(&query()),
        Ok(libmusig::chain::ChainStatus::Confirmed { height: 5, confirmations: 3 })
    );
    let electrum_server = Scripted::lines(|method, _| match method {
        "server.version" => Ok(serde_json::json!(["it", "1.4"])),
        _ => Err(serde_json::json!({ "code": 1, "message": "the moon" })),
    });
    let (second, also_asked) = socks5(electrum_server.port);
    let options = SourceOptions::new().proxy(format!("socks5h://127.0.0.1:{}", second.port));
    let electrum = Electrum::with_options("tcp://not-a-name.onion:50001", &options).expect("an address");
    assert!(electrum.tip().expect_err("an error").reason.contains("the moon"));
    for asked in [asked, also_asked] {
        let asked = asked.lock().expect("no panic");
        assert!(
            !asked.is_empty() && asked.iter().all(|asked| *asked == (3, "not-a-name.onion".into())),
            "{asked:?}"
        );
    }
}

/// Backends go through the proxy of the node that they belong to, but those on this machine, and those that were told another
/// way.
#[test]
fn through_proxy_of_the_node_go_its_backends() {
    let server = Scripted::http(|_, _| http(200, "7"));
    let (proxy, asked) = socks5(server.port);
    let node_proxy = format!("socks5h://127.0.0.1:{}", proxy.port);
    let start = |sources: Sources| {
        let sources = Arc::new(sources);
        let node = Node::builder()
            .signer(LocalSigner::new([1; 32]).expect("a key"))
            .store(MemoryStore::new())
            .proxy(&node_proxy)
            .broadcaster(sources.clone())
            .observer(sources.clone())
            .start()
            .expect("starts");
        // Whatever they answer: the connection is what counts.
        let _ = sources.tip();
        node.stop().expect("stops");
        let asked = std::mem::take(&mut *asked.lock().expect("no panic"));
        let names: std::collections::BTreeSet<_> = asked.into_iter().map(|(_, name)| name).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    let options = SourceOptions::new().time_limit(LIMIT);
    let esplora =
        |address: &str, options: &SourceOptions| Esplora::with_options(address, options).expect("an address");
    let all = Sources::new()
        .trusted(esplora("http://esplora.test", &options))
        .trusted(Electrum::with_options("tcp://electrum.test:1", &options).expect("an address"))
        .trusted(
            BitcoinCore::with_options("http://core.test:1", CoreAuth::None, &options).expect("an address"),
        );
    assert_eq!(start(all), ["core.test", "electrum.test", "esplora.test"]);
    let (other, also_asked) = socks5(server.port);
    let elsewhere = options.clone().proxy(format!("socks5h://127.0.0.1:{}", other.port));
    let here = format!("http://127.0.0.1:{}", server.port);
    let others = Sources::new()
        .trusted(esplora(&here, &options))
        .trusted(esplora("http://direct.invalid", &options.clone().direct()))
        .trusted(esplora("http://elsewhere.test", &elsewhere));
    assert_eq!(start(others), [""; 0]);
    assert!(server.connections() > 0);
    let also_asked = also_asked.lock().expect("no panic");
    assert!(
        !also_asked.is_empty() && also_asked.iter().all(|asked| asked.1 == "elsewhere.test"),
        "{also_asked:?}"
    );
}

#[test]
fn addresses_that_cannot_be_used_are_refused_with_what_to_write() {
    let long = format!("http://{}:1", "a".repeat(70_000));
    for address in [
        "",
        "127.0.0.1:8332",
        "ftp://h",
        "http://",
        "http:///x",
        "http://:1",
        "http://h:0",
        "http://h:99999",
        "http://a b",
        "http://a\r\nb",
        "http://me:secret@h:1",
        "http://h?x",
        "http://h#x",
        "http://h:1:2",
        &long,
    ] {
        for error in [
            BitcoinCore::new(address, CoreAuth::None).expect_err(address),
            Esplora::new(address).expect_err(address),
        ] {
            assert!(matches!(error, SourceError::Address { .. }), "{error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
    for address in [
        "",
        "h:1",
        "tcp://h",
        "tcp://h:0",
        "ssl://:1",
        "ssl://h:99999",
        "tcp://a b:1",
        "ssl://a/b:1",
        "http://h:1",
    ] {
        let error = Electrum::new(address).expect_err(address);
        assert!(matches!(error, SourceError::Address { .. }), "{error:?}");
    }
    for address in ["http://h", "https://h:1/api/", "http://[::1]:8332", "http://1.2.3.4:1"] {
        BitcoinCore::new(address, CoreAuth::None).expect(address);
    }
    for address in ["tcp://h:1", "ssl://h:50002", "tcp://[::1]:1", "ssl://1.2.3.4:1"] {
        Electrum::new(address).expect(address);
    }
    for proxy in ["", "127.0.0.1:9050", "socks5h://", "gopher://h:1"] {
        let options = SourceOptions::new().proxy(proxy);
        let error = Esplora::with_options("https://h", &options).expect_err(proxy);
        assert!(matches!(&error, SourceError::Proxy { .. }), "{error:?}");
        assert!(error.to_string().contains("socks5h://"), "{error}");
        Electrum::with_options("ssl://h:1", &options).expect_err(proxy);
    }
    Electrum::with_options("ssl://h:1", &SourceOptions::new().proxy("http://h:1")).expect_err("no SOCKS");
    for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        SourceOptions::new().certificate_authority(pem.as_bytes()).expect_err(pem);
    }
}
