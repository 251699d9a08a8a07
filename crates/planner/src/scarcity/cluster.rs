//! All nodes and all claims on them: kept up to date with every plan, shared out anew only when that can change something.
//!
//! While everything fits, a claim is granted at once and nobody else is looked at. Only when something was refused, or would
//! have to be, are all claims weighed together, and then at most once per tick of the quickest workload.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forecast::Timestamp;

use super::grant::{Cause, Claim, Grant, Refused, Supply, Tenant, grant};
use super::inventory::{NodePolicy, tenants_of};
use super::node::Node;
use super::outline::{Outline, Sum};
use super::resources::Resources;
use crate::ids::{NodeId, WorkloadId};
use crate::policy::{Mode, Policy};

/// What the cluster knows of one workload.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: WorkloadId,
    /// It runs instances. One that only plans claims nothing.
    pub(crate) acts: bool,
    pub(crate) claim: Claim,
    /// The least that is booked for one instance; `claim.needs` is what is booked now.
    pub(crate) base: Resources,
    /// Processor time that each instance may use beyond that, in thousandths of a core.
    pub(crate) lent: u64,
    /// When there was too little of that last, on the internal clock.
    pub(crate) lent_less: Option<Timestamp>,
    pub(crate) grant: Grant,
    /// As many as all nodes could hold if they were empty, at most `replicas_max`.
    pub(crate) most: u32,
    pub(crate) replicas_max: u32,
    /// By whom it lost how many instances when grants changed last; kept while it is short.
    pub(crate) taken: Option<(usize, u32)>,
    /// From whom others lost how many for its sake then.
    pub(crate) took: Option<(usize, u32)>,
    /// Its instances, by node.
    pub(crate) on: BTreeMap<usize, u32>,
    /// The coming day of the whole workload, and when it was drawn on the internal clock.
    pub(crate) outline: Option<Outline>,
    pub(crate) outlined_at: Timestamp,
    pub(crate) group: Option<u32>,
    /// It gives way to a higher class.
    pub(super) yielding: Option<super::yielding::Yielding>,
}

impl Member {
    /// Instances that share the workload's future, if one more is there.
    pub(crate) fn spread(&self, more: u32) -> f64 {
        let placed: u32 = self.on.values().sum();
        f64::from((placed + more).max(self.grant.total()).max(1))
    }

    /// Adds the part of so many of its instances to a forecast.
    pub(crate) fn add_to(&self, sum: &mut Sum, count: u32) {
        if let Some(outline) = &self.outline {
            sum.add(outline, f64::from(count) / self.spread(0));
        }
    }
}

/// Nodes, and who gets what of them.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    index: BTreeMap<NodeId, usize>,
    pub(crate) members: Vec<Member>,
    pub(crate) supply: Supply,
    /// The sum of all grants, and by tenant.
    pub(crate) granted: Resources,
    pub(crate) by_tenant: Vec<Resources>,
    /// Members that did not get all.
    pub(crate) refused: usize,
    /// The grants may no longer be what they should be.
    pub(crate) stale: bool,
    /// When the grants were shared out last, on the internal clock.
    shared_at: Option<Timestamp>,
    pace: Duration,
    /// When the next look at everything together is due, on the internal clock.
    pub(crate) due: Option<Timestamp>,
    /// Orders are given after all plans of this moment are made.
    pub(crate) batching: bool,
    /// Everybody is being looked at, in the order of priority.
    pub(crate) sharing: bool,
    /// Outlines that may still be drawn in this call.
    pub(crate) outlines_left: u32,
    pub(crate) deferred: BTreeSet<usize>,
    /// Counts up with each search for a seat.
    pub(crate) seats_taken: usize,
    /// Those that no node had room for.
    pub(crate) waiting: BTreeSet<usize>,
    /// Bytes that each instance of a member would have beyond what is booked, where there was no room for all that it asked for.
    pub(crate) lacking: BTreeMap<usize, u64>,
    pub(crate) foresight: super::foresee::Foresight,
}

impl Cluster {
    /// `None` without nodes.
    pub(crate) fn new(policy: &Policy, now: Timestamp) -> Option<Box<Cluster>> {
        if policy.nodes.is_empty() {
            return None;
        }
        let tenant = |weight, quota| Tenant { weight, quota };
        let named = policy.tenants.iter().map(|t| tenant(t.weight, t.quota));
        let tenants: Vec<Tenant> = named.chain([tenant(1.0, None)]).collect();
        let members = policy.workloads.iter().zip(tenants_of(policy)).enumerate();
        let members = members.map(|(at, (w, tenant))| Member {
            id: w.id.clone(),
            acts: w.mode == Mode::Act,
            claim: Claim {
                workload: at,
                tenant,
                class: w.priority,
                needs: w.needs_least(),
                minimum: w.replicas_min,
                // What is promised is set aside before the first plans are made.
                active: w.replicas_min,
                standby: 0,
            },
            base: w.needs_least(),
            lent: 0,
            lent_less: None,
            grant: Grant::default(),
            most: w.replicas_max,
            replicas_max: w.replicas_max,
            taken: None,
            took: None,
            on: BTreeMap::new(),
            outline: None,
            outlined_at: now,
            group: None,
            yielding: None,
        });
        let mut cluster = Cluster {
            nodes: policy.nodes.iter().cloned().map(Node::new).collect(),
            index: policy.nodes.iter().enumerate().map(|(at, node)| (node.id.clone(), at)).collect(),
            members: members.collect(),
            by_tenant: vec![Resources::NONE; tenants.len()],
            supply: Supply { size: Resources::NONE, tenants },
            granted: Resources::NONE,
            refused: 0,
            stale: true,
            shared_at: None,
            pace: policy.workloads.iter().map(|w| w.tick).min().unwrap_or_default(),
            due: None,
            batching: false,
            sharing: false,
            outlines_left: 1,
            deferred: BTreeSet::new(),
            seats_taken: 0,
            waiting: BTreeSet::new(),
            lacking: BTreeMap::new(),
            foresight: super::foresee::Foresight::new(now),
        };
        cluster.count_nodes();
        cluster.share_out(now);
        // Whatever comes before the first look at all is weighed then, not in the order in which it came.
        (cluster.stale, cluster.shared_at, cluster.batching) = (true, None, true);
        Some(Box::new(cluster))
    }

    pub(crate) fn node(&self, id: &NodeId) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// What may be promised on each node that is there.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = Resources> {
        self.nodes.iter().filter(|node| node.up).map(|node| node.policy.room())
    }

    /// After a change of the nodes.
    fn count_nodes(&mut self) {
        self.supply.size = self.rooms().fold(Resources::NONE, Resources::plus);
        for at in 0..self.members.len() {
            let member = &self.members[at];
            self.members[at].most = count_in_all(self.rooms(), member.claim.needs, member.replicas_max);
        }
        // Nothing that changes the nodes may wait.
        (self.stale, self.shared_at) = (true, None);
    }

    /// A node is there: a new one, or one that was lost, perhaps of another size.
    pub(crate) fn appeared(&mut self, policy: NodePolicy) -> bool {
        if policy.validate().is_err() {
            return false;
        }
        match self.node(&policy.id) {
            Some(at) if self.nodes[at].up && self.nodes[at].policy == policy => return false,
            Some(at) => {
                let node = &mut self.nodes[at];
                (node.policy, node.up) = (policy, true);
                // One that has shrunk keeps what is on it.
                if !node.used.fits(node.policy.room()) {
                    node.adopted = node.used;
                }
            }
            None => {
                self.index.insert(policy.id.clone(), self.nodes.len());
                self.nodes.push(Node::new(policy));
            }
        }
        self.count_nodes();
        true
    }

    /// A node is gone; returns the workloads that had instances on it.
    pub(crate) fn lost(&mut self, id: &NodeId) -> Option<Vec<usize>> {
        let at = self.node(id).filter(|at| self.nodes[*at].up)?;
        self.nodes[at].up = false;
        self.count_nodes();
        Some(self.nodes[at].on.keys().copied().collect())
    }

    /// What a workload asks for now, and what it gets for now.
    pub(crate) fn claim(&mut self, at: usize, active: u32, standby: u32) -> Grant {
        let member = &mut self.members[at];
        if !member.acts {
            return Grant { active, standby, refused: None };
        }
        if (member.claim.active, member.claim.standby) == (active, standby) {
            return member.grant;
        }
        let more = active > member.claim.active;
        (member.claim.active, member.claim.standby) = (active, standby);
        let (before, spread) = (member.grant, member.spread(0));
        let Claim { active: most_active, standby: most_standby, .. } = member.within();
        let all = member.cut(Grant { active: most_active, standby: most_standby, refused: None });
        let grant = if self.refused == 0 && !self.stale && self.has_room_for(at, all) {
            all
        } else {
            // Less is given back at once; more waits. What it has may serve as either.
            let kept = active.min(before.total());
            let kept = Grant { active: kept, standby: standby.min(before.total() - kept), ..before };
            let all = kept.total() == active + standby;
            self.stale |= !all || self.refused > 0;
            let pending = Some(Refused { cause: Cause::Pending, sake: None });
            // Why it was refused less says nothing of what it asks for now.
            let refused = if more { pending } else { before.refused.or(pending) };
            Grant { refused: refused.filter(|_| !all), ..kept }
        };
        self.set(at, grant);
        if self.members[at].spread(0) != spread {
            self.forget(at);
        }
        grant
    }

    fn has_room_for(&self, at: usize, grant: Grant) -> bool {
        let member = &self.members[at];
        let (claim, before) = (&member.claim, claimed(member));
        let after = claim.needs.times(grant.total());
        let quota = self.supply.tenants[claim.tenant].quota;
        let used = self.by_tenant[claim.tenant].minus(before).plus(after);
        self.granted.minus(before).plus(after).fits(self.supply.size)
            && quota.is_none_or(|quota| used.fits(quota))
    }

    fn set(&mut self, at: usize, grant: Grant) {
        let before = claimed(&self.members[at]);
        let member = &mut self.members[at];
        self.refused -= usize::from(member.grant.refused.is_some());
        self.refused += usize::from(grant.refused.is_some());
        member.grant = grant;
        if grant.refused.is_none() {
            member.taken = None;
        }
        self.regranted(at, before);
    }

    /// Puts the sums right after a member claimed `before`.
    pub(crate) fn regranted(&mut self, at: usize, before: Resources) {
        let (after, tenant) = (claimed(&self.members[at]), self.members[at].claim.tenant);
        self.granted = self.granted.minus(before).plus(after);
        self.by_tenant[tenant] = self.by_tenant[tenant].minus(before).plus(after);
    }

    /// No more is granted than there is, and no tenant has more than its quota.
    pub(crate) fn grants_fit(&self) -> bool {
        let mut tenants = self.supply.tenants.iter().zip(&self.by_tenant);
        self.granted.fits(self.supply.size)
            && tenants.all(|(tenant, used)| tenant.quota.is_none_or(|quota| used.fits(quota)))
    }

    /// All claims are to be weighed before anything else is decided.
    pub(crate) fn share_at_once(&mut self, now: Timestamp) {
        (self.stale, self.shared_at) = (true, None);
        self.wake(now);
    }

    /// A workload did not get all that it asked for.
    pub(crate) fn is_short(&self, at: usize) -> bool {
        self.members[at].grant.refused.is_some()
    }

    /// The grants may be shared out now; otherwise says when.
    pub(crate) fn may_share(&mut self, now: Timestamp) -> bool {
        if !self.stale {
            return false;
        }
        let next = self.shared_at.map_or(now, |at| at.saturating_add(self.pace));
        if next > now {
            self.wake(next);
        }
        next <= now
    }

    /// Asks for a look at everything at this time at the latest.
    pub(crate) fn wake(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Asks for one after the shortest tick.
    pub(crate) fn wake_later(&mut self, now: Timestamp) {
        self.wake(self.next_look(now));
    }

    pub(crate) fn next_look(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.pace.max(PACE_MIN))
    }

    /// Weighs all claims together. Returns the workloads whose grants changed.
    pub(crate) fn share_out(&mut self, now: Timestamp) -> Vec<usize> {
        let claims: Vec<Claim> = self.members.iter().filter(|m| m.acts).map(Member::within).collect();
        let grants = grant(&self.supply, &claims);
        let mut losers: BTreeMap<usize, (usize, u32)> = BTreeMap::new();
        let mut changed = Vec::new();
        for (claim, grant) in claims.iter().zip(grants) {
            let member = &mut self.members[claim.workload];
            member.took = None;
            let grant = member.cut(grant);
            let lost = member.grant.total().saturating_sub(grant.total());
            if let (true, Some(Refused { sake: Some(by), cause: Cause::Priority })) =
                (lost > 0, grant.refused)
            {
                member.taken = Some((by, lost));
                let largest = losers.entry(by).or_insert((claim.workload, lost));
                if lost > largest.1 {
                    *largest = (claim.workload, lost);
                }
            }
            if grant != member.grant {
                changed.push(claim.workload);
                self.set(claim.workload, grant);
                self.forget(claim.workload);
            }
        }
        for (by, from) in losers {
            self.members[by].took = Some(from);
            changed.push(by);
        }
        changed.sort_unstable();
        changed.dedup();
        (self.stale, self.shared_at) = (false, Some(now));
        changed
    }

    /// An instance is on a node from now on.
    pub(crate) fn take(&mut self, at: usize, node: usize, adopted: bool) {
        let needs = self.members[at].claim.needs;
        self.nodes[node].take(at, needs);
        if adopted {
            self.nodes[node].adopted = self.nodes[node].adopted.plus(needs);
        }
        *self.members[at].on.entry(node).or_default() += 1;
        self.forget(at);
    }

    /// An instance is on its node no more.
    pub(crate) fn free(&mut self, at: usize, node: &NodeId, now: Timestamp) {
        let Some(node) = self.node(node) else { return };
        self.release(at, node);
        if !self.waiting.is_empty() {
            self.wake(now);
        }
    }

    /// Gives back what was taken of a node.
    pub(crate) fn release(&mut self, at: usize, node: usize) {
        self.nodes[node].free(at, self.members[at].claim.needs);
        self.forget(at);
        if let Some(count) = self.members[at].on.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                self.members[at].on.remove(&node);
            }
        }
    }

    /// The coming day of a workload, seen now.
    pub(crate) fn outline(&mut self, at: usize, outline: Outline, now: Timestamp) {
        let member = &mut self.members[at];
        (member.outline, member.outlined_at) = (Some(outline), now);
        self.forget(at);
    }

    /// The forecasts of the nodes that a workload is on are no longer right.
    pub(crate) fn forget(&mut self, at: usize) {
        for node in self.members[at].on.keys() {
            self.nodes[*node].forget();
        }
    }

    /// Those who wait must be looked at before a start of this workload.
    pub(crate) fn yields(&self, at: usize) -> bool {
        let class = self.members[at].claim.class;
        self.waiting.iter().any(|waiter| self.members[*waiter].claim.class > class)
    }
}

/// How many of this size there is room for, at most `limit`.
pub(crate) fn count_in_all(mut rooms: impl Iterator<Item = Resources>, needs: Resources, limit: u32) -> u32 {
    let add = |count: u32, room| match count.saturating_add(needs.count_in(room)).min(limit) {
        enough if enough == limit => Err(limit),
        more => Ok(more),
    };
    rooms.try_fold(0, add).unwrap_or_else(|limit| limit)
}

pub(crate) fn claimed(member: &Member) -> Resources {
    if member.acts { member.claim.needs.times(member.grant.total()) } else { Resources::NONE }
}

const PACE_MIN: Duration = Duration::from_millis(100);
