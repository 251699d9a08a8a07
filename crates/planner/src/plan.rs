//! The plan: how many instances a workload shall have, and why.
//!
//! [`plan()`] is a plain function. Everything uncertain (quantiles, margins, lead times, guards) has been turned into
//! numbers before; here they are weighed by fixed rules, and each rule that bound leaves a reason. In order: the active
//! tier from forecast and floor, the total from forecast and break-even, the outage guard, the bounds of the policy, the
//! operator.

use std::time::Duration;

use forecast::{Timestamp, Trust};

use crate::event::DecisionOverride;
use crate::margin::{Call, MarginRule, settle};
use crate::policy::WorkloadPolicy;
use crate::reaction::Reaction;
use crate::reason::{GuardCause, Reason, Tier, Trigger};
use crate::scope::Bounds;
use crate::size::Size;
use crate::warmth::{self, StoppedInputs};

/// A complete decision for one workload, with its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Counts up with each plan of the workload.
    pub generation: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Active instances wanted.
    pub active_wanted: u32,
    /// Standby instances wanted, beside the active ones.
    pub standby_wanted: u32,
    /// Instances wanted beside both that are stopped with their disk kept.
    pub stopped_wanted: u32,
    /// How large each instance shall be; `None` where that is not the planner's business.
    pub size: Option<Size>,
    /// What made the planner make it.
    pub trigger: Trigger,
    /// Whether the forecast was trusted.
    pub trust: Trust,
    /// The numbers it was made from.
    pub inputs: PlanInputs,
    /// What bound, and what was not done and why.
    pub reasons: Vec<Reason>,
    /// Where the workload would be if it only reacted.
    pub without_forecast: Reaction,
}

impl Plan {
    /// Active and standby instances wanted.
    pub fn total_wanted(&self) -> u32 {
        self.active_wanted + self.standby_wanted
    }

    /// An operator's override decided.
    pub fn pinned(&self) -> bool {
        self.reasons.iter().any(|r| matches!(r, Reason::Override { .. }))
    }
}

/// The numbers a plan was made from, as they are shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PlanInputs {
    /// Demand seen last, in the workload's unit; `None` before the first sample.
    pub demand_now: Option<f64>,
    /// Demand now with its slope over the promotion lead time: what active must cover whatever the forecast says.
    pub floor: f64,
    /// Quantile level of the active tier, in (0, 1); the median where another rule is added to it.
    pub q_active: f64,
    /// Quantile level of both tiers together, in (0, 1); the median where another rule is added to it.
    pub q_standby: f64,
    /// What the active tier goes by, when the error budget controls it.
    pub rule_active: Option<MarginRule>,
    /// What both tiers together go by.
    pub rule_total: Option<MarginRule>,
    /// Steps that the active tier looks ahead.
    pub window_active_steps: usize,
    /// Steps that both tiers together look ahead.
    pub window_standby_steps: usize,
    /// Demand that the active tier is to cover, with its margin.
    pub forecast_active: f64,
    /// Demand that both tiers together are to cover, with their margin.
    pub forecast_total: f64,
    /// Demand below which no active instance is given up, because it would be needed again within the hold time.
    pub forecast_hold: f64,
    /// Demand below which no standby is given up, because it would be needed again before the break-even time.
    pub forecast_keep: f64,
    /// Share of the active capacity from which on one more instance is wanted, where the policy has such a threshold.
    pub clone_threshold: Option<f64>,
    /// Demand units per instance in use.
    pub capacity: f64,
    /// Promotion lead time in use.
    pub lead_promote: Duration,
    /// Cold lead time in use.
    pub lead_cold: Duration,
    /// About stopped instances; `None` where there is no such level, or it does not pay.
    pub stopped: Option<StoppedInputs>,
    /// Missed share of the demand so far.
    pub missed_share: f64,
    /// A reading of the step that has begun is about to come: what would be given up before it may be needed after.
    pub awaits_reading: bool,
}

impl PlanInputs {
    /// How long one more instance takes that does not run yet: a restart where there is a stopped level, else a start.
    pub fn lead_up(&self) -> Duration {
        self.stopped.map_or(self.lead_cold, |stopped| stopped.lead)
    }
}

/// Where the demand to be covered comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Basis {
    /// The forecast, by rules that the error budget controls.
    Quantiles,
    /// The forecast median and a fixed margin above it.
    FixedMargin {
        /// The share added to the median.
        safety_margin: f64,
    },
    /// The demand of now, because the forecast is not trusted.
    Reactive {
        /// Target utilisation in (0, 1].
        utilisation: f64,
    },
}

/// Everything [`plan()`] looks at.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The policy of the workload.
    pub policy: &'a WorkloadPolicy,
    /// Generation for the new plan.
    pub generation: u64,
    /// The time of the plan.
    pub now: Timestamp,
    /// What made the planner ask for a plan.
    pub trigger: Trigger,
    /// Whether the forecast is trusted.
    pub trust: Trust,
    /// Where the demand to be covered comes from.
    pub basis: Basis,
    /// The numbers.
    pub numbers: PlanInputs,
    /// How many instances there may and must be.
    pub bounds: Bounds,
    /// Active instances wanted by the plan before this one.
    pub active_before: u32,
    /// Active and standby instances wanted by the plan before this one.
    pub total_before: u32,
    /// The same with stopped ones.
    pub exist_before: u32,
    /// The most instances that had to exist, stopped or better, since a start would have been dearer than keeping them.
    pub exist_lately: u32,
    /// The most active and standby instances that were needed within the last cold lead time or two. What was needed so
    /// lately is not stopped: its start would hardly be over.
    pub total_lately: u32,
    /// Nothing is known about demand: keep what runs.
    pub keep_all: bool,
    /// Scale-in is blocked: why, and until when at most.
    pub guard: Option<(GuardCause, Timestamp)>,
    /// The operator's override in force.
    pub pinned: Option<&'a DecisionOverride>,
    /// Starts are paused after so many failures, until then.
    pub starts_paused: Option<(u32, Timestamp)>,
}

/// Whether a standby is worth its price: it must be clearly cheaper than an active instance, and clearly quicker than a
/// new one.
pub fn standby_pays(policy: &WorkloadPolicy, lead_promote: Duration, lead_cold: Duration) -> bool {
    let cheaper = policy.prices.standby < STANDBY_PRICE_MAX * policy.prices.active;
    let quicker = lead_promote < lead_cold.mul_f64(STANDBY_LEAD_MAX);
    cheaper && quicker
}

/// How long an active instance is held that could stand by instead. A step longer than others: to park it saves little, and
/// the noise of single steps would have it promoted and parked again and again.
pub(crate) fn hold_beside_standby(policy: &WorkloadPolicy) -> Duration {
    policy.hold.saturating_add(policy.step)
}

/// After this time, waiting as a standby has cost as much as a start, or as a restart where there is a stopped level.
pub fn break_even(policy: &WorkloadPolicy) -> Duration {
    let of_start = || break_even_of(policy, policy.prices.start, policy.prices.standby);
    warmth::break_even_restart(policy).unwrap_or_else(of_start)
}

/// After this time, waiting at a price has cost as much as `start` of an active instance.
pub(crate) fn break_even_of(policy: &WorkloadPolicy, start: Duration, price: f64) -> Duration {
    let ratio = policy.prices.active / price.max(policy.prices.active * PRICE_RATIO_MIN);
    start.mul_f64(ratio).min(BREAK_EVEN_MAX)
}

/// Decides how many instances a workload shall have.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let mut draft = Draft { inputs, reasons: Vec::with_capacity(REASONS_USUAL), trigger: inputs.trigger };
    draft.explain_basis();
    let pays = standby_pays(inputs.policy, inputs.numbers.lead_promote, inputs.numbers.lead_up());
    let (active, total) = if pays { draft.two_tiers() } else { draft.one_tier() };
    let (active, total) = draft.kept_for_reading(active, total);
    let (active, total) = draft.guarded(active, total);
    let (active, standby) = draft.bounded(active, total);
    let (active, standby) = draft.overridden(active, standby);
    let stopped_wanted = warmth::stopped_wanted(inputs, active + standby, &mut draft.reasons);
    if let Some((failures, until)) = inputs.starts_paused {
        draft.reasons.push(Reason::StartsPaused { failures, until });
    }
    Plan {
        generation: inputs.generation,
        at: inputs.now,
        active_wanted: active,
        standby_wanted: standby,
        stopped_wanted,
        size: None,
        trigger: draft.trigger,
        trust: inputs.trust,
        inputs: inputs.numbers,
        reasons: draft.reasons,
        without_forecast: Reaction::default(),
    }
}

/// Instances needed for a demand, at most `replicas_max + 1` (so that a cut at the maximum is seen).
pub(crate) fn instances_for(demand: f64, capacity: f64, replicas_max: u32) -> u32 {
    let exact = demand / capacity;
    if !exact.is_finite() || exact <= 0.0 {
        return 0;
    }
    // Rounded up without a call of the mathematical library, which is where many plans would spend their time.
    let exact = (exact - ROUNDING).min(f64::from(replicas_max) + 1.0);
    let whole = exact as u32;
    whole.saturating_add(u32::from(f64::from(whole) < exact))
}

struct Draft<'a> {
    inputs: &'a Inputs<'a>,
    reasons: Vec<Reason>,
    trigger: Trigger,
}

impl Draft<'_> {
    fn count(&self, demand: f64) -> u32 {
        instances_for(demand, self.inputs.numbers.capacity, TOLD_MAX)
    }

    fn explain_basis(&mut self) {
        let numbers = &self.inputs.numbers;
        if numbers.demand_now.is_none() {
            self.reasons.push(Reason::NoSignal);
        }
        match self.inputs.basis {
            Basis::Reactive { utilisation } => {
                self.reasons.push(Reason::Untrusted { trust: self.inputs.trust, utilisation });
            }
            Basis::Quantiles if !self.inputs.trust.is_trusted() => {
                self.reasons.push(Reason::Doubted { trust: self.inputs.trust });
            }
            Basis::Quantiles | Basis::FixedMargin { .. } => {}
        }
        let budget = self.inputs.policy.objective.error_budget;
        if numbers.missed_share > budget {
            self.reasons.push(Reason::BudgetOverspent { missed: numbers.missed_share, budget });
        }
    }

    fn explain_need(&mut self, tier: Tier, demand: f64, steps: usize, quantile: f64, instances: u32) {
        let window = self.inputs.policy.step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        let capacity = self.inputs.numbers.capacity;
        self.reasons.push(match self.inputs.basis {
            Basis::Quantiles => match self.rule(tier) {
                None | Some(MarginRule::Quantile) => {
                    Reason::ForecastNeeds { tier, demand, window, quantile, instances, capacity }
                }
                Some(rule) => Reason::RuleNeeds { tier, rule, demand, window, instances, capacity },
            },
            Basis::FixedMargin { safety_margin: margin } => Reason::MarginNeeds {
                tier,
                median: demand / (1.0 + margin),
                window,
                margin,
                instances,
                capacity,
            },
            Basis::Reactive { .. } => Reason::ReactiveNeeds { tier, demand, instances, capacity },
        });
    }

    fn rule(&self, tier: Tier) -> Option<MarginRule> {
        match tier {
            Tier::Active => self.inputs.numbers.rule_active,
            Tier::Total => self.inputs.numbers.rule_total,
        }
    }

    /// Demand that must be covered whatever the forecast says.
    fn floor(&mut self, forecast_need: u32) -> u32 {
        let numbers = &self.inputs.numbers;
        let floor = self.count(numbers.floor);
        if floor > forecast_need {
            self.reasons.push(match (numbers.clone_threshold, numbers.demand_now) {
                (Some(share), Some(demand)) => {
                    Reason::CloneThreshold { share, demand, instances: floor, capacity: numbers.capacity }
                }
                _ => Reason::DemandFloor {
                    demand: numbers.floor,
                    instances: floor,
                    capacity: numbers.capacity,
                },
            });
            if self.trigger == Trigger::Forecast {
                self.trigger = Trigger::Demand;
            }
        }
        floor.max(forecast_need)
    }

    fn two_tiers(&mut self) -> (u32, u32) {
        let numbers = self.inputs.numbers;
        let policy = self.inputs.policy;
        let forecast_need = self.count(numbers.forecast_active);
        self.explain_need(
            Tier::Active,
            numbers.forecast_active,
            numbers.window_active_steps,
            numbers.q_active,
            forecast_need,
        );
        let need = self.floor(forecast_need);
        let call = Call { need, keep: self.count(numbers.forecast_hold) };
        let active = settle(self.inputs.active_before, call);
        if active > need {
            let hold = hold_beside_standby(policy);
            self.reasons.push(Reason::HeldActive { instances: active - need, hold });
        }
        let forecast_total = self.count(numbers.forecast_total);
        self.explain_need(
            Tier::Total,
            numbers.forecast_total,
            numbers.window_standby_steps,
            numbers.q_standby,
            forecast_total,
        );
        let need = forecast_total.max(active);
        let keep = self.count(numbers.forecast_keep).max(self.inputs.total_lately);
        let call = Call { need, keep };
        let total = settle(self.inputs.total_before, call);
        if total > need {
            self.reasons
                .push(Reason::KeptStandby { instances: total - need, break_even: break_even(policy) });
        }
        (active, total)
    }

    fn one_tier(&mut self) -> (u32, u32) {
        let numbers = self.inputs.numbers;
        self.reasons.push(Reason::NoStandbyTier {
            price: self.inputs.policy.prices.standby / self.inputs.policy.prices.active,
            lead_promote: numbers.lead_promote,
            lead_cold: numbers.lead_up(),
        });
        let forecast_need = self.count(numbers.forecast_total);
        self.explain_need(
            Tier::Total,
            numbers.forecast_total,
            numbers.window_standby_steps,
            numbers.q_standby,
            forecast_need,
        );
        let need = self.floor(forecast_need);
        let call = Call { need, keep: self.count(numbers.forecast_hold) };
        let active = settle(self.inputs.active_before, call);
        if active > need {
            self.reasons.push(Reason::HeldActive { instances: active - need, hold: self.inputs.policy.hold });
        }
        (active, active)
    }

    fn kept_for_reading(&mut self, active: u32, total: u32) -> (u32, u32) {
        let before = (self.inputs.active_before, self.inputs.total_before);
        if !self.inputs.numbers.awaits_reading || (active >= before.0 && total >= before.1) {
            return (active, total);
        }
        self.reasons.push(Reason::AwaitsReading);
        (active.max(before.0), total.max(before.1))
    }

    fn guarded(&mut self, active: u32, total: u32) -> (u32, u32) {
        if self.inputs.keep_all {
            return (active.max(self.inputs.active_before), total.max(self.inputs.total_before));
        }
        let Some((cause, until)) = self.inputs.guard else { return (active, total) };
        let kept = (active.max(self.inputs.active_before), total.max(self.inputs.total_before));
        if kept != (active, total) {
            self.reasons.push(Reason::ScaleInBlocked { cause, active: kept.0, until });
            if self.trigger == Trigger::Forecast || self.trigger == Trigger::Demand {
                self.trigger = Trigger::Failure;
            }
        }
        kept
    }

    /// Cuts to the bounds of the policy. Returns active and standby.
    fn bounded(&mut self, active: u32, total: u32) -> (u32, u32) {
        let (policy, bounds) = (self.inputs.policy, self.inputs.bounds);
        let most = bounds.replicas_max;
        // What is to be there soon and may not stand by is active before.
        let least = bounds.active_min.max(bounds.total_min.saturating_sub(policy.standby_max));
        if active < least {
            self.reasons.push(Reason::AtMinimum { tier: Tier::Active, minimum: least, computed: active });
        }
        if active > most {
            self.reasons.push(Reason::AtMaximum { tier: Tier::Active, maximum: most, computed: active });
        }
        let active = active.max(least).min(most);
        let computed = total.max(active);
        let mut total = computed.max(active.saturating_add(bounds.standby_min)).max(bounds.total_min);
        if total > most {
            if computed > most {
                self.reasons.push(Reason::AtMaximum { tier: Tier::Total, maximum: most, computed });
            }
            total = most;
        }
        (active, (total - active).min(policy.standby_max))
    }

    fn overridden(&mut self, active: u32, standby: u32) -> (u32, u32) {
        let Some(pinned) = self.inputs.pinned else { return (active, standby) };
        self.reasons.push(Reason::Override {
            active: pinned.active,
            standby: pinned.standby,
            author: pinned.author.clone(),
            reason: pinned.reason.clone(),
            expires: pinned.expires,
        });
        self.trigger = Trigger::Operator;
        let maximum = self.inputs.policy.replicas_max;
        let (active, standby) = (pinned.active.unwrap_or(active), pinned.standby.unwrap_or(standby));
        let computed = active.saturating_add(standby);
        if active > maximum {
            self.reasons.push(Reason::AtMaximum { tier: Tier::Active, maximum, computed: active });
        } else if computed > maximum {
            self.reasons.push(Reason::AtMaximum { tier: Tier::Total, maximum, computed });
        }
        let active = active.min(maximum);
        (active, standby.min(maximum - active))
    }
}

/// From this price on (relative to an active instance), a standby saves too little to be worth a tier of its own.
const STANDBY_PRICE_MAX: f64 = 0.95;
/// From this share of the cold lead time on, a promotion saves too little.
const STANDBY_LEAD_MAX: f64 = 0.8;
const PRICE_RATIO_MIN: f64 = 0.001;
const BREAK_EVEN_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Forgives the last bits of a division that should have been whole.
const ROUNDING: f64 = 1e-9;
const REASONS_USUAL: usize = 8;
/// What is needed beyond the maximum is counted up to here.
const TOLD_MAX: u32 = 1_000_000;

#[cfg(test)]
pub(crate) mod tests;
