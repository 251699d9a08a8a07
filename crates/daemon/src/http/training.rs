//! Whether models are trained, and letting that wait or go on.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;

use super::Api;
use super::failure::Failure;
use super::write::{ask, check_by, json};
use crate::control_loop::Command;

/// Whether models are trained in the background.
#[utoipa::path(get, path = "/api/v1/training", responses((status = 200, body = api::Training)))]
pub(crate) async fn show(State(api): State<Arc<Api>>) -> Json<api::Training> {
    Json(api.view().training.clone())
}

/// Let trainings wait, the one under way at its next checkpoint; a restart changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/training/pause",
    request_body = api::TrainingRequest,
    responses(
        (status = 200, body = api::Training),
        (status = 400, description = "No author or reason", body = api::ErrorBody),
        (status = 409, description = "It is paused already", body = api::ErrorBody),
    )
)]
pub(crate) async fn pause(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<api::Training>, Failure> {
    let request = request(&headers, body)?;
    ask(&api, |reply| Command::PauseTraining { request, reply }).await.map(Json)
}

/// Let trainings go on where they were paused.
#[utoipa::path(
    post,
    path = "/api/v1/training/resume",
    request_body = api::TrainingRequest,
    responses(
        (status = 200, body = api::Training),
        (status = 400, description = "No author or reason", body = api::ErrorBody),
        (status = 409, description = "It is not paused", body = api::ErrorBody),
    )
)]
pub(crate) async fn resume(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<api::Training>, Failure> {
    let request = request(&headers, body)?;
    ask(&api, |reply| Command::ResumeTraining { request, reply }).await.map(Json)
}

fn request(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<api::TrainingRequest, Failure> {
    let request: api::TrainingRequest = json(headers, body)?;
    check_by(&request.author, &request.reason)?;
    Ok(request)
}
