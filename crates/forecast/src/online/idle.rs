//! How likely a series is to be idle: exactly zero, as workloads that scale to zero are for most of the time.
//!
//! A distribution of errors around a median is smooth; one that has half of its weight in a single point is not. So that
//! weight is counted by itself, apart for forecasts made while the series was idle and while it was not, and quantiles below
//! it are zero (Croston 1972 separates the two questions in the same way).

use serde::{Deserialize, Serialize};

/// Shares of outcomes at one horizon that were zero: of forecasts made while busy, and while idle.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Idle {
    shares: [f32; 2],
    counts: [u16; 2],
}

impl Idle {
    /// Learns whether the series `is` idle that `was` idle or not when the forecast was made.
    pub(crate) fn learn(&mut self, was: bool, is: bool) {
        let (share, count) = (&mut self.shares[usize::from(was)], &mut self.counts[usize::from(was)]);
        *count = count.saturating_add(1).min(KEPT);
        let outcome = if is { 1.0 } else { 0.0 };
        // As if a few busy steps had been seen before: a share is claimed once there is evidence for it.
        *share += (outcome - *share) / (f32::from(*count) + DOUBT);
    }

    /// The probability of zero, for a forecast made while idle or not.
    pub(crate) fn share(&self, now: bool) -> f64 {
        f64::from(self.shares[usize::from(now)])
    }
}

const DOUBT: f32 = 4.0;
/// Outcomes that are remembered.
const KEPT: u16 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_apart_and_claimed_late() {
        let mut idle = Idle::default();
        idle.learn(true, true);
        assert!(idle.share(true) < 0.3 && idle.share(false) == 0.0);
        for step in 0..2000 {
            idle.learn(true, step % 10 != 0);
            idle.learn(false, step % 4 == 0);
        }
        assert!((idle.share(true) - 0.9).abs() < 0.03, "{}", idle.share(true));
        assert!((idle.share(false) - 0.25).abs() < 0.03, "{}", idle.share(false));
    }
}
