//! Metrics: a scripted run, number by number; their documentation; the alerts and the dashboard, by Prometheus' own tool.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libmusig::JoinOptions;
use libmusig::chain::{Broadcaster, ChainError, SignedTransaction, SubmitOutcome};
use libmusig::event::Event;
use libmusig::node::{
    MetricKind, MetricSample, MetricValue, MetricsFormat, Node, SessionRequest, metric_families,
};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::proposal::FailoverPolicy;

use test_support::backend::chain::Chain;
use test_support::nodes::*;

use crate::world::{Direct, Spend};

/// A broadcaster without a network. It counts its calls.
struct Unreachable(Arc<AtomicU64>);

impl Broadcaster for Unreachable {
    fn submit(&self, _: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(ChainError { reason: "the cable is out".into() })
    }
}

/// A series as Prometheus writes it, with its number: of a histogram, how many durations there were.
fn numbers(node: &Node) -> BTreeMap<String, u64> {
    let samples = node.metric_samples().wait().expect("the node runs");
    samples.iter().map(|sample| (series(sample), number(sample))).collect()
}

fn series(sample: &MetricSample) -> String {
    let labels: Vec<String> =
        sample.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    if labels.is_empty() { sample.name.into() } else { format!("{}{{{}}}", sample.name, labels.join(",")) }
}

fn number(sample: &MetricSample) -> u64 {
    match &sample.value {
        MetricValue::Counter(number) | MetricValue::Gauge(number) => *number,
        MetricValue::Histogram { buckets, .. } => buckets.last().expect("the infinite one").1,
    }
}

/// Waits until a node's metrics are as the script has it. Those of the protocol that it does not name are to be zero.
#[track_caller]
fn expect(node: &Node, script: &[(&str, u64)]) {
    let script: BTreeMap<&str, u64> = script.iter().copied().collect();
    let of_protocol = |name: &str| {
        [
            "musig_session",
            "musig_failover",
            "musig_broadcasts",
            "musig_coordinator",
            "musig_submissions",
            "musig_refused",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
    };
    let differences = || -> Vec<String> {
        let found = numbers(node);
        let named = script.keys().filter(|name| !found.contains_key(**name));
        let missing = named.map(|name| format!("{name} is missing"));
        let other = found.iter().filter_map(|(name, number)| {
            let wanted = script.get(name.as_str()).copied().or_else(|| of_protocol(name).then_some(0))?;
            (wanted != *number).then(|| format!("{name} is {number}, not {wanted}"))
        });
        missing.chain(other).collect()
    };
    let end = std::time::Instant::now() + PATIENCE;
    while !differences().is_empty() && std::time::Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(differences(), Vec::<String>::new());
}

fn name(index: usize) -> String {
    key(index).to_string()[..8].to_owned()
}

#[test]
fn metrics_match_a_script_with_failover_a_refusal_and_a_restart() {
    let chain = Arc::new(Chain::new());
    let folder = tempfile::tempdir().expect("can be made");
    let calls = Arc::new(AtomicU64::new(0));
    let start = |index: usize| {
        let builder = node_builder()
            .signer(libmusig::signer::LocalSigner::new(secret(index)).expect("a secret key"))
            .store_path(folder.path().join(format!("{index}.redb")))
            .listen("/ip4/127.0.0.1/tcp/0")
            .observer(Arc::new(Direct(chain.clone())))
            .final_depth(1);
        let builder = match index {
            0 => builder.broadcaster(Arc::new(Unreachable(calls.clone()))),
            _ => builder.broadcaster(Arc::new(Direct(chain.clone()))),
        };
        builder.start().expect("starts")
    };
    let mut nodes: Vec<Node> = (0..3).map(start).collect();
    connect(&nodes);

    // The coordinator cannot broadcast, and says so: the next signer does, an hour early.
    let spend = Spend::new(&chain, &keys(3));
    let failover =
        FailoverPolicy { broadcast_timeout: Duration::from_secs(3600), ..FailoverPolicy::default() };
    let request = spend.request(keys(3)).election_method(ElectionMethod::FirstSigner).failover(failover);
    let session = nodes[0].create_session(request).wait().expect("is created").id();
    for node in &nodes[1..] {
        join_next(node);
    }
    for node in &nodes {
        wait_for(node, "the transaction", |event| {
            matches!(event.event, Event::BroadcastSeen { .. }).then_some(())
        });
    }
    // Another one is declined by its last signer.
    let blind = JoinOptions { sign_blind: true, ..JoinOptions::default() };
    let declined = SessionRequest::messages(keys(3), vec![message(9)]).consent(blind);
    let declined = nodes[1].create_session(declined).wait().expect("is created").id();
    for (index, node) in nodes.iter().enumerate().filter(|(index, _)| *index != 1) {
        wait_for(node, "the proposal", |event| {
            (event.session == Some(declined) && matches!(event.event, Event::SessionProposed { .. }))
                .then_some(())
        });
        if index == 2 {
            node.session(declined).decline("too dear").wait().expect("is open");
        }
    }
    chain.mine();
    for node in &nodes {
        wait_until("the watch ends", || {
            let status = node.session(session).status().wait().expect("is known");
            status.phase == libmusig::protocol::status::Phase::Final
        });
    }

    let second = name(1);
    let by = |metric: &str, signer: &str| format!("{metric}{{signer=\"{signer}\"}}");
    let broadcast = by("musig_broadcasts_total", &second);
    let of_all = [
        ("musig_sessions{phase=\"final\"}", 1),
        ("musig_sessions{phase=\"declined\"}", 1),
        ("musig_sessions_completed_total", 1),
        ("musig_sessions_ended_total{outcome=\"confirmed\"}", 1),
        ("musig_sessions_ended_total{outcome=\"declined\"}", 1),
        ("musig_failover_sessions_total", 1),
        ("musig_failover_turns_total{cause=\"nack\"}", 1),
        (broadcast.as_str(), 1),
        ("musig_peers", 2),
        ("musig_signing_seconds", 1),
        ("musig_first_broadcast_seconds", 1),
    ];
    let with =
        |more: &[(&'static str, u64)]| -> Vec<(&str, u64)> { of_all.iter().chain(more).copied().collect() };
    let calls = || calls.load(Ordering::SeqCst);
    expect(
        &nodes[0],
        &with(&[
            ("musig_sessions_proposed_total{role=\"proposer\"}", 1),
            ("musig_sessions_proposed_total{role=\"signer\"}", 1),
            ("musig_submissions_total{outcome=\"unreachable\"}", calls()),
            ("musig_submission_seconds", calls()),
        ]),
    );
    expect(
        &nodes[1],
        &with(&[
            ("musig_sessions_proposed_total{role=\"proposer\"}", 1),
            ("musig_sessions_proposed_total{role=\"signer\"}", 1),
            ("musig_failover_own_turns_total", 1),
            ("musig_submissions_total{outcome=\"accepted\"}", 1),
            ("musig_submission_seconds", 1),
            ("musig_submit_to_seen_seconds", 1),
        ]),
    );
    expect(&nodes[2], &with(&[("musig_sessions_proposed_total{role=\"signer\"}", 2)]));

    // What is told again after a restart is not counted again.
    nodes.pop().expect("the last").stop().expect("stops");
    let again = start(2);
    wait_for(&again, "what was not acknowledged", |event| {
        matches!(event.event, Event::BroadcastConfirmed { .. } | Event::SessionComplete { .. }).then_some(())
    });
    let held = [
        ("musig_sessions{phase=\"final\"}", 1),
        ("musig_sessions{phase=\"declined\"}", 1),
        ("musig_sessions_completed_total", 0),
        ("musig_sessions_ended_total{outcome=\"confirmed\"}", 0),
    ];
    expect(&again, &held);
}

#[test]
fn metrics_match_in_both_texts_and_start_at_zero() {
    let node = builder(secret(0)).start().expect("starts");
    let samples = node.metric_samples().wait().expect("runs");
    let families: BTreeSet<&str> = metric_families().iter().map(|family| family.name).collect();
    let sampled: BTreeSet<&str> = samples.iter().map(|sample| sample.name).collect();
    assert_eq!(sampled, families, "every metric is there from the start");
    let counters = samples.iter().filter(|sample| !sample.name.starts_with("musig_store"));
    for sample in counters {
        assert_eq!(number(sample), 0, "{sample:?}");
    }
    for format in [MetricsFormat::Prometheus, MetricsFormat::OpenMetrics] {
        let text = node.metrics_text(format).wait().expect("runs");
        let mut lines: BTreeMap<&str, &str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .collect();
        for sample in samples.iter().filter(|sample| !sample.name.starts_with("musig_store")) {
            match &sample.value {
                MetricValue::Histogram { buckets, .. } => {
                    assert_eq!(lines.remove(format!("{}_count", sample.name).as_str()), Some("0"), "{text}");
                    for (bound, _) in buckets {
                        // The two formats write whole numbers differently.
                        let of = |bound: String| format!("{}_bucket{{le=\"{bound}\"}}", sample.name);
                        let bucket = match (bound.is_finite(), format) {
                            (false, _) => of("+Inf".into()),
                            (true, MetricsFormat::Prometheus) => of(format!("{bound}")),
                            (true, MetricsFormat::OpenMetrics) => of(format!("{bound:?}")),
                        };
                        assert_eq!(lines.remove(bucket.as_str()), Some("0"), "{bucket} in {text}");
                    }
                }
                _ => assert_eq!(
                    lines.remove(series(sample).as_str()),
                    Some("0"),
                    "{} in {text}",
                    series(sample)
                ),
            }
        }
        assert_eq!(text.ends_with("# EOF\n"), format == MetricsFormat::OpenMetrics);
    }
}

// ---- Documentation ----

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn metrics_match_their_table_in_the_documentation() {
    let path = root().join("docs/monitoring.md");
    let text = fs::read_to_string(&path).expect("is there").replace("\r\n", "\n");
    let mut table = "| metric | kind | label | what |\n|---|---|---|---|\n".to_owned();
    for family in metric_families() {
        let label = family.label.map(|label| format!("`{label}`")).unwrap_or_default();
        table += &format!("| `{}` | {} | {label} | {} |\n", family.name, family.kind.name(), family.help);
    }
    let (begin, end) = ("<!-- metrics -->\n", "<!-- /metrics -->\n");
    let (before, rest) = text.split_once(begin).expect("has the mark");
    let (_, after) = rest.split_once(end).expect("has the other mark");
    let wanted = format!("{before}{begin}{table}{end}{after}");
    if std::env::var_os("MUSIG_UPDATE").is_some() {
        fs::write(&path, &wanted).expect("can be written");
    } else {
        assert!(wanted == text, "docs/monitoring.md: run this test with MUSIG_UPDATE=1");
    }
}

// ---- Prometheus' own tool ----

/// Its path; `None`, and it says so, where there is none.
fn promtool(test: &str) -> Option<PathBuf> {
    let output = Command::new(root().join("tests/monitoring/promtool.sh")).output().expect("can be run");
    if output.status.code() == Some(77) {
        skip(test, String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("promtool"))
}

/// Runs it. Answers whether it is content, and what it says.
fn run(tool: &Path, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("can be run");
    child.stdin.take().expect("is piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

#[test]
fn metrics_match_what_promtool_wants_of_a_text() {
    let Some(tool) = promtool("metrics_match_what_promtool_wants_of_a_text") else { return };
    let node = builder(secret(0)).start().expect("starts");
    let text = node.metrics_text(MetricsFormat::Prometheus).wait().expect("runs");
    let (good, said) = run(&tool, &["check", "metrics"], &text);
    assert!(good && said.is_empty(), "{said}\n{text}");
}

/// The alerts' names, and the text with another expression for all of them.
fn alerts() -> (Vec<String>, impl Fn(&str) -> String) {
    let text = fs::read_to_string(root().join("docs/monitoring/alerts.yml")).expect("is there");
    let names =
        text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect();
    let replaced = move |expression: &str| {
        let (mut out, mut in_expression) = (String::new(), false);
        for line in text.lines() {
            let is_key = line.starts_with("        ") && !line.starts_with("         ");
            if line.trim().starts_with("expr:") {
                in_expression = true;
                out += &format!("        expr: {expression}\n");
                continue;
            }
            in_expression &= !is_key;
            if !in_expression {
                out += line;
                out.push('\n');
            }
        }
        out
    };
    (names, replaced)
}

#[test]
fn alerts_fire_when_they_should_and_each_test_of_them_can_fail() {
    let Some(tool) = promtool("alerts_fire_when_they_should_and_each_test_of_them_can_fail") else { return };
    let file = root().join("tests/monitoring/alerts.yml");
    let (good, said) = run(&tool, &["test", "rules", &file.display().to_string()], "");
    assert!(good, "{said}");

    let (names, replaced) = alerts();
    assert!(names.len() >= 9, "{names:?}");
    let folder = tempfile::tempdir().expect("can be made");
    let rules = folder.path().join("rules.yml");
    let tests = fs::read_to_string(&file).expect("is there");
    let tests = tests.replace("../../docs/monitoring/alerts.yml", &rules.display().to_string());
    let copy = folder.path().join("tests.yml");
    fs::write(&copy, tests).expect("can be written");
    for (what, expression) in [("never fires", "musig_peers > 1e9"), ("always fires", "musig_peers >= 0")] {
        fs::write(&rules, replaced(expression)).expect("can be written");
        let (good, said) = run(&tool, &["test", "rules", &copy.display().to_string()], "");
        for name in &names {
            let noticed = !good && said.contains(&format!("alertname: {name},"));
            assert!(noticed, "nothing notices that {name} {what}: {said}");
        }
    }
}

/// The names of metrics in an expression, without what a histogram appends.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let names = expression.split(word).filter(|word| word.starts_with("musig_"));
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
}

fn exported() -> BTreeSet<String> {
    metric_families().iter().map(|family| family.name.to_owned()).collect()
}

#[test]
fn alerts_name_what_a_node_exports() {
    let text = fs::read_to_string(root().join("docs/monitoring/alerts.yml")).expect("is there");
    let named = metrics_in(&text);
    assert!(named.len() > 8 && named.is_subset(&exported()), "{:?}", named.difference(&exported()));
}

#[test]
fn dashboard_queries_are_valid_and_name_what_a_node_exports() {
    let text = fs::read_to_string(root().join("docs/monitoring/dashboard.json")).expect("is there");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
    let panels = dashboard["panels"].as_array().expect("has panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("has queries"));
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().expect("has one")).collect();
    assert!(queries.len() > 20);

    let named: BTreeSet<String> = queries.iter().flat_map(|query| metrics_in(query)).collect();
    assert_eq!(named, exported(), "it shows all that there is, and nothing else");
    // A histogram is asked by its buckets, everything else by its name.
    for family in metric_families() {
        let buckets = format!("{}_bucket", family.name);
        let asked = queries.iter().any(|query| query.contains(&buckets));
        assert_eq!(asked, family.kind == MetricKind::Histogram, "{}", family.name);
        // And by no label that it does not have.
        let by = queries
            .iter()
            .filter(|query| metrics_in(query).contains(family.name))
            .filter_map(|query| Some(query.split_once("by (")?.1.split_once(')')?.0.to_owned()));
        let known = family.label.or((family.kind == MetricKind::Histogram).then_some("le"));
        by.for_each(|label| assert_eq!(Some(label.as_str()), known, "{}", family.name));
    }

    let Some(tool) = promtool("dashboard_queries_are_valid_and_name_what_a_node_exports") else { return };
    // Grafana puts durations there.
    let plain = |query: &str| query.replace("$__rate_interval", "5m").replace("$__range", "1d");
    let check = |queries: &[String]| {
        let rules: Vec<serde_json::Value> = queries
            .iter()
            .enumerate()
            .map(|(number, query)| serde_json::json!({ "record": format!("query:{number}"), "expr": query }))
            .collect();
        let file = tempfile::NamedTempFile::new().expect("can be made");
        // Every JSON text is YAML.
        let text = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string();
        fs::write(file.path(), text).expect("can be written");
        run(&tool, &["check", "rules", &file.path().display().to_string()], "")
    };
    let queries: Vec<String> = queries.into_iter().map(plain).collect();
    let (good, said) = check(&queries);
    assert!(good, "{said}");
    let broken = check(&[queries[0].replacen("sum(", "sum((", 1)]);
    assert!(!broken.0, "it notices a query that is none: {}", broken.1);
}
