//! An operator who pins counts now and then, and one who does so at bad moments.

use std::collections::BTreeMap;

use forecast::{Adjustment, Change, Timestamp};
use planner::{DecisionOverride, Event, ForecastOverride, WorkloadId};

use super::Simulation;
use crate::faults::{Fault, Faults};
use crate::world::Stage;

/// What an operator said of one workload and still holds. A control plane that comes back reads it from its disk.
#[derive(Default)]
pub(super) struct Orders {
    pin: Option<DecisionOverride>,
    forecasts: BTreeMap<u64, ForecastOverride>,
}

impl Orders {
    /// Writes down what is told to the control plane.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::OverrideSet { decision, .. } => self.pin = Some(decision.clone()),
            Event::OverrideCleared { .. } => self.pin = None,
            Event::ForecastOverrideSet { forecast, .. } => {
                self.forecasts.insert(forecast.id, forecast.clone());
            }
            Event::ForecastOverrideCleared { id, .. } => {
                self.forecasts.remove(id);
            }
            _ => {}
        }
    }

    /// What holds at a moment of the planner's clock.
    pub(super) fn standing(&self, workload: &WorkloadId, now: Timestamp) -> Vec<Event> {
        let pin = self.pin.iter().filter(|pin| pin.expires.is_none_or(|expires| expires > now));
        let pin = pin.map(|pin| Event::OverrideSet { workload: workload.clone(), decision: pin.clone() });
        let forecasts = self.forecasts.values().filter(|forecast| forecast.adjustment.to > now);
        let forecasts = forecasts.map(|forecast| Event::ForecastOverrideSet {
            workload: workload.clone(),
            forecast: forecast.clone(),
        });
        pin.chain(forecasts).collect()
    }
}

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
        if self.services[at].agent.dice().strikes(Fault::ForecastOverride) {
            self.foretell(at);
        }
    }

    /// Says what the demand will be, rightly or not, or nothing that makes sense; or takes that back.
    fn foretell(&mut self, at: usize) {
        let (told, service) = (self.planner_time(), &mut self.services[at]);
        let (step, workload) = (service.setup.policy.step, service.workload.clone());
        let usual = service.setup.capacity * f64::from(service.setup.policy.replicas_max);
        let rng = service.agent.dice().of(Fault::ForecastOverride);
        let id = rng.u64(1..=FORECASTS);
        if rng.u32(0..4) == 0 {
            service.agent.report(self.now, Event::ForecastOverrideCleared { workload, id });
            return;
        }
        let change = match rng.u32(0..8) {
            0..3 => Change::Scale(10f64.powf(4.0 * rng.f64() - 2.0)),
            3 => Change::Add(usual * rng.f64()),
            4 => Change::Add(-usual * rng.f64()),
            5 => Change::Replace(usual * rng.f64()),
            6 => Change::Replace(0.0),
            _ => {
                [Change::Scale(-1.0), Change::Replace(f64::NAN), Change::Add(f64::INFINITY)][rng.usize(0..3)]
            }
        };
        let from = told - step * 5 + step.mul_f64(30.0 * rng.f64());
        // One in twenty ends before it begins.
        let to = from - step + step.mul_f64(20.0 * rng.f64());
        let forecast = ForecastOverride {
            id,
            adjustment: Adjustment { from, to, change },
            author: "operator".to_owned(),
            reason: "drill".to_owned(),
        };
        service.agent.report(self.now, Event::ForecastOverrideSet { workload, forecast });
    }

    /// The operator goes home, and nothing of what was said holds any longer, however late that comes.
    pub(super) fn leave_alone(&mut self, at: usize) {
        let service = &mut self.services[at];
        let (late, workload) = (self.now + Faults::LATE_MAX, &service.workload);
        let foretold = if self.swarm.faults.rate(Fault::ForecastOverride) > 0.0 { FORECASTS } else { 0 };
        let events = (1..=foretold)
            .map(|id| Event::ForecastOverrideCleared { workload: workload.clone(), id })
            .chain([Event::OverrideCleared { workload: workload.clone() }]);
        for event in events.collect::<Vec<Event>>() {
            service.agent.report(late, event);
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

/// Overrides of a forecast that there may be at one time.
const FORECASTS: u64 = 4;
