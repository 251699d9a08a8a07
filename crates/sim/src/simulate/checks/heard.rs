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
    /// Instances that it took over.
    pub(super) adopted: BTreeSet<u64>,
    /// The order that thawed an instance last: news of an earlier freeze is old.
    promoted_by: BTreeMap<u64, u64>,
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
                if self.promoted_by.get(&instance).is_none_or(|promoted_by| order > *promoted_by) {
                    self.parked.insert(instance);
                }
            }
            News::Promoted { order, instance } => {
                self.parked.remove(&instance);
                self.promoted_by.insert(instance, order);
            }
            News::Unhealthy(instance) | News::Failing(instance) => {
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

    /// Nothing that was heard speaks against the instance.
    pub(super) fn well(&self, instance: u64) -> bool {
        !self.gone.contains(&instance) && !self.unhealthy.contains(&instance)
    }
}
