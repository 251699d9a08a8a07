//! An additive model in the manner of Prophet (Taylor and Letham 2018): a trend that may bend, seasons as sums of waves,
//! effects of covariates (holidays, campaigns, weather) known for the future.
//!
//! The posterior is Prophet's; how it is solved is not: see [`map`]. Beyond Prophet, how many waves, how bent a trend,
//! whether covariates help and whether effects multiply are chosen by errors on stretches of the history that were not
//! fitted; a flag may act differently at different hours; and what the model was lately wrong by is carried on for a while
//! (as in NeuralProphet), so that an observation moves the forecast without a new fit. Uncertainty, of the trend too, comes
//! from the errors that were made on those stretches, not from a simulated trend.

mod curve;
mod design;
mod map;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::curve::Curve;
use self::design::Layout;
use self::map::{Choice, Trend};
use super::least_squares::Normal;
use super::realised::{Origin, Realised};
use super::warp::Warp;
use super::waves::{WAVES_FIRST, WAVES_LONGER};
use super::{Bands, FitError, History, Model, Pace};
use crate::covariates::Covariates;
use crate::paths::Values;

/// A fitted additive model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Additive {
    warp: Warp,
    curve: Curve,
    carry: Carry,
    /// What the curve was lately wrong by.
    rest: f64,
    /// The next step.
    step: u64,
    realised: Realised,
    non_negative: bool,
}

/// How what was wrong lately is carried on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Carry {
    /// Share of a new error that is taken on.
    gain: f64,
    /// Share that is left a step later.
    memory: f64,
}

/// The history as this model sees it, in one way to warp it.
struct Material<'a> {
    history: History<'a>,
    layout: &'a Layout,
    warp: Warp,
    standard: Vec<f64>,
    /// Sums over the rows before the first cut, and between each two.
    parts: Vec<Normal>,
    cuts: &'a [usize],
}

/// A curve for each stretch, and how well they did.
struct Tried {
    choice: Choice,
    curves: Vec<Curve>,
    carry: Carry,
    cost: f64,
}

impl Additive {
    /// Fits by maximum a posteriori.
    ///
    /// # Errors
    /// [`FitError`] when there are fewer than 30 values, or the training is called off.
    pub fn fit(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Additive, FitError> {
        let present = history.present();
        if present < PRESENT_MIN {
            return Err(FitError::TooLittleHistory { present, needed: PRESENT_MIN });
        }
        let kept = history.values.len().saturating_sub(VALUES_KEPT);
        let history =
            History { first: history.first + kept as u64, values: &history.values[kept..], ..*history };
        let layout = Layout::new(&history);
        let n = history.values.len();
        let longest =
            layout.calendar.seasons.iter().copied().filter(|&season| 2 * season < n).max().unwrap_or(1);
        let begin = (n / 3).min(longest).max(n / 4);
        let mut cuts: Vec<usize> = (0..=CUTS).map(|i| begin + (n - begin) * i / CUTS).collect();
        cuts.dedup();
        let plain = Warp::plain(history.values);
        let logarithmic = if history.non_negative { Warp::logarithmic(history.values) } else { None };
        let rows = rows(&history, &layout, pace)?;
        let mut best: Option<(Material<'_>, Tried)> = None;
        for warp in std::iter::once(plain).chain(logarithmic) {
            let material = Material::new(history, &layout, &cuts, warp, &rows, pace)?;
            let tried = material.best(pace)?;
            if best.as_ref().is_none_or(|best| tried.cost < best.1.cost) {
                best = Some((material, tried));
            }
        }
        match best {
            Some((material, tried)) => Ok(material.finish(tried)),
            None => Err(FitError::Unsuitable("nothing could be fitted".into())),
        }
    }
}

impl Model for Additive {
    fn name(&self) -> &'static str {
        "additive"
    }

    fn observe(&mut self, value: f32, covariates: &Covariates) {
        let standard = self.warp.there(value);
        self.warp.extend(standard);
        let said = self.curve.over(self.step..self.step + 1, covariates)[0];
        self.carry.observe(&mut self.rest, standard - said);
        self.step += 1;
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], covariates: &Covariates) -> Values {
        let mut left = self.rest;
        let middle: Vec<f64> = self
            .curve
            .over(self.step..self.step + steps as u64, covariates)
            .into_iter()
            .map(|said| {
                left *= self.carry.memory;
                self.warp.back(said + left)
            })
            .collect();
        self.realised.around(&middle, self.step, quantiles, self.non_negative)
    }

    fn next_step(&self) -> Option<u64> {
        Some(self.step)
    }

    fn bytes(&self) -> usize {
        size_of::<Additive>() + self.curve.bytes() + self.realised.bytes()
    }
}

/// Rows of the design: the place after the last step of each, its columns, and the places averaged.
struct Rows {
    width: usize,
    flat: Vec<f64>,
    block: usize,
}

fn rows(history: &History<'_>, layout: &Layout, pace: &mut Pace<'_>) -> Result<Rows, FitError> {
    let (block, width, n) = (layout.block(), layout.columns.len(), history.values.len());
    let count = n.div_ceil(block);
    let mut flat = vec![0.0; count * width];
    let middles = (0..count).map(|row| history.first + ((row * block + block / 2).min(n - 1)) as u64);
    layout.calendar.phases(middles, |row, step, phases| {
        layout.fill(&mut flat[row * width..(row + 1) * width], step, phases, history.covariates);
    });
    pace.checkpoint()?;
    Ok(Rows { width, flat, block })
}

impl<'a> Material<'a> {
    fn new(
        history: History<'a>,
        layout: &'a Layout,
        cuts: &'a [usize],
        warp: Warp,
        rows: &Rows,
        pace: &mut Pace<'_>,
    ) -> Result<Material<'a>, FitError> {
        let standard: Vec<f64> =
            warp.all(history.values).into_iter().map(|value| value.clamp(-WILD, WILD)).collect();
        let mut parts = vec![Normal::new(rows.width); cuts.len()];
        for (i, (row, values)) in rows.flat.chunks(rows.width).zip(standard.chunks(rows.block)).enumerate() {
            let known = values.iter().filter(|value| value.is_finite());
            let (n, sum) = known.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
            if n > 0.0 {
                // A block that a cut goes through belongs to the part after it.
                let end = (i * rows.block + values.len()).min(history.values.len());
                let part = cuts.partition_point(|&cut| cut < end).min(cuts.len() - 1);
                parts[part].add(row, sum / n, n / rows.block as f64);
            }
            if i.is_multiple_of(256) {
                pace.checkpoint()?;
            }
        }
        Ok(Material { history, layout, warp, standard, parts, cuts })
    }

    /// The best choice, one question at a time.
    fn best(&self, pace: &mut Pace<'_>) -> Result<Tried, FitError> {
        let mut choice =
            Choice { trend: Trend::Bent(0.05), waves: [WAVES_FIRST, WAVES_LONGER / 4], covariates: 1 };
        let mut least = f64::INFINITY;
        let mut waves =
            vec![[WAVES_FIRST, 0], [WAVES_FIRST / 3, 3], [WAVES_FIRST, 3], [WAVES_FIRST, WAVES_LONGER]];
        if self.layout.calendar.seasons.len() < 2 {
            waves.truncate(2);
        }
        if self.layout.calendar.seasons.is_empty() {
            waves.truncate(1);
        }
        let mut ask = |tried: Choice, least: &mut f64, choice: &mut Choice| -> Result<(), FitError> {
            pace.checkpoint()?;
            let cost = self.squares(&tried, ROUNDS_CHOICE);
            if cost < *least {
                (*least, *choice) = (cost, tried);
            }
            Ok(())
        };
        for waves in waves {
            ask(Choice { waves, ..choice }, &mut least, &mut choice)?;
        }
        for trend in [Trend::Flat, Trend::Bent(0.005), Trend::Bent(0.3)] {
            ask(Choice { trend, ..choice }, &mut least, &mut choice)?;
        }
        if !self.layout.regressors.is_empty() {
            for covariates in [0, 2] {
                ask(Choice { covariates, ..choice }, &mut least, &mut choice)?;
            }
        }
        // What was asked for so far looked days ahead and let no error be carried on. A steadier trend may yet do better in
        // use; so may, where days resemble each other little, hardly any season.
        let mut best = self.tried(choice);
        let steadier = Choice { trend: Trend::Bent(0.005), ..choice };
        let plainest = Choice { trend: Trend::Flat, waves: [WAVES_FIRST / 3, 0], ..choice };
        for other in [steadier, plainest] {
            pace.checkpoint()?;
            if other != choice {
                let tried = self.tried(other);
                if tried.cost < best.cost {
                    best = tried;
                }
            }
        }
        Ok(best)
    }

    /// Squares left on stretches after those that were fitted.
    fn squares(&self, choice: &Choice, rounds: usize) -> f64 {
        let mut seen = Normal::new(self.layout.columns.len());
        let mut cost = 0.0;
        for (pair, &cut) in self.parts.windows(2).zip(self.cuts) {
            seen.merge(&pair[0]);
            let columns = choice.columns(self.layout, cut as f64 / self.layout.span);
            let found = map::solve(&seen, self.layout, choice, &columns, rounds);
            cost += found.map_or(f64::INFINITY, |found| pair[1].squares(&columns, &found));
        }
        cost
    }

    /// A curve for each cut, and the best way to carry errors on.
    fn tried(&self, choice: Choice) -> Tried {
        let mut seen = Normal::new(self.layout.columns.len());
        let curves: Vec<Curve> = self
            .parts
            .iter()
            .zip(self.cuts)
            .map(|(part, &cut)| {
                seen.merge(part);
                let columns = choice.columns(self.layout, cut as f64 / self.layout.span);
                let found = map::solve(&seen, self.layout, &choice, &columns, ROUNDS);
                let found = found.unwrap_or_else(|| vec![0.0; columns.len()]);
                Curve::new(self.layout, &columns, &found, cut, self.history.horizon)
            })
            .collect();
        let horizon = self.history.horizon.max(1);
        let stretches = self.stretches(&curves, horizon);
        let day = self.layout.calendar.seasons.first().copied().unwrap_or(horizon) as f64;
        let mut carries = vec![Carry { gain: 0.0, memory: 0.0 }];
        for steps in [day / 24.0, day / 4.0, day, 7.0 * day] {
            for gain in [0.02, 0.15, 0.7] {
                carries.push(Carry { gain, memory: (-1.0 / steps.max(0.5)).exp() });
            }
        }
        let aheads = [1, horizon / 8, horizon / 2, horizon].map(|ahead| ahead.max(1));
        let mut best = (f64::INFINITY, carries[0]);
        for carry in carries {
            let (mut sum, mut n) = (0.0, 0.0);
            self.replay(&stretches, carry, &aheads, ORIGINS_SEARCH, |next, said| {
                for (ahead, said) in aheads.iter().zip(said) {
                    let value = self.history.values.get(next + ahead - 1).copied().unwrap_or(f32::NAN);
                    if value.is_finite() {
                        sum += (f64::from(value) - said).abs();
                        n += 1.0;
                    }
                }
            });
            let cost = if n > 0.0 { sum / n } else { f64::INFINITY };
            if cost < best.0 {
                best = (cost, carry);
            }
        }
        Tried { choice, curves, carry: best.1, cost: best.0 }
    }

    /// What the curve of each cut says from a day before it until a horizon after the next; with the first place.
    fn stretches(&self, curves: &[Curve], horizon: usize) -> Vec<(usize, Vec<f64>)> {
        let before = self.layout.calendar.seasons.first().copied().unwrap_or(horizon);
        self.cuts
            .windows(2)
            .zip(curves)
            .map(|(pair, curve)| {
                let from = pair[0].saturating_sub(before);
                let first = self.history.first;
                let steps = first + from as u64..first + (pair[1] + horizon) as u64;
                (from, curve.over(steps, self.history.covariates))
            })
            .collect()
    }

    /// Forecasts from about `many` moments of each stretch, with the curve that was known at its beginning.
    fn replay(
        &self,
        stretches: &[(usize, Vec<f64>)],
        carry: Carry,
        aheads: &[usize],
        many: usize,
        mut on: impl FnMut(usize, &[f64]),
    ) {
        let fades: Vec<f64> = aheads.iter().map(|&ahead| carry.memory.powf(ahead as f64)).collect();
        let mut said = vec![0.0; aheads.len()];
        for (pair, (from, curve)) in self.cuts.windows(2).zip(stretches) {
            let every = ((pair[1] - pair[0]) / many).max(1);
            let mut rest = 0.0;
            for t in *from..pair[1] {
                if t >= pair[0] && (t - pair[0]).is_multiple_of(every) {
                    for ((said, &ahead), fade) in said.iter_mut().zip(aheads).zip(&fades) {
                        let at = curve.get(t + ahead - 1 - from).copied().unwrap_or(0.0);
                        *said = self.warp.back(at + fade * rest);
                    }
                    on(t, &said);
                }
                carry.observe(&mut rest, self.standard[t] - curve[t - from]);
            }
        }
    }

    fn finish(&self, tried: Tried) -> Additive {
        let bands = Bands::new(self.history.horizon);
        let aheads = bands.aheads().to_vec();
        let stretches = self.stretches(&tried.curves, self.history.horizon.max(1));
        let mut origins = Vec::new();
        self.replay(&stretches, tried.carry, &aheads, ORIGINS_BANDS, |next, said| {
            origins.push(Origin { next, said: said.iter().map(|&said| said as f32).collect() });
        });
        let day = self.history.grid.steps_in(Duration::from_secs(86_400));
        let period = self.layout.calendar.seasons.first().copied().or(day);
        let realised = Realised::new(&origins, self.history.values, self.history.first, period, bands);
        let curve = tried.curves.into_iter().next_back().unwrap_or_else(|| {
            let columns = tried.choice.columns(self.layout, 1.0);
            Curve::new(self.layout, &columns, &vec![0.0; columns.len()], 0, 1)
        });
        let mut rest = 0.0;
        let said = curve.over(self.history.first..self.history.end(), self.history.covariates);
        for (value, said) in self.standard.iter().zip(said) {
            tried.carry.observe(&mut rest, value - said);
        }
        Additive {
            warp: self.warp.clone(),
            curve,
            carry: tried.carry,
            rest,
            step: self.history.end(),
            realised,
            non_negative: self.history.non_negative,
        }
    }
}

impl Carry {
    #[inline]
    fn observe(&self, rest: &mut f64, error: f64) {
        *rest *= self.memory;
        if error.is_finite() {
            *rest += self.gain * (error.clamp(-WILD, WILD) - *rest);
        }
    }
}

const PRESENT_MIN: usize = 30;
/// Three years of hours: a longer history is cut at its beginning.
const VALUES_KEPT: usize = 30_000;
/// Stretches that are forecast without having been fitted.
const CUTS: usize = 4;
/// Rounds of reweighting, while choosing and at the end.
const ROUNDS_CHOICE: usize = 2;
const ROUNDS: usize = 4;
/// Moments of each stretch that are forecast from.
const ORIGINS_SEARCH: usize = 25;
const ORIGINS_BANDS: usize = 100;
/// Values and errors are not taken to be farther out than this, in standard units.
const WILD: f64 = 12.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::grid::Grid;

    fn hourly() -> Grid {
        Grid { origin: Timestamp::EPOCH, step: Duration::from_secs(3600), zone: None }
    }

    #[test]
    fn trend_season_and_holiday_go_on_into_the_future() {
        let mut rng = fastrand::Rng::with_seed(7);
        let n = 24 * 70;
        // Every ninth day is a holiday, on which the afternoon is missing.
        let holiday = |i: usize| i / 24 % 9 == 4;
        let shape = |i: usize| {
            let wave = 3.0 * (i as f64 * std::f64::consts::TAU / 24.0).sin();
            50.0 + 0.002 * i as f64 + if holiday(i) { 0.3 * wave - 5.0 } else { wave }
        };
        let values: Vec<f32> = (0..n).map(|i| (shape(i) + rng.f64() - 0.5) as f32).collect();
        let mut covariates = Covariates::beginning(0);
        covariates
            .add("holiday", (0..n + 24 * 9).map(|i| f32::from(u8::from(holiday(i)))).collect())
            .unwrap();
        let grid = hourly();
        let history = History {
            grid: &grid,
            first: 0,
            values: &values,
            seasons: &[24, 168],
            covariates: &covariates,
            horizon: 24 * 9,
            non_negative: true,
        };
        let model = Additive::fit(&history, &mut Pace::free()).unwrap();
        let said = model.forecast(24 * 9, &[0.05, 0.5, 0.95], &covariates);
        let error: f64 = (0..24 * 9).map(|h| (said[h][1] - shape(n + h)).abs()).sum::<f64>() / (24.0 * 9.0);
        assert!(error < 0.6, "{error}");
        let inside =
            (0..24 * 9).filter(|&h| said[h][0] <= shape(n + h) && shape(n + h) <= said[h][2]).count();
        assert!(inside > 180, "{inside}");
    }

    #[test]
    fn an_observation_moves_the_next_forecast_towards_it() {
        let mut rng = fastrand::Rng::with_seed(8);
        let mut level = 0.0;
        let values: Vec<f32> = (0..1500)
            .map(|i| {
                level = 0.97 * level + rng.f64() - 0.5;
                (20.0 + level + (f64::from(i) * std::f64::consts::TAU / 24.0).cos()) as f32
            })
            .collect();
        let (grid, covariates) = (hourly(), Covariates::default());
        let history = History {
            grid: &grid,
            first: 0,
            values: &values,
            seasons: &[24],
            covariates: &covariates,
            horizon: 24,
            non_negative: true,
        };
        let mut model = Additive::fit(&history, &mut Pace::free()).unwrap();
        let before = model.forecast(2, &[0.5], &covariates);
        model.observe(before[0][0] as f32 + 2.0, &covariates);
        assert!(model.forecast(1, &[0.5], &covariates)[0][0] > before[1][0] + 0.5);
    }
}
