//! What is booked on nodes for each instance of a workload that is sized: as much as it may use, and never less than `needs`.
//!
//! More than is booked is given only while there is room for it: on every node that has an instance of the workload, beside
//! all that is granted, within the tenant's quota, and while nobody of the same or a higher class lacks any. Processor time beyond
//! `needs` gives way to instances that are refused, those of a higher class and its own; memory does not, as it is in use. What
//! instances were killed for lack of is given in any case: the workload then has room for fewer of them.

use std::time::Duration;

use forecast::Timestamp;

use super::cluster::{Cluster, claimed, count_in_all};
use super::grant::{Cause, Grant, Refused};
use super::resources::Resources;

/// What one instance of a workload is to have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) wanted: Resources,
    /// Some have as much already, or may have.
    pub(crate) held: Resources,
    /// With less it cannot live.
    pub(crate) firm: Resources,
}

impl Cluster {
    /// Books as much of what is asked for each instance of a workload as there is room for. Returns what each may use.
    pub(crate) fn book(&mut self, now: Timestamp, at: usize, asked: Asked) -> Resources {
        let member = &self.members[at];
        let booked = member.claim.needs;
        if !member.acts {
            return asked.wanted;
        }
        let firm = asked.firm.at_least(member.base);
        // What no node could hold helps nobody.
        let firm = if self.could_hold(firm.at_least(booked)) > 0 { firm } else { member.base };
        let mut wanted = asked.wanted.at_least(firm);
        let (class, lacking) = (member.claim.class, self.lacking(at));
        if self.gives_way(now, at, lacking) {
            wanted.millicores = self.members[at].base.millicores;
        }
        let kept = wanted.at_most(booked).at_least(asked.held.at_most(booked));
        let mut next = kept.at_least(firm);
        if !wanted.fits(next) && lacking < Some(class) {
            let grown = next.at_least(wanted.at_most(booked.plus(self.room_to_grow(at))));
            if self.could_hold(grown) >= self.promised(at) {
                next = grown;
            }
        }
        if next != booked {
            self.rebook(now, at, next);
        }
        next.at_most(wanted)
    }

    /// Instances of a higher class or more of its own are refused, or were a while ago: to go back and forth would help nobody.
    fn gives_way(&mut self, now: Timestamp, at: usize, lacking: Option<u8>) -> bool {
        let gives =
            lacking > Some(self.members[at].claim.class) || self.is_short(at) || self.waiting.contains(&at);
        let gave_way = &mut self.members[at].gave_way;
        *gave_way = if gives { Some(now) } else { gave_way.filter(|at| now.since(*at) < GIVES_WAY_FOR) };
        gave_way.is_some()
    }

    /// The highest class of the others that lack what a larger instance would take.
    fn lacking(&self, at: usize) -> Option<u8> {
        if self.refused == 0 && self.waiting.is_empty() {
            return None;
        }
        let refused =
            self.members.iter().enumerate().filter(|(_, member)| {
                member.grant.refused.is_some_and(|refused| refused.cause != Cause::Quota)
            });
        let waiting = self.waiting.iter().map(|other| (*other, &self.members[*other]));
        let lacking = refused.chain(waiting).filter(|(other, _)| *other != at);
        lacking.map(|(_, member)| member.claim.class).max()
    }

    /// By how much each instance of a workload could be larger.
    fn room_to_grow(&self, at: usize) -> Resources {
        let member = &self.members[at];
        let on_nodes = member.on.iter().filter(|(node, _)| self.nodes[**node].up);
        let mut room = Resources { millicores: u64::MAX, memory: u64::MAX };
        for (node, count) in on_nodes {
            let node = &self.nodes[*node];
            room = room.at_most(node.policy.room().minus(node.used).shared_by(*count));
        }
        let promised = |tenant: Option<usize>| {
            let members = self.members.iter().enumerate().filter(|(_, member)| member.acts);
            let own = members.filter(|(_, member)| tenant.is_none_or(|tenant| member.claim.tenant == tenant));
            own.fold(Resources::NONE, |sum, (other, member)| {
                sum.plus(member.claim.needs.times(self.promised(other)))
            })
        };
        let count = self.promised(at).max(1);
        room = room.at_most(self.supply.size.minus(promised(None)).shared_by(count));
        let tenant = member.claim.tenant;
        match self.supply.tenants[tenant].quota {
            Some(quota) => room.at_most(quota.minus(promised(Some(tenant))).shared_by(count)),
            None => room,
        }
    }

    /// Instances that a workload has or was promised.
    fn promised(&self, at: usize) -> u32 {
        let member = &self.members[at];
        member.grant.total().max(member.claim.minimum.min(member.most))
    }

    /// Instances of this size that all nodes could hold if they were empty.
    fn could_hold(&self, needs: Resources) -> u32 {
        count_in_all(self.rooms(), needs, u32::MAX)
    }

    fn rebook(&mut self, now: Timestamp, at: usize, needs: Resources) {
        let before = claimed(&self.members[at]);
        let member = &mut self.members[at];
        let smaller = needs.fits(member.claim.needs);
        for (node, count) in &member.on {
            self.nodes[*node].rebook(member.claim.needs.times(*count), needs.times(*count));
        }
        member.claim.needs = needs;
        self.regranted(at, before);
        self.members[at].most = count_in_all(self.rooms(), needs, self.members[at].replicas_max);
        self.stale |= self.refused > 0;
        if smaller && !self.waiting.is_empty() {
            self.wake(now);
        }
        self.cut_grant(at);
    }

    /// Takes instances from a workload whose grant has outgrown what there is, until all claims are weighed anew.
    fn cut_grant(&mut self, at: usize) {
        let member = &self.members[at];
        let (claim, own, before) = (member.claim, claimed(member), member.grant);
        let mut count = claim.needs.count_in(self.supply.size.minus(self.granted.minus(own)));
        if let Some(quota) = self.supply.tenants[claim.tenant].quota {
            count = count.min(claim.needs.count_in(quota.minus(self.by_tenant[claim.tenant].minus(own))));
        }
        if !member.acts || count >= before.total() {
            return;
        }
        let active = before.active.min(count);
        let refused = Some(Refused { cause: Cause::Supply, sake: None });
        self.set(at, Grant { active, standby: count - active, refused });
        self.forget(at);
        self.stale = true;
    }
}

/// Whoever has given way does not grow again for so long.
const GIVES_WAY_FOR: Duration = Duration::from_secs(600);
