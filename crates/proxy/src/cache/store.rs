//! What is kept, in bounded memory, for all shards.

use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::directives::Directives;
use super::flight::Flights;
use super::key::{Key, secondary};
use super::policy::Terms;
use crate::control::{CacheSpec, CacheStats};

/// The cache of one route.
pub(crate) struct RouteCache {
    pub(super) spec: CacheSpec,
    pub(super) flights: Arc<Flights>,
    store: Cache<Key, Arc<Resource>, Size, RandomState, Evictions>,
    /// Bytes that all variants of one resource may take.
    resource_bytes_max: u64,
    /// Held while a resource is changed, so that no change is lost; not while one is read.
    changing: Mutex<()>,
    evictions: Arc<AtomicU64>,
    /// Bytes of responses that are not complete yet.
    pub(super) arriving: AtomicU64,
}

impl std::fmt::Debug for RouteCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteCache").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// What is known of one address.
#[derive(Debug, Default)]
pub(super) struct Resource {
    /// The newest first, no two for the same request.
    variants: Vec<Arc<Stored>>,
    /// When it was changed by a request that went through here: what was asked for before may be what it was before.
    changed: Option<Instant>,
    /// Nobody waits for another's response until then: those that came were for one request only.
    alone_until: Option<Instant>,
    bytes: u64,
}

/// A response.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) status: StatusCode,
    /// With a `Date`, without what belongs to one hop.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) terms: Terms,
    pub(super) received: Instant,
    /// Of the request that it answered.
    pub(super) secondary: Box<[u8]>,
}

/// What a request says about the age of its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    no_cache: bool,
    max_age: Option<Duration>,
    min_fresh: Option<Duration>,
    /// Staleness that is accepted; `Some(None)`: any.
    max_stale: Option<Option<Duration>>,
    pub(super) only_if_cached: bool,
}

/// What a kept response is to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Its answer.
    Fresh,
    /// Its answer although it is stale.
    Stale,
    /// The same, while a newer one is fetched.
    Renew,
    /// To be confirmed first, because it is stale.
    Outdated,
    /// To be confirmed first, because the client wants that.
    Unwanted,
}

impl Wishes {
    pub(super) fn of(directives: &Directives) -> Self {
        let seconds = |name| directives.seconds(name);
        Self {
            no_cache: directives.has("no-cache"),
            max_age: seconds("max-age").flatten(),
            min_fresh: seconds("min-fresh").flatten(),
            max_stale: seconds("max-stale"),
            only_if_cached: directives.has("only-if-cached"),
        }
    }
}

impl Stored {
    fn bytes(&self) -> u64 {
        let fields = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
        (self.body.len() + fields.sum::<usize>() + self.secondary.len() + STORED_BYTES) as u64
    }

    /// In whole, from its making at the backend.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.terms.age + self.resident(now)
    }

    fn resident(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.received)
    }

    /// Seconds that it is still fresh; below zero, since when it is stale.
    pub(super) fn ttl_s(&self, now: Instant) -> i64 {
        (self.terms.fresh_for.as_secs_f64() - self.resident(now).as_secs_f64()).floor() as i64
    }

    /// How long it has been stale.
    fn stale_for(&self, now: Instant) -> Option<Duration> {
        self.resident(now).checked_sub(self.terms.fresh_for)
    }

    pub(super) fn is_for(&self, wishes: &Wishes, now: Instant) -> Use {
        let left = self.terms.fresh_for.saturating_sub(self.resident(now));
        if wishes.no_cache
            || wishes.max_age.is_some_and(|max| self.age(now) > max)
            || wishes.min_fresh.is_some_and(|min| left < min)
        {
            return Use::Unwanted;
        }
        let Some(stale_for) = self.stale_for(now) else { return Use::Fresh };
        if !self.terms.while_revalidating.is_zero() && stale_for <= self.terms.while_revalidating {
            return Use::Renew;
        }
        let accepts = wishes.max_stale.is_some_and(|max| max.is_none_or(|max| stale_for <= max));
        if self.terms.may_be_stale && accepts { Use::Stale } else { Use::Outdated }
    }

    /// Whether it may stand in for an answer that the backend failed to give.
    pub(super) fn rescues(&self, now: Instant) -> bool {
        !self.terms.if_error.is_zero()
            && self.stale_for(now).is_none_or(|stale_for| stale_for <= self.terms.if_error)
    }

    /// Whether another that asks at the same time may have it, too.
    pub(super) fn can_be_shared(&self) -> bool {
        !self.terms.fresh_for.is_zero()
    }
}

impl Resource {
    /// The variant for a request with these fields.
    pub(super) fn select(&self, headers: &HeaderMap) -> Option<&Arc<Stored>> {
        self.variants.iter().find(|stored| {
            stored.terms.vary.is_empty() || stored.secondary == secondary(&stored.terms.vary, headers)
        })
    }

    /// What tells this request from others for the same address, as far as is known.
    pub(super) fn question(&self, headers: &HeaderMap) -> Box<[u8]> {
        self.variants.first().map_or_else(Box::default, |newest| secondary(&newest.terms.vary, headers))
    }

    pub(super) fn is_alone(&self, now: Instant) -> bool {
        self.alone_until.is_some_and(|until| now < until)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.variants.is_empty()
    }

    fn with(&self, stored: Arc<Stored>, bytes_max: u64) -> Self {
        let mut bytes = stored.bytes();
        let (vary, secondary) = (&stored.terms.vary, &stored.secondary);
        let others =
            self.variants.iter().filter(|old| &old.terms.vary != vary || &old.secondary != secondary);
        let others: Vec<_> = others.cloned().collect();
        let mut variants = vec![stored];
        for other in others.into_iter().take(VARIANTS_MAX - 1) {
            bytes += other.bytes();
            if bytes > bytes_max {
                bytes -= other.bytes();
                break;
            }
            variants.push(other);
        }
        Self { variants, changed: self.changed, alone_until: None, bytes }
    }
}

impl RouteCache {
    pub(super) fn new(spec: &CacheSpec, shards: usize, evictions: Arc<AtomicU64>) -> Self {
        // Each part has room for several of the largest.
        let parts = (spec.bytes_max / (4 * spec.object_bytes_max).max(1)).clamp(1, 4 * shards as u64);
        let parts = 1 << parts.ilog2();
        let items = usize::try_from(spec.bytes_max / ITEM_BYTES).unwrap_or(usize::MAX).max(ITEMS_MIN);
        let options = OptionsBuilder::new()
            .shards(parts)
            .estimated_items_capacity(items)
            .weight_capacity(spec.bytes_max)
            .build();
        let options = options.expect("both capacities are given");
        let store = Cache::with_options(options, Size, RandomState::new(), Evictions(Arc::clone(&evictions)));
        Self {
            resource_bytes_max: (store.shard_capacity() / 2).max(spec.object_bytes_max),
            spec: spec.clone(),
            flights: Arc::default(),
            store,
            changing: Mutex::new(()),
            evictions,
            arriving: AtomicU64::new(0),
        }
    }

    /// What a new table makes of a route's cache: it is kept if the same is asked for.
    pub(crate) fn renewed(
        before: Option<Arc<Self>>,
        spec: Option<&CacheSpec>,
        shards: usize,
    ) -> Option<Arc<Self>> {
        let spec = spec?;
        match before {
            Some(before) if before.spec == *spec => Some(before),
            Some(before) => Some(Arc::new(Self::new(spec, shards, Arc::clone(&before.evictions)))),
            None => Some(Arc::new(Self::new(spec, shards, Arc::default()))),
        }
    }

    /// Adds what only the store knows.
    pub(crate) fn tell(&self, stats: &mut CacheStats) {
        stats.entries = self.store.len() as u64;
        stats.bytes = self.store.weight();
        stats.evictions = self.evictions.load(Ordering::Relaxed);
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Resource>> {
        self.store.get(key)
    }

    /// Keeps a response to a request that was sent at `began`; false if it was too late or is too large.
    pub(super) fn put(&self, key: &Key, began: Instant, stored: Arc<Stored>) -> bool {
        if stored.bytes() > self.spec.object_bytes_max {
            return false;
        }
        self.change(key, |before| {
            let is_late = before.changed.is_some_and(|changed| changed >= began);
            (!is_late).then(|| before.with(stored, self.resource_bytes_max))
        })
    }

    /// Forgets what an address had, and what is under way for it.
    pub(super) fn invalidate(&self, key: &Key, now: Instant) {
        self.change(key, |_| Some(Resource { changed: Some(now), ..Resource::default() }));
    }

    /// Lets nobody wait for this address for some time.
    pub(super) fn leave_alone(&self, key: &Key, now: Instant) {
        self.change(key, |before| {
            Some(Resource {
                variants: before.variants.clone(),
                changed: before.changed,
                alone_until: Some(now + ALONE),
                bytes: before.bytes,
            })
        });
    }

    fn change(&self, key: &Key, change: impl FnOnce(&Resource) -> Option<Resource>) -> bool {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.store.peek(key);
        let after = change(before.as_deref().unwrap_or(&Resource::default()));
        let is_changed = after.is_some();
        if let Some(after) = after {
            self.store.insert(Arc::clone(key), Arc::new(after));
        }
        is_changed
    }
}

/// The fields of a response as they are kept: with the `Date` that one without is given (RFC 9110 section 6.6.1).
pub(super) fn with_date(mut headers: HeaderMap) -> HeaderMap {
    headers.entry(http::header::DATE).or_insert_with(|| {
        HeaderValue::try_from(httpdate::fmt_http_date(std::time::SystemTime::now()))
            .unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
    });
    headers
}

/// Weighs in bytes.
#[derive(Clone, Debug)]
struct Size;

impl Weighter<Key, Arc<Resource>> for Size {
    fn weight(&self, key: &Key, resource: &Arc<Resource>) -> u64 {
        resource.bytes + key.len() as u64 + RESOURCE_BYTES
    }
}

/// Counts what had to make room.
#[derive(Clone, Debug)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Arc<Resource>> for Evictions {
    /// Freed when the store is not locked any more.
    type RequestState = Vec<Arc<Resource>>;

    fn on_evict(&self, evicted: &mut Self::RequestState, _: Key, resource: Arc<Resource>) {
        if !resource.is_empty() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        evicted.push(resource);
    }
}

/// Variants of one address.
const VARIANTS_MAX: usize = 16;
/// How long nobody waits for an address whose responses are for one request only.
const ALONE: Duration = Duration::from_secs(10);
/// Beside its bytes, what a field, a response and an address take in memory, about.
const FIELD_BYTES: usize = 64;
const STORED_BYTES: usize = 512;
const RESOURCE_BYTES: u64 = 256;
/// A guess of the usual size, by which the store plans how many addresses it remembers without their responses.
const ITEM_BYTES: u64 = 4096;
const ITEMS_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(vary: &[&str]) -> Terms {
        Terms {
            age: Duration::ZERO,
            fresh_for: Duration::from_secs(10),
            while_revalidating: Duration::from_secs(5),
            if_error: Duration::from_secs(20),
            may_be_stale: true,
            for_all: false,
            vary: vary.iter().map(|name| name.parse().expect("a name")).collect(),
        }
    }

    fn stored(bytes: usize, vary: &[&str], headers: &HeaderMap) -> Arc<Stored> {
        let terms = terms(vary);
        Arc::new(Stored {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: vec![b'x'; bytes].into(),
            received: Instant::now(),
            secondary: secondary(&terms.vary, headers),
            terms,
        })
    }

    fn key(n: usize) -> Key {
        n.to_string().into_bytes().into()
    }

    fn cache(bytes_max: u64) -> RouteCache {
        RouteCache::new(&CacheSpec::new(bytes_max), 2, Arc::default())
    }

    #[test]
    fn it_never_takes_more_than_it_may() {
        for bytes_max in [64 << 10, 1 << 20, 4 << 20] {
            let cache = cache(bytes_max);
            let mut random = fastrand::Rng::with_seed(7);
            for n in 0..5000 {
                let largest = cache.spec.object_bytes_max as usize;
                let response = stored(random.usize(0..largest), &[], &HeaderMap::new());
                cache.put(&key(random.usize(0..500)), Instant::now(), response);
                assert!(cache.store.weight() <= bytes_max, "{bytes_max} {n}");
            }
            let mut stats = CacheStats::default();
            cache.tell(&mut stats);
            assert!(stats.evictions > 0 && stats.bytes > bytes_max / 4 && stats.entries > 0, "{stats:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let cache = cache(64 << 10);
        assert!(!cache.put(&key(1), Instant::now(), stored(8 << 10, &[], &HeaderMap::new())));
        assert!(cache.get(&key(1)).is_none());
    }

    #[test]
    fn variants_are_kept_beside_each_other_and_replaced_one_by_one() {
        let cache = cache(1 << 20);
        let mut headers = HeaderMap::new();
        for n in 0..40 {
            headers.insert("accept", HeaderValue::from(n % 20));
            cache.put(&key(1), Instant::now(), stored(n, &["accept"], &headers));
        }
        let resource = cache.get(&key(1)).expect("kept");
        assert_eq!(resource.variants.len(), VARIANTS_MAX);
        let length = |n: usize| {
            let mut headers = HeaderMap::new();
            headers.insert("accept", HeaderValue::from(n));
            resource.select(&headers).map(|stored| stored.body.len())
        };
        assert_eq!((length(19), length(4), length(3)), (Some(39), Some(24), None));
    }

    #[test]
    fn what_was_asked_for_before_a_change_is_not_kept_after_it() {
        let cache = cache(1 << 20);
        let before = Instant::now();
        cache.put(&key(1), before, stored(1, &[], &HeaderMap::new()));
        cache.invalidate(&key(1), Instant::now());
        assert!(cache.get(&key(1)).is_none_or(|resource| resource.is_empty()));
        assert!(!cache.put(&key(1), before, stored(1, &[], &HeaderMap::new())));
        std::thread::sleep(Duration::from_millis(1));
        assert!(cache.put(&key(1), Instant::now(), stored(1, &[], &HeaderMap::new())));
    }

    #[test]
    fn a_response_is_for_a_request_as_both_say() {
        let response = stored(1, &[], &HeaderMap::new());
        let of = |control: &'static str, after_s: u64| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static(control));
            let wishes = Wishes::of(&Directives::of(&headers));
            response.is_for(&wishes, response.received + Duration::from_secs(after_s))
        };
        assert_eq!((of("", 9), of("", 10), of("", 16)), (Use::Fresh, Use::Renew, Use::Outdated));
        assert_eq!((of("no-cache", 0), of("max-age=3", 4)), (Use::Unwanted, Use::Unwanted));
        assert_eq!((of("min-fresh=5", 5), of("min-fresh=5", 6)), (Use::Fresh, Use::Unwanted));
        assert_eq!((of("max-stale=10", 20), of("max-stale=10", 21)), (Use::Stale, Use::Outdated));
        assert_eq!(of("max-stale", 9999), Use::Stale);
    }

    #[test]
    fn a_cache_is_kept_for_as_long_as_the_same_is_asked_for() {
        let spec = CacheSpec::default();
        let first = RouteCache::renewed(None, Some(&spec), 2).expect("one");
        let second = RouteCache::renewed(Some(Arc::clone(&first)), Some(&spec), 2).expect("one");
        assert!(Arc::ptr_eq(&first, &second));
        let third = RouteCache::renewed(Some(second), Some(&CacheSpec::new(1 << 20)), 2).expect("one");
        assert!(!Arc::ptr_eq(&first, &third));
        assert!(RouteCache::renewed(Some(third), None, 2).is_none());
    }
}
