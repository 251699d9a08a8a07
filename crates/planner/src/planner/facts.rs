//! What a workload makes of a fact: what it learns, whether it plans again, and the orders that follow.

use crate::desk::Shared;
use crate::event::Event;
use crate::outlook::Intake;
use crate::policy::Mode;
use crate::reason::{GuardCause, Trigger};
use crate::shift::Served;
use crate::sizing;
use crate::warmth::Came;
use crate::workload::Workload;

impl Workload {
    /// Takes in a fact about this workload, plans again when it matters, and gives the orders that follow.
    pub(super) fn handle(&mut self, shared: &mut Shared, event: Event) {
        let before = self.errors_everywhere();
        match self.take_in(shared, event) {
            Effect::Refused => self.fleet.counters.samples_refused += 1,
            Effect::Stale => self.fleet.counters.events_stale += 1,
            Effect::Noted => {}
            Effect::Act if self.mode() == Mode::Observe => {}
            Effect::Act => self.carry_out(shared),
            Effect::Replan(trigger) => self.replan(shared, trigger),
        }
        if !before && self.errors_everywhere() {
            let (now, guard) = (shared.clock.internal(), self.policy.guard);
            self.outlook.guard.observe(now, Some(GuardCause::ErrorsEverywhere), guard);
        }
    }

    fn mode(&self) -> Mode {
        self.policy.mode
    }

    fn take_in(&mut self, shared: &mut Shared, event: Event) -> Effect {
        let wall = shared.clock.wall();
        let now = shared.clock.internal();
        let known = |ok: bool| if ok { Effect::Act } else { Effect::Stale };
        match event {
            Event::DemandObserved { step_start, demand, missed, .. } => {
                match self.observe_step((now, wall), step_start, demand, missed) {
                    Intake::Learned => Effect::Replan(Trigger::Forecast),
                    Intake::Heard => {
                        self.fleet.counters.samples_refused += 1;
                        Effect::Replan(Trigger::Demand)
                    }
                    Intake::Refused => Effect::Refused,
                }
            }
            Event::LoadObserved { demand_now, in_flight, .. } => {
                let read = self.observe_load(shared, demand_now, in_flight);
                if read { Effect::Replan(Trigger::Demand) } else { Effect::Refused }
            }
            Event::BackendObserved {
                instance,
                requests,
                errors,
                latency_p50,
                latency_p99,
                latencies,
                ..
            } => {
                let bound = self.policy.objective.latency_bound;
                let (p50, p99, latencies) = (latency_p50, latency_p99, latencies.as_slice());
                let known = self.fleet.observe(instance, now, |stats| {
                    stats.observe(&Served { at: now, requests, errors, p50, p99, latencies });
                });
                let sizing = self.sizing.as_mut().filter(|_| known);
                match sizing.is_some_and(|sizing| sizing.latency(now, requests, latency_p99, bound)) {
                    true => Effect::Replan(Trigger::Objective),
                    false if known => Effect::Noted,
                    false => Effect::Stale,
                }
            }
            Event::UsageObserved { instance, cpu_cores: cpu, memory_bytes: memory, throttled, .. } => {
                match self.observe_use(shared, instance, sizing::Reading { cpu, memory, throttled }) {
                    Some(true) => Effect::Replan(Trigger::Demand),
                    Some(false) => Effect::Noted,
                    None => Effect::Stale,
                }
            }
            Event::StrainObserved { instance, memory_bytes: memory, throttled, .. } => {
                match self.observe_strain(now, instance, sizing::Look { memory, throttled }) {
                    Some(true) => Effect::Replan(Trigger::Demand),
                    Some(false) => Effect::Noted,
                    None => Effect::Stale,
                }
            }
            Event::OutOfMemory { .. } => {
                self.fleet.counters.out_of_memory += 1;
                let Some(sizing) = &mut self.sizing else { return Effect::Noted };
                sizing.out_of_memory(now);
                Effect::Replan(Trigger::Failure)
            }
            Event::SessionsHeld { .. } if self.policy.sessions.is_none() => Effect::Noted,
            Event::SessionsHeld { instance, sessions, .. } => known(self.fleet.holds(instance, sessions)),
            Event::InstanceResized { action, instance } => known(self.fleet.resized(instance, action)),
            Event::InstanceReady { action, instance, took } => {
                let came = self.fleet.ready(instance, action, wall);
                match (came, &mut self.outlook.shelf) {
                    (Some(Came::New), _) => self.outlook.lead_cold.observe(took),
                    (Some(Came::Again), Some(shelf)) => shelf.lead.observe(took),
                    (Some(Came::Again), None) | (None, _) => {}
                }
                known(came.is_some())
            }
            Event::InstanceParked { action, instance } => known(self.fleet.parked(instance, action)),
            Event::InstancePromoted { action, instance, took } => {
                let promoted = self.at_desk(shared, |fleet, desk| fleet.promoted(instance, action, desk));
                if promoted {
                    self.outlook.lead_promote.observe(took);
                }
                known(promoted)
            }
            Event::WeightsApplied { action, .. } => known(self.fleet.weights_applied(action)),
            Event::InstanceDrained { action, instance } => {
                known(self.at_desk(shared, |fleet, desk| fleet.drained(instance, action, desk)))
            }
            Event::InstanceHalted { action, instance } => {
                known(self.at_desk(shared, |fleet, desk| fleet.halted(instance, action, desk)))
            }
            Event::InstanceStopped { action, instance } => {
                known(self.at_desk(shared, |fleet, desk| fleet.stopped(instance, action, desk)))
            }
            Event::ActionFailed { action, instance, .. } => {
                known(self.at_desk(shared, |fleet, desk| fleet.failed(action, instance, true, desk)))
            }
            Event::InstanceExited { instance, .. } => {
                match self.at_desk(shared, |fleet, desk| fleet.exited(instance, desk)) {
                    true => Effect::Replan(Trigger::Failure),
                    false => Effect::Stale,
                }
            }
            Event::InstanceUnhealthy { instance, .. } => match self.fleet.unhealthy(instance, now) {
                true => Effect::Replan(Trigger::Failure),
                false => Effect::Stale,
            },
            Event::InstanceHealthy { instance, .. } => {
                known(self.at_desk(shared, |fleet, desk| fleet.healthy(instance, desk)))
            }
            Event::InstanceAdopted { instance, role, parked, node, .. } => {
                match self.at_desk(shared, |fleet, desk| fleet.adopt(instance, role, parked, node, desk)) {
                    true => Effect::Noted,
                    false => Effect::Stale,
                }
            }
            Event::InstancesOutdated { instances, .. } => known(self.fleet.outdated(&instances)),
            Event::HaltedAdopted { instance, node, .. } => {
                match self.at_desk(shared, |fleet, desk| fleet.adopt_halted(instance, node, desk)) {
                    true => Effect::Noted,
                    false => Effect::Stale,
                }
            }
            Event::OverrideSet { decision, .. } => {
                self.pinned = Some(decision);
                Effect::Replan(Trigger::Operator)
            }
            Event::OverrideCleared { .. } => {
                self.pinned = None;
                Effect::Replan(Trigger::Operator)
            }
            Event::ForecastOverrideSet { forecast, .. } => match self.outlook.overrides.set(forecast) {
                true => Effect::Replan(Trigger::Operator),
                false => Effect::Refused,
            },
            Event::ForecastOverrideCleared { id, .. } => match self.outlook.overrides.clear(id) {
                true => Effect::Replan(Trigger::Operator),
                false => Effect::Stale,
            },
            // Taken in by the planner itself.
            Event::NodeAppeared { .. } | Event::NodeLost { .. } => Effect::Stale,
        }
    }
}

/// What follows from a fact.
enum Effect {
    /// A sample that cannot be used.
    Refused,
    /// A fact that came too late or twice.
    Stale,
    /// Nothing, for now.
    Noted,
    /// Orders may be due.
    Act,
    /// The plan may change.
    Replan(Trigger),
}
