//! The Kubernetes Horizontal Pod Autoscaler, `autoscaling/v2`, as a plain function of time.
//!
//! A faithful re-implementation of the controller's rule with its default constants: ratio with a dead band, the larger
//! of the recommendations of the last five minutes when shrinking, and the rate policies of `behavior`. It exists so that
//! the same rule can run on virtual time (`replay`) and in real time against real processes (`foreshadow demo`, with
//! [`HpaConfig::compressed`] constants).
//!
//! It promises no clock, no randomness and bounded memory. It does not model the metric pipeline: the caller passes the
//! metric as it was [`HpaConfig::metric_lag`] ago, and calls once every [`HpaConfig::sync`].
//!
//! Source: `pkg/controller/podautoscaler` of Kubernetes (replica_calculator.go, horizontal.go), read for its rules.

use std::collections::VecDeque;
use std::time::Duration;

use forecast::Timestamp;

/// The rule with its memory: recent recommendations and recent changes.
#[derive(Debug, Clone)]
pub struct Hpa {
    config: HpaConfig,
    recommendations: VecDeque<(Timestamp, u32)>,
    changes: VecDeque<Change>,
}

/// Constants of the rule. [`HpaConfig::new`] gives the Kubernetes defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct HpaConfig {
    /// Which metric rule applies. Default [`HpaMetric::External`].
    pub metric: HpaMetric,
    /// Metric units per instance to aim at (`AverageValue`): capacity times target utilisation.
    pub target_per_instance: f64,
    /// Least replicas, at least 1.
    pub replicas_min: u32,
    /// Most replicas.
    pub replicas_max: u32,
    /// Time between two decisions. Default 15 s. The caller keeps it.
    pub sync: Duration,
    /// Mean age of the metric at a decision. Default 27.5 s (worst 55 s, see [`HpaConfig::METRIC_LAG_WORST`]). The caller applies it.
    pub metric_lag: Duration,
    /// No change while the ratio is at most `1 + tolerance_up`. Default 0.1.
    pub tolerance_up: f64,
    /// No change while the ratio is at least `1 - tolerance_down`. Default 0.1.
    pub tolerance_down: f64,
    /// Shrink to the largest recommendation of this window. Default 300 s.
    pub stabilisation_down: Duration,
    /// Grow to the smallest recommendation of this window. Default 0.
    pub stabilisation_up: Duration,
    /// Limits of growth; the most permissive one counts. Default 100 % per 15 s and 4 instances per 15 s.
    pub up: Vec<RatePolicy>,
    /// Limits of shrinking; the most permissive one counts. Default 100 % per 15 s.
    pub down: Vec<RatePolicy>,
}

/// What the metric measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HpaMetric {
    /// `External` or `Object` with `AverageValue`: one total over all replicas, as KEDA feeds it.
    External,
    /// `Pods` with `AverageValue`: the mean over ready pods; unready pods count as zero when growing.
    Pods,
}

/// One rate limit of `behavior`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatePolicy {
    /// How much.
    pub change: RateChange,
    /// Per which time.
    pub period: Duration,
}

/// The size of a permitted change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RateChange {
    /// Percent of the replicas at the beginning of the period.
    Percent(f64),
    /// A number of replicas.
    Replicas(u32),
}

#[derive(Debug, Clone, Copy)]
struct Change {
    at: Timestamp,
    added: u32,
    removed: u32,
}

impl Hpa {
    /// A controller that has not decided yet.
    pub fn new(config: HpaConfig) -> Hpa {
        Hpa { config, recommendations: VecDeque::new(), changes: VecDeque::new() }
    }

    /// The constants in use.
    pub fn config(&self) -> &HpaConfig {
        &self.config
    }

    /// The replicas wanted at `now`.
    ///
    /// `metric_total` is the sum of the metric over the workload in metric units; `ready` counts instances that serve;
    /// `current` is the number of replicas that exist or were asked for (`status.replicas`). A metric that is not a
    /// finite number counts as unavailable: nothing changes.
    pub fn decide(&mut self, now: Timestamp, metric_total: f64, ready: u32, current: u32) -> u32 {
        match self.recommend(metric_total, ready, current) {
            Some(desired) => self.settle(now, desired, current),
            None => {
                self.begin(now, current);
                current
            }
        }
    }

    /// The first half of a decision: what the metric asks for, dead band included. None when the metric is unavailable.
    pub fn recommend(&self, metric_total: f64, ready: u32, current: u32) -> Option<u32> {
        metric_total.is_finite().then(|| match self.config.metric {
            HpaMetric::External => self.external(metric_total, current),
            HpaMetric::Pods => self.pods(metric_total, ready, current),
        })
    }

    /// The second half: a recommendation, held to the stabilisation windows, the rates and the bounds.
    pub fn settle(&mut self, now: Timestamp, desired: u32, current: u32) -> u32 {
        self.begin(now, current);
        let stable = self.stabilise(now, desired, current);
        let wanted = self.limit_rate(now, stable, current);
        self.record_change(now, current, wanted);
        wanted
    }

    fn begin(&mut self, now: Timestamp, current: u32) {
        if self.recommendations.is_empty() {
            self.remember(now, current);
        }
    }

    fn external(&self, total: f64, current: u32) -> u32 {
        let desired = ceil_replicas(total / self.config.target_per_instance);
        if current == 0 {
            return desired;
        }
        let ratio = total / (self.config.target_per_instance * f64::from(current));
        if self.tolerated(ratio) { current } else { desired }
    }

    fn pods(&self, total: f64, ready: u32, current: u32) -> u32 {
        if ready == 0 {
            return current;
        }
        let ratio = total / (self.config.target_per_instance * f64::from(ready));
        let unready = current.saturating_sub(ready);
        if unready == 0 || ratio < 1.0 {
            return if self.tolerated(ratio) { current } else { ceil_replicas(ratio * f64::from(ready)) };
        }
        // Growing with pods that are not ready yet: they count with a metric of zero, and the answer may not turn round.
        let counted = ready + unready;
        let damped = total / (self.config.target_per_instance * f64::from(counted));
        if self.tolerated(damped) || damped < 1.0 {
            return current;
        }
        ceil_replicas(damped * f64::from(counted)).max(current)
    }

    fn tolerated(&self, ratio: f64) -> bool {
        (1.0 - self.config.tolerance_down..=1.0 + self.config.tolerance_up).contains(&ratio)
    }

    /// Between the smallest recommendation of the up window and the largest of the down window.
    fn stabilise(&mut self, now: Timestamp, desired: u32, current: u32) -> u32 {
        let up_from = now - self.config.stabilisation_up;
        let down_from = now - self.config.stabilisation_down;
        let mut lowest = desired;
        let mut highest = desired;
        for (at, recommendation) in &self.recommendations {
            if *at > up_from {
                lowest = lowest.min(*recommendation);
            }
            if *at > down_from {
                highest = highest.max(*recommendation);
            }
        }
        self.remember(now, desired);
        current.max(lowest).min(highest)
    }

    fn limit_rate(&self, now: Timestamp, desired: u32, current: u32) -> u32 {
        let bounded =
            desired.clamp(self.config.replicas_min, self.config.replicas_max.max(self.config.replicas_min));
        if bounded > current {
            let limit = self.config.up.iter().map(|policy| self.growth_limit(now, current, policy)).max();
            bounded.min(limit.unwrap_or(u32::MAX)).max(current.min(self.config.replicas_max))
        } else if bounded < current {
            let limit = self.config.down.iter().map(|policy| self.shrink_limit(now, current, policy)).min();
            bounded.max(limit.unwrap_or(0)).min(current)
        } else {
            bounded
        }
    }

    fn growth_limit(&self, now: Timestamp, current: u32, policy: &RatePolicy) -> u32 {
        let start = self.at_period_start(now, current, policy.period);
        match policy.change {
            RateChange::Percent(percent) => ceil_replicas(f64::from(start) * (1.0 + percent / 100.0)),
            RateChange::Replicas(count) => start.saturating_add(count),
        }
    }

    fn shrink_limit(&self, now: Timestamp, current: u32, policy: &RatePolicy) -> u32 {
        let start = self.at_period_start(now, current, policy.period);
        match policy.change {
            RateChange::Percent(percent) => (f64::from(start) * (1.0 - percent / 100.0)).max(0.0) as u32,
            RateChange::Replicas(count) => start.saturating_sub(count),
        }
    }

    /// The replicas there were when the period that ends now began.
    fn at_period_start(&self, now: Timestamp, current: u32, period: Duration) -> u32 {
        let from = now - period;
        let (added, removed) = self
            .changes
            .iter()
            .filter(|change| change.at > from)
            .fold((0u32, 0u32), |(added, removed), change| (added + change.added, removed + change.removed));
        current.saturating_add(removed).saturating_sub(added)
    }

    fn remember(&mut self, now: Timestamp, recommendation: u32) {
        let keep_from = now - self.config.stabilisation_down.max(self.config.stabilisation_up);
        while self.recommendations.len() > 1
            && (self.recommendations.len() >= RECOMMENDATIONS_MAX
                || self.recommendations.front().is_some_and(|(at, _)| *at < keep_from))
        {
            self.recommendations.pop_front();
        }
        self.recommendations.push_back((now, recommendation));
    }

    fn record_change(&mut self, now: Timestamp, current: u32, wanted: u32) {
        if wanted == current {
            return;
        }
        let periods = self.config.up.iter().chain(&self.config.down).map(|policy| policy.period);
        let keep_from = now - periods.max().unwrap_or(Duration::ZERO);
        while self.changes.len() >= CHANGES_MAX
            || self.changes.front().is_some_and(|change| change.at <= keep_from)
        {
            self.changes.pop_front();
        }
        self.changes.push_back(Change {
            at: now,
            added: wanted.saturating_sub(current),
            removed: current.saturating_sub(wanted),
        });
    }
}

impl HpaConfig {
    /// Worst age of the metric at a decision: 10 s kubelet sample, 30 s scrape, 15 s sync (kubernetes/kubernetes#110317).
    pub const METRIC_LAG_WORST: Duration = Duration::from_secs(55);
    /// Share of an instance's capacity that is aimed at unless told otherwise.
    pub const TARGET_UTILISATION: f64 = 0.7;

    /// Kubernetes defaults, aiming at `target_per_instance` metric units on each instance.
    pub fn new(target_per_instance: f64, replicas_min: u32, replicas_max: u32) -> HpaConfig {
        let period = Duration::from_secs(15);
        HpaConfig {
            metric: HpaMetric::External,
            target_per_instance,
            replicas_min: replicas_min.max(1),
            replicas_max,
            sync: Duration::from_secs(15),
            metric_lag: Duration::from_millis(27_500),
            tolerance_up: 0.1,
            tolerance_down: 0.1,
            stabilisation_down: Duration::from_secs(300),
            stabilisation_up: Duration::ZERO,
            up: vec![
                RatePolicy { change: RateChange::Percent(100.0), period },
                RatePolicy { change: RateChange::Replicas(4), period },
            ],
            down: vec![RatePolicy { change: RateChange::Percent(100.0), period }],
        }
    }

    /// The same rule in a world whose time runs `factor` times faster: every duration divided by `factor`.
    ///
    /// A factor that is not a positive finite number leaves the constants as they are.
    pub fn compressed(mut self, factor: f64) -> HpaConfig {
        if !(factor.is_finite() && factor > 0.0) {
            return self;
        }
        let shorter = |duration: Duration| Duration::from_secs_f64(duration.as_secs_f64() / factor);
        self.sync = shorter(self.sync);
        self.metric_lag = shorter(self.metric_lag);
        self.stabilisation_down = shorter(self.stabilisation_down);
        self.stabilisation_up = shorter(self.stabilisation_up);
        for policy in self.up.iter_mut().chain(&mut self.down) {
            policy.period = shorter(policy.period);
        }
        self
    }
}

fn ceil_replicas(replicas: f64) -> u32 {
    // A cast from f64 saturates, and a negative or NaN count becomes zero. The slack forgives rounding of exact multiples.
    (replicas - ROUNDING_SLACK).ceil() as u32
}

const ROUNDING_SLACK: f64 = 1e-9;
const RECOMMENDATIONS_MAX: usize = 4096;
const CHANGES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn hpa() -> Hpa {
        Hpa::new(HpaConfig::new(70.0, 1, 100))
    }

    #[test]
    fn a_ratio_inside_the_dead_band_changes_nothing() {
        assert_eq!(hpa().decide(at(0), 770.0, 10, 10), 10);
        assert_eq!(hpa().decide(at(0), 771.0, 10, 10), 12);
    }

    #[test]
    fn growth_is_at_most_doubling_or_four_instances_each_period() {
        let mut hpa = hpa();
        assert_eq!(hpa.decide(at(0), 7000.0, 1, 1), 5);
        assert_eq!(hpa.decide(at(5), 7000.0, 5, 5), 5, "the four of this period are used up");
        assert_eq!(hpa.decide(at(15), 7000.0, 5, 5), 10);
        assert_eq!(hpa.decide(at(30), 7000.0, 10, 10), 20);
    }

    #[test]
    fn shrinking_waits_for_five_minutes_of_lower_recommendations() {
        let mut hpa = hpa();
        let mut current = hpa.decide(at(0), 700.0, 10, 10);
        let mut shrank_at = None;
        for sync in 1..40 {
            current = hpa.decide(at(sync * 15), 350.0, current, current);
            if current < 10 && shrank_at.is_none() {
                shrank_at = Some(sync * 15);
            }
        }
        assert_eq!(shrank_at, Some(300));
        assert_eq!(current, 5);
    }

    #[test]
    fn an_unavailable_metric_changes_nothing() {
        assert_eq!(hpa().decide(at(0), f64::NAN, 7, 7), 7);
        assert_eq!(hpa().decide(at(0), f64::INFINITY, 7, 7), 7);
    }

    #[test]
    fn replicas_stay_inside_their_bounds() {
        let mut hpa = Hpa::new(HpaConfig::new(70.0, 2, 6));
        assert_eq!(hpa.decide(at(0), 70_000.0, 4, 4), 6);
        assert_eq!(hpa.decide(at(600), 0.0, 6, 6), 2);
    }

    #[test]
    fn unready_pods_count_as_zero_when_growing_on_a_pods_metric() {
        let mut config = HpaConfig::new(70.0, 1, 100);
        config.metric = HpaMetric::Pods;
        assert_eq!(
            Hpa::new(config.clone()).decide(at(0), 560.0, 4, 8),
            8,
            "eight pods are on their way already"
        );
        assert_eq!(Hpa::new(config).decide(at(0), 840.0, 4, 8), 12);
    }

    #[test]
    fn a_compressed_controller_decides_the_same_at_compressed_times() {
        let mut slow = hpa();
        let mut fast = Hpa::new(HpaConfig::new(70.0, 1, 100).compressed(60.0));
        let (mut a, mut b) = (3, 3);
        for sync in 0..400i64 {
            let metric = 350.0 + 300.0 * (sync as f64 / 20.0).sin();
            a = slow.decide(Timestamp::from_millis(sync * 15_000), metric, a, a);
            b = fast.decide(Timestamp::from_millis(sync * 250), metric, b, b);
            assert_eq!(a, b, "sync {sync}");
        }
    }
}
