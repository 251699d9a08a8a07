//! Exponential smoothing with any number of seasons.
//!
//! A level, a damped trend and one state for each place in each season (a day and a week, say) all move a little with every
//! one-step error, and what they leave is an AR(1) process: Holt-Winters for several seasons with error correction
//! (Taylor 2003; De Livera, Hyndman and Snyder 2011 without the trigonometric part). Two things differ from these papers,
//! because they did better on workloads: gains begin at one over the number of visits, so that seasons are averages at
//! first and nothing has to be initialised; and the parameters minimise the error over all distances asked for, not that of
//! the next step.
//!
//! Which seasons, how fine, and whether effects add up or multiply is decided by the errors on the history, forecast from
//! many moments of it with what was known then. These errors also make the intervals.
//!
//! Not here: covariates. A missing value moves only the clock.

mod simplex;
mod state;

use std::ops::ControlFlow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::state::{Gains, State};
use super::realised::{Origin, Realised};
use super::warp::Warp;
use super::{Bands, FitError, History, Model, Pace};
use crate::covariates::Covariates;
use crate::paths::Values;

/// A fitted model of exponential smoothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Smoothing {
    warp: Warp,
    gains: Gains,
    state: State,
    realised: Realised,
    non_negative: bool,
}

/// What is decided before the gains are fitted.
#[derive(Clone, Debug)]
struct Shape {
    /// Whether effects multiply: index into the warped series.
    warp: usize,
    /// Period and steps from knot to knot of each season.
    seasons: Vec<(usize, usize)>,
    /// Whether there is a trend.
    trend: bool,
}

/// The history as this model sees it.
struct Material<'a> {
    values: &'a [f32],
    first: u64,
    /// For each way to warp: the map and the warped values.
    warped: Vec<(Warp, Vec<f64>)>,
    /// Values from which nothing is scored yet.
    warm: usize,
    aheads: Vec<usize>,
    /// The longest season that was seen once.
    longest: usize,
    /// Steps from one scored moment to the next while parameters are searched.
    stride: usize,
}

impl Smoothing {
    /// Fits gains and shape.
    ///
    /// # Errors
    /// [`FitError`] when there are fewer than eight values, or the training is called off.
    pub fn fit(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Smoothing, FitError> {
        let present = history.present();
        if present < PRESENT_MIN {
            return Err(FitError::TooLittleHistory { present, needed: PRESENT_MIN });
        }
        let material = Material::new(history);
        let mut ranked: Vec<(f64, Shape, Vec<f64>)> = Vec::new();
        for shape in material.shapes(history.seasons) {
            pace.checkpoint()?;
            let start = shape.start();
            ranked.push((material.cost(&shape, &start) * material.handicap(&shape), shape, start));
        }
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        ranked.truncate(SEARCHED);
        let mut best: Option<(f64, Shape, Vec<f64>)> = None;
        for (_, shape, start) in ranked {
            let (point, cost) = material.search(&shape, &start, pace)?;
            let cost = cost * material.handicap(&shape);
            if best.as_ref().is_none_or(|best| cost < best.0) {
                best = Some((cost, shape, point));
            }
        }
        let Some((cost, shape, point)) = best else {
            return Err(FitError::Unsuitable("no shape could be tried".into()));
        };
        let cost = cost / material.handicap(&shape);
        let (shape, point) = material.with_trend(cost, shape, point, pace)?;
        Ok(material.finish(&shape, &point, history))
    }
}

impl Model for Smoothing {
    fn name(&self) -> &'static str {
        "smoothing"
    }

    fn observe(&mut self, value: f32, _covariates: &Covariates) {
        let standard = self.warp.there(value);
        self.warp.extend(standard);
        self.state.observe(standard, &self.gains);
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], _covariates: &Covariates) -> Values {
        let middle: Vec<f64> =
            (1..=steps).map(|ahead| self.warp.back(self.state.at(ahead, &self.gains))).collect();
        self.realised.around(&middle, self.state.step, quantiles, self.non_negative)
    }

    fn bytes(&self) -> usize {
        size_of::<Smoothing>() + self.state.bytes() + self.realised.bytes()
    }
}

impl<'a> Material<'a> {
    fn new(history: &History<'a>) -> Material<'a> {
        let longest = history.seasons.iter().copied().max().unwrap_or(1);
        let kept = (SEASONS_KEPT * longest).clamp(VALUES_KEPT_MIN, VALUES_KEPT_MAX);
        let from = history.values.len().saturating_sub(kept);
        let values = &history.values[from..];
        let plain = Warp::plain(values);
        let logarithmic = if history.non_negative { Warp::logarithmic(values) } else { None };
        let warped = std::iter::once(plain).chain(logarithmic).map(|warp| {
            let all = warp.all(values);
            (warp, all)
        });
        let shortest = history.seasons.iter().copied().min().unwrap_or(1);
        let horizon = history.horizon.clamp(1, values.len() / 4 + 1);
        let mut aheads: Vec<usize> =
            [1, horizon / 24, horizon / 8, horizon / 4, horizon / 2, horizon * 3 / 4, horizon]
                .into_iter()
                .filter(|&ahead| ahead > 0)
                .collect();
        aheads.sort_unstable();
        aheads.dedup();
        let warm = (values.len() / 3).min(longest).max(shortest + shortest / 8).min(values.len() / 2);
        let stride = ((values.len() - warm) / ORIGINS_SEARCH).max(1);
        let seen = history.seasons.iter().copied().filter(|season| season + season / 8 < values.len());
        Material {
            values,
            first: history.first + from as u64,
            warped: warped.collect(),
            warm,
            aheads,
            longest: seen.max().unwrap_or(1),
            stride,
        }
    }

    /// All shapes worth trying.
    fn shapes(&self, seasons: &[usize]) -> Vec<Shape> {
        let n = self.values.len();
        let mut seasons: Vec<usize> =
            seasons.iter().copied().filter(|&season| season >= 2 && season + season / 8 < n).collect();
        seasons.sort_unstable();
        seasons.dedup();
        seasons.truncate(SEASONS_MAX);
        let mut sets: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
        for k in 1..=seasons.len() {
            for widths in [[FINE, FINE], [MIDDLING, MIDDLING], [FINE, COARSE], [MIDDLING, COARSE]] {
                let set: Vec<(usize, usize)> = (0..k)
                    .map(|i| {
                        let many = if i > 0 { seasons[i] / seasons[0] } else { 1 };
                        let parts = widths[usize::from(i > 0)].saturating_mul(many);
                        (seasons[i], (seasons[i] / parts.max(1)).max(1))
                    })
                    .collect();
                if !sets.contains(&set) {
                    sets.push(set);
                }
            }
        }
        (0..self.warped.len())
            .flat_map(|warp| sets.iter().map(move |set| Shape { warp, seasons: set.clone(), trend: false }))
            .collect()
    }

    /// What the error of a shape is multiplied by before shapes are compared. A season that was seen hardly more than once
    /// cannot have shown yet what it is good for, and it comes to little until it has: it is believed in.
    fn handicap(&self, shape: &Shape) -> f64 {
        let young = self.longest > 1 && self.values.len() < 3 * self.longest;
        let without = shape.seasons.last().is_none_or(|&(period, _)| period < self.longest);
        if young && without { BELIEVED } else { 1.0 }
    }

    /// Mean absolute error of forecasts made all through the history, over all distances.
    fn cost(&self, shape: &Shape, point: &[f64]) -> f64 {
        let (mut sum, mut n) = (0.0, 0.0);
        self.replay(shape, &shape.gains(point), &self.aheads, self.stride, |next, said| {
            for (&ahead, said) in self.aheads.iter().zip(said) {
                let Some(value) = self.values.get(next + ahead - 1) else { break };
                let error = f64::from(*value) - said;
                if error.is_finite() {
                    sum += error.abs();
                    n += 1.0;
                }
            }
        });
        if n > 0.0 { sum / n } else { f64::INFINITY }
    }

    /// Runs through the history, forecasting at every `stride`th moment; returns the state at the end.
    fn replay(
        &self,
        shape: &Shape,
        gains: &Gains,
        aheads: &[usize],
        stride: usize,
        mut on: impl FnMut(usize, &[f64]),
    ) -> State {
        let (warp, standard) = &self.warped[shape.warp];
        let mut state = State::new(self.first, &shape.seasons);
        let mut said = vec![0.0; aheads.len()];
        for (i, &value) in standard.iter().enumerate() {
            state.observe(value, gains);
            let next = i + 1;
            if next >= self.warm && (next - self.warm).is_multiple_of(stride) {
                for (said, &ahead) in said.iter_mut().zip(aheads) {
                    *said = warp.back(state.at(ahead, gains));
                }
                on(next, &said);
            }
        }
        state
    }

    fn search(&self, shape: &Shape, start: &[f64], pace: &mut Pace<'_>) -> Result<(Vec<f64>, f64), FitError> {
        let reach = vec![1.0; start.len()];
        let mut stopped = None;
        let found = simplex::minimise(start, &reach, CALLS_PER_NUMBER * start.len(), |point| {
            match pace.checkpoint() {
                Ok(()) => ControlFlow::Continue(self.cost(shape, point)),
                Err(error) => {
                    stopped = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        stopped.map_or(Ok(found), Err)
    }

    /// Adds a trend if that helps clearly.
    fn with_trend(
        &self,
        cost: f64,
        shape: Shape,
        point: Vec<f64>,
        pace: &mut Pace<'_>,
    ) -> Result<(Shape, Vec<f64>), FitError> {
        let trended = Shape { trend: true, ..shape.clone() };
        for slow in [false, true] {
            pace.checkpoint()?;
            let horizon = self.aheads.last().map_or(1.0, |&ahead| ahead as f64);
            let last = if slow { (8.0 * horizon).ln() } else { horizon.ln() };
            let mut start = point.clone();
            start.extend([start[0] + last, last]);
            if self.cost(&trended, &start) < cost * TREND_GAIN {
                let (point, _) = self.search(&trended, &start, pace)?;
                return Ok((trended, point));
            }
        }
        Ok((shape, point))
    }

    fn finish(&self, shape: &Shape, point: &[f64], history: &History<'_>) -> Smoothing {
        let gains = shape.gains(point);
        let bands = Bands::new(history.horizon);
        let aheads = bands.aheads().to_vec();
        let every = ((self.values.len() - self.warm) / ORIGINS_BANDS).max(1);
        let mut origins = Vec::new();
        let state = self.replay(shape, &gains, &aheads, every, |next, said| {
            origins.push(Origin { next, said: said.iter().map(|&said| said as f32).collect() });
        });
        let day = history.grid.steps_in(Duration::from_secs(86_400));
        let period = history.seasons.first().copied().filter(|_| !shape.seasons.is_empty()).or(day);
        let realised = Realised::new(&origins, self.values, self.first, period, bands);
        let warp = self.warped[shape.warp].0.clone();
        Smoothing { warp, gains, state, realised, non_negative: history.non_negative }
    }
}

impl Shape {
    /// Where the search begins: logarithms of time constants in steps, log-odds of seasonal gains, log of the priors.
    fn start(&self) -> Vec<f64> {
        let first = self.seasons.first().map_or(24.0, |&(period, _)| period as f64);
        let mut start = vec![(3.0 * first).ln(), (first / 10.0).max(1.0).ln()];
        for &(_, width) in &self.seasons {
            start.push((6.0 * width as f64).ln());
        }
        if self.seasons.len() > 1 {
            start.push(1f64.ln());
        }
        start
    }

    fn gains(&self, point: &[f64]) -> Gains {
        let per_step = |log_steps: f64| (-log_steps.clamp(0.0, LOG_STEPS_MAX)).exp();
        let k = self.seasons.len();
        let prior = point.get(2 + k).filter(|_| k > 1).map_or(1.0, |&log| log.clamp(-2.0, 3.0).exp());
        let width = self.seasons.get(1).map_or(1.0, |&(_, width)| width as f64);
        let trend = if self.trend { &point[point.len() - 2..] } else { &[] };
        Gains {
            level: per_step(point[0]),
            memory: (-1.0 / point[1].clamp(-2.0, LOG_STEPS_MAX).exp()).exp(),
            seasonal: point[2..2 + k].iter().map(|&log| per_step(log)).collect(),
            prior: [0.5, prior * width],
            trend: trend.first().map_or(0.0, |&log| per_step(log)),
            damping: trend.last().map_or(0.0, |&log| (-1.0 / log.clamp(-2.0, LOG_STEPS_MAX).exp()).exp()),
        }
    }
}

const PRESENT_MIN: usize = 8;
const SEASONS_MAX: usize = 3;
/// Longest seasons kept for the fit, and values at least and at most.
const SEASONS_KEPT: usize = 8;
const VALUES_KEPT_MIN: usize = 4000;
const VALUES_KEPT_MAX: usize = 100_000;
/// Shapes whose gains are searched.
const SEARCHED: usize = 2;
/// Evaluations of the search for each number searched.
const CALLS_PER_NUMBER: usize = 20;
/// Moments forecast from while gains are searched, and for the intervals.
const ORIGINS_SEARCH: usize = 400;
const ORIGINS_BANDS: usize = 1000;
/// Knots of the shortest season, and of a longer one for each of the shortest in it.
const FINE: usize = usize::MAX;
const MIDDLING: usize = 72;
const COARSE: usize = 12;
/// Error with a trend, in parts of that without, below which it is taken on.
const TREND_GAIN: f64 = 0.99;
/// Error without the longest season, in parts, from which a young one is doubted.
const BELIEVED: f64 = 1.04;
/// Longest time constant, as a logarithm of steps.
const LOG_STEPS_MAX: f64 = 11.0;
