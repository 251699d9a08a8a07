//! A decision explained, of now or of a time in the past.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use forecast::Timestamp;
use history::{EVERY_WORKLOAD, HistoryError, SeriesKey, Store};

use super::Api;
use super::failure::Failure;
use super::query::Params;
use super::read::{events_between, on_disk, plan_at, plans_between};
use crate::control_loop::RAISE_KINDS;
use crate::convert;
use crate::convert::explain::{Material, explanation, judged_until, under_way};
use crate::recent::{METRICS, StepRecord};
use crate::recorder::{REACTION_DEMAND, REACTION_MISSED, REACTION_MISSED_TRULY, clock};

/// What was seen, forecast, decided and refused, and what reacting alone would have done.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/explain",
    params(
        ("id" = String, Path, description = "Workload name"),
        ("at" = Option<String>, Query, description = "Milliseconds since 1970, or ISO 8601; default now"),
    ),
    responses(
        (status = 200, body = api::Explanation),
        (status = 400, body = api::ErrorBody),
        (status = 404, description = "No workload, or no plan of that time", body = api::ErrorBody),
    )
)]
pub(crate) async fn explain(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<api::Explanation>, Failure> {
    let params = Params::new(pairs, &["at"])?;
    let view = api.view();
    let workload = view.workload(&name).ok_or_else(|| Failure::unknown_workload(&name))?;
    let asked = params.instant("at")?;
    let (now, step) = (clock(), workload.config.step);
    let at = asked.unwrap_or(now);
    if at > now + CLOCKS_APART {
        return Err(Failure::bad(
            format!("{at} is still to come"),
            "what is foreseen is in /forecast and /levels",
        ));
    }
    let plan = match asked {
        None => workload.detail.plan.clone(),
        Some(at) => plan_at(&api, &name, at).await?,
    };
    let plan = plan.ok_or_else(|| {
        Failure::new(
            StatusCode::NOT_FOUND,
            "there is no plan of that time",
            "leave `at` out for the plan in force",
        )
    })?;
    let lead_cold =
        Duration::from_secs_f64((workload.detail.lead_times.cold_ms / 1e3).clamp(0.0, LEAD_S_MAX));
    let order =
        next_order(&api, &name, &plan, at, (lead_cold * 2).max(step * STEPS_AHEAD).min(AHEAD_MAX)).await?;
    let (from, to) = judged_until(order, at, lead_cold);
    let lately = events_between(
        &api,
        Some(name.clone()),
        at - LATELY,
        at + Duration::from_millis(1),
        EVENTS_LOOKED_AT,
    )
    .await?;
    let material = Material {
        at,
        unit: workload.config.unit.clone(),
        mode: workload.detail.summary.mode,
        seen: seen(&api, &name, at, step).await?,
        announced: announced(&api, &name, &plan, at, step).await?,
        shifts: shifts(&lately),
        raises: lately
            .iter()
            .rev()
            .filter(|event| RAISE_KINDS.contains(&event.kind.as_str()))
            .cloned()
            .collect(),
        troubles: troubles(&lately),
        cost: cost(&api, &name, from, to.min(from + AHEAD_MAX), step).await?,
        order,
        plan,
    };
    Ok(Json(explanation(material)))
}

/// The order that reacting alone would have had under way at the time, or given next.
async fn next_order(
    api: &Api,
    name: &str,
    plan: &api::Plan,
    at: Timestamp,
    ahead: Duration,
) -> Result<Option<api::ReactionOrder>, Failure> {
    let then = plan.without_forecast.as_ref().and_then(|reaction| under_way(reaction, at));
    if then.is_some() {
        return Ok(then);
    }
    let later = plans_between(api, name, at, at + ahead, PLANS_LOOKED_AT).await?;
    // Newest first.
    let ordering =
        |plan: &api::Plan| under_way(plan.without_forecast.as_ref()?, Timestamp::from_millis(plan.at_ms));
    Ok(later.iter().rev().find_map(ordering))
}

/// The step that contains a time, or the last one shortly before it.
async fn seen(api: &Api, name: &str, at: Timestamp, step: Duration) -> Result<Option<api::Seen>, Failure> {
    let start = at.align_down(step);
    let (from, to) = (start - step * STEPS_BACK, start + Duration::from_millis(1));
    let record = match api.recent.steps(name, from, to).pop() {
        Some(record) => Some(record),
        None => {
            let name = name.to_owned();
            on_disk(api, move |store| stored_step(store, &name, from, to)).await?
        }
    };
    Ok(record.map(|StepRecord { at, values }| {
        let [demand, median, low, high, _, _, active, standby, missed, ..] = values;
        api::Seen {
            step_at_ms: at.as_millis(),
            demand,
            missed,
            active_instances: active,
            standby_instances: standby,
            forecast_low: low,
            forecast_median: median,
            forecast_high: high,
        }
    }))
}

/// What was known then of events within the steps that the plan is for.
async fn announced(
    api: &Api,
    name: &str,
    plan: &api::Plan,
    at: Timestamp,
    step: Duration,
) -> Result<Vec<api::CalendarEvent>, Failure> {
    let ahead = step.saturating_mul(plan.inputs.window_active_steps.max(plan.inputs.window_standby_steps));
    let name = name.to_owned();
    let mut found = on_disk(api, move |store| {
        let mut found = store.calendar().list(&name, at, at + ahead)?;
        found.extend(store.calendar().list(EVERY_WORKLOAD, at, at + ahead)?);
        Ok(found)
    })
    .await?;
    found.retain(|record| record.noted_at <= at);
    found.sort_by_key(|record| record.event.start);
    Ok(found.iter().take(EVENTS_TOLD).map(convert::calendar_event).collect())
}

/// How traffic was shifted to new instances, oldest first, from events newest first.
fn shifts(events: &[api::Event]) -> Vec<api::ShiftStep> {
    let steps = events.iter().filter_map(|event| event.shift.clone()).take(SHIFT_STEPS_MAX);
    let steps: Vec<_> = steps.collect();
    steps.into_iter().rev().collect()
}

/// What went wrong with instances, oldest first, from events newest first.
fn troubles(events: &[api::Event]) -> Vec<api::Event> {
    let found = events.iter().filter(|event| TROUBLES.contains(&event.kind.as_str()));
    let newest: Vec<_> = found.take(TROUBLES_MAX).cloned().collect();
    newest.into_iter().rev().collect()
}

/// The newest recorded step in `[from, to)`.
fn stored_step(
    store: &Store,
    name: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<StepRecord>, HistoryError> {
    let mut found: Option<StepRecord> = None;
    for (column, metric) in METRICS.iter().enumerate() {
        let Some((at, value)) = store.read(&SeriesKey::new(name, *metric), from, to)?.pop() else { continue };
        // The first columns are there in every step; others may have ended before.
        let record = found.get_or_insert(StepRecord { at, ..StepRecord::default() });
        if at > record.at {
            *record = StepRecord { at, ..StepRecord::default() };
        }
        if at == record.at {
            record.values[column] = Some(value);
        }
    }
    Ok(found)
}

/// What reacting alone would have missed in the steps from the one with `from` to the one with `to`, as far as they are over.
async fn cost(
    api: &Api,
    name: &str,
    from: Timestamp,
    to: Timestamp,
    step: Duration,
) -> Result<Option<api::ReactionCost>, Failure> {
    let from = from.align_down(step);
    let name = name.to_owned();
    let sums = on_disk(api, move |store| {
        let mut sums = [0.0; 3];
        let mut last = None;
        for (sum, metric) in sums.iter_mut().zip([REACTION_DEMAND, REACTION_MISSED, REACTION_MISSED_TRULY]) {
            let samples = store.read(&SeriesKey::new(name.as_str(), metric), from, to)?;
            *sum = samples.iter().map(|(_, value)| value).sum();
            last = samples.last().map(|(at, _)| *at).or(last);
        }
        Ok(last.map(|last| (sums, last)))
    })
    .await?;
    Ok(sums.map(|([demand, missed, missed_truly], last)| api::ReactionCost {
        from_ms: from.as_millis(),
        to_ms: (last + step).as_millis(),
        demand,
        // Each is a sum of its own, and rounded as such: where all was missed, it may come out as a trifle more than all.
        missed: missed.min(demand),
        missed_truly: missed_truly.min(demand),
    }))
}

/// The clock of who asks may be ahead of ours.
const CLOCKS_APART: Duration = Duration::from_secs(2);
/// Steps without a value that are looked over.
const STEPS_BACK: u32 = 3;
/// At least so many steps are searched for the next order.
const STEPS_AHEAD: u32 = 10;
const AHEAD_MAX: Duration = Duration::from_secs(2 * 86_400);
const LEAD_S_MAX: f64 = 86_400.0;
const PLANS_LOOKED_AT: usize = 2_000;
/// What was shifted and raised that long ago is part of an explanation, ...
const LATELY: Duration = Duration::from_secs(600);
/// ... that many steps of shifts, among the newest events.
const SHIFT_STEPS_MAX: usize = 40;
const EVENTS_LOOKED_AT: usize = 1_000;
/// So many events of the calendar are told.
const EVENTS_TOLD: usize = 10;
/// Kinds of events that are trouble with an instance, and how many of them are told.
const TROUBLES: [&str; 3] = ["action_failed", "instance_exited", "instance_unhealthy"];
const TROUBLES_MAX: usize = 5;
