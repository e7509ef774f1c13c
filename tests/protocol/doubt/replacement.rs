//! A session that replaces an older one (fee bump): the older watch pauses, and only its own observer ends it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use libmusig::protocol::Output;
use libmusig::protocol::proposal::Terms;
use libmusig::protocol::status::Phase;
use libmusig::types::SessionId;

use super::{TIMEOUT, all_broadcasters, txid};
use test_support::cluster::{Broadcaster, Cluster, Duty, EPOCH, Fate, Options};
use test_support::double::transaction;
use test_support::party::policy;

fn two(change: impl FnOnce(&mut Cluster)) -> (Cluster, SessionId, SessionId) {
    let mut cluster = Cluster::new(Options { sync: Duration::ZERO, ..Options::new(3) });
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    cluster.run_for(Duration::from_millis(20));
    let terms = cluster.terms();
    let old = cluster.create_with(0, terms.clone());
    cluster.complete(&old);
    cluster.run_for(Duration::from_secs(1));
    change(&mut cluster);
    let spent = cluster.chain.spent_by(&txid(&cluster, &old));
    let new = cluster.create(1, |new| {
        let (transaction, messages) = transaction(&spent, b"more fee");
        (new.transaction, new.messages) = (Some(transaction), messages);
        new.replaces = Some(old);
    });
    cluster.complete(&new);
    (cluster, old, new)
}

/// The session of each transaction that a node handed out to be submitted.
type Submits = Rc<RefCell<Vec<SessionId>>>;

/// Counts submissions by session from now on. Those of `never` do not happen.
fn count_submits(cluster: &mut Cluster, never: Option<SessionId>) -> Submits {
    let submits = Submits::default();
    let log = submits.clone();
    cluster.on_output = Some(Box::new(move |_, output| match output {
        Output::Submit { session, .. } if Some(*session) == never => Fate::Lost,
        Output::Submit { session, .. } => {
            log.borrow_mut().push(*session);
            Fate::Happens
        }
        _ => Fate::Happens,
    }));
    submits
}

fn submitted(submits: &Submits, session: &SessionId) -> usize {
    submits.borrow().iter().filter(|other| *other == session).count()
}

#[test]
fn replacement_pauses_the_older_watch_and_only_the_final_depth_ends_it() {
    let (mut cluster, old, new) = two(|cluster| all_broadcasters(cluster, &Broadcaster::Works));
    cluster.run_for(TIMEOUT * 5);
    assert!(cluster.count(0, &new, "BroadcastSeen") == 1);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &old, "FailoverExhausted"), 0, "paused at {node}");
        assert_eq!(cluster.status(node, &old).phase, Phase::Watching);
    }
    let now = cluster.now();
    cluster.chain.mine(now);
    cluster.run_for(TIMEOUT * 2);
    for node in 0..3 {
        assert_eq!(cluster.status(node, &old).phase, Phase::Watching, "one block is not final, at {node}");
    }
    let (now, depth) = (cluster.now(), cluster.nodes[0].settings.final_depth as usize);
    cluster.chain.mine_blocks(depth - 1, now);
    cluster.run_for(TIMEOUT * 2);
    for node in 0..3 {
        assert_eq!(cluster.status(node, &old).phase, Phase::Final, "at {node}");
        assert_eq!(cluster.status(node, &new).phase, Phase::Final, "at {node}");
        assert_eq!(cluster.count(node, &old, "BroadcastConflict"), 1, "by its own observer, at {node}");
    }
}

#[test]
fn replacement_pauses_until_its_block_is_gone_and_nobody_submits_it_again() {
    let (mut cluster, old, new) = two(|cluster| all_broadcasters(cluster, &Broadcaster::Works));
    cluster.run_for(TIMEOUT);
    let now = cluster.now();
    cluster.chain.mine(now);
    cluster.run_for(TIMEOUT * 2);
    let submits = count_submits(&mut cluster, Some(new));
    cluster.chain.reorganise(1);
    cluster.run_for(TIMEOUT * 6);
    assert!(submitted(&submits, &old) >= 1, "the older transaction is valid again, and nobody submits it");
    let old = txid(&cluster, &old);
    assert!(cluster.chain.knows(&old), "it is in the mempool");
}

#[test]
fn replacement_pauses_for_a_day_at_most_while_it_is_not_in_a_block() {
    let day = Duration::from_secs(24 * 3600);
    let mut cluster = Cluster::new(Options { sync: Duration::ZERO, ..Options::new(2) });
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    cluster.run_for(Duration::from_millis(20));
    let mut terms = cluster.terms();
    terms.expires_at = EPOCH.saturating_add(day * 5);
    policy(&mut terms).broadcast_timeout = Duration::from_secs(3600);
    let old = cluster.create_with(0, terms.clone());
    cluster.complete(&old);
    all_broadcasters(&mut cluster, &Broadcaster::Works);
    let spent = cluster.chain.spent_by(&txid(&cluster, &old));
    let new = cluster.create(1, |new| {
        let (transaction, messages) = transaction(&spent, b"more fee");
        (new.transaction, new.messages) = (Some(transaction), messages);
        (new.replaces, new.expires_at, new.broadcast) = (Some(old), terms.expires_at, terms.broadcast);
    });
    cluster.complete(&new);
    cluster.run_for(Duration::from_secs(60));
    assert_eq!(cluster.count(0, &new, "BroadcastSeen"), 1);
    // A restart does not begin the day again.
    let submits = count_submits(&mut cluster, None);
    cluster.leap(day / 2);
    cluster.crash(0);
    cluster.start(0);
    cluster.leap(day / 2 - Duration::from_secs(240));
    cluster.run_for(Duration::from_secs(120));
    assert_eq!(submitted(&submits, &old), 0, "paused for a day");
    cluster.run_for(Duration::from_secs(240));
    assert!(submitted(&submits, &old) >= 2, "both nodes submit after a day");
    for node in 0..2 {
        assert_eq!(cluster.count(node, &old, "BroadcastRejected"), 0, "the own replacement is no rejection");
        assert_eq!(cluster.status(node, &old).phase, Phase::Watching);
    }
}

#[test]
fn replacement_pauses_all_that_it_leads_back_to_and_shares_a_coin_with() {
    let (mut cluster, oldest, middle) = two(|_| {});
    let spent = cluster.chain.spent_by(&txid(&cluster, &oldest));
    let newest = cluster.create(2, |new| {
        let (transaction, messages) = transaction(&spent, b"still more fee");
        (new.transaction, new.messages) = (Some(transaction), messages);
        new.replaces = Some(middle);
    });
    cluster.complete(&newest);
    let submits = count_submits(&mut cluster, None);
    let now = cluster.now();
    let newest = txid(&cluster, &newest);
    cluster.chain.submit(0, newest, now);
    cluster.run_for(TIMEOUT * 6);
    assert!(submitted(&submits, &oldest) <= 1, "{submits:?}");
    for node in 0..3 {
        assert_eq!(cluster.count(node, &oldest, "FailoverExhausted"), 0, "paused at {node}");
        assert_eq!(cluster.count(node, &middle, "FailoverExhausted"), 0, "paused at {node}");
    }
}

#[test]
fn replacement_pauses_nothing_between_raw_sessions() {
    let mut options = Options { sync: Duration::ZERO, ..Options::new(2) };
    (options.settings.observer, options.settings.broadcaster) = (false, false);
    let mut cluster = Cluster::new(options);
    cluster.nodes.iter_mut().for_each(|node| node.application.duty = Duty::Ignores);
    cluster.run_for(Duration::from_millis(20));
    let terms = cluster.raw_terms();
    let old = cluster.create_with(0, terms);
    cluster.complete(&old);
    let terms = Terms { replaces: Some(old), ..cluster.raw_terms() };
    let new = cluster.create_with(1, terms);
    cluster.complete(&new);
    cluster.notify(0, new);
    cluster.run_for(TIMEOUT * 4);
    assert_eq!(cluster.status(0, &new).phase, Phase::Final);
    assert_eq!(cluster.status(0, &old).phase, Phase::Watching);
    assert_eq!(cluster.count(0, &old, "FailoverExhausted"), 1, "its turns went on");
}

#[test]
fn replacement_pauses_by_the_applications_word_and_ends_nothing() {
    let mut options = Options { sync: Duration::ZERO, ..Options::new(2) };
    (options.settings.observer, options.settings.broadcaster) = (false, false);
    let mut cluster = Cluster::new(options);
    for node in &mut cluster.nodes {
        (node.application.duty, node.application.checks_claims) = (Duty::Ignores, false);
    }
    cluster.run_for(Duration::from_millis(20));
    let old = cluster.create(0, |_| {});
    cluster.complete(&old);
    let spent = cluster.chain.spent_by(&txid(&cluster, &old));
    let new = cluster.create(1, |new| {
        let (transaction, messages) = transaction(&spent, b"more fee");
        (new.transaction, new.messages) = (Some(transaction), messages);
        new.replaces = Some(old);
    });
    cluster.complete(&new);
    cluster.notify(0, new);
    let asked = cluster.count(0, &old, "ShouldBroadcast");
    cluster.run_for(TIMEOUT);
    cluster.crash(0);
    cluster.start(0);
    cluster.run_for(TIMEOUT * 4);
    assert_eq!(cluster.count(0, &old, "ShouldBroadcast"), asked, "it waits, after a restart too");
    assert_eq!(cluster.status(0, &old).phase, Phase::Watching, "and is not over");
    assert!(cluster.count(1, &old, "ShouldBroadcast") > 0, "another node's application said nothing");
    cluster.notify(0, old);
    assert_eq!(cluster.status(0, &old).phase, Phase::Final, "its own notification ends it");
}

#[test]
fn a_replaced_watch_stays_paused_after_a_restart() {
    let (mut cluster, old, _) = two(|cluster| all_broadcasters(cluster, &Broadcaster::Works));
    cluster.run_for(TIMEOUT);
    for node in 0..3 {
        cluster.crash(node);
        cluster.start(node);
    }
    let before = cluster.submitters().len();
    cluster.run_for(TIMEOUT * 5);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &old, "FailoverExhausted"), 0, "paused at {node}");
    }
    assert_eq!(cluster.submitters().len(), before);
}

#[test]
fn a_replacement_that_nobody_broadcasts_pauses_nothing() {
    let (mut cluster, old, _) = two(|_| {});
    cluster.run_for(TIMEOUT * 4);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &old, "FailoverExhausted"), 1, "at {node}");
    }
}

#[test]
fn a_replacement_that_spends_other_coins_pauses_nothing() {
    let mut cluster = Cluster::new(Options { sync: Duration::ZERO, ..Options::new(3) });
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    cluster.run_for(Duration::from_millis(20));
    let old = cluster.create(0, |_| {});
    cluster.complete(&old);
    cluster.run_for(Duration::from_secs(1));
    all_broadcasters(&mut cluster, &Broadcaster::Works);
    let new = cluster.create(1, |terms| terms.replaces = Some(old));
    cluster.complete(&new);
    cluster.run_for(TIMEOUT * 2);
    assert_eq!(cluster.count(1, &new, "BroadcastSeen"), 1);
    assert_eq!(cluster.count(1, &old, "BroadcastSeen"), 1, "the old one was broadcast all the same");
}
