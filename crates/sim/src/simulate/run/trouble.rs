//! What happens to the planner from outside: demand, readings, and everything that goes wrong.

use std::time::Duration;

use forecast::Timestamp;
use planner::{DecisionOverride, Event, InstanceId, Limits, Planner, Policy, Role};

use super::super::FailureKind;
use super::{Cue, START, Simulation, known};
use crate::faults::Faults;
use crate::world::Stage;

impl Simulation {
    /// Lets a cue happen.
    pub(super) fn play_cue(&mut self, cue: Cue) -> Result<(), FailureKind> {
        match cue {
            Cue::Step => self.begin_step(),
            Cue::Tick => return self.tick(),
            Cue::Recover(instance) => self.recover(instance),
        }
        Ok(())
    }

    /// Ends a step of demand, reports it, and begins the next.
    fn begin_step(&mut self) {
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
        if self.faulty {
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
    }

    /// What healthy instances with traffic can serve.
    fn serving(&self) -> f64 {
        let healthy = self
            .agent
            .fleet()
            .iter()
            .filter(|(instance, stage)| *stage == Stage::Active && !self.sick.contains(instance));
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

    fn recover(&mut self, instance: u64) {
        if self.sick.remove(&instance) && self.agent.fleet().stage(instance).is_some() {
            self.report_health(instance);
        }
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
        let policy = Policy {
            workloads: vec![self.swarm.policy.clone()],
            limits: Limits::default(),
            ..Policy::default()
        };
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
                node: None,
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
    pub(super) fn end_faults(&mut self) {
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
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.f64() < probability
    }
}

/// What a request takes on an idle instance; it grows as the spare share of the capacity shrinks.
const LATENCY: Duration = Duration::from_millis(20);
const SPARE_MIN: f64 = 0.05;
