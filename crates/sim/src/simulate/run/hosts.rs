//! What the nodes hold, where the planner shares them out: no more than fits, and nobody waits for what a lower class has.

use std::collections::BTreeMap;

use forecast::Timestamp;
use planner::{Cause, Event, Instance, NodeId, Reason, Resources, SharingReason, Size, Tier, WorkloadView};

use super::super::FailureKind;
use super::{START, Simulation};
use crate::world::{Away, Stage};

/// Since when a workload was refused what another of a lower class has.
pub(super) type Envy = BTreeMap<(usize, usize), Timestamp>;

impl Simulation {
    /// The planner is told of a node.
    pub(super) fn tell_node(&mut self, node: usize, there: bool) -> Result<(), FailureKind> {
        let Some(policy) = self.swarm.sharing.as_ref().map(|sharing| sharing.nodes[node].clone()) else {
            return Ok(());
        };
        let event =
            if there { Event::NodeAppeared { node: policy } } else { Event::NodeLost { node: policy.id } };
        self.log.line(self.now, "event", &event);
        self.events += 1;
        let now = self.planner_time();
        self.planner.handle(now, event);
        self.obey()?;
        self.check_all()
    }

    /// What a planner that was started again must be told of nodes that are gone.
    pub(super) fn tell_lost_nodes(&mut self) -> Result<(), FailureKind> {
        for node in 0..self.nodes.len() {
            if self.nodes.away(node) == Some(Away::Lost) {
                self.tell_node(node, false)?;
            }
        }
        Ok(())
    }

    /// Where an instance was found, as far as the planner is concerned.
    pub(super) fn node_of(&self, instance: u64) -> Option<NodeId> {
        let sharing = self.swarm.sharing.as_ref()?;
        Some(sharing.nodes[self.nodes.home(instance)?].id.clone())
    }

    /// A start was ordered on a node. Returns what is wrong with it.
    pub(super) fn check_start(&self, instance: u64, node: Option<&NodeId>) -> Option<String> {
        let sharing = self.swarm.sharing.as_ref()?;
        let Some(number) = node.and_then(|node| sharing.number(node)) else {
            return Some(format!("instance {instance} is to start on {node:?}, which is no node"));
        };
        if self.nodes.away(number) == Some(Away::Lost) {
            return Some(format!("instance {instance} is to start on node-{number}, which is lost"));
        }
        self.check_room(number, None)
    }

    /// An instance was ordered to have another size. Returns what is wrong with it.
    pub(super) fn check_growth(&self, instance: u64, size: Size) -> Option<String> {
        self.check_room(self.nodes.home(instance)?, Some((instance, size)))
    }

    /// Whether a node holds no more than it has, once an instance has the size that was ordered for it.
    fn check_room(&self, node: usize, ordered: Option<(u64, Size)>) -> Option<String> {
        let room = self.swarm.sharing.as_ref()?.nodes[node].room();
        let mut used = Resources::NONE;
        for service in &self.services {
            // What is stopped with its disk kept takes no room.
            let here = service
                .agent
                .fleet()
                .iter()
                .filter(|(id, stage)| self.nodes.home(*id) == Some(node) && *stage != Stage::Halted);
            for (id, _) in here {
                let next = ordered.filter(|(of, _)| *of == id).map(|(_, size)| size);
                used = used.plus(service.needs_of(id, next));
            }
        }
        (!used.fits(room)).then(|| format!("node-{node} has to hold {used}, more than {room}"))
    }

    /// Once nothing goes wrong any more: nobody is refused for long what a lower class has beyond its minimum.
    pub(super) fn check_classes(&mut self) -> Result<(), FailureKind> {
        if self.faulty || self.swarm.sharing.is_none() {
            return Ok(());
        }
        let now = self.now;
        let pairs: Vec<(usize, usize)> = {
            let snapshot = self.planner.snapshot();
            let workloads = snapshot.workloads();
            let all = 0..workloads.len();
            all.clone()
                .flat_map(|high| all.clone().map(move |low| (high, low)))
                .filter(|(high, low)| self.envies(&workloads[*high], *low))
                .collect()
        };
        self.envy.retain(|pair, _| pairs.contains(pair));
        for pair in pairs {
            let since = *self.envy.entry(pair).or_insert(now);
            let patience = self.patience(pair.1);
            if now.since(since) > patience {
                let [high, low] = [pair.0, pair.1].map(|at| self.state(at));
                let broken = vec![format!("for {patience:?} refused what a lower class has: {high}; {low}")];
                return Err(FailureKind::Unsafe { after: now.since(START), broken });
            }
        }
        Ok(())
    }

    /// Instances of this size that all nodes together could hold if they were empty.
    fn could_hold(&self, needs: Resources) -> u32 {
        let nodes = self.swarm.sharing.iter().flat_map(|sharing| sharing.nodes.iter().enumerate());
        let there = nodes.filter(|(number, _)| self.nodes.away(*number) != Some(Away::Lost));
        there.map(|(_, node)| needs.count_in(node.room())).sum()
    }

    fn envies(&self, high: &WorkloadView<'_>, low: usize) -> bool {
        let lower = &self.services[low].setup.policy;
        if lower.priority >= high.policy.priority {
            return false;
        }
        let planned = high.plan.and_then(|plan| plan.size).map_or(0, |size| size.memory_bytes);
        let largest = high.instances.iter().filter_map(Instance::size).map(|size| size.memory_bytes);
        let memory = largest.fold(planned, u64::max);
        let needs = high.policy.needs.at_least(Resources { millicores: 0, memory });
        let most = self.could_hold(needs);
        // What the nodes could not hold if they were empty is nobody's.
        let refused = high.plan.is_some_and(|plan| {
            plan.reasons.iter().any(|reason| {
                matches!(
                    reason,
                    Reason::Sharing(SharingReason::Refused { tier: Tier::Active, cause, granted, .. })
                        if *cause != Cause::Quota && *granted < most
                )
            })
        });
        let fleet = self.services[low].agent.fleet();
        let has =
            [Stage::Active, Stage::Warm, Stage::Parked, Stage::Promoting].map(|stage| fleet.count(stage));
        let beyond = has.iter().sum::<u32>().saturating_sub(lower.replicas_min);
        refused && needs.fits(lower.needs.times(beyond))
    }
}

/// Instances that wait for room on a node.
pub(super) fn waiting(view: &WorkloadView<'_>) -> u32 {
    let reasons = view.plan.map(|plan| plan.reasons.as_slice()).unwrap_or_default();
    let waits = reasons.iter().map(|reason| match reason {
        Reason::Sharing(SharingReason::WaitsForRoom { instances }) => *instances,
        _ => 0,
    });
    waits.sum()
}
