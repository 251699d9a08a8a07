//! Online forecasting of workload demand: calibrated quantile paths and window maxima.
//!
//! A [`Forecaster`] holds one series. Every observation costs a few microseconds and bounded memory; nothing is ever
//! refitted over the whole history. Cheap experts (last values, seasonal values, seasonal profiles with level correction)
//! are combined per horizon by a recursive least squares stack and by Bernstein online aggregation; the widths of
//! intervals come from realised errors by online conformal calibration; the maximum over a window, which is what a
//! capacity decision must cover, is calibrated as a target of its own.
//!
//! Promises: no clock, no randomness, no files; the same observations give the same forecasts, byte for byte; a forecast
//! uses nothing that was observed after its moment; NaN never escapes; memory is bounded.
//!
//! Not here: storage of history, request-level cost models, batch models.

mod bucket;
mod calibration;
mod clock;
mod config;
mod experts;
mod forecaster;
mod memory;
mod mixture;
mod model;
mod paths;
mod profile;
pub mod score;
mod season;
mod spread;
mod stack;
mod timestamp;
pub mod trace;
mod trust;
mod watch;
mod window;

pub use config::{Config, ConfigError, HORIZON_STEPS_MAX, STEP_MAX, STEP_MIN};
pub use forecaster::{FORECAST_STEPS_MAX, Forecaster, ObserveError};
pub use paths::{Forecast, Values, WindowMax};
pub use season::Season;
pub use timestamp::{Timestamp, TimestampError};
pub use trust::{Trust, UntrustedReason};
