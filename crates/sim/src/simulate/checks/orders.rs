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
    /// Orders of the present stretch of time, when it began, and the faults that had happened then.
    stretch: Option<(Timestamp, u64, u64)>,
    /// The most orders of a stretch as a share of what is allowed.
    pub(super) busiest: f64,
}

impl Orders {
    pub(super) fn restart(&self) -> Orders {
        Orders { stretch: self.stretch, busiest: self.busiest, ..Orders::default() }
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
        self.check_budget(truth, policy, broken);
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
            | ActionKind::Drain { instance } => {
                if !ours(instance.get()) || heard.gone.contains(&instance.get()) {
                    broken.push(format!("an order about unknown instance {instance}: {:?}", action.kind));
                }
            }
            // One that is gone may be stopped again: the news may have been that of an order given up.
            ActionKind::Stop { instance } if !ours(instance.get()) => {
                broken.push(format!("unknown instance {instance} is to be stopped"));
            }
            ActionKind::Stop { .. } => {}
        }
    }

    fn check_budget(&mut self, truth: &Truth<'_>, policy: &WorkloadPolicy, broken: &mut Vec<String>) {
        let (began, orders, faults) = match self.stretch {
            Some(stretch) if truth.now.since(stretch.0) < STRETCH => stretch,
            Some(_) | None => (truth.now, 0, truth.faults),
        };
        self.stretch = Some((began, orders + 1, faults));
        let allowed = ORDERS_FREE
            + ORDERS_PER_INSTANCE * u64::from(policy.replicas_max)
            + ORDERS_PER_FAULT * (truth.faults - faults);
        self.busiest = self.busiest.max((orders + 1) as f64 / allowed as f64);
        if orders + 1 > allowed {
            broken.push(format!("{} orders within {STRETCH:?}; {allowed} are allowed", orders + 1));
        }
    }
}

/// Orders are counted over stretches of this length.
const STRETCH: Duration = Duration::from_secs(600);
/// Of which this many are always allowed,
const ORDERS_FREE: u64 = 100;
/// and this many for each instance that may exist: some lives from start to stop, with a table for each step of a ramp,
const ORDERS_PER_INSTANCE: u64 = 40;
/// and this many for each fault.
const ORDERS_PER_FAULT: u64 = 20;
