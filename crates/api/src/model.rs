//! `/api/v1/models`: trained models as versions, which of them is in charge, and who decided.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Training;

/// What a version is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    /// Kept and measured, not relied on.
    Challenger,
    /// In charge of its workload's model.
    Champion,
    /// No longer either; kept to go back to until room is needed.
    Retired,
}

/// A version in one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// Number of the version, unique for the life of the state folder.
    pub id: u64,
    /// Whose demand it forecasts; `*` for a model of all workloads together.
    pub workload: String,
    /// Which kind of model, for example `gbdt`. Versions of one workload and kind compete for one place.
    pub model: String,
    /// What it is good for now.
    pub state: ModelState,
    /// When training ended.
    pub trained_at_ms: i64,
    /// Beginning of the data it was trained on.
    pub data_from_ms: i64,
    /// End of that data; nothing at or after it was used.
    pub data_to_ms: i64,
    /// Scores by name, for example `pinball`, `coverage_90`, `skill`.
    pub scores: BTreeMap<String, f64>,
    /// Size of the model itself.
    pub size_bytes: u64,
}

/// Everything about a version but the model itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelDetail {
    /// In one line.
    pub summary: Model,
    /// Since when it is in its state.
    pub since_ms: i64,
    /// Why it is in its state.
    pub why: String,
    /// Names of what goes in.
    pub features: Vec<String>,
    /// The version it was trained on from; absent when there was none. That version may be gone.
    pub parent: Option<u64>,
    /// The champion that it took over from, when it became champion last. That version may be gone.
    pub replaced: Option<u64>,
    /// Its number in the state folder that it was exported from; absent when it was trained here.
    pub imported_from: Option<u64>,
    /// Version of the program that trained it.
    pub code_version: String,
    /// SHA-256 of the model, in hexadecimal digits.
    pub sha256: String,
    /// How it did against another version when it was compared last.
    pub trial: Option<ModelTrial>,
}

/// Two versions on the same outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelTrial {
    /// The version it was compared with.
    pub against: u64,
    /// Which loss; smaller is better.
    pub loss: String,
    /// First outcome.
    pub from_ms: i64,
    /// Last outcome.
    pub to_ms: i64,
    /// How many outcomes.
    pub outcomes: u64,
    /// Mean loss of the version compared with.
    pub champion_loss: f64,
    /// Mean loss of this version.
    pub challenger_loss: f64,
    /// By which share of the other's loss this one's is smaller; negative when it is larger.
    pub gain: f64,
    /// Standard error of the gain, as a share.
    pub gain_error: f64,
}

/// Versions, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Models {
    /// The versions.
    pub models: Vec<Model>,
    /// Whether more are trained.
    #[serde(default)]
    pub training: Training,
}

/// Puts a version in charge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// Who decided; kept in the journal.
    pub author: String,
    /// Why; kept in the journal.
    pub reason: String,
    /// Whatever was measured.
    #[serde(default)]
    pub force: bool,
    /// Least measured gain as a share of the champion's loss; absent: 0.01.
    #[serde(default)]
    pub least_gain: Option<f64>,
}

/// Puts the version back in charge that the champion replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Who decided; kept in the journal.
    pub author: String,
    /// Why; kept in the journal.
    pub reason: String,
}
