//! Who rests, who comes back and when, and that nobody is forgotten.

use std::time::Duration;

use super::*;
use crate::models::{Model, Pace};
use crate::online::Config;
use crate::timestamp::Timestamp;

const STEP: Duration = Duration::from_secs(1800);
const DAY: usize = 48;

/// A day's wave with noise that nobody can know.
fn value(step: usize) -> f64 {
    let wave = (std::f64::consts::TAU * (step % DAY) as f64 / DAY as f64).sin();
    let noise = fastrand::Rng::with_seed(step as u64).f64();
    100.0 + 40.0 * wave + 20.0 * noise
}

fn at(step: usize) -> Timestamp {
    Timestamp::from_secs(1_700_000_000) + STEP * step as u32
}

/// One that has observed so many steps and was trained on none.
fn untrained(steps: usize, kinds: &[Kind]) -> Ensemble {
    let mut config = Config::new(STEP);
    // Not a day: so far ahead the last value is as good as the season.
    config.horizon_max = STEP * 36;
    let mut ensemble = Ensemble::new(config, kinds).unwrap();
    (0..steps).for_each(|step| ensemble.observe(at(step), Some(value(step))).unwrap());
    ensemble
}

/// Observes further steps and admits what `lets` says; the trainings that were due, and after which step.
fn run(
    ensemble: &mut Ensemble,
    steps: std::ops::Range<usize>,
    lets: impl Fn(usize) -> bool,
) -> Vec<(usize, Job)> {
    let mut jobs = Vec::new();
    for step in steps {
        ensemble.observe(at(step), Some(value(step))).unwrap();
        let Some(job) = ensemble.due() else { continue };
        if lets(step) {
            ensemble.admit(job.run(&mut Pace::free()));
        }
        jobs.push((step + 1, job));
    }
    jobs
}

fn with(kind: Kind, jobs: &[(usize, Job)]) -> Vec<usize> {
    jobs.iter().filter(|(_, job)| job.kinds().contains(&kind)).map(|(step, _)| *step).collect()
}

#[test]
fn a_kind_of_no_use_rests_and_has_another_heat_against_the_others_when_half_of_what_is_known_is_new() {
    let mut ensemble = untrained(0, &[Kind::Smoothing, Kind::Last]);
    let jobs = run(&mut ensemble, 0..3000, |_| true);
    let all: Vec<usize> = with(Kind::Smoothing, &jobs);
    let last = with(Kind::Last, &jobs);
    assert_eq!(all.len(), jobs.len(), "what is of use is always trained");
    assert!(last.len() + 10 < all.len(), "{last:?}");
    let left = all.iter().find(|step| !last.contains(step)).unwrap();
    assert!(*left > 100 + 36, "not before a hundred outcomes at each horizon: {left}");
    let heat = last.iter().find(|step| *step > left).unwrap();
    let (_, job) = jobs.iter().find(|(step, _)| step == heat).unwrap();
    assert_eq!(job.unproven, [Kind::Smoothing, Kind::Last], "both are fitted to a part, and play the rest");
    let heats: Vec<usize> =
        jobs.iter().filter(|(_, job)| job.unproven.len() == 2).map(|(step, _)| *step).collect();
    let late: Vec<&usize> = heats.iter().filter(|step| *step > left).collect();
    assert!(late.windows(2).all(|pair| *pair[1] >= 2 * *pair[0]), "{heats:?}");
    assert_eq!(ensemble.resting(), [Kind::Last]);
    assert!(ensemble.weights(1).iter().all(|(name, _)| *name != "last"));
    assert!(!ensemble.composition().contains("last"));
}

#[test]
fn who_is_back_is_heard_as_far_as_the_heat_has_shown_and_a_heat_that_came_to_nothing_is_held_again() {
    let mut ensemble = untrained(0, &[Kind::Smoothing, Kind::Last]);
    run(&mut ensemble, 0..1200, |_| true);
    assert_eq!(ensemble.resting(), [Kind::Last]);
    let jobs = run(&mut ensemble, 1200..2200, |_| false);
    let heats = with(Kind::Last, &jobs);
    let first = jobs.iter().position(|(step, _)| *step == heats[0]).unwrap();
    assert!(first > 0 && heats.len() > 1);
    assert_eq!(jobs.len() - first, heats.len(), "each one since then, as nothing came of any");
    let (_, job) = jobs.last().unwrap();
    ensemble.admit(job.run(&mut Pace::free()));
    assert_eq!(ensemble.resting(), []);
    let weight = ensemble.weights(16).iter().find(|(name, _)| *name == "last").map_or(0.0, |(_, w)| *w);
    assert!(weight > 0.0 && weight < 0.05, "known from the heat: {weight}");
    run(&mut ensemble, 2200..3200, |_| true);
    assert_eq!(ensemble.resting(), [Kind::Last], "and at rest again");
}

#[test]
fn a_known_change_brings_the_next_heat_forward() {
    let mut calm = untrained(0, &[Kind::Smoothing, Kind::Last]);
    run(&mut calm, 0..1200, |_| true);
    let mut deployed = calm.clone();
    deployed.deployed("checkout 2.4");
    let later = |jobs: Vec<(usize, Job)>| with(Kind::Last, &jobs).first().copied();
    let change = later(run(&mut deployed, 1200..2200, |_| true)).expect("a heat");
    let calm = later(run(&mut calm, 1200..2200, |_| true)).expect("a heat");
    assert!(change < calm, "{change} {calm}");
}

#[test]
fn new_kinds_earn_their_weight_in_a_training_that_leaves_others_out() {
    let mut ensemble = untrained(1000, &[Kind::Lstm, Kind::Day]);
    let mut job = ensemble.job(String::new()).unwrap();
    (job.kinds, job.unproven) = (vec![Kind::Day], vec![Kind::Day]);
    ensemble.admit(job.run(&mut Pace::free()));
    let names: Vec<&str> = ensemble.weights(16).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names, ["online", "day"]);
}

#[test]
fn what_is_dear_is_fitted_once_for_a_heat_and_takes_part_as_it_went_through_it() {
    let ensemble = untrained(600, &[Kind::Lstm]);
    let job = ensemble.job(String::new()).unwrap();
    let trained = job.run(&mut Pace::free());
    let (_, outcome) = trained.models.into_iter().next().unwrap();
    let model = outcome.unwrap();
    let history = job.history();
    let mut early = Kind::Lstm.train(&history.until(600 - 150), &mut Pace::free()).unwrap();
    history.values[450..].iter().for_each(|&value| early.observe(value, history.covariates));
    let say = |model: &dyn Model| model.forecast(DAY, &[0.1, 0.5, 0.9], history.covariates);
    assert_eq!(say(&model), say(&early));
}
