//! Restarting the data plane.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;

use super::Api;
use super::failure::Failure;
use super::write::{ask, check_by, json};
use crate::control_loop::{Command, ProxyRestart};

/// Have another process take the proxy's place, with its sockets, its table and its counters; no connection is lost. Answered when
/// it serves. Where it cannot, the one that runs goes on.
#[utoipa::path(
    post,
    path = "/api/v1/proxy/restart",
    request_body = api::ProxyRestartRequest,
    responses(
        (status = 200, body = api::ProxyStatus),
        (status = 400, description = "No author or reason", body = api::ErrorBody),
        (status = 409, description = "It is being restarted, or it is a HAProxy", body = api::ErrorBody),
        (status = 500, description = "The new process does not serve; the old one goes on", body = api::ErrorBody),
    )
)]
pub(crate) async fn restart(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<api::ProxyStatus>, Failure> {
    let by: api::ProxyRestartRequest = json(&headers, body)?;
    check_by(&by.author, &by.reason)?;
    ask(&api, |reply| Command::RestartProxy(ProxyRestart { by, reply })).await.map(Json)
}
