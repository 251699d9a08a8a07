//! One node as it is now: what is on it, and how high that may peak.

use std::collections::BTreeMap;

use super::cluster::Member;
use super::inventory::NodePolicy;
use super::outline::Sum;
use super::resources::Resources;

/// A node and its load.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) policy: NodePolicy,
    /// It is there and healthy.
    pub(crate) up: bool,
    /// Promised to the instances on it, those on their way in or out included.
    pub(crate) used: Resources,
    /// The part of it that was found here instead of being put here.
    pub(crate) adopted: Resources,
    /// The part of it that is too much, because what is here has come to need it.
    pub(crate) outgrown: Resources,
    /// Instances on it, by workload.
    pub(crate) on: BTreeMap<usize, u32>,
    sum: Option<Sum>,
}

impl Node {
    pub(crate) fn new(policy: NodePolicy) -> Node {
        let used = Resources::NONE;
        Node { policy, up: true, used, adopted: used, outgrown: used, on: BTreeMap::new(), sum: None }
    }

    /// What is left to promise.
    pub(crate) fn left(&self) -> Resources {
        if self.up && !self.policy.closed { self.policy.room().minus(self.used) } else { Resources::NONE }
    }

    pub(crate) fn take(&mut self, workload: usize, needs: Resources) {
        self.used = self.used.plus(needs);
        *self.on.entry(workload).or_default() += 1;
        self.sum = None;
    }

    /// What is on it needs another amount than before.
    pub(crate) fn rebook(&mut self, before: Resources, after: Resources) {
        self.used = self.used.minus(before).plus(after);
        self.adopted = self.adopted.at_most(self.used);
        self.outgrown = self.used.minus(self.adopted).minus(self.policy.room());
    }

    pub(crate) fn free(&mut self, workload: usize, needs: Resources) {
        self.used = self.used.minus(needs);
        self.adopted = self.adopted.at_most(self.used);
        self.outgrown = self.outgrown.at_most(self.used.minus(self.adopted).minus(self.policy.room()));
        if let Some(count) = self.on.get_mut(&workload) {
            *count -= 1;
            if *count == 0 {
                self.on.remove(&workload);
            }
        }
        self.sum = None;
    }

    /// What a sum said is no longer so.
    pub(crate) fn forget(&mut self) {
        self.sum = None;
    }

    /// The forecast of all that is on it but one workload.
    pub(crate) fn load_without(&self, members: &[Member], but: Option<usize>) -> Sum {
        let mut sum = Sum::empty();
        for (workload, count) in self.on.iter().filter(|(workload, _)| Some(**workload) != but) {
            members[*workload].add_to(&mut sum, *count);
        }
        sum
    }

    /// The forecast of all that is on it, kept until something changes.
    pub(crate) fn load(&mut self, members: &[Member]) -> &Sum {
        let sum = match self.sum.take() {
            Some(sum) => sum,
            None => self.load_without(members, None),
        };
        self.sum.insert(sum)
    }
}
