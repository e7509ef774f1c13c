//! A node that holds a transaction which cannot be in a block yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libmusig::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, ChainTip, SignedTransaction,
    SubmitOutcome,
};
use libmusig::event::Event;
use libmusig::protocol::proposal::FailoverPolicy;
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;

use crate::world::Spend;
use test_support::backend::chain::Chain;
use test_support::nodes::*;

const HEIGHT: u32 = 100;

#[derive(Default)]
struct Backend {
    height: AtomicU32,
    asked: AtomicU32,
    submitted: AtomicU32,
}

impl Broadcaster for Backend {
    fn submit(&self, _: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
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
        Ok(Some(ChainTip { height: self.height.load(Ordering::SeqCst), median_time: 0 }))
    }
}

#[test]
fn lock_time_is_waited_for_by_a_node_whose_observer_knows_the_last_block() {
    let backend = Arc::new(Backend::default());
    let node = node_builder()
        .signer(LocalSigner::new(secret(0)).expect("a key"))
        .store(MemoryStore::new())
        .offline()
        .broadcaster(backend.clone())
        .observer(backend.clone())
        .start()
        .expect("starts");
    let mut spend = Spend::new(&Chain::new(), &keys(1));
    let lock_time = spend.unsigned.len() - 4;
    spend.unsigned[lock_time..].copy_from_slice(&HEIGHT.to_le_bytes());
    let policy = FailoverPolicy { broadcast_timeout: Duration::from_secs(1), ..FailoverPolicy::default() };
    let session = node.create_session(spend.request(keys(1)).failover(policy)).wait().expect("is created");
    wait_complete(&node, session.id());
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
