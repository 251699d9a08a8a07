//! `GET /api/v1/workloads/{id}/forecast`: the distribution of demand, step by step.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Trust;

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
}
