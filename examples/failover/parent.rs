//! The parent: the chain, the processes, who is killed when, and whether what happened is what should happen.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use libmusig::{LocalSigner, SignerKey, Tiers, to_hex};
use serde_json::{Value, json};

use crate::arguments::Options;
use crate::backend::{Access, Backend};
use crate::signer::FLAG;
use crate::timeline::{Timeline, Tone};

/// How long anything may take beyond the turns.
const PATIENCE: Duration = Duration::from_secs(20);

struct Process {
    child: Child,
    input: ChildStdin,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn order(&mut self, order: &Value) -> Result<(), String> {
        writeln!(self.input, "{order}").map_err(|error| format!("a signer does not listen: {error}"))
    }
}

/// Everything about the run.
struct Demo {
    timeline: Timeline,
    directory: tempfile::TempDir,
    access: Access,
    secrets: Vec<[u8; 32]>,
    /// For each signer the extended private key of its account, if it has one.
    accounts: Vec<Option<String>>,
    /// How often the signers say that they submitted.
    submissions: usize,
    processes: BTreeMap<usize, Process>,
    lines: Receiver<(usize, Value)>,
    sender: Sender<(usize, Value)>,
}

impl Demo {
    fn start(&mut self, index: usize) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let store: PathBuf = self.directory.path().join(format!("signer-{index}.redb"));
        let mut child = Command::new(program)
            .arg(FLAG)
            .arg(store)
            .arg(&self.access.url)
            .args(&self.access.cookie)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("a signer's process does not start: {error}"))?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a signer's process has no pipes".into());
        };
        // The secret goes by the pipe: arguments are for all to see.
        writeln!(input, "{}", to_hex(&self.secrets[index])).map_err(|error| error.to_string())?;
        let account = self.accounts[index].as_deref().unwrap_or_default();
        writeln!(input, "{account}").map_err(|error| error.to_string())?;
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else { continue };
                if sender.send((index, value)).is_err() {
                    break;
                }
            }
        });
        self.processes.insert(index, Process { child, input });
        Ok(())
    }

    fn order(&mut self, index: usize, order: &Value) -> Result<(), String> {
        self.processes.get_mut(&index).ok_or("that signer is dead")?.order(order)
    }

    /// The next line of any signer, until the deadline.
    fn line(&mut self, deadline: Instant, what: &str) -> Result<(usize, Value), String> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(Duration::from_millis(100))) {
                Ok((index, value)) if value["event"] == "error" => {
                    return Err(format!("signer {index}: {}", value["reason"]));
                }
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    return Err(format!("waited too long for {what}"));
                }
                Err(RecvTimeoutError::Timeout) => self.timeline.wait(what),
                Err(RecvTimeoutError::Disconnected) => return Err("all signers are gone".into()),
            }
        }
    }

    /// Waits until each of these signers said something.
    fn all(
        &mut self,
        signers: impl Iterator<Item = usize>,
        event: &str,
    ) -> Result<BTreeMap<usize, Value>, String> {
        let mut missing: BTreeSet<usize> = signers.collect();
        let mut said = BTreeMap::new();
        let deadline = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            let (index, value) = self.line(deadline, &format!("\"{event}\" of {missing:?}"))?;
            if value["event"] == event && missing.remove(&index) {
                said.insert(index, value);
            }
        }
        Ok(said)
    }
}

pub fn run(options: &Options) -> Result<(), String> {
    let n = options.signers;
    let secrets = secrets(n)?;
    let keys: Vec<SignerKey> = secrets
        .iter()
        .map(|secret| LocalSigner::new(*secret).map(|signer| signer.public_key()))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let backend = Backend::start(options.backend)?;
    let spend = backend.spend(&keys)?;

    let (sender, lines) = channel();
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut demo = Demo {
        timeline: Timeline::new(options.watch.then_some(n)),
        directory,
        access: backend.access(),
        secrets,
        accounts: spend.accounts,
        submissions: 0,
        processes: BTreeMap::new(),
        lines,
        sender,
    };
    for index in 0..n {
        demo.start(index)?;
    }
    let addresses = demo.all(0..n, "listening")?;
    for index in 0..n {
        // Each is told of all others: so each shows itself to all of them.
        for address in
            addresses.iter().filter(|(other, _)| **other != index).map(|(_, value)| &value["address"])
        {
            demo.order(index, &json!({ "order": "peer", "address": address }))?;
        }
        demo.order(index, &json!({ "order": "connected", "signers": n - 1 }))?;
    }
    demo.all(0..n, "connected")?;
    demo.timeline.say("all", &format!("{n} signers are connected, each in its own process"), Tone::Plain);

    let tiers = match options.tiers {
        Tiers::Single => Value::Null,
        Tiers::Doubling => json!(0),
        Tiers::Fixed(width) => json!(width),
    };
    let proposed_at = demo.timeline.elapsed();
    let mut order = spend.order;
    order["order"] = json!("propose");
    order["signers"] = json!(keys.iter().map(SignerKey::to_string).collect::<Vec<_>>());
    order["method"] = json!(options.method.number());
    order["timeout"] = json!(options.timeout.as_millis() as u64);
    order["tiers"] = tiers;
    demo.order(0, &order)?;
    let outcome = watch(&mut demo, options, &backend, proposed_at)?;

    demo.timeline.say("all", "the dead signers start again from their stores", Tone::Plain);
    for index in outcome.killed.iter().copied() {
        demo.start(index)?;
    }
    let mut restarted = 0;
    let mut missing: BTreeSet<usize> = outcome.killed.iter().copied().collect();
    let deadline = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        let (index, line) = demo.line(deadline, "the confirmation at the restarted signers")?;
        match line["event"].as_str() {
            Some("about to submit") => return Err(format!("signer {index} submits what is confirmed")),
            Some("confirmed") if missing.remove(&index) => {
                restarted += 1;
                let what = "sees the confirmed transaction, and broadcasts nothing";
                demo.timeline.say(&name(index), what, Tone::Good);
            }
            _ => {}
        }
    }

    let txid = outcome.txid.parse().map_err(|_| "the transaction id is none".to_owned())?;
    let submissions = backend.submissions(&txid).unwrap_or(demo.submissions);
    let alive_in_turn = outcome.allowed;
    if submissions == 0 || submissions > alive_in_turn {
        return Err(format!("{submissions} submissions instead of 1"));
    }
    let height = backend.height_of(&txid).ok_or("the transaction is in no block")?;
    if outcome.heights.iter().any(|seen| *seen != Some(height.into())) {
        return Err(format!("it is in block {height}, and the signers say {:?}", outcome.heights));
    }
    // By hand, so that the order of the fields is the one that is documented.
    println!(
        "{{\"ok\":true,\"signers\":{n},\"killed\":{},\"coordinator\":{},\"broadcast_by\":{},\"turns\":{},\
         \"txid\":\"{}\",\"signing_ms\":{},\"failover_ms\":{},\"submissions\":{submissions},\
         \"restarted_confirmed\":{restarted},\"backend\":\"{}\",\"inputs\":{},\"height\":{height}}}",
        json!(outcome.killed),
        outcome.list[0],
        outcome.broadcast_by,
        outcome.turn + 1,
        outcome.txid,
        outcome.signing.as_millis(),
        outcome.failover.as_millis(),
        backend.name(),
        spend.inputs,
    );
    Ok(())
}

struct Outcome {
    list: Vec<usize>,
    killed: Vec<usize>,
    broadcast_by: usize,
    turn: u64,
    txid: String,
    signing: Duration,
    failover: Duration,
    /// How many signers that are alive share the turn in which it was broadcast.
    allowed: usize,
    /// At which height the survivors saw it confirmed.
    heights: BTreeSet<Option<u64>>,
}

fn name(index: usize) -> String {
    format!("signer {index}")
}

/// From the proposal until all survivors saw the confirmation. Kills the first coordinators when their turn comes.
fn watch(
    demo: &mut Demo,
    options: &Options,
    backend: &Backend,
    proposed_at: Duration,
) -> Result<Outcome, String> {
    let n = options.signers;
    let deadline = Instant::now() + options.timeout * n as u32 + PATIENCE;
    let mut list: Vec<usize> = Vec::new();
    let mut killed = Vec::new();
    let mut complete = BTreeSet::new();
    let mut asked: BTreeMap<usize, u64> = BTreeMap::new();
    let (mut confirmed, mut heights) = (BTreeSet::new(), BTreeSet::new());
    let mut txid = String::new();
    let (mut signed_at, mut submitted) = (Duration::ZERO, None);
    while submitted.is_none() || confirmed.len() + killed.len() < n {
        let (index, line) = demo.line(deadline, "the broadcast and its confirmation")?;
        let victims = list.get(..options.kill).unwrap_or_default().to_vec();
        match line["event"].as_str().unwrap_or_default() {
            "proposed" => {
                list = line["list"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_u64)
                    .map(|i| i as usize)
                    .collect();
                demo.timeline.say(&name(index), &format!("proposes; priority list {list:?}"), Tone::Plain);
            }
            "proposal" => {
                demo.timeline.say(&name(index), &format!("consents (fee {})", line["fee"]), Tone::Quiet)
            }
            "complete" => {
                complete.insert(index);
                txid = line["txid"].as_str().unwrap_or_default().to_owned();
                if complete.len() == n {
                    signed_at = demo.timeline.elapsed();
                }
                demo.timeline.say(&name(index), "holds the finished transaction", Tone::Plain);
            }
            "should broadcast" => {
                let turn = line["turn"].as_u64().unwrap_or(0);
                asked.insert(index, turn);
                demo.timeline.say(&name(index), &format!("is to broadcast (turn {turn})"), Tone::Plain);
            }
            "coordinator failed" if Some(&index) == list.last() => {
                let what = format!(
                    "finds {} failed, next is {} (turn {})",
                    line["failed"], line["next"], line["turn"]
                );
                demo.timeline.say(&name(index), &what, Tone::Quiet);
            }
            "submitted" => {
                demo.timeline.say(&name(index), &format!("submits: {}", line["outcome"]), Tone::Good);
                demo.submissions += 1;
                if submitted.is_none() {
                    submitted = Some((index, demo.timeline.elapsed()));
                    backend.mine();
                }
            }
            "confirmed" => {
                confirmed.insert(index);
                heights.insert(line["height"].as_u64());
                let what = format!("sees it confirmed at height {}", line["height"]);
                demo.timeline.say(&name(index), &what, Tone::Good);
            }
            "exhausted" => {
                return Err(format!("signer {index} had the alarm although {} live", n - options.kill));
            }
            _ => {}
        }
        // The victims die when their turn came and all hold the transaction; the others may submit once they are dead.
        if complete.len() == n && !list.is_empty() {
            for victim in victims.iter().copied().filter(|victim| asked.contains_key(victim)) {
                if demo.processes.remove(&victim).is_some() {
                    killed.push(victim);
                    demo.timeline.say(&name(victim), "is killed (SIGKILL) before it submits", Tone::Bad);
                }
            }
            if killed.len() == options.kill {
                for alive in
                    asked.keys().copied().filter(|index| !victims.contains(index)).collect::<Vec<_>>()
                {
                    demo.order(alive, &json!({ "order": "submit" }))?;
                }
            }
        }
    }
    let (broadcast_by, at) = submitted.ok_or("nobody submitted")?;
    let turn = asked.get(&broadcast_by).copied().unwrap_or(0);
    let allowed: Vec<usize> =
        list.iter().copied().filter(|i| !killed.contains(i) && asked.get(i) == Some(&turn)).collect();
    if !allowed.contains(&broadcast_by) || allowed.first() != list.get(options.kill) {
        return Err(format!(
            "signer {broadcast_by} submitted, which was not its turn: {list:?}, killed {killed:?}"
        ));
    }
    let (signing, failover) = (signed_at.saturating_sub(proposed_at), at.saturating_sub(signed_at));
    Ok(Outcome { list, killed, broadcast_by, turn, txid, signing, failover, allowed: allowed.len(), heights })
}

fn secrets(n: usize) -> Result<Vec<[u8; 32]>, String> {
    let mut secrets = vec![[0; 32]; n];
    for secret in &mut secrets {
        getrandom::fill(secret).map_err(|_| "the system gives no random bytes")?;
    }
    Ok(secrets)
}
