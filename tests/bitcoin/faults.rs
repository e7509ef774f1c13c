//! Backends that are down, misconfigured, starting or hostile, beside a real one.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use libmusig::chain::ChainObserver;
use libmusig::chain::sources::{
    BitcoinCore, BroadcastAnswer, CoreAuth, Electrum, Esplora, Source, SourceOptions, Sources,
};
use libmusig::event::Event;
use libmusig::node::Node;
use libmusig::protocol::election::{ElectionMethod, elect};
use libmusig::types::SessionId;

use crate::coins::{anybody_pays, anybody_script, fund, query, signed, txid};
use crate::regtest::{Regtest, eventually};
use crate::signers::{complete, confirmed, script_of, seen, sign, sign_unseen, signer, spend};
use test_support::nodes::*;

#[test]
fn regtest_backend_that_is_down_first_and_comes_back_later() {
    let test = "regtest_backend_that_is_down_first_and_comes_back_later";
    let Some(mut node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(2)), 1);
    node.stop();
    let nodes: Vec<Node> = (0..2).map(|index| signer(index, node.source())).collect();
    connect(&nodes);
    let (request, txid) = spend(2, &coins, 5_000);
    let session = sign_unseen(&nodes, request);
    for signer in &nodes {
        complete(signer, &signer.session(session.id()));
        wait_until("it has tried", || {
            let status = signer.session(session.id()).status().wait().expect("runs");
            status.failover.is_some_and(|failover| failover.submissions > 1)
        });
    }
    node.run(&[]);
    eventually("it is in the mempool", || node.in_mempool(&txid).then_some(()));
    node.mine(1);
    for signer in &nodes {
        let (height, _) = confirmed(signer, &signer.session(session.id()));
        assert_eq!(Some(height), node.height_of(&txid));
    }
}

#[test]
fn regtest_coordinator_with_a_wrong_password_is_replaced() {
    let test = "regtest_coordinator_with_a_wrong_password_is_replaced";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(2)), 1);
    let elected = elect(&keys(2), ElectionMethod::Lexicographic, &SessionId([0; 32])).expect("signers");
    let nodes: Vec<Node> = (0..2)
        .map(|index| match index == elected.coordinator {
            true => {
                let auth = CoreAuth::Password { user: "user".into(), password: "wrong".into() };
                signer(index, BitcoinCore::new(&node.address(), auth).expect("an address"))
            }
            false => signer(index, node.source()),
        })
        .collect();
    connect(&nodes);
    let (request, txid) = spend(2, &coins, 5_000);
    let session = sign_unseen(&nodes, request);
    eventually("it is in the mempool", || node.in_mempool(&txid).then_some(()));
    let other = &nodes[1 - elected.coordinator];
    seen(other, &other.session(session.id()));
}

/// What a node's configuration says of a user.
fn rpcauth(user: &str, password: &str) -> String {
    let salt = "0011223344556677";
    let mut engine = HmacEngine::<sha256::Hash>::new(salt.as_bytes());
    engine.input(password.as_bytes());
    format!("{user}:{salt}${}", Hmac::<sha256::Hash>::from_engine(engine))
}

#[test]
fn regtest_credentials_and_what_is_said_of_them() {
    let test = "regtest_credentials_and_what_is_said_of_them";
    let Some(mut node) = Regtest::start(test, &[&format!("-rpcauth={}", rpcauth("me", "s3cret"))]) else {
        return;
    };
    let coins = fund(&node, &anybody_script(), 1);
    let payment = anybody_pays(&coins, &[coins[0].value - 1_000]);
    let of = |auth| BitcoinCore::new(&node.address(), auth).expect("an address");
    let stale = node.cookie().with_file_name("stale");
    std::fs::write(&stale, "__cookie__:0000").expect("is written");
    for (auth, advice) in [
        (CoreAuth::None, "give its cookie file"),
        (CoreAuth::Password { user: "me".into(), password: "no".into() }, "user or password"),
        (CoreAuth::CookieFile(stale.clone()), "stale"),
        (CoreAuth::CookieFile(node.cookie().with_file_name("missing")), "missing"),
    ] {
        let source = of(auth);
        match source.broadcast(&signed(&payment)) {
            BroadcastAnswer::Misconfigured { words } => assert!(words.contains(advice), "{words}"),
            answer => panic!("{answer:?}"),
        }
        let error = source.status(&query(&payment)).expect_err("no answer").reason;
        assert!(error.contains(advice), "{error}");
        assert!(!error.contains("no:") && !format!("{source:?}").contains("\"no\""), "no password is shown");
    }
    let password = CoreAuth::Password { user: "me".into(), password: "s3cret".into() };
    assert!(of(password).tip().is_ok());
    // Each start of the node writes another cookie; a source that runs reads it again.
    let source = node.source();
    assert!(source.tip().is_ok());
    let before = std::fs::read(node.cookie()).expect("is there");
    node.stop();
    assert!(source.tip().expect_err("it is down").reason.contains("connection refused"));
    node.run(&[]);
    assert_ne!(std::fs::read(node.cookie()).expect("is there"), before);
    assert!(source.tip().is_ok());
    assert_eq!(source.broadcast(&signed(&payment)), BroadcastAnswer::Accepted);
    assert!(node.in_mempool(&txid(&payment)));
}

#[test]
fn regtest_node_that_is_starting_says_so() {
    let test = "regtest_node_that_is_starting_says_so";
    let Some(mut node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &anybody_script(), 1);
    let payment = anybody_pays(&coins, &[coins[0].value - 1_000]);
    node.mine(1_000);
    // It checks all its blocks at the start, thoroughly, and answers meanwhile that it does.
    let slow = ["-checkblocks=0", "-checklevel=4"];
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        node.stop();
        node.launch(&slow);
        let source = node.source();
        let words = loop {
            match source.broadcast(&signed(&payment)) {
                BroadcastAnswer::Misconfigured { words } if words.contains("wait until it is ready") => {
                    break Some(words);
                }
                answer if answer.is_success() => break None,
                // Not there yet, nor its cookie.
                BroadcastAnswer::Unreachable { .. } | BroadcastAnswer::Misconfigured { .. } => {}
                answer => panic!("{answer:?}"),
            }
            assert!(Instant::now() < end, "it neither starts nor says that it does");
        };
        if let Some(words) = words {
            let stages = ["RPC server started", "Loading", "Verifying blocks"];
            assert!(stages.iter().any(|stage| words.contains(stage)), "{words}");
            eventually("it is taken", || source.broadcast(&signed(&payment)).is_success().then_some(()));
            assert!(node.in_mempool(&txid(&payment)));
            return;
        }
        // It was ready too fast to be asked before. Once more.
        node.invalidate_from(node.height());
    }
}

#[test]
fn regtest_fee_that_is_too_low_is_told_in_the_nodes_words() {
    let test = "regtest_fee_that_is_too_low_is_told_in_the_nodes_words";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(2)), 1);
    let nodes: Vec<Node> = (0..2).map(|index| signer(index, node.source())).collect();
    connect(&nodes);
    let (request, txid) = spend(2, &coins, 1);
    sign(&nodes, request);
    for signer in &nodes {
        let reason = wait_for(signer, "the rejection", |event| match &event.event {
            Event::BroadcastRejected { reason } => Some(reason.clone()),
            _ => None,
        });
        assert!(reason.starts_with("min relay fee not met, 1 < "), "{reason}");
    }
    assert!(!node.in_mempool(&txid));
}

/// Takes connections and says nothing, for ever; counts nothing, closes nothing.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("is bound").port();
    let own = listener.try_clone().expect("a second handle");
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in own.incoming().map_while(Result::ok) {
            let mut first = [0];
            let _ = stream.read(&mut first);
            kept.push(stream);
        }
    });
    (listener, port)
}

/// A server that treats everybody like this, for ever.
fn hostile(treat: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("is bound").port();
    let treat = Arc::new(treat);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let treat = treat.clone();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                treat(&mut stream);
            });
        }
    });
    format!("http://127.0.0.1:{port}")
}

/// Sends a head, then this over and over.
fn endless(head: &'static str, more: &'static str) -> String {
    hostile(move |stream| {
        let mut alive = stream.write_all(head.as_bytes()).is_ok();
        while alive {
            alive = stream.write_all(more.repeat(1000).as_bytes()).is_ok();
        }
    })
}

#[test]
fn regtest_hostile_backends_delay_nobody_and_are_believed_nothing() {
    let test = "regtest_hostile_backends_delay_nobody_and_are_believed_nothing";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(1)), 1);
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"result\":";
    let away = "HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let servers = [
        endless("HTTP/1.1 200 OK\r\n\r\n", "7"),
        endless("HTTP/1.1 200 OK\r\n", "X-More: and more\r\n"),
        hostile(move |stream| drop(stream.write_all(short.as_bytes()))),
        hostile(move |stream| drop(stream.write_all(away.as_bytes()))),
        hostile(|stream| drop(stream.shutdown(std::net::Shutdown::Both))),
        hostile(|stream| {
            while stream.write_all(b"H").is_ok() {
                std::thread::park_timeout(Duration::from_secs(1));
            }
        }),
    ];
    let mut sources = Sources::new().trusted(node.source());
    for server in &servers {
        sources = sources.submit_to(Esplora::new(server).expect("an address"));
        sources = sources.submit_to(BitcoinCore::new(server, CoreAuth::None).expect("an address"));
    }
    spends_in_time(&node, sources, &coins);
}

/// Signs and broadcasts beside backends that are of no use, before any of them has used up its time.
fn spends_in_time(node: &Regtest, sources: Sources, coins: &[crate::coins::Coin]) {
    let nodes = [signer(0, sources)];
    let (request, txid) = spend(1, coins, 5_000);
    let session = sign(&nodes, request);
    complete(&nodes[0], &session);
    let begun = Instant::now();
    seen(&nodes[0], &session);
    assert!(begun.elapsed() < libmusig::chain::sources::TIME_LIMIT / 2, "{:?}", begun.elapsed());
    assert!(node.in_mempool(&txid));
    node.mine(1);
    assert_eq!(confirmed(&nodes[0], &session), (node.height(), 1));
}

#[test]
fn regtest_hanging_backends_delay_nobody() {
    let test = "regtest_hanging_backends_delay_nobody";
    let Some(node) = Regtest::start(test, &[]) else { return };
    let coins = fund(&node, &script_of(&keys(1)), 1);
    let (_esplora, esplora) = silent();
    let (_electrum, electrum) = silent();
    let (_proxy, proxy) = silent();
    let through_proxy = SourceOptions::new().proxy(format!("socks5h://127.0.0.1:{proxy}"));
    let sources = Sources::new()
        .submit_to(Esplora::new(&format!("http://127.0.0.1:{esplora}")).expect("an address"))
        .submit_to(Electrum::new(&format!("tcp://127.0.0.1:{electrum}")).expect("an address"))
        .submit_to(Esplora::with_options("https://an.onion/api", &through_proxy).expect("an address"))
        .trusted(node.source());
    spends_in_time(&node, sources, &coins);
}
