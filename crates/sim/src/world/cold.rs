//! How long a new instance takes from the order to ready.

use std::time::Duration;

/// A constant or a distribution of cold start times.
#[derive(Debug, Clone, PartialEq)]
pub enum ColdStart {
    /// Always the same.
    Constant(Duration),
    /// Uniform between two bounds.
    Uniform {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// Logarithmic normal, as measured start times tend to be.
    LogNormal {
        /// The median.
        median: Duration,
        /// Standard deviation of the logarithm; 0.5 gives a 95th percentile of 2.3 times the median.
        sigma: f64,
    },
    /// One of these, each as likely: a recorded sample. Empty counts as zero.
    Recorded(Vec<Duration>),
}

impl ColdStart {
    /// The time of one start.
    pub fn draw(&self, rng: &mut fastrand::Rng) -> Duration {
        match self {
            ColdStart::Constant(time) => *time,
            ColdStart::Uniform { min, max } => {
                let (min, max) = (min.as_secs_f64(), max.as_secs_f64());
                seconds(min + (max - min).max(0.0) * rng.f64())
            }
            ColdStart::LogNormal { median, sigma } => {
                seconds(median.as_secs_f64() * (sigma * standard_normal(rng)).clamp(-LOG_MAX, LOG_MAX).exp())
            }
            ColdStart::Recorded(times) => rng.choice(times).copied().unwrap_or(Duration::ZERO),
        }
    }

    /// The median: the first guess that a user would write into a configuration.
    pub fn typical(&self) -> Duration {
        match self {
            ColdStart::Constant(time) => *time,
            ColdStart::Uniform { min, max } => (*min + *max.max(min)) / 2,
            ColdStart::LogNormal { median, .. } => *median,
            ColdStart::Recorded(times) => quantile(times, 0.5),
        }
    }

    /// The 95th percentile: what somebody who knows the distribution plans with.
    pub fn upper(&self) -> Duration {
        match self {
            ColdStart::Constant(time) => *time,
            ColdStart::Uniform { min, max } => *min + max.saturating_sub(*min).mul_f64(0.95),
            ColdStart::LogNormal { median, sigma } => {
                seconds(median.as_secs_f64() * (sigma * 1.645).clamp(-LOG_MAX, LOG_MAX).exp())
            }
            ColdStart::Recorded(times) => quantile(times, 0.95),
        }
    }
}

fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(Duration::ZERO)
}

fn standard_normal(rng: &mut fastrand::Rng) -> f64 {
    // Box and Muller, 1958. One of the pair is thrown away.
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

/// No draw is further than this from the median, as a logarithm.
const LOG_MAX: f64 = 6.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_draws_are_below_the_typical_time_and_few_above_the_upper() {
        let minute = Duration::from_secs(60);
        let kinds = [
            ColdStart::Uniform { min: minute, max: 3 * minute },
            ColdStart::LogNormal { median: minute, sigma: 0.5 },
            ColdStart::Recorded((1..=100).map(Duration::from_secs).collect()),
        ];
        for cold in kinds {
            let mut rng = fastrand::Rng::with_seed(7);
            let draws: Vec<_> = (0..4000).map(|_| cold.draw(&mut rng)).collect();
            let below = draws.iter().filter(|time| **time <= cold.typical()).count();
            let above = draws.iter().filter(|time| **time > cold.upper()).count();
            assert!((1850..2150).contains(&below), "{cold:?}: {below}");
            assert!((120..280).contains(&above), "{cold:?}: {above}");
        }
    }
}
