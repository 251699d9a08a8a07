//! Answers that name a container's state. The client library takes only Docker's words for it, and Podman has more.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::EngineError;

/// Reads the answer to a question about one container, or about many.
///
/// # Errors
/// When the engine refuses, or its answer is too long or none of JSON.
pub(super) async fn read<T: DeserializeOwned>(response: http::Response<Incoming>) -> Result<T, EngineError> {
    let status = response.status();
    let odd = |error: &dyn std::fmt::Display| EngineError::Odd(error.to_string());
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| odd(&error))?.to_bytes();
    if !status.is_success() {
        return Err(EngineError::refused(status.as_u16(), message(&body)));
    }
    let mut answer: Value = serde_json::from_slice(&body).map_err(|error| odd(&error))?;
    match &mut answer {
        Value::Array(containers) => {
            for one in containers {
                translate(one.get_mut("State"), STATES);
                translate(one.pointer_mut("/Health/Status"), HEALTH);
            }
        }
        container => {
            translate(container.pointer_mut("/State/Status"), STATES);
            translate(container.pointer_mut("/State/Health/Status"), HEALTH);
        }
    }
    serde_json::from_value(answer).map_err(|error| odd(&error))
}

fn message(body: &Bytes) -> String {
    let told: Option<Value> = serde_json::from_slice(body).ok();
    let told = told.as_ref().and_then(|told| told.get("message")?.as_str());
    told.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned)
}

/// Podman's words into those that are `known`; no word for others.
fn translate(word: Option<&mut Value>, known: &[&str]) {
    let Some(word) = word else { return };
    let translated = match word.as_str().unwrap_or_default() {
        "stopped" => "exited",
        "configured" | "initialized" => "created",
        same if known.contains(&same) => return,
        _ => "",
    };
    *word = Value::from(translated);
}

/// What the library knows of a container's state.
const STATES: &[&str] =
    &["created", "running", "paused", "restarting", "exited", "removing", "dead", "stopping"];
/// And of its health.
const HEALTH: &[&str] = &["none", "starting", "healthy", "unhealthy"];

/// More than any list of containers needs.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum as Status};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_of_podman_are_put_into_those_of_docker() {
        let known = |word: &str| {
            let mut answer = json!({ "State": { "Status": word } });
            translate(answer.pointer_mut("/State/Status"), STATES);
            serde_json::from_value::<ContainerInspectResponse>(answer).expect("understood").state?.status
        };
        assert_eq!(known("stopped"), Some(Status::EXITED));
        assert_eq!(known("initialized"), Some(Status::CREATED));
        assert_eq!(known("running"), Some(Status::RUNNING));
        assert_eq!(known("asleep"), Some(Status::EMPTY));
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_engine() {
        assert_eq!(
            message(&Bytes::from_static(br#"{"message":"no such container: x"}"#)),
            "no such container: x"
        );
        assert_eq!(message(&Bytes::from_static(b"Not Found\n")), "Not Found");
    }
}
