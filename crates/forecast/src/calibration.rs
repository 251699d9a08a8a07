//! Calibrated distributions: residuals of a target counted online, and curves of quantiles with a tail beyond them.

mod curve;
mod residuals;

pub(crate) use curve::{Curve, GRID, MEDIAN, Place, Tail, crossed, normal_below, probit};
pub(crate) use residuals::{Issued, Residuals};
