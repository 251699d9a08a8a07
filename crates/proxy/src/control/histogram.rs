//! A mergeable, subtractable latency histogram with a fixed worst-case size.
//!
//! Buckets are linear below 16 us and then 16 per power of two (at most 6.25 % wide), up to 2^32 us (71 min), beyond
//! which everything falls into the last one. The layout is the log-linear one of HdrHistogram (Gil Tene), fixed here
//! so that any two histograms can be added and subtracted, and sparse so that an idle backend costs a few bytes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Durations counted in logarithmic buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Sparse", into = "Sparse")]
pub struct Histogram {
    /// Bucket and count; ascending, counts above 0.
    buckets: Vec<(u16, u64)>,
    sum_us: u64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self::default()
    }

    /// From a full array of counts indexed by [`bucket_of`], and the sum of all values in microseconds.
    pub fn from_counts(counts: impl IntoIterator<Item = u64>, sum_us: u64) -> Self {
        let buckets = counts.into_iter().take(BUCKETS).enumerate().filter(|&(_, count)| count > 0);
        Self { buckets: buckets.map(|(bucket, count)| (bucket as u16, count)).collect(), sum_us }
    }

    /// Counts one duration.
    pub fn record(&mut self, value: Duration) {
        let bucket = bucket_of(value) as u16;
        match self.buckets.binary_search_by_key(&bucket, |&(bucket, _)| bucket) {
            Ok(index) => self.buckets[index].1 = self.buckets[index].1.saturating_add(1),
            Err(index) => self.buckets.insert(index, (bucket, 1)),
        }
        self.sum_us = self.sum_us.saturating_add(micros(value));
    }

    /// The durations that were counted by what they were at least, ascending.
    pub fn counted(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.buckets.iter().map(|&(bucket, count)| (Duration::from_micros(bounds_us(bucket).0), count))
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// The mean, if anything was counted.
    pub fn mean(&self) -> Option<Duration> {
        self.sum_us.checked_div(self.count()).map(Duration::from_micros)
    }

    /// The duration below which the share `q` (clamped into 0..=1) of the counted ones lies, interpolated inside
    /// its bucket; at most 6.25 % off. None when nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let q = if q.is_nan() { 1.0 } else { q.clamp(0.0, 1.0) };
        let rank = (q * count as f64).max(1.0);
        let mut below = 0.0;
        for &(bucket, in_bucket) in &self.buckets {
            let in_bucket = in_bucket as f64;
            if below + in_bucket >= rank {
                let (low, width) = bounds_us(bucket);
                let share = (rank - below) / in_bucket;
                return Some(Duration::from_micros(low + (share * width as f64) as u64));
            }
            below += in_bucket;
        }
        self.buckets.last().map(|&(bucket, _)| Duration::from_micros(bounds_us(bucket).0))
    }

    /// The median; zero when nothing was counted.
    pub fn p50(&self) -> Duration {
        self.quantile(0.50).unwrap_or_default()
    }

    /// The 99th percentile; zero when nothing was counted.
    pub fn p99(&self) -> Duration {
        self.quantile(0.99).unwrap_or_default()
    }

    /// How many durations lie in buckets wholly above `bound`'s: those certainly longer, to bucket precision.
    pub fn count_above(&self, bound: Duration) -> u64 {
        let bucket = bucket_of(bound) as u16;
        let above = self.buckets.iter().filter(|&&(other, _)| other > bucket);
        above.fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        let mut merged = Vec::with_capacity(self.buckets.len().max(other.buckets.len()));
        let (mut left, mut right) = (self.buckets.iter().peekable(), other.buckets.iter().peekable());
        loop {
            let entry = match (left.peek(), right.peek()) {
                (Some(&&(a, n)), Some(&&(b, m))) if a == b => {
                    left.next();
                    right.next();
                    (a, n.saturating_add(m))
                }
                (Some(&&(a, n)), Some(&&(b, _))) if a < b => {
                    left.next();
                    (a, n)
                }
                (Some(&&entry), None) => {
                    left.next();
                    entry
                }
                (_, Some(&&entry)) => {
                    right.next();
                    entry
                }
                (None, None) => break,
            };
            merged.push(entry);
        }
        self.buckets = merged;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// What was counted since `earlier`, an older reading of the same histogram. A bucket that shrank (another
    /// proxy's reading) counts as empty.
    #[must_use]
    pub fn subtract(&self, earlier: &Histogram) -> Histogram {
        let before = |bucket: u16| {
            let found = earlier.buckets.binary_search_by_key(&bucket, |&(other, _)| other);
            found.map_or(0, |index| earlier.buckets[index].1)
        };
        let since = self.buckets.iter().map(|&(bucket, n)| (bucket, n.saturating_sub(before(bucket))));
        Histogram {
            buckets: since.filter(|&(_, count)| count > 0).collect(),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }
}

/// The bucket that a duration falls into, below [`BUCKETS`].
pub fn bucket_of(value: Duration) -> usize {
    let us = micros(value).min((1 << EXPONENT_MAX) - 1);
    if us < SUB_BUCKETS {
        return us as usize;
    }
    let shift = 63 - us.leading_zeros() - SUB_BITS;
    ((u64::from(shift) + 1) * SUB_BUCKETS + ((us >> shift) & (SUB_BUCKETS - 1))) as usize
}

/// Lower bound and width of a bucket in microseconds.
fn bounds_us(bucket: u16) -> (u64, u64) {
    let bucket = u64::from(bucket);
    if bucket < SUB_BUCKETS {
        return (bucket, 1);
    }
    let shift = bucket / SUB_BUCKETS - 1;
    ((SUB_BUCKETS + bucket % SUB_BUCKETS) << shift, 1 << shift)
}

fn micros(value: Duration) -> u64 {
    u64::try_from(value.as_micros()).unwrap_or(u64::MAX)
}

/// A histogram that no proxy could have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("histogram buckets must ascend, lie below {BUCKETS} and not be empty")]
pub struct HistogramError;

/// The form on the wire.
#[derive(Serialize, Deserialize)]
struct Sparse {
    buckets: Vec<(u16, u64)>,
    sum_us: u64,
}

impl From<Histogram> for Sparse {
    fn from(histogram: Histogram) -> Self {
        Self { buckets: histogram.buckets, sum_us: histogram.sum_us }
    }
}

impl TryFrom<Sparse> for Histogram {
    type Error = HistogramError;

    fn try_from(sparse: Sparse) -> Result<Self, HistogramError> {
        let ascending = sparse.buckets.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let sound = sparse.buckets.iter().all(|&(bucket, count)| usize::from(bucket) < BUCKETS && count > 0);
        if !(ascending && sound) {
            return Err(HistogramError);
        }
        Ok(Self { buckets: sparse.buckets, sum_us: sparse.sum_us })
    }
}

const SUB_BITS: u32 = 4;
const SUB_BUCKETS: u64 = 1 << SUB_BITS;
/// Values from 2^32 us on share the last bucket.
const EXPONENT_MAX: u32 = 32;
/// Number of buckets.
pub const BUCKETS: usize = ((EXPONENT_MAX - SUB_BITS + 1) * (1 << SUB_BITS)) as usize;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        for &us in values {
            histogram.record(Duration::from_micros(us));
        }
        histogram
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::new().quantile(0.5), None);
        assert_eq!(Histogram::new().p99(), Duration::ZERO);
    }

    #[test]
    fn the_longest_duration_falls_into_the_last_bucket() {
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(Duration::from_micros(u64::from(u32::MAX))), BUCKETS - 1);
        assert_eq!(bucket_of(Duration::ZERO), 0);
    }

    #[test]
    fn longer_than_a_bound_counts_only_what_is_certainly_longer() {
        let histogram = filled(&[100, 1_000, 250_000, 300_000, 2_000_000]);
        assert_eq!(histogram.count_above(Duration::from_millis(250)), 2);
    }

    proptest! {
        #[test]
        fn a_value_lies_inside_its_bucket(us in 0u64..1 << 32) {
            let bucket = bucket_of(Duration::from_micros(us));
            let (low, width) = bounds_us(bucket as u16);
            prop_assert!(low <= us && us < low + width);
            prop_assert!(us < 16 || width as f64 / low as f64 <= 0.0625);
        }

        #[test]
        fn subtracting_undoes_merging(a in prop::collection::vec(0u64..1 << 34, 0..50), b in prop::collection::vec(0u64..1 << 34, 0..50)) {
            let (first, second) = (filled(&a), filled(&b));
            let mut both = first.clone();
            both.merge(&second);
            prop_assert_eq!(both.count(), (a.len() + b.len()) as u64);
            prop_assert_eq!(both.subtract(&first), second);
            let all: Vec<u64> = a.iter().chain(&b).copied().collect();
            prop_assert_eq!(both, filled(&all));
        }

        #[test]
        fn a_quantile_is_near_the_exact_one(mut values in prop::collection::vec(1u64..100_000_000, 1..200), q in 0.0f64..=1.0) {
            let estimate = filled(&values).quantile(q).expect("not empty").as_micros() as f64;
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1] as f64;
            prop_assert!((estimate - exact).abs() <= exact * 0.07 + 1.0, "{estimate} {exact}");
        }
    }
}
