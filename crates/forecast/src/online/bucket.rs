//! One horizon of a forecaster: what was said for it, and what is learned when its moment comes.

use serde::{Deserialize, Serialize};

use crate::calibration::{Issued, Residuals};
use crate::narrow::{pack, unpack};
use crate::online::doubt::{Claim, Doubt};
use crate::online::experts::{BASE, EXPERTS, Faded, LAST, Part, STACK, combined, prior, stack_inputs};
use crate::online::idle::Idle;
use crate::online::mixture::{Mixture, dot};
use crate::online::spread::Range;
use crate::online::stack::Stack;
use crate::online::waiting::Waiting;

/// Learns to combine the experts at one horizon, and how wrong the combination is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) horizon: usize,
    /// Forecasts are issued every so many steps: far ones overlap so much that fewer teach the same.
    stride: u32,
    /// How far between the priors of near and far horizons this one's is.
    prior_share: f32,
    /// The part that all weight goes to, where only one is asked.
    pub(crate) alone: Option<Part>,
    pub(crate) faded: Faded,
    mixture: Mixture<EXPERTS>,
    stack: Stack,
    pub(crate) residuals: Residuals,
    pub(crate) idle: Idle,
    pub(crate) doubt: Doubt,
    /// Errors of neighbouring steps of a path.
    link: Link,
    /// Typical size of a standardised error.
    error: f32,
    count: u32,
    /// Weight of each expert in the combination.
    pub(crate) weights: [f32; EXPERTS],
    pending: Waiting<Pending>,
}

/// What was said about a step before it came.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Pending {
    base: f32,
    spread: f32,
    /// What the experts say, as it differs from the base in units of the spread; in the place of the stack the combination.
    says: [u16; EXPERTS],
    issued: Issued,
}

/// How alike the standardised errors of neighbouring steps are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Link {
    last: f32,
    product: f32,
    square: f32,
}

/// The value of a step, and what is known of the series then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) step: u64,
    pub(crate) value: f64,
    /// Forecasts above it are high ones.
    pub(crate) high: f64,
    /// Of a series that is often zero: forecasts from here on claim that it will not be.
    pub(crate) claimed_from: Option<f64>,
}

/// What a bucket was taught by one outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lesson {
    /// What was said.
    pub(crate) said: f64,
    /// Outcome minus the combined forecast, in the unit of the series.
    pub(crate) error: f64,
    /// The error of repeating the last value.
    pub(crate) persistence: f64,
    /// Whether the outcome was inside the 90 % interval.
    pub(crate) covered: bool,
}

impl Bucket {
    /// For a series with a season of so many steps; `faded` is what is left of corrections at this horizon.
    pub(crate) fn new(horizon: usize, season: usize, faded: Faded, alone: Option<Part>) -> Bucket {
        let stride = stride(horizon);
        let prior_share = ((horizon as f32).ln() / (season.max(2) as f32).ln()).min(1.0);
        let mixture = Mixture::new(prior(prior_share, alone));
        let overlap = horizon as f64 / f64::from(stride);
        let stack = Stack::new(FORGETTING, overlap);
        let kept = (RESIDUALS_KEPT / f64::from(stride)).max(RESIDUALS_KEPT_MIN);
        Bucket {
            horizon,
            stride,
            prior_share,
            alone,
            faded,
            weights: combined(&mixture.weights, &stack.weights),
            mixture,
            stack,
            residuals: Residuals::new(horizon, kept, overlap),
            idle: Idle::default(),
            doubt: Doubt::default(),
            link: Link::default(),
            error: 1.0,
            count: 0,
            pending: Waiting::new(horizon / stride as usize + 1),
        }
    }

    /// Whether a forecast made after step `now` is to be kept for learning. Which of the steps between two that is goes round
    /// slowly: what lies in step with the stride, as minutes of the hour may, would otherwise never be seen, or nothing else.
    #[inline]
    pub(crate) fn is_due(&self, now: u64) -> bool {
        let now = now as u32;
        now.wrapping_add(now >> 6) & (self.stride - 1) == 0
    }

    /// Whether a forecast of step `step` can have been kept; seen without a look at what was.
    #[inline]
    fn may_wait_for(&self, step: u64) -> bool {
        self.is_due(step.wrapping_sub(self.horizon as u64))
    }

    /// Which of the spreads this horizon is measured in.
    #[inline]
    pub(crate) fn range(&self) -> Range {
        if self.horizon <= NEAR_MAX { Range::Near } else { Range::Far }
    }

    /// Keeps what the experts say about `step` until it comes.
    #[inline(always)]
    pub(crate) fn issue(&mut self, step: u64, says: &[f32; EXPERTS], spread: f64) {
        let (base, scale) = (says[BASE], 1.0 / spread as f32);
        let mut relative = [0.0; EXPERTS];
        for (relative, said) in relative.iter_mut().zip(says) {
            *relative = (said - base) * scale;
        }
        relative[STACK] = (dot(&self.weights, says) - base) * scale;
        let mut says = [0; EXPERTS];
        for (packed, relative) in says.iter_mut().zip(relative) {
            *packed = pack(relative);
        }
        let issued = self.residuals.issue();
        self.pending.push(step, Pending { base, spread: spread as f32, says, issued });
    }

    /// The last standardised error.
    pub(crate) fn last_error(&self) -> f32 {
        self.link.last
    }

    /// Correlation of the errors of neighbouring steps of a path around this horizon, 0..1.
    pub(crate) fn alike(&self) -> f64 {
        let square = f64::from(self.link.square);
        let correlation = match square > 0.0 {
            true => (f64::from(self.link.product) / square).clamp(0.0, ALIKE_MAX),
            false => 0.0,
        };
        correlation.powf(1.0 / f64::from(self.stride))
    }

    /// Learns from the outcome of a step, if a forecast of it was kept. `neighbour` is the error of the step before it on the
    /// same path; without one that of the forecast before stands in for it, which at far horizons is nearly the same.
    pub(crate) fn learn(&mut self, outcome: Outcome, neighbour: Option<f32>) -> Option<Lesson> {
        if !self.may_wait_for(outcome.step) {
            return None;
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { self.learn_widely(outcome, neighbour) };
        }
        self.learn_plainly(outcome, neighbour)
    }

    /// The same with eight numbers in a register instead of four; the result is equal to the last bit.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn learn_widely(&mut self, outcome: Outcome, neighbour: Option<f32>) -> Option<Lesson> {
        self.learn_plainly(outcome, neighbour)
    }

    /// Inlined with all it calls, so that each caller compiles it for what it may use.
    #[inline(always)]
    fn learn_plainly(&mut self, outcome: Outcome, neighbour: Option<f32>) -> Option<Lesson> {
        let pending = self.pending.take(outcome.step)?;
        let spread = f64::from(pending.spread);
        // Everything below is relative to the base, in units of the spread.
        let target = ((outcome.value - f64::from(pending.base)) / spread) as f32;
        let mut says = [0.0; EXPERTS];
        for (said, packed) in says.iter_mut().zip(pending.says) {
            *said = unpack(packed);
        }
        let median = says[STACK];
        let inputs = stack_inputs(&says);
        says[STACK] = self.stack.correction(&inputs);
        let mixed = self.mixture.mean(&says);
        let error = target - mixed;
        // The weights have learned since this forecast was made, from outcomes much like this one. Calibrated is what was
        // said then; only that is as wrong as the next forecast will be.
        let honest = target - median;
        if !(error.is_finite() && honest.is_finite()) {
            return None;
        }
        let said = f64::from(pending.base) + f64::from(median) * spread;
        let claim = Claim {
            // Where a series is idle, that tells more.
            boldness: if outcome.claimed_from.is_some() { 0.0 } else { (median - says[LAST]).abs() },
            is_high: said > outcome.high,
        };
        let residual = honest / self.doubt.factor(claim);
        // That nothing came where nothing was claimed says nothing of how far off a claim may be.
        let covered = if outcome.claimed_from.is_some_and(|least| said < least) {
            Residuals::is_inside(residual, &pending.issued)
        } else {
            self.residuals.surge(residual, &pending.issued);
            let covered = self.residuals.learn(residual, &pending.issued);
            self.doubt.learn(claim, honest.abs(), covered);
            covered
        };
        self.link.learn(honest, neighbour);
        let persistence = spread * f64::from(target - says[LAST]);
        let lesson = Lesson { said, error: f64::from(honest) * spread, persistence, covered };
        self.count = self.count.saturating_add(1);
        let clip = CLIP * self.error;
        self.error += (1.0 / self.count as f32).max(0.002) * (error.abs().min(clip) - self.error);
        self.error = self.error.max(1e-9);
        let gradient = if error < 0.0 { 1.0 } else { -1.0 };
        self.mixture.learn(&prior(self.prior_share, self.alone), &says, (mixed, gradient), clip, DISCOUNT);
        self.stack.learn(&inputs, target, STACK_CLIP * self.error);
        self.weights = combined(&self.mixture.weights, &self.stack.weights);
        Some(lesson)
    }

    /// Makes the combination quick to learn anew.
    pub(crate) fn loosen(&mut self) {
        self.mixture.loosen();
        self.stack.loosen();
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.pending.heap_bytes()
    }
}

impl Link {
    fn learn(&mut self, error: f32, neighbour: Option<f32>) {
        let error = error.clamp(-ERROR_LINKED_MAX, ERROR_LINKED_MAX);
        let before = neighbour.unwrap_or(self.last);
        self.product += LINK_PACE * (error * before - self.product);
        self.square += LINK_PACE * ((error * error + before * before) / 2.0 - self.square);
        self.last = error;
    }
}

/// The weighted sum of the experts.
#[inline]
pub(crate) fn mix(weights: &[f32; EXPERTS], says: &[f32; EXPERTS]) -> f64 {
    f64::from(dot(weights, says))
}

/// Every how many steps a horizon is forecast for learning; a power of two.
fn stride(horizon: usize) -> u32 {
    match horizon {
        0..=2 => 1,
        3..=12 => 4,
        _ => 1 << (horizon as u32 / 8).max(2).ilog2(),
    }
}

/// Horizons up to this are measured in near errors.
const NEAR_MAX: usize = 6;
/// Wild errors count as so many typical ones when two are compared.
const ERROR_LINKED_MAX: f32 = 6.0;
const LINK_PACE: f32 = 0.005;
const ALIKE_MAX: f64 = 0.995;
const FORGETTING: f64 = 0.9995;
const DISCOUNT: f32 = 0.9995;
const CLIP: f32 = 6.0;
const STACK_CLIP: f32 = 3.0;
const RESIDUALS_KEPT: f64 = 4000.0;
const RESIDUALS_KEPT_MIN: f64 = 500.0;

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn wide_registers_change_no_bit() {
        if !std::arch::is_x86_feature_detected!("avx2") {
            return;
        }
        let faded = Faded { quick: 0.9, gentle: 0.95, trend: 1.0 };
        let (mut plain, mut wide) = (Bucket::new(1, 24, faded, None), Bucket::new(1, 24, faded, None));
        for step in 1..2000u64 {
            let truth = (step as f64 * 0.26).sin() * 10.0 + (step as f64 * 1.7).cos();
            let says =
                std::array::from_fn(|k| truth as f32 + (k as f32 - 7.0) * 0.3 * (step as f32 * 0.9).sin());
            let outcome = Outcome { step, value: truth, high: 6.0, claimed_from: None };
            for bucket in [&mut plain, &mut wide] {
                bucket.issue(step, &says, 2.0);
            }
            // SAFETY: asked above.
            let lesson = unsafe { wide.learn_widely(outcome, None) };
            assert_eq!(
                lesson.map(|lesson| lesson.error),
                plain.learn_plainly(outcome, None).map(|l| l.error)
            );
        }
        assert_eq!(format!("{plain:?}"), format!("{wide:?}"));
        assert!(plain.weights != combined(&prior(0.0, None), &[0.0; crate::online::stack::INPUTS]));
    }
}
