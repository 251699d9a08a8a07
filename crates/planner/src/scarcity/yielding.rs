//! Who gives way where what is granted to a higher class fits on no node, and no move would help.
//!
//! Grants count what all nodes have together; a node has only what is left on it. So a higher class may be granted what no
//! single node has room for, while lower classes hold more than their minimum there. Where that would make room, one of them is
//! granted an instance fewer and gives it up on that node, and then another. They are granted it again some time after the one
//! for whose sake it was has found room.

use std::time::Duration;

use forecast::Timestamp;

use super::cluster::{Cluster, Member};
use super::foresee::Proposal;
use super::grant::{Cause, Claim, Grant, Refused};
use super::reason::MoveCause;

/// A workload that gives way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Yielding {
    /// Instances that it may be granted at most.
    most: u32,
    /// The workload for whose sake.
    sake: usize,
    /// Since when that one waits no more, on the internal clock.
    over_since: Option<Timestamp>,
}

impl Member {
    /// What it asks for, as far as nodes could ever serve it and others leave it.
    pub(super) fn within(&self) -> Claim {
        let most = self.yielding.map_or(self.most, |yielding| self.most.min(yielding.most));
        let active = self.claim.active.min(most);
        Claim { active, standby: self.claim.standby.min(most - active), ..self.claim }
    }

    /// A grant that is less than was asked for because no more could be granted, with the reason.
    pub(super) fn cut(&self, grant: Grant) -> Grant {
        if grant.total() >= self.claim.active + self.claim.standby {
            return grant;
        }
        let refused = match self.yielding {
            Some(Yielding { sake, .. }) => Refused { cause: Cause::Priority, sake: Some(sake) },
            None => Refused { cause: Cause::Supply, sake: None },
        };
        Grant { refused: grant.refused.or(Some(refused)), ..grant }
    }
}

/// What would have to leave a node. The order is that of preference: low classes, then few instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Leaving {
    class: u8,
    instances: u32,
    node: usize,
    /// The first to give one up.
    first: usize,
}

impl Cluster {
    /// Lets one of a lower class give up an instance, for the first of those that wait for room whom that would help in the
    /// end. Returns which is to leave.
    pub(super) fn let_one_yield(&mut self, now: Timestamp, waiters: &[usize]) -> Option<Proposal> {
        let found = waiters.iter().find_map(|waiter| Some((*waiter, self.least_in_the_way(*waiter)?)));
        let (sake, Leaving { node, first, .. }) = found?;
        let most = self.members[first].grant.total() - 1;
        self.members[first].yielding = Some(Yielding { most, sake, over_since: None });
        self.share_at_once(now);
        let cause = MoveCause::RoomFor(self.members[sake].id.clone());
        Some(Proposal { workload: first, from: node, to: None, cause })
    }

    fn least_in_the_way(&self, waiter: usize) -> Option<Leaving> {
        let open = |node: &usize| self.nodes[*node].up && !self.nodes[*node].policy.closed;
        (0..self.nodes.len()).filter(open).filter_map(|node| self.in_the_way(waiter, node)).min()
    }

    /// Those of lower classes without which an instance of the waiter would have room on a node; `None` where their minimum is
    /// in the way, or nothing.
    fn in_the_way(&self, waiter: usize, node: usize) -> Option<Leaving> {
        let claim = &self.members[waiter].claim;
        let mut left = self.nodes[node].left();
        let mut lower: Vec<(u8, usize, u32)> = Vec::new();
        for (at, count) in &self.nodes[node].on {
            let other = &self.members[*at];
            let beyond = other.grant.total().saturating_sub(other.claim.minimum);
            if other.claim.class < claim.class {
                lower.push((other.claim.class, *at, beyond.min(*count)));
            }
        }
        lower.sort_unstable();
        let mut each = lower.into_iter().flat_map(|(class, at, count)| (0..count).map(move |_| (class, at)));
        let mut leaving: Option<Leaving> = None;
        while !claim.needs.fits(left) {
            let (class, at) = each.next()?;
            left = left.plus(self.members[at].claim.needs);
            let (instances, first) = leaving.map_or((0, at), |before| (before.instances, before.first));
            leaving = Some(Leaving { class, instances: instances + 1, node, first });
        }
        leaving
    }

    /// Grants again what was given up for those who have had room for a while.
    pub(crate) fn end_yielding(&mut self, now: Timestamp) {
        for member in &mut self.members {
            let Some(yielding) = &mut member.yielding else { continue };
            yielding.over_since = match self.waiting.contains(&yielding.sake) {
                true => None,
                false => yielding.over_since.or(Some(now)),
            };
            if yielding.over_since.is_some_and(|since| now.since(since) >= YIELDS_ON_FOR) {
                member.yielding = None;
                self.stale = true;
            }
        }
    }

    /// Whether anybody gives way.
    pub(crate) fn any_yields(&self) -> bool {
        self.members.iter().any(|member| member.yielding.is_some())
    }
}

/// A start that fails is tried again by then.
const YIELDS_ON_FOR: Duration = Duration::from_secs(60);
