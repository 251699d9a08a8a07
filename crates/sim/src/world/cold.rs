//! How long a new instance takes from the order to ready.

use std::sync::Arc;
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
    /// The distribution of recorded start times; made by [`ColdStart::recorded`].
    Recorded(Quantiles),
}

/// An empirical distribution: times at evenly spaced quantiles from 0 to 1, and straight lines between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantiles(Arc<[Duration]>);

impl ColdStart {
    /// The distribution of these start times, in any order. None counts as zero.
    pub fn recorded(mut times: Vec<Duration>) -> ColdStart {
        times.sort_unstable();
        if times.len() > QUANTILES_MAX {
            let all = Quantiles(times.into());
            let last = (QUANTILES_MAX - 1) as f64;
            times = (0..QUANTILES_MAX).map(|n| all.at(n as f64 / last)).collect();
        }
        ColdStart::Recorded(Quantiles(times.into()))
    }

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
            ColdStart::Recorded(times) => times.at(rng.f64()),
        }
    }

    /// The median: the first guess that a user would write into a configuration.
    pub fn typical(&self) -> Duration {
        match self {
            ColdStart::Constant(time) => *time,
            ColdStart::Uniform { min, max } => (*min + *max.max(min)) / 2,
            ColdStart::LogNormal { median, .. } => *median,
            ColdStart::Recorded(times) => times.at(0.5),
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
            ColdStart::Recorded(times) => times.at(0.95),
        }
    }
}

impl Quantiles {
    /// The time that this share of the starts does not exceed.
    fn at(&self, share: f64) -> Duration {
        let position = share.clamp(0.0, 1.0) * self.0.len().saturating_sub(1) as f64;
        let below = position.floor();
        let time = |at: f64| self.0.get(at as usize).copied().unwrap_or_default();
        let (low, high) = (time(below), time(position.ceil()));
        low + high.saturating_sub(low).mul_f64(position - below)
    }
}

fn standard_normal(rng: &mut fastrand::Rng) -> f64 {
    // Box and Muller, 1958. One of the pair is thrown away.
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

/// Recorded starts are kept as at most so many quantiles: every thousandth.
const QUANTILES_MAX: usize = 1001;
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
            ColdStart::recorded((1..=100).rev().map(Duration::from_secs).collect()),
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

    #[test]
    fn many_recorded_times_keep_their_quantiles() {
        let squares: Vec<_> = (0..50_000u64).map(|n| Duration::from_micros(n * n)).collect();
        let cold = ColdStart::recorded(squares);
        let ColdStart::Recorded(quantiles) = &cold else { panic!("recorded") };
        for share in [0.0, 0.25, 0.5, 0.9, 0.999, 1.0] {
            let (exact, kept) = ((share * 49_999.0f64).powi(2) * 1e-6, quantiles.at(share).as_secs_f64());
            assert!((kept - exact).abs() <= 0.001 * exact + 1e-3, "{share}: {kept} for {exact}");
        }
        assert_eq!(ColdStart::recorded(Vec::new()).typical(), Duration::ZERO);
    }
}
