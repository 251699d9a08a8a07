//! Recursive least squares with forgetting: learns how to correct a base forecast from what the experts say.
//!
//! The regression is on *differences* from the base, so zero weights mean "the base is right", the combination stays a
//! weighted sum of experts that adds up to one, and a change of level cannot upset it. Errors are clipped (Huber), the
//! covariance is kept symmetric, and it is reset when it has grown or broken beyond use.

/// Inputs of the regression.
pub(crate) const INPUTS: usize = 8;

/// One regression.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    pub(crate) weights: [f64; INPUTS],
    covariance: [[f64; INPUTS]; INPUTS],
    forgetting: f64,
    /// How much noisier than one an observation counts.
    noise: f64,
}

impl Stack {
    /// `noise` is the variance of an observation: with overlapping forecasts each says little that is new, so as many of
    /// them count for one.
    pub(crate) fn new(forgetting: f64, noise: f64) -> Stack {
        Stack { weights: [0.0; INPUTS], covariance: fresh(), forgetting, noise }
    }

    /// What the regression adds to the base.
    pub(crate) fn correction(&self, inputs: &[f64; INPUTS]) -> f64 {
        self.weights.iter().zip(inputs).map(|(w, x)| w * x).sum()
    }

    /// One step of recursive least squares towards `target`, whose error is clipped to `clip`.
    pub(crate) fn learn(&mut self, inputs: &[f64; INPUTS], target: f64, clip: f64) {
        let error = (target - self.correction(inputs)).clamp(-clip, clip);
        let mut gain = [0.0; INPUTS];
        let (mut denominator, mut trace) = (self.forgetting * self.noise, 0.0);
        for i in 0..INPUTS {
            gain[i] = self.covariance[i].iter().zip(inputs).map(|(p, x)| p * x).sum();
            denominator += gain[i] * inputs[i];
            trace += self.covariance[i][i];
        }
        if !(denominator.is_finite() && denominator > 0.0 && trace.is_finite() && error.is_finite()) {
            *self = Stack::new(self.forgetting, self.noise);
            return;
        }
        // Without news the covariance would grow for ever: forget only while it is small.
        let growth = if trace > TRACE_MAX { 1.0 } else { 1.0 / self.forgetting };
        let scale = 1.0 / denominator;
        for i in 0..INPUTS {
            self.weights[i] = (self.weights[i] + gain[i] * scale * error).clamp(-WEIGHT_MAX, WEIGHT_MAX);
            // The same product on both sides of the diagonal, so it stays symmetric to the last bit.
            for j in 0..INPUTS {
                self.covariance[i][j] = (self.covariance[i][j] - gain[i] * gain[j] * scale) * growth;
            }
        }
        for i in 0..INPUTS {
            // Rounding may push a variance to zero or below; that input starts afresh.
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

fn fresh() -> [[f64; INPUTS]; INPUTS] {
    let mut covariance = [[0.0; INPUTS]; INPUTS];
    for (i, row) in covariance.iter_mut().enumerate() {
        row[i] = PRIOR_VARIANCE;
    }
    covariance
}

/// Prior variance of a weight, in units where the error's scale is one: as much as twenty observations know.
const PRIOR_VARIANCE: f64 = 0.05;
const TRACE_MAX: f64 = 5.0;
const VARIANCE_MIN: f64 = 1e-9;
/// No sensible combination of experts has a larger weight.
const WEIGHT_MAX: f64 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(a: f64, b: f64) -> [f64; INPUTS] {
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
        assert!((stack.weights[0] - expected).abs() < 1e-12);
        assert_eq!(stack.weights[1], 0.0);
    }

    #[test]
    fn many_steps_equal_the_batch_ridge_regression() {
        let mut stack = Stack::new(1.0, 1.0);
        let rows: Vec<(f64, f64, f64)> = (0..200)
            .map(|i| {
                let (a, b) = ((f64::from(i) * 0.7).sin(), (f64::from(i) * 1.3).cos());
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
        assert!((stack.weights[0] - expected[0]).abs() < 1e-9);
        assert!((stack.weights[1] - expected[1]).abs() < 1e-9);
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
        for i in 0..50_000 {
            stack.learn(&inputs(1e-9, 0.0), f64::from(i % 3), 3.0);
        }
        stack.learn(&inputs(f64::INFINITY, 1.0), 1.0, 3.0);
        stack.learn(&inputs(f64::NAN, 1.0), 1.0, 3.0);
        for _ in 0..500 {
            stack.learn(&inputs(1e12, 1e12), 1.0, 3.0);
            stack.learn(&inputs(1.0, -1.0), 1.0, 3.0);
        }
        assert!(stack.weights.iter().all(|w| w.is_finite()));
        assert!((0..INPUTS).all(|i| stack.covariance[i][i] > 0.0));
    }
}
