//! Warmth below parked: instances that are stopped with their disk kept, cheaper than a standby and quicker than a start.
//!
//! The levels are nested. What may be needed before a promotion is over must be active; what may be needed before a stopped
//! instance is up again must be parked or better; what may be needed before a new one is up must exist, stopped or better.
//! Each is a margin control of its own on the largest demand of its window ([`crate::margin`]), so each level is as generous
//! as its price justifies. Without a stopped level nothing of this exists, and a new instance takes its place.

mod fleet;
mod reason;
mod shelf;

use std::time::Duration;

pub(crate) use fleet::Came;
use forecast::Timestamp;

pub use reason::WarmthReason;
pub(crate) use shelf::Shelf;

use crate::margin::{Call, MarginRule, settle};
use crate::plan::{Inputs, Plan, break_even_of, instances_for};
use crate::policy::WorkloadPolicy;
use crate::reason::Reason;

/// A level between parked and cold: the instance is stopped, its disk and its place are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoppedLevel {
    /// What a stopped instance costs per unit of time, on the scale of [`Prices`](crate::Prices).
    pub price: f64,
    /// First guess of the time from a restart order to ready; measured afterwards.
    pub lead: Duration,
}

impl StoppedLevel {
    /// The rules for its numbers: whether each holds, the field and the rule.
    pub(crate) fn rules(&self) -> [(bool, &'static str, &'static str); 2] {
        [
            (self.price.is_finite() && self.price >= 0.0, "stopped.price", "must be 0 or a positive number"),
            (
                !self.lead.is_zero() && self.lead <= forecast::STEP_MAX,
                "stopped.lead",
                "must be above 0 and at most 1 day",
            ),
        ]
    }

    /// Whether it is worth its price: it must be clearly cheaper than the level above, and clearly quicker than a start.
    /// The same shares as of a standby.
    pub(crate) fn pays(&self, policy: &WorkloadPolicy, lead: Duration, lead_cold: Duration) -> bool {
        let above = policy.prices.standby.min(policy.prices.active);
        self.price < PRICE_MAX * above && lead < lead_cold.mul_f64(LEAD_MAX)
    }

    /// What a restart costs, as a start does: active instances for so long.
    fn restart_price(&self, policy: &WorkloadPolicy) -> Duration {
        let part = self.lead.as_secs_f64() / policy.lead_cold.as_secs_f64().max(self.lead.as_secs_f64());
        policy.prices.start.mul_f64(part)
    }
}

/// The numbers of a plan about its stopped level, as they are shown to people.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoppedInputs {
    /// Restart lead time in use.
    pub lead: Duration,
    /// Demand that all instances together, stopped or better, are to cover.
    pub forecast: f64,
    /// Demand below which no stopped instance is removed, because it would be needed again before keeping it has cost as much
    /// as a start.
    pub forecast_keep: f64,
    /// Quantile level, in (0, 1); the median where another rule is added to it.
    pub quantile: f64,
    /// What the level goes by, when the error budget controls it.
    pub rule: Option<MarginRule>,
    /// Steps that it looks ahead.
    pub window_steps: usize,
}

/// After this time a stopped instance has cost as much as a start.
pub(crate) fn break_even_stopped(policy: &WorkloadPolicy) -> Option<Duration> {
    let level = policy.stopped?;
    Some(break_even_of(policy, policy.prices.start, level.price))
}

/// After this time a standby has cost as much more than a stopped instance as a restart does.
pub(crate) fn break_even_restart(policy: &WorkloadPolicy) -> Option<Duration> {
    let level = policy.stopped.filter(|level| level.pays(policy, level.lead, policy.lead_cold))?;
    Some(break_even_of(policy, level.restart_price(policy), policy.prices.standby - level.price))
}

/// The most instances that had to exist of late: what is on the shelf stays for as long as a start would have been dearer,
/// counted from when it was needed last, whatever is expected (the skier who rents until that has cost as much as buying).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lately {
    /// In this stretch of half the break-even time, and in the one before.
    needed: (u32, u32),
    began: Option<Timestamp>,
}

impl Lately {
    pub(crate) fn most(self) -> u32 {
        self.needed.0.max(self.needed.1)
    }

    /// A plan was made for this many.
    pub(crate) fn remember(&mut self, now: Timestamp, policy: &WorkloadPolicy, plan: &Plan) {
        let (Some(numbers), Some(break_even)) = (plan.inputs.stopped, break_even_stopped(policy)) else {
            return;
        };
        let began = *self.began.get_or_insert(now);
        if now.since(began) > break_even / 2 {
            *self = Lately { needed: (0, self.needed.0), began: Some(now) };
        }
        let need = instances_for(numbers.forecast, plan.inputs.capacity, policy.replicas_max);
        self.needed.0 = self.needed.0.max(need.max(plan.total_wanted()).min(policy.replicas_max));
    }
}

/// Stopped instances wanted beside `total` active and standby ones, with what bound.
pub(crate) fn stopped_wanted(inputs: &Inputs<'_>, total: u32, reasons: &mut Vec<Reason>) -> u32 {
    let policy = inputs.policy;
    let Some(level) = policy.stopped else { return 0 };
    let mut say = |reason| reasons.push(Reason::Warmth(reason));
    let Some(numbers) = inputs.numbers.stopped else {
        say(WarmthReason::NoStoppedLevel {
            price: level.price / policy.prices.active,
            lead: level.lead,
            lead_cold: inputs.numbers.lead_cold,
        });
        return 0;
    };
    let capacity = inputs.numbers.capacity;
    // An operator may have pinned more than the calendar allows.
    let most = inputs.bounds.replicas_max.max(total);
    let count = |demand| instances_for(demand, capacity, policy.replicas_max);
    let need = count(numbers.forecast).max(total);
    let keep = count(numbers.forecast_keep).max(inputs.exist_lately);
    let mut exist = settle(inputs.exist_before, Call { need, keep });
    if inputs.keep_all || inputs.guard.is_some() {
        exist = exist.max(inputs.exist_before);
    }
    let window = policy.step.saturating_mul(u32::try_from(numbers.window_steps).unwrap_or(u32::MAX));
    say(WarmthReason::StoppedNeeds {
        rule: numbers.rule,
        quantile: numbers.quantile,
        demand: numbers.forecast,
        window,
        exist: need.min(most),
        stopped: need.min(most) - total,
        lead: numbers.lead,
    });
    let exist = exist.min(most);
    if exist > need {
        let break_even = break_even_stopped(policy).unwrap_or_default();
        say(WarmthReason::KeptStopped { instances: exist - need, break_even });
    }
    exist - total
}

/// From this price on, relative to the level above, a stopped instance saves too little to be worth a level of its own.
const PRICE_MAX: f64 = 0.95;
/// From this share of the cold lead time on, a restart saves too little.
const LEAD_MAX: f64 = 0.8;

#[cfg(test)]
mod tests;
