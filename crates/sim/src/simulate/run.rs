//! One simulation: the planner, its agent, the faults, and a clock that may lie.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forecast::Timestamp;
use planner::{DecisionOverride, Event, InstanceId, Limits, Planner, Policy, PolicyErrors, Role, WorkloadId};

use super::checks::{Checks, Truth};
use super::log::Log;
use super::swarm::Swarm;
use super::{Failure, FailureKind, Report};
use crate::faults::Faults;
use crate::world::{Agent, Queue, Stage};

/// Runs both phases.
pub(super) fn run(seed: u64, swarm: Swarm) -> Result<Report, Box<Failure>> {
    let mut simulation = match Simulation::new(seed, swarm) {
        Ok(simulation) => simulation,
        Err(errors) => {
            return Err(Box::new(Failure { seed, kind: FailureKind::Policy(errors), log: Log::new(START) }));
        }
    };
    match simulation.play() {
        Ok(settled_after) => Ok(Report {
            seed,
            events: simulation.events,
            actions: simulation.actions,
            faults: simulation.faults,
            settled_after,
            log: simulation.log,
        }),
        Err(kind) => Err(Box::new(Failure { seed, kind, log: simulation.log })),
    }
}

/// What the simulation itself makes happen.
#[derive(Debug, Clone, PartialEq)]
enum Cue {
    /// A step of demand begins.
    Step,
    /// The daemon reads the proxy's counters.
    Tick,
    /// An instance answers again.
    Recover(u64),
}

struct Simulation {
    swarm: Swarm,
    seed: u64,
    workload: WorkloadId,
    planner: Planner,
    agent: Agent,
    checks: Checks,
    log: Log,
    rng: fastrand::Rng,
    cues: Queue<Cue>,
    now: Timestamp,
    /// Planner time minus true time, in milliseconds.
    clock_error_ms: i64,
    demand: f64,
    /// Demand of the current step is not seen.
    signal_missing: bool,
    step_start: Timestamp,
    /// Demand by the planner's clock, as a store would have it.
    history: BTreeMap<Timestamp, Option<f64>>,
    sick: BTreeSet<u64>,
    faulty: bool,
    instances_max: u64,
    events: u64,
    actions: u64,
    faults: u64,
    inputs_now: u32,
}

impl Simulation {
    fn new(seed: u64, swarm: Swarm) -> Result<Simulation, PolicyErrors> {
        let workload = swarm.policy.id.clone();
        let mut rng = fastrand::Rng::with_seed(seed ^ SEED_SALT);
        let mut agent = Agent::new(workload.clone(), swarm.times.clone(), rng.u64(..));
        agent.set_faults(swarm.faults);
        let step = swarm.policy.step;
        let history: BTreeMap<_, _> = (0..swarm.history_steps)
            .map(|back| {
                let ago = swarm.history_steps - back;
                (START - step * ago, Some(swarm.shape.at(step * back)))
            })
            .collect();
        let policy = Policy { workloads: vec![swarm.policy.clone()], limits: Limits::default() };
        let mut planner = Planner::new(policy, seed, START)?;
        planner.learn(&workload, &known(&history, START));
        let mut cues = Queue::new();
        cues.push(START, Cue::Step);
        cues.push(START + swarm.policy.tick, Cue::Tick);
        let mut simulation = Simulation {
            seed,
            workload,
            planner,
            agent,
            checks: Checks::default(),
            log: Log::new(START),
            rng,
            cues,
            now: START,
            clock_error_ms: 0,
            demand: 0.0,
            signal_missing: false,
            step_start: START,
            history,
            sick: BTreeSet::new(),
            faulty: true,
            instances_max: 0,
            events: 0,
            actions: 0,
            faults: 0,
            inputs_now: 0,
            swarm,
        };
        simulation.log.line(START, "swarm", &simulation.swarm);
        Ok(simulation)
    }

    fn play(&mut self) -> Result<Duration, FailureKind> {
        self.run_until(START + self.swarm.safety)?;
        self.end_faults()?;
        let (began, bound, patience) = (self.now, self.liveness_bound(), self.patience());
        let mut wanted = (self.wanted(), began);
        let mut settled: Option<Timestamp> = None;
        let mut settled_once = None;
        while self.now < began + bound {
            self.run_until(self.now + SETTLE_LOOK)?;
            if wanted.0 != self.wanted() {
                wanted = (self.wanted(), self.now);
            }
            if self.settled() {
                let since = *settled.get_or_insert(self.now);
                settled_once.get_or_insert(since);
                if self.now.since(since) >= SETTLE_HOLD {
                    return Ok(since.since(began));
                }
            } else if self.now.since(wanted.1) > patience {
                return Err(FailureKind::Unsettled { bound: patience, state: self.state() });
            } else {
                settled = None;
            }
        }
        // A forecast that still expects what the faulty time taught it may keep moving, if the fleet keeps up with it.
        settled_once
            .map(|since| since.since(began))
            .ok_or_else(|| FailureKind::Unsettled { bound, state: self.state() })
    }

    /// How long the fleet may differ from a plan that does not change: a hung start is given up and the longest pause
    /// passes before the next, twice.
    fn patience(&self) -> Duration {
        let policy = &self.swarm.policy;
        2 * (policy.deadlines.start + policy.retry.max) + policy.deadlines.drain + Duration::from_secs(300)
    }

    fn wanted(&self) -> Option<(u32, u32)> {
        let snapshot = self.planner.snapshot();
        let plan = snapshot.workloads().first()?.plan?;
        Some((plan.active_wanted, plan.standby_wanted))
    }

    /// Patience, and time for guards to end and a forecast to calm down.
    fn liveness_bound(&self) -> Duration {
        let policy = &self.swarm.policy;
        self.patience() + policy.guard + 60 * policy.step + Duration::from_secs(1800)
    }

    fn settled(&self) -> bool {
        let fleet = self.agent.fleet();
        let active = fleet.count(Stage::Active);
        let standby = fleet.count(Stage::Warm) + fleet.count(Stage::Parked);
        let enough = f64::from(active) * self.swarm.capacity >= self.demand * SERVED_SHARE
            || active + standby >= self.swarm.policy.replicas_max
            || !matches!(self.swarm.policy.capacity, planner::CapacityPolicy::Pinned(_));
        self.wanted() == Some((active, standby)) && fleet.len() == active + standby && enough
    }

    fn state(&self) -> String {
        let counts: Vec<_> = Stage::ALL.iter().map(|stage| (stage, self.agent.fleet().count(*stage))).collect();
        let snapshot = self.planner.snapshot();
        let view = snapshot.workloads().first();
        let plan = view.and_then(|view| view.plan);
        format!(
            "demand {:.1} at {:.1} per instance, wanted {:?} active and {:?} standby, there are {counts:?}; the planner knows {:?}",
            self.demand,
            self.swarm.capacity,
            plan.map(|plan| plan.active_wanted),
            plan.map(|plan| plan.standby_wanted),
            view.map(|view| view.instances),
        )
    }

    fn run_until(&mut self, until: Timestamp) -> Result<(), FailureKind> {
        loop {
            let timer = self.planner.poll_timeout().map(|(at, _)| self.true_time(at).max(self.now));
            let cue = self.cues.next_at();
            let next = [timer, cue].into_iter().flatten().min().filter(|at| *at <= until);
            if let Some((at, event)) = self.agent.next_event(next.unwrap_or(until), |_, _| {}) {
                self.pass_to(at)?;
                self.deliver(event)?;
            } else if next.is_none() {
                break;
            } else if let Some((at, cue)) = self.cues.pop_until(next.unwrap_or(until)) {
                self.pass_to(at)?;
                self.play_cue(cue)?;
            } else {
                self.pass_to(next.unwrap_or(until))?;
                let now = self.planner_time();
                self.planner.handle_timeout(now);
                self.obey()?;
            }
        }
        self.pass_to(until)
    }

    fn pass_to(&mut self, at: Timestamp) -> Result<(), FailureKind> {
        if at > self.now {
            self.now = at;
            self.inputs_now = 0;
        }
        self.inputs_now += 1;
        if self.inputs_now > INPUTS_PER_MOMENT_MAX {
            return Err(FailureKind::Restless { after: self.now.since(START) });
        }
        Ok(())
    }

    fn deliver(&mut self, event: Event) -> Result<(), FailureKind> {
        self.log.line(self.now, "event", &event);
        self.events += 1;
        self.checks.see_event(&event);
        let now = self.planner_time();
        self.planner.handle(now, event);
        self.obey()
    }

    /// Takes the planner's orders and checks every rule.
    fn obey(&mut self) -> Result<(), FailureKind> {
        while let Some(action) = self.planner.poll_action() {
            self.log.line(self.now, "action", &(action.id.get(), action.generation, &action.kind));
            self.actions += 1;
            if let Some(instance) = action.kind.instance() {
                self.instances_max = self.instances_max.max(instance.get());
            }
            self.checks.see_action(&action);
            self.agent.order(self.now, action);
        }
        let truth = Truth {
            now: self.now,
            fleet: self.agent.fleet(),
            table: self.agent.table(),
            sick: &self.sick,
            demand: self.demand,
        };
        let broken = self.checks.check(&truth, &self.planner.snapshot());
        if broken.is_empty() {
            Ok(())
        } else {
            Err(FailureKind::Unsafe { after: self.now.since(START), broken })
        }
    }

    fn play_cue(&mut self, cue: Cue) -> Result<(), FailureKind> {
        match cue {
            Cue::Step => self.begin_step(),
            Cue::Tick => self.tick(),
            Cue::Recover(instance) => self.recover(instance),
        }
    }

    /// Ends a step of demand, reports it, and begins the next.
    fn begin_step(&mut self) -> Result<(), FailureKind> {
        let step = self.swarm.policy.step;
        if self.now > START {
            let demand = (!self.signal_missing).then_some(self.demand);
            let clock = Timestamp::from_millis(self.step_start.as_millis() + self.clock_error_ms);
            let step_start = clock.align_down(step);
            self.history.insert(step_start, demand);
            let missed = demand.map_or(0.0, |demand| (demand - self.serving()).max(0.0));
            let workload = self.workload.clone();
            self.agent.report(self.now, Event::DemandObserved { workload, step_start, demand, missed });
        }
        self.step_start = self.now;
        if self.faulty || self.demand.is_nan() {
            let ago = self.swarm.history_steps;
            let noise = 1.0 + self.swarm.noise * (2.0 * self.rng.f64() - 1.0);
            self.demand = self.swarm.shape.at(step * ago + self.now.since(START)) * noise;
            self.signal_missing = self.chance(self.swarm.faults.signal_missing);
            self.faults += u64::from(self.signal_missing);
            if self.chance(self.swarm.operator) {
                self.operate();
            }
        }
        self.log.line(self.now, "demand", &self.demand);
        self.cues.push(self.now + step, Cue::Step);
        Ok(())
    }

    /// What healthy instances with traffic can serve.
    fn serving(&self) -> f64 {
        let healthy = self.agent.fleet().iter().filter(|(instance, stage)| {
            *stage == Stage::Active && !self.sick.contains(instance)
        });
        self.swarm.capacity * healthy.count() as f64
    }

    fn operate(&mut self) {
        let event = if self.rng.bool() {
            let pin = |rng: &mut fastrand::Rng| rng.bool().then(|| rng.u32(0..20));
            Event::OverrideSet {
                workload: self.workload.clone(),
                decision: DecisionOverride {
                    active: pin(&mut self.rng),
                    standby: pin(&mut self.rng),
                    author: "operator".to_owned(),
                    reason: "drill".to_owned(),
                    expires: self.rng.bool().then(|| self.planner_time() + self.swarm.policy.step * 5),
                },
            }
        } else {
            Event::OverrideCleared { workload: self.workload.clone() }
        };
        self.agent.report(self.now, event);
    }

    /// Reads counters, and lets faults happen that come at a rate.
    fn tick(&mut self) -> Result<(), FailureKind> {
        let tick = self.swarm.policy.tick;
        if !self.signal_missing {
            let event = Event::LoadObserved {
                workload: self.workload.clone(),
                demand_now: self.demand,
                in_flight: self.demand * LATENCY.as_secs_f64(),
            };
            self.agent.report(self.now, event);
            self.report_backends(tick);
        }
        self.cues.push(self.now + tick, Cue::Tick);
        if !self.faulty {
            return Ok(());
        }
        let hours = tick.as_secs_f64() / 3600.0;
        let faults = self.swarm.faults;
        self.hurt_instances(faults, hours);
        if self.chance(faults.clock_jumps_per_hour * hours) {
            let most = Faults::JUMP_MAX.as_millis() as i64;
            self.clock_error_ms += self.rng.i64(-most..=most);
            self.faults += 1;
            self.log.line(self.now, "clock", &self.clock_error_ms);
        }
        if self.chance(faults.restarts_per_hour * hours) {
            self.restart()?;
        }
        Ok(())
    }

    fn report_backends(&mut self, tick: Duration) {
        let routed: Vec<(u64, u32)> =
            self.agent.table().iter().filter(|(_, w)| **w > 0).map(|(i, w)| (*i, *w)).collect();
        let total: u32 = routed.iter().map(|(_, weight)| *weight).sum();
        for (instance, weight) in routed {
            let share = f64::from(weight) / f64::from(total.max(1));
            let requests = (self.demand * share * tick.as_secs_f64()).ceil() as u64;
            let sick = self.sick.contains(&instance);
            let spare = (1.0 - self.demand * share / self.swarm.capacity).max(SPARE_MIN);
            let latency = LATENCY.div_f64(spare);
            let event = Event::BackendObserved {
                workload: self.workload.clone(),
                instance: InstanceId::new(instance),
                requests,
                errors: if sick { requests } else { 0 },
                latency_p50: latency,
                latency_p99: latency * 3,
                in_flight: (self.demand * share * latency.as_secs_f64()) as u32,
            };
            self.agent.report(self.now, event);
        }
    }

    fn hurt_instances(&mut self, faults: Faults, hours: f64) {
        let ready: Vec<u64> = self
            .agent
            .fleet()
            .iter()
            .filter(|(_, stage)| !matches!(stage, Stage::Starting | Stage::Stopping))
            .map(|(instance, _)| instance)
            .collect();
        for instance in ready {
            if self.chance(faults.deaths_per_hour * hours) {
                self.log.line(self.now, "death", &instance);
                self.faults += 1;
                self.agent.kill(self.now, instance, "killed by a fault");
            } else if self.chance(faults.sick_per_hour * hours) && self.sick.insert(instance) {
                self.log.line(self.now, "sick", &instance);
                self.faults += 1;
                self.report_health(instance);
                let spell = Faults::SICK_MAX.mul_f64(self.rng.f64());
                self.cues.push(self.now + spell, Cue::Recover(instance));
            }
        }
    }

    fn recover(&mut self, instance: u64) -> Result<(), FailureKind> {
        if self.sick.remove(&instance) && self.agent.fleet().stage(instance).is_some() {
            self.report_health(instance);
        }
        Ok(())
    }

    fn report_health(&mut self, instance: u64) {
        let workload = self.workload.clone();
        let event = if self.sick.contains(&instance) {
            let reason = "does not answer".to_owned();
            Event::InstanceUnhealthy { workload, instance: InstanceId::new(instance), reason }
        } else {
            Event::InstanceHealthy { workload, instance: InstanceId::new(instance) }
        };
        self.agent.report(self.now, event);
    }

    /// The control plane dies and comes back: a new planner learns from history and adopts what it finds.
    fn restart(&mut self) -> Result<(), FailureKind> {
        self.log.line(self.now, "restart", &self.instances_max);
        self.faults += 1;
        self.agent.forget_control_plane();
        self.checks.restart(self.agent.table());
        let now = self.planner_time();
        let policy = Policy { workloads: vec![self.swarm.policy.clone()], limits: Limits::default() };
        self.planner = Planner::new(policy, self.seed, now)
            .map_err(FailureKind::Policy)?
            .with_first_instance(self.instances_max + 1);
        self.planner.learn(&self.workload, &known(&self.history, now));
        let found: Vec<_> = self.agent.fleet().iter().collect();
        for (instance, stage) in found {
            let routed = self.agent.table().get(&instance).is_some_and(|weight| *weight > 0);
            let event = Event::InstanceAdopted {
                workload: self.workload.clone(),
                instance: InstanceId::new(instance),
                role: if routed { Role::Active } else { Role::Standby },
                parked: stage == Stage::Parked,
            };
            self.deliver(event)?;
        }
        for instance in self.sick.clone() {
            if self.agent.fleet().stage(instance).is_some() {
                self.report_health(instance);
            }
        }
        Ok(())
    }

    /// Nothing goes wrong any more, and the demand stays as it is.
    fn end_faults(&mut self) -> Result<(), FailureKind> {
        self.log.line(self.now, "faults end", &self.demand);
        self.faulty = false;
        self.signal_missing = false;
        self.agent.set_faults(Faults::NONE);
        for instance in std::mem::take(&mut self.sick) {
            if self.agent.fleet().stage(instance).is_some() {
                self.report_health(instance);
            }
        }
        self.agent.report(self.now, Event::OverrideCleared { workload: self.workload.clone() });
        Ok(())
    }

    fn planner_time(&self) -> Timestamp {
        Timestamp::from_millis(self.now.as_millis() + self.clock_error_ms)
    }

    fn true_time(&self, planner_time: Timestamp) -> Timestamp {
        Timestamp::from_millis(planner_time.as_millis() - self.clock_error_ms)
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.f64() < probability
    }
}

/// What a store knows at `now`.
fn known(history: &BTreeMap<Timestamp, Option<f64>>, now: Timestamp) -> Vec<(Timestamp, Option<f64>)> {
    history.range(..now).map(|(at, value)| (*at, *value)).collect()
}

/// When every simulation begins: the beginning of a step for every step that is drawn.
const START: Timestamp = Timestamp::from_secs(1_699_999_800);
/// Keeps the draws of the course apart from the draws of the parameters.
const SEED_SALT: u64 = 0x5EED_0F5A_17ED;
/// What a request takes on an idle instance; it grows as the spare share of the capacity shrinks.
const LATENCY: Duration = Duration::from_millis(20);
const SPARE_MIN: f64 = 0.05;
/// How often the fleet is looked at while it settles, and for how long it must stay settled.
const SETTLE_LOOK: Duration = Duration::from_secs(10);
const SETTLE_HOLD: Duration = Duration::from_secs(200);
/// A settled fleet serves at least this share of the demand; budgets allow a miss, not a habit.
const SERVED_SHARE: f64 = 0.9;
/// A planner that needs more inputs than this without time passing will never come to rest.
const INPUTS_PER_MOMENT_MAX: u32 = 20_000;
