//! How long an instance works on a request, and the random numbers behind it.

use std::time::Duration;

/// The distribution of the work in a request: time on a slot, without waiting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ServiceTime {
    /// Always the same.
    Constant(Duration),
    /// Exponential with this mean: the M of M/M/c.
    Exponential(Duration),
    /// Logarithmic normal, as answer times of services tend to be.
    LogNormal {
        /// The mean.
        mean: Duration,
        /// Standard deviation relative to the mean.
        variation: f64,
    },
}

impl ServiceTime {
    /// The mean.
    pub fn mean(self) -> Duration {
        match self {
            ServiceTime::Constant(mean)
            | ServiceTime::Exponential(mean)
            | ServiceTime::LogNormal { mean, .. } => mean,
        }
    }

    pub(crate) fn sampler(self) -> Sampler {
        let mean = self.mean().as_nanos() as f64;
        match self {
            ServiceTime::Constant(_) => Sampler::Constant { mean },
            ServiceTime::Exponential(_) => Sampler::Exponential { mean },
            ServiceTime::LogNormal { variation, .. } => {
                // Mean exp(mu + sigma^2 / 2), squared variation exp(sigma^2) - 1.
                let variance = (1.0 + variation * variation).ln();
                Sampler::LogNormal { mu: mean.ln() - variance / 2.0, sigma: variance.sqrt(), spare: None }
            }
        }
    }
}

/// Draws service times in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sampler {
    Constant { mean: f64 },
    Exponential { mean: f64 },
    LogNormal { mu: f64, sigma: f64, spare: Option<f64> },
}

impl Sampler {
    pub(crate) fn draw(&mut self, rng: &mut fastrand::Rng) -> u64 {
        let nanos = match self {
            Sampler::Constant { mean } => *mean,
            Sampler::Exponential { mean } => *mean * exponential(rng),
            Sampler::LogNormal { mu, sigma, spare } => {
                let normal = match spare.take() {
                    Some(normal) => normal,
                    None => {
                        // Box and Muller, 1958: two at a time.
                        let radius = (2.0 * exponential(rng)).sqrt();
                        let (sine, cosine) = (std::f64::consts::TAU * rng.f64()).sin_cos();
                        *spare = Some(radius * sine);
                        radius * cosine
                    }
                };
                (*mu + *sigma * normal).exp()
            }
        };
        nanos as u64
    }
}

/// Exponential with mean 1.
pub(crate) fn exponential(rng: &mut fastrand::Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_mean_and_the_variation_asked_for() {
        let mean = Duration::from_millis(50);
        for (kind, variation) in [
            (ServiceTime::Constant(mean), 0.0),
            (ServiceTime::Exponential(mean), 1.0),
            (ServiceTime::LogNormal { mean, variation: 0.7 }, 0.7),
        ] {
            let (mut sampler, mut rng) = (kind.sampler(), fastrand::Rng::with_seed(3));
            let draws: Vec<f64> = (0..200_000).map(|_| sampler.draw(&mut rng) as f64 * 1e-9).collect();
            let average = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance = draws.iter().map(|x| (x - average).powi(2)).sum::<f64>() / draws.len() as f64;
            assert!((average / 0.05 - 1.0).abs() < 0.01, "{kind:?}: {average}");
            assert!((variance.sqrt() / average - variation).abs() < 0.02, "{kind:?}: {variance}");
        }
    }
}
