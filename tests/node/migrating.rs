//! What the documents promise to operators: the table of the predecessor's 58 rows, and the procedure for an emergency.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libmusig::FailoverPreset;
use libmusig::chain::{Broadcaster, ChainError, SignedTransaction, SubmitOutcome};
use libmusig::event::Event;
use libmusig::node::SessionRequest;
use libmusig::protocol::proposal::FailoverPolicy;

use crate::world::{Direct, Spend};
use test_support::backend::chain::Chain;
use test_support::nodes::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

/// The source that has a test of this name, if there is one.
fn source(test: &str) -> Option<String> {
    let (place, function) = test.rsplit_once("::")?;
    let (binary, modules) = place.split_once("::")?;
    let file = match binary {
        "python" => root().join("bindings/python/tests").join(modules).with_extension("py"),
        _ => root().join("tests").join(binary).join(modules.replace("::", "/")).with_extension("rs"),
    };
    let text = fs::read_to_string(file).ok()?;
    let head = if binary == "python" { "def" } else { "fn" };
    text.contains(&format!("{head} {function}(")).then_some(text)
}

/// Cells of a row between the bars.
fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn migrating_table_names_tests_that_exist() {
    let text = document("migrating.md");
    let rows: Vec<Vec<&str>> = text.lines().filter(|line| line.starts_with("| ")).map(cells).collect();
    let rows: Vec<_> = rows.into_iter().filter(|row| row[0].parse::<usize>().is_ok()).collect();
    let numbers: Vec<usize> = rows.iter().map(|row| row[0].parse().expect("a number")).collect();
    assert_eq!(numbers, (1..=58).collect::<Vec<_>>());
    for row in rows {
        assert_eq!(row.len(), 4, "{row:?}");
        let tests: Vec<&str> = row[3].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{row:?} has no test");
        for test in tests {
            assert!(source(test).is_some(), "row {}: there is no test {test}", row[0]);
        }
    }
    assert!(source("node::migrating::of_no_such_name").is_none());
}

#[test]
fn the_presets_in_the_documents_are_those_of_the_code() {
    let text = document("operations.md");
    for preset in FailoverPreset::ALL {
        let seconds = preset.broadcast_timeout().as_secs();
        let time = if seconds < 60 { format!("{seconds} s") } else { format!("{} min", seconds / 60) };
        let row = format!("| `{preset:?}` | {time} |");
        assert!(text.contains(&row), "docs/operations.md has no row {row}");
        assert!(document("migrating.md").contains(&format!("`{preset:?}` {time}")));
    }
    // A preset is a policy, and its timeout a term of the proposal.
    let request = SessionRequest::messages(keys(2), vec![message(1)]).failover(FailoverPreset::HighValue);
    let node = builder(secret(0)).offline().start().expect("starts");
    let session = node.create_session(request).wait().expect("is created");
    let proposal = session.proposal().wait().expect("known");
    let policy = FailoverPolicy {
        broadcast_timeout: std::time::Duration::from_secs(600),
        ..FailoverPolicy::default()
    };
    assert_eq!(proposal.terms().broadcast, libmusig::Broadcast::Failover(policy));
    node.stop().expect("stops");
}

#[test]
fn the_arithmetic_of_availability() {
    let text = document("operations.md");
    let row = text.lines().find(|line| line.starts_with("| all signers take turns")).expect("is there");
    for (column, signers) in [2, 3, 5, 10].into_iter().enumerate() {
        // In units of 10^-10: all fail with 0.1^n.
        let works = 10u64.pow(10) - 10u64.pow(10 - signers);
        let stated: String = cells(row)[column + 1].trim_end_matches(" %").replace('.', "");
        let stated = format!("{stated:0<10}").parse::<u64>().expect("a number");
        assert_eq!(stated, works, "n = {signers}");
    }
    assert_eq!((0.9f64.powi(5) * 100.0).round(), 59.0);
    assert!(text.contains("0.9^5 = 59 %"));
}

/// The way to the Bitcoin network of all signers is cut.
struct Cut;

impl Broadcaster for Cut {
    fn submit(&self, _: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        Err(ChainError { reason: "no route to host".into() })
    }
}

/// docs/operations.md, "When nobody broadcasts", step by step.
#[test]
fn emergency_procedure() {
    let chain = Arc::new(Chain::new());
    let nodes: Vec<_> = (0..2)
        .map(|index| builder(secret(index)).broadcaster(Arc::new(Cut)).start().expect("starts"))
        .collect();
    connect(&nodes);
    let policy =
        FailoverPolicy { broadcast_timeout: std::time::Duration::from_secs(1), ..FailoverPolicy::default() };
    let spend = Spend::new(&chain, &keys(2));
    let request = spend.request(keys(2)).failover(policy);
    let session = nodes[0].create_session(request).wait().expect("is created");
    join_next(&nodes[1]);
    let alarm = wait_for(&nodes[0], "the alarm", |event| match &event.event {
        Event::FailoverExhausted { transaction, accepted, unreachable, .. } => {
            assert!(event.durable && *accepted == 0 && *unreachable > 0);
            Some(transaction.clone().expect("has the transaction"))
        }
        _ => None,
    });
    // 1. Take the transaction.
    assert_eq!(session.final_transaction().wait().expect("known"), Some(alarm.clone()));
    // 2. Look at it: what it pays, and its fee.
    let summary = session.summary(libmusig::SummaryOptions::default()).wait().expect("known");
    let shown = summary.transaction.expect("is a transaction");
    assert_eq!(shown.fee, 1_000);
    // 3. Ask a node, and broadcast it there: any machine will do.
    assert_eq!(Direct(chain.clone()).submit(&alarm), Ok(SubmitOutcome::Accepted));
    chain.mine();
    // 4. Say so at each signer without an observer.
    for node in &nodes {
        node.session(session.id()).notify_broadcast_complete(Some(alarm.txid)).wait().expect("is known");
        wait_for(node, "the end", |event| {
            matches!(event.event, Event::BroadcastConfirmed { depth: None, .. }).then_some(())
        });
    }
    // 5. Keep what was said: another store reads all of it.
    let exported = session.export().wait().expect("is exported");
    for node in nodes {
        node.stop().expect("stops");
    }
    let reader = builder(secret(1)).offline().start().expect("starts");
    let [read] = &reader.import(exported).wait().expect("is read")[..] else { panic!("one session") };
    wait_complete(&reader, read.id());
    assert_eq!(read.final_transaction().wait().expect("known"), Some(alarm));
    reader.stop().expect("stops");
}
