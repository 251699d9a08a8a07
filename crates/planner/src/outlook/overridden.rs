//! What is expected once operators have had their say. Only plans look at it; the books of the rules do not.

use std::time::Duration;

use forecast::{Adjusted, Timestamp, WindowMax};

use super::{Outlook, Windows};
use crate::margin::Sight;
use crate::overrides::ForecastOverride;
use crate::policy::WorkloadPolicy;

impl Outlook {
    /// The overrides that have a part in the next steps.
    pub(crate) fn overrides_ahead(
        &self,
        policy: &WorkloadPolicy,
        wall: Timestamp,
    ) -> impl Iterator<Item = &ForecastOverride> {
        let from = self.origin.unwrap_or(wall);
        let elapsed = self.elapsed(policy, wall);
        let Windows { active, hold, total, hold_cold, .. } = self.windows(policy, elapsed);
        let shelf = self.shelf_windows(policy, elapsed).min().unwrap_or(0);
        let steps = active.max(hold).max(total).max(hold_cold).max(shelf);
        let ahead = policy.step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        self.overrides.touching(from, from.saturating_add(ahead))
    }

    /// Whether one of the next steps is overridden.
    fn overridden(&self, steps: usize) -> bool {
        let step = self.forecaster.step();
        let from = self.origin.unwrap_or_default();
        let ahead = step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        self.overrides.touching(from, from.saturating_add(ahead)).next().is_some()
    }

    fn adjusted(&self) -> Adjusted<'_> {
        Adjusted::new(&self.forecaster, self.overrides.adjustments())
    }

    /// The largest demand of the next steps, as it is planned for.
    pub(super) fn planned_window(&self, steps: usize) -> WindowMax {
        if self.overridden(steps) { self.adjusted().window_max(steps) } else { self.window(steps) }
    }

    /// What a rule looks at when it provides for the next steps.
    pub(super) fn planned_sight(&self, steps: usize) -> Sight {
        self.planned_sight_with(steps, 1)
    }

    /// The same when it is asked what to keep.
    pub(super) fn planned_sight_to_keep(&self, steps: usize) -> Sight {
        self.planned_sight_with(steps, steps)
    }

    fn planned_sight_with(&self, steps: usize, recent_steps: usize) -> Sight {
        if !self.overridden(steps) {
            return self.sight_with(steps, recent_steps);
        }
        // What has been seen stays true; what of it is expected to go on is overridden, too.
        let seen = self.heard.unwrap_or(0.0);
        let demand = self.persisting(seen, steps).max(seen);
        let recent = self.persisting(self.recent_max(recent_steps).max(seen), steps).max(seen);
        self.sight_of(self.planned_window(steps), (demand, recent), None)
    }

    /// The most that a demand would be made to within the next steps if it went on as it is.
    pub(super) fn persisting(&self, demand: f64, steps: usize) -> f64 {
        match (self.overrides.adjustments(), self.origin) {
            ([], _) => demand,
            (_, Some(origin)) => self.adjusted().persisting(demand, origin, steps),
            (_, None) => demand,
        }
    }

    /// The time since the last step ended, as far as it counts.
    pub(crate) fn elapsed(&self, policy: &WorkloadPolicy, wall: Timestamp) -> Duration {
        let step_max = policy.step.saturating_mul(super::ELAPSED_STEPS_MAX);
        self.origin.map_or(Duration::ZERO, |origin| wall.since(origin).min(step_max))
    }
}
