//! The body of every answer that is not 2xx.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// One sentence: what was refused or failed.
    pub error: String,
    /// One sentence: what to do.
    pub hint: String,
}
