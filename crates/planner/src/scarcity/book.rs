//! How large instances may be where nodes are finite: never less than their `needs`, and more while there is room.
//!
//! Memory that an instance may use is in use, or will be: it is booked, on the node and in the workload's claim, before it may
//! be used, as far as it is free, and given back when no instance has it any more. Who asks takes nothing that a higher class has
//! asked for and could have now. What instances were killed for lack of is booked in any case, if the least of every workload still
//! has room beside it: then there is room for fewer of them.
//!
//! Processor time beyond `needs` is only lent. Whoever is granted an instance finds room as if nothing were lent, and at the
//! next look there is less to lend, first to the lower classes.

use std::collections::BTreeSet;
use std::time::Duration;

use forecast::Timestamp;

use super::cluster::{Cluster, Member, claimed, count_in_all};
use super::resources::Resources;

/// What one instance of a workload is to have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) wanted: Resources,
    /// Bytes that some have already, or may have.
    pub(crate) held: u64,
    /// Bytes with less than which it is killed.
    pub(crate) firm: u64,
}

impl Cluster {
    /// Books memory for each instance of a workload and lends it processor time, as much of what is asked for as there is
    /// room for. Returns what each may use.
    pub(crate) fn book(&mut self, now: Timestamp, at: usize, asked: Asked) -> Resources {
        if !self.members[at].acts {
            return asked.wanted;
        }
        let memory = self.memory_for(at, asked, &self.come_first(at));
        match asked.wanted.memory.saturating_sub(memory) {
            0 => self.lacking.remove(&at),
            lacks => self.lacking.insert(at, lacks),
        };
        if memory != self.members[at].claim.needs.memory {
            self.book_memory(now, at, memory);
        }
        let needs = self.members[at].claim.needs;
        let wanted = asked.wanted.millicores.saturating_sub(needs.millicores);
        let lent = self.lend(now, at, wanted);
        // What was wanted before may still be booked.
        Resources {
            millicores: needs.millicores + lent,
            memory: memory.min(asked.wanted.memory.max(asked.firm)),
        }
        .at_least(self.members[at].base)
    }

    /// Those beside a workload, or beside its first instance wherever that may be, that are of a higher class and did not get all
    /// the memory that they asked for, and by how many bytes each of their instances could be larger now.
    fn come_first(&self, at: usize) -> Vec<(usize, u64)> {
        if self.lacking.is_empty() {
            return Vec::new();
        }
        let (class, on) = (self.members[at].claim.class, &self.members[at].on);
        let nodes = self.nodes.iter().enumerate().filter(|(node, _)| on.is_empty() || on.contains_key(node));
        let beside: BTreeSet<usize> = nodes.flat_map(|(_, node)| node.on.keys().copied()).collect();
        let higher = beside.into_iter().filter(|other| self.members[*other].claim.class > class);
        let could = higher.filter_map(|other| {
            let booked = self.members[other].claim.needs;
            let wanted =
                Resources { memory: booked.memory.saturating_add(*self.lacking.get(&other)?), ..booked };
            let asked = Asked { wanted, held: booked.memory, firm: 0 };
            Some((other, self.memory_for(other, asked, &[]).saturating_sub(booked.memory)))
        });
        could.collect()
    }

    /// Bytes to book for each instance where these others become larger, too.
    fn memory_for(&self, at: usize, Asked { wanted, held, firm }: Asked, others: &[(usize, u64)]) -> u64 {
        let member = &self.members[at];
        let booked = member.claim.needs.memory;
        let firm = if firm > member.base.memory && !self.bears(at, firm) { 0 } else { firm };
        let least = held.min(booked).max(firm).max(member.base.memory);
        if wanted.memory <= least {
            return least;
        }
        let mut most = booked.saturating_add(self.free_memory(at, others));
        if member.on.is_empty() || self.waiting.contains(&at) {
            most = most.min(self.room_for_one_more(at, others));
        }
        let next = least.max(wanted.memory.min(most));
        let granted = member.grant.total();
        let could_hold = |memory| count_in_all(self.rooms(), Resources { memory, ..member.base }, granted);
        if next <= booked || could_hold(next) >= granted { next } else { booked.max(least) }
    }

    /// Bytes that each instance could have if there were one more, on the node where that is most, and each of those of these
    /// others were larger by so many.
    fn room_for_one_more(&self, at: usize, others: &[(usize, u64)]) -> u64 {
        let (on, booked) = (&self.members[at].on, self.members[at].claim.needs.memory);
        let up = self.nodes.iter().enumerate().filter(|(_, node)| node.up && !node.policy.closed);
        let most = up.map(|(number, node)| {
            let own = u64::from(on.get(&number).copied().unwrap_or(0));
            let there = |other: &usize| u64::from(node.on.get(other).copied().unwrap_or(0));
            let taken: u64 = others.iter().map(|(other, bytes)| bytes * there(other)).sum();
            (node.policy.room().minus(node.used).memory.saturating_sub(taken) + own * booked) / (own + 1)
        });
        most.max().unwrap_or(0)
    }

    /// By how many bytes each instance could be larger, if each of those of these others is by so many.
    fn free_memory(&self, at: usize, others: &[(usize, u64)]) -> u64 {
        let member = &self.members[at];
        let taken = |count: &dyn Fn(&Member) -> u32| {
            let each = others.iter().map(|(other, bytes)| bytes * u64::from(count(&self.members[*other])));
            Resources { millicores: 0, memory: each.sum() }
        };
        let on_nodes = member.on.iter().filter(|(node, _)| self.nodes[**node].up);
        let on_nodes = on_nodes.map(|(node, count)| {
            let own = &self.nodes[*node];
            let taken = taken(&|other| other.on.get(node).copied().unwrap_or(0));
            own.policy.room().minus(own.used).minus(taken).memory / u64::from(*count)
        });
        let granted = u64::from(member.grant.total().max(1));
        let free = self.supply.size.minus(self.granted).minus(taken(&|other| other.grant.total()));
        let mut free = on_nodes.fold(free.memory / granted, u64::min);
        let tenant = member.claim.tenant;
        if let Some(quota) = self.supply.tenants[tenant].quota {
            let of_tenant =
                |other: &Member| if other.claim.tenant == tenant { other.grant.total() } else { 0 };
            free = free.min(quota.minus(self.by_tenant[tenant]).minus(taken(&of_tenant)).memory / granted);
        }
        free
    }

    /// Whether everybody's least has room where each instance of this workload has so much memory.
    fn bears(&self, at: usize, memory: u64) -> bool {
        let tenant = self.members[at].claim.tenant;
        let (mut all, mut own) = (Resources::NONE, Resources::NONE);
        for (other, member) in self.members.iter().enumerate().filter(|(_, member)| member.acts) {
            let least = match other == at {
                true => Resources { memory, ..member.base }.times(member.claim.minimum.max(1)),
                false => member.claim.needs.times(member.claim.minimum),
            };
            all = all.plus(least);
            own = if member.claim.tenant == tenant { own.plus(least) } else { own };
        }
        let member = &self.members[at];
        let count = member.claim.minimum.max(1);
        all.fits(self.supply.size)
            && self.supply.tenants[tenant].quota.is_none_or(|quota| own.fits(quota))
            && count_in_all(self.rooms(), Resources { memory, ..member.base }, count) == count
    }

    fn book_memory(&mut self, now: Timestamp, at: usize, memory: u64) {
        let before = claimed(&self.members[at]);
        let member = &mut self.members[at];
        let (old, new) = (member.claim.needs, Resources { memory, ..member.claim.needs });
        member.claim.needs = new;
        for (node, count) in &member.on {
            self.nodes[*node].rebook(old.times(*count), new.times(*count));
        }
        self.regranted(at, before);
        self.members[at].most = count_in_all(self.rooms(), new, self.members[at].replicas_max);
        self.stale |= self.refused > 0;
        if !self.grants_fit() || self.members[at].grant.total() > self.members[at].most {
            self.share_at_once(now);
        }
        if memory < old.memory && !self.waiting.is_empty() {
            self.wake(now);
        }
    }

    /// Lends each instance as much of `wanted` thousandths of a core as there is. After there was too little, more is lent
    /// only after a while: an order to each instance whenever one comes or goes would help nobody.
    fn lend(&mut self, now: Timestamp, at: usize, wanted: u64) -> u64 {
        let most = if wanted > 0 { self.to_lend(at) } else { 0 };
        let member = &mut self.members[at];
        let kept = member.lent.min(wanted);
        if most < kept {
            member.lent_less = Some(now);
        }
        let waits = member.lent_less.is_some_and(|since| now.since(since) < LENT_LESS_FOR);
        member.lent = wanted.min(most).min(if waits { kept } else { u64::MAX });
        member.lent
    }

    /// Thousandths of a core that each instance may have beyond what it needs: what nobody needs on the nodes where they are,
    /// and no workload of the same or a higher class has been lent.
    fn to_lend(&self, at: usize) -> u64 {
        let member = &self.members[at];
        let class = member.claim.class;
        let lent = |(other, count): (&usize, &u32)| match &self.members[*other] {
            peer if *other != at && peer.claim.class >= class => peer.lent * u64::from(*count),
            _ => 0,
        };
        let on_nodes = member.on.iter().filter(|(node, _)| self.nodes[**node].up).map(|(node, count)| {
            let node = &self.nodes[*node];
            let free = node.policy.room().minus(node.used).millicores;
            free.saturating_sub(node.on.iter().map(lent).sum()) / u64::from(*count)
        });
        let granted = u64::from(member.grant.total().max(1));
        let free = on_nodes.fold(self.supply.size.minus(self.granted).millicores / granted, u64::min);
        match self.supply.tenants[member.claim.tenant].quota {
            Some(quota) => free.min(self.to_lend_of(at, quota) / granted),
            None => free,
        }
    }

    /// The same of a tenant's quota.
    fn to_lend_of(&self, at: usize, quota: Resources) -> u64 {
        let (class, tenant) = (self.members[at].claim.class, self.members[at].claim.tenant);
        let peers = self.members.iter().enumerate().filter(|(other, peer)| {
            *other != at && peer.acts && peer.claim.tenant == tenant && peer.claim.class >= class
        });
        let lent: u64 = peers.map(|(_, peer)| peer.lent * u64::from(peer.grant.total())).sum();
        quota.minus(self.by_tenant[tenant]).millicores.saturating_sub(lent)
    }
}

const LENT_LESS_FOR: Duration = Duration::from_secs(600);
