//! Histograms that grow from means.

use std::collections::BTreeMap;
use std::time::Duration;

use proxy::control::{Histogram, bucket_of};

/// What was counted so far of each backend and server, by name.
#[derive(Debug, Default)]
pub(crate) struct Means(BTreeMap<(String, String), Grown>);

#[derive(Debug, Default)]
struct Grown {
    count: u64,
    histogram: Histogram,
}

impl Means {
    /// Adds the requests up to `count` as if each had taken `mean`, and returns all so far. HAProxy tells the mean of the last
    /// 1024 requests, so a change shows within as many.
    pub(crate) fn add(&mut self, backend: &str, server: &str, count: u64, mean: Duration) -> Histogram {
        let grown = self.0.entry((backend.to_owned(), server.to_owned())).or_default();
        // Counters that fell began anew.
        let new = count.checked_sub(grown.count).unwrap_or(count);
        grown.count = count;
        if new > 0 {
            let bucket = bucket_of(mean);
            let counts = (0..=bucket).map(|at| if at == bucket { new } else { 0 });
            let mean_us = u64::try_from(mean.as_micros()).unwrap_or(u64::MAX);
            grown.histogram.merge(&Histogram::from_counts(counts, new.saturating_mul(mean_us)));
        }
        grown.histogram.clone()
    }

    /// Forgets servers that are gone.
    pub(crate) fn retain(&mut self, there: impl Fn(&str, &str) -> bool) {
        self.0.retain(|(backend, server), _| there(backend, server));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_between_two_readings_count_with_the_mean_of_then() {
        let mut means = Means::default();
        let first = means.add("web", "a", 10, Duration::from_millis(2));
        let second = means.add("web", "a", 15, Duration::from_millis(40));
        let since = second.subtract(&first);
        assert_eq!((first.count(), since.count()), (10, 5));
        assert_eq!(since.mean(), Some(Duration::from_millis(40)));
        let restarted = means.add("web", "a", 3, Duration::from_millis(1));
        assert_eq!(restarted.subtract(&second).count(), 3);
    }
}
