//! `GET /api/v1/workloads/{id}/forecast`: the distribution of demand, step by step; `/metrics/{metric}/forecast`: the same of
//! any other series; `/levels`: when demand exceeds what the instances serve.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ForecastOverride, Trust};

/// Quantile paths of demand, or of another metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// Workload name.
    pub workload: String,
    /// What is forecast, where it is a metric that was asked for by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<ForecastMetric>,
    /// Unit of demand, for example `requests/s`; of another metric its name tells, and this is empty.
    pub unit: String,
    /// When the forecast was made (end of the last observed step).
    pub issued_at_ms: i64,
    /// Length of a step.
    pub step_ms: u64,
    /// Who takes part in it: the version of the online core, then the models combined with it, such as
    /// `online-3+boosted+arima`.
    pub model: String,
    /// Whether the planner relies on it: whether its first steps may be relied upon.
    pub trust: Trust,
    /// Whether it may be relied upon by how far ahead it looks, the nearest first: each entry holds until the next begins.
    #[serde(default)]
    pub trust_ahead: Vec<TrustFrom>,
    /// Beginning of each forecast step.
    pub timestamps_ms: Vec<i64>,
    /// The quantile levels, ascending, one for each row of `columns`.
    pub quantiles: Vec<f64>,
    /// `columns[q][h]`: level `quantiles[q]` at `timestamps_ms[h]`.
    pub columns: Vec<Vec<f64>>,
    /// What the steps from the first to each come to, as asked for.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Paths drawn from the joint distribution of all steps: `paths[i][h]` at `timestamps_ms[h]`.
    #[serde(default)]
    pub paths: Vec<Vec<f64>>,
    /// The overrides that are in all of it, in the order in which they are applied.
    #[serde(default)]
    pub overrides: Vec<ForecastOverride>,
}

/// Whether a forecast may be relied upon from some step on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrustFrom {
    /// Beginning of that step.
    pub from_ms: i64,
    /// What is said of it; far ahead, skill is the gain over repeating the last season, where there is one.
    pub trust: Trust,
}

/// A metric that is forecast, and from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastMetric {
    /// Its name.
    pub name: String,
    /// Labels of its series; of several, those that were asked for.
    pub labels: BTreeMap<String, String>,
    /// How several series became one: `sum`, `mean` or `max` of those that have a value in a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<String>,
    /// How many series it was made of.
    pub series: u32,
    /// Beginning of the first step that was learned from.
    pub learned_from_ms: i64,
    /// Steps with a value that were learned from.
    pub learned_steps: u64,
}

/// The largest value, or the sum, of the steps from the first to each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Window {
    /// `max` or `sum`.
    pub of: String,
    /// `columns[q][h]`: level `quantiles[q]` of the window that ends with the step at `timestamps_ms[h]`. Sums are of demand per
    /// step.
    pub columns: Vec<Vec<f64>>,
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
