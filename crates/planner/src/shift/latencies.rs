//! How long requests took lately, counted by what each took at least.

use std::time::Duration;

/// Counts by latency, ascending. Those of a newcomer and of its peers come from the same source, so that their bounds are the
/// same ones.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Latencies {
    /// What they took at least, in microseconds, and how many; counts fade.
    counts: Vec<(u64, f64)>,
}

impl Latencies {
    /// Lets older counts weigh less.
    pub(crate) fn fade(&mut self, share: f64) {
        for (_, count) in &mut self.counts {
            *count *= share;
        }
        self.counts.retain(|(_, count)| *count >= COUNT_MIN);
    }

    /// Adds requests by what they took at least.
    pub(crate) fn add(&mut self, requests: &[(Duration, u64)]) {
        self.merge(requests.iter().map(|(took, count)| (micros(*took), *count as f64)));
    }

    /// Adds requests of which only the median and the 99th percentile are known: their logarithms are taken to lie on a line.
    pub(crate) fn add_between(&mut self, requests: u64, p50: Duration, p99: Duration) {
        let (median, high) = (micros(p50).max(1) as f64, micros(p99.max(p50)).max(1) as f64);
        let each = requests as f64 / f64::from(POINTS);
        let took = |share: f64| (median * (high / median).powf((share - 0.5) / 0.49)).round() as u64;
        self.merge((0..POINTS).map(|n| (took((f64::from(n) + 0.5) / f64::from(POINTS)), each)));
    }

    /// Adds what another counted.
    pub(crate) fn join(&mut self, other: &Latencies) {
        self.merge(other.counts.iter().copied());
    }

    fn merge(&mut self, more: impl Iterator<Item = (u64, f64)>) {
        for (took, count) in more {
            match self.counts.binary_search_by_key(&took, |entry| entry.0) {
                Ok(at) => self.counts[at].1 += count,
                Err(at) if self.counts.len() < BOUNDS_MAX => self.counts.insert(at, (took, count)),
                // So many different ones say nothing more.
                Err(at) => self.counts[at.min(BOUNDS_MAX - 1)].1 += count,
            }
        }
    }

    pub(crate) fn count(&self) -> f64 {
        // Not `sum`, which of nothing is minus zero.
        self.counts.iter().fold(0.0, |sum, (_, count)| sum + count)
    }

    /// The least bound that no more than this share of them took longer than; `None` without any.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let most = (1.0 - share) * self.count();
        let mut above = self.count();
        let bound = self.counts.iter().find(|(_, count)| {
            above -= count;
            above <= most + COUNT_MIN
        });
        bound.map(|(took, _)| Duration::from_micros(*took))
    }

    /// How many took longer, as far as is known for certain.
    pub(crate) fn above(&self, bound: Duration) -> f64 {
        let bound = micros(bound);
        self.counts.iter().filter(|(took, _)| *took > bound).fold(0.0, |sum, (_, count)| sum + count)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A count that has faded below this is forgotten.
const COUNT_MIN: f64 = 0.01;
/// Different bounds that are told apart.
const BOUNDS_MAX: usize = 512;
/// Points on the line between two known quantiles.
const POINTS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_quantile_is_the_least_bound_that_few_enough_exceed() {
        let mut latencies = Latencies::default();
        latencies.add(&[(MS(10), 50), (MS(20), 40), (MS(80), 9), (MS(500), 1)]);
        let quantiles: Vec<_> = [0.5, 0.9, 0.99, 1.0].iter().filter_map(|q| latencies.quantile(*q)).collect();
        assert_eq!(quantiles, [MS(10), MS(20), MS(80), MS(500)]);
        assert_eq!((latencies.above(MS(20)), latencies.above(MS(500))), (10.0, 0.0));
        assert_eq!(Latencies::default().quantile(0.5), None);
    }

    #[test]
    fn what_fades_is_forgotten() {
        let mut latencies = Latencies::default();
        latencies.add(&[(MS(10), 100)]);
        (0..40).for_each(|_| latencies.fade(0.7));
        assert_eq!(latencies, Latencies::default());
    }

    #[test]
    fn two_quantiles_make_a_distribution_that_has_them() {
        let mut latencies = Latencies::default();
        latencies.add_between(1_000, MS(20), MS(60));
        let median = latencies.quantile(0.5).expect("counted").as_secs_f64();
        assert!((0.018..0.022).contains(&median), "{median}");
        assert!((latencies.count() - 1_000.0).abs() < 1e-6);
        assert!(latencies.above(MS(61)) == 0.0 && latencies.above(MS(50)) > 50.0);
    }
}
