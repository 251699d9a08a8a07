//! What stands beside the plan of a workload: the bounds of its calendar, and what reacting alone would do.

use forecast::Timestamp;

use super::Workload;
use crate::outlook::Intake;
use crate::plan::{PlanInputs, instances_for};
use crate::reaction::Wanted;
use crate::scope::{Bounds, ScopeReason};
use crate::threshold::CloneThreshold;

impl Workload {
    /// How many instances there may and must be, and by which scopes.
    pub(super) fn bounds(&mut self, wall: Timestamp) -> (Bounds, Vec<ScopeReason>) {
        let policy = &self.policy;
        let Some(scopes) = &policy.scopes else {
            let fixed = Bounds::fixed(policy.replicas_min, policy.replicas_max, policy.standby_min);
            return (fixed, Vec::new());
        };
        // One tick more, because the next plan may be that much later.
        let active = self.outlook.lead_of_active(policy).saturating_add(policy.tick);
        let total = self.outlook.lead_cold.estimate().saturating_add(policy.tick);
        self.agenda.bounds(scopes, policy.time_zone.as_ref(), wall, (active, total))
    }

    /// A step is over: learns from it, and settles it on paper. `now` is monotone, `wall` the driver's time.
    pub(crate) fn observe_step(
        &mut self,
        (now, wall): (Timestamp, Timestamp),
        start: Timestamp,
        demand: Option<f64>,
        missed: f64,
    ) -> Intake {
        let errors = self.errors_everywhere();
        self.outlook.guard.see(demand);
        let before = self.outlook.budget;
        let learned = self.outlook.observe_step(&self.policy, now, start, demand, missed, errors);
        if learned != Intake::Learned {
            self.outlook.watch_unlearned(&self.policy, now, wall, demand);
        }
        if let (Intake::Learned, Some(demand)) = (learned, demand) {
            let missed = (self.outlook.budget.missed - before.missed).max(0.0);
            self.paper.settle(now, start, demand, missed, self.outlook.capacity.estimate());
        }
        learned
    }

    /// Decides on paper, from the demand seen alone. The calendar and the operator's pin bind there, too.
    pub(super) fn react_on_paper(&mut self, now: Timestamp, numbers: &PlanInputs, bounds: Bounds) {
        if self.plan.is_none() {
            let (active, total, _) = self.found();
            self.paper.begin(now, active, total - active);
        }
        let Some(demand) = numbers.demand_now else { return };
        let policy = &self.policy;
        let utilisation = match policy.clone_threshold {
            Some(CloneThreshold::Fixed(share)) => share,
            Some(CloneThreshold::Learned) | None => policy.utilisation_untrusted,
        };
        let count = |demand: f64| instances_for(demand / utilisation, numbers.capacity, bounds.replicas_max);
        let hold =
            self.outlook.recent_max((policy.hold.as_secs_f64() / policy.step.as_secs_f64()).ceil() as usize);
        let need = count(demand);
        let kept = self.paper.wanted().min(count(hold));
        let computed = need.max(kept).max(bounds.active_min).min(bounds.replicas_max);
        let active = self.pinned.as_ref().and_then(|pinned| pinned.active).unwrap_or(computed);
        let standby = bounds.standby_min.min(bounds.replicas_max.saturating_sub(active));
        let (lead_promote, lead_cold) = (numbers.lead_promote, numbers.lead_cold);
        self.paper.want(now, Wanted { active, standby, lead_promote, lead_cold, utilisation });
    }
}
