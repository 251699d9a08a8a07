//! What the rest of the daemon may know about the control loop: one immutable snapshot, swapped as a whole.

use std::sync::Arc;

use forecast::Ensemble;
use proxy::control::WorkloadStats;

use crate::config::WorkloadConfig;

/// The state at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) proxy: api::ProxyStatus,
    /// Problems of the control loop; those of the history are added when they are asked for.
    pub(crate) problems: Vec<api::Problem>,
    pub(crate) workloads: Vec<WorkloadState>,
    pub(crate) nodes: Vec<api::Node>,
    pub(crate) training: api::Training,
}

/// One workload at that moment.
#[derive(Debug)]
pub(crate) struct WorkloadState {
    pub(crate) config: Arc<WorkloadConfig>,
    pub(crate) detail: api::WorkloadDetail,
    /// What its requests cost, where they are admitted by that.
    pub(crate) costs: Vec<api::RequestCost>,
    /// What its cache did, if it has one.
    pub(crate) cache: Option<proxy::control::CacheStats>,
    /// Its requests as the proxy counted them last.
    pub(crate) counted: Option<Arc<WorkloadStats>>,
    /// As it was after the last step.
    pub(crate) forecaster: Arc<Ensemble>,
}

impl View {
    pub(crate) fn workload(&self, name: &str) -> Option<&WorkloadState> {
        self.workloads.iter().find(|workload| workload.config.name == name)
    }
}
