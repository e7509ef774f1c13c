//! What was built or run before, and is only looked at here: the sizes of the shared libraries (`make size`), the seconds
//! of the test suites (`make test`), the Python package (`make test-python`).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Table, Target, cargo};

/// The libraries of `tests/size.sh`, what they are, and how many MiB they may have.
const LIBRARIES: [(&str, &str, Option<f64>); 8] = [
    ("default", "stripped shared library, C, all default features", Some(12.0)),
    ("without-bitcoin", "without `bitcoin` and `http`", None),
    ("without-discovery", "without `discovery`", None),
    ("without-nat", "without `nat`", None),
    ("without-http", "without `http`", None),
    ("capi", "C alone: `capi`", None),
    ("mobile", "for phones, all default features and `uniffi`", None),
    ("mobile-without-http", "for phones: `node,discovery,nat,bitcoin,uniffi`", Some(8.0)),
];

pub fn run(table: &mut Table) {
    let target = target();
    for (name, what, most) in LIBRARIES {
        let id = format!("size_{}_mib", name.replace('-', "_"));
        match std::fs::metadata(target.join(format!("size-{name}.so"))) {
            Ok(file) => {
                let size = file.len() as f64 / 1048576.0;
                table.row(&id, what, size, "MiB", most.map_or(Target::None, Target::AtMost));
            }
            Err(_) => table.missing(&id, &format!("not built: tests/size.sh {name}")),
        }
    }
    crates(table);
    suites(table, &target);
    python(table, &target);
}

fn target() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(default, PathBuf::from)
}

/// Crates of which the shared library is made.
fn crates(table: &mut Table) {
    let output = cargo()
        .args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            let names: std::collections::HashSet<&str> = text
                .lines()
                .map(|line| line.trim_end_matches(" (*)").trim_end_matches(" (proc-macro)"))
                .collect();
            let what = "crates that are built, all default features";
            table.row("crates", what, names.len() as f64, "crates", Target::None);
        }
        _ => table.missing("crates", "cargo tree does not run"),
    }
}

/// As `tests/run.sh` noted them when each ran last.
fn suites(table: &mut Table, target: &Path) {
    let Ok(text) = std::fs::read_to_string(target.join("test-seconds.txt")) else {
        return table.missing("suite_seconds", "no suite ran in this folder yet: make test");
    };
    for line in text.lines() {
        let Some((suite, seconds)) = line.split_once(' ') else { continue };
        let what = format!("the test suite {suite}, when it ran last");
        table.row(&format!("suite_{suite}_s"), &what, seconds.parse().expect("a number"), "s", Target::None);
    }
}

fn python(table: &mut Table, target: &Path) {
    let python = target.join("bindings-python/venv/bin/python");
    let ids = ["python_import_s", "python_sessions", "python_cpu_ms", "sync_to_python_us"];
    if !python.exists() {
        ids.iter().for_each(|id| table.missing(id, "no Python package is built: make test-python"));
        return;
    }
    let output = Command::new(&python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/python_nodes.py"))
        .arg(table.size.pick("2", "50", "300"))
        .output()
        .expect("it is executable");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let number = |name: &str| said[name].as_f64().unwrap_or_else(|| panic!("{name} in {said}"));
    let kind = said["build"].as_str().unwrap_or_default();
    table.row(
        "python_import_s",
        "Python: import of the package",
        number("import_s"),
        "s",
        Target::AtMost(0.15),
    );
    let what = format!("Python: sessions a second of 3 nodes in one process, 16 in flight ({kind} build)");
    table.row("python_sessions", &what, number("sessions_per_second"), "/s", Target::None);
    let what = "Python: CPU time of one node and session";
    table.row("python_cpu_ms", what, number("cpu_ms"), "ms", Target::None);
    let what = "end of the fdatasync of a commit to the first line of a handler in Python (asyncio), median";
    match handler(&python, table.size.pick("2", "100", "500")) {
        Ok(micros) => table.row("sync_to_python_us", what, micros, "µs", Target::None),
        Err(why) => table.missing("sync_to_python_us", &why),
    }
}

/// Microseconds from a commit's sync to a handler in Python, the median of so many. The preloaded library says when it was.
fn handler(python: &Path, count: &str) -> Result<f64, String> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let folder = tempfile::tempdir().expect("a directory");
    let (library, synced) = (folder.path().join("synced.so"), folder.path().join("synced"));
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(peers.join("synced.c"))
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        return Err("cc does not compile benches/peers/synced.c".into());
    }
    std::fs::write(&synced, [0; 8]).expect("can be written");
    let output = Command::new(python)
        .arg(peers.join("python_handler.py"))
        .arg(count)
        .env("LD_PRELOAD", &library)
        .env("MUSIG_SYNCED", &synced)
        .output()
        .expect("it is executable");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
}
