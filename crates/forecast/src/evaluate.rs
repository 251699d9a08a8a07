//! Rolling-origin evaluation: every model forecasts the same steps from the same moments, and is scored on what came.
//!
//! Batch models are fitted anew at each origin to what was known then; models that learn online are streamed. Beside them
//! stands the forecast that everybody has for nothing: the same time last week (or the day before, where a week is too
//! long), with the quantiles of its own past errors around it. Processor time is measured by a clock that the caller
//! brings.

use std::time::Duration;

use crate::LeftOut;
use crate::models::{FitError, History, Kind, Model, Pace};
use crate::paths::Values;
use crate::score::WeightedPinball;

/// What to evaluate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Steps from which forecasts are made, rising: a forecast from origin `o` knows the values before step `first + o`.
    pub origins: Vec<usize>,
    /// Steps ahead that are scored.
    pub horizon: usize,
    /// Quantiles asked for: 0.05, the median and 0.95 among them.
    pub quantiles: Vec<f64>,
}

/// A series to evaluate on, and what of it models must not learn.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// All of it.
    pub history: History<'a>,
    /// Anomalies and outages.
    pub left_out: &'a LeftOut,
}

impl Subject<'_> {
    /// Its first `len` values, as far as models may learn them at that moment.
    pub fn known(&self, len: usize) -> Vec<f32> {
        self.left_out.without(self.history.first, &self.history.values[..len])
    }
}

/// How a model did.
#[derive(Clone, Debug)]
pub struct Scores {
    /// Which model.
    pub model: String,
    /// Weighted pinball loss: 2 x sum of losses / sum of |values|, averaged over the quantiles.
    pub wpl: f64,
    /// The same of the seasonal naive forecast on the same steps.
    pub naive_wpl: f64,
    /// Mean absolute error of the median, in the unit of the series.
    pub mae: f64,
    /// Root of the mean squared error of the median.
    pub rmse: f64,
    /// Mean absolute error over that of the seasonal naive forecast inside the history before the first origin.
    pub mase: f64,
    /// Share of values inside the interval from 0.05 to 0.95.
    pub coverage: f64,
    /// Share of values at or below the 0.95 quantile.
    pub upper_coverage: f64,
    /// As `coverage`, by distance ahead: `(last step of the bucket, share)`.
    pub coverage_by_ahead: Vec<(usize, f64)>,
    /// Processor time of all fits and of all forecasts.
    pub fit_time: Duration,
    /// Of the forecasts alone.
    pub forecast_time: Duration,
    /// Values that were scored.
    pub scored: usize,
    /// Why the model could not be fitted at some origins: how many, and the last reason.
    pub refused: Option<(usize, FitError)>,
    /// Each forecast that was made, in the order of the origins.
    pub forecasts: Vec<(usize, Values)>,
}

/// Origins spread evenly over the last part of a series of `len` values, from `first` on, each with a whole horizon after
/// it. The distance between them is no multiple of an hour, so that hours and weekdays differ.
pub fn origins(len: usize, first: usize, horizon: usize, count: usize) -> Vec<usize> {
    let last = len.saturating_sub(horizon);
    if first > last || count == 0 {
        return Vec::new();
    }
    let mut origins: Vec<usize> =
        (0..count).map(|k| first + (last - first) * k / count.max(2).saturating_sub(1)).collect();
    origins.truncate(count);
    origins.dedup();
    origins
}

/// Evaluates one model.
pub fn evaluate(kind: Kind, history: &History<'_>, plan: &Plan, cpu: &mut dyn FnMut() -> Duration) -> Scores {
    evaluate_together(kind, &Subject { history: *history, left_out: &LeftOut::default() }, &[], plan, cpu)
}

/// Evaluates a model that is fitted to other series as well where there are some: see [`Kind::train_together`]. At each origin it
/// knows of them what had come by then. It is fitted without what is left out, and scored on all.
pub fn evaluate_together(
    kind: Kind,
    subject: &Subject<'_>,
    beside: &[Subject<'_>],
    plan: &Plan,
    cpu: &mut dyn FnMut() -> Duration,
) -> Scores {
    let history = &subject.history;
    let mut tally = Tally::new(kind.name(), history, plan);
    let mut model: Option<Box<dyn Model>> = None;
    let mut seen = 0;
    for &origin in &plan.origins {
        let begin = cpu();
        let follows = model.is_some() && !kind.is_batch();
        if let Some(model) = model.as_mut().filter(|_| follows) {
            for &value in &history.values[seen..origin] {
                model.observe(value, history.covariates);
            }
        } else {
            match fit(kind, subject, origin, beside) {
                Ok(fitted) => model = Some(fitted),
                Err(error) => {
                    model = None;
                    tally.refuse(error);
                }
            }
        }
        seen = origin;
        tally.scores.fit_time += cpu().saturating_sub(begin);
        if let Some(model) = &model {
            let begin = cpu();
            let values = model.forecast(plan.horizon, &plan.quantiles, history.covariates);
            tally.scores.forecast_time += cpu().saturating_sub(begin);
            tally.add(origin, values);
        }
    }
    tally.finish()
}

/// Fits a model to what is known of this series before a step, and of those beside it.
fn fit(
    kind: Kind,
    subject: &Subject<'_>,
    origin: usize,
    beside: &[Subject<'_>],
) -> Result<Box<dyn Model>, FitError> {
    let now = subject.history.grid.begins_at(subject.history.first + origin as u64);
    let own = subject.known(origin);
    let known = History { values: &own, ..subject.history };
    let others: Vec<Vec<f32>> =
        beside.iter().map(|other| other.known(other.history.before(now).values.len())).collect();
    let others: Vec<History<'_>> =
        beside.iter().zip(&others).map(|(other, values)| History { values, ..other.history }).collect();
    match others.as_slice() {
        [] => kind.fit(&known, &mut Pace::free()),
        others => Ok(Box::new(kind.train_together(&known, others, &mut Pace::free())?)),
    }
}

/// Scores forecasts that were made elsewhere, one for each origin.
pub fn score(name: &str, history: &History<'_>, plan: &Plan, forecasts: Vec<(usize, Values)>) -> Scores {
    let mut tally = Tally::new(name, history, plan);
    for (origin, values) in forecasts {
        tally.add(origin, values);
    }
    tally.finish()
}

/// The same time last week, or yesterday, with the quantiles of its past errors.
#[derive(Clone, Debug)]
pub struct Naive {
    /// How many steps back.
    pub lag: usize,
}

impl Naive {
    /// The week where the history before the first origin holds one and a half of them, else the day, else the last value.
    pub fn of(history: &History<'_>, first_origin: usize) -> Naive {
        let steps = |days: u64| history.grid.steps_in(Duration::from_secs(days * 86_400)).unwrap_or(0);
        let lag = [steps(7), steps(1)].into_iter().find(|&lag| lag > 0 && first_origin * 2 >= lag * 3);
        Naive { lag: lag.unwrap_or(1) }
    }

    /// Its quantiles for the steps after `origin`.
    pub fn forecast(
        &self,
        history: &History<'_>,
        origin: usize,
        horizon: usize,
        quantiles: &[f64],
    ) -> Values {
        let past = &history.values[..origin];
        let mut errors: Vec<f32> = past
            .iter()
            .skip(self.lag)
            .zip(past)
            .map(|(later, earlier)| later - earlier)
            .filter(|error| error.is_finite())
            .collect();
        errors.sort_by(f32::total_cmp);
        let last = past.iter().rev().copied().find(|value| value.is_finite()).unwrap_or(0.0);
        let mut values = Values::zeros(horizon, quantiles.len());
        for h in 0..horizon {
            let back =
                (origin + h).checked_sub(self.lag * (h / self.lag + 1)).and_then(|u| past.get(u).copied());
            let base = back.filter(|value| value.is_finite()).unwrap_or(last);
            for (value, &tau) in values.row_mut(h).iter_mut().zip(quantiles) {
                let rank = ((tau * errors.len() as f64).ceil() as usize).saturating_sub(1);
                let offset = errors.get(rank).copied().unwrap_or(0.0);
                let said = f64::from(base + offset);
                *value = if history.non_negative { said.max(0.0) } else { said };
            }
        }
        values
    }
}

/// Sums of one model's scores.
struct Tally<'a> {
    history: &'a History<'a>,
    plan: &'a Plan,
    naive: Naive,
    scores: Scores,
    ours: WeightedPinball,
    theirs: WeightedPinball,
    absolute: f64,
    squared: f64,
    inside: f64,
    below: f64,
    buckets: Vec<(usize, f64, f64)>,
}

impl<'a> Tally<'a> {
    fn new(name: &str, history: &'a History<'a>, plan: &'a Plan) -> Tally<'a> {
        let first = plan.origins.first().copied().unwrap_or(0);
        let buckets = BUCKETS.into_iter().filter(|&ahead| ahead < plan.horizon).chain([plan.horizon]);
        Tally {
            history,
            plan,
            naive: Naive::of(history, first),
            scores: Scores {
                model: name.to_owned(),
                wpl: f64::NAN,
                naive_wpl: f64::NAN,
                mae: f64::NAN,
                rmse: f64::NAN,
                mase: f64::NAN,
                coverage: f64::NAN,
                upper_coverage: f64::NAN,
                coverage_by_ahead: Vec::new(),
                fit_time: Duration::ZERO,
                forecast_time: Duration::ZERO,
                scored: 0,
                refused: None,
                forecasts: Vec::new(),
            },
            ours: WeightedPinball::default(),
            theirs: WeightedPinball::default(),
            absolute: 0.0,
            squared: 0.0,
            inside: 0.0,
            below: 0.0,
            buckets: buckets.map(|ahead| (ahead, 0.0, 0.0)).collect(),
        }
    }

    fn refuse(&mut self, error: FitError) {
        let times = self.scores.refused.as_ref().map_or(0, |(times, _)| *times) + 1;
        self.scores.refused = Some((times, error));
    }

    fn add(&mut self, origin: usize, values: Values) {
        let place = |tau: f64| {
            let distance = |q: f64| (q - tau).abs();
            let best = (0..self.plan.quantiles.len()).min_by(|&a, &b| {
                distance(self.plan.quantiles[a]).total_cmp(&distance(self.plan.quantiles[b]))
            });
            best.unwrap_or(0)
        };
        let (low, middle, high) = (place(0.05), place(0.5), place(0.95));
        let naive = self.naive.forecast(self.history, origin, self.plan.horizon, &self.plan.quantiles);
        for h in 0..self.plan.horizon.min(values.len()) {
            let Some(actual) = self.history.values.get(origin + h).copied().filter(|value| value.is_finite())
            else {
                continue;
            };
            let (actual, row) = (f64::from(actual), &values[h]);
            for (q, &tau) in self.plan.quantiles.iter().enumerate() {
                self.ours.add(tau, actual, row[q]);
                self.theirs.add(tau, actual, naive[h][q]);
            }
            let error = actual - row[middle];
            self.absolute += error.abs();
            self.squared += error * error;
            let slack = 1e-6 * actual.abs();
            let inside = f64::from(u8::from(row[low] <= actual + slack && actual <= row[high] + slack));
            self.inside += inside;
            self.below += f64::from(u8::from(actual <= row[high] + slack));
            self.scores.scored += 1;
            if let Some(bucket) = self.buckets.iter_mut().find(|bucket| h < bucket.0) {
                bucket.1 += inside;
                bucket.2 += 1.0;
            }
        }
        self.scores.forecasts.push((origin, values));
    }

    fn finish(mut self) -> Scores {
        let n = self.scores.scored as f64;
        if self.scores.scored > 0 {
            self.scores.wpl = self.ours.value().unwrap_or(f64::NAN);
            self.scores.naive_wpl = self.theirs.value().unwrap_or(f64::NAN);
            self.scores.mae = self.absolute / n;
            self.scores.rmse = (self.squared / n).sqrt();
            self.scores.coverage = self.inside / n;
            self.scores.upper_coverage = self.below / n;
            let first = self.plan.origins.first().copied().unwrap_or(0);
            let scale = lagged_error(&self.history.values[..first], self.naive.lag);
            self.scores.mase =
                scale.filter(|&scale| scale > 0.0).map_or(f64::NAN, |scale| self.scores.mae / scale);
        }
        self.scores.coverage_by_ahead = self
            .buckets
            .iter()
            .filter(|bucket| bucket.2 > 0.0)
            .map(|&(ahead, inside, n)| (ahead, inside / n))
            .collect();
        self.scores
    }
}

/// Mean absolute difference over a lag, of the pairs that are both present: the scale of MASE.
fn lagged_error(values: &[f32], lag: usize) -> Option<f64> {
    let differences =
        values.iter().skip(lag).zip(values).map(|(later, earlier)| f64::from(later - earlier).abs());
    let (sum, n) = differences
        .filter(|difference| difference.is_finite())
        .fold((0.0, 0.0), |(sum, n), difference| (sum + difference, n + 1.0));
    (n > 0.0).then(|| sum / n)
}

/// Ends of the buckets that coverage is counted in, in steps ahead.
const BUCKETS: [usize; 8] = [1, 3, 6, 12, 36, 72, 144, 288];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::covariates::Covariates;
    use crate::grid::Grid;
    use crate::timestamp::Timestamp;

    const DAYS: usize = 12;

    /// Days of hours, whose noise is of its own.
    fn series(salt: usize) -> Vec<f32> {
        let noise = |i: usize| ((i * i + salt * 31 * i) * 7_919 % 101) as f32 / 10.0;
        let wave = |i: usize| (std::f32::consts::TAU * (i % 24) as f32 / 24.0).sin();
        (0..24 * DAYS).map(|i| 100.0 + 40.0 * wave(i) + noise(i)).collect()
    }

    #[test]
    fn a_model_learns_from_the_others_what_had_come_of_them_and_nothing_later() {
        let grid = |day: i64| Grid {
            origin: Timestamp::from_secs(1_700_006_400 + day * 86_400),
            step: Duration::from_secs(3600),
            zone: None,
        };
        let (own_grid, other_grid, nothing) = (grid(2), grid(0), Covariates::default());
        let bare = History {
            grid: &own_grid,
            first: 0,
            values: &[],
            seasons: &[24],
            covariates: &nothing,
            horizon: 24,
            non_negative: true,
        };
        let plan = Plan { origins: vec![24 * 7], horizon: 24, quantiles: vec![0.05, 0.5, 0.95] };
        let (own, other) = (series(1), series(2));
        for kind in [Kind::Pooled, Kind::Boosted] {
            let with = |others: &[Vec<f32>]| {
                let all = LeftOut::default();
                let subject = |history| Subject { history, left_out: &all };
                let other = |values| subject(History { grid: &other_grid, values, ..bare });
                let beside: Vec<Subject<'_>> = others.iter().map(|values| other(values)).collect();
                let own = subject(History { values: &own, ..bare });
                evaluate_together(kind, &own, &beside, &plan, &mut || Duration::ZERO).forecasts
            };
            let together = with(std::slice::from_ref(&other));
            assert_ne!(together, with(&[]), "{kind} makes something of the other");
            // The other began two days earlier.
            let known = 24 * (7 + 2);
            let mut changed = other.clone();
            changed[known..].fill(1e6);
            assert_eq!(together, with(std::slice::from_ref(&changed)), "{kind} cannot know");
            changed[known - 1] = 1e6;
            assert_ne!(together, with(&[changed]), "{kind} knows the last step");
            assert_eq!(with(&[]), with(&[vec![f32::NAN; 24]]), "what has no values is no company");
        }
    }
}
