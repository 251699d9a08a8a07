//! `GET /api/v1/workloads/{id}/explain`: what was seen, forecast, decided and refused at a time, and what reacting alone would
//! have done.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Mode, Plan, Reason, ShiftStep};

/// A decision explained. The plan's own fields are beside the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The plan in force at that time: what was decided, from what, and why.
    #[serde(flatten)]
    pub plan: Plan,
    /// The time that is explained; `at_ms` is when the plan was made.
    pub explained_at_ms: i64,
    /// Unit of demand, for example `requests/s`.
    pub unit: String,
    /// Whether plans are carried out, as configured now.
    pub mode: Mode,
    /// What was seen in the step that contains the time, or in the last one before it; absent where none is recorded near
    /// it.
    pub seen: Option<Seen>,
    /// What of the plan was not done, or not in full, and why.
    pub refused: Vec<Reason>,
    /// The steps by which traffic was shifted to new instances in the last minutes before that time, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shifts: Vec<ShiftStep>,
    /// What reacting alone would have done; absent for plans of earlier versions.
    pub reaction: Option<ReactionExplained>,
    /// All of it in plain sentences, in the order of reading.
    pub sentences: Vec<Sentence>,
}

/// One sentence of an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sentence {
    /// What it is about: `seen`, `forecast`, `announced`, `decided`, `why`, `refused`, `trouble`, `shift`, `raise` or
    /// `without_forecast`.
    pub about: String,
    /// The sentence.
    pub text: String,
}

/// One observed step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Seen {
    /// Its beginning.
    pub step_at_ms: i64,
    /// Demand of it; absent where the signal was missing.
    pub demand: Option<f64>,
    /// The part of it that found no capacity.
    pub missed: Option<f64>,
    /// Active instances at its end.
    pub active_instances: Option<f64>,
    /// Standby instances at its end.
    pub standby_instances: Option<f64>,
    /// What had been forecast for this step one cold start before it, without overrides: the 0.05 quantile,
    pub forecast_low: Option<f64>,
    /// the median,
    pub forecast_median: Option<f64>,
    /// and the 0.95 quantile.
    pub forecast_high: Option<f64>,
}

/// What reacting alone would have done: the same demand, a fixed target utilisation, each further instance from a cold start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReactionExplained {
    /// Where it would have been at the time.
    #[serde(flatten)]
    pub then: Reaction,
    /// The next order that it would have given, at the time or after it; absent where there is none up to now, or within
    /// the time looked at.
    pub order: Option<ReactionOrder>,
    /// What would have been missed from that order (or, without one, from the time) until it would have been ready.
    pub cost: Option<ReactionCost>,
}

/// Where a fleet that only reacts would be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reaction {
    /// Share of the active capacity that it aims to use.
    pub utilisation: f64,
    /// Active instances that it would want.
    pub wanted: u32,
    /// Active instances that it would have.
    pub ready: u32,
    /// Instances on their way.
    pub ordered: Vec<ReactionOrder>,
    /// Demand since the daemon started, in unit-steps.
    pub demand_so_far: f64,
    /// The part of it that reacting alone would have missed.
    pub missed_so_far: f64,
    /// The part of it that was missed in truth.
    pub missed_so_far_truly: f64,
}

/// Instances ordered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReactionOrder {
    /// How many.
    pub instances: u32,
    /// When they would have been ordered.
    pub ordered_at_ms: i64,
    /// When they would have been ready, with the lead time known then.
    pub ready_at_ms: i64,
}

/// Demand of a stretch of time, and what of it was missed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReactionCost {
    /// Beginning of its first step.
    pub from_ms: i64,
    /// End of its last step.
    pub to_ms: i64,
    /// Demand, in unit-steps.
    pub demand: f64,
    /// The part of it that reacting alone would have missed.
    pub missed: f64,
    /// The part of it that was missed in truth.
    pub missed_truly: f64,
}
