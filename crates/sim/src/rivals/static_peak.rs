//! A fixed number of instances, enough for the largest demand of the whole trace.
//!
//! What careful operators do without an autoscaler, with perfect hindsight: nobody knows the peak beforehand. It is the
//! reference for "we never miss", not a policy that could be run.

use forecast::Timestamp;

use super::{Given, Rival, View, Wanted};

/// Always the same number.
#[derive(Debug, Clone, Copy)]
pub struct StaticPeak {
    active: u32,
}

impl StaticPeak {
    /// Enough instances for `peak`.
    pub fn new(given: Given, peak: f64) -> StaticPeak {
        StaticPeak { active: given.replicas_for(peak) }
    }
}

impl Rival for StaticPeak {
    fn next(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }

    fn decide(&mut self, _view: &View<'_>) -> Wanted {
        Wanted { active: self.active, standby: 0 }
    }
}
