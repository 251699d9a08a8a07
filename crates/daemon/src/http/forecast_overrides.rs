//! Overrides of the forecast over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use forecast::Change;

use super::Api;
use super::failure::Failure;
use super::guard::require_json;
use super::write::{ask, check_by, json, known};
use crate::control_loop::Command;
use crate::convert::overrides::change;

/// The overrides of a forecast, in force and to come.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/forecast-overrides",
    params(("id" = String, Path, description = "Workload name")),
    responses((status = 200, body = api::ForecastOverrides), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<api::ForecastOverrides>, Failure> {
    let view = api.view();
    let workload = view.workload(&name).ok_or_else(|| Failure::unknown_workload(&name))?;
    Ok(Json(api::ForecastOverrides { overrides: workload.detail.forecast_overrides.clone() }))
}

/// Scale, raise or replace the forecast for a time.
#[utoipa::path(
    post,
    path = "/api/v1/workloads/{id}/forecast-overrides",
    params(("id" = String, Path, description = "Workload name")),
    request_body = api::ForecastOverrideRequest,
    responses(
        (status = 200, body = api::ForecastOverride),
        (status = 400, description = "Not exactly one change, or no time to come", body = api::ErrorBody),
        (status = 404, description = "Unknown workload", body = api::ErrorBody),
        (status = 409, description = "Too many overrides at one time", body = api::ErrorBody),
    )
)]
pub(crate) async fn set(
    State(api): State<Arc<Api>>,
    Path(workload): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<api::ForecastOverride>, Failure> {
    known(&api, &workload)?;
    let request: api::ForecastOverrideRequest = json(&headers, body)?;
    check(&request)?;
    ask(&api, |reply| Command::SetForecastOverride { workload, request, reply }).await.map(Json)
}

/// Take an override back.
#[utoipa::path(
    delete,
    path = "/api/v1/workloads/{id}/forecast-overrides/{override}",
    params(
        ("id" = String, Path, description = "Workload name"),
        ("override" = u64, Path, description = "Number of the override"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "Unknown workload or override", body = api::ErrorBody),
    )
)]
pub(crate) async fn clear(
    State(api): State<Arc<Api>>,
    Path((workload, id)): Path<(String, u64)>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    known(&api, &workload)?;
    require_json(&headers)?;
    ask(&api, |reply| Command::ClearForecastOverride { workload, id, reply })
        .await
        .map(|()| StatusCode::NO_CONTENT)
}

fn check(request: &api::ForecastOverrideRequest) -> Result<(), Failure> {
    let Some(change) = change(request.scale, request.add, request.replace) else {
        return Err(Failure::bad("not exactly one change", "give one of `scale`, `add` and `replace`"));
    };
    if !change.is_sound() {
        let hint = format!(
            "give a `scale` from 0 to {}, or a demand of at most {:e}; only `add` may be below zero",
            Change::SCALE_MAX,
            Change::DEMAND_MAX
        );
        return Err(Failure::bad("the change is out of range", hint));
    }
    check_by(&request.author, &request.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(scale: Option<f64>, add: Option<f64>) -> api::ForecastOverrideRequest {
        let (author, reason) = ("ana".to_owned(), "sale".to_owned());
        api::ForecastOverrideRequest { scale, add, replace: None, from_ms: None, to_ms: 1, author, reason }
    }

    #[test]
    fn one_change_of_a_sensible_size_by_somebody() {
        assert!(check(&request(Some(2.0), None)).is_ok() && check(&request(None, Some(-50.0))).is_ok());
        for bad in [
            request(None, None),
            request(Some(1.0), Some(1.0)),
            request(Some(-1.0), None),
            request(Some(f64::NAN), None),
            request(None, Some(f64::INFINITY)),
            api::ForecastOverrideRequest { reason: " ".into(), ..request(Some(1.0), None) },
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(body in "\\PC*") {
            let kind = axum::http::HeaderValue::from_static("application/json");
            let headers = HeaderMap::from_iter([(axum::http::header::CONTENT_TYPE, kind)]);
            if let Ok(request) = json::<api::ForecastOverrideRequest>(&headers, Ok(Bytes::from(body))) {
                let _ = check(&request);
            }
        }
    }
}
