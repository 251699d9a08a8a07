//! The capacity of one instance, when the user does not pin it: learned from load and latency.
//!
//! A regression of latency on load finds a knee only where load has been near it, and a flat curve (a fixed number of
//! workers) shows none at all until it breaks. So the estimate is bracketed from both sides by what was seen: the highest
//! load per instance that was served well, and the lowest that was not. It moves up in small steps and only a little
//! beyond what was served, it moves down faster, and it stays within a factor of the first guess. What is seen while an
//! instance is new does not count: cold caches and start-up work are not capacity.

use std::time::Duration;

use crate::policy::CapacityPolicy;

/// The estimate for one workload.
#[derive(Debug, Clone)]
pub(crate) struct Capacity {
    policy: CapacityPolicy,
    estimate: f64,
    /// Of the initial size of an instance, what its size now is; 1 where sizes do not matter.
    scale: f64,
    /// Least seconds in the system per request that were seen, slowly forgotten: the service time without queueing.
    unloaded: Option<f64>,
    bad_in_row: u32,
}

/// One reading of a workload that runs normally.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Demand per serving instance.
    pub(crate) load: f64,
    /// Requests in the system per unit of demand: proportional to the mean latency (Little's law).
    pub(crate) in_system: f64,
    /// Highest 99th percentile of latency over the backends, if known.
    pub(crate) latency_p99: Option<Duration>,
    /// Share of requests that failed.
    pub(crate) error_rate: f64,
}

impl Capacity {
    pub(crate) fn new(policy: CapacityPolicy) -> Self {
        Capacity { policy, estimate: policy.initial(), scale: 1.0, unloaded: None, bad_in_row: 0 }
    }

    /// Demand units per instance to plan with.
    pub(crate) fn estimate(&self) -> f64 {
        self.estimate * self.scale
    }

    /// The same for an instance of the initial size.
    pub(crate) fn unscaled(&self) -> f64 {
        self.estimate
    }

    /// So many times the initial size is what plans count with.
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// Instances have become larger or smaller: so many times their initial size.
    pub(crate) fn rescale(&mut self, scale: f64) {
        if scale.is_finite() && scale > 0.0 {
            self.scale = scale;
        }
    }

    /// Goes on from what was learned before.
    pub(crate) fn resume(&mut self, learned: f64) {
        let initial = self.policy.initial();
        if learned.is_finite() {
            self.estimate = learned.clamp(initial / RANGE, initial * RANGE);
        }
    }

    /// Takes in one reading. Start-up readings must be left out by the caller.
    pub(crate) fn observe(&mut self, reading: Reading, bound: Option<Duration>) {
        let initial = match self.policy {
            CapacityPolicy::Pinned(_) => return,
            CapacityPolicy::Learned { initial } => initial,
        };
        let reading = Reading { load: reading.load / self.scale, ..reading };
        if !(reading.load.is_finite()
            && reading.load > 0.0
            && reading.in_system.is_finite()
            && reading.in_system > 0.0)
        {
            return;
        }
        let unloaded = match self.unloaded {
            Some(unloaded) => (unloaded * UNLOADED_FORGET).min(reading.in_system),
            None => reading.in_system,
        };
        self.unloaded = Some(unloaded);
        let queueing = reading.in_system > unloaded * QUEUEING_FACTOR;
        let late = match (bound, reading.latency_p99) {
            (Some(bound), Some(p99)) => p99 > bound,
            (Some(_), None) | (None, _) => queueing,
        };
        let near = match (bound, reading.latency_p99) {
            (Some(bound), Some(p99)) => p99 > bound.mul_f64(BOUND_NEAR),
            (Some(_), None) | (None, _) => reading.in_system > unloaded * QUEUEING_NEAR,
        };
        let bad = late || reading.error_rate > ERRORS_BAD;
        self.bad_in_row = if bad { self.bad_in_row + 1 } else { 0 };
        if bad && self.bad_in_row >= BAD_BELIEVED && reading.load < self.estimate * LOAD_NEAR_BAD {
            let goal = (reading.load * LOAD_BELOW_BAD).min(self.estimate);
            self.estimate += DOWN_GAIN * (goal - self.estimate);
        } else if !bad && !near && reading.load > self.estimate * LOAD_NEAR_GOOD {
            let goal = (reading.load * LOAD_ABOVE_GOOD).max(self.estimate);
            self.estimate += UP_GAIN * (goal - self.estimate);
        }
        self.estimate = self.estimate.clamp(initial / RANGE, initial * RANGE);
    }
}

const UNLOADED_FORGET: f64 = 1.0005;
/// More than this many times the service time in the system: requests wait.
const QUEUEING_FACTOR: f64 = 2.5;
const QUEUEING_NEAR: f64 = 1.6;
const BOUND_NEAR: f64 = 0.7;
const ERRORS_BAD: f64 = 0.02;
/// Bad readings in a row until they are believed; one may be a neighbour's noise.
const BAD_BELIEVED: u32 = 2;
/// A bad reading at a load far above the estimate says nothing new.
const LOAD_NEAR_BAD: f64 = 1.05;
const LOAD_BELOW_BAD: f64 = 0.85;
const LOAD_NEAR_GOOD: f64 = 0.9;
const LOAD_ABOVE_GOOD: f64 = 1.1;
const DOWN_GAIN: f64 = 0.2;
const UP_GAIN: f64 = 0.03;
const RANGE: f64 = 16.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with a true capacity of 100: latency 10 ms, growing steeply above 90 % load.
    fn reading(load: f64) -> Reading {
        let utilisation = (load / 100.0).min(0.995);
        let latency = 0.010 * (1.0 + 0.2 * utilisation.powi(6) / (1.0 - utilisation));
        Reading {
            load,
            in_system: latency,
            latency_p99: Some(Duration::from_secs_f64(latency * 3.0)),
            error_rate: 0.0,
        }
    }

    fn learn(initial: f64, bound: Option<Duration>, peak_use: f64) -> f64 {
        let mut capacity = Capacity::new(CapacityPolicy::Learned { initial });
        for i in 0..20_000 {
            let wave = 0.55 + 0.45 * (i as f64 / 200.0).sin();
            capacity.observe(reading(capacity.estimate() * wave * peak_use), bound);
        }
        capacity.estimate()
    }

    #[test]
    fn it_finds_the_capacity_from_a_guess_too_low_and_one_too_high() {
        let bound = Some(Duration::from_millis(60));
        for initial in [30.0, 100.0, 300.0] {
            let found = learn(initial, bound, 1.0);
            assert!((70.0..=102.0).contains(&found), "{initial} -> {found}");
        }
    }

    #[test]
    fn it_finds_the_capacity_from_queueing_alone() {
        for initial in [40.0, 250.0] {
            let found = learn(initial, None, 1.0);
            assert!((65.0..=102.0).contains(&found), "{initial} -> {found}");
        }
    }

    #[test]
    fn it_claims_nothing_that_was_not_served() {
        assert_eq!(learn(50.0, Some(Duration::from_millis(60)), 0.5), 50.0);
    }

    #[test]
    fn a_pinned_capacity_never_moves_and_nonsense_is_ignored() {
        let mut pinned = Capacity::new(CapacityPolicy::Pinned(90.0));
        pinned.observe(reading(500.0), None);
        assert_eq!(pinned.estimate(), 90.0);
        let mut learned = Capacity::new(CapacityPolicy::Learned { initial: 90.0 });
        learned.observe(Reading { load: f64::NAN, ..reading(1.0) }, None);
        learned.observe(Reading { in_system: f64::INFINITY, ..reading(89.0) }, None);
        assert_eq!(learned.estimate(), 90.0);
    }
}
