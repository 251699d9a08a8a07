//! What the ensemble does about itself: when it is trained anew and why, and what it does before.

use super::*;
use crate::watch::RefitSchedule;

const STEP: Duration = Duration::from_secs(300);

fn at(step: usize) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + 300 * step as i64)
}

/// A day's wave with noise of a given size.
fn value(step: usize, noise: f64) -> f64 {
    let hour = (step % 288) as f64 / 288.0 * std::f64::consts::TAU;
    (100.0 + 40.0 * hour.sin() + noise * (((step * 7919) % 101) as f64 / 50.0 - 1.0)).max(0.0)
}

fn never() -> RetrainConfig {
    RetrainConfig { schedule: RefitSchedule::Never, growth: None, ..RetrainConfig::for_step(STEP) }
}

fn ensemble(retraining: RetrainConfig) -> Ensemble {
    Ensemble::new(Config::new(STEP), &[Kind::Day]).unwrap().with_retraining(retraining)
}

/// Feeds steps and trains what is due; the steps after which it was, and why.
fn run(
    ensemble: &mut Ensemble,
    steps: std::ops::Range<usize>,
    value: impl Fn(usize) -> f64,
) -> Vec<(usize, String)> {
    let mut jobs = Vec::new();
    for step in steps {
        ensemble.observe(at(step), Some(value(step))).unwrap();
        if let Some(job) = ensemble.due() {
            jobs.push((step + 1, job.reason.clone()));
            ensemble.admit(job.run(&mut crate::models::Pace::free()));
        }
    }
    jobs
}

#[test]
fn a_young_history_is_trained_as_it_grows_and_an_old_one_each_day() {
    let jobs = run(&mut ensemble(RetrainConfig::for_step(STEP)), 0..2400, |step| value(step, 5.0));
    assert_eq!(jobs[0], (192, "192 steps are enough to begin with".to_owned()));
    assert_eq!(jobs[1], (256, "the history has grown by 64 steps".to_owned()));
    let [.., before, last] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((last.0 - before.0, last.1.as_str()), (288, "the schedule says every day"));
}

#[test]
fn a_deploy_is_trained_on_as_soon_as_it_has_settled() {
    let mut ensemble = ensemble(never());
    assert_eq!(run(&mut ensemble, 0..500, |step| value(step, 5.0)), []);
    ensemble.admit(ensemble.job("by hand".to_owned()).unwrap().run(&mut crate::models::Pace::free()));
    ensemble.deployed("checkout 2.4");
    let jobs = run(&mut ensemble, 500..900, |step| value(step, 5.0));
    let reason = "the behaviour after the deploy of `checkout 2.4` is known by now";
    assert_eq!(jobs, [(525, reason.to_owned())], "two hours later, once");
    let told: Vec<String> = ensemble.notices(0).map(|notice| notice.sentence("requests/s")).collect();
    assert_eq!(told, ["learning faster: `checkout 2.4` was deployed"]);
    assert_eq!(ensemble.notices(ensemble.noticed()).count(), 0);
}

#[test]
fn lost_coverage_widens_the_intervals_first_and_trains_anew_when_that_does_not_help() {
    let mut config = Config::new(STEP);
    config.horizon_max = STEP * 24;
    let mut ensemble = Ensemble::new(config, &[Kind::Day]).unwrap().with_retraining(never());
    run(&mut ensemble, 0..500, |step| value(step, 2.0));
    ensemble.admit(ensemble.job("by hand".to_owned()).unwrap().run(&mut crate::models::Pace::free()));
    assert_eq!(run(&mut ensemble, 500..1500, |step| value(step, 2.0)), [], "all is well");
    // The noise doubles each day: no interval keeps up with it.
    let growing = |step: usize| value(step, 2.0 * 2f64.powf((step as f64 - 1500.0) / 100.0));
    let jobs = run(&mut ensemble, 1500..2100, growing);
    let told: Vec<&Notice> = ensemble.notices(0).collect();
    let widened = told.iter().find_map(|notice| match notice {
        Notice::Responded { at, response: Response::WidenIntervals, reason } => Some((*at, reason)),
        Notice::Responded { .. } => None,
    });
    let (when, reason) = widened.unwrap_or_else(|| panic!("{told:?}"));
    assert!(reason.contains("coverage of the 90 % interval fell"), "{reason}");
    let (refitted, reason) = jobs.first().unwrap_or_else(|| panic!("{told:?}"));
    assert!(at(*refitted) > when && reason.contains("did not help"), "{jobs:?}");
}

#[test]
fn decisions_do_not_depend_on_what_comes_later_nor_on_who_asks() {
    let noisy = |step: usize| value(step, if step > 900 { 40.0 } else { 5.0 });
    let mut short = ensemble(RetrainConfig::for_step(STEP));
    let mut long = short.clone();
    let jobs = run(&mut short, 0..1300, noisy);
    let more = run(&mut long, 0..1500, |step| if step < 1300 { noisy(step) } else { 1e6 });
    assert_eq!(jobs[..], more[..jobs.len()]);
    let told: Vec<&Notice> = short.notices(0).collect();
    assert_eq!(told[..], long.notices(0).collect::<Vec<_>>()[..told.len()]);
}
