//! Carries out the planner's orders on the fleet, as daemon, provider and proxy do together, and reports back.
//!
//! It knows the physical truth and the route table in force; what it tells the planner comes as [`Event`]s, sometimes late
//! or twice when [`Faults`] say so. It judges nothing: an order that makes no sense for the stage of an instance fails, as a
//! provider would refuse it. What orders do when their time has come is in `effect`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forecast::Timestamp;
use planner::{Action, ActionId, ActionKind, Event, InstanceId, Size, WorkloadId};

use super::cold::ColdStart;
use super::dice::Dice;
use super::effect::Effect;
use super::fleet::{Fleet, Stage};
use super::queue::Queue;
use crate::faults::{Fault, Faults};

/// How long things take.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// Start until ready.
    pub cold: ColdStart,
    /// Start again from a kept disk until ready.
    pub restart: Duration,
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
        Times { restart: cold.typical(), cold, promote, park: zero, table: zero, drain: zero, stop: zero }
    }
}

/// What is wrong with an instance that has said that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Every request fails; health checks pass.
    Errors,
    /// No health check passes, ever.
    Unhealthy,
    /// A promotion is never answered.
    Deaf,
}

/// The hands of the planner.
#[derive(Debug, Clone)]
pub struct Agent {
    pub(super) workload: WorkloadId,
    times: Times,
    pub(super) dice: Dice,
    rng: fastrand::Rng,
    pub(super) fleet: Fleet,
    pub(super) table: BTreeMap<u64, u32>,
    /// Tables ordered so far; an order of a later planner is later than all of an earlier one.
    tables_ordered: u64,
    /// The number of the table in force.
    pub(super) table_number: u64,
    queue: Queue<Due>,
    /// The last order about each instance: a provider drops the one before it.
    pub(super) latest: BTreeMap<u64, ActionId>,
    /// Thawed and verified, and not frozen since.
    pub(super) verified: BTreeSet<u64>,
    lies: BTreeMap<u64, Lie>,
    /// How large instances are, where somebody said so.
    pub(super) sizes: BTreeMap<u64, Size>,
    /// Instances that nobody can reach, with what would have been said of them.
    unreachable: BTreeMap<u64, Vec<Event>>,
}

/// Something that will happen to the agent.
#[derive(Debug, Clone, PartialEq)]
enum Due {
    /// An order takes effect.
    Effect(ActionId, Effect),
    /// The planner hears of something.
    Tell(Event),
}

impl Agent {
    /// An agent with no instances.
    pub fn new(workload: WorkloadId, times: Times, seed: u64) -> Agent {
        Agent {
            workload,
            times,
            dice: Dice::new(Faults::NONE, seed),
            rng: fastrand::Rng::with_seed(seed),
            fleet: Fleet::new(),
            table: BTreeMap::new(),
            tables_ordered: 0,
            table_number: 0,
            queue: Queue::new(),
            latest: BTreeMap::new(),
            verified: BTreeSet::new(),
            lies: BTreeMap::new(),
            sizes: BTreeMap::new(),
            unreachable: BTreeMap::new(),
        }
    }

    /// From now on these faults happen.
    pub fn set_faults(&mut self, faults: Faults) {
        self.dice.set_faults(faults);
    }

    /// What decides about faults.
    pub fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    /// The faults that happened.
    pub fn tally(&self) -> &crate::faults::Tally {
        self.dice.tally()
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

    /// Whether an instance was thawed and verified, and not frozen since.
    pub fn verified(&self, instance: u64) -> bool {
        self.verified.contains(&instance)
    }

    /// What is wrong with an instance that has said that it is ready.
    pub fn lie(&self, instance: u64) -> Option<Lie> {
        self.lies.get(&instance).copied().filter(|_| self.fleet.stage(instance) != Some(Stage::Starting))
    }

    /// How large an instance is, if somebody said so.
    pub fn size(&self, instance: u64) -> Option<Size> {
        self.sizes.get(&instance).copied()
    }

    /// Requests no longer fail on instances that answer health checks.
    pub fn mend_errors(&mut self) {
        self.lies.retain(|_, lie| *lie != Lie::Errors);
    }

    /// Whether somebody can reach an instance.
    pub fn reaches(&self, instance: u64) -> bool {
        !self.unreachable.contains_key(&instance)
    }

    /// Lets nobody reach an instance: orders about it are lost, and what happens to it is not told.
    pub fn cut_off(&mut self, instance: u64) {
        self.unreachable.entry(instance).or_default();
    }

    /// Lets everybody reach an instance again, and tells what happened to it meanwhile.
    pub fn reach(&mut self, now: Timestamp, instance: u64) {
        for event in self.unreachable.remove(&instance).unwrap_or_default() {
            self.tell(now, event);
        }
    }

    /// An instance that is there from the beginning, with full traffic.
    pub fn place_active(&mut self, instance: u64) {
        self.fleet.set(instance, Stage::Active);
        self.table.insert(instance, planner::FULL_WEIGHT);
        self.verified.insert(instance);
    }

    /// An instance as a test needs it.
    #[cfg(test)]
    pub(crate) fn place(&mut self, instance: u64, stage: Stage, weight: Option<u32>) {
        self.fleet.set(instance, stage);
        if let Some(weight) = weight {
            self.table.insert(instance, weight);
        }
        if stage == Stage::Active {
            self.verified.insert(instance);
        }
    }

    /// When something happens next.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.queue.next_at()
    }

    /// Takes an order.
    pub fn order(&mut self, now: Timestamp, action: Action) {
        if let Some(instance) = action.kind.instance() {
            if !matches!(action.kind, ActionKind::Resize { .. }) {
                self.latest.insert(instance.get(), action.id);
            }
            if self.unreachable.contains_key(&instance.get()) {
                return;
            }
        }
        let (after, effect) = match action.kind {
            ActionKind::Start { instance, size, .. } => {
                self.sizes.extend(size.map(|size| (instance.get(), size)));
                let took = self.times.cold.draw(&mut self.rng);
                self.begin_start(instance.get(), took)
            }
            ActionKind::Restart { instance } => self.begin_restart(instance.get()),
            ActionKind::Halt { instance } => {
                self.unless_failed(self.times.stop, Effect::Halted { instance: instance.get() })
            }
            ActionKind::Promote { instance } | ActionKind::Claim { instance, .. } => {
                let slow = self.dice.strikes(Fault::PromoteSlow);
                let took = if slow { self.times.promote * Faults::SLOW } else { self.times.promote };
                self.begin_promote(instance.get(), took)
            }
            ActionKind::Park { instance } => {
                self.unless_failed(self.times.park, Effect::Parked { instance: instance.get() })
            }
            ActionKind::Resize { instance, size } => {
                self.unless_failed(self.times.park, Effect::Resized { instance: instance.get(), size })
            }
            ActionKind::SetWeights { weights } => {
                self.tables_ordered += 1;
                let number = self.tables_ordered;
                self.unless_failed(self.times.table, Effect::Table { number, weights })
            }
            ActionKind::Drain { instance } => {
                self.unless_failed(self.times.drain, Effect::Drained { instance: instance.get() })
            }
            ActionKind::Stop { instance } => self.begin_stop(instance.get()),
        };
        if let Some(after) = after {
            self.queue.push(now + after, Due::Effect(action.id, effect));
        }
    }

    /// Refuses an order after a moment.
    pub fn refuse(&mut self, now: Timestamp, action: &Action, reason: &'static str) {
        let instance = action.kind.instance().map(InstanceId::get);
        self.queue.push(now + REFUSED_AFTER, Due::Effect(action.id, Effect::Failed { instance, reason }));
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
                    let about = effect.instance();
                    let Some(event) = self.take_effect(action, effect) else { continue };
                    match about.and_then(|instance| self.unreachable.get_mut(&instance)) {
                        Some(held) => held.push(event),
                        None => self.tell(at, event),
                    }
                }
            }
        }
        None
    }

    /// An instance dies, and the planner hears of it.
    pub fn kill(&mut self, now: Timestamp, instance: u64, reason: &str) {
        if self.remove(instance) {
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
        self.latest.clear();
        self.unreachable.values_mut().for_each(Vec::clear);
        let found: Vec<(u64, Stage)> = self.fleet.iter().collect();
        for (instance, stage) in found {
            match stage {
                Stage::Starting | Stage::Stopping => {
                    self.remove(instance);
                }
                Stage::Promoting => self.fleet.set(instance, Stage::Warm),
                Stage::Warm | Stage::Parked | Stage::Active | Stage::Draining | Stage::Halted => {}
            }
        }
    }

    /// Takes an instance away; whether it was there.
    pub(super) fn remove(&mut self, instance: u64) -> bool {
        self.table.remove(&instance);
        self.latest.remove(&instance);
        self.verified.remove(&instance);
        self.lies.remove(&instance);
        self.sizes.remove(&instance);
        self.fleet.remove(instance).is_some()
    }

    /// An instance goes to the agent of another workload, as it is.
    pub fn hand_over(&mut self, instance: u64, to: &mut Agent) {
        if let Some(stage) = self.fleet.remove(instance) {
            to.fleet.set(instance, stage);
        }
        self.table.remove(&instance);
        self.latest.remove(&instance);
        if self.verified.remove(&instance) {
            to.verified.insert(instance);
        }
        if let Some(size) = self.sizes.remove(&instance) {
            to.sizes.insert(instance, size);
        }
        if let Some(lie) = self.lies.remove(&instance) {
            to.lies.insert(instance, lie);
        }
        if let Some(events) = self.unreachable.remove(&instance) {
            to.unreachable.insert(instance, events);
        }
    }

    fn begin_restart(&mut self, instance: u64) -> (Option<Duration>, Effect) {
        if self.fleet.stage(instance) != Some(Stage::Halted) {
            let failed = Effect::Failed { instance: Some(instance), reason: "no disk was kept of it" };
            return (Some(Duration::ZERO), failed);
        }
        self.begin_start(instance, self.times.restart)
    }

    fn begin_start(&mut self, instance: u64, took: Duration) -> (Option<Duration>, Effect) {
        self.fleet.set(instance, Stage::Starting);
        if self.dice.strikes(Fault::StartFails) {
            let part = self.dice.of(Fault::StartFails).f64();
            return (Some(took.mul_f64(part)), Effect::StartFailed { instance });
        }
        if self.dice.strikes(Fault::StartHangs) {
            return (None, Effect::StartFailed { instance });
        }
        if self.dice.strikes(Fault::StartLies) {
            let kinds = [Lie::Errors, Lie::Unhealthy, Lie::Deaf];
            self.lies.insert(instance, kinds[self.dice.of(Fault::StartLies).usize(0..kinds.len())]);
        }
        (Some(took), Effect::Ready { instance, took })
    }

    fn begin_promote(&mut self, instance: u64, took: Duration) -> (Option<Duration>, Effect) {
        if self.lie(instance) == Some(Lie::Deaf) {
            return (None, Effect::Promoted { instance, took });
        }
        match self.fleet.stage(instance) {
            Some(Stage::Warm | Stage::Parked) => {
                let (after, effect) = if self.dice.strikes(Fault::OrderFails) {
                    (Some(took), injected(Some(instance)))
                } else {
                    (Some(took), Effect::Promoted { instance, took })
                };
                if matches!(effect, Effect::Promoted { .. }) {
                    self.fleet.set(instance, Stage::Promoting);
                }
                (after, effect)
            }
            Some(Stage::Promoting | Stage::Active) => (Some(took), Effect::Promoted { instance, took }),
            Some(Stage::Starting | Stage::Draining | Stage::Halted | Stage::Stopping) | None => {
                (Some(Duration::ZERO), Effect::Failed { instance: Some(instance), reason: "not a standby" })
            }
        }
    }

    fn begin_stop(&mut self, instance: u64) -> (Option<Duration>, Effect) {
        let (after, effect) = self.unless_failed(self.times.stop, Effect::Stopped { instance });
        // One that is stopped already only loses its disk.
        let runs = self.fleet.stage(instance).is_some_and(|stage| stage != Stage::Halted);
        if matches!(effect, Effect::Stopped { .. }) && runs {
            self.fleet.set(instance, Stage::Stopping);
            self.table.remove(&instance);
        }
        (after, effect)
    }

    fn unless_failed(&mut self, after: Duration, effect: Effect) -> (Option<Duration>, Effect) {
        let after = if self.dice.strikes(Fault::OrderSlow) { after * Faults::SLOW } else { after };
        let fails = self.dice.strikes(Fault::OrderFails);
        (Some(after), if fails { injected(effect.instance()) } else { effect })
    }

    fn tell(&mut self, now: Timestamp, event: Event) {
        if self.dice.strikes(Fault::EventTwice) {
            let again = now + self.lateness();
            self.queue.push(again, Due::Tell(event.clone()));
        }
        let once = now + self.lateness();
        self.queue.push(once, Due::Tell(event));
    }

    fn lateness(&mut self) -> Duration {
        if self.dice.strikes(Fault::EventLate) {
            Faults::LATE_MAX.mul_f64(self.dice.of(Fault::EventLate).f64())
        } else {
            Duration::ZERO
        }
    }
}

fn injected(instance: Option<u64>) -> Effect {
    Effect::Failed { instance, reason: "injected fault" }
}

/// A provider looks around this long before it says that it cannot.
const REFUSED_AFTER: Duration = Duration::from_millis(200);
