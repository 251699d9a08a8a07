//! The online core: forecasts one series with bounded memory and a few microseconds for each observation, without ever
//! being refitted over the whole history.
//!
//! Cheap experts (last values, seasonal values, seasonal profiles with level correction) are combined per horizon by a
//! recursive least squares stack and by Bernstein online aggregation; the widths of intervals come from realised errors
//! by online conformal calibration; the maximum over a window, which is what a capacity decision must cover, is
//! calibrated as a target of its own.

mod bucket;
mod clock;
mod config;
mod doubt;
mod experts;
mod forecaster;
mod idle;
mod memory;
mod mixture;
mod model;
mod profile;
mod spread;
mod stack;
mod sums;
mod waiting;
mod watch;
mod wild;
mod window;

pub(crate) use clock::Clock;
pub use config::{Config, ConfigError, HORIZON_STEPS_MAX, STEP_MAX, STEP_MIN};
pub use experts::Part;
pub use forecaster::{FORECAST_STEPS_MAX, Forecaster, ObserveError, PATH_VALUES_MAX};
pub(crate) use model::{Records, Surprise, Verdict};
