//! Parts that watch how well a forecast does: has the series changed for good, is this value an anomaly, and what should be
//! done about it.
//!
//! - [`Cusum`] and [`PageHinkley`] see a lasting change of the mean of standardised one-step errors; [`Adwin`] sees one
//!   of any bounded number: whether the interval held, how large the error was.
//! - [`Ranks`] says how rare an error is among the recent ones; [`Tail`] goes on where none as large has been seen yet.
//!   [`AnomalyDetector`] joins them: it flags values, says which to keep out of training, and gives in to a lasting change.
//! - [`RetrainPolicy`] turns all of it, the schedule and known changes into a [`Response`], from cheap to dear, with a reason.
//!
//! Promises: no clock and no randomness; bounded memory; a step costs constant time or the logarithm of the window; input
//! that is not finite changes nothing.
//!
//! Not here: the online forecaster's own small watch, which is a part of its learning.

mod adwin;
mod anomaly;
mod cusum;
mod policy;
mod ranks;
mod tail;

pub use adwin::{Adwin, Change};
pub use anomaly::{AnomalyConfig, AnomalyDetector, Finding, Verdict};
pub use cusum::{Cusum, PageHinkley, Shift};
pub use policy::{Accuracy, Decision, RefitSchedule, Response, RetrainConfig, RetrainPolicy, Signals};
pub use ranks::Ranks;
pub use tail::{Pareto, Tail, TailConfig};
