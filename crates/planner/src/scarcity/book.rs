//! How large instances may be where nodes are finite: never less than their `needs`, and more while there is room.
//!
//! Memory that an instance may use is in use, or will be: it is booked, on the node and in the workload's claim, before it may
//! be used, as far as it is free, and given back when no instance has it any more. What instances were killed for lack of is
//! booked in any case, if the least of every workload still has room beside it: then there is room for fewer of them.
//!
//! Processor time beyond `needs` is only lent. Whoever is granted an instance finds room as if nothing were lent, and at the
//! next look there is less to lend, first to the lower classes.

use forecast::Timestamp;

use super::cluster::{Cluster, claimed, count_in_all};
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
        let memory = self.memory_for(at, asked);
        if memory != self.members[at].claim.needs.memory {
            self.book_memory(now, at, memory);
        }
        let needs = self.members[at].claim.needs;
        let wanted = asked.wanted.millicores.saturating_sub(needs.millicores);
        let lent = if wanted > 0 { wanted.min(self.to_lend(at)) } else { 0 };
        let before = self.members[at].lent;
        // A little more is not worth an order for each instance.
        let little = lent < wanted && lent > before && (lent - before) * LITTLE < needs.millicores + before;
        let lent = if little { before } else { lent };
        self.members[at].lent = lent;
        // What was wanted before may still be booked.
        Resources {
            millicores: needs.millicores + lent,
            memory: memory.min(asked.wanted.memory.max(asked.firm)),
        }
        .at_least(self.members[at].base)
    }

    /// Bytes to book for each instance.
    fn memory_for(&self, at: usize, Asked { wanted, held, firm }: Asked) -> u64 {
        let member = &self.members[at];
        let booked = member.claim.needs.memory;
        let firm = if firm > booked && !self.bears(at, firm) { 0 } else { firm };
        let kept = wanted.memory.max(held).min(booked).max(firm).max(member.base.memory);
        if wanted.memory <= kept {
            return kept;
        }
        let grown = kept.max(wanted.memory.min(booked.saturating_add(self.free_memory(at))));
        let promised = member.grant.total();
        let needs = Resources { memory: grown, ..member.base };
        if count_in_all(self.rooms(), needs, promised) >= promised { grown } else { kept }
    }

    /// By how many bytes each instance could be larger.
    fn free_memory(&self, at: usize) -> u64 {
        let member = &self.members[at];
        let on_nodes = member.on.iter().filter(|(node, _)| self.nodes[**node].up);
        let on_nodes = on_nodes.map(|(node, count)| {
            let node = &self.nodes[*node];
            node.policy.room().minus(node.used).memory / u64::from(*count)
        });
        let granted = u64::from(member.grant.total().max(1));
        let mut free = on_nodes.fold(self.supply.size.minus(self.granted).memory / granted, u64::min);
        if let Some(quota) = self.supply.tenants[member.claim.tenant].quota {
            free = free.min(quota.minus(self.by_tenant[member.claim.tenant]).memory / granted);
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
        if !self.grants_fit() {
            self.share_at_once(now);
        }
        if memory < old.memory && !self.waiting.is_empty() {
            self.wake(now);
        }
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
        let tenant = self.members[at].claim.tenant;
        let peers = self.members.iter().enumerate();
        let peers = peers.filter(|(other, peer)| *other != at && peer.acts && peer.claim.tenant == tenant);
        let lent: u64 = peers.map(|(_, peer)| peer.lent * u64::from(peer.grant.total())).sum();
        quota.minus(self.by_tenant[tenant]).millicores.saturating_sub(lent)
    }
}

/// A part of an instance's processor time that is little.
const LITTLE: u64 = 10;
