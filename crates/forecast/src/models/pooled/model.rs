//! One series attached to a pool.

use serde::{Deserialize, Serialize};

use super::lens::{Frame, Lens, Scale};
use super::linear::Coefficients;
use super::{Pool, View, groups};
use crate::covariates::Covariates;
use crate::models::{Bands, FitError, History, Model, Pace};
use crate::paths::Values;

/// A series that is forecast by the shared models that suit it best.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pooled {
    views: Vec<Own>,
    scale: Scale,
    /// Lowest and highest value seen, on the modelled scale.
    seen: (f32, f32),
    non_negative: bool,
    bands: Bands,
    /// What errors are multiplied by.
    widening: f64,
    /// The newest values, oldest first; at most twice `kept`.
    recent: Vec<f32>,
    /// How many of them a forecast needs.
    kept: usize,
}

/// The model of one view that suits the series.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Own {
    lens: Lens,
    model: Coefficients,
}

/// A path on the modelled scale, one value for each step, and the spread its errors are measured in.
#[derive(Debug)]
struct Path {
    middle: Vec<f64>,
    spread: f64,
}

impl Pool {
    /// A model of one series by the shared models that fit its past best. The series need not be one of the pool.
    ///
    /// # Errors
    /// [`FitError::TooLittleHistory`] when there is not one value; [`FitError::CalledOff`].
    pub fn attach(&self, history: &History<'_>, pace: &mut Pace<'_>) -> Result<Pooled, FitError> {
        let present = history.present();
        if present == 0 {
            return Err(FitError::TooLittleHistory { present, needed: 1 });
        }
        let Some(first) = self.views.first() else {
            return Err(FitError::TooLittleHistory { present, needed: 1 });
        };
        let scale = Scale::of(history.values, history.non_negative, first.lens);
        let mut views = Vec::with_capacity(self.views.len());
        for view in &self.views {
            pace.checkpoint()?;
            views.push(view.choose(history.values, scale));
        }
        let kept = views.iter().map(|own| own.lens.past * own.lens.block_steps).max().unwrap_or(1);
        let recent = history.values[history.values.len().saturating_sub(kept)..].to_vec();
        let bands = Bands::new(self.horizon);
        let (widening, non_negative) = (self.widening, history.non_negative);
        let seen = range(history.values.iter().map(|&value| scale.enter(value)));
        let mut pooled = Pooled { views, scale, seen, non_negative, bands, widening, recent, kept };
        pooled.learn_bands(history.values, pace)?;
        Ok(pooled)
    }
}

impl View {
    fn choose(&self, values: &[f32], scale: Scale) -> Own {
        let all: Vec<usize> = (0..self.lens.ahead).collect();
        let blocks = self.lens.blocks(values, scale);
        let rows = self.lens.rows(&blocks, scale, CHOICE_STRIDE, &all);
        Own { lens: self.lens, model: groups::mixture(&self.models, &rows, self.lens.inputs()) }
    }
}

impl Own {
    /// Appends the next `ahead` blocks to `blocks` (filled, at least one) and answers the frame they were made in.
    fn extend(&self, blocks: &mut Vec<f32>, scale: Scale) -> Frame {
        let past = self.lens.past;
        let mut window = Vec::with_capacity(past);
        // A history shorter than the window is continued backwards by its own first season.
        let missing = past.saturating_sub(blocks.len());
        let season = self.lens.season.clamp(1, blocks.len());
        window.extend((0..missing).map(|i| blocks[(season - missing % season + i) % season]));
        window.extend_from_slice(&blocks[blocks.len() - (past - missing)..]);
        let frame = self.lens.frame(&window, scale);
        let mut row = Vec::with_capacity(self.lens.inputs());
        self.lens.inputs_of(&window, frame, &mut row);
        let mut said = vec![0.0; self.lens.ahead];
        self.model.apply(&row, &mut said);
        blocks.extend(said.iter().map(|said| {
            let value = frame.centre + frame.spread * said;
            if value.is_finite() { value } else { frame.centre }
        }));
        frame
    }

    /// The next `steps` steps after `values`.
    fn path(&self, values: &[f32], steps: usize, scale: Scale) -> Path {
        let mut blocks = self.lens.blocks(values, scale);
        self.lens.fill(&mut blocks);
        if blocks.is_empty() {
            blocks.push(values.iter().rev().find(|value| value.is_finite()).map_or(0.0, |&v| scale.enter(v)));
        }
        let now = blocks.len();
        let size = self.lens.block_steps.max(1);
        let spread = f64::from(self.extend(&mut blocks, scale).spread);
        while (blocks.len() - now) * size < steps {
            self.extend(&mut blocks, scale);
        }
        let middle = |step: usize| {
            // Straight lines between the middles of blocks.
            let place = ((step as f64 + 0.5) / size as f64 - 0.5).max(0.0);
            let (block, share) = (place as usize, place.fract());
            let at = |block: usize| f64::from(blocks[(now + block).min(blocks.len() - 1)]);
            at(block) * (1.0 - share) + at(block + 1) * share
        };
        Path { middle: (0..steps).map(middle).collect(), spread }
    }
}

impl Pooled {
    fn path(&self, values: &[f32], steps: usize) -> Path {
        let mut mean = Path { middle: vec![0.0; steps], spread: 0.0 };
        let share = 1.0 / self.views.len().max(1) as f64;
        for own in &self.views {
            let path = own.path(values, steps, self.scale);
            mean.spread += share * path.spread;
            mean.middle.iter_mut().zip(&path.middle).for_each(|(mean, &said)| *mean += share * said);
        }
        let (low, high) = self.limits();
        mean.middle.iter_mut().for_each(|said| *said = said.clamp(low, high));
        mean
    }

    /// What a forecast may say, on the modelled scale: what was seen, and a quarter of its range more on both sides. Keeps a
    /// logarithmic scale, or a forecast fed back, from running away.
    fn limits(&self) -> (f64, f64) {
        let (low, high) = (f64::from(self.seen.0), f64::from(self.seen.1));
        let margin = MARGIN * (high - low);
        (low - margin, high + margin)
    }

    /// The `tau` quantile `h` steps (from 0) along a path. Widened in the unit of the values: on a logarithmic scale a wide
    /// interval would explode.
    fn quantile(&self, path: &Path, h: usize, tau: f64) -> f64 {
        let (low, high) = self.limits();
        let at = |offset: f64| {
            let said = path.middle[h] + path.spread * offset;
            self.scale.leave(if said.is_finite() { said.clamp(low, high) } else { path.middle[h] })
        };
        // The median error of the past counts where blocks are longer than a step, as the difference between their mean and
        // a typical value; else it is mostly chance and left out.
        let median = self.bands.offset(h + 1, 0.5);
        let kept = if self.views.iter().any(|own| own.lens.block_steps > 1) { median } else { 0.0 };
        let middle = at(kept);
        middle + self.widening * (at(kept + self.bands.offset(h + 1, tau) - median) - middle)
    }

    /// Keeps the errors that the model makes on its past, in spreads.
    fn learn_bands(&mut self, values: &[f32], pace: &mut Pace<'_>) -> Result<(), FitError> {
        let horizon = self.bands.aheads().last().copied().unwrap_or(1);
        let least = self.views.iter().map(|own| own.lens.past * own.lens.block_steps).min().unwrap_or(1);
        let origins = values.len().saturating_sub(least + horizon / 2);
        for back in (0..origins).step_by((origins / ORIGINS).max(1) | 1) {
            pace.checkpoint()?;
            let origin = values.len() - horizon / 2 - back;
            for (place, error) in self.errors_at(values, origin).into_iter().enumerate() {
                self.bands.add(place, error);
            }
        }
        Ok(())
    }

    /// Errors of a forecast made at `origin`, in spreads, at each distance of the bands; NaN beyond the end.
    fn errors_at(&self, values: &[f32], origin: usize) -> Vec<f32> {
        let aheads = self.bands.aheads();
        let path =
            self.path(&values[origin.saturating_sub(self.kept)..origin], aheads.last().copied().unwrap_or(1));
        let error = |&ahead: &usize| {
            let actual = values.get(origin + ahead - 1).copied().filter(|actual| actual.is_finite())?;
            Some(((f64::from(self.scale.enter(actual)) - path.middle[ahead - 1]) / path.spread) as f32)
        };
        aheads.iter().map(|ahead| error(ahead).unwrap_or(f32::NAN)).collect()
    }

    /// Errors of forecasts made from `first` on, as multiples of the side of the `level` interval that they lie at.
    pub(super) fn errors_over_bands(&self, values: &[f32], first: usize, level: f64, ratios: &mut Vec<f32>) {
        let aheads = self.bands.aheads();
        let step = (values.len().saturating_sub(first) / HELD_ORIGINS).max(1);
        for origin in (first..values.len()).step_by(step) {
            let known = &values[origin.saturating_sub(self.kept)..origin];
            let path = self.path(known, aheads.last().copied().unwrap_or(1));
            for &ahead in aheads {
                let Some(actual) = values.get(origin + ahead - 1).filter(|actual| actual.is_finite()) else {
                    continue;
                };
                let middle = self.quantile(&path, ahead - 1, 0.5);
                let error = f64::from(*actual) - middle;
                let tau = if error > 0.0 { 0.5 + level / 2.0 } else { 0.5 - level / 2.0 };
                let side = self.quantile(&path, ahead - 1, tau) - middle;
                // Without a side there is no interval: any error lies outside it.
                let outside = if error == 0.0 { 0.0 } else { f32::INFINITY };
                ratios.push(if error * side > 0.0 { (error / side) as f32 } else { outside });
            }
        }
    }
}

impl Model for Pooled {
    fn name(&self) -> &'static str {
        "pooled"
    }

    fn observe(&mut self, value: f32, _covariates: &Covariates) {
        if self.recent.len() >= 2 * self.kept {
            self.recent.drain(..self.recent.len() - self.kept);
        }
        let value = if value.is_finite() { value } else { f32::NAN };
        self.recent.push(value);
        // The smaller and the larger of a number and NaN is the number.
        let entered = self.scale.enter(value);
        self.seen = (self.seen.0.min(entered), self.seen.1.max(entered));
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], _covariates: &Covariates) -> Values {
        let recent = &self.recent[self.recent.len().saturating_sub(self.kept)..];
        let path = self.path(recent, steps);
        let mut values = Values::zeros(steps, quantiles.len());
        let floor = if self.non_negative { 0.0 } else { f64::from(f32::MIN) };
        for h in 0..values.len() {
            for (value, &tau) in values.row_mut(h).iter_mut().zip(quantiles) {
                *value = self.quantile(&path, h, tau).clamp(floor, f64::from(f32::MAX));
            }
        }
        values
    }

    fn bytes(&self) -> usize {
        let models: usize = self.views.iter().map(|own| own.model.bytes()).sum();
        size_of::<Pooled>()
            + models
            + self.recent.capacity() * size_of::<f32>()
            + BAND_BYTES * self.bands.aheads().len()
    }
}

/// About how many forecasts are made of the held out end of a series.
const HELD_ORIGINS: usize = 12;
/// Bytes of errors that bands keep for one distance, at most.
const BAND_BYTES: usize = 4096;
/// Lowest and highest of the values that are present; both zero without any.
fn range(values: impl Iterator<Item = f32>) -> (f32, f32) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low, high) } else { (0.0, 0.0) }
}

/// How far beyond what was seen a forecast may go, as a share of its range.
const MARGIN: f64 = 0.25;
/// Every how many windows of a series are looked at to choose its model.
const CHOICE_STRIDE: usize = 7;
/// About how many past forecasts the bands are learned from.
const ORIGINS: usize = 200;
