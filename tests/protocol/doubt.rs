//! Doubt only speeds things up: claims, NACKs, sleep, clocks, lost and conflicting transactions.

use std::time::Duration;

use libmusig::error::Error;
use libmusig::protocol::envelope::Content;
use libmusig::protocol::event::Event;
use libmusig::protocol::status::Phase;
use libmusig::types::{SessionId, Txid};

use crate::simulated::cluster::{Broadcaster, Cluster, Duty, Options};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A session that everybody holds, with exact times.
fn held(signers: usize, change: impl FnOnce(&mut Cluster)) -> (Cluster, SessionId) {
    let mut cluster = Cluster::new(Options { sync: Duration::ZERO, ..Options::new(signers) });
    change(&mut cluster);
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |terms| terms.failover.broadcast_timeout = TIMEOUT);
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

mod claims {
    use super::*;

    #[test]
    fn a_forged_claim_delays_nothing() {
        let run = |forge: bool, observer: bool| {
            let mut options = Options { sync: Duration::ZERO, ..Options::new(5) };
            options.settings.observer = observer;
            let mut cluster = Cluster::new(options);
            cluster.nodes[0].broadcaster = Broadcaster::Hangs;
            cluster.run_for(Duration::from_millis(20));
            let session = cluster.create(0, |_| {});
            cluster.complete(&session);
            if forge {
                let claim = |txid| Content::Claim { txid };
                let txid = txid(&cluster, &session);
                for content in [claim(txid), claim(Txid([1; 32]))] {
                    let envelope = cluster.forge(4, session, 4, content);
                    (0..4).for_each(|to| cluster.inject(4, to, std::slice::from_ref(&envelope)));
                }
            }
            cluster.run_for(TIMEOUT * 2);
            let claimed = cluster.count(1, &session, "BroadcastClaimed");
            (submissions(&cluster, &session), claimed)
        };
        for observer in [true, false] {
            let (honest, _) = run(false, observer);
            let (forged, claimed) = run(true, observer);
            assert_eq!(honest, forged, "observer={observer}");
            assert_eq!(honest[0].0, 1, "observer={observer}");
            assert!(claimed > 0, "the application is told");
        }
    }

    #[test]
    fn a_claim_makes_the_observer_look_at_once() {
        let (mut cluster, session) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
        cluster.run_for(Duration::from_millis(500));
        let before = cluster.nodes[1].observations;
        let claim = cluster.forge(2, session, 2, Content::Claim { txid: Txid([1; 32]) });
        cluster.inject(2, 1, &[claim]);
        cluster.run_for(Duration::from_millis(50));
        assert_eq!(cluster.nodes[1].observations, before + 1);
    }

    #[test]
    fn a_liar_delays_nobody_beyond_its_own_turn() {
        let (mut cluster, session) = held(5, |cluster| {
            cluster.nodes[0].broadcaster = Broadcaster::Lies;
            cluster.nodes[1].broadcaster = Broadcaster::Lies;
        });
        cluster.run_for(TIMEOUT * 4);
        let (by, after) = submissions(&cluster, &session)[0];
        assert_eq!(by, 2);
        assert!(after >= TIMEOUT * 2 && after < TIMEOUT * 2 + Duration::from_millis(100), "{after:?}");
    }

    #[test]
    fn a_claim_that_came_before_the_certificate_reaches_the_application_without_observer() {
        // The claim overtakes the last partial signature on another connection.
        let mut options = Options { sync: Duration::ZERO, ..Options::new(3) };
        (options.settings.observer, options.settings.broadcaster) = (false, false);
        let mut cluster = Cluster::new(options);
        cluster.run_for(Duration::from_millis(20));
        cluster.on_frame = Some(Box::new(|_, to, frame| to != 2 || frame.certificates.is_empty()));
        cluster.on_envelope = Some(Box::new(|_, to, envelope| {
            let partial = matches!(envelope.content(), Content::Partial { .. });
            if to == 2 && partial { Vec::new() } else { vec![envelope.clone()] }
        }));
        let session = cluster.create(0, |_| {});
        cluster.run_for(Duration::from_secs(1));
        assert!(!cluster.holds(2, &session) && cluster.holds(1, &session));
        (cluster.on_frame, cluster.on_envelope) = (None, None);
        cluster.run_for(Duration::from_secs(60));
        assert!(cluster.holds(2, &session));
        assert_eq!(cluster.count(2, &session, "BroadcastClaimed"), 1);
        assert_eq!(cluster.count(2, &session, "BroadcastConfirmed"), 1);
        assert_eq!(cluster.count(2, &session, "FailoverExhausted"), 0);
    }
}

mod nacks {
    use super::*;

    #[test]
    fn one_opens_the_next_turn_at_once() {
        let (mut cluster, session) = held(5, |cluster| {
            cluster.nodes[0].broadcaster = Broadcaster::Unreachable;
        });
        cluster.run_for(TIMEOUT * 3);
        let (by, after) = submissions(&cluster, &session)[0];
        assert_eq!(by, 1);
        assert!(after < Duration::from_millis(200), "{after:?}");
        assert_eq!(submissions(&cluster, &session).len(), 1);
    }

    #[test]
    fn of_all_exhausts_nothing_early() {
        let (mut cluster, session) = held(4, |cluster| all_broadcasters(cluster, &Broadcaster::Unreachable));
        cluster.run_for(TIMEOUT * 4 - Duration::from_millis(100));
        for node in 0..4 {
            assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 0, "at {node}");
            assert!(cluster.count(node, &session, "ShouldBroadcast") > 0, "at {node}");
        }
        cluster.run_for(Duration::from_millis(200));
        for node in 0..4 {
            assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 1, "at {node}");
        }
    }

    #[test]
    fn an_excused_signer_goes_on_trying() {
        let (mut cluster, session) = held(2, |cluster| {
            cluster.nodes[0].broadcaster = Broadcaster::Unreachable;
            cluster.nodes[1].broadcaster = Broadcaster::Hangs;
        });
        cluster.run_for(Duration::from_secs(25));
        cluster.nodes[0].broadcaster = Broadcaster::Works;
        cluster.run_for(TIMEOUT + Duration::from_secs(1));
        assert_eq!(submissions(&cluster, &session)[0].0, 0);
    }

    #[test]
    fn speak_for_their_own_signer_only() {
        let (mut cluster, session) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
        let nack = cluster.forge(2, session, 2, Content::Nack { reason: String::new() });
        (0..2).for_each(|to| cluster.inject(2, to, std::slice::from_ref(&nack)));
        // Somebody who signs for another.
        let forged = cluster.forge(2, session, 0, Content::Nack { reason: String::new() });
        cluster.inject(2, 1, &[forged]);
        cluster.run_for(TIMEOUT - Duration::from_millis(100));
        assert_eq!(cluster.count(1, &session, "CoordinatorFailed"), 0);
        assert_eq!(cluster.engine(1).refused().signatures, 1);
        cluster.run_for(Duration::from_millis(200));
        assert_eq!(cluster.count(1, &session, "ShouldBroadcast"), 1);
    }

    #[test]
    fn a_rejection_is_no_nack_and_excuses_nobody() {
        let words = "min relay fee not met";
        let (mut cluster, session) = held(3, |cluster| {
            cluster.nodes[0].broadcaster = Broadcaster::Rejects(words.into());
        });
        cluster.run_for(TIMEOUT - Duration::from_millis(100));
        assert_eq!(cluster.count(0, &session, "BroadcastRejected"), 1);
        assert!(
            cluster
                .events(0, &session)
                .any(|(_, event)| matches!(event, Event::BroadcastRejected { reason } if reason == words))
        );
        assert!(cluster.submitters().is_empty());
        assert_eq!(cluster.count(1, &session, "CoordinatorFailed"), 0);
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(cluster.submitters(), [1]);
    }

    #[test]
    fn the_application_may_send_one() {
        let mut options = Options::new(3);
        options.settings.broadcaster = false;
        let mut cluster = Cluster::new(options);
        cluster.nodes[0].application.duty = Duty::CannotReach;
        cluster.run_for(Duration::from_millis(20));
        let session = cluster.create(0, |_| {});
        cluster.complete(&session);
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(cluster.submitters(), [1]);
    }

    #[test]
    fn a_silent_signer_is_excused_if_that_is_asked_for() {
        let (mut cluster, session) = held(3, |cluster| {
            for node in &mut cluster.nodes {
                node.settings.dead_after = Some(Duration::from_secs(2));
            }
            for node in 0..3 {
                cluster.crash(node);
                cluster.start(node);
            }
            cluster.nodes[0].broadcaster = Broadcaster::Hangs;
        });
        cluster.crash(0);
        for _ in 0..30 {
            // What connections that are alive report.
            for (node, other) in [(1, 2), (2, 1)] {
                let key = cluster.nodes[other].key;
                cluster.drive(node, |engine, now| engine.heard(key, now));
            }
            cluster.run_for(Duration::from_millis(100));
        }
        let all = submissions(&cluster, &session);
        let [(by, after)] = all[..] else { panic!("one submission, not {all:?}") };
        assert_eq!(by, 1);
        assert!(after >= Duration::from_secs(2) && after < Duration::from_millis(2200), "{after:?}");
    }
}

mod sleep {
    use super::*;

    fn session_of(cluster: &Cluster) -> SessionId {
        cluster.engine(0).ids()[0]
    }

    fn slept(change: impl FnOnce(&mut Cluster)) -> (Cluster, SessionId, Duration) {
        let (mut cluster, session) = held(5, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
        cluster.nodes[4].broadcaster = Broadcaster::Works;
        cluster.sleep(4);
        cluster.run_for(Duration::from_secs(3600));
        assert!(cluster.submitters().is_empty());
        change(&mut cluster);
        let woke = cluster.now();
        cluster.wake(4);
        (cluster, session, woke)
    }

    #[test]
    fn through_all_turns_asks_the_observer_and_submits() {
        let (mut cluster, session, woke) = slept(|_| {});
        let asked = cluster.nodes[4].observations;
        cluster.run_for(Duration::from_secs(6));
        assert!(cluster.nodes[4].observations > asked);
        assert_eq!(cluster.submitters(), [4]);
        let took = cluster.chain.submissions[0].at - woke;
        // One answer of the observer, then one of the broadcaster.
        assert_eq!(took, cluster.options.chain * 2);
        let missed: Vec<_> = cluster
            .events(4, &session)
            .filter_map(|(_, event)| match event {
                Event::CoordinatorFailed { failed, next, turn } => {
                    Some((failed.clone(), next.clone(), *turn))
                }
                _ => None,
            })
            .collect();
        assert_eq!(missed, [(vec![0, 1, 2, 3], vec![4], 4)], "turns missed while asleep come as one");
        assert_eq!(cluster.count(4, &session, "ShouldBroadcast"), 1);
        assert_eq!(cluster.count(4, &session, "FailoverExhausted"), 1);
        let names = cluster.names(4, &session);
        let position = |name: &str| names.iter().position(|each| each == name);
        assert!(position("ShouldBroadcast") < position("FailoverExhausted"));
    }

    #[test]
    fn does_not_wait_for_an_observer_that_hangs() {
        let (mut cluster, _, woke) = slept(|cluster| cluster.nodes[4].observer_hangs = true);
        cluster.run_for(Duration::from_secs(6));
        assert_eq!(cluster.submitters(), [4]);
        let took = cluster.chain.submissions[0].at - woke;
        assert_eq!(took, Duration::from_secs(5) + cluster.options.chain);
    }

    #[test]
    fn submits_nothing_that_is_there_already() {
        let (mut cluster, session, _) = slept(|cluster| {
            let (txid, now) = (txid(cluster, &session_of(cluster)), cluster.now());
            cluster.chain.submit(2, txid, now);
        });
        cluster.run_for(Duration::from_secs(60));
        assert!(!cluster.submitters().contains(&4));
        assert_eq!(cluster.count(4, &session, "BroadcastSeen"), 1);
        assert_eq!(cluster.count(4, &session, "ShouldBroadcast"), 0);
    }

    #[test]
    fn before_the_own_turn_changes_nothing() {
        let (mut cluster, session) = held(3, |cluster| {
            cluster.nodes[0].broadcaster = Broadcaster::Hangs;
        });
        cluster.run_for(Duration::from_secs(1));
        cluster.sleep(1);
        cluster.run_for(Duration::from_secs(3));
        cluster.wake(1);
        cluster.run_for(TIMEOUT);
        let (by, after) = submissions(&cluster, &session)[0];
        assert_eq!((by, after), (1, TIMEOUT + cluster.options.chain), "punctual, without asking first");
    }
}

mod notify {
    use super::*;

    fn applications(observer: bool, duty: Duty) -> (Cluster, SessionId) {
        let mut options = Options { sync: Duration::ZERO, ..Options::new(3) };
        (options.settings.observer, options.settings.broadcaster) = (observer, false);
        let mut cluster = Cluster::new(options);
        for node in &mut cluster.nodes {
            node.application.duty = duty;
            node.application.checks_claims = false;
        }
        cluster.run_for(Duration::from_millis(20));
        let session = cluster.create(0, |_| {});
        cluster.complete(&session);
        (cluster, session)
    }

    #[test]
    fn inside_the_handler_ends_the_own_watch_without_observer() {
        let (mut cluster, session) = applications(false, Duty::Submits);
        cluster.run_for(Duration::from_millis(1));
        assert_eq!(cluster.count(0, &session, "BroadcastConfirmed"), 1);
        assert_eq!(cluster.status(0, &session).phase, Phase::Final);
        cluster.run_for(TIMEOUT * 5);
        assert_eq!(cluster.count(0, &session, "ShouldBroadcast"), 1);
        assert_eq!(cluster.count(0, &session, "FailoverExhausted"), 0);
    }

    #[test]
    fn with_an_observer_is_a_word_and_the_observer_decides() {
        let (mut cluster, session) = applications(true, Duty::OnlySays);
        cluster.run_for(TIMEOUT * 3 + Duration::from_secs(1));
        for node in 0..3 {
            assert_eq!(cluster.count(node, &session, "BroadcastConfirmed"), 0);
            assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 1, "at {node}");
            assert_eq!(cluster.status(node, &session).phase, Phase::Watching);
        }
    }

    #[test]
    fn twice_is_as_once() {
        let (mut cluster, session) = applications(false, Duty::Ignores);
        for _ in 0..2 {
            let result =
                cluster.ask(0, |engine, request, now| engine.notify_broadcast(&session, None, request, now));
            assert_eq!(result, Ok(()));
        }
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(cluster.count(0, &session, "BroadcastConfirmed"), 1);
        assert_eq!(cluster.count(1, &session, "BroadcastClaimed"), 1);
        let answered = cluster.nodes[0].done.iter().filter(|(_, result)| result.is_ok()).count();
        assert_eq!(answered, 3, "create and both notifications are answered");
    }

    #[test]
    fn late_is_heard_after_exhaustion() {
        let (mut cluster, session) = applications(false, Duty::Ignores);
        cluster.run_for(TIMEOUT * 4);
        assert_eq!(cluster.count(0, &session, "FailoverExhausted"), 1);
        cluster.notify(0, session);
        assert_eq!(cluster.status(0, &session).phase, Phase::Final);
        let asked = cluster.count(0, &session, "ShouldBroadcast");
        cluster.run_for(TIMEOUT * 4);
        assert_eq!(cluster.count(0, &session, "ShouldBroadcast"), asked);
    }

    #[test]
    fn by_a_signer_that_is_not_the_coordinator() {
        let (mut cluster, session) = applications(false, Duty::Ignores);
        cluster.notify(2, session);
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(cluster.status(2, &session).phase, Phase::Final);
        assert_eq!(cluster.count(0, &session, "BroadcastClaimed"), 1);
        assert_eq!(cluster.status(0, &session).phase, Phase::Watching, "others decide for themselves");
        assert_eq!(cluster.status(1, &session).phase, Phase::Watching);
    }

    #[test]
    fn of_another_transaction_is_refused() {
        let (mut cluster, session) = applications(false, Duty::Ignores);
        let result = cluster.ask(0, |engine, request, now| {
            engine.notify_broadcast(&session, Some(Txid([1; 32])), request, now)
        });
        assert!(matches!(result, Err(Error::WrongState { .. })), "{result:?}");
        assert_eq!(cluster.status(0, &session).phase, Phase::Watching);
    }

    #[test]
    fn before_the_signatures_is_refused() {
        let mut cluster = Cluster::new(Options::new(2));
        cluster.nodes[1].application.consent = crate::simulated::cluster::Consent::Waits;
        cluster.run_for(Duration::from_millis(20));
        let session = cluster.create(0, |_| {});
        cluster.run_for(Duration::from_secs(1));
        for node in 0..2 {
            let result = cluster
                .ask(node, |engine, request, now| engine.notify_broadcast(&session, None, request, now));
            assert!(matches!(result, Err(Error::WrongState { .. })), "{result:?}");
        }
    }

    #[test]
    fn broadcast_now_submits_out_of_turn() {
        let (mut cluster, session) = held(3, |cluster| {
            cluster.nodes[0].broadcaster = Broadcaster::Hangs;
        });
        cluster.run_for(Duration::from_secs(1));
        let result = cluster.ask(2, |engine, request, now| engine.broadcast_now(&session, request, now));
        assert_eq!(result, Ok(()));
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(cluster.submitters(), [2]);
        cluster.run_for(TIMEOUT * 4);
        assert_eq!(cluster.submitters(), [2]);
    }
}

mod clocks {
    use super::*;

    fn jump(millis: i64) -> (Cluster, SessionId) {
        let (mut cluster, session) = held(4, |cluster| {
            cluster.nodes[0].broadcaster = Broadcaster::Hangs;
            cluster.nodes[1].broadcaster = Broadcaster::Hangs;
        });
        cluster.run_for(Duration::from_secs(3));
        (0..4).for_each(|node| cluster.nodes[node].skew = millis);
        cluster.run_for(TIMEOUT * 6);
        (cluster, session)
    }

    #[test]
    fn stepping_back_delays_nothing() {
        for back in [-1_000, -86_400_000 * 20] {
            let (cluster, session) = jump(back);
            assert_eq!(submissions(&cluster, &session), [(2, TIMEOUT * 2 + cluster.options.chain)]);
        }
    }

    #[test]
    fn stepping_forward_only_opens_turns_sooner() {
        let (cluster, session) = jump(12_000);
        let (by, after) = submissions(&cluster, &session)[0];
        assert_eq!(by, 2);
        assert!(after <= TIMEOUT * 2 - Duration::from_secs(12) + Duration::from_secs(6), "{after:?}");
    }

    #[test]
    fn days_ahead_or_behind_from_the_start_change_nothing() {
        let (mut cluster, session) = held(3, |cluster| {
            cluster.nodes[0].broadcaster = Broadcaster::Hangs;
            cluster.nodes[1].skew = 3_600_000 * 20;
            cluster.nodes[2].skew = -86_400_000 * 20;
        });
        cluster.run_for(TIMEOUT * 3);
        assert_eq!(submissions(&cluster, &session), [(1, TIMEOUT + cluster.options.chain)]);
    }
}

mod chain {
    use super::*;

    #[test]
    fn a_lost_transaction_begins_a_new_watch() {
        let (mut cluster, session) = held(3, |_| {});
        cluster.run_for(Duration::from_secs(5));
        assert_eq!(cluster.submitters(), [0]);
        let txid = txid(&cluster, &session);
        cluster.chain.evict(&txid);
        cluster.run_for(TIMEOUT * 3);
        for node in 0..3 {
            assert_eq!(cluster.count(node, &session, "BroadcastLost"), 1, "at {node}");
            assert_eq!(cluster.status(node, &session).failover.expect("a watch").watch, 1, "at {node}");
        }
        assert_eq!(cluster.submitters(), [0, 0], "the coordinator again");
        assert_eq!(cluster.count(0, &session, "BroadcastSeen"), 2);
    }

    #[test]
    fn a_reorganisation_begins_a_new_watch_too() {
        let (mut cluster, session) = held(3, |_| {});
        cluster.run_for(Duration::from_secs(5));
        let now = cluster.now();
        cluster.chain.mine_blocks(3, now);
        cluster.run_for(Duration::from_secs(10));
        assert_eq!(cluster.count(1, &session, "BroadcastConfirmed"), 1);
        cluster.chain.reorganise(3);
        cluster.run_for(TIMEOUT * 4);
        for node in 0..3 {
            assert_eq!(cluster.count(node, &session, "BroadcastLost"), 1, "at {node}");
        }
        assert_eq!(cluster.submitters(), [0, 0]);
        let now = cluster.now();
        cluster.chain.mine_blocks(6, now);
        cluster.run_for(TIMEOUT * 2);
        for node in 0..3 {
            assert_eq!(cluster.count(node, &session, "BroadcastConfirmed"), 2, "once per watch, at {node}");
            assert_eq!(cluster.status(node, &session).phase, Phase::Final);
        }
    }

    #[test]
    fn a_flapping_observer_begins_at_most_one_watch_per_timeout() {
        let (mut cluster, session) = held(2, |_| {});
        cluster.run_for(Duration::from_secs(5));
        let txid = txid(&cluster, &session);
        let steps = 100;
        for step in 0..steps {
            if step % 2 == 0 {
                cluster.chain.evict(&txid);
            } else {
                let now = cluster.now();
                let spends = cluster.chain.spent_by(&txid);
                cluster.chain.foreign(txid, spends, now);
            }
            cluster.run_for(Duration::from_secs(3));
        }
        let lost = cluster.count(1, &session, "BroadcastLost");
        assert!(lost <= (3 * steps / 10) as usize, "{lost}");
    }

    #[test]
    fn a_short_absence_is_no_loss() {
        let (mut cluster, session) = held(2, |_| {});
        cluster.run_for(Duration::from_secs(5));
        let txid = txid(&cluster, &session);
        let spends = cluster.chain.spent_by(&txid);
        cluster.chain.evict(&txid);
        cluster.run_for(TIMEOUT / 2);
        let now = cluster.now();
        cluster.chain.foreign(txid, spends, now);
        cluster.run_for(TIMEOUT * 3);
        assert_eq!(cluster.count(0, &session, "BroadcastLost"), 0);
        assert_eq!(cluster.submitters(), [0]);
    }

    #[test]
    fn a_conflicting_spend_pauses_and_at_depth_ends() {
        let (mut cluster, session) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
        let spends = cluster.chain.spent_by(&txid(&cluster, &session));
        let now = cluster.now();
        cluster.chain.foreign(Txid([9; 32]), spends, now);
        cluster.run_for(Duration::from_secs(5));
        assert_eq!(cluster.count(0, &session, "BroadcastConflict"), 0, "not in a block yet");
        let now = cluster.now();
        cluster.chain.mine(now);
        cluster.run_for(TIMEOUT * 5);
        for node in 0..3 {
            assert!(cluster.events(node, &session).any(
                |(_, event)| matches!(event, Event::BroadcastConflict { txid } if *txid == Txid([9; 32]))
            ));
            assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 0, "paused at {node}");
            assert_eq!(cluster.count(node, &session, "BroadcastConflict"), 1);
            assert_eq!(cluster.status(node, &session).phase, Phase::Watching);
        }
        let now = cluster.now();
        cluster.chain.mine_blocks(5, now);
        cluster.run_for(TIMEOUT * 2);
        for node in 0..3 {
            assert_eq!(cluster.status(node, &session).phase, Phase::Final);
        }
    }

    #[test]
    fn final_depth_ends_the_watch_and_the_questions() {
        let (mut cluster, session) = held(3, |_| {});
        cluster.run_for(Duration::from_secs(5));
        let now = cluster.now();
        cluster.chain.mine_blocks(5, now);
        cluster.run_for(TIMEOUT * 2);
        assert_eq!(cluster.status(0, &session).phase, Phase::Watching, "one is missing");
        let now = cluster.now();
        cluster.chain.mine(now);
        cluster.run_for(TIMEOUT * 2);
        let asked: Vec<u64> = cluster.nodes.iter().map(|node| node.observations).collect();
        for node in 0..3 {
            assert_eq!(cluster.status(node, &session).phase, Phase::Final);
        }
        cluster.chain.reorganise(6);
        cluster.run_for(TIMEOUT * 20);
        let later: Vec<u64> = cluster.nodes.iter().map(|node| node.observations).collect();
        assert_eq!(asked, later);
        assert_eq!(cluster.submitters(), [0]);
    }

    #[test]
    fn an_observer_that_cannot_be_asked_neither_pauses_nor_loses() {
        let (mut cluster, session) = held(3, |cluster| {
            cluster.nodes.iter_mut().for_each(|node| node.observer_lag = None);
        });
        cluster.run_for(TIMEOUT * 3 + Duration::from_secs(1));
        for node in 0..3 {
            assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 1, "at {node}");
            cluster.nodes[node].observer_lag = Some(Duration::ZERO);
        }
        cluster.run_for(TIMEOUT);
        let before = cluster.submitters().len();
        for node in 0..3 {
            assert_eq!(cluster.count(node, &session, "BroadcastSeen"), 1, "at {node}");
            cluster.nodes[node].observer_lag = None;
        }
        cluster.run_for(TIMEOUT * 5);
        assert_eq!(cluster.submitters().len(), before, "still paused");
        assert_eq!(cluster.count(0, &session, "BroadcastLost"), 0);
    }
}

mod replaced {
    use super::*;

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
            let (transaction, messages) = crate::simulated::double::transaction(&spent, b"more fee");
            (new.transaction, new.messages) = (Some(transaction), messages);
            new.replaces = Some(old);
        });
        cluster.complete(&new);
        (cluster, old, new)
    }

    #[test]
    fn by_one_that_is_seen_pauses_and_by_one_that_is_confirmed_ends() {
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
            assert_eq!(cluster.status(node, &old).phase, Phase::Final, "at {node}");
            assert_eq!(cluster.status(node, &new).phase, Phase::Watching, "at {node}");
        }
    }

    #[test]
    fn stays_paused_after_a_restart() {
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
    fn by_one_that_nobody_broadcasts_goes_on() {
        let (mut cluster, old, _) = two(|_| {});
        cluster.run_for(TIMEOUT * 4);
        for node in 0..3 {
            assert_eq!(cluster.count(node, &old, "FailoverExhausted"), 1, "at {node}");
        }
    }

    #[test]
    fn only_by_one_that_spends_the_same() {
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
}
