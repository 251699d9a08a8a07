//! `/api/v1/workloads/{id}/requests`: single requests and what they cost.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request that was admitted by its predicted cost and is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RequestSample {
    /// When it was over, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The endpoint that it fits, or its method.
    pub endpoint: String,
    /// Its class: index into the configured ones.
    pub class: u8,
    /// As `numbers` of the configuration; null where not known.
    pub numbers: Vec<Option<f64>>,
    /// As `names` of the configuration; empty where not known.
    pub names: Vec<String>,
    /// What was reserved for it, as `costs` of the configuration.
    pub reserved: Vec<f64>,
    /// What it has cost; null where not known.
    pub measured: Vec<Option<f64>>,
    /// How long it waited for capacity.
    pub waited_ms: f64,
    /// Id of the instance that served it.
    pub instance: u64,
}

/// One cost of a workload's requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RequestCost {
    /// Its name.
    pub name: String,
    /// How much of it an instance has.
    pub per_instance: f64,
    /// Reserved now, over all instances.
    pub reserved: f64,
    /// Wanted now by requests that wait.
    pub waiting: f64,
    /// Expected of all requests that came since the proxy started.
    pub arrived: f64,
    /// Expected of those that were measured since.
    pub expected: f64,
    /// What these have cost.
    pub measured: f64,
    /// Reservations, of any cost, that were raised while their request ran.
    pub outgrown: u64,
    /// Requests sent away at once because their turn would have come too late.
    pub hopeless: u64,
}

/// Costs of a workload's requests, and the newest of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Requests {
    /// The workload.
    pub workload: String,
    /// Names of the costs, in the order of `reserved` and `measured`.
    pub costs: Vec<RequestCost>,
    /// What `numbers` are.
    pub numbers: Vec<String>,
    /// What `names` are.
    pub names: Vec<String>,
    /// What classes are called; empty: all are alike.
    pub classes: Vec<String>,
    /// The newest requests that were kept, newest first.
    pub requests: Vec<RequestSample>,
}
