//! The largest value of a window as a target of its own.
//!
//! Capacity must cover the peak of the time a decision lasts, and the quantile of a maximum is not the maximum of
//! quantiles. For a geometric grid of window lengths the median path's maximum is kept until the window has passed, and
//! what the true maximum exceeded it by is calibrated like any other residual. A window is scored when it has ended and
//! not before. Of long windows few have ended: until they are many, shorter ones tell how far their maxima scatter.

use serde::{Deserialize, Serialize};

use crate::calibration::{GRID, Issued, MEDIAN, Residuals, Tail};
use crate::online::memory::Memory;
use crate::online::waiting::Waiting;

/// Window lengths that are tracked, in steps.
pub(crate) const WINDOWS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 135, 300];

/// One tracked window length.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) length: usize,
    pub(crate) residuals: Residuals,
    pending: Waiting<Pending>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Pending {
    /// Missing steps before the window began, in low bits.
    missing: u32,
    base: f32,
    spread: f32,
    issued: Issued,
}

impl Window {
    pub(crate) fn new(length: usize) -> Window {
        let (stride, length_steps) = (stride(length), length as f64);
        let kept = (RESIDUALS_KEPT / stride as f64).max(RESIDUALS_KEPT_MIN);
        let wanders = length.min(WANDERS_MAX);
        let residuals = Residuals::new(wanders, kept, length_steps / stride as f64);
        Window { length, residuals, pending: Waiting::new(length / stride as usize + 1) }
    }

    /// Whether a forecast made after step `now` is to be kept for learning.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now & (stride(self.length) - 1) == 0
    }

    /// Keeps the forecast of the window that ends with step `end`.
    pub(crate) fn issue(&mut self, end: u64, missing: u64, base: f32, spread: f32) {
        let issued = self.residuals.issue();
        self.pending.push(end, Pending { missing: missing as u32, base, spread, issued });
    }

    /// Learns if a window has ended with step `now`, the last that `memory` holds; windows with many missing values are
    /// dropped.
    #[inline]
    pub(crate) fn learn(&mut self, now: u64, missing: u64, memory: &Memory) {
        // Most have not begun when one could end now; that is seen without a look at what waits.
        if !self.is_due(now.wrapping_sub(self.length as u64)) {
            return;
        }
        if let Some(pending) = self.pending.take(now) {
            let holes = (missing as u32).wrapping_sub(pending.missing);
            if holes as usize * 10 <= self.length {
                let peak = memory.largest_of_last(self.length, holes == 0);
                let residual = (peak - f64::from(pending.base)) / f64::from(pending.spread);
                self.residuals.learn(residual as f32, &pending.issued);
            }
        }
    }

    /// Quantiles at the grid of what maxima exceed the median path's by, in typical errors; `shorter` are those of the next
    /// shorter window. How long ones scatter about their median is taken from it until many have ended: a day or a week
    /// comes seldom, and tails guessed from a few of them reach far too high.
    pub(crate) fn excess(&self, shorter: Option<&Excess>) -> Excess {
        let own = Excess { values: self.residuals.values(), tail: self.residuals.tail() };
        let Some(shorter) = shorter else { return own };
        let count = f64::from(self.residuals.count());
        own.leaning_on(shorter, LEANS / (count + LEANS))
    }

    /// Whether so many have ended that what shorter ones say makes no difference.
    pub(crate) fn speaks_for_itself(&self) -> bool {
        f64::from(self.residuals.count()) >= ALONE
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.pending.heap_bytes()
    }
}

/// How far maxima of a window are above the highest point of the median path, in typical errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Excess {
    /// At the grid of quantiles.
    pub(crate) values: [f64; GRID.len()],
    pub(crate) tail: Tail,
}

impl Excess {
    /// The same about its own median, `share` of the way to how another scatters.
    fn leaning_on(&self, other: &Excess, share: f64) -> Excess {
        let moved = self.values[MEDIAN] - other.values[MEDIAN];
        self.towards(&Excess { values: other.values.map(|value| value + moved), ..*other }, share)
    }

    /// A distribution between this one and another.
    pub(crate) fn towards(&self, other: &Excess, share: f64) -> Excess {
        let between = |own: f64, other: f64| own + share * (other - own);
        Excess {
            values: std::array::from_fn(|k| between(self.values[k], other.values[k])),
            tail: Tail {
                scale: between(self.tail.scale, other.tail.scale),
                shape: between(self.tail.shape, other.tail.shape),
            },
        }
    }
}

/// Every how many steps windows of a length are forecast, a power of two. Longer ones overlap more and need fewer.
pub(crate) fn stride(length: usize) -> u64 {
    match length {
        0..=2 => 1,
        3..=12 => 8,
        13..=64 => 32,
        65.. => 128,
    }
}

/// How far the path must be followed after step `now` for all windows that are due.
pub(crate) fn reach(now: u64) -> usize {
    match () {
        () if now.is_multiple_of(128) => 300,
        () if now.is_multiple_of(32) => 64,
        () if now.is_multiple_of(8) => 8,
        () => 2,
    }
}

/// Windows wander no farther than one of so many steps, for what lasts longer comes back with the season.
const WANDERS_MAX: usize = 54;
/// Windows that must have ended for a length to speak for itself as much as the next shorter one does for it.
const LEANS: f64 = 100.0;
/// Windows that must have ended for nothing to be asked of shorter ones.
const ALONE: f64 = 10.0 * LEANS;
const RESIDUALS_KEPT: f64 = 6000.0;
const RESIDUALS_KEPT_MIN: f64 = 800.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_few_have_told_of_scatters_like_shorter_ones_about_its_own_median() {
        let mut short = Window::new(1);
        let mut long = Window::new(300);
        for i in 0..3000u32 {
            let issued = short.residuals.issue();
            short.residuals.learn((f64::from(i) * 0.618_033_988_749_894_9).fract() as f32, &issued);
        }
        let (near, alone) = (short.excess(None), long.excess(None));
        let young = long.excess(Some(&near));
        assert_eq!(young.values[MEDIAN], alone.values[MEDIAN]);
        let width = |excess: &Excess| excess.values[8] - excess.values[MEDIAN];
        assert!((width(&young) - width(&near)).abs() < 1e-6);
        for i in 0..300u32 {
            let issued = long.residuals.issue();
            long.residuals
                .learn(2.0 + 4.0 * (f64::from(i) * 0.618_033_988_749_894_9).fract() as f32, &issued);
        }
        let (old, alone) = (long.excess(Some(&near)), long.excess(None));
        assert!(width(&old) > 0.7 * width(&alone) && width(&old) < width(&alone), "{}", width(&old));
    }

    #[test]
    fn a_window_is_scored_exactly_when_it_ends() {
        let mut window = Window::new(4);
        let mut memory = Memory::new(10, None);
        memory.push(99.0, false);
        window.issue(4, 0, 10.0, 1.0);
        for now in 1..=3 {
            memory.push(10.0, false);
            window.learn(now, 0, &memory);
            assert_eq!(window.residuals.count(), 0);
        }
        memory.push(12.0, false);
        window.learn(4, 0, &memory);
        assert_eq!(window.residuals.count(), 1);
    }

    #[test]
    fn every_window_that_is_due_lies_within_reach() {
        for now in 0..64u64 {
            for length in WINDOWS {
                assert!(!now.is_multiple_of(stride(length)) || length <= reach(now));
            }
        }
    }
}
