//! Who gets how much of what is scarce: a plain function from supply and claims to grants.
//!
//! Three rounds, each from the highest priority class to the lowest: the minimums, then active instances, then standbys.
//! So standbys of whatever class go before anybody's active instances, and no minimum is touched for anybody's wish.
//! Inside a class the next instance goes to the tenant that has the least of what is scarce for its weight, counted by
//! dominant share (weighted dominant resource fairness, Ghodsi et al. 2011, for whole instances; divided in the way that
//! D'Hondt divides seats), and inside a tenant to the workload that has least. An instance that does not fit is passed over
//! for a smaller one, so nothing is left that somebody could use.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::resources::Resources;

/// What there is, and whom it is shared by.
#[derive(Debug, Clone, PartialEq)]
pub struct Supply {
    /// All nodes together.
    pub size: Resources,
    /// The tenants that claims refer to.
    pub tenants: Vec<Tenant>,
}

/// Someone with a right to a share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tenant {
    /// Relative to the others; positive.
    pub weight: f64,
    /// The most that all its instances may have.
    pub quota: Option<Resources>,
}

/// What one workload asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Its number; distinct. Decides between equals, so that the order of the claims does not matter.
    pub workload: usize,
    /// Index into the tenants.
    pub tenant: usize,
    /// Priority class, higher first.
    pub class: u8,
    /// What one instance needs.
    pub needs: Resources,
    /// Active instances, at least.
    pub minimum: u32,
    /// Active instances asked for.
    pub active: u32,
    /// Standby instances asked for beside them.
    pub standby: u32,
}

/// Why somebody did not get all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A higher class has it.
    Priority,
    /// Others of the same class have their share of it.
    Share,
    /// The tenant's quota is used up.
    Quota,
    /// There is not more.
    Supply,
    /// It was asked for since all claims were weighed last; they are weighed once per tick.
    Pending,
}

/// What one workload gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grant {
    /// Active instances.
    pub active: u32,
    /// Standby instances.
    pub standby: u32,
    /// Why it is not all that was asked for.
    pub refused: Option<Refused>,
}

impl Grant {
    /// Instances in all.
    pub fn total(&self) -> u32 {
        self.active + self.standby
    }
}

/// Why, and for whose sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub cause: Cause,
    /// The workload that has most of what was refused, beyond its minimum.
    pub sake: Option<usize>,
}

/// Shares out the supply. Answers in the order of the claims.
pub fn grant(supply: &Supply, claims: &[Claim]) -> Vec<Grant> {
    let mut sharing = Sharing {
        supply,
        claims,
        room: supply.size,
        used: vec![Resources::NONE; supply.tenants.len()],
        grants: vec![Grant::default(); claims.len()],
        blocked: vec![None; claims.len()],
    };
    let mut classes: BTreeMap<Reverse<u8>, Vec<usize>> = BTreeMap::new();
    for (at, claim) in claims.iter().enumerate() {
        classes.entry(Reverse(claim.class)).or_default().push(at);
    }
    for round in [Round::Minimum, Round::Active, Round::Standby] {
        for members in classes.values() {
            sharing.fill(members, round);
        }
    }
    sharing.explain(&classes);
    sharing.grants
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Minimum,
    Active,
    Standby,
}

/// What stopped a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Quota,
    Room,
}

struct Sharing<'a> {
    supply: &'a Supply,
    claims: &'a [Claim],
    room: Resources,
    /// By tenant, over all classes.
    used: Vec<Resources>,
    grants: Vec<Grant>,
    blocked: Vec<Option<Block>>,
}

/// By share, then by number; the least first.
type Rank = Reverse<(u64, usize, usize)>;

impl Sharing<'_> {
    fn missing(&self, at: usize, round: Round) -> u32 {
        let (claim, got) = (&self.claims[at], &self.grants[at]);
        match round {
            Round::Minimum => claim.minimum.min(claim.active).saturating_sub(got.active),
            Round::Active => claim.active.saturating_sub(got.active),
            Round::Standby => claim.standby.saturating_sub(got.standby),
        }
    }

    fn give(&mut self, at: usize, round: Round, count: u32) {
        let claim = self.claims[at];
        let size = claim.needs.times(count);
        self.room = self.room.minus(size);
        self.used[claim.tenant] = self.used[claim.tenant].plus(size);
        match round {
            Round::Minimum | Round::Active => self.grants[at].active += count,
            Round::Standby => self.grants[at].standby += count,
        }
    }

    /// One round of one class.
    fn fill(&mut self, members: &[usize], round: Round) {
        let open: Vec<usize> = members.iter().copied().filter(|at| self.missing(*at, round) > 0).collect();
        if self.all_fit(&open, round) {
            for at in open {
                self.give(at, round, self.missing(at, round));
            }
            return;
        }
        let mut held = vec![Resources::NONE; self.used.len()];
        for at in members {
            let claim = &self.claims[*at];
            held[claim.tenant] = held[claim.tenant].plus(claim.needs.times(self.grants[*at].total()));
        }
        let mut queues: BTreeMap<usize, BinaryHeap<Rank>> = BTreeMap::new();
        for at in open {
            queues.entry(self.claims[at].tenant).or_default().push(self.rank(at));
        }
        let mut tenants: BinaryHeap<Rank> =
            queues.iter().filter_map(|(tenant, queue)| self.turn(*tenant, queue, &held)).collect();
        while let Some(Reverse((_, _, tenant))) = tenants.pop() {
            let Some(queue) = queues.get_mut(&tenant) else { continue };
            let Some(Reverse((_, _, at))) = queue.pop() else { continue };
            let needs = self.claims[at].needs;
            match self.block(at) {
                Some(block) => self.blocked[at] = self.blocked[at].or(Some(block)),
                None => {
                    self.give(at, round, 1);
                    held[tenant] = held[tenant].plus(needs);
                    if self.missing(at, round) > 0 {
                        queue.push(self.rank(at));
                    }
                }
            }
            tenants.extend(self.turn(tenant, queue, &held));
        }
    }

    /// Nobody has to wait for anybody.
    fn all_fit(&self, open: &[usize], round: Round) -> bool {
        let mut asked = vec![Resources::NONE; self.used.len()];
        let mut sum = Resources::NONE;
        for at in open {
            let claim = &self.claims[*at];
            let size = claim.needs.times(self.missing(*at, round));
            sum = sum.plus(size);
            asked[claim.tenant] = asked[claim.tenant].plus(size);
        }
        let within = |(tenant, asked): (usize, &Resources)| {
            let quota = self.supply.tenants[tenant].quota;
            quota.is_none_or(|quota| self.used[tenant].plus(*asked).fits(quota))
        };
        sum.fits(self.room) && asked.iter().enumerate().all(within)
    }

    /// What keeps the next instance of a claim out.
    fn block(&self, at: usize) -> Option<Block> {
        let claim = &self.claims[at];
        let quota = self.supply.tenants[claim.tenant].quota;
        if quota.is_some_and(|quota| !self.used[claim.tenant].plus(claim.needs).fits(quota)) {
            return Some(Block::Quota);
        }
        (!claim.needs.fits(self.room)).then_some(Block::Room)
    }

    /// The turn of a claim within its tenant: by what it would have with one more.
    fn rank(&self, at: usize) -> Rank {
        let claim = &self.claims[at];
        let size = claim.needs.times(self.grants[at].total() + 1);
        Reverse((size.share_of(self.supply.size).to_bits(), claim.workload, at))
    }

    /// The turn of a tenant: by what it would have with one more instance of its next claim, for its weight.
    fn turn(&self, tenant: usize, queue: &BinaryHeap<Rank>, held: &[Resources]) -> Option<Rank> {
        let Reverse((_, workload, at)) = queue.peek()?;
        let size = held[tenant].plus(self.claims[*at].needs);
        let share = size.share_of(self.supply.size) / self.supply.tenants[tenant].weight;
        Some(Reverse((share.to_bits(), *workload, tenant)))
    }

    /// What a claim holds beyond its minimum, as a share of all; for finding who has what others were refused.
    fn beyond(&self, at: usize) -> f64 {
        let (claim, got) = (&self.claims[at], &self.grants[at]);
        let count = got.total().saturating_sub(claim.minimum);
        claim.needs.times(count).share_of(self.supply.size)
    }

    fn explain(&mut self, classes: &BTreeMap<Reverse<u8>, Vec<usize>>) {
        let mut above: Option<Holder> = None;
        for members in classes.values() {
            let mut holders: Vec<Holder> = members
                .iter()
                .map(|at| Holder { share: self.beyond(*at), workload: self.claims[*at].workload })
                .filter(|holder| holder.share > 0.0)
                .collect();
            holders.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.workload.cmp(&b.workload)));
            for at in members {
                let own = self.claims[*at].workload;
                let peer = holders.iter().take(2).find(|holder| holder.workload != own);
                self.grants[*at].refused = self.blocked[*at].map(|block| match (block, above, peer) {
                    (Block::Quota, _, _) => Refused { cause: Cause::Quota, sake: None },
                    (Block::Room, Some(above), _) => {
                        Refused { cause: Cause::Priority, sake: Some(above.workload) }
                    }
                    (Block::Room, None, Some(peer)) => {
                        Refused { cause: Cause::Share, sake: Some(peer.workload) }
                    }
                    (Block::Room, None, None) => Refused { cause: Cause::Supply, sake: None },
                });
            }
            let best = holders.first().copied();
            above = match (above, best) {
                (Some(above), Some(best)) if best.share > above.share => Some(best),
                (above, best) => above.or(best),
            };
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Holder {
    share: f64,
    workload: usize,
}

#[cfg(test)]
mod tests;
