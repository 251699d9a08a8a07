//! What a workload's cache does.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Counts since the proxy started, and what is kept now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CacheSummary {
    /// Share of the requests that a cache has a part in which no instance saw; absent before the first.
    pub hit_rate: Option<f64>,
    /// Requests that no instance saw.
    pub spared: u64,
    /// Addresses that something is known of.
    pub entries: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Bytes that they may take.
    pub bytes_max: u64,
    /// Responses that had to make room for others.
    pub evictions: u64,
}
