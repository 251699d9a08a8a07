//! What can be looked at.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use forecast::Timestamp;
use history::{HistoryError, SeriesKey, Store};
use planner::TriggerLevel;
use serde::de::DeserializeOwned;

use super::Api;
use super::columns::Columns;
use super::failure::Failure;
use super::query::Params;
use crate::convert;
use crate::recent::{METRICS, StepRecord};
use crate::recorder::clock;

type Pairs = Query<Vec<(String, String)>>;

/// The daemon at a glance.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, body = api::Status)))]
pub(crate) async fn status(State(api): State<Arc<Api>>) -> Json<api::Status> {
    let view = api.view();
    Json(api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        now_ms: clock().as_millis(),
        started_at_ms: api.started_at.as_millis(),
        proxy: view.proxy.clone(),
        history: api.health.status(),
        problems: view.problems.clone(),
        workloads: view.workloads.iter().map(|workload| workload.detail.summary.clone()).collect(),
        nodes: view.nodes.clone(),
        training: view.training.clone(),
    })
}

/// All workloads.
#[utoipa::path(get, path = "/api/v1/workloads", responses((status = 200, body = api::Workloads)))]
pub(crate) async fn workloads(State(api): State<Arc<Api>>) -> Json<api::Workloads> {
    let view = api.view();
    Json(api::Workloads {
        workloads: view.workloads.iter().map(|workload| workload.detail.summary.clone()).collect(),
    })
}

/// Everything about one workload.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}",
    params(("id" = String, Path, description = "Workload name")),
    responses((status = 200, body = api::WorkloadDetail), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn workload(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<api::WorkloadDetail>, Failure> {
    let view = api.view();
    let workload = view.workload(&name).ok_or_else(|| Failure::unknown_workload(&name))?;
    Ok(Json(workload.detail.clone()))
}

/// Quantiles of demand to come.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/forecast",
    params(
        ("id" = String, Path, description = "Workload name"),
        ("horizon" = Option<String>, Query, description = "How far, such as `15m`, or seconds; default 60 steps"),
        ("quantiles" = Option<String>, Query, description = "Ascending levels; default 0.05,0.25,0.5,0.75,0.95"),
        ("windows" = Option<String>, Query, description = "`max`, `sum` or both: quantiles of the largest value, of the sum"),
        ("paths" = Option<u64>, Query, description = "So many paths drawn from the joint distribution; at most 100,000 values in all"),
        ("seed" = Option<u64>, Query, description = "Which paths are drawn; default 0"),
    ),
    responses((status = 200, body = api::Forecast), (status = 400, body = api::ErrorBody), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn forecast(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(pairs): Pairs,
) -> Result<Json<api::Forecast>, Failure> {
    let params = Params::new(pairs, &["horizon", "quantiles", "windows", "paths", "seed"])?;
    let levels = params.quantiles(&[0.05, 0.25, 0.5, 0.75, 0.95])?;
    let windows = params.windows()?;
    let seed = params.whole("seed", 0, u64::MAX)?;
    let view = api.view();
    let workload = view.workload(&name).ok_or_else(|| Failure::unknown_workload(&name))?;
    let steps = horizon_steps(&params, workload.config.step)?;
    let (config, forecaster) = (workload.config.clone(), workload.forecaster.clone());
    let overrides = workload.detail.forecast_overrides.clone();
    let paths = params.whole("paths", 0, PATH_VALUES_MAX / steps as u64)? as usize;
    let asked = convert::Asked { steps, levels, windows, paths, seed };
    let work = move || convert::forecast(&config, &forecaster, &asked, overrides);
    tokio::task::spawn_blocking(work).await.map(Json).map_err(|_| Failure::busy())
}

/// When demand exceeds what the instances serve.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/levels",
    params(
        ("id" = String, Path, description = "Workload name"),
        ("horizon" = Option<String>, Query, description = "How far, such as `15m`, or seconds; default 60 steps"),
        ("levels" = Option<String>, Query, description = "Ascending demands; default those at which one more instance is needed"),
    ),
    responses((status = 200, body = api::Levels), (status = 400, body = api::ErrorBody), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn levels(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(pairs): Pairs,
) -> Result<Json<api::Levels>, Failure> {
    let params = Params::new(pairs, &["horizon", "levels"])?;
    let asked = params.levels()?;
    let view = api.view();
    let workload = view.workload(&name).ok_or_else(|| Failure::unknown_workload(&name))?;
    let steps = horizon_steps(&params, workload.config.step)?;
    let capacity = workload.detail.capacity.per_instance;
    let levels = match asked {
        None => {
            let active = workload.detail.summary.active_wanted;
            let share =
                workload.detail.plan.as_ref().and_then(|plan| plan.inputs.clone_threshold).unwrap_or(1.0);
            planner::trigger_levels(active, capacity * share, workload.config.replicas_most())
        }
        Some(demands) => demands.into_iter().map(|demand| TriggerLevel { instances: 0, demand }).collect(),
    };
    let (config, forecaster) = (workload.config.clone(), workload.forecaster.clone());
    let overrides = workload.detail.forecast_overrides.clone();
    let work = move || convert::levels(&config, &forecaster, capacity, steps, &levels, overrides);
    tokio::task::spawn_blocking(work).await.map(Json).map_err(|_| Failure::busy())
}

/// The plan in force, or that of another time.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/plan",
    params(
        ("id" = String, Path, description = "Workload name"),
        ("at" = Option<String>, Query, description = "Milliseconds since 1970, or ISO 8601; default now"),
    ),
    responses((status = 200, body = api::Plan), (status = 404, description = "No workload or no plan", body = api::ErrorBody))
)]
pub(crate) async fn plan(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(pairs): Pairs,
) -> Result<Json<api::Plan>, Failure> {
    let params = Params::new(pairs, &["at"])?;
    let view = api.view();
    let workload = view.workload(&name).ok_or_else(|| Failure::unknown_workload(&name))?;
    let missing = || {
        Failure::new(
            StatusCode::NOT_FOUND,
            "there is no plan of that time",
            "leave `at` out for the plan in force",
        )
    };
    let Some(at) = params.instant("at")? else {
        return workload.detail.plan.clone().map(Json).ok_or_else(missing);
    };
    plan_at(&api, &name, at).await?.map(Json).ok_or_else(missing)
}

/// The plan in force at a time, as far as it was recorded.
pub(super) async fn plan_at(api: &Api, name: &str, at: Timestamp) -> Result<Option<api::Plan>, Failure> {
    let recent = api.recent.plans(name, i64::MIN, at.as_millis().saturating_add(1), 1).items.pop();
    if recent.is_some() {
        return Ok(recent);
    }
    let name = name.to_owned();
    let record = on_disk(api, move |store| store.plan_at(&name, at)).await?;
    Ok(record.and_then(|record| decode(&record.body)))
}

/// Plans that said something new, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/plans",
    params(
        ("id" = String, Path, description = "Workload name"),
        ("from" = Option<String>, Query, description = "Default 1 day ago"),
        ("to" = Option<String>, Query, description = "Default now"),
        ("limit" = Option<u32>, Query, description = "Default 50, at most 1000"),
    ),
    responses((status = 200, body = api::Plans), (status = 400, body = api::ErrorBody), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn plans(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(pairs): Pairs,
) -> Result<Json<api::Plans>, Failure> {
    let params = Params::new(pairs, &["from", "to", "limit"])?;
    let view = api.view();
    view.workload(&name).ok_or_else(|| Failure::unknown_workload(&name))?;
    let (from, to) = params.range(soon(), DAY)?;
    let limit = params.limit(50, LIST_MAX)?;
    Ok(Json(api::Plans { plans: plans_between(&api, &name, from, to, limit).await? }))
}

/// The newest recorded plans in `[from, to)`, newest first.
pub(super) async fn plans_between(
    api: &Api,
    name: &str,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
) -> Result<Vec<api::Plan>, Failure> {
    let newest = api.recent.plans(name, from.as_millis(), to.as_millis(), limit);
    let mut plans = newest.items;
    let (older_to, missing) = (to.min(newest.complete_since), limit - plans.len());
    if missing > 0 && from < older_to {
        let name = name.to_owned();
        let records = on_disk(api, move |store| store.plans(&name, from, older_to, missing)).await?;
        plans.extend(records.iter().filter_map(|record| decode(&record.body)));
    }
    Ok(plans)
}

/// What happened, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    params(
        ("workload" = Option<String>, Query, description = "Only of this workload"),
        ("from" = Option<String>, Query, description = "Default 1 day ago"),
        ("to" = Option<String>, Query, description = "Default now"),
        ("limit" = Option<u32>, Query, description = "Default 100, at most 1000"),
    ),
    responses((status = 200, body = api::Events), (status = 400, body = api::ErrorBody), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn events(
    State(api): State<Arc<Api>>,
    Query(pairs): Pairs,
) -> Result<Json<api::Events>, Failure> {
    let params = Params::new(pairs, &["workload", "from", "to", "limit"])?;
    let workload = params.text("workload").map(str::to_owned);
    let view = api.view();
    if let Some(unknown) = workload.as_deref().filter(|name| view.workload(name).is_none()) {
        return Err(Failure::unknown_workload(unknown));
    }
    let (from, to) = params.range(soon(), DAY)?;
    let limit = params.limit(100, LIST_MAX)?;
    Ok(Json(api::Events { events: events_between(&api, workload, from, to, limit).await? }))
}

/// The newest events in `[from, to)`, newest first.
pub(super) async fn events_between(
    api: &Api,
    workload: Option<String>,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
) -> Result<Vec<api::Event>, Failure> {
    let newest = api.recent.events(workload.as_deref(), from.as_millis(), to.as_millis(), limit);
    let mut events = newest.items;
    let (older_to, missing) = (to.min(newest.complete_since), limit - events.len());
    if missing > 0 && from < older_to {
        let records =
            on_disk(api, move |store| store.events(from, older_to, workload.as_deref(), missing)).await?;
        events.extend(records.iter().filter_map(|record| decode(&record.body)));
    }
    Ok(events)
}

/// What was observed, step by step.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/series",
    params(
        ("id" = String, Path, description = "Workload name"),
        ("from" = Option<String>, Query, description = "Milliseconds since 1970, or ISO 8601; default 240 steps ago"),
        ("to" = Option<String>, Query, description = "Default now"),
    ),
    responses((status = 200, body = api::Series), (status = 400, body = api::ErrorBody), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn series(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(pairs): Pairs,
) -> Result<Json<api::Series>, Failure> {
    let params = Params::new(pairs, &["from", "to"])?;
    let view = api.view();
    let workload = view.workload(&name).ok_or_else(|| Failure::unknown_workload(&name))?;
    let (step, unit) = (workload.config.step, workload.config.unit.clone());
    let (from, to) = params.range(soon(), step * SERIES_STEPS_DEFAULT)?;
    // Nothing that is recorded lies in the future; a range into it must not make an empty grid.
    let to = to.min(soon() + step);
    let recent = api.recent.steps(&name, from, to);
    let on_disk_to = recent.first().map_or(to, |step| step.at);
    let mut columns = Columns::new(from, to, step);
    if from < on_disk_to {
        let workload = name.clone();
        columns = on_disk(&api, move |store| {
            for (column, metric) in METRICS.iter().enumerate() {
                let key = SeriesKey::new(workload.as_str(), *metric);
                for sample in store.scan(&key, from, on_disk_to)? {
                    let (at, value) = sample?;
                    columns.add(at, column, value);
                }
            }
            Ok(columns)
        })
        .await?;
    }
    for StepRecord { at, values } in recent {
        for (column, value) in values.into_iter().enumerate() {
            value.into_iter().for_each(|value| columns.add(at, column, value));
        }
    }
    Ok(Json(columns.into_series(name, unit)))
}

/// Metrics in the text format of OpenMetrics.
#[utoipa::path(get, path = "/metrics", responses((status = 200, content_type = "application/openmetrics-text", body = String)))]
pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> Result<impl IntoResponse, Failure> {
    let text = api.metrics.text().map_err(|_| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written", "please report this")
    })?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

/// How many steps a request looks ahead, at least one.
pub(super) fn horizon_steps(params: &Params, step: Duration) -> Result<usize, Failure> {
    let horizon = params.duration("horizon")?.unwrap_or(step * HORIZON_STEPS_DEFAULT);
    let steps = (horizon.as_secs_f64() / step.as_secs_f64()).ceil();
    if steps > HORIZON_STEPS_MAX {
        return Err(Failure::bad(
            format!("a horizon of {horizon:?} has {steps} steps"),
            format!("ask for at most {HORIZON_STEPS_MAX} steps of {step:?}"),
        ));
    }
    Ok((steps as usize).max(1))
}

/// Reads on a thread that may block.
pub(crate) async fn on_disk<T: Send + 'static>(
    api: &Api,
    read: impl FnOnce(&Store) -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, Failure> {
    let store = api.store.clone();
    let answer = tokio::task::spawn_blocking(move || read(&store)).await.map_err(|_| Failure::busy())?;
    answer.map_err(|error| Failure::history(&error))
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

/// Just after now, so that what happened this very millisecond is in the range.
fn soon() -> Timestamp {
    clock() + Duration::from_millis(1)
}

const DAY: Duration = Duration::from_secs(86_400);
const LIST_MAX: usize = 1000;
const HORIZON_STEPS_DEFAULT: u32 = 60;
const HORIZON_STEPS_MAX: f64 = 10_000.0;
pub(super) const PATH_VALUES_MAX: u64 = 100_000;
const SERIES_STEPS_DEFAULT: u32 = 240;
