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

    /// The probabilities of zero, for a forecast made while busy and while idle. What outcomes have not yet shown is taken from
    /// `nearer`, the same at a shorter horizon; `forgotten`, from 0 to 1, says how much of it that the series is busy is no
    /// news any more so far ahead.
    pub(crate) fn shares(&self, nearer: [f64; 2], forgotten: f64) -> [f64; 2] {
        let unseen = self.counts.map(|count| f64::from(DOUBT / (f32::from(count) + DOUBT)));
        let idle = f64::from(self.shares[1]) + unseen[1] * nearer[1];
        let supposed = nearer[0] + forgotten * (idle - nearer[0]).max(0.0);
        [f64::from(self.shares[0]) + unseen[0] * supposed, idle]
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
        let [busy, idling] = idle.shares([0.0; 2], 0.0);
        assert!(idling < 0.3 && busy == 0.0);
        for step in 0..2000 {
            idle.learn(true, step % 10 != 0);
            idle.learn(false, step % 4 == 0);
        }
        for (nearer, forgotten) in [([0.0; 2], 0.0), ([0.5; 2], 1.0)] {
            let [busy, idling] = idle.shares(nearer, forgotten);
            assert!((idling - 0.9).abs() < 0.03 && (busy - 0.25).abs() < 0.03, "{idling} {busy}");
        }
    }

    #[test]
    fn a_series_that_was_hardly_ever_busy_is_taken_to_be_idle_again_far_ahead() {
        let mut near = Idle::default();
        (0..500).for_each(|_| near.learn(true, true));
        let nearer = near.shares([0.0; 2], 0.0);
        assert!(nearer[0] == 0.0 && nearer[1] > 0.95);
        let mut far = Idle::default();
        assert_eq!(far.shares(nearer, 0.0)[0], 0.0);
        assert!(far.shares(nearer, 1.0).iter().all(|share| *share > 0.95));
        far.learn(false, false);
        assert!(far.shares(nearer, 1.0)[0] < 0.85);
    }
}
