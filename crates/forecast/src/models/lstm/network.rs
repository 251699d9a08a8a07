//! The network: a recurrent layer reads the recent past; a small head, given the state it ends in and what is known
//! about one future step, says quantiles of that step (the shape of MQ-RNN, Wen et al. 2017).
//!
//! The head's last layer also sees the features of the future step directly: with nothing learned the network says zero,
//! and what a straight line can say needs no hidden unit.

use super::cell::{Size, Trail, resize};
use super::matrix::{Right, Strides, add_product};
use super::real::Real;

/// Sizes of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Shape {
    /// Numbers in at each step of the window.
    pub(super) inputs: usize,
    /// Numbers that describe a future step.
    pub(super) features: usize,
    /// Units of the recurrent layer.
    pub(super) hidden: usize,
    /// Units of the head.
    pub(super) middle: usize,
    /// Quantiles.
    pub(super) outputs: usize,
}

impl Shape {
    pub(super) fn cell(self) -> Size {
        Size { inputs: self.inputs, hidden: self.hidden }
    }

    /// Width of a row into the first layer of the head: features, state, one.
    fn first_inner(self) -> usize {
        self.features + self.hidden + 1
    }

    /// Width of a row into the last layer: features, one, units.
    fn last_inner(self) -> usize {
        self.features + 1 + self.middle
    }

    /// Where the weights of the three layers lie in one flat vector.
    fn bounds(self) -> [usize; 3] {
        let cell = self.cell().weights();
        let first = cell + self.first_inner() * self.middle;
        [cell, first, first + self.last_inner() * self.outputs]
    }

    /// Number of weights.
    pub(super) fn weights(self) -> usize {
        self.bounds()[2]
    }

    /// Where the intercepts of the quantiles lie.
    pub(super) fn intercepts(self) -> std::ops::Range<usize> {
        let begin = self.bounds()[1] + self.features * self.outputs;
        begin..begin + self.outputs
    }

    /// Small random weights; the last layer zero, so that nothing is said before anything is learned.
    pub(super) fn untrained<R: Real>(self, random: &mut fastrand::Rng) -> Vec<R> {
        let [cell, first, all] = self.bounds();
        let mut weights = vec![R::default(); all];
        let mut fill = |part: &mut [R], reach: f64| {
            for weight in part {
                *weight = R::from_f64((2.0 * random.f64() - 1.0) * reach);
            }
        };
        fill(&mut weights[..cell], 1.0 / (self.hidden.max(1) as f64).sqrt());
        fill(&mut weights[cell..first], 1.0 / (self.first_inner() as f64).sqrt());
        // Remember, until taught to forget.
        let bias = (self.inputs + self.hidden) * self.cell().gates();
        weights[bias + self.hidden..bias + 2 * self.hidden].fill(R::ONE);
        weights
    }
}

/// Windows and the future steps asked about, several for each window.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch<R> {
    /// Number of windows.
    pub(super) windows: usize,
    /// `[time][window][input]`.
    pub(super) xs: Vec<R>,
    /// `[window][step][feature]`; the same number of steps for each window.
    pub(super) features: Vec<R>,
    /// `[window][step]`: what came true.
    pub(super) targets: Vec<R>,
    /// `[window][step]`: how much it counts; zero where it is missing.
    pub(super) weights: Vec<R>,
}

/// Memory for passes through the network, reused between batches.
#[derive(Clone, Debug, Default)]
pub(super) struct Passes<R> {
    trail: Trail<R>,
    first_rows: Vec<R>,
    last_rows: Vec<R>,
    said: Vec<R>,
    right: Right<R>,
    tile: Vec<[R; 4]>,
    d_said: Vec<R>,
    d_last: Vec<R>,
    d_first: Vec<R>,
    d_state: Vec<R>,
}

impl<R: Real> Passes<R> {
    /// What the network says: `[window][step][quantile]`.
    pub(super) fn forward(&mut self, shape: Shape, weights: &[R], batch: &Batch<R>) -> &[R] {
        let [cell, first, _] = shape.bounds();
        let states = self.trail.forward(shape.cell(), &weights[..cell], &batch.xs, batch.windows);
        let (features, hidden, middle) = (shape.features, shape.hidden, shape.middle);
        let rows = batch.features.len() / features;
        let steps = rows / batch.windows.max(1);
        let inner = shape.first_inner();
        resize(&mut self.first_rows, rows * inner);
        for (r, row) in self.first_rows.chunks_exact_mut(inner).enumerate() {
            let window = r / steps.max(1);
            row[..features].copy_from_slice(&batch.features[r * features..(r + 1) * features]);
            row[features..features + hidden].copy_from_slice(&states[window * hidden..(window + 1) * hidden]);
            row[inner - 1] = R::ONE;
        }
        let last = shape.last_inner();
        resize(&mut self.last_rows, rows * last);
        self.right.pack(&weights[cell..first], Strides::rows(middle), inner, middle);
        let to = &mut self.last_rows[features + 1..];
        add_product(to, last, &self.first_rows, Strides::rows(inner), rows, &self.right, &mut self.tile);
        for (r, row) in self.last_rows.chunks_exact_mut(last).enumerate() {
            row[..features].copy_from_slice(&batch.features[r * features..(r + 1) * features]);
            row[features] = R::ONE;
            row[features + 1..].iter_mut().for_each(|unit| *unit = unit.tanh());
        }
        resize(&mut self.said, rows * shape.outputs);
        self.right.pack(&weights[first..], Strides::rows(shape.outputs), last, shape.outputs);
        let strides = Strides::rows(last);
        let (to, tile) = (&mut self.said, &mut self.tile);
        add_product(to, shape.outputs, &self.last_rows, strides, rows, &self.right, tile);
        &self.said
    }

    /// The weighted mean pinball loss of a batch over the quantiles `taus`.
    pub(super) fn loss(&mut self, shape: Shape, weights: &[R], batch: &Batch<R>, taus: &[f64]) -> f64 {
        self.forward(shape, weights, batch);
        self.pinball(batch, taus)
    }

    /// The loss, and its gradient in `gradient`.
    pub(super) fn gradient(
        &mut self,
        shape: Shape,
        weights: &[R],
        batch: &Batch<R>,
        taus: &[f64],
        gradient: &mut [R],
    ) -> f64 {
        self.forward(shape, weights, batch);
        let loss = self.pinball(batch, taus);
        gradient.fill(R::default());
        let [cell, first, _] = shape.bounds();
        let (features, hidden, middle) = (shape.features, shape.hidden, shape.middle);
        let rows = batch.targets.len();
        let (inner, last) = (shape.first_inner(), shape.last_inner());

        self.right.pack(&self.d_said, Strides::rows(shape.outputs), rows, shape.outputs);
        let strides = Strides::transposed(last);
        let to = &mut gradient[first..];
        add_product(to, shape.outputs, &self.last_rows, strides, last, &self.right, &mut self.tile);

        resize(&mut self.d_last, rows * middle);
        let units = &weights[first + (features + 1) * shape.outputs..];
        self.right.pack(units, Strides::transposed(shape.outputs), shape.outputs, middle);
        let strides = Strides::rows(shape.outputs);
        add_product(&mut self.d_last, middle, &self.d_said, strides, rows, &self.right, &mut self.tile);
        for (d, row) in self.d_last.chunks_exact_mut(middle).zip(self.last_rows.chunks_exact(last)) {
            for (d, &unit) in d.iter_mut().zip(&row[features + 1..]) {
                *d = *d * (R::ONE - unit * unit);
            }
        }

        self.right.pack(&self.d_last, Strides::rows(middle), rows, middle);
        let strides = Strides::transposed(inner);
        let to = &mut gradient[cell..first];
        add_product(to, middle, &self.first_rows, strides, inner, &self.right, &mut self.tile);

        resize(&mut self.d_first, rows * hidden);
        let state = &weights[cell + features * middle..cell + (features + hidden) * middle];
        self.right.pack(state, Strides::transposed(middle), middle, hidden);
        let strides = Strides::rows(middle);
        add_product(&mut self.d_first, hidden, &self.d_last, strides, rows, &self.right, &mut self.tile);
        resize(&mut self.d_state, batch.windows * hidden);
        let steps = rows / batch.windows.max(1);
        for (r, d) in self.d_first.chunks_exact(hidden).enumerate() {
            let window = r / steps.max(1);
            let sum = &mut self.d_state[window * hidden..(window + 1) * hidden];
            sum.iter_mut().zip(d).for_each(|(sum, &d)| *sum += d);
        }
        self.trail.backward(shape.cell(), &weights[..cell], &self.d_state, &mut gradient[..cell]);
        loss
    }

    /// The loss of what was said last; leaves its derivative in `d_said`.
    fn pinball(&mut self, batch: &Batch<R>, taus: &[f64]) -> f64 {
        resize(&mut self.d_said, self.said.len());
        let total: f64 = batch.weights.iter().map(|weight| weight.to_f64()).sum::<f64>() * taus.len() as f64;
        let scale = if total > 0.0 { 1.0 / total } else { 0.0 };
        let mut loss = 0.0;
        let rows = self.said.chunks_exact(taus.len()).zip(self.d_said.chunks_exact_mut(taus.len()));
        for ((said, d_said), (&target, &weight)) in rows.zip(batch.targets.iter().zip(&batch.weights)) {
            let weight = weight.to_f64() * scale;
            for ((&said, d), &tau) in said.iter().zip(d_said).zip(taus) {
                let error = target.to_f64() - said.to_f64();
                let slope = if error > 0.0 { tau } else { tau - 1.0 };
                loss += weight * slope * error;
                *d = R::from_f64(-weight * slope);
            }
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_batch(shape: Shape, windows: usize, times: usize, steps: usize, seed: u64) -> Batch<f64> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut fill = |len: usize| (0..len).map(|_| 2.0 * random.f64() - 1.0).collect::<Vec<f64>>();
        Batch {
            windows,
            xs: fill(times * windows * shape.inputs),
            features: fill(windows * steps * shape.features),
            // Far from what is said, so that no kink of the loss lies between two points of a finite difference.
            targets: fill(windows * steps).into_iter().map(|t| t + 3.0 * t.signum()).collect(),
            weights: fill(windows * steps).into_iter().map(|w| (w + 0.8).max(0.0)).collect(),
        }
    }

    #[test]
    fn every_gradient_agrees_with_finite_differences() {
        let shape = Shape { inputs: 3, features: 4, hidden: 5, middle: 6, outputs: 3 };
        let taus = [0.1, 0.5, 0.9];
        let mut random = fastrand::Rng::with_seed(7);
        let mut weights: Vec<f64> = shape.untrained(&mut random);
        // A zero last layer would pass on no gradient at all.
        weights.iter_mut().for_each(|w| *w += 0.3 * (2.0 * random.f64() - 1.0));
        let batch = random_batch(shape, 6, 9, 4, 3);
        let mut passes = Passes::default();
        let mut gradient = vec![0.0; shape.weights()];
        let loss = passes.gradient(shape, &weights, &batch, &taus, &mut gradient);
        assert!((loss - passes.loss(shape, &weights, &batch, &taus)).abs() < 1e-15);
        let mut largest = 0.0_f64;
        for i in 0..weights.len() {
            let (kept, step) = (weights[i], 1e-5);
            weights[i] = kept + step;
            let above = passes.loss(shape, &weights, &batch, &taus);
            weights[i] = kept - step;
            let below = passes.loss(shape, &weights, &batch, &taus);
            weights[i] = kept;
            let expected = (above - below) / (2.0 * step);
            largest = largest.max(expected.abs());
            let error = (gradient[i] - expected).abs();
            assert!(error < 1e-8 + 1e-6 * expected.abs(), "weight {i}: {} for {expected}", gradient[i]);
        }
        assert!(largest > 1e-2, "the check would see nothing");
    }

    #[test]
    fn single_precision_gives_the_same_gradient() {
        let shape = Shape { inputs: 8, features: 16, hidden: 32, middle: 32, outputs: 7 };
        let taus = [0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];
        let mut random = fastrand::Rng::with_seed(5);
        let mut weights: Vec<f64> = shape.untrained(&mut random);
        weights.iter_mut().for_each(|w| *w += 0.1 * (2.0 * random.f64() - 1.0));
        let batch = random_batch(shape, 7, 20, 3, 9);
        let single = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let narrow = Batch {
            windows: batch.windows,
            xs: single(&batch.xs),
            features: single(&batch.features),
            targets: single(&batch.targets),
            weights: single(&batch.weights),
        };
        let mut exact = vec![0.0; shape.weights()];
        let mut rounded = vec![0.0_f32; shape.weights()];
        Passes::default().gradient(shape, &weights, &batch, &taus, &mut exact);
        Passes::default().gradient(shape, &single(&weights), &narrow, &taus, &mut rounded);
        let largest = exact.iter().fold(0.0_f64, |largest, d| largest.max(d.abs()));
        for (a, b) in exact.iter().zip(&rounded) {
            assert!((a - f64::from(*b)).abs() < 2e-5 * largest, "{a} and {b}");
        }
    }

    #[test]
    fn an_untrained_network_says_nothing() {
        let shape = Shape { inputs: 3, features: 4, hidden: 5, middle: 6, outputs: 3 };
        let weights: Vec<f64> = shape.untrained(&mut fastrand::Rng::with_seed(7));
        let batch = random_batch(shape, 2, 9, 4, 3);
        assert!(Passes::default().forward(shape, &weights, &batch).iter().all(|&said| said == 0.0));
    }
}
