//! The network on small series: gradients, determinism, and what it learns.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::Timestamp;
use crate::covariates::Covariates;
use crate::grid::Grid;
use crate::models::Model;

const TAUS: [f64; 4] = [0.05, 0.5, 0.9, 0.99];

fn grid() -> Grid {
    Grid { origin: Timestamp::from_secs(1_700_000_000), step: Duration::from_secs(3600), zone: None }
}

fn history<'a>(grid: &'a Grid, values: &'a [f32], covariates: &'a Covariates) -> History<'a> {
    let seasons = &[24, 168];
    History { grid, first: 0, values, seasons, covariates, horizon: 24, non_negative: true }
}

/// Six weeks of hours: days, quiet weekends, noise, and a level that falls to six tenths after four weeks.
fn series(seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    let hours = 0..42 * 24;
    hours
        .map(|t| {
            let day = 1.0 + 0.6 * (std::f32::consts::TAU * t as f32 / 24.0).sin();
            let week = if (t / 24) % 7 >= 5 { 0.6 } else { 1.0 };
            let level = if t < 28 * 24 { 100.0 } else { 60.0 };
            level * day * week * (1.0 + 0.1 * (random.f32() - 0.5))
        })
        .collect()
}

fn small() -> Config {
    Config { hidden: 12, middle: 12, steps: 120, ..Config::default() }
}

#[test]
fn it_does_better_than_the_naive_forecast_after_a_change_of_level() {
    let (grid, none, values) = (grid(), Covariates::default(), series(1));
    // Two days after the change: the week before is of no use.
    let end = 30 * 24;
    let model = Lstm::fit(&history(&grid, &values[..end], &none), &small(), &mut Pace::free()).unwrap();
    let path = model.forecast(24, &TAUS, &none);
    let error = |said: &dyn Fn(usize) -> f64| {
        (0..24).map(|h| (f64::from(values[end + h]) - said(h)).abs()).sum::<f64>() / 24.0
    };
    let ours = error(&|h| path[h][1]);
    let naive = error(&|h| f64::from(values[end + h - 168]));
    assert!(ours < 0.35 * naive, "{ours} and {naive}");
    assert!(model.weights().loss <= model.weights().untrained_loss);
}

#[test]
fn the_same_seed_gives_the_same_weights_and_forecasts() {
    let (grid, none, values) = (grid(), Covariates::default(), series(2));
    let fit = || Lstm::fit(&history(&grid, &values[..800], &none), &small(), &mut Pace::free()).unwrap();
    let (mut first, second) = (fit(), fit());
    assert_eq!(first.weights(), second.weights());
    let other =
        Lstm::fit(&history(&grid, &values[..800], &none), &Config { seed: 9, ..small() }, &mut Pace::free());
    assert_ne!(first.weights(), other.unwrap().weights());
    // Following the series is the same as being attached later: nothing but the values counts.
    values[800..].iter().for_each(|&value| first.observe(value, &none));
    let history = history(&grid, &values, &none);
    let later = Lstm::attach(first.weights().clone(), &history, &mut Pace::free()).unwrap();
    assert_eq!(first.forecast(24, &TAUS, &none), later.forecast(24, &TAUS, &none));
}

#[test]
fn nothing_after_its_moment_is_used() {
    let (grid, none, mut values) = (grid(), Covariates::default(), series(3));
    let ask = |values: &[f32]| {
        let all = history(&grid, values, &none);
        Lstm::fit(&all.until(700), &small(), &mut Pace::free()).unwrap().forecast(24, &TAUS, &none)
    };
    let before = ask(&values);
    values[700..].fill(1e6);
    assert_eq!(before, ask(&values));
}

#[test]
fn one_network_serves_series_of_any_size_also_unseen_ones() {
    let (grid, none) = (grid(), Covariates::default());
    let all: Vec<Vec<f32>> = (0..4).map(series).collect();
    let histories: Vec<History<'_>> = all.iter().map(|values| history(&grid, values, &none)).collect();
    let weights = Arc::new(fit_global(&histories, &small(), &mut Pace::free()).unwrap());
    let values = series(11);
    let large: Vec<f32> = values.iter().map(|value| value * 1e6).collect();
    let ask = |values: &[f32]| {
        let model = Lstm::attach(weights.clone(), &history(&grid, values, &none), &mut Pace::free()).unwrap();
        model.forecast(24, &TAUS, &none)
    };
    let (small, large) = (ask(&values), ask(&large));
    for (a, b) in small.iter().flatten().zip(large.iter().flatten()) {
        assert!((a * 1e6 - b).abs() < 1e-3 * b.abs() + 1.0, "{a} and {b}");
    }
}

#[test]
fn whatever_the_series_the_answer_is_finite_and_never_falls() {
    let (grid, none) = (grid(), Covariates::default());
    let base = series(5);
    let cases: [(&str, Vec<f32>); 8] = [
        ("constant", vec![5.0; 1000]),
        ("zeros", vec![0.0; 1000]),
        ("huge", base.iter().map(|value| value * 1e35).collect()),
        ("gaps", base.iter().enumerate().map(|(i, &v)| if i % 3 == 0 { f32::NAN } else { v }).collect()),
        ("ends missing", base.iter().enumerate().map(|(i, &v)| if i > 700 { f32::NAN } else { v }).collect()),
        ("one spike", (0..1000).map(|i| if i == 600 { 1e30 } else { 1.0 }).collect()),
        ("tiny", base.iter().map(|value| value * 1e-38).collect()),
        ("negative", base.iter().map(|value| -value).collect()),
    ];
    let config = Config { steps: 20, ..small() };
    for (name, values) in cases {
        let mut model = Lstm::fit(&history(&grid, &values, &none), &config, &mut Pace::free()).unwrap();
        for more in [f32::NAN, f32::MAX, 0.0] {
            model.observe(more, &none);
            for row in model.forecast(50, &TAUS, &none).iter() {
                assert!(row.iter().all(|value| value.is_finite() && *value >= 0.0), "{name}: {row:?}");
                assert!(row.is_sorted(), "{name}: {row:?}");
            }
        }
    }
}

#[test]
fn what_it_cannot_learn_from_is_refused() {
    let (grid, none, values) = (grid(), Covariates::default(), series(6));
    let mut pace = Pace::free();
    let refused = |values: &[f32], seasons: &[usize]| {
        let history = History { seasons, ..history(&grid, values, &none) };
        Lstm::fit(&history, &small(), &mut Pace::free()).unwrap_err()
    };
    assert!(matches!(refused(&values, &[]), FitError::Unsuitable(_)));
    assert!(matches!(refused(&values[..20], &[24]), FitError::TooLittleHistory { present: 20, .. }));
    assert!(matches!(refused(&[f32::NAN; 500], &[24]), FitError::TooLittleHistory { present: 0, .. }));
    assert!(matches!(refused(&[], &[24]), FitError::TooLittleHistory { .. }));
    assert!(fit_global(&[], &small(), &mut pace).is_err());
    let mut checkpoints = 0;
    let mut stop = || {
        checkpoints += 1;
        if checkpoints > 40 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let called_off = Lstm::fit(&history(&grid, &values, &none), &small(), &mut Pace::controlled(&mut stop));
    assert_eq!(called_off.unwrap_err(), FitError::CalledOff);
}
