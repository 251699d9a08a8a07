//! What is said of several steps together: levels that are exceeded, the largest value and the sum of a window, and whole
//! paths.

use clap::Args;
use forecast::joint::{Window, exceeded, paths_counted};
use forecast::{Ensemble, Forecaster, Values};

use crate::values::{self, Levels};

/// Options for what is asked of several steps together.
#[derive(Args, Clone, Debug)]
pub(super) struct JointArgs {
    /// Levels of demand, comma-separated: also print the probability that each has been exceeded by the end of each step
    #[arg(long, value_name = "N,..", value_parser = values::levels, allow_hyphen_values = true)]
    levels: Option<Levels>,
    /// Also print quantiles of the largest value, or of the sum of all, from the beginning to the end of each step
    #[arg(long, value_delimiter = ',', value_name = "max,sum", value_parser = window)]
    pub(super) window: Vec<Window>,
    /// Also print so many paths, drawn from the joint distribution of all steps
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub(super) paths: u16,
    /// Which paths are drawn: the same seed gives the same ones
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
}

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Joint {
    /// For each level, the probability that it was exceeded by the end of each step.
    pub(super) crossed: Vec<Vec<f64>>,
    /// For each window, quantiles by step.
    pub(super) windows: Vec<(Window, Values)>,
    pub(super) paths: Vec<Vec<f64>>,
}

impl JointArgs {
    pub(super) fn levels(&self) -> &[f64] {
        self.levels.as_ref().map_or(&[], |levels| &levels.0)
    }

    /// Whether anything is asked that single steps do not tell.
    pub(super) fn needs_grid(&self) -> bool {
        !self.levels().is_empty() || !self.window.is_empty() || self.paths > 0
    }

    /// Largest values and levels are read from distributions that are calibrated as such, sums from paths.
    pub(super) fn of_ensemble(&self, ensemble: &Ensemble, steps: usize, quantiles: &[f64]) -> Joint {
        let window = |&window: &Window| {
            let values = match window {
                Window::Max => {
                    let mut values = Values::zeros(steps, quantiles.len());
                    for (h, maximum) in ensemble.window_maxima(steps).iter().enumerate() {
                        for (value, &tau) in values.row_mut(h).iter_mut().zip(quantiles) {
                            *value = maximum.quantile(tau);
                        }
                    }
                    values
                }
                Window::Sum => {
                    window.over(&ensemble.paths(steps, paths_counted(steps), self.seed), quantiles)
                }
            };
            (window, values)
        };
        Joint {
            crossed: match self.levels() {
                [] => Vec::new(),
                levels => ensemble.crossings(levels, steps),
            },
            windows: self.window.iter().map(window).collect(),
            paths: match self.paths {
                0 => Vec::new(),
                count => ensemble.paths(steps, usize::from(count), self.seed),
            },
        }
    }

    /// Of a model that says single steps: `grid` has its distributions, and `core` knows how steps of the series hang
    /// together. All is counted over drawn paths.
    pub(super) fn of_distributions(&self, core: &Forecaster, grid: &Values, quantiles: &[f64]) -> Joint {
        let drawn = core.paths_through(grid, paths_counted(grid.len()), self.seed);
        Joint {
            crossed: self.levels().iter().map(|&level| exceeded(&drawn, level)).collect(),
            windows: self.window.iter().map(|&window| (window, window.over(&drawn, quantiles))).collect(),
            paths: match self.paths {
                0 => Vec::new(),
                count => core.paths_through(grid, usize::from(count), self.seed),
            },
        }
    }
}

fn window(text: &str) -> Result<Window, String> {
    let found = Window::ALL.into_iter().find(|window| window.name() == text.trim());
    found.ok_or_else(|| format!("`{text}` is neither `max` nor `sum`"))
}
