//! Nodes of several languages and processes, and what survives a process.

use std::io::{BufRead, BufReader};
use std::process::Child;

use libmusig::event::Event;
use libmusig::node::Node;
use libmusig::types::to_hex;

use crate::header::root;
use crate::programs::{compile, finish, spends, start};
use test_support::backend::payer::Payer;
use test_support::nodes::{address, builder, connect, join_next, keys, secret, wait_complete, wait_for};

/// A process that says where it listens, with what it writes from then on.
fn listening(mut child: Child) -> (String, Child) {
    let mut output = BufReader::new(child.stdout.take().expect("is piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("says where it listens");
    let address = line.strip_prefix("listening ").unwrap_or_else(|| panic!("{line}")).trim().to_owned();
    // The reader holds nothing back: the next line comes after the connection that needs this address.
    child.stdout = Some(output.into_inner());
    (address, child)
}

fn signers(count: usize) -> String {
    let keys: Vec<String> = keys(count).iter().map(|key| key.to_string()).collect();
    keys.join(",")
}

#[test]
fn nodes_in_one_process_sign_and_broadcast() {
    for example in ["examples/c/failover.c", "examples/cpp/failover.cpp"] {
        let program = compile(&root().join(example));
        let output = spends(&program);
        assert_eq!(output.matches("confirmed").count(), 3, "{output}");
        assert!(output.contains("coordinator-failed"), "{output}");
        assert!(output.contains("should-broadcast turn 0 (silent)\n"), "{output}");
        assert!(output.ends_with(", submitted 1 times\n"), "{output}");
    }
}

#[test]
fn an_event_loop_takes_events_by_the_descriptor() {
    let program = compile(&root().join("examples/c/epoll.c"));
    assert_eq!(finish(start(&program, &[]), "epoll"), "complete at both\n");
}

#[test]
fn processes_in_c_and_cpp_sign_and_broadcast() {
    let c = compile(&root().join("examples/c/failover.c"));
    let cpp = compile(&root().join("examples/cpp/failover.cpp"));
    let payer = Payer::start().expect("listens");
    let (all, url, coin) = (signers(3), payer.url(), payer.coin(&keys(3)));
    let hex: Vec<String> = (0..3).map(|index| to_hex(&secret(index))).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let store = |index: usize| folder.path().join(index.to_string()).to_string_lossy().into_owned();
    let stores: Vec<String> = (0..3).map(store).collect();
    let base = |index: usize| {
        vec!["--key", &hex[index], "--store", &stores[index], "--signers", &all, "--source", &url]
    };
    let (first, one) = listening(start(&c, &base(0)));
    let mut arguments = base(1);
    arguments.extend(["--peer", &first]);
    let (second, two) = listening(start(&cpp, &arguments));
    let mut arguments = base(2);
    arguments.extend(["--peer", &first, "--peer", &second, "--propose", &coin, "--timeout", "1000"]);
    let three = start(&c, &arguments);
    for (name, child) in [("one", one), ("two", two), ("three", three)] {
        let output = finish(child, name);
        assert!(output.contains("complete ") && output.contains("confirmed"), "{name}: {output}");
    }
}

#[test]
fn nodes_in_c_and_in_rust_sign_together() {
    let program = compile(&root().join("examples/c/failover.c"));
    let rust: Vec<Node> = (0..2).map(|index| builder(secret(index)).start().expect("starts")).collect();
    connect(&rust);
    // No chain: nobody has a source.
    let (key, all, coin) = (to_hex(&secret(2)), signers(3), format!("{}:0", "07".repeat(32)));
    let peers: Vec<String> = rust.iter().map(address).collect();
    let arguments = [
        "--key",
        &key,
        "--signers",
        &all,
        "--peer",
        &peers[0],
        "--peer",
        &peers[1],
        "--propose",
        &coin,
        "--timeout",
        "1000",
    ];
    let child = start(&program, &arguments);
    let sessions: Vec<_> = rust.iter().map(join_next).collect();
    for (node, session) in rust.iter().zip(&sessions) {
        wait_complete(node, session.id());
    }
    // The program keeps silent, so one of these has to broadcast, whoever is elected.
    let done = std::thread::scope(|scope| {
        let waits: Vec<_> = rust
            .iter()
            .map(|node| {
                scope.spawn(|| {
                    wait_for(node, "its turn, or a claim", |event| match &event.event {
                        Event::ShouldBroadcast { .. } | Event::BroadcastClaimed { .. } => {
                            let session = node.session(event.session.expect("is of a session"));
                            let sent = session.final_transaction().wait().expect("runs").expect("is signed");
                            Some(session.notify_broadcast_complete(Some(sent.txid)).wait().is_ok())
                        }
                        _ => None,
                    })
                })
            })
            .collect();
        waits.into_iter().all(|thread| thread.join().expect("does not panic"))
    });
    assert!(done);
    let output = finish(child, "failover.c");
    assert!(output.contains("confirmed"), "{output}");
    for node in &rust {
        node.stop().expect("stops");
    }
}

#[test]
fn durable_events_are_redelivered_until_they_are_acknowledged() {
    let program = compile(&root().join("tests/c/restart.c"));
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store").to_string_lossy().into_owned();
    let dies = start(&program, &[&store, "die"]).wait_with_output().expect("runs");
    assert_eq!(dies.stdout, b"dies\n", "{}", String::from_utf8_lossy(&dies.stderr));
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&dies.status), Some(9));
    finish(start(&program, &[&store, "handle"]), "handle");
    finish(start(&program, &[&store, "quiet"]), "quiet");
    finish(start(&program, &[&store, "busy"]), "busy");
}

#[test]
fn cpp_handles_exceptions_and_functions_that_throw() {
    let program = compile(&root().join("tests/cpp/handles.cpp"));
    finish(start(&program, &[]), "handles.cpp");
}

#[cfg(feature = "test-hooks")]
#[test]
fn a_panic_inside_a_node_becomes_a_status() {
    crate::programs::check("tests/c/panic.c");
}
