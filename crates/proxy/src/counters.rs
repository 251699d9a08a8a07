//! Counters that one shard writes and the control thread reads.
//!
//! Every counter has exactly one writing thread, so adding needs no locked instruction: a plain load and store.
//! Readers sum over the shards and may see one counter a moment before another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cache::CacheCounters;
use crate::control::{BUCKETS, Histogram, bucket_of};

/// A number with a single writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds; only ever called from the owning shard's thread.
    pub(crate) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Subtracts; only ever called from the owning shard's thread.
    pub(crate) fn subtract(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    /// Reads, from any thread.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram with a single writer.
#[derive(Debug)]
pub(crate) struct Recorder {
    counts: Box<[Counter]>,
    sum_us: Counter,
}

impl Recorder {
    /// Counts one duration; only ever called from the owning shard's thread.
    pub(crate) fn record(&self, value: Duration) {
        self.counts[bucket_of(value)].add(1);
        self.sum_us.add(u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
    }

    /// The sum of all durations in microseconds, from any thread.
    pub(crate) fn sum_us(&self) -> u64 {
        self.sum_us.get()
    }

    /// Reads, from any thread.
    pub(crate) fn read(&self) -> Histogram {
        Histogram::from_counts(self.counts.iter().map(Counter::get), self.sum_us.get())
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self { counts: (0..BUCKETS).map(|_| Counter::default()).collect(), sum_us: Counter::default() }
    }
}

/// One shard's counters of one workload.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkloadCounters {
    pub(crate) arrivals: Counter,
    pub(crate) completed: Counter,
    pub(crate) failed: Counter,
    pub(crate) rejected: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) held: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) latency: Recorder,
    pub(crate) hold: Recorder,
    pub(crate) cache: CacheCounters,
}

/// One shard's counters of one backend. Aligned so that two shards never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct BackendCounters {
    pub(crate) requests: Counter,
    pub(crate) errors: Counter,
    pub(crate) retries: Counter,
    /// Response heads received: the evidence that a backend is alive, whatever a probe says.
    pub(crate) responses: Counter,
    pub(crate) in_flight: Counter,
    /// Predicted work of the requests in flight, in the units of [`Choice`](crate::choice::Choice).
    pub(crate) work: Counter,
    pub(crate) latency: Recorder,
}

/// The sum of one field over all shards.
pub(crate) fn total<T>(shards: &[T], field: impl Fn(&T) -> &Counter) -> u64 {
    shards.iter().fold(0, |sum, shard| sum.wrapping_add(field(shard).get()))
}

/// The merged histogram over all shards.
pub(crate) fn merged<T>(shards: &[T], field: impl Fn(&T) -> &Recorder) -> Histogram {
    let mut merged = Histogram::new();
    for shard in shards {
        merged.merge(&field(shard).read());
    }
    merged
}
