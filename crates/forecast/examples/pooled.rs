//! Measures the pooled autoregression on a trace of many workloads: one pool for all, and each workload alone, beside the
//! seasonal naive forecast.
//!
//! `cargo run --release -p forecast --example pooled -- FILE.csv[.gz] [COLUMN]`
//!
//! A day ahead from seven origins in the last third of the trace, each fitted to what came before. The naive forecast is the value
//! a week before (a day, while there are less than two weeks), with the quantiles of its own past errors. Ratios are of
//! the weighted pinball loss at 0.5, 0.9, 0.95 and 0.99; below one is better than naive.

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;

use flate2::read::MultiGzDecoder;
use forecast::covariates::Covariates;
use forecast::grid::Grid;
use forecast::models::{History, Model, Pace, Pool, PoolSettings};
use forecast::score::WeightedPinball;
use forecast::{Timestamp, trace};

const QUANTILES: [f64; 5] = [0.05, 0.5, 0.9, 0.95, 0.99];
const ORIGINS: usize = 7;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = args.first() else {
        eprintln!("usage: pooled FILE.csv[.gz] [COLUMN]");
        return ExitCode::from(2);
    };
    match read(path, args.get(1).cloned()) {
        Ok(trace) => {
            measure(&trace);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// What one method achieved.
#[derive(Default)]
struct Tally {
    losses: Vec<WeightedPinball>,
    inside: f64,
    n: f64,
    cpu_seconds: f64,
}

impl Tally {
    fn add(&mut self, series: usize, actual: &[f32], row: impl Fn(usize) -> [f64; 5]) {
        self.losses.resize(self.losses.len().max(series + 1), WeightedPinball::default());
        for (h, &actual) in actual.iter().enumerate().filter(|(_, actual)| actual.is_finite()) {
            let (row, actual) = (row(h), f64::from(actual));
            for (&tau, &said) in QUANTILES.iter().zip(&row).skip(1) {
                self.losses[series].add(tau, actual, said);
            }
            self.inside += f64::from(u8::from((row[0]..=row[3]).contains(&actual)));
            self.n += 1.0;
        }
    }
}

fn measure(trace: &trace::Trace) {
    let day = ((86_400_000 / trace.step.as_millis()) as usize).max(1);
    let seasons = [day, 7 * day];
    let all: Vec<Vec<f32>> = trace.series.iter().map(|series| dense(series, trace.step)).collect();
    let steps = all.iter().map(Vec::len).min().unwrap_or(0);
    let grid = Grid { origin: Timestamp::from_secs(0), step: trace.step, zone: None };
    let covariates = Covariates::beginning(0);
    let [mut pooled, mut alone, mut naive] = [(); 3].map(|()| Tally::default());
    for back in 0..ORIGINS {
        let origin = steps.saturating_sub(day + back * (steps / 3) / ORIGINS);
        let histories: Vec<History<'_>> = all
            .iter()
            .map(|values| History {
                grid: &grid,
                first: 0,
                values: &values[..origin],
                seasons: &seasons,
                covariates: &covariates,
                horizon: day,
                non_negative: true,
            })
            .collect();
        let settings = PoolSettings::new(&seasons, day);
        let began = cpu_seconds();
        let pool = Pool::fit(&histories, &settings, &mut Pace::free());
        pooled.cpu_seconds += cpu_seconds() - began;
        for (i, history) in histories.iter().enumerate() {
            let actual = &all[i][origin..origin + day];
            let lag = if origin >= 2 * 7 * day { 7 * day } else { day };
            let errors = naive_errors(history.values, lag);
            let naively = |h: usize| {
                let before = last_known(history.values, origin + h - lag);
                QUANTILES.map(|tau| (before + quantile(&errors, tau)).max(0.0))
            };
            naive.add(i, actual, naively);
            let began = cpu_seconds();
            let one = Pool::fit(std::slice::from_ref(history), &settings, &mut Pace::free());
            alone.cpu_seconds += cpu_seconds() - began;
            for (tally, pool) in [(&mut pooled, &pool), (&mut alone, &one)] {
                let began = cpu_seconds();
                let model = pool.as_ref().ok().and_then(|pool| pool.attach(history, &mut Pace::free()).ok());
                match model.map(|model| model.forecast(day, &QUANTILES, &covariates)) {
                    Some(said) => tally.add(i, actual, |h| std::array::from_fn(|q| said[h][q])),
                    None => tally.add(i, actual, naively),
                }
                tally.cpu_seconds += cpu_seconds() - began;
            }
        }
    }
    println!("{} series, {steps} steps, {ORIGINS} origins, a day ahead", all.len());
    println!(
        "{:<8} {:>9} {:>9} {:>9} {:>9} {:>12}",
        "", "WPL ratio", "all WPL", "better", "90 %", "CPU seconds"
    );
    for (name, tally) in [("pooled", &pooled), ("alone", &alone), ("naive", &naive)] {
        print(name, tally, &naive);
    }
}

/// One line: geometric mean of ratios to naive, ratio of means, share of series that are better, coverage, cost.
fn print(name: &str, tally: &Tally, naive: &Tally) {
    let pairs: Vec<(f64, f64)> = tally
        .losses
        .iter()
        .zip(&naive.losses)
        .filter_map(|(ours, theirs)| Some((ours.value()?, theirs.value()?)))
        .filter(|&(ours, theirs)| ours > 0.0 && theirs > 0.0)
        .collect();
    let n = pairs.len().max(1) as f64;
    let geometric = (pairs.iter().map(|(ours, theirs)| (ours / theirs).ln()).sum::<f64>() / n).exp();
    let (ours, theirs) = pairs.iter().fold((0.0, 0.0), |sums, pair| (sums.0 + pair.0, sums.1 + pair.1));
    let better = pairs.iter().filter(|(ours, theirs)| ours < theirs).count() as f64 / n;
    println!(
        "{name:<8} {geometric:>9.3} {:>9.3} {better:>9.2} {:>9.3} {:>12.1}",
        ours / theirs,
        tally.inside / tally.n,
        tally.cpu_seconds
    );
}

/// Sorted errors of the seasonal naive forecast inside a history.
fn naive_errors(values: &[f32], lag: usize) -> Vec<f64> {
    let pairs = values.iter().skip(lag).zip(values);
    let mut errors: Vec<f64> =
        pairs.map(|(now, before)| f64::from(now - before)).filter(|error| error.is_finite()).collect();
    errors.sort_by(f64::total_cmp);
    errors
}

fn quantile(sorted: &[f64], tau: f64) -> f64 {
    let place = (tau * sorted.len() as f64) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

fn last_known(values: &[f32], at: usize) -> f64 {
    let known = values[..=at.min(values.len() - 1)].iter().rev().find(|value| value.is_finite());
    known.map_or(0.0, |&value| f64::from(value))
}

fn dense(series: &trace::Series, step: std::time::Duration) -> Vec<f32> {
    let points = series.on_grid(step);
    let mut values = Vec::new();
    for (at, value) in &points {
        let slot = (at.since(points[0].0).as_millis() / step.as_millis()) as usize;
        values.resize(slot.max(values.len()), f32::NAN);
        values.push(value.map_or(f32::NAN, |value| value as f32));
    }
    values
}

fn read(path: &str, column: Option<String>) -> Result<trace::Trace, String> {
    let file = File::open(path).map_err(|e| format!("failed to open {path}: {e}"))?;
    let reader: Box<dyn Read> =
        if path.ends_with(".gz") { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let options = trace::Options { column, series: None, allow_negative: false, zone: None };
    trace::parse(reader, &options).map_err(|e| format!("{path}: {e}"))
}

/// CPU seconds of this thread so far.
fn cpu_seconds() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .map_or(f64::NAN, |nanoseconds| nanoseconds / 1e9)
}
