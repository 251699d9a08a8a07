//! The planner's own rules, for processor time alone.

use forecast::Timestamp;
use planner::sizing::{Rules, SizingPolicy};

use super::Sizer;

/// The rules as the planner runs them.
#[derive(Debug, Clone)]
pub struct Ours {
    policy: SizingPolicy,
    rules: Rules,
}

impl Ours {
    /// Rules under this policy, whose step must be one that can be forecast.
    ///
    /// # Panics
    /// When the step cannot be forecast.
    pub fn new(policy: SizingPolicy) -> Ours {
        let rules = Rules::new(&policy, None).expect("a step of whole milliseconds up to a day");
        Ours { policy, rules }
    }
}

impl Sizer for Ours {
    fn observe(&mut self, step_start: Timestamp, cores: Option<f64>) {
        self.rules.observe(step_start, cores, cores.map(|_| MEMORY));
    }

    fn limit(&mut self, now: Timestamp) -> f64 {
        self.rules.decide(&self.policy, now, None);
        self.rules.size().cpu_cores
    }
}

/// Memory plays no part here, but the rules want some.
const MEMORY: f64 = 1e8;
