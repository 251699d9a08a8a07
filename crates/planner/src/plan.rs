//! The plan: how many instances a workload shall have, and why.

use std::time::Duration;

use forecast::{Timestamp, Trust};

use crate::policy::WorkloadPolicy;
use crate::reason::{Reason, Trigger};

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
    /// What made the planner make it.
    pub trigger: Trigger,
    /// Whether the forecast was trusted.
    pub trust: Trust,
    /// The numbers it was made from.
    pub inputs: PlanInputs,
    /// What bound, and what was not done and why.
    pub reasons: Vec<Reason>,
}

/// The numbers a plan was made from, as they are shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PlanInputs {
    /// Demand seen last, in the workload's unit; `None` before the first sample.
    pub demand_now: Option<f64>,
    /// Demand now with its slope over the promotion lead time: what active must cover whatever the forecast says.
    pub floor: f64,
    /// Quantile level of the active tier, in (0, 1).
    pub q_active: f64,
    /// Quantile level of both tiers together, in (0, 1).
    pub q_standby: f64,
    /// Steps that the active tier looks ahead.
    pub window_active_steps: usize,
    /// Steps that both tiers together look ahead.
    pub window_standby_steps: usize,
    /// Largest demand in the active window at `q_active`.
    pub forecast_active: f64,
    /// Largest demand in the standby window at `q_standby`.
    pub forecast_total: f64,
    /// Largest demand while a demotion would have to hold, at `q_active`.
    pub forecast_hold: f64,
    /// Largest demand up to the break-even of stopping a standby: its median.
    pub forecast_keep: f64,
    /// Demand units per instance in use.
    pub capacity: f64,
    /// Promotion lead time in use.
    pub lead_promote: Duration,
    /// Cold lead time in use.
    pub lead_cold: Duration,
    /// Missed share of the demand so far.
    pub missed_share: f64,
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
    /// The numbers.
    pub numbers: PlanInputs,
    /// Active instances wanted by the plan before this one.
    pub active_before: u32,
    /// Active and standby instances wanted by the plan before this one.
    pub total_before: u32,
}

/// Decides how many instances a workload shall have.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let capacity = inputs.numbers.capacity.max(f64::MIN_POSITIVE);
    let count = |demand: f64| (demand / capacity).ceil().clamp(0.0, f64::from(inputs.policy.replicas_max)) as u32;
    let active = count(inputs.numbers.forecast_active.max(inputs.numbers.floor)).max(inputs.policy.replicas_min);
    let total = count(inputs.numbers.forecast_total).max(active);
    Plan {
        generation: inputs.generation,
        at: inputs.now,
        active_wanted: active,
        standby_wanted: total - active,
        trigger: inputs.trigger,
        trust: inputs.trust,
        inputs: inputs.numbers,
        reasons: Vec::new(),
    }
}
