//! `BitcoinCore` against btcd: not in the suite, for it is built from source. `MUSIG_BTCD` is the path of its program:
//! `cargo test --test bitcoin btcd -- --ignored`.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use bitcoin::{Address, Network, Script};
use libmusig::chain::sources::{BitcoinCore, BroadcastAnswer, CoinStatus, CoreAuth, RejectionKind, Source};
use libmusig::chain::{ChainObserver, ChainStatus};
use libmusig::types::{OutPoint, Txid, to_hex};
use serde_json::{Value, json};
use test_support::nodes::wait_until;

use crate::coins::{Coin, anybody_pays, anybody_script, coin_of, query, signed, txid};
use crate::regtest::{MATURITY, exchange, text};

struct Btcd {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Drop for Btcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Btcd {
    fn start(options: &[&str]) -> Self {
        let program = std::env::var_os("MUSIG_BTCD").expect("MUSIG_BTCD is the path of btcd");
        let directory = tempfile::tempdir().expect("a directory");
        let port = {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            listener.local_addr().expect("is bound").port()
        };
        let script = anybody_script();
        let address =
            Address::from_script(Script::from_bytes(&script), Network::Regtest).expect("an address");
        let child = Command::new(program)
            .args(["--regtest", "--notls", "--nolisten", "--nobanning", "--rpcuser=me", "--rpcpass=s3cret"])
            .arg(format!("--rpclisten=127.0.0.1:{port}"))
            .arg(format!("--datadir={}", directory.path().join("data").display()))
            .arg(format!("--logdir={}", directory.path().join("log").display()))
            .arg(format!("--configfile={}", directory.path().join("none").display()))
            .arg(format!("--miningaddr={address}"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let node = Self { child, port, _directory: directory };
        wait_until("it is ready", || node.source().tip().is_ok());
        node
    }

    fn source(&self) -> BitcoinCore {
        let auth = CoreAuth::Password { user: "me".into(), password: "s3cret".into() };
        BitcoinCore::new(&format!("http://127.0.0.1:{}", self.port), auth).expect("an address")
    }

    #[track_caller]
    fn call(&self, method: &str, params: Value) -> Value {
        let answer = exchange(self.port, "me:s3cret", method, &params).expect("an answer");
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The coin of the coinbase at a height.
    fn coin(&self, height: u32) -> Coin {
        let hash = self.call("getblockhash", json!([height]));
        let block = self.call("getblock", json!([hash, 2]));
        let coinbase = &block["rawtx"][0];
        let value = coinbase["vout"][0]["value"].as_f64().expect("an amount");
        Coin {
            at: OutPoint { txid: text(&coinbase["txid"]).parse().expect("an id"), vout: 0 },
            value: bitcoin::Amount::from_btc(value).expect("an amount").to_sat(),
            script: anybody_script(),
        }
    }
}

#[test]
#[ignore = "needs btcd"]
fn regtest_btcd_life_of_a_transaction() {
    for options in [&[][..], &["--txindex"][..]] {
        let node = Btcd::start(options);
        node.call("generate", json!([MATURITY + 10]));
        let source = node.source();
        let coins = [node.coin(1), node.coin(2)];
        let height = source.tip().expect("an answer").expect("it can tell").height;
        assert_eq!(height, MATURITY + 10);
        assert_eq!(
            source.coin(&coins[0].at),
            Ok(Some(CoinStatus::Unspent { confirmations: height, median_time: None }))
        );

        let payment = anybody_pays(&coins[..1], &[coins[0].value - 2_000]);
        let see = |expected: ChainStatus| {
            assert_eq!(source.status(&query(&payment)), Ok(expected), "{options:?}");
            assert_eq!(node.source().status(&query(&payment)), Ok(expected), "{options:?}, afresh");
        };
        see(ChainStatus::Unknown);
        assert_eq!(source.broadcast(&signed(&payment)), BroadcastAnswer::Accepted);
        assert_eq!(source.broadcast(&signed(&payment)), BroadcastAnswer::AlreadyKnown);
        see(ChainStatus::Seen);
        node.call("generate", json!([2]));
        see(ChainStatus::Confirmed { height: height + 1, confirmations: 2 });
        assert_eq!(source.broadcast(&signed(&payment)), BroadcastAnswer::AlreadyKnown);
        // All outputs spent, in the chain.
        let outputs = [coin_of(&payment, 0)];
        let second = signed(&anybody_pays(&outputs, &[outputs[0].value - 2_000]));
        node.call("sendrawtransaction", json!([to_hex(&second.bytes)]));
        node.call("generate", json!([1]));
        see(ChainStatus::Confirmed { height: height + 1, confirmations: 3 });
        assert_eq!(node.source().broadcast(&signed(&payment)), BroadcastAnswer::AlreadyKnown);

        let own = anybody_pays(&coins[1..], &[coins[1].value - 2_000]);
        let rival = anybody_pays(&coins[1..], &[coins[1].value - 90_000]);
        node.call("sendrawtransaction", json!([to_hex(&signed(&rival).bytes)]));
        match source.broadcast(&signed(&own)) {
            BroadcastAnswer::Rejected { kind: RejectionKind::Conflict, .. } => {}
            answer => panic!("{answer:?}"),
        }
        node.call("generate", json!([1]));
        let conflict = ChainStatus::Conflict { txid: txid(&rival), confirmations: 1 };
        assert_eq!(source.status(&query(&own)), Ok(conflict));
        match source.broadcast(&signed(&own)) {
            BroadcastAnswer::Rejected { words, ambiguous: false, .. } => {
                assert!(words.contains(&txid(&rival).to_string()), "{words}");
            }
            answer => panic!("{answer:?}"),
        }
        let mut unsigned = anybody_pays(&[node.coin(3)], &[coins[0].value - 2_000]);
        unsigned.input[0].witness = bitcoin::Witness::from_slice(&[&[1][..], &[0x51]]);
        match source.broadcast(&signed(&unsigned)) {
            BroadcastAnswer::Rejected { kind: RejectionKind::Invalid, .. } => {}
            answer => panic!("{answer:?}"),
        }
        assert_eq!(source.coin(&OutPoint { txid: Txid([9; 32]), vout: 0 }), Ok(Some(CoinStatus::Unknown)));
    }
}
