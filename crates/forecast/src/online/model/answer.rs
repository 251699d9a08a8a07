//! What the model says when asked.

use crate::calibration::{Curve, GRID, Place, Tail};
use crate::narrow::larger;
use crate::online::bucket::mix;
use crate::online::doubt::{Claim, Factors};
use crate::online::experts::{CHUNK, EXPERTS, Path};
use crate::online::spread::Range;
use crate::online::window::Excess;
use crate::paths::Values;

use super::Model;
use super::idling::RARE_SHAPE;

/// The highest point of a median path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crest {
    pub(crate) height: f32,
    /// Typical error where it is largest.
    pub(crate) spread: f32,
}

/// Some consecutive steps between the same two learned horizons.
pub(super) struct Stretch<'a> {
    /// The first of them, from zero.
    pub(super) first: usize,
    /// The buckets before and after.
    pub(super) lower: usize,
    pub(super) upper: usize,
    /// How far each step is on the way from one to the other.
    pub(super) shares: &'a [f32],
    pub(super) medians: &'a [f32],
    pub(super) slots: &'a [u8],
}

/// The doubt about each learned horizon, as things stand.
pub(super) struct Doubts {
    factors: Vec<Factors>,
    last: f64,
    high: f64,
    idles: bool,
}

impl Doubts {
    /// How much larger than `spread` an error of this median will be.
    #[inline(always)]
    pub(super) fn factor(&self, bucket: usize, median: f64, spread: f64) -> f64 {
        let boldness = if self.idles { 0.0 } else { ((median - self.last).abs() / spread) as f32 };
        f64::from(self.factors[bucket].at(Claim { boldness, is_high: median > self.high }))
    }
}

impl Model {
    /// Fills a table with quantiles of the next steps.
    pub(super) fn fill_as_now(&self, quantiles: &[f64], values: &mut Values) {
        let places: Vec<Place> = quantiles.iter().map(|&tau| Place::of(tau)).collect();
        let table: Vec<f64> = self
            .buckets
            .iter()
            .flat_map(|bucket| {
                let (grid, tail) = (bucket.residuals.values(), bucket.residuals.tail());
                places.iter().map(move |place| place.read(&grid, &tail))
            })
            .collect();
        let width = quantiles.len();
        let (near, far) = (self.spread.all(Range::Near), self.spread.all(Range::Far));
        let spreads = |bucket: usize| match self.buckets[bucket].range() {
            Range::Near => &near,
            Range::Far => &far,
        };
        let (idling, doubt) = (self.idling(), self.doubts());
        let reach = |quantiles: &[f64]| quantiles.iter().map(|&tau| self.reach(tau)).collect();
        let reaches: Option<Vec<f64>> = self.idles().then(|| reach(quantiles));
        self.walk(values.len(), |stretch| {
            let low = &table[stretch.lower * width..][..width];
            let high = &table[stretch.upper * width..][..width];
            let (lower, upper) = (spreads(stretch.lower), spreads(stretch.upper));
            let steps = stretch.medians.iter().zip(stretch.shares).zip(stretch.slots);
            for (i, ((&median, &share), &slot)) in steps.enumerate() {
                let (middle, share, slot) = (f64::from(median), f64::from(share), usize::from(slot));
                let (lower, upper) = (lower[slot], upper[slot]);
                let width = width_between(share);
                let (lower, upper) = (
                    width * (1.0 - share) * lower * doubt.factor(stretch.lower, middle, lower),
                    width * share * upper * doubt.factor(stretch.upper, middle, upper),
                );
                let row = values.row_mut(stretch.first + i);
                for ((value, low), high) in row.iter_mut().zip(low).zip(high) {
                    *value = (middle + lower * low + upper * high).max(self.floor);
                }
                if self.zeros > 0.0 {
                    let idle = idling.at(&stretch, share, middle);
                    for (value, &tau) in row.iter_mut().zip(quantiles) {
                        *value = idle.value(tau, *value);
                    }
                }
                if let Some(reaches) = &reaches {
                    for (value, reach) in row.iter_mut().zip(reaches) {
                        *value = value.min(*reach);
                    }
                }
            }
        });
    }

    /// How high a quantile of a series that is mostly idle may be: not above anything that was ever seen, but for what is so
    /// rare that it may not have been seen. Errors of such a series say little in units of what is usual at their hour.
    pub(super) fn reach(&self, tau: f64) -> f64 {
        let rarity = (RARE / (1.0 - tau).max(1e-6)).max(1.0);
        self.peak * rarity.powf(RARE_SHAPE)
    }

    pub(super) fn doubts(&self) -> Doubts {
        Doubts {
            factors: self.buckets.iter().map(|bucket| bucket.doubt.factors()).collect(),
            last: self.experts.last(),
            high: self.high,
            idles: self.idles(),
        }
    }

    /// Distribution of the largest value of the next `steps` steps.
    pub(super) fn window_max_as_now(&self, steps: usize) -> Curve {
        if self.gap().is_none() {
            return Curve::point(self.floor.max(0.0), self.floor);
        }
        let steps = steps.max(1);
        let mut crest = Crest { height: self.floor.max(0.0) as f32, spread: 0.0 };
        self.crests(&[steps], |_, found| crest = found, |_| {});
        self.curve_of(steps, crest)
    }

    /// Distribution of the largest value of a window whose median path has its highest point at `crest`.
    pub(super) fn curve_of(&self, steps: usize, crest: Crest) -> Curve {
        let (height, spread) = (f64::from(crest.height), f64::from(crest.spread));
        let upper =
            self.windows.iter().position(|window| window.length >= steps).unwrap_or(self.windows.len() - 1);
        let lower = if self.windows[upper].length > steps { upper.saturating_sub(1) } else { upper };
        let (near, far) = (self.windows[lower].length as f64, self.windows[upper].length as f64);
        let share = if far > near { ((steps as f64).ln() - near.ln()) / (far.ln() - near.ln()) } else { 0.0 };
        let excess = self.excess(lower, upper, share);
        let mut values = excess.values.map(|z| height + spread * z);
        if self.idles() {
            for (value, tau) in values.iter_mut().zip(GRID) {
                // What a window seldom exceeds each of its steps exceeds more seldom.
                *value = value.min(self.reach(1.0 - (1.0 - tau) / steps as f64));
            }
        }
        let tail = Tail { scale: spread * excess.tail.scale, ..excess.tail };
        Curve::new(values, tail, self.floor)
    }

    /// What is known of the maxima of windows, `share` of the way from one tracked length to the next.
    fn excess(&self, lower: usize, upper: usize, share: f64) -> Excess {
        // Those that are shorter than one that needs no other say nothing more.
        let first = (0..=lower).rev().find(|&k| self.windows[k].speaks_for_itself()).unwrap_or(0);
        let shortest = self.windows[first].excess(None);
        let near =
            self.windows[first + 1..=lower].iter().fold(shortest, |near, window| window.excess(Some(&near)));
        if upper == lower { near } else { near.towards(&self.windows[upper].excess(Some(&near)), share) }
    }

    /// Follows the median path and reports its highest point up to each length; `lengths` rise. `beside` sees each stretch.
    pub(super) fn crests(
        &self,
        lengths: &[usize],
        mut report: impl FnMut(usize, Crest),
        mut beside: impl FnMut(&Stretch<'_>),
    ) {
        let mut crest = Crest { height: f32::NEG_INFINITY, spread: 0.0 };
        let (mut k, mut known) = (0, None);
        self.walk(lengths.last().copied().unwrap_or(0), |stretch| {
            beside(&stretch);
            for (i, (&median, &slot)) in stretch.medians.iter().zip(stretch.slots).enumerate() {
                crest.height = larger(median, crest.height);
                if known != Some(slot) {
                    known = Some(slot);
                    crest.spread = crest.spread.max(self.widest(usize::from(slot)));
                }
                if k < lengths.len() && stretch.first + i + 1 == lengths[k] {
                    report(k, crest);
                    k += 1;
                }
            }
        });
    }

    /// Typical error in a slot at the horizons where it is larger. Any step of a window may turn out to be the highest: the
    /// least certain one sets the measure.
    pub(super) fn widest(&self, slot: usize) -> f32 {
        self.spread.at(slot, Range::Near).max(self.spread.at(slot, Range::Far)) as f32
    }

    /// Steps since the last learned one; `None` before the first.
    #[inline(always)]
    pub(super) fn gap(&self) -> Option<usize> {
        self.last_learned.map(|last| (self.memory.next() - 1 - last) as usize)
    }

    /// The median of the next step.
    pub(super) fn next_median(&self) -> Option<f64> {
        let ahead = 1 + self.gap()?;
        let seat = self.experts.seat(0, &self.clock);
        let says = self.experts.say(&seat, self.experts.faded(ahead), &self.memory, &self.clock);
        let bucket = self.buckets.iter().rev().find(|bucket| bucket.horizon <= ahead);
        let bucket = bucket.unwrap_or(&self.buckets[0]);
        Some(self.clean(mix(&bucket.weights, &says)))
    }

    /// The median a bucket gives for what the experts say.
    #[inline(always)]
    pub(super) fn median_of(&self, bucket: usize, says: &[f32; EXPERTS]) -> f32 {
        self.clean(mix(&self.buckets[bucket].weights, says)) as f32
    }

    #[inline(always)]
    fn clean(&self, value: f64) -> f64 {
        if value.is_finite() { value.max(self.floor) } else { self.experts.last().max(self.floor) }
    }

    /// Goes along the medians of the next steps, in stretches.
    #[inline(always)]
    pub(super) fn walk(&self, steps: usize, mut each: impl FnMut(Stretch<'_>)) {
        let Some(gap) = self.gap() else { return };
        let mut path = Path::new(&self.experts, &self.memory, &self.clock, 1 + gap);
        let (floor, last) = (self.floor as f32, self.experts.last().max(self.floor) as f32);
        let horizon = |bucket: usize| self.buckets[bucket].horizon;
        let terms = |bucket: usize| self.experts.terms(&self.buckets[bucket].weights);
        let farthest = self.buckets.len() - 1;
        let (mut lower, mut upper) = (0, 0);
        let (mut low, mut high) = (terms(0), terms(0));
        let (mut medians, mut beyond, mut shares) = ([0.0; CHUNK], [0.0; CHUNK], [0.0; CHUNK]);
        let mut first = 0;
        while first < steps {
            let n = CHUNK.min(steps - first);
            path.advance(n);
            let mut from = 0;
            while from < n {
                let ahead = first + from + 1 + gap;
                while upper < farthest && horizon(upper) < ahead {
                    (lower, upper) = (upper, upper + 1);
                    (low, high) = (high, terms(upper));
                }
                let (near, far) = (horizon(lower), horizon(upper));
                let inside = lower < upper && ahead < far;
                let to = match () {
                    () if inside => n.min(from + far - ahead),
                    () if ahead >= far && upper == farthest => n,
                    () => from + 1,
                };
                path.values(if inside { &low } else { &high }, from, to, &mut medians);
                if inside {
                    path.values(&high, from, to, &mut beyond);
                    let scale = 1.0 / (far - near) as f32;
                    for i in from..to {
                        shares[i] = (ahead - near + i - from) as f32 * scale;
                        medians[i] += shares[i] * (beyond[i] - medians[i]);
                    }
                } else {
                    shares[from..to].fill(0.0);
                }
                for median in &mut medians[from..to] {
                    *median = if median.is_finite() { median.max(floor) } else { last };
                }
                each(Stretch {
                    first: first + from,
                    lower: if inside { lower } else { upper },
                    upper,
                    shares: &shares[from..to],
                    medians: &medians[from..to],
                    slots: &path.slots()[from..to],
                });
                from = to;
            }
            first += n;
        }
    }
}

/// How wide intervals are between two learned horizons, of what lies between theirs: the median is the mean of two there, and
/// errs a little less than either.
#[inline(always)]
pub(super) fn width_between(share: f64) -> f64 {
    1.0 - MEAN_OF_TWO * share * (1.0 - share)
}

/// Chosen so that intervals between learned horizons hold as much as those at them.
const MEAN_OF_TWO: f64 = 0.1;
/// What is exceeded less often than this may lie above all that was seen, the farther the rarer it is.
const RARE: f64 = 0.05;
