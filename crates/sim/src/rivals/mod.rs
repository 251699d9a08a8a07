//! Other autoscalers, re-implemented faithfully, to be judged in the same world as the planner.
//!
//! Each is a plain rule with its published constants; [`Rival`] puts it on a clock and gives it the demand that is past,
//! never more. Two are hindsight: [`static_peak`] knows the peak of the whole trace and [`oracle`] knows everything.
//! They bound what is possible and say so in [`crate::replay::PolicyKind::hindsight`].

pub mod aws;
pub mod crane;
pub mod hpa;
pub mod hybrid_histogram;
pub mod keda;
pub mod kpa;
pub mod last_week;
pub mod oracle;
pub mod phpa;
pub mod static_peak;
pub mod warm_pool;

use std::time::Duration;

use forecast::Timestamp;

use crate::demand::Past;

/// A rival on a clock.
pub trait Rival {
    /// When it decides next, after a decision at `now`. None: never again.
    fn next(&self, now: Timestamp) -> Option<Timestamp>;

    /// What it wants now.
    fn decide(&mut self, view: &View<'_>) -> Wanted;
}

/// What a rival may look at.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The demand so far.
    pub past: Past<'a>,
    /// Instances that serve.
    pub ready: u32,
    /// Instances that exist or were ordered, without those that are being stopped.
    pub current: u32,
}

/// How many instances there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// With traffic.
    pub active: u32,
    /// Ready without traffic.
    pub standby: u32,
}

/// What every rival is told about the workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Given {
    /// Demand units that one instance serves.
    pub capacity: f64,
    /// Capacity aimed at, as a multiple of the demand the rule looks at; 1 is none to spare.
    pub headroom: f64,
    /// Least replicas.
    pub replicas_min: u32,
    /// Most replicas.
    pub replicas_max: u32,
}

/// What some rivals are told beside the headroom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// The pool beside the HPA. Default: a fifth of all instances.
    pub pool: warm_pool::Pool,
    /// Gains of PHPA's seasonal model. Default: those of its documentation.
    pub gains: phpa::Gains,
    /// Share of idle times that the hybrid histogram keeps instances for. Default 0.99, as published.
    pub tail: f64,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning { pool: warm_pool::Pool::Share(0.2), gains: phpa::Gains::DOCUMENTED, tail: 0.99 }
    }
}

impl Given {
    /// An HPA with Kubernetes defaults that aims at the target.
    fn hpa(&self, metric_lag: Duration) -> hpa::Hpa {
        let target = self.target_per_instance();
        let config = hpa::HpaConfig::new(target, self.replicas_min, self.replicas_max);
        hpa::Hpa::new(hpa::HpaConfig { metric_lag, ..config })
    }

    /// Demand to aim at on each instance.
    pub fn target_per_instance(&self) -> f64 {
        self.capacity / self.headroom
    }

    /// Instances for this demand, within the bounds.
    pub fn replicas_for(&self, demand: f64) -> u32 {
        let replicas = (demand / self.target_per_instance() - ROUNDING_SLACK).ceil() as u32;
        replicas.clamp(self.replicas_min, self.replicas_max.max(self.replicas_min))
    }
}

/// The Horizontal Pod Autoscaler on its clock, fed with the whole demand as an external metric that is a little old.
#[derive(Debug, Clone)]
pub struct HpaRival {
    hpa: hpa::Hpa,
}

impl HpaRival {
    /// Kubernetes defaults; the headroom sets the target utilisation.
    pub fn new(given: Given, metric_lag: Duration) -> HpaRival {
        HpaRival { hpa: given.hpa(metric_lag) }
    }
}

impl Rival for HpaRival {
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        Some(now + self.hpa.config().sync)
    }

    fn decide(&mut self, view: &View<'_>) -> Wanted {
        let metric = view.past.value(self.hpa.config().metric_lag).unwrap_or(f64::NAN);
        Wanted { active: self.hpa.decide(view.past.now(), metric, view.ready, view.current), standby: 0 }
    }
}

/// The Knative Pod Autoscaler on its clock.
#[derive(Debug, Clone)]
pub struct KpaRival {
    kpa: kpa::Kpa,
}

impl KpaRival {
    /// Knative defaults; the headroom sets the target utilisation.
    pub fn new(given: Given) -> KpaRival {
        let config = kpa::KpaConfig::new(given.target_per_instance(), given.replicas_min, given.replicas_max);
        KpaRival { kpa: kpa::Kpa::new(config) }
    }
}

impl Rival for KpaRival {
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        Some(now + self.kpa.config().tick)
    }

    fn decide(&mut self, view: &View<'_>) -> Wanted {
        let config = self.kpa.config();
        let stable = view.past.mean(config.stable_window).unwrap_or(f64::NAN);
        let panic = view.past.mean(config.panic_window).unwrap_or(f64::NAN);
        let active = self.kpa.decide(view.past.now(), stable, panic, view.ready).unwrap_or(view.current);
        Wanted { active, standby: 0 }
    }
}

pub(crate) const ROUNDING_SLACK: f64 = 1e-9;
