//! Disks that are full, or hang: what waits for them, and what does not.

use std::time::Duration;

use libmusig::protocol::envelope::Content;
use libmusig::protocol::event::Event;
use libmusig::protocol::limits;
use libmusig::protocol::status::Phase;
use libmusig::types::SessionId;

use test_support::cluster::{Broadcaster, Cluster, Consent, DiskFault, Options};

const FAULTS: [DiskFault; 2] = [DiskFault::Full, DiskFault::Hangs];

fn cluster(signers: usize) -> Cluster {
    let mut cluster = Cluster::new(Options { audit: true, ..Options::new(signers) });
    cluster.run_for(Duration::from_millis(20));
    cluster
}

/// When a node told its application of the signatures, and whether it said that they are stored.
fn complete(cluster: &Cluster, node: usize, session: &SessionId) -> Vec<(Duration, bool)> {
    let told = cluster.events(node, session).filter_map(|(at, event)| match event {
        Event::SessionComplete { stored, .. } => Some((at, *stored)),
        _ => None,
    });
    told.collect()
}

#[test]
fn full_disk_still_submits_and_passes_the_certificate_on() {
    for fault in FAULTS {
        let mut cluster = cluster(3);
        cluster.nodes[2].application.consent = Consent::JoinsAfter(Duration::from_secs(1));
        // The elected coordinator never comes to it.
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
        // The last one lacks partial signatures, and reaches one other only.
        cluster.cut(0, 2, true);
        cluster.on_envelope = Some(Box::new(|_, to, envelope| {
            let partial = matches!(envelope.content(), Content::Partial { .. });
            if to == 2 && partial { Vec::new() } else { vec![envelope.clone()] }
        }));
        let session = cluster.create(0, |_| {});
        cluster.run_for(Duration::from_millis(500));
        cluster.disk(1, Some(fault));
        let begun = cluster.now();
        cluster.run_for(Duration::from_secs(3));
        assert!(cluster.all_hold(&session), "{fault:?}: the last one has it from the one in the middle");
        let told = complete(&cluster, 1, &session);
        assert!(matches!(told[..], [(_, false)]), "{fault:?}: {told:?}");
        let others = complete(&cluster, 0, &session)[0].0;
        assert!(
            told[0].0 <= others + limits::UNSTORED_AFTER + Duration::from_millis(50),
            "{fault:?}: {told:?}"
        );
        cluster.run_for(Duration::from_secs(10));
        assert_eq!(cluster.submitters(), [1], "{fault:?}: in its turn");
        assert_eq!(cluster.status(1, &session).phase, Phase::Watching);
        assert!(cluster.now() < begun + limits::COMMIT, "before a commit that hangs counts as failed");

        // It was acknowledged, and is stored once there is room: nothing comes twice.
        cluster.disk(1, None);
        cluster.run_for(Duration::from_secs(1));
        cluster.crash(1);
        cluster.start(1);
        cluster.run_for(Duration::from_secs(1));
        assert!(cluster.holds(1, &session), "{fault:?}");
        assert_eq!(complete(&cluster, 1, &session).len(), 1, "{fault:?}");
    }
}

#[test]
fn hanging_disk_holds_back_own_words_only() {
    for fault in FAULTS {
        let mut cluster = cluster(3);
        cluster.nodes[1].application.consent = Consent::JoinsAfter(Duration::from_secs(1));
        let session = cluster.create(0, |_| {});
        cluster.run_for(Duration::from_millis(500));
        cluster.disk(1, Some(fault));
        cluster.run_for(Duration::from_secs(60));
        assert!(
            !cluster.status(0, &session).accepted.contains(&1),
            "{fault:?}: its consent is not on the disk, so nobody has it"
        );
        // It changes its mind, and everybody knows at once.
        let aborting =
            cluster.ask(1, |engine, request, now| engine.abort(&session, "no room".into(), request, now));
        aborting.expect("it takes effect");
        cluster.run_for(Duration::from_secs(1));
        // The others have no consent of this signer, and yet they know.
        for node in 0..3 {
            assert_eq!(cluster.status(node, &session).phase, Phase::Aborted, "{fault:?}: at {node}");
        }
        let (_, answer) = cluster.nodes[1].done.last().expect("it was answered").clone();
        assert!(answer.is_err(), "{fault:?}: an abort that a crash may undo is not said to be done");
        // A crash undoes it; what it said comes back from the others, and nothing is taken for another's.
        cluster.crash(1);
        cluster.disk(1, None);
        cluster.start(1);
        cluster.run_for(Duration::from_secs(5));
        assert_eq!(cluster.count(1, &session, "KeyInUseElsewhere"), 0, "{fault:?}");
    }
}

#[test]
fn ended_session_is_reported_when_that_is_stored() {
    for (fault, abandons) in FAULTS.into_iter().flat_map(|fault| [(fault, false), (fault, true)]) {
        let mut cluster = cluster(3);
        cluster.nodes[2].application.consent = if abandons { Consent::Joins } else { Consent::Waits };
        // Nobody gets the transaction out.
        (0..3).for_each(|node| cluster.nodes[node].broadcaster = Broadcaster::Hangs);
        let session = cluster.create(0, |_| {});
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(cluster.holds(1, &session), abandons);
        cluster.disk(1, Some(fault));
        let ends = cluster.ask(1, |engine, request, now| match abandons {
            true => engine.abandon(&session, request, now),
            false => engine.abort(&session, "no".into(), request, now),
        });
        ends.expect("it takes effect");
        let told = |cluster: &Cluster| {
            let name = if abandons { "SessionClosed" } else { "SessionAborted" };
            cluster.count(1, &session, name)
        };
        cluster.run_for(Duration::from_secs(40));
        assert_eq!(told(&cluster), 0, "{fault:?}: a crash would undo it");
        cluster.disk(1, None);
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(told(&cluster), 1, "{fault:?}");
        cluster.crash(1);
        cluster.start(1);
        cluster.run_for(Duration::from_secs(60));
        for event in ["CoordinatorFailed", "ShouldBroadcast"] {
            assert_eq!(cluster.count(1, &session, event), 0, "{fault:?}");
        }
    }
}
