//! Rules about traffic: none goes to what is parked, stopped, gone or was never verified; and none waits for long while
//! somebody could serve it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forecast::Timestamp;
use planner::{Action, ActionKind};

use super::Truth;
use super::heard::Heard;
use crate::world::{Lie, Stage};

#[derive(Debug, Clone, Default)]
pub(super) struct Routes {
    /// The route table ordered last.
    table: BTreeMap<u64, u32>,
    /// Since when an instance that is known to be gone is still in the table.
    gone_routed_since: BTreeMap<u64, Timestamp>,
    /// Since when demand has been known, and a healthy instance has existed, but none with traffic.
    idle_since: Option<Timestamp>,
    /// Instances ordered to stop: whatever becomes of the order, they are given up.
    given_up: BTreeSet<u64>,
}

impl Routes {
    /// A new planner finds this table in force.
    pub(super) fn restart(table: &BTreeMap<u64, u32>) -> Routes {
        Routes { table: table.clone(), ..Routes::default() }
    }

    /// An order is about to be carried out. Returns the table that it replaces, if it is one.
    pub(super) fn see_order(
        &mut self,
        action: &Action,
        truth: &Truth<'_>,
        heard: &Heard,
        broken: &mut Vec<String>,
    ) -> Option<BTreeMap<u64, u32>> {
        match &action.kind {
            ActionKind::SetWeights { weights } => {
                let table: BTreeMap<u64, u32> =
                    weights.iter().map(|(instance, weight)| (instance.get(), *weight)).collect();
                for (instance, weight) in table.iter().filter(|(_, weight)| **weight > 0) {
                    let exists = truth.agent.fleet().stage(*instance).is_some();
                    if heard.gone.contains(instance) || (exists && !truth.agent.verified(*instance)) {
                        broken.push(format!(
                            "a table is ordered with weight {weight} for instance {instance}, which is gone or not verified"
                        ));
                    }
                }
                Some(std::mem::replace(&mut self.table, table))
            }
            ActionKind::Stop { instance } | ActionKind::Park { instance } | ActionKind::Halt { instance } => {
                if matches!(action.kind, ActionKind::Stop { .. }) {
                    self.given_up.insert(instance.get());
                }
                let weight = truth.agent.table().get(&instance.get()).copied().unwrap_or(0);
                if weight > 0 && heard.well(instance.get()) {
                    broken.push(format!(
                        "instance {instance} is to be stopped or parked while traffic goes to it with weight {weight}"
                    ));
                }
                None
            }
            ActionKind::Start { .. }
            | ActionKind::Restart { .. }
            | ActionKind::Resize { .. }
            | ActionKind::Promote { .. }
            | ActionKind::Claim { .. }
            | ActionKind::Drain { .. } => None,
        }
    }

    pub(super) fn check(&mut self, truth: &Truth<'_>, heard: &Heard, broken: &mut Vec<String>) {
        self.check_tables(truth, heard, broken);
        self.check_idle(truth, heard, broken);
    }

    fn check_tables(&mut self, truth: &Truth<'_>, heard: &Heard, broken: &mut Vec<String>) {
        for (instance, weight) in self.table.iter().filter(|(_, weight)| **weight > 0) {
            if !heard.gone.contains(instance) {
                self.gone_routed_since.remove(instance);
            } else if truth.now.since(*self.gone_routed_since.entry(*instance).or_insert(truth.now))
                > ROUTE_MAX
            {
                broken.push(format!(
                    "instance {instance} is known to be gone but is routed with weight {weight}"
                ));
            }
            if heard.parked.contains(instance) {
                broken.push(format!(
                    "instance {instance} is known to be parked but is routed with weight {weight}"
                ));
            }
        }
        for (instance, weight) in truth.agent.table().iter().filter(|(_, weight)| **weight > 0) {
            if truth.agent.fleet().stage(*instance) == Some(Stage::Parked) {
                broken.push(format!(
                    "instance {instance} was parked while traffic went to it with weight {weight}"
                ));
            }
        }
    }

    fn check_idle(&mut self, truth: &Truth<'_>, heard: &Heard, broken: &mut Vec<String>) {
        let mut healthy = truth.agent.fleet().iter().filter(|(instance, _)| !truth.sick.contains(instance));
        let routed = healthy.clone().any(|(_, stage)| stage == Stage::Active);
        let usable = healthy.find(|(instance, stage)| {
            !self.given_up.contains(instance)
                && truth.agent.reaches(*instance)
                && !heard.ill.contains(instance)
                && matches!(*stage, Stage::Warm | Stage::Parked | Stage::Promoting)
                && matches!(truth.agent.lie(*instance), None | Some(Lie::Errors))
        });
        let due = usable.is_some() && heard.demand_known && truth.demand > 0.0 && !heard.switched_off;
        if routed || !due {
            self.idle_since = None;
            return;
        }
        let since = *self.idle_since.get_or_insert(truth.now);
        if truth.now.since(since) > IDLE_MAX {
            let standby = usable.map(|(instance, _)| instance).unwrap_or_default();
            broken.push(format!(
                "for {IDLE_MAX:?} there were demand and a healthy standby, now {standby}, but no capacity"
            ));
            self.idle_since = None;
        }
    }
}

/// A table that is being applied may be answered before the next one is ordered: its deadline and some more.
pub const ROUTE_MAX: Duration = Duration::from_secs(15);
/// Demand may wait this long while a healthy standby exists: some failed promotions and late news of each.
pub const IDLE_MAX: Duration = Duration::from_secs(300);
