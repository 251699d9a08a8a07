//! Carries out the planner's orders on the fleet, as daemon, provider and proxy do together, and reports back.
//!
//! It knows the physical truth and the route table in force; what it tells the planner comes as [`Event`]s, sometimes late
//! or twice when [`Faults`] say so. It judges nothing: an order that makes no sense for the stage of an instance fails, as a
//! provider would refuse it.

use std::collections::BTreeMap;
use std::time::Duration;

use forecast::Timestamp;
use planner::{Action, ActionId, ActionKind, Event, InstanceId, WorkloadId};

use super::cold::ColdStart;
use super::fleet::{Fleet, Stage};
use super::queue::Queue;
use crate::faults::Faults;

/// How long things take.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// Start until ready.
    pub cold: ColdStart,
    /// Thaw and verify.
    pub promote: Duration,
    /// Freeze.
    pub park: Duration,
    /// Until the router serves with a new table.
    pub table: Duration,
    /// Until the last work on a drained instance ends.
    pub drain: Duration,
    /// Stop.
    pub stop: Duration,
}

impl Times {
    /// Starts and promotions take time, everything else is done at once.
    pub fn new(cold: ColdStart, promote: Duration) -> Times {
        let zero = Duration::ZERO;
        Times { cold, promote, park: zero, table: zero, drain: zero, stop: zero }
    }
}

/// The hands of the planner.
#[derive(Debug, Clone)]
pub struct Agent {
    workload: WorkloadId,
    times: Times,
    faults: Faults,
    rng: fastrand::Rng,
    fleet: Fleet,
    table: BTreeMap<u64, u32>,
    /// Tables ordered so far; an order of a later planner is later than all of an earlier one.
    tables_ordered: u64,
    /// The number of the table in force.
    table_number: u64,
    queue: Queue<Due>,
}

/// Something that will happen to the agent.
#[derive(Debug, Clone, PartialEq)]
enum Due {
    /// An order takes effect.
    Effect(ActionId, Effect),
    /// The planner hears of something.
    Tell(Event),
}

#[derive(Debug, Clone, PartialEq)]
enum Effect {
    Ready { instance: u64, took: Duration },
    StartFailed { instance: u64 },
    Promoted { instance: u64, took: Duration },
    Parked { instance: u64 },
    Resized { instance: u64 },
    Table { number: u64, weights: Vec<(InstanceId, u32)> },
    Drained { instance: u64 },
    Stopped { instance: u64 },
    Failed { instance: Option<u64>, reason: &'static str },
}

impl Agent {
    /// An agent with no instances.
    pub fn new(workload: WorkloadId, times: Times, seed: u64) -> Agent {
        Agent {
            workload,
            times,
            faults: Faults::NONE,
            rng: fastrand::Rng::with_seed(seed),
            fleet: Fleet::new(),
            table: BTreeMap::new(),
            tables_ordered: 0,
            table_number: 0,
            queue: Queue::new(),
        }
    }

    /// From now on these faults happen.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// From now on a drained instance takes this long to end its last work.
    pub fn set_drain(&mut self, drain: Duration) {
        self.times.drain = drain;
    }

    /// The instances.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The route table in force.
    pub fn table(&self) -> &BTreeMap<u64, u32> {
        &self.table
    }

    /// An instance that is there from the beginning, with full traffic.
    pub fn place_active(&mut self, instance: u64) {
        self.fleet.set(instance, Stage::Active);
        self.table.insert(instance, planner::FULL_WEIGHT);
    }

    /// When something happens next.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.queue.next_at()
    }

    /// Takes an order.
    pub fn order(&mut self, now: Timestamp, action: Action) {
        let times = self.times.clone();
        let (after, effect) = match action.kind {
            ActionKind::Start { instance, .. } => self.begin_start(instance.get()),
            ActionKind::Promote { instance } => {
                let slow = self.chance(self.faults.promote_slow);
                let took = if slow { times.promote * Faults::SLOW } else { times.promote };
                self.begin_promote(instance.get(), took)
            }
            ActionKind::Park { instance } => {
                self.unless_failed(times.park, Effect::Parked { instance: instance.get() })
            }
            ActionKind::Resize { instance, .. } => {
                self.unless_failed(times.park, Effect::Resized { instance: instance.get() })
            }
            ActionKind::SetWeights { weights } => {
                self.tables_ordered += 1;
                self.unless_failed(times.table, Effect::Table { number: self.tables_ordered, weights })
            }
            ActionKind::Drain { instance } => {
                self.unless_failed(times.drain, Effect::Drained { instance: instance.get() })
            }
            ActionKind::Stop { instance } => self.begin_stop(instance.get(), times.stop),
        };
        if let Some(after) = after {
            self.queue.push(now + after, Due::Effect(action.id, effect));
        }
    }

    /// Tells the planner something from outside the orders, such as demand; it may come late or twice.
    pub fn report(&mut self, now: Timestamp, event: Event) {
        self.tell(now, event);
    }

    /// The next event for the planner at `until` or before, with everything that physically happens before it.
    ///
    /// `before` is called with the time of each physical change, the fleet and the route table just before it, so that the
    /// account can be kept.
    pub fn next_event(
        &mut self,
        until: Timestamp,
        mut before: impl FnMut(Timestamp, &Fleet, &BTreeMap<u64, u32>),
    ) -> Option<(Timestamp, Event)> {
        while let Some((at, due)) = self.queue.pop_until(until) {
            match due {
                Due::Tell(event) => return Some((at, event)),
                Due::Effect(action, effect) => {
                    before(at, &self.fleet, &self.table);
                    if let Some(event) = self.take_effect(action, effect) {
                        self.tell(at, event);
                    }
                }
            }
        }
        None
    }

    /// An instance dies, and the planner hears of it.
    pub fn kill(&mut self, now: Timestamp, instance: u64, reason: &str) {
        if self.fleet.remove(instance).is_some() {
            self.table.remove(&instance);
            let event = Event::InstanceExited {
                workload: self.workload.clone(),
                instance: InstanceId::new(instance),
                reason: reason.to_owned(),
            };
            self.tell(now, event);
        }
    }

    /// The control plane is gone: whatever it was told or still waited for is lost. Instances and the route table stay;
    /// starts that were under way end.
    pub fn forget_control_plane(&mut self) {
        self.queue = Queue::new();
        let lost: Vec<u64> = self
            .fleet
            .iter()
            .filter(|(_, stage)| matches!(stage, Stage::Starting | Stage::Stopping))
            .map(|(instance, _)| instance)
            .collect();
        for instance in lost {
            self.fleet.remove(instance);
        }
        let thawed: Vec<u64> = self
            .fleet
            .iter()
            .filter(|(_, stage)| *stage == Stage::Promoting)
            .map(|(instance, _)| instance)
            .collect();
        for instance in thawed {
            self.fleet.set(instance, Stage::Warm);
        }
    }

    fn begin_start(&mut self, instance: u64) -> (Option<Duration>, Effect) {
        self.fleet.set(instance, Stage::Starting);
        let took = self.times.cold.draw(&mut self.rng);
        if self.chance(self.faults.start_fails) {
            (Some(took.mul_f64(self.rng.f64())), Effect::StartFailed { instance })
        } else if self.chance(self.faults.start_hangs) {
            (None, Effect::StartFailed { instance })
        } else {
            (Some(took), Effect::Ready { instance, took })
        }
    }

    fn begin_promote(&mut self, instance: u64, took: Duration) -> (Option<Duration>, Effect) {
        match self.fleet.stage(instance) {
            Some(Stage::Warm | Stage::Parked) => {
                let (after, effect) = self.unless_failed(took, Effect::Promoted { instance, took });
                if matches!(effect, Effect::Promoted { .. }) {
                    self.fleet.set(instance, Stage::Promoting);
                }
                (after, effect)
            }
            Some(Stage::Promoting | Stage::Active) => (Some(took), Effect::Promoted { instance, took }),
            Some(Stage::Starting | Stage::Draining | Stage::Stopping) | None => {
                (Some(Duration::ZERO), Effect::Failed { instance: Some(instance), reason: "not a standby" })
            }
        }
    }

    fn begin_stop(&mut self, instance: u64, after: Duration) -> (Option<Duration>, Effect) {
        if self.chance(self.faults.action_fails) {
            return (Some(after), Effect::Failed { instance: Some(instance), reason: "stop failed" });
        }
        if self.fleet.stage(instance).is_some() {
            self.fleet.set(instance, Stage::Stopping);
            self.table.remove(&instance);
        }
        (Some(after), Effect::Stopped { instance })
    }

    fn unless_failed(&mut self, after: Duration, effect: Effect) -> (Option<Duration>, Effect) {
        if !self.chance(self.faults.action_fails) {
            return (Some(after), effect);
        }
        let instance = match &effect {
            Effect::Ready { instance, .. }
            | Effect::StartFailed { instance }
            | Effect::Promoted { instance, .. }
            | Effect::Parked { instance }
            | Effect::Resized { instance }
            | Effect::Drained { instance }
            | Effect::Stopped { instance } => Some(*instance),
            Effect::Table { .. } => None,
            Effect::Failed { instance, .. } => *instance,
        };
        (Some(after), Effect::Failed { instance, reason: "injected fault" })
    }

    /// Changes the world. Returns what the planner will be told; nothing when the instance is gone meanwhile.
    fn take_effect(&mut self, action: ActionId, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Ready { instance, took } => {
                self.move_on(instance, &[Stage::Starting], Stage::Warm)?;
                Some(Event::InstanceReady { action, instance: InstanceId::new(instance), took })
            }
            Effect::StartFailed { instance } => {
                self.fleet.stage(instance).filter(|stage| *stage == Stage::Starting)?;
                self.fleet.remove(instance);
                Some(failed(action, Some(instance), "the process ended before it was ready"))
            }
            Effect::Promoted { instance, took } => {
                let stage = self.fleet.stage(instance)?;
                if stage == Stage::Promoting {
                    self.fleet.set(instance, self.running_stage(instance));
                }
                Some(Event::InstancePromoted { action, instance: InstanceId::new(instance), took })
            }
            Effect::Parked { instance } => {
                let running = [Stage::Warm, Stage::Active, Stage::Draining, Stage::Parked];
                self.move_on(instance, &running, Stage::Parked)?;
                Some(Event::InstanceParked { action, instance: InstanceId::new(instance) })
            }
            // Here an instance serves the same whatever its size.
            Effect::Resized { instance } => {
                Some(Event::InstanceResized { action, instance: InstanceId::new(instance) })
            }
            Effect::Table { number, weights } => {
                self.apply_table(number, &weights);
                Some(Event::WeightsApplied { action, workload: self.workload.clone() })
            }
            Effect::Drained { instance } => {
                Some(Event::InstanceDrained { action, instance: InstanceId::new(instance) })
            }
            Effect::Stopped { instance } => {
                self.fleet.remove(instance);
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

    fn tell(&mut self, now: Timestamp, event: Event) {
        let late = |agent: &mut Agent| {
            if agent.chance(agent.faults.event_late) {
                Faults::LATE_MAX.mul_f64(agent.rng.f64())
            } else {
                Duration::ZERO
            }
        };
        if self.chance(self.faults.event_twice) {
            let again = now + late(self);
            self.queue.push(again, Due::Tell(event.clone()));
        }
        let once = now + late(self);
        self.queue.push(once, Due::Tell(event));
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.f64() < probability
    }
}

fn failed(action: ActionId, instance: Option<u64>, reason: &str) -> Event {
    Event::ActionFailed { action, instance: instance.map(InstanceId::new), reason: reason.to_owned() }
}
