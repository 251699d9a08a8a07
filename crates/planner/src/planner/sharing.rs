//! The part of the planner that looks at all workloads together. Nothing of it runs without nodes.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::Planner;
use crate::desk::Shared;
use crate::ids::NodeId;
use crate::instance::{Instance, Moving, Phase, Role};
use crate::plan::Plan;
use crate::reason::{Reason, Tier, Trigger};
use crate::scarcity::{Cluster, NodePolicy, Outline, Proposal, SharingReason, per_unit};
use crate::workload::Workload;

impl Planner {
    /// From here on plans are made, and orders wait until all plans of this moment are known.
    pub(super) fn gather(&mut self) {
        if let Some(cluster) = &mut self.shared.cluster {
            cluster.batching = true;
            cluster.outlines_left = OUTLINES_AT_ONCE;
        }
    }

    /// Shares out what is scarce if that is due, gives the orders that waited, and moves what has to move.
    pub(super) fn share(&mut self) {
        let (now, wall) = (self.shared.clock.internal(), self.shared.clock.wall());
        let Some(cluster) = &mut self.shared.cluster else { return };
        cluster.batching = false;
        cluster.sharing = true;
        cluster.due = cluster.due.filter(|due| *due > now);
        cluster.end_yielding(now);
        let changed = if cluster.may_share(now) { cluster.share_out(now) } else { Vec::new() };
        cluster.look_ahead(now, wall);
        let mut open: BTreeSet<usize> = std::mem::take(&mut cluster.deferred);
        open.extend(changed.iter().copied());
        open.extend(std::mem::take(&mut cluster.waiting));
        open.extend(cluster.foresight.leaving.keys().copied());
        let mut open: Vec<usize> = open.into_iter().collect();
        open.sort_by_key(|at| (Reverse(cluster.members[*at].claim.class), *at));
        for at in changed {
            self.workloads[at].regrant(&mut self.shared);
        }
        for at in open {
            self.workloads[at].carry_out(&mut self.shared);
            self.rewake(at);
        }
        self.count_leaving();
        self.move_some();
        if let Some(cluster) = &mut self.shared.cluster {
            cluster.sharing = false;
            cluster.wake(cluster.foresight.look_at);
            if cluster.foresight.leaving() > 0 || !cluster.waiting.is_empty() || cluster.any_yields() {
                cluster.wake_later(now);
            }
        }
    }

    /// Only instances that still are on the move count.
    fn count_leaving(&mut self) {
        let Some(cluster) = &mut self.shared.cluster else { return };
        let movers = std::mem::take(&mut cluster.foresight.leaving);
        for at in movers.into_keys() {
            for instance in self.workloads[at].fleet.instances.iter().filter(|i| i.moving.is_some()) {
                if let Some(node) = instance.node.as_ref().and_then(|node| cluster.node(node)) {
                    *cluster.foresight.leaving.entry(at).or_default().entry(node).or_default() += 1;
                }
            }
        }
    }

    fn move_some(&mut self) {
        let (now, wall) = (self.shared.clock.internal(), self.shared.clock.wall());
        match &mut self.shared.cluster {
            Some(cluster) if now >= cluster.foresight.propose_at => {
                cluster.foresight.propose_at = cluster.next_look(now);
            }
            Some(_) | None => return,
        }
        loop {
            let Some(cluster) = &mut self.shared.cluster else { return };
            let Some(proposal) = cluster.propose(now, wall) else { return };
            let named = |node: usize| cluster.nodes[node].policy.id.clone();
            let (from, to) = (named(proposal.from), proposal.to.map(named));
            let at = proposal.workload;
            let leaving = &mut cluster.foresight.leaving;
            *leaving.entry(at).or_default().entry(proposal.from).or_default() += 1;
            if !self.workloads[at].begin_move(&proposal, &from, to, &self.shared) || proposal.to.is_none() {
                // What gives way leaves when it is granted less.
                return;
            }
            self.workloads[at].carry_out(&mut self.shared);
            self.rewake(at);
        }
    }

    /// Lets the driver come back at once, or when the pace allows it, if a fact has changed who should get what.
    pub(super) fn share_soon(&mut self) {
        let now = self.shared.clock.internal();
        if let Some(cluster) = &mut self.shared.cluster
            && cluster.may_share(now)
        {
            cluster.wake(now);
        }
    }

    /// A node is there, or again.
    pub(super) fn node_appeared(&mut self, node: NodePolicy) {
        match self.shared.cluster.as_mut().is_some_and(|cluster| cluster.appeared(node)) {
            true => self.share(),
            false => self.stale += 1,
        }
    }

    /// A node is gone, with all that ran on it.
    pub(super) fn node_lost(&mut self, node: &NodeId) {
        let lost = self.shared.cluster.as_mut().and_then(|cluster| cluster.lost(node));
        let Some(mut workloads) = lost else {
            self.stale += 1;
            return;
        };
        // Those of whom it only held disks.
        let kept = |w: &Workload| w.fleet.instances.iter().any(|i| i.disk_on.as_ref() == Some(node));
        workloads.extend(self.workloads.iter().filter(|w| kept(w)).map(|w| w.index));
        workloads.sort_unstable();
        workloads.dedup();
        self.gather();
        for at in workloads {
            self.workloads[at].lose_node(node, &mut self.shared);
        }
        self.share();
    }
}

impl Workload {
    /// Cuts a new plan to what is granted for now.
    pub(crate) fn claim(&self, shared: &mut Shared, plan: &mut Plan) {
        let now = shared.clock.internal();
        let Some(cluster) = &mut shared.cluster else { return };
        let old = &cluster.members[self.index];
        let aged = old.outline.is_none() || now.since(old.outlined_at) >= OUTLINE_AGE;
        if aged && cluster.outlines_left > 0 {
            cluster.outlines_left -= 1;
            let needs = old.base;
            let most = needs.cores() * f64::from(self.policy.replicas_max);
            let cores = per_unit(needs, plan.inputs.capacity);
            let outline = Outline::of(self.outlook.forecaster(), plan.inputs.demand_now, cores, most);
            cluster.outline(self.index, outline, now);
        }
        cluster.claim(self.index, plan.active_wanted, plan.standby_wanted);
        cut(cluster, self.index, plan);
        let moving = self.fleet.instances.iter().filter_map(Instance::moving_reason);
        plan.reasons.extend(moving.map(Reason::Sharing));
    }

    /// The grant has changed: the plan in force is cut anew.
    fn regrant(&mut self, shared: &mut Shared) {
        let wall = shared.clock.wall();
        let (Some(cluster), Some(plan)) = (&mut shared.cluster, &mut self.plan) else { return };
        plan.reasons.retain(|reason| {
            !matches!(
                reason,
                Reason::Sharing(
                    SharingReason::Refused { .. }
                        | SharingReason::Preempted { .. }
                        | SharingReason::Preempts { .. }
                        | SharingReason::Shielded { .. }
                )
            )
        });
        (plan.generation, plan.at, plan.trigger) = (plan.generation + 1, wall, Trigger::Scarcity);
        cut(cluster, self.index, plan);
    }

    /// Begins to replace one instance by another on another node, or to take it away where there is none.
    fn begin_move(
        &mut self,
        proposal: &Proposal,
        from: &NodeId,
        to: Option<NodeId>,
        shared: &Shared,
    ) -> bool {
        let policy = &self.policy;
        let within = policy.start_deadline() + policy.promote_deadline() + policy.drain_deadline();
        let until = shared.clock.internal().saturating_add(within);
        let movable = self.fleet.instances.iter_mut().filter(|i| {
            i.node.as_ref() == Some(from) && i.counts() && i.moving.is_none() && i.phase == Phase::Ready
        });
        // A standby is moved with less ado, the youngest with the least loss.
        let Some(instance) = movable.max_by_key(|i| (i.role == Role::Standby, i.id)) else { return false };
        let started = to.is_none();
        instance.moving = Some(Moving { to, why: Some(proposal.cause.clone()), until, started });
        if let (Some(plan), Some(reason)) = (&mut self.plan, instance.moving_reason()) {
            plan.reasons.push(Reason::Sharing(reason));
        }
        true
    }

    fn lose_node(&mut self, node: &NodeId, shared: &mut Shared) {
        let instances = self.at_desk(shared, |fleet, desk| fleet.lost_node(node, desk));
        self.fleet.note(Reason::Sharing(SharingReason::NodeLost { node: node.clone(), instances }));
        self.replan(shared, Trigger::Failure);
    }
}

/// Cuts a plan to the grant, and says why.
fn cut(cluster: &Cluster, at: usize, plan: &mut Plan) {
    let member = &cluster.members[at];
    let (grant, asked) = (member.grant, member.claim);
    if !member.acts {
        return;
    }
    plan.active_wanted = asked.active.min(grant.active);
    plan.standby_wanted = asked.standby.min(grant.standby);
    let named = |other: usize| (cluster.members[other].id.clone(), cluster.members[other].claim.class);
    let mut say = |reason| plan.reasons.push(Reason::Sharing(reason));
    if let Some(refused) = grant.refused {
        let sake = refused.sake.map(named);
        let tiers = [
            (Tier::Active, asked.active, grant.active),
            (Tier::Total, asked.active + asked.standby, grant.total()),
        ];
        for (tier, asked, granted) in tiers.into_iter().filter(|(_, asked, granted)| granted < asked) {
            say(SharingReason::Refused { tier, asked, granted, cause: refused.cause, sake: sake.clone() });
        }
    }
    if let Some((by, instances)) = member.taken {
        let (by, class) = named(by);
        say(SharingReason::Preempted { instances, by, class });
    }
    if let Some((from, instances)) = member.took {
        let (from, class) = named(from);
        say(SharingReason::Preempts { instances, from, class });
    }
    if let Some(alarm) = cluster.foresight.alarm.filter(|alarm| alarm.eased && alarm.class == asked.class) {
        say(SharingReason::Shielded { at: alarm.at, peak: alarm.peak, cores: alarm.cores });
    }
}

/// A forecast of a day is drawn anew after this time.
const OUTLINE_AGE: std::time::Duration = std::time::Duration::from_secs(3_600);
/// Bounds the work of one call.
const OUTLINES_AT_ONCE: u32 = 32;
