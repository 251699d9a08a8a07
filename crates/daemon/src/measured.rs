//! The newest measurements of one kind.

use std::collections::VecDeque;
use std::time::Duration;

/// A bounded window of durations.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    count: u64,
    newest_ms: VecDeque<f64>,
}

impl Measured {
    pub(crate) fn add(&mut self, took: Duration) {
        if self.newest_ms.len() == KEPT {
            self.newest_ms.pop_front();
        }
        self.newest_ms.push_back(took.as_secs_f64() * 1e3);
        self.count += 1;
    }

    /// Quantiles by the nearest rank.
    pub(crate) fn summary(&self) -> api::LatencySummary {
        let mut sorted: Vec<f64> = self.newest_ms.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let rank = |q: f64| {
            let index = (q * sorted.len() as f64).ceil() as usize;
            sorted.get(index.max(1) - 1).copied()
        };
        api::LatencySummary {
            count: self.count,
            p50: rank(0.5),
            p99: rank(0.99),
            max: sorted.last().copied(),
        }
    }
}

/// Measurements that quantiles are taken over.
const KEPT: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_newest_measurements() {
        let mut measured = Measured::default();
        assert_eq!(measured.summary(), api::LatencySummary::default());
        (0..2 * KEPT as u64).for_each(|seconds| measured.add(Duration::from_secs(seconds)));
        let summary = measured.summary();
        assert_eq!(summary.count, 2000);
        assert_eq!((summary.p50, summary.p99, summary.max), (Some(1.499e6), Some(1.989e6), Some(1.999e6)));
    }
}
