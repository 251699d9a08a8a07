//! Boosted quantile trees on what is known at an origin: direct forecasts of every step of the horizon.
//!
//! For a step ahead the features are recent levels, the values at the lags of the seasons that are known at the origin,
//! profiles over several seasons with their spread, the calendar, and the covariates at that step. A linear forecast
//! from the same facts comes first and the trees learn what it leaves over, since trees cannot follow a level that they
//! have not seen. All is in units of the series' own level, so that [`Learned`] can be shared between series.
//!
//! Promises: a forecast uses nothing after its moment; the same history gives the same model, byte for byte; answers are
//! finite. Memory is bounded by a few long seasons of values. Does not refit itself.

mod baseline;
mod features;
mod learned;
mod sampling;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::covariates::Covariates;
use crate::models::place::Place;
use crate::models::{FitError, History, Model, Pace};
use crate::paths::Values;
use crate::trees;

use features::{Frame, Origin, Past, Row, SeriesTraits, Spans};
pub use learned::Learned;

/// How boosted trees are fitted to series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// How each forest is grown; its `run` is set by the series.
    pub trees: trees::Params,
    /// Rows, pairs of an origin and a step ahead, drawn from all series together. More cost time in proportion; one
    /// series does not gain by more than a few thousand. Default 6000.
    pub rows: usize,
    /// Age, in long seasons (weeks), at which a row is drawn half as often. Default 8.
    pub half_life: f32,
    /// Parts that the days are dealt into, each with a forest that has not seen it: answers are the mean of all, and each
    /// day is judged by the one that does not know it. 1 calibrates nothing. Default 4.
    pub folds: usize,
}

impl Default for Params {
    fn default() -> Params {
        // Rows of one day resemble each other: more rounds learn the days by heart.
        let trees = trees::Params { rounds: 50, learning_rate: 0.1, ..trees::Params::default() };
        Params { trees, rows: 6000, half_life: 8.0, folds: 4 }
    }
}

/// Quantiles that are fitted; others lie between or beyond.
const TAUS: [f64; 7] = [0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

/// Boosted trees that follow one series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Boosted {
    #[serde(with = "shared")]
    learned: Arc<Learned>,
    place: Place,
    spans: Spans,
    /// The step after the last value.
    next: u64,
    values: VecDeque<f32>,
    memory: usize,
    traits: SeriesTraits,
    non_negative: bool,
}

impl Boosted {
    /// Fits to one history.
    ///
    /// # Errors
    /// [`FitError`] when too little is known or training is called off.
    pub fn fit(history: &History<'_>, params: &Params, pace: &mut Pace<'_>) -> Result<Boosted, FitError> {
        let learned = Learned::fit(std::slice::from_ref(history), params, pace)?;
        Ok(Boosted::attach(Arc::new(learned), history))
    }

    /// Follows one series, from the end of its history, with what was learned from it or from others.
    pub fn attach(learned: Arc<Learned>, history: &History<'_>) -> Boosted {
        let spans = Spans::new(history.grid, history.seasons, history.values.len());
        let memory = spans.memory(history.horizon);
        let kept = &history.values[history.values.len().saturating_sub(memory)..];
        Boosted {
            learned,
            place: Place::of(history.grid),
            spans,
            next: history.end(),
            traits: SeriesTraits::of(&Past::new(history.values.iter().copied()), spans),
            values: kept.iter().copied().collect(),
            memory,
            non_negative: history.non_negative,
        }
    }

    fn fill(
        &self,
        aheads: impl Iterator<Item = usize>,
        quantiles: &[f64],
        covariates: &Covariates,
        values: &mut Values,
    ) {
        let past = Past::new(self.values.iter().copied());
        let grid = self.place.grid();
        let columns = places(&self.learned.names, covariates);
        let first = self.next.saturating_sub(self.values.len() as u64);
        let frame = Frame { grid: &grid, spans: self.spans, first, covariates, columns: &columns };
        let origin = Origin::new(&past, self.spans, past.len());
        if origin.is_idle {
            return;
        }
        let (least, most) = past.reach();
        let mut row = Row::default();
        for (place, ahead) in aheads.enumerate() {
            row.fill(&past, &frame, &origin, ahead);
            if self.learned.several {
                row.trees.extend(self.traits.0);
            }
            let fitted = self.learned.answer(&mut row, ahead as f32 / self.spans.near as f32);
            for (out, &tau) in values.row_mut(place).iter_mut().zip(quantiles) {
                let value = f64::from(origin.level) * between(&fitted, tau);
                let value = if value.is_finite() { value.clamp(least, most) } else { 0.0 };
                *out = if self.non_negative { value.max(0.0) } else { value };
            }
        }
    }
}

impl Model for Boosted {
    fn name(&self) -> &'static str {
        "boosted"
    }

    fn observe(&mut self, value: f32, _covariates: &Covariates) {
        if self.values.len() >= self.memory {
            self.values.pop_front();
        }
        self.values.push_back(value);
        self.next += 1;
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], covariates: &Covariates) -> Values {
        let mut values = Values::zeros(steps, quantiles.len());
        self.fill(1..=steps, quantiles, covariates, &mut values);
        values
    }

    fn forecast_at(&self, aheads: &[usize], quantiles: &[f64], covariates: &Covariates) -> Values {
        let mut values = Values::zeros(aheads.len(), quantiles.len());
        self.fill(aheads.iter().copied(), quantiles, covariates, &mut values);
        values
    }

    fn next_step(&self) -> Option<u64> {
        Some(self.next)
    }

    fn bytes(&self) -> usize {
        size_of::<Boosted>() + self.values.capacity() * size_of::<f32>() + self.learned.bytes()
    }
}

/// Where the named covariates stand among those of a series.
fn places(names: &[String], covariates: &Covariates) -> Vec<Option<usize>> {
    names.iter().map(|name| covariates.names().iter().position(|known| known == name)).collect()
}

/// Between fitted quantiles in proportion to the log odds; beyond them on the line through the last two.
fn between(fitted: &[f32; TAUS.len()], tau: f64) -> f64 {
    let odds = |tau: f64| (tau / (1.0 - tau)).ln();
    let tau = if tau.is_nan() { 0.5 } else { tau.clamp(TAU_MIN, 1.0 - TAU_MIN) };
    let upper = TAUS.partition_point(|&known| known < tau).clamp(1, TAUS.len() - 1);
    let (low, high) = (f64::from(fitted[upper - 1]), f64::from(fitted[upper]));
    let part = (odds(tau) - odds(TAUS[upper - 1])) / (odds(TAUS[upper]) - odds(TAUS[upper - 1]));
    low + part * (high - low)
}

/// Quantiles are not extrapolated beyond this.
const TAU_MIN: f64 = 1e-3;

/// What several models hold together is stored with each of them.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(shared: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        T::serialize(shared, to)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}
