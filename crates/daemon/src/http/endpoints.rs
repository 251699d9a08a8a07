//! Rate, errors and duration by kind of request.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use proxy::control::EndpointStats;

use super::Api;
use super::failure::Failure;

/// Requests of a workload by endpoint.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/endpoints",
    params(("id" = String, Path, description = "Workload name")),
    responses(
        (status = 200, body = api::Endpoints),
        (status = 404, description = "Unknown workload", body = api::ErrorBody),
        (status = 409, description = "Its requests are not told apart", body = api::ErrorBody),
    )
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<api::Endpoints>, Failure> {
    let view = api.view();
    let workload = view.workload(&name).ok_or_else(|| Failure::unknown_workload(&name))?;
    if workload.config.observation.endpoints.is_empty() {
        let hint = "add `endpoints = [\"GET /items/{id}\"]` to its configuration";
        return Err(Failure::new(StatusCode::CONFLICT, "requests of this workload are not told apart", hint));
    }
    let counted = workload.counted.as_deref();
    Ok(Json(api::Endpoints {
        workload: name,
        endpoints: counted.iter().flat_map(|stats| &stats.endpoints).map(summary).collect(),
        log_written: counted.map_or(0, |stats| stats.log_written),
        log_dropped: counted.map_or(0, |stats| stats.log_dropped),
    }))
}

fn summary(stats: &EndpointStats) -> api::EndpointSummary {
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    api::EndpointSummary {
        endpoint: stats.endpoint.clone(),
        requests: stats.requests(),
        statuses: stats.statuses,
        errors: stats.errors(),
        unanswered: stats.unanswered,
        mean_ms: stats.latency.mean().map(ms),
        p50_ms: stats.latency.quantile(0.5).map(ms),
        p99_ms: stats.latency.quantile(0.99).map(ms),
        slow_trace: stats.slow.as_ref().map(|slow| api::SlowTrace {
            trace_id: slow.trace_id.clone(),
            took_ms: slow.took_us as f64 / 1e3,
            at_ms: slow.at,
        }),
    }
}
