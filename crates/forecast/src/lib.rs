//! Forecasting of workload demand: calibrated quantile paths and window maxima.
//!
//! A [`Forecaster`] holds one series and learns online: every observation costs a few microseconds and bounded memory.
//! [`models`] are fitted to the history in the background.
//!
//! Promises: no clock, no randomness, no files; the same observations give the same forecasts, byte for byte; a forecast
//! uses nothing that was observed after its moment; NaN never escapes; memory is bounded.
//!
//! Not here: storage of history and of models, threads.

mod adjust;
pub mod calendar;
mod calibration;
pub mod covariates;
pub mod effects;
mod ensemble;
pub mod evaluate;
pub mod grid;
pub mod joint;
pub mod models;
mod narrow;
mod online;
mod paths;
pub mod requests;
pub mod score;
mod season;
mod timestamp;
pub mod trace;
pub mod trees;
mod trust;
pub mod watch;

pub use adjust::{Adjusted, Adjustment, Change};
pub use ensemble::{Anomaly, Contest, Ensemble, Job, LeftOut, Notice, Outcome, Rival, Trained, Worth};
pub use online::{
    Config, ConfigError, FORECAST_STEPS_MAX, Forecaster, HORIZON_STEPS_MAX, ObserveError, PATH_VALUES_MAX,
    Part, STEP_MAX, STEP_MIN,
};
pub use paths::{Forecast, Quantile, Values, WindowMax};
pub use season::Season;
pub use timestamp::{Timestamp, TimestampError};
pub use trust::{Distance, Naive, Trust, TrustAhead, UntrustedReason};
