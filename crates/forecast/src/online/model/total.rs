//! The sum of a path, while its median is followed: what its 90 % interval would be over drawn paths.

use crate::calibration::MEDIAN;
use crate::online::bucket::{Bond, Bucket};
use crate::online::sums::{SUMS, Ties, Total};

use super::Model;
use super::answer::{Doubts, Stretch};

/// The intervals of the sums of the first steps, up to each of [`SUMS`] that was passed.
pub(super) struct Intervals<'a> {
    model: &'a Model,
    /// Of each bucket.
    bonds: Vec<Bond>,
    quantiles: Vec<[f64; 3]>,
    doubts: Doubts,
    ties: Ties,
    total: Total,
    pub(super) found: [(f64, f64); SUMS.len()],
    passed: usize,
}

impl<'a> Intervals<'a> {
    pub(super) fn new(model: &'a Model) -> Intervals<'a> {
        let quantiles = |bucket: &Bucket| {
            let values = bucket.residuals.values();
            LOW_MIDDLE_HIGH.map(|k| values[k])
        };
        Intervals {
            bonds: model.buckets.iter().map(Bucket::bond).collect(),
            quantiles: model.buckets.iter().map(quantiles).collect(),
            doubts: model.doubts(),
            ties: Ties::of(&model.sums),
            total: Total::default(),
            found: [(0.0, 0.0); SUMS.len()],
            passed: 0,
            model,
        }
    }

    /// Goes on along some more steps.
    pub(super) fn go(&mut self, stretch: &Stretch<'_>) {
        let (lower, upper) = (stretch.lower, stretch.upper);
        let spread = |bucket: usize, slot: u8| {
            self.model.spread.at(usize::from(slot), self.model.buckets[bucket].range())
        };
        let (mut slot, mut spreads) = (None, (0.0, 0.0));
        let bond = self.model.bond_along(stretch, &self.bonds, &self.ties);
        let (own, shared) = bond.parts();
        for i in 0..stretch.medians.len() {
            let (share, median) = (f64::from(stretch.shares[i]), f64::from(stretch.medians[i]));
            if slot != Some(stretch.slots[i]) {
                slot = Some(stretch.slots[i]);
                spreads = (spread(lower, stretch.slots[i]), spread(upper, stretch.slots[i]));
            }
            let low = (1.0 - share) * spreads.0 * self.doubts.factor(lower, median, spreads.0);
            let high = share * spreads.1 * self.doubts.factor(upper, median, spreads.1);
            let (near, far) = (&self.quantiles[lower], &self.quantiles[upper]);
            let [least, middle, most] =
                std::array::from_fn(|q| (median + low * near[q] + high * far[q]).max(self.model.floor));
            self.total.add(middle, (middle - least, most - middle), bond.alike, (own, shared));
            if self.passed < SUMS.len() && stretch.first + i + 1 == SUMS[self.passed] {
                self.found[self.passed] = self.total.interval();
                self.passed += 1;
            }
        }
    }
}

impl Model {
    /// How the errors of neighbouring steps of a stretch hang together, with what sums have shown.
    pub(super) fn bond_along(&self, stretch: &Stretch<'_>, bonds: &[Bond], ties: &Ties) -> Bond {
        let middle = stretch.medians.len() / 2;
        // What links the first two steps was learned two steps ahead.
        let within = |bucket: usize| bonds[bucket.max(1).min(bonds.len() - 1)];
        let share = f64::from(stretch.shares[middle]);
        let bond = within(stretch.lower).towards(within(stretch.upper), share);
        bond.tied(ties.at(stretch.first + middle + 1))
    }
}

/// Places of 0.05, the median and 0.95 in the grid.
const LOW_MIDDLE_HIGH: [usize; 3] = [2, MEDIAN, 8];
