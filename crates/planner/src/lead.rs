//! Lead times as they are measured: how long a start or a promotion really takes.
//!
//! Planning with the mean would be late half of the time, so the estimate is the 90th percentile of the last samples (64
//! unless the limits say otherwise). Starts that failed are not among them: they are tried again, and a pool that is short
//! for it shows as missed demand, which the margins learn. Until enough samples are seen the estimate is the user's guess;
//! afterwards it stays within a factor of that guess, so that a few absurd samples (a stalled host, a clock) cannot make
//! the planner look ahead for days or not at all.

use std::collections::VecDeque;
use std::time::Duration;

/// Estimates one lead time.
#[derive(Debug, Clone)]
pub(crate) struct LeadTime {
    guess: Duration,
    estimate: Duration,
    samples: VecDeque<Duration>,
    samples_max: usize,
}

impl LeadTime {
    pub(crate) fn new(guess: Duration, samples_max: usize) -> Self {
        LeadTime {
            guess,
            estimate: guess,
            samples: VecDeque::new(),
            samples_max: samples_max.max(SAMPLES_MIN),
        }
    }

    /// One start or promotion took this long.
    pub(crate) fn observe(&mut self, took: Duration) {
        if self.samples.len() == self.samples_max {
            self.samples.pop_front();
        }
        self.samples.push_back(took);
        if self.samples.len() < SAMPLES_MIN {
            return;
        }
        let mut sorted: Vec<Duration> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let rank = ((sorted.len() as f64 * QUANTILE).ceil() as usize).clamp(1, sorted.len());
        let low = self.guess / FACTOR_MAX;
        let high = self.guess.saturating_mul(FACTOR_MAX).max(FLOOR_OF_CEILING);
        self.estimate = sorted[rank - 1].clamp(low, high);
    }

    /// What was seen last, the oldest first.
    pub(crate) fn samples(&self) -> impl Iterator<Item = Duration> {
        self.samples.iter().copied()
    }

    /// The lead time to plan with.
    pub(crate) fn estimate(&self) -> Duration {
        self.estimate
    }
}

const SAMPLES_MIN: usize = 3;
const QUANTILE: f64 = 0.9;
const FACTOR_MAX: u32 = 20;
/// However small the guess, a measured lead time up to this one is believed.
const FLOOR_OF_CEILING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_guess_holds_until_three_samples_are_seen() {
        let mut lead = LeadTime::new(secs(30), 64);
        lead.observe(secs(60));
        lead.observe(secs(60));
        assert_eq!(lead.estimate(), secs(30));
        lead.observe(secs(60));
        assert_eq!(lead.estimate(), secs(60));
    }

    #[test]
    fn the_estimate_is_an_upper_quantile_and_forgets_old_samples() {
        let mut lead = LeadTime::new(secs(30), 10);
        for n in 1..=10 {
            lead.observe(secs(n));
        }
        assert_eq!(lead.estimate(), secs(9));
        for _ in 0..10 {
            lead.observe(secs(4));
        }
        assert_eq!(lead.estimate(), secs(4));
    }

    #[test]
    fn absurd_samples_are_bounded_by_the_guess() {
        let mut lead = LeadTime::new(secs(30), 10);
        for _ in 0..10 {
            lead.observe(secs(1_000_000));
        }
        assert_eq!(lead.estimate(), secs(600));
    }
}
