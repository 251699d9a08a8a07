//! The seasonal estimator of Crane's DSP ("digital signal processing"), as a baseline that people know.
//!
//! Re-implemented from a description of its published source, kept faithful where it is odd: only a day or a week is
//! accepted as a period; one of eight spectral filters with fixed margins is chosen by how the last period would have been
//! forecast, where falling short costs more than exceeding; the chosen estimate of one period is repeated for ever, and is
//! remade twice a day. It describes no trend and no uncertainty.
//!
//! Differences from the original: none of its limits on the length of the history (two days at least, fifteen at most) is
//! tied to one-minute samples; the shuffles of its significance test are seeded; a middle that was raised by a margin is
//! given intervals by the errors that the same procedure made on earlier periods of the history.

mod period;
mod spectrum;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::spectrum::{ESTIMATORS, Estimator};
use super::realised::{Origin, Realised};
use super::{Bands, FitError, History, Model, Pace};
use crate::covariates::Covariates;
use crate::paths::Values;

/// A period found by DSP, and its estimate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dsp {
    /// The last values, long enough to estimate from again.
    recent: Vec<f32>,
    /// Most values kept.
    kept: usize,
    /// The next step.
    step: u64,
    period: usize,
    estimator: Estimator,
    /// One period, and the step that it begins at.
    estimate: Vec<f32>,
    begins: u64,
    /// Steps since the estimate was made, and after how many it is remade.
    age: usize,
    remade_after: usize,
    realised: Realised,
    non_negative: bool,
}

impl Dsp {
    /// Finds the period and chooses the estimator.
    ///
    /// # Errors
    /// [`FitError::TooLittleHistory`] below two days; [`FitError::Unsuitable`] where the period is neither a day nor a
    /// week, which the original meets by predicting nothing.
    pub fn fit(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Dsp, FitError> {
        let Found { day, hour, kept, cleaned, period, estimator, estimate } = Found::new(history, pace)?;
        let from = history.values.len().saturating_sub(kept);
        let bands = Bands::new(history.horizon);
        let mut origins = Vec::new();
        let cycles = cleaned.len() / period;
        for back in (1..cycles).rev() {
            pace.checkpoint()?;
            let known = &cleaned[..cleaned.len() - back * period];
            let estimate = estimator.estimate(whole(known, period), period, hour);
            let next = history.values.len() - back * period;
            let every = (period / ORIGINS_PER_PERIOD).max(1);
            for shift in (0..period).step_by(every) {
                let said = |ahead: &usize| estimate[(shift + ahead - 1) % period];
                origins.push(Origin { next: next + shift, said: bands.aheads().iter().map(said).collect() });
            }
        }
        let realised = Realised::new(&origins, history.values, history.first, Some(day), bands);
        Ok(Dsp {
            recent: history.values[from..].to_vec(),
            kept,
            step: history.end(),
            period,
            estimator,
            estimate,
            begins: history.end(),
            age: 0,
            remade_after: (day / 2).max(1),
            realised,
            non_negative: history.non_negative,
        })
    }

    /// What Crane itself would serve until it estimates again: one period, margin included, that begins at the step after
    /// the history and is repeated for ever.
    ///
    /// # Errors
    /// As [`Dsp::fit`].
    pub fn period_served(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Vec<f32>, FitError> {
        Ok(Found::new(history, pace)?.estimate)
    }

    /// Estimates again from the values that are kept.
    fn remake(&mut self) {
        let hour = (2 * self.remade_after / 24).max(1);
        let cleaned = cleaned(&self.recent, hour);
        if cleaned.len() >= self.period {
            self.estimate = self.estimator.estimate(whole(&cleaned, self.period), self.period, hour);
            self.begins = self.step;
        }
        self.age = 0;
    }
}

/// What the procedure finds in a history.
struct Found {
    day: usize,
    hour: usize,
    /// Most values that are looked at.
    kept: usize,
    cleaned: Vec<f32>,
    period: usize,
    estimator: Estimator,
    estimate: Vec<f32>,
}

impl Found {
    fn new(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Found, FitError> {
        let steps_in = |secs| history.grid.steps_in(Duration::from_secs(secs));
        let Some(day) = steps_in(86_400).filter(|&day| day >= 4) else {
            return Err(FitError::Unsuitable("a day is not a whole number of steps".into()));
        };
        let hour = steps_in(3600).unwrap_or(1);
        let kept = (DAYS_KEPT * day).min(VALUES_MAX);
        let from = history.values.len().saturating_sub(kept);
        let cleaned = cleaned(&history.values[from..], hour);
        if cleaned.len() < 2 * day {
            let present = history.values[from..].iter().filter(|value| value.is_finite()).count();
            return Err(match present < 2 * day {
                true => FitError::TooLittleHistory { present, needed: 2 * day },
                false => FitError::Unsuitable(format!(
                    "only what comes after the last gap of more than an hour is looked at: {} steps, {} are needed",
                    cleaned.len(),
                    2 * day
                )),
            });
        }
        let Some(period) = period::find(&cleaned, day, hour, pace)? else {
            return Err(FitError::Unsuitable("neither a day nor a week is a period of the series".into()));
        };
        let estimator = chosen(&cleaned, period, hour);
        let estimate = estimator.estimate(whole(&cleaned, period), period, hour);
        Ok(Found { day, hour, kept, cleaned, period, estimator, estimate })
    }
}

impl Model for Dsp {
    fn name(&self) -> &'static str {
        "dsp"
    }

    fn observe(&mut self, value: f32, _covariates: &Covariates) {
        self.recent.push(value);
        self.step += 1;
        self.age += 1;
        if self.recent.len() > self.kept + self.period {
            self.recent.drain(..self.period);
        }
        if self.age >= self.remade_after {
            self.remake();
        }
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], _covariates: &Covariates) -> Values {
        let phase = (self.step - self.begins) as usize;
        let middle: Vec<f64> =
            (0..steps).map(|h| f64::from(self.estimate[(phase + h) % self.period])).collect();
        self.realised.around(&middle, self.step, quantiles, self.non_negative)
    }

    fn bytes(&self) -> usize {
        size_of::<Dsp>() + (self.recent.capacity() + self.estimate.len()) * 4 + self.realised.bytes()
    }
}

/// The last whole periods.
fn whole(values: &[f32], period: usize) -> &[f32] {
    &values[values.len() % period..]
}

/// The estimator that would have forecast the last period best from the ones before it.
fn chosen(cleaned: &[f32], period: usize, hour: usize) -> Estimator {
    let (known, last) = cleaned.split_at(cleaned.len() - period);
    let known = whole(known, period);
    let cost = |estimator: &Estimator| {
        if known.is_empty() { 0.0 } else { lopsided(last, &estimator.estimate(known, period, hour)) }
    };
    let costs: Vec<f64> = ESTIMATORS.iter().map(cost).collect();
    let best = (0..costs.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b])).unwrap_or(0);
    ESTIMATORS[best]
}

/// Crane's measure: the relative error where too much was said; where too little, a loss that grows without bound. The
/// mean absolute error when values are too near zero to be divided by.
fn lopsided(came: &[f32], said: &[f32]) -> f64 {
    let pairs = || came.iter().zip(said).map(|(&came, &said)| (f64::from(came), f64::from(said)));
    let n = came.len().max(1) as f64;
    if pairs().any(|(came, _)| came < NEAR_ZERO) {
        return pairs().map(|(came, said)| (came - said).abs()).sum::<f64>() / n;
    }
    let one = |(came, said): (f64, f64)| {
        let relative = (said - came) / came;
        if relative >= 0.0 { relative } else { -(1.0 + relative.max(-1.0 + 1e-9)).ln() / 1.25f64.ln() }
    };
    pairs().map(one).sum::<f64>() / n
}

/// Everything after the last gap of more than an hour, shorter gaps filled by straight lines, and values outside of the
/// 0.1 and 99.9 percentiles replaced by the one before.
fn cleaned(values: &[f32], hour: usize) -> Vec<f32> {
    let mut kept: Vec<f32> = Vec::with_capacity(values.len());
    let mut gap = 0;
    for &value in values {
        if !value.is_finite() {
            gap += 1;
            continue;
        }
        match kept.last() {
            Some(&last) if gap > 0 && gap <= hour => {
                let (from, rise) = (f64::from(last), f64::from(value) - f64::from(last));
                kept.extend((1..=gap).map(|i| (from + rise * i as f64 / (gap + 1) as f64) as f32));
            }
            Some(_) if gap > hour => kept.clear(),
            Some(_) | None => {}
        }
        gap = 0;
        kept.push(value);
    }
    // A gap that has not ended yet: the last value is held, so that the end stays where it is.
    if let Some(&last) = kept.last() {
        if gap > hour {
            kept.clear();
        }
        kept.extend(std::iter::repeat_n(last, if gap > hour { 0 } else { gap }));
    }
    let mut sorted = kept.clone();
    sorted.sort_by(f32::total_cmp);
    let at = |part: f64| sorted.get((part * (sorted.len().max(1) - 1) as f64).round() as usize).copied();
    if let (Some(low), Some(high)) = (at(0.001), at(0.999)) {
        for i in 1..kept.len() {
            if kept[i] < low || kept[i] > high {
                kept[i] = kept[i - 1];
            }
        }
    }
    kept
}

const DAYS_KEPT: usize = 15;
/// Fifteen days of half minutes.
const VALUES_MAX: usize = 43_200;
const NEAR_ZERO: f64 = 1e-3;
/// Moments of each period of the history that errors are taken at.
const ORIGINS_PER_PERIOD: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falling_short_costs_more_than_exceeding() {
        // The figures of the description: 0.1 too little costs 0.47, half too little 3.1.
        assert!((lopsided(&[1.0], &[1.1]) - 0.1).abs() < 1e-6);
        assert!((lopsided(&[1.0], &[0.9]) - 0.472).abs() < 1e-3);
        assert!((lopsided(&[1.0], &[0.5]) - 3.106).abs() < 1e-3);
        assert!((lopsided(&[0.0, 2.0], &[1.0, 2.0]) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn short_gaps_are_bridged_and_long_ones_cut_the_history() {
        let nan = f32::NAN;
        assert_eq!(cleaned(&[1.0, nan, 3.0], 2), [1.0, 2.0, 3.0]);
        assert_eq!(cleaned(&[1.0, nan, nan, nan, 3.0, 4.0], 2), [3.0, 4.0]);
        assert_eq!(cleaned(&[nan, 3.0, nan], 2), [3.0, 3.0]);
        assert_eq!(cleaned(&[nan; 5], 2), []);
    }
}
