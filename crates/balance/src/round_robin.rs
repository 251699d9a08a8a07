//! Weighted round robin: shares that follow the weights closely, and the turns of a heavy target spread among the others'.
//!
//! Few targets ([`SCAN_MAX`]) go by the smooth rotation of nginx, which is exact and looks at all of them for every pick. Many are
//! visited by steps of the golden ratio around the sum of their weights, which is as even as a fixed step can be (each target
//! is within a few turns of its share at any time) and costs the same for any number.

use crate::{SCAN_MAX, Weights};

/// The state of one rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmoothRoundRobin {
    /// Weight and credit per target.
    targets: Vec<(u32, i64)>,
    /// Only of many.
    weights: Weights,
    /// Where the steps have come to.
    turn: u64,
}

impl SmoothRoundRobin {
    /// A rotation over these weights.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let targets: Vec<_> = weights.into_iter().map(|weight| (weight, 0)).collect();
        let many = targets.len() > SCAN_MAX;
        let weights =
            if many { Weights::new(targets.iter().map(|&(weight, _)| weight)) } else { Weights::default() };
        Self { targets, weights, turn: 0 }
    }

    /// The next target among those `usable`. None when no usable target has weight.
    ///
    /// Of few targets, over any run of as many picks as the weights' sum, each gets exactly its weight (while all are
    /// usable).
    pub fn pick(&mut self, mut usable: impl FnMut(usize) -> bool) -> Option<usize> {
        if !self.weights.is_empty() {
            for _ in 0..STEPS {
                self.turn = self.turn.wrapping_add(GOLDEN);
                let index = self.weights.draw(self.turn)?;
                if usable(index) {
                    return Some(index);
                }
            }
        }
        self.pick_smoothly(usable)
    }

    fn pick_smoothly(&mut self, mut usable: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, (weight, credit)) in self.targets.iter_mut().enumerate() {
            if *weight == 0 || !usable(index) {
                continue;
            }
            total += i64::from(*weight);
            *credit += i64::from(*weight);
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((index, *credit));
            }
        }
        let (index, _) = best?;
        self.targets[index].1 -= total;
        Some(index)
    }
}

/// The golden ratio's part below 1, of all `u64`s.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Steps until all targets are looked at.
const STEPS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heavy_turns_are_spread_among_the_others() {
        let mut rotation = SmoothRoundRobin::new([5, 1, 1]);
        let picks: Vec<_> = (0..7).filter_map(|_| rotation.pick(|_| true)).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn nobody_is_picked_when_nobody_is_usable() {
        assert_eq!(SmoothRoundRobin::new([5, 0]).pick(|index| index == 1), None);
    }

    #[test]
    fn many_targets_stay_within_a_few_turns_of_their_shares() {
        let weights: Vec<u32> = (0..1000).map(|index| [500, 1000, 1500][index % 3]).collect();
        let total: u32 = weights.iter().sum();
        let mut rotation = SmoothRoundRobin::new(weights.iter().copied());
        let mut turns = vec![0; 1000];
        for picks in 1..=20_000 {
            turns[rotation.pick(|_| true).unwrap()] += 1;
            if picks % 1000 == 0 {
                for (&weight, &turns) in weights.iter().zip(&turns) {
                    let share = f64::from(picks) * f64::from(weight) / f64::from(total);
                    assert!((f64::from(turns) - share).abs() < 3.0, "{turns} for {share}");
                }
            }
        }
        let usable = |index| index == 500 || index == 1;
        assert!((0..100).all(|_| usable(rotation.pick(usable).unwrap())));
    }
}
