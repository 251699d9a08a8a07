//! `/api/v1/workloads/{id}/metrics`: everything kept about a workload as series, and metrics pushed from outside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One value of a metric of the caller's choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricSample {
    /// What was measured, with its unit last, for example `queue_length` or `wind_speed_m_per_s`.
    pub metric: String,
    /// When; may lie in the future, for what is known beforehand such as a weather forecast.
    pub at_ms: i64,
    /// How much; a finite number. A second value of the same series and time replaces the first.
    pub value: f64,
    /// Further distinctions; usually none.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Samples in any order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsRequest {
    /// The samples.
    pub samples: Vec<MetricSample>,
}

/// What was taken; it is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MetricsAccepted {
    /// How many samples were taken: all of them, or the request was refused as a whole.
    pub accepted: u64,
}

/// One series in one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricSeries {
    /// What is measured.
    pub metric: String,
    /// Further distinctions, such as the instance.
    pub labels: BTreeMap<String, String>,
    /// Time of the newest value.
    pub last_at_ms: i64,
    /// The newest value.
    pub last: f64,
}

/// All series of a workload, by metric, then labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricList {
    /// Workload name.
    pub workload: String,
    /// The series.
    pub series: Vec<MetricSeries>,
}

/// Values of one series, ascending in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricColumn {
    /// Further distinctions, such as the instance.
    pub labels: BTreeMap<String, String>,
    /// Times of the values; where several were drawn together, of the first of them.
    pub timestamps_ms: Vec<i64>,
    /// The values.
    pub values: Vec<f64>,
    /// How many values at most were drawn together into one, their mean; 1: none.
    pub drawn_together: u64,
}

/// All series of one metric of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Metric {
    /// Workload name.
    pub workload: String,
    /// What is measured.
    pub metric: String,
    /// A column for each series.
    pub series: Vec<MetricColumn>,
}
