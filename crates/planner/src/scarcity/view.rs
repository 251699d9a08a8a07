//! Nodes as the API, the linter and tests see them.

use super::cluster::Cluster;
use super::inventory::NodePolicy;
use super::node::Node;
use super::resources::Resources;

/// The state of one node.
#[derive(Debug, Clone)]
pub struct NodeView<'a> {
    /// Its policy.
    pub policy: &'a NodePolicy,
    /// It is there and healthy.
    pub up: bool,
    /// Promised to the instances on it, those on their way in or out included.
    pub used: Resources,
    /// The part of it that nobody put there: it was found on it, or what is on it has come to need it.
    pub adopted: Resources,
    /// Instances on it.
    pub instances: u32,
    cluster: &'a Cluster,
    node: &'a Node,
}

impl NodeView<'_> {
    /// The cores that all that is on it will hardly exceed in the coming day: the 99 % quantile of the sum. Computed anew.
    pub fn forecast_peak(&self) -> f64 {
        self.node.load_without(&self.cluster.members, None).peak()
    }
}

impl Cluster {
    pub(crate) fn views(&self) -> Vec<NodeView<'_>> {
        let view = |node| {
            let Node { policy, up, used, adopted, outgrown, on, .. }: &Node = node;
            let instances = on.values().sum();
            NodeView {
                policy,
                up: *up,
                used: *used,
                adopted: adopted.plus(*outgrown),
                instances,
                cluster: self,
                node,
            }
        };
        self.nodes.iter().map(view).collect()
    }
}
