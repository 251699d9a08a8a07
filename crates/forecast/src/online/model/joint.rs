//! Whole paths and first crossings: what quantiles of single steps cannot say.
//!
//! A path is drawn from a Gaussian copula whose neighbouring steps are as alike as the errors of neighbouring horizons have
//! been (an autoregression of first order), beside a part that all steps have in common, as large as sums of steps have
//! shown; each step is mapped through its own calibrated distribution. Crossings are read from the window maxima, which are
//! calibrated as such, and long paths are kept within them.

use crate::calibration::{Curve, Place, normal_below, probit};
use crate::online::bucket::Bucket;
use crate::online::spread::Range;
use crate::online::sums::Ties;

use super::Model;
use super::answer::width_between;
use super::shuffle::Shuffle;
use super::total::bond_along;

/// Standardised errors of one horizon by normal score.
type Scores = [f64; SCORES];

impl Model {
    /// Draws paths of the next `steps` steps.
    pub(super) fn draw_as_now(&self, steps: usize, samples: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut random = fastrand::Rng::with_seed(seed);
        let scores: Vec<Scores> = self.buckets.iter().map(|bucket| scores(&bucket.residuals)).collect();
        let alike: Vec<f64> = self.buckets.iter().map(Bucket::alike).collect();
        let (near, far) = (self.spread.all(Range::Near), self.spread.all(Range::Far));
        let spreads = |bucket: usize| match self.buckets[bucket].range() {
            Range::Near => &near,
            Range::Far => &far,
        };
        let (idling, doubt) = (self.idling(), self.doubts());
        // What comes seldom comes by itself, and its sums say little of how steps go together.
        let idles = self.idles();
        let ties = if idles { Ties::default() } else { Ties::of(&self.sums) };
        let mut paths = vec![vec![self.floor.max(0.0); steps]; samples];
        let shuffle = if idles { Shuffle::of(self, steps, &mut random) } else { None };
        let mut drawn: Vec<f64> = (0..samples).map(|_| probit(random.f64())).collect();
        let common: Vec<f64> = (0..samples).map(|_| probit(random.f64())).collect();
        let within: Vec<f64> = common.iter().map(|&z| if idles { normal_below(z) } else { 0.0 }).collect();
        self.walk(steps, |stretch| {
            let (lower, upper) = (spreads(stretch.lower), spreads(stretch.upper));
            let bond = bond_along(&stretch, &alike, &ties);
            let (fresh, (own, shared)) = ((1.0 - bond.alike * bond.alike).sqrt(), bond.parts());
            for i in 0..stretch.medians.len() {
                let (share, slot) = (f64::from(stretch.shares[i]), usize::from(stretch.slots[i]));
                let median = f64::from(stretch.medians[i]);
                let width = width_between(share);
                let low =
                    width * (1.0 - share) * lower[slot] * doubt.factor(stretch.lower, median, lower[slot]);
                let high = width * share * upper[slot] * doubt.factor(stretch.upper, median, upper[slot]);
                let idle = idling.at(&stretch, share, median);
                let step = stretch.first + i;
                for (k, ((path, drawn), common)) in paths.iter_mut().zip(&mut drawn).zip(&common).enumerate()
                {
                    let z = if let Some(shuffle) = &shuffle {
                        probit(shuffle.probability(k, step, within[k]))
                    } else {
                        if step > 0 {
                            *drawn = bond.alike * *drawn + fresh * probit(random.f64());
                        }
                        own * *drawn + shared * common
                    };
                    let error =
                        low * score(&scores[stretch.lower], z) + high * score(&scores[stretch.upper], z);
                    let value = (median + error).max(self.floor);
                    path[step] = if idles || idle.zero > 0.0 {
                        let tau = normal_below(z);
                        idle.value(tau, value).min(if idles { self.reach(tau) } else { f64::INFINITY })
                    } else {
                        value
                    };
                }
            }
        });
        if !idles {
            self.keep_within_window(&mut paths);
        }
        paths
    }

    /// Draws in what makes the largest values of long paths larger than those of such windows have been. Each step may be
    /// far off now and then; that steps of one day seldom are so by themselves, a copula does not know, and of hundreds it
    /// draws too high a maximum. What half of the maxima stay below is drawn well.
    fn keep_within_window(&self, paths: &mut [Vec<f64>]) {
        let steps = paths.first().map_or(0, Vec::len);
        if steps < LONG {
            return;
        }
        let window = self.window_max_as_now(steps);
        let highest = |path: &Vec<f64>| path.iter().copied().fold(f64::MIN, f64::max);
        let mut order: Vec<(f64, usize)> = paths.iter().map(highest).zip(0..).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let count = order.len();
        for (rank, &(highest, path)) in order.iter().enumerate().skip(count / 2) {
            let most = window.quantile((rank as f64 + 0.5) / count as f64);
            if highest > most {
                paths[path].iter_mut().for_each(|value| *value = value.min(most));
            }
        }
    }

    /// The largest value of the first step, of the first two, and so on.
    pub(super) fn window_curves_as_now(&self, steps: usize) -> Vec<Curve> {
        if self.gap().is_none() {
            return vec![Curve::point(self.floor.max(0.0), self.floor); steps];
        }
        let mut curves = Vec::with_capacity(steps);
        let lengths: Vec<usize> = (1..=steps).collect();
        let report = |k, crest| curves.push(self.curve_of(k + 1, crest));
        self.crests(&lengths, report, |_| {});
        curves
    }
}

fn scores(residuals: &crate::calibration::Residuals) -> Scores {
    let (values, tail) = (residuals.values(), residuals.tail());
    std::array::from_fn(|i| Place::of(normal_below((i as f64 - SIDE) / PER_UNIT)).read(&values, &tail))
}

/// Between the two nearest scores.
fn score(scores: &Scores, z: f64) -> f64 {
    let place = (z * PER_UNIT + SIDE).clamp(0.0, 2.0 * SIDE - 1e-6);
    let i = place as usize;
    scores[i] + (place - i as f64) * (scores[i + 1] - scores[i])
}

/// Steps from which on the largest value of a path is kept within what windows have shown.
const LONG: usize = 64;
/// Normal scores from -4 to 4, ten to a unit.
const PER_UNIT: f64 = 10.0;
const SIDE: f64 = 40.0;
const SCORES: usize = 81;
