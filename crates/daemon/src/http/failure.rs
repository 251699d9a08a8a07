//! Answers that are not 2xx.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};

use history::HistoryError;
use history::models::ModelRefusal;

use crate::control_loop::CommandError;
use crate::error::chain;
use crate::sessions::SessionRefusal;

/// A refused or failed request.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    error: String,
    hint: String,
    /// Seconds after which it is worth asking again.
    retry_after: Option<u64>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { status, error: error.into(), hint: hint.into(), retry_after: None }
    }

    /// Says when it is worth asking again, where that is a question of time.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Failure {
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            self.retry_after = Some(seconds);
        }
        self
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

    pub(crate) fn history(error: &HistoryError) -> Failure {
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
            CommandError::TooManyOverrides => Failure::new(
                StatusCode::CONFLICT,
                error.to_string(),
                "remove one first: DELETE /api/v1/workloads/{id}/forecast-overrides/{override}",
            ),
            CommandError::UnknownOverride(_) => Failure::new(
                StatusCode::NOT_FOUND,
                error.to_string(),
                "GET /api/v1/workloads/{id}/forecast-overrides lists the ones there are",
            ),
            CommandError::NoTime => {
                Failure::bad(error.to_string(), "give `from_ms` before `to_ms`, and `to_ms` in the future")
            }
            CommandError::TrainingPaused(_) => Failure::new(
                StatusCode::CONFLICT,
                error.to_string(),
                "`foreshadow models resume` lets it go on; agree with who paused it",
            ),
            CommandError::TrainingNotPaused => Failure::new(
                StatusCode::CONFLICT,
                error.to_string(),
                "GET /api/v1/training tells whether it is",
            ),
            CommandError::NotOurProxy => Failure::new(
                StatusCode::CONFLICT,
                error.to_string(),
                "reload it by its own means; it gets its servers as soon as it answers",
            ),
            CommandError::ProxyRestarting => {
                Failure::new(StatusCode::CONFLICT, error.to_string(), "try again in a moment")
            }
            CommandError::ProxyRestart(_) => Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                error.to_string(),
                "the proxy that runs goes on; see `proxy.log` in the state folder",
            ),
            CommandError::NoSessions(_) => Failure::new(
                StatusCode::CONFLICT,
                error.to_string(),
                "set `sessions = { types = .. }` to have some",
            ),
            CommandError::Session(refusal) => session_refusal(refusal),
            CommandError::Samples(_) => Failure::bad(
                error.to_string(),
                "send samples with ascending `at_ms` (milliseconds since 1970, UTC), one for each step, each later than the last; the \
                 past oldest first, with at most 60 s between requests",
            ),
        }
    }
}

fn session_refusal(refusal: &SessionRefusal) -> Failure {
    let (status, hint) = match refusal {
        SessionRefusal::UnknownType { .. } => (StatusCode::BAD_REQUEST, "give one of the configured types"),
        SessionRefusal::OtherType { .. } => {
            (StatusCode::CONFLICT, "give each session a name of its own, or end that one first")
        }
        SessionRefusal::Unknown(_) => {
            (StatusCode::NOT_FOUND, "it has ended, or was not renewed in time; ask for a place anew")
        }
        SessionRefusal::NoPlace(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "try again after the time in `Retry-After`")
        }
    };
    Failure::new(status, refusal.to_string(), hint)
}

/// What the history answers to a change.
impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Failure {
        let text = chain(&error);
        match error {
            HistoryError::Model(refusal) => Failure::new(status_of(&refusal), text, hint_for(&refusal)),
            HistoryError::Anonymous { .. } => Failure::bad(text, "give `author` and `reason`"),
            HistoryError::UnknownEvent { .. } => Failure::new(
                StatusCode::NOT_FOUND,
                text,
                "GET /api/v1/workloads/{id}/events lists the events there are",
            ),
            HistoryError::Name { .. }
            | HistoryError::Limit { .. }
            | HistoryError::NotFinite { .. }
            | HistoryError::BadEvent { .. } => {
                Failure::bad(text, "GET /api/v1/openapi.json describes what is taken")
            }
            HistoryError::NoSpace { .. } => Failure::new(
                StatusCode::INSUFFICIENT_STORAGE,
                text,
                "free space on the disk of the state folder",
            ),
            other => Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the history failed: {}", chain(&other)),
                "see the daemon's log",
            ),
        }
    }
}

fn status_of(refusal: &ModelRefusal) -> StatusCode {
    match refusal {
        ModelRefusal::Unknown { .. } => StatusCode::NOT_FOUND,
        ModelRefusal::ForeignParent { .. }
        | ModelRefusal::ForeignRival { .. }
        | ModelRefusal::Trial(_)
        | ModelRefusal::File(_) => StatusCode::BAD_REQUEST,
        // What is left depends on what else is in the repository.
        _ => StatusCode::CONFLICT,
    }
}

fn hint_for(refusal: &ModelRefusal) -> &'static str {
    match refusal {
        ModelRefusal::NoRoom { .. } => {
            "raise `versions_max` or `size_max` under [training] in the configuration"
        }
        ModelRefusal::File(_) => "send the unchanged answer of GET /api/v1/models/{id}/export",
        _ => "GET /api/v1/models lists the versions there are",
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let retry = self.retry_after.map(|seconds| [(RETRY_AFTER, seconds.to_string())]);
        let body = Json(api::ErrorBody { error: self.error, hint: self.hint });
        match retry {
            Some(retry) => (self.status, retry, body).into_response(),
            None => (self.status, body).into_response(),
        }
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
