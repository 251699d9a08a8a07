//! Calibrated distributions: a curve of tracked quantiles, and the tail beyond them.

mod curve;

pub(crate) use curve::{Curve, GRID, Tail};
