//! Models of an earlier moment are brought up to the present, and show on the way what they are worth.
//!
//! A model that was kept knows nothing of what came after it. Another ensemble plays the history through: the model joins
//! at the step it expects, forecasts beside the online core, and is scored on what it could not know. What that ensemble
//! learned of it is taken over, so that a model has weight from the start, and only as much as it has earned.
//!
//! Promises: as the crate's. Costs forecasts of every model for each moment since it was kept; meant for a thread of the
//! background.

use super::contest::Rival;
use super::job::{Job, Trained};
use super::{Ensemble, Member, row};
use crate::models::{FitError, Fitted, History, Kind, Model, Pace, Recounted};

/// Where in a history a model stands, in steps from the first.
pub(super) fn stands(history: &History<'_>, rival: &Rival) -> Option<usize> {
    let step = history.grid.step_of(rival.next)?;
    let steps = step.checked_sub(history.first)?;
    usize::try_from(steps).ok().filter(|&steps| steps <= history.values.len())
}

/// A model to follow a history, and where it stands there.
pub(super) fn follower(history: &History<'_>, rival: Rival) -> Option<(usize, Fitted)> {
    let stands = stands(history, &rival)?;
    Some((stands, Recounted::at(rival.model, history.first + stands as u64)))
}

pub(super) fn rehearse(
    job: &Job,
    models: Vec<(Kind, Rival)>,
    anew: bool,
    pace: &mut Pace<'_>,
) -> Result<Trained, FitError> {
    let history = job.history();
    let mut waiting: Vec<(usize, Kind, Fitted)> = models
        .into_iter()
        .filter_map(|(kind, rival)| {
            let (stands, model) = follower(&history, rival)?;
            Some((stands, kind, model))
        })
        .collect();
    waiting.sort_by_key(|(stands, ..)| *stands);
    let end = history.end();
    // Only a configuration that was valid before reaches this.
    let stage = Ensemble::new(job.config.clone(), &job.combined);
    let Ok(mut stage) = stage.map(|stage| stage.with_guests(&job.guests)) else {
        return Ok(Trained::new(end, caught_up(&history, waiting)));
    };
    (stage.grid, stage.next) = (Some(job.grid.clone()), job.first);
    stage.trifle = if job.non_negative { row::trifle(history.values.iter().copied()) } else { 0.0 };
    // The history is free of effects, and so is what is said of it here.
    stage.known = job.known.clone();
    // The stage's members are its own copies: what is handed out follows beside them.
    let mut following: Vec<(Kind, Fitted)> = Vec::new();
    let mut waiting = waiting.into_iter().peekable();
    for (step, &value) in history.values.iter().enumerate() {
        pace.checkpoint()?;
        while let Some((_, kind, model)) = waiting.next_if(|(stands, ..)| *stands == step) {
            let trained = history.first + step as u64;
            stage.members.push(Member { kind, model: Box::new(model.clone()), trained });
            following.push((kind, model));
        }
        for (_, model) in &mut following {
            model.observe(value, history.covariates);
        }
        let at = history.grid.begins_at(history.first + step as u64);
        // What cannot be taken here was not taken before, and is missing.
        if stage.observe(at, value.is_finite().then_some(f64::from(value))).is_err() {
            break;
        }
    }
    let models = following.into_iter().map(|(kind, model)| (kind, Ok(model)));
    let late = waiting.map(|(_, kind, model)| (kind, Ok(model)));
    let trained = Trained::new(end, models.chain(late).collect());
    Ok(Trained { rehearsed: Some((stage.panels, anew)), ..trained })
}

fn caught_up(
    history: &History<'_>,
    models: Vec<(usize, Kind, Fitted)>,
) -> Vec<(Kind, Result<Fitted, FitError>)> {
    let follow = |(stands, kind, mut model): (usize, Kind, Fitted)| {
        for &value in &history.values[stands..] {
            model.observe(value, history.covariates);
        }
        (kind, Ok(model))
    };
    models.into_iter().map(follow).collect()
}

impl Ensemble {
    /// Takes over what a rehearsal has shown of the models that are about to be admitted.
    pub(super) fn take_over(&mut self, trained: &Trained) {
        let Some((rehearsed, anew)) = &trained.rehearsed else { return };
        let seats: Vec<usize> = trained.models.iter().map(|(kind, _)| self.seat(*kind)).collect();
        for (panel, from) in self.panels.iter_mut().zip(rehearsed) {
            for &seat in &seats {
                panel.take(seat, from, *anew);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::covariates::Covariates;
    use crate::online::Config;
    use crate::timestamp::Timestamp;

    fn value(i: u64) -> f64 {
        let wave = (std::f64::consts::TAU * (i % 48) as f64 / 48.0).sin();
        100.0 + 40.0 * wave + ((i * 7919) % 101) as f64 / 20.0
    }

    fn at(i: u64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000) + Duration::from_secs(1800) * i as u32
    }

    fn ensemble(steps: u64) -> Ensemble {
        let config = Config::new(Duration::from_secs(1800));
        let mut ensemble = Ensemble::new(config, &[Kind::Day, Kind::Last]).unwrap();
        (0..steps).for_each(|i| ensemble.observe(at(i), Some(value(i))).unwrap());
        ensemble
    }

    fn kept(ensemble: &Ensemble, kind: Kind, known: usize) -> (Kind, Rival) {
        let job = ensemble.job(String::new()).unwrap();
        let model = kind.train(&job.history().until(known), &mut Pace::free()).unwrap();
        (kind, Rival { model, next: at(known as u64) })
    }

    fn weight(ensemble: &Ensemble, name: &str) -> f64 {
        ensemble.weights(16).iter().find(|(known, _)| *known == name).map_or(0.0, |(_, weight)| *weight)
    }

    #[test]
    fn a_kept_model_follows_what_came_after_it_and_has_earned_its_weight() {
        let mut live = ensemble(1000);
        let both = vec![kept(&live, Kind::Last, 600), kept(&live, Kind::Day, 800)];
        let job = live.job("restart".into()).unwrap();
        let trained = job.rehearse(both, true, &mut Pace::free()).unwrap();
        let mut there = Kind::Day.train(&job.history().until(800), &mut Pace::free()).unwrap();
        for &value in &job.history().values[800..] {
            there.observe(value, job.history().covariates);
        }
        let day = trained.models.iter().find(|(kind, _)| *kind == Kind::Day).unwrap().1.as_ref().unwrap();
        let say = |model: &Fitted| model.forecast(48, &[0.5, 0.9], job.history().covariates);
        assert_eq!(say(day), say(&there));
        assert_eq!((weight(&live, "day"), weight(&live, "last")), (0.0, 0.0));
        let alone = live.forecast(48, &[0.5]).values;
        live.admit(trained);
        assert!(weight(&live, "day") > 3.0 * weight(&live, "last"), "{:?}", live.weights(16));
        assert_ne!(live.forecast(48, &[0.5]).values, alone);
        assert!(live.dismiss(Kind::Day) && live.dismiss(Kind::Last) && !live.dismiss(Kind::Day));
        assert_eq!(live.forecast(48, &[0.5]).values, alone);
    }

    #[test]
    fn a_model_that_lost_the_thread_or_is_ahead_is_left_out() {
        let live = ensemble(300);
        let (_, mut ahead) = kept(&live, Kind::Last, 300);
        ahead.next = at(301);
        let (_, mut lost) = kept(&live, Kind::Day, 200);
        lost.next = Timestamp::from_secs(1_600_000_000);
        let job = live.job(String::new()).unwrap();
        assert_eq!((job.stands(&ahead), job.stands(&lost)), (None, None));
        let trained =
            job.rehearse(vec![(Kind::Last, ahead), (Kind::Day, lost)], true, &mut Pace::free()).unwrap();
        assert!(trained.models.is_empty());
    }

    #[test]
    fn a_model_that_counts_steps_from_elsewhere_takes_part_where_there_are_covariates() {
        let mut live = ensemble(400);
        let (kind, mut there) = kept(&live, Kind::Additive, 300);
        there.next = at(299);
        let mut rain = Covariates::beginning(0);
        rain.add("rain", (0..600u16).map(|i| f32::from(i % 7)).collect()).unwrap();
        live.know(std::sync::Arc::new(rain));
        let job = live.job(String::new()).unwrap();
        assert_eq!(job.stands(&there), Some(299));
        let trained = job.rehearse(vec![(kind, there)], true, &mut Pace::free()).unwrap();
        let model = trained.models[0].1.as_ref().unwrap();
        assert_eq!(model.next_step(), Some(400));
    }
}
