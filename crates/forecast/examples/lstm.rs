//! Measures the recurrent network on recorded traces: day-ahead weighted pinball loss at seven origins beside the weekly
//! (or daily) seasonal naive forecast with the quantiles of its past errors, coverage, and processor time.
//!
//! `cargo run --release -p forecast --example lstm -- [--refit N] [--global] [--steps N] [--seed N] FILE.csv[.gz][:COLUMN[:LIMIT]] ...`
//!
//! `LIMIT`: most series of the file. `--refit N` trains at every Nth origin instead of the first alone; `--global` trains
//! one network on all series of all files.

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use forecast::covariates::Covariates;
use forecast::grid::Grid;
use forecast::models::lstm::{Config, Lstm, fit_global};
use forecast::models::{History, Model, Pace};
use forecast::score::WeightedPinball;
use forecast::trace;

const TAUS: [f64; 4] = [0.05, 0.5, 0.9, 0.95];
/// Scored for the loss.
const SCORED: std::ops::Range<usize> = 1..4;
const ORIGINS: usize = 7;

struct Series {
    name: String,
    grid: Grid,
    values: Vec<f32>,
    seasons: Vec<usize>,
    day: usize,
}

fn main() -> ExitCode {
    let mut config = Config::default();
    let (mut refit, mut global) = (ORIGINS, false);
    let mut all = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--refit" => refit = args.next().and_then(|n| n.parse().ok()).unwrap_or(1),
            "--global" => global = true,
            "--steps" => config.steps = args.next().and_then(|n| n.parse().ok()).unwrap_or(config.steps),
            "--seed" => config.seed = args.next().and_then(|n| n.parse().ok()).unwrap_or(config.seed),
            "--hidden" => config.hidden = args.next().and_then(|n| n.parse().ok()).unwrap_or(config.hidden),
            "--rate" => config.rate = args.next().and_then(|n| n.parse().ok()).unwrap_or(config.rate),
            "--decay" => config.decay = args.next().and_then(|n| n.parse().ok()).unwrap_or(config.decay),
            "--companions" => config.companions = args.next().and_then(|n| n.parse().ok()).unwrap_or(0),
            "--batch" => config.batch = args.next().and_then(|n| n.parse().ok()).unwrap_or(config.batch),
            file => match read(file) {
                Ok(series) => all.extend(series),
                Err(error) => {
                    eprintln!("{error}");
                    return ExitCode::FAILURE;
                }
            },
        }
    }
    if all.is_empty() {
        eprintln!(
            "usage: lstm [--refit N] [--global] [--steps N] [--seed N] FILE.csv[.gz][:COLUMN[:LIMIT]] ..."
        );
        return ExitCode::from(2);
    }
    evaluate(&all, &config, refit, global);
    ExitCode::SUCCESS
}

fn evaluate(all: &[Series], config: &Config, refit: usize, global: bool) {
    let none = Covariates::default();
    let shared = global.then(|| {
        let histories: Vec<History<'_>> =
            all.iter().map(|series| history(series, origins(series)[0], &none)).collect();
        let begin = cpu_seconds();
        let weights = fit_global(&histories, config, &mut Pace::free()).ok()?;
        println!(
            "one network for {} series: {} steps, loss {:.4} from {:.4}, {:.2} s",
            all.len(),
            weights.steps,
            weights.loss,
            weights.untrained_loss,
            cpu_seconds() - begin
        );
        Some(Arc::new(weights))
    });
    let mut ratios = Vec::new();
    for series in all {
        let origins = origins(series);
        let begin = cpu_seconds();
        let fit = |len: usize| match &shared {
            Some(weights) => {
                Lstm::attach(weights.clone()?, &history(series, len, &none), &mut Pace::free()).ok()
            }
            None => Lstm::fit(&history(series, len, &none), config, &mut Pace::free())
                .map_err(|error| println!("{}: {error}", series.name))
                .ok(),
        };
        let Some(mut model) = fit(origins[0]) else { continue };
        let trained = cpu_seconds() - begin;
        let (mut ours, mut naive) = (WeightedPinball::default(), WeightedPinball::default());
        let (mut inside, mut below, mut count) = (0.0, 0.0, 0.0);
        let mut asked = 0.0;
        let mut at = origins[0];
        for (i, &origin) in origins.iter().enumerate() {
            if i > 0 && i % refit.max(1) == 0 {
                let Some(fresh) = fit(origin) else { continue };
                model = fresh;
                at = origin;
            }
            while at < origin {
                model.observe(series.values[at], &none);
                at += 1;
            }
            let begin = cpu_seconds();
            let path = model.forecast(series.day, &TAUS, &none);
            asked += cpu_seconds() - begin;
            let lag = if origin > 8 * series.day { 7 * series.day } else { series.day };
            let mut errors: Vec<f64> = (lag..origin)
                .map(|t| f64::from(series.values[t]) - f64::from(series.values[t - lag]))
                .filter(|error| error.is_finite())
                .collect();
            errors.sort_by(f64::total_cmp);
            for h in 0..series.day {
                let actual = series.values.get(origin + h).map_or(f64::NAN, |&value| f64::from(value));
                let base = f64::from(series.values[origin + h - lag]);
                if !actual.is_finite() || !base.is_finite() {
                    continue;
                }
                for q in SCORED {
                    let offset = errors[((TAUS[q] * errors.len() as f64) as usize).min(errors.len() - 1)];
                    ours.add(TAUS[q], actual, path[h][q]);
                    naive.add(TAUS[q], actual, (base + offset).max(0.0));
                }
                inside += f64::from(u8::from(actual >= path[h][0] && actual <= path[h][3]));
                below += f64::from(u8::from(actual <= path[h][3]));
                count += 1.0;
            }
        }
        let (Some(loss), Some(base)) = (ours.value(), naive.value()) else { continue };
        let weights = model.weights();
        println!(
            "{}: n {}, WPL {loss:.4}, {:.3} of naive; 90 % interval {:.3}, 0.95 {:.3}; {} steps, loss {:.4} from {:.4}; fit {trained:.2} s, forecast {:.2} ms",
            series.name,
            series.values.len(),
            loss / base,
            inside / count,
            below / count,
            weights.steps,
            weights.loss,
            weights.untrained_loss,
            asked / ORIGINS as f64 * 1e3
        );
        ratios.push(loss / base);
    }
    if !ratios.is_empty() {
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        let worst = ratios.iter().fold(0.0, |worst: f64, &ratio| worst.max(ratio));
        println!("geometric mean {mean:.4} over {}, worst {worst:.3}", ratios.len());
    }
}

/// Seven moments over the last part of a series, at different hours.
fn origins(series: &Series) -> Vec<usize> {
    let (n, day) = (series.values.len(), series.day);
    let last = n - day;
    let first = (n * 11 / 20).max(last.saturating_sub(14 * day)).min(last);
    (0..ORIGINS).map(|i| first + (last - first) * i / (ORIGINS - 1)).collect()
}

fn history<'a>(series: &'a Series, len: usize, covariates: &'a Covariates) -> History<'a> {
    History {
        grid: &series.grid,
        first: 0,
        values: &series.values[..len],
        seasons: &series.seasons,
        covariates,
        horizon: series.day,
        non_negative: true,
    }
}

fn read(spec: &str) -> Result<Vec<Series>, String> {
    let mut parts = spec.split(':');
    let path = parts.next().unwrap_or_default();
    let column = parts.next().filter(|column| !column.is_empty()).map(str::to_owned);
    let limit = parts.next().and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let file = File::open(path).map_err(|e| format!("{path}: {e}"))?;
    let reader: Box<dyn Read> =
        if path.ends_with(".gz") { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let options = trace::Options { column, series: None, allow_negative: false, zone: None };
    let trace = trace::parse(reader, &options).map_err(|e| format!("{path}: {e}"))?;
    // Minutes become five minutes: a day ahead is what is measured here.
    let step = trace.step.max(Duration::from_secs(300));
    let day = (86_400_000 / step.as_millis()) as usize;
    let place = path.rsplit('/').next().unwrap_or(path).split('.').next().unwrap_or(path);
    Ok(trace
        .series
        .iter()
        .take(limit)
        .map(|series| {
            let origin = series.points[0].0;
            let grid = Grid { origin, step, zone: None };
            let mut values = Vec::new();
            for (at, value) in series.on_grid(step) {
                let slot = grid.step_of(at).unwrap_or(0) as usize;
                values.resize(slot.max(values.len()), f32::NAN);
                values.push(value.map_or(f32::NAN, |value| value as f32));
            }
            let name = format!("{place} {}", series.name.as_deref().unwrap_or(&trace.column));
            Series { name, grid, values, seasons: vec![day, 7 * day], day }
        })
        .collect())
}

/// Seconds this thread has computed.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}
