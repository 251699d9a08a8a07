//! What is ahead once demand was read in the step that has begun.
//!
//! A plan at the boundary of two steps knows nothing of the step that begins. A little later a reading tells what it brings,
//! long before it is over. Where a start takes as long as a step, waiting for its end would cost a whole step: so the
//! forecaster is asked once in each step what it would say if the step ended with what was read. The rules are played on paper
//! with the same knowledge. Where instances are ready within a fraction of a step, the reading itself is the floor.

use std::time::Duration;

use forecast::{Timestamp, WindowMax};

use super::{KEEP_QUANTILE, Outlook, Windows};
use crate::margin::{LEVELS, Sight};
use crate::plan::{PlanInputs, instances_for, standby_pays};
use crate::policy::WorkloadPolicy;

impl Outlook {
    /// Looks ahead from the first reading in a step, and lets every rule decide again. `wall` is the driver's time.
    pub(super) fn foresee_from_reading(&mut self, policy: &WorkloadPolicy, wall: Timestamp) {
        let (Some(origin), Some(level)) = (self.origin, self.heard) else { return };
        let elapsed = wall.since(origin);
        let late = self.lead_up(policy) >= policy.step / 2;
        if !late || !self.played || !self.nowcast.is_empty() || wall < origin || elapsed >= policy.step {
            return;
        }
        let mut supposed = self.forecaster.clone();
        if supposed.observe(origin, Some(level)).is_err() {
            return;
        }
        let windows = self.windows_of_nowcast(policy, elapsed);
        // Later in the step the windows reach one step further.
        let mut steps: Vec<usize> = [windows.total, self.kept_for(policy, windows)]
            .into_iter()
            .flat_map(|steps| [steps, steps + 1])
            .collect();
        steps.sort_unstable();
        steps.dedup();
        self.nowcast = steps.into_iter().map(|steps| supposed.window_max(steps)).collect();
        self.play_levels_again(policy, windows, level);
    }

    fn play_levels_again(&mut self, policy: &WorkloadPolicy, windows: Windows, level: f64) {
        let (max, capacity) = (policy.replicas_max, self.capacity.estimate());
        let count = |demand: f64| instances_for(demand, capacity, max);
        let need = self.sight_beyond(windows.total, 1);
        let kept = self.nowcast_window(self.kept_for(policy, windows));
        if standby_pays(policy, self.lead_promote.estimate(), self.lead_up(policy)) {
            let keep = count(kept.quantile(KEEP_QUANTILE).max(level));
            self.total.decide_again(|all| all.levels(&need).map(count), |_| [keep; LEVELS]);
        } else {
            let hold = self.sight_beyond(windows.hold_cold, windows.hold_cold);
            let held = |demand: f64| count(demand.max(level));
            self.total.decide_again(|all| all.levels(&need).map(count), |all| all.levels(&hold).map(held));
        }
    }

    /// Whether a reading of the step that has begun is about to come. Rules on paper decide once more when it does, too.
    pub(super) fn awaits_reading(&self, policy: &WorkloadPolicy, elapsed: Duration) -> bool {
        let late = self.lead_up(policy) >= policy.step / 2;
        let soon =
            self.reading_delay < READING_SOON && elapsed < policy.step.mul_f64(2.0 * self.reading_delay);
        late && self.played && self.nowcast.is_empty() && soon
    }

    /// Sets what depends on the lead time of a start by what is known since the reading. `elapsed`: since the last full step.
    pub(super) fn refine_by_nowcast(
        &self,
        policy: &WorkloadPolicy,
        elapsed: Duration,
        numbers: &mut PlanInputs,
    ) {
        if self.nowcast.is_empty() || elapsed > policy.step.mul_f64(NOWCAST_STEPS) {
            return;
        }
        let windows = self.windows_of_nowcast(policy, elapsed);
        let kept = self.nowcast_window(self.kept_for(policy, windows));
        let level = self.heard.unwrap_or(0.0);
        let total = self.rules.total;
        numbers.window_standby_steps = windows.total;
        numbers.forecast_total = total.of(&self.sight_beyond(windows.total, 1));
        if standby_pays(policy, numbers.lead_promote, numbers.lead_up()) {
            numbers.forecast_keep = kept.quantile(KEEP_QUANTILE).max(level);
        } else {
            numbers.forecast_hold =
                total.of(&self.sight_beyond(windows.hold_cold, windows.hold_cold)).max(level);
        }
    }

    fn windows_of_nowcast(&self, policy: &WorkloadPolicy, elapsed: Duration) -> Windows {
        self.windows_from(policy, elapsed.as_secs_f64() - policy.step.as_secs_f64())
    }

    /// For how many steps instances are kept.
    fn kept_for(&self, policy: &WorkloadPolicy, windows: Windows) -> usize {
        let (promote, cold) = (self.lead_promote.estimate(), self.lead_up(policy));
        if standby_pays(policy, promote, cold) { windows.keep } else { windows.hold_cold }
    }

    /// What a rule looks at beyond the step that has begun.
    fn sight_beyond(&self, steps: usize, recent_steps: usize) -> Sight {
        let demand = self.heard.unwrap_or(0.0);
        let recent = self.recent_max(recent_steps).max(demand);
        let week_ago = self.forecaster.week_ago_max(1..1 + steps);
        self.sight_of(self.nowcast_window(steps), (demand, recent), week_ago)
    }

    fn nowcast_window(&self, steps: usize) -> WindowMax {
        let found = self.nowcast.iter().find(|window| window.steps() >= steps).or(self.nowcast.last());
        found.cloned().unwrap_or_else(|| self.window(steps))
    }
}

/// Until so many steps after the last full one, what was read in between counts.
const NOWCAST_STEPS: f64 = 1.5;

/// A reading that usually comes within this part of a step is waited for.
const READING_SOON: f64 = 0.25;
