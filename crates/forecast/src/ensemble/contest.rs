//! A newly trained model against the one in charge, on the same outcomes that neither was fitted to.
//!
//! The challenger is fitted to the history without its last part. Then both follow that part step by step and forecast
//! from many moments of it; each moment's loss is the mean pinball loss over distances and quantiles. Whether the
//! difference is worth a change is for the caller to judge.
//!
//! Promises: as the crate's. A rival that has already seen a moment is never scored on it.

use super::rehearsal::follower;
use super::tally::{Tally, Worth};
use crate::models::{FitError, Fitted, History, Kind, Model, Pace};
use crate::timestamp::Timestamp;

/// The model in charge.
#[derive(Clone, Debug)]
pub struct Rival {
    /// As it stands.
    pub model: Fitted,
    /// When the step begins that it expects next.
    pub next: Timestamp,
}

/// One moment from which both forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Beginning of the first step forecast.
    pub at: Timestamp,
    /// Mean pinball loss of the challenger.
    pub challenger: f64,
    /// That of the rival; `None` where there is none that could take part.
    pub rival: Option<f64>,
}

/// What came of a contest.
#[derive(Clone, Debug)]
pub struct Contest {
    /// The challenger as it was fitted: its next step begins at `data_to`.
    pub fitted: Fitted,
    /// Beginning of the data that it was fitted to.
    pub data_from: Timestamp,
    /// End of the data that it was fitted to.
    pub data_to: Timestamp,
    /// The challenger after it has followed the history to its end.
    pub challenger: Fitted,
    /// The rival after it has followed the history to its end; `None` if it could not.
    pub rival: Option<Fitted>,
    /// Moment by moment, ascending.
    pub outcomes: Vec<Outcome>,
    /// What the challenger's forecasts were worth.
    pub worth: Worth,
}

impl Contest {
    /// Mean loss of the challenger, if there were outcomes.
    pub fn pinball(&self) -> Option<f64> {
        let n = self.outcomes.len();
        (n > 0).then(|| self.outcomes.iter().map(|outcome| outcome.challenger).sum::<f64>() / n as f64)
    }
}

/// Fits a challenger of this kind to all but the last part of a history, and to what came before that part in the histories
/// beside it, and lets it compete there.
///
/// # Errors
/// [`FitError`] as of [`Kind::train`], or when called off.
pub(super) fn contest(
    history: &History<'_>,
    kind: Kind,
    beside: &[History<'_>],
    rival: Option<Rival>,
    pace: &mut Pace<'_>,
) -> Result<Contest, FitError> {
    let len = history.values.len();
    let mut begin = len - (len / HOLDOUT_PART).clamp(HOLDOUT_MIN, HOLDOUT_MAX).min(len / 3);
    // Where in the history the rival stands; one that has lost the thread cannot take part.
    let mut rival = rival.and_then(|rival| follower(history, rival));
    if let Some((stands, _)) = &rival {
        begin = begin.max(*stands).min(len.saturating_sub(HOLDOUT_MIN).max(begin));
    }
    let mut challenger = kind.train_together(&history.until(begin), beside, pace)?;
    let fitted = challenger.clone();
    let aheads: Vec<usize> =
        AHEADS.into_iter().take_while(|&ahead| ahead == 1 || ahead <= history.horizon).collect();
    let stride = ((len - begin) / ORIGINS).max(1);
    let (mut outcomes, mut own, mut rivals) = (Vec::new(), Tally::default(), Tally::default());
    if let Some((stands, model)) = &mut rival {
        while *stands < begin {
            pace.checkpoint()?;
            model.observe(history.values[*stands], history.covariates);
            *stands += 1;
        }
    }
    for now in begin..len {
        pace.checkpoint()?;
        if (now - begin).is_multiple_of(stride)
            && let Some(loss) = own.ask(&challenger, history, now, &aheads)
        {
            let fair = rival.as_ref().filter(|(stands, _)| *stands == now);
            let against = fair.and_then(|(_, model)| rivals.ask(model, history, now, &aheads));
            let at = history.grid.begins_at(history.first + now as u64);
            outcomes.push(Outcome { at, challenger: loss, rival: against });
        }
        challenger.observe(history.values[now], history.covariates);
        if let Some((stands, model)) = rival.as_mut().filter(|(stands, _)| *stands == now) {
            model.observe(history.values[now], history.covariates);
            *stands += 1;
        }
    }
    Ok(Contest {
        fitted,
        data_from: history.grid.begins_at(history.first),
        data_to: history.grid.begins_at(history.first + begin as u64),
        challenger,
        rival: rival.map(|(_, model)| model),
        outcomes,
        worth: own.worth(),
    })
}

/// The last part of a history that a challenger is not fitted to, and its bounds in steps: a short history gives up a third
/// where it must, since a gain needs a hundred outcomes.
const HOLDOUT_PART: usize = 8;
const HOLDOUT_MIN: usize = 128;
const HOLDOUT_MAX: usize = 2016;
/// About how many moments are forecast from: a gain needs a hundred of them, each costs forecasts of two models.
const ORIGINS: usize = 200;
const AHEADS: [usize; 5] = [1, 4, 16, 64, 256];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::covariates::Covariates;
    use crate::grid::Grid;

    const DAY: usize = 48;

    fn values() -> Vec<f32> {
        let wave = |i: usize| (std::f32::consts::TAU * (i % DAY) as f32 / DAY as f32).sin();
        (0..1600).map(|i| 100.0 + 40.0 * wave(i) + ((i * 7919) % 101) as f32 / 20.0).collect()
    }

    fn with<T>(work: impl FnOnce(&History<'_>) -> T) -> T {
        let step = Duration::from_secs(1800);
        let grid = Grid { origin: Timestamp::from_secs(1_700_000_000), step, zone: None };
        let (values, covariates) = (values(), Covariates::default());
        work(&History {
            grid: &grid,
            first: 0,
            values: &values,
            seasons: &[DAY],
            covariates: &covariates,
            horizon: DAY,
            non_negative: true,
        })
    }

    fn means(kind: Kind, rival: Kind) -> (f64, f64) {
        with(|history| {
            let model = rival.train(&history.until(1000), &mut Pace::free()).unwrap();
            let rival = Rival { model, next: history.grid.begins_at(1000) };
            let contest = contest(history, kind, &[], Some(rival), &mut Pace::free()).unwrap();
            assert_eq!(contest.data_to, history.grid.begins_at(1400));
            assert_eq!(contest.outcomes.len(), 200);
            let rivals: f64 = contest.outcomes.iter().map(|outcome| outcome.rival.unwrap()).sum();
            (contest.pinball().unwrap(), rivals / 200.0)
        })
    }

    #[test]
    fn the_better_model_has_the_smaller_loss_on_either_side() {
        let (last, day) = means(Kind::Last, Kind::Day);
        assert!(last > 2.0 * day, "{last} {day}");
        let (day, last) = means(Kind::Day, Kind::Last);
        assert!(last > 2.0 * day, "{last} {day}");
    }

    #[test]
    fn a_rival_that_was_left_behind_or_is_ahead_takes_no_part_where_it_would_not_be_fair() {
        with(|history| {
            let model = Kind::Last.train(history, &mut Pace::free()).unwrap();
            let ahead = Rival { model: model.clone(), next: history.grid.begins_at(1590) };
            let met = contest(history, Kind::Day, &[], Some(ahead), &mut Pace::free()).unwrap();
            let blind = met.outcomes.iter().filter(|outcome| outcome.rival.is_none()).count();
            assert_eq!((met.outcomes.len(), blind), (128, 118));
            let lost = Rival { model, next: history.grid.begins_at(0) };
            let late = History { first: 5, ..*history };
            let met = contest(&late, Kind::Day, &[], Some(lost), &mut Pace::free()).unwrap();
            assert!(met.rival.is_none() && met.outcomes.iter().all(|outcome| outcome.rival.is_none()));
        });
    }

    #[test]
    fn a_short_history_has_outcomes_enough_for_a_gain_from_three_hundred_steps_on() {
        with(|history| {
            let model = Kind::Last.train(&history.until(160), &mut Pace::free()).unwrap();
            let rival = Rival { model, next: history.grid.begins_at(160) };
            let met = contest(&history.until(304), Kind::Day, &[], Some(rival), &mut Pace::free()).unwrap();
            let compared = met.outcomes.iter().filter(|outcome| outcome.rival.is_some()).count();
            assert!(compared >= 100, "{compared} of {}", met.outcomes.len());
        });
    }

    #[test]
    fn a_series_too_short_to_show_its_pattern_gains_by_those_beside_it_and_not_by_their_future() {
        with(|long| {
            // Quiet weekends; the young series begins on a Monday and has met none of them when it is fitted to.
            let quiet = |step: usize| long.grid.local(step as u64).weekday >= 5;
            let values: Vec<f32> = long
                .values
                .iter()
                .enumerate()
                .map(|(step, value)| if quiet(step) { 0.4 * value } else { *value })
                .collect();
            let long = &History { values: &values, ..*long };
            let own = History { first: 916, values: &values[916..1276], ..*long };
            let alone = contest(&own, Kind::Boosted, &[], None, &mut Pace::free()).unwrap();
            let beside = [*long, *long];
            let met = contest(&own, Kind::Boosted, &beside, None, &mut Pace::free()).unwrap();
            assert_eq!(alone.outcomes.len(), met.outcomes.len());
            let (alone, together) = (alone.pinball().unwrap(), met.pinball().unwrap());
            assert!(together < 0.9 * alone, "{together} {alone}");
            // Whatever the others do after the moment that the challenger is fitted at, it cannot know.
            let known = usize::try_from(long.grid.step_of(met.data_to).unwrap()).unwrap();
            let mut wild = long.values.to_vec();
            wild[known..].fill(1e6);
            let wild = History { values: &wild, ..*long };
            let again = contest(&own, Kind::Boosted, &[wild, wild], None, &mut Pace::free()).unwrap();
            assert_eq!(again.outcomes, met.outcomes);
        });
    }
}
