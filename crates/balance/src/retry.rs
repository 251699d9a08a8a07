//! How many retries a flow of requests affords, after Finagle's retry budget: a share of the recent requests and a small
//! constant rate, so that an outage is not multiplied by the retries it causes.

use std::time::Duration;

/// A bucket of retry tokens, filled by requests and by time.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryBudget {
    share: f64,
    per_second_min: f64,
    tokens: f64,
    at: Duration,
}

impl RetryBudget {
    /// A budget of `share` retries per request, plus `per_second_min` per second for flows too thin to earn any.
    pub fn new(share: f64, per_second_min: f64, now: Duration) -> Self {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        let per_second_min = if per_second_min.is_finite() { per_second_min.max(0.0) } else { 0.0 };
        Self { share, per_second_min, tokens: per_second_min, at: now }
    }

    /// Goes on under other terms; what was saved stays.
    pub fn set_terms(&mut self, share: f64, per_second_min: f64) {
        let Self { share, per_second_min, .. } = Self::new(share, per_second_min, self.at);
        (self.share, self.per_second_min) = (share, per_second_min);
    }

    /// Counts one request.
    pub fn deposit(&mut self) {
        self.tokens = (self.tokens + self.share).min(TOKENS_MAX);
    }

    /// Takes the right to one retry, if there is one left.
    pub fn withdraw(&mut self, now: Duration) -> bool {
        let elapsed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        // The constant rate tops up to one second's worth; only requests fill the bucket beyond it.
        if self.tokens < self.per_second_min {
            self.tokens = (self.tokens + elapsed * self.per_second_min).min(self.per_second_min);
        }
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// However many requests went well, an outage begins with at most this many retries.
const TOKENS_MAX: f64 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_fifth_of_the_requests() {
        let now = Duration::ZERO;
        let mut budget = RetryBudget::new(0.2, 0.0, now);
        let granted = (0..1000).filter(|_| {
            budget.deposit();
            budget.withdraw(now)
        });
        assert!((195..=200).contains(&granted.count()));
    }

    #[test]
    fn a_thin_flow_has_its_constant_rate() {
        let mut budget = RetryBudget::new(0.2, 10.0, Duration::ZERO);
        let mut granted = |at: u64| (0..100).filter(|_| budget.withdraw(Duration::from_secs(at))).count();
        assert_eq!(granted(0), 10);
        assert_eq!(granted(1), 10);
        assert_eq!(granted(100), 10);
    }

    #[test]
    fn savings_are_bounded() {
        let mut budget = RetryBudget::new(0.2, 0.0, Duration::ZERO);
        (0..1_000_000).for_each(|_| budget.deposit());
        assert_eq!((0..5000).filter(|_| budget.withdraw(Duration::ZERO)).count(), 1000);
    }
}
