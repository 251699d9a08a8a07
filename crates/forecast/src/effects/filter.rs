//! Linear regression learned one observation at a time: the posterior of normally distributed coefficients (the Kalman
//! filter of a regression whose coefficients hardly move; West and Harrison, Bayesian Forecasting and Dynamic Models).
//!
//! The prior is the regularisation: a coefficient that nothing was said about stays at its prior mean with its prior
//! width. Inputs are sparse: only the coefficients that matter at a step are named.

use serde::{Deserialize, Serialize};

/// Coefficients that matter at a step, and by how much. Each index at most once.
pub(super) type Inputs = Vec<(usize, f64)>;

/// Means and covariances of all coefficients.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Filter {
    mean: Vec<f64>,
    /// Rows of the symmetric matrix, whole.
    covariance: Vec<f64>,
    prior_variance: Vec<f64>,
}

impl Filter {
    pub(super) fn len(&self) -> usize {
        self.mean.len()
    }

    /// Adds coefficients by mean and standard deviation; the index of the first.
    pub(super) fn grow(&mut self, priors: &[(f64, f64)]) -> usize {
        let (old, new) = (self.len(), self.len() + priors.len());
        let mut covariance = vec![0.0; new * new];
        for row in 0..old {
            covariance[row * new..row * new + old]
                .copy_from_slice(&self.covariance[row * old..(row + 1) * old]);
        }
        for (at, &(mean, sd)) in (old..).zip(priors) {
            covariance[at * new + at] = sd * sd;
            self.mean.push(mean);
            self.prior_variance.push(sd * sd);
        }
        self.covariance = covariance;
        old
    }

    /// Forgets one coefficient: mean zero, and a variance of its own.
    pub(super) fn renew(&mut self, at: usize, variance: f64) {
        let p = self.len();
        for other in 0..p {
            self.covariance[at * p + other] = 0.0;
            self.covariance[other * p + at] = 0.0;
        }
        self.covariance[at * p + at] = variance;
        self.mean[at] = 0.0;
    }

    /// Mean and variance of one coefficient.
    pub(super) fn coefficient(&self, at: usize) -> (f64, f64) {
        (self.mean[at], self.covariance[at * self.len() + at])
    }

    /// Means of all coefficients.
    pub(super) fn means(&self) -> &[f64] {
        &self.mean
    }

    /// Mean and variance of the sum of inputs times coefficients.
    pub(super) fn predict(&self, inputs: &[(usize, f64)]) -> (f64, f64) {
        self.predict_with(&self.mean, inputs)
    }

    /// The same with means of an earlier time; coefficients that did not exist then count as zero.
    pub(super) fn predict_with(&self, means: &[f64], inputs: &[(usize, f64)]) -> (f64, f64) {
        let p = self.len();
        let (mut mean, mut variance) = (0.0, 0.0);
        for &(i, x) in inputs {
            mean += x * means.get(i).copied().unwrap_or(0.0);
            let row = &self.covariance[i * p..(i + 1) * p];
            variance += x * inputs.iter().map(|&(k, z)| row[k] * z).sum::<f64>();
        }
        (mean, variance.max(0.0))
    }

    /// Learns that the sum was off by `error`, seen through noise of variance `noise`.
    pub(super) fn learn(&mut self, inputs: &[(usize, f64)], error: f64, noise: f64) {
        let p = self.len();
        let mut toward = vec![0.0; p];
        for &(k, z) in inputs {
            let row = &self.covariance[k * p..(k + 1) * p];
            for (sum, &entry) in toward.iter_mut().zip(row) {
                *sum += entry * z;
            }
        }
        let total = noise + inputs.iter().map(|&(k, z)| toward[k] * z).sum::<f64>();
        if !(total.is_finite() && total > 0.0 && error.is_finite()) {
            return;
        }
        let scale = 1.0 / total;
        for (i, &gain) in toward.iter().enumerate() {
            self.mean[i] += gain * scale * error;
            let factor = gain * scale;
            if factor != 0.0 {
                let row = &mut self.covariance[i * p..(i + 1) * p];
                for (entry, &other) in row.iter_mut().zip(&toward) {
                    *entry -= factor * other;
                }
            }
        }
        for i in 0..p {
            let diagonal = &mut self.covariance[i * p + i];
            // Rounding must never make a variance vanish or turn negative.
            *diagonal = diagonal.max(1e-12 + 1e-9 * self.prior_variance[i]);
        }
    }

    /// Lets all coefficients drift: a share of the prior variance comes back, and never more than all of it.
    pub(super) fn drift(&mut self, share: f64) {
        let p = self.len();
        for (i, &prior) in self.prior_variance.iter().enumerate() {
            let diagonal = &mut self.covariance[i * p + i];
            *diagonal = (*diagonal + share * prior).min(prior.max(*diagonal));
        }
    }

    /// Replaces the coefficients `first..` by linear combinations of themselves, one row of `map` each, and adds `fresh`
    /// variance to each.
    pub(super) fn map(&mut self, first: usize, map: &[Vec<f64>], fresh: &[f64]) {
        let (p, n) = (self.len(), map.len());
        let combined = |row: &[f64], of: &dyn Fn(usize) -> f64| -> f64 {
            row.iter().enumerate().map(|(k, weight)| weight * of(k)).sum()
        };
        let means: Vec<f64> = map.iter().map(|row| combined(row, &|k| self.mean[first + k])).collect();
        self.mean[first..first + n].copy_from_slice(&means);
        for column in 0..p {
            let new: Vec<f64> =
                map.iter().map(|row| combined(row, &|k| self.covariance[(first + k) * p + column])).collect();
            for (k, value) in new.into_iter().enumerate() {
                self.covariance[(first + k) * p + column] = value;
            }
        }
        for row in 0..p {
            let new: Vec<f64> = map
                .iter()
                .map(|weights| combined(weights, &|k| self.covariance[row * p + first + k]))
                .collect();
            for (k, value) in new.into_iter().enumerate() {
                self.covariance[row * p + first + k] = value;
            }
        }
        for (k, variance) in fresh.iter().enumerate() {
            self.covariance[(first + k) * p + first + k] += variance;
        }
    }

    /// Draws a coefficient that is less certain than its prior back to it.
    pub(super) fn confine(&mut self, at: usize) {
        let p = self.len();
        let share = self.prior_variance[at] / self.covariance[at * p + at];
        if share < 1.0 {
            let root = share.sqrt();
            for other in 0..p {
                self.covariance[at * p + other] *= root;
                self.covariance[other * p + at] *= root;
            }
            self.mean[at] *= share;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        8 * (self.covariance.capacity() + 2 * self.mean.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_coefficient_learned_is_the_posterior_of_the_textbook() {
        let mut filter = Filter::default();
        filter.grow(&[(0.0, 2.0)]);
        for value in [1.0, 2.0, 4.0] {
            let (said, _) = filter.predict(&[(0, 1.0)]);
            filter.learn(&[(0, 1.0)], value - said, 0.5);
        }
        // Precision 1/4 + 3/0.5, mean 7/0.5 over it.
        let precision = 0.25 + 6.0;
        let (mean, variance) = filter.coefficient(0);
        assert!((mean - 14.0 / precision).abs() < 1e-12 && (variance - 1.0 / precision).abs() < 1e-12);
    }

    #[test]
    fn learning_step_by_step_is_ridge_regression_on_all_steps() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut filter = Filter::default();
        filter.grow(&[(0.0, 1.0)]);
        filter.grow(&[(0.0, 1.0), (0.0, 1.0)]);
        // Normal equations, side by side.
        let (mut a, mut b) = ([[0.0; 3]; 3], [0.0; 3]);
        for (i, row) in a.iter_mut().enumerate() {
            row[i] = 0.3;
        }
        for _ in 0..200 {
            let x = [random.f64() - 0.5, random.f64(), 1.0];
            let y = 2.0 * x[0] - x[1] + 0.5 + 0.1 * (random.f64() - 0.5);
            let inputs: Inputs = x.iter().copied().enumerate().collect();
            let (said, _) = filter.predict(&inputs);
            filter.learn(&inputs, y - said, 0.3);
            for i in 0..3 {
                b[i] += x[i] * y;
                for k in 0..3 {
                    a[i][k] += x[i] * x[k];
                }
            }
        }
        for i in 0..3 {
            let residual: f64 = (0..3).map(|k| a[i][k] * filter.coefficient(k).0).sum::<f64>() - b[i];
            assert!(residual.abs() < 1e-8, "{residual}");
        }
    }

    #[test]
    fn mapped_and_renewed_coefficients_keep_the_rest() {
        let mut filter = Filter::default();
        filter.grow(&[(1.0, 1.0), (3.0, 1.0), (5.0, 1.0)]);
        filter.learn(&[(0, 1.0), (2, 1.0)], 1.0, 1.0);
        let before = filter.predict(&[(0, 1.0), (2, 1.0)]);
        filter.map(1, &[vec![0.5, 0.5], vec![0.0, 1.0]], &[0.0, 0.0]);
        assert_eq!(filter.predict(&[(0, 1.0), (2, 1.0)]), before);
        let middle = filter.coefficient(1).0;
        assert!((middle - (3.0 + filter.coefficient(2).0) / 2.0).abs() < 1e-12);
        filter.renew(0, 4.0);
        assert_eq!(filter.coefficient(0), (0.0, 4.0));
        assert_eq!(filter.predict(&[(2, 1.0)]).0, filter.coefficient(2).0);
    }
}
