//! What one shard counts of a route's cache.

use crate::control::CacheStats;
use crate::counters::{Counter, WorkloadCounters, total};

/// See [`CacheStats`] for the meanings.
#[derive(Debug, Default)]
pub(crate) struct CacheCounters {
    pub(super) hits: Counter,
    pub(super) stale: Counter,
    pub(super) collapsed: Counter,
    pub(super) misses: Counter,
    pub(super) revalidated: Counter,
    pub(super) rescued: Counter,
    pub(super) bypassed: Counter,
    pub(super) refreshes: Counter,
}

impl CacheCounters {
    /// The sum over the shards, with what the store knows left to the caller.
    pub(crate) fn stats(shards: &[WorkloadCounters]) -> CacheStats {
        CacheStats {
            hits: total(shards, |shard| &shard.cache.hits),
            stale: total(shards, |shard| &shard.cache.stale),
            collapsed: total(shards, |shard| &shard.cache.collapsed),
            misses: total(shards, |shard| &shard.cache.misses),
            revalidated: total(shards, |shard| &shard.cache.revalidated),
            rescued: total(shards, |shard| &shard.cache.rescued),
            bypassed: total(shards, |shard| &shard.cache.bypassed),
            refreshes: total(shards, |shard| &shard.cache.refreshes),
            ..CacheStats::default()
        }
    }
}
