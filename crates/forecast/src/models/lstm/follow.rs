//! A trained network attached to a series.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::network::{Batch, Passes};
use super::train::fill_window;
use super::view::{FEATURES, INPUTS, Layout, View};
use super::{Config, QUANTILES, Weights, fit_global, minute_of_week, prepare};
use crate::Timestamp;
use crate::covariates::Covariates;
use crate::grid::Grid;
use crate::models::{FitError, History, Model, Pace};
use crate::paths::Values;

/// A network that follows one series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lstm {
    #[serde(with = "shared")]
    weights: Arc<Weights>,
    layout: Layout,
    origin_ms: i64,
    step_ms: u64,
    /// Name of the time zone.
    zone: Option<String>,
    /// Step of the first value kept.
    first: u64,
    values: Vec<f32>,
    minutes: Vec<u16>,
    non_negative: bool,
}

impl Lstm {
    /// Trains a network on one history alone and attaches it.
    ///
    /// # Errors
    /// [`FitError`] when the history is too short, has no season, or `pace` calls it off.
    pub fn fit(history: &History<'_>, config: &Config, pace: &mut Pace<'_>) -> Result<Lstm, FitError> {
        let weights = fit_global(&[*history], config, pace)?;
        Lstm::attach(Arc::new(weights), history, pace)
    }

    /// Lets a trained network follow a series, whether or not it was trained on it.
    ///
    /// # Errors
    /// [`FitError`] when the history is too short, has no season, or `pace` calls it off.
    pub fn attach(
        weights: Arc<Weights>,
        history: &History<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<Lstm, FitError> {
        let layout = prepare(history)?;
        let minutes = minutes(history, pace)?;
        let grid = history.grid;
        let mut model = Lstm {
            weights,
            layout,
            origin_ms: grid.origin.as_millis(),
            step_ms: u64::try_from(grid.step.as_millis()).unwrap_or(u64::MAX),
            zone: grid.zone.as_ref().and_then(|zone| zone.iana_name()).map(str::to_owned),
            first: history.first,
            values: history.values.to_vec(),
            minutes,
            non_negative: history.non_negative,
        };
        model.forget();
        Ok(model)
    }

    /// The weights, to be stored or attached to another series.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.weights
    }

    fn grid(&self) -> Grid {
        Grid {
            origin: Timestamp::from_millis(self.origin_ms),
            step: Duration::from_millis(self.step_ms),
            zone: self.zone.as_deref().and_then(|name| TimeZone::get(name).ok()),
        }
    }

    /// Drops values that no forecast looks at any more.
    fn forget(&mut self) {
        let surplus = self.values.len().saturating_sub(self.layout.kept());
        self.values.drain(..surplus);
        self.minutes.drain(..surplus);
        self.first += surplus as u64;
    }
}

impl Model for Lstm {
    fn name(&self) -> &'static str {
        "lstm"
    }

    fn observe(&mut self, value: f32, _: &Covariates) {
        let step = self.first + self.values.len() as u64;
        self.minutes.push(minute_of_week(&self.grid(), step));
        self.values.push(value);
        // Now and then, so that moving the rest costs little.
        if self.values.len() > self.layout.kept() + self.layout.kept() / 4 {
            self.forget();
        }
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], _: &Covariates) -> Values {
        let mut answer = Values::zeros(steps, quantiles.len());
        if steps == 0 {
            return answer;
        }
        let grid = self.grid();
        let known = self.values.len();
        let mut minutes = self.minutes.clone();
        minutes.extend((0..steps as u64).map(|h| minute_of_week(&grid, self.first + known as u64 + h)));
        let view = View::new(&self.layout, &self.values, &minutes);
        let Some(moment) = view.moment(known) else { return answer };
        let horizon = self.weights.horizon;
        let positions = self.layout.positions();
        let mut batch = Batch {
            windows: 1,
            xs: vec![0.0; positions * INPUTS],
            features: vec![0.0; steps * FEATURES],
            targets: Vec::new(),
            weights: Vec::new(),
        };
        fill_window(&view, &moment, positions, 1, 0, &mut batch.xs);
        for (h, features) in batch.features.chunks_exact_mut(FEATURES).enumerate() {
            let base = view.base(&moment, known + h);
            view.features(&moment, base, known + h, horizon, features);
        }
        let mut passes = Passes::default();
        let said = passes.forward(self.weights.shape, &self.weights.values, &batch);
        let (low, high) = self.weights.reach;
        let floor = if self.non_negative { 0.0 } else { f64::MIN };
        for (h, said) in said.chunks_exact(QUANTILES.len()).enumerate() {
            let base = view.base(&moment, known + h);
            let mut knots = [0.0; QUANTILES.len()];
            for (knot, &said) in knots.iter_mut().zip(said) {
                *knot = (base.value + base.unit * f64::from(said.clamp(low, high.max(low))))
                    .clamp(floor, f64::MAX);
            }
            // Quantiles of a network may cross; sorting them never makes them worse (Chernozhukov et al. 2010).
            knots.sort_by(f64::total_cmp);
            let row = answer.row_mut(h);
            for (slot, &tau) in row.iter_mut().zip(quantiles) {
                *slot = between(&knots, tau).max(floor);
            }
        }
        answer
    }

    fn bytes(&self) -> usize {
        size_of::<Lstm>()
            + 4 * self.values.capacity()
            + 2 * self.minutes.capacity()
            + 4 * self.weights.values.len()
    }
}

/// Stores shared weights as if each series had its own.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Weights;

    pub(super) fn serialize<S: Serializer>(weights: &Arc<Weights>, to: S) -> Result<S::Ok, S::Error> {
        weights.as_ref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Weights>, D::Error> {
        Weights::deserialize(from).map(Arc::new)
    }
}

/// The `tau` quantile from the knots at [`QUANTILES`], straight over the quantiles of the normal distribution.
fn between(knots: &[f64; QUANTILES.len()], tau: f64) -> f64 {
    let tau = tau.clamp(1e-4, 1.0 - 1e-4);
    let upper = QUANTILES.partition_point(|&known| known < tau).clamp(1, QUANTILES.len() - 1);
    let (from, to) = (normal_quantile(QUANTILES[upper - 1]), normal_quantile(QUANTILES[upper]));
    let share = (normal_quantile(tau) - from) / (to - from);
    knots[upper - 1] + share * (knots[upper] - knots[upper - 1])
}

/// The quantile function of the standard normal distribution, to about 4e-4 (Abramowitz and Stegun 26.2.23).
fn normal_quantile(tau: f64) -> f64 {
    let tail = tau.min(1.0 - tau);
    let t = (-2.0 * tail.ln()).sqrt();
    let z = t
        - (2.515_517 + t * (0.802_853 + t * 0.010_328))
            / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)));
    if tau < 0.5 { -z } else { z }
}

/// Minutes of the week of a history's steps.
pub(super) fn minutes(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Vec<u16>, FitError> {
    let mut minutes = Vec::with_capacity(history.values.len());
    for i in 0..history.values.len() as u64 {
        if i % 4096 == 0 {
            pace.checkpoint()?;
        }
        minutes.push(minute_of_week(history.grid, history.first + i));
    }
    Ok(minutes)
}
