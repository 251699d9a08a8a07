//! Boosted trees on top of a line, for endpoints with many requests: they see how parameters act together.
//!
//! Trained in the background from a snapshot of the latest requests: [`super::CostModel::training`] takes it,
//! [`Training::fit`] works on it anywhere, [`super::CostModel::install`] puts the result in place.

use serde::{Deserialize, Serialize};

use super::levels::{GRID, LEVELS, Levels, at_odds, make_monotone, odds};
use super::line::Line;
use super::parameters::{CATEGORICAL_MAX, NUMERIC_MAX, Row};
use super::window::Sample;
use crate::models::{FitError, Pace};
use crate::trees::{Forest, Matrix, Params};

/// The latest requests of a workload, to be trained on.
#[derive(Clone, Debug)]
pub struct Training {
    /// By endpoint, each oldest first.
    pub(crate) endpoints: Vec<(u32, Vec<Sample>)>,
}

/// What came out of a training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trained {
    pub(crate) endpoints: Vec<(u32, Boosted)>,
}

impl Training {
    /// Sorts the latest requests by endpoint; leaves out endpoints with too few, and the least busy ones beyond a limit.
    pub(crate) fn new(latest: impl Iterator<Item = (u32, Sample)>) -> Training {
        let mut all: Vec<(u32, Sample)> = latest.collect();
        all.sort_by_key(|&(endpoint, _)| endpoint);
        let mut endpoints: Vec<(u32, Vec<Sample>)> = all
            .chunk_by(|a, b| a.0 == b.0)
            .filter(|group| group.len() >= SAMPLES_MIN)
            .map(|group| (group[0].0, group.iter().map(|&(_, sample)| sample).collect()))
            .collect();
        endpoints.sort_by_key(|(_, samples)| std::cmp::Reverse(samples.len()));
        endpoints.truncate(ENDPOINTS_MAX);
        Training { endpoints }
    }

    /// Whether no endpoint has enough requests.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Fits trees to each endpoint: some ten milliseconds of CPU for a thousand requests. An endpoint that cannot be
    /// fitted is left out.
    ///
    /// # Errors
    /// [`FitError::CalledOff`] when the pace breaks.
    pub fn fit(&self, pace: &mut Pace) -> Result<Trained, FitError> {
        let mut endpoints = Vec::new();
        for (endpoint, samples) in &self.endpoints {
            match Boosted::fit(samples, pace) {
                Ok(boosted) => endpoints.push((*endpoint, boosted)),
                Err(FitError::CalledOff) => return Err(FitError::CalledOff),
                Err(FitError::TooLittleHistory { .. } | FitError::Unsuitable(_)) => {}
            }
        }
        Ok(Trained { endpoints })
    }
}

/// A line, and trees on what it leaves over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Boosted {
    line: Option<Line>,
    forest: Forest,
}

impl Boosted {
    fn fit(samples: &[Sample], pace: &mut Pace) -> Result<Boosted, FitError> {
        let line = Line::power(samples);
        pace.checkpoint()?;
        let mut columns = vec![Vec::new(); FEATURES];
        let mut targets = Vec::with_capacity(samples.len());
        for sample in samples {
            for (column, feature) in columns.iter_mut().zip(features(&sample.row)) {
                column.push(feature);
            }
            let middle = line.as_ref().and_then(|line| line.middle(&sample.row)).unwrap_or(0.0);
            targets.push((f64::from(sample.cost) - middle) as f32);
        }
        let mut matrix = Matrix::new(columns)?;
        for position in 0..CATEGORICAL_MAX {
            matrix = matrix.categorical(NUMERIC_MAX + position);
        }
        let params = Params {
            rounds: 120,
            leaves: 8,
            min_leaf: (samples.len() / 40).clamp(10, 40),
            learning_rate: 0.06,
            held_out: 0.2,
            patience: 15,
            columns: 1.0,
            ..Params::default()
        };
        let forest = Forest::fit(&matrix, &targets, None, &TAUS, &params, pace)?;
        Ok(Boosted { line, forest })
    }

    /// The line's middle alone.
    pub(crate) fn middle(&self, row: &Row) -> f64 {
        self.line.as_ref().and_then(|line| line.middle(row)).unwrap_or(0.0)
    }

    /// Quantiles of the log cost.
    pub(crate) fn levels(&self, row: &Row) -> Levels {
        let mut said = [0.0; TAUS.len()];
        self.forest.predict(&features(row), &mut said);
        let said = said.map(f64::from);
        let middle = self.middle(row);
        let mut levels: [f64; LEVELS] =
            std::array::from_fn(|k| middle + at_odds(&said, &ODDS, odds(GRID[k])));
        make_monotone(&mut levels);
        levels
    }

    pub(crate) fn bytes(&self) -> usize {
        self.forest.bytes() + self.line.as_ref().map_or(0, Line::bytes)
    }
}

/// Numbers, then categories as codes that a float can hold.
fn features(row: &Row) -> [f32; FEATURES] {
    std::array::from_fn(|j| match row.numeric.get(j) {
        Some(&number) => number,
        None => match row.categorical[j - NUMERIC_MAX] {
            0 => f32::NAN,
            code => (code >> 8) as f32,
        },
    })
}

const FEATURES: usize = NUMERIC_MAX + CATEGORICAL_MAX;
/// Quantiles that are fitted; the others lie between and beyond them.
const TAUS: [f64; 6] = [0.05, 0.25, 0.5, 0.75, 0.9, 0.98];
/// Log odds of them.
const ODDS: [f64; 6] = [
    -2.944_438_979_166_440_3,
    -1.098_612_288_668_109_8,
    0.0,
    1.098_612_288_668_109_8,
    2.197_224_577_336_219_6,
    3.891_820_298_110_626_5,
];
/// Fewer requests tell trees nothing that the other layers do not know.
pub(crate) const SAMPLES_MIN: usize = 150;
/// Endpoints that have trees.
const ENDPOINTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::{Config, CostModel, Outcome, Parameters};

    #[test]
    fn trees_see_what_no_line_does() {
        let mut rng = fastrand::Rng::with_seed(11);
        let mut model = CostModel::new(Config::default());
        let cost = |size: f64, kind: &str| {
            // Dear for middle sizes of one kind only.
            if kind == "b" && (1e3..1e5).contains(&size) { 50.0 } else { 2.0 }
        };
        for _ in 0..1500 {
            let size = (14.0 * rng.f64()).exp();
            let kind = if rng.bool() { "a" } else { "b" };
            let parameters = Parameters { numeric: &[size], categorical: &[kind] };
            model.observe(&Outcome {
                endpoint: "e",
                parameters,
                cost: cost(size, kind) * (0.9 + 0.2 * rng.f64()),
            });
            if model.training_due() {
                let trained = model.training().fit(&mut Pace::free()).unwrap();
                model.install(trained);
            }
        }
        for (size, kind) in [(1e4, "b"), (1e4, "a"), (1e2, "b"), (5e5, "a")] {
            let mut said = [0.0; 1];
            model.predict("e", &Parameters { numeric: &[size], categorical: &[kind] }, &[0.5], &mut said);
            let known = cost(size, kind);
            assert!((said[0] / known).ln().abs() < 0.35, "{size} {kind}: {} for {known}", said[0]);
        }
    }

    #[test]
    fn too_few_requests_give_no_trees_and_a_training_can_be_called_off() {
        let mut model = CostModel::new(Config::default());
        assert!(model.training().is_empty());
        for i in 0..400 {
            let parameters = Parameters { numeric: &[f64::from(i)], categorical: &[] };
            model.observe(&Outcome { endpoint: "e", parameters, cost: f64::from(1 + i % 7) });
        }
        let called_off =
            model.training().fit(&mut Pace::controlled(&mut || std::ops::ControlFlow::Break(())));
        assert!(matches!(called_off, Err(FitError::CalledOff)));
    }
}
