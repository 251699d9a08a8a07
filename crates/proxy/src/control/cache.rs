//! What a route's cache may keep, and what it goes by.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A cache of responses in memory, shared by all shards (RFC 9111, RFC 5861).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSpec {
    /// Bytes that everything kept may take, heads and keys included. Default 64 MiB. When it is full, what was asked for least
    /// of late makes room.
    pub bytes_max: u64,
    /// Bytes of one response; a longer one is passed on and not kept. Default an eighth of `bytes_max`, at most 8 MiB.
    pub object_bytes_max: u64,
    /// How long a response without a word about its freshness is fresh: this share, in percent, of the time since it was last
    /// modified (RFC 9111 section 4.2.2). Default 0: it is asked for again each time.
    pub heuristic_percent: u8,
    /// Clients cannot ask for a newer response than is kept (`Cache-Control` and `Pragma` of requests count for nothing).
    /// Default false, as the RFC wants it. With true, no client can put load on the backends by asking so.
    pub ignores_requests: bool,
    /// How long a request waits for another's response to the same question before it asks itself. Default 5 s; 0: it asks at
    /// once.
    pub collapse_wait: Duration,
}

impl CacheSpec {
    /// A cache of this many bytes with the defaults named at the fields.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            object_bytes_max: (bytes_max / 8).min(OBJECT_BYTES_DEFAULT),
            heuristic_percent: 0,
            ignores_requests: false,
            collapse_wait: Duration::from_secs(5),
        }
    }

    /// What is wrong with it, as the rest of a sentence.
    pub fn problem(&self) -> Option<&'static str> {
        if self.bytes_max < CACHE_BYTES_MIN {
            return Some("a cache of less than 64 KiB keeps nothing");
        }
        if self.object_bytes_max > self.bytes_max / 2 {
            return Some("one response may not take more than half of the cache");
        }
        if self.heuristic_percent > 100 {
            return Some("a share of the age is at most 100 percent");
        }
        (self.collapse_wait > WAIT_MAX).then_some("requests wait for another's response for a minute at most")
    }
}

impl Default for CacheSpec {
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

/// The smallest cache.
pub const CACHE_BYTES_MIN: u64 = 64 << 10;
const OBJECT_BYTES_DEFAULT: u64 = 8 << 20;
const WAIT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_named() {
        assert_eq!(CacheSpec::default().problem(), None);
        assert_eq!(CacheSpec::new(CACHE_BYTES_MIN).problem(), None);
        for broken in [
            CacheSpec::new(1000),
            CacheSpec { object_bytes_max: 40 << 20, ..CacheSpec::default() },
            CacheSpec { heuristic_percent: 101, ..CacheSpec::default() },
            CacheSpec { collapse_wait: Duration::from_secs(61), ..CacheSpec::default() },
        ] {
            assert!(broken.problem().is_some(), "{broken:?}");
        }
    }
}
