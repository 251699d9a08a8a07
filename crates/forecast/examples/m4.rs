//! Measures the pooled autoregression on the hourly part of the M4 competition, beside the published methods.
//!
//! `cargo run --release -p forecast --example m4 -- FOLDER [BACK]`
//!
//! FOLDER holds `m4_hourly.csv.gz` (timestamp, series, value, split) and `m4_hourly_published_scores.csv.gz`. Only the train
//! parts are given to the models. With BACK = n, the last n * 48 train points take the place of the test parts: what
//! settings are chosen by.

use std::fs::File;
use std::process::ExitCode;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use forecast::covariates::Covariates;
use forecast::grid::Grid;
use forecast::models::{History, Model, Pace, Pool, PoolSettings};
use forecast::{Timestamp, score};

const HOURS: usize = 48;
const SEASONS: [usize; 2] = [24, 168];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = args.first() else {
        eprintln!("usage: m4 FOLDER [BACK]");
        return ExitCode::from(2);
    };
    let back = args.get(1).and_then(|back| back.parse().ok()).unwrap_or(0);
    match run(folder, back) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// A series cut in two.
struct Series {
    train: Vec<f32>,
    test: Vec<f64>,
}

fn run(folder: &str, back: usize) -> Result<(), String> {
    let series = read(&format!("{folder}/m4_hourly.csv.gz"), back)?;
    let (grid, covariates) = (
        Grid { origin: Timestamp::from_secs(0), step: Duration::from_secs(3600), zone: None },
        Covariates::beginning(0),
    );
    let histories: Vec<History<'_>> = series
        .iter()
        .map(|series| History {
            grid: &grid,
            first: 0,
            values: &series.train,
            seasons: &SEASONS,
            covariates: &covariates,
            horizon: HOURS,
            non_negative: true,
        })
        .collect();
    let began = cpu_seconds();
    let settings = PoolSettings::new(&SEASONS, HOURS);
    let pool = Pool::fit(&histories, &settings, &mut Pace::free()).map_err(|e| e.to_string())?;
    let fitted = cpu_seconds();
    let (mut smape, mut mase, mut inside, mut width) = (0.0, 0.0, 0.0, 0.0);
    for (history, series) in histories.iter().zip(&series) {
        let model = pool.attach(history, &mut Pace::free()).map_err(|e| e.to_string())?;
        let said = model.forecast(HOURS, &[0.05, 0.5, 0.95], &covariates);
        let pairs = || series.test.iter().zip(said.iter()).map(|(&actual, row)| (actual, row[1]));
        let train: Vec<f64> = series.train.iter().map(|&value| f64::from(value)).collect();
        smape +=
            pairs().map(|(a, f)| 200.0 * (a - f).abs() / (a.abs() + f.abs())).sum::<f64>() / HOURS as f64;
        mase += score::mase(pairs(), &train, SEASONS[0]).ok_or("a series never changes from day to day")?;
        inside += score::coverage(series.test.iter().zip(said.iter()).map(|(&a, row)| (a, row[0], row[2])))
            .unwrap_or(0.0);
        width += said.iter().map(|row| row[2] - row[0]).sum::<f64>()
            / HOURS as f64
            / score::naive_mae(&train, SEASONS[0]).unwrap_or(f64::NAN);
    }
    let done = cpu_seconds();
    let n = series.len() as f64;
    let (smape, mase) = (smape / n, mase / n);
    println!("{} series: sMAPE {smape:.3}, MASE {mase:.3}", series.len());
    println!("coverage of the 90 % interval {:.3}, mean width {:.2} naive errors", inside / n, width / n);
    println!(
        "CPU seconds: {:.1} to fit the pool, {:.1} to attach and forecast",
        fitted - began,
        done - fitted
    );
    if back == 0 {
        place(&format!("{folder}/m4_hourly_published_scores.csv.gz"), smape, mase)?;
    }
    Ok(())
}

/// Prints where the scores would stand among the published methods by each.
fn place(path: &str, smape: f64, mase: f64) -> Result<(), String> {
    let mut published = Vec::new();
    for row in rows(path)?.records() {
        let row = row.map_err(|e| e.to_string())?;
        let number = |column: usize| row.get(column).and_then(|cell| cell.parse::<f64>().ok());
        if let (Some(method), Some(smape), Some(mase)) = (row.get(1), number(2), number(3)) {
            published.push((method.to_owned(), smape, mase));
        }
    }
    let first = published.first().ok_or("no published scores")?;
    println!("first of the published: {}: sMAPE {}, MASE {}", first.0, first.1, first.2);
    let by_smape = 1 + published.iter().filter(|row| row.1 < smape).count();
    let by_mase = 1 + published.iter().filter(|row| row.2 < mase).count();
    println!("place among {}: {by_smape} by sMAPE, {by_mase} by MASE", published.len());
    Ok(())
}

fn read(path: &str, back: usize) -> Result<Vec<Series>, String> {
    let mut all: Vec<(String, Series)> = Vec::new();
    for row in rows(path)?.records() {
        let row = row.map_err(|e| e.to_string())?;
        let cell = |column: usize| row.get(column).ok_or_else(|| format!("{path}: a row is too short"));
        let (name, value, split) = (cell(1)?, cell(2)?, cell(3)?);
        let value: f64 = value.parse().map_err(|_| format!("{path}: `{value}` is not a number"))?;
        if all.last().is_none_or(|(last, _)| last != name) {
            all.push((name.to_owned(), Series { train: Vec::new(), test: Vec::new() }));
        }
        if let Some((_, series)) = all.last_mut() {
            match split {
                "train" => series.train.push(value as f32),
                _ => series.test.push(value),
            }
        }
    }
    for (_, series) in all.iter_mut().filter(|_| back > 0) {
        let cut = series.train.len().saturating_sub(back * HOURS);
        series.test = series.train[cut..cut + HOURS].iter().map(|&value| f64::from(value)).collect();
        series.train.truncate(cut);
    }
    Ok(all.into_iter().map(|(_, series)| series).collect())
}

fn rows(path: &str) -> Result<csv::Reader<MultiGzDecoder<File>>, String> {
    let file = File::open(path).map_err(|e| format!("failed to open {path}: {e}"))?;
    Ok(csv::Reader::from_reader(MultiGzDecoder::new(file)))
}

/// CPU seconds of this thread so far.
fn cpu_seconds() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .map_or(f64::NAN, |nanoseconds| nanoseconds / 1e9)
}
