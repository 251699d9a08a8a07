//! What was shed, for workloads that shed.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::of;
use crate::view::View;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClass {
    workload: String,
    class: String,
}

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let shedding = || {
        view.workloads
            .iter()
            .filter_map(|w| Some((w.config.name.as_str(), w.counted.as_ref()?.shedding.as_ref()?)))
    };
    let help = "Requests sent away for want of capacity, by class";
    let mut metric = encoder.encode_descriptor("shed_requests", help, None, MetricType::Counter)?;
    for (workload, stats) in shedding() {
        for (class, count) in &stats.shed {
            let labels = OfClass { workload: workload.to_owned(), class: class.clone() };
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, f64>(&(*count as f64), None)?;
        }
    }
    let help = "Requests at once that each instance is given";
    let mut metric = encoder.encode_descriptor("in_flight_limit", help, None, MetricType::Gauge)?;
    for (workload, stats) in shedding() {
        metric.encode_family(&of(workload))?.encode_gauge(&f64::from(stats.limit))?;
    }
    Ok(())
}
