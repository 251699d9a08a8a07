//! Counts of latencies in classes that grow with the latency, so that every quantile is right within one percent.

use std::time::Duration;

/// A histogram of latencies from nanoseconds to minutes.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    sum: f64,
}

impl Histogram {
    /// Nothing counted yet.
    pub fn new() -> Histogram {
        Histogram { counts: Vec::new(), total: 0, sum: 0.0 }
    }

    /// Counts a latency in nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        let class = class(nanos);
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] += 1;
        self.total += 1;
        self.sum += nanos as f64;
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Their mean; zero without any. Exact.
    pub fn mean(&self) -> Duration {
        if self.total == 0 {
            Duration::ZERO
        } else {
            Duration::from_nanos((self.sum / self.total as f64) as u64)
        }
    }

    /// The latency that this share of them does not exceed; none without any.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let class = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(Duration::from_nanos(middle(class)))
    }

    /// Those counted by the middle of their class, ascending.
    pub fn counted(&self) -> Vec<(Duration, u64)> {
        let classes = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        classes.map(|(class, count)| (Duration::from_nanos(middle(class)), u64::from(*count))).collect()
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Histogram) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.sum += other.sum;
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.total, self.sum) = (0, 0.0);
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

/// Classes per doubling of the latency.
const CLASSES: u64 = 1 << CLASS_BITS;
const CLASS_BITS: u32 = 6;
/// Latencies below this many nanoseconds, about 8 microseconds, are not told apart.
const FLOOR_BITS: u32 = 13;

fn class(nanos: u64) -> usize {
    let octave = (nanos | 1).ilog2();
    if octave < FLOOR_BITS {
        return 0;
    }
    let inside = (nanos >> (octave - CLASS_BITS)) & (CLASSES - 1);
    (1 + u64::from(octave - FLOOR_BITS) * CLASSES + inside) as usize
}

fn middle(class: usize) -> u64 {
    let Some(above) = (class as u64).checked_sub(1) else { return 1 << (FLOOR_BITS - 1) };
    let octave = FLOOR_BITS + (above / CLASSES) as u32;
    let width = 1u64 << (octave - CLASS_BITS);
    (CLASSES + above % CLASSES) * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_one_percent() {
        let mut histogram = Histogram::new();
        let latencies: Vec<u64> = (1..=50_000u64).map(|n| n * n + 20_000).collect();
        latencies.iter().for_each(|nanos| histogram.record(*nanos));
        for share in [0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = latencies[(share * 50_000.0) as usize - 1] as f64;
            let found = histogram.quantile(share).unwrap().as_nanos() as f64;
            assert!((found / exact - 1.0).abs() < 0.01, "{share}: {found} for {exact}");
        }
        let mut both = histogram.clone();
        both.merge(&histogram);
        assert_eq!((both.count(), both.mean()), (100_000, histogram.mean()));
        assert_eq!(Histogram::new().quantile(0.5), None);
    }
}
