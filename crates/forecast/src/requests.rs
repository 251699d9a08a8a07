//! What one request will cost (CPU time, duration, memory, tokens: any positive number), from its parameters, before it
//! runs, with quantiles.
//!
//! A [`CostModel`] holds one workload. It answers from the first request on: its layers range from the costs of all
//! requests over those of the same endpoint and those of similar size to a regression on the sizes and boosted
//! trees; how far each is believed is learned for every endpoint from its losses. An online conformal offset for each
//! endpoint and quantile keeps the coverage while the costs drift. Costs are treated on a log scale: errors are ratios.
//!
//! Promises: a prediction costs a few microseconds, memory is bounded whatever comes in, every answer is finite and never
//! falls in the quantile, nothing is drawn at random from an unseeded source, the same observations give the same answers.
//!
//! Not here: what a request is and where its parameters come from; threads for the training of trees.

mod boosted;
mod choice;
mod endpoint;
mod levels;
mod line;
mod memory;
mod model;
mod offset;
mod parameters;
mod pool;
mod window;

pub use boosted::{Trained, Training};
pub use memory::{Retry, Sizing};
pub use model::{COST_MIN, Config, CostModel, Outcome};
pub use parameters::{CATEGORICAL_MAX, NUMERIC_MAX, Parameters};
