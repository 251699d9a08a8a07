//! What the forecaster does, through its public face, on series from seeds.

mod calibration;
mod effects;
mod idle;
mod robustness;
mod seasons;
mod support;
mod trust;
