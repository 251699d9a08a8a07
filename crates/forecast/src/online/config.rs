//! What a forecaster must be told before the first observation, and which settings it refuses.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Settings of one [`Forecaster`](crate::Forecaster).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Length of one step. From [`STEP_MIN`] to [`STEP_MAX`], whole milliseconds. Observations are values of steps.
    pub step: Duration,
    /// Where the people behind the demand live. `Some`: days and weeks are counted on that wall clock, so a change to
    /// summer time does not move the daily peak, and day and week are tried as seasons early. `None` (default): UTC
    /// without any calendar, seasons come from the data alone.
    #[serde(with = "zone_name")]
    pub time_zone: Option<TimeZone>,
    /// How far ahead forecasts must be learned. Default 288 steps. Longer horizons may be asked for, but beyond this one
    /// the last learned combination and width are used unchanged. Raising it costs memory and a little time. At most
    /// [`HORIZON_STEPS_MAX`] steps.
    pub horizon_max: Duration,
    /// Whether demand below zero is impossible. Default true: no forecast is ever below zero.
    pub non_negative: bool,
}

impl Config {
    /// Defaults for a given step: no time zone, a horizon of 288 steps, demand never below zero.
    pub fn new(step: Duration) -> Config {
        Config {
            step,
            time_zone: None,
            horizon_max: step.saturating_mul(HORIZON_STEPS_DEFAULT),
            non_negative: true,
        }
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting, what it is and what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.step < STEP_MIN || self.step > STEP_MAX || !self.step.subsec_nanos().is_multiple_of(1_000_000)
        {
            return Err(ConfigError::Step(self.step));
        }
        if self.horizon_max < self.step || self.horizon_steps() > HORIZON_STEPS_MAX {
            return Err(ConfigError::Horizon { horizon: self.horizon_max, step: self.step });
        }
        Ok(())
    }

    /// The learned horizon in whole steps, rounded up.
    pub(crate) fn horizon_steps(&self) -> usize {
        let steps = self.horizon_max.as_millis().div_ceil(self.step.as_millis().max(1));
        usize::try_from(steps).unwrap_or(usize::MAX)
    }
}

/// A time zone is written down by its name in the IANA database; one without a name cannot be.
pub(crate) mod zone_name {
    use jiff::tz::TimeZone;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

    pub(crate) fn serialize<S: Serializer>(zone: &Option<TimeZone>, to: S) -> Result<S::Ok, S::Error> {
        let name = zone.as_ref().map(|zone| {
            zone.iana_name()
                .ok_or_else(|| ser::Error::custom("the time zone has no name that could be stored"))
        });
        name.transpose()?.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TimeZone>, D::Error> {
        let name: Option<String> = Option::deserialize(from)?;
        name.map(|name| TimeZone::get(&name).map_err(de::Error::custom)).transpose()
    }
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The step is too short, too long or not a whole number of milliseconds.
    #[error("step is {0:?}; it must be a whole number of milliseconds from {STEP_MIN:?} to {STEP_MAX:?}")]
    Step(Duration),
    /// The horizon is shorter than a step or longer than can be learned.
    #[error(
        "horizon_max is {horizon:?}; with a step of {step:?} it must be from 1 to {HORIZON_STEPS_MAX} steps"
    )]
    Horizon {
        /// The horizon asked for.
        horizon: Duration,
        /// The step it is counted in.
        step: Duration,
    },
}

/// Shortest step.
pub const STEP_MIN: Duration = Duration::from_millis(100);
/// Longest step.
pub const STEP_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest horizon that is learned, in steps.
pub const HORIZON_STEPS_MAX: usize = 4096;
const HORIZON_STEPS_DEFAULT: u32 = 288;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_from_a_second_to_a_day_are_accepted() {
        for secs in [1, 10, 60, 300, 3600, 86_400] {
            assert_eq!(Config::new(Duration::from_secs(secs)).validate(), Ok(()));
        }
    }

    #[test]
    fn impossible_steps_and_horizons_are_refused_by_name() {
        assert!(matches!(Config::new(Duration::ZERO).validate(), Err(ConfigError::Step(_))));
        assert!(matches!(Config::new(Duration::from_secs(86_401)).validate(), Err(ConfigError::Step(_))));
        let mut config = Config::new(Duration::from_secs(1));
        config.horizon_max = Duration::from_secs(100_000);
        let error = config.validate().unwrap_err();
        assert!(error.to_string().contains("horizon_max"), "{error}");
        config.horizon_max = Duration::ZERO;
        assert!(config.validate().is_err());
    }
}
