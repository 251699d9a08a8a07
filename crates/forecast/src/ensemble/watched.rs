//! What the ensemble does about itself: when it is trained anew and why, and what it does before.

use std::time::Duration;

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
    let jobs = run(&mut ensemble(RetrainConfig::for_step(STEP)), 0..6800, |step| value(step, 5.0));
    assert_eq!(jobs[0], (192, "192 steps are enough to begin with".to_owned()));
    assert_eq!(jobs[1], (216, "the history has grown by 24 steps".to_owned()));
    let [.., before, last] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((last.0 - before.0, last.1.as_str()), (288, "the schedule says every day"));
}

#[test]
fn what_is_dear_to_train_waits_for_a_heat() {
    let mut config = Config::new(STEP);
    config.horizon_max = STEP * 4;
    let mut ensemble = Ensemble::new(config, &[Kind::Day, Kind::Lstm]).unwrap();
    let (mut routine, mut dear) = (0, Vec::<usize>::new());
    for step in 0..640 {
        // No season that would have to be waited for.
        let noise = ((step * 7919) % 101) as f64 / 5.0;
        ensemble.observe(at(step), Some(100.0 + noise)).unwrap();
        if step == 560 {
            ensemble.deployed("checkout 2.4");
        }
        let Some(job) = ensemble.due() else { continue };
        if job.kinds().contains(&Kind::Lstm) {
            dear.push(step + 1);
        } else {
            assert!(job.reason.contains("has grown"), "{}", job.reason);
            routine += 1;
        }
        ensemble.admit(job.run(&mut crate::models::Pace::free()));
    }
    assert!(routine >= 8, "{routine} beside {dear:?}");
    assert_eq!(dear, [192, 384, 592], "twice the history, and what came after the deploy is known");
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
    let told: Vec<String> = ensemble
        .notices(0)
        .filter(|notice| notice.kind() == "forecast_adapts")
        .map(|notice| notice.sentence("requests/s"))
        .collect();
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
        Notice::Responded { .. }
        | Notice::Anomaly(_)
        | Notice::NewNormal { .. }
        | Notice::OutageBegan { .. }
        | Notice::OutageEnded { .. } => None,
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

/// Noise that no season explains.
fn noisy(step: usize) -> f64 {
    let mixed = (step as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let noise = ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f64 / (1 << 24) as f64;
    value(step, 0.0) + 10.0 * (noise - 0.5)
}

fn anomalies(ensemble: &Ensemble) -> Vec<Anomaly> {
    let anomaly = |notice: &Notice| match notice {
        Notice::Anomaly(anomaly) => Some(*anomaly),
        Notice::NewNormal { .. }
        | Notice::OutageBegan { .. }
        | Notice::OutageEnded { .. }
        | Notice::Responded { .. } => None,
    };
    ensemble.notices(0).filter_map(anomaly).collect()
}

#[test]
fn a_spike_is_told_once_and_kept_out_of_what_models_are_trained_on() {
    let spiky = |step: usize| if step == 1500 { 900.0 } else { noisy(step) };
    for kinds in [&[Kind::Day][..], &[]] {
        let mut ensemble = Ensemble::new(Config::new(STEP), kinds).unwrap();
        run(&mut ensemble, 0..1600, spiky);
        let found: Vec<Anomaly> = anomalies(&ensemble).into_iter().filter(|a| a.at >= at(1490)).collect();
        let [spike] = found[..] else { panic!("the way back is none: {found:?}") };
        assert_eq!((spike.at, spike.value), (at(1500), 900.0));
        assert!(spike.nearest < 200.0 && spike.p_value.is_some_and(|p| p < 1e-4), "{spike:?}");
        assert!(ensemble.anomalies_found() < 6, "one in ten thousand is asked for");
        if let Some(job) = ensemble.job(String::new()).filter(|_| !kinds.is_empty()) {
            let values = job.history().values;
            assert!(values[1500].is_nan() && values[1499].is_finite() && values[1501].is_finite());
        }
    }
}

#[test]
fn anomalies_that_do_not_end_become_the_new_normal_and_are_learned_after_all() {
    let mut ensemble = ensemble(never());
    // From one day on values jump between two extremes: no forecast follows them.
    let wild = |step: usize| match step {
        0..1500 => noisy(step),
        _ if (step * 7919) % 13 < 6 => 900.0,
        _ => 300.0 + noisy(step),
    };
    run(&mut ensemble, 0..1530, wild);
    assert!(anomalies(&ensemble).len() > 10);
    let normal = |ensemble: &Ensemble| {
        ensemble.notices(0).find(|notice| notice.kind() == "new_normal").map(Notice::at)
    };
    assert_eq!(normal(&ensemble), None);
    run(&mut ensemble, 1530..2000, wild);
    let accepted =
        normal(&ensemble).unwrap_or_else(|| panic!("{:?}", ensemble.notices(0).collect::<Vec<_>>()));
    assert!(accepted < at(1700), "{accepted}");
    let job = ensemble.job(String::new()).unwrap();
    let since = job.history().values[1500..].iter().filter(|value| value.is_finite()).count();
    assert!(since > 490, "what was kept out is back: {since} of 500");
    let late = anomalies(&ensemble).into_iter().filter(|anomaly| anomaly.at > at(1750)).count();
    assert!(late <= 5, "nobody wants to be told of the normal: {late}");
}

#[test]
fn a_level_that_stays_is_learned_at_once() {
    let mut ensemble = ensemble(never());
    let shifted = |step: usize| if step < 1500 { noisy(step) } else { noisy(step) + 150.0 };
    run(&mut ensemble, 0..1600, shifted);
    let job = ensemble.job(String::new()).unwrap();
    let kept = job.history().values[1500..].iter().filter(|value| value.is_finite()).count();
    assert!(kept >= 75, "{kept} of 100 steps of the new level are learned");
    assert!(job.history().values[1540..].iter().all(|value| value.is_finite()));
}

#[test]
fn an_outage_is_told_when_it_begins_and_when_it_ends_and_nothing_of_it_is_learned() {
    let mut ensemble = ensemble(never());
    let silent = 1500..1520;
    run(&mut ensemble, 0..1510, |step| if silent.contains(&step) { 0.0 } else { noisy(step) });
    assert_eq!(ensemble.outage_since(), Some(at(1500)));
    run(&mut ensemble, 1510..1560, |step| if silent.contains(&step) { 0.0 } else { noisy(step) });
    assert_eq!(ensemble.outage_since(), None);
    let told: Vec<&Notice> =
        ensemble.notices(0).filter(|notice| notice.kind().starts_with("outage")).collect();
    let [Notice::OutageBegan { at: began, expected }, Notice::OutageEnded { at: ended, accepted: false, .. }] =
        told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((*began, *ended), (at(1500), at(1520)));
    assert!((50.0..150.0).contains(expected), "{expected}");
    let job = ensemble.job(String::new()).unwrap();
    assert!(job.history().values[1500..1520].iter().all(|value| value.is_nan()));
}

#[test]
fn levels_are_crossed_when_the_combined_forecast_reaches_them() {
    let mut ensemble = ensemble(RetrainConfig::for_step(STEP));
    run(&mut ensemble, 0..1900, noisy);
    assert!(ensemble.weights(1).len() > 1, "a batch model takes part");
    // The lowest point of the day was a while ago: within half a day demand rises from about 95 to its peak of 140.
    let levels = [0.0, 100.0, 150.0, 1e6];
    let crossed = ensemble.crossings(&levels, 144);
    for path in &crossed {
        assert!(path.len() == 144 && path.iter().all(|p| (0.0..=1.0).contains(p)));
        assert!(path.windows(2).all(|pair| pair[0] <= pair[1]), "never less");
    }
    assert!(crossed[0][0] > 0.99 && crossed[3][143] < 1e-6);
    let when = |level: usize, p: f64| crossed[level].iter().position(|&crossed| crossed >= p);
    let actual = (1900..2044).position(|step| noisy(step) > 100.0).unwrap();
    let likely = when(1, 0.5).expect("it is crossed");
    assert!(likely.abs_diff(actual) <= 12, "expected after {likely} steps, came after {actual}");
    assert!(when(2, 0.9).is_none(), "beyond the peak");
}
