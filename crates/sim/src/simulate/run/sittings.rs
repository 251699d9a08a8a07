//! Sessions that begin and end on the instances of a workload.

use std::collections::BTreeMap;
use std::time::Duration;

use planner::{Event, InstanceId};

use super::super::extras::Sittings;
use super::{Cue, Simulation};
use crate::world::Stage;

/// Who sits where, and the chance of more.
#[derive(Debug, Clone)]
pub(super) struct Sitting {
    what: Sittings,
    held: BTreeMap<u64, u32>,
    rng: fastrand::Rng,
}

impl Sitting {
    pub(super) fn new(what: Sittings, seed: u64) -> Sitting {
        Sitting { what, held: BTreeMap::new(), rng: fastrand::Rng::with_seed(seed ^ SITTING_SALT) }
    }

    /// How many begin on one instance within `time`, and how long each lasts.
    fn begin(&mut self, time: Duration) -> Vec<Duration> {
        let mut left = self.what.per_hour * time.as_secs_f64() / 3600.0;
        let mut lengths = Vec::new();
        loop {
            left += (1.0 - self.rng.f64()).ln();
            if left < 0.0 || lengths.len() == BEGIN_MAX {
                return lengths;
            }
            lengths.push(self.what.length.mul_f64(-(1.0 - self.rng.f64()).ln()));
        }
    }

    /// How many are on an instance.
    pub(super) fn on(&self, instance: u64) -> u32 {
        self.held.get(&instance).copied().unwrap_or(0)
    }
}

impl Simulation {
    /// Lets sessions begin on the instances with traffic.
    pub(super) fn seat(&mut self, at: usize, tick: Duration) {
        let (now, service) = (self.now, &mut self.services[at]);
        let Some(sitting) = &mut service.sitting else { return };
        let fleet = service.agent.fleet();
        // What is frozen or stops has lost them.
        sitting.held.retain(|instance, _| fleet.stage(*instance).is_some_and(holds_some));
        let routed = service.agent.table().iter().filter(|(_, weight)| **weight > 0).map(|(id, _)| *id);
        let routed: Vec<u64> = routed.filter(|id| !service.sick.contains(id)).collect();
        for instance in routed {
            let lengths = sitting.begin(tick);
            if lengths.is_empty() {
                continue;
            }
            *sitting.held.entry(instance).or_default() += lengths.len() as u32;
            for length in lengths {
                self.cues.push(now + length, Cue::Leave(at, instance));
            }
            let event = holds(&service.workload, instance, sitting);
            service.agent.report(now, event);
        }
    }

    /// One session ends.
    pub(super) fn leave(&mut self, at: usize, instance: u64) {
        let service = &mut self.services[at];
        let Some(sitting) = &mut service.sitting else { return };
        let Some(held) = sitting.held.get_mut(&instance).filter(|held| **held > 0) else { return };
        *held -= 1;
        let event = holds(&service.workload, instance, sitting);
        service.agent.report(self.now, event);
    }

    /// What a planner that was started again is told of an instance that it has adopted, at once.
    pub(super) fn held(&self, at: usize, instance: u64) -> Option<Event> {
        let service = &self.services[at];
        let sitting = service.sitting.as_ref()?;
        service.agent.fleet().stage(instance).filter(|stage| holds_some(*stage))?;
        (sitting.on(instance) > 0).then(|| holds(&service.workload, instance, sitting))
    }
}

fn holds_some(stage: Stage) -> bool {
    matches!(stage, Stage::Active | Stage::Draining | Stage::Warm)
}

fn holds(workload: &planner::WorkloadId, instance: u64, sitting: &Sitting) -> Event {
    let sessions = sitting.on(instance);
    Event::SessionsHeld { workload: workload.clone(), instance: InstanceId::new(instance), sessions }
}

/// No more begin at one time.
const BEGIN_MAX: usize = 20;
const SITTING_SALT: u64 = 0x0517_7135;
