//! What a forecaster answers: quantile paths, and the distribution of a window's maximum.
//!
//! Both are plain values. They promise to be finite and monotone in the quantile whatever was observed.

use std::ops::Index;
use std::time::Duration;

use crate::Timestamp;

/// Quantiles of demand for consecutive future steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// End of the last observed step, which is the beginning of the first forecast step.
    pub issued_at: Timestamp,
    /// Length of one step.
    pub step: Duration,
    /// The quantiles asked for, each inside (0, 1), in the order asked.
    pub quantiles: Vec<f64>,
    /// `values[h][q]`: quantile `quantiles[q]` of step `h`, which begins at `issued_at + h * step`.
    pub values: Values,
    /// Which model made it: changes when the found seasons change.
    pub model_version: u64,
}

impl Forecast {
    /// When step `h` (from 0) begins.
    pub fn begins_at(&self, h: usize) -> Timestamp {
        self.issued_at + self.step.saturating_mul(u32::try_from(h).unwrap_or(u32::MAX))
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.values.len()
    }
}

/// A table of `steps x quantiles` in one allocation; `values[h]` is the row of step `h`.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    width: usize,
    flat: Vec<f64>,
}

impl Values {
    /// All zero.
    pub fn zeros(steps: usize, width: usize) -> Values {
        Values { width, flat: vec![0.0; steps * width] }
    }

    /// The row of step `h`, to be filled.
    pub fn row_mut(&mut self, h: usize) -> &mut [f64] {
        &mut self.flat[h * self.width..(h + 1) * self.width]
    }

    /// Number of steps; zero when no quantile was asked for.
    pub fn len(&self) -> usize {
        self.flat.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.flat.is_empty()
    }

    /// One row per step.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.flat.chunks_exact(self.width.max(1))
    }
}

impl Index<usize> for Values {
    type Output = [f64];

    fn index(&self, h: usize) -> &[f64] {
        &self.flat[h * self.width..(h + 1) * self.width]
    }
}

/// A quantile whose place among those that are kept was worked out beforehand, for who reads the same one again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile(crate::calibration::Place);

impl Quantile {
    /// Of `tau`; values outside (0, 1) are drawn in to the nearest quantile that exists.
    pub fn new(tau: f64) -> Quantile {
        Quantile(crate::calibration::Place::of(tau))
    }
}

/// Distribution of the largest demand over the next few steps.
///
/// Held as values at fixed quantiles plus a generalised Pareto tail above the last of them, so that any quantile can be
/// read without asking the forecaster again.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowMax {
    pub(crate) steps: usize,
    pub(crate) curve: crate::calibration::Curve,
}

impl WindowMax {
    /// Length of the window in steps.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The value that the maximum stays below with probability `tau`. Monotone in `tau`, always finite. Values outside
    /// (0, 1) are drawn in to the nearest quantile that exists.
    pub fn quantile(&self, tau: f64) -> f64 {
        self.curve.quantile(tau)
    }

    /// The same for a quantile whose place is known.
    pub fn at(&self, quantile: Quantile) -> f64 {
        self.curve.read(quantile.0)
    }

    /// Moves the whole distribution, nothing of it below `floor`.
    pub(crate) fn shift(&mut self, by: f64, floor: f64) {
        self.curve = self.curve.shifted(by, floor);
    }

    /// The value that the maximum exceeds half of the time.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}
