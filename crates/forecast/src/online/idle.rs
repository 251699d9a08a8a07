//! How likely a series is to be idle: exactly zero, as workloads that scale to zero are for most of the time.
//!
//! A distribution of errors around a median is smooth; one that has half of its weight in a single point is not. So that
//! weight is counted by itself, apart for forecasts made while the series was idle and while it was not, and quantiles below
//! it are zero (Croston 1972 separates the two questions in the same way).

use serde::{Deserialize, Serialize};

/// Shares of outcomes at one horizon that were zero.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// Of forecasts made while busy, and while idle.
    states: [State; 2],
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct State {
    share: f32,
    count: u16,
}

impl Idle {
    /// Learns whether the series `is` idle that `was` idle or not when the forecast was made.
    pub(crate) fn learn(&mut self, was: bool, is: bool) {
        let state = &mut self.states[usize::from(was)];
        state.count = state.count.saturating_add(1).min(KEPT);
        let outcome = if is { 1.0 } else { 0.0 };
        // As if a few busy steps had been seen before: a share is claimed once there is evidence for it.
        state.share += (outcome - state.share) / (f32::from(state.count) + DOUBT);
    }

    /// Whether the series has ever been idle.
    pub(crate) fn is_known(&self) -> bool {
        self.states.iter().any(|state| state.count > 0)
    }

    /// The probability of zero, for a forecast made while idle or not.
    pub(crate) fn share(&self, now: bool) -> f64 {
        f64::from(self.states[usize::from(now)].share)
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
