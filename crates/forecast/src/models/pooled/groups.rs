//! Sorting series into groups that share one linear model: regression by classes (Späth 1979).
//!
//! Every series joins the group whose model predicts its own past best; every group is fitted to its members; repeated. It
//! begins with one group and splits each into those that it serves well and badly, so no random start is needed.

use super::lens::{Lens, Scale};
use super::linear::{Coefficients, Products};
use crate::models::{FitError, Pace};

/// A series as the grouping sees it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) blocks: Vec<f32>,
    pub(super) scale: Scale,
}

/// Weights that make squared errors behave like absolute ones: a window that the pilot model misses by much counts less.
pub(super) fn weights(pilot: &Coefficients, rows: &[f32], inputs: usize) -> Vec<f32> {
    let outputs = pilot.outputs();
    let mut said = vec![0.0; outputs];
    rows.chunks_exact(inputs + outputs)
        .map(|row| 1.0 / mean_error(pilot, row, inputs, &mut said).max(ERROR_MIN))
        .collect()
}

/// Mean absolute error of `model` over rows. `None` without rows.
pub(super) fn loss(model: &Coefficients, rows: &[f32], inputs: usize) -> Option<f64> {
    let width = inputs + model.outputs();
    let mut said = vec![0.0; model.outputs()];
    let sum: f64 =
        rows.chunks_exact(width).map(|row| f64::from(mean_error(model, row, inputs, &mut said))).sum();
    let n = rows.len() / width;
    (n > 0).then(|| sum / n as f64)
}

fn mean_error(model: &Coefficients, row: &[f32], inputs: usize, said: &mut [f32]) -> f32 {
    model.apply(&row[..inputs], said);
    let sum: f32 = said.iter().zip(&row[inputs..]).map(|(said, actual)| (actual - said).abs()).sum();
    sum / said.len().max(1) as f32
}

/// The blocks ahead that grouping looks at: a few say as much as all.
pub(super) fn glimpses(ahead: usize) -> Vec<usize> {
    let mut glimpses: Vec<usize> =
        [1, 3, 6, 12, 18, 24, 36, 48].into_iter().filter(|&h| h < ahead).map(|h| h - 1).collect();
    glimpses.push(ahead - 1);
    glimpses
}

/// Fits one model to everyone, to weigh windows by.
pub(super) fn pilot(
    lens: Lens,
    members: &[Member],
    wanted: &[usize],
    ridge: f64,
    pace: &mut Pace<'_>,
) -> Result<Option<Coefficients>, FitError> {
    let mut total = Products::<f64>::zeros(lens.inputs(), wanted.len());
    for member in members {
        pace.checkpoint()?;
        let rows = lens.rows(&member.blocks, member.scale, PILOT_STRIDE, wanted);
        let mut own = Products::<f32>::zeros(lens.inputs(), wanted.len());
        own.add_rows(&rows, &vec![1.0; rows.len() / (lens.inputs() + wanted.len())]);
        total.add(&own);
    }
    Ok(total.solve(ridge))
}

/// Sorts `members` into at most `groups` groups; the group of each.
pub(super) fn sort(
    lens: Lens,
    members: &[Member],
    groups: usize,
    ridge: f64,
    pace: &mut Pace<'_>,
) -> Result<Vec<usize>, FitError> {
    let wanted = glimpses(lens.ahead);
    let mut of = vec![0; members.len()];
    let Some(pilot) = pilot(lens, members, &wanted, ridge, pace)? else { return Ok(of) };
    let (inputs, width) = (lens.inputs(), lens.inputs() + wanted.len());
    let mut sums = Vec::with_capacity(members.len());
    let mut samples = Vec::with_capacity(members.len());
    for member in members {
        pace.checkpoint()?;
        let rows = lens.rows(&member.blocks, member.scale, FIT_STRIDE, &wanted);
        let mut own = Products::<f32>::zeros(inputs, wanted.len());
        own.add_rows(&rows, &weights(&pilot, &rows, inputs));
        sums.push(own);
        samples
            .push(rows.chunks_exact(width).step_by(SAMPLE_STRIDE).flatten().copied().collect::<Vec<f32>>());
    }
    let mut models = vec![pilot];
    while models.len() < groups {
        split(&mut of, &models, &samples, inputs);
        for _ in 0..ROUNDS {
            let before = of.clone();
            models = fit_groups(&of, &sums, (inputs, wanted.len()), ridge, pace)?;
            if models.is_empty() {
                return Ok(vec![0; members.len()]);
            }
            for (of, sample) in of.iter_mut().zip(&samples) {
                pace.checkpoint()?;
                *of = nearest(&models, sample, inputs);
            }
            if of == before {
                break;
            }
        }
    }
    Ok(of)
}

/// The model with the smallest error over `rows`; the first without rows.
pub(super) fn nearest(models: &[Coefficients], rows: &[f32], inputs: usize) -> usize {
    let losses = models.iter().map(|model| loss(model, rows, inputs).unwrap_or(0.0));
    losses.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(place, _)| place)
}

/// The mean of `models` that suits `rows` best, each weighed by a power of how small its error is. A mixture of linear
/// models is one again.
pub(super) fn mixture(models: &[Coefficients], rows: &[f32], inputs: usize) -> Coefficients {
    let losses: Vec<f64> =
        models.iter().map(|model| loss(model, rows, inputs).unwrap_or(1.0).max(f64::MIN_POSITIVE)).collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let weights: Vec<f64> = losses.iter().map(|loss| (least / loss).powi(SHARPNESS)).collect();
    let total: f64 = weights.iter().sum();
    Coefficients::mean(models, weights.iter().map(|weight| weight / total))
}

/// Gives the worse served half of every group a group of its own.
fn split(of: &mut [usize], models: &[Coefficients], samples: &[Vec<f32>], inputs: usize) {
    let losses: Vec<f64> =
        of.iter().zip(samples).map(|(&of, rows)| loss(&models[of], rows, inputs).unwrap_or(0.0)).collect();
    for group in 0..models.len() {
        let mut own: Vec<usize> = (0..of.len()).filter(|&i| of[i] == group).collect();
        own.sort_by(|&a, &b| losses[a].total_cmp(&losses[b]).then(a.cmp(&b)));
        for &worse in &own[own.len().div_ceil(2)..] {
            of[worse] = group + models.len();
        }
    }
}

/// Fits every group that has members, and renumbers them without gaps.
fn fit_groups(
    of: &[usize],
    sums: &[Products<f32>],
    (inputs, outputs): (usize, usize),
    ridge: f64,
    pace: &mut Pace<'_>,
) -> Result<Vec<Coefficients>, FitError> {
    let mut models = Vec::new();
    for group in 0..=of.iter().copied().max().unwrap_or(0) {
        let mut total = Products::<f64>::zeros(inputs, outputs);
        for (_, own) in of.iter().zip(sums).filter(|&(&of, _)| of == group) {
            total.add(own);
        }
        pace.checkpoint()?;
        models.extend(total.solve(ridge));
    }
    Ok(models)
}

/// Smallest error, in spreads, that weights tell apart.
const ERROR_MIN: f32 = 0.05;
/// Power that weighs models in a mixture: one that is a tenth worse counts a third.
const SHARPNESS: i32 = 12;
/// Every how many windows the pilot is fitted to.
const PILOT_STRIDE: usize = 7;
/// Every how many windows the groups are fitted to while they are being found.
const FIT_STRIDE: usize = 3;
/// Every how many of those a series is judged by.
const SAMPLE_STRIDE: usize = 3;
/// Most rounds of joining and fitting after each split.
const ROUNDS: usize = 5;
