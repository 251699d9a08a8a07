//! What the planner of one workload has been told: no rule may ask more of it.

use std::collections::{BTreeMap, BTreeSet};

use forecast::Timestamp;

use super::news::News;

/// What follows from the events that were delivered to the planner in force.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    /// Instances that are gone.
    pub(super) gone: BTreeSet<u64>,
    /// Instances that are frozen.
    pub(super) parked: BTreeSet<u64>,
    /// Instances that are stopped with their disk kept.
    pub(super) halted: BTreeSet<u64>,
    /// Instances that were unhealthy at some time, or failed most of their requests.
    pub(super) unhealthy: BTreeSet<u64>,
    /// Instances of which it was last told that they are unhealthy, be it late and no longer true.
    pub(super) ill: BTreeSet<u64>,
    /// Instances that it took over.
    pub(super) adopted: BTreeSet<u64>,
    /// The last order that is known to have frozen or thawed an instance: news of an earlier one, told late or twice, is old.
    turned_by: BTreeMap<u64, u64>,
    /// The last reading of the demand was above zero.
    pub(super) demand_known: bool,
    /// An operator decides; until then, if it ends by itself.
    pub(super) pinned: Option<Option<Timestamp>>,
    /// An operator wants no capacity at all. A pin that has expired unseen only makes the checker more lenient.
    pub(super) switched_off: bool,
}

impl Heard {
    pub(super) fn see(&mut self, news: News<'_>) {
        match news {
            News::Gone { instance, .. } => {
                self.gone.insert(instance);
                self.halted.remove(&instance);
            }
            News::Halted(instance) => {
                self.parked.remove(&instance);
                self.halted.insert(instance);
            }
            News::HaltedFound(instance) => {
                self.adopted.insert(instance);
                self.halted.insert(instance);
            }
            News::Parked { order, instance } => {
                if self.is_new(instance, order) {
                    self.parked.insert(instance);
                }
            }
            News::Promoted { order, instance } => {
                if self.is_new(instance, order) {
                    self.parked.remove(&instance);
                }
            }
            News::Unhealthy(instance) => {
                self.unhealthy.insert(instance);
                self.ill.insert(instance);
            }
            News::Healthy(instance) => {
                self.ill.remove(&instance);
            }
            News::Failing(instance) => {
                self.unhealthy.insert(instance);
            }
            News::Pinned(decision) => {
                self.pinned = Some(decision.expires);
                self.switched_off = decision.active == Some(0);
            }
            News::Freed => {
                self.pinned = None;
                self.switched_off = false;
            }
            News::Adopted { instance, parked } => {
                self.adopted.insert(instance);
                if parked {
                    self.parked.insert(instance);
                }
            }
            News::Step { demand: Some(demand), .. } | News::Load(demand) => self.demand_known = demand > 0.0,
            News::Step { demand: None, .. }
            | News::Failed
            | News::Overridden
            | News::TableApplied
            | News::Ready(_)
            | News::Holds { .. } => {}
        }
    }

    /// Takes in that an order has frozen or thawed an instance; whether no later one is known to have.
    fn is_new(&mut self, instance: u64, order: u64) -> bool {
        let last = self.turned_by.entry(instance).or_default();
        let new = order > *last;
        *last = order.max(*last);
        new
    }

    /// Nothing that was heard speaks against the instance.
    pub(super) fn well(&self, instance: u64) -> bool {
        !self.gone.contains(&instance) && !self.unhealthy.contains(&instance)
    }
}
