//! One horizon of a forecaster: what was said for it, and what is learned when its moment comes.

use crate::calibration::{GRID, Residuals};
use crate::online::experts::{BASE, EXPERTS, LAST, STACK, combined, prior, stack_inputs};
use crate::online::mixture::{Mixture, dot};
use crate::online::spread::Range;
use crate::online::stack::Stack;

/// Learns to combine the experts at one horizon, and how wrong the combination is.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) horizon: usize,
    /// Forecasts are issued every so many steps: far ones overlap so much that fewer teach the same.
    stride: usize,
    pending: Vec<Pending>,
    mixture: Mixture<EXPERTS>,
    stack: Stack,
    pub(crate) residuals: Residuals,
    /// Typical size of a standardised error.
    error: f64,
    count: u64,
    /// Weight of each expert in the combination.
    pub(crate) weights: [f32; EXPERTS],
}

/// What was said about a step before it came.
#[derive(Clone, Copy, Debug)]
struct Pending {
    step: u64,
    says: [f32; EXPERTS],
    /// What the combination said.
    median: f32,
    spread: f32,
    issued: [f32; GRID.len()],
}

/// What a bucket was taught by one outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lesson {
    /// Outcome minus the combined forecast, in the unit of the series.
    pub(crate) error: f64,
    /// The error of repeating the last value.
    pub(crate) persistence: f64,
    /// Whether the outcome was inside the 90 % interval.
    pub(crate) covered: bool,
}

impl Bucket {
    /// For a series with a season of so many steps.
    pub(crate) fn new(horizon: usize, season: usize) -> Bucket {
        let stride = (horizon / 12).max(1);
        let mixture = Mixture::new(prior(horizon, season));
        let stack = Stack::new(FORGETTING, horizon as f64 / stride as f64);
        Bucket {
            horizon,
            stride,
            pending: Vec::new(),
            weights: combined(&mixture.weights, &stack.weights),
            mixture,
            stack,
            residuals: Residuals::new(
                horizon,
                (RESIDUALS_KEPT / stride as f64).max(RESIDUALS_KEPT_MIN),
                horizon as f64 / stride as f64,
            ),
            error: 1.0,
            count: 0,
        }
    }

    /// Whether a forecast made after step `now` is to be kept for learning.
    #[inline]
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now.is_multiple_of(self.stride as u64)
    }

    /// Which of the spreads this horizon is measured in.
    #[inline]
    pub(crate) fn range(&self) -> Range {
        if self.horizon <= NEAR_MAX { Range::Near } else { Range::Far }
    }

    /// Keeps what the experts say about `step` until it comes.
    pub(crate) fn issue(&mut self, step: u64, says: &[f32; EXPERTS], spread: f64) {
        let pending = Pending {
            step,
            says: *says,
            median: dot(&self.weights, says),
            spread: spread as f32,
            issued: self.residuals.issue(),
        };
        let slots = self.horizon / self.stride + 1;
        let slot = (step / self.stride as u64) as usize % slots;
        if self.pending.is_empty() {
            self.pending = vec![Pending { step: u64::MAX, ..pending }; slots];
        }
        self.pending[slot] = pending;
    }

    /// Learns from the value of `step`, if a forecast of it was kept.
    pub(crate) fn learn(&mut self, step: u64, value: f64) -> Option<Lesson> {
        let slots = self.pending.len().max(1);
        let pending = *self.pending.get((step / self.stride as u64) as usize % slots)?;
        if pending.step != step || pending.spread <= 0.0 {
            return None;
        }
        let spread = f64::from(pending.spread);
        let scale = 1.0 / pending.spread;
        let mut says = pending.says.map(|said| said * scale);
        let target = value / spread;
        let inputs = stack_inputs(&says);
        says[STACK] = says[BASE] + self.stack.correction(&inputs) as f32;
        let mixed = self.mixture.mean(&says);
        let error = target - f64::from(mixed);
        // The weights have learned since this forecast was made, from outcomes much like this one. Calibrated is what was
        // said then; only that is as wrong as the next forecast will be.
        let honest = target - f64::from(pending.median * scale);
        if !(error.is_finite() && honest.is_finite()) {
            return None;
        }
        let seen = honest as f32;
        let covered = seen >= pending.issued[LOWER] && seen <= pending.issued[UPPER];
        self.residuals.learn(honest, &pending.issued);
        self.count += 1;
        let clip = CLIP * self.error;
        self.error += (1.0 / self.count as f64).max(0.002) * (error.abs().min(clip) - self.error);
        self.error = self.error.max(1e-9);
        let gradient = if error < 0.0 { 1.0 } else { -1.0 };
        self.mixture.learn(&says, mixed, gradient, clip as f32, DISCOUNT);
        self.stack.learn(&inputs, target - f64::from(says[BASE]), STACK_CLIP * self.error);
        self.weights = combined(&self.mixture.weights, &self.stack.weights);
        let persistence = value - f64::from(pending.says[LAST]);
        Some(Lesson { error: honest * spread, persistence, covered })
    }

    /// Makes the combination quick to learn anew.
    pub(crate) fn loosen(&mut self) {
        self.mixture.loosen();
        self.stack.loosen();
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.pending.capacity() * size_of::<Pending>() + 512
    }
}

/// The weighted sum of the experts.
#[inline]
pub(crate) fn mix(weights: &[f32; EXPERTS], says: &[f32; EXPERTS]) -> f64 {
    f64::from(dot(weights, says))
}

/// Positions of 0.05 and 0.95 in the grid of quantiles.
const LOWER: usize = 2;
const UPPER: usize = 8;
/// Horizons up to this are measured in near errors.
const NEAR_MAX: usize = 6;
const FORGETTING: f64 = 0.9995;
const DISCOUNT: f32 = 0.9995;
const CLIP: f64 = 6.0;
const STACK_CLIP: f64 = 3.0;
const RESIDUALS_KEPT: f64 = 4000.0;
const RESIDUALS_KEPT_MIN: f64 = 500.0;
