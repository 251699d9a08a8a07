//! How likely a series is to be idle: exactly zero, as workloads that scale to zero are for most of the time.
//!
//! A distribution of errors around a median is smooth; one that has half of its weight in a single point is not. So that
//! weight is counted by itself, apart for forecasts made while the series was idle and while it was not, and quantiles below
//! it are zero (Croston 1972 separates the two questions in the same way). Where a forecast claims that there will be demand,
//! as at the hour of a job that runs at fixed times, how often such claims came to nothing is counted apart as well.

use serde::{Deserialize, Serialize};

/// How often outcomes at one horizon were zero.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// Of forecasts that claimed nothing, made while busy, and while idle; then of those that claimed demand.
    shares: [f32; 4],
    counts: [u16; 4],
}

/// The probabilities of zero by whether a forecast is made while busy or while idle.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shares {
    /// Of one that claims nothing.
    pub(crate) quiet: [f64; 2],
    /// Of one that claims demand.
    pub(crate) claims: [f64; 2],
}

impl Idle {
    /// Learns whether the series `is` idle that `was` idle or not when the forecast was made, and whether that claimed demand.
    pub(crate) fn learn(&mut self, was: bool, claims: bool, is: bool) {
        let (first, kept) = if claims { (CLAIMS, CLAIMS_KEPT) } else { (0, KEPT) };
        self.count(first + usize::from(was), is, kept);
    }

    fn count(&mut self, place: usize, is: bool, kept: u16) {
        let (share, count) = (&mut self.shares[place], &mut self.counts[place]);
        *count = count.saturating_add(1).min(kept);
        let outcome = if is { 1.0 } else { 0.0 };
        // As if a few busy steps had been seen before: a share is claimed once there is evidence for it.
        *share += (outcome - *share) / (f32::from(*count) + DOUBT);
    }

    /// The probabilities of zero. What outcomes have not yet shown is taken from `nearer`, the same at a shorter horizon;
    /// `forgotten`, from 0 to 1, says how much of it that the series is busy is no news any more so far ahead.
    pub(crate) fn shares(&self, nearer: Option<Shares>, forgotten: f64) -> Shares {
        let shares = |first: usize, nearer: [f64; 2]| {
            let idle = self.share(first + 1, nearer[1]);
            let supposed = nearer[0] + forgotten * (idle - nearer[0]).max(0.0);
            [self.share(first, supposed), idle]
        };
        let quiet = shares(0, nearer.map_or([0.0; 2], |nearer| nearer.quiet));
        Shares { quiet, claims: shares(CLAIMS, nearer.map_or(quiet, |nearer| nearer.claims)) }
    }

    /// A share, in which what has not been seen is `supposed`.
    fn share(&self, place: usize, supposed: f64) -> f64 {
        let unseen = DOUBT / (f32::from(self.counts[place]) + DOUBT);
        f64::from(self.shares[place]) + f64::from(unseen) * supposed
    }

    /// The share of outcomes that were zero, of forecasts that claimed nothing, made while idle (`was`) or while busy.
    pub(crate) fn zeros_unclaimed(&self, was: bool) -> f64 {
        self.shares[usize::from(was)].into()
    }

    /// Of claims made while idle: how many have been seen, as far as they are remembered, and how many came to nothing.
    pub(crate) fn claims_made_idle(&self) -> (f32, f32) {
        let (made, share) = (f32::from(self.counts[CLAIMS + 1]), self.shares[CLAIMS + 1]);
        (made, (share * (made + DOUBT)).min(made))
    }

    /// How many outcomes of forecasts made while busy have been seen, as far as they are remembered.
    pub(crate) fn busy(&self) -> u64 {
        u64::from(self.counts[0]) + u64::from(self.counts[CLAIMS])
    }
}

/// Where claims of demand are counted.
const CLAIMS: usize = 2;
const DOUBT: f32 = 4.0;
/// Outcomes that are remembered; fewer of claims, which come to be better ones.
const KEPT: u16 = 500;
const CLAIMS_KEPT: u16 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_apart_and_claimed_late() {
        let mut idle = Idle::default();
        idle.learn(true, false, true);
        let [busy, idling] = idle.shares(None, 0.0).quiet;
        assert!(idling < 0.3 && busy == 0.0);
        for step in 0..2000 {
            idle.learn(true, false, step % 10 != 0);
            idle.learn(false, false, step % 4 == 0);
        }
        let half = Shares { quiet: [0.5; 2], claims: [0.5; 2] };
        for (nearer, forgotten) in [(None, 0.0), (Some(half), 1.0)] {
            let Shares { quiet: [busy, idling], .. } = idle.shares(nearer, forgotten);
            assert!((idling - 0.9).abs() < 0.03 && (busy - 0.25).abs() < 0.03, "{idling} {busy}");
        }
    }

    #[test]
    fn a_series_that_was_hardly_ever_busy_is_taken_to_be_idle_again_far_ahead() {
        let mut near = Idle::default();
        (0..500).for_each(|_| near.learn(true, false, true));
        let nearer = near.shares(None, 0.0);
        assert!(nearer.quiet[0] == 0.0 && nearer.quiet[1] > 0.95);
        let mut far = Idle::default();
        assert_eq!(far.shares(Some(nearer), 0.0).quiet[0], 0.0);
        assert!(far.shares(Some(nearer), 1.0).quiet.iter().all(|share| *share > 0.95));
        far.learn(false, false, false);
        assert!(far.shares(Some(nearer), 1.0).quiet[0] < 0.85);
        assert_eq!(far.busy(), 1);
    }

    #[test]
    fn claims_of_demand_are_doubted_like_all_the_rest_until_they_have_come_true() {
        let mut idle = Idle::default();
        (0..480).for_each(|_| idle.learn(true, false, true));
        let before = idle.shares(None, 0.0);
        assert!(before.claims[1] > 0.95);
        (0..36).for_each(|_| idle.learn(true, true, false));
        let after = idle.shares(None, 0.0);
        assert!(after.claims[1] < 0.12 && after.quiet[1] > 0.85, "{after:?}");
    }
}
