//! What can be looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use forecast::Timestamp;
use history::{HistoryError, SeriesKey, Store};
use serde::de::DeserializeOwned;

use super::Api;
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
    ),
    responses((status = 200, body = api::Forecast), (status = 400, body = api::ErrorBody), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn forecast(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(pairs): Pairs,
) -> Result<Json<api::Forecast>, Failure> {
    let params = Params::new(pairs, &["horizon", "quantiles"])?;
    let levels = params.quantiles(&[0.05, 0.25, 0.5, 0.75, 0.95])?;
    let view = api.view();
    let workload = view.workload(&name).ok_or_else(|| Failure::unknown_workload(&name))?;
    let step = workload.config.step;
    let horizon = params.duration("horizon")?.unwrap_or(step * HORIZON_STEPS_DEFAULT);
    let steps = (horizon.as_secs_f64() / step.as_secs_f64()).ceil();
    if steps > HORIZON_STEPS_MAX {
        return Err(Failure::bad(
            format!("a horizon of {horizon:?} has {steps} steps"),
            format!("ask for at most {HORIZON_STEPS_MAX} steps of {step:?}"),
        ));
    }
    let (config, forecaster) = (workload.config.clone(), workload.forecaster.clone());
    let work = move || convert::forecast(&config, &forecaster, (steps as usize).max(1), &levels);
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
    let recent = api.recent.plans(&name, i64::MIN, at.as_millis().saturating_add(1), 1).items.pop();
    if let Some(plan) = recent {
        return Ok(Json(plan));
    }
    let record = on_disk(&api, move |store| store.plan_at(&name, at)).await?.ok_or_else(missing)?;
    decode(&record.body).map(Json).ok_or_else(missing)
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
    let newest = api.recent.plans(&name, from.as_millis(), to.as_millis(), limit);
    let mut plans = newest.items;
    let (older_to, missing) = (to.min(newest.complete_since), limit - plans.len());
    if missing > 0 && from < older_to {
        let records = on_disk(&api, move |store| store.plans(&name, from, older_to, missing)).await?;
        plans.extend(records.iter().filter_map(|record| decode(&record.body)));
    }
    Ok(Json(api::Plans { plans }))
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
    let newest = api.recent.events(workload.as_deref(), from.as_millis(), to.as_millis(), limit);
    let mut events = newest.items;
    let (older_to, missing) = (to.min(newest.complete_since), limit - events.len());
    if missing > 0 && from < older_to {
        let records =
            on_disk(&api, move |store| store.events(from, older_to, workload.as_deref(), missing)).await?;
        events.extend(records.iter().filter_map(|record| decode(&record.body)));
    }
    Ok(Json(api::Events { events }))
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
    let mut table = Table::new(from, to, step);
    if from < on_disk_to {
        let workload = name.clone();
        table = on_disk(&api, move |store| {
            for (column, metric) in METRICS.iter().enumerate() {
                let key = SeriesKey::new(workload.as_str(), *metric);
                for sample in store.scan(&key, from, on_disk_to)? {
                    let (at, value) = sample?;
                    table.add(at, column, value);
                }
            }
            Ok(table)
        })
        .await?;
    }
    for StepRecord { at, values } in recent {
        for (column, value) in values.into_iter().enumerate() {
            value.into_iter().for_each(|value| table.add(at, column, value));
        }
    }
    Ok(Json(table.into_series(name, unit)))
}

/// Metrics in the text format of OpenMetrics.
#[utoipa::path(get, path = "/metrics", responses((status = 200, content_type = "application/openmetrics-text", body = String)))]
pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> Result<impl IntoResponse, Failure> {
    let text = api.metrics.text().map_err(|_| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written", "please report this")
    })?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

/// Sums of samples in a bounded number of equal spans of time.
struct Table {
    from: Timestamp,
    /// A multiple of the step.
    span: Duration,
    rows: BTreeMap<i64, [(f64, u32); METRICS.len()]>,
}

impl Table {
    fn new(from: Timestamp, to: Timestamp, step: Duration) -> Table {
        let steps = to.since(from).as_millis() / step.as_millis().max(1);
        let merged = u32::try_from(steps.div_ceil(SERIES_POINTS_MAX).max(1)).unwrap_or(u32::MAX);
        Table { from, span: step.saturating_mul(merged), rows: BTreeMap::new() }
    }

    fn add(&mut self, at: Timestamp, column: usize, value: f64) {
        if at >= self.from {
            let row = self.rows.entry(at.align_down(self.span).as_millis()).or_default();
            row[column] = (row[column].0 + value, row[column].1 + 1);
        }
    }

    /// Means of each span, from the first that has a sample to the last, with gaps as nulls.
    fn into_series(self, workload: String, unit: String) -> api::Series {
        let step_ms = u64::try_from(self.span.as_millis()).unwrap_or(u64::MAX);
        let first = self.rows.keys().next().copied();
        let last = self.rows.keys().next_back().copied();
        let timestamps_ms: Vec<i64> = match (first, last) {
            (Some(first), Some(last)) => {
                (first..=last).step_by(usize::try_from(step_ms).unwrap_or(usize::MAX)).collect()
            }
            (None, _) | (_, None) => Vec::new(),
        };
        let column = |index: usize| -> Vec<Option<f64>> {
            let mean = |at: &i64| {
                let (sum, count) = self.rows.get(at)?[index];
                (count > 0).then(|| sum / f64::from(count))
            };
            timestamps_ms.iter().map(mean).collect()
        };
        let [demand, p50, low, high, active, standby, actives, standbys, missed, lat50, lat99, errors] =
            std::array::from_fn(column);
        api::Series {
            workload,
            unit,
            step_ms,
            demand,
            forecast_p50: p50,
            forecast_low: low,
            forecast_high: high,
            active_capacity: active,
            standby_capacity: standby,
            active_instances: actives,
            standby_instances: standbys,
            missed,
            latency_p50_ms: lat50,
            latency_p99_ms: lat99,
            errors,
            timestamps_ms,
        }
    }
}

async fn on_disk<T: Send + 'static>(
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
const HORIZON_STEPS_MAX: f64 = 2000.0;
const SERIES_STEPS_DEFAULT: u32 = 240;
const SERIES_POINTS_MAX: u128 = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(60);

    #[test]
    fn gaps_are_nulls_and_columns_have_one_length() {
        let mut table = Table::new(Timestamp::from_secs(0), Timestamp::from_secs(3600), STEP);
        table.add(Timestamp::from_secs(60), 0, 5.0);
        table.add(Timestamp::from_secs(180), 0, 7.0);
        let series = table.into_series("web".into(), "requests/s".into());
        assert_eq!(series.timestamps_ms, [60_000, 120_000, 180_000]);
        assert_eq!(series.demand, [Some(5.0), None, Some(7.0)]);
        assert_eq!(series.errors, [None, None, None]);
    }

    #[test]
    fn a_long_range_is_merged_into_a_bounded_number_of_points() {
        let (from, to) = (Timestamp::from_secs(0), Timestamp::from_secs(60 * 10_000));
        let mut table = Table::new(from, to, STEP);
        (0..10_000).for_each(|i| table.add(Timestamp::from_secs(60 * i), 0, i as f64));
        let series = table.into_series("web".into(), "requests/s".into());
        assert_eq!((series.step_ms, series.timestamps_ms.len()), (300_000, 2000));
        assert_eq!(series.demand[0], Some(2.0));
    }

    #[test]
    fn nothing_recorded_is_an_empty_series() {
        let series =
            Table::new(Timestamp::from_secs(0), Timestamp::MAX, STEP).into_series("web".into(), "x".into());
        assert!(series.timestamps_ms.is_empty() && series.demand.is_empty());
    }
}
