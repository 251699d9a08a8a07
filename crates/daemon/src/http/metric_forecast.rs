//! Forecasts of metrics other than the demand that plans follow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use forecast::{STEP_MAX, STEP_MIN};

use super::Api;
use super::failure::Failure;
use super::query::Params;
use super::read::{PATH_VALUES_MAX, horizon_steps};
use crate::convert;
use crate::error::chain;
use crate::metric_forecast::{Aggregate, Asked, Followed, Found, Refusal};
use crate::recorder::clock;

type Pairs = Query<Vec<(String, String)>>;

/// Quantiles of a metric to come, of any that has a series.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/metrics/{metric}/forecast",
    params(
        ("id" = String, Path, description = "Workload name"),
        ("metric" = String, Path, description = "Name of the metric"),
        ("label" = Option<Vec<String>>, Query, description = "`name=value` that the series has; may be given several times"),
        ("aggregate" = Option<String>, Query, description = "`sum`, `mean` or `max`: what several series are in each step"),
        ("step" = Option<String>, Query, description = "Default the workload's, or more where values lie farther apart"),
        ("at" = Option<String>, Query, description = "A moment of the past to forecast from, with what came before it; default now. Events and covariates are those known now"),
        ("horizon" = Option<String>, Query, description = "How far, such as `15m`, or seconds; default 60 steps"),
        ("quantiles" = Option<String>, Query, description = "Ascending levels; default 0.05,0.25,0.5,0.75,0.95"),
        ("windows" = Option<String>, Query, description = "`max`, `sum` or both: quantiles of the largest value, of the sum"),
        ("paths" = Option<u64>, Query, description = "So many paths drawn from the joint distribution; at most 100,000 values in all"),
        ("seed" = Option<u64>, Query, description = "Which paths are drawn; default 0"),
    ),
    responses(
        (status = 200, body = api::Forecast),
        (status = 400, description = "A wrong parameter, or several series without `aggregate`", body = api::ErrorBody),
        (status = 404, description = "Unknown workload, metric or labels, or no value in the time looked at", body = api::ErrorBody),
    )
)]
pub(crate) async fn forecast(
    State(api): State<Arc<Api>>,
    Path((workload, metric)): Path<(String, String)>,
    Query(pairs): Pairs,
) -> Result<Json<api::Forecast>, Failure> {
    let (labels, pairs) = labels(pairs)?;
    let params = Params::new(pairs, &KNOWN)?;
    let levels = params.quantiles(&[0.05, 0.25, 0.5, 0.75, 0.95])?;
    let windows = params.windows()?;
    let seed = params.whole("seed", 0, u64::MAX)?;
    let (aggregate, step) = (aggregate(&params)?, step(&params)?);
    let now = clock();
    let at = params.instant("at")?.unwrap_or(now);
    if at > now {
        return Err(Failure::bad(
            format!("`at` is {at}, which is to come"),
            "give a moment of the past, or leave it out; `horizon` says how far ahead",
        ));
    }
    let view = api.view();
    let state = view.workload(&workload).ok_or_else(|| Failure::unknown_workload(&workload))?;
    let config = state.config.clone();
    let name = metric.clone();
    let asked = Asked { workload: config.clone(), metric, labels, aggregate, step, now: at };
    // Goes along with the work, which nobody stops when the client has gone.
    let place = api.metric_forecasts.places.clone().acquire_owned().await.map_err(|_| Failure::busy())?;
    let work = move || {
        let _place = place;
        let found = Found::look_up(&api.store, asked)?;
        let steps = horizon_steps(&params, found.step())?;
        let paths = params.whole("paths", 0, PATH_VALUES_MAX / steps as u64)? as usize;
        let followed = api.metric_forecasts.follow(&api.store, &found, steps)?;
        let asked = convert::Asked { steps, levels, windows, paths, seed };
        let said = convert::forecast(&config, &followed.core, &asked, Vec::new());
        Ok(of_metric(said, name, &found, aggregate, &followed))
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::busy())?.map(Json)
}

/// Says what the forecast is of.
fn of_metric(
    said: api::Forecast,
    name: String,
    found: &Found,
    aggregate: Option<Aggregate>,
    followed: &Followed,
) -> api::Forecast {
    let unit = if name == "demand" { said.unit } else { String::new() };
    let metric = api::ForecastMetric {
        name,
        labels: found.labels(),
        aggregate: aggregate.map(|aggregate| aggregate.name().to_owned()),
        series: u32::try_from(followed.series).unwrap_or(u32::MAX),
        learned_from_ms: followed.from.as_millis(),
        learned_steps: followed.steps as u64,
    };
    api::Forecast { metric: Some(metric), unit, ..said }
}

type Labels = BTreeMap<String, String>;

/// The labels asked for, and all other parameters.
fn labels(pairs: Vec<(String, String)>) -> Result<(Labels, Vec<(String, String)>), Failure> {
    let (given, others): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(key, _)| key == "label");
    let mut labels = BTreeMap::new();
    for (_, text) in given {
        let shown: String = text.chars().take(60).collect();
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::bad(format!("label {shown:?} has no name and value"), "write label=zone=a"));
        };
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::bad(format!("label {shown:?} is the second value of its name"), "give one"));
        }
    }
    Ok((labels, others))
}

fn aggregate(params: &Params) -> Result<Option<Aggregate>, Failure> {
    let Some(text) = params.text("aggregate") else { return Ok(None) };
    let found = Aggregate::ALL.into_iter().find(|aggregate| aggregate.name() == text);
    found.map(Some).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Failure::bad(format!("aggregate is {shown:?}"), "write sum, mean or max")
    })
}

fn step(params: &Params) -> Result<Option<Duration>, Failure> {
    let step = params.duration("step")?;
    let is_step = |step: Duration| {
        (STEP_MIN..=STEP_MAX).contains(&step) && step.subsec_nanos().is_multiple_of(1_000_000)
    };
    match step.filter(|step| !is_step(*step)) {
        Some(wrong) => Err(Failure::bad(
            format!("a step of {wrong:?} cannot be forecast"),
            format!("give whole milliseconds from {STEP_MIN:?} to {STEP_MAX:?}"),
        )),
        None => Ok(step),
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let error = refusal.to_string();
        match &refusal {
            Refusal::NoMetric { .. } => Failure::new(
                StatusCode::NOT_FOUND,
                error,
                "GET /api/v1/workloads/{id}/metrics lists those there are",
            ),
            Refusal::NoSeries { .. } => {
                Failure::new(StatusCode::NOT_FOUND, error, "choose labels of one of them, as label=NAME=VALUE")
            }
            Refusal::Several { total, .. } => Failure::bad(
                error,
                match total {
                    Some(total) => format!("forecast {total}, their sum, or choose one with label=NAME=VALUE"),
                    None => {
                        "choose one with label=NAME=VALUE, or make one of them with aggregate=sum, mean or max"
                            .to_owned()
                    }
                },
            ),
            Refusal::TooMany { .. } => Failure::bad(error, "choose fewer with label=NAME=VALUE"),
            Refusal::NoValues { .. } => Failure::new(
                StatusCode::NOT_FOUND,
                error,
                "a step counts when it is over; a longer `step` looks further back",
            ),
            Refusal::TooDense { .. } => Failure::bad(error, "ask with a shorter `step`, which looks less far back"),
            Refusal::Step(_) => Failure::bad(error, "give another `step`"),
            Refusal::Unfollowed(_) => Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                chain(&refusal),
                "please report this",
            ),
            Refusal::History(error) => Failure::history(error),
        }
    }
}

const KNOWN: [&str; 8] = ["aggregate", "step", "at", "horizon", "quantiles", "windows", "paths", "seed"];
