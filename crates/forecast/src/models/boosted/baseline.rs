//! A linear forecast that the trees correct: trees cannot follow a level they have not seen, a linear one can.
//!
//! Least absolute deviations by iteratively reweighted least squares, drawn towards plain weekly and daily means.

use serde::{Deserialize, Serialize};

use super::features::LINEAR;

/// Coefficients for the inputs of [`super::features::Row::linear`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Baseline([f32; LINEAR]);

impl Baseline {
    /// Before anything is learned: the mean of daily and weekly profile, moved by how far the last hour is off.
    pub(super) const PRIOR: Baseline =
        Baseline([0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.4, 0.2, 0.1, 0.3, 0.2, 0.0, 0.0, 0.3]);

    /// Fits coefficients to rows of inputs, targets and weights.
    pub(super) fn fit(rows: &[[f32; LINEAR]], targets: &[f32]) -> Baseline {
        let mut fitted = Baseline::PRIOR;
        for _ in 0..PASSES {
            let residuals: Vec<f32> =
                rows.iter().zip(targets).map(|(row, y)| y - fitted.answer(row)).collect();
            let typical =
                residuals.iter().map(|r| f64::from(r.abs())).sum::<f64>() / rows.len().max(1) as f64;
            let floor = (0.2 * typical).max(1e-9);
            let mut left = [[0.0f64; LINEAR]; LINEAR];
            let mut right = [0.0f64; LINEAR];
            for (row, residual) in rows.iter().zip(&residuals) {
                let residual = f64::from(*residual);
                let weight = floor / residual.abs().max(floor);
                for i in 0..LINEAR {
                    let scaled = weight * f64::from(row[i]);
                    right[i] += scaled * residual;
                    for j in 0..=i {
                        left[i][j] += scaled * f64::from(row[j]);
                    }
                }
            }
            // The pull is back to the prior, from where this pass stands.
            for i in 0..LINEAR {
                let pull = PULL * rows.len() as f64;
                left[i][i] += pull;
                right[i] -= pull * f64::from(fitted.0[i] - Baseline::PRIOR.0[i]);
            }
            let Some(change) = solve(left, right) else { break };
            for (coefficient, change) in fitted.0.iter_mut().zip(change) {
                *coefficient += change as f32;
            }
        }
        if fitted.0.iter().all(|coefficient| coefficient.is_finite()) { fitted } else { Baseline::PRIOR }
    }

    pub(super) fn answer(&self, row: &[f32; LINEAR]) -> f32 {
        self.0.iter().zip(row).map(|(coefficient, input)| coefficient * input).sum()
    }
}

/// How strongly the prior holds, as a share of the rows.
const PULL: f64 = 0.01;
/// Passes of reweighting.
const PASSES: usize = 5;

/// Solves a symmetric positive definite system, given by its lower half, by Cholesky's factors.
fn solve(mut a: [[f64; LINEAR]; LINEAR], mut b: [f64; LINEAR]) -> Option<[f64; LINEAR]> {
    for i in 0..LINEAR {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let rest = a[i][j] - dot;
            a[i][j] = if i == j { (rest > 0.0).then(|| rest.sqrt())? } else { rest / a[j][j] };
        }
    }
    for i in 0..LINEAR {
        let dot: f64 = (0..i).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i][i];
    }
    for i in (0..LINEAR).rev() {
        let dot: f64 = (i + 1..LINEAR).map(|k| a[k][i] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i][i];
    }
    b.iter().all(|value| value.is_finite()).then_some(b)
}
