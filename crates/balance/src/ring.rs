//! A ring of hashes on which every target owns arcs in proportion to its weight (Karger and others, 1997).
//!
//! A target's points depend on its own id and weight alone: when one leaves, its keys move and no other, and the
//! order in which targets are listed does not matter. What a ring pays for that is uneven arcs: with the points used here the
//! share of a target strays from its weight by about 5 % (one standard deviation). A Maglev table is even, but moves keys
//! between targets that stay; measured by `cargo run --release -p balance --example picks`.
//!
//! A key is found through an index of its leading bits, in the time of two memory accesses however many targets there are.

use crate::hash::mix;

/// The points of all targets with weight, in the order of their hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Hash (upper 32 bits) and index of the target (lower 32 bits).
    points: Vec<u64>,
    /// By leading bits of a hash: the first point at or after it.
    starts: Vec<u32>,
    shift: u32,
}

impl Ring {
    /// A ring of targets, each with an id that is unique and stays the same, and a weight.
    pub fn new(targets: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let listed = targets.into_iter().enumerate().filter(|&(_, (_, weight))| weight > 0);
        let mut targets: Vec<_> =
            listed.map(|(index, (id, weight))| (id, index, u64::from(weight))).collect();
        // Points that meet go by id.
        targets.sort_unstable();
        let Some(most) = targets.iter().map(|&(_, _, weight)| weight).max() else { return Self::default() };
        // The unit is a power of two, so that it stays the same while weights move below it.
        let mut unit = most.ilog2();
        let count = |weight: u64, unit: u32| ((weight * POINTS) >> unit).max(1);
        while targets.iter().map(|&(_, _, weight)| count(weight, unit)).sum::<u64>() > POINTS_MAX {
            unit += 1;
        }
        let mut points = Vec::new();
        for (rank, &(id, _, weight)) in targets.iter().enumerate() {
            let seed = mix(id);
            let hashes = (0..count(weight, unit)).map(|n| mix(seed.wrapping_add(n.wrapping_mul(STRIDE))));
            points.extend(hashes.map(|hash| hash >> 32 << 32 | rank as u64));
        }
        points.sort_unstable();
        for point in &mut points {
            let (_, index, _) = targets[(*point & 0xffff_ffff) as usize];
            *point = *point >> 32 << 32 | index as u64;
        }
        Self::indexed(points)
    }

    fn indexed(points: Vec<u64>) -> Self {
        let bits = (points.len() as u64).next_power_of_two().ilog2();
        let mut starts = Vec::with_capacity(1 << bits);
        let mut next = 0;
        for prefix in 0..1u64 << bits {
            while points.get(next).is_some_and(|point| u128::from(*point) << bits >> 64 < u128::from(prefix))
            {
                next += 1;
            }
            starts.push(next as u32);
        }
        Self { points, starts, shift: 64 - bits }
    }

    /// The targets in the order in which they are asked to take `key` (a hash); a target comes up as often as it has points.
    pub fn from_key(&self, key: u64) -> impl Iterator<Item = usize> + '_ {
        let first = self.first(key);
        let (before, after) = self.points.split_at(first);
        after.iter().chain(before).map(|point| (point & 0xffff_ffff) as usize)
    }

    /// The target on whose arc `key` (a hash) is.
    pub fn owner(&self, key: u64) -> Option<usize> {
        self.from_key(key).next()
    }

    /// The place of the first point at or after a key.
    fn first(&self, key: u64) -> usize {
        let key = key >> 32 << 32;
        // One point has one place for all keys.
        let prefix = key.checked_shr(self.shift).unwrap_or(0) as usize;
        let Some(&start) = self.starts.get(prefix) else { return 0 };
        let ahead = self.points[start as usize..].iter().take_while(|&&point| point < key).count();
        start as usize + ahead
    }
}

/// Points of a target whose weight is a power of two and the largest; others in proportion.
const POINTS: u64 = 256;
/// Between the inputs of two points' hashes; odd.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;
/// Points of all targets.
const POINTS_MAX: u64 = 1 << 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_finds_what_a_search_finds() {
        for count in [1u64, 2, 3, 10, 100] {
            let ring = Ring::new((0..count).map(|id| (id * 7, 1000)));
            for key in (0..5000).map(mix).chain([0, u64::MAX]) {
                let place = ring.points.partition_point(|&point| point < key >> 32 << 32);
                let found = ring.points[place % ring.points.len()] & 0xffff_ffff;
                assert_eq!(ring.owner(key), Some(found as usize), "{count} {key}");
            }
        }
    }

    #[test]
    fn nobody_owns_a_ring_without_weight() {
        assert_eq!(Ring::new([(1, 0)]).owner(5), None);
        assert_eq!(Ring::default().owner(5), None);
    }

    #[test]
    fn as_many_points_as_are_allowed_are_enough_for_all() {
        let ring = Ring::new((0..6000).map(|id| (id, 1000)));
        assert!(ring.points.len() as u64 <= POINTS_MAX && ring.points.len() > 6000 * 100);
    }
}
