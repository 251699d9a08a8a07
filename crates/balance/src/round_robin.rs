//! Smooth weighted round robin, as in nginx: exact shares, and the turns of a heavy target spread among the others'.

/// The state of one rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmoothRoundRobin {
    /// Weight and credit per target.
    targets: Vec<(u32, i64)>,
}

impl SmoothRoundRobin {
    /// A rotation over these weights.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        Self { targets: weights.into_iter().map(|weight| (weight, 0)).collect() }
    }

    /// The next target among those `usable`. Linear in the number of targets. None when no usable target has weight.
    ///
    /// Over any run of as many picks as the weights' sum, each target gets exactly its weight (while all are usable).
    pub fn pick(&mut self, mut usable: impl FnMut(usize) -> bool) -> Option<usize> {
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
}
