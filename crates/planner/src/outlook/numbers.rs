//! The numbers of a plan, read from what the outlook knows.

use std::time::Duration;

use forecast::{Timestamp, WindowMax};

use super::{
    ELAPSED_STEPS_MAX, Outlook, PART_STEP, PEAK_FACTOR, TOTAL_SHARE_MIN, WIDER, WINDOW_STEPS_MAX, Windows,
};
use crate::margin::Level;
use crate::plan::{Basis, PlanInputs, break_even, standby_pays};
use crate::policy::{Margin, WorkloadPolicy};

impl Outlook {
    /// The numbers for a plan made now, and where they come from. `now` is monotone, `wall` the driver's time.
    pub(crate) fn numbers(
        &self,
        policy: &WorkloadPolicy,
        now: Timestamp,
        wall: Timestamp,
    ) -> (PlanInputs, Basis) {
        let (promote, cold) = (self.lead_promote.estimate(), self.lead_cold.estimate());
        let step_max = policy.step.saturating_mul(ELAPSED_STEPS_MAX);
        let elapsed = self.origin.map_or(Duration::ZERO, |origin| wall.since(origin).min(step_max));
        let windows = self.windows(policy, elapsed);
        let live = self.load.level(now, self.load_age_max(policy));
        let floor = match live {
            Some(level) => level + self.load.rise(promote.saturating_add(policy.tick)),
            None => self.floor_of_steps(policy),
        };
        let mut numbers = PlanInputs {
            demand_now: live.or(self.heard),
            floor,
            q_active: 0.5,
            q_standby: 0.5,
            window_active_steps: windows.active,
            window_standby_steps: windows.total,
            capacity: self.capacity.estimate(),
            lead_promote: promote,
            lead_cold: cold,
            missed_share: self.budget.missed_share(),
            ..PlanInputs::default()
        };
        if !self.forecaster.trust().is_trusted() {
            let utilisation = self.reactive_numbers(policy, windows, &mut numbers);
            return (numbers, Basis::Reactive { utilisation });
        }
        match policy.margin {
            Margin::Controlled => {
                self.controlled_numbers(policy, windows, &mut numbers);
                (numbers, Basis::Quantiles)
            }
            Margin::Fixed { safety_margin } => {
                let level = Level { tail: 0.5, factor: 1.0 + safety_margin };
                self.level_numbers(policy, windows, level, level, &mut numbers);
                (numbers, Basis::FixedMargin { safety_margin })
            }
        }
    }

    fn controlled_numbers(&self, policy: &WorkloadPolicy, windows: Windows, numbers: &mut PlanInputs) {
        let budget = policy.objective.error_budget;
        let at = self.active.position(self.aim(budget, 1.0), numbers.capacity);
        let active = self.active.level(at);
        let total = self.total.level(self.total_position(policy));
        self.level_numbers(policy, windows, active, total, numbers);
    }

    fn level_numbers(
        &self,
        policy: &WorkloadPolicy,
        windows: Windows,
        active: Level,
        total: Level,
        numbers: &mut PlanInputs,
    ) {
        let pays = standby_pays(policy, numbers.lead_promote, numbers.lead_cold);
        numbers.q_active = 1.0 - active.tail;
        numbers.q_standby = 1.0 - total.tail;
        numbers.forecast_active = self.largest(windows.active).at(active);
        numbers.forecast_total = self.largest(windows.total).at(total);
        numbers.forecast_hold = if pays {
            self.largest(windows.hold).at(active)
        } else {
            let longer = windows.total + windows.hold.saturating_sub(windows.active);
            self.largest(longer).at(total)
        };
        numbers.forecast_keep = self.forecaster.window_max(windows.keep).median();
    }

    fn reactive_numbers(&self, policy: &WorkloadPolicy, windows: Windows, numbers: &mut PlanInputs) -> f64 {
        let budget = policy.objective.error_budget;
        let factor = match policy.margin {
            Margin::Controlled => {
                self.reactive.level(self.reactive.position(self.aim(budget, 1.0), numbers.capacity)).factor
            }
            Margin::Fixed { safety_margin } => (1.0 + safety_margin).max(1.0 / policy.utilisation_untrusted),
        };
        numbers.forecast_active = numbers.floor * factor;
        numbers.forecast_hold = self.recent_max(windows.hold) * factor;
        let wide = self.recent_max(windows.total).max(numbers.floor);
        numbers.forecast_total = if standby_pays(policy, numbers.lead_promote, numbers.lead_cold) {
            (wide * factor * WIDER).max(wide * factor + numbers.capacity)
        } else {
            wide * factor
        };
        numbers.forecast_keep = self.recent_max(windows.keep) * factor;
        1.0 / factor
    }

    /// Level of both tiers together. Misses of this tier may use up a part of the budget that follows from the price: the
    /// cheaper a standby, the rarer it should be missing.
    pub(super) fn total_position(&self, policy: &WorkloadPolicy) -> f64 {
        let budget = policy.objective.error_budget;
        let pays = standby_pays(policy, self.lead_promote.estimate(), self.lead_cold.estimate());
        let share = (policy.prices.standby / policy.prices.active).clamp(TOTAL_SHARE_MIN, 1.0);
        let part = if pays { share } else { 1.0 };
        self.total.position(self.aim(budget, part), self.capacity.estimate())
    }

    /// Demand heard of last with its slope over the promotion lead time.
    pub(super) fn floor_of_steps(&self, policy: &WorkloadPolicy) -> f64 {
        let level = self.heard.unwrap_or(0.0);
        let lead = self.lead_promote.estimate().as_secs_f64() / policy.step.as_secs_f64();
        let rise = (self.forecaster.slope_per_step() * lead).clamp(0.0, level);
        level + if rise.is_finite() { rise } else { 0.0 }
    }

    pub(super) fn recent_max(&self, steps: usize) -> f64 {
        self.recent.iter().rev().take(steps.max(1)).copied().fold(0.0, f64::max)
    }

    pub(super) fn windows(&self, policy: &WorkloadPolicy, elapsed: Duration) -> Windows {
        let (promote, cold) = (self.lead_promote.estimate(), self.lead_cold.estimate());
        let steps = |ahead: Duration| {
            let exact = (elapsed + ahead).as_secs_f64() / policy.step.as_secs_f64();
            ((exact - PART_STEP).ceil().max(1.0) as usize).min(WINDOW_STEPS_MAX)
        };
        let total = steps(cold + policy.tick);
        Windows {
            active: steps(promote + policy.tick),
            hold: steps(promote + policy.tick + policy.hold),
            total,
            keep: steps(break_even(policy)).max(total),
        }
    }

    /// The largest demand of the next steps. Far tails are extrapolated and may promise any height; what lies far above
    /// all that was ever seen or is expected is not provisioned for.
    pub(super) fn largest(&self, steps: usize) -> Bounded {
        let window = self.forecaster.window_max(steps);
        let limit = PEAK_FACTOR * self.peak.max(window.median());
        Bounded { window, limit }
    }
}

/// A forecast window, with a bound on what is believed of its tail.
pub(super) struct Bounded {
    window: WindowMax,
    limit: f64,
}

impl Bounded {
    /// The demand that a level provisions for.
    pub(super) fn at(&self, level: Level) -> f64 {
        (self.window.quantile(1.0 - level.tail) * level.factor).min(self.limit)
    }
}
