//! What an instance will need of one resource in the coming hours: a forecast of its use.

use std::time::Duration;

use forecast::{Config, Forecaster, Timestamp};
use jiff::tz::TimeZone;

use super::histogram::DecayingHistogram;

/// Use of one resource by one instance, past and expected, in steps of one length.
///
/// While the forecast is trusted, the need is a quantile of the coming steps, so it knows the time of day and the day of
/// the week. Before, it is the quantile of a decaying histogram of what was seen.
#[derive(Debug, Clone)]
pub struct UseForecast {
    forecaster: Forecaster,
    seen: DecayingHistogram,
}

/// Where a need comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeedBasis {
    /// The forecast of the coming steps.
    Forecast,
    /// A decaying histogram, because the forecast is not trusted.
    Histogram,
}

impl UseForecast {
    /// For values that a histogram with this first bucket resolves well. `None` when the step cannot be forecast.
    pub fn new(step: Duration, zone: Option<TimeZone>, first_bucket: f64) -> Option<UseForecast> {
        let mut config = Config::new(step);
        config.time_zone = zone;
        Some(UseForecast {
            forecaster: Forecaster::new(config).ok()?,
            seen: DecayingHistogram::new(first_bucket, GROWTH, first_bucket * RANGE, HALF_LIFE),
        })
    }

    /// Takes in the use of a complete step.
    pub fn observe(&mut self, step_start: Timestamp, value: Option<f64>) {
        let value = value.filter(|v| v.is_finite() && *v >= 0.0);
        if self.forecaster.observe(step_start, value).is_err() {
            return;
        }
        if let Some(value) = value {
            self.seen.add(step_start, value, 1.0);
        }
    }

    /// The value that use stays below in this share of the steps of `ahead`; `None` before anything was seen.
    pub fn need(&self, quantile: f64, ahead: Duration) -> Option<(f64, NeedBasis)> {
        let seen = self.seen.quantile(quantile)?;
        if !self.forecaster.trust().is_trusted() {
            return Some((seen, NeedBasis::Histogram));
        }
        let steps = (ahead.as_secs_f64() / self.forecaster.step().as_secs_f64()).ceil().max(1.0) as usize;
        // The steps pooled: a level that is exceeded in one part of the window may be kept in the other, and a quantile
        // of the time, not of each step, is what a limit is to cover.
        let levels: Vec<f64> = (0..LEVELS).map(|i| (i as f64 + 0.5) / LEVELS as f64).collect();
        let coming = self.forecaster.forecast(steps.min(STEPS_MAX), &levels);
        let mut pooled: Vec<f64> = coming.values.iter().flatten().copied().collect();
        let rank = ((quantile * pooled.len() as f64) as usize).min(pooled.len().saturating_sub(1));
        let (_, value, _) = pooled.select_nth_unstable_by(rank, f64::total_cmp);
        Some((*value, NeedBasis::Forecast))
    }

    /// The median of the coming step; `None` while the forecast is not trusted.
    pub fn expected(&self) -> Option<f64> {
        self.forecaster.trust().is_trusted().then(|| self.forecaster.window_max(1).median())
    }

    /// Steps with a value so far.
    pub fn observed(&self) -> u64 {
        self.forecaster.observed()
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        self.forecaster.bytes()
    }
}

/// Quantiles of each step that are pooled.
const LEVELS: usize = 100;
const STEPS_MAX: usize = 288;
const GROWTH: f64 = 0.05;
/// The largest value that the histogram tells from larger ones, in first buckets.
const RANGE: f64 = 1e5;
const HALF_LIFE: Duration = Duration::from_secs(86_400);
