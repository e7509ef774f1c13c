//! A node that holds a transaction which cannot be in a block yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use libmusig::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, ChainTip, CoinStatus, SignedTransaction,
    SubmitOutcome,
};
use libmusig::event::Event;
use libmusig::node::Node;
use libmusig::protocol::proposal::FailoverPolicy;
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::types::OutPoint;

use crate::world::Spend;
use test_support::backend::chain::Chain;
use test_support::nodes::*;

const HEIGHT: u32 = 100;
const COIN_TIME: u32 = 1_700_000_000;

#[derive(Default)]
struct Backend {
    height: AtomicU32,
    asked: AtomicU32,
    submitted: AtomicU32,
    /// What it says of the last block's median time, and when it takes the transaction.
    median_time: AtomicU32,
    final_at: AtomicU32,
    refused: AtomicU32,
    /// Whether it says anything of the last block.
    silent: AtomicBool,
}

impl Broadcaster for Backend {
    fn submit(&self, _: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        if self.median_time.load(Ordering::SeqCst) < self.final_at.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Ok(SubmitOutcome::NotYetFinal);
        }
        self.submitted.fetch_add(1, Ordering::SeqCst);
        Ok(SubmitOutcome::Accepted)
    }
}

impl ChainObserver for Backend {
    fn status(&self, _: &ChainQuery) -> Result<ChainStatus, ChainError> {
        let seen = self.submitted.load(Ordering::SeqCst) > 0;
        Ok(if seen { ChainStatus::Seen } else { ChainStatus::Unknown })
    }

    fn tip(&self) -> Result<Option<ChainTip>, ChainError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let median_time = self.median_time.load(Ordering::SeqCst);
        Ok(Some(ChainTip { height: self.height.load(Ordering::SeqCst), median_time }))
    }

    fn coin(&self, _: &OutPoint) -> Result<Option<CoinStatus>, ChainError> {
        Ok(Some(CoinStatus::Unspent { confirmations: 1, median_time: Some(COIN_TIME) }))
    }
}

fn start(backend: &Arc<Backend>) -> Node {
    node_builder()
        .signer(LocalSigner::new(secret(0)).expect("a key"))
        .store(MemoryStore::new())
        .offline()
        .broadcaster(backend.clone())
        .observer(backend.clone())
        .start()
        .expect("starts")
}

/// A transaction whose turns last a second, signed.
fn sign(node: &Node, spend: &Spend) {
    let policy = FailoverPolicy { broadcast_timeout: Duration::from_secs(1), ..FailoverPolicy::default() };
    let session = node.create_session(spend.request(keys(1)).failover(policy)).wait().expect("is created");
    wait_complete(node, session.id());
}

/// It waits for 1,024 seconds after its coin's block (BIP-68): version 2, and the sequence of the only input.
fn relative_by_time() -> Spend {
    let mut spend = Spend::new(&Chain::new(), &keys(1));
    spend.unsigned[42..46].copy_from_slice(&(1_u32 << 22 | 2).to_le_bytes());
    spend
}

#[test]
fn lock_time_is_waited_for_by_a_node_whose_observer_knows_the_last_block() {
    let backend = Arc::new(Backend::default());
    let node = start(&backend);
    let mut spend = Spend::new(&Chain::new(), &keys(1));
    let lock_time = spend.unsigned.len() - 4;
    spend.unsigned[lock_time..].copy_from_slice(&HEIGHT.to_le_bytes());
    sign(&node, &spend);
    backend.height.store(HEIGHT - 1, Ordering::SeqCst);
    // Longer than all turns: a turn is a second, in which it asks four times.
    wait_until("it asked often", || backend.asked.load(Ordering::SeqCst) > 8);
    assert_eq!(backend.submitted.load(Ordering::SeqCst), 0);
    while let Some(event) = node.try_next_event().expect("runs") {
        assert!(
            !matches!(event.event, Event::ShouldBroadcast { .. } | Event::FailoverExhausted { .. }),
            "{event:?}"
        );
    }
    backend.height.store(HEIGHT, Ordering::SeqCst);
    wait_for(&node, "the transaction to be seen", |event| {
        matches!(event.event, Event::BroadcastSeen { .. }).then_some(())
    });
    assert_eq!(backend.submitted.load(Ordering::SeqCst), 1);
    node.stop().expect("stops");
}

#[test]
fn lock_time_relative_by_time_is_waited_for_by_a_node_whose_observer_knows_when_the_coin_came() {
    let backend = Arc::new(Backend::default());
    backend.median_time.store(COIN_TIME + 1023, Ordering::SeqCst);
    let node = start(&backend);
    sign(&node, &relative_by_time());
    wait_until("it asked often", || backend.asked.load(Ordering::SeqCst) > 8);
    assert_eq!(backend.submitted.load(Ordering::SeqCst), 0);
    backend.median_time.store(COIN_TIME + 1024, Ordering::SeqCst);
    wait_for(&node, "the transaction to be seen", |event| {
        matches!(event.event, Event::BroadcastSeen { .. }).then_some(())
    });
    assert_eq!(backend.submitted.load(Ordering::SeqCst), 1);
    node.stop().expect("stops");
}

#[test]
fn lock_time_that_a_broadcaster_answers_is_neither_a_refusal_nor_an_alarm() {
    let backend = Arc::new(Backend::default());
    backend.silent.store(true, Ordering::SeqCst);
    backend.final_at.store(1, Ordering::SeqCst);
    let node = start(&backend);
    sign(&node, &relative_by_time());
    // The only turn is over after a second.
    wait_until("it submitted often", || backend.refused.load(Ordering::SeqCst) > 3);
    while let Some(event) = node.try_next_event().expect("runs") {
        let alarm = matches!(event.event, Event::BroadcastRejected { .. } | Event::FailoverExhausted { .. });
        assert!(!alarm, "{event:?}");
    }
    backend.median_time.store(1, Ordering::SeqCst);
    wait_for(&node, "the transaction to be seen", |event| {
        matches!(event.event, Event::BroadcastSeen { .. }).then_some(())
    });
    node.stop().expect("stops");
}
