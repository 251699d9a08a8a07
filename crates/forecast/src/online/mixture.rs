//! Bernstein online aggregation of experts (Wintenberger 2017, "Optimal learning with Bernstein online aggregation"),
//! with the gradient trick, discounted regrets and a fixed share for switching.
//!
//! Each expert's weight falls with its regret against the mixture plus a second-order penalty for variance; every expert
//! has its own learning rate, set from the size and the variance of its regrets, so nothing is left to tune. The discount
//! lets the mixture follow a series that changes; the fixed share keeps a forgotten expert able to return.
//!
//! Single precision: weights matter to three digits, and four fit in a register.

use serde::{Deserialize, Serialize};

use crate::narrow::{exponential, larger, smaller};

/// Weights of `N` experts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "[f32; N]: Serialize", deserialize = "[f32; N]: Deserialize<'de>"))]
pub(crate) struct Mixture<const N: usize> {
    pub(crate) weights: [f32; N],
    /// Discounted sums of second-order corrected regrets (positive: worse than the mixture).
    regrets: [f32; N],
    variances: [f32; N],
    ranges: [f32; N],
}

impl<const N: usize> Mixture<N> {
    /// Begins with `prior`, which adds up to one.
    pub(crate) fn new(prior: [f32; N]) -> Mixture<N> {
        Mixture { weights: prior, regrets: [0.0; N], variances: [1e-6; N], ranges: [1e-3; N] }
    }

    /// What the mixture says.
    pub(crate) fn mean(&self, says: &[f32; N]) -> f32 {
        dot(&self.weights, says)
    }

    /// Learns from one outcome. `says` are the experts' forecasts, `mixed` the mixture's, `gradient` the slope of the loss
    /// at `mixed`; regrets are clipped to `clip`. `discount` is applied to the past. `prior` is what the mixture began with.
    #[inline(always)]
    pub(crate) fn learn(
        &mut self,
        prior: &[f32; N],
        says: &[f32; N],
        (mixed, gradient): (f32, f32),
        clip: f32,
        discount: f32,
    ) {
        let mut fresh = [0.0; N];
        for i in 0..N {
            // Not `clamp`: a NaN must end here, and it does in `larger`.
            let regret = smaller(larger(gradient * (says[i] - mixed), -clip), clip);
            self.variances[i] = discount * self.variances[i] + regret * regret;
            self.ranges[i] = larger(RANGE_FADE * self.ranges[i], regret.abs());
            let rate = smaller(0.5 / self.ranges[i], (PRIOR_LOG / self.variances[i]).sqrt());
            self.regrets[i] = discount * self.regrets[i] + regret * (1.0 + rate * regret);
            let exponent = smaller(larger(-rate * self.regrets[i], -EXPONENT_MAX), EXPONENT_MAX);
            fresh[i] = prior[i] * rate * exponential(exponent);
        }
        let sum = dot(&fresh, &[1.0; N]);
        if !(sum.is_finite() && sum > 0.0) {
            *self = Mixture::new(*prior);
            return;
        }
        let scale = (1.0 - SHARE) / sum;
        for ((weight, fresh), prior) in self.weights.iter_mut().zip(fresh).zip(prior) {
            *weight = fresh * scale + SHARE * prior;
        }
    }

    /// Forgets most of what was learned, after the series has changed its nature.
    pub(crate) fn loosen(&mut self) {
        for i in 0..N {
            self.regrets[i] *= 0.5;
            self.variances[i] *= 0.5;
        }
    }
}

/// Sum of products, eight at a time so that the order of additions is fixed and fits the registers.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let fours: [f32; 4] = std::array::from_fn(|lane| sums[lane] + sums[lane + 4]);
    (fours[0] + fours[2]) + (fours[1] + fours[3]) + rest
}

/// Share of weight that always follows the prior.
const SHARE: f32 = 0.005;
/// ln of the number of experts, about; the exact value hardly matters.
const PRIOR_LOG: f32 = 2.5;
const EXPONENT_MAX: f32 = 30.0;
const RANGE_FADE: f32 = 0.9999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_gives_the_hand_computed_weights() {
        // Two experts, equal prior, forecasts 1 and -1, mixture 0, gradient 1, so regrets +1 and -1.
        let mut mixture = Mixture::new([0.5, 0.5]);
        mixture.learn(&[0.5, 0.5], &[1.0, -1.0], (0.0, 1.0), 10.0, 1.0);
        // Range 1 gives a rate of 0.5 (smaller than sqrt(2.5 / 1)); L = r (1 + 0.5 r) = 1.5 and -0.5;
        // weights go as exp(-0.5 L) = exp(-0.75) and exp(0.25).
        let (a, b) = ((-0.75f32).exp(), 0.25f32.exp());
        let expected = (1.0 - SHARE) * a / (a + b) + SHARE * 0.5;
        assert!((mixture.weights[0] - expected).abs() < 1e-5);
        assert!((mixture.weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_mixture_finds_the_good_expert_and_follows_when_it_changes() {
        let mut mixture = Mixture::new([1.0 / 3.0; 3]);
        let mut run = |good: usize, steps: usize| {
            for step in 0..steps {
                let truth = (step as f32 * 0.37).sin();
                let mut says = [truth + 1.0, truth - 0.8, truth + 0.6];
                says[good] = truth;
                let mixed = mixture.mean(&says);
                mixture.learn(&[1.0 / 3.0; 3], &says, (mixed, (mixed - truth).signum()), 5.0, 0.995);
            }
            mixture.weights[good]
        };
        assert!(run(0, 500) > 0.7);
        assert!(run(2, 1500) > 0.7);
    }

    #[test]
    fn broken_forecasts_reset_instead_of_spreading() {
        let mut mixture = Mixture::new([0.5, 0.5]);
        mixture.learn(&[0.5, 0.5], &[f32::NAN, 1.0], (f32::NAN, 1.0), f32::NAN, 1.0);
        mixture.learn(&[0.5, 0.5], &[f32::INFINITY, 1.0], (0.0, 1.0), 10.0, 1.0);
        assert!(mixture.weights.iter().all(|w| w.is_finite()));
        assert_eq!(dot(&[1.0, 2.0, 3.0, 4.0, 5.0], &[1.0; 5]), 15.0);
    }
}
