//! The metrics of a node.

use std::ffi::{CString, c_char};

use super::boundary::choice;
use super::bytes::musig_bytes;
use super::enums::{Enumeration, musig_metric_kind, musig_metrics_format};
use super::error::musig_error;
use super::failure::Failure;
use super::handle::{add_reference, release};
use super::node::musig_node;
use super::status::musig_status;
use crate::mutation::{self, Mutation};
use crate::node::{MetricSample, MetricValue};

/// Metrics of a node. Counters start at zero with the node.
#[repr(C)]
pub struct musig_metrics {
    /// sizeof(musig_metrics); the caller sets it.
    pub struct_size: u32,
    /// 1 if the node failed with an internal error.
    pub failed: i32,
    /// Sessions, including closed ones.
    pub sessions: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Messages and calls that were refused.
    pub refused: u64,
    /// Store commits.
    pub commits: u64,
    /// Store commits that were synced.
    pub syncs: u64,
    /// Store operations that failed.
    pub store_failures: u64,
    /// Bytes received from peers.
    pub bytes_in: u64,
    /// Bytes sent to peers.
    pub bytes_out: u64,
    /// Events waiting for the application.
    pub events_waiting: u64,
    /// Notices dropped because the application did not take them in time.
    pub notices_dropped: u64,
}

/// Gets the metrics of a node.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; statuses of the node.
/// In:      node: the node.
/// Out:     out: the values. Set its struct_size before the call.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_metrics(
    node: *const musig_node,
    out: *mut musig_metrics,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node).node()?, out!(sized out));
        let metrics = node.metrics().wait()?;
        out.set(musig_metrics {
            struct_size: size_of::<musig_metrics>() as u32,
            failed: node.failed().into(),
            sessions: metrics.sessions as u64,
            frames_sent: metrics.frames_sent,
            refused: metrics.refused.total(),
            commits: metrics.store.commits,
            syncs: metrics.store.syncs,
            store_failures: metrics.store.failures,
            bytes_in: metrics.network.bytes_in,
            bytes_out: metrics.network.bytes_out,
            events_waiting: metrics.events_waiting as u64,
            notices_dropped: metrics.notices_dropped,
        });
        Ok(())
    })
}

/// Samples of all metrics of a node, taken at one moment. Immutable.
pub struct musig_metric_samples {
    samples: Vec<Owned>,
}

/// A bucket of a metric's histogram.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_metric_bucket {
    /// The longest duration that is in it, in seconds; infinite for the last one.
    pub upper_bound: f64,
    /// Number of durations up to it, those of the buckets before included.
    pub count: u64,
}

/// A sample of a metric. Pointers are valid as long as the samples it came from.
#[repr(C)]
pub struct musig_metric_sample {
    /// sizeof(musig_metric_sample); the caller sets it.
    pub struct_size: u32,
    /// A musig_metric_kind.
    pub kind: i32,
    /// The metric's name, such as "musig_sessions_completed_total".
    pub name: *const c_char,
    /// The name of the label that tells series of one metric apart; NULL if there is one series.
    pub label: *const c_char,
    /// The value of that label; NULL without one.
    pub label_value: *const c_char,
    /// The value; with MUSIG_METRIC_HISTOGRAM the number of durations.
    pub value: u64,
    /// With MUSIG_METRIC_HISTOGRAM: the sum of the durations in seconds, else 0.
    pub sum: f64,
    /// With MUSIG_METRIC_HISTOGRAM: the buckets, by their bounds; else NULL.
    pub buckets: *const musig_metric_bucket,
    /// Number of buckets.
    pub buckets_count: u32,
}

struct Owned {
    kind: musig_metric_kind,
    name: CString,
    label: Option<(CString, CString)>,
    value: u64,
    sum: f64,
    buckets: Vec<musig_metric_bucket>,
}

fn owned(sample: MetricSample) -> Owned {
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let labels = sample.labels.first().filter(|_| !mutation::on(Mutation::SamplesWithoutLabel));
    let label = labels.map(|(name, value)| (text(name), text(value)));
    let (kind, value, sum, buckets) = match sample.value {
        MetricValue::Counter(value) => (musig_metric_kind::COUNTER, value, 0.0, Vec::new()),
        MetricValue::Gauge(value) => (musig_metric_kind::GAUGE, value, 0.0, Vec::new()),
        MetricValue::Histogram { buckets, sum } => {
            let count = buckets.last().map_or(0, |(_, count)| *count);
            let buckets = buckets.into_iter();
            let buckets = buckets.map(|(upper_bound, count)| musig_metric_bucket { upper_bound, count });
            (musig_metric_kind::HISTOGRAM, count, sum, buckets.collect())
        }
    };
    Owned { kind, name: text(sample.name), label, value, sum, buckets }
}

/// Takes samples of all metrics of a node, for any monitoring system.
///
/// Every series exists from the start, at zero.
///
/// Returns: MUSIG_STATUS_OK; statuses of the node.
/// In:      node: the node.
/// Out:     out: the samples; release them with musig_metric_samples_free.
/// Blocks:  until the node has answered.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_metric_samples(
    node: *const musig_node,
    out: *mut *mut musig_metric_samples,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node).node()?, out!(out));
        let samples = node.metric_samples().wait()?;
        out.give(musig_metric_samples { samples: samples.into_iter().map(owned).collect() });
        Ok(())
    })
}

/// Writes all metrics of a node as text, for Prometheus and what reads its formats.
///
/// The library opens no socket for it: serve the text, or write it into a file.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if format is not one of its values; statuses of the node.
/// In:      node: the node.
/// Out:     out: the text; release it with musig_bytes_free.
/// In:      format: a musig_metrics_format.
/// Blocks:  until the node has answered.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_metrics_text(
    node: *const musig_node,
    out: *mut *mut musig_bytes,
    format: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node).node()?, out!(out));
        let format = choice::<musig_metrics_format>(format, "format")?;
        out.give(musig_bytes::text(&node.metrics_text(format.into()).wait()?));
        Ok(())
    })
}

/// Counts samples.
///
/// Returns: the number of samples; 0 for NULL.
/// In:      samples: the samples.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_metric_samples_count(samples: *const musig_metric_samples) -> u32 {
    // SAFETY: the header asks for samples or NULL.
    let samples = unsafe { samples.as_ref() };
    samples.map_or(0, |samples| samples.samples.len() as u32)
}

/// Gets a sample.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INDEX_OUT_OF_RANGE if there is no such sample.
/// In:      samples: the samples.
/// Out:     out: the sample. Set its struct_size before the call.
/// In:      index: the sample's position, from 0. Samples of one metric follow one another.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_metric_samples_get(
    samples: *const musig_metric_samples,
    out: *mut musig_metric_sample,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (samples, out) = (&get!(samples).samples, out!(sized out));
        let sample =
            samples.get(index as usize).ok_or_else(|| Failure::no_such("sample", index, samples.len()))?;
        let text = |text: &CString| text.as_ptr();
        out.set(musig_metric_sample {
            struct_size: size_of::<musig_metric_sample>() as u32,
            kind: sample.kind.number(),
            name: text(&sample.name),
            label: sample.label.as_ref().map_or(std::ptr::null(), |(name, _)| text(name)),
            label_value: sample.label.as_ref().map_or(std::ptr::null(), |(_, value)| text(value)),
            value: sample.value,
            sum: sample.sum,
            buckets: if sample.buckets.is_empty() { std::ptr::null() } else { sample.buckets.as_ptr() },
            buckets_count: sample.buckets.len() as u32,
        });
        Ok(())
    })
}

/// Adds a reference to samples.
///
/// Returns: the same pointer.
/// In:      samples: the samples; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_metric_samples_ref(
    samples: *mut musig_metric_samples,
) -> *mut musig_metric_samples {
    // SAFETY: the header asks for samples with a reference, or NULL.
    unsafe { add_reference(samples) }
}

/// Releases a reference to samples; the last one frees them.
///
/// In:      samples: the samples; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_metric_samples_free(samples: *mut musig_metric_samples) {
    // SAFETY: the header asks for samples with a reference, or NULL.
    unsafe { release(samples) }
}
