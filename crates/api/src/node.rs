//! Nodes, and how workloads share them. Part of `GET /api/v1/status` and `/api/v1/workloads`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A machine that instances run on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Name.
    pub name: String,
    /// It is there: its instances count, and it may get more.
    pub up: bool,
    /// Whether it can be reached, where it has an engine of containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<NodeHealth>,
    /// Why its engine does not answer; absent while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_because: Option<String>,
    /// What sort of machine it is; may be empty.
    pub kind: String,
    /// Rack or zone; may be empty.
    pub place: String,
    /// Price per hour, relative to other nodes.
    pub price: f64,
    /// Kept free for bottlenecks.
    pub spare: bool,
    /// Cores that instances may have.
    pub cores: f64,
    /// Memory that instances may have.
    pub memory_bytes: u64,
    /// Cores promised to the instances on it.
    pub cores_promised: f64,
    /// Memory promised to the instances on it.
    pub memory_promised_bytes: u64,
    /// Instances on it, those on their way in or out included.
    pub instances: u32,
    /// Cores that their use will hardly exceed in the coming day (99 % quantile of the sum).
    pub forecast_peak_cores: f64,
}

/// Whether a node can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeHealth {
    /// Its engine answers.
    Up,
    /// Its engine is silent, and instances on it serve on: nothing is started, stopped or changed there.
    Silent,
    /// Engine and instances are silent, or it has not been back for long enough: what ran there is replaced elsewhere.
    Lost,
}

/// A workload's place among the others on the same nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sharing {
    /// Priority class; the higher is served first.
    pub priority: u8,
    /// To whom it belongs.
    pub tenant: Option<String>,
    /// Workloads with the same number have forecast days that look alike; absent without a daily pattern.
    pub group: Option<u32>,
    /// Instances granted, active and standby together.
    pub granted: u32,
    /// Instances that the last plan asked for beyond those.
    pub refused: u32,
}
