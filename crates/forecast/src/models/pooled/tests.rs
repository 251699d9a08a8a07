//! Pooled autoregression on series with known coefficients, on odd input and on unseen series.

use std::time::Duration;

use super::*;
use crate::covariates::Covariates;
use crate::grid::Grid;
use crate::models::Model;
use crate::{Timestamp, score};

const SEASONS: [usize; 2] = [24, 168];

fn with_histories<T>(all: &[Vec<f32>], work: impl FnOnce(&[History<'_>]) -> T) -> T {
    let grid = Grid { origin: Timestamp::from_secs(0), step: Duration::from_secs(3600), zone: None };
    let covariates = Covariates::beginning(0);
    let histories: Vec<History<'_>> = all
        .iter()
        .map(|values| History {
            grid: &grid,
            first: 0,
            values,
            seasons: &SEASONS,
            covariates: &covariates,
            horizon: 24,
            non_negative: true,
        })
        .collect();
    work(&histories)
}

/// Two kinds: days that follow a weekly plan, and days that all look alike; each with its own level and noise.
fn workloads(seed: u64, len: usize) -> Vec<Vec<f32>> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..24)
        .map(|i| {
            let level = 10.0f32.powf(random.f32() * 3.0);
            let shift = random.f32() * 24.0;
            (0..len)
                .map(|t| {
                    let hour = ((t as f32 + shift) / 24.0 * std::f32::consts::TAU).sin();
                    let weekend = if i % 2 == 0 && (t / 24) % 7 >= 5 { 0.3 } else { 1.0 };
                    level * weekend * (2.0 + hour) * (1.0 + 0.1 * (random.f32() - 0.5))
                })
                .collect()
        })
        .collect()
}

#[test]
fn a_pool_learns_the_week_that_a_day_naive_forecast_misses_and_serves_a_series_it_never_saw() {
    let all = workloads(1, 720);
    let (known, unseen) = all.split_at(22);
    let cut = |all: &[Vec<f32>]| all.iter().map(|values| values[..600].to_vec()).collect::<Vec<_>>();
    let settings = PoolSettings::new(&SEASONS, 24);
    let pool =
        with_histories(&cut(known), |histories| Pool::fit(histories, &settings, &mut Pace::free())).unwrap();
    with_histories(&cut(unseen), |histories| {
        for (history, values) in histories.iter().zip(unseen) {
            let mut model = pool.attach(history, &mut Pace::free()).unwrap();
            let (mut ours, mut naive, mut inside) = (0.0, 0.0, 0.0);
            for origin in 600..696 {
                let said = model.forecast(24, &[0.05, 0.5, 0.95], history.covariates);
                for (h, row) in said.iter().enumerate() {
                    let actual = f64::from(values[origin + h]);
                    ours += (actual - row[1]).abs();
                    naive += (actual - f64::from(values[origin + h - 24])).abs();
                    inside += score::coverage([(actual, row[0], row[2])]).unwrap();
                }
                model.observe(values[origin], history.covariates);
            }
            assert!(ours < 0.85 * naive, "{ours} against {naive}");
            assert!((0.8..0.99).contains(&(inside / (96.0 * 24.0))), "{}", inside / (96.0 * 24.0));
        }
    });
}

#[test]
fn the_same_series_make_the_same_pool() {
    let all = workloads(2, 400);
    let settings = PoolSettings::new(&SEASONS, 24);
    let fit =
        || with_histories(&all, |histories| Pool::fit(histories, &settings, &mut Pace::free())).unwrap();
    assert_eq!(fit(), fit());
}

#[test]
fn odd_series_get_finite_rising_answers() {
    let mut gaps = workloads(3, 500).remove(0);
    gaps.iter_mut().skip(3).step_by(4).for_each(|value| *value = f32::NAN);
    let mut steps = vec![1.0; 500];
    steps[400..].fill(1e6);
    let sparse = (0..500).map(|t| if t % 97 == 0 { 5.0 } else { 0.0 }).collect();
    let huge = (0..500).map(|t| if t % 2 == 0 { f32::MAX } else { 0.0 }).collect();
    let negative = (0..500).map(|t| (t % 24) as f32 - 12.0).collect();
    let mut all = workloads(4, 500);
    let odd =
        vec![gaps, steps, sparse, huge, negative, vec![7.0; 500], vec![0.0; 500], vec![3.0], vec![1.0; 30]];
    all.extend(odd.clone());
    all.push(vec![f32::NAN; 500]);
    let settings = PoolSettings::new(&SEASONS, 24);
    let shared =
        with_histories(&all, |histories| Pool::fit(histories, &settings, &mut Pace::free())).unwrap();
    with_histories(&odd, |histories| {
        for (i, history) in histories.iter().enumerate() {
            let alone = Pool::fit(&[*history], &settings, &mut Pace::free());
            for pool in [Some(&shared), alone.as_ref().ok()].into_iter().flatten() {
                let mut model = pool.attach(history, &mut Pace::free()).unwrap();
                for value in [f32::NAN, 1.0, -1.0, 1e30, f32::INFINITY, f32::NAN] {
                    model.observe(value, history.covariates);
                    let said = model.forecast(60, &[0.01, 0.5, 0.99], history.covariates);
                    assert!(
                        said.len() == 60 && said.iter().flatten().all(|v| v.is_finite() && *v >= 0.0),
                        "{i}"
                    );
                    assert!(said.iter().all(|row| row[0] <= row[1] && row[1] <= row[2]), "series {i}");
                }
            }
        }
    });
    let nothing = vec![vec![f32::NAN; 500], Vec::new()];
    with_histories(&nothing, |histories| {
        assert!(Pool::fit(histories, &settings, &mut Pace::free()).is_err());
        assert!(histories.iter().all(|history| shared.attach(history, &mut Pace::free()).is_err()));
    });
}
