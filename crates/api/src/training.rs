//! `/api/v1/training`: whether models are trained in the background, and who decided.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The training of models, of all workloads together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Training {
    /// The pause that it is in; absent when models are trained.
    #[serde(default)]
    pub paused: Option<TrainingPause>,
}

/// Trainings wait, the one under way as well; models that are there take part as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrainingPause {
    /// Since when.
    pub since_ms: i64,
    /// Who decided; `configuration` where the file says so.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// Pauses the training, or lets it go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingRequest {
    /// Who decided; kept in the journal.
    pub author: String,
    /// Why; kept in the journal.
    pub reason: String,
}
