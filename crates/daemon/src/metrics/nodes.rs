//! Nodes for a monitoring system.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;

use crate::view::View;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    node: String,
}

type Read = fn(&api::Node) -> f64;

/// Nothing where no nodes are given.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    if view.nodes.is_empty() {
        return Ok(());
    }
    for (name, help, read) in GAUGES {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for node in &view.nodes {
            metric.encode_family(&Label { node: node.name.clone() })?.encode_gauge(&read(node))?;
        }
    }
    Ok(())
}

const GAUGES: [(&str, &str, Read); 5] = [
    ("node_up", "1 while the node is not lost", |node| f64::from(u8::from(node.up))),
    ("node_silent", "1 while its engine does not answer", |node| {
        f64::from(u8::from(node.health.is_some_and(|health| health != api::NodeHealth::Up)))
    }),
    ("node_instances", "Instances on the node", |node| f64::from(node.instances)),
    ("node_cores", "Cores that instances may have", |node| node.cores),
    ("node_cores_promised", "Cores promised to instances", |node| node.cores_promised),
];
