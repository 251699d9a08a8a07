//! The online forecaster of one series.

use std::time::Duration;

use crate::calibration::Curve;
use crate::config::{Config, ConfigError};
use crate::paths::{Forecast, Values, WindowMax};
use crate::season::Season;
use crate::timestamp::Timestamp;
use crate::trust::{Trust, UntrustedReason};

/// Forecasts one series online. Feed it with [`observe`](Forecaster::observe) in order of time, ask at any moment.
///
/// Plain data: `Clone` it to try something, keep as many as there are series. It reads no clock and draws no random
/// numbers, so the same observations always give the same answers, and what comes later never changes what was said
/// earlier.
#[derive(Clone, Debug)]
pub struct Forecaster {
    config: Config,
    last: Option<(Timestamp, f64)>,
    observed: u64,
}

impl Forecaster {
    /// A forecaster that knows nothing yet.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that cannot work.
    pub fn new(config: Config) -> Result<Forecaster, ConfigError> {
        config.validate()?;
        Ok(Forecaster { config, last: None, observed: 0 })
    }

    /// The value of the step that begins at `at`; `None` or NaN when it is missing.
    ///
    /// # Errors
    /// [`ObserveError`] when the step is not after the last one, or the value is infinite or below zero where that is
    /// impossible. The forecaster is then unchanged.
    pub fn observe(&mut self, at: Timestamp, value: Option<f64>) -> Result<(), ObserveError> {
        if let Some((last, _)) = self.last
            && at <= last
        {
            return Err(ObserveError::NotAfterLast { at, last });
        }
        match value {
            Some(value) if value.is_infinite() => return Err(ObserveError::Infinite { at }),
            Some(value) if value < 0.0 && self.config.non_negative => {
                return Err(ObserveError::Negative { at, value });
            }
            Some(value) if !value.is_nan() => {
                self.last = Some((at, value));
                self.observed += 1;
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Quantiles of the next `steps` steps.
    pub fn forecast(&self, steps: usize, quantiles: &[f64]) -> Forecast {
        let mut values = Values::zeros(steps, quantiles.len());
        for h in 0..steps {
            values.row_mut(h).fill(self.last.map_or(0.0, |(_, value)| value));
        }
        Forecast {
            issued_at: self.last.map_or(Timestamp::EPOCH, |(at, _)| at + self.config.step),
            step: self.config.step,
            quantiles: quantiles.to_vec(),
            values,
            model_version: 0,
        }
    }

    /// Distribution of the largest value of the next `steps` steps, calibrated as a target of its own.
    pub fn window_max(&self, steps: usize) -> WindowMax {
        WindowMax { steps, curve: Curve::point(self.last.map_or(0.0, |(_, value)| value), 0.0) }
    }

    /// Whether forecasts of this series may be relied upon now.
    pub fn trust(&self) -> Trust {
        Trust::Untrusted { reason: UntrustedReason::TooLittleHistory { observed: self.observed, needed: 50 } }
    }

    /// The last observed value, if any.
    pub fn level(&self) -> Option<f64> {
        self.last.map(|(_, value)| value)
    }

    /// Short-term slope of the last values, per step.
    pub fn slope_per_step(&self) -> f64 {
        0.0
    }

    /// Periods found in the series, shortest first.
    pub fn seasons(&self) -> &[Season] {
        &[]
    }

    /// How many values were observed (missing ones not counted).
    pub fn observed(&self) -> u64 {
        self.observed
    }

    /// Whether a busy series has fallen silent in a way that resembles an outage rather than a fall of demand.
    pub fn outage_suspected(&self) -> bool {
        false
    }

    /// Length of one step.
    pub fn step(&self) -> Duration {
        self.config.step
    }
}

/// Why an observation was refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ObserveError {
    /// Steps must come in order, each once.
    #[error("the step at {at} is not after the last one at {last}")]
    NotAfterLast {
        /// The step offered.
        at: Timestamp,
        /// The last step taken.
        last: Timestamp,
    },
    /// Infinity cannot be learned from.
    #[error("the value at {at} is infinite")]
    Infinite {
        /// The step offered.
        at: Timestamp,
    },
    /// Demand cannot be below zero (see [`Config::non_negative`]).
    #[error("the value at {at} is {value}, below zero")]
    Negative {
        /// The step offered.
        at: Timestamp,
        /// The value offered.
        value: f64,
    },
}
