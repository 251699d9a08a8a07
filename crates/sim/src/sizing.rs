//! Sizes of instances on virtual time: a recorded use under our rules and under a rival, and a service with quotas.

use std::time::Duration;

use planner::Size;
use planner::sizing::SizingPolicy;

pub mod judge;
pub mod ours;
pub mod service;
pub mod vpa;

/// Something that sets the processor limit of one instance from what it uses.
pub trait Sizer {
    /// Takes in the use of a complete step, in cores.
    fn observe(&mut self, step_start: forecast::Timestamp, cores: Option<f64>);

    /// The limit from `now` on, in cores.
    fn limit(&mut self, now: forecast::Timestamp) -> f64;
}

/// A policy for instances of up to 64 cores that begin with one, with use in steps of this length.
pub fn sized(step: Duration) -> SizingPolicy {
    let size = |cpu_cores, memory_bytes| Size { cpu_cores, memory_bytes };
    let policy = SizingPolicy::new(size(0.025, 1 << 20), size(64.0, 1 << 40), size(1.0, 1 << 28));
    SizingPolicy { step, ..policy }
}
