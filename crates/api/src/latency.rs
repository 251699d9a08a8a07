//! A latency distribution reduced to what people ask for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Quantiles over the most recent measurements; quantiles are absent while `count` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatencySummary {
    /// How many were measured since the daemon started.
    pub count: u64,
    /// Median of the recent ones.
    pub p50: Option<f64>,
    /// 99th percentile of the recent ones.
    pub p99: Option<f64>,
    /// Largest of the recent ones.
    pub max: Option<f64>,
}
