//! Signers as real nodes of libmusig in this process, and what they own on regtest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libmusig::JoinOptions;
use libmusig::chain::sources::Source;
use libmusig::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, ChainTip, CoinStatus, OutPoint,
    SignedTransaction, SubmitOutcome,
};
use libmusig::event::Event;
use libmusig::node::{Node, NodeBuilder, Session, SessionRequest};
use libmusig::protocol::crypto::key_set::{Derivation, KeySet};
use libmusig::protocol::proposal::{FailoverPolicy, SpentOutput};
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::types::{SignerKey, Txid};

use crate::coins::{Coin, txid, unsigned};
use test_support::nodes::*;

/// How long a turn lasts: long enough for a busy machine to submit in.
pub const TURN: Duration = Duration::from_secs(3);

/// The script that the signers' output key owns.
pub fn script_of(signers: &[SignerKey]) -> Vec<u8> {
    let key = KeySet::new(signers).final_key(&Derivation::key_path([])).expect("keys have an aggregate");
    let key = *key.x_only();
    [&[0x51, 0x20][..], &key].concat()
}

/// A session in which the signers spend coins of theirs to themselves.
pub fn spend(n: usize, coins: &[Coin], fee: u64) -> (SessionRequest, Txid) {
    let value: u64 = coins.iter().map(|coin| coin.value).sum();
    let transaction = unsigned(coins, &[(value - fee, script_of(&keys(n)))]);
    let spent = coins.iter().map(|coin| SpentOutput { value: coin.value, script: coin.script.clone() });
    let bytes = bitcoin::consensus::serialize(&transaction);
    let policy = FailoverPolicy { broadcast_timeout: TURN, ..FailoverPolicy::default() };
    let request = SessionRequest::transaction(keys(n), bytes, spent.collect()).failover(policy);
    (request, txid(&transaction))
}

/// A signer's node whose source submits and looks.
pub fn signer<S: Broadcaster + ChainObserver + 'static>(index: usize, source: S) -> Node {
    signer_builder(index, Arc::new(source)).start().expect("starts")
}

pub fn signer_builder<S: Broadcaster + ChainObserver + 'static>(index: usize, source: Arc<S>) -> NodeBuilder {
    node_builder()
        .signer(LocalSigner::new(secret(index)).expect("a secret key"))
        .store(MemoryStore::new())
        .listen("/ip4/127.0.0.1/tcp/0")
        .broadcaster(source.clone())
        .observer(source)
}

/// A source that counts its submissions.
pub struct Counted<S> {
    pub source: S,
    pub submissions: Arc<AtomicUsize>,
}

impl<S: Source> Broadcaster for Counted<S> {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        self.submissions.fetch_add(1, Ordering::SeqCst);
        self.source.submit(transaction)
    }
}

impl<S: Source> ChainObserver for Counted<S> {
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError> {
        self.source.status(query)
    }

    fn coin(&self, outpoint: &OutPoint) -> Result<Option<CoinStatus>, ChainError> {
        self.source.coin(outpoint)
    }

    fn tip(&self) -> Result<Option<ChainTip>, ChainError> {
        self.source.tip()
    }
}

/// Proposes at the first node; all others consent.
pub fn sign(nodes: &[Node], request: SessionRequest) -> Session {
    sign_with(nodes, request, JoinOptions::default())
}

/// The same, at nodes that cannot ask whether the coins exist.
pub fn sign_unseen(nodes: &[Node], request: SessionRequest) -> Session {
    sign_with(nodes, request, JoinOptions { allow_missing_coins: true, ..JoinOptions::default() })
}

fn sign_with(nodes: &[Node], request: SessionRequest, options: JoinOptions) -> Session {
    let session = nodes[0].create_session(request.consent(options)).wait().expect("is created");
    for node in &nodes[1..] {
        assert_eq!(join_next_with(node, options).id(), session.id());
    }
    session
}

/// The finished transaction, once a node holds it.
pub fn complete(node: &Node, session: &Session) -> SignedTransaction {
    wait_for(node, "the signatures", |event| match &event.event {
        Event::SessionComplete { transaction, .. } if event.session == Some(session.id()) => {
            Some(transaction.clone().expect("a session of a transaction"))
        }
        _ => None,
    })
}

/// The depth at which a node reports its session's transaction.
pub fn confirmed(node: &Node, session: &Session) -> (u32, u32) {
    wait_for(node, "a confirmation", |event| match &event.event {
        Event::BroadcastConfirmed { depth: Some(depth), .. } if event.session == Some(session.id()) => {
            Some((depth.height, depth.confirmations))
        }
        _ => None,
    })
}

pub fn seen(node: &Node, session: &Session) {
    wait_for(node, "the transaction to be seen", |event| {
        (event.session == Some(session.id()) && matches!(event.event, Event::BroadcastSeen { .. }))
            .then_some(())
    });
}
