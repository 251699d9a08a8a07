//! One simulation: the planner, its agents, the faults, and a clock that may lie.

mod hosts;
mod operator;
mod service;
mod settle;
mod sittings;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use forecast::Timestamp;
use planner::{Action, ActionKind, Event, Limits, Planner, Policy, PolicyErrors, WorkloadId};

use super::checks::Truth;
use super::cut::Cut;
use super::log::Log;
use super::swarm::Swarm;
use super::{Failure, FailureKind, Report, Rule};
use crate::faults::{Fault, Tally};
use crate::world::{Dice, Nodes, Queue};
use service::Service;

/// Runs both phases of what the cut leaves of a seed. `rule`: one more that must hold. The log is written if it is `kept`.
pub(super) fn run(seed: u64, cut: &Cut, rule: Option<Rule>, kept: bool) -> Result<Report, Box<Failure>> {
    let mut swarm = Swarm::draw(seed);
    cut.apply(&mut swarm);
    let failure = |kind, log| Box::new(Failure { seed, cut: cut.clone(), kind, log });
    let mut simulation = match Simulation::new(seed, swarm, rule, kept) {
        Ok(simulation) => simulation,
        Err(errors) => return Err(failure(FailureKind::Policy(errors), Log::new(START, false))),
    };
    match simulation.play() {
        Ok(settled_after) => Ok(Report {
            seed,
            events: simulation.events,
            actions: simulation.actions,
            faults: simulation.tally(),
            busiest: simulation.services.iter().map(|s| s.checks.busiest()).fold(0.0, f64::max),
            settled_after,
            log: simulation.log,
        }),
        Err(kind) => Err(failure(kind, simulation.log)),
    }
}

/// What the simulation itself makes happen. The number is that of a workload, where there is one.
#[derive(Debug, Clone, PartialEq)]
enum Cue {
    /// A step of demand begins.
    Step(usize),
    /// The daemon reads the proxy's counters.
    Tick(usize),
    /// An instance answers again.
    Recover(usize, u64),
    /// The health of an instance changes, and then as often again.
    Flap(usize, u64, u32),
    /// A session on an instance ends.
    Leave(usize, u64),
    /// Whatever strikes all workloads at once may strike now.
    World,
    /// A node is back.
    NodeBack(usize),
}

struct Simulation {
    swarm: Swarm,
    seed: u64,
    planner: Planner,
    services: Vec<Service>,
    nodes: Nodes,
    envy: hosts::Envy,
    /// Instances that cannot be reached, by node.
    cut_off: BTreeMap<usize, Vec<u64>>,
    /// Of what strikes all workloads at once.
    dice: Dice,
    rule: Option<Rule>,
    log: Log,
    cues: Queue<Cue>,
    now: Timestamp,
    /// Planner time minus true time, in milliseconds.
    clock_error_ms: i64,
    faulty: bool,
    restarting: bool,
    instances_max: u64,
    events: u64,
    actions: u64,
    inputs_now: u32,
}

impl Simulation {
    fn new(seed: u64, swarm: Swarm, rule: Option<Rule>, kept: bool) -> Result<Simulation, PolicyErrors> {
        let service = |setup: &super::Setup| {
            Service::new(setup.clone(), swarm.faults, swarm.safety, swarm.sharing.is_some())
        };
        let services: Vec<Service> = swarm.setups.iter().map(service).collect();
        let mut planner = Planner::new(policy(&swarm), seed, START)?;
        let mut cues = Queue::new();
        for (at, service) in services.iter().enumerate() {
            service.teach(&mut planner, START);
            cues.push(START, Cue::Step(at));
            cues.push(START + service.setup.policy.tick, Cue::Tick(at));
        }
        cues.push(START + world_tick(&swarm), Cue::World);
        let mut simulation = Simulation {
            seed,
            planner,
            services,
            nodes: Nodes::new(swarm.nodes, swarm.room),
            envy: BTreeMap::new(),
            cut_off: BTreeMap::new(),
            dice: Dice::new(swarm.faults, seed ^ SEED_SALT),
            rule,
            log: Log::new(START, kept),
            cues,
            now: START,
            clock_error_ms: 0,
            faulty: true,
            restarting: false,
            instances_max: 0,
            events: 0,
            actions: 0,
            inputs_now: 0,
            swarm,
        };
        simulation.log.line(START, "swarm", &simulation.swarm);
        Ok(simulation)
    }

    /// Both phases. Returns how long the fleets took to settle.
    fn play(&mut self) -> Result<Duration, FailureKind> {
        self.run_until(START + self.swarm.safety)?;
        self.end_faults()?;
        self.settle()
    }

    fn run_until(&mut self, until: Timestamp) -> Result<(), FailureKind> {
        loop {
            let timer = self.planner.poll_timeout().map(|(at, _)| self.true_time(at).max(self.now));
            let cue = self.cues.next_at();
            let next = [timer, cue].into_iter().flatten().min().filter(|at| *at <= until);
            if let Some((at, service, event)) = self.next_event(next.unwrap_or(until)) {
                self.pass_to(at)?;
                self.deliver(service, event)?;
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
                self.check_all()?;
            }
        }
        self.pass_to(until)
    }

    /// The first event of any agent, with the workload that it is from.
    fn next_event(&mut self, until: Timestamp) -> Option<(Timestamp, usize, Event)> {
        loop {
            let next = |(at, service): (usize, &Service)| service.agent.next_at().map(|when| (when, at));
            let (when, at) =
                self.services.iter().enumerate().filter_map(next).min().filter(|(when, _)| *when <= until)?;
            if let Some((when, event)) = self.services[at].agent.next_event(when, |_, _, _| {}) {
                return Some((when, at, event));
            }
        }
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

    fn deliver(&mut self, service: usize, event: Event) -> Result<(), FailureKind> {
        self.log.line(self.now, "event", &event);
        self.events += 1;
        self.services[service].orders.note(&event);
        self.services[service].checks.see_event(&event, self.now);
        // What a backend did is only noted.
        let noted = matches!(
            event,
            Event::BackendObserved { .. } | Event::UsageObserved { .. } | Event::StrainObserved { .. }
        );
        let now = self.planner_time();
        self.planner.handle(now, event);
        let ordered = self.obey()?;
        if noted && !ordered { Ok(()) } else { self.check(service) }
    }

    /// Takes the planner's orders; whether there were any.
    fn obey(&mut self) -> Result<bool, FailureKind> {
        let mut any = false;
        while let Some(action) = self.planner.poll_action() {
            any = true;
            self.log.line(self.now, "action", &(action.id.get(), action.generation, &action.kind));
            self.actions += 1;
            self.carry_out(action)?;
            if self.faulty && !self.restarting && self.dice.strikes(Fault::RestartMidOrder) {
                self.restart()?;
            }
        }
        Ok(any)
    }

    fn carry_out(&mut self, action: Action) -> Result<(), FailureKind> {
        if let Some(instance) = action.kind.instance() {
            self.instances_max = self.instances_max.max(instance.get());
        }
        let (now, told, others) = (self.now, self.planner_time(), self.dice.tally().total());
        let claim = self.claimed(&action);
        let Some(service) = self.services.iter_mut().find(|s| s.workload == action.workload) else {
            return Ok(());
        };
        let mut checks = std::mem::take(&mut service.checks);
        checks.see_action(&action, &service.truth(now, told, others), &service.setup.policy);
        service.checks = checks;
        if let ActionKind::Start { instance, size: Some(size), .. } | ActionKind::Resize { instance, size } =
            &action.kind
        {
            service.ordered.insert(instance.get(), *size);
        }
        if let Some((from, to, instance)) = claim {
            self.hand_over(from, to, instance);
            self.services[to].agent.order(now, action);
        } else if let ActionKind::Start { instance, node, .. } = &action.kind {
            let asked = self.swarm.sharing.as_ref().zip(node.as_ref());
            let asked = asked.and_then(|(sharing, node)| sharing.number(node));
            let instance = instance.get();
            let exists = |instance| self.services.iter().any(|s| s.agent.fleet().stage(instance).is_some());
            let placed = self.nodes.place(instance, asked, exists);
            let node = node.clone();
            let Some(service) = self.services.iter_mut().find(|s| s.workload == action.workload) else {
                return Ok(());
            };
            match placed {
                Ok(()) => {
                    service.agent.order(now, action);
                    if let Some(rule) = self.check_start(instance, node.as_ref()) {
                        return Err(FailureKind::Unsafe { after: now.since(START), broken: vec![rule] });
                    }
                }
                Err(reason) => {
                    service.agent.dice().note(Fault::NodeFull);
                    service.agent.refuse(now, &action, reason);
                }
            }
        } else if let ActionKind::Restart { instance } = &action.kind {
            let instance = instance.get();
            service.agent.order(now, action);
            let node = self.node_of(instance);
            if let Some(rule) = self.check_start(instance, node.as_ref()) {
                return Err(FailureKind::Unsafe { after: now.since(START), broken: vec![rule] });
            }
        } else if let ActionKind::Resize { instance, size } = action.kind {
            service.agent.order(now, action);
            if let Some(rule) = self.check_growth(instance.get(), size) {
                return Err(FailureKind::Unsafe { after: now.since(START), broken: vec![rule] });
            }
        } else {
            service.agent.order(now, action);
        }
        Ok(())
    }

    /// Who holds an instance that is to be claimed, who is to have it, and which it is.
    fn claimed(&self, action: &Action) -> Option<(usize, usize, u64)> {
        let ActionKind::Claim { instance, from } = &action.kind else { return None };
        let at = |id: &WorkloadId| self.services.iter().position(|service| service.workload == *id);
        Some((at(from)?, at(&action.workload)?, instance.get()))
    }

    /// An instance goes to another workload, with all that is known of it.
    fn hand_over(&mut self, from: usize, to: usize, instance: u64) {
        let Ok([from, to]) = self.services.get_disjoint_mut([from, to]) else { return };
        from.agent.hand_over(instance, &mut to.agent);
        from.checks.hand_over(instance, &mut to.checks);
        if from.sick.remove(&instance) {
            to.sick.insert(instance);
        }
    }

    /// The workload that has an instance now, which may be another than before.
    fn holder(&self, before: usize, instance: u64) -> usize {
        let has = |service: &Service| service.agent.fleet().stage(instance).is_some();
        self.services.iter().position(has).unwrap_or(before)
    }

    fn check_all(&mut self) -> Result<(), FailureKind> {
        (0..self.services.len()).try_for_each(|service| self.check(service))?;
        self.check_classes()
    }

    /// Checks every rule about a workload.
    fn check(&mut self, at: usize) -> Result<(), FailureKind> {
        let (now, told, others) = (self.now, self.planner_time(), self.dice.tally().total());
        let snapshot = self.planner.snapshot();
        let Some(view) = snapshot.workloads().get(at) else { return Ok(()) };
        let mut broken: Vec<String> = match planner::lint::check(&snapshot) {
            Ok(()) => Vec::new(),
            Err(violations) => violations.iter().map(|violation| format!("linter: {violation}")).collect(),
        };
        let service = &mut self.services[at];
        let mut checks = std::mem::take(&mut service.checks);
        let truth: Truth<'_> = service.truth(now, told, others);
        broken.extend(checks.check(&truth, view));
        broken.extend(self.rule.and_then(|rule| rule(&truth)));
        service.checks = checks;
        if broken.is_empty() {
            Ok(())
        } else {
            let workload = &service.workload;
            let broken = broken.into_iter().map(|rule| format!("{workload}: {rule}")).collect();
            Err(FailureKind::Unsafe { after: now.since(START), broken })
        }
    }

    fn tally(&self) -> Tally {
        let mut tally = *self.dice.tally();
        for service in &self.services {
            tally.join(service.agent.tally());
        }
        tally
    }

    fn planner_time(&self) -> Timestamp {
        Timestamp::from_millis(self.now.as_millis() + self.clock_error_ms)
    }

    fn true_time(&self, planner_time: Timestamp) -> Timestamp {
        Timestamp::from_millis(planner_time.as_millis() - self.clock_error_ms)
    }
}

fn policy(swarm: &Swarm) -> Policy {
    let workloads = swarm.setups.iter().map(|setup| setup.policy.clone()).collect();
    let (nodes, tenants) = swarm
        .sharing
        .as_ref()
        .map(|sharing| (sharing.nodes.clone(), sharing.tenants.clone()))
        .unwrap_or_default();
    Policy { workloads, limits: Limits::default(), nodes, tenants }
}

/// How often something may strike all workloads at once.
fn world_tick(swarm: &Swarm) -> Duration {
    (swarm.safety / WORLD_TICKS).max(Duration::from_secs(1))
}

/// When every simulation begins: the beginning of a step for every step that is drawn.
pub(super) const START: Timestamp = Timestamp::from_secs(1_699_999_800);
/// Keeps the draws of the course apart from the draws of the parameters.
const SEED_SALT: u64 = 0x5EED_0F5A_17ED;
/// A planner that needs more inputs than this without time passing will never come to rest.
const INPUTS_PER_MOMENT_MAX: u32 = 20_000;
const WORLD_TICKS: u32 = 100;
