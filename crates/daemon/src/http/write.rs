//! What other programs and operators may change.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::Api;
use super::failure::Failure;
use super::guard::require_json;
use super::sessions::is_on_disk;
use crate::control_loop::{Command, CommandError};

/// Push samples of demand, of the past oldest first in as many requests as it takes: until 60 s after the last of them no step
/// up to now is given up. What is of the past is on disk when it is answered.
#[utoipa::path(
    post,
    path = "/api/v1/workloads/{id}/samples",
    params(("id" = String, Path, description = "Workload name")),
    request_body = api::SamplesRequest,
    responses(
        (status = 200, body = api::SamplesAccepted),
        (status = 400, description = "Not ascending, negative or not a number", body = api::ErrorBody),
        (status = 404, description = "Unknown workload", body = api::ErrorBody),
        (status = 409, description = "Demand of the workload is counted at the proxy", body = api::ErrorBody),
    )
)]
pub(crate) async fn push_samples(
    State(api): State<Arc<Api>>,
    Path(workload): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<api::SamplesAccepted>, Failure> {
    known(&api, &workload)?;
    let request: api::SamplesRequest = json(&headers, body)?;
    if request.samples.len() > SAMPLES_MAX {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{} samples in one request", request.samples.len()),
            format!("send at most {SAMPLES_MAX} at once"),
        ));
    }
    let push = |reply| Command::Push { workload, samples: request.samples, reply };
    let (accepted, on_disk) = ask(&api, push).await?;
    if let Some(told) = on_disk {
        // A disk in trouble is told by the status; the samples are taken all the same.
        is_on_disk(told).await;
    }
    Ok(Json(accepted))
}

/// Pin the number of active or standby instances.
#[utoipa::path(
    put,
    path = "/api/v1/workloads/{id}/override",
    params(("id" = String, Path, description = "Workload name")),
    request_body = api::OverrideRequest,
    responses(
        (status = 200, body = api::Override),
        (status = 400, description = "Nothing pinned, or out of bounds", body = api::ErrorBody),
        (status = 404, description = "Unknown workload", body = api::ErrorBody),
    )
)]
pub(crate) async fn set_override(
    State(api): State<Arc<Api>>,
    Path(workload): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<api::Override>, Failure> {
    let replicas_max = known(&api, &workload)?;
    let request: api::OverrideRequest = json(&headers, body)?;
    check_override(&request, replicas_max)?;
    ask(&api, |reply| Command::SetOverride { workload, request, reply }).await.map(Json)
}

/// Remove the pin; fine when there is none.
#[utoipa::path(
    delete,
    path = "/api/v1/workloads/{id}/override",
    params(("id" = String, Path, description = "Workload name")),
    responses(
        (status = 204, description = "No pin is in force"),
        (status = 404, description = "Unknown workload", body = api::ErrorBody),
    )
)]
pub(crate) async fn clear_override(
    State(api): State<Arc<Api>>,
    Path(workload): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    known(&api, &workload)?;
    // Without a body, too, this header is what a foreign web page cannot send.
    require_json(&headers)?;
    ask(&api, |reply| Command::ClearOverride { workload, reply }).await.map(|()| StatusCode::NO_CONTENT)
}

fn check_override(request: &api::OverrideRequest, replicas_max: u32) -> Result<(), Failure> {
    if request.active.is_none() && request.standby.is_none() {
        return Err(Failure::bad("nothing is pinned", "give `active`, `standby` or both"));
    }
    let total = u64::from(request.active.unwrap_or(0)) + u64::from(request.standby.unwrap_or(0));
    if total > u64::from(replicas_max) {
        return Err(Failure::bad(
            format!("{total} instances are more than replicas.max, which is {replicas_max}"),
            "pin fewer, or raise replicas.max in the configuration",
        ));
    }
    check_by(&request.author, &request.reason)?;
    match request.expires_in_s {
        Some(seconds) if !(seconds > 0.0 && seconds <= EXPIRY_S_MAX) => Err(Failure::bad(
            format!("`expires_in_s` is {seconds}"),
            format!("give seconds above 0 and at most {EXPIRY_S_MAX}, or leave it out"),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Who and why.
pub(super) fn check_by(author: &str, reason: &str) -> Result<(), Failure> {
    for (key, text) in [("author", author), ("reason", reason)] {
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(Failure::bad(
                format!("`{key}` is empty or longer than {TEXT_BYTES_MAX} bytes"),
                "say who decided and why; it is kept in the journal",
            ));
        }
        // They could pass for lines of their own, in the log and wherever they are listed.
        if text.chars().any(char::is_control) {
            return Err(Failure::bad(
                format!("`{key}` has a line break or another control character"),
                "write it in one line",
            ));
        }
    }
    Ok(())
}

/// The workload's largest number of instances, if the workload is known.
pub(crate) fn known(api: &Api, workload: &str) -> Result<u32, Failure> {
    let view = api.view();
    view.workload(workload)
        .map(|state| state.config.replicas_most())
        .ok_or_else(|| Failure::unknown_workload(workload))
}

/// A body of JSON.
pub(crate) fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Failure> {
    require_json(headers)?;
    let body = body.map_err(|rejection| {
        Failure::new(rejection.status(), "the request body was not taken", "send at most 1 MiB")
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        Failure::bad(
            format!("the request body is not understood: {error}"),
            "GET /api/v1/openapi.json describes it",
        )
    })
}

pub(super) async fn ask<T>(
    api: &Api,
    command: impl FnOnce(oneshot::Sender<Result<T, CommandError>>) -> Command,
) -> Result<T, Failure> {
    let (reply, answer) = oneshot::channel();
    api.commands.send(command(reply)).await.map_err(|_| Failure::busy())?;
    Ok(answer.await.map_err(|_| Failure::busy())??)
}

const SAMPLES_MAX: usize = 10_000;
const TEXT_BYTES_MAX: usize = 500;
const EXPIRY_S_MAX: f64 = 366.0 * 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(active: Option<u32>, expires_in_s: Option<f64>) -> api::OverrideRequest {
        api::OverrideRequest {
            active,
            standby: None,
            author: "ops".into(),
            reason: "launch".into(),
            expires_in_s,
        }
    }

    #[test]
    fn an_override_pins_something_within_the_limits_for_a_time_that_exists() {
        assert!(check_override(&request(Some(5), Some(60.0)), 5).is_ok());
        assert!(check_override(&request(None, None), 5).is_err());
        assert!(check_override(&request(Some(6), None), 5).is_err());
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(check_override(&request(Some(1), Some(seconds)), 5).is_err(), "{seconds}");
        }
        let anonymous = api::OverrideRequest { author: " ".into(), ..request(Some(1), None) };
        assert!(check_override(&anonymous, 5).is_err());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let headers = HeaderMap::from_iter([(
                axum::http::header::CONTENT_TYPE,
                axum::http::HeaderValue::from_static("application/json"),
            )]);
            let body = Bytes::from(body);
            let _ = json::<api::SamplesRequest>(&headers, Ok(body.clone()));
            if let Ok(request) = json::<api::OverrideRequest>(&headers, Ok(body)) {
                let _ = check_override(&request, 10);
            }
        }
    }
}
