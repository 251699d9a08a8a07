//! `/api/v1/workloads/{id}/sessions`: demand that stays where it was put.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for a place. Asking again for the same session renews its lease and tells where it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// Its name: 1 to 100 letters, digits, `-`, `_`, `.` or `:`.
    pub session: String,
    /// The name of its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How long it waits for room at most, in seconds; absent: as long as the configuration lets it. 0: not at all.
    #[serde(default)]
    pub wait_s: Option<f64>,
}

/// Whether a session has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It has.
    Placed,
    /// It waits for one; ask again after `retry_after_s`.
    Queued,
}

/// Where a session is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Its name.
    pub session: String,
    /// The name of its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it has a place.
    pub state: SessionState,
    /// Name of the instance that it is on, for example `game-17`.
    pub instance: Option<String>,
    /// The process in it, from 0.
    pub process: Option<u32>,
    /// Where that process listens.
    pub address: Option<String>,
    /// The instance is to go, and waits for this session until then.
    pub leaves_by_ms: Option<i64>,
    /// While it waits: how many are before it.
    pub position: Option<u64>,
    /// While it waits: when to ask again, in seconds.
    pub retry_after_s: Option<u64>,
    /// When it has ended unless it is renewed.
    pub expires_at_ms: i64,
    /// A restart of the daemon finds it again. False while the disk is full.
    pub durable: bool,
}

/// Sessions of one type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionCounts {
    /// The name of the type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its class: a higher one is placed first.
    pub class: u8,
    /// Those that have a place.
    pub held: u64,
    /// Of these: on instances that are to go, which wait for them.
    pub draining: u64,
    /// Those that wait for one.
    pub waiting: u64,
    /// How many more would find a place now.
    pub room: u64,
}

/// Sessions of a workload in brief.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionSummary {
    /// By type, in the order of the names.
    pub types: Vec<SessionCounts>,
    /// Instances that are to go, and wait for sessions on them.
    pub instances_waiting: u32,
    /// Sessions since the daemon started that were placed.
    pub placed: u64,
    /// That ended by themselves.
    pub ended: u64,
    /// That were not renewed in time.
    pub expired: u64,
    /// That got no place.
    pub refused: u64,
    /// Whose instance was gone, or was given up when the time to wait for them was over.
    pub lost: u64,
}

/// An instance as a holder of sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionHost {
    /// Its name.
    pub instance: String,
    /// It may get sessions.
    pub open: bool,
    /// Until when it is waited for, if it is to go.
    pub leaves_by_ms: Option<i64>,
    /// Sessions on it, by the name of their type.
    pub held: std::collections::BTreeMap<String, u32>,
    /// Its processes.
    pub processes: Vec<SessionProcess>,
}

/// A process that holds sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionProcess {
    /// Where it listens; absent until known.
    pub address: Option<String>,
    /// What sessions take of it, in the unit of the weights.
    pub used: f64,
    /// What it holds, in the same unit.
    pub size: f64,
}

/// The sessions of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sessions {
    /// In brief.
    pub summary: SessionSummary,
    /// The instances, oldest first.
    pub hosts: Vec<SessionHost>,
    /// Those that have a place, by name, then those that wait, in their order; at most `limit` of them.
    pub sessions: Vec<Session>,
}
