//! `GET /api/v1/workloads/{id}/forecast`: the distribution of demand, step by step; `/levels`: when it exceeds what the
//! instances serve.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ForecastOverride, Trust};

/// Quantile paths of demand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// Workload name.
    pub workload: String,
    /// Unit of demand, for example `requests/s`.
    pub unit: String,
    /// When the forecast was made (end of the last observed step).
    pub issued_at_ms: i64,
    /// Length of a step.
    pub step_ms: u64,
    /// Version of the model that made it.
    pub model: String,
    /// Whether the planner relies on it.
    pub trust: Trust,
    /// Beginning of each forecast step.
    pub timestamps_ms: Vec<i64>,
    /// The quantile levels, ascending, one for each row of `columns`.
    pub quantiles: Vec<f64>,
    /// `columns[q][h]`: level `quantiles[q]` at `timestamps_ms[h]`.
    pub columns: Vec<Vec<f64>>,
    /// The overrides that are in `columns`, in the order in which they are applied.
    #[serde(default)]
    pub overrides: Vec<ForecastOverride>,
}

/// Levels of demand and when they are crossed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Levels {
    /// Workload name.
    pub workload: String,
    /// Unit of demand, for example `requests/s`.
    pub unit: String,
    /// When the forecast was made (end of the last observed step).
    pub issued_at_ms: i64,
    /// Length of a step.
    pub step_ms: u64,
    /// Demand one instance serves.
    pub capacity: f64,
    /// Whether the planner relies on it.
    pub trust: Trust,
    /// Beginning of each forecast step.
    pub timestamps_ms: Vec<i64>,
    /// The levels, as asked for or ascending.
    pub levels: Vec<Level>,
    /// The overrides of the forecast that the probabilities are of.
    #[serde(default)]
    pub overrides: Vec<ForecastOverride>,
}

/// A level of demand, by default one at which one more instance is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Level {
    /// The demand.
    pub demand: f64,
    /// Active instances needed above it; absent for a level that was asked for and lies on none of theirs.
    pub instances: Option<u32>,
    /// Probability that demand has exceeded it by the end of each step; never falls.
    pub crossed: Vec<f64>,
    /// Beginning of the first step by whose end it has been exceeded with a probability of 0.1; absent if there is none.
    pub possible_at_ms: Option<i64>,
    /// The same with 0.5.
    pub likely_at_ms: Option<i64>,
    /// The same with 0.9.
    pub almost_certain_at_ms: Option<i64>,
}
