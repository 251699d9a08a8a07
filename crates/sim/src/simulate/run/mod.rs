//! One simulation: the planner, its agent, the faults, and a clock that may lie.

mod settle;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forecast::Timestamp;
use planner::{Event, Limits, Planner, Policy, PolicyErrors, WorkloadId};

use super::checks::{Checks, Truth};
use super::log::Log;
use super::swarm::Swarm;
use super::{Failure, FailureKind, Report};
use crate::world::{Agent, Queue};

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
        let policy =
            Policy { workloads: vec![swarm.policy.clone()], limits: Limits::default(), ..Policy::default() };
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

    /// Both phases. Returns how long the fleet took to settle.
    fn play(&mut self) -> Result<Duration, FailureKind> {
        self.run_until(START + self.swarm.safety)?;
        self.end_faults();
        self.settle()
    }

    fn run_until(&mut self, until: Timestamp) -> Result<(), FailureKind> {
        loop {
            let timer = self.planner.poll_timeout().map(|(at, _)| self.true_time(at).max(self.now));
            let cue = self.cues.next_at();
            let next = [timer, cue].into_iter().flatten().min().filter(|at| *at <= until);
            if let Some((at, event)) = self.agent.next_event(next.unwrap_or(until), |_, _, _| {}) {
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

    fn planner_time(&self) -> Timestamp {
        Timestamp::from_millis(self.now.as_millis() + self.clock_error_ms)
    }

    fn true_time(&self, planner_time: Timestamp) -> Timestamp {
        Timestamp::from_millis(planner_time.as_millis() - self.clock_error_ms)
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
/// A planner that needs more inputs than this without time passing will never come to rest.
const INPUTS_PER_MOMENT_MAX: u32 = 20_000;
