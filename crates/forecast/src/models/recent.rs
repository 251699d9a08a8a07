//! Whether a model that is fitted to a history may be relied upon: by how it would have done on the last part of it.

use super::{FitError, History, Model};
use crate::online::{Forecaster, Records, Verdict};
use crate::trust::{Trust, TrustAhead, UntrustedReason, naive_lag};

/// Fits a model to a history.
pub type Fit<'a> = dyn FnMut(&History<'_>) -> Result<Box<dyn Model>, FitError> + 'a;

/// Lets a model that was fitted before the last few hundred steps of a history forecast them, and judges the forecasts.
/// `core` has observed the same series: a signal that is missing, or an outage, is seen by it. Costs one more fit, and about
/// fifty forecasts.
pub fn trust(history: &History<'_>, core: &Forecaster, fit: &mut Fit<'_>) -> TrustAhead {
    let len = history.values.len();
    let aheads: Vec<usize> =
        AHEADS.into_iter().filter(|&ahead| ahead <= ALWAYS || ahead <= history.horizon).collect();
    let farthest = aheads.last().copied().unwrap_or(ALWAYS);
    let held = (ORIGINS * STRIDE_MIN + farthest).min(len / HELD_PART);
    let stride = (held / ORIGINS).max(STRIDE_MIN);
    let mut model = match fit(&history.until(len - held)) {
        Ok(model) => model,
        Err(error) => {
            let untried = untried(history, held, &error);
            return TrustAhead::of(|_| untried);
        }
    };
    let (mut records, season) = (Records::default(), history.seasons.first().copied());
    let is_value = |value: &f32| value.is_finite();
    let mut last = history.values[..len - held].iter().rev().copied().find(is_value).unwrap_or(f32::NAN);
    for now in len - held..len {
        if (len - now).is_multiple_of(stride) && last.is_finite() {
            let said = model.forecast_at(&aheads, &[0.05, 0.5, 0.95], history.covariates);
            for (row, &ahead) in said.iter().zip(&aheads) {
                let step = now + ahead - 1;
                let Some(&value) = history.values.get(step).filter(|value| is_value(value)) else { continue };
                let before =
                    naive_lag(ahead, season).and_then(|lag| history.values.get(step.checked_sub(lag)?));
                let naive = f64::from(value - before.copied().filter(is_value).unwrap_or(last));
                let value = f64::from(value);
                // What differs in the last digits only is the same.
                let slack = ROUNDING * value.abs();
                let covered = (row[0] - slack..=row[2] + slack).contains(&value);
                let covered = if covered { 1.0 } else { 0.0 };
                let claims = row[1] >= core.claimed_from();
                records.learn(ahead, Verdict { errors: (value - row[1], naive), covered, claims });
            }
        }
        let value = history.values[now];
        model.observe(value, history.covariates);
        last = if value.is_finite() { value } else { last };
    }
    TrustAhead::of(|ahead| core.trust_in(Some(&records), ahead))
}

fn untried(history: &History<'_>, held: usize, error: &FitError) -> Trust {
    let reason = match error {
        FitError::TooLittleHistory { needed, .. } => {
            let observed = history.present() as u64;
            let needed = ((needed + held) as u64).max(observed + 1);
            UntrustedReason::TooLittleHistory { observed, needed }
        }
        FitError::Unsuitable(_) | FitError::CalledOff => UntrustedReason::Untried,
    };
    Trust::Untrusted { reason }
}

/// The distances that the online core's trust is judged by, and those of them that count whatever the horizon is.
const AHEADS: [usize; 8] = [1, 2, 4, 8, 12, 36, 108, 288];
const ALWAYS: usize = 12;
const ORIGINS: usize = 50;
const STRIDE_MIN: usize = 4;
/// Relative difference that single precision makes.
const ROUNDING: f64 = 1e-6;
/// No more than this part of a history is held out.
const HELD_PART: usize = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::covariates::Covariates;
    use crate::grid::Grid;
    use crate::models::{Kind, Pace};
    use crate::online::Config;
    use crate::timestamp::Timestamp;

    /// Half hours with a clear course of the day and little noise.
    fn value(i: usize) -> f32 {
        let wave = (std::f32::consts::TAU * (i % 48) as f32 / 48.0).sin();
        100.0 + 60.0 * wave + (i * 7919 % 31) as f32 / 10.0
    }

    fn judged(kind: Kind, len: usize, value: impl Fn(usize) -> f32) -> Trust {
        let step = Duration::from_secs(1800);
        let grid = Grid { origin: Timestamp::from_secs(1_700_006_400), step, zone: None };
        let mut core = Forecaster::new(Config::new(step)).unwrap();
        let values: Vec<f32> = (0..len).map(value).collect();
        for (i, &value) in values.iter().enumerate() {
            core.observe(grid.begins_at(i as u64), Some(f64::from(value))).unwrap();
        }
        let covariates = Covariates::default();
        let history = History {
            grid: &grid,
            first: 0,
            values: &values,
            seasons: &[48],
            covariates: &covariates,
            horizon: 48,
            non_negative: true,
        };
        trust(&history, &core, &mut |history| Ok(Box::new(kind.train(history, &mut Pace::free())?))).near()
    }

    #[test]
    fn each_model_is_judged_by_its_own_forecasts() {
        let good = judged(Kind::Day, 48 * 20, value);
        assert!(good.skill().is_some_and(|skill| skill > 0.5) && good.is_trusted(), "{good}");
        let repeating = judged(Kind::Last, 48 * 20, value);
        assert!(repeating.skill().is_some_and(|skill| skill.abs() < 0.02), "{repeating}");
        let coverage = good.coverage().unwrap();
        assert!((0.8..=1.0).contains(&coverage), "{coverage}");
    }

    #[test]
    fn what_is_right_but_for_rounding_is_inside_the_interval_and_what_suits_the_whole_only_is_not_tried() {
        let pooled = judged(Kind::Pooled, 48 * 20, |_| 5.0);
        assert_eq!(pooled.coverage(), Some(1.0), "{pooled}");
        let late = judged(Kind::Sparse, 48 * 20, |i| if i > 48 * 18 { (i % 2) as f32 } else { 0.0 });
        assert_eq!(late.reason(), Some(UntrustedReason::Untried), "{late}");
    }

    #[test]
    fn one_that_cannot_be_tried_yet_is_not_trusted() {
        let young = judged(Kind::Week, 48 * 8, value);
        assert!(
            matches!(young.reason(), Some(UntrustedReason::TooLittleHistory { observed, needed }) if needed > observed),
            "{young}"
        );
    }
}
