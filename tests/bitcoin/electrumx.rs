//! Submission and observation through a real Electrum server, over the real node.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use libmusig::chain::sources::{BroadcastAnswer, CoinStatus, Electrum, RejectionKind, Source};
use libmusig::chain::{ChainObserver, ChainStatus};
use libmusig::types::{OutPoint, Txid};
use serde_json::json;
use test_support::nodes::{keys, skip, wait_until};

use crate::coins::{anybody_pays, anybody_script, coin_of, fund, query, signed, txid};
use crate::regtest::{Regtest, eventually, number};
use crate::signers::{complete, confirmed, script_of, seen, sign, signer, spend};

/// A running ElectrumX; killed when it is dropped.
struct ElectrumX {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Drop for ElectrumX {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl ElectrumX {
    /// A server that follows this node; `None` after a line that says why there is none.
    fn start(test: &str, node: &Regtest) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bitcoin/fetch-electrumx.sh");
        let output = Command::new(script).output().expect("the script starts");
        if !output.status.success() {
            skip(test, String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        let program = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let directory = tempfile::tempdir().expect("a directory");
        let port = {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            listener.local_addr().expect("is bound").port()
        };
        let cookie = std::fs::read_to_string(node.cookie()).expect("a cookie");
        let address = node.address().replace("http://", &format!("http://{}@", cookie.trim()));
        let child = Command::new(program)
            .env("COIN", "Bitcoin")
            .env("NET", "regtest")
            .env("DB_DIRECTORY", directory.path())
            .env("DAEMON_URL", address)
            .env("SERVICES", format!("tcp://127.0.0.1:{port}"))
            .env("COST_SOFT_LIMIT", "0")
            .env("COST_HARD_LIMIT", "0")
            .env("PEER_DISCOVERY", "off")
            .env("ALLOW_ROOT", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut server = Self { child, port, _directory: directory };
        wait_until("the server has the node's chain", || {
            assert!(server.child.try_wait().expect("is a child").is_none(), "the server ended");
            server.source().tip().is_ok_and(|tip| tip.expect("it can tell").height == node.height())
        });
        Some(server)
    }

    fn source(&self) -> Electrum {
        Electrum::new(&format!("tcp://127.0.0.1:{}", self.port)).expect("an address")
    }
}

#[test]
fn regtest_electrumx_submits_and_observes() {
    let test = "regtest_electrumx_submits_and_observes";
    let Some(node) = Regtest::start(test, &["-txindex=1"]) else { return };
    let coins = fund(&node, &anybody_script(), 2);
    let Some(server) = ElectrumX::start(test, &node) else { return };
    let source = server.source();
    let payment = anybody_pays(&coins[..1], &[coins[0].value - 2_000]);
    let asked = query(&payment);
    // It polls its node, so it sees things a little later.
    let comes = |what: &str, expected: ChainStatus| {
        eventually(what, || (source.status(&asked) == Ok(expected)).then_some(()));
    };

    let info = node.call("getblockchaininfo", json!([]));
    let tip = source.tip().expect("an answer").expect("it can tell");
    assert_eq!((tip.height, tip.median_time), (node.height(), number(&info["mediantime"])));
    assert_eq!(source.congested(), Ok(None), "too few transactions for an estimate");
    assert_eq!(source.status(&asked), Ok(ChainStatus::Unknown));
    assert_eq!(
        source.coin(&coins[0].at),
        Ok(Some(CoinStatus::Unspent { confirmations: 102, median_time: None }))
    );
    assert_eq!(source.coin(&OutPoint { txid: Txid([7; 32]), vout: 0 }), Ok(Some(CoinStatus::Unknown)));
    assert_eq!(source.broadcast(&signed(&payment)), BroadcastAnswer::Accepted);
    assert!(node.in_mempool(&txid(&payment)));
    comes("it is seen", ChainStatus::Seen);
    eventually("its coin is spent", || {
        (source.coin(&coins[0].at) == Ok(Some(CoinStatus::Spent))).then_some(())
    });
    node.mine(2);
    let height = node.height_of(&txid(&payment)).expect("is mined");
    comes("it is confirmed", ChainStatus::Confirmed { height, confirmations: 2 });
    assert_eq!(source.broadcast(&signed(&payment)), BroadcastAnswer::AlreadyKnown);

    // All its outputs spent in the chain.
    let spent = [coin_of(&payment, 0)];
    node.send(&signed(&anybody_pays(&spent, &[spent[0].value - 2_000])).bytes);
    node.mine(1);
    comes("it is deeper", ChainStatus::Confirmed { height, confirmations: 3 });
    assert_eq!(source.broadcast(&signed(&payment)), BroadcastAnswer::AlreadyKnown);

    // A conflict, in the mempool and in a block; then another one in its place.
    let own = anybody_pays(&coins[1..], &[coins[1].value - 2_000]);
    let rival = anybody_pays(&coins[1..], &[coins[1].value - 50_000]);
    node.send(&signed(&rival).bytes);
    match source.broadcast(&signed(&own)) {
        BroadcastAnswer::Rejected { kind: RejectionKind::Conflict, words, .. } => {
            assert!(words.starts_with("insufficient fee") && !words.contains('['), "{words}");
        }
        answer => panic!("{answer:?}"),
    }
    node.mine(1);
    let conflict = ChainStatus::Conflict { txid: txid(&rival), confirmations: 1 };
    eventually("the conflict is seen", || (source.status(&query(&own)) == Ok(conflict)).then_some(()));
    match source.broadcast(&signed(&own)) {
        BroadcastAnswer::Rejected { kind: RejectionKind::MissingInputs, words, ambiguous: false } => {
            assert!(words.contains(&txid(&rival).to_string()), "{words}");
        }
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn regtest_signers_spend_a_coin_through_electrumx() {
    let test = "regtest_signers_spend_a_coin_through_electrumx";
    let Some(node) = Regtest::start(test, &["-txindex=1"]) else { return };
    let coins = fund(&node, &script_of(&keys(1)), 1);
    let Some(server) = ElectrumX::start(test, &node) else { return };
    let nodes = [signer(0, server.source())];
    let (request, txid) = spend(1, &coins, 5_000);
    let session = sign(&nodes, request);
    complete(&nodes[0], &session);
    seen(&nodes[0], &session);
    assert!(node.in_mempool(&txid));
    node.mine(1);
    assert_eq!(confirmed(&nodes[0], &session), (node.height(), 1));
    assert_eq!(node.height_of(&txid), Some(node.height()));
}
