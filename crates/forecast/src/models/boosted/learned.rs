//! What is learned from histories: a linear baseline, forests for what it leaves over, and how much their quantiles have
//! to be stretched.
//!
//! Seasons (days) are split in two halves, and each half has a forest. Every row is judged by the forest that has not seen
//! its day; answers are the mean of both. So all rows serve for growing and for calibration (cross-conformal prediction,
//! Vovk 2015, on quantiles as Romano, Patterson and Candes 2019), and the mean of two is steadier than one.

use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::features::Row;
use super::sampling::{self, Rows};
use super::{Params, TAUS};
use crate::models::{FitError, History, Pace};
use crate::trees::{Forest, Matrix, Weighted, weighted_quantile};

/// Learned from one series or from several; forecasts none until it is attached to one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Names of the covariates that are features.
    pub(super) names: Vec<String>,
    /// Whether traits of the series are features.
    pub(super) several: bool,
    baseline: Baseline,
    forests: Vec<Forest>,
    /// By distance and quantile.
    stretches: [[f32; TAUS.len()]; DISTANCES],
}

/// Distances ahead that are calibrated each on their own: up to an hour of a day, up to six, farther.
const DISTANCES: usize = 3;

fn place_of(distance: f32) -> usize {
    usize::from(distance > 1.0) + usize::from(distance > 6.0)
}

/// Most forests of a model.
const FOLDS_MAX: usize = 8;

/// Place of the median.
const MIDDLE: usize = 2;

impl Learned {
    /// Learns from several histories together.
    ///
    /// # Errors
    /// [`FitError`]: no history, too few values in all of them, or called off.
    pub fn fit(histories: &[History<'_>], params: &Params, pace: &mut Pace<'_>) -> Result<Learned, FitError> {
        let Some(first) = histories.first() else {
            return Err(FitError::TooLittleHistory { present: 0, needed: 1 });
        };
        let names = first.covariates.names().to_vec();
        let mut rows = sampling::draw(histories, &names, params, pace)?;
        let baseline = Baseline::fit(&rows.linear, &rows.targets);
        pace.checkpoint()?;
        let middles: Vec<f32> = rows.linear.iter().map(|row| baseline.answer(row)).collect();
        let left: Vec<f32> =
            rows.targets.iter().zip(&middles).map(|(target, middle)| target - middle).collect();
        let mut columns = std::mem::take(&mut rows.columns);
        columns.push(middles);
        let matrix = Matrix::new(columns)?;
        let mut trees = params.trees.clone();
        trees.run = rows.run();
        let folds = params.folds.clamp(1, FOLDS_MAX);
        let mut forests = Vec::with_capacity(folds);
        for fold in 0..folds as u32 {
            let seen = |row: usize| folds == 1 || rows.blocks[row] % folds as u32 != fold;
            let targets: Vec<f32> =
                left.iter().enumerate().map(|(row, &left)| if seen(row) { left } else { f32::NAN }).collect();
            trees.seed = params.trees.seed.wrapping_add(u64::from(fold));
            forests.push(Forest::fit(&matrix, &targets, None, &TAUS, &trees, pace)?);
        }
        let mut stretches = [[1.0; TAUS.len()]; DISTANCES];
        if folds > 1 {
            stretches = calibrate(&rows, &matrix, &left, &forests);
        }
        Ok(Learned { names, several: histories.len() > 1, baseline, forests, stretches })
    }

    /// Quantiles of a row of features, in units of the level: rising, finite. The baseline joins the row's features.
    pub(super) fn answer(&self, row: &mut Row, distance: f32) -> [f32; TAUS.len()] {
        let middle = self.baseline.answer(&row.linear);
        row.trees.push(middle);
        let mut sums = [0.0; TAUS.len()];
        let mut out = [0.0; TAUS.len()];
        for forest in &self.forests {
            forest.predict(&row.trees, &mut out);
            for (sum, out) in sums.iter_mut().zip(out) {
                *sum += out / self.forests.len() as f32;
            }
        }
        let median = sums[MIDDLE];
        let stretches = &self.stretches[place_of(distance)];
        let mut answer = std::array::from_fn(|tau| middle + median + stretches[tau] * (sums[tau] - median));
        answer.sort_unstable_by(f32::total_cmp);
        answer
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Learned>() + self.forests.iter().map(Forest::bytes).sum::<usize>()
    }
}

/// How much farther from the median each quantile has to lie for unseen days to fall below it as often as it says.
fn calibrate(
    rows: &Rows,
    matrix: &Matrix,
    left: &[f32],
    forests: &[Forest],
) -> [[f32; TAUS.len()]; DISTANCES] {
    let mut ratios: [[Vec<Weighted>; TAUS.len()]; DISTANCES] = Default::default();
    let mut out = [0.0; TAUS.len()];
    for (row, &left) in left.iter().enumerate() {
        forests[rows.blocks[row] as usize % forests.len()].predict(&matrix.row(row), &mut out);
        let ratios = &mut ratios[place_of(rows.distances[row])];
        for (ratios, said) in ratios.iter_mut().zip(out) {
            let ratio = (left - out[MIDDLE]) / (said - out[MIDDLE]);
            if ratio.is_finite() {
                ratios.push(Weighted::new(ratio, 1.0));
            }
        }
    }
    ratios.map(|of_distance| {
        let mut of_distance = of_distance.into_iter().zip(TAUS);
        std::array::from_fn(|_| {
            let Some((mut ratios, tau)) = of_distance.next() else { return 1.0 };
            if ratios.len() < RATIOS_MIN {
                return 1.0;
            }
            weighted_quantile(&mut ratios, tau.max(1.0 - tau) as f32).clamp(STRETCH_MIN, STRETCH_MAX)
        })
    })
}

/// Fewest rows that a stretch is taken from, and its bounds.
const RATIOS_MIN: usize = 100;
const STRETCH_MIN: f32 = 0.7;
const STRETCH_MAX: f32 = 4.0;
