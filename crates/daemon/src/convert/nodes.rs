//! Nodes and how workloads share them, in the words of the API.

use planner::{NodeView, Reason, SharingReason, Tier, WorkloadView};

use crate::nodes::Standing;

/// A node and what is on it; `health`: how it stands and why its engine is silent, where it has one.
pub(crate) fn node(node: &NodeView<'_>, health: Option<(Standing, Option<&str>)>) -> api::Node {
    let is = |(standing, _)| match standing {
        Standing::Up => api::NodeHealth::Up,
        Standing::Silent => api::NodeHealth::Silent,
        Standing::Lost => api::NodeHealth::Lost,
    };
    api::Node {
        name: node.policy.id.to_string(),
        up: node.up,
        health: health.map(is),
        silent_because: health.and_then(|(_, why)| why.map(str::to_owned)),
        kind: node.policy.kind.clone(),
        place: node.policy.place.clone(),
        price: node.policy.price,
        spare: node.policy.spare,
        cores: node.policy.size.cores(),
        memory_bytes: node.policy.size.memory,
        cores_promised: node.used.cores(),
        memory_promised_bytes: node.used.memory,
        instances: node.instances,
        forecast_peak_cores: node.forecast_peak(),
    }
}

/// The place of a workload among the others; `None` where no nodes are given.
pub(crate) fn sharing(view: &WorkloadView<'_>) -> Option<api::Sharing> {
    let (grant, plan) = (view.grant?, view.plan);
    let refused = plan.and_then(|plan| {
        plan.reasons.iter().find_map(|reason| match reason {
            Reason::Sharing(SharingReason::Refused { tier: Tier::Total, asked, granted, .. }) => {
                Some(asked - granted)
            }
            _ => None,
        })
    });
    Some(api::Sharing {
        priority: view.policy.priority,
        tenant: view.policy.tenant.clone(),
        group: view.group,
        granted: grant.total(),
        refused: refused.unwrap_or(0),
    })
}
