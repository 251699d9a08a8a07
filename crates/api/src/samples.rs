//! `POST /api/v1/workloads/{id}/samples`: demand pushed from outside, for a workload with `demand = "push"`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Demand of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushedSample {
    /// Beginning of the step.
    pub at_ms: i64,
    /// Demand in the workload's unit, finite and not negative; `null`: known to be missing.
    pub demand: Option<f64>,
    /// Demand of this step that found no capacity; absent: not known.
    #[serde(default)]
    pub missed: Option<f64>,
}

/// Samples in ascending order, at most one for each step, all later than those sent before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplesRequest {
    /// The samples.
    pub samples: Vec<PushedSample>,
}

/// What was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SamplesAccepted {
    /// How many samples were taken: all of them, or the request was refused as a whole.
    pub accepted: u64,
    /// Beginning of the latest step.
    pub last_at_ms: i64,
}
