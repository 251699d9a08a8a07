//! `GET /api/v1/workloads/{id}/plan` and `/plans`: what was decided, from what, and why.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Reaction;

/// Whether the planner relies on the forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trust {
    /// False: the plan follows observed demand with a widened pool.
    pub trusted: bool,
    /// One plain sentence: why.
    pub sentence: String,
    /// Share of recent observations inside their 90 % interval; absent where it was not judged.
    pub coverage: Option<f64>,
    /// Recent gain over repeating the last value: 0.2 is a fifth better; absent where it was not judged.
    pub skill: Option<f64>,
}

/// One rule that shaped the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// Stable machine name of the rule, for example `active_quantile`, `reactive_floor`.
    pub rule: String,
    /// One plain sentence with the numbers.
    pub sentence: String,
}

/// The numbers a plan was made from, in the workload's unit of demand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanInputs {
    /// Demand observed last; absent while no signal has come.
    pub demand_now: Option<f64>,
    /// Demand the reactive floor covers.
    pub floor: f64,
    /// Quantile level used for active instances.
    pub q_active: f64,
    /// Quantile level used for active and standby together.
    pub q_standby: f64,
    /// Steps that the active decision covers.
    pub window_active_steps: u32,
    /// Steps that the standby decision covers.
    pub window_standby_steps: u32,
    /// Largest demand expected in the active window at `q_active`; absent without a forecast.
    pub forecast_active: Option<f64>,
    /// Largest demand expected in the standby window at `q_standby`; absent without a forecast.
    pub forecast_total: Option<f64>,
    /// Demand one instance serves within the objective.
    pub capacity: f64,
    /// Share of the active capacity from which on one more instance is wanted; absent without such a threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone_threshold: Option<f64>,
}

/// What one instance may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Size {
    /// Processor time, in cores.
    pub cpu_cores: f64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// One complete decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Workload name.
    pub workload: String,
    /// Counts up by one with each plan of the workload.
    pub generation: u64,
    /// When it was decided.
    pub at_ms: i64,
    /// Active instances wanted.
    pub active_wanted: u32,
    /// Standby instances wanted.
    pub standby_wanted: u32,
    /// How large each instance shall be; absent where instances keep the size of their configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Why the plan changed: `forecast`, `demand`, `objective`, `schedule`, `operator`, `failure`.
    pub trigger: String,
    /// Whether the forecast was relied on.
    pub trust: Trust,
    /// What it was decided from.
    pub inputs: PlanInputs,
    /// Why, most binding first.
    pub reasons: Vec<Reason>,
    /// Where the workload would have been if it only reacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_forecast: Option<Reaction>,
}

/// A page of plans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plans {
    /// Newest first.
    pub plans: Vec<Plan>,
}
