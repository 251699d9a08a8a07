//! Rate, errors and duration of requests: by workload, by instance and by endpoint, as the proxy counts them.
//!
//! The numbers begin anew with another proxy, as counters may; whoever reads them sees that by their getting smaller.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::CounterWithExemplar;
use prometheus_client::registry::Unit;
use proxy::control::{BackendStats, Histogram, WorkloadStats};

use super::of;
use crate::view::View;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InstanceLabels {
    workload: String,
    instance: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    workload: String,
    endpoint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    workload: String,
    endpoint: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabel {
    trace_id: String,
}

/// Everything about requests.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let all: Vec<&WorkloadStats> =
        view.workloads.iter().filter_map(|workload| workload.counted.as_deref()).collect();
    encode_workloads(encoder, &all)?;
    encode_instances(encoder, &all)?;
    encode_endpoints(encoder, &all)
}

fn encode_workloads(encoder: &mut DescriptorEncoder<'_>, all: &[&WorkloadStats]) -> fmt::Result {
    let help = "From a request's arrival to its response head, waiting included, where an instance answered";
    let histogram = MetricType::Histogram;
    let mut metric = encoder.encode_descriptor("request_duration", help, Some(&Unit::Seconds), histogram)?;
    for stats in all {
        let family = of(&stats.workload);
        let (sum, count, buckets) = buckets(&stats.latency);
        metric.encode_family(&family)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    type Read = fn(&WorkloadStats) -> u64;
    let counters: [(&str, &str, Read); 2] = [
        ("access_log_lines", "Requests written to the access log", |stats| stats.log_written),
        ("access_log_dropped", "Requests that the access log had no time or room for", |stats| {
            stats.log_dropped
        }),
    ];
    for (name, help, read) in counters {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for stats in all {
            count(metric.encode_family(&of(&stats.workload))?, read(stats))?;
        }
    }
    Ok(())
}

/// Only those that are there, and of many the first: an instance that has gone is no series any more.
fn encode_instances(encoder: &mut DescriptorEncoder<'_>, all: &[&WorkloadStats]) -> fmt::Result {
    type Read = fn(&BackendStats) -> u64;
    let counters: [(&str, &str, Read); 2] = [
        ("instance_requests", "Attempts to have an instance answer a request", |backend| backend.requests),
        ("instance_errors", "Those that ended in a 5xx, a broken connection or a timeout", |backend| {
            backend.errors
        }),
    ];
    let pairs = || {
        all.iter().flat_map(|stats| {
            stats.backends.iter().take(INSTANCES_MAX).map(|backend| {
                (InstanceLabels { workload: stats.workload.clone(), instance: backend.id }, backend)
            })
        })
    };
    for (name, help, read) in counters {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, backend) in pairs() {
            count(metric.encode_family(&labels)?, read(backend))?;
        }
    }
    let help = "Time that an instance took to its response heads; with its requests this is the mean";
    let unit = Some(&Unit::Seconds);
    let mut metric = encoder.encode_descriptor("instance_duration", help, unit, MetricType::Counter)?;
    for (labels, backend) in pairs() {
        let seconds = backend.latency.sum().as_secs_f64();
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, f64>(&seconds, None)?;
    }
    Ok(())
}

fn encode_endpoints(encoder: &mut DescriptorEncoder<'_>, all: &[&WorkloadStats]) -> fmt::Result {
    let pairs = || {
        all.iter().flat_map(|stats| {
            stats.endpoints.iter().map(|endpoint| {
                let (workload, name) = (stats.workload.clone(), endpoint.endpoint.clone());
                (EndpointLabels { workload, endpoint: name }, endpoint)
            })
        })
    };
    let help = "Requests that are over, by endpoint and the first digit of their status";
    let mut metric = encoder.encode_descriptor("endpoint_requests", help, None, MetricType::Counter)?;
    for (EndpointLabels { workload, endpoint }, stats) in pairs() {
        let unanswered = std::iter::once(("none", stats.unanswered));
        for (status, number) in STATUSES.into_iter().zip(stats.statuses).chain(unanswered) {
            if number > 0 || COMMON_STATUSES.contains(&status) {
                let labels = StatusLabels { workload: workload.clone(), endpoint: endpoint.clone(), status };
                count(metric.encode_family(&labels)?, number)?;
            }
        }
    }
    let help = "Requests of an endpoint that were answered with 5xx, or whose response broke off";
    let mut metric = encoder.encode_descriptor("endpoint_errors", help, None, MetricType::Counter)?;
    for (labels, stats) in pairs() {
        count(metric.encode_family(&labels)?, stats.errors())?;
    }
    let help = "From a request's arrival to its response head, by endpoint";
    let histogram = MetricType::Histogram;
    let mut metric = encoder.encode_descriptor("endpoint_duration", help, Some(&Unit::Seconds), histogram)?;
    for (labels, stats) in pairs() {
        let (sum, count, buckets) = buckets(&stats.latency);
        metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    let help = "Durations of an endpoint's requests in sum; the exemplar is the slowest of the last minute";
    let unit = Some(&Unit::Seconds);
    let mut metric = encoder.encode_descriptor("endpoint_time", help, unit, MetricType::Counter)?;
    for (labels, stats) in pairs() {
        let sum = stats.latency.sum().as_secs_f64();
        // The library lets nobody else make exemplars, and none of histograms whose counts it did not count.
        let slowest = CounterWithExemplar::<TraceLabel, f64, AtomicU64>::default();
        if let Some(slow) = &stats.slow {
            let (took, at) = (Duration::from_micros(slow.took_us), Duration::from_millis(slow.at));
            let label = TraceLabel { trace_id: slow.trace_id.clone() };
            slowest.inc_by(took.as_secs_f64(), Some(label), Some(UNIX_EPOCH + at));
        }
        metric.encode_family(&labels)?.encode_counter(&sum, slowest.get().1.as_ref())?;
    }
    Ok(())
}

fn count(mut metric: prometheus_client::encoding::MetricEncoder<'_>, value: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}

/// Sum, number, and the number in each bucket, not those below it. Bounds are met to the proxy's buckets, 6.25 %.
fn buckets(histogram: &Histogram) -> (f64, u64, Vec<(f64, u64)>) {
    let count = histogram.count();
    let mut below = 0;
    let mut buckets: Vec<(f64, u64)> = BOUNDS_MS
        .iter()
        .map(|&ms| {
            let up_to = count.saturating_sub(histogram.count_above(Duration::from_millis(ms)));
            let here = up_to.saturating_sub(below);
            below = below.max(up_to);
            (ms as f64 / 1e3, here)
        })
        .collect();
    buckets.push((f64::MAX, count.saturating_sub(below)));
    (histogram.sum().as_secs_f64(), count, buckets)
}

const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Shown from the beginning, so that the first of them is an increase.
const COMMON_STATUSES: [&str; 3] = ["2xx", "4xx", "5xx"];
/// Instances of one workload with series of their own.
const INSTANCES_MAX: usize = 500;
const BOUNDS_MS: [u64; 14] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_one_bucket() {
        let mut histogram = Histogram::new();
        for ms in [0, 3, 3, 70, 99, 240_000] {
            histogram.record(Duration::from_millis(ms));
        }
        let (sum, count, buckets) = buckets(&histogram);
        assert_eq!((count, buckets.iter().map(|(_, here)| here).sum::<u64>()), (6, 6));
        assert!((sum - 240.175).abs() < 1e-9);
        let filled: Vec<_> = buckets.iter().filter(|(_, here)| *here > 0).copied().collect();
        assert_eq!(filled, [(0.001, 1), (0.005, 2), (0.1, 2), (f64::MAX, 1)]);
    }
}
