//! Nodes in children of `fork()`: a process that has a node, or had one, forks, and its children start their own.
//!
//! Each test forks in a process of its own: this test binary, started again as one of its "tests".

use std::path::Path;
use std::process::Command;

use libmusig::error::Error;
#[cfg(target_os = "linux")]
use libmusig::error::SignerError;
use libmusig::node::{Node, SessionRequest};
#[cfg(target_os = "linux")]
use libmusig::platform::ForkGuard;
#[cfg(target_os = "linux")]
use libmusig::signer::Signer;

use test_support::nodes::*;
#[cfg(target_os = "linux")]
use test_support::party::Party;

const CASE: &str = "LIBMUSIG_TEST_FORK";

/// Runs a case of [`child`] in a process of its own.
fn in_own_process(case: &str) {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--exact", "fork::child", "--nocapture"])
        .env(CASE, case)
        .output()
        .expect("it runs");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{case}: {text}");
}

#[test]
fn fork_child_of_a_running_node_starts_its_own() {
    in_own_process("running");
}

#[test]
fn fork_child_of_a_stopped_node_starts_its_own() {
    in_own_process("stopped");
}

#[test]
fn fork_child_of_a_child_starts_its_own() {
    in_own_process("generations");
}

#[test]
fn fork_children_of_a_prefork_server_sign_together() {
    in_own_process("prefork");
}

#[cfg(target_os = "linux")]
#[test]
fn fork_token_tells_a_child_with_its_parents_number() {
    in_own_process("namespace");
}

#[test]
fn child() {
    match std::env::var(CASE).as_deref() {
        Ok("running") => running(),
        Ok("stopped") => stopped(),
        Ok("generations") => generations(),
        Ok("prefork") => prefork(),
        #[cfg(target_os = "linux")]
        Ok("namespace") => namespace(),
        Ok(other) => panic!("there is no case {other}"),
        // Not started as a process of its own: nothing to do.
        Err(_) => {}
    }
}

/// Forks. The child does the work and exits; it is killed if it hangs. The answer is the child's number.
fn fork(work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child has this thread alone, and glibc's allocator works in it. It never returns from here.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "the system gives no process");
        if child == 0 {
            libc::alarm(2 * PATIENCE.as_secs() as u32);
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok();
            libc::_exit(if done { 42 } else { 1 });
        }
        child
    }
}

#[track_caller]
fn finish(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: writes one number of this function.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(!libc::WIFSIGNALED(status), "the child hung: it was killed by signal {}", libc::WTERMSIG(status));
    assert_eq!(libc::WEXITSTATUS(status), 42, "what the child did failed");
}

fn alone(index: usize) -> Node {
    builder(secret(index)).start().expect("starts")
}

fn sign_alone(node: &Node, content: u8) {
    let request = SessionRequest::messages(vec![node.signer_key()], vec![message(content)]);
    let session = node.create_session(request).wait().expect("is created");
    wait_complete(node, session.id());
}

/// Every call of a parent's node answers at once, and dropping it does nothing.
fn refuses(node: Node) {
    let session = node.session(libmusig::types::SessionId([1; 32]));
    assert_eq!(node.metrics().wait().err(), Some(Error::Forked));
    assert_eq!(session.status().wait().map(drop), Err(Error::Forked));
    assert_eq!(node.next_event().wait(), Err(Error::Forked));
    assert_eq!(node.try_next_event(), Err(Error::Forked));
    assert_eq!(node.next_event_within(None), Err(Error::Forked));
    assert_eq!(node.event_descriptor(), Err(Error::Forked));
    assert!(!node.event_handled(1));
    node.request_stop();
    assert_eq!(node.stop(), Err(Error::Forked));
    drop((session, node));
}

fn running() {
    let mut node = Some(alone(0));
    let parent = node.clone().expect("just made");
    sign_alone(&parent, 1);
    let peers = tempfile::tempdir().expect("a directory");
    let child = fork(|| {
        refuses(node.take().expect("just made"));
        let directory = tempfile::tempdir().expect("a directory");
        let own = builder(secret(1)).store_path(directory.path().join("store")).start().expect("starts");
        std::fs::write(peers.path().join("child"), own.peer_id()).expect("writes");
        sign_alone(&own, 2);
        own.stop().expect("stops");
        refuses(parent.clone());
    });
    finish(child);
    // Neither the one before nor the one after the fork has the child's network identity.
    let next = alone(1);
    let of_child = std::fs::read_to_string(peers.path().join("child")).expect("reads");
    assert!(![parent.peer_id(), next.peer_id()].contains(&of_child.as_str()));
    next.stop().expect("stops");
    sign_alone(&parent, 3);
    parent.stop().expect("stops");
}

fn stopped() {
    let node = alone(0);
    node.stop().expect("stops");
    finish(fork(|| {
        let own = alone(0);
        sign_alone(&own, 1);
        own.stop().expect("stops");
    }));
    let again = alone(0);
    sign_alone(&again, 2);
    again.stop().expect("stops");
}

fn generations() {
    let node = alone(0);
    finish(fork(|| {
        let own = alone(1);
        sign_alone(&own, 1);
        let child = fork(|| {
            let last = alone(2);
            sign_alone(&last, 2);
            assert_eq!(own.metrics().wait().err(), Some(Error::Forked));
            assert_eq!(node.metrics().wait().err(), Some(Error::Forked));
            last.stop().expect("stops");
        });
        finish(child);
        sign_alone(&own, 3);
        own.stop().expect("stops");
    }));
    sign_alone(&node, 4);
    node.stop().expect("stops");
}

/// The master has a node, and its two workers sign together.
fn prefork() {
    let directory = tempfile::tempdir().expect("a directory");
    let master = alone(2);
    let workers = [0, 1].map(|index| fork(|| work(index, directory.path())));
    workers.into_iter().for_each(finish);
    sign_alone(&master, 1);
    master.stop().expect("stops");
}

fn work(index: usize, directory: &Path) {
    let (node, place) = (alone(index), directory.join("address"));
    if index == 0 {
        std::fs::write(directory.join("new"), address(&node)).expect("writes");
        std::fs::rename(directory.join("new"), place).expect("renames");
        wait_until("the other is connected", || !node.connected_signers().wait().expect("runs").is_empty());
        let request = SessionRequest::messages(keys(2), vec![message(9)]);
        let session = node.create_session(request).wait().expect("is created");
        wait_complete(&node, session.id());
        // The other has the signatures too, and says so by ending.
        wait_until("the other has ended", || directory.join("done").exists());
    } else {
        wait_until("the other listens", || place.exists());
        node.add_peer(&std::fs::read_to_string(place).expect("reads")).wait().expect("an address");
        let session = join_next(&node);
        wait_complete(&node, session.id());
        std::fs::write(directory.join("done"), []).expect("writes");
    }
    node.stop().expect("stops");
}

/// A new PID namespace for the children of this process. `false`: the system does not allow it.
#[cfg(target_os = "linux")]
fn number_children_anew() -> bool {
    // SAFETY: no pointers.
    unsafe { libc::unshare(libc::CLONE_NEWPID) == 0 }
}

/// Parent and child are the first processes of their namespaces, so both have number 1.
#[cfg(target_os = "linux")]
fn namespace() {
    if !number_children_anew() {
        return skip(
            "fork_token_tells_a_child_with_its_parents_number",
            "it needs the right to make a PID namespace",
        );
    }
    finish(fork(|| {
        let party = Party::new(1, |_| ());
        let round = party.round(&party.nonces(0));
        let (signer, request) = (&party.signers[0], party.partial_request(0, 0, &round));
        let (number, guard) = (std::process::id(), ForkGuard::new());
        assert!(number_children_anew());
        finish(fork(|| {
            assert_eq!(std::process::id(), number, "the number tells nothing");
            assert_eq!(signer.make_partials(&request), Err(SignerError::NonceGone));
            assert!(guard.check().is_err());
        }));
        signer.make_partials(&request).expect("the parent signs");
    }));
}
