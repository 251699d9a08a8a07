//! `GET /api/v1/workloads/{id}/series`: what was observed, step by step.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Columns of equal length, one entry for each step; `null` where nothing was recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Series {
    /// Workload name.
    pub workload: String,
    /// Unit of demand and capacity.
    pub unit: String,
    /// Distance between entries: the workload's step, or a multiple where the range asked for is long.
    pub step_ms: u64,
    /// Beginning of each step, ascending.
    pub timestamps_ms: Vec<i64>,
    /// Demand.
    pub demand: Vec<Option<f64>>,
    /// Median that had been forecast for this step one cold start earlier.
    pub forecast_p50: Vec<Option<f64>>,
    /// 5 % quantile that had been forecast for this step one cold start earlier.
    pub forecast_low: Vec<Option<f64>>,
    /// 95 % quantile that had been forecast for this step one cold start earlier.
    pub forecast_high: Vec<Option<f64>>,
    /// Capacity of the active instances.
    pub active_capacity: Vec<Option<f64>>,
    /// Capacity of the standby instances.
    pub standby_capacity: Vec<Option<f64>>,
    /// Active instances.
    pub active_instances: Vec<Option<f64>>,
    /// Standby instances.
    pub standby_instances: Vec<Option<f64>>,
    /// Demand that found no capacity.
    pub missed: Vec<Option<f64>>,
    /// Median latency at the proxy.
    pub latency_p50_ms: Vec<Option<f64>>,
    /// 99th percentile of latency at the proxy.
    pub latency_p99_ms: Vec<Option<f64>>,
    /// Failed requests in each second.
    pub errors: Vec<Option<f64>>,
}
