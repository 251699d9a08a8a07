//! Adam (Kingma and Ba 2015) with clipping by the norm of the gradient, and a running mean of the weights.

/// The optimiser's memory.
#[derive(Clone, Debug)]
pub(super) struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Adam {
    /// For this many weights.
    pub(super) fn new(weights: usize) -> Adam {
        Adam { mean: vec![0.0; weights], square: vec![0.0; weights], steps: 0 }
    }

    /// Moves the weights against the gradient, and by `decay` times the rate back to `start` (decoupled as in AdamW,
    /// Loshchilov and Hutter 2019). A gradient that is not finite moves nothing.
    pub(super) fn step(
        &mut self,
        weights: &mut [f32],
        gradient: &[f32],
        rate: f32,
        start: &[f32],
        decay: f32,
    ) {
        let norm = gradient.iter().map(|&d| f64::from(d) * f64::from(d)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return;
        }
        let clip = (NORM_MAX / norm.max(1e-12)).min(1.0) as f32;
        self.steps = self.steps.saturating_add(1);
        let unbias_mean = 1.0 / (1.0 - MEAN_DECAY.powi(self.steps));
        let unbias_square = 1.0 / (1.0 - SQUARE_DECAY.powi(self.steps));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        let weights = weights.iter_mut().zip(start);
        for (((weight, &start), &d), (mean, square)) in weights.zip(gradient).zip(moments) {
            let d = d * clip;
            *mean = MEAN_DECAY * *mean + (1.0 - MEAN_DECAY) * d;
            *square = SQUARE_DECAY * *square + (1.0 - SQUARE_DECAY) * d * d;
            *weight -= rate * decay * (*weight - start);
            *weight -= rate * (*mean * unbias_mean) / ((*square * unbias_square).sqrt() + 1e-8);
        }
    }
}

/// Gradients longer than this are shortened to it.
const NORM_MAX: f64 = 1.0;
const MEAN_DECAY: f32 = 0.9;
const SQUARE_DECAY: f32 = 0.99;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_steps_are_those_of_the_paper() {
        let mut weights = [1.0, -2.0];
        let mut adam = Adam::new(2);
        // Whatever its size, the first step is the rate against the sign.
        adam.step(&mut weights, &[0.5, -1e-3], 0.1, &[0.0; 2], 0.0);
        assert!((weights[0] - 0.9).abs() < 1e-6 && (weights[1] + 1.9).abs() < 1e-5, "{weights:?}");
        adam.step(&mut weights, &[f32::NAN, 1.0], 0.1, &[0.0; 2], 0.0);
        assert!((weights[0] - 0.9).abs() < 1e-6);
        // Second step by hand for the first weight, gradient -0.5 after 0.5: mean (0.09 - 0.1) * 0.5 / 0.19, square 0.25.
        adam.step(&mut weights, &[-0.5, 0.0], 0.1, &[0.0; 2], 0.0);
        let expected = 0.9 - 0.1 * ((0.09 - 0.1) * 0.5 / 0.19) / 0.5;
        assert!((weights[0] - expected).abs() < 1e-5, "{} for {expected}", weights[0]);
    }

    #[test]
    fn it_finds_the_bottom_of_a_bowl() {
        let mut weights = [3.0, -4.0];
        let mut adam = Adam::new(2);
        for i in 0..400 {
            let gradient = [2.0 * (weights[0] - 1.0), 20.0 * (weights[1] - 2.0)];
            adam.step(&mut weights, &gradient, 0.1 * (1.0 - i as f32 / 400.0), &[0.0; 2], 0.0);
        }
        assert!((weights[0] - 1.0).abs() < 1e-2 && (weights[1] - 2.0).abs() < 1e-2, "{weights:?}");
    }
}
