//! Where a new instance goes.
//!
//! To the node whose forecast peak it raises least: what peaks at other hours than those already there adds little. Among
//! about equals: to another place than the workload's other instances, away from workloads whose days look alike, to the
//! cheaper node. Spare nodes, and nodes whose cores would be exceeded at the peak, only when there is no other.

use std::cmp::Ordering;

use super::cluster::Cluster;
use super::outline::Sum;

/// A node that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seat {
    pub(crate) node: usize,
    /// Forecast peak of the node with the instance, in cores.
    pub(crate) peak: f64,
    /// How much of it the instance adds.
    pub(crate) rise: f64,
}

/// Which nodes are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Among {
    /// All; spare ones last.
    All,
    /// One.
    Only(usize),
    /// All but the one that it leaves.
    But(usize),
    /// Spare ones, for one that leaves another.
    Spare,
    /// Those that are not spare, for one that leaves another.
    Normal,
}

impl Among {
    /// Who moves leaves another node, so that its workload has no instance more to share its future.
    fn more(self) -> u32 {
        match self {
            Among::All | Among::Only(_) => 1,
            Among::But(_) | Among::Spare | Among::Normal => 0,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Rank {
    spare: bool,
    over: bool,
    /// In parts of what the instance uses alone.
    rise: u32,
    same_place: u32,
    same_node: u32,
    alike: u32,
    price: f64,
}

impl Rank {
    fn order(&self, other: &Rank) -> Ordering {
        let key = |r: &Rank| (r.spare, r.over, r.rise, r.same_place, r.same_node, r.alike);
        key(self).cmp(&key(other)).then(self.price.total_cmp(&other.price))
    }
}

impl Cluster {
    /// The best node that has room for one more instance of a workload.
    pub(crate) fn seat(&mut self, at: usize, among: Among) -> Option<Seat> {
        let mut best: Option<(Rank, Seat)> = None;
        let (count, mut weighed) = (self.nodes.len(), [0; 2]);
        // Where there are very many, others are looked at each time.
        let first = if count > WEIGHED_MAX { self.seats_taken % count } else { 0 };
        self.seats_taken = self.seats_taken.wrapping_add(1);
        for node in (first..count).chain(0..first) {
            let asked = match among {
                Among::All => true,
                Among::Only(one) => node == one,
                Among::But(other) => node != other,
                Among::Spare => self.nodes[node].policy.spare,
                Among::Normal => !self.nodes[node].policy.spare,
            };
            if !asked || !self.members[at].claim.needs.fits(self.nodes[node].left()) {
                continue;
            }
            let seen = &mut weighed[usize::from(self.nodes[node].policy.spare)];
            *seen += 1;
            if *seen > WEIGHED_MAX {
                continue;
            }
            let Some((rank, seat)) = self.weigh(at, node, among.more()) else { continue };
            if best.as_ref().is_none_or(|(other, _)| rank.order(other) == Ordering::Less) {
                best = Some((rank, seat));
            }
        }
        best.map(|(_, seat)| seat)
    }

    /// The forecast of a node without and with one more instance of a workload, and the peak of that instance alone. `more`:
    /// instances that the workload then has more in all.
    pub(crate) fn loads(&mut self, at: usize, node: usize, more: u32) -> (Sum, Sum, f64) {
        let own = self.members[at].on.get(&node).copied().unwrap_or(0);
        let mut before = match own {
            0 => self.nodes[node].load(&self.members).clone(),
            _ => self.nodes[node].load_without(&self.members, Some(at)),
        };
        let Some(outline) = &self.members[at].outline else { return (before.clone(), before, 0.0) };
        // Both are counted as if it were there: then the workload's future may be spread over one instance more.
        let part = 1.0 / self.members[at].spread(more);
        let mut one = Sum::empty();
        one.add(outline, part);
        let mut with = before.clone();
        with.add(outline, part * f64::from(own + 1));
        before.add(outline, part * f64::from(own));
        (before, with, one.peak())
    }

    /// What one more instance would do to a node; `None` when its cores are promised more than once and the peak is too
    /// high for that.
    fn weigh(&mut self, at: usize, node: usize, more: u32) -> Option<(Rank, Seat)> {
        let (before, with, alone) = self.loads(at, node, more);
        let (member, policy) = (&self.members[at], &self.nodes[node].policy);
        let own = member.on.get(&node).copied().unwrap_or(0);
        let (peak, rise) = (with.peak(), with.peak() - before.peak());
        let over = peak > policy.size.cores();
        if over && policy.overcommit > 1.0 {
            return None;
        }
        let elsewhere = member.on.iter();
        let in_place = elsewhere.filter(|(other, _)| self.nodes[**other].policy.place == policy.place);
        let alike = self.nodes[node].on.keys().filter(|other| {
            **other != at && member.group.is_some() && self.members[**other].group == member.group
        });
        let rank = Rank {
            spare: policy.spare,
            over,
            rise: if alone > 0.0 { (rise / alone * PARTS).round().max(0.0) as u32 } else { 0 },
            same_place: in_place.map(|(_, count)| count).sum(),
            same_node: own,
            alike: u32::try_from(alike.count()).unwrap_or(u32::MAX),
            price: policy.price,
        };
        Some((rank, Seat { node, peak, rise }))
    }
}

/// Bounds the work of one placement: so many normal and so many spare nodes with room are weighed.
const WEIGHED_MAX: usize = 64;
/// Rises that differ by less than this part of the instance's own peak are equal.
const PARTS: f64 = 10.0;

#[cfg(test)]
mod tests;
