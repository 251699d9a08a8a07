//! The largest value of a window as a target of its own.
//!
//! Capacity must cover the peak of the time a decision lasts, and the quantile of a maximum is not the maximum of
//! quantiles. For a geometric grid of window lengths the median path's maximum is kept until the window has passed, and
//! what the true maximum exceeded it by is calibrated like any other residual. A window is scored when it has ended and
//! not before.

use std::collections::VecDeque;

use crate::calibration::{GRID, Residuals};

/// Window lengths that are tracked, in steps.
pub(crate) const WINDOWS: [usize; 14] = [1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90, 135, 200, 300];

/// One tracked window length.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) length: usize,
    pub(crate) residuals: Residuals,
    pending: VecDeque<Pending>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Last step of the window.
    end: u64,
    /// Missing steps before the window began.
    missing: u64,
    base: f64,
    spread: f64,
    issued: [f32; GRID.len()],
}

impl Window {
    pub(crate) fn new(length: usize) -> Window {
        let kept = (RESIDUALS_KEPT / stride(length) as f64).max(RESIDUALS_KEPT_MIN);
        let overlap = length as f64 / stride(length) as f64;
        Window { length, residuals: Residuals::new(length, kept, overlap), pending: VecDeque::new() }
    }

    /// Whether a forecast made after step `now` is to be kept for learning.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now.is_multiple_of(stride(self.length))
    }

    /// Keeps the forecast of the window that ends with step `end`.
    pub(crate) fn issue(&mut self, end: u64, missing: u64, base: f64, spread: f64) {
        if self.pending.len() < PENDING_MAX {
            let issued = self.residuals.issue();
            self.pending.push_back(Pending { end, missing, base, spread, issued });
        }
    }

    /// Whether a forecast window has ended with step `now` or before.
    #[inline]
    pub(crate) fn has_ended(&self, now: u64) -> bool {
        self.pending.front().is_some_and(|pending| pending.end <= now)
    }

    /// Learns if a window has ended with step `now`. `peaks` knows the values; windows with many missing ones are dropped.
    pub(crate) fn learn(&mut self, now: u64, missing: u64, peaks: &Peaks) {
        while let Some(&pending) = self.pending.front() {
            if pending.end > now {
                return;
            }
            self.pending.pop_front();
            let holes = missing - pending.missing;
            if pending.end < now || holes * 10 > self.length as u64 {
                continue;
            }
            if let Some(peak) = peaks.largest_since((now + 1).saturating_sub(self.length as u64)) {
                self.residuals.learn((peak - pending.base) / pending.spread, &pending.issued);
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.pending.capacity() * size_of::<Pending>() + 512
    }
}

/// Every how many steps windows of a length are forecast. Longer ones overlap more and need fewer.
pub(crate) fn stride(length: usize) -> u64 {
    match length {
        0..=3 => 1,
        4..=12 => 4,
        13..=60 => 16,
        61.. => 32,
    }
}

/// How far the path must be followed after step `now` for all windows that are due.
pub(crate) fn reach(now: u64) -> usize {
    match () {
        () if now.is_multiple_of(32) => 300,
        () if now.is_multiple_of(16) => 60,
        () if now.is_multiple_of(4) => 12,
        () => 3,
    }
}

/// Steps of a path that are looked at when its maximum is sought: all near ones, fewer of the far ones.
pub(crate) fn path_stride(ahead: usize) -> usize {
    match ahead {
        0..60 => 1,
        60..120 => 3,
        _ => 6,
    }
}

/// Largest recent value since any step, by a falling staircase of values that no later one has reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peaks {
    stairs: VecDeque<(u64, f64)>,
}

impl Peaks {
    pub(crate) fn push(&mut self, step: u64, value: f64) {
        while self.stairs.back().is_some_and(|&(_, earlier)| earlier <= value) {
            self.stairs.pop_back();
        }
        self.stairs.push_back((step, value));
        while self.stairs.front().is_some_and(|&(at, _)| at + LONGEST < step) {
            self.stairs.pop_front();
        }
    }

    /// The largest value from `step` on, if any value came since.
    pub(crate) fn largest_since(&self, step: u64) -> Option<f64> {
        let from = self.stairs.partition_point(|&(at, _)| at < step);
        self.stairs.get(from).map(|&(_, value)| value)
    }
}

const LONGEST: u64 = WINDOWS[WINDOWS.len() - 1] as u64;
const PENDING_MAX: usize = 64;
const RESIDUALS_KEPT: f64 = 6000.0;
const RESIDUALS_KEPT_MIN: f64 = 800.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_agree_with_a_plain_search() {
        let mut peaks = Peaks::default();
        let value = |u: u64| ((u * 7919) % 1013) as f64;
        for now in 0..2000u64 {
            peaks.push(now, value(now));
            for length in [1, 2, 40, 300] {
                let from = (now + 1).saturating_sub(length);
                let plain = (from..=now).map(value).fold(f64::MIN, f64::max);
                assert_eq!(peaks.largest_since(from), Some(plain));
            }
        }
        assert!(peaks.stairs.len() <= 301);
    }

    #[test]
    fn a_window_is_scored_exactly_when_it_ends() {
        let mut window = Window::new(3);
        let mut peaks = Peaks::default();
        window.issue(3, 0, 10.0, 1.0);
        for now in 1..=2 {
            peaks.push(now, 10.0);
            window.learn(now, 0, &peaks);
            assert_eq!(window.residuals.count(), 0);
        }
        peaks.push(3, 12.0);
        window.learn(3, 0, &peaks);
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
