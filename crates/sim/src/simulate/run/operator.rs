//! An operator who pins counts now and then, and one who does so at bad moments.

use planner::{DecisionOverride, Event};

use super::Simulation;
use crate::faults::Fault;
use crate::world::Stage;

impl Simulation {
    /// At the beginning of a step.
    pub(super) fn operate(&mut self, at: usize) {
        if self.services[at].agent.dice().strikes(Fault::Override) {
            let (told, service) = (self.planner_time(), &mut self.services[at]);
            let step = service.setup.policy.step;
            let rng = service.agent.dice().of(Fault::Override);
            let pin = |rng: &mut fastrand::Rng| rng.bool().then(|| rng.u32(0..20));
            let decision = rng.bool().then(|| DecisionOverride {
                active: pin(rng),
                standby: pin(rng),
                expires: rng.bool().then(|| told + step * 5),
                ..drill()
            });
            self.decide(at, decision);
        }
        if self.services[at].agent.dice().strikes(Fault::BadOverride) {
            self.blunder(at);
        }
    }

    /// While instances start.
    pub(super) fn meddle(&mut self, at: usize) {
        let agent = &mut self.services[at].agent;
        if agent.fleet().count(Stage::Starting) > 0 && agent.dice().strikes(Fault::BadOverride) {
            self.blunder(at);
        }
    }

    fn blunder(&mut self, at: usize) {
        let (told, service) = (self.planner_time(), &mut self.services[at]);
        let (step, most) = (service.setup.policy.step, service.setup.policy.replicas_max);
        let rng = service.agent.dice().of(Fault::BadOverride);
        let mut decision = drill();
        match rng.u32(0..6) {
            0 => decision.active = Some(0),
            1 => (decision.active, decision.standby) = (Some(0), Some(0)),
            2 => decision.active = Some(most + rng.u32(1..1000)),
            3 => (decision.active, decision.standby) = (Some(most), Some(u32::MAX)),
            4 => decision.standby = Some(most + 1),
            _ => {
                decision.active = Some(rng.u32(0..most + 1));
                decision.expires = Some(told - step * rng.u32(0..100));
            }
        }
        if decision.expires.is_none() && rng.bool() {
            decision.expires = Some(told + step.mul_f64(rng.f64() * 4.0));
        }
        self.decide(at, Some(decision));
    }

    fn decide(&mut self, at: usize, decision: Option<DecisionOverride>) {
        let service = &mut self.services[at];
        let workload = service.workload.clone();
        let event = match decision {
            Some(decision) => Event::OverrideSet { workload, decision },
            None => Event::OverrideCleared { workload },
        };
        service.agent.report(self.now, event);
    }
}

fn drill() -> DecisionOverride {
    DecisionOverride {
        active: None,
        standby: None,
        author: "operator".to_owned(),
        reason: "drill".to_owned(),
        expires: None,
    }
}
