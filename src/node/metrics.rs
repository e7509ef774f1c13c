//! Metrics of a running node: a few hot counters, and all of them as samples, from one table.
//!
//! [`families`] is that table. The samples, both texts and the table in `docs/monitoring.md` are made from it. Every
//! series exists from the start, at zero; no label names a session, a transaction, a peer or an address.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::mutation::{self, Mutation};
pub use crate::net::NetworkCounters;
use crate::platform::histogram::Histogram;
use crate::protocol::counters::{Counters, SignerCounters};
pub use crate::protocol::engine::Refused;
use crate::protocol::status::Phase;
pub use crate::store::thread::StoreCounters;

/// Snapshot of a node's counters, which start with the node.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Number of sessions, closed ones included.
    pub sessions: usize,
    /// Number of frames sent.
    pub frames_sent: u64,
    /// Input that was refused, by reason.
    pub refused: Refused,
    /// Counters of the store.
    pub store: StoreCounters,
    /// Counters of the network.
    pub network: NetworkCounters,
    /// Number of queued events.
    pub events_waiting: usize,
    /// Number of events that were dropped from a full queue; durable ones never are.
    pub notices_dropped: u64,
}

/// Sample of a metric of a node, as a monitoring system takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSample {
    /// The metric's name, such as `musig_sessions_completed_total`.
    pub name: &'static str,
    /// Names and values of its labels, which tell series of one metric apart.
    pub labels: Vec<(&'static str, String)>,
    /// Its value.
    pub value: MetricValue,
}

/// Value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricValue {
    /// Number that never decreases while the node runs.
    Counter(u64),
    /// Number as it is now.
    Gauge(u64),
    /// Durations, counted by buckets.
    Histogram {
        /// Upper bounds in seconds, each with the number of durations up to it. The last bound is infinite.
        buckets: Vec<(f64, u64)>,
        /// Sum of all durations in seconds.
        sum: f64,
    },
}

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Its value never decreases while the node runs.
    Counter,
    /// Its value is what it is now.
    Gauge,
    /// Its value is durations in seconds, counted by buckets.
    Histogram,
}

impl MetricKind {
    /// Its name in Prometheus' text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Form of the text with all metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricsFormat {
    /// Prometheus' text, version 0.0.4. Content type `text/plain; version=0.0.4; charset=utf-8`.
    Prometheus,
    /// OpenMetrics' text, version 1.0.0. Content type `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    OpenMetrics,
}

impl MetricsFormat {
    /// Value of the header `Content-Type` with which the text is served.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Metric of a node, with all of its series.
pub struct MetricFamily {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Name of the label that tells its series apart; `None` if there is one series.
    pub label: Option<&'static str>,
    /// What it is, in one sentence.
    pub help: &'static str,
    read: fn(&Snapshot) -> Series,
}

impl fmt::Debug for MetricFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetricFamily({})", self.name)
    }
}

/// All that metrics are made from, at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub metrics: Metrics,
    pub protocol: Counters,
    /// Sessions in each phase, in the order of [`PHASES`].
    pub phases: [u64; PHASES.len()],
    pub peers: u64,
    pub congested: bool,
    pub store_bytes: u64,
    pub signing: Histogram,
    pub first_broadcast: Histogram,
    pub seen: Histogram,
    pub submission: Histogram,
    pub commit: Histogram,
}

/// The phases of sessions, with their names in labels.
pub(crate) const PHASES: [(Phase, &str); 10] = [
    (Phase::Proposed, "proposed"),
    (Phase::Joined, "joined"),
    (Phase::Signing, "signing"),
    (Phase::Watching, "watching"),
    (Phase::Final, "final"),
    (Phase::Failed, "failed"),
    (Phase::Aborted, "aborted"),
    (Phase::Declined, "declined"),
    (Phase::Expired, "expired"),
    (Phase::Closed, "closed"),
];

/// The values of a metric's label, each with the series' value; one without a label has an empty one.
type Series = Vec<(String, Value)>;

#[derive(Debug)]
enum Value {
    Number(u64),
    Histogram(Histogram),
}

fn one(number: u64) -> Series {
    vec![(String::new(), Value::Number(number))]
}

fn by<const N: usize>(numbers: [(&str, u64); N]) -> Series {
    numbers.map(|(label, number)| (label.to_owned(), Value::Number(number))).into()
}

fn times(histogram: &Histogram) -> Series {
    vec![(String::new(), Value::Histogram(histogram.clone()))]
}

fn by_signer(counters: &Counters, of: fn(SignerCounters) -> u64) -> Series {
    let named = counters.signers().map(|(name, counted)| {
        let name = name.iter().map(|byte| format!("{byte:02x}")).collect();
        (name, Value::Number(of(counted)))
    });
    named.chain([("other".to_owned(), Value::Number(of(counters.others())))]).collect()
}

macro_rules! families {
    ($($kind:ident $name:literal $({ $label:literal })? $help:literal = $read:expr;)*) => {
        static FAMILIES: &[MetricFamily] = &[$(
            MetricFamily {
                name: $name,
                kind: MetricKind::$kind,
                label: families!(@label $($label)?),
                help: $help,
                read: $read,
            },
        )*];
    };
    (@label) => { None };
    (@label $label:literal) => { Some($label) };
}

families! {
    Gauge "musig_sessions" { "phase" }
        "Sessions that the node holds, by phase; closed ones are held until they expire."
        = |it| PHASES.iter().zip(it.phases).map(|((_, name), n)| ((*name).to_owned(), Value::Number(n))).collect();
    Counter "musig_sessions_proposed_total" { "role" }
        "Sessions proposed, by whom: this node (proposer) or another signer (signer)."
        = |it| by([("proposer", it.protocol.proposed), ("signer", it.protocol.received)]);
    Counter "musig_sessions_completed_total"
        "Sessions whose signatures were completed."
        = |it| one(it.protocol.completed);
    Counter "musig_sessions_ended_total" { "outcome" }
        "Sessions that ended, by outcome; one that is closed is counted again as closed."
        = |it| {
            let ended = it.protocol.ended;
            by([
                ("confirmed", ended.confirmed),
                ("conflict", ended.conflicted),
                ("notified", ended.notified),
                ("failed", ended.failed),
                ("aborted", ended.aborted),
                ("declined", ended.declined),
                ("expired", ended.expired),
                ("closed", ended.closed),
            ])
        };
    Counter "musig_session_stalls_total"
        "Times that a session made no progress for a while."
        = |it| one(it.protocol.stalls);
    Counter "musig_session_restarts_total"
        "Restarts by any signer, each of which began a new attempt."
        = |it| one(it.protocol.restarts);
    Counter "musig_failover_sessions_total"
        "Watches in which a turn after the coordinator's opened; after a lost transaction a new watch begins."
        = |it| one(it.protocol.failovers);
    Counter "musig_failover_turns_total" { "cause" }
        "Turns after the coordinator's that opened: at their time, or early because those before were gone, said that they cannot broadcast, did not say that they hold the signatures or broke the protocol, or the transaction was not seen within this node's pace."
        = |it| {
            let turns = it.protocol.turns;
            by([
                ("timeout", turns.timeout),
                ("nack", turns.nack),
                ("rejected", turns.rejected),
                ("gone", turns.gone),
                ("not_holding", turns.not_holding),
                ("pace", turns.pace),
                ("guilty", turns.guilty),
            ])
        };
    Counter "musig_failover_own_turns_total"
        "Turns after the coordinator's that opened and were this node's own."
        = |it| one(it.protocol.own_turns);
    Counter "musig_failover_exhaustions_total"
        "Watches in which all turns passed without a broadcast that was seen."
        = |it| one(it.protocol.exhaustions);
    Counter "musig_broadcasts_total" { "signer" }
        "Sessions in which a signer, this one included, claimed to have broadcast."
        = |it| by_signer(&it.protocol, |counted| counted.broadcasts);
    Counter "musig_coordinator_failures_total" { "signer" }
        "Sessions in which the whole broadcast timeout of another signer's turn passed, and this node's observer saw the transaction after that. A turn that was passed over early is not counted."
        = |it| by_signer(&it.protocol, |counted| counted.failures);
    Gauge "musig_clock_offset_seconds" { "signer" }
        "Difference between a signer's clock and this node's in whole seconds, whichever is ahead."
        = |it| by_signer(&it.protocol, |counted| counted.clock_offset);
    Counter "musig_submissions_total" { "outcome" }
        "Answers of this node's broadcaster."
        = |it| {
            let answers = it.protocol.submissions;
            by([
                ("accepted", answers.accepted),
                ("rejected", answers.rejected),
                ("not_final", answers.not_final),
                ("unreachable", answers.unreachable),
            ])
        };
    Gauge "musig_chain_congested"
        "1 while the observer says that the chain is congested, so that the pace is stretched; else 0."
        = |it| one(it.congested.into());
    Counter "musig_refused_total" { "reason" }
        "Input of others that was refused."
        = |it| {
            let refused = it.metrics.refused;
            by([
                ("malformed", refused.malformed),
                ("signature", refused.signatures),
                ("stranger", refused.strangers),
                ("proposal", refused.proposals),
            ])
        };
    Gauge "musig_peers"
        "Signers that are connected."
        = |it| one(it.peers);
    Counter "musig_dials_total" { "result" }
        "Dials that ended, by result."
        = |it| {
            let network = it.metrics.network;
            by([("connected", network.dials_connected), ("failed", network.dial_failures)])
        };
    Counter "musig_bytes_total" { "direction" }
        "Bytes of session frames."
        = |it| by([("in", it.metrics.network.bytes_in), ("out", it.metrics.network.bytes_out)]);
    Counter "musig_frames_total" { "direction" }
        "Session frames."
        = |it| by([("in", it.metrics.network.frames_in), ("out", it.metrics.network.frames_out)]);
    Counter "musig_dropped_total" { "what" }
        "What was dropped from full queues: frames to peers, and notices to the application."
        = |it| by([("frames", it.metrics.network.dropped), ("notices", it.metrics.notices_dropped)]);
    Counter "musig_peer_violations_total"
        "Times that a peer broke the network protocol."
        = |it| one(it.metrics.network.violations);
    Counter "musig_peer_bans_total"
        "Peers that were banned."
        = |it| one(it.metrics.network.bans);
    Gauge "musig_events_waiting"
        "Events that wait for the application."
        = |it| one(it.metrics.events_waiting as u64);
    Gauge "musig_store_waiting_bytes"
        "Bytes that wait for their commit."
        = |it| one(it.metrics.store.waiting_bytes);
    Gauge "musig_store_size_bytes"
        "Size of the store's file; 0 for a store without one."
        = |it| one(it.store_bytes);
    Counter "musig_store_commits_total" { "synced" }
        "Commits of the store, by whether they were synced to the disk."
        = |it| {
            let StoreCounters { commits, syncs, .. } = it.metrics.store;
            by([("yes", syncs), ("no", commits.saturating_sub(syncs))])
        };
    Counter "musig_store_failures_total"
        "Calls of the store that failed."
        = |it| one(it.metrics.store.failures);
    Histogram "musig_signing_seconds"
        "Time from the last signer's consent to the complete signatures."
        = |it| times(&it.signing);
    Histogram "musig_first_broadcast_seconds"
        "Time from the complete signatures to the first sign of a broadcast: own submission, claim, or sight of it."
        = |it| times(&it.first_broadcast);
    Histogram "musig_submit_to_seen_seconds"
        "Time from this node's first submission until its observer saw the transaction."
        = |it| times(&it.seen);
    Histogram "musig_submission_seconds"
        "Time that calls of the broadcaster took."
        = |it| times(&it.submission);
    Histogram "musig_store_commit_seconds"
        "Time that commits of the store took."
        = |it| times(&it.commit);
}

/// All metrics of a node: one table, from which samples, texts and the documentation are made.
pub fn families() -> &'static [MetricFamily] {
    let untold = if mutation::on(Mutation::MetricsUntold) { FAMILIES.len() / 2 } else { 0 };
    &FAMILIES[untold..]
}

impl MetricFamily {
    fn sample(&self, label: String, value: Value) -> MetricSample {
        let value = match (value, self.kind) {
            (Value::Number(number), MetricKind::Gauge) => MetricValue::Gauge(number),
            (Value::Number(number), _) => MetricValue::Counter(number),
            (Value::Histogram(times), _) => {
                MetricValue::Histogram { buckets: times.cumulative(), sum: times.sum() }
            }
        };
        let labels = self.label.map(|name| (name, label)).into_iter().collect();
        MetricSample { name: self.name, labels, value }
    }
}

impl Snapshot {
    /// The samples of all metrics, in the order of the table.
    pub(crate) fn samples(&self) -> Vec<MetricSample> {
        let series = |family: &'static MetricFamily| {
            (family.read)(self).into_iter().map(|(label, value)| family.sample(label, value))
        };
        FAMILIES.iter().flat_map(series).collect()
    }
}

/// The text of samples, which are in the order of the table.
pub(crate) fn encode(samples: Vec<MetricSample>, format: MetricsFormat) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Samples(samples)));
    let mut out = String::new();
    let result = match format {
        MetricsFormat::Prometheus => prometheus_text::encode(&mut out, &registry),
        MetricsFormat::OpenMetrics => text::encode(&mut out, &registry),
    };
    result.expect("a text grows");
    out
}

#[derive(Debug)]
struct Samples(Vec<MetricSample>);

#[derive(Debug)]
struct Labels<'a>(&'a [(&'static str, String)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in FAMILIES {
            let kind = match family.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Histogram => MetricType::Histogram,
            };
            // The encoder adds it again.
            let name = family.name.strip_suffix("_total").unwrap_or(family.name);
            let mut metric = encoder.encode_descriptor(name, family.help, None, kind)?;
            for sample in self.0.iter().filter(|sample| sample.name == family.name) {
                match &sample.labels[..] {
                    [] => value(&mut metric, &sample.value)?,
                    labels => {
                        let labels = Labels(labels);
                        value(&mut metric.encode_family(&labels)?, &sample.value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn value(encoder: &mut MetricEncoder<'_>, value: &MetricValue) -> fmt::Result {
    match value {
        MetricValue::Counter(number) => encoder.encode_counter::<NoLabelSet, u64, f64>(number, None),
        MetricValue::Gauge(number) => encoder.encode_gauge(number),
        MetricValue::Histogram { buckets, sum } => {
            let count = buckets.last().map_or(0, |(_, count)| *count);
            // It adds them up itself.
            let single = buckets
                .iter()
                .scan(0, |before, (bound, count)| Some((*bound, count - std::mem::replace(before, *count))));
            encoder.encode_histogram::<NoLabelSet>(*sum, count, &single.collect::<Vec<_>>(), None)
        }
    }
}
