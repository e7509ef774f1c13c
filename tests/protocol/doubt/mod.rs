//! Doubt only speeds things up: claims, NACKs, sleep, clocks, lost and conflicting transactions.

mod chain;
mod claims;
mod clocks;
mod early;
mod nacks;
mod notify;
mod pace;
mod replacement;
mod reputation;
mod sleep;

use std::time::Duration;

use libmusig::types::{SessionId, Txid};

use test_support::cluster::{Broadcaster, Cluster, Options};
use test_support::party::policy;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A session that everybody holds, with exact times.
fn held(signers: usize, change: impl FnOnce(&mut Cluster)) -> (Cluster, SessionId) {
    let mut cluster = Cluster::new(Options { sync: Duration::ZERO, ..Options::new(signers) });
    change(&mut cluster);
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |terms| policy(terms).broadcast_timeout = TIMEOUT);
    cluster.complete(&session);
    (cluster, session)
}

fn txid(cluster: &Cluster, session: &SessionId) -> Txid {
    cluster.engine(0).final_transaction(session).expect("a holder").txid
}

fn all_broadcasters(cluster: &mut Cluster, broadcaster: &Broadcaster) {
    cluster.nodes.iter_mut().for_each(|node| node.broadcaster = broadcaster.clone());
}

/// Who submitted, and how long after it became a holder.
fn submissions(cluster: &Cluster, session: &SessionId) -> Vec<(usize, Duration)> {
    let each = cluster.chain.submissions.iter();
    each.map(|one| (one.node, one.at - cluster.became_holder(one.node, session).expect("a holder"))).collect()
}
