//! The numbers of a plan, read from what the outlook knows.

use std::time::Duration;

use forecast::{Timestamp, Trust, UntrustedReason, WindowMax};

use super::{
    HOLD_COLD_LEADS, KEEP_QUANTILE, Outlook, PART_STEP, PEAK_FACTOR, Rules, UNIT, WIDER, WINDOW_STEPS_MAX,
    Windows,
};
use crate::margin::{Family, Rule, Sight};
use crate::plan::{Basis, PlanInputs, break_even, hold_beside_standby, instances_for, standby_pays};
use crate::policy::{Margin, WorkloadPolicy};
use crate::threshold::CloneThreshold;

impl Outlook {
    /// The numbers for a plan made now, and where they come from. `now` is monotone, `wall` the driver's time.
    pub(crate) fn numbers(
        &self,
        policy: &WorkloadPolicy,
        now: Timestamp,
        wall: Timestamp,
    ) -> (PlanInputs, Basis) {
        let (promote, cold) = (self.lead_promote.estimate(), self.lead_cold.estimate());
        let elapsed = self.elapsed(policy, wall);
        let windows = self.windows(policy, elapsed);
        let live = self.live(policy, now, elapsed);
        let floor = match live {
            Some(level) if self.reading_counts(policy, level) => {
                level + self.rise(policy, promote.saturating_add(policy.tick))
            }
            // Whether the demand of the last step is a floor is for the rule in force to say: it was tried on paper.
            // After the clock was set back it learns no steps, and knows nothing of demand as it is.
            _ if policy.margin == Margin::Controlled
                && self.is_controlled()
                && !self.set_back
                && self.overrides_ahead(policy, wall).next().is_none() =>
            {
                self.least()
            }
            _ => self.floor_of_steps(policy),
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
            stopped: self.shelf_numbers(policy, elapsed),
            missed_share: self.budget.missed_share(),
            ..PlanInputs::default()
        };
        let basis = self.expected(policy, windows, (live, elapsed), &mut numbers);
        // What operators know of the coming steps was said of the forecast, not of what was read since.
        if basis == Basis::Quantiles
            && self.missing_in_row == 0
            && self.overrides_ahead(policy, wall).next().is_none()
        {
            self.refine_by_nowcast(policy, elapsed, &mut numbers);
            numbers.awaits_reading = self.awaits_reading(policy, elapsed);
        }
        self.apply_clone_threshold(policy, windows.hold, &mut numbers);
        (numbers, basis)
    }

    /// Fills in what is expected, and says from what.
    fn expected(
        &self,
        policy: &WorkloadPolicy,
        windows: Windows,
        (live, elapsed): (Option<f64>, Duration),
        numbers: &mut PlanInputs,
    ) -> Basis {
        let trust = self.forecaster.trust();
        let controlled = policy.margin == Margin::Controlled && self.is_controlled();
        if !trust.is_trusted() && !controlled {
            let utilisation = self.reactive_numbers(policy, windows, numbers);
            if matches!(trust, Trust::Untrusted { reason: UntrustedReason::SignalMissing { .. } }) {
                self.carry_on(windows, numbers);
            }
            return Basis::Reactive { utilisation };
        }
        match policy.margin {
            Margin::Controlled => {
                self.controlled_numbers(policy, windows, elapsed, numbers);
                if live.is_none() && self.missing_in_row > 0 {
                    self.carry_on(windows, numbers);
                }
                Basis::Quantiles
            }
            Margin::Fixed { safety_margin } => {
                self.fixed_numbers(policy, windows, safety_margin, numbers);
                Basis::FixedMargin { safety_margin }
            }
        }
    }

    /// The signal is missing: the forecast is not wrong, only nobody corrects it. So what it expects adds to what was seen
    /// last; and as no reading will warn of more, the active tier covers what otherwise both tiers together would.
    fn carry_on(&self, windows: Windows, numbers: &mut PlanInputs) {
        let expected = |steps| {
            let sight = self.planned_sight(steps);
            self.rules.total.of(&sight).max(sight.quantile(QUANTILE_UNSEEN))
        };
        numbers.forecast_active = numbers.forecast_active.max(expected(windows.active));
        numbers.forecast_hold = numbers.forecast_hold.max(expected(windows.hold));
        numbers.forecast_total = numbers.forecast_total.max(expected(windows.total));
    }

    fn controlled_numbers(
        &self,
        policy: &WorkloadPolicy,
        windows: Windows,
        elapsed: Duration,
        numbers: &mut PlanInputs,
    ) {
        let Rules { active, total, .. } = self.rules;
        let pays = standby_pays(policy, numbers.lead_promote, numbers.lead_up());
        numbers.q_active = quantile_of(active);
        numbers.q_standby = quantile_of(total);
        numbers.rule_active = Some(active.name(self.unit()));
        numbers.rule_total = Some(total.name(self.unit()));
        numbers.forecast_active = active.of(&self.planned_sight(windows.active));
        if let Some(share) = self.late_share(policy, elapsed) {
            // What a step that needs little more lacks for that moment is less than the changes are worth.
            let next = active.of(&self.planned_sight(windows.active + 1));
            let there = numbers.forecast_active.max(numbers.floor);
            let instances = instances_for(there, numbers.capacity, policy.replicas_max);
            let lacking = next - f64::from(instances) * numbers.capacity;
            if lacking * share > LATE_BUDGETS * policy.objective.error_budget * next {
                numbers.forecast_active = next;
            }
        }
        numbers.forecast_total = total.of(&self.planned_sight(windows.total));
        numbers.forecast_hold = if active.family.holds() {
            active.of(&self.planned_sight_to_keep(if pays { windows.hold } else { windows.hold_cold }))
        } else {
            0.0
        };
        numbers.forecast_keep = self.planned_window(windows.keep).quantile(KEEP_QUANTILE);
    }

    fn fixed_numbers(
        &self,
        policy: &WorkloadPolicy,
        windows: Windows,
        safety_margin: f64,
        numbers: &mut PlanInputs,
    ) {
        let pays = standby_pays(policy, numbers.lead_promote, numbers.lead_up());
        let raised = |steps: usize| self.planned_window(steps).median() * (1.0 + safety_margin);
        numbers.forecast_active = raised(windows.active);
        numbers.forecast_total = raised(windows.total);
        numbers.forecast_hold = raised(if pays { windows.hold } else { windows.hold_cold });
        numbers.forecast_keep = self.planned_window(windows.keep).median();
    }

    fn reactive_numbers(&self, policy: &WorkloadPolicy, windows: Windows, numbers: &mut PlanInputs) -> f64 {
        let factor = match (policy.clone_threshold, policy.margin) {
            (Some(CloneThreshold::Fixed(share)), _) => 1.0 / share,
            (_, Margin::Controlled) => self.rules.reactive.reactive_factor(),
            (_, Margin::Fixed { safety_margin }) => {
                (1.0 + safety_margin).max(1.0 / policy.utilisation_untrusted)
            }
        };
        // Where nobody forecasts, an override is of the demand that goes on as it is.
        numbers.forecast_active = self.persisting(numbers.floor, windows.active) * factor;
        numbers.forecast_hold = self.persisting(self.recent_max(windows.hold), windows.hold) * factor;
        let wide = self.persisting(self.recent_max(windows.total).max(numbers.floor), windows.total);
        numbers.forecast_total = if standby_pays(policy, numbers.lead_promote, numbers.lead_up()) {
            (wide * factor * WIDER).max(wide * factor + numbers.capacity)
        } else {
            wide * factor
        };
        numbers.forecast_keep = self.persisting(self.recent_max(windows.keep), windows.keep) * factor;
        1.0 / factor
    }

    /// Demand heard of last with its slope over the promotion lead time.
    pub(super) fn floor_of_steps(&self, policy: &WorkloadPolicy) -> f64 {
        let level = self.heard.unwrap_or(0.0);
        let lead = self.lead_promote.estimate().as_secs_f64() / policy.step.as_secs_f64();
        let slope = if self.set_back { 0.0 } else { self.forecaster.slope_per_step() };
        let rise = (slope * lead).clamp(0.0, level);
        level + if rise.is_finite() { rise } else { 0.0 }
    }

    pub(crate) fn recent_max(&self, steps: usize) -> f64 {
        self.recent.iter().rev().take(steps.max(1)).copied().fold(0.0, f64::max)
    }

    pub(super) fn windows(&self, policy: &WorkloadPolicy, elapsed: Duration) -> Windows {
        self.windows_from(policy, elapsed.as_secs_f64())
    }

    /// The windows when the last step is taken to have ended `elapsed` seconds ago; in the future if that is negative.
    pub(super) fn windows_from(&self, policy: &WorkloadPolicy, elapsed: f64) -> Windows {
        let (promote, cold) = (self.lead_promote.estimate(), self.lead_up(policy));
        let until = replanned_after(policy, elapsed);
        let steps = |ahead: Duration| steps_of(policy, elapsed + until + ahead.as_secs_f64());
        let total = steps(cold);
        let hold =
            if standby_pays(policy, promote, cold) { hold_beside_standby(policy) } else { policy.hold };
        Windows {
            active: steps(promote),
            hold: steps(promote + hold),
            total,
            hold_cold: steps(cold.saturating_mul(HOLD_COLD_LEADS) + policy.hold),
            keep: steps_of(policy, elapsed + break_even(policy).as_secs_f64()).max(total),
        }
    }

    /// Until the next plan is made: a tick, but not past the last moment at which a promotion is done when the next step begins.
    pub(crate) fn plans_after(&self, policy: &WorkloadPolicy, wall: Timestamp) -> Duration {
        let until = self.until_last_before_step(policy, self.elapsed(policy, wall));
        until.filter(|until| *until >= MOMENT).map_or(policy.tick, |until| until.min(policy.tick))
    }

    /// The share of the next step that would lack what it needs, if the next plan, not this one, promoted it; `None` where that
    /// is not to be thought of now.
    fn late_share(&self, policy: &WorkloadPolicy, elapsed: Duration) -> Option<f64> {
        let until = self.until_last_before_step(policy, elapsed)?;
        (until < MOMENT).then(|| self.lead_of_active(policy).as_secs_f64() / policy.step.as_secs_f64())
    }

    /// Time until promotions for the next step must be ordered; `None` where that is over, or where windows mind it already, or
    /// where so short a delay could not spend the budget.
    fn until_last_before_step(&self, policy: &WorkloadPolicy, elapsed: Duration) -> Option<Duration> {
        let promote = self.lead_of_active(policy);
        let share = promote.as_secs_f64() / policy.step.as_secs_f64();
        let left = policy.step.checked_sub(elapsed).filter(|left| !left.is_zero())?;
        let matters = share <= PART_STEP && share > policy.objective.error_budget;
        matters.then(|| left.saturating_sub(promote))
    }

    /// What a rule looks at when it provides for the next steps.
    pub(super) fn sight(&self, steps: usize) -> Sight {
        self.sight_with(steps, 1)
    }

    /// The same when it is asked what to keep.
    pub(super) fn sight_to_keep(&self, steps: usize) -> Sight {
        self.sight_with(steps, steps)
    }

    pub(super) fn sight_with(&self, steps: usize, recent_steps: usize) -> Sight {
        let demand = self.heard.unwrap_or(0.0);
        let recent = self.recent_max(recent_steps).max(demand);
        self.sight_of(self.window(steps), (demand, recent), self.forecaster.week_ago_max(0..steps))
    }

    pub(super) fn sight_of(
        &self,
        window: WindowMax,
        (demand, recent): (f64, f64),
        week_ago: Option<f64>,
    ) -> Sight {
        let limit = PEAK_FACTOR * self.peak.max(window.median());
        let lasting = self.recent.iter().rev().take(LASTING_STEPS).copied().fold(demand, f64::min);
        let steps = window.steps();
        let sight = Sight::new(window, limit, (demand, recent, lasting), week_ago, self.unit());
        if self.forecaster.awaits_unknown_event(steps) { sight.before_unknown_event() } else { sight }
    }

    /// The share of capacity at which reacting alone would have kept the error budget.
    pub(crate) fn learned_clone_threshold(&self) -> f64 {
        1.0 / self.rules.reactive.reactive_factor()
    }

    pub(super) fn unit(&self) -> f64 {
        self.capacity.estimate().max(UNIT * self.peak)
    }

    /// The largest demand of the next steps.
    pub(super) fn window(&self, steps: usize) -> WindowMax {
        let known = self.known_windows.iter().find(|window| window.steps() == steps);
        known.cloned().unwrap_or_else(|| self.forecaster.window_max(steps))
    }

    /// With demand there is always one instance, whatever the forecast says.
    fn least(&self) -> f64 {
        self.heard.unwrap_or(0.0).min(self.capacity.estimate() * PART_INSTANCE)
    }

    /// By how much demand may rise until `ahead`, as readings go. Two readings a step apart say of the next step what the
    /// forecast says better.
    fn rise(&self, policy: &WorkloadPolicy, ahead: Duration) -> f64 {
        if self.load.interval() < policy.step / 2 { self.load.rise(ahead) } else { 0.0 }
    }

    /// Whether a reading is a floor under the active tier: more capacity would still serve the step that it belongs to, or
    /// the forecast did not hold it possible. Otherwise the forecast says better what will be when the capacity has come.
    fn reading_counts(&self, policy: &WorkloadPolicy, level: f64) -> bool {
        self.mends_in_time(policy) || level > self.high_expected
    }

    /// Whether what is ordered when a step has begun still serves in it.
    pub(super) fn mends_in_time(&self, policy: &WorkloadPolicy) -> bool {
        let lead =
            if policy.standby_min > 0 { self.lead_promote.estimate() } else { self.lead_of_active(policy) };
        lead < policy.step / 2
    }

    /// Demand of now, from readings between steps. Those that come no more often than steps are superseded by the next step.
    fn live(&self, policy: &WorkloadPolicy, now: Timestamp, elapsed: Duration) -> Option<f64> {
        let frequent = self.load.interval() < policy.step / 2;
        let age_max = self.load_age_max(policy);
        self.load.level(now, if frequent { age_max } else { age_max.min(elapsed) })
    }
}

/// Seconds until the next plan, when the last step is taken to have ended `elapsed` seconds ago: after a tick, or with the
/// step that is under way if that ends before. What a plan orders must do until the orders of the next are carried out.
pub(super) fn replanned_after(policy: &WorkloadPolicy, elapsed: f64) -> f64 {
    let (tick, step) = (policy.tick.as_secs_f64(), policy.step.as_secs_f64());
    let left = if elapsed < 0.0 { -elapsed } else { step - elapsed };
    // A step that is late may be later still.
    if left > 0.0 { tick.min(left) } else { tick }
}

/// The steps that a window of this length touches.
pub(super) fn steps_of(policy: &WorkloadPolicy, ahead_seconds: f64) -> usize {
    let exact = ahead_seconds / policy.step.as_secs_f64();
    ((exact - PART_STEP).ceil().max(1.0) as usize).min(WINDOW_STEPS_MAX)
}

/// A step is prepared for before it begins if it would otherwise miss so many times the budget: few steps rise, and those
/// that do not miss nothing by that. Measured: from 1 to 3, ever fewer changes for ever so little more cost.
const LATE_BUDGETS: f64 = 2.0;

/// Clocks tell no less apart.
const MOMENT: Duration = Duration::from_millis(1);

/// While nobody sees the demand, at least this quantile of the forecast is covered.
const QUANTILE_UNSEEN: f64 = 0.95;

/// Demand has lasted when it was there for so many steps before now.
const LASTING_STEPS: usize = 2;

/// Demand that is surely more than nothing.
const PART_INSTANCE: f64 = 0.01;

/// The quantile of the forecast that a rule provides for, as far as it is one.
pub(super) fn quantile_of(rule: Rule) -> f64 {
    match rule.family {
        Family::Quantile | Family::Brief => 1.0 - rule.quantile().0,
        _ => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::CapacityPolicy;

    #[test]
    fn the_next_plan_comes_with_the_next_step_at_the_latest() {
        let mut policy = WorkloadPolicy::new("web", Duration::from_secs(60), CapacityPolicy::Pinned(1.0));
        let after = |policy: &WorkloadPolicy| [0.0, 15.0, -45.0, 61.0].map(|at| replanned_after(policy, at));
        assert_eq!(after(&policy), [60.0, 45.0, 45.0, 60.0]);
        policy.tick = Duration::from_secs(1);
        assert_eq!(after(&policy), [1.0; 4]);
        assert_eq!(replanned_after(&policy, 59.5), 0.5);
    }
}
