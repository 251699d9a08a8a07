//! Clone thresholds: one more instance as soon as the demand seen exceeds a share of what the active ones serve.
//!
//! The forecast usually asks for more before that happens. A threshold is for those who want the promise whatever is
//! forecast; it adds a floor under the active tier and takes nothing away.

use crate::outlook::Outlook;
use crate::plan::PlanInputs;
use crate::policy::WorkloadPolicy;

/// When one more instance is started, whatever is forecast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CloneThreshold {
    /// When demand exceeds this share of the active capacity, in (0, 1].
    Fixed(f64),
    /// The highest share that would have kept the error budget so far if every decision had been made by it, as played on
    /// paper.
    Learned,
}

impl CloneThreshold {
    /// Every rule with whether it is kept, by field.
    pub(crate) fn rules(self) -> impl Iterator<Item = (bool, &'static str, &'static str)> {
        let kept = match self {
            CloneThreshold::Fixed(share) => share > 0.0 && share <= 1.0,
            CloneThreshold::Learned => true,
        };
        [(kept, "clone_threshold", "must be above 0 and at most 1")].into_iter()
    }
}

impl Outlook {
    /// Raises what active must cover, and what it keeps, to what the threshold of the policy asks for.
    pub(crate) fn apply_clone_threshold(
        &self,
        policy: &WorkloadPolicy,
        hold_steps: usize,
        numbers: &mut PlanInputs,
    ) {
        let share = match policy.clone_threshold {
            None => return,
            Some(CloneThreshold::Fixed(share)) => share,
            Some(CloneThreshold::Learned) => self.learned_clone_threshold(),
        };
        numbers.clone_threshold = Some(share);
        let seen = numbers.demand_now.unwrap_or(0.0);
        numbers.floor = numbers.floor.max(seen / share);
        numbers.forecast_hold = numbers.forecast_hold.max(self.recent_max(hold_steps).max(seen) / share);
    }
}
