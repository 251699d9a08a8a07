//! Recursive least squares with forgetting: learns how to correct a base forecast from what the experts say.
//!
//! The regression is on *differences* from the base, so zero weights mean "the base is right", the combination stays a
//! weighted sum of experts that adds up to one, and a change of level cannot upset it. Errors are clipped (Huber), the
//! covariance is kept symmetric, and it is reset when it has grown or broken beyond use.

use serde::{Deserialize, Serialize};

use crate::narrow::{larger, smaller};
use crate::online::mixture::dot;

/// Inputs of the regression.
pub(crate) const INPUTS: usize = 8;

/// One regression. Single precision: the covariance is bounded on both sides, so nothing small is lost beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stack {
    pub(crate) weights: [f32; INPUTS],
    covariance: [[f32; INPUTS]; INPUTS],
    forgetting: f32,
    /// How much noisier than one an observation counts.
    noise: f32,
}

impl Stack {
    /// `noise` is the variance of an observation: with overlapping forecasts each says little that is new, so as many of
    /// them count for one.
    pub(crate) fn new(forgetting: f64, noise: f64) -> Stack {
        Stack {
            weights: [0.0; INPUTS],
            covariance: fresh(),
            forgetting: forgetting as f32,
            noise: noise as f32,
        }
    }

    /// What the regression adds to the base.
    #[inline]
    pub(crate) fn correction(&self, inputs: &[f32; INPUTS]) -> f32 {
        dot(&self.weights, inputs)
    }

    /// One step of recursive least squares towards `target`, whose error is clipped to `clip`.
    #[inline(always)]
    pub(crate) fn learn(&mut self, inputs: &[f32; INPUTS], target: f32, clip: f32) {
        let error = smaller(larger(target - self.correction(inputs), -clip), clip);
        let mut gain = [0.0f32; INPUTS];
        let mut trace = 0.0;
        // By columns, which are the rows: so there are no sums across a register.
        for (i, (row, x)) in self.covariance.iter().zip(inputs).enumerate() {
            for j in 0..INPUTS {
                gain[j] += row[j] * x;
            }
            trace += row[i];
        }
        let denominator = self.forgetting * self.noise + dot(&gain, inputs);
        if !(denominator.is_finite() && denominator > 0.0 && trace.is_finite() && error.is_finite()) {
            *self = Stack { weights: [0.0; INPUTS], covariance: fresh(), ..*self };
            return;
        }
        // Without news the covariance would grow for ever: forget only while it is small.
        let growth = if trace > TRACE_MAX { 1.0 } else { 1.0 / self.forgetting };
        let scale = 1.0 / denominator;
        let moved = scale * error;
        for (weight, gain) in self.weights.iter_mut().zip(gain) {
            *weight = smaller(larger(*weight + gain * moved, -WEIGHT_MAX), WEIGHT_MAX);
        }
        // The same product on both sides of the diagonal, so it stays symmetric to the last bit.
        let shrink = scale * growth;
        let mut least = f32::INFINITY;
        for (i, row) in self.covariance.iter_mut().enumerate() {
            let own = gain[i];
            for j in 0..INPUTS {
                row[j] = row[j] * growth - (own * gain[j]) * shrink;
            }
            least = smaller(row[i], least);
        }
        if least < VARIANCE_MIN {
            self.repair();
        }
    }

    /// Rounding may push a variance to zero or below; that input starts afresh.
    fn repair(&mut self) {
        for i in 0..INPUTS {
            if self.covariance[i][i] < VARIANCE_MIN {
                for j in 0..INPUTS {
                    self.covariance[i][j] = 0.0;
                    self.covariance[j][i] = 0.0;
                }
                self.covariance[i][i] = VARIANCE_MIN;
            }
        }
    }

    /// Makes the regression quick to learn again after the series has changed its nature.
    pub(crate) fn loosen(&mut self) {
        for i in 0..INPUTS {
            self.covariance[i][i] += 0.5 * PRIOR_VARIANCE;
        }
    }
}

fn fresh() -> [[f32; INPUTS]; INPUTS] {
    let mut covariance = [[0.0; INPUTS]; INPUTS];
    for (i, row) in covariance.iter_mut().enumerate() {
        row[i] = PRIOR_VARIANCE;
    }
    covariance
}

/// Prior variance of a weight, in units where the error's scale is one: as much as twenty observations know.
const PRIOR_VARIANCE: f32 = 0.05;
const TRACE_MAX: f32 = 5.0;
const VARIANCE_MIN: f32 = 1e-6;
/// No sensible combination of experts has a larger weight.
const WEIGHT_MAX: f32 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(a: f32, b: f32) -> [f32; INPUTS] {
        let mut x = [0.0; INPUTS];
        (x[0], x[1]) = (a, b);
        x
    }

    #[test]
    fn one_step_is_the_hand_computed_ridge_solution() {
        // With prior variance p, one observation x = 2, y = 3 and no forgetting: w = p x y / (1 + p x^2).
        let mut stack = Stack::new(1.0, 1.0);
        stack.learn(&inputs(2.0, 0.0), 3.0, 1e9);
        let expected = PRIOR_VARIANCE * 2.0 * 3.0 / (1.0 + PRIOR_VARIANCE * 4.0);
        assert!((stack.weights[0] - expected).abs() < 1e-6);
        assert_eq!(stack.weights[1], 0.0);
    }

    #[test]
    fn many_steps_equal_the_batch_ridge_regression() {
        let mut stack = Stack::new(1.0, 1.0);
        let rows: Vec<(f32, f32, f32)> = (0..200u8)
            .map(|i| {
                let (a, b) = ((f32::from(i) * 0.7).sin(), (f32::from(i) * 1.3).cos());
                (a, b, 0.6 * a - 0.3 * b)
            })
            .collect();
        for &(a, b, y) in &rows {
            stack.learn(&inputs(a, b), y, 1e9);
        }
        // Normal equations (X'X + I/p) w = X'y, solved by hand for two unknowns.
        let ridge = 1.0 / PRIOR_VARIANCE;
        let (mut aa, mut ab, mut bb, mut ay, mut by) = (ridge, 0.0, ridge, 0.0, 0.0);
        for &(a, b, y) in &rows {
            aa += a * a;
            ab += a * b;
            bb += b * b;
            ay += a * y;
            by += b * y;
        }
        let determinant = aa * bb - ab * ab;
        let expected = [(bb * ay - ab * by) / determinant, (aa * by - ab * ay) / determinant];
        assert!((stack.weights[0] - expected[0]).abs() < 1e-4);
        assert!((stack.weights[1] - expected[1]).abs() < 1e-4);
    }

    #[test]
    fn one_wild_error_moves_the_weights_no_more_than_its_clip() {
        let (mut calm, mut wild) = (Stack::new(1.0, 1.0), Stack::new(1.0, 1.0));
        calm.learn(&inputs(1.0, 0.0), 3.0, 3.0);
        wild.learn(&inputs(1.0, 0.0), 1e6, 3.0);
        assert_eq!(calm.weights, wild.weights);
    }

    #[test]
    fn broken_and_idle_inputs_never_leave_the_covariance_broken() {
        let mut stack = Stack::new(0.99, 1.0);
        for i in 0..50_000u16 {
            stack.learn(&inputs(1e-9, 0.0), f32::from(i % 3), 3.0);
        }
        stack.learn(&inputs(f32::INFINITY, 1.0), 1.0, 3.0);
        stack.learn(&inputs(f32::NAN, 1.0), 1.0, 3.0);
        for _ in 0..500 {
            stack.learn(&inputs(1e12, 1e12), 1.0, 3.0);
            stack.learn(&inputs(1.0, -1.0), 1.0, 3.0);
        }
        assert!(stack.weights.iter().all(|w| w.is_finite()));
        assert!((0..INPUTS).all(|i| stack.covariance[i][i] > 0.0));
    }
}
