//! Crane's spectral estimators: the few largest waves of a series and all slow ones, put together again.

use realfft::RealFftPlanner;
use serde::{Deserialize, Serialize};

/// Which waves are kept, and what is added.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Estimator {
    /// Waves that are kept at least.
    items_min: usize,
    /// Smaller amplitudes are never kept for their size.
    amplitude_min: f64,
    /// Added to the estimate, in parts of it.
    margin: f64,
}

/// The eight that the original tries.
pub(super) const ESTIMATORS: [Estimator; 8] = {
    const fn one(items_min: usize, amplitude_min: f64, margin: f64) -> Estimator {
        Estimator { items_min, amplitude_min, margin }
    }
    [
        one(3, 1.0, 0.01),
        one(3, 1.0, 0.10),
        one(3, 1.0, 0.15),
        one(3, 1.0, 0.20),
        one(50, 0.05, 0.01),
        one(50, 0.05, 0.10),
        one(50, 0.05, 0.15),
        one(50, 0.05, 0.20),
    ]
};

impl Estimator {
    /// One period to be repeated, from whole periods of values. Empty when there are none.
    pub(super) fn estimate(&self, values: &[f32], period: usize, hour: usize) -> Vec<f32> {
        let n = values.len();
        if n < period || n < 2 {
            return values.to_vec();
        }
        let mut planner = RealFftPlanner::<f64>::new();
        let (forward, backward) = (planner.plan_fft_forward(n), planner.plan_fft_inverse(n));
        let mut signal: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        let mut spectrum = forward.make_output_vec();
        let last = || values[n - period..].to_vec();
        if forward.process(&mut signal, &mut spectrum).is_err() {
            return last();
        }
        let amplitudes: Vec<f64> =
            spectrum.iter().map(|bin| (bin.re * bin.re + bin.im * bin.im).sqrt() / n as f64).collect();
        let least = self.least(&amplitudes);
        for (k, bin) in spectrum.iter_mut().enumerate() {
            // A wave of more than one turn an hour: k / n turns a step.
            let fast = k * hour > n;
            if fast && amplitudes[k] < least {
                *bin = Default::default();
            }
        }
        if backward.process(&mut spectrum, &mut signal).is_err() {
            return last();
        }
        signal[n - period..]
            .iter()
            .map(|&sum| {
                let value = sum / n as f64;
                ((if value > 0.0 { value } else { FLOOR }) * (1.0 + self.margin)) as f32
            })
            .map(|value| if value.is_finite() { value } else { FLOOR as f32 })
            .collect()
    }

    /// The amplitude below which fast waves are dropped: that of the hundredth largest, not below the floor, but so low
    /// that enough are kept.
    fn least(&self, amplitudes: &[f64]) -> f64 {
        let mut sorted = amplitudes.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let of = |item: usize| sorted.get(item).or(sorted.last()).copied().unwrap_or(0.0);
        of(ITEMS).max(self.amplitude_min).min(of(self.items_min.saturating_sub(1)))
    }
}

/// Amplitude of the item that sets the threshold.
const ITEMS: usize = 100;
/// What the original puts in place of values that are not above zero.
const FLOOR: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_periodic_series_is_repeated_with_the_margin_and_without_fast_noise() {
        let mut rng = fastrand::Rng::with_seed(9);
        let wave = |i: usize| 50.0 + 20.0 * (i as f32 * std::f32::consts::TAU / 288.0).sin();
        let values: Vec<f32> = (0..288 * 5).map(|i| wave(i) + 4.0 * (rng.f32() - 0.5)).collect();
        let estimate = ESTIMATORS[0].estimate(&values, 288, 12);
        let worst = (0..288).map(|i| (estimate[i] / 1.01 - wave(i)).abs()).fold(0.0, f32::max);
        assert_eq!(estimate.len(), 288);
        assert!(worst < 1.2, "{worst}");
        let raised = ESTIMATORS[3].estimate(&values, 288, 12);
        assert!((raised[100] / estimate[100] - 1.2 / 1.01).abs() < 1e-4);
    }

    #[test]
    fn nothing_below_zero_comes_out() {
        let values: Vec<f32> = (0..96).map(|i| if i % 48 == 0 { 100.0 } else { 0.0 }).collect();
        let estimate = ESTIMATORS[4].estimate(&values, 48, 2);
        assert!(estimate.iter().all(|&value| value >= 0.0), "{estimate:?}");
    }
}
