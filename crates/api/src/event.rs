//! `GET /api/v1/events`: what happened, newest first.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ShiftStep;

/// One past fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// When it happened.
    pub at_ms: i64,
    /// The workload it concerns; absent for events of the daemon itself.
    pub workload: Option<String>,
    /// Stable machine name, for example `instance_ready`, `action_failed`, `proxy_restarted`, `history_full`.
    pub kind: String,
    /// The instance it concerns, for example `web-17`.
    pub instance: Option<String>,
    /// One plain sentence.
    pub message: String,
    /// How long the thing took, where that makes sense.
    pub took_ms: Option<f64>,
    /// The step of a traffic shift, where the event is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<ShiftStep>,
}

/// A page of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// Newest first.
    pub events: Vec<Event>,
}
