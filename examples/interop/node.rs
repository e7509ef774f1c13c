//! The Rust node.

use std::io::BufRead;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libmusig::{
    ElectionMethod, Error, Event, FailoverPolicy, KeepEvent, LocalSigner, Message, Node, NodeEvent,
    SessionRequest, SignerKey, Txid, from_hex,
};

pub fn run(store: &str) -> Result<(), String> {
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let secret = lines.next().ok_or("no secret came")?;
    let secret = from_hex(secret.trim_start_matches("secret ")).map_err(|error| error.to_string())?;
    let slot: Arc<OnceLock<Node>> = Arc::default();
    let own = slot.clone();
    let node = Node::builder()
        .signer(LocalSigner::new(secret).map_err(|error| error.to_string())?)
        .store_path(store)
        .listen("/ip4/127.0.0.1/tcp/0")
        .without_observer()
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
    println!("listening {address}");
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let result = match words.as_slice() {
            ["peer", address] => node.add_peer(address).wait(),
            ["propose", timeout, digest, keys @ ..] => propose(&node, timeout, digest, keys)?,
            ["broadcast", session] => {
                let id = session.parse().map_err(|error| format!("{error}"))?;
                node.session(id).notify_broadcast_complete(Some(Txid([7; 32]))).wait()
            }
            _ => break,
        };
        result.map_err(|error| error.to_string())?;
    }
    node.stop().map_err(|error| error.to_string())
}

fn propose(node: &Node, timeout: &str, digest: &str, keys: &[&str]) -> Result<Result<(), Error>, String> {
    let keys: Result<Vec<SignerKey>, _> = keys.iter().map(|key| key.parse()).collect();
    let digest = from_hex(digest).map_err(|error| error.to_string())?;
    let timeout = timeout.parse().map_err(|_| "no number of milliseconds".to_owned())?;
    let policy =
        FailoverPolicy { broadcast_timeout: Duration::from_millis(timeout), ..FailoverPolicy::default() };
    let request =
        SessionRequest::messages(keys.map_err(|error| error.to_string())?, vec![Message::raw(digest)])
            .election_method(ElectionMethod::FirstSigner)
            .failover(policy);
    Ok(node.create_session(request).wait().map(|_| ()))
}

fn handle(node: &Node, event: &NodeEvent) -> Result<(), KeepEvent> {
    let Some(id) = event.session else { return Ok(()) };
    match &event.event {
        Event::SessionProposed { .. } => node.session(id).join().wait().map_err(|_| KeepEvent)?,
        Event::SessionComplete { signatures, .. } => println!("complete {id} {}", signatures[0]),
        Event::ShouldBroadcast { turn, .. } => println!("should-broadcast {id} {turn}"),
        Event::BroadcastClaimed { .. } => {
            node.session(id).notify_broadcast_complete(None).wait().map_err(|_| KeepEvent)?;
        }
        Event::BroadcastConfirmed { .. } => println!("confirmed {id}"),
        _ => {}
    }
    Ok(())
}
