//! The driver: starts a node of each language, and kills the coordinator in each in turn.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use libmusig::{LocalSigner, SignerKey, to_hex};

const TURN: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    child: Child,
    input: ChildStdin,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Running {
    /// The shell that started it may stand between: the whole process group dies.
    fn kill(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }

    fn order(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.input, "{line}").and_then(|()| self.input.flush()).map_err(|error| error.to_string())
    }
}

fn start(
    index: usize,
    command: &str,
    store: &std::path::Path,
    lines: &Sender<(usize, String)>,
) -> Result<Running, String> {
    use std::os::unix::process::CommandExt;
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("exec {command} '{}'", store.display()))
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command}: {error}"))?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("a node has no pipes".into());
    };
    let lines = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if lines.send((index, line)).is_err() {
                break;
            }
        }
    });
    Ok(Running { child, input })
}

pub fn run(arguments: &[String]) -> Result<(), String> {
    let nodes: Vec<(&str, &str)> =
        arguments.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    if nodes.len() < 2 {
        return Err("give at least two nodes, each as NAME COMMAND".into());
    }
    let mut failed = 0;
    for coordinator in 0..nodes.len() {
        let names: Vec<&str> = nodes.iter().map(|(name, _)| *name).collect();
        match round(&nodes, coordinator) {
            Ok(next) => println!(
                "ok: {} was killed as the coordinator, {} took over",
                names[coordinator], names[next]
            ),
            Err(reason) => {
                failed += 1;
                println!("FAILED: {} as the coordinator: {reason}", names[coordinator]);
            }
        }
    }
    println!("interop: {} passed, {failed} failed", nodes.len() - failed);
    if failed == 0 { Ok(()) } else { Err(format!("{failed} of {} rounds", nodes.len())) }
}

/// One session. The signers stand in the order of the nodes, the coordinator first; the last one proposes.
fn round(nodes: &[(&str, &str)], coordinator: usize) -> Result<usize, String> {
    let n = nodes.len();
    let order: Vec<usize> = (0..n).map(|i| (coordinator + i) % n).collect();
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (sender, lines) = channel();
    let mut running: Vec<Option<Running>> = Vec::new();
    let mut keys: Vec<SignerKey> = Vec::new();
    for (index, (_, command)) in nodes.iter().enumerate() {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| "the system gives no random bytes")?;
        let signer = LocalSigner::new(secret).map_err(|error| error.to_string())?;
        keys.push(signer.public_key());
        let mut node = start(index, command, &directory.path().join(format!("{index}.redb")), &sender)?;
        node.order(&format!("secret {}", to_hex(&secret)))?;
        running.push(Some(node));
    }
    let mut addresses = vec![String::new(); n];
    wait(&lines, nodes, "their addresses", |index, line| {
        if let Some(address) = line.strip_prefix("listening ") {
            addresses[index] = address.to_owned();
        }
        Ok(addresses.iter().all(|address| !address.is_empty()))
    })?;
    for (index, node) in running.iter_mut().enumerate() {
        for address in &addresses[..index] {
            node.as_mut().ok_or("is gone")?.order(&format!("peer {address}"))?;
        }
    }
    let listed: Vec<String> = order.iter().map(|index| keys[*index].to_string()).collect();
    let propose = format!("propose {} {} {}", TURN.as_millis(), "5a".repeat(32), listed.join(" "));
    running[order[n - 1]].as_mut().ok_or("is gone")?.order(&propose)?;

    let mut complete = BTreeSet::new();
    let mut signatures = BTreeSet::new();
    let mut asked = false;
    let mut session = String::new();
    wait(&lines, nodes, "the signatures", |index, line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["complete", id, signature] => {
                session = (*id).to_owned();
                complete.insert(index);
                signatures.insert((*signature).to_owned());
            }
            ["should-broadcast", _, turn] => {
                asked |= index == order[0] && *turn == "0";
            }
            _ => {}
        }
        Ok(asked && complete.len() == n)
    })?;
    if signatures.len() != 1 {
        return Err("the nodes hold different signatures".into());
    }
    running[order[0]] = None;

    wait(&lines, nodes, "the next turn", |index, line| {
        let next = line.starts_with("should-broadcast ") && line.ends_with(" 1");
        if next && index != order[1] {
            return Err(format!("{} takes a turn that is not its own", nodes[index].0));
        }
        Ok(next)
    })?;
    running[order[1]].as_mut().ok_or("is gone")?.order(&format!("broadcast {session}"))?;
    let mut confirmed = BTreeSet::new();
    wait(&lines, nodes, "the confirmation", |index, line| {
        if line.starts_with("confirmed ") {
            confirmed.insert(index);
        }
        Ok(confirmed.len() == n - 1)
    })?;
    Ok(order[1])
}

/// Takes lines until `done`.
fn wait(
    lines: &Receiver<(usize, String)>,
    nodes: &[(&str, &str)],
    what: &str,
    mut done: impl FnMut(usize, &str) -> Result<bool, String>,
) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok((index, line)) = lines.recv_timeout(left) else {
            return Err(format!("waited too long for {what}; saw {seen:#?}"));
        };
        if done(index, line.trim())? {
            return Ok(());
        }
        seen.push(format!("{}: {line}", nodes[index].0));
    }
}
