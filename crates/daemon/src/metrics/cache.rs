//! What the caches of workloads did, for those that have one.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use proxy::control::CacheStats;

use super::of;
use crate::view::View;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    workload: String,
    outcome: &'static str,
}

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let caches = || view.workloads.iter().filter_map(|w| Some((w.config.name.as_str(), w.cache.as_ref()?)));
    let help = "Requests by what the cache did: hit, stale and collapsed ones were not seen by an instance";
    let mut metric = encoder.encode_descriptor("cache_requests", help, None, MetricType::Counter)?;
    for (workload, cache) in caches() {
        for (outcome, count) in [
            ("hit", cache.hits),
            ("stale", cache.stale),
            ("collapsed", cache.collapsed),
            ("miss", cache.misses),
            ("revalidated", cache.revalidated),
            ("rescued", cache.rescued),
            ("bypassed", cache.bypassed),
            ("refresh", cache.refreshes),
        ] {
            let labels = Outcome { workload: workload.to_owned(), outcome };
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, f64>(&(count as f64), None)?;
        }
    }
    let help = "Responses that had to make room for others";
    let mut metric = encoder.encode_descriptor("cache_evictions", help, None, MetricType::Counter)?;
    for (workload, cache) in caches() {
        let evictions = cache.evictions as f64;
        metric.encode_family(&of(workload))?.encode_counter::<NoLabelSet, f64, f64>(&evictions, None)?;
    }
    type Read = fn(&CacheStats) -> Option<f64>;
    let gauges: [(&str, &str, Read); 3] = [
        ("cache_bytes", "Bytes that the cache takes", |cache| Some(cache.bytes as f64)),
        ("cache_entries", "Addresses that the cache knows", |cache| Some(cache.entries as f64)),
        (
            "cache_hit_ratio",
            "Share of the cache's requests that no instance saw, since the proxy started",
            |cache| cache.hit_rate(),
        ),
    ];
    for (name, help, read) in gauges {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (workload, cache) in caches() {
            if let Some(value) = read(cache) {
                metric.encode_family(&of(workload))?.encode_gauge(&value)?;
            }
        }
    }
    Ok(())
}
