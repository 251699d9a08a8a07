//! A recurrent neural network with quantile heads, trained on one workload or on many at once: long short-term memory
//! (Hochreiter and Schmidhuber 1997) over the recent past, and a head that says quantiles of any future step (the shape
//! of MQ-RNN, Wen et al. 2017), written by hand in `f32`.
//!
//! It says what to add to the seasonal naive forecast, in units of that forecast's usual error, so that a network that has
//! learned nothing is that forecast with its empirical quantiles.
//!
//! Promises: the same histories, configuration and seed give the same weights, byte for byte; training is bounded by a
//! number of steps and passes a checkpoint at each of them (about four milliseconds with the standard sizes); following
//! the series costs next to nothing, since no state is carried: the window is read anew for each forecast.
//!
//! Not here: covariates are not looked at; a series without a season is refused.

mod adam;
mod cell;
mod companions;
mod follow;
mod matrix;
mod network;
mod prior;
mod real;
#[cfg(test)]
mod tests;
mod train;
mod view;

use serde::{Deserialize, Serialize};

use super::{FitError, History, Pace};
use view::{Layout, View, minute_of_week};

pub use follow::Lstm;

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Units of the recurrent layer, 1 to 256. Default 32; the cost of a step grows with its square.
    pub hidden: usize,
    /// Units of the head, 1 to 256. Default 32.
    pub middle: usize,
    /// Most training steps: the budget. Default 400; a step costs about four milliseconds of one core.
    pub steps: usize,
    /// Windows in a step. Default 32.
    pub batch: usize,
    /// Largest learning rate. Default 0.004.
    pub rate: f32,
    /// Pull of the weights back to where they began, as a share of the rate. Default 0.2.
    pub decay: f32,
    /// Invented series to train on when there are fewer real ones than this. Default 16; zero for none.
    pub companions: usize,
    /// Seed of the first weights and of the order of windows.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            hidden: 32,
            middle: 32,
            steps: 400,
            batch: 32,
            rate: 0.003,
            decay: 0.2,
            companions: 16,
            seed: 1,
        }
    }
}

/// A trained network: plain numbers, good for any series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    shape: network::Shape,
    values: Vec<f32>,
    /// Steps ahead that it was trained for.
    horizon: usize,
    /// The least and the most that it may add, in units.
    reach: (f32, f32),
    /// Training steps behind the weights that were kept.
    pub steps: usize,
    /// Mean pinball loss on the tails that training did not see, in units of the naive forecast's error: untrained.
    pub untrained_loss: f64,
    /// The same of the weights that were kept.
    pub loss: f64,
}

/// Trains one network on all the histories. Those that are too short or have no season are left out.
///
/// # Errors
/// [`FitError`] when none is fit to learn from, or when `pace` calls it off.
pub fn fit_global(
    histories: &[History<'_>],
    config: &Config,
    pace: &mut Pace<'_>,
) -> Result<Weights, FitError> {
    let mut parts = Vec::new();
    let mut refusal = None;
    for history in histories {
        match prepare(history) {
            Ok(layout) => parts.push((history, layout, follow::minutes(history, pace)?)),
            Err(error) => refusal = Some(error),
        }
    }
    if parts.is_empty() {
        return Err(refusal.unwrap_or(FitError::TooLittleHistory { present: 0, needed: 1 }));
    }
    let horizon = parts.iter().map(|part| part.0.horizon.max(1)).max().unwrap_or(1);
    let mut random = fastrand::Rng::with_seed(config.seed);
    let mut invented = Vec::new();
    for i in 0..config.companions.saturating_sub(parts.len()) {
        pace.checkpoint()?;
        let (_, layout, minutes) = &parts[i % parts.len()];
        invented.push((layout, companions::invent(layout, minutes, &mut random), minutes));
    }
    let real = parts.iter().map(|(history, layout, minutes)| View::new(layout, history.values, minutes));
    let invented = invented.iter().map(|(layout, values, minutes)| View::new(layout, values, minutes));
    let real: Vec<View<'_>> = real.collect();
    let invented: Vec<View<'_>> = invented.collect();
    train::train(&real, &invented, horizon, config, pace)
}

/// The layout of a history, or why there is none.
fn prepare(history: &History<'_>) -> Result<Layout, FitError> {
    let present = history.present();
    let Some(&short) = history.seasons.iter().find(|&&season| season >= 4) else {
        return Err(FitError::Unsuitable(
            "the network needs a series with a season of at least four steps".into(),
        ));
    };
    let needed = 3 * short;
    let layout = Layout::of(history.seasons, present)
        .filter(|layout| layout.begin() + short / 2 < history.values.len());
    layout.ok_or(FitError::TooLittleHistory { present, needed })
}

/// The quantiles that the network says; others lie between them.
const QUANTILES: [f64; 8] = [0.02, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];
