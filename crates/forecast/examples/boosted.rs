//! Measures boosted trees on recorded traces, a day ahead from ten origins, beside the weekly naive forecast with the quantiles
//! of its errors and, where a Python with `lightgbm` is named, beside LightGBM.
//!
//! `cargo run --release -p forecast --example boosted -- [--step SECONDS] [--column NAME] [--covariates A,B] [--peer PYTHON]
//! FILE.csv[.gz] ..`
//!
//! Ratios are of weighted pinball loss at 0.05, 0.5, 0.9 and 0.95: below one is better than naive. The origins lie evenly in the
//! last 55 % of each series, and every model is fitted anew at each on what was known then.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use forecast::Timestamp;
use forecast::covariates::Covariates;
use forecast::grid::Grid;
use forecast::models::boosted::{Boosted, Params};
use forecast::models::{History, Model, Pace};
use forecast::score::pinball;
use forecast::trace::{self, Options};

const QUANTILES: [f64; 4] = [0.05, 0.5, 0.9, 0.95];
const ORIGINS: usize = 10;
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/peers/lightgbm_quantile.py");

#[derive(Default)]
struct Settings {
    step_s: Option<u64>,
    column: Option<String>,
    covariates: Vec<String>,
    peer: Option<String>,
    files: Vec<String>,
}

struct Demand {
    name: String,
    grid: Grid,
    values: Vec<f32>,
    covariates: Covariates,
    day: usize,
    origins: Vec<usize>,
}

/// Pinball losses, and how often the interval and the upper quantile held.
#[derive(Default)]
struct Score {
    loss: f64,
    inside: f64,
    below: f64,
    n: f64,
}

impl Score {
    fn add(&mut self, actual: f64, said: &[f64]) {
        self.loss += QUANTILES.iter().zip(said).map(|(&tau, &said)| pinball(tau, actual, said)).sum::<f64>();
        self.inside += f64::from(u8::from((said[0]..=said[3]).contains(&actual)));
        self.below += f64::from(u8::from(actual <= said[3]));
        self.n += 1.0;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = settings()?;
    let (mut ours, mut peers, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    println!(
        "series                    ratio  cov90  up95  fit s  288 steps ms | LightGBM ratio  cov90  up95  fit s"
    );
    for file in &settings.files {
        for demand in load(&settings, file)? {
            let naive = naive(&demand);
            let (score, fit_s, forecast_ms) = boosted(&demand)?;
            let ratio = score.loss / naive.loss;
            print!(
                "{:24} {ratio:6.3} {:6.3} {:6.3} {fit_s:6.3} {forecast_ms:13.2}",
                demand.name,
                score.inside / score.n,
                score.below / score.n
            );
            ours.push(ratio);
            cpu.push(fit_s);
            if let Some(python) = &settings.peer {
                let (score, fit_s) = peer(&demand, python)?;
                let ratio = score.loss / naive.loss;
                print!(
                    " | {ratio:14.3} {:6.3} {:6.3} {fit_s:6.3}",
                    score.inside / score.n,
                    score.below / score.n
                );
                peers.push(ratio);
            }
            println!();
        }
    }
    println!("geometric mean of {} ratios: {:.3}", ours.len(), geometric_mean(&ours));
    println!("CPU of a fit: {:.3} s", cpu.iter().sum::<f64>() / cpu.len().max(1) as f64);
    if !peers.is_empty() {
        println!("geometric mean of LightGBM's ratios: {:.3}", geometric_mean(&peers));
    }
    Ok(())
}

fn settings() -> Result<Settings, Box<dyn Error>> {
    let mut settings = Settings::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--step" => settings.step_s = Some(value()?.parse()?),
            "--column" => settings.column = Some(value()?),
            "--covariates" => settings.covariates = value()?.split(',').map(str::to_owned).collect(),
            "--peer" => settings.peer = Some(value()?),
            file => settings.files.push(file.to_owned()),
        }
    }
    Ok(settings)
}

/// The series of a file that are long enough for nine days of history and a day to forecast.
fn load(settings: &Settings, file: &str) -> Result<Vec<Demand>, Box<dyn Error>> {
    let parsed = read(file, settings.column.clone())?;
    let step = settings.step_s.map_or(parsed.step, Duration::from_secs);
    let stem =
        Path::new(file).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut demands = Vec::new();
    for series in &parsed.series {
        let grid = Grid { origin: series.points[0].0, step, zone: None };
        let values = dense(&grid, &series.on_grid(step));
        let Some(day) = grid.steps_in(Duration::from_secs(86_400)) else { continue };
        if values.len() < 10 * day + ORIGINS {
            continue;
        }
        let mut covariates = Covariates::beginning(0);
        for name in &settings.covariates {
            let other = read(file, Some(name.clone()))?;
            let mut column = dense(&grid, &other.series[0].on_grid(step));
            column.resize(values.len(), f32::NAN);
            covariates.add(name, column)?;
        }
        let from = (9 * day).max(values.len() * 45 / 100);
        let last = values.len() - day;
        let origins = (0..ORIGINS).map(|i| from + (last - from) * i / (ORIGINS - 1)).collect();
        let name = series.name.clone().unwrap_or_else(|| stem.chars().take(24).collect());
        demands.push(Demand { name, grid, values, covariates, day, origins });
    }
    Ok(demands)
}

fn read(path: &str, column: Option<String>) -> Result<trace::Trace, Box<dyn Error>> {
    let file = File::open(path).map_err(|e| format!("failed to open {path}: {e}"))?;
    let reader: Box<dyn Read> =
        if path.ends_with(".gz") { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let options = Options { column, allow_negative: true, ..Options::default() };
    Ok(trace::parse(reader, &options).map_err(|e| format!("{path}: {e}"))?)
}

fn dense(grid: &Grid, points: &[(Timestamp, Option<f64>)]) -> Vec<f32> {
    let mut values = Vec::new();
    for &(at, value) in points {
        let Some(step) = grid.step_of(at).and_then(|step| usize::try_from(step).ok()) else { continue };
        values.resize(step.max(values.len()), f32::NAN);
        values.push(value.map_or(f32::NAN, |value| value as f32));
    }
    values
}

fn boosted(demand: &Demand) -> Result<(Score, f64, f64), Box<dyn Error>> {
    let Demand { grid, values, covariates, day, .. } = demand;
    let (mut score, mut fit_s, mut forecast_s) = (Score::default(), 0.0, 0.0);
    for &origin in &demand.origins {
        let history = History {
            grid,
            first: 0,
            values: &values[..origin],
            seasons: &[*day, 7 * day],
            covariates,
            horizon: *day,
            non_negative: true,
        };
        let began = cpu_seconds()?;
        let model = Boosted::fit(&history, &Params::default(), &mut Pace::free())?;
        let fitted = cpu_seconds()?;
        let said = model.forecast(*day, &QUANTILES, covariates);
        forecast_s += cpu_seconds()? - fitted;
        fit_s += fitted - began;
        for (row, &actual) in said.iter().zip(&values[origin..]).filter(|(_, actual)| !actual.is_nan()) {
            score.add(f64::from(actual), row);
        }
    }
    let steps = (ORIGINS * day) as f64;
    Ok((score, fit_s / ORIGINS as f64, 1000.0 * forecast_s / steps * 288.0))
}

/// The value of last week (of the week before where that is missing) and the quantiles of three weeks of such errors.
fn naive(demand: &Demand) -> Score {
    let (values, week) = (&demand.values, 7 * demand.day);
    let mut score = Score::default();
    for &origin in &demand.origins {
        let past = origin.saturating_sub(3 * week).max(week)..origin;
        let mut errors: Vec<f32> = past.map(|at| values[at] - values[at - week]).collect();
        errors.retain(|error| error.is_finite());
        errors.sort_by(f32::total_cmp);
        let last = &values[origin - week..origin];
        let present = last.iter().filter(|value| !value.is_nan());
        let mean = present.clone().sum::<f32>() / present.count().max(1) as f32;
        for at in (origin..origin + demand.day).filter(|&at| !values[at].is_nan()) {
            let lags = [1, 2].into_iter().filter_map(|back| values.get(at.checked_sub(back * week)?));
            let middle = lags.copied().find(|value| !value.is_nan()).unwrap_or(mean);
            let error = |tau: f64| {
                let place = (errors.len() as f64 * tau) as usize;
                errors.get(place.min(errors.len().saturating_sub(1))).copied().unwrap_or(0.0)
            };
            let said = QUANTILES.map(|tau| f64::from((middle + error(tau)).max(0.0)));
            score.add(f64::from(values[at]), &said);
        }
    }
    score
}

fn peer(demand: &Demand, python: &str) -> Result<(Score, f64), Box<dyn Error>> {
    let folder = std::env::temp_dir();
    let [series, out] =
        ["series", "out"].map(|part| folder.join(format!("boosted-{}-{part}.csv", std::process::id())));
    let mut text = String::from("timestamp,value\n");
    for (step, value) in (0..).zip(&demand.values) {
        let value = if value.is_nan() { String::new() } else { value.to_string() };
        text += &format!("{},{value}\n", demand.grid.begins_at(step).as_millis() / 1000);
    }
    fs::write(&series, text)?;
    let joined = |values: &[String]| values.join(",");
    let done = Command::new(python)
        .arg(PEER)
        .arg(&series)
        .arg(joined(&demand.origins.iter().map(usize::to_string).collect::<Vec<_>>()))
        .arg(demand.day.to_string())
        .arg(joined(&QUANTILES.map(|tau| tau.to_string())))
        .arg(&out)
        .output()?;
    if !done.status.success() {
        return Err(format!("the peer failed: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    let mut score = Score::default();
    for line in fs::read_to_string(&out)?.lines().skip(1) {
        let numbers: Vec<f64> = line.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let actual = demand.values[numbers[0] as usize + numbers[1] as usize - 1];
        if !actual.is_nan() {
            let said: Vec<f64> = numbers[2..].iter().map(|value| value.max(0.0)).collect();
            score.add(f64::from(actual), &said);
        }
    }
    fs::remove_file(series)?;
    fs::remove_file(out)?;
    let spent = String::from_utf8_lossy(&done.stdout);
    let spent: f64 = spent.trim().trim_start_matches("cpu_seconds ").parse()?;
    Ok((score, spent / ORIGINS as f64))
}

/// CPU time of this thread so far.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or("0").parse::<f64>()? * 1e-9)
}

fn geometric_mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len().max(1) as f64).exp()
}
