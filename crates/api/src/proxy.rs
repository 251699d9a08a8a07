//! `/api/v1/proxy`: what may be asked of the data plane.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Has another process take the proxy's place; no connection is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyRestartRequest {
    /// Who decided; kept in the journal.
    pub author: String,
    /// Why; kept in the journal.
    pub reason: String,
}
