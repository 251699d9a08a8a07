//! The calendar of a workload over HTTP: campaigns, matches, deploys, past and announced.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use forecast::Timestamp;
use forecast::calendar::{Event, kind_of};
use history::{By, Calendar, CalendarChanged, EVERY_WORKLOAD, HistoryError};

use super::Api;
use super::failure::Failure;
use super::guard::require_json;
use super::knowledge;
use super::query::Params;
use super::read::on_disk;
use super::write::{self, json};
use crate::control_loop::Command;
use crate::convert;
use crate::recorder::clock;

type Pairs = Query<Vec<(String, String)>>;

/// Events that touch a range of time, by their start.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/events",
    params(
        ("id" = String, Path, description = "Workload name, or `*` for events that concern all"),
        ("from" = Option<String>, Query, description = "Milliseconds since 1970, or ISO 8601; default 30 days ago"),
        ("to" = Option<String>, Query, description = "Default in 400 days"),
    ),
    responses((status = 200, body = api::CalendarEvents), (status = 400, body = api::ErrorBody), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Path(workload): Path<String>,
    Query(pairs): Pairs,
) -> Result<Json<api::CalendarEvents>, Failure> {
    known(&api, &workload)?;
    let params = Params::new(pairs, &["from", "to"])?;
    let now = clock();
    let from = params.instant("from")?.unwrap_or(now - BACK_DEFAULT);
    let to = params.instant("to")?.unwrap_or(now + AHEAD_DEFAULT);
    if from >= to {
        return Err(Failure::bad(
            format!("from ({from}) is not before to ({to})"),
            "give both, or exchange them",
        ));
    }
    let name = workload.clone();
    let found = on_disk(&api, move |store| store.calendar().list(&name, from, to)).await?;
    Ok(Json(api::CalendarEvents { workload, events: found.iter().map(convert::calendar_event).collect() }))
}

/// Announce events; one of the same start and name is changed.
#[utoipa::path(
    post,
    path = "/api/v1/workloads/{id}/events",
    params(("id" = String, Path, description = "Workload name, or `*` for events that concern all")),
    request_body = api::CalendarRequest,
    responses(
        (status = 200, body = api::CalendarAccepted),
        (status = 400, description = "An event that cannot be, or nobody announces it", body = api::ErrorBody),
        (status = 404, description = "Unknown workload", body = api::ErrorBody),
    )
)]
pub(crate) async fn announce(
    State(api): State<Arc<Api>>,
    Path(workload): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<api::CalendarAccepted>, Failure> {
    known(&api, &workload)?;
    let request: api::CalendarRequest = json(&headers, body)?;
    if request.events.is_empty() {
        return Err(Failure::bad("the request has no events", "send at least one"));
    }
    let by = By::new(request.author, request.reason);
    let events: Vec<Event> = request.events.into_iter().map(event).collect();
    let changed = change(&api, move |calendar, now| calendar.add(now, &by, &workload, &events)).await?;
    let shown = |records: &[history::CalendarRecord]| records.iter().map(convert::calendar_event).collect();
    Ok(Json(api::CalendarAccepted {
        added: shown(&changed.change.added),
        changed: shown(&changed.change.changed),
        unchanged: changed.unchanged as u64,
    }))
}

/// Call an event off, or forget a past one.
#[utoipa::path(
    delete,
    path = "/api/v1/workloads/{id}/events/{event}",
    params(
        ("id" = String, Path, description = "Workload name, or `*`"),
        ("event" = u64, Path, description = "Number of the event"),
        ("author" = String, Query, description = "Who decided; kept in the journal"),
        ("reason" = String, Query, description = "Why; kept in the journal"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "Unknown workload or event", body = api::ErrorBody),
    )
)]
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Path((workload, id)): Path<(String, String)>,
    Query(pairs): Pairs,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    known(&api, &workload)?;
    // Without a body, too, this header is what a foreign web page cannot send.
    require_json(&headers)?;
    let params = Params::new(pairs, &["author", "reason"])?;
    let text = |key: &str| params.text(key).unwrap_or_default().to_owned();
    let by = By::new(text("author"), text("reason"));
    let id: u64 = id.parse().map_err(|_| {
        let shown: String = id.chars().take(40).collect();
        Failure::bad(
            format!("{shown:?} is not the number of an event"),
            "GET /api/v1/workloads/{id}/events lists those there are",
        )
    })?;
    change(&api, move |calendar, now| calendar.remove(now, &by, &workload, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn event(new: api::NewCalendarEvent) -> Event {
    Event {
        start: Timestamp::from_millis(new.start_ms),
        end: Timestamp::from_millis(new.end_ms),
        kind: new.kind.unwrap_or_else(|| kind_of(&new.name)),
        name: new.name,
        magnitude: new.magnitude.unwrap_or(1.0),
    }
}

fn known(api: &Api, workload: &str) -> Result<(), Failure> {
    if workload == EVERY_WORKLOAD { Ok(()) } else { write::known(api, workload).map(|_| ()) }
}

/// A change on a thread that may block; what the journal says of it is visible at once, and forecasts know it.
async fn change(
    api: &Api,
    work: impl FnOnce(Calendar<'_>, Timestamp) -> Result<CalendarChanged, HistoryError> + Send + 'static,
) -> Result<CalendarChanged, Failure> {
    let _order = api.knowledge.lock().await;
    let store = api.store.clone();
    let done = tokio::task::spawn_blocking(move || {
        let calendar = store.calendar().with_journal(|change| {
            // An event of these fields always has a JSON form.
            serde_json::to_vec(&convert::calendar_change(change)).unwrap_or_default()
        });
        work(calendar, clock())
    });
    let changed = done.await.map_err(|_| Failure::busy())??;
    if !changed.change.is_empty() {
        let event = convert::calendar_change(&changed.change);
        tracing::info!(kind = event.kind, workload = event.workload.as_deref(), "{}", event.message);
        api.recent.push_event(event);
        // The control loop acts on deploys. If it is gone there is nothing to act on.
        let _ = api.commands.send(Command::CalendarChanged(changed.change.clone())).await;
    }
    // Also when nothing changed: an earlier request may have failed after its change was on disk.
    let of = changed.change.workload.as_str();
    knowledge::tell(api, |config| of == EVERY_WORKLOAD || config.name == of).await?;
    Ok(changed)
}

const DAY: Duration = Duration::from_secs(86_400);
const BACK_DEFAULT: Duration = Duration::from_secs(30 * DAY.as_secs());
const AHEAD_DEFAULT: Duration = Duration::from_secs(400 * DAY.as_secs());
