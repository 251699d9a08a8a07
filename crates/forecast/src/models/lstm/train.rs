//! Training: windows drawn at random from the pooled series, Adam with a falling rate, a running mean of the weights, and
//! early stopping on the tail of every series, which training does not see.

use super::adam::Adam;
use super::network::{Batch, Passes, Shape};
use super::prior::Line;
use super::view::{FEATURES, INPUTS, View, write};
use super::{Config, QUANTILES, Weights};
use crate::models::{FitError, Pace};

/// Trains one network on all the series.
pub(super) fn train(
    real: &[View<'_>],
    invented: &[View<'_>],
    horizon: usize,
    config: &Config,
    pace: &mut Pace<'_>,
) -> Result<Weights, FitError> {
    let shape = Shape {
        inputs: INPUTS,
        features: FEATURES,
        hidden: config.hidden.clamp(1, 256),
        middle: config.middle.clamp(1, 256),
        outputs: QUANTILES.len(),
    };
    let mut random = fastrand::Rng::with_seed(config.seed);
    let positions = real.iter().chain(invented).map(|view| view.layout().positions()).max().unwrap_or(0);
    let mut batcher = Batcher { real, invented, horizon, positions, steps: TARGETS };
    let batches = batcher.checks(&mut random, pace)?;
    let mut checks = Checks { shape, batches, passes: Passes::default() };
    let untrained: Vec<f32> = shape.untrained(&mut random);
    let mut batch = Batch::default();
    batcher.fill(&mut batch, LINE_WINDOWS, &mut random);
    pace.checkpoint()?;
    let reach = reach(&batch);
    let (start, untrained_loss) = checks.straight(&Line::fit(FEATURES, &batch), untrained, pace)?;
    let (mut weights, mut best, mut averaged) = (start.clone(), start.clone(), start.clone());
    let (mut loss, mut best_step) = (untrained_loss, 0);
    let mut gradient = vec![0.0; shape.weights()];
    let mut adam = Adam::new(shape.weights());
    let mut passes = Passes::default();
    for step in 1..=config.steps {
        pace.checkpoint()?;
        batcher.fill(&mut batch, config.batch, &mut random);
        passes.gradient(shape, &weights, &batch, &QUANTILES, &mut gradient);
        adam.step(&mut weights, &gradient, rate(config, step), &start, config.decay);
        // The mean begins short and grows to its full length.
        let share = (1.0 / (1.0 + step as f32 * 0.2)).max(AVERAGE_SHARE);
        averaged.iter_mut().zip(&weights).for_each(|(mean, &weight)| *mean += share * (weight - *mean));
        if step % CHECK_EVERY == 0 || step == config.steps {
            let score = checks.score(&averaged, pace)?;
            if score < loss {
                best.copy_from_slice(&averaged);
                (loss, best_step) = (score, step);
            } else if step - best_step >= PATIENCE {
                break;
            }
        }
    }
    checks.shift_intercepts(&mut best);
    Ok(Weights { shape, values: best, horizon, reach, steps: best_step, untrained_loss, loss })
}

/// Rises over the first steps, then falls in a straight line.
fn rate(config: &Config, step: usize) -> f32 {
    let warm = (step as f32 / 20.0).min(1.0);
    let left = 1.0 - step as f32 / config.steps.max(1) as f32;
    config.rate * warm * (0.05 + 0.95 * left)
}

/// Windows of the tails, which training does not see.
struct Checks {
    shape: Shape,
    batches: Vec<Batch<f32>>,
    passes: Passes<f32>,
}

impl Checks {
    /// The mean loss.
    fn score(&mut self, weights: &[f32], pace: &mut Pace<'_>) -> Result<f64, FitError> {
        let mut sum = 0.0;
        for batch in &self.batches {
            pace.checkpoint()?;
            sum += self.passes.loss(self.shape, weights, batch, &QUANTILES);
        }
        Ok(sum / self.batches.len().max(1) as f64)
    }

    /// The weights that say as much of the straight line as does best here, and their loss.
    fn straight(
        &mut self,
        line: &Line,
        mut weights: Vec<f32>,
        pace: &mut Pace<'_>,
    ) -> Result<(Vec<f32>, f64), FitError> {
        let (mut best, mut least) = (weights.clone(), f64::INFINITY);
        for share in [1.0, 0.7, 0.4, 0.0] {
            line.write(share, &QUANTILES, self.shape, &mut weights);
            let score = self.score(&weights, pace)?;
            if score < least {
                least = score;
                best.copy_from_slice(&weights);
            }
        }
        Ok((best, least))
    }

    /// Moves each quantile towards the share of values below it that it should have: what was learned by heart is too
    /// sure of itself. The tails are short, so only half of the way.
    fn shift_intercepts(&mut self, weights: &mut [f32]) {
        let mut left: Vec<Vec<f32>> = vec![Vec::new(); QUANTILES.len()];
        for batch in &self.batches {
            let said = self.passes.forward(self.shape, weights, batch);
            let targets = batch.targets.iter().zip(&batch.weights);
            for (said, (&target, _)) in
                said.chunks_exact(QUANTILES.len()).zip(targets).filter(|(_, (_, weight))| **weight > 0.0)
            {
                left.iter_mut().zip(said).for_each(|(left, &said)| left.push(target - said));
            }
        }
        for ((slot, &tau), left) in weights[self.shape.intercepts()].iter_mut().zip(&QUANTILES).zip(&mut left)
        {
            left.sort_by(f32::total_cmp);
            let rank = (tau * left.len() as f64) as usize;
            *slot += SHIFT_SHARE * left.get(rank.min(left.len().saturating_sub(1))).copied().unwrap_or(0.0);
        }
    }
}

/// The least and the most that is ever added to a base: a little beyond nearly all that was seen.
fn reach(batch: &Batch<f32>) -> (f32, f32) {
    let counted = batch.targets.iter().zip(&batch.weights).filter(|(_, weight)| **weight > 0.0);
    let mut targets: Vec<f32> = counted.map(|(&target, _)| target).collect();
    targets.sort_by(f32::total_cmp);
    let outer = targets.len() / 500;
    match (targets.get(outer), targets.iter().rev().nth(outer)) {
        (Some(&low), Some(&high)) => (low - 1.0, high + 1.0),
        _ => (0.0, 0.0),
    }
}

/// Draws batches.
struct Batcher<'a> {
    real: &'a [View<'a>],
    invented: &'a [View<'a>],
    horizon: usize,
    positions: usize,
    steps: usize,
}

impl Batcher<'_> {
    /// A series, the real ones first.
    fn view(&self, which: usize) -> &View<'_> {
        which.checked_sub(self.real.len()).map_or_else(|| &self.real[which], |which| &self.invented[which])
    }

    /// Where the tail that training does not see begins.
    fn cut(&self, view: &View<'_>) -> usize {
        let usable = view.len().saturating_sub(view.layout().begin());
        view.len() - ((usable as f64 * TAIL) as usize).max(1).min(usable)
    }

    /// A batch of windows drawn at random from what training may see.
    fn fill(&mut self, batch: &mut Batch<f32>, windows: usize, random: &mut fastrand::Rng) {
        let drawn: Vec<(usize, usize, usize)> = (0..windows)
            .map(|_| {
                let mut which = random.usize(..self.real.len());
                if !self.invented.is_empty() && random.f64() < INVENTED_SHARE {
                    which = self.real.len() + random.usize(..self.invented.len());
                }
                let view = self.view(which);
                let (begin, end) = (view.layout().begin(), self.cut(view));
                (which, random.usize(begin.min(end - 1)..end), end)
            })
            .collect();
        self.gather(batch, &drawn, random);
    }

    /// Batches from the tails, the same for every check.
    fn checks(
        &mut self,
        random: &mut fastrand::Rng,
        pace: &mut Pace<'_>,
    ) -> Result<Vec<Batch<f32>>, FitError> {
        let mut drawn = Vec::new();
        let each = (CHECKED / self.real.len()).max(8);
        for (which, view) in self.real.iter().enumerate() {
            let (from, to) = (self.cut(view), view.len());
            for i in 0..each {
                drawn.push((which, from + (to - from) * i / each, to));
            }
        }
        let mut batches = Vec::new();
        for drawn in drawn.chunks(64) {
            pace.checkpoint()?;
            let mut batch = Batch::default();
            self.gather(&mut batch, drawn, random);
            batches.push(batch);
        }
        Ok(batches)
    }

    /// Fills a batch with windows given as (series, values known, values that may be targets).
    fn gather(
        &mut self,
        batch: &mut Batch<f32>,
        drawn: &[(usize, usize, usize)],
        random: &mut fastrand::Rng,
    ) {
        let (windows, steps) = (drawn.len(), self.steps);
        batch.windows = windows;
        reset(&mut batch.xs, self.positions * windows * INPUTS);
        reset(&mut batch.features, windows * steps * FEATURES);
        reset(&mut batch.targets, windows * steps);
        reset(&mut batch.weights, windows * steps);
        for (b, &(which, known, end)) in drawn.iter().enumerate() {
            let view = self.view(which);
            let Some(moment) = view.moment(known) else { continue };
            fill_window(view, &moment, self.positions, windows, b, &mut batch.xs);
            for m in 0..steps {
                let reach = self.horizon.min(end - known).max(1);
                let ahead = if m % 2 == 0 {
                    random.usize(..reach)
                } else {
                    // Evenly by the logarithm: near steps are few but matter most.
                    ((reach as f64 + 1.0).powf(random.f64()) - 1.0) as usize
                };
                let at = known + ahead.min(reach - 1);
                let Some(value) = view.value(at) else { continue };
                let base = view.base(&moment, at);
                let place = b * steps + m;
                let features = &mut batch.features[place * FEATURES..(place + 1) * FEATURES];
                view.features(&moment, base, at, self.horizon, features);
                batch.targets[place] =
                    ((value - base.value) / base.unit).clamp(-TARGET_MAX, TARGET_MAX) as f32;
                batch.weights[place] = (base.unit / moment.unit()).clamp(0.2, 5.0) as f32;
            }
        }
    }
}

/// Writes the window of one moment as row `b` of `windows`, after empty positions where it is shorter than `positions`.
pub(super) fn fill_window(
    view: &View<'_>,
    moment: &super::view::Moment,
    positions: usize,
    windows: usize,
    b: usize,
    xs: &mut [f32],
) {
    let first = positions - view.layout().positions().min(positions);
    view.window(moment, |position, inputs| {
        let row = ((first + position) * windows + b) * INPUTS;
        if let Some(to) = xs.get_mut(row..row + INPUTS) {
            write(to, inputs);
        }
    });
}

fn reset(values: &mut Vec<f32>, len: usize) {
    values.clear();
    values.resize(len, 0.0);
}

/// Future steps asked about for each window.
const TARGETS: usize = 12;
/// The share of each series that training does not see.
const TAIL: f64 = 0.15;
/// How far quantiles are moved to their coverage on the tails.
const SHIFT_SHARE: f32 = 0.5;
/// Share of windows from invented series, where there are any.
const INVENTED_SHARE: f64 = 0.5;
/// Windows that are checked, over all series.
const CHECKED: usize = 128;
/// Windows that the straight line is fitted to.
const LINE_WINDOWS: usize = 384;
/// Steps between two checks.
const CHECK_EVERY: usize = 20;
/// Steps without a gain after which training stops.
const PATIENCE: usize = 160;
/// Targets beyond this many units count as this many.
const TARGET_MAX: f64 = 30.0;
/// The last step's share in the running mean of the weights.
const AVERAGE_SHARE: f32 = 0.02;
