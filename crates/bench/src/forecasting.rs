//! The online forecaster: what it costs, how accurate it is beside the same time last week with the errors of the past as its interval, and whether its intervals hold.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use forecast::score::pinball;
use forecast::{Config, Forecaster, Timestamp};

use crate::Setting;
use crate::rows::{Better, Rows, geometric_mean, median};
use crate::traces::{self, Demand};

/// Quantiles whose weighted pinball loss is averaged.
const QUANTILES: [f64; 4] = [0.05, 0.5, 0.9, 0.95];
/// Origins of day-ahead forecasts on each trace; a prime step between them changes hour and weekday.
const ORIGINS: usize = 11;
const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let demands = traces::load(setting)?;
    let mut ratios = Vec::new();
    let mut coverages = Vec::new();
    for demand in &demands {
        let scores = score(demand)?;
        let ratio = scores.loss / scores.naive_loss;
        let peer = Some(format!("weekly naive {:.4}", scores.naive_loss));
        let name = format!("forecast: {} day ahead, pinball loss of weekly naive's", demand.name);
        rows.note(&name, ratio, "ratio", Better::Lower, peer);
        let name = format!("forecast: {} day ahead, coverage of the 90 % interval", demand.name);
        rows.note(&name, scores.coverage, "share", Better::Higher, None);
        ratios.push(ratio);
        coverages.push(scores.coverage);
    }
    let mean = geometric_mean(&ratios);
    rows.at_most(
        "forecast: day ahead, pinball loss of weekly naive's, geometric mean",
        mean,
        "ratio",
        0.95,
        None,
    );
    let off = coverages.iter().map(|coverage| (coverage - 0.9).abs()).sum::<f64>() / coverages.len() as f64;
    rows.at_most(
        "forecast: coverage of the 90 % interval, mean distance from 0.90",
        off,
        "share",
        0.04,
        None,
    );
    cost(&demands[0], setting.quick, rows)
}

struct Scores {
    loss: f64,
    naive_loss: f64,
    coverage: f64,
}

/// Day-ahead forecasts from origins spread over the second half of the trace.
fn score(demand: &Demand) -> Result<Scores> {
    let steps = (DAY.as_millis() / demand.step.as_millis()).max(1) as usize;
    let points = &demand.points;
    let (first, last) = (points.len() / 2, points.len().saturating_sub(steps + 1));
    let origins: Vec<usize> = (0..ORIGINS).map(|k| first + (last - first) * k / (ORIGINS - 1)).collect();
    let mut forecaster = Forecaster::new(Config::new(demand.step))?;
    let (mut loss, mut naive_loss, mut inside, mut counted) = (0.0, 0.0, 0_u64, 0_u64);
    let mut next = 0;
    for origin in origins {
        for (at, value) in &points[next..origin] {
            forecaster.observe(*at, *value)?;
        }
        next = origin;
        let naive_errors = week_errors(&points[..origin]);
        let forecast = forecaster.forecast(steps, &QUANTILES);
        for (h, (at, actual)) in points[origin..].iter().take(steps).enumerate() {
            // A gap in the trace: this row lies further ahead than its place says.
            let Some(actual) = actual.filter(|_| *at == forecast.begins_at(h)) else { continue };
            let row = &forecast.values[h];
            let Some(naive) = week_before(points, *at) else { continue };
            for (level, predicted) in QUANTILES.iter().zip(row) {
                loss += pinball(*level, actual, *predicted);
                naive_loss += pinball(*level, actual, (naive + quantile(&naive_errors, *level)).max(0.0));
            }
            inside += u64::from(row[0] <= actual && actual <= row[3]);
            counted += 1;
        }
    }
    Ok(Scores { loss, naive_loss, coverage: inside as f64 / counted as f64 })
}

/// What the weekly naive forecast was wrong by, sorted: its intervals come from these.
fn week_errors(points: &[(Timestamp, Option<f64>)]) -> Vec<f64> {
    let error = |(at, value): &(Timestamp, Option<f64>)| Some((*value)? - week_before(points, *at)?);
    let mut errors: Vec<f64> = points.iter().filter_map(error).collect();
    errors.sort_by(f64::total_cmp);
    errors
}

/// The `level` quantile of sorted values; 0 when there are none.
fn quantile(sorted: &[f64], level: f64) -> f64 {
    let rank = (level * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

/// The value seven days before `at`.
fn week_before(points: &[(Timestamp, Option<f64>)], at: Timestamp) -> Option<f64> {
    let then = at - DAY * 7;
    let index = points.binary_search_by_key(&then, |(at, _)| *at).ok()?;
    points[index].1
}

/// Time of one observation and of one day-ahead forecast, on the first trace.
fn cost(demand: &Demand, quick: bool, rows: &mut Rows) -> Result<()> {
    let (mut observe, mut ahead) = (Vec::new(), Vec::new());
    for _ in 0..if quick { 1 } else { 5 } {
        let mut forecaster = Forecaster::new(Config::new(demand.step))?;
        let begin = Instant::now();
        for (at, value) in &demand.points {
            forecaster.observe(*at, *value)?;
        }
        observe.push(begin.elapsed().as_secs_f64() * 1e6 / demand.points.len() as f64);
        let begin = Instant::now();
        for _ in 0..100 {
            black_box(forecaster.forecast(288, &QUANTILES));
        }
        ahead.push(begin.elapsed().as_secs_f64() * 1e6 / 100.0);
    }
    rows.note(
        "forecast: one observation, seasons and window maxima included",
        median(&observe),
        "us",
        Better::Lower,
        None,
    );
    rows.note("forecast: 288 steps at 4 quantiles", median(&ahead), "us", Better::Lower, None);
    Ok(())
}
