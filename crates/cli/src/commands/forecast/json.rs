//! `foreshadow forecast --format json`.

use forecast::Values;
use serde::Serialize;

use super::company::Part;
use super::{ForecastArgs, Issued};
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
    windows: Vec<Window>,
    /// One value for each step of each path.
    paths: Vec<Vec<f64>>,
    /// That of the first steps.
    trust: Trust,
    /// By how far ahead.
    trust_ahead: Vec<TrustAhead>,
    /// Who takes part; empty where one batch model is asked alone.
    weights: Vec<Part>,
    notes: Vec<String>,
}

/// A level of demand.
#[derive(Serialize)]
struct Level {
    demand: f64,
    /// Probability that it has been exceeded by the end of each step.
    crossed: Vec<f64>,
}

/// What the steps from the first to each come to.
#[derive(Serialize)]
struct Window {
    of: &'static str,
    /// One column for each quantile, one value for each step.
    values: Vec<Vec<f64>>,
}

/// Whether the forecast may be relied upon from a step on.
#[derive(Serialize)]
struct TrustAhead {
    /// Counted from one.
    from_step: usize,
    #[serde(flatten)]
    trust: Trust,
}

/// How far the forecast may be relied upon.
#[derive(Serialize)]
struct Trust {
    trusted: bool,
    /// Share of recent observations inside their 90 % interval, where it was judged.
    coverage: Option<f64>,
    /// Recent gain over repeating the last value or, farther ahead, the last season, where it was judged.
    skill: Option<f64>,
    /// Why not, where it is not trusted.
    reason: Option<String>,
}

pub(super) fn text(issued: &[Issued], args: &ForecastArgs, clock: Clock) -> Result<String, Failure> {
    let forecasts = issued.iter().map(|issued| one(issued, args, clock)).collect();
    let text = serde_json::to_string_pretty(&Answer { forecasts }).or_failed("cannot print the forecast")?;
    Ok(text + "\n")
}

fn one(Issued { as_of, series, answer }: &Issued, args: &ForecastArgs, clock: Clock) -> One {
    let (forecast, trust, joint) = (&answer.forecast, &answer.trust, &answer.joint);
    let assumed = answer.known.told(clock).into_iter().map(|(_, note)| note);
    let levels = args.joint.levels().iter().zip(&joint.crossed);
    One {
        series: series.clone(),
        as_of: clock.write(*as_of),
        step_s: forecast.step.as_secs_f64(),
        timestamps: (0..forecast.steps()).map(|step| clock.write(forecast.begins_at(step))).collect(),
        quantiles: forecast.quantiles.clone(),
        values: columns(&forecast.values, forecast.quantiles.len()),
        levels: levels.map(|(&demand, crossed)| Level { demand, crossed: crossed.clone() }).collect(),
        windows: joint
            .windows
            .iter()
            .map(|(window, values)| Window {
                of: window.name(),
                values: columns(values, forecast.quantiles.len()),
            })
            .collect(),
        paths: joint.paths.clone(),
        trust: said(trust.near()),
        trust_ahead: trust
            .within(forecast.steps())
            .map(|(from_step, trust)| TrustAhead { from_step, trust: said(trust) })
            .collect(),
        weights: answer.parts.clone(),
        notes: assumed.chain(answer.known.told_of_anomalies(clock)).collect(),
    }
}

fn said(trust: forecast::Trust) -> Trust {
    Trust {
        trusted: trust.is_trusted(),
        coverage: trust.coverage(),
        skill: trust.skill(),
        reason: trust.reason().map(|reason| reason.to_string()),
    }
}

fn columns(values: &Values, width: usize) -> Vec<Vec<f64>> {
    (0..width).map(|index| values.iter().map(|row| row[index]).collect()).collect()
}
