//! Bernstein online aggregation of experts (Wintenberger 2017, "Optimal learning with Bernstein online aggregation"),
//! with the gradient trick, discounted regrets and a fixed share for switching.
//!
//! Each expert's weight falls with its regret against the mixture plus a second-order penalty for variance; every expert
//! has its own learning rate, set from the size and the variance of its regrets, so nothing is left to tune. The discount
//! lets the mixture follow a series that changes; the fixed share keeps a forgotten expert able to return.

/// Weights of `N` experts.
#[derive(Clone, Debug)]
pub(crate) struct Mixture<const N: usize> {
    pub(crate) weights: [f64; N],
    prior: [f64; N],
    /// Discounted sums of second-order corrected regrets (positive: worse than the mixture).
    regrets: [f64; N],
    variances: [f64; N],
    ranges: [f64; N],
}

impl<const N: usize> Mixture<N> {
    /// Begins with `prior`, which adds up to one.
    pub(crate) fn new(prior: [f64; N]) -> Mixture<N> {
        Mixture { weights: prior, prior, regrets: [0.0; N], variances: [1e-6; N], ranges: [1e-3; N] }
    }

    /// What the mixture says.
    pub(crate) fn mean(&self, says: &[f64; N]) -> f64 {
        self.weights.iter().zip(says).map(|(w, x)| w * x).sum()
    }

    /// Learns from one outcome. `says` are the experts' forecasts, `mixed` the mixture's, `gradient` the slope of the loss
    /// at `mixed`; regrets are clipped to `clip`. `discount` is applied to the past.
    pub(crate) fn learn(&mut self, says: &[f64; N], mixed: f64, gradient: f64, clip: f64, discount: f64) {
        let mut sum = 0.0;
        let mut fresh = [0.0; N];
        for i in 0..N {
            let regret = (gradient * (says[i] - mixed)).clamp(-clip, clip);
            self.variances[i] = discount * self.variances[i] + regret * regret;
            self.ranges[i] = (RANGE_FADE * self.ranges[i]).max(regret.abs());
            let rate = (0.5 / self.ranges[i]).min((PRIOR_LOG / self.variances[i]).sqrt());
            self.regrets[i] = discount * self.regrets[i] + regret * (1.0 + rate * regret);
            fresh[i] =
                self.prior[i] * rate * (-rate * self.regrets[i]).clamp(-EXPONENT_MAX, EXPONENT_MAX).exp();
            sum += fresh[i];
        }
        if !(sum.is_finite() && sum > 0.0) {
            *self = Mixture::new(self.prior);
            return;
        }
        for i in 0..N {
            self.weights[i] = (1.0 - SHARE) * fresh[i] / sum + SHARE * self.prior[i];
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

/// Share of weight that always follows the prior.
const SHARE: f64 = 0.005;
/// ln of the number of experts, about; the exact value hardly matters.
const PRIOR_LOG: f64 = 2.5;
const EXPONENT_MAX: f64 = 30.0;
const RANGE_FADE: f64 = 0.9999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_gives_the_hand_computed_weights() {
        // Two experts, equal prior, forecasts 1 and -1, mixture 0, gradient 1, so regrets +1 and -1.
        let mut mixture = Mixture::new([0.5, 0.5]);
        mixture.learn(&[1.0, -1.0], 0.0, 1.0, 10.0, 1.0);
        // Range 1 gives a rate of 0.5 (smaller than sqrt(2.5 / 1)); L = r (1 + 0.5 r) = 1.5 and -0.5;
        // weights go as exp(-0.5 L) = exp(-0.75) and exp(0.25).
        let (a, b) = ((-0.75f64).exp(), 0.25f64.exp());
        let expected = (1.0 - SHARE) * a / (a + b) + SHARE * 0.5;
        assert!((mixture.weights[0] - expected).abs() < 1e-12);
        assert!((mixture.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_mixture_finds_the_good_expert_and_follows_when_it_changes() {
        let mut mixture = Mixture::new([1.0 / 3.0; 3]);
        let mut run = |good: usize, steps: usize| {
            for step in 0..steps {
                let truth = (step as f64 * 0.37).sin();
                let mut says = [truth + 1.0, truth - 0.8, truth + 0.6];
                says[good] = truth;
                let mixed = mixture.mean(&says);
                mixture.learn(&says, mixed, (mixed - truth).signum(), 5.0, 0.995);
            }
            mixture.weights[good]
        };
        assert!(run(0, 500) > 0.7);
        assert!(run(2, 1500) > 0.7);
    }

    #[test]
    fn broken_forecasts_reset_instead_of_spreading() {
        let mut mixture = Mixture::new([0.5, 0.5]);
        mixture.learn(&[f64::NAN, 1.0], 0.0, 1.0, 10.0, 1.0);
        assert_eq!(mixture.weights, [0.5, 0.5]);
    }
}
