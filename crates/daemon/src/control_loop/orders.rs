//! Carrying out the planner's orders and taking in their results.

use std::time::{Duration, Instant};

use forecast::Timestamp;
use planner::{Action, ActionKind, Event, InstanceId, NodeId};
use provider::{InstanceName, Provider};

use super::ControlLoop;
use super::workload::Drain;
use crate::instances::{Done, Place, execute, id_of, refusal};
use crate::recorder::{Record, clock};
use crate::router::Applied;
use crate::routes;

impl ControlLoop {
    /// Begins an order. Nothing here waits.
    pub(crate) fn carry_out(&mut self, action: Action) {
        let Some(index) = self.index_of(action.workload.as_str()) else {
            tracing::error!(workload = %action.workload, "an order for a workload that is not configured");
            return;
        };
        match &action.kind {
            ActionKind::SetWeights { weights } => {
                let weights = weights.clone();
                self.set_weights(index, &action, weights);
            }
            ActionKind::Drain { instance } => {
                let generation = self.router.generation();
                let drain =
                    Drain { action: action.id, instance: *instance, generation, deadline: action.deadline };
                if self.workloads[index].config.listen.is_some() {
                    self.workloads[index].drains.push(drain);
                } else {
                    self.handle(index, Event::InstanceDrained { action: action.id, instance: *instance });
                }
            }
            ActionKind::Start { instance, .. } => {
                self.claim_number(*instance);
                self.execute(index, action);
            }
            ActionKind::Promote { instance } => {
                // Only a frozen one is a promotion to be measured; one that has just started is warm anyway.
                let decided = Instant::now();
                let snapshot = self.planner.snapshot();
                let rows = snapshot.workload(&action.workload).map(|view| view.instances).unwrap_or_default();
                if rows.iter().any(|row| row.id() == *instance && row.parked()) {
                    self.workloads[index].promoting.insert(*instance, decided);
                }
                self.execute(index, action);
            }
            ActionKind::Resize { .. }
            | ActionKind::Park { .. }
            | ActionKind::Halt { .. }
            | ActionKind::Restart { .. }
            | ActionKind::Claim { .. }
            | ActionKind::Stop { .. } => self.execute(index, action),
        }
    }

    fn execute(&mut self, index: usize, mut action: Action) {
        if let ActionKind::Resize { instance, size } = &mut action.kind {
            *size = self.workloads[index].raises.on_top_of(*instance, *size);
        }
        if self.executions.len() >= EXECUTIONS_MAX {
            let reason = format!("{EXECUTIONS_MAX} orders are under way already");
            self.handle(index, refusal(action.id, action.kind.instance(), reason));
            return;
        }
        let time_left = action.deadline.since(clock()).max(TIME_LEFT_MIN);
        let (provider, workload) = (self.provider.clone(), self.workloads[index].config.clone());
        let node = self.node_for(&action);
        let work = async move { (index, execute(provider, workload, action, node, time_left).await) };
        self.executions.spawn(work);
    }

    /// Where an instance is to come up. One that comes up again does so where it was.
    fn node_for(&self, action: &Action) -> Option<NodeId> {
        match &action.kind {
            ActionKind::Start { node, .. } => node.clone(),
            ActionKind::Restart { instance } => {
                let snapshot = self.planner.snapshot();
                let rows = snapshot.workload(&action.workload)?.instances;
                rows.iter().find(|row| row.id() == *instance)?.node().cloned()
            }
            _ => None,
        }
    }

    /// Remembers that a number was given away, so that no later daemon gives it to another instance.
    fn claim_number(&mut self, instance: InstanceId) {
        if instance.get() < self.next_instance {
            return;
        }
        self.next_instance = instance.get() + 1;
        let value = self.next_instance.to_string().into_bytes();
        self.recorder.record(Record::Value(NEXT_INSTANCE_KEY.to_owned(), value));
    }

    fn set_weights(&mut self, index: usize, action: &Action, weights: routes::Weights) {
        let workload = &mut self.workloads[index];
        let routed = workload.config.listen.is_some();
        let decided: Vec<Instant> = weights
            .iter()
            .filter(|(_, weight)| *weight > 0)
            .filter_map(|(instance, _)| workload.promoting.remove(instance))
            .collect();
        workload.weights = weights;
        if !routed {
            self.handle(
                index,
                Event::WeightsApplied { action: action.id, workload: action.workload.clone() },
            );
            return;
        }
        if !decided.is_empty() {
            workload.shifting.insert(action.id, decided);
        }
        self.router.want(self.routes(), Some((action.id, action.workload.clone())));
    }

    /// The wanted route of every workload.
    pub(crate) fn routes(&self) -> Vec<proxy::control::Route> {
        self.workloads.iter().filter_map(super::Workload::route).collect()
    }

    /// Takes in what became of a table.
    pub(crate) fn table_applied(&mut self, applied: Applied) {
        match applied.result {
            Ok(_) => {
                self.proxy.table_doubtful = false;
                self.solved("route_table");
                for (id, name) in applied.orders {
                    let Some(index) = self.index_of(name.as_str()) else { continue };
                    for decided in self.workloads[index].shifting.remove(&id).unwrap_or_default() {
                        let took = decided.elapsed();
                        self.workloads[index].promotion.add(took);
                        self.metrics.promoted(name.as_str(), took);
                    }
                    self.handle(index, Event::WeightsApplied { action: id, workload: name });
                }
            }
            Err(reason) => {
                self.proxy.table_doubtful = true;
                self.problem(
                    "route_table",
                    format!("the proxy did not take a route table: {reason}"),
                    "see proxy.log in the state folder",
                );
                for (id, name) in applied.orders {
                    let Some(index) = self.index_of(name.as_str()) else { continue };
                    self.workloads[index].shifting.remove(&id);
                    self.handle(index, refusal(id, None, reason.clone()));
                }
            }
        }
    }

    /// Takes in the result of an order about an instance.
    pub(crate) fn order_done(&mut self, index: usize, done: Done) {
        let workload = &mut self.workloads[index];
        match &done.event {
            Event::InstanceReady { instance, .. } => {
                if let Some(info) = &done.started {
                    workload.places.insert(*instance, Place::from(info));
                }
                workload.cold_start.add(done.took);
                let name = workload.name().to_owned();
                self.metrics.started(&name, done.took);
            }
            Event::InstanceHalted { instance, .. } | Event::InstanceStopped { instance, .. } => {
                workload.forget(*instance);
            }
            Event::ActionFailed { instance: Some(instance), .. } => {
                workload.promoting.remove(instance);
            }
            Event::ActionFailed { instance: None, .. }
            | Event::InstanceParked { .. }
            | Event::InstancePromoted { .. }
            | Event::InstanceDrained { .. }
            | Event::InstancesOutdated { .. }
            | Event::HaltedAdopted { .. }
            | Event::WeightsApplied { .. }
            | Event::DemandObserved { .. }
            | Event::LoadObserved { .. }
            | Event::BackendObserved { .. }
            | Event::UsageObserved { .. }
            | Event::StrainObserved { .. }
            | Event::OutOfMemory { .. }
            | Event::SessionsHeld { .. }
            | Event::InstanceResized { .. }
            | Event::InstanceExited { .. }
            | Event::InstanceUnhealthy { .. }
            | Event::InstanceHealthy { .. }
            | Event::InstanceAdopted { .. }
            | Event::OverrideSet { .. }
            | Event::OverrideCleared { .. }
            | Event::ForecastOverrideSet { .. }
            | Event::ForecastOverrideCleared { .. }
            | Event::NodeAppeared { .. }
            | Event::NodeLost { .. } => {}
        }
        let started = done.started.map(|info| info.name);
        let ready = match &done.event {
            Event::InstanceReady { instance, .. } => Some(*instance),
            _ => None,
        };
        self.handle(index, done.event);
        if let (Some(instance), Some(name)) = (ready, &started)
            && !self.is_known(index, instance)
        {
            // Its node was lost while it started, and the planner has forgotten it.
            self.workloads[index].forget(instance);
            let (provider, name) = (self.provider.clone(), name.clone());
            self.node_work.spawn(async move { drop(provider.stop(&name, Duration::ZERO).await) });
            return;
        }
        // One that ended right after its start was reported as ended before its place was known.
        if let Some(name) = started
            && !self.provider.list().iter().any(|info| info.name == name)
        {
            self.exited(&name, "it ended right after its start".to_owned());
        }
    }

    /// An instance ended by itself.
    pub(crate) fn exited(&mut self, name: &InstanceName, reason: String) {
        let found = self.workloads.iter().enumerate().find_map(|(index, workload)| {
            let id = id_of(workload.name(), name)?;
            workload.places.contains_key(&id).then_some((index, id))
        });
        let Some((index, instance)) = found else { return };
        let workload = self.workloads[index].id.clone();
        self.workloads[index].forget(instance);
        self.handle(index, Event::InstanceExited { workload, instance, reason });
    }

    /// Answers drains of instances on which nothing is in flight, as a reading of `generation` says.
    pub(crate) fn answer_drains(&mut self, index: usize, generation: u64) {
        let workload = &mut self.workloads[index];
        let (drained, waiting): (Vec<Drain>, Vec<Drain>) =
            std::mem::take(&mut workload.drains).into_iter().partition(|drain| {
                let backend = workload.backends.get(&drain.instance.get());
                generation >= drain.generation && backend.is_none_or(|backend| backend.in_flight == 0)
            });
        workload.drains = waiting;
        for Drain { action, instance, .. } in drained {
            self.handle(index, Event::InstanceDrained { action, instance });
        }
    }

    pub(crate) fn expire_drains(&mut self, now: Timestamp) {
        for index in 0..self.workloads.len() {
            let (late, waiting): (Vec<Drain>, Vec<Drain>) = std::mem::take(&mut self.workloads[index].drains)
                .into_iter()
                .partition(|drain| drain.deadline < now);
            self.workloads[index].drains = waiting;
            for drain in late {
                let reason = "requests are still in flight at the drain deadline".to_owned();
                self.handle(index, refusal(drain.action, Some(drain.instance), reason));
            }
        }
    }
}

/// Key of the smallest instance number never given away.
pub(crate) const NEXT_INSTANCE_KEY: &str = "next_instance";
/// Orders under way at once.
const EXECUTIONS_MAX: usize = 4096;
/// An order is tried at least this long, however late it was given.
const TIME_LEFT_MIN: Duration = Duration::from_millis(100);
