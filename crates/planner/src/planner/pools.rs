//! The part of the planner where workloads of one template share their spares. Nothing of it runs without templates.

use std::cmp::Reverse;

use forecast::Timestamp;

use super::Planner;
use crate::action::ActionKind;
use crate::desk::Shared;
use crate::fleet::{Fleet, count};
use crate::instance::{Instance, Order, Phase};
use crate::outlook::steps_ahead;
use crate::plan::Plan;
use crate::policy::Mode;
use crate::reason::Reason;
use crate::scope::Bounds;
use crate::spare::{Alone, Said};
use crate::warmth::WarmthReason;
use crate::workload::Workload;

impl Planner {
    /// A member has reported a step; when all have, their pool is sized anew.
    pub(super) fn size_pool(&mut self, index: usize, step: Timestamp) {
        let Some(pool) = self.shared.pools.pool(index) else { return };
        if !pool.report(index, step) {
            return;
        }
        let members = pool.members.clone();
        let leads = members.iter().map(|at| {
            let workload = &self.workloads[*at];
            workload.outlook.lead_up(&workload.policy)
        });
        let lead = leads.max().unwrap_or_default();
        let policy = &self.workloads[index].policy;
        // A spare that was taken is ordered anew with the next plan.
        let lag = steps_ahead(policy, lead + policy.tick);
        let said: Vec<Said> = members
            .iter()
            .map(|at| {
                let workload = &mut self.workloads[*at];
                workload.outlook.say(&workload.policy, lead)
            })
            .collect();
        if let Some(pool) = self.shared.pools.pool(index) {
            pool.settle(&said, lag, lead);
        }
    }

    /// Lets members that lack an active instance take spares of others, and gives the orders that waited for that.
    pub(super) fn serve_pools(&mut self) {
        let open = std::mem::take(&mut self.shared.pools.deferred);
        if open.is_empty() {
            return;
        }
        self.shared.pools.serving = true;
        let mut all = open.clone();
        for at in open {
            while let Some(donor) = self.lend(at) {
                all.insert(donor);
            }
        }
        for at in all {
            self.workloads[at].carry_out(&mut self.shared);
            self.rewake(at);
        }
        self.shared.pools.serving = false;
    }

    /// Takes one spare of another member for a workload that has none for an active instance it lacks. Returns whose it was.
    fn lend(&mut self, at: usize) -> Option<usize> {
        let taker = &self.workloads[at];
        if taker.spares() >= 0 || !taker.has_room(&self.shared) {
            return None;
        }
        let members = self.shared.pools.pool(at)?.members.clone();
        let spares = |other: &usize| self.workloads[*other].lendable(&self.shared);
        let donors = members.into_iter().filter(|other| *other != at && spares(other) > 0);
        let donor = donors.max_by_key(|other| (spares(other), Reverse(*other)))?;
        let (instance, from) = (self.workloads[donor].give()?, self.workloads[donor].policy.id.clone());
        let id = instance.id;
        self.shared.owners.insert(id, at);
        let kind = ActionKind::Claim { instance: id, from: from.clone() };
        let claimed = self.workloads[at].at_desk(&mut self.shared, |fleet, desk| {
            let row = fleet.receive(instance);
            fleet.order(row, Order::Promote, kind, desk)
        });
        if !claimed {
            // The queue of orders is full: it stays where it was.
            let instance = self.workloads[at]
                .fleet
                .find(id)
                .map(|row| self.workloads[at].fleet.instances.remove(row))?;
            self.workloads[donor].fleet.receive(instance);
            self.shared.owners.insert(id, donor);
            return None;
        }
        self.shared.pools.gave(donor);
        if let Some(plan) = &mut self.workloads[donor].plan {
            plan.standby_wanted = plan.standby_wanted.saturating_sub(1);
        }
        let taker = &mut self.workloads[at];
        taker.fleet.counters.claims += 1;
        taker.fleet.note(Reason::Warmth(WarmthReason::Claimed { instance: id, from }));
        Some(donor)
    }
}

impl Fleet {
    /// Takes in an instance of another workload. Returns its row.
    fn receive(&mut self, instance: Instance) -> usize {
        let at = self.instances.partition_point(|i| i.id < instance.id);
        self.instances.insert(at, instance);
        at
    }
}

impl Workload {
    /// Standbys that can be promoted beyond the active instances that are still missing; below zero: so many lack.
    fn spares(&self) -> i64 {
        let Some(plan) = &self.plan else { return 0 };
        let coming = self.fleet.serving() + count(&self.fleet.instances, Instance::promoting);
        let ready = count(&self.fleet.instances, Instance::promotable);
        i64::from(ready) - i64::from(plan.active_wanted.saturating_sub(coming))
    }

    /// Whether one more instance may be taken in.
    fn has_room(&self, shared: &Shared) -> bool {
        let kept = count(&self.fleet.instances, |i| i.phase != Phase::Stopping);
        kept < self.policy.replicas_max && self.fleet.instances.len() < shared.limits.instances as usize
    }

    /// Spares that others may take: none while it may be that demand is only not seen, or an operator has decided.
    fn lendable(&self, shared: &Shared) -> i64 {
        let Some(plan) = &self.plan else { return 0 };
        let blind = plan.inputs.demand_now.is_none()
            || self.outlook.guard.blocking(shared.clock.internal()).is_some();
        let acts = self.policy.mode == Mode::Act;
        let clear = count(&self.fleet.instances, |i| i.promotable() && self.fleet.table.clear_of(i.id));
        if blind || !acts || plan.pinned() || self.overridden(shared) {
            0
        } else {
            self.spares().min(i64::from(clear))
        }
    }

    /// Gives a spare away: a parked one if there is any, the oldest.
    fn give(&mut self) -> Option<Instance> {
        let fleet = &mut self.fleet;
        let open = |i: &Instance| i.promotable() && fleet.table.clear_of(i.id);
        let rows = 0..fleet.instances.len();
        let row = rows
            .filter(|row| open(&fleet.instances[*row]))
            .min_by_key(|row| (!fleet.instances[*row].parked, fleet.instances[*row].id))?;
        Some(fleet.instances.remove(row))
    }

    /// Whether an operator knows better what comes: what is prepared for that is no spare.
    fn overridden(&self, shared: &Shared) -> bool {
        self.outlook.overrides_ahead(&self.policy, shared.clock.wall()).next().is_some()
    }

    /// Cuts the standbys of a new plan to the share of its pool.
    pub(crate) fn share_spares(&mut self, shared: &mut Shared, bounds: Bounds, plan: &mut Plan) {
        let blind = plan.inputs.demand_now.is_none()
            || self.outlook.guard.blocking(shared.clock.internal()).is_some();
        let calendar = bounds.standby_min > 0 || bounds.total_min > plan.active_wanted;
        let bound = blind || plan.pinned() || calendar || self.overridden(shared);
        let alone =
            Alone { active: plan.active_wanted, standby: plan.standby_wanted, share: plan.standby_wanted };
        let most = self.policy.standby_max.min(bounds.replicas_max.saturating_sub(plan.active_wanted));
        let Some((share, pool)) = shared.pools.share(self.index, alone, most, bound) else { return };
        self.standby_alone = Some(alone.standby);
        plan.standby_wanted = share.share;
        // What need not be parked may be stopped, and the reverse.
        if plan.stopped_wanted > 0 || plan.inputs.stopped.is_some() {
            plan.stopped_wanted = (plan.stopped_wanted + alone.standby).saturating_sub(share.share);
        }
        let template = pool.template.clone();
        plan.reasons.push(Reason::Warmth(match pool.size {
            None => WarmthReason::SparesNotShared { template },
            Some(size) => WarmthReason::SharedSpares {
                template,
                spares: share.size,
                share: share.share,
                alone: share.private,
                members: pool.members.len() as u32,
                need: size.spares,
                quantile: 1.0 - size.tail,
                correlation: size.correlation,
                lead: size.lead,
            },
        }));
    }
}
