//! `foreshadow forecast --format json`.

use serde::Serialize;

use super::Issued;
use crate::failure::{Failure, OrFail};
use crate::trace_file::Clock;

/// The whole answer.
#[derive(Serialize)]
struct Answer {
    forecasts: Vec<One>,
}

/// One forecast of one series.
#[derive(Serialize)]
struct One {
    series: Option<String>,
    /// Only rows before it were used.
    as_of: String,
    step_s: f64,
    /// Beginning of each step, in the clock of the file.
    timestamps: Vec<String>,
    quantiles: Vec<f64>,
    /// One column for each quantile, one value for each step.
    values: Vec<Vec<f64>>,
    levels: Vec<Level>,
    trust: Trust,
    notes: Vec<String>,
}

/// A level of demand.
#[derive(Serialize)]
struct Level {
    demand: f64,
    /// Probability that it has been exceeded by the end of each step.
    crossed: Vec<f64>,
}

/// How far the forecast may be relied upon.
#[derive(Serialize)]
struct Trust {
    trusted: bool,
    /// Share of recent observations inside their 90 % interval, where it was judged.
    coverage: Option<f64>,
    /// Recent gain over repeating the last value, where it was judged.
    skill: Option<f64>,
    /// Why not, where it is not trusted.
    reason: Option<String>,
}

pub(super) fn text(issued: &[Issued], levels: &[f64], clock: Clock) -> Result<String, Failure> {
    let forecasts = issued.iter().map(|issued| one(issued, levels, clock)).collect();
    let text = serde_json::to_string_pretty(&Answer { forecasts }).or_failed("cannot print the forecast")?;
    Ok(text + "\n")
}

fn one(issued: &Issued, levels: &[f64], clock: Clock) -> One {
    let forecast = &issued.forecast;
    let column = |index: usize| forecast.values.iter().map(|row| row[index]).collect();
    One {
        series: issued.series.clone(),
        as_of: clock.write(issued.as_of),
        step_s: forecast.step.as_secs_f64(),
        timestamps: (0..forecast.steps()).map(|step| clock.write(forecast.begins_at(step))).collect(),
        quantiles: forecast.quantiles.clone(),
        values: (0..forecast.quantiles.len()).map(column).collect(),
        levels: levels
            .iter()
            .zip(&issued.crossed)
            .map(|(&demand, crossed)| Level { demand, crossed: crossed.clone() })
            .collect(),
        trust: Trust {
            trusted: issued.trust.is_trusted(),
            coverage: issued.trust.coverage(),
            skill: issued.trust.skill(),
            reason: issued.trust.reason().map(|reason| reason.to_string()),
        },
        notes: issued.known.notes.iter().map(ToString::to_string).collect(),
    }
}
