//! `PUT` and `DELETE /api/v1/workloads/{id}/override`: an operator's decision that wins over the plan.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Pins one or both counts until it expires or is removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    /// Exactly so many active instances; absent: the plan decides.
    #[serde(default)]
    pub active: Option<u32>,
    /// Exactly so many standby instances; absent: the plan decides.
    #[serde(default)]
    pub standby: Option<u32>,
    /// Who decided; kept in the journal.
    pub author: String,
    /// Why; kept in the journal.
    pub reason: String,
    /// Seconds until it ends by itself; absent: until it is removed.
    #[serde(default)]
    pub expires_in_s: Option<f64>,
}

/// The override in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Override {
    /// Workload name.
    pub workload: String,
    /// Pinned active instances.
    pub active: Option<u32>,
    /// Pinned standby instances.
    pub standby: Option<u32>,
    /// Who decided.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it was set.
    pub set_at_ms: i64,
    /// When it ends by itself; absent: when it is removed.
    pub expires_at_ms: Option<i64>,
}
