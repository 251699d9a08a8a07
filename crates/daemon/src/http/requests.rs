//! Single requests and what they cost.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use forecast::Timestamp;

use super::Api;
use super::failure::Failure;
use super::query::Params;
use super::read::on_disk;

/// Costs of a workload's requests, and the newest requests that were kept.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/requests",
    params(
        ("id" = String, Path, description = "Workload name"),
        ("limit" = Option<usize>, Query, description = "Requests in the answer at most; default 100"),
    ),
    responses(
        (status = 200, body = api::Requests),
        (status = 404, description = "Unknown workload", body = api::ErrorBody),
        (status = 409, description = "Its requests are not admitted by cost", body = api::ErrorBody),
    )
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<api::Requests>, Failure> {
    let params = Params::new(pairs, &["limit"])?;
    let limit = params.limit(100, LIMIT_MAX)?;
    let view = api.view();
    let workload = view.workload(&name).ok_or_else(|| Failure::unknown_workload(&name))?;
    let admission = workload.config.admission.as_ref().ok_or_else(|| {
        let hint = "add a section [workload.admission] to its configuration";
        Failure::new(StatusCode::CONFLICT, "requests of this workload are not admitted by cost", hint)
    })?;
    let of = name.clone();
    let (first, last) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
    let kept = on_disk(&api, move |store| store.requests(&of, first, last, limit)).await?;
    let requests = kept.iter().filter_map(|record| serde_json::from_slice(&record.body).ok());
    Ok(Json(api::Requests {
        workload: name,
        costs: workload.costs.clone(),
        numbers: admission.numbers.iter().map(ToString::to_string).collect(),
        names: admission.names.iter().map(ToString::to_string).collect(),
        classes: admission.priority.classes.iter().map(|class| class.name.clone()).collect(),
        requests: requests.collect(),
    }))
}

const LIMIT_MAX: usize = 10_000;
