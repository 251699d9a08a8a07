//! Counters of one kind of requests: how many, how they ended, how long they took, and which was the slowest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::trace::Trace;
use crate::control::{EndpointStats, OTHER_ENDPOINT, SlowTrace, Template};
use crate::counters::{Counter, Recorder, merged, total};

/// A kind of requests and its counters. It outlives table changes for as long as the template stays.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// None: what fits no template.
    pub(super) template: Option<Template>,
    /// One per shard.
    shards: Box<[EndpointCounters]>,
}

/// One shard's counters of one endpoint.
#[derive(Debug, Default)]
#[repr(align(128))]
struct EndpointCounters {
    statuses: [Counter; 5],
    broken: Counter,
    unanswered: Counter,
    latency: Recorder,
    /// What a request must take to be the slowest, in microseconds.
    slow_us: AtomicU64,
    /// Only locked for the slowest, and by readers.
    slow: Mutex<Option<(Trace, Instant)>>,
}

impl Endpoint {
    pub(crate) fn new(template: Option<Template>, shards: usize) -> Self {
        Self { template, shards: (0..shards).map(|_| EndpointCounters::default()).collect() }
    }

    /// As it is shown.
    pub(crate) fn name(&self) -> &str {
        self.template.as_ref().map_or(OTHER_ENDPOINT, Template::as_str)
    }

    /// Counts a request that was answered after `latency`.
    pub(super) fn answered(&self, shard: usize, status: u16, is_broken: bool, latency: Duration) {
        let counters = &self.shards[shard];
        let class = usize::from(status / 100).clamp(1, 5);
        counters.statuses[class - 1].add(1);
        if is_broken && class < 5 {
            counters.broken.add(1);
        }
        counters.latency.record(latency);
    }

    /// Counts a request that was not answered.
    pub(super) fn unanswered(&self, shard: usize) {
        self.shards[shard].unanswered.add(1);
    }

    /// Keeps the trace of a request if it is the slowest of the last minute.
    pub(super) fn traced(&self, shard: usize, trace: Trace, latency: Duration, now: Instant) {
        let counters = &self.shards[shard];
        let took = micros(latency);
        // Most are quicker than the slowest; those look no further but now and then.
        if took < counters.slow_us.load(Ordering::Relaxed) && !trace.id.is_multiple_of(LOOK_ONE_IN) {
            return;
        }
        let mut slow = counters.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = slow.is_none_or(|(_, at)| now.saturating_duration_since(at) > SLOW_LASTS);
        if is_over || took >= counters.slow_us.load(Ordering::Relaxed) {
            counters.slow_us.store(took, Ordering::Relaxed);
            *slow = Some((trace, now));
        }
    }

    /// A reading; `at` is `now` in milliseconds since the Unix epoch.
    pub(super) fn stats(&self, now: Instant, at: u64) -> EndpointStats {
        let shards = &self.shards;
        EndpointStats {
            endpoint: self.name().to_owned(),
            statuses: std::array::from_fn(|class| total(shards, |shard| &shard.statuses[class])),
            broken: total(shards, |shard| &shard.broken),
            unanswered: total(shards, |shard| &shard.unanswered),
            latency: merged(shards, |shard| &shard.latency),
            slow: shards.iter().filter_map(|shard| shard.slow(now, at)).max_by_key(|slow| slow.took_us),
        }
    }
}

impl EndpointCounters {
    fn slow(&self, now: Instant, at: u64) -> Option<SlowTrace> {
        let slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let (trace, when) = (*slow)?;
        let ago = now.saturating_duration_since(when);
        (ago <= SLOW_LASTS).then(|| SlowTrace {
            trace_id: format!("{:032x}", trace.id),
            took_us: self.slow_us.load(Ordering::Relaxed),
            at: at.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
        })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How long a request may be called the slowest.
const SLOW_LASTS: Duration = Duration::from_secs(60);
/// One in so many looks whether the slowest is too long ago.
const LOOK_ONE_IN: u128 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_status_and_by_how_they_ended() {
        let endpoint = Endpoint::new(None, 2);
        let took = Duration::from_millis(5);
        for (shard, status, is_broken) in [(0, 200, false), (1, 204, true), (0, 503, false), (1, 500, true)] {
            endpoint.answered(shard, status, is_broken, took);
        }
        endpoint.unanswered(1);
        let stats = endpoint.stats(Instant::now(), 0);
        assert_eq!((stats.statuses, stats.broken, stats.unanswered), ([0, 2, 0, 0, 2], 1, 1));
        assert_eq!((stats.requests(), stats.errors(), stats.latency.count()), (5, 3, 4));
        assert_eq!(stats.endpoint, OTHER_ENDPOINT);
    }

    #[test]
    fn the_slowest_of_the_last_minute_is_kept() {
        let endpoint = Endpoint::new(None, 1);
        let begin = Instant::now();
        let trace = |id, ms, s| {
            let now = begin + Duration::from_secs(s);
            endpoint.traced(0, Trace { id, is_sampled: true }, Duration::from_millis(ms), now);
            endpoint.stats(now, 1_000_000).slow.map(|slow| (slow.trace_id, slow.took_us, slow.at))
        };
        let kept = |id: u128, ms: u64, at| Some((format!("{id:032x}"), ms * 1000, at));
        assert_eq!(trace(16, 20, 0), kept(16, 20, 1_000_000));
        assert_eq!(trace(32, 10, 5), kept(16, 20, 995_000));
        assert_eq!(trace(48, 30, 6), kept(48, 30, 1_000_000));
        assert_eq!(trace(64, 10, 67), kept(64, 10, 1_000_000));
    }
}
