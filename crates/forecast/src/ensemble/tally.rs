//! How one model's forecasts from many moments of a history came out.

use crate::models::{History, Model};
use crate::score::pinball;

/// Sums over all outcomes of one model.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    outcomes: usize,
    inside: usize,
    loss: f64,
    errors: f64,
    squares: f64,
    /// Of those outcomes that the seasonal naive forecast has a word for: the model's loss, and its own.
    compared: f64,
    naive: f64,
}

/// What a model's forecasts were worth; each is missing where there was nothing to tell it by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worth {
    /// Share of values inside the interval from 0.05 to 0.95.
    pub coverage: Option<f64>,
    /// Mean absolute error of the median.
    pub mae: Option<f64>,
    /// Root of its mean squared error.
    pub rmse: Option<f64>,
    /// One minus the pinball loss over that of repeating the last season, or the last value where there is none.
    pub skill: Option<f64>,
}

impl Tally {
    /// Asks a model what comes from step `now` on, and scores it by what came; its mean loss over the distances, `None` when
    /// none of the values came.
    pub(super) fn ask(
        &mut self,
        model: &impl Model,
        history: &History<'_>,
        now: usize,
        aheads: &[usize],
    ) -> Option<f64> {
        let said = model.forecast_at(aheads, &QUANTILES, history.covariates);
        let (before, outcomes) = (self.loss, self.outcomes);
        for (row, &ahead) in said.iter().zip(aheads) {
            let Some(actual) = history.values.get(now + ahead - 1).filter(|value| value.is_finite()) else {
                continue;
            };
            self.add(f64::from(*actual), row, naive(history, now, ahead));
        }
        let count = self.outcomes - outcomes;
        (count > 0).then(|| (self.loss - before) / count as f64)
    }

    fn add(&mut self, actual: f64, row: &[f64], naive: Option<f64>) {
        let mean = |said: &dyn Fn(usize) -> f64| {
            let losses = QUANTILES.iter().enumerate().map(|(q, &tau)| pinball(tau, actual, said(q)));
            losses.sum::<f64>() / QUANTILES.len() as f64
        };
        let (loss, error) = (mean(&|q| row[q]), actual - row[MEDIAN]);
        self.outcomes += 1;
        self.inside += usize::from((row[0]..=row[QUANTILES.len() - 1]).contains(&actual));
        self.loss += loss;
        self.errors += error.abs();
        self.squares += error * error;
        if let Some(naive) = naive {
            self.compared += loss;
            self.naive += mean(&|_| naive);
        }
    }

    pub(super) fn worth(&self) -> Worth {
        let mean = |sum: f64| (self.outcomes > 0).then(|| sum / self.outcomes as f64);
        Worth {
            coverage: mean(self.inside as f64),
            mae: mean(self.errors),
            rmse: mean(self.squares).map(f64::sqrt),
            skill: (self.naive > 0.0).then(|| 1.0 - self.compared / self.naive),
        }
    }
}

/// The value at the same place of the last season that was known at step `now`.
fn naive(history: &History<'_>, now: usize, ahead: usize) -> Option<f64> {
    let known = &history.values[..now];
    let value = match history.seasons.last() {
        Some(&period) => *known.get((now + ahead - 1).checked_sub(ahead.div_ceil(period) * period)?)?,
        None => *known.last()?,
    };
    value.is_finite().then_some(f64::from(value))
}

/// The first and the last bound the interval whose coverage is noted.
const QUANTILES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];
const MEDIAN: usize = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::covariates::Covariates;
    use crate::grid::Grid;
    use crate::models::{Kind, Pace};
    use crate::timestamp::Timestamp;

    #[test]
    fn scores_are_the_hand_computed_ones_and_the_naive_forecast_has_no_skill() {
        let row = [0.0, 4.0, 6.0, 8.0, 9.0];
        let mut tally = Tally::default();
        tally.add(10.0, &row, Some(7.0));
        tally.add(5.0, &row, None);
        let worth = tally.worth();
        assert_eq!((worth.coverage, worth.mae), (Some(0.5), Some(2.5)));
        assert_eq!(worth.rmse, Some(8.5f64.sqrt()));
        // Of the first alone: (0.05 * 10 + 0.25 * 6 + 0.5 * 4 + 0.75 * 2 + 0.95 * 1) / 5 over 0.5 * 3.
        assert!((worth.skill.unwrap() - (1.0 - 1.29 / 1.5)).abs() < 1e-9, "{worth:?}");
        assert_eq!(Tally::default().worth(), Worth::default());
    }

    #[test]
    fn skill_is_against_the_last_season_where_there_is_one_and_else_against_the_last_value() {
        let step = Duration::from_secs(3600);
        let grid = Grid { origin: Timestamp::EPOCH, step, zone: None };
        let values: Vec<f32> = (0..480u16).map(|i| f32::from(i % 24) + f32::from(i * 7 % 5)).collect();
        let covariates = Covariates::default();
        let skill = |kind: Kind, seasons: &[usize]| {
            let (horizon, non_negative) = (24, true);
            let (grid, values, covariates) = (&grid, &values[..], &covariates);
            let history = History { grid, first: 0, values, seasons, covariates, horizon, non_negative };
            let mut tally = Tally::default();
            let mut model = kind.train(&history.until(240), &mut Pace::free()).unwrap();
            for now in 240..460 {
                tally.ask(&model, &history, now, &[1, 12]).unwrap();
                model.observe(history.values[now], history.covariates);
            }
            tally.worth().skill.unwrap()
        };
        // With quantiles a forecast is worth more than its median alone.
        assert!((0.2..0.7).contains(&skill(Kind::Day, &[24])), "{}", skill(Kind::Day, &[24]));
        let (last, alone, day) = (skill(Kind::Last, &[24]), skill(Kind::Last, &[]), skill(Kind::Day, &[]));
        assert!(last < -0.5 && alone > 0.1 && day > 0.7, "{last} {alone} {day}");
    }
}
