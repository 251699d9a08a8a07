//! Intermittent demand: most steps are zero, and what matters is when the next one is not.
//!
//! [`Sparse`] forecasts such a series as quantile paths. [`Keeper`] decides for each of many applications when to have it
//! loaded, sharing through a [`Pool`] what is common to all of them: a new application profits from the others at its
//! first use. [`Fixed`] and [`Hybrid`] are the rivals.
//!
//! Promises: everything is learned online, from the past alone; memory is bounded (about 4 kB an application after two
//! weeks of minutes). Does not say how many instances are needed: one, or none.

mod gaps;
mod keep;
mod model;
mod occurrence;
mod pool;

pub use keep::{Fixed, Hybrid, Keeper, Price, Window};
pub use model::Sparse;
pub use pool::Pool;
