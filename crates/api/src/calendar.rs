//! `/api/v1/workloads/{id}/events`: what was, or is announced, that moves the demand of a workload.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An event to be announced, or changed where there is one of the same start and name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCalendarEvent {
    /// What it is called.
    pub name: String,
    /// What sort of event it is; those of one kind are expected to act alike. Absent: the name without its numbers.
    #[serde(default)]
    pub kind: Option<String>,
    /// When it begins.
    pub start_ms: i64,
    /// When it is over.
    pub end_ms: i64,
    /// How large it is beside others of its kind; absent: 1.
    #[serde(default)]
    pub magnitude: Option<f64>,
}

/// Announces events, all of them or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarRequest {
    /// Who announces them; kept with them and in the journal.
    pub author: String,
    /// Why; kept in the journal.
    pub reason: String,
    /// The events.
    pub events: Vec<NewCalendarEvent>,
}

/// An event in the calendar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CalendarEvent {
    /// Its number.
    pub id: u64,
    /// What it is called.
    pub name: String,
    /// What sort of event it is.
    pub kind: String,
    /// When it begins.
    pub start_ms: i64,
    /// When it is over.
    pub end_ms: i64,
    /// How large it is beside others of its kind.
    pub magnitude: f64,
    /// Who announced it, or changed it last.
    pub author: String,
    /// When that was.
    pub noted_at_ms: i64,
}

/// Events by their start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CalendarEvents {
    /// Workload name, or `*` for events that concern all.
    pub workload: String,
    /// The events.
    pub events: Vec<CalendarEvent>,
}

/// What became of announced events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CalendarAccepted {
    /// Events that are new.
    pub added: Vec<CalendarEvent>,
    /// Events that were known, as they are now.
    pub changed: Vec<CalendarEvent>,
    /// How many were known exactly so.
    pub unchanged: u64,
}
