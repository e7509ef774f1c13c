//! The demo with a real node: `make demo BACKEND=knots`.

use std::process::Command;

use serde_json::{Value, json};

use crate::regtest::Regtest;

#[test]
fn regtest_demo_of_a_psbt_with_two_inputs_ends_in_a_block_with_two_coordinators_killed() {
    // To be skipped where there is no node; the demo starts its own.
    if Regtest::prepare("regtest_demo").is_none() {
        return;
    }
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", "failover", "--", "--backend", "knots"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    let last: Value = serde_json::from_str(said.lines().last().expect("it says something")).expect("JSON");
    let killed = last["killed"].as_array().expect("a list");
    assert_eq!((killed.len(), &killed[0]), (2, &last["coordinator"]), "{last}");
    assert!(!killed.contains(&last["broadcast_by"]), "{last}");
    let rest =
        [&last["ok"], &last["backend"], &last["inputs"], &last["restarted_confirmed"], &last["submissions"]];
    assert_eq!(rest, [&json!(true), &json!("knots"), &json!(2), &json!(2), &json!(1)], "{last}");
    // Two coins, each with blocks on top until it can be spent, and the block of the transaction.
    assert_eq!(last["height"], 203, "{last}");
}
