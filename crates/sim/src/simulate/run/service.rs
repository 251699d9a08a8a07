//! One workload in the world: its demand, its instances, its rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forecast::{Timestamp, calendar};
use planner::{Event, InstanceId, Planner, Resources, Size, WorkloadId};

use super::super::calendar::{Calendar, Within};
use super::super::checks::{Checks, Truth};
use super::super::setup::Setup;
use super::super::shape::Shape;
use super::START;
use super::operator::Orders;
use super::sittings::Sitting;
use crate::faults::{Fault, Faults};
use crate::world::{Agent, Lie, Stage};

pub(super) struct Service {
    pub(super) setup: Setup,
    pub(super) workload: WorkloadId,
    pub(super) agent: Agent,
    pub(super) checks: Checks,
    /// What an operator said.
    pub(super) orders: Orders,
    pub(super) demand: f64,
    pub(super) step_missing: bool,
    pub(super) step_silent: bool,
    pub(super) readings_missing: bool,
    pub(super) step_start: Timestamp,
    /// Demand by the planner's clock, as a store would have it.
    pub(super) history: BTreeMap<Timestamp, Option<f64>>,
    /// Instances that do not answer.
    pub(super) sick: BTreeSet<u64>,
    /// Instances up to this one run an earlier version.
    pub(super) outdated_to: u64,
    /// Instances were killed for lack of memory: what they then need, they need on whatever node they are.
    starved: bool,
    /// The sizes that the planner has ordered since it began.
    pub(super) ordered: BTreeMap<u64, Size>,
    /// Events that are announced and never come.
    announced: Vec<calendar::Event>,
    /// From when on the demand is so many times what its shape says.
    shift: Option<(Timestamp, f64)>,
    steady: bool,
    scarce: bool,
    noise: fastrand::Rng,
    /// Set where it has sessions.
    pub(super) sitting: Option<Sitting>,
}

impl Service {
    pub(super) fn new(setup: Setup, faults: Faults, safety: Duration, scarce: bool) -> Service {
        let workload = setup.policy.id.clone();
        let mut agent = Agent::new(workload.clone(), setup.times.clone(), setup.seed);
        agent.set_faults(faults);
        let dice = agent.dice();
        let wrong = setup.history_steps > 0 && dice.strikes(Fault::WrongHistory);
        let announced = if dice.strikes(Fault::FalseEvents) {
            false_events(dice.of(Fault::FalseEvents), setup.policy.step, safety)
        } else {
            Vec::new()
        };
        let shift = dice.strikes(Fault::DemandShift).then(|| {
            let rng = dice.of(Fault::DemandShift);
            let factor = if rng.bool() { Faults::SHIFT } else { 1.0 / Faults::SHIFT };
            (START + safety.mul_f64(rng.f64()), factor)
        });
        let (shape, step) = (if wrong { setup.history } else { setup.shape }, setup.policy.step);
        let history = (0..setup.history_steps)
            .map(|n| (START - step * (setup.history_steps - n), Some(shape.at(step * n))))
            .collect();
        let steady = matches!(setup.shape, Shape::Flat { .. })
            && !scarce
            && !wrong
            && setup.calendar.is_none()
            && announced.is_empty()
            && shift.is_none()
            && faults.rate(Fault::StartLies) == 0.0;
        Service {
            workload,
            agent,
            checks: Checks::default(),
            orders: Orders::default(),
            demand: 0.0,
            step_missing: false,
            step_silent: false,
            readings_missing: false,
            step_start: START,
            history,
            sick: BTreeSet::new(),
            outdated_to: 0,
            starved: false,
            ordered: BTreeMap::new(),
            announced,
            shift,
            steady,
            scarce,
            noise: fastrand::Rng::with_seed(setup.seed ^ NOISE_SALT),
            sitting: setup.sittings.map(|sittings| Sitting::new(sittings, setup.seed)),
            setup,
        }
    }

    /// Tells a new planner what a daemon would tell it before it starts.
    pub(super) fn teach(&self, planner: &mut Planner, now: Timestamp) {
        if !self.announced.is_empty() {
            planner.announce(&self.workload, &self.announced);
        }
        let most = self.setup.retained_steps.max(self.setup.history_steps as usize);
        let mut known: Vec<_> =
            self.history.range(..now).rev().take(most).map(|(at, value)| (*at, *value)).collect();
        known.reverse();
        planner.learn(&self.workload, &known);
    }

    pub(super) fn truth(&self, now: Timestamp, told: Timestamp, others: u64) -> Truth<'_> {
        Truth {
            now,
            told,
            agent: &self.agent,
            sick: &self.sick,
            demand: self.demand,
            faults: self.agent.tally().total() + others,
            steady: self.steady,
            scarce: self.scarce,
            within: self.setup.calendar.as_ref().map(|calendar| self.within(calendar, told)),
        }
    }

    /// What the calendar says at a time. More may exist as early as it would have to be started to be there in time.
    fn within(&self, calendar: &Calendar, told: Timestamp) -> Within {
        let policy = &self.setup.policy;
        let most = calendar.most_within(told, policy.start_deadline() + policy.tick);
        Within { most, ..calendar.at(told) }
    }

    /// The demand at a moment.
    pub(super) fn draw_demand(&mut self, now: Timestamp) {
        let before = self.setup.policy.step * self.setup.history_steps;
        let noise = 1.0 + self.setup.noise * (2.0 * self.noise.f64() - 1.0);
        let shift = self.shift.filter(|(from, _)| *from <= now).map_or(1.0, |(_, factor)| factor);
        self.demand = self.setup.shape.at(before + now.since(START)) * noise * shift;
    }

    /// What instances with traffic can serve.
    pub(super) fn serving(&self, now: Timestamp) -> f64 {
        let truth = self.truth(now, now, 0);
        let serving = self.agent.fleet().iter().filter(|(instance, _)| truth.serves(*instance));
        serving.map(|(instance, _)| self.capacity_of(instance)).sum()
    }

    /// What an instance needs of its node, as far as the planner can know, if it is to have the size `next`: processor time
    /// beyond that is only lent. Of the size that was ordered and the one that it has, whichever order is still on its way,
    /// the smaller one is sure.
    pub(super) fn needs_of(&self, instance: u64, next: Option<Size>) -> Resources {
        let policy = &self.setup.policy;
        let ordered = self.ordered.get(&instance).zip(self.agent.size(instance));
        let sure = ordered.map(|(ordered, has)| ordered.memory_bytes.min(has.memory_bytes));
        let memory = next.map(|size| size.memory_bytes).or(sure);
        let memory = memory.filter(|_| policy.sizing.is_some() && !self.starved).unwrap_or(0);
        policy.needs.at_least(Resources { millicores: 0, memory })
    }

    /// What an instance can serve.
    pub(super) fn capacity_of(&self, instance: u64) -> f64 {
        let capacity = self.setup.capacity;
        if let Some(profiles) = self.setup.policy.profiles {
            let cores = self.agent.size(instance).map_or(profiles.active.cpu_cores, |size| size.cpu_cores);
            return capacity * cores / profiles.active.cpu_cores;
        }
        self.setup.uses.map_or(capacity, |uses| uses.capacity(self.agent.size(instance), capacity))
    }

    /// What the instances use. One that needs more memory than it has is killed.
    pub(super) fn report_use(&mut self, now: Timestamp) {
        let Some(uses) = self.setup.uses else { return };
        let routed: Vec<(u64, u32)> =
            self.agent.table().iter().filter(|(_, w)| **w > 0).map(|(i, w)| (*i, *w)).collect();
        let total: u32 = routed.iter().map(|(_, weight)| *weight).sum();
        for (instance, weight) in routed {
            let share = self.demand * f64::from(weight) / f64::from(total.max(1));
            let load = share / self.capacity_of(instance);
            let size = self.agent.size(instance).unwrap_or(uses.initial);
            let (wanted, memory) = (share * uses.cores, uses.memory(load));
            let (workload, id) = (self.workload.clone(), InstanceId::new(instance));
            if memory > size.memory_bytes {
                self.agent.report(now, Event::OutOfMemory { workload, instance: id });
                self.agent.dice().note(Fault::OutOfMemory);
                self.starved = true;
                self.agent.kill(now, instance, "needed more memory than it may use");
                continue;
            }
            let throttled = (1.0 - size.cpu_cores / wanted.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
            let event = Event::UsageObserved {
                workload,
                instance: id,
                cpu_cores: wanted.min(size.cpu_cores),
                memory_bytes: memory,
                throttled: Some(throttled),
            };
            self.agent.report(now, event);
            let (workload, memory_bytes) = (self.workload.clone(), Some(memory));
            let throttled = Some(throttled);
            self.agent.report(now, Event::StrainObserved { workload, instance: id, memory_bytes, throttled });
        }
    }

    /// What the proxy counted on each backend since the last reading.
    pub(super) fn report_backends(&mut self, now: Timestamp) {
        let tick = self.setup.policy.tick.as_secs_f64();
        let routed: Vec<(u64, u32)> =
            self.agent.table().iter().filter(|(_, w)| **w > 0).map(|(i, w)| (*i, *w)).collect();
        let total: u32 = routed.iter().map(|(_, weight)| *weight).sum();
        for (instance, weight) in routed {
            let share = self.demand * f64::from(weight) / f64::from(total.max(1));
            let requests = (share * tick).ceil() as u64;
            let fails = self.sick.contains(&instance) || self.agent.lie(instance) == Some(Lie::Errors);
            let spare = (1.0 - share / self.capacity_of(instance)).max(SPARE_MIN);
            let latency = LATENCY.div_f64(spare);
            let event = Event::BackendObserved {
                workload: self.workload.clone(),
                instance: InstanceId::new(instance),
                requests,
                errors: if fails { requests } else { 0 },
                latency_p50: latency,
                latency_p99: latency * 3,
                latencies: Vec::new(),
                in_flight: (share * latency.as_secs_f64()) as u32,
            };
            self.agent.report(now, event);
        }
    }

    /// Health checks say how an instance is.
    pub(super) fn report_health(&mut self, now: Timestamp, instance: u64) {
        if matches!(self.agent.fleet().stage(instance), None | Some(Stage::Halted)) {
            return;
        }
        let (workload, id) = (self.workload.clone(), InstanceId::new(instance));
        let unhealthy = self.sick.contains(&instance) || self.agent.lie(instance) == Some(Lie::Unhealthy);
        let event = if unhealthy {
            Event::InstanceUnhealthy { workload, instance: id, reason: "does not answer".to_owned() }
        } else {
            Event::InstanceHealthy { workload, instance: id }
        };
        self.agent.report(now, event);
    }

    /// Health checks go on failing where an instance never was what it said.
    pub(super) fn report_liars(&mut self, now: Timestamp) {
        let liars: Vec<u64> = self
            .agent
            .fleet()
            .iter()
            .map(|(instance, _)| instance)
            .filter(|instance| self.agent.lie(*instance) == Some(Lie::Unhealthy))
            .collect();
        for instance in liars {
            self.report_health(now, instance);
        }
    }

    /// Instances that are neither being started nor being stopped.
    pub(super) fn ready(&self) -> Vec<u64> {
        let fleet = self.agent.fleet().iter();
        fleet
            .filter(|(_, stage)| !matches!(stage, Stage::Starting | Stage::Halted | Stage::Stopping))
            .map(|(instance, _)| instance)
            .collect()
    }
}

/// Some in the past, of which demand shows nothing, and some to come, larger than any before.
fn false_events(rng: &mut fastrand::Rng, step: Duration, safety: Duration) -> Vec<calendar::Event> {
    (0..rng.u32(1..6))
        .map(|_| {
            let start = START - step * 50 + (step * 50 + safety).mul_f64(rng.f64());
            calendar::Event {
                start,
                end: start + step * rng.u32(1..30),
                name: "sale".to_owned(),
                kind: "sale".to_owned(),
                magnitude: 1.0 + 50.0 * rng.f64(),
            }
        })
        .collect()
}

/// What a request takes on an idle instance; it grows as the spare share of the capacity shrinks.
pub(super) const LATENCY: Duration = Duration::from_millis(20);
const SPARE_MIN: f64 = 0.05;
/// Keeps the noise apart from what the agent draws.
const NOISE_SALT: u64 = 0x0001_5EED;
