//! What the user wants of the size of instances.

use std::time::Duration;

use crate::policy::Objective;
use crate::size::Size;

/// How the size of the instances of a workload is found. [`SizingPolicy::new`] fills in sane values.
#[derive(Debug, Clone, PartialEq)]
pub struct SizingPolicy {
    /// Who sets the limit of processor time.
    pub mode: SizingMode,
    /// No instance is smaller.
    pub least: Size,
    /// No instance is larger.
    pub most: Size,
    /// The size to begin with; the capacity of the workload's policy is that of this size.
    pub initial: Size,
    /// Use of processor time stays below the limit in this share of the coming time, in (0, 1). Default 0.95.
    pub cpu_quantile: f64,
    /// Use of memory stays below the limit with this probability, in (0, 1). Default 0.99.
    pub memory_quantile: f64,
    /// Added to the quantile of processor time, as a share of it. Default 0.05.
    pub cpu_margin: f64,
    /// Added to the quantile of memory, as a share of it. Default 0.15.
    pub memory_margin: f64,
    /// A size that differs by no more than this share is left as it is. Default 0.1.
    pub change_min: f64,
    /// Pause between two changes that nothing urgent asks for; the forecast looks ahead this far. Default 15 min.
    pub every: Duration,
    /// Use is gathered and forecast in steps of this length. Default 5 min.
    pub step: Duration,
    /// Whether the demand an instance can serve grows with its processor time. `None` (default): found out from its use
    /// at a known demand. Without effect where the number of instances is fixed.
    pub cpu_bound: Option<bool>,
    /// What a GiB of memory costs, in cores. Default 0.13, about what clouds ask.
    pub gib_price: f64,
}

/// Who sets the limit of processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizingMode {
    /// Forecast quantiles of use.
    Rules,
    /// A controller of the share of throttled periods, whose target is learned against the latency bound. The rules
    /// take over whenever it cannot be trusted.
    Bandit,
}

impl SizingPolicy {
    /// A policy with defaults for everything but the bounds and the first size.
    pub fn new(least: Size, most: Size, initial: Size) -> SizingPolicy {
        SizingPolicy {
            mode: SizingMode::Rules,
            least,
            most,
            initial,
            cpu_quantile: 0.95,
            memory_quantile: 0.99,
            cpu_margin: 0.05,
            memory_margin: 0.15,
            change_min: 0.1,
            every: Duration::from_secs(900),
            step: Duration::from_secs(300),
            cpu_bound: None,
            gib_price: 0.13,
        }
    }

    /// The nearest size that is allowed.
    pub fn bounded(&self, size: Size) -> Size {
        let (least, most) = (&self.least, &self.most);
        Size {
            cpu_cores: size.cpu_cores.min(most.cpu_cores).max(least.cpu_cores),
            memory_bytes: size.memory_bytes.min(most.memory_bytes).max(least.memory_bytes),
        }
    }

    /// Every rule with whether it is kept, by field.
    pub(crate) fn rules(&self, objective: &Objective) -> Vec<(bool, &'static str, &'static str)> {
        let quantile = |x: f64| x > 0.0 && x < 1.0;
        let share = |x: f64| x.is_finite() && x >= 0.0;
        let latency = objective.latency_bound.is_some() || self.mode != SizingMode::Bandit;
        vec![
            (self.least.is_valid(), "sizing.least", "must have more than 0 cores and bytes"),
            (self.most.is_valid(), "sizing.most", "must have more than 0 cores and bytes"),
            (self.bounded(self.initial) == self.initial, "sizing.initial", "must be from least to most"),
            (self.bounded(self.most) == self.most, "sizing.most", "must be at least sizing.least"),
            (quantile(self.cpu_quantile), "sizing.cpu_quantile", "must be above 0 and below 1"),
            (quantile(self.memory_quantile), "sizing.memory_quantile", "must be above 0 and below 1"),
            (share(self.cpu_margin), "sizing.cpu_margin", "must be 0 or a positive number"),
            (share(self.memory_margin), "sizing.memory_margin", "must be 0 or a positive number"),
            (
                share(self.change_min) && self.change_min < 1.0,
                "sizing.change_min",
                "must be from 0 to below 1",
            ),
            (self.every <= forecast::STEP_MAX, "sizing.every", "must be at most 1 day"),
            (
                forecast::Config::new(self.step).validate().is_ok() && self.step >= Duration::from_secs(1),
                "sizing.step",
                "must be whole milliseconds from 1 s to 1 day",
            ),
            (share(self.gib_price), "sizing.gib_price", "must be 0 or a positive number"),
            (latency, "sizing.mode", "cannot be the bandit without objective.latency_bound"),
        ]
    }
}
