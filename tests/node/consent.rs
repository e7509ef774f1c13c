//! What a node finds out before it consents: whether the coins exist that a transaction with failover spends, and whether
//! a raw message may spend coins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use libmusig::chain::summary::{SummaryOptions, Warning};
use libmusig::chain::{ChainError, ChainObserver, ChainQuery, ChainStatus, CoinStatus};
use libmusig::error::{ConsentError, Error};
use libmusig::node::{Node, NodeBuilder, SessionRequest};
use libmusig::protocol::consent::JoinOptions;
use libmusig::protocol::proposal::{Derivation, Message};
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::types::{OutPoint, SessionId};

use crate::world::Spend;
use test_support::backend::chain::Chain;
use test_support::nodes::*;

/// An observer that says of coins what a test tells it to.
#[derive(Default)]
struct Ledger {
    coins: Mutex<HashMap<OutPoint, CoinStatus>>,
    asked: Mutex<Vec<OutPoint>>,
}

impl ChainObserver for Ledger {
    fn status(&self, _: &ChainQuery) -> Result<ChainStatus, ChainError> {
        Ok(ChainStatus::Unknown)
    }

    fn coin(&self, outpoint: &OutPoint) -> Result<Option<CoinStatus>, ChainError> {
        self.asked.lock().expect("no panic").push(*outpoint);
        let known = self.coins.lock().expect("no panic").get(outpoint).copied();
        known.map(Some).ok_or_else(|| ChainError { reason: "no route".into() })
    }
}

fn offline(index: usize) -> NodeBuilder {
    node_builder().signer(LocalSigner::new(secret(index)).expect("a key")).store(MemoryStore::new()).offline()
}

#[test]
fn unbroadcast_parent_is_refused_by_a_node_whose_observer_knows() {
    let ledger = Arc::new(Ledger::default());
    let nodes: Vec<Node> = vec![
        offline(0).without_observer().start().expect("starts"),
        offline(1).observer(ledger.clone()).start().expect("starts"),
    ];
    let request = || Spend::new(&Chain::new(), &keys(2)).request(keys(2));
    // Who has no observer has nobody to ask.
    let proposed = nodes[0].create_session(request()).wait().expect("is created");
    let export = proposed.export().wait().expect("is there");
    nodes[1].import(export).wait().expect("is taken");
    let session = nodes[1].session(proposed.id());
    assert_eq!(ledger.asked.lock().expect("no panic").len(), 0, "nothing is looked up before anybody joins");
    let Err(Error::Consent(ConsentError::CoinsNotKnown { reason })) = session.join().wait() else {
        panic!("it could not be asked")
    };
    assert_eq!(reason, "no route");
    let coin = ledger.asked.lock().expect("no panic")[0];
    for (status, spent) in [(CoinStatus::Unknown, false), (CoinStatus::Spent, true)] {
        ledger.coins.lock().expect("no panic").insert(coin, status);
        let refused = Error::Consent(ConsentError::MissingCoin { input: 0, coin, spent });
        assert_eq!(session.join().wait(), Err(refused));
    }
    assert!(!session.status().wait().expect("known").accepted.contains(&1), "nothing was signed");
    ledger.coins.lock().expect("no panic").insert(coin, CoinStatus::InMempool);
    session.join().wait().expect("it is there");
    assert!(session.status().wait().expect("known").accepted.contains(&1));
    let asked = ledger.asked.lock().expect("no panic").len();
    session.join().wait().expect("again");
    assert_eq!(ledger.asked.lock().expect("no panic").len(), asked, "it consented before");

    // The own proposal is a consent too.
    ledger.coins.lock().expect("no panic").clear();
    let Err(Error::Consent(ConsentError::CoinsNotKnown { .. })) = nodes[1].create_session(request()).wait()
    else {
        panic!("it could not be asked")
    };
    let sessions = nodes[1].sessions().wait().expect("runs").len();
    assert_eq!(sessions, 1, "nothing is left of the refused one");
    let asked = ledger.asked.lock().expect("no panic").len();
    let options = JoinOptions { allow_missing_coins: true, ..JoinOptions::default() };
    nodes[1].create_session(request().consent(options)).wait().expect("the application knows better");
    assert_eq!(ledger.asked.lock().expect("no panic").len(), asked);
    nodes.iter().for_each(|node| node.stop().expect("stops"));
}

#[test]
fn summary_warns_of_what_other_sessions_spend_and_pay() {
    let node = offline(0).without_observer().start().expect("starts");
    let chain = Chain::new();
    let options = || SummaryOptions { network: bitcoin::Network::Regtest, ..SummaryOptions::default() };
    let create = |spend: &Spend| node.create_session(spend.request(keys(1))).wait().expect("is created");
    let (one, other) = (Spend::new(&chain, &keys(1)), Spend::new(&chain, &keys(1)));
    let first = create(&one);
    assert_eq!(first.summary(options()).wait().expect("is there").warnings, []);
    // The same coin, and the same payment with another coin.
    let again = create(&one);
    let warnings = again.summary(options()).wait().expect("is there").warnings;
    assert_eq!(warnings, [Warning::CoinInOtherSession { input: 0, session: first.id() }]);
    let twice = create(&other);
    let warnings = twice.summary(options()).wait().expect("is there").warnings;
    let mut paid = [first.id(), again.id()].map(|session| Warning::PaidByOtherSession { output: 0, session });
    paid.sort_by_key(|warning| format!("{warning:?}"));
    let mut found = warnings.clone();
    found.sort_by_key(|warning| format!("{warning:?}"));
    assert_eq!(found, paid);
    // Money that comes back is no payment.
    let own = SummaryOptions { own_scripts: vec![other.spent.script.clone()], ..options() };
    assert_eq!(twice.summary(own).wait().expect("is there").warnings, []);
    let text = twice.summary(options()).wait().expect("is there").to_text();
    assert!(text.contains(&format!("WARNING: output 0 is paid in session {} too", first.id())), "{text}");
    // A fee bump that pays no more replaces nothing.
    let bump = node.create_session(one.request(keys(1)).replaces(first.id())).wait().expect("is created");
    let summary = bump.summary(options()).wait().expect("is there");
    let fee_rate = summary.transaction.as_ref().expect("it has one").fee_rate;
    let lower = Warning::LowerFeeRate { fee_rate, replaced: fee_rate, session: first.id() };
    assert!(summary.warnings.contains(&lower), "{:?}", summary.warnings);
    assert!(summary.to_text().contains("nodes will not replace its transaction"));
    let Err(Error::UnknownSession(_)) = node.session(SessionId([7; 32])).summary(options()).wait() else {
        panic!("there is none")
    };
    node.stop().expect("stops");
}

#[test]
fn raw_message_over_a_wallet_key_needs_the_word_of_the_application() {
    let node = offline(0).without_observer().start().expect("starts");
    let blind = JoinOptions { sign_blind: true, ..JoinOptions::default() };
    let refused = |session| Error::Consent(ConsentError::BlindMessage { message: 0, session });
    let output = Message::with([1; 32], 0, Derivation::key_path([0, 7]));
    let request = || SessionRequest::messages(keys(1), [output.clone()]);
    assert_eq!(node.create_session(request()).wait().err(), Some(refused(None)));
    node.create_session(request().consent(blind)).wait().expect("the application knows what it is");
    // The same keys, without and with a transaction that they sign.
    let raw = |byte: u8| SessionRequest::messages(keys(1), [[byte; 32]]);
    node.create_session(raw(2)).wait().expect("they own nothing");
    let wallet = node.create_session(Spend::new(&Chain::new(), &keys(1)).request(keys(1))).wait();
    let wallet = wallet.expect("is created");
    let error = node.create_session(raw(3)).wait().expect_err("is refused");
    assert_eq!(error, refused(Some(wallet.id())));
    assert!(error.to_string().contains(&format!("the transaction session {}", wallet.id())), "{error}");
    node.create_session(raw(3).consent(blind)).wait().expect("the application knows what it is");
    node.stop().expect("stops");
}
