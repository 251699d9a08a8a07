//! Regressions of an endpoint's cost on the sizes of its requests: a power law over all numbers and categories, and a
//! straight line over the main number (a fixed part plus so much for each byte), which most programs follow.
//!
//! Both are fitted anew to the window now and then: some ten microseconds, and no recursion whose state could decay.

use serde::{Deserialize, Serialize};

use super::levels::{Levels, MEDIAN, weighted};
use super::parameters::{CATEGORICAL_MAX, NUMERIC_MAX, Row};
use super::pool::{Pool, typical};
use super::window::Sample;

/// A regression, and what it leaves over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    law: Law,
    /// Quantiles of the residuals.
    residuals: Levels,
    /// How many there are.
    count: f64,
    /// Log of the typical residual.
    pub(crate) spread: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Law {
    Power(Box<Power>),
    Affine(Affine),
}

impl Line {
    /// A power law of all parameters.
    pub(crate) fn power(samples: &[Sample]) -> Option<Line> {
        Power::fit(samples).and_then(|(power, residuals)| Line::new(Law::Power(Box::new(power)), residuals))
    }

    /// A fixed part and a rate of one number.
    pub(crate) fn affine(samples: &[Sample], number: usize) -> Option<Line> {
        Affine::fit(samples, number).and_then(|(affine, residuals)| Line::new(Law::Affine(affine), residuals))
    }

    fn new(law: Law, mut residuals: Vec<f64>) -> Option<Line> {
        residuals.sort_by(f64::total_cmp);
        let (levels, count) = weighted(residuals.iter().map(|&residual| (residual, 1.0)))?;
        let spread = typical(residuals.iter().map(|residual| residual - levels[MEDIAN]));
        spread.is_finite().then_some(Line { law, residuals: levels, count, spread })
    }

    /// The middle of the log cost; `None` when a number it rests on is not known.
    pub(crate) fn middle(&self, row: &Row) -> Option<f64> {
        match &self.law {
            Law::Power(power) => Some(power.middle(row)),
            Law::Affine(affine) => affine.middle(row),
        }
    }

    /// Quantiles around the middle.
    pub(crate) fn around(&self, pool: &Pool) -> Levels {
        let mut levels = self.residuals;
        pool.shrink(&mut levels, self.count, self.spread);
        levels
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        match &self.law {
            Law::Power(power) => size_of::<Power>() + power.effects.capacity() * size_of::<(u8, u32, f32)>(),
            Law::Affine(_) => 0,
        }
    }
}

/// `log cost = base + sum(slope * log number) + sum(effect of category)`, robust and slightly drawn to zero slopes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Power {
    base: f64,
    slopes: [f64; NUMERIC_MAX],
    means: [f64; NUMERIC_MAX],
    /// Numbers are drawn into this range: no line is believed far beyond what was seen.
    ranges: [(f64, f64); NUMERIC_MAX],
    /// (parameter, category, effect), sorted.
    effects: Vec<(u8, u32, f32)>,
}

impl Power {
    /// With each sample's residual had it been left out. `None` when the samples are too few or no parameter varies.
    fn fit(samples: &[Sample]) -> Option<(Power, Vec<f64>)> {
        if samples.len() < SAMPLES_MIN {
            return None;
        }
        let columns = columns(samples);
        let used: Vec<usize> = (0..NUMERIC_MAX).filter(|&j| columns[j].deviation > DEVIATION_MIN).collect();
        let design = Design { samples, columns: &columns, used: &used };
        let mut weights = vec![1.0; samples.len()];
        let mut solved = design.solve(&weights)?;
        let mut residuals = design.residuals(&solved.beta);
        robust_weights(&residuals, &mut weights);
        solved = design.solve(&weights)?;
        residuals = design.residuals(&solved.beta);
        for (i, residual) in residuals.iter_mut().enumerate() {
            *residual /= (1.0 - weights[i] * design.leverage(&solved, i)).max(0.2);
        }
        let effects = effects(samples, &mut residuals);
        if used.is_empty() && effects.is_empty() {
            return None;
        }
        let mut slopes = [0.0; NUMERIC_MAX];
        for (&j, beta) in used.iter().zip(&solved.beta[1..]) {
            slopes[j] = beta / columns[j].deviation;
        }
        let power = Power {
            base: solved.beta[0],
            slopes,
            means: columns.map(|column| column.mean),
            ranges: columns.map(|column| {
                let beyond = (column.high - column.low) * EXTRAPOLATED;
                (column.low - beyond, column.high + beyond)
            }),
            effects,
        };
        Some((power, residuals))
    }

    /// The middle of the log cost.
    fn middle(&self, row: &Row) -> f64 {
        let mut sum = self.base;
        for (j, &number) in row.numeric.iter().enumerate() {
            if self.slopes[j] != 0.0 && number.is_finite() {
                let (low, high) = self.ranges[j];
                sum += self.slopes[j] * (f64::from(number).clamp(low, high) - self.means[j]);
            }
        }
        if !self.effects.is_empty() {
            for (position, &category) in
                row.categorical.iter().enumerate().filter(|(_, category)| **category != 0)
            {
                let key = (position as u8, category);
                if let Ok(found) = self.effects.binary_search_by_key(&key, |&(p, c, _)| (p, c)) {
                    sum += f64::from(self.effects[found].2);
                }
            }
        }
        sum
    }
}

/// `cost = fixed + rate * number`, both not negative, by least squares of the relative errors.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Affine {
    number: usize,
    /// Logs, so that costs of any size stay finite.
    fixed: f64,
    rate: f64,
    range: (f64, f64),
}

impl Affine {
    /// With the residuals. `None` when the samples are too few or their cost does not rise with the number.
    fn fit(samples: &[Sample], number: usize) -> Option<(Affine, Vec<f64>)> {
        let known: Vec<(f64, f64)> = samples
            .iter()
            .filter(|sample| sample.row.numeric[number].is_finite())
            .map(|sample| (f64::from(sample.row.numeric[number]), f64::from(sample.cost)))
            .collect();
        if known.len() < SAMPLES_MIN || known.len() * 4 < samples.len() * 3 {
            return None;
        }
        let n = known.len() as f64;
        // Both axes are shifted so that the numbers below are around one.
        let size_shift = known.iter().map(|(size, _)| size).sum::<f64>() / n;
        let cost_shift = known.iter().map(|(_, cost)| cost).sum::<f64>() / n;
        let (mut cc, mut cs, mut ss, mut c, mut s) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for &(size, cost) in &known {
            (low, high) = (low.min(size), high.max(size));
            let inverse = (cost_shift - cost).clamp(-EXPONENT_MAX, EXPONENT_MAX).exp();
            let ratio = raw(size, size_shift) * inverse;
            cc += inverse * inverse;
            cs += inverse * ratio;
            ss += ratio * ratio;
            c += inverse;
            s += ratio;
        }
        cc += RIDGE * cc / n;
        ss += RIDGE * ss / n;
        let determinant = cc * ss - cs * cs;
        let (mut fixed, mut rate) = ((c * ss - s * cs) / determinant, (s * cc - c * cs) / determinant);
        if !(fixed.is_finite() && rate.is_finite()) || rate <= 0.0 {
            return None;
        }
        if fixed <= 0.0 {
            (fixed, rate) = (0.0, s / ss);
        }
        let beyond = (high - low) * EXTRAPOLATED;
        let affine = Affine {
            number,
            fixed: fixed.ln() + cost_shift,
            rate: rate.ln() + cost_shift - size_shift,
            range: (low - beyond, high + beyond),
        };
        // Two numbers were fitted: each residual is as much too small.
        let optimism = (n / (n - 2.0)).sqrt();
        let residuals: Vec<f64> =
            known.iter().map(|&(size, cost)| (cost - affine.log(size)) * optimism).collect();
        residuals.iter().all(|residual| residual.is_finite()).then_some((affine, residuals))
    }

    /// The middle of the log cost; `None` when the number is not known.
    fn middle(&self, row: &Row) -> Option<f64> {
        let size = row.numeric[self.number];
        size.is_finite().then(|| self.log(f64::from(size)))
    }

    fn log(&self, size: f64) -> f64 {
        let size = size.clamp(self.range.0, self.range.1);
        let varying = self.rate + raw(size, 0.0).max(f64::MIN_POSITIVE).ln();
        let (high, low) = (varying.max(self.fixed), varying.min(self.fixed));
        high + (low - high).exp().ln_1p()
    }
}

/// The number itself from its log, over `exp(shift)`.
fn raw(log: f64, shift: f64) -> f64 {
    let size =
        (log.abs() - shift).min(EXPONENT_MAX).exp() - (-shift).clamp(-EXPONENT_MAX, EXPONENT_MAX).exp();
    if log < 0.0 { 0.0 } else { size.max(0.0) }
}

/// The number that goes best with the cost, by the correlation of the logs, and how widely it is spread.
pub(crate) fn main_number(samples: &[Sample]) -> Option<(usize, f64)> {
    let columns = columns(samples);
    (0..NUMERIC_MAX)
        .filter(|&j| columns[j].deviation > DEVIATION_MIN)
        .map(|j| (j, columns[j].correlation.abs()))
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
        .map(|(j, _)| (j, columns[j].deviation))
}

/// One number over all samples, on its log scale.
#[derive(Clone, Copy, Debug, Default)]
struct Column {
    mean: f64,
    deviation: f64,
    low: f64,
    high: f64,
    correlation: f64,
}

fn columns(samples: &[Sample]) -> [Column; NUMERIC_MAX] {
    std::array::from_fn(|j| {
        let known = || {
            samples
                .iter()
                .map(|sample| (f64::from(sample.row.numeric[j]), f64::from(sample.cost)))
                .filter(|(number, _)| number.is_finite())
        };
        let n = known().count() as f64;
        if n < 1.0 {
            return Column::default();
        }
        let (sum, cost_sum, low, high) = known().fold(
            (0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY),
            |(sum, cost_sum, low, high), (number, cost)| {
                (sum + number, cost_sum + cost, low.min(number), high.max(number))
            },
        );
        let (mean, cost_mean) = (sum / n, cost_sum / n);
        let (xx, xy, yy) = known().fold((0.0, 0.0, 0.0), |(xx, xy, yy), (number, cost)| {
            let (x, y) = (number - mean, cost - cost_mean);
            (xx + x * x, xy + x * y, yy + y * y)
        });
        let correlation = if xx > 0.0 && yy > 0.0 { xy / (xx * yy).sqrt() } else { 0.0 };
        Column { mean, deviation: (xx / n).sqrt(), low, high, correlation }
    })
}

/// The standardised numbers that vary, with a constant before them.
struct Design<'a> {
    samples: &'a [Sample],
    columns: &'a [Column; NUMERIC_MAX],
    used: &'a [usize],
}

/// Coefficients and the Cholesky factor they came from.
struct Solved {
    beta: Vec<f64>,
    factor: [[f64; WIDTH_MAX]; WIDTH_MAX],
}

impl Design<'_> {
    fn row(&self, i: usize) -> [f64; WIDTH_MAX] {
        let mut row = [0.0; WIDTH_MAX];
        row[0] = 1.0;
        for (slot, &j) in row[1..].iter_mut().zip(self.used) {
            let number = f64::from(self.samples[i].row.numeric[j]);
            // A missing number counts as an average one.
            *slot = if number.is_finite() {
                (number - self.columns[j].mean) / self.columns[j].deviation
            } else {
                0.0
            };
        }
        row
    }

    fn width(&self) -> usize {
        self.used.len() + 1
    }

    fn solve(&self, weights: &[f64]) -> Option<Solved> {
        let width = self.width();
        let mut gram = [[0.0; WIDTH_MAX]; WIDTH_MAX];
        let mut moment = [0.0; WIDTH_MAX];
        for (i, &weight) in weights.iter().enumerate() {
            let row = self.row(i);
            let cost = f64::from(self.samples[i].cost);
            for a in 0..width {
                moment[a] += weight * row[a] * cost;
                for b in 0..=a {
                    gram[a][b] += weight * row[a] * row[b];
                }
            }
        }
        for (a, line) in gram.iter_mut().enumerate().take(width) {
            line[a] += if a == 0 { 1e-9 } else { RIDGE };
        }
        let factor = cholesky(gram, width)?;
        let beta = back(&factor, &forward(&factor, &moment, width), width)[..width].to_vec();
        beta.iter().all(|b| b.is_finite()).then_some(Solved { beta, factor })
    }

    fn residuals(&self, beta: &[f64]) -> Vec<f64> {
        (0..self.samples.len())
            .map(|i| {
                let said: f64 = self.row(i).iter().zip(beta).map(|(x, b)| x * b).sum();
                f64::from(self.samples[i].cost) - said
            })
            .collect()
    }

    /// How much a sample's own cost moves what is said for it.
    fn leverage(&self, solved: &Solved, i: usize) -> f64 {
        forward(&solved.factor, &self.row(i), self.width()).iter().map(|half| half * half).sum()
    }
}

/// Lower factor of a symmetric positive matrix given by its lower half.
fn cholesky(
    mut matrix: [[f64; WIDTH_MAX]; WIDTH_MAX],
    width: usize,
) -> Option<[[f64; WIDTH_MAX]; WIDTH_MAX]> {
    for a in 0..width {
        for b in 0..=a {
            let inner: f64 = (0..b).map(|k| matrix[a][k] * matrix[b][k]).sum();
            let rest = matrix[a][b] - inner;
            matrix[a][b] = if a == b {
                if rest <= 0.0 {
                    return None;
                }
                rest.sqrt()
            } else {
                rest / matrix[b][b]
            };
        }
    }
    Some(matrix)
}

fn forward(
    factor: &[[f64; WIDTH_MAX]; WIDTH_MAX],
    right: &[f64; WIDTH_MAX],
    width: usize,
) -> [f64; WIDTH_MAX] {
    let mut solution = [0.0; WIDTH_MAX];
    for a in 0..width {
        let inner: f64 = (0..a).map(|k| factor[a][k] * solution[k]).sum();
        solution[a] = (right[a] - inner) / factor[a][a];
    }
    solution
}

fn back(factor: &[[f64; WIDTH_MAX]; WIDTH_MAX], right: &[f64; WIDTH_MAX], width: usize) -> [f64; WIDTH_MAX] {
    let mut solution = [0.0; WIDTH_MAX];
    for a in (0..width).rev() {
        let inner: f64 = (a + 1..width).map(|k| factor[k][a] * solution[k]).sum();
        solution[a] = (right[a] - inner) / factor[a][a];
    }
    solution
}

/// Huber's weights: a residual counts in full up to 2.5 deviations, as measured by the median of their sizes.
fn robust_weights(residuals: &[f64], weights: &mut [f64]) {
    let mut sizes: Vec<f64> = residuals.iter().map(|residual| residual.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let limit = 2.5 * 1.4826 * sizes[sizes.len() / 2];
    for (weight, residual) in weights.iter_mut().zip(residuals) {
        *weight = if residual.abs() <= limit || limit <= 0.0 { 1.0 } else { limit / residual.abs() };
    }
}

/// What each category adds, one parameter after the other, drawn to zero; takes it off the residuals, from which each
/// sample's own part in it is left out.
fn effects(samples: &[Sample], residuals: &mut [f64]) -> Vec<(u8, u32, f32)> {
    let mut effects = Vec::new();
    for position in 0..CATEGORICAL_MAX {
        let mut members: Vec<(u32, usize)> = samples
            .iter()
            .enumerate()
            .map(|(i, sample)| (sample.row.categorical[position], i))
            .filter(|&(category, _)| category != 0)
            .collect();
        members.sort_unstable();
        if members.first().map(|m| m.0) == members.last().map(|m| m.0) {
            continue;
        }
        for group in members.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() >= CATEGORY_MIN) {
            let n = group.len() as f64;
            let sum: f64 = group.iter().map(|&(_, i)| residuals[i]).sum();
            effects.push((position as u8, group[0].0, (sum / (n + CATEGORY_PRIOR)) as f32));
            for &(_, i) in group {
                let without = (sum - residuals[i]) / (n - 1.0 + CATEGORY_PRIOR);
                residuals[i] -= without;
            }
        }
    }
    effects
}

const WIDTH_MAX: usize = NUMERIC_MAX + 1;
const SAMPLES_MIN: usize = 4;
/// Numbers that vary less (in log) are constants.
const DEVIATION_MIN: f64 = 1e-4;
/// Weight of zero slopes, in samples.
const RIDGE: f64 = 0.5;
/// How far beyond the numbers seen a line is followed, in widths of what was seen.
const EXTRAPOLATED: f64 = 0.5;
/// Categories seen less often have no effect of their own.
const CATEGORY_MIN: usize = 3;
/// Samples without an effect that each category is thought to have beside its own.
const CATEGORY_PRIOR: f64 = 4.0;
/// Keeps `exp` finite.
const EXPONENT_MAX: f64 = 300.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::Parameters;

    fn sample(numbers: &[f64], kind: &str, cost: f64) -> Sample {
        let row = Row::new(&Parameters { numeric: numbers, categorical: &[kind] });
        Sample { row, cost: cost.ln() as f32 }
    }

    #[test]
    fn a_power_law_with_a_category_is_recovered() {
        let mut rng = fastrand::Rng::with_seed(1);
        let samples: Vec<Sample> = (0..200)
            .map(|i| {
                let (a, b) = (1e6 * (3.0 * rng.f64()).exp(), 1e3 * (2.0 * rng.f64()).exp());
                let kind = if i % 2 == 0 { 1.0 } else { 1.5 };
                sample(&[a, b], if i % 2 == 0 { "x" } else { "y" }, 2.0 * kind * a.powf(0.8) * b.powf(-0.3))
            })
            .collect();
        let (power, _) = Power::fit(&samples).unwrap();
        assert!((power.slopes[0] - 0.8).abs() < 0.02, "{:?}", power.slopes);
        assert!((power.slopes[1] + 0.3).abs() < 0.02, "{:?}", power.slopes);
        let probe = sample(&[5e6, 2e3], "y", 3.0 * 5e6f64.powf(0.8) * 2e3f64.powf(-0.3));
        assert!((power.middle(&probe.row) - f64::from(probe.cost)).abs() < 0.03);
    }

    #[test]
    fn a_fixed_part_and_a_rate_are_recovered_and_followed_beyond() {
        let samples: Vec<Sample> =
            (0..50).map(|i| sample(&[1e6 * f64::from(i)], "", 2e8 + 3.0 * 1e6 * f64::from(i))).collect();
        let (affine, _) = Affine::fit(&samples, 0).unwrap();
        let probe = sample(&[2e8], "", 2e8 + 6e8);
        assert!((affine.middle(&probe.row).unwrap() - f64::from(probe.cost)).abs() < 0.05);
    }

    #[test]
    fn a_cost_that_falls_with_size_has_no_line_and_constants_have_no_power_law() {
        let falling: Vec<Sample> =
            (1..50).map(|i| sample(&[f64::from(i)], "", 100.0 / f64::from(i))).collect();
        assert!(Affine::fit(&falling, 0).is_none());
        let constant: Vec<Sample> = (0..50).map(|_| sample(&[3.0], "a", 5.0)).collect();
        assert!(Power::fit(&constant).is_none() && main_number(&constant).is_none());
    }
}
