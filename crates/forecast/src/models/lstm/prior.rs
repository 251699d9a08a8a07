//! Where training starts: the best straight line from the features of a future step to its value.
//!
//! Least absolute deviations with a ridge, by reweighted least squares (Schlossmacher 1973). It costs a few milliseconds
//! and says most of what there is to say; gradient steps would need hundreds to get there.

use super::network::{Batch, Shape};

/// A line: a slope for each feature, and the quantiles of what it leaves.
#[derive(Clone, Debug)]
pub(super) struct Line {
    slopes: Vec<f64>,
    rows: Vec<(f64, f64, f64)>,
}

impl Line {
    /// Fits the targets of a batch.
    pub(super) fn fit(features: usize, batch: &Batch<f32>) -> Line {
        let width = features + 1;
        let mut slopes = vec![0.0; width];
        let rows = || {
            let numbers = batch.features.chunks_exact(features).zip(batch.targets.iter().zip(&batch.weights));
            numbers
                .filter(|(_, (_, weight))| **weight > 0.0)
                .map(|(row, (&target, &weight))| (row, target, weight))
        };
        let said = |slopes: &[f64], row: &[f32]| {
            let sum: f64 = row.iter().zip(slopes).map(|(&x, slope)| f64::from(x) * slope).sum();
            sum + slopes[features]
        };
        for round in 0..ROUNDS {
            let mut left = vec![0.0; width * width];
            let mut right = vec![0.0; width];
            let mut total = 0.0;
            for (row, target, weight) in rows() {
                let error = f64::from(target) - said(&slopes, row);
                let weight = f64::from(weight) / if round == 0 { 1.0 } else { error.abs().max(SMALL_ERROR) };
                total += weight;
                for i in 0..width {
                    let x = weight * row.get(i).map_or(1.0, |&x| f64::from(x));
                    right[i] += x * f64::from(target);
                    for j in 0..=i {
                        left[i * width + j] += x * row.get(j).map_or(1.0, |&x| f64::from(x));
                    }
                }
            }
            for i in 0..width {
                left[i * width + i] += if i < features { RIDGE * total + 1e-9 } else { 1e-9 };
            }
            match solve(&mut left, &right) {
                Some(solution) => slopes = solution,
                None => break,
            }
        }
        let mut line = Line { rows: Vec::new(), slopes };
        line.rows = rows()
            .map(|(row, target, weight)| {
                (said(&line.slopes, row) - line.slopes[features], f64::from(target), f64::from(weight))
            })
            .collect();
        line
    }

    /// Writes `share` of the line into the last layer, with intercepts at the quantiles of what it leaves.
    pub(super) fn write(&self, share: f64, taus: &[f64], shape: Shape, weights: &mut [f32]) {
        let place = shape.intercepts();
        let begin = place.start - shape.features * shape.outputs;
        for (i, slope) in self.slopes.iter().take(shape.features).enumerate() {
            weights[begin + i * shape.outputs..][..shape.outputs].fill((share * slope) as f32);
        }
        let mut left: Vec<(f64, f64)> =
            self.rows.iter().map(|&(said, target, weight)| (target - share * said, weight)).collect();
        left.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = left.iter().map(|row| row.1).sum();
        for (slot, &tau) in weights[place].iter_mut().zip(taus) {
            let mut below = 0.0;
            let found = left.iter().find(|row| {
                below += row.1;
                below >= tau * total
            });
            *slot = found.map_or(0.0, |row| row.0 as f32);
        }
    }
}

/// Solves a symmetric positive definite system given by its lower half (Cholesky); `None` when it is not.
fn solve(left: &mut [f64], right: &[f64]) -> Option<Vec<f64>> {
    let n = right.len();
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| left[i * n + k] * left[j * n + k]).sum();
            let rest = left[i * n + j] - sum;
            if i == j {
                if !(rest > 0.0 && rest.is_finite()) {
                    return None;
                }
                left[i * n + i] = rest.sqrt();
            } else {
                left[i * n + j] = rest / left[j * n + j];
            }
        }
    }
    let mut x = right.to_vec();
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| left[i * n + k] * x[k]).sum();
        x[i] = (x[i] - sum) / left[i * n + i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| left[k * n + i] * x[k]).sum();
        x[i] = (x[i] - sum) / left[i * n + i];
    }
    x.iter().all(|x| x.is_finite()).then_some(x)
}

/// Rounds of reweighting.
const ROUNDS: usize = 6;
/// Errors below this many units count as this many.
const SMALL_ERROR: f64 = 0.1;
/// Pulls slopes to zero: this share of the weight of all rows, for features of about one unit.
const RIDGE: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_among_outliers() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut batch = Batch { windows: 1, ..Batch::default() };
        for i in 0..2000 {
            let row = [random.f32() - 0.5, 4.0 * (random.f32() - 0.5)];
            let noise = if i % 10 == 0 { 25.0 } else { 0.2 * (random.f32() - 0.5) };
            batch.targets.push(row[0] * 2.0 - row[1] * 0.5 + 1.0 + noise);
            batch.features.extend(row);
            batch.weights.push(1.0);
        }
        let line = Line::fit(2, &batch);
        assert!(
            (line.slopes[1] + 0.5).abs() < 0.05 && (line.slopes[2] - 1.0).abs() < 0.1,
            "{:?}",
            line.slopes
        );
        let shape = Shape { inputs: 1, features: 2, hidden: 1, middle: 1, outputs: 2 };
        let mut weights = vec![0.0; shape.weights()];
        line.write(1.0, &[0.5, 0.95], shape, &mut weights);
        let intercepts = &weights[shape.intercepts()];
        assert!((intercepts[0] - 1.0).abs() < 0.1 && intercepts[1] > 20.0, "{intercepts:?}");
    }

    #[test]
    fn a_system_without_a_solution_is_refused() {
        assert_eq!(solve(&mut [1.0, 0.0, 1.0, 1.0], &[1.0, 1.0]), None);
        let x = solve(&mut [4.0, 0.0, 2.0, 3.0], &[8.0, 7.0]).unwrap();
        assert!((x[0] - 1.25).abs() < 1e-12 && (x[1] - 1.5).abs() < 1e-12);
    }
}
