//! The combination on a small series: who takes part, that nothing is known too early, that answers are sound.

use std::time::Duration;

use super::*;

fn series(n: usize) -> Vec<f64> {
    (0..n)
        .map(|i| {
            let hour = (i % 288) as f64 / 288.0 * std::f64::consts::TAU;
            100.0 + 40.0 * hour.sin() + ((i * 7919) % 101) as f64 / 10.0
        })
        .collect()
}

fn at(step: usize) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + 300 * step as i64)
}

#[test]
fn without_batch_models_it_says_exactly_what_the_online_core_says() {
    let config = Config::new(Duration::from_secs(300));
    let mut ensemble = Ensemble::new(config.clone(), &[]).unwrap();
    let mut core = Forecaster::new(config).unwrap();
    for (i, value) in series(900).into_iter().enumerate() {
        ensemble.observe(at(i), Some(value)).unwrap();
        core.observe(at(i), Some(value)).unwrap();
        assert!(ensemble.due().is_none());
    }
    assert_eq!(ensemble.forecast(50, &[0.1, 0.5, 0.9]), core.forecast(50, &[0.1, 0.5, 0.9]));
    assert_eq!(ensemble.weights(1), [("online", 1.0)]);
}

/// An ensemble that trained whatever was due while it saw `n` steps.
fn grown(n: usize, kinds: &[Kind]) -> Ensemble {
    let mut ensemble = Ensemble::new(Config::new(Duration::from_secs(300)), kinds).unwrap();
    for (i, value) in series(n).into_iter().enumerate() {
        ensemble.observe(at(i), Some(value)).unwrap();
        ensemble.train_if_due();
    }
    ensemble
}

#[test]
fn models_join_on_probation_and_then_share_the_weight() {
    let young = grown(200, &[Kind::Smoothing, Kind::Day]);
    assert_eq!(young.weights(1), [("online", 1.0)]);
    let old = grown(1500, &[Kind::Smoothing, Kind::Day]);
    let weights = old.weights(1);
    assert_eq!(weights.len(), 3, "{weights:?}");
    assert!((weights.iter().map(|(_, weight)| weight).sum::<f64>() - 1.0).abs() < 1e-4);
}

#[test]
fn a_peak_that_the_core_misses_and_others_know_is_counted_once() {
    let mut ensemble = Ensemble::new(Config::new(Duration::from_secs(300)), &[Kind::Profile]).unwrap();
    let mut dice = fastrand::Rng::with_seed(3);
    let mut job =
        |step: usize| dice.f64() * 20.0 + if (24..27).contains(&(step % 288)) { 200.0 } else { 10.0 };
    for step in 0..15 * 288 {
        ensemble.observe(at(step), Some(job(step))).unwrap();
        ensemble.train_if_due();
    }
    let (window, steps) = (ensemble.window_max(288), ensemble.forecast(288, &[0.5, 0.95]).values);
    let highest = |k: usize| steps.iter().map(|row| row[k]).fold(0.0, f64::max);
    assert!(window.median() >= highest(0) && window.median() < 240.0, "{}", window.median());
    assert!(window.quantile(0.95) >= highest(1) && window.quantile(0.95) < 1.3 * highest(1));
    assert_eq!(ensemble.window_max(1).quantile(0.95), steps[0][1], "one step is no window");
    let maxima = ensemble.window_maxima(288);
    assert_eq!(maxima[287], window);
}

#[test]
fn what_comes_later_changes_no_earlier_forecast() {
    let whole = grown(900, &[Kind::Smoothing]).forecast(288, &[0.05, 0.5, 0.95]);
    let mut longer = Ensemble::new(Config::new(Duration::from_secs(300)), &[Kind::Smoothing]).unwrap();
    let mut said = None;
    for (i, value) in series(900).into_iter().chain([1e6; 100]).enumerate() {
        longer.observe(at(i), Some(value)).unwrap();
        longer.train_if_due();
        if i == 899 {
            said = Some(longer.forecast(288, &[0.05, 0.5, 0.95]));
        }
    }
    assert_eq!(said.unwrap(), whole);
}

#[test]
fn combined_quantiles_are_finite_never_fall_and_stay_above_zero() {
    let quantiles = [0.001, 0.05, 0.3, 0.5, 0.9, 0.99, 0.9999];
    let mut ensemble = grown(700, &[Kind::Smoothing, Kind::Boosted, Kind::Arima]);
    for i in 700..1300 {
        let value = if i % 50 < 5 { None } else { Some(if i % 97 == 0 { 1e9 } else { 0.0 }) };
        ensemble.observe(at(i), value).unwrap();
        ensemble.train_if_due();
    }
    for row in ensemble.forecast(300, &quantiles).values.iter() {
        assert!(row.iter().all(|value| value.is_finite() && *value >= 0.0), "{row:?}");
        assert!(row.windows(2).all(|pair| pair[0] <= pair[1]), "{row:?}");
    }
    assert!(ensemble.window_max(12).quantile(0.99).is_finite());
}

#[test]
fn a_training_that_was_called_off_changes_nothing() {
    let mut ensemble = Ensemble::new(Config::new(Duration::from_secs(300)), &[Kind::Smoothing]).unwrap();
    for (i, value) in series(600).into_iter().enumerate() {
        ensemble.observe(at(i), Some(value)).unwrap();
    }
    let before = ensemble.forecast(50, &[0.5]);
    let job = ensemble.due().expect("600 steps are enough to train on");
    let mut stop = || std::ops::ControlFlow::Break(());
    ensemble.admit(job.run(&mut crate::models::Pace::controlled(&mut stop)));
    assert_eq!(ensemble.forecast(50, &[0.5]), before);
}

#[test]
fn a_champion_from_a_contest_is_admitted_and_gets_weight_when_it_was_scored_often_enough() {
    let mut config = Config::new(Duration::from_secs(300));
    config.horizon_max = Duration::from_secs(3600);
    let mut ensemble = Ensemble::new(config, &[Kind::Day]).unwrap();
    let values = series(1000);
    for (i, value) in values.iter().enumerate().take(800) {
        ensemble.observe(at(i), Some(*value)).unwrap();
    }
    let job = ensemble.due().unwrap();
    assert_eq!(job.kinds(), [Kind::Day]);
    let contest = job.contest(Kind::Day, None, &mut crate::models::Pace::free()).unwrap();
    assert!(contest.rival.is_none() && contest.pinball().is_some_and(|loss| loss > 0.0));
    ensemble.admit(Trained::new(job.history().end(), vec![(Kind::Day, Ok(contest.challenger))]));
    assert_eq!(ensemble.weights(1), [("online", 1.0)]);
    for (i, value) in values.iter().enumerate().skip(800) {
        ensemble.observe(at(i), Some(*value)).unwrap();
    }
    assert!(ensemble.weights(1).iter().any(|(name, weight)| *name == "day" && *weight > 0.0));
}

#[test]
fn paths_of_a_combination_have_the_distribution_that_it_says() {
    let ensemble = grown(1500, &[Kind::Smoothing, Kind::Day]);
    let said = ensemble.forecast(24, &[0.1, 0.5, 0.9]);
    let paths = ensemble.paths(24, 4000, 1);
    for h in [0, 11, 23] {
        for (k, tau) in [0.1, 0.5, 0.9].into_iter().enumerate() {
            let below = paths.iter().filter(|path| path[h] <= said.values[h][k]).count() as f64 / 4000.0;
            assert!((below - tau).abs() < 0.03, "step {h}: {below} of paths below the {tau} quantile");
        }
    }
    assert_eq!(ensemble.composition(), format!("online-{}+smoothing+day", ensemble.online.plain().version()));
}

#[test]
fn a_combination_is_trusted_by_what_it_said_and_not_by_its_core() {
    let ensemble = grown(2500, &[Kind::Smoothing, Kind::Day]);
    let (own, core) = (ensemble.trust(), ensemble.online.trust(None, 1));
    assert!(own.is_trusted() && core.is_trusted());
    assert_ne!(own.coverage(), core.coverage());
    let records = ensemble.vigil.records().unwrap();
    assert_eq!(own, ensemble.online.trust(Some(records), 1));
    let ahead: Vec<(usize, crate::Trust)> = ensemble.trust_ahead().within(48).collect();
    assert_eq!(ahead.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [1, 17]);
    assert!(
        ahead[0].1 == own && ahead[1].1.is_trusted() && ahead[1].1.coverage() != own.coverage(),
        "{ahead:?}"
    );
    let alone = grown(2500, &[]);
    assert_eq!(alone.trust(), core);
}

#[test]
fn a_value_beyond_all_measure_weighs_no_heavier_in_trust_than_other_wild_ones() {
    let skill = |wild: f64| {
        let mut ensemble = grown(2500, &[Kind::Smoothing, Kind::Day]);
        for (i, value) in series(2900).into_iter().enumerate().skip(2500) {
            ensemble.observe(at(i), Some(if i == 2600 { wild } else { value })).unwrap();
        }
        match ensemble.trust() {
            crate::Trust::Trusted { skill, .. } => skill,
            other => panic!("{wild:e}: {other:?}"),
        }
    };
    let usual = skill(series(2601)[2600]);
    let off: Vec<f64> = [1e4, 1e12, 1e29].map(|wild| (skill(wild) - usual).abs()).to_vec();
    assert!(off.iter().all(|off| *off < 0.2), "{usual}: {off:?}");
}

#[test]
fn a_part_of_the_core_alone_says_something_else_and_keeps_its_word() {
    use crate::online::Part;
    let config = Config::new(Duration::from_secs(300));
    let values = series(288 * 12);
    let mut medians = Vec::new();
    for part in [None, Some(Part::Profile), Some(Part::Stack)] {
        let mut forecaster = Forecaster::new(config.clone()).unwrap().reduced(part);
        let (mut inside, mut seen) = (0, 0);
        for (i, &value) in values.iter().enumerate() {
            if i > 288 * 6 {
                let said = forecaster.forecast(1, &[0.05, 0.95]).values;
                (seen, inside) = (seen + 1, inside + usize::from((said[0][0]..=said[0][1]).contains(&value)));
            }
            forecaster.observe(at(i), Some(value)).unwrap();
        }
        let share = inside as f64 / f64::from(seen);
        assert!((0.85..=0.96).contains(&share), "{part:?}: {share} inside the 90 % interval");
        medians.push(forecaster.forecast(12, &[0.5]).values);
    }
    assert!(medians[0] != medians[1] && medians[1] != medians[2] && medians[0] != medians[2]);
}

#[test]
fn a_window_is_never_below_its_steps_nor_below_a_shorter_one() {
    for kinds in [&[][..], &[Kind::Smoothing]] {
        let ensemble = grown(1500, kinds);
        let said = ensemble.forecast(60, &[0.05, 0.5, 0.95]).values;
        let maxima = ensemble.window_maxima(60);
        for (k, tau) in [0.05, 0.5, 0.95].into_iter().enumerate() {
            let mut least = f64::MIN;
            for h in 0..60 {
                least = least.max(said[h][k]);
                let max = maxima[h].quantile(tau);
                assert!(max >= least - 1e-9, "{kinds:?}, {tau}, step {h}: {max} below {least}");
                least = max;
            }
        }
    }
}

#[test]
fn rare_demand_exceeds_levels_as_often_as_it_does() {
    let mut ensemble = Ensemble::new(Config::new(Duration::from_secs(60)), &[Kind::Sparse]).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    for i in 0..6000i64 {
        let value = if random.f64() < 0.02 { -(1.0 - random.f64()).ln() } else { 0.0 };
        ensemble.observe(Timestamp::from_secs(60 * i), Some(value)).unwrap();
        ensemble.train_if_due();
    }
    // In 360 minutes seven demands are to be expected, of which a third is above one.
    let above = ensemble.crossings(&[1.0], 360)[0][359];
    let truth = 1.0 - (1.0 - 0.02 * (-1.0f64).exp()).powi(360);
    assert!((above - truth).abs() < 0.15, "{above}, in truth {truth}");
    let sums = crate::joint::Window::Sum.over(&ensemble.paths(360, 500, 1), &[0.5]);
    assert!((3.0..14.0).contains(&sums[359][0]), "{}, in truth about 7", sums[359][0]);
}

#[test]
fn before_anything_was_observed_there_is_an_answer_for_every_step() {
    let mut ensemble = Ensemble::new(Config::new(Duration::from_secs(60)), &[]).unwrap();
    assert_eq!(ensemble.crossings(&[1.0], 3), [vec![0.0; 3]]);
    ensemble.observe(Timestamp::from_secs(0), None).unwrap();
    assert_eq!(ensemble.crossings(&[1.0], 3), [vec![0.0; 3]]);
    assert_eq!(ensemble.window_maxima(3).len(), 3);
}
