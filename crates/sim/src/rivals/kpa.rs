//! The Knative Pod Autoscaler: two windows, and a panic mode that only grows.
//!
//! A faithful re-implementation of the decision rule with its default constants. Two windows of demand, 60 s (stable) and
//! 6 s (panic), decide every 2 s. On a trace whose step is longer than a window the demand is constant inside the step, so
//! a window that lies inside one step has that step's value, and a window across a boundary has the time-weighted mean
//! of both sides: what the queue proxies would have reported for such a demand. The activator, which holds requests
//! while the workload is at zero, is not modelled: the least number of replicas is one.
//!
//! Source: `pkg/autoscaler/scaling` of Knative Serving, read for its rules.

use std::collections::VecDeque;
use std::time::Duration;

use forecast::Timestamp;

/// The rule with its memory: whether and since when it panics.
#[derive(Debug, Clone)]
pub struct Kpa {
    config: KpaConfig,
    panic_since: Option<Timestamp>,
    panic_highest: u32,
    recent: VecDeque<(Timestamp, u32)>,
}

/// Constants of the rule. [`KpaConfig::new`] gives the Knative defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct KpaConfig {
    /// Demand units per instance to aim at: capacity times target utilisation (0.7 by default).
    pub target_per_instance: f64,
    /// Least replicas, at least 1.
    pub replicas_min: u32,
    /// Most replicas.
    pub replicas_max: u32,
    /// Time between two decisions. Default 2 s. The caller keeps it.
    pub tick: Duration,
    /// Length of the stable window, and of the calm that ends a panic. Default 60 s.
    pub stable_window: Duration,
    /// Length of the panic window. Default 6 s (10 % of the stable one).
    pub panic_window: Duration,
    /// Panic when the panic window wants at least this many times the ready instances. Default 2.
    pub panic_threshold: f64,
    /// Most growth in one decision, as a multiple of the ready instances. Default 1000.
    pub up_rate_max: f64,
    /// Most shrinking in one decision, as a divisor of the ready instances. Default 2.
    pub down_rate_max: f64,
    /// Shrink to the largest decision of this window. Default 0.
    pub scale_down_delay: Duration,
}

impl Kpa {
    /// A calm autoscaler.
    pub fn new(config: KpaConfig) -> Kpa {
        Kpa { config, panic_since: None, panic_highest: 0, recent: VecDeque::new() }
    }

    /// The constants in use.
    pub fn config(&self) -> &KpaConfig {
        &self.config
    }

    /// The replicas wanted at `now`, from the mean demand over the stable and the panic window and the ready instances.
    ///
    /// Means that are not finite count as unavailable: then there is no answer, and the caller keeps what it has.
    pub fn decide(&mut self, now: Timestamp, stable: f64, panic: f64, ready: u32) -> Option<u32> {
        if !stable.is_finite() || !panic.is_finite() {
            return None;
        }
        let ready = f64::from(ready.max(1));
        let highest = (self.config.up_rate_max * ready).ceil();
        let lowest = (ready / self.config.down_rate_max).floor();
        let by_stable = (stable / self.config.target_per_instance).ceil();
        let by_panic = (panic / self.config.target_per_instance).ceil();
        self.update_panic(now, by_panic / ready >= self.config.panic_threshold);
        let mut desired = by_stable.clamp(lowest, highest) as u32;
        if self.panic_since.is_some() {
            self.panic_highest = self.panic_highest.max(desired).max(by_panic.clamp(lowest, highest) as u32);
            desired = self.panic_highest;
        }
        let delayed = self.delay_shrinking(now, desired);
        Some(delayed.clamp(self.config.replicas_min, self.config.replicas_max.max(self.config.replicas_min)))
    }

    /// Whether the panic mode is on.
    pub fn panics(&self) -> bool {
        self.panic_since.is_some()
    }

    fn update_panic(&mut self, now: Timestamp, over: bool) {
        if over {
            self.panic_since = Some(now);
        } else if self.panic_since.is_some_and(|since| since + self.config.stable_window < now) {
            self.panic_since = None;
            self.panic_highest = 0;
        }
    }

    fn delay_shrinking(&mut self, now: Timestamp, desired: u32) -> u32 {
        if self.config.scale_down_delay.is_zero() {
            return desired;
        }
        let from = now - self.config.scale_down_delay;
        while self.recent.len() >= RECENT_MAX || self.recent.front().is_some_and(|(at, _)| *at < from) {
            self.recent.pop_front();
        }
        self.recent.push_back((now, desired));
        self.recent.iter().map(|(_, replicas)| *replicas).max().unwrap_or(desired)
    }
}

impl KpaConfig {
    /// Knative defaults, aiming at `target_per_instance` demand units on each instance.
    pub fn new(target_per_instance: f64, replicas_min: u32, replicas_max: u32) -> KpaConfig {
        KpaConfig {
            target_per_instance,
            replicas_min: replicas_min.max(1),
            replicas_max,
            tick: Duration::from_secs(2),
            stable_window: Duration::from_secs(60),
            panic_window: Duration::from_secs(6),
            panic_threshold: 2.0,
            up_rate_max: 1000.0,
            down_rate_max: 2.0,
            scale_down_delay: Duration::ZERO,
        }
    }
}

const RECENT_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn kpa() -> Kpa {
        Kpa::new(KpaConfig::new(70.0, 1, 1000))
    }

    #[test]
    fn a_calm_autoscaler_follows_the_stable_window() {
        assert_eq!(kpa().decide(at(0), 700.0, 900.0, 10), Some(10));
    }

    #[test]
    fn a_burst_of_twice_the_ready_instances_starts_a_panic_that_never_shrinks() {
        let mut kpa = kpa();
        assert_eq!(kpa.decide(at(0), 700.0, 1400.0, 10), Some(20));
        assert!(kpa.panics());
        assert_eq!(kpa.decide(at(2), 700.0, 300.0, 20), Some(20));
        assert_eq!(kpa.decide(at(60), 700.0, 300.0, 20), Some(20));
        assert_eq!(kpa.decide(at(62), 700.0, 300.0, 20), Some(10));
        assert!(!kpa.panics());
    }

    #[test]
    fn shrinking_is_at_most_by_half_in_one_decision() {
        assert_eq!(kpa().decide(at(0), 70.0, 70.0, 20), Some(10));
    }

    #[test]
    fn a_missing_metric_gives_no_answer() {
        assert_eq!(kpa().decide(at(0), f64::NAN, 1.0, 3), None);
    }
}
