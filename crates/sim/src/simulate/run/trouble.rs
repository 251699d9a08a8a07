//! What happens to the planner from outside: demand, readings, and everything that goes wrong.

use std::time::Duration;

use forecast::Timestamp;
use planner::{Event, InstanceId, Planner, Role};

use super::super::FailureKind;
use super::service::LATENCY;
use super::{Cue, START, Simulation, policy, world_tick};
use crate::faults::{Fault, Faults};
use crate::world::{Away, Stage};

impl Simulation {
    /// Lets a cue happen.
    pub(super) fn play_cue(&mut self, cue: Cue) -> Result<(), FailureKind> {
        match cue {
            Cue::Step(service) => self.begin_step(service),
            Cue::Tick(service) => self.tick(service),
            Cue::Recover(service, instance) => {
                let service = self.holder(service, instance);
                if self.services[service].sick.remove(&instance) {
                    self.services[service].report_health(self.now, instance);
                }
            }
            Cue::Flap(service, instance, left) => self.flap(self.holder(service, instance), instance, left),
            Cue::Leave(service, instance) => self.leave(self.holder(service, instance), instance),
            Cue::World => return self.strike_all(),
            Cue::NodeBack(node) => return self.bring_back(node),
        }
        Ok(())
    }

    /// Ends a step of demand, reports it, and begins the next.
    fn begin_step(&mut self, at: usize) {
        let now = self.now;
        if now > START {
            self.report_step(at);
        }
        let service = &mut self.services[at];
        service.step_start = now;
        if self.faulty {
            service.draw_demand(now);
            let dice = service.agent.dice();
            service.step_missing = dice.strikes(Fault::StepMissing);
            service.step_silent = dice.strikes(Fault::StepSilent);
            service.readings_missing = dice.strikes(Fault::ReadingMissing);
            self.operate(at);
        }
        let service = &self.services[at];
        self.log.line(now, "demand", &(at + 1, service.demand));
        self.cues.push(now + service.setup.policy.step, Cue::Step(at));
    }

    fn report_step(&mut self, at: usize) {
        let (now, clock_error) = (self.now, self.clock_error_ms);
        let service = &mut self.services[at];
        let step = service.setup.policy.step;
        let demand = (!service.step_missing).then_some(service.demand);
        let step_start =
            Timestamp::from_millis(service.step_start.as_millis() + clock_error).align_down(step);
        if service.step_silent {
            return;
        }
        service.history.insert(step_start, demand);
        let missed = demand.map_or(0.0, |demand| (demand - service.serving(now)).max(0.0));
        let workload = service.workload.clone();
        let dice = service.agent.dice();
        let late = if dice.strikes(Fault::SampleLate) {
            (step * Faults::SAMPLE_LATE_STEPS).mul_f64(dice.of(Fault::SampleLate).f64())
        } else {
            Duration::ZERO
        };
        service.agent.report(now + late, Event::DemandObserved { workload, step_start, demand, missed });
    }

    /// Reads counters, and lets faults of single instances happen.
    fn tick(&mut self, at: usize) {
        let now = self.now;
        let service = &mut self.services[at];
        let tick = service.setup.policy.tick;
        if !service.readings_missing {
            let event = Event::LoadObserved {
                workload: service.workload.clone(),
                demand_now: service.demand,
                in_flight: service.demand * LATENCY.as_secs_f64(),
            };
            service.agent.report(now, event);
            service.report_backends(now);
            service.report_use(now);
        }
        service.report_liars(now);
        self.cues.push(now + tick, Cue::Tick(at));
        if self.faulty {
            self.seat(at, tick);
            self.hurt_instances(at, tick);
            self.meddle(at);
        }
    }

    fn hurt_instances(&mut self, at: usize, tick: Duration) {
        let now = self.now;
        for instance in self.services[at].ready() {
            let service = &mut self.services[at];
            let dice = service.agent.dice();
            if dice.strikes_within(Fault::Death, tick) {
                self.log.line(now, "death", &instance);
                service.agent.kill(now, instance, "killed by a fault");
            } else if dice.strikes_within(Fault::Sick, tick) {
                let spell = Faults::SICK_MAX.mul_f64(dice.of(Fault::Sick).f64());
                if service.sick.insert(instance) {
                    self.log.line(now, "sick", &instance);
                    service.report_health(now, instance);
                    self.cues.push(now + spell, Cue::Recover(at, instance));
                }
            } else if dice.strikes_within(Fault::Flapping, tick) {
                let times = dice.of(Fault::Flapping).u32(2..FLAPS_MAX);
                self.log.line(now, "flapping", &(instance, times));
                self.cues.push(now, Cue::Flap(at, instance, times));
            }
        }
    }

    fn flap(&mut self, at: usize, instance: u64, left: u32) {
        let service = &mut self.services[at];
        if left == 0 || !self.faulty {
            service.sick.remove(&instance);
        } else {
            if !service.sick.remove(&instance) {
                service.sick.insert(instance);
            }
            let pause = FLAP_PAUSE_MAX.mul_f64(service.agent.dice().of(Fault::Flapping).f64());
            self.cues.push(self.now + pause, Cue::Flap(at, instance, left - 1));
        }
        service.report_health(self.now, instance);
    }

    /// Lets faults happen that concern every workload.
    fn strike_all(&mut self) -> Result<(), FailureKind> {
        if !self.faulty {
            return Ok(());
        }
        let tick = world_tick(&self.swarm);
        self.cues.push(self.now + tick, Cue::World);
        if self.dice.strikes_within(Fault::ClockJump, tick) {
            let rng = self.dice.of(Fault::ClockJump);
            // As many small ones as large ones.
            let size = Faults::JUMP_MAX.as_millis() as f64 * 10f64.powf(-4.0 * rng.f64());
            self.clock_error_ms += if rng.bool() { size as i64 } else { -(size as i64) };
            self.log.line(self.now, "clock", &self.clock_error_ms);
            self.services.iter_mut().for_each(|service| service.checks.clock_jumped(self.now));
        }
        if !self.nodes.is_empty() {
            if self.dice.strikes_within(Fault::NodeLoss, tick) {
                self.take_away(Fault::NodeLoss, Away::Lost)?;
            }
            if self.dice.strikes_within(Fault::NodeCut, tick) {
                self.take_away(Fault::NodeCut, Away::Cut)?;
            }
        }
        if self.dice.strikes_within(Fault::Restart, tick) {
            self.restart()?;
        }
        if self.dice.strikes_within(Fault::NewVersion, tick) {
            // Of all: they may start the same thing, and pass it on to each other.
            self.services.iter_mut().for_each(|service| service.outdated_to = self.instances_max);
            self.restart()?;
        }
        Ok(())
    }

    /// A node is lost or cut off.
    fn take_away(&mut self, fault: Fault, why: Away) -> Result<(), FailureKind> {
        let node = self.dice.of(fault).usize(0..self.nodes.len());
        if self.nodes.away(node).is_some() {
            return Ok(());
        }
        self.log.line(self.now, "node away", &(node, why));
        self.nodes.set_away(node, Some(why));
        let homeless = self.nodes.on(node);
        for instance in homeless.iter().copied() {
            for service in &mut self.services {
                if service.agent.fleet().stage(instance).is_none() {
                    continue;
                }
                match why {
                    Away::Lost => service.agent.kill(self.now, instance, "its node is lost"),
                    Away::Cut => {
                        service.sick.insert(instance);
                        service.report_health(self.now, instance);
                        service.agent.cut_off(instance);
                    }
                }
            }
        }
        if why == Away::Cut {
            self.cut_off.insert(node, homeless);
        }
        let spell = Faults::NODE_AWAY_MAX.mul_f64(self.dice.of(fault).f64());
        self.cues.push(self.now + spell, Cue::NodeBack(node));
        if why == Away::Lost { self.tell_node(node, false) } else { Ok(()) }
    }

    fn bring_back(&mut self, node: usize) -> Result<(), FailureKind> {
        let was = self.nodes.set_away(node, None);
        for instance in self.cut_off.remove(&node).unwrap_or_default() {
            for service in &mut self.services {
                service.agent.reach(self.now, instance);
                if service.sick.remove(&instance) {
                    service.report_health(self.now, instance);
                }
            }
        }
        if was == Some(Away::Lost) { self.tell_node(node, true) } else { Ok(()) }
    }

    /// The control plane dies and comes back: a new planner learns from history, adopts what it finds, and
    /// reads what operators said.
    pub(super) fn restart(&mut self) -> Result<(), FailureKind> {
        self.log.line(self.now, "restart", &self.instances_max);
        let now = self.planner_time();
        self.planner = Planner::new(policy(&self.swarm), self.seed, now)
            .map_err(FailureKind::Policy)?
            .with_first_instance(self.instances_max + 1);
        self.restarting = true;
        for service in &mut self.services {
            service.agent.forget_control_plane();
            service.ordered.clear();
            service.checks.restart(&service.agent, self.now);
            service.teach(&mut self.planner, now);
        }
        for at in 0..self.services.len() {
            self.adopt(at)?;
        }
        self.tell_lost_nodes()?;
        for at in 0..self.services.len() {
            let service = &self.services[at];
            for order in service.orders.standing(&service.workload, self.planner_time()) {
                self.deliver(at, order)?;
            }
        }
        self.restarting = false;
        Ok(())
    }

    fn adopt(&mut self, at: usize) -> Result<(), FailureKind> {
        let found: Vec<_> = self.services[at].agent.fleet().iter().collect();
        for (instance, stage) in found {
            let service = &self.services[at];
            // One that was draining counts as active, as the daemon counts it.
            let routed = service.agent.table().contains_key(&instance);
            let (workload, id) = (service.workload.clone(), InstanceId::new(instance));
            let node = self.node_of(instance);
            if stage == Stage::Halted {
                self.deliver(at, Event::HaltedAdopted { workload, instance: id, node })?;
                continue;
            }
            let event = Event::InstanceAdopted {
                workload,
                instance: id,
                role: if routed { Role::Active } else { Role::Standby },
                parked: stage == Stage::Parked,
                node,
            };
            self.deliver(at, event)?;
            if let Some(held) = self.held(at, instance) {
                self.deliver(at, held)?;
            }
        }
        for instance in self.services[at].sick.clone() {
            self.services[at].report_health(self.now, instance);
        }
        let service = &self.services[at];
        let found = service.agent.fleet().iter().map(|(instance, _)| instance);
        let outdated = found.filter(|instance| *instance <= service.outdated_to);
        let instances: Vec<InstanceId> = outdated.map(InstanceId::new).collect();
        if instances.is_empty() {
            return Ok(());
        }
        self.deliver(at, Event::InstancesOutdated { workload: service.workload.clone(), instances })
    }

    /// Nothing goes wrong any more, and the demand stays as it is.
    pub(super) fn end_faults(&mut self) -> Result<(), FailureKind> {
        self.faulty = false;
        self.dice.set_faults(Faults::NONE);
        self.nodes.make_room();
        for node in 0..self.nodes.len() {
            self.bring_back(node)?;
        }
        for service in &mut self.services {
            self.log.line(self.now, "faults end", &(service.workload.as_str(), service.demand));
            service.step_missing = false;
            service.step_silent = false;
            service.readings_missing = false;
            service.agent.set_faults(Faults::NONE);
            service.agent.mend_errors();
            for instance in std::mem::take(&mut service.sick) {
                service.report_health(self.now, instance);
            }
        }
        (0..self.services.len()).for_each(|at| self.leave_alone(at));
        Ok(())
    }
}

const FLAPS_MAX: u32 = 30;
const FLAP_PAUSE_MAX: Duration = Duration::from_secs(20);
