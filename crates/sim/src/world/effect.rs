//! What orders do to the world when their time has come, and what is said of it.

use planner::{ActionId, Event, InstanceId, Size};

use super::agent::Agent;
use super::fleet::Stage;

/// The outcome of an order, decided when it was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    Ready { instance: u64, took: std::time::Duration },
    StartFailed { instance: u64 },
    Promoted { instance: u64, took: std::time::Duration },
    Parked { instance: u64 },
    Resized { instance: u64, size: Size },
    Table { number: u64, weights: Vec<(InstanceId, u32)> },
    Drained { instance: u64 },
    Halted { instance: u64 },
    Stopped { instance: u64 },
    Failed { instance: Option<u64>, reason: &'static str },
}

impl Effect {
    /// The instance that it is about; none for a route table.
    pub(super) fn instance(&self) -> Option<u64> {
        match self {
            Effect::Ready { instance, .. }
            | Effect::StartFailed { instance }
            | Effect::Promoted { instance, .. }
            | Effect::Parked { instance }
            | Effect::Resized { instance, .. }
            | Effect::Drained { instance }
            | Effect::Halted { instance }
            | Effect::Stopped { instance } => Some(*instance),
            Effect::Table { .. } => None,
            Effect::Failed { instance, .. } => *instance,
        }
    }
}

impl Agent {
    /// Changes the world. Returns what the planner will be told; nothing when the instance is gone meanwhile.
    pub(super) fn take_effect(&mut self, action: ActionId, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Ready { instance, took } => {
                self.move_on(instance, &[Stage::Starting], Stage::Warm)?;
                Some(Event::InstanceReady { action, instance: InstanceId::new(instance), took })
            }
            Effect::StartFailed { instance } => {
                self.fleet.stage(instance).filter(|stage| *stage == Stage::Starting)?;
                self.remove(instance);
                Some(failed(action, Some(instance), "the process ended before it was ready"))
            }
            Effect::Promoted { instance, took } => {
                let stage = self.fleet.stage(instance)?;
                if stage == Stage::Promoting {
                    self.verified.insert(instance);
                    self.fleet.set(instance, self.running_stage(instance));
                }
                Some(Event::InstancePromoted { action, instance: InstanceId::new(instance), took })
            }
            Effect::Parked { instance } => {
                // A provider that was told something else since gives the freezing up.
                self.latest.get(&instance).filter(|latest| **latest == action)?;
                let running = [Stage::Warm, Stage::Active, Stage::Draining, Stage::Parked];
                self.move_on(instance, &running, Stage::Parked)?;
                self.verified.remove(&instance);
                Some(Event::InstanceParked { action, instance: InstanceId::new(instance) })
            }
            Effect::Resized { instance, size } => {
                self.fleet.stage(instance)?;
                self.sizes.insert(instance, size);
                Some(Event::InstanceResized { action, instance: InstanceId::new(instance) })
            }
            Effect::Table { number, weights } => {
                self.apply_table(number, &weights);
                Some(Event::WeightsApplied { action, workload: self.workload.clone() })
            }
            Effect::Drained { instance } => {
                Some(Event::InstanceDrained { action, instance: InstanceId::new(instance) })
            }
            Effect::Halted { instance } => {
                self.latest.get(&instance).filter(|latest| **latest == action)?;
                let running = [Stage::Warm, Stage::Active, Stage::Draining, Stage::Parked];
                self.move_on(instance, &running, Stage::Halted)?;
                self.verified.remove(&instance);
                self.table.remove(&instance);
                Some(Event::InstanceHalted { action, instance: InstanceId::new(instance) })
            }
            Effect::Stopped { instance } => {
                self.remove(instance);
                Some(Event::InstanceStopped { action, instance: InstanceId::new(instance) })
            }
            Effect::Failed { instance, reason } => Some(failed(action, instance, reason)),
        }
    }

    fn move_on(&mut self, instance: u64, from: &[Stage], to: Stage) -> Option<()> {
        let stage = self.fleet.stage(instance)?;
        from.contains(&stage).then(|| self.fleet.set(instance, to))
    }

    fn apply_table(&mut self, number: u64, weights: &[(InstanceId, u32)]) {
        // An older table that was overtaken is refused, as the proxy does.
        if number < self.table_number {
            return;
        }
        self.table_number = number;
        self.table = weights.iter().map(|(instance, weight)| (instance.get(), *weight)).collect();
        let running: Vec<u64> = self
            .fleet
            .iter()
            .filter(|(_, stage)| matches!(stage, Stage::Warm | Stage::Active | Stage::Draining))
            .map(|(instance, _)| instance)
            .collect();
        for instance in running {
            self.fleet.set(instance, self.running_stage(instance));
        }
    }

    /// What the route table makes of an instance that runs.
    fn running_stage(&self, instance: u64) -> Stage {
        match self.table.get(&instance) {
            None => Stage::Warm,
            Some(0) => Stage::Draining,
            Some(_) => Stage::Active,
        }
    }
}

fn failed(action: ActionId, instance: Option<u64>, reason: &str) -> Event {
    Event::ActionFailed { action, instance: instance.map(InstanceId::new), reason: reason.to_owned() }
}
