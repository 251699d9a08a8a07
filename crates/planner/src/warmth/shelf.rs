//! The control of the stopped level of one workload: its lead time as measured, and its rule as played on paper.

use std::time::Duration;

use crate::lead::LeadTime;
use crate::margin::{Aim, Family, Levels, MarginControl, Mended, Rule, choose_cheap};
use crate::policy::WorkloadPolicy;

/// What the outlook of a workload keeps for its stopped level.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    pub(crate) lead: LeadTime,
    pub(crate) rule: Rule,
    /// Plays how many must exist, stopped or better.
    control: MarginControl,
    price: f64,
}

impl Shelf {
    /// None where the policy has no stopped level.
    pub(crate) fn of(policy: &WorkloadPolicy, samples_max: usize) -> Option<Box<Shelf>> {
        let level = policy.stopped?;
        Some(Box::new(Shelf {
            lead: LeadTime::new(level.lead, samples_max),
            rule: Rule { family: Family::Quantile, at: 0.0 },
            control: MarginControl::forecasting(),
            price: level.price / policy.prices.active,
        }))
    }

    /// Whether the level is worth its price, with the lead times as they are measured.
    pub(crate) fn pays(&self, policy: &WorkloadPolicy, lead_cold: Duration) -> bool {
        policy.stopped.is_some_and(|level| level.pays(policy, self.lead.estimate(), lead_cold))
    }

    /// Lets every rule decide on the coming step; a new instance takes `lag` steps.
    pub(crate) fn play(
        &mut self,
        lag: usize,
        need: impl Fn(Family) -> Levels<u32>,
        keep: impl Fn(Family) -> Levels<u32>,
    ) {
        self.control.decide(lag, 0, need, keep);
    }

    /// The demand of the step that was decided on last.
    pub(crate) fn observe(&mut self, demand: f64, capacity: f64, memory_steps: f64) {
        self.control.observe(demand, capacity, u32::MAX, Mended::NEVER, memory_steps);
    }

    /// Instances that the rule in force had in existence for the coming step.
    pub(crate) fn available(&self) -> u32 {
        self.control.available(self.rule)
    }

    /// Names the rule to go by from now on. Returns what it would have missed, in instance-steps: so much is not left to the
    /// warmer levels.
    pub(crate) fn choose(&mut self, aim: Aim, capacity: f64) -> f64 {
        let missed;
        (self.rule, missed) = choose_cheap(&self.control, aim, capacity, self.price, Some(self.rule));
        missed
    }

    /// What a stopped instance costs, relative to an active one.
    pub(crate) fn price(&self) -> f64 {
        self.price
    }
}
