//! Sessions over HTTP: a place for each, for as long as it is renewed.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;

use super::Api;
use super::failure::Failure;
use super::guard::require_json;
use super::query::Params;
use super::write::{ask, json, known};
use crate::control_loop::{Answered, Command};

/// Ask for a place for a session, or where it is.
#[utoipa::path(
    post,
    path = "/api/v1/workloads/{id}/sessions",
    params(("id" = String, Path, description = "Workload name")),
    request_body = api::SessionRequest,
    responses(
        (status = 200, description = "It has a place", body = api::Session),
        (status = 202, description = "It waits for one; ask again after `Retry-After`", body = api::Session),
        (status = 400, description = "A type or a name that cannot be", body = api::ErrorBody),
        (status = 404, description = "Unknown workload", body = api::ErrorBody),
        (status = 409, description = "The workload has no sessions, or this one is of another type", body = api::ErrorBody),
        (status = 503, description = "No room; with `Retry-After`", body = api::ErrorBody),
    )
)]
pub(crate) async fn open(
    State(api): State<Arc<Api>>,
    Path(workload): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    known(&api, &workload)?;
    let request: api::SessionRequest = json(&headers, body)?;
    check(&request)?;
    let retry = retry_after(&api, &workload);
    let answered = ask(&api, |reply| Command::OpenSession { workload, request, reply }).await;
    Ok(respond(&api, answered.map_err(|failure| failure.retry_after(retry))?).await)
}

/// Renew the lease of a session.
#[utoipa::path(
    put,
    path = "/api/v1/workloads/{id}/sessions/{session}",
    params(("id" = String, Path, description = "Workload name"), ("session" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "It has a place", body = api::Session),
        (status = 202, description = "It waits for one", body = api::Session),
        (status = 404, description = "It has ended, or was never there", body = api::ErrorBody),
        (status = 409, description = "The workload has no sessions", body = api::ErrorBody),
    )
)]
pub(crate) async fn renew(
    State(api): State<Arc<Api>>,
    Path((workload, session)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    known(&api, &workload)?;
    require_json(&headers)?;
    let answered = ask(&api, |reply| Command::RenewSession { workload, session, reply }).await?;
    Ok(respond(&api, answered).await)
}

/// End a session.
#[utoipa::path(
    delete,
    path = "/api/v1/workloads/{id}/sessions/{session}",
    params(("id" = String, Path, description = "Workload name"), ("session" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It has ended"),
        (status = 404, description = "It has ended before, or was never there", body = api::ErrorBody),
        (status = 409, description = "The workload has no sessions", body = api::ErrorBody),
    )
)]
pub(crate) async fn close(
    State(api): State<Arc<Api>>,
    Path((workload, session)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    known(&api, &workload)?;
    require_json(&headers)?;
    ask(&api, |reply| Command::CloseSession { workload, session, reply })
        .await
        .map(|()| StatusCode::NO_CONTENT)
}

/// Where a session is. Its lease is not renewed.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/sessions/{session}",
    params(("id" = String, Path, description = "Workload name"), ("session" = String, Path, description = "Its name")),
    responses((status = 200, body = api::Session), (status = 404, body = api::ErrorBody), (status = 409, body = api::ErrorBody))
)]
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Path((workload, session)): Path<(String, String)>,
) -> Result<Json<api::Session>, Failure> {
    known(&api, &workload)?;
    ask(&api, |reply| Command::LookAtSession { workload, session, reply }).await.map(Json)
}

/// The sessions of a workload, and the instances that hold them.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/sessions",
    params(
        ("id" = String, Path, description = "Workload name"),
        ("limit" = Option<usize>, Query, description = "Sessions in the answer at most; default 1000"),
    ),
    responses((status = 200, body = api::Sessions), (status = 404, body = api::ErrorBody), (status = 409, body = api::ErrorBody))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Path(workload): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<api::Sessions>, Failure> {
    known(&api, &workload)?;
    let params = Params::new(pairs, &["limit"])?;
    let limit = params.limit(LIST_DEFAULT, LIST_MAX)?;
    ask(&api, |reply| Command::ListSessions { workload, limit, reply }).await.map(Json)
}

/// Answers when the place is on disk, or it is plain that it does not get there.
async fn respond(api: &Api, (mut session, on_disk): Answered) -> Response {
    session.durable = match on_disk {
        Some(told) => is_on_disk(told).await,
        None => api.health.status().state == api::HistoryState::Ok,
    };
    match session.retry_after_s {
        None => Json(session).into_response(),
        Some(after) => {
            (StatusCode::ACCEPTED, [(RETRY_AFTER, after.to_string())], Json(session)).into_response()
        }
    }
}

pub(super) async fn is_on_disk(told: oneshot::Receiver<bool>) -> bool {
    matches!(tokio::time::timeout(DISK_PATIENCE, told).await, Ok(Ok(true)))
}

/// When there may be room: after a cold start.
fn retry_after(api: &Api, workload: &str) -> u64 {
    let view = api.view();
    let lead = view.workload(workload).map_or(0.0, |state| state.detail.lead_times.cold_ms / 1e3);
    (lead.ceil() as u64).clamp(1, RETRY_MAX_S)
}

fn check(request: &api::SessionRequest) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let name = &request.session;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(allowed) {
        return Err(Failure::bad(
            format!("{:.60?} cannot be the name of a session", name),
            format!("use 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_`, `.` or `:`"),
        ));
    }
    match request.wait_s {
        Some(seconds) if !(seconds.is_finite() && seconds >= 0.0) => {
            Err(Failure::bad(format!("`wait_s` is {seconds}"), "give seconds of at least 0, or leave it out"))
        }
        Some(_) | None => Ok(()),
    }
}

const NAME_BYTES_MAX: usize = 100;
const LIST_DEFAULT: usize = 1_000;
const LIST_MAX: usize = 100_000;
const RETRY_MAX_S: u64 = 60;
const DISK_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_not_survive_an_address_or_a_key_are_refused() {
        let request =
            |name: &str, wait_s| api::SessionRequest { session: name.into(), kind: "a".into(), wait_s };
        assert!(check(&request("player-1:match_2.x", Some(0.0))).is_ok());
        for name in ["", "a/b", "a b", "ü", &"x".repeat(101)] {
            assert!(check(&request(name, None)).is_err(), "{name}");
        }
        for wait in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(check(&request("a", Some(wait))).is_err(), "{wait}");
        }
    }
}
