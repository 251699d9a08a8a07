//! `/api/v1/workloads/{id}/endpoints`: rate, errors and duration by kind of request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One kind of a workload's requests. Numbers are since the proxy started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndpointSummary {
    /// The path template, or `other`.
    pub endpoint: String,
    /// Requests that are over.
    pub requests: u64,
    /// Answered with a status from 1xx to 5xx, by its first digit.
    pub statuses: [u64; 5],
    /// Answered with 5xx, or broken off.
    pub errors: u64,
    /// Not answered before the client went away.
    pub unanswered: u64,
    /// From arrival to response head: the mean.
    pub mean_ms: Option<f64>,
    /// The median.
    pub p50_ms: Option<f64>,
    /// 99 of 100 are faster.
    pub p99_ms: Option<f64>,
    /// The trace of the slowest of the last minute, where somebody keeps it.
    pub slow_trace: Option<SlowTrace>,
}

/// A request that took long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlowTrace {
    /// As W3C Trace Context writes it.
    pub trace_id: String,
    /// To the response head.
    pub took_ms: f64,
    /// When it was over, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// All of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Endpoints {
    /// The workload.
    pub workload: String,
    /// In the order of the configuration, then the others.
    pub endpoints: Vec<EndpointSummary>,
    /// Lines of the access log.
    pub log_written: u64,
    /// Lines that were left out because the log had no time or room.
    pub log_dropped: u64,
}
