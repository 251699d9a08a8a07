//! Made-up series with known properties, from seeds.

use std::time::Duration;

use forecast::{Config, Forecaster, Timestamp};

/// A Monday, midnight UTC.
pub(crate) const MONDAY: &str = "2026-01-05T00:00:00Z";

/// Normally distributed noise by the sum of twelve uniform numbers.
pub(crate) fn normal(random: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

/// Demand of a service with a daily peak, quieter weekends, persistent and independent noise.
pub(crate) fn service(days: usize, per_day: usize, seed: u64) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut drift = 0.0;
    (0..days * per_day)
        .map(|i| {
            let hour = (i % per_day) as f64 / per_day as f64;
            let weekend = if i / per_day % 7 >= 5 { 0.6 } else { 1.0 };
            let shape = 1.0 + 0.7 * ((hour - 0.3) * std::f64::consts::TAU).sin();
            drift = 0.97 * drift + 0.02 * normal(&mut random);
            let noise = 0.06 * normal(&mut random);
            (1000.0 * weekend * shape * (1.0 + drift + noise)).max(0.0)
        })
        .collect()
}

/// A forecaster and the moments at which it is to be fed.
pub(crate) fn forecaster(step: Duration) -> (Forecaster, impl Fn(usize) -> Timestamp) {
    let origin = Timestamp::parse(MONDAY).unwrap();
    let at = move |i: usize| origin + step * u32::try_from(i).unwrap();
    (Forecaster::new(Config::new(step)).unwrap(), at)
}

/// Feeds a whole series.
pub(crate) fn feed(values: &[f64], step: Duration) -> Forecaster {
    let (mut forecaster, at) = forecaster(step);
    for (i, &value) in values.iter().enumerate() {
        forecaster.observe(at(i), Some(value)).unwrap();
    }
    forecaster
}
