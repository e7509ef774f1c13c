//! Tests that need a network, or mounts, of their own: they run again in namespaces.

use std::process::Command;

use crate::nodes::skip;

/// Set there: which test it is.
const INSIDE: &str = "LIBMUSIG_TEST_INSIDE";

/// Runs a test of this binary again, in namespaces of its own (network and mounts) in which these commands of a shell were run
/// before; true there. Where that is impossible the test is skipped.
pub fn inside(test: &str, commands: &str) -> bool {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        return true;
    }
    let make = format!("ip link set lo up && {commands}");
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--map-root-user", "sh", "-c", script]).env(INSIDE, test).output()
    };
    let problem = match unshare(&make) {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare does not run: {error}")),
    };
    if let Some(problem) = problem {
        skip(test, &format!("no namespaces can be made here ({problem})"));
        return false;
    }
    let this = std::env::current_exe().expect("runs");
    let script = format!("{make} && exec '{}' {test} --exact --include-ignored --nocapture", this.display());
    let output = unshare(&script).expect("ran before");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
    println!("{said}");
    false
}
