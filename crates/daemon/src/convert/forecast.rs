//! What forecasts say, for the wire.

use ::forecast::joint::{Window, paths_counted};
use ::forecast::{Adjusted, Ensemble, Forecast, Values};
use planner::TriggerLevel;

use super::{overrides, trust};
use crate::config::WorkloadConfig;

/// What a forecast is asked for.
pub(crate) struct Asked {
    pub(crate) steps: usize,
    /// Quantiles.
    pub(crate) levels: Vec<f64>,
    pub(crate) windows: Vec<Window>,
    /// How many paths are to be drawn, and which.
    pub(crate) paths: usize,
    pub(crate) seed: u64,
}

/// A forecast, with rows for levels turned into columns for charts.
pub(crate) fn forecast(
    workload: &WorkloadConfig,
    forecaster: &Ensemble,
    asked: &Asked,
    overrides: Vec<api::ForecastOverride>,
) -> api::Forecast {
    // Without any observation there is nothing to say about any time.
    let steps = if forecaster.observed() == 0 { 0 } else { asked.steps };
    let adjustments = overrides::adjustments(&overrides);
    let adjusted = Adjusted::new(forecaster, &adjustments);
    let forecast: Forecast = adjusted.forecast(steps, &asked.levels);
    let width = asked.levels.len();
    api::Forecast {
        workload: workload.name.clone(),
        metric: None,
        unit: workload.unit.clone(),
        issued_at_ms: forecast.issued_at.as_millis(),
        step_ms: u64::try_from(forecast.step.as_millis()).unwrap_or(u64::MAX),
        model: forecaster.composition(),
        trust: trust(&forecaster.trust()),
        trust_ahead: forecaster
            .trust_ahead()
            .within(forecast.steps())
            .filter(|_| forecast.steps() > 0)
            .map(|(first, said)| api::TrustFrom {
                from_ms: forecast.begins_at(first - 1).as_millis(),
                trust: trust(&said),
            })
            .collect(),
        timestamps_ms: (0..forecast.steps()).map(|h| forecast.begins_at(h).as_millis()).collect(),
        columns: columns(&forecast.values, width),
        windows: asked
            .windows
            .iter()
            .map(|&of| api::Window { of: of.name().to_owned(), columns: window(&adjusted, of, steps, asked) })
            .collect(),
        paths: if asked.paths == 0 { Vec::new() } else { adjusted.paths(steps, asked.paths, asked.seed) },
        overrides: overrides::within(overrides, forecast.issued_at, forecast.begins_at(steps)),
        quantiles: forecast.quantiles,
    }
}

/// Largest values are read from distributions that are calibrated as such, sums are counted over paths.
fn window(adjusted: &Adjusted<'_>, window: Window, steps: usize, asked: &Asked) -> Vec<Vec<f64>> {
    match window {
        Window::Max => {
            let maxima = adjusted.window_maxima(steps);
            asked.levels.iter().map(|&tau| maxima.iter().map(|max| max.quantile(tau)).collect()).collect()
        }
        Window::Sum => {
            let paths = adjusted.paths(steps, paths_counted(steps), asked.seed);
            columns(&window.over(&paths, &asked.levels), asked.levels.len())
        }
    }
}

fn columns(values: &Values, width: usize) -> Vec<Vec<f64>> {
    (0..width).map(|q| values.iter().map(|row| row[q]).collect()).collect()
}

/// When demand exceeds levels within the next steps.
pub(crate) fn levels(
    workload: &WorkloadConfig,
    forecaster: &Ensemble,
    capacity: f64,
    steps: usize,
    levels: &[TriggerLevel],
    overrides: Vec<api::ForecastOverride>,
) -> api::Levels {
    let steps = if forecaster.observed() == 0 { 0 } else { steps };
    let demands: Vec<f64> = levels.iter().map(|level| level.demand).collect();
    let adjustments = overrides::adjustments(&overrides);
    let crossed = Adjusted::new(forecaster, &adjustments).crossings(&demands, steps);
    let grid: Forecast = forecaster.forecast(steps, &[]);
    let starts: Vec<i64> = (0..steps).map(|h| grid.begins_at(h).as_millis()).collect();
    let first = |path: &[f64], p: f64| path.iter().position(|&crossed| crossed >= p).map(|h| starts[h]);
    api::Levels {
        workload: workload.name.clone(),
        unit: workload.unit.clone(),
        issued_at_ms: grid.issued_at.as_millis(),
        step_ms: u64::try_from(grid.step.as_millis()).unwrap_or(u64::MAX),
        capacity,
        trust: trust(&forecaster.trust()),
        levels: levels
            .iter()
            .zip(crossed)
            .map(|(level, crossed)| api::Level {
                demand: level.demand,
                instances: (level.instances > 0).then_some(level.instances),
                possible_at_ms: first(&crossed, 0.1),
                likely_at_ms: first(&crossed, 0.5),
                almost_certain_at_ms: first(&crossed, 0.9),
                crossed,
            })
            .collect(),
        overrides: overrides::within(overrides, grid.issued_at, grid.begins_at(steps)),
        timestamps_ms: starts,
    }
}
