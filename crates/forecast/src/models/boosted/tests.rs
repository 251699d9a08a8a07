//! What boosted models promise over the whole way from a history to a forecast.

use std::time::Duration;

use super::{Arc, Boosted, Learned, Params};
use crate::Timestamp;
use crate::covariates::Covariates;
use crate::grid::Grid;
use crate::models::{FitError, History, Model, Pace};
use crate::score::pinball;
use crate::trees;

const DAY: usize = 24;
const QUANTILES: [f64; 5] = [0.05, 0.5, 0.9, 0.95, 0.99];

fn grid() -> Grid {
    Grid {
        origin: Timestamp::from_secs(1_700_000_000 / 86_400 * 86_400),
        step: Duration::from_secs(3600),
        zone: None,
    }
}

fn quick() -> Params {
    let trees = trees::Params { rounds: 30, ..Params::default().trees };
    Params { rows: 1500, trees, ..Params::default() }
}

fn history<'a>(grid: &'a Grid, values: &'a [f32], covariates: &'a Covariates) -> History<'a> {
    let seasons = &[DAY, 7 * DAY];
    History { grid, first: 0, values, seasons, covariates, horizon: DAY, non_negative: true }
}

/// Days with a peak, lower at weekends, with noise.
fn demand(days: usize, size: f32, seed: u64) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let hour = |i: usize| {
        let day = (1.0 - ((i % DAY) as f32 / 24.0 * std::f32::consts::TAU).cos()) * 0.5;
        let weekend = if (i / DAY) % 7 >= 5 { 0.5 } else { 1.0 };
        weekend * (0.3 + day)
    };
    (0..days * DAY).map(|i| size * hour(i) * (0.9 + 0.2 * rng.f32())).collect()
}

fn loss(said: &crate::Values, truth: &[f32]) -> f64 {
    let of = |(row, &actual): (&[f64], &f32)| {
        let losses = row.iter().zip(QUANTILES);
        losses.map(|(&said, tau)| pinball(tau, f64::from(actual), said)).sum::<f64>()
    };
    said.iter().zip(truth).map(of).sum()
}

#[test]
fn a_day_ahead_is_better_than_last_week_and_inside_its_interval() {
    let (grid, none) = (grid(), Covariates::default());
    let values = demand(43, 1000.0, 1);
    let (known, truth) = values.split_at(42 * DAY);
    let model = Boosted::fit(&history(&grid, known, &none), &Params::default(), &mut Pace::free()).unwrap();
    let said = model.forecast(DAY, &QUANTILES, &none);
    let naive: f64 = truth.iter().zip(&known[35 * DAY..]).map(|(a, b)| f64::from((a - b).abs())).sum();
    let ours: f64 = said.iter().zip(truth).map(|(row, &a)| (row[1] - f64::from(a)).abs()).sum();
    assert!(ours < 0.9 * naive, "{ours} against {naive}");
    let inside = said.iter().zip(truth).filter(|(row, a)| (row[0]..=row[3]).contains(&f64::from(**a)));
    assert!(inside.count() >= 18);
}

#[test]
fn following_a_series_is_the_same_as_knowing_it_and_nothing_later_is_used() {
    let (grid, none) = (grid(), Covariates::default());
    let values = demand(42, 50.0, 2);
    let learned = Learned::fit(&[history(&grid, &values[..30 * DAY], &none)], &quick(), &mut Pace::free());
    let learned = Arc::new(learned.unwrap());
    let mut follower = Boosted::attach(learned.clone(), &history(&grid, &values[..36 * DAY], &none));
    for &value in &values[36 * DAY..36 * DAY + 100] {
        follower.observe(value, &none);
    }
    let knowing = Boosted::attach(learned, &history(&grid, &values[..36 * DAY + 100], &none));
    assert_eq!(follower.forecast(30, &QUANTILES, &none), knowing.forecast(30, &QUANTILES, &none));
    assert!(follower.bytes() < 300_000, "{}", follower.bytes());
}

#[test]
fn a_shift_of_the_level_is_followed_without_a_refit() {
    let (grid, none) = (grid(), Covariates::default());
    let mut values = demand(45, 100.0, 3);
    values[42 * DAY..].iter_mut().for_each(|value| *value *= 1.6);
    let mut model =
        Boosted::fit(&history(&grid, &values[..42 * DAY], &none), &quick(), &mut Pace::free()).unwrap();
    for &value in &values[42 * DAY..44 * DAY] {
        model.observe(value, &none);
    }
    let said = model.forecast(DAY, &QUANTILES, &none);
    let ratio = |(row, &actual): (&[f64], &f32)| row[1] / f64::from(actual);
    let mean = said.iter().zip(&values[44 * DAY..]).map(ratio).sum::<f64>() / DAY as f64;
    // Last week alone would be 0.625.
    assert!((0.75..1.1).contains(&mean), "{mean}");
}

#[test]
fn a_covariate_known_ahead_is_used() {
    let grid = grid();
    let mut rng = fastrand::Rng::with_seed(4);
    let mut values = demand(60, 100.0, 5);
    let rain: Vec<f32> = (0..61).flat_map(|_| [f32::from(u8::from(rng.f32() < 0.3)); DAY]).collect();
    for (value, rain) in values.iter_mut().zip(&rain) {
        *value *= 1.0 - 0.5 * rain;
    }
    let forecast = |rain_ahead: f32| {
        let mut covariates = Covariates::beginning(0);
        let mut known = rain.clone();
        known[60 * DAY..].fill(rain_ahead);
        covariates.add("rain", known).unwrap();
        let history = history(&grid, &values, &covariates);
        let model = Boosted::fit(&history, &Params::default(), &mut Pace::free()).unwrap();
        model.forecast(DAY, &QUANTILES, &covariates).iter().map(|row| row[1]).sum::<f64>()
    };
    let (wet, dry) = (forecast(1.0), forecast(0.0));
    assert!(wet < 0.75 * dry, "{wet} against {dry}");
    assert!(forecast(f32::NAN).is_finite());
}

#[test]
fn what_many_series_taught_serves_one_with_little_history() {
    let (grid, none) = (grid(), Covariates::default());
    let many: Vec<Vec<f32>> = (0..6).map(|i| demand(35, 10.0f32.powi(i as i32 - 2), i)).collect();
    let histories: Vec<History<'_>> = many.iter().map(|values| history(&grid, values, &none)).collect();
    let params = Params { rows: 4000, ..quick() };
    let learned = Arc::new(Learned::fit(&histories, &params, &mut Pace::free()).unwrap());
    let values = demand(11, 7.0, 99);
    let (known, truth) = values.split_at(10 * DAY);
    let said = Boosted::attach(learned, &history(&grid, known, &none)).forecast(DAY, &QUANTILES, &none);
    let alone = Boosted::fit(&history(&grid, known, &none), &params, &mut Pace::free()).unwrap();
    let alone = alone.forecast(DAY, &QUANTILES, &none);
    assert!(loss(&said, truth) < loss(&alone, truth));
}

#[test]
fn bad_histories_have_a_clear_answer_and_no_number_escapes_that_is_none() {
    let (grid, none) = (grid(), Covariates::default());
    let mut odd = demand(30, 5.0, 7);
    odd.iter_mut().step_by(3).for_each(|value| *value = f32::NAN);
    odd[100] = f32::INFINITY;
    odd[200] = f32::MAX;
    odd[300] = -f32::MAX;
    let histories = [
        vec![],
        vec![1.0],
        vec![f32::NAN; 500],
        vec![0.0; 500],
        vec![7.0; 500],
        vec![f32::MAX; 500],
        vec![1e-38; 500],
        (0..500).map(|i| if i % 97 == 0 { 1.0 } else { 0.0 }).collect(),
        odd,
    ];
    for values in &histories {
        for seasons in [&[][..], &[24, 168], &[5], &[100_000]] {
            let history = History { seasons, ..history(&grid, values, &none) };
            match Boosted::fit(&history, &quick(), &mut Pace::free()) {
                Ok(mut model) => {
                    for value in [f32::NAN, f32::INFINITY, -5.0, f32::MAX, 0.0] {
                        model.observe(value, &none);
                        let said = model.forecast(60, &[0.0, 0.001, 0.5, 0.999, 1.0, f64::NAN], &none);
                        for row in said.iter() {
                            assert!(row.iter().all(|value| value.is_finite() && *value >= 0.0), "{row:?}");
                            assert!(row[..5].is_sorted(), "{row:?}");
                        }
                    }
                }
                Err(FitError::TooLittleHistory { present, needed }) => assert!(present < needed),
                Err(error) if history.is_idle() => {
                    assert!(error.to_string().contains("every value is zero"), "{error}");
                }
                Err(error) => assert!(error.to_string().contains("too little to learn from"), "{error}"),
            }
        }
    }
    let constant = Boosted::fit(&history(&grid, &histories[4], &none), &quick(), &mut Pace::free()).unwrap();
    let said = constant.forecast(5, &QUANTILES, &none);
    assert!(said.iter().flatten().all(|value| (value - 7.0).abs() < 0.01), "{said:?}");
    assert!(Learned::fit(&[], &quick(), &mut Pace::free()).is_err());
}
