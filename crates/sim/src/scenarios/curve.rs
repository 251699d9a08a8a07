//! Demand curves made by hand: a shape, the slow noise of real demand on it, and the noise of counting in the recorded part.

use std::time::Duration;

use forecast::Timestamp;

use crate::demand::Demand;

/// How a curve is made from a shape.
pub(super) struct Curve {
    /// When the history begins.
    pub(super) start: Timestamp,
    /// When requests begin: what comes before is counted, with the noise of counting; what comes after is a rate.
    pub(super) from: Timestamp,
    /// When it ends.
    pub(super) end: Timestamp,
    /// The rate is constant inside such a step.
    pub(super) step: Duration,
    /// Standard deviation of the slow noise, as a share of the demand.
    pub(super) noise: f64,
}

impl Curve {
    /// The demand that has `shape`, in requests per second, with noise from `seed`.
    pub(super) fn draw(&self, seed: u64, shape: impl Fn(Timestamp) -> f64) -> Demand {
        let mut rng = fastrand::Rng::with_seed(seed);
        let seconds = self.step.as_secs_f64();
        let memory = (-seconds / MEMORY_SECONDS).exp();
        let (mut drift, mut at, mut points) = (0.0, self.start, Vec::new());
        while at < self.end {
            drift = memory * drift + (1.0 - memory * memory).sqrt() * normal(&mut rng);
            let rate = (shape(at) * (1.0 + self.noise * drift)).max(0.0);
            let counted = rate + (rate / seconds).sqrt() * normal(&mut rng);
            points.push((at, Some(if at < self.from { counted.max(0.0) } else { rate })));
            at = at + self.step;
        }
        Demand::from_points(&points, self.step).unwrap_or_else(|error| unreachable!("a made curve: {error}"))
    }
}

/// Between 0 in the night and 1 in the day: a smooth hump around 14:00 UTC.
pub(super) fn daily(at: Timestamp) -> f64 {
    let day = seconds_of_day(at) / DAY_SECONDS;
    0.5 - 0.5 * (std::f64::consts::TAU * (day - 2.0 / 24.0)).cos()
}

/// Seconds since midnight UTC.
pub(super) fn seconds_of_day(at: Timestamp) -> f64 {
    at.as_millis().rem_euclid(86_400_000) as f64 / 1e3
}

fn normal(rng: &mut fastrand::Rng) -> f64 {
    // Box and Muller, 1958. One of the pair is thrown away.
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

const DAY_SECONDS: f64 = 86_400.0;
/// The slow noise forgets within ten minutes.
const MEMORY_SECONDS: f64 = 600.0;
