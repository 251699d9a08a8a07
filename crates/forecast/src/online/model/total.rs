//! The sum of a path, while its median is followed: what its 90 % interval would be over drawn paths.

use crate::calibration::MEDIAN;
use crate::online::bucket::Bucket;
use crate::online::sums::{Bond, Kinship, MEASURED, SUMS, Ties, Total};

use super::Model;
use super::answer::{Doubts, Stretch};

/// The intervals of the sums of the first steps, up to each of [`SUMS`] that was passed.
pub(super) struct Intervals<'a> {
    model: &'a Model,
    /// Of each bucket.
    alike: Vec<f64>,
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
            alike: model.buckets.iter().map(Bucket::alike).collect(),
            quantiles: model.buckets.iter().map(quantiles).collect(),
            doubts: model.doubts(),
            ties: Ties::of(&model.sums),
            total: Total::default(),
            found: [(0.0, 0.0); SUMS.len()],
            passed: 0,
            model,
        }
    }

    #[inline(always)]
    /// Goes on along some more steps.
    pub(super) fn go(&mut self, stretch: &Stretch<'_>) {
        let kinship = Kinship::new(bond_along(stretch, &self.alike, &self.ties));
        let mut i = 0;
        while i < stretch.medians.len() {
            let [least, middle, most] = self.bounds(stretch, i);
            let left = SUMS.get(self.passed).map_or(MEASURED, |&length| length - stretch.first - i);
            let n = MEASURED.min(left).min(stretch.medians.len() - i);
            let medians: f32 = stretch.medians[i..i + n].iter().sum();
            let offset = middle - f64::from(stretch.medians[i]);
            let sum = f64::from(medians) + n as f64 * offset;
            self.total.add(n, sum, (middle - least, most - middle), &kinship);
            i += n;
            if SUMS.get(self.passed) == Some(&(stretch.first + i)) {
                self.found[self.passed] = self.total.interval();
                self.passed += 1;
            }
        }
    }

    #[inline(always)]
    /// The quantiles 0.05, 0.5 and 0.95 of a step.
    fn bounds(&self, stretch: &Stretch<'_>, i: usize) -> [f64; 3] {
        let (share, median) = (f64::from(stretch.shares[i]), f64::from(stretch.medians[i]));
        let width = |bucket: usize| {
            let range = self.model.buckets[bucket].range();
            let spread = self.model.spread.at(usize::from(stretch.slots[i]), range);
            spread * self.doubts.factor(bucket, median, spread)
        };
        let (low, high) = ((1.0 - share) * width(stretch.lower), share * width(stretch.upper));
        let (near, far) = (&self.quantiles[stretch.lower], &self.quantiles[stretch.upper]);
        std::array::from_fn(|q| (median + low * near[q] + high * far[q]).max(self.model.floor))
    }
}

/// How the errors of neighbouring steps of a stretch hang together: as those at learned horizons, and as sums have shown.
pub(super) fn bond_along(stretch: &Stretch<'_>, alike: &[f64], ties: &Ties) -> Bond {
    let middle = stretch.medians.len() / 2;
    // What links the first two steps was learned two steps ahead.
    let within = |bucket: usize| alike[bucket.max(1).min(alike.len() - 1)];
    let (near, far) = (within(stretch.lower), within(stretch.upper));
    let alike = near + f64::from(stretch.shares[middle]) * (far - near);
    Bond::new(alike, ties.at(stretch.first + middle + 1))
}

/// Places of 0.05, the median and 0.95 in the grid.
const LOW_MIDDLE_HIGH: [usize; 3] = [2, MEDIAN, 8];
