//! Weighted least squares with many outputs at once: sums of products, and their solution by Cholesky.
//!
//! Sums over one series are kept in f32 (its rows are scaled to about one), sums over series and everything after that in
//! f64. One matrix serves all outputs, so a forecast of 48 hours costs one decomposition and not 48.

/// Sums of products of weighted rows: inputs with inputs, and inputs with outputs.
#[derive(Clone, Debug)]
pub(super) struct Products<T> {
    inputs: usize,
    outputs: usize,
    rows: usize,
    /// Row `i` holds input `i` times the inputs `i..`, then times all outputs; rows follow one another.
    sums: Vec<T>,
}

impl<T: Copy + Default> Products<T> {
    pub(super) fn zeros(inputs: usize, outputs: usize) -> Products<T> {
        let len = inputs * (inputs + 1) / 2 + inputs * outputs;
        Products { inputs, outputs, rows: 0, sums: vec![T::default(); len] }
    }

    /// Where row `i` begins.
    fn row(&self, i: usize) -> usize {
        i * (self.inputs + self.outputs) - i * i.saturating_sub(1) / 2
    }
}

impl Products<f32> {
    /// Adds rows: each `inputs + outputs` wide, one weight for each.
    pub(super) fn add_rows(&mut self, rows: &[f32], weights: &[f32]) {
        let width = self.inputs + self.outputs;
        self.rows += weights.len();
        for (rows, weights) in rows.chunks(width * LANES).zip(weights.chunks(LANES)) {
            let (mut padded, mut padded_weights) = ([0.0f32; 0].to_vec(), [0.0f32; LANES]);
            padded_weights[..weights.len()].copy_from_slice(weights);
            let rows = if weights.len() == LANES {
                rows
            } else {
                padded.extend_from_slice(rows);
                padded.resize(width * LANES, 0.0);
                &padded
            };
            self.add_eight(rows, &padded_weights);
        }
    }

    /// Eight rows at once: each sum is loaded and stored once for eight products.
    fn add_eight(&mut self, rows: &[f32], weights: &[f32; LANES]) {
        let width = self.inputs + self.outputs;
        let mut sums = self.sums.as_mut_slice();
        for i in 0..self.inputs {
            let (sums_of_i, rest) = sums.split_at_mut(width - i);
            sums = rest;
            let mut with: [f32; LANES] = [0.0; LANES];
            for (with, (lane, weight)) in with.iter_mut().zip(weights.iter().enumerate()) {
                *with = weight * rows[lane * width + i];
            }
            let lane = |k: usize| &rows[k * width + i..(k + 1) * width];
            let (a, b, c, d) = (lane(0), lane(1), lane(2), lane(3));
            let (e, f, g, h) = (lane(4), lane(5), lane(6), lane(7));
            let pairs = a.iter().zip(b).zip(c.iter().zip(d)).zip(e.iter().zip(f).zip(g.iter().zip(h)));
            for (sum, (((a, b), (c, d)), ((e, f), (g, h)))) in sums_of_i.iter_mut().zip(pairs) {
                let near = (with[0] * a + with[1] * b) + (with[2] * c + with[3] * d);
                let far = (with[4] * e + with[5] * f) + (with[6] * g + with[7] * h);
                *sum += near + far;
            }
        }
    }
}

impl Products<f64> {
    /// Adds the sums of one series.
    pub(super) fn add(&mut self, other: &Products<f32>) {
        self.rows += other.rows;
        for (sum, &other) in self.sums.iter_mut().zip(&other.sums) {
            *sum += f64::from(other);
        }
    }

    /// Coefficients that minimise the weighted squared error plus `ridge` (a share of the mean diagonal) times their
    /// squares, and more where rows are few: `inputs` rows of `outputs`. `None` when there is nothing to solve.
    pub(super) fn solve(&self, ridge: f64) -> Option<Coefficients> {
        let (n, outputs) = (self.inputs, self.outputs);
        let mean = (0..n).map(|i| self.sums[self.row(i)]).sum::<f64>() / n.max(1) as f64;
        if !(mean.is_finite() && mean > 0.0) {
            return None;
        }
        let few = n as f64 / self.rows.max(1) as f64;
        let ridge = ridge + RIDGE_FEW * few * few;
        let mut lower = vec![0.0; n * n];
        let mut right = Vec::with_capacity(n * outputs);
        for i in 0..n {
            let row = &self.sums[self.row(i)..self.row(i) + n - i + outputs];
            for (j, &sum) in row[..n - i].iter().enumerate() {
                lower[(i + j) * n + i] = sum;
            }
            lower[i * n + i] += ridge * mean;
            right.extend_from_slice(&row[n - i..]);
        }
        cholesky(&mut lower, n)?;
        substitute(&lower, n, &mut right, outputs);
        right
            .iter()
            .all(|value| value.is_finite())
            .then(|| Coefficients { outputs, flat: right.iter().map(|&value| value as f32).collect() })
    }
}

/// A linear map from inputs to outputs.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Coefficients {
    outputs: usize,
    /// One row of `outputs` for each input.
    flat: Vec<f32>,
}

impl Coefficients {
    /// Writes the outputs for `inputs` into `said`.
    pub(super) fn apply(&self, inputs: &[f32], said: &mut [f32]) {
        said.fill(0.0);
        for (&input, row) in inputs.iter().zip(self.flat.chunks_exact(self.outputs.max(1))) {
            for (said, &coefficient) in said.iter_mut().zip(row) {
                *said += input * coefficient;
            }
        }
    }

    /// The weighted sum of maps of the same shape.
    pub(super) fn mean(maps: &[Coefficients], weights: impl Iterator<Item = f64>) -> Coefficients {
        let mut mean = maps.first().cloned().unwrap_or_default();
        mean.flat.fill(0.0);
        for (map, weight) in maps.iter().zip(weights) {
            mean.flat.iter_mut().zip(&map.flat).for_each(|(sum, value)| *sum += weight as f32 * value);
        }
        mean
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn bytes(&self) -> usize {
        self.flat.capacity() * size_of::<f32>()
    }
}

/// Replaces the lower triangle of a symmetric matrix by its Cholesky factor. `None` when it is not positive definite.
fn cholesky(a: &mut [f64], n: usize) -> Option<()> {
    for j in 0..n {
        let (above, below) = a.split_at_mut((j + 1) * n);
        let pivot_row = &mut above[j * n..];
        let pivot = pivot_row[j] - dot(&pivot_row[..j], &pivot_row[..j]);
        if !(pivot.is_finite() && pivot > 0.0) {
            return None;
        }
        let pivot = pivot.sqrt();
        pivot_row[j] = pivot;
        for row in below.chunks_exact_mut(n) {
            row[j] = (row[j] - dot(&row[..j], &pivot_row[..j])) / pivot;
        }
    }
    Some(())
}

/// Solves `L L' x = b` in place for all columns of `b`.
fn substitute(lower: &[f64], n: usize, b: &mut [f64], columns: usize) {
    for i in 0..n {
        let (done, rest) = b.split_at_mut(i * columns);
        let row = &mut rest[..columns];
        for (known, &factor) in done.chunks_exact(columns).zip(&lower[i * n..i * n + i]) {
            row.iter_mut().zip(known).for_each(|(value, known)| *value -= factor * known);
        }
        row.iter_mut().for_each(|value| *value /= lower[i * n + i]);
    }
    for i in (0..n).rev() {
        let (rest, done) = b.split_at_mut((i + 1) * columns);
        let row = &mut rest[i * columns..];
        for (k, known) in done.chunks_exact(columns).enumerate() {
            let factor = lower[(i + 1 + k) * n + i];
            row.iter_mut().zip(known).for_each(|(value, known)| *value -= factor * known);
        }
        row.iter_mut().for_each(|value| *value /= lower[i * n + i]);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + tail
}

/// Ridge that is added when there are as many rows as inputs; falls with the square of their number.
const RIDGE_FEW: f64 = 0.03;
/// Rows that are summed at once.
const LANES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_squares_finds_the_map_that_made_the_rows_and_weights_of_zero_hide_rows() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        for i in 0..101 {
            let (a, b) = (random.f32() - 0.5, random.f32() - 0.5);
            let noise = if i % 10 == 3 { 100.0 } else { 0.0 };
            rows.extend([a, b, 1.0, 2.0 * a - 3.0 * b + 0.5 + noise, a + b]);
            weights.push(if noise > 0.0 { 0.0 } else { 1.0 + random.f32() });
        }
        let mut own = Products::<f32>::zeros(3, 2);
        own.add_rows(&rows, &weights);
        let mut total = Products::<f64>::zeros(3, 2);
        total.add(&own);
        total.rows = 1_000_000;
        let mut said = [0.0; 2];
        total.solve(1e-9).unwrap().apply(&[1.0, 10.0, 1.0], &mut said);
        assert!((said[0] + 27.5).abs() < 1e-3 && (said[1] - 11.0).abs() < 1e-3, "{said:?}");
    }

    #[test]
    fn nothing_to_solve_is_no_answer() {
        assert!(Products::<f64>::zeros(4, 2).solve(0.1).is_none());
    }
}
