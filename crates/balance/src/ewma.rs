//! Peak-sensitive moving average of a latency.
//!
//! The estimate of Finagle's and Linkerd's "peak EWMA" balancers: a slower answer is believed at once, faster ones
//! only as time passes. Three changes to theirs. An estimate without news decays towards a baseline given by the caller (the
//! peers' latency) rather than towards zero, and a fresh one is the baseline: so a target that was slow once is
//! tried again in time, and a fresh one is neither starved nor flooded. And one answer at most doubles the estimate: a
//! single hiccup, or the slow first answer of a fresh target, does not banish it, while a target that has
//! become slow is known as such within a few answers.

use std::time::Duration;

/// A latency estimate in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PeakEwma {
    latency_s: f64,
    at: Option<Duration>,
}

impl PeakEwma {
    /// An estimate that knows nothing yet.
    pub const fn new() -> Self {
        Self { latency_s: 0.0, at: None }
    }

    /// Learns a measured latency. `baseline_s` is what is assumed of an unknown target (0: nothing is known of any),
    /// `decay` the time after which an observation has lost 63 % of its weight.
    pub fn observe(&mut self, now: Duration, latency: Duration, baseline_s: f64, decay: Duration) {
        let latency = latency.as_secs_f64();
        let Some(at) = self.at else {
            let most = if baseline_s > 0.0 { baseline_s * RISE_MAX } else { f64::INFINITY };
            (self.latency_s, self.at) = (latency.min(most), Some(now));
            return;
        };
        if latency > self.latency_s {
            self.latency_s = latency.min(self.latency_s.max(LATENCY_MIN_S) * RISE_MAX);
        } else {
            let keep = kept(now.saturating_sub(at), decay);
            self.latency_s = latency + (self.latency_s - latency) * keep;
        }
        self.at = Some(now.max(at));
    }

    /// Learns from an answer that was quick for a bad reason (an error): it may raise the estimate, never lower it.
    pub fn observe_failure(&mut self, now: Duration, latency: Duration, decay: Duration) {
        if self.at.is_some() && latency.as_secs_f64() > self.latency_s {
            self.observe(now, latency, 0.0, decay);
        }
    }

    /// The estimate at `now` in seconds, above 0 and finite. `baseline_s` is what is assumed of an unknown target.
    pub fn estimate(&self, now: Duration, baseline_s: f64, decay: Duration) -> f64 {
        let baseline_s = if baseline_s.is_finite() { baseline_s.max(LATENCY_MIN_S) } else { LATENCY_MIN_S };
        let Some(at) = self.at else { return baseline_s };
        let silent = now.saturating_sub(at);
        // Exponentials are the dearest part of a pick; the newest observations need none.
        if silent.as_nanos() * 64 < decay.as_nanos() {
            return self.latency_s.max(LATENCY_MIN_S);
        }
        (baseline_s + (self.latency_s - baseline_s) * kept(silent, decay)).max(LATENCY_MIN_S)
    }

    /// Whether anything was observed yet.
    pub fn is_fresh(&self) -> bool {
        self.at.is_none()
    }
}

/// The share of an old value that is left after a time.
fn kept(elapsed: Duration, decay: Duration) -> f64 {
    if decay.is_zero() {
        return 0.0;
    }
    (-(elapsed.as_secs_f64() / decay.as_secs_f64())).exp()
}

/// The most that one answer raises an estimate, as a ratio.
const RISE_MAX: f64 = 2.0;
/// Latencies below a microsecond are not told apart.
const LATENCY_MIN_S: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn seconds(value: f64) -> Duration {
        Duration::from_secs_f64(value)
    }

    #[test]
    fn slower_answers_are_believed_within_a_few_and_forgotten_slowly() {
        let mut ewma = PeakEwma::new();
        ewma.observe(seconds(0.0), seconds(0.010), 0.0, DECAY);
        let rising: Vec<_> = (0..6)
            .map(|_| {
                ewma.observe(seconds(0.1), seconds(0.100), 0.0, DECAY);
                ewma.estimate(seconds(0.1), 0.0, DECAY)
            })
            .collect();
        assert_eq!(rising, [0.020, 0.040, 0.080, 0.100, 0.100, 0.100]);
        ewma.observe(seconds(10.1), seconds(0.010), 0.0, DECAY);
        let expected = 0.010 + 0.090 * (-1.0f64).exp();
        assert!((ewma.estimate(seconds(10.1), 0.0, DECAY) - expected).abs() < 1e-12);
    }

    #[test]
    fn a_slow_first_answer_does_not_banish_a_fresh_target() {
        let mut ewma = PeakEwma::new();
        ewma.observe(seconds(0.0), seconds(3.0), 0.010, DECAY);
        assert_eq!(ewma.estimate(seconds(0.0), 0.010, DECAY), 0.020);
    }

    #[test]
    fn a_fresh_target_is_taken_to_be_like_its_peers() {
        assert_eq!(PeakEwma::new().estimate(seconds(5.0), 0.020, DECAY), 0.020);
    }

    #[test]
    fn silence_leads_back_to_the_peers_latency() {
        let mut ewma = PeakEwma::new();
        ewma.observe(seconds(0.0), seconds(2.0), 0.0, DECAY);
        let after = ewma.estimate(seconds(100.0), 0.020, DECAY);
        assert!((after - 0.020).abs() < 0.001, "{after}");
    }

    #[test]
    fn a_quick_failure_does_not_look_fast() {
        let mut ewma = PeakEwma::new();
        ewma.observe_failure(seconds(0.0), seconds(0.001), DECAY);
        assert!(ewma.is_fresh());
        ewma.observe(seconds(0.0), seconds(0.100), 0.0, DECAY);
        ewma.observe_failure(seconds(9.0), seconds(0.001), DECAY);
        assert_eq!(ewma.estimate(seconds(0.0), 0.0, DECAY), 0.100);
    }

    #[test]
    fn time_that_runs_backwards_does_no_harm() {
        let mut ewma = PeakEwma::new();
        ewma.observe(seconds(10.0), seconds(0.1), 0.0, DECAY);
        ewma.observe(seconds(5.0), seconds(0.05), 0.0, DECAY);
        assert!(ewma.estimate(seconds(1.0), f64::NAN, Duration::ZERO).is_finite());
    }
}
