//! Compiles C and C++ programs against the library as it is installed, and runs them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use test_support::backend::payer::Payer;

use crate::header::{functions, read, root};

/// How long a program may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(900);

/// A folder of this test's own.
pub fn scratch(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ffi").join(name);
    fs::create_dir_all(&path).expect("the target directory can be written to");
    path
}

/// The static library that belongs to this test.
pub fn archive() -> PathBuf {
    let own = std::env::current_exe().expect("it runs");
    let deps = own.parent().expect("a file has a folder");
    let candidates = [deps.join("liblibmusig.a"), deps.join("../liblibmusig.a")];
    let time = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    let newest = candidates.into_iter().filter(|path| path.exists()).max_by_key(time);
    newest.expect("cargo builds the static library with the tests")
}

pub fn run(command: &mut Command) -> Output {
    let text = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{text}: {error}"));
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{text}\n{}\n{}\n{}",
        output.status,
        words(&output.stdout),
        words(&output.stderr)
    );
    output
}

/// A folder with the shared library, linked as it is for an installation.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = scratch("library");
        let file = folder.join("libmusig.so.0.1");
        let mut link = Command::new(root().join("bindings/c/link.sh"));
        link.arg(archive()).arg(&file);
        if cfg!(feature = "test-hooks") {
            link.arg("musig_test_panic");
        }
        run(&mut link);
        let short = folder.join("libmusig.so");
        let _ = fs::remove_file(&short);
        symlink("libmusig.so.0.1", &short).expect("can be made");
        folder
    })
}

fn compiler(source: &Path) -> Command {
    let cpp = source.extension().is_some_and(|extension| extension == "cpp");
    let mut command = Command::new(if cpp { "c++" } else { "cc" });
    command.arg(if cpp { "-std=c++17" } else { "-std=c99" });
    command.args(["-g", "-pedantic", "-Wall", "-Wextra", "-Werror", "-D_DEFAULT_SOURCE"]);
    command.arg("-Wno-unused-function");
    command.arg("-I").arg(root().join("include")).arg("-I").arg(root().join("tests/c"));
    command
}

/// Compiles a program against the shared library, once: while it is written nobody can run it.
pub fn compile(source: &Path) -> PathBuf {
    static COMPILED: Mutex<BTreeMap<PathBuf, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    compiled.entry(source.to_owned()).or_insert_with(|| compile_now(source)).clone()
}

fn compile_now(source: &Path) -> PathBuf {
    let name = source.file_stem().expect("a file").to_string_lossy();
    let language = source.extension().expect("an extension").to_string_lossy();
    let program = scratch("programs").join(format!("{name}-{language}"));
    let mut command = compiler(source);
    command.arg(source).arg("-L").arg(library()).args(["-lmusig", "-lpthread"]);
    command.arg(format!("-Wl,-rpath,{}", library().display())).arg("-o").arg(&program);
    run(&mut command);
    program
}

/// Compiles a program against the static library, whose libsecp256k1 it uses too.
pub fn compile_static(source: &Path) -> PathBuf {
    let name = source.file_stem().expect("a file").to_string_lossy();
    let program = scratch("programs").join(format!("{name}-static"));
    let mut command = compiler(source);
    command.arg(source).arg(archive()).args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"]);
    run(command.arg("-o").arg(&program));
    program
}

/// Waits for a program, which must succeed in time. Answers what it wrote.
pub fn finish(mut child: Child, name: &str) -> String {
    use std::io::Read;
    let (mut out, mut err) = (child.stdout.take().expect("is piped"), child.stderr.take().expect("is piped"));
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        out.read_to_end(&mut text).map(|_| text)
    });
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        err.read_to_end(&mut text).map(|_| text)
    });
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("is a child of ours") {
            break Some(status);
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    let text = |thread: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        let bytes = thread.join().expect("does not panic").unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (out, err) = (text(reader), text(errors));
    assert!(status.is_some_and(|status| status.success()), "{name}: {status:?}\n{out}\n{err}");
    out
}

pub fn start(program: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// Runs a program that spends a coin of a small chain, as `examples/chain.rs` does. Answers what it wrote.
pub fn spends(program: &Path) -> String {
    let payer = Payer::start().expect("listens");
    let mut command = Command::new("timeout");
    command.arg("120").arg(program);
    let mut output = String::new();
    let ended = payer.run(command, |line| output += &format!("{line}\n"));
    assert_eq!(ended, Ok(()), "{}: {output}", program.display());
    output
}

/// Compiles and runs a program of the repository.
pub fn check(path: &str) -> String {
    let program = compile(&root().join(path));
    finish(start(&program, &[]), path)
}

#[test]
fn the_header_compiles_alone_as_c_and_as_cpp() {
    for (name, text) in [("alone.c", "#include \"musig.h\"\n"), ("alone.cpp", "#include \"musig.h\"\n")] {
        let source = scratch("programs").join(name);
        fs::write(&source, text).expect("can be written");
        run(compiler(&source).arg("-fsyntax-only").arg(&source));
    }
}

/// What a shared library exports, as `nm -D` names it: `name@@VERSION`.
fn exported(file: &Path) -> Vec<String> {
    let output = run(Command::new("nm").args(["-D", "--defined-only"]).arg(file));
    let mut found: Vec<String> = String::from_utf8(output.stdout)
        .expect("is text")
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned))
        .filter(|name| name != "MUSIG_0.1" && !name.starts_with("musig_test_panic"))
        .collect();
    found.sort();
    found
}

fn soname(file: &Path) -> String {
    let output = run(Command::new("readelf").arg("-d").arg(file));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn exactly_the_promised_symbols_are_exported() {
    let file = library().join("libmusig.so.0.1");
    let promised: Vec<String> =
        read("include/musig.symbols").lines().map(|name| format!("{name}@@MUSIG_0.1")).collect();
    assert_eq!(exported(&file), promised);
    assert!(soname(&file).contains("Library soname: [libmusig.so.0.1]"));
}

/// The one that cargo links has no versions, but the same names. If this finds a name of libsecp256k1, its version
/// changed: build.rs names those.
#[test]
fn the_library_that_cargo_links_exports_the_same_names() {
    let file = archive().with_file_name("liblibmusig.so");
    assert_eq!(exported(&file), read("include/musig.symbols").lines().collect::<Vec<_>>());
    assert!(soname(&file).contains("Library soname: [libmusig.so.0.1]"));
}

#[test]
fn every_function_works_with_good_arguments() {
    let program = read("tests/c/every.h") + &read("tests/c/prelude.h");
    let missing: Vec<String> = functions()
        .into_iter()
        .map(|function| function.name)
        .filter(|name| !program.contains(&format!("{name}(")))
        .collect();
    assert!(missing.is_empty(), "tests/c/every.h does not call {missing:?}");
    check("tests/c/good.c");
}

#[test]
fn handlers_are_entered_one_at_a_time_and_end_with_their_node() {
    let output = check("tests/c/storm.c");
    let events: u64 = output.split(' ').next().expect("a number").parse().expect("a number");
    assert!(events >= 100_000);
}

#[test]
fn every_handle_may_be_used_by_several_threads() {
    check("tests/c/threads.c");
}

/// Compiled once for both of its tests.
fn foreign() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compile_static(&root().join("tests/c/foreign.c")))
}

#[test]
fn callbacks_may_answer_well_or_wrongly() {
    finish(start(foreign(), &[]), "foreign.c");
}

#[test]
fn callbacks_that_hang_are_not_waited_for() {
    finish(start(foreign(), &["hang"]), "foreign.c hang");
}

#[test]
fn signers_find_each_other_by_their_keys() {
    check("tests/c/network.c");
}

#[test]
fn metrics_match_a_scripted_failover() {
    check("tests/c/metrics.c");
}

#[test]
fn signing_alone_ends_with_the_signatures() {
    check("tests/c/signing_alone.c");
}

#[test]
fn fork_child_has_a_node_of_its_own() {
    check("tests/c/fork.c");
}
