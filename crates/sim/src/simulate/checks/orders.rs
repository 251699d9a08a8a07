//! Rules about orders: each is about an instance that the planner has and nobody else, and there are not too many.

use std::collections::BTreeSet;
use std::time::Duration;

use forecast::Timestamp;
use planner::{Action, ActionKind, WorkloadPolicy};

use super::Truth;
use super::heard::Heard;

#[derive(Debug, Clone, Default)]
pub(super) struct Orders {
    /// Instances that the planner in force has started.
    started: BTreeSet<u64>,
    last_action: u64,
    last_generation: u64,
    stretch: Option<Stretch>,
    /// The most orders of a stretch as a share of what is allowed.
    pub(super) busiest: f64,
}

/// What was ordered in the present stretch of time.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    began: Timestamp,
    /// Faults that had happened then.
    faults: u64,
    orders: u64,
    starts: u64,
}

impl Orders {
    /// A new planner may begin anew, too, with all that the one before had under way.
    pub(super) fn restart(&self) -> Orders {
        Orders { busiest: self.busiest, ..Orders::default() }
    }

    /// An order is about to be carried out.
    pub(super) fn see_order(
        &mut self,
        action: &Action,
        truth: &Truth<'_>,
        heard: &Heard,
        policy: &WorkloadPolicy,
        broken: &mut Vec<String>,
    ) {
        if action.id.get() <= self.last_action {
            broken.push(format!("order {} comes after order {}", action.id, self.last_action));
        }
        if action.generation < self.last_generation {
            broken.push(format!("generation {} comes after {}", action.generation, self.last_generation));
        }
        (self.last_action, self.last_generation) = (action.id.get(), action.generation);
        self.check_known(action, truth, heard, broken);
        self.check_budget(action, truth, policy, broken);
    }

    fn check_known(&mut self, action: &Action, truth: &Truth<'_>, heard: &Heard, broken: &mut Vec<String>) {
        let ours = |instance: u64| self.started.contains(&instance) || heard.adopted.contains(&instance);
        match &action.kind {
            ActionKind::Start { instance, .. } => {
                if ours(instance.get()) || truth.agent.fleet().stage(instance.get()).is_some() {
                    broken.push(format!("instance {instance} is started although it exists"));
                }
                self.started.insert(instance.get());
            }
            ActionKind::SetWeights { weights } => {
                for (instance, _) in weights.iter().filter(|(instance, _)| !ours(instance.get())) {
                    broken.push(format!("unknown instance {instance} is in a route table"));
                }
            }
            ActionKind::Park { instance }
            | ActionKind::Promote { instance }
            | ActionKind::Resize { instance, .. }
            | ActionKind::Halt { instance }
            | ActionKind::Drain { instance } => {
                if !ours(instance.get()) || heard.gone.contains(&instance.get()) {
                    broken.push(format!("an order about unknown instance {instance}: {:?}", action.kind));
                }
            }
            ActionKind::Restart { instance } => {
                if !heard.halted.contains(&instance.get()) {
                    broken.push(format!("instance {instance} is restarted, but no disk of it is known"));
                }
            }
            ActionKind::Claim { instance, .. } => {
                if truth.agent.fleet().stage(instance.get()).is_some() {
                    broken.push(format!("instance {instance} is claimed although it is held already"));
                }
                self.started.insert(instance.get());
            }
            // One that is gone may be stopped again: the news may have been that of an order given up.
            ActionKind::Stop { instance } if !ours(instance.get()) => {
                broken.push(format!("unknown instance {instance} is to be stopped"));
            }
            ActionKind::Stop { .. } => {}
        }
    }

    fn check_budget(
        &mut self,
        action: &Action,
        truth: &Truth<'_>,
        policy: &WorkloadPolicy,
        broken: &mut Vec<String>,
    ) {
        let (now, faults) = (truth.now, truth.faults);
        let new = Stretch { began: now, faults, orders: 0, starts: 0 };
        let mut stretch = self.stretch.filter(|s| now.since(s.began) < STRETCH).unwrap_or(new);
        stretch.orders += 1;
        let starts = matches!(action.kind, ActionKind::Start { .. } | ActionKind::Restart { .. });
        stretch.starts += u64::from(starts);
        let (most, faults) = (u64::from(policy.replicas_max), faults - stretch.faults);
        for (what, count, allowed) in [
            ("orders", stretch.orders, ORDERS.allowed(most, faults)),
            ("starts", stretch.starts, STARTS.allowed(most, faults)),
        ] {
            self.busiest = self.busiest.max(count as f64 / allowed as f64);
            if count > allowed {
                broken.push(format!("{count} {what} within {STRETCH:?}; {allowed} are allowed"));
            }
        }
        self.stretch = Some(stretch);
    }
}

/// How many orders of a sort are allowed in a stretch of time.
struct Allowance {
    always: u64,
    /// For each instance that may exist.
    per_instance: u64,
    per_fault: u64,
}

impl Allowance {
    fn allowed(&self, instances: u64, faults: u64) -> u64 {
        self.always + self.per_instance * instances + self.per_fault * faults
    }
}

/// Orders are counted over stretches of this length.
const STRETCH: Duration = Duration::from_secs(600);
/// Some lives from start to stop of each instance, with a table for each step of a ramp.
const ORDERS: Allowance = Allowance { always: 60, per_instance: 24, per_fault: 12 };
const STARTS: Allowance = Allowance { always: 10, per_instance: 5, per_fault: 3 };
