//! The instances that physically exist, and how many are at which stage.

use std::collections::BTreeMap;

/// All instances by number, with a running count per stage.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fleet {
    instances: BTreeMap<u64, Stage>,
    counts: [u32; Stage::ALL.len()],
}

/// Where an instance physically is. This is the world's truth, not what any planner believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Being started; costs as much as an active one.
    Starting,
    /// Ready and running, without traffic.
    Warm,
    /// Ready and frozen.
    Parked,
    /// Being thawed and verified.
    Promoting,
    /// In the route table with a weight.
    Active,
    /// Finishing its last work.
    Draining,
    /// Stopped with its disk kept.
    Halted,
    /// Being stopped.
    Stopping,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Stage; 8] = [
        Stage::Starting,
        Stage::Warm,
        Stage::Parked,
        Stage::Promoting,
        Stage::Active,
        Stage::Draining,
        Stage::Halted,
        Stage::Stopping,
    ];
}

impl Fleet {
    /// No instances.
    pub fn new() -> Fleet {
        Fleet::default()
    }

    /// Adds an instance, or moves it to another stage.
    pub fn set(&mut self, instance: u64, stage: Stage) {
        if let Some(before) = self.instances.insert(instance, stage) {
            self.counts[before as usize] -= 1;
        }
        self.counts[stage as usize] += 1;
    }

    /// Takes an instance away. Returns where it was.
    pub fn remove(&mut self, instance: u64) -> Option<Stage> {
        let before = self.instances.remove(&instance)?;
        self.counts[before as usize] -= 1;
        Some(before)
    }

    /// Where an instance is; none when it does not exist.
    pub fn stage(&self, instance: u64) -> Option<Stage> {
        self.instances.get(&instance).copied()
    }

    /// How many are at a stage.
    pub fn count(&self, stage: Stage) -> u32 {
        self.counts[stage as usize]
    }

    /// How many exist.
    pub fn len(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// Whether none exists.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// Every instance in order of its number.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, Stage)> + Clone + '_ {
        self.instances.iter().map(|(instance, stage)| (*instance, *stage))
    }

    /// The youngest instance at a stage.
    pub fn youngest(&self, stage: Stage) -> Option<u64> {
        self.instances.iter().rev().find(|(_, at)| **at == stage).map(|(instance, _)| *instance)
    }

    /// The oldest instance at a stage.
    pub fn oldest(&self, stage: Stage) -> Option<u64> {
        self.instances.iter().find(|(_, at)| **at == stage).map(|(instance, _)| *instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_every_move() {
        let mut fleet = Fleet::new();
        fleet.set(1, Stage::Starting);
        fleet.set(2, Stage::Starting);
        fleet.set(1, Stage::Active);
        assert_eq!((fleet.count(Stage::Starting), fleet.count(Stage::Active), fleet.len()), (1, 1, 2));
        assert_eq!(fleet.remove(2), Some(Stage::Starting));
        assert_eq!(fleet.remove(2), None);
        assert_eq!(fleet.len(), 1);
        assert_eq!(fleet.youngest(Stage::Active), Some(1));
    }
}
