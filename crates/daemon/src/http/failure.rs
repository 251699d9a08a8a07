//! Answers that are not 2xx.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::control_loop::CommandError;
use crate::error::chain;

/// A refused or failed request.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    error: String,
    hint: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { status, error: error.into(), hint: hint.into() }
    }

    /// The request makes no sense.
    pub(crate) fn bad(error: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, error, hint)
    }

    pub(crate) fn unknown_workload(name: &str) -> Failure {
        let name: String = name.chars().take(60).collect();
        Failure::new(
            StatusCode::NOT_FOUND,
            format!("there is no workload named {name:?}"),
            "GET /api/v1/workloads lists those that are configured",
        )
    }

    /// The control loop did not answer.
    pub(crate) fn busy() -> Failure {
        Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the control loop does not answer",
            "try again in a moment",
        )
    }

    pub(crate) fn history(error: &history::HistoryError) -> Failure {
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the history cannot be read: {}", chain(error)),
            "see the daemon's log",
        )
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Failure {
        match &error {
            CommandError::UnknownWorkload(name) => Failure::unknown_workload(name),
            CommandError::NotPushed(_) => Failure::new(
                StatusCode::CONFLICT,
                error.to_string(),
                "set `demand = \"push\"` to send samples",
            ),
            CommandError::Samples(_) => Failure::bad(
                error.to_string(),
                "send samples with ascending `at_ms` (milliseconds since 1970, UTC), one for each step, each later than the last",
            ),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(api::ErrorBody { error: self.error, hint: self.hint })).into_response()
    }
}

pub(crate) async fn not_found() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "there is nothing at this address",
        "GET /api/v1/openapi.json lists what there is",
    )
}

pub(crate) async fn method_not_allowed() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this address does not take that method",
        "GET /api/v1/openapi.json lists what it takes",
    )
}
