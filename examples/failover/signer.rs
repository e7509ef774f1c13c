//! One signer: a process with its own store and libp2p node. It takes orders as lines on its standard input, and
//! says what happens as lines of JSON on its standard output.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use bitcoin::bip32::Xpriv;
use bitcoin::secp256k1::Secp256k1;
use libmusig::chain::sources::Source;
use libmusig::{
    BitcoinCore, Broadcaster, ChainError, CoreAuth, Descriptor, ElectionMethod, Esplora, Event,
    FailoverPolicy, KeepEvent, KeyOrigin, LocalSigner, Node, NodeEvent, Psbt, SessionRequest,
    SignedTransaction, SignerKey, SpentOutput, SubmitOutcome, SummaryOptions, Tiers, from_hex, summarize,
    to_hex,
};
use serde_json::{Value, json};

/// The first argument of a signer's process. Then follow: the store's path, the chain's address, and the cookie file if
/// it is a Bitcoin node's.
pub const FLAG: &str = "--signer";

/// Waits for the parent's word before it submits, so that the parent can kill this process exactly then.
struct Gate {
    inner: Arc<dyn Source>,
    open: Mutex<bool>,
    changed: Condvar,
}

impl Broadcaster for Gate {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        say(&json!({ "event": "about to submit" }));
        let open = self.open.lock().expect("nobody panics with it");
        drop(self.changed.wait_while(open, |open| !*open).expect("nobody panics with it"));
        let outcome = self.inner.submit(transaction);
        say(&json!({ "event": "submitted", "outcome": format!("{outcome:?}") }));
        outcome
    }
}

fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    // The parent may be gone; then nobody needs to know.
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}

pub fn run(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let (Some(store), Some(chain)) = (arguments.next(), arguments.next()) else { return ExitCode::from(2) };
    match serve(&store, &chain, arguments.next()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            say(&json!({ "event": "error", "reason": reason }));
            ExitCode::FAILURE
        }
    }
}

fn source(chain: &str, cookie: Option<String>) -> Result<Arc<dyn Source>, String> {
    Ok(match cookie {
        Some(cookie) => {
            let cookie = CoreAuth::CookieFile(cookie.into());
            Arc::new(BitcoinCore::new(chain, cookie).map_err(|error| error.to_string())?)
        }
        None => Arc::new(Esplora::new(chain).map_err(|error| error.to_string())?),
    })
}

/// The key of this signer's account in the wallet, which has it as it is: no path leads to it.
fn add_account(signer: &LocalSigner, account: &str) -> Result<(), String> {
    let private: Xpriv = account.parse().map_err(|_| "the account is no extended private key")?;
    let fingerprint = private.fingerprint(&Secp256k1::new()).to_bytes();
    let origin = KeyOrigin { fingerprint, path: Vec::new() };
    signer.add_xprv(account, origin).map_err(|error| error.to_string())
}

fn serve(store: &str, chain: &str, cookie: Option<String>) -> Result<(), String> {
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let secret = lines.next().ok_or("no secret key came")?;
    let secret = from_hex(&secret).map_err(|error| error.to_string())?;
    let signer = LocalSigner::new(secret).map_err(|error| error.to_string())?;
    let account = lines.next().ok_or("no account came, not even an empty line")?;
    if !account.is_empty() {
        add_account(&signer, &account)?;
    }
    let source = source(chain, cookie)?;
    let gate = Arc::new(Gate { inner: source.clone(), open: Mutex::new(false), changed: Condvar::new() });

    let slot: Arc<OnceLock<Node>> = Arc::default();
    let own = slot.clone();
    let node = Node::builder()
        .signer(signer)
        .store_path(store)
        .listen("/ip4/127.0.0.1/tcp/0")
        .broadcaster(gate.clone())
        .observer(source)
        .final_depth(3)
        .event_handler(move |event| handle(own.wait(), event))
        .start()
        .map_err(|error| error.to_string())?;
    let _ = slot.set(node.clone());

    let address = loop {
        let addresses = node.listen_addresses().wait().map_err(|error| error.to_string())?;
        match addresses.into_iter().next() {
            Some(address) => break address,
            None => std::thread::park_timeout(Duration::from_millis(2)),
        }
    };
    say(&json!({ "event": "listening", "address": address }));

    for line in lines {
        let order: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        match order["order"].as_str() {
            Some("peer") => {
                let address = order["address"].as_str().unwrap_or_default();
                node.add_peer(address).wait().map_err(|error| error.to_string())?;
            }
            Some("connected") => {
                let wanted = order["signers"].as_u64().unwrap_or(0) as usize;
                while node.connected_signers().wait().map_err(|error| error.to_string())?.len() < wanted {
                    std::thread::park_timeout(Duration::from_millis(2));
                }
                say(&json!({ "event": "connected" }));
            }
            Some("propose") => propose(&node, &order)?,
            Some("submit") => {
                *gate.open.lock().expect("nobody panics with it") = true;
                gate.changed.notify_all();
            }
            _ => break,
        }
    }
    node.stop().map_err(|error| error.to_string())
}

fn propose(node: &Node, order: &Value) -> Result<(), String> {
    let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
    let signers = order["signers"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let signers = signers
        .map(str::parse::<SignerKey>)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let request = match order["psbt"].as_str() {
        Some(psbt) => {
            let psbt: Psbt = psbt.parse().map_err(|error| format!("{error}"))?;
            let descriptor: Descriptor = text("descriptor").parse().map_err(|error| format!("{error}"))?;
            let key_sets = descriptor.key_sets(&psbt).map_err(|error| error.to_string())?;
            SessionRequest::from_psbt(signers, &psbt, &key_sets).map_err(|error| error.to_string())?
        }
        None => {
            let value = order["value"].as_u64().unwrap_or(0);
            let spent = SpentOutput { value, script: bytes(&text("script")) };
            SessionRequest::transaction(signers, bytes(&text("transaction")), vec![spent])
        }
    };
    let method = ElectionMethod::from_number(order["method"].as_u64().unwrap_or(0) as u32);
    let policy = FailoverPolicy {
        broadcast_timeout: Duration::from_millis(order["timeout"].as_u64().unwrap_or(0)),
        tiers: match order["tiers"].as_u64() {
            Some(0) => Tiers::Doubling,
            Some(width) => Tiers::Fixed(width as u16),
            None => Tiers::Single,
        },
    };
    let request =
        request.election_method(method.ok_or("no such method")?).failover(policy).metadata("the demo");
    let session = node.create_session(request).wait().map_err(|error| error.to_string())?;
    let election = session.election().wait().map_err(|error| error.to_string())?;
    say(&json!({ "event": "proposed", "session": session.id().to_string(), "list": election.priority_list }));
    Ok(())
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).filter_map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()).collect()
}

/// What a wallet does, without the person who looks at the transaction.
fn handle(node: &Node, event: &NodeEvent) -> Result<(), KeepEvent> {
    let Some(id) = event.session else { return Ok(()) };
    match &event.event {
        Event::SessionProposed { proposal, proposer, .. } => {
            let Ok(summary) = summarize(proposal, &SummaryOptions::default()) else { return Ok(()) };
            let fee = summary.transaction.as_ref().map(|transaction| transaction.fee);
            say(&json!({ "event": "proposal", "by": proposer, "fee": fee, "text": summary.to_text() }));
            node.session(id).join().wait().map_err(|_| KeepEvent)?;
        }
        Event::SessionComplete { transaction: Some(transaction), .. } => {
            say(
                &json!({ "event": "complete", "txid": transaction.txid.to_string(), "bytes": to_hex(&transaction.bytes).len() / 2 }),
            );
        }
        Event::ShouldBroadcast { turn, .. } => say(&json!({ "event": "should broadcast", "turn": turn })),
        Event::CoordinatorFailed { failed, next, turn, .. } => {
            say(&json!({ "event": "coordinator failed", "failed": failed, "next": next, "turn": turn }));
        }
        Event::BroadcastSeen { .. } => say(&json!({ "event": "seen" })),
        Event::BroadcastConfirmed { txid, depth, .. } => {
            let height = depth.map(|depth| depth.height);
            say(
                &json!({ "event": "confirmed", "txid": txid.map(|txid| txid.to_string()), "height": height }),
            );
        }
        Event::FailoverExhausted { .. } => say(&json!({ "event": "exhausted" })),
        _ => {}
    }
    Ok(())
}
