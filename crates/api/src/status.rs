//! `GET /api/v1/status`: the daemon at a glance.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Node, Training, WorkloadSummary};

/// Something an operator should know now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Stable machine name, for example `history_full`, `proxy_unreachable`.
    pub kind: String,
    /// Since when.
    pub since_ms: i64,
    /// One plain sentence.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// State of the data plane as the daemon sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProxyStatus {
    /// Whether the last control request was answered.
    pub connected: bool,
    /// Process id, where known.
    pub pid: Option<u32>,
    /// Generation of the route table in force.
    pub generation: u64,
    /// How often the daemon started a proxy anew because the old one was gone.
    pub restarts: u64,
}

/// Whether history takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryState {
    /// Writes are durable.
    Ok,
    /// The disk is full: writes are dropped, serving goes on.
    Full,
    /// Writes fail for another reason: they are dropped, serving goes on.
    Failing,
}

/// State of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryStatus {
    /// Whether it takes writes.
    pub state: HistoryState,
    /// The last failure, while it lasts.
    pub detail: Option<String>,
    /// Records written since start.
    pub records_written: u64,
    /// Records dropped since start.
    pub records_dropped: u64,
}

/// The daemon at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// The daemon's clock.
    pub now_ms: i64,
    /// When the daemon started.
    pub started_at_ms: i64,
    /// The data plane.
    pub proxy: ProxyStatus,
    /// The history.
    pub history: HistoryStatus,
    /// What needs attention; empty when all is well.
    pub problems: Vec<Problem>,
    /// Each workload in brief.
    pub workloads: Vec<WorkloadSummary>,
    /// What they run on; empty where no nodes are given.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// Whether models are trained.
    #[serde(default)]
    pub training: Training,
}
