//! A histogram with exponential buckets whose old samples count less and less.
//!
//! Knows nothing of the time of day, so it is what sizes are taken from before a forecast can be trusted.

use std::time::Duration;

use forecast::Timestamp;

/// A decaying histogram of values from zero up.
#[derive(Debug, Clone)]
pub struct DecayingHistogram {
    first: f64,
    growth: f64,
    half_life: Duration,
    weights: Vec<f64>,
    total: f64,
    /// A sample of this time has weight 1; a later one more, which is the same as older ones having less.
    reference: Option<Timestamp>,
}

impl DecayingHistogram {
    /// Buckets from 0, the first `first` wide and each next one wider by the share `growth`, up to `max` and beyond.
    /// The weight of a sample halves with each `half_life`.
    pub fn new(first: f64, growth: f64, max: f64, half_life: Duration) -> DecayingHistogram {
        let buckets = (1.0 + max * growth / first).ln() / (1.0 + growth).ln();
        DecayingHistogram {
            first,
            growth,
            half_life,
            weights: vec![0.0; buckets.ceil().clamp(1.0, BUCKETS_MAX) as usize + 1],
            total: 0.0,
            reference: None,
        }
    }

    /// Adds a sample; nonsense is ignored.
    pub fn add(&mut self, at: Timestamp, value: f64, weight: f64) {
        if !(value.is_finite() && value >= 0.0 && weight.is_finite() && weight > 0.0) {
            return;
        }
        let reference = *self.reference.get_or_insert(at);
        let mut halvings = at.since(reference).as_secs_f64() / self.half_life.as_secs_f64().max(1.0);
        if halvings > HALVINGS_MAX {
            let scale = (-halvings).exp2();
            self.weights.iter_mut().for_each(|w| *w *= scale);
            self.total *= scale;
            self.reference = Some(at);
            halvings = 0.0;
        }
        let weight = weight * halvings.exp2();
        let bucket = ((1.0 + value * self.growth / self.first).ln() / (1.0 + self.growth).ln()) as usize;
        let last = self.weights.len() - 1;
        self.weights[bucket.min(last)] += weight;
        self.total += weight;
    }

    /// The upper end of the bucket in which the quantile is; `None` before the first sample.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        if self.total <= 0.0 {
            return None;
        }
        let threshold = quantile.clamp(0.0, 1.0) * self.total;
        let mut sum = 0.0;
        let mut at = self.weights.len() - 1;
        for (bucket, weight) in self.weights.iter().enumerate() {
            sum += weight;
            if *weight > 0.0 && sum >= threshold * (1.0 - ROUNDING) {
                at = bucket;
                break;
            }
        }
        Some(self.first * ((1.0 + self.growth).powi(at as i32 + 1) - 1.0) / self.growth)
    }
}

/// Before weights grow beyond 2 to this power, all are scaled down.
const HALVINGS_MAX: f64 = 100.0;
const BUCKETS_MAX: f64 = 10_000.0;
const ROUNDING: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    fn histogram() -> DecayingHistogram {
        DecayingHistogram::new(0.01, 0.05, 1000.0, Duration::from_secs(86_400))
    }

    #[test]
    fn quantiles_are_exact_to_a_bucket() {
        let mut h = histogram();
        assert_eq!(h.quantile(0.5), None);
        (1..=100).for_each(|n| h.add(at(0), f64::from(n) / 10.0, 1.0));
        for (q, value) in [(0.5, 5.0), (0.9, 9.0), (1.0, 10.0)] {
            let got = h.quantile(q).unwrap();
            assert!(got >= value && got <= value * 1.06, "{q}: {got}");
        }
    }

    #[test]
    fn old_samples_lose_against_new_ones_also_after_years() {
        let mut h = histogram();
        (0..24).for_each(|hour| h.add(at(hour), 8.0, 1.0));
        (24..24 * 5).for_each(|hour| h.add(at(hour), 1.0, 1.0));
        assert!(h.quantile(0.9).unwrap() < 1.1, "a day of 8 cores four days ago is below a tenth");
        h.add(at(24 * 3650), 2.0, 1.0);
        assert!((2.0..2.2).contains(&h.quantile(0.01).unwrap()));
        h.add(at(24 * 3650), f64::NAN, 1.0);
        h.add(at(24 * 3650), 1e300, 1.0);
        assert!(h.quantile(1.0).unwrap().is_finite());
    }
}
