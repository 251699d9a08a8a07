//! Memory for responses that are still arriving: it is bounded as well.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::store::RouteCache;

/// Room for a response that is not complete yet; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    cache: Arc<RouteCache>,
    bytes: u64,
}

impl Room {
    pub(super) fn new(cache: &Arc<RouteCache>) -> Self {
        Self { cache: Arc::clone(cache), bytes: 0 }
    }

    /// Makes it large enough for `bytes` in all; false if the response is too long, or too many arrive at once.
    pub(super) fn reach(&mut self, bytes: u64) -> bool {
        let spec = &self.cache.spec;
        if bytes > spec.object_bytes_max {
            return false;
        }
        let more = bytes.saturating_sub(self.bytes);
        let most = spec.bytes_max / ARRIVING_SHARE;
        let taken = |arriving: u64| Some(arriving + more).filter(|&sum| sum <= most);
        let is_taken = self.cache.arriving.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok();
        if is_taken {
            self.bytes += more;
        }
        is_taken
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.cache.arriving.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What is arriving may take this part of what is kept, besides.
const ARRIVING_SHARE: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::CacheSpec;

    #[test]
    fn what_arrives_at_once_is_bounded_too() {
        let cache = Arc::new(RouteCache::new(&CacheSpec::new(64 << 10), 2, Arc::default()));
        let mut rooms: Vec<_> = (0..5).map(|_| Room::new(&cache)).collect();
        let reached: Vec<_> =
            rooms.iter_mut().map(|room| room.reach(4 << 10) && room.reach(8 << 10)).collect();
        assert_eq!(reached, [true, true, true, true, false]);
        assert!(!rooms[0].reach(9 << 10), "longer than one may be");
        rooms.truncate(1);
        assert!(Room::new(&cache).reach(8 << 10));
        drop(rooms);
        assert_eq!(cache.arriving.load(Ordering::Relaxed), 0);
    }
}
