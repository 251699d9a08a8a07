//! Intermittent demand: most steps are zero, and what matters is when the next one is not.

mod gaps;
mod keep;
mod occurrence;
mod pool;

pub use keep::{Fixed, Hybrid, Keeper, Price, Window};
pub use pool::Pool;
