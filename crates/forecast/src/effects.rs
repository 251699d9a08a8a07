//! What events and covariates do to demand, learned on top of the online core.
//!
//! Why not inside the core: most workloads have neither, and pay nothing. [`Informed`] frees every observation of the
//! effects that are known by then, lets a [`Forecaster`](crate::Forecaster) learn the undisturbed demand, and gives its
//! forecasts the effects to come.
//!
//! Promises: an event seen a few times is forecast from what it did; one never seen from its kind, or from all events,
//! and wider; a holiday has the shape of a Sunday from the first one on; a covariate that is not known further on is taken
//! to be as usual, and the forecast says so; what turns out to do nothing does no harm.
//!
//! Not here: reading calendars ([`calendar`](crate::calendar)); effects on anything but the level of demand.

mod column;
mod filter;
mod guard;
mod informed;
mod learner;
mod moment;
mod noise;
mod occasions;
mod report;
mod usual;

pub(crate) use informed::{Ahead, COVARIATES_MAX};
pub use informed::{EVENTS_MAX, Informed, InformedForecast};
pub use report::{Assumed, Effect, Note, Seen};
