//! What the model says when asked.

use crate::calibration::{Curve, GRID, Tail, at};
use crate::online::bucket::mix;
use crate::online::experts::EXPERTS;
use crate::online::spread::Range;
use crate::online::window::path_stride;
use crate::paths::Values;

use super::Model;

/// The highest point of a median path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crest {
    pub(crate) height: f64,
    /// Typical error where it is largest.
    pub(crate) spread: f64,
}

/// Where a horizon lies between two learned ones.
#[derive(Clone, Copy, Debug)]
struct Between {
    lower: usize,
    upper: usize,
    share: f64,
}

impl Model {
    /// Fills a table with quantiles of the next steps.
    pub(crate) fn fill(&self, quantiles: &[f64], values: &mut Values) {
        let Some(gap) = self.gap() else { return };
        let table: Vec<f64> = self
            .buckets
            .iter()
            .flat_map(|bucket| {
                let residuals = &bucket.residuals;
                quantiles.iter().map(|&tau| at(residuals.values(), &residuals.tail(), tau))
            })
            .collect();
        let width = quantiles.len();
        let (near, far) = (self.spread.all(Range::Near), self.spread.all(Range::Far));
        let spreads = |bucket: usize| match self.buckets[bucket].range() {
            Range::Near => &near,
            Range::Far => &far,
        };
        let mut upper = 0;
        for h in 0..values.len() {
            let ahead = h + 1 + gap;
            let between = self.between(ahead, &mut upper);
            let seat = self.experts.seat(h, &self.clock);
            let says = self.experts.say(&seat, ahead, &self.memory, &self.clock);
            let middle = self.middle(between, &says);
            let lower = (1.0 - between.share) * spreads(between.lower)[seat.slot];
            let upper = between.share * spreads(between.upper)[seat.slot];
            let low = &table[between.lower * width..][..width];
            let high = &table[between.upper * width..][..width];
            for ((value, low), high) in values.row_mut(h).iter_mut().zip(low).zip(high) {
                *value = (middle + lower * low + upper * high).max(self.floor);
            }
        }
    }

    /// Distribution of the largest value of the next `steps` steps.
    pub(crate) fn window_max(&self, steps: usize) -> Curve {
        if self.gap().is_none() {
            return Curve::point(self.floor.max(0.0), self.floor);
        }
        let steps = steps.max(1);
        let mut crest = Crest { height: self.floor.max(0.0), spread: 0.0 };
        self.crests(&[steps], steps, &[], |_, found| crest = found);
        let upper =
            self.windows.iter().position(|window| window.length >= steps).unwrap_or(self.windows.len() - 1);
        let lower = if self.windows[upper].length > steps { upper.saturating_sub(1) } else { upper };
        let (near, far) = (self.windows[lower].length as f64, self.windows[upper].length as f64);
        let share = if far > near { ((steps as f64).ln() - near.ln()) / (far.ln() - near.ln()) } else { 0.0 };
        let (low, high) = (&self.windows[lower].residuals, &self.windows[upper].residuals);
        let mut values = [0.0; GRID.len()];
        for (k, value) in values.iter_mut().enumerate() {
            let z = low.values()[k] + share * (high.values()[k] - low.values()[k]);
            *value = crest.height + crest.spread * z;
        }
        let (a, b) = (low.tail(), high.tail());
        let tail = Tail {
            scale: crest.spread * (a.scale + share * (b.scale - a.scale)),
            shape: a.shape + share * (b.shape - a.shape),
        };
        Curve::new(values, tail, self.floor)
    }

    /// Follows the median path `reach` steps ahead and reports its highest point up to each length; `lengths` rise. `early`
    /// is what the experts say of the first steps, as far as it is known already.
    pub(super) fn crests(
        &self,
        lengths: &[usize],
        reach: usize,
        early: &[[f32; EXPERTS]],
        mut report: impl FnMut(usize, Crest),
    ) {
        let Some(gap) = self.gap() else { return };
        let mut upper = 0;
        let mut crest = Crest { height: f64::NEG_INFINITY, spread: 0.0 };
        let (mut h, mut k) = (0, 0);
        while k < lengths.len() && lengths[k] <= reach {
            if h >= lengths[k] {
                report(k, crest);
                k += 1;
                continue;
            }
            let ahead = h + 1 + gap;
            let between = self.between(ahead, &mut upper);
            let seat = self.experts.seat(h, &self.clock);
            let height = match early.get(h) {
                Some(says) => self.middle(between, says),
                None => self.middle(between, &self.experts.say(&seat, ahead, &self.memory, &self.clock)),
            };
            crest.height = crest.height.max(height);
            // Any step may turn out to be the highest: the least certain one sets the measure.
            let spread = self.spread.at(seat.slot, Range::Near).max(self.spread.at(seat.slot, Range::Far));
            crest.spread = crest.spread.max(spread);
            h += path_stride(h);
        }
    }

    /// Steps since the last learned one; `None` before the first.
    #[inline]
    fn gap(&self) -> Option<usize> {
        self.last_learned.map(|last| (self.memory.next() - 1 - last) as usize)
    }

    /// The median of the step `offset` after the next one.
    pub(super) fn median(&self, offset: usize) -> Option<f64> {
        let ahead = offset + 1 + self.gap()?;
        let seat = self.experts.seat(offset, &self.clock);
        let says = self.experts.say(&seat, ahead, &self.memory, &self.clock);
        Some(self.middle(self.between(ahead, &mut 0), &says))
    }

    #[inline]
    fn middle(&self, between: Between, says: &[f32; EXPERTS]) -> f64 {
        let lower = mix(&self.buckets[between.lower].weights, says);
        let middle = if between.share > 0.0 {
            lower + between.share * (mix(&self.buckets[between.upper].weights, says) - lower)
        } else {
            lower
        };
        if middle.is_finite() { middle.max(self.floor) } else { f64::from(says[0]).max(self.floor) }
    }

    /// `upper` is where the search for the bucket begins; horizons asked for one after another must rise.
    #[inline]
    fn between(&self, ahead: usize, upper: &mut usize) -> Between {
        let last = self.buckets.len() - 1;
        while *upper < last && self.buckets[*upper].horizon < ahead {
            *upper += 1;
        }
        let (upper, far) = (*upper, self.buckets[*upper].horizon);
        if far <= ahead || upper == 0 {
            return Between { lower: upper, upper, share: 0.0 };
        }
        let near = self.buckets[upper - 1].horizon;
        Between { lower: upper - 1, upper, share: (ahead - near) as f64 / (far - near) as f64 }
    }
}
