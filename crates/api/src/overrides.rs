//! `PUT` and `DELETE /api/v1/workloads/{id}/override`: an operator's decision that wins over the plan;
//! `/api/v1/workloads/{id}/forecast-overrides`: demand that an operator knows better than the forecast.

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

/// Changes the forecast for a time: exactly one of `scale`, `add` and `replace`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForecastOverrideRequest {
    /// So many times the forecast, from 0 to 1000.
    #[serde(default)]
    pub scale: Option<f64>,
    /// So much more than the forecast; below zero, less.
    #[serde(default)]
    pub add: Option<f64>,
    /// Exactly so much, whatever is forecast.
    #[serde(default)]
    pub replace: Option<f64>,
    /// From when on; absent: from now on.
    #[serde(default)]
    pub from_ms: Option<i64>,
    /// Until when; after `from_ms`, and at most 366 days from now.
    pub to_ms: i64,
    /// Who decided; kept in the journal.
    pub author: String,
    /// Why; kept in the journal.
    pub reason: String,
}

/// An override of the forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastOverride {
    /// Its number. A later one is applied to what earlier ones have made of the forecast.
    pub id: u64,
    /// Workload name.
    pub workload: String,
    /// So many times the forecast.
    #[serde(default)]
    pub scale: Option<f64>,
    /// So much more than the forecast.
    #[serde(default)]
    pub add: Option<f64>,
    /// Exactly so much.
    #[serde(default)]
    pub replace: Option<f64>,
    /// From when on.
    pub from_ms: i64,
    /// Until when.
    pub to_ms: i64,
    /// Who decided.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it was set.
    pub set_at_ms: i64,
    /// One plain sentence.
    pub sentence: String,
}

/// All overrides of a forecast that are not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastOverrides {
    /// In the order in which they are applied.
    pub overrides: Vec<ForecastOverride>,
}
