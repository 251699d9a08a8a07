//! What a forest promises, over the whole way from rows to answers.

use std::ops::ControlFlow;

use super::{Forest, Matrix, Params};
use crate::models::{FitError, Pace};

const TAUS: [f64; 3] = [0.1, 0.5, 0.9];

/// Rows of two features; the target's middle and spread both depend on them.
fn sample(rows: usize, seed: u64) -> (Matrix, Vec<f32>, Vec<[f32; 2]>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let features: Vec<[f32; 2]> = (0..rows).map(|_| [rng.f32(), rng.f32()]).collect();
    let targets = features.iter().map(|x| middle(x) + spread(x) * (rng.f32() - 0.5)).collect();
    let column = |place: usize| features.iter().map(|x| x[place]).collect();
    (Matrix::new(vec![column(0), column(1)]).unwrap(), targets, features)
}

fn middle(x: &[f32; 2]) -> f32 {
    if x[0] < 0.3 { 10.0 } else { 20.0 * x[1] }
}

fn spread(x: &[f32; 2]) -> f32 {
    1.0 + 4.0 * x[0]
}

fn fit(matrix: &Matrix, targets: &[f32], params: &Params) -> Result<Forest, FitError> {
    Forest::fit(matrix, targets, None, &TAUS, params, &mut Pace::free())
}

#[test]
fn quantiles_of_a_known_distribution_are_found() {
    let (matrix, targets, _) = sample(8000, 1);
    let forest = fit(&matrix, &targets, &Params::default()).unwrap();
    let (_, _, fresh) = sample(500, 2);
    let mut worst = [0.0f32; 3];
    for x in &fresh {
        let mut out = [0.0; 3];
        forest.predict(x, &mut out);
        for ((worst, tau), out) in worst.iter_mut().zip(TAUS).zip(out) {
            let truth = middle(x) + spread(x) * (tau as f32 - 0.5);
            *worst += (out - truth).abs() / fresh.len() as f32;
        }
    }
    // The spread is 1 to 5: an error of 0.4 is a tenth of it.
    assert!(worst.iter().all(|&error| error < 0.4), "{worst:?}");
}

#[test]
fn the_same_rows_give_the_same_forest_and_its_answers_never_fall_where_the_quantile_rises() {
    let (matrix, targets, _) = sample(600, 3);
    let forest = fit(&matrix, &targets, &Params { rounds: 60, ..Params::default() }).unwrap();
    let again = fit(&matrix, &targets, &Params { rounds: 60, ..Params::default() }).unwrap();
    assert_eq!(forest, again);
    let mut rng = fastrand::Rng::with_seed(4);
    for _ in 0..200 {
        let (mut out, row) = ([0.0; 3], [rng.f32() * 3.0 - 1.0, rng.f32() * 3.0 - 1.0]);
        forest.predict(&row, &mut out);
        assert!(out.is_sorted(), "{out:?}");
    }
}

#[test]
fn missing_features_go_where_they_went_in_training() {
    let missing: Vec<f32> = (0..400).map(|i| if i % 2 == 0 { f32::NAN } else { (i % 7) as f32 }).collect();
    let targets: Vec<f32> = (0..400).map(|i| if i % 2 == 0 { 50.0 } else { 1.0 }).collect();
    let matrix = Matrix::new(vec![missing]).unwrap();
    let forest = fit(&matrix, &targets, &Params::default()).unwrap();
    let mut out = [0.0; 3];
    forest.predict(&[f32::NAN], &mut out);
    assert!((out[1] - 50.0).abs() < 0.1, "{out:?}");
    // A row that is too short lacks the feature.
    forest.predict(&[], &mut out);
    assert!((out[1] - 50.0).abs() < 0.1, "{out:?}");
    forest.predict(&[3.0], &mut out);
    assert!((out[1] - 1.0).abs() < 0.1, "{out:?}");
}

#[test]
fn categories_need_no_order() {
    let mut rng = fastrand::Rng::with_seed(5);
    // Odd categories are dear and even ones cheap: no single threshold on the code tells them apart.
    let codes: Vec<f32> = (0..3000).map(|_| rng.usize(..40) as f32).collect();
    let targets: Vec<f32> = codes.iter().map(|code| if code % 2.0 == 1.0 { 9.0 } else { 2.0 }).collect();
    let matrix = Matrix::new(vec![codes]).unwrap().categorical(0);
    let params = Params { rounds: 60, leaves: 2, learning_rate: 0.1, ..Params::default() };
    let forest = fit(&matrix, &targets, &params).unwrap();
    let mut out = [0.0; 3];
    for code in 0..40 {
        forest.predict(&[code as f32], &mut out);
        let truth = if code % 2 == 1 { 9.0 } else { 2.0 };
        assert!((out[1] - truth).abs() < 0.1, "{code}: {out:?}");
    }
    forest.predict(&[99.0], &mut out);
    assert!(out.iter().all(|out| (2.0..=9.0).contains(out)), "{out:?}");
}

#[test]
fn weights_count_as_so_many_rows() {
    let column: Vec<f32> = vec![0.0; 300];
    let targets: Vec<f32> = (0..300).map(|i| if i < 100 { 7.0 } else { 1.0 }).collect();
    let weights: Vec<f32> = (0..300).map(|i| if i < 100 { 10.0 } else { 1.0 }).collect();
    let matrix = Matrix::new(vec![column]).unwrap();
    let (params, mut out) = (Params::default(), [0.0; 3]);
    let forest = Forest::fit(&matrix, &targets, Some(&weights), &TAUS, &params, &mut Pace::free()).unwrap();
    forest.predict(&[0.0], &mut out);
    assert_eq!(out[1], 7.0);
    let even = fit(&matrix, &targets, &params).unwrap();
    even.predict(&[0.0], &mut out);
    assert_eq!(out[1], 1.0);
}

#[test]
fn growth_ends_when_held_out_rows_gain_nothing_more() {
    let mut rng = fastrand::Rng::with_seed(6);
    let noise: Vec<f32> = (0..2000).map(|_| rng.f32()).collect();
    let targets: Vec<f32> = (0..2000).map(|_| rng.f32()).collect();
    let matrix = Matrix::new(vec![noise]).unwrap();
    let params = Params { held_out: 0.25, rounds: 300, ..Params::default() };
    let forest = fit(&matrix, &targets, &params).unwrap();
    assert!(forest.len() < 60, "{} trees on noise", forest.len());
    let mut out = [0.0; 3];
    forest.predict(&[0.5], &mut out);
    assert!(out.iter().zip(TAUS).all(|(out, tau)| (out - tau as f32).abs() < 0.15), "{out:?}");

    let (matrix, targets, _) = sample(2000, 7);
    let forest = fit(&matrix, &targets, &params).unwrap();
    assert!(forest.len() > 20, "{} trees on signal", forest.len());
}

#[test]
fn training_can_be_called_off() {
    let (matrix, targets, _) = sample(500, 8);
    let mut steps = 0;
    let mut stop = || {
        steps += 1;
        if steps > 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let pace = &mut Pace::controlled(&mut stop);
    let fitted = Forest::fit(&matrix, &targets, None, &TAUS, &Params::default(), pace);
    assert_eq!(fitted.unwrap_err(), FitError::CalledOff);
}

#[test]
fn bad_input_has_a_clear_answer_and_no_number_escapes_that_is_none() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE];
    let mut rng = fastrand::Rng::with_seed(9);
    for round in 0..60 {
        let rows = [0, 1, 39, 40, 41, 500][round % 6];
        let mut pick = |share: f32| if rng.f32() < share { odd[rng.usize(..odd.len())] } else { rng.f32() };
        let columns = (0..round % 4).map(|_| (0..rows).map(|_| pick(0.5)).collect()).collect();
        let targets: Vec<f32> = (0..rows).map(|_| pick(0.3)).collect();
        let weights: Vec<f32> = (0..rows).map(|_| pick(0.2)).collect();
        let matrix = Matrix::new(columns).unwrap().categorical(round % 3);
        let params = Params {
            rows: pick(0.5),
            lambda: pick(0.5),
            learning_rate: pick(0.5),
            columns: pick(0.5),
            held_out: pick(0.5),
            rounds: 10,
            bins: round,
            ..Params::default()
        };
        match Forest::fit(&matrix, &targets, Some(&weights), &TAUS, &params, &mut Pace::free()) {
            Ok(forest) => {
                let mut out = [0.0; 3];
                forest.predict(&[pick(0.9), pick(0.9), pick(0.9)], &mut out);
                assert!(out.iter().all(|out| out.is_finite()), "{out:?} in round {round}");
            }
            Err(error) => assert!(matches!(error, FitError::TooLittleHistory { .. }), "{error}"),
        }
    }
    let (matrix, targets, _) = sample(100, 10);
    for taus in [&[][..], &[0.5, 0.5], &[0.0], &[f64::NAN]] {
        let fitted = Forest::fit(&matrix, &targets, None, taus, &Params::default(), &mut Pace::free());
        assert!(matches!(fitted, Err(FitError::Unsuitable(_))));
    }
    assert!(fit(&matrix, &targets[1..], &Params::default()).is_err());
    assert!(Matrix::new(vec![vec![0.0], vec![]]).is_err());
}
