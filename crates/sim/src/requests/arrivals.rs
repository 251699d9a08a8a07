//! When requests come: a Poisson process along a demand curve, or given moments.
//!
//! The rate of a curve is constant inside each step, so the process is made exactly and without rejected draws: the time to
//! the next arrival is an exponential amount of *expected arrivals*, walked along the curve.

use std::time::Duration;

use forecast::Timestamp;

use super::service::exponential;
use crate::demand::Demand;

/// The moments of arrival, in nanoseconds since the beginning of the requests, one after another.
#[derive(Debug, Clone)]
pub(super) struct Arrivals {
    next: Option<u64>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Poisson(Poisson),
    Given(std::vec::IntoIter<u64>),
}

#[derive(Debug, Clone)]
struct Poisson {
    /// Arrivals per nanosecond in each step.
    rates: Vec<f64>,
    step: f64,
    at: f64,
    slot: usize,
    rng: fastrand::Rng,
}

impl Arrivals {
    /// Poisson arrivals from `from`, which is the beginning of a step, to the end of the demand, which is in requests per
    /// second. In a gap of the demand nothing comes.
    pub(super) fn poisson(demand: &Demand, from: Timestamp, seed: u64) -> Arrivals {
        let first = demand.slot_at(from).unwrap_or(0);
        let rates = demand.values()[first..].iter().map(|rate| rate.unwrap_or(0.0) * 1e-9).collect();
        let step = demand.step().as_nanos() as f64;
        let rng = fastrand::Rng::with_seed(seed);
        let mut poisson = Poisson { rates, step, at: 0.0, slot: 0, rng };
        Arrivals { next: poisson.next(), source: Source::Poisson(poisson) }
    }

    /// Arrivals at these times after the beginning, in any order.
    pub(super) fn given(times: &[Duration]) -> Arrivals {
        let mut times: Vec<u64> = times.iter().map(|time| time.as_nanos() as u64).collect();
        times.sort_unstable();
        let mut source = times.into_iter();
        Arrivals { next: source.next(), source: Source::Given(source) }
    }

    /// Takes the next one before `until`.
    pub(super) fn next_before(&mut self, until: u64) -> Option<u64> {
        let at = self.next.filter(|at| *at < until)?;
        self.next = match &mut self.source {
            Source::Poisson(poisson) => poisson.next(),
            Source::Given(times) => times.next(),
        };
        Some(at)
    }
}

impl Poisson {
    fn next(&mut self) -> Option<u64> {
        let mut expected = exponential(&mut self.rng);
        while let Some(rate) = self.rates.get(self.slot) {
            let end = (self.slot + 1) as f64 * self.step;
            let left = rate * (end - self.at);
            if expected < left {
                self.at += expected / rate;
                return Some(self.at as u64);
            }
            expected -= left;
            self.at = end;
            self.slot += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_along_a_curve_have_the_mean_and_the_variance_of_poisson() {
        let at = Timestamp::from_secs;
        let rates = [20.0, 0.0, 5.0, 80.0];
        let points: Vec<_> =
            (0..4000).map(|n| (at(10 * n), Some(rates[n as usize % 4])).to_owned()).collect();
        let demand = Demand::from_points(&points, Duration::from_secs(10)).unwrap();
        let mut arrivals = Arrivals::poisson(&demand, at(0), 5);
        let mut counts = vec![Vec::new(); 4];
        for n in 0..4000u64 {
            let end = (n + 1) * 10_000_000_000;
            let mut count = 0;
            while arrivals.next_before(end).is_some() {
                count += 1;
            }
            counts[n as usize % 4].push(f64::from(count));
        }
        assert!(arrivals.next_before(u64::MAX).is_none());
        for (counts, rate) in counts.iter().zip(rates) {
            let mean = counts.iter().sum::<f64>() / 1000.0;
            let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 1000.0;
            assert!((mean - 10.0 * rate).abs() <= 0.02 * 10.0 * rate, "{rate}: {mean}");
            assert!((variance - mean).abs() <= 0.15 * mean, "{rate}: {variance} for {mean}");
        }
    }

    #[test]
    fn given_moments_come_in_order() {
        let mut arrivals = Arrivals::given(&[Duration::from_nanos(7), Duration::from_nanos(3)]);
        assert_eq!(arrivals.next_before(5), Some(3));
        assert_eq!(arrivals.next_before(5), None);
        assert_eq!(arrivals.next_before(8), Some(7));
    }
}
